//! Regular audits: a durable schedule for each enterprise.
//!
//! An enterprise with keys is audited every so many days, with a jitter that keeps hundreds of them apart, and after every run that
//! may have changed its systems and left no report. What is due is kept in the record `audit-schedule`/current; the run is started
//! under an idempotency key that names the due time, and then the next time is written down. So a process that dies in between
//! starts it once, and an audit that was missed while everything was down is done once, not once for each date.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::{REPORTS, WORKFLOW};
use crate::{
    engine::{Actor, Standing},
    worker::{Act, By, Clock, ErrorKind, RecordPut, RunFilter, RunView, Service, ServiceError, StartRun},
};

/// Records of the schedules.
pub const SCHEDULE: &str = "audit-schedule";
const CURRENT: &str = "current";
/// Days between two audits unless an enterprise says otherwise.
pub const EVERY_DAYS: u32 = 90;
/// The longest that an enterprise may say.
pub const LONGEST_DAYS: u32 = 366;
/// Hours within which the audits of one date are spread.
const JITTER_HOURS: i64 = 24;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(300);
const PAGE: u32 = 100;
/// How often a change of the schedule is tried while others change it.
const TRIES: u32 = 5;
/// Runs of an enterprise that are looked at for changes that were not audited.
const RUNS: u32 = 20;
/// Workflows after which nothing has changed, or which write a report themselves.
const UNCHANGING: [&str; 2] = [WORKFLOW, "reimport"];

/// When an enterprise is audited next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub every_days: u32,
    pub next_at: DateTime<Utc>,
    /// The last run that the schedule started, and what for.
    #[serde(default)]
    pub last: Option<Last>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    pub run: String,
    /// When it was due.
    pub due: DateTime<Utc>,
    /// The run that changed systems; none for a date.
    pub after: Option<String>,
}

/// Starts what is due; a clone is another handle.
#[derive(Clone)]
pub struct Calendar {
    service: Service,
    clock: Arc<dyn Clock>,
}

impl Calendar {
    pub fn new(service: Service, clock: Arc<dyn Clock>) -> Self {
        Self { service, clock }
    }

    /// Looks again and again for as long as it is polled.
    pub async fn keep(self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(code = error.code, "the audits that are due could not be looked up: {}", error.message);
            }
            self.clock.sleep(LOOK).await;
        }
    }

    /// Starts every audit that is due, and gives their runs. An enterprise that fails keeps no other from its audit.
    ///
    /// # Errors
    /// The enterprises could not be listed.
    pub async fn look(&self) -> Result<Vec<String>, ServiceError> {
        let mut started = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.service.enterprises(PAGE, cursor).await?;
            for enterprise in &page.items {
                match self.look_at(&enterprise.id).await {
                    Ok(run) => started.extend(run),
                    Err(error) => {
                        let (enterprise, code) = (enterprise.id.as_str(), error.code);
                        tracing::error!(enterprise, code, "an audit could not be started: {}", error.message);
                    }
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(started);
            }
        }
    }

    async fn look_at(&self, enterprise: &str) -> Result<Option<String>, ServiceError> {
        if self.service.record(enterprise, "custody", "current").await?.is_none() {
            return Ok(None);
        }
        let now = self.clock.now();
        let Some((schedule, version)) = read(&self.service, enterprise).await? else {
            // The onboarding's own report was the first: the next is a whole time later.
            let next_at = next(enterprise, now, EVERY_DAYS);
            let schedule = Schedule { every_days: EVERY_DAYS, next_at, last: None };
            write(&self.service, enterprise, &schedule, 0, now).await?;
            return Ok(None);
        };
        let runs = self.runs(enterprise).await?;
        let changed = self.changed(enterprise, &schedule, &runs).await?;
        let due = if schedule.next_at <= now {
            Some(schedule.next_at)
        } else {
            changed.as_ref().and_then(|run| run.ended_at)
        };
        let Some(due) = due else { return Ok(None) };
        // One that is under way says what there is to say; it is looked at again when it has ended.
        if runs.iter().any(|run| run.workflow == WORKFLOW && is_open(run)) {
            return Ok(None);
        }
        let start = StartRun {
            enterprise: enterprise.to_owned(),
            workflow: WORKFLOW.to_owned(),
            input: json!({}),
            actor: Actor { name: "keyferry".to_owned(), role: "system".to_owned() },
            idempotency_key: Some(format!("audit-schedule {enterprise} {}", due.timestamp_micros())),
        };
        let run = self.service.start_run(start).await?.id;
        let last = Some(Last { run: run.clone(), due, after: changed.map(|run| run.id) });
        let next_at = next(enterprise, now, schedule.every_days);
        let next = Schedule { every_days: schedule.every_days, next_at, last };
        write(&self.service, enterprise, &next, version, now).await?;
        Ok(Some(run))
    }

    async fn runs(&self, enterprise: &str) -> Result<Vec<RunView>, ServiceError> {
        let filter = RunFilter { enterprise: Some(enterprise.to_owned()), limit: Some(RUNS), ..RunFilter::default() };
        Ok(self.service.runs(filter).await?.items)
    }

    /// The newest run that ended, may have changed systems, left no report, and was not audited since.
    async fn changed(
        &self,
        enterprise: &str,
        schedule: &Schedule,
        runs: &[RunView],
    ) -> Result<Option<RunView>, ServiceError> {
        let ended = runs.iter().filter(|run| {
            run.ended_at.is_some() && run.parent.is_none() && !UNCHANGING.contains(&run.workflow.as_str())
        });
        let Some(newest) = ended.max_by_key(|run| run.ended_at) else { return Ok(None) };
        if schedule.last.as_ref().is_some_and(|last| newest.ended_at.is_some_and(|ended| last.due >= ended)) {
            return Ok(None);
        }
        let latest = self.service.record(enterprise, REPORTS, "latest").await?;
        let family: BTreeSet<&String> = newest.children.iter().chain([&newest.id]).collect();
        let audited = latest.is_some_and(|report| {
            family.contains(&report.run) || newest.ended_at.is_some_and(|ended| report.written_at >= ended)
        });
        Ok((!audited).then(|| newest.clone()))
    }
}

fn is_open(run: &RunView) -> bool {
    match run.status {
        Standing::Working | Standing::Waiting | Standing::Attention | Standing::Paused => true,
        Standing::Succeeded | Standing::Failed | Standing::Cancelled => false,
    }
}

/// `days` from `now`, and within a day of that by the enterprise's name.
fn next(enterprise: &str, now: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    let minutes = enterprise.bytes().fold(7_i64, |sum, byte| (sum * 31 + i64::from(byte)) % (JITTER_HOURS * 60));
    now + TimeDelta::days(i64::from(days)) + TimeDelta::minutes(minutes)
}

async fn read(service: &Service, enterprise: &str) -> Result<Option<(Schedule, u64)>, ServiceError> {
    let record = service.record(enterprise, SCHEDULE, CURRENT).await?;
    Ok(record.and_then(|record| Some((serde_json::from_value(record.body).ok()?, record.version))))
}

/// Writes it down; another process that was faster has written the same.
async fn write(
    service: &Service,
    enterprise: &str,
    schedule: &Schedule,
    version: u64,
    at: DateTime<Utc>,
) -> Result<(), ServiceError> {
    match service.put_records(vec![put(enterprise, schedule, version, at)]).await {
        Err(error) if error.code != "record-changed" => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn put(enterprise: &str, schedule: &Schedule, version: u64, at: DateTime<Utc>) -> RecordPut {
    RecordPut {
        enterprise: enterprise.to_owned(),
        collection: SCHEDULE.to_owned(),
        key: CURRENT.to_owned(),
        expected: version,
        body: json!(schedule),
        at,
    }
}

/// The schedule as it is; none before the first look after an onboarding.
///
/// # Errors
/// No such enterprise.
pub async fn schedule(service: &Service, enterprise: &str) -> Result<Option<Value>, ServiceError> {
    service.enterprise(enterprise).await?;
    Ok(service.record(enterprise, SCHEDULE, CURRENT).await?.map(|record| record.body))
}

/// Changes how often an enterprise is audited. The next audit is that many days from now, or earlier if it was due earlier.
///
/// # Errors
/// Fewer than one day or more than a year; no such enterprise; `wrong-role`; an idempotency key that was used for another request;
/// `record-changed`: it is being changed all the time.
pub async fn reschedule(
    service: &Service,
    enterprise: &str,
    every_days: u32,
    (by, now): (&By, DateTime<Utc>),
) -> Result<Schedule, ServiceError> {
    service.authorize(&by.actor, Act::Administer)?;
    service.enterprise(enterprise).await?;
    if !(1..=LONGEST_DAYS).contains(&every_days) {
        let message = format!("every_days: {every_days} is not within 1 to {LONGEST_DAYS}");
        return Err(ServiceError::new(ErrorKind::Invalid, "invalid-schedule", message));
    }
    let once = by.once(&json!(["audit-schedule", enterprise, every_days]));
    let mut tries = 0;
    loop {
        if let Some(done) = service.done_before(once.as_ref()).await? {
            return serde_json::from_value(done.answer).map_err(|error| {
                ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("the answer of a request: {error}"))
            });
        }
        let (before, version) =
            read(service, enterprise).await?.map_or((None, 0), |(found, version)| (Some(found), version));
        let at = next(enterprise, now, every_days);
        let next_at = before.as_ref().map_or(at, |before| before.next_at.min(at));
        let schedule = Schedule { every_days, next_at, last: before.and_then(|before| before.last) };
        let key = once.clone().map(|once| once.kept(json!(schedule)));
        tries += 1;
        match service.put_records_once(vec![put(enterprise, &schedule, version, now)], key).await {
            Ok(()) => return Ok(schedule),
            // An audit was started meanwhile, or the same request was sent twice at once: it is looked at anew.
            Err(error) if tries < TRIES && ["record-changed", "already-started"].contains(&error.code) => {}
            Err(error) => return Err(error),
        }
    }
}
