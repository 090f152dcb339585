//! Who reads a letter. A role is one reader, whose address is looked up at each attempt; `audit` is everybody who gets the audit's
//! letters, each by their address.

use super::Matter;

/// Before the address of a reader of the audit.
const AUDIT: &str = "audit:";

/// Whom a role stands for: everybody who gets the audit's letters, otherwise one reader.
pub(super) fn readers(matter: &Matter<'_>, roles: &[&str]) -> Vec<String> {
    let audit = || matter.enterprise.audit_emails.iter().map(|address| format!("{AUDIT}{address}"));
    roles.iter().flat_map(|role| if *role == "audit" { audit().collect() } else { vec![(*role).to_owned()] }).collect()
}

/// Where the engineer's letters go.
pub fn engineer_of(matter: &Matter<'_>) -> String {
    reader(matter, "engineer").0
}

/// The address of a role, and whether an engineer stands in for a customer who has none.
pub(super) fn reader(matter: &Matter<'_>, role: &str) -> (String, bool) {
    let vendor = &matter.config.vendor;
    let engineer = || matter.enterprise.engineer_email.clone().unwrap_or_else(|| vendor.engineer_email.clone());
    match role {
        "customer" => match &matter.enterprise.customer_email {
            Some(address) => (address.clone(), false),
            None => (engineer(), true),
        },
        audit if audit.starts_with(AUDIT) => (audit.trim_start_matches(AUDIT).to_owned(), false),
        "csm" => (matter.enterprise.csm_email.clone().unwrap_or_else(|| vendor.csm_email.clone()), false),
        _ => (engineer(), false),
    }
}

/// Whom a reader asks.
pub(super) fn support<'a>(matter: &Matter<'a>, role: &str) -> &'a str {
    let vendor = &matter.config.vendor;
    if role == "customer" || role.starts_with(AUDIT) { &vendor.support_email } else { &vendor.engineer_email }
}
