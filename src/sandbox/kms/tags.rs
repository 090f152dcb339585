//! Tags.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    State,
    access::{OWN, require_not_deleting},
    condition::Context,
    validate::{Input, missing, page},
};
use crate::sandbox::{Answer, AwsError, Call};

const MOST: usize = 50;

fn refused(message: String) -> AwsError {
    AwsError::new("TagException", message)
}

/// A list of `TagKey` and `TagValue`.
///
/// # Errors
/// A key that is missing, too long, reserved or there twice.
pub fn read(input: Input<'_>, name: &str) -> Result<BTreeMap<String, String>, AwsError> {
    let mut tags = BTreeMap::new();
    for tag in input.list(name)? {
        let key = tag.sized("TagKey", 1, 128)?.ok_or_else(|| missing("TagKey"))?;
        let value = tag.sized("TagValue", 0, 256)?.ok_or_else(|| missing("TagValue"))?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(refused(format!("Tag key {key} begins with the reserved prefix aws:")));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(refused(format!("Duplicate tag key {key}")));
        }
    }
    Ok(tags)
}

pub fn check_count(count: usize) -> Result<(), AwsError> {
    if count > MOST { Err(refused("Too many tags".to_owned())) } else { Ok(()) }
}

pub fn tag(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    if !input.has("Tags") {
        return Err(missing("Tags"));
    }
    let tags = read(input, "Tags")?;
    let mut context = Context::default();
    context.set_all("aws:TagKeys", tags.keys().cloned());
    for (name, value) in &tags {
        context.set(&format!("aws:RequestTag/{name}"), value);
    }
    let key = state.key_with(call, OWN, context)?;
    require_not_deleting(key, call.now)?;
    let fresh = tags.keys().filter(|name| !key.tags.contains_key(*name)).count();
    check_count(key.tags.len() + fresh)?;
    state.change(&key.arn.clone(), "tagged", |key| key.tags.extend(tags))
}

pub fn untag(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    if !input.has("TagKeys") {
        return Err(missing("TagKeys"));
    }
    let names = input.texts("TagKeys")?;
    let mut context = Context::default();
    context.set_all("aws:TagKeys", names.iter().map(|name| (*name).to_owned()));
    let key = state.key_with(call, OWN, context)?;
    require_not_deleting(key, call.now)?;
    state.change(&key.arn.clone(), "untagged", |key| key.tags.retain(|name, _| !names.contains(&name.as_str())))
}

pub fn list(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    let items =
        key.tags.iter().map(|(name, value)| (name.clone(), json!({"TagKey": name, "TagValue": value}))).collect();
    page(Input(&call.params), (50, 50), "Tags", items).map(Answer::read)
}
