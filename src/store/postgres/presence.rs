//! Who is alive: a lock that a process holds on a connection of its own, under the name that its leases carry. The server lets
//! it go when the connection ends, and that ends with the process; what the process had claimed is then anybody's, without
//! waiting for the leases' time. A process that hangs keeps its lock, and its leases pass by time alone.
//!
//! The same connection hears of work that other processes have made due.

use std::{collections::BTreeSet, sync::PoisonError, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::{Notify, oneshot};

use super::{PostgresStore, pause, pool::Setback, session::Session, sql, text::kept};
use crate::store::{StoreError, row::Stored as _};

/// Who is found absent is looked at once more after this: a process whose connection was cut has so long to come back.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Between two tries to be present again.
const RETRY: Duration = Duration::from_millis(100);
/// How often an idle connection is asked whether it is still one.
const PULSE: Duration = Duration::from_secs(20);
/// And how long that may take.
const PULSE_WAIT: Duration = Duration::from_secs(5);
const CHANNEL: &str = "keyferry";

impl PostgresStore {
    /// Holds the lock of `owner` until the store is closed or dropped, and takes it again whenever the connection is lost.
    /// Returns when it is held for the first time.
    pub(super) async fn be_present(&self, owner: &str) -> Result<(), StoreError> {
        *self.inner.owner.lock().unwrap_or_else(PoisonError::into_inner) = owner.to_owned();
        let (first, held) = oneshot::channel();
        let told = std::sync::Arc::clone(&self.inner.told);
        let task = stay((self.inner.options.clone(), self.inner.session.clone()), owner.to_owned(), told, first);
        self.keep_task(tokio::spawn(task).abort_handle());
        let gone = |_| StoreError::Unavailable { reason: "the store was closed".to_owned() };
        held.await.map_err(gone)?
    }

    /// Ends the leases of owners whose lock nobody holds, at two looks.
    pub(super) async fn expire_absent(&self) -> Result<u64, StoreError> {
        if !self.is_leased() {
            return Ok(0);
        }
        let first = self.absent().await?;
        if first.is_empty() {
            return Ok(0);
        }
        pause(SECOND_LOOK).await;
        let dead: Vec<String> = self.absent().await?.intersection(&first).cloned().collect();
        if dead.is_empty() {
            return Ok(0);
        }
        let asked = self.inner.aside.ask(true, {
            let dead = dead.clone();
            move |connection| {
                let query = sqlx::query(sql::EXPIRE_LEASES).bind(dead.clone());
                Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
            }
        });
        let ended = asked.await?;
        if ended > 0 {
            tracing::info!(work = ended, owners = ?dead, "the processes that held this work are gone; it is free");
        }
        Ok(ended)
    }

    /// Owners of leases whose lock nobody holds, as they are kept.
    async fn absent(&self) -> Result<BTreeSet<String>, StoreError> {
        let asked = self.inner.aside.ask(true, |connection| {
            Box::pin(async move {
                let rows = sqlx::query(sql::ABSENT).fetch_all(connection).await?;
                let owners: Result<BTreeSet<String>, StoreError> = rows.iter().map(|row| row.text("owner")).collect();
                Ok(owners?)
            })
        });
        Ok(asked.await?)
    }
}

/// Stays present. `first` hears of the first success, or why there can be none.
async fn stay(
    (options, session): (PgConnectOptions, Session),
    owner: String,
    told: std::sync::Arc<Notify>,
    first: oneshot::Sender<Result<(), StoreError>>,
) {
    // sqlx has a pool between a listener and its connection; this one holds that connection alone.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(PULSE_WAIT)
        .test_before_acquire(true)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move {
                session.settle(connection).await.map_err(|setback| match setback {
                    Setback::Database(error) => error,
                    Setback::Store(error) => sqlx::Error::Configuration(error.into()),
                })
            })
        })
        .connect_lazy_with(options);
    let mut first = Some(first);
    loop {
        match take(&pool, &owner).await {
            Ok(listener) => {
                if let Some(first) = first.take() {
                    // Who opened the store may have gone.
                    let _ = first.send(Ok(()));
                } else {
                    tracing::info!("this process is known to be alive again");
                    // What came meanwhile was not heard of.
                    told.notify_one();
                }
                listen(listener, &owner, &told).await;
                tracing::warn!("the connection by which other processes know that this one is alive was lost");
            }
            Err(setback) => {
                let error = StoreError::from(setback);
                if let Some(first) = first.take() {
                    let _ = first.send(Err(error));
                    return;
                }
                tracing::debug!(%error, "this process cannot be known to be alive yet");
                pause(RETRY).await;
            }
        }
    }
}

async fn take(pool: &PgPool, owner: &str) -> Result<PgListener, Setback> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // The lock may still be held by the connection that this one follows, until the server has seen its end.
    for _ in 0..50 {
        let held: bool = sqlx::query_scalar(sql::PRESENCE).bind(kept(owner)).fetch_one(&mut listener).await?;
        if held {
            return Ok(listener);
        }
        pause(RETRY).await;
    }
    let reason = format!("another connection holds the lock of {owner}");
    Err(StoreError::Unavailable { reason }.into())
}

/// Hears of work until the connection is lost.
async fn listen(mut listener: PgListener, owner: &str, told: &Notify) {
    loop {
        match tokio::time::timeout(PULSE, listener.try_recv()).await {
            Ok(Ok(Some(said))) if said.payload() == owner => {}
            Ok(Ok(Some(_))) => told.notify_one(),
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => {
                let pulse = tokio::time::timeout(PULSE_WAIT, sqlx::query("SELECT 1").execute(&mut listener)).await;
                if !matches!(pulse, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
