//! KMS: keys, their policies and grants, real cryptography, imported key material.
//!
//! Every operation runs in the same order, AWS's own: read and validate the input, find the key, ask its policy and grants,
//! look at the key's state and kind, then (unless it is a dry run) do it. Nothing is changed before all of it is checked.
//! Codes, fields and limits are those of the KMS API reference; messages are as near to AWS's as is known. SM2, custom
//! key stores and attestation documents (`Recipient`) are not emulated and say so.

mod access;
mod agreement;
mod aliases;
mod asymmetric;
mod attach;
mod condition;
mod constraints;
mod crypto;
mod errors;
mod grants;
mod import;
mod key;
mod keys;
mod maker;
mod multi_region;
mod pairs;
mod policy;
mod rotation;
mod rsa;
mod stores;
mod tags;
mod usage;
mod validate;

#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

pub use attach::KeyNotAccessible;
use key::{Alias, Grant, ImportParameters, Key};

use super::{Answer, AwsError, Call, Changes, Rows, Table};

/// All keys, aliases, grants and import parameters.
#[derive(Debug)]
pub struct State {
    /// By ARN.
    keys: Table<Key>,
    /// By ARN.
    aliases: Table<Alias>,
    /// By [`Grant::row_key`].
    grants: Table<Grant>,
    /// By token, in hexadecimal.
    imports: Table<ImportParameters>,
    /// By the key's ARN.
    usages: Table<usage::Usage>,
    policy_delay: TimeDelta,
}

impl Default for State {
    fn default() -> Self {
        Self {
            keys: Table::new("kms/key"),
            aliases: Table::new("kms/alias"),
            grants: Table::new("kms/grant"),
            imports: Table::new("kms/import"),
            usages: Table::new("kms/usage"),
            policy_delay: TimeDelta::zero(),
        }
    }
}

impl Rows for State {
    fn take_changes(&mut self, changes: &mut Changes) -> Result<(), serde_json::Error> {
        self.keys.take_changes(changes)?;
        self.aliases.take_changes(changes)?;
        self.grants.take_changes(changes)?;
        self.imports.take_changes(changes)?;
        self.usages.take_changes(changes)
    }

    fn load(&mut self, kind: &str, key: &str, body: &str) -> Result<bool, serde_json::Error> {
        match kind {
            "kms/key" => self.keys.load(key, body)?,
            "kms/alias" => self.aliases.load(key, body)?,
            "kms/grant" => self.grants.load(key, body)?,
            "kms/import" => self.imports.load(key, body)?,
            "kms/usage" => self.usages.load(key, body)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl State {
    /// Changed policies take effect this much later.
    pub fn set_policy_delay(&mut self, delay: Duration) {
        self.policy_delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
    }

    fn keys_here<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().map(|(_, key)| key).filter(|key| {
            key.account == call.caller.account && key.region == call.region && key.partition == call.caller.partition
        })
    }

    /// Changes one key and answers nothing, as most management operations do.
    fn change(&mut self, arn: &str, what: &str, change: impl FnOnce(&mut Key)) -> Result<Answer, AwsError> {
        let key = self.keys.get_mut(arn).ok_or_else(|| errors::no_key(arn))?;
        change(key);
        Ok(Answer::effect(json!({}), arn, what))
    }

    /// Brings everything up to the present: what is due is deleted, rotated, wiped or forgotten.
    fn sweep(&mut self, now: DateTime<Utc>) {
        let gone: Vec<String> =
            self.keys.iter().filter(|(_, key)| key.is_due(now)).map(|(arn, _)| arn.clone()).collect();
        for arn in gone {
            self.keys.remove(&arn);
            self.usages.remove(&arn);
            let aliases: Vec<String> = self.aliases_of(&arn).map(|alias| alias.arn.clone()).collect();
            aliases.iter().for_each(|alias| drop(self.aliases.remove(alias)));
            let grants: Vec<String> = self.grants_of(&arn).map(|grant| Grant::row_key(&arn, &grant.id)).collect();
            grants.iter().for_each(|grant| drop(self.grants.remove(grant)));
        }
        self.release_primaries(now);
        self.wipe_expired(now);
        rotation::rotate_due(self, now);
        import::forget_old(self, now);
    }

    fn wipe_expired(&mut self, now: DateTime<Utc>) {
        let expired = |key: &Key| key.materials.iter().any(|m| m.secret.is_some() && m.live(now).is_none());
        let arns: Vec<String> = self.keys.iter().filter(|(_, key)| expired(key)).map(|(arn, _)| arn.clone()).collect();
        for arn in arns {
            let Some(key) = self.keys.get_mut(&arn) else { continue };
            for material in key.materials.iter_mut().filter(|material| material.live(now).is_none()) {
                material.secret = None;
            }
        }
    }
}

/// Slow work that a call needs, done before the world is locked: RSA keys take up to seconds to make.
#[derive(Debug, Default)]
pub struct Prepared {
    pair: Option<pairs::Pair>,
}

impl Prepared {
    /// Does the slow work of a call, in turns between those who ask.
    ///
    /// # Errors
    /// There is no randomness to make keys from.
    pub async fn make(service: &str, action: &str, params: &Value, who: &str) -> Result<Self, AwsError> {
        match asymmetric::wanted_spec(action, params).filter(|_| service == "kms") {
            Some(spec) => Ok(Self { pair: maker::pair(spec, who).await? }),
            None => Ok(Self::default()),
        }
    }
}

/// Answers one KMS call.
///
/// # Errors
/// The error as AWS answers it.
pub fn handle(state: &mut State, call: &Call, prepared: Prepared) -> Result<Answer, AwsError> {
    state.sweep(call.now);
    let named = call.params.get("KeyId").and_then(Value::as_str).and_then(|id| id.strip_prefix("alias/aws/"));
    if let Some(of) = named.filter(|of| call.action == "DescribeKey" && attach::MANAGED.contains(of)) {
        // KMS makes an AWS managed key when its alias is first described.
        state.managed_key(call.now, &call.caller, &call.region, of);
    }
    let answer = dispatch(state, call, prepared)?;
    usage::record(state, call, &answer)?;
    Ok(answer)
}

fn dispatch(state: &mut State, call: &Call, prepared: Prepared) -> Result<Answer, AwsError> {
    match call.action.as_str() {
        "CreateKey" => keys::create(state, call, prepared.pair),
        "ReplicateKey" => multi_region::replicate(state, call),
        "UpdatePrimaryRegion" => multi_region::update_primary(state, call),
        "DescribeKey" => keys::describe(state, call),
        "GetKeyLastUsage" => usage::get(state, call),
        "ListKeys" => keys::list(state, call),
        "EnableKey" => keys::set_enabled(state, call, true),
        "DisableKey" => keys::set_enabled(state, call, false),
        "ScheduleKeyDeletion" => keys::schedule_deletion(state, call),
        "CancelKeyDeletion" => keys::cancel_deletion(state, call),
        "UpdateKeyDescription" => keys::update_description(state, call),
        "GetKeyPolicy" => keys::get_policy(state, call),
        "PutKeyPolicy" => keys::put_policy(state, call),
        "ListKeyPolicies" => keys::list_policies(state, call),
        "CreateAlias" => aliases::create(state, call),
        "UpdateAlias" => aliases::update(state, call),
        "DeleteAlias" => aliases::delete(state, call),
        "ListAliases" => aliases::list(state, call),
        "TagResource" => tags::tag(state, call),
        "UntagResource" => tags::untag(state, call),
        "ListResourceTags" => tags::list(state, call),
        "Encrypt" => crypto::encrypt(state, call),
        "Decrypt" => crypto::decrypt(state, call),
        "ReEncrypt" => crypto::re_encrypt(state, call),
        "GenerateDataKey" => crypto::generate_data_key(state, call, true),
        "GenerateDataKeyWithoutPlaintext" => crypto::generate_data_key(state, call, false),
        "GenerateDataKeyPair" => crypto::generate_data_key_pair(state, call, prepared.pair, true),
        "GenerateDataKeyPairWithoutPlaintext" => crypto::generate_data_key_pair(state, call, prepared.pair, false),
        "GetPublicKey" => asymmetric::get_public_key(state, call),
        "Sign" => asymmetric::sign(state, call),
        "Verify" => asymmetric::verify(state, call),
        "DeriveSharedSecret" => agreement::derive_shared_secret(state, call),
        "Encapsulate" => agreement::encapsulate(state, call),
        "Decapsulate" => agreement::decapsulate(state, call),
        "GenerateRandom" => crypto::generate_random(call),
        "GenerateMac" => crypto::generate_mac(state, call),
        "VerifyMac" => crypto::verify_mac(state, call),
        "CreateGrant" => grants::create(state, call),
        "ListGrants" => grants::list(state, call),
        "ListRetirableGrants" => grants::list_retirable(state, call),
        "RevokeGrant" => grants::revoke(state, call),
        "RetireGrant" => grants::retire(state, call),
        "GetParametersForImport" => import::get_parameters(state, call, prepared.pair),
        "ImportKeyMaterial" => import::import(state, call),
        "DeleteImportedKeyMaterial" => import::delete(state, call),
        "EnableKeyRotation" => rotation::enable(state, call),
        "DisableKeyRotation" => rotation::disable(state, call),
        "GetKeyRotationStatus" => rotation::status(state, call),
        "RotateKeyOnDemand" => rotation::on_demand(state, call),
        "ListKeyRotations" => rotation::list(state, call),
        "DescribeCustomKeyStores" => stores::describe(call),
        "CreateCustomKeyStore" => Err(stores::create()),
        "ConnectCustomKeyStore" | "DisconnectCustomKeyStore" | "UpdateCustomKeyStore" | "DeleteCustomKeyStore" => {
            Err(stores::named(call))
        }
        _ => Err(AwsError::new("UnknownOperationException", "")),
    }
}
