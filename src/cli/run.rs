//! `keyferry run …`: runs over a server's API.

mod seen;
mod text;
mod verbs;

use std::{collections::VecDeque, process::ExitCode, time::Duration};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Common,
    client::{ActAs, Client, Connection},
    input::read_json,
    output::{Failure, print, print_each, say},
};
use crate::{
    engine::Standing,
    worker::{HistoryRow, RunView, Verification},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a run for an enterprise
    Start(Start),
    /// List runs, newest first
    List(List),
    /// Show a run: what it waits for, on whom, since when
    Show(One),
    /// Follow a run until it has ended; exit code 1 unless it succeeded
    Watch(One),
    /// Answer a form that the run waits for
    Answer(verbs::Answer),
    /// Try a state in attention again
    Retry(verbs::Retry),
    /// Go on past a state in attention as if it had succeeded
    Skip(verbs::Skip),
    /// Begin nothing new in a run
    Pause(verbs::Plain),
    /// Go on with a paused run
    Resume(verbs::Plain),
    /// End a run and its children
    Cancel(verbs::Plain),
    /// Print what happened to a run, oldest first
    History(History),
    /// Check a run's history against its hash chain and its state; exit code 1 if it does not hold
    Verify(One),
}

#[derive(Debug, clap::Args)]
pub struct Start {
    /// The enterprise
    enterprise: String,
    /// The workflow definition's name
    #[arg(long)]
    workflow: String,
    /// A file with the run's input as JSON, - for standard input; {} if left out
    #[arg(long, value_name = "FILE")]
    input: Option<String>,
    /// The same key again gets the first one's run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct List {
    #[arg(long)]
    enterprise: Option<String>,
    #[arg(long)]
    workflow: Option<String>,
    /// working, waiting, attention, paused, succeeded, failed or cancelled
    #[arg(long)]
    status: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct One {
    /// The run's identifier
    run: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct History {
    /// The run's identifier
    run: String,
    /// At most this many rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    connection: Connection,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::Start(start) => start.execute(common).await,
            Self::List(list) => list.execute(common).await,
            Self::Show(one) => {
                let run: RunView = one.connection.client()?.get(&["runs", &one.run], &[]).await?;
                print(common.output, &run, || text::run(&run))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Watch(one) => {
                let client = one.connection.client()?;
                let seen = |view: &RunView| print_each(common.output, view, || text::line(view));
                let ended = follow(&client, &one.run, seen).await?;
                Ok(if ended.status == Standing::Succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Self::Answer(answer) => answer.execute(common).await,
            Self::Retry(retry) => retry.execute(common).await,
            Self::Skip(skip) => skip.execute(common).await,
            Self::Pause(plain) => plain.execute("pause", common).await,
            Self::Resume(plain) => plain.execute("resume", common).await,
            Self::Cancel(plain) => plain.execute("cancel", common).await,
            Self::History(history) => history.execute(common).await,
            Self::Verify(one) => {
                let found: Verification =
                    one.connection.client()?.get(&["runs", &one.run, "verification"], &[]).await?;
                print(common.output, &found, || text::verification(&found))?;
                Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    }
}

impl Start {
    async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let input = match &self.input {
            Some(file) => read_json(file)?,
            None => json!({}),
        };
        let mut headers = self.acting.headers();
        headers.extend(self.idempotency_key.map(|key| ("idempotency-key", key)));
        let body = json!({"workflow": self.workflow, "input": input});
        let run: RunView = client.post(&["enterprises", &self.enterprise, "runs"], &body, &headers).await?;
        print(common.output, &run, || text::run(&run))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let filter = [("enterprise", self.enterprise), ("workflow", self.workflow), ("status", self.status)];
        let filter: Vec<(&str, String)> = filter.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let runs: Vec<RunView> = self.connection.client()?.list(&["runs"], &filter, self.limit).await?;
        print(common.output, &json!({"items": runs, "next": null}), || text::listing(&runs))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl History {
    async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let rows: Vec<HistoryRow> = client.list(&["runs", &self.run, "history"], &[], self.limit).await?;
        print(common.output, &json!({"items": rows, "next": null}), || text::history(&rows))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Shows a run at each change until it has ended; a stream that breaks is opened again.
///
/// # Errors
/// The server says no, or cannot be reached several times in a row.
pub async fn follow(
    client: &Client,
    run: &str,
    mut seen: impl FnMut(&RunView) -> Result<(), Failure>,
) -> Result<RunView, Failure> {
    let mut last: Option<RunView> = None;
    let mut waits: VecDeque<u64> = VecDeque::from([1, 2, 4, 8]);
    loop {
        match client.events(&["runs", run, "events"]).await {
            Ok(mut events) => {
                waits = VecDeque::from([1, 2, 4, 8]);
                while let Some(data) = events.next().await {
                    let view: RunView = serde_json::from_str(&data).map_err(|error| {
                        Failure::Failed(format!("the server's event cannot be understood: {error}"))
                    })?;
                    if last.as_ref() != Some(&view) {
                        seen(&view)?;
                    }
                    if ended(&view) {
                        return Ok(view);
                    }
                    last = Some(view);
                }
                say("the stream has ended; connecting again");
                wait(1).await;
            }
            Err(Failure::Failed(reason) | Failure::Unanswered(reason)) => {
                let Some(seconds) = waits.pop_front() else { return Err(Failure::Failed(reason)) };
                say(&reason);
                wait(seconds).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Lets time pass on the wall: a client of a distant server has no other clock.
async fn wait(seconds: u64) {
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds.max(1)));
    ticks.tick().await;
    ticks.tick().await;
}

fn ended(run: &RunView) -> bool {
    match run.status {
        Standing::Succeeded | Standing::Failed | Standing::Cancelled => true,
        Standing::Working | Standing::Waiting | Standing::Attention | Standing::Paused => false,
    }
}

/// A verb's answer: the run after it.
async fn change(
    client: &Client,
    parts: &[&str],
    body: &Value,
    headers: &[(&'static str, String)],
    common: &Common,
) -> Result<ExitCode, Failure> {
    let run: RunView = client.post(parts, body, headers).await?;
    print(common.output, &run, || text::run(&run))?;
    Ok(ExitCode::SUCCESS)
}
