//! Opening: what the server must be, the session's settings and their check, the migrations.

use std::{
    path::PathBuf,
    str::FromStr as _,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Inner, PostgresStore, pool::in_time};
use crate::store::{StoreError, error::newer};

/// Server versions that are known to do: `server_version_num`.
const OLDEST: i64 = 140_000;
/// A lock that is a session's own: its name is the number of the server's process, beside one for what it is.
const TAKE: &str = "SELECT pg_backend_pid() AS session, pg_advisory_lock(1801812326, pg_backend_pid())";
/// Finds the lock of the session whose number follows.
const LOCKED: &str = "SELECT pid = pg_backend_pid() AS own FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 1801812326 \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objid = pid AND pid =";
/// How long a server may take to see that a connection has gone.
const GOODBYE: Duration = Duration::from_secs(5);
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
    /// URL's `sslmode`; only `verify-full` (with `sslrootcert` for an authority that is not a public one) proves the server.
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
        let unfit = |reason: String| StoreError::Unfit { path: PathBuf::from(&place), reason };
        let connect = async || in_time(options.connect()).await.map_err(|error| told(&options, &place, &error));
        let (one, mut connection) = (connect().await?, connect().await?);
        check_sessions(one, &mut connection).await?.map_err(unfit)?;
        check_server(&mut connection).await?.map_err(unfit)?;
        sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0").execute(&mut connection).await?;
        MIGRATIONS.run(&mut connection).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => unfit(newer(version)),
            other => unfit(other.to_string()),
        })?;
        settle(&mut connection).await?;
        check_settings(&mut connection).await?.map_err(unfit)?;
        // No error of a goodbye changes what was found.
        let _: Result<(), sqlx::Error> = connection.close().await;
        Ok(Self::start(Inner::new(place, options)))
    }
}

/// Why a server cannot be reached, with what to do where its certificate is the reason: that passes by no waiting.
fn told(options: &PgConnectOptions, place: &str, error: &sqlx::Error) -> StoreError {
    let said = error.to_string();
    let is_file = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let cure = match error {
        sqlx::Error::Io(error) if is_file(error) && options.get_socket().is_none() => {
            "a file that the URL names is not there: look at sslrootcert, sslcert and sslkey"
        }
        sqlx::Error::Tls(_) if said.contains("does not support TLS") => {
            "switch TLS on at the server (ssl = on, with ssl_cert_file and ssl_key_file)"
        }
        _ if said.contains("UnknownIssuer") => {
            "who signed the server's certificate is not known here: name that authority's certificate with \
             sslrootcert=FILE in the URL, or find out who answers there"
        }
        _ if said.contains("not valid for name") => {
            "name the server by a host name that its certificate is for, or find out who answers there"
        }
        _ if said.contains("invalid peer certificate") => "the server needs another certificate",
        _ => return StoreError::Unavailable { reason: format!("{place}: {said}") },
    };
    StoreError::Unfit { path: PathBuf::from(place), reason: format!("{said}; {cure}") }
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

/// Whether what a connection has locked is its own, for as long as it is there and no longer: processes are known to be alive by
/// that, and LISTEN and prepared statements need it too. A pooler in transaction mode gives the session that one connection has
/// left to the next that asks, and keeps it when the connection has gone. All of it is said as plain text, which such a pooler
/// takes.
async fn check_sessions(mut one: PgConnection, other: &mut PgConnection) -> Result<Verdict, StoreError> {
    let row = in_time(sqlx::raw_sql(TAKE).fetch_one(&mut one)).await?;
    let session: i32 = row.try_get("session")?;
    let shared = "a pooler in front of it does not keep a session for each connection (pgbouncer's pool_mode = transaction or \
                  statement): use pool_mode = session, or the server's own address";
    let beside = in_time(sqlx::raw_sql("SELECT pg_backend_pid() AS session").fetch_one(&mut *other)).await?;
    if beside.try_get::<i32, _>("session")? == session || locked(&mut one, session).await? != Some(true) {
        return Ok(Err(shared.to_owned()));
    }
    in_time(one.close()).await?;
    let gone = Instant::now();
    while locked(other, session).await?.is_some() {
        if gone.elapsed() > GOODBYE {
            return Ok(Err(format!(
                "what a connection had locked was still locked {} seconds after its end: {shared}, with \
                 server_reset_query = DISCARD ALL",
                GOODBYE.as_secs()
            )));
        }
        super::pause(Duration::from_millis(2)).await;
    }
    Ok(Ok(()))
}

/// Whether that session still has its lock, and is the one that answers; `None` if nobody has the lock.
async fn locked(connection: &mut PgConnection, session: i32) -> Result<Option<bool>, sqlx::Error> {
    let text = sqlx::AssertSqlSafe(format!("{LOCKED} {session}"));
    let row = in_time(sqlx::raw_sql(text).fetch_optional(connection)).await?;
    row.map(|row| row.try_get("own")).transpose()
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
    fn a_url_is_named_without_its_password() {
        let options = parse("postgres://keyferry:sesame@db.example:5433/fleet?sslmode=verify-full").unwrap();
        assert_eq!(place(&options), "postgres://db.example:5433/fleet");
        assert!(is_remote(&options));
        assert!(!is_remote(&parse("postgres://127.0.0.1/fleet").unwrap()));
        let error = parse("postgres://keyferry:sesame@db.example:port/fleet").unwrap_err().to_string();
        assert!(!error.contains("sesame"), "{error}");
    }
}
