//! Opening: what the server must be, where its installation is, the migrations.

use std::{
    path::PathBuf,
    str::FromStr as _,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{
    Inner, PostgresStore, ground,
    pool::in_time,
    session::{self, Session},
};
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
        let connect = async || {
            let mut made = in_time(options.connect()).await.map_err(|error| told(&options, &place, &error))?;
            let settings = sqlx::raw_sql(sqlx::AssertSqlSafe(session::settings())).execute(&mut made);
            in_time(settings).await.map_err(|error| refused(&place, error))?;
            Ok::<_, StoreError>(made)
        };
        let (one, mut connection) = (connect().await?, connect().await?);
        check_sessions(one, &mut connection).await?.map_err(unfit)?;
        check_server(&mut connection).await?.map_err(unfit)?;
        session::check(&mut connection).await?.map_err(unfit)?;
        let (schema, begun) = ground::schema(&mut connection).await?.map_err(unfit)?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(session::pin(&schema))).execute(&mut connection).await?;
        if begun {
            ground::privileges(&mut connection, &schema).await?.map_err(unfit)?;
        }
        bring_up_to_date(&mut connection).await?.map_err(unfit)?;
        ground::privileges(&mut connection, &schema).await?.map_err(unfit)?;
        ground::sequences(&mut connection, &schema).await?.map_err(unfit)?;
        let installation = sqlx::query_scalar("SELECT id FROM installation").persistent(false);
        let session = Session { schema, installation: installation.fetch_one(&mut connection).await? };
        // No error of a goodbye changes what was found.
        let _: Result<(), sqlx::Error> = connection.close().await;
        Ok(Self::start(Inner::new(place, options, session)))
    }
}

/// Makes the tables, or what is new in them. Who is not their owner needs no more than that they are as this version has them.
async fn bring_up_to_date(connection: &mut PgConnection) -> Result<Verdict, StoreError> {
    let made = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version",
    );
    match made.persistent(false).fetch_all(&mut *connection).await {
        Ok(made)
            if made
                .iter()
                .map(|(version, sum)| (*version, &sum[..]))
                .eq(MIGRATIONS.iter().map(|one| (one.version, &*one.checksum))) =>
        {
            return Ok(Ok(()));
        }
        Ok(_) => {}
        Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01")) => {}
        Err(error) => return Err(error.into()),
    }
    sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0").execute(&mut *connection).await?;
    Ok(MIGRATIONS.run(connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => newer(version),
        other => ground::not_owner(&other).unwrap_or_else(|| other.to_string()),
    }))
}

/// Why a session may not have its settings: some are for superusers alone to give.
fn refused(place: &str, error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) if error.code().as_deref() == Some("42501") => StoreError::Unfit {
            path: PathBuf::from(place),
            reason: format!(
                "{error}: the role or the database has a setting that keyferry cannot work with and may not change. With \
                 session_replication_role = replica triggers do not run: ALTER ROLE … RESET session_replication_role, and the same \
                 of the database"
            ),
        },
        error => error.into(),
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

pub(super) async fn shown(connection: &mut PgConnection, setting: &str) -> Result<String, sqlx::Error> {
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
    for setting in ["fsync", "full_page_writes"] {
        let found = shown(connection, setting).await?;
        if found != "on" {
            return Ok(Err(format!(
                "{setting} is {found}: what is acknowledged would be lost with the server; set it to on"
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
