//! What the tests need from outside the project, and what is said when it is missing.

pub mod effects;
pub mod import;
pub mod patience;
pub mod postgres;
pub mod serving;
pub mod time;

use std::env;

use keyferry::worker::{NewEnterprise, Service};

/// The variable that `scripts/test` sets for a tool or server. Where it is missing the test fails in CI; elsewhere it is
/// skipped, and says so.
pub fn required(variable: &str, what: &str) -> Option<String> {
    match env::var(variable) {
        Ok(value) => Some(value),
        Err(_) if env::var_os("CI").is_some() => {
            panic!("{variable} is not set, so there is no {what}: run the tests with scripts/test")
        }
        Err(_) => {
            eprintln!("SKIPPED: {variable} is not set, so there is no {what}; scripts/test brings it");
            None
        }
    }
}

/// The enterprise of most tests.
pub async fn add_dave(service: &Service) {
    let dave = NewEnterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
    };
    service.add_enterprise(dave).await.unwrap();
}
