//! The contract of a step: Rust code that a Task state names as `urn:keyferry:step:<name>`.
//!
//! A step runs at least once. It may be cut off anywhere, by kill -9 included, and is then run again with the checkpoint
//! that it saved last: it looks before it creates, gives deterministic names, adopts what is its own and never touches
//! what is not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

/// Code registered under a name. The name is persisted in definitions and runs: it never changes.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// The name behind `urn:keyferry:step:`, in kebab-case.
    fn name(&self) -> &'static str;

    /// Does the work, or a part of it.
    ///
    /// # Errors
    /// What went wrong, under the name that a definition's Retry and Catch match.
    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError>;
}

/// How far a step came.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The work is done. Records, and what is told, become durable in the same commit as the transition.
    Done { output: Value, records: Vec<Record>, told: Vec<Told> },
    /// The step waits for something outside. Its worker slot is free until `poll_after` has passed; then the step is run
    /// again with this checkpoint.
    Pending {
        poll_after: Duration,
        checkpoint: Value,
        /// What is waited for, for people: `RDS copies snapshot byok-dave-… (37 %)`.
        waiting_for: String,
    },
}

impl Progress {
    /// Done, with no records.
    pub fn done(output: Value) -> Self {
        Self::recorded(output, Vec::new())
    }

    /// Done, with records.
    pub fn recorded(output: Value, records: Vec<Record>) -> Self {
        Self::Done { output, records, told: Vec::new() }
    }
}

/// A fact that a step leaves about its enterprise, beyond the run's own data. Written under
/// (enterprise, collection, key); a later record under the same key replaces it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `custody`, `report`, `purge-ledger`, …
    pub collection: &'static str,
    pub key: String,
    pub body: Value,
}

/// Something that people are told once the step is done, exactly once.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The letter that says it: `keys-arrived`.
    pub letter: &'static str,
    pub about: Value,
}

/// Why a step failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{cause}")]
pub struct StepError {
    /// The stable name that Retry and Catch match and that has a page in `docs/errors.md`, for example
    /// `Keyferry.Throttled`.
    pub error: String,
    /// For people: what was wrong, where, what to do.
    pub cause: String,
}

impl StepError {
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: error.into(), cause: cause.into() }
    }
}

/// What a step may know and do while it runs.
pub struct StepContext {
    pub run: String,
    pub enterprise: String,
    pub workflow: String,
    pub state: String,
    pub frame: u64,
    pub visit: u64,
    /// Claims of this visit, this one included: 1 on the first.
    pub attempt: u32,
    /// What the step saved last in this visit.
    pub checkpoint: Option<Value>,
    pub(crate) host: Arc<dyn StepHost>,
}

/// What the worker offers a running step. The worker implements it over the store, a test in memory.
#[async_trait]
pub trait StepHost: Send + Sync + 'static {
    fn now(&self) -> DateTime<Utc>;
    async fn save_checkpoint(&self, run: &str, frame: u64, visit: u64, checkpoint: Value) -> Result<(), StepError>;
    async fn heartbeat(&self, run: &str, frame: u64, visit: u64) -> Result<(), StepError>;
    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<Value>, StepError>;
    async fn records(&self, enterprise: &str, collection: &str) -> Result<BTreeMap<String, Value>, StepError>;
    /// Whether a run, or one that it has started, is open. Outside of a worker there are no runs.
    async fn is_open(&self, _run: &str) -> Result<bool, StepError> {
        Ok(false)
    }
    /// The run, the one that has started it, and so on. Outside of a worker there are no others.
    async fn ancestors(&self, run: &str) -> Result<Vec<String>, StepError> {
        Ok(vec![run.to_owned()])
    }
    /// The partition of an enterprise.
    async fn partition(&self, _enterprise: &str) -> Result<String, StepError> {
        Ok("aws".to_owned())
    }
}

impl StepContext {
    /// A context outside a worker, for tests and for tools that run one step by hand.
    pub fn detached(run: &str, enterprise: &str, state: &str, host: Arc<dyn StepHost>) -> Self {
        Self {
            run: run.to_owned(),
            enterprise: enterprise.to_owned(),
            workflow: String::new(),
            state: state.to_owned(),
            frame: 0,
            visit: 1,
            attempt: 1,
            checkpoint: None,
            host,
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.host.now()
    }

    /// Makes `checkpoint` durable before it returns: a crash after it runs the step again with this value. It also
    /// counts as a heartbeat.
    ///
    /// # Errors
    /// `Keyferry.LeaseLost` when the step is no longer this worker's: stop at once.
    pub async fn save_checkpoint(&self, checkpoint: Value) -> Result<(), StepError> {
        self.host.save_checkpoint(&self.run, self.frame, self.visit, checkpoint).await
    }

    /// Says that the step is alive, for states with `HeartbeatSeconds`.
    ///
    /// # Errors
    /// `Keyferry.LeaseLost` when the step is no longer this worker's: stop at once.
    pub async fn heartbeat(&self) -> Result<(), StepError> {
        self.host.heartbeat(&self.run, self.frame, self.visit).await
    }

    /// A record of this step's enterprise, `None` if there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn record(&self, collection: &str, key: &str) -> Result<Option<Value>, StepError> {
        self.host.record(&self.enterprise, collection, key).await
    }

    /// Whether another run, or one that it has started, is open.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn is_open(&self, run: &str) -> Result<bool, StepError> {
        self.host.is_open(run).await
    }

    /// This step's run, the one that has started it, and so on.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn ancestors(&self) -> Result<Vec<String>, StepError> {
        self.host.ancestors(&self.run).await
    }

    /// The partition of this step's enterprise.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn partition(&self) -> Result<String, StepError> {
        self.host.partition(&self.enterprise).await
    }

    /// All records of a collection of this step's enterprise, by key.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn records(&self, collection: &str) -> Result<BTreeMap<String, Value>, StepError> {
        self.host.records(&self.enterprise, collection).await
    }
}
