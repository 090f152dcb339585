//! One-time links, by which an API key reaches its holder.
//!
//! A link is the right to have a key made: what is kept is the hash of its code, and the key comes into being in the
//! transaction that burns the link. So no text of a key is ever stored, and a link that nobody opened leaves no key behind.
//!
//! The code stands in the link's fragment, which no client sends and no log holds; the page posts it. Opening the page
//! changes nothing: programs that look at links before people do cannot burn them.

use std::{fmt, net::IpAddr};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Access, ApiKey, Environment, KeyOrder, KeyScope, KeyView, Networks, SecretHash,
    book::ATTEMPTS,
    key::{random_code, random_id},
    limits::Wait,
    trail::Entry,
};
use crate::worker::{ErrorKind, KeptKey, Once, RecordPut, ServiceError, StoredRecord};

const HANDOVERS: &str = "handover";

/// A link to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverOrder {
    pub enterprise: String,
    pub environment: Environment,
    /// Of the key.
    pub networks: Networks,
    /// Life of the key from its making, in days; without end if there is none.
    pub key_days: Option<u32>,
    /// Hours until the link ends unopened, 1 to 720.
    pub valid_hours: u32,
    pub by: String,
    /// A request that is sent again carries the same one, and makes no further link.
    pub idempotency_key: Option<Once>,
}

/// A link, told once.
pub struct Handover {
    pub id: String,
    pub environment: Environment,
    pub expires_at: DateTime<Utc>,
    code: Zeroizing<String>,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handover({}, …)", self.id)
    }
}

impl Handover {
    /// The longest that a link may wait to be opened, in hours.
    pub const LONGEST_HOURS: u32 = 30 * 24;

    /// What the page asks for.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The whole link, under the customers' public address.
    pub fn link(&self, public_url: &str) -> Zeroizing<String> {
        Zeroizing::new(format!("{}/handover/{}#{}", public_url.trim_end_matches('/'), self.id, *self.code))
    }
}

/// What is kept of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    environment: Environment,
    hash: String,
    networks: Networks,
    key_days: Option<u32>,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    created_by: String,
    burned: Option<Burned>,
}

/// When, from where and for which key a link was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burned {
    pub at: DateTime<Utc>,
    pub address: IpAddr,
    pub key_id: String,
}

/// Why a link gives no key. Whether a link exists is told to one who has its code alone.
#[derive(Debug, Clone, PartialEq)]
pub enum NotHandedOver {
    /// No such link, or another code.
    Unknown,
    Expired {
        at: DateTime<Utc>,
    },
    Used(Burned),
    Limited {
        seconds: u64,
    },
    /// Two keys are live already, or the store could not be used: the link can be used once that has changed.
    Failed(ServiceError),
}

impl From<ServiceError> for NotHandedOver {
    fn from(error: ServiceError) -> Self {
        Self::Failed(error)
    }
}

impl From<Wait> for NotHandedOver {
    fn from(Wait(seconds): Wait) -> Self {
        Self::Limited { seconds }
    }
}

/// A link that cannot be opened, or whose key could not be made, helps nobody.
fn check_times(order: &HandoverOrder) -> Result<(), ServiceError> {
    let wrong = |message| Err(ServiceError::new(ErrorKind::Invalid, "expiry-invalid", message));
    let longest = Handover::LONGEST_HOURS;
    if !(1..=longest).contains(&order.valid_hours) {
        return wrong(format!("a link is valid for 1 to {longest} hours, not for {}", order.valid_hours));
    }
    match order.key_days {
        Some(days) if !(1..=ApiKey::LONGEST_DAYS).contains(&days) => {
            wrong(format!("a key lives for 1 to {} days, not for {days}", ApiKey::LONGEST_DAYS))
        }
        Some(_) | None => Ok(()),
    }
}

impl Access {
    /// Makes a link.
    ///
    /// # Errors
    /// No such enterprise; a time that cannot be; `handover-made-before`: the idempotency key has made a link, which was told in
    /// that answer alone.
    pub async fn hand_over(&self, order: HandoverOrder) -> Result<Handover, ServiceError> {
        self.service.enterprise(&order.enterprise).await?;
        if let Some(made) = self.service.done_before(order.idempotency_key.as_ref()).await? {
            return Err(made_before(&made));
        }
        check_times(&order)?;
        let now = self.clock.now();
        let (id, code) = (random_id()?, random_code()?);
        let kept = Kept {
            environment: order.environment,
            hash: SecretHash::of(&code).text(),
            networks: order.networks,
            key_days: order.key_days,
            expires_at: now + TimeDelta::hours(i64::from(order.valid_hours)),
            created_at: now,
            created_by: order.by,
            burned: None,
        };
        let key = order.idempotency_key.clone().map(|once| once.kept(json!({ "handover": id })));
        let puts = vec![handover_put(&order.enterprise, &id, 0, &kept, now)?];
        if let Err(error) = self.service.put_records_once(puts, key).await {
            let made = self.service.done_before(order.idempotency_key.as_ref()).await?;
            return Err(made.as_ref().map_or(error, made_before));
        }
        Ok(Handover { id, environment: kept.environment, expires_at: kept.expires_at, code })
    }

    /// Burns a link and makes its key.
    ///
    /// # Errors
    /// See [`NotHandedOver`]; the link is not burned then.
    pub async fn burn(&self, id: &str, code: &str, address: IpAddr) -> Result<(KeyView, ApiKey), NotHandedOver> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let found = self.service.find_record(HANDOVERS, id).await?;
            let (record, kept) = match found {
                Some(record) => {
                    let kept = read(&record)?;
                    (record, kept)
                }
                None => return Err(self.wrong_code(address, now)),
            };
            if !SecretHash::of(code).is(&kept.hash) {
                return Err(self.wrong_code(address, now));
            }
            if let Some(burned) = kept.burned {
                return Err(NotHandedOver::Used(burned));
            }
            if kept.expires_at <= now {
                return Err(NotHandedOver::Expired { at: kept.expires_at });
            }
            match self.burn_once(&record, kept, address, now).await {
                Err(NotHandedOver::Failed(error)) if super::changed(&error) => {}
                other => return other,
            }
        }
        Err(super::busy().into())
    }

    fn wrong_code(&self, address: IpAddr, now: DateTime<Utc>) -> NotHandedOver {
        match self.failures.take(address, now) {
            Ok(()) => NotHandedOver::Unknown,
            Err(wait) => wait.into(),
        }
    }

    async fn burn_once(
        &self,
        record: &StoredRecord,
        mut kept: Kept,
        address: IpAddr,
        now: DateTime<Utc>,
    ) -> Result<(KeyView, ApiKey), NotHandedOver> {
        let order = KeyOrder {
            enterprise: record.enterprise.clone(),
            environment: kept.environment,
            scope: KeyScope::Import,
            networks: kept.networks.clone(),
            expires_at: kept.key_days.map(|days| now + TimeDelta::days(i64::from(days))),
            replaces: None,
            by: format!("{} by one-time link {}", kept.created_by, record.key),
            idempotency_key: None,
        };
        let mut minted = self.mint(&order).await?;
        kept.burned = Some(Burned { at: now, address, key_id: minted.view.id.clone() });
        let entry = Entry {
            at: now,
            who: format!("one-time link {}", record.key),
            environment: kept.environment,
            address,
            action: format!("took the API key {}", minted.view.id),
            outcome: Some("done".to_owned()),
            status: None,
        };
        minted.puts.push(handover_put(&record.enterprise, &record.key, record.version, &kept, now)?);
        minted.puts.push(self.trail_put(&record.enterprise, &entry)?);
        self.service.put_records(minted.puts).await?;
        Ok((minted.view, minted.key))
    }
}

/// A link is told once.
fn made_before(made: &KeptKey) -> ServiceError {
    let id = made.answer.get("handover").and_then(serde_json::Value::as_str).unwrap_or_default();
    let message = format!(
        "this Idempotency-Key has made the one-time link {id} before, which was told in that answer alone: if it was lost, ask under \
         another Idempotency-Key, and let {id} expire unopened"
    );
    ServiceError::new(ErrorKind::Conflict, "handover-made-before", message).with(json!({ "id": id }))
}

fn read(record: &StoredRecord) -> Result<Kept, ServiceError> {
    serde_json::from_value(record.body.clone()).map_err(|error| {
        let message = format!("the one-time link {} cannot be read: {error}", record.key);
        ServiceError::new(ErrorKind::Unavailable, "store-corrupt", message)
    })
}

fn handover_put(
    enterprise: &str,
    id: &str,
    expected: u64,
    kept: &Kept,
    at: DateTime<Utc>,
) -> Result<RecordPut, ServiceError> {
    Ok(RecordPut {
        enterprise: enterprise.to_owned(),
        collection: HANDOVERS.to_owned(),
        key: id.to_owned(),
        expected,
        body: serde_json::to_value(kept).map_err(|error| super::unwritable(&error))?,
        at,
    })
}
