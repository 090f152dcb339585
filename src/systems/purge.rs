//! What may be purged: pure, from a scan and the records of lineage.
//!
//! A resource is listed only when the records prove that what it held is in a named successor. What is not proven is listed
//! apart, with the reason, for a person to decide: it is never deleted on the way. The list that a person approves is bound
//! to its hash, which is over everything in it, so that nothing can be put into an approval afterwards.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    cloud::short_name,
    lineage::{Lineages, Way},
    listing::{Kind, Resource},
    residency::{Homes, Recovery, Residency},
    scan::Scan,
    tags::{Tags, read},
};
use crate::keys::KeySet;

/// Goes up with every change of the plan's shape.
pub const VERSION: u32 = 1;
/// Roles of the snapshots that a migration makes on its way.
const PASSING: [&str; 4] = ["early", "final", "copy", "recovery-source"];

/// Everything that one approval is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgePlan {
    pub version: u32,
    pub enterprise: String,
    pub generation: u64,
    pub partition: String,
    pub keys: KeySet,
    /// Where the data may lie.
    pub residency: Residency,
    /// In the order in which they go: replicas, systems, snapshots, backups.
    pub lines: Vec<Line>,
}

/// One resource that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub kind: Kind,
    pub id: String,
    pub arn: String,
    pub region: String,
    pub resource_id: String,
    pub key: Option<String>,
    pub encrypted: bool,
    pub size_gb: Option<i32>,
    pub taken_at: Option<DateTime<Utc>>,
    pub why: String,
    /// What holds its data; none for a canary's copy, which holds nobody's.
    pub successor: Option<Held>,
    /// What else holds the successor's data, in other regions.
    pub copies: Vec<Held>,
    /// Each proven link, in words.
    pub proof: Vec<String>,
}

/// Something that holds an enterprise's data under its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub kind: Kind,
    pub id: String,
    pub arn: String,
    pub region: String,
    pub resource_id: String,
    pub key: String,
}

/// One resource that is left for a person to decide about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub kind: Kind,
    pub id: String,
    pub arn: String,
    pub region: String,
    pub size_gb: Option<i32>,
    pub taken_at: Option<DateTime<Utc>>,
    /// Why it is not proven to be replaced.
    pub why: String,
    /// What a person can do with it.
    pub choices: String,
}

/// What a scan comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    pub lines: Vec<Line>,
    pub kept: Vec<Kept>,
    /// Systems that were put aside and in whose place nothing serves.
    pub unserved: Vec<Unserved>,
}

/// A system that nothing serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    pub id: String,
    /// The name that it served under.
    pub original: String,
    pub region: String,
}

/// How one resource is judged.
enum Judgement {
    /// It is not the purge's business: it serves, it is under its key, or it goes with something else.
    Stays,
    Goes(u8, Box<Line>),
    Kept(String),
}

use Judgement::{Goes, Stays};

impl PurgePlan {
    /// The hash that an approval names: over the version, the keys and every word of every line.
    pub fn hash(&self) -> String {
        // A struct is written in the order of its members: the same plan gives the same text.
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(Sha256::digest(text))
    }

    /// A plan as it was stored or shown; `None` when it is none of this version.
    pub fn read(body: &Value) -> Option<Self> {
        let plan: Self = Deserialize::deserialize(body).ok()?;
        (plan.version == VERSION).then_some(plan)
    }
}

impl Line {
    /// The keys under which its data is held from then on, each with its region.
    pub fn keys(&self) -> BTreeSet<(String, String)> {
        let held = self.successor.iter().chain(&self.copies);
        held.map(|held| (held.region.clone(), held.key.clone())).collect()
    }
}

impl Held {
    fn of(resource: &Resource) -> Self {
        Self {
            kind: resource.kind,
            id: resource.id.clone(),
            arn: resource.arn.clone(),
            region: resource.region.clone(),
            resource_id: resource.resource_id.clone(),
            key: resource.key.clone().unwrap_or_default(),
        }
    }
}

/// What a person can do with what is kept.
fn choices(resource: &Resource) -> &'static str {
    if read::archive(&resource.tags) {
        return "nothing has to be done";
    }
    match resource.kind {
        Kind::Snapshot | Kind::ClusterSnapshot if resource.id.starts_with(AWS_BACKUP) => {
            "AWS Backup has it: its lifecycle, or a person, ends it there"
        }
        Kind::Snapshot | Kind::ClusterSnapshot => {
            "copy it under the enterprise's key and keep it until that copy was restored once, or leave it as it is; \
             the audit names it until then"
        }
        Kind::Instance | Kind::Cluster | Kind::AutomatedBackup | Kind::ClusterAutomatedBackup => {
            "a person has to find out what it holds; the audit names it until then"
        }
    }
}

const AWS_BACKUP: &str = "awsbackup:";

/// Whether an instance was put aside by a freeze and not given a name to serve under since. An original that bears its own
/// name again serves, whatever its tags say.
pub fn is_aside(resource: &Resource) -> bool {
    resource.kind == Kind::Instance
        && read::role(&resource.tags) == Some("old")
        && resource.id.starts_with("byok-")
        && read::original(&resource.tags) != Some(&resource.id)
}

/// What a judgement looks at, for a run that is to purge.
pub struct Bench<'a> {
    pub enterprise: &'a str,
    pub run: &'a str,
    pub scan: &'a Scan,
    pub lineages: &'a Lineages,
    pub keys: &'a KeySet,
    pub residency: &'a Residency,
    /// Whether people have stated that residency.
    pub stated: bool,
    pub homes: &'a Homes,
}

impl Bench<'_> {
    /// Judges every resource of the scan.
    pub fn all(&self) -> Judged {
        let mut judged = Judged::default();
        let mut lines = Vec::new();
        for resource in &self.scan.resources {
            match self.judge(resource) {
                Stays => {}
                Goes(order, line) => lines.push((order, *line)),
                Judgement::Kept(why) => judged.kept.push(Kept {
                    kind: resource.kind,
                    id: resource.id.clone(),
                    arn: resource.arn.clone(),
                    region: resource.region.clone(),
                    size_gb: resource.size_gb,
                    taken_at: resource.taken_at,
                    choices: choices(resource).to_owned(),
                    why,
                }),
            }
            if self.unserved(resource) {
                judged.unserved.push(Unserved {
                    id: resource.id.clone(),
                    original: read::original(&resource.tags).unwrap_or_default().to_owned(),
                    region: resource.region.clone(),
                });
            }
        }
        lines.sort_by_key(|(order, _)| *order);
        judged.lines = lines.into_iter().map(|(_, line)| line).collect();
        judged
    }

    fn judge(&self, resource: &Resource) -> Judgement {
        let under_key = self.under_key(resource);
        match resource.kind {
            Kind::Instance if is_aside(resource) => self.instance(resource),
            Kind::Instance | Kind::Cluster | Kind::ClusterAutomatedBackup => Stays,
            Kind::ClusterSnapshot if under_key || resource.automated => Stays,
            Kind::ClusterSnapshot => Judgement::Kept("it is of a cluster, which keyferry does not migrate".to_owned()),
            Kind::Snapshot if resource.automated => Stays,
            Kind::Snapshot => self.snapshot(resource, under_key),
            Kind::AutomatedBackup => self.backups(resource),
        }
    }

    fn under_key(&self, resource: &Resource) -> bool {
        resource.encrypted && resource.key.as_deref().is_some_and(|key| self.keys.serves(&resource.region, key))
    }

    fn instance(&self, resource: &Resource) -> Judgement {
        let order = u8::from(resource.derived_from.is_none());
        match self.proven(resource) {
            Ok(proven) => self.line(resource, order, &format!("replaced by {}", proven.held.id), proven),
            Err(why) => Judgement::Kept(why),
        }
    }

    fn snapshot(&self, resource: &Resource, under_key: bool) -> Judgement {
        let role = read::role(&resource.tags);
        let passing = role.is_some_and(|role| PASSING.contains(&role)) && read::run(&resource.tags).is_some();
        if read::archive(&resource.tags) {
            return Judgement::Kept("a person has marked it as an archive".to_owned());
        }
        if resource.id.starts_with(AWS_BACKUP) {
            return Judgement::Kept("AWS Backup made it, and RDS does not let others delete it".to_owned());
        }
        if self.is_canary(resource) && read::run(&resource.tags) == Some(self.run) {
            // The run that flies it deletes it: a check must not change the list that it checks.
            return Stays;
        }
        if self.is_canary(resource) {
            return Goes(2, Box::new(bare(resource, "a copy of the empty canary, which holds nobody's data")));
        }
        if under_key && !passing {
            return self.outgrown(resource).unwrap_or(Stays);
        }
        if passing && let Some(serving) = self.serving(&resource.resource_id) {
            let proof =
                vec![format!("made by {} of a system that serves", read::run(&resource.tags).unwrap_or("keyferry"))];
            let proven = Proven { held: Held::of(serving), proof, until: None };
            return self.line(resource, 2, "made for the migration", proven);
        }
        if self.lineages.get(&resource.resource_id).is_none() {
            return Judgement::Kept(format!(
                "no record says that keyferry replaced the system that it was taken from ({})",
                resource.resource_id
            ));
        }
        let why = if passing { "made for the migration" } else { "an earlier state of a replaced system" };
        match self.proven(resource) {
            Ok(proven) if !self.is_older(resource, &proven) => {
                Judgement::Kept("it was taken after the final snapshot: its data may be newer".to_owned())
            }
            Ok(proven) => self.line(resource, 2, why, proven),
            Err(why) => Judgement::Kept(why),
        }
    }

    /// A copy for recovery under its key goes when it lies where its data may not be and is not the last one: what takes its
    /// place is in the right region, under its key and available; where no copy is kept elsewhere, it is the system itself.
    fn outgrown(&self, copy: &Resource) -> Option<Judgement> {
        let (original, home) = (read::original(&copy.tags)?, self.homes.of(copy));
        if read::role(&copy.tags) != Some("recovery") {
            return None;
        }
        let why = self.residency.outside(copy, self.homes)?;
        if !self.stated {
            return Some(Judgement::Kept(format!(
                "it may not lie there ({why}), but no answer to the form regions says so"
            )));
        }
        let good = |other: &&Resource| self.under_key(other) && other.status == "available";
        let held = self.scan.resources.iter().filter(good).find(|other| match self.residency.recovery_of(home) {
            Recovery::In(_) => self.residency.recovers(other, self.homes, (original, home)),
            Recovery::Nowhere => other.kind == Kind::Instance && other.id == original && other.region == home,
            Recovery::Unstated => false,
        });
        let Some(held) = held else {
            return Some(Judgement::Kept(format!("it may not lie there ({why}), but nothing has taken its place")));
        };
        let mut line = bare(copy, &format!("a copy for recovery that may not lie there: {why}"));
        line.successor = Some(Held::of(held));
        line.proof = vec![format!("{} in {} is under its key and available", held.id, held.region)];
        Some(Goes(2, Box::new(line)))
    }

    /// An old system's own backups go with it; what is kept after it or replicated elsewhere does not.
    fn backups(&self, resource: &Resource) -> Judgement {
        let of = |other: &&Resource| other.kind == Kind::Instance && other.resource_id == resource.resource_id;
        let source = self.scan.resources.iter().find(of);
        if source.is_some_and(|source| source.region == resource.region || !is_aside(source)) {
            return Stays;
        }
        match self.proven(resource) {
            Ok(proven) => self.line(resource, 3, "backups of a replaced system", proven),
            Err(why) => Judgement::Kept(why),
        }
    }

    /// The instance of this resource id that serves under the enterprise's key.
    fn serving(&self, resource_id: &str) -> Option<&Resource> {
        self.scan.resources.iter().find(|other| {
            other.kind == Kind::Instance
                && other.resource_id == resource_id
                && !temporary(other)
                && self.under_key(other)
        })
    }

    /// What holds the data of the system that a resource is or was taken from.
    fn proven(&self, resource: &Resource) -> Result<Proven, String> {
        let chain = self.lineages.chain(&resource.resource_id)?;
        let (first, last) = (chain.first().ok_or("no record")?, chain.last().ok_or("no record")?);
        let successor = last.proven()?;
        let held = self.scan.resources.iter().find(|other| {
            other.kind == Kind::Instance && other.resource_id == successor.resource_id && other.id == last.source.id
        });
        let id = &last.source.id;
        let held = held.ok_or_else(|| format!("its successor {} does not serve as {id}", successor.resource_id))?;
        if held.key.as_deref() != Some(&successor.key) || !self.under_key(held) {
            return Err(format!("its successor {id} is not under the enterprise's key"));
        }
        if resource.resource_id == held.resource_id {
            return Err(format!("it is of {id}, which serves"));
        }
        if let Way::Replica { of } = &last.way {
            self.replicates(resource, held, of)?;
        }
        let until = match &first.way {
            Way::Snapshot { snapshot, .. } => Some(snapshot.taken_at),
            Way::Replica { .. } => None,
        };
        Ok(Proven { held: Held::of(held), proof: chain.iter().map(|link| text::told(link)).collect(), until })
    }

    /// A replica holds what its source holds: the new one replicates the system that the records name, and the old one is a
    /// replica still, of that system or of one that it replaced.
    fn replicates(&self, old: &Resource, new: &Resource, of: &str) -> Result<(), String> {
        let source = self.serving(of).ok_or_else(|| format!("{of}, which {} replicates, does not serve", new.id))?;
        if new.derived_from.as_deref().map(short_name) != Some(&source.id) {
            return Err(format!("{} does not replicate {} any more", new.id, source.id));
        }
        if old.kind == Kind::Instance {
            let from = old
                .derived_from
                .as_deref()
                .map(short_name)
                .ok_or("it replicates nothing any more: it may have been written to")?;
            let known = self.scan.resources.iter().any(|other| {
                other.kind == Kind::Instance
                    && other.id == from
                    && (other.resource_id == of
                        || self.lineages.chain(&other.resource_id).is_ok_and(|chain| {
                            chain.iter().any(|link| link.successor.as_ref().is_some_and(|end| end.resource_id == of))
                        }))
            });
            if !known {
                return Err(format!("it replicates {from}, of which no record says that {} replaced it", source.id));
            }
        }
        Ok(())
    }

    /// Whether a snapshot holds nothing that the final one lacks. Of a replica there is no final one: its source has it all.
    fn is_older(&self, resource: &Resource, proven: &Proven) -> bool {
        proven.until.is_none_or(|until| resource.taken_at.is_some_and(|taken| taken <= until))
    }

    /// What holds the successor's data in other regions.
    fn copies(&self, successor: &Held) -> Vec<Held> {
        let away = self.scan.resources.iter().filter(|other| other.region != successor.region && self.under_key(other));
        let holds = away.filter(|other| match other.kind {
            Kind::Snapshot => {
                other.resource_id == successor.resource_id
                    && other.status == "available"
                    && !read::role(&other.tags).is_some_and(|role| PASSING.contains(&role))
            }
            Kind::Instance => other.derived_from.as_deref().map(short_name) == Some(&successor.id) && !temporary(other),
            Kind::Cluster | Kind::ClusterSnapshot | Kind::AutomatedBackup | Kind::ClusterAutomatedBackup => false,
        });
        holds.map(Held::of).collect()
    }

    /// The line of a resource whose data is proven to be elsewhere; kept when it is the only copy in its region.
    fn line(&self, resource: &Resource, order: u8, why: &str, proven: Proven) -> Judgement {
        let copies = self.copies(&proven.held);
        let held_there =
            resource.region == proven.held.region || copies.iter().any(|copy| copy.region == resource.region);
        if !held_there {
            return Judgement::Kept(format!(
                "it is the only copy of {} in {}: nothing under the enterprise's key is there",
                proven.held.id, resource.region
            ));
        }
        let mut line = bare(resource, why);
        line.successor = Some(proven.held);
        line.copies = copies;
        line.proof = proven.proof;
        Goes(order, Box::new(line))
    }

    fn is_canary(&self, resource: &Resource) -> bool {
        is_canary(self.enterprise, &resource.id, resource.derived_from.as_deref(), &resource.tags)
    }

    /// Whether a system was put aside and nothing serves in its place.
    fn unserved(&self, resource: &Resource) -> bool {
        is_aside(resource)
            && !self.scan.resources.iter().any(|other| {
                other.kind == Kind::Instance
                    && Some(other.id.as_str()) == read::original(&resource.tags)
                    && other.region == resource.region
            })
    }
}

/// Where data is proven to be.
struct Proven {
    held: Held,
    proof: Vec<String>,
    /// What was taken later may hold more.
    until: Option<DateTime<Utc>>,
}

/// Whether a snapshot is a copy of the empty canary that keyferry made for an enterprise: it holds nobody's data.
pub fn is_canary(enterprise: &str, id: &str, derived_from: Option<&str>, tags: &Tags) -> bool {
    read::role(tags) == Some("canary-copy")
        && id.starts_with(&super::identifier(&format!("byok-{enterprise}-canary-")))
        && derived_from.map(short_name).unwrap_or_default().starts_with("keyferry-canary-")
}

/// Made by keyferry and not serving.
fn temporary(resource: &Resource) -> bool {
    read::run(&resource.tags).is_some() && resource.id.starts_with("byok-")
}

fn bare(resource: &Resource, why: &str) -> Line {
    Line {
        kind: resource.kind,
        id: resource.id.clone(),
        arn: resource.arn.clone(),
        region: resource.region.clone(),
        resource_id: resource.resource_id.clone(),
        key: resource.key.clone(),
        encrypted: resource.encrypted,
        size_gb: resource.size_gb,
        taken_at: resource.taken_at,
        why: why.to_owned(),
        successor: None,
        copies: Vec::new(),
        proof: Vec::new(),
    }
}

mod text;

#[cfg(test)]
mod tests;
