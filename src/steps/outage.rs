//! The record of a system's outage, as the steps keep it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    common::{CutOver, SystemInput},
    recorded::no_plan,
};
use crate::{
    schedule::Window,
    systems::System,
    worker::{OUTAGES, Outage, OutageState, Record, Served, StepContext, StepError},
};

/// The outage of an original, whether it has ended or not.
///
/// # Errors
/// The store could not be read, or what it holds is no outage.
pub async fn of(context: &StepContext, resource_id: &str) -> Result<Option<Outage>, StepError> {
    let Some(body) = context.record(OUTAGES, resource_id).await? else { return Ok(None) };
    serde_json::from_value(body).map(Some).map_err(|error| unreadable(resource_id, &error))
}

/// The outage that this run has planned for a system, by this very input, and that has not ended.
///
/// # Errors
/// `Keyferry.NoPlan`: there is none.
pub async fn planned(context: &StepContext, item: &CutOver) -> Result<Outage, StepError> {
    let found = known(context, item).await?;
    if found.is_open() { Ok(found) } else { Err(unplanned(item)) }
}

/// The same, whether it has ended or not.
///
/// # Errors
/// `Keyferry.NoPlan`: this run has planned none, or with another input.
pub async fn known(context: &StepContext, item: &CutOver) -> Result<Outage, StepError> {
    let found = of(context, &item.system.resource_id).await?.filter(|outage| outage.run == context.run);
    let found = found.ok_or_else(|| unplanned(item))?;
    let planned = CutOver::deserialize(&found.input).ok();
    if planned.is_some_and(|planned| planned.is(item)) {
        return Ok(found);
    }
    Err(no_plan(format!(
        "what the step was given for {} is not what plan-outage has written down: retry with the input that the state has",
        item.system.id
    )))
}

fn unplanned(item: &CutOver) -> StepError {
    no_plan(format!(
        "{} is not taken out of service: the run has no plan to put it back. The definition has to name plan-outage before \
         freeze-system; a run of an older definition is cancelled and started again",
        item.system.id
    ))
}

/// # Errors
/// `Keyferry.NoPlan`: the attempt of the run that is to begin has ended before.
pub fn is_later(ended: &Outage, item: &CutOver) -> Result<(), StepError> {
    let before = CutOver::deserialize(&ended.input).map(|before| before.attempt).unwrap_or_default();
    if item.attempt > before {
        return Ok(());
    }
    Err(no_plan(format!(
        "{} serves again since the attempt {before} of this run: another attempt has to bear a later number",
        item.system.id
    )))
}

/// The outage of a system that is about to begin, with what its steps are given.
pub fn plan(context: &StepContext, item: &SystemInput, window: &Window, input: Value) -> Outage {
    let system = &item.system;
    Outage {
        run: context.run.clone(),
        frame: context.frame,
        system: system.id.clone(),
        region: system.region.clone(),
        resource_id: system.resource_id.clone(),
        old: item.names(context).old(),
        state: OutageState::Planned,
        since: context.now(),
        cutoff: window.cutoff,
        end: window.end,
        input,
        served: None,
        ended_at: None,
    }
}

/// # Errors
/// `Keyferry.Outage`: another run has the system out of service.
pub async fn of_no_other(context: &StepContext, system: &System) -> Result<(), StepError> {
    let found = of(context, &system.resource_id).await?;
    match found.filter(|found| found.is_open() && found.run != context.run) {
        None => Ok(()),
        Some(other) => {
            let cause = format!(
                "{} is out of service by the run {} since {}: it has to serve before another run begins with it",
                system.id,
                other.run,
                crate::schedule::text(other.since)
            );
            Err(StepError::new("Keyferry.Outage", cause))
        }
    }
}

pub fn record(outage: &Outage) -> Record {
    Record { collection: OUTAGES, key: outage.resource_id.clone(), body: json!(outage) }
}

/// The record that says that a system is out of service.
pub fn frozen(outage: Outage) -> Record {
    record(&Outage { state: OutageState::Frozen, ..outage })
}

/// The record that ends the outage that this run has planned; none if it has planned none, or somebody has ended it.
///
/// # Errors
/// The store could not be read.
pub async fn ended(context: &StepContext, item: &SystemInput, served: Served) -> Result<Vec<Record>, StepError> {
    let found = of(context, &item.system.resource_id).await?;
    let own = found.filter(|outage| outage.is_open() && outage.run == context.run);
    Ok(own.map(|outage| record(&outage.ended(served, context.now()))).into_iter().collect())
}

/// What other runs have out of service, in words; none if nothing.
///
/// # Errors
/// The store could not be read, or what it holds is no outage.
pub async fn by_another(context: &StepContext) -> Result<Option<String>, StepError> {
    let mut systems = Vec::new();
    for (resource, outage) in all_open(context).await? {
        if outage.run != context.run {
            systems.push(format!(
                "{} ({resource}) to serve again, which the run {} took out of service",
                outage.system, outage.run
            ));
        }
    }
    Ok((!systems.is_empty()).then(|| systems.join("; ")))
}

/// The enterprise's outages that have not ended, by resource id.
///
/// # Errors
/// The store could not be read, or what it holds is no outage.
pub async fn all_open(context: &StepContext) -> Result<Vec<(String, Outage)>, StepError> {
    let mut open = Vec::new();
    for (resource, body) in context.records(OUTAGES).await? {
        let outage: Outage = serde_json::from_value(body).map_err(|error| unreadable(&resource, &error))?;
        if outage.is_open() {
            open.push((resource, outage));
        }
    }
    Ok(open)
}

fn unreadable(resource: &str, error: &serde_json::Error) -> StepError {
    let cause = format!("the record {OUTAGES}/{resource} is not what this version writes: {error}");
    StepError::new("Keyferry.StoreUnreadable", cause)
}
