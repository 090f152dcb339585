//! What the store gives back: plain data.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ParentLink, StoreError};
use crate::engine::{Event, Notice, Payload, Snapshot};

/// An enterprise: one customer of the vendor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enterprise {
    /// Short identifier: 1 to 40 of `a-z`, `0-9` and `-`, beginning with a letter.
    pub id: String,
    /// The name that people read.
    pub name: String,
    /// `aws` or `aws-us-gov`.
    pub partition: String,
    pub customer_email: Option<String>,
    pub csm_email: Option<String>,
    pub engineer_email: Option<String>,
    /// Who else gets the audit's letters.
    #[serde(default)]
    pub audit_emails: Vec<String>,
    pub created_at: DateTime<Utc>,
    /// How often it has been written, from 1: who changes it says which version was read.
    #[serde(default)]
    pub version: u64,
}

/// A page of a listing, with the cursor of the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// A record that a step left about an enterprise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredRecord {
    pub enterprise: String,
    pub collection: String,
    pub key: String,
    /// The run that wrote it; empty for a record that no run wrote.
    pub run: String,
    pub written_at: DateTime<Utc>,
    pub body: Value,
    /// How often it has been written, from 1.
    pub version: u64,
}

/// The kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    Step,
    Timer,
    Form,
    Child,
    RunTimer,
    Signal,
}

impl WorkKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Timer => "timer",
            Self::Form => "form",
            Self::Child => "child",
            Self::RunTimer => "run-timer",
            Self::Signal => "signal",
        }
    }

    pub(crate) fn parse(word: &str) -> Result<Self, StoreError> {
        [Self::Step, Self::Timer, Self::Form, Self::Child, Self::RunTimer, Self::Signal]
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| StoreError::corrupt("work", format!("there is no kind {word}")))
    }
}

/// Work that this worker has just got.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedWork {
    pub run: String,
    pub frame: i64,
    pub visit: u64,
    pub kind: WorkKind,
    /// The step, form, workflow or word.
    pub name: String,
    /// The error says why it cannot be read: one damaged value must not hold up what was claimed beside it.
    pub input: Result<Payload, StoreError>,
    pub due_at: DateTime<Utc>,
    pub fence: u64,
    /// Claims of this visit, this one included.
    pub attempt: u32,
    /// Claims of this visit that ended in nothing.
    pub crashes: u32,
    pub heartbeat_s: Option<u64>,
    /// When the visit's `TimeoutSeconds` are over.
    pub deadline: Option<DateTime<Utc>>,
    pub lease_until: DateTime<Utc>,
    pub checkpoint: Option<Value>,
}

/// A work row as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredWork {
    pub frame: i64,
    pub visit: u64,
    pub kind: WorkKind,
    pub name: String,
    pub input: Payload,
    pub due_at: Option<DateTime<Utc>>,
    pub held: bool,
    pub fence: u64,
    pub attempt: u32,
    pub crashes: u32,
    pub owner: Option<String>,
    pub lease_until: Option<DateTime<Utc>>,
    pub deadline: Option<DateTime<Utc>>,
    pub checkpoint: Option<Value>,
    pub waiting_for: Option<String>,
    pub since: DateTime<Utc>,
}

/// A run as it is read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub snapshot: Snapshot,
    pub parent: Option<ParentLink>,
    pub exclusive: bool,
    /// The hash of the history row that led to the snapshot's revision.
    pub head: Vec<u8>,
}

/// A run with all that says how it stands, as one moment saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub loaded: Loaded,
    pub work: Vec<StoredWork>,
    /// Oldest first.
    pub children: Vec<Child>,
}

/// A run that another has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub run: String,
    pub frame: u64,
    pub visit: u64,
    pub open: bool,
}

/// A row of history with the bytes that its hash is over.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRecord {
    pub seq: u64,
    pub hash: Vec<u8>,
    pub event_text: String,
    pub entered_text: String,
    /// The event with its payload; the error says why the row cannot be read.
    pub event: Result<Event, StoreError>,
}

/// Something that the world is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    pub id: i64,
    pub created_at: DateTime<Utc>,
    pub enterprise: String,
    pub run: String,
    pub notice: Notice,
    pub attempts: u32,
}

/// Seconds between the classes of age in which due work is counted.
pub const AGES: [u64; 5] = [1, 10, 60, 600, 3_600];

/// Counts for metrics. What it costs grows with what is open or due, never with what has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Pieces of work that are due and free, by how long they have been: the first class is below the first of [`AGES`], the
    /// last above the last.
    pub due: [u64; AGES.len() + 1],
    /// When the free piece of work that is due first is or was due.
    pub oldest_due: Option<DateTime<Utc>>,
    pub leases: u64,
    /// Leases whose time has passed: their worker is dead, halted or cut off, and nobody has claimed the work again.
    pub leases_passed: u64,
    /// Open runs by the status of their last turn.
    pub working: u64,
    pub waiting: u64,
    pub attention: u64,
    pub paused: u64,
    /// Frames in attention by error, the most frequent first, of the newest 1,000 runs in attention; at most 50 errors.
    pub attention_by_error: Vec<(String, u64)>,
    /// Notices and letters that are to be delivered.
    pub outbox: u64,
    pub oldest_outbox: Option<DateTime<Utc>>,
    pub dead_letters: u64,
}

/// What a store says of itself without being asked for data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    pub pools: Vec<Pool>,
    /// Name (`database`, `wal`) and bytes of the files that this process keeps; none where a server keeps them.
    pub files: Vec<(&'static str, u64)>,
}

/// How a pool of connections stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub name: &'static str,
    /// Connections that it may have.
    pub most: u32,
    /// Connections that it has.
    pub size: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
    /// Connections lent since the start, and how long their users waited for them together.
    pub lent: u64,
    pub waited: Duration,
}
