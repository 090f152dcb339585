//! Forms: what people may answer, who they must be, and whether the answer makes sense.
//!
//! A form's JSON Schema, `workflows/forms/<name>.schema.json`, says its shape and, under `x-keyferry-role`, whose it is.
//! What a schema cannot say (a region that is not supported, a key in the wrong region, a window without notice) is
//! checked here by the form's name. A checked answer comes back normalised, as the definitions read it.

mod key_arns;
mod regions;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{config::Config, schedule::Window};

/// What is wrong with an answer, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// JSON pointer into the answer.
    pub pointer: String,
    /// Stable, in kebab-case.
    pub code: String,
    pub message: String,
}

impl Finding {
    pub(crate) fn new(pointer: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.to_owned(), message: message.into() }
    }
}

/// What a check may know.
#[derive(Debug, Clone, Copy)]
pub struct FormContext<'a> {
    pub config: &'a Config,
    /// What the form state was given.
    pub input: &'a Value,
    pub now: DateTime<Utc>,
    /// The enterprise's partition: `aws`, `aws-us-gov`.
    pub partition: &'a str,
}

/// One form.
#[derive(Debug)]
pub struct Form {
    pub name: String,
    /// `engineer`, `csm` or `customer`.
    pub role: String,
    pub title: String,
    pub schema: Value,
    validator: jsonschema::Validator,
}

/// All forms, by name.
#[derive(Debug, Default)]
pub struct Forms {
    forms: BTreeMap<String, Form>,
}

/// A schema that is no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the form {name}: {reason}")]
pub struct FormError {
    pub name: String,
    pub reason: String,
}

/// The forms that are shipped, by name.
const SHIPPED: &[(&str, &str)] = &[
    ("key-arns", include_str!("../../workflows/forms/key-arns.schema.json")),
    ("purge-approval", include_str!("../../workflows/forms/purge-approval.schema.json")),
    ("regions", include_str!("../../workflows/forms/regions.schema.json")),
    ("review-deviations", include_str!("../../workflows/forms/review-deviations.schema.json")),
    ("window", include_str!("../../workflows/forms/window.schema.json")),
];

impl Forms {
    /// The shipped forms.
    ///
    /// # Errors
    /// A shipped schema that is no form.
    pub fn shipped() -> Result<Self, FormError> {
        Self::load(SHIPPED.iter().map(|(name, schema)| ((*name).to_owned(), (*schema).to_owned())))
    }

    /// Forms from (name, schema text).
    ///
    /// # Errors
    /// The first schema that is no form: not JSON, not a JSON Schema, without a role.
    pub fn load(schemas: impl IntoIterator<Item = (String, String)>) -> Result<Self, FormError> {
        let mut forms = BTreeMap::new();
        for (name, text) in schemas {
            let wrong = |reason: String| FormError { name: name.clone(), reason };
            let schema: Value =
                serde_json::from_str(&text).map_err(|error| wrong(format!("it is not JSON: {error}")))?;
            let validator =
                jsonschema::validator_for(&schema).map_err(|error| wrong(format!("it is no JSON Schema: {error}")))?;
            let member = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
            let role =
                member("x-keyferry-role").filter(|role| matches!(role.as_str(), "engineer" | "csm" | "customer"));
            let role = role.ok_or_else(|| wrong("x-keyferry-role must be engineer, csm or customer".to_owned()))?;
            let title = member("title").ok_or_else(|| wrong("it has no title".to_owned()))?;
            forms.insert(name.clone(), Form { name: name.clone(), role, title, schema, validator });
        }
        Ok(Self { forms })
    }

    pub fn get(&self, name: &str) -> Option<&Form> {
        self.forms.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.forms.keys().map(String::as_str)
    }
}

impl Form {
    /// Checks an answer and normalises it.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has happened then.
    pub fn check(&self, answer: &Value, context: &FormContext) -> Result<Value, Vec<Finding>> {
        let shape: Vec<Finding> = self
            .validator
            .iter_errors(answer)
            .map(|error| Finding::new(error.instance_path().to_string(), "form-shape", error.to_string()))
            .collect();
        if !shape.is_empty() {
            return Err(shape);
        }
        match self.name.as_str() {
            "regions" => regions::check(answer, context),
            "key-arns" => key_arns::check(answer, context),
            "window" => window(answer, context),
            _ => Ok(answer.clone()),
        }
    }
}

fn window(answer: &Value, context: &FormContext) -> Result<Value, Vec<Finding>> {
    let start = answer.get("start").and_then(Value::as_str).unwrap_or_default();
    let hours =
        answer.get("duration_hours").and_then(Value::as_u64).and_then(|hours| u32::try_from(hours).ok()).unwrap_or(8);
    match Window::schedule(start, hours, context.now, &context.config.windows) {
        Ok(window) => {
            let stamp = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            Ok(
                json!({ "start": stamp(window.start), "end": stamp(window.end), "cutoff": stamp(window.cutoff), "duration_hours": hours }),
            )
        }
        Err(reason) => Err(vec![Finding::new("/start", "window-start", reason)]),
    }
}

#[cfg(test)]
mod tests;
