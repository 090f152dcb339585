//! The key policy that a customer puts on each key: the specification's three statements, word for word, with the
//! customer's and the vendor's accounts of the region's partition. FedRAMP differs in the partition and in the vendor's
//! account there, nothing else.

use serde_json::{Value, json};

use crate::aws::partition;

/// Whose key, whose systems.
#[derive(Debug, Clone, Copy)]
pub struct PolicyRequest<'a> {
    pub region: &'a str,
    pub customer_account: &'a str,
    pub vendor_account: &'a str,
    /// The vendor's name, as people read it.
    pub vendor: &'a str,
}

/// The policy's document, its members in the specification's order.
pub fn render(request: PolicyRequest<'_>) -> Value {
    let partition = partition(request.region);
    let root = |account: &str| json!({ "AWS": format!("arn:{partition}:iam::{account}:root") });
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Enable my own AWS account to manage this key",
                "Effect": "Allow",
                "Principal": root(request.customer_account),
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": format!("Allow {} use of the key", request.vendor),
                "Effect": "Allow",
                "Principal": root(request.vendor_account),
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                "Resource": "*",
            },
            {
                "Sid": format!("Allow {} attachment of persistent resources", request.vendor),
                "Effect": "Allow",
                "Principal": root(request.vendor_account),
                "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
                "Resource": "*",
                "Condition": { "Bool": { "kms:GrantIsForAWSResource": "true" } },
            },
        ],
    })
}

/// The policy of a key in the vendor's own account that takes a customer's material: the account manages it, and nobody may
/// import material that expires, since everything under the key would be lost with it.
pub fn render_own(region: &str, vendor_account: &str) -> Value {
    let partition = partition(region);
    let root = json!({ "AWS": format!("arn:{partition}:iam::{vendor_account}:root") });
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Enable the vendor's own account to manage and use this key",
                "Effect": "Allow",
                "Principal": root,
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "Let no key material expire",
                "Effect": "Deny",
                "Principal": { "AWS": "*" },
                "Action": "kms:ImportKeyMaterial",
                "Resource": "*",
                "Condition": { "StringNotEquals": { "kms:ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE" } },
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(region: &str, vendor_account: &str) -> Value {
        render(PolicyRequest { region, customer_account: "123456789012", vendor_account, vendor: "Replicon" })
    }

    #[test]
    fn the_policy_is_the_specifications() {
        let expected = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Enable my own AWS account to manage this key","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},{"Sid":"Allow Replicon use of the key","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::127450652264:root"},"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*","kms:GenerateDataKey*","kms:DescribeKey"],"Resource":"*"},{"Sid":"Allow Replicon attachment of persistent resources","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::127450652264:root"},"Action":["kms:CreateGrant","kms:ListGrants","kms:RevokeGrant"],"Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}]}"#;
        assert_eq!(policy("us-west-2", "127450652264").to_string(), expected);
    }

    #[test]
    fn govcloud_has_its_own_partition_and_vendor_account() {
        let text = policy("us-gov-west-1", "127450652265").to_string();
        assert!(text.contains("arn:aws-us-gov:iam::123456789012:root"));
        assert!(text.contains("arn:aws-us-gov:iam::127450652265:root"));
        assert!(!text.contains("arn:aws:"));
    }
}
