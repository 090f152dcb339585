//! KMS.

use super::{Answer, AwsError, Call, Changes, Rows};

/// All keys, aliases and grants.
#[derive(Debug, Default)]
pub struct State {}

/// Why RDS may not use a key: RDS answers it as `KMSKeyNotAccessibleFault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNotAccessible(pub String);

/// Slow work that a call needs, done before the world is locked: RSA keys take up to seconds to make.
#[derive(Debug, Default)]
pub struct Prepared {}

impl Prepared {
    /// Does the slow work of a call.
    ///
    /// # Errors
    /// There is no randomness to make keys from.
    pub async fn make(_service: &str, _action: &str, _params: &serde_json::Value) -> Result<Self, AwsError> {
        Ok(Self {})
    }
}

impl Rows for State {
    fn take_changes(&mut self, _changes: &mut Changes) -> Result<(), serde_json::Error> {
        Ok(())
    }

    fn load(&mut self, _kind: &str, _key: &str, _body: &str) -> Result<bool, serde_json::Error> {
        Ok(false)
    }
}

/// Answers one KMS call.
///
/// # Errors
/// The error as AWS answers it.
pub fn handle(_state: &mut State, _call: &Call, _prepared: Prepared) -> Result<Answer, AwsError> {
    Err(AwsError::new("UnknownOperationException", ""))
}

impl State {
    /// Changed policies take effect this much later.
    pub fn set_policy_delay(&mut self, _delay: std::time::Duration) {}

    /// Lets RDS, acting for `caller`, take a key into use for a resource: the key must be a symmetric encryption key, be
    /// Enabled and in `region`, and its policy must allow the caller `kms:DescribeKey` and, with
    /// `kms:GrantIsForAWSResource` true and `kms:ViaService` `rds.<region>.amazonaws.com`, `kms:CreateGrant`. Takes a key
    /// ARN, key id, alias ARN or alias name, as RDS does; answers the key's ARN and records the grant for `resource`.
    ///
    /// # Errors
    /// The key cannot be used; nothing is recorded then.
    pub fn attach(
        &mut self,
        now: chrono::DateTime<chrono::Utc>,
        caller: &super::Caller,
        region: &str,
        key: &str,
        resource: &str,
    ) -> Result<String, KeyNotAccessible> {
        let _ = (now, caller, region, resource);
        Err(KeyNotAccessible(format!("key {key} does not exist")))
    }

    /// Whether a key that is in use still works: `Err` when it is disabled, pending deletion, without material or gone.
    /// RDS moves a resource on such a key to `inaccessible-encryption-credentials-recoverable`.
    ///
    /// # Errors
    /// Why the key does not work.
    pub fn usable(&self, now: chrono::DateTime<chrono::Utc>, key_arn: &str) -> Result<(), KeyNotAccessible> {
        let _ = now;
        Err(KeyNotAccessible(format!("key {key_arn} does not exist")))
    }

    /// The ARN of an account's default RDS key (`alias/aws/rds`) in a region, made when first asked for.
    pub fn default_rds_key(
        &mut self,
        now: chrono::DateTime<chrono::Utc>,
        caller: &super::Caller,
        region: &str,
    ) -> String {
        let _ = (now, caller, region);
        String::new()
    }

    /// Drops the grant that [`State::attach`] recorded, when its resource is deleted.
    pub fn detach(&mut self, key_arn: &str, resource: &str) {
        let _ = (key_arn, resource);
    }
}
