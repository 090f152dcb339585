//! Automated backups: of what lives, kept after what was deleted, and replicated into another region.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::{Answer, AwsError, kms};
use super::State;
use super::content::Content;
use super::context::{Context, changed, seen};
use super::error::{self, fault, instance_not_found, instance_state, invalid_combination, invalid_value, missing};
use super::ids::{Arn, Place, base32};
use super::instances::names;
use super::params::{list_of, tag_list};
use super::rows::{Backup, Cluster, Instance, Snapshot};
use super::{shape, snapshots, timing, validate};

/// Backups that may be replicated into one region of an account.
const MOST_REPLICATED: usize = 20;

/// The id of a resource's automated backups in a place: one for ever.
fn backup_id(resource_id: &str, place: &Place) -> String {
    format!("ab-{}", base32(&format!("{resource_id}/{}", place.region)).to_lowercase())
}

fn is_backed_up(row: &Instance) -> bool {
    row.retention_days > 0 && row.cluster.is_none()
}

fn living_status(row: &Instance) -> &'static str {
    if row.last_backup.is_some() { "active" } else { "creating" }
}

/// The backups of a living instance, which have no row of their own.
fn living(state: &State, row: &Instance, now: DateTime<Utc>) -> Option<Backup> {
    if !is_backed_up(row) {
        return None;
    }
    let latest = now - timing::RESTORABLE_LAG;
    Some(Backup {
        place: row.place.clone(),
        id: backup_id(&row.resource_id, &row.place),
        source_arn: row.arn(),
        status: living_status(row).to_owned(),
        cluster: false,
        data: snapshots::of_instance(state, row, row.id.clone(), true, now),
        earliest: row.created_at.max(now - TimeDelta::days(row.retention_days)),
        latest: latest.max(row.created_at),
        expires_at: None,
        tags: row.tags.clone(),
    })
}

fn living_cluster(state: &State, row: &Cluster, now: DateTime<Utc>) -> Option<Backup> {
    if row.retention_days == 0 {
        return None;
    }
    Some(Backup {
        place: row.place.clone(),
        id: backup_id(&row.resource_id, &row.place),
        source_arn: row.arn(),
        status: "active".to_owned(),
        cluster: true,
        data: snapshots::of_cluster(state, row, row.id.clone(), true, now),
        earliest: row.created_at.max(now - TimeDelta::days(row.retention_days)),
        latest: now,
        expires_at: None,
        tags: row.tags.clone(),
    })
}

/// Keeps a deleted instance's backups for as long as its retention says.
pub fn retain_instance(state: &mut State, row: &Instance, at: DateTime<Utc>) {
    if let Some(backup) = living(state, row, at) {
        retain(state, backup, at);
    }
}

/// Keeps a deleted cluster's backups for as long as its retention says.
pub fn retain_cluster(state: &mut State, row: &Cluster, at: DateTime<Utc>) {
    if let Some(backup) = living_cluster(state, row, at) {
        retain(state, backup, at);
    }
}

fn retain(state: &mut State, mut backup: Backup, at: DateTime<Utc>) {
    "retained".clone_into(&mut backup.status);
    backup.latest = at;
    backup.expires_at = Some(at + TimeDelta::days(backup.data.retention_days));
    state.backups.insert(arn(&backup), backup);
}

fn arn(backup: &Backup) -> String {
    backup.place.arn("auto-backup", &backup.id)
}

/// The replication of a deleted instance's backups ends; what was replicated is kept for its retention.
pub fn source_gone(state: &mut State, source: &str, content: &Content, at: DateTime<Utc>) {
    let copies: Vec<String> = state
        .backups
        .iter()
        .filter(|(_, row)| row.source_arn == source && row.expires_at.is_none())
        .map(|(key, _)| key.clone())
        .collect();
    for copy in copies {
        if let Some(row) = state.backups.get_mut(&copy) {
            "retained".clone_into(&mut row.status);
            row.latest = at;
            row.expires_at = Some(at + TimeDelta::days(row.data.retention_days));
            row.data.content.clone_from(content);
        }
    }
}

/// Removes backups that live apart, and the snapshots that were kept with them.
pub fn remove(state: &mut State, kms: &mut kms::State, key: &str) {
    let Some(row) = state.backups.remove(key) else { return };
    if let Some(kms_key) = &row.data.kms {
        kms.detach(kms_key, key);
    }
    let lives = state.instances.iter().any(|(_, other)| other.resource_id == row.data.source_resource_id);
    if !lives {
        snapshots::remove_automated(state, &row.place, &row.data.source_resource_id);
    }
}

/// All automated backups of a cloud, in every account and region.
pub fn everywhere(state: &State, now: DateTime<Utc>) -> Vec<Backup> {
    let kept = state.backups.iter().map(|(_, row)| current(state, row, now));
    let living = state.instances.iter().filter_map(|(_, row)| living(state, row, now));
    kept.chain(living).chain(state.clusters.iter().filter_map(|(_, row)| living_cluster(state, row, now))).collect()
}

fn all(cx: &Context<'_>, cluster: bool) -> Vec<Backup> {
    if !cluster {
        return of_instances(cx).filter_map(|row| row.made(cx)).collect();
    }
    let living = cx.clusters().filter_map(|row| living_cluster(cx.state, row, cx.now));
    kept(cx, true).map(|row| current(cx.state, row, cx.now)).chain(living).collect()
}

/// The backups that have a row of their own.
fn kept<'a>(cx: &'a Context<'_>, cluster: bool) -> impl Iterator<Item = &'a Backup> {
    cx.state.backups.iter().map(|(_, row)| row).filter(move |row| row.place == cx.place && row.cluster == cluster)
}

fn of_instances<'a>(cx: &'a Context<'_>) -> impl Iterator<Item = Origin<'a>> {
    let living = cx.instances().filter(|row| is_backed_up(row));
    kept(cx, false).map(Origin::Kept).chain(living.map(Origin::Living))
}

/// A replicated backup follows its source as long as that lives.
fn current(state: &State, row: &Backup, now: DateTime<Utc>) -> Backup {
    let mut row = row.clone();
    if row.expires_at.is_none()
        && let Some(source) = state.instances.get(&row.source_arn)
    {
        row.data.content.clone_from(&source.content);
        row.data.gb = source.gb;
        row.latest = row.earliest.max(now - timing::RESTORABLE_LAG);
    }
    row
}

/// Where the backups of an instance come from: of thousands that are listed, a page is made.
enum Origin<'a> {
    Kept(&'a Backup),
    Living(&'a Instance),
}

impl Origin<'_> {
    fn arn(&self) -> String {
        match self {
            Self::Kept(row) => arn(row),
            Self::Living(row) => row.place.arn("auto-backup", &backup_id(&row.resource_id, &row.place)),
        }
    }

    fn status(&self) -> &str {
        match self {
            Self::Kept(row) => &row.status,
            Self::Living(row) => living_status(row),
        }
    }

    fn source_id(&self) -> &str {
        match self {
            Self::Kept(row) => &row.data.source_id,
            Self::Living(row) => &row.id,
        }
    }

    fn resource_id(&self) -> &str {
        match self {
            Self::Kept(row) => &row.data.source_resource_id,
            Self::Living(row) => &row.resource_id,
        }
    }

    fn made(&self, cx: &Context<'_>) -> Option<Backup> {
        match self {
            Self::Kept(row) => Some(current(cx.state, row, cx.now)),
            Self::Living(row) => living(cx.state, row, cx.now),
        }
    }
}

fn body(row: &Backup) -> Value {
    let data = &row.data;
    let region = row.source_arn.split(':').nth(3);
    let window = json!({ "EarliestTime": shape::time(row.earliest), "LatestTime": shape::time(row.latest) });
    if row.cluster {
        return json!({
            "DBClusterAutomatedBackupsArn": arn(row), "DBClusterArn": row.source_arn,
            "DBClusterIdentifier": data.source_id, "DbClusterResourceId": data.source_resource_id,
            "Region": region, "Status": row.status, "RestoreWindow": window,
            "Engine": data.engine, "EngineVersion": data.engine_version, "AllocatedStorage": data.gb,
            "MasterUsername": data.username, "Port": data.port, "ClusterCreateTime": shape::time(data.source_created_at),
            "StorageEncrypted": data.kms.is_some(), "KmsKeyId": data.kms, "VpcId": row.place.vpc(),
            "BackupRetentionPeriod": data.retention_days, "TagList": tag_list(&row.tags),
        });
    }
    json!({
        "DBInstanceAutomatedBackupsArn": arn(row), "DBInstanceArn": row.source_arn,
        "DBInstanceIdentifier": data.source_id, "DbiResourceId": data.source_resource_id,
        "Region": region, "Status": row.status, "RestoreWindow": window,
        "Engine": data.engine, "EngineVersion": data.engine_version, "AllocatedStorage": data.gb,
        "MasterUsername": data.username, "Port": data.port, "AvailabilityZone": data.zone, "VpcId": row.place.vpc(),
        "InstanceCreateTime": shape::time(data.source_created_at), "OptionGroupName": data.option_group,
        "StorageType": data.settings.get("StorageType"), "LicenseModel": data.settings.get("LicenseModel"),
        "Encrypted": data.kms.is_some(), "KmsKeyId": data.kms,
        "StorageEncryptionType": if data.kms.is_some() { "sse-kms" } else { "none" },
        "BackupRetentionPeriod": data.retention_days, "BackupTarget": "region",
        "DBInstanceAutomatedBackupsReplications": list_of("DBInstanceAutomatedBackupsReplication", Vec::new()),
        "TagList": tag_list(&row.tags),
    })
}

pub fn describe(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let filters = p.filters(&["status", "db-instance-id", "dbi-resource-id"])?;
    let fits = |row: &Origin<'_>| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "status" => row.status() == *value,
                "db-instance-id" => names(value, row.source_id()),
                _ => row.resource_id() == *value,
            })
        })
    };
    let named = p.text("DBInstanceAutomatedBackupsArn");
    let resource = p.text("DbiResourceId");
    let rows: Vec<(String, Origin<'_>)> = of_instances(cx)
        .filter(fits)
        .filter(|row| p.text("DBInstanceIdentifier").is_none_or(|id| names(id, row.source_id())))
        .filter(|row| resource.is_none_or(|id| row.resource_id() == id))
        .map(|row| (row.arn(), row))
        .filter(|(arn, _)| named.is_none_or(|named| arn == named))
        .collect();
    if rows.is_empty() && (named.is_some() || resource.is_some()) {
        return Err(not_found(named.or(resource).unwrap_or_default()));
    }
    Ok(seen(p.page("DBInstanceAutomatedBackups", "DBInstanceAutomatedBackup", rows, |row| {
        row.made(cx).as_ref().map(body).unwrap_or_default()
    })?))
}

fn not_found(named: &str) -> AwsError {
    fault("DBInstanceAutomatedBackupNotFound", format!("DB instance automated backup {named} not found."))
}

/// The backup that a call names by ARN or by its instance's resource id.
///
/// # Errors
/// `MissingParameter`, `DBInstanceAutomatedBackupNotFound`.
pub fn named(cx: &Context<'_>) -> Result<Backup, AwsError> {
    let p = cx.p;
    let by_arn = p.text("DBInstanceAutomatedBackupsArn").or(p.text("SourceDBInstanceAutomatedBackupsArn"));
    let by_resource = p.text("DbiResourceId").or(p.text("SourceDbiResourceId"));
    let asked = by_arn.or(by_resource).ok_or_else(|| missing("DbiResourceId"))?;
    all(cx, false)
        .into_iter()
        .find(|row| by_arn.map_or(row.data.source_resource_id == asked, |by_arn| arn(row) == by_arn))
        .ok_or_else(|| not_found(asked))
}

pub fn delete(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let row = named(cx)?;
    if row.status != "retained" {
        return Err(fault(
            "InvalidDBInstanceAutomatedBackupState",
            "Only automated backups that are retained can be deleted. Delete the instance or stop the replication first.",
        ));
    }
    let key = arn(&row);
    remove(cx.state, cx.kms, &key);
    Ok(changed("DBInstanceAutomatedBackup", body(&row), key, "deleted"))
}

pub fn start_replication(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let source = source(cx)?;
    let retention = validate::retention(p.number("BackupRetentionPeriod")?.unwrap_or(7))?;
    if source.place.region == cx.place.region {
        return Err(invalid_value("The source DB instance must be in another region than the replicated backups."));
    }
    if !source.serves() && source.status != "backing-up" {
        return Err(instance_state(format!("Instance {} is not in available state.", source.id)));
    }
    if source.retention_days == 0 || retention == 0 {
        return Err(instance_state("Automated backups are not enabled for this database instance."));
    }
    let id = backup_id(&source.resource_id, &cx.place);
    let key = cx.place.arn("auto-backup", &id);
    let replicating = |row: &Backup| row.place == cx.place && row.expires_at.is_none();
    if cx.state.backups.get(&key).is_some_and(replicating) {
        return Err(fault("InvalidDBInstanceAutomatedBackupState", "Backups of this instance are replicated already."));
    }
    if cx.state.backups.iter().filter(|(_, row)| replicating(row)).count() >= MOST_REPLICATED {
        let text = format!("Cannot replicate the backups of more than {MOST_REPLICATED} instances to this region.");
        return Err(fault("DBInstanceAutomatedBackupQuotaExceeded", text));
    }
    let tags = p.tags()?;
    let kms = match (&source.kms, p.text("KmsKeyId")) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(invalid_combination("KmsKeyId cannot be specified for an unencrypted DB instance."));
        }
        (Some(_), None) => {
            return Err(invalid_combination("KmsKeyId of this region is required to replicate encrypted backups."));
        }
        (Some(own), Some(named)) => {
            cx.key_works(own, "source")?;
            Some(cx.attach(named, &key, "target")?)
        }
    };
    let taken = snapshots::of_instance(cx.state, &source, source.id.clone(), true, cx.now);
    let data = Snapshot { place: cx.place.clone(), kms, retention_days: retention, zone: cx.place.zone(0), ..taken };
    let row = Backup {
        place: cx.place.clone(),
        id,
        source_arn: source.arn(),
        status: "replicating".to_owned(),
        cluster: false,
        data,
        earliest: cx.now,
        latest: cx.now,
        expires_at: None,
        tags,
    };
    let answer = changed("DBInstanceAutomatedBackup", body(&row), key.clone(), format!("replicating {}", source.arn()));
    cx.state.backups.insert(key, row);
    Ok(answer)
}

fn source(cx: &Context<'_>) -> Result<Instance, AwsError> {
    let named = cx.p.required("SourceDBInstanceArn")?;
    Arn::parse(named)
        .filter(|arn| arn.kind == "db" && arn.place.account == cx.place.account)
        .and_then(|arn| cx.state.instances.get(&arn.place.arn("db", &arn.id)))
        .cloned()
        .ok_or_else(|| instance_not_found(named))
}

pub fn stop_replication(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let named = cx.p.required("SourceDBInstanceArn")?;
    let row = all(cx, false)
        .into_iter()
        .find(|row| row.source_arn == named && row.status == "replicating")
        .ok_or_else(|| instance_not_found(named))?;
    let key = arn(&row);
    let mut row = row;
    "retained".clone_into(&mut row.status);
    row.latest = cx.now;
    row.expires_at = Some(cx.now + TimeDelta::days(row.data.retention_days));
    let answer = changed("DBInstanceAutomatedBackup", body(&row), key.clone(), "replication stopped, backups kept");
    cx.state.backups.insert(key, row);
    Ok(answer)
}

pub fn describe_clusters(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let filters = p.filters(&["status", "db-cluster-id", "db-cluster-resource-id"])?;
    let fits = |row: &Backup| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "status" => row.status == *value,
                "db-cluster-id" => names(value, &row.data.source_id),
                _ => row.data.source_resource_id == *value,
            })
        })
    };
    let rows = all(cx, true)
        .into_iter()
        .filter(|row| fits(row))
        .filter(|row| p.text("DBClusterIdentifier").is_none_or(|id| names(id, &row.data.source_id)))
        .filter(|row| p.text("DbClusterResourceId").is_none_or(|id| row.data.source_resource_id == id))
        .map(|row| (arn(&row), row))
        .collect();
    Ok(seen(p.page("DBClusterAutomatedBackups", "DBClusterAutomatedBackup", rows, |row| body(&row))?))
}

pub fn delete_cluster(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let asked = cx.p.required("DbClusterResourceId")?;
    let row = all(cx, true).into_iter().find(|row| row.data.source_resource_id == asked).ok_or_else(|| {
        fault("DBClusterAutomatedBackupNotFoundFault", format!("DB cluster automated backup {asked} not found."))
    })?;
    if row.status != "retained" {
        let text = "Only automated backups that are retained can be deleted. Delete the cluster first.";
        return Err(error::fault("InvalidDBClusterAutomatedBackupStateFault", text));
    }
    let key = arn(&row);
    remove(cx.state, cx.kms, &key);
    Ok(changed("DBClusterAutomatedBackup", body(&row), key, "deleted"))
}
