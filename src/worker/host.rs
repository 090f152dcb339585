//! What a running step is offered, over the store.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fail::fail_point;
use serde_json::Value;

use super::{StepError, StepHost, core::Core};
use crate::store::{RecordsPage, Say, StoreError};

/// What a step gives up with that could not reach the store. It has not failed: its work is given back.
pub(super) const UNAVAILABLE: &str = "Keyferry.StoreUnavailable";

pub(super) struct Host {
    pub(super) core: Arc<Core>,
}

fn lost(run: &str) -> StepError {
    StepError::new(
        "Keyferry.LeaseLost",
        format!("the step of run {run} is no longer this worker's: another has it, or it is over"),
    )
}

fn failed(error: &StoreError) -> StepError {
    match error {
        StoreError::LeaseLost { run, .. } => lost(run),
        StoreError::Unavailable { .. } => StepError::new(UNAVAILABLE, error.to_string()),
        error => StepError::new("Keyferry.StoreUnreadable", error.to_string()),
    }
}

#[async_trait]
impl StepHost for Host {
    fn now(&self) -> DateTime<Utc> {
        self.core.clock.now()
    }

    async fn save_checkpoint(&self, run: &str, frame: u64, visit: u64, checkpoint: Value) -> Result<(), StepError> {
        let claim = self.core.held.get(run, frame, visit).ok_or_else(|| lost(run))?;
        fail_point!("checkpoint::before");
        self.core.committer.commit(claim.word(Say::Checkpoint { checkpoint })).await.map_err(|error| {
            if matches!(error, StoreError::LeaseLost { .. }) {
                claim.lose();
            }
            failed(&error)
        })?;
        fail_point!("checkpoint::after");
        claim.beat(self.now());
        Ok(())
    }

    async fn heartbeat(&self, run: &str, frame: u64, visit: u64) -> Result<(), StepError> {
        let claim = self.core.held.get(run, frame, visit).ok_or_else(|| lost(run))?;
        claim.beat(self.now());
        Ok(())
    }

    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<Value>, StepError> {
        let record = self.core.store.record(enterprise, collection, key).await.map_err(|error| failed(&error))?;
        Ok(record.map(|record| record.body))
    }

    async fn records(&self, enterprise: &str, collection: &str) -> Result<BTreeMap<String, Value>, StepError> {
        let mut all = BTreeMap::new();
        let mut cursor = None;
        loop {
            let asked = RecordsPage {
                enterprise: enterprise.to_owned(),
                collection: collection.to_owned(),
                limit: 200,
                cursor,
            };
            let page = self.core.store.records(asked).await.map_err(|error| failed(&error))?;
            all.extend(page.items.into_iter().map(|record| (record.key, record.body)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    async fn is_open(&self, run: &str) -> Result<bool, StepError> {
        let header = match self.core.store.load(run).await {
            Ok(loaded) => loaded.snapshot.header,
            Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(failed(&error)),
        };
        if header.outcome.is_none() {
            return Ok(true);
        }
        let family = self.core.family(run).await.map_err(|error| failed(&error))?;
        Ok(family.descendant_is_open)
    }

    async fn ancestors(&self, run: &str) -> Result<Vec<String>, StepError> {
        let mut all = vec![run.to_owned()];
        while let Some(last) = all.last() {
            let loaded = self.core.store.load(last).await.map_err(|error| failed(&error))?;
            let Some(parent) = loaded.parent else { break };
            all.push(parent.run);
        }
        Ok(all)
    }

    async fn partition(&self, enterprise: &str) -> Result<String, StepError> {
        let found = self.core.store.enterprise(enterprise).await.map_err(|error| failed(&error))?;
        found
            .map(|enterprise| enterprise.partition)
            .ok_or_else(|| StepError::new("Keyferry.StoreUnreadable", format!("there is no enterprise {enterprise}")))
    }
}
