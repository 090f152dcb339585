//! `keyferry serve`: worker, mail and the operators' API in one process.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Common,
    app::{App, Listeners, TestEnvironment},
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
    /// Where the customers' API listens, which faces the internet; without it, and without customer.listen in the
    /// configuration, it is served where the operators' API is
    #[arg(long, value_name = "ADDR")]
    customer_listen: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Where health and metrics are told without the API, for a network that must not reach the API
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
    /// A sandbox that runs elsewhere (keyferry sandbox --listen --speed 1) as the customers' test environment, which all servers
    /// over one database have to share; a sandbox of this process's own if left out
    #[arg(long, value_name = "URL")]
    test_sandbox_url: Option<String>,
    /// Lets boto3, the AWS CLI and others reach the sandbox
    #[arg(long, value_name = "ADDR")]
    sandbox_listen: Option<String>,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        if self.sandbox_listen.is_some() && (self.place.is_live() || self.place.is_elsewhere()) {
            return Err(Failure::Usage("--sandbox-listen belongs to a sandbox of this process's own".to_owned()));
        }
        let test = self.test_sandbox_url.map_or(TestEnvironment::Own, TestEnvironment::At);
        let options = self.place.options(common, Some(test))?;
        let customer = self.customer_listen.or_else(|| options.config.customer.listen.clone());
        let token_file = options.data_dir.join("admin-token");
        let app = App::open(options).await?;
        let api = listen(&self.listen).await?;
        let customer = match &customer {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let machines = match &self.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let sandbox = match &self.sandbox_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let shutdown = signals::shutdown()?;
        let listeners = Listeners { api: Some(api), customer, machines, sandbox };
        announce(common, &listeners, &token_file)?;
        app.run_and_close(listeners, shutdown).await?;
        say("ended in order");
        Ok(ExitCode::SUCCESS)
    }
}

fn announce(common: &Common, listeners: &Listeners, token_file: &std::path::Path) -> Result<(), Failure> {
    let address = |listener: &Option<tokio::net::TcpListener>| {
        let bound = listener.as_ref().map(|listener| listener.local_addr().map(|address| address.to_string()));
        bound.transpose().map_err(|error| Failure::from_error(&error))
    };
    let api = address(&listeners.api)?;
    let customer = address(&listeners.customer)?;
    let machines = address(&listeners.machines)?;
    let sandbox = address(&listeners.sandbox)?;
    if let Some(api) = &api {
        say(&format!("keyferry listens on http://{api} (token in {})", token_file.display()));
    }
    if let Some(customer) = &customer {
        say(&format!("the customers' API listens on http://{customer}"));
    }
    if let Some(machines) = &machines {
        say(&format!("health and metrics are told on http://{machines}"));
    }
    if let Some(sandbox) = &sandbox {
        say(&format!("the sandbox listens on http://{sandbox}"));
    }
    if common.output == Output::Json {
        let said = json!({
            "listening": api, "customer": customer, "metrics": machines, "sandbox": sandbox,
            "token_file": token_file.display().to_string(),
        });
        print_each(Output::Json, &said, String::new)?;
    }
    Ok(())
}
