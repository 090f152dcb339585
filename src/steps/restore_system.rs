//! Restores a system from its copy, with everything that the original had.
//!
//! Takes a system; its settings are those recorded at its freeze. RDS gives a restored instance defaults for whatever it is not told (security group, parameter group,
//! one zone), and some settings it takes only in a change after the restore. So: restore with all that it takes, compare,
//! change what differs, at most three times; `verify-system` judges. Effect: one instance under a name of its own, beside
//! the frozen original. Again: it is found by name, and a change sets the same values.

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, require_ours, settled},
    recorded::cut_over,
    settings::{change, features, some, wanted},
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
        let item = cut_over(context, self.name(), value).await?;
        item.before_cutoff(context)?;
        let (names, owner) = (item.names(context), self.0.owner(context));
        let rds = self.0.aws.rds(&item.system.region).await?;
        let id = names.new_system();
        let wanted = wanted(context, &item).await?;
        let Some(restored) = systems::instance(&rds, &id).await? else {
            restore(&rds, (&wanted, &item.key()?), &owner, &names.final_copy(), &id).await?;
            return Ok(self.0.pending(format!("RDS: {id} is restored")));
        };
        require_ours(&owner, &systems::of_instance(&restored), &format!("instance {id}"))?;
        let changes = context.checkpoint.as_ref().and_then(|saved| saved.get("changes")?.as_u64()).unwrap_or_default();
        let checkpoint = json!({ "changes": changes });
        if let Wait::For(what) = settled(&restored)? {
            return Ok(self.0.pending_with(what, checkpoint));
        }
        let lacking: Vec<String> =
            differences(&wanted, &Settings::of(&restored)).into_iter().map(|(name, ..)| name).collect();
        if changes < CHANGES && lacking.iter().any(|name| adjustable(name)) {
            context.save_checkpoint(json!({ "changes": changes + 1, "intent": "change", "lacking": lacking })).await?;
            change(&rds, &id, &wanted, &restored, &item.key()?).await?;
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
    (had, key): (&Settings, &str),
    owner: &Owner,
    copy: &str,
    id: &str,
) -> Result<(), StepError> {
    let managed = had.password_managed_at_restore();
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
        .set_db_parameter_group_name(had.own_parameter_group())
        .set_option_group_name(had.own_option_group())
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
        .set_engine_lifecycle_support(had.lifecycle_support.clone())
        .set_processor_features(features(&had.processor_features))
        .set_manage_master_user_password(managed.then_some(true))
        .set_master_user_secret_kms_key_id(managed.then(|| key.to_owned()))
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
