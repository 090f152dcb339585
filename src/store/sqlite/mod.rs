//! The embedded store: one SQLite file, one process.
//!
//! One connection writes, in transactions that begin IMMEDIATE (a deferred one that turns into a writer fails at once with
//! SQLITE_BUSY, whatever the timeout); four read. The lock file beside the database refuses a second process, which is also
//! what makes it right to take back every lease at start: whoever held one is dead.

mod commit;
mod open;
mod read;
mod sql;
#[cfg(test)]
mod tests;
mod write;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, SqliteConnection, SqlitePool};

use super::StoreError;

/// The store on a SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held until the store is closed or dropped; the system lets it go when the process dies.
    lock: std::fs::File,
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
        self.inner.readers.close().await;
        self.inner.writer.close().await;
        if let Err(error) = self.inner.lock.unlock() {
            tracing::warn!(%error, "the lock file could not be let go before the end of the process");
        }
    }

    /// Runs `body` in a transaction that begins IMMEDIATE, on a task of its own: a caller that goes away half-way can neither
    /// stop it nor leave a connection inside it. An error takes everything back.
    async fn write<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let writer = self.inner.writer.clone();
        let task = tokio::spawn(async move {
            let mut connection = writer.acquire().await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            match body(&mut transaction).await {
                Ok(value) => {
                    transaction.commit().await?;
                    Ok(value)
                }
                Err(error) => {
                    if let Err(failure) = transaction.rollback().await {
                        tracing::warn!(error = %failure, "a transaction could not be taken back");
                    }
                    Err(error)
                }
            }
        });
        task.await.unwrap_or_else(|failure| Err(StoreError::Unavailable { reason: failure.to_string() }))
    }
}
