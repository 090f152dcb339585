//! The report, typed. Its schema is published as `docs/audit-report.schema.json`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Changes, Conclusion, Finding, scope::KindRow};
use crate::keys::Custody;

/// The report's version: it goes up with every change of its shape.
pub const VERSION: u64 = 3;

/// What an audit has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: u64,
    /// `<enterprise>-<date>-<time>`: what people call it.
    pub name: String,
    pub enterprise: String,
    pub generation: u64,
    pub generated_at: String,
    pub summary: Summary,
    /// Since the report before; none for the first.
    pub changes: Option<Changes>,
    pub deviations: Vec<Row>,
    /// What keeps the conclusion from being *compliant* though it is no deviation.
    pub not_proven: Vec<Doubt>,
    /// Doubts that an engineer has decided.
    pub decisions: Vec<Decision>,
    pub resources: Vec<Row>,
    pub keys: Vec<KeyRow>,
    /// Home region to the regions in which its data may lie.
    pub residency: BTreeMap<String, Vec<String>>,
    pub scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub conclusion: Conclusion,
    pub counts: BTreeMap<Finding, usize>,
    pub sentences: Vec<String>,
}

/// One resource or key, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub finding: Finding,
    pub kind: String,
    pub id: String,
    pub arn: Option<String>,
    pub region: String,
    pub instance: Option<String>,
    pub status: Option<String>,
    pub encrypted: Option<bool>,
    pub key: Option<String>,
    pub expected_key: Option<String>,
    pub part_keys: BTreeMap<String, String>,
    pub automated: bool,
    /// Accounts that may restore it.
    pub shared_with: Vec<String>,
    /// Why it is a deviation; empty for a match.
    pub why: String,
    /// The run or act that ends the deviation; empty for a match.
    pub cure: String,
}

/// What an audit could not prove.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// Follows from what was seen: the same as long as that is the same.
    pub id: String,
    pub kind: DoubtKind,
    pub region: String,
    /// Of a resource or key, if it is about one.
    pub arn: Option<String>,
    pub why: String,
    /// What to do about it.
    pub cure: String,
    /// Whether an engineer may decide that it is none. What AWS did not answer is looked at again instead.
    pub decidable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoubtKind {
    /// It looks like the enterprise's and was not counted.
    NearMiss,
    /// A region, a call or an attribute that could not be read.
    Unread,
    /// A resource of the enterprise's names another in a region that was not looked at.
    RegionNotListed,
    /// A state that is not known here.
    StatusUnknown,
    /// Whether the key can be used is not known now.
    KeyNotKnown,
    /// Data outside RDS that RDS has written there.
    Export,
}

/// An engineer's decision about a doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub doubt: String,
    /// What the doubt said when it was decided.
    pub why: String,
    pub reason: String,
    pub by: String,
    pub at: DateTime<Utc>,
}

/// A key that was expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRow {
    pub region: String,
    pub arn: String,
    pub custody: Custody,
    /// Whether every use that was tried now went well: null when AWS did not answer.
    pub usable: Option<bool>,
    /// What was tried and seen, one text a probe.
    pub seen: Vec<String>,
    /// When RDS was last seen to use the key.
    pub used_by_rds_at: Option<String>,
    /// When the customer last showed that they have the material.
    pub last_proven_at: Option<String>,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    pub account: String,
    pub partition: String,
    /// Regions that were read whole.
    pub regions: Vec<String>,
    pub apis: Vec<String>,
    /// Pages read, by `region/operation`.
    pub pages: BTreeMap<String, u64>,
    /// The tag that makes a resource the enterprise's.
    pub tag: String,
    pub kinds: Vec<KindRow>,
}

impl KeyRow {
    /// A time as reports say it.
    pub(super) fn at(at: Option<DateTime<Utc>>) -> Option<String> {
        at.map(crate::schedule::text)
    }
}
