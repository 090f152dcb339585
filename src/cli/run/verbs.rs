//! What people do to a run.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::change;
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
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Retry {
    #[command(flatten)]
    plain: Plain,
    /// Which frame, when more than one is in attention
    #[arg(long)]
    frame: Option<u64>,
    /// A file with another input for the state as JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    input: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Skip {
    #[command(flatten)]
    plain: Plain,
    /// Which frame, when more than one is in attention
    #[arg(long)]
    frame: Option<u64>,
    /// A file with the state's result as JSON, - for standard input; {} if left out
    #[arg(long, value_name = "FILE")]
    result: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Plain {
    /// The run's identifier
    run: String,
    /// Why; the history keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

impl Answer {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let answer = read_json(&self.data)?;
        change(&client, &["runs", &self.run, "forms", &self.form], &answer, &self.acting, common).await
    }
}

impl Retry {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let input = self.input.as_deref().map(read_json).transpose()?;
        self.plain.send("retry", body(&self.plain.reason, self.frame, "input", input), common).await
    }
}

impl Skip {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let result = self.result.as_deref().map(read_json).transpose()?;
        self.plain.send("skip", body(&self.plain.reason, self.frame, "output", result), common).await
    }
}

impl Plain {
    pub async fn execute(self, verb: &str, common: &Common) -> Result<ExitCode, Failure> {
        self.send(verb, body(&self.reason, None, "", None), common).await
    }

    async fn send(&self, verb: &str, body: Value, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        change(&client, &["runs", &self.run, verb], &body, &self.acting, common).await
    }
}

fn body(reason: &str, frame: Option<u64>, name: &str, value: Option<Value>) -> Value {
    let mut body = Map::from_iter([("reason".to_owned(), json!(reason))]);
    body.extend(frame.map(|frame| ("frame".to_owned(), json!(frame))));
    body.extend(value.map(|value| (name.to_owned(), value)));
    Value::Object(body)
}
