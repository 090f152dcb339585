//! Forms: what people must answer, in which role, and what makes an answer good.
//!
//! A form is a JSON Schema in `workflows/forms/`, which says the shape, and a check in code for what a schema cannot say
//! (supported regions, ARNs against the plan, the notice period). A good answer is normalised: defaults filled in, times
//! in UTC, derived values added, so that definitions and steps never look at what a person typed. Every finding names its
//! place by JSON pointer.

mod check;
mod recovery;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

pub use crate::worker::Finding;
use crate::{
    config::Config,
    worker::{CheckContext, Enterprise, FormBook},
};

/// The shipped forms' schemas, by name.
pub const SHIPPED: [(&str, &str); 8] = [
    ("regions", include_str!("../../workflows/forms/regions.schema.json")),
    ("key-arns", include_str!("../../workflows/forms/key-arns.schema.json")),
    ("key-import", include_str!("../../workflows/forms/key-import.schema.json")),
    ("key-review", include_str!("../../workflows/forms/key-review.schema.json")),
    ("window", include_str!("../../workflows/forms/window.schema.json")),
    ("migration-review", include_str!("../../workflows/forms/migration-review.schema.json")),
    ("left-overs", include_str!("../../workflows/forms/left-overs.schema.json")),
    ("purge-approval", include_str!("../../workflows/forms/purge-approval.schema.json")),
];

/// All forms, by name.
#[derive(Debug)]
pub struct Forms(BTreeMap<String, Form>);

/// One form.
pub struct Form {
    pub name: String,
    /// Who answers: `customer`, `csm` or `engineer`.
    pub role: String,
    pub title: String,
    pub schema: Value,
    validator: jsonschema::Validator,
}

/// What an answer is checked against, besides the schema.
pub struct FormContext<'a> {
    pub config: &'a Config,
    /// What the form state was given.
    pub input: &'a Value,
    pub now: DateTime<Utc>,
    pub enterprise: &'a Enterprise,
}

/// A schema that is no form.
#[derive(Debug, thiserror::Error)]
#[error("form {name}: {message}")]
pub struct FormError {
    pub name: String,
    pub message: String,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Form").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Forms {
    /// The forms that come with keyferry.
    ///
    /// # Errors
    /// Never, in a build whose tests passed.
    pub fn shipped() -> Result<Self, FormError> {
        Self::load(SHIPPED)
    }

    /// Forms from (name, schema's JSON text); a later form replaces an earlier one of the same name.
    ///
    /// # Errors
    /// The first schema that is not JSON, not a JSON Schema, or names no role or title.
    pub fn load<N: Into<String>, S: AsRef<str>>(forms: impl IntoIterator<Item = (N, S)>) -> Result<Self, FormError> {
        let mut all = BTreeMap::new();
        for (name, schema) in forms {
            let form = Form::load(name.into(), schema.as_ref())?;
            all.insert(form.name.clone(), form);
        }
        Ok(Self(all))
    }

    pub fn get(&self, name: &str) -> Option<&Form> {
        self.0.get(name)
    }

    /// In the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Form> {
        self.0.values()
    }
}

impl Form {
    fn load(name: String, text: &str) -> Result<Self, FormError> {
        let wrong = |message: String| FormError { name: name.clone(), message };
        let schema: Value =
            serde_json::from_str(text).map_err(|error| wrong(format!("its schema is not JSON: {error}")))?;
        let validator =
            jsonschema::validator_for(&schema).map_err(|error| wrong(format!("its schema is not valid: {error}")))?;
        let member = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
        let role = member("x-keyferry-role").ok_or_else(|| wrong("x-keyferry-role is missing".to_owned()))?;
        if !["customer", "csm", "engineer"].contains(&role.as_str()) {
            return Err(wrong(format!("x-keyferry-role is {role:?}; it is one of customer, csm, engineer")));
        }
        let title = member("title").ok_or_else(|| wrong("title is missing".to_owned()))?;
        Ok(Self { role, title, validator, name, schema })
    }

    /// The normalised answer.
    ///
    /// # Errors
    /// Everything that is wrong with it: all of the schema's findings, or else all of the check's.
    pub fn check(&self, answer: &Value, context: &FormContext<'_>) -> Result<Value, Vec<Finding>> {
        let findings: Vec<Finding> = self
            .validator
            .iter_errors(answer)
            .map(|error| Finding { pointer: error.instance_path().to_string(), message: error.to_string() })
            .collect();
        if !findings.is_empty() {
            return Err(findings);
        }
        match self.name.as_str() {
            "regions" => check::regions(answer, context),
            "key-arns" => check::key_arns(answer, context),
            "window" => check::window(answer, context),
            "purge-approval" => check::purge_approval(answer, context),
            "left-overs" => check::left_overs(answer, context),
            _ => Ok(answer.clone()),
        }
    }
}

impl FormBook for Forms {
    fn role(&self, form: &str) -> Option<String> {
        self.get(form).map(|form| form.role.clone())
    }

    fn keeps(&self, form: &str) -> bool {
        self.get(form).is_some_and(|form| form.schema.get("x-keyferry-keeps").and_then(Value::as_bool) == Some(true))
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

#[cfg(test)]
mod tests;
