//! Takes the final snapshot of a frozen system.
//!
//! Takes a system. Leaves `lineage`/resource id. Effect: one snapshot. Again: it is found by name.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, ensure_snapshot},
    lineage,
    recorded::cut_over,
};
use crate::worker::{Progress, Step, StepContext, StepError};

pub struct SnapshotSystem(pub Domain);

#[async_trait]
impl Step for SnapshotSystem {
    fn name(&self) -> &'static str {
        "snapshot-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item = cut_over(context, self.name(), value).await?;
        item.before_cutoff(context)?;
        let names = item.names(context);
        let rds = self.0.aws.rds(&item.system.region).await?;
        let name = names.final_snapshot();
        match ensure_snapshot(&rds, &self.0.owner(context), &names.old(), &name, "final").await? {
            Wait::For(what) => Ok(self.0.pending(what)),
            Wait::Ready(found) => {
                let records = lineage::frozen(context, &item.system, &found).await?;
                Ok(Progress::recorded(json!({ "snapshot": name }), records))
            }
        }
    }
}
