//! Finds the enterprise's data systems and says what has to be done with each.
//!
//! Takes the plan and the keys. Gives `generation`, `systems` (to migrate), `replicas` (to replace), `all` (every primary
//! system, migrated or not) and `fresh` (to provision, when there is nothing). Leaves `inventory`/`gGENERATION`: what
//! there was, so that copies of systems that are gone are still known as theirs. It looks in every supported region of the
//! partition, because a system outside the chosen regions would be forgotten. Effect: none. Again: what is migrated
//! already is not in `systems` any more.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, input},
};
use crate::{
    aws::partition,
    keys::KeySet,
    systems::{self, Kind, Resource, Scan, Survey, System, Wanted, read},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct TakeInventory(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: Plan,
    keys: KeySet,
}

#[async_trait]
impl Step for TakeInventory {
    fn name(&self) -> &'static str {
        "take-inventory"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan, keys } = input(self.name(), value)?;
        let generation = generation(context).await?;
        let before = context.record("inventory", &format!("g{generation}")).await?.unwrap_or(Value::Null);
        let scan = self.0.scan(context, &plan.partition, &original_ids(&before)).await?;
        refuse(context, &plan, &keys, &scan)?;
        let mut found = Found::default();
        for resource in scan.resources.iter().filter(|resource| resource.kind == Kind::Instance) {
            if read::role(&resource.tags).is_some_and(|role| role == "old") || temporary(resource) {
                continue;
            }
            let rds = self.0.aws.rds(&resource.region).await?;
            let Some(instance) = systems::instance(&rds, &resource.id).await? else { continue };
            let mut system = System::of(&instance, &resource.region, &self.0.config.aws.instance_tag);
            let expected = keys.expected(&system.instance, &system.region);
            let done =
                system.key.as_deref() == expected && expected.is_some() && !keeps_another_key(resource, expected);
            if done && instance.db_cluster_identifier().is_some() {
                found.members.push(listed(&system));
                continue;
            }
            // What is where it has to be is not restored: nothing of it can be lost.
            if !done {
                supported(&instance)?;
            }
            system.recovery = recovery(&system, &scan, &before);
            found.add(system, done, &scan);
        }
        let fresh = if found.all.is_empty() && found.replicas.is_empty() && found.members.is_empty() {
            fresh(&plan, &context.enterprise)
        } else {
            Vec::new()
        };
        let mut ids = original_ids(&before);
        ids.extend(found.systems.iter().map(|system| system.resource_id.clone()));
        ids.extend(
            found.replicas.iter().filter_map(|replica| replica["system"]["resource_id"].as_str().map(str::to_owned)),
        );
        let listed: Vec<Value> = found.all.iter().map(listed).chain(found.members.iter().cloned()).collect();
        let body = json!({ "run": context.run, "original_ids": ids, "systems": listed, "resources": scan.resources });
        let record = Record { collection: "inventory", key: format!("g{generation}"), body };
        let output = json!({
            "generation": generation, "systems": found.systems, "replicas": found.replicas, "all": found.all,
            "expected": listed, "fresh": fresh,
        });
        Ok(Progress::recorded(output, vec![record]))
    }
}

#[derive(Default)]
struct Found {
    systems: Vec<System>,
    replicas: Vec<Value>,
    all: Vec<System>,
    /// Members of clusters that were migrated by hand: they are expected to stay, and nothing is done with them.
    members: Vec<Value>,
}

/// A system as the inventory's record and the audit expect it.
fn listed(system: &System) -> Value {
    json!({ "id": system.id, "region": system.region, "instance": system.instance, "recovery": system.recovery })
}

/// Performance Insights keep the key that they were turned on with: only a system made anew gets them under another.
fn keeps_another_key(resource: &Resource, expected: Option<&str>) -> bool {
    resource.part_keys.get("performance-insights").is_some_and(|key| Some(key.as_str()) != expected)
}

impl Found {
    fn add(&mut self, system: System, done: bool, scan: &Scan) {
        let Some(source) = &system.replica_of else {
            if !done {
                self.systems.push(system.clone());
            }
            self.all.push(system);
            return;
        };
        if done {
            return;
        }
        let name = systems::short_name(source);
        let home = source.split(':').nth(3).unwrap_or(&system.region).to_owned();
        // The source may have been replaced already; then its marks say what it was called.
        let replaced = scan.resources.iter().find(|other| other.id == name && other.region == home);
        let original = replaced.and_then(|other| read::original(&other.tags)).unwrap_or(name).to_owned();
        self.replicas.push(json!({ "system": system, "source": original, "source_region": home }));
    }
}

impl Domain {
    /// Scans every supported region of `partition` for the enterprise.
    pub(super) async fn scan(
        &self,
        context: &StepContext,
        partition: &str,
        ids: &BTreeSet<String>,
    ) -> Result<Scan, StepError> {
        systems::scan(&self.listings, &self.regions(partition)?, self.wanted(context, ids)).await
    }

    /// The same for an audit, which also says what could not be read and what nearly counted.
    pub(super) async fn survey(
        &self,
        context: &StepContext,
        partition: &str,
        ids: &BTreeSet<String>,
    ) -> Result<Survey, StepError> {
        Ok(systems::survey(&self.listings, &self.regions(partition)?, self.wanted(context, ids)).await)
    }

    fn regions(&self, partition: &str) -> Result<Vec<String>, StepError> {
        let place = self.config.aws.partitions.get(partition).ok_or_else(|| {
            StepError::new("Keyferry.UnsupportedRegion", format!("the configuration has no partition {partition}"))
        })?;
        let mut regions = place.regions.clone();
        regions.sort();
        Ok(regions)
    }

    fn wanted<'a>(&'a self, context: &'a StepContext, ids: &'a BTreeSet<String>) -> Wanted<'a> {
        Wanted {
            enterprise: &context.enterprise,
            enterprise_tag: &self.config.aws.enterprise_tag,
            instance_tag: &self.config.aws.instance_tag,
            descended_from: ids,
        }
    }
}

/// The generation that this run brings in: the same when it is asked again.
pub(super) async fn generation(context: &StepContext) -> Result<u64, StepError> {
    let Some(custody) = context.record("custody", "current").await? else { return Ok(1) };
    let current = custody.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let own = custody.get("run").and_then(Value::as_str) == Some(&context.run);
    Ok(if own { current } else { current + 1 })
}

/// Resource ids of the systems that there were before.
pub(super) fn original_ids(inventory: &Value) -> BTreeSet<String> {
    let ids = inventory.get("original_ids").and_then(Value::as_array).into_iter().flatten();
    ids.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Made by keyferry and not serving: it bears a name of [`systems::Names`].
fn temporary(resource: &Resource) -> bool {
    read::run(&resource.tags).is_some() && resource.id.starts_with("byok-")
}

fn refuse(context: &StepContext, plan: &Plan, keys: &KeySet, scan: &Scan) -> Result<(), StepError> {
    for resource in &scan.resources {
        let running = matches!(resource.kind, Kind::Instance | Kind::Cluster);
        if running && !plan.regions.contains(&resource.region) {
            let cause = format!(
                "{} in {} belongs to the enterprise, but the region is none of the chosen ones ({}): choose it too, or take the tag off",
                resource.id,
                resource.region,
                plan.regions.join(", ")
            );
            return Err(StepError::new("Keyferry.OutsidePlan", cause));
        }
        let under_key = resource.key.as_deref().is_some_and(|key| keys.serves(&resource.region, key));
        if resource.kind == Kind::Cluster && !under_key {
            let cause = format!(
                "{} is a cluster, which is not migrated by keyferry yet: migrate it by hand, then retry",
                resource.id
            );
            return Err(StepError::new("Keyferry.Unsupported", cause));
        }
        if let Some(original) = read::original(&resource.tags)
            && resource.kind == Kind::Instance
            && read::run(&resource.tags) != Some(&context.run)
            && !scan.resources.iter().any(|other| other.id == original && other.region == resource.region)
        {
            let run = read::run(&resource.tags).unwrap_or("another run");
            let cause = format!(
                "{original} was taken out of service by {run}, which did not put it back: rename {} to {original}, then retry",
                resource.id
            );
            return Err(StepError::new("Keyferry.Interrupted", cause));
        }
    }
    Ok(())
}

/// Refuses what a restore would silently lose.
fn supported(instance: &DbInstance) -> Result<(), StepError> {
    let id = instance.db_instance_identifier().unwrap_or_default();
    let reasons = [
        (!instance.associated_roles().is_empty(), "has associated roles"),
        (!instance.domain_memberships().is_empty(), "is joined to a directory"),
        (instance.tde_credential_arn().is_some_and(|arn| !arn.is_empty()), "has a TDE credential"),
        (instance.db_cluster_identifier().is_some(), "is a member of a cluster"),
    ];
    match reasons.iter().find(|(there, _)| *there) {
        None => Ok(()),
        Some((_, reason)) => {
            let cause = format!("{id} {reason}, which a restore does not bring back: migrate it by hand, then retry");
            Err(StepError::new("Keyferry.Unsupported", cause))
        }
    }
}

/// Whether a copy has to be kept in the region of disaster recovery: there was one, or it is production and nothing
/// replicates it elsewhere.
fn recovery(system: &System, scan: &Scan, before: &Value) -> bool {
    let known = before.get("systems").and_then(Value::as_array).into_iter().flatten().any(|known| {
        known["id"] == system.id.as_str() && known["region"] == system.region.as_str() && known["recovery"] == true
    });
    let elsewhere = |kind: Kind| {
        scan.resources
            .iter()
            .filter(move |other| other.kind == kind && other.region != system.region && !other.automated)
    };
    let copied = elsewhere(Kind::Snapshot).any(|snapshot| snapshot.resource_id == system.resource_id);
    let replicated = elsewhere(Kind::Instance).any(|other| {
        other.derived_from.as_deref().is_some_and(|source| {
            let name = systems::short_name(source);
            let replaced = scan.resources.iter().find(|old| old.id == name && old.region == system.region);
            name == system.id || replaced.and_then(|old| read::original(&old.tags)) == Some(&system.id)
        })
    });
    system.replica_of.is_none() && (known || copied || (system.instance == "production" && !replicated))
}

/// What an enterprise without data gets: production in the primary region, and each instance that was placed.
fn fresh(plan: &Plan, enterprise: &str) -> Vec<Value> {
    let mut places = plan.instances.clone();
    places.entry("production".to_owned()).or_insert_with(|| plan.primary.clone());
    let placed = places.into_iter().filter(|(_, region)| partition(region) == plan.partition);
    placed
        .map(|(instance, region)| {
            let id = systems::identifier(&format!("{enterprise}-{instance}"));
            json!({ "id": id, "instance": instance, "region": region })
        })
        .collect()
}
