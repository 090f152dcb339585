//! What each intrinsic function does.

use std::cmp::Ordering;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use sha2::Digest as _;

use crate::engine::language::{Chance, path::kind_of, rule::compare_numbers};

/// Texts longer than this are refused by the functions that AWS limits.
const MAX_TEXT: usize = 10_000;
/// `States.ArrayRange` makes at most this many items.
const MAX_RANGE: usize = 1_000;

/// The intrinsic functions of the Amazon States Language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Format,
    StringToJson,
    JsonToString,
    Array,
    ArrayPartition,
    ArrayContains,
    ArrayRange,
    ArrayGetItem,
    ArrayLength,
    ArrayUnique,
    Base64Encode,
    Base64Decode,
    Hash,
    JsonMerge,
    MathRandom,
    MathAdd,
    StringSplit,
    Uuid,
}

const ALL: &[(Function, &str, usize, Option<usize>)] = &[
    (Function::Format, "States.Format", 1, None),
    (Function::StringToJson, "States.StringToJson", 1, Some(1)),
    (Function::JsonToString, "States.JsonToString", 1, Some(1)),
    (Function::Array, "States.Array", 0, None),
    (Function::ArrayPartition, "States.ArrayPartition", 2, Some(2)),
    (Function::ArrayContains, "States.ArrayContains", 2, Some(2)),
    (Function::ArrayRange, "States.ArrayRange", 3, Some(3)),
    (Function::ArrayGetItem, "States.ArrayGetItem", 2, Some(2)),
    (Function::ArrayLength, "States.ArrayLength", 1, Some(1)),
    (Function::ArrayUnique, "States.ArrayUnique", 1, Some(1)),
    (Function::Base64Encode, "States.Base64Encode", 1, Some(1)),
    (Function::Base64Decode, "States.Base64Decode", 1, Some(1)),
    (Function::Hash, "States.Hash", 2, Some(2)),
    (Function::JsonMerge, "States.JsonMerge", 3, Some(3)),
    (Function::MathRandom, "States.MathRandom", 2, Some(3)),
    (Function::MathAdd, "States.MathAdd", 2, Some(2)),
    (Function::StringSplit, "States.StringSplit", 2, Some(2)),
    (Function::Uuid, "States.UUID", 0, Some(0)),
];

impl Function {
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub fn name(self) -> &'static str {
        ALL.iter().find(|row| row.0 == self).map_or("States", |row| row.1)
    }

    /// Fewest and, where there is a limit, most arguments.
    pub fn arity(self) -> (usize, Option<usize>) {
        ALL.iter().find(|row| row.0 == self).map_or((0, None), |row| (row.2, row.3))
    }

    /// Applies the function. `escaped` says that the first argument is a template text with its escapes still in it.
    pub(super) fn apply(self, arguments: &[Value], escaped: bool, chance: &Chance) -> Result<Value, String> {
        let argument = |index: usize| arguments.get(index).unwrap_or(&Value::Null);
        let (first, second) = (argument(0), argument(1));
        match self {
            Self::Format => {
                format_text(text(first)?, escaped, arguments.get(1..).unwrap_or_default()).map(Value::String)
            }
            Self::StringToJson => {
                let source = text(first)?;
                // Recorded on AWS: a text of nothing but blanks is null.
                if source.trim().is_empty() {
                    return Ok(Value::Null);
                }
                serde_json::from_str(source).map_err(|error| format!("the text is not JSON: {error}"))
            }
            Self::JsonToString => Ok(Value::String(first.to_string())),
            Self::Array => Ok(Value::Array(arguments.to_vec())),
            Self::ArrayPartition => partition(array(first)?, second),
            Self::ArrayContains => contains(array(first)?, second),
            Self::ArrayRange => range(whole(first)?, whole(second)?, whole(argument(2))?),
            Self::ArrayGetItem => get_item(array(first)?, whole(second)?),
            Self::ArrayLength => Ok(Value::from(array(first)?.len())),
            Self::ArrayUnique => Ok(unique(array(first)?)),
            Self::Base64Encode => Ok(Value::String(STANDARD.encode(short(text(first)?)?))),
            Self::Base64Decode => decode(short(text(first)?)?),
            Self::Hash => hash(first, text(second)?),
            Self::JsonMerge => merge(first, second, argument(2)),
            Self::MathRandom => random(whole(first)?, whole(second)?, arguments.get(2), chance),
            Self::MathAdd => add(first, second),
            Self::StringSplit => Ok(split(text(first)?, text(second)?)),
            Self::Uuid => Ok(Value::String(uuid(chance))),
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("a string was expected, here is {}", kind_of(value)))
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("an array was expected, here is {}", kind_of(value)))
}

/// A whole number: fractions are rounded to the nearest, halves towards positive infinity. Source: executions recorded on AWS,
/// where `States.MathAdd(-1.5, 0)` is -1.
fn whole(value: &Value) -> Result<i64, String> {
    if let Some(number) = value.as_i64() {
        return Ok(number);
    }
    match value.as_f64() {
        Some(number) if number.abs() < 9_007_199_254_740_992.0 => {
            let below = number.floor();
            let nearest = if number - below < 0.5 { below } else { below + 1.0 };
            format!("{nearest:.0}").parse().map_err(|_| format!("{value} is no number that can be rounded"))
        }
        Some(_) => Err(format!("{value} is too large")),
        None => Err(format!("a number was expected, here is {}", kind_of(value))),
    }
}

fn short(text: &str) -> Result<&str, String> {
    if text.chars().count() > MAX_TEXT {
        Err(format!("the text has more than {MAX_TEXT} characters"))
    } else {
        Ok(text)
    }
}

fn format_text(template: &str, escaped: bool, arguments: &[Value]) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut letters = template.chars();
    let mut values = arguments.iter();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if escaped => match letters.next() {
                Some(taken) => filled.push(taken),
                None => return Err("the template ends in a backslash".to_owned()),
            },
            '{' => {
                if letters.next() != Some('}') {
                    return Err(
                        "a `{` in the template must be followed by `}`, or have a backslash before it".to_owned()
                    );
                }
                match values.next() {
                    Some(value) => filled.push_str(&printed(value)),
                    None => {
                        return Err(format!("the template has more `{{}}` than the {} values given", arguments.len()));
                    }
                }
            }
            '}' => return Err("a `}` in the template must follow `{`, or have a backslash before it".to_owned()),
            letter => filled.push(letter),
        }
    }
    if values.next().is_some() {
        return Err(format!("the template has fewer `{{}}` than the {} values given", arguments.len()));
    }
    Ok(filled)
}

/// A value in a text, as AWS prints it: `{name=Foo, list=[1, 2]}`. States.JsonToString makes JSON of it.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| format!("{name}={}", printed(member)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn partition(items: &[Value], size: &Value) -> Result<Value, String> {
    let size =
        usize::try_from(whole(size)?).ok().filter(|size| *size > 0).ok_or("the size of a part must be at least 1")?;
    Ok(Value::Array(items.chunks(size).map(|part| Value::Array(part.to_vec())).collect()))
}

fn range(first: i64, last: i64, step: i64) -> Result<Value, String> {
    if step == 0 {
        return Err("the step must not be 0".to_owned());
    }
    let mut items = Vec::new();
    let mut next = first;
    while (step > 0 && next <= last) || (step < 0 && next >= last) {
        if items.len() == MAX_RANGE {
            return Err(format!("the range has more than {MAX_RANGE} items"));
        }
        items.push(Value::from(next));
        match next.checked_add(step) {
            Some(following) => next = following,
            None => break,
        }
    }
    Ok(Value::Array(items))
}

fn get_item(items: &[Value], index: i64) -> Result<Value, String> {
    usize::try_from(index)
        .ok()
        .and_then(|index| items.get(index))
        .cloned()
        .ok_or_else(|| format!("there is no item {index} in an array of {}", items.len()))
}

fn contains(items: &[Value], wanted: &Value) -> Result<Value, String> {
    let wanted = canonical(wanted);
    Ok(Value::Bool(items.iter().any(|item| canonical(item) == wanted)))
}

fn unique(items: &[Value]) -> Value {
    let mut seen = std::collections::HashSet::new();
    Value::Array(items.iter().filter(|item| seen.insert(canonical(item))).cloned().collect())
}

/// A text that is the same for equal values: neither the order of members counts, nor whether a whole number is written
/// as `1` or `1.0`.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut parts: Vec<String> = members
                .iter()
                .map(|(name, member)| format!("{}:{}", Value::from(name.as_str()), canonical(member)))
                .collect();
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Number(number) if number.is_f64() => {
            let equal = |whole: &i64| compare_numbers(&Value::from(*whole), value) == Some(Ordering::Equal);
            whole(value).ok().filter(equal).map_or_else(|| value.to_string(), |whole| whole.to_string())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn decode(encoded: &str) -> Result<Value, String> {
    // MIME's base64 may be broken into lines.
    let encoded: String = encoded.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("the text is not base64: {error}"))?;
    String::from_utf8(bytes).map(Value::String).map_err(|_| "the decoded bytes are not UTF-8".to_owned())
}

fn hash(value: &Value, algorithm: &str) -> Result<Value, String> {
    let source = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    short(&source)?;
    let digest = match algorithm {
        "MD5" => hex::encode(md5::Md5::digest(source.as_bytes())),
        "SHA-1" => hex::encode(sha1::Sha1::digest(source.as_bytes())),
        "SHA-256" => hex::encode(sha2::Sha256::digest(source.as_bytes())),
        "SHA-384" => hex::encode(sha2::Sha384::digest(source.as_bytes())),
        "SHA-512" => hex::encode(sha2::Sha512::digest(source.as_bytes())),
        other => return Err(format!("`{other}` is not one of MD5, SHA-1, SHA-256, SHA-384, SHA-512")),
    };
    Ok(Value::String(digest))
}

fn merge(left: &Value, right: &Value, deep: &Value) -> Result<Value, String> {
    match deep {
        Value::Bool(false) => {}
        Value::Bool(true) => {
            return Err("a deep merge is not part of the language: the third argument must be false".to_owned());
        }
        other => return Err(format!("the third argument must be false, here is {}", kind_of(other))),
    }
    let object = |value: &Value| -> Result<Map<String, Value>, String> {
        value.as_object().cloned().ok_or_else(|| format!("an object was expected, here is {}", kind_of(value)))
    };
    let mut merged = object(left)?;
    merged.extend(object(right)?);
    Ok(Value::Object(merged))
}

/// A whole number from `start` up to, but not including, `end`.
fn random(start: i64, end: i64, seed: Option<&Value>, chance: &Chance) -> Result<Value, String> {
    let width = end.checked_sub(start).and_then(|width| u64::try_from(width).ok()).filter(|width| *width > 0);
    let width = width.ok_or_else(|| format!("the end {end} must be greater than the start {start}"))?;
    let drawn = match seed {
        Some(seed) => Chance::new(whole(seed)?.cast_unsigned()).below(width),
        None => chance.below(width),
    };
    let drawn = i64::try_from(drawn).map_err(|_| "the range is too wide".to_owned())?;
    start.checked_add(drawn).map(Value::from).ok_or_else(|| "the range is too wide".to_owned())
}

fn add(left: &Value, right: &Value) -> Result<Value, String> {
    let within = |value: &Value| {
        let number = whole(value)?;
        i32::try_from(number).map(i64::from).map_err(|_| format!("{number} is not within -2147483648 and 2147483647"))
    };
    let sum = within(left)? + within(right)?;
    i32::try_from(sum).map(Value::from).map_err(|_| format!("the sum {sum} is not within -2147483648 and 2147483647"))
}

/// Splits at each of the separator's characters; empty parts are dropped.
fn split(source: &str, separators: &str) -> Value {
    let parts = source.split(|letter| separators.contains(letter));
    Value::Array(parts.filter(|part| !part.is_empty()).map(Value::from).collect())
}

/// A version 4 UUID (RFC 9562) of drawn bits.
fn uuid(chance: &Chance) -> String {
    let bits = (u128::from(chance.next_u64()) << 64) | u128::from(chance.next_u64());
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
}
