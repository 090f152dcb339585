//! Writes down whose keys the enterprise's systems are under from now on.
//!
//! Takes `generation`, the keys and the plan; the systems are those of the run's inventory. Leaves `custody`/`gGENERATION` and
//! `custody`/current. Fails with `Keyferry.NoPlan` when that was taken with other keys or regions. Effect: none in AWS. Again: the same records.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    common::{Plan, input},
    recorded::expected,
};
use crate::{
    keys::KeySet,
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct WriteCustody;

#[derive(Deserialize)]
struct Input {
    generation: u64,
    keys: KeySet,
    plan: Value,
}

#[async_trait]
impl Step for WriteCustody {
    fn name(&self) -> &'static str {
        "write-custody"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { generation, keys, plan } = input(self.name(), value)?;
        let stated: Plan = input(self.name(), plan.clone())?;
        let systems = expected(context, generation, &keys, &stated.residency()).await?;
        let body = json!({
            "generation": generation, "run": context.run, "keys": keys.keys, "instances": keys.instances,
            "plan": plan, "systems": systems, "since": context.now(),
        });
        let records = vec![
            Record { collection: "custody", key: format!("g{generation}"), body: body.clone() },
            Record { collection: "custody", key: "current".to_owned(), body },
        ];
        Ok(Progress::recorded(json!({ "generation": generation }), records))
    }
}
