//! Deletes one snapshot that a run which has ended has left.
//!
//! Takes `list`, the hash of the list that `list-left-overs` has kept, and `number`, the row's place in it from 0; whether
//! people have approved that list is read from their answer. It does not believe that the list is current: the snapshot has to bear the marks of a migration, its run has to have ended, and the system that it was
//! made of has to be there and available. Effect: one deletion. Again: what is gone is gone. Fails with `Keyferry.NotApproved`,
//! and with `Keyferry.NotVerified` where one of that does not hold.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{delete_snapshot, input},
    list_left_overs::{self, LISTS, SNAPSHOTS},
    purge_proof::last_decision,
};
use crate::{
    systems::{self, Owner, read},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct RemoveLeftOver(pub Domain);

#[derive(Deserialize)]
struct Input {
    list: String,
    number: usize,
}

#[derive(Deserialize)]
struct LeftOver {
    id: String,
    arn: String,
    region: String,
    removable: bool,
}

/// The row of a list that this run has made and its people have approved.
///
/// # Errors
/// `Keyferry.NotApproved`: there is no such list or row, or the last decision of this run's people is not its approval.
async fn approved(context: &StepContext, hash: &str, number: usize) -> Result<LeftOver, StepError> {
    let stored = context.record(LISTS, hash).await?.unwrap_or(Value::Null);
    let of_run = stored.get("run").and_then(Value::as_str) == Some(&context.run);
    let rows =
        stored.get("left_overs").and_then(Value::as_array).filter(|rows| of_run && list_left_overs::hash(rows) == hash);
    let row = rows.and_then(|rows| rows.get(number)).and_then(|row| LeftOver::deserialize(row).ok());
    let Some(row) = row else {
        let cause =
            format!("run {} has made no list of the hash {hash:?} with a row {number}: {START_ANOTHER}", context.run);
        return Err(StepError::new("Keyferry.NotApproved", cause));
    };
    let last = last_decision(context, "left-overs").await?;
    if last.is_some_and(|decision| decision.approves(hash)) {
        return Ok(row);
    }
    let cause =
        format!("the last decision of people in run {} does not approve the list {hash}: {START_ANOTHER}", context.run);
    Err(StepError::new("Keyferry.NotApproved", cause))
}

const START_ANOTHER: &str = "cancel the run and start another, whose list is asked about";

#[async_trait]
impl Step for RemoveLeftOver {
    fn name(&self) -> &'static str {
        "remove-left-over"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { list, number } = input(self.name(), value)?;
        let LeftOver { id, arn, region, removable } = approved(context, &list, number).await?;
        let refused =
            |why: &str| StepError::new("Keyferry.NotVerified", format!("snapshot {id} was not deleted: {why}"));
        let rds = self.0.aws.rds(&region).await?;
        let Some(found) = systems::snapshot(&rds, &id).await?.filter(|_| removable) else {
            return Ok(Progress::done(json!({ "id": id, "removed": removable })));
        };
        let tags = systems::of_snapshot(&found);
        let run = read::run(&tags).unwrap_or_default().to_owned();
        let own = Owner { run: run.clone(), ..self.0.owner(context) }.made(&tags);
        if !own
            || found.db_snapshot_arn() != Some(&arn)
            || !read::role(&tags).is_some_and(|role| SNAPSHOTS.contains(&role))
        {
            return Err(refused("it does not bear the marks of a migration of this enterprise"));
        }
        if context.is_open(&run).await? {
            return Err(refused(&format!("the run {run} that made it is open")));
        }
        let source = found.dbi_resource_id().unwrap_or_default();
        let system = systems::instance_of(&rds, source).await?;
        if system.is_none_or(|system| system.db_instance_status() != Some("available")) {
            return Err(refused(&format!("the system {source} that it was made of is not there, or not available")));
        }
        if found.status() != Some("available") {
            return Ok(self.0.pending(format!("RDS: snapshot {id} is {}", found.status().unwrap_or("busy"))));
        }
        delete_snapshot(&rds, &id).await?;
        Ok(Progress::done(json!({ "id": id, "removed": true })))
    }
}
