//! A database of the test's own on the server that `scripts/test` starts.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use sqlx::{Connection as _, PgConnection};

/// The URL of a database from which others may be made.
const VARIABLE: &str = "KEYFERRY_TEST_POSTGRES";

/// Dropped with this value.
pub(crate) struct Database {
    maintenance: String,
    name: String,
    url: String,
}

impl Database {
    /// `None`, said loudly, where there is no server; in CI that is a failure.
    pub(crate) async fn make() -> Option<Self> {
        Self::make_from("template1").await
    }

    /// A copy of another database, to which nobody may be connected.
    pub(crate) async fn make_from(template: &str) -> Option<Self> {
        let Ok(maintenance) = std::env::var(VARIABLE) else {
            assert!(std::env::var_os("CI").is_none(), "{VARIABLE} is not set: run the tests with scripts/test");
            eprintln!("SKIPPED: {VARIABLE} is not set, so there is no PostgreSQL; scripts/test brings it");
            return None;
        };
        let name = format!("keyferry_test_{:016x}", RandomState::new().build_hasher().finish());
        let (before, options) = maintenance.split_once('?').map_or((maintenance.as_str(), ""), |parts| parts);
        let server = before.rsplit_once('/').expect("a URL with a database").0;
        let url = if options.is_empty() { format!("{server}/{name}") } else { format!("{server}/{name}?{options}") };
        let database = Self { maintenance, name, url };
        database.run(&format!("CREATE DATABASE {{}} TEMPLATE {template}")).await;
        Some(database)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL, with another address.
    pub(crate) fn url_at(&self, port: u16) -> String {
        let (before, rest) = self.url.split_once('@').expect("a URL with a user");
        let (_, path) = rest.split_once('/').expect("a URL with a database");
        format!("{before}@127.0.0.1:{port}/{path}")
    }

    /// Host and port of the server.
    pub(crate) fn address(&self) -> String {
        let (_, rest) = self.url.split_once('@').expect("a URL with a user");
        rest.split_once('/').expect("a URL with a database").0.to_owned()
    }

    /// Runs a statement beside the database; `{}` is its name.
    pub(crate) async fn run(&self, statement: &str) {
        let mut connection = PgConnection::connect(&self.maintenance).await.expect("the server answers");
        let statement = sqlx::AssertSqlSafe(statement.replace("{}", &self.name));
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("the server does it");
        connection.close().await.expect("the server answers");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.drop_with("");
    }
}

impl Database {
    /// Drops it, and then a role, if it is named.
    pub(crate) fn drop_with(&self, role: &str) {
        let (maintenance, name, role) = (self.maintenance.clone(), self.name.clone(), role.to_owned());
        // The test's own runtime may be ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&maintenance).await.expect("the server answers");
                let statement = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                sqlx::raw_sql(statement).execute(&mut connection).await.expect("the database is dropped");
                if !role.is_empty() {
                    let statement = sqlx::AssertSqlSafe(format!("DROP ROLE {role}"));
                    sqlx::raw_sql(statement).execute(&mut connection).await.expect("the role is dropped");
                }
            });
        });
        assert!(dropping.join().is_ok() || std::thread::panicking(), "a test database was left");
    }
}
