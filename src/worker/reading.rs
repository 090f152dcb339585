//! What people see of runs: put together from snapshot, work and children, so that a status never claims more than is there.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Attention, ErrorKind, HistoryRow, RunFilter, RunView, Service, ServiceError, Verification, Visit, WaitingFor,
    core::{POLL_FLOOR, later},
    retrying,
};
use crate::{
    engine::{Frame, Outcome, Phase, Snapshot, Standing, fold},
    store::{
        HistoryPage, HistoryRecord, OutboxRow, Page, RecordDelete, RecordPut, RecordsPage, RunsPage, Seen, StoreError,
        StoredRecord, StoredWork, chain,
    },
};

/// Rows of history read at once.
const CHUNK: u32 = 500;

/// What a diagram of a run shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagramState {
    /// Text of the definition that the run keeps.
    pub source: String,
    /// States entered, in order.
    pub entered: Vec<String>,
    /// States that the run's frames stand in.
    pub current: Vec<String>,
}

impl Service {
    /// # Errors
    /// There is no such run.
    pub async fn run(&self, run: &str) -> Result<RunView, ServiceError> {
        self.with_outages(self.view(run.to_owned()).await?).await
    }

    /// The same with the letters of the run and of those that it has started that could not be delivered so far.
    ///
    /// # Errors
    /// There is no such run.
    pub async fn run_with_letters(&self, run: &str) -> Result<RunView, ServiceError> {
        let mut view = self.run(run).await?;
        let family: Vec<String> = view.children.iter().chain([&view.id]).cloned().collect();
        view.undelivered = self.undelivered(&family).await?;
        Ok(view)
    }

    /// Newest first. A status to filter by is that of the run's own frames; the views add what its work and children do, so that
    /// one listed as working may wait for AWS, and a parent listed as waiting may stand in its child's attention.
    ///
    /// # Errors
    /// A cursor that is none.
    pub async fn runs(&self, filter: RunFilter) -> Result<Page<RunView>, ServiceError> {
        let status = filter.status.map(|status| serde_json::to_value(status).unwrap_or_default());
        let asked = RunsPage {
            enterprise: filter.enterprise,
            workflow: filter.workflow,
            status: status.and_then(|status| status.as_str().map(str::to_owned)),
            limit: filter.limit.unwrap_or(50).clamp(1, 200),
            cursor: filter.cursor,
        };
        let page = self.core.store.runs(asked).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for run in page.items {
            let mut view = self.view(run).await?;
            view.waiting_for.iter_mut().for_each(|wait| wait.shown.clear());
            items.push(view);
        }
        Ok(Page { items, next: page.next })
    }

    fn view(&self, run: String) -> BoxFuture<'_, Result<RunView, ServiceError>> {
        Box::pin(async move {
            let Seen { loaded, work, children } = self.core.store.see(&run).await?;
            let mut open = Vec::new();
            for child in children.iter().filter(|child| child.open) {
                open.push((child.frame, self.view(child.run.clone()).await?));
            }
            let now = self.core.clock.now();
            let mut view = Sight {
                service: self,
                snapshot: &loaded.snapshot,
                work: work.iter().map(|work| (work.frame, work)).collect(),
                now,
            }
            .view(&open);
            view.parent = loaded.parent.map(|parent| parent.run);
            view.children = children.into_iter().map(|child| child.run).collect();
            Ok(view)
        })
    }

    /// Rows after `cursor`, `limit` of 1 to 500 at a time, oldest first.
    ///
    /// # Errors
    /// There is no such run; a cursor that is none; a row that cannot be read.
    pub async fn history(
        &self,
        run: &str,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<HistoryRow>, ServiceError> {
        self.core.store.load(run).await?;
        let limit = limit.clamp(1, CHUNK);
        let after = match cursor {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| StoreError::NotFound { what: "cursor", id: cursor })?,
        };
        let asked = HistoryPage { run: run.to_owned(), after, limit: limit + 1 };
        let mut rows = self.core.store.history(asked).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let items = rows.into_iter().map(row).collect::<Result<Vec<_>, ServiceError>>()?;
        let next = if more { items.last().map(|last| last.seq.to_string()) } else { None };
        Ok(Page { items, next })
    }

    /// One run's own history; see [`Service::verify`].
    pub(super) async fn verify_one(&self, run: &str) -> Result<Verification, ServiceError> {
        let mut found = Verification {
            run: run.to_owned(),
            rows: 0,
            ok: true,
            first_bad: None,
            findings: Vec::new(),
            children: Vec::new(),
        };
        let loaded = match self.core.store.load(run).await {
            Ok(loaded) => Some(loaded),
            Err(error @ StoreError::Corrupt { .. }) => {
                found.ok = false;
                found.findings.push(format!("the stored snapshot cannot be read: {error}"));
                None
            }
            Err(error) => return Err(error.into()),
        };
        let mut events = Vec::new();
        let mut head = Vec::new();
        let mut after = 0;
        loop {
            let asked = HistoryPage { run: run.to_owned(), after, limit: CHUNK };
            let rows = self.core.store.history(asked).await?;
            let Some(last) = rows.last() else { break };
            after = last.seq;
            for row in rows {
                check(&row, &mut head, &mut found);
                // The run keeps its own copy of the last hash: a row that was forged with a hash that fits is still found.
                if let Some(loaded) = &loaded
                    && row.seq == loaded.snapshot.header.revision
                    && row.hash != loaded.head
                {
                    found.fault(row.seq, "it is not the row that the run stands at".to_owned());
                }
                events.extend(row.event.ok());
            }
        }
        let Some(loaded) = loaded else { return Ok(found) };
        let revision = loaded.snapshot.header.revision;
        if found.rows < revision {
            found
                .fault(found.rows + 1, format!("{} rows are there, the run stands at revision {revision}", found.rows));
        }
        if found.ok {
            let definition = self.core.definition(&loaded.snapshot.header.definition).await?;
            // Turns that were committed since the snapshot was read are not part of what is compared.
            events.truncate(usize::try_from(revision).unwrap_or(usize::MAX));
            match fold(&definition, &events) {
                Ok(folded) if retrying::as_written(folded.clone(), &loaded.snapshot) == loaded.snapshot => {}
                Ok(folded) => {
                    let reason = format!(
                        "the stored snapshot is not what the history leads to: {}",
                        difference(&folded, &loaded.snapshot)
                    );
                    found.ok = false;
                    found.findings.push(reason);
                }
                Err(rejected) => {
                    found.ok = false;
                    found.findings.push(format!("the history cannot be folded: {rejected}"));
                }
            }
        }
        Ok(found)
    }

    /// By key, `limit` of 1 to 200 at a time.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn records(
        &self,
        enterprise: &str,
        collection: &str,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<StoredRecord>, ServiceError> {
        let asked = RecordsPage {
            enterprise: enterprise.to_owned(),
            collection: collection.to_owned(),
            limit: limit.clamp(1, 200),
            cursor,
        };
        Ok(self.core.store.records(asked).await?)
    }

    /// # Errors
    /// The store could not be read.
    pub async fn record(
        &self,
        enterprise: &str,
        collection: &str,
        key: &str,
    ) -> Result<Option<StoredRecord>, ServiceError> {
        Ok(self.core.store.record(enterprise, collection, key).await?)
    }

    /// The record under a key whose enterprise is not known yet.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn find_record(&self, collection: &str, key: &str) -> Result<Option<StoredRecord>, ServiceError> {
        Ok(self.core.store.find_record(collection, key).await?)
    }

    /// Writes records outside a run's turns, all or none.
    ///
    /// # Errors
    /// `record-changed`: one is not at the version expected; the store could not be written.
    pub async fn put_records(&self, puts: Vec<RecordPut>) -> Result<(), ServiceError> {
        Ok(self.core.store.put_records(puts).await?)
    }

    /// Deletes records and writes the one that says so, all or none.
    ///
    /// # Errors
    /// `record-changed`: one is not at the version expected; the store could not be written.
    pub async fn delete_records(&self, deletes: Vec<RecordDelete>, note: RecordPut) -> Result<(), ServiceError> {
        Ok(self.core.store.delete_records(deletes, note).await?)
    }

    /// # Errors
    /// There is no such run.
    pub async fn diagram_state(&self, run: &str) -> Result<DiagramState, ServiceError> {
        let snapshot = self.core.store.load(run).await?.snapshot;
        let (_, source) = self.core.store.definition(&snapshot.header.definition).await?;
        let mut entered = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.history(run, CHUNK, cursor).await?;
            entered.extend(page.items.into_iter().flat_map(|row| row.entered));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let current = if snapshot.header.outcome.is_some() {
            Vec::new()
        } else {
            snapshot.frames.values().filter(|frame| is_alive(frame)).map(|frame| frame.state.clone()).collect()
        };
        Ok(DiagramState { source, entered, current })
    }

    /// What is to be told and due, oldest first.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn next_mail(&self, limit: u32) -> Result<Vec<OutboxRow>, ServiceError> {
        Ok(self.core.store.outbox(self.core.clock.now(), limit).await?)
    }

    /// # Errors
    /// The store could not be written: the row stays due.
    pub async fn mail_failed(&self, id: i64, error: &str, retry_at: DateTime<Utc>) -> Result<(), ServiceError> {
        self.core.meters.delivery("failed");
        Ok(self.core.store.outbox_failed(id, error, retry_at).await?)
    }
}

impl Verification {
    fn fault(&mut self, seq: u64, reason: String) {
        self.ok = false;
        self.first_bad.get_or_insert(seq);
        self.findings.push(format!("row {seq}: {reason}"));
    }
}

fn check(row: &HistoryRecord, head: &mut Vec<u8>, found: &mut Verification) {
    let expected = found.rows + 1;
    if row.seq != expected {
        found.fault(expected, format!("it is missing; the next row is {}", row.seq));
    }
    let hash = chain(head, &row.event_text, &row.entered_text);
    if hash != row.hash {
        found.fault(row.seq, "it is not what was written: its hash does not hold".to_owned());
    }
    if let Err(error) = &row.event {
        found.fault(row.seq, error.to_string());
    }
    // Going on from the stored hash shows each bad row once and not all that follow it.
    head.clone_from(&row.hash);
    found.rows = row.seq;
}

fn difference(folded: &Snapshot, stored: &Snapshot) -> String {
    if folded.header != stored.header {
        return "the header differs".to_owned();
    }
    let frames = folded.frames.keys().chain(stored.frames.keys());
    let first = frames.filter(|frame| folded.frames.get(*frame) != stored.frames.get(*frame)).min();
    first.map_or_else(String::new, |frame| format!("frame {frame} differs"))
}

fn row(record: HistoryRecord) -> Result<HistoryRow, ServiceError> {
    let unreadable = |error: serde_json::Error| {
        ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("row {} of history: {error}", record.seq))
    };
    let entered = serde_json::from_str(&record.entered_text).map_err(unreadable)?;
    let event = record.event?;
    Ok(HistoryRow {
        seq: record.seq,
        at: event.at,
        event: serde_json::to_value(event).unwrap_or_default(),
        entered,
        hash: hex::encode(record.hash),
    })
}

fn is_alive(frame: &Frame) -> bool {
    !matches!(frame.phase, Phase::Done { .. } | Phase::Failed { .. } | Phase::Queued)
}

/// A run, its work and the moment at which it is looked at.
struct Sight<'a> {
    service: &'a Service,
    snapshot: &'a Snapshot,
    /// By frame.
    work: HashMap<i64, &'a StoredWork>,
    now: DateTime<Utc>,
}

impl Sight<'_> {
    fn view(&self, children: &[(u64, RunView)]) -> RunView {
        let header = &self.snapshot.header;
        let mut working_in = Vec::new();
        let mut waiting_for = Vec::new();
        let mut attention = Vec::new();
        let mut of_children = Vec::new();
        let mut retrying = Vec::new();
        for frame in self.snapshot.frames.values().filter(|_| header.outcome.is_none()) {
            retrying.extend(retrying::of(frame));
            if let Phase::Attention { error, cause, since } = &frame.phase {
                attention.push(Attention {
                    run: header.run.clone(),
                    frame: frame.id,
                    visit: Visit::of(&header.run, frame.id, frame.visit),
                    state: frame.state.clone(),
                    error: error.clone(),
                    cause: cause.clone(),
                    since: *since,
                });
            } else if self.is_working(frame) {
                working_in.push(frame.state.clone());
            } else {
                waiting_for.extend(self.wait(frame));
            }
        }
        for (frame, child) in children.iter().filter(|_| header.outcome.is_none()) {
            // What the child itself does says more than that there is one.
            if !child.waiting_for.is_empty() || !child.working_in.is_empty() || !child.attention.is_empty() {
                waiting_for.retain(|wait| wait.on != "child" || wait.frame != *frame);
            }
            working_in.extend(child.working_in.iter().cloned());
            attention.extend(child.attention.iter().cloned());
            retrying.extend(child.retrying.iter().cloned());
            of_children.extend(child.waiting_for.iter().cloned());
        }
        waiting_for.append(&mut of_children);
        let status = match self.snapshot.standing() {
            ended @ (Standing::Succeeded | Standing::Failed | Standing::Cancelled | Standing::Paused) => ended,
            Standing::Attention | Standing::Working | Standing::Waiting if !attention.is_empty() => Standing::Attention,
            _ if !working_in.is_empty() => Standing::Working,
            _ => Standing::Waiting,
        };
        let (output, error, cause) = match &header.outcome {
            Some(Outcome::Succeeded { output }) => (Some(Value::clone(output)), None, None),
            Some(failed @ Outcome::Failed { .. }) => {
                let (error, cause) = failed.failure();
                (None, error, cause)
            }
            Some(Outcome::Cancelled { reason }) => (None, None, Some(reason.clone())),
            None => (None, None, None),
        };
        let mut view = RunView {
            id: header.run.clone(),
            enterprise: header.enterprise.clone(),
            workflow: header.workflow.clone(),
            definition: header.definition.clone(),
            status,
            parent: None,
            children: Vec::new(),
            revision: header.revision,
            started_at: header.started_at,
            started_by: header.started_by.clone(),
            ended_at: header.ended_at,
            summary: String::new(),
            working_in,
            waiting_for,
            attention,
            retrying,
            undelivered: Vec::new(),
            out_of_service: Vec::new(),
            output,
            error,
            cause,
        };
        view.summary = summary(&view);
        view
    }

    fn work(&self, frame: &Frame) -> Option<&StoredWork> {
        self.work.get(&i64::try_from(frame.id).ok()?).copied()
    }

    /// A live lease: somebody executes it.
    fn is_working(&self, frame: &Frame) -> bool {
        matches!(frame.phase, Phase::Step { .. })
            && self.work(frame).is_some_and(|work| work.lease_until.is_some_and(|until| until > self.now))
    }

    /// Since when a step that is due has had no worker; `None` if it is not due. One that looks at AWS again and again is not
    /// said to be queued for the moment that each look takes to begin.
    fn queued_since(&self, work: &StoredWork) -> Option<DateTime<Utc>> {
        let due = match work.owner {
            // Whoever had it is gone.
            Some(_) => work.lease_until,
            None => work.due_at,
        };
        let patience = if work.waiting_for.is_some() { POLL_FLOOR } else { Duration::ZERO };
        due.filter(|due| !work.held && later(*due, patience) <= self.now)
    }

    fn wait(&self, frame: &Frame) -> Option<WaitingFor> {
        let work = self.work(frame);
        let due = work.and_then(|work| work.due_at);
        let queued =
            work.filter(|_| matches!(frame.phase, Phase::Step { .. })).and_then(|work| self.queued_since(work));
        let (on, what, form, until) = match &frame.phase {
            Phase::Form { form, until } => {
                let role = self.service.core.forms.role(form).unwrap_or_else(|| "engineer".to_owned());
                let what = format!("the {role}'s answer to the form {form}");
                (role, what, Some(form.clone()), *until)
            }
            Phase::Waiting { until } => ("time".to_owned(), format!("the end of {}", frame.state), None, Some(*until)),
            Phase::Backoff { until } => {
                ("time".to_owned(), format!("the next try of {}", frame.state), None, Some(*until))
            }
            Phase::Child { workflow, until } => ("child".to_owned(), format!("the run of {workflow}"), None, *until),
            Phase::Step { step, .. } if queued.is_some() => {
                ("worker".to_owned(), format!("a worker for the step {step}"), None, None)
            }
            Phase::Step { step, due_at } => match work.and_then(|work| work.waiting_for.clone()) {
                Some(what) => ("aws".to_owned(), what, None, due),
                None if *due_at > self.now => {
                    ("time".to_owned(), format!("the next try of {}", frame.state), None, Some(*due_at))
                }
                None => ("worker".to_owned(), format!("a worker for the step {step}"), None, due),
            },
            Phase::Queued | Phase::Joining(_) | Phase::Attention { .. } | Phase::Done { .. } | Phase::Failed { .. } => {
                return None;
            }
        };
        let since = queued.unwrap_or_else(|| work.map_or(frame.entered_at, |work| work.since));
        let run = self.snapshot.header.run.clone();
        let visit = Visit::of(&run, frame.id, frame.visit);
        let shown = work.filter(|_| form.is_some()).map(|work| super::shown(&work.input)).unwrap_or_default();
        Some(WaitingFor {
            run,
            frame: frame.id,
            visit,
            state: frame.state.clone(),
            on,
            what,
            form,
            since,
            until,
            shown,
        })
    }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// `: ERROR: CAUSE`, each where there is one.
pub(super) fn why(error: &Option<String>, cause: &Option<String>) -> String {
    [error, cause].into_iter().flatten().map(|text| format!(": {text}")).collect()
}

/// One line behind "the run".
fn summary(view: &RunView) -> String {
    let more = |rest: usize| if rest > 1 { format!(" (and {} more)", rest - 1) } else { String::new() };
    let ended = view.ended_at.map(|at| format!(" at {}", stamp(at))).unwrap_or_default();
    match view.status {
        Standing::Succeeded => format!("succeeded{ended}"),
        Standing::Failed => format!("failed{ended}{}", why(&view.error, &view.cause)),
        Standing::Cancelled => format!("was cancelled{ended}: {}", view.cause.as_deref().unwrap_or_default()),
        Standing::Paused => "is paused: an engineer has to resume or cancel it".to_owned(),
        Standing::Attention => view.attention.first().map_or_else(String::new, |first| {
            let rest = more(view.attention.len());
            format!(
                "needs an engineer in {} since {}: {}: {}{rest}",
                first.state,
                stamp(first.since),
                first.error,
                first.cause
            )
        }),
        Standing::Working => {
            let mut states = view.working_in.clone();
            states.dedup();
            let first: Vec<String> = states.iter().take(3).cloned().collect();
            let rest = if states.len() > 3 { format!(" and {} more", states.len() - 3) } else { String::new() };
            format!("works in {}{rest}{}", first.join(", "), retrying::words(view))
        }
        Standing::Waiting => view.waiting_for.first().map_or_else(
            || "waits".to_owned(),
            |first| {
                if first.on == "worker" {
                    let more = more(view.waiting_for.len());
                    let since = stamp(first.since);
                    return format!(
                        "is queued since {since}: {} has no worker yet{more}{}",
                        first.state,
                        retrying::words(view)
                    );
                }
                let until = first.until.map(|until| format!(" until {}", stamp(until))).unwrap_or_default();
                let more = more(view.waiting_for.len());
                format!("waits for {} since {}{until}{more}{}", first.what, stamp(first.since), retrying::words(view))
            },
        ),
    }
}
