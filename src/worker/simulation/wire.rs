//! The store as a process sees it: over a way that delays, refuses and loses answers.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;

use super::{
    hub::{Fate, Hub, Life, To},
    site::Site,
    world::Bug,
};
use crate::store::{
    Child, Claim, ClaimedWork, Delivery, Enterprise, HistoryPage, HistoryRecord, KeptKey, KeyUse, LetterRow,
    LettersPage, Loaded, OutboxRow, Page, RecordDelete, RecordPut, RecordsPage, RunsPage, Seen, Store, StoreError,
    StoredRecord, StoredWork, Tally, Write, memory::MemoryStore,
};

pub(super) struct Wire {
    pub(super) hub: Arc<Hub>,
    pub(super) life: Life,
}

/// The reference answers at once.
pub(super) fn now<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().unwrap()
}

impl Wire {
    async fn call<T: Send + 'static>(
        &self,
        kind: &'static str,
        act: impl FnOnce(&mut Site) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = move |fate| {
            let reason = match fate {
                Fate::Lost => format!("the answer to {kind} was lost"),
                Fate::Answered | Fate::Refused => format!("{kind} did not arrive"),
            };
            Err(StoreError::Unavailable { reason })
        };
        self.hub.call(self.life, To::Store, kind, act, failed).await
    }

    async fn read<T: Send + 'static>(
        &self,
        kind: &'static str,
        act: impl FnOnce(MemoryStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(kind, move |site| act(site.store.clone())).await
    }
}

/// The fences that would hold now, in place of those that the worker has.
fn forged(store: &MemoryStore, batch: &[Write]) -> Arc<[Write]> {
    let tables = store.tables();
    let fence = |run: &str, frame: i64| {
        let work = tables.run(run).and_then(|run| run.work.get(&frame)).filter(|work| work.lease.is_some());
        work.map(|work| (work.visit, work.fence))
    };
    let mut batch = batch.to_vec();
    for write in &mut batch {
        match write {
            Write::Word(word) => {
                if let Some(found) = fence(&word.run, word.frame) {
                    (word.visit, word.fence) = found;
                }
            }
            Write::Turns(group) => {
                for answer in group.iter_mut().flat_map(|turn| {
                    let run = turn.run.clone();
                    turn.answers.iter_mut().map(move |answer| (run.clone(), answer))
                }) {
                    let (run, answer) = answer;
                    if let Some(found) = fence(&run, answer.frame) {
                        (answer.visit, answer.fence) = found;
                    }
                }
            }
        }
    }
    batch.into()
}

impl Site {
    fn commit(&mut self, batch: Arc<[Write]>) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        if self.bug == Some(Bug::AcknowledgesNothing) && batch.iter().all(|write| matches!(write, Write::Word(_))) {
            return Ok(vec![Ok(()); batch.len()]);
        }
        self.spoil_before();
        let taken = if self.bug == Some(Bug::ForgesFences) { forged(&self.store, &batch) } else { Arc::clone(&batch) };
        let outcomes = now(self.store.commit(taken));
        self.spoil();
        self.checker.committed(&self.store.tables(), &batch, &outcomes);
        outcomes
    }

    fn claim(&mut self, mut claim: Claim) -> Result<Vec<ClaimedWork>, StoreError> {
        let asked = claim.clone();
        match self.bug {
            Some(Bug::ClaimsEarly) => claim.now += TimeDelta::seconds(15),
            Some(Bug::ClaimsTooMuch) => claim.limit += 5,
            Some(Bug::ClaimsNothing) => claim.limit = 0,
            _ => {}
        }
        let claimed = now(self.store.claim(claim))?;
        self.checker.claimed(&self.store.tables(), &asked, &claimed);
        Ok(claimed)
    }

    fn spoil_before(&mut self) {
        if self.bug == Some(Bug::LosesHistory) {
            let mut tables = self.store.tables();
            if let Some(run) = tables.runs.iter_mut().find(|run| run.history.len() > 5) {
                run.history.pop();
            }
        }
    }

    /// Changes what is stored, for bugs that do.
    fn spoil(&mut self) {
        let mut tables = self.store.tables();
        match self.bug {
            Some(Bug::ForgesHistory) => {
                if let Some(run) = tables.runs.iter_mut().find(|run| run.history.len() > 3) {
                    run.history[2].event = run.history[2].event.replacen("\"chance\":", "\"chance\":1", 1);
                }
            }
            Some(Bug::WritesWhatNobodyReads) => {
                for run in &mut tables.runs {
                    let mut head = Vec::new();
                    for row in &mut run.history {
                        row.event = row.event.replacen("\"event\":\"step-succeeded\"", "\"event\":\"step-did\"", 1);
                        head = crate::store::chain(&head, &row.event, &row.entered);
                        row.hash.clone_from(&head);
                    }
                    run.head = head;
                }
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Store for Wire {
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.call("commit", move |site| site.commit(batch)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedWork>, StoreError> {
        self.call("claim", move |site| site.claim(claim)).await
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        self.call("expire_leases", |site| {
            if !site.alone {
                return Ok(0);
            }
            let ended = now(site.store.expire_leases());
            site.checker.expired(&site.store.tables());
            ended
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.read("next_due", |store| now(store.next_due())).await
    }

    async fn load(&self, run: &str) -> Result<Loaded, StoreError> {
        let run = run.to_owned();
        self.read("load", move |store| now(store.load(&run))).await
    }

    async fn see(&self, run: &str) -> Result<Seen, StoreError> {
        let run = run.to_owned();
        self.read("see", move |store| now(store.see(&run))).await
    }

    async fn work(&self, run: &str) -> Result<Vec<StoredWork>, StoreError> {
        let run = run.to_owned();
        self.read("work", move |store| now(store.work(&run))).await
    }

    async fn children(&self, run: &str) -> Result<Vec<Child>, StoreError> {
        let run = run.to_owned();
        self.read("children", move |store| now(store.children(&run))).await
    }

    async fn runs(&self, page: RunsPage) -> Result<Page<String>, StoreError> {
        self.read("runs", move |store| now(store.runs(page))).await
    }

    async fn history(&self, page: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        self.read("history", move |store| now(store.history(page))).await
    }

    async fn key(&self, key: &str) -> Result<Option<KeptKey>, StoreError> {
        let key = key.to_owned();
        self.read("key", move |store| now(store.key(&key))).await
    }

    async fn keep_definition(&self, hash: &str, name: &str, source: &str, at: DateTime<Utc>) -> Result<(), StoreError> {
        let (hash, name, source) = (hash.to_owned(), name.to_owned(), source.to_owned());
        self.read("keep_definition", move |store| now(store.keep_definition(&hash, &name, &source, at))).await
    }

    async fn definition(&self, hash: &str) -> Result<(String, String), StoreError> {
        let hash = hash.to_owned();
        self.read("definition", move |store| now(store.definition(&hash))).await
    }

    async fn add_enterprise_once(&self, enterprise: Enterprise, key: Option<KeyUse>) -> Result<bool, StoreError> {
        self.read("add_enterprise", move |store| now(store.add_enterprise_once(enterprise, key))).await
    }

    async fn change_enterprise_once(
        &self,
        changed: Enterprise,
        expected: u64,
        note: RecordPut,
        key: Option<KeyUse>,
    ) -> Result<(), StoreError> {
        self.read("change_enterprise", move |store| now(store.change_enterprise_once(changed, expected, note, key)))
            .await
    }

    async fn enterprise(&self, id: &str) -> Result<Option<Enterprise>, StoreError> {
        let id = id.to_owned();
        self.read("enterprise", move |store| now(store.enterprise(&id))).await
    }

    async fn enterprises(&self, limit: u32, cursor: Option<String>) -> Result<Page<Enterprise>, StoreError> {
        self.read("enterprises", move |store| now(store.enterprises(limit, cursor))).await
    }

    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let (enterprise, collection, key) = (enterprise.to_owned(), collection.to_owned(), key.to_owned());
        self.read("record", move |store| now(store.record(&enterprise, &collection, &key))).await
    }

    async fn records(&self, page: RecordsPage) -> Result<Page<StoredRecord>, StoreError> {
        self.read("records", move |store| now(store.records(page))).await
    }

    async fn find_record(&self, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        self.read("find_record", move |store| now(store.find_record(&collection, &key))).await
    }

    async fn put_records_once(&self, puts: Vec<RecordPut>, key: Option<KeyUse>) -> Result<(), StoreError> {
        self.read("put_records", move |store| now(store.put_records_once(puts, key))).await
    }

    async fn delete_records(&self, deletes: Vec<RecordDelete>, note: RecordPut) -> Result<(), StoreError> {
        self.read("delete_records", move |store| now(store.delete_records(deletes, note))).await
    }

    async fn outbox(&self, at: DateTime<Utc>, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        self.read("outbox", move |store| now(store.outbox(at, limit))).await
    }

    async fn outbox_spread(&self, id: i64, readers: Vec<String>, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.read("outbox_spread", move |store| now(store.outbox_spread(id, readers, at))).await
    }

    async fn letters_hold(
        &self,
        at: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.read("letters_hold", move |store| now(store.letters_hold(at, held_until, limit))).await
    }

    async fn letter_keep(&self, id: i64, held_until: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool, StoreError> {
        self.read("letter_keep", move |store| now(store.letter_keep(id, held_until, until))).await
    }

    async fn letter_done(&self, id: i64, delivery: Delivery, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.read("letter_done", move |store| now(store.letter_done(id, delivery, at))).await
    }

    async fn letter_resend_once(&self, id: i64, at: DateTime<Utc>, key: Option<KeyUse>) -> Result<bool, StoreError> {
        self.read("letter_resend", move |store| now(store.letter_resend_once(id, at, key))).await
    }

    async fn letter(&self, id: i64) -> Result<Option<LetterRow>, StoreError> {
        self.read("letter", move |store| now(store.letter(id))).await
    }

    async fn letters(&self, page: LettersPage) -> Result<Page<LetterRow>, StoreError> {
        self.read("letters", move |store| now(store.letters(page))).await
    }

    async fn letters_of(&self, runs: &[String]) -> Result<Vec<LetterRow>, StoreError> {
        let runs = runs.to_vec();
        self.read("letters_of", move |store| now(store.letters_of(&runs))).await
    }

    async fn outbox_failed(&self, id: i64, error: &str, retry_at: DateTime<Utc>) -> Result<(), StoreError> {
        let error = error.to_owned();
        self.read("outbox_failed", move |store| now(store.outbox_failed(id, &error, retry_at))).await
    }

    async fn tally(&self, at: DateTime<Utc>) -> Result<Tally, StoreError> {
        self.read("tally", move |store| now(store.tally(at))).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.read("probe", |store| now(store.probe())).await
    }
}
