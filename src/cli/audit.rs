//! `keyferry audit run|show`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Common,
    client::{ActAs, Client, Connection},
    output::{Failure, plain, print, say},
    run,
};
use crate::{
    engine::Standing,
    worker::{RunView, StoredRecord},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Audit an enterprise now, wait for the report and print it; exit code 1 if it has deviations
    Run {
        /// The enterprise
        enterprise: String,
        #[command(flatten)]
        acting: ActAs,
        #[command(flatten)]
        connection: Connection,
    },
    /// Print a report; exit code 1 if it has deviations
    Show {
        /// The enterprise
        enterprise: String,
        /// The report's key; the newest report if left out
        key: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let report = match self {
            Self::Run { enterprise, acting, connection } => {
                let client = connection.client()?;
                let started: RunView =
                    client.post(&["enterprises", &enterprise, "audits"], &json!({}), &acting.headers()).await?;
                say(&format!("the run {} audits {enterprise}", started.id));
                let ended = run::follow(&client, &started.id, |view| {
                    say(&view.summary);
                    Ok(())
                })
                .await?;
                if ended.status != Standing::Succeeded {
                    return Err(Failure::Failed(format!("the audit did not succeed: {}", ended.summary)));
                }
                report_of(&client, &enterprise, |report| report.run == ended.id).await?
            }
            Self::Show { enterprise, key: Some(key), connection } => {
                connection.client()?.get(&["enterprises", &enterprise, "audits", &key], &[]).await?
            }
            Self::Show { enterprise, key: None, connection } => {
                report_of(&connection.client()?, &enterprise, |_| true).await?
            }
        };
        print(common.output, &report.body, || text(&report))?;
        Ok(if deviations(&report.body).is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The newest report that `wanted` takes.
async fn report_of(
    client: &Client,
    enterprise: &str,
    wanted: impl Fn(&StoredRecord) -> bool,
) -> Result<StoredRecord, Failure> {
    let reports: Vec<StoredRecord> = client.list(&["enterprises", enterprise, "audits"], &[], None).await?;
    reports
        .into_iter()
        .filter(wanted)
        .max_by_key(|report| report.written_at)
        .ok_or_else(|| Failure::Failed(format!("{enterprise} has no such report")))
}

fn deviations(report: &Value) -> &[Value] {
    report.get("deviations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text(report: &StoredRecord) -> String {
    let mut lines = vec![format!("report {} of {}, {}", report.key, report.enterprise, report.written_at.to_rfc3339())];
    match report.body.get("summary") {
        Some(Value::Object(members)) => {
            lines.extend(members.iter().map(|(name, value)| format!("  {}: {}", name.replace('_', " "), plain(value))));
        }
        Some(summary) => lines.push(plain(summary)),
        None => {}
    }
    let deviations = deviations(&report.body);
    match deviations.len() {
        0 => lines.push("no deviations".to_owned()),
        count => lines.push(format!("{count} deviations:")),
    }
    lines.extend(deviations.iter().map(|deviation| format!("  {}", deviation_line(deviation))));
    lines.join("\n")
}

fn deviation_line(deviation: &Value) -> String {
    let Some(members) = deviation.as_object() else { return plain(deviation) };
    let parts: Vec<String> = members.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
    parts.join(", ")
}
