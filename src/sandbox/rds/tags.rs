//! Tags, on everything that has an ARN.

use serde_json::json;

use super::super::{Answer, AwsError, Effect};
use super::State;
use super::context::{Context, seen};
use super::error::{self, fault, invalid_value};
use super::ids::Arn;
use super::params::{Tags, check_tag_count, tag_list};

/// The tags of the resource that `ResourceName` names, for changing.
///
/// # Errors
/// `InvalidParameterValue` for what is no ARN of this place, else that there is no such resource.
fn tags<'s>(state: &'s mut State, arn: &Arn, named: &str) -> Result<&'s mut Tags, AwsError> {
    let key = arn.place.arn(&arn.kind, &arn.id);
    let found = match arn.kind.as_str() {
        "db" => state.instances.get_mut(&key).map(|row| &mut row.tags),
        "cluster" => state.clusters.get_mut(&key).map(|row| &mut row.tags),
        "snapshot" => state.snapshots.get_mut(&key).map(|row| &mut row.tags),
        "cluster-snapshot" => state.cluster_snapshots.get_mut(&key).map(|row| &mut row.tags),
        "deployment" => state.deployments.get_mut(&key).map(|row| &mut row.tags),
        "auto-backup" => state.backups.get_mut(&key).map(|row| &mut row.tags),
        "es" => state.subscriptions.get_mut(&key).map(|row| &mut row.tags),
        _ => state.groups.get_mut(&key).map(|row| &mut row.tags),
    };
    found.ok_or_else(|| absent(arn, named))
}

fn absent(arn: &Arn, named: &str) -> AwsError {
    match arn.kind.as_str() {
        "db" => error::instance_not_found(&arn.id),
        "cluster" => error::cluster_not_found(&arn.id),
        "snapshot" => fault("DBSnapshotNotFound", format!("DBSnapshot {} not found.", arn.id)),
        "cluster-snapshot" => {
            fault("DBClusterSnapshotNotFoundFault", format!("DBClusterSnapshot {} not found.", arn.id))
        }
        _ => invalid_value(format!("Invalid resource name: {named}")),
    }
}

/// The tags of the resource for reading; a default group has none.
fn tags_of<'s>(state: &'s State, arn: &Arn, named: &str) -> Result<&'s Tags, AwsError> {
    static NONE: Tags = Tags::new();
    let key = arn.place.arn(&arn.kind, &arn.id);
    let found = match arn.kind.as_str() {
        "db" => state.instances.get(&key).map(|row| &row.tags),
        "cluster" => state.clusters.get(&key).map(|row| &row.tags),
        "snapshot" => state.snapshots.get(&key).map(|row| &row.tags),
        "cluster-snapshot" => state.cluster_snapshots.get(&key).map(|row| &row.tags),
        "deployment" => state.deployments.get(&key).map(|row| &row.tags),
        "auto-backup" => state.backups.get(&key).map(|row| &row.tags),
        "es" => state.subscriptions.get(&key).map(|row| &row.tags),
        _ if arn.id.starts_with("default") => Some(&NONE),
        _ => state.groups.get(&key).map(|row| &row.tags),
    };
    found.ok_or_else(|| absent(arn, named))
}

fn resource<'a>(cx: &Context<'a>) -> Result<(Arn, &'a str), AwsError> {
    let named = cx.p.required("ResourceName")?;
    let invalid = || invalid_value(format!("Invalid resource name: {named}"));
    let arn = Arn::parse(named).ok_or_else(invalid)?;
    if arn.place != cx.place {
        return Err(invalid());
    }
    Ok((arn, named))
}

fn done(named: &str, what: String) -> Answer {
    Answer { body: json!({}), effect: Some(Effect { resource: named.to_owned(), what }) }
}

pub fn add(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let (arn, named) = resource(cx)?;
    let added = cx.p.tags()?;
    let what = format!("tagged: {}", added.keys().cloned().collect::<Vec<_>>().join(", "));
    let tags = tags(cx.state, &arn, named)?;
    let mut all = tags.clone();
    all.extend(added);
    check_tag_count(&all)?;
    *tags = all;
    Ok(done(named, what))
}

pub fn remove(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let (arn, named) = resource(cx)?;
    let keys = cx.p.list("TagKeys").unwrap_or_default();
    let tags = tags(cx.state, &arn, named)?;
    for key in &keys {
        tags.remove(*key);
    }
    Ok(done(named, format!("untagged: {}", keys.join(", "))))
}

pub fn list(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let (arn, named) = resource(cx)?;
    let tags = tags_of(cx.state, &arn, named)?;
    Ok(seen(json!({ "TagList": tag_list(tags) })))
}
