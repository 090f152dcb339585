//! Decides which of the vendor's keys the customer is to import the same material into again, and why.
//!
//! Takes `asked`, the run's input: `keys` and `regions` (neither: every key that is gone, with `all` or for a drill every key),
//! `reason`, `drill`, and for a drill on a schedule `every_days` and `agreed_with`; and `again`, whether this run has asked
//! before. Gives `keys` (with the state of each), `left_out` (those that can take no material), `any`, `reimport` (what the form
//! is told), `again_after_s` (0: not again) and `superseded` (another schedule holds since). Leaves the schedule as the record
//! `custody-schedule`/current. Effect: none. Again: KMS is asked again.

use async_trait::async_trait;
use aws_sdk_kms::types::KeyState;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Domain, common::input};
use crate::{
    keys::import::{KeyMaterial, Realm, Reimport, key_state, serving},
    worker::{Progress, Record, Step, StepContext, StepError},
};

/// The schedule of drills that the customer agreed to.
const SCHEDULE: &str = "custody-schedule";
const CURRENT: &str = "current";
const DAY: u64 = 86_400;
/// The rarest that a schedule may be: ten years.
const RAREST: u64 = 3_650;

pub struct PlanReimport(pub Domain);

#[derive(Deserialize)]
struct Input {
    asked: Asked,
    #[serde(default)]
    again: bool,
}

/// The run's input. A word that it does not know is a mistake: what was meant by it would not happen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    regions: Vec<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    drill: bool,
    #[serde(default)]
    every_days: Option<u64>,
    #[serde(default)]
    agreed_with: Option<String>,
}

impl Asked {
    fn names(&self, known: &KeyMaterial) -> bool {
        self.keys.contains(&known.target.arn) || self.regions.contains(&known.target.region)
    }

    fn names_any(&self) -> bool {
        !self.keys.is_empty() || !self.regions.is_empty()
    }

    /// # Errors
    /// What cannot be meant.
    fn check(&self, held: &[KeyMaterial]) -> Result<(), StepError> {
        let wrong = |what: String| {
            let cause = format!("the run's input: {what}. Cancel this run and start one with the input put right");
            Err(StepError::new("Keyferry.BadInput", cause))
        };
        if let Some(key) = self.keys.iter().find(|key| !held.iter().any(|known| known.target.arn == **key)) {
            return wrong(format!("{key} is none of the keys that material of this enterprise was imported into"));
        }
        if let Some(region) = self.regions.iter().find(|name| !held.iter().any(|known| known.target.region == **name)) {
            return wrong(format!("no key of this enterprise is in {region}"));
        }
        match self.every_days {
            Some(_) if !self.drill => wrong("every_days is for a drill: say \"drill\": true".to_owned()),
            Some(days) if !(1..=RAREST).contains(&days) => wrong(format!("every_days is from 1 to {RAREST}")),
            Some(_) if self.agreed_with.as_ref().is_none_or(|name| name.trim().is_empty()) => {
                wrong("every_days needs agreed_with: who of the customer agreed to it".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[async_trait]
impl Step for PlanReimport {
    fn name(&self) -> &'static str {
        "plan-reimport"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { asked, again } = input(self.name(), value)?;
        let held = held(context).await?;
        asked.check(&held)?;
        let schedule = context.record(SCHEDULE, CURRENT).await?;
        let others = schedule.as_ref().is_some_and(|schedule| schedule["run"] != context.run.as_str());
        let superseded = asked.every_days.is_some() && again && others;
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        let mut outage = false;
        for known in held.iter().filter(|known| !asked.names_any() || asked.names(known)) {
            let kms = self.0.aws.kms(&known.target.region).await?;
            let state = key_state(&kms, &known.target.arn).await?;
            let gone = state == Some(KeyState::PendingImport);
            let mut row = json!(known.target);
            row["state"] = json!(state.as_ref().map_or("unknown", KeyState::as_str));
            row["key_material_id"] = json!(known.key_material_id);
            if !gone && state != Some(KeyState::Enabled) {
                left_out.push(row);
            } else if gone || asked.drill || asked.all || asked.names_any() {
                outage |= gone;
                keys.push(row);
            }
        }
        let every_s = asked.every_days.map_or(0, |days| days * DAY);
        let records = asked.every_days.filter(|_| !superseded).map(|days| Record {
            collection: SCHEDULE,
            key: CURRENT.to_owned(),
            body: json!({
                "run": context.run, "every_days": days, "agreed_with": asked.agreed_with, "asked_at": context.now(),
            }),
        });
        let reimport = Reimport { since: context.now(), drill: asked.drill, outage, reason: asked.reason };
        let output = json!({
            "any": !keys.is_empty() && !superseded, "keys": keys, "left_out": left_out, "reimport": reimport,
            "again_after_s": every_s, "superseded": superseded,
        });
        Ok(Progress::recorded(output, records.into_iter().collect()))
    }
}

/// The keys that serve the enterprise and hold material of the customer's; while no onboarding has ended, all that hold any.
async fn held(context: &StepContext) -> Result<Vec<KeyMaterial>, StepError> {
    let custody = context.record("custody", CURRENT).await?.unwrap_or_default();
    let serving = serving(&custody);
    let known = context.records(Realm::Production.materials()).await?;
    let known = known.into_values().filter_map(|body| serde_json::from_value::<KeyMaterial>(body).ok());
    Ok(known.filter(|known| serving.is_empty() || serving.contains(&known.target.arn.as_str())).collect())
}
