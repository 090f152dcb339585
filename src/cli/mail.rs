//! `keyferry mail list|resend`: letters that are not delivered.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use serde_json::json;

use super::{
    Common,
    client::Connection,
    output::{Failure, print, table},
};
use crate::worker::{LetterState, LetterView};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List letters that wait to be delivered, and those that could not be
    List {
        /// Only those that could not be delivered and are not tried any more
        #[arg(long, conflicts_with = "due")]
        dead: bool,
        /// Only those that are tried again, or for the first time
        #[arg(long)]
        due: bool,
        /// Only those about this enterprise
        #[arg(long)]
        enterprise: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Send a dead letter again, or try one at once; it goes to the address that its reader has now
    Resend {
        /// Its number
        letter: i64,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::List { dead, due, enterprise, connection } => {
                let client = connection.client()?;
                let mut items: Vec<LetterView> = Vec::new();
                for (state, wanted) in [("dead", !due), ("due", !dead)] {
                    if wanted {
                        let mut filter = vec![("state", state.to_owned())];
                        filter.extend(enterprise.iter().map(|enterprise| ("enterprise", enterprise.clone())));
                        items.extend(client.list::<LetterView>(&["letters"], &filter, None).await?);
                    }
                }
                print(common.output, &json!({"items": items, "next": null}), || listing(&items))?;
            }
            Self::Resend { letter, connection } => {
                let path = ["letters", &letter.to_string(), "resend"];
                let resent: LetterView = connection.client()?.post(&path, &json!({}), &[]).await?;
                print(common.output, &resent, || line(&resent))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A letter that is not delivered, on one line.
pub fn line(letter: &LetterView) -> String {
    let address = letter.address.as_ref().map(|address| format!(" ({address})")).unwrap_or_default();
    let error = letter.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let stands = match (letter.state, letter.next_attempt, letter.dead_since) {
        (LetterState::Dead, _, Some(since)) => format!("dead since {}", time(since)),
        (_, Some(next), _) => format!("next attempt {}", time(next)),
        (state, _, _) => state.word().to_owned(),
    };
    format!(
        "letter {} to {}{address}, {}: {stands}, {} failed{error}",
        letter.id, letter.reader, letter.about, letter.attempts
    )
}

fn listing(items: &[LetterView]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let address = item.address.clone().unwrap_or_else(|| "-".to_owned());
            let next = item.next_attempt.map_or_else(|| "-".to_owned(), time);
            let error = item.last_error.clone().unwrap_or_default();
            let cells = [
                item.id.to_string(),
                item.state.word().to_owned(),
                item.enterprise.clone(),
                item.run.clone(),
                item.reader.clone(),
                address,
                item.about.clone(),
                item.attempts.to_string(),
                next,
                error,
            ];
            cells.to_vec()
        })
        .collect();
    let headings =
        ["LETTER", "STATE", "ENTERPRISE", "RUN", "READER", "ADDRESS", "ABOUT", "FAILED", "NEXT", "LAST ERROR"];
    table(&headings, &rows)
}
