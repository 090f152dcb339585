//! Cryptography with keys: real AES-256-GCM, RSAES-OAEP and HMAC.
//!
//! A symmetric ciphertext names its key and the key's material; both, and the encryption context, are authenticated with it.

use std::collections::BTreeMap;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{
    State,
    access::{ANY, ENCRYPT_DECRYPT, encryption_context_keys, require_enabled, require_usage},
    condition::Context,
    errors,
    key::{Key, Material},
    pairs::{Pair, is_pair},
    rsa,
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call, random};

const LARGEST_PLAINTEXT: usize = 4096;
const LARGEST_BLOB: usize = 6144;
const ALGORITHMS: [&str; 4] = ["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"];
const MAC_ALGORITHMS: [&str; 4] = ["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"];
const MAGIC: [u8; 4] = [1, 2, 2, 0];
const NONCE: usize = 12;
const MATERIAL_ID: usize = 32;

type EncryptionContext = BTreeMap<String, String>;

/// A ciphertext, taken apart.
struct Blob<'a> {
    /// What is authenticated: everything before the nonce.
    header: &'a [u8],
    key_arn: &'a str,
    material: String,
    nonce: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Blob<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (arn, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (material, rest) = rest.split_at_checked(MATERIAL_ID)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE)?;
        Some(Self {
            header: &bytes[..bytes.len() - nonce.len() - sealed.len()],
            key_arn: std::str::from_utf8(arn).ok()?,
            material: hex::encode(material),
            nonce,
            sealed,
        })
    }
}

fn authenticated(header: &[u8], context: &EncryptionContext) -> Vec<u8> {
    let mut out = header.to_vec();
    for part in context.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

fn seal(key: &Key, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>, AwsError> {
    let failed = || errors::internal("encryption failed");
    let material = key.current().ok_or_else(failed)?;
    let secret = material.secret.as_ref().ok_or_else(failed)?;
    let mut blob = MAGIC.to_vec();
    blob.extend_from_slice(&u16::try_from(key.arn.len()).map_err(|_| failed())?.to_be_bytes());
    blob.extend_from_slice(key.arn.as_bytes());
    blob.extend_from_slice(&hex::decode(&material.id).map_err(|_| failed())?);
    let mut sealed = plaintext.to_vec();
    let nonce = RandomizedNonceKey::new(&AES_256_GCM, &secret.0)
        .and_then(|cipher| cipher.seal_in_place_append_tag(Aad::from(authenticated(&blob, context)), &mut sealed))
        .map_err(|_| failed())?;
    blob.extend_from_slice(nonce.as_ref());
    blob.extend_from_slice(&sealed);
    Ok(blob)
}

fn open(material: &Material, blob: &Blob<'_>, context: &EncryptionContext) -> Result<Vec<u8>, AwsError> {
    let secret = material.secret.as_ref().ok_or_else(errors::invalid_ciphertext)?;
    let nonce = Nonce::try_assume_unique_for_key(blob.nonce).map_err(|_| errors::invalid_ciphertext())?;
    let mut sealed = blob.sealed.to_vec();
    let opened = RandomizedNonceKey::new(&AES_256_GCM, &secret.0)
        .and_then(|cipher| {
            let aad = Aad::from(authenticated(blob.header, context));
            cipher.open_in_place(nonce, aad, &mut sealed).map(|plain| plain.to_vec())
        })
        .map_err(|_| errors::invalid_ciphertext())?;
    Ok(opened)
}

const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";
const GENERATE_VERIFY_MAC: &str = "GENERATE_VERIFY_MAC";

fn conditions(context: &EncryptionContext, algorithm: &str) -> Context {
    let mut conditions = Context::default();
    encryption_context_keys(&mut conditions, context);
    conditions.set("kms:EncryptionAlgorithm", algorithm);
    conditions
}

/// The key may be used by the caller for `action`, now, for encryption.
fn check_with(
    state: &State,
    call: &Call,
    key: &Key,
    action: &str,
    (conditions, context): (Context, &EncryptionContext),
) -> Result<(), AwsError> {
    state.authorize(call, key, action, conditions, Some(context))?;
    require_enabled(key, call.now)?;
    require_usage(key, ENCRYPT_DECRYPT, &call.action)
}

/// The algorithm that a field asks for.
fn algorithm(input: Input<'_>, name: &str) -> Result<&'static str, AwsError> {
    Ok(input.one_of(name, &ALGORITHMS)?.unwrap_or(SYMMETRIC))
}

/// A key encrypts with its own algorithms only, and only the symmetric one knows encryption contexts.
fn check_algorithm(key: &Key, algorithm: &str, context: &EncryptionContext) -> Result<(), AwsError> {
    if !rsa::algorithms(&key.spec).contains(&algorithm) {
        let message = format!("Algorithm {algorithm} is incompatible with key spec {}.", key.spec);
        return Err(AwsError::new("InvalidKeyUsageException", message));
    }
    if algorithm != SYMMETRIC && !context.is_empty() {
        return Err(errors::validation(format!("Algorithm {algorithm} does not support an encryption context.")));
    }
    Ok(())
}

fn seal_by(key: &Key, algorithm: &str, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>, AwsError> {
    if algorithm == SYMMETRIC { seal(key, plaintext, context) } else { rsa::encrypt(key, algorithm, plaintext) }
}

fn dry_run(input: Input<'_>) -> Result<(), AwsError> {
    if input.flag("DryRun")? { Err(errors::dry_run()) } else { Ok(()) }
}

fn key_id<'a>(input: Input<'a>, name: &str) -> Result<Option<&'a str>, AwsError> {
    input.sized(name, 1, 2048)
}

pub fn encrypt(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let id = key_id(input, "KeyId")?.ok_or_else(|| missing("KeyId"))?;
    let plaintext = input.blob("Plaintext", LARGEST_PLAINTEXT)?.ok_or_else(|| missing("Plaintext"))?;
    let context = input.map("EncryptionContext")?;
    state.check_grant_tokens(input)?;
    let algorithm = algorithm(input, "EncryptionAlgorithm")?;
    let key = state.resolve(call, id, ANY)?;
    check_with(state, call, key, "Encrypt", (conditions(&context, algorithm), &context))?;
    check_algorithm(key, algorithm, &context)?;
    let blob = seal_by(key, algorithm, &plaintext, &context)?;
    dry_run(input)?;
    Ok(Answer::read(json!({
        "CiphertextBlob": BASE64.encode(blob), "KeyId": key.arn, "EncryptionAlgorithm": algorithm,
    })))
}

/// What Decrypt and ReEncrypt read: the key and the plaintext, or only the key when the ciphertext is to be ignored.
struct Opened<'a> {
    key: &'a Key,
    plaintext: Vec<u8>,
    /// Of a symmetric key whose ciphertext was read.
    material: Option<String>,
}

fn ignores_ciphertext(input: Input<'_>) -> Result<bool, AwsError> {
    let modifiers = input.texts("DryRunModifiers")?;
    if let Some(unknown) = modifiers.iter().find(|modifier| **modifier != "IGNORE_CIPHERTEXT") {
        return Err(super::validate::not_in_enum(unknown, "dryRunModifiers", &["IGNORE_CIPHERTEXT"]));
    }
    if !modifiers.is_empty() && !input.flag("DryRun")? {
        return Err(errors::validation("DryRunModifiers can only be specified with DryRun."));
    }
    Ok(!modifiers.is_empty())
}

/// What AWS says when it will not tell whether a ciphertext's key exists.
fn unknown_key() -> AwsError {
    AwsError::new(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are \
         not allowed to access.",
    )
}

fn incorrect_key() -> AwsError {
    let message = "The key ID in the request does not identify a CMK that can perform this operation.";
    AwsError::new("IncorrectKeyException", message)
}

/// How a ciphertext is to be read: the fields that name its key and its algorithm, what has to be allowed, and the
/// context that it was made in.
struct Reading<'a> {
    key: &'a str,
    algorithm: &'static str,
    action: &'a str,
    conditions: Context,
    context: &'a EncryptionContext,
}

/// The key that a ciphertext names, here; a multi-Region key's ciphertexts name the related key of another region.
fn key_of<'a>(state: &'a State, call: &Call, blob: &Blob<'_>) -> Option<&'a Key> {
    let mut parts: Vec<&str> = blob.key_arn.splitn(6, ':').collect();
    if parts.last()?.starts_with("key/mrk-") {
        *parts.get_mut(3)? = &call.region;
    }
    let here = |key: &&Key| key.region == call.region && key.partition == call.caller.partition;
    state.keys.get(&parts.join(":")).filter(here)
}

fn open_blob<'a>(state: &'a State, call: &Call, reading: Reading<'_>) -> Result<Opened<'a>, AwsError> {
    let input = Input(&call.params);
    let id = key_id(input, reading.key)?;
    let bytes = input.blob("CiphertextBlob", LARGEST_BLOB)?;
    let ignored = ignores_ciphertext(input)?;
    let blob = bytes.as_deref().and_then(Blob::parse);
    let key = match id {
        Some(id) => state.resolve(call, id, ANY)?,
        None if ignored => return Err(missing(reading.key)),
        None if bytes.is_none() => return Err(missing("CiphertextBlob")),
        None => {
            let blob = blob.as_ref().ok_or_else(errors::invalid_ciphertext)?;
            key_of(state, call, blob).ok_or_else(unknown_key)?
        }
    };
    state.authorize(call, key, reading.action, reading.conditions, Some(reading.context))?;
    require_enabled(key, call.now)?;
    if key.usage == GENERATE_VERIFY_MAC {
        // No ciphertext is of a key that encrypts nothing.
        return Err(incorrect_key());
    }
    require_usage(key, ENCRYPT_DECRYPT, &call.action)?;
    check_algorithm(key, reading.algorithm, reading.context)?;
    if ignored {
        return Ok(Opened { key, plaintext: Vec::new(), material: None });
    }
    let bytes = bytes.as_ref().ok_or_else(|| missing("CiphertextBlob"))?;
    if !key.is_symmetric() {
        return Ok(Opened { key, plaintext: rsa::decrypt(key, reading.algorithm, bytes)?, material: None });
    }
    let blob = blob.ok_or_else(errors::invalid_ciphertext)?;
    if key_of(state, call, &blob).is_none_or(|own| own.arn != key.arn) {
        return Err(incorrect_key());
    }
    let material = key.material(&blob.material).ok_or_else(errors::invalid_ciphertext)?;
    let plaintext = open(material, &blob, reading.context)?;
    Ok(Opened { key, plaintext, material: Some(material.id.clone()) })
}

/// The answer's member for a key's material, which only symmetric keys have.
fn put_material(body: &mut Value, member: &str, id: Option<String>) {
    if let Some(id) = id {
        body[member] = Value::String(id);
    }
}

fn current_id(key: &Key) -> Option<String> {
    key.current().filter(|_| key.is_symmetric()).map(|material| material.id.clone())
}

pub fn decrypt(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let context = input.map("EncryptionContext")?;
    let algorithm = algorithm(input, "EncryptionAlgorithm")?;
    state.check_grant_tokens(input)?;
    let conditions = conditions(&context, algorithm);
    let reading = Reading { key: "KeyId", algorithm, action: "Decrypt", conditions, context: &context };
    let opened = open_blob(state, call, reading)?;
    dry_run(input)?;
    let mut body = json!({
        "KeyId": opened.key.arn,
        "Plaintext": BASE64.encode(opened.plaintext),
        "EncryptionAlgorithm": algorithm,
    });
    put_material(&mut body, "KeyMaterialId", opened.material);
    Ok(Answer::read(body))
}

pub fn re_encrypt(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let (from, to) = (input.map("SourceEncryptionContext")?, input.map("DestinationEncryptionContext")?);
    let source_algorithm = algorithm(input, "SourceEncryptionAlgorithm")?;
    let destination_algorithm = algorithm(input, "DestinationEncryptionAlgorithm")?;
    state.check_grant_tokens(input)?;
    let to_id = key_id(input, "DestinationKeyId")?.ok_or_else(|| missing("DestinationKeyId"))?;
    let destination = state.resolve(call, to_id, ANY)?;
    let bytes = input.blob("CiphertextBlob", LARGEST_BLOB)?.unwrap_or_default();
    let source_arn = match key_id(input, "SourceKeyId")? {
        Some(id) => Some(state.resolve(call, id, ANY)?.arn.clone()),
        None => Blob::parse(&bytes).map(|blob| blob.key_arn.to_owned()),
    };
    let same = (source_arn.as_deref() == Some(destination.arn.as_str())).to_string();
    let mut source_conditions = conditions(&from, source_algorithm);
    source_conditions.set("kms:ReEncryptOnSameKey", &same);
    let opened = open_blob(
        state,
        call,
        Reading {
            key: "SourceKeyId",
            algorithm: source_algorithm,
            action: "ReEncryptFrom",
            conditions: source_conditions,
            context: &from,
        },
    )?;
    let mut conditions = conditions(&to, destination_algorithm);
    conditions.set("kms:ReEncryptOnSameKey", &same);
    check_with(state, call, destination, "ReEncryptTo", (conditions, &to))?;
    check_algorithm(destination, destination_algorithm, &to)?;
    let blob = seal_by(destination, destination_algorithm, &opened.plaintext, &to)?;
    dry_run(input)?;
    let mut body = json!({
        "CiphertextBlob": BASE64.encode(blob),
        "SourceKeyId": opened.key.arn,
        "KeyId": destination.arn,
        "SourceEncryptionAlgorithm": source_algorithm,
        "DestinationEncryptionAlgorithm": destination_algorithm,
    });
    put_material(&mut body, "SourceKeyMaterialId", opened.material);
    put_material(&mut body, "DestinationKeyMaterialId", current_id(destination));
    Ok(Answer::read(body))
}

/// Data keys come under symmetric keys only.
fn check_data_key(
    state: &State,
    call: &Call,
    key: &Key,
    conditions: Context,
    context: &EncryptionContext,
) -> Result<(), AwsError> {
    check_with(state, call, key, &call.action, (conditions, context))?;
    if key.is_symmetric() {
        return Ok(());
    }
    let message = format!("{} key spec is {} which is not valid for {}.", key.arn, key.spec, call.action);
    Err(AwsError::new("InvalidKeyUsageException", message))
}

pub fn generate_data_key(state: &State, call: &Call, with_plaintext: bool) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let id = key_id(input, "KeyId")?.ok_or_else(|| missing("KeyId"))?;
    let context = input.map("EncryptionContext")?;
    state.check_grant_tokens(input)?;
    let length = match (input.one_of("KeySpec", &["AES_256", "AES_128"])?, input.integer("NumberOfBytes", 1, 1024)?) {
        (Some("AES_128"), None) => 16,
        (Some(_), None) => 32,
        (None, Some(bytes)) => usize::try_from(bytes).unwrap_or(1024),
        (Some(_), Some(_)) | (None, None) => {
            return Err(errors::validation("Please specify either number of bytes or key spec."));
        }
    };
    let key = state.resolve(call, id, ANY)?;
    check_data_key(state, call, key, conditions(&context, SYMMETRIC), &context)?;
    dry_run(input)?;
    let mut data_key = vec![0; length];
    random::fill(&mut data_key)?;
    let mut body = json!({
        "CiphertextBlob": BASE64.encode(seal(key, &data_key, &context)?),
        "KeyId": key.arn,
        "KeyMaterialId": key.current().map(|material| material.id.clone()),
    });
    if with_plaintext {
        body["Plaintext"] = Value::String(BASE64.encode(&data_key));
    }
    Ok(Answer::read(body))
}

pub fn generate_data_key_pair(
    state: &State,
    call: &Call,
    pair: Option<Pair>,
    with_plaintext: bool,
) -> Result<Answer, AwsError> {
    const SPECS: [&str; 12] = [
        "RSA_2048",
        "RSA_3072",
        "RSA_4096",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "SM2",
        "ECC_NIST_EDWARDS25519",
        "ML_KEM_512",
        "ML_KEM_768",
        "ML_KEM_1024",
    ];
    let input = Input(&call.params);
    let id = key_id(input, "KeyId")?.ok_or_else(|| missing("KeyId"))?;
    let spec = input.one_of("KeyPairSpec", &SPECS)?.ok_or_else(|| missing("KeyPairSpec"))?;
    let context = input.map("EncryptionContext")?;
    state.check_grant_tokens(input)?;
    let key = state.resolve(call, id, ANY)?;
    let mut conditions = conditions(&context, SYMMETRIC);
    conditions.set("kms:DataKeyPairSpec", spec);
    check_data_key(state, call, key, conditions, &context)?;
    dry_run(input)?;
    let unsupported = || errors::unsupported(format!("KeyPairSpec {spec} is not supported here."));
    let pair = pair.filter(|_| is_pair(spec) && !spec.starts_with("ML_")).ok_or_else(unsupported)?;
    let mut body = json!({
        "PrivateKeyCiphertextBlob": BASE64.encode(seal(key, &pair.private, &context)?),
        "PublicKey": BASE64.encode(&pair.public_spki),
        "KeyId": key.arn,
        "KeyPairSpec": spec,
        "KeyMaterialId": key.current().map(|material| material.id.clone()),
    });
    if with_plaintext {
        body["PrivateKeyPlaintext"] = Value::String(BASE64.encode(&pair.private));
    }
    Ok(Answer::read(body))
}

pub fn generate_random(call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let length = input.integer("NumberOfBytes", 1, 1024)?;
    let length = length.ok_or_else(|| errors::validation("NumberOfBytes is required."))?;
    if let Some(store) = input.sized("CustomKeyStoreId", 1, 64)? {
        return Err(super::stores::not_found(store));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(1024)];
    random::fill(&mut bytes)?;
    Ok(Answer::read(json!({"Plaintext": BASE64.encode(bytes)})))
}

struct Mac<'a> {
    key: &'a Key,
    algorithm: &'static str,
    message: Vec<u8>,
    secret: hmac::Key,
}

fn mac<'a>(state: &'a State, call: &Call) -> Result<Mac<'a>, AwsError> {
    let input = Input(&call.params);
    let message = input.blob("Message", 4096)?.ok_or_else(|| missing("Message"))?;
    let id = key_id(input, "KeyId")?.ok_or_else(|| missing("KeyId"))?;
    let algorithm = input.one_of("MacAlgorithm", &MAC_ALGORITHMS)?.ok_or_else(|| missing("MacAlgorithm"))?;
    state.check_grant_tokens(input)?;
    let key = state.resolve(call, id, ANY)?;
    let mut conditions = Context::default();
    conditions.set("kms:MacAlgorithm", algorithm);
    state.authorize(call, key, &call.action, conditions, None)?;
    require_enabled(key, call.now)?;
    require_usage(key, GENERATE_VERIFY_MAC, &call.action)?;
    if key.spec.strip_prefix("HMAC_") != algorithm.strip_prefix("HMAC_SHA_") {
        let message = format!("Algorithm {algorithm} is incompatible with key spec {}.", key.spec);
        return Err(AwsError::new("InvalidKeyUsageException", message));
    }
    let hash = match algorithm {
        "HMAC_SHA_224" => hmac::HMAC_SHA224,
        "HMAC_SHA_256" => hmac::HMAC_SHA256,
        "HMAC_SHA_384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let material = key.current().and_then(|material| material.secret.as_ref());
    let material = material.ok_or_else(|| errors::internal("the key has no material"))?;
    Ok(Mac { key, algorithm, message, secret: hmac::Key::new(hash, &material.0) })
}

pub fn generate_mac(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let mac = mac(state, call)?;
    dry_run(Input(&call.params))?;
    let tag = hmac::sign(&mac.secret, &mac.message);
    Ok(Answer::read(json!({"Mac": BASE64.encode(tag), "MacAlgorithm": mac.algorithm, "KeyId": mac.key.arn})))
}

pub fn verify_mac(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let tag = input.blob("Mac", 6144)?.ok_or_else(|| missing("Mac"))?;
    let mac = mac(state, call)?;
    dry_run(input)?;
    hmac::verify(&mac.secret, &mac.message, &tag).map_err(|_| AwsError::new("KMSInvalidMacException", ""))?;
    Ok(Answer::read(json!({"KeyId": mac.key.arn, "MacValid": true, "MacAlgorithm": mac.algorithm})))
}
