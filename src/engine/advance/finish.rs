//! What follows a state's result: ResultSelector, Assign, ResultPath, OutputPath, Next.

use serde_json::Value;

use super::draft::Draft;
use crate::engine::{
    FrameId, Payload,
    definition::{Kind, Placement, State, Transition},
    language::{Failure, MAX_DEPTH, Template},
};

/// The largest result, output, or set of variables of one frame, as compact JSON: 1 MiB (AWS stops at 256 KiB).
const MAX_RESULT_BYTES: usize = 1 << 20;

impl Draft<'_> {
    /// The frame's state has succeeded with `result` from outside.
    pub fn succeed(&mut self, id: FrameId, result: Payload) {
        let Some(state) = self.state_of(id) else {
            self.park(id, "States.Runtime", "the definition has no such state");
            return;
        };
        let finished = within_limit(&result).and_then(|()| self.complete(id, state, result));
        if let Err(failure) = finished {
            self.fail(id, &failure.error, &failure.cause);
        }
    }

    /// Carries a state's result on to where the state leads. Assign sees the result as it came, before ResultSelector.
    pub fn complete(&mut self, id: FrameId, state: &State, result: Payload) -> Result<(), Failure> {
        let selected = match &state.result_selector {
            Some(template) => Payload::from(self.evaluate(id, &result, |scope| template.evaluate(scope))?),
            None => result.clone(),
        };
        let output = self.place(id, &state.result_path, selected)?;
        let output = self.select(id, &state.output_path, &output)?;
        // What came in and what came back have been measured; only what was put together here is new.
        if !output.is_same(&result) && self.frame(id).is_none_or(|frame| !frame.input.is_same(&output)) {
            within_limit(&output)?;
        }
        if let Some(assign) = &state.assign {
            self.assign(id, assign, &result)?;
        }
        self.go_on(id, state, output);
        Ok(())
    }

    /// ResultPath: the result's place in the state's raw input.
    pub fn place(&self, id: FrameId, placement: &Placement, result: Payload) -> Result<Payload, Failure> {
        let raw = || self.frame(id).map(|frame| frame.input.clone()).unwrap_or_else(|| Payload::from(Value::Null));
        match placement {
            Placement::Replace => Ok(result),
            Placement::Discard => Ok(raw()),
            Placement::At(path) => path.put(raw().into_value(), result.into_value()).map(Payload::from),
        }
    }

    /// Assigns variables in the frame's own scope; all expressions see the values from before.
    pub fn assign(&mut self, id: FrameId, template: &Template, input: &Value) -> Result<(), Failure> {
        let Value::Object(assigned) = self.evaluate(id, input, |scope| template.evaluate(scope))? else {
            return Ok(());
        };
        if let Some(outer) = assigned.keys().find(|name| self.is_outer_variable(id, name)) {
            let cause =
                format!("the variable `${outer}` belongs to the scope outside: a branch or item cannot assign it");
            return Err(Failure::new("States.Runtime", cause));
        }
        let Some(frame) = self.frame_mut(id) else { return Ok(()) };
        let mut variables = frame.variables.clone();
        variables.extend(assigned);
        let variables = Value::Object(variables);
        within_limit(&variables)?;
        if let Value::Object(variables) = variables {
            frame.variables = variables;
        }
        Ok(())
    }

    /// Follows the state's Next or End.
    pub fn go_on(&mut self, id: FrameId, state: &State, output: Payload) {
        let transition = match &state.kind {
            Kind::Task { transition, .. }
            | Kind::Pass { transition, .. }
            | Kind::Wait { transition, .. }
            | Kind::Parallel { transition, .. } => transition,
            Kind::Map(map) => &map.transition,
            Kind::Choice { .. } | Kind::Succeed | Kind::Fail { .. } => &Transition::End,
        };
        match transition {
            Transition::Next(next) => self.enter(id, next.clone(), output),
            Transition::End => self.end_frame(id, output),
        }
    }
}

/// Whether a value is nested deeper than this language's parsers and the JSON reader go, and so could not be read back.
pub(super) fn too_deep(value: &Value) -> bool {
    fn within(value: &Value, left: usize) -> bool {
        let Some(below) = left.checked_sub(1) else { return false };
        match value {
            Value::Array(items) => items.iter().all(|item| within(item, below)),
            Value::Object(members) => members.values().all(|member| within(member, below)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    !within(value, MAX_DEPTH)
}

/// Refuses a value that is too large to carry in every later commit, or too deep to be read back from one. Without this a
/// loop that doubles its data, or wraps it once a round, would end the process and not the run.
pub(super) fn within_limit(result: &Value) -> Result<(), Failure> {
    if too_deep(result) {
        let cause = format!("the data is nested more than {MAX_DEPTH} deep: flatten it");
        return Err(Failure::new("States.DataLimitExceeded", cause));
    }
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            if self.0 > MAX_RESULT_BYTES { Err(std::io::ErrorKind::WriteZero.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Counter(0), result).map_err(|_| {
        let cause = format!("the data has more than {MAX_RESULT_BYTES} bytes: keep it elsewhere and pass a reference");
        Failure::new("States.DataLimitExceeded", cause)
    })
}
