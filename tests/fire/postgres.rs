//! A PostgreSQL server of a test's own, which it may treat as it likes.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use crate::support::required;

pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    pub port: u16,
}

/// The server refuses to run as root: then it runs as `postgres`.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.starts_with(b"0\n")
}

impl Postgres {
    /// `None`, said loudly, where there are no programs of PostgreSQL; in CI that is a failure.
    pub fn start() -> Option<Self> {
        let programs = PathBuf::from(required("KEYFERRY_TEST_POSTGRES_BIN", "PostgreSQL to start and kill")?);
        let folder = tempfile::tempdir().expect("a folder");
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status().expect("chown runs");
            assert!(owned.success());
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port").port();
        let server = Self { folder, programs, port };
        let made = unprivileged(&server.programs.join("initdb"))
            .args(["-U", "keyferry", "-A", "trust", "-E", "UTF8", "--no-locale", "-D"])
            .arg(server.data())
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        server.control("start");
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn control(&self, verb: &str) {
        let settings = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200 -c fsync=on",
            self.port
        );
        let mut command = unprivileged(&self.programs.join("pg_ctl"));
        command.arg("-D").arg(self.data()).arg("-l").arg(self.folder.path().join("log"));
        command.args(["-w", "-t", "60", "-m", "immediate", "-o", &settings, verb]);
        // The server keeps what it is given for as long as it lives.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().expect("pg_ctl runs").success(), "pg_ctl {verb}");
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
