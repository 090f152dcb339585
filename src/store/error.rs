//! What can go wrong in a store, with what the caller may do about it.

use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else moved the run: read it again and decide anew.
    #[error("run {run} stands at revision {found}, the turn was made for revision {expected}")]
    Conflict { run: String, expected: u64, found: u64 },
    /// The work is somebody else's or done: drop what was to be written.
    #[error(
        "the work of run {run}, frame {frame} is no longer held under fence {expected} (found {})",
        found.map_or_else(|| "none".to_owned(), |found| found.to_string())
    )]
    LeaseLost { run: String, frame: i64, expected: u64, found: Option<u64> },
    /// The same request with the same idempotency key has been done: it started or moved this run, if any.
    #[error("the idempotency key was used for this request before")]
    AlreadyStarted { run: String },
    /// Another request used the key.
    #[error("the idempotency key {key} was used for a different request: use a new key")]
    KeyReused { key: String },
    /// One run at a time changes an enterprise's systems.
    #[error("run {run} of enterprise {enterprise} is still open: wait for its end or cancel it")]
    ExclusiveOpen { enterprise: String, run: String },
    /// Somebody else wrote the record, or it is not there, or is there already: read it and decide anew.
    #[error("the record {key} of {enterprise}'s {collection} is not at version {expected}")]
    RecordChanged { enterprise: String, collection: String, key: String, expected: u64 },
    /// Somebody else changed the enterprise, or it is not there: read it and decide anew.
    #[error("enterprise {enterprise} is not at version {expected}: it has been changed since; look at it again")]
    EnterpriseChanged { enterprise: String, expected: u64 },
    #[error("there is no {what} {id}")]
    NotFound { what: &'static str, id: String },
    /// A row cannot be what keyferry wrote.
    #[error("the stored {what} cannot be read: {reason}")]
    Corrupt { what: String, reason: String },
    #[error("another process has the database {} open", path.display())]
    Locked { path: PathBuf },
    /// The database is not fit for use.
    #[error("the database {} cannot be used: {reason}", path.display())]
    Unfit { path: PathBuf, reason: String },
    /// Disk full, I/O error, connection lost: try again later, after reading.
    #[error("the store is unavailable: {reason}")]
    Unavailable { reason: String },
}

impl From<sqlx::Error> for StoreError {
    /// What trying again cannot change is damage; the rest is a store that may heal.
    fn from(error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        // PostgreSQL's, with what they mean to who runs the server.
        let cure = match code.as_deref() {
            Some("23505") => {
                "numbers are given out twice, because a sequence is behind its table: start keyferry again, which compares them and \
                 says what to do; nothing is damaged"
            }
            Some("42501") => "GRANT it to the role that keyferry connects as; when started, keyferry says how",
            Some("25006") => "the database is read-only: keyferry goes on as soon as it is not",
            Some("55P03") => {
                "another session holds a lock that requests wait for: SELECT * FROM pg_locks JOIN pg_stat_activity USING (pid)"
            }
            _ => "",
        };
        if !cure.is_empty() {
            return Self::Unavailable { reason: format!("{error}; {cure}") };
        }
        let lasting = match &error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound => true,
            sqlx::Error::Database(refused) => !matches!(refused.kind(), ErrorKind::Other),
            _ => false,
        };
        if lasting { Self::corrupt("row", error) } else { Self::Unavailable { reason: error.to_string() } }
    }
}

impl StoreError {
    pub(crate) fn corrupt(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }
}

/// What is said of tables that a migration has made which this program does not know.
pub(super) fn newer(version: i64) -> String {
    format!(
        "its tables were brought up to date by a newer keyferry (migration {version}), which this one cannot read: start that \
         version. The way back to this one is the backup from before the upgrade"
    )
}
