//! Sums up a window, or the replacing of replicas: what was migrated, what was kept and why.
//!
//! Takes `results`, one a system, in lists of lists as Maps leave them, and what the preflight has `kept` already. Gives
//! `outcome`: `migrated` (all), `too-late` (the rest only lacked time), `next-wave` (some were, the rest only lacked room)
//! or `failed`, with `kept` for people, and `room`: whether a purge of what was migrated makes room for the rest. What the
//! records of the outages say stands against what a person has given as a result. Effect: none. Again: the same. Fails with
//! `Keyferry.Outage` while a system of this run is out of service.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common::input;
use crate::{
    schedule::text as at,
    worker::{OUTAGES, Outage, Progress, Served, Step, StepContext, StepError},
};

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

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let put_back = all_serve(context).await?;
        Ok(Progress::done(review(&input(self.name(), value)?, &put_back)))
    }
}

/// Systems with their regions.
type Places = BTreeSet<(String, String)>;

fn review(input: &Input, put_back: &Places) -> Value {
    let Input { results, kept } = input;
    let mut all: Vec<&Value> = kept.iter().collect();
    results.iter().for_each(|result| flatten(result, &mut all));
    let is_put_back = |result: &Value| put_back.contains(&(text(result, "system"), text(result, "region")));
    let migrated = |result: &Value| text(result, "outcome") == "migrated" && !is_put_back(result);
    let moved = all.iter().filter(|result| migrated(result)).count();
    let rest: Vec<Value> = all
        .into_iter()
        .filter(|result| !migrated(result))
        .map(|result| {
            let put_back =
                || if is_put_back(result) { json!({ "Cause": "the original was put back" }) } else { Value::Null };
            let error = result.get("error").cloned().unwrap_or_else(put_back);
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

/// The systems, with their regions, whose originals serve again after an outage of this run.
///
/// # Errors
/// `Keyferry.Outage`: one does not serve.
async fn all_serve(context: &StepContext) -> Result<Places, StepError> {
    let mut put_back = BTreeSet::new();
    for body in context.records(OUTAGES).await?.into_values() {
        let Ok(outage) = serde_json::from_value::<Outage>(body) else { continue };
        if outage.run != context.run {
            continue;
        }
        if outage.is_open() {
            let cause = format!(
                "{} in {} is out of service since {} though its cut-over was skipped past. It is put back after {}, and by \
                 cancelling the run at once; then retry",
                outage.system,
                outage.region,
                at(outage.since),
                at(outage.cutoff)
            );
            return Err(StepError::new("Keyferry.Outage", cause));
        }
        if outage.served == Some(Served::Kept) {
            put_back.insert((outage.system, outage.region));
        }
    }
    Ok(put_back)
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
            let done = review(&all, &Places::new());
            assert_eq!(
                (done["outcome"].as_str().unwrap(), done["kept"].as_array().unwrap().len()),
                (outcome, count),
                "{input}"
            );
        }
    }
}
