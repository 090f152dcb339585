//! Choice rules: comparisons and their And, Or and Not.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Failure, MAX_DEPTH, Path, Problem, Scope, parse_timestamp, pointer_to};

/// A parsed Choice rule, without where it leads.
#[derive(Debug, Clone)]
pub enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    Test { variable: Path, test: Test },
}

/// What a Data-test Expression asks of its variable.
#[derive(Debug, Clone)]
pub enum Test {
    IsNull(bool),
    IsPresent(bool),
    IsNumeric(bool),
    IsString(bool),
    IsBoolean(bool),
    IsTimestamp(bool),
    Matches(Vec<Glob>),
    Compare { kind: Kind, relation: Relation, with: With },
}

/// The type that both sides of a comparison must have: another type is no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    Numeric,
    Boolean,
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equals,
    LessThan,
    GreaterThan,
    LessThanEquals,
    GreaterThanEquals,
}

/// What the variable is compared with.
#[derive(Debug, Clone)]
pub enum With {
    Value(Value),
    Path(Path),
}

/// One part of a StringMatches pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glob {
    Letter(char),
    Any,
}

/// Members of a rule that are not its test.
const BESIDE_THE_TEST: &[&str] = &["Variable", "Next", "Assign", "Comment"];

/// Members that the JSONata dialect has.
const OF_JSONATA: &[&str] = &["Condition", "Output"];

impl Rule {
    /// Reads the rule that stands at `pointer`; `Next`, `Assign` and `Comment` are the Choice state's business, but may
    /// not stand in a nested rule.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        match parse(value, pointer, 0, &mut problems) {
            Some(rule) if problems.is_empty() => Ok(rule),
            _ => Err(problems),
        }
    }

    /// Whether the rule matches.
    ///
    /// # Errors
    /// `States.Runtime` when the variable, or the path it is compared with, is not there (IsPresent apart).
    pub fn evaluate(&self, scope: &Scope) -> Result<bool, Failure> {
        match self {
            Self::And(rules) => {
                for rule in rules {
                    if !rule.evaluate(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(rules) => {
                for rule in rules {
                    if rule.evaluate(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(rule) => Ok(!rule.evaluate(scope)?),
            Self::Test { variable, test } => {
                if let Test::IsPresent(wanted) = test {
                    return Ok(variable.is_present(scope)? == *wanted);
                }
                let Some(found) = variable.evaluate_optional(scope)? else { return Err(absent(variable)) };
                test.holds(&found, scope)
            }
        }
    }

    /// Names of the variables it reads.
    pub fn variables(&self, found: &mut Vec<String>) {
        match self {
            Self::And(rules) | Self::Or(rules) => rules.iter().for_each(|rule| rule.variables(found)),
            Self::Not(rule) => rule.variables(found),
            Self::Test { variable, test } => {
                found.extend(variable.variable().map(str::to_owned));
                if let Test::Compare { with: With::Path(path), .. } = test {
                    found.extend(path.variable().map(str::to_owned));
                }
            }
        }
    }
}

fn absent(path: &Path) -> Failure {
    Failure::new(
        "States.Runtime",
        format!("a Choice rule compares `{}`, which is not there: ask with IsPresent first", path.text()),
    )
}

impl Test {
    fn holds(&self, found: &Value, scope: &Scope) -> Result<bool, Failure> {
        Ok(match self {
            Self::IsPresent(wanted) => *wanted,
            Self::IsNull(wanted) => found.is_null() == *wanted,
            Self::IsNumeric(wanted) => found.is_number() == *wanted,
            Self::IsString(wanted) => found.is_string() == *wanted,
            Self::IsBoolean(wanted) => found.is_boolean() == *wanted,
            Self::IsTimestamp(wanted) => found.as_str().and_then(parse_timestamp).is_some() == *wanted,
            Self::Matches(pattern) => found.as_str().is_some_and(|text| glob(pattern, text)),
            Self::Compare { kind, relation, with } => {
                let other = match with {
                    With::Value(value) => value.clone(),
                    With::Path(path) => path.evaluate_optional(scope)?.ok_or_else(|| absent(path))?,
                };
                compare(*kind, found, &other).is_some_and(|order| relation.holds(order))
            }
        })
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order == Ordering::Equal,
            Self::LessThan => order == Ordering::Less,
            Self::GreaterThan => order == Ordering::Greater,
            Self::LessThanEquals => order != Ordering::Greater,
            Self::GreaterThanEquals => order != Ordering::Less,
        }
    }
}

fn compare(kind: Kind, left: &Value, right: &Value) -> Option<Ordering> {
    match kind {
        Kind::String => Some(left.as_str()?.cmp(right.as_str()?)),
        Kind::Boolean => Some(left.as_bool()?.cmp(&right.as_bool()?)),
        Kind::Timestamp => Some(parse_timestamp(left.as_str()?)?.cmp(&parse_timestamp(right.as_str()?)?)),
        Kind::Numeric => compare_numbers(left, right),
    }
}

/// Whole numbers are compared exactly, whatever their size; anything else as 64-bit floats.
pub(crate) fn compare_numbers(left: &Value, right: &Value) -> Option<Ordering> {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Whether `text` matches `pattern`, in time proportional to the product of their lengths at worst.
fn glob(pattern: &[Glob], text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    let (mut at, mut in_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while in_text < letters.len() {
        match pattern.get(at) {
            Some(Glob::Any) => {
                retry = Some((at, in_text));
                at += 1;
            }
            Some(Glob::Letter(letter)) if letters.get(in_text) == Some(letter) => {
                at += 1;
                in_text += 1;
            }
            Some(Glob::Letter(_)) | None => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    at = star + 1;
                    in_text = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|part| *part == Glob::Any)
}

/// Reads a StringMatches pattern: `*` matches any letters, `\*` and `\\` stand for themselves.
fn parse_glob(text: &str) -> Result<Vec<Glob>, String> {
    let mut parts = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            '*' => Glob::Any,
            '\\' => match letters.next() {
                Some(escaped @ ('*' | '\\')) => Glob::Letter(escaped),
                _ => return Err("in a pattern a backslash must stand before `*` or another backslash".to_owned()),
            },
            letter => Glob::Letter(letter),
        });
    }
    Ok(parts)
}

fn parse(value: &Value, pointer: &str, depth: usize, problems: &mut Vec<Problem>) -> Option<Rule> {
    let Some(members) = value.as_object() else {
        problems.push(Problem::new(pointer, "a Choice rule must be an object"));
        return None;
    };
    if depth > MAX_DEPTH {
        problems.push(Problem::new(pointer, format!("it is nested more than {MAX_DEPTH} deep")));
        return None;
    }
    if depth > 0 {
        for name in ["Next", "Assign"] {
            if members.contains_key(name) {
                problems.push(Problem::new(
                    pointer_to(pointer, name),
                    format!("`{name}` may stand in a top-level rule only"),
                ));
            }
        }
    }
    let foreign: Vec<&String> = members.keys().filter(|name| OF_JSONATA.contains(&name.as_str())).collect();
    for name in &foreign {
        let reason = "it belongs to JSONata, which is not supported: use the JSONPath dialect";
        problems.push(Problem::new(pointer_to(pointer, name), reason));
    }
    let tests: Vec<(&String, &Value)> = members
        .iter()
        .filter(|(name, _)| !BESIDE_THE_TEST.contains(&name.as_str()) && !foreign.contains(name))
        .collect();
    if tests.is_empty() && !foreign.is_empty() {
        return None;
    }
    let [(name, operand)] = tests.as_slice() else {
        let reason = if tests.is_empty() {
            "a Choice rule needs a comparison, or And, Or or Not".to_owned()
        } else {
            let names: Vec<&str> = tests.iter().map(|(name, _)| name.as_str()).collect();
            format!("a Choice rule takes exactly one comparison, here are {}: join rules with And", names.join(", "))
        };
        problems.push(Problem::new(pointer, reason));
        return None;
    };
    let here = pointer_to(pointer, name);
    match name.as_str() {
        "And" | "Or" => {
            let rules = parse_list(operand, &here, depth, problems)?;
            refuse_variable(members, pointer, name, problems);
            Some(if name.as_str() == "And" { Rule::And(rules) } else { Rule::Or(rules) })
        }
        "Not" => {
            refuse_variable(members, pointer, name, problems);
            parse(operand, &here, depth + 1, problems).map(|rule| Rule::Not(Box::new(rule)))
        }
        operator => {
            let test = parse_test(operator, operand, &here, problems);
            let variable = parse_variable(members, pointer, problems);
            Some(Rule::Test { variable: variable?, test: test? })
        }
    }
}

fn refuse_variable(members: &Map<String, Value>, pointer: &str, name: &str, problems: &mut Vec<Problem>) {
    if members.contains_key("Variable") {
        problems.push(Problem::new(pointer_to(pointer, "Variable"), format!("`Variable` cannot stand beside {name}")));
    }
}

fn parse_list(value: &Value, pointer: &str, depth: usize, problems: &mut Vec<Problem>) -> Option<Vec<Rule>> {
    let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
        problems.push(Problem::new(pointer, "it must be an array of at least one rule"));
        return None;
    };
    let rules: Vec<Option<Rule>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| parse(item, &pointer_to(pointer, &index.to_string()), depth + 1, problems))
        .collect();
    rules.into_iter().collect()
}

fn parse_variable(members: &Map<String, Value>, pointer: &str, problems: &mut Vec<Problem>) -> Option<Path> {
    let here = pointer_to(pointer, "Variable");
    match members.get("Variable") {
        Some(Value::String(text)) => Path::parse(text).map_err(|reason| problems.push(Problem::new(here, reason))).ok(),
        Some(_) => {
            problems.push(Problem::new(here, "it must be a path"));
            None
        }
        None => {
            problems.push(Problem::new(pointer, "a comparison needs `Variable`, the path of what is compared"));
            None
        }
    }
}

fn parse_test(operator: &str, operand: &Value, pointer: &str, problems: &mut Vec<Problem>) -> Option<Test> {
    let mut wrong = |reason: String| {
        problems.push(Problem::new(pointer, reason));
        None
    };
    let is = |make: fn(bool) -> Test| operand.as_bool().map(make);
    match operator {
        "IsNull" => is(Test::IsNull).or_else(|| wrong("it must be true or false".to_owned())),
        "IsPresent" => is(Test::IsPresent).or_else(|| wrong("it must be true or false".to_owned())),
        "IsNumeric" => is(Test::IsNumeric).or_else(|| wrong("it must be true or false".to_owned())),
        "IsString" => is(Test::IsString).or_else(|| wrong("it must be true or false".to_owned())),
        "IsBoolean" => is(Test::IsBoolean).or_else(|| wrong("it must be true or false".to_owned())),
        "IsTimestamp" => is(Test::IsTimestamp).or_else(|| wrong("it must be true or false".to_owned())),
        "StringMatches" => match operand.as_str().map(parse_glob) {
            Some(Ok(pattern)) => Some(Test::Matches(pattern)),
            Some(Err(reason)) => wrong(reason),
            None => wrong("it must be a string".to_owned()),
        },
        _ => match comparison(operator) {
            Some((kind, relation, by_path)) => match operand_of(kind, by_path, operand) {
                Ok(with) => Some(Test::Compare { kind, relation, with }),
                Err(reason) => wrong(reason),
            },
            None => wrong(format!("`{operator}` is no comparison operator of the Amazon States Language")),
        },
    }
}

/// Takes an operator's name apart: `NumericLessThanPath` is (Numeric, LessThan, by path).
fn comparison(operator: &str) -> Option<(Kind, Relation, bool)> {
    let (name, by_path) = operator.strip_suffix("Path").map_or((operator, false), |name| (name, true));
    let (kind, relation) = [
        ("String", Kind::String),
        ("Numeric", Kind::Numeric),
        ("Boolean", Kind::Boolean),
        ("Timestamp", Kind::Timestamp),
    ]
    .into_iter()
    .find_map(|(prefix, kind)| name.strip_prefix(prefix).map(|relation| (kind, relation)))?;
    let relation = match relation {
        "Equals" => Relation::Equals,
        "LessThan" => Relation::LessThan,
        "GreaterThan" => Relation::GreaterThan,
        "LessThanEquals" => Relation::LessThanEquals,
        "GreaterThanEquals" => Relation::GreaterThanEquals,
        _ => return None,
    };
    if kind == Kind::Boolean && relation != Relation::Equals {
        return None;
    }
    Some((kind, relation, by_path))
}

fn operand_of(kind: Kind, by_path: bool, operand: &Value) -> Result<With, String> {
    if by_path {
        let text = operand.as_str().ok_or("it must be a path")?;
        return Path::parse(text).map(With::Path);
    }
    let (fits, wanted) = match kind {
        Kind::String => (operand.is_string(), "a string"),
        Kind::Numeric => (operand.is_number(), "a number"),
        Kind::Boolean => (operand.is_boolean(), "true or false"),
        Kind::Timestamp => {
            (operand.as_str().and_then(parse_timestamp).is_some(), "an RFC 3339 timestamp with `T` and `Z`")
        }
    };
    if fits { Ok(With::Value(operand.clone())) } else { Err(format!("it must be {wanted}")) }
}
