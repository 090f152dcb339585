//! Deletes one resource of an approved list, and writes the ledger.
//!
//! Takes `plan`, the list's hash, and `number`, the line's place in it from 0: nothing else that it acts on comes from its
//! input. Leaves `purge-ledger`/ARN. Before the first deletion the whole list has to be proven, by canaries of the last 15
//! minutes; before each one the line is proven again. Fails with `Keyferry.NotApproved` or with `Keyferry.NotVerified`, and
//! then touches nothing. Effect: one deletion, deletion protection lifted first. Again: what is gone is written into the
//! ledger, once.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, delete_instance, delete_snapshot, input},
    purge_proof::{Approval, CHECKS, FRESH, approved, canaries, not_verified},
};
use crate::{
    aws::failure,
    systems::{self, Kind, purge::Line, read},
    worker::{Progress, Record, Step, StepContext, StepError},
};

/// The collection of what was deleted; a record's key is the ARN.
const LEDGER: &str = "purge-ledger";

pub struct PurgeResource(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: String,
    number: usize,
}

#[async_trait]
impl Step for PurgeResource {
    fn name(&self) -> &'static str {
        "purge-resource"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan, number } = input(self.name(), value)?;
        let (list, approval) = approved(context, &plan).await?;
        let Some(line) = list.lines.get(number) else {
            let cause = format!("the list {plan} has {} lines, none of the number {number}", list.lines.len());
            return Err(StepError::new("Keyferry.NotApproved", cause));
        };
        // What is in the ledger stays as it was written.
        let written = context.record(LEDGER, &line.arn).await?.filter(|entry| entry["plan"] == plan.as_str());
        if let Some(entry) = written.filter(|entry| entry["run"] == context.run.as_str()) {
            return Ok(Progress::done(json!({ "purged": line.arn, "how": entry["how"] })));
        }
        let begun = context.checkpoint.as_ref().is_some_and(|saved| saved.get("intent").is_some());
        let rds = self.0.aws.rds(&line.region).await?;
        let mut passed = canaries(context);
        if !found(&rds, line).await? {
            let how = if begun { "deleted" } else { "found gone" };
            return Ok(ledger(context, line, &plan, &approval, how));
        }
        // Once RDS deletes it nothing is left to prove. Until then every look proves it anew, after a crash too.
        if !is_going(&rds, line).await? {
            if !self.first_is_proven(context, &plan).await?
                && let Wait::For(what) = self.0.prove_list(context, &list, &mut passed).await?
            {
                return Ok(self.0.pending_with(what, json!({ "canaries": passed })));
            }
            let seen = match self.0.prove_line(context, line, &mut passed).await? {
                Wait::For(what) => return Ok(self.0.pending_with(what, json!({ "canaries": passed }))),
                Wait::Ready(seen) => seen,
            };
            context.save_checkpoint(json!({ "intent": "delete", "canaries": passed, "seen": seen })).await?;
        }
        match delete(&rds, line).await? {
            Wait::For(what) => Ok(self.0.pending_with(what, json!({ "intent": "delete", "canaries": passed }))),
            Wait::Ready(()) => Ok(ledger(context, line, &plan, &approval, "deleted")),
        }
    }
}

async fn delete(rds: &aws_sdk_rds::Client, line: &Line) -> Result<Wait<()>, StepError> {
    match line.kind {
        Kind::Instance => purge_instance(rds, line).await,
        Kind::Snapshot => purge_snapshot(rds, line).await,
        Kind::AutomatedBackup => purge_backup(rds, line).await,
        Kind::Cluster | Kind::ClusterSnapshot | Kind::ClusterAutomatedBackup => {
            Err(not_verified(&line.id, "it is of a cluster, which keyferry does not purge"))
        }
    }
}

impl PurgeResource {
    /// Whether a deletion of this list has been made, or its check is fresh enough for the first one.
    async fn first_is_proven(&self, context: &StepContext, plan: &str) -> Result<bool, StepError> {
        let gone = context.records(LEDGER).await?;
        if gone.values().any(|entry| entry["plan"] == plan && entry["run"] == context.run.as_str()) {
            return Ok(true);
        }
        let check = context.record(CHECKS, plan).await?.unwrap_or(Value::Null);
        let at = check["canary_at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
        Ok(check["run"] == context.run.as_str() && at.is_some_and(|at| context.now() - at < FRESH))
    }
}

fn ledger(context: &StepContext, line: &Line, plan: &str, approval: &Approval, how: &str) -> Progress {
    let body = json!({
        "kind": line.kind, "id": line.id, "arn": line.arn, "region": line.region, "resource_id": line.resource_id,
        "key": line.key, "encrypted": line.encrypted, "size_gb": line.size_gb, "taken_at": line.taken_at, "why": line.why,
        "successor": line.successor, "copies": line.copies, "proof": line.proof, "plan": plan, "how": how,
        "approved_by": approval.actor, "approved_at": approval.at, "approved_as": "as declared by the token's holder",
        "approved_because": approval.reason(), "run": context.run, "purged_at": context.now(),
    });
    let record = Record { collection: LEDGER, key: line.arn.clone(), body };
    Progress::recorded(json!({ "purged": line.arn, "how": how }), vec![record])
}

/// Whether it is there still, as what was approved.
///
/// # Errors
/// `Keyferry.NotVerified`: something else bears its name.
async fn found(rds: &aws_sdk_rds::Client, line: &Line) -> Result<bool, StepError> {
    let (is_there, is_it) = match line.kind {
        Kind::Instance => {
            let found = systems::instance(rds, &line.id).await?;
            let marks = |tags| read::role(&tags) == Some("old") && read::original(&tags) != Some(&line.id);
            let is_it = found.as_ref().is_some_and(|found| {
                found.dbi_resource_id() == Some(&line.resource_id) && marks(systems::of_instance(found))
            });
            (found.is_some(), is_it)
        }
        Kind::Snapshot => {
            let found = systems::snapshot(rds, &line.id).await?;
            let is_it = found.as_ref().is_some_and(|found| {
                let taken = found.original_snapshot_create_time().or(found.snapshot_create_time());
                found.db_snapshot_arn() == Some(&line.arn)
                    && found.kms_key_id() == line.key.as_deref()
                    && found.dbi_resource_id() == Some(&line.resource_id)
                    && systems::time(taken) == line.taken_at
                    && !read::archive(&systems::of_snapshot(found))
            });
            (found.is_some(), is_it)
        }
        // An automated backup bears its ARN alone: the call that deletes it says whether it is there.
        Kind::AutomatedBackup | Kind::Cluster | Kind::ClusterSnapshot | Kind::ClusterAutomatedBackup => (true, true),
    };
    if is_there && !is_it {
        let cause = "it is not what was approved: it was not touched. Look at it; cancel the run and start another to have it \
                     listed as it is";
        return Err(not_verified(&line.id, cause));
    }
    Ok(is_there)
}

/// Whether its deletion has begun, so that nothing is left to prove.
async fn is_going(rds: &aws_sdk_rds::Client, line: &Line) -> Result<bool, StepError> {
    if line.kind != Kind::Instance {
        return Ok(false);
    }
    let found = systems::instance(rds, &line.id).await?;
    Ok(found.is_some_and(|found| found.db_instance_status() == Some("deleting")))
}

async fn purge_instance(rds: &aws_sdk_rds::Client, line: &Line) -> Result<Wait<()>, StepError> {
    match systems::instance(rds, &line.id).await? {
        Some(found) if found.dbi_resource_id() == Some(&line.resource_id) => delete_instance(rds, &found).await,
        Some(_) => Err(not_verified(&line.id, "another instance bears its name")),
        None => Ok(Wait::Ready(())),
    }
}

async fn purge_snapshot(rds: &aws_sdk_rds::Client, line: &Line) -> Result<Wait<()>, StepError> {
    let Some(found) = systems::snapshot(rds, &line.id).await? else { return Ok(Wait::Ready(())) };
    if found.status() != Some("available") {
        return Ok(Wait::For(format!("RDS: snapshot {} is {}", line.id, found.status().unwrap_or("busy"))));
    }
    delete_snapshot(rds, &line.id).await?;
    Ok(Wait::Ready(()))
}

async fn purge_backup(rds: &aws_sdk_rds::Client, line: &Line) -> Result<Wait<()>, StepError> {
    let deleted = rds.delete_db_instance_automated_backup().db_instance_automated_backups_arn(&line.arn).send().await;
    match deleted.map_err(|error| failure(&format!("delete backups {}", line.arn), &error)) {
        Err(failure) if !failure.not_found() => Err(failure.into()),
        Ok(_) | Err(_) => Ok(Wait::Ready(())),
    }
}
