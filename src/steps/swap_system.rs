//! Gives the verified system the original's name: the point from which it serves.
//!
//! Takes a system and the window. Goes on with `lineage`. Effect: one rename. Again: a system of ours under the original's name is the success.
//! Fails with `Keyferry.WindowPassed` when it is too late to begin.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, rename, require_ours, settled},
    lineage,
};
use crate::{
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct SwapSystem(pub Domain);

#[async_trait]
impl Step for SwapSystem {
    fn name(&self) -> &'static str {
        "swap-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: SystemInput = input(self.name(), value)?;
        let (owner, system, new) = (self.0.owner(context), &item.system, item.names(context).new_system());
        let rds = self.0.aws.rds(&system.region).await?;
        if let Some(serving) = systems::instance(&rds, &system.id).await? {
            require_ours(&owner, &systems::of_instance(&serving), &format!("instance {}", system.id))?;
            return match settled(&serving)? {
                Wait::For(what) => Ok(self.0.pending(what)),
                Wait::Ready(()) => Ok(Progress::recorded(
                    json!({ "system": system.id, "region": system.region, "key": serving.kms_key_id() }),
                    lineage::swapped(context, system, &serving).await?,
                )),
            };
        }
        let Some(restored) = systems::instance(&rds, &new).await? else {
            return self.0.missing(context, &format!("instance {new} or {}", system.id));
        };
        require_ours(&owner, &systems::of_instance(&restored), &format!("instance {new}"))?;
        if let Wait::For(what) = settled(&restored)? {
            return Ok(self.0.pending(what));
        }
        item.before_cutoff(context)?;
        context.save_checkpoint(json!({ "intent": "swap", "rename": [new, system.id] })).await?;
        rename(&rds, &new, &system.id).await?;
        Ok(self.0.pending(format!("RDS: {new} becomes {}", system.id)))
    }
}
