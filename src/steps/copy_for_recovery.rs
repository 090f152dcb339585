//! Keeps a copy of a migrated system in the recovery region of its home, under that region's key.
//!
//! Takes a system and the plan; does nothing when the system's `recovery` is false or the plan says that its home has none.
//! Effect: a snapshot, its copy in the other region, and the snapshot's deletion. Again: each is found by name, the copy
//! first.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Copy, SystemInput, Wait, delete_snapshot, ensure_copy, ensure_snapshot, input, settled},
    recorded::in_inventory,
};
use crate::{
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct CopyForRecovery(pub Domain);

#[async_trait]
impl Step for CopyForRecovery {
    fn name(&self) -> &'static str {
        "copy-for-recovery"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: SystemInput = input(self.name(), value)?;
        in_inventory(context, &item).await?;
        let home = &item.system.region;
        let away = if item.system.recovery { item.plan.recovery_of(home)? } else { None };
        let Some(away) = away else {
            return Ok(Progress::done(json!({ "system": item.system.id, "recovery": null })));
        };
        let (owner, names) = (self.0.owner(context), item.names(context));
        let key = item.key_in(&away)?;
        let (source, name) = (names.recovery_source(), names.recovery_copy(home));
        let (rds, other) = (self.0.aws.rds(home).await?, self.0.aws.rds(&away).await?);
        // A finished copy needs no source; one that is being made still does.
        let copied = systems::snapshot(&other, &name).await?.is_some();
        let mut from = systems::instance_arn(&item.system.arn, &source).replacen(":db:", ":snapshot:", 1);
        if !copied {
            let Some(instance) = systems::instance(&rds, &item.system.id).await? else {
                return self.0.missing(context, &format!("instance {}", item.system.id));
            };
            if systems::snapshot(&rds, &source).await?.is_none()
                && let Wait::For(what) = settled(&instance)?
            {
                return Ok(self.0.pending(what));
            }
            match ensure_snapshot(&rds, &owner, &item.system.id, &source, "recovery-source").await? {
                Wait::For(what) => return Ok(self.0.pending(what)),
                Wait::Ready(snapshot) => from = snapshot.db_snapshot_arn().map_or(from, str::to_owned),
            }
        }
        let mut tags = owner.old(&item.system.id);
        tags.insert(self.0.config.aws.instance_tag.clone(), item.system.instance.clone());
        let copy = Copy { source: &from, name: &name, key: &key, role: "recovery", tags };
        if let Wait::For(what) = ensure_copy(&other, &owner, &copy).await? {
            return Ok(self.0.pending(what));
        }
        if let Some(left) = systems::snapshot(&rds, &source).await? {
            super::common::require_ours(&owner, &systems::of_snapshot(&left), &format!("snapshot {source}"))?;
            delete_snapshot(&rds, &source).await?;
        }
        Ok(Progress::done(
            json!({ "system": item.system.id, "recovery": { "region": away, "snapshot": name, "key": key } }),
        ))
    }
}
