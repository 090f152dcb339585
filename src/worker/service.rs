//! Signatures of the service, until the branch that builds it is merged over this file.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::watch;

use super::{Enterprise, HistoryRow, Page, RunFilter, RunView, StoredRecord, Verification};
use crate::engine::{Actor, Notice};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    Conflict,
    Invalid,
    Refused,
    Unavailable,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    pub code: &'static str,
    pub message: String,
    pub kind: ErrorKind,
    pub details: Option<Value>,
}

#[derive(Debug, Clone)]
pub struct NewEnterprise {
    pub id: String,
    pub name: String,
    pub partition: String,
    pub customer_email: Option<String>,
    pub csm_email: Option<String>,
    pub engineer_email: Option<String>,
}

#[derive(Debug, Clone)]
pub struct StartRun {
    pub enterprise: String,
    pub workflow: String,
    pub input: Value,
    pub actor: Actor,
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone)]
pub struct OutboxRow {
    pub id: i64,
    pub created_at: DateTime<Utc>,
    pub enterprise: String,
    pub run: String,
    pub notice: Notice,
    pub attempts: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub writable: bool,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    pub due: u64,
    pub oldest_due: Option<DateTime<Utc>>,
    pub leases: u64,
    pub attention: u64,
    pub outbox: u64,
    pub oldest_outbox: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    pub tally: Tally,
    pub claimed: u64,
    pub leases_lost: u64,
    pub executing: usize,
    pub steps: HashMap<String, (u64, Duration)>,
}

#[derive(Clone)]
pub struct Service;

type Answer<T> = Result<T, ServiceError>;

fn missing<T>() -> Answer<T> {
    Err(ServiceError {
        code: "unavailable",
        message: "the service is not part of this build".to_owned(),
        kind: ErrorKind::Unavailable,
        details: None,
    })
}

impl Service {
    pub async fn add_enterprise(&self, _new: NewEnterprise) -> Answer<Enterprise> {
        missing()
    }
    pub async fn enterprise(&self, _id: &str) -> Answer<Enterprise> {
        missing()
    }
    pub async fn enterprises(&self, _limit: u32, _cursor: Option<String>) -> Answer<Page<Enterprise>> {
        missing()
    }
    pub async fn start_run(&self, _start: StartRun) -> Answer<RunView> {
        missing()
    }
    pub async fn run(&self, _id: &str) -> Answer<RunView> {
        missing()
    }
    pub async fn runs(&self, _filter: RunFilter) -> Answer<Page<RunView>> {
        missing()
    }
    pub async fn answer(&self, _run: &str, _form: &str, _answer: Value, _actor: Actor) -> Answer<RunView> {
        missing()
    }
    pub async fn retry(
        &self,
        _run: &str,
        _frame: Option<u64>,
        _input: Option<Value>,
        _actor: Actor,
        _reason: &str,
    ) -> Answer<RunView> {
        missing()
    }
    pub async fn skip(
        &self,
        _run: &str,
        _frame: Option<u64>,
        _output: Option<Value>,
        _actor: Actor,
        _reason: &str,
    ) -> Answer<RunView> {
        missing()
    }
    pub async fn pause(&self, _run: &str, _actor: Actor, _reason: &str) -> Answer<RunView> {
        missing()
    }
    pub async fn resume(&self, _run: &str, _actor: Actor, _reason: &str) -> Answer<RunView> {
        missing()
    }
    pub async fn cancel(&self, _run: &str, _actor: Actor, _reason: &str) -> Answer<RunView> {
        missing()
    }
    pub async fn history(&self, _run: &str, _limit: u32, _cursor: Option<String>) -> Answer<Page<HistoryRow>> {
        missing()
    }
    pub async fn verify(&self, _run: &str) -> Answer<Verification> {
        missing()
    }
    pub async fn records(
        &self,
        _enterprise: &str,
        _collection: &str,
        _limit: u32,
        _cursor: Option<String>,
    ) -> Answer<Page<StoredRecord>> {
        missing()
    }
    pub async fn record(&self, _enterprise: &str, _collection: &str, _key: &str) -> Answer<Option<StoredRecord>> {
        missing()
    }
    pub async fn next_mail(&self, _limit: u32) -> Answer<Vec<OutboxRow>> {
        missing()
    }
    pub async fn mail_sent(&self, _id: i64) -> Answer<()> {
        missing()
    }
    pub async fn mail_failed(&self, _id: i64, _error: &str, _retry_at: DateTime<Utc>) -> Answer<()> {
        missing()
    }
    pub async fn stats(&self) -> Answer<Stats> {
        missing()
    }
    pub async fn health(&self) -> Health {
        Health { writable: false, reason: Some("the service is not part of this build".to_owned()) }
    }
    pub fn watch(&self, _run: &str) -> watch::Receiver<u64> {
        watch::Sender::new(0).subscribe()
    }
}
