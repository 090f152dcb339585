//! Lineage: the records that prove where a system's data went.
//!
//! One record a source, under AWS's own id of it, which no rename changes. Each link is written in the commit of the step
//! that proved it: the final snapshot, its copy under the enterprise's key, the restored system and its verification, the
//! swap. What is not recorded did not happen: tags and names are marks that a person may set, they prove nothing here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The collection of the records; a record's key is the source's resource id.
pub const COLLECTION: &str = "lineage";
/// Goes up with every change of the record's shape.
pub const VERSION: u32 = 1;

/// What became of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    pub version: u32,
    /// The run that moved it.
    pub run: String,
    pub source: Source,
    pub way: Way,
    /// What holds its data now, once that is verified.
    #[serde(default)]
    pub successor: Option<Successor>,
    /// When the successor took the source's name.
    #[serde(default)]
    pub swapped_at: Option<DateTime<Utc>>,
}

/// What there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name that it served under.
    pub id: String,
    pub arn: String,
    pub region: String,
    pub instance: String,
    pub resource_id: String,
    pub key: Option<String>,
}

/// How its data came into the successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Way {
    /// By a snapshot that was taken while nothing could be written.
    Snapshot {
        /// When keyferry saw the snapshot whole: nothing was written later.
        frozen_at: DateTime<Utc>,
        snapshot: Snapshot,
        #[serde(default)]
        copy: Option<Copied>,
    },
    /// The source replicated a system, and the successor replicates the system of this resource id.
    Replica { of: String },
}

/// The final snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub id: String,
    pub arn: String,
    /// Of the instance that it was taken from, as AWS describes the snapshot.
    pub resource_id: String,
    /// By AWS's clock: a snapshot that was taken earlier holds nothing that this one lacks.
    pub taken_at: DateTime<Utc>,
    pub storage_gb: i32,
}

/// The copy under the enterprise's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub id: String,
    pub arn: String,
    /// What AWS says that it is a copy of.
    pub from: String,
    pub key: String,
    pub storage_gb: i32,
}

/// What holds the data now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    pub arn: String,
    pub region: String,
    pub resource_id: String,
    /// The snapshot that it was restored from, by the tag of the restoring call; of a replica the name of what it replicates.
    pub from: String,
    pub key: String,
    pub storage_gb: i32,
    pub verified_at: DateTime<Utc>,
}

impl Lineage {
    /// The record of a source whose final snapshot is there. One of the same snapshot goes on; any other begins anew,
    /// because a snapshot that is taken again holds other data.
    pub fn begin(
        before: Option<Self>,
        run: &str,
        source: Source,
        snapshot: Snapshot,
        frozen_at: DateTime<Utc>,
    ) -> Self {
        let same =
            |old: &Self| old.run == run && matches!(&old.way, Way::Snapshot { snapshot: had, .. } if *had == snapshot);
        before.filter(same).unwrap_or_else(|| Self {
            version: VERSION,
            run: run.to_owned(),
            source,
            way: Way::Snapshot { frozen_at, snapshot, copy: None },
            successor: None,
            swapped_at: None,
        })
    }

    /// A record as it was stored; `None` when this version cannot read it, and what cannot be read proves nothing.
    pub fn read(body: &Value) -> Option<Self> {
        let lineage: Self = Deserialize::deserialize(body).ok()?;
        (lineage.version == VERSION).then_some(lineage)
    }

    /// The identifier of the copy that a system is restored from, once there is one.
    pub fn copy(&self) -> Option<&Copied> {
        match &self.way {
            Way::Snapshot { copy, .. } => copy.as_ref(),
            Way::Replica { .. } => None,
        }
    }

    /// The successor, when every link is recorded and fits the one before it.
    ///
    /// # Errors
    /// The first link that is missing or does not fit, in words.
    pub fn proven(&self) -> Result<&Successor, String> {
        let id = &self.source.id;
        let Some(successor) = &self.successor else {
            return Err(format!("no record says that a successor of {id} was verified"));
        };
        let swapped = self.swapped_at.ok_or_else(|| format!("no record says that a successor serves as {id}"))?;
        if swapped < successor.verified_at {
            return Err(format!("the successor of {id} served before it was verified"));
        }
        let Way::Snapshot { frozen_at, snapshot, copy } = &self.way else { return Ok(successor) };
        let copy = copy.as_ref().ok_or_else(|| format!("no record names the copy of {id} under the key"))?;
        let doubts = [
            (snapshot.resource_id != self.source.resource_id, "its final snapshot is of another system"),
            (copy.from != snapshot.arn && copy.from != snapshot.id, "the copy is of another snapshot"),
            (successor.from != copy.id, "the successor was restored from something else"),
            (successor.key != copy.key, "the successor is under another key than the copy"),
            (copy.storage_gb < snapshot.storage_gb, "the copy is smaller than the snapshot"),
            (successor.storage_gb < snapshot.storage_gb, "the successor is smaller than the snapshot"),
            (successor.verified_at < *frozen_at, "the successor was verified before the last write"),
        ];
        match doubts.iter().find(|(there, _)| *there) {
            Some((_, doubt)) => Err(format!("the lineage of {id} has a gap: {doubt}")),
            None => Ok(successor),
        }
    }
}

/// All records of an enterprise, by the source's resource id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineages(BTreeMap<String, Lineage>);

impl Lineages {
    /// From the records of the collection.
    pub fn of(records: &BTreeMap<String, Value>) -> Self {
        Self(records.iter().filter_map(|(key, body)| Some((key.clone(), Lineage::read(body)?))).collect())
    }

    pub fn get(&self, resource_id: &str) -> Option<&Lineage> {
        self.0.get(resource_id)
    }

    /// The sources and successors there are records of: what was taken of them is the enterprise's, tagged or not.
    pub fn resource_ids(&self) -> BTreeSet<String> {
        let successors = self.0.values().filter_map(|lineage| Some(lineage.successor.as_ref()?.resource_id.clone()));
        self.0.keys().cloned().chain(successors).collect()
    }

    /// The proven lineages that lead from a source to what holds its data now, through later moves too.
    ///
    /// # Errors
    /// Why the first link is not proven. A later move that is not proven ends the chain before it.
    pub fn chain(&self, resource_id: &str) -> Result<Vec<&Lineage>, String> {
        let first = self.get(resource_id).ok_or_else(|| format!("no record says what became of {resource_id}"))?;
        first.proven()?;
        let mut chain = vec![first];
        while let Some(next) = chain.last().and_then(|last| self.get(&last.successor.as_ref()?.resource_id)) {
            // A circle cannot come about by moves; a record that says so is not believed.
            if next.proven().is_err() || chain.iter().any(|link| link.source.resource_id == next.source.resource_id) {
                break;
            }
            chain.push(next);
        }
        Ok(chain)
    }

    /// Whether a proven move ended in the system of this resource id.
    pub fn leads_to(&self, resource_id: &str) -> bool {
        self.0.values().any(|lineage| lineage.proven().is_ok_and(|successor| successor.resource_id == resource_id))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    /// `id`, of the resource id `db-from`, moved to `db-to` under `key`.
    pub fn moved(id: &str, from: &str, to: &str, key: &str) -> Lineage {
        let arn = |kind: &str, name: &str| format!("arn:aws:rds:us-west-2:127450652264:{kind}:{name}");
        Lineage {
            version: VERSION,
            run: "run-1".to_owned(),
            source: Source {
                id: id.to_owned(),
                arn: arn("db", id),
                region: "us-west-2".to_owned(),
                instance: "production".to_owned(),
                resource_id: from.to_owned(),
                key: None,
            },
            way: Way::Snapshot {
                frozen_at: at(100),
                snapshot: Snapshot {
                    id: "final".to_owned(),
                    arn: arn("snapshot", "final"),
                    resource_id: from.to_owned(),
                    taken_at: at(90),
                    storage_gb: 500,
                },
                copy: Some(Copied {
                    id: "copy".to_owned(),
                    arn: arn("snapshot", "copy"),
                    from: arn("snapshot", "final"),
                    key: key.to_owned(),
                    storage_gb: 500,
                }),
            },
            successor: Some(Successor {
                arn: arn("db", id),
                region: "us-west-2".to_owned(),
                resource_id: to.to_owned(),
                from: "copy".to_owned(),
                key: key.to_owned(),
                storage_gb: 500,
                verified_at: at(200),
            }),
            swapped_at: Some(at(300)),
        }
    }

    pub fn lineages(all: impl IntoIterator<Item = Lineage>) -> Lineages {
        Lineages(all.into_iter().map(|lineage| (lineage.source.resource_id.clone(), lineage)).collect())
    }

    type Change = fn(&mut Lineage);

    #[test]
    fn a_lineage_with_any_link_missing_or_wrong_proves_nothing() {
        let whole = moved("dave-production", "db-A", "db-B", "key-1");
        assert_eq!(whole.proven().unwrap().resource_id, "db-B");
        fn way(lineage: &mut Lineage) -> (&mut DateTime<Utc>, &mut Snapshot, &mut Option<Copied>) {
            let Way::Snapshot { frozen_at, snapshot, copy } = &mut lineage.way else { panic!("a replica") };
            (frozen_at, snapshot, copy)
        }
        let changes: [(&str, Change); 10] = [
            ("verified", |lineage| lineage.successor = None),
            ("serves as", |lineage| lineage.swapped_at = None),
            ("served before", |lineage| lineage.swapped_at = Some(at(150))),
            ("names the copy", |lineage| *way(lineage).2 = None),
            ("of another system", |lineage| way(lineage).1.resource_id = "db-X".to_owned()),
            ("of another snapshot", |lineage| way(lineage).2.as_mut().unwrap().from = "other".to_owned()),
            ("something else", |lineage| lineage.successor.as_mut().unwrap().from = "other".to_owned()),
            ("another key", |lineage| lineage.successor.as_mut().unwrap().key = "key-2".to_owned()),
            ("successor is smaller", |lineage| lineage.successor.as_mut().unwrap().storage_gb = 20),
            ("before the last write", |lineage| *way(lineage).0 = at(250)),
        ];
        for (said, change) in changes {
            let mut broken = whole.clone();
            change(&mut broken);
            let doubt = broken.proven().unwrap_err();
            assert!(doubt.contains(said), "{said}: {doubt}");
        }
    }

    #[test]
    fn a_chain_leads_through_later_moves_and_stops_before_one_that_is_not_proven() {
        let mut third = moved("dave-production", "db-C", "db-D", "key-3");
        third.swapped_at = None;
        let all = lineages([
            moved("dave-production", "db-A", "db-B", "key-1"),
            moved("dave-production", "db-B", "db-C", "key-2"),
            third,
        ]);
        let ends: Vec<&str> =
            all.chain("db-A").unwrap().iter().map(|link| &*link.successor.as_ref().unwrap().resource_id).collect();
        assert_eq!(ends, ["db-B", "db-C"]);
        all.chain("db-Z").unwrap_err();
        all.chain("db-C").unwrap_err();
    }

    #[test]
    fn a_snapshot_that_is_taken_again_begins_anew() {
        let before = moved("dave-production", "db-A", "db-B", "key-1");
        let Way::Snapshot { snapshot, .. } = before.way.clone() else { panic!("a replica") };
        let same = Lineage::begin(Some(before.clone()), "run-1", before.source.clone(), snapshot.clone(), at(400));
        assert_eq!(same, before);
        let other = Snapshot { id: "a2-final".to_owned(), ..snapshot };
        let anew = Lineage::begin(Some(before.clone()), "run-1", before.source, other, at(400));
        assert!(anew.successor.is_none() && anew.swapped_at.is_none() && anew.copy().is_none());
    }

    #[test]
    fn a_record_of_another_version_proves_nothing() {
        let mut body = serde_json::to_value(moved("dave-production", "db-A", "db-B", "key-1")).unwrap();
        assert!(Lineage::read(&body).is_some());
        body["version"] = serde_json::json!(VERSION + 1);
        assert!(Lineage::read(&body).is_none());
    }
}
