//! What is remembered of an import: one session a token, one piece of evidence a key.
//!
//! The customer's token is keyferry's own, so that one of another region, of the other environment, or a used one is told
//! from an unknown one; its SHA-256 is the record's key. KMS's import token stays in the record. A session moves
//! open → relaying → done, each time by compare-and-set, so that of all uploads with one token one is relayed.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::wrapping::{Algorithm, Spec};

/// Uploads that KMS could not import, after which a token is locked.
pub const MOST_FAILURES: u32 = 5;
/// A relay that another process has not ended after this long never will be.
pub const RELAY: Duration = Duration::from_secs(150);

/// Whose cloud, and whose collections of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realm {
    Production,
    Test,
}

impl Realm {
    pub fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Production => Self::Test,
            Self::Test => Self::Production,
        }
    }

    /// Sessions, by their token's hash.
    pub fn sessions(self) -> &'static str {
        match self {
            Self::Production => "import-session",
            Self::Test => "test-import-session",
        }
    }

    /// Evidence, by the key's ARN.
    pub fn materials(self) -> &'static str {
        match self {
            Self::Production => "key-material",
            Self::Test => "test-key-material",
        }
    }

    fn token_prefix(self) -> &'static str {
        match self {
            Self::Production => "kfi_live_",
            Self::Test => "kfi_test_",
        }
    }

    /// The realm that a token says it is of.
    pub fn of_token(token: &str) -> Option<Self> {
        [Self::Production, Self::Test].into_iter().find(|realm| token.starts_with(realm.token_prefix()))
    }

    /// A new token of 256 bits of the system's generator.
    ///
    /// # Errors
    /// The generator failed.
    pub fn new_token(self) -> Result<String, getrandom::Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        Ok(format!("{}{}", self.token_prefix(), URL_SAFE_NO_PAD.encode(bits)))
    }
}

/// SHA-256 in hexadecimal: under which a token is kept, and by which an upload is known again.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// One key that needs material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub region: String,
    /// The instance whose own key it is; none: the region's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub arn: String,
}

/// What a token is for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: String,
    #[serde(flatten)]
    pub target: Target,
    /// The run that waits for it; none in the test environment.
    pub run: Option<String>,
    pub algorithm: Algorithm,
    pub spec: Spec,
    /// KMS's own token, in base64.
    pub kms_token: String,
    /// The API key it was asked with.
    pub asked_by: String,
    pub asked_at: DateTime<Utc>,
    /// As KMS says it, in KMS's time.
    pub valid_to: DateTime<Utc>,
    /// The same on keyferry's clock, which the sandbox's runs ahead of.
    pub expires_at: DateTime<Utc>,
    /// The material that the key has held before: KMS takes no other. None for a key's first material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<String>,
    /// Uploads that KMS could not import.
    #[serde(default)]
    pub failures: u32,
    pub state: SessionState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SessionState {
    Open,
    /// An upload is on its way to KMS, or its process died with it.
    Relaying {
        /// The process that relays it.
        owner: String,
        since: DateTime<Utc>,
        /// SHA-256 of the ciphertext.
        upload: String,
    },
    Done {
        at: DateTime<Utc>,
        upload: String,
        key_material_id: String,
    },
    Locked,
}

/// Evidence that a key holds the customer's material: what every later import of the same material is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyMaterial {
    #[serde(flatten)]
    pub target: Target,
    /// KMS's, computed from the key and the material: 64 hexadecimal digits.
    pub key_material_id: String,
    pub run: Option<String>,
    /// The session by which it came; none if KMS was found to hold it.
    pub import: Option<String>,
    /// The API key it was imported with.
    pub imported_by: String,
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_environment_and_no_two_are_the_same() {
        let live = Realm::Production.new_token().expect("random bits");
        let test = Realm::Test.new_token().expect("random bits");
        assert_eq!(Realm::of_token(&live), Some(Realm::Production));
        assert_eq!(Realm::of_token(&test), Some(Realm::Test));
        assert_eq!(Realm::of_token("kfi_"), None);
        assert_ne!(live, Realm::Production.new_token().expect("random bits"));
        assert!(live.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{live}");
    }
}
