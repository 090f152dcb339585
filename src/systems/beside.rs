//! What a region holds besides what is moved: snapshots of AWS Backup and of other accounts, exports, and shares.
//!
//! The audit alone asks for it. A call that fails here is remembered by its name: the rest of the region was still seen.

use std::collections::BTreeMap;

use aws_sdk_rds::{Client, types::ExportTask};

use super::listing::{Kind, Resource, cluster_snapshot, snapshot};
use crate::{
    aws::{Aws, Failure, failure},
    worker::StepError,
};

/// Types of snapshots that AWS names only when it is asked for each.
const TYPES: [&str; 2] = ["awsbackup", "shared"];

/// An export of a snapshot or cluster to S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub region: String,
    pub id: String,
    /// The snapshot's or cluster's.
    pub source: String,
    pub key: Option<String>,
    pub status: String,
    pub bucket: String,
}

/// All of it in a region, whoever's it is.
#[derive(Debug, Default)]
pub struct Beside {
    /// Snapshots with their type.
    pub snapshots: Vec<(Resource, &'static str)>,
    pub exports: Vec<Export>,
    /// Pages read, by `region/operation`.
    pub pages: BTreeMap<String, u64>,
    /// Calls that failed, by their name.
    pub unread: Vec<(String, StepError)>,
}

pub(super) async fn list(aws: &Aws, region: &str) -> Result<Beside, StepError> {
    let rds = aws.rds(region).await?;
    let mut beside = Beside::default();
    for kind in TYPES {
        if let Err(failure) = snapshots(&rds, region, kind, &mut beside).await {
            beside.unread.push((format!("DescribeDBSnapshots of type {kind}"), failure.into()));
        }
        if let Err(failure) = cluster_snapshots(&rds, region, kind, &mut beside).await {
            beside.unread.push((format!("DescribeDBClusterSnapshots of type {kind}"), failure.into()));
        }
    }
    if let Err(failure) = exports(&rds, region, &mut beside).await {
        beside.unread.push(("DescribeExportTasks".to_owned(), failure.into()));
    }
    Ok(beside)
}

async fn snapshots(rds: &Client, region: &str, kind: &'static str, beside: &mut Beside) -> Result<(), Failure> {
    let mut marker: Option<String> = None;
    loop {
        let call = rds.describe_db_snapshots().snapshot_type(kind).max_records(100).set_marker(marker);
        let output =
            call.send().await.map_err(|error| failure(&format!("list {kind} snapshots in {region}"), &error))?;
        beside.count(region, "DescribeDBSnapshots", kind);
        beside.snapshots.extend(output.db_snapshots().iter().map(|found| (snapshot(region, found), kind)));
        marker = output.marker.filter(|marker| !marker.is_empty());
        if marker.is_none() {
            return Ok(());
        }
    }
}

async fn cluster_snapshots(rds: &Client, region: &str, kind: &'static str, beside: &mut Beside) -> Result<(), Failure> {
    let mut marker: Option<String> = None;
    loop {
        let call = rds.describe_db_cluster_snapshots().snapshot_type(kind).max_records(100).set_marker(marker);
        let output = call
            .send()
            .await
            .map_err(|error| failure(&format!("list {kind} cluster snapshots in {region}"), &error))?;
        beside.count(region, "DescribeDBClusterSnapshots", kind);
        let found = output.db_cluster_snapshots().iter();
        beside.snapshots.extend(found.map(|found| (cluster_snapshot(region, found), kind)));
        marker = output.marker.filter(|marker| !marker.is_empty());
        if marker.is_none() {
            return Ok(());
        }
    }
}

async fn exports(rds: &Client, region: &str, beside: &mut Beside) -> Result<(), Failure> {
    let mut marker: Option<String> = None;
    loop {
        let call = rds.describe_export_tasks().max_records(100).set_marker(marker);
        let output = call.send().await.map_err(|error| failure(&format!("list exports in {region}"), &error))?;
        *beside.pages.entry(format!("{region}/DescribeExportTasks")).or_default() += 1;
        beside.exports.extend(output.export_tasks().iter().map(|found| export(region, found)));
        marker = output.marker.filter(|marker| !marker.is_empty());
        if marker.is_none() {
            return Ok(());
        }
    }
}

fn export(region: &str, found: &ExportTask) -> Export {
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Export {
        region: region.to_owned(),
        id: owned(found.export_task_identifier()),
        source: owned(found.source_arn()),
        key: found.kms_key_id().map(str::to_owned),
        status: owned(found.status()),
        bucket: owned(found.s3_bucket()),
    }
}

impl Beside {
    fn count(&mut self, region: &str, operation: &str, kind: &str) {
        *self.pages.entry(format!("{region}/{operation} ({kind})")).or_default() += 1;
    }
}

pub(super) async fn shares(aws: &Aws, snapshot: &Resource) -> Result<Vec<String>, StepError> {
    let rds = aws.rds(&snapshot.region).await?;
    let (id, tried) = (&snapshot.id, format!("look whom snapshot {} is shared with", snapshot.id));
    // The two families of calls answer with types of their own.
    let attributes: Vec<(Option<String>, Vec<String>)> = if snapshot.kind == Kind::ClusterSnapshot {
        let call = rds.describe_db_cluster_snapshot_attributes().db_cluster_snapshot_identifier(id);
        let output = call.send().await.map_err(|error| failure(&tried, &error))?;
        let found =
            output.db_cluster_snapshot_attributes_result.and_then(|result| result.db_cluster_snapshot_attributes);
        let each = |found: aws_sdk_rds::types::DbClusterSnapshotAttribute| {
            (found.attribute_name, found.attribute_values.unwrap_or_default())
        };
        found.unwrap_or_default().into_iter().map(each).collect()
    } else {
        let call = rds.describe_db_snapshot_attributes().db_snapshot_identifier(id);
        let output = call.send().await.map_err(|error| failure(&tried, &error))?;
        let found = output.db_snapshot_attributes_result.and_then(|result| result.db_snapshot_attributes);
        let each = |found: aws_sdk_rds::types::DbSnapshotAttribute| {
            (found.attribute_name, found.attribute_values.unwrap_or_default())
        };
        found.unwrap_or_default().into_iter().map(each).collect()
    };
    let restore = attributes.into_iter().filter(|(name, _)| name.as_deref() == Some("restore"));
    Ok(restore.flat_map(|(_, accounts)| accounts).collect())
}
