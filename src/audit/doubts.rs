//! What an audit could not prove, and what engineers have decided about it.
//!
//! A doubt's id follows from what was seen: a decision holds for that and for nothing else. When the tag of a near miss
//! changes, or a resource's state does, it is another doubt.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::{
    Request, command, keys,
    report::{Decision, Doubt, DoubtKind},
};
use crate::systems::{Export, NearMiss, Unread};

/// States of instances and clusters that AWS documents, and of snapshots, backups and exports. What is in another one is judged
/// by nobody here.
const KNOWN: [&str; 46] = [
    "active",
    "available",
    "backing-up",
    "backtracking",
    "canceled",
    "cloning-failed",
    "copying",
    "creating",
    "delete-precheck",
    "deleting",
    "failed",
    "failing-over",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-create",
    "incompatible-credentials",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "insufficient-capacity",
    "maintenance",
    "migrating",
    "migration-failed",
    "modifying",
    "moving-to-vpc",
    "pending",
    "promoting",
    "preparing-data-migration",
    "rebooting",
    "renaming",
    "replicating",
    "resetting-master-credentials",
    "restore-error",
    "retained",
    "scaling-compute",
    "scaling-storage",
    "starting",
    "stopped",
    "stopping",
    "storage-config-upgrade",
    "storage-full",
    "storage-initialization",
    "storage-optimization",
    "update-iam-db-auth",
    "upgrading",
];

pub(super) fn doubt(
    kind: DoubtKind,
    region: &str,
    arn: Option<&str>,
    why: String,
    cure: String,
    decidable: bool,
) -> Doubt {
    let seen = format!("{kind:?}\n{region}\n{}\n{why}", arn.unwrap_or_default());
    let id: String = hex::encode(Sha256::digest(seen.as_bytes())).chars().take(12).collect();
    let cure = cure.replace("DOUBT", &id);
    Doubt { id, kind, region: region.to_owned(), arn: arn.map(str::to_owned), why, cure, decidable }
}

/// Those that are open, and the decisions that hold for the others.
pub(super) fn all(request: &Request<'_>) -> (Vec<Doubt>, Vec<Decision>) {
    let survey = request.survey;
    let mut open = keys::unknown(request);
    open.extend(survey.unread.iter().map(|found| unread(request.enterprise, found)));
    open.extend(survey.near.iter().map(|near| near_miss(request, near)));
    open.extend(survey.near_exports.iter().map(|found| near_export(request.enterprise, found)));
    open.extend(survey.exports.iter().filter_map(|found| export(request, found)));
    open.extend(elsewhere(request));
    open.extend(states(request));
    let mut decided = Vec::new();
    open.retain(|doubt| match request.decisions.get(&doubt.id).filter(|_| doubt.decidable) {
        Some(decision) => {
            decided.push(decision.clone());
            false
        }
        None => true,
    });
    (open, decided)
}

/// `first`, or an engineer's decision with a reason of their own.
fn decide(enterprise: &str, first: String) -> String {
    let command = format!("keyferry audit decide {enterprise} DOUBT --reason 'WHY IT IS NOTHING'");
    command::or(first, "if it is nothing", &[command])
}

fn again(enterprise: &str) -> String {
    format!("keyferry audit run {enterprise}")
}

fn unread(enterprise: &str, unread: &Unread) -> Doubt {
    let passing =
        ["Keyferry.Throttled", "Keyferry.Unavailable", "Keyferry.NotReady"].contains(&unread.error.error.as_str());
    let why = format!("{} in {} could not be read: {}", unread.what, unread.region, unread.error.cause);
    let cure = if passing {
        command::cure("audit again when AWS answers", &[again(enterprise)])
    } else {
        let words =
            format!("give the vendor's role in {} the permission that AWS names, then audit again", unread.region);
        decide(enterprise, command::cure(&words, &[again(enterprise)]))
    };
    doubt(DoubtKind::Unread, &unread.region, None, why, cure, !passing)
}

fn near_miss(request: &Request<'_>, near: &NearMiss) -> Doubt {
    let found = &near.resource;
    let why = format!("{} in {} looks like the enterprise's and was not counted: {}", found.id, found.region, near.why);
    let tags = command::tags(&[(request.place.enterprise_tag, request.enterprise)]);
    let tag = format!("aws rds add-tags-to-resource --region {} --resource-name {} {tags}", found.region, found.arn);
    let theirs = command::cure("if it is theirs, tag it so and audit again", &[tag, again(request.enterprise)]);
    let cure = decide(request.enterprise, theirs);
    doubt(DoubtKind::NearMiss, &found.region, Some(&found.arn), why, cure, true)
}

fn near_export(enterprise: &str, export: &Export) -> Doubt {
    let why = format!(
        "export {} of {} in {} looks like the enterprise's; its source is gone, so nobody can tell",
        export.id, export.source, export.region
    );
    let look = format!("aws s3 ls s3://{} --recursive", export.bucket);
    let cure = decide(enterprise, command::cure("look what lies there", &[look]));
    doubt(DoubtKind::NearMiss, &export.region, Some(&export.source), why, cure, true)
}

/// An export under a key of the enterprise's is as it has to be. What another has written cannot be seen from here.
fn export(request: &Request<'_>, export: &Export) -> Option<Doubt> {
    let under_key = export.key.as_deref().is_some_and(|key| request.keys.serves(&export.region, key));
    if under_key {
        return None;
    }
    let key = export.key.as_deref().unwrap_or("no key");
    let why = format!(
        "export {} has written data of {} to s3://{} under {key}; whether it still lies there is not seen ({})",
        export.id, export.source, export.bucket, export.status
    );
    let words = "delete what it wrote, or encrypt it under the enterprise's key, and then decide";
    let look = format!("aws s3 ls s3://{} --recursive", export.bucket);
    let cure = decide(request.enterprise, command::cure(words, &[look]));
    Some(doubt(DoubtKind::Export, &export.region, Some(&export.source), why, cure, true))
}

/// Replicas and copies in regions that are not looked at.
fn elsewhere(request: &Request<'_>) -> Vec<Doubt> {
    let mut all = Vec::new();
    for resource in &request.survey.scan.resources {
        let named = resource.related.iter().chain(&resource.derived_from);
        for arn in named.filter(|name| name.starts_with("arn:")) {
            let region = arn.split(':').nth(3).unwrap_or_default();
            if request.place.regions.iter().any(|looked| looked == region) {
                continue;
            }
            let why =
                format!("{} names {arn}, in {region}, which is not configured and was not looked at", resource.id);
            let words = format!(
                "add {region} to the partition's regions in keyferry.toml, start keyferry again and audit again"
            );
            let cure = decide(request.enterprise, command::cure(&words, &[again(request.enterprise)]));
            all.push(doubt(DoubtKind::RegionNotListed, region, Some(arn), why, cure, true));
        }
    }
    all
}

fn states(request: &Request<'_>) -> Vec<Doubt> {
    let unknown = request.survey.scan.resources.iter().filter(|found| !is_known(&found.status));
    let each = unknown.map(|found| {
        let why = format!("{} is in the state '{}', which is not known here", found.id, found.status);
        let words = "look what AWS says of that state \
                     (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html)";
        let cure = decide(request.enterprise, words.to_owned());
        doubt(DoubtKind::StatusUnknown, &found.region, Some(&found.arn), why, cure, true)
    });
    each.collect()
}

fn is_known(status: &str) -> bool {
    let status = status.to_lowercase();
    KNOWN.contains(&status.as_str()) || status.starts_with("configuring-") || status.starts_with("converting-")
}

/// Decisions by the doubt they are about, from their records.
pub fn decisions(records: BTreeMap<String, serde_json::Value>) -> BTreeMap<String, Decision> {
    let read = records.into_iter().filter_map(|(id, body)| Some((id, serde_json::from_value(body).ok()?)));
    read.collect()
}
