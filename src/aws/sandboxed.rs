//! The adapter over the sandbox: its connector, and the wall clock that it was given, by which its sessions expire.

use std::time::SystemTime;

use aws_smithy_async::time::{SharedTimeSource, TimeSource};

use super::{Aws, AwsOptions};
use crate::{config::Config, sandbox::Sandbox};

#[derive(Debug)]
struct SandboxWall(Sandbox);

impl TimeSource for SandboxWall {
    fn now(&self) -> SystemTime {
        self.0.wall().into()
    }
}

impl Aws {
    /// The vendor's clients against `sandbox`.
    pub fn sandboxed(config: &Config, sandbox: &Sandbox) -> Self {
        Self::new(AwsOptions {
            config: Some(config),
            http: Some(sandbox.connector()),
            time: Some(SharedTimeSource::new(SandboxWall(sandbox.clone()))),
            elsewhere: None,
        })
    }
}
