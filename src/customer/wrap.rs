//! Wrapping: RSA-OAEP under the public key of an import request.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey,
};

use super::Material;

/// OAEP's hash, and that of its mask. AWS KMS calls them `RSAES_OAEP_SHA_1` and `RSAES_OAEP_SHA_256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    OaepSha1,
    OaepSha256,
}

/// Why material cannot be wrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    #[error("the request's public key is not a PEM SubjectPublicKeyInfo of an RSA key: {0}")]
    PublicKey(String),
    #[error("the key could not be wrapped under the request's public key")]
    Refused,
}

impl Wrapping {
    /// By AWS KMS's name.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "RSAES_OAEP_SHA_1" => Some(Self::OaepSha1),
            "RSAES_OAEP_SHA_256" => Some(Self::OaepSha256),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static OaepAlgorithm {
        match self {
            Self::OaepSha1 => &OAEP_SHA1_MGF1SHA1,
            Self::OaepSha256 => &OAEP_SHA256_MGF1SHA256,
        }
    }
}

/// Material wrapped under the public key in `pem`: as many bytes as its modulus.
///
/// # Errors
/// The public key is none.
pub fn wrap(material: &Material, pem: &str, wrapping: Wrapping) -> Result<Vec<u8>, WrapError> {
    let not_a_key = |reason: &dyn ToString| WrapError::PublicKey(reason.to_string());
    let document = pem::parse(pem).map_err(|error| not_a_key(&error))?;
    if document.tag() != "PUBLIC KEY" {
        return Err(not_a_key(&format!("its label is {}", document.tag())));
    }
    let key = PublicEncryptingKey::from_der(document.contents()).map_err(|error| not_a_key(&error))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|error| not_a_key(&error))?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let length =
        key.encrypt(wrapping.algorithm(), material.bytes(), &mut wrapped, None).map_err(|_| WrapError::Refused)?.len();
    wrapped.truncate(length);
    Ok(wrapped)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    };

    use super::*;

    #[test]
    fn what_is_wrapped_comes_out_with_the_same_hash_alone() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        let der = private.public_key().as_der().expect("a public key");
        let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()));
        let private = OaepPrivateDecryptingKey::new(private).expect("a key");
        let material = Material::generate().expect("a key");
        let wrapped = wrap(&material, &pem, Wrapping::OaepSha256).expect("wrapped");
        assert_eq!(wrapped.len(), 256);
        let mut room = vec![0; private.min_output_size()];
        let opened = private.decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut room, None).expect("opened");
        assert_eq!(&*opened, material.bytes());
        let mut room = vec![0; private.min_output_size()];
        assert!(private.decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped, &mut room, None).is_err());
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let material = Material::generate().expect("a key");
        for text in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(wrap(&material, text, Wrapping::OaepSha1), Err(WrapError::PublicKey(_))), "{text}");
        }
    }
}
