//! The protected backup of material, in the form of `openssl enc -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -salt`.
//!
//! The form has no authentication of its own; a wrong passphrase shows as padding or a length that cannot be. It is used
//! because a customer must be able to open the backup in ten years, with or without keyferry.

use std::{
    fmt, fs,
    io::{self, Read as _, Write as _},
    num::NonZeroU32,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    cipher::{
        AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    iv::FixedLength,
    pbkdf2,
};
use zeroize::Zeroizing;

use super::material::{LENGTH, Material};

const MAGIC: &[u8; 8] = b"Salted__";
const SALT: usize = 8;
const KEY: usize = 32;
const IV: usize = 16;
/// Magic, salt, and three blocks: two of the key, one of padding.
const FILE: usize = 8 + SALT + LENGTH + 16;
/// What OWASP recommends for PBKDF2 with HMAC-SHA-256.
const ROUNDS: u32 = 600_000;

/// What protects a backup.
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why a backup cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    #[error("the file {} cannot be used", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} exists already: name another file, or use the key in it", .0.display())]
    Exists(PathBuf),
    #[error("{} is not a backup that `openssl enc -salt` or keyferry wrote", .0.display())]
    Malformed(PathBuf),
    #[error("the backup {} does not open with this passphrase", .0.display())]
    Passphrase(PathBuf),
    #[error("the backup could not be protected")]
    Cipher,
}

impl Passphrase {
    /// The first line of a file.
    ///
    /// # Errors
    /// It cannot be read, or is empty.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|source| BackupError::File { path: path.to_owned(), source })?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() { Err(BackupError::EmptyPassphrase) } else { Ok(Self(Zeroizing::new(line.to_owned()))) }
    }

    /// Key and initialisation vector, as OpenSSL derives them.
    fn derive(&self, salt: &[u8]) -> Zeroizing<[u8; KEY + IV]> {
        let mut derived = Zeroizing::new([0; KEY + IV]);
        let rounds = NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, self.0.as_bytes(), derived.as_mut_slice());
        derived
    }
}

fn initialisation(derived: &[u8; KEY + IV]) -> FixedLength<IV> {
    let mut vector = [0; IV];
    vector.copy_from_slice(&derived[KEY..]);
    FixedLength::from(vector)
}

impl Material {
    /// Writes a backup that did not exist. It has its name only once it is complete and on the disk.
    ///
    /// # Errors
    /// There is such a file already, or it cannot be written.
    pub fn back_up(&self, path: &Path, passphrase: &Passphrase) -> Result<(), BackupError> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|_| BackupError::Cipher)?;
        let derived = passphrase.derive(&salt);
        let key = UnboundCipherKey::new(&AES_256, &derived[..KEY]).map_err(|_| BackupError::Cipher)?;
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(|_| BackupError::Cipher)?;
        // Room for the padding, so that growing leaves no copy of the key behind.
        let mut body = Zeroizing::new(Vec::with_capacity(FILE));
        body.extend_from_slice(self.bytes());
        key.less_safe_encrypt(&mut *body, EncryptionContext::Iv128(initialisation(&derived)))
            .map_err(|_| BackupError::Cipher)?;
        let whole = [MAGIC.as_slice(), &salt, &body].concat();
        write_new(path, &whole)
    }

    /// Opens a backup.
    ///
    /// # Errors
    /// It cannot be read, is none, or has another passphrase.
    pub fn from_backup(path: &Path, passphrase: &Passphrase) -> Result<Self, BackupError> {
        let in_file = |source| BackupError::File { path: path.to_owned(), source };
        let mut whole = Vec::with_capacity(FILE + 1);
        let limit = u64::try_from(FILE + 1).unwrap_or(u64::MAX);
        fs::File::open(path).map_err(in_file)?.take(limit).read_to_end(&mut whole).map_err(in_file)?;
        let malformed = || BackupError::Malformed(path.to_owned());
        let sealed = whole.strip_prefix(MAGIC.as_slice()).filter(|_| whole.len() == FILE).ok_or_else(malformed)?;
        let (salt, body) = sealed.split_at(SALT);
        let derived = passphrase.derive(salt);
        let refused = || BackupError::Passphrase(path.to_owned());
        let key = UnboundCipherKey::new(&AES_256, &derived[..KEY]).map_err(|_| refused())?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| refused())?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened =
            key.decrypt(&mut body, DecryptionContext::Iv128(initialisation(&derived))).map_err(|_| refused())?;
        Self::read(&*opened).map_err(|_| refused())
    }
}

/// The draft is linked under the name that it is to have, which fails when there is such a file.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let in_file = |source| BackupError::File { path: path.to_owned(), source };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::hard_link(&draft, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    })();
    let cleaned = fs::remove_file(&draft);
    match written.and(cleaned) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(path.to_owned())),
        other => other.map_err(in_file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_backup_opens_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dave.key.enc");
        let material = Material::generate().expect("a key");
        material.back_up(&path, &passphrase("first")).expect("written");
        assert_eq!(Material::from_backup(&path, &passphrase("first")).expect("opened").bytes(), material.bytes());
        assert!(matches!(Material::from_backup(&path, &passphrase("second")), Err(BackupError::Passphrase(_))));
        let again = Material::generate().expect("a key").back_up(&path, &passphrase("first"));
        assert!(matches!(again, Err(BackupError::Exists(_))), "a backup is never written over");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "drafts are gone");
        fs::write(&path, b"Salted__too short").expect("written");
        assert!(matches!(Material::from_backup(&path, &passphrase("first")), Err(BackupError::Malformed(_))));
    }

    #[test]
    fn openssl_opens_a_backup_and_writes_one_that_opens() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs, word) =
            (folder.path().join("ours"), folder.path().join("theirs"), folder.path().join("word"));
        fs::write(&word, "a passphrase\n").expect("written");
        let passphrase = Passphrase::read(&word).expect("a passphrase");
        let material = Material::generate().expect("a key");
        material.back_up(&ours, &passphrase).expect("written");
        let openssl = |arguments: &[&str], input: &Path, output: &Path| {
            let done = std::process::Command::new("openssl")
                .args(["enc", "-aes-256-cbc", "-pbkdf2", "-iter", "600000", "-md", "sha256"])
                .args(arguments)
                .arg("-pass")
                .arg(format!("file:{}", word.display()))
                .arg("-in")
                .arg(input)
                .arg("-out")
                .arg(output)
                .status()
                .expect("openssl, which every Debian has, is there");
            assert!(done.success());
        };
        let plain = folder.path().join("plain");
        openssl(&["-d"], &ours, &plain);
        assert_eq!(fs::read(&plain).expect("read"), material.bytes());
        openssl(&["-salt"], &plain, &theirs);
        assert_eq!(Material::from_backup(&theirs, &passphrase).expect("opened").bytes(), material.bytes());
    }
}
