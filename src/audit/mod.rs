//! The audit: what there is of an enterprise, against the keys that it has to be under.
//!
//! Pure: what was seen and what is expected go in, the report comes out, the same for the same. Its conclusion is *compliant* only
//! when everything in the scope was seen and judged now; *deviations* when something is wrong; *not proven* otherwise. Deviations
//! come first, because they are what a reader looks for. The report's schema is published as `docs/audit-report.schema.json`.

mod calendar;
mod changes;
mod command;
mod compare;
mod cures;
mod desk;
mod doubts;
mod finding;
mod key_cures;
mod keys;
mod missing;
mod report;
mod scope;
mod sentences;
mod system_cures;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    keys::KeySet,
    schedule,
    systems::{Homes, Residency, Survey},
};

pub use calendar::{Calendar, EVERY_DAYS, LONGEST_DAYS, Last, SCHEDULE, Schedule, reschedule, schedule as scheduled};
pub use changes::Changes;
pub use desk::{DECISIONS, REPORTS, WORKFLOW, decide, find, reports, require_custody};
pub use doubts::decisions;
pub use finding::{Conclusion, Finding};
pub use keys::KeySeen;
pub use report::{Decision, Doubt, DoubtKind, KeyRow, Report, Row, Scope, Summary, VERSION};
pub use scope::KindRow;

/// A system that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub id: String,
    pub region: String,
    pub instance: String,
    /// A copy of it has to be in the recovery region of its home.
    #[serde(default)]
    pub recovery: bool,
}

/// Where an audit looks, and by which tag.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub account: &'a str,
    pub partition: &'a str,
    /// The configured regions of the partition.
    pub regions: &'a [String],
    pub enterprise_tag: &'a str,
    pub instance_tag: &'a str,
    /// The vendor's name, as the policies of the customers' keys have it.
    pub vendor: &'a str,
}

/// What an audit compares.
#[derive(Debug)]
pub struct Request<'a> {
    pub enterprise: &'a str,
    /// The run that audits.
    pub run: &'a str,
    pub generation: u64,
    pub generated_at: DateTime<Utc>,
    pub keys: &'a KeySet,
    pub expected: &'a [Expected],
    /// Where its data may lie.
    pub residency: &'a Residency,
    pub homes: &'a Homes,
    /// Resource ids of systems that were replaced.
    pub originals: &'a BTreeSet<String>,
    pub place: Place<'a>,
    pub survey: &'a Survey,
    /// What was seen of each key, by ARN.
    pub seen: &'a BTreeMap<String, KeySeen>,
    /// What engineers have decided, by the doubt's id.
    pub decisions: &'a BTreeMap<String, Decision>,
    /// The report before this one.
    pub before: Option<&'a Report>,
}

/// The report.
pub fn report(request: &Request<'_>) -> Report {
    let resources = compare::rows(request);
    let mut deviations = keys::deviations(request);
    deviations.extend(resources.iter().filter(|row| row.finding != Finding::Match).cloned());
    deviations.extend(missing::rows(request));
    let mut counts: BTreeMap<Finding, usize> = Finding::ALL.into_iter().map(|finding| (finding, 0)).collect();
    let matches = resources.iter().filter(|row| row.finding == Finding::Match);
    for row in deviations.iter().chain(matches) {
        *counts.entry(row.finding).or_default() += 1;
    }
    let (not_proven, decisions) = doubts::all(request);
    let conclusion = match (deviations.is_empty(), not_proven.is_empty()) {
        (false, _) => Conclusion::Deviations,
        (true, false) => Conclusion::NotProven,
        (true, true) => Conclusion::Compliant,
    };
    let sentences = sentences::all(request, conclusion, &counts, &not_proven, &decisions);
    Report {
        version: VERSION,
        name: format!("{}-{}", request.enterprise, request.generated_at.format("%Y-%m-%d-%H%M%S")),
        enterprise: request.enterprise.to_owned(),
        generation: request.generation,
        generated_at: schedule::text(request.generated_at),
        changes: request.before.map(|before| Changes::between(before, &deviations, &not_proven)),
        summary: Summary { conclusion, counts, sentences },
        deviations,
        not_proven,
        decisions,
        resources,
        keys: keys::rows(request),
        residency: allowed(request.residency),
        scope: scope_of(request),
    }
}

/// Home region to the regions in which its data may lie.
fn allowed(residency: &Residency) -> BTreeMap<String, Vec<String>> {
    let regions = |home| residency.allowed(home).into_iter().map(str::to_owned).collect();
    residency.regions.iter().map(|home| (home.clone(), regions(home))).collect()
}

fn scope_of(request: &Request<'_>) -> Scope {
    let pages = &request.survey.scan.pages;
    let split = || pages.keys().filter_map(|page| page.split_once('/'));
    let unread: BTreeSet<&str> = request.survey.unread.iter().map(|unread| unread.region.as_str()).collect();
    let regions: BTreeSet<&str> = split().map(|(region, _)| region).filter(|region| !unread.contains(region)).collect();
    let apis: BTreeSet<&str> = split().map(|(_, api)| api).collect();
    Scope {
        account: request.place.account.to_owned(),
        partition: request.place.partition.to_owned(),
        regions: regions.into_iter().map(str::to_owned).collect(),
        apis: apis.into_iter().map(str::to_owned).collect(),
        pages: pages.clone(),
        tag: format!("{} = {}", request.place.enterprise_tag, request.enterprise),
        kinds: scope::kinds(),
    }
}

#[cfg(test)]
mod tests;
