//! Connections, lent one at a time to tasks of their own.
//!
//! sqlx's own pool is not used for transactions: it asks the server whether a connection is well each time that it gets one
//! back, which is a round trip a commit; a cancelled `begin` leaves it a connection inside of a transaction; and a server that
//! no longer answers keeps its permits. Here a connection comes back only when its last statement was answered, and is
//! otherwise dropped, which closes its socket at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{session::Session, silence::Silence};
use crate::store::{self, StoreError};

/// What the server has for one statement (its own limit is ten seconds), and what is waited for a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);
/// Between two tries to get a connection where there are too few.
const ROOM: Duration = Duration::from_millis(20);
/// Transactions that were taken back because of another one are tried again so often.
const TRIES: u32 = 6;

/// What a body of statements ends with when it does not end well.
#[derive(Debug)]
pub(super) enum Setback {
    Database(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for Setback {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Setback> for StoreError {
    fn from(setback: Setback) -> Self {
        match setback {
            Setback::Database(error) => error.into(),
            Setback::Store(error) => error,
        }
    }
}

impl Setback {
    /// Whether the transaction was taken back because of another one, and may do better after it: serialization, deadlock,
    /// and a key that another has just taken, which the check of the next try sees.
    fn passes(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(refused)) => {
                matches!(refused.code().as_deref(), Some("40001" | "40P01" | "23505"))
            }
            Self::Database(_) | Self::Store(_) => false,
        }
    }

    /// Whether the connection is gone, or may be.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            Self::Database(error) => is_cut(error),
            Self::Store(_) => false,
        }
    }
}

fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refused) => {
            // Shut down, crashed, starting up, or an idle transaction that was ended: the server closes the connection.
            refused.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25P03")
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// A body of statements, run again from its beginning when the transaction was taken back because of another one.
pub(super) type Body<'c, T> = BoxFuture<'c, Result<T, Setback>>;

/// A transaction's end.
#[derive(Debug)]
pub(super) enum Ended<T> {
    Committed(T),
    /// COMMIT was said and not answered: it may have been done.
    Unanswered(T, StoreError),
}

/// Whether the session has a setting that it has kept from a time when the database was read-only: a new one may be better.
fn is_stale(setback: &Setback) -> bool {
    matches!(setback, Setback::Database(error) if has_code(error, "25006"))
}

/// Whether the server, the database or the role has no connection left.
fn is_crowded(setback: &Setback) -> bool {
    matches!(setback, Setback::Database(error) if has_code(error, "53300"))
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(code))
}

type Idle = Arc<Mutex<Vec<PgConnection>>>;

/// What the pools of a process have idle. Where the server allows fewer connections than they would have, they make room for each
/// other.
#[derive(Clone, Default)]
pub(super) struct Crowd {
    idle: Arc<Mutex<Vec<Idle>>>,
    told: Arc<AtomicBool>,
}

impl Crowd {
    fn join(&self) -> Idle {
        let idle = Idle::default();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&idle));
        idle
    }

    /// Closes every connection that lies idle.
    fn make_room(&self, error: &StoreError) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the server allows fewer connections than keyferry would use: work waits for them");
        }
        for idle in self.idle.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    options: PgConnectOptions,
    session: Session,
    crowd: Crowd,
    silence: Silence,
    /// Most connections, for messages.
    most: usize,
    room: Arc<Semaphore>,
    idle: Idle,
    lent: AtomicU64,
    waited_us: AtomicU64,
}

/// A connection on loan.
struct Lent {
    pool: Pool,
    connection: Option<PgConnection>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    /// The connection's last statement was answered and it is in no transaction.
    fn give_back(mut self) {
        if let Some(connection) = self.connection.take()
            && !self.pool.0.room.is_closed()
        {
            self.pool.idle().push(connection);
        }
    }
}

/// What is asked of the server, if it answers within the patience there is.
pub(super) async fn in_time<T>(what: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| Err(unanswered()))
}

fn unanswered() -> sqlx::Error {
    let said = format!("the database has not answered for {} seconds", PATIENCE.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, said))
}

impl Pool {
    pub(super) fn new(
        (options, session): (PgConnectOptions, Session),
        silence: Silence,
        most: usize,
        crowd: &Crowd,
    ) -> Self {
        let room = Arc::new(Semaphore::new(most));
        let (lent, waited_us) = (AtomicU64::new(0), AtomicU64::new(0));
        let (idle, crowd) = (crowd.join(), crowd.clone());
        Self(Arc::new(Inner { options, session, crowd, silence, most, room, idle, lent, waited_us }))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever is asked for afterwards fails.
    pub(super) fn close(&self) {
        self.0.room.close();
        self.idle().clear();
    }

    /// Connections that may be dead as one of them was: the next ones are made anew.
    fn distrust(&self) {
        self.idle().clear();
    }

    pub(super) fn state(&self, name: &'static str) -> store::Pool {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let idle = self.idle().len();
        let used = self.0.most.saturating_sub(self.0.room.available_permits());
        store::Pool {
            name,
            most: count(self.0.most),
            size: count(idle + used),
            idle: count(idle),
            lent: self.0.lent.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.0.waited_us.load(Ordering::Relaxed)),
        }
    }

    async fn lend(&self) -> Result<Lent, Setback> {
        let asked = Instant::now();
        let lent = self.make_or_take().await;
        let waited = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.waited_us.fetch_add(waited, Ordering::Relaxed);
        self.0.lent.fetch_add(1, Ordering::Relaxed);
        lent
    }

    async fn make_or_take(&self) -> Result<Lent, Setback> {
        let unavailable = |reason: String| Setback::Store(StoreError::Unavailable { reason });
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.0.room).acquire_owned()).await;
        let permit = match permit {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(unavailable("the store is closed".to_owned())),
            Err(_) => return Err(unavailable(format!("all {} connections are in use", self.0.most))),
        };
        let asked = Instant::now();
        let connection = loop {
            let idle = self.idle().pop();
            if let Some(connection) = idle {
                break connection;
            }
            match self.connect().await {
                Ok(connection) => break connection,
                Err(setback) if is_crowded(&setback) => {
                    let error = StoreError::from(setback);
                    if asked.elapsed() > PATIENCE {
                        return Err(error.into());
                    }
                    self.0.crowd.make_room(&error);
                    super::pause(ROOM).await;
                }
                Err(setback) => return Err(setback),
            }
        };
        Ok(Lent { pool: self.clone(), connection: Some(connection), _permit: permit })
    }

    /// A connection with the session's settings.
    async fn connect(&self) -> Result<PgConnection, Setback> {
        let asked = self.0.silence.ask();
        let made = tokio::time::timeout(PATIENCE, async {
            let mut connection = self.0.options.connect().await?;
            self.0.session.settle(&mut connection).await?;
            Ok::<_, Setback>(connection)
        });
        let connection = made.await.unwrap_or_else(|_| Err(unanswered().into()));
        if connection.as_ref().err().is_none_or(|setback| !setback.is_cut()) {
            asked.answered();
        }
        connection
    }

    /// Says one statement.
    async fn say(&self, connection: &mut PgConnection, statement: &'static str) -> Result<(), sqlx::Error> {
        let asked = self.0.silence.ask();
        let said = in_time(async { sqlx::raw_sql(statement).execute(connection).await.map(|_| ()) }).await;
        if said.as_ref().err().is_none_or(|error| !is_cut(error)) {
            asked.answered();
        }
        said
    }

    /// Runs statements that are each answered within the patience there is.
    async fn run<'c, T, F>(&self, connection: &'c mut PgConnection, body: &F) -> Result<T, Setback>
    where
        F: for<'a> Fn(&'a mut PgConnection) -> Body<'a, T>,
    {
        let asked = self.0.silence.ask();
        let Ok(outcome) = tokio::time::timeout(PATIENCE * 2, body(connection)).await else {
            let said = std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer");
            return Err(Setback::Database(sqlx::Error::Io(said)));
        };
        if outcome.as_ref().err().is_none_or(|setback| !setback.is_cut()) {
            asked.answered();
        }
        outcome
    }

    /// Runs statements outside of a transaction, each its own, on a task of their own. A connection that turns out to be cut is
    /// replaced once, when `again` says that the statements may be said twice.
    pub(super) async fn ask<T, F>(&self, again: bool, body: F) -> Result<T, Setback>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> Body<'c, T> + Send + Sync + 'static,
    {
        let pool = self.clone();
        on_a_task(async move {
            let mut retried = !again;
            loop {
                let mut lent = pool.lend().await?;
                let Some(connection) = lent.connection.as_mut() else { return Err(gone()) };
                let outcome = pool.run(connection, &body).await;
                match outcome {
                    Err(setback) if setback.is_cut() => {
                        pool.distrust();
                        if retried {
                            return Err(setback);
                        }
                        retried = true;
                    }
                    Err(setback) if is_stale(&setback) => {
                        pool.distrust();
                        return Err(setback);
                    }
                    outcome => {
                        lent.give_back();
                        return outcome;
                    }
                }
            }
        })
        .await
    }

    /// The one way into a transaction, on a task of its own: a caller that goes away half-way can neither stop it nor leave a
    /// connection inside it. An error takes everything back. What was taken back because of another transaction is tried again:
    /// nothing of it was committed.
    pub(super) async fn transact<T, F>(&self, begin: &'static str, body: F) -> Result<Ended<T>, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> Body<'c, T> + Send + Sync + 'static,
    {
        let pool = self.clone();
        let ended = on_a_task(async move {
            let mut tries = 1;
            loop {
                match pool.attempt(begin, &body).await {
                    Err(setback) if setback.passes() && tries < TRIES => {
                        tracing::debug!(tries, error = %StoreError::from(setback), "a transaction met another");
                        super::pause(Duration::from_millis(u64::from(tries * tries))).await;
                        tries += 1;
                    }
                    ended => return ended,
                }
            }
        });
        Ok(ended.await?)
    }

    async fn attempt<T, F>(&self, begin: &'static str, body: &F) -> Result<Ended<T>, Setback>
    where
        F: for<'c> Fn(&'c mut PgConnection) -> Body<'c, T>,
    {
        let mut lent = self.begin(begin).await?;
        let Some(connection) = lent.connection.as_mut() else { return Err(gone()) };
        let value = match self.run(connection, body).await {
            Ok(value) => value,
            Err(setback) => {
                if setback.is_cut() || is_stale(&setback) {
                    self.distrust();
                } else if self.say(connection, "ROLLBACK").await.is_ok() {
                    lent.give_back();
                }
                return Err(setback);
            }
        };
        match self.say(connection, "COMMIT").await {
            Ok(()) => {
                lent.give_back();
                Ok(Ended::Committed(value))
            }
            // A word of the server's that it did not commit.
            Err(error @ sqlx::Error::Database(_)) if !is_cut(&error) => {
                drop(lent);
                Err(error.into())
            }
            Err(error) => {
                // The socket is closed before anybody looks what became of it.
                drop(lent);
                self.distrust();
                Ok(Ended::Unanswered(value, error.into()))
            }
        }
    }

    /// A connection that has begun. One that was cut while it lay idle has begun nothing: the next is taken.
    async fn begin(&self, begin: &'static str) -> Result<Lent, Setback> {
        let mut lent = self.lend().await?;
        let Some(connection) = lent.connection.as_mut() else { return Err(gone()) };
        match self.say(connection, begin).await {
            Ok(()) => return Ok(lent),
            Err(error) if is_cut(&error) => self.distrust(),
            Err(error) => return Err(error.into()),
        }
        drop(lent);
        let mut lent = self.lend().await?;
        let Some(connection) = lent.connection.as_mut() else { return Err(gone()) };
        self.say(connection, begin).await?;
        Ok(lent)
    }
}

fn gone() -> Setback {
    Setback::Store(StoreError::Unavailable { reason: "a connection was lent twice".to_owned() })
}

async fn on_a_task<T: Send + 'static>(
    task: impl Future<Output = Result<T, Setback>> + Send + 'static,
) -> Result<T, Setback> {
    let ended = tokio::spawn(task).await;
    ended.unwrap_or_else(|failure| Err(Setback::Store(StoreError::Unavailable { reason: failure.to_string() })))
}
