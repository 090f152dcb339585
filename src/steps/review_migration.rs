//! Sums up a window, or the replacing of replicas: what was migrated, what was kept and why.
//!
//! Takes `results`, one a system, in lists of lists as Maps leave them, and what the preflight has `kept` already. Gives
//! `outcome`: `migrated` (all), `too-late` (the rest only lacked time), `next-wave` (some were, the rest only lacked room)
//! or `failed`, with `kept` for people, and `room`: whether a purge of what was migrated makes room for the rest. Effect: none. Again: the same.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common::input;
use crate::worker::{Progress, Step, StepContext, StepError};

pub struct ReviewMigration;

#[derive(Deserialize)]
struct Input {
    results: Vec<Value>,
    #[serde(default)]
    kept: Vec<Value>,
}

#[async_trait]
impl Step for ReviewMigration {
    fn name(&self) -> &'static str {
        "review-migration"
    }

    async fn run(&self, _: &StepContext, value: Value) -> Result<Progress, StepError> {
        Ok(Progress::done(review(&input(self.name(), value)?)))
    }
}

fn review(input: &Input) -> Value {
    let Input { results, kept } = input;
    let mut all: Vec<&Value> = kept.iter().collect();
    results.iter().for_each(|result| flatten(result, &mut all));
    let moved = all.iter().filter(|result| text(result, "outcome") == "migrated").count();
    let rest: Vec<Value> = all
        .into_iter()
        .filter(|result| text(result, "outcome") != "migrated")
        .map(|result| {
            let error = result.get("error").cloned().unwrap_or(Value::Null);
            json!({
                "system": text(result, "system"), "region": text(result, "region"),
                "error": text(&error, "Error"), "cause": text(&error, "Cause"),
            })
        })
        .collect();
    let only = |names: &[&str]| rest.iter().all(|kept| names.contains(&text(kept, "error").as_str()));
    let outcome = if rest.is_empty() {
        "migrated"
    } else if only(&["Keyferry.WindowPassed"]) {
        "too-late"
    } else if moved > 0 && only(&["Keyferry.QuotaExceeded", "Keyferry.WindowPassed"]) {
        "next-wave"
    } else {
        "failed"
    };
    let room = moved > 0 && rest.iter().any(|kept| text(kept, "error") == "Keyferry.QuotaExceeded");
    json!({ "outcome": outcome, "room": room, "kept": rest })
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flatten<'a>(result: &'a Value, all: &mut Vec<&'a Value>) {
    match result.as_array() {
        Some(inner) => inner.iter().for_each(|inner| flatten(inner, all)),
        None => all.push(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(error: &str) -> Value {
        json!({ "system": "a", "region": "b", "outcome": "kept", "error": { "Error": error, "Cause": "why" } })
    }

    #[test]
    fn only_a_lack_of_room_is_a_wave_and_only_a_lack_of_time_is_too_late() {
        let moved = json!({ "system": "c", "region": "b", "outcome": "migrated" });
        let (quota, late, wrong) =
            (kept("Keyferry.QuotaExceeded"), kept("Keyferry.WindowPassed"), kept("Keyferry.Mismatch"));
        let table = [
            (json!({ "results": [moved] }), "migrated", 0),
            (json!({ "results": [[moved, late]] }), "too-late", 1),
            (json!({ "results": [moved], "kept": [quota] }), "next-wave", 1),
            (json!({ "results": [], "kept": [quota] }), "failed", 1),
            (json!({ "results": [[[moved], [wrong]]], "kept": [quota] }), "failed", 2),
            (json!({ "results": [[moved], [wrong]] }), "failed", 1),
        ];
        for (input, outcome, count) in table {
            let all: Input = serde_json::from_value(input.clone()).unwrap();
            let done = review(&all);
            assert_eq!(
                (done["outcome"].as_str().unwrap(), done["kept"].as_array().unwrap().len()),
                (outcome, count),
                "{input}"
            );
        }
    }
}
