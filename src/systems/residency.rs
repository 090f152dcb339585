//! Where an enterprise's data may lie: in its home region, in that region's recovery region, and in what was allowed besides.
//!
//! Pure. Every resource has a home: the region of the system whose data it holds. A copy keeps the id of the system that it
//! was taken from, and a replica names its source, so that a copy of a copy is still known by its first home.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    cloud::short_name,
    listing::{Kind, Resource},
    tags::read,
};
use crate::aws::default_recovery;

/// Sources that are followed to a home: RDS allows three levels of replicas.
const DEPTH: usize = 8;

/// What the form `regions` stated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residency {
    /// The chosen regions.
    pub regions: Vec<String>,
    /// Recovery region by home region; none where no copy is kept elsewhere.
    pub recovery: BTreeMap<String, Option<String>>,
    /// Further regions by home region, in which copies and replicas may lie.
    pub also_in: BTreeMap<String, BTreeSet<String>>,
    /// The region of each instance that was placed.
    pub places: BTreeMap<String, String>,
}

/// Where the copies of a region's data for recovery are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery<'a> {
    In(&'a str),
    /// Nowhere, by somebody's word.
    Nowhere,
    /// Nobody said.
    Unstated,
}

impl Residency {
    /// What holds where nothing was stated: a region's copies go to a chosen region of its own jurisdiction, disaster
    /// recovery first. `recovery` is of the primary region, which always has one.
    pub fn unstated(primary: &str, recovery: &str, regions: &[String]) -> BTreeMap<String, Option<String>> {
        let order: Vec<&str> = [recovery, primary].into_iter().chain(regions.iter().map(String::as_str)).collect();
        let by_default = regions
            .iter()
            .filter(|region| *region != primary)
            .filter_map(|home| Some((home.clone(), Some(default_recovery(home, &order)?.to_owned()))));
        let mut all: BTreeMap<String, Option<String>> = by_default.collect();
        all.insert(primary.to_owned(), Some(recovery.to_owned()));
        all
    }

    pub fn recovery_of(&self, home: &str) -> Recovery<'_> {
        match self.recovery.get(home) {
            Some(Some(region)) => Recovery::In(region),
            Some(None) => Recovery::Nowhere,
            None => Recovery::Unstated,
        }
    }

    /// Every region in which data of `home` may lie, the home first.
    pub fn allowed(&self, home: &str) -> Vec<&str> {
        let recovery = match self.recovery_of(home) {
            Recovery::In(region) => Some(region),
            Recovery::Nowhere | Recovery::Unstated => None,
        };
        let also = self.also_in.get(home).into_iter().flatten().map(String::as_str);
        let wanted = self.regions.iter().map(String::as_str).filter(|region| *region == home);
        let mut all: Vec<&str> = Vec::new();
        for region in wanted.chain(recovery).chain(also) {
            if !all.contains(&region) {
                all.push(region);
            }
        }
        all
    }

    /// Why a resource may not be where it is; `None` when it may.
    pub fn outside(&self, resource: &Resource, homes: &Homes) -> Option<String> {
        let (home, region) = (homes.of(resource), resource.region.as_str());
        if !self.regions.iter().any(|chosen| chosen == region) {
            return Some(format!("{region} is none of the chosen regions ({})", self.regions.join(", ")));
        }
        if home != region && !self.allowed(home).contains(&region) {
            let allowed = self.allowed(home).join(" and ");
            let allowed = if allowed.is_empty() { "no chosen region".to_owned() } else { format!("{allowed} only") };
            return Some(format!("it holds data of {home}, which may lie in {allowed}"));
        }
        let placed = self.places.get(resource.instance.as_deref().unwrap_or(PRODUCTION));
        let elsewhere = placed.filter(|placed| is_primary(resource) && *placed != region);
        elsewhere.map(|placed| format!("its instance was placed in {placed}"))
    }

    /// Whether a snapshot is the copy for recovery of the system `id` of `home`, in the recovery region of that home.
    pub fn recovers(&self, resource: &Resource, homes: &Homes, (id, home): (&str, &str)) -> bool {
        is_recovery_copy(resource)
            && read::original(&resource.tags) == Some(id)
            && homes.of(resource) == home
            && self.recovery_of(home) == Recovery::In(&resource.region)
    }
}

/// The instance of a system whose tag says none.
pub const PRODUCTION: &str = "production";

fn is_primary(resource: &Resource) -> bool {
    matches!(resource.kind, Kind::Instance | Kind::Cluster) && resource.derived_from.is_none()
}

fn is_recovery_copy(resource: &Resource) -> bool {
    resource.kind == Kind::Snapshot && read::role(&resource.tags) == Some("recovery")
}

/// The region in an ARN, if it is one.
fn region_of(source: &str) -> Option<&str> {
    source.starts_with("arn:").then(|| source.split(':').nth(3)).flatten().filter(|region| !region.is_empty())
}

/// The home region of each system, by its resource id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Homes(BTreeMap<String, String>);

impl Homes {
    /// Of what there is, and of what was known before: what is there now counts.
    pub fn new(resources: &[Resource], known: BTreeMap<String, String>) -> Self {
        let mut homes = known;
        let running = resources.iter().filter(|resource| matches!(resource.kind, Kind::Instance | Kind::Cluster));
        homes.extend(running.map(|system| (system.resource_id.clone(), origin(system, resources))));
        Self(homes)
    }

    /// The home of what a resource holds. Of one whose system nobody knows it is where it was copied from.
    pub fn of<'a>(&'a self, resource: &'a Resource) -> &'a str {
        let copied_from = || resource.derived_from.as_deref().and_then(region_of);
        let known = self.0.get(&resource.resource_id).map(String::as_str);
        known.or_else(copied_from).unwrap_or(&resource.region)
    }

    /// For a record: home region by resource id.
    pub fn known(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// The region of the system that a system replicates in the end, or its own.
fn origin(system: &Resource, all: &[Resource]) -> String {
    let mut at = system;
    for _ in 0..DEPTH {
        let Some(source) = at.derived_from.as_deref() else { break };
        let region = region_of(source).unwrap_or(&at.region);
        let name = short_name(source);
        match all.iter().find(|other| other.kind == at.kind && other.id == name && other.region == region) {
            Some(found) => at = found,
            None => return region.to_owned(),
        }
    }
    at.region.clone()
}

#[cfg(test)]
mod tests;
