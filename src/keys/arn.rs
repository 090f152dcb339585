//! Key ARNs: the only form in which a customer may name a key, and one message for each way to get it wrong.
//!
//! Aliases are refused although RDS takes them: an alias can be pointed at another key later, and then the audit would lie.
//! Bare key ids are refused because AWS resolves them in the caller's account, which is the vendor's. See
//! <https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id>.

use serde::Serialize;

use crate::aws::partition;

/// A key ARN that has the right form: `arn:{partition}:kms:{region}:{account}:key/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArn {
    pub partition: String,
    pub region: String,
    pub account: String,
    pub id: String,
}

/// Why an ARN is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Stable, in kebab-case.
    pub code: &'static str,
    /// What is wrong with what was given.
    pub message: String,
    /// What to give instead.
    pub cure: String,
}

impl Rejection {
    fn new(code: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { code, message: message.into(), cure: cure.into() }
    }
}

const FORM: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";

impl KeyArn {
    /// Reads an ARN.
    ///
    /// # Errors
    /// What is wrong with its form, each kind under its own code.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let cure = format!("copy the key's ARN from the KMS console; it has the form {FORM}");
        if text.is_empty() {
            return Err(Rejection::new("arn-empty", "the ARN is empty", cure));
        }
        if text.trim() != text || text.chars().any(char::is_whitespace) {
            return Err(Rejection::new(
                "arn-whitespace",
                format!("{text:?} contains spaces or line ends"),
                "remove them",
            ));
        }
        if text.contains('*') || text.contains('?') {
            let message = format!("{text} contains a wildcard");
            return Err(Rejection::new("arn-wildcard", message, "name exactly one key"));
        }
        if text.starts_with("alias/") || text.contains(":alias/") {
            let message = format!("{text} is an alias, and an alias can be pointed at another key at any time");
            return Err(Rejection::new(
                "arn-alias",
                message,
                "give the ARN of the key itself (…:key/…), see DescribeKey",
            ));
        }
        if is_key_id(text) {
            let message = format!("{text} is a bare key id: it says neither account nor region");
            return Err(Rejection::new("arn-key-id", message, cure));
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = parts[..] else {
            return Err(Rejection::new("arn-malformed", format!("{text} is not an ARN"), cure));
        };
        if service != "kms" {
            return Err(Rejection::new("arn-not-kms", format!("{text} is an ARN of {service}, not of kms"), cure));
        }
        if !partition.starts_with("aws") || region.is_empty() {
            return Err(Rejection::new("arn-malformed", format!("{text} names no partition or no region"), cure));
        }
        if !is_account(account) {
            let message = format!("{account:?} in {text} is not an AWS account: those have 12 digits");
            return Err(Rejection::new("arn-account-malformed", message, cure));
        }
        let Some(id) = resource.strip_prefix("key/").filter(|id| is_key_id(id)) else {
            let message = format!("{resource:?} in {text} is not key/ followed by a key's id");
            return Err(Rejection::new("arn-key-malformed", message, cure));
        };
        Ok(Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// Checks an ARN given for `region` of an enterprise whose keys are in `account`.
///
/// # Errors
/// Its form is wrong, or it is in another region, partition or account than it has to be.
pub fn check(text: &str, region: &str, account: &str, vendor_account: &str) -> Result<KeyArn, Rejection> {
    let arn = KeyArn::parse(text)?;
    let wanted = partition(region);
    if arn.partition != wanted {
        let message = format!("{text} is in partition {}, but {region} is in {wanted}", arn.partition);
        return Err(Rejection::new(
            "arn-wrong-partition",
            message,
            format!("create a key in {region} of an {wanted} account"),
        ));
    }
    if arn.region != region {
        let message = format!("{text} is a key in {}, but it was given for {region}", arn.region);
        return Err(Rejection::new("arn-wrong-region", message, format!("give the ARN of the key in {region}")));
    }
    if arn.account == vendor_account {
        let message = format!("{text} is a key in the vendor's own account {vendor_account}");
        return Err(Rejection::new("arn-vendor-account", message, format!("give a key of your account {account}")));
    }
    if arn.account != account {
        let message = format!("{text} is a key in account {}, but your account is {account}", arn.account);
        return Err(Rejection::new("arn-wrong-account", message, format!("give a key of account {account}")));
    }
    Ok(arn)
}

/// 12 digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_key_id(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = text.strip_prefix("mrk-") {
        return id.len() == 32 && hex(id);
    }
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.split('-').all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";

    fn code(text: &str) -> &'static str {
        check(text, "us-west-2", "123456789012", "127450652264").map_or_else(|rejection| rejection.code, |_| "good")
    }

    #[test]
    fn every_mistake_has_its_own_code() {
        let id = "93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";
        let table = [
            (GOOD.to_owned(), "good"),
            ("arn:aws:kms:us-west-2:123456789012:key/mrk-0123456789abcdef0123456789abcdef".to_owned(), "good"),
            (String::new(), "arn-empty"),
            (format!("{GOOD} "), "arn-whitespace"),
            (format!("{GOOD}\n"), "arn-whitespace"),
            ("arn:aws:kms:us-west-2:123456789012:key/*".to_owned(), "arn-wildcard"),
            ("alias/mine".to_owned(), "arn-alias"),
            ("arn:aws:kms:us-west-2:123456789012:alias/mine".to_owned(), "arn-alias"),
            (id.to_owned(), "arn-key-id"),
            ("mine".to_owned(), "arn-malformed"),
            (format!("arn:aws:s3:us-west-2:123456789012:key/{id}"), "arn-not-kms"),
            (format!("arn:aws:kms:us-west-2:1234:key/{id}"), "arn-account-malformed"),
            ("arn:aws:kms:us-west-2:123456789012:key/mine".to_owned(), "arn-key-malformed"),
            (format!("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/{id}"), "arn-wrong-partition"),
            (format!("arn:aws:kms:us-east-1:123456789012:key/{id}"), "arn-wrong-region"),
            (format!("arn:aws:kms:us-west-2:127450652264:key/{id}"), "arn-vendor-account"),
            (format!("arn:aws:kms:us-west-2:210987654321:key/{id}"), "arn-wrong-account"),
        ];
        for (text, expected) in table {
            assert_eq!(code(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_rejection_shows_what_was_given_and_what_to_do() {
        let rejection = check(GOOD, "us-east-1", "123456789012", "127450652264").unwrap_err();
        assert!(rejection.message.contains("us-west-2") && rejection.message.contains("us-east-1"));
        assert_eq!(rejection.cure, "give the ARN of the key in us-east-1");
    }
}
