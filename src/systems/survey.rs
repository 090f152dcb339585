//! A survey: the scan of an audit, which also says what could not be read and what looks like the enterprise's and is not.
//!
//! A migration needs a whole scan or none. An audit of what can be seen is worth having, as long as it says what was not.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join, join_all};

use super::{
    beside::{Beside, Export},
    listing::{Kind, Listings, Resource},
    near::{NearMiss, near_misses},
    scan::{Scan, Wanted, choose},
};
use crate::worker::StepError;

/// Calls that look for a snapshot's shares at once.
const AT_ONCE: usize = 8;

/// What could not be read.
#[derive(Debug, Clone)]
pub struct Unread {
    pub region: String,
    /// The region as a whole, a call, or a snapshot's shares.
    pub what: String,
    pub error: StepError,
}

/// What an audit has seen of an enterprise.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    pub scan: Scan,
    /// Types of snapshots that are neither manual nor automated, by ARN: `awsbackup`, `shared`.
    pub types: BTreeMap<String, String>,
    /// Accounts that snapshots are shared with, by the snapshot's ARN.
    pub shares: BTreeMap<String, Vec<String>>,
    pub exports: Vec<Export>,
    /// Exports whose source is gone and whose name looks like the enterprise's.
    pub near_exports: Vec<Export>,
    pub near: Vec<NearMiss>,
    pub unread: Vec<Unread>,
}

impl Survey {
    /// Whether something could not be read now that may be readable in a moment.
    pub fn is_interrupted(&self) -> bool {
        let passing = ["Keyferry.Throttled", "Keyferry.Unavailable", "Keyferry.NotReady"];
        self.unread.iter().any(|unread| passing.contains(&unread.error.error.as_str()))
    }
}

/// Looks at everything in `regions`. What cannot be read is said in the survey.
pub async fn survey(listings: &Listings, regions: &[String], wanted: Wanted<'_>) -> Survey {
    let mut survey = Survey::default();
    let listed = join_all(regions.iter().map(|region| join(listings.of(region), listings.beside(region)))).await;
    let read: Vec<_> = regions.iter().zip(listed).collect();
    let mut resources: Vec<&Resource> = Vec::new();
    let mut besides: Vec<&Beside> = Vec::new();
    for (region, (listing, beside)) in &read {
        match listing {
            Ok(listing) => {
                resources.extend(&listing.resources);
                survey.scan.pages.extend(listing.pages.clone());
            }
            Err(error) => survey.unread.push(unread(region, "the region", error)),
        }
        match beside {
            Ok(beside) => {
                survey.scan.pages.extend(beside.pages.clone());
                survey.unread.extend(beside.unread.iter().map(|(what, error)| unread(region, what, error)));
                besides.push(beside);
            }
            // The listing's own error says as much.
            Err(error) if listing.is_ok() => survey.unread.push(unread(region, "the region", error)),
            Err(_) => {}
        }
    }
    resources.extend(besides.iter().flat_map(|beside| beside.snapshots.iter().map(|(found, _)| found)));
    survey.scan.resources = choose(&resources, wanted);
    let ours: BTreeSet<&str> = survey.scan.resources.iter().map(|resource| resource.arn.as_str()).collect();
    survey.near = near_misses(&resources, &ours, wanted);
    let types = besides.iter().flat_map(|beside| &beside.snapshots);
    survey.types = types.map(|(found, kind)| (found.arn.clone(), (*kind).to_owned())).collect();
    for export in besides.iter().flat_map(|beside| &beside.exports) {
        if ours.contains(export.source.as_str()) {
            survey.exports.push(export.clone());
        } else if !resources.iter().any(|found| found.arn == export.source) && names(export, wanted.enterprise) {
            survey.near_exports.push(export.clone());
        }
    }
    shares(listings, &mut survey).await;
    survey
}

fn unread(region: &str, what: &str, error: &StepError) -> Unread {
    Unread { region: region.to_owned(), what: what.to_owned(), error: error.clone() }
}

/// Whether an export's name or its source's has the enterprise's identifier in it.
fn names(export: &Export, enterprise: &str) -> bool {
    let whole = |text: &str| {
        let text = text.to_lowercase();
        let ends = |rest: &str| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric());
        let begins = |head: &str| !head.ends_with(|letter: char| letter.is_ascii_alphanumeric());
        text.match_indices(enterprise).any(|(at, found)| begins(&text[..at]) && ends(&text[at + found.len()..]))
    };
    whole(&export.id) || whole(&export.source)
}

/// Automated snapshots cannot be shared; those of other accounts are not ours to ask about.
async fn shares(listings: &Listings, survey: &mut Survey) {
    let asked = |resource: &&Resource| {
        matches!(resource.kind, Kind::Snapshot | Kind::ClusterSnapshot)
            && !resource.automated
            && resource.status == "available"
            && !survey.types.contains_key(&resource.arn)
    };
    let snapshots: Vec<&Resource> = survey.scan.resources.iter().filter(asked).collect();
    let mut answers = Vec::new();
    for few in snapshots.chunks(AT_ONCE) {
        let told = join_all(few.iter().map(|snapshot| listings.shares(snapshot))).await;
        answers.extend(few.iter().copied().cloned().zip(told));
    }
    let mut failed = Vec::new();
    for (snapshot, answer) in answers {
        match answer {
            Ok(accounts) if accounts.is_empty() => {}
            Ok(accounts) => {
                survey.shares.insert(snapshot.arn.clone(), accounts);
            }
            // It was deleted meanwhile.
            Err(error) if error.error == "Keyferry.NotFound" => {}
            Err(error) => {
                failed.push(unread(&snapshot.region, &format!("the shares of snapshot {}", snapshot.id), &error))
            }
        }
    }
    survey.unread.extend(failed);
}
