//! What happened to a run. Events are what history keeps: folding them from the first gives the snapshot again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{FrameId, Payload};

/// One thing that happened to a run, with everything `advance` may not find out by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, by the clock of whoever recorded it.
    pub at: DateTime<Utc>,
    /// 64 random bits from the system's generator: all chance of this turn (retry jitter, `States.UUID`,
    /// `States.MathRandom`) is drawn from them.
    pub chance: u64,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// A person or a part of keyferry that acts on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// A name that the audit trail keeps, for example `admin` or `customer:dave`.
    pub name: String,
    /// `engineer`, `csm`, `customer`, `admin` or `system`.
    pub role: String,
}

/// How a child run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "kebab-case")]
pub enum ChildEnd {
    Succeeded { output: Payload },
    Failed { error: String, cause: String },
    Cancelled { reason: String },
}

/// The kinds of event. `visit` is the number of the frame's visit that the event answers: an event for an earlier visit
/// is rejected as stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The first event of every run.
    Started {
        run: String,
        enterprise: String,
        workflow: String,
        definition: String,
        input: Payload,
        actor: Actor,
    },
    StepSucceeded {
        frame: FrameId,
        visit: u64,
        output: Payload,
    },
    /// `error` is an ASL error name, `cause` is for people.
    StepFailed {
        frame: FrameId,
        visit: u64,
        error: String,
        cause: String,
    },
    /// The step's process died while it ran, more often than allowed: straight to attention, no Retry applies.
    StepCrashed {
        frame: FrameId,
        visit: u64,
        crashes: u32,
    },
    /// The step's, form's or child's `TimeoutSeconds` passed.
    TimedOut {
        frame: FrameId,
        visit: u64,
    },
    /// What the frame does had to be done by a time that has passed, in whatever phase it stands, held or in attention. Only a
    /// state that catches the error takes it.
    Overdue {
        frame: FrameId,
        visit: u64,
        error: String,
        cause: String,
    },
    /// No heartbeat came within `HeartbeatSeconds`.
    HeartbeatMissed {
        frame: FrameId,
        visit: u64,
    },
    /// The time that a Wait state waits for has come.
    TimerFired {
        frame: FrameId,
        visit: u64,
    },
    FormAnswered {
        frame: FrameId,
        visit: u64,
        answer: Payload,
        actor: Actor,
    },
    ChildEnded {
        frame: FrameId,
        visit: u64,
        child: String,
        end: ChildEnd,
    },
    /// Run's own `TimeoutSeconds` (top level of the definition) passed.
    RunTimedOut,
    /// A frame in attention is tried again, with another input if one is given.
    Retried {
        frame: FrameId,
        visit: u64,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "Payload::present")]
        input: Option<Payload>,
        actor: Actor,
        reason: String,
    },
    /// A frame in attention goes on as if its state had succeeded with `output`, the state's raw result. Without one the
    /// state's input goes on unchanged.
    Skipped {
        frame: FrameId,
        visit: u64,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "Payload::present")]
        output: Option<Payload>,
        actor: Actor,
        reason: String,
    },
    Paused {
        actor: Actor,
        reason: String,
    },
    Resumed {
        actor: Actor,
        reason: String,
    },
    Cancelled {
        actor: Actor,
        reason: String,
    },
}
