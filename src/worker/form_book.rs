//! What the worker needs to know of forms: who answers, and whether an answer holds.

use chrono::{DateTime, Utc};
use serde_json::Value;

use serde::Serialize;

use crate::{config::Config, store::Enterprise};

/// Something wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// JSON pointer into the answer; empty for the whole.
    pub pointer: String,
    pub message: String,
}

/// The forms that there are.
pub trait FormBook: Send + Sync + 'static {
    /// The role that answers a form; `None` if there is no such form.
    fn role(&self, form: &str) -> Option<String>;

    /// Whether an answer is kept as a record too, written in the commit that takes it: steps that act on it read it there.
    fn keeps(&self, _form: &str) -> bool {
        false
    }

    /// Checks an answer and returns it in its normal form.
    ///
    /// # Errors
    /// What the person has to change.
    fn check(&self, form: &str, answer: &Value, context: CheckContext<'_>) -> Result<Value, Vec<Finding>>;
}

/// What an answer is checked against.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    pub config: &'a Config,
    /// What the form's state was given.
    pub input: &'a Value,
    pub now: DateTime<Utc>,
    pub enterprise: &'a Enterprise,
}
