//! The watch over keys in use: a customer's like the vendor's own.
//!
//! Every key that an enterprise's data is under is looked at again and again; keys are taken together by region, whoever's they are.
//! What is seen counts when it is still so after a grace, since AWS spreads changes slowly. A change of state is written down with
//! its time, on the version that was read, and opens one run of `key-loss`, by the time of the change: so of any number of
//! processes that look, one says it. AWS out of reach is *not known*: no state, and no alarm.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aws_sdk_kms::{Client, types::KeyState};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::KeySet;
use crate::{
    aws::{Aws, Failure, failure},
    engine::Actor,
    worker::{Clock, RecordPut, Service, ServiceError, StartRun, StoredRecord},
};

/// What is known of the keys in use, by ARN.
pub const HEALTH: &str = "key-health";
/// The run that a loss opens.
pub const KEY_LOSS: &str = "key-loss";
const PAGE: u32 = 100;
/// A state that was seen for so long counts.
const GRACE: Duration = Duration::from_secs(600);
/// However fast a sandbox's time runs.
const SHORTEST: Duration = Duration::from_secs(5);

/// What a key can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    Usable,
    Disabled,
    PendingDeletion,
    WithoutMaterial,
    /// In another state in which it cannot be used, or gone.
    Unusable,
    /// The vendor may not even look at it. Of a key whose policy allows use through AWS services alone it is so from the
    /// beginning, and no change.
    Denied,
}

impl Use {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Usable => "can be used",
            Self::Disabled => "is disabled",
            Self::PendingDeletion => "is going to be deleted",
            Self::WithoutMaterial => "has no key material",
            Self::Unusable => "cannot be used",
            Self::Denied => "may not be used or looked at any more",
        }
    }
}

/// A state, and since when it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    pub state: Use,
    pub since: DateTime<Utc>,
}

/// What is known of a key in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub region: String,
    pub arn: String,
    #[serde(flatten)]
    pub is: Since,
    /// Seen, and not for long enough yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becoming: Option<Since>,
    /// Since when AWS has not answered: the state is the last that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_known_since: Option<DateTime<Utc>>,
    /// The state that the key was in at first: the vendor's normal one.
    pub normal: Use,
    /// When the loss began that still lasts, whatever states it has gone through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<DateTime<Utc>>,
}

impl Health {
    /// Whether the key is lost: not as it was when it was first seen, and not usable.
    pub fn is_lost(&self) -> bool {
        self.is.state != Use::Usable && self.is.state != self.normal
    }

    /// What a look makes of it. The state that it has come to, if it has changed.
    fn after(&self, seen: Option<Use>, now: DateTime<Utc>, grace: TimeDelta) -> (Self, bool) {
        let mut next = self.clone();
        let Some(seen) = seen else {
            next.not_known_since = Some(self.not_known_since.unwrap_or(now));
            return (next, false);
        };
        next.not_known_since = None;
        if seen == self.is.state {
            next.becoming = None;
            return (next, false);
        }
        let becoming = self.becoming.filter(|becoming| becoming.state == seen);
        let becoming = becoming.unwrap_or(Since { state: seen, since: now });
        if now - becoming.since < grace {
            next.becoming = Some(becoming);
            return (next, false);
        }
        (next.is, next.becoming) = (becoming, None);
        (next.since_when(), true)
    }

    fn since_when(mut self) -> Self {
        self.lost_since = if self.is_lost() { self.lost_since.or(Some(self.is.since)) } else { None };
        self
    }
}

/// Looks at the keys in use; a clone is another handle.
#[derive(Clone)]
pub struct KeyWatch {
    service: Service,
    clock: Arc<dyn Clock>,
    aws: Arc<Aws>,
    grace: TimeDelta,
}

/// What a look came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Keys that have changed, with their new state.
    pub changed: Vec<(String, Use)>,
    /// Keys that AWS did not tell of.
    pub not_known: Vec<String>,
    /// Whether something was seen that does not count yet.
    pub pending: bool,
}

/// A key in use, and who uses it.
type InUse = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

impl KeyWatch {
    /// `speed`: how many of the cloud's seconds pass in one of keyferry's.
    pub fn new(service: Service, clock: Arc<dyn Clock>, aws: Arc<Aws>, speed: f64) -> Self {
        let grace = TimeDelta::from_std(GRACE.div_f64(speed.max(1.0))).unwrap_or(TimeDelta::zero());
        Self { service, clock, aws, grace }
    }

    /// Looks every `interval` for as long as it is polled, and sooner when something has to be seen once more.
    pub async fn watch(self, interval: Duration) {
        let interval = interval.max(SHORTEST);
        let soon = self.grace.to_std().unwrap_or(interval).clamp(SHORTEST, interval);
        let mut pause = interval;
        loop {
            self.clock.sleep(pause).await;
            pause = match self.look().await {
                Ok(look) if look.pending => soon,
                Ok(_) => interval,
                Err(error) => {
                    tracing::error!(code = error.code, "keys in use could not be looked at: {}", error.message);
                    interval
                }
            };
        }
    }

    /// Looks at every key in use once.
    ///
    /// # Errors
    /// The enterprises could not be listed.
    pub async fn look(&self) -> Result<Look, ServiceError> {
        let mut look = Look::default();
        for (region, keys) in self.in_use().await? {
            let kms = self.aws.kms(&region).await;
            for (arn, enterprises) in keys {
                let seen = match &kms {
                    Ok(kms) => state_of(kms, &arn).await,
                    Err(_) => None,
                };
                if seen.is_none() {
                    look.not_known.push(arn.clone());
                }
                for enterprise in enterprises {
                    if let Err(error) = self.note(&enterprise, &region, &arn, seen, &mut look).await {
                        // It keeps the look from no other.
                        tracing::error!(
                            enterprise,
                            key = arn,
                            code = error.code,
                            "what was seen of a key could not be written down: {}",
                            error.message
                        );
                    }
                }
            }
        }
        Ok(look)
    }

    /// The keys of every custody record, by region and ARN.
    async fn in_use(&self) -> Result<InUse, ServiceError> {
        let mut all = InUse::new();
        let mut cursor = None;
        loop {
            let page = self.service.enterprises(PAGE, cursor).await?;
            for enterprise in page.items {
                let Some(custody) = self.service.record(&enterprise.id, "custody", "current").await? else { continue };
                let keys = serde_json::from_value::<KeySet>(
                    json!({ "keys": custody.body["keys"], "instances": custody.body["instances"] }),
                );
                for (region, arn) in keys.unwrap_or_default().all() {
                    all.entry(region).or_default().entry(arn).or_default().insert(enterprise.id.clone());
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    async fn note(
        &self,
        enterprise: &str,
        region: &str,
        arn: &str,
        seen: Option<Use>,
        look: &mut Look,
    ) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let record = self.service.record(enterprise, HEALTH, arn).await?;
        let version = record.as_ref().map_or(0, |record| record.version);
        let (before, next, changed) = match (record.and_then(|record| read(&record)), seen) {
            (Some(before), _) => {
                let (next, changed) = before.after(seen, now, self.grace);
                (Some(before), next, changed)
            }
            (None, Some(state)) => {
                let is = Since { state, since: now };
                let (region, arn) = (region.to_owned(), arn.to_owned());
                // A key that was accepted could be used then, or only by RDS: any other first sight is a loss.
                let normal = if state == Use::Denied { Use::Denied } else { Use::Usable };
                let next = Health { region, arn, is, becoming: None, not_known_since: None, normal, lost_since: None };
                let next = next.since_when();
                let lost = next.is_lost();
                (None, next, lost)
            }
            (None, None) => return Ok(()),
        };
        look.pending |= next.becoming.is_some();
        if before.as_ref() != Some(&next) {
            if !self.put(enterprise, &next, version, now).await? {
                return Ok(());
            }
            if changed {
                tracing::warn!(enterprise, key = arn, "a key in use {}", next.is.state.words());
                look.changed.push((arn.to_owned(), next.is.state));
            }
        }
        // At each look, so that a process that dies in between leaves it to the next: a loss has one run, ever.
        if let Some(since) = next.lost_since {
            self.open(enterprise, &next, since).await?;
        }
        Ok(())
    }

    async fn open(&self, enterprise: &str, health: &Health, since: DateTime<Utc>) -> Result<(), ServiceError> {
        let since = since.timestamp_micros();
        let start = StartRun {
            enterprise: enterprise.to_owned(),
            workflow: KEY_LOSS.to_owned(),
            input: json!({ "key": { "arn": health.arn, "region": health.region } }),
            actor: Actor { name: "keyferry".to_owned(), role: "system".to_owned() },
            idempotency_key: Some(format!("key-loss {enterprise} {} {since}", health.arn)),
        };
        self.service.start_run(start).await.map(|_| ())
    }

    /// Writes it down; false when another process did.
    async fn put(
        &self,
        enterprise: &str,
        health: &Health,
        version: u64,
        at: DateTime<Utc>,
    ) -> Result<bool, ServiceError> {
        let put = RecordPut {
            enterprise: enterprise.to_owned(),
            collection: HEALTH.to_owned(),
            key: health.arn.clone(),
            expected: version,
            body: json!(health),
            at,
        };
        match self.service.put_records(vec![put]).await {
            Ok(()) => Ok(true),
            Err(error) if error.code == "record-changed" => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn read(record: &StoredRecord) -> Option<Health> {
    serde_json::from_value(record.body.clone()).ok()
}

/// The keys of an enterprise that are lost now.
///
/// # Errors
/// The store could not be read.
pub async fn lost(service: &Service, enterprise: &str) -> Result<Vec<Health>, ServiceError> {
    let custody = service.record(enterprise, "custody", "current").await?.map_or(Value::Null, |record| record.body);
    let keys = serde_json::from_value::<KeySet>(json!({ "keys": custody["keys"], "instances": custody["instances"] }));
    let mut lost = Vec::new();
    for (_, arn) in keys.unwrap_or_default().all() {
        let health = service.record(enterprise, HEALTH, &arn).await?.and_then(|record| read(&record));
        lost.extend(health.filter(Health::is_lost));
    }
    Ok(lost)
}

/// None when KMS does not tell now.
async fn state_of(kms: &Client, arn: &str) -> Option<Use> {
    let described = kms.describe_key().key_id(arn).send().await;
    match described.map_err(|error| failure(&format!("describe key {arn}"), &error)) {
        Ok(output) => output.key_metadata.and_then(|metadata| match metadata.key_state {
            Some(KeyState::Enabled) => Some(Use::Usable),
            Some(KeyState::Disabled) => Some(Use::Disabled),
            Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => Some(Use::PendingDeletion),
            Some(KeyState::PendingImport) => Some(Use::WithoutMaterial),
            Some(KeyState::Creating | KeyState::Updating) | None => None,
            Some(_) => Some(Use::Unusable),
        }),
        Err(failure) => refused(&failure),
    }
}

fn refused(failure: &Failure) -> Option<Use> {
    if failure.not_found() {
        Some(Use::Unusable)
    // Without a code the vendor's own role was refused, which says nothing of the key.
    } else if failure.denied() && failure.code.is_some() {
        Some(Use::Denied)
    } else {
        tracing::warn!(cause = %failure.cause, "a key in use could not be looked at");
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + 60 * minutes, 0).unwrap()
    }

    fn health() -> Health {
        Health {
            region: "us-west-2".to_owned(),
            arn: "arn".to_owned(),
            is: Since { state: Use::Usable, since: at(0) },
            becoming: None,
            not_known_since: None,
            normal: Use::Usable,
            lost_since: None,
        }
    }

    /// The health after looks at the given minutes; those at which it changed.
    fn looks(mut health: Health, seen: &[(i64, Option<Use>)]) -> (Health, Vec<i64>) {
        let mut changes = Vec::new();
        for (minute, seen) in seen {
            let (next, changed) = health.after(*seen, at(*minute), TimeDelta::minutes(10));
            health = next;
            changes.extend(changed.then_some(*minute));
        }
        (health, changes)
    }

    #[test]
    fn a_change_counts_when_it_is_still_so_after_the_grace_and_since_it_was_first_seen() {
        let lost = Some(Use::Disabled);
        let (after, changes) = looks(health(), &[(15, lost), (20, lost), (25, lost), (40, lost)]);
        assert_eq!((after.is, changes), (Since { state: Use::Disabled, since: at(15) }, vec![25]));
        assert!(after.is_lost());
        let (later, _) = looks(after, &[(60, Some(Use::PendingDeletion)), (75, Some(Use::PendingDeletion))]);
        assert_eq!((later.is.since, later.lost_since), (at(60), Some(at(15))), "it is one loss");
        let (after, changes) = looks(health(), &[(15, lost), (20, Some(Use::Usable)), (30, lost), (35, lost)]);
        assert!(changes.is_empty() && !after.is_lost(), "what spreads to and fro is no change: {changes:?}");
        let (_, changes) = looks(health(), &[(15, lost), (24, Some(Use::PendingDeletion)), (26, lost)]);
        assert!(changes.is_empty(), "each state is seen for as long");
    }

    #[test]
    fn aws_out_of_reach_is_not_known_and_no_change() {
        let (after, changes) = looks(health(), &[(15, None), (30, None), (60, None)]);
        assert_eq!((after.not_known_since, after.is, changes), (Some(at(15)), health().is, vec![]));
        assert!(!after.is_lost());
        let (after, _) = looks(after, &[(75, Some(Use::Usable))]);
        assert_eq!(after, health());
    }

    #[test]
    fn a_key_for_aws_services_alone_is_denied_from_the_beginning_and_not_lost() {
        let mut narrow = health();
        (narrow.is.state, narrow.normal) = (Use::Denied, Use::Denied);
        assert!(!narrow.is_lost());
        narrow.is.state = Use::Unusable;
        assert!(narrow.is_lost());
        let mut denied = health();
        denied.is.state = Use::Denied;
        assert!(denied.is_lost(), "one that could be looked at before is");
    }
}
