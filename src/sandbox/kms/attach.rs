//! How RDS uses keys: on behalf of its caller, through grants of its own.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{
    State,
    access::{ANY, require_enabled},
    condition::Context,
    key::{Alias, Grant, Key},
    keys,
};
use crate::sandbox::{AwsError, Call, Caller, random};

/// Why RDS may not use a key: RDS answers it as `KMSKeyNotAccessibleFault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNotAccessible(pub String);

/// The services for which KMS makes a key of the account when its alias is first described.
pub const MANAGED: [&str; 8] = ["backup", "dms", "ebs", "rds", "s3", "secretsmanager", "sns", "sqs"];

const OPERATIONS: [&str; 9] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
];

/// RDS's name in `kms:ViaService` and as a grantee.
fn service(region: &str) -> String {
    format!("rds.{region}.amazonaws.com")
}

fn grant_id(key_arn: &str, resource: &str) -> String {
    hex::encode(Sha256::digest(format!("{key_arn}\n{resource}").as_bytes()))
}

fn grant_for(call: &Call, key: &Key, resource: &str) -> Grant {
    let id = grant_id(&key.arn, resource);
    Grant {
        token: id.to_uppercase(),
        id,
        key: key.arn.clone(),
        name: None,
        created: call.now,
        grantee: service(&call.region),
        retiring: Some(service(&call.region)),
        issuing_account: format!("arn:{}:iam::{}:root", key.partition, call.caller.account),
        operations: OPERATIONS.map(str::to_owned).to_vec(),
        context_equals: None,
        context_subset: Some(BTreeMap::from([("aws:rds:db-id".to_owned(), resource.to_owned())])),
        source_arn: None,
        resource: Some(resource.to_owned()),
    }
}

impl State {
    /// Lets RDS, acting for `caller`, take a key into use for a resource: the key must be a symmetric encryption key, be
    /// Enabled and in `region`, and its policy must allow the caller `kms:DescribeKey` and, with
    /// `kms:GrantIsForAWSResource` true and `kms:ViaService` `rds.<region>.amazonaws.com`, `kms:CreateGrant`. Takes a key
    /// ARN, key id, alias ARN or alias name, as RDS does; answers the key's ARN and records the grant for `resource`. A
    /// resource has one grant on a key however often it is attached.
    ///
    /// # Errors
    /// The key cannot be used; nothing is recorded then.
    pub fn attach(
        &mut self,
        now: DateTime<Utc>,
        caller: &Caller,
        region: &str,
        key: &str,
        resource: &str,
    ) -> Result<String, KeyNotAccessible> {
        let call = Call {
            now,
            caller: caller.clone(),
            region: region.to_owned(),
            action: "CreateGrant".to_owned(),
            params: serde_json::Value::Null,
        };
        self.sweep(now);
        let grant = self.attachable(&call, key, resource).map_err(|error| {
            let AwsError { code, message, .. } = error;
            KeyNotAccessible(format!("The specified KMS key [{key}] cannot be used: {code}: {message}"))
        })?;
        let (arn, row) = (grant.key.clone(), Grant::row_key(&grant.key, &grant.id));
        if !self.grants.contains(&row) {
            self.grants.insert(row, grant);
        }
        Ok(arn)
    }

    /// Whether [`State::attach`] would let RDS take the key into use for `caller` now. Nothing is recorded.
    ///
    /// # Errors
    /// Why not.
    pub fn may_attach(
        &self,
        now: DateTime<Utc>,
        caller: &Caller,
        region: &str,
        key: &str,
    ) -> Result<(), KeyNotAccessible> {
        let call = Call {
            now,
            caller: caller.clone(),
            region: region.to_owned(),
            action: "CreateGrant".to_owned(),
            params: serde_json::Value::Null,
        };
        let due = self.keys.get(key).is_some_and(|key| key.is_due(now));
        self.attachable(&call, key, "")
            .map_err(|error| KeyNotAccessible(error.message))
            .and_then(|_| if due { Err(KeyNotAccessible(format!("key {key} is deleted"))) } else { Ok(()) })
    }

    /// The grant that RDS makes itself for a resource, when the caller may have it made.
    fn attachable(&self, call: &Call, id: &str, resource: &str) -> Result<Grant, AwsError> {
        let via = || {
            let mut context = Context::default();
            context.set("kms:ViaService", service(&call.region));
            context
        };
        let key = self.resolve(call, id, ANY)?;
        self.authorize(call, key, "DescribeKey", via(), None)?;
        let mut context = via();
        context.set("kms:GrantIsForAWSResource", "true");
        context.set("kms:GranteePrincipal", service(&call.region));
        context.set("kms:GrantConstraintType", "EncryptionContextSubset");
        context.set_all("kms:GrantOperations", OPERATIONS.map(str::to_owned));
        let grant = grant_for(call, key, resource);
        self.authorize_grant(call, key, context, &grant)?;
        require_enabled(key, call.now)?;
        if !key.is_symmetric() {
            return Err(super::errors::unsupported(format!("{} is not a symmetric encryption key", key.arn)));
        }
        Ok(grant)
    }

    /// Whether a key that is in use still works: `Err` when it is disabled, pending deletion, without material or gone.
    /// RDS moves a resource on such a key to `inaccessible-encryption-credentials-recoverable`.
    ///
    /// # Errors
    /// Why the key does not work.
    pub fn usable(&self, now: DateTime<Utc>, key_arn: &str) -> Result<(), KeyNotAccessible> {
        let key = self.keys.get(key_arn).filter(|key| !key.is_due(now));
        let key = key.ok_or_else(|| KeyNotAccessible(format!("key {key_arn} does not exist")))?;
        require_enabled(key, now).map_err(|error| KeyNotAccessible(error.message))
    }

    /// The ARN of an account's default RDS key (`alias/aws/rds`) in a region, made when first asked for.
    pub fn default_rds_key(&mut self, now: DateTime<Utc>, caller: &Caller, region: &str) -> String {
        self.managed_key(now, caller, region, "rds")
    }

    /// The ARN of an account's AWS managed key for a service (`alias/aws/<service>`), made when first asked for.
    pub fn managed_key(&mut self, now: DateTime<Utc>, caller: &Caller, region: &str, of: &str) -> String {
        let Caller { account, partition, .. } = caller;
        let id = random::named_uuid(&format!("aws/{of} {partition} {account} {region}"));
        let arn = format!("arn:{partition}:kms:{region}:{account}:key/{id}");
        if self.keys.contains(&arn) {
            return arn;
        }
        // Without randomness there is no key yet; whoever asks whether it is usable hears so, and the next call tries again.
        let service = if of == "ebs" { "ec2" } else { of };
        let via = format!("{service}.{region}.amazonaws.com");
        if let Ok(key) = keys::managed(&arn, (partition, account, region), now, (of, &via)) {
            let name = format!("alias/aws/{of}");
            let alias_arn = format!("arn:{partition}:kms:{region}:{account}:{name}");
            let alias = Alias { name, arn: alias_arn.clone(), target: arn.clone(), created: now, updated: now };
            self.aliases.insert(alias_arn, alias);
            self.keys.insert(&arn, key);
        }
        arn
    }

    /// Drops the grant that [`State::attach`] recorded, when its resource is deleted.
    pub fn detach(&mut self, key_arn: &str, resource: &str) {
        self.grants.remove(&Grant::row_key(key_arn, &grant_id(key_arn, resource)));
    }
}

impl Key {
    /// Whether its deletion's waiting period is over.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.deletion.is_some_and(|(at, _)| at <= now)
    }
}
