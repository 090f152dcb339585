//! InputPath, OutputPath, Parameters, ResultSelector, ResultPath and Assign.

use serde_json::Value;

use crate::engine::language::{Path, Problem, ReferencePath, Template, pointer_to};

use super::{Placement, Selection, object::Object};

/// InputPath or OutputPath.
pub(super) fn selection(object: &mut Object, name: &'static str, problems: &mut Vec<Problem>) -> Selection {
    match object.take(name) {
        None => Selection::Whole,
        Some(Value::Null) => Selection::Nothing,
        Some(Value::String(text)) if text == "$" => Selection::Whole,
        Some(Value::String(text)) => match Path::parse(text) {
            Ok(path) => Selection::Path(path),
            Err(reason) => {
                problems.push(Problem::new(object.at(name), reason));
                Selection::Whole
            }
        },
        Some(_) => {
            problems.push(Problem::new(object.at(name), "it must be a path or null"));
            Selection::Whole
        }
    }
}

/// ResultPath.
pub(super) fn placement(object: &mut Object, problems: &mut Vec<Problem>) -> Placement {
    let pointer = object.at("ResultPath");
    match object.take("ResultPath") {
        None => Placement::Replace,
        Some(Value::Null) => Placement::Discard,
        Some(Value::String(text)) if text == "$" => Placement::Replace,
        Some(Value::String(text)) => match ReferencePath::parse(text) {
            Ok(path) if path.is_in_input() => Placement::At(path),
            Ok(_) => {
                problems
                    .push(Problem::new(pointer, "it must begin with `$.` or `$[`: only the input can be written to"));
                Placement::Replace
            }
            Err(reason) => {
                problems.push(Problem::new(pointer, reason));
                Placement::Replace
            }
        },
        Some(_) => {
            problems.push(Problem::new(pointer, "it must be a Reference Path or null"));
            Placement::Replace
        }
    }
}

/// A payload template that must be an object.
pub(super) fn template(object: &mut Object, name: &'static str, problems: &mut Vec<Problem>) -> Option<Template> {
    let value = object.take(name)?;
    if !value.is_object() {
        problems.push(Problem::new(object.at(name), "it must be an object"));
        return None;
    }
    Template::parse(value, &object.at(name)).map_err(|found| problems.extend(found)).ok()
}

/// Assign: an object whose names are variable names.
pub(super) fn assign(object: &mut Object, problems: &mut Vec<Problem>) -> Option<Template> {
    let value = object.take("Assign")?;
    let pointer = object.at("Assign");
    let Some(members) = value.as_object() else {
        problems.push(Problem::new(pointer, "it must be an object"));
        return None;
    };
    for name in members.keys() {
        let plain = name.strip_suffix(".$").unwrap_or(name);
        let begins = plain.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
        let fits = plain.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if !begins || !fits || plain.chars().count() > 80 || plain == "states" {
            problems.push(Problem::new(
                pointer_to(&pointer, name),
                "a variable's name is 1 to 80 letters, digits and `_`, does not begin with a digit and is not `states`",
            ));
        }
    }
    Template::parse(value, &pointer).map_err(|found| problems.extend(found)).ok()
}
