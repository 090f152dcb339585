//! The embedded store: one SQLite file, one process.
//!
//! One connection writes, in transactions that begin IMMEDIATE (a deferred one that turns into a writer fails at once with
//! SQLITE_BUSY, whatever the timeout); four read. A lock on the file itself refuses a second process, which is also
//! what makes it right to take back every lease at start: whoever held one is dead.

mod backup;
mod checkup;
mod commit;
mod files;
mod letters;
mod open;
mod read;
mod sql;
mod tally;
#[cfg(test)]
mod tests;
mod together;
mod write;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

use super::{Pool, StoreError, Vitals, known::Known};

/// The store on a SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: Connections,
    readers: Connections,
    known: Known,
    checkup: checkup::Checkup,
    files: Arc<files::Files>,
    /// Set when everything that was acknowledged is being saved, because the files are not where they were.
    saved: OnceLock<()>,
    /// Held until the store is closed or dropped.
    lock: files::Lock,
}

/// A pool that counts what it lends and how long that took.
#[derive(Clone)]
struct Connections {
    pool: SqlitePool,
    files: Arc<files::Files>,
    lent: Arc<AtomicU64>,
    waited_us: Arc<AtomicU64>,
}

impl Connections {
    fn new(pool: SqlitePool, files: &Arc<files::Files>) -> Self {
        Self { pool, files: Arc::clone(files), lent: Arc::default(), waited_us: Arc::default() }
    }

    async fn lend(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        let asked = Instant::now();
        let lent = self.pool.acquire().await;
        let waited = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(waited, Ordering::Relaxed);
        self.lent.fetch_add(1, Ordering::Relaxed);
        Ok(lent?)
    }

    fn state(&self, name: &'static str) -> Pool {
        Pool {
            name,
            most: self.pool.options().get_max_connections(),
            size: self.pool.size(),
            idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX),
            lent: self.lent.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.waited_us.load(Ordering::Relaxed)),
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Where the database is.
    pub fn path(&self) -> &std::path::Path {
        &self.inner.path
    }

    /// Closes the connections and then lets the lock go: another process may open the file. Whatever is asked of this store
    /// afterwards fails.
    pub async fn close(&self) {
        self.inner.checkup.stop();
        self.inner.readers.pool.close().await;
        self.inner.writer.pool.close().await;
        self.inner.lock.let_go();
    }

    fn state(&self) -> Vitals {
        // A log that is not there has no bytes.
        let size =
            |ending: &str| std::fs::metadata(files::beside(&self.inner.path, ending)).map_or(0, |found| found.len());
        Vitals {
            pools: vec![self.inner.writer.state("writer"), self.inner.readers.state("readers")],
            files: vec![("database", size("")), ("wal", size("-wal"))],
        }
    }

    /// A connection that reads.
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.inner.files.are_there()?;
        self.inner.readers.lend().await
    }

    /// Whether the store may be written to: no damage is known, and its files are where they were.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: why not.
    fn may_write(&self) -> Result<(), StoreError> {
        self.inner.checkup.passed()?;
        self.inner.files.are_there().inspect_err(|error| self.save(error))
    }

    /// Saves everything that was acknowledged, once: SQLite still has the files open that no path leads to.
    fn save(&self, why: &StoreError) {
        if self.inner.saved.set(()).is_err() {
            return;
        }
        tracing::error!(%why, "the database is not where it was");
        let Some(path) = self.inner.lock.rescue() else { return };
        let pool = self.inner.writer.pool.clone();
        tokio::spawn(async move {
            let into = sqlx::query("VACUUM INTO ?").bind(path.to_string_lossy().into_owned());
            match into.execute(&pool).await {
                Ok(_) => tracing::error!(saved = %path.display(), "everything that was acknowledged is saved"),
                Err(error) => tracing::error!(%error, "what was acknowledged could not be saved"),
            }
        });
    }

    /// Runs `body` in a transaction that has the write lock from its beginning. A damaged file takes none.
    async fn write<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.may_write()?;
        Self::transact(&self.inner.writer, "BEGIN IMMEDIATE", body).await
    }

    /// Runs `body` on a connection that sees one moment of the database.
    async fn read<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.inner.files.are_there()?;
        Self::transact(&self.inner.readers, "BEGIN", body).await
    }

    /// Runs `body` between `begin` and COMMIT.
    ///
    /// The statements are said here and not by sqlx's `Transaction`: on a full disk or an I/O error SQLite takes everything
    /// back by itself, sqlx's ROLLBACK then fails and leaves its count of open transactions where it was, and the one writer
    /// would refuse every transaction from then on, long after the disk has room again.
    async fn transact<T, F>(pool: &Connections, begin: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        Self::lend(pool, move |connection| {
            Box::pin(async move {
                sqlx::query(begin).execute(&mut *connection).await?;
                let value = body(&mut *connection).await?;
                sqlx::query("COMMIT").execute(connection).await?;
                Ok(value)
            })
        })
        .await
    }

    /// The one way into a transaction, which `body` begins and ends, on a task of its own: a caller that goes away half-way can
    /// neither stop it nor leave a connection inside it. An error takes everything back.
    async fn lend<T, F>(pool: &Connections, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let pool = pool.clone();
        let task = tokio::spawn(async move {
            let mut lent = Lent { connection: pool.lend().await?, in_transaction: true };
            let outcome = body(&mut lent.connection).await;
            lent.in_transaction = false;
            if outcome.is_ok() {
                // What was committed meanwhile into files that no path leads to is not acknowledged.
                pool.files.are_there()?;
            }
            if outcome.is_err()
                && let Err(failure) = sqlx::query("ROLLBACK").execute(&mut *lent.connection).await
                && !failure.to_string().contains("no transaction is active")
            {
                tracing::warn!(error = %failure, "a transaction could not be taken back; its connection is closed");
                lent.in_transaction = true;
            }
            outcome
        });
        task.await.unwrap_or_else(|failure| Err(StoreError::Unavailable { reason: failure.to_string() }))
    }
}

/// A connection of a pool, which does not get it back when it may still be in a transaction: after a panic, for example.
struct Lent {
    connection: PoolConnection<Sqlite>,
    in_transaction: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.in_transaction {
            self.connection.close_on_drop();
        }
    }
}
