//! What the worker needs to know of forms: who answers, and whether an answer holds.

use chrono::{DateTime, Utc};
use serde_json::Value;

pub use crate::forms::Finding;
use crate::{
    config::Config,
    forms::{FormContext, Forms},
    store::Enterprise,
};

/// The forms that there are.
pub trait FormBook: Send + Sync + 'static {
    /// The role that answers a form; `None` if there is no such form.
    fn role(&self, form: &str) -> Option<String>;

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

impl FormBook for Forms {
    fn role(&self, form: &str) -> Option<String> {
        self.get(form).map(|form| form.role.clone())
    }

    fn check(&self, form: &str, answer: &Value, context: CheckContext<'_>) -> Result<Value, Vec<Finding>> {
        let Some(form) = self.get(form) else {
            let message = format!("there is no form {form} in this version of keyferry");
            return Err(vec![Finding { pointer: String::new(), message }]);
        };
        let CheckContext { config, input, now, enterprise } = context;
        form.check(answer, &FormContext { config, input, now, enterprise })
    }
}
