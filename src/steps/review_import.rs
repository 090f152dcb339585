//! Looks which of the vendor's keys have their material, and decides how long to wait for the rest.
//!
//! Takes `keys` (what `create-import-key` gave), `waited` (whether the form stood open before) and, where the same material is
//! imported again, `reimport`. Gives `complete`, `remaining` (targets), the keys as `keys`, `instances` and `list`, and `wait`
//! (`notice`, `seconds`). Effect: none. Again: KMS is asked again; of a re-import, the evidence.

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
    worker::{Progress, Step, StepContext, StepError},
};

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
        let mut remaining = Vec::new();
        for target in &keys {
            let done = match &reimport {
                Some(reimport) => proven(context, target, reimport).await?,
                None => {
                    let kms = self.0.aws.kms(&target.region).await?;
                    current_material(&kms, &target.arn).await?.is_some()
                }
            };
            if !done {
                remaining.push(target);
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
        Ok(Progress::done(json!({
            "complete": !keys.is_empty() && remaining.is_empty(),
            "remaining": remaining,
            "keys": set.keys,
            "instances": set.instances,
            "list": keys,
            "wait": import_wait(&theirs, context.now(), waited),
        })))
    }
}

async fn proven(context: &StepContext, target: &Target, reimport: &Reimport) -> Result<bool, StepError> {
    let evidence = context.record(Realm::Production.materials(), &target.arn).await?;
    let evidence = evidence.and_then(|body| serde_json::from_value::<KeyMaterial>(body).ok());
    Ok(evidence.is_some_and(|evidence| evidence.is_proven_since(reimport.since)))
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
