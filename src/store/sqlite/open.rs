//! Opening: the lock, the pragmas and their check, the migrations.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::{
    SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Connections, Inner, SqliteStore,
    checkup::Checkup,
    files::{Files, Lock},
};
use crate::store::{StoreError, error::newer, known::Known};

/// Bytes to which the write-ahead log is cut back after a checkpoint.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;
/// Before this release a reset of the write-ahead log could corrupt the database.
const OLDEST: (u32, u32, u32) = (3, 51, 3);
const READERS: u32 = 4;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

impl SqliteStore {
    /// Opens the database at `path`, making it if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open; [`StoreError::Unfit`] when a pragma did not take, SQLite is
    /// too old, the file has further names, is damaged so that it cannot be opened, or is of a newer keyferry;
    /// [`StoreError::Unavailable`] for everything of the system. Damage is looked for after the opening too: when there is
    /// some, `probe` and `claim` say so.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = Lock::take(path)?;
        let options = SqliteConnectOptions::new()
            .filename(lock.path())
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("journal_size_limit", JOURNAL_SIZE_LIMIT.to_string())
            .statement_cache_capacity(128);
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let unfit = |reason: String| StoreError::Unfit { path: path.to_owned(), reason };
        let writer = pool(1).connect_with(options.clone()).await.map_err(|error| damaged(path, error))?;
        check(path, &writer).await?;
        MIGRATIONS.run(&writer).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => damaged(path, error),
            MigrateError::VersionMissing(version) => unfit(newer(version)),
            other => unfit(other.to_string()),
        })?;
        // The log and its index are made by the first transaction.
        sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&writer).await?;
        let files = Arc::new(Files::of(path, &lock)?);
        let reading = options.pragma("query_only", "on");
        let readers = pool(READERS).connect_with(reading.clone()).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                writer: Connections::new(writer, &files),
                readers: Connections::new(readers, &files),
                files,
                saved: OnceLock::new(),
                known: Known::default(),
                checkup: Checkup::start(reading),
                lock,
            }),
        })
    }
}

/// A file that SQLite cannot make sense of.
fn damaged(path: &Path, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|refused| refused.code().map(std::borrow::Cow::into_owned));
    match code.as_deref() {
        Some("11" | "26") => {
            let (reason, file) = (error.to_string(), path.display());
            let reason = format!(
                "{reason}. If a backup was put in its place, {file}-wal and {file}-shm are of the file before: stop keyferry, delete \
                 these two, put the backup in its place once more, and start. Otherwise the file is damaged: restore a backup"
            );
            StoreError::Unfit { path: path.to_owned(), reason }
        }
        _ => error.into(),
    }
}

/// Reads back what was asked for: SQLite takes values that it does not know for others without a word.
async fn check(path: &Path, writer: &SqlitePool) -> Result<(), StoreError> {
    let unfit = |reason: String| StoreError::Unfit { path: path.to_owned(), reason };
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(writer).await?;
    if parse_version(&version).is_none_or(|found| found < OLDEST) {
        return Err(unfit(format!("SQLite is {version}, keyferry needs 3.51.3 or later")));
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await?;
    if mode != "wal" {
        return Err(unfit(format!("journal_mode is {mode} and would not become wal: is the file on a network disk?")));
    }
    for (pragma, statement, expected) in [
        ("synchronous", "PRAGMA synchronous", 2),
        ("foreign_keys", "PRAGMA foreign_keys", 1),
        ("busy_timeout", "PRAGMA busy_timeout", 5_000),
        ("journal_size_limit", "PRAGMA journal_size_limit", JOURNAL_SIZE_LIMIT),
        ("mmap_size", "PRAGMA mmap_size", 0),
    ] {
        let found: i64 = sqlx::query_scalar(statement).fetch_optional(writer).await?.unwrap_or(0);
        if found != expected {
            return Err(unfit(format!("{pragma} is {found} and would not become {expected}")));
        }
    }
    Ok(())
}

fn parse_version(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}
