//! Letters: what a notice of the outbox becomes, one row a reader, each delivered by itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::engine::Notice;

/// How a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterState {
    /// It is to be delivered, now or later.
    Due,
    /// Its reader's mail server has taken it.
    Sent,
    /// It could not be delivered and is tried no more, until somebody resends it.
    Dead,
    /// Nobody needs it any more.
    Withdrawn,
}

impl LetterState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, StoreError> {
        [Self::Due, Self::Sent, Self::Dead, Self::Withdrawn]
            .into_iter()
            .find(|state| state.word() == word)
            .ok_or_else(|| StoreError::corrupt("letter", format!("there is no state {word}")))
    }
}

/// A letter with the notice that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct LetterRow {
    pub id: i64,
    pub enterprise: String,
    pub run: String,
    /// When the notice was written.
    pub noticed_at: DateTime<Utc>,
    pub notice: Notice,
    /// `customer`, `csm`, `engineer`, or `audit:ADDRESS`.
    pub reader: String,
    /// The dead letter that this one tells of.
    pub about: Option<i64>,
    pub state: LetterState,
    /// The next attempt; `None` unless it is due.
    pub due_at: Option<DateTime<Utc>>,
    /// Attempts that failed, since it became due or was resent.
    pub attempts: u32,
    /// When the first of them failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// Where the last attempt went.
    pub address: Option<String>,
    /// Why the last attempt failed, or why it was withdrawn.
    pub error: Option<String>,
    /// When it was sent, died or was withdrawn.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What came of an attempt to deliver a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Sent {
        address: String,
    },
    /// It is tried again.
    Failed {
        address: String,
        error: String,
        retry_at: DateTime<Utc>,
    },
    /// It is not tried again. `tell` is the reader of the letter that says so, if there is to be one: there is one at most,
    /// however often a letter dies.
    Dead {
        address: String,
        error: String,
        tell: Option<String>,
    },
    /// It need not be delivered.
    Withdrawn {
        reason: String,
    },
}

/// A page of letters that are due or dead, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LettersPage {
    pub enterprise: Option<String>,
    /// `Due` or `Dead`.
    pub state: LetterState,
    pub limit: u32,
    pub cursor: Option<String>,
}
