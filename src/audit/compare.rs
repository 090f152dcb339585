//! One resource against the key that it has to be under, its state, and who else may restore it.

use super::{
    Finding, Request,
    cures::{self, Wrong},
    report::Row,
};
use crate::systems::{Export, Kind, Readiness, Resource, read, readiness};

/// Roles of what a migration makes and has to remove again.
const PASSING: [&str; 6] = ["old", "early", "final", "copy", "recovery-source", "canary-copy"];

/// Every resource of the enterprise, compared. This run's own canary copies are none of them: they are on their way out.
pub(super) fn rows(request: &Request<'_>) -> Vec<Row> {
    let own_canary = |resource: &Resource| {
        read::role(&resource.tags) == Some("canary-copy") && read::run(&resource.tags) == Some(request.run)
    };
    let compared = request.survey.scan.resources.iter().filter(|resource| !own_canary(resource));
    let mut rows: Vec<Row> = compared.map(|resource| row(resource, request)).collect();
    rows.extend(request.survey.exports.iter().filter_map(|export| under_key(export, request)));
    rows
}

/// What is wrong with a resource, if anything.
struct Judged<'a> {
    finding: Finding,
    expected: Option<&'a str>,
    why: String,
    cure: String,
}

fn row(resource: &Resource, request: &Request<'_>) -> Row {
    let judged = judge(resource, request);
    Row {
        finding: judged.finding,
        kind: kind(resource.kind).to_owned(),
        id: resource.id.clone(),
        arn: Some(resource.arn.clone()),
        region: resource.region.clone(),
        instance: resource.instance.clone(),
        status: Some(resource.status.clone()),
        encrypted: Some(resource.encrypted),
        key: resource.key.clone(),
        expected_key: judged.expected.map(str::to_owned),
        part_keys: resource.part_keys.clone(),
        automated: resource.automated,
        shared_with: request.survey.shares.get(&resource.arn).cloned().unwrap_or_default(),
        why: judged.why,
        cure: judged.cure,
    }
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Instance => "instance",
        Kind::Cluster => "cluster",
        Kind::Snapshot => "snapshot",
        Kind::ClusterSnapshot => "cluster-snapshot",
        Kind::AutomatedBackup => "automated-backup",
        Kind::ClusterAutomatedBackup => "cluster-automated-backup",
    }
}

fn judge<'a>(resource: &Resource, request: &Request<'a>) -> Judged<'a> {
    let instance = resource.instance.clone().or_else(|| instance_of(resource, request)).unwrap_or_default();
    let expected = request.keys.expected(&instance, &resource.region);
    let of = |finding: Finding, why: String, wrong: Wrong<'_>| {
        let cure = cures::of(request, resource, expected, wrong);
        Judged { finding, expected, why, cure }
    };
    if let Some(why) = request.residency.outside(resource, request.homes) {
        return of(Finding::OutsideRegion, why, Wrong::Place);
    }
    let role = read::role(&resource.tags);
    if let Some(role) = role.filter(|role| PASSING.contains(role)) {
        let why = format!("made for a migration (as {role}) or replaced by it, and not purged");
        return of(Finding::LeftOver, why, Wrong::LeftOver);
    }
    if resource.kind == Kind::Instance && role == Some("new") && resource.id.starts_with("byok-") {
        let why = "restored for a migration, and it has taken nobody's place".to_owned();
        return of(Finding::LeftOver, why, Wrong::LeftOver);
    }
    let own = expected.is_some_and(|key| resource.key.as_deref() == Some(key));
    if request.originals.contains(&resource.resource_id) && !own && resource.kind != Kind::Instance {
        return of(Finding::LeftOver, "a copy of a system that was replaced".to_owned(), Wrong::LeftOver);
    }
    if !resource.encrypted {
        return of(
            Finding::NotEncrypted,
            "it is not encrypted".to_owned(),
            expected.map_or(Wrong::Place, |_| Wrong::Key),
        );
    }
    let Some(key) = expected else {
        return of(
            Finding::WrongKey,
            format!("no key of the enterprise is for it in {}", resource.region),
            Wrong::Place,
        );
    };
    if !own {
        let why = format!("it is under {}", resource.key.as_deref().unwrap_or("no key"));
        return of(Finding::WrongKey, why, Wrong::Key);
    }
    if let Some((part, other)) = resource.part_keys.iter().find(|(_, other)| *other != key) {
        return of(Finding::WrongKey, format!("its {part} is under {other}"), Wrong::Part(part));
    }
    if let Some(accounts) = request.survey.shares.get(&resource.arn) {
        let why = format!("it may be restored by {}", accounts.join(", "));
        return of(Finding::Shared, why, Wrong::Shared(accounts));
    }
    if let Some(why) = unusable(resource) {
        return of(Finding::Inaccessible, why, Wrong::State);
    }
    if let Some((finding, probe)) = request.seen.get(key).and_then(super::KeySeen::spoilt) {
        return of(finding, format!("it is under its key, but {}", probe.seen), Wrong::KeyItself);
    }
    Judged { finding: Finding::Match, expected, why: String::new(), cure: String::new() }
}

/// Why a resource cannot be used in its state. A stopped system can be started; one that is changing is on its way.
fn unusable(resource: &Resource) -> Option<String> {
    let status = resource.status.as_str();
    match readiness(status) {
        _ if status == "stopped" => None,
        Readiness::KeyLost(_) => Some(format!("it is {status}: RDS has lost the use of its key")),
        Readiness::Broken(_) => Some(format!("it is {status}, which it does not leave by itself")),
        Readiness::Ready | Readiness::Busy(_) => None,
    }
}

/// A snapshot or backup without the tag is of the instance of the system that it was taken from, and a cluster's member of
/// its cluster's.
fn instance_of(resource: &Resource, request: &Request<'_>) -> Option<String> {
    let system = request.survey.scan.resources.iter().find(|other| {
        matches!(other.kind, Kind::Instance | Kind::Cluster) && other.resource_id == resource.resource_id
    })?;
    system.instance.clone()
}

fn under_key(export: &Export, request: &Request<'_>) -> Option<Row> {
    let key = export.key.clone().filter(|key| request.keys.serves(&export.region, key))?;
    Some(Row {
        finding: Finding::Match,
        kind: "export".to_owned(),
        id: export.id.clone(),
        arn: None,
        region: export.region.clone(),
        instance: None,
        status: Some(export.status.clone()),
        encrypted: Some(true),
        expected_key: Some(key.clone()),
        key: Some(key),
        part_keys: std::collections::BTreeMap::new(),
        automated: false,
        shared_with: Vec::new(),
        why: String::new(),
        cure: String::new(),
    })
}
