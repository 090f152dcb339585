//! From turns to rows: what several turns of one run leave together, and the children that they start.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    core::{Core, later},
    runs::{Happening, State},
};
use crate::{
    engine::{
        Actor, ChildEnd, Command, Definition, Event, EventKind, Frame, FrameId, Header, Notice, Payload, Phase,
        Snapshot, Turn, advance,
    },
    store::{
        Answered, Blobs, ClaimAtOnce, ClaimedWork, Happened, KeyUse, NewRecord, ParentLink, RUN_TIMER, SIGNAL, Sealed,
        Signal, Start, StoreError, Transition, Word, WorkKind, WorkOrder, seal,
    },
};

/// A child run to start.
struct NewChild {
    frame: FrameId,
    visit: u64,
    workflow: String,
    input: Payload,
}

/// Turns of one run, folded together.
pub(super) struct Folded {
    expected: u64,
    start: Option<Start>,
    at: DateTime<Utc>,
    events: Vec<Happened>,
    changed: BTreeMap<FrameId, Frame>,
    removed: BTreeSet<FrameId>,
    work: BTreeMap<i64, Option<WorkOrder>>,
    hold: Option<bool>,
    signals: Vec<Signal>,
    notices: Vec<Notice>,
    records: Vec<NewRecord>,
    answers: Vec<Answered>,
    keys: Vec<KeyUse>,
    children: Vec<NewChild>,
}

/// A group that is ready to be committed, and what follows from its being durable.
pub(super) struct Ready {
    pub(super) group: Vec<Sealed>,
    /// Work that the commit claims for this process, each with its room.
    pub(super) claimed: Vec<(ClaimedWork, OwnedSemaphorePermit)>,
    /// Other work is written that will be due.
    pub(super) wakes: bool,
    /// Workflows of the runs that begin.
    pub(super) started: Vec<String>,
    /// Frames that nothing helps but an engineer.
    pub(super) attention: Vec<InAttention>,
    /// Runs that have ended.
    pub(super) ended: Vec<Header>,
    /// Frames of the first run whose earlier work is over; whoever executes it should stop.
    pub(super) over: Over,
}

/// A frame that has come into attention.
pub(super) struct InAttention {
    pub(super) run: String,
    pub(super) state: String,
    pub(super) error: String,
}

/// Whose claims a commit ends.
pub(super) enum Over {
    /// Each with the fence below which a claim is an earlier one.
    Frames(Vec<(i64, u64)>),
    Run,
}

fn work_frame(frame: FrameId) -> i64 {
    i64::try_from(frame).unwrap_or(i64::MAX)
}

/// The frame and visit that an event answers: its work is done with, whether or not other work follows.
fn answered_frame(kind: &EventKind) -> Option<(FrameId, u64)> {
    match kind {
        EventKind::StepSucceeded { frame, visit, .. }
        | EventKind::StepFailed { frame, visit, .. }
        | EventKind::StepCrashed { frame, visit, .. }
        | EventKind::TimedOut { frame, visit }
        | EventKind::Overdue { frame, visit, .. }
        | EventKind::HeartbeatMissed { frame, visit }
        | EventKind::TimerFired { frame, visit }
        | EventKind::FormAnswered { frame, visit, .. }
        | EventKind::ChildEnded { frame, visit, .. } => Some((*frame, *visit)),
        EventKind::Started { .. }
        | EventKind::RunTimedOut
        | EventKind::Retried { .. }
        | EventKind::Skipped { .. }
        | EventKind::Paused { .. }
        | EventKind::Resumed { .. }
        | EventKind::Cancelled { .. } => None,
    }
}

impl Folded {
    pub(super) fn new(before: &Snapshot) -> Self {
        Self::from(before.header.revision, None, before.header.started_at)
    }

    fn from(expected: u64, start: Option<Start>, at: DateTime<Utc>) -> Self {
        Self {
            expected,
            start,
            at,
            events: Vec::new(),
            changed: BTreeMap::new(),
            removed: BTreeSet::new(),
            work: BTreeMap::new(),
            hold: None,
            signals: Vec::new(),
            notices: Vec::new(),
            records: Vec::new(),
            answers: Vec::new(),
            keys: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Takes a turn in. `before` is the snapshot that it was made from. Returns whether it must be the last of its commit.
    pub(super) fn add(&mut self, before: &Snapshot, event: Event, turn: &Turn, happening: &Happening) -> bool {
        self.records.extend(happening.records.iter().cloned());
        self.notices.extend(happening.notices.iter().cloned());
        self.answers.extend(happening.answers.clone());
        self.keys.extend(happening.once.clone().map(|once| KeyUse {
            key: once.key,
            request: once.request,
            answer: json!({ "revision": turn.header.revision }),
        }));
        // A claim that is no frame's (the run's timer, a word from the parent) is done with as well.
        self.work.extend(happening.answers.iter().map(|answer| (answer.frame, None)));
        self.words_for_children(before, &event, turn);
        self.take(event, turn)
    }

    /// What the turn means for children: those of frames that no longer wait for them, and of a run that ends, are
    /// cancelled; pause and resume reach them all.
    fn words_for_children(&mut self, before: &Snapshot, event: &Event, turn: &Turn) {
        let system = Actor { name: "keyferry".to_owned(), role: "system".to_owned() };
        let body = |actor: &Actor, reason: &str| json!({ "actor": actor, "reason": reason });
        let to_all = match &event.kind {
            EventKind::Paused { actor, reason } => Some((Word::Pause, body(actor, reason))),
            EventKind::Resumed { actor, reason } => Some((Word::Resume, body(actor, reason))),
            EventKind::Cancelled { actor, reason } => Some((Word::Cancel, body(actor, reason))),
            _ if turn.header.outcome.is_some() => {
                Some((Word::Cancel, body(&system, "the run that waited for it has ended")))
            }
            _ => None,
        };
        self.signals.extend(to_all.map(|(word, body)| Signal { frame: None, word, body }));
        let ended = match &event.kind {
            EventKind::ChildEnded { frame, .. } => Some(*frame),
            _ => None,
        };
        let left = turn.changed.iter().map(|frame| frame.id).chain(turn.removed.iter().copied());
        for frame in left.filter(|frame| Some(*frame) != ended) {
            let Some(old) = before.frames.get(&frame) else { continue };
            if !matches!(old.phase, Phase::Child { .. }) {
                continue;
            }
            let stays =
                turn.changed.iter().any(|new| new.id == frame && new.visit == old.visit && new.phase == old.phase);
            if !stays {
                let body = body(&system, "the state that waited for it was left");
                self.signals.push(Signal { frame: Some((frame, old.visit)), word: Word::Cancel, body });
            }
        }
        if matches!(event.kind, EventKind::Paused { .. } | EventKind::Resumed { .. }) {
            self.hold = Some(turn.header.paused);
        }
    }

    fn take(&mut self, event: Event, turn: &Turn) -> bool {
        self.at = event.at;
        if let Some((frame, _)) = answered_frame(&event.kind) {
            self.work.insert(work_frame(frame), None);
        }
        let entered = turn.entered.iter().map(|entered| entered.state.clone()).collect();
        self.events.push(Happened { event, entered });
        for frame in &turn.removed {
            self.changed.remove(frame);
            self.removed.insert(*frame);
            self.work.insert(work_frame(*frame), None);
        }
        self.changed.extend(turn.changed.iter().map(|frame| (frame.id, frame.clone())));
        let mut starts = false;
        for command in &turn.commands {
            starts |= matches!(command, Command::StartChild { .. });
            self.command(command);
        }
        starts
    }

    fn command(&mut self, command: &Command) {
        let blank =
            |visit: u64, kind: WorkKind, name: &str, input: &Payload, due_at: Option<DateTime<Utc>>| WorkOrder {
                visit,
                kind,
                name: name.to_owned(),
                input: input.clone(),
                due_at,
                timeout_s: None,
                heartbeat_s: None,
                claim: None,
            };
        let nothing = Payload::from(serde_json::Value::Null);
        let (frame, order) = match command {
            Command::RunStep { frame, visit, step, input, due_at, timeout_s, heartbeat_s } => {
                let order = blank(*visit, WorkKind::Step, step, input, Some(*due_at));
                (work_frame(*frame), Some(WorkOrder { timeout_s: *timeout_s, heartbeat_s: *heartbeat_s, ..order }))
            }
            Command::SetTimer { frame, visit, due_at } => {
                (work_frame(*frame), Some(blank(*visit, WorkKind::Timer, "", &nothing, Some(*due_at))))
            }
            Command::OpenForm { frame, visit, form, input, until } => {
                (work_frame(*frame), Some(blank(*visit, WorkKind::Form, form, input, *until)))
            }
            Command::StartChild { frame, visit, workflow, input, until } => {
                let child = NewChild { frame: *frame, visit: *visit, workflow: workflow.clone(), input: input.clone() };
                self.children.push(child);
                (work_frame(*frame), Some(blank(*visit, WorkKind::Child, workflow, &nothing, *until)))
            }
            Command::Forget { frame } => (work_frame(*frame), None),
            Command::SetRunTimer { due_at } => {
                (RUN_TIMER, Some(blank(0, WorkKind::RunTimer, "", &nothing, Some(*due_at))))
            }
            Command::Tell { notice } => {
                self.notices.push(notice.clone());
                return;
            }
        };
        self.work.insert(frame, order);
    }
}

/// A run that begins: its first turn, folded, and the state it is left in.
pub(super) struct Beginning {
    pub(super) folded: Folded,
    pub(super) state: State,
}

/// Who begins a run, and as what.
pub(super) struct Begin {
    pub(super) enterprise: String,
    pub(super) workflow: String,
    pub(super) input: Payload,
    pub(super) actor: Actor,
    pub(super) start: Start,
}

/// Makes a run's first turn.
///
/// # Errors
/// The engine refused it, which it does for no definition that loaded.
pub(super) fn begin(core: &Core, definition: Arc<Definition>, asked: Begin) -> Result<Beginning, StoreError> {
    let event = Event {
        at: core.clock.now(),
        chance: core.clock.chance(),
        kind: EventKind::Started {
            run: core.clock.new_id(),
            enterprise: asked.enterprise,
            workflow: asked.workflow,
            definition: definition.hash.clone(),
            input: asked.input,
            actor: asked.actor,
        },
    };
    let turn = advance(&definition, None, &event).map_err(|rejected| StoreError::corrupt("definition", rejected))?;
    let snapshot = Snapshot::begin(&turn);
    let mut folded = Folded::from(0, Some(asked.start), event.at);
    folded.take(event, &turn);
    Ok(Beginning { folded, state: State { snapshot, definition, blobs: Blobs::default() } })
}

/// Seals a run's turns and the first turns of the children that they start, of their children, and so on.
pub(super) fn seal_all(
    core: &Core,
    folded: Folded,
    state: &mut State,
    permits: Vec<OwnedSemaphorePermit>,
) -> Result<Ready, StoreError> {
    let over = if state.snapshot.header.outcome.is_some() {
        Over::Run
    } else {
        let first = Transition::first_fence(state.snapshot.header.revision);
        // A parent's word has a fence of the parent's counting: the one that is over is the one that was answered.
        let of_word = |frame| folded.answers.iter().find(|answer| answer.frame == frame).map(|answer| answer.fence + 1);
        let below = |frame: &i64| if *frame == SIGNAL { of_word(SIGNAL).unwrap_or(0) } else { first };
        Over::Frames(folded.work.keys().map(|frame| (*frame, below(frame))).collect())
    };
    let mut ready = Ready {
        group: Vec::new(),
        claimed: Vec::new(),
        wakes: false,
        started: Vec::new(),
        attention: Vec::new(),
        ended: Vec::new(),
        over,
    };
    let mut room = Room { core, permits, claiming: core.claiming() };
    seal_one(core, folded, state, &mut room, &mut ready)?;
    Ok(ready)
}

/// Seals a run that begins in the commit of others.
pub(super) fn seal_with(core: &Core, beginning: Beginning, ready: &mut Ready) -> Result<(), StoreError> {
    let Beginning { folded, mut state } = beginning;
    let mut room = Room { core, permits: Vec::new(), claiming: core.claiming() };
    seal_one(core, folded, &mut state, &mut room, ready)
}

/// Room for work that is claimed at once.
struct Room<'a> {
    core: &'a Core,
    /// Of the steps whose results are being committed.
    permits: Vec<OwnedSemaphorePermit>,
    claiming: bool,
}

impl Room<'_> {
    fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        if !self.claiming {
            return None;
        }
        self.permits.pop().or_else(|| {
            let room = *self.core.executing.borrow() < self.core.most_at_once();
            room.then(|| Arc::clone(&self.core.room).try_acquire_owned().ok()).flatten()
        })
    }
}

fn seal_one(
    core: &Core,
    mut folded: Folded,
    state: &mut State,
    room: &mut Room<'_>,
    ready: &mut Ready,
) -> Result<(), StoreError> {
    let header = state.snapshot.header.clone();
    let children = std::mem::take(&mut folded.children);
    for child in &children {
        if core.definitions.get(&child.workflow).is_none() {
            // Whoever claims the work finds no child and fails the state.
            if let Some(Some(order)) = folded.work.get_mut(&work_frame(child.frame)) {
                order.due_at = Some(folded.at);
            }
        }
    }
    if header.outcome.is_none() && !header.paused {
        claim_at_once(core, &mut folded, &header.run, header.revision, room, ready);
    }
    // A word to children, a run let go and a run's end all make work due that no order of this turn names.
    ready.wakes |= !folded.signals.is_empty() || folded.hold.is_some() || header.outcome.is_some();
    if folded.start.is_some() {
        ready.started.push(header.workflow.clone());
    }
    if header.outcome.is_some() {
        ready.ended.push(header.clone());
    }
    ready.attention.extend(folded.notices.iter().filter_map(|notice| match notice {
        Notice::Attention { state, error, .. } => {
            Some(InAttention { run: header.run.clone(), state: state.clone(), error: error.clone() })
        }
        Notice::FormOpened { .. } | Notice::Told { .. } | Notice::Ended { .. } => None,
    }));
    let transition = Transition {
        expected: folded.expected,
        start: folded.start,
        root: state.snapshot.frames.get(&0).cloned(),
        status: state.snapshot.standing(),
        header: header.clone(),
        events: folded.events,
        changed: folded.changed.into_values().collect(),
        removed: folded.removed.into_iter().collect(),
        work: folded.work,
        hold: folded.hold,
        signals: folded.signals,
        notices: folded.notices,
        records: folded.records,
        answers: folded.answers,
        keys: folded.keys,
        at: folded.at,
    };
    ready.group.push(seal(transition, &mut state.blobs)?);
    for child in children {
        let Some(definition) = core.definitions.get(&child.workflow) else { continue };
        let asked = Begin {
            enterprise: header.enterprise.clone(),
            workflow: child.workflow,
            input: child.input,
            actor: header.started_by.clone(),
            start: Start {
                parent: Some(ParentLink { run: header.run.clone(), frame: child.frame, visit: child.visit }),
                exclusive: false,
                idempotency: Vec::new(),
            },
        };
        let Beginning { folded, mut state } = begin(core, Arc::clone(definition), asked)?;
        seal_one(core, folded, &mut state, room, ready)?;
    }
    Ok(())
}

fn claim_at_once(core: &Core, folded: &mut Folded, run: &str, revision: u64, room: &mut Room<'_>, ready: &mut Ready) {
    let lease_until = later(folded.at, core.lease);
    for (frame, order) in &mut folded.work {
        let Some(order) = order else { continue };
        let Some(due_at) = order.due_at else { continue };
        let due = order.kind == WorkKind::Step && due_at <= folded.at;
        let Some(permit) = due.then(|| room.take()).flatten() else {
            ready.wakes = true;
            continue;
        };
        order.claim = Some(ClaimAtOnce { owner: core.owner.clone(), lease_until });
        let claimed = ClaimedWork {
            run: run.to_owned(),
            frame: *frame,
            visit: order.visit,
            kind: order.kind,
            name: order.name.clone(),
            input: Ok(order.input.clone()),
            due_at,
            fence: Transition::fence_at(revision),
            attempt: 1,
            crashes: 0,
            heartbeat_s: order.heartbeat_s,
            deadline: order.timeout_s.map(|seconds| later(folded.at, std::time::Duration::from_secs(seconds))),
            lease_until,
            checkpoint: None,
        };
        ready.claimed.push((claimed, permit));
    }
}

/// How a run's end is told to the frame that waits for it.
pub(super) fn child_end(snapshot: &Snapshot) -> Option<ChildEnd> {
    use crate::engine::Outcome;
    match snapshot.header.outcome.as_ref()? {
        Outcome::Succeeded { output } => Some(ChildEnd::Succeeded { output: output.clone() }),
        Outcome::Failed { error, cause } => Some(ChildEnd::Failed { error: error.clone(), cause: cause.clone() }),
        Outcome::Cancelled { reason } => Some(ChildEnd::Cancelled { reason: reason.clone() }),
    }
}
