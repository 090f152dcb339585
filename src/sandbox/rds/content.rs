//! The data in a resource, as far as the emulated cloud knows it: whose it is, and which writes are in it.
//!
//! Snapshots, copies, restores and replicas carry it along as of their moment. A counter would not tell two copies apart
//! that were each written once after they parted; so each write has a number of its own, given once in a cloud.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ids::digest;

/// What data is in a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Content {
    id: String,
    writes: BTreeMap<u64, DateTime<Utc>>,
}

/// Rows written by earlier versions hold a fingerprint alone. JSON has text alone as keys, and what is untagged is read without
/// knowing that they are to be numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Known { id: String, writes: BTreeMap<String, DateTime<Utc>> },
    Fingerprint(String),
}

impl TryFrom<Stored> for Content {
    type Error = std::num::ParseIntError;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        match stored {
            Stored::Known { id, writes } => {
                let numbered = writes.into_iter().map(|(number, at)| Ok((number.parse()?, at)));
                Ok(Self { id, writes: numbered.collect::<Result<_, Self::Error>>()? })
            }
            Stored::Fingerprint(id) => Ok(Self { id, writes: BTreeMap::new() }),
        }
    }
}

impl Content {
    /// The empty data of a resource that was made new.
    pub(super) fn of_new(resource_id: &str) -> Self {
        Self { id: digest(&format!("content of {resource_id}")), writes: BTreeMap::new() }
    }

    /// The data as it was at a time: without later writes.
    pub(super) fn as_of(&self, at: DateTime<Utc>) -> Self {
        let writes = self.writes.iter().filter(|(_, written)| **written <= at);
        Self { id: self.id.clone(), writes: writes.map(|(number, written)| (*number, *written)).collect() }
    }

    pub(super) fn write(&mut self, number: u64, at: DateTime<Utc>) {
        self.writes.insert(number, at);
    }

    /// Stays the same in all copies, whatever is written to them.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many writes are in it.
    pub fn counter(&self) -> usize {
        self.writes.len()
    }

    /// Whether a write is in it.
    pub fn holds(&self, write: u64) -> bool {
        self.writes.contains_key(&write)
    }

    /// Whether it is of the same origin and holds every write that the other holds.
    pub fn at_least_as_new_as(&self, other: &Self) -> bool {
        self.id == other.id && other.writes.keys().all(|write| self.writes.contains_key(write))
    }

    /// Hexadecimal; the same for the same data.
    pub fn fingerprint(&self) -> String {
        let writes: Vec<String> = self.writes.keys().map(u64::to_string).collect();
        digest(&format!("{}/{}", self.id, writes.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_as_it_was_written_and_a_fingerprint_alone_too() {
        let mut content = Content::of_new("db-A");
        content.write(7, DateTime::UNIX_EPOCH);
        let text = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content);
        assert_eq!(serde_json::from_str::<Content>("\"abc\"").unwrap().id(), "abc");
        assert!(serde_json::from_str::<Content>(&text.replace("\"7\"", "\"x\"")).is_err());
    }
}
