//! Variables: which scope assigns them, and whether what reads them can find them.
//!
//! Source: <https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>, "Variable scope".

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::engine::language::{Expression, Path, Problem, ReferencePath, pointer_to};

use super::{Amount, Definition, Kind, Percentage, Selection, State, Text, Until};

/// Refuses a variable that a machine assigns although one around it does too; warns of one that is read and that no scope
/// in sight assigns.
pub(super) fn check(
    document: &Value,
    definition: &Definition,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let around = around(definition);
    let mut assigned: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for state in definition.states() {
        let names = assignments(document, state).into_iter().map(|(_, name)| name);
        assigned.entry(state.machine).or_default().extend(names);
    }
    let has = |machine: usize, name: &str| assigned.get(&machine).is_some_and(|names| names.contains(name));
    let outwards = |machine: usize| std::iter::successors(around.get(&machine).copied(), |at| around.get(at).copied());
    for state in definition.states() {
        for (pointer, name) in assignments(document, state) {
            if outwards(state.machine).any(|outer| has(outer, name)) {
                let reason =
                    format!("the scope outside assigns `${name}` too: a branch or item needs a name of its own");
                problems.push(Problem::new(pointer, reason));
            }
        }
        // A state that could not be read may be the one that assigns.
        if !problems.is_empty() {
            continue;
        }
        let mut read = Vec::new();
        reads(state, &mut read);
        for name in read.into_iter().collect::<BTreeSet<String>>() {
            if !has(state.machine, &name) && !outwards(state.machine).any(|outer| has(outer, &name)) {
                warnings
                    .push(Problem::new(&state.pointer, format!("it reads `${name}`, which no state in sight assigns")));
            }
        }
    }
}

/// The machine that holds the state that holds a machine.
fn around(definition: &Definition) -> BTreeMap<usize, usize> {
    let mut around = BTreeMap::new();
    for state in definition.states() {
        match &state.kind {
            Kind::Parallel { branches, .. } => around.extend(branches.iter().map(|branch| (*branch, state.machine))),
            Kind::Map(map) => {
                around.insert(map.processor, state.machine);
            }
            Kind::Task { .. }
            | Kind::Pass { .. }
            | Kind::Wait { .. }
            | Kind::Choice { .. }
            | Kind::Succeed
            | Kind::Fail { .. } => {}
        }
    }
    around
}

/// The names that a state's own Assign, and those of its rules and Catchers, give values to, each with its pointer.
fn assignments<'a>(document: &'a Value, state: &State) -> Vec<(String, &'a str)> {
    let Some(members) = document.pointer(&state.pointer) else { return Vec::new() };
    let mut holders = vec![(state.pointer.clone(), members)];
    for list in ["Choices", "Catch"] {
        let here = pointer_to(&state.pointer, list);
        let items = members.get(list).and_then(Value::as_array).into_iter().flatten().enumerate();
        holders.extend(items.map(|(index, item)| (pointer_to(&here, &index.to_string()), item)));
    }
    let mut found = Vec::new();
    for (pointer, holder) in holders {
        let here = pointer_to(&pointer, "Assign");
        let names = holder.get("Assign").and_then(Value::as_object).into_iter().flatten();
        found.extend(names.map(|(name, _)| (pointer_to(&here, name), name.strip_suffix(".$").unwrap_or(name))));
    }
    found
}

/// Names of the variables that a state's own fields read.
fn reads(state: &State, found: &mut Vec<String>) {
    let path = |path: &Path| path.variable().map(str::to_owned);
    let reference = |path: &ReferencePath| path.variable().map(str::to_owned);
    let amount = |amount: Option<&Amount>| match amount {
        Some(Amount::Path(path)) => reference(path),
        Some(Amount::Fixed(_)) | None => None,
    };
    for selection in [&state.input_path, &state.output_path] {
        if let Selection::Path(selected) = selection {
            found.extend(path(selected));
        }
    }
    let templates = [&state.parameters, &state.result_selector, &state.assign];
    templates.into_iter().flatten().for_each(|template| template.variables(found));
    state.catch.iter().filter_map(|catcher| catcher.assign.as_ref()).for_each(|template| template.variables(found));
    match &state.kind {
        Kind::Task { timeout, heartbeat, .. } => {
            found.extend(amount(timeout.as_ref()).into_iter().chain(amount(heartbeat.as_ref())));
        }
        Kind::Wait { until: Until::Seconds(seconds), .. } => found.extend(amount(Some(seconds))),
        Kind::Wait { until: Until::TimestampPath(at), .. } => found.extend(reference(at)),
        Kind::Choice { choices, .. } => {
            for choice in choices {
                choice.rule.variables(found);
                choice.assign.iter().for_each(|template| template.variables(found));
            }
        }
        Kind::Map(map) => {
            found.extend(map.items_path.as_ref().and_then(reference));
            map.item_selector.iter().for_each(|template| template.variables(found));
            found.extend(amount(Some(&map.max_concurrency)).into_iter().chain(amount(map.tolerated_count.as_ref())));
            if let Some(Percentage::Path(path)) = &map.tolerated_percentage {
                found.extend(reference(path));
            }
        }
        Kind::Fail { error, cause } => {
            for text in [error, cause].into_iter().flatten() {
                if let Text::Computed(expression) = text {
                    Expression::variables(expression, found);
                }
            }
        }
        Kind::Wait { until: Until::Timestamp(_), .. } | Kind::Pass { .. } | Kind::Parallel { .. } | Kind::Succeed => {}
    }
}
