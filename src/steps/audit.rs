//! Audits the enterprise: uses every key, surveys everything, compares with the expected keys, writes the report.
//!
//! Takes nothing (then the custody record says what is expected), or `plan`, `keys` and `generation` of the run's inventory, whose
//! systems are expected then. Fails with `Keyferry.NoPlan` when that was taken with other keys or regions. Leaves
//! `report`/run, `report`/latest and `key-canary`/ARN. Gives the report's summary, deviations and doubts. Effect: the canaries'
//! copies, deleted again. Again: a report of then. What AWS does not answer is asked again until the grace is over; then the
//! report says that it is not known.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Domain,
    audit_keys::{Looked, Used},
    common::{Plan, input},
    recorded::expected,
    take_inventory::{homes, original_ids},
};
use crate::{
    audit::{Expected, KeySeen, Place, Report, Request, decisions, report},
    keys::KeySet,
    systems::{Homes, Survey},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct Audit(pub Domain);

#[derive(Deserialize)]
struct Stated {
    plan: Plan,
    keys: KeySet,
    generation: u64,
}

#[derive(Deserialize)]
pub(super) struct Basis {
    plan: Plan,
    pub keys: KeySet,
    generation: u64,
    expected: Vec<Expected>,
}

/// What the step remembers between two looks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    pub since: DateTime<Utc>,
    /// Keys that RDS has been seen to use, with what it did.
    #[serde(default)]
    pub canaries: BTreeMap<String, Used>,
}

#[async_trait]
impl Step for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let given = value.as_object().is_some_and(|given| !given.is_empty());
        let basis = if given { self.inventory(context, value).await? } else { self.custody(context).await? };
        let saved = context.checkpoint.clone().and_then(|saved| serde_json::from_value(saved).ok());
        let mut saved = saved.unwrap_or_else(|| Saved { since: context.now(), canaries: BTreeMap::new() });
        let in_grace = (context.now() - saved.since).to_std().unwrap_or_default() < self.0.grace;
        let mut seen = BTreeMap::new();
        let mut waiting = None;
        for (region, arn) in basis.keys.all() {
            match self.0.look_at_key(context, &region, &arn, &mut saved, in_grace).await? {
                Looked::Seen(key) => {
                    seen.insert(arn, *key);
                }
                Looked::Waiting(what) => waiting = waiting.or(Some(what)),
            }
        }
        if let Some(what) = waiting {
            return Ok(self.0.pending_with(what, json!(saved)));
        }
        let originals = originals(context).await?;
        let survey = self.0.survey(context, &basis.plan.partition, &originals).await?;
        if survey.is_interrupted() && in_grace {
            let what = "AWS to answer: not everything could be read".to_owned();
            return Ok(self.0.pending_with(what, json!(saved)));
        }
        let report = self.report(context, &basis, &originals, &survey, &seen).await?;
        Ok(left(context, &report, &saved.canaries))
    }
}

/// What the report leaves.
fn left(context: &StepContext, report: &Report, canaries: &BTreeMap<String, Used>) -> Progress {
    let output = json!({
        "report": context.run, "name": report.name, "summary": report.summary, "changes": report.changes, "deviations": report.deviations,
        "not_proven": report.not_proven,
    });
    let body = json!(report);
    let mut records = vec![
        Record { collection: "report", key: context.run.clone(), body: body.clone() },
        Record { collection: "report", key: "latest".to_owned(), body },
    ];
    records.extend(canaries.iter().map(|(arn, used)| used.record(arn)));
    Progress::recorded(output, records)
}

async fn originals(context: &StepContext) -> Result<BTreeSet<String>, StepError> {
    let mut ids = BTreeSet::new();
    for inventory in context.records("inventory").await?.values() {
        ids.extend(original_ids(inventory));
    }
    Ok(ids)
}

impl Audit {
    async fn report(
        &self,
        context: &StepContext,
        basis: &Basis,
        originals: &BTreeSet<String>,
        survey: &Survey,
        seen: &BTreeMap<String, KeySeen>,
    ) -> Result<Report, StepError> {
        let decided = decisions(context.records("audit-decision").await?);
        let before = context.record("report", "latest").await?.and_then(|body| serde_json::from_value(body).ok());
        let mut known = BTreeMap::new();
        for inventory in context.records("inventory").await?.values() {
            known.extend(homes(inventory));
        }
        let place = self.0.config.aws.partitions.get(&basis.plan.partition);
        let regions = place.map(|place| place.regions.clone()).unwrap_or_default();
        Ok(report(&Request {
            enterprise: &context.enterprise,
            run: &context.run,
            generation: basis.generation,
            generated_at: context.now(),
            keys: &basis.keys,
            expected: &basis.expected,
            residency: &basis.plan.residency(),
            homes: &Homes::new(&survey.scan.resources, known),
            originals,
            place: Place {
                account: place.map(|place| place.account.as_str()).unwrap_or_default(),
                partition: &basis.plan.partition,
                regions: &regions,
                enterprise_tag: &self.0.config.aws.enterprise_tag,
                instance_tag: &self.0.config.aws.instance_tag,
                vendor: &self.0.config.vendor.name,
            },
            survey,
            seen,
            decisions: &decided,
            before: before.as_ref(),
        }))
    }

    /// What the run's inventory has found.
    async fn inventory(&self, context: &StepContext, value: Value) -> Result<Basis, StepError> {
        let Stated { plan, keys, generation } = input(self.name(), value)?;
        let expected = expected(context, generation, &keys, &plan.residency()).await?;
        Ok(Basis { plan, keys, generation, expected: input(self.name(), expected)? })
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
