//! Gives the verified system the original's name: the point from which it serves.
//!
//! Takes a system and the window. Goes on with `lineage`. Tells `secret-moved` when its master password is in another secret
//! since. Effect: one rename. Again: a system of ours under the original's name is the success.
//! Fails with `Keyferry.WindowPassed` when it is too late to begin, `Keyferry.NoPlan` for what the run has not planned.

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, rename, require_ours, settled},
    lineage,
    recorded::cut_over,
    settings::recorded,
};
use crate::{
    systems,
    worker::{Progress, Step, StepContext, StepError, Told},
};

pub struct SwapSystem(pub Domain);

#[async_trait]
impl Step for SwapSystem {
    fn name(&self) -> &'static str {
        "swap-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item = cut_over(context, self.name(), value).await?;
        let (owner, system, new) = (self.0.owner(context), &item.system, item.names(context).new_system());
        let rds = self.0.aws.rds(&system.region).await?;
        if let Some(serving) = systems::instance(&rds, &system.id).await? {
            require_ours(&owner, &systems::of_instance(&serving), &format!("instance {}", system.id))?;
            return match settled(&serving)? {
                Wait::For(what) => Ok(self.0.pending(what)),
                Wait::Ready(()) => {
                    let output = json!({
                        "system": system.id, "region": system.region, "key": serving.kms_key_id(),
                    });
                    let records = lineage::swapped(context, system, &serving).await?;
                    let told = secret_moved(context, &item, &serving).await?;
                    Ok(Progress::Done { output, records, told })
                }
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

/// The master password's secret has another ARN when RDS manages it: people are told which.
async fn secret_moved(context: &StepContext, item: &SystemInput, serving: &DbInstance) -> Result<Vec<Told>, StepError> {
    let before = recorded(context, item).await?.and_then(|frozen| frozen.secret);
    let now = systems::secret(serving);
    if before.is_none() || before.as_deref() == now {
        return Ok(Vec::new());
    }
    let about = json!({ "system": item.system.id, "region": item.system.region, "before": before, "now": now });
    Ok(vec![Told { letter: "secret-moved", about }])
}
