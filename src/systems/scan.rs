//! Everything of an enterprise in RDS, in every region asked for, every page.
//!
//! A resource is the enterprise's when it carries the enterprise's tag, or when it descends from one that does: snapshots
//! and backups often lost their tags, but keep the resource id of what they were taken from. The scan counts its pages and
//! names its calls, so that a report can show that nothing was skipped.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::listing::{Kind, Listings, Resource};
use crate::worker::StepError;

/// What a scan found, in the order of regions, kinds and identifiers.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    pub resources: Vec<Resource>,
    /// Pages read, by `region/operation`.
    pub pages: BTreeMap<String, u64>,
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub enterprise: &'a str,
    pub enterprise_tag: &'a str,
    pub instance_tag: &'a str,
    /// Resource ids of systems that are gone but whose snapshots and backups may not be.
    pub descended_from: &'a BTreeSet<String>,
}

/// Scans `regions`.
///
/// # Errors
/// A region could not be read to its last page: a scan is whole or it is none.
pub async fn scan(listings: &Listings, regions: &[String], wanted: Wanted<'_>) -> Result<Scan, StepError> {
    let read = try_join_all(regions.iter().map(|region| listings.of(region))).await?;
    let all: Vec<&Resource> = read.iter().flat_map(|listing| &listing.resources).collect();
    let mut scan = Scan { resources: choose(&all, wanted), pages: BTreeMap::new() };
    for listing in &read {
        scan.pages.extend(listing.pages.clone());
    }
    Ok(scan)
}

/// The enterprise's own among `all`, in the order of regions, kinds and identifiers.
pub(super) fn choose(all: &[&Resource], wanted: Wanted<'_>) -> Vec<Resource> {
    let mut ancestors = wanted.descended_from.clone();
    let running = |resource: &Resource| matches!(resource.kind, Kind::Instance | Kind::Cluster);
    let tagged =
        |resource: &Resource| resource.tags.get(wanted.enterprise_tag).is_some_and(|value| value == wanted.enterprise);
    let runs = all.iter().filter(|resource| running(resource) && tagged(resource));
    ancestors.extend(runs.map(|resource| resource.resource_id.clone()));
    let ours =
        |resource: &Resource| tagged(resource) || (!running(resource) && ancestors.contains(&resource.resource_id));
    let mut chosen: Vec<Resource> =
        all.iter().filter(|resource| ours(resource)).map(|resource| (*resource).clone()).collect();
    for resource in &mut chosen {
        resource.instance = resource.tags.get(wanted.instance_tag).cloned();
    }
    chosen.sort_by(|a, b| (&a.region, a.kind, &a.id).cmp(&(&b.region, b.kind, &b.id)));
    chosen
}
