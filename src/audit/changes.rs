//! What is new, gone and the same since the last report.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::report::{Doubt, Report, Row};

/// The difference to an earlier report, of deviations and of what was not proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The earlier report's name.
    pub since: String,
    pub new: Vec<String>,
    pub gone: Vec<String>,
    pub same: Vec<String>,
}

fn row(row: &Row) -> String {
    let finding = serde_json::to_value(row.finding).unwrap_or_default();
    format!("{}: {} {} in {}", finding.as_str().unwrap_or_default(), row.kind, row.id, row.region)
}

fn doubt(doubt: &Doubt) -> String {
    format!("not proven: {}", doubt.why)
}

fn said(deviations: &[Row], doubts: &[Doubt]) -> BTreeSet<String> {
    deviations.iter().map(row).chain(doubts.iter().map(doubt)).collect()
}

impl Changes {
    pub(super) fn between(before: &Report, deviations: &[Row], doubts: &[Doubt]) -> Self {
        let (was, is) = (said(&before.deviations, &before.not_proven), said(deviations, doubts));
        let only = |these: &BTreeSet<String>, others: &BTreeSet<String>| these.difference(others).cloned().collect();
        Self {
            since: before.name.clone(),
            new: only(&is, &was),
            gone: only(&was, &is),
            same: is.intersection(&was).cloned().collect(),
        }
    }
}
