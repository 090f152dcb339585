//! Everything that holds data, for whoever judges from outside: what is in it, and whether it can be read now.
//!
//! Nothing here comes from tags, descriptions or names that a caller chose freely, except the identifiers themselves.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::super::{Caller, kms};
use super::State;
use super::backups;
use super::content::Content;
use super::ids::Place;
use super::rows::{Change, Cluster, Instance, Snapshot};

/// What kind of resource holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldingKind {
    Instance,
    Cluster,
    Snapshot,
    ClusterSnapshot,
    Backup,
}

/// A resource with data in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Holding {
    pub kind: HoldingKind,
    pub arn: String,
    pub account: String,
    pub region: String,
    pub id: String,
    /// Of an instance or a cluster its own, else that of what the data was taken from.
    pub resource_id: String,
    pub status: String,
    /// The data can be taken from it by now: a snapshot that is still being made cannot be restored.
    pub complete: bool,
    /// RDS takes and removes it by itself: it is no copy that anybody decides to keep.
    pub automated: bool,
    /// It is being deleted.
    pub going: bool,
    pub content: Content,
    pub key: Option<String>,
    /// Its key exists, is enabled and has its material, and the key's policy lets the owner of the resource use it through
    /// RDS now. What is not encrypted can always be read.
    pub decryptable: bool,
    /// The name of an instance's endpoint.
    pub address: Option<String>,
    /// Clients that resolve this name get through and may write.
    pub serving: bool,
    pub replica: bool,
}

impl State {
    /// Everything that holds data, at a time.
    pub fn stock(&self, kms: &kms::State, now: DateTime<Utc>) -> Vec<Holding> {
        let mut keys = Keys { kms, now, known: BTreeMap::new() };
        let mut stock: Vec<Holding> =
            self.instances.iter().map(|(_, row)| self.instance_holding(&mut keys, row)).collect();
        stock.extend(self.clusters.iter().map(|(_, row)| cluster_holding(&mut keys, row)));
        for (kind, table) in
            [(HoldingKind::Snapshot, &self.snapshots), (HoldingKind::ClusterSnapshot, &self.cluster_snapshots)]
        {
            stock.extend(table.iter().map(|(arn, row)| {
                let status = if row.available(now) { "available" } else { "creating" };
                from_snapshot(&mut keys, (kind, arn, status), row)
            }));
        }
        for row in backups::everywhere(self, now) {
            let arn = row.place.arn("auto-backup", &row.id);
            let mut holding = from_snapshot(&mut keys, (HoldingKind::Backup, &arn, &row.status), &row.data);
            holding.complete = row.status != "creating";
            holding.automated = true;
            stock.push(holding);
        }
        stock
    }

    fn instance_holding(&self, keys: &mut Keys<'_>, row: &Instance) -> Holding {
        Holding {
            kind: HoldingKind::Instance,
            arn: row.arn(),
            account: row.place.account.clone(),
            region: row.place.region.clone(),
            id: row.id.clone(),
            resource_id: row.resource_id.clone(),
            status: row.status.clone(),
            complete: !matches!(row.status.as_str(), "creating" | "deleting" | "failed"),
            automated: false,
            going: is_going(&row.plan),
            content: row.content.clone(),
            key: row.kms.clone(),
            decryptable: keys.decryptable(&row.place, row.kms.as_deref()) && !is_lost(&row.status),
            address: Some(row.address()),
            serving: self.takes_clients(row),
            replica: row.replica_of.is_some(),
        }
    }
}

fn cluster_holding(keys: &mut Keys<'_>, row: &Cluster) -> Holding {
    Holding {
        kind: HoldingKind::Cluster,
        arn: row.arn(),
        account: row.place.account.clone(),
        region: row.place.region.clone(),
        id: row.id.clone(),
        resource_id: row.resource_id.clone(),
        status: row.status.clone(),
        complete: !matches!(row.status.as_str(), "creating" | "deleting" | "failed"),
        automated: false,
        going: is_going(&row.plan),
        content: row.content.clone(),
        key: row.kms.clone(),
        decryptable: keys.decryptable(&row.place, row.kms.as_deref()) && !is_lost(&row.status),
        address: None,
        serving: row.serves(),
        replica: row.replica_of.is_some(),
    }
}

fn from_snapshot(keys: &mut Keys<'_>, (kind, arn, status): (HoldingKind, &str, &str), row: &Snapshot) -> Holding {
    Holding {
        kind,
        arn: arn.to_owned(),
        account: row.place.account.clone(),
        region: row.place.region.clone(),
        id: row.id.clone(),
        resource_id: row.source_resource_id.clone(),
        status: status.to_owned(),
        complete: row.available(keys.now),
        automated: row.automated,
        going: false,
        content: row.content.clone(),
        key: row.kms.clone(),
        decryptable: keys.decryptable(&row.place, row.kms.as_deref()),
        address: None,
        serving: false,
        replica: false,
    }
}

fn is_going(plan: &[super::rows::Planned]) -> bool {
    plan.iter().any(|next| matches!(next.change, Change::Remove { .. }))
}

fn is_lost(status: &str) -> bool {
    status.starts_with("inaccessible-encryption-credentials")
}

/// Keys, each asked once for each owner however many resources it encrypts.
struct Keys<'a> {
    kms: &'a kms::State,
    now: DateTime<Utc>,
    known: BTreeMap<(String, String, String), bool>,
}

impl Keys<'_> {
    fn decryptable(&mut self, place: &Place, key: Option<&str>) -> bool {
        let Some(key) = key else { return true };
        let asked = (place.account.clone(), place.region.clone(), key.to_owned());
        *self.known.entry(asked).or_insert_with(|| {
            let owner = Caller {
                account: place.account.clone(),
                partition: place.partition.clone(),
                arn: format!("arn:{}:iam::{}:root", place.partition, place.account),
            };
            self.kms.may_attach(self.now, &owner, &place.region, key).is_ok()
        })
    }
}
