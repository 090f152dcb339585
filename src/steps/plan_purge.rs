//! Lists what has to be purged, for the approval, and keeps the list under its hash.
//!
//! Takes the plan, the keys and the generation. Gives `plan` (the hash), `list` (all that the hash is over), `count`, `kept`
//! (what is left for a person to decide), `made_at`, `shown` (a line each) and `notices` of what is not proven about the
//! writers of systems that this run has frozen. Leaves `purge-plan`/hash: the purge reads the list there and nowhere else.
//! Fails with `Keyferry.NotVerified` when nothing serves in an old system's place, with `Keyferry.NoPlan` when the run's
//! inventory was taken with other keys or regions. Effect: none. Again: what is gone is not
//! listed any more.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, input},
    lineage,
    recorded::{INVENTORY, same_basis, stated},
    settings::unproven,
    take_inventory::{homes, original_ids},
};
use crate::{
    keys::KeySet,
    systems::{
        Homes, Residency,
        purge::{Bench, Judged, PurgePlan, Unserved, VERSION},
    },
    worker::{Progress, Record, Step, StepContext, StepError},
};

/// The collection of the lists; a record's key is the list's hash.
pub(super) const PLANS: &str = "purge-plan";

pub struct PlanPurge(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: Plan,
    keys: KeySet,
    generation: u64,
}

#[async_trait]
impl Step for PlanPurge {
    fn name(&self) -> &'static str {
        "plan-purge"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan, keys, generation } = input(self.name(), value)?;
        same_basis(context, generation, &keys, &plan.residency()).await?;
        let (list, judged) = self.0.purge_list(context, &plan.partition, keys, generation, plan.residency()).await?;
        if let Some(Unserved { id, original, region }) = judged.unserved.first() {
            let cause = format!(
                "nothing is purged, because {original} was taken out of service and nothing serves in its place: \
                 rename {id} to {original} in {region}, then retry"
            );
            return Err(StepError::new("Keyferry.NotVerified", cause));
        }
        let (hash, now) = (list.hash(), self.0.aws.time().unwrap_or_else(|| context.now()));
        let body = json!({ "run": context.run, "made_at": now, "list": list, "kept": judged.kept });
        let record = Record { collection: PLANS, key: hash.clone(), body };
        let output = json!({
            "plan": hash, "count": list.lines.len(), "shown": list.shown(&judged.kept, now), "list": list,
            "kept": judged.kept, "made_at": now, "notices": unproven(context).await?,
        });
        Ok(Progress::recorded(output, vec![record]))
    }
}

impl Domain {
    /// What would be purged if it were planned now.
    ///
    /// # Errors
    /// AWS or the store could not be read.
    pub(super) async fn purge_list(
        &self,
        context: &StepContext,
        partition: &str,
        keys: KeySet,
        generation: u64,
        residency: Residency,
    ) -> Result<(PurgePlan, Judged), StepError> {
        let inventory = context.record(INVENTORY, &format!("g{generation}")).await?.unwrap_or(Value::Null);
        let lineages = lineage::all(context).await?;
        let mut ids = original_ids(&inventory);
        ids.extend(lineages.resource_ids());
        let scan = self.scan(context, partition, &ids).await?;
        let homes = Homes::new(&scan.resources, homes(&inventory));
        let bench = Bench {
            enterprise: &context.enterprise,
            run: &context.run,
            scan: &scan,
            lineages: &lineages,
            keys: &keys,
            residency: &residency,
            stated: stated(context, &residency).await?,
            homes: &homes,
        };
        let judged = bench.all();
        let list = PurgePlan {
            version: VERSION,
            enterprise: context.enterprise.clone(),
            generation,
            partition: partition.to_owned(),
            keys,
            residency,
            lines: judged.lines.clone(),
        };
        Ok((list, judged))
    }
}
