//! Opening a re-import: a customer is asked for one thing at a time.
//!
//! While a re-import is open people open no other, and a drill waits for the end of either. Two things do not wait: a re-import
//! in need for a drill, and a newer schedule of drills for the older one's, whose place it takes. What is open is read from the
//! runs. So that of two that look at the same moment not both find nothing, each start takes the place behind the newest run
//! that it saw, and the store gives a place to one run.

use serde_json::Value;

use super::desk::FORM;
use crate::worker::{ErrorKind, RunFilter, RunView, Service, ServiceError, StartRun, next};

/// The workflow that asks for the same material again.
pub const REIMPORT: &str = "reimport";
/// Where a drill on a schedule stands until it is due.
const ASLEEP: &str = "Until the next drill";
/// Starts that others were faster than.
const TRIES: u32 = 10;
const PAGE: u32 = 200;

/// A re-import that has not ended and does not sleep.
pub(super) struct Open {
    pub run: RunView,
    /// What it was started with.
    input: Value,
}

/// The re-imports of an enterprise at a moment.
pub(super) struct Seen {
    newest: Option<String>,
    pub open: Vec<Open>,
}

/// Starts a re-import, or a drill, that somebody asks for.
///
/// # Errors
/// `reimport-open`: another is open, which is named; and those of [`Service::start_run`].
pub async fn start_reimport(service: &Service, start: StartRun) -> Result<RunView, ServiceError> {
    if let Some(run) = service.started(&start).await? {
        return Ok(run);
    }
    start_unless(service, &start, |open| (!open.gives_way_to(&start.input)).then(|| open.refusal())).await
}

/// Starts a re-import unless one that is open stands against it.
pub(super) async fn start_unless(
    service: &Service,
    start: &StartRun,
    against: impl Fn(&Open) -> Option<ServiceError>,
) -> Result<RunView, ServiceError> {
    for _ in 0..TRIES {
        let seen = Seen::of(service, &start.enterprise).await?;
        if let Some(refusal) = seen.open.iter().find_map(&against) {
            return Err(refusal);
        }
        match service.start_run_in(seen.place(&start.enterprise), start.clone()).await {
            Err(error) if error.code == "place-taken" => {}
            other => return other,
        }
    }
    let message = format!("others start re-imports of {} at the same time: try again", start.enterprise);
    Err(ServiceError::new(ErrorKind::Conflict, "reimport-open", message))
}

impl Seen {
    pub async fn of(service: &Service, enterprise: &str) -> Result<Self, ServiceError> {
        let mut seen = Self { newest: None, open: Vec::new() };
        let mut cursor = None;
        loop {
            let filter = RunFilter {
                enterprise: Some(enterprise.to_owned()),
                workflow: Some(REIMPORT.to_owned()),
                limit: Some(PAGE),
                cursor,
                ..RunFilter::default()
            };
            let page = service.runs(filter).await?;
            for run in page.items {
                seen.newest.get_or_insert_with(|| run.id.clone());
                let asleep = run.working_in.is_empty() && run.waiting_for.iter().any(|wait| wait.state == ASLEEP);
                if run.ended_at.is_none() && !asleep {
                    let first = service.history(&run.id, 1, None).await?.items.pop();
                    let input = first.map(|row| row.event["input"].clone()).unwrap_or_default();
                    seen.open.push(Open { run, input });
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(seen);
            }
        }
    }

    /// The place behind the newest run. No idempotency key of a request holds a line break.
    fn place(&self, enterprise: &str) -> String {
        format!("{REIMPORT}\n{enterprise}\n{}", self.newest.as_deref().unwrap_or_default())
    }
}

fn is_drill(input: &Value) -> bool {
    input["drill"] == true
}

impl Open {
    /// Whether it can be open beside a run that is started with `input`.
    fn gives_way_to(&self, input: &Value) -> bool {
        let scheduled = |input: &Value| input["every_days"].is_u64();
        (self.is_drill() && !is_drill(input)) || (scheduled(&self.input) && scheduled(input))
    }

    pub fn is_drill(&self) -> bool {
        is_drill(&self.input)
    }

    /// Whether it waits for material.
    pub fn asks(&self) -> bool {
        self.run.waiting_for.iter().any(|wait| wait.form.as_deref() == Some(FORM))
    }

    fn refusal(&self) -> ServiceError {
        let RunView { id, enterprise, summary, .. } = &self.run;
        let what = if self.is_drill() { "a custody drill" } else { "a re-import" };
        let message = format!(
            "{what} of {enterprise} is open, the run {id}, which {summary}: wait for its end, or cancel it with \
             `{}`",
            next::cancel(&self.run)
        );
        ServiceError::new(ErrorKind::Conflict, "reimport-open", message)
    }
}
