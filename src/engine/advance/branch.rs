//! The end of a branch, an item or the run.

use serde_json::{Value, json};

use super::{draft::Draft, finish::within_limit};
use crate::engine::{
    Frame, FrameId, Join, Outcome, Payload, Phase,
    definition::{Kind, MapState, Percentage},
    language::Failure,
};

impl Draft<'_> {
    /// A frame came to its machine's end.
    pub fn branch_ended(&mut self, id: FrameId, output: Payload) {
        let Some(frame) = self.frame(id) else { return };
        match frame.parent {
            None => self.end(Outcome::Succeeded { output }),
            Some(parent) => {
                self.set_phase(id, Phase::Done { output });
                self.clear(id);
                self.child_settled(parent, true);
            }
        }
    }

    /// An item whose failure its Map tolerates.
    pub fn item_failed(&mut self, id: FrameId, parent: FrameId, error: &str, cause: &str) {
        self.drop_children(id);
        self.set_phase(id, Phase::Failed { error: error.to_owned(), cause: cause.to_owned() });
        self.clear(id);
        self.child_settled(parent, false);
    }

    /// An ended frame keeps its result alone.
    fn clear(&mut self, id: FrameId) {
        if let Some(frame) = self.frame_mut(id) {
            frame.input = Payload::from(Value::Null);
            frame.item = None;
            frame.variables.clear();
            frame.retries.clear();
            frame.failure = None;
            frame.visit = frame.visit.saturating_add(1);
        }
    }

    /// Counts a child's end; lets the next queued one go, or joins.
    fn child_settled(&mut self, parent: FrameId, succeeded: bool) {
        let Some(Frame { phase: Phase::Joining(join), .. }) = self.frame(parent) else { return };
        if join.first <= parent {
            return;
        }
        let mut join = join.clone();
        if succeeded {
            join.succeeded = join.succeeded.saturating_add(1);
        } else {
            join.failed = join.failed.saturating_add(1);
        }
        let next = (join.started < join.total).then(|| join.first.saturating_add(join.started));
        if next.is_some() {
            join.started = join.started.saturating_add(1);
        }
        let all_ended = join.succeeded.saturating_add(join.failed) >= join.total;
        self.set_phase(parent, Phase::Joining(join.clone()));
        if let (Some(next), Some(Kind::Map(map))) = (next, self.state_of(parent).map(|state| &state.kind)) {
            let input = self.frame(next).map(|frame| frame.input.clone());
            self.start_machine(next, map.processor, input.unwrap_or_else(|| Payload::from(Value::Null)));
        }
        if all_ended {
            self.join(parent, &join);
        }
    }

    /// All children have ended: their results, in order, are the state's. A tolerated failure stands there as
    /// `{"Error": …, "Cause": …}`.
    fn join(&mut self, parent: FrameId, join: &Join) {
        let mut results = Vec::new();
        let children = self.children(parent);
        if u64::try_from(children.len()) != Ok(join.total) {
            let cause = format!("{} of {} branches or items are left: the run is damaged", children.len(), join.total);
            self.attend(parent, "States.Runtime", &cause);
            return;
        }
        for child in children {
            results.push(match self.frame(child).map(|frame| &frame.phase) {
                Some(Phase::Done { output }) => (**output).clone(),
                Some(Phase::Failed { error, cause }) => json!({ "Error": error, "Cause": cause }),
                _ => Value::Null,
            });
            self.remove(child);
        }
        let results = Payload::from(Value::Array(results));
        let Some(state) = self.state_of(parent) else { return };
        if let Err(failure) =
            within_limit("the results together", &results).and_then(|()| self.complete(parent, state, results))
        {
            self.fail(parent, &failure.error, &failure.cause);
        }
    }

    /// Removes everything below a frame: its state was left, or starts anew.
    pub fn drop_children(&mut self, id: FrameId) {
        let below: Vec<FrameId> = self.descendants(id);
        for frame in below {
            self.remove(frame);
        }
    }

    fn descendants(&self, id: FrameId) -> Vec<FrameId> {
        let mut found = Vec::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            let children = self.children(next);
            found.extend(&children);
            open.extend(children);
        }
        found
    }

    /// How many items of a Map may fail, and what share of them in percent.
    ///
    /// # Errors
    /// `States.Runtime`: a path leads to no such number.
    pub fn tolerance(&self, id: FrameId, map: &MapState, input: &Value) -> Result<(Option<u64>, Option<f64>), Failure> {
        let count = map.tolerated_count.as_ref().map(|amount| self.amount(id, amount, input)).transpose()?;
        let percentage = match &map.tolerated_percentage {
            None => None,
            Some(Percentage::Fixed(number)) => Some(*number),
            Some(Percentage::Path(path)) => {
                let value = self.refer(id, path, input)?;
                let number = value.as_f64().filter(|number| (0.0..=100.0).contains(number));
                let no_percentage = || format!("`{}` is {value}, no percentage from 0 to 100", path.text());
                Some(number.ok_or_else(|| Failure::new("States.Runtime", no_percentage()))?)
            }
        };
        Ok((count, percentage))
    }

    /// Whether a Map goes on after this many of its items have failed.
    pub fn tolerates(&self, parent: FrameId, map: &MapState, failed: u64, total: u64) -> Result<bool, Failure> {
        let (Some(frame), Some(state)) = (self.frame(parent), self.state_of(parent)) else { return Ok(false) };
        let input = self.select(parent, &state.input_path, &frame.input)?;
        let (count, percentage) = self.tolerance(parent, map, &input)?;
        let within_count = count.is_none_or(|count| failed <= count);
        // No Map has more items than a turn may open, which a 32-bit number holds.
        let as_float = |count: u64| u32::try_from(count).map_or(f64::INFINITY, f64::from);
        let within_percentage =
            percentage.is_none_or(|percentage| as_float(failed) * 100.0 <= percentage * as_float(total));
        Ok((count.is_some() || percentage.is_some()) && within_count && within_percentage)
    }
}

impl Join {
    /// The children's frames.
    pub fn children(&self) -> std::ops::Range<FrameId> {
        self.first..self.first.saturating_add(self.total)
    }
}
