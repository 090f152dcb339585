//! Starts what the loss of a key stopped, when the key can be used again, and sees that it serves.
//!
//! Takes `key` and `systems`, as `follow-key` gives them. Gives `started`, `lost` (to be restored from a backup) and whether the key was
//! `lost_again` meanwhile. Tells customer and engineer. Effect: StartDBInstance and StartDBCluster, of what RDS shows as recoverable
//! under that key and of nothing else: what people stopped stays stopped. Again: what is starting is waited for.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Domain,
    common::input,
    key_loss::{Key, Stopped, health},
};
use crate::{
    aws::{Failure, failure},
    systems::{self, Kind, Readiness, Resource, readiness},
    worker::{Progress, Step, StepContext, StepError, Told},
};

pub struct StartLostSystems(pub Domain);

#[derive(Deserialize)]
struct Input {
    key: Key,
    #[serde(default)]
    systems: Vec<Stopped>,
}

/// What was started so far, as `id in region`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Saved {
    started: Vec<String>,
}

#[async_trait]
impl Step for StartLostSystems {
    fn name(&self) -> &'static str {
        "start-lost-systems"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { key, systems } = input(self.name(), value)?;
        let saved = context.checkpoint.clone().and_then(|saved| serde_json::from_value(saved).ok());
        let mut saved: Saved = saved.unwrap_or_default();
        if health(context, &key.arn).await?.is_some_and(|health| health.is_lost()) {
            return Ok(Progress::done(json!({ "started": saved.started, "lost": [], "lost_again": true })));
        }
        let mut waiting = None;
        let (mut lost, mut serving) = (Vec::new(), Vec::new());
        for found in self.0.under(context, &key).await? {
            let name = format!("{} in {}", found.id, found.region);
            let ours = saved.started.contains(&name)
                || systems.iter().any(|known| known.id == found.id && known.region == found.region);
            match readiness(&found.status) {
                Readiness::KeyLost(status) if status.ends_with("-recoverable") => {
                    self.start(&found).await?;
                    if !saved.started.contains(&name) {
                        saved.started.push(name);
                    }
                    waiting = waiting.or(Some(format!("RDS: {} starts", found.id)));
                }
                Readiness::KeyLost(_) => lost.push(name),
                Readiness::Busy(status) if ours => waiting = waiting.or(Some(format!("RDS: {} is {status}", found.id))),
                Readiness::Ready if ours => serving.push(name),
                Readiness::Ready | Readiness::Busy(_) | Readiness::Broken(_) => {}
            }
        }
        if let Some(what) = waiting {
            return Ok(self.0.pending_with(what, json!(saved)));
        }
        let output = json!({ "started": saved.started, "serving": serving, "lost": lost, "lost_again": false });
        let about = json!({ "key": key.arn, "region": key.region, "serving": serving, "lost": lost });
        Ok(Progress::Done { output, records: Vec::new(), told: vec![Told { letter: "systems-back", about }] })
    }
}

impl StartLostSystems {
    /// A key that RDS cannot use yet, and a system that is on its way already, are waited for.
    async fn start(&self, found: &Resource) -> Result<(), StepError> {
        let rds = self.0.aws.rds(&found.region).await?;
        let tried = format!("start {}", found.id);
        let outcome: Result<(), Failure> = if found.kind == Kind::Cluster {
            let call = rds.start_db_cluster().db_cluster_identifier(&found.id);
            call.send().await.map(|_| ()).map_err(|error| failure(&tried, &error))
        } else {
            let member =
                systems::instance(&rds, &found.id).await?.is_some_and(|it| it.db_cluster_identifier().is_some());
            // Members of a cluster start with it.
            if member {
                return Ok(());
            }
            let call = rds.start_db_instance().db_instance_identifier(&found.id);
            call.send().await.map(|_| ()).map_err(|error| failure(&tried, &error))
        };
        match outcome {
            Err(failure) if !["Keyferry.KeyNotUsable", "Keyferry.NotReady"].contains(&failure.error) => {
                Err(failure.into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
