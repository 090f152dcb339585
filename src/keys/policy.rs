//! The key policy that a customer applies to each key: three statements, as the process prescribes them.

use serde_json::{Value, json};

/// The policy for a key in `customer`'s account that the vendor's account of the same partition shall use. `vendor_name`
/// stands in the statements' identifiers; `partition` is `aws`, or `aws-us-gov` for FedRAMP.
pub fn render(vendor_name: &str, vendor: &str, customer: &str, partition: &str) -> Value {
    let root = |account: &str| format!("arn:{partition}:iam::{account}:root");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Enable my own AWS account to manage this key",
                "Effect": "Allow",
                "Principal": { "AWS": root(customer) },
                "Action": "kms:*",
                "Resource": "*"
            },
            {
                "Sid": format!("Allow {vendor_name} use of the key"),
                "Effect": "Allow",
                "Principal": { "AWS": root(vendor) },
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                "Resource": "*"
            },
            {
                "Sid": format!("Allow {vendor_name} attachment of persistent resources"),
                "Effect": "Allow",
                "Principal": { "AWS": root(vendor) },
                "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
                "Resource": "*",
                "Condition": { "Bool": { "kms:GrantIsForAWSResource": "true" } }
            }
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fedramp_variant_differs_in_partition_and_account_alone() {
        let commercial = render("Replicon", "127450652264", "123456789012", "aws").to_string();
        let government = render("Replicon", "127450652265", "123456789012", "aws-us-gov").to_string();
        assert_eq!(
            commercial.replace("arn:aws:", "arn:aws-us-gov:").replace("127450652264", "127450652265"),
            government
        );
        assert!(commercial.contains("\"Sid\":\"Allow Replicon attachment of persistent resources\""));
        assert!(commercial.contains("{\"Bool\":{\"kms:GrantIsForAWSResource\":\"true\"}}"));
    }
}
