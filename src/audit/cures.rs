//! The run or act that ends a deviation of a resource.

use super::{
    Request,
    command::{cure, free_name, infix, or, tags, until_available},
    system_cures,
};
use crate::{
    keys::Custody,
    shell::quoted,
    systems::{Kind, Resource, read},
};

/// What is wrong with a resource.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wrong<'a> {
    LeftOver,
    Key,
    /// It is where none of the keys is.
    Place,
    Part(&'a str),
    Shared(&'a [String]),
    State,
    KeyItself,
}

pub(super) fn of(request: &Request<'_>, resource: &Resource, expected: Option<&str>, wrong: Wrong<'_>) -> String {
    match wrong {
        Wrong::LeftOver => left_over(request, resource, expected),
        Wrong::Key => under_the_key(request, resource, expected),
        Wrong::Place => place(request, resource),
        Wrong::Part(part) => system_cures::part(request, resource, part, expected),
        Wrong::Shared(accounts) => unshare(resource, accounts),
        Wrong::State => system_cures::state(request, resource),
        Wrong::KeyItself => "the deviation of its key says what to do".to_owned(),
    }
}

/// A further run of the enterprise's own kind. What is under its key already, it leaves alone.
pub(super) fn run(request: &Request<'_>) -> String {
    let vendor = request.seen.values().any(|seen| seen.custody == Custody::Vendor);
    let workflow = if vendor { "vendor-managed" } else { "customer-managed" };
    format!("keyferry run start {} --workflow {workflow}", request.enterprise)
}

/// The instance or cluster that a snapshot or backup was taken from, while it is there.
fn source<'a>(request: &Request<'a>, resource: &Resource) -> Option<&'a Resource> {
    request.survey.scan.resources.iter().find(|other| {
        matches!(other.kind, Kind::Instance | Kind::Cluster)
            && other.resource_id == resource.resource_id
            && other.region == resource.region
    })
}

fn is_aside(resource: &Resource) -> bool {
    read::role(&resource.tags) == Some("old")
}

fn left_over(request: &Request<'_>, resource: &Resource, expected: Option<&str>) -> String {
    let made = read::run(&resource.tags).map_or_else(String::new, |run| format!(" of the run {run}, or"));
    let purge = cure(&format!("the purge{made} of a further run"), &[run(request)]);
    match (resource.kind, read::role(&resource.tags)) {
        (Kind::Snapshot, Some("canary-copy")) => cure("it holds nobody's data", &[delete_snapshot(resource)]),
        (Kind::Instance, Some("new")) => never_served(request, resource),
        (Kind::Snapshot, Some(_)) if source(request, resource).is_some_and(|source| !is_aside(source)) => {
            let start = format!("keyferry run start {} --workflow left-overs", request.enterprise);
            cure("the system that it was made of is there, so that it can go", &[start])
        }
        (Kind::Snapshot, _) if !resource.automated => or(
            purge,
            "where the list of that purge names it as kept, a copy under the key in its place",
            &copied(request, resource, expected),
        ),
        (Kind::AutomatedBackup | Kind::ClusterAutomatedBackup, _) => {
            or(purge, "when nobody needs what it holds", &delete_backup(request, resource))
        }
        (Kind::Instance | Kind::Cluster | Kind::Snapshot | Kind::ClusterSnapshot, _) => purge,
    }
}

/// A system that was restored and has taken nobody's place. It goes only while the system that it was made of serves.
fn never_served(request: &Request<'_>, resource: &Resource) -> String {
    let system = format!("--region {} --db-instance-identifier {}", resource.region, resource.id);
    let gone = cure(
        "when the system that it was restored for serves under its own name and no run is open that may still need it",
        &[
            format!("aws rds modify-db-instance {system} --no-deletion-protection --apply-immediately"),
            until_available(Kind::Instance, &resource.region, &resource.id),
            format!("aws rds delete-db-instance {system} --skip-final-snapshot --delete-automated-backups"),
        ],
    );
    or(gone, "when nothing serves in its place, a further run, which says what comes back", &[run(request)])
}

fn under_the_key(request: &Request<'_>, resource: &Resource, expected: Option<&str>) -> String {
    match resource.kind {
        Kind::Instance => match system_cures::cluster_of(request, resource) {
            Some(cluster) => format!("it is a member of the cluster {}, whose deviation says what to do", cluster.id),
            None => cure("a migration", &[run(request)]),
        },
        Kind::Cluster => system_cures::cluster(request, resource, expected),
        Kind::Snapshot | Kind::ClusterSnapshot if resource.automated => automated(request, resource),
        Kind::Snapshot | Kind::ClusterSnapshot if is_of_aws_backup(resource) => cure(
            "RDS lets nobody delete it: make a copy under the key, then delete the recovery point in AWS Backup",
            &copied(request, resource, expected),
        ),
        Kind::Snapshot | Kind::ClusterSnapshot => {
            cure("a copy under the key in its place", &copied(request, resource, expected))
        }
        Kind::AutomatedBackup | Kind::ClusterAutomatedBackup => match source(request, resource) {
            Some(system) => automated_of(request, system),
            None => cure("when nobody needs what it holds", &delete_backup(request, resource)),
        },
    }
}

fn is_of_aws_backup(resource: &Resource) -> bool {
    resource.id.starts_with("awsbackup:")
}

/// RDS alone deletes automated snapshots: with their system, or with its retained backup.
fn automated(request: &Request<'_>, resource: &Resource) -> String {
    match source(request, resource) {
        Some(system) => automated_of(request, system),
        None => {
            "it goes with the automated backup that was retained of its system: when its retention is over, or as that \
                 backup's deviation says"
                .to_owned()
        }
    }
}

/// What RDS makes of a system is under the system's key.
fn automated_of(request: &Request<'_>, system: &Resource) -> String {
    if system.kind == Kind::Cluster {
        return format!("it goes with the cluster {}, whose deviation says what to do", system.id);
    }
    cure(&format!("a migration of {}, whose purge ends it", system.id), &[run(request)])
}

/// A copy of a manual snapshot under the key, then the snapshot goes: a copy that fails is waited for, and nothing is deleted.
fn copied(request: &Request<'_>, resource: &Resource, expected: Option<&str>) -> Vec<String> {
    let (id, region, infix) = (quoted(&resource.id), &resource.region, infix(resource.kind));
    let name = free_name(resource, &request.survey.scan.resources);
    let key = expected.unwrap_or("KEY");
    let wait = until_available(resource.kind, region, &name);
    let mut commands = vec![format!(
        "aws rds copy-db-{infix}snapshot --region {region} --source-db-{infix}snapshot-identifier {id} \
         --target-db-{infix}snapshot-identifier {name} --kms-key-id {key} --copy-tags"
    )];
    commands.push(if is_of_aws_backup(resource) { wait } else { format!("{wait} && {}", delete_snapshot(resource)) });
    commands
}

fn delete_snapshot(resource: &Resource) -> String {
    let infix = infix(resource.kind);
    format!(
        "aws rds delete-db-{infix}snapshot --region {} --db-{infix}snapshot-identifier {}",
        resource.region,
        quoted(&resource.id)
    )
}

/// Backups that are still replicated from another region are not replicated any more before they are deleted.
fn delete_backup(request: &Request<'_>, resource: &Resource) -> Vec<String> {
    let region = &resource.region;
    if resource.kind == Kind::ClusterAutomatedBackup {
        let id = &resource.resource_id;
        return vec![format!(
            "aws rds delete-db-cluster-automated-backup --region {region} --db-cluster-resource-id {id}"
        )];
    }
    let mut commands = Vec::new();
    let origin = resource.derived_from.as_deref().unwrap_or_default();
    let lives = request.survey.scan.resources.iter().any(|other| other.kind == Kind::Instance && other.arn == origin);
    if lives && resource.status != "retained" {
        commands.push(format!(
            "aws rds stop-db-instance-automated-backups-replication --region {region} --source-db-instance-arn {origin}"
        ));
    }
    commands.push(format!(
        "aws rds delete-db-instance-automated-backup --region {region} --db-instance-automated-backups-arn {}",
        resource.arn
    ));
    commands
}

/// Data outside of its regions: a further run's form `regions` allows the place, or the data leaves it.
fn place(request: &Request<'_>, resource: &Resource) -> String {
    let (region, home) = (&resource.region, request.homes.of(resource));
    let runs = matches!(resource.kind, Kind::Instance | Kind::Cluster);
    let statement = if runs || home == region {
        format!("names {region} among the further regions, with a key in it")
    } else {
        format!(
            "allows {region} for data of {home} (also_in), and names it among the further regions if it is none yet"
        )
    };
    let allowed =
        cure(&format!("when it may lie there, a further run whose form regions {statement}"), &[run(request)]);
    match resource.kind {
        Kind::Snapshot | Kind::ClusterSnapshot if !resource.automated && !is_of_aws_backup(resource) => {
            or(allowed, "when it may not and nobody needs what it holds", &[delete_snapshot(resource)])
        }
        Kind::AutomatedBackup | Kind::ClusterAutomatedBackup if source(request, resource).is_none() => {
            or(allowed, "when it may not and nobody needs what it holds", &delete_backup(request, resource))
        }
        Kind::Instance
        | Kind::Cluster
        | Kind::Snapshot
        | Kind::ClusterSnapshot
        | Kind::AutomatedBackup
        | Kind::ClusterAutomatedBackup => {
            format!(
                "{allowed}\nor, when it may not: move what it holds to {}, and then audit again",
                allowed_regions(request, home)
            )
        }
    }
}

fn allowed_regions(request: &Request<'_>, home: &str) -> String {
    let regions = request.residency.allowed(home).join(" or ");
    if regions.is_empty() { request.residency.regions.join(" or ") } else { regions }
}

fn unshare(resource: &Resource, accounts: &[String]) -> String {
    let infix = infix(resource.kind);
    cure(
        "take it back from them, when they are not meant to have it",
        &[format!(
            "aws rds modify-db-{infix}snapshot-attribute --region {} --db-{infix}snapshot-identifier {} --attribute-name restore \
             --values-to-remove {}",
            resource.region,
            quoted(&resource.id),
            accounts.join(" ")
        )],
    )
}

/// The tags that make a resource the enterprise's, for a call that makes one.
pub(super) fn own_tags(request: &Request<'_>, instance: &str) -> String {
    tags(&[(request.place.enterprise_tag, request.enterprise), (request.place.instance_tag, instance)])
}
