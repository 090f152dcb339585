//! Moves a run by one event.
//!
//! [`advance`] reads through the snapshot it is given and writes only what changes, so that a turn's cost does not grow
//! with the run's width: a Map's items are frames of their own, their parent keeps counters, and results stay with the
//! items until all have ended. States that wait for nothing outside are walked through within the turn; it ends where
//! every frame it touched stands at something that waits.
//!
//! It is total: an event that does not fit is [`Rejected`] and changes nothing, an error in a definition's data becomes
//! an ASL error in the run. It is deterministic: live, recovered and replayed runs go through this same function.

mod branch;
mod context;
mod draft;
mod enter;
mod errors;
mod finish;
mod operator;

#[cfg(test)]
mod adversarial;
#[cfg(test)]
mod tests;

use super::{Command, Definition, Event, EventKind, Frame, FrameId, Header, Phase, Snapshot, event::ChildEnd};

use draft::Draft;

/// What an event did to a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The header after the event; its revision counts the event.
    pub header: Header,
    /// Frames that are new or changed.
    pub changed: Vec<Frame>,
    pub removed: Vec<FrameId>,
    /// At most one piece of work a frame, and what the world is told.
    pub commands: Vec<Command>,
    /// States that were entered, in order.
    pub entered: Vec<Entered>,
}

/// A state that a frame entered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entered {
    pub frame: FrameId,
    pub state: String,
}

/// Why an event does not fit the run; the run is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It answers a visit that is over: somebody else's answer came first, or the state was left.
    #[error("the event is for visit {event} of frame {frame}, which is at visit {frame_at}")]
    Stale { frame: FrameId, event: u64, frame_at: u64 },
    #[error("there is no frame {frame} in this run")]
    NoFrame { frame: FrameId },
    #[error("the run has ended")]
    Ended,
    #[error("the run has not started")]
    NotStarted,
    /// For people: what does not fit.
    #[error("{reason}")]
    Illegal { reason: String },
}

/// Folds `event` into a run: `None` is a run that has not started.
///
/// # Errors
/// The event does not fit the run; nothing changed.
pub fn advance(definition: &Definition, snapshot: Option<&Snapshot>, event: &Event) -> Result<Turn, Rejected> {
    let Some(snapshot) = snapshot else { return start(definition, event) };
    if snapshot.header.outcome.is_some() {
        return Err(Rejected::Ended);
    }
    if snapshot.header.definition != definition.hash {
        return Err(other_definition(&snapshot.header.definition, definition));
    }
    let mut draft = Draft::new(definition, snapshot, event);
    apply(&mut draft, &event.kind)?;
    Ok(draft.seal())
}

fn start(definition: &Definition, event: &Event) -> Result<Turn, Rejected> {
    let EventKind::Started { run, enterprise, workflow, definition: hash, input, actor } = &event.kind else {
        return Err(Rejected::NotStarted);
    };
    if *hash != definition.hash {
        return Err(other_definition(hash, definition));
    }
    finish::within_limit("the run's input", input).map_err(|failure| Rejected::Illegal { reason: failure.cause })?;
    let header = Header {
        run: run.clone(),
        enterprise: enterprise.clone(),
        workflow: workflow.clone(),
        definition: hash.clone(),
        revision: 0,
        started_at: event.at,
        started_by: actor.clone(),
        input: input.clone(),
        next_frame: 0,
        in_attention: 0,
        paused: false,
        outcome: None,
        ended_at: None,
    };
    let mut draft = Draft::fresh(definition, header, event);
    if let Some(seconds) = definition.timeout_s
        && let Some(due_at) = draft.later(seconds)
    {
        draft.commands.push(Command::SetRunTimer { due_at });
    }
    let root = draft
        .open_frames(None, vec![input.clone()], None)
        .map_err(|failure| Rejected::Illegal { reason: failure.to_string() })?;
    draft.enter(root, definition.start_at().to_owned(), input.clone());
    draft.run();
    Ok(draft.seal())
}

fn other_definition(kept: &str, given: &Definition) -> Rejected {
    Rejected::Illegal { reason: format!("the run keeps the definition {kept}, here is {}", given.hash) }
}

fn apply(draft: &mut Draft, kind: &EventKind) -> Result<(), Rejected> {
    match kind {
        EventKind::Started { .. } => {
            return Err(Rejected::Illegal { reason: "the run has started already".to_owned() });
        }
        EventKind::StepSucceeded { frame, visit, output } => {
            draft.expect(*frame, *visit, "a step", |phase| matches!(phase, Phase::Step { .. }))?;
            draft.succeed(*frame, output.clone());
        }
        EventKind::StepFailed { frame, visit, error, cause } => {
            draft.expect(*frame, *visit, "a step or form", |phase| {
                matches!(phase, Phase::Step { .. } | Phase::Form { .. })
            })?;
            draft.fail(*frame, error, cause);
        }
        EventKind::StepCrashed { frame, visit, crashes } => {
            draft.expect(*frame, *visit, "a step", |phase| matches!(phase, Phase::Step { .. }))?;
            let cause =
                format!("the process died {crashes} times while this step ran: look at its log before you retry");
            draft.attend(*frame, "Keyferry.StepCrashed", &cause);
        }
        EventKind::TimedOut { frame, visit } => {
            draft.expect(*frame, *visit, "a step, form or child run", |phase| {
                matches!(phase, Phase::Step { .. } | Phase::Form { .. } | Phase::Child { .. })
            })?;
            draft.fail(*frame, "States.Timeout", "TimeoutSeconds passed");
        }
        EventKind::Overdue { frame, visit, error, cause } => draft.overdue(*frame, *visit, error, cause)?,
        EventKind::HeartbeatMissed { frame, visit } => {
            draft.expect(*frame, *visit, "a step", |phase| matches!(phase, Phase::Step { .. }))?;
            draft.fail(*frame, "States.HeartbeatTimeout", "no heartbeat came within HeartbeatSeconds");
        }
        EventKind::TimerFired { frame, visit } => draft.timer_fired(*frame, *visit)?,
        EventKind::FormAnswered { frame, visit, answer, actor: _ } => {
            draft.expect(*frame, *visit, "an open form", |phase| matches!(phase, Phase::Form { .. }))?;
            draft.succeed(*frame, answer.clone());
        }
        EventKind::ChildEnded { frame, visit, child, end } => {
            draft.expect(*frame, *visit, "a child run", |phase| matches!(phase, Phase::Child { .. }))?;
            match end {
                ChildEnd::Succeeded { output } => draft.succeed(*frame, output.clone()),
                ChildEnd::Failed { error, cause } => draft.fail(*frame, error, cause),
                ChildEnd::Cancelled { reason } => {
                    let cause = format!("the child run {child} was cancelled: {reason}");
                    draft.fail(*frame, "Keyferry.ChildCancelled", &cause);
                }
            }
        }
        EventKind::RunTimedOut => draft.time_out()?,
        EventKind::Retried { frame, visit, input, actor: _, reason: _ } => {
            draft.retry(*frame, *visit, input.clone())?
        }
        EventKind::Skipped { frame, visit, output, actor: _, reason: _ } => {
            draft.skip(*frame, *visit, output.clone())?;
        }
        EventKind::Paused { .. } => draft.pause(true)?,
        EventKind::Resumed { .. } => draft.pause(false)?,
        EventKind::Cancelled { reason, .. } => draft.cancel(reason),
    }
    draft.run();
    Ok(())
}

impl Snapshot {
    /// The snapshot that a run's first turn makes.
    pub fn begin(turn: &Turn) -> Self {
        let mut snapshot = Self { header: turn.header.clone(), frames: std::collections::BTreeMap::new() };
        snapshot.apply(turn);
        snapshot
    }

    /// Makes a turn's changes.
    pub fn apply(&mut self, turn: &Turn) {
        self.header = turn.header.clone();
        for frame in &turn.removed {
            self.frames.remove(frame);
        }
        for frame in &turn.changed {
            self.frames.insert(frame.id, frame.clone());
        }
    }
}
