//! Who may use the customers' API: API keys, the networks they may be used from, rate limits, one-time links, and the trail
//! of every use.
//!
//! Everything that lasts is a record of the enterprise, written by compare-and-set; a secret is kept as its SHA-256 alone.
//! Rate limits are kept in memory: they are per process.

mod admission;
mod book;
mod environment;
mod handover;
mod key;
mod limits;
mod network;
mod retention;
mod scope;
#[cfg(test)]
mod tests;
mod trail;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use chrono::{DateTime, Utc};

pub use admission::{Attempt, Refused};
pub use book::{KeyOrder, KeyState, KeyView, LastUse, Revoked, Rotation};
pub use environment::Environment;
pub use handover::{Burned, Handover, HandoverOrder, NotHandedOver};
pub use key::{ApiKey, Mistyped, SecretHash};
pub use limits::sender;
pub use network::{ForwardedHeader, Networks, Proxies};
pub use scope::KeyScope;
pub use trail::{Admitted, Entry};

use limits::{Buckets, SenderBuckets};

use crate::{
    config::Config,
    worker::{Clock, ErrorKind, Service, ServiceError},
};

/// The one door to everything here; a clone is another handle, with the same rate limits.
#[derive(Clone)]
pub struct Access {
    service: Service,
    clock: Arc<dyn Clock>,
    proxies: Proxies,
    failures: Arc<SenderBuckets>,
    keys: Arc<Buckets<String>>,
    /// Days; none for ever.
    trail_days: Option<NonZeroU32>,
}

impl Access {
    /// The configuration has been checked: what it could not hold is taken as its strictest reading.
    pub fn new(service: Service, clock: Arc<dyn Clock>, config: &Config) -> Self {
        let customer = &config.customer;
        Self {
            service,
            clock,
            proxies: Proxies::new(
                Networks::parse(&customer.trusted_proxies).unwrap_or_default(),
                ForwardedHeader::from_name(&customer.forwarded_header).unwrap_or(ForwardedHeader::XForwardedFor),
            ),
            failures: Arc::new(SenderBuckets::new(customer.address_failures_per_minute)),
            keys: Arc::new(Buckets::new(customer.key_requests_per_minute)),
            trail_days: NonZeroU32::new(customer.trail_days),
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The proxies that are trusted.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }
}

/// Who made a request to the customers' API, as its key was found good. A handler finds it in the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's enterprise, which is also the one that the path names.
    pub enterprise: String,
    /// The public part of the key, safe to log and to show.
    pub key_id: String,
    /// The environment of the path, which is the key's.
    pub environment: Environment,
    /// Where the request came from, behind the configured proxies.
    pub address: IpAddr,
}

impl Caller {
    /// How the caller is named in histories and records.
    pub fn name(&self) -> String {
        format!("api-key {}", self.key_id)
    }
}

/// Somebody else wrote one of the records meanwhile.
fn changed(error: &ServiceError) -> bool {
    error.code == "record-changed"
}

/// The same request under the same idempotency key was done meanwhile.
fn same_request(error: &ServiceError) -> bool {
    error.code == "already-started"
}

fn busy() -> ServiceError {
    ServiceError::new(ErrorKind::Unavailable, "busy", "others change the same records all the time: try again")
}

fn unwritable(error: &serde_json::Error) -> ServiceError {
    ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("a record cannot be written as JSON: {error}"))
}
