//! The book of API keys: made, listed, rotated, revoked. A key's record holds its hash; its text is told once.
//!
//! Of an enterprise's keys in one environment at most two are live, the one in use and its successor. The record
//! `api-key-set` of that environment is written with every new key, on the version that it was counted at: of two that are
//! made at once, one counts again.
//!
//! The answer that tells a key may be lost. The same request under the same idempotency key then makes no second one and says
//! the first one's id, so that it can be revoked: what was told once cannot be told again.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Access, ApiKey, Environment, KeyScope, Networks};

use crate::worker::{ErrorKind, KeyUse, Once, RecordPut, ServiceError, StoredRecord};

pub(super) const API_KEYS: &str = "api-key";
const KEY_SETS: &str = "api-key-set";
/// Live keys an enterprise has in one environment.
const LIVE: usize = 2;
/// Times that a change is decided anew because somebody else made one meanwhile.
pub(super) const ATTEMPTS: usize = 8;

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub environment: Environment,
    #[serde(default)]
    pub scope: KeyScope,
    /// SHA-256 of the key's text.
    pub hash: String,
    pub networks: Networks,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub replaces: Option<String>,
    pub revoked: Option<Revoked>,
    pub last_use: Option<LastUse>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub at: DateTime<Utc>,
    pub by: String,
    pub reason: String,
}

/// When and from where a key was last used, to the minute: a use within a minute of the last is not written here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    pub at: DateTime<Utc>,
    pub address: IpAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    Live,
    Expired,
    Revoked,
}

/// A key as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    pub id: String,
    pub enterprise: String,
    pub environment: Environment,
    #[serde(default)]
    pub scope: KeyScope,
    pub state: KeyState,
    /// From where it may be used; empty for anywhere.
    pub networks: Networks,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    /// The key that this one was made beside.
    pub replaces: Option<String>,
    pub revoked: Option<Revoked>,
    pub last_use: Option<LastUse>,
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOrder {
    pub enterprise: String,
    pub environment: Environment,
    pub scope: KeyScope,
    pub networks: Networks,
    pub expires_at: Option<DateTime<Utc>>,
    pub replaces: Option<String>,
    pub by: String,
    /// A request that is sent again carries the same one, and makes no further key.
    pub idempotency_key: Option<Once>,
}

/// A rotation: a new key beside the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub enterprise: String,
    /// The old key.
    pub id: String,
    /// Of the new key.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the old key ends, if it is to end by itself.
    pub old_expires_at: Option<DateTime<Utc>>,
    pub by: String,
    /// As of a [`KeyOrder`].
    pub idempotency_key: Option<Once>,
}

/// A key that is ready to be written.
pub(super) struct Minted {
    pub key: ApiKey,
    pub view: KeyView,
    pub puts: Vec<RecordPut>,
    pub once: Option<KeyUse>,
}

impl Kept {
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        if self.revoked.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Live
        }
    }

    pub fn read(record: &StoredRecord) -> Result<Self, ServiceError> {
        serde_json::from_value(record.body.clone()).map_err(|error| {
            let message = format!("the API key {} cannot be read: {error}", record.key);
            ServiceError::new(ErrorKind::Unavailable, "store-corrupt", message)
        })
    }

    fn view(self, enterprise: &str, id: &str, now: DateTime<Utc>) -> KeyView {
        KeyView {
            id: id.to_owned(),
            enterprise: enterprise.to_owned(),
            environment: self.environment,
            scope: self.scope,
            state: self.state(now),
            networks: self.networks,
            created_at: self.created_at,
            created_by: self.created_by,
            expires_at: self.expires_at,
            replaces: self.replaces,
            revoked: self.revoked,
            last_use: self.last_use,
        }
    }
}

/// The write of a changed key.
pub(super) fn key_put(record: &StoredRecord, kept: &Kept, at: DateTime<Utc>) -> Result<RecordPut, ServiceError> {
    Ok(RecordPut {
        enterprise: record.enterprise.clone(),
        collection: API_KEYS.to_owned(),
        key: record.key.clone(),
        expected: record.version,
        body: serde_json::to_value(kept).map_err(|error| super::unwritable(&error))?,
        at,
    })
}

impl Access {
    /// Makes a key.
    ///
    /// # Errors
    /// No such enterprise; an end that has passed; two keys are live already; `api-key-made-before`: the idempotency key has
    /// made one, whose id is in the details.
    pub async fn create_key(&self, order: KeyOrder) -> Result<(KeyView, ApiKey), ServiceError> {
        for _ in 0..ATTEMPTS {
            let minted = self.mint(&order).await?;
            match self.service.put_records_once(minted.puts, minted.once).await {
                Ok(()) => return Ok((minted.view, minted.key)),
                Err(error) if super::changed(&error) || super::same_request(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(super::busy())
    }

    /// A key and the writes that bring it into being.
    pub(super) async fn mint(&self, order: &KeyOrder) -> Result<Minted, ServiceError> {
        let now = self.clock.now();
        self.service.enterprise(&order.enterprise).await?;
        self.check_made(order.idempotency_key.as_ref()).await?;
        check_end(order.expires_at, now)?;
        let set = self.service.record(&order.enterprise, KEY_SETS, &order.scope.set(order.environment)).await?;
        let live: Vec<String> = self
            .keys(&order.enterprise)
            .await?
            .into_iter()
            .filter(|key| {
                (key.environment, key.scope) == (order.environment, order.scope) && key.state == KeyState::Live
            })
            .map(|key| key.id)
            .collect();
        if live.len() >= LIVE {
            return Err(two_live(order, &live));
        }
        let key = ApiKey::generate(order.environment)?;
        let kept = Kept {
            environment: order.environment,
            scope: order.scope,
            hash: key.hash().text(),
            networks: order.networks.clone(),
            created_at: now,
            created_by: order.by.clone(),
            expires_at: order.expires_at,
            replaces: order.replaces.clone(),
            revoked: None,
            last_use: None,
        };
        let put = |collection: &str, name: &str, expected, body| RecordPut {
            enterprise: order.enterprise.clone(),
            collection: collection.to_owned(),
            key: name.to_owned(),
            expected,
            body,
            at: now,
        };
        let body = serde_json::to_value(&kept).map_err(|error| super::unwritable(&error))?;
        let version = set.map_or(0, |record| record.version);
        let puts = vec![
            put(KEY_SETS, &order.scope.set(order.environment), version, json!({ "made": version + 1 })),
            put(API_KEYS, key.id(), 0, body),
        ];
        let once = order.idempotency_key.clone().map(|once| once.kept(json!({ "api_key": key.id() })));
        let view = kept.view(&order.enterprise, key.id(), now);
        Ok(Minted { key, view, puts, once })
    }

    /// Nothing was made under this idempotency key yet.
    async fn check_made(&self, once: Option<&Once>) -> Result<(), ServiceError> {
        let Some(made) = self.service.done_before(once).await? else { return Ok(()) };
        let id = made.answer.get("api_key").and_then(serde_json::Value::as_str).unwrap_or_default();
        let message = format!(
            "this Idempotency-Key has made the API key {id} before, whose text was told in that answer alone: if it was lost, revoke \
             {id}, then ask under another Idempotency-Key"
        );
        Err(ServiceError::new(ErrorKind::Conflict, "api-key-made-before", message).with(json!({ "id": id })))
    }

    /// All keys of an enterprise, the newest first.
    ///
    /// # Errors
    /// No such enterprise.
    pub async fn keys(&self, enterprise: &str) -> Result<Vec<KeyView>, ServiceError> {
        self.service.enterprise(enterprise).await?;
        let now = self.clock.now();
        let mut views = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.service.records(enterprise, API_KEYS, 200, cursor).await?;
            for record in &page.items {
                views.push(Kept::read(record)?.view(enterprise, &record.key, now));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        views.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(views)
    }

    /// One key.
    ///
    /// # Errors
    /// The enterprise has no key of that id.
    pub async fn key(&self, enterprise: &str, id: &str) -> Result<KeyView, ServiceError> {
        let record = self.key_record(enterprise, id).await?;
        Ok(Kept::read(&record)?.view(enterprise, id, self.clock.now()))
    }

    async fn key_record(&self, enterprise: &str, id: &str) -> Result<StoredRecord, ServiceError> {
        self.service.enterprise(enterprise).await?;
        self.service.record(enterprise, API_KEYS, id).await?.ok_or_else(|| {
            let message = format!("{enterprise} has no API key {id}");
            ServiceError::new(ErrorKind::NotFound, "api-key-not-found", message)
        })
    }

    /// Makes a new key beside a live one, for the same environment and networks.
    ///
    /// # Errors
    /// The old key is not live; two keys are live already; `api-key-made-before`, as of [`Access::create_key`].
    pub async fn rotate_key(&self, rotation: Rotation) -> Result<(KeyView, ApiKey), ServiceError> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            self.check_made(rotation.idempotency_key.as_ref()).await?;
            check_end(rotation.old_expires_at, now)?;
            let record = self.key_record(&rotation.enterprise, &rotation.id).await?;
            let mut old = Kept::read(&record)?;
            if old.state(now) != KeyState::Live {
                let message = format!(
                    "the API key {} is not live any more: create a key instead of rotating this one",
                    rotation.id
                );
                return Err(ServiceError::new(ErrorKind::Conflict, "api-key-not-live", message));
            }
            let order = KeyOrder {
                enterprise: rotation.enterprise.clone(),
                environment: old.environment,
                scope: old.scope,
                networks: old.networks.clone(),
                expires_at: rotation.expires_at,
                replaces: Some(rotation.id.clone()),
                by: rotation.by.clone(),
                idempotency_key: rotation.idempotency_key.clone(),
            };
            let mut minted = self.mint(&order).await?;
            if let Some(end) = rotation.old_expires_at {
                old.expires_at = Some(old.expires_at.map_or(end, |found| found.min(end)));
                minted.puts.push(key_put(&record, &old, now)?);
            }
            match self.service.put_records_once(minted.puts, minted.once).await {
                Ok(()) => return Ok((minted.view, minted.key)),
                Err(error) if super::changed(&error) || super::same_request(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(super::busy())
    }

    /// Ends a key for good, from its next use on. One that was revoked before stays as it is.
    ///
    /// # Errors
    /// The enterprise has no key of that id.
    pub async fn revoke_key(
        &self,
        enterprise: &str,
        id: &str,
        reason: &str,
        by: &str,
    ) -> Result<KeyView, ServiceError> {
        self.revoke_key_once(enterprise, id, reason, by, None).await
    }

    /// The same under an idempotency key.
    ///
    /// # Errors
    /// As of [`Access::revoke_key`]; `idempotency-key-reused`.
    pub async fn revoke_key_once(
        &self,
        enterprise: &str,
        id: &str,
        reason: &str,
        by: &str,
        once: Option<Once>,
    ) -> Result<KeyView, ServiceError> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            if self.service.done_before(once.as_ref()).await?.is_some() {
                return self.key(enterprise, id).await;
            }
            let record = self.key_record(enterprise, id).await?;
            let mut kept = Kept::read(&record)?;
            if kept.revoked.is_some() {
                return Ok(kept.view(enterprise, id, now));
            }
            kept.revoked = Some(Revoked { at: now, by: by.to_owned(), reason: reason.to_owned() });
            let key = once.clone().map(|once| once.kept(json!({ "api_key": id })));
            match self.service.put_records_once(vec![key_put(&record, &kept, now)?], key).await {
                Ok(()) => return Ok(kept.view(enterprise, id, now)),
                Err(error) if super::changed(&error) || super::same_request(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(super::busy())
    }
}

fn check_end(end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), ServiceError> {
    let Some(end) = end else { return Ok(()) };
    let wrong = |message: String| Err(ServiceError::new(ErrorKind::Invalid, "expiry-invalid", message));
    let shown = end.to_rfc3339_opts(SecondsFormat::Secs, true);
    if end <= now {
        return wrong(format!("{shown} has passed: give a time that is still to come"));
    }
    if end > now + TimeDelta::days(i64::from(ApiKey::LONGEST_DAYS)) {
        return wrong(format!("{shown} is more than ten years away: give a time within them, or none"));
    }
    Ok(())
}

fn two_live(order: &KeyOrder, live: &[String]) -> ServiceError {
    let message = format!(
        "{} has {} live API keys for {} already ({}): revoke the one that is no longer used, or let it expire, then try again",
        order.enterprise,
        live.len(),
        order.environment,
        live.join(", ")
    );
    ServiceError::new(ErrorKind::Conflict, "two-api-keys-live", message)
}
