//! The text of an API key: `kf_live_<id>_<secret><checksum>`, `kf_test_…` in the test environment.
//!
//! The prefix lets scanners of leaked secrets recognise it; the id, by which it is looked up, is public; the secret is 43
//! characters of base 62, more than 256 bits, from the system's generator; the checksum is the CRC-32 of everything before
//! it, by which a mistyped key is told from an unknown one without asking the store.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Environment;
use crate::worker::{ErrorKind, ServiceError};

const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 43;
/// 32 bits in base 62.
const CHECKSUM_LENGTH: usize = 6;
const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE_36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// An API key as its holder has it. It exists between a request's head and its answer alone, and leaves nothing in memory.
pub struct ApiKey {
    environment: Environment,
    id: String,
    text: Zeroizing<String>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, …)", self.id)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "API key {}", self.id)
    }
}

/// The text is no API key: a character is wrong, missing or too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is no API key")]
pub struct Mistyped;

impl ApiKey {
    /// The longest life that may be asked for, in days: ten years.
    pub const LONGEST_DAYS: u32 = 3_660;

    /// A new key.
    ///
    /// # Errors
    /// The system gave no random bits.
    pub fn generate(environment: Environment) -> Result<Self, ServiceError> {
        let id = random_id()?;
        let secret = random_text(BASE_62, SECRET_LENGTH)?;
        let mut text = Zeroizing::new(String::with_capacity(96));
        text.push_str("kf_");
        text.push_str(mark(environment));
        text.push('_');
        text.push_str(&id);
        text.push('_');
        text.push_str(&secret);
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self { environment, id, text })
    }

    /// Reads a key as it was sent.
    ///
    /// # Errors
    /// It is none. Nothing is told about keys that exist.
    pub fn parse(text: &str) -> Result<Self, Mistyped> {
        let mut parts = text.split('_');
        let (Some("kf"), Some(word), Some(id), Some(rest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Mistyped);
        };
        let environment =
            Environment::ALL.into_iter().find(|environment| mark(*environment) == word).ok_or(Mistyped)?;
        let spelled = id.len() == ID_LENGTH
            && id.bytes().all(|byte| BASE_36.contains(&byte))
            && rest.len() == SECRET_LENGTH + CHECKSUM_LENGTH
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !spelled {
            return Err(Mistyped);
        }
        let (checked, found) = text.split_at(text.len() - CHECKSUM_LENGTH);
        if checksum(checked) != found {
            return Err(Mistyped);
        }
        Ok(Self { environment, id: id.to_owned(), text: Zeroizing::new(text.to_owned()) })
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The key itself, for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it. A plain SHA-256 is enough for a secret of that entropy.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.text)
    }
}

fn mark(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "live",
        Environment::Test => "test",
    }
}

/// The SHA-256 of a secret.
#[derive(Clone)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// As it is kept.
    pub fn text(&self) -> String {
        hex::encode(self.0)
    }

    /// Whether the kept hash is this one. Its time does not depend on how much of it is right; a hash that cannot be read
    /// is no secret's.
    pub fn is(&self, kept: &str) -> bool {
        let mut bytes = [0_u8; 32];
        let read = hex::decode_to_slice(kept, &mut bytes).is_ok();
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &bytes).is_ok() && read
    }
}

/// The code of a one-time link: 26 characters of base 62, 154 bits.
pub(super) fn random_code() -> Result<Zeroizing<String>, ServiceError> {
    random_text(BASE_62, 26)
}

/// A public identifier, unique by chance: 62 bits.
pub(super) fn random_id() -> Result<String, ServiceError> {
    Ok(random_text(BASE_36, ID_LENGTH)?.to_string())
}

/// Uniformly drawn characters: a byte above the greatest multiple of the alphabet's length is drawn again.
fn random_text(alphabet: &[u8], length: usize) -> Result<Zeroizing<String>, ServiceError> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = Zeroizing::new(String::with_capacity(length));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while text.len() < length {
        getrandom::fill(bytes.as_mut()).map_err(|error| {
            let message = format!("the system gave no random bits: {error}");
            ServiceError::new(ErrorKind::Unavailable, "no-random-bits", message)
        })?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let wanted = length - text.len();
        for byte in drawn.take(wanted) {
            text.push(char::from(alphabet[byte % alphabet.len()]));
        }
    }
    Ok(text)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE_62[usize::try_from(rest % 62).unwrap_or_default()];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made_and_names_its_environment() {
        for (environment, prefix) in [(Environment::Production, "kf_live_"), (Environment::Test, "kf_test_")] {
            let key = ApiKey::generate(environment).expect("random bits");
            assert!(key.reveal().starts_with(prefix) && key.reveal().len() == 70, "{}", key.reveal().len());
            let read = ApiKey::parse(key.reveal()).expect("a key");
            assert_eq!((read.id(), read.environment()), (key.id(), environment));
            assert!(read.hash().is(&key.hash().text()));
            let other = ApiKey::generate(environment).expect("random bits");
            assert!(!other.hash().is(&key.hash().text()) && !key.hash().is("") && !key.hash().is("zz"));
        }
    }

    #[test]
    fn any_one_wrong_character_is_told_from_an_unknown_key() {
        let key = ApiKey::generate(Environment::Production).expect("random bits");
        let text = key.reveal();
        for place in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'7' { b'8' } else { b'7' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert!(ApiKey::parse(&wrong).is_err(), "character {place}");
        }
        for wrong in
            ["", "kf_live_", "1234-abcde-987", &text[..text.len() - 1], &format!("{text}0"), &format!(" {text}")]
        {
            assert!(ApiKey::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn neither_debug_nor_display_holds_the_secret() {
        let key = ApiKey::generate(Environment::Test).expect("random bits");
        let secret = &key.reveal()[21..];
        let shown = format!("{key:?} {key}");
        assert!(shown.contains(key.id()) && !shown.contains(secret), "{shown}");
    }

    #[test]
    fn every_character_of_the_alphabet_is_drawn() {
        let text = random_text(BASE_62, 20_000).expect("random bits");
        for letter in BASE_62 {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((200..=450).contains(&count), "{} was drawn {count} times", char::from(*letter));
        }
    }
}
