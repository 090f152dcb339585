//! Lists what has to be purged, for the approval: the very list that is then worked through.
//!
//! Takes the plan, the keys and the generation. Gives `resources`, in the order in which they are to go: replicas, systems,
//! snapshots, backups, and `notices` of what is not proven about the writers of systems that this run has frozen. Fails with `Keyferry.NotVerified` when an old system's place is not taken by one under its key.
//! Effect: none. Again: what is gone is not listed any more.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, input},
    settings::unproven,
    take_inventory::{homes, original_ids},
};
use crate::{
    keys::KeySet,
    systems::{Homes, Kind, Recovery, Residency, Resource, Scan, read},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct PlanPurge(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: Plan,
    keys: KeySet,
    generation: u64,
}

#[async_trait]
impl Step for PlanPurge {
    fn name(&self) -> &'static str {
        "plan-purge"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan, keys, generation } = input(self.name(), value)?;
        let inventory = context.record("inventory", &format!("g{generation}")).await?.unwrap_or(Value::Null);
        let ids = original_ids(&inventory);
        let scan = self.0.scan(context, &plan.partition, &ids).await?;
        let residency = plan.residency();
        let homes = Homes::new(&scan.resources, homes(&inventory));
        let lies = Lies { residency: &residency, homes: &homes };
        let mut listed: Vec<(u8, Value)> = Vec::new();
        for resource in &scan.resources {
            if let Some((order, why)) = reason(resource, &scan, &keys, &lies, &|id| ids.contains(id)) {
                if resource.kind == Kind::Instance {
                    replaced(resource, &scan, &keys)?;
                }
                listed.push((order, json!({ "resource": resource, "why": why })));
            }
        }
        listed.sort_by_key(|(order, _)| *order);
        let resources: Vec<Value> = listed.into_iter().map(|(_, item)| item).collect();
        let notices = unproven(context).await?;
        Ok(Progress::done(json!({ "resources": resources, "count": resources.len(), "notices": notices })))
    }
}

/// When in the order, and why, a resource has to go; `None` when it stays.
fn reason(
    resource: &Resource,
    scan: &Scan,
    keys: &KeySet,
    lies: &Lies<'_>,
    original: &dyn Fn(&str) -> bool,
) -> Option<(u8, String)> {
    let role = read::role(&resource.tags);
    let under_key = resource.encrypted && resource.key.as_deref().is_some_and(|key| keys.serves(&resource.region, key));
    match resource.kind {
        Kind::Instance if role == Some("old") => {
            let order = if resource.derived_from.is_some() { 0 } else { 1 };
            Some((order, format!("replaced by {}", read::original(&resource.tags).unwrap_or("another system"))))
        }
        Kind::Snapshot if resource.automated => None,
        Kind::Snapshot if role == Some("recovery") && under_key => {
            lies.outgrown(resource, scan, keys).map(|why| (2, why))
        }
        Kind::Snapshot => match role {
            Some("early" | "final" | "copy" | "recovery-source" | "canary-copy") => {
                Some((2, "made for the migration".to_owned()))
            }
            // A system that waits for a later window keeps its copies.
            _ if serves(resource, scan) => None,
            _ if !under_key => Some((2, "a copy of an old system, not under the key".to_owned())),
            _ => None,
        },
        // An old system's own backups go with it; what is kept or replicated elsewhere does not.
        Kind::AutomatedBackup if original(&resource.resource_id) => {
            let goes_with_it = scan.resources.iter().any(|other| {
                other.kind == Kind::Instance
                    && other.resource_id == resource.resource_id
                    && other.region == resource.region
            });
            (!goes_with_it).then(|| (3, "backups of an old system".to_owned()))
        }
        Kind::Instance
        | Kind::Cluster
        | Kind::ClusterSnapshot
        | Kind::AutomatedBackup
        | Kind::ClusterAutomatedBackup => None,
    }
}

/// Whether the system that a snapshot was taken of is in service.
fn serves(snapshot: &Resource, scan: &Scan) -> bool {
    let of_it = |other: &&Resource| other.kind == Kind::Instance && other.resource_id == snapshot.resource_id;
    scan.resources.iter().filter(of_it).any(|other| read::role(&other.tags) != Some("old"))
}

/// Where copies for recovery may lie.
struct Lies<'a> {
    residency: &'a Residency,
    homes: &'a Homes,
}

impl Lies<'_> {
    /// Why a copy for recovery under its key has to go: it lies where its data may not be, and is not the last one. The copy
    /// that takes its place is in the right region, under its key and available; where no copy is kept elsewhere it is the
    /// system itself.
    fn outgrown(&self, copy: &Resource, scan: &Scan, keys: &KeySet) -> Option<String> {
        let why = self.residency.outside(copy, self.homes)?;
        let (original, home) = (read::original(&copy.tags)?, self.homes.of(copy));
        let good = |other: &Resource| {
            let under_key = other.key.as_deref().is_some_and(|key| keys.serves(&other.region, key));
            under_key && other.status == "available"
        };
        let replaced =
            scan.resources.iter().filter(|other| good(other)).any(|other| match self.residency.recovery_of(home) {
                Recovery::In(_) => self.residency.recovers(other, self.homes, (original, home)),
                Recovery::Nowhere => other.kind == Kind::Instance && other.id == original && other.region == home,
                Recovery::Unstated => false,
            });
        replaced.then(|| format!("a copy for recovery that may not lie there: {why}"))
    }
}

/// # Errors
/// `Keyferry.NotVerified`: nothing under the expected key has taken the system's place.
fn replaced(resource: &Resource, scan: &Scan, keys: &KeySet) -> Result<(), StepError> {
    let original = read::original(&resource.tags).unwrap_or_default();
    let there = scan.resources.iter().any(|other| {
        other.kind == Kind::Instance
            && other.id == original
            && other.region == resource.region
            && other.key.as_deref().is_some_and(|key| keys.serves(&other.region, key))
    });
    if there {
        return Ok(());
    }
    let cause =
        format!("{} may not be purged: no {original} under the enterprise's key has taken its place", resource.id);
    Err(StepError::new("Keyferry.NotVerified", cause))
}
