//! The bootstrap administrator's token.
//!
//! It is 256 random bits, written once to `DIR/admin-token` for its owner's eyes; a server keeps the SHA-256 of it alone
//! (enough for a secret of that entropy) and compares in constant time.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

const FILE_NAME: &str = "admin-token";
const PREFIX: &str = "kfa_";
/// Fewer characters than this were not written by keyferry.
const SHORTEST: usize = 32;

/// What is kept of the administrator's token.
#[derive(Clone)]
pub struct AdminToken {
    hash: [u8; 32],
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot use the token file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the token file {} may be read by others: chmod 600 it, or delete it to get a new token", .0.display())]
    Open(PathBuf),
    #[error("the token file {} holds no token: delete it to get a new one", .0.display())]
    Empty(PathBuf),
    #[error("the system gave no random bits: {0}")]
    Random(String),
}

impl AdminToken {
    /// The token of the data directory: the one in its file, or a new one, which is written there.
    ///
    /// # Errors
    /// A file that cannot be read or written, that others may read, or that holds no token.
    pub fn load_or_create(directory: &Path) -> Result<Self, TokenError> {
        let path = directory.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => return Err(TokenError::Open(path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(directory, &path)?,
            Err(source) => return Err(TokenError::File { path, source }),
        }
        let text = fs::read_to_string(&path).map_err(|source| TokenError::File { path: path.clone(), source })?;
        let token = text.trim();
        if token.len() < SHORTEST { Err(TokenError::Empty(path)) } else { Ok(Self::from_secret(token)) }
    }

    /// The token whose text is `secret`.
    pub fn from_secret(secret: &str) -> Self {
        Self { hash: Sha256::digest(secret.as_bytes()).into() }
    }

    /// Whether `presented` is the token. Its time does not depend on how much of it is right.
    pub fn is(&self, presented: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        aws_lc_rs::constant_time::verify_slices_are_equal(&hash, &self.hash).is_ok()
    }
}

/// The file gets its name only once it is complete, and only if nothing has that name: a crash leaves no half token, and
/// of two servers that begin at once one reads the other's.
fn create(directory: &Path, path: &Path) -> Result<(), TokenError> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits).map_err(|error| TokenError::Random(error.to_string()))?;
    let draft = directory.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let written = write_private(&draft, &format!("{PREFIX}{}\n", hex::encode(bits)))
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        })
        .and_then(|()| fs::File::open(directory)?.sync_all());
    let cleaned = match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written.and(cleaned).map_err(|source| TokenError::File { path: path.to_owned(), source })
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_written_once_for_its_owner_alone_and_used_again() {
        let directory = tempfile::tempdir().expect("a folder");
        let first = AdminToken::load_or_create(directory.path()).expect("created");
        let path = directory.path().join(FILE_NAME);
        let text = fs::read_to_string(&path).expect("a token");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(text.trim().len(), PREFIX.len() + 64);
        let again = AdminToken::load_or_create(directory.path()).expect("read");
        assert!(first.is(text.trim()) && again.is(text.trim()));
        assert!(!first.is("") && !first.is(&text.trim().to_uppercase()));
        let names = fs::read_dir(directory.path()).expect("a folder").count();
        assert_eq!(names, 1, "the draft is gone");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_empty_is_refused() {
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join(FILE_NAME);
        write_private(&path, "\n").expect("written");
        assert!(matches!(AdminToken::load_or_create(directory.path()), Err(TokenError::Empty(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(AdminToken::load_or_create(directory.path()), Err(TokenError::Open(_))));
    }

    #[test]
    fn debug_output_does_not_hold_the_hash() {
        assert_eq!(format!("{:?}", AdminToken::from_secret("secret")), "AdminToken(…)");
    }
}
