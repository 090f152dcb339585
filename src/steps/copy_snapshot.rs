//! Copies the final snapshot under the enterprise's key of its region.
//!
//! Takes a system. This is where unencrypted data becomes encrypted. Goes on with `lineage`. Effect: one snapshot. Again: it is found by name.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Copy, Wait, ensure_copy},
    lineage,
    recorded::cut_over,
};
use crate::{
    systems::Tags,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct CopySnapshot(pub Domain);

#[async_trait]
impl Step for CopySnapshot {
    fn name(&self) -> &'static str {
        "copy-snapshot"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item = cut_over(context, self.name(), value).await?;
        item.before_cutoff(context)?;
        let (key, names) = (item.key()?, item.names(context));
        let rds = self.0.aws.rds(&item.system.region).await?;
        let (source, name) = (names.final_snapshot(), names.final_copy());
        let copy = Copy { source: &source, name: &name, key: &key, role: "copy", tags: Tags::new() };
        match ensure_copy(&rds, &self.0.owner(context), &copy).await? {
            Wait::For(what) => Ok(self.0.pending(what)),
            Wait::Ready(found) => {
                let records = lineage::copied(context, &item.system, &found).await?;
                Ok(Progress::recorded(json!({ "copy": name }), records))
            }
        }
    }
}
