//! Signing keys: RSA, the elliptic curves, Ed25519 and ML-DSA, by real signatures; and everybody's public keys.
//!
//! RSA and ECDSA signatures are made over digests, so `RAW` and `DIGEST` messages differ in who hashes only. Ed25519 and
//! ML-DSA sign the message itself: their prehashed forms (`ED25519_PH_SHA_512`, `EXTERNAL_MU`) are not emulated.

use aws_lc_rs::{
    digest::{self, Digest},
    rsa::KeyPair as RsaKeyPair,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, PqdsaKeyPair, RsaEncoding, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{
    State,
    access::{ANY, require_enabled, require_usage},
    condition::Context,
    errors,
    key::Key,
    pairs::{ED25519, ENCAPSULATE_DECAPSULATE, KEY_AGREEMENT, SIGN_VERIFY, curve, is_pair, lattice, public_key},
    rsa,
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call};

const SIGNING_ALGORITHMS: [&str; 13] = [
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "ECDSA_SHA_256",
    "ECDSA_SHA_384",
    "ECDSA_SHA_512",
    "SM2DSA",
    "ML_DSA_SHAKE_256",
    "ED25519_SHA_512",
    "ED25519_PH_SHA_512",
];

/// What keys of this spec can sign with.
pub fn signing_algorithms(spec: &str) -> &'static [&'static str] {
    match spec {
        "ECC_NIST_P256" | "ECC_SECG_P256K1" => &SIGNING_ALGORITHMS[6..7],
        "ECC_NIST_P384" => &SIGNING_ALGORITHMS[7..8],
        "ECC_NIST_P521" => &SIGNING_ALGORITHMS[8..9],
        "ML_DSA_44" | "ML_DSA_65" | "ML_DSA_87" => &SIGNING_ALGORITHMS[10..11],
        ED25519 => &SIGNING_ALGORITHMS[11..],
        rsa if rsa.starts_with("RSA_") => &SIGNING_ALGORITHMS[..6],
        _ => &[],
    }
}

/// The member of KeyMetadata and of GetPublicKey that says what a key pair computes with.
pub fn algorithms(key: &Key) -> (&'static str, Vec<&'static str>) {
    match key.usage.as_str() {
        SIGN_VERIFY => ("SigningAlgorithms", signing_algorithms(&key.spec).to_vec()),
        KEY_AGREEMENT => ("KeyAgreementAlgorithms", vec!["ECDH"]),
        ENCAPSULATE_DECAPSULATE => ("EncapsulationAlgorithms", vec!["ML_KEM"]),
        _ => ("EncryptionAlgorithms", rsa::algorithms(&key.spec).to_vec()),
    }
}

fn private_key(key: &Key) -> Result<&[u8], AwsError> {
    let secret = key.current().and_then(|material| material.secret.as_ref());
    secret.map(|secret| secret.0.as_slice()).ok_or_else(|| errors::internal("the key has no material"))
}

fn public_key_of(key: &Key) -> Result<Vec<u8>, AwsError> {
    public_key(&key.spec, private_key(key)?).ok_or_else(|| errors::internal("the key pair cannot be read"))
}

pub fn get_public_key(state: &State, call: &Call) -> Result<Answer, AwsError> {
    state.check_grant_tokens(Input(&call.params))?;
    let key = state.own_key(call, ANY)?;
    if !is_pair(&key.spec) {
        let message = format!("{} key spec is {} which is not valid for GetPublicKey.", key.arn, key.spec);
        return Err(errors::unsupported(message));
    }
    require_enabled(key, call.now)?;
    let (member, algorithms) = algorithms(key);
    let mut body = json!({
        "KeyId": key.arn,
        "PublicKey": BASE64.encode(public_key_of(key)?),
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "KeyUsage": key.usage,
    });
    body[member] = json!(algorithms);
    Ok(Answer::read(body))
}

/// What is signed.
enum Message {
    Digest(Digest),
    Whole(Vec<u8>),
}

struct Signing<'a> {
    key: &'a Key,
    algorithm: &'static str,
    message: Message,
}

fn hash(algorithm: &str) -> &'static digest::Algorithm {
    match algorithm.rsplit('_').next() {
        Some("384") => &digest::SHA384,
        Some("512") => &digest::SHA512,
        _ => &digest::SHA256,
    }
}

fn signing<'a>(state: &'a State, call: &Call) -> Result<Signing<'a>, AwsError> {
    let input = Input(&call.params);
    let message = input.blob("Message", 4096)?.ok_or_else(|| missing("Message"))?;
    let kind = input.one_of("MessageType", &["RAW", "DIGEST", "EXTERNAL_MU"])?.unwrap_or("RAW");
    let algorithm =
        input.one_of("SigningAlgorithm", &SIGNING_ALGORITHMS)?.ok_or_else(|| missing("SigningAlgorithm"))?;
    let id = input.sized("KeyId", 1, 2048)?.ok_or_else(|| missing("KeyId"))?;
    let key = state.resolve(call, id, ANY)?;
    let mut context = Context::default();
    context.set("kms:SigningAlgorithm", algorithm);
    context.set("kms:MessageType", kind);
    state.check_grant_tokens(input)?;
    state.authorize(call, key, &call.action, context, None)?;
    require_enabled(key, call.now)?;
    require_usage(key, SIGN_VERIFY, &call.action)?;
    if !signing_algorithms(&key.spec).contains(&algorithm) {
        let message = format!("Algorithm {algorithm} is incompatible with key spec {}.", key.spec);
        return Err(AwsError::new("InvalidKeyUsageException", message));
    }
    let message = match (algorithm, kind) {
        ("ED25519_SHA_512" | "ML_DSA_SHAKE_256", "RAW") => Message::Whole(message),
        ("ED25519_PH_SHA_512", "DIGEST") | ("ML_DSA_SHAKE_256", "EXTERNAL_MU") => {
            return Err(errors::unsupported(format!("{algorithm} of {kind} messages is not emulated here.")));
        }
        ("ED25519_SHA_512" | "ED25519_PH_SHA_512" | "ML_DSA_SHAKE_256", _) | (_, "EXTERNAL_MU") => {
            return Err(errors::validation(format!("MessageType {kind} is not valid for {algorithm}.")));
        }
        (_, "RAW") => Message::Digest(digest::digest(hash(algorithm), &message)),
        _ => Digest::import_less_safe(&message, hash(algorithm))
            .map(Message::Digest)
            .map_err(|_| errors::validation(format!("Digest is invalid length for algorithm {algorithm}.")))?,
    };
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    Ok(Signing { key, algorithm, message })
}

fn rsa_padding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "RSASSA_PSS_SHA_256" => &signature::RSA_PSS_SHA256,
        "RSASSA_PSS_SHA_384" => &signature::RSA_PSS_SHA384,
        "RSASSA_PSS_SHA_512" => &signature::RSA_PSS_SHA512,
        "RSASSA_PKCS1_V1_5_SHA_384" => &signature::RSA_PKCS1_SHA384,
        "RSASSA_PKCS1_V1_5_SHA_512" => &signature::RSA_PKCS1_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}

fn verification(spec: &str, algorithm: &str) -> &'static dyn VerificationAlgorithm {
    match (spec, algorithm) {
        ("ECC_NIST_P256", _) => &signature::ECDSA_P256_SHA256_ASN1,
        ("ECC_NIST_P384", _) => &signature::ECDSA_P384_SHA384_ASN1,
        ("ECC_NIST_P521", _) => &signature::ECDSA_P521_SHA512_ASN1,
        ("ECC_SECG_P256K1", _) => &signature::ECDSA_P256K1_SHA256_ASN1,
        ("ML_DSA_44", _) => &signature::ML_DSA_44,
        ("ML_DSA_65", _) => &signature::ML_DSA_65,
        ("ML_DSA_87", _) => &signature::ML_DSA_87,
        (ED25519, _) => &signature::ED25519,
        (_, "RSASSA_PSS_SHA_256") => &signature::RSA_PSS_2048_8192_SHA256,
        (_, "RSASSA_PSS_SHA_384") => &signature::RSA_PSS_2048_8192_SHA384,
        (_, "RSASSA_PSS_SHA_512") => &signature::RSA_PSS_2048_8192_SHA512,
        (_, "RSASSA_PKCS1_V1_5_SHA_384") => &signature::RSA_PKCS1_2048_8192_SHA384,
        (_, "RSASSA_PKCS1_V1_5_SHA_512") => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

fn signature_of(signing: &Signing<'_>) -> Option<Vec<u8>> {
    let (spec, private) = (signing.key.spec.as_str(), private_key(signing.key).ok()?);
    match &signing.message {
        Message::Whole(message) => {
            if let Some(lattice) = lattice(spec) {
                let pair = PqdsaKeyPair::from_pkcs8(lattice, private).ok()?;
                let mut out = vec![0; lattice.signature_len()];
                let length = pair.sign(message, &mut out).ok()?;
                out.truncate(length);
                return Some(out);
            }
            Some(Ed25519KeyPair::from_pkcs8_maybe_unchecked(private).ok()?.sign(message).as_ref().to_vec())
        }
        Message::Digest(digest) => {
            if let Some(curve) = curve(spec) {
                let pair = EcdsaKeyPair::from_pkcs8(curve, private).ok()?;
                return Some(pair.sign_digest(digest).ok()?.as_ref().to_vec());
            }
            let pair = RsaKeyPair::from_pkcs8(private).ok()?;
            let mut out = vec![0; pair.public_modulus_len()];
            pair.sign_digest(rsa_padding(signing.algorithm), digest, &mut out).ok()?;
            Some(out)
        }
    }
}

pub fn sign(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let signing = signing(state, call)?;
    let signature = signature_of(&signing).ok_or_else(|| errors::internal("the signature could not be made"))?;
    let signature = BASE64.encode(signature);
    let body = json!({"KeyId": signing.key.arn, "Signature": signature, "SigningAlgorithm": signing.algorithm});
    Ok(Answer::read(body))
}

pub fn verify(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let signature = Input(&call.params).blob("Signature", 6144)?.ok_or_else(|| missing("Signature"))?;
    let signing = signing(state, call)?;
    let public = public_key_of(signing.key)?;
    let algorithm = verification(&signing.key.spec, signing.algorithm);
    let verified = match &signing.message {
        Message::Digest(digest) => algorithm.verify_digest_sig(&public, digest, &signature),
        Message::Whole(message) => UnparsedPublicKey::new(algorithm, &public).verify(message, &signature),
    };
    verified.map_err(|_| AwsError::new("KMSInvalidSignatureException", ""))?;
    let body = json!({"KeyId": signing.key.arn, "SignatureValid": true, "SigningAlgorithm": signing.algorithm});
    Ok(Answer::read(body))
}

/// The spec of the key pair that a call has to have ready.
pub fn wanted_spec<'a>(action: &str, params: &'a Value) -> Option<&'a str> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    match action {
        "GetParametersForImport" => text("WrappingKeySpec"),
        "CreateKey" => text("KeySpec").or_else(|| text("CustomerMasterKeySpec")),
        "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext" => text("KeyPairSpec"),
        _ => None,
    }
}
