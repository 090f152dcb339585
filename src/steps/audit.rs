//! Audits the enterprise: scans everything, compares with the expected keys, writes the report.
//!
//! Takes nothing (then the custody record says what is expected), or `plan`, `keys`, `generation` and `expected`. Leaves
//! `report`/run and `report`/latest. Gives the report's summary and deviations. Effect: none in AWS. Again: a report of then.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_kms::types::KeyState;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, input},
    take_inventory::{homes, original_ids},
};
use crate::{
    audit::{Expected, Held, Request, report},
    keys::{
        KeySet,
        import::{KeyMaterial, Realm, key_state},
    },
    systems::Homes,
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct Audit(pub Domain);

#[derive(Deserialize)]
struct Basis {
    plan: Plan,
    keys: KeySet,
    generation: u64,
    expected: Vec<Expected>,
}

#[async_trait]
impl Step for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let basis: Basis =
            if value.get("keys").is_some() { input(self.name(), value)? } else { self.custody(context).await? };
        let (mut ids, mut known) = (std::collections::BTreeSet::new(), BTreeMap::new());
        for inventory in context.records("inventory").await?.values() {
            ids.extend(original_ids(inventory));
            known.extend(homes(inventory));
        }
        let scan = self.0.scan(context, &basis.plan.partition, &ids).await?;
        let held = self.held(context, &basis.keys).await?;
        let report = report(&Request {
            enterprise: &context.enterprise,
            generation: basis.generation,
            generated_at: context.now(),
            keys: &basis.keys,
            expected: &basis.expected,
            residency: &basis.plan.residency(),
            homes: &Homes::new(&scan.resources, known),
            originals: &ids,
            scan: &scan,
            held: &held,
        });
        let output = json!({ "report": context.run, "summary": report["summary"], "deviations": report["deviations"] });
        let records = vec![
            Record { collection: "report", key: context.run.clone(), body: report.clone() },
            Record { collection: "report", key: "latest".to_owned(), body: report },
        ];
        Ok(Progress::recorded(output, records))
    }
}

impl Audit {
    /// What is known of the vendor's keys among these.
    async fn held(&self, context: &StepContext, keys: &KeySet) -> Result<BTreeMap<String, Held>, StepError> {
        let mut all = BTreeMap::new();
        for (region, arn) in keys.all() {
            let Some(known) = context.record(Realm::Production.materials(), &arn).await? else { continue };
            let proven_at = serde_json::from_value::<KeyMaterial>(known).ok().and_then(|known| known.proven_at());
            let kms = self.0.aws.kms(&region).await?;
            let gone = match key_state(&kms, &arn).await {
                Ok(state) => state == Some(KeyState::PendingImport),
                // It cannot be read either way: what is under it is still compared.
                Err(failure) if failure.not_found() => false,
                Err(failure) => return Err(failure.into()),
            };
            all.insert(arn, Held { proven_at, gone });
        }
        Ok(all)
    }

    async fn custody(&self, context: &StepContext) -> Result<Basis, StepError> {
        let Some(mut custody) = context.record("custody", "current").await? else {
            let cause = format!(
                "{} has no custody record: nothing says which keys to expect. Finish an onboarding first",
                context.enterprise
            );
            return Err(StepError::new("Keyferry.NoCustody", cause));
        };
        let keys = json!({ "keys": custody["keys"].take(), "instances": custody["instances"].take() });
        let basis = json!({
            "plan": custody["plan"].take(), "keys": keys, "generation": custody["generation"].take(),
            "expected": custody["systems"].take(),
        });
        input(self.name(), basis)
    }
}
