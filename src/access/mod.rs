//! Who may use the customers' API: API keys, the networks they may be used from, rate limits, one-time links, and the trail
//! of every use.
//!
//! Everything that lasts is a record of the enterprise, written by compare-and-set; a secret is kept as its SHA-256 alone.
//! Rate limits are kept in memory: they are per process.

mod environment;

use std::{net::IpAddr, sync::Arc};

pub use environment::Environment;

use crate::{
    config::Config,
    worker::{Clock, Service},
};

/// The one door to everything here; a clone is another handle.
#[derive(Clone)]
pub struct Access {
    service: Service,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
}

impl Access {
    pub fn new(service: Service, clock: Arc<dyn Clock>, config: Arc<Config>) -> Self {
        Self { service, clock, config }
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
