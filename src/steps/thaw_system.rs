//! Puts the original back into service: the undo of `freeze-system` and of what came after it.
//!
//! Takes a system, and the `error` that made it necessary; what is renamed to what is read from the record of the outage. Gives
//! `outcome`: `kept` when the original serves, `migrated` when the swap had happened after all (then nothing is undone). Fails
//! with `Keyferry.NoPlan` when it does not serve and this run has not taken it out of service. Tolerates that nothing, half or all of it happened.
//! Effect: rename, the recorded security groups, marks off, deletion of the restored system that never served. Again: each is looked for first.
//! Snapshots stay for the purge.

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, delete_instance, input, rename, require_ours, settled},
    create_replica::is_replica,
    fence::{give, has_only},
    lineage, outage,
    recorded::no_plan,
    settings::record,
};
use crate::{
    aws::failure,
    systems::{self, Owner},
    worker::{Progress, Record, Served, Step, StepContext, StepError},
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
        let planned = outage::of(context, &item.system.resource_id).await?.filter(|found| found.run == context.run);
        let (item, thawed) = match planned {
            None => {
                let thawed = self.0.untouched(context, &item).await?;
                (item, thawed)
            }
            Some(found) => {
                let item: SystemInput = input(self.name(), found.input.clone())?;
                let thawed = match found.served.filter(|_| !found.is_open()) {
                    Some(served) => Thawed::Serves(served, Vec::new()),
                    None => self.0.thaw(context, &item, &context.run).await?,
                };
                (item, thawed)
            }
        };
        let (served, mut records) = match thawed {
            Thawed::Serves(served, records) => (served, records),
            Thawed::Waits(progress) => return Ok(progress),
        };
        let mut output = json!({ "system": item.system.id, "region": item.system.region, "outcome": served.word() });
        if served == Served::Kept {
            output["error"] = if item.system.replica_of.is_some() { beside_a_replica(&error) } else { error };
        }
        records.extend(outage::ended(context, &item, served).await?);
        Ok(Progress::recorded(output, records))
    }
}

/// Why a replica was not replaced, and what the one that serves shows: what the replaced system held at its freeze.
fn beside_a_replica(error: &Value) -> Value {
    let text = |member: &str| error.get(member).and_then(Value::as_str).unwrap_or_default();
    let cause = format!(
        "{} (the old replica serves under its name; it follows the replaced system, if that was replaced)",
        text("Cause")
    );
    json!({ "Error": text("Error"), "Cause": cause })
}

/// How far it is.
pub enum Thawed {
    /// With what the records of lineage have to say of it.
    Serves(Served, Vec<Record>),
    Waits(Progress),
}

impl Domain {
    /// What a run has not taken out of service serves, or is not its to put back.
    async fn untouched(&self, context: &StepContext, item: &SystemInput) -> Result<Thawed, StepError> {
        let system = &item.system;
        let rds = self.aws.rds(&system.region).await?;
        let Some(serving) = systems::instance(&rds, &system.id).await? else {
            return self.missing(context, &format!("instance {}", system.id)).map(Thawed::Waits);
        };
        if serving.dbi_resource_id() != Some(&system.resource_id) {
            return Err(no_plan(format!(
                "{} ({}) does not serve in {}, and no record says that the run {} has taken it out of service: nothing was \
                 touched",
                system.id, system.resource_id, system.region, context.run
            )));
        }
        if let Wait::For(what) = settled(&serving)? {
            return Ok(Thawed::Waits(self.pending(what)));
        }
        if system.replica_of.is_some() {
            // It was made beside the old one and holds nothing that its source does not.
            let new = systems::instance(&rds, &item.names(context).new_system()).await?;
            let new = new.filter(|new| is_replica(new).is_ok());
            if let Some(waits) = self.remove_successor(&rds, &self.owner(context), new).await? {
                return Ok(waits);
            }
        }
        Ok(Thawed::Serves(Served::Kept, Vec::new()))
    }

    /// Deletes a successor that never served, if there is one. What cannot be deleted is left over and listed as that: where the
    /// original serves it is no outage.
    async fn remove_successor(
        &self,
        rds: &aws_sdk_rds::Client,
        owner: &Owner,
        new: Option<DbInstance>,
    ) -> Result<Option<Thawed>, StepError> {
        let Some(new) = new else { return Ok(None) };
        let id = new.db_instance_identifier().unwrap_or_default();
        require_ours(owner, &systems::of_instance(&new), &format!("instance {id}"))?;
        match delete_instance(rds, &new).await {
            Ok(Wait::For(what)) => return Ok(Some(Thawed::Waits(self.pending(what)))),
            Ok(Wait::Ready(())) => {}
            Err(error) if is_retried(&error) => return Err(error),
            Err(error) => tracing::warn!(error = error.error, "not deleted: {}", error.cause),
        }
        Ok(None)
    }

    /// Puts the original of a system back that `run` has taken out of service, unless its successor serves.
    ///
    /// # Errors
    /// AWS refused; the name, or what bears one of ours, is somebody else's.
    pub(super) async fn thaw(&self, context: &StepContext, item: &SystemInput, run: &str) -> Result<Thawed, StepError> {
        let owner = Owner { run: run.to_owned(), ..self.owner(context) };
        let (names, system) = (item.names_of(&context.enterprise, run), &item.system);
        let rds = self.aws.rds(&system.region).await?;
        let new = systems::instance(&rds, &names.new_system()).await?;
        // A rename of the new system that has begun decides by itself who serves.
        if let Some(new) = new.as_ref().filter(|new| new.db_instance_status() == Some("renaming")) {
            let id = new.db_instance_identifier().unwrap_or_default();
            return Ok(Thawed::Waits(self.pending(format!("RDS: {id} is renaming"))));
        }
        let Some(serving) = systems::instance(&rds, &system.id).await? else {
            return self.put_back(context, &rds, item, &names.old()).await.map(Thawed::Waits);
        };
        if serving.dbi_resource_id() != Some(&system.resource_id) {
            require_ours(&owner, &systems::of_instance(&serving), &format!("instance {}", system.id))?;
            if let Wait::For(what) = settled(&serving)? {
                return Ok(Thawed::Waits(self.pending(what)));
            }
            return Ok(Thawed::Serves(Served::Migrated, lineage::swapped(context, system, &serving).await?));
        }
        if serving.db_instance_status() == Some("renaming") {
            return Ok(Thawed::Waits(self.pending(format!("RDS: {} is renaming", system.id))));
        }
        if let Wait::For(what) = reopen(context, &rds, &serving).await? {
            return Ok(Thawed::Waits(self.pending(what)));
        }
        unmark(&rds, &serving, &owner).await?;
        if let Wait::For(what) = settled(&serving)? {
            return Ok(Thawed::Waits(self.pending(what)));
        }
        if let Some(waits) = self.remove_successor(&rds, &owner, new).await? {
            return Ok(waits);
        }
        Ok(Thawed::Serves(Served::Kept, Vec::new()))
    }

    async fn put_back(
        &self,
        context: &StepContext,
        rds: &aws_sdk_rds::Client,
        item: &SystemInput,
        old: &str,
    ) -> Result<Progress, StepError> {
        let id = &item.system.id;
        // By what it keeps under any name: somebody may have moved it aside meanwhile.
        let Some(frozen) = systems::instance_of(rds, &item.system.resource_id).await? else {
            return self.missing(context, &format!("instance {id} or {old} ({})", item.system.resource_id));
        };
        let old = frozen.db_instance_identifier().unwrap_or(old);
        if let Wait::For(what) = settled(&frozen)? {
            return Ok(self.pending(what));
        }
        context.save_checkpoint(json!({ "intent": "thaw", "rename": [old, id] })).await?;
        rename(rds, old, id).await?;
        Ok(self.pending(format!("RDS: {id} is put back into service")))
    }
}

/// Errors after which the definitions try again.
pub(super) fn is_retried(error: &StepError) -> bool {
    const RETRIED: [&str; 6] = [
        "Keyferry.Throttled",
        "Keyferry.Unavailable",
        "Keyferry.NotReady",
        "Keyferry.NoCapacity",
        "Keyferry.StoreUnavailable",
        "Keyferry.LeaseLost",
    ];
    RETRIED.contains(&error.error.as_str())
}

/// Gives a system that was closed to its clients the security groups back that were recorded before.
async fn reopen(context: &StepContext, rds: &aws_sdk_rds::Client, serving: &DbInstance) -> Result<Wait<()>, StepError> {
    let Some(frozen) = record(context, serving.dbi_resource_id().unwrap_or_default()).await? else {
        return Ok(Wait::Ready(()));
    };
    if !frozen.closing_group.as_ref().is_some_and(|group| has_only(serving, group)) {
        return Ok(Wait::Ready(()));
    }
    if let Wait::For(what) = settled(serving)? {
        return Ok(Wait::For(what));
    }
    context.save_checkpoint(json!({ "intent": "reopen", "security_groups": frozen.settings.security_groups })).await?;
    give(rds, serving, &frozen.settings.security_groups).await?;
    Ok(Wait::For(format!("RDS: {} is opened to its clients again", frozen.system)))
}

pub(super) async fn unmark(rds: &aws_sdk_rds::Client, serving: &DbInstance, owner: &Owner) -> Result<(), StepError> {
    if !owner.made(&systems::of_instance(serving)) {
        return Ok(());
    }
    let arn = serving.db_instance_arn().unwrap_or_default();
    let marks = systems::read::marks().iter().map(|&mark| mark.to_owned()).collect();
    let call = rds.remove_tags_from_resource().resource_name(arn).set_tag_keys(Some(marks));
    call.send().await.map(|_| ()).map_err(|error| failure(&format!("take the marks off {arn}"), &error).into())
}
