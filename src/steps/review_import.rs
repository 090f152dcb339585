//! Looks which of the vendor's keys have their material, and decides how long to wait for the rest.
//!
//! Takes `keys` (what `create-import-key` gave), `waited` (whether the form stood open before) and, where the same material is
//! imported again, `reimport`. Gives `complete`, `remaining` (targets), the keys as `keys`, `instances` and `list`, and `wait`
//! (`notice`, `seconds`). When nothing is lacking any more it tells the customer and the engineer so, and leaves that as the record
//! `keys-arrived`/RUN. Effect: none. Again: KMS is asked again; of a re-import, the evidence; a run that has told so tells it no
//! more, but for another round of a re-import.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Domain, common::input};
use crate::{
    keys::{
        KeySet,
        import::{KeyMaterial, Realm, Reimport, Session, Target, current_material, import_wait},
    },
    worker::{Progress, Record, Step, StepContext, StepError, Told},
};

/// Record and letter: every key that a run waited for has its material.
const ARRIVED: &str = "keys-arrived";

pub struct ReviewImport(pub Domain);

#[derive(Deserialize)]
struct Input {
    keys: Vec<Target>,
    #[serde(default)]
    waited: bool,
    #[serde(default)]
    reimport: Option<Reimport>,
}

#[async_trait]
impl Step for ReviewImport {
    fn name(&self) -> &'static str {
        "review-import"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { keys, waited, reimport } = input(self.name(), value)?;
        let (mut remaining, mut held) = (Vec::new(), Vec::new());
        for target in &keys {
            let material = match &reimport {
                Some(reimport) => proven(context, target, reimport).await?,
                None => current_material(&self.0.aws.kms(&target.region).await?, &target.arn).await?,
            };
            match material {
                Some(id) => held.push((target, id)),
                None => remaining.push(target),
            }
        }
        let sessions = context.records(Realm::Production.sessions()).await?;
        let sessions: Vec<Session> =
            sessions.into_values().filter_map(|body| serde_json::from_value(body).ok()).collect();
        let asked = |session: &&Session| {
            remaining.iter().any(|target| **target == session.target)
                && reimport.as_ref().is_none_or(|reimport| session.asked_at >= reimport.since)
        };
        let theirs: Vec<&Session> = sessions.iter().filter(asked).collect();
        let set = key_set(&keys);
        let complete = !keys.is_empty() && remaining.is_empty();
        let output = json!({
            "complete": complete,
            "remaining": remaining,
            "keys": set.keys,
            "instances": set.instances,
            "list": keys,
            "wait": import_wait(&theirs, context.now(), waited),
        });
        let since = json!(reimport.as_ref().map(|reimport| reimport.since));
        let told = context.record(ARRIVED, &context.run).await?.is_some_and(|told| told["since"] == since);
        if !complete || told {
            return Ok(Progress::done(output));
        }
        let materials: Vec<Value> = held.into_iter().map(|(target, id)| arrived(target, &id)).collect();
        let about = json!({ "materials": materials, "reimport": reimport });
        let body = json!({ "since": since, "materials": materials, "at": context.now() });
        let record = Record { collection: ARRIVED, key: context.run.clone(), body };
        Ok(Progress::Done { output, records: vec![record], told: vec![Told { letter: ARRIVED, about }] })
    }
}

fn arrived(target: &Target, key_material_id: &str) -> Value {
    let mut row = json!(target);
    row["key_material_id"] = json!(key_material_id);
    row
}

/// The id of the material that a key was given since it was asked for.
async fn proven(context: &StepContext, target: &Target, reimport: &Reimport) -> Result<Option<String>, StepError> {
    let evidence = context.record(Realm::Production.materials(), &target.arn).await?;
    let evidence = evidence.and_then(|body| serde_json::from_value::<KeyMaterial>(body).ok());
    let evidence = evidence.filter(|evidence| evidence.is_proven_since(reimport.since));
    Ok(evidence.map(|evidence| evidence.key_material_id))
}

fn key_set(keys: &[Target]) -> KeySet {
    let mut set = KeySet::default();
    let mut own: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for Target { region, instance, arn } in keys {
        let of = match instance {
            Some(instance) => own.entry(instance.clone()).or_default(),
            None => &mut set.keys,
        };
        of.insert(region.clone(), arn.clone());
    }
    KeySet { instances: own, ..set }
}
