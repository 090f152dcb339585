//! Checks an approved list as a whole before its first deletion, in every region.
//!
//! Takes `plan`, the list's hash. Gives `verdict`: `proven`, or `drifted` when the list would be another one now, which has to
//! be approved anew. Leaves `purge-check`/hash. Fails with `Keyferry.NotApproved` or with `Keyferry.NotVerified`. Effect: the
//! canaries' copies, deleted again. Again: every proof is made anew.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, input},
    purge_proof::{CHECKS, approved, canaries},
};
use crate::worker::{Progress, Record, Step, StepContext, StepError};

pub struct CheckPurge(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: String,
}

#[async_trait]
impl Step for CheckPurge {
    fn name(&self) -> &'static str {
        "check-purge"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan } = input(self.name(), value)?;
        let (list, _) = approved(context, &plan).await?;
        let (now, _) = self
            .0
            .purge_list(context, &list.partition, list.keys.clone(), list.generation, list.residency.clone())
            .await?;
        if now.hash() != plan {
            return Ok(Progress::done(json!({ "verdict": "drifted", "plan": plan, "would_be": now.hash() })));
        }
        let mut passed = canaries(context);
        match self.0.prove_list(context, &list, &mut passed).await? {
            Wait::For(what) => Ok(self.0.pending_with(what, json!({ "canaries": passed }))),
            Wait::Ready(seen) => {
                let oldest = passed.oldest().unwrap_or_else(|| context.now());
                let body = json!({ "run": context.run, "plan": plan, "canary_at": oldest, "seen": seen });
                let record = Record { collection: CHECKS, key: plan.clone(), body };
                Ok(Progress::recorded(json!({ "verdict": "proven", "plan": plan, "seen": seen }), vec![record]))
            }
        }
    }
}
