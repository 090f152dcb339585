//! The run or act that ends a deviation.

use super::Request;
use crate::{
    keys::Custody,
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
        Wrong::LeftOver => left_over(request, resource),
        Wrong::Key => under_the_key(request, resource, expected),
        Wrong::Place => format!(
            "{} names the region too, with a key in it; or move the data and delete {} there",
            run(request),
            resource.id
        ),
        Wrong::Part(part) => part_under_the_key(request, resource, part, expected),
        Wrong::Shared(accounts) => unshare(resource, accounts),
        Wrong::State => state(request, resource),
        Wrong::KeyItself => "the deviation of its key says what to do".to_owned(),
    }
}

/// A further run of the enterprise's own kind. What is under its key already, it leaves alone.
fn run(request: &Request<'_>) -> String {
    let vendor = request.seen.values().any(|seen| seen.custody == Custody::Vendor);
    let workflow = if vendor { "vendor-managed" } else { "customer-managed" };
    format!("keyferry run start {} --workflow {workflow}", request.enterprise)
}

fn left_over(request: &Request<'_>, resource: &Resource) -> String {
    match read::run(&resource.tags) {
        Some(made) => format!("the purge of the run {made}, or of a further one: {}", run(request)),
        None => format!("the purge of a further run: {}", run(request)),
    }
}

fn under_the_key(request: &Request<'_>, resource: &Resource, expected: Option<&str>) -> String {
    let (id, region) = (&resource.id, &resource.region);
    let key = expected.unwrap_or("KEY");
    match resource.kind {
        Kind::Instance => format!("a migration: {}", run(request)),
        Kind::Cluster => format!(
            "a migration by hand: aws rds create-db-cluster-snapshot, aws rds restore-db-cluster-from-snapshot --kms-key-id {key} \
             in {region}, swap the names of {id} and the new cluster, then audit again"
        ),
        Kind::Snapshot | Kind::ClusterSnapshot if resource.automated => {
            format!("it goes when its retention is over; a migration of its system ends it at once: {}", run(request))
        }
        Kind::Snapshot => format!(
            "a copy under the key: aws rds copy-db-snapshot --region {region} --source-db-snapshot-identifier {id} \
             --target-db-snapshot-identifier NAME --kms-key-id {key} --copy-tags; delete {id} when the copy is available"
        ),
        Kind::ClusterSnapshot => format!(
            "a copy under the key: aws rds copy-db-cluster-snapshot --region {region} --source-db-cluster-snapshot-identifier {id} \
             --target-db-cluster-snapshot-identifier NAME --kms-key-id {key} --copy-tags; delete {id} when the copy is available"
        ),
        Kind::AutomatedBackup => format!(
            "when nobody needs it: aws rds delete-db-instance-automated-backup --region {region} --db-instance-automated-backups-arn {}",
            resource.arn
        ),
        Kind::ClusterAutomatedBackup => format!(
            "when nobody needs it: aws rds delete-db-cluster-automated-backup --region {region} --db-cluster-resource-id {}",
            resource.resource_id
        ),
    }
}

/// Storage that is under the right key is migrated again for a part of it: a part's key is set when the part is made.
fn part_under_the_key(request: &Request<'_>, resource: &Resource, part: &str, expected: Option<&str>) -> String {
    let (region, key) = (&resource.region, expected.unwrap_or("KEY"));
    match (part, resource.kind) {
        ("activity-stream", _) => format!(
            "aws rds stop-activity-stream --region {region} --resource-arn {0} --apply-immediately, then aws rds \
             start-activity-stream --region {region} --resource-arn {0} --mode async --kms-key-id {key} --apply-immediately",
            resource.arn
        ),
        ("master-user-secret", kind) => format!(
            "the secret's key cannot be changed while RDS manages the password: aws rds modify-db-{0} --region {region} \
             --db-{0}-identifier {1} --no-manage-master-user-password --master-user-password … --apply-immediately, then \
             --manage-master-user-password --master-user-secret-kms-key-id {key}; the secret's ARN changes",
            family(kind),
            resource.id
        ),
        (_, Kind::Instance) => format!("a migration, which makes its {part} anew under the key: {}", run(request)),
        (_, _) => format!("a migration by hand, which makes its {part} anew under {key}; then audit again"),
    }
}

fn unshare(resource: &Resource, accounts: &[String]) -> String {
    let cluster = if resource.kind == Kind::ClusterSnapshot { "cluster-" } else { "" };
    format!(
        "aws rds modify-db-{cluster}snapshot-attribute --region {} --db-{cluster}snapshot-identifier {} --attribute-name restore \
         --values-to-remove {}",
        resource.region,
        resource.id,
        accounts.join(" ")
    )
}

fn state(request: &Request<'_>, resource: &Resource) -> String {
    match resource.status.as_str() {
        "inaccessible-encryption-credentials-recoverable" => format!(
            "make its key usable again within 7 days of the loss, then: aws rds start-db-{} --region {} --db-{}-identifier {}",
            family(resource.kind),
            resource.region,
            family(resource.kind),
            resource.id
        ),
        "inaccessible-encryption-credentials" => {
            "it does not come back: make its key usable again and restore it from its last backup".to_owned()
        }
        _ => format!(
            "what AWS says of this state (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html), then \
             keyferry audit run {}",
            request.enterprise
        ),
    }
}

fn family(kind: Kind) -> &'static str {
    if kind == Kind::Cluster { "cluster" } else { "instance" }
}
