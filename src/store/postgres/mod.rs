//! The store of a fleet: one PostgreSQL that any number of processes share.
//!
//! The same law as the embedded store's, by other means. Nothing is locked by a transaction as such: a batch locks the runs that
//! it moves, in the order of their numbers, and the work that it answers, before it is judged; a claim leaves out what is locked.
//! A transaction that met another is tried again, since nothing of it was committed; a COMMIT that was not answered is settled
//! by asking what became of it.
//!
//! A process that works is known to be alive by a lock that its own connection holds (`presence.rs`): when the server has let it
//! go, what the process had claimed is free at once, long before its leases pass.

mod commit;
mod ground;
mod letters;
mod open;
mod parts;
mod pool;
mod presence;
mod read;
mod session;
mod silence;
mod sql;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod together;
mod write;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgConnectOptions;
use tokio::{sync::Notify, task::AbortHandle};

use super::{StoreError, known::Known};
use pool::{Body, Crowd, Ended, Pool};
use session::Session;
use silence::{Silence, silent};

/// Connections for commits and claims. One commit is under way at a time in a worker; the others are for people and claims.
const WRITERS: usize = 6;
const READERS: usize = 6;
/// Lease renewals have their own, so that nothing else that waits can starve them.
const RENEWERS: usize = 1;
/// For what is said beside the work: hints to other processes, and a look at who is dead.
const ASIDE: usize = 1;
/// Hints to other processes are at least so far apart: each is a lock of the whole server's notification queue.
const HINT_PAUSE: Duration = Duration::from_millis(250);

/// The name under which this process's claims stand, once it attends.
type Owner = Arc<Mutex<String>>;

/// The store on a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    /// The URL without what is secret.
    place: String,
    options: PgConnectOptions,
    session: Session,
    reads: Pool,
    writes: Pool,
    renewals: Pool,
    aside: Pool,
    known: Known,
    silence: Silence,
    /// Other processes should look for work.
    tell: Arc<Notify>,
    /// Another process said that this one should.
    told: Arc<Notify>,
    /// As whom this process says so.
    owner: Owner,
    /// Whether anybody had work when this process last looked.
    leased: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(place: String, options: PgConnectOptions, session: Session) -> Self {
        let silence = Silence::default();
        let crowd = Crowd::default();
        let pool = |most| Pool::new((options.clone(), session.clone()), silence.clone(), most, &crowd);
        Self {
            place,
            reads: pool(READERS),
            writes: pool(WRITERS),
            renewals: pool(RENEWERS),
            aside: pool(ASIDE),
            options,
            session,
            silence,
            known: Known::default(),
            tell: Arc::default(),
            told: Arc::default(),
            owner: Owner::default(),
            leased: AtomicBool::new(true),
            tasks: Mutex::default(),
        }
    }

    fn end_tasks(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl PostgresStore {
    /// Where the database is: its URL without user and password.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Closes the connections. Whatever is asked of this store afterwards fails.
    pub async fn close(&self) {
        self.inner.end_tasks();
        for pool in [&self.inner.reads, &self.inner.writes, &self.inner.renewals, &self.inner.aside] {
            pool.close();
        }
    }

    /// How far the server's clock is ahead of the caller's, half the way to it and back taken off.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn ahead(&self, own: impl Fn() -> DateTime<Utc> + Send) -> Result<TimeDelta, StoreError> {
        let before = own();
        let asked = self.look(|connection| {
            Box::pin(async move { Ok(sqlx::query_scalar::<_, i64>(sql::NOW).fetch_one(connection).await?) })
        });
        let now = asked.await?;
        let after = own();
        Ok(super::time(now) - (before + (after - before) / 2))
    }

    fn start(inner: Inner) -> Self {
        let herald = herald(Arc::clone(&inner.tell), Arc::clone(&inner.owner), inner.aside.clone());
        let store = Self { inner: Arc::new(inner) };
        store.keep_task(tokio::spawn(herald).abort_handle());
        store
    }

    fn keep_task(&self, task: AbortHandle) {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Runs `body` in a transaction; the caller is told when its end is not known.
    async fn write<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut sqlx::PgConnection) -> Body<'c, T> + Send + Sync + 'static,
    {
        match self.unless_silent(self.inner.writes.transact("BEGIN", body)).await? {
            Ended::Committed(value) => Ok(value),
            Ended::Unanswered(_, error) => Err(error),
        }
    }

    /// Runs `body` on a connection that sees one moment of the database.
    async fn read<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut sqlx::PgConnection) -> Body<'c, T> + Send + Sync + 'static,
    {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        match self.unless_silent(self.inner.reads.transact(begin, body)).await? {
            Ended::Committed(value) | Ended::Unanswered(value, _) => Ok(value),
        }
    }

    /// Runs a statement that reads.
    async fn look<T, F>(&self, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut sqlx::PgConnection) -> Body<'c, T> + Send + Sync + 'static,
    {
        self.unless_silent(async { Ok(self.inner.reads.ask(true, body).await?) }).await
    }

    /// What `asked` comes to, unless the server is silent or falls silent meanwhile: then it goes on, and nobody knows yet what
    /// becomes of it.
    async fn unless_silent<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.inner.silence.lasts() {
            return Err(silent());
        }
        tokio::select! {
            biased;
            outcome = asked => outcome,
            () = self.inner.silence.lasting() => Err(silent()),
        }
    }

    /// Tells other processes that there may be work, soon and not too often.
    fn hint(&self) {
        self.inner.tell.notify_one();
    }

    fn is_leased(&self) -> bool {
        self.inner.leased.load(Ordering::Relaxed)
    }
}

/// Says to other processes that there may be work: on a connection of its own and outside of every transaction that matters,
/// because a NOTIFY makes the commits of all processes wait for each other.
async fn herald(tell: Arc<Notify>, owner: Owner, aside: Pool) {
    loop {
        tell.notified().await;
        // Who said it need not be told.
        let owner = owner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = aside.ask(true, move |connection| {
            let query = sqlx::query(sql::HINT).bind(owner.clone());
            Box::pin(async move {
                query.execute(connection).await?;
                Ok(())
            })
        });
        let said = said.await;
        if let Err(setback) = said {
            // Others find the work by looking for it.
            tracing::debug!(error = %StoreError::from(setback), "other processes could not be told of work");
        }
        pause(HINT_PAUSE).await;
    }
}

/// Waits in wall time: what is waited for is the database and not a run's time.
async fn pause(time: Duration) {
    let _elapsed = tokio::time::timeout(time, std::future::pending::<Infallible>()).await;
}
