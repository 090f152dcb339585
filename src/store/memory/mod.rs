//! The reference: the law of [`Store`] over plain maps behind one lock, for tests and for the simulation.
//!
//! It keeps the same sealed texts as the databases, so that what is read back has gone through the same codec, but none of
//! their shape: a call is a function over [`Tables`], and what it may not do it does not begin. A database that answers
//! anything else than this is wrong, or this is.

mod commit;
mod letters;
mod read;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    AGES, Child, Claim, ClaimedWork, Delivery, Enterprise, HistoryPage, HistoryRecord, KeptKey, KeyUse, LetterRow,
    LettersPage, Loaded, OutboxRow, Page, RecordDelete, RecordPut, RecordsPage, RunsPage, Seen, Start, Store,
    StoreError, StoredRecord, StoredWork, Tally, WorkKind, Write, micros, time,
};

/// A store in memory; a clone is another handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// By hash: name and text.
    pub(crate) definitions: BTreeMap<String, (String, String)>,
    pub(crate) enterprises: BTreeMap<String, Enterprise>,
    /// Big values by their hash.
    pub(crate) payloads: BTreeMap<String, String>,
    /// In the order of their starts.
    pub(crate) runs: Vec<Run>,
    pub(crate) outbox: Vec<Letter>,
    /// Letter n stands at n - 1.
    pub(crate) letters: Vec<letters::Mail>,
    /// By enterprise, collection and key.
    pub(crate) records: BTreeMap<(String, String, String), StoredRecord>,
    /// By idempotency key.
    pub(crate) keys: BTreeMap<String, KeptKey>,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) enterprise: String,
    pub(crate) workflow: String,
    pub(crate) definition: String,
    pub(crate) start: Start,
    pub(crate) revision: u64,
    pub(crate) status: &'static str,
    pub(crate) ended_at: Option<i64>,
    pub(crate) head: Vec<u8>,
    pub(crate) state: String,
    pub(crate) frames: BTreeMap<u64, String>,
    /// Row n stands at n - 1.
    pub(crate) history: Vec<Row>,
    /// By frame: the one piece of work that it has.
    pub(crate) work: BTreeMap<i64, Work>,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) hash: Vec<u8>,
    pub(crate) event: String,
    pub(crate) entered: String,
}

/// Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Work {
    pub(crate) visit: u64,
    pub(crate) kind: WorkKind,
    pub(crate) name: String,
    /// The text of a stored value.
    pub(crate) input: String,
    pub(crate) due_at: Option<i64>,
    /// Kept from being claimed, because its run is paused.
    pub(crate) held: bool,
    pub(crate) fence: u64,
    pub(crate) attempt: u32,
    pub(crate) crashes: u32,
    pub(crate) timeout_s: Option<u64>,
    pub(crate) heartbeat_s: Option<u64>,
    pub(crate) deadline: Option<i64>,
    pub(crate) lease: Option<Lease>,
    pub(crate) checkpoint: Option<Value>,
    pub(crate) waiting_for: Option<String>,
    pub(crate) since: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lease {
    pub(crate) owner: String,
    pub(crate) until: i64,
}

/// What the world is to be told. It is told when `due_at` is gone.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) run: String,
    pub(crate) created_at: i64,
    pub(crate) notice: String,
    pub(crate) due_at: Option<i64>,
    pub(crate) attempts: u32,
}

impl Work {
    /// Since when it could be claimed: what is free from the time that it is due, what is leased from the end of its lease.
    pub(crate) fn claimable_from(&self) -> Option<i64> {
        if self.held {
            return None;
        }
        match &self.lease {
            Some(lease) => Some(lease.until),
            None => self.due_at,
        }
    }
}

impl Tables {
    /// All or none.
    fn change_records(&mut self, deletes: Vec<RecordDelete>, puts: Vec<RecordPut>) -> Result<(), StoreError> {
        let mut after = self.records.clone();
        for RecordDelete { enterprise, collection, key, expected } in deletes {
            let at = (enterprise.clone(), collection.clone(), key.clone());
            if expected == 0 || after.get(&at).map_or(0, |record| record.version) != expected {
                return Err(StoreError::RecordChanged { enterprise, collection, key, expected });
            }
            after.remove(&at);
        }
        for RecordPut { enterprise, collection, key, expected, body, at: written_at } in puts {
            let at = (enterprise.clone(), collection.clone(), key.clone());
            if after.get(&at).map_or(0, |record| record.version) != expected
                || !self.enterprises.contains_key(&enterprise)
            {
                return Err(StoreError::RecordChanged { enterprise, collection, key, expected });
            }
            let (run, written_at) = (String::new(), time(micros(written_at)));
            let record = StoredRecord { enterprise, collection, key, run, written_at, body, version: expected + 1 };
            after.insert(at, record);
        }
        self.records = after;
        Ok(())
    }

    /// Whether nobody has used the key before.
    pub(super) fn is_unused(&self, key: Option<&KeyUse>) -> Result<(), StoreError> {
        let Some((key, found)) = key.and_then(|key| Some((key, self.keys.get(&key.key)?))) else { return Ok(()) };
        Err(if found.request == key.request {
            StoreError::AlreadyStarted { run: found.run.clone() }
        } else {
            StoreError::KeyReused { key: key.key.clone() }
        })
    }

    pub(super) fn use_key(&mut self, key: Option<KeyUse>, run: &str) {
        let Some(KeyUse { key, request, answer }) = key else { return };
        self.keys.insert(key, KeptKey { request, run: run.to_owned(), answer });
    }

    pub(crate) fn run(&self, id: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    pub(crate) fn run_mut(&mut self, id: &str) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    fn claim(&mut self, claim: &Claim) -> Vec<ClaimedWork> {
        let now = claim.now.timestamp_micros();
        let mut found: Vec<(i64, usize, i64)> = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            for (frame, work) in &run.work {
                if work.claimable_from().is_some_and(|from| from <= now) {
                    found.push((work.due_at.unwrap_or(i64::MIN), index, *frame));
                }
            }
        }
        found.sort_unstable();
        found.truncate(usize::try_from(claim.limit).unwrap_or(usize::MAX));
        let mut claimed = Vec::with_capacity(found.len());
        for (_, index, frame) in found {
            let run = self.runs[index].id.clone();
            let Some(work) = self.runs[index].work.get_mut(&frame) else { continue };
            work.fence += 1;
            work.attempt += 1;
            // Whoever had it has not said what came of it.
            work.crashes += u32::from(work.lease.is_some());
            work.lease = Some(Lease { owner: claim.owner.clone(), until: micros(claim.lease_until) });
            let limit = work.timeout_s.and_then(|seconds| i64::try_from(seconds).ok());
            work.deadline = work.deadline.or(limit.map(|seconds| now + seconds * 1_000_000));
            let work = work.clone();
            claimed.push(ClaimedWork {
                run,
                frame,
                visit: work.visit,
                kind: work.kind,
                name: work.name,
                input: self.value(&work.input),
                due_at: time(work.due_at.unwrap_or(0)),
                fence: work.fence,
                attempt: work.attempt,
                crashes: work.crashes,
                heartbeat_s: work.heartbeat_s,
                deadline: work.deadline.map(time),
                lease_until: time(micros(claim.lease_until)),
                checkpoint: work.checkpoint,
            });
        }
        claimed
    }

    fn tally(&self, now: i64) -> Tally {
        let work = || self.runs.iter().flat_map(|run| run.work.values());
        let free = || work().filter(|work| !work.held && work.lease.is_none()).filter_map(|work| work.due_at);
        let unsent = || self.outbox.iter().filter(|letter| letter.due_at.is_some());
        let count = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
        let open = |status: &str| count(self.runs.iter().filter(|run| run.status == status).count());
        let mut due = [0; AGES.len() + 1];
        for free in free().filter(|due| *due <= now) {
            let class = AGES.iter().filter(|age| now - free >= i64::try_from(**age).unwrap() * 1_000_000).count();
            due[class] += 1;
        }
        let leases = || work().filter_map(|work| work.lease.as_ref());
        Tally {
            due,
            oldest_due: free().min().map(time),
            leases: count(leases().count()),
            leases_passed: count(leases().filter(|lease| lease.until <= now).count()),
            working: open("working"),
            waiting: open("waiting"),
            attention: open("attention"),
            paused: open("paused"),
            attention_by_error: self.attention_by_error(),
            outbox: count(unsent().count() + self.unsent_letters().count()),
            oldest_outbox: unsent().map(|letter| letter.created_at).chain(self.unsent_letters()).min().map(time),
            dead_letters: count(self.dead_letters()),
        }
    }

    fn attention_by_error(&self) -> Vec<(String, u64)> {
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.status == "attention") {
            let root: Value = serde_json::from_str(&run.state).unwrap_or_default();
            let others = run.frames.values().map(|text| serde_json::from_str(text).unwrap_or_default());
            for frame in others.chain([root["root"].clone()]) {
                let frame: Value = frame;
                if frame["phase"]["phase"] == "attention" {
                    *counted.entry(frame["phase"]["error"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
                }
            }
        }
        let mut counted: Vec<(String, u64)> = counted.into_iter().collect();
        counted.sort_by_key(|(error, frames)| (std::cmp::Reverse(*frames), error.clone()));
        counted.truncate(50);
        counted
    }
}

/// Cuts a listing to its page.
fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items, next }
}

impl MemoryStore {
    /// What is remembered, to look at and, for a test of the tests, to break.
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.tables().commit(&batch)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedWork>, StoreError> {
        Ok(self.tables().claim(&claim))
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        tables.letters.iter_mut().for_each(|mail| mail.held_until = None);
        let leases =
            tables.runs.iter_mut().flat_map(|run| run.work.values_mut()).filter_map(|work| work.lease.as_mut());
        Ok(leases.map(|lease| lease.until = 0).count().try_into().unwrap_or(u64::MAX))
    }

    async fn next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let tables = self.tables();
        let work = tables.runs.iter().flat_map(|run| run.work.values());
        Ok(work.filter_map(Work::claimable_from).min().map(time))
    }

    async fn load(&self, run: &str) -> Result<Loaded, StoreError> {
        self.tables().load(run)
    }

    async fn see(&self, run: &str) -> Result<Seen, StoreError> {
        let tables = self.tables();
        Ok(Seen { loaded: tables.load(run)?, work: tables.work(run)?, children: tables.children(run) })
    }

    async fn work(&self, run: &str) -> Result<Vec<StoredWork>, StoreError> {
        self.tables().work(run)
    }

    async fn children(&self, run: &str) -> Result<Vec<Child>, StoreError> {
        Ok(self.tables().children(run))
    }

    async fn runs(&self, page: RunsPage) -> Result<Page<String>, StoreError> {
        self.tables().runs_page(page)
    }

    async fn history(&self, page: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        self.tables().history(&page)
    }

    async fn key(&self, key: &str) -> Result<Option<KeptKey>, StoreError> {
        Ok(self.tables().keys.get(key).cloned())
    }

    async fn keep_definition(
        &self,
        hash: &str,
        name: &str,
        source: &str,
        _at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.definitions.entry(hash.to_owned()).or_insert_with(|| (name.to_owned(), source.to_owned()));
        Ok(())
    }

    async fn definition(&self, hash: &str) -> Result<(String, String), StoreError> {
        let found = self.tables().definitions.get(hash).cloned();
        found.ok_or_else(|| StoreError::NotFound { what: "definition", id: hash.to_owned() })
    }

    async fn add_enterprise_once(&self, mut enterprise: Enterprise, key: Option<KeyUse>) -> Result<bool, StoreError> {
        enterprise.created_at = time(micros(enterprise.created_at));
        enterprise.version = 1;
        let mut tables = self.tables();
        if tables.enterprises.contains_key(&enterprise.id) {
            return Ok(false);
        }
        tables.is_unused(key.as_ref())?;
        tables.use_key(key, "");
        tables.enterprises.insert(enterprise.id.clone(), enterprise);
        Ok(true)
    }

    async fn change_enterprise_once(
        &self,
        changed: Enterprise,
        expected: u64,
        note: RecordPut,
        key: Option<KeyUse>,
    ) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.is_unused(key.as_ref())?;
        let kept = tables.enterprises.get(&changed.id).filter(|found| found.version == expected).cloned();
        let Some(kept) = kept else {
            return Err(StoreError::EnterpriseChanged { enterprise: changed.id, expected });
        };
        tables.change_records(Vec::new(), vec![note])?;
        let changed =
            Enterprise { partition: kept.partition, created_at: kept.created_at, version: kept.version + 1, ..changed };
        tables.enterprises.insert(changed.id.clone(), changed);
        tables.use_key(key, "");
        Ok(())
    }

    async fn enterprise(&self, id: &str) -> Result<Option<Enterprise>, StoreError> {
        Ok(self.tables().enterprises.get(id).cloned())
    }

    async fn enterprises(&self, limit: u32, cursor: Option<String>) -> Result<Page<Enterprise>, StoreError> {
        let after = cursor.unwrap_or_default();
        let all = self.tables().enterprises.values().filter(|found| found.id > after).cloned().collect();
        Ok(page(all, limit, |last: &Enterprise| last.id.clone()))
    }

    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let key = (enterprise.to_owned(), collection.to_owned(), key.to_owned());
        Ok(self.tables().records.get(&key).cloned())
    }

    async fn records(&self, asked: RecordsPage) -> Result<Page<StoredRecord>, StoreError> {
        let after = asked.cursor.unwrap_or_default();
        let tables = self.tables();
        let of_collection = tables
            .records
            .values()
            .filter(|record| record.enterprise == asked.enterprise && record.collection == asked.collection);
        let all = of_collection.filter(|record| record.key > after).cloned().collect();
        Ok(page(all, asked.limit, |last: &StoredRecord| last.key.clone()))
    }

    async fn find_record(&self, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let tables = self.tables();
        let mut found = tables.records.values().filter(|record| record.collection == collection && record.key == key);
        Ok(found.next().cloned())
    }

    async fn put_records_once(&self, puts: Vec<RecordPut>, key: Option<KeyUse>) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.is_unused(key.as_ref())?;
        tables.change_records(Vec::new(), puts)?;
        tables.use_key(key, "");
        Ok(())
    }

    async fn delete_records(&self, deletes: Vec<RecordDelete>, note: RecordPut) -> Result<(), StoreError> {
        self.tables().change_records(deletes, vec![note])
    }

    async fn outbox(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        self.tables().outbox(now.timestamp_micros(), limit)
    }

    async fn outbox_spread(&self, id: i64, readers: Vec<String>, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.tables().spread(id, &readers, micros(at));
        Ok(())
    }

    async fn outbox_failed(&self, id: i64, _error: &str, retry_at: DateTime<Utc>) -> Result<(), StoreError> {
        if let Some(letter) = self.tables().letter(id).filter(|letter| letter.due_at.is_some()) {
            letter.due_at = Some(micros(retry_at));
            letter.attempts += 1;
        }
        Ok(())
    }

    async fn letters_hold(
        &self,
        now: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.tables().hold_letters(now.timestamp_micros(), micros(held_until), limit)
    }

    async fn letter_keep(&self, id: i64, held_until: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool, StoreError> {
        Ok(self.tables().keep_letter(id, micros(held_until), micros(until)))
    }

    async fn letter_done(&self, id: i64, delivery: Delivery, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.tables().end_letter(id, delivery, micros(at));
        Ok(())
    }

    async fn letter_resend_once(&self, id: i64, at: DateTime<Utc>, key: Option<KeyUse>) -> Result<bool, StoreError> {
        self.tables().resend_once(id, micros(at), key)
    }

    async fn letter(&self, id: i64) -> Result<Option<LetterRow>, StoreError> {
        self.tables().letter_row(id)
    }

    async fn letters(&self, asked: LettersPage) -> Result<Page<LetterRow>, StoreError> {
        self.tables().letters_page(asked)
    }

    async fn letters_of(&self, runs: &[String]) -> Result<Vec<LetterRow>, StoreError> {
        self.tables().letters_of(runs)
    }

    async fn tally(&self, now: DateTime<Utc>) -> Result<Tally, StoreError> {
        Ok(self.tables().tally(now.timestamp_micros()))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
