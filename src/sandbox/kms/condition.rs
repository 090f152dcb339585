//! The conditions of policy statements.
//!
//! Operators by the IAM JSON policy reference: `String*`, `Arn*`, `Bool`, `BinaryEquals`, `Null`, `Numeric*`, `Date*` and
//! `*IpAddress`, each with `...IfExists`, `ForAnyValue:` and `ForAllValues:`. Keys are compared without regard to case, except for the part of
//! `kms:EncryptionContext:<name>` that is the customer's own.

use std::{collections::BTreeMap, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
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

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
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
        "BinaryEquals" => BASE64.decode(policy).is_ok_and(|bytes| bytes == request.as_bytes()),
        "IpAddress" => is_within(policy, request),
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

/// Whether an address is in a range of CIDR's notation; a range without a length is one address.
fn is_within(range: &str, address: &str) -> bool {
    let (network, length) = range.split_once('/').map_or((range, None), |(network, length)| (network, Some(length)));
    let Some((network, network_bits)) = bits(network) else { return false };
    let Some((address, address_bits)) = bits(address) else { return false };
    let Ok(length) = length.map_or(Ok(network_bits), str::parse::<u32>) else { return false };
    let apart = network ^ address;
    network_bits == address_bits && length <= network_bits && apart.checked_shr(network_bits - length).unwrap_or(0) == 0
}

/// An address as a number, and of how many bits.
fn bits(address: &str) -> Option<(u128, u32)> {
    match address.parse().ok()? {
        IpAddr::V4(address) => Some((u128::from(address.to_bits()), 32)),
        IpAddr::V6(address) => Some((address.to_bits(), 128)),
    }
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
        "NotIpAddress" => "IpAddress",
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meets(condition: &Value, key: &str, value: &str) -> bool {
        let mut context = Context::default();
        context.set(key, value);
        let operators = condition.as_object().unwrap();
        assert!(is_well_formed(operators), "{condition}");
        holds(operators, &context)
    }

    #[test]
    fn addresses_are_in_ranges_of_their_own_family() {
        let office = json!({"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32", "10.0.0.7"]}});
        for (address, inside) in [
            ("203.0.113.200", true),
            ("203.0.114.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("10.0.0.7", true),
            ("10.0.0.8", false),
            ("somewhere", false),
        ] {
            assert_eq!(meets(&office, "aws:SourceIp", address), inside, "{address}");
        }
        assert!(meets(&json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), "aws:SourceIp", "198.51.100.1"));
        assert!(!meets(&json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/33"}}), "aws:SourceIp", "198.51.100.1"));
        assert!(!meets(&json!({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}), "aws:SourceIp", "203.0.113.9"));
        assert!(meets(
            &json!({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}),
            "kms:KeySpec",
            "SYMMETRIC_DEFAULT"
        ));
    }

    #[test]
    fn bytes_are_compared_with_their_base64() {
        assert!(meets(&json!({"BinaryEquals": {"kms:x": "aXQ="}}), "kms:x", "it"));
        assert!(!meets(&json!({"BinaryEquals": {"kms:x": "it"}}), "kms:x", "it"));
    }
}
