//! `keyferry serve`: worker, mail and the operators' API in one process.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::{
    Common,
    app::{App, AppOptions, Cloud, Listeners},
    output::{Failure, Output, print_each, say},
    sandbox::listen,
    signals,
};

#[derive(Debug, clap::Args)]
pub struct Command {
    /// Where the operators' API listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Where the customers' API listens, which faces the internet; without it, and without customer.listen in the
    /// configuration, it is served where the operators' API is
    #[arg(long, value_name = "ADDR")]
    customer_listen: Option<String>,
    /// Where everything is kept: database, sandbox, token, mail
    #[arg(long, value_name = "DIR", default_value = "keyferry-data", conflicts_with = "database")]
    data_dir: PathBuf,
    /// The database as a URL, sqlite:DIR/keyferry.db; everything else is kept beside it
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// What stands behind the AWS SDK
    #[arg(long, value_enum, default_value_t)]
    aws: Cloud,
    /// How many of the sandbox's seconds pass in one of the wall's
    #[arg(long, value_name = "N")]
    speed: Option<f64>,
    /// Lets boto3, the AWS CLI and others reach the sandbox
    #[arg(long, value_name = "ADDR")]
    sandbox_listen: Option<String>,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        if self.aws == Cloud::Live && (self.sandbox_listen.is_some() || self.speed.is_some()) {
            return Err(Failure::Usage("--sandbox-listen and --speed belong to --aws sandbox".to_owned()));
        }
        let data_dir = match &self.database {
            Some(url) => data_dir_of(url)?,
            None => self.data_dir,
        };
        let options = AppOptions { config: common.load_config()?, data_dir, cloud: self.aws, speed: self.speed };
        let customer = self.customer_listen.or_else(|| options.config.customer.listen.clone());
        let token_file = options.data_dir.join("admin-token");
        let app = App::open(options).await?;
        let api = listen(&self.listen).await?;
        let customer = match &customer {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let sandbox = match &self.sandbox_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let shutdown = signals::shutdown()?;
        let listeners = Listeners { api: Some(api), customer, sandbox };
        announce(common, &listeners, &token_file)?;
        app.run(listeners, shutdown).await?;
        say("ended in order");
        Ok(ExitCode::SUCCESS)
    }
}

fn announce(common: &Common, listeners: &Listeners, token_file: &std::path::Path) -> Result<(), Failure> {
    let address = |listener: &Option<tokio::net::TcpListener>| {
        let bound = listener.as_ref().map(|listener| listener.local_addr().map(|address| address.to_string()));
        bound.transpose().map_err(|error| Failure::from_error(&error))
    };
    let api = address(&listeners.api)?;
    let customer = address(&listeners.customer)?;
    let sandbox = address(&listeners.sandbox)?;
    if let Some(api) = &api {
        say(&format!("keyferry listens on http://{api} (token in {})", token_file.display()));
    }
    if let Some(customer) = &customer {
        say(&format!("the customers' API listens on http://{customer}"));
    }
    if let Some(sandbox) = &sandbox {
        say(&format!("the sandbox listens on http://{sandbox}"));
    }
    if common.output == Output::Json {
        let said = json!({
            "listening": api, "customer": customer, "sandbox": sandbox,
            "token_file": token_file.display().to_string(),
        });
        print_each(Output::Json, &said, String::new)?;
    }
    Ok(())
}

/// The directory of a SQLite URL; its file has the one name that keyferry uses.
fn data_dir_of(url: &str) -> Result<PathBuf, Failure> {
    let path = match url.split_once(':') {
        Some(("sqlite", rest)) => PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)),
        Some(("postgres" | "postgresql", _)) => {
            return Err(Failure::Usage(
                "--database: PostgreSQL is not supported by this version; use sqlite:DIR/keyferry.db or --data-dir DIR"
                    .to_owned(),
            ));
        }
        _ => return Err(Failure::Usage(format!("--database: `{url}` is not a URL such as sqlite:DIR/keyferry.db"))),
    };
    match (path.file_name().and_then(|name| name.to_str()), path.parent()) {
        (Some("keyferry.db"), Some(parent)) if parent.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        (Some("keyferry.db"), Some(parent)) => Ok(parent.to_owned()),
        _ => Err(Failure::Usage(format!("--database: the file in `{url}` must be called keyferry.db"))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_sqlite_url_names_the_data_directory() {
        let of = |url| data_dir_of(url).expect("a directory");
        assert_eq!(of("sqlite:/var/lib/keyferry/keyferry.db"), Path::new("/var/lib/keyferry"));
        assert_eq!(of("sqlite:///var/lib/keyferry/keyferry.db"), Path::new("/var/lib/keyferry"));
        assert_eq!(of("sqlite://keyferry.db"), Path::new("."));
    }

    #[test]
    fn other_databases_are_refused_with_what_to_do() {
        for (url, said) in [
            ("postgres://user:secret@host/db", "PostgreSQL is not supported"),
            ("mysql://host/db", "is not a URL such as"),
            ("sqlite:other.db", "must be called keyferry.db"),
        ] {
            let Err(Failure::Usage(reason)) = data_dir_of(url) else { panic!("{url} was taken") };
            assert!(reason.contains(said), "{reason}");
            assert!(url.starts_with("mysql") || !reason.contains("secret"), "{reason}");
        }
    }
}
