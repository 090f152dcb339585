//! Copies a system under its new key before the window, while it serves.
//!
//! Takes a system. The first copy under a key is full and slow, the next one under the same key takes only what changed,
//! as long as the first exists: so this makes the downtime short, and shows before it whether RDS can use the key. A copy that
//! an earlier run has left serves as well; `reused` says so.
//! Effect: a snapshot and its copy, purged later. Again: both are found by name.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Copy, SystemInput, Wait, ensure_copy, ensure_snapshot, input, settled},
    recorded::in_inventory,
};
use crate::{
    systems::{self, Tags},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct PreCopySystem(pub Domain);

#[async_trait]
impl Step for PreCopySystem {
    fn name(&self) -> &'static str {
        "pre-copy-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: SystemInput = input(self.name(), value)?;
        in_inventory(context, &item).await?;
        let (key, names, owner) = (item.key()?, item.names(context), self.0.owner(context));
        let rds = self.0.aws.rds(&item.system.region).await?;
        let snapshot = names.early_snapshot();
        if systems::snapshot(&rds, &snapshot).await?.is_none() {
            let Some(instance) = systems::instance(&rds, &item.system.id).await? else {
                return self.0.missing(context, &format!("instance {}", item.system.id));
            };
            let of = (item.system.resource_id.as_str(), key.as_str());
            if let Some(left) = systems::early_copy(&rds, &owner, &item.system.region, of).await? {
                return Ok(Progress::done(json!({ "copy": left.id, "reused": true })));
            }
            if let Wait::For(what) = settled(&instance)? {
                return Ok(self.0.pending(what));
            }
        }
        if let Wait::For(what) = ensure_snapshot(&rds, &owner, &item.system.id, &snapshot, systems::EARLY).await? {
            return Ok(self.0.pending(what));
        }
        let name = names.early_copy();
        let copy = Copy { source: &snapshot, name: &name, key: &key, role: systems::EARLY, tags: Tags::new() };
        match ensure_copy(&rds, &owner, &copy).await? {
            Wait::For(what) => Ok(self.0.pending(what)),
            Wait::Ready(_) => Ok(Progress::done(json!({ "copy": name, "reused": false }))),
        }
    }
}
