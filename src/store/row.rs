//! Rows of both databases as data. The columns have the same names and, seen from here, the same types on both; what differs
//! is how a database keeps a text that people or other systems chose, which [`Stored::plain`] undoes.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    AGES, Child, ClaimedWork, Delivery, Enterprise, HistoryRecord, KeptKey, LetterRow, LetterState, Loaded, OutboxRow,
    Page, ParentLink, StoreError, StoredRecord, StoredWork, Tally, WorkKind,
    codec::{self, Bodies, Columns},
    micros, time,
};
use crate::engine::Payload;

/// A row of a database.
pub(super) trait Stored {
    fn int(&self, column: &str) -> Result<i64, StoreError>;
    fn maybe_int(&self, column: &str) -> Result<Option<i64>, StoreError>;
    fn flag(&self, column: &str) -> Result<bool, StoreError>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError>;
    /// A text that keyferry writes itself: JSON, a hash, a word.
    fn text(&self, column: &str) -> Result<String, StoreError>;
    fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError>;
    /// A text that somebody else chose.
    fn plain(&self, column: &str) -> Result<String, StoreError>;
    fn maybe_plain(&self, column: &str) -> Result<Option<String>, StoreError>;
}

pub(super) fn number(row: &impl Stored, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.int(column)?).map_err(|error| StoreError::corrupt(column, error))
}

pub(super) fn count(row: &impl Stored, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row.int(column)?).map_err(|error| StoreError::corrupt(column, error))
}

fn json(row: &impl Stored, column: &str) -> Result<Option<Value>, StoreError> {
    let text = row.maybe_text(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| StoreError::corrupt(column, error))).transpose()
}

/// What an idempotency key was used for.
pub(super) fn kept_key(row: &impl Stored) -> Result<KeptKey, StoreError> {
    let answer = json(row, "answer")?.unwrap_or_default();
    Ok(KeptKey { request: row.text("request")?, run: row.plain("run")?, answer })
}

/// Cuts a listing that was asked for one row more than its page holds.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items, next }
}

/// Runs' identifiers, and the number of the last as the cursor.
pub(super) fn runs_page(rows: &[impl Stored], limit: u32) -> Result<Page<String>, StoreError> {
    let items = rows.iter().map(|row| Ok((row.int("n")?, row.plain("id")?)));
    let page = page(items.collect::<Result<Vec<_>, StoreError>>()?, limit, |(n, _)| n.to_string());
    Ok(Page { items: page.items.into_iter().map(|(_, id)| id).collect(), next: page.next })
}

/// Before which number a page of runs goes on.
pub(super) fn before(cursor: Option<String>) -> Result<i64, StoreError> {
    match cursor {
        None => Ok(i64::MAX),
        Some(cursor) => cursor.parse().map_err(|_| StoreError::NotFound { what: "cursor", id: cursor }),
    }
}

pub(super) fn enterprise(row: &impl Stored) -> Result<Enterprise, StoreError> {
    Ok(Enterprise {
        id: row.plain("id")?,
        name: row.plain("name")?,
        partition: row.plain("partition")?,
        customer_email: row.maybe_plain("customer_email")?,
        csm_email: row.maybe_plain("csm_email")?,
        engineer_email: row.maybe_plain("engineer_email")?,
        audit_emails: addresses(row)?,
        created_at: time(row.int("created_at")?),
        version: number(row, "version")?,
    })
}

fn addresses(row: &impl Stored) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(&row.text("audit_emails")?).map_err(|error| StoreError::corrupt("audit_emails", error))
}

pub(super) fn record(row: &impl Stored) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord {
        enterprise: row.plain("enterprise")?,
        collection: row.plain("collection")?,
        key: row.plain("key")?,
        run: row.plain("run")?,
        written_at: time(row.int("written_at")?),
        body: json(row, "body")?.unwrap_or_default(),
        version: number(row, "version")?,
    })
}

/// The hashes that texts refer to, each once.
pub(super) fn references<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut hashes: Vec<String> = texts.flat_map(codec::references).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// Big values by hash. One that is not what its hash says is left out, as one that is missing is: whoever needs it says so,
/// and nothing beside it suffers.
pub(super) fn bodies(rows: &[impl Stored]) -> Result<Bodies, StoreError> {
    let mut bodies = HashMap::with_capacity(rows.len());
    for row in rows {
        let (hash, body) = (row.text("hash")?, row.text("body")?);
        if hex::encode(Sha256::digest(body.as_bytes())) != hash {
            tracing::error!(payload.hash = %hash, "a stored payload is not what its hash says");
            continue;
        }
        let value: Value = serde_json::from_str(&body).map_err(|error| StoreError::corrupt("payload", error))?;
        bodies.insert(hash, Payload::from(value));
    }
    Ok(bodies)
}

/// A run from its row, its state's text and its frames' texts.
pub(super) fn run(row: &impl Stored, state: &str, frames: &[String], bodies: &Bodies) -> Result<Loaded, StoreError> {
    let columns = Columns {
        run: row.plain("id")?,
        enterprise: row.plain("enterprise")?,
        workflow: row.plain("workflow")?,
        definition: row.text("definition")?,
        revision: number(row, "revision")?,
    };
    let parent = match row.maybe_plain("parent")? {
        Some(run) => Some(ParentLink { run, frame: number(row, "parent_frame")?, visit: number(row, "parent_visit")? }),
        None => None,
    };
    Ok(Loaded {
        snapshot: codec::decode_run(columns, state, frames, bodies)?,
        parent,
        exclusive: row.flag("exclusive")?,
        head: row.bytes("head")?,
    })
}

pub(super) fn stored_work(row: &impl Stored, input: &str, bodies: &Bodies) -> Result<StoredWork, StoreError> {
    Ok(StoredWork {
        frame: row.int("frame")?,
        visit: number(row, "visit")?,
        kind: WorkKind::parse(&row.text("kind")?)?,
        name: row.plain("name")?,
        input: codec::decode_value(input, bodies)?,
        due_at: row.maybe_int("due_at")?.map(time),
        held: row.flag("held")?,
        fence: number(row, "fence")?,
        attempt: count(row, "attempt")?,
        crashes: count(row, "crashes")?,
        owner: row.maybe_plain("owner")?,
        lease_until: row.maybe_int("lease_until")?.map(time),
        deadline: row.maybe_int("deadline")?.map(time),
        checkpoint: json(row, "checkpoint")?,
        waiting_for: row.maybe_plain("waiting_for")?,
        since: time(row.int("since")?),
    })
}

pub(super) fn child(row: &impl Stored) -> Result<Child, StoreError> {
    Ok(Child {
        run: row.plain("id")?,
        frame: number(row, "frame")?,
        visit: number(row, "visit")?,
        open: row.flag("open")?,
    })
}

pub(super) fn claimed(row: &impl Stored, input: &str, bodies: &Bodies) -> Result<ClaimedWork, StoreError> {
    Ok(ClaimedWork {
        run: row.plain("run")?,
        frame: row.int("frame")?,
        visit: number(row, "visit")?,
        kind: WorkKind::parse(&row.text("kind")?)?,
        name: row.plain("name")?,
        input: codec::decode_value(input, bodies),
        due_at: time(row.int("due_at")?),
        fence: number(row, "fence")?,
        attempt: count(row, "attempt")?,
        crashes: count(row, "crashes")?,
        heartbeat_s: row.maybe_int("heartbeat_s")?.and_then(|seconds| u64::try_from(seconds).ok()),
        deadline: row.maybe_int("deadline")?.map(time),
        lease_until: time(row.int("lease_until")?),
        checkpoint: json(row, "checkpoint")?,
    })
}

pub(super) fn history(row: &impl Stored, event_text: String, bodies: &Bodies) -> Result<HistoryRecord, StoreError> {
    Ok(HistoryRecord {
        seq: number(row, "seq")?,
        hash: row.bytes("hash")?,
        entered_text: row.text("entered")?,
        event: codec::restore_event(&event_text, bodies),
        event_text,
    })
}

pub(super) fn outbox(row: &impl Stored, notice: &str, bodies: &Bodies) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        id: row.int("n")?,
        created_at: time(row.int("created_at")?),
        enterprise: row.plain("enterprise")?,
        run: row.plain("run")?,
        notice: codec::decode_notice(notice, bodies)?,
        attempts: count(row, "attempts")?,
    })
}

pub(super) fn letter(row: &impl Stored, notice: &str, bodies: &Bodies) -> Result<LetterRow, StoreError> {
    Ok(LetterRow {
        id: row.int("n")?,
        enterprise: row.plain("enterprise")?,
        run: row.plain("run")?,
        noticed_at: time(row.int("noticed_at")?),
        notice: codec::decode_notice(notice, bodies)?,
        reader: row.plain("reader")?,
        about: row.maybe_int("about")?,
        state: LetterState::parse(&row.text("state")?)?,
        due_at: row.maybe_int("due_at")?.map(time),
        attempts: count(row, "attempts")?,
        failing_since: row.maybe_int("failing_since")?.map(time),
        address: row.maybe_plain("address")?,
        error: row.maybe_plain("error")?,
        ended_at: row.maybe_int("ended_at")?.map(time),
    })
}

/// What is written of a letter after an attempt; `None` stays as it is.
pub(super) struct LetterChange {
    pub(super) state: &'static str,
    pub(super) due_at: Option<i64>,
    pub(super) failed: bool,
    pub(super) address: Option<String>,
    pub(super) error: Option<String>,
    pub(super) ended_at: Option<i64>,
    /// The reader of the letter that tells of this one.
    pub(super) tell: Option<String>,
}

impl LetterChange {
    pub(super) fn of(delivery: Delivery, at: i64) -> Self {
        let ended = |state: LetterState| Self {
            state: state.word(),
            due_at: None,
            failed: false,
            address: None,
            error: None,
            ended_at: Some(at),
            tell: None,
        };
        match delivery {
            Delivery::Sent { address } => Self { address: Some(address), ..ended(LetterState::Sent) },
            Delivery::Failed { address, error, retry_at } => Self {
                due_at: Some(micros(retry_at)),
                failed: true,
                address: Some(address),
                error: Some(error),
                ended_at: None,
                ..ended(LetterState::Due)
            },
            Delivery::Dead { address, error, tell } => {
                Self { failed: true, address: Some(address), error: Some(error), tell, ..ended(LetterState::Dead) }
            }
            Delivery::Withdrawn { reason } => Self { error: Some(reason), ..ended(LetterState::Withdrawn) },
        }
    }
}

/// Counts, from the rows of `stats.sql`, `due_by_age.sql` and `attention_by_error.sql`.
pub(super) fn tally<R: Stored>(stats: &R, ages: &R, errors: &[R]) -> Result<Tally, StoreError> {
    let mut due = [0; AGES.len() + 1];
    for (class, column) in due.iter_mut().zip(["age_0", "age_1", "age_2", "age_3", "age_4", "age_5"]) {
        *class = number(ages, column)?;
    }
    let errors = errors.iter().map(|row| Ok((row.text("error")?, number(row, "frames")?)));
    Ok(Tally {
        due,
        oldest_due: stats.maybe_int("oldest_due")?.map(time),
        leases: number(stats, "leases")?,
        leases_passed: number(stats, "leases_passed")?,
        working: number(stats, "working")?,
        waiting: number(stats, "waiting")?,
        attention: number(stats, "attention")?,
        paused: number(stats, "paused")?,
        attention_by_error: errors.collect::<Result<_, StoreError>>()?,
        outbox: number(stats, "outbox")?,
        oldest_outbox: stats.maybe_int("oldest_outbox")?.map(time),
        dead_letters: number(stats, "dead_letters")?,
    })
}

/// The texts of a column.
pub(super) fn texts(rows: &[impl Stored], column: &str) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| row.text(column)).collect()
}
