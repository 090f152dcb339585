//! Lists what runs that have ended have made for a migration and left: snapshots, copies, systems that never served.
//!
//! Takes nothing. Gives `list`, the hash of what is listed, and `left_overs`, each with the run that made it and whether it may be removed without a purge: only while
//! the system that it was made of is there itself. An original that was replaced is listed and is never one of those: it goes by
//! a purge. Leaves `left-over-list`/hash: the removal reads the list there and nowhere else. Effect: none. Again: what is gone is
//! not listed any more.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Domain;
use crate::{
    systems::{Kind, Resource, Scan, read},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct ListLeftOvers(pub Domain);

#[async_trait]
impl Step for ListLeftOvers {
    fn name(&self) -> &'static str {
        "list-left-overs"
    }

    async fn run(&self, context: &StepContext, _: Value) -> Result<Progress, StepError> {
        let partition = context.partition().await?;
        let scan = self.0.scan(context, &partition, &BTreeSet::new()).await?;
        let mut open = BTreeMap::new();
        let mut left_overs = Vec::new();
        for resource in scan.resources.iter().filter(|resource| passing(resource)) {
            let run = read::run(&resource.tags).unwrap_or_default().to_owned();
            if !open.contains_key(&run) {
                open.insert(run.clone(), context.is_open(&run).await?);
            }
            if open.get(&run) == Some(&false) {
                left_overs.push(row(resource, &run, &scan));
            }
        }
        let (count, hash) = (left_overs.len(), hash(&left_overs));
        let body = json!({ "run": context.run, "left_overs": left_overs });
        let record = Record { collection: LISTS, key: hash.clone(), body };
        Ok(Progress::recorded(json!({ "list": hash, "left_overs": left_overs, "count": count }), vec![record]))
    }
}

/// The collection of the lists; a record's key is the list's hash.
pub(super) const LISTS: &str = "left-over-list";

/// The hash that an approval names: over every word of every row.
pub(super) fn hash(left_overs: &[Value]) -> String {
    // Members are written in the order of their names: the same list gives the same text.
    hex::encode(Sha256::digest(serde_json::to_vec(left_overs).unwrap_or_default()))
}

/// Made for a migration and not to stay.
fn passing(resource: &Resource) -> bool {
    match (resource.kind, read::role(&resource.tags)) {
        (Kind::Snapshot, Some(role)) => SNAPSHOTS.contains(&role) && !resource.automated,
        (Kind::Instance, Some("old")) => true,
        (Kind::Instance, Some("new")) => resource.id.starts_with("byok-"),
        (
            Kind::Instance
            | Kind::Snapshot
            | Kind::Cluster
            | Kind::ClusterSnapshot
            | Kind::AutomatedBackup
            | Kind::ClusterAutomatedBackup,
            _,
        ) => false,
    }
}

/// Roles of snapshots that a migration makes and has to remove again.
pub(super) const SNAPSHOTS: [&str; 5] = ["early", "final", "copy", "recovery-source", "canary-copy"];

fn row(resource: &Resource, run: &str, scan: &Scan) -> Value {
    let is_old = read::role(&resource.tags) == Some("old");
    let source_is_there = scan.resources.iter().any(|other| {
        other.kind == Kind::Instance && other.resource_id == resource.resource_id && other.region == resource.region
    });
    let removable = resource.kind == Kind::Snapshot && source_is_there;
    let why = match (is_old, removable) {
        (true, _) => "the original of a system that was replaced: it goes by a purge",
        (false, true) => "made for a migration; the system that it was made of is there",
        (false, false) => "made for a migration; look at it before it is deleted by hand",
    };
    json!({
        "kind": resource.kind, "id": resource.id, "arn": resource.arn, "region": resource.region,
        "resource_id": resource.resource_id, "key": resource.key, "run": run, "removable": removable, "why": why,
    })
}
