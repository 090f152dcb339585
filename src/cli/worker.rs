//! `keyferry worker`: steps and mail without an API, beside others on one PostgreSQL.

use std::process::ExitCode;

use serde_json::json;

use super::{
    Common,
    app::{App, Listeners},
    output::{Failure, Output, print_each, say},
    place::Place,
    signals,
};

#[derive(Debug, clap::Args)]
pub struct Command {
    #[command(flatten)]
    place: Place,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let options = self.place.options(common)?;
        if options.database.is_none() {
            return Err(Failure::Usage(
                "a worker shares a PostgreSQL with others: name it with --database; one process serves a SQLite file, \
                 with keyferry serve"
                    .to_owned(),
            ));
        }
        let app = App::open(options).await?;
        let shutdown = signals::shutdown()?;
        let database = app.database().to_owned();
        say(&format!("keyferry works on {database}"));
        if common.output == Output::Json {
            print_each(Output::Json, &json!({ "working": database }), String::new)?;
        }
        app.run(Listeners::default(), shutdown).await?;
        say("ended in order");
        Ok(ExitCode::SUCCESS)
    }
}
