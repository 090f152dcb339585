//! PostgreSQL: a server of a test's own, which it may treat as it likes, and a database of its own on the server that all share.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use super::required;

pub struct Postgres {
    folder: TempDir,
    logs: TempDir,
    programs: PathBuf,
    pub port: u16,
}

/// A program that refuses to run as root: then it runs as `postgres`.
pub fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.starts_with(b"0\n")
}

/// Lets [`unprivileged`] programs write there.
pub fn hand_over(path: &Path) {
    if is_root() {
        let owned = Command::new("chown").arg("postgres").arg(path).status().expect("chown runs");
        assert!(owned.success());
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port").port()
}

impl Postgres {
    /// `None`, said loudly, where there are no programs of PostgreSQL; in CI that is a failure.
    pub fn start() -> Option<Self> {
        let server = Self::make(tempfile::tempdir().expect("a folder"), "")?;
        server.control("start");
        Some(server)
    }

    /// A server in `folder`, with these lines in its configuration; it does not run yet. `None` as for [`Self::start`].
    pub fn make(folder: TempDir, settings: &str) -> Option<Self> {
        let programs = PathBuf::from(required("KEYFERRY_TEST_POSTGRES_BIN", "PostgreSQL to start and kill")?);
        let logs = tempfile::tempdir().expect("a folder");
        [&folder, &logs].into_iter().for_each(|folder| hand_over(folder.path()));
        let server = Self { folder, logs, programs, port: free_port() };
        let made = unprivileged(&server.programs.join("initdb"))
            .args(["-U", "keyferry", "-A", "trust", "-E", "UTF8", "--no-locale", "--wal-segsize=1", "-D"])
            .arg(server.data())
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        let mut file =
            File::options().append(true).open(server.data().join("postgresql.conf")).expect("a configuration");
        file.write_all(settings.as_bytes()).expect("written");
        Some(server)
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.logs.path().join("log")).unwrap_or_default()
    }

    fn control(&self, verb: &str) {
        assert!(self.tries(verb), "pg_ctl {verb}: {}", self.log());
    }

    /// Starts it, or does what else `pg_ctl` can; whether that came to its end.
    pub fn tries(&self, verb: &str) -> bool {
        let settings = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200 -c fsync=on",
            self.port
        );
        let mut command = unprivileged(&self.programs.join("pg_ctl"));
        command.arg("-D").arg(self.data()).arg("-l").arg(self.logs.path().join("log"));
        command.args(["-w", "-t", "60", "-m", "immediate", "-o", &settings, verb]);
        // The server keeps what it is given for as long as it lives.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("pg_ctl runs").success()
    }

    /// Kills the server as a power cut does, and starts it again: it recovers from its log.
    pub fn restart(&self) {
        self.control("restart");
    }

    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://keyferry@127.0.0.1:{port}/postgres")
    }

    /// A connection that may write whatever the database's own settings say.
    pub async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url_at(self.port).parse().expect("a URL");
        let options = options.options([("default_transaction_read_only", "off")]);
        PgConnection::connect_with(&options).await.expect("the server answers")
    }

    pub async fn run(&self, statement: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.expect("done");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut command = unprivileged(&self.programs.join("pg_ctl"));
        command.arg("-D").arg(self.data()).args(["-m", "immediate", "-w", "stop"]);
        // A test that has failed may have left none.
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A database on the server that `scripts/test` starts, dropped with the value.
pub struct Database {
    /// The URL of another database of that server.
    pub maintenance: String,
    pub name: String,
    pub url: String,
}

impl Database {
    /// `None`, said loudly, where there is no server; in CI that is a failure.
    pub async fn make() -> Option<Self> {
        let maintenance = required("KEYFERRY_TEST_POSTGRES", "PostgreSQL")?;
        let name = format!("keyferry_suite_{:016x}", RandomState::new().build_hasher().finish());
        let url = format!("{}/{name}", maintenance.rsplit_once('/').expect("a URL with a database").0);
        let database = Self { maintenance, name, url };
        run(&database.maintenance, format!("CREATE DATABASE {}", database.name)).await;
        Some(database)
    }
}

async fn run(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("done");
}

impl Drop for Database {
    fn drop(&mut self) {
        let (maintenance, name) = (self.maintenance.clone(), self.name.clone());
        // The test's own runtime may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&maintenance, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        assert!(dropping.join().is_ok() || std::thread::panicking(), "a test database was left");
    }
}
