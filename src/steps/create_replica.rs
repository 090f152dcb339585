//! Creates a read replica of the migrated system beside the one that it replaces, under the key of the replica's region.
//!
//! Takes the replica as `system`, and `source` with `source_region`. A replica's key cannot be changed, and the old one follows
//! the old system. The new one is made under another name while the old one serves, and given everything that the old one is:
//! what the call that makes a replica does not take (retention, windows) comes by a change after it, at most three times, and is
//! then compared. A source that is not under its key yet leaves its replicas as they are. Gives the window of the outage that
//! follows and leaves its record: the steps of a cut-over exchange the names. Leaves `lineage`. Effect: a new replica, changes. Again: it
//! is looked for first. Fails with `Keyferry.Mismatch` and the list of differences.

use async_trait::async_trait;
use aws_sdk_rds::types::{DatabaseInsightsMode, DbInstance, ReplicaMode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, require_ours, settled},
    lineage, outage,
    recorded::{no_plan, replica_in_inventory},
    settings::{change, features, refuse, some},
};
use crate::{
    aws::{failure, once},
    schedule::Window,
    systems::{self, Settings, adjustable, differences},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct CreateReplica(pub Domain);

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
impl Step for CreateReplica {
    fn name(&self) -> &'static str {
        "create-replica"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let source: Source = input(self.name(), value.clone())?;
        let item: SystemInput = input(self.name(), value)?;
        let (replica, new) = (&item.system, item.names(context).new_system());
        replica_in_inventory(context, &item, (&source.source, &source.source_region)).await?;
        let rds = self.0.aws.rds(&replica.region).await?;
        // Under any name: an earlier execution may have put it aside.
        let Some(original) = systems::instance_of(&rds, &replica.resource_id).await? else {
            return self.0.missing(context, &format!("replica {} ({})", replica.id, replica.resource_id));
        };
        let bearer = systems::instance(&rds, &replica.id).await?;
        let successor = match bearer.filter(|bearer| bearer.dbi_resource_id() != Some(&replica.resource_id)) {
            Some(bearer) => Some(bearer),
            None => systems::instance(&rds, &new).await?,
        };
        let had = Settings::of(&original);
        if let Some(found) = successor {
            let name = found.db_instance_identifier().unwrap_or_default();
            require_ours(&self.0.owner(context), &systems::of_instance(&found), &format!("instance {name}"))?;
            return self.complete(context, (&item, &source), &had, &found).await;
        }
        if let Wait::For(what) = settled(&original)? {
            return Ok(self.0.pending(what));
        }
        refuse(&original)?;
        is_replica(&original)?;
        let (serving, ready) = self.migrated(&item, &source).await?;
        if let Wait::For(what) = ready {
            return Ok(self.0.pending(what));
        }
        let from = if source.source_region == replica.region {
            Some(source.source)
        } else {
            serving.db_instance_arn().map(str::to_owned)
        };
        create(&rds, &item, (&new, &had), from, &self.0.owner(context)).await?;
        Ok(self.0.pending(format!("RDS: replica {new} is created, which will be {}", replica.id)))
    }
}

impl CreateReplica {
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

    /// The new replica is what the old one was: what is to follow is written down.
    async fn ready(
        &self,
        context: &StepContext,
        (item, source): (&SystemInput, &Source),
        found: &DbInstance,
    ) -> Result<Progress, StepError> {
        outage::of_no_other(context, &item.system).await?;
        let home = self.0.aws.rds(&source.source_region).await?;
        let of = systems::instance(&home, &source.source).await?;
        let of = of.as_ref().and_then(|of| of.dbi_resource_id()).unwrap_or_default();
        let window = Window::of_replica(context.now());
        let (system, keys, plan) = (&item.system, &item.keys, &item.plan);
        let input = json!({
            "system": system, "keys": keys, "plan": plan, "generation": item.generation, "attempt": item.attempt,
            "window": window,
        });
        let mut records = lineage::replicated(context, system, found, of);
        records.push(outage::record(&outage::plan(context, item, &window, input)));
        Ok(Progress::recorded(json!(window), records))
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
        let name = found.db_instance_identifier().unwrap_or_default();
        let rds = self.0.aws.rds(&replica.region).await?;
        let changes = context.checkpoint.as_ref().and_then(|saved| saved.get("changes")?.as_u64()).unwrap_or_default();
        if let Wait::For(what) = settled(found)? {
            return Ok(self.0.pending_with(what, json!({ "changes": changes })));
        }
        let lacking = lacking(had, found);
        if changes < CHANGES && lacking.iter().any(|(name, ..)| adjustable(name)) {
            let names: Vec<&str> = lacking.iter().map(|(name, ..)| name.as_str()).collect();
            context.save_checkpoint(json!({ "changes": changes + 1, "intent": "change", "lacking": names })).await?;
            change(&rds, name, &reachable(had, found), found, &key).await?;
            let waiting = format!("RDS: {name} is given {}", names.join(", "));
            return Ok(self.0.pending_with(waiting, json!({ "changes": changes + 1 })));
        }
        let mut wrong: Vec<String> =
            lacking.into_iter().map(|(name, wanted, is)| format!("{name} is {is}, was {wanted}")).collect();
        if found.kms_key_id() != Some(&key) {
            wrong.push(format!("the key is {}, has to be {key}", found.kms_key_id().unwrap_or("none")));
        }
        if wrong.is_empty() {
            return self.ready(context, (item, source), found).await;
        }
        let cause = format!("replica {} is not what it was: {}. The old one serves on", replica.id, wrong.join("; "));
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
    (new, had): (&str, &Settings),
    from: Option<String>,
    owner: &systems::Owner,
) -> Result<(), StepError> {
    let (replica, key) = (&item.system, item.key()?);
    let mut tags = had.tags.clone();
    tags.extend(owner.tags("new"));
    let tunable = had.tunable_storage();
    let call = rds
        .create_db_instance_read_replica()
        .db_instance_identifier(new)
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
    let tried = format!("create replica {new} in {}", replica.region);
    match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
        Err(failure) if failure.error != "Keyferry.Foreign" => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
