//! Drives a run by random events and checks, after each, what must hold of every run.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::definitions::{data, one_in, pick};
use crate::engine::{
    Actor, Command, Definition, Event, EventKind, Frame, FrameId, Payload, Phase, Rejected, Snapshot, Turn, advance,
    event::ChildEnd, language::Chance,
};

fn actor() -> Actor {
    Actor { name: "anyone".to_owned(), role: "engineer".to_owned() }
}

fn began() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// What was seen over all runs: a test that never saw a thing did not test it.
#[derive(Debug, Default)]
pub struct Seen {
    pub accepted: u64,
    pub rejected: u64,
    pub ended: u64,
    pub attention: u64,
    pub joins: u64,
    pub retries: u64,
    pub tells: u64,
}

pub struct Driver<'a> {
    definition: &'a Definition,
    chance: &'a Chance,
    now: DateTime<Utc>,
    pub live: Snapshot,
    /// The same run, of events that were written as JSON and read again.
    replayed: Snapshot,
    /// The work that the store would hold, from the commands alone.
    work: BTreeMap<FrameId, u64>,
    revision: u64,
}

pub fn first_event(definition: &Definition, input: Value, chance: u64) -> Event {
    let kind = EventKind::Started {
        run: "run-1".to_owned(),
        enterprise: "dave".to_owned(),
        workflow: "w".to_owned(),
        definition: definition.hash.clone(),
        input: Payload::from(input),
        actor: actor(),
    };
    Event { at: began(), chance, kind }
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

impl<'a> Driver<'a> {
    pub fn start(definition: &'a Definition, chance: &'a Chance, seen: &mut Seen) -> Self {
        let event = first_event(definition, data(chance, 0), chance.next_u64());
        let turn = advance(definition, None, &event).unwrap();
        let again = advance(definition, None, &through_json(&event)).unwrap();
        assert_eq!(turn, again, "the same event makes the same turn");
        let mut driver = Self {
            definition,
            chance,
            now: event.at,
            live: Snapshot::begin(&turn),
            replayed: Snapshot::begin(&again),
            work: BTreeMap::new(),
            revision: 1,
        };
        driver.check(&turn, seen);
        driver
    }

    /// One random event; whether the run goes on.
    pub fn step(&mut self, seen: &mut Seen) -> bool {
        let event = self.event();
        let read = through_json(&event);
        assert_eq!(event, read, "an event is read as it was written");
        match advance(self.definition, Some(&self.live), &event) {
            Ok(turn) => {
                let again = advance(self.definition, Some(&self.replayed), &read).unwrap();
                assert_eq!(turn, again, "the same event makes the same turn");
                self.live.apply(&turn);
                self.replayed.apply(&again);
                self.replayed = through_json(&self.replayed);
                assert_eq!(self.live, self.replayed, "replay gives the live snapshot");
                self.revision += 1;
                self.check(&turn, seen);
                seen.accepted += 1;
            }
            Err(rejected) => {
                assert_eq!(advance(self.definition, Some(&self.live), &event), Err(rejected.clone()));
                let is_over = rejected == Rejected::Ended;
                assert_eq!(is_over, self.live.header.outcome.is_some(), "{rejected:?}");
                seen.rejected += 1;
            }
        }
        seen.ended += u64::from(self.live.header.outcome.is_some());
        self.live.header.outcome.is_none()
    }

    fn check(&mut self, turn: &Turn, seen: &mut Seen) {
        self.take(turn, seen);
        let (header, frames) = (&self.live.header, &self.live.frames);
        assert_eq!(header.revision, self.revision);
        let waiting: BTreeMap<FrameId, u64> =
            frames.values().filter(|frame| frame.phase.has_work()).map(|frame| (frame.id, frame.visit)).collect();
        assert_eq!(waiting, self.work, "a frame waits for its work and no other, {frames:#?}");
        let in_attention = frames.values().filter(|frame| matches!(frame.phase, Phase::Attention { .. })).count();
        assert_eq!(header.in_attention, in_attention as u64);
        seen.attention += in_attention as u64;
        if header.outcome.is_some() {
            assert!(frames.is_empty() && header.ended_at.is_some());
            return;
        }
        assert!(waiting.len() + in_attention > 0, "a run that has not ended waits for something: {frames:#?}");
        for (id, frame) in frames {
            assert_eq!(*id, frame.id);
            assert!(frame.id < header.next_frame);
            self.check_place(frame);
            if let Phase::Joining(join) = &frame.phase {
                seen.joins += 1;
                let children: Vec<&Frame> = frames.range(join.first..join.first + join.total).map(|(_, f)| f).collect();
                assert_eq!(children.len() as u64, join.total, "all children are there");
                let count = |fits: fn(&Phase) -> bool| children.iter().filter(|c| fits(&c.phase)).count() as u64;
                assert_eq!(join.succeeded, count(|phase| matches!(phase, Phase::Done { .. })));
                assert_eq!(join.failed, count(|phase| matches!(phase, Phase::Failed { .. })));
                assert_eq!(join.total - join.started, count(|phase| matches!(phase, Phase::Queued)));
                assert!(join.succeeded + join.failed < join.started, "somebody works: {join:?}");
            }
            seen.retries += u64::from(matches!(frame.phase, Phase::Backoff { .. }));
        }
    }

    /// A frame stands in a state of the definition, under a parent that waits for it.
    fn check_place(&self, frame: &Frame) {
        let resting = matches!(frame.phase, Phase::Queued);
        assert!(resting || self.definition.state(&frame.state).is_some(), "{frame:?}");
        match frame.parent {
            None => assert_eq!(frame.id, 0),
            Some(parent) => match &self.live.frames[&parent].phase {
                Phase::Joining(join) => assert_eq!(frame.id, join.first + frame.index, "no orphans"),
                other => panic!("frame {} has a parent that does not wait for it: {other:?}", frame.id),
            },
        }
    }

    fn take(&mut self, turn: &Turn, seen: &mut Seen) {
        let mut served = std::collections::BTreeSet::new();
        for command in &turn.commands {
            if let Some(frame) = command.frame() {
                assert!(served.insert(frame), "one command a frame: {:#?}", turn.commands);
            }
            match command {
                Command::RunStep { frame, visit, .. }
                | Command::SetTimer { frame, visit, .. }
                | Command::OpenForm { frame, visit, .. }
                | Command::StartChild { frame, visit, .. } => {
                    self.work.insert(*frame, *visit);
                }
                Command::Forget { frame } => assert!(self.work.remove(frame).is_some(), "only work is forgotten"),
                Command::SetRunTimer { .. } => assert!(self.definition.timeout_s.is_some()),
                Command::Tell { notice } => self.check_notice(notice, seen),
            }
        }
    }

    fn check_notice(&self, notice: &crate::engine::Notice, seen: &mut Seen) {
        use crate::engine::Notice;
        seen.tells += 1;
        match notice {
            Notice::FormOpened { frame, visit, .. } | Notice::Attention { frame, visit, .. } => {
                assert_eq!(self.live.frames[frame].visit, *visit, "people hear of what is there");
            }
            Notice::Ended { .. } => assert!(self.live.header.outcome.is_some()),
        }
    }

    fn event(&mut self) -> Event {
        let chance = self.chance;
        let frames: Vec<&Frame> = self.live.frames.values().collect();
        let waiting: Vec<&Frame> = frames.iter().copied().filter(|frame| frame.phase.has_work()).collect();
        let stuck: Vec<&Frame> =
            frames.iter().copied().filter(|frame| matches!(frame.phase, Phase::Attention { .. })).collect();
        let kind = match chance.below(20) {
            0..=13 if !waiting.is_empty() => {
                let frame = *pick(chance, &waiting);
                if let Phase::Waiting { until } | Phase::Backoff { until } = &frame.phase {
                    self.now = self.now.max(*until);
                }
                answer(chance, frame, frame.visit)
            }
            0..=16 if !stuck.is_empty() => operator(chance, pick(chance, &stuck).id),
            17 => operator(chance, chance.below(12)),
            18 => match frames.is_empty() {
                true => EventKind::RunTimedOut,
                false => answer(chance, pick::<&Frame>(chance, &frames), chance.below(9)),
            },
            _ => any_event(chance, &frames),
        };
        self.now += TimeDelta::seconds(i64::try_from(chance.below(3)).unwrap());
        Event { at: self.now, chance: chance.next_u64(), kind }
    }
}

/// An answer that fits what the frame does.
fn answer(chance: &Chance, frame: &Frame, visit: u64) -> EventKind {
    let (frame, phase) = (frame.id, &frame.phase);
    let output = Payload::from(data(chance, 0));
    let fails = one_in(chance, 3);
    let error = (*pick(chance, &["E", "F", "States.Timeout", "States.Runtime", ""])).to_owned();
    let cause = "why".to_owned();
    match phase {
        Phase::Waiting { .. } | Phase::Backoff { .. } => EventKind::TimerFired { frame, visit },
        Phase::Form { .. } | Phase::Step { .. } | Phase::Child { .. } if one_in(chance, 10) => {
            EventKind::TimedOut { frame, visit }
        }
        Phase::Form { .. } => EventKind::FormAnswered { frame, visit, answer: output, actor: actor() },
        Phase::Child { .. } => {
            let end = match chance.below(4) {
                0 => ChildEnd::Failed { error, cause },
                1 => ChildEnd::Cancelled { reason: cause },
                _ => ChildEnd::Succeeded { output },
            };
            EventKind::ChildEnded { frame, visit, child: "run-2".to_owned(), end }
        }
        _ if fails && one_in(chance, 6) => EventKind::StepCrashed { frame, visit, crashes: 3 },
        _ if fails && one_in(chance, 6) => EventKind::HeartbeatMissed { frame, visit },
        _ if fails => EventKind::StepFailed { frame, visit, error, cause },
        _ => EventKind::StepSucceeded { frame, visit, output },
    }
}

fn operator(chance: &Chance, frame: FrameId) -> EventKind {
    let (actor, reason) = (actor(), "because".to_owned());
    let given = one_in(chance, 2).then(|| Payload::from(data(chance, 0)));
    match chance.below(12) {
        0..=4 => EventKind::Retried { frame, input: given, actor, reason },
        5..=8 => EventKind::Skipped { frame, output: given, actor, reason },
        9 => EventKind::Paused { actor, reason },
        10 => EventKind::Resumed { actor, reason },
        _ if one_in(chance, 4) => EventKind::Cancelled { actor, reason },
        _ => EventKind::RunTimedOut,
    }
}

/// An event that need not fit anything.
pub fn any_event(chance: &Chance, frames: &[&Frame]) -> EventKind {
    let known = (!frames.is_empty() && !one_in(chance, 4)).then(|| *pick(chance, frames));
    let frame = known.map_or_else(|| chance.below(9), |frame| frame.id);
    let visit = known.filter(|_| !one_in(chance, 3)).map_or_else(|| chance.next_u64() >> chance.below(64), |f| f.visit);
    match (chance.below(8), known) {
        (0, _) => operator(chance, frame),
        (1, _) => EventKind::TimerFired { frame, visit },
        (2, _) => EventKind::StepFailed { frame, visit, error: "E".to_owned(), cause: String::new() },
        (3, _) => EventKind::FormAnswered { frame, visit, answer: Payload::from(Value::Null), actor: actor() },
        (4, _) => EventKind::HeartbeatMissed { frame, visit },
        (_, Some(known)) => answer(chance, known, visit),
        (_, None) => EventKind::StepSucceeded { frame, visit, output: Payload::from(data(chance, 0)) },
    }
}
