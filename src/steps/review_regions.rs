//! Compares what the form `regions` stated with what there is, before anybody makes a key for it.
//!
//! Takes the plan. Gives `verdict` (`passed` or `failed`) and `findings` for the form, which is asked again with them, and
//! `instances`: the regions in which each instance has its data or will have it. Effect: none. Again: RDS is asked again.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, input},
    take_inventory::{homes, original_ids},
};
use crate::{
    systems::{Homes, Misplaced},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ReviewRegions(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: Plan,
}

#[async_trait]
impl Step for ReviewRegions {
    fn name(&self) -> &'static str {
        "review-regions"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan } = input(self.name(), value)?;
        let (mut ids, mut known) = (BTreeSet::new(), BTreeMap::new());
        for inventory in context.records("inventory").await?.values() {
            ids.extend(original_ids(inventory));
            known.extend(homes(inventory));
        }
        let scan = self.0.scan(context, &plan.partition, &ids).await?;
        let (residency, homes) = (plan.residency(), Homes::new(&scan.resources, known));
        let placement = plan.placement(&context.enterprise, &residency, &scan, &homes);
        let instances = placement.instances();
        let mut misplaced = placement.misplaced();
        misplaced.extend(placement.unserved());
        misplaced.extend(unknown(&plan.own_keys, &instances));
        let findings: Vec<Value> = misplaced.into_iter().map(finding).collect();
        let verdict = if findings.is_empty() { "passed" } else { "failed" };
        Ok(Progress::done(json!({ "verdict": verdict, "findings": findings, "instances": instances })))
    }
}

/// Instances that are to have keys of their own and that nobody knows.
fn unknown(own_keys: &[String], instances: &BTreeMap<String, BTreeSet<String>>) -> Vec<Misplaced> {
    let known: Vec<&str> = instances.keys().map(String::as_str).collect();
    let strangers = own_keys.iter().enumerate().filter(|(_, name)| !instances.contains_key(*name));
    strangers
        .map(|(index, name)| Misplaced {
            pointer: format!("/own_keys/{index}"),
            message: format!("{name} is no instance of this enterprise; known: {}", known.join(", ")),
            change: format!("take it out, or place {name} in instances: then it is provisioned there"),
        })
        .collect()
}

fn finding(misplaced: Misplaced) -> Value {
    let Misplaced { pointer, message, change } = misplaced;
    json!({ "pointer": pointer, "message": message, "change": change })
}
