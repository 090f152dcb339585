//! ModifyDBInstance: what takes effect at once, what waits for the maintenance window, and the rename.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};

use super::super::{Answer, AwsError};
use super::context::Context;
use super::engines::Version;
use super::error::{self, invalid_combination};
use super::rows::{Change, Instance, Planned, then};
use super::{engines, placement, secrets, settings, timing, validate, windows};

pub fn modify(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.instance(p.required("DBInstanceIdentifier")?)?;
    let now = p.flag("ApplyImmediately")?.unwrap_or(false);
    let grows = row.status == "storage-full" && p.text("AllocatedStorage").is_some();
    if !row.serves() && row.status != "stopped" && !grows {
        return Err(error::instance_state("Database instance is not in available state."));
    }
    let version = placement::version_of(&row.engine, &row.engine_version)?;
    let before = row.clone();
    let deferred = deferred(cx, &row, &version)?;
    at_once(cx, &mut row, &version)?;
    if !now || row.pending.is_empty() {
        error::require_modification(&p)?;
    }
    row.pending.extend(deferred);
    if row.pending.contains_key("DBInstanceIdentifier") && row.status == "stopped" && now {
        return Err(error::instance_state("Database instance is not in available state."));
    }
    let what = schedule(&mut row, &before, cx.now, now);
    Ok(placement::admit(cx, row, &what))
}

/// What AWS defers to the maintenance window unless told otherwise, as members of `PendingModifiedValues`; values that
/// the instance has already are left out.
fn deferred(cx: &Context<'_>, row: &Instance, version: &Version) -> Result<Vec<(String, String)>, AwsError> {
    let p = cx.p;
    let mut pending: Vec<(String, String)> = Vec::new();
    let mut add = |member: &str, value: String, current: String| {
        if value != current {
            pending.push((member.to_owned(), value));
        }
    };
    if let Some(id) = p.text("NewDBInstanceIdentifier") {
        let id = validate::identifier("NewDBInstanceIdentifier", id, 63)?;
        if id != row.id {
            cx.instance_id_is_free(&id)?;
        }
        add("DBInstanceIdentifier", id, row.id.clone());
    }
    if let Some(class) = p.text("DBInstanceClass") {
        let class = validate::class(class)?;
        if row.kms.is_some() {
            validate::class_encrypts(&class)?;
        }
        if class != row.class {
            placement::offered(cx, &row.engine, &class)?;
        }
        add("DBInstanceClass", class, row.class.clone());
    }
    if let Some(asked) = p.text("EngineVersion") {
        let to = version.engine.version(Some(asked))?;
        if to.major != version.major && !p.flag("AllowMajorVersionUpgrade")?.unwrap_or(false) {
            return Err(invalid_combination(
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
            ));
        }
        add("EngineVersion", to.full, row.engine_version.clone());
    }
    if let Some(multi_az) = p.flag("MultiAZ")? {
        add("MultiAZ", multi_az.to_string(), row.multi_az.to_string());
    }
    if let Some(port) = p.number("DBPortNumber")? {
        add("Port", placement::port(port)?.to_string(), row.port.to_string());
    }
    if let Some(name) = p.text("DBSubnetGroupName") {
        add("DBSubnetGroupName", placement::subnet_group(cx, name)?, row.subnet_group.clone());
    }
    if let Some(password) = p.text("MasterUserPassword") {
        validate::password(version.engine, password)?;
        add("MasterUserPassword", "****".to_owned(), String::new());
    }
    for (member, value, current) in storage(cx, row, version.engine)? {
        add(&member, value, current);
    }
    Ok(pending)
}

/// Changes of the storage: (member, value, current value).
fn storage(
    cx: &Context<'_>,
    row: &Instance,
    engine: &'static engines::Engine,
) -> Result<Vec<(String, String, String)>, AwsError> {
    let p = cx.p;
    let mut changes = Vec::new();
    let gb = p.number("AllocatedStorage")?.unwrap_or(row.gb);
    if gb < row.gb {
        return Err(invalid_combination(format!(
            "Requested storage size ({gb}) cannot be less than the current storage size ({}).",
            row.gb
        )));
    }
    let asked = ["StorageType", "Iops", "StorageThroughput"].iter().any(|name| p.text(name).is_some());
    if gb == row.gb && !asked {
        return Ok(changes);
    }
    if row.status == "storage-optimization" {
        return Err(invalid_combination(
            "You can't currently modify the storage of this DB instance because the previous storage change is being \
             optimized.",
        ));
    }
    let mut wanted = settings::Settings::new();
    if let Some(kind) = p.text("StorageType").or(settings::text(&row.settings, "StorageType")) {
        wanted.insert("StorageType".to_owned(), kind.into());
    }
    for member in ["Iops", "StorageThroughput"] {
        if let Some(number) = p.number(member)?.or_else(|| settings::number(&row.settings, member)) {
            wanted.insert(member.to_owned(), number.into());
        }
    }
    validate::storage(engine, gb, &p, &mut wanted)?;
    changes.push(("AllocatedStorage".to_owned(), gb.to_string(), row.gb.to_string()));
    for (member, value) in wanted {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let current = row.settings.get(&member).map(text).unwrap_or_default();
        changes.push((member, text(&value), current));
    }
    Ok(changes)
}

/// What AWS applies at once whatever `ApplyImmediately` says.
fn at_once(cx: &mut Context<'_>, row: &mut Instance, version: &Version) -> Result<(), AwsError> {
    let p = cx.p;
    windows::change(&p, &mut row.settings)?;
    if let Some(on) = p.flag("DeletionProtection")? {
        error::protection_is_the_clusters(row)?;
        row.deletion_protection = on;
    }
    if let Some(days) = p.number("BackupRetentionPeriod")? {
        if row.cluster.is_some() {
            return Err(invalid_combination(
                "The specified DB Instance is a member of a cluster and its backup retention should not be modified \
                 directly. Instead, modify the backup retention of the cluster using the ModifyDbCluster API",
            ));
        }
        let arn = row.arn();
        let sources = cx.state.instances.iter().any(|(_, other)| other.replica_of.as_deref() == Some(&arn));
        if days == 0 && sources {
            return Err(error::instance_state(
                "Backups cannot be disabled for an instance that is a source of read replicas.",
            ));
        }
        row.retention_days = validate::retention(days)?;
    }
    if let Some(groups) = validate::security_groups(&p)? {
        row.security_groups = groups;
    }
    if let Some(name) = p.text("DBParameterGroupName") {
        let group = placement::parameter_group(cx, name, version)?;
        if group != row.parameter_group {
            "pending-reboot".clone_into(&mut row.parameter_status);
        }
        row.parameter_group = group;
    }
    if let Some(name) = p.text("OptionGroupName") {
        row.option_group = placement::option_group(cx, name, version)?;
    }
    let storage: Vec<(&str, Option<serde_json::Value>)> = ["StorageType", "Iops", "StorageThroughput"]
        .into_iter()
        .map(|member| (member, row.settings.get(member).cloned()))
        .collect();
    settings::overlay(&p, &mut row.settings)?;
    settings::insights(&row.settings)?;
    secrets::overlay(cx, row)?;
    for (member, value) in storage {
        match value {
            Some(value) => row.settings.insert(member.to_owned(), value),
            None => row.settings.remove(member),
        };
    }
    Ok(())
}

/// Plans what a modification brings and says what it was, for the ledger.
fn schedule(row: &mut Instance, before: &Instance, at: DateTime<Utc>, now: bool) -> String {
    if row.status == "stopped" {
        return "modified while stopped".to_owned();
    }
    let backups_begin = before.retention_days == 0 && row.retention_days > 0;
    if now && !row.pending.is_empty() {
        return apply_now(row, at);
    }
    if !row.pending.is_empty() {
        let window = next_window(settings::text(&row.settings, "PreferredMaintenanceWindow"), at);
        row.plan = vec![Planned { at: window, change: Change::ApplyPending }];
        return "modified, the rest to follow in its maintenance window".to_owned();
    }
    if backups_begin {
        "modifying".clone_into(&mut row.status);
        row.replan(super::rows::becoming(at, timing::MODIFY, true));
    } else if differs(row, before) {
        "modifying".clone_into(&mut row.status);
        row.replan(then(at + timing::MODIFY, "available"));
    }
    "modified".to_owned()
}

/// Whether RDS has work to do: flags and windows of its own records change without any.
fn differs(row: &Instance, before: &Instance) -> bool {
    row.retention_days != before.retention_days
        || row.security_groups != before.security_groups
        || row.option_group != before.option_group
        || [
            "MonitoringInterval",
            "PerformanceInsightsEnabled",
            "IAMDatabaseAuthenticationEnabled",
            "PubliclyAccessible",
            "MasterUserSecret",
        ]
        .iter()
        .chain(&["EnabledCloudwatchLogsExports", "CACertificateIdentifier"])
        .any(|member| row.settings.get(*member) != before.settings.get(*member))
}

fn apply_now(row: &mut Instance, at: DateTime<Utc>) -> String {
    if let Some(id) = row.pending.get("DBInstanceIdentifier").cloned() {
        "renaming".clone_into(&mut row.status);
        let renamed = at + timing::RENAMING;
        row.plan = vec![
            Planned { at: renamed, change: Change::ApplyPending },
            Planned { at: renamed, change: Change::Status("rebooting".to_owned()) },
            Planned { at: renamed + timing::RENAME_REBOOT, change: Change::Status("available".to_owned()) },
        ];
        return format!("renamed to {id}");
    }
    let compute =
        ["DBInstanceClass", "MultiAZ", "EngineVersion"].iter().any(|member| row.pending.contains_key(*member));
    let busy = if compute { timing::MODIFY_COMPUTE } else { timing::MODIFY };
    let status = if row.pending.contains_key("EngineVersion") {
        "upgrading"
    } else if row.pending.len() == 1 && row.pending.contains_key("MasterUserPassword") {
        "resetting-master-credentials"
    } else {
        "modifying"
    };
    status.clone_into(&mut row.status);
    let done = at + busy;
    let grown = row.pending.get("AllocatedStorage").and_then(|gb| gb.parse::<i64>().ok());
    let retyped = ["StorageType", "Iops", "StorageThroughput"].iter().any(|member| row.pending.contains_key(*member));
    row.plan = vec![Planned { at: done, change: Change::ApplyPending }];
    if grown.is_some() || retyped {
        row.plan.push(Planned { at: done, change: Change::Status("storage-optimization".to_owned()) });
        row.plan.extend(then(done + timing::optimization(grown.unwrap_or(row.gb)), "available"));
    } else {
        row.plan.extend(then(done, "available"));
    }
    let members: Vec<&str> = row.pending.keys().map(String::as_str).collect();
    format!("modified: {}", members.join(", "))
}

/// When a maintenance window (`ddd:hh24:mi-ddd:hh24:mi`, UTC) next begins.
fn next_window(window: Option<&str>, now: DateTime<Utc>) -> DateTime<Utc> {
    const WEEK: i64 = 7 * 24 * 60;
    let begins = window.and_then(|window| window.split('-').next()).and_then(windows::day_minute).unwrap_or_default();
    let day = i64::from(now.weekday().num_days_from_monday());
    let minute = day * 1440 + i64::from(now.hour()) * 60 + i64::from(now.minute());
    let ahead = (begins - minute).rem_euclid(WEEK);
    let ahead = if ahead == 0 { WEEK } else { ahead };
    now - TimeDelta::seconds(i64::from(now.second())) + TimeDelta::minutes(ahead)
}
