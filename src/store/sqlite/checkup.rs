//! The look for damage. `PRAGMA quick_check` reads the whole file, so it takes longer the larger that is: it goes on beside
//! the work, once after each opening, on a connection of its own that no pool waits for.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{LockedSqliteHandle, SqliteConnectOptions},
};

use crate::store::StoreError;

/// Steps of SQLite's between two looks at whether to stop.
const STEPS: i32 = 1_000;

/// A look that goes on until it is through or this is dropped.
pub(super) struct Checkup {
    stop: Arc<AtomicBool>,
    damage: Arc<OnceLock<String>>,
}

/// How a look ended.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Sound,
    Damage(String),
    /// It was told to stop.
    Nothing,
}

impl Checkup {
    /// Begins to look.
    pub fn start(options: SqliteConnectOptions) -> Self {
        let checkup = Self { stop: Arc::default(), damage: Arc::default() };
        let (stop, damage) = (Arc::clone(&checkup.stop), Arc::clone(&checkup.damage));
        tokio::spawn(async move {
            let path = options.get_filename().display().to_string();
            match look(&options, stop).await {
                Ok(Found::Sound | Found::Nothing) => {}
                Ok(Found::Damage(found)) => {
                    tracing::error!(store.path = %path, damage = %found, "the database is damaged; restore a backup");
                    // One task, which sets it once.
                    let _ = damage.set(found);
                }
                Err(error) => {
                    tracing::error!(store.path = %path, %error, "the database could not be looked through for damage")
                }
            }
        });
        checkup
    }

    /// Whether the file may be written to: as long as no damage is known. What is written into a damaged one may be lost, and
    /// may damage more; it can still be read, as far as it can be read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: damage was found. Nothing is claimed or taken then, and the process is not ready.
    pub fn passed(&self) -> Result<(), StoreError> {
        self.damage.get().map_or(Ok(()), |found| {
            let reason = format!(
                "quick_check found damage in the database: {found}; nothing is written to it any more: stop keyferry and \
                 restore a backup"
            );
            Err(StoreError::Unavailable { reason })
        })
    }

    /// Ends the look where it stands.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Drop for Checkup {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn look(options: &SqliteConnectOptions, stop: Arc<AtomicBool>) -> Result<Found, sqlx::Error> {
    let mut connection = options.connect().await?;
    let stopped = Arc::clone(&stop);
    let mut handle: LockedSqliteHandle<'_> = connection.lock_handle().await?;
    handle.set_progress_handler(STEPS, move || !stopped.load(Ordering::SeqCst));
    drop(handle);
    let found: Result<String, sqlx::Error> =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await;
    let found = match found {
        Err(_) if stop.load(Ordering::SeqCst) => return Ok(Found::Nothing),
        Ok(sound) if sound == "ok" => Found::Sound,
        Ok(damage) => Found::Damage(damage),
        // Some damage keeps SQLite from looking further.
        Err(sqlx::Error::Database(refused)) => match refused.code().as_deref() {
            Some("11" | "26") => Found::Damage(refused.message().to_owned()),
            _ => return Err(sqlx::Error::Database(refused)),
        },
        Err(error) => return Err(error),
    };
    connection.close().await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::patience::PATIENCE;
    use std::{
        io::{Seek as _, SeekFrom, Write as _},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::store::{Claim, SqliteStore, Store as _, conformance};

    impl SqliteStore {
        /// As after a look that found something.
        pub(crate) fn be_damaged(&self) {
            self.inner.checkup.damage.set("row 7 missing from index".to_owned()).unwrap();
        }
    }

    /// A file with some megabytes in it.
    async fn filled(folder: &tempfile::TempDir) -> std::path::PathBuf {
        let path = folder.path().join("keyferry.db");
        SqliteStore::open(&path).await.unwrap().close().await;
        let mut raw = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000) \
                    INSERT INTO payloads (hash, body) SELECT printf('%064d', i), hex(randomblob(1500)) FROM n";
        sqlx::query(rows).execute(&mut raw).await.unwrap();
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
        path
    }

    #[expect(clippy::disallowed_methods, reason = "the look goes on in real time; what is waited for is asserted")]
    async fn a_moment() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    #[tokio::test]
    async fn a_damaged_file_is_found_gives_no_work_and_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = filled(&folder).await;
        let mut file = std::fs::File::options().write(true).open(&path).unwrap();
        let middle = file.metadata().unwrap().len() / 4_096 / 2 * 4_096;
        file.seek(SeekFrom::Start(middle)).unwrap();
        file.write_all(&[0xA5; 4 * 4_096]).unwrap();
        drop(file);
        let store = SqliteStore::open(&path).await.unwrap();
        let begun = Instant::now();
        let found = loop {
            match store.probe().await {
                Ok(()) => a_moment().await,
                Err(error) => break error,
            }
            assert!(begun.elapsed() < PATIENCE, "the damage was not found");
        };
        assert!(found.to_string().contains("quick_check found damage"), "{found}");
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let claim = Claim { owner: "one".to_owned(), now, lease_until: now, limit: 1 };
        assert_eq!(store.claim(claim.clone()).await.unwrap_err(), found);
        let (committed, claimed) = store.commit_and_claim([conformance::start("r1")].into(), claim).await;
        assert_eq!((committed.unwrap_err(), claimed.unwrap_err()), (found.clone(), found.clone()));
        assert_eq!(store.commit([conformance::start("r1")].into()).await.unwrap_err(), found);
        assert_eq!(store.put_records(Vec::new()).await.unwrap_err(), found);
        assert_eq!(store.expire_leases().await.unwrap_err(), found);
        assert_eq!(store.outbox(now, 1).await.unwrap_err(), found, "no mail that cannot be ticked off");
        assert!(matches!(store.load("r1").await, Err(StoreError::NotFound { .. })), "what can be read is read");
        store.close().await;
    }

    #[tokio::test]
    async fn a_sound_file_is_looked_through_and_a_look_that_is_stopped_ends() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(filled(&folder).await);
        assert_eq!(look(&options, Arc::default()).await.unwrap(), Found::Sound);
        assert_eq!(look(&options, Arc::new(AtomicBool::new(true))).await.unwrap(), Found::Nothing);
    }

    #[tokio::test]
    async fn closing_ends_the_look() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&filled(&folder).await).await.unwrap();
        store.close().await;
        assert!(store.inner.checkup.stop.load(Ordering::SeqCst));
    }
}
