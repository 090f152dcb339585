//! The audit: what there is of an enterprise, against the keys that it has to be under.
//!
//! Pure: a `Scan` and the expectation go in, the report comes out, the same for the same. Deviations
//! come first, because they are what a reader looks for; the scope shows that every region and page was read. The report's
//! schema is published as `docs/audit-report.schema.json`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    keys::KeySet,
    schedule,
    systems::{Homes, Kind, Recovery, Residency, Resource, Scan, read, short_name},
};

/// The report's version: it goes up with every change of its shape.
pub const VERSION: u64 = 3;

/// A system that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub id: String,
    pub region: String,
    pub instance: String,
    /// A copy of it has to be in the recovery region of its home.
    #[serde(default)]
    pub recovery: bool,
}

/// What an audit compares.
#[derive(Debug)]
pub struct Request<'a> {
    pub enterprise: &'a str,
    pub generation: u64,
    pub generated_at: DateTime<Utc>,
    pub keys: &'a KeySet,
    pub expected: &'a [Expected],
    /// Where its data may lie.
    pub residency: &'a Residency,
    pub homes: &'a Homes,
    /// Resource ids of systems that were replaced.
    pub originals: &'a BTreeSet<String>,
    pub scan: &'a Scan,
    /// What is known of the material in the vendor's keys, by ARN.
    pub held: &'a BTreeMap<String, Held>,
}

/// A key of the vendor's with a customer's material.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When the customer has last shown that they have the material.
    pub proven_at: Option<DateTime<Utc>>,
    /// KMS waits for it to be imported again.
    pub gone: bool,
}

/// How a resource compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Match,
    WrongKey,
    NotEncrypted,
    Missing,
    LeftOver,
    /// Data outside of the regions in which it may lie, under whatever key.
    OutsideRegion,
    /// A key that cannot be used until the customer imports its material again.
    MaterialGone,
}

impl Finding {
    fn words(self, count: usize) -> String {
        let (one, many) = match self {
            Self::Match => ("is under its key", "are under their keys"),
            Self::WrongKey => ("is under a wrong key", "are under a wrong key"),
            Self::NotEncrypted => ("is not encrypted", "are not encrypted"),
            Self::Missing => ("is missing", "are missing"),
            Self::LeftOver => ("is left over from before", "are left over from before"),
            Self::OutsideRegion => ("is outside of its allowed regions", "are outside of their allowed regions"),
            Self::MaterialGone => ("has lost its key material", "have lost their key material"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

const ALL: [Finding; 7] = [
    Finding::Match,
    Finding::WrongKey,
    Finding::NotEncrypted,
    Finding::Missing,
    Finding::LeftOver,
    Finding::OutsideRegion,
    Finding::MaterialGone,
];

/// Roles of what a migration makes and has to remove again.
const PASSING: [&str; 6] = ["old", "early", "final", "copy", "recovery-source", "canary-copy"];

/// The report.
pub fn report(request: &Request<'_>) -> Value {
    let mut counts: BTreeMap<Finding, usize> = ALL.into_iter().map(|finding| (finding, 0)).collect();
    let mut deviations = Vec::new();
    let mut resources = Vec::new();
    for resource in &request.scan.resources {
        let (finding, expected, why) = compare(resource, request);
        let row = row(resource, finding, expected, &why);
        if finding != Finding::Match {
            deviations.push(row.clone());
        }
        resources.push(row);
        *counts.entry(finding).or_default() += 1;
    }
    for row in gone(request) {
        *counts.entry(Finding::MaterialGone).or_default() += 1;
        deviations.push(row);
    }
    for row in missing(request) {
        *counts.entry(Finding::Missing).or_default() += 1;
        deviations.push(row);
    }
    let clean = deviations.is_empty();
    let proven_at = |arn: &str| request.held.get(arn).and_then(|held| held.proven_at).map(schedule::text);
    let keys: Vec<Value> = request
        .keys
        .all()
        .into_iter()
        .map(|(region, arn)| json!({ "region": region, "arn": arn, "last_proven_at": proven_at(&arn) }))
        .collect();
    json!({
        "version": VERSION,
        "enterprise": request.enterprise,
        "generation": request.generation,
        "generated_at": schedule::text(request.generated_at),
        "summary": {
            "conclusion": if clean { "compliant" } else { "deviations" },
            "counts": counts,
            "sentences": sentences(request, &counts, clean),
        },
        "deviations": deviations,
        "resources": resources,
        "keys": keys,
        "residency": residency(request.residency),
        "scope": scope(request.scan),
    })
}

fn sentences(request: &Request<'_>, counts: &BTreeMap<Finding, usize>, clean: bool) -> Vec<String> {
    let regions: BTreeSet<&str> = request.scan.pages.keys().filter_map(|page| page.split('/').next()).collect();
    let mut sentences = vec![
        format!(
            "All data stores of {} in {} regions were looked at: {} resources on {} pages.",
            request.enterprise,
            regions.len(),
            request.scan.resources.len(),
            request.scan.pages.values().sum::<u64>()
        ),
        if clean {
            format!("Everything is encrypted under the keys of generation {}.", request.generation)
        } else {
            "Not everything is as it has to be; the deviations are listed first.".to_owned()
        },
    ];
    sentences.extend(
        counts.iter().filter(|(_, count)| **count > 0).map(|(finding, count)| format!("{}.", finding.words(*count))),
    );
    sentences
}

/// Home region to the regions in which its data may lie.
fn residency(residency: &Residency) -> BTreeMap<&str, Vec<&str>> {
    residency.regions.iter().map(|home| (home.as_str(), residency.allowed(home))).collect()
}

fn scope(scan: &Scan) -> Value {
    let split = || scan.pages.keys().filter_map(|page| page.split_once('/'));
    let regions: BTreeSet<&str> = split().map(|(region, _)| region).collect();
    let apis: BTreeSet<&str> = split().map(|(_, api)| api).collect();
    json!({ "regions": regions, "apis": apis, "pages": scan.pages })
}

fn row(resource: &Resource, finding: Finding, expected: Option<&str>, why: &str) -> Value {
    json!({
        "finding": finding,
        "kind": resource.kind,
        "id": resource.id,
        "arn": resource.arn,
        "region": resource.region,
        "instance": resource.instance,
        "status": resource.status,
        "encrypted": resource.encrypted,
        "key": resource.key,
        "expected_key": expected,
        "part_keys": resource.part_keys,
        "automated": resource.automated,
        "why": why,
    })
}

fn compare<'a>(resource: &Resource, request: &Request<'a>) -> (Finding, Option<&'a str>, String) {
    let instance = resource.instance.clone().or_else(|| instance_of(resource, request)).unwrap_or_default();
    let expected = request.keys.expected(&instance, &resource.region);
    if let Some(why) = request.residency.outside(resource, request.homes) {
        return (Finding::OutsideRegion, expected, why);
    }
    let role = read::role(&resource.tags);
    if let Some(role) = role.filter(|role| PASSING.contains(role)) {
        return (
            Finding::LeftOver,
            expected,
            format!("made for a migration (as {role}) or replaced by it, and not purged"),
        );
    }
    if resource.kind == Kind::Instance && role == Some("new") && resource.id.starts_with("byok-") {
        return (Finding::LeftOver, expected, "restored for a migration, and it has taken nobody's place".to_owned());
    }
    let own = expected.is_some_and(|key| resource.key.as_deref() == Some(key));
    if request.originals.contains(&resource.resource_id) && !own && resource.kind != Kind::Instance {
        return (Finding::LeftOver, expected, "a copy of a system that was replaced".to_owned());
    }
    if !resource.encrypted {
        return (Finding::NotEncrypted, expected, "it is not encrypted".to_owned());
    }
    let Some(key) = expected else {
        return (Finding::WrongKey, None, format!("no key of the enterprise is for it in {}", resource.region));
    };
    if !own {
        return (Finding::WrongKey, expected, format!("it is under {}", resource.key.as_deref().unwrap_or("no key")));
    }
    if let Some((part, other)) = resource.part_keys.iter().find(|(_, other)| *other != key) {
        return (Finding::WrongKey, expected, format!("its {part} is under {other}"));
    }
    (Finding::Match, expected, String::new())
}

/// A snapshot or backup without the tag is of the instance of the system that it was taken from.
fn instance_of(resource: &Resource, request: &Request<'_>) -> Option<String> {
    let system = request.scan.resources.iter().find(|other| {
        matches!(other.kind, Kind::Instance | Kind::Cluster) && other.resource_id == resource.resource_id
    })?;
    system.instance.clone()
}

/// One row for each key without its material.
fn gone(request: &Request<'_>) -> Vec<Value> {
    let why = format!(
        "its key material is gone and nothing under it can be read: keyferry run start {} --workflow reimport",
        request.enterprise
    );
    let lost = |arn: &str| request.held.get(arn).is_some_and(|held| held.gone);
    let keys = request.keys.all().into_iter().filter(|(_, arn)| lost(arn));
    keys.map(|(region, arn)| {
        json!({
            "finding": Finding::MaterialGone, "kind": "key", "id": arn, "arn": arn, "region": region, "instance": null,
            "status": "PendingImport", "encrypted": null, "key": arn, "expected_key": arn, "part_keys": {},
            "automated": false, "why": why,
        })
    })
    .collect()
}

/// Whether `found` is what `system` can be recovered from in `away`: its copy, or a replica of it.
fn recovers(found: &Resource, system: &Expected, away: &str, request: &Request<'_>) -> bool {
    match found.kind {
        Kind::Snapshot => request.residency.recovers(found, request.homes, (&system.id, &system.region)),
        Kind::Instance => {
            found.region == away
                && found.derived_from.as_deref().map(short_name) == Some(&system.id)
                && request.homes.of(found) == system.region
        }
        Kind::Cluster | Kind::ClusterSnapshot | Kind::AutomatedBackup | Kind::ClusterAutomatedBackup => false,
    }
}

fn missing(request: &Request<'_>) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut add = |system: &Expected, kind: Kind, region: &str, why: String| {
        rows.push(json!({
            "finding": Finding::Missing, "kind": kind, "id": system.id, "arn": null, "region": region,
            "instance": system.instance, "status": null, "encrypted": null, "key": null,
            "expected_key": request.keys.expected(&system.instance, region), "part_keys": {}, "automated": false, "why": why,
        }));
    };
    let all = &request.scan.resources;
    for system in request.expected {
        if !all
            .iter()
            .any(|found| found.kind == Kind::Instance && found.id == system.id && found.region == system.region)
        {
            add(system, Kind::Instance, &system.region, format!("the system {} is not there", system.id));
        }
        if !system.recovery {
            continue;
        }
        match request.residency.recovery_of(&system.region) {
            Recovery::In(away) if !all.iter().any(|found| recovers(found, system, away, request)) => {
                add(system, Kind::Snapshot, away, format!("no copy of {} for disaster recovery", system.id));
            }
            Recovery::Unstated => {
                let why = format!("no copy of {}: no recovery region is stated for {}", system.id, system.region);
                add(system, Kind::Snapshot, &system.region, why);
            }
            Recovery::In(_) | Recovery::Nowhere => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests;
