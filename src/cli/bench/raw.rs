//! The commits a second that the disk and SQLite give to anybody: one connection, one short row a transaction, a table of its
//! own in the same folder, the same settings. Measured beside the workloads, because machines are noisy.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{super::output::Failure, failed};

const TIME: Duration = Duration::from_secs(1);

/// # Errors
/// The file beside the database cannot be written.
pub async fn commits_per_second(database: &Path) -> Result<f64, Failure> {
    let path = database.with_extension("raw");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await.map_err(failed)?;
    let table = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, body TEXT)";
    sqlx::query(table).execute(&mut connection).await.map_err(failed)?;
    let begun = Instant::now();
    let mut commits = 0_u32;
    while begun.elapsed() < TIME {
        let insert = sqlx::query("INSERT INTO t (body) VALUES ('one row of a few bytes')");
        insert.execute(&mut connection).await.map_err(failed)?;
        commits += 1;
    }
    let rate = f64::from(commits) / begun.elapsed().as_secs_f64();
    connection.close().await.map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(rate)
}
