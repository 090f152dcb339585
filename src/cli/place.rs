//! Where a process keeps things and what it works on: what `serve` and `worker` are told alike.

use std::path::PathBuf;

use super::{
    Common,
    app::{AppOptions, Cloud, TestEnvironment},
    output::Failure,
};

/// Where everything is kept when nobody says.
pub const DATA_DIR: &str = "keyferry-data";

#[derive(Debug, clap::Args)]
pub struct Place {
    /// Where everything is kept: database, sandbox, token, mail; with PostgreSQL, everything else [default: keyferry-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The database: postgres://USER@HOST/NAME, which many processes may share, or sqlite:DIR/keyferry.db, with everything else
    /// kept beside it
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database: Option<String>,
    /// Begin with an empty database although a keyferry has worked in the data directory before
    #[arg(long)]
    new: bool,
    /// What stands behind the AWS SDK
    #[arg(long, value_enum, default_value_t)]
    aws: Cloud,
    /// A sandbox that runs elsewhere (keyferry sandbox --listen), which several processes can share
    #[arg(long, value_name = "URL")]
    sandbox_url: Option<String>,
    /// How many of the sandbox's seconds pass in one of the wall's
    #[arg(long, value_name = "N")]
    speed: Option<f64>,
}

impl Place {
    /// # Errors
    /// Options that do not go together, or a database that is none.
    pub fn options(self, common: &Common, customers: Option<TestEnvironment>) -> Result<AppOptions, Failure> {
        if self.aws == Cloud::Live && (self.speed.is_some() || self.sandbox_url.is_some()) {
            return Err(Failure::Usage("--speed and --sandbox-url belong to --aws sandbox".to_owned()));
        }
        let chosen = self.data_dir.clone();
        let or_default = chosen.unwrap_or_else(|| PathBuf::from(DATA_DIR));
        let (data_dir, database) = match self.database {
            None => (or_default, None),
            Some(url) if is_postgres(&url) => (or_default, Some(url)),
            Some(url) => {
                let beside = data_dir_of(&url)?;
                if self.data_dir.is_some_and(|chosen| chosen != beside) {
                    let reason = "--database: a SQLite file is kept in its data directory; leave --data-dir out";
                    return Err(Failure::Usage(reason.to_owned()));
                }
                (beside, None)
            }
        };
        let config = common.load_config()?;
        let (cloud, sandbox_url) = (self.aws, self.sandbox_url);
        Ok(AppOptions { config, data_dir, database, cloud, customers, sandbox_url, speed: self.speed, new: self.new })
    }

    pub fn is_live(&self) -> bool {
        self.aws == Cloud::Live
    }

    /// Whether the sandbox is this process's own.
    pub fn is_elsewhere(&self) -> bool {
        self.sandbox_url.is_some()
    }
}

fn is_postgres(url: &str) -> bool {
    matches!(url.split_once(':'), Some(("postgres" | "postgresql", _)))
}

/// The directory of a SQLite URL; its file has the one name that keyferry uses.
fn data_dir_of(url: &str) -> Result<PathBuf, Failure> {
    let Some(("sqlite", rest)) = url.split_once(':') else {
        // It may hold a password.
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        return Err(Failure::Usage(format!(
            "--database: `{scheme}:…` is not a URL such as postgres://USER@HOST/NAME or sqlite:DIR/keyferry.db"
        )));
    };
    let path = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
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
    fn other_databases_are_refused_with_what_to_do_and_without_their_password() {
        for (url, said) in [
            ("mysql://user:secret@host/db", "is not a URL such as postgres://"),
            ("sqlite:other.db", "must be called keyferry.db"),
        ] {
            let Err(Failure::Usage(reason)) = data_dir_of(url) else { panic!("{url} was taken") };
            assert!(reason.contains(said), "{reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert!(is_postgres("postgres://user:secret@host/db") && is_postgres("postgresql:///db"));
    }
}
