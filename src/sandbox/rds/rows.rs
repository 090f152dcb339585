//! What RDS remembers, one row a resource under its ARN.
//!
//! A row holds no state that a clock could contradict: what happens to it later stands in its plan, with the time, and is
//! carried out when the row is next looked at ([`super::lifecycle`]).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Content;
use super::ids::Place;
use super::params::Tags;

/// Something that will happen to an instance or a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    pub at: DateTime<Utc>,
    pub change: Change,
}

/// What will happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    /// The status becomes this.
    Status(String),
    /// The pending values take effect; a new identifier among them moves the row to its new ARN.
    ApplyPending,
    /// An automated snapshot is taken.
    Backup,
    /// The resource goes, and its automated backups with it unless they are kept.
    Remove { keep_backups: bool },
}

/// A DB instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    pub place: Place,
    pub id: String,
    /// `db-…`: unique for ever, unlike the identifier.
    pub resource_id: String,
    pub created_at: DateTime<Utc>,
    pub status: String,
    pub plan: Vec<Planned>,
    pub class: String,
    pub engine: String,
    pub engine_version: String,
    pub gb: i64,
    pub username: Option<String>,
    pub db_name: Option<String>,
    pub port: i64,
    pub retention_days: i64,
    pub deletion_protection: bool,
    pub multi_az: bool,
    pub zone: String,
    pub subnet_group: String,
    pub security_groups: Vec<String>,
    pub parameter_group: String,
    /// `in-sync`, or `pending-reboot` after another group was set.
    pub parameter_status: String,
    pub option_group: String,
    pub kms: Option<String>,
    /// The identifier of the cluster that it is a member of, in the same place.
    pub cluster: Option<String>,
    /// The ARN of the instance that it is a read replica of.
    pub replica_of: Option<String>,
    /// Further members, as described.
    pub settings: BTreeMap<String, Value>,
    /// Members of `PendingModifiedValues`.
    pub pending: BTreeMap<String, String>,
    pub tags: Tags,
    pub content: Content,
    pub last_backup: Option<DateTime<Utc>>,
    pub key_lost_at: Option<DateTime<Utc>>,
}

/// A DB cluster: Aurora, or a Multi-AZ DB cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    pub place: Place,
    pub id: String,
    /// `cluster-…`.
    pub resource_id: String,
    pub created_at: DateTime<Utc>,
    pub status: String,
    pub plan: Vec<Planned>,
    pub engine: String,
    pub engine_version: String,
    /// The class of a Multi-AZ DB cluster's instances; Aurora's instances have their own.
    pub class: Option<String>,
    pub gb: i64,
    pub username: Option<String>,
    pub db_name: Option<String>,
    pub port: i64,
    pub retention_days: i64,
    pub deletion_protection: bool,
    pub subnet_group: String,
    pub security_groups: Vec<String>,
    pub parameter_group: String,
    pub kms: Option<String>,
    /// The identifier of the member that writes.
    pub writer: Option<String>,
    /// The ARN of the cluster that it was cloned from or replicates.
    pub replica_of: Option<String>,
    pub settings: BTreeMap<String, Value>,
    pub pending: BTreeMap<String, String>,
    pub tags: Tags,
    pub content: Content,
    pub last_backup: Option<DateTime<Utc>>,
    pub key_lost_at: Option<DateTime<Utc>>,
}

/// A snapshot of an instance or of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    pub place: Place,
    pub id: String,
    pub automated: bool,
    /// Taken and kept by AWS Backup: RDS shows it when it is asked for this type, and does not delete it.
    #[serde(default)]
    pub aws_backup: bool,
    /// The instance's or cluster's identifier when the snapshot was taken.
    pub source_id: String,
    pub source_resource_id: String,
    pub source_created_at: DateTime<Utc>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When work on it begins: later than asked for when it waits for another copy.
    pub begins_at: DateTime<Utc>,
    pub ready_at: DateTime<Utc>,
    /// When the data in it was taken.
    pub taken_at: DateTime<Utc>,
    /// The ARN of the snapshot that it is a copy of.
    pub copy_of: Option<String>,
    pub engine: String,
    pub engine_version: String,
    pub class: Option<String>,
    pub gb: i64,
    pub username: Option<String>,
    pub port: i64,
    pub zone: String,
    pub retention_days: i64,
    pub option_group: Option<String>,
    pub kms: Option<String>,
    /// The source's further members, for a restore.
    pub settings: BTreeMap<String, Value>,
    pub tags: Tags,
    /// Accounts that may restore it; `all` makes it public.
    pub shared_with: BTreeSet<String>,
    pub content: Content,
}

/// An instance's or cluster's automated backups that live apart from it: kept after its deletion, or replicated into
/// another region.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backup {
    pub place: Place,
    /// `ab-…`.
    pub id: String,
    /// The ARN of the instance or cluster.
    pub source_arn: String,
    /// `replicating`, `pending` or `retained`.
    pub status: String,
    pub cluster: bool,
    /// The newest data in it, with everything that a restore needs.
    pub data: Snapshot,
    pub earliest: DateTime<Utc>,
    pub latest: DateTime<Utc>,
    /// When it goes by itself; `None` while it replicates.
    pub expires_at: Option<DateTime<Utc>>,
    pub tags: Tags,
}

/// A group that instances and clusters name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    pub place: Place,
    pub name: String,
    pub description: String,
    pub body: GroupBody,
    pub tags: Tags,
}

/// What is in a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum GroupBody {
    Subnets(Vec<String>),
    Parameters { family: String, values: BTreeMap<String, String> },
    ClusterParameters { family: String, values: BTreeMap<String, String> },
    Options { engine: String, major: String },
    Security,
}

impl Instance {
    pub fn arn(&self) -> String {
        self.place.arn("db", &self.id)
    }

    /// The name of its endpoint.
    pub fn address(&self) -> String {
        format!("{}.{}", self.id, self.place.endpoint_suffix())
    }

    /// Plans what happens next; a modification that waits for the maintenance window keeps waiting.
    pub fn replan(&mut self, plan: Vec<Planned>) {
        let waiting = std::mem::replace(&mut self.plan, plan);
        let settled = |next: &Planned| matches!(next.change, Change::ApplyPending | Change::Remove { .. });
        if self.pending.is_empty() || self.plan.iter().any(settled) {
            return;
        }
        self.plan.extend(waiting.into_iter().filter(|next| matches!(next.change, Change::ApplyPending)));
        self.plan.sort_by_key(|next| next.at);
    }

    /// Whether it serves: the states in which AWS lets it be worked on.
    pub fn serves(&self) -> bool {
        serves(&self.status)
    }
}

impl Cluster {
    pub fn arn(&self) -> String {
        self.place.arn("cluster", &self.id)
    }

    pub fn serves(&self) -> bool {
        serves(&self.status)
    }
}

impl Snapshot {
    pub fn available(&self, now: DateTime<Utc>) -> bool {
        now >= self.ready_at
    }

    /// 0 while it waits, 100 when it is there.
    pub fn percent(&self, now: DateTime<Utc>) -> i64 {
        if self.available(now) {
            return 100;
        }
        let whole = (self.ready_at - self.begins_at).num_seconds().max(1);
        ((now - self.begins_at).num_seconds() * 100 / whole).clamp(0, 99)
    }

    pub fn snapshot_type(&self) -> &'static str {
        match (self.automated, self.aws_backup) {
            (true, _) => "automated",
            (false, true) => "awsbackup",
            (false, false) => "manual",
        }
    }

    /// Whether people made it and may delete and share it. Only these count against the quota.
    pub fn is_manual(&self) -> bool {
        self.snapshot_type() == "manual"
    }

    pub fn public(&self) -> bool {
        self.shared_with.contains("all")
    }
}

fn serves(status: &str) -> bool {
    matches!(status, "available" | "storage-optimization")
}

/// What happens to a new resource: it becomes `available` after `busy`, its first backup in between when backups are on.
pub fn becoming(now: DateTime<Utc>, busy: chrono::TimeDelta, backups: bool) -> Vec<Planned> {
    let made = now + busy;
    let mut plan = Vec::new();
    if backups {
        plan.push(Planned { at: made, change: Change::Status("backing-up".to_owned()) });
        plan.push(Planned { at: made, change: Change::Backup });
    }
    let ready = if backups { made + super::timing::BACKING_UP } else { made };
    plan.push(Planned { at: ready, change: Change::Status("available".to_owned()) });
    plan
}

/// A single later change of status.
pub fn then(at: DateTime<Utc>, status: &str) -> Vec<Planned> {
    vec![Planned { at, change: Change::Status(status.to_owned()) }]
}
