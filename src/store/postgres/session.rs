//! A connection's session: the settings that keyferry relies on, whatever the role, the database or the server has for them, and the
//! installation that it has to reach.
//!
//! Settings are given by statement and not in the startup packet, which poolers do not pass on.

use sqlx::{PgConnection, Row as _};

use super::pool::Setback;
use crate::store::StoreError;

/// Each statement of keyferry's touches few rows of tables that grow: the planner is told to go by indexes whatever its
/// statistics say, and to plan a statement once.
const SETTINGS: &[(&str, &str)] = &[
    ("statement_timeout", "10s"),
    ("lock_timeout", "3s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("idle_session_timeout", "0"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
    ("client_min_messages", "warning"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("bytea_output", "hex"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("row_security", "on"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_indexscan", "on"),
    ("enable_indexonlyscan", "on"),
    ("enable_bitmapscan", "on"),
    ("enable_nestloop", "on"),
    ("enable_sort", "on"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
/// Those that not everybody may set, or not every server knows: said only where they have to be.
///
/// What is acknowledged must be durable; triggers keep history append-only, and a session in the role of a replica skips them.
const WHERE_NEEDED: &str = "\
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');\
    SELECT set_config('session_replication_role', 'origin', false) WHERE current_setting('session_replication_role') <> 'origin';\
    SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) <> '0';";
/// Those that are read back. The others are left to what the system offers: a Unix socket has no keepalive.
const READ_BACK: &[(&str, &[&str])] = &[
    ("statement_timeout", &["10s"]),
    ("lock_timeout", &["3s"]),
    ("idle_in_transaction_session_timeout", &["15s"]),
    ("synchronous_commit", &["on", "remote_write", "remote_apply"]),
    ("session_replication_role", &["origin"]),
];

/// What every session of a process has to be.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Where the installation's tables are; nothing else is looked for anywhere else.
    pub(super) schema: String,
    /// The installation's id.
    pub(super) installation: String,
}

/// A name as SQL takes it, whatever it has in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statements that give a session its settings, but for where the tables are.
pub(super) fn settings() -> String {
    let all: String = SETTINGS.iter().map(|(name, value)| format!("SET {name} = '{value}';")).collect();
    format!("{all}{WHERE_NEEDED}")
}

/// The statement by which a session looks for tables in a schema and nowhere else.
pub(super) fn pin(schema: &str) -> String {
    format!("SET search_path = {};", quoted(schema))
}

impl Session {
    /// Gives a connection its settings, and sees that it reaches the installation that it has to.
    pub(super) async fn settle(&self, connection: &mut PgConnection) -> Result<(), Setback> {
        let all = settings() + &pin(&self.schema);
        sqlx::raw_sql(sqlx::AssertSqlSafe(all)).execute(&mut *connection).await?;
        let found = sqlx::raw_sql("SELECT id FROM installation").fetch_optional(connection).await;
        let found = match found {
            Ok(row) => row.map(|row| row.try_get::<String, _>("id")).transpose()?,
            // There is no such table where this connection leads.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => None,
            Err(error) => return Err(error.into()),
        };
        if found.as_ref() == Some(&self.installation) {
            return Ok(());
        }
        let what = if found.is_some() { "another installation" } else { "no installation" };
        let reason = format!(
            "a new connection reaches {what} of keyferry, and not the one that this process was started on (schema {}): \
             nothing is written there. Look where the server's address leads, or restart keyferry",
            self.schema
        );
        Err(StoreError::Unavailable { reason }.into())
    }
}

/// What a session's settings are that must be what was said, or what else they are.
pub(super) async fn check(connection: &mut PgConnection) -> Result<Result<(), String>, sqlx::Error> {
    for (name, wanted) in READ_BACK {
        let found = super::open::shown(connection, name).await?;
        if !wanted.contains(&found.as_str()) {
            return Ok(Err(format!("{name} is {found} and would not become {}", wanted.join(" or "))));
        }
    }
    Ok(Ok(()))
}
