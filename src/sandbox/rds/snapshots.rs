//! Snapshots of instances and clusters: take, describe, delete. The two families of AWS's API differ in names only, which
//! a [`Family`] holds.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::super::{Answer, AwsError, Table};
use super::State;
use super::context::{Context, changed, seen};
use super::error::{self, fault, invalid_value};
use super::ids::Place;
use super::instances::names;
use super::params::Tags;
use super::placement::{option_group, version_of};
use super::rows::{Cluster, Instance, Snapshot, then};
use super::{settings, shape, timing, validate};

/// The names of one of the two kinds of snapshots.
pub struct Family {
    pub cluster: bool,
    /// Of its ARNs.
    pub kind: &'static str,
    /// The shape: `DBSnapshot`; parameters and members are named after it.
    pub shape: &'static str,
    pub identifier: &'static str,
    pub source_identifier: &'static str,
    pub copy_source: &'static str,
    pub copy_target: &'static str,
    pub list: &'static str,
    pub not_found: &'static str,
    pub exists: &'static str,
    pub state: &'static str,
    pub filters: &'static [&'static str],
}

pub const INSTANCE: Family = Family {
    cluster: false,
    kind: "snapshot",
    shape: "DBSnapshot",
    identifier: "DBSnapshotIdentifier",
    source_identifier: "DBInstanceIdentifier",
    copy_source: "SourceDBSnapshotIdentifier",
    copy_target: "TargetDBSnapshotIdentifier",
    list: "DBSnapshots",
    not_found: "DBSnapshotNotFound",
    exists: "DBSnapshotAlreadyExists",
    state: "InvalidDBSnapshotState",
    filters: &["db-instance-id", "db-snapshot-id", "dbi-resource-id", "snapshot-type", "engine"],
};

pub const CLUSTER: Family = Family {
    cluster: true,
    kind: "cluster-snapshot",
    shape: "DBClusterSnapshot",
    identifier: "DBClusterSnapshotIdentifier",
    source_identifier: "DBClusterIdentifier",
    copy_source: "SourceDBClusterSnapshotIdentifier",
    copy_target: "TargetDBClusterSnapshotIdentifier",
    list: "DBClusterSnapshots",
    not_found: "DBClusterSnapshotNotFoundFault",
    exists: "DBClusterSnapshotAlreadyExistsFault",
    state: "InvalidDBClusterSnapshotStateFault",
    filters: &["db-cluster-id", "db-cluster-snapshot-id", "snapshot-type", "engine"],
};

impl Family {
    pub fn table<'s>(&self, state: &'s State) -> &'s Table<Snapshot> {
        if self.cluster { &state.cluster_snapshots } else { &state.snapshots }
    }

    pub fn table_mut<'s>(&self, state: &'s mut State) -> &'s mut Table<Snapshot> {
        if self.cluster { &mut state.cluster_snapshots } else { &mut state.snapshots }
    }

    pub fn describe(&self, row: &Snapshot, now: DateTime<Utc>) -> Value {
        if self.cluster { shape::cluster_snapshot(row, now) } else { shape::snapshot(row, now) }
    }

    pub fn arn(&self, row: &Snapshot) -> String {
        row.place.arn(self.kind, &row.id)
    }

    pub fn missing(&self, named: &str) -> AwsError {
        fault(self.not_found, format!("{} {named} not found.", self.shape))
    }

    /// A snapshot of this place by identifier or ARN.
    ///
    /// # Errors
    /// `DBSnapshotNotFound` or the clusters' word for it.
    pub fn own(&self, cx: &Context<'_>, named: &str) -> Result<Snapshot, AwsError> {
        let arn = cx.arn(self.kind, named);
        arn.and_then(|arn| self.table(cx.state).get(&arn)).cloned().ok_or_else(|| self.missing(named))
    }

    /// A snapshot that the caller may restore or copy: its own, or by ARN one that is shared with it.
    ///
    /// # Errors
    /// `DBSnapshotNotFound` or the clusters' word for it.
    pub fn visible(&self, cx: &Context<'_>, named: &str) -> Result<Snapshot, AwsError> {
        if !named.starts_with("arn:") {
            return self.own(cx, named);
        }
        self.table(cx.state)
            .get(&named.to_lowercase())
            .filter(|row| row.place.account == cx.place.account || is_shared(row, &cx.place.account))
            .filter(|row| row.place.partition == cx.place.partition)
            .cloned()
            .ok_or_else(|| self.missing(named))
    }

    /// Whether a manual snapshot may be made here under `id`.
    ///
    /// # Errors
    /// `DBSnapshotAlreadyExists`, `SnapshotQuotaExceeded`.
    pub fn may_add(&self, cx: &Context<'_>, id: &str) -> Result<(), AwsError> {
        if self.table(cx.state).contains(&cx.place.arn(self.kind, id)) {
            let text =
                format!("Cannot create the snapshot because a snapshot with the identifier {id} already exists.");
            return Err(fault(self.exists, text));
        }
        let manual = self.table(cx.state).iter().filter(|(_, row)| row.place == cx.place && row.is_manual()).count();
        let most = cx.state.quotas.snapshots;
        if manual >= most {
            let text = format!("Cannot create more than {most} manual snapshots");
            return Err(fault("SnapshotQuotaExceeded", text));
        }
        Ok(())
    }
}

fn is_shared(row: &Snapshot, account: &str) -> bool {
    row.public() || row.shared_with.contains(account)
}

/// An instance's data as it is now. `ready_at` follows from the size and from whether an earlier snapshot is there.
pub fn of_instance(state: &State, row: &Instance, id: String, automated: bool, at: DateTime<Utc>) -> Snapshot {
    let first = !state
        .snapshots
        .iter()
        .any(|(_, other)| other.source_resource_id == row.resource_id && other.copy_of.is_none());
    let mut members = row.settings.clone();
    members.remove("MasterUserSecret");
    Snapshot {
        place: row.place.clone(),
        id,
        automated,
        aws_backup: false,
        source_id: row.id.clone(),
        source_resource_id: row.resource_id.clone(),
        source_created_at: row.created_at,
        created_at: at,
        begins_at: at,
        ready_at: at + timing::snapshot(row.gb, first),
        taken_at: at,
        copy_of: None,
        engine: row.engine.clone(),
        engine_version: row.engine_version.clone(),
        class: Some(row.class.clone()),
        gb: row.gb,
        username: row.username.clone(),
        port: row.port,
        zone: row.zone.clone(),
        retention_days: row.retention_days,
        option_group: Some(row.option_group.clone()),
        kms: row.kms.clone(),
        settings: members,
        tags: Tags::new(),
        shared_with: std::collections::BTreeSet::new(),
        content: row.content.as_of(at),
    }
}

/// A cluster's data as it is now.
pub fn of_cluster(state: &State, row: &Cluster, id: String, automated: bool, at: DateTime<Utc>) -> Snapshot {
    let first = !state.cluster_snapshots.iter().any(|(_, other)| other.source_resource_id == row.resource_id);
    Snapshot {
        place: row.place.clone(),
        id,
        automated,
        aws_backup: false,
        source_id: row.id.clone(),
        source_resource_id: row.resource_id.clone(),
        source_created_at: row.created_at,
        created_at: at,
        begins_at: at,
        ready_at: at + timing::snapshot(row.gb, first),
        taken_at: at,
        copy_of: None,
        engine: row.engine.clone(),
        engine_version: row.engine_version.clone(),
        class: row.class.clone(),
        gb: row.gb,
        username: row.username.clone(),
        port: row.port,
        zone: row.place.zone(0),
        retention_days: row.retention_days,
        option_group: None,
        kms: row.kms.clone(),
        settings: row.settings.clone(),
        tags: Tags::new(),
        shared_with: std::collections::BTreeSet::new(),
        content: row.content.as_of(at),
    }
}

/// Takes a manual snapshot of an instance; answers when it will be there.
///
/// # Errors
/// The instance does not serve, the name is taken, the quota is used up.
pub fn take_manual(cx: &mut Context<'_>, row: &Instance, id: String, tags: Tags) -> Result<DateTime<Utc>, AwsError> {
    if !row.serves() && row.status != "stopped" {
        return Err(error::instance_state(format!(
            "Cannot create a snapshot because the database instance {} is not currently in the available state.",
            row.id
        )));
    }
    INSTANCE.may_add(cx, &id)?;
    let mut snapshot = of_instance(cx.state, row, id, false, cx.now);
    if settings::flag(&row.settings, "CopyTagsToSnapshot") {
        snapshot.tags.clone_from(&row.tags);
    }
    snapshot.tags.extend(tags);
    let ready_at = snapshot.ready_at;
    cx.state.snapshots.insert(INSTANCE.arn(&snapshot), snapshot);
    Ok(ready_at)
}

fn automated_id(id: &str, at: DateTime<Utc>) -> String {
    format!("rds:{id}-{}", at.format("%Y-%m-%d-%H-%M"))
}

/// Takes an instance's automated snapshot, as RDS does by itself.
pub fn take_automated(state: &mut State, row: &Instance, at: DateTime<Utc>) {
    let mut snapshot = of_instance(state, row, automated_id(&row.id, at), true, at);
    if settings::flag(&row.settings, "CopyTagsToSnapshot") {
        snapshot.tags.clone_from(&row.tags);
    }
    state.snapshots.insert(INSTANCE.arn(&snapshot), snapshot);
    if let Some(stored) = state.instances.get_mut(&row.arn()) {
        stored.last_backup = Some(at);
    }
}

/// Takes a cluster's automated snapshot.
pub fn take_automated_of_cluster(state: &mut State, row: &Cluster, at: DateTime<Utc>) {
    let snapshot = of_cluster(state, row, automated_id(&row.id, at), true, at);
    state.cluster_snapshots.insert(CLUSTER.arn(&snapshot), snapshot);
    if let Some(stored) = state.clusters.get_mut(&row.arn()) {
        stored.last_backup = Some(at);
    }
}

impl State {
    /// Takes a snapshot of the instance under this ARN as AWS Backup does, and answers the snapshot's ARN. `None` when there is
    /// no such instance.
    pub fn back_up(&mut self, instance: &str, at: DateTime<Utc>) -> Option<String> {
        let row = self.instances.get(instance)?.clone();
        let job = self.mint("job-").to_lowercase();
        let mut snapshot = of_instance(self, &row, format!("awsbackup:{job}"), false, at);
        snapshot.aws_backup = true;
        let arn = INSTANCE.arn(&snapshot);
        self.snapshots.insert(arn.clone(), snapshot);
        Some(arn)
    }
}

/// Removes the automated snapshots of an instance or cluster.
pub fn remove_automated(state: &mut State, place: &Place, resource_id: &str) {
    for family in [&INSTANCE, &CLUSTER] {
        let table = family.table_mut(state);
        let gone: Vec<String> = table
            .iter()
            .filter(|(_, row)| row.automated && row.place == *place && row.source_resource_id == resource_id)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            table.remove(&key);
        }
    }
}

/// Removes the automated snapshots that are older than the retention they were taken under.
pub fn expire_automated(state: &mut State, now: DateTime<Utc>) {
    for family in [&INSTANCE, &CLUSTER] {
        let old = |row: &Snapshot| row.automated && now - row.created_at > TimeDelta::days(row.retention_days.max(1));
        let table = family.table_mut(state);
        let gone: Vec<String> = table.iter().filter(|(_, row)| old(row)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            table.remove(&key);
        }
    }
}

pub fn create(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBSnapshotIdentifier", p.required("DBSnapshotIdentifier")?, 255)?;
    let mut row = cx.instance(p.required("DBInstanceIdentifier")?)?;
    if row.cluster.is_some() {
        return Err(invalid_value(
            "The specified instance is a member of a cluster and a snapshot cannot be created directly. Please use the \
             CreateDBClusterSnapshot API instead.",
        ));
    }
    let tags = p.tags()?;
    let ready_at = take_manual(cx, &row, id.clone(), tags)?;
    if row.serves() {
        "backing-up".clone_into(&mut row.status);
        row.replan(then(ready_at, "available"));
        cx.state.instances.insert(row.arn(), row);
    }
    answer(cx, &INSTANCE, &cx.place.arn("snapshot", &id), "created")
}

/// Answers a snapshot that was made or changed.
///
/// # Errors
/// It is not there.
pub fn answer(cx: &Context<'_>, family: &Family, arn: &str, what: &str) -> Result<Answer, AwsError> {
    let row = family.table(cx.state).get(arn).ok_or_else(|| family.missing(arn))?;
    Ok(changed(family.shape, family.describe(row, cx.now), arn.to_owned(), what))
}

pub fn describe(cx: &mut Context<'_>, family: &Family) -> Result<Answer, AwsError> {
    let p = cx.p;
    let filters = p.filters(family.filters)?;
    let kind = p.text("SnapshotType");
    if let Some(kind) = kind.filter(|kind| !["automated", "manual", "shared", "public", "awsbackup"].contains(kind)) {
        return Err(invalid_value(format!("Invalid snapshot type: {kind}")));
    }
    let shared = p.flag("IncludeShared")?.unwrap_or(false) || kind == Some("shared");
    let public = p.flag("IncludePublic")?.unwrap_or(false) || kind == Some("public");
    let account = &cx.place.account;
    let visible = |row: &Snapshot| {
        let own = row.place.account == *account;
        let kind_fits = match kind {
            // What AWS Backup keeps is named only when it is asked for.
            None => !row.aws_backup,
            Some("shared") => !own && row.shared_with.contains(account),
            Some("public") => row.public(),
            Some(kind) => own && row.snapshot_type() == kind,
        };
        let seen = own || (shared && row.shared_with.contains(account)) || (public && row.public());
        row.place.region == cx.place.region && row.place.partition == cx.place.partition && seen && kind_fits
    };
    let fits = |row: &Snapshot| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "db-instance-id" | "db-cluster-id" => names(value, &row.source_id),
                "db-snapshot-id" | "db-cluster-snapshot-id" => names_snapshot(family, value, row),
                "dbi-resource-id" => row.source_resource_id == *value,
                "snapshot-type" => type_for(row, account) == *value,
                _ => row.engine == *value,
            })
        })
    };
    let resource = p.text(if family.cluster { "DbClusterResourceId" } else { "DbiResourceId" });
    let rows: Vec<(String, &Snapshot)> = family
        .table(cx.state)
        .iter()
        .filter(|(_, row)| p.text(family.identifier).is_none_or(|id| names_snapshot(family, id, row)))
        .filter(|(_, row)| visible(row) && fits(row))
        .filter(|(_, row)| p.text(family.source_identifier).is_none_or(|id| names(id, &row.source_id)))
        .filter(|(_, row)| resource.is_none_or(|id| row.source_resource_id == id))
        .map(|(key, row)| (key.clone(), row))
        .collect();
    if let Some(named) = p.text(family.identifier).filter(|_| rows.is_empty()) {
        return Err(family.missing(named));
    }
    Ok(seen(p.page(family.list, family.shape, rows, |row| described_to(family, row, cx))?))
}

/// A snapshot as the caller's account sees it: another account's goes by its ARN, and shows none of its tags.
fn described_to(family: &Family, row: &Snapshot, cx: &Context<'_>) -> Value {
    let mut body = family.describe(row, cx.now);
    if row.place.account == cx.place.account {
        return body;
    }
    if let Some(members) = body.as_object_mut() {
        members.insert(family.identifier.to_owned(), family.arn(row).into());
        members.insert("SnapshotType".to_owned(), type_for(row, &cx.place.account).into());
        members.insert("TagList".to_owned(), super::params::tag_list(&Tags::new()));
    }
    body
}

/// A snapshot's type in the eyes of an account.
fn type_for(row: &Snapshot, account: &str) -> &'static str {
    match (row.place.account == account, row.shared_with.contains(account)) {
        (true, _) => row.snapshot_type(),
        (false, true) => "shared",
        (false, false) => "public",
    }
}

/// Whether an identifier or an ARN names a snapshot; identifiers of automated ones hold a colon.
fn names_snapshot(family: &Family, value: &str, row: &Snapshot) -> bool {
    value.eq_ignore_ascii_case(&row.id) || (value.starts_with("arn:") && value.eq_ignore_ascii_case(&family.arn(row)))
}

pub fn delete(cx: &mut Context<'_>, family: &Family) -> Result<Answer, AwsError> {
    let row = family.own(cx, cx.p.required(family.identifier)?)?;
    if row.aws_backup {
        let text = format!("Snapshot {} is managed by AWS Backup and cannot be deleted through Amazon RDS.", row.id);
        return Err(fault(family.state, text));
    }
    if row.automated {
        return Err(fault(family.state, "Only manual snapshots may be deleted."));
    }
    if !row.available(cx.now) {
        return Err(fault(family.state, format!("Snapshot {} is not in available state.", row.id)));
    }
    let arn = family.arn(&row);
    let mut body = family.describe(&row, cx.now);
    if let Some(status) = body.get_mut("Status") {
        *status = "deleted".into();
    }
    family.table_mut(cx.state).remove(&arn);
    if let Some(key) = &row.kms {
        cx.kms.detach(key, &arn);
    }
    Ok(changed(family.shape, body, arn, "deleted"))
}

/// ModifyDBSnapshot: another engine version or option group.
pub fn modify(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = INSTANCE.own(cx, p.required("DBSnapshotIdentifier")?)?;
    if !row.is_manual() || !row.available(cx.now) {
        return Err(fault("InvalidDBSnapshotState", format!("Snapshot {} is not in available state.", row.id)));
    }
    let mut version = version_of(&row.engine, &row.engine_version)?;
    if let Some(asked) = p.text("EngineVersion") {
        version = version.engine.version(Some(asked))?;
        row.engine_version.clone_from(&version.full);
    }
    if let Some(name) = p.text("OptionGroupName") {
        row.option_group = Some(option_group(cx, name, &version)?);
    }
    let arn = INSTANCE.arn(&row);
    cx.state.snapshots.insert(arn.clone(), row);
    answer(cx, &INSTANCE, &arn, "modified")
}
