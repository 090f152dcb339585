//! What has to be there and is not.

use std::collections::BTreeMap;

use super::{
    Expected, Finding, Request,
    command::{cure, or},
    compare::kind,
    cures::{own_tags, run},
    report::Row,
    system_cures::{copy_away, restore},
};
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
            let cure = gone(request, system);
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
                let cure = cure("a further run, whose form regions states it", &[run(request)]);
                rows.push(row(request, system, Kind::Snapshot, &system.region, why, cure));
            }
            Recovery::In(_) | Recovery::Nowhere => {}
        }
    }
    rows
}

fn gone(request: &Request<'_>, system: &Expected) -> String {
    let (id, region) = (&system.id, &system.region);
    let restored = cure(
        "if it still bears another name, rename it; else restore its last snapshot",
        &[restore(region, id, &own_tags(request, &system.instance))],
    );
    or(restored, "if it was given up, a further run, which takes stock without it", &[run(request)])
}

fn copy_to(request: &Request<'_>, system: &Expected, away: &str) -> String {
    let Some(key) = request.keys.expected(&system.instance, away) else {
        return cure(&format!("there is no key in {away} yet: a further run asks for one"), &[run(request)]);
    };
    cure("make it", &copy_away(request, (&system.id, &system.region, away), key))
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
