//! What keyferry says it has found, moved, listed and matched, beside what the judge's eyes see in the cloud at that moment.
//!
//! Nothing is expected here that was copied from an output: each number is counted in the sandbox's stock, by origin of the
//! data, resource ids, keys and the names that the estate was built with.

use std::collections::{BTreeMap, BTreeSet};

use keyferry::sandbox::{Holding, HoldingKind};
use serde_json::Value;

use super::{build::WEST, life::Life, play::Play};

/// What keyferry said at some moment, and what there was.
#[derive(Debug, Clone)]
pub struct Said {
    pub word: Value,
    pub stock: Vec<Holding>,
}

/// The moments of an onboarding.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    /// Before anything was changed.
    pub start: Vec<Holding>,
    pub inventory: Option<Said>,
    pub approval: Option<Said>,
    pub report: Option<Said>,
    pub lineages: Vec<Value>,
    pub ledger: Vec<Value>,
}

impl Play {
    pub(super) async fn said(&self, life: &Life, collection: &str, key: &str) -> Option<Said> {
        let word = life.service.record("dave", collection, key).await.unwrap()?.body;
        Some(Said { word, stock: self.estate.sandbox.stock().await.unwrap() })
    }

    /// What is said by the end of a run.
    pub(super) async fn note_end(&mut self, life: &Life) {
        self.noted.report = self.said(life, "report", "latest").await;
        self.noted.lineages = all(life, "lineage").await;
        self.noted.ledger = all(life, "purge-ledger").await;
    }
}

async fn all(life: &Life, collection: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = life.service.records("dave", collection, 200, cursor).await.unwrap();
        found.extend(page.items.into_iter().map(|record| record.body));
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

/// How many of each kind, in words that both sides have.
type Counts = BTreeMap<&'static str, usize>;

fn kind(holding: &Holding) -> &'static str {
    match holding.kind {
        HoldingKind::Instance => "instance",
        HoldingKind::Cluster => "cluster",
        HoldingKind::Snapshot => "snapshot",
        HoldingKind::ClusterSnapshot => "cluster-snapshot",
        HoldingKind::Backup => "automated-backup",
    }
}

fn counted<'a>(holdings: impl IntoIterator<Item = &'a Holding>) -> Counts {
    let mut counts = Counts::new();
    holdings.into_iter().for_each(|holding| *counts.entry(kind(holding)).or_default() += 1);
    counts
}

/// The same of what keyferry lists.
fn listed<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Counts {
    let known = ["instance", "cluster", "snapshot", "cluster-snapshot", "automated-backup"];
    let mut counts = Counts::new();
    for row in rows {
        let kind = row["kind"].as_str().unwrap().trim_start_matches("cluster-automated").trim_start_matches('-');
        let kind = if kind == "backup" { "automated-backup" } else { kind };
        *counts.entry(known.into_iter().find(|name| *name == kind).unwrap_or("other")).or_default() += 1;
    }
    counts
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Noted {
    /// Whether it is dave's: of the origin of something that bears one of dave's names.
    fn of_dave<'a>(&self, stock: &'a [Holding]) -> Vec<&'a Holding> {
        let ours = self.start.iter().filter(|holding| holding.id.starts_with("dave-"));
        let origins: BTreeSet<&str> = ours.map(|holding| holding.content.id()).collect();
        stock.iter().filter(|holding| origins.contains(holding.content.id()) && !holding.going).collect()
    }

    /// Instances as they were, by name and region, with their resource ids.
    fn systems(&self, replicas: bool) -> BTreeMap<(String, String), String> {
        let ours = self.start.iter().filter(|one| one.kind == HoldingKind::Instance && one.id.starts_with("dave-"));
        let ours = ours.filter(|one| one.replica == replicas);
        ours.map(|one| ((one.id.clone(), one.region.clone()), one.resource_id.clone())).collect()
    }

    /// Names whose bearer is another instance now, under a key of the customer's.
    fn moved(&self, stock: &[Holding], keys: &BTreeSet<&str>, replicas: bool) -> usize {
        let instances: Vec<&Holding> = stock.iter().filter(|one| one.kind == HoldingKind::Instance).collect();
        let systems = self.systems(replicas);
        let moved = systems.iter().filter(|((id, region), resource)| {
            instances.iter().any(|one| {
                one.id == *id
                    && one.region == *region
                    && one.resource_id != **resource
                    && one.key.as_deref().is_some_and(|key| keys.contains(key))
            })
        });
        moved.count()
    }

    /// What has to go: what was put aside, and what people or the migration took of what was replaced. An archive, and what AWS
    /// Backup has, is nobody's to purge.
    fn goes<'a>(&self, stock: &'a [Holding]) -> Vec<&'a Holding> {
        let names: BTreeSet<(String, String)> =
            self.systems(false).into_keys().chain(self.systems(true).into_keys()).collect();
        let originals: BTreeSet<String> =
            self.systems(false).into_values().chain(self.systems(true).into_values()).collect();
        let goes = |holding: &&Holding| match holding.kind {
            HoldingKind::Instance => !names.contains(&(holding.id.clone(), holding.region.clone())),
            HoldingKind::Snapshot => {
                let kept =
                    holding.automated || holding.id.starts_with("awsbackup:") || holding.id.ends_with("-archive");
                !kept && (holding.region == WEST || originals.contains(&holding.resource_id))
            }
            // An instance's own go with it; those in another region do not.
            HoldingKind::Backup => holding.region != WEST && originals.contains(&holding.resource_id),
            HoldingKind::Cluster | HoldingKind::ClusterSnapshot => false,
        };
        self.of_dave(stock).into_iter().filter(goes).collect()
    }

    /// Each number that is not what is seen. `moves`: whether anything of the estate can be moved.
    pub fn wrong(&self, keys: &BTreeSet<&str>, (lists, moves): (bool, bool), now: &[Holding]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut same = |what: &str, said: String, seen: String| {
            println!("    {what}: {said}");
            if said != seen {
                wrong.push(format!("{what}: said {said}, seen {seen}"));
            }
        };
        if lists {
            let said = self.inventory.as_ref().expect("there is an inventory");
            // The inventory does not ask for what AWS Backup has: the audit names it.
            let asked_for = |one: &&Holding| !one.id.starts_with("awsbackup:");
            let seen = counted(self.of_dave(&said.stock).into_iter().filter(asked_for));
            same("inventory", format!("{:?}", listed(rows(&said.word["resources"]))), format!("{seen:?}"));
        } else {
            same("inventory", format!("{}", self.inventory.is_some()), "false".to_owned());
        }
        for (replicas, way) in [(false, "snapshot"), (true, "replica")] {
            let links = self.lineages.iter();
            let links = links.filter(|link| link["way"]["kind"] == way && link["swapped_at"].is_string()).count();
            let seen = self.moved(now, keys, replicas);
            same(&format!("moved by {way}"), links.to_string(), seen.to_string());
            let all = if moves { self.systems(replicas).len() } else { 0 };
            same(&format!("moved by {way}, of all"), seen.to_string(), all.to_string());
        }
        self.purged(moves, &mut same);
        if let Some(said) = &self.report {
            let (right, off): (Vec<&Holding>, Vec<&Holding>) = self
                .of_dave(&said.stock)
                .into_iter()
                .partition(|one| one.decryptable && one.key.as_deref().is_some_and(|key| keys.contains(key)));
            let matches = |row: &&Value| row["finding"] == "match";
            let said_right = listed(rows(&said.word["resources"]).iter().filter(matches));
            same("audit, matched", format!("{said_right:?}"), format!("{:?}", counted(right)));
            let said_off = listed(rows(&said.word["deviations"]));
            same("audit, deviated", format!("{said_off:?}"), format!("{:?}", counted(off)));
        } else {
            same("audit", "none".to_owned(), if moves { "a report".to_owned() } else { "none".to_owned() });
        }
        wrong
    }

    fn purged(&self, moves: bool, same: &mut impl FnMut(&str, String, String)) {
        let Some(said) = &self.approval else {
            same("purge", "nothing".to_owned(), if moves { "a list".to_owned() } else { "nothing".to_owned() });
            return;
        };
        let list = listed(rows(&said.word["list"]["lines"]));
        let goes = self.goes(&said.stock);
        same("purge, listed", format!("{list:?}"), format!("{:?}", counted(goes.iter().copied())));
        same("purge, in the ledger", format!("{:?}", listed(&self.ledger)), format!("{list:?}"));
        // By ARN and resource id: a name may be borne by something else since.
        let still: BTreeSet<(&str, &str)> = self.report.as_ref().map_or_else(BTreeSet::new, |said| {
            let there = said.stock.iter().filter(|one| !one.going);
            there.map(|one| (one.arn.as_str(), one.resource_id.as_str())).collect()
        });
        let gone = goes.iter().filter(|one| !still.contains(&(one.arn.as_str(), one.resource_id.as_str())));
        same("purge, deleted", format!("{:?}", counted(gone.copied())), format!("{list:?}"));
    }
}
