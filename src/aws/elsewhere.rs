//! The adapter over a sandbox in another process.

use std::time::Duration;

use super::{Aws, AwsOptions};
use crate::config::Config;

/// A session, by the sandbox's clock: the longest that AWS grants.
pub(super) const SESSION_LENGTH: Duration = Duration::from_secs(12 * 3600);

/// Where a sandbox listens, and how many of its seconds pass in one of the wall's.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    pub(super) url: String,
    pub(super) speed: f64,
}

impl Elsewhere {
    /// How long a role's credentials are kept. The sandbox says by its own clock when they end, and that runs ahead of this
    /// process's: by the wall a session is over much sooner than it says.
    pub(super) fn keeps(&self) -> Duration {
        SESSION_LENGTH.div_f64(self.speed.max(1.0)) / 2
    }
}

impl Aws {
    /// The vendor's clients against a sandbox that listens at `url`.
    pub fn sandboxed_at(config: &Config, url: &str, speed: f64) -> Self {
        let elsewhere = Elsewhere { url: url.to_owned(), speed };
        Self::new(AwsOptions { config: Some(config), elsewhere: Some(elsewhere), ..AwsOptions::default() })
    }
}
