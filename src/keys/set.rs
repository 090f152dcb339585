//! A generation's keys: one a region, or others for single instances.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::import::Target;

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
    /// The key that a data system of `instance` must be under in `region`; `None` outside the plan's regions. An instance
    /// with keys of its own is under those alone: where it has none, no other takes their place.
    pub fn expected(&self, instance: &str, region: &str) -> Option<&str> {
        let own = self.instances.get(instance).filter(|own| !own.is_empty());
        own.unwrap_or(&self.keys).get(region).map(String::as_str)
    }

    /// Every key with its place, those of single instances last.
    pub fn targets(&self) -> Vec<Target> {
        let target = |instance: Option<&String>, (region, arn): (&String, &String)| Target {
            region: region.clone(),
            instance: instance.cloned(),
            arn: arn.clone(),
        };
        let shared = self.keys.iter().map(|key| target(None, key));
        let own =
            self.instances.iter().flat_map(|(instance, keys)| keys.iter().map(move |key| target(Some(instance), key)));
        shared.chain(own).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_with_keys_of_its_own_is_under_no_other() {
        let key = |region: &str, arn: &str| (region.to_owned(), arn.to_owned());
        let set = KeySet {
            keys: [key("us-west-2", "west"), key("us-east-1", "east")].into(),
            instances: [("sandbox".to_owned(), [key("us-west-2", "own")].into())].into(),
        };
        assert_eq!(set.expected("production", "us-east-1"), Some("east"));
        assert_eq!(set.expected("sandbox", "us-west-2"), Some("own"));
        assert_eq!(set.expected("sandbox", "us-east-1"), None, "no fall back to the shared key");
        assert_eq!(set.expected("production", "eu-west-1"), None);
    }
}
