//! `keyferry sandbox`: the emulated cloud on HTTP.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use serde_json::json;
use tokio::net::TcpListener;

use super::{
    Common,
    output::{Failure, Output, print_each, say},
    signals,
};
use crate::sandbox::{Options, Sandbox};

#[derive(Debug, clap::Args)]
pub struct Command {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Keeps the cloud's state; without it everything is gone with the process
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// How many of its seconds pass in one of the wall's; the configuration's sandbox.speed if left out
    #[arg(long, value_name = "N")]
    speed: Option<f64>,
    /// Whose administrator all made-up credentials are, 12 digits; the vendor's account if left out
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// How many times the quotas of a new account RDS grants in every region: instances, clusters, snapshots and storage
    #[arg(long, value_name = "N", default_value_t = 1)]
    quotas: u16,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let config = common.load_config()?;
        let vendor = config.aws.partitions.get("aws").or_else(|| config.aws.partitions.values().next());
        let account = self
            .account
            .or_else(|| vendor.map(|partition| partition.account.clone()))
            .ok_or_else(|| Failure::Usage("no account: name one with --account".to_owned()))?;
        let options = Options {
            data: self.data,
            speed: self.speed.unwrap_or(config.sandbox.speed),
            wall: Arc::new(|| crate::worker::Clock::now(&crate::worker::SystemClock)),
            default_account: account.clone(),
            quotas: self.quotas,
        };
        let sandbox = Sandbox::open(options).await.map_err(|error| Failure::from_error(&error))?;
        let listener = listen(&self.listen).await?;
        let address = listener.local_addr().map_err(|error| Failure::from_error(&error))?;
        let shutdown = signals::shutdown()?;
        say(&format!("the sandbox listens on http://{address} (account {account})"));
        if common.output == Output::Json {
            print_each(Output::Json, &json!({"listening": address.to_string(), "account": account}), String::new)?;
        }
        sandbox.listen(listener, signals::received(shutdown)).await.map_err(|error| Failure::from_error(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Binds an address such as `127.0.0.1:8080`.
///
/// # Errors
/// It is none, or it is taken.
pub async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::Failed(format!("cannot listen on {address}: {error}")))
}
