//! Opening: what the server must be, the session's settings and their check, the migrations.

use std::{path::PathBuf, str::FromStr as _};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Inner, PostgresStore};
use crate::store::StoreError;

/// Server versions that are known to do: `server_version_num`.
const OLDEST: i64 = 140_000;
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// Each statement of keyferry's touches few rows of tables that grow: the planner is told to go by indexes whatever its
/// statistics say, and to plan a statement once.
const SETTINGS: &[(&str, &str)] = &[
    ("statement_timeout", "10s"),
    ("lock_timeout", "3s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
    ("client_min_messages", "warning"),
    ("default_transaction_isolation", "read committed"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
/// Those that are read back. The others are left to what the system offers: a Unix socket has no keepalive.
const READ_BACK: &[&str] = &["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];

/// Gives a session its settings. By statement and not in the startup packet, which poolers do not pass on.
pub(super) async fn settle(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let all: String = SETTINGS.iter().map(|(name, value)| format!("SET {name} = '{value}';")).collect();
    sqlx::raw_sql(sqlx::AssertSqlSafe(all)).execute(connection).await?;
    Ok(())
}

/// What a URL names, without its password.
pub(crate) fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(folder) => format!("postgres://{}/{database}", folder.display()),
        None => format!("postgres://{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// Whether what travels to the server leaves this machine.
fn is_remote(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let here = host.starts_with('/') || host == "localhost" || host == "::1" || host.starts_with("127.");
    options.get_socket().is_none() && !here
}

impl PostgresStore {
    /// Opens the database that a `postgres://` URL names and brings its tables up to date. How far TLS is asked for is the
    /// URL's `sslmode`; only `verify-full` (with `sslrootcert` where the system does not know the authority) proves the server.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] when the URL cannot be read, or the server is too old, a standby, not durable or behind a pooler
    /// that does not keep sessions; [`StoreError::Unavailable`] when it cannot be reached.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = parse(url)?;
        let place = place(&options);
        if is_remote(&options) && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            tracing::warn!(
                database = %place,
                "the connection to the database does not prove whom it reaches: add sslmode=verify-full to its URL"
            );
        }
        let unreachable = |error: sqlx::Error| {
            let reason = format!("{place}: {error}");
            StoreError::Unavailable { reason }
        };
        let mut connection = options.connect().await.map_err(unreachable)?;
        let unfit = |reason: String| StoreError::Unfit { path: PathBuf::from(&place), reason };
        check_server(&mut connection).await?.map_err(unfit)?;
        let mut other = options.connect().await.map_err(unreachable)?;
        check_sessions(&mut connection, &mut other).await?.map_err(unfit)?;
        // No error of a goodbye changes what was found.
        drop(other);
        sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0").execute(&mut connection).await?;
        MIGRATIONS.run(&mut connection).await.map_err(|error| unfit(error.to_string()))?;
        settle(&mut connection).await?;
        check_settings(&mut connection).await?.map_err(unfit)?;
        let _: Result<(), sqlx::Error> = connection.close().await;
        Ok(Self::start(Inner::new(place, options)))
    }
}

/// Reads a URL; the error does not repeat it, for it may hold a password.
fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::Unfit {
        path: PathBuf::from("postgres://…"),
        reason: format!("its URL cannot be read: {error}"),
    })?;
    Ok(options
        .application_name("keyferry")
        .extra_float_digits(None)
        .statement_cache_capacity(128)
        .disable_statement_logging())
}

type Verdict = Result<(), String>;

async fn shown(connection: &mut PgConnection, setting: &str) -> Result<String, sqlx::Error> {
    let found: String =
        sqlx::query_scalar("SELECT current_setting($1)").bind(setting).persistent(false).fetch_one(connection).await?;
    Ok(found)
}

/// What no setting of ours can give: the version, and that what is acknowledged is durable.
async fn check_server(connection: &mut PgConnection) -> Result<Verdict, StoreError> {
    let version = shown(connection, "server_version_num").await?;
    if version.parse::<i64>().map_or(true, |version| version < OLDEST) {
        let version = shown(connection, "server_version").await?;
        return Ok(Err(format!("PostgreSQL is {version}, keyferry needs 14 or later")));
    }
    let encoding = shown(connection, "server_encoding").await?;
    if encoding != "UTF8" {
        return Ok(Err(format!("its encoding is {encoding}: make the database with ENCODING 'UTF8'")));
    }
    let standby: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").persistent(false).fetch_one(&mut *connection).await?;
    if standby {
        return Ok(Err("the server is a standby and cannot be written to: name the primary".to_owned()));
    }
    for (setting, good) in [
        ("fsync", &["on"][..]),
        ("full_page_writes", &["on"]),
        ("synchronous_commit", &["on", "remote_write", "remote_apply"]),
    ] {
        let found = shown(connection, setting).await?;
        if !good.contains(&found.as_str()) {
            return Ok(Err(format!(
                "{setting} is {found}: what is acknowledged would be lost with the server; set it to {}",
                good.join(" or ")
            )));
        }
    }
    Ok(Ok(()))
}

/// Whether each connection is a session of its own. A pooler in transaction mode gives the session that one connection has left
/// to the next that asks: leases of presence, LISTEN and prepared statements would be somebody else's.
async fn check_sessions(one: &mut PgConnection, other: &mut PgConnection) -> Result<Verdict, StoreError> {
    async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
        let rows = sqlx::raw_sql("SELECT pg_backend_pid() AS pid").fetch_one(connection).await?;
        rows.try_get("pid")
    }
    let before = process(one).await?;
    sqlx::raw_sql("BEGIN").execute(&mut *other).await?;
    let beside = process(other).await?;
    let after = process(one).await?;
    sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
    Ok(if is_one_session_each(before, beside, after) {
        Ok(())
    } else {
        Err("a pooler in front of it does not keep a session for each connection (pgbouncer's transaction mode): \
             use session mode, or the server's own address"
            .to_owned())
    })
}

/// From the server's processes that answered one connection, then another that stays in a transaction, then the first again.
fn is_one_session_each(before: i32, beside: i32, after: i32) -> bool {
    before == after && before != beside
}

async fn check_settings(connection: &mut PgConnection) -> Result<Verdict, StoreError> {
    for (name, wanted) in SETTINGS.iter().filter(|(name, _)| READ_BACK.contains(name)) {
        let found = shown(connection, name).await?;
        if found != *wanted {
            return Ok(Err(format!("{name} is {found} and would not become {wanted}")));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_moves_or_is_shared_is_seen() {
        assert!(is_one_session_each(1, 2, 1));
        assert!(!is_one_session_each(1, 1, 2), "the other got what the first had left");
        assert!(!is_one_session_each(1, 3, 2), "the first got another");
    }

    #[test]
    fn a_url_is_named_without_its_password() {
        let options = parse("postgres://keyferry:sesame@db.example:5433/fleet?sslmode=verify-full").unwrap();
        assert_eq!(place(&options), "postgres://db.example:5433/fleet");
        assert!(is_remote(&options));
        assert!(!is_remote(&parse("postgres://127.0.0.1/fleet").unwrap()));
        let error = parse("postgres://keyferry:sesame@db.example:port/fleet").unwrap_err().to_string();
        assert!(!error.contains("sesame"), "{error}");
    }
}
