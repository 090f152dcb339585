//! What follows a state's result: ResultSelector, Assign, ResultPath, OutputPath, Next.

use serde_json::Value;

use super::draft::Draft;
use crate::engine::{
    FrameId, Payload,
    definition::{Kind, Placement, State, Transition},
    language::{Failure, MAX_DEPTH, Template},
};

/// The largest value that passes between states, as compact JSON: 1 MiB (AWS stops at 256 KiB).
const MAX_BYTES: usize = 1 << 20;

impl Draft<'_> {
    /// The frame's state has succeeded with `result` from outside.
    pub fn succeed(&mut self, id: FrameId, result: Payload) {
        let Some(state) = self.state_of(id) else {
            self.attend(id, "States.Runtime", "the definition has no such state");
            return;
        };
        let finished = within_limit("the result", &result).and_then(|()| self.complete(id, state, result));
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
        within_limit("the output", &output)?;
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

    /// Assigns variables in the frame's own scope; all expressions see the values from before. That no scope outside has
    /// one of the same name was checked at load.
    pub fn assign(&mut self, id: FrameId, template: &Template, input: &Value) -> Result<(), Failure> {
        let assigned = self.evaluate(id, input, |scope| template.evaluate(scope))?;
        within_limit("what Assign assigns", &assigned)?;
        let Value::Object(assigned) = assigned else { return Ok(()) };
        if let Some(frame) = self.frame_mut(id) {
            frame.variables.extend(assigned);
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

/// Refuses a value that is too large to carry in every later commit: a result, what `Parameters` or `Assign` make, an
/// output. Without it a loop of Pass states that doubles its data would eat the process's memory within one turn.
///
/// Depth counts too: copying, writing and dropping a value recurse over it, and what is nested deeper than 128 can be
/// written to a store but never read again.
///
/// Source: AWS, "Handling errors in Step Functions workflows", States.DataLimitExceeded.
pub(super) fn within_limit(what: &str, value: &Value) -> Result<(), Failure> {
    if fits(value) {
        return Ok(());
    }
    let cause = format!(
        "{what} has more than {MAX_BYTES} bytes of JSON, or is nested deeper than {MAX_DEPTH}: keep it elsewhere and pass \
         a reference"
    );
    Err(Failure::new("States.DataLimitExceeded", cause))
}

/// Whether a value is within the limits. It stops counting where one of them is passed, and does not recurse.
fn fits(value: &Value) -> bool {
    let mut left = MAX_BYTES;
    let mut ahead = vec![(value, 0_usize)];
    while let Some((value, depth)) = ahead.pop() {
        if depth > MAX_DEPTH {
            return false;
        }
        let below = depth.saturating_add(1);
        let size = match value {
            Value::Null | Value::Bool(true) => 4,
            Value::Bool(false) => 5,
            Value::Number(number) => number_bytes(number),
            Value::String(text) => string_bytes(text),
            Value::Array(items) => {
                ahead.extend(items.iter().map(|item| (item, below)));
                items.len().max(1).saturating_add(1)
            }
            Value::Object(fields) => {
                ahead.extend(fields.values().map(|field| (field, below)));
                let keys = fields.keys().map(|key| string_bytes(key).saturating_add(2)).fold(0, usize::saturating_add);
                keys.max(1).saturating_add(1)
            }
        };
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

fn number_bytes(number: &serde_json::Number) -> usize {
    match number.as_u64() {
        Some(number) => number.checked_ilog10().map_or(1, |digits| digits as usize + 1),
        None => number.to_string().len(),
    }
}

fn string_bytes(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => 6,
        _ => 1_usize,
    });
    escaped.fold(2, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MAX_BYTES, fits};

    #[test]
    fn a_value_is_not_nested_deeper_than_can_be_read_again() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({ "r": inner }));
        assert!(fits(&nested(super::MAX_DEPTH)));
        assert!(!fits(&nested(super::MAX_DEPTH + 1)));
    }

    #[test]
    fn the_limit_is_in_bytes_of_compact_text() {
        for filler in ["x", "\n", "\u{1}", "é", "\\"] {
            let mut value = json!({ "a": [1, 22, -3, 0.5, null, true, false, {}, [], "t"], "text": "" });
            let unit = Value::from(filler).to_string().len() - 2;
            let room = (MAX_BYTES - value.to_string().len()) / unit;
            value["text"] = filler.repeat(room).into();
            assert!(value.to_string().len() <= MAX_BYTES);
            assert!(fits(&value), "{filler:?}");
            value["text"] = filler.repeat(room + 1).into();
            assert!(value.to_string().len() > MAX_BYTES);
            assert!(!fits(&value), "{filler:?}");
        }
    }
}
