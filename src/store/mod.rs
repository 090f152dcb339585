//! Durable state: one atomic commit for everything a turn decided.
//!
//! The store remembers and never decides: what to write comes from `engine::advance` by way of the worker, sealed into rows
//! by [`seal`], which both databases share. A crash before [`Store::commit`] returns leaves either all of a group or none of
//! it; what had been claimed is claimed again when its lease has passed. A crash after it leaves nothing to redo.
//!
//! Every write is fenced: a turn by the revision that it was folded onto, a word about a piece of work by the fence of its
//! claim. A fence that does not hold is a value of [`StoreError`] that says what was expected and what was found.

mod batch;
mod codec;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod differential;
mod error;
mod known;
mod letters;
#[cfg(test)]
pub(crate) mod memory;
pub mod postgres;
mod row;
mod rows;
pub mod sqlite;
mod transition;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

pub use codec::{Blobs, chain, decode_event};
pub use error::StoreError;
pub use letters::{Delivery, LetterRow, LetterState, LettersPage};
pub use postgres::PostgresStore;
pub use rows::{
    AGES, Child, ClaimedWork, Enterprise, HistoryRecord, Loaded, OutboxRow, Page, Pool, Seen, StoredRecord, StoredWork,
    Tally, Vitals, WorkKind,
};
pub use sqlite::SqliteStore;
pub use transition::{
    Answered, ClaimAtOnce, Happened, Idempotency, KeptKey, KeyUse, NewRecord, ParentLink, RUN_TIMER, SIGNAL, Sealed,
    Signal, Start, Transition, Word, WorkOrder, seal,
};

/// One thing to make durable. A batch holds many; they succeed or fail each for itself.
#[derive(Debug, Clone)]
pub enum Write {
    /// Turns that belong together: a run's turn and the first turns of the children that it starts. All or none.
    Turns(Vec<Sealed>),
    /// A word about work that this worker holds.
    Word(WorkWord),
}

/// What a worker says of a piece of work that it holds. Zero rows is [`StoreError::LeaseLost`].
#[derive(Debug, Clone, PartialEq)]
pub struct WorkWord {
    pub run: String,
    pub frame: i64,
    pub visit: u64,
    pub fence: u64,
    pub say: Say,
}

/// The words there are.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// The lease lasts until then. After a crash the work is claimed again at that time.
    Renew { lease_until: DateTime<Utc> },
    /// The step's own progress: after a crash it is run again with this value.
    Checkpoint { checkpoint: Value },
    /// The step waits for something outside: its lease ends, and it is due again at `due_at`. Not a line of history.
    Pending { due_at: DateTime<Utc>, checkpoint: Value, waiting_for: String },
    /// The lease ends without a result and without that counting as a crash: the work is due again at `due_at`.
    Release { due_at: DateTime<Utc> },
    /// There is nothing left to do.
    Drop,
}

/// What became of a batch: of each write, in order; an outer error means that nothing of it is known to be durable.
pub type Outcomes = Result<Vec<Result<(), StoreError>>, StoreError>;

impl Say {
    /// Whether the work is nobody's from then on: later writes of the same batch hold it no more.
    pub(crate) fn gives_back(&self) -> bool {
        match self {
            Self::Renew { .. } | Self::Checkpoint { .. } => false,
            Self::Pending { .. } | Self::Release { .. } | Self::Drop => true,
        }
    }
}

/// A claim of due work.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// For people; what counts is the fence.
    pub owner: String,
    pub now: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
    pub limit: u32,
}

/// A page of a run's history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    pub run: String,
    /// Rows with a greater number.
    pub after: u64,
    pub limit: u32,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunsPage {
    pub enterprise: Option<String>,
    pub workflow: Option<String>,
    /// The word of an `engine::Standing`.
    pub status: Option<String>,
    pub limit: u32,
    pub cursor: Option<String>,
}

/// A page of an enterprise's records.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordsPage {
    pub enterprise: String,
    pub collection: String,
    pub limit: u32,
    pub cursor: Option<String>,
}

/// A record to write outside a run's turns, on the version that it was read at.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPut {
    pub enterprise: String,
    pub collection: String,
    pub key: String,
    /// The version found; 0 for a record that is not there.
    pub expected: u64,
    pub body: Value,
    pub at: DateTime<Utc>,
}

/// A record to delete, at the version that it was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDelete {
    pub enterprise: String,
    pub collection: String,
    pub key: String,
    /// The version found.
    pub expected: u64,
}

/// A database that keeps runs. All methods are safe to call at any time from any task; none is half done when its caller
/// goes away.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes a batch durable in one transaction of a fixed number of statements and answers for each write of it, in order.
    /// The writes are judged by how things stood before the batch and by what earlier writes of it took: a run moves once in a
    /// batch, and a word that gives work back leaves nothing to hold for those behind it.
    /// An outer error means that nothing of the batch is known to be durable: read before you try again.
    async fn commit(&self, batch: Arc<[Write]>) -> Outcomes;

    /// Claims due work, the longest due first: the attempt is counted and the fence minted before this returns. A crash
    /// after it leaves the lease to pass.
    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedWork>, StoreError>;

    /// A commit and a claim that are ready together. One does not depend on the other's success; a store with one writer makes
    /// both durable in one transaction, and what that commit made due may be what that claim gets.
    async fn commit_and_claim(
        &self,
        batch: Arc<[Write]>,
        claim: Claim,
    ) -> (Outcomes, Result<Vec<ClaimedWork>, StoreError>) {
        futures_util::future::join(self.commit(batch), self.claim(claim)).await
    }

    /// Ends the leases of processes that are known to be dead, and returns how many. For a store that only this process can have
    /// open that is all of them, so it is asked once, at the start; on a shared one the living keep theirs, and it may be asked
    /// at any time. It may take half a second to be sure.
    async fn expire_leases(&self) -> Result<u64, StoreError>;

    /// Makes this process known as alive under the name that its claims carry, for as long as the store is open. To be called
    /// before anything is claimed.
    async fn attend(&self, _owner: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether other processes may have the store open too.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns when another process says that there may be work. It is a hint: it comes late, twice or not at all.
    async fn hinted(&self) {
        std::future::pending().await
    }

    /// Returns when the database has answered nothing to anybody for some seconds: a person need not wait for it. What was asked
    /// may be done all the same.
    async fn silent(&self) {
        std::future::pending().await
    }

    /// When something will next be there to claim; `None` if nothing is.
    async fn next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// A run's snapshot.
    async fn load(&self, run: &str) -> Result<Loaded, StoreError>;

    /// A run, its work and its children at one moment: parts read one after the other would show waits that never were.
    async fn see(&self, run: &str) -> Result<Seen, StoreError>;

    /// The work rows of a run.
    async fn work(&self, run: &str) -> Result<Vec<StoredWork>, StoreError>;

    /// The runs that a run has started, oldest first.
    async fn children(&self, run: &str) -> Result<Vec<Child>, StoreError>;

    /// Identifiers of runs.
    async fn runs(&self, page: RunsPage) -> Result<Page<String>, StoreError>;

    async fn history(&self, page: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError>;

    /// What an idempotency key was used for.
    async fn key(&self, key: &str) -> Result<Option<KeptKey>, StoreError>;

    /// Keeps a definition's text under its content hash, for ever.
    async fn keep_definition(&self, hash: &str, name: &str, source: &str, at: DateTime<Utc>) -> Result<(), StoreError>;

    /// Name and text of a definition.
    async fn definition(&self, hash: &str) -> Result<(String, String), StoreError>;

    /// Adds an enterprise; `false` if one of that identifier is there, and nothing is written then.
    async fn add_enterprise(&self, enterprise: Enterprise) -> Result<bool, StoreError> {
        self.add_enterprise_once(enterprise, None).await
    }

    /// The same under an idempotency key, which is kept in the same transaction: [`StoreError::AlreadyStarted`] or
    /// [`StoreError::KeyReused`] when it was used before.
    async fn add_enterprise_once(&self, enterprise: Enterprise, key: Option<KeyUse>) -> Result<bool, StoreError>;

    /// Changes name and addresses of an enterprise that stands at version `expected`, and writes the record that says so, in one
    /// transaction: [`StoreError::EnterpriseChanged`] when it does not stand there. A crash before it returns leaves both or none.
    async fn change_enterprise(&self, changed: Enterprise, expected: u64, note: RecordPut) -> Result<(), StoreError> {
        self.change_enterprise_once(changed, expected, note, None).await
    }

    /// The same under an idempotency key, which is kept in the same transaction: [`StoreError::AlreadyStarted`] or
    /// [`StoreError::KeyReused`] when it was used before, whatever the version is.
    async fn change_enterprise_once(
        &self,
        changed: Enterprise,
        expected: u64,
        note: RecordPut,
        key: Option<KeyUse>,
    ) -> Result<(), StoreError>;

    async fn enterprise(&self, id: &str) -> Result<Option<Enterprise>, StoreError>;

    async fn enterprises(&self, limit: u32, cursor: Option<String>) -> Result<Page<Enterprise>, StoreError>;

    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError>;

    async fn records(&self, page: RecordsPage) -> Result<Page<StoredRecord>, StoreError>;

    /// The record under a collection and key whose enterprise is not known yet. Such keys are the caller's to make unique; of
    /// several the first enterprise's is given.
    async fn find_record(&self, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError>;

    /// Writes records in one transaction, all or none: [`StoreError::RecordChanged`] when one is not at the version expected or
    /// its enterprise is not known. A crash before it returns leaves all or none; read to learn which.
    async fn put_records(&self, puts: Vec<RecordPut>) -> Result<(), StoreError> {
        self.put_records_once(puts, None).await
    }

    /// The same under an idempotency key, which is kept in the same transaction: [`StoreError::AlreadyStarted`] or
    /// [`StoreError::KeyReused`] when it was used before, whatever the versions are.
    async fn put_records_once(&self, puts: Vec<RecordPut>, key: Option<KeyUse>) -> Result<(), StoreError>;

    /// Deletes records and writes the one that says so, in one transaction, all or none: [`StoreError::RecordChanged`] when one is
    /// not at the version expected. A crash before it returns leaves all or none; read to learn which.
    async fn delete_records(&self, deletes: Vec<RecordDelete>, note: RecordPut) -> Result<(), StoreError>;

    /// What the world has not been told and is due to be, oldest first. On a shared store no other process gets the same rows
    /// for a minute; who takes one again makes no second letters of it.
    async fn outbox(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<OutboxRow>, StoreError>;

    /// Makes a notice into letters, one a reader, in one transaction; a notice that is no longer due becomes none. A crash before
    /// it returns leaves the notice or its letters, never both.
    async fn outbox_spread(&self, id: i64, readers: Vec<String>, at: DateTime<Utc>) -> Result<(), StoreError>;

    async fn outbox_failed(&self, id: i64, error: &str, retry_at: DateTime<Utc>) -> Result<(), StoreError>;

    /// Letters that are due, those due longest first, one a reader at most: nobody else gets them until `held_until`, and no other
    /// letter of the same reader. A store that only this process can have open gives them free again at its start.
    /// [`Store::letter_keep`] puts that off.
    async fn letters_hold(
        &self,
        now: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError>;

    /// Holds a letter until `until` that is held until `held_until`; `false` when it is not, because another holds it by now or it
    /// is over: then it is no longer this process's to deliver.
    async fn letter_keep(&self, id: i64, held_until: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Keeps what came of an attempt. A crash between the delivery and this delivers it again: at least once, under the same
    /// Message-ID. What was sent stays sent, whatever else is said of it.
    async fn letter_done(&self, id: i64, delivery: Delivery, at: DateTime<Utc>) -> Result<(), StoreError>;

    /// Makes a dead letter due again, with all its attempts anew, or a due one at once; `false` if it is neither.
    async fn letter_resend(&self, id: i64, at: DateTime<Utc>) -> Result<bool, StoreError> {
        self.letter_resend_once(id, at, None).await
    }

    /// The same under an idempotency key, which is kept in the same transaction if the letter is made due:
    /// [`StoreError::AlreadyStarted`] or [`StoreError::KeyReused`] when it was used before.
    async fn letter_resend_once(&self, id: i64, at: DateTime<Utc>, key: Option<KeyUse>) -> Result<bool, StoreError>;

    async fn letter(&self, id: i64) -> Result<Option<LetterRow>, StoreError>;

    /// Letters that are due or dead.
    async fn letters(&self, page: LettersPage) -> Result<Page<LetterRow>, StoreError>;

    /// The letters of runs that are due or dead, oldest first, at most 200.
    async fn letters_of(&self, runs: &[String]) -> Result<Vec<LetterRow>, StoreError>;

    async fn tally(&self, now: DateTime<Utc>) -> Result<Tally, StoreError>;

    /// Pools and files, read without touching the database; empty for a store that has neither.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// Writes and takes back: an error says why the store cannot be written to.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// Microseconds since 1970, rounded up, so that what is due is never early.
pub(crate) fn micros(time: DateTime<Utc>) -> i64 {
    let rest = i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000));
    time.timestamp_micros().saturating_add(rest)
}

/// The time of a column.
pub(crate) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
}
