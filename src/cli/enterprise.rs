//! `keyferry enterprise add|change|list|show`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Common,
    client::{ActAs, Connection},
    output::{Failure, print, table},
};
use crate::worker::{Enterprise, EnterpriseNote};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add an enterprise; adding the same again changes nothing
    Add(Add),
    /// Change its name or addresses; what is left out stays as it is
    Change(Change),
    /// List the enterprises
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show an enterprise
    Show {
        /// Its short identifier
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// Short identifier: 1 to 40 of a-z, 0-9 and -, beginning with a letter
    id: String,
    /// The name that people read; the identifier if left out
    #[arg(long)]
    name: Option<String>,
    /// The AWS partition: aws or aws-us-gov
    #[arg(long, default_value = "aws")]
    partition: String,
    #[arg(long, value_name = "ADDRESS")]
    customer_email: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    csm_email: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    engineer_email: Option<String>,
    /// Who else gets the audit's letters; may be given several times
    #[arg(long = "audit-email", value_name = "ADDRESS")]
    audit_emails: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Change {
    /// Its short identifier
    id: String,
    /// The name that people read
    #[arg(long)]
    name: Option<String>,
    /// Empty (--customer-email "") takes the address away
    #[arg(long, value_name = "ADDRESS")]
    customer_email: Option<String>,
    /// Empty leaves it to the vendor's own
    #[arg(long, value_name = "ADDRESS")]
    csm_email: Option<String>,
    /// Empty leaves it to the vendor's own
    #[arg(long, value_name = "ADDRESS")]
    engineer_email: Option<String>,
    /// Who else gets the audit's letters, all of them: give it several times; empty takes all away
    #[arg(long = "audit-email", value_name = "ADDRESS")]
    audit_emails: Vec<String>,
    /// The version that was seen (`enterprise show`); without it, the one that is there now is changed
    #[arg(long, value_name = "N")]
    at: Option<u64>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::Add(add) => {
                let client = add.connection.client()?;
                let members = [
                    ("id", Some(add.id)),
                    ("name", add.name),
                    ("partition", Some(add.partition)),
                    ("customer_email", add.customer_email),
                    ("csm_email", add.csm_email),
                    ("engineer_email", add.engineer_email),
                ];
                let mut body: serde_json::Map<_, _> = members
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
                    .collect();
                body.insert("audit_emails".to_owned(), json!(add.audit_emails));
                let body = Value::from(body);
                let enterprise: Enterprise = client.post(&["enterprises"], &body, &[]).await?;
                print(common.output, &enterprise, || text(&enterprise))?;
            }
            Self::Change(change) => change.execute(common).await?,
            Self::List { connection } => {
                let items: Vec<Enterprise> = connection.client()?.list(&["enterprises"], &[], None).await?;
                print(common.output, &json!({"items": items, "next": null}), || listing(&items))?;
            }
            Self::Show { id, connection } => {
                let client = connection.client()?;
                let enterprise: Enterprise = client.get(&["enterprises", &id], &[]).await?;
                let changes: Vec<EnterpriseNote> = client.list(&["enterprises", &id, "changes"], &[], None).await?;
                let mut shown = json!(enterprise);
                shown["changes"] = json!(changes);
                print(common.output, &shown, || with_history(&enterprise, &changes))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Change {
    async fn execute(self, common: &Common) -> Result<(), Failure> {
        let addresses = [
            ("customer_email", self.customer_email),
            ("csm_email", self.csm_email),
            ("engineer_email", self.engineer_email),
        ];
        let mut body: serde_json::Map<String, Value> = addresses
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.map(emptied)?))))
            .collect();
        body.extend(self.name.map(|name| ("name".to_owned(), json!(name))));
        if !self.audit_emails.is_empty() {
            let readers: Vec<String> = self.audit_emails.into_iter().filter_map(emptied).collect();
            body.insert("audit_emails".to_owned(), json!(readers));
        }
        if body.is_empty() {
            return Err(Failure::Usage("nothing to change: give --name or an address".to_owned()));
        }
        let client = self.connection.client()?;
        let seen = match self.at {
            Some(version) => version,
            None => client.get::<Enterprise>(&["enterprises", &self.id], &[]).await?.version,
        };
        let mut headers = self.acting.headers();
        headers.push(("if-match", format!("\"{seen}\"")));
        let enterprise: Enterprise = client.patch(&["enterprises", &self.id], &body.into(), &headers).await?;
        print(common.output, &enterprise, || text(&enterprise))
    }
}

/// On a command line an empty value takes away what was there.
fn emptied(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

fn text(enterprise: &Enterprise) -> String {
    let address = |email: &Option<String>| email.clone().unwrap_or_else(|| "-".to_owned());
    let audit = match enterprise.audit_emails.as_slice() {
        [] => "-".to_owned(),
        readers => readers.join(", "),
    };
    format!(
        "{}  {}  ({})\n  customer  {}\n  csm       {}\n  engineer  {}\n  audit     {audit}\n  version   {}",
        enterprise.id,
        enterprise.name,
        enterprise.partition,
        address(&enterprise.customer_email),
        address(&enterprise.csm_email),
        address(&enterprise.engineer_email),
        enterprise.version
    )
}

fn with_history(enterprise: &Enterprise, changes: &[EnterpriseNote]) -> String {
    let mut lines = vec![text(enterprise)];
    for note in changes {
        for change in &note.changes {
            lines.push(format!(
                "  {}  {} by {} ({}): {} -> {}",
                note.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                change.field,
                note.actor.name,
                note.actor.role,
                change.from,
                change.to
            ));
        }
    }
    lines.join("\n")
}

fn listing(items: &[Enterprise]) -> String {
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| vec![item.id.clone(), item.name.clone(), item.partition.clone()]).collect();
    table(&["ID", "NAME", "PARTITION"], &rows)
}
