//! Runs a definition with no cloud and a virtual clock.
//!
//! A script says how the Task states end. A Task that the script does not name, or whose outcomes are used up, succeeds
//! with its own input; a form that the script does not answer is left open, and the simulation ends `waiting`, or when
//! the form's or the run's TimeoutSeconds have passed. Virtual time begins on 2026-01-01.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Actor, Command, Definition, Event, EventKind, FrameId, Outcome, Payload, Phase, Rejected, Snapshot, Turn, advance,
    language::Chance,
};

/// Events after which a simulation gives up: it would not end.
const MAX_EVENTS: u64 = 1_000_000;
/// Virtual seconds that a scripted timeout takes where the state has no TimeoutSeconds: the specification's default.
const DEFAULT_TIMEOUT_S: u64 = 60;

/// How one invocation of a Task state ends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Scripted {
    Succeed(Value),
    Fail {
        error: String,
        #[serde(default)]
        cause: String,
    },
    /// Must be true.
    Timeout(bool),
}

/// The outcomes of each Task state by its name: the n-th invocation in the whole execution takes the n-th.
pub type Script = HashMap<String, Vec<Scripted>>;

/// How a simulated run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    pub status: Status,
    pub output: Option<Value>,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// Names of the states entered, in order; a retry does not enter its state again.
    pub trace: Vec<String>,
    /// Virtual seconds from the start to the end.
    pub elapsed_s: serde_json::Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Succeeded,
    Failed,
    /// Nothing caught an error: an engineer would look now.
    Attention,
    /// A form is open.
    Waiting,
}

/// Why a simulation could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    #[error("the script's `{state}`: {reason}")]
    Script { state: String, reason: String },
    #[error("the simulation did not end within {MAX_EVENTS} events")]
    Endless,
    #[error("the engine refused its own event: {0}")]
    Rejected(#[from] Rejected),
}

/// Simulates a run of `definition`.
///
/// # Errors
/// The script names a state that is no Task of the definition, or the run does not end.
pub fn simulate(
    definition: &Definition,
    input: Value,
    script: &Script,
    seed: u64,
) -> Result<Simulation, SimulationError> {
    check_script(definition, script)?;
    Simulator::start(definition, input, script, seed)?.run()
}

fn check_script(definition: &Definition, script: &Script) -> Result<(), SimulationError> {
    for (state, outcomes) in script {
        let wrong = |reason: &str| SimulationError::Script { state: state.clone(), reason: reason.to_owned() };
        if !definition.resources().any(|(task, _)| task.name == *state) {
            return Err(wrong("the definition has no Task state of this name"));
        }
        if outcomes.contains(&Scripted::Timeout(false)) {
            return Err(wrong("a timeout is written {\"timeout\": true}"));
        }
    }
    Ok(())
}

/// What a frame waits for, in virtual time.
struct Due {
    at: DateTime<Utc>,
    event: EventKind,
}

struct Simulator<'a> {
    definition: &'a Definition,
    script: &'a Script,
    chance: Chance,
    began: DateTime<Utc>,
    now: DateTime<Utc>,
    snapshot: Snapshot,
    due: BTreeMap<FrameId, Due>,
    /// The same by time, so that a wide run's next event is found without looking at all.
    order: BTreeSet<(DateTime<Utc>, FrameId)>,
    run_timer: Option<DateTime<Utc>>,
    invocations: HashMap<String, usize>,
    trace: Vec<String>,
}

impl<'a> Simulator<'a> {
    fn start(definition: &'a Definition, input: Value, script: &'a Script, seed: u64) -> Result<Self, SimulationError> {
        let began = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_454);
        let chance = Chance::new(seed);
        let kind = EventKind::Started {
            run: "simulation".to_owned(),
            enterprise: "simulation".to_owned(),
            workflow: "simulation".to_owned(),
            definition: definition.hash.clone(),
            input: Payload::from(input),
            actor: Actor { name: "simulation".to_owned(), role: "system".to_owned() },
        };
        let turn = advance(definition, None, &Event { at: began, chance: chance.next_u64(), kind })?;
        let mut simulator = Self {
            definition,
            script,
            chance,
            began,
            now: began,
            snapshot: Snapshot::begin(&turn),
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            run_timer: None,
            invocations: HashMap::new(),
            trace: Vec::new(),
        };
        simulator.take(&turn);
        Ok(simulator)
    }

    fn run(mut self) -> Result<Simulation, SimulationError> {
        for _ in 0..MAX_EVENTS {
            if self.snapshot.header.outcome.is_some() {
                return Ok(self.report());
            }
            let next = self.order.first().copied();
            let (at, kind) = match (next, self.run_timer) {
                // The run's limit is passed when something is still to come behind it, or nothing comes but a person.
                (Some((at, _)), Some(limit)) if limit < at => (limit, EventKind::RunTimedOut),
                (Some((at, frame)), _) => match self.forget(frame) {
                    Some(due) => (at, due.event),
                    None => return Ok(self.report()),
                },
                (None, Some(limit)) if self.snapshot.header.in_attention == 0 => (limit, EventKind::RunTimedOut),
                (None, _) => return Ok(self.report()),
            };
            self.now = self.now.max(at);
            let event = Event { at: self.now, chance: self.chance.next_u64(), kind };
            let turn = advance(self.definition, Some(&self.snapshot), &event)?;
            self.snapshot.apply(&turn);
            self.take(&turn);
        }
        Err(SimulationError::Endless)
    }

    fn take(&mut self, turn: &Turn) {
        self.trace.extend(turn.entered.iter().map(|entered| entered.state.clone()));
        for command in &turn.commands {
            match command {
                Command::RunStep { frame, visit, input, timeout_s, .. } => {
                    self.invoke(*frame, *visit, input, *timeout_s, false);
                }
                Command::StartChild { frame, visit, input, until, .. } => {
                    self.invoke(*frame, *visit, input, self.seconds_to(*until), false);
                }
                Command::OpenForm { frame, visit, input, until, .. } => {
                    self.invoke(*frame, *visit, input, self.seconds_to(*until), true);
                }
                Command::SetTimer { frame, visit, due_at } => {
                    let event = EventKind::TimerFired { frame: *frame, visit: *visit };
                    self.plan(*frame, Due { at: *due_at, event });
                }
                Command::Forget { frame } => {
                    self.forget(*frame);
                }
                Command::SetRunTimer { due_at } => self.run_timer = Some(*due_at),
                Command::Tell { .. } => {}
            }
        }
    }

    fn seconds_to(&self, until: Option<DateTime<Utc>>) -> Option<u64> {
        until.and_then(|until| u64::try_from((until - self.now).num_seconds()).ok())
    }

    /// Sets how an invocation ends, by the script or without it.
    fn invoke(&mut self, frame: FrameId, visit: u64, input: &Payload, timeout_s: Option<u64>, is_form: bool) {
        let Some(state) = self.snapshot.frames.get(&frame).map(|frame| frame.state.clone()) else { return };
        let count = self.invocations.entry(state.clone()).or_default();
        let outcome = self.script.get(&state).and_then(|outcomes| outcomes.get(*count));
        *count = count.saturating_add(1);
        let phase = self.snapshot.frames.get(&frame).map(|frame| &frame.phase);
        let seconds = match (outcome, timeout_s) {
            (Some(Scripted::Timeout(_)), seconds) => seconds.unwrap_or(DEFAULT_TIMEOUT_S),
            (None, Some(seconds)) if is_form => seconds,
            (None, None) if is_form => return,
            _ => 0,
        };
        let event = match outcome {
            Some(Scripted::Fail { error, cause }) => failed(phase, frame, visit, error, cause),
            Some(Scripted::Timeout(_)) => EventKind::TimedOut { frame, visit },
            None if is_form => EventKind::TimedOut { frame, visit },
            Some(Scripted::Succeed(value)) => succeeded(phase, frame, visit, Payload::from(value.clone())),
            None => succeeded(phase, frame, visit, input.clone()),
        };
        let wait = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
        let at = wait.and_then(|wait| self.now.checked_add_signed(wait)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.plan(frame, Due { at, event });
    }

    fn plan(&mut self, frame: FrameId, due: Due) {
        self.forget(frame);
        self.order.insert((due.at, frame));
        self.due.insert(frame, due);
    }

    fn forget(&mut self, frame: FrameId) -> Option<Due> {
        let due = self.due.remove(&frame)?;
        self.order.remove(&(due.at, frame));
        Some(due)
    }

    fn report(self) -> Simulation {
        let milliseconds = (self.now - self.began).num_milliseconds();
        let elapsed_s = if milliseconds % 1_000 == 0 {
            serde_json::Number::from(milliseconds / 1_000)
        } else {
            let seconds = (self.now - self.began).as_seconds_f64();
            serde_json::Number::from_f64(seconds).unwrap_or_else(|| serde_json::Number::from(0))
        };
        let (status, output, error, cause) = match self.snapshot.header.outcome {
            Some(Outcome::Succeeded { output }) => (Status::Succeeded, Some(output.into_value()), None, None),
            Some(failed @ Outcome::Failed { .. }) => {
                let (error, cause) = failed.failure();
                (Status::Failed, None, error, cause)
            }
            Some(Outcome::Cancelled { reason }) => (Status::Failed, None, None, Some(reason)),
            None => {
                let attention = self.snapshot.frames.into_values().find_map(|frame| match frame.phase {
                    Phase::Attention { error, cause, .. } => Some((error, cause)),
                    _ => None,
                });
                match attention {
                    Some((error, cause)) => (Status::Attention, None, Some(error), Some(cause)),
                    None => (Status::Waiting, None, None, None),
                }
            }
        };
        Simulation { status, output, error, cause, trace: self.trace, elapsed_s }
    }
}

fn succeeded(phase: Option<&Phase>, frame: FrameId, visit: u64, output: Payload) -> EventKind {
    let actor = Actor { name: "simulation".to_owned(), role: "system".to_owned() };
    match phase {
        Some(Phase::Form { .. }) => EventKind::FormAnswered { frame, visit, answer: output, actor },
        Some(Phase::Child { .. }) => EventKind::ChildEnded {
            frame,
            visit,
            child: "simulation".to_owned(),
            end: super::ChildEnd::Succeeded { output },
        },
        _ => EventKind::StepSucceeded { frame, visit, output },
    }
}

/// A form cannot fail with an error of its own: a scripted failure of one is taken as a child's or step's would be.
fn failed(phase: Option<&Phase>, frame: FrameId, visit: u64, error: &str, cause: &str) -> EventKind {
    let (error, cause) = (error.to_owned(), cause.to_owned());
    match phase {
        Some(Phase::Child { .. }) => EventKind::ChildEnded {
            frame,
            visit,
            child: "simulation".to_owned(),
            end: super::ChildEnd::Failed { error, cause },
        },
        _ => EventKind::StepFailed { frame, visit, error, cause },
    }
}
