//! Confirms that a system's successor serves: the end of its outage.
//!
//! Takes a system and the window. It follows `swap-system` and does not believe that one's result, which a person may have
//! given in its place. Gives `outcome`: `migrated`. Effect: none in AWS. Again: the same. Fails with `Keyferry.Outage` when the
//! original's name is not served by what this run restored: the original is put back; with `Keyferry.NoPlan` for what the run has
//! not planned.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{CutOver, Wait, input, settled},
    outage,
};
use crate::{
    systems,
    worker::{Progress, Served, Step, StepContext, StepError},
};

pub struct ConfirmCutOver(pub Domain);

#[async_trait]
impl Step for ConfirmCutOver {
    fn name(&self) -> &'static str {
        "confirm-cut-over"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: CutOver = input(self.name(), value)?;
        // Else one system's successor would end another's outage.
        outage::known(context, &item).await?;
        let (owner, system) = (self.0.owner(context), &item.system);
        let rds = self.0.aws.rds(&system.region).await?;
        let serving = systems::instance(&rds, &system.id).await?;
        let successor = serving.filter(|serving| {
            serving.dbi_resource_id() != Some(&system.resource_id) && owner.made(&systems::of_instance(serving))
        });
        let Some(successor) = successor else {
            let cause = format!("no successor serves as {}: it was not cut over", system.id);
            return Err(StepError::new("Keyferry.Outage", cause));
        };
        if let Wait::For(what) = settled(&successor)? {
            return Ok(self.0.pending(what));
        }
        let records = outage::ended(context, &item, Served::Migrated).await?;
        let output = json!({ "system": system.id, "region": system.region, "outcome": Served::Migrated.word() });
        Ok(Progress::recorded(output, records))
    }
}
