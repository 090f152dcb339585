//! What has to be there and is not.

use std::collections::BTreeMap;

use super::{Expected, Finding, Request, compare::kind, report::Row};
use crate::systems::{Kind, Recovery, short_name};

/// A row for each expected system, and each expected copy of one, that is not there. Nothing is missing in a region that could
/// not be read: that is a doubt.
pub(super) fn rows(request: &Request<'_>) -> Vec<Row> {
    let all = &request.survey.scan.resources;
    let read_whole = |region: &str| request.survey.unread.iter().all(|unread| unread.region != region);
    let mut rows = Vec::new();
    for system in request.expected {
        let there = all
            .iter()
            .any(|found| found.kind == Kind::Instance && found.id == system.id && found.region == system.region);
        if !there && read_whole(&system.region) {
            let why = format!("the system {} is not there", system.id);
            let cure = "restore it from its last backup; or, if it was given up, a further run takes stock without it"
                .to_owned();
            rows.push(row(request, system, Kind::Instance, &system.region, why, cure));
        }
        if !system.recovery {
            continue;
        }
        match request.residency.recovery_of(&system.region) {
            Recovery::In(away) if !copied(request, system, away) && read_whole(away) => {
                let why = format!("no copy of {} for disaster recovery", system.id);
                rows.push(row(request, system, Kind::Snapshot, away, why, copy_to(request, system, away)));
            }
            Recovery::Unstated => {
                let why = format!("no copy of {}: no recovery region is stated for {}", system.id, system.region);
                let cure = format!(
                    "a further run, whose form regions states it: keyferry run start {} --workflow customer-managed",
                    request.enterprise
                );
                rows.push(row(request, system, Kind::Snapshot, &system.region, why, cure));
            }
            Recovery::In(_) | Recovery::Nowhere => {}
        }
    }
    rows
}

fn copy_to(request: &Request<'_>, system: &Expected, away: &str) -> String {
    format!(
        "aws rds copy-db-snapshot of its last snapshot to {away} under {}, with the tags keyferry:role=recovery, \
         keyferry:original={} and {}={}",
        request.keys.expected(&system.instance, away).unwrap_or("the region's key"),
        system.id,
        request.place.enterprise_tag,
        request.enterprise
    )
}

/// Whether something is there that `system` can be recovered from in `away`: its copy, or a replica of it.
fn copied(request: &Request<'_>, system: &Expected, away: &str) -> bool {
    request.survey.scan.resources.iter().any(|found| match found.kind {
        Kind::Snapshot => request.residency.recovers(found, request.homes, (&system.id, &system.region)),
        Kind::Instance => {
            found.region == away
                && found.derived_from.as_deref().map(short_name) == Some(&system.id)
                && request.homes.of(found) == system.region
        }
        Kind::Cluster | Kind::ClusterSnapshot | Kind::AutomatedBackup | Kind::ClusterAutomatedBackup => false,
    })
}

fn row(request: &Request<'_>, system: &Expected, what: Kind, region: &str, why: String, cure: String) -> Row {
    Row {
        finding: Finding::Missing,
        kind: kind(what).to_owned(),
        id: system.id.clone(),
        arn: None,
        region: region.to_owned(),
        instance: Some(system.instance.clone()),
        status: None,
        encrypted: None,
        key: None,
        expected_key: request.keys.expected(&system.instance, region).map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: false,
        shared_with: Vec::new(),
        why,
        cure,
    }
}
