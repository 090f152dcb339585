//! Lists what has to be put back, once nothing else acts on it.
//!
//! Takes `run`, whose end is the reason, and `resources` that are to be put back whatever their run does. Waits until `run` and
//! all that it has started have ended. Gives `outages`, each with the time before which a step that was cut off may still act:
//! no worker acts for longer than its lease after it has lost its work. Tells `outage` when there is something. Effect: none in
//! AWS. Again: what serves by now is not listed any more.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Domain, common::input, outage};
use crate::worker::{Progress, Step, StepContext, StepError, Told};

pub struct ListOutages(pub Domain);

/// What the letter is called.
pub const LETTER: &str = "outage";

/// Between two looks at a run that is ending.
const ENDING: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Input {
    asked: Asked,
    /// Something was put back before.
    again: bool,
}

/// What the run was started with; a person who starts it gives nothing.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    run: Option<String>,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    resources: Vec<String>,
}

#[async_trait]
impl Step for ListOutages {
    fn name(&self) -> &'static str {
        "list-outages"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { asked, again } = input(self.name(), value)?;
        if let Some(run) = &asked.run
            && context.is_open(run).await?
        {
            return Ok(Progress::Pending {
                poll_after: self.0.poll.min(ENDING),
                checkpoint: Value::Null,
                waiting_for: format!("the end of the run {run} and of all that it has started"),
            });
        }
        let lease = chrono::TimeDelta::seconds(i64::try_from(self.0.config.worker.lease_s).unwrap_or(i64::MAX / 1_000));
        let not_before = context.now() + lease;
        let mut outages = Vec::new();
        let mut ends = Vec::new();
        for (resource, outage) in outage::all_open(context).await? {
            if asked.resources.contains(&resource) || !context.is_open(&outage.run).await? {
                ends.push(outage.end);
                outages.push(json!({ "resource": resource, "not_before": not_before }));
            }
        }
        let output = json!({ "outages": outages, "remind_at": ends.iter().min() });
        if outages.is_empty() || again {
            return Ok(Progress::done(output));
        }
        let about = json!({ "cause": asked.cause, "systems": down(context, &outages).await? });
        Ok(Progress::Done { output, records: Vec::new(), told: vec![Told { letter: LETTER, about }] })
    }
}

/// What people are told of those of `outages` (a step's list) that have not ended, and of what runs that have ended have left.
pub(super) async fn down(context: &StepContext, outages: &[Value]) -> Result<Vec<Value>, StepError> {
    let mut down = Vec::new();
    for (resource, outage) in outage::all_open(context).await? {
        let is_listed = outages.iter().any(|listed| listed["resource"] == resource.as_str());
        if is_listed || !context.is_open(&outage.run).await? {
            down.push(json!({
                "system": outage.system, "region": outage.region, "old": outage.old, "since": outage.since,
                "cutoff": outage.cutoff, "end": outage.end, "run": outage.run,
            }));
        }
    }
    Ok(down)
}
