//! Where states lead: into their own machine and nowhere else.
//!
//! The text is asked, not the states that could be read, so that a state with a mistake in it is neither missing to those
//! that lead to it nor excused from leading somewhere itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::engine::language::Problem;

use super::Machine;

/// A state that the text names, whether it could be read or not.
#[derive(Debug)]
pub(super) struct Declared {
    pub machine: usize,
    pub name: String,
    pub pointer: String,
}

/// Refuses what leads out of its machine; warns of states that nothing leads to.
pub(super) fn check(
    document: &Value,
    machines: &[Machine],
    declared: &[Declared],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let everywhere: BTreeSet<&str> = declared.iter().map(|state| state.name.as_str()).collect();
    let mut by_machine: BTreeMap<usize, Vec<&Declared>> = BTreeMap::new();
    for state in declared {
        by_machine.entry(state.machine).or_default().push(state);
    }
    for (index, own) in by_machine {
        let Some(machine) = machines.get(index) else { continue };
        let within: BTreeSet<&str> = own.iter().map(|state| state.name.as_str()).collect();
        let mut leads: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for state in &own {
            for (pointer, target) in targets(document, state) {
                if within.contains(target) {
                    leads.entry(&state.name).or_default().push(target);
                    continue;
                }
                let reason = match everywhere.contains(target) {
                    true => {
                        format!("the state `{target}` is not in the same branch: a transition cannot leave its own")
                    }
                    false => format!("there is no state `{target}`"),
                };
                problems.push(Problem::new(pointer, reason));
            }
        }
        if !within.contains(machine.start_at.as_str()) {
            continue;
        }
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = vec![machine.start_at.as_str()];
        while let Some(name) = open.pop() {
            if reached.insert(name) {
                open.extend(leads.get(name).into_iter().flatten());
            }
        }
        if !own.iter().any(|state| reached.contains(state.name.as_str()) && ends(document, state)) {
            warnings.push(Problem::new(machine_of(&own), "no state that can be reached ends it: it runs for ever"));
        }
        for state in own.iter().filter(|state| !reached.contains(state.name.as_str())) {
            warnings.push(Problem::new(&state.pointer, format!("nothing leads to the state `{}`", state.name)));
        }
    }
}

/// Whether a machine can end in a state.
fn ends(document: &Value, state: &Declared) -> bool {
    let member = |name: &str| document.pointer(&state.pointer).and_then(|members| members.get(name));
    matches!(member("Type").and_then(Value::as_str), Some("Succeed" | "Fail"))
        || member("End").and_then(Value::as_bool) == Some(true)
}

/// The pointer of the machine that these states are in.
fn machine_of(own: &[&Declared]) -> String {
    let states = own.first().and_then(|state| state.pointer.rsplit_once('/')).map_or("", |(states, _)| states);
    states.strip_suffix("/States").unwrap_or_default().to_owned()
}

/// What a state's text names as the next one, each with its pointer. A field that its type does not have is refused
/// elsewhere.
fn targets<'a>(document: &'a Value, state: &Declared) -> Vec<(String, &'a str)> {
    let Some(members) = document.pointer(&state.pointer) else { return Vec::new() };
    let kind = members.get("Type").and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    let mut add = |pointer: String, target: Option<&'a Value>| {
        found.extend(target.and_then(Value::as_str).map(|target| (pointer, target)));
    };
    let at = &state.pointer;
    let list = |name: &str| members.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
    match kind {
        "Succeed" | "Fail" => {}
        "Choice" => {
            list("Choices").for_each(|(index, rule)| add(format!("{at}/Choices/{index}/Next"), rule.get("Next")));
            add(format!("{at}/Default"), members.get("Default"));
        }
        _ => {
            add(format!("{at}/Next"), members.get("Next"));
            list("Catch").for_each(|(index, catcher)| add(format!("{at}/Catch/{index}/Next"), catcher.get("Next")));
        }
    }
    found
}
