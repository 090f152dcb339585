//! What a step may act on that copies data, takes a system out of service or puts one in a place: what its own run has found
//! and what its people have agreed on.
//!
//! A step's input is what a definition, a retry or a skip says. Here it says only what is meant; what there is and when it may
//! be down are read from the records of the run that the step is of: its inventory, the keys that were handed over or made for
//! an import, and the answers to its form `window`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::common::{CutOver, Plan, SystemInput, input};
use crate::{
    keys::{KeySet, import::Target},
    schedule::{Window, text},
    systems::{Residency, System},
    worker::{ANSWERS, Record, StepContext, StepError},
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
    Ok(inventory_record(context, generation).await?.1)
}

/// The whole record, and what it says of what may be done.
async fn inventory_record(context: &StepContext, generation: u64) -> Result<(Value, Inventory), StepError> {
    let body = context.record(INVENTORY, &format!("g{generation}")).await?.unwrap_or(Value::Null);
    let of_run = body.get("run").and_then(Value::as_str) == Some(&context.run);
    let found = body.get("may").filter(|_| of_run).and_then(|may| Inventory::deserialize(may).ok());
    found.map(|found| (body, found)).ok_or_else(|| {
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

/// The systems that an audit has to find: those of the run's last inventory.
///
/// # Errors
/// As of [`same_basis`].
pub(super) async fn expected(
    context: &StepContext,
    generation: u64,
    keys: &KeySet,
    residency: &Residency,
) -> Result<Value, StepError> {
    let (mut body, found) = inventory_record(context, generation).await?;
    based(context, &found, keys, residency)?;
    Ok(body["systems"].take())
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

/// What people answered last to a form in one of `runs`.
async fn last_answer<T: DeserializeOwned>(
    context: &StepContext,
    form: &str,
    runs: &[String],
) -> Result<Option<T>, StepError> {
    let answers = context.records(ANSWERS).await?;
    let own = answers.values().filter(|kept| {
        kept["form"] == form && kept["run"].as_str().is_some_and(|run| runs.iter().any(|own| own == run))
    });
    let last = own.max_by_key(|kept| kept["at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok()));
    Ok(last.and_then(|kept| T::deserialize(&kept["answer"]).ok()))
}

/// Whether that is where data may lie by the last answer to the form `regions` in this run or in one that it was started by.
///
/// # Errors
/// The store could not be read.
pub(super) async fn stated(context: &StepContext, residency: &Residency) -> Result<bool, StepError> {
    let last: Option<Plan> = last_answer(context, "regions", &context.ancestors().await?).await?;
    Ok(last.is_some_and(|last| last.residency() == *residency))
}

/// The collection of the keys that runs have made for customers' material; a record's key is the key's ARN.
const MADE: &str = "import-key";

/// A key that a run has made for a customer's material.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    #[serde(flatten)]
    target: Target,
    run: String,
}

/// What `create-import-key` leaves for [`theirs`].
pub(super) fn made(context: &StepContext, target: Target) -> Record {
    let key = target.arn.clone();
    Record { collection: MADE, key, body: json!(Made { target, run: context.run.clone() }) }
}

/// Refuses keys that are not the enterprise's: neither handed over in the last answer to the form `key-arns`, nor made for its
/// material, in this run or in one that it was started by. Another key, the vendor's for example, can serve as well, and
/// nothing else would notice that it is not the customer's.
///
/// # Errors
/// `Keyferry.NoPlan`: these are other keys.
pub(super) async fn theirs(context: &StepContext, keys: &KeySet) -> Result<(), StepError> {
    let runs = context.ancestors().await?;
    let handed_over: Option<KeySet> = last_answer(context, "key-arns", &runs).await?;
    let other = match handed_over {
        Some(own) if own == *keys => return Ok(()),
        Some(own) => keys.targets().into_iter().find(|target| !own.targets().contains(target)),
        None => {
            let made = context.records(MADE).await?;
            let made = made.into_values().filter_map(|body| serde_json::from_value::<Made>(body).ok());
            let made: Vec<Target> = made.filter(|made| runs.contains(&made.run)).map(|made| made.target).collect();
            let other = keys.targets().into_iter().find(|target| !made.contains(target));
            if other.is_none() && !keys.keys.is_empty() {
                return Ok(());
            }
            other
        }
    };
    let what = other.map_or_else(
        || "not all the keys of the enterprise are among these".to_owned(),
        |Target { region, instance, arn }| {
            let place = instance.map_or_else(|| region.clone(), |instance| format!("{instance} in {region}"));
            format!("{arn} is not the key of {} for {place}", context.enterprise)
        },
    );
    Err(no_plan(format!(
        "{what}: in the run {} nobody handed it over and it was not made for an import. {START_ANOTHER}",
        context.run
    )))
}

/// # Errors
/// `Keyferry.NoPlan`: it is not the window that people have agreed on last in this run.
pub(super) async fn agreed(context: &StepContext, window: &Window) -> Result<(), StepError> {
    let last: Option<Window> = last_answer(context, "window", std::slice::from_ref(&context.run)).await?;
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
