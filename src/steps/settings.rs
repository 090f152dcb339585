//! How a system is given the settings that it has to have: what the call that makes it does not take, a change brings.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{CloudwatchLogsExportConfiguration, DatabaseInsightsMode, DbInstance, ProcessorFeature};

use super::{
    common::{SystemInput, modified},
    fence::has_only,
    repair::region_of,
};
use crate::{
    systems::{FREEZE, Frozen, Settings, System, Writers, differences, unsupported, waiting_changes},
    worker::{StepContext, StepError},
};

/// What was recorded of a system at its freeze in this run's window; none when it was not frozen there.
///
/// # Errors
/// The store could not be read, or `Keyferry.StoreUnreadable`.
pub async fn recorded(context: &StepContext, item: &SystemInput) -> Result<Option<Frozen>, StepError> {
    let Some(frozen) = record(context, &item.system.resource_id).await? else { return Ok(None) };
    Ok(Some(frozen).filter(|frozen| frozen.run == context.run && frozen.attempt == item.attempt))
}

/// What was recorded last of the system with this resource id, by whichever run.
///
/// # Errors
/// The store could not be read, or `Keyferry.StoreUnreadable`.
pub async fn record(context: &StepContext, resource_id: &str) -> Result<Option<Frozen>, StepError> {
    let Some(body) = context.record(FREEZE, resource_id).await? else { return Ok(None) };
    serde_json::from_value(body).map(Some).map_err(|error| unreadable(resource_id, &error))
}

/// What was recorded at the freeze of the system that this run has replaced by `serving`.
///
/// # Errors
/// As [`recorded`].
pub async fn predecessor(context: &StepContext, serving: &System) -> Result<Option<Frozen>, StepError> {
    let mut last: Option<Frozen> = None;
    for (key, body) in context.records(FREEZE).await? {
        let frozen: Frozen = serde_json::from_value(body).map_err(|error| unreadable(&key, &error))?;
        let of_it = frozen.run == context.run && frozen.system == serving.id && frozen.region == serving.region;
        if of_it && frozen.resource_id != serving.resource_id {
            last = last.filter(|last| last.recorded_at > frozen.recorded_at).or(Some(frozen));
        }
    }
    Ok(last)
}

/// What is not proven about the writers of the systems that this run has frozen, a sentence each.
///
/// # Errors
/// As [`recorded`].
pub async fn unproven(context: &StepContext) -> Result<Vec<String>, StepError> {
    let mut told = Vec::new();
    for (key, body) in context.records(FREEZE).await? {
        let frozen: Frozen = serde_json::from_value(body).map_err(|error| unreadable(&key, &error))?;
        if frozen.run != context.run {
            continue;
        }
        let (system, region) = (&frozen.system, &frozen.region);
        told.push(match frozen.writers {
            Writers::ReadOnly => continue,
            Writers::Fenced => format!(
                "{system} in {region} was closed to its clients before its rename; that no job inside it wrote after its \
                 last snapshot is not proven"
            ),
            Writers::SaidToBeStopped => format!(
                "{system} in {region} was not closed to its clients; whoever agreed on the window said that its writers \
                 were stopped"
            ),
            Writers::NotProven => format!(
                "{system} in {region} was not closed to its clients: that nothing was written to it after its last \
                 snapshot is not proven. Compare before the old one is deleted"
            ),
        });
    }
    Ok(told)
}

fn unreadable(key: &str, error: &serde_json::Error) -> StepError {
    let cause = format!("the record {FREEZE}/{key} is not what this version writes: {error}");
    StepError::new("Keyferry.StoreUnreadable", cause)
}

/// The settings that a system's successor has to have: those of its freeze. A window that began under a version of
/// keyferry without these records has the inventory's.
///
/// # Errors
/// As [`recorded`].
pub async fn wanted(context: &StepContext, item: &SystemInput) -> Result<Settings, StepError> {
    Ok(recorded(context, item).await?.map_or_else(|| item.system.settings.clone(), |frozen| frozen.settings))
}

/// Whether a serving system still is what was recorded of it, but for the security group that closes it.
///
/// # Errors
/// `Keyferry.SettingsChanged`: it has to be recorded again before it is frozen.
pub fn as_recorded(serving: &DbInstance, record: &Frozen) -> Result<(), StepError> {
    let mut now = Settings::of(serving);
    if record.closing_group.as_ref().is_some_and(|group| has_only(serving, group)) {
        now.security_groups.clone_from(&record.settings.security_groups);
    }
    if now == record.settings {
        return Ok(());
    }
    let changed: Vec<String> = differences(&record.settings, &now).into_iter().map(|(name, ..)| name).collect();
    let cause = format!(
        "{} was changed after it was recorded ({}): it is recorded again before it is frozen",
        record.system,
        if changed.is_empty() { "storage".to_owned() } else { changed.join(", ") }
    );
    Err(StepError::new("Keyferry.SettingsChanged", cause))
}

/// Refuses to take out of service what its successor would lack something of.
///
/// # Errors
/// `Keyferry.Unsupported`.
pub fn refuse(instance: &DbInstance) -> Result<(), StepError> {
    let id = instance.db_instance_identifier().unwrap_or_default();
    if let Some(reason) = unsupported(instance) {
        let cause = format!("{id} {reason}, which a restore does not bring back: migrate it by hand, then retry");
        return Err(StepError::new("Keyferry.Unsupported", cause));
    }
    let waiting = waiting_changes(instance);
    if waiting.is_empty() {
        return Ok(());
    }
    let cause = format!(
        "{id} has changes that wait for its own maintenance window ({}), which a restore would lose: take them back, or apply \
         them now with `aws rds modify-db-instance --region {} --db-instance-identifier {id} --apply-immediately`, then retry",
        waiting.join(", "),
        region_of(instance.db_instance_arn())
    );
    Err(StepError::new("Keyferry.Unsupported", cause))
}

/// Processor features as the SDK takes them; `None` for the class's own.
pub fn features(features: &BTreeMap<String, String>) -> Option<Vec<ProcessorFeature>> {
    let made: Vec<ProcessorFeature> =
        features.iter().map(|(name, value)| ProcessorFeature::builder().name(name).value(value).build()).collect();
    (!made.is_empty()).then_some(made)
}

/// A list as the SDK takes it, which must not be empty.
pub fn some<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn differs<T: Clone + PartialEq>(wanted: &T, now: &T) -> Option<T> {
    (wanted != now).then(|| wanted.clone())
}

/// Gives instance `id` what it lacks of `wanted`, at once. `key` is that of its Performance Insights and of the secret
/// with its master password.
///
/// # Errors
/// AWS refused.
pub async fn change(
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
    let manage = wanted.managed_password && !now.managed_password;
    let mode = differs(&wanted.insights_mode, &now.insights_mode).flatten();
    // The advanced mode is taken only together with Performance Insights and their retention.
    let insights = wanted.performance_insights;
    let tell = insights && (!now.performance_insights || mode.is_some());
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
        .set_ca_certificate_identifier(differs(&wanted.ca, &now.ca).flatten())
        .set_engine_lifecycle_support(differs(&wanted.lifecycle_support, &now.lifecycle_support).flatten())
        .set_processor_features(differs(&wanted.processor_features, &now.processor_features).and_then(|w| features(&w)))
        .set_cloudwatch_logs_export_configuration((wanted.log_exports != now.log_exports).then_some(logs))
        .set_monitoring_interval(differs(&wanted.monitoring_interval, &now.monitoring_interval))
        .set_monitoring_role_arn(differs(&wanted.monitoring_role, &now.monitoring_role).flatten())
        .set_manage_master_user_password(manage.then_some(true))
        .set_master_user_secret_kms_key_id(manage.then(|| key.to_owned()))
        .set_database_insights_mode(mode.as_deref().map(DatabaseInsightsMode::from))
        .set_enable_performance_insights(if tell { Some(true) } else { differs(&insights, &now.performance_insights) })
        .set_performance_insights_kms_key_id((insights && !now.performance_insights).then(|| key.to_owned()))
        .set_performance_insights_retention_period(wanted.performance_insights_days.filter(|_| tell));
    modified(&format!("change instance {id}"), call.send().await)
}
