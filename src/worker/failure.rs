//! What the service refuses, in terms that a person can act on.

use serde_json::Value;

use super::runs::MoveError;
use crate::{engine::Rejected, store::StoreError};

/// The kinds of refusal, for status codes and exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    /// The run stands elsewhere: look, and decide anew.
    Conflict,
    /// What was sent does not hold; `details` says where.
    Invalid,
    /// The run has moved since the person saw it: `details` says how it stands now.
    Moved,
    /// Not in this role.
    Forbidden,
    /// It cannot be done in this installation or for this enterprise now.
    Refused,
    /// The store cannot be used: try again later.
    Unavailable,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    /// Stable, in kebab-case.
    pub code: &'static str,
    pub message: String,
    pub kind: ErrorKind,
    pub details: Option<Value>,
}

impl ServiceError {
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), kind, details: None }
    }

    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        let (kind, code) = match &error {
            StoreError::NotFound { what: "run", .. } => (ErrorKind::NotFound, "run-not-found"),
            StoreError::NotFound { what: "enterprise", .. } => (ErrorKind::NotFound, "enterprise-not-found"),
            StoreError::NotFound { what: "cursor", .. } => (ErrorKind::Invalid, "cursor-invalid"),
            StoreError::NotFound { .. } => (ErrorKind::NotFound, "not-found"),
            StoreError::Conflict { .. } | StoreError::LeaseLost { .. } => (ErrorKind::Conflict, "run-moved"),
            StoreError::RecordChanged { .. } => (ErrorKind::Conflict, "record-changed"),
            StoreError::EnterpriseChanged { .. } => (ErrorKind::Conflict, "enterprise-changed"),
            StoreError::AlreadyStarted { .. } => (ErrorKind::Conflict, "already-started"),
            StoreError::KeyReused { .. } => (ErrorKind::Invalid, "idempotency-key-reused"),
            StoreError::ExclusiveOpen { .. } => (ErrorKind::Conflict, "enterprise-has-open-run"),
            StoreError::Corrupt { .. } => (ErrorKind::Unavailable, "store-corrupt"),
            StoreError::Locked { .. } => (ErrorKind::Unavailable, "store-locked"),
            StoreError::Unfit { .. } => (ErrorKind::Unavailable, "store-unfit"),
            StoreError::Unavailable { .. } => (ErrorKind::Unavailable, "store-unavailable"),
        };
        Self::new(kind, code, error.to_string())
    }
}

impl From<MoveError> for ServiceError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Store(error) => error.into(),
            MoveError::Unseen { .. } => Self::new(ErrorKind::Moved, "revision-changed", error.to_string()),
            MoveError::Rejected(rejected) => {
                let (kind, code) = match &rejected {
                    Rejected::Stale { .. } => (ErrorKind::Conflict, "run-moved"),
                    Rejected::NoFrame { .. } => (ErrorKind::NotFound, "frame-not-found"),
                    Rejected::Ended => (ErrorKind::Conflict, "run-ended"),
                    Rejected::NotStarted | Rejected::Illegal { .. } => (ErrorKind::Conflict, "not-possible-now"),
                };
                Self::new(kind, code, rejected.to_string())
            }
        }
    }
}
