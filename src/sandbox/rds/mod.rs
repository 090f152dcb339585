//! RDS: DB instances, clusters, snapshots, automated backups and the groups that they name, per account and region.
//!
//! The contract is AWS's RDS API 2014-10-31 as its own service model describes it: operations, members, error codes and
//! HTTP statuses. [`handle`] answers one call in two moves. First every row is brought to the call's time
//! (`lifecycle`), give or take a second: states are a function of what was asked and of the clock, so nothing runs in the
//! background and a crash loses no transition. Then the operation checks everything that can refuse it and only then touches rows, so a
//! refused call has no effect of its own.
//!
//! The answer's body is the operation's result as a JSON tree: objects are elements, `{"@list": "DBInstance", "items":
//! […]}` is a list whose members have that name, scalars are text, null members are left out.
//!
//! Data is modelled as its origin and the writes in it ([`Content`]), and a size: a new instance has data of its own, a client's
//! write ([`State::write_through`]) adds to it, snapshots, copies, restores and replicas carry it along. No operation of RDS
//! answers it. So a test can prove by [`State::stock`] that what was restored is what was saved.

mod account;
mod backups;
mod bluegreen;
mod cluster_restore;
mod clusters;
mod content;
mod context;
mod copies;
mod engines;
mod error;
mod exports;
mod groups;
mod ids;
mod instances;
mod lifecycle;
mod modify;
mod params;
mod placement;
mod replicas;
mod restore;
mod rows;
mod secrets;
mod settings;
mod shape;
mod sharing;
mod snapshots;
mod stock;
mod subscriptions;
mod tags;
mod timing;
mod validate;
mod windows;
mod writes;

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

use super::{Answer, AwsError, Call, Changes, Rows, Table, kms};
pub use content::Content;
use context::Context;
pub use placement::Quotas;
use rows::{Backup, Cluster, Group, Instance, Snapshot};
pub use stock::{Holding, HoldingKind};
pub use writes::{NotWritten, Writer};

/// All instances, clusters, snapshots and groups, over all accounts and regions. Rows stand under their ARN.
#[derive(Debug)]
pub struct State {
    instances: Table<Instance>,
    clusters: Table<Cluster>,
    snapshots: Table<Snapshot>,
    cluster_snapshots: Table<Snapshot>,
    backups: Table<Backup>,
    groups: Table<Group>,
    deployments: Table<bluegreen::Deployment>,
    exports: Table<exports::Export>,
    subscriptions: Table<subscriptions::Subscription>,
    /// Under `resource`: how many resource ids were given out; under `write`: how many writes there were.
    counters: Table<u64>,
    /// Security groups that let nobody in, by their ids.
    closed: Table<()>,
    /// Instance classes that are not offered, as `region/class`.
    withheld: Table<()>,
    /// Of every account in every region; not kept with the rows.
    quotas: Quotas,
    /// When all rows were brought to the present, if nothing has changed since; not kept with the rows.
    settled: Option<DateTime<Utc>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            instances: Table::new("rds.instance"),
            clusters: Table::new("rds.cluster"),
            snapshots: Table::new("rds.snapshot"),
            cluster_snapshots: Table::new("rds.cluster_snapshot"),
            backups: Table::new("rds.backup"),
            groups: Table::new("rds.group"),
            deployments: Table::new("rds.deployment"),
            exports: Table::new("rds.export"),
            subscriptions: Table::new("rds.subscription"),
            counters: Table::new("rds.counter"),
            closed: Table::new("rds.closed_group"),
            withheld: Table::new("rds.withheld_class"),
            quotas: Quotas::default(),
            settled: None,
        }
    }
}

impl State {
    /// What every account may have in every region from now on.
    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    /// Something has changed: the next call brings all rows to the present, however short the time since the last.
    pub fn unsettle(&mut self) {
        self.settled = None;
    }

    /// A region does not offer an instance class from now on, to any engine. What runs in it runs on.
    pub fn withhold_class(&mut self, region: &str, class: &str) {
        self.withheld.insert(format!("{region}/{class}"), ());
    }

    /// Whether a region offers an instance class.
    fn offers(&self, region: &str, class: &str) -> bool {
        !self.withheld.contains(&format!("{region}/{class}"))
    }

    /// The next number of a kind, from 1.
    fn next(&mut self, kind: &str) -> u64 {
        let next = self.counters.get(kind).copied().unwrap_or_default() + 1;
        self.counters.insert(kind, next);
        next
    }

    /// A resource id that was never given before: `prefix` and 26 characters.
    fn mint(&mut self, prefix: &str) -> String {
        let next = self.next("resource");
        format!("{prefix}{}", ids::base32(&format!("{prefix}{next}")))
    }
}

impl Rows for State {
    fn take_changes(&mut self, changes: &mut Changes) -> Result<(), serde_json::Error> {
        self.instances.take_changes(changes)?;
        self.clusters.take_changes(changes)?;
        self.snapshots.take_changes(changes)?;
        self.cluster_snapshots.take_changes(changes)?;
        self.backups.take_changes(changes)?;
        self.groups.take_changes(changes)?;
        self.deployments.take_changes(changes)?;
        self.exports.take_changes(changes)?;
        self.subscriptions.take_changes(changes)?;
        self.counters.take_changes(changes)?;
        self.closed.take_changes(changes)?;
        self.withheld.take_changes(changes)
    }

    fn load(&mut self, kind: &str, key: &str, body: &str) -> Result<bool, serde_json::Error> {
        match kind {
            "rds.instance" => self.instances.load(key, body)?,
            "rds.cluster" => self.clusters.load(key, body)?,
            "rds.snapshot" => self.snapshots.load(key, body)?,
            "rds.cluster_snapshot" => self.cluster_snapshots.load(key, body)?,
            "rds.backup" => self.backups.load(key, body)?,
            "rds.group" => self.groups.load(key, body)?,
            "rds.deployment" => self.deployments.load(key, body)?,
            "rds.export" => self.exports.load(key, body)?,
            "rds.subscription" => self.subscriptions.load(key, body)?,
            "rds.counter" => self.counters.load(key, body)?,
            "rds.closed_group" => self.closed.load(key, body)?,
            "rds.withheld_class" => self.withheld.load(key, body)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Brings every row to `now`, give or take a second.
pub fn bring_to(state: &mut State, kms: &mut kms::State, now: DateTime<Utc>) {
    let recently = |at: DateTime<Utc>| now >= at && now - at < lifecycle::LAG;
    if !state.settled.is_some_and(recently) {
        lifecycle::settle(state, kms, now);
        state.settled = Some(now);
    }
}

/// Answers one RDS call; see the module for the form of its body.
///
/// # Errors
/// The error as AWS answers it; the call changed nothing then.
pub fn handle(state: &mut State, kms: &mut kms::State, call: &Call) -> Result<Answer, AwsError> {
    bring_to(state, kms, call.now);
    let cx = &mut Context::new(state, kms, call);
    match call.action.as_str() {
        "CreateDBInstance" => instances::create(cx),
        "DescribeDBInstances" => instances::describe(cx),
        "DeleteDBInstance" => instances::delete(cx),
        "RebootDBInstance" => instances::reboot(cx),
        "StopDBInstance" => instances::stop(cx),
        "StartDBInstance" => instances::start(cx),
        "ModifyDBInstance" => modify::modify(cx),
        "CreateDBInstanceReadReplica" => replicas::create(cx),
        "PromoteReadReplica" => replicas::promote(cx),
        "RestoreDBInstanceFromDBSnapshot" => restore::from_snapshot(cx),
        "RestoreDBInstanceToPointInTime" => restore::to_point_in_time(cx),
        "CreateDBSnapshot" => snapshots::create(cx),
        "CopyDBSnapshot" => copies::copy(cx, &snapshots::INSTANCE),
        "DescribeDBSnapshots" => snapshots::describe(cx, &snapshots::INSTANCE),
        "DeleteDBSnapshot" => snapshots::delete(cx, &snapshots::INSTANCE),
        "ModifyDBSnapshot" => snapshots::modify(cx),
        "ModifyDBSnapshotAttribute" => sharing::modify(cx, &snapshots::INSTANCE),
        "DescribeDBSnapshotAttributes" => sharing::describe(cx, &snapshots::INSTANCE),
        "DescribeDBInstanceAutomatedBackups" => backups::describe(cx),
        "DeleteDBInstanceAutomatedBackup" => backups::delete(cx),
        "StartDBInstanceAutomatedBackupsReplication" => backups::start_replication(cx),
        "StopDBInstanceAutomatedBackupsReplication" => backups::stop_replication(cx),
        "DescribeDBClusterAutomatedBackups" => backups::describe_clusters(cx),
        "DeleteDBClusterAutomatedBackup" => backups::delete_cluster(cx),
        "CreateDBCluster" => clusters::create(cx),
        "DescribeDBClusters" => clusters::describe(cx),
        "ModifyDBCluster" => clusters::modify(cx),
        "DeleteDBCluster" => clusters::delete(cx),
        "FailoverDBCluster" => clusters::fail_over(cx),
        "RebootDBCluster" => clusters::reboot(cx),
        "StopDBCluster" => clusters::stop(cx),
        "StartDBCluster" => clusters::start(cx),
        "CreateDBClusterSnapshot" => clusters::snapshot(cx),
        "CopyDBClusterSnapshot" => copies::copy(cx, &snapshots::CLUSTER),
        "DescribeDBClusterSnapshots" => snapshots::describe(cx, &snapshots::CLUSTER),
        "DeleteDBClusterSnapshot" => snapshots::delete(cx, &snapshots::CLUSTER),
        "ModifyDBClusterSnapshotAttribute" => sharing::modify(cx, &snapshots::CLUSTER),
        "DescribeDBClusterSnapshotAttributes" => sharing::describe(cx, &snapshots::CLUSTER),
        "RestoreDBClusterFromSnapshot" => cluster_restore::from_snapshot(cx),
        "RestoreDBClusterToPointInTime" => cluster_restore::to_point_in_time(cx),
        "AddTagsToResource" => tags::add(cx),
        "RemoveTagsFromResource" => tags::remove(cx),
        "ListTagsForResource" => tags::list(cx),
        _ => groups::handle(cx)
            .or_else(|| bluegreen::handle(cx))
            .or_else(|| exports::handle(cx))
            .or_else(|| subscriptions::handle(cx))
            .or_else(|| account::handle(cx))
            .unwrap_or_else(|| Err(unknown(&call.action))),
    }
}

fn unknown(action: &str) -> AwsError {
    error::fault("InvalidAction", format!("Could not find operation {action} for version 2014-10-31"))
}
