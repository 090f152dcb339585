//! One batch, one transaction, a fixed number of statements: each takes its rows as one JSON array.
//!
//! First the batch is checked against what is there. The transaction has the write lock from its beginning, so nothing changes
//! between the check and the writes; those carry their fences all the same, and a count that is not what the check promised
//! takes everything back.

use fail::fail_point;
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::sql;
use crate::store::{
    StoreError, Write,
    batch::{Asked, Found, Holding, Outcomes, Rows, Stand, plan},
    row::number,
};

pub(super) async fn commit(connection: &mut SqliteConnection, batch: &[Write]) -> Result<Outcomes, StoreError> {
    let mut found = look(connection, &Asked::of(batch)).await?;
    let plan = plan(batch, &mut found)?;
    // Words come first: a turn of the same batch may replace the work that they are about.
    put(connection, sql::UPDATE_WORK, &plan.rows.words).await?;
    put(connection, sql::DELETE_WORK, &plan.rows.dropped).await?;
    fail_point!("commit::inside");
    write_turns(connection, &plan.rows).await?;
    Ok(plan.outcomes)
}

fn texts<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| StoreError::corrupt("batch", error))
}

async fn fetch<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<Vec<SqliteRow>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query(statement).bind(texts(rows)?).fetch_all(connection).await?)
}

/// Runs a statement over rows, if there are any, and returns how many it wrote.
async fn put<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<u64, StoreError> {
    if rows.is_empty() {
        return Ok(0);
    }
    Ok(sqlx::query(statement).bind(texts(rows)?).execute(connection).await?.rows_affected())
}

async fn look(connection: &mut SqliteConnection, asked: &Asked<'_>) -> Result<Found, StoreError> {
    let mut found = Found::default();
    for row in fetch(connection, sql::CHECK_RUNS, &asked.runs).await? {
        let revision = number(&row, "revision")?;
        let stand =
            Stand { n: row.try_get("n")?, revision, status: row.try_get("status")?, head: row.try_get("head")? };
        found.runs.insert(row.try_get("run")?, stand);
    }
    for row in fetch(connection, sql::CHECK_WORK, &asked.held).await? {
        let key = (row.try_get("run")?, row.try_get("frame")?);
        let (visit, fence) = (number(&row, "visit")?, number(&row, "fence")?);
        found.held.insert(key, Holding { n: row.try_get("n")?, visit, fence });
    }
    for row in fetch(connection, sql::CHECK_KEYS, &asked.keys).await? {
        found.keys.insert(row.try_get("key")?, (row.try_get("request")?, row.try_get("run")?));
    }
    for row in fetch(connection, sql::EXCLUSIVE_OPEN, &asked.exclusive).await? {
        found.exclusive.insert(row.try_get("enterprise")?, row.try_get("run")?);
    }
    for row in fetch(connection, sql::ENTERPRISES_KNOWN, &asked.enterprises).await? {
        found.enterprises.insert(row.try_get("id")?);
    }
    if asked.new > 0 {
        let last: i64 = sqlx::query_scalar(sql::LAST_RUN).fetch_one(connection).await?;
        found.numbers.extend((last + 1..).take(asked.new));
        found.numbers.reverse();
    }
    Ok(found)
}

async fn write_turns(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Result<(), StoreError> {
    put(connection, sql::INSERT_PAYLOADS, &rows.blobs).await?;
    put(connection, sql::INSERT_RUNS, &rows.new).await?;
    let updated = put(connection, sql::UPDATE_RUNS, &rows.old).await?;
    if updated != u64::try_from(rows.old.len()).unwrap_or(u64::MAX) {
        return Err(StoreError::corrupt(
            "batch",
            format!("{updated} of {} runs stood where the check saw them", rows.old.len()),
        ));
    }
    put(connection, sql::UPDATE_STATUS, &rows.status).await?;
    put(connection, sql::UPSERT_FRAMES, &rows.frames).await?;
    put(connection, sql::DELETE_FRAMES, &rows.no_frames).await?;
    put(connection, sql::INSERT_HISTORY, &rows.history).await?;
    put(connection, sql::DELETE_WORK, &rows.no_work).await?;
    put(connection, sql::DELETE_WORK_OF_RUNS, &rows.ended).await?;
    put(connection, sql::HOLD_WORK, &rows.hold).await?;
    put(connection, sql::UPSERT_WORK, &rows.work).await?;
    put(connection, sql::SIGNAL_CHILDREN, &rows.signals).await?;
    put(connection, sql::WAKE_PARENTS, &rows.ended_at).await?;
    put(connection, sql::INSERT_OUTBOX, &rows.outbox).await?;
    put(connection, sql::UPSERT_RECORDS, &rows.records).await?;
    put(connection, sql::INSERT_KEYS, &rows.keys).await?;
    Ok(())
}
