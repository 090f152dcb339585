//! The data file: every row of every table, the ledger and the clock's anchor, in SQLite.
//!
//! A crash before [`DataFile::commit`] returns leaves the file as it was before the call, and the caller has had no answer;
//! a crash after it leaves the call's whole effect and its ledger entry. Synchronous commits (`synchronous=FULL`, WAL) make
//! that hold for power cuts as well. A lock beside the file keeps a second process out, because each keeps the world in
//! memory and would not see the other's changes.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use sqlx::{
    Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{Changes, LedgerEntry, Rows, SandboxError, World, clock::Anchor};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sandbox_row (
    kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sandbox_ledger (
    seq INTEGER PRIMARY KEY, entry TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sandbox_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), sandbox TEXT NOT NULL, wall TEXT NOT NULL, speed REAL NOT NULL
) STRICT;
";

/// The open file; dropping it gives the lock back.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    connection: SqliteConnection,
    _lock: File,
}

impl DataFile {
    /// Opens or creates the file and takes its lock.
    ///
    /// # Errors
    /// Another process holds the file, or it cannot be opened, or SQLite refuses the durability asked of it.
    pub async fn open(path: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Data { path: path.to_owned(), source };
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.map_err(failed)?;
        let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.map_err(failed)?;
        if mode != "wal" || level != 2 {
            return Err(SandboxError::NotDurable { path: path.to_owned(), mode, level });
        }
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection, _lock: lock })
    }

    /// All rows, as a world.
    ///
    /// # Errors
    /// The file cannot be read, or holds a row that this version does not know.
    pub async fn world(&mut self) -> Result<World, SandboxError> {
        let rows = sqlx::query("SELECT kind, key, body FROM sandbox_row")
            .fetch_all(&mut self.connection)
            .await
            .map_err(|source| SandboxError::Data { path: self.path.clone(), source })?;
        let mut world = World::default();
        for row in rows {
            let (kind, key, body): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            let known = world.load(&kind, &key, &body).map_err(|source| self.bad_row(&kind, &key, source))?;
            if !known {
                return Err(SandboxError::UnknownRow { path: self.path.clone(), kind });
            }
        }
        Ok(world)
    }

    /// The whole ledger, oldest first.
    ///
    /// # Errors
    /// The file cannot be read or holds an entry that this version does not know.
    pub async fn ledger(&mut self) -> Result<Vec<LedgerEntry>, SandboxError> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT entry FROM sandbox_ledger ORDER BY seq")
            .fetch_all(&mut self.connection)
            .await
            .map_err(|source| SandboxError::Data { path: self.path.clone(), source })?;
        rows.iter()
            .map(|entry| serde_json::from_str(entry).map_err(|source| self.bad_row("ledger", entry, source)))
            .collect()
    }

    /// The clock's anchor, when there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn anchor(&mut self) -> Result<Option<Anchor>, SandboxError> {
        let row = sqlx::query("SELECT sandbox, wall, speed FROM sandbox_clock WHERE id = 1")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|source| SandboxError::Data { path: self.path.clone(), source })?;
        let Some(row) = row else { return Ok(None) };
        let time = |text: String| {
            DateTime::parse_from_rfc3339(&text)
                .map(|time| time.with_timezone(&Utc))
                .map_err(|_| SandboxError::BadClock { path: self.path.clone(), text })
        };
        Ok(Some(Anchor { sandbox: time(row.get(0))?, wall: time(row.get(1))?, speed: row.get(2) }))
    }

    /// Keeps the clock's anchor.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn set_anchor(&mut self, anchor: Anchor) -> Result<(), SandboxError> {
        sqlx::query("INSERT OR REPLACE INTO sandbox_clock (id, sandbox, wall, speed) VALUES (1, ?, ?, ?)")
            .bind(anchor.sandbox.to_rfc3339())
            .bind(anchor.wall.to_rfc3339())
            .bind(anchor.speed)
            .execute(&mut self.connection)
            .await
            .map_err(|source| SandboxError::Data { path: self.path.clone(), source })?;
        Ok(())
    }

    /// Makes one call's changes and its ledger entry durable, all or none.
    ///
    /// # Errors
    /// The file cannot be written; nothing of the call is in it then.
    pub async fn commit(&mut self, changes: Changes, entry: Option<&LedgerEntry>) -> Result<(), SandboxError> {
        let path = self.path.clone();
        let entry = entry.map(|entry| serde_json::to_string(entry).map(|text| (entry.seq, text))).transpose();
        let entry = entry.map_err(|source| self.bad_row("ledger", "new", source))?;
        write(&mut self.connection, changes, entry).await.map_err(|source| SandboxError::Data { path, source })
    }

    fn bad_row(&self, kind: &str, key: &str, source: serde_json::Error) -> SandboxError {
        SandboxError::BadRow { path: self.path.clone(), kind: kind.to_owned(), key: key.to_owned(), source }
    }
}

async fn write(
    connection: &mut SqliteConnection,
    changes: Changes,
    entry: Option<(i64, String)>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (kind, key, body) in changes.rows {
        let query = match body {
            Some(body) => sqlx::query("INSERT OR REPLACE INTO sandbox_row (kind, key, body) VALUES (?, ?, ?)")
                .bind(kind)
                .bind(key)
                .bind(body),
            None => sqlx::query("DELETE FROM sandbox_row WHERE kind = ? AND key = ?").bind(kind).bind(key),
        };
        query.execute(&mut *transaction).await?;
    }
    if let Some((seq, entry)) = entry {
        sqlx::query("INSERT INTO sandbox_ledger (seq, entry) VALUES (?, ?)")
            .bind(seq)
            .bind(entry)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

fn lock(path: &Path) -> Result<File, SandboxError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |source| SandboxError::Lock { path: lock_path.clone(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SandboxError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
