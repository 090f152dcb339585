//! Intrinsic functions: `States.Format('…', $.a)` and its siblings.
//!
//! Names and numbers of arguments are checked at load; what depends on values fails with `States.IntrinsicFailure`.
//! Source: <https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html>.

mod functions;
mod parser;

use serde_json::Value;

use super::{Failure, Path, Scope};

pub use functions::Function;
pub use parser::parse;

/// A call with its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

#[derive(Debug, Clone)]
enum Argument {
    Literal(Value),
    /// The text of a `'…'` whose escapes mean something to States.Format alone: `\{`, `\}` and `\'`, `\\`.
    Text(String),
    Path(Path),
    Call(Box<Call>),
}

impl Call {
    /// Evaluates the arguments from left to right, then the function.
    ///
    /// # Errors
    /// `States.IntrinsicFailure` with the function's name and what was wrong; an argument's own failure.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, Failure> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for (index, argument) in self.arguments.iter().enumerate() {
            values.push(match argument {
                Argument::Literal(value) => value.clone(),
                Argument::Text(raw) if self.function == Function::Format && index == 0 => Value::String(raw.clone()),
                Argument::Text(raw) => Value::String(unescape(raw)),
                Argument::Path(path) => path.evaluate(scope)?,
                Argument::Call(call) => call.evaluate(scope)?,
            });
        }
        let from_text = matches!(self.arguments.first(), Some(Argument::Text(_)));
        self.function
            .apply(&values, from_text, scope.chance)
            .map_err(|why| Failure::intrinsic(format!("{}: {why}", self.function.name())))
    }

    pub(super) fn variables(&self, found: &mut Vec<String>) {
        for argument in &self.arguments {
            match argument {
                Argument::Literal(_) | Argument::Text(_) => {}
                Argument::Path(path) => found.extend(path.variable().map(str::to_owned)),
                Argument::Call(call) => call.variables(found),
            }
        }
    }
}

/// Takes the backslashes of a `'…'` away.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut letters = raw.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.extend(letters.next()),
            letter => text.push(letter),
        }
    }
    text
}
