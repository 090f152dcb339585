//! What RDS holds in a region: every page of every describe call, read once for all who ask meanwhile.
//!
//! RDS cannot be asked for one enterprise's resources alone, so whoever looks for them reads all that the account has. Where
//! hundreds of enterprises are moved at once, each of them would do so for itself, against one rate of calls that they share
//! with the vendor's own tools.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_rds::types::{
    DbCluster, DbClusterAutomatedBackup, DbClusterSnapshot, DbInstance, DbInstanceAutomatedBackup, DbSnapshot,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    beside::{self, Beside},
    shared::Shared,
    tags::{self, Tags},
};
use crate::{
    aws::{Aws, failure},
    worker::StepError,
};

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Instance,
    Cluster,
    Snapshot,
    ClusterSnapshot,
    AutomatedBackup,
    ClusterAutomatedBackup,
}

/// A resource that holds an enterprise's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub region: String,
    pub kind: Kind,
    pub id: String,
    pub arn: String,
    /// Of the instance or cluster itself, or of the one that a snapshot or backup was taken from.
    pub resource_id: String,
    pub status: String,
    pub encrypted: bool,
    pub key: Option<String>,
    /// Keys of parts of it: `performance-insights`, `master-user-secret`, `activity-stream`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub part_keys: BTreeMap<String, String>,
    /// Made by RDS, not by a person or keyferry.
    pub automated: bool,
    /// The instance of the enterprise that it belongs to, from its tag.
    pub instance: Option<String>,
    /// What an instance replicates, or a snapshot is a copy of.
    pub derived_from: Option<String>,
    /// By AWS's clock: when an instance was made, or when what a snapshot or a copy of it holds was taken.
    #[serde(default)]
    pub taken_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub size_gb: Option<i32>,
    /// What AWS names as its replicas, as the copies of its backups and as a cluster's members: ARNs where they are in another
    /// region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<String>,
    pub tags: Tags,
}

/// All that is there in a region, whoever's it is.
#[derive(Debug, Default)]
pub struct Listing {
    /// None of them says yet to which instance it belongs: that tag's name is the reader's.
    pub resources: Vec<Resource>,
    /// Pages read, by `region/operation`.
    pub pages: BTreeMap<String, u64>,
}

/// The listings of all regions.
pub struct Listings {
    aws: Arc<Aws>,
    regions: Mutex<HashMap<String, Arc<Shared<Listing>>>>,
    beside: Mutex<HashMap<String, Arc<Shared<Beside>>>>,
}

impl Listings {
    pub fn new(aws: Arc<Aws>) -> Self {
        Self { aws, regions: Mutex::default(), beside: Mutex::default() }
    }

    /// What is there in `region`, as it is now or will be in a moment, never as it was.
    ///
    /// # Errors
    /// The region could not be read to its last page.
    pub async fn of(&self, region: &str) -> Result<Arc<Listing>, StepError> {
        let shared = {
            let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(regions.entry(region.to_owned()).or_default())
        };
        shared.read(async || list(&self.aws, region).await).await
    }

    /// What the audit looks at besides, as it is now.
    ///
    /// # Errors
    /// The vendor has no place in that region. What could not be read is said in the listing.
    pub async fn beside(&self, region: &str) -> Result<Arc<Beside>, StepError> {
        let shared = {
            let mut regions = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(regions.entry(region.to_owned()).or_default())
        };
        shared.read(async || beside::list(&self.aws, region).await).await
    }

    /// Whom a snapshot is shared with: account numbers, or `all`.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn shares(&self, snapshot: &Resource) -> Result<Vec<String>, StepError> {
        beside::shares(&self.aws, snapshot).await
    }
}

/// Reads every page of one describe call.
macro_rules! pages {
    ($listing:expr, $region:expr, $name:literal, $call:expr, $list:ident, $resource:expr) => {{
        let mut marker: Option<String> = None;
        loop {
            let tried = format!("{} in {}", $name, $region);
            let output = $call
                .max_records(100)
                .set_marker(marker)
                .send()
                .await
                .map_err(|error| StepError::from(failure(&tried, &error)))?;
            *$listing.pages.entry(format!("{}/{}", $region, $name)).or_default() += 1;
            $listing.resources.extend(output.$list.unwrap_or_default().iter().map(|found| $resource($region, found)));
            marker = output.marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                break;
            }
        }
    }};
}

async fn list(aws: &Aws, region: &str) -> Result<Listing, StepError> {
    let rds = aws.rds(region).await?;
    let mut listing = Listing::default();
    pages!(listing, region, "DescribeDBInstances", rds.describe_db_instances(), db_instances, instance);
    pages!(listing, region, "DescribeDBClusters", rds.describe_db_clusters(), db_clusters, cluster);
    pages!(listing, region, "DescribeDBSnapshots", rds.describe_db_snapshots(), db_snapshots, snapshot);
    pages!(
        listing,
        region,
        "DescribeDBClusterSnapshots",
        rds.describe_db_cluster_snapshots(),
        db_cluster_snapshots,
        cluster_snapshot
    );
    pages!(
        listing,
        region,
        "DescribeDBInstanceAutomatedBackups",
        rds.describe_db_instance_automated_backups(),
        db_instance_automated_backups,
        backup
    );
    pages!(
        listing,
        region,
        "DescribeDBClusterAutomatedBackups",
        rds.describe_db_cluster_automated_backups(),
        db_cluster_automated_backups,
        cluster_backup
    );
    Ok(listing)
}

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// An instant of AWS's as ours.
pub fn time(at: Option<&aws_sdk_rds::primitives::DateTime>) -> Option<DateTime<Utc>> {
    at.and_then(|at| DateTime::from_timestamp(at.secs(), at.subsec_nanos()))
}

fn instance(region: &str, found: &DbInstance) -> Resource {
    let secret = found.master_user_secret().and_then(|secret| secret.kms_key_id());
    Resource {
        region: region.to_owned(),
        kind: Kind::Instance,
        id: owned(found.db_instance_identifier()),
        arn: owned(found.db_instance_arn()),
        resource_id: owned(found.dbi_resource_id()),
        status: owned(found.db_instance_status()),
        encrypted: found.storage_encrypted().unwrap_or_default(),
        key: found.kms_key_id().map(str::to_owned),
        part_keys: parts([
            ("performance-insights", found.performance_insights_kms_key_id()),
            ("master-user-secret", secret),
            ("activity-stream", found.activity_stream_kms_key_id()),
        ]),
        automated: false,
        instance: None,
        derived_from: found.read_replica_source_db_instance_identifier().map(str::to_owned),
        taken_at: time(found.instance_create_time()),
        size_gb: found.allocated_storage(),
        related: related(found),
        tags: tags::of_instance(found),
    }
}

fn related(found: &DbInstance) -> Vec<String> {
    let replicas = found.read_replica_db_instance_identifiers().iter().cloned();
    let backups = found.db_instance_automated_backups_replications().iter();
    replicas.chain(backups.filter_map(|backup| backup.db_instance_automated_backups_arn().map(str::to_owned))).collect()
}

fn members(found: &DbCluster) -> impl Iterator<Item = String> {
    found.db_cluster_members().iter().filter_map(|member| member.db_instance_identifier().map(str::to_owned))
}

fn parts<const N: usize>(named: [(&str, Option<&str>); N]) -> BTreeMap<String, String> {
    named.iter().filter_map(|(name, key)| Some(((*name).to_owned(), (*key)?.to_owned()))).collect()
}

fn cluster(region: &str, found: &DbCluster) -> Resource {
    let secret = found.master_user_secret().and_then(|secret| secret.kms_key_id());
    Resource {
        region: region.to_owned(),
        kind: Kind::Cluster,
        id: owned(found.db_cluster_identifier()),
        arn: owned(found.db_cluster_arn()),
        resource_id: owned(found.db_cluster_resource_id()),
        status: owned(found.status()),
        encrypted: found.storage_encrypted().unwrap_or_default(),
        key: found.kms_key_id().map(str::to_owned),
        part_keys: parts([
            ("performance-insights", found.performance_insights_kms_key_id()),
            ("master-user-secret", secret),
            ("activity-stream", found.activity_stream_kms_key_id()),
        ]),
        automated: false,
        instance: None,
        derived_from: found.replication_source_identifier().map(str::to_owned),
        taken_at: time(found.cluster_create_time()),
        size_gb: found.allocated_storage(),
        related: members(found).chain(found.read_replica_identifiers().iter().cloned()).collect(),
        tags: tags::tag_list(found.tag_list()),
    }
}

pub(super) fn snapshot(region: &str, found: &DbSnapshot) -> Resource {
    Resource {
        region: region.to_owned(),
        kind: Kind::Snapshot,
        id: owned(found.db_snapshot_identifier()),
        arn: owned(found.db_snapshot_arn()),
        resource_id: owned(found.dbi_resource_id()),
        status: owned(found.status()),
        encrypted: found.encrypted().unwrap_or_default(),
        key: found.kms_key_id().map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: found.snapshot_type() == Some("automated"),
        instance: None,
        derived_from: found.source_db_snapshot_identifier().map(str::to_owned),
        taken_at: time(found.original_snapshot_create_time().or(found.snapshot_create_time())),
        size_gb: found.allocated_storage(),
        related: Vec::new(),
        tags: tags::of_snapshot(found),
    }
}

pub(super) fn cluster_snapshot(region: &str, found: &DbClusterSnapshot) -> Resource {
    Resource {
        region: region.to_owned(),
        kind: Kind::ClusterSnapshot,
        id: owned(found.db_cluster_snapshot_identifier()),
        arn: owned(found.db_cluster_snapshot_arn()),
        resource_id: owned(found.db_cluster_resource_id()),
        status: owned(found.status()),
        encrypted: found.storage_encrypted().unwrap_or_default(),
        key: found.kms_key_id().map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: found.snapshot_type() == Some("automated"),
        instance: None,
        derived_from: found.source_db_cluster_snapshot_arn().map(str::to_owned),
        taken_at: time(found.snapshot_create_time()),
        size_gb: found.allocated_storage(),
        related: Vec::new(),
        tags: tags::tag_list(found.tag_list()),
    }
}

fn backup(region: &str, found: &DbInstanceAutomatedBackup) -> Resource {
    Resource {
        region: region.to_owned(),
        kind: Kind::AutomatedBackup,
        id: owned(found.db_instance_identifier()),
        arn: owned(found.db_instance_automated_backups_arn()),
        resource_id: owned(found.dbi_resource_id()),
        status: owned(found.status()),
        encrypted: found.encrypted().unwrap_or_default(),
        key: found.kms_key_id().map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: true,
        instance: None,
        derived_from: found.db_instance_arn().map(str::to_owned),
        taken_at: time(found.instance_create_time()),
        size_gb: found.allocated_storage(),
        related: Vec::new(),
        tags: tags::tag_list(found.tag_list()),
    }
}

fn cluster_backup(region: &str, found: &DbClusterAutomatedBackup) -> Resource {
    Resource {
        region: region.to_owned(),
        kind: Kind::ClusterAutomatedBackup,
        id: owned(found.db_cluster_identifier()),
        arn: owned(found.db_cluster_automated_backups_arn()),
        resource_id: owned(found.db_cluster_resource_id()),
        status: owned(found.status()),
        encrypted: found.storage_encrypted().unwrap_or_default(),
        key: found.kms_key_id().map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: true,
        instance: None,
        derived_from: found.db_cluster_arn().map(str::to_owned),
        taken_at: time(found.cluster_create_time()),
        size_gb: found.allocated_storage(),
        related: Vec::new(),
        tags: tags::tag_list(found.tag_list()),
    }
}
