//! Deletes one snapshot that a run which has ended has left.
//!
//! Takes `left_over` from `list-left-overs` and the `approval`. It believes neither that the list is current nor that it was
//! made by that step: the snapshot has to bear the marks of a migration, its run has to have ended, and the system that it was
//! made of has to be there and available. Effect: one deletion. Again: what is gone is gone. Fails with `Keyferry.NotVerified`
//! where one of that does not hold.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{delete_snapshot, input},
    list_left_overs::SNAPSHOTS,
};
use crate::{
    systems::{self, Owner, read},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct RemoveLeftOver(pub Domain);

#[derive(Deserialize)]
struct Input {
    left_over: LeftOver,
    approval: Approval,
}

#[derive(Deserialize)]
struct LeftOver {
    id: String,
    arn: String,
    region: String,
    removable: bool,
}

#[derive(Deserialize)]
struct Approval {
    approve: bool,
}

#[async_trait]
impl Step for RemoveLeftOver {
    fn name(&self) -> &'static str {
        "remove-left-over"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { left_over: LeftOver { id, arn, region, removable }, approval } = input(self.name(), value)?;
        if !approval.approve {
            return Err(StepError::new("Keyferry.NotApproved", format!("the removal of {id} was not approved")));
        }
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
