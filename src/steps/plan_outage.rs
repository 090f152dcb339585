//! Writes down that a system is about to go out of service, before it does.
//!
//! Takes a system and the window. The record says who takes it, what the original is called meanwhile, until when a cut-over
//! may begin and by when it has to serve again: whatever becomes of the run, it is put back by that record. Effect: none in
//! AWS. Again: the same record. Fails with `Keyferry.WindowPassed` when it is too late to begin, with `Keyferry.Outage` while
//! another run has the system out of service, with `Keyferry.NoPlan` when the system is not in the run's inventory, people have
//! not agreed on the window, or the attempt has ended already.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    common::{CutOver, input},
    outage, recorded,
};
use crate::worker::{Progress, Step, StepContext, StepError};

pub struct PlanOutage;

#[async_trait]
impl Step for PlanOutage {
    fn name(&self) -> &'static str {
        "plan-outage"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: CutOver = input(self.name(), value.clone())?;
        let (system, window) = (&item.system, &item.window);
        recorded::in_inventory(context, &item).await?;
        recorded::agreed(context, window).await?;
        let before = outage::of(context, &system.resource_id).await?;
        if let Some(ended) = before.as_ref().filter(|before| !before.is_open() && before.run == context.run) {
            // Its final snapshot may be there still, from before the system served again: it is not taken for a new one.
            outage::is_later(ended, &item)?;
        }
        outage::of_no_other(context, system).await?;
        item.before_cutoff(context)?;
        let planned = outage::plan(context, &item, window, value.clone());
        Ok(Progress::recorded(json!({ "planned": system.id }), vec![outage::record(&planned)]))
    }
}
