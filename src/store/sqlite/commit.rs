//! One batch, one transaction, a fixed number of statements: each takes its rows as one JSON array.
//!
//! First the batch is checked against what is there; a group whose fence does not hold is left out and told so. The
//! transaction has the write lock from its beginning, so nothing changes between the check and the writes; those carry their
//! fences all the same, and a count that is not what the check promised takes everything back.

use std::collections::{HashMap, HashSet};

use fail::fail_point;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::sql;
use crate::store::{Sealed, StoreError, Transition, WorkWord, Write, chain, words};

pub(super) type Outcomes = Vec<Result<(), StoreError>>;

/// Where a run stands.
struct Stand {
    n: i64,
    revision: u64,
    status: String,
    head: Vec<u8>,
}

/// What the check found.
struct Found {
    runs: HashMap<String, Stand>,
    /// Visit and fence of what is held, by run and frame.
    held: HashMap<(String, i64), (u64, u64)>,
    keys: HashMap<String, (String, String)>,
    exclusive: HashMap<String, String>,
    enterprises: HashSet<String>,
    last: i64,
}

pub(super) async fn commit(connection: &mut SqliteConnection, batch: &[Write]) -> Result<Outcomes, StoreError> {
    let mut found = look(connection, batch).await?;
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut turns = Vec::new();
    let mut words = Vec::new();
    let mut moved = HashSet::new();
    for write in batch {
        let verdict = match write {
            Write::Turns(group) => admit(group, &mut found, &mut moved),
            Write::Word(word) => found.fence(&word.run, word.frame, word.visit, word.fence).map(|_| ()),
        };
        if verdict.is_ok() {
            match write {
                Write::Turns(group) => turns.extend(group),
                Write::Word(word) => {
                    if word.say.gives_back() {
                        found.held.remove(&(word.run.clone(), word.frame));
                    }
                    words.push(word);
                }
            }
        }
        outcomes.push(verdict);
    }
    // Words come first: a turn of the same batch may replace the work that they are about.
    say(connection, &words, &found).await?;
    fail_point!("commit::inside");
    write_turns(connection, &turns, &found).await?;
    Ok(outcomes)
}

fn texts<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| StoreError::corrupt("batch", error))
}

async fn fetch<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<Vec<SqliteRow>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query(statement).bind(texts(rows)?).fetch_all(connection).await?)
}

/// Runs a statement over rows, if there are any, and returns how many it wrote.
async fn put<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<u64, StoreError> {
    if rows.is_empty() {
        return Ok(0);
    }
    Ok(sqlx::query(statement).bind(texts(rows)?).execute(connection).await?.rows_affected())
}

fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|error| StoreError::corrupt(column, error))
}

async fn look(connection: &mut SqliteConnection, batch: &[Write]) -> Result<Found, StoreError> {
    let mut runs = Vec::new();
    let mut held = Vec::new();
    let mut new = Vec::new();
    for write in batch {
        match write {
            Write::Turns(group) => {
                for turn in group {
                    runs.push(turn.run.as_str());
                    held.extend(turn.answers.iter().map(|answer| (turn.run.as_str(), answer.frame)));
                    new.extend(turn.start.as_ref().map(|start| (turn, start)));
                }
            }
            Write::Word(word) => {
                runs.push(&word.run);
                held.push((&word.run, word.frame));
            }
        }
    }
    let keys: Vec<&str> =
        new.iter().filter_map(|(_, start)| start.idempotency.as_ref().map(|key| key.key.as_str())).collect();
    let exclusive: Vec<&str> =
        new.iter().filter(|(_, start)| start.exclusive).map(|(turn, _)| turn.enterprise.as_str()).collect();
    let enterprises: Vec<&str> = new.iter().map(|(turn, _)| turn.enterprise.as_str()).collect();

    let mut found = Found {
        runs: HashMap::new(),
        held: HashMap::new(),
        keys: HashMap::new(),
        exclusive: HashMap::new(),
        enterprises: HashSet::new(),
        last: 0,
    };
    for row in fetch(connection, sql::CHECK_RUNS, &runs).await? {
        let head =
            hex::decode(row.try_get::<String, _>("head")?).map_err(|error| StoreError::corrupt("head", error))?;
        let stand =
            Stand { n: row.try_get("n")?, revision: unsigned(&row, "revision")?, status: row.try_get("status")?, head };
        found.runs.insert(row.try_get("run")?, stand);
    }
    for row in fetch(connection, sql::CHECK_WORK, &held).await? {
        let key = (row.try_get("run")?, row.try_get("frame")?);
        found.held.insert(key, (unsigned(&row, "visit")?, unsigned(&row, "fence")?));
    }
    for row in fetch(connection, sql::CHECK_KEYS, &keys).await? {
        found.keys.insert(row.try_get("key")?, (row.try_get("request")?, row.try_get("run")?));
    }
    for row in fetch(connection, sql::EXCLUSIVE_OPEN, &exclusive).await? {
        found.exclusive.insert(row.try_get("enterprise")?, row.try_get("run")?);
    }
    for row in fetch(connection, sql::ENTERPRISES_KNOWN, &enterprises).await? {
        found.enterprises.insert(row.try_get("id")?);
    }
    if !new.is_empty() {
        found.last = sqlx::query_scalar(sql::LAST_RUN).fetch_one(connection).await?;
    }
    Ok(found)
}

impl Found {
    fn fence(&self, run: &str, frame: i64, visit: u64, fence: u64) -> Result<&Stand, StoreError> {
        let lost = |found| StoreError::LeaseLost { run: run.to_owned(), frame, expected: fence, found };
        match (self.held.get(&(run.to_owned(), frame)), self.runs.get(run)) {
            (Some(held), Some(stand)) if *held == (visit, fence) => Ok(stand),
            (held, _) => Err(lost(held.map(|(_, fence)| *fence))),
        }
    }

    fn number(&self, run: &str) -> Result<i64, StoreError> {
        self.runs.get(run).map(|stand| stand.n).ok_or_else(|| StoreError::NotFound { what: "run", id: run.to_owned() })
    }
}

/// Whether a group may be written, beside those of the batch before it. New runs get their numbers here.
fn admit(group: &[Sealed], found: &mut Found, moved: &mut HashSet<String>) -> Result<(), StoreError> {
    for turn in group {
        let stand = found.runs.get(&turn.run).map_or(0, |stand| stand.revision);
        if stand != turn.expected || moved.contains(&turn.run) {
            return Err(StoreError::Conflict { run: turn.run.clone(), expected: turn.expected, found: stand });
        }
        for answer in &turn.answers {
            found.fence(&turn.run, answer.frame, answer.visit, answer.fence)?;
        }
        let Some(start) = &turn.start else { continue };
        if let Some(key) = &start.idempotency
            && let Some((request, run)) = found.keys.get(&key.key)
        {
            return Err(if *request == key.request {
                StoreError::AlreadyStarted { run: run.clone() }
            } else {
                StoreError::KeyReused { key: key.key.clone() }
            });
        }
        if !found.enterprises.contains(&turn.enterprise) {
            return Err(StoreError::NotFound { what: "enterprise", id: turn.enterprise.clone() });
        }
        if start.exclusive
            && let Some(run) = found.exclusive.get(&turn.enterprise)
        {
            return Err(StoreError::ExclusiveOpen { enterprise: turn.enterprise.clone(), run: run.clone() });
        }
    }
    for turn in group {
        moved.insert(turn.run.clone());
        let Some(start) = &turn.start else { continue };
        found.last += 1;
        let stand = Stand { n: found.last, revision: 0, status: String::new(), head: Vec::new() };
        found.runs.insert(turn.run.clone(), stand);
        if let Some(key) = &start.idempotency {
            found.keys.insert(key.key.clone(), (key.request.clone(), turn.run.clone()));
        }
        if start.exclusive {
            found.exclusive.insert(turn.enterprise.clone(), turn.run.clone());
        }
    }
    Ok(())
}

async fn say(connection: &mut SqliteConnection, words: &[&WorkWord], found: &Found) -> Result<(), StoreError> {
    let mut rows = Vec::with_capacity(words.len());
    let mut dropped = Vec::new();
    for said in words::together(words) {
        let n = found.number(said.run)?;
        if said.dropped {
            dropped.push((n, said.frame));
            continue;
        }
        rows.push((
            n,
            said.frame,
            said.visit,
            said.fence,
            said.due_at,
            i64::from(said.free),
            said.lease_until,
            said.checkpoint,
            said.waiting_for,
            i64::from(said.progressed),
        ));
    }
    put(connection, sql::UPDATE_WORK, &rows).await?;
    put(connection, sql::DELETE_WORK, &dropped).await?;
    Ok(())
}

/// The rows of a batch's turns, by statement.
#[derive(Default)]
struct Rows {
    blobs: Vec<(String, String)>,
    new: Vec<Value>,
    old: Vec<Value>,
    status: Vec<Value>,
    frames: Vec<Value>,
    no_frames: Vec<(i64, u64)>,
    history: Vec<Value>,
    no_work: Vec<(i64, i64)>,
    ended: Vec<i64>,
    ended_at: Vec<(i64, i64)>,
    work: Vec<Value>,
    hold: Vec<(i64, i64)>,
    signals: Vec<Value>,
    outbox: Vec<(i64, i64, String)>,
    records: Vec<Value>,
    keys: Vec<(String, String, String)>,
}

fn spread(turn: &Sealed, stand: &Stand, rows: &mut Rows) -> Result<(), StoreError> {
    let n = stand.n;
    rows.blobs.extend(turn.blobs.iter().cloned());
    let mut head = stand.head.clone();
    for (offset, (event, entered)) in turn.history.iter().enumerate() {
        head = chain(&head, event, entered);
        let seq = turn.expected + 1 + u64::try_from(offset).unwrap_or(u64::MAX);
        rows.history.push(json!([n, seq, hex::encode(&head), event, entered]));
    }
    if turn.expected + u64::try_from(turn.history.len()).unwrap_or(u64::MAX) != turn.revision {
        let reason = format!("{} events do not lead from {} to {}", turn.history.len(), turn.expected, turn.revision);
        return Err(StoreError::corrupt("turn", reason));
    }
    let head = hex::encode(head);
    if let Some(start) = &turn.start {
        let parent = start.parent.as_ref();
        rows.new.push(json!([
            n,
            turn.run,
            turn.enterprise,
            turn.workflow,
            turn.definition,
            parent.map(|parent| parent.run.as_str()),
            parent.map(|parent| parent.frame),
            parent.map(|parent| parent.visit),
            i64::from(start.exclusive),
            turn.revision,
            turn.status,
            turn.ended_at,
            head,
            turn.state,
        ]));
        rows.keys.extend(start.idempotency.iter().map(|key| (key.key.clone(), key.request.clone(), turn.run.clone())));
    } else {
        rows.old.push(json!([n, turn.expected, turn.revision, head, turn.state]));
        if stand.status != turn.status {
            rows.status.push(json!([n, turn.status, turn.ended_at]));
        }
    }
    rows.frames.extend(turn.frames.iter().map(|(frame, body)| json!([n, frame, turn.revision, body])));
    rows.no_frames.extend(turn.removed.iter().map(|frame| (n, *frame)));
    rows.no_work.extend(turn.dropped.iter().map(|frame| (n, *frame)));
    rows.work.extend(turn.work.iter().map(|columns| {
        let mut row = vec![Value::from(n)];
        row.extend(columns.as_array().into_iter().flatten().cloned());
        Value::Array(row)
    }));
    rows.hold.extend(turn.hold.map(|held| (n, i64::from(held))));
    if let Some(at) = turn.ended_at {
        rows.ended.push(n);
        rows.ended_at.push((n, at));
    }
    rows.signals.extend(turn.signals.iter().map(|signal| {
        let (frame, visit) = signal.frame.unzip();
        let fence = Transition::first_fence(turn.revision);
        json!([turn.run, frame, visit, signal.word.word(), signal.body.to_string(), turn.at, fence])
    }));
    rows.outbox.extend(turn.notices.iter().map(|notice| (n, turn.at, notice.clone())));
    rows.records.extend(turn.records.iter().map(|record| {
        json!([turn.enterprise, record.collection, record.key, turn.run, turn.at, record.body.to_string()])
    }));
    Ok(())
}

async fn write_turns(connection: &mut SqliteConnection, turns: &[&Sealed], found: &Found) -> Result<(), StoreError> {
    let mut rows = Rows::default();
    for turn in turns {
        let stand =
            found.runs.get(&turn.run).ok_or_else(|| StoreError::NotFound { what: "run", id: turn.run.clone() })?;
        spread(turn, stand, &mut rows)?;
    }
    put(connection, sql::INSERT_PAYLOADS, &rows.blobs).await?;
    put(connection, sql::INSERT_RUNS, &rows.new).await?;
    let updated = put(connection, sql::UPDATE_RUNS, &rows.old).await?;
    if updated != u64::try_from(rows.old.len()).unwrap_or(u64::MAX) {
        return Err(StoreError::corrupt(
            "batch",
            format!("{updated} of {} runs stood where the check saw them", rows.old.len()),
        ));
    }
    put(connection, sql::UPDATE_STATUS, &rows.status).await?;
    put(connection, sql::UPSERT_FRAMES, &rows.frames).await?;
    put(connection, sql::DELETE_FRAMES, &rows.no_frames).await?;
    put(connection, sql::INSERT_HISTORY, &rows.history).await?;
    put(connection, sql::DELETE_WORK, &rows.no_work).await?;
    put(connection, sql::DELETE_WORK_OF_RUNS, &rows.ended).await?;
    put(connection, sql::HOLD_WORK, &rows.hold).await?;
    put(connection, sql::UPSERT_WORK, &rows.work).await?;
    put(connection, sql::SIGNAL_CHILDREN, &rows.signals).await?;
    put(connection, sql::WAKE_PARENTS, &rows.ended_at).await?;
    put(connection, sql::INSERT_OUTBOX, &rows.outbox).await?;
    put(connection, sql::UPSERT_RECORDS, &rows.records).await?;
    put(connection, sql::INSERT_KEYS, &rows.keys).await?;
    Ok(())
}
