//! New instances from old data: from a snapshot and to a point in time.
//!
//! Neither takes a key: a restore's key is its snapshot's, a recovery's its source's. What the call does not ask for is
//! AWS's default and not what the original had: security group, parameter group, single zone, no protection.

use super::super::{Answer, AwsError};
use super::context::Context;
use super::engines::Version;
use super::error::{fault, instance_state, invalid_combination, invalid_value};
use super::rows::{Instance, Snapshot, becoming};
use super::snapshots::{self, Family};
use super::{backups, engines, placement, settings, timing, validate};

pub fn from_snapshot(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBInstanceIdentifier", p.required("DBInstanceIdentifier")?, 63)?;
    let (family, named): (&Family, &str) = match (p.text("DBSnapshotIdentifier"), p.text("DBClusterSnapshotIdentifier"))
    {
        (Some(named), None) => (&snapshots::INSTANCE, named),
        (None, Some(named)) => (&snapshots::CLUSTER, named),
        (Some(_), Some(_)) => {
            return Err(invalid_combination(
                "DBSnapshotIdentifier and DBClusterSnapshotIdentifier cannot both be specified",
            ));
        }
        (None, None) => return Err(super::error::missing("DBSnapshotIdentifier")),
    };
    let source = family.visible(cx, named)?;
    if source.place.region != cx.place.region {
        return Err(family.missing(named));
    }
    cx.instance_id_is_free(&id)?;
    if !source.available(cx.now) {
        return Err(fault(family.state, format!("Snapshot {} is not in available state.", source.id)));
    }
    if source.place.account != cx.place.account && source.kms.is_some() {
        return Err(fault(
            "InvalidRestoreFault",
            "An encrypted snapshot of another account cannot be restored directly. Copy it and restore the copy.",
        ));
    }
    let what = format!("restored from {}", family.arn(&source));
    restore(cx, id, &source, &what)
}

pub fn to_point_in_time(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("TargetDBInstanceIdentifier", p.required("TargetDBInstanceIdentifier")?, 63)?;
    let latest = p.flag("UseLatestRestorableTime")?.unwrap_or(false);
    let asked = p.text("RestoreTime");
    if latest == asked.is_some() {
        return Err(invalid_combination("Either RestoreTime or UseLatestRestorableTime must be specified, not both"));
    }
    let (mut data, earliest, newest, what) = if let Some(named) = p.text("SourceDBInstanceIdentifier") {
        let row = cx.instance(named)?;
        if row.retention_days == 0 || row.cluster.is_some() {
            return Err(fault("PointInTimeRestoreNotEnabled", "Backups are not enabled for this DB Instance."));
        }
        let Some(first) = row.last_backup else {
            return Err(instance_state(format!("DB instance {} has no backup to restore from yet.", row.id)));
        };
        let data = snapshots::of_instance(cx.state, &row, row.id.clone(), true, cx.now);
        let earliest = first - chrono::TimeDelta::days(row.retention_days);
        (data, earliest.max(row.created_at), cx.now - timing::RESTORABLE_LAG, format!("restored from {}", row.arn()))
    } else {
        let backup = backups::named(cx)?;
        let what = format!("restored from {}", backup.place.arn("auto-backup", &backup.id));
        (backup.data, backup.earliest, backup.latest, what)
    };
    let mut at = newest;
    if let Some(asked) = asked {
        at = chrono::DateTime::parse_from_rfc3339(asked)
            .map_err(|_| invalid_value(format!("Invalid RestoreTime: {asked}")))?
            .to_utc();
        if at > newest || at < earliest {
            return Err(fault(
                "InvalidRestoreFault",
                format!(
                    "The specified instance cannot be restored to a time before {earliest} or later than {newest}."
                ),
            ));
        }
    }
    data.content = data.content.as_of(at);
    cx.instance_id_is_free(&id)?;
    restore(cx, id, &data, &what)
}

fn restore(cx: &mut Context<'_>, id: String, source: &Snapshot, what: &str) -> Result<Answer, AwsError> {
    let p = cx.p;
    let version = target_version(cx, source)?;
    let mut row = prepare(cx, id, source, &version)?;
    placement::offered(cx, &row.engine, &row.class)?;
    placement::within_quota(cx, 1, row.gb)?;
    if let Some(key) = &source.kms {
        validate::class_encrypts(&row.class)?;
        cx.key_works(key, "")?;
    }
    if p.text("DBName").is_some() && matches!(version.engine.name, "mysql" | "mariadb") {
        return Err(invalid_combination("DBName must be null when Restoring for this Engine."));
    }
    row.resource_id = cx.state.mint("db-");
    if let Some(key) = &source.kms {
        row.kms = Some(cx.attach(key, &row.resource_id, "")?);
    }
    row.content.clone_from(&source.content);
    row.plan = becoming(cx.now, timing::RESTORE, row.retention_days > 0);
    Ok(placement::admit(cx, row, what))
}

/// The engine may only change within its licence family, as from `oracle-se2` to `oracle-ee`.
fn target_version(cx: &Context<'_>, source: &Snapshot) -> Result<Version, AwsError> {
    let version = placement::version_of(&source.engine, &source.engine_version)?;
    let Some(asked) = cx.p.text("Engine") else { return Ok(version) };
    let engine = engines::engine(asked)?;
    let kin = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
    if engine.name != version.engine.name && (engine.is_aurora() || kin(engine.name) != kin(version.engine.name)) {
        return Err(invalid_combination(format!(
            "The engine {} cannot be restored from a snapshot of {}",
            engine.name, version.engine.name
        )));
    }
    engine.version(Some(&source.engine_version))
}

fn prepare(cx: &mut Context<'_>, id: String, source: &Snapshot, version: &Version) -> Result<Instance, AwsError> {
    let p = cx.p;
    let class = match p.text("DBInstanceClass") {
        Some(class) => validate::class(class)?,
        None => source.class.clone().unwrap_or_else(|| "db.m5.large".to_owned()),
    };
    let mut row = placement::fresh(cx, id, class, version);
    row.settings = settings::restored(&source.settings, &cx.place);
    row.gb = source.gb;
    row.port = source.port;
    row.username.clone_from(&source.username);
    row.retention_days = source.retention_days;
    if let Some(group) = source.option_group.as_ref().filter(|_| source.place == cx.place) {
        // A group that was deleted since cannot be taken over: AWS gives the default then.
        row.option_group = placement::option_group(cx, group, version).unwrap_or(row.option_group);
    }
    placement::overlay(cx, &mut row, version)?;
    if let Some(gb) = p.number("AllocatedStorage")? {
        if gb < source.gb {
            return Err(invalid_value(format!("The storage cannot be smaller than the snapshot's {} GB", source.gb)));
        }
        row.gb = gb;
    }
    if p.text("StorageType").is_some() && p.text("Iops").is_none() {
        row.settings.remove("Iops");
    }
    if p.text("StorageType").is_some() && p.text("StorageThroughput").is_none() {
        row.settings.remove("StorageThroughput");
    }
    validate::storage(version.engine, row.gb, &p, &mut row.settings)?;
    Ok(row)
}
