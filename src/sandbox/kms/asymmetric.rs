//! Asymmetric signing keys: RSA and the elliptic curves, by real signatures.
//!
//! A key's material is its private key in PKCS#8. Signatures are made over digests, so `RAW` and `DIGEST` messages differ in
//! who hashes only. RSA keys for encryption, key agreement, SM2 and the post-quantum specs are not emulated.

use aws_lc_rs::{
    digest::{self, Digest},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize, PrivateDecryptingKey},
    signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding, VerificationAlgorithm},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{
    State,
    access::{ANY, require_enabled, require_usage},
    condition::Context,
    errors,
    key::Key,
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call};

pub const SIGN_VERIFY: &str = "SIGN_VERIFY";

const SIGNING_ALGORITHMS: [&str; 9] = [
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "ECDSA_SHA_256",
    "ECDSA_SHA_384",
    "ECDSA_SHA_512",
];

/// A fresh key pair.
#[derive(Debug)]
pub struct Pair {
    pub private_pkcs8: Vec<u8>,
    pub public_spki: Vec<u8>,
}

impl Pair {
    /// Makes one of a key spec; none for a spec that has none here. RSA takes up to seconds.
    ///
    /// # Errors
    /// The generator failed.
    pub fn generate(spec: &str) -> Result<Option<Self>, AwsError> {
        let failed = |_| errors::internal("no key pair could be made");
        let size = match spec {
            "RSA_2048" => KeySize::Rsa2048,
            "RSA_3072" => KeySize::Rsa3072,
            "RSA_4096" => KeySize::Rsa4096,
            curve => {
                let Some(algorithm) = curve_algorithm(curve) else { return Ok(None) };
                let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(failed)?;
                let private_pkcs8 = document.as_ref().to_vec();
                let public_spki = public_key(spec, &private_pkcs8)?;
                return Ok(Some(Self { private_pkcs8, public_spki }));
            }
        };
        let key = PrivateDecryptingKey::generate(size).map_err(failed)?;
        let private: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(failed)?;
        Ok(Some(Self { private_pkcs8: private.as_ref().to_vec(), public_spki: public.as_ref().to_vec() }))
    }
}

fn curve_algorithm(spec: &str) -> Option<&'static EcdsaSigningAlgorithm> {
    Some(match spec {
        "ECC_NIST_P256" => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        "ECC_NIST_P384" => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        "ECC_NIST_P521" => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        "ECC_SECG_P256K1" => &signature::ECDSA_P256K1_SHA256_ASN1_SIGNING,
        _ => return None,
    })
}

/// Whether keys of this spec can be made here, for signing.
pub fn is_signing_spec(spec: &str) -> bool {
    matches!(spec, "RSA_2048" | "RSA_3072" | "RSA_4096") || curve_algorithm(spec).is_some()
}

/// What keys of this spec can sign with.
pub fn signing_algorithms(spec: &str) -> &'static [&'static str] {
    match spec {
        "ECC_NIST_P256" | "ECC_SECG_P256K1" => &SIGNING_ALGORITHMS[6..7],
        "ECC_NIST_P384" => &SIGNING_ALGORITHMS[7..8],
        "ECC_NIST_P521" => &SIGNING_ALGORITHMS[8..9],
        rsa if rsa.starts_with("RSA_") => &SIGNING_ALGORITHMS[..6],
        _ => &[],
    }
}

fn public_key(spec: &str, private_pkcs8: &[u8]) -> Result<Vec<u8>, AwsError> {
    let unreadable = || errors::internal("the key pair cannot be read");
    let der: PublicKeyX509Der<'_> = match curve_algorithm(spec) {
        Some(algorithm) => {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, private_pkcs8).map_err(|_| unreadable())?;
            pair.public_key().as_der().map_err(|_| unreadable())?
        }
        None => {
            let pair = RsaKeyPair::from_pkcs8(private_pkcs8).map_err(|_| unreadable())?;
            pair.public_key().as_der().map_err(|_| unreadable())?
        }
    };
    Ok(der.as_ref().to_vec())
}

fn private_key(key: &Key) -> Result<&[u8], AwsError> {
    let secret = key.current().and_then(|material| material.secret.as_ref());
    secret.map(|secret| secret.0.as_slice()).ok_or_else(|| errors::internal("the key has no material"))
}

pub fn get_public_key(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, ANY)?;
    if !is_signing_spec(&key.spec) {
        let message = format!("{} key spec is {} which is not valid for GetPublicKey.", key.arn, key.spec);
        return Err(errors::unsupported(message));
    }
    require_enabled(key, call.now)?;
    Ok(Answer::read(json!({
        "KeyId": key.arn,
        "PublicKey": BASE64.encode(public_key(&key.spec, private_key(key)?)?),
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "KeyUsage": key.usage,
        "SigningAlgorithms": signing_algorithms(&key.spec),
    })))
}

struct Signing<'a> {
    key: &'a Key,
    algorithm: &'static str,
    digest: Digest,
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
    state.authorize(call, key, &call.action, context, None)?;
    require_enabled(key, call.now)?;
    require_usage(key, SIGN_VERIFY, &call.action)?;
    if !signing_algorithms(&key.spec).contains(&algorithm) {
        let message = format!("Algorithm {algorithm} is not compatible with key spec {}.", key.spec);
        return Err(AwsError::new("InvalidKeyUsageException", message));
    }
    let digest = match kind {
        "RAW" => digest::digest(hash(algorithm), &message),
        "DIGEST" => Digest::import_less_safe(&message, hash(algorithm))
            .map_err(|_| errors::validation(format!("Digest is invalid length for algorithm {algorithm}.")))?,
        other => return Err(errors::validation(format!("MessageType {other} is not valid for {algorithm}."))),
    };
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    Ok(Signing { key, algorithm, digest })
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
        (_, "RSASSA_PSS_SHA_256") => &signature::RSA_PSS_2048_8192_SHA256,
        (_, "RSASSA_PSS_SHA_384") => &signature::RSA_PSS_2048_8192_SHA384,
        (_, "RSASSA_PSS_SHA_512") => &signature::RSA_PSS_2048_8192_SHA512,
        (_, "RSASSA_PKCS1_V1_5_SHA_384") => &signature::RSA_PKCS1_2048_8192_SHA384,
        (_, "RSASSA_PKCS1_V1_5_SHA_512") => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

fn signature_of(signing: &Signing<'_>) -> Result<Vec<u8>, AwsError> {
    let failed = || errors::internal("the signature could not be made");
    let private = private_key(signing.key)?;
    if let Some(algorithm) = curve_algorithm(&signing.key.spec) {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, private).map_err(|_| failed())?;
        return Ok(pair.sign_digest(&signing.digest).map_err(|_| failed())?.as_ref().to_vec());
    }
    let pair = RsaKeyPair::from_pkcs8(private).map_err(|_| failed())?;
    let mut out = vec![0; pair.public_modulus_len()];
    pair.sign_digest(rsa_padding(signing.algorithm), &signing.digest, &mut out).map_err(|_| failed())?;
    Ok(out)
}

pub fn sign(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let signing = signing(state, call)?;
    let signature = BASE64.encode(signature_of(&signing)?);
    let body = json!({"KeyId": signing.key.arn, "Signature": signature, "SigningAlgorithm": signing.algorithm});
    Ok(Answer::read(body))
}

pub fn verify(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let signature = Input(&call.params).blob("Signature", 6144)?.ok_or_else(|| missing("Signature"))?;
    let signing = signing(state, call)?;
    let public = public_key(&signing.key.spec, private_key(signing.key)?)?;
    verification(&signing.key.spec, signing.algorithm)
        .verify_digest_sig(&public, &signing.digest, &signature)
        .map_err(|_| AwsError::new("KMSInvalidSignatureException", ""))?;
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
