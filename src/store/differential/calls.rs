//! A call as a value, and its answer as one that can be compared.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::store::{
    Claim, ClaimedWork, Delivery, Enterprise, HistoryPage, KeyUse, LettersPage, RecordDelete, RecordPut, RecordsPage,
    RunsPage, Store, StoreError, WorkKind, Write,
};

#[derive(Debug, Clone)]
pub(super) enum Call {
    KeepDefinition { hash: String, source: String },
    AddEnterprise(Enterprise),
    Commit(Vec<Write>),
    Claim(Claim),
    ExpireLeases,
    NextDue,
    Load(String),
    See(String),
    Work(String),
    Children(String),
    Runs(RunsPage),
    History(HistoryPage),
    Key(String),
    Definition(String),
    Enterprise(String),
    Enterprises(u32, Option<String>),
    Record(String, String),
    FindRecord(String),
    PutRecords(Vec<RecordPut>, Option<KeyUse>),
    DeleteRecords(Vec<RecordDelete>, RecordPut),
    Records(RecordsPage),
    Outbox(DateTime<Utc>, u32),
    OutboxSpread(i64, Vec<String>, DateTime<Utc>),
    LettersHold(DateTime<Utc>, DateTime<Utc>, u32),
    LetterKeep(i64, DateTime<Utc>, DateTime<Utc>),
    LetterDone(i64, Delivery, DateTime<Utc>),
    LetterResend(i64, DateTime<Utc>),
    Letter(i64),
    Letters(LettersPage),
    LettersOf(Vec<String>),
    OutboxFailed(i64, DateTime<Utc>),
    Tally(DateTime<Utc>),
    Probe,
}

/// What a store answered. What the author of the calls learns from is kept as it is, the rest as text.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Committed(Result<Vec<Result<(), StoreError>>, StoreError>),
    Claimed(Vec<ClaimedWork>),
    Page { text: String, next: Option<String> },
    Text(String),
}

fn text(answer: impl std::fmt::Debug) -> Answer {
    Answer::Text(format!("{answer:?}"))
}

fn page<T: std::fmt::Debug>(answer: Result<crate::store::Page<T>, StoreError>) -> Answer {
    let next = answer.as_ref().ok().and_then(|page| page.next.clone());
    Answer::Page { text: format!("{answer:?}"), next }
}

/// The first page and the one behind it. What a cursor of runs says is each store's own: numbers of runs may have gaps.
async fn runs(store: &dyn Store, mut asked: RunsPage) -> Answer {
    let first = match store.runs(asked.clone()).await {
        Ok(first) => first,
        Err(error) => return text(error),
    };
    asked.cursor.clone_from(&first.next);
    let behind = match asked.cursor {
        Some(_) => Some(store.runs(asked).await.map(|page| (page.items, page.next.is_some()))),
        None => None,
    };
    text((first.items, behind))
}

impl Call {
    /// Whether the answer is another where processes share the store: the dead are told from the living, and a row of the
    /// outbox goes to one of them.
    pub(super) fn is_of_one_process(&self) -> bool {
        matches!(
            self,
            Self::ExpireLeases
                | Self::Outbox(..)
                | Self::OutboxSpread(..)
                | Self::OutboxFailed(..)
                | Self::LettersHold(..)
                | Self::LetterKeep(..)
                | Self::LetterDone(..)
                | Self::LetterResend(..)
                | Self::Letter(_)
                | Self::Letters(_)
                | Self::LettersOf(_)
        )
    }

    pub(super) async fn on(&self, store: &dyn Store) -> Answer {
        match self.clone() {
            Self::KeepDefinition { hash, source } => {
                text(store.keep_definition(&hash, "work", &source, DateTime::UNIX_EPOCH).await)
            }
            Self::AddEnterprise(enterprise) => text(store.add_enterprise(enterprise).await),
            Self::Commit(batch) => Answer::Committed(store.commit(Arc::from(batch)).await),
            Self::Claim(claim) => {
                let mut claimed = store.claim(claim).await.unwrap();
                // The law orders by the time alone.
                claimed.sort_by(|a, b| (a.due_at, &a.run, a.frame).cmp(&(b.due_at, &b.run, b.frame)));
                Answer::Claimed(claimed)
            }
            Self::ExpireLeases => text(store.expire_leases().await),
            Self::NextDue => text(store.next_due().await),
            Self::Load(run) => text(store.load(&run).await),
            Self::See(run) => text(store.see(&run).await),
            Self::Work(run) => text(store.work(&run).await),
            Self::Children(run) => text(store.children(&run).await),
            Self::Runs(asked) => runs(store, asked).await,
            Self::History(asked) => text(store.history(asked).await),
            Self::Key(key) => text(store.key(&key).await),
            Self::Definition(hash) => text(store.definition(&hash).await),
            Self::Enterprise(id) => text(store.enterprise(&id).await),
            Self::Enterprises(limit, cursor) => page(store.enterprises(limit, cursor).await),
            Self::Record(enterprise, key) => text(store.record(&enterprise, "report", &key).await),
            Self::FindRecord(key) => text(store.find_record("report", &key).await),
            Self::PutRecords(puts, key) => text(store.put_records_once(puts, key).await),
            Self::DeleteRecords(deletes, note) => text(store.delete_records(deletes, note).await),
            Self::Records(asked) => page(store.records(asked).await),
            Self::Outbox(now, limit) => text(store.outbox(now, limit).await),
            Self::OutboxSpread(id, readers, at) => text(store.outbox_spread(id, readers, at).await),
            Self::LettersHold(now, until, limit) => text(store.letters_hold(now, until, limit).await),
            Self::LetterKeep(id, held, until) => text(store.letter_keep(id, held, until).await),
            Self::LetterDone(id, delivery, at) => text(store.letter_done(id, delivery, at).await),
            Self::LetterResend(id, at) => text(store.letter_resend(id, at).await),
            Self::Letter(id) => text(store.letter(id).await),
            Self::Letters(asked) => text(store.letters(asked).await),
            Self::LettersOf(runs) => text(store.letters_of(&runs).await),
            Self::OutboxFailed(id, at) => text(store.outbox_failed(id, "why", at).await),
            Self::Tally(now) => text(store.tally(now).await),
            Self::Probe => text(store.probe().await),
        }
    }
}

impl Answer {
    /// What this call and its answer show, for the guard against vacuous sequences.
    pub(super) fn kinds(&self, call: &Call) -> Vec<String> {
        let verdict = |outcome: &Result<(), StoreError>| match outcome {
            Ok(()) => "ok",
            Err(StoreError::Conflict { .. }) => "conflict",
            Err(StoreError::LeaseLost { .. }) => "lease lost",
            Err(StoreError::AlreadyStarted { .. }) => "already started",
            Err(StoreError::KeyReused { .. }) => "key reused",
            Err(StoreError::ExclusiveOpen { .. }) => "exclusive open",
            Err(StoreError::NotFound { .. }) => "not found",
            Err(_) => "failed",
        };
        match (call, self) {
            (Call::Commit(batch), Self::Committed(Ok(outcomes))) => batch
                .iter()
                .zip(outcomes)
                .map(|(write, outcome)| match write {
                    Write::Turns(group) if outcome.is_ok() && group.iter().any(|turn| !turn.keys.is_empty()) => {
                        "a key of a turn".to_owned()
                    }
                    Write::Turns(_) => format!("turns: {}", verdict(outcome)),
                    Write::Word(_) => format!("word: {}", verdict(outcome)),
                })
                .collect(),
            (_, Self::Claimed(claimed)) => {
                let mut kinds = Vec::new();
                for work in claimed {
                    let big = work.input.as_ref().is_ok_and(|input| input.to_string().len() > 4_096);
                    let seen = [
                        (true, "some"),
                        (work.crashes > 0, "a crash"),
                        (work.kind == WorkKind::Signal, "a signal"),
                        (work.kind == WorkKind::Child, "a child"),
                        (big, "a big value"),
                        (work.checkpoint.is_some(), "with a checkpoint"),
                    ];
                    kinds.extend(seen.iter().filter(|(is, _)| *is).map(|(_, what)| format!("claimed: {what}")));
                }
                kinds
            }
            (_, Self::Page { next: Some(_), .. }) => vec!["page: more".to_owned()],
            (Call::LettersHold(..), Self::Text(text)) if text.contains("LetterRow") => vec!["letters: held".to_owned()],
            (Call::Letters(_), Self::Text(text)) if text.contains("Dead") => vec!["letters: dead".to_owned()],
            (Call::Outbox(..), Self::Text(text)) if text.contains("OutboxRow") => vec!["letters: some".to_owned()],
            (Call::Record(..), Self::Text(text)) if text.contains("StoredRecord") => vec!["record: some".to_owned()],
            (Call::PutRecords(_, Some(_)), Self::Text(text)) if text.contains("AlreadyStarted") => {
                vec!["records put: already".to_owned()]
            }
            (Call::PutRecords(..), Self::Text(text)) if text == "Ok(())" => vec!["records put: ok".to_owned()],
            (Call::PutRecords(..), Self::Text(_)) => vec!["records put: changed".to_owned()],
            (Call::DeleteRecords(gone, _), Self::Text(text)) if text == "Ok(())" && !gone.is_empty() => {
                vec!["records deleted: ok".to_owned()]
            }
            (Call::DeleteRecords(..), Self::Text(text)) if text != "Ok(())" => {
                vec!["records deleted: changed".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
