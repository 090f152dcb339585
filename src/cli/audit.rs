//! `keyferry audit run|list|show|decide|schedule|keys`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Common,
    client::{ActAs, Client, Connection},
    output::{Failure, plain, print, say, table},
    run,
};
use crate::{
    audit::{Decision, Schedule},
    engine::Standing,
    keys::watch::HEALTH,
    worker::{RunView, StoredRecord},
};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Audit an enterprise now, wait for the report and print it; exit code 1 if it is not compliant
    Run {
        /// The enterprise
        enterprise: String,
        #[command(flatten)]
        acting: ActAs,
        #[command(flatten)]
        connection: Connection,
    },
    /// List the reports of an enterprise, newest first
    List {
        /// The enterprise
        enterprise: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Print a report; exit code 1 if it is not compliant
    Show {
        /// The enterprise
        enterprise: String,
        /// The report's name, or the run that made it; the newest report if left out
        key: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show when an enterprise is audited next, or change how often it is
    Schedule {
        /// The enterprise
        enterprise: String,
        /// Days between two audits, 1 to 366
        #[arg(long)]
        every_days: Option<u32>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what is known of the keys in use, and since when
    Keys {
        /// The enterprise
        enterprise: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Decide that something that the newest report could not prove is nothing
    Decide {
        /// The enterprise
        enterprise: String,
        /// The id that the report gives it
        doubt: String,
        /// Why it is nothing: it stands in every report from now on
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        acting: ActAs,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let report = match self {
            Self::Run { enterprise, acting, connection } => {
                audited(&connection.client()?, &enterprise, &acting).await?
            }
            Self::Show { enterprise, key: Some(key), connection } => {
                connection.client()?.get(&["enterprises", &enterprise, "audits", &key], &[]).await?
            }
            Self::Show { enterprise, key: None, connection } => {
                report_of(&connection.client()?, &enterprise, |_| true).await?
            }
            other => return other.around(common).await,
        };
        print(common.output, &report.body, || text(&report))?;
        Ok(if is_compliant(&report.body) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Command {
    /// What there is around reports: their list, what was decided, when the next one is, and the keys in use.
    async fn around(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::Run { .. } | Self::Show { .. } => {}
            Self::List { enterprise, connection } => {
                let client = connection.client()?;
                let mut reports: Vec<StoredRecord> =
                    client.list(&["enterprises", &enterprise, "audits"], &[], None).await?;
                reports.sort_by_key(|report| std::cmp::Reverse(report.written_at));
                let items: Vec<Value> = reports.iter().map(brief).collect();
                print(common.output, &json!({"items": items, "next": null}), || listing(&items))?;
            }
            Self::Schedule { enterprise, every_days, connection } => {
                let (client, path) = (connection.client()?, ["enterprises", enterprise.as_str(), "audit-schedule"]);
                let schedule: Schedule = match every_days {
                    Some(days) => client.post(&path, &json!({ "every_days": days }), &[]).await?,
                    None => client.get(&path, &[]).await?,
                };
                print(common.output, &schedule, || {
                    format!("every {} days, next {}", schedule.every_days, schedule.next_at.to_rfc3339())
                })?;
            }
            Self::Keys { enterprise, connection } => {
                let path = ["enterprises", enterprise.as_str(), "records", HEALTH];
                let records: Vec<StoredRecord> = connection.client()?.list(&path, &[], None).await?;
                let items: Vec<Value> = records.into_iter().map(|record| record.body).collect();
                print(common.output, &json!({"items": items, "next": null}), || keys(&items))?;
            }
            Self::Decide { enterprise, doubt, reason, acting, connection } => {
                let path = ["enterprises", enterprise.as_str(), "audit-decisions"];
                let body = json!({ "doubt": doubt, "reason": reason });
                let decision: Decision = connection.client()?.post(&path, &body, &acting.headers()).await?;
                print(common.output, &decision, || {
                    format!(
                        "{} is decided by {}: {}\n  it was: {}",
                        decision.doubt, decision.by, decision.reason, decision.why
                    )
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn keys(items: &[Value]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            ["/region", "/arn", "/state", "/since", "/not_known_since"].map(|name| member(item, name).to_owned()).into()
        })
        .collect();
    table(&["REGION", "KEY", "STATE", "SINCE", "NOT KNOWN SINCE"], &rows)
}

async fn audited(client: &Client, enterprise: &str, acting: &ActAs) -> Result<StoredRecord, Failure> {
    let started: RunView = client.post(&["enterprises", enterprise, "audits"], &json!({}), &acting.headers()).await?;
    say(&format!("the run {} audits {enterprise}", started.id));
    let ended = run::follow(client, &started.id, |view| {
        say(&view.summary);
        Ok(())
    })
    .await?;
    if ended.status != Standing::Succeeded {
        return Err(Failure::Failed(format!("the audit did not succeed: {}", ended.summary)));
    }
    client.get(&["enterprises", enterprise, "audits", &ended.id], &[]).await
}

fn member<'a>(report: &'a Value, pointer: &str) -> &'a str {
    report.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
}

/// A report in the listing.
fn brief(report: &StoredRecord) -> Value {
    json!({
        "name": report.body.get("name"), "run": report.key, "generated_at": report.body.get("generated_at"),
        "conclusion": report.body.pointer("/summary/conclusion"), "deviations": list(&report.body, "deviations").len(),
        "not_proven": list(&report.body, "not_proven").len(),
    })
}

fn listing(items: &[Value]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let members = ["/name", "/generated_at", "/conclusion"].map(|name| member(item, name).to_owned());
            let counts = ["deviations", "not_proven"].map(|name| item[name].to_string());
            members.into_iter().chain(counts).chain([member(item, "/run").to_owned()]).collect()
        })
        .collect();
    table(&["NAME", "AT", "CONCLUSION", "DEVIATIONS", "NOT PROVEN", "RUN"], &rows)
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

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_compliant(report: &Value) -> bool {
    report.pointer("/summary/conclusion").and_then(Value::as_str) == Some("compliant")
}

fn text(report: &StoredRecord) -> String {
    let body = &report.body;
    let name = body.get("name").and_then(Value::as_str).unwrap_or(&report.key);
    let mut lines = vec![format!("report {name} of {}, {}", report.enterprise, report.written_at.to_rfc3339())];
    match body.get("summary") {
        Some(Value::Object(members)) => {
            lines.extend(members.iter().map(|(name, value)| format!("  {}: {}", name.replace('_', " "), plain(value))));
        }
        Some(summary) => lines.push(plain(summary)),
        None => {}
    }
    let deviations = list(body, "deviations");
    match deviations.len() {
        0 => lines.push("no deviations".to_owned()),
        count => lines.push(format!("{count} deviations:")),
    }
    lines.extend(deviations.iter().map(|deviation| format!("  {}", deviation_line(deviation))));
    let doubts = list(body, "not_proven");
    if !doubts.is_empty() {
        lines.push(format!("{} not proven:", doubts.len()));
        lines.extend(doubts.iter().map(|doubt| {
            format!("  {}  {}\n{}", member(doubt, "/id"), member(doubt, "/why"), indented(member(doubt, "/cure")))
        }));
    }
    for decision in list(body, "decisions") {
        lines.push(format!(
            "decided by {}: {} ({})",
            member(decision, "/by"),
            member(decision, "/reason"),
            member(decision, "/why")
        ));
    }
    lines.join("\n")
}

fn deviation_line(deviation: &Value) -> String {
    let Some(members) = deviation.as_object() else { return plain(deviation) };
    let said = members.iter().filter(|(name, _)| *name != "cure");
    let parts: Vec<String> = said.map(|(name, value)| format!("{name} {}", plain(value))).collect();
    format!("{}\n{}", parts.join(", "), indented(member(deviation, "/cure")))
}

/// A cure under what it is of: words, and commands on lines of their own.
fn indented(cure: &str) -> String {
    cure.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
