//! Brings a system back into service in the name of the run that took it out.
//!
//! Takes the resource id of an outage's record and the time before which a step of that run may still act; everything else is
//! read from the record. Before the swap the original is put back, after it the successor stays, between the two what RDS shows
//! decides. Before the cutoff it waits while that run is open. Gives `outcome`: `kept` or `migrated`. Effect and repetition as `thaw-system`. Fails with `Keyferry.Outage` when it
//! does not get on by itself: what is down, since when, and what to do.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, input},
    outage,
    thaw_system::{Thawed, is_retried},
};
use crate::{
    schedule::text,
    worker::{Outage, Progress, Served, Step, StepContext, StepError},
};

pub struct PutBackSystem(pub Domain);

#[derive(Deserialize)]
struct Input {
    resource: String,
    not_before: DateTime<Utc>,
}

#[async_trait]
impl Step for PutBackSystem {
    fn name(&self) -> &'static str {
        "put-back-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { resource, not_before } = input(self.name(), value)?;
        let Some(found) = outage::of(context, &resource).await? else {
            let cause = format!("there is no record of an outage of {resource}: nothing is known to put back");
            return Err(StepError::new("Keyferry.BadInput", cause));
        };
        if let Some(served) = found.served.filter(|_| !found.is_open()) {
            return Ok(Progress::done(output(&found, served)));
        }
        if context.now() < found.cutoff && context.is_open(&found.run).await? {
            let (run, until) = (&found.run, text(found.cutoff));
            return Ok(self.0.pending(format!("{until}: until then the run {run} may cut {} over", found.system)));
        }
        let item: SystemInput = input(self.name(), found.input.clone())?;
        match self.0.thaw(context, &item, &found.run).await {
            Ok(Thawed::Waits(progress)) => Ok(progress),
            Ok(Thawed::Serves(..)) if context.now() < not_before => {
                let until = text(not_before);
                Ok(self
                    .0
                    .pending(format!("{until}: until then a step that was cut off may still act on {}", found.system)))
            }
            Ok(Thawed::Serves(served, mut records)) => {
                let output = output(&found, served);
                records.push(outage::record(&found.ended(served, context.now())));
                Ok(Progress::recorded(output, records))
            }
            Err(error) if is_retried(&error) => Err(error),
            Err(error) => Err(stands(context, &found, &error)),
        }
    }
}

fn output(outage: &Outage, served: Served) -> Value {
    json!({ "system": outage.system, "region": outage.region, "outcome": served.word() })
}

/// What a person has to know and to do.
fn stands(context: &StepContext, outage: &Outage, error: &StepError) -> StepError {
    let Outage { system, region, resource_id, old, since, end, .. } = outage;
    let cure = if error.error == "Keyferry.Foreign" {
        format!("Something else bears the name {system}: rename it, and delete nothing")
    } else {
        "Remove what is in the way, and delete nothing".to_owned()
    };
    let cause = format!(
        "{system} in {region} is out of service since {} and has to serve by {}. Its data is in the instance {old}, or in the one \
         named {system}; the original has the resource id {resource_id}. It could not be put back: {}: {}. {cure}; then `keyferry run retry {} --reason TEXT`",
        text(*since),
        text(*end),
        error.error,
        error.cause,
        context.run
    );
    StepError::new("Keyferry.Outage", cause)
}
