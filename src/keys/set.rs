//! A generation's keys: one a region, or others for single instances.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The keys of one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// Key ARN by region.
    pub keys: BTreeMap<String, String>,
    /// Key ARN by instance (`sandbox`) and region, where an instance has keys of its own.
    #[serde(default)]
    pub instances: BTreeMap<String, BTreeMap<String, String>>,
}

impl KeySet {
    /// The key that a data system of `instance` must be under in `region`; `None` outside the plan's regions.
    pub fn expected(&self, instance: &str, region: &str) -> Option<&str> {
        self.instances
            .get(instance)
            .and_then(|keys| keys.get(region))
            .or_else(|| self.keys.get(region))
            .map(String::as_str)
    }

    /// Every key once, as (region, ARN), in the order of regions.
    pub fn all(&self) -> Vec<(String, String)> {
        let own = self.keys.iter();
        let special = self.instances.values().flatten();
        let all: BTreeSet<(String, String)> =
            own.chain(special).map(|(region, arn)| (region.clone(), arn.clone())).collect();
        all.into_iter().collect()
    }

    /// Whether `arn` is one of the keys of `region`.
    pub fn serves(&self, region: &str, arn: &str) -> bool {
        self.keys.get(region).is_some_and(|key| key == arn)
            || self.instances.values().any(|keys| keys.get(region).is_some_and(|key| key == arn))
    }
}
