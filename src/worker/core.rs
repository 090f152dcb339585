//! What the parts of the worker share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use tokio::sync::{Notify, Semaphore, watch};

use super::{Clock, Definitions, FormBook, Registry, committer::Committer, held::Held, meters::Meters, runs::Hot};
use crate::{
    config::Config,
    engine::Definition,
    store::{Store, StoreError},
};

/// The longest that a worker sleeps without looking for due work, and how often it looks for a store that failed.
pub(super) const POLL_FLOOR: Duration = Duration::from_secs(1);

pub(super) struct Core {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) steps: Registry,
    pub(super) definitions: Definitions,
    pub(super) forms: Arc<dyn FormBook>,
    pub(super) config: Arc<Config>,
    pub(super) committer: Committer,
    pub(super) hot: Hot,
    /// Definitions by content hash, as open runs keep them.
    pub(super) kept: Mutex<HashMap<String, Arc<Definition>>>,
    /// Under which claims stand; on a shared store the others know by it that this process is alive.
    pub(super) owner: String,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) crash_limit: u32,
    /// One permit for all steps that may be the one that kills its process.
    pub(super) suspects: Semaphore,
    /// Steps that may run at once.
    pub(super) slots: usize,
    /// One permit for each of them.
    pub(super) room: Arc<Semaphore>,
    /// Due work may have come, or room for it.
    pub(super) wake: Notify,
    /// Whether this process claims: false before its worker runs and when it drains.
    pub(super) claims: AtomicBool,
    /// The last claim was as large as it might be: others wait.
    pub(super) backlog: AtomicBool,
    pub(super) held: Held,
    /// Pieces of work that this process is executing.
    pub(super) executing: watch::Sender<usize>,
    pub(super) watchers: Mutex<HashMap<String, watch::Sender<u64>>>,
    /// Why the store cannot be written to, when it cannot.
    pub(super) trouble: Mutex<Option<String>>,
    /// The store can be written to again.
    pub(super) healed: Notify,
    pub(super) meters: Arc<Meters>,
}

/// A poisoned lock guards data that is whole: nothing here panics between two writes that belong together.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn later(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| now.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Core {
    /// The definition of a content hash: one of this build's, or the text that the store keeps.
    pub(super) async fn definition(&self, hash: &str) -> Result<Arc<Definition>, StoreError> {
        if let Some(definition) = lock(&self.kept).get(hash) {
            return Ok(Arc::clone(definition));
        }
        let (name, source) = self.store.definition(hash).await?;
        let loaded = Definition::load(&source).map_err(|problems| StoreError::Corrupt {
            what: format!("definition {name} ({hash})"),
            reason: format!("it has {} problems for this version of keyferry", problems.len()),
        })?;
        let definition = Arc::new(loaded.definition);
        lock(&self.kept).insert(hash.to_owned(), Arc::clone(&definition));
        Ok(definition)
    }

    /// Notes that the store failed or works; only the change is logged.
    pub(super) fn note(&self, outcome: Result<&(), &StoreError>) {
        let mut trouble = lock(&self.trouble);
        match outcome {
            Ok(()) if trouble.is_some() => {
                tracing::info!("the store can be written to again");
                *trouble = None;
                drop(trouble);
                self.healed.notify_waiters();
                self.wake.notify_one();
            }
            Err(StoreError::Unavailable { reason }) if trouble.is_none() => {
                tracing::error!(store.error = %reason, "the store cannot be written to; nothing is claimed until it can");
                *trouble = Some(reason.clone());
            }
            Ok(()) | Err(_) => {}
        }
    }

    pub(super) fn in_trouble(&self) -> bool {
        lock(&self.trouble).is_some()
    }

    /// Makes a change on a task of its own: a caller that goes away does not cut it off half-way. Nobody waits for a store that
    /// is silent: then nothing is begun, and what was begun before goes on.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        change: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |reason: &str| StoreError::Unavailable { reason: reason.to_owned() };
        if self.store.silent().now_or_never().is_some() {
            return Err(unavailable("the database does not answer; nothing was done"));
        }
        tokio::select! {
            biased;
            ended = tokio::spawn(change) => ended.map_err(|failure| unavailable(&failure.to_string())),
            () = self.store.silent() => {
                Err(unavailable("the database does not answer; what was asked may still be done: look before you ask again"))
            }
        }
    }

    /// Wakes who watches a run.
    pub(super) fn announce(&self, run: &str, revision: u64) {
        let mut watchers = lock(&self.watchers);
        if let Some(watcher) = watchers.get(run) {
            if watcher.receiver_count() == 0 {
                watchers.remove(run);
            } else {
                watcher.send_replace(revision);
            }
        }
    }
}
