//! Looks which of the vendor's keys have their material, and decides how long to wait for the rest.
//!
//! Takes `keys` (what `create-import-key` gave) and `waited` (whether the form stood open before). Gives `complete`,
//! `remaining` (targets), the keys as `keys`, `instances` and `list`, and `wait` (`notice`, `seconds`). Effect: none. Again:
//! KMS is asked again.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Domain, common::input};
use crate::{
    keys::{
        KeySet,
        import::{Realm, Session, Target, current_material, import_wait},
    },
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ReviewImport(pub Domain);

#[derive(Deserialize)]
struct Input {
    keys: Vec<Target>,
    #[serde(default)]
    waited: bool,
}

#[async_trait]
impl Step for ReviewImport {
    fn name(&self) -> &'static str {
        "review-import"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { keys, waited } = input(self.name(), value)?;
        let mut remaining = Vec::new();
        for target in &keys {
            let kms = self.0.aws.kms(&target.region).await?;
            if current_material(&kms, &target.arn).await?.is_none() {
                remaining.push(target);
            }
        }
        let sessions = context.records(Realm::Production.sessions()).await?;
        let sessions: Vec<Session> =
            sessions.into_values().filter_map(|body| serde_json::from_value(body).ok()).collect();
        let theirs: Vec<&Session> =
            sessions.iter().filter(|session| remaining.iter().any(|target| **target == session.target)).collect();
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
