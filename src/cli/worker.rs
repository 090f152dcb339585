//! `keyferry worker`: steps and mail without an API, beside others on one PostgreSQL.

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
    #[command(flatten)]
    place: Place,
    /// Where health and metrics are told
    #[arg(long, value_name = "ADDR")]
    metrics_listen: Option<String>,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let options = self.place.options(common, None)?;
        if options.database.is_none() {
            return Err(Failure::Usage(
                "a worker shares a PostgreSQL with others: name it with --database; one process serves a SQLite file, \
                 with keyferry serve"
                    .to_owned(),
            ));
        }
        let app = App::open(options).await?;
        let machines = match &self.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let shutdown = signals::shutdown()?;
        let database = app.database().to_owned();
        let address = machines.as_ref().map(tokio::net::TcpListener::local_addr).transpose();
        let address = address.map_err(|error| Failure::from_error(&error))?.map(|address| address.to_string());
        say(&format!("keyferry works on {database}"));
        if let Some(address) = &address {
            say(&format!("health and metrics are told on http://{address}"));
        }
        if common.output == Output::Json {
            print_each(Output::Json, &json!({ "working": database, "metrics": address }), String::new)?;
        }
        app.run(Listeners { machines, ..Listeners::default() }, shutdown).await?;
        say("ended in order");
        Ok(ExitCode::SUCCESS)
    }
}
