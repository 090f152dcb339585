//! What follows when a key in use is lost: it is told, followed, and told again when it changes.
//!
//! `tell-key-state` takes `key` (`arn`, `region`) and `systems`; gives `state` and `lost`; tells customer and engineer, at most once
//! an hour of the same state, and leaves `key-letter`/ARN. `follow-key` takes the same and `state`, which was told; waits until the
//! watch has written another one down and gives it, with the systems that the loss has stopped, each since it was first seen so.
//! Effect of both: none in AWS. Again: the same.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Domain, common::input};
use crate::{
    aws::partition,
    keys::{
        KeySet,
        watch::{HEALTH, Health},
    },
    schedule,
    systems::{Kind, Readiness, Resource, readiness},
    worker::{Progress, Record, Step, StepContext, StepError, Told},
};

pub struct TellKeyState(pub Domain);
pub struct FollowKey(pub Domain);

/// AWS keeps a system recoverable for so long.
const RECOVERABLE: TimeDelta = TimeDelta::days(7);
/// Between two letters about a key in the same state.
const LETTERS: TimeDelta = TimeDelta::hours(1);
const LETTER: &str = "key-letter";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Key {
    pub arn: String,
    pub region: String,
}

/// A system that stopped when its key was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stopped {
    pub id: String,
    pub region: String,
    pub kind: Kind,
    pub status: String,
    /// When it was first seen so; AWS does not say when it began.
    pub since: DateTime<Utc>,
    /// Until when it can be brought back, counted from the first sight.
    pub until: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Input {
    key: Key,
    #[serde(default)]
    systems: Vec<Stopped>,
    #[serde(default)]
    state: Option<String>,
}

/// What the watch knows of a key; none when it is none of the enterprise's any more.
pub(super) async fn health(context: &StepContext, arn: &str) -> Result<Option<Health>, StepError> {
    let custody = context.record("custody", "current").await?.unwrap_or(Value::Null);
    let keys = serde_json::from_value::<KeySet>(json!({ "keys": custody["keys"], "instances": custody["instances"] }));
    if !keys.unwrap_or_default().all().iter().any(|(_, key)| key == arn) {
        return Ok(None);
    }
    Ok(context.record(HEALTH, arn).await?.and_then(|body| serde_json::from_value(body).ok()))
}

impl Domain {
    /// The enterprise's systems under a key.
    pub(super) async fn under(&self, context: &StepContext, key: &Key) -> Result<Vec<Resource>, StepError> {
        let scan = self.scan(context, partition(&key.region), &BTreeSet::new()).await?;
        let systems = scan.resources.into_iter().filter(|found| {
            matches!(found.kind, Kind::Instance | Kind::Cluster) && found.key.as_deref() == Some(&key.arn)
        });
        Ok(systems.collect())
    }
}

#[async_trait]
impl Step for TellKeyState {
    fn name(&self) -> &'static str {
        "tell-key-state"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { key, systems, .. } = input(self.name(), value)?;
        let health = match health(context, &key.arn).await? {
            Some(health) if health.is_lost() => health,
            // It is back already, or the watch is about to write it down: following it finds out.
            Some(_) | None => return Ok(Progress::done(json!({ "state": null, "lost": false }))),
        };
        let state = json!(health.is.state);
        let output = json!({ "state": state, "lost": true });
        let letters = context.record(LETTER, &key.arn).await?.unwrap_or_else(|| json!({}));
        let mut letters: BTreeMap<String, DateTime<Utc>> = serde_json::from_value(letters).unwrap_or_default();
        let name = state.as_str().unwrap_or_default().to_owned();
        if letters.get(&name).is_some_and(|at| context.now() - *at < LETTERS) {
            return Ok(Progress::done(output));
        }
        letters.insert(name, context.now());
        let records = vec![Record { collection: LETTER, key: key.arn.clone(), body: json!(letters) }];
        let under: Vec<Value> = match self.0.under(context, &key).await {
            Ok(found) => {
                found.iter().map(|found| json!(format!("{} in {}: {}", found.id, found.region, found.status))).collect()
            }
            Err(error) => vec![json!(format!("AWS did not tell which: {}", error.cause))],
        };
        let about = json!({
            "key": key.arn, "region": key.region, "state": health.is.state, "says": health.is.state.words(),
            "since": health.is.since, "under": under, "stopped": systems,
        });
        Ok(Progress::Done { output, records, told: vec![Told { letter: "key-state", about }] })
    }
}

#[async_trait]
impl Step for FollowKey {
    fn name(&self) -> &'static str {
        "follow-key"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { key, systems, state } = input(self.name(), value)?;
        let saved = context.checkpoint.as_ref().and_then(|saved| saved.get("systems")).cloned();
        let known = saved.and_then(|saved| serde_json::from_value(saved).ok()).unwrap_or(systems);
        let health = health(context, &key.arn).await?;
        let lost = health.as_ref().is_some_and(Health::is_lost);
        let told = health.as_ref().is_some_and(|health| json!(health.is.state).as_str() == state.as_deref());
        // AWS out of reach hides nothing that was seen before.
        let systems = match self.0.under(context, &key).await {
            Ok(found) => stopped(&known, &found, context.now()),
            Err(_) => known,
        };
        if lost && told {
            let waiting = format!("the key {} to be usable again; {}", key.arn, counted(&systems, context.now()));
            let checkpoint = json!({ "systems": systems });
            return Ok(Progress::Pending { poll_after: self.0.grace, checkpoint, waiting_for: waiting });
        }
        Ok(Progress::done(json!({ "lost": lost, "systems": systems })))
    }
}

/// Those that the loss has stopped, with the time at which each was first seen so.
fn stopped(known: &[Stopped], found: &[Resource], now: DateTime<Utc>) -> Vec<Stopped> {
    let lost = found.iter().filter(|found| matches!(readiness(&found.status), Readiness::KeyLost(_)));
    let each = lost.map(|found| {
        let before = known.iter().find(|known| known.id == found.id && known.region == found.region);
        let since = before.map_or(now, |before| before.since);
        Stopped {
            id: found.id.clone(),
            region: found.region.clone(),
            kind: found.kind,
            status: found.status.clone(),
            since,
            until: since + RECOVERABLE,
        }
    });
    each.collect()
}

fn counted(systems: &[Stopped], now: DateTime<Utc>) -> String {
    if systems.is_empty() {
        return "RDS has stopped nothing yet".to_owned();
    }
    let each = systems.iter().map(|system| {
        let left = (system.until - now).max(TimeDelta::zero());
        format!(
            "{} can be brought back until {} ({} days {} hours, counted from when it was first seen stopped)",
            system.id,
            schedule::text(system.until),
            left.num_days(),
            left.num_hours() % 24
        )
    });
    each.collect::<Vec<_>>().join("; ")
}
