//! Bringing every row to the present: planned changes whose time has come, daily backups, what has expired, and resources
//! whose key no longer works.
//!
//! Everything here is a function of the rows, the keys and the clock, and doing it twice does nothing more. So it may run
//! before a call that is then refused, and a crash between two calls loses nothing.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::kms;
use super::State;
use super::backups;
use super::bluegreen;
use super::exports;
use super::rows::{Change, Cluster, Instance, Planned};
use super::snapshots;
use super::timing;

const LOST: &str = "inaccessible-encryption-credentials-recoverable";
const LOST_FOR_EVER: &str = "inaccessible-encryption-credentials";

/// How long what happens by itself may go unseen: looking at every row on every call makes a cloud of thousands slow.
pub const LAG: TimeDelta = TimeDelta::seconds(1);

/// Brings all rows to `now`.
pub fn settle(state: &mut State, kms: &mut kms::State, now: DateTime<Utc>) {
    settle_instances(state, kms, now);
    settle_clusters(state, kms, now);
    bluegreen::settle(state, now);
    exports::settle(state, kms, now);
    daily_backups(state, now);
    expire(state, kms, now);
}

fn is_due(plan: &[Planned], now: DateTime<Utc>) -> bool {
    plan.first().is_some_and(|next| next.at <= now)
}

fn settle_instances(state: &mut State, kms: &mut kms::State, now: DateTime<Utc>) {
    let due = |row: &Instance| is_due(&row.plan, now) || instance_key_change(row, kms, now).is_some();
    let keys: Vec<String> = state.instances.iter().filter(|(_, row)| due(row)).map(|(key, _)| key.clone()).collect();
    for mut key in keys {
        while let Some(next) =
            state.instances.get(&key).filter(|row| is_due(&row.plan, now)).and_then(|row| row.plan.first())
        {
            let next = next.clone();
            if let Some(row) = state.instances.get_mut(&key) {
                row.plan.remove(0);
            }
            key = apply_to_instance(state, kms, key, &next);
        }
        let change = state.instances.get(&key).and_then(|row| instance_key_change(row, kms, now));
        if let (Some(status), Some(row)) = (change, state.instances.get_mut(&key)) {
            status.clone_into(&mut row.status);
            row.key_lost_at.get_or_insert(now);
        }
    }
}

/// The status that an instance's key puts it into, when that is another than it has. Members follow their cluster.
fn instance_key_change(row: &Instance, kms: &kms::State, now: DateTime<Utc>) -> Option<&'static str> {
    if row.cluster.is_some() {
        return None;
    }
    key_change(&row.status, row.kms.as_deref(), row.key_lost_at, kms, now)
}

fn key_change(
    status: &str,
    key: Option<&str>,
    lost_at: Option<DateTime<Utc>>,
    kms: &kms::State,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    let key = key?;
    if status == LOST {
        return lost_at.is_some_and(|lost| now - lost >= timing::KEY_GRACE).then_some(LOST_FOR_EVER);
    }
    let looked_at = matches!(status, "available" | "storage-optimization");
    (looked_at && kms.usable(now, key).is_err()).then_some(LOST)
}

/// Carries out one planned change; answers the row's ARN, which a rename changes.
fn apply_to_instance(state: &mut State, kms: &mut kms::State, key: String, next: &Planned) -> String {
    match &next.change {
        Change::Status(status) => {
            if let Some(row) = state.instances.get_mut(&key) {
                row.status.clone_from(status);
            }
        }
        Change::ApplyPending => return apply_pending(state, key),
        Change::Backup => {
            if let Some(row) = state.instances.get(&key).filter(|row| row.retention_days > 0).cloned() {
                snapshots::take_automated(state, &row, next.at);
            }
        }
        Change::Remove { keep_backups } => remove_instance(state, kms, &key, *keep_backups, next.at),
    }
    key
}

fn apply_pending(state: &mut State, key: String) -> String {
    let Some(mut row) = state.instances.remove(&key) else { return key };
    let pending = std::mem::take(&mut row.pending);
    for (member, value) in pending {
        set_member(&mut row, &member, value);
    }
    let renamed = row.arn();
    if renamed != key {
        point_to_new_arn(state, &row, &key, &renamed);
    }
    state.instances.insert(renamed.clone(), row);
    renamed
}

/// Gives an instance another identifier at once; answers its new ARN.
pub fn rename(state: &mut State, key: String, id: String) -> String {
    let Some(mut row) = state.instances.remove(&key) else { return key };
    row.id = id;
    let renamed = row.arn();
    point_to_new_arn(state, &row, &key, &renamed);
    state.instances.insert(renamed.clone(), row);
    renamed
}

fn set_member(row: &mut Instance, member: &str, value: String) {
    let number = value.parse::<i64>();
    match member {
        "DBInstanceIdentifier" => row.id = value,
        "DBInstanceClass" => row.class = value,
        "EngineVersion" => row.engine_version = value,
        "MultiAZ" => row.multi_az = value == "true",
        "DBSubnetGroupName" => row.subnet_group = value,
        "AllocatedStorage" => row.gb = number.unwrap_or(row.gb),
        "Port" => row.port = number.unwrap_or(row.port),
        "BackupRetentionPeriod" => row.retention_days = number.unwrap_or(row.retention_days),
        // RDS stores no password that could be read back.
        "MasterUserPassword" => {}
        _ => {
            let value = number.map_or_else(|_| serde_json::json!(value), |number| serde_json::json!(number));
            row.settings.insert(member.to_owned(), value);
        }
    }
}

/// Replicas stay with a renamed source, and so do its backups elsewhere and its place in its cluster.
fn point_to_new_arn(state: &mut State, row: &Instance, old: &str, new: &str) {
    let replicas: Vec<String> = state
        .instances
        .iter()
        .filter(|(_, other)| other.replica_of.as_deref() == Some(old))
        .map(|(key, _)| key.clone())
        .collect();
    for replica in replicas {
        if let Some(replica) = state.instances.get_mut(&replica) {
            replica.replica_of = Some(new.to_owned());
        }
    }
    let copies: Vec<String> =
        state.backups.iter().filter(|(_, backup)| backup.source_arn == old).map(|(key, _)| key.clone()).collect();
    for copy in copies {
        if let Some(copy) = state.backups.get_mut(&copy) {
            new.clone_into(&mut copy.source_arn);
            copy.data.source_id.clone_from(&row.id);
        }
    }
    let old_id = old.rsplit(':').next().unwrap_or_default();
    let cluster = row.cluster.as_ref().map(|cluster| row.place.arn("cluster", cluster));
    if let Some(cluster) = cluster.and_then(|cluster| state.clusters.get_mut(&cluster))
        && cluster.writer.as_deref() == Some(old_id)
    {
        cluster.writer = Some(row.id.clone());
    }
}

fn remove_instance(state: &mut State, kms: &mut kms::State, key: &str, keep_backups: bool, at: DateTime<Utc>) {
    let Some(row) = state.instances.remove(key) else { return };
    if let Some(kms_key) = &row.kms {
        kms.detach(kms_key, &row.resource_id);
    }
    let replicas: Vec<String> = state
        .instances
        .iter()
        .filter(|(_, other)| other.replica_of.as_deref() == Some(key))
        .map(|(key, _)| key.clone())
        .collect();
    for replica in replicas {
        if let Some(replica) = state.instances.get_mut(&replica) {
            replica.replica_of = None;
        }
    }
    if let Some(cluster) = &row.cluster {
        choose_writer(state, &row, cluster);
        return;
    }
    if keep_backups {
        backups::retain_instance(state, &row, at);
    } else {
        snapshots::remove_automated(state, &row.place, &row.resource_id);
    }
    backups::source_gone(state, key, &row.content, at);
}

/// The next writer of a cluster whose member went: the first that is left.
fn choose_writer(state: &mut State, gone: &Instance, cluster: &str) {
    let next = state
        .instances
        .iter()
        .map(|(_, row)| row)
        .find(|row| row.place == gone.place && row.cluster.as_deref() == Some(cluster))
        .map(|row| row.id.clone());
    if let Some(cluster) = state.clusters.get_mut(&gone.place.arn("cluster", cluster))
        && cluster.writer.as_deref() == Some(&gone.id)
    {
        cluster.writer = next;
    }
}

fn settle_clusters(state: &mut State, kms: &mut kms::State, now: DateTime<Utc>) {
    let changes = |row: &Cluster| key_change(&row.status, row.kms.as_deref(), row.key_lost_at, kms, now);
    let due = |row: &Cluster| is_due(&row.plan, now) || changes(row).is_some();
    let keys: Vec<String> = state.clusters.iter().filter(|(_, row)| due(row)).map(|(key, _)| key.clone()).collect();
    for mut key in keys {
        while let Some(next) =
            state.clusters.get(&key).filter(|row| is_due(&row.plan, now)).and_then(|row| row.plan.first())
        {
            let next = next.clone();
            if let Some(row) = state.clusters.get_mut(&key) {
                row.plan.remove(0);
            }
            key = apply_to_cluster(state, kms, key, &next);
        }
        let change = state
            .clusters
            .get(&key)
            .and_then(|row| key_change(&row.status, row.kms.as_deref(), row.key_lost_at, kms, now));
        if let (Some(status), Some(row)) = (change, state.clusters.get_mut(&key)) {
            status.clone_into(&mut row.status);
            row.key_lost_at.get_or_insert(now);
            let row = row.clone();
            set_members(state, &row, status, &[]);
        }
    }
}

/// Puts all members of a cluster into a status, with what follows.
pub fn set_members(state: &mut State, cluster: &Cluster, status: &str, plan: &[Planned]) {
    let members: Vec<String> = state
        .instances
        .iter()
        .filter(|(_, row)| row.place == cluster.place && row.cluster.as_deref() == Some(&cluster.id))
        .map(|(key, _)| key.clone())
        .collect();
    for member in members {
        if let Some(member) = state.instances.get_mut(&member) {
            status.clone_into(&mut member.status);
            member.plan = plan.to_vec();
        }
    }
}

fn apply_to_cluster(state: &mut State, kms: &mut kms::State, key: String, next: &Planned) -> String {
    match &next.change {
        Change::Status(status) => {
            if let Some(row) = state.clusters.get_mut(&key) {
                row.status.clone_from(status);
            }
        }
        Change::Backup => {
            if let Some(row) = state.clusters.get(&key).filter(|row| row.retention_days > 0).cloned() {
                snapshots::take_automated_of_cluster(state, &row, next.at);
            }
        }
        Change::ApplyPending => return apply_pending_to_cluster(state, key),
        Change::Remove { keep_backups } => {
            let Some(row) = state.clusters.remove(&key) else { return key };
            if let Some(kms_key) = &row.kms {
                kms.detach(kms_key, &row.resource_id);
            }
            if *keep_backups {
                backups::retain_cluster(state, &row, next.at);
            } else {
                snapshots::remove_automated(state, &row.place, &row.resource_id);
            }
        }
    }
    key
}

fn apply_pending_to_cluster(state: &mut State, key: String) -> String {
    let Some(mut row) = state.clusters.remove(&key) else { return key };
    let pending = std::mem::take(&mut row.pending);
    let old = row.id.clone();
    for (member, value) in pending {
        match member.as_str() {
            "DBClusterIdentifier" => row.id = value,
            "EngineVersion" => row.engine_version = value,
            "BackupRetentionPeriod" => row.retention_days = value.parse().unwrap_or(row.retention_days),
            "AllocatedStorage" => row.gb = value.parse().unwrap_or(row.gb),
            _ => {}
        }
    }
    if row.id != old {
        let members: Vec<String> = state
            .instances
            .iter()
            .filter(|(_, member)| member.place == row.place && member.cluster.as_deref() == Some(&old))
            .map(|(key, _)| key.clone())
            .collect();
        for member in members {
            if let Some(member) = state.instances.get_mut(&member) {
                member.cluster = Some(row.id.clone());
            }
        }
    }
    let renamed = row.arn();
    state.clusters.insert(renamed.clone(), row);
    renamed
}

/// One automated snapshot a day of what serves and has backups on. After a long silence only the latest is taken: the days
/// in between have nothing to tell them apart.
fn daily_backups(state: &mut State, now: DateTime<Utc>) {
    let latest = |last: DateTime<Utc>| {
        let days = (now - last).num_days();
        (days >= 1).then(|| last + TimeDelta::days(days))
    };
    let instances: Vec<(Instance, DateTime<Utc>)> = state
        .instances
        .iter()
        .map(|(_, row)| row)
        .filter(|row| row.serves() && row.cluster.is_none() && row.retention_days > 0)
        .filter_map(|row| latest(row.last_backup?).map(|at| (row.clone(), at)))
        .collect();
    for (row, at) in instances {
        snapshots::take_automated(state, &row, at);
    }
    let clusters: Vec<(Cluster, DateTime<Utc>)> = state
        .clusters
        .iter()
        .map(|(_, row)| row)
        .filter(|row| row.serves() && row.retention_days > 0)
        .filter_map(|row| latest(row.last_backup?).map(|at| (row.clone(), at)))
        .collect();
    for (row, at) in clusters {
        snapshots::take_automated_of_cluster(state, &row, at);
    }
}

/// Automated snapshots older than their retention, and kept backups whose time is over.
fn expire(state: &mut State, kms: &mut kms::State, now: DateTime<Utc>) {
    let gone: Vec<String> = state
        .backups
        .iter()
        .filter(|(_, row)| row.expires_at.is_some_and(|at| at <= now))
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        backups::remove(state, kms, &key);
    }
    snapshots::expire_automated(state, now);
}
