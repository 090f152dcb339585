//! The information packet: what a customer's engineer needs in order to import keys, as one file.
//!
//! Pure: everything that it says comes in with [`Matter`]. API keys are never in it, one-time links may be. The scripts are
//! the files in `scripts/`, which the tests run, with the enterprise's own values filled in.

use chrono::{DateTime, SecondsFormat, Utc};
use minijinja::{AutoEscape, Environment as Templates, context};
use serde::Serialize;

use crate::{access::Environment, config::Config, worker::Enterprise};

/// A form of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One self-contained page that prints well.
    Html,
    Markdown,
}

impl Format {
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "html" => Some(Self::Html),
            "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }

    /// What a file's name ends with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Markdown => "md",
        }
    }
}

/// What a packet is about.
#[derive(Debug, Clone)]
pub struct Matter<'a> {
    pub config: &'a Config,
    pub enterprise: &'a Enterprise,
    /// The regions that were agreed, the primary first; empty while none are.
    pub regions: &'a [String],
    pub links: &'a [Link],
    pub at: DateTime<Utc>,
}

/// A one-time link to an API key.
#[derive(Clone, Serialize)]
pub struct Link {
    pub environment: Environment,
    pub link: String,
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({}, …)", self.environment)
    }
}

/// A script of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    pub file: &'static str,
    pub title: &'static str,
    /// As a Markdown fence names it.
    pub language: &'static str,
    pub source: &'static str,
}

/// The scripts, as they stand in the sources: placeholders are `@NAME@`, and variables win over them.
pub const SCRIPTS: [Script; 3] = [
    Script {
        file: "import-key.sh",
        title: "Bash and OpenSSL",
        language: "bash",
        source: include_str!("scripts/import-key.sh"),
    },
    Script { file: "import-key.mjs", title: "Node.js", language: "js", source: include_str!("scripts/import-key.mjs") },
    Script {
        file: "import-key.py",
        title: "Python",
        language: "python",
        source: include_str!("scripts/import-key.py"),
    },
];

const HTML: &str = include_str!("templates/packet.html");
const MARKDOWN: &str = include_str!("templates/packet.md");
const STYLE: &str = include_str!("templates/packet.css");

/// A script for one enterprise.
pub fn tailored(script: &Script, config: &Config, enterprise: &str) -> String {
    // The name stands in a comment of three languages.
    let vendor: String = config.vendor.name.chars().filter(|c| c.is_alphanumeric() || " .,&-".contains(*c)).collect();
    [
        ("@VENDOR@", vendor.as_str()),
        ("@PRODUCTION_ENDPOINT@", &config.customer.public_url),
        ("@TEST_ENDPOINT@", &config.customer.test_public_url),
        ("@PREFIX@", &config.vendor.customer_api_prefix),
        ("@ENTERPRISE@", enterprise),
    ]
    .iter()
    .fold(script.source.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The packet as one text.
///
/// # Errors
/// A template of this module is broken.
pub fn render(matter: &Matter<'_>, format: Format) -> Result<String, minijinja::Error> {
    let mut templates = Templates::new();
    templates.set_auto_escape_callback(
        |name| {
            if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
        },
    );
    let (name, source) = match format {
        Format::Html => ("packet.html", HTML),
        Format::Markdown => ("packet.md", MARKDOWN),
    };
    templates.add_template(name, source)?;
    let Matter { config, enterprise, regions, links, at } = matter;
    let offered = config.aws.partitions.get(&enterprise.partition).map(|found| found.regions.clone());
    let scripts: Vec<_> = SCRIPTS
        .iter()
        .map(|script| {
            context! {
                file => script.file,
                title => script.title,
                language => script.language,
                source => tailored(script, config, &enterprise.id),
            }
        })
        .collect();
    let endpoint = |environment: Environment| match environment {
        Environment::Production => &config.customer.public_url,
        Environment::Test => &config.customer.test_public_url,
    };
    let environments: Vec<_> = [Environment::Test, Environment::Production]
        .into_iter()
        .map(|environment| {
            let link = links.iter().find(|link| link.environment == environment);
            context! {
                name => environment.word(),
                endpoint => endpoint(environment),
                base => format!(
                    "{}{}/enterprises/{}/cmk",
                    endpoint(environment), config.vendor.customer_api_prefix, enterprise.id
                ),
                link => link.map(|link| link.link.as_str()),
                expires_at => link.map(|link| seconds(link.expires_at)),
            }
        })
        .collect();
    templates.get_template(name)?.render(context! {
        vendor => plain(&config.vendor.name, format),
        support_email => config.vendor.support_email.as_str(),
        engineer_email => enterprise.engineer_email.as_ref().unwrap_or(&config.vendor.engineer_email),
        prefix => config.vendor.customer_api_prefix.as_str(),
        enterprise => enterprise.id.as_str(),
        enterprise_name => plain(&enterprise.name, format),
        partition => enterprise.partition.as_str(),
        regions => regions.to_vec(),
        offered => offered.unwrap_or_default(),
        environments => environments,
        scripts => scripts,
        style => minijinja::Value::from_safe_string(STYLE.to_owned()),
        at => seconds(*at),
    })
}

/// A name as one line; in Markdown without anything that would be markup. The HTML template escapes by itself.
fn plain(name: &str, format: Format) -> String {
    let line = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    match format {
        Format::Html => line.collect(),
        Format::Markdown => line.filter(|c| !"<>|`*_[]#\\".contains(*c)).collect(),
    }
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
