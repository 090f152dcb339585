//! Moving runs: events in, turns through the engine, one commit for what came together.
//!
//! The snapshots of runs that move are kept in memory. The store is the truth: a commit that fails drops the copy, and one
//! that finds the store ahead reads it again. Events that come for a run while its last turns are being flushed are folded
//! together and share the next commit, so that a wide Map is not one flush an item.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::sync::{
    OwnedSemaphorePermit,
    oneshot::{self, error::TryRecvError},
};

use super::{
    core::{Core, lock},
    execute::Executing,
    held::Claim,
    meters::{By, Operation},
    turns::{self, Folded, InAttention},
};
use crate::{
    engine::{Definition, Event, EventKind, Header, Notice, Outcome, Rejected, Snapshot, Standing, Turn, advance},
    store::{Answered, Blobs, Idempotency, NewRecord, StoreError, Write},
    telemetry::traces,
};

/// Runs whose snapshots are kept.
const KEPT: usize = 4_096;
/// Frames up to which a run is quickly read again.
const NARROW: usize = 64;
/// Events that share one commit of a run.
const TOGETHER: usize = 256;

/// Something that happened to a run.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) kind: EventKind,
    pub(super) records: Vec<NewRecord>,
    pub(super) notices: Vec<Notice>,
    /// The claim that this is the result of.
    pub(super) answers: Option<Answered>,
    /// The idempotency key of the request that this answers.
    pub(super) once: Option<Idempotency>,
    /// The revisions that a person has seen: at another one nothing happens.
    pub(super) seen: Option<Vec<u64>>,
    /// Room that is free once this is durable: the next step may take it at once.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl From<EventKind> for Happening {
    fn from(kind: EventKind) -> Self {
        Self { kind, records: Vec::new(), notices: Vec::new(), answers: None, once: None, seen: None, permit: None }
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum MoveError {
    /// The run has moved since the person saw it.
    #[error("the run has changed since: its revision is {revision}")]
    Unseen { revision: u64 },
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The answer to a happening, with the happening itself when it shared a commit that failed and may be tried alone.
enum Answer {
    Durable(u64),
    Not(MoveError),
    Again(Box<Happening>),
}

/// A run in memory.
#[derive(Default)]
pub(super) struct Run {
    inbox: Mutex<Vec<(Happening, bool, oneshot::Sender<Answer>)>>,
    state: tokio::sync::Mutex<Option<State>>,
}

/// What is known of a run; taken out while it is being changed, so that a change that is cut off leaves nothing.
pub(super) struct State {
    pub(super) snapshot: Snapshot,
    pub(super) definition: Arc<Definition>,
    pub(super) blobs: Blobs,
}

/// The runs in memory.
#[derive(Default)]
pub(super) struct Hot {
    runs: Mutex<HashMap<String, (Arc<Run>, u64)>>,
    tick: std::sync::atomic::AtomicU64,
}

impl Hot {
    fn get(&self, run: &str) -> Arc<Run> {
        let tick = self.tick.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut runs = lock(&self.runs);
        if let Some((found, used)) = runs.get_mut(run) {
            *used = tick;
            return Arc::clone(found);
        }
        if runs.len() >= KEPT {
            // The older half goes at once, so that the search for what is oldest is paid once in many runs.
            let mut ages: Vec<u64> = runs.values().map(|(_, used)| *used).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            runs.retain(|_, (run, used)| *used > median || Arc::strong_count(run) > 1);
        }
        let fresh = Arc::new(Run::default());
        runs.insert(run.to_owned(), (Arc::clone(&fresh), tick));
        fresh
    }

    /// Keeps a run that has just begun.
    pub(super) fn keep(&self, run: &str, state: State) {
        if let Ok(mut slot) = self.get(run).state.try_lock() {
            *slot = Some(state);
        }
    }

    /// Lets go of a run, unless somebody besides the caller is about to move it.
    fn forget(&self, run: &str) {
        let mut runs = lock(&self.runs);
        if runs.get(run).is_some_and(|(found, _)| Arc::strong_count(found) <= 2) {
            runs.remove(run);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.runs).len()
    }
}

/// How a run ended, for metrics and traces.
pub(super) fn ended(header: &Header) -> Option<traces::Ended<'_>> {
    let (outcome, error) = match header.outcome.as_ref()? {
        Outcome::Succeeded { .. } => ("succeeded", None),
        Outcome::Failed { error, .. } => ("failed", Some(error.as_str())),
        Outcome::Cancelled { .. } => ("cancelled", None),
    };
    Some(traces::Ended {
        run: &header.run,
        enterprise: &header.enterprise,
        workflow: &header.workflow,
        started_at: header.started_at.into(),
        ended_at: header.ended_at.unwrap_or(header.started_at).into(),
        outcome,
        error,
    })
}

/// Whether nothing of a run is about to happen: it waits for people, for time or for others, perhaps for weeks, and there may
/// be a hundred thousand of them. A wide one is kept as long as there is room: each of its many timers would read it whole.
fn is_parked(snapshot: &Snapshot) -> bool {
    snapshot.header.outcome.is_some() || (snapshot.frames.len() <= NARROW && snapshot.standing() != Standing::Working)
}

/// The turn that an event makes, if the run stands where the person saw it.
fn moved(state: &State, event: &Event, seen: Option<&[u64]>) -> Result<Turn, MoveError> {
    let revision = state.snapshot.header.revision;
    if seen.is_some_and(|seen| !seen.contains(&revision)) {
        return Err(MoveError::Unseen { revision });
    }
    Ok(advance(&state.definition, Some(&state.snapshot), event)?)
}

impl Core {
    /// Folds something that happened into its run and returns the run's revision when that is durable.
    pub(super) async fn happen(self: &Arc<Self>, run: &str, happening: Happening) -> Result<u64, MoveError> {
        let mut happening = happening;
        let mut alone = false;
        for _ in 0..8 {
            let entry = self.hot.get(run);
            let (reply, mut answer) = oneshot::channel();
            lock(&entry.inbox).push((happening, alone, reply));
            let mut state = entry.state.lock().await;
            // Who had the run before may have taken this along; what was before this in the inbox goes first.
            let answered = loop {
                match answer.try_recv() {
                    Err(TryRecvError::Empty) => self.drain(run, &entry, &mut state).await,
                    Ok(answered) => break Some(answered),
                    Err(TryRecvError::Closed) => break None,
                }
            };
            drop(state);
            match answered {
                Some(Answer::Durable(revision)) => return Ok(revision),
                Some(Answer::Not(error)) => return Err(error),
                Some(Answer::Again(back)) => {
                    happening = *back;
                    alone = true;
                }
                None => break,
            }
        }
        let reason = format!("run {run} is moved by others all the time");
        Err(StoreError::Unavailable { reason }.into())
    }

    async fn drain(self: &Arc<Self>, run: &str, entry: &Run, slot: &mut Option<State>) {
        let mut waiting = Vec::new();
        {
            let mut inbox = lock(&entry.inbox);
            let together = if inbox.first().is_some_and(|(_, alone, _)| *alone) { 1 } else { TOGETHER };
            let many = inbox.len().min(together);
            waiting.extend(inbox.drain(..many));
        }
        let copied = slot.take();
        let is_copy = copied.is_some();
        let read = match copied {
            Some(state) => Ok(state),
            None => self.read(run).await,
        };
        let mut state = match read {
            Ok(state) => state,
            Err(error) => {
                for (_, _, reply) in waiting {
                    let _ = reply.send(Answer::Not(error.clone().into()));
                }
                return;
            }
        };
        let mut folded = Folded::new(&state.snapshot);
        let mut replies = Vec::new();
        let mut doubted = false;
        let mut waiting = waiting.into_iter();
        for (happening, _, reply) in waiting.by_ref() {
            let event = Event { at: self.clock.now(), chance: self.clock.chance(), kind: happening.kind.clone() };
            match moved(&state, &event, happening.seen.as_deref()) {
                Ok(turn) => {
                    let last = folded.add(&state.snapshot, event, &turn, &happening);
                    state.snapshot.apply(&turn);
                    replies.push((happening, reply));
                    if last {
                        break;
                    }
                }
                // Another process may have moved the run since this copy was kept: the store has the last word.
                Err(_) if is_copy => {
                    let _ = reply.send(Answer::Again(Box::new(happening)));
                    doubted = true;
                }
                Err(rejected) => {
                    let _ = reply.send(Answer::Not(rejected));
                }
            }
        }
        // A turn that starts a child ends the batch; what is left goes first the next time.
        lock(&entry.inbox).splice(0..0, waiting);
        if replies.is_empty() {
            *slot = (!doubted).then_some(state);
            return;
        }
        let permits = replies.iter_mut().filter_map(|(happening, _)| happening.permit.take()).collect();
        let outcome = self.flush(folded, &mut state, permits).await;
        self.answer(run, outcome, replies, state, slot);
        if doubted {
            *slot = None;
        }
    }

    fn answer(
        &self,
        run: &str,
        outcome: Result<(), StoreError>,
        replies: Vec<(Happening, oneshot::Sender<Answer>)>,
        state: State,
        slot: &mut Option<State>,
    ) {
        self.note(outcome.as_ref());
        match outcome {
            Ok(()) => {
                let revision = state.snapshot.header.revision;
                let parked = is_parked(&state.snapshot);
                *slot = Some(state);
                for (_, reply) in replies {
                    let _ = reply.send(Answer::Durable(revision));
                }
                self.announce(run, revision);
                if parked {
                    self.hot.forget(run);
                }
            }
            Err(error) => {
                let many = replies.len() > 1;
                for (happening, reply) in replies {
                    let again = many || matches!(error, StoreError::Conflict { .. });
                    let answer =
                        if again { Answer::Again(Box::new(happening)) } else { Answer::Not(error.clone().into()) };
                    let _ = reply.send(answer);
                }
            }
        }
    }

    /// Tells operators what has become durable.
    fn tell(&self, started: &[String], attention: &[InAttention], over: &[Header]) {
        started.iter().for_each(|workflow| self.meters.started(workflow));
        for InAttention { run, state, error } in attention {
            tracing::warn!(run.id = %run, state = %state, error = %error, "the run stands in attention");
        }
        for ended in over.iter().filter_map(ended) {
            self.meters.ended(ended.workflow, ended.outcome);
            traces::run_ended(ended);
        }
    }

    /// Commits what was folded; work that is due now is claimed in the same commit as far as there is room, and executed
    /// after it.
    async fn flush(
        self: &Arc<Self>,
        folded: Folded,
        state: &mut State,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<(), StoreError> {
        let _counted = Executing::new(self);
        let successor = self.put_back_after(&state.snapshot.header).await?;
        let mut sealed = turns::seal_all(self, folded, state, permits)?;
        if let Some(successor) = successor {
            turns::seal_with(self, successor, &mut sealed)?;
        }
        self.committer.commit(Write::Turns(sealed.group)).await?;
        self.tell(&sealed.started, &sealed.attention, &sealed.ended);
        self.held.end(&state.snapshot.header.run, &sealed.over);
        if sealed.wakes {
            self.wake.notify_one();
        }
        for (work, permit) in sealed.claimed {
            self.execute(work, permit, By::Commit);
        }
        Ok(())
    }

    /// Makes a new run durable and keeps it in memory.
    pub(super) async fn flush_new(
        self: &Arc<Self>,
        run: &str,
        folded: Folded,
        state: &mut State,
    ) -> Result<(), StoreError> {
        let _counted = Executing::new(self);
        let sealed = turns::seal_all(self, folded, state, Vec::new())?;
        self.committer.commit(Write::Turns(sealed.group)).await?;
        self.tell(&sealed.started, &sealed.attention, &sealed.ended);
        if !is_parked(&state.snapshot) {
            let kept = State {
                snapshot: state.snapshot.clone(),
                definition: Arc::clone(&state.definition),
                blobs: std::mem::take(&mut state.blobs),
            };
            self.hot.keep(run, kept);
        }
        self.announce(run, state.snapshot.header.revision);
        if sealed.wakes {
            self.wake.notify_one();
        }
        for (work, permit) in sealed.claimed {
            self.execute(work, permit, By::Commit);
        }
        Ok(())
    }

    /// Lets go of a run whose work waits for something outside, if this process has no other work of it.
    pub(super) fn cool(&self, claim: &Claim) {
        if !self.held.holds_other(claim) {
            self.hot.forget(&claim.run);
        }
    }

    /// Looks at a run's durable snapshot. A copy in which there is nothing to see is read anew: another process may have moved
    /// the run.
    pub(super) async fn look<T>(
        &self,
        run: &str,
        with: impl Fn(&Snapshot) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let entry = self.hot.get(run);
        let mut slot = entry.state.lock().await;
        if let Some(state) = slot.as_ref()
            && let Some(seen) = with(&state.snapshot)
        {
            return Ok(Some(seen));
        }
        // Taken out first: a read that fails or is cut off leaves nothing behind.
        *slot = None;
        let state = self.read(run).await?;
        let seen = with(&state.snapshot);
        *slot = Some(state);
        Ok(seen)
    }

    async fn read(&self, run: &str) -> Result<State, StoreError> {
        let begun = Instant::now();
        let loaded = self.store.load(run).await;
        self.meters.store(Operation::Load, begun, &loaded);
        let loaded = loaded?;
        let definition = self.definition(&loaded.snapshot.header.definition).await?;
        Ok(State { snapshot: loaded.snapshot, definition, blobs: Blobs::default() })
    }
}
