//! The watch over imported material: AWS can lose it with a region's power, and nobody would know before data is needed.
//!
//! A key that served and has gone back to waiting for material is asked for by a run of `reimport`, which tells the customer:
//! what an enterprise has lost at once, by one run. A loss is written down with that run, on the version that was read, so that
//! of any number of processes that look, as often as they like, one says it, once; one that an engineer has cancelled is not
//! opened again. When the key has its material again, that is written down and said too.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_kms::types::KeyState;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    again::serving,
    desk::{Desk, FORM, body},
    opening::{Open, REIMPORT, Seen, start_unless},
    refusal::Refusal,
    session::{KeyMaterial, digest},
    vault::key_state,
};
use crate::{
    engine::{Actor, Standing},
    worker::StartRun,
};

/// Losses, by the key's ARN.
const LOSSES: &str = "material-loss";
const PAGE: u32 = 100;

/// A key's material that was gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Loss {
    /// The run that asks for it.
    run: String,
    /// When what was lost had been imported.
    imported_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    made_good_at: Option<DateTime<Utc>>,
}

impl Loss {
    fn is_open_of(&self, known: &KeyMaterial) -> bool {
        self.imported_at == known.at && self.made_good_at.is_none()
    }
}

/// What a look at all keys came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Keys whose material was found to be gone, with the run that asks for it.
    pub lost: Vec<(String, String)>,
    /// Keys whose material is back.
    pub made_good: Vec<String>,
    /// Enterprises of which not everything could be looked at or written down. The next look tries again.
    pub failed: Vec<String>,
}

impl Desk {
    /// Looks at every key that holds a customer's material, and has the customer asked for what is gone. An enterprise that
    /// fails keeps the look from no other.
    ///
    /// # Errors
    /// The enterprises could not be listed.
    pub async fn look_for_losses(&self) -> Result<Looked, Refusal> {
        let mut looked = Looked::default();
        let mut cursor = None;
        loop {
            let page = self.0.service.enterprises(PAGE, cursor).await?;
            for enterprise in &page.items {
                if let Err(refusal) = self.look_at(&enterprise.id, &mut looked).await {
                    let (enterprise, code) = (enterprise.id.as_str(), refusal.code);
                    tracing::error!(enterprise, code, "imported keys could not be looked at: {}", refusal.detail);
                    looked.failed.push(enterprise.to_owned());
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(looked);
            }
        }
    }

    /// Looks every `interval` for as long as it is polled.
    pub async fn watch(self, interval: Duration) {
        loop {
            self.0.clock.sleep(interval).await;
            if let Err(refusal) = self.look_for_losses().await {
                tracing::error!(code = refusal.code, "imported keys could not be looked at: {}", refusal.detail);
            }
        }
    }

    async fn look_at(&self, enterprise: &str, looked: &mut Looked) -> Result<(), Refusal> {
        let noted = self.losses(enterprise).await?;
        let mut fresh = Vec::new();
        for known in self.serving_keys(enterprise).await? {
            let Some(gone) = self.is_gone(enterprise, &known).await else { continue };
            match noted.get(&known.target.arn) {
                Some((loss, _)) if gone && loss.is_open_of(&known) => {}
                Some((loss, version)) if !gone && loss.made_good_at.is_none() => {
                    let loss = Loss { made_good_at: Some(self.0.clock.now()), ..loss.clone() };
                    if self.note(enterprise, &known, &loss, *version).await? {
                        tracing::info!(enterprise, key = %known.target.arn, run.id = %loss.run, "imported material is back");
                        looked.made_good.push(known.target.arn);
                    }
                }
                found if gone => fresh.push((known, found.map_or(0, |(_, version)| *version))),
                Some(_) | None => {}
            }
        }
        for ((known, version), run) in self.ask_for(enterprise, fresh).await? {
            let (imported_at, seen_at) = (known.at, self.0.clock.now());
            let loss = Loss { run, imported_at, seen_at, made_good_at: None };
            if self.note(enterprise, &known, &loss, version).await? {
                tracing::warn!(
                    enterprise, key = %known.target.arn, run.id = %loss.run,
                    "imported material is gone; the customer is asked"
                );
                looked.lost.push((known.target.arn, loss.run));
            }
        }
        Ok(())
    }

    /// Every loss that was written down, with its record's version.
    async fn losses(&self, enterprise: &str) -> Result<BTreeMap<String, (Loss, u64)>, Refusal> {
        let mut all = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = self.0.service.records(enterprise, LOSSES, PAGE, cursor).await?;
            for record in &page.items {
                all.insert(record.key.clone(), (body(record)?, record.version));
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Writes a loss down; false when another process did.
    async fn note(&self, enterprise: &str, known: &KeyMaterial, loss: &Loss, version: u64) -> Result<bool, Refusal> {
        let put = self.put(enterprise, LOSSES, &known.target.arn, version, json!(loss));
        match self.0.service.put_records(vec![put]).await {
            Ok(()) => Ok(true),
            Err(error) if error.code == "record-changed" => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn serving_keys(&self, enterprise: &str) -> Result<Vec<KeyMaterial>, Refusal> {
        let custody = self.0.service.record(enterprise, "custody", "current").await?;
        let custody = custody.map(|record| record.body).unwrap_or(Value::Null);
        let serving = serving(&custody);
        let known = self.materials(enterprise, self.0.realm).await?.into_values();
        Ok(known.filter(|known| serving.is_empty() || serving.contains(&known.target.arn.as_str())).collect())
    }

    /// None when KMS does not tell now.
    async fn is_gone(&self, enterprise: &str, known: &KeyMaterial) -> Option<bool> {
        let state = match self.cloud(enterprise).aws.kms(&known.target.region).await {
            Ok(kms) => key_state(&kms, &known.target.arn).await.map_err(|failure| failure.cause),
            Err(error) => Err(error.to_string()),
        };
        match state {
            Ok(state) => Some(state == Some(KeyState::PendingImport)),
            Err(cause) => {
                tracing::warn!(key = %known.target.arn, %cause, "an imported key could not be looked at");
                None
            }
        }
    }

    /// The run that asks for each of the keys: one that is open already, or a new one for all others. Nothing while a run
    /// decides what to ask for: the next look sees it.
    async fn ask_for(
        &self,
        enterprise: &str,
        fresh: Vec<(KeyMaterial, u64)>,
    ) -> Result<Vec<((KeyMaterial, u64), String)>, Refusal> {
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let seen = Seen::of(&self.0.service, enterprise).await?;
        let need: Vec<&Open> = seen.open.iter().filter(|open| !open.is_drill()).collect();
        if need.iter().any(|open| open.run.status == Standing::Working) {
            return Ok(Vec::new());
        }
        let mut asked: BTreeMap<String, String> = BTreeMap::new();
        for open in need.into_iter().filter(|open| open.asks()) {
            let given = match self.0.service.form_input(&open.run.id, FORM).await {
                Ok(given) => given,
                Err(error) if error.code == "form-not-open" => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let keys = given["keys"].as_array().into_iter().flatten();
            asked.extend(keys.filter_map(|key| Some((key["arn"].as_str()?.to_owned(), open.run.id.clone()))));
        }
        let (covered, rest): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|(known, _)| asked.contains_key(&known.target.arn));
        let mut runs: Vec<_> = covered
            .into_iter()
            .filter_map(|loss| asked.get(&loss.0.target.arn).cloned().map(|run| (loss, run)))
            .collect();
        if !rest.is_empty() {
            let run = self.open_for(enterprise, &rest).await?;
            runs.extend(rest.into_iter().map(|loss| (loss, run.clone())));
        }
        Ok(runs)
    }

    /// A run for these losses; the same one for the same losses, however often it is asked for.
    async fn open_for(&self, enterprise: &str, lost: &[(KeyMaterial, u64)]) -> Result<String, Refusal> {
        let keys: Vec<&str> = lost.iter().map(|(known, _)| known.target.arn.as_str()).collect();
        let losses: Vec<_> =
            lost.iter().map(|(known, version)| (&known.target.arn, known.at.timestamp_micros(), version)).collect();
        let start = StartRun {
            enterprise: enterprise.to_owned(),
            workflow: REIMPORT.to_owned(),
            input: json!({ "keys": keys, "reason": "AWS KMS holds the material of this key no more" }),
            actor: Actor { name: "keyferry".to_owned(), role: "system".to_owned() },
            idempotency_key: Some(format!("lost-material {}", digest(json!(losses).to_string().as_bytes()))),
        };
        Ok(start_unless(&self.0.service, &start, |_| None).await?.id)
    }
}
