//! Importing the same material again: because it is gone, or to prove that the customer still has it.
//!
//! The keys are those of the onboarding, and KMS takes nothing else into them than what they held: every upload is sent with
//! the id of the material that was imported first. A key counts as done once its evidence is younger than the request, not when
//! KMS shows material in it, since a drill's keys have theirs all along.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::session::KeyMaterial;

/// Why an import is asked for again, and from when on one counts. What the form `key-import` of a re-import is given beside
/// the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reimport {
    pub since: DateTime<Utc>,
    /// Nothing is wrong: the customer shows that they could.
    #[serde(default)]
    pub drill: bool,
    /// A key among them cannot be used until its material is back.
    #[serde(default)]
    pub outage: bool,
    /// In the words of who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl KeyMaterial {
    /// When the customer has last shown that they have the material; none if KMS was merely found to hold it.
    pub fn proven_at(&self) -> Option<DateTime<Utc>> {
        self.import.as_ref().map(|_| self.at)
    }

    pub fn is_proven_since(&self, since: DateTime<Utc>) -> bool {
        self.proven_at().is_some_and(|at| at >= since)
    }
}

/// The ARNs of the keys that an enterprise's record `custody`/current names; none while no onboarding has ended.
pub fn serving(custody: &Value) -> Vec<&str> {
    let own = custody["instances"].as_object().into_iter().flat_map(|instances| instances.values());
    let all = std::iter::once(&custody["keys"]).chain(own);
    all.filter_map(Value::as_object).flat_map(|keys| keys.values().filter_map(Value::as_str)).collect()
}
