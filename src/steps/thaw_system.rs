//! Puts the original back into service: the undo of `freeze-system` and of what came after it.
//!
//! Takes a system, and the `error` that made it necessary. Gives `outcome`: `kept` when the original serves, `migrated`
//! when the swap had happened after all (then nothing is undone). Tolerates that nothing, half or all of it happened.
//! Effect: rename, marks off, deletion of the restored system that never served. Again: each is looked for first.
//! Snapshots stay for the purge.

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, delete_instance, input, rename, require_ours, settled},
    lineage,
};
use crate::{
    aws::failure,
    systems::{self, Owner},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ThawSystem(pub Domain);

#[derive(Deserialize)]
struct Why {
    #[serde(default)]
    error: Value,
}

#[async_trait]
impl Step for ThawSystem {
    fn name(&self) -> &'static str {
        "thaw-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Why { error } = input(self.name(), value.clone())?;
        let item: SystemInput = input(self.name(), value)?;
        let (owner, names, system) = (self.0.owner(context), item.names(context), &item.system);
        let rds = self.0.aws.rds(&system.region).await?;
        let new = systems::instance(&rds, &names.new_system()).await?;
        // A rename of the new system that has begun decides by itself who serves.
        if let Some(new) = new.as_ref().filter(|new| new.db_instance_status() == Some("renaming")) {
            let id = new.db_instance_identifier().unwrap_or_default();
            return Ok(self.0.pending(format!("RDS: {id} is renaming")));
        }
        let Some(serving) = systems::instance(&rds, &system.id).await? else {
            return self.put_back(context, &rds, &item).await;
        };
        if serving.dbi_resource_id() != Some(&system.resource_id) {
            require_ours(&owner, &systems::of_instance(&serving), &format!("instance {}", system.id))?;
            let output = json!({ "system": system.id, "region": system.region, "outcome": "migrated" });
            return Ok(Progress::recorded(output, lineage::swapped(context, system, &serving).await?));
        }
        if serving.db_instance_status() == Some("renaming") {
            return Ok(self.0.pending(format!("RDS: {} is renaming", system.id)));
        }
        unmark(&rds, &serving, &owner).await?;
        if let Some(new) = new {
            require_ours(&owner, &systems::of_instance(&new), &format!("instance {}", names.new_system()))?;
            if let Wait::For(what) = delete_instance(&rds, &new).await? {
                return Ok(self.0.pending(what));
            }
        }
        if let Wait::For(what) = settled(&serving)? {
            return Ok(self.0.pending(what));
        }
        Ok(Progress::done(json!({ "system": system.id, "region": system.region, "outcome": "kept", "error": error })))
    }
}

impl ThawSystem {
    async fn put_back(
        &self,
        context: &StepContext,
        rds: &aws_sdk_rds::Client,
        item: &SystemInput,
    ) -> Result<Progress, StepError> {
        let (old, id) = (item.names(context).old(), &item.system.id);
        let Some(frozen) = systems::instance(rds, &old).await? else {
            return self.0.missing(context, &format!("instance {id} or {old}"));
        };
        if frozen.dbi_resource_id() != Some(&item.system.resource_id) {
            let cause = format!("instance {old} is not what {id} was: it was not touched");
            return Err(StepError::new("Keyferry.Foreign", cause));
        }
        if let Wait::For(what) = settled(&frozen)? {
            return Ok(self.0.pending(what));
        }
        context.save_checkpoint(json!({ "intent": "thaw", "rename": [old, id] })).await?;
        rename(rds, &old, id).await?;
        Ok(self.0.pending(format!("RDS: {id} is put back into service")))
    }
}

async fn unmark(rds: &aws_sdk_rds::Client, serving: &DbInstance, owner: &Owner) -> Result<(), StepError> {
    if !owner.made(&systems::of_instance(serving)) {
        return Ok(());
    }
    let arn = serving.db_instance_arn().unwrap_or_default();
    let marks = systems::read::marks().iter().map(|&mark| mark.to_owned()).collect();
    let call = rds.remove_tags_from_resource().resource_name(arn).set_tag_keys(Some(marks));
    call.send().await.map(|_| ()).map_err(|error| failure(&format!("take the marks off {arn}"), &error).into())
}
