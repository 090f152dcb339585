//! Key pairs: which specs there are, what keys of them are for, how pairs are made and read.
//!
//! A pair's material is its private key in PKCS#8. ML-KEM's is its encapsulation key behind the length of it, then its
//! decapsulation key, both as FIPS 203 writes them. SM2 is for the regions of China and not emulated.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    kem,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize, PrivateDecryptingKey},
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, PqdsaKeyPair, PqdsaSigningAlgorithm,
    },
};

use super::errors;
use crate::sandbox::AwsError;

pub const SIGN_VERIFY: &str = "SIGN_VERIFY";
pub const KEY_AGREEMENT: &str = "KEY_AGREEMENT";
pub const ENCAPSULATE_DECAPSULATE: &str = "ENCAPSULATE_DECAPSULATE";
pub const ED25519: &str = "ECC_NIST_EDWARDS25519";

/// What keys of a spec can be for; none for a spec that is not emulated.
pub fn usages(spec: &str) -> &'static [&'static str] {
    match spec {
        "SYMMETRIC_DEFAULT" => &["ENCRYPT_DECRYPT"],
        "HMAC_224" | "HMAC_256" | "HMAC_384" | "HMAC_512" => &["GENERATE_VERIFY_MAC"],
        "RSA_2048" | "RSA_3072" | "RSA_4096" => &["ENCRYPT_DECRYPT", SIGN_VERIFY],
        "ECC_NIST_P256" | "ECC_NIST_P384" | "ECC_NIST_P521" => &[SIGN_VERIFY, KEY_AGREEMENT],
        "ECC_SECG_P256K1" | ED25519 | "ML_DSA_44" | "ML_DSA_65" | "ML_DSA_87" => &[SIGN_VERIFY],
        "ML_KEM_512" | "ML_KEM_768" | "ML_KEM_1024" => &[ENCAPSULATE_DECAPSULATE],
        _ => &[],
    }
}

/// Whether keys of this spec are pairs.
pub fn is_pair(spec: &str) -> bool {
    spec != "SYMMETRIC_DEFAULT" && !spec.starts_with("HMAC_") && !usages(spec).is_empty()
}

pub fn curve(spec: &str) -> Option<&'static EcdsaSigningAlgorithm> {
    Some(match spec {
        "ECC_NIST_P256" => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        "ECC_NIST_P384" => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        "ECC_NIST_P521" => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        "ECC_SECG_P256K1" => &signature::ECDSA_P256K1_SHA256_ASN1_SIGNING,
        _ => return None,
    })
}

pub fn lattice(spec: &str) -> Option<&'static PqdsaSigningAlgorithm> {
    Some(match spec {
        "ML_DSA_44" => &signature::ML_DSA_44_SIGNING,
        "ML_DSA_65" => &signature::ML_DSA_65_SIGNING,
        "ML_DSA_87" => &signature::ML_DSA_87_SIGNING,
        _ => return None,
    })
}

pub fn encapsulation(spec: &str) -> Option<&'static kem::Algorithm> {
    Some(match spec {
        "ML_KEM_512" => &kem::ML_KEM_512,
        "ML_KEM_768" => &kem::ML_KEM_768,
        "ML_KEM_1024" => &kem::ML_KEM_1024,
        _ => return None,
    })
}

/// A fresh key pair.
#[derive(Debug)]
pub struct Pair {
    /// The material of a key that has it.
    pub private: Vec<u8>,
    pub public_spki: Vec<u8>,
}

impl Pair {
    /// Makes one of a key spec; none for a spec that has none here. RSA takes up to seconds.
    ///
    /// # Errors
    /// The generator failed.
    pub fn generate(spec: &str) -> Result<Option<Self>, AwsError> {
        let Some(private) = material(spec)? else { return Ok(None) };
        let public_spki = public_key(spec, &private).ok_or_else(|| errors::internal("no key pair could be made"))?;
        Ok(Some(Self { private, public_spki }))
    }
}

fn material(spec: &str) -> Result<Option<Vec<u8>>, AwsError> {
    let failed = |_| errors::internal("no key pair could be made");
    let size = match spec {
        "RSA_2048" => Some(KeySize::Rsa2048),
        "RSA_3072" => Some(KeySize::Rsa3072),
        "RSA_4096" => Some(KeySize::Rsa4096),
        _ => None,
    };
    if let Some(size) = size {
        let key = PrivateDecryptingKey::generate(size).map_err(failed)?;
        let private: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
        return Ok(Some(private.as_ref().to_vec()));
    }
    if let Some(curve) = curve(spec) {
        let document = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).map_err(failed)?;
        return Ok(Some(document.as_ref().to_vec()));
    }
    if spec == ED25519 {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(failed)?;
        return Ok(Some(document.as_ref().to_vec()));
    }
    if let Some(lattice) = lattice(spec) {
        let pair = PqdsaKeyPair::generate(lattice).map_err(failed)?;
        return Ok(Some(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()));
    }
    let Some(algorithm) = encapsulation(spec) else { return Ok(None) };
    let secret = kem::DecapsulationKey::generate(algorithm).map_err(failed)?;
    let public = secret.encapsulation_key().and_then(|key| Ok(key.key_bytes()?.as_ref().to_vec())).map_err(failed)?;
    let length = u32::try_from(public.len()).map_err(|_| errors::internal("no key pair could be made"))?;
    let secret = secret.key_bytes().map_err(failed)?;
    Ok(Some([&length.to_be_bytes(), public.as_slice(), secret.as_ref()].concat()))
}

/// ML-KEM material taken apart: the encapsulation key and the decapsulation key.
pub fn encapsulation_parts(material: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = material.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The public key of material, as X.509 writes it (DER); none when the material is not of the spec.
pub fn public_key(spec: &str, material: &[u8]) -> Option<Vec<u8>> {
    if let Some(curve) = curve(spec) {
        let pair = EcdsaKeyPair::from_pkcs8(curve, material).ok()?;
        return der(pair.public_key());
    }
    if let Some(lattice) = lattice(spec) {
        return der(PqdsaKeyPair::from_pkcs8(lattice, material).ok()?.public_key());
    }
    if spec == ED25519 {
        return der(Ed25519KeyPair::from_pkcs8_maybe_unchecked(material).ok()?.public_key());
    }
    if encapsulation(spec).is_some() {
        return encapsulation_spki(spec, encapsulation_parts(material)?.0);
    }
    let pair = RsaKeyPair::from_pkcs8(material).ok()?;
    let bits = spec.strip_prefix("RSA_")?.parse::<usize>().ok()?;
    (pair.public_modulus_len() * 8 == bits).then(|| der(pair.public_key()))?
}

fn der<'a, K: AsDer<PublicKeyX509Der<'a>>>(key: &K) -> Option<Vec<u8>> {
    let der: PublicKeyX509Der<'a> = key.as_der().ok()?;
    Some(der.as_ref().to_vec())
}

/// SubjectPublicKeyInfo after RFC 9935: the algorithm is 2.16.840.1.101.3.4.4.1 to .3.
fn encapsulation_spki(spec: &str, public: &[u8]) -> Option<Vec<u8>> {
    let arc = match spec {
        "ML_KEM_512" => 1,
        "ML_KEM_768" => 2,
        _ => 3,
    };
    let identifier = [0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, arc];
    let bits = tagged(0x03, &[&[0], public].concat())?;
    tagged(0x30, &[&identifier, bits.as_slice()].concat())
}

/// DER of a long value: every value here has a length of two bytes.
fn tagged(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(value.len()).ok()?.to_be_bytes();
    Some([&[tag, 0x82], length.as_slice(), value].concat())
}
