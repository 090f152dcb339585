//! One batch, one transaction, a fixed number of statements: each takes its rows as arrays, one a column.
//!
//! The check locks what the batch will write, runs first and in the order of their numbers, so nothing of it changes between the
//! check and the writes; those carry their fences all the same, and a count that is not what the check promised takes everything
//! back.

use std::borrow::Cow;

use fail::fail_point;
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgArguments, query::Query};

use super::{
    PostgresStore,
    pool::{Ended, PATIENCE, Setback},
    sql,
    text::kept,
};
use crate::store::{
    Say, StoreError, Write,
    batch::{Asked, Found, Holding, Outcomes, Rows, Stand, WorkRow, plan},
    row::{Stored, number},
};

/// What a batch left, and how to find out whether it is there.
pub(super) struct Left {
    outcomes: Outcomes,
    /// There may be work for others.
    wakes: bool,
    /// Somebody has work now.
    leases: bool,
    proof: Proof,
}

/// By what a transaction is known afterwards.
#[derive(Debug, Clone, Default)]
struct Proof {
    transaction: i64,
    /// A row of history that it wrote: run, revision and hash, which nobody else can have written.
    row: Option<(i64, i64, Vec<u8>)>,
}

impl PostgresStore {
    /// Commits a batch and, when the answer to that is lost, finds out what became of it.
    pub(super) async fn commit_batch(&self, batch: std::sync::Arc<[Write]>) -> Result<Outcomes, StoreError> {
        let renews = |write: &Write| matches!(write, Write::Word(word) if matches!(word.say, Say::Renew { .. }));
        let pool = if batch.iter().all(renews) { &self.inner.renewals } else { &self.inner.writes };
        let ended = pool
            .transact("BEGIN", move |connection| {
                let batch = std::sync::Arc::clone(&batch);
                Box::pin(async move { commit(connection, &batch).await })
            })
            .await?;
        let left = match ended {
            Ended::Committed(left) => left,
            Ended::Unanswered(left, error) => {
                if !self.is_there(&left.proof).await? {
                    return Err(error);
                }
                tracing::info!(%error, "a commit that was not answered was found to be done");
                left
            }
        };
        if left.leases {
            self.inner.leased.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        if left.wakes {
            self.hint();
        }
        Ok(left.outcomes)
    }

    /// Whether a transaction whose COMMIT was not answered is durable, once the server has made an end of it.
    ///
    /// # Errors
    /// It could not be found out: what was to be written may or may not be there.
    async fn is_there(&self, proof: &Proof) -> Result<bool, StoreError> {
        let patience = tokio::time::timeout(PATIENCE * 2, async {
            loop {
                match self.fate(proof.clone()).await {
                    Ok(Some(is_there)) => return is_there,
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "what became of a commit cannot be asked yet"),
                }
                super::pause(std::time::Duration::from_millis(100)).await;
            }
        });
        patience.await.map_err(|_| StoreError::Unavailable {
            reason: "a commit was not answered, and what became of it cannot be found out".to_owned(),
        })
    }

    /// `None` as long as the transaction has no end.
    async fn fate(&self, proof: Proof) -> Result<Option<bool>, StoreError> {
        let wanted = proof.row.as_ref().map(|(_, _, hash)| hash.clone());
        let asked = self
            .look(move |connection| {
                let proof = proof.clone();
                Box::pin(async move {
                    let (run, revision) = proof.row.map(|(run, revision, _)| (run, revision)).unzip();
                    let query = sqlx::query(sql::FATE).bind(proof.transaction).bind(run).bind(revision);
                    let row = query.fetch_one(connection).await?;
                    let status: Option<String> = row.try_get("status")?;
                    let hash: Option<Vec<u8>> = row.try_get("hash")?;
                    Ok((status, hash))
                })
            })
            .await;
        let (status, hash) = match asked {
            Ok(found) => found,
            // A server that has not come as far as that number took the transaction from nobody: a standby that was promoted.
            Err(StoreError::Unavailable { reason }) if reason.contains("in the future") => return Ok(Some(false)),
            Err(error) => return Err(error),
        };
        Ok(match status.as_deref() {
            Some("in progress") => None,
            // The row is the truth where there is one: a number of the server's may have been given again by its successor.
            Some(status) => Some(wanted.map_or(status == "committed", |wanted| hash == Some(wanted))),
            None => Some(wanted.is_some_and(|wanted| hash == Some(wanted))),
        })
    }
}

async fn commit(connection: &mut PgConnection, batch: &[Write]) -> Result<Left, Setback> {
    let (mut found, transaction) = look(connection, &Asked::of(batch)).await?;
    let plan = plan(batch, &mut found)?;
    let rows = &plan.rows;
    // Words come first: a turn of the same batch may replace the work that they are about.
    write_words(connection, rows).await?;
    fail_point!("commit::inside");
    write_turns(connection, rows).await?;
    let free = |row: &WorkRow<'_>| row.owner.is_none() && row.due_at.is_some_and(|due_at| due_at <= row.since);
    let wakes = rows.work.iter().any(free)
        || !rows.signals.is_empty()
        || !rows.ended.is_empty()
        || rows.hold.iter().any(|(_, held)| !held)
        || rows.words.iter().any(|word| word.free && !word.progressed);
    let row = rows.history.first().map(|row| (row.n, row.seq, row.hash.0.clone()));
    let leases = rows.work.iter().any(|row| row.owner.is_some());
    Ok(Left { outcomes: plan.outcomes, wakes, leases, proof: Proof { transaction, row } })
}

fn all_kept<'a>(texts: &[&'a str]) -> Vec<Cow<'a, str>> {
    texts.iter().copied().map(kept).collect()
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

async fn fetch(connection: &mut PgConnection, query: Statement<'_>) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
    query.fetch_all(connection).await
}

async fn look(connection: &mut PgConnection, asked: &Asked<'_>) -> Result<(Found, i64), Setback> {
    let mut found = Found::default();
    let mut transaction = 0;
    if !asked.runs.is_empty() {
        let query = sqlx::query(sql::CHECK_RUNS).bind(all_kept(&asked.runs)).bind(all_kept(&asked.parents));
        for row in fetch(connection, query).await? {
            transaction = row.int("xact")?;
            let revision = number(&row, "revision")?;
            let stand = Stand { n: row.int("n")?, revision, status: row.text("status")?, head: row.bytes("head")? };
            found.runs.insert(row.plain("run")?, stand);
        }
    }
    if !asked.held.is_empty() {
        let (runs, frames): (Vec<&str>, Vec<i64>) = asked.held.iter().copied().unzip();
        let query = sqlx::query(sql::CHECK_WORK).bind(all_kept(&runs)).bind(frames);
        for row in fetch(connection, query).await? {
            transaction = row.int("xact")?;
            let (visit, fence) = (number(&row, "visit")?, number(&row, "fence")?);
            let key = (row.plain("run")?, row.int("frame")?);
            found.held.insert(key, Holding { n: row.int("n")?, visit, fence });
        }
    }
    if asked.new == 0 {
        return Ok((found, transaction));
    }
    if !asked.keys.is_empty() {
        for row in fetch(connection, sqlx::query(sql::CHECK_KEYS).bind(all_kept(&asked.keys))).await? {
            found.keys.insert(row.plain("key")?, (row.text("request")?, row.plain("run")?));
        }
    }
    if !asked.exclusive.is_empty() {
        for row in fetch(connection, sqlx::query(sql::EXCLUSIVE_OPEN).bind(all_kept(&asked.exclusive))).await? {
            found.exclusive.insert(row.plain("enterprise")?, row.plain("run")?);
        }
    }
    for row in fetch(connection, sqlx::query(sql::ENTERPRISES_KNOWN).bind(all_kept(&asked.enterprises))).await? {
        found.enterprises.insert(row.plain("id")?);
    }
    let many = i64::try_from(asked.new).unwrap_or(i64::MAX);
    for row in fetch(connection, sqlx::query(sql::LAST_RUN).bind(many)).await? {
        transaction = row.int("xact")?;
        found.numbers.push(row.int("n")?);
    }
    found.numbers.sort_unstable_by(|one, next| next.cmp(one));
    Ok((found, transaction))
}

/// A column of rows.
fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

async fn write_words(connection: &mut PgConnection, rows: &Rows<'_>) -> Result<(), Setback> {
    let words = &rows.words;
    if !words.is_empty() {
        let query = sqlx::query(sql::UPDATE_WORK)
            .bind(column(words, |row| row.n))
            .bind(column(words, |row| row.frame))
            .bind(column(words, |row| row.visit))
            .bind(column(words, |row| row.fence))
            .bind(column(words, |row| row.due_at))
            .bind(column(words, |row| row.free))
            .bind(column(words, |row| row.lease_until))
            .bind(column(words, |row| row.checkpoint.as_deref()))
            .bind(column(words, |row| row.waiting_for.map(kept)))
            .bind(column(words, |row| row.progressed));
        promised("pieces of work", query.execute(&mut *connection).await?.rows_affected(), words.len())?;
    }
    pairs(connection, sql::DELETE_WORK, &rows.dropped).await
}

/// What the check locked cannot have changed since.
fn promised(what: &str, written: u64, wanted: usize) -> Result<(), StoreError> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == written) {
        return Ok(());
    }
    Err(StoreError::corrupt("batch", format!("{written} of {wanted} {what} stood where the check saw them")))
}

async fn pairs(connection: &mut PgConnection, statement: &'static str, rows: &[(i64, i64)]) -> Result<(), Setback> {
    if !rows.is_empty() {
        let query = sqlx::query(statement).bind(column(rows, |row| row.0)).bind(column(rows, |row| row.1));
        query.execute(connection).await?;
    }
    Ok(())
}

async fn write_turns(connection: &mut PgConnection, rows: &Rows<'_>) -> Result<(), Setback> {
    write_runs(connection, rows).await?;
    write_frames(connection, rows).await?;
    pairs(connection, sql::DELETE_WORK, &rows.no_work).await?;
    if !rows.ended.is_empty() {
        sqlx::query(sql::DELETE_WORK_OF_RUNS).bind(&rows.ended).execute(&mut *connection).await?;
    }
    if !rows.hold.is_empty() {
        let query =
            sqlx::query(sql::HOLD_WORK).bind(column(&rows.hold, |row| row.0)).bind(column(&rows.hold, |row| row.1));
        query.execute(&mut *connection).await?;
    }
    write_work(connection, &rows.work).await?;
    if !rows.signals.is_empty() {
        let query = sqlx::query(sql::SIGNAL_CHILDREN)
            .bind(column(&rows.signals, |row| kept(row.parent)))
            .bind(column(&rows.signals, |row| row.frame))
            .bind(column(&rows.signals, |row| row.visit))
            .bind(column(&rows.signals, |row| row.word))
            .bind(column(&rows.signals, |row| row.input.as_str()))
            .bind(column(&rows.signals, |row| row.at))
            .bind(column(&rows.signals, |row| row.fence));
        query.execute(&mut *connection).await?;
    }
    pairs(connection, sql::WAKE_PARENTS, &rows.ended_at).await?;
    write_rest(connection, rows).await
}

async fn write_runs(connection: &mut PgConnection, rows: &Rows<'_>) -> Result<(), Setback> {
    if !rows.blobs.is_empty() {
        let query = sqlx::query(sql::INSERT_PAYLOADS)
            .bind(column(&rows.blobs, |row| row.hash))
            .bind(column(&rows.blobs, |row| row.body));
        query.execute(&mut *connection).await?;
    }
    if !rows.new.is_empty() {
        let new = &rows.new;
        let query = sqlx::query(sql::INSERT_RUNS)
            .bind(column(new, |row| row.n))
            .bind(column(new, |row| kept(row.id)))
            .bind(column(new, |row| kept(row.enterprise)))
            .bind(column(new, |row| kept(row.workflow)))
            .bind(column(new, |row| row.definition))
            .bind(column(new, |row| row.parent.map(kept)))
            .bind(column(new, |row| row.parent_frame))
            .bind(column(new, |row| row.parent_visit))
            .bind(column(new, |row| row.exclusive))
            .bind(column(new, |row| row.revision))
            .bind(column(new, |row| row.status))
            .bind(column(new, |row| row.ended_at))
            .bind(column(new, |row| row.head.0.as_slice()))
            .bind(column(new, |row| row.state));
        query.execute(&mut *connection).await?;
    }
    if !rows.old.is_empty() {
        let old = &rows.old;
        let query = sqlx::query(sql::UPDATE_RUNS)
            .bind(column(old, |row| row.n))
            .bind(column(old, |row| row.expected))
            .bind(column(old, |row| row.revision))
            .bind(column(old, |row| row.head.0.as_slice()))
            .bind(column(old, |row| row.state));
        promised("runs", query.execute(&mut *connection).await?.rows_affected(), old.len())?;
    }
    if !rows.status.is_empty() {
        let query = sqlx::query(sql::UPDATE_STATUS)
            .bind(column(&rows.status, |row| row.n))
            .bind(column(&rows.status, |row| row.status))
            .bind(column(&rows.status, |row| row.ended_at));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_frames(connection: &mut PgConnection, rows: &Rows<'_>) -> Result<(), Setback> {
    if !rows.frames.is_empty() {
        let query = sqlx::query(sql::UPSERT_FRAMES)
            .bind(column(&rows.frames, |row| row.n))
            .bind(column(&rows.frames, |row| row.frame))
            .bind(column(&rows.frames, |row| row.revision))
            .bind(column(&rows.frames, |row| row.body));
        query.execute(&mut *connection).await?;
    }
    pairs(connection, sql::DELETE_FRAMES, &rows.no_frames).await?;
    if !rows.history.is_empty() {
        let query = sqlx::query(sql::INSERT_HISTORY)
            .bind(column(&rows.history, |row| row.n))
            .bind(column(&rows.history, |row| row.seq))
            .bind(column(&rows.history, |row| row.hash.0.as_slice()))
            .bind(column(&rows.history, |row| row.event))
            .bind(column(&rows.history, |row| row.entered));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_work(connection: &mut PgConnection, work: &[WorkRow<'_>]) -> Result<(), Setback> {
    if work.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(sql::UPSERT_WORK)
        .bind(column(work, |row| row.n))
        .bind(column(work, |row| row.frame))
        .bind(column(work, |row| row.visit))
        .bind(column(work, |row| row.kind))
        .bind(column(work, |row| kept(row.name)))
        .bind(column(work, |row| row.input))
        .bind(column(work, |row| row.due_at))
        .bind(column(work, |row| row.held))
        .bind(column(work, |row| row.fence))
        .bind(column(work, |row| row.attempt))
        .bind(column(work, |row| row.timeout_s))
        .bind(column(work, |row| row.heartbeat_s))
        .bind(column(work, |row| row.deadline))
        .bind(column(work, |row| row.owner.map(kept)))
        .bind(column(work, |row| row.lease_until))
        .bind(column(work, |row| row.since));
    query.execute(connection).await?;
    Ok(())
}

async fn write_rest(connection: &mut PgConnection, rows: &Rows<'_>) -> Result<(), Setback> {
    if !rows.outbox.is_empty() {
        let query = sqlx::query(sql::INSERT_OUTBOX)
            .bind(column(&rows.outbox, |row| row.n))
            .bind(column(&rows.outbox, |row| row.at))
            .bind(column(&rows.outbox, |row| row.notice));
        query.execute(&mut *connection).await?;
    }
    if !rows.records.is_empty() {
        let query = sqlx::query(sql::UPSERT_RECORDS)
            .bind(column(&rows.records, |row| kept(row.enterprise)))
            .bind(column(&rows.records, |row| kept(row.collection)))
            .bind(column(&rows.records, |row| kept(row.key)))
            .bind(column(&rows.records, |row| kept(row.run)))
            .bind(column(&rows.records, |row| row.at))
            .bind(column(&rows.records, |row| row.body.as_str()))
            .bind(column(&rows.records, |row| row.versions));
        query.execute(&mut *connection).await?;
    }
    if !rows.keys.is_empty() {
        let query = sqlx::query(sql::INSERT_KEYS)
            .bind(column(&rows.keys, |row| kept(row.key)))
            .bind(column(&rows.keys, |row| row.request))
            .bind(column(&rows.keys, |row| kept(row.run)));
        query.execute(connection).await?;
    }
    Ok(())
}
