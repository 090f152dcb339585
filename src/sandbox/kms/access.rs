//! Which key a call means, and whether its caller may.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{
    State,
    condition::Context,
    constraints, errors,
    key::{Grant, Key, KeyState},
    policy::{self, Request, Verdict},
    validate::{Input, missing},
};
use crate::sandbox::{AwsError, Call};

/// How an operation may name its key.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    /// Alias names and alias ARNs as well as key ids and key ARNs.
    pub aliases: bool,
    /// Keys of other accounts too.
    pub cross_account: bool,
}

/// Cryptographic operations and DescribeKey.
pub const ANY: Naming = Naming { aliases: true, cross_account: true };
/// Grants and GetKeyRotationStatus.
pub const NO_ALIAS: Naming = Naming { aliases: false, cross_account: true };
/// Management.
pub const OWN: Naming = Naming { aliases: false, cross_account: false };

/// Where every direct call comes from: the sandbox is on nobody's network but its own machine's.
const SOURCE_IP: &str = "127.0.0.1";

pub const ENCRYPT_DECRYPT: &str = "ENCRYPT_DECRYPT";

impl State {
    /// The key that the call's `KeyId` names, when the caller may do `kms:<action>` with it.
    pub fn own_key(&self, call: &Call, naming: Naming) -> Result<&Key, AwsError> {
        self.key_with(call, naming, Context::default())
    }

    /// As [`State::own_key`], with the operation's own condition keys.
    pub fn key_with(&self, call: &Call, naming: Naming, extra: Context) -> Result<&Key, AwsError> {
        let id = Input(&call.params).sized("KeyId", 1, 2048)?.ok_or_else(|| missing("KeyId"))?;
        let key = self.resolve(call, id, naming)?;
        self.authorize(call, key, &call.action, extra, None)?;
        Ok(key)
    }

    /// The key that `id` names.
    ///
    /// # Errors
    /// There is none, or the operation does not take this kind of name or other accounts' keys.
    pub fn resolve(&self, call: &Call, id: &str, naming: Naming) -> Result<&Key, AwsError> {
        let arn = self.arn_of(call, id, naming)?;
        let key = self.keys.get(&arn).ok_or_else(|| errors::no_key(&arn))?;
        if key.account != call.caller.account && !naming.cross_account {
            return Err(denied(call, &call.action, &key.arn, false));
        }
        Ok(key)
    }

    fn arn_of(&self, call: &Call, id: &str, naming: Naming) -> Result<String, AwsError> {
        let (partition, account) = (&call.caller.partition, &call.caller.account);
        let own = |resource: &str| format!("arn:{partition}:kms:{}:{account}:{resource}", call.region);
        if let Some(rest) = id.strip_prefix("arn:") {
            let parts: Vec<&str> = rest.splitn(5, ':').collect();
            let [of, "kms", region, _account, resource] = parts[..] else {
                return Err(errors::invalid_arn(format!("Invalid arn {id}")));
            };
            if region != call.region {
                return Err(errors::not_found(format!("Invalid arn {region}")));
            }
            if of != partition {
                return Err(errors::not_found(format!("Invalid arn {of}")));
            }
            return match resource.split_once('/') {
                Some(("key", _)) => Ok(id.to_owned()),
                Some(("alias", _)) if naming.aliases => self.target_of(id),
                _ => Err(errors::invalid_arn(format!("Invalid arn {id}"))),
            };
        }
        if id.starts_with("alias/") && naming.aliases {
            return self.target_of(&own(id));
        }
        if !is_key_id(id) {
            return Err(errors::not_found(format!("Invalid keyId '{id}'")));
        }
        Ok(own(&format!("key/{id}")))
    }

    fn target_of(&self, alias_arn: &str) -> Result<String, AwsError> {
        let alias = self.aliases.get(alias_arn);
        alias
            .map(|alias| alias.target.clone())
            .ok_or_else(|| errors::not_found(format!("Alias {alias_arn} is not found.")))
    }

    /// Whether the caller may do `kms:<action>` with `key`: its policy allows it and denies nothing, or a grant does and
    /// the policy does not deny. `encryption_context` is what a grant's constraints look at.
    pub fn authorize(
        &self,
        call: &Call,
        key: &Key,
        action: &str,
        extra: Context,
        encryption_context: Option<&BTreeMap<String, String>>,
    ) -> Result<(), AwsError> {
        self.authorize_by(call, key, action, extra, |grant| constraints::hold(grant, encryption_context))
    }

    /// Whether the caller may make `grant`: a caller whom only a grant lets make grants may make none wider than its own.
    pub fn authorize_grant(&self, call: &Call, key: &Key, extra: Context, grant: &Grant) -> Result<(), AwsError> {
        self.authorize_by(call, key, "CreateGrant", extra, |parent| constraints::within(parent, grant))
    }

    /// As [`State::authorize`], with what has to be true of a grant that allows it.
    fn authorize_by(
        &self,
        call: &Call,
        key: &Key,
        action: &str,
        extra: Context,
        fits: impl Fn(&Grant) -> bool,
    ) -> Result<(), AwsError> {
        let request = Request {
            caller: &call.caller,
            action: format!("kms:{action}"),
            key_arn: &key.arn,
            context: self.context(call, key, extra),
        };
        match policy::evaluate(key.effective_policy(call.now, self.policy_delay), &request) {
            Verdict::Allow => Ok(()),
            Verdict::ExplicitDeny => Err(denied(call, action, &key.arn, true)),
            Verdict::Silent if self.granted(call, key, action, fits) => Ok(()),
            Verdict::Silent => Err(denied(call, action, &key.arn, false)),
        }
    }

    fn granted(&self, call: &Call, key: &Key, action: &str, fits: impl Fn(&Grant) -> bool) -> bool {
        self.grants_of(&key.arn).any(|grant| {
            policy::names(&grant.grantee, &call.caller)
                && grant.operations.iter().any(|operation| operation == action)
                && fits(grant)
        })
    }

    pub fn grants_of<'a>(&'a self, key_arn: &'a str) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().map(|(_, grant)| grant).filter(move |grant| grant.key == key_arn)
    }

    /// The condition keys of every request, and `extra` over them.
    fn context(&self, call: &Call, key: &Key, extra: Context) -> Context {
        let mut context = extra;
        context.set("kms:CallerAccount", &call.caller.account);
        context.set("kms:KeySpec", &key.spec);
        context.set("kms:KeyUsage", &key.usage);
        context.set("kms:KeyOrigin", &key.origin);
        context.set("kms:MultiRegion", key.multi_region.to_string());
        context.set_all("kms:ResourceAliases", self.aliases_of(&key.arn).map(|alias| alias.name.clone()));
        context.set("aws:PrincipalArn", policy::principal_arn(&call.caller));
        context.set("aws:PrincipalAccount", &call.caller.account);
        context.set("aws:PrincipalIsAWSService", "false");
        context.set("aws:RequestedRegion", &call.region);
        context.set("aws:ResourceAccount", &key.account);
        context.set("aws:SecureTransport", "true");
        let via_service = context.has("kms:ViaService");
        context.set("aws:ViaAWSService", via_service.to_string());
        if !via_service {
            // A service that calls on somebody's behalf does not say from where that one called.
            context.set("aws:SourceIp", SOURCE_IP);
        }
        context.set("aws:CurrentTime", call.now.to_rfc3339());
        context.set("aws:EpochTime", call.now.timestamp().to_string());
        for (name, value) in &key.tags {
            context.set(&format!("aws:ResourceTag/{name}"), value);
        }
        context
    }
}

/// The condition keys that an encryption context gives.
pub fn encryption_context_keys(into: &mut Context, encryption_context: &BTreeMap<String, String>) {
    for (name, value) in encryption_context {
        into.set(&format!("kms:EncryptionContext:{name}"), value);
    }
    into.set_all("kms:EncryptionContextKeys", encryption_context.keys().cloned());
}

fn is_key_id(id: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(rest) = id.strip_prefix("mrk-") {
        return rest.len() == 32 && hex(rest);
    }
    let parts: Vec<&str> = id.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| hex(part))
}

pub fn denied(call: &Call, action: &str, key_arn: &str, explicitly: bool) -> AwsError {
    let why = if explicitly {
        "with an explicit deny in a resource-based policy".to_owned()
    } else {
        format!("because no resource-based policy allows the kms:{action} action")
    };
    let arn = &call.caller.arn;
    let message = format!("User: {arn} is not authorized to perform: kms:{action} on resource: {key_arn} {why}");
    AwsError::new("AccessDeniedException", message)
}

/// What an operation says that does not work in a key's state.
pub fn unfit(key: &Key, state: KeyState) -> AwsError {
    let arn = &key.arn;
    match state {
        KeyState::Disabled => AwsError::new("DisabledException", format!("{arn} is disabled.")),
        KeyState::PendingDeletion => errors::invalid_state(format!("{arn} is pending deletion.")),
        KeyState::PendingReplicaDeletion => errors::invalid_state(format!("{arn} is pending replica deletion.")),
        KeyState::PendingImport => errors::invalid_state(format!("{arn} is pending import.")),
        KeyState::Creating => errors::invalid_state(format!("{arn} is creating.")),
        KeyState::Updating => errors::invalid_state(format!("{arn} is updating.")),
        KeyState::Enabled => errors::invalid_state(format!("{arn} is enabled.")),
    }
}

/// The key can be used now.
///
/// # Errors
/// The state that keeps it from being used.
pub fn require_enabled(key: &Key, now: DateTime<Utc>) -> Result<(), AwsError> {
    match key.state(now) {
        KeyState::Enabled | KeyState::Updating => Ok(()),
        state @ (KeyState::Disabled
        | KeyState::PendingDeletion
        | KeyState::PendingReplicaDeletion
        | KeyState::PendingImport
        | KeyState::Creating) => Err(unfit(key, state)),
    }
}

/// The key is in any state but `PendingDeletion` and `PendingReplicaDeletion`.
pub fn require_not_deleting(key: &Key, now: DateTime<Utc>) -> Result<(), AwsError> {
    match key.state(now) {
        state @ (KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => Err(unfit(key, state)),
        KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport | KeyState::Creating | KeyState::Updating => {
            Ok(())
        }
    }
}

pub fn require_usage(key: &Key, usage: &str, action: &str) -> Result<(), AwsError> {
    if key.usage == usage {
        return Ok(());
    }
    let message = format!("{} key usage is {} which is not valid for {action}.", key.arn, key.usage);
    Err(AwsError::new("InvalidKeyUsageException", message))
}
