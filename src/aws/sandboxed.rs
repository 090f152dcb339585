//! The adapter over the sandbox: its connector, and its clock, by which its sessions expire.

use std::time::SystemTime;

use aws_smithy_async::time::{SharedTimeSource, TimeSource};

use super::{Aws, AwsOptions};
use crate::{config::Config, sandbox::Sandbox};

#[derive(Debug)]
struct SandboxTime(Sandbox);

impl TimeSource for SandboxTime {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

impl Aws {
    /// The vendor's clients against `sandbox`.
    pub fn sandboxed(config: &Config, sandbox: &Sandbox) -> Self {
        Self::new(AwsOptions {
            config: Some(config),
            http: Some(sandbox.connector()),
            time: Some(SharedTimeSource::new(SandboxTime(sandbox.clone()))),
            elsewhere: None,
        })
    }
}
