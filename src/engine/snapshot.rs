//! Where a run stands: its header and its frames.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use serde_json::Value;

use super::{Actor, Payload};

/// A frame's number within its run: the root is 0, later ones count up and are never used again.
pub type FrameId = u64;

/// A run: its header and the frames that are alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub header: Header,
    pub frames: BTreeMap<FrameId, Frame>,
}

/// What a run has once. It is small: no member grows with the run's width or age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub run: String,
    pub enterprise: String,
    pub workflow: String,
    /// Content hash of the definition that the run keeps.
    pub definition: String,
    /// Number of events folded into this snapshot; the fence of every write to the run.
    pub revision: u64,
    pub started_at: DateTime<Utc>,
    pub started_by: Actor,
    /// The execution's input, for the context object.
    pub input: Payload,
    /// The next new frame's number.
    pub next_frame: FrameId,
    /// Frames that stand in attention.
    pub in_attention: u64,
    pub paused: bool,
    /// Set when the run has ended.
    pub outcome: Option<Outcome>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Outcome {
    Succeeded {
        output: Payload,
    },
    /// An ASL Fail state was reached (or the run's own TimeoutSeconds passed). What its Fail state does not name is empty.
    Failed {
        error: String,
        cause: String,
    },
    Cancelled {
        reason: String,
    },
}

impl Outcome {
    /// The error and the cause of a failure, each where it has one.
    pub fn failure(&self) -> (Option<String>, Option<String>) {
        let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        match self {
            Self::Failed { error, cause } => (named(error), named(cause)),
            Self::Succeeded { .. } | Self::Cancelled { .. } => (None, None),
        }
    }
}

/// The place where one branch of a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub id: FrameId,
    /// The frame whose Parallel or Map state opened this one, and which branch or item it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<FrameId>,
    #[serde(default, skip_serializing_if = "is_first")]
    pub index: u64,
    /// Name of the state that the frame stands in; ASL names are unique within a definition.
    pub state: String,
    /// Counts each entry into a state and each new try of it, over the frame's whole life.
    pub visit: u64,
    pub entered_at: DateTime<Utc>,
    /// The state's raw input.
    pub input: Payload,
    /// The Map item that this frame works on, where the definition reads the context object.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "Payload::present")]
    pub item: Option<Payload>,
    /// Variables assigned in this frame's scope.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Value>,
    /// Per Retrier of the state, the retries taken in this stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<u32>,
    /// Why the state was tried again the last time, in this stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failed>,
    pub phase: Phase,
}

/// What an attempt ended in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub error: String,
    pub cause: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn is_first(index: &u64) -> bool {
    *index == 0
}

/// What a frame is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// A Map item that waits for its turn under MaxConcurrency.
    Queued,
    /// A step is due or runs; after a failure it may be due later.
    Step { step: String, due_at: DateTime<Utc> },
    /// A Wait state, until then.
    Waiting { until: DateTime<Utc> },
    /// A state that is retried as a whole, from then on.
    Backoff { until: DateTime<Utc> },
    /// A person must answer.
    Form {
        form: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// A child run works.
    Child {
        workflow: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// A Parallel or Map state whose children work.
    Joining(Join),
    /// An error that nothing caught.
    Attention { error: String, cause: String, since: DateTime<Utc> },
    /// A branch or item that has ended; its parent's join takes the result.
    Done { output: Payload },
    /// An item whose failure the Map tolerates.
    Failed { error: String, cause: String },
}

/// Progress of a Parallel or Map state: counters only, so that an item's end writes a bounded amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Number of the first child's frame: children have consecutive numbers.
    pub first: FrameId,
    pub total: u64,
    /// Children that have been let go (the rest is queued).
    pub started: u64,
    pub succeeded: u64,
    pub failed: u64,
}

/// In one word, how a run stands as far as its snapshot knows. Whether due work has a live lease is the store's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Working,
    Waiting,
    Attention,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl Phase {
    /// Whether the frame has a piece of work in the store.
    pub fn has_work(&self) -> bool {
        match self {
            Self::Step { .. }
            | Self::Waiting { .. }
            | Self::Backoff { .. }
            | Self::Form { .. }
            | Self::Child { .. } => true,
            Self::Queued | Self::Joining(_) | Self::Attention { .. } | Self::Done { .. } | Self::Failed { .. } => false,
        }
    }
}

impl Snapshot {
    /// How the run stands: attention comes before work, work before waiting.
    pub fn standing(&self) -> Standing {
        match &self.header.outcome {
            Some(Outcome::Succeeded { .. }) => return Standing::Succeeded,
            Some(Outcome::Failed { .. }) => return Standing::Failed,
            Some(Outcome::Cancelled { .. }) => return Standing::Cancelled,
            None => {}
        }
        if self.header.paused {
            Standing::Paused
        } else if self.header.in_attention > 0 {
            Standing::Attention
        } else if self.frames.values().any(|frame| matches!(frame.phase, Phase::Step { .. })) {
            Standing::Working
        } else {
            Standing::Waiting
        }
    }
}
