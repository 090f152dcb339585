//! The command line: `keyferry <noun> <verb>`, one file a command.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done; 1 it failed, or what was asked about is not as
//! it should be (a run that failed, a history that does not verify, a deviation, a definition with a problem); 2 the
//! command line cannot be understood.

mod api_key;
mod app;
mod audit;
mod backup;
mod bench;
mod client;
mod customer;
mod demo;
mod descriptors;
mod enterprise;
mod imports;
mod input;
mod mail;
mod once;
mod output;
mod packet;
mod place;
mod run;
mod sandbox;
mod serve;
mod shipped;
mod signals;
mod worker;
mod workflow;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::Config,
    telemetry,
    worker::{Clock as _, SystemClock},
};

pub use app::{App, AppOptions, Cloud, Listeners};
pub use output::{Failure, Output};

#[derive(Debug, Parser)]
#[command(
    name = "keyferry",
    version,
    about = "Moves enterprises onto their own encryption keys and keeps them there",
    after_help = "Exit codes: 0 done; 1 failed, or not as it should be; 2 wrong usage."
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, env = "KEYFERRY_OUTPUT")]
    pub output: Output,
    /// How logs on standard error look
    #[arg(long, global = true, value_enum, default_value_t, env = "KEYFERRY_LOG_FORMAT")]
    pub log_format: telemetry::LogFormat,
    /// The configuration file; keyferry.toml in the working directory if there is one
    #[arg(long, global = true, value_name = "FILE", env = "KEYFERRY_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enterprises: the vendor's customers
    #[command(subcommand)]
    Enterprise(enterprise::Command),
    /// Runs: executions of a workflow for an enterprise
    #[command(subcommand)]
    Run(run::Command),
    /// Letters that are not delivered
    #[command(subcommand)]
    Mail(mail::Command),
    /// Audits of what an enterprise's data is encrypted with
    #[command(subcommand)]
    Audit(audit::Command),
    /// API keys, with which customers' integrations import key material
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// The information packet that a customer gets: endpoints, documentation, scripts, one-time links to API keys
    Packet(packet::Command),
    /// Definitions in the Amazon States Language
    #[command(subcommand)]
    Workflow(workflow::Command),
    /// What a customer does on their own machine: wrap and import keys
    #[command(subcommand)]
    Customer(customer::Command),
    /// Bring an enterprise onto its own keys, on SQLite and the sandbox: the whole process in under a minute
    Demo(demo::Command),
    /// Run keyferry: worker, mail and the operators' API
    Serve(serve::Command),
    /// Measure the engine on steps that do nothing
    #[command(subcommand)]
    Bench(bench::Command),
    /// Copy the SQLite database while keyferry runs; the copy is checked before it gets its name
    Backup(backup::Command),
    /// Run a worker without an API, beside others on one PostgreSQL
    Worker(worker::Command),
    /// Serve the emulated cloud on HTTP, for boto3, the AWS CLI and other clients of AWS
    Sandbox(sandbox::Command),
}

impl Common {
    /// The configuration that this command works with.
    ///
    /// # Errors
    /// It cannot be read or used.
    pub fn load_config(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref()).map_err(|error| Failure::from_error(&error))
    }
}

/// Parses the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are data: clap prints them on standard output and its exit code is 0.
            return match error.print() {
                Ok(()) if !error.use_stderr() => ExitCode::SUCCESS,
                Ok(()) | Err(_) => ExitCode::from(2),
            };
        }
    };
    let output = arguments.common.output;
    match execute(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(output),
    }
}

fn execute(arguments: Arguments) -> Result<ExitCode, Failure> {
    telemetry::init(arguments.common.log_format).map_err(|error| Failure::from_error(&error))?;
    #[cfg(feature = "failpoints")]
    crate::worker::failpoints::arm_from_env().map_err(Failure::Failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime could not be started: {error}")))?;
    let common = arguments.common;
    let traces = telemetry::traces::init(&SystemClock.new_id()).map_err(|error| Failure::from_error(&error))?;
    let code = runtime.block_on(async {
        match arguments.command {
            Command::Enterprise(command) => command.execute(&common).await,
            Command::Run(command) => command.execute(&common).await,
            Command::Mail(command) => command.execute(&common).await,
            Command::Audit(command) => command.execute(&common).await,
            Command::ApiKey(command) => command.execute(&common).await,
            Command::Packet(command) => command.execute(&common).await,
            Command::Workflow(command) => command.execute(&common).await,
            Command::Customer(command) => command.execute(&common).await,
            Command::Demo(command) => command.execute(&common).await,
            Command::Serve(command) => command.execute(&common).await,
            Command::Bench(command) => command.execute(&common).await,
            Command::Backup(command) => command.execute(&common).await,
            Command::Worker(command) => command.execute(&common).await,
            Command::Sandbox(command) => command.execute(&common).await,
        }
    });
    // A blocked name lookup or file operation must not hold the process after its work is done.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    traces.flush();
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_option_takes_the_token_itself() {
        fn options(command: &clap::Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(ToOwned::to_owned));
            command.get_subcommands().for_each(|inner| options(inner, found));
        }
        let mut found = Vec::new();
        options(&Arguments::command(), &mut found);
        assert!(found.contains(&"token-file".to_owned()), "{found:?}");
        assert!(!found.contains(&"token".to_owned()), "a token on the command line is seen by every process");
    }
}
