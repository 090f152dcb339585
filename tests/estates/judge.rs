//! The judge: it knows what applications wrote and were told is kept, which windows people agreed to, and what the cloud shows
//! from outside. It reads no tag and no record of keyferry.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use keyferry::sandbox::{Deletion, Holding, HoldingKind, Sandbox};

/// What must hold at each moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What keyferry deletes is somewhere else, at least as new, whole, and can be decrypted now.
    Kept,
    /// And in the same region, where there was a copy.
    KeptInRegion,
    /// A system is out of service only within a window that people agreed to.
    Outage,
    /// What serves under a name holds every write that was made through the name.
    Written,
    /// And every write that reached the system by an address that a client had kept, or from inside of the engine.
    LateWritten,
    /// Nothing that was there before is deleted unless a person has approved a list since the run began.
    Approved,
    /// When an audit says compliant, every copy of the data is under a key of the enterprise that can be used.
    Compliant,
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: Invariant,
    pub at: DateTime<Utc>,
    pub what: String,
}

/// A system as its users know it: by its endpoint's name.
#[derive(Debug, Clone, Default)]
struct Name {
    /// The data's origin.
    content: String,
    promised: BTreeSet<u64>,
    late: BTreeSet<u64>,
    out_since: Option<DateTime<Utc>>,
    /// Until when it is out of service by its key's owner.
    excused: Option<DateTime<Utc>>,
    /// The invariants that this outage or this loss was already reported under.
    reported: BTreeSet<Invariant>,
}

#[derive(Debug, Clone, Default)]
pub struct Judge {
    names: BTreeMap<String, Name>,
    /// The addresses of replicas that were there before keyferry was, and the resource ids of what has borne one of them.
    replicas: BTreeSet<String>,
    replicated: BTreeSet<String>,
    windows: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// What was there before keyferry was.
    found: BTreeSet<String>,
    approved: bool,
    pub violations: Vec<Violation>,
    pub deletions: u64,
    pub judged: u64,
    pub looks: u64,
    pub outages: u64,
}

impl Judge {
    /// From now on this name has to serve, with what is in it.
    pub fn watch(&mut self, holding: &Holding) {
        let Some(address) = holding.address.clone() else { return };
        self.names.insert(address, Name { content: holding.content.id().to_owned(), ..Name::default() });
    }

    /// All this was there before keyferry was.
    pub fn found(&mut self, stock: &[Holding]) {
        self.found.extend(stock.iter().filter(|holding| !holding.automated).map(known_by));
        self.replicas
            .extend(stock.iter().filter(|holding| holding.replica).filter_map(|holding| holding.address.clone()));
    }

    /// A person has said yes to a list, or has not yet in this run.
    pub fn approved(&mut self, approved: bool) {
        self.approved = approved;
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// An application was told that its write is kept.
    pub fn promised(&mut self, address: &str, write: u64, late: bool) {
        if let Some(name) = self.names.get_mut(address) {
            if late {
                name.late.insert(write)
            } else {
                name.promised.insert(write)
            };
        }
    }

    /// People agreed to a window.
    pub fn agreed(&mut self, start: DateTime<Utc>, end: DateTime<Utc>) {
        self.windows.push((start, end));
    }

    /// The next moment at which a deadline passes.
    pub fn next_deadline(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = chrono::TimeDelta::seconds(1);
        self.windows.iter().map(|(_, end)| *end + after).filter(|end| *end > now).min()
    }

    /// The end of the last window.
    pub fn last_deadline(&self) -> Option<DateTime<Utc>> {
        self.windows.iter().map(|(_, end)| *end).max()
    }

    /// Looks at how things stand.
    pub async fn look(&mut self, sandbox: &Sandbox) {
        let (now, stock) = (sandbox.now(), sandbox.stock().await.unwrap());
        self.looks += 1;
        let bears =
            |holding: &&Holding| holding.address.as_ref().is_some_and(|address| self.replicas.contains(address));
        self.replicated.extend(stock.iter().filter(bears).map(|holding| holding.resource_id.clone()));
        for deletion in sandbox.deletions() {
            self.deletions += 1;
            self.deleted(&deletion);
        }
        let mut found = Vec::new();
        for (address, name) in &mut self.names {
            let bearer = stock.iter().find(|holding| holding.address.as_ref() == Some(address));
            match bearer.filter(|bearer| bearer.serving) {
                Some(bearer) => {
                    name.out_since = None;
                    name.excused = None;
                    name.reported.remove(&Invariant::Outage);
                    found.extend(lacking(name, bearer, address));
                }
                None => {
                    if name.out_since.is_none() {
                        self.outages += 1;
                    }
                    let since = *name.out_since.get_or_insert(now);
                    // Whoever owns the key has taken the system out of service, and it takes a while to start again.
                    if bearer.is_some_and(|bearer| !bearer.decryptable) {
                        name.excused = Some(now + chrono::TimeDelta::hours(1));
                    }
                    let by_key = name.excused.is_some_and(|until| now <= until);
                    let planned = self.windows.iter().any(|(start, end)| *start <= since && now <= *end);
                    if !planned && !by_key && name.reported.insert(Invariant::Outage) {
                        let state = bearer.map_or("nothing bears the name", |bearer| bearer.status.as_str());
                        found.push((Invariant::Outage, format!("{address} is out of service since {since}: {state}")));
                    }
                }
            }
        }
        self.violations.extend(found.into_iter().map(|(invariant, what)| Violation { invariant, at: now, what }));
    }

    /// Judges one deletion.
    pub fn deleted(&mut self, deletion: &Deletion) {
        let still = |arn: &str| deletion.after.iter().find(|holding| holding.arn == arn);
        let gone = deletion.before.iter().filter(|holding| {
            !holding.going && still(&holding.arn).is_none_or(|holding| holding.going) && holding.content.counter() > 0
        });
        // What RDS removes by itself is no copy to count on, and neither is what goes with a cluster.
        let kept: Vec<&Holding> = deletion
            .after
            .iter()
            .filter(|holding| holding.complete && holding.decryptable && !holding.going && !holding.automated)
            .collect();
        let mut found = Vec::new();
        for lost in gone {
            self.judged += 1;
            if !self.approved && self.found.contains(&known_by(lost)) {
                let what = format!("{} deleted {}, which nobody has approved", deletion.entry.action, lost.arn);
                found.push(Violation { invariant: Invariant::Approved, at: deletion.entry.at, what });
            }
            let holds = |holding: &&&Holding| holding.content.at_least_as_new_as(&lost.content);
            let invariant = if kept.iter().find(holds).is_none() {
                Invariant::Kept
            } else if lost.replica && !self.replicated.contains(&lost.resource_id) {
                // What never served as a replica is not what the region counts on, however far it has followed its source.
                continue;
            } else if kept.iter().filter(|holding| holding.region == lost.region).find(holds).is_none() {
                Invariant::KeptInRegion
            } else {
                continue;
            };
            let what = format!(
                "{} deleted {} with {} writes, and no copy is as new and can be decrypted",
                deletion.entry.action,
                lost.arn,
                lost.content.counter()
            );
            found.push(Violation { invariant, at: deletion.entry.at, what });
        }
        self.violations.extend(found);
    }

    /// An audit has just said that everything is under the enterprise's keys.
    pub async fn said_compliant(&mut self, sandbox: &Sandbox, keys: &BTreeSet<String>) {
        // Another enterprise's systems have names that begin otherwise.
        let theirs = self.names.iter().filter(|(address, _)| address.starts_with("dave-"));
        let origins: BTreeSet<&str> = theirs.map(|(_, name)| name.content.as_str()).collect();
        let stock = sandbox.stock().await.unwrap();
        let of_ours = stock.iter().filter(|holding| origins.contains(holding.content.id()));
        let wrong = of_ours.filter(|holding| {
            let under = holding.key.as_ref().is_some_and(|key| keys.contains(key));
            !under || !holding.decryptable
        });
        let at = sandbox.now();
        let found: Vec<Violation> = wrong
            .map(|holding| {
                let what = format!(
                    "said compliant, but {} is under {:?}, usable: {}",
                    holding.arn, holding.key, holding.decryptable
                );
                Violation { invariant: Invariant::Compliant, at, what }
            })
            .collect();
        self.violations.extend(found);
    }
}

/// What no rename changes.
fn known_by(holding: &Holding) -> String {
    match holding.kind {
        HoldingKind::Instance | HoldingKind::Cluster => holding.resource_id.clone(),
        HoldingKind::Snapshot | HoldingKind::ClusterSnapshot | HoldingKind::Backup => holding.arn.clone(),
    }
}

/// What a name lacks that its users were promised.
fn lacking(name: &mut Name, bearer: &Holding, address: &str) -> Vec<(Invariant, String)> {
    let mut found = Vec::new();
    if bearer.kind != HoldingKind::Instance {
        return found;
    }
    for (invariant, writes) in [(Invariant::Written, &name.promised), (Invariant::LateWritten, &name.late)] {
        let lacks: Vec<&u64> = writes.iter().filter(|write| !bearer.content.holds(**write)).collect();
        if lacks.is_empty() {
            name.reported.remove(&invariant);
        } else if name.reported.insert(invariant) {
            found.push((invariant, format!("{address} serves without the writes {lacks:?}")));
        }
    }
    found
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}: {}", self.invariant, self.at, self.what)
    }
}
