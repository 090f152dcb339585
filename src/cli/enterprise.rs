//! `keyferry enterprise add|list|show`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Common,
    client::Connection,
    output::{Failure, print, table},
};
use crate::worker::Enterprise;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add an enterprise; adding the same again changes nothing
    Add(Add),
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
                let body: Value = members
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
                let enterprise: Enterprise = client.post(&["enterprises"], &body, &[]).await?;
                print(common.output, &enterprise, || text(&enterprise))?;
            }
            Self::List { connection } => {
                let items: Vec<Enterprise> = connection.client()?.list(&["enterprises"], &[], None).await?;
                print(common.output, &json!({"items": items, "next": null}), || listing(&items))?;
            }
            Self::Show { id, connection } => {
                let enterprise: Enterprise = connection.client()?.get(&["enterprises", &id], &[]).await?;
                print(common.output, &enterprise, || text(&enterprise))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(enterprise: &Enterprise) -> String {
    let address = |email: &Option<String>| email.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{}  {}  ({})\n  customer  {}\n  csm       {}\n  engineer  {}",
        enterprise.id,
        enterprise.name,
        enterprise.partition,
        address(&enterprise.customer_email),
        address(&enterprise.csm_email),
        address(&enterprise.engineer_email)
    )
}

fn listing(items: &[Enterprise]) -> String {
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| vec![item.id.clone(), item.name.clone(), item.partition.clone()]).collect();
    table(&["ID", "NAME", "PARTITION"], &rows)
}
