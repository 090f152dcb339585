//! Shared secrets: elliptic-curve Diffie-Hellman, and ML-KEM's encapsulation.

use aws_lc_rs::{
    agreement::{self, PrivateKey, UnparsedPublicKey},
    kem::{Ciphertext, DecapsulationKey, EncapsulationKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::{
    State,
    access::{ANY, require_enabled, require_usage},
    condition::Context,
    errors,
    key::Key,
    pairs::{ENCAPSULATE_DECAPSULATE, KEY_AGREEMENT, encapsulation, encapsulation_parts},
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call};

const LARGEST_PUBLIC_KEY: usize = 8192;
const LARGEST_CIPHERTEXT: usize = 6144;

/// The key of the call, when its caller may use it now for `usage`.
fn ready<'a>(state: &'a State, call: &Call, usage: &str, context: Context) -> Result<(&'a Key, &'a [u8]), AwsError> {
    let input = Input(&call.params);
    state.check_grant_tokens(input)?;
    let key = state.key_with(call, ANY, context)?;
    require_enabled(key, call.now)?;
    require_usage(key, usage, &call.action)?;
    let material = key.current().and_then(|material| material.secret.as_ref());
    Ok((key, &material.ok_or_else(|| errors::internal("the key has no material"))?.0))
}

fn curve(spec: &str) -> Result<&'static agreement::Algorithm, AwsError> {
    match spec {
        "ECC_NIST_P256" => Ok(&agreement::ECDH_P256),
        "ECC_NIST_P384" => Ok(&agreement::ECDH_P384),
        "ECC_NIST_P521" => Ok(&agreement::ECDH_P521),
        other => Err(errors::unsupported(format!("Key spec {other} does not agree on secrets."))),
    }
}

pub fn derive_shared_secret(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    input.one_of("KeyAgreementAlgorithm", &["ECDH"])?.ok_or_else(|| missing("KeyAgreementAlgorithm"))?;
    let peer = input.blob("PublicKey", LARGEST_PUBLIC_KEY)?.ok_or_else(|| missing("PublicKey"))?;
    let mut context = Context::default();
    context.set("kms:KeyAgreementAlgorithm", "ECDH");
    let (key, private) = ready(state, call, KEY_AGREEMENT, context)?;
    let curve = curve(&key.spec)?;
    let own = PrivateKey::from_private_key_der(curve, private)
        .map_err(|_| errors::internal("the key pair cannot be read"))?;
    let unfit = || errors::validation(format!("PublicKey is not a public key of key spec {}.", key.spec));
    let secret = agreement::agree(&own, UnparsedPublicKey::new(curve, peer), unfit(), |secret| Ok(secret.to_vec()))?;
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    Ok(Answer::read(json!({
        "KeyId": key.arn,
        "SharedSecret": BASE64.encode(secret),
        "KeyAgreementAlgorithm": "ECDH",
        "KeyOrigin": key.origin,
    })))
}

fn algorithm(input: Input<'_>) -> Result<(), AwsError> {
    let asked = input.one_of("EncapsulationAlgorithm", &["ML_KEM"])?;
    asked.map(|_| ()).ok_or_else(|| missing("EncapsulationAlgorithm"))
}

pub fn encapsulate(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    algorithm(input)?;
    let (key, material) = ready(state, call, ENCAPSULATE_DECAPSULATE, Context::default())?;
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    let failed = || errors::internal("the shared secret could not be made");
    let public = encapsulation(&key.spec).zip(encapsulation_parts(material)).ok_or_else(failed)?;
    let (blob, secret) =
        EncapsulationKey::new(public.0, public.1.0).ok().and_then(|key| key.encapsulate().ok()).ok_or_else(failed)?;
    Ok(Answer::read(json!({
        "KeyId": key.arn,
        "SharedSecret": BASE64.encode(secret.as_ref()),
        "SharedSecretCiphertextBlob": BASE64.encode(blob.as_ref()),
        "EncapsulationAlgorithm": "ML_KEM",
    })))
}

/// A ciphertext of the right length always gives a secret, if a wrong one: that is ML-KEM's implicit rejection.
pub fn decapsulate(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    algorithm(input)?;
    let blob = input.blob("SharedSecretCiphertextBlob", LARGEST_CIPHERTEXT)?;
    let blob = blob.ok_or_else(|| missing("SharedSecretCiphertextBlob"))?;
    let (key, material) = ready(state, call, ENCAPSULATE_DECAPSULATE, Context::default())?;
    let parts = encapsulation(&key.spec).zip(encapsulation_parts(material));
    let (algorithm, (_, private)) = parts.ok_or_else(|| errors::internal("the key pair cannot be read"))?;
    let own = DecapsulationKey::new(algorithm, private).map_err(|_| errors::internal("the key pair cannot be read"))?;
    let secret = own.decapsulate(Ciphertext::from(blob.as_slice())).map_err(|_| errors::invalid_ciphertext())?;
    if input.flag("DryRun")? {
        return Err(errors::dry_run());
    }
    Ok(Answer::read(json!({
        "KeyId": key.arn, "SharedSecret": BASE64.encode(secret.as_ref()), "EncapsulationAlgorithm": "ML_KEM",
    })))
}
