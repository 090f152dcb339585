//! Replaces a read replica by one of the migrated system, under the key of the replica's region.
//!
//! Takes the replica as `system`, and `source` with `source_region`. A replica's key cannot be changed, and the old one
//! follows the old system; so it is put aside under another name and kept until the purge. Leaves `lineage`. Effect: a
//! rename, a new replica under the old name. Again: both are looked for first, the old one by its resource id.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, put_aside, require_ours, settled},
    lineage,
};
use crate::{
    aws::{failure, once},
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ReplaceReplica(pub Domain);

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
        let Source { source, source_region } = input(self.name(), value.clone())?;
        let item: SystemInput = input(self.name(), value)?;
        let (owner, replica, old) = (self.0.owner(context), &item.system, item.names(context).old());
        let key = item.key()?;
        let rds = self.0.aws.rds(&replica.region).await?;
        if let Some(found) = systems::instance(&rds, &replica.id).await? {
            if found.dbi_resource_id() != Some(&replica.resource_id) {
                require_ours(&owner, &systems::of_instance(&found), &format!("instance {}", replica.id))?;
                return match settled(&found)? {
                    Wait::For(what) => Ok(self.0.pending(what)),
                    Wait::Ready(()) => {
                        let home = self.0.aws.rds(&source_region).await?;
                        let of = systems::instance(&home, &source).await?;
                        let of = of.as_ref().and_then(|of| of.dbi_resource_id()).unwrap_or_default();
                        let output = json!({ "replica": replica.id, "region": replica.region, "key": key });
                        Ok(Progress::recorded(output, lineage::replicated(context, replica, &found, of)))
                    }
                };
            }
            if let Wait::For(what) = settled(&found)? {
                return Ok(self.0.pending(what));
            }
            context.save_checkpoint(json!({ "intent": "put aside", "rename": [replica.id, old] })).await?;
            put_aside(&rds, &owner, replica, &found, &old).await?;
            return Ok(self.0.pending(format!("RDS: replica {} is put aside", replica.id)));
        }
        let Some(aside) = systems::instance(&rds, &old).await? else {
            return self.0.missing(context, &format!("instance {} or {old}", replica.id));
        };
        if let Wait::For(what) = settled(&aside)? {
            return Ok(self.0.pending(what));
        }
        let home = self.0.aws.rds(&source_region).await?;
        let Some(serving) = systems::instance(&home, &source).await? else {
            return self.0.missing(context, &format!("instance {source} in {source_region}"));
        };
        if let Wait::For(what) = settled(&serving)? {
            return Ok(self.0.pending(what));
        }
        let from = if source_region == replica.region {
            Some(source.clone())
        } else {
            serving.db_instance_arn().map(str::to_owned)
        };
        create(&rds, &item, from, &key, &owner).await?;
        Ok(self.0.pending(format!("RDS: replica {} is created", replica.id)))
    }
}

async fn create(
    rds: &aws_sdk_rds::Client,
    item: &SystemInput,
    from: Option<String>,
    key: &str,
    owner: &systems::Owner,
) -> Result<(), StepError> {
    let (replica, had) = (&item.system, &item.system.settings);
    let mut tags = had.tags.clone();
    tags.extend(owner.tags("new"));
    let tunable = had.tunable_storage();
    let call = rds
        .create_db_instance_read_replica()
        .db_instance_identifier(&replica.id)
        .set_source_db_instance_identifier(from)
        .kms_key_id(key)
        .db_instance_class(&had.class)
        .set_port(had.port)
        .multi_az(had.multi_az)
        .set_db_subnet_group_name(had.subnet_group.clone())
        .set_vpc_security_group_ids((!had.security_groups.is_empty()).then(|| had.security_groups.clone()))
        .set_db_parameter_group_name(had.parameter_group.clone())
        .set_storage_type(had.storage_type.clone())
        .set_iops(had.iops.filter(|_| tunable))
        .set_storage_throughput(had.throughput.filter(|_| tunable))
        .auto_minor_version_upgrade(had.auto_minor_upgrade)
        .publicly_accessible(had.publicly_accessible)
        .copy_tags_to_snapshot(had.copy_tags)
        .deletion_protection(had.deletion_protection)
        .enable_iam_database_authentication(had.iam_authentication)
        .set_enable_cloudwatch_logs_exports((!had.log_exports.is_empty()).then(|| had.log_exports.clone()))
        .set_monitoring_interval((had.monitoring_interval > 0).then_some(had.monitoring_interval))
        .set_monitoring_role_arn(had.monitoring_role.clone())
        .set_enable_performance_insights(had.performance_insights.then_some(true))
        .set_performance_insights_kms_key_id(had.performance_insights.then(|| key.to_owned()))
        .set_performance_insights_retention_period(had.performance_insights_days)
        .set_max_allocated_storage(had.max_storage_gb)
        .set_tags(Some(systems::sdk(&tags)));
    let tried = format!("create replica {} in {}", replica.id, replica.region);
    match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
        Err(failure) if failure.error != "Keyferry.Foreign" => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
