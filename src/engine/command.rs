//! What must be done next. Commands are data, made durable in the commit of the turn that decided them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{FrameId, Payload};

/// Every command but `Tell` sets or clears the one piece of work that a frame has: a later command replaces an earlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Execute the step registered under `step`, not before `due_at`.
    RunStep {
        frame: FrameId,
        visit: u64,
        /// The name behind `urn:keyferry:step:`.
        step: String,
        input: Payload,
        due_at: DateTime<Utc>,
        /// Seconds from the first claim to `TimedOut`; ASL's default is none.
        timeout_s: Option<u64>,
        heartbeat_s: Option<u64>,
    },
    /// Answer `TimerFired` at `due_at`, never before.
    SetTimer { frame: FrameId, visit: u64, due_at: DateTime<Utc> },
    /// Wait for a person. `TimedOut` at `until`, if there is one.
    OpenForm { frame: FrameId, visit: u64, form: String, input: Payload, until: Option<DateTime<Utc>> },
    /// Start a child run in the same commit and answer `ChildEnded` when it has ended; `TimedOut` at `until`.
    StartChild { frame: FrameId, visit: u64, workflow: String, input: Payload, until: Option<DateTime<Utc>> },
    /// The frame has no work any more: drop what was set for it, and cancel its child run if it had one.
    Forget { frame: FrameId },
    /// Answer `RunTimedOut` at `due_at` (set once, when the run starts).
    SetRunTimer { due_at: DateTime<Utc> },
    /// Tell the world: one row in the outbox.
    Tell { notice: Notice },
}

impl Command {
    /// The frame whose work it sets or clears.
    pub fn frame(&self) -> Option<FrameId> {
        match self {
            Self::RunStep { frame, .. }
            | Self::SetTimer { frame, .. }
            | Self::OpenForm { frame, .. }
            | Self::StartChild { frame, .. }
            | Self::Forget { frame } => Some(*frame),
            Self::SetRunTimer { .. } | Self::Tell { .. } => None,
        }
    }
}

/// What the world is told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
pub enum Notice {
    /// A person must answer a form. `input` is what the form state was given: it may hold findings for the person.
    FormOpened { frame: FrameId, visit: u64, state: String, form: String, input: Payload },
    /// An engineer must look: nothing caught this error.
    Attention { frame: FrameId, visit: u64, state: String, error: String, cause: String },
    /// A step was done, and people are to hear of it: the name of the letter, and what it is about.
    Told { frame: FrameId, visit: u64, letter: String, about: Payload },
    /// The run ended.
    Ended { outcome: super::Outcome },
}
