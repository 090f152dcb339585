//! Restores a system from its copy, with everything that the original had.
//!
//! Takes a system. RDS gives a restored instance defaults for whatever it is not told (security group, parameter group,
//! one zone), and some settings it takes only in a change after the restore. So: restore with all that it takes, compare,
//! change what differs, at most three times; `verify-system` judges. Effect: one instance under a name of its own, beside
//! the frozen original. Again: it is found by name, and a change sets the same values.

use async_trait::async_trait;
use aws_sdk_rds::types::{CloudwatchLogsExportConfiguration, DbInstance};
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, require_ours, settled},
};
use crate::{
    aws::{failure, once},
    systems::{self, Owner, Settings, adjustable, differences},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct RestoreSystem(pub Domain);

const CHANGES: u64 = 3;

#[async_trait]
impl Step for RestoreSystem {
    fn name(&self) -> &'static str {
        "restore-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: SystemInput = input(self.name(), value)?;
        item.before_cutoff(context)?;
        let (names, owner) = (item.names(context), self.0.owner(context));
        let rds = self.0.aws.rds(&item.system.region).await?;
        let id = names.new_system();
        let Some(restored) = systems::instance(&rds, &id).await? else {
            restore(&rds, &item, &owner, &names.final_copy(), &id).await?;
            return Ok(self.0.pending(format!("RDS: {id} is restored")));
        };
        require_ours(&owner, &systems::of_instance(&restored), &format!("instance {id}"))?;
        let changes = context.checkpoint.as_ref().and_then(|saved| saved.get("changes")?.as_u64()).unwrap_or_default();
        let checkpoint = json!({ "changes": changes });
        if let Wait::For(what) = settled(&restored)? {
            return Ok(self.0.pending_with(what, checkpoint));
        }
        let wanted = &item.system.settings;
        let lacking: Vec<String> =
            differences(wanted, &Settings::of(&restored)).into_iter().map(|(name, ..)| name).collect();
        if changes < CHANGES && lacking.iter().any(|name| adjustable(name)) {
            context.save_checkpoint(json!({ "changes": changes + 1, "intent": "change", "lacking": lacking })).await?;
            change(&rds, &id, wanted, &restored, &item.key()?).await?;
            let waiting = format!("RDS: {id} is given {}", lacking.join(", "));
            return Ok(self.0.pending_with(waiting, json!({ "changes": changes + 1 })));
        }
        if parameters_wait_for_reboot(&restored) {
            let call = rds.reboot_db_instance().db_instance_identifier(&id);
            call.send().await.map_err(|error| failure(&format!("reboot instance {id}"), &error))?;
            return Ok(self.0.pending_with(format!("RDS: {id} reboots into its parameter group"), checkpoint));
        }
        Ok(Progress::done(json!({ "restored": id })))
    }
}

fn parameters_wait_for_reboot(instance: &DbInstance) -> bool {
    instance.db_parameter_groups().iter().any(|group| group.parameter_apply_status() == Some("pending-reboot"))
}

async fn restore(
    rds: &aws_sdk_rds::Client,
    item: &SystemInput,
    owner: &Owner,
    copy: &str,
    id: &str,
) -> Result<(), StepError> {
    let had = &item.system.settings;
    let mut tags = had.tags.clone();
    tags.extend(owner.restored(copy));
    let tunable = had.tunable_storage();
    let call = rds
        .restore_db_instance_from_db_snapshot()
        .db_instance_identifier(id)
        .db_snapshot_identifier(copy)
        .db_instance_class(&had.class)
        .set_port(had.port)
        .set_db_subnet_group_name(had.subnet_group.clone())
        .set_vpc_security_group_ids(some(&had.security_groups))
        .set_db_parameter_group_name(had.parameter_group.clone())
        .set_option_group_name(had.option_group.clone())
        .multi_az(had.multi_az)
        .publicly_accessible(had.publicly_accessible)
        .auto_minor_version_upgrade(had.auto_minor_upgrade)
        .set_license_model(had.license_model.clone())
        .set_storage_type(had.storage_type.clone())
        .set_iops(had.iops.filter(|_| tunable))
        .set_storage_throughput(had.throughput.filter(|_| tunable))
        .copy_tags_to_snapshot(had.copy_tags)
        .deletion_protection(had.deletion_protection)
        .enable_iam_database_authentication(had.iam_authentication)
        .set_enable_cloudwatch_logs_exports(some(&had.log_exports))
        .set_ca_certificate_identifier(had.ca.clone())
        .set_network_type(had.network_type.clone())
        .set_dedicated_log_volume(had.dedicated_log_volume.then_some(true))
        .backup_retention_period(had.retention_days)
        .set_preferred_backup_window(had.backup_window.clone())
        .set_manage_master_user_password(had.managed_password.then_some(true))
        .set_master_user_secret_kms_key_id(if had.managed_password { Some(item.key()?) } else { None })
        .set_tags(Some(systems::sdk(&tags)));
    match call
        .customize()
        .config_override(once())
        .send()
        .await
        .map_err(|error| failure(&format!("restore {id} from {copy}"), &error))
    {
        // Somebody was there before: the next look finds out who.
        Err(failure) if failure.error == "Keyferry.Foreign" => Ok(()),
        Err(failure) => Err(failure.into()),
        Ok(_) => Ok(()),
    }
}

async fn change(
    rds: &aws_sdk_rds::Client,
    id: &str,
    wanted: &Settings,
    is: &DbInstance,
    key: &str,
) -> Result<(), StepError> {
    let now = Settings::of(is);
    let missing = |a: &[String], b: &[String]| a.iter().filter(|name| !b.contains(name)).cloned().collect::<Vec<_>>();
    let logs = CloudwatchLogsExportConfiguration::builder()
        .set_enable_log_types(some(&missing(&wanted.log_exports, &now.log_exports)))
        .set_disable_log_types(some(&missing(&now.log_exports, &wanted.log_exports)))
        .build();
    let insights = wanted.performance_insights;
    fn differs<T: Clone + PartialEq>(wanted: &T, now: &T) -> Option<T> {
        (wanted != now).then(|| wanted.clone())
    }
    let call = rds
        .modify_db_instance()
        .db_instance_identifier(id)
        .apply_immediately(true)
        .set_max_allocated_storage(differs(&wanted.max_storage_gb, &now.max_storage_gb).flatten())
        .set_multi_az(differs(&wanted.multi_az, &now.multi_az))
        .set_vpc_security_group_ids(differs(&wanted.security_groups, &now.security_groups))
        .set_db_parameter_group_name(differs(&wanted.parameter_group, &now.parameter_group).flatten())
        .set_option_group_name(differs(&wanted.option_group, &now.option_group).flatten())
        .set_publicly_accessible(differs(&wanted.publicly_accessible, &now.publicly_accessible))
        .set_backup_retention_period(differs(&wanted.retention_days, &now.retention_days))
        .set_preferred_backup_window(differs(&wanted.backup_window, &now.backup_window).flatten())
        .set_preferred_maintenance_window(differs(&wanted.maintenance_window, &now.maintenance_window).flatten())
        .set_auto_minor_version_upgrade(differs(&wanted.auto_minor_upgrade, &now.auto_minor_upgrade))
        .set_deletion_protection(differs(&wanted.deletion_protection, &now.deletion_protection))
        .set_enable_iam_database_authentication(differs(&wanted.iam_authentication, &now.iam_authentication))
        .set_copy_tags_to_snapshot(differs(&wanted.copy_tags, &now.copy_tags))
        .set_cloudwatch_logs_export_configuration((wanted.log_exports != now.log_exports).then_some(logs))
        .set_monitoring_interval(differs(&wanted.monitoring_interval, &now.monitoring_interval))
        .set_monitoring_role_arn(differs(&wanted.monitoring_role, &now.monitoring_role).flatten())
        .set_enable_performance_insights(differs(&insights, &now.performance_insights))
        .set_performance_insights_kms_key_id((insights && !now.performance_insights).then(|| key.to_owned()))
        .set_performance_insights_retention_period(
            wanted.performance_insights_days.filter(|_| insights && !now.performance_insights),
        );
    call.send().await.map(|_| ()).map_err(|error| failure(&format!("change instance {id}"), &error).into())
}

fn some<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}
