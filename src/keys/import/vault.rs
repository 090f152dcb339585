//! The vendor's keys for a customer's material: made once each, whatever is lost on the way.
//!
//! KMS takes no idempotency token and makes a second key without a word. So a key is tagged as it is made, looked for before
//! one is made, and named by an alias last: aliases are unique, so the alias decides which key it is. A key that bears the
//! tags and no alias is one whose reply was lost, and is adopted; further ones are reported as orphans, never deleted.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_kms::{
    Client,
    config::retry::RetryConfig,
    types::{KeyMetadata, KeyState, OriginType, Tag},
};

use crate::{
    aws::{Failure, failure},
    keys::policy::render_own,
    worker::StepError,
};

/// A key to be made, or found.
#[derive(Debug, Clone)]
pub struct WantedKey {
    /// `alias/…`: the commit point.
    pub alias: String,
    /// Who made it and what for; together they are this key's alone.
    pub tags: BTreeMap<String, String>,
    pub policy: String,
    pub description: String,
}

impl WantedKey {
    /// The key of `region`, or of `instance` there, for an enterprise's material. `of`: the run or round that it is made in,
    /// short; `tags`: who makes it.
    pub fn new(
        enterprise: &str,
        of: &str,
        (region, instance): (&str, Option<&str>),
        account: &str,
        mut tags: BTreeMap<String, String>,
    ) -> Self {
        let whose = instance.map_or_else(|| format!("in {region}"), |own| format!("of {own} in {region}"));
        tags.insert("keyferry:alias".to_owned(), alias(enterprise, of, instance));
        Self {
            alias: alias(enterprise, of, instance),
            tags,
            policy: render_own(region, account).to_string(),
            description: format!("Key of {enterprise} {whose}; its material is the customer's"),
        }
    }
}

/// The key that the alias names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultKey {
    pub arn: String,
    /// Keys with the same tags that no alias names: made, and their reply lost.
    pub orphans: Vec<String>,
}

/// `alias/byok/<enterprise>/region-<of>` or `alias/byok/<enterprise>/instance/<instance>-<of>`.
fn alias(enterprise: &str, of: &str, instance: Option<&str>) -> String {
    let whose = instance.map_or_else(|| "region".to_owned(), |own| format!("instance/{own}"));
    format!("alias/byok/{enterprise}/{whose}-{of}")
}

/// The key, if it was made: by its alias, or by its tags, which gives it its alias.
///
/// # Errors
/// `Keyferry.Foreign`: the alias is somebody else's. KMS could not be asked.
pub async fn find_key(kms: &Client, wanted: &WantedKey) -> Result<Option<VaultKey>, StepError> {
    if let Some(arn) = named(kms, wanted).await? {
        return Ok(Some(VaultKey { arn, orphans: Vec::new() }));
    }
    let mut untied = untied(kms, wanted).await?;
    if untied.is_empty() {
        return Ok(None);
    }
    // The oldest: whoever looks next takes the same.
    let adopted = untied.remove(0);
    Ok(Some(tie(kms, wanted, adopted, untied).await?))
}

/// Makes the key, once: the SDK does not repeat the call. Look for it before.
///
/// # Errors
/// KMS refused, or, with [`Failure::lost`], nobody knows whether it was made: look for it for as long as KMS may need to show
/// it, then make it.
pub async fn make_key(kms: &Client, wanted: &WantedKey) -> Result<VaultKey, Failure> {
    let tags: Result<Vec<Tag>, _> =
        wanted.tags.iter().map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build()).collect();
    let tags = tags.map_err(|error| unexpected(format!("make key {}: {error}", wanted.alias)))?;
    let made = kms
        .create_key()
        .origin(OriginType::External)
        .description(&wanted.description)
        .policy(&wanted.policy)
        .set_tags(Some(tags))
        .customize()
        .config_override(aws_sdk_kms::config::Builder::new().retry_config(RetryConfig::standard().with_max_attempts(1)))
        .send()
        .await
        .map_err(|error| failure(&format!("make key {}", wanted.alias), &error))?;
    let arn = made.key_metadata.and_then(|metadata| metadata.arn);
    let arn = arn.ok_or_else(|| unexpected(format!("make key {}: KMS told no ARN", wanted.alias)))?;
    tie(kms, wanted, arn, Vec::new()).await
}

fn unexpected(cause: String) -> Failure {
    Failure { code: None, error: "Keyferry.Unexpected", cause }
}

async fn tie(kms: &Client, wanted: &WantedKey, arn: String, mut orphans: Vec<String>) -> Result<VaultKey, Failure> {
    let call = kms.create_alias().alias_name(&wanted.alias).target_key_id(&arn);
    match call.send().await.map_err(|error| failure(&format!("name key {arn} {}", wanted.alias), &error)) {
        Ok(_) => Ok(VaultKey { arn, orphans }),
        // Somebody was faster, or an earlier call's reply was lost: the alias decides.
        Err(failure) if failure.error == "Keyferry.Foreign" => {
            let winner = describe(kms, &wanted.alias).await?.and_then(|metadata| metadata.arn);
            let winner = winner.ok_or(failure)?;
            if winner != arn {
                orphans.push(arn);
            }
            orphans.retain(|orphan| *orphan != winner);
            Ok(VaultKey { arn: winner, orphans })
        }
        Err(failure) => Err(failure),
    }
}

async fn named(kms: &Client, wanted: &WantedKey) -> Result<Option<String>, StepError> {
    let Some(arn) = describe(kms, &wanted.alias).await?.and_then(|metadata| metadata.arn) else { return Ok(None) };
    if bears(kms, &arn, &wanted.tags).await? {
        return Ok(Some(arn));
    }
    let cause = format!(
        "{} names key {arn}, which was not made for it: it was not touched. Give it another alias, then retry",
        wanted.alias
    );
    Err(StepError::new("Keyferry.Foreign", cause))
}

/// Keys with these tags and without an alias, oldest first.
async fn untied(kms: &Client, wanted: &WantedKey) -> Result<Vec<String>, Failure> {
    let mut tied = BTreeSet::new();
    let mut aliases = kms.list_aliases().into_paginator().items().send();
    while let Some(alias) = aliases.next().await {
        tied.extend(alias.map_err(|error| failure("list aliases", &error))?.target_key_id);
    }
    let mut found = Vec::new();
    let mut keys = kms.list_keys().into_paginator().items().send();
    while let Some(key) = keys.next().await {
        let key = key.map_err(|error| failure("list keys", &error))?;
        let (Some(id), Some(arn)) = (key.key_id, key.key_arn) else { continue };
        if tied.contains(&id) || !bears(kms, &arn, &wanted.tags).await? {
            continue;
        }
        let Some(metadata) = describe(kms, &arn).await? else { continue };
        if metadata.key_state() != Some(&KeyState::PendingDeletion) {
            found.push((metadata.creation_date().map(|date| (date.secs(), date.subsec_nanos())), arn));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, arn)| arn).collect())
}

/// Whether a key bears all of these tags. One whose tags may not be read is somebody else's.
async fn bears(kms: &Client, arn: &str, tags: &BTreeMap<String, String>) -> Result<bool, Failure> {
    let mut has = BTreeMap::new();
    let mut pages = kms.list_resource_tags().key_id(arn).into_paginator().items().send();
    while let Some(tag) = pages.next().await {
        match tag.map_err(|error| failure(&format!("list the tags of key {arn}"), &error)) {
            Ok(tag) => has.insert(tag.tag_key, tag.tag_value),
            Err(failure) if failure.denied() || failure.not_found() => return Ok(false),
            Err(failure) => return Err(failure),
        };
    }
    Ok(tags.iter().all(|(key, value)| has.get(key) == Some(value)))
}

/// A key's metadata, by ARN or alias; none if there is no such key.
pub(super) async fn describe(kms: &Client, key: &str) -> Result<Option<KeyMetadata>, Failure> {
    match kms.describe_key().key_id(key).send().await.map_err(|error| failure(&format!("describe key {key}"), &error)) {
        Ok(described) => Ok(described.key_metadata),
        Err(failure) if failure.not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A key's state.
///
/// # Errors
/// KMS could not be asked, or does not know the key.
pub async fn key_state(kms: &Client, arn: &str) -> Result<Option<KeyState>, Failure> {
    let described = kms.describe_key().key_id(arn).send().await;
    let described = described.map_err(|error| failure(&format!("describe key {arn}"), &error))?;
    Ok(described.key_metadata.and_then(|metadata| metadata.key_state))
}

/// The id of the material that a key can be used with now; none while it waits for an import.
///
/// # Errors
/// KMS could not be asked, or does not know the key.
pub async fn current_material(kms: &Client, arn: &str) -> Result<Option<String>, Failure> {
    let described = kms.describe_key().key_id(arn).send().await;
    let described = described.map_err(|error| failure(&format!("describe key {arn}"), &error))?;
    let metadata = described.key_metadata;
    let enabled = metadata.as_ref().is_some_and(|metadata| metadata.key_state() == Some(&KeyState::Enabled));
    Ok(metadata.filter(|_| enabled).and_then(|metadata| metadata.current_key_material_id))
}
