//! Sums up a window: what was migrated, what was kept and why.
//!
//! Takes `results`, one a system. Gives `outcome`: `migrated` (all), `too-late` (the rest only lacked time) or `failed`,
//! with `kept` for people. What the records of the outages say stands against what a person has given as a result. Effect:
//! none. Again: the same. Fails with `Keyferry.Outage` while a system of this run is out of service.

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
}

#[async_trait]
impl Step for ReviewMigration {
    fn name(&self) -> &'static str {
        "review-migration"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { results } = input(self.name(), value)?;
        let put_back = all_serve(context).await?;
        let text =
            |value: &Value, member: &str| value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut kept = Vec::new();
        let mut outcome = "migrated";
        let is_put_back = |result: &Value| put_back.contains(&(text(result, "system"), text(result, "region")));
        for result in results.iter().filter(|result| text(result, "outcome") != "migrated" || is_put_back(result)) {
            let error = result.get("error").cloned().unwrap_or_else(|| json!({ "Cause": "the original was put back" }));
            let late = text(&error, "Error") == "Keyferry.WindowPassed";
            outcome = if late && outcome != "failed" { "too-late" } else { "failed" };
            kept.push(json!({
                "system": text(result, "system"), "region": text(result, "region"),
                "error": text(&error, "Error"), "cause": text(&error, "Cause"),
            }));
        }
        Ok(Progress::done(json!({ "outcome": outcome, "kept": kept })))
    }
}

/// The systems, with their regions, whose originals serve again after an outage of this run.
///
/// # Errors
/// `Keyferry.Outage`: one does not serve.
async fn all_serve(context: &StepContext) -> Result<BTreeSet<(String, String)>, StepError> {
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
