//! One call to the emulated cloud, decoded: who calls, where, when, what; and what a service answers.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Who calls: decided from the request's credentials before a service sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// 12 digits.
    pub account: String,
    /// `aws`, `aws-us-gov`, …
    pub partition: String,
    /// The caller's principal, for example `arn:aws:sts::123456789012:assumed-role/keyferry/session` or
    /// `arn:aws:iam::123456789012:root`.
    pub arn: String,
}

/// One decoded call. Services are synchronous and take time only from here.
#[derive(Debug, Clone)]
pub struct Call {
    /// The sandbox's clock: it may run faster than the wall's. To STS it is the wall's.
    pub now: DateTime<Utc>,
    pub caller: Caller,
    pub region: String,
    /// The operation's name as AWS spells it, for example `CopyDBSnapshot`.
    pub action: String,
    /// The input. KMS: the JSON body. RDS and STS: the Query parameters as a nested JSON object whose lists are arrays
    /// and whose scalars are strings (`Tags.Tag.1.Key=a` becomes `{"Tags": [{"Key": "a"}]}`).
    pub params: Value,
}

/// A service's answer to a call that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// KMS: the JSON body. RDS and STS: the operation's result shape, see the service's module.
    pub body: Value,
    /// What to write into the ledger; `None` for calls that change nothing.
    pub effect: Option<Effect>,
}

/// A mutating call's effect, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The ARN of the resource that was made, changed or deleted.
    pub resource: String,
    /// One sentence fragment, for example `created` or `deleted with its automated backups`.
    pub what: String,
}

/// An error as AWS answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// The error's code on the wire, for example `DBInstanceNotFound` or `NotFoundException`.
    pub code: String,
    pub message: String,
    pub http_status: u16,
    /// Further members of the error's shape, as AWS sends them.
    pub details: Vec<(String, String)>,
}

impl AwsError {
    /// An error of the caller's making, HTTP 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), http_status: 400, details: Vec::new() }
    }

    /// The same error with another HTTP status.
    pub fn with_status(mut self, http_status: u16) -> Self {
        self.http_status = http_status;
        self
    }
}

impl Answer {
    /// The answer of a call that changed nothing.
    pub fn read(body: Value) -> Self {
        Self { body, effect: None }
    }

    /// The answer of a call that changed `resource`.
    pub fn effect(body: Value, resource: impl Into<String>, what: impl Into<String>) -> Self {
        Self { body, effect: Some(Effect { resource: resource.into(), what: what.into() }) }
    }
}
