//! Encryption with RSA keys: RSAES-OAEP.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};

use super::{errors, key::Key};
use crate::sandbox::AwsError;

/// What keys of a spec encrypt with.
pub fn algorithms(spec: &str) -> &'static [&'static str] {
    match spec {
        "SYMMETRIC_DEFAULT" => &["SYMMETRIC_DEFAULT"],
        "RSA_2048" | "RSA_3072" | "RSA_4096" => &["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"],
        _ => &[],
    }
}

fn oaep(algorithm: &str) -> &'static OaepAlgorithm {
    match algorithm {
        "RSAES_OAEP_SHA_1" => &OAEP_SHA1_MGF1SHA1,
        _ => &OAEP_SHA256_MGF1SHA256,
    }
}

fn private_key(key: &Key) -> Result<PrivateDecryptingKey, AwsError> {
    let secret = key.current().and_then(|material| material.secret.as_ref());
    secret
        .and_then(|secret| PrivateDecryptingKey::from_pkcs8(&secret.0).ok())
        .ok_or_else(|| errors::internal("the key pair cannot be read"))
}

/// # Errors
/// `ValidationException`: the plaintext is too long for the key.
pub fn encrypt(key: &Key, algorithm: &str, plaintext: &[u8]) -> Result<Vec<u8>, AwsError> {
    let failed = |_| errors::internal("encryption failed");
    let public = OaepPublicEncryptingKey::new(private_key(key)?.public_key()).map_err(failed)?;
    let most = public.max_plaintext_size(oaep(algorithm));
    if plaintext.len() > most {
        return Err(errors::validation(format!(
            "Algorithm {algorithm} and key spec {} cannot encrypt data larger than {most} bytes.",
            key.spec
        )));
    }
    let mut out = vec![0; public.ciphertext_size()];
    Ok(public.encrypt(oaep(algorithm), plaintext, &mut out, None).map_err(failed)?.to_vec())
}

/// # Errors
/// `InvalidCiphertextException`: it was not encrypted with this key and algorithm.
pub fn decrypt(key: &Key, algorithm: &str, ciphertext: &[u8]) -> Result<Vec<u8>, AwsError> {
    decrypt_with(private_key(key)?, algorithm, ciphertext)
}

/// As [`decrypt`], with a private key that is no key's of the sandbox's.
///
/// # Errors
/// As [`decrypt`].
pub fn decrypt_with(private: PrivateDecryptingKey, algorithm: &str, wrapped: &[u8]) -> Result<Vec<u8>, AwsError> {
    let key = OaepPrivateDecryptingKey::new(private).map_err(|_| errors::internal("the key pair cannot be read"))?;
    let mut plain = vec![0; key.min_output_size()];
    let plain = key.decrypt(oaep(algorithm), wrapped, &mut plain, None);
    Ok(plain.map_err(|_| errors::invalid_ciphertext())?.to_vec())
}
