//! Names that RDS gives: ARNs, resource ids, endpoints, and the default network of an account and region. All are
//! computed from what is stored, never drawn, so that a repeated run of the same calls gives the same names.

use sha2::{Digest, Sha256};

/// Where a call acts: an account in a region.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    pub partition: String,
    pub account: String,
    pub region: String,
}

/// An RDS ARN taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arn {
    pub place: Place,
    /// `db`, `snapshot`, `cluster`, `cluster-snapshot`, `subgrp`, `pg`, `cluster-pg`, `og`, `secgrp`, `auto-backup`.
    pub kind: String,
    pub id: String,
}

impl Place {
    pub fn arn(&self, kind: &str, id: &str) -> String {
        format!("{}{id}", self.prefix(kind))
    }

    /// What the ARNs of all resources of a kind in this place begin with.
    pub fn prefix(&self, kind: &str) -> String {
        format!("arn:{}:rds:{}:{}:{kind}:", self.partition, self.region, self.account)
    }

    /// The default VPC's id.
    pub fn vpc(&self) -> String {
        format!("vpc-{}", &self.digest("vpc")[..17])
    }

    pub fn default_security_group(&self) -> String {
        format!("sg-{}", &self.digest("sg")[..17])
    }

    /// The n-th subnet of the default VPC.
    pub fn default_subnet(&self, n: usize) -> String {
        format!("subnet-{}", &self.digest(&format!("subnet-{n}"))[..17])
    }

    /// The n-th availability zone, of three.
    pub fn zone(&self, n: usize) -> String {
        format!("{}{}", self.region, ["a", "b", "c"][n % 3])
    }

    /// The part of endpoints that is the account's own in a region.
    pub fn endpoint_suffix(&self) -> String {
        let suffix = match self.partition.as_str() {
            "aws-cn" => "amazonaws.com.cn",
            "aws-eusc" => "amazonaws.eu",
            _ => "amazonaws.com",
        };
        format!("c{}.{}.rds.{suffix}", &self.digest("endpoint")[..11], self.region)
    }

    /// The default VPC's other names hang on this digest.
    pub fn digest(&self, what: &str) -> String {
        digest(&format!("{}/{}/{}/{what}", self.partition, self.account, self.region))
    }
}

impl Arn {
    /// Takes an RDS ARN apart; `None` for anything else. A snapshot's id may itself hold colons.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(7, ':');
        let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, kind, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if scheme != "arn" || service != "rds" || id.is_empty() {
            return None;
        }
        let place = Place { partition: partition.to_owned(), account: account.to_owned(), region: region.to_owned() };
        Some(Self { place, kind: kind.to_owned(), id: id.to_lowercase() })
    }
}

/// Hex SHA-256 of a text.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// 26 characters of base32 (upper case) that stand for `text`, as in `db-ABCDEFGHIJKLMNOPQRSTUVWXYZ`.
pub fn base32(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bytes = Sha256::digest(text.as_bytes());
    // Five bits at a time, read from the two bytes that they may lie across.
    let digit = |n: usize| {
        let (byte, shift) = (n * 5 / 8, n * 5 % 8);
        let pair = u16::from_be_bytes([bytes[byte], bytes[byte + 1]]);
        char::from(ALPHABET[usize::from((pair >> (11 - shift)) & 31)])
    };
    (0..26).map(digit).collect()
}
