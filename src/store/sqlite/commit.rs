//! One batch, one transaction, a fixed number of statements: each takes its rows as one JSON array.
//!
//! A batch of runs that this process has just moved is one command from BEGIN to COMMIT: it is judged by memory, and guards
//! among its statements fail the transaction unless the database agrees. Any other batch, and one whose guards failed, is
//! checked first against what is there. The transaction has the write lock from its beginning, so nothing changes between the
//! check and the writes; those carry their fences all the same.

use std::sync::Arc;

use fail::fail_point;
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, sql, together::Together};
use crate::store::{
    Claim, Outcomes, StoreError, Write,
    batch::{self, Asked, Found, Holding, Rows, Stand, plan},
    known::{Lesson, lesson},
    row::number,
};

impl SqliteStore {
    pub(super) async fn commit_batch(&self, batch: Arc<[Write]>) -> Outcomes {
        match self.commit_by_memory(&batch, None).await? {
            Some(_) => Ok(batch.iter().map(|_| Ok(())).collect()),
            None => self.commit_by_look(batch).await,
        }
    }

    /// Both in one transaction if memory is enough to judge the batch by, or one after the other.
    pub(super) async fn commit_batch_and_claim(
        &self,
        batch: Arc<[Write]>,
        claim: Claim,
    ) -> (Outcomes, Result<Vec<SqliteRow>, StoreError>) {
        match self.commit_by_memory(&batch, Some(&claim)).await {
            Ok(Some(rows)) => (Ok(batch.iter().map(|_| Ok(())).collect()), Ok(rows)),
            Ok(None) => (self.commit_by_look(batch).await, self.claim_alone(&claim).await),
            Err(error) => (Err(error), self.claim_alone(&claim).await),
        }
    }

    pub(super) async fn claim_alone(&self, claim: &Claim) -> Result<Vec<SqliteRow>, StoreError> {
        self.may_write()?;
        let mut command = Together::default();
        command.say("BEGIN IMMEDIATE");
        command.claim(claim)?;
        command.say("COMMIT");
        Self::lend(&self.inner.writer, |connection| Box::pin(command.run(connection))).await
    }

    /// The rows of the claim, when the batch is durable; `None` when memory was not enough, and nothing is written.
    async fn commit_by_memory(
        &self,
        batch: &[Write],
        claim: Option<&Claim>,
    ) -> Result<Option<Vec<SqliteRow>>, StoreError> {
        self.may_write()?;
        let Some((commands, lesson)) = self.by_memory(batch, claim)? else { return Ok(None) };
        match Self::lend(&self.inner.writer, |connection| Box::pin(run(connection, commands))).await {
            Ok(mut rows) => {
                self.inner.known.learn(lesson);
                // A guard's row is one word.
                rows.retain(|row| row.len() > 1);
                Ok(Some(rows))
            }
            Err(error) => {
                // Whatever it was, the look at the database tells it again, and tells it apart for each write.
                tracing::debug!(%error, "a batch that was judged by memory is judged again");
                Ok(None)
            }
        }
    }

    async fn commit_by_look(&self, batch: Arc<[Write]>) -> Outcomes {
        let looked =
            self.write(move |connection| Box::pin(async move { look_and_commit(connection, &batch).await })).await;
        match looked {
            Ok((outcomes, lesson)) => {
                self.inner.known.learn(lesson);
                Ok(outcomes)
            }
            Err(error) => {
                self.inner.known.forget();
                Err(error)
            }
        }
    }

    /// The whole transaction, if memory and fences that hold are enough to judge the batch by.
    fn by_memory(&self, batch: &[Write], claim: Option<&Claim>) -> Result<Option<(Vec<Together>, Lesson)>, StoreError> {
        let Some((mut found, claims)) = self.inner.known.found(batch) else { return Ok(None) };
        let plan = plan(batch, &mut found)?;
        if plan.outcomes.iter().any(Result::is_err) {
            return Ok(None);
        }
        let mut commands = Vec::new();
        let mut command = Together::default();
        command.say("BEGIN IMMEDIATE");
        if !claims.is_empty() {
            command.put(sql::GUARD_WORK, &claims)?;
            command.count(claims.len())?;
        }
        words(&mut command, &plan.rows)?;
        if cfg!(feature = "failpoints") {
            // Here a test lets the process die: inside of the transaction, which is one command otherwise.
            commands.push(std::mem::take(&mut command));
        }
        turns(&mut command, &plan.rows)?;
        if let Some(claim) = claim {
            command.claim(claim)?;
        }
        command.say("COMMIT");
        commands.push(command);
        Ok(Some((commands, lesson(batch, &plan, &found))))
    }
}

async fn run(connection: &mut SqliteConnection, commands: Vec<Together>) -> Result<Vec<SqliteRow>, StoreError> {
    let mut rows = Vec::new();
    for (number, command) in commands.into_iter().enumerate() {
        if number > 0 {
            fail_point!("commit::inside");
        }
        rows.extend(command.run(connection).await?);
    }
    Ok(rows)
}

async fn look_and_commit(
    connection: &mut SqliteConnection,
    batch: &[Write],
) -> Result<(batch::Outcomes, Lesson), StoreError> {
    let mut found = look(connection, &Asked::of(batch)).await?;
    let plan = plan(batch, &mut found)?;
    let mut command = Together::default();
    words(&mut command, &plan.rows)?;
    command.run(connection).await?;
    fail_point!("commit::inside");
    let mut command = Together::default();
    turns(&mut command, &plan.rows)?;
    command.run(connection).await?;
    let lesson = lesson(batch, &plan, &found);
    Ok((plan.outcomes, lesson))
}

async fn fetch<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut command = Together::default();
    command.put(statement, rows)?;
    command.run(connection).await
}

async fn look(connection: &mut SqliteConnection, asked: &Asked<'_>) -> Result<Found, StoreError> {
    let mut found = Found::default();
    for row in fetch(connection, sql::CHECK_RUNS, &asked.runs).await? {
        let revision = number(&row, "revision")?;
        let (status, head) = (row.try_get("status")?, row.try_get("head")?);
        let stand = Stand { n: row.try_get("n")?, revision, status, head, is_child: row.try_get("is_child")? };
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

/// What workers say of what they hold. It comes first: a turn of the same batch may replace the work that it is about.
fn words(command: &mut Together, rows: &Rows<'_>) -> Result<(), StoreError> {
    command.put(sql::UPDATE_WORK, &rows.words)?;
    command.put(sql::DELETE_WORK, &rows.dropped)
}

fn turns(command: &mut Together, rows: &Rows<'_>) -> Result<(), StoreError> {
    command.put(sql::INSERT_PAYLOADS, &rows.blobs)?;
    // Before the runs that begin: one of them may take the exclusive place of one that ends.
    command.put(sql::UPDATE_STATUS, &rows.status)?;
    command.put(sql::INSERT_RUNS, &rows.new)?;
    if !rows.old.is_empty() {
        command.put(sql::UPDATE_RUNS, &rows.old)?;
        command.say(sql::GUARD_CHANGES);
        command.count(rows.old.len())?;
    }
    command.put(sql::UPSERT_FRAMES, &rows.frames)?;
    command.put(sql::DELETE_FRAMES, &rows.no_frames)?;
    command.put(sql::INSERT_HISTORY, &rows.history)?;
    command.put(sql::DELETE_WORK, &rows.no_work)?;
    command.put(sql::DELETE_WORK_OF_RUNS, &rows.ended)?;
    command.put(sql::HOLD_WORK, &rows.hold)?;
    command.put(sql::UPSERT_WORK, &rows.work)?;
    command.put(sql::SIGNAL_CHILDREN, &rows.signals)?;
    command.put(sql::WAKE_PARENTS, &rows.ended_at)?;
    command.put(sql::WITHDRAW_NOTICES, &rows.withdrawn)?;
    command.put(sql::WITHDRAW_LETTERS, &rows.withdrawn)?;
    command.put(sql::INSERT_OUTBOX, &rows.outbox)?;
    command.put(sql::UPSERT_RECORDS, &rows.records)?;
    command.put(sql::INSERT_KEYS, &rows.keys)
}
