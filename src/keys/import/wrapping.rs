//! How material is wrapped for KMS: RSA-OAEP, with the hash and the size of the wrapping key that were asked for.

use aws_sdk_kms::types::{AlgorithmSpec, WrappingKeySpec};
use serde::{Deserialize, Serialize};

/// OAEP's hash. SHA-1 is what `openssl rsautl -oaep` and Node's `publicEncrypt` use by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Algorithm {
    #[default]
    #[serde(rename = "RSAES_OAEP_SHA_1")]
    OaepSha1,
    #[serde(rename = "RSAES_OAEP_SHA_256")]
    OaepSha256,
}

/// The wrapping key's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Spec {
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    #[default]
    #[serde(rename = "RSA_4096")]
    Rsa4096,
}

impl Algorithm {
    pub const WORDS: [&str; 2] = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"];

    pub fn word(self) -> &'static str {
        match self {
            Self::OaepSha1 => "RSAES_OAEP_SHA_1",
            Self::OaepSha256 => "RSAES_OAEP_SHA_256",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::OaepSha1, Self::OaepSha256].into_iter().find(|algorithm| algorithm.word() == word)
    }

    pub fn other(self) -> Self {
        match self {
            Self::OaepSha1 => Self::OaepSha256,
            Self::OaepSha256 => Self::OaepSha1,
        }
    }

    pub(super) fn kms(self) -> AlgorithmSpec {
        match self {
            Self::OaepSha1 => AlgorithmSpec::RsaesOaepSha1,
            Self::OaepSha256 => AlgorithmSpec::RsaesOaepSha256,
        }
    }
}

impl Spec {
    pub const WORDS: [&str; 3] = ["RSA_2048", "RSA_3072", "RSA_4096"];

    pub fn word(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA_2048",
            Self::Rsa3072 => "RSA_3072",
            Self::Rsa4096 => "RSA_4096",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096].into_iter().find(|spec| spec.word() == word)
    }

    /// Of the modulus, and of everything that is wrapped under it.
    pub fn bytes(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
        }
    }

    pub(super) fn kms(self) -> WrappingKeySpec {
        match self {
            Self::Rsa2048 => WrappingKeySpec::Rsa2048,
            Self::Rsa3072 => WrappingKeySpec::Rsa3072,
            Self::Rsa4096 => WrappingKeySpec::Rsa4096,
        }
    }
}
