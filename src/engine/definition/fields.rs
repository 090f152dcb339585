//! Resource, Retry and Catch.

use serde_json::Value;

use crate::engine::language::{Problem, Template, pointer_to};

use super::{Placement, io, object::Object};

/// What a Task state calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `urn:keyferry:step:<name>`: Rust code registered under the name.
    Step(String),
    /// `urn:keyferry:form:<name>`: a person answers.
    Form(String),
    /// `urn:keyferry:workflow:<name>`: a child run.
    Workflow(String),
    /// Any other URI: it can be simulated, not run.
    Other(String),
}

/// One entry of Retry.
#[derive(Debug, Clone)]
pub struct Retrier {
    pub error_equals: Vec<String>,
    pub interval_s: u64,
    pub max_attempts: u64,
    pub backoff_rate: f64,
    pub max_delay_s: Option<u64>,
    pub jitter: Jitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    None,
    /// Any delay between 0 and the one computed.
    Full,
}

/// One entry of Catch.
#[derive(Debug, Clone)]
pub struct Catcher {
    pub error_equals: Vec<String>,
    pub next: String,
    pub result_path: Placement,
    pub assign: Option<Template>,
}

impl Resource {
    /// Reads a Resource.
    ///
    /// # Errors
    /// That the text is no URI (RFC 3986: a scheme, a colon, something behind it, no spaces).
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        for (prefix, make) in [
            ("urn:keyferry:step:", Self::Step as fn(String) -> Self),
            ("urn:keyferry:form:", Self::Form),
            ("urn:keyferry:workflow:", Self::Workflow),
        ] {
            if let Some(name) = text.strip_prefix(prefix) {
                let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
                if name.is_empty() || !name.chars().all(fits) {
                    return Err(format!("the name behind `{prefix}` must be of a-z, 0-9 and dashes"));
                }
                return Ok(make(name.to_owned()));
            }
        }
        if let Some((_, rest)) = text.split_once("${")
            && let Some((name, _)) = rest.split_once('}')
        {
            return Err(format!(
                "`${{{name}}}` is a template's parameter that nobody has filled in: put what it stands for in its place"
            ));
        }
        let scheme_fits = text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
                && !rest.is_empty()
        });
        let letters_fit = text.chars().all(|letter| letter.is_ascii_graphic() && !"<>\"{}|\\^`".contains(letter));
        if scheme_fits && letters_fit {
            Ok(Self::Other(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a URI"))
        }
    }

    /// The URI.
    pub fn uri(&self) -> String {
        match self {
            Self::Step(name) => format!("urn:keyferry:step:{name}"),
            Self::Form(name) => format!("urn:keyferry:form:{name}"),
            Self::Workflow(name) => format!("urn:keyferry:workflow:{name}"),
            Self::Other(uri) => uri.clone(),
        }
    }
}

/// Reads Retry.
pub(super) fn retriers(object: &mut Object, problems: &mut Vec<Problem>) -> Vec<Retrier> {
    let Some(value) = object.take("Retry") else { return Vec::new() };
    let pointer = object.at("Retry");
    let items = list(value, &pointer, problems);
    let last = items.len().saturating_sub(1);
    let mut retriers = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let pointer = pointer_to(&pointer, &index.to_string());
        let Some(mut retrier) = Object::new(item, &pointer, problems) else { continue };
        let error_equals = error_names(&mut retrier, index == last, problems);
        let interval_s = retrier.whole("IntervalSeconds", 1, 99_999_999, problems).unwrap_or(1);
        let max_attempts = retrier.whole("MaxAttempts", 0, 99_999_999, problems).unwrap_or(3);
        let max_delay_s = retrier.whole("MaxDelaySeconds", 1, 31_622_399, problems);
        let backoff_rate = match retrier.take("BackoffRate").map(|value| value.as_f64().filter(|rate| *rate >= 1.0)) {
            None => 2.0,
            Some(Some(rate)) => rate,
            Some(None) => {
                problems.push(Problem::new(retrier.at("BackoffRate"), "it must be a number of at least 1.0"));
                2.0
            }
        };
        let jitter = match retrier.text("JitterStrategy", problems) {
            None | Some("NONE") => Jitter::None,
            Some("FULL") => Jitter::Full,
            Some(_) => {
                problems.push(Problem::new(retrier.at("JitterStrategy"), "it must be FULL or NONE"));
                Jitter::None
            }
        };
        retrier.take("Comment");
        retrier.finish("a Retrier", problems);
        retriers.push(Retrier { error_equals, interval_s, max_attempts, backoff_rate, max_delay_s, jitter });
    }
    retriers
}

/// Reads Catch.
pub(super) fn catchers(object: &mut Object, problems: &mut Vec<Problem>) -> Vec<Catcher> {
    let Some(value) = object.take("Catch") else { return Vec::new() };
    let pointer = object.at("Catch");
    let items = list(value, &pointer, problems);
    let last = items.len().saturating_sub(1);
    let mut catchers = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let pointer = pointer_to(&pointer, &index.to_string());
        let Some(mut catcher) = Object::new(item, &pointer, problems) else { continue };
        let error_equals = error_names(&mut catcher, index == last, problems);
        let result_path = io::placement(&mut catcher, problems);
        let assign = io::assign(&mut catcher, problems);
        let next = catcher.text("Next", problems);
        if !catcher.has("Next") {
            problems.push(Problem::new(&pointer, "a Catcher needs `Next`"));
        }
        catcher.take("Comment");
        catcher.finish("a Catcher", problems);
        if let Some(next) = next {
            catchers.push(Catcher { error_equals, next: next.to_owned(), result_path, assign });
        }
    }
    catchers
}

fn list<'a>(value: &'a Value, pointer: &str, problems: &mut Vec<Problem>) -> &'a [Value] {
    match value.as_array() {
        Some(items) => items,
        None => {
            problems.push(Problem::new(pointer, "it must be an array"));
            &[]
        }
    }
}

/// Predefined names (specification, appendix A). AWS takes others that begin with `States.` too, and so do definitions that
/// were written for it; here nothing raises them, which is warned of.
const PREDEFINED: &[&str] = &[
    "States.ALL",
    "States.HeartbeatTimeout",
    "States.Timeout",
    "States.TaskFailed",
    "States.Permissions",
    "States.ResultPathMatchFailure",
    "States.ParameterPathFailure",
    "States.QueryEvaluationError",
    "States.BranchFailed",
    "States.NoChoiceMatched",
    "States.IntrinsicFailure",
    "States.ExceedToleratedFailureThreshold",
    "States.ItemReaderFailed",
    "States.ResultWriterFailed",
    "States.DataLimitExceeded",
    "States.Runtime",
];

/// Warns of each name in an `ErrorEquals` that looks predefined and is not.
pub(super) fn unknown_errors(value: &Value, pointer: &str, warnings: &mut Vec<Problem>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let here = pointer_to(pointer, name);
                let names = member.as_array().filter(|_| name == "ErrorEquals");
                for (index, error) in names.into_iter().flatten().enumerate() {
                    let error = error.as_str().unwrap_or_default();
                    if error.starts_with("States.") && !PREDEFINED.contains(&error) {
                        let reason = format!("`{error}` is none of the predefined errors: nothing raises it");
                        warnings.push(Problem::new(pointer_to(&here, &index.to_string()), reason));
                    }
                }
                unknown_errors(member, &here, warnings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                unknown_errors(item, &pointer_to(pointer, &index.to_string()), warnings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn error_names(object: &mut Object, is_last: bool, problems: &mut Vec<Problem>) -> Vec<String> {
    let pointer = object.at("ErrorEquals");
    let Some(value) = object.take("ErrorEquals") else {
        problems.push(Problem::new(&object.pointer, "`ErrorEquals` is missing"));
        return Vec::new();
    };
    let names: Option<Vec<String>> = value
        .as_array()
        .filter(|names| !names.is_empty())
        .and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    let Some(names) = names else {
        problems.push(Problem::new(pointer, "it must be an array of at least one error name"));
        return Vec::new();
    };
    if names.iter().any(|name| name == "States.ALL") {
        if names.len() > 1 {
            problems.push(Problem::new(&pointer, "`States.ALL` must stand alone"));
        }
        if !is_last {
            problems.push(Problem::new(&pointer, "`States.ALL` must stand in the last entry"));
        }
    }
    names
}
