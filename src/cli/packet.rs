//! `keyferry packet`: the information packet for a customer.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Map, Value, json};

use super::{
    Common,
    client::{ActAs, Connection},
    output::{Failure, Output, print, print_each, say},
};

#[derive(Debug, clap::Args)]
pub struct Command {
    enterprise: String,
    #[arg(long, value_enum, default_value_t)]
    format: FormatName,
    /// Where to write it, for its owner's eyes alone; standard output if left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave out the one-time links; they can be made later with `api-key link`
    #[arg(long, conflicts_with_all = ["valid_hours", "key_expires_in_days", "networks"])]
    without_links: bool,
    /// Hours until the one-time links end unopened, 1 to 720
    #[arg(long, value_name = "N", default_value_t = 168)]
    valid_hours: u32,
    /// Days that the keys live once they are made; without end if left out
    #[arg(long, value_name = "N")]
    key_expires_in_days: Option<u32>,
    /// A network from which the keys may be used; repeat it for more, leave it out for any
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    #[command(flatten)]
    acting: ActAs,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum FormatName {
    /// One self-contained page that prints well
    #[default]
    Html,
    Markdown,
}

impl FormatName {
    fn word(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Markdown => "markdown",
        }
    }
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let client = self.connection.client()?;
        let path = ["enterprises", &self.enterprise, "packet"];
        let format = self.format.word();
        let text = if self.without_links {
            client.text(&path, &[("format", format.to_owned())]).await?
        } else {
            let mut body = Map::new();
            body.insert("format".to_owned(), json!(format));
            body.insert("valid_hours".to_owned(), json!(self.valid_hours));
            body.insert("networks".to_owned(), json!(self.networks));
            if let Some(days) = self.key_expires_in_days {
                body.insert("key_expires_in_days".to_owned(), json!(days));
            }
            client.post_for_text(&path, &Value::Object(body), &self.acting.headers()).await?
        };
        match &self.out {
            Some(file) => {
                write_private(file, &text)?;
                let said =
                    json!({ "file": file.display().to_string(), "format": format, "links": !self.without_links });
                print(common.output, &said, || file.display().to_string())?;
            }
            None if common.output == Output::Json => {
                print_each(Output::Json, &json!({ "format": format, "text": text }), String::new)?;
            }
            None => print_each(Output::Text, &(), || text)?,
        }
        if !self.without_links {
            say("the packet holds one-time links to API keys: send it to the customer's engineer alone");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write_private(file: &Path, text: &str) -> Result<(), Failure> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", file.display())))
}
