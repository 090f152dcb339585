//! The watch over systems that are out of service: it keeps the deadlines, whatever the run does that took them out.
//!
//! At the cutoff a system that is not cut over is put back. The frame of its run is told that it is overdue, which its state
//! catches and which takes the work from a step that is still at it; where the run does not go on by itself (it is paused, in
//! attention, or has gone past), and for whatever does not serve at the end of the window, a run of `put-back` does it. The two
//! do the same and stand in each other's way nowhere. All of it is done as often as anybody looks: an event is fenced by its
//! visit, and an outage has one such run at a deadline, ever.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    Down, ErrorKind, Outage, OutageState, PUT_BACK, RunView, Service, ServiceError,
    runs::{Happening, MoveError},
    turns::Beginning,
};
use crate::{
    engine::{EventKind, Frame, Header, Phase, Rejected, Snapshot, Standing},
    store::{Idempotency, RunsPage, Start, StoreError},
};

/// The error that a cut-over which comes too late ends in.
const LATE: &str = "Keyferry.WindowPassed";
const PAGE: u32 = 200;

/// Why a run of `put-back` begins.
#[derive(Clone, Copy)]
enum Deadline {
    Cutoff,
    End,
}

impl Service {
    /// Looks every `interval` for as long as it is polled.
    pub async fn watch_outages(self, interval: Duration) {
        loop {
            self.core.clock.sleep(interval).await;
            if let Err(error) = self.look_for_outages().await {
                tracing::error!(code = error.code, "systems out of service could not be looked at: {error}");
            }
        }
    }

    /// Looks at every system that is out of service, and has put back what is due. An enterprise that fails keeps the look from
    /// no other.
    ///
    /// # Errors
    /// The enterprises could not be listed.
    pub async fn look_for_outages(&self) -> Result<(), ServiceError> {
        if self.core.definitions.get(PUT_BACK).is_none() {
            return Ok(());
        }
        let mut cursor = None;
        loop {
            let page = self.core.store.enterprises(PAGE, cursor).await?;
            for enterprise in page.items {
                if let Err(error) = self.keep_deadlines(&enterprise.id).await {
                    tracing::error!(enterprise = %enterprise.id, "outages could not be looked at: {error}");
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn keep_deadlines(&self, enterprise: &str) -> Result<(), ServiceError> {
        for (resource, outage) in self.core.outages(enterprise).await? {
            let now = self.core.clock.now();
            let snapshot = match self.core.store.load(&outage.run).await {
                Ok(loaded) => Some(loaded.snapshot),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let snapshot = snapshot.filter(|snapshot| snapshot.header.outcome.is_none());
            let Some(snapshot) = snapshot else {
                // The commit that ended it began a run that puts it back, unless another version of keyferry did it.
                if self.open_put_back(enterprise).await?.is_none() {
                    self.put_back(enterprise, &resource, &outage, Deadline::Cutoff).await?;
                }
                continue;
            };
            if now > outage.cutoff && !self.hurry(&snapshot, &outage).await? {
                self.put_back(enterprise, &resource, &outage, Deadline::Cutoff).await?;
            }
            if now >= outage.end {
                self.put_back(enterprise, &resource, &outage, Deadline::End).await?;
            }
        }
        Ok(())
    }

    /// Tells the frame of an outage that it is too late. False when the run does not put the system back by itself.
    async fn hurry(&self, snapshot: &Snapshot, outage: &Outage) -> Result<bool, ServiceError> {
        let Some(frame) = snapshot.frames.get(&outage.frame) else { return Ok(false) };
        let cause = format!(
            "no cut-over of {} goes on after {} (the window ends at {}): the original is put back, a new window has to be agreed",
            outage.system,
            stamp(outage.cutoff),
            stamp(outage.end)
        );
        let kind = EventKind::Overdue { frame: frame.id, visit: frame.visit, error: LATE.to_owned(), cause };
        let core = Arc::clone(&self.core);
        let run = outage.run.clone();
        let told = self.core.apart(async move { core.happen(&run, Happening::from(kind)).await }).await?;
        let goes_on = !snapshot.header.paused;
        match told {
            Ok(_) => Ok(goes_on),
            Err(MoveError::Rejected(Rejected::Illegal { .. })) => Ok(goes_on && is_at_work(frame)),
            // It has moved on since it was looked at: the next look sees where to.
            Err(MoveError::Unseen { .. } | MoveError::Rejected(Rejected::Stale { .. })) => Ok(true),
            Err(MoveError::Rejected(_)) => Ok(false),
            Err(MoveError::Store(error)) => Err(error.into()),
        }
    }

    /// The newest run of `put-back` that is open.
    async fn open_put_back(&self, enterprise: &str) -> Result<Option<Header>, ServiceError> {
        let asked = RunsPage {
            enterprise: Some(enterprise.to_owned()),
            workflow: Some(PUT_BACK.to_owned()),
            limit: 1,
            ..RunsPage::default()
        };
        let Some(run) = self.core.store.runs(asked).await?.items.pop() else { return Ok(None) };
        let header = self.core.store.load(&run).await?.snapshot.header;
        Ok(Some(header).filter(|header| header.outcome.is_none()))
    }

    /// What of an enterprise is, or may be, out of service.
    async fn out_of_service(&self, enterprise: &str) -> Result<Vec<Down>, ServiceError> {
        let open = self.core.outages(enterprise).await?;
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let by = self.open_put_back(enterprise).await?.map(|header| header.run);
        let down = open.into_values().map(|outage| Down {
            system: outage.system,
            region: outage.region,
            run: outage.run,
            old: outage.old,
            frozen: outage.state == OutageState::Frozen,
            since: outage.since,
            cutoff: outage.cutoff,
            end: outage.end,
            put_back_by: by.clone(),
        });
        Ok(down.collect())
    }

    /// Begins the run that puts a system back at a deadline: one, ever, of any number of processes that look. It stands beside
    /// the run that has the enterprise's place.
    async fn put_back(
        &self,
        enterprise: &str,
        resource: &str,
        outage: &Outage,
        deadline: Deadline,
    ) -> Result<(), ServiceError> {
        let Some(definition) = self.core.definitions.get(PUT_BACK).cloned() else { return Ok(()) };
        let (word, cause) = match deadline {
            Deadline::Cutoff => ("cutoff", "it was not cut over by its cutoff"),
            Deadline::End => ("end", "it does not serve at the end of its window"),
        };
        let key = format!("{PUT_BACK}\n{resource}\n{}\n{word}", outage.since.timestamp_micros());
        let seat = Idempotency { key, request: self.core.clock.new_id() };
        let input = json!({ "run": null, "cause": format!("{}: {cause}", outage.system), "resources": [resource] });
        let start = Start { parent: None, exclusive: false, idempotency: vec![seat] };
        let core = Arc::clone(&self.core);
        let enterprise = enterprise.to_owned();
        let begun = self.core.apart(async move {
            let Beginning { folded, mut state } = core.begin_put_back(definition, &enterprise, input, start)?;
            let run = state.snapshot.header.run.clone();
            core.flush_new(&run, folded, &mut state).await.map(|()| run)
        });
        match begun.await? {
            Ok(run) => {
                tracing::warn!(run.id = %run, system = %outage.system, of = %outage.run, "{cause}; it is put back");
                Ok(())
            }
            Err(StoreError::KeyReused { .. } | StoreError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A run's view with what of its enterprise is out of service, and with the run that sees to it when this one has ended.
    pub(super) async fn with_outages(&self, mut view: RunView) -> Result<RunView, ServiceError> {
        if matches!(view.status, Standing::Cancelled | Standing::Failed)
            && let Some(follows) = self.open_put_back(&view.enterprise).await?
            && follows.input.get("run").and_then(Value::as_str) == Some(view.id.as_str())
        {
            view.summary = format!(
                "{}; the run {} sees to it that everything serves and lists what is left; no other begins before it has ended",
                view.summary, follows.run
            );
        }
        view.out_of_service = self.out_of_service(&view.enterprise).await?;
        if !view.out_of_service.is_empty() {
            let down: Vec<String> = view.out_of_service.iter().map(Down::in_words).collect();
            view.summary = format!("{}; {}", view.summary, down.join("; "));
        }
        Ok(view)
    }

    /// Refuses a verb that would keep a run of `put-back` from its work.
    pub(super) async fn may_not_stop(&self, run: &str, verb: &str) -> Result<(), ServiceError> {
        let header = self.core.store.load(run).await?.snapshot.header;
        if header.workflow != PUT_BACK || header.outcome.is_some() {
            return Ok(());
        }
        let down = self.out_of_service(&header.enterprise).await?;
        let down: Vec<String> = down.iter().map(Down::in_words).collect();
        if down.is_empty() {
            return Ok(());
        }
        let message = format!("the run {run} is not {verb}: it brings back into service {}", down.join("; "));
        Err(ServiceError::new(ErrorKind::Conflict, "outage-open", message))
    }
}

/// Whether a frame gets on without a person.
fn is_at_work(frame: &Frame) -> bool {
    match &frame.phase {
        Phase::Step { .. }
        | Phase::Backoff { .. }
        | Phase::Waiting { .. }
        | Phase::Child { .. }
        | Phase::Joining(_) => true,
        Phase::Queued | Phase::Form { .. } | Phase::Attention { .. } | Phase::Done { .. } | Phase::Failed { .. } => {
            false
        }
    }
}

impl Down {
    /// In one line: what, since when, until when, and who puts it back.
    pub(super) fn in_words(&self) -> String {
        let since = if self.frozen { "is out of service since" } else { "may be out of service since" };
        let next = match &self.put_back_by {
            Some(run) => format!("the run {run} brings it back"),
            None => format!("the original is put back after {} unless it is cut over", stamp(self.cutoff)),
        };
        let Self { system, region, .. } = self;
        format!("{system} in {region} {since} {}: {next}, it has to serve by {}", stamp(self.since), stamp(self.end))
    }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
