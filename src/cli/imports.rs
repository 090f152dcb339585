//! The desks of key import: production's over the cloud that the runs work in, the test environment's over a sandbox of its own, in
//! this process or shared with others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use crate::{
    aws::Aws,
    config::Config,
    http::customer::Imports,
    keys::import::{Cloud, Clouds, Desk, DeskOptions, Realm},
    sandbox::Sandbox,
    worker::{Service, SystemClock},
};

/// Longer than KMS needs to unwrap or to refuse.
const FLOOR: Duration = Duration::from_millis(1_500);
/// The test environment's seconds are the wall's: customers meet KMS's own limits.
pub const SPEED: f64 = 1.0;

/// The test environment's cloud.
pub enum TestCloud {
    Own(Sandbox),
    /// The URL at which a sandbox listens.
    At(String),
}

impl TestCloud {
    fn aws(&self, config: &Config) -> Aws {
        match self {
            Self::Own(sandbox) => Aws::sandboxed(config, sandbox),
            Self::At(url) => Aws::sandboxed_at(config, url, SPEED),
        }
    }
}

pub fn desks(service: &Service, config: &Arc<Config>, cloud: Cloud, test_cloud: TestCloud) -> Imports {
    let desk = |realm, clouds| {
        Desk::new(DeskOptions {
            service: service.clone(),
            clock: Arc::new(SystemClock),
            config: Arc::clone(config),
            realm,
            clouds,
            floor: FLOOR,
        })
    };
    let production = desk(Realm::Production, Arc::new(move |_: &str| cloud.clone()));
    let test = desk(Realm::Test, test_clouds(Arc::clone(config), test_cloud));
    Imports { production, test }
}

/// Each enterprise has accounts of its own in the test cloud: what one imports no other can reach or exhaust.
fn test_clouds(config: Arc<Config>, test_cloud: TestCloud) -> Clouds {
    let made: Mutex<HashMap<String, Cloud>> = Mutex::default();
    Arc::new(move |enterprise: &str| {
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let cloud = made.entry(enterprise.to_owned()).or_insert_with(|| {
            let mut config = Config::clone(&config);
            for place in config.aws.partitions.values_mut() {
                place.account = account_of(enterprise);
            }
            Cloud { aws: Arc::new(test_cloud.aws(&config)), speed: SPEED }
        });
        cloud.clone()
    })
}

/// Twelve digits, the same every time.
fn account_of(enterprise: &str) -> String {
    let digest = Sha256::digest(enterprise.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("{:012}", number % 1_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enterprise_has_a_test_account_of_its_own() {
        let accounts = ["dave", "erin"].map(account_of);
        assert!(accounts.iter().all(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())));
        assert_ne!(accounts[0], accounts[1]);
    }
}
