//! Keys themselves: create, describe, list, enable, disable, delete; their descriptions and policies.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    State,
    access::{ANY, OWN, require_not_deleting, unfit},
    asymmetric,
    condition::Context,
    errors,
    key::{Key, KeyState, Material, MaterialState, Replaced, Secret},
    pairs::{self, Pair},
    policy::{self, Request, Verdict},
    tags,
    validate::{Input, missing, page},
};
use crate::sandbox::{Answer, AwsError, Call, random};

const SPECS: [&str; 20] = [
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SYMMETRIC_DEFAULT",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
];
const USAGES: [&str; 5] =
    ["SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"];
const ORIGINS: [&str; 4] = ["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];

/// Epoch seconds, as JSON 1.1 spells times.
pub fn epoch(time: DateTime<Utc>) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit a double exactly")]
    let seconds = time.timestamp_millis() as f64 / 1000.0;
    json!(seconds)
}

/// How many bytes of material a spec has; none: a spec that is not emulated.
pub fn material_length(spec: &str) -> Option<usize> {
    match spec {
        "SYMMETRIC_DEFAULT" | "HMAC_256" => Some(32),
        "HMAC_224" => Some(28),
        "HMAC_384" => Some(48),
        "HMAC_512" => Some(64),
        _ => None,
    }
}

/// The id of material in a key: the same bytes in the same key have the same id.
pub fn material_id(key_id: &str, material: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(key_id.as_bytes());
    hasher.update([0]);
    hasher.update(material);
    hex::encode(hasher.finalize())
}

pub fn new_material(key_id: &str, length: usize) -> Result<Material, AwsError> {
    let mut bytes = vec![0; length];
    random::fill(&mut bytes)?;
    Ok(first_material(key_id, bytes))
}

fn first_material(key_id: &str, bytes: Vec<u8>) -> Material {
    Material {
        id: material_id(key_id, &bytes),
        secret: Some(Secret(bytes)),
        state: MaterialState::Current,
        rotated: None,
        valid_to: None,
        description: None,
    }
}

fn spec_and_usage(input: Input<'_>) -> Result<(&'static str, &'static str), AwsError> {
    let spec = match (input.one_of("KeySpec", &SPECS)?, input.one_of("CustomerMasterKeySpec", &SPECS)?) {
        (Some(_), Some(_)) => {
            return Err(errors::validation("You cannot specify both KeySpec and CustomerMasterKeySpec."));
        }
        (Some(spec), None) | (None, Some(spec)) => spec,
        (None, None) => "SYMMETRIC_DEFAULT",
    };
    let usage = input.one_of("KeyUsage", &USAGES)?;
    if pairs::usages(spec).is_empty() {
        return Err(errors::unsupported(format!("KeySpec {spec} is not supported in this Region.")));
    }
    match usage {
        None if spec == "SYMMETRIC_DEFAULT" => Ok((spec, "ENCRYPT_DECRYPT")),
        None => Err(errors::validation(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        )),
        Some(usage) if pairs::usages(spec).contains(&usage) => Ok((spec, usage)),
        Some(usage) => Err(errors::validation(format!("KeyUsage {usage} is not compatible with KeySpec {spec}"))),
    }
}

/// Where the material is to come from. There are no custom key stores here, so none is found.
fn origin(input: Input<'_>, spec: &str) -> Result<&'static str, AwsError> {
    let origin = input.one_of("Origin", &ORIGINS)?.unwrap_or("AWS_KMS");
    let store = input.sized("CustomKeyStoreId", 1, 64)?;
    if origin != "EXTERNAL_KEY_STORE" && input.has("XksKeyId") {
        return Err(errors::validation(format!("XksKeyId is not valid with Origin {origin}.")));
    }
    match (origin, store) {
        ("AWS_KMS" | "EXTERNAL", None) => {}
        ("AWS_KMS" | "EXTERNAL", Some(_)) => {
            return Err(errors::validation(format!("CustomKeyStoreId is not valid with Origin {origin}.")));
        }
        (_, None) => return Err(errors::validation(format!("Origin {origin} requires a CustomKeyStoreId."))),
        (_, Some(id)) => return Err(super::stores::not_found(id)),
    }
    if origin == "EXTERNAL" && (spec.starts_with("ML_") || spec == pairs::ED25519) {
        return Err(errors::unsupported(format!("Origin {origin} is not supported for KeySpec {spec}.")));
    }
    Ok(origin)
}

pub fn create(state: &mut State, call: &Call, pair: Option<Pair>) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let (spec, usage) = spec_and_usage(input)?;
    let origin = origin(input, spec)?;
    let description = input.sized("Description", 0, 8192)?.unwrap_or_default();
    let tags = tags::read(input, "Tags")?;
    tags::check_count(tags.len())?;
    let multi_region = input.flag("MultiRegion")?;
    let bypass = input.flag("BypassPolicyLockoutSafetyCheck")?;
    let policy = input.sized("Policy", 1, 131_072)?;
    let id = if multi_region { format!("mrk-{}", hex::encode(random::bytes::<16>()?)) } else { random::uuid()? };
    let (partition, account) = (&call.caller.partition, &call.caller.account);
    let arn = format!("arn:{partition}:kms:{}:{account}:key/{id}", call.region);
    if let Some(policy) = policy {
        check_policy(call, &arn, policy, bypass)?;
    }
    let materials = match (origin, material_length(spec), pair) {
        ("EXTERNAL", _, _) => Vec::new(),
        ("AWS_KMS", Some(length), _) => vec![new_material(&id, length)?],
        ("AWS_KMS", None, Some(pair)) => vec![first_material(&id, pair.private)],
        _ => return Err(errors::internal("no key pair could be made")),
    };
    let key = Key {
        arn: arn.clone(),
        id,
        account: account.clone(),
        partition: partition.clone(),
        region: call.region.clone(),
        created: call.now,
        description: description.to_owned(),
        usage: usage.to_owned(),
        spec: spec.to_owned(),
        origin: origin.to_owned(),
        aws_managed: false,
        multi_region,
        replica: false,
        busy: None,
        disabled: false,
        deletion: None,
        replica_deletion_days: None,
        policy: policy.map_or_else(|| policy::default_policy(partition, account), str::to_owned),
        replaced: None,
        materials,
        rotation: None,
        on_demand_rotations: 0,
        tags,
    };
    let body = json!({"KeyMetadata": state.metadata(&key, call.now)});
    state.keys.insert(&arn, key);
    Ok(Answer::effect(body, arn, "created"))
}

/// The policy is one, and leaves the caller able to replace it.
pub fn check_policy(call: &Call, key_arn: &str, text: &str, bypass: bool) -> Result<(), AwsError> {
    policy::check(text, &call.caller.partition)?;
    let mut context = Context::default();
    context.set("kms:CallerAccount", &call.caller.account);
    context.set("aws:PrincipalArn", policy::principal_arn(&call.caller));
    context.set("aws:PrincipalAccount", &call.caller.account);
    context.set("kms:BypassPolicyLockoutSafetyCheck", bypass.to_string());
    let request = Request { caller: &call.caller, action: "kms:PutKeyPolicy".to_owned(), key_arn, context };
    if !bypass && policy::evaluate(text, &request) != Verdict::Allow {
        let message = "The new key policy will not allow you to update the key policy in the future.";
        return Err(AwsError::new("MalformedPolicyDocumentException", message));
    }
    Ok(())
}

impl State {
    /// `KeyMetadata`.
    pub fn metadata(&self, key: &Key, now: DateTime<Utc>) -> Value {
        let mut data = metadata(key, now);
        if let Some(configuration) = self.multi_region_configuration(key) {
            data["MultiRegionConfiguration"] = configuration;
        }
        data
    }
}

fn metadata(key: &Key, now: DateTime<Utc>) -> Value {
    let state = key.state(now);
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("AWSAccountId", json!(key.account));
    put("KeyId", json!(key.id));
    put("Arn", json!(key.arn));
    put("CreationDate", epoch(key.created));
    put("Enabled", json!(matches!(state, KeyState::Enabled | KeyState::Updating)));
    put("Description", json!(key.description));
    put("KeyUsage", json!(key.usage));
    put("KeyState", json!(state.name()));
    put("Origin", json!(key.origin));
    put("KeyManager", json!(if key.aws_managed { "AWS" } else { "CUSTOMER" }));
    put("CustomerMasterKeySpec", json!(key.spec));
    put("KeySpec", json!(key.spec));
    if let Some(size) = key.spec.strip_prefix("HMAC_") {
        put("MacAlgorithms", json!([format!("HMAC_SHA_{size}")]));
    } else {
        let (member, algorithms) = asymmetric::algorithms(key);
        put(member, json!(algorithms));
    }
    put("MultiRegion", json!(key.multi_region));
    if let Some(days) = key.replica_deletion_days {
        put("PendingDeletionWindowInDays", json!(days));
    }
    if let Some((at, _)) = key.deletion {
        put("DeletionDate", epoch(at));
    }
    if let Some(material) = key.current() {
        // Material that is gone is known by its id all the same, so that its owner can bring it back.
        if key.is_symmetric() {
            put("CurrentKeyMaterialId", json!(material.id));
        }
        if key.is_external() && material.live(now).is_some() {
            let model = material.valid_to.map_or("KEY_MATERIAL_DOES_NOT_EXPIRE", |_| "KEY_MATERIAL_EXPIRES");
            put("ExpirationModel", json!(model));
            if let Some(end) = material.valid_to {
                put("ValidTo", epoch(end));
            }
        }
    }
    Value::Object(data)
}

pub fn describe(state: &State, call: &Call) -> Result<Answer, AwsError> {
    state.check_grant_tokens(Input(&call.params))?;
    let key = state.own_key(call, ANY)?;
    Ok(Answer::read(json!({"KeyMetadata": state.metadata(key, call.now)})))
}

pub fn list(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let items =
        state.keys_here(call).map(|key| (key.arn.clone(), json!({"KeyId": key.id, "KeyArn": key.arn}))).collect();
    page(Input(&call.params), (100, 1000), "Keys", items).map(Answer::read)
}

pub fn set_enabled(state: &mut State, call: &Call, enabled: bool) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    match key.state(call.now) {
        KeyState::Enabled | KeyState::Disabled => {}
        other @ (KeyState::PendingDeletion
        | KeyState::PendingReplicaDeletion
        | KeyState::PendingImport
        | KeyState::Creating
        | KeyState::Updating) => return Err(unfit(key, other)),
    }
    let what = if enabled { "enabled" } else { "disabled" };
    state.change(&key.arn.clone(), what, |key| key.disabled = !enabled)
}

pub fn schedule_deletion(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let days = Input(&call.params).integer("PendingWindowInDays", 7, 30)?.unwrap_or(30);
    let mut context = Context::default();
    context.set("kms:ScheduleKeyDeletionPendingWindowInDays", days.to_string());
    let key = state.key_with(call, OWN, context)?;
    require_not_deleting(key, call.now)?;
    let arn = key.arn.clone();
    let mut body = json!({"KeyId": arn, "PendingWindowInDays": days});
    if !key.replica && !state.replicas_of(key).is_empty() {
        body["KeyState"] = json!(KeyState::PendingReplicaDeletion.name());
        state.change(&arn, "scheduled for deletion", |key| {
            key.replica_deletion_days = Some(days);
            key.disabled = true;
        })?;
        return Ok(Answer::effect(body, arn, "scheduled for deletion after its replicas"));
    }
    let due = call.now + TimeDelta::days(days);
    body["KeyState"] = json!(KeyState::PendingDeletion.name());
    body["DeletionDate"] = epoch(due);
    state.change(&arn, "scheduled for deletion", |key| {
        key.deletion = Some((due, days));
        key.disabled = true;
    })?;
    Ok(Answer::effect(body, arn, "scheduled for deletion"))
}

pub fn cancel_deletion(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    if key.deletion.is_none() && key.replica_deletion_days.is_none() {
        return Err(errors::invalid_state(format!("{} is not pending deletion.", key.arn)));
    }
    let arn = key.arn.clone();
    state.change(&arn, "deletion cancelled", |key| {
        key.deletion = None;
        key.replica_deletion_days = None;
    })?;
    Ok(Answer::effect(json!({"KeyId": arn}), arn, "deletion cancelled"))
}

pub fn update_description(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let description = Input(&call.params).sized("Description", 0, 8192)?.ok_or_else(|| missing("Description"))?;
    let key = state.own_key(call, OWN)?;
    require_not_deleting(key, call.now)?;
    state.change(&key.arn.clone(), "description changed", |key| description.clone_into(&mut key.description))
}

fn check_policy_name(input: Input<'_>) -> Result<(), AwsError> {
    match input.sized("PolicyName", 1, 128)? {
        None | Some("default") => Ok(()),
        Some(_) => Err(errors::not_found("No such policy exists")),
    }
}

pub fn get_policy(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    check_policy_name(Input(&call.params))?;
    Ok(Answer::read(json!({"Policy": key.policy, "PolicyName": "default"})))
}

pub fn list_policies(state: &State, call: &Call) -> Result<Answer, AwsError> {
    state.own_key(call, OWN)?;
    let items = vec![("default".to_owned(), json!("default"))];
    page(Input(&call.params), (100, 1000), "PolicyNames", items).map(Answer::read)
}

pub fn put_policy(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let text = input.sized("Policy", 1, 131_072)?.ok_or_else(|| missing("Policy"))?;
    let bypass = input.flag("BypassPolicyLockoutSafetyCheck")?;
    let mut context = Context::default();
    context.set("kms:BypassPolicyLockoutSafetyCheck", bypass.to_string());
    let key = state.key_with(call, OWN, context)?;
    check_policy_name(input)?;
    check_policy(call, &key.arn, text, bypass)?;
    let now = call.now;
    state.change(&key.arn.clone(), "policy replaced", |key| {
        let before = std::mem::replace(&mut key.policy, text.to_owned());
        key.replaced = Some(Replaced { policy: before, at: now });
    })
}

/// An AWS managed key, as services make them for an account that names no key of its own.
pub fn managed(
    arn: &str,
    call_account: (&str, &str, &str),
    now: DateTime<Utc>,
    (of, via): (&str, &str),
) -> Result<Key, AwsError> {
    let (partition, account, region) = call_account;
    let id = arn.rsplit('/').next().unwrap_or(arn).to_owned();
    let use_statement = json!({
        "Sid": format!("Allow access through {of} for all principals in the account that are authorized to use it"),
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant",
            "kms:ListGrants", "kms:DescribeKey"],
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": via}},
    });
    let read_statement = json!({
        "Sid": "Allow direct access to key metadata to the account",
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
        "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
        "Resource": "*",
    });
    let statements = json!([use_statement, read_statement]);
    let policy = json!({"Version": "2012-10-17", "Id": format!("auto-{of}-2"), "Statement": statements}).to_string();
    Ok(Key {
        arn: arn.to_owned(),
        account: account.to_owned(),
        partition: partition.to_owned(),
        region: region.to_owned(),
        created: now,
        description: format!("Default key that protects my data in {of} when no other key is defined"),
        usage: "ENCRYPT_DECRYPT".to_owned(),
        spec: "SYMMETRIC_DEFAULT".to_owned(),
        origin: "AWS_KMS".to_owned(),
        aws_managed: true,
        multi_region: false,
        replica: false,
        busy: None,
        disabled: false,
        deletion: None,
        replica_deletion_days: None,
        policy,
        replaced: None,
        materials: vec![new_material(&id, 32)?],
        rotation: Some(super::key::Rotation { period_days: 365, next: now + TimeDelta::days(365) }),
        on_demand_rotations: 0,
        tags: BTreeMap::new(),
        id,
    })
}
