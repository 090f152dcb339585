//! `keyferry api-key create|list|show|rotate|revoke|link|trail`.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    Common,
    client::{ActAs, Connection},
    once::make_key,
    output::{Failure, plain, print, say, table},
};
use crate::access::{Entry, Environment, KeyScope, KeyState, KeyView};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key for an enterprise's integration; it is shown this once
    Create(Create),
    /// List an enterprise's keys
    List {
        enterprise: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a key: from where it may be used, and its last use
    Show {
        enterprise: String,
        /// The key's id, the part after kf_live_ or kf_test_
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a new key beside a live one, for the same environment and networks
    Rotate(Rotate),
    /// End a key for good, from its next use on
    Revoke {
        enterprise: String,
        /// The key's id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        acting: ActAs,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a one-time link, behind which the customer gets a key that nobody else sees
    Link(Link),
    /// Show who used which key, when, from where, and what came of it; the newest first
    Trail {
        enterprise: String,
        /// At most this many entries
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
}

/// The environments, as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EnvironmentName {
    Production,
    Test,
}

impl EnvironmentName {
    fn environment(self) -> Environment {
        match self {
            Self::Production => Environment::Production,
            Self::Test => Environment::Test,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Create {
    enterprise: String,
    /// The environment that the key opens; it never opens the other
    #[arg(long, value_enum)]
    environment: EnvironmentName,
    /// What the key is for: it opens nothing else
    #[arg(long, value_enum, default_value_t)]
    scope: ScopeName,
    #[command(flatten)]
    life: Life,
    /// A network from which the key may be used, such as 192.0.2.0/24 or 2001:db8::/32; repeat it for more, leave it out
    /// for any
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

/// What keys are for, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ScopeName {
    /// Key import
    #[default]
    Import,
    /// Reading the audit reports
    Audits,
}

impl ScopeName {
    fn scope(self) -> KeyScope {
        match self {
            Self::Import => KeyScope::Import,
            Self::Audits => KeyScope::Audits,
        }
    }
}

/// How long a new key lives; without end if nothing is said.
#[derive(Debug, clap::Args)]
pub struct Life {
    /// When the key ends
    #[arg(long, value_name = "RFC3339", conflicts_with = "expires_in_days")]
    expires: Option<DateTime<Utc>>,
    /// The same as a number of days from now
    #[arg(long, value_name = "N")]
    expires_in_days: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub struct Rotate {
    enterprise: String,
    /// The old key's id
    id: String,
    #[command(flatten)]
    life: Life,
    /// End the old key by itself after so many hours
    #[arg(long, value_name = "HOURS")]
    expires_old_in: Option<u32>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct Link {
    enterprise: String,
    #[arg(long, value_enum)]
    environment: EnvironmentName,
    /// Hours until the link ends unopened, 1 to 720
    #[arg(long, value_name = "N", default_value_t = 72)]
    valid_hours: u32,
    /// Days that the key lives once it is made; without end if left out
    #[arg(long, value_name = "N")]
    key_expires_in_days: Option<u32>,
    /// A network from which the key may be used; repeat it for more, leave it out for any
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

/// Leaves out what was not given.
fn body(members: Vec<(&str, Option<Value>)>) -> Value {
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

impl Life {
    fn members(&self) -> Vec<(&'static str, Option<Value>)> {
        vec![
            ("expires_at", self.expires.map(|at| json!(at))),
            ("expires_in_days", self.expires_in_days.map(|days| json!(days))),
        ]
    }
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::Create(create) => create.execute(common).await?,
            Self::Rotate(rotate) => rotate.execute(common).await?,
            Self::Link(link) => link.execute(common).await?,
            Self::List { enterprise, connection } => {
                let listed: Value = connection.client()?.get(&["enterprises", &enterprise, "api-keys"], &[]).await?;
                let keys: Vec<KeyView> = serde_json::from_value(listed.get("items").cloned().unwrap_or_default())
                    .map_err(|error| Failure::from_error(&error))?;
                print(common.output, &listed, || listing(&keys))?;
            }
            Self::Show { enterprise, id, connection } => {
                let key: KeyView =
                    connection.client()?.get(&["enterprises", &enterprise, "api-keys", &id], &[]).await?;
                print(common.output, &key, || text(&key))?;
            }
            Self::Revoke { enterprise, id, reason, acting, connection } => {
                let path = ["enterprises", &enterprise, "api-keys", &id, "revocation"];
                let body = json!({ "reason": reason });
                let key: KeyView = connection.client()?.post(&path, &body, &acting.headers()).await?;
                print(common.output, &key, || text(&key))?;
            }
            Self::Trail { enterprise, limit, connection } => {
                let path = ["enterprises", &enterprise, "trail"];
                let items: Vec<Entry> = connection.client()?.list(&path, &[], Some(limit)).await?;
                print(common.output, &json!({ "items": items, "next": null }), || trail(&items))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn execute(self, common: &Common) -> Result<(), Failure> {
        let mut members = self.life.members();
        members.push(("environment", Some(json!(self.environment.environment()))));
        members.push(("scope", Some(json!(self.scope.scope()))));
        members.push(("networks", Some(json!(self.networks))));
        let path = ["enterprises", &self.enterprise, "api-keys"];
        let client = self.connection.client()?;
        shown(common, &make_key(&client, &self.enterprise, &path, &body(members), &self.acting.headers()).await?)
    }
}

impl Rotate {
    async fn execute(self, common: &Common) -> Result<(), Failure> {
        let mut members = self.life.members();
        members.push(("old_expires_in_hours", self.expires_old_in.map(|hours| json!(hours))));
        let path = ["enterprises", &self.enterprise, "api-keys", &self.id, "rotation"];
        let client = self.connection.client()?;
        shown(common, &make_key(&client, &self.enterprise, &path, &body(members), &self.acting.headers()).await?)?;
        if self.expires_old_in.is_none() {
            say(&format!("the old key {} stays live until it is revoked", self.id));
        }
        Ok(())
    }
}

impl Link {
    async fn execute(self, common: &Common) -> Result<(), Failure> {
        let members = vec![
            ("environment", Some(json!(self.environment.environment()))),
            ("networks", Some(json!(self.networks))),
            ("valid_hours", Some(json!(self.valid_hours))),
            ("key_expires_in_days", self.key_expires_in_days.map(|days| json!(days))),
        ];
        let path = ["enterprises", &self.enterprise, "handovers"];
        let made: Value = self.connection.client()?.post(&path, &body(members), &self.acting.headers()).await?;
        let member = |name: &str| made.get(name).map(plain).unwrap_or_default();
        print(common.output, &made, || member("link"))?;
        say(&format!(
            "the link works once, until {}; opening the page does not burn it, its button does",
            member("expires_at")
        ));
        Ok(())
    }
}

/// A new key: the key alone on standard output, so that it can be piped into a secret store.
fn shown(common: &Common, made: &Value) -> Result<(), Failure> {
    let member = |name: &str| made.get(name).map(plain).unwrap_or_default();
    print(common.output, made, || member("key"))?;
    say(&format!(
        "API key {} of {} for {}: this is the only time that it is shown",
        member("id"),
        member("enterprise"),
        member("environment")
    ));
    Ok(())
}

fn when(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn state(key: &KeyView) -> &'static str {
    match key.state {
        KeyState::Live => "live",
        KeyState::Expired => "expired",
        KeyState::Revoked => "revoked",
    }
}

fn last_use(key: &KeyView) -> String {
    let used = |last: &crate::access::LastUse| format!("{} from {}", when(Some(last.at)), last.address);
    key.last_use.as_ref().map_or_else(|| "never".to_owned(), used)
}

fn listing(keys: &[KeyView]) -> String {
    let row = |key: &KeyView| {
        let environment = key.environment.word().to_owned();
        vec![
            key.id.clone(),
            environment,
            key.scope.word().to_owned(),
            state(key).to_owned(),
            when(key.expires_at),
            last_use(key),
        ]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    table(&["ID", "ENVIRONMENT", "SCOPE", "STATE", "EXPIRES", "LAST USE"], &rows)
}

fn text(key: &KeyView) -> String {
    let networks = if key.networks.is_empty() { "any network".to_owned() } else { key.networks.texts().join(", ") };
    let mut lines = vec![
        format!("{}  {} of {}  {}", key.id, key.environment, key.enterprise, state(key)),
        format!("  created   {} by {}", when(Some(key.created_at)), key.created_by),
        format!("  expires   {}", when(key.expires_at)),
        format!("  used from {networks}"),
        format!("  last use  {}", last_use(key)),
    ];
    lines.extend(key.replaces.iter().map(|id| format!("  replaces  {id}")));
    lines.extend(
        key.revoked.iter().map(|end| format!("  revoked   {} by {}: {}", when(Some(end.at)), end.by, end.reason)),
    );
    lines.join("\n")
}

fn trail(entries: &[Entry]) -> String {
    let row = |entry: &Entry| {
        vec![
            when(Some(entry.at)),
            entry.who.clone(),
            entry.environment.word().to_owned(),
            entry.address.to_string(),
            entry.outcome.clone().unwrap_or_else(|| "(unfinished)".to_owned()),
            entry.action.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    table(&["AT", "WHO", "ENVIRONMENT", "FROM", "OUTCOME", "ACTION"], &rows)
}
