//! Imported key material: wrapping keys, import tokens, and what an import does to a key.
//!
//! The unwrapping is real: RSA-OAEP with the hash the caller asked for, and AES key wrap with padding (RFC 5649) below it. Behaviour after the KMS developer guide, "Importing
//! key material", and the API reference of ImportKeyMaterial.

use aws_lc_rs::{
    key_wrap::{AES_128, AES_256, AesKek, KeyWrapPadded as _},
    rsa::PrivateDecryptingKey,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{
    State,
    access::{OWN, require_not_deleting, unfit},
    condition::Context,
    errors,
    key::{ImportParameters, Key, KeyState, Material, MaterialState, Secret},
    keys::{epoch, material_id, material_length},
    multi_region::require_no_replica,
    pairs::{Pair, public_key},
    rsa,
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call, random};

const ALGORITHMS: [&str; 6] = [
    "RSAES_PKCS1_V1_5",
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
    "SM2PKE",
];
const WRAPPING_SPECS: [&str; 4] = ["RSA_2048", "RSA_3072", "RSA_4096", "SM2"];
const VALID_FOR: TimeDelta = TimeDelta::hours(24);
/// Expired tokens are known this much longer, so that they are told apart from invalid ones.
const REMEMBERED: TimeDelta = TimeDelta::days(30);
const LONGEST_EXPIRY: TimeDelta = TimeDelta::days(365);
const TOKEN_MAGIC: &[u8] = b"KIT1";

fn require_external(key: &Key) -> Result<(), AwsError> {
    if key.is_external() {
        return Ok(());
    }
    let message = format!("{} origin is {} which is not valid for this operation.", key.arn, key.origin);
    Err(errors::unsupported(message))
}

/// Not every algorithm wraps every material: a private key of RSA is too long for RSA itself, one of P-521 for the shortest.
fn check_wrapping(key: &Key, algorithm: &str, wrapping: &str) -> Result<(), AwsError> {
    let fits = match algorithm {
        "RSAES_OAEP_SHA_1" | "RSAES_OAEP_SHA_256" => {
            !key.spec.starts_with("RSA_") && (key.spec != "ECC_NIST_P521" || wrapping != "RSA_2048")
        }
        "RSA_AES_KEY_WRAP_SHA_1" | "RSA_AES_KEY_WRAP_SHA_256" => material_length(&key.spec).is_none(),
        _ => false,
    };
    if fits && wrapping != "SM2" {
        return Ok(());
    }
    let message = format!("Wrapping algorithm {algorithm} with {wrapping} is not supported for {}", key.spec);
    Err(errors::unsupported(message))
}

pub fn get_parameters(state: &mut State, call: &Call, wrapping: Option<Pair>) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let algorithm = input.one_of("WrappingAlgorithm", &ALGORITHMS)?.ok_or_else(|| missing("WrappingAlgorithm"))?;
    let spec = input.one_of("WrappingKeySpec", &WRAPPING_SPECS)?.ok_or_else(|| missing("WrappingKeySpec"))?;
    let mut context = Context::default();
    context.set("kms:WrappingAlgorithm", algorithm);
    context.set("kms:WrappingKeySpec", spec);
    let key = state.key_with(call, OWN, context)?;
    require_external(key)?;
    require_not_deleting(key, call.now)?;
    check_wrapping(key, algorithm, spec)?;
    let wrapping = wrapping.ok_or_else(|| errors::unsupported(format!("Wrapping key spec {spec} is not supported")))?;
    let token = [TOKEN_MAGIC, &random::bytes::<64>()?].concat();
    let valid_to = call.now + VALID_FOR;
    let parameters = ImportParameters {
        key: key.arn.clone(),
        private_key: Secret(wrapping.private),
        algorithm: algorithm.to_owned(),
        valid_to,
    };
    let body = json!({
        "KeyId": key.arn,
        "ImportToken": BASE64.encode(&token),
        "PublicKey": BASE64.encode(wrapping.public_spki),
        "ParametersValidTo": epoch(valid_to),
    });
    state.imports.insert(hex::encode(token), parameters);
    // No resource changed, so the ledger has nothing to say; the row outlives the process all the same.
    Ok(Answer::read(body))
}

/// Forgets parameters that nobody can use any more.
pub fn forget_old(state: &mut State, now: DateTime<Utc>) {
    let old = state.imports.iter().filter(|(_, parameters)| now - parameters.valid_to > REMEMBERED);
    let old: Vec<String> = old.map(|(token, _)| token.clone()).collect();
    for token in old {
        state.imports.remove(&token);
    }
}

/// When the material ends; none: never.
fn expiry(input: Input<'_>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, AwsError> {
    let models = ["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
    let model = input.one_of("ExpirationModel", &models)?.unwrap_or("KEY_MATERIAL_EXPIRES");
    match (model, input.time("ValidTo")?) {
        ("KEY_MATERIAL_DOES_NOT_EXPIRE", None) => Ok(None),
        ("KEY_MATERIAL_DOES_NOT_EXPIRE", Some(_)) => Err(errors::validation(
            "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
        )),
        (_, None) => {
            Err(errors::validation("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"))
        }
        (_, Some(end)) if end <= now => Err(errors::validation("The validTo date must be in the future")),
        (_, Some(end)) if end - now > LONGEST_EXPIRY => {
            Err(errors::validation("The validTo date must be at most 365 days in the future"))
        }
        (_, end) => Ok(end),
    }
}

fn unwrap(parameters: &ImportParameters, wrapped: &[u8]) -> Result<Vec<u8>, AwsError> {
    let private = PrivateDecryptingKey::from_pkcs8(&parameters.private_key.0)
        .map_err(|_| errors::internal("the wrapping key cannot be read"))?;
    let Some(hash) = parameters.algorithm.strip_prefix("RSA_AES_KEY_WRAP_") else {
        return rsa::decrypt_with(private, &parameters.algorithm, wrapped);
    };
    let split = wrapped.split_at_checked(private.key_size_bytes()).ok_or_else(errors::invalid_ciphertext)?;
    let wrapping_key = rsa::decrypt_with(private, &format!("RSAES_OAEP_{hash}"), split.0)?;
    let cipher = if wrapping_key.len() == 16 { &AES_128 } else { &AES_256 };
    let mut plain = vec![0; split.1.len()];
    AesKek::new(cipher, &wrapping_key)
        .and_then(|key| Ok(key.unwrap_with_padding(split.1, &mut plain)?.to_vec()))
        .map_err(|_| errors::invalid_ciphertext())
}

/// Material is so many bytes, or the private key of a pair in PKCS#8. Of an HMAC key it may be longer than what KMS makes
/// itself, up to the block of its hash.
fn is_material(spec: &str, bytes: &[u8]) -> bool {
    let longest = match spec {
        "HMAC_224" | "HMAC_256" => Some(64),
        "HMAC_384" | "HMAC_512" => Some(128),
        _ => material_length(spec),
    };
    let range = material_length(spec).zip(longest);
    range.map_or_else(|| public_key(spec, bytes).is_some(), |(least, most)| (least..=most).contains(&bytes.len()))
}

fn incorrect(message: &str) -> AwsError {
    AwsError::new("IncorrectKeyMaterialException", message)
}

fn parameters<'a>(
    state: &'a State,
    key: &Key,
    token: &[u8],
    now: DateTime<Utc>,
) -> Result<&'a ImportParameters, AwsError> {
    let parameters = state.imports.get(&hex::encode(token)).filter(|parameters| parameters.key == key.arn);
    let parameters = parameters.ok_or_else(|| AwsError::new("InvalidImportTokenException", ""))?;
    if now >= parameters.valid_to {
        return Err(AwsError::new("ExpiredImportTokenException", "The import token is expired."));
    }
    Ok(parameters)
}

/// What an import asks for beside the material.
struct Asked {
    new: bool,
    id: Option<String>,
    valid_to: Option<DateTime<Utc>>,
    description: Option<String>,
}

fn asked(input: Input<'_>, key: &Key, now: DateTime<Utc>) -> Result<Asked, AwsError> {
    let kind = input.one_of("ImportType", &["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"])?;
    let new = kind.map_or(key.materials.is_empty(), |kind| kind == "NEW_KEY_MATERIAL");
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let id = input.matching("KeyMaterialId", (64, 64), "^[a-f0-9]+$", hex)?.map(str::to_owned);
    if kind == Some("NEW_KEY_MATERIAL") && id.is_some() {
        return Err(errors::validation("KeyMaterialId must not be specified when ImportType is NEW_KEY_MATERIAL"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":/_.-".contains(c);
    let description = input.matching("KeyMaterialDescription", (0, 256), "^[a-zA-Z0-9:/_\\s.-]+$", good)?;
    Ok(Asked { new, id, valid_to: expiry(input, now)?, description: description.map(str::to_owned) })
}

pub fn import(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let token = input.blob("ImportToken", 6144)?.ok_or_else(|| missing("ImportToken"))?;
    let wrapped = input.blob("EncryptedKeyMaterial", 6144)?.ok_or_else(|| missing("EncryptedKeyMaterial"))?;
    let mut context = Context::default();
    context.set_all("kms:ExpirationModel", input.text("ExpirationModel")?.map(str::to_owned));
    context.set_all("kms:ValidTo", input.time("ValidTo")?.map(|time| time.to_rfc3339()));
    let key = state.key_with(call, OWN, context)?;
    require_external(key)?;
    let asked = asked(input, key, call.now)?;
    match key.state(call.now) {
        KeyState::Enabled | KeyState::PendingImport => {}
        KeyState::Disabled => return Err(errors::invalid_state(format!("{} is disabled.", key.arn))),
        other @ (KeyState::PendingDeletion
        | KeyState::PendingReplicaDeletion
        | KeyState::Creating
        | KeyState::Updating) => return Err(unfit(key, other)),
    }
    let material = unwrap(parameters(state, key, &token, call.now)?, &wrapped)?;
    if !is_material(&key.spec, &material) {
        return Err(incorrect("The key material in the request is not valid for the key spec of this KMS key."));
    }
    let id = material_id(&key.id, &material);
    check_fits(key, &asked, &id, call.now)?;
    let (arn, what) = (key.arn.clone(), format!("key material {id} imported"));
    let key = state.keys.get_mut(&arn).ok_or_else(|| errors::no_key(&arn))?;
    put(key, &id, Secret(material), asked);
    state.synchronize(&arn, call.now);
    Ok(Answer::effect(json!({"KeyId": arn, "KeyMaterialId": id}), arn, what))
}

/// New material is new, existing material is there, and neither is in the way of another.
fn check_fits(key: &Key, asked: &Asked, id: &str, now: DateTime<Utc>) -> Result<(), AwsError> {
    let known = key.material(id).is_some();
    if !asked.new {
        if asked.id.as_deref().is_some_and(|wanted| wanted != id) || !known {
            return Err(incorrect(
                "The key material in the request is not identical to the key material that was previously imported.",
            ));
        }
        return Ok(());
    }
    require_no_replica(key)?;
    if known {
        return Err(incorrect("The key material in the request is already associated with this KMS key."));
    }
    if key.materials.is_empty() {
        return Ok(());
    }
    if !key.is_symmetric() {
        return Err(errors::unsupported(format!("{} can hold one key material only.", key.arn)));
    }
    if key.state(now) == KeyState::PendingImport {
        return Err(errors::invalid_state(format!("{} is pending import.", key.arn)));
    }
    if key.materials.iter().any(Material::is_pending) {
        return Err(errors::invalid_state(format!("{} already has key material that is pending rotation.", key.arn)));
    }
    Ok(())
}

fn put(key: &mut Key, id: &str, secret: Secret, asked: Asked) {
    let first = key.materials.is_empty();
    match key.materials.iter_mut().find(|material| material.id == id) {
        Some(material) => {
            material.secret = Some(secret);
            material.valid_to = asked.valid_to;
            if asked.description.is_some() {
                material.description = asked.description;
            }
        }
        None => key.materials.push(Material {
            id: id.to_owned(),
            secret: Some(secret),
            state: if first { MaterialState::Current } else { MaterialState::PendingRotation },
            rotated: None,
            valid_to: asked.valid_to,
            description: asked.description,
        }),
    }
}

pub fn delete(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let wanted = input.matching("KeyMaterialId", (64, 64), "^[a-f0-9]+$", hex)?;
    let key = state.own_key(call, OWN)?;
    require_external(key)?;
    let arn = key.arn.clone();
    let target = match wanted {
        Some(id) => {
            Some(key.material(id).ok_or_else(|| errors::not_found(format!("Key material {id} does not exist")))?)
        }
        None => key.current(),
    };
    let Some(id) = target.map(|material| material.id.clone()) else {
        return Ok(Answer::read(json!({"KeyId": arn})));
    };
    let body = json!({"KeyId": arn, "KeyMaterialId": id});
    let key = state.keys.get_mut(&arn).ok_or_else(|| errors::no_key(&arn))?;
    // Material that never was current leaves no trace; the key needs all others back before it works again.
    key.materials.retain(|material| material.id != id || !material.is_pending());
    for material in key.materials.iter_mut().filter(|material| material.id == id) {
        material.secret = None;
        material.valid_to = None;
    }
    state.synchronize(&arn, call.now);
    Ok(Answer::effect(body, arn, format!("key material {id} deleted")))
}
