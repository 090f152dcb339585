//! What a turn writes, and its sealing into rows: the same for every database, done outside the transaction.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Blobs, StoreError, WorkKind, codec, micros};
use crate::engine::{Event, Frame, FrameId, Header, Notice, Outcome, Payload, Standing};

/// The frame number under which a run's own timer stands among the work.
pub const RUN_TIMER: i64 = -1;
/// The frame number under which a word from a run's parent stands among the work.
pub const SIGNAL: i64 = -2;

/// One run's turns, folded onto revision `expected`, to be made durable together.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The revision that the first event was folded onto; 0 for a new run.
    pub expected: u64,
    /// What a new run has besides; exactly when `expected` is 0.
    pub start: Option<Start>,
    /// After the last event.
    pub header: Header,
    pub root: Option<Frame>,
    pub status: Standing,
    pub events: Vec<Happened>,
    /// Frames as they stand after the last event; the root among them is ignored.
    pub changed: Vec<Frame>,
    pub removed: Vec<FrameId>,
    /// By frame: the work that replaces what was there, or `None` to drop it.
    pub work: BTreeMap<i64, Option<WorkOrder>>,
    /// Keeps all work of the run from being claimed, or lets it go again.
    pub hold: Option<bool>,
    pub signals: Vec<Signal>,
    pub notices: Vec<Notice>,
    pub records: Vec<NewRecord>,
    /// Claims whose results these turns are.
    pub answers: Vec<Answered>,
    /// Requests of people that these turns answer: each key answers one request, and no key twice.
    pub keys: Vec<KeyUse>,
    pub at: DateTime<Utc>,
}

/// An event and the states that were entered by it.
#[derive(Debug, Clone)]
pub struct Happened {
    pub event: Event,
    pub entered: Vec<String>,
}

/// What a new run has.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub parent: Option<ParentLink>,
    /// At most one open run an enterprise has this set.
    pub exclusive: bool,
    /// Each starts one run; no key twice.
    pub idempotency: Vec<Idempotency>,
}

/// The frame that waits for a child run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentLink {
    pub run: String,
    pub frame: FrameId,
    pub visit: u64,
}

/// The same key with the same request starts one run, however often it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    /// Hash of the request.
    pub request: String,
}

/// An idempotency key and the change that it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    pub key: String,
    /// Hash of the request.
    pub request: String,
    /// What came of the request, for whoever sends it again; JSON without secrets.
    pub answer: Value,
}

/// An idempotency key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// Hash of the request.
    pub request: String,
    /// The run that was started or moved; empty if the change was of another kind.
    pub run: String,
    /// As of a [`KeyUse`]; null for a run that was started.
    pub answer: Value,
}

/// Work for a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkOrder {
    pub visit: u64,
    pub kind: WorkKind,
    pub name: String,
    pub input: Payload,
    pub due_at: Option<DateTime<Utc>>,
    pub timeout_s: Option<u64>,
    pub heartbeat_s: Option<u64>,
    /// Claimed in this very commit, first attempt counted.
    pub claim: Option<ClaimAtOnce>,
}

/// For whom work is claimed as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimAtOnce {
    pub owner: String,
    pub lease_until: DateTime<Utc>,
}

/// A word to a run's children.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The children of this frame only, up to this visit: a later visit's child is not meant.
    pub frame: Option<(FrameId, u64)>,
    pub word: Word,
    /// `{"actor": …, "reason": …}`
    pub body: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Cancel,
    Pause,
    Resume,
}

impl Word {
    pub fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// A record to write under (enterprise, collection, key).
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    pub collection: String,
    pub key: String,
    pub body: Value,
}

/// The claim that an event answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub frame: i64,
    pub visit: u64,
    pub fence: u64,
}

impl Transition {
    /// The fence of work that is claimed by the commit of turns that lead to `revision`: above all that the frame's work had
    /// before, because a run's revision only grows and a row is not claimed sixteen million times.
    pub fn fence_at(revision: u64) -> u64 {
        Self::first_fence(revision) + 1
    }

    /// The fence of work that is written, but not claimed, by the commit of turns that lead to `revision`: every claim of what
    /// the frame had before has a lesser one.
    pub fn first_fence(revision: u64) -> u64 {
        revision << 24
    }
}

/// A transition as rows.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub(crate) run: String,
    pub(crate) expected: u64,
    pub(crate) revision: u64,
    pub(crate) start: Option<Start>,
    pub(crate) enterprise: String,
    pub(crate) workflow: String,
    pub(crate) definition: String,
    pub(crate) status: &'static str,
    pub(crate) ended_at: Option<i64>,
    pub(crate) state: String,
    pub(crate) frames: Vec<(FrameId, String)>,
    pub(crate) removed: Vec<FrameId>,
    /// Texts of event and entered states.
    pub(crate) history: Vec<(String, String)>,
    pub(crate) dropped: Vec<i64>,
    /// The columns after the run's number, in the order of `upsert_work.sql`.
    pub(crate) work: Vec<Value>,
    pub(crate) hold: Option<bool>,
    pub(crate) signals: Vec<Signal>,
    /// Whether what the run asks of people is withdrawn: it ended without an answer being of use.
    pub(crate) withdraws: bool,
    pub(crate) notices: Vec<String>,
    pub(crate) records: Vec<NewRecord>,
    pub(crate) answers: Vec<Answered>,
    pub(crate) keys: Vec<KeyUse>,
    pub(crate) blobs: Vec<(String, String)>,
    pub(crate) at: i64,
}

/// Turns a transition into rows. `blobs` remembers the hashes of the run's big values between its turns.
///
/// # Errors
/// A value that JSON cannot write.
pub fn seal(transition: Transition, blobs: &mut Blobs) -> Result<Sealed, StoreError> {
    let broken = |error: serde_json::Error| StoreError::corrupt("turn", error);
    let at = micros(transition.at);
    let base = Transition::first_fence(transition.header.revision);
    let held = transition.header.paused;
    let state = codec::encode_state(&transition.header, transition.root.as_ref(), blobs).map_err(broken)?;
    let mut frames = Vec::with_capacity(transition.changed.len());
    for frame in transition.changed.iter().filter(|frame| frame.id != 0) {
        frames.push((frame.id, codec::encode_frame(frame, blobs).map_err(broken)?));
    }
    let mut history = Vec::with_capacity(transition.events.len());
    for happened in &transition.events {
        let entered = serde_json::to_string(&happened.entered).map_err(broken)?;
        history.push((codec::encode_event(&happened.event, blobs).map_err(broken)?, entered));
    }
    let mut notices = Vec::with_capacity(transition.notices.len());
    for notice in &transition.notices {
        notices.push(codec::encode_notice(notice, blobs).map_err(broken)?);
    }
    let ended = transition.header.outcome.is_some();
    let mut dropped = Vec::new();
    let mut work = Vec::new();
    for (frame, order) in transition.work.iter().filter(|_| !ended) {
        let Some(order) = order else {
            dropped.push(*frame);
            continue;
        };
        let input = codec::encode_value(&order.input, blobs).map_err(broken)?;
        let claim = order.claim.as_ref();
        let deadline = claim
            .and(order.timeout_s)
            .map(|seconds| at.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)));
        work.push(json!([
            frame,
            order.visit,
            order.kind.word(),
            order.name,
            input,
            order.due_at.map(micros),
            i64::from(held),
            base + u64::from(claim.is_some()),
            i64::from(claim.is_some()),
            order.timeout_s,
            order.heartbeat_s,
            deadline,
            claim.map(|claim| claim.owner.as_str()),
            claim.map(|claim| micros(claim.lease_until)),
            at,
        ]));
    }
    Ok(Sealed {
        run: transition.header.run.clone(),
        expected: transition.expected,
        revision: transition.header.revision,
        start: transition.start,
        enterprise: transition.header.enterprise.clone(),
        workflow: transition.header.workflow.clone(),
        definition: transition.header.definition.clone(),
        status: codec::standing_word(transition.status),
        ended_at: ended.then(|| transition.header.ended_at.map_or(at, micros)),
        state,
        frames,
        removed: transition.removed,
        history,
        dropped,
        work,
        hold: transition.hold,
        signals: transition.signals,
        withdraws: matches!(&transition.header.outcome, Some(Outcome::Failed { .. } | Outcome::Cancelled { .. })),
        notices,
        records: transition.records,
        answers: transition.answers,
        keys: transition.keys,
        blobs: blobs.take(),
        at,
    })
}
