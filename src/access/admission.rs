//! Whether a request may come in: its key, its network, its pace.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Access, ApiKey, Caller, Environment, KeyScope,
    book::{API_KEYS, Kept, KeyState, LastUse, key_put},
    limits::Wait,
    trail::{Admitted, Entry},
};
use crate::worker::{ServiceError, StoredRecord};

/// A key's last use is written again after this long.
const LAST_USE_S: i64 = 60;

/// A request that wants in.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// What stands after `ApiKey` in the header, if there is such a header.
    pub presented: Option<&'a str>,
    /// The enterprise that the path names.
    pub enterprise: &'a str,
    /// The environment of the path.
    pub environment: Environment,
    /// What the path is for.
    pub scope: KeyScope,
    pub address: IpAddr,
    /// Method and path, for the trail.
    pub action: &'a str,
}

/// Why a request may not come in. Only [`Refused::Unknown`] is told to one who has no key: an id that does not exist and a
/// wrong secret are the same answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    NoKey,
    Mistyped,
    Unknown,
    Expired {
        at: DateTime<Utc>,
    },
    Revoked,
    /// The key is good for other networks than the address's.
    Network {
        address: IpAddr,
    },
    /// The path names an enterprise that is not the key's.
    Enterprise,
    /// The path is the other environment's.
    Environment {
        key: Environment,
        path: Environment,
    },
    /// The key is for something else than the path.
    Scope {
        key: KeyScope,
        path: KeyScope,
    },
    /// Too many requests of a key, or too many failures of an address.
    Limited {
        seconds: u64,
    },
    Failed(ServiceError),
}

impl Refused {
    /// Its code, in answers and in the trail.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "no-api-key",
            Self::Mistyped => "api-key-mistyped",
            Self::Unknown => "api-key-unknown",
            Self::Expired { .. } => "api-key-expired",
            Self::Revoked => "api-key-revoked",
            Self::Network { .. } => "network-not-allowed",
            Self::Enterprise => "enterprise-not-found",
            Self::Environment { .. } => "wrong-environment",
            Self::Scope { .. } => "wrong-scope",
            Self::Limited { .. } => "rate-limited",
            Self::Failed(error) => error.code,
        }
    }
}

impl From<Wait> for Refused {
    fn from(Wait(seconds): Wait) -> Self {
        Self::Limited { seconds }
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        Self::Failed(error)
    }
}

impl Access {
    /// Decides whether a request may come in, and writes the use into the trail before anything is done. The key is judged
    /// first: what others at its address have done refuses no good one.
    ///
    /// # Errors
    /// It may not, or the trail could not be written.
    pub async fn admit(&self, attempt: Attempt<'_>) -> Result<Admitted, Refused> {
        let now = self.clock.now();
        let presented = attempt.presented.ok_or(Refused::NoKey);
        let key = presented.and_then(|text| ApiKey::parse(text).map_err(|_| Refused::Mistyped));
        let key = match key {
            Ok(key) => key,
            Err(refused) => return Err(self.failed(&attempt, refused, now)),
        };
        let Some(record) = self.service.find_record(API_KEYS, key.id()).await? else {
            return Err(self.failed(&attempt, Refused::Unknown, now));
        };
        let kept = Kept::read(&record)?;
        if !key.hash().is(&kept.hash) {
            return self.refuse_failure(&attempt, &record, &kept, Refused::Unknown, now).await;
        }
        match (kept.state(now), kept.expires_at) {
            (KeyState::Live, _) => {}
            (KeyState::Expired, end) => {
                let refused = Refused::Expired { at: end.unwrap_or(now) };
                return self.refuse_failure(&attempt, &record, &kept, refused, now).await;
            }
            (KeyState::Revoked, _) => {
                return self.refuse_failure(&attempt, &record, &kept, Refused::Revoked, now).await;
            }
        }
        self.keys.take(record.key.clone(), now)?;
        if let Some(refused) = misplaced(&attempt, &record, &kept) {
            return Err(self.trailed(&attempt, &record, &kept, refused, now).await);
        }
        Ok(self.written(&attempt, &record, kept, now).await?)
    }

    /// A failure counts against its address; above the limit the answer is to slow down, and nothing is written.
    fn failed(&self, attempt: &Attempt<'_>, refused: Refused, now: DateTime<Utc>) -> Refused {
        match self.failures.take(attempt.address, now) {
            Ok(()) => refused,
            Err(wait) => wait.into(),
        }
    }

    async fn refuse_failure(
        &self,
        attempt: &Attempt<'_>,
        record: &StoredRecord,
        kept: &Kept,
        refused: Refused,
        now: DateTime<Utc>,
    ) -> Result<Admitted, Refused> {
        match self.failed(attempt, refused, now) {
            limited @ Refused::Limited { .. } => Err(limited),
            refused => Err(self.trailed(attempt, record, kept, refused, now).await),
        }
    }

    /// Writes a refusal into the trail of the key's enterprise. What cannot be written is logged: the refusal stands.
    async fn trailed(
        &self,
        attempt: &Attempt<'_>,
        record: &StoredRecord,
        kept: &Kept,
        refused: Refused,
        now: DateTime<Utc>,
    ) -> Refused {
        let entry = Entry { outcome: Some(refused.code().to_owned()), ..entry(attempt, record, kept, now) };
        tracing::warn!(
            enterprise.id = record.enterprise,
            api_key.id = record.key,
            code = refused.code(),
            "an API key was refused"
        );
        let (access, enterprise) = (self.clone(), record.enterprise.clone());
        let writing = async move {
            let written = match access.trail_put(&enterprise, &entry) {
                Ok(put) => access.service.put_records(vec![put]).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::error!(error = %error, enterprise.id = enterprise, "a refusal is missing in the trail");
            }
        };
        if refused == Refused::Unknown {
            // The answer does not wait for the write: its time would tell an id that exists from one that does not.
            tokio::spawn(writing);
        } else {
            writing.await;
        }
        refused
    }

    /// Writes an admitted use, and the key's last use if the last one is old.
    async fn written(
        &self,
        attempt: &Attempt<'_>,
        record: &StoredRecord,
        mut kept: Kept,
        now: DateTime<Utc>,
    ) -> Result<Admitted, ServiceError> {
        let entry = entry(attempt, record, &kept, now);
        let put = self.trail_put(&record.enterprise, &entry)?;
        let key = put.key.clone();
        let fresh = kept.last_use.as_ref().is_some_and(|last| now - last.at < TimeDelta::seconds(LAST_USE_S));
        let mut written = false;
        if !fresh {
            kept.last_use = Some(LastUse { at: now, address: attempt.address });
            // Somebody else may write the key at this moment, in order to revoke it or for a use of its own: then this use
            // stands in the trail alone.
            match self.service.put_records(vec![put.clone(), key_put(record, &kept, now)?]).await {
                Ok(()) => written = true,
                Err(error) if super::changed(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if !written {
            self.service.put_records(vec![put]).await?;
        }
        let caller = Caller {
            enterprise: record.enterprise.clone(),
            key_id: record.key.clone(),
            environment: kept.environment,
            address: attempt.address,
        };
        Ok(Admitted { caller, key, entry })
    }
}

/// Why a live key is used at the wrong place.
fn misplaced(attempt: &Attempt<'_>, record: &StoredRecord, kept: &Kept) -> Option<Refused> {
    if !kept.networks.allow(attempt.address) {
        Some(Refused::Network { address: attempt.address })
    } else if record.enterprise != attempt.enterprise {
        Some(Refused::Enterprise)
    } else if kept.environment != attempt.environment {
        Some(Refused::Environment { key: kept.environment, path: attempt.environment })
    } else if kept.scope != attempt.scope {
        Some(Refused::Scope { key: kept.scope, path: attempt.scope })
    } else {
        None
    }
}

fn entry(attempt: &Attempt<'_>, record: &StoredRecord, kept: &Kept, now: DateTime<Utc>) -> Entry {
    Entry {
        at: now,
        who: format!("api-key {}", record.key),
        environment: kept.environment,
        address: attempt.address,
        action: attempt.action.to_owned(),
        outcome: None,
        status: None,
    }
}
