//! A random run: answers what the engine asks for, now and then wrongly, and checks every turn.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::generate::{Dice, any_value};
use crate::engine::{
    Actor, ChildEnd, Command, Definition, Event, EventKind, FrameId, Notice, Outcome, Payload, Phase, Rejected,
    Snapshot, Turn, advance,
};

pub(super) struct Trial<'a> {
    definition: &'a Definition,
    dice: &'a Dice,
    pub snapshot: Option<Snapshot>,
    pub history: Vec<Event>,
    /// The work that each frame has, as commands have said.
    work: BTreeMap<FrameId, Command>,
    now: DateTime<Utc>,
    /// What the trial has come by, for the guard against vacuous trials.
    pub met: BTreeSet<String>,
}

impl<'a> Trial<'a> {
    pub fn new(definition: &'a Definition, dice: &'a Dice) -> Self {
        let now = DateTime::UNIX_EPOCH;
        let (history, work, met) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        let mut trial = Self { definition, dice, snapshot: None, history, work, now, met };
        let kind = EventKind::Started {
            run: "run".to_owned(),
            enterprise: "dave".to_owned(),
            workflow: "trial".to_owned(),
            definition: definition.hash.clone(),
            input: Payload::from(json!({ "n": 1, "items": [1, 2, 3] })),
            actor: actor(),
        };
        trial.happen(kind).unwrap();
        trial
    }

    pub fn play(mut self, events: u32) -> Self {
        for _ in 0..events {
            let snapshot = self.snapshot.as_ref().unwrap();
            if let Some(outcome) = &snapshot.header.outcome {
                self.met.insert(match outcome {
                    Outcome::Succeeded { .. } => "ended-succeeded".to_owned(),
                    Outcome::Failed { .. } => "ended-failed".to_owned(),
                    Outcome::Cancelled { .. } => "ended-cancelled".to_owned(),
                });
                let event = any_event(self.dice, snapshot);
                assert_eq!(self.happen(event.kind), Err(Rejected::Ended));
                break;
            }
            let any = any_event(self.dice, snapshot).kind;
            let kind = match self.dice.below(10) {
                0 => any,
                _ => self.answer().unwrap_or(any),
            };
            if self.happen(kind).is_err() {
                self.met.insert("rejected".to_owned());
            }
        }
        self
    }

    /// A right answer to some work that is due, moving the clock to it.
    fn answer(&mut self) -> Option<EventKind> {
        let orders: Vec<Command> = self.work.values().cloned().collect();
        if orders.is_empty() {
            return None;
        }
        let output = Payload::from(any_value(self.dice));
        let (error, cause) = (self.dice.pick(&["E", "F", "States.Permissions"]).to_owned(), "cause".to_owned());
        let way = self.dice.below(8);
        Some(match self.dice.pick(&orders) {
            Command::RunStep { frame, visit, .. } => match way {
                0 | 1 => EventKind::StepFailed { frame, visit, error, cause },
                2 => EventKind::TimedOut { frame, visit },
                3 => EventKind::HeartbeatMissed { frame, visit },
                4 if self.dice.once_in(3) => EventKind::StepCrashed { frame, visit, crashes: 3 },
                _ => EventKind::StepSucceeded { frame, visit, output },
            },
            Command::SetTimer { frame, visit, due_at } => {
                self.now = self.now.max(due_at);
                EventKind::TimerFired { frame, visit }
            }
            Command::OpenForm { frame, visit, .. } => match way {
                0 => EventKind::TimedOut { frame, visit },
                _ => EventKind::FormAnswered { frame, visit, answer: output, actor: actor() },
            },
            Command::StartChild { frame, visit, .. } => EventKind::ChildEnded {
                frame,
                visit,
                child: "child".to_owned(),
                end: match way {
                    0 | 1 => ChildEnd::Failed { error, cause },
                    2 => ChildEnd::Cancelled { reason: "why".to_owned() },
                    _ => ChildEnd::Succeeded { output },
                },
            },
            Command::Forget { .. } | Command::SetRunTimer { .. } | Command::Tell { .. } => return None,
        })
    }

    fn happen(&mut self, kind: EventKind) -> Result<(), Rejected> {
        self.now += TimeDelta::milliseconds(1);
        let event = Event { at: self.now, chance: self.dice.number(), kind };
        let turn = advance(self.definition, self.snapshot.as_ref(), &event);
        assert_eq!(turn, advance(self.definition, self.snapshot.as_ref(), &event), "not deterministic");
        let turn = turn?;
        let name = serde_json::to_value(&event.kind).unwrap()["event"].as_str().unwrap().to_owned();
        self.met.insert(name);
        self.history.push(event);
        let snapshot = match self.snapshot.take() {
            Some(mut snapshot) => {
                snapshot.apply(&turn);
                snapshot
            }
            None => Snapshot::begin(&turn),
        };
        self.snapshot = Some(snapshot);
        self.check(&turn);
        Ok(())
    }

    /// What holds after every turn.
    fn check(&mut self, turn: &Turn) {
        let snapshot = self.snapshot.as_ref().unwrap();
        assert_eq!(snapshot.header.revision, self.history.len() as u64);
        let mut commanded = BTreeSet::new();
        for command in &turn.commands {
            if let Command::Tell {
                notice: Notice::FormOpened { frame, visit, .. } | Notice::Attention { frame, visit, .. },
            } = command
            {
                let standing = snapshot.frames.get(frame).map(|frame| frame.visit);
                assert_eq!(standing, Some(*visit), "people are told of what is not there: {command:?}");
            }
            let Some(frame) = command.frame() else { continue };
            assert!(commanded.insert(frame), "two commands for frame {frame}: {:?}", turn.commands);
            match command {
                Command::Forget { frame } => assert!(self.work.remove(frame).is_some(), "nothing to forget: {frame}"),
                other => drop(self.work.insert(frame, other.clone())),
            }
        }
        for frame in snapshot.frames.values() {
            self.met.insert(serde_json::to_value(&frame.phase).unwrap()["phase"].as_str().unwrap().to_owned());
            if let Some(parent) = frame.parent {
                let waits = matches!(&snapshot.frames[&parent].phase, Phase::Joining(join) if join.children().contains(&frame.id));
                assert!(waits, "an orphan: {frame:?}");
            }
            assert!(self.definition.state(&frame.state).is_some() || frame.phase == Phase::Queued, "{frame:?}");
        }
        let standing: BTreeSet<FrameId> =
            snapshot.frames.values().filter(|frame| frame.phase.has_work()).map(|frame| frame.id).collect();
        assert_eq!(standing, self.work.keys().copied().collect(), "frames at work, and the work that was ordered");
        for (id, command) in &self.work {
            let visit = match command {
                Command::RunStep { visit, .. }
                | Command::SetTimer { visit, .. }
                | Command::OpenForm { visit, .. }
                | Command::StartChild { visit, .. } => *visit,
                Command::Forget { .. } | Command::SetRunTimer { .. } | Command::Tell { .. } => panic!("{command:?}"),
            };
            assert_eq!(snapshot.frames[id].visit, visit, "an answer to {command:?} would be stale");
        }
        let attention =
            snapshot.frames.values().filter(|frame| matches!(frame.phase, Phase::Attention { .. })).count() as u64;
        assert_eq!(snapshot.header.in_attention, attention);
        if snapshot.header.outcome.is_none() {
            assert!(!standing.is_empty() || attention > 0, "the run stands still: {snapshot:#?}");
        }
        for frame in snapshot.frames.values() {
            let Phase::Joining(join) = &frame.phase else { continue };
            let children: Vec<_> = join.children().map(|child| &snapshot.frames[&child]).collect();
            let count =
                |wanted: fn(&Phase) -> bool| children.iter().filter(|child| wanted(&child.phase)).count() as u64;
            assert_eq!(join.succeeded, count(|phase| matches!(phase, Phase::Done { .. })));
            assert_eq!(join.failed, count(|phase| matches!(phase, Phase::Failed { .. })));
            assert_eq!(join.total - join.started, count(|phase| matches!(phase, Phase::Queued)));
        }
    }
}

/// Any event at all: about a frame that may exist, for a visit that may be now, or a verb.
pub(super) fn any_event(dice: &Dice, snapshot: &Snapshot) -> Event {
    let mut frames: Vec<FrameId> = snapshot.frames.keys().copied().collect();
    frames.push(dice.below(5));
    let frame = dice.pick(&frames);
    let visit =
        snapshot.frames.get(&frame).map_or(0, |frame| frame.visit).wrapping_add(dice.pick(&[0, 0, 1, u64::MAX]));
    let output = Payload::from(any_value(dice));
    let (error, cause, reason) = ("E".to_owned(), "cause".to_owned(), "why".to_owned());
    let kind = match dice.below(15) {
        0 => EventKind::StepSucceeded { frame, visit, output },
        1 => EventKind::StepFailed { frame, visit, error, cause },
        2 => EventKind::StepCrashed { frame, visit, crashes: 3 },
        3 => EventKind::TimedOut { frame, visit },
        4 => EventKind::HeartbeatMissed { frame, visit },
        5 => EventKind::TimerFired { frame, visit },
        6 => EventKind::FormAnswered { frame, visit, answer: output, actor: actor() },
        7 => EventKind::ChildEnded { frame, visit, child: "c".to_owned(), end: ChildEnd::Succeeded { output } },
        8 => EventKind::Retried { frame, visit, input: dice.once_in(2).then_some(output), actor: actor(), reason },
        9 | 10 => {
            EventKind::Skipped { frame, visit, output: dice.once_in(2).then_some(output), actor: actor(), reason }
        }
        11 => EventKind::Paused { actor: actor(), reason },
        12 => EventKind::Resumed { actor: actor(), reason },
        13 if dice.once_in(4) => EventKind::Cancelled { actor: actor(), reason },
        13 if dice.once_in(2) => EventKind::Overdue { frame, visit, error, cause },
        13 => EventKind::Retried { frame, visit, input: None, actor: actor(), reason },
        _ if dice.once_in(4) => EventKind::RunTimedOut,
        _ => EventKind::ChildEnded { frame, visit, child: "c".to_owned(), end: ChildEnd::Cancelled { reason } },
    };
    Event { at: DateTime::UNIX_EPOCH + TimeDelta::days(dice.pick(&[0, 1, 90_000_000])), chance: dice.number(), kind }
}

fn actor() -> Actor {
    Actor { name: "trial".to_owned(), role: "engineer".to_owned() }
}
