//! Everything of an enterprise in RDS, in every region asked for, every page.
//!
//! A resource is the enterprise's when it carries the enterprise's tag, or when it descends from one that does: snapshots
//! and backups often lost their tags, but keep the resource id of what they were taken from. The scan counts its pages and
//! names its calls, so that a report can show that nothing was skipped.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::tags::{self, Tags};
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
    pub tags: Tags,
}

/// What a scan found, in the order of regions, kinds and identifiers.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    pub resources: Vec<Resource>,
    /// Pages read, by `region/operation`.
    pub pages: BTreeMap<String, u64>,
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub enterprise: &'a str,
    pub enterprise_tag: &'a str,
    pub instance_tag: &'a str,
    /// Resource ids of systems that are gone but whose snapshots and backups may not be.
    pub descended_from: &'a BTreeSet<String>,
}

/// Reads every page of one describe call and counts the pages.
macro_rules! pages {
    ($scan:expr, $region:expr, $name:literal, $call:expr, $list:ident, $each:expr) => {{
        let mut marker: Option<String> = None;
        loop {
            let tried = format!("{} in {}", $name, $region);
            let output = $call
                .max_records(100)
                .set_marker(marker)
                .send()
                .await
                .map_err(|error| StepError::from(failure(&tried, &error)))?;
            *$scan.pages.entry(format!("{}/{}", $region, $name)).or_default() += 1;
            output.$list.unwrap_or_default().iter().for_each($each);
            marker = output.marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                break;
            }
        }
    }};
}

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// Scans `regions` in order.
///
/// # Errors
/// A region could not be read to its last page: a scan is whole or it is none.
pub async fn scan(aws: &Aws, regions: &[String], wanted: Wanted<'_>) -> Result<Scan, StepError> {
    let mut scan = Scan::default();
    let mut ancestors = wanted.descended_from.clone();
    for region in regions {
        running(aws, region, &wanted, &mut scan).await?;
    }
    ancestors.extend(scan.resources.iter().map(|resource| resource.resource_id.clone()));
    for region in regions {
        kept(aws, region, &wanted, &ancestors, &mut scan).await?;
    }
    scan.resources.sort_by(|a, b| (&a.region, a.kind, &a.id).cmp(&(&b.region, b.kind, &b.id)));
    Ok(scan)
}

fn tagged(tags: &Tags, wanted: &Wanted<'_>) -> bool {
    tags.get(wanted.enterprise_tag).is_some_and(|value| value == wanted.enterprise)
}

async fn running(aws: &Aws, region: &str, wanted: &Wanted<'_>, scan: &mut Scan) -> Result<(), StepError> {
    let rds = aws.rds(region).await?;
    let mut found = Vec::new();
    pages!(scan, region, "DescribeDBInstances", rds.describe_db_instances(), db_instances, |instance| {
        let tags = tags::of_instance(instance);
        if !tagged(&tags, wanted) {
            return;
        }
        let secret = instance.master_user_secret().and_then(|secret| secret.kms_key_id());
        let parts = [
            ("performance-insights", instance.performance_insights_kms_key_id()),
            ("master-user-secret", secret),
            ("activity-stream", instance.activity_stream_kms_key_id()),
        ];
        found.push(Resource {
            region: region.to_owned(),
            kind: Kind::Instance,
            id: owned(instance.db_instance_identifier()),
            arn: owned(instance.db_instance_arn()),
            resource_id: owned(instance.dbi_resource_id()),
            status: owned(instance.db_instance_status()),
            encrypted: instance.storage_encrypted().unwrap_or_default(),
            key: instance.kms_key_id().map(str::to_owned),
            part_keys: parts.iter().filter_map(|(name, key)| Some(((*name).to_owned(), (*key)?.to_owned()))).collect(),
            automated: false,
            instance: tags.get(wanted.instance_tag).cloned(),
            derived_from: instance.read_replica_source_db_instance_identifier().map(str::to_owned),
            tags,
        });
    });
    pages!(scan, region, "DescribeDBClusters", rds.describe_db_clusters(), db_clusters, |cluster| {
        let tags = tags::tag_list(cluster.tag_list());
        if !tagged(&tags, wanted) {
            return;
        }
        found.push(Resource {
            region: region.to_owned(),
            kind: Kind::Cluster,
            id: owned(cluster.db_cluster_identifier()),
            arn: owned(cluster.db_cluster_arn()),
            resource_id: owned(cluster.db_cluster_resource_id()),
            status: owned(cluster.status()),
            encrypted: cluster.storage_encrypted().unwrap_or_default(),
            key: cluster.kms_key_id().map(str::to_owned),
            part_keys: BTreeMap::new(),
            automated: false,
            instance: tags.get(wanted.instance_tag).cloned(),
            derived_from: cluster.replication_source_identifier().map(str::to_owned),
            tags,
        });
    });
    scan.resources.extend(found);
    Ok(())
}

async fn kept(
    aws: &Aws,
    region: &str,
    wanted: &Wanted<'_>,
    ancestors: &BTreeSet<String>,
    scan: &mut Scan,
) -> Result<(), StepError> {
    let rds = aws.rds(region).await?;
    let mut found = Vec::new();
    let ours = |tags: &Tags, resource_id: &str| tagged(tags, wanted) || ancestors.contains(resource_id);
    pages!(scan, region, "DescribeDBSnapshots", rds.describe_db_snapshots(), db_snapshots, |snapshot| {
        let (tags, resource_id) = (tags::of_snapshot(snapshot), owned(snapshot.dbi_resource_id()));
        if ours(&tags, &resource_id) {
            found.push(Resource {
                region: region.to_owned(),
                kind: Kind::Snapshot,
                id: owned(snapshot.db_snapshot_identifier()),
                arn: owned(snapshot.db_snapshot_arn()),
                resource_id,
                status: owned(snapshot.status()),
                encrypted: snapshot.encrypted().unwrap_or_default(),
                key: snapshot.kms_key_id().map(str::to_owned),
                part_keys: BTreeMap::new(),
                automated: snapshot.snapshot_type() == Some("automated"),
                instance: tags.get(wanted.instance_tag).cloned(),
                derived_from: snapshot.source_db_snapshot_identifier().map(str::to_owned),
                tags,
            });
        }
    });
    pages!(
        scan,
        region,
        "DescribeDBClusterSnapshots",
        rds.describe_db_cluster_snapshots(),
        db_cluster_snapshots,
        |snapshot| {
            let tags = tags::tag_list(snapshot.tag_list());
            let resource_id = owned(snapshot.db_cluster_resource_id());
            if ours(&tags, &resource_id) {
                found.push(Resource {
                    region: region.to_owned(),
                    kind: Kind::ClusterSnapshot,
                    id: owned(snapshot.db_cluster_snapshot_identifier()),
                    arn: owned(snapshot.db_cluster_snapshot_arn()),
                    resource_id,
                    status: owned(snapshot.status()),
                    encrypted: snapshot.storage_encrypted().unwrap_or_default(),
                    key: snapshot.kms_key_id().map(str::to_owned),
                    part_keys: BTreeMap::new(),
                    automated: snapshot.snapshot_type() == Some("automated"),
                    instance: tags.get(wanted.instance_tag).cloned(),
                    derived_from: snapshot.source_db_cluster_snapshot_arn().map(str::to_owned),
                    tags,
                });
            }
        }
    );
    pages!(
        scan,
        region,
        "DescribeDBInstanceAutomatedBackups",
        rds.describe_db_instance_automated_backups(),
        db_instance_automated_backups,
        |backup| {
            let (tags, resource_id) = (tags::tag_list(backup.tag_list()), owned(backup.dbi_resource_id()));
            if ours(&tags, &resource_id) {
                found.push(Resource {
                    region: region.to_owned(),
                    kind: Kind::AutomatedBackup,
                    id: owned(backup.db_instance_identifier()),
                    arn: owned(backup.db_instance_automated_backups_arn()),
                    resource_id,
                    status: owned(backup.status()),
                    encrypted: backup.encrypted().unwrap_or_default(),
                    key: backup.kms_key_id().map(str::to_owned),
                    part_keys: BTreeMap::new(),
                    automated: true,
                    instance: tags.get(wanted.instance_tag).cloned(),
                    derived_from: backup.db_instance_arn().map(str::to_owned),
                    tags,
                });
            }
        }
    );
    pages!(
        scan,
        region,
        "DescribeDBClusterAutomatedBackups",
        rds.describe_db_cluster_automated_backups(),
        db_cluster_automated_backups,
        |backup| {
            let (tags, resource_id) = (tags::tag_list(backup.tag_list()), owned(backup.db_cluster_resource_id()));
            if ours(&tags, &resource_id) {
                found.push(Resource {
                    region: region.to_owned(),
                    kind: Kind::ClusterAutomatedBackup,
                    id: owned(backup.db_cluster_identifier()),
                    arn: owned(backup.db_cluster_automated_backups_arn()),
                    resource_id,
                    status: owned(backup.status()),
                    encrypted: backup.storage_encrypted().unwrap_or_default(),
                    key: backup.kms_key_id().map(str::to_owned),
                    part_keys: BTreeMap::new(),
                    automated: true,
                    instance: tags.get(wanted.instance_tag).cloned(),
                    derived_from: backup.db_cluster_arn().map(str::to_owned),
                    tags,
                });
            }
        }
    );
    scan.resources.extend(found);
    Ok(())
}
