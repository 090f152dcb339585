//! The expression language of the Amazon States Language, JSONPath dialect: paths, payload templates, intrinsic functions
//! and Choice rules.
//!
//! Everything is parsed at load, so that a definition that loads has no syntax left to fail on, and evaluated against a
//! [`Scope`]. Source: <https://states-language.net/spec.html>, sections "Paths", "Payload Template", "Intrinsic Functions"
//! and "Choice State".

mod intrinsic;
mod path;
mod rule;
mod scope;
mod template;
mod time;

#[cfg(test)]
mod tests;

pub use path::{Path, ReferencePath};
pub use rule::Rule;
pub use scope::{Chance, Context, Scope};
pub use template::{Expression, Template};
pub use time::parse_timestamp;

/// An error that an expression ends in while a run works.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {cause}")]
pub struct Failure {
    /// The ASL error name that Retry and Catch match.
    pub error: String,
    /// For people.
    pub cause: String,
}

impl Failure {
    pub fn new(error: &str, cause: impl Into<String>) -> Self {
        Self { error: error.to_owned(), cause: cause.into() }
    }

    pub(crate) fn parameter_path(cause: impl Into<String>) -> Self {
        Self::new("States.ParameterPathFailure", cause)
    }

    pub(crate) fn intrinsic(cause: impl Into<String>) -> Self {
        Self::new("States.IntrinsicFailure", cause)
    }
}

/// What is wrong with a definition, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into the definition.
    pub pointer: String,
    pub reason: String,
}

impl Problem {
    pub fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason: reason.into() }
    }
}

/// Values nested deeper than this are refused: recursion over them must not reach the end of a stack.
pub(crate) const MAX_DEPTH: usize = 100;

/// One more step of a JSON pointer, escaped as RFC 6901 says.
pub(crate) fn pointer_to(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}
