//! An enterprise whose keys have their material, and what happens to it later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_kms::Client;
use chrono::{DateTime, TimeDelta, Utc};
use keyferry::{
    aws::Aws,
    config::Config,
    engine::{Actor, Standing},
    keys::import::Opened,
    worker::{Clock, RecordPut, RunView, StartRun, SystemClock},
};
use serde_json::{Value, json};

use crate::support::import::{EAST, Vendor, WEST, asked, targets, upload};

/// What the customer imports.
pub const KEY: [u8; 32] = *b"thirty-two bytes of a customer's";

/// The system's clock, set forward by hand.
#[derive(Default)]
pub struct Ahead(pub AtomicI64);

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::seconds(self.0.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> String {
        SystemClock.new_id()
    }

    fn chance(&self) -> u64 {
        SystemClock.chance()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// An enterprise whose keys have their material, and KMS in both regions.
pub struct Imported {
    pub vendor: Vendor,
    pub clock: Arc<Ahead>,
    pub west: Client,
    pub east: Client,
    /// In the west, in the east.
    pub keys: Vec<String>,
}

impl Imported {
    pub async fn new() -> Self {
        let clock = Arc::new(Ahead::default());
        let folder = tempfile::tempdir().unwrap().keep();
        let vendor = Vendor::open(&folder, Arc::clone(&clock) as Arc<dyn Clock>, 1.0).await;
        let run = vendor.waiting(&[]).await;
        let opened = vendor.production.request(asked(None)).await.unwrap();
        let receipt = upload(&vendor.production, "dave", targets(&opened, &KEY)).await.unwrap();
        vendor.until(&run, |view| !stands_in(view, "key-import")).await;
        let config = Arc::new(Config::default());
        let aws = Aws::sandboxed(&config, &vendor.sandbox);
        let (west, east) = (aws.kms(WEST).await.unwrap(), aws.kms(EAST).await.unwrap());
        let keys = receipt.results.iter().map(|imported| imported.key_id.clone()).collect();
        Self { vendor, clock, west, east, keys }
    }

    pub async fn start(&self, workflow: &str, input: Value) -> String {
        let start = StartRun {
            enterprise: "dave".to_owned(),
            workflow: workflow.to_owned(),
            input,
            actor: Actor { name: "an engineer".to_owned(), role: "engineer".to_owned() },
            idempotency_key: None,
        };
        self.vendor.service.start_run(start).await.unwrap().id
    }

    /// A re-import that waits for the customer.
    pub async fn reimport(&self, input: Value) -> String {
        let run = self.start("reimport", input).await;
        self.vendor.until(&run, |view| stands_in(view, "key-import")).await;
        run
    }

    /// KMS gives one set of parameters in four seconds: the desk is asked until it is its turn.
    pub async fn request(&self) -> Opened {
        self.clock.0.fetch_add(10, Ordering::SeqCst);
        self.vendor.production.request(asked(None)).await.unwrap()
    }

    pub async fn ended(&self, run: &str) -> RunView {
        let view = self.vendor.until(run, |view| view.ended_at.is_some()).await;
        assert_eq!(view.status, Standing::Succeeded, "{view:#?}");
        view
    }

    pub async fn record(&self, collection: &str, key: &str) -> Option<Value> {
        self.vendor.service.record("dave", collection, key).await.unwrap().map(|record| record.body)
    }

    pub async fn put(&self, collection: &str, key: &str, body: Value) {
        let known = self.vendor.service.record("dave", collection, key).await.unwrap();
        let put = RecordPut {
            enterprise: "dave".to_owned(),
            collection: collection.to_owned(),
            key: key.to_owned(),
            expected: known.map_or(0, |record| record.version),
            body,
            at: self.clock.now(),
        };
        self.vendor.service.put_records(vec![put]).await.unwrap();
    }

    /// What an audit says, with these keys in custody and no systems.
    pub async fn audit(&self) -> Value {
        let keys = json!({ WEST: self.keys[0], EAST: self.keys[1] });
        let plan = json!({
            "primary": WEST, "disaster_recovery": EAST, "regions": [WEST, EAST], "partition": "aws", "instances": {},
        });
        let custody = json!({ "generation": 1, "keys": keys, "instances": {}, "plan": plan, "systems": [] });
        self.put("custody", "current", custody).await;
        // A copy by RDS takes longer than a test: the last one is of today.
        for key in &self.keys {
            self.put("key-canary", key, json!({ "at": self.clock.now(), "denied": false, "seen": "RDS copied" })).await;
        }
        let run = self.start("compliance-audit", json!({})).await;
        self.ended(&run).await;
        self.record("report", "latest").await.unwrap()
    }
}

pub fn stands_in(view: &RunView, form: &str) -> bool {
    view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some(form))
}
