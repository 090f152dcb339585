//! `keyferry serve`: worker, mail and the operators' API in one process.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Common,
    app::{App, Listeners},
    output::{Failure, Output, print_each, say},
    place::Place,
    sandbox::listen,
    signals,
};

#[derive(Debug, clap::Args)]
pub struct Command {
    /// Where the operators' API listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    #[command(flatten)]
    place: Place,
    /// Where health and metrics are told without the API, for a network that must not reach the API
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
    /// Lets boto3, the AWS CLI and others reach the sandbox
    #[arg(long, value_name = "ADDR")]
    sandbox_listen: Option<String>,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        if self.sandbox_listen.is_some() && (self.place.is_live() || self.place.is_elsewhere()) {
            return Err(Failure::Usage("--sandbox-listen belongs to a sandbox of this process's own".to_owned()));
        }
        let options = self.place.options(common)?;
        let token_file = options.data_dir.join("admin-token");
        let app = App::open(options).await?;
        let api = listen(&self.listen).await?;
        let machines = match &self.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let sandbox = match &self.sandbox_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let shutdown = signals::shutdown()?;
        announce(common, &api, machines.as_ref(), sandbox.as_ref(), &token_file)?;
        app.run(Listeners { api: Some(api), machines, sandbox }, shutdown).await?;
        say("ended in order");
        Ok(ExitCode::SUCCESS)
    }
}

fn announce(
    common: &Common,
    api: &tokio::net::TcpListener,
    machines: Option<&tokio::net::TcpListener>,
    sandbox: Option<&tokio::net::TcpListener>,
    token_file: &std::path::Path,
) -> Result<(), Failure> {
    let address = |listener: &tokio::net::TcpListener| {
        listener.local_addr().map(|address| address.to_string()).map_err(|error| Failure::from_error(&error))
    };
    let api = address(api)?;
    let machines = machines.map(address).transpose()?;
    let sandbox = sandbox.map(address).transpose()?;
    say(&format!("keyferry listens on http://{api} (token in {})", token_file.display()));
    if let Some(machines) = &machines {
        say(&format!("health and metrics are told on http://{machines}"));
    }
    if let Some(sandbox) = &sandbox {
        say(&format!("the sandbox listens on http://{sandbox}"));
    }
    if common.output == Output::Json {
        print_each(
            Output::Json,
            &json!({
                "listening": api,
                "metrics": machines,
                "sandbox": sandbox,
                "token_file": token_file.display().to_string(),
            }),
            String::new,
        )?;
    }
    Ok(())
}
