//! Transitions and their labels, as both pictures show them.

use serde_json::Value;

use crate::engine::{
    Definition, Resource,
    definition::{Kind, State},
};

/// Characters of a label; what is longer ends in an ellipsis.
const LABEL_CHARS: usize = 44;

/// One transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub target: String,
    pub label: String,
    /// Taken after an error.
    pub is_catch: bool,
}

/// The transitions of a state, each pair of target and label once.
pub(super) fn edges(source: &Value, state: &State) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for (pointer, target) in state.targets() {
        let place = pointer.strip_suffix("/Next").or(pointer.strip_suffix("/Default")).unwrap_or(&pointer);
        let written = source.pointer(place).unwrap_or(&Value::Null);
        let is_catch = place.starts_with(&format!("{}/Catch/", state.pointer));
        let label = if is_catch {
            let errors: Vec<&str> =
                written["ErrorEquals"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            short(&format!("catch {}", errors.join(", ")))
        } else if place.starts_with(&format!("{}/Choices/", state.pointer)) {
            short(&rule(written))
        } else if matches!(state.kind, Kind::Choice { .. }) {
            "otherwise".to_owned()
        } else {
            String::new()
        };
        let edge = Edge { target: target.to_owned(), label, is_catch };
        if !edges.contains(&edge) {
            edges.push(edge);
        }
    }
    edges
}

/// The definition as JSON, for what the loaded form does not keep in words.
pub(super) fn source(definition: &Definition) -> Value {
    serde_json::from_str(&definition.source).unwrap_or(Value::Null)
}

/// A Choice rule in words.
fn rule(written: &Value) -> String {
    let Some(members) = written.as_object() else { return String::new() };
    let list = |key: &str, word: &str| {
        let rules: Vec<String> = written[key].as_array().into_iter().flatten().map(rule).collect();
        rules.join(word)
    };
    if members.contains_key("And") {
        return list("And", " and ");
    }
    if members.contains_key("Or") {
        return list("Or", " or ");
    }
    if let Some(inner) = members.get("Not") {
        return format!("not ({})", rule(inner));
    }
    let variable = written["Variable"].as_str().unwrap_or("$");
    let compared = members.iter().find(|(key, _)| !["Variable", "Next", "Assign", "Comment"].contains(&key.as_str()));
    let Some((operator, operand)) = compared else { return variable.to_owned() };
    if let Some(what) = operator.strip_prefix("Is") {
        let not = if operand == &Value::Bool(false) { "not " } else { "" };
        return format!("{variable} is {not}{}", what.to_lowercase());
    }
    let base = operator.strip_suffix("Path").unwrap_or(operator);
    let sign = [
        ("GreaterThanEquals", "≥"),
        ("LessThanEquals", "≤"),
        ("GreaterThan", ">"),
        ("LessThan", "<"),
        ("Equals", "="),
        ("Matches", "matches"),
    ];
    let sign = sign.iter().find(|(suffix, _)| base.ends_with(suffix)).map_or(base, |(_, sign)| *sign);
    let operand = if operator.ends_with("Path") { operand.as_str().map(ToOwned::to_owned) } else { None }
        .unwrap_or_else(|| operand.to_string());
    format!("{variable} {sign} {operand}")
}

/// What a state does, in a few words under its name.
pub(super) fn caption(state: &State) -> String {
    match &state.kind {
        Kind::Task { resource, .. } => short(&match resource {
            Resource::Step(name) => format!("step {name}"),
            Resource::Form(name) => format!("form {name}"),
            Resource::Workflow(name) => format!("workflow {name}"),
            Resource::Other(uri) => uri.clone(),
        }),
        Kind::Map(_) => "Map: each item".to_owned(),
        Kind::Pass { .. }
        | Kind::Wait { .. }
        | Kind::Choice { .. }
        | Kind::Parallel { .. }
        | Kind::Succeed
        | Kind::Fail { .. } => state.type_name().to_owned(),
    }
}

/// The machines inside a state, by their numbers.
pub(super) fn inner(state: &State) -> Vec<usize> {
    match &state.kind {
        Kind::Parallel { branches, .. } => branches.clone(),
        Kind::Map(map) => vec![map.processor],
        Kind::Task { .. }
        | Kind::Pass { .. }
        | Kind::Wait { .. }
        | Kind::Choice { .. }
        | Kind::Succeed
        | Kind::Fail { .. } => Vec::new(),
    }
}

/// Whether its machine can end in a state.
pub(super) fn ends(state: &State) -> bool {
    match &state.kind {
        Kind::Succeed | Kind::Fail { .. } => true,
        Kind::Choice { .. } => false,
        Kind::Task { .. } | Kind::Pass { .. } | Kind::Wait { .. } | Kind::Parallel { .. } | Kind::Map(_) => {
            let next = format!("{}/Next", state.pointer);
            !state.targets().iter().any(|(pointer, _)| *pointer == next)
        }
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= LABEL_CHARS {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(LABEL_CHARS.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
