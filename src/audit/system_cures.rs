//! The act that ends a deviation of what runs: of a cluster, of a part of a system, of a state.

use super::{
    Request,
    command::{cure, tags, until_available},
    cures::{own_tags, run},
};
use crate::{
    shell::quoted,
    systems::{Kind, Resource},
};

/// The cluster that an instance is a member of.
pub(super) fn cluster_of<'a>(request: &Request<'a>, member: &Resource) -> Option<&'a Resource> {
    request.survey.scan.resources.iter().find(|other| {
        other.kind == Kind::Cluster && other.region == member.region && other.related.contains(&member.id)
    })
}

/// What describes a member of a cluster or the cluster itself, as a word of another command.
fn asked(call: &str, query: &str) -> String {
    format!("\"$(aws rds {call} --query '{query}' --output text)\"")
}

/// keyferry does not migrate clusters: the way by hand, which ends with the new cluster under the old name. The old one is
/// kept, under another name, until a person has seen that it is not needed.
pub(super) fn cluster(request: &Request<'_>, cluster: &Resource, expected: Option<&str>) -> String {
    if let Some(successor) = successor(request, cluster, expected) {
        return replaced(cluster, successor);
    }
    let (id, region, key) = (&cluster.id, &cluster.region, expected.unwrap_or("KEY"));
    let instance = cluster.instance.as_deref().unwrap_or("production");
    let own = own_tags(request, instance);
    let described = format!("describe-db-clusters --region {region} --db-cluster-identifier {id}");
    let member = format!("describe-db-instances --region {region} --filters Name=db-cluster-id,Values={id}");
    let engine = asked(&described, "DBClusters[0].Engine");
    let class = asked(&member, "DBInstances[0].DBInstanceClass");
    let named = "--db-cluster-identifier";
    let wait = |id: &str| until_available(Kind::Cluster, region, id);
    cure(
        &format!(
            "keyferry does not migrate clusters: by hand, in a window in which nobody writes. Give {id}-rekeyed the groups and \
             settings of {id} besides, and audit again: {id}-old and the snapshot {id}-rekey are named with what ends them"
        ),
        &[
            format!(
                "aws rds create-db-cluster-snapshot --region {region} {named} {id} --db-cluster-snapshot-identifier {id}-rekey {own}"
            ),
            until_available(Kind::ClusterSnapshot, region, &format!("{id}-rekey")),
            format!(
                "aws rds restore-db-cluster-from-snapshot --region {region} {named} {id}-rekeyed --snapshot-identifier {id}-rekey \
                 --engine {engine} --kms-key-id {key} {own}"
            ),
            wait(&format!("{id}-rekeyed")),
            format!(
                "aws rds create-db-instance --region {region} {named} {id}-rekeyed --db-instance-identifier {id}-rekeyed-1 \
                 --engine {engine} --db-instance-class {class} {own}"
            ),
            until_available(Kind::Instance, region, &format!("{id}-rekeyed-1")),
            format!(
                "aws rds modify-db-cluster --region {region} {named} {id} --new-db-cluster-identifier {id}-old --apply-immediately"
            ),
            wait(&format!("{id}-old")),
            format!(
                "aws rds modify-db-cluster --region {region} {named} {id}-rekeyed --new-db-cluster-identifier {id} --apply-immediately"
            ),
            wait(id),
        ],
    )
}

const PUT_ASIDE: &str = "-old";

/// The cluster under the key that bears the name which this one had before it was put aside by the commands above.
fn successor<'a>(request: &Request<'a>, cluster: &Resource, expected: Option<&str>) -> Option<&'a Resource> {
    let name = cluster.id.strip_suffix(PUT_ASIDE)?;
    request.survey.scan.resources.iter().find(|other| {
        other.kind == Kind::Cluster
            && other.region == cluster.region
            && other.id == name
            && other.key.is_some()
            && other.key.as_deref() == expected
    })
}

fn replaced(cluster: &Resource, successor: &Resource) -> String {
    let region = &cluster.region;
    let mut commands: Vec<String> = cluster
        .related
        .iter()
        .filter(|member| !member.starts_with("arn:"))
        .map(|member| format!("aws rds delete-db-instance --region {region} --db-instance-identifier {member}"))
        .collect();
    commands.push(format!(
        "aws rds delete-db-cluster --region {region} --db-cluster-identifier {} --skip-final-snapshot --delete-automated-backups",
        cluster.id
    ));
    let words = format!(
        "{} bears the name that it had: when a person has seen that everything is there and nobody needs this one any more",
        successor.id
    );
    cure(&words, &commands)
}

/// Storage that is under the right key is migrated again for a part of it: a part's key is set when the part is made.
pub(super) fn part(request: &Request<'_>, resource: &Resource, part: &str, expected: Option<&str>) -> String {
    let key = expected.unwrap_or("KEY");
    match (part, resource.kind) {
        ("activity-stream", _) => activity_stream(resource, key),
        ("master-user-secret", _) => master_secret(resource, key),
        (_, Kind::Instance) => match cluster_of(request, resource) {
            Some(cluster) => member(request, resource, cluster, key),
            None => cure(&format!("a migration, which makes its {part} anew under the key"), &[run(request)]),
        },
        (_, _) => format!(
            "each of its members whose {part} are under another key is a deviation of its own, which says what to do"
        ),
    }
}

fn activity_stream(resource: &Resource, key: &str) -> String {
    let (region, arn) = (&resource.region, &resource.arn);
    let family = family(resource.kind);
    let state = format!("aws rds describe-db-{family}s --region {region} --db-{family}-identifier {}", resource.id);
    let path = if resource.kind == Kind::Cluster { "DBClusters" } else { "DBInstances" };
    cure(
        "start the stream again under the key; its consumers read another stream then",
        &[
            format!("aws rds stop-activity-stream --region {region} --resource-arn {arn} --apply-immediately"),
            format!(
                "until [ \"$({state} --query '{path}[0].ActivityStreamStatus' --output text)\" = stopped ]; do sleep 30; done"
            ),
            format!(
                "aws rds start-activity-stream --region {region} --resource-arn {arn} --mode async --kms-key-id {key} --apply-immediately"
            ),
        ],
    )
}

/// Between the two changes the password is one that nobody knows.
fn master_secret(resource: &Resource, key: &str) -> String {
    let (family, region, id) = (family(resource.kind), &resource.region, &resource.id);
    let change = format!("aws rds modify-db-{family} --region {region} --db-{family}-identifier {id}");
    let wait = until_available(resource.kind, region, id);
    cure(
        "the key of a secret cannot be changed while RDS manages the password: end that and begin it again. The secret's ARN \
         changes: whoever reads the password there has to be told",
        &[
            format!(
                "{change} --no-manage-master-user-password --master-user-password \"$(openssl rand -hex 16)\" --apply-immediately"
            ),
            "sleep 60".to_owned(),
            wait.clone(),
            format!("{change} --manage-master-user-password --master-user-secret-kms-key-id {key} --apply-immediately"),
            "sleep 60".to_owned(),
            wait,
        ],
    )
}

/// A cluster's member keeps the key of its Performance Insights: another member takes its place.
fn member(request: &Request<'_>, member: &Resource, cluster: &Resource, key: &str) -> String {
    let (id, region) = (&member.id, &member.region);
    let own = own_tags(request, member.instance.as_deref().unwrap_or("production"));
    let described = format!("describe-db-instances --region {region} --db-instance-identifier {id}");
    let (engine, class) =
        (asked(&described, "DBInstances[0].Engine"), asked(&described, "DBInstances[0].DBInstanceClass"));
    let wait = until_available(Kind::Instance, region, &format!("{id}-rekeyed"));
    cure(
        "a member keeps the key of its Performance Insights: make another, and let it take over before the old one goes",
        &[
            format!(
                "aws rds create-db-instance --region {region} --db-cluster-identifier {} --db-instance-identifier {id}-rekeyed \
                 --engine {engine} --db-instance-class {class} --enable-performance-insights --performance-insights-kms-key-id {key} {own}",
                cluster.id
            ),
            format!("{wait} && aws rds delete-db-instance --region {region} --db-instance-identifier {id}"),
        ],
    )
}

pub(super) fn state(request: &Request<'_>, resource: &Resource) -> String {
    let (family, region, id) = (family(resource.kind), &resource.region, quoted(&resource.id));
    let system = format!("--region {region} --db-{family}-identifier {id}");
    match resource.status.as_str() {
        "inaccessible-encryption-credentials-recoverable" => {
            let cluster = cluster_of(request, resource);
            let start = match cluster {
                Some(cluster) => {
                    format!("aws rds start-db-cluster --region {region} --db-cluster-identifier {}", cluster.id)
                }
                None => format!("aws rds start-db-{family} {system}"),
            };
            cure("make its key usable again within 7 days of the loss, then start it", &[start])
        }
        "inaccessible-encryption-credentials" if resource.kind == Kind::Instance => cure(
            "it does not come back, and its name is free only when it is gone. Make its key usable again; if a backup of it is \
             there, it is deleted and restored from that",
            &lost_for_ever(request, resource),
        ),
        "inaccessible-encryption-credentials" => {
            "it does not come back: make its key usable again and restore it from its last backup".to_owned()
        }
        status => cure(
            &format!(
                "what AWS says of '{status}' \
                 (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html), and RDS of this one"
            ),
            &[events(resource), format!("keyferry audit run {}", request.enterprise)],
        ),
    }
}

/// What RDS has said of a resource in the last two weeks.
fn events(resource: &Resource) -> String {
    let source = match resource.kind {
        Kind::Cluster | Kind::ClusterAutomatedBackup => "db-cluster",
        Kind::Snapshot => "db-snapshot",
        Kind::ClusterSnapshot => "db-cluster-snapshot",
        Kind::Instance | Kind::AutomatedBackup => "db-instance",
    };
    format!(
        "aws rds describe-events --region {} --source-type {source} --source-identifier {} --duration 20160",
        resource.region,
        quoted(&resource.id)
    )
}

fn lost_for_ever(request: &Request<'_>, system: &Resource) -> Vec<String> {
    let (id, region) = (&system.id, &system.region);
    let own = own_tags(request, system.instance.as_deref().unwrap_or("production"));
    let named = format!("--region {region} --db-instance-identifier {id}");
    let whole =
        asked(&format!("describe-db-snapshots {named}"), "DBSnapshots[?Status==`available`].DBSnapshotIdentifier");
    vec![
        // Whoever gives all lines at once deletes nothing without a backup.
        format!(
            "test -n {whole} && aws rds delete-db-instance {named} --skip-final-snapshot --no-delete-automated-backups"
        ),
        format!("aws rds wait db-instance-deleted {named}"),
        restore(region, id, &own),
    ]
}

/// A restore of the last snapshot of a system that is gone, under its name.
pub(super) fn restore(region: &str, id: &str, own: &str) -> String {
    let last = asked(
        &format!("describe-db-snapshots --region {region} --db-instance-identifier {id}"),
        "sort_by(DBSnapshots, &SnapshotCreateTime)[-1].DBSnapshotIdentifier",
    );
    format!(
        "aws rds restore-db-instance-from-db-snapshot --region {region} --db-instance-identifier {id} --db-snapshot-identifier {last} {own}"
    )
}

/// A copy of a system's data for disaster recovery, as a run makes it.
pub(super) fn copy_away(request: &Request<'_>, (id, region, away): (&str, &str, &str), key: &str) -> Vec<String> {
    let name = format!("{id}-for-recovery-{}", request.generated_at.format("%Y%m%d%H%M"));
    let (enterprise_tag, enterprise) = (request.place.enterprise_tag, request.enterprise);
    let place = request.place;
    let arn = format!("arn:{}:rds:{region}:{}:snapshot:{name}", place.partition, place.account);
    let marked = tags(&[(enterprise_tag, enterprise), ("keyferry:role", "recovery"), ("keyferry:original", id)]);
    let waits = |region: &str| until_available(Kind::Snapshot, region, &name);
    vec![
        format!(
            "aws rds create-db-snapshot --region {region} --db-instance-identifier {id} --db-snapshot-identifier {name} {}",
            tags(&[(enterprise_tag, enterprise)])
        ),
        waits(region),
        format!(
            "aws rds copy-db-snapshot --region {away} --source-region {region} --source-db-snapshot-identifier {arn} \
             --target-db-snapshot-identifier {name} --kms-key-id {key} {marked}"
        ),
        waits(away),
    ]
}

fn family(kind: Kind) -> &'static str {
    if kind == Kind::Cluster { "cluster" } else { "instance" }
}
