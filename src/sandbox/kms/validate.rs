//! Typed reading of an operation's input, with AWS's validation errors.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::errors;
use crate::sandbox::AwsError;

/// Constraint texts that several fields share.
pub const NOT_NULL: &str = "not be null";

/// Blobs that no error shows anything of.
const SENSITIVE: [&str; 2] = ["Message", "Plaintext"];

/// An operation's input.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a Value);

/// A field's name as validation errors spell it: the first letter small.
pub fn field(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn wrong_type() -> AwsError {
    AwsError::new("SerializationException", "")
}

impl<'a> Input<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn text(self, name: &str) -> Result<Option<&'a str>, AwsError> {
        self.get(name).map(|value| value.as_str().ok_or_else(wrong_type)).transpose()
    }

    /// A string of between `min` and `max` characters.
    pub fn sized(self, name: &str, min: usize, max: usize) -> Result<Option<&'a str>, AwsError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let length = text.chars().count();
        if length < min {
            let rule = format!("have length greater than or equal to {min}");
            return Err(errors::constraint(Some(text), &field(name), &rule));
        }
        if length > max {
            let rule = format!("have length less than or equal to {max}");
            return Err(errors::constraint(Some(text), &field(name), &rule));
        }
        Ok(Some(text))
    }

    /// As [`Input::sized`], and every character must be good; `pattern` is AWS's own regular expression, for the message.
    pub fn matching(
        self,
        name: &str,
        (min, max): (usize, usize),
        pattern: &str,
        good: impl Fn(char) -> bool,
    ) -> Result<Option<&'a str>, AwsError> {
        let text = self.sized(name, min, max)?;
        match text.filter(|text| !text.chars().all(good)) {
            Some(bad) => {
                let rule = format!("satisfy regular expression pattern: {pattern}");
                Err(errors::constraint(Some(bad), &field(name), &rule))
            }
            None => Ok(text),
        }
    }

    pub fn one_of(self, name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>, AwsError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match allowed.iter().find(|candidate| **candidate == text) {
            Some(found) => Ok(Some(found)),
            None => Err(not_in_enum(text, &field(name), allowed)),
        }
    }

    pub fn integer(self, name: &str, min: i64, max: i64) -> Result<Option<i64>, AwsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "clients may send 7.0 for 7, and a float cast saturates")]
        let number = value.as_i64().or_else(|| value.as_f64().map(|float| float as i64)).ok_or_else(wrong_type)?;
        let shown = number.to_string();
        if number < min {
            let rule = format!("have value greater than or equal to {min}");
            return Err(errors::constraint(Some(&shown), &field(name), &rule));
        }
        if number > max {
            let rule = format!("have value less than or equal to {max}");
            return Err(errors::constraint(Some(&shown), &field(name), &rule));
        }
        Ok(Some(number))
    }

    pub fn flag(self, name: &str) -> Result<bool, AwsError> {
        self.get(name).map_or(Ok(false), |value| value.as_bool().ok_or_else(wrong_type))
    }

    /// Base64 of between 1 and `max` bytes.
    pub fn blob(self, name: &str, max: usize) -> Result<Option<Vec<u8>>, AwsError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let bytes = BASE64.decode(text).map_err(|_| wrong_type())?;
        let rule = match bytes.len() {
            0 => "have length greater than or equal to 1".to_owned(),
            length if length > max => format!("have length less than or equal to {max}"),
            _ => return Ok(Some(bytes)),
        };
        if SENSITIVE.contains(&name) {
            return Err(errors::hidden_constraint(&field(name), &rule));
        }
        let shown = format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len());
        Err(errors::constraint(Some(&shown), &field(name), &rule))
    }

    /// A time as epoch seconds.
    pub fn time(self, name: &str) -> Result<Option<DateTime<Utc>>, AwsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float cast saturates, and the range is checked after it"
        )]
        let millis = value.as_f64().map(|seconds| (seconds * 1000.0) as i64).ok_or_else(wrong_type)?;
        DateTime::from_timestamp_millis(millis).map(Some).ok_or_else(wrong_type)
    }

    /// A map of strings to strings, in key order.
    pub fn map(self, name: &str) -> Result<BTreeMap<String, String>, AwsError> {
        let Some(value) = self.get(name) else { return Ok(BTreeMap::new()) };
        let members = value.as_object().ok_or_else(wrong_type)?;
        let pair = |(key, value): (&String, &Value)| {
            value.as_str().map(|value| (key.clone(), value.to_owned())).ok_or_else(wrong_type)
        };
        members.iter().map(pair).collect()
    }

    /// A list of strings.
    pub fn texts(self, name: &str) -> Result<Vec<&'a str>, AwsError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(wrong_type)?;
        items.iter().map(|item| item.as_str().ok_or_else(wrong_type)).collect()
    }

    /// A structure's input.
    pub fn inner(self, name: &str) -> Option<Input<'a>> {
        self.get(name).map(Input)
    }

    /// A list's items.
    pub fn list(self, name: &str) -> Result<Vec<Input<'a>>, AwsError> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        Ok(value.as_array().ok_or_else(wrong_type)?.iter().map(Input).collect())
    }
}

/// A required field that is not there.
pub fn missing(name: &str) -> AwsError {
    errors::constraint(None, &field(name), NOT_NULL)
}

pub fn not_in_enum(text: &str, field: &str, allowed: &[&str]) -> AwsError {
    let rule = format!("satisfy enum value set: [{}]", allowed.join(", "));
    errors::constraint(Some(text), field, &rule)
}

/// One page of a listing whose `items` are in the order of their keys, with KMS's `Truncated` and `NextMarker`.
///
/// `most` is how many the operation gives when not told, `cap` how many at most.
pub fn page(
    input: Input<'_>,
    (most, cap): (i64, i64),
    list_name: &str,
    items: Vec<(String, Value)>,
) -> Result<Value, AwsError> {
    let limit = input.integer("Limit", 1, 1000)?.unwrap_or(most).min(cap);
    let marker = input.sized("Marker", 1, 1024)?;
    let after = marker.map(|marker| read_marker(marker, list_name)).transpose()?;
    let rest: Vec<(String, Value)> =
        items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let truncated = rest.len() > limit;
    let next = rest.get(limit - 1).filter(|_| truncated).map(|(key, _)| write_marker(key, list_name));
    let mut body = Map::new();
    body.insert(list_name.to_owned(), rest.into_iter().take(limit).map(|(_, item)| item).collect());
    body.insert("Truncated".to_owned(), json!(truncated));
    if let Some(next) = next {
        body.insert("NextMarker".to_owned(), json!(next));
    }
    Ok(Value::Object(body))
}

fn write_marker(key: &str, list_name: &str) -> String {
    BASE64.encode(format!("{list_name}\n{key}"))
}

fn read_marker(marker: &str, list_name: &str) -> Result<String, AwsError> {
    let decoded = BASE64.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .and_then(|text| text.strip_prefix(&format!("{list_name}\n")).map(str::to_owned))
        .ok_or_else(|| AwsError::new("InvalidMarkerException", format!("Could not deserialize marker '{marker}'")))
}
