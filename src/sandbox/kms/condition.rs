//! The conditions of policy statements.
//!
//! Operators by the IAM JSON policy reference: `String*`, `Arn*`, `Bool`, `Null`, `Numeric*` and `Date*`, each with
//! `...IfExists`, `ForAnyValue:` and `ForAllValues:`. Keys are compared without regard to case, except for the part of
//! `kms:EncryptionContext:<name>` that is the customer's own.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::{Map, Value};

use super::policy::like;

/// What is known about a request, by condition key.
#[derive(Debug, Clone, Default)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(normal(key), vec![value.into()]);
    }

    /// A key with several values; none of them is the same as no key.
    pub fn set_all(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        if !values.is_empty() {
            self.0.insert(normal(key), values);
        }
    }

    fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&normal(key)).map(Vec::as_slice)
    }
}

fn normal(key: &str) -> String {
    const OWN: &str = "kms:encryptioncontext:";
    match key.get(..OWN.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(OWN) => format!("{OWN}{}", &key[OWN.len()..]),
        _ => key.to_lowercase(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    One,
    Any,
    All,
}

struct Operator<'a> {
    quantifier: Quantifier,
    base: &'a str,
    if_exists: bool,
}

fn parse(name: &str) -> Operator<'_> {
    let (quantifier, rest) = if let Some(rest) = name.strip_prefix("ForAnyValue:") {
        (Quantifier::Any, rest)
    } else if let Some(rest) = name.strip_prefix("ForAllValues:") {
        (Quantifier::All, rest)
    } else {
        (Quantifier::One, name)
    };
    match rest.strip_suffix("IfExists") {
        Some(base) => Operator { quantifier, base, if_exists: true },
        None => Operator { quantifier, base: rest, if_exists: false },
    }
}

/// Whether a single request value satisfies one policy value, for the positive form of each operator.
fn compare(base: &str, policy: &str, request: &str) -> Option<bool> {
    let numbers = || Some((request.parse::<f64>().ok()?, policy.parse::<f64>().ok()?));
    let dates = || Some((date(request)?, date(policy)?));
    Some(match base {
        "StringEquals" => policy == request,
        "StringEqualsIgnoreCase" => policy.eq_ignore_ascii_case(request),
        "StringLike" => like(policy, request),
        "ArnEquals" | "ArnLike" => arn_like(policy, request),
        "Bool" => policy.eq_ignore_ascii_case(request),
        "NumericEquals" => numbers().is_some_and(|(have, want)| (have - want).abs() < f64::EPSILON),
        "NumericLessThan" => numbers().is_some_and(|(have, want)| have < want),
        "NumericLessThanEquals" => numbers().is_some_and(|(have, want)| have <= want),
        "NumericGreaterThan" => numbers().is_some_and(|(have, want)| have > want),
        "NumericGreaterThanEquals" => numbers().is_some_and(|(have, want)| have >= want),
        "DateEquals" => dates().is_some_and(|(have, want)| have == want),
        "DateLessThan" => dates().is_some_and(|(have, want)| have < want),
        "DateLessThanEquals" => dates().is_some_and(|(have, want)| have <= want),
        "DateGreaterThan" => dates().is_some_and(|(have, want)| have > want),
        "DateGreaterThanEquals" => dates().is_some_and(|(have, want)| have >= want),
        _ => return None,
    })
}

fn date(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp()))
}

/// Each of an ARN's six parts is matched by itself, so that `*` does not reach over a colon.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let split = |text: &str| text.splitn(6, ':').map(str::to_owned).collect::<Vec<_>>();
    let (pattern, arn) = (split(pattern), split(arn));
    pattern.len() == arn.len() && pattern.iter().zip(&arn).all(|(pattern, part)| like(pattern, part))
}

/// The positive operator that a negated one negates.
fn negated(base: &str) -> Option<&'static str> {
    Some(match base {
        "StringNotEquals" => "StringEquals",
        "StringNotEqualsIgnoreCase" => "StringEqualsIgnoreCase",
        "StringNotLike" => "StringLike",
        "ArnNotEquals" => "ArnEquals",
        "ArnNotLike" => "ArnLike",
        "NumericNotEquals" => "NumericEquals",
        "DateNotEquals" => "DateEquals",
        _ => return None,
    })
}

fn values(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// Whether every operator is known and every key has values.
pub fn is_well_formed(operators: &Map<String, Value>) -> bool {
    operators.iter().all(|(name, keys)| {
        let base = parse(name).base;
        let known = base == "Null" || compare(negated(base).unwrap_or(base), "", "").is_some();
        known && keys.as_object().is_some_and(|keys| keys.values().all(|value| !values(value).is_empty()))
    })
}

/// Whether all conditions hold.
pub fn holds(operators: &Map<String, Value>, context: &Context) -> bool {
    operators.iter().all(|(name, keys)| {
        let operator = parse(name);
        keys.as_object()
            .is_some_and(|keys| keys.iter().all(|(key, wanted)| one(&operator, context.get(key), &values(wanted))))
    })
}

fn one(operator: &Operator<'_>, have: Option<&[String]>, wanted: &[String]) -> bool {
    if operator.base == "Null" {
        return wanted.iter().any(|value| value.eq_ignore_ascii_case("true") == have.is_none());
    }
    let negation = negated(operator.base);
    let positive = negation.unwrap_or(operator.base);
    let hit = |value: &String| wanted.iter().any(|want| compare(positive, want, value) == Some(true));
    let fits = |value: &String| hit(value) != negation.is_some();
    match (have, operator.quantifier) {
        // A negated operator holds for a key that is not there; so does `ForAllValues`.
        (None, Quantifier::One) => operator.if_exists || negation.is_some(),
        (None, Quantifier::Any) => operator.if_exists,
        (None, Quantifier::All) => true,
        (Some(have), Quantifier::One | Quantifier::Any) => have.iter().any(fits),
        (Some(have), Quantifier::All) => have.iter().all(fits),
    }
}
