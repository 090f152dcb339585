//! `keyferry bench`: what the engine costs, measured on steps that do nothing.
//!
//! The workloads are those by which durable engines are compared: many runs at once (w1), one long sequence (w2), a person's
//! answer (w3), a kill (w4), many that wait (w5). Everything is the engine's own: definitions, service, worker and store as
//! `serve` has them, with the durability that it has. `engine` prints figures; `drive` is one part at a time, for a driver
//! that measures several engines alike from outside.

mod drive;
mod engine;
mod house;
mod kill;
mod marks;
mod place;
mod process;
mod raw;
mod step_log;
mod workloads;

use std::process::ExitCode;

use super::{Common, output::Failure};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the workloads and print steps a second, times and memory
    Engine(engine::Command),
    /// One part of a workload, for a driver outside
    #[command(subcommand)]
    Drive(drive::Command),
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::Engine(command) => command.execute(common).await,
            Self::Drive(command) => command.execute().await,
        }
    }
}

/// Steps that run at once, in every workload.
const CONCURRENCY: usize = 64;

fn failed(error: impl std::error::Error) -> Failure {
    Failure::from_error(&error)
}
