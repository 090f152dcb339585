//! Aliases.

use serde_json::{Value, json};

use super::{
    State,
    access::{OWN, require_not_deleting},
    attach::MANAGED,
    condition::Context,
    errors,
    key::{Alias, Key},
    keys::epoch,
    validate::{Input, missing, page},
};
use crate::sandbox::{Answer, AwsError, Call};

/// Aliases of one key.
const MOST: usize = 50;

impl State {
    pub fn aliases_of<'a>(&'a self, key_arn: &'a str) -> impl Iterator<Item = &'a Alias> {
        self.aliases.iter().map(|(_, alias)| alias).filter(move |alias| alias.target == key_arn)
    }
}

fn name<'a>(input: Input<'a>) -> Result<&'a str, AwsError> {
    let good = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    let name =
        input.matching("AliasName", (1, 256), "^[a-zA-Z0-9:/_-]+$", good)?.ok_or_else(|| missing("AliasName"))?;
    match name.strip_prefix("alias/") {
        None => Err(errors::validation("Invalid identifier")),
        Some("") => {
            let message = "Alias must have a name after the prefix \"alias/\"";
            Err(AwsError::new("InvalidAliasNameException", message))
        }
        Some(rest) if rest.contains(':') => {
            Err(errors::validation(format!("{name} contains invalid characters for an alias")))
        }
        Some(rest) if rest.starts_with("aws/") => Err(AwsError::new("NotAuthorizedException", "")),
        Some(_) => Ok(name),
    }
}

fn arn(call: &Call, name: &str) -> String {
    format!("arn:{}:kms:{}:{}:{name}", call.caller.partition, call.region, call.caller.account)
}

/// The key an alias is to point to: one of the caller's own, by id or ARN.
fn target<'a>(state: &'a State, call: &Call) -> Result<&'a Key, AwsError> {
    let id = Input(&call.params).sized("TargetKeyId", 1, 2048)?.ok_or_else(|| missing("TargetKeyId"))?;
    if id.starts_with("alias/") || id.contains(":alias/") {
        return Err(errors::validation("Aliases must refer to keys. Not aliases"));
    }
    let key = state.resolve(call, id, OWN)?;
    let mut context = Context::default();
    context.set_all("kms:RequestAlias", Input(&call.params).text("AliasName")?.map(str::to_owned));
    state.authorize(call, key, &call.action, context, None)?;
    Ok(key)
}

pub fn create(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let name = name(Input(&call.params))?;
    let arn = arn(call, name);
    let key = target(state, call)?;
    if state.aliases.contains(&arn) {
        return Err(AwsError::new("AlreadyExistsException", format!("An alias with the name {arn} already exists")));
    }
    require_not_deleting(key, call.now)?;
    if state.aliases_of(&key.arn).count() >= MOST {
        return Err(errors::limit(format!("A key has at most {MOST} aliases")));
    }
    let target = key.arn.clone();
    let alias = Alias { name: name.to_owned(), arn: arn.clone(), target, created: call.now, updated: call.now };
    state.aliases.insert(&arn, alias);
    Ok(Answer::effect(json!({}), arn, "created"))
}

fn existing<'a>(state: &'a State, arn: &str) -> Result<&'a Alias, AwsError> {
    state.aliases.get(arn).ok_or_else(|| errors::not_found(format!("Alias {arn} is not found.")))
}

pub fn update(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let arn = arn(call, name(Input(&call.params))?);
    let before = existing(state, &arn)?.target.clone();
    let key = target(state, call)?;
    require_not_deleting(key, call.now)?;
    if let Some(old) = state.keys.get(&before) {
        state.authorize(call, old, "UpdateAlias", Context::default(), None)?;
        if old.usage != key.usage || old.is_symmetric() != key.is_symmetric() {
            return Err(errors::validation(format!("{arn} cannot be moved to a key of another usage or kind")));
        }
    }
    let (target, now) = (key.arn.clone(), call.now);
    let what = format!("now names {target}");
    if let Some(alias) = state.aliases.get_mut(&arn) {
        alias.target = target;
        alias.updated = now;
    }
    Ok(Answer::effect(json!({}), arn, what))
}

pub fn delete(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let arn = arn(call, name(Input(&call.params))?);
    let target = &existing(state, &arn)?.target;
    if let Some(key) = state.keys.get(target) {
        state.authorize(call, key, "DeleteAlias", Context::default(), None)?;
    }
    state.aliases.remove(&arn);
    Ok(Answer::effect(json!({}), arn, "deleted"))
}

pub fn list(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let only = match input.sized("KeyId", 1, 2048)? {
        Some(id) => Some(state.resolve(call, id, OWN)?.arn.clone()),
        None => None,
    };
    let here = arn(call, "alias/");
    let mut items: Vec<(String, Value)> = state
        .aliases
        .iter()
        .filter(|(arn, alias)| arn.starts_with(&here) && only.as_ref().is_none_or(|key| alias.target == *key))
        .map(|(arn, alias)| (arn.clone(), entry(alias)))
        .collect();
    if only.is_none() {
        items.extend(predefined(state, &here));
        items.sort_by(|one, other| one.0.cmp(&other.0));
    }
    page(input, (50, 100), "Aliases", items).map(Answer::read)
}

/// The aliases of AWS managed keys that are not made yet: they name no key.
fn predefined(state: &State, here: &str) -> Vec<(String, Value)> {
    let names = MANAGED.iter().map(|of| (format!("{here}aws/{of}"), format!("alias/aws/{of}")));
    let idle = names.filter(|(arn, _)| !state.aliases.contains(arn));
    idle.map(|(arn, name)| (arn.clone(), json!({"AliasName": name, "AliasArn": arn}))).collect()
}

fn entry(alias: &Alias) -> Value {
    json!({
        "AliasName": alias.name,
        "AliasArn": alias.arn,
        "TargetKeyId": alias.target.rsplit('/').next(),
        "CreationDate": epoch(alias.created),
        "LastUpdatedDate": epoch(alias.updated),
    })
}
