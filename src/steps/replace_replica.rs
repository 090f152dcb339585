//! Replaces a read replica by one of the migrated system, under the key of the replica's region.
//!
//! Takes the replica as `system`, and `source` with `source_region`. A replica's key cannot be changed, and the old one
//! follows the old system; so it is put aside under another name and kept until the purge. It is described when it is
//! put aside, and the new one is given everything that it was: what the call that makes a replica does not take (retention,
//! windows) comes by a change after it, at most three times, and is then compared. A source that is not under its key yet
//! leaves its replicas as they are. Leaves `lineage`. Effect: a rename, a new replica under the old name, changes. Again: both
//! are looked for first, the old one by its resource id. Fails with `Keyferry.Mismatch` and the list of differences.

use async_trait::async_trait;
use aws_sdk_rds::types::{DatabaseInsightsMode, DbInstance, ReplicaMode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, put_aside, require_ours, settled},
    lineage,
    recorded::{no_plan, replica_in_inventory},
    settings::{change, features, refuse, some},
};
use crate::{
    aws::{failure, once},
    systems::{self, Settings, adjustable, differences},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ReplaceReplica(pub Domain);

const CHANGES: u64 = 3;

/// What a replica has of its source, whatever the one before it had.
const OF_THE_SOURCE: [&str; 6] =
    ["engine_version", "license_model", "db_name", "master_username", "managed_password", "lifecycle_support"];

#[derive(Deserialize)]
struct Source {
    source: String,
    source_region: String,
}

#[async_trait]
impl Step for ReplaceReplica {
    fn name(&self) -> &'static str {
        "replace-replica"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let source: Source = input(self.name(), value.clone())?;
        let item: SystemInput = input(self.name(), value)?;
        let (owner, replica, old) = (self.0.owner(context), &item.system, item.names(context).old());
        replica_in_inventory(context, &item, (&source.source, &source.source_region)).await?;
        let rds = self.0.aws.rds(&replica.region).await?;
        let there = systems::instance(&rds, &replica.id).await?;
        if let Some(found) = there.as_ref().filter(|found| found.dbi_resource_id() == Some(&replica.resource_id)) {
            if let Wait::For(what) = settled(found)? {
                return Ok(self.0.pending(what));
            }
            refuse(found)?;
            is_replica(found)?;
            if let Wait::For(what) = self.migrated(&item, &source).await?.1 {
                return Ok(self.0.pending(what));
            }
            context.save_checkpoint(json!({ "intent": "put aside", "rename": [replica.id, old] })).await?;
            put_aside(&rds, &owner, replica, found, &old).await?;
            return Ok(self.0.pending(format!("RDS: replica {} is put aside", replica.id)));
        }
        let Some(aside) = systems::instance(&rds, &old).await? else {
            return self.0.missing(context, &format!("instance {} or {old}", replica.id));
        };
        if aside.dbi_resource_id() != Some(&replica.resource_id) {
            let cause = format!("instance {old} exists and is not what {} was: it was not touched", replica.id);
            return Err(StepError::new("Keyferry.Foreign", cause));
        }
        let had = Settings::of(&aside);
        if let Some(found) = there {
            require_ours(&owner, &systems::of_instance(&found), &format!("instance {}", replica.id))?;
            return self.complete(context, (&item, &source), &had, &found).await;
        }
        if let Wait::For(what) = settled(&aside)? {
            return Ok(self.0.pending(what));
        }
        let (serving, ready) = self.migrated(&item, &source).await?;
        if let Wait::For(what) = ready {
            return Ok(self.0.pending(what));
        }
        let from = if source.source_region == replica.region {
            Some(source.source)
        } else {
            serving.db_instance_arn().map(str::to_owned)
        };
        create(&rds, &item, &had, from, &owner).await?;
        Ok(self.0.pending(format!("RDS: replica {} is created", replica.id)))
    }
}

impl ReplaceReplica {
    /// The source, and whether a replica can be made of it: it is under its key and has backups on.
    ///
    /// # Errors
    /// `Keyferry.NotMigrated`: its source is not under the enterprise's key.
    async fn migrated(&self, item: &SystemInput, source: &Source) -> Result<(DbInstance, Wait<()>), StepError> {
        let Source { source: name, source_region: region } = source;
        let home = self.0.aws.rds(region).await?;
        let serving = systems::instance(&home, name).await?;
        let under_key = |found: &DbInstance| found.kms_key_id().is_some_and(|key| item.keys.serves(region, key));
        let Some(serving) = serving.filter(under_key) else {
            let cause = format!(
                "{} is left as it is: its source {name} in {region} is not under the enterprise's key. Put right what kept \
                 {name}, then retry",
                item.system.id
            );
            return Err(StepError::new("Keyferry.NotMigrated", cause));
        };
        if serving.backup_retention_period().unwrap_or_default() == 0 {
            let cause = format!(
                "{name} in {region} has no automated backups, and RDS makes no replica of such an instance: set its \
                 retention, then retry"
            );
            return Err(StepError::new("Keyferry.Unsupported", cause));
        }
        let ready = settled(&serving)?;
        Ok((serving, ready))
    }

    /// Gives the new replica what it lacks and compares it with the old one.
    async fn complete(
        &self,
        context: &StepContext,
        (item, source): (&SystemInput, &Source),
        had: &Settings,
        found: &DbInstance,
    ) -> Result<Progress, StepError> {
        let (replica, key) = (&item.system, item.key()?);
        let rds = self.0.aws.rds(&replica.region).await?;
        let changes = context.checkpoint.as_ref().and_then(|saved| saved.get("changes")?.as_u64()).unwrap_or_default();
        if let Wait::For(what) = settled(found)? {
            return Ok(self.0.pending_with(what, json!({ "changes": changes })));
        }
        let lacking = lacking(had, found);
        if changes < CHANGES && lacking.iter().any(|(name, ..)| adjustable(name)) {
            let names: Vec<&str> = lacking.iter().map(|(name, ..)| name.as_str()).collect();
            context.save_checkpoint(json!({ "changes": changes + 1, "intent": "change", "lacking": names })).await?;
            change(&rds, &replica.id, &reachable(had, found), found, &key).await?;
            let waiting = format!("RDS: {} is given {}", replica.id, names.join(", "));
            return Ok(self.0.pending_with(waiting, json!({ "changes": changes + 1 })));
        }
        let mut wrong: Vec<String> =
            lacking.into_iter().map(|(name, wanted, is)| format!("{name} is {is}, was {wanted}")).collect();
        if found.kms_key_id() != Some(&key) {
            wrong.push(format!("the key is {}, has to be {key}", found.kms_key_id().unwrap_or("none")));
        }
        if wrong.is_empty() {
            let home = self.0.aws.rds(&source.source_region).await?;
            let of = systems::instance(&home, &source.source).await?;
            let of = of.as_ref().and_then(|of| of.dbi_resource_id()).unwrap_or_default();
            let output = json!({ "system": replica.id, "region": replica.region, "outcome": "migrated", "key": key });
            return Ok(Progress::recorded(output, lineage::replicated(context, replica, found, of)));
        }
        let cause = format!("replica {} is not what it was: {}. The old one is put back", replica.id, wrong.join("; "));
        Err(StepError::new("Keyferry.Mismatch", cause))
    }
}

/// What replicates nothing may hold what nothing else does.
///
/// # Errors
/// `Keyferry.NoPlan`: it is no replica.
pub(super) fn is_replica(found: &DbInstance) -> Result<(), StepError> {
    if found.read_replica_source_db_instance_identifier().is_some_and(|source| !source.is_empty()) {
        return Ok(());
    }
    let id = found.db_instance_identifier().unwrap_or_default();
    Err(no_plan(format!(
        "instance {id} replicates nothing, so what it holds may be nowhere else: it was not touched. If it was promoted, cancel \
         the run and start another, whose inventory finds it as a system of its own"
    )))
}

fn lacking(had: &Settings, found: &DbInstance) -> Vec<(String, Value, Value)> {
    let mut lacking = differences(had, &Settings::of(found));
    lacking.retain(|(name, ..)| !OF_THE_SOURCE.contains(&name.as_str()));
    lacking
}

/// What the replica had, without what it now has of its source.
fn reachable(had: &Settings, found: &DbInstance) -> Settings {
    let now = Settings::of(found);
    Settings { managed_password: now.managed_password, lifecycle_support: now.lifecycle_support, ..had.clone() }
}

async fn create(
    rds: &aws_sdk_rds::Client,
    item: &SystemInput,
    had: &Settings,
    from: Option<String>,
    owner: &systems::Owner,
) -> Result<(), StepError> {
    let (replica, key) = (&item.system, item.key()?);
    let mut tags = had.tags.clone();
    tags.extend(owner.tags("new"));
    let tunable = had.tunable_storage();
    let call = rds
        .create_db_instance_read_replica()
        .db_instance_identifier(&replica.id)
        .set_source_db_instance_identifier(from)
        .kms_key_id(&key)
        .db_instance_class(&had.class)
        .set_port(had.port)
        .multi_az(had.multi_az)
        .set_db_subnet_group_name(had.subnet_group.clone())
        .set_vpc_security_group_ids(some(&had.security_groups))
        .set_db_parameter_group_name(had.own_parameter_group())
        .set_option_group_name(had.own_option_group())
        .set_storage_type(had.storage_type.clone())
        .set_iops(had.iops.filter(|_| tunable))
        .set_storage_throughput(had.throughput.filter(|_| tunable))
        .auto_minor_version_upgrade(had.auto_minor_upgrade)
        .publicly_accessible(had.publicly_accessible)
        .copy_tags_to_snapshot(had.copy_tags)
        .deletion_protection(had.deletion_protection)
        .enable_iam_database_authentication(had.iam_authentication)
        .set_enable_cloudwatch_logs_exports(some(&had.log_exports))
        .set_ca_certificate_identifier(had.ca.clone())
        .set_network_type(had.network_type.clone())
        .set_dedicated_log_volume(had.dedicated_log_volume.then_some(true))
        .set_processor_features(features(&had.processor_features))
        .set_replica_mode(had.replica_mode.as_deref().map(ReplicaMode::from))
        .set_monitoring_interval((had.monitoring_interval > 0).then_some(had.monitoring_interval))
        .set_monitoring_role_arn(had.monitoring_role.clone())
        .set_database_insights_mode(had.insights_mode.as_deref().map(DatabaseInsightsMode::from))
        .set_enable_performance_insights(had.performance_insights.then_some(true))
        .set_performance_insights_kms_key_id(had.performance_insights.then(|| key.clone()))
        .set_performance_insights_retention_period(had.performance_insights_days)
        .set_max_allocated_storage(had.max_storage_gb)
        .set_tags(Some(systems::sdk(&tags)));
    let tried = format!("create replica {} in {}", replica.id, replica.region);
    match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
        Err(failure) if failure.error != "Keyferry.Foreign" => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
