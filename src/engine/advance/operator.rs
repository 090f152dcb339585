//! What people do to a run: retry, skip, pause, resume, cancel.

use super::{Rejected, draft::Draft, finish::within_limit};
use crate::engine::{FrameId, Outcome, Payload, Phase, definition::Kind};

impl Draft<'_> {
    /// The frame stands in attention, at the visit that the person saw.
    fn in_attention(&self, id: FrameId, visit: u64) -> Result<(), Rejected> {
        let frame = self.frame(id).ok_or(Rejected::NoFrame { frame: id })?;
        if frame.visit != visit {
            return Err(Rejected::Stale { frame: id, event: visit, frame_at: frame.visit });
        }
        match &frame.phase {
            Phase::Attention { .. } => Ok(()),
            Phase::Queued
            | Phase::Step { .. }
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::Form { .. }
            | Phase::Child { .. }
            | Phase::Joining(_)
            | Phase::Done { .. }
            | Phase::Failed { .. } => Err(Rejected::Illegal {
                reason: format!(
                    "frame {id} in state `{}` is not in attention: there is nothing to repair",
                    frame.state
                ),
            }),
        }
    }

    /// Tries a state again, with all its retries anew.
    pub fn retry(&mut self, id: FrameId, visit: u64, input: Option<Payload>) -> Result<(), Rejected> {
        self.in_attention(id, visit)?;
        if let Some(input) = &input {
            within_limit("the input", input)
                .map_err(|failure| Rejected::Illegal { reason: format!("the input does not fit: {failure}") })?;
        }
        self.set_phase(id, Phase::Queued);
        if let Some(frame) = self.frame_mut(id) {
            frame.retries.clear();
            frame.failure = None;
            if let Some(input) = input {
                frame.input = input;
            }
        }
        self.begin(id);
        Ok(())
    }

    /// Goes on behind a state as if it had succeeded with `output`, its raw result; without one its input goes on
    /// unchanged, and nothing is assigned.
    pub fn skip(&mut self, id: FrameId, visit: u64, output: Option<Payload>) -> Result<(), Rejected> {
        self.in_attention(id, visit)?;
        let state = self.state_of(id).ok_or(Rejected::NoFrame { frame: id })?;
        if matches!(state.kind, Kind::Choice { .. } | Kind::Fail { .. }) {
            let reason = format!(
                "a {} state cannot be skipped, since it alone says how to go on: retry it with another input",
                state.type_name()
            );
            return Err(Rejected::Illegal { reason });
        }
        let input = self.frame(id).map(|frame| frame.input.clone()).ok_or(Rejected::NoFrame { frame: id })?;
        self.set_phase(id, Phase::Queued);
        let done = match output {
            Some(output) => within_limit("the output", &output).and_then(|()| self.complete(id, state, output)),
            None => self.select(id, &state.output_path, &input).map(|output| self.go_on(id, state, output)),
        };
        done.map_err(|failure| Rejected::Illegal { reason: format!("the output does not fit: {failure}") })
    }

    /// While a run is paused nothing new is claimed; what runs may end.
    pub fn pause(&mut self, paused: bool) -> Result<(), Rejected> {
        if self.header.paused == paused {
            let reason = if paused { "the run is paused already" } else { "the run is not paused" };
            return Err(Rejected::Illegal { reason: reason.to_owned() });
        }
        self.header.paused = paused;
        Ok(())
    }

    pub fn cancel(&mut self, reason: &str) {
        self.end(Outcome::Cancelled { reason: reason.to_owned() });
    }
}
