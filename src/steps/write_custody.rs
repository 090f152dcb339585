//! Writes down whose keys the enterprise's systems are under from now on.
//!
//! Takes `generation`, the keys, the plan and `expected` (the systems). Leaves `custody`/`gGENERATION` and
//! `custody`/current. Effect: none in AWS. Again: the same records.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common::input;
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
    expected: Value,
}

#[async_trait]
impl Step for WriteCustody {
    fn name(&self) -> &'static str {
        "write-custody"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { generation, keys, plan, expected } = input(self.name(), value)?;
        let body = json!({
            "generation": generation, "run": context.run, "keys": keys.keys, "instances": keys.instances,
            "plan": plan, "systems": expected, "since": context.now(),
        });
        let records = vec![
            Record { collection: "custody", key: format!("g{generation}"), body: body.clone() },
            Record { collection: "custody", key: "current".to_owned(), body },
        ];
        Ok(Progress::recorded(json!({ "generation": generation }), records))
    }
}
