//! What people do to a run.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{
    change,
    seen::{self, Typed},
};
use crate::cli::{
    Common,
    client::{ActAs, Connection},
    input::read_json,
    output::Failure,
};

#[derive(Debug, clap::Args)]
pub struct Answer {
    /// The run's identifier
    run: String,
    /// The form's name
    form: String,
    /// A file with the answer as JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    data: String,
    /// What you have seen, as `run show` prints it; on a terminal it is shown and asked for when left out
    #[arg(long, value_name = "VISIT")]
    at: Option<String>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Retry {
    #[command(flatten)]
    mend: Mend,
    /// A file with another input for the state as JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    input: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Skip {
    #[command(flatten)]
    mend: Mend,
    /// A file with the state's result as JSON, - for standard input; its input goes on unchanged if left out
    #[arg(long, value_name = "FILE")]
    result: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Mend {
    /// The run's identifier
    run: String,
    /// What you have seen, as `run show` prints it; on a terminal it is shown and asked for when left out
    #[arg(long, value_name = "VISIT")]
    at: Option<String>,
    /// Why; the history keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Plain {
    /// The run's identifier
    run: String,
    /// The revision that you have seen, as `run show` prints it, or `any` for a run that moves all the time; on a terminal it is
    /// shown and asked for when left out
    #[arg(long, value_name = "REVISION")]
    at: Option<String>,
    /// Why; the history keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

/// The words of options as they were typed.
fn options(given: &[(&str, Option<&str>)], acting: &ActAs, connection: &Connection) -> Vec<String> {
    let given = given.iter().filter_map(|(name, value)| Some([(*name).to_owned(), (*value)?.to_owned()]));
    given.flatten().chain(acting.words()).chain(connection.words()).collect()
}

impl Answer {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let at = match &self.at {
            Some(at) => at.clone(),
            None => {
                let given = options(&[("--data", Some(self.data.as_str()))], &self.acting, &self.connection);
                let rest = [vec![self.form.clone()], given].concat();
                let typed = Typed { verb: "answer", run: self.run.clone(), rest, reads_input: self.data == "-" };
                seen::ask(&client, &typed, Some(&self.form)).await?
            }
        };
        let body = json!({ "visit": seen::visit(&at)?, "answer": read_json(&self.data)? });
        change(&client, &["runs", &self.run, "forms", &self.form], &body, &self.acting.headers(), common).await
    }
}

impl Retry {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        self.mend.send("retry", ("--input", "input"), self.input.as_deref(), common).await
    }
}

impl Skip {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        self.mend.send("skip", ("--result", "output"), self.result.as_deref(), common).await
    }
}

impl Mend {
    /// `names` are those of the option that holds `file` and of the body's member.
    async fn send(
        &self,
        verb: &'static str,
        names: (&str, &str),
        file: Option<&str>,
        common: &Common,
    ) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let at = match &self.at {
            Some(at) => at.clone(),
            None => {
                let given = [("--reason", Some(self.reason.as_str())), (names.0, file)];
                let rest = options(&given, &self.acting, &self.connection);
                let typed = Typed { verb, run: self.run.clone(), rest, reads_input: file == Some("-") };
                seen::ask(&client, &typed, None).await?
            }
        };
        let mut body = Map::new();
        body.insert("visit".to_owned(), json!(seen::visit(&at)?));
        body.insert("reason".to_owned(), json!(self.reason));
        if let Some(file) = file {
            body.insert(names.1.to_owned(), read_json(file)?);
        }
        change(&client, &["runs", &self.run, verb], &Value::Object(body), &self.acting.headers(), common).await
    }
}

impl Plain {
    pub async fn execute(self, verb: &'static str, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let at = match &self.at {
            Some(at) => at.clone(),
            None => {
                let rest = options(&[("--reason", Some(self.reason.as_str()))], &self.acting, &self.connection);
                seen::ask(&client, &Typed { verb, run: self.run.clone(), rest, reads_input: false }, None).await?
            }
        };
        let mut headers = self.acting.headers();
        headers.extend(seen::revision(&at)?.map(|revision| ("if-match", format!("\"{revision}\""))));
        change(&client, &["runs", &self.run, verb], &json!({ "reason": self.reason }), &headers, common).await
    }
}
