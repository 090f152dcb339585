//! What a step may act on that copies data, takes a system out of service or puts one in a place: what its own run has found
//! and what its people have agreed on.
//!
//! A step's input is what a definition, a retry or a skip says. Here it says only what is meant; what there is and when it may
//! be down are read from the records of the run that the step is of: its inventory, and the answers to its form `window`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::common::{CutOver, Plan, SystemInput, input};
use crate::{
    keys::KeySet,
    schedule::{Window, text},
    systems::{Residency, System},
    worker::{ANSWERS, StepContext, StepError},
};

/// The collection of the inventories; a record's key is `gGENERATION`.
pub(super) const INVENTORY: &str = "inventory";

/// What the inventory's record says of what may be done.
#[derive(Debug, Deserialize)]
struct Inventory {
    keys: KeySet,
    residency: Residency,
    /// Primary systems, whether they have to be migrated or not.
    found: Vec<Known>,
    replicas: Vec<Replica>,
    fresh: Vec<Value>,
}

/// Which system it is, whatever it is set to.
#[derive(Debug, PartialEq, Deserialize)]
struct Known {
    id: String,
    arn: String,
    region: String,
    instance: String,
    resource_id: String,
    replica_of: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    system: Known,
    source: String,
    source_region: String,
}

/// What the inventory leaves for [`Inventory`].
pub(super) fn kept(keys: &KeySet, plan: &Plan, (all, replicas, fresh): (&[System], &[Value], &[Value])) -> Value {
    let replicas: Vec<Value> = replicas
        .iter()
        .map(|replica| {
            json!({
                "system": known(&replica["system"]), "source": replica["source"],
                "source_region": replica["source_region"],
            })
        })
        .collect();
    let found: Vec<Value> = all.iter().map(|system| known(&json!(system))).collect();
    json!({ "keys": keys, "residency": plan.residency(), "found": found, "replicas": replicas, "fresh": fresh })
}

fn known(system: &Value) -> Value {
    let member = |name: &str| system[name].clone();
    json!({
        "id": member("id"), "arn": member("arn"), "region": member("region"), "instance": member("instance"),
        "resource_id": member("resource_id"), "replica_of": member("replica_of"),
    })
}

impl Known {
    fn is(&self, system: &System) -> bool {
        (&self.id, &self.arn, &self.region) == (&system.id, &system.arn, &system.region)
            && (&self.instance, &self.resource_id) == (&system.instance, &system.resource_id)
            && self.replica_of == system.replica_of
    }
}

pub(super) fn no_plan(cause: String) -> StepError {
    StepError::new("Keyferry.NoPlan", cause)
}

const START_ANOTHER: &str =
    "Nothing was touched. Retry with the input that the state has, or cancel the run and start another";

async fn inventory(context: &StepContext, generation: u64) -> Result<Inventory, StepError> {
    let body = context.record(INVENTORY, &format!("g{generation}")).await?.unwrap_or(Value::Null);
    let of_run = body.get("run").and_then(Value::as_str) == Some(&context.run);
    let found = body.get("may").filter(|_| of_run).and_then(|may| Inventory::deserialize(may).ok());
    found.ok_or_else(|| {
        no_plan(format!(
        "the run {} has taken no inventory of generation {generation}, by which it would be known what may be done. \
         {START_ANOTHER}",
            context.run
        ))
    })
}

/// # Errors
/// `Keyferry.NoPlan`: the run's inventory was taken with other keys, or for other regions.
pub(super) async fn same_basis(
    context: &StepContext,
    generation: u64,
    keys: &KeySet,
    residency: &Residency,
) -> Result<(), StepError> {
    based(context, &inventory(context, generation).await?, keys, residency)
}

fn based(context: &StepContext, found: &Inventory, keys: &KeySet, residency: &Residency) -> Result<(), StepError> {
    let wrong = match (found.keys == *keys, found.residency == *residency) {
        (true, true) => return Ok(()),
        (false, _) => "other keys",
        (true, false) => "other regions",
    };
    Err(no_plan(format!("the inventory of the run {} was taken with {wrong}. {START_ANOTHER}", context.run)))
}

/// # Errors
/// `Keyferry.NoPlan`: the run's inventory has not found such a primary system, or was taken with other keys or regions.
pub(super) async fn in_inventory(context: &StepContext, item: &SystemInput) -> Result<(), StepError> {
    let found = inventory(context, item.generation).await?;
    based(context, &found, &item.keys, &item.plan.residency())?;
    if found.found.iter().any(|known| known.is(&item.system)) {
        return Ok(());
    }
    Err(not_found(context, &item.system, "system"))
}

/// # Errors
/// `Keyferry.NoPlan`: the run's inventory has not found such a replica of that source.
pub(super) async fn replica_in_inventory(
    context: &StepContext,
    item: &SystemInput,
    (source, region): (&str, &str),
) -> Result<(), StepError> {
    let found = inventory(context, item.generation).await?;
    based(context, &found, &item.keys, &item.plan.residency())?;
    let is = |known: &Replica| {
        known.system.is(&item.system) && (known.source.as_str(), known.source_region.as_str()) == (source, region)
    };
    if found.replicas.iter().any(is) {
        return Ok(());
    }
    Err(not_found(context, &item.system, "replica of that source"))
}

fn not_found(context: &StepContext, system: &System, what: &str) -> StepError {
    let System { id, region, resource_id, .. } = system;
    no_plan(format!(
        "the inventory of the run {} has no {what} {id} in {region} with the resource id {resource_id}. {START_ANOTHER}",
        context.run
    ))
}

/// # Errors
/// `Keyferry.NoPlan`: the run's inventory does not miss this system.
pub(super) async fn is_missing(context: &StepContext, fresh: &Value) -> Result<(), StepError> {
    let generation = super::take_inventory::generation(context).await?;
    if inventory(context, generation).await?.fresh.contains(fresh) {
        return Ok(());
    }
    Err(no_plan(format!("the inventory of the run {} does not miss a system {fresh}. {START_ANOTHER}", context.run)))
}

#[derive(Debug, Deserialize)]
struct Stated {
    form: String,
    run: String,
    answer: Plan,
    at: chrono::DateTime<chrono::Utc>,
}

/// Whether that is where data may lie by the last answer to the form `regions` in this run or in one that it was started by.
///
/// # Errors
/// The store could not be read.
pub(super) async fn stated(context: &StepContext, residency: &Residency) -> Result<bool, StepError> {
    let runs = context.ancestors().await?;
    let answers = context.records(ANSWERS).await?;
    let regions = answers.values().filter_map(|body| Stated::deserialize(body).ok());
    let own = regions.filter(|answer| answer.form == "regions" && runs.contains(&answer.run));
    Ok(own.max_by_key(|answer| answer.at).is_some_and(|last| last.answer.residency() == *residency))
}

#[derive(Debug, Deserialize)]
struct Agreed {
    form: String,
    run: String,
    answer: Window,
    at: chrono::DateTime<chrono::Utc>,
}

/// # Errors
/// `Keyferry.NoPlan`: it is not the window that people have agreed on last in this run.
pub(super) async fn agreed(context: &StepContext, window: &Window) -> Result<(), StepError> {
    let answers = context.records(ANSWERS).await?;
    let windows = answers.values().filter_map(|body| Agreed::deserialize(body).ok());
    let own = windows.filter(|answer| answer.form == "window" && answer.run == context.run);
    let last = own.max_by_key(|answer| answer.at).map(|answer| answer.answer);
    if last.as_ref() == Some(window) {
        return Ok(());
    }
    let said =
        last.map_or("none".to_owned(), |window| format!("one from {} to {}", text(window.start), text(window.end)));
    Err(no_plan(format!(
        "nobody agreed in the run {} on a window from {} to {}; the last that was agreed on is {said}. {START_ANOTHER}",
        context.run,
        text(window.start),
        text(window.end)
    )))
}

/// The input of a step that works on a system while it is out of service, if it is what the run has planned.
///
/// # Errors
/// `Keyferry.BadInput`; `Keyferry.NoPlan`: the run has planned nothing of the kind, or it has ended.
pub(super) async fn cut_over(context: &StepContext, step: &str, value: Value) -> Result<CutOver, StepError> {
    let item: CutOver = input(step, value)?;
    super::outage::planned(context, &item).await?;
    Ok(item)
}
