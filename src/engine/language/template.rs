//! Payload templates: JSON whose members named `….$` are computed.

use serde_json::{Map, Value};

use super::{
    Failure, MAX_DEPTH, Path, Problem, Scope,
    intrinsic::{self, Call},
    pointer_to,
};

/// What may stand behind a `.$`: a path or a call of an intrinsic function.
#[derive(Debug, Clone)]
pub enum Expression {
    Path(Path),
    Call(Box<Call>),
}

impl Expression {
    /// Reads a path (`$…`) or a call (`States.…(…)`).
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('$') {
            Path::parse(text).map(Self::Path)
        } else if text.starts_with("States.") {
            intrinsic::parse(text).map(|call| Self::Call(Box::new(call)))
        } else {
            Err(format!(
                "`{text}` must be a path, which begins with `$`, or an intrinsic function, which begins with `States.`"
            ))
        }
    }

    /// The value.
    ///
    /// # Errors
    /// `States.ParameterPathFailure` or `States.IntrinsicFailure`.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, Failure> {
        match self {
            Self::Path(path) => path.evaluate(scope),
            Self::Call(call) => call.evaluate(scope),
        }
    }

    /// Names of the variables it reads.
    pub fn variables(&self, found: &mut Vec<String>) {
        match self {
            Self::Path(path) => found.extend(path.variable().map(str::to_owned)),
            Self::Call(call) => call.variables(found),
        }
    }
}

/// A parsed payload template.
#[derive(Debug, Clone)]
pub enum Template {
    Literal(Value),
    Computed(Expression),
    Object(Vec<(String, Template)>),
    Array(Vec<Template>),
}

impl Template {
    /// Reads a template that stands at `pointer`.
    ///
    /// # Errors
    /// Every problem in it: a `.$` member whose value is no expression, a name given both plainly and computed, nesting
    /// beyond 100.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let template = parse(value, pointer, 0, &mut problems);
        if problems.is_empty() { Ok(template) } else { Err(problems) }
    }

    /// The payload.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, Failure> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Computed(expression) => expression.evaluate(scope),
            Self::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for (name, member) in members {
                    object.insert(name.clone(), member.evaluate(scope)?);
                }
                Ok(Value::Object(object))
            }
            Self::Array(items) => items.iter().map(|item| item.evaluate(scope)).collect(),
        }
    }

    /// Names of the variables it reads.
    pub fn variables(&self, found: &mut Vec<String>) {
        match self {
            Self::Literal(_) => {}
            Self::Computed(expression) => expression.variables(found),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.variables(found)),
            Self::Array(items) => items.iter().for_each(|item| item.variables(found)),
        }
    }
}

fn parse(value: &Value, pointer: &str, depth: usize, problems: &mut Vec<Problem>) -> Template {
    if depth > MAX_DEPTH {
        problems.push(Problem::new(pointer, format!("it is nested more than {MAX_DEPTH} deep")));
        return Template::Literal(Value::Null);
    }
    match value {
        Value::Object(members) => {
            let mut parsed = Vec::with_capacity(members.len());
            for (name, member) in members {
                let here = pointer_to(pointer, name);
                let Some(plain) = name.strip_suffix(".$") else {
                    parsed.push((name.clone(), parse(member, &here, depth + 1, problems)));
                    continue;
                };
                if members.contains_key(plain) {
                    problems
                        .push(Problem::new(&here, format!("`{plain}` stands both plainly and with `.$`: keep one")));
                }
                match member.as_str().ok_or_else(|| "a member whose name ends in `.$` must be a string".to_owned()) {
                    Ok(text) => match Expression::parse(text) {
                        Ok(expression) => parsed.push((plain.to_owned(), Template::Computed(expression))),
                        Err(reason) => problems.push(Problem::new(&here, reason)),
                    },
                    Err(reason) => problems.push(Problem::new(&here, reason)),
                }
            }
            if parsed.iter().all(|(_, member)| matches!(member, Template::Literal(_))) && problems.is_empty() {
                return Template::Literal(value.clone());
            }
            Template::Object(parsed)
        }
        Value::Array(items) => {
            let parsed: Vec<Template> = items
                .iter()
                .enumerate()
                .map(|(index, item)| parse(item, &pointer_to(pointer, &index.to_string()), depth + 1, problems))
                .collect();
            if parsed.iter().all(|item| matches!(item, Template::Literal(_))) {
                return Template::Literal(value.clone());
            }
            Template::Array(parsed)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Template::Literal(value.clone()),
    }
}
