//! Tells people of systems that do not serve though their window is over, every 15 minutes until they do.
//!
//! Takes `outages` and `remind_at`, when to tell next. Waits until then or until all serve, whichever comes first. Gives `down`,
//! how many do not, and the next `remind_at`; tells `outage` in the same commit, so that each quarter of an hour has one letter.
//! Effect: none in AWS. Again: the same.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::input,
    list_outages::{LETTER, down},
};
use crate::worker::{Progress, Step, StepContext, StepError, Told};

pub struct TellOutage(pub Domain);

/// Between two letters.
const QUARTER: TimeDelta = TimeDelta::minutes(15);

#[derive(Deserialize)]
struct Input {
    outages: Vec<Value>,
    remind_at: Option<DateTime<Utc>>,
}

#[async_trait]
impl Step for TellOutage {
    fn name(&self) -> &'static str {
        "tell-outage"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { outages, remind_at } = input(self.name(), value)?;
        let systems = down(context, &outages).await?;
        let Some(remind_at) = remind_at.filter(|_| !systems.is_empty()) else {
            return Ok(Progress::done(json!({ "down": 0, "remind_at": null })));
        };
        if context.now() < remind_at {
            let poll_after = (remind_at - context.now()).to_std().unwrap_or_default().min(self.0.poll);
            let waiting_for = format!("{} to serve again", names(&systems));
            return Ok(Progress::Pending { poll_after, checkpoint: Value::Null, waiting_for });
        }
        let output = json!({ "down": systems.len(), "remind_at": context.now() + QUARTER });
        let about = json!({ "cause": "the window is over", "overdue": true, "systems": systems });
        Ok(Progress::Done { output, records: Vec::new(), told: vec![Told { letter: LETTER, about }] })
    }
}

fn names(systems: &[Value]) -> String {
    let names: Vec<&str> = systems.iter().filter_map(|system| system["system"].as_str()).collect();
    names.join(", ")
}
