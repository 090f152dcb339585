//! The context object: a path into it that leads nowhere is a mistyped name more often than not.
//!
//! Source: <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html>; what keyferry has of it is
//! in docs/definitions.md.

use serde_json::Value;

use crate::engine::language::{Problem, pointer_to};

/// Members that a path can name, by the member that holds them. What lies deeper is the run's own data.
pub(in crate::engine) const MEMBERS: &[(&str, &[&str])] = &[
    ("Execution", &["Enterprise", "Id", "Input", "Name", "RedriveCount", "StartTime"]),
    ("Map", &["Item"]),
    ("State", &["EnteredTime", "Name", "RetryCount"]),
    ("StateMachine", &["Id", "Name"]),
    ("Task", &["Token"]),
];

/// Warns of each path into the context object that no run has.
pub(super) fn check(value: &Value, pointer: &str, warnings: &mut Vec<Problem>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let here = pointer_to(pointer, name);
                match member.as_str().filter(|_| name.ends_with(".$") || name.ends_with("Path") || name == "Variable") {
                    Some(text) => warnings.extend(unknown(text).map(|reason| Problem::new(&here, reason))),
                    None => check(member, &here, warnings),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(item, &pointer_to(pointer, &index.to_string()), warnings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The first path in a text that leads nowhere, and what there is instead.
fn unknown(text: &str) -> Option<String> {
    text.split("$$.").skip(1).find_map(|path| {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let mut names = path.split(|letter: char| !is_name(letter) && letter != '.').next()?.split('.');
        let (first, second) = (names.next()?, names.next());
        let Some((_, members)) = MEMBERS.iter().find(|(name, _)| *name == first) else {
            let known: Vec<&str> = MEMBERS.iter().map(|(name, _)| *name).collect();
            return Some(format!("the context object has no `{first}`: it has {}", known.join(", ")));
        };
        let second = second.filter(|second| !second.is_empty() && !members.contains(second))?;
        Some(format!("`$$.{first}` has no `{second}`: it has {}", members.join(", ")))
    })
}
