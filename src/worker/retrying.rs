//! What people see of a state that has failed and is tried again.

use super::{Retrying, RunView};
use crate::engine::{Frame, Phase, Snapshot};

/// A frame whose state has failed and is tried again: from then on until the state is left.
pub(super) fn of(frame: &Frame) -> Option<Retrying> {
    let failure = frame.failure.as_ref()?;
    let next_at = match &frame.phase {
        Phase::Backoff { until } => Some(*until),
        Phase::Attention { .. } | Phase::Done { .. } | Phase::Failed { .. } => return None,
        Phase::Queued
        | Phase::Step { .. }
        | Phase::Waiting { .. }
        | Phase::Form { .. }
        | Phase::Child { .. }
        | Phase::Joining(_) => None,
    };
    let taken: u64 = frame.retries.iter().copied().map(u64::from).sum();
    Some(Retrying {
        frame: frame.id,
        state: frame.state.clone(),
        attempt: taken + 1,
        error: failure.error.clone(),
        cause: failure.cause.clone(),
        next_at,
    })
}

/// What a summary says of the first state that is tried again.
pub(super) fn words(view: &RunView) -> String {
    view.retrying.first().map_or_else(String::new, |first| {
        format!("; attempt {} of {}, after {}: {}", first.attempt, first.state, first.error, first.cause)
    })
}

/// A snapshot of an earlier version does not say why a state is tried again; the history does, and the two are the same.
pub(super) fn as_written(mut folded: Snapshot, stored: &Snapshot) -> Snapshot {
    for (id, frame) in &mut folded.frames {
        if stored.frames.get(id).is_some_and(|stored| stored.failure.is_none()) {
            frame.failure = None;
        }
    }
    folded
}
