//! What people are shown: runs, what they wait for, history. Plain data, the same in the API, the CLI and the console.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LetterView;
use super::Visit;
use crate::engine::{Actor, Standing};

/// What a run, or one of its frames, waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingFor {
    /// The run that waits: the one that is looked at, or one that it has started.
    pub run: String,
    pub frame: u64,
    /// What an answer is given to.
    pub visit: Visit,
    pub state: String,
    /// `customer`, `csm`, `engineer`, `time`, `aws`, `child`, `worker`.
    pub on: String,
    /// For people, in one line: `the customer's answer to the form key-arns`.
    pub what: String,
    /// The form's name when `on` is a person's role because of a form.
    pub form: Option<String>,
    pub since: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
    /// What an open form shows to whoever may answer it, a line each. Left out of listings of runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<String>,
}

/// A frame in attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// The run that stands still: the one that is looked at, or one that it has started.
    pub run: String,
    pub frame: u64,
    /// What a retry or a skip is for.
    pub visit: Visit,
    pub state: String,
    pub error: String,
    pub cause: String,
    pub since: DateTime<Utc>,
}

/// A state that has failed and is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrying {
    pub frame: u64,
    pub state: String,
    /// Of the attempt that is made or comes next; the first was 1.
    pub attempt: u64,
    /// What the last attempt ended in.
    pub error: String,
    pub cause: String,
    /// When the attempt begins; `None` while it is made.
    pub next_at: Option<DateTime<Utc>>,
}

/// A system of the run's enterprise that is, or may be, out of service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    pub system: String,
    pub region: String,
    /// By which run.
    pub run: String,
    /// What the original is called meanwhile.
    pub old: String,
    /// Whether it is known to be out of service; otherwise it is about to be, or just was.
    pub frozen: bool,
    pub since: DateTime<Utc>,
    /// What is not cut over by then is put back.
    pub cutoff: DateTime<Utc>,
    /// By this it has to serve again.
    pub end: DateTime<Utc>,
    /// The run that puts it back, if one is at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_back_by: Option<String>,
}

/// A run as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    pub id: String,
    pub enterprise: String,
    pub workflow: String,
    /// Content hash of the definition it keeps.
    pub definition: String,
    pub status: Standing,
    /// The run that waits for this one, when it is a child.
    pub parent: Option<String>,
    /// Runs that this one has started.
    pub children: Vec<String>,
    pub revision: u64,
    pub started_at: DateTime<Utc>,
    pub started_by: Actor,
    pub ended_at: Option<DateTime<Utc>>,
    /// One line: what the run does or waits for, on whom, since when.
    pub summary: String,
    /// States that work goes on in now.
    pub working_in: Vec<String>,
    /// A child's own waits are shown here too, so that the parent's view is enough.
    pub waiting_for: Vec<WaitingFor>,
    pub attention: Vec<Attention>,
    /// A child's too.
    #[serde(default)]
    pub retrying: Vec<Retrying>,
    /// Letters that could not be delivered so far, where one run is shown.
    #[serde(default)]
    pub undelivered: Vec<LetterView>,
    /// What of the enterprise is out of service, by whatever run; of a run in a listing it is not looked up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out_of_service: Vec<Down>,
    pub output: Option<Value>,
    pub error: Option<String>,
    pub cause: Option<String>,
}

/// One row of a run's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// From 1, gapless.
    pub seq: u64,
    pub at: DateTime<Utc>,
    /// The event, as it was folded.
    pub event: Value,
    /// States entered by it, in order.
    pub entered: Vec<String>,
    /// SHA-256 of the row before and this one, in hex.
    pub hash: String,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub run: String,
    pub rows: u64,
    pub ok: bool,
    /// The first row that does not hold, and why.
    pub first_bad: Option<u64>,
    pub findings: Vec<String>,
    /// The same of each run that it has started, open or ended: `ok` is of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Verification>,
}

/// Which runs to list. Newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFilter {
    pub enterprise: Option<String>,
    pub workflow: Option<String>,
    pub status: Option<Standing>,
    /// At most this many, 1 to 200; 50 if not given.
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}
