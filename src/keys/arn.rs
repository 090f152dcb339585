//! Key ARNs: `arn:<partition>:kms:<region>:<account>:key/<id>`.
//!
//! An alias is refused although RDS would take it: it can be pointed at another key later, and the audit would lie.

use std::fmt;

/// A well-formed ARN of a KMS key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyArn {
    pub partition: String,
    pub region: String,
    pub account: String,
    /// A UUID, or `mrk-` and 32 hexadecimal digits.
    pub id: String,
}

/// Why a text is no key ARN: a stable code, what is wrong, and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ArnError {
    pub code: &'static str,
    pub message: String,
}

impl ArnError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { partition, region, account, id } = self;
        write!(formatter, "arn:{partition}:kms:{region}:{account}:key/{id}")
    }
}

const SHAPE: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";

impl KeyArn {
    /// Reads a key ARN.
    ///
    /// # Errors
    /// What is wrong with it, under one code a mistake.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        if text.trim() != text || text.contains(char::is_whitespace) {
            return Err(ArnError::new(
                "arn-whitespace",
                "the ARN has spaces or line breaks in it: copy it without them",
            ));
        }
        if text.starts_with("alias/") || text.contains(":alias/") {
            return Err(ArnError::new(
                "arn-is-an-alias",
                "this names an alias, which can be pointed at another key later: give the key's own ARN, which \
                 `aws kms describe-key --key-id <alias> --query KeyMetadata.Arn` prints",
            ));
        }
        if text.contains('*') || text.contains('?') {
            return Err(ArnError::new(
                "arn-wildcard",
                "an ARN with a wildcard names no single key: give one key's ARN",
            ));
        }
        if !text.starts_with("arn:") {
            return Err(ArnError::new(
                "arn-malformed",
                format!("`{}` is no ARN: a key's ARN looks like {SHAPE}", short(text)),
            ));
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [_, partition, service, region, account, resource] = parts.as_slice() else {
            return Err(ArnError::new(
                "arn-malformed",
                format!("the ARN has fewer than six parts: it looks like {SHAPE}"),
            ));
        };
        if *service != "kms" {
            return Err(ArnError::new(
                "arn-not-kms",
                format!("this is an ARN of `{service}`: give the ARN of a KMS key"),
            ));
        }
        let Some(id) = resource.strip_prefix("key/") else {
            return Err(ArnError::new(
                "arn-malformed",
                format!("the ARN does not end in `key/` and an id: it looks like {SHAPE}"),
            ));
        };
        if account.len() != 12 || !account.chars().all(|digit| digit.is_ascii_digit()) {
            return Err(ArnError::new("arn-account", format!("`{account}` is no account: it has 12 digits")));
        }
        if region.is_empty() || partition.is_empty() {
            return Err(ArnError::new(
                "arn-malformed",
                format!("the ARN lacks its partition or region: it looks like {SHAPE}"),
            ));
        }
        if !is_key_id(id) {
            return Err(ArnError::new(
                "arn-key-id",
                format!("`{}` is no key id: it is a UUID, or `mrk-` and 32 hexadecimal digits", short(id)),
            ));
        }
        Ok(Self {
            partition: (*partition).to_owned(),
            region: (*region).to_owned(),
            account: (*account).to_owned(),
            id: id.to_owned(),
        })
    }

    /// Whether the key fits where it was given.
    ///
    /// # Errors
    /// The first thing that does not fit, under its own code.
    pub fn check(&self, region: &str, partition: &str, account: Option<&str>, vendor: &str) -> Result<(), ArnError> {
        if self.partition != partition {
            return Err(ArnError::new(
                "arn-wrong-partition",
                format!(
                    "the key is in the partition {}, the onboarding in {partition}: partitions cannot use each other's keys",
                    self.partition
                ),
            ));
        }
        if self.region != region {
            return Err(ArnError::new(
                "arn-wrong-region",
                format!(
                    "the key is in {}, but {region} was asked for: create a key in {region} and give its ARN",
                    self.region
                ),
            ));
        }
        if self.account == vendor {
            return Err(ArnError::new(
                "arn-vendor-account",
                format!("the account {vendor} is the vendor's: the key must be in your own account"),
            ));
        }
        match account {
            Some(account) if account != self.account => Err(ArnError::new(
                "arn-wrong-account",
                format!("the key is in the account {}, the onboarding was opened for {account}", self.account),
            )),
            _ => Ok(()),
        }
    }
}

fn is_key_id(id: &str) -> bool {
    let is_hex = |text: &str| text.chars().all(|digit| digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase());
    if let Some(rest) = id.strip_prefix("mrk-") {
        return rest.len() == 32 && is_hex(rest);
    }
    let groups: Vec<&str> = id.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(|group| is_hex(group))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";

    #[test]
    fn a_key_arn_reads_and_writes_the_same() {
        assert_eq!(KeyArn::parse(GOOD).unwrap().to_string(), GOOD);
        let multi_region = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab";
        assert_eq!(KeyArn::parse(multi_region).unwrap().to_string(), multi_region);
    }

    #[test]
    fn every_mistake_has_its_own_code() {
        for (text, code) in [
            ("93302c1f-1a71-4c07-a2bf-c6fbe0d245e1", "arn-malformed"),
            ("arn:aws:kms:us-west-2", "arn-malformed"),
            ("arn:aws:kms:us-west-2:123456789012:alias/mine", "arn-is-an-alias"),
            ("alias/mine", "arn-is-an-alias"),
            ("arn:aws:s3:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1", "arn-not-kms"),
            ("arn:aws:kms:us-west-2:12345:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1", "arn-account"),
            ("arn:aws:kms:us-west-2:123456789012:key/short", "arn-key-id"),
            ("arn:aws:kms:us-west-2:123456789012:key/*", "arn-wildcard"),
            ("arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1 ", "arn-whitespace"),
        ] {
            assert_eq!(KeyArn::parse(text).unwrap_err().code, code, "{text}");
        }
        let key = KeyArn::parse(GOOD).unwrap();
        assert_eq!(key.check("us-east-1", "aws", None, "1").unwrap_err().code, "arn-wrong-region");
        assert_eq!(key.check("us-west-2", "aws-us-gov", None, "1").unwrap_err().code, "arn-wrong-partition");
        assert_eq!(key.check("us-west-2", "aws", Some("210987654321"), "1").unwrap_err().code, "arn-wrong-account");
        assert_eq!(key.check("us-west-2", "aws", None, "123456789012").unwrap_err().code, "arn-vendor-account");
        assert_eq!(key.check("us-west-2", "aws", Some("123456789012"), "1"), Ok(()));
    }
}
