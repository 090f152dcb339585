//! What is known of each expected key, and what follows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{
    Finding, Request, command, doubts, key_cures,
    report::{Doubt, DoubtKind, KeyRow, Row},
};
use crate::keys::{Custody, Probe, ProbeState};

/// A key, as it was seen for this audit.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySeen {
    pub custody: Custody,
    /// The probes, with the canary's settled in; or why AWS could not be asked.
    pub probes: Result<Vec<Probe>, String>,
    /// When RDS was last seen to use it.
    pub used_by_rds_at: Option<DateTime<Utc>>,
    /// When the customer last showed that they have the material.
    pub proven_at: Option<DateTime<Utc>>,
}

impl KeySeen {
    fn failed(&self) -> impl Iterator<Item = &Probe> {
        self.probes.iter().flatten().filter(|probe| probe.state == ProbeState::Failed)
    }

    /// What is wrong with it that spoils what is under it.
    pub(super) fn spoilt(&self) -> Option<(Finding, &Probe)> {
        let findings = self.failed().map(|probe| (Finding::of_probe(code(probe)), probe));
        findings.into_iter().find(|(finding, _)| finding.spoils_what_is_under_it())
    }
}

fn code(probe: &Probe) -> &str {
    probe.code.as_deref().unwrap_or_default()
}

/// Probes that say nothing because of what another has said, or because the canary has said enough.
const SETTLED: [&str; 2] = ["not-tried", "via-service-only"];

/// The keys as rows of the report.
pub(super) fn rows(request: &Request<'_>) -> Vec<KeyRow> {
    let row = |(region, arn): (String, String)| {
        let seen = request.seen.get(&arn);
        let probes = seen.and_then(|seen| seen.probes.as_ref().ok());
        KeyRow {
            custody: seen.map(|seen| seen.custody).unwrap_or_default(),
            usable: probes.map(|probes| !probes.iter().any(|probe| probe.state == ProbeState::Failed)),
            seen: probes.into_iter().flatten().map(|probe| format!("{}: {}", probe.name, probe.seen)).collect(),
            used_by_rds_at: KeyRow::at(seen.and_then(|seen| seen.used_by_rds_at)),
            last_proven_at: KeyRow::at(seen.and_then(|seen| seen.proven_at)),
            region,
            arn,
        }
    };
    request.keys.all().into_iter().map(row).collect()
}

/// One row for each thing that is wrong with a key: of several probes that say the same, the first.
pub(super) fn deviations(request: &Request<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (region, arn) in request.keys.all() {
        let Some(seen) = request.seen.get(&arn) else { continue };
        let mut found: BTreeMap<Finding, &Probe> = BTreeMap::new();
        for probe in seen.failed() {
            found.entry(Finding::of_probe(code(probe))).or_insert(probe);
        }
        // A state says why a use fails: both would be one fact twice.
        if found.keys().any(|finding| finding.spoils_what_is_under_it() && *finding != Finding::KeyUnusable) {
            found.remove(&Finding::KeyUnusable);
        }
        rows.extend(found.into_iter().map(|(finding, probe)| Row {
            finding,
            kind: "key".to_owned(),
            id: arn.clone(),
            arn: Some(arn.clone()),
            region: region.clone(),
            instance: None,
            status: None,
            encrypted: None,
            key: Some(arn.clone()),
            expected_key: Some(arn.clone()),
            part_keys: BTreeMap::new(),
            automated: false,
            shared_with: Vec::new(),
            why: probe.seen.clone(),
            cure: key_cures::of(request, seen, (&region, &arn), probe),
        }));
    }
    rows
}

/// Keys of which it is not known whether they can be used.
pub(super) fn unknown(request: &Request<'_>) -> Vec<Doubt> {
    let mut all = Vec::new();
    let mut add = |region: &str, arn: &str, why: String| {
        let cure = command::cure(
            "audit again when AWS answers: what cannot be asked cannot be decided",
            &[format!("keyferry audit run {}", request.enterprise)],
        );
        all.push(doubts::doubt(DoubtKind::KeyNotKnown, region, Some(arn), why, cure, false));
    };
    for (region, arn) in request.keys.all() {
        match request.seen.get(&arn).map(|seen| &seen.probes) {
            None => add(&region, &arn, format!("the key {arn} was not looked at")),
            Some(Err(cause)) => add(&region, &arn, format!("whether the key {arn} can be used is not known: {cause}")),
            Some(Ok(probes)) => {
                let open = |probe: &&Probe| probe.state == ProbeState::Inconclusive && !SETTLED.contains(&code(probe));
                for probe in probes.iter().filter(open) {
                    add(&region, &arn, format!("the probe {} of key {arn} says nothing: {}", probe.name, probe.seen));
                }
            }
        }
    }
    all
}
