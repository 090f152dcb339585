//! KMS.

/// All keys, aliases and grants.
#[derive(Debug, Default)]
pub struct State {}

/// Why RDS may not use a key: RDS answers it as `KMSKeyNotAccessibleFault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNotAccessible(pub String);

impl State {
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
