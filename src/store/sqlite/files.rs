//! Which files the store was opened on, and whether its paths still lead to them.
//!
//! A database that is deleted or replaced, or whose disk is unmounted, stays open: SQLite goes on committing into a file that
//! no path leads to. So every transaction is begun and acknowledged only while the paths lead to the files that were opened.
//! They are looked at by `stat` alone: closing any other descriptor of a database drops the locks that SQLite holds on it
//! (<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>).

use std::{
    collections::BTreeSet,
    fs::{File, Metadata, TryLockError},
    io::ErrorKind,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::store::StoreError;

/// A file's device and inode: what it is, whatever it is called.
type Identity = (u64, u64);

/// The databases that this process has open.
static OPEN: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

/// The one opening of a database: a lock on the file itself, so that no other name of it leads around the lock. Held until it
/// is dropped; the system lets it go when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    /// The file's own path, behind all links.
    path: PathBuf,
    identity: Identity,
    file: Option<File>,
}

impl Lock {
    /// Takes the lock of the database at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Locked`]: a process has it open. [`StoreError::Unfit`]: the path is a link to nothing, or the file has
    /// further names. [`StoreError::Unavailable`]: everything of the system.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let resolved = resolve(path)?;
        let unavailable = |error: std::io::Error| unavailable(&resolved, &error);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // Not opened a second time: closing it again would drop the locks of the first.
        if std::fs::metadata(&resolved).is_ok_and(|found| open.contains(&identity(&found))) {
            return Err(StoreError::Locked { path: resolved });
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&resolved);
        let file = file.map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: resolved }),
            Err(TryLockError::Error(error)) => return Err(unavailable(error)),
        }
        let found = file.metadata().map_err(unavailable)?;
        if found.nlink() > 1 {
            let reason = format!(
                "the file has {} names (hard links). SQLite keeps its log beside one name only, so through another one commits \
                 would be missed: remove the other names (find DIRECTORY -xdev -samefile {})",
                found.nlink(),
                resolved.display()
            );
            return Err(StoreError::Unfit { path: resolved, reason });
        }
        let identity = identity(&found);
        open.insert(identity);
        Ok(Self { path: resolved, identity, file: Some(file) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where everything that was acknowledged can be saved: beside the database, unless its disk is gone from there.
    pub(super) fn rescue(&self) -> Option<PathBuf> {
        let is_on_disk = |folder: &Path| std::fs::metadata(folder).is_ok_and(|found| found.dev() == self.identity.0);
        let path = beside(&self.path, &format!(".saved-{}", std::process::id()));
        (self.path.parent().is_some_and(is_on_disk) && !path.exists()).then_some(path)
    }

    /// Lets another process have it.
    pub(super) fn let_go(&self) {
        let unlocked = self.file.as_ref().map_or(Ok(()), File::unlock);
        if let Err(error) = unlocked {
            tracing::warn!(%error, "the database's lock could not be let go before the end of the process");
        }
        self.forget();
    }

    fn forget(&self) {
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.identity);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.file.take());
        self.forget();
    }
}

pub(super) fn unavailable(path: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable { reason: format!("{}: {error}", path.display()) }
}

/// The file beside `path` whose name is longer by `ending`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The path behind all links; of a file that is not there yet, in the folder behind all links.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match path.canonicalize() {
        Ok(resolved) => Ok(resolved),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.symlink_metadata().is_ok() {
                let reason =
                    "it is a link to a file that is not there: put the file back, or remove the link".to_owned();
                return Err(StoreError::Unfit { path: path.to_owned(), reason });
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = folder.canonicalize().map_err(|error| unavailable(folder, &error))?;
            Ok(folder.join(path.file_name().unwrap_or_default()))
        }
        Err(error) => Err(unavailable(path, &error)),
    }
}

/// A path, and the file that it led to at the opening.
#[derive(Debug)]
struct Known {
    what: &'static str,
    path: PathBuf,
    identity: Identity,
}

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Files {
    known: Vec<Known>,
}

impl Files {
    /// The files as they are now: the database by the name that was given and by its own, and what SQLite keeps beside it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: one is not there, or the database is not the one that was locked.
    pub(super) fn of(given: &Path, lock: &Lock) -> Result<Self, StoreError> {
        // Whoever changes the working directory changes no file.
        let given = std::path::absolute(given).map_err(|error| unavailable(given, &error))?;
        let given = (given != lock.path).then_some(("database", given));
        let own = [
            ("database", lock.path.clone()),
            ("write-ahead log", beside(&lock.path, "-wal")),
            ("index of the write-ahead log", beside(&lock.path, "-shm")),
        ];
        let mut known = Vec::new();
        for (what, path) in given.into_iter().chain(own) {
            let found = std::fs::metadata(&path).map_err(|error| unavailable(&path, &error))?;
            known.push(Known { what, path, identity: identity(&found) });
        }
        let files = Self { known };
        match files.known.iter().find(|known| known.what == "database" && known.identity != lock.identity) {
            Some(known) => Err(known.moved("was replaced while it was opened")),
            None => Ok(files),
        }
    }

    /// Whether every path still leads to the file that was opened.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: which one does not, and what to do.
    pub(super) fn are_there(&self) -> Result<(), StoreError> {
        for known in &self.known {
            match std::fs::metadata(&known.path) {
                Ok(found) if identity(&found) == known.identity => {}
                Ok(_) => return Err(known.moved("was replaced")),
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(known.moved("is gone")),
                Err(error) => return Err(known.moved(&format!("cannot be reached ({error})"))),
            }
        }
        Ok(())
    }
}

impl Known {
    fn moved(&self, how: &str) -> StoreError {
        let reason = format!(
            "the {} {} {how} while keyferry has it open. Nothing is read or written any more, because what would be acknowledged \
             would be lost. Put the disk or the file back, or stop keyferry and start it with what was saved or with a backup",
            self.what,
            self.path.display()
        );
        StoreError::Unavailable { reason }
    }
}
