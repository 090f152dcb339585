//! The laws, checked after every event against a mirror that the checker keeps itself: what the store shows is compared with
//! what it showed before, and with what was said to it in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    cloud::{Attempt, Cloud, Effect},
    hub::{Hub, Told},
};
use crate::{
    engine::{Definition, Event, EventKind, Outcome, Snapshot, advance},
    store::{
        Claim, ClaimedWork, RUN_TIMER, Sealed, StoreError, Write, chain, decode_event,
        memory::{Run, Tables, Work},
        micros,
    },
    worker::{OUTAGES, Outage, PUT_BACK},
};

/// The invariants of docs/reliability.md, by the numbers that they have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Law {
    NoLostAck = 1,
    OneEffect = 2,
    Fence = 3,
    History = 4,
    Liveness = 5,
    NoSecret = 6,
    DataSafe = 7,
    Timer = 8,
    Approval = 9,
    Bounded = 10,
    Audit = 11,
    Replay = 12,
    Outage = 13,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Violation {
    pub(super) law: Law,
    pub(super) text: String,
}

/// Microseconds by which a timer may be late in a world without faults.
const LATEST: i64 = 90_000_000;

/// A run as the checker knows it.
struct Mirror {
    definition: Arc<Definition>,
    snapshot: Option<Snapshot>,
    rows: usize,
    head: Vec<u8>,
    work: BTreeMap<i64, Work>,
    /// The highest fence that each frame's work has had.
    fences: BTreeMap<i64, u64>,
    /// The most attempts that were counted, by frame and visit.
    attempts: BTreeMap<(i64, u64), u32>,
    /// Timers that have had their effect, by frame and visit.
    fired: BTreeSet<(u64, u64)>,
    /// Checkpoints that steps were told are saved, by frame and visit.
    saved: BTreeMap<(u64, u64), u64>,
    /// Frames of which something came.
    answered: BTreeSet<u64>,
    approved: bool,
    /// It has been paused at some time.
    paused: bool,
}

pub(super) struct Checker {
    hub: Arc<Hub>,
    definitions: BTreeMap<String, Arc<Definition>>,
    runs: BTreeMap<String, Mirror>,
    told: Vec<Told>,
    pub(super) canary: String,
    pub(super) concurrency: usize,
    /// There are no faults: what is due is not late.
    pub(super) calm: bool,
    /// Microseconds by which the clocks of two processes may differ.
    pub(super) tolerance: i64,
    pub(super) violations: Vec<Violation>,
}

impl Checker {
    pub(super) fn new(hub: Arc<Hub>, definitions: BTreeMap<String, Arc<Definition>>) -> Self {
        Self {
            hub,
            definitions,
            runs: BTreeMap::new(),
            told: Vec::new(),
            canary: String::new(),
            concurrency: usize::MAX,
            calm: false,
            tolerance: 0,
            violations: Vec::new(),
        }
    }

    pub(super) fn broken(&mut self, law: Law, text: impl Into<String>) {
        self.violations.push(Violation { law, text: text.into() });
    }

    pub(super) fn committed(
        &mut self,
        tables: &Tables,
        batch: &[Write],
        outcomes: &Result<Vec<Result<(), StoreError>>, StoreError>,
    ) {
        match outcomes {
            Ok(outcomes) => {
                for (write, outcome) in batch.iter().zip(outcomes) {
                    match outcome {
                        Ok(()) => self.may(write),
                        Err(StoreError::LeaseLost { .. }) => self.hub.meet("fence refused"),
                        Err(StoreError::Conflict { .. }) => self.hub.meet("revision refused"),
                        Err(_) => self.hub.meet("start refused"),
                    }
                }
            }
            Err(error) => self.broken(Law::NoLostAck, format!("a whole batch was refused: {error}")),
        }
        self.look(tables);
    }

    /// Whether a write that the store took was its writer's to make, by what stood there before.
    fn may(&mut self, write: &Write) {
        let stands = |runs: &BTreeMap<String, Mirror>, run: &str, frame: i64| {
            let work = runs.get(run)?.work.get(&frame).filter(|work| work.lease.is_some())?;
            Some((work.visit, work.fence))
        };
        match write {
            Write::Word(word) => {
                let found = stands(&self.runs, &word.run, word.frame);
                if found != Some((word.visit, word.fence)) {
                    self.broken(Law::Fence, format!("{word:?} was taken, but {found:?} stood there"));
                }
            }
            Write::Turns(group) => {
                for turn in group {
                    let revision = self.runs.get(&turn.run).map_or(0, |run| u64::try_from(run.rows).unwrap_or(0));
                    if revision != turn.expected {
                        let text = format!("a turn of {} onto {} was taken at {revision}", turn.run, turn.expected);
                        self.broken(Law::Fence, text);
                    }
                    for answer in &turn.answers {
                        let found = stands(&self.runs, &turn.run, answer.frame);
                        if found != Some((answer.visit, answer.fence)) {
                            let text = format!("{}: {answer:?} was taken, but {found:?} stood there", turn.run);
                            self.broken(Law::Fence, text);
                        }
                    }
                    self.bounded(turn);
                    self.answered(turn);
                }
            }
        }
    }

    /// What comes of work comes with the claim of it: else a late worker's result would be as good as any.
    fn answered(&mut self, turn: &Sealed) {
        let events = turn.history.iter().filter_map(|(event, _)| decode_event(event).ok());
        let without: Vec<EventKind> = events
            .map(|event| event.kind)
            .filter(|kind| {
                of_work(kind).is_some_and(|(frame, visit)| {
                    let frame = i64::try_from(frame).unwrap_or(i64::MAX);
                    !turn.answers.iter().any(|answer| (answer.frame, answer.visit) == (frame, visit))
                })
            })
            .collect();
        for kind in without {
            self.broken(Law::Fence, format!("{}: {kind:?} was taken without its claim", turn.run));
        }
    }

    fn bounded(&mut self, turn: &Sealed) {
        if turn.history.len() > 256 {
            self.broken(Law::Bounded, format!("{} events of {} in one turn", turn.history.len(), turn.run));
        }
    }

    pub(super) fn claimed(&mut self, tables: &Tables, asked: &Claim, claimed: &[ClaimedWork]) {
        if claimed.len() > usize::try_from(asked.limit).unwrap_or(usize::MAX) {
            self.broken(Law::Bounded, format!("{} pieces of work for room for {}", claimed.len(), asked.limit));
        }
        for work in claimed {
            let before = self.runs.get(&work.run).and_then(|run| run.work.get(&work.frame)).cloned();
            let Some(before) = before else {
                self.broken(Law::Audit, format!("work of {} frame {} that was not there", work.run, work.frame));
                continue;
            };
            let now = asked.now.timestamp_micros();
            match &before.lease {
                None if before.due_at.is_none_or(|due| due > now) => {
                    self.broken(Law::Timer, format!("{} frame {} was claimed before it is due", work.run, work.frame));
                }
                Some(lease) if lease.until > now => {
                    self.broken(Law::Fence, format!("{} frame {} is another's", work.run, work.frame));
                }
                Some(_) => self.hub.meet("claimed after a crash"),
                None => {}
            }
            if work.attempt != before.attempt + 1 {
                self.broken(Law::Audit, format!("attempt {} after {}", work.attempt, before.attempt));
            }
            if work.fence <= before.fence || before.held {
                self.broken(Law::Fence, format!("{} frame {}: fence {} again", work.run, work.frame, work.fence));
            }
        }
        self.look(tables);
    }

    pub(super) fn expired(&mut self, tables: &Tables) {
        self.look(tables);
    }

    /// Compares what the store shows with the mirror, and takes it over.
    fn look(&mut self, tables: &Tables) {
        for run in &tables.runs {
            if !self.runs.contains_key(&run.id) {
                let Some(definition) = self.definitions.get(&run.definition).cloned() else {
                    self.broken(Law::Replay, format!("{} has a definition that nobody knows", run.id));
                    continue;
                };
                let mirror = Mirror {
                    definition,
                    snapshot: None,
                    rows: 0,
                    head: Vec::new(),
                    work: BTreeMap::new(),
                    fences: BTreeMap::new(),
                    attempts: BTreeMap::new(),
                    fired: BTreeSet::new(),
                    saved: BTreeMap::new(),
                    answered: BTreeSet::new(),
                    approved: false,
                    paused: false,
                };
                self.runs.insert(run.id.clone(), mirror);
            }
            let Some(mut mirror) = self.runs.remove(&run.id) else { continue };
            if let Err(violation) = self.compare(tables, run, &mut mirror) {
                self.violations.push(violation);
            }
            self.runs.insert(run.id.clone(), mirror);
        }
        if self.runs.len() != tables.runs.len() {
            self.broken(Law::NoLostAck, "a run is gone");
        }
        self.planned(tables);
    }

    /// What is out of service is so by a run that is open, or is being put back by one.
    fn planned(&mut self, tables: &Tables) {
        let open = |run: &&Run| run.ended_at.is_none();
        let put_back = |enterprise: &str| {
            tables.runs.iter().filter(open).any(|run| run.workflow == PUT_BACK && run.enterprise == enterprise)
        };
        let mut left = Vec::new();
        for ((enterprise, collection, _), record) in &tables.records {
            if collection != OUTAGES {
                continue;
            }
            let Ok(outage) = serde_json::from_value::<Outage>(record.body.clone()) else { continue };
            let by = tables.runs.iter().filter(open).any(|run| run.id == outage.run);
            if outage.is_open() && !by && !put_back(enterprise) {
                left.push(format!(
                    "{} was left out of service by {}, and nobody puts it back",
                    outage.system, outage.run
                ));
            }
        }
        for text in left {
            self.broken(Law::Outage, text);
        }
    }

    fn compare(&self, tables: &Tables, run: &Run, mirror: &mut Mirror) -> Result<(), Violation> {
        let broken = |law, text: String| Violation { law, text: format!("{}: {text}", run.id) };
        if run.history.len() < mirror.rows
            || mirror.rows > 0 && run.history.get(mirror.rows - 1).is_none_or(|row| row.hash != mirror.head)
        {
            return Err(broken(Law::NoLostAck, "rows of history are gone or were changed".to_owned()));
        }
        let moved = run.history.len() > mirror.rows;
        for row in run.history.iter().skip(mirror.rows) {
            mirror.head = chain(&mirror.head, &row.event, &row.entered);
            if mirror.head != row.hash {
                return Err(broken(Law::History, "the chain of hashes does not hold".to_owned()));
            }
            let event = decode_event(&row.event).map_err(|error| broken(Law::Replay, error.to_string()))?;
            self.timely(run, mirror, &event)?;
            note(mirror, &event);
            let turn = advance(&mirror.definition, mirror.snapshot.as_ref(), &event)
                .map_err(|rejected| broken(Law::History, format!("{event:?} does not fit: {rejected}")))?;
            // What ends a frame's branch from outside is the outcome of what the frame did.
            mirror.answered.extend(turn.removed.iter().copied());
            match &mut mirror.snapshot {
                Some(snapshot) => snapshot.apply(&turn),
                None => mirror.snapshot = Some(Snapshot::begin(&turn)),
            }
            mirror.rows += 1;
        }
        if moved {
            let loaded = tables.load(&run.id).map_err(|error| broken(Law::Replay, error.to_string()))?;
            if Some(&loaded.snapshot) != mirror.snapshot.as_ref() {
                return Err(broken(Law::History, "the snapshot is not what the history folds to".to_owned()));
            }
        }
        if moved || run.work != mirror.work {
            work(run, mirror)?;
        }
        Ok(())
    }

    /// Timers and limits are never early, and have their effect once.
    fn timely(&self, run: &Run, mirror: &mut Mirror, event: &Event) -> Result<(), Violation> {
        let (frame, due) = match &event.kind {
            EventKind::TimerFired { frame, .. } => (*frame, mirror.due(*frame)),
            EventKind::TimedOut { frame, .. } => {
                let limit = mirror.at(*frame).and_then(|work| work.deadline);
                (*frame, limit.or_else(|| mirror.due(*frame)))
            }
            EventKind::RunTimedOut => (u64::MAX, mirror.work.get(&RUN_TIMER).and_then(|work| work.due_at)),
            _ => return Ok(()),
        };
        let broken = |text: String| Violation { law: Law::Timer, text: format!("{}: {text}", run.id) };
        let Some(due) = due else { return Err(broken(format!("{:?} of what has no time", event.kind))) };
        if micros(event.at) + self.tolerance < due || self.hub.now() + self.tolerance < due {
            return Err(broken(format!("{:?} is early: due {due}, at {}", event.kind, micros(event.at))));
        }
        let visit =
            mirror.snapshot.as_ref().and_then(|snapshot| snapshot.frames.get(&frame)).map_or(0, |frame| frame.visit);
        if !mirror.fired.insert((frame, visit)) {
            return Err(broken(format!("{:?} a second time", event.kind)));
        }
        // Without faults it waits for a look at the store and for room, which a step has for a minute at most. What a pause held
        // back is not late.
        if self.calm && !mirror.paused && self.hub.now() > due + LATEST {
            return Err(broken(format!("{:?} is late: due {due}, at {}", event.kind, self.hub.now())));
        }
        self.hub.meet("timers");
        Ok(())
    }

    /// After each call that reached the cloud.
    pub(super) fn cloud(&mut self, tables: &Tables, cloud: &Cloud, by: Option<&Attempt>) {
        let mut places = BTreeSet::new();
        let doubled: Vec<String> = cloud
            .objects
            .values()
            .filter(|object| !places.insert(&object.owner))
            .map(|object| format!("two objects for {:?}", object.owner))
            .collect();
        for text in doubled {
            self.broken(Law::OneEffect, text);
        }
        if let Some(by) = by {
            let frame = i64::try_from(by.place.frame).unwrap_or(i64::MAX);
            let counted = self.runs.get(&by.place.run).and_then(|run| run.attempts.get(&(frame, by.visit)));
            if counted.is_none_or(|counted| *counted < by.attempt) {
                self.broken(Law::Audit, format!("{by:?} acts, and no claim of it is stored"));
            }
        }
        for (run, systems) in &cloud.systems {
            for system in systems {
                let kept = cloud.live.contains(system) || cloud.copy_of(system).is_some_and(|(_, copy)| copy.verified);
                if !kept {
                    self.violations
                        .push(Violation { law: Law::DataSafe, text: format!("nothing is left of {system} of {run}") });
                }
            }
        }
        if let Some((by, Effect::Deleted { system })) = cloud.ledger.last()
            && !self.runs.get(&by.place.run).is_some_and(|run| run.approved)
        {
            self.broken(Law::Approval, format!("{system} was deleted and no approval is stored"));
        }
        // The mirror is that of the last change of the store.
        debug_assert_eq!(tables.runs.len(), self.runs.len());
    }

    /// Takes in what somebody was told.
    pub(super) fn told(&mut self, tables: &Tables, told: Vec<Told>) {
        for told in told {
            match &told {
                Told::Saved { run, frame, visit, count } => {
                    if let Some(mirror) = self.runs.get_mut(run) {
                        let saved = mirror.saved.entry((*frame, *visit)).or_default();
                        *saved = (*saved).max(*count);
                    }
                    if let Some(found) = tables.run(run)
                        && let Some(violation) = self.runs.get(run).and_then(|mirror| unsaved(found, mirror))
                    {
                        self.violations.push(violation);
                    }
                }
                Told::Shown { text } if text.contains(&self.canary) && !self.canary.is_empty() => {
                    self.broken(Law::NoSecret, format!("a secret was shown: {text}"));
                }
                Told::Running { process, now } if *now > self.concurrency => {
                    self.broken(Law::Bounded, format!("{now} steps run at once in process {process}"));
                }
                Told::Started { .. } | Told::Acted { .. } => {
                    self.acknowledged(tables, &told);
                    self.told.push(told);
                }
                Told::Shown { .. } | Told::Running { .. } | Told::Drained { .. } => {}
            }
        }
    }

    fn acknowledged(&mut self, tables: &Tables, told: &Told) {
        let held = match told {
            Told::Started { key, run } => {
                tables.run(run).is_some() && tables.keys.get(key).is_some_and(|kept| kept.run == *run)
            }
            Told::Acted { mark, .. } => {
                tables.runs.iter().flat_map(|run| &run.history).any(|row| row.event.contains(mark.as_str()))
            }
            Told::Saved { .. } | Told::Shown { .. } | Told::Running { .. } | Told::Drained { .. } => true,
        };
        if !held {
            self.broken(Law::NoLostAck, format!("{told:?}, and nothing of it is stored"));
        }
    }

    /// At the end: everything that was acknowledged, and every history from its first row.
    pub(super) fn finish(&mut self, tables: &Tables, cloud: &Cloud) {
        for told in std::mem::take(&mut self.told) {
            self.acknowledged(tables, &told);
        }
        let mut keys = BTreeSet::new();
        for run in &tables.runs {
            for key in &run.start.idempotency {
                if !keys.insert(&key.key) {
                    self.broken(Law::OneEffect, format!("the key {} has started two runs", key.key));
                }
            }
            if let Err(violation) = self.whole(tables, run) {
                self.violations.push(violation);
            }
        }
        for object in cloud.objects.values() {
            let Some(mirror) = self.runs.get(&object.owner.run) else {
                self.broken(Law::Audit, format!("{object:?} is of no run"));
                continue;
            };
            let outcome = mirror.snapshot.as_ref().and_then(|snapshot| snapshot.header.outcome.as_ref());
            let succeeded = matches!(outcome, Some(Outcome::Succeeded { .. }));
            if succeeded && !mirror.answered.contains(&object.owner.frame) {
                self.broken(Law::Audit, format!("no outcome of {:?} is stored", object.owner));
            }
        }
    }

    fn whole(&self, tables: &Tables, run: &Run) -> Result<(), Violation> {
        let broken = |law, text: String| Violation { law, text: format!("{}: {text}", run.id) };
        let definition = self.definitions.get(&run.definition);
        let definition = definition.ok_or_else(|| broken(Law::Replay, "its definition is gone".to_owned()))?;
        let mut head = Vec::new();
        let mut events = Vec::with_capacity(run.history.len());
        for row in &run.history {
            head = chain(&head, &row.event, &row.entered);
            if head != row.hash {
                return Err(broken(Law::History, "the chain of hashes does not hold".to_owned()));
            }
            events.push(decode_event(&row.event).map_err(|error| broken(Law::Replay, error.to_string()))?);
        }
        let folded = crate::engine::fold(definition, &events);
        let folded = folded.map_err(|rejected| broken(Law::Replay, rejected.to_string()))?;
        let loaded = tables.load(&run.id).map_err(|error| broken(Law::Replay, error.to_string()))?;
        if folded != loaded.snapshot || head != loaded.head || u64::try_from(events.len()) != Ok(run.revision) {
            return Err(broken(Law::History, "the history does not fold to what is stored".to_owned()));
        }
        Ok(())
    }
}

impl Mirror {
    fn at(&self, frame: u64) -> Option<&Work> {
        self.work.get(&i64::try_from(frame).ok()?)
    }

    fn due(&self, frame: u64) -> Option<i64> {
        self.at(frame)?.due_at
    }
}

/// The frame and visit whose work an event comes of, if it comes of a worker's.
fn of_work(kind: &EventKind) -> Option<(u64, u64)> {
    match kind {
        EventKind::StepSucceeded { frame, visit, .. }
        | EventKind::StepFailed { frame, visit, .. }
        | EventKind::StepCrashed { frame, visit, .. }
        | EventKind::TimedOut { frame, visit }
        | EventKind::HeartbeatMissed { frame, visit }
        | EventKind::TimerFired { frame, visit }
        | EventKind::ChildEnded { frame, visit, .. } => Some((*frame, *visit)),
        EventKind::FormAnswered { .. }
        | EventKind::Started { .. }
        | EventKind::RunTimedOut
        | EventKind::Retried { .. }
        | EventKind::Skipped { .. }
        | EventKind::Paused { .. }
        | EventKind::Resumed { .. }
        | EventKind::Overdue { .. }
        | EventKind::Cancelled { .. } => None,
    }
}

/// What an event says of outcomes and approvals.
fn note(mirror: &mut Mirror, event: &Event) {
    match &event.kind {
        EventKind::StepSucceeded { frame, .. }
        | EventKind::StepFailed { frame, .. }
        | EventKind::StepCrashed { frame, .. }
        | EventKind::TimedOut { frame, .. }
        | EventKind::HeartbeatMissed { frame, .. }
        | EventKind::Overdue { frame, .. }
        | EventKind::Skipped { frame, .. } => drop(mirror.answered.insert(*frame)),
        EventKind::FormAnswered { frame, actor, .. } => {
            let state = mirror.snapshot.as_ref().and_then(|snapshot| snapshot.frames.get(frame));
            mirror.approved |= state.is_some_and(|frame| frame.state == "Approve") && actor.role == "engineer";
        }
        EventKind::Paused { .. } => mirror.paused = true,
        EventKind::Started { .. }
        | EventKind::TimerFired { .. }
        | EventKind::ChildEnded { .. }
        | EventKind::RunTimedOut
        | EventKind::Retried { .. }
        | EventKind::Resumed { .. }
        | EventKind::Cancelled { .. } => {}
    }
}

/// Each frame at work has its one piece of work, no fence goes back, no saved checkpoint is gone. Takes the work over.
fn work(run: &Run, mirror: &mut Mirror) -> Result<(), Violation> {
    let broken = |law, text: String| Violation { law, text: format!("{}: {text}", run.id) };
    let snapshot = mirror.snapshot.as_ref();
    let open = snapshot.is_some_and(|snapshot| snapshot.header.outcome.is_none());
    let frames = snapshot.iter().flat_map(|snapshot| snapshot.frames.values()).filter(|_| open);
    let at_work: BTreeMap<i64, u64> = frames
        .filter(|frame| frame.phase.has_work())
        .map(|frame| (i64::try_from(frame.id).unwrap_or(i64::MAX), frame.visit))
        .collect();
    let stored: BTreeMap<i64, u64> =
        run.work.iter().filter(|(frame, _)| **frame >= 0).map(|(frame, work)| (*frame, work.visit)).collect();
    if at_work != stored {
        return Err(broken(Law::History, format!("frames at work {at_work:?}, and work {stored:?}")));
    }
    for (frame, work) in &run.work {
        let highest = mirror.fences.entry(*frame).or_default();
        if work.fence < *highest {
            return Err(broken(Law::Fence, format!("the fence of frame {frame} went back to {}", work.fence)));
        }
        *highest = work.fence;
        let counted = mirror.attempts.entry((*frame, work.visit)).or_default();
        *counted = (*counted).max(work.attempt);
    }
    mirror.work.clone_from(&run.work);
    unsaved(run, mirror).map_or(Ok(()), Err)
}

/// A checkpoint that a step was told is saved, and that is not there.
fn unsaved(run: &Run, mirror: &Mirror) -> Option<Violation> {
    for ((frame, visit), count) in &mirror.saved {
        let work = i64::try_from(*frame).ok().and_then(|frame| run.work.get(&frame));
        let Some(work) = work.filter(|work| work.visit == *visit) else { continue };
        let found = work.checkpoint.as_ref().and_then(|checkpoint| checkpoint.get("count")?.as_u64());
        if found.unwrap_or(0) < *count {
            let text = format!("{}: checkpoint {count} of frame {frame} was saved, and {found:?} is stored", run.id);
            return Some(Violation { law: Law::NoLostAck, text });
        }
    }
    None
}
