//! One piece of claimed work: run it, and make durable what came of it.

use std::{
    any::Any,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use chrono::{DateTime, Utc};
use fail::fail_point;
use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};
use tracing::Instrument as _;

use super::{
    Progress, StepContext, StepError,
    core::{Core, POLL_FLOOR, later},
    held::{Claim, End},
    host::{Host, UNAVAILABLE},
    meters::By,
    runs::{Happening, MoveError, ended},
    turns::child_end,
};
use crate::{
    engine::{Actor, ChildEnd, EventKind, FrameId, Notice, Rejected},
    store::{Answered, ClaimedWork, NewRecord, Say, StoreError, WorkKind},
    telemetry::traces,
};

/// How long work of a run that cannot be read is left alone.
const DAMAGED: Duration = Duration::from_secs(60);

/// How long a step has its slot for itself.
const BUSY: Duration = Duration::from_millis(250);

/// The last tries before a step is parked for killing its process, which it makes alone among its kind.
const ALONE: u32 = 3;

/// What came of a step's code: what it returned, or what it panicked with.
type Done = Result<Result<Progress, StepError>, Box<dyn Any + Send>>;

/// What came of a piece of work.
enum Outcome {
    Happened {
        kind: EventKind,
        records: Vec<NewRecord>,
        notices: Vec<Notice>,
    },
    Said(Say),
    /// Somebody else has it.
    Lost,
}

impl From<EventKind> for Outcome {
    fn from(kind: EventKind) -> Self {
        Self::Happened { kind, records: Vec::new(), notices: Vec::new() }
    }
}

impl Outcome {
    /// What metrics and traces call it, with the name of the error if it is a failure.
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Happened { kind: EventKind::StepSucceeded { .. }, .. } => ("done", ""),
            Self::Happened { kind: EventKind::StepFailed { error, .. }, .. } => ("failed", error),
            Self::Happened { kind: EventKind::StepCrashed { .. }, .. } => ("crashed", "Keyferry.StepCrashed"),
            Self::Happened { kind: EventKind::TimedOut { .. }, .. } => ("timed-out", "States.Timeout"),
            Self::Happened { kind: EventKind::HeartbeatMissed { .. }, .. } => {
                ("heartbeat-missed", "States.HeartbeatTimeout")
            }
            // A step comes to none of the other events.
            Self::Happened { .. } => ("other", ""),
            Self::Said(Say::Pending { .. }) => ("pending", ""),
            Self::Said(Say::Release { .. }) => ("released", ""),
            Self::Said(Say::Drop | Say::Renew { .. } | Say::Checkpoint { .. }) => ("dropped", ""),
            Self::Lost => ("lost", ""),
        }
    }
}

/// What log lines inside of a step are about. Its level is that of an error so that no filter takes the run's identifier
/// from lines that pass; it has no parent because the commit of the step before it may have begun it.
fn span_of(work: &ClaimedWork) -> tracing::Span {
    tracing::error_span!(
        parent: None,
        "step",
        run.id = %work.run,
        step.name = %work.name,
        step.frame = work.frame,
        step.visit = work.visit,
        step.attempt = work.attempt,
        enterprise = tracing::field::Empty,
    )
}

fn begin_trace(work: &ClaimedWork, context: &StepContext) -> traces::StepSpan {
    traces::step(traces::Step {
        run: &work.run,
        enterprise: &context.enterprise,
        workflow: &context.workflow,
        state: &context.state,
        name: &work.name,
        frame: context.frame,
        visit: work.visit,
        attempt: work.attempt,
    })
}

/// Counts as executing for as long as it lives: a piece of work, or a commit that may claim one. A process has drained when
/// there is none.
pub(super) struct Executing(Arc<Core>);

impl Executing {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        core.executing.send_modify(|count| *count += 1);
        Self(Arc::clone(core))
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.executing.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Core {
    /// Executes claimed work on a task of its own.
    pub(super) fn execute(self: &Arc<Self>, work: ClaimedWork, permit: OwnedSemaphorePermit, by: By) {
        let core = Arc::clone(self);
        let counted = Executing::new(self);
        let now = core.clock.now();
        core.meters.claim(work.kind, by, now.signed_duration_since(work.due_at).to_std().unwrap_or_default());
        let claim = Arc::new(Claim::new(&work, now));
        core.held.add(&claim);
        tokio::spawn(async move {
            let mut permit = Some(permit);
            let outcome = core.come_of(&work, &claim, &mut permit).await;
            core.settle(&work, &claim, outcome, permit).await;
            core.held.remove(&claim);
            drop(counted);
            // There is room again, if somebody waits for it.
            if core.backlog.load(Ordering::SeqCst) {
                core.wake.notify_one();
            }
        });
    }

    async fn come_of(
        self: &Arc<Self>,
        work: &ClaimedWork,
        claim: &Arc<Claim>,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> Outcome {
        let visit = work.visit;
        let frame = FrameId::try_from(work.frame).unwrap_or(0);
        match work.kind {
            WorkKind::Step => {
                let outcome = self.step(work, claim, frame, permit).instrument(span_of(work)).await;
                let (word, error) = outcome.words();
                self.meters.step_came_to(&work.name, word, error);
                outcome
            }
            WorkKind::Timer => EventKind::TimerFired { frame, visit }.into(),
            WorkKind::Form => EventKind::TimedOut { frame, visit }.into(),
            WorkKind::RunTimer => EventKind::RunTimedOut.into(),
            WorkKind::Child => self.child(work, frame).await,
            WorkKind::Signal => match &work.input {
                Ok(said) => signal(&work.name, said).into(),
                Err(error) => self.unreadable(work, error),
            },
        }
    }

    /// Work of a run that the store cannot read: it stays, out of the way of the others.
    fn unreadable(&self, work: &ClaimedWork, error: &StoreError) -> Outcome {
        tracing::error!(run.id = %work.run, frame = work.frame, %error, "work cannot be done: what is stored of it is damaged");
        Outcome::Said(Say::Release { due_at: later(self.clock.now(), DAMAGED) })
    }

    async fn child(&self, work: &ClaimedWork, frame: FrameId) -> Outcome {
        let visit = work.visit;
        let retry = |core: &Self| Outcome::Said(Say::Release { due_at: later(core.clock.now(), core.poll) });
        let Ok(children) = self.store.children(&work.run).await else { return retry(self) };
        let Some(child) = children.into_iter().find(|child| child.frame == frame && child.visit == visit) else {
            let cause = format!(
                "there is no workflow {} in this installation of keyferry: install its definition, then retry",
                work.name
            );
            let end = ChildEnd::Failed { error: "Keyferry.UnknownWorkflow".to_owned(), cause };
            return EventKind::ChildEnded { frame, visit, child: String::new(), end }.into();
        };
        if child.open {
            return EventKind::TimedOut { frame, visit }.into();
        }
        let Ok(loaded) = self.store.load(&child.run).await else { return retry(self) };
        if let Some(ended) = ended(&loaded.snapshot.header) {
            traces::child_ended(&work.run, ended);
        }
        match child_end(&loaded.snapshot) {
            Some(end) => EventKind::ChildEnded { frame, visit, child: child.run, end }.into(),
            None => retry(self),
        }
    }

    async fn step(
        self: &Arc<Self>,
        work: &ClaimedWork,
        claim: &Arc<Claim>,
        frame: FrameId,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> Outcome {
        let visit = work.visit;
        let now = self.clock.now();
        if work.crashes >= self.crash_limit {
            return EventKind::StepCrashed { frame, visit, crashes: work.crashes }.into();
        }
        if work.deadline.is_some_and(|deadline| deadline <= now) {
            return EventKind::TimedOut { frame, visit }.into();
        }
        // A process that dies is blamed on all that ran in it. What is about to be parked for it runs one at a time, so that the
        // step that kills its process is found and those beside it are not parked with it.
        let suspected = work.crashes >= self.crash_limit.saturating_sub(ALONE).max(1);
        let Ok(_alone) = suspected.then(|| self.suspects.try_acquire()).transpose() else {
            return Outcome::Said(Say::Release { due_at: later(now, self.poll) });
        };
        let Some(step) = self.steps.get(&work.name).cloned() else {
            let cause = format!(
                "no step {} is registered in this version of keyferry: run the version that has it, then retry",
                work.name
            );
            return EventKind::StepFailed { frame, visit, error: "Keyferry.UnknownStep".to_owned(), cause }.into();
        };
        let (enterprise, workflow, state) = match self.place(&work.run, frame, visit).await {
            Ok(Some(place)) => place,
            // The run has moved on, and who moved it has ended this claim.
            Ok(None) => return Outcome::Lost,
            Err(StoreError::NotFound { .. }) => return Outcome::Said(Say::Drop),
            Err(error @ StoreError::Corrupt { .. }) => return self.unreadable(work, &error),
            Err(_) => return Outcome::Said(Say::Release { due_at: later(now, self.poll) }),
        };
        let input = match &work.input {
            Ok(input) => Value::clone(input),
            Err(error) => return self.unreadable(work, error),
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
        let traced = begin_trace(work, &context);
        tracing::Span::current().record("enterprise", &context.enterprise);
        fail_point!("step::before");
        let code = async move { step.run(&context, input).await };
        let mut code = Box::pin(AssertUnwindSafe(code).catch_unwind().in_current_span());
        // Most steps wait for something, and do so on a task of their own; one that is done at once needs none.
        let outcome = match poll_fn(|context| Poll::Ready(code.as_mut().poll(context))).await {
            Poll::Ready(done) => finished(done, work, frame, self.clock.now()),
            Poll::Pending => {
                let running = tokio::spawn(code);
                let attended = self.attend(running, work, claim, frame);
                self.lend_slot(permit, attended).await
            }
        };
        fail_point!("step::after_effect");
        let took = self.clock.now().signed_duration_since(now).to_std().unwrap_or_default();
        self.meters.step_took(&work.name, took);
        if let Outcome::Happened { kind: EventKind::StepFailed { error, cause, .. }, .. } = &outcome {
            tracing::info!(error = %error, cause = %cause, "the step failed");
        }
        let (word, error) = outcome.words();
        traced.end(word, error);
        outcome
    }

    /// Enterprise, workflow and state of a frame in a visit; `None` when it is there no more.
    async fn place(
        self: &Arc<Self>,
        run: &str,
        frame: FrameId,
        visit: u64,
    ) -> Result<Option<(String, String, String)>, StoreError> {
        self.look(run, |snapshot| {
            let found = snapshot.frames.get(&frame).filter(|found| found.visit == visit)?;
            Some((snapshot.header.enterprise.clone(), snapshot.header.workflow.clone(), found.state.clone()))
        })
        .await
    }

    /// Lets others have the slot of a step that waits for something outside of this process: what it waits for may be silent,
    /// and a process whose slots were all held by silence would do nothing else.
    async fn lend_slot<T>(&self, permit: &mut Option<OwnedSemaphorePermit>, step: impl Future<Output = T>) -> T {
        let mut step = pin!(step);
        tokio::select! {
            biased;
            outcome = &mut step => return outcome,
            () = self.clock.sleep(BUSY) => {}
        }
        drop(permit.take());
        if self.backlog.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
        step.await
    }

    /// Waits for a running step, its time limit, a heartbeat that does not come or the loss of its lease.
    async fn attend(
        &self,
        mut running: JoinHandle<Done>,
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
                    let done = done.unwrap_or_else(|failure| Err(Box::new(failure.to_string())));
                    return finished(done, work, frame, self.clock.now());
                }
                end = claim.until_ended() => {
                    running.abort();
                    if end != End::Stopped {
                        return Outcome::Lost;
                    }
                    // The step is really over before its work is free, so that it cannot act beside its successor.
                    let _ = running.await;
                    return Outcome::Said(Say::Release { due_at: self.clock.now() });
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
            Some(time) => self.clock.sleep_until(time).await,
            None => std::future::pending().await,
        }
    }

    /// Makes an outcome durable, however long the store cannot be written to. The lease may pass meanwhile; as long as nobody
    /// else has claimed the work, and this process renews what it holds before it claims, its fence holds.
    async fn settle(
        self: &Arc<Self>,
        work: &ClaimedWork,
        claim: &Claim,
        outcome: Outcome,
        mut permit: Option<OwnedSemaphorePermit>,
    ) {
        let mut wait = Duration::from_millis(50);
        loop {
            let healed = self.healed.notified();
            let done = match &outcome {
                Outcome::Lost => Err(StoreError::LeaseLost {
                    run: work.run.clone(),
                    frame: work.frame,
                    expected: work.fence,
                    found: None,
                }),
                Outcome::Said(say) => self.committer.commit(claim.word(say.clone())).await,
                Outcome::Happened { kind, records, notices } => {
                    let answers = Answered { frame: work.frame, visit: work.visit, fence: work.fence };
                    let happening = Happening {
                        records: records.clone(),
                        notices: notices.clone(),
                        answers: Some(answers),
                        permit: if self.shares_room() { permit.take() } else { None },
                        ..Happening::from(kind.clone())
                    };
                    match self.happen(&work.run, happening).await {
                        Ok(_) => Ok(()),
                        Err(MoveError::Store(error)) => Err(error),
                        // Only people's verbs say what was seen.
                        Err(MoveError::Unseen { revision: found }) => {
                            Err(StoreError::Conflict { run: work.run.clone(), expected: found, found })
                        }
                        // The frame is there and does not take the event now: a timer of which a clock that was set back says that
                        // it is early. The work stays; it is not over. (A word from the parent that does not fit is over.)
                        Err(MoveError::Rejected(rejected @ Rejected::Illegal { .. }))
                            if work.kind != WorkKind::Signal =>
                        {
                            tracing::warn!(run.id = %work.run, reason = %rejected, "a result does not fit yet; its work is tried again");
                            let due_at = later(self.clock.now(), self.poll);
                            self.committer.commit(claim.word(Say::Release { due_at })).await
                        }
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
                        self.cool(claim);
                        // It is due again, perhaps before the loop would look.
                        self.wake.notify_one();
                    }
                    return;
                }
                Err(StoreError::LeaseLost { found, .. }) => {
                    self.meters.lease_lost(found.is_some() || claim.is_taken());
                    tracing::info!(run.id = %work.run, frame = work.frame, "the work is no longer this worker's; its result is dropped");
                    return;
                }
                Err(StoreError::NotFound { .. }) => return,
                Err(error @ StoreError::Corrupt { .. }) => {
                    // Its run cannot be moved: it must not keep the room that others could use.
                    if let Outcome::Said(say) = self.unreadable(work, &error) {
                        let given_back = self.committer.commit(claim.word(say)).await;
                        self.note(given_back.as_ref());
                    }
                    return;
                }
                Err(error) => {
                    if !matches!(error, StoreError::Unavailable { .. }) {
                        tracing::error!(run.id = %work.run, frame = work.frame, %error, "a result cannot be made durable");
                    }
                    tokio::select! {
                        biased;
                        () = healed => {}
                        () = self.clock.sleep(wait) => {}
                    }
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    /// Whether a step's successor may take its room at once. When others wait, one in four lets them go first.
    fn shares_room(&self) -> bool {
        !self.backlog.load(Ordering::SeqCst) || !self.clock.chance().is_multiple_of(4)
    }
}

fn finished(done: Done, work: &ClaimedWork, frame: FrameId, now: DateTime<Utc>) -> Outcome {
    let visit = work.visit;
    let result = match done {
        Ok(result) => result,
        Err(payload) => return panicked(payload.as_ref(), &work.name, frame, visit),
    };
    match result {
        Ok(Progress::Done { output, records, told }) => {
            let records = records
                .into_iter()
                .map(|record| NewRecord {
                    collection: record.collection.to_owned(),
                    key: record.key,
                    body: record.body,
                })
                .collect();
            let notices = told
                .into_iter()
                .map(|told| Notice::Told { frame, visit, letter: told.letter.to_owned(), about: told.about.into() })
                .collect();
            Outcome::Happened {
                kind: EventKind::StepSucceeded { frame, visit, output: output.into() },
                records,
                notices,
            }
        }
        Ok(Progress::Pending { poll_after, checkpoint, waiting_for }) => {
            // The time limit holds while the step waits: it is looked at again no later than that.
            let due_at = later(now, poll_after);
            let due_at = work.deadline.map_or(due_at, |deadline| due_at.min(deadline));
            Outcome::Said(Say::Pending { due_at, checkpoint, waiting_for })
        }
        // Somebody else has the work and will say what came of it.
        Err(failure) if failure.error == "Keyferry.LeaseLost" => Outcome::Lost,
        // An outage of the store says nothing about the step: a definition must not see a failure for it.
        Err(failure) if failure.error == UNAVAILABLE => {
            tracing::info!(cause = %failure.cause, "the step could not reach the store; it is done again");
            Outcome::Said(Say::Release { due_at: later(now, POLL_FLOOR) })
        }
        Err(failure) => EventKind::StepFailed { frame, visit, error: failure.error, cause: failure.cause }.into(),
    }
}

fn panicked(payload: &(dyn Any + Send), step: &str, frame: FrameId, visit: u64) -> Outcome {
    let said = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned());
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
