//! Key material: 32 bytes that are seen by nobody and gone when they are not needed.

use std::{fmt, io::Read};

use zeroize::Zeroizing;

/// What AWS KMS takes for a symmetric key: 256 bits.
pub(super) const LENGTH: usize = 32;

/// The bytes of a key. They do not move, are not printed, and are overwritten when they are dropped.
pub struct Material(Box<Zeroizing<[u8; LENGTH]>>);

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(…)")
    }
}

/// Why there is no material.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    #[error("the key could not be read")]
    Read(#[source] std::io::Error),
    #[error("the key is {0} bytes long: a key for import is exactly 32 bytes, raw, not as hexadecimal or base64 text")]
    Length(usize),
    #[error("the key is more than 32 bytes long: a key for import is exactly 32 bytes, raw, without a line end")]
    TooLong,
    #[error("the system gave no random bits: {0}")]
    Random(String),
}

impl Material {
    /// New material from the system's generator.
    ///
    /// # Errors
    /// The system gave no random bits.
    pub fn generate() -> Result<Self, MaterialError> {
        let mut material = Self(Box::new(Zeroizing::new([0; LENGTH])));
        getrandom::fill(material.0.as_mut_slice()).map_err(|error| MaterialError::Random(error.to_string()))?;
        Ok(material)
    }

    /// Reads exactly 32 bytes, to the end of `source`.
    ///
    /// # Errors
    /// It could not be read, or held more or fewer bytes.
    pub fn read(mut source: impl Read) -> Result<Self, MaterialError> {
        let mut buffer = Zeroizing::new([0; LENGTH + 1]);
        let mut filled = 0;
        while filled < buffer.len() {
            match source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(MaterialError::Read(error)),
            }
        }
        match filled {
            LENGTH => {
                let mut material = Self(Box::new(Zeroizing::new([0; LENGTH])));
                material.0.copy_from_slice(&buffer[..LENGTH]);
                Ok(material)
            }
            filled if filled > LENGTH => Err(MaterialError::TooLong),
            filled => Err(MaterialError::Length(filled)),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_is_exactly_32_bytes() {
        assert_eq!(Material::read(&[7_u8; 32][..]).expect("a key").bytes(), [7; 32]);
        assert!(matches!(Material::read(&[7_u8; 31][..]), Err(MaterialError::Length(31))));
        assert!(matches!(Material::read(&[7_u8; 33][..]), Err(MaterialError::TooLong)));
        assert!(matches!(Material::read(&b""[..]), Err(MaterialError::Length(0))));
    }

    #[test]
    fn generated_material_differs_and_is_not_printed() {
        let (one, other) = (Material::generate().expect("a key"), Material::generate().expect("a key"));
        assert_ne!(one.bytes(), other.bytes());
        assert_eq!(format!("{one:?}"), "Material(…)");
    }
}
