//! The watch over imported material: AWS can lose it with a region's power, and nobody would know before data is needed.
//!
//! A key that served and has gone back to waiting for material gets a run of `reimport` at once, which tells the customer. The
//! idempotency key names the loss (the key, and the import that was lost), so that any number of processes that look, as often
//! as they like, open one run a loss; one that an engineer has cancelled is not opened again.

use std::time::Duration;

use aws_sdk_kms::types::KeyState;
use serde_json::{Value, json};

use super::{
    again::serving,
    desk::{Desk, body},
    refusal::Refusal,
    session::KeyMaterial,
    vault::key_state,
};
use crate::{
    engine::Actor,
    worker::{ServiceError, StartRun},
};

/// The workflow that asks for the same material again.
const REIMPORT: &str = "reimport";
const PAGE: u32 = 100;

impl Desk {
    /// Looks at every key that holds a customer's material, and opens a run for each whose material is gone. Returns the runs.
    ///
    /// # Errors
    /// The store could not be read. A key that KMS does not tell of now is looked at the next time.
    pub async fn open_for_lost(&self) -> Result<Vec<String>, Refusal> {
        let mut runs = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.0.service.enterprises(PAGE, cursor).await?;
            for enterprise in &page.items {
                for known in self.serving_keys(&enterprise.id).await? {
                    if self.is_gone(&enterprise.id, &known).await {
                        runs.push(self.open_for(&enterprise.id, &known).await?);
                    }
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(runs);
            }
        }
    }

    /// Looks every `interval` for as long as it is polled.
    pub async fn watch(self, interval: Duration) {
        loop {
            self.0.clock.sleep(interval).await;
            match self.open_for_lost().await {
                Ok(runs) => runs
                    .iter()
                    .for_each(|run| tracing::warn!(run.id = %run, "imported material is gone; the customer is asked")),
                Err(refusal) => {
                    tracing::error!(code = refusal.code, "imported keys could not be looked at: {}", refusal.detail)
                }
            }
        }
    }

    async fn serving_keys(&self, enterprise: &str) -> Result<Vec<KeyMaterial>, Refusal> {
        let custody = self.0.service.record(enterprise, "custody", "current").await?;
        let custody = custody.map(|record| record.body).unwrap_or(Value::Null);
        let serving = serving(&custody);
        let mut known = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.0.service.records(enterprise, self.0.realm.materials(), PAGE, cursor).await?;
            for record in &page.items {
                known.push(body::<KeyMaterial>(record)?);
            }
            cursor = page.next;
            if cursor.is_none() {
                known.retain(|known| serving.is_empty() || serving.contains(&known.target.arn.as_str()));
                return Ok(known);
            }
        }
    }

    async fn is_gone(&self, enterprise: &str, known: &KeyMaterial) -> bool {
        let state = match self.cloud(enterprise).aws.kms(&known.target.region).await {
            Ok(kms) => key_state(&kms, &known.target.arn).await.map_err(|failure| failure.cause),
            Err(error) => Err(error.to_string()),
        };
        match state {
            Ok(state) => state == Some(KeyState::PendingImport),
            Err(cause) => {
                tracing::warn!(key = %known.target.arn, %cause, "an imported key could not be looked at");
                false
            }
        }
    }

    async fn open_for(&self, enterprise: &str, known: &KeyMaterial) -> Result<String, ServiceError> {
        let arn = &known.target.arn;
        let start = StartRun {
            enterprise: enterprise.to_owned(),
            workflow: REIMPORT.to_owned(),
            input: json!({ "keys": [arn], "reason": "AWS KMS holds the material of this key no more" }),
            actor: Actor { name: "keyferry".to_owned(), role: "system".to_owned() },
            idempotency_key: Some(format!("lost-material {arn} {}", known.at.timestamp_micros())),
        };
        Ok(self.0.service.start_run(start).await?.id)
    }
}
