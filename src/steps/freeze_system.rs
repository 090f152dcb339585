//! Takes a system out of service, by renaming it.
//!
//! Takes a system and the window. A rename closes every connection and takes the endpoint away, so nothing can be written
//! after the snapshot that follows: that is the only freeze that RDS itself can promise. `thaw-system` undoes it.
//! Effect: tags, then the rename. Again: the instance is known by its resource id, which the rename does not change.
//! Fails with `Keyferry.WindowPassed` when it is too late to begin, with `Keyferry.NoPlan` when `plan-outage` has not written
//! down how it is put back.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{CutOver, Wait, input, put_aside, settled},
    outage,
};
use crate::{
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct FreezeSystem(pub Domain);

#[async_trait]
impl Step for FreezeSystem {
    fn name(&self) -> &'static str {
        "freeze-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: CutOver = input(self.name(), value)?;
        let (system, old) = (&item.system, item.names(context).old());
        let planned = outage::planned(context, &item).await?;
        let owner = self.0.owner(context);
        let rds = self.0.aws.rds(&system.region).await?;
        if let Some(frozen) = systems::instance(&rds, &old).await? {
            if frozen.dbi_resource_id() != Some(&system.resource_id) {
                let cause = format!("instance {old} exists and is not what {} was: it was not touched", system.id);
                return Err(StepError::new("Keyferry.Foreign", cause));
            }
            return match settled(&frozen)? {
                Wait::For(what) => Ok(self.0.pending(what)),
                Wait::Ready(()) => Ok(Progress::recorded(json!({ "frozen": old }), vec![outage::frozen(planned)])),
            };
        }
        let Some(serving) = systems::instance(&rds, &system.id).await? else {
            return self.0.missing(context, &format!("instance {}", system.id));
        };
        if serving.dbi_resource_id() != Some(&system.resource_id) {
            let cause =
                format!("instance {} is not the one that the inventory found: take the inventory again", system.id);
            return Err(StepError::new("Keyferry.Foreign", cause));
        }
        if let Wait::For(what) = settled(&serving)? {
            return Ok(self.0.pending(what));
        }
        item.before_cutoff(context)?;
        context.save_checkpoint(json!({ "intent": "freeze", "rename": [system.id, old] })).await?;
        put_aside(&rds, &owner, system, &serving, &old).await?;
        Ok(self.0.pending(format!("RDS: {} is taken out of service", system.id)))
    }
}
