//! Reading a call's parameters: every scalar arrives as text, so numbers and flags are checked here, once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{AwsError, Call};
use super::error::{invalid_value, missing};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// AWS allows this many tags on a resource.
const MOST_TAGS: usize = 50;

/// A call's parameters.
#[derive(Clone, Copy)]
pub struct Params<'a>(pub &'a Value);

impl<'a> Params<'a> {
    pub fn of(call: &'a Call) -> Self {
        Self(&call.params)
    }

    /// A text parameter; one that is sent empty counts as not sent.
    /// Whether anything is asked for beside these parameters.
    pub fn has_others_than(&self, names: &[&str]) -> bool {
        self.0.as_object().is_some_and(|all| all.keys().any(|name| !names.contains(&name.as_str())))
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// # Errors
    /// `MissingParameter`.
    pub fn required(&self, name: &str) -> Result<&'a str, AwsError> {
        self.text(name).ok_or_else(|| missing(name))
    }

    /// # Errors
    /// `InvalidParameterValue`: not a whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, AwsError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid_value(format!("{name} must be an integer, not {text}")))
    }

    /// # Errors
    /// `InvalidParameterValue`: neither `true` nor `false`.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, AwsError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if text.eq_ignore_ascii_case("true") {
            Ok(Some(true))
        } else if text.eq_ignore_ascii_case("false") {
            Ok(Some(false))
        } else {
            Err(invalid_value(format!("{name} must be true or false, not {text}")))
        }
    }

    /// A list of texts; `None` when it was not sent, empty when it was sent empty.
    pub fn list(&self, name: &str) -> Option<Vec<&'a str>> {
        match self.0.get(name)? {
            Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect()),
            Value::String(text) if text.is_empty() => Some(Vec::new()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
        }
    }

    /// A list of structures.
    pub fn structures(&self, name: &str) -> Vec<Params<'a>> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().map(Params).collect()
    }

    /// A structure within the parameters.
    pub fn structure(&self, name: &str) -> Option<Params<'a>> {
        self.0.get(name).filter(|value| value.is_object()).map(Params)
    }

    /// The `Tags` parameter.
    ///
    /// # Errors
    /// `InvalidParameterValue`: a key that AWS keeps for itself, is too long or comes twice; too many tags.
    pub fn tags(&self) -> Result<Tags, AwsError> {
        let mut tags = Tags::new();
        for tag in self.structures("Tags") {
            let key = tag.required("Key")?;
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(invalid_value("Tag keys cannot start with the reserved prefix 'aws:'"));
            }
            let value = tag.text("Value").unwrap_or_default();
            if key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(invalid_value(format!("Tag {key} is longer than 128 characters (key) or 256 (value)")));
            }
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(invalid_value(format!("Duplicate tag keys are not allowed: {key}")));
            }
        }
        check_tag_count(&tags)?;
        Ok(tags)
    }

    /// The `Filters` parameter, of which `known` are the names that the operation has.
    ///
    /// # Errors
    /// `InvalidParameterValue`: a filter that the operation does not have, or one without values.
    pub fn filters(&self, known: &[&str]) -> Result<Vec<(&'a str, Vec<&'a str>)>, AwsError> {
        let mut filters = Vec::new();
        for filter in self.structures("Filters") {
            let name = filter.required("Name")?;
            if !known.contains(&name) {
                return Err(invalid_value(format!("Unrecognized filter name: {name}")));
            }
            let values = filter.list("Values").unwrap_or_default();
            if values.is_empty() {
                return Err(invalid_value(format!("The filter {name} needs at least one value")));
            }
            filters.push((name, values));
        }
        Ok(filters)
    }

    /// One page of `rows`, in the order of their keys: `{<list>: [...], "Marker": …}`. `MaxRecords` is 20 to 100, 100
    /// unless told; the marker names the last row of the page before, so that rows that come and go in between neither
    /// repeat nor hide others. Only the page's rows are shaped.
    ///
    /// # Errors
    /// `InvalidParameterValue`: `MaxRecords` or `Marker`.
    pub fn page<R>(
        &self,
        list: &str,
        member: &str,
        mut rows: Vec<(String, R)>,
        shape: impl Fn(R) -> Value,
    ) -> Result<Value, AwsError> {
        let most = self.number("MaxRecords")?.unwrap_or(100);
        if !(20..=100).contains(&most) {
            return Err(invalid_value(format!("Invalid value {most} for MaxRecords. Must be between 20 and 100")));
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(marker) = self.text("Marker") {
            let last = hex::decode(marker)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| invalid_value("Invalid parameter Marker"))?;
            rows.retain(|(key, _)| *key > last);
        }
        let most = usize::try_from(most).unwrap_or(100);
        let more = rows.len() > most;
        rows.truncate(most);
        let marker = rows.last().filter(|_| more).map(|(key, _)| hex::encode(key));
        let items = rows.into_iter().map(|(_, row)| shape(row)).collect();
        let mut body = json!({ "Marker": marker });
        if let Some(fields) = body.as_object_mut() {
            fields.insert(list.to_owned(), list_of(member, items));
        }
        Ok(body)
    }
}

/// # Errors
/// `InvalidParameterValue`: more tags than a resource may have.
pub fn check_tag_count(tags: &Tags) -> Result<(), AwsError> {
    if tags.len() > MOST_TAGS {
        return Err(invalid_value(format!("A resource cannot have more than {MOST_TAGS} tags")));
    }
    Ok(())
}

/// A list of an answer's body whose members are called `member` on the wire.
pub fn list_of(member: &str, items: Vec<Value>) -> Value {
    json!({ "@list": member, "items": items })
}

/// Tags as a list of an answer's body.
pub fn tag_list(tags: &Tags) -> Value {
    list_of("Tag", tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect())
}
