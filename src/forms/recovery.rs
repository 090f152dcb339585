//! Where each region's data is copied for disaster recovery, as the form `regions` states it.
//!
//! A region's default is a chosen region of the same jurisdiction. Nothing leaves a jurisdiction because nobody said
//! anything: where there is no default the region has to be stated, `none` included.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::check::{Findings, escaped, pairs, texts};
use crate::aws::{default_recovery, jurisdiction};

/// The word for no copy in another region.
const NONE: &str = "none";

/// The chosen regions, each known to be good.
pub(super) struct Chosen<'a> {
    pub(super) primary: &'a str,
    pub(super) recovery: &'a str,
    pub(super) regions: &'a [&'a str],
    /// The region of each placed instance.
    pub(super) places: &'a BTreeMap<String, String>,
}

impl Chosen<'_> {
    /// Recovery region by home region, the defaults filled in.
    pub(super) fn recovery(&self, answer: &Value, findings: &mut Findings) -> BTreeMap<String, Option<String>> {
        let stated = pairs(answer.get("recovery"));
        for (home, away) in &stated {
            if let Some(message) = self.wrong(home, away) {
                findings.add(format!("/recovery/{}", escaped(home)), message);
            }
        }
        let mut all: BTreeMap<String, Option<String>> = BTreeMap::new();
        for home in self.regions.iter().filter(|home| **home != self.primary) {
            let away = match stated.get(*home).map(String::as_str) {
                Some(NONE) => None,
                Some(away) => Some(away),
                None => match default_recovery(home, &self.order()) {
                    Some(away) => Some(away),
                    None => continue,
                },
            };
            all.insert((*home).to_owned(), away.map(str::to_owned));
        }
        all.insert(self.primary.to_owned(), Some(self.recovery.to_owned()));
        for home in self.regions.iter().filter(|home| !all.contains_key(**home) && self.has_to_be_stated(home, &all)) {
            findings.add("/recovery", self.unstated(home));
        }
        all
    }

    /// Which default comes first: copies are where disaster recovery is, if the law allows.
    fn order(&self) -> Vec<&str> {
        [self.recovery, self.primary].into_iter().chain(self.regions.iter().copied()).collect()
    }

    /// A region that only takes the copies of another, and in which no instance was placed, needs none of its own. Whether
    /// there is data in it all the same is looked at when the form was answered.
    fn has_to_be_stated(&self, home: &str, all: &BTreeMap<String, Option<String>>) -> bool {
        let takes_copies = all.values().flatten().any(|away| away == home);
        !takes_copies || self.places.values().any(|placed| placed == home)
    }

    fn wrong(&self, home: &str, away: &str) -> Option<String> {
        let list = || self.regions.join(", ");
        if !self.regions.contains(&home) {
            return Some(format!("{home} is none of the chosen regions: {}", list()));
        }
        if home == self.primary && away != self.recovery {
            let recovery = self.recovery;
            return Some(format!(
                "{home} is the primary region, and its recovery region is the one of disaster recovery, {recovery}: leave it out"
            ));
        }
        if away == home {
            return Some(format!("{home} cannot be its own recovery region: name another, or \"{NONE}\""));
        }
        if away != NONE && !self.regions.contains(&away) {
            return Some(format!(
                "{away} is none of the chosen regions: name one of {}, or \"{NONE}\" for no copy elsewhere",
                list()
            ));
        }
        None
    }

    fn unstated(&self, home: &str) -> String {
        let others: Vec<&str> = self.regions.iter().copied().filter(|region| *region != home).collect();
        format!(
            "no recovery region is stated for {home}, and no other chosen region is in its jurisdiction ({}): add \
             \"recovery\": {{\"{home}\": REGION}} with one of {}, or \"recovery\": {{\"{home}\": \"{NONE}\"}} for no copy \
             elsewhere",
            jurisdiction(home),
            others.join(", ")
        )
    }

    /// Further regions by home region.
    pub(super) fn also_in(&self, answer: &Value, findings: &mut Findings) -> BTreeMap<String, BTreeSet<String>> {
        let stated = answer.get("also_in").and_then(Value::as_object).into_iter().flatten();
        let all: BTreeMap<String, BTreeSet<String>> =
            stated.map(|(home, regions)| (home.clone(), texts(Some(regions)).into_iter().collect())).collect();
        for (home, regions) in &all {
            for region in std::iter::once(home).chain(regions) {
                if !self.regions.contains(&region.as_str()) {
                    let message = format!("{region} is none of the chosen regions: {}", self.regions.join(", "));
                    findings.add(format!("/also_in/{}", escaped(home)), message);
                }
            }
        }
        all
    }
}
