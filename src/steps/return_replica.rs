//! Puts an old replica back under its name: the undo of `replace-replica`.
//!
//! Takes the replica as `system`, and the `error` that made it necessary. Gives `outcome`: `kept`. The old
//! replica follows the replaced system, so it shows what that held at its freeze: that is said to the engineer who removes
//! the cause. Fails with `Keyferry.NoPlan` where one of the two replicates nothing. Effect: deletion
//! of a new replica that is not what the old one was, a rename, marks off. Again: each is looked for first.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, delete_instance, input, rename, require_ours, settled},
    replace_replica::is_replica,
    thaw_system::unmark,
};
use crate::{
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ReturnReplica(pub Domain);

#[derive(Deserialize)]
struct Why {
    #[serde(default)]
    error: Value,
}

#[async_trait]
impl Step for ReturnReplica {
    fn name(&self) -> &'static str {
        "return-replica"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Why { error } = input(self.name(), value.clone())?;
        let item: SystemInput = input(self.name(), value)?;
        let (owner, replica, old) = (self.0.owner(context), &item.system, item.names(context).old());
        let rds = self.0.aws.rds(&replica.region).await?;
        let there = systems::instance(&rds, &replica.id).await?;
        if let Some(found) = &there {
            if found.db_instance_status() == Some("renaming") {
                return Ok(self.0.pending(format!("RDS: {} is renaming", replica.id)));
            }
            if found.dbi_resource_id() == Some(&replica.resource_id) {
                unmark(&rds, found, &owner).await?;
                return match settled(found)? {
                    Wait::For(what) => Ok(self.0.pending(what)),
                    Wait::Ready(()) => Ok(kept(&item, &error)),
                };
            }
            require_ours(&owner, &systems::of_instance(found), &format!("instance {}", replica.id))?;
        }
        let Some(aside) = systems::instance(&rds, &old).await? else {
            return self.0.missing(context, &format!("instance {} or {old}", replica.id));
        };
        if aside.dbi_resource_id() != Some(&replica.resource_id) {
            let cause = format!("instance {old} is not what {} was: it was not touched", replica.id);
            return Err(StepError::new("Keyferry.Foreign", cause));
        }
        // Both replicate: neither holds anything that its source does not.
        is_replica(&aside)?;
        if let Some(found) = &there {
            is_replica(found)?;
            if let Wait::For(what) = delete_instance(&rds, found).await? {
                return Ok(self.0.pending(what));
            }
        }
        if let Wait::For(what) = settled(&aside)? {
            return Ok(self.0.pending(what));
        }
        context.save_checkpoint(json!({ "intent": "return replica", "rename": [old, replica.id] })).await?;
        rename(&rds, &old, &replica.id).await?;
        Ok(self.0.pending(format!("RDS: replica {} is put back", replica.id)))
    }
}

fn kept(item: &SystemInput, error: &Value) -> Progress {
    let cause = error.get("Cause").and_then(Value::as_str).unwrap_or_default();
    let cause =
        format!("{cause} (the old replica has its name again; it follows the replaced system, if that was replaced)");
    let name = error.get("Error").and_then(Value::as_str).unwrap_or_default();
    Progress::done(json!({
        "system": item.system.id, "region": item.system.region, "outcome": "kept",
        "error": { "Error": name, "Cause": cause },
    }))
}
