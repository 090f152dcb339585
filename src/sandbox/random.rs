//! Chance for the emulated cloud: key material, identifiers and tokens from the operating system's generator.
//!
//! AWS chooses these by itself, so nothing that keyferry decides depends on them and they need no clock to come from.

use uuid::Uuid;

use super::AwsError;

/// `N` random bytes.
///
/// # Errors
/// The operating system has no randomness to give: the call fails as an internal error of the service.
pub fn bytes<const N: usize>() -> Result<[u8; N], AwsError> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

/// Fills `out` with random bytes.
///
/// # Errors
/// As [`bytes`].
pub fn fill(out: &mut [u8]) -> Result<(), AwsError> {
    getrandom::fill(out)
        .map_err(|error| AwsError::new("InternalFailure", format!("no randomness: {error}")).with_status(500))
}

/// A random UUID in its usual spelling.
///
/// # Errors
/// As [`bytes`].
pub fn uuid() -> Result<String, AwsError> {
    Ok(uuid::Builder::from_random_bytes(bytes()?).into_uuid().to_string())
}

/// A UUID that follows from `name` alone, for what must be found again without being remembered.
pub fn named_uuid(name: &str) -> Uuid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// `length` characters of base 32's alphabet, as in AWS's access keys.
///
/// # Errors
/// As [`bytes`].
pub fn base32(length: usize) -> Result<String, AwsError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0; length];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect())
}
