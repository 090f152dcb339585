//! Finds the enterprise's data systems and says what has to be done with each.
//!
//! Takes the plan and the keys. Gives `generation`, `systems` (to migrate), `replicas` (to replace), `levels` (those of them
//! that can be replaced now, sources first), `all` (every primary system, migrated or not), `moved` (those that are) and
//! `fresh` (to provision: instances that were placed and have no system). Leaves `inventory`/`gGENERATION`: what there was
//! and where it was at home, so that copies of systems that are gone are still known as theirs, and what the run's steps may
//! act on. It looks in every supported
//! region of the partition, because a system outside the chosen regions would be forgotten. It waits while another run has a
//! system out of service: under its other name that is not to be seen. Keys that are not the
//! enterprise's are refused, and so is what is not as the form `regions` stated it. Effect: none. Again: what is migrated already is not in `systems` any more.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, input},
    outage,
    recorded::{INVENTORY, kept, theirs},
};
use crate::{
    keys::KeySet,
    systems::{
        self, Homes, Kind, Misplaced, Placement, Recovery, Residency, Resource, Scan, Survey, System, Wanted,
        purge::is_aside, read,
    },
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
        if let Some(what) = outage::by_another(context).await? {
            return Ok(self.0.pending(what));
        }
        theirs(context, &keys).await?;
        let generation = generation(context).await?;
        let before = context.record(INVENTORY, &format!("g{generation}")).await?.unwrap_or(Value::Null);
        let scan = self.0.scan(context, &plan.partition, &original_ids(&before)).await?;
        let residency = plan.residency();
        let homes = Homes::new(&scan.resources, homes(&before));
        refuse(&keys, &scan)?;
        let placement = plan.placement(&context.enterprise, &residency, &scan, &homes);
        as_stated(&placement)?;
        let mut found = Found::default();
        for resource in scan.resources.iter().filter(|resource| resource.kind == Kind::Instance) {
            // Its marks do not make an original an old one: what bears its own name serves, whoever gave it that name back.
            if is_aside(resource) || temporary(resource) {
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
            system.recovery = recovery(&system, &scan, &before, &residency);
            found.add(system, done, &scan);
        }
        let fresh = fresh(&placement);
        let mut ids = original_ids(&before);
        ids.extend(found.systems.iter().map(|system| system.resource_id.clone()));
        ids.extend(
            found.replicas.iter().filter_map(|replica| replica["system"]["resource_id"].as_str().map(str::to_owned)),
        );
        let listed: Vec<Value> = found.all.iter().map(listed).chain(found.members.iter().cloned()).collect();
        let body = json!({
            "run": context.run, "original_ids": ids, "homes": homes.known(), "systems": listed,
            "resources": scan.resources, "may": kept(&keys, &plan, (&found.all, &found.replicas, &fresh)),
        });
        let record = Record { collection: INVENTORY, key: format!("g{generation}"), body };
        let output = json!({
            "generation": generation, "systems": found.systems, "replicas": found.replicas, "all": found.all,
            "moved": found.moved(), "levels": found.levels(), "fresh": fresh,
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
    /// The primary systems that are under their keys.
    fn moved(&self) -> Vec<&System> {
        self.all.iter().filter(|system| !self.systems.iter().any(|waits| waits.arn == system.arn)).collect()
    }

    /// The replicas that can be replaced now, each level made of the one before it: those of systems that are under their
    /// keys first. Replicas of a system that waits for a later window wait with it.
    fn levels(&self) -> Vec<Vec<Value>> {
        let text = |replica: &Value, member: &str| replica[member].as_str().unwrap_or_default().to_owned();
        let named = |system: &System| (system.region.clone(), system.id.clone());
        let waiting: Vec<(String, String)> = self.systems.iter().map(named).collect();
        let mut rest: Vec<&Value> = self.replicas.iter().collect();
        let mut levels = Vec::new();
        loop {
            let source = |replica: &Value| (text(replica, "source_region"), text(replica, "source"));
            let open: BTreeSet<(String, String)> = rest
                .iter()
                .map(|replica| (text(&replica["system"], "region"), text(&replica["system"], "id")))
                .chain(waiting.iter().cloned())
                .collect();
            let (level, later): (Vec<&Value>, Vec<&Value>) =
                rest.into_iter().partition(|replica| !open.contains(&source(replica)));
            if level.is_empty() {
                return levels;
            }
            levels.push(level.into_iter().cloned().collect());
            rest = later;
        }
    }

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

/// Home region of the systems that there were before, by resource id.
pub(super) fn homes(inventory: &Value) -> BTreeMap<String, String> {
    let homes = inventory.get("homes").and_then(Value::as_object).into_iter().flatten();
    homes.filter_map(|(id, region)| Some((id.clone(), region.as_str()?.to_owned()))).collect()
}

/// # Errors
/// `Keyferry.OutsidePlan`: what there is, is not as the form `regions` stated it. `Keyferry.DataExists`: an empty system would
/// be made beside data that nothing serves.
fn as_stated(placement: &Placement<'_>) -> Result<(), StepError> {
    let cause = |found: Vec<Misplaced>| {
        let found: Vec<String> = found.iter().map(|found| format!("{}: {}", found.message, found.change)).collect();
        found.join(". ")
    };
    let misplaced = placement.misplaced();
    if !misplaced.is_empty() {
        let cause = format!("not everything is as the form regions stated it. {}. Then start again", cause(misplaced));
        return Err(StepError::new("Keyferry.OutsidePlan", cause));
    }
    let unserved = placement.unserved();
    if !unserved.is_empty() {
        return Err(StepError::new("Keyferry.DataExists", format!("{}. Then retry", cause(unserved))));
    }
    Ok(())
}

/// Made by keyferry and not serving: it bears a name of [`systems::Names`].
fn temporary(resource: &Resource) -> bool {
    read::run(&resource.tags).is_some() && resource.id.starts_with("byok-")
}

fn refuse(keys: &KeySet, scan: &Scan) -> Result<(), StepError> {
    for resource in &scan.resources {
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
            && original != resource.id
            && !scan
                .resources
                .iter()
                .any(|other| other.kind == Kind::Instance && other.id == original && other.region == resource.region)
        {
            let run = read::run(&resource.tags).unwrap_or("another run");
            let cause = format!(
                "{original} was taken out of service by {run}, which did not put it back: rename {} to {original} in {}, then retry",
                resource.id, resource.region
            );
            return Err(StepError::new("Keyferry.Interrupted", cause));
        }
    }
    Ok(())
}

/// Refuses what a restore would silently lose.
fn supported(instance: &DbInstance) -> Result<(), StepError> {
    let id = instance.db_instance_identifier().unwrap_or_default();
    match systems::unsupported(instance) {
        None => Ok(()),
        Some(reason) => {
            let cause = format!("{id} {reason}, which a restore does not bring back: migrate it by hand, then retry");
            Err(StepError::new("Keyferry.Unsupported", cause))
        }
    }
}

/// Whether a copy has to be kept in the recovery region of a system's home: there was one anywhere, or it is production and
/// nothing replicates it there. Never where the plan says that its home has no such region.
fn recovery(system: &System, scan: &Scan, before: &Value, residency: &Residency) -> bool {
    let Recovery::In(away) = residency.recovery_of(&system.region) else { return false };
    let known = before.get("systems").and_then(Value::as_array).into_iter().flatten().any(|known| {
        known["id"] == system.id.as_str() && known["region"] == system.region.as_str() && known["recovery"] == true
    });
    let elsewhere = |kind: Kind| {
        scan.resources
            .iter()
            .filter(move |other| other.kind == kind && other.region != system.region && !other.automated)
    };
    let copied = elsewhere(Kind::Snapshot).any(|snapshot| snapshot.resource_id == system.resource_id);
    let replicated = elsewhere(Kind::Instance).filter(|other| other.region == away).any(|other| {
        other.derived_from.as_deref().is_some_and(|source| {
            let name = systems::short_name(source);
            let replaced = scan.resources.iter().find(|old| old.id == name && old.region == system.region);
            name == system.id || replaced.and_then(|old| read::original(&old.tags)) == Some(&system.id)
        })
    });
    system.replica_of.is_none() && (known || copied || (system.instance == "production" && !replicated))
}

/// What is provisioned: each instance that was placed and has no system, and production for an enterprise without any.
fn fresh(placement: &Placement<'_>) -> Vec<Value> {
    let wanted = placement.to_provision().into_iter();
    wanted.map(|wanted| json!({ "id": wanted.id, "instance": wanted.instance, "region": wanted.region })).collect()
}
