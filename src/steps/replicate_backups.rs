//! Replicates a migrated system's automated backups where the original's were, under the key of that region.
//!
//! Takes a system; what the original had is in its record of the freeze. The replicated backups of the original stay until
//! it is purged, and are then purged themselves. Effect: one replication a region. Again: a replication of this system is
//! found by its source. Fails with `Keyferry.Mismatch` when one is there that is not what it has to be.

use async_trait::async_trait;
use aws_sdk_rds::types::{DbInstance, DbInstanceAutomatedBackup};
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, settled},
    recorded::in_inventory,
    settings::predecessor,
};
use crate::{
    aws::{failure, once},
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ReplicateBackups(pub Domain);

#[async_trait]
impl Step for ReplicateBackups {
    fn name(&self) -> &'static str {
        "replicate-backups"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: SystemInput = input(self.name(), value)?;
        in_inventory(context, &item).await?;
        let system = &item.system;
        let had = predecessor(context, system).await?.map(|frozen| frozen.replications).unwrap_or_default();
        if had.is_empty() {
            return Ok(Progress::done(json!({ "system": system.id, "replicated": [] })));
        }
        let rds = self.0.aws.rds(&system.region).await?;
        let Some(serving) = systems::instance(&rds, &system.id).await? else {
            return self.0.missing(context, &format!("instance {}", system.id));
        };
        if let Wait::For(what) = settled(&serving)? {
            return Ok(self.0.pending(what));
        }
        let mut begun = false;
        for (region, days) in &had {
            let key = item.key_in(region)?;
            let away = self.0.aws.rds(region).await?;
            match of(&away, &serving).await? {
                Some(found) => right(&found, (region, *days), &key, &system.id)?,
                None => {
                    start(&away, &serving, (region, *days), &key).await?;
                    begun = true;
                }
            }
        }
        if begun {
            return Ok(self.0.pending(format!("RDS: the backups of {} are replicated", system.id)));
        }
        let regions: Vec<&String> = had.keys().collect();
        Ok(Progress::done(json!({ "system": system.id, "replicated": regions })))
    }
}

/// The replicated backups of `serving` in the region of `rds`.
async fn of(rds: &aws_sdk_rds::Client, serving: &DbInstance) -> Result<Option<DbInstanceAutomatedBackup>, StepError> {
    let resource = serving.dbi_resource_id().unwrap_or_default();
    let found = rds.describe_db_instance_automated_backups().dbi_resource_id(resource).send().await;
    let tried = format!("describe the automated backups of {resource}");
    match found.map_err(|error| failure(&tried, &error)) {
        Ok(output) => {
            let all = output.db_instance_automated_backups.unwrap_or_default().into_iter();
            let mut live = all.filter(|backup| backup.status() != Some("retained"));
            Ok(live.next())
        }
        Err(failure) if failure.not_found() => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

fn right(
    found: &DbInstanceAutomatedBackup,
    (region, days): (&str, i32),
    key: &str,
    system: &str,
) -> Result<(), StepError> {
    let (is, under) = (found.backup_retention_period().unwrap_or_default(), found.kms_key_id().unwrap_or("no key"));
    if under == key && is == days {
        return Ok(());
    }
    let cause = format!(
        "the backups of {system} are replicated to {region} under {under} for {is} days, have to be under {key} for {days} \
         days: stop that replication, then retry"
    );
    Err(StepError::new("Keyferry.Mismatch", cause))
}

async fn start(
    rds: &aws_sdk_rds::Client,
    serving: &DbInstance,
    (region, days): (&str, i32),
    key: &str,
) -> Result<(), StepError> {
    let id = serving.db_instance_identifier().unwrap_or_default();
    let call = rds
        .start_db_instance_automated_backups_replication()
        .set_source_db_instance_arn(serving.db_instance_arn().map(str::to_owned))
        .backup_retention_period(days)
        .kms_key_id(key);
    let tried = format!("replicate the automated backups of {id} to {region}");
    match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
