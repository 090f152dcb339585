//! Retry, Catch, tolerated failures, and attention where none of them applies.
//!
//! An error looks for its handler from the state where it happened outwards: the state's own Retry and Catch, then, in a
//! branch or item, what its Map tolerates, then the Retry and Catch of the Parallel or Map state around it. Where nothing
//! takes it, a Fail state ends the run; any other error leaves the frame where it happened in attention and everything
//! beside it at work.

use serde_json::json;

use super::{Rejected, draft::Draft, finish::within_limit};
use crate::engine::{
    Command, FrameId, Notice, Payload, Phase,
    definition::{Catcher, Jitter, Kind, Retrier, State},
    language::Chance,
    snapshot::Failed,
};

/// Who takes an error.
enum Handler {
    Retry { frame: FrameId, retrier: usize, delay_ms: u64 },
    Catch { frame: FrameId, catcher: usize },
    Tolerate { item: FrameId, map: FrameId },
    Nobody,
}

/// Where an error comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Error,
    FailState,
}

impl Draft<'_> {
    /// An error in the frame's state.
    pub fn fail(&mut self, id: FrameId, error: &str, cause: &str) {
        self.handle(id, error, cause, Origin::Error, true);
    }

    /// A Fail state was reached.
    pub fn fail_by_state(&mut self, id: FrameId, error: &str, cause: &str) {
        self.handle(id, error, cause, Origin::FailState, true);
    }

    /// `by_own_state` is false where the state's own Retry and Catch have had their say.
    fn handle(&mut self, id: FrameId, error: &str, cause: &str, origin: Origin, by_own_state: bool) {
        let (handler, error, cause) = self.handler(id, error, cause, by_own_state);
        match handler {
            Handler::Retry { frame, retrier, delay_ms } => {
                self.retry_later(frame, retrier, delay_ms, Failed { error, cause })
            }
            Handler::Catch { frame, catcher } => {
                let Some(state) = self.state_of(frame) else { return };
                if let Some(catcher) = state.catch.get(catcher) {
                    self.catch(frame, catcher, &error, &cause);
                }
            }
            Handler::Tolerate { item, map } => self.item_failed(item, map, &error, &cause),
            Handler::Nobody if origin == Origin::FailState => self.end_by_fail_state(&error, &cause),
            Handler::Nobody => self.attend(id, &error, &cause),
        }
    }

    /// Finds who takes the error; on its way outwards it may become States.ExceedToleratedFailureThreshold, and stays so
    /// where nobody takes it.
    fn handler(&self, id: FrameId, error: &str, cause: &str, by_own_state: bool) -> (Handler, String, String) {
        let (mut error, mut cause) = (error.to_owned(), cause.to_owned());
        let mut at = id;
        let mut from_branch = false;
        loop {
            if let Some(state) = self.state_of(at).filter(|_| by_own_state || from_branch) {
                if let Some((retrier, delay_ms)) = self.retrier(at, state, &error, from_branch) {
                    return (Handler::Retry { frame: at, retrier, delay_ms }, error, cause);
                }
                if let Some(catcher) =
                    state.catch.iter().position(|catcher| matches(&catcher.error_equals, &error, from_branch))
                {
                    return (Handler::Catch { frame: at, catcher }, error, cause);
                }
            }
            let Some(parent) = self.parent(at) else { break };
            from_branch = true;
            if let (Some(Kind::Map(map)), Some(Phase::Joining(join))) =
                (self.state_of(parent).map(|state| &state.kind), self.frame(parent).map(|frame| &frame.phase))
                && (map.tolerated_count.is_some() || map.tolerated_percentage.is_some())
            {
                match self.tolerates(parent, map, join.failed.saturating_add(1), join.total) {
                    Ok(true) => return (Handler::Tolerate { item: at, map: parent }, error, cause),
                    Ok(false) => {
                        cause = format!(
                            "{} of {} items failed, the last with {error}: {cause}",
                            join.failed.saturating_add(1),
                            join.total
                        );
                        "States.ExceedToleratedFailureThreshold".clone_into(&mut error);
                    }
                    // It was read when the Map was entered; what goes wrong now hides no item's error.
                    Err(_) => {}
                }
            }
            at = parent;
        }
        (Handler::Nobody, error, cause)
    }

    fn retrier(&self, id: FrameId, state: &State, error: &str, from_branch: bool) -> Option<(usize, u64)> {
        let index = state.retry.iter().position(|retrier| matches(&retrier.error_equals, error, from_branch))?;
        let retrier = state.retry.get(index)?;
        let taken = self.frame(id)?.retries.get(index).copied().unwrap_or_default();
        (u64::from(taken) < retrier.max_attempts).then(|| (index, delay_ms(retrier, taken, self.chance())))
    }

    fn retry_later(&mut self, id: FrameId, retrier: usize, delay_ms: u64, failed: Failed) {
        self.drop_children(id);
        let Some(frame) = self.frame_mut(id) else { return };
        if frame.retries.len() <= retrier {
            frame.retries.resize(retrier.saturating_add(1), 0);
        }
        if let Some(taken) = frame.retries.get_mut(retrier) {
            *taken = taken.saturating_add(1);
        }
        frame.failure = Some(failed);
        frame.visit = frame.visit.saturating_add(1);
        let wait = i64::try_from(delay_ms).ok().and_then(chrono::TimeDelta::try_milliseconds);
        let until = wait.and_then(|wait| self.at.checked_add_signed(wait)).unwrap_or(self.at);
        self.set_phase(id, Phase::Backoff { until });
        self.set_timer(id, until);
    }

    /// A time has passed by which the frame had to be done. Its own state's Catch takes it, or it is refused: a state that
    /// catches nothing is itself what others lead to, and must not be cut short.
    pub fn overdue(&mut self, id: FrameId, visit: u64, error: &str, cause: &str) -> Result<(), Rejected> {
        self.expect(id, visit, "anything that can be cut short", |phase| match phase {
            Phase::Step { .. }
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::Form { .. }
            | Phase::Child { .. }
            | Phase::Joining(_)
            | Phase::Attention { .. } => true,
            Phase::Queued | Phase::Done { .. } | Phase::Failed { .. } => false,
        })?;
        let state = self.state_of(id).ok_or(Rejected::NoFrame { frame: id })?;
        let Some(catcher) = state.catch.iter().find(|catcher| matches(&catcher.error_equals, error, false)) else {
            let reason = format!("the state `{}` of frame {id} does not catch {error}", state.name);
            return Err(Rejected::Illegal { reason });
        };
        self.drop_children(id);
        self.set_phase(id, Phase::Queued);
        self.catch(id, catcher, error, cause);
        Ok(())
    }

    fn catch(&mut self, id: FrameId, catcher: &Catcher, error: &str, cause: &str) {
        self.drop_children(id);
        let output = Payload::from(json!({ "Error": error, "Cause": cause }));
        let placed = self.place(id, &catcher.result_path, output.clone()).and_then(|placed| {
            within_limit("the output", &placed)?;
            if let Some(assign) = &catcher.assign {
                self.assign(id, assign, &output)?;
            }
            Ok(placed)
        });
        match placed {
            Ok(placed) => self.enter(id, catcher.next.clone(), placed),
            Err(failure) => self.handle(id, &failure.error, &failure.cause, Origin::Error, false),
        }
    }

    /// The frame waits for an engineer.
    pub fn attend(&mut self, id: FrameId, error: &str, cause: &str) {
        self.drop_children(id);
        let since = self.at;
        let Some(frame) = self.frame_mut(id) else { return };
        frame.visit = frame.visit.saturating_add(1);
        let notice = Notice::Attention {
            frame: id,
            visit: frame.visit,
            state: frame.state.clone(),
            error: error.to_owned(),
            cause: cause.to_owned(),
        };
        self.set_phase(id, Phase::Attention { error: error.to_owned(), cause: cause.to_owned(), since });
        self.commands.push(Command::Tell { notice });
    }
}

/// Whether an ErrorEquals takes an error.
///
/// `States.ALL` takes any but `States.DataLimitExceeded` and `States.Runtime`, `States.TaskFailed` any but those and
/// `States.Timeout`; `States.Timeout` takes a missed heartbeat too. A branch's error is also `States.BranchFailed`. Nothing takes
/// `States.Runtime`, not even its own name (recorded on AWS).
/// Source: <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>, "Error names".
fn matches(error_equals: &[String], error: &str, from_branch: bool) -> bool {
    let terminal = matches!(error, "States.DataLimitExceeded" | "States.Runtime");
    error_equals.iter().any(|wanted| match wanted.as_str() {
        wanted if wanted == error => error != "States.Runtime",
        "States.ALL" => !terminal,
        "States.TaskFailed" => !terminal && error != "States.Timeout",
        "States.Timeout" => error == "States.HeartbeatTimeout",
        "States.BranchFailed" => from_branch && !terminal,
        _ => false,
    })
}

/// The wait before retry number `taken` + 1: interval · rate^taken, at most MaxDelaySeconds, drawn from 0 up to that with
/// full jitter.
fn delay_ms(retrier: &Retrier, taken: u32, chance: &Chance) -> u64 {
    /// A hundred years: no delay is longer, whatever the rate.
    const MOST_MS: f64 = 3.2e12;
    let power = i32::try_from(taken).unwrap_or(i32::MAX);
    let interval = u32::try_from(retrier.interval_s).map_or(f64::from(u32::MAX), f64::from);
    let mut delay = (interval * retrier.backoff_rate.powi(power) * 1_000.0).min(MOST_MS);
    if let Some(most) = retrier.max_delay_s {
        delay = delay.min(u32::try_from(most).map_or(MOST_MS, |most| f64::from(most) * 1_000.0));
    }
    if retrier.jitter == Jitter::Full {
        delay *= chance.next_fraction();
    }
    format!("{delay:.0}").parse().unwrap_or(0)
}
