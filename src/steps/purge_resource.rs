//! Deletes one old resource that was approved for it, and writes the ledger.
//!
//! Takes `resource` and `why` from `plan-purge`, the keys and the `approval`. Leaves `purge-ledger`/ARN. It looks again
//! before it deletes: an old system must still be marked as replaced and its replacement must serve under the key; a
//! snapshot must be the one that was approved. Effect: one deletion, deletion protection lifted first. Again: what is gone
//! is written into the ledger, once.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, delete_instance, input, settled},
};
use crate::{
    aws::failure,
    keys::KeySet,
    systems::{self, Kind, Resource, read},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct PurgeResource(pub Domain);

#[derive(Deserialize)]
struct Input {
    resource: Resource,
    why: String,
    keys: KeySet,
    approval: Approval,
}

#[derive(Deserialize)]
struct Approval {
    approve: bool,
    reason: String,
}

#[async_trait]
impl Step for PurgeResource {
    fn name(&self) -> &'static str {
        "purge-resource"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { resource, why, keys, approval } = input(self.name(), value)?;
        if !approval.approve {
            return Err(StepError::new(
                "Keyferry.NotApproved",
                format!("the purge of {} was not approved", resource.id),
            ));
        }
        let rds = self.0.aws.rds(&resource.region).await?;
        let gone = match resource.kind {
            Kind::Instance => purge_instance(&rds, &resource, &keys).await?,
            Kind::Snapshot => purge_snapshot(&rds, &resource).await?,
            Kind::AutomatedBackup => purge_backup(&rds, &resource).await?,
            Kind::Cluster | Kind::ClusterSnapshot | Kind::ClusterAutomatedBackup => {
                return Err(StepError::new(
                    "Keyferry.Unsupported",
                    format!("{} is of a cluster: purge it by hand", resource.id),
                ));
            }
        };
        if let Wait::For(what) = gone {
            return Ok(self.0.pending(what));
        }
        let body = json!({
            "kind": resource.kind, "id": resource.id, "arn": resource.arn, "region": resource.region,
            "resource_id": resource.resource_id, "key": resource.key, "encrypted": resource.encrypted, "why": why,
            "approved_because": approval.reason, "run": context.run, "purged_at": context.now(),
        });
        let record = Record { collection: "purge-ledger", key: resource.arn.clone(), body };
        Ok(Progress::recorded(json!({ "purged": resource.arn }), vec![record]))
    }
}

async fn purge_instance(rds: &aws_sdk_rds::Client, resource: &Resource, keys: &KeySet) -> Result<Wait<()>, StepError> {
    let Some(found) = systems::instance(rds, &resource.id).await? else { return Ok(Wait::Ready(())) };
    let tags = systems::of_instance(&found);
    if found.dbi_resource_id() != Some(&resource.resource_id) || read::role(&tags) != Some("old") {
        let cause = format!(
            "instance {} is not the old system that was approved for the purge: it was not touched",
            resource.id
        );
        return Err(StepError::new("Keyferry.Foreign", cause));
    }
    let original = read::original(&tags).unwrap_or_default();
    let replacement = systems::instance(rds, original).await?;
    let good =
        replacement.as_ref().is_some_and(|new| new.kms_key_id().is_some_and(|key| keys.serves(&resource.region, key)));
    let Some(replacement) = replacement.filter(|_| good) else {
        let cause =
            format!("instance {} may not be purged: no {original} under the enterprise's key serves", resource.id);
        return Err(StepError::new("Keyferry.NotVerified", cause));
    };
    if let Wait::For(what) = settled(&replacement)? {
        return Ok(Wait::For(what));
    }
    delete_instance(rds, &found).await
}

async fn purge_snapshot(rds: &aws_sdk_rds::Client, resource: &Resource) -> Result<Wait<()>, StepError> {
    let Some(found) = systems::snapshot(rds, &resource.id).await? else { return Ok(Wait::Ready(())) };
    if found.db_snapshot_arn() != Some(&resource.arn) || found.kms_key_id() != resource.key.as_deref() {
        let cause =
            format!("snapshot {} is not the one that was approved for the purge: it was not touched", resource.id);
        return Err(StepError::new("Keyferry.Foreign", cause));
    }
    if found.status() != Some("available") {
        return Ok(Wait::For(format!("RDS: snapshot {} is {}", resource.id, found.status().unwrap_or("busy"))));
    }
    let deleted = rds.delete_db_snapshot().db_snapshot_identifier(&resource.id).send().await;
    match deleted.map_err(|error| failure(&format!("delete snapshot {}", resource.id), &error)) {
        Err(failure) if !failure.not_found() => Err(failure.into()),
        Ok(_) | Err(_) => Ok(Wait::Ready(())),
    }
}

async fn purge_backup(rds: &aws_sdk_rds::Client, resource: &Resource) -> Result<Wait<()>, StepError> {
    let deleted =
        rds.delete_db_instance_automated_backup().db_instance_automated_backups_arn(&resource.arn).send().await;
    match deleted.map_err(|error| failure(&format!("delete backups {}", resource.arn), &error)) {
        Err(failure) if !failure.not_found() => Err(failure.into()),
        Ok(_) | Err(_) => Ok(Wait::Ready(())),
    }
}
