//! One piece of claimed work: run it, and make durable what came of it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use fail::fail_point;
use serde_json::Value;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use super::{
    Progress, StepContext, StepError,
    core::{Core, later, lock},
    held::Claim,
    host::Host,
    runs::{Happening, MoveError},
    turns::child_end,
};
use crate::{
    engine::{Actor, ChildEnd, EventKind, FrameId},
    store::{Answered, ClaimedWork, NewRecord, Say, StoreError, WorkKind},
};

/// What came of a piece of work.
enum Outcome {
    Happened {
        kind: EventKind,
        records: Vec<NewRecord>,
    },
    Said(Say),
    /// Somebody else has it.
    Lost,
}

impl From<EventKind> for Outcome {
    fn from(kind: EventKind) -> Self {
        Self::Happened { kind, records: Vec::new() }
    }
}

/// Counts a piece of work as executing for as long as it lives.
struct Executing(Arc<Core>);

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.executing.send_modify(|count| *count = count.saturating_sub(1));
        self.0.wake.notify_one();
    }
}

impl Core {
    /// Executes claimed work on a task of its own.
    pub(super) fn execute(self: &Arc<Self>, work: ClaimedWork, permit: OwnedSemaphorePermit) {
        let core = Arc::clone(self);
        core.executing.send_modify(|count| *count += 1);
        let counted = Executing(Arc::clone(&core));
        let claim = Arc::new(Claim::new(&work.run, work.frame, work.visit, work.fence, core.clock.now()));
        core.held.add(&claim);
        tokio::spawn(async move {
            let outcome = core.come_of(&work, &claim).await;
            core.settle(&work, &claim, outcome, permit).await;
            core.held.remove(&claim);
            drop(counted);
        });
    }

    async fn come_of(self: &Arc<Self>, work: &ClaimedWork, claim: &Arc<Claim>) -> Outcome {
        let visit = work.visit;
        let frame = FrameId::try_from(work.frame).unwrap_or(0);
        match work.kind {
            WorkKind::Step => self.step(work, claim, frame).await,
            WorkKind::Timer => EventKind::TimerFired { frame, visit }.into(),
            WorkKind::Form => EventKind::TimedOut { frame, visit }.into(),
            WorkKind::RunTimer => EventKind::RunTimedOut.into(),
            WorkKind::Child => self.child(work, frame).await,
            WorkKind::Signal => signal(&work.name, &work.input).into(),
        }
    }

    async fn child(&self, work: &ClaimedWork, frame: FrameId) -> Outcome {
        let visit = work.visit;
        let retry = |core: &Self| Outcome::Said(Say::Release { due_at: later(core.clock.now(), core.poll) });
        let Ok(children) = self.store.children(&work.run).await else { return retry(self) };
        let Some(child) = children.into_iter().find(|child| child.frame == frame && child.visit == visit) else {
            let cause = format!("there is no workflow {} in this version of keyferry", work.name);
            let end = ChildEnd::Failed { error: "Keyferry.UnknownWorkflow".to_owned(), cause };
            return EventKind::ChildEnded { frame, visit, child: String::new(), end }.into();
        };
        if child.open {
            return EventKind::TimedOut { frame, visit }.into();
        }
        let Ok(loaded) = self.store.load(&child.run).await else { return retry(self) };
        match child_end(&loaded.snapshot) {
            Some(end) => EventKind::ChildEnded { frame, visit, child: child.run, end }.into(),
            None => retry(self),
        }
    }

    async fn step(self: &Arc<Self>, work: &ClaimedWork, claim: &Arc<Claim>, frame: FrameId) -> Outcome {
        let visit = work.visit;
        let now = self.clock.now();
        if work.crashes >= self.crash_limit {
            return EventKind::StepCrashed { frame, visit, crashes: work.crashes }.into();
        }
        if work.deadline.is_some_and(|deadline| deadline <= now) {
            return EventKind::TimedOut { frame, visit }.into();
        }
        let Some(step) = self.steps.get(&work.name).cloned() else {
            let cause = format!("no step {} is registered in this version of keyferry", work.name);
            return EventKind::StepFailed { frame, visit, error: "Keyferry.UnknownStep".to_owned(), cause }.into();
        };
        let (enterprise, workflow, state) = match self.place(&work.run, frame).await {
            Ok(place) => place,
            Err(StoreError::NotFound { .. }) => return Outcome::Said(Say::Drop),
            Err(_) => return Outcome::Said(Say::Release { due_at: later(now, self.poll) }),
        };
        let context = StepContext {
            run: work.run.clone(),
            enterprise,
            workflow,
            state,
            frame,
            visit,
            attempt: work.attempt,
            checkpoint: work.checkpoint.clone(),
            host: Arc::new(Host { core: Arc::clone(self) }),
        };
        let input = Value::clone(&work.input);
        fail_point!("step::before");
        let running = tokio::spawn(async move { step.run(&context, input).await });
        let outcome = self.attend(running, work, claim, frame).await;
        fail_point!("step::after_effect");
        let took = self.clock.now().signed_duration_since(now).to_std().unwrap_or_default();
        let mut durations = lock(&self.durations);
        let entry = durations.entry(work.name.clone()).or_default();
        entry.0 += 1;
        entry.1 += took;
        drop(durations);
        outcome
    }

    /// Enterprise, workflow and state of a frame.
    async fn place(self: &Arc<Self>, run: &str, frame: FrameId) -> Result<(String, String, String), StoreError> {
        self.look(run, |snapshot| {
            let state = snapshot.frames.get(&frame).map(|frame| frame.state.clone()).unwrap_or_default();
            (snapshot.header.enterprise.clone(), snapshot.header.workflow.clone(), state)
        })
        .await
    }

    /// Waits for a running step, its time limit, a heartbeat that does not come or the loss of its lease.
    async fn attend(
        &self,
        mut running: JoinHandle<Result<Progress, StepError>>,
        work: &ClaimedWork,
        claim: &Claim,
        frame: FrameId,
    ) -> Outcome {
        let visit = work.visit;
        loop {
            let heartbeat_by = work.heartbeat_s.map(|seconds| later(claim.last_beat(), Duration::from_secs(seconds)));
            let first = [heartbeat_by, work.deadline].into_iter().flatten().min();
            tokio::select! {
                biased;
                done = &mut running => {
                    return match done {
                        Ok(result) => finished(result, work, frame, self.clock.now()),
                        Err(failure) => panicked(failure, &work.name, frame, visit),
                    };
                }
                () = claim.until_lost() => {
                    running.abort();
                    return Outcome::Lost;
                }
                () = self.until(first) => {}
            }
            let now = self.clock.now();
            if work.deadline.is_some_and(|deadline| deadline <= now) {
                running.abort();
                return EventKind::TimedOut { frame, visit }.into();
            }
            let beat_by = work.heartbeat_s.map(|seconds| later(claim.last_beat(), Duration::from_secs(seconds)));
            if beat_by.is_some_and(|by| by <= now) {
                running.abort();
                return EventKind::HeartbeatMissed { frame, visit }.into();
            }
        }
    }

    /// Returns at a time, or never if there is none.
    async fn until(&self, time: Option<DateTime<Utc>>) {
        match time {
            Some(time) => {
                self.clock.sleep(time.signed_duration_since(self.clock.now()).to_std().unwrap_or_default()).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Makes an outcome durable, however long the store cannot be written to: the lease may pass meanwhile, and then the
    /// work is somebody else's.
    async fn settle(
        self: &Arc<Self>,
        work: &ClaimedWork,
        claim: &Claim,
        outcome: Outcome,
        permit: OwnedSemaphorePermit,
    ) {
        let mut permit = Some(permit);
        let mut wait = Duration::from_millis(50);
        loop {
            let done = match &outcome {
                Outcome::Lost => Err(StoreError::LeaseLost {
                    run: work.run.clone(),
                    frame: work.frame,
                    expected: work.fence,
                    found: None,
                }),
                Outcome::Said(say) => self.committer.commit(claim.word(say.clone())).await,
                Outcome::Happened { kind, records } => {
                    let answers = Answered { frame: work.frame, visit: work.visit, fence: work.fence };
                    let happening = Happening {
                        kind: kind.clone(),
                        records: records.clone(),
                        answers: Some(answers),
                        permit: if self.shares_room() { permit.take() } else { None },
                    };
                    match self.happen(&work.run, happening).await {
                        Ok(_) => Ok(()),
                        Err(MoveError::Store(error)) => Err(error),
                        Err(MoveError::Rejected(rejected)) => {
                            tracing::debug!(run.id = %work.run, reason = %rejected, "a result came too late and is dropped");
                            self.committer.commit(claim.word(Say::Drop)).await
                        }
                    }
                }
            };
            self.note(done.as_ref());
            match done {
                Ok(()) => {
                    if matches!(outcome, Outcome::Said(_)) {
                        self.wake.notify_one();
                    }
                    return;
                }
                Err(StoreError::LeaseLost { .. }) => {
                    self.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tracing::info!(run.id = %work.run, frame = work.frame, "the work is no longer this worker's; its result is dropped");
                    return;
                }
                Err(StoreError::NotFound { .. }) => return,
                Err(error) => {
                    if !matches!(error, StoreError::Unavailable { .. }) {
                        tracing::error!(run.id = %work.run, frame = work.frame, %error, "a result cannot be made durable");
                    }
                    self.clock.sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    /// Whether a step's successor may take its room at once. When others wait, one in four lets them go first.
    fn shares_room(&self) -> bool {
        !self.backlog.load(std::sync::atomic::Ordering::Relaxed) || !self.clock.chance().is_multiple_of(4)
    }
}

fn finished(result: Result<Progress, StepError>, work: &ClaimedWork, frame: FrameId, now: DateTime<Utc>) -> Outcome {
    let visit = work.visit;
    match result {
        Ok(Progress::Done { output, records }) => {
            let records = records
                .into_iter()
                .map(|record| NewRecord {
                    collection: record.collection.to_owned(),
                    key: record.key,
                    body: record.body,
                })
                .collect();
            Outcome::Happened { kind: EventKind::StepSucceeded { frame, visit, output: output.into() }, records }
        }
        Ok(Progress::Pending { poll_after, checkpoint, waiting_for }) => {
            // The time limit holds while the step waits: it is looked at again no later than that.
            let due_at = later(now, poll_after);
            let due_at = work.deadline.map_or(due_at, |deadline| due_at.min(deadline));
            Outcome::Said(Say::Pending { due_at, checkpoint, waiting_for })
        }
        // Somebody else has the work and will say what came of it.
        Err(failure) if failure.error == "Keyferry.LeaseLost" => Outcome::Lost,
        Err(failure) => EventKind::StepFailed { frame, visit, error: failure.error, cause: failure.cause }.into(),
    }
}

fn panicked(failure: tokio::task::JoinError, step: &str, frame: FrameId, visit: u64) -> Outcome {
    let said = match failure.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "it said nothing".to_owned()),
        Err(failure) => failure.to_string(),
    };
    let cause = format!("the step {step} panicked: {said}; this is a defect of keyferry");
    EventKind::StepFailed { frame, visit, error: "Keyferry.Panicked".to_owned(), cause }.into()
}

/// What a word from the parent means.
fn signal(word: &str, body: &Value) -> EventKind {
    let said = |name: &str| body.get(name).cloned().unwrap_or_default();
    let actor = serde_json::from_value(said("actor"))
        .unwrap_or_else(|_| Actor { name: "keyferry".to_owned(), role: "system".to_owned() });
    let reason = said("reason").as_str().unwrap_or_default().to_owned();
    match word {
        "pause" => EventKind::Paused { actor, reason },
        "resume" => EventKind::Resumed { actor, reason },
        _ => EventKind::Cancelled { actor, reason },
    }
}
