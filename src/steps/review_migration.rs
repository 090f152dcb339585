//! Sums up a window: what was migrated, what was kept and why.
//!
//! Takes `results`, one a system. Gives `outcome`: `migrated` (all), `too-late` (the rest only lacked time) or `failed`,
//! with `kept` for people. Effect: none. Again: the same.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common::input;
use crate::worker::{Progress, Step, StepContext, StepError};

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

    async fn run(&self, _: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { results } = input(self.name(), value)?;
        let text =
            |value: &Value, member: &str| value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut kept = Vec::new();
        let mut outcome = "migrated";
        for result in results.iter().filter(|result| text(result, "outcome") != "migrated") {
            let error = result.get("error").cloned().unwrap_or(Value::Null);
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
