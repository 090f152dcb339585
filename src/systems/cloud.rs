//! Looks at single RDS resources, and what their states mean.

use aws_sdk_rds::{
    Client,
    types::{DbInstance, DbInstanceAutomatedBackup, DbSnapshot, Filter},
};

use super::{
    listing::{self, Kind, Resource},
    tags::{EARLY, Owner, read},
};
use crate::aws::{Failure, failure};

/// What an instance's state allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It serves and takes changes.
    Ready,
    /// It will get there by itself; unknown states count as this, because AWS adds new ones.
    Busy(String),
    /// It will not.
    Broken(String),
    /// Its key cannot be used: it comes back when the key does, for seven days.
    KeyLost(String),
}

/// Sorts a state of
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html#Overview.DBInstance.Status>.
pub fn readiness(status: &str) -> Readiness {
    match status {
        "available" | "storage-optimization" => Readiness::Ready,
        "inaccessible-encryption-credentials" | "inaccessible-encryption-credentials-recoverable" => {
            Readiness::KeyLost(status.to_owned())
        }
        "failed" | "restore-error" | "storage-full" | "insufficient-capacity" | "stopped" => {
            Readiness::Broken(status.to_owned())
        }
        _ if status.starts_with("incompatible-") => Readiness::Broken(status.to_owned()),
        _ => Readiness::Busy(status.to_owned()),
    }
}

/// An instance by its identifier; `None` when there is none.
///
/// # Errors
/// AWS could not be asked.
pub async fn instance(rds: &Client, id: &str) -> Result<Option<DbInstance>, Failure> {
    match rds.describe_db_instances().db_instance_identifier(id).send().await {
        Ok(output) => Ok(output.db_instances.unwrap_or_default().into_iter().next()),
        Err(error) => absent(failure(&format!("describe instance {id}"), &error)),
    }
}

/// An instance by its resource id (`db-…`), which it keeps whatever it is renamed to; `None` when there is none.
///
/// # Errors
/// AWS could not be asked.
pub async fn instance_of(rds: &Client, resource_id: &str) -> Result<Option<DbInstance>, Failure> {
    let filter = Filter::builder().name("dbi-resource-id").values(resource_id).build();
    match rds.describe_db_instances().filters(filter).send().await {
        Ok(output) => Ok(output.db_instances.unwrap_or_default().into_iter().next()),
        Err(error) => absent(failure(&format!("describe the instance with the resource id {resource_id}"), &error)),
    }
}

/// A snapshot by its identifier; `None` when there is none.
///
/// # Errors
/// AWS could not be asked.
pub async fn snapshot(rds: &Client, id: &str) -> Result<Option<DbSnapshot>, Failure> {
    match rds.describe_db_snapshots().db_snapshot_identifier(id).send().await {
        Ok(output) => Ok(output.db_snapshots.unwrap_or_default().into_iter().next()),
        Err(error) => absent(failure(&format!("describe snapshot {id}"), &error)),
    }
}

/// A copy that a run of the enterprise has made of a system under `key` before a window, and that is whole. As long as it is
/// there, RDS copies the next snapshot of the system under that key by what has changed since
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_CopySnapshot.html#USER_CopySnapshot.Incremental>).
///
/// # Errors
/// AWS could not be asked.
pub async fn early_copy(
    rds: &Client,
    owner: &Owner,
    region: &str,
    (resource_id, key): (&str, &str),
) -> Result<Option<Resource>, Failure> {
    let filter = Filter::builder().name("dbi-resource-id").values(resource_id).build();
    let mut pages = rds.describe_db_snapshots().snapshot_type("manual").filters(filter).into_paginator().send();
    while let Some(page) = pages.next().await {
        let tried = format!("describe the snapshots of the instance with the resource id {resource_id}");
        let page = page.map_err(|error| failure(&tried, &error))?;
        let found = page.db_snapshots().iter().map(|found| listing::snapshot(region, found));
        let early = found.into_iter().find(|found| is_early_copy(found, owner, (resource_id, key)));
        if early.is_some() {
            return Ok(early);
        }
    }
    Ok(None)
}

/// Whether a resource is such a copy.
pub fn is_early_copy(found: &Resource, owner: &Owner, (resource_id, key): (&str, &str)) -> bool {
    found.kind == Kind::Snapshot
        && found.resource_id == resource_id
        && found.key.as_deref() == Some(key)
        && found.status == "available"
        && found.derived_from.as_deref().is_some_and(|source| !source.is_empty())
        && read::role(&found.tags) == Some(EARLY)
        && found.tags.get(&owner.enterprise_tag) == Some(&owner.enterprise)
}

/// Automated backups by their ARN; `None` when there are none.
///
/// # Errors
/// AWS could not be asked.
pub async fn backup(rds: &Client, arn: &str) -> Result<Option<DbInstanceAutomatedBackup>, Failure> {
    match rds.describe_db_instance_automated_backups().db_instance_automated_backups_arn(arn).send().await {
        Ok(output) => Ok(output.db_instance_automated_backups.unwrap_or_default().into_iter().next()),
        Err(error) => absent(failure(&format!("describe automated backups {arn}"), &error)),
    }
}

/// The ARN of an instance named `id` beside the one that `like` names.
pub fn instance_arn(like: &str, id: &str) -> String {
    match like.rsplit_once(':') {
        Some((head, _)) => format!("{head}:{id}"),
        None => id.to_owned(),
    }
}

/// The identifier in an instance's or snapshot's ARN, or the text itself when it is none.
pub fn short_name(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

fn absent<T>(failure: Failure) -> Result<Option<T>, Failure> {
    if failure.not_found() { Ok(None) } else { Err(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_states_are_waited_for() {
        assert_eq!(readiness("available"), Readiness::Ready);
        assert_eq!(readiness("something-new"), Readiness::Busy("something-new".to_owned()));
        assert!(matches!(readiness("incompatible-parameters"), Readiness::Broken(_)));
        assert!(matches!(readiness("inaccessible-encryption-credentials"), Readiness::KeyLost(_)));
    }
}
