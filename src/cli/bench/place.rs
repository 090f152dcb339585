//! Where a repetition's database is made and taken away: a file, or a database of a PostgreSQL server.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use sqlx::{AssertSqlSafe, ConnectOptions as _, postgres::PgConnectOptions};

use super::{super::output::Failure, failed, house::Database};

pub struct Place {
    /// Of the bench's own database.
    pub url: String,
    kind: Kind,
}

enum Kind {
    File(PathBuf),
    Server { options: Box<PgConnectOptions>, name: String },
}

impl Place {
    /// # Errors
    /// Something is there already; a server cannot be reached.
    pub async fn new(url: &str) -> Result<Self, Failure> {
        match Database::of(url)? {
            Database::File(path) if path.exists() => {
                Err(Failure::Usage(format!("{} is there already: name a new file", path.display())))
            }
            Database::File(path) => Ok(Self { url: url.to_owned(), kind: Kind::File(path) }),
            Database::Server(url) => Self::on_server(&url).await,
        }
    }

    async fn on_server(url: &str) -> Result<Self, Failure> {
        let unreadable = |_| Failure::Usage("the database's URL cannot be read".to_owned());
        let options = PgConnectOptions::from_str(url).map_err(unreadable)?;
        let beside = options.get_database().unwrap_or(options.get_username());
        let name = format!("{}_bench", beside.replace('"', ""));
        let mut connection = options.connect().await.map_err(failed)?;
        let there = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&name);
        if there.fetch_optional(&mut connection).await.map_err(failed)?.is_some() {
            return Err(Failure::Usage(format!(
                "there is a database {name} already: drop it, or name another beside it"
            )));
        }
        // Everything but the name stays as it was given: the password too, which the environment of the parts carries.
        let (base, options_text) = url.split_once('?').map_or((url, None), |(base, rest)| (base, Some(rest)));
        let server =
            base.rsplit_once('/').filter(|(server, _)| !server.ends_with('/')).map_or(base, |(server, _)| server);
        let rest = options_text.map(|rest| format!("?{rest}")).unwrap_or_default();
        Ok(Self { url: format!("{server}/{name}{rest}"), kind: Kind::Server { options: Box::new(options), name } })
    }

    /// The database's file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File(path) => Some(path),
            Kind::Server { .. } => None,
        }
    }

    /// Where parts note their steps.
    pub fn step_log(&self) -> PathBuf {
        match &self.kind {
            Kind::File(path) => beside(path, ".steps"),
            Kind::Server { name, .. } => std::env::temp_dir().join(format!("{name}-{}.steps", std::process::id())),
        }
    }

    /// Takes away what the last part made, and makes room for the next.
    ///
    /// # Errors
    /// A file cannot be deleted; the server refused.
    pub async fn fresh(&self) -> Result<(), Failure> {
        self.clear().await?;
        match &self.kind {
            Kind::File(_) => Ok(()),
            Kind::Server { options, name } => say(options, format!("CREATE DATABASE \"{name}\"")).await,
        }
    }

    /// # Errors
    /// As for [`Place::fresh`].
    pub async fn clear(&self) -> Result<(), Failure> {
        match &self.kind {
            Kind::File(path) => clear_files(path),
            Kind::Server { options, name } => {
                say(options, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
            }
        }
    }

    /// Leaves the database as one is in which runs have waited for long: what the server does about new rows by itself is done.
    ///
    /// # Errors
    /// The server refused.
    pub async fn settle(&self) -> Result<(), Failure> {
        match &self.kind {
            Kind::File(_) => Ok(()),
            Kind::Server { options, name } => {
                let options = options.as_ref().clone().database(name);
                say(&options, "VACUUM (ANALYZE)".to_owned()).await?;
                say(&options, "CHECKPOINT".to_owned()).await
            }
        }
    }

    /// Bytes of the database, with the write-ahead log if it is a file's.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn bytes(&self) -> Result<u64, Failure> {
        match &self.kind {
            Kind::File(path) => {
                let size = |ending: &str| fs::metadata(beside(path, ending)).map_or(0, |file| file.len());
                Ok(size("") + size("-wal"))
            }
            Kind::Server { options, name } => {
                let mut connection = options.connect().await.map_err(failed)?;
                let size = sqlx::query_scalar::<_, i64>("SELECT pg_database_size($1)").bind(name);
                let size = size.fetch_one(&mut connection).await.map_err(failed)?;
                Ok(u64::try_from(size).unwrap_or(0))
            }
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn clear_files(path: &Path) -> Result<(), Failure> {
    for ending in ["", "-wal", "-shm"] {
        match fs::remove_file(beside(path, ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

async fn say(options: &PgConnectOptions, statement: String) -> Result<(), Failure> {
    let mut connection = options.connect().await.map_err(failed)?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.map(|_| ()).map_err(failed)
}
