//! One batch, one transaction, a fixed number of statements.
//!
//! A batch of runs that this process has just moved is one statement: it is judged by memory, and proves as it writes that the
//! database agrees. Any other batch, one whose proof failed and one whose answer was lost is checked first. The check locks what
//! the batch will write, runs first and in the order of their numbers, so nothing of it changes between the check and the writes;
//! those carry their proofs all the same.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use fail::fail_point;
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgArguments, query::Query};

use super::{
    PostgresStore,
    parts::{self, all_kept},
    pool::{Ended, PATIENCE, Setback},
    sql,
    together::{Together, is_disproof},
};
use crate::store::{
    Say, StoreError, Write,
    batch::{Asked, Found, Holding, Outcomes, Plan, Rows, Stand, WorkRow, plan},
    known::{Lesson, lesson},
    row::{Stored, number},
};

/// What a batch left, and how to find out whether it is there.
pub(super) struct Left {
    outcomes: Outcomes,
    follows: Follows,
    lesson: Lesson,
    proof: Proof,
}

/// What a batch that is durable means for others.
#[derive(Debug, Clone, Copy)]
struct Follows {
    /// There may be work for others.
    wakes: bool,
    /// Somebody has work now.
    leases: bool,
}

impl Follows {
    fn of(rows: &Rows<'_>) -> Self {
        let free = |row: &WorkRow<'_>| row.owner.is_none() && row.due_at.is_some_and(|due_at| due_at <= row.since);
        let wakes = rows.work.iter().any(free)
            || !rows.signals.is_empty()
            || !rows.ended_at.is_empty()
            || rows.hold.iter().any(|(_, held)| !held)
            || rows.words.iter().any(|word| word.free && !word.progressed);
        Self { wakes, leases: rows.work.iter().any(|row| row.owner.is_some()) }
    }
}

/// A row of history that a batch writes: run, revision and hash, which nobody else can have written.
type Mark = (i64, i64, Vec<u8>);

fn mark(plan: &Plan<'_>) -> Option<Mark> {
    plan.rows.history.first().map(|row| (row.n, row.seq, row.hash.0.clone()))
}

/// By what a transaction is known afterwards.
#[derive(Debug, Clone, Default)]
struct Proof {
    transaction: i64,
    mark: Option<Mark>,
}

/// How a batch that was one statement ended.
enum AtOnce {
    Done,
    /// Nothing is written.
    Refused,
    /// It may be done.
    Unanswered(Mark),
}

impl PostgresStore {
    /// Commits a batch and, when the answer to that is lost, finds out what became of it.
    pub(super) async fn commit_batch(&self, batch: Arc<[Write]>) -> Result<Outcomes, StoreError> {
        let done = || batch.iter().map(|_| Ok(())).collect();
        match self.commit_by_memory(&batch).await? {
            AtOnce::Done => Ok(done()),
            AtOnce::Refused => self.commit_by_look(batch).await,
            AtOnce::Unanswered(mark) => {
                // The look waits for the locks of whatever is still under way, and no statement that comes later finds the runs
                // where it expects them: what is said now is final.
                let outcomes = self.commit_by_look(Arc::clone(&batch)).await?;
                if outcomes.iter().all(Result::is_ok) || !self.is_marked(mark).await? {
                    return Ok(outcomes);
                }
                tracing::info!("a commit that was not answered was found to be done");
                Ok(done())
            }
        }
    }

    async fn commit_by_memory(&self, batch: &[Write]) -> Result<AtOnce, StoreError> {
        // Words alone leave no row of history, by which a lost answer could be settled.
        if !batch.iter().any(|write| matches!(write, Write::Turns(_))) {
            return Ok(AtOnce::Refused);
        }
        let Some((mut found, claims)) = self.inner.known.found(batch) else { return Ok(AtOnce::Refused) };
        let plan = plan(batch, &mut found)?;
        let Some(mark) = mark(&plan).filter(|_| plan.outcomes.iter().all(Result::is_ok)) else {
            return Ok(AtOnce::Refused);
        };
        let Some(statement) = parts::whole(&plan.rows, &found, &claims)? else { return Ok(AtOnce::Refused) };
        let follows = Follows::of(&plan.rows);
        let lesson = lesson(batch, &plan, &found);
        let statement = Mutex::new(Some(statement));
        let asked = self.inner.writes.ask(false, move |connection| {
            let statement = statement.lock().unwrap_or_else(PoisonError::into_inner).take();
            Box::pin(async move { statement.unwrap_or_default().run(connection).await })
        });
        match asked.await {
            Ok(()) => {
                self.inner.known.learn(lesson);
                self.follow(follows);
                Ok(AtOnce::Done)
            }
            Err(setback) if setback.is_cut() => {
                tracing::debug!(error = %StoreError::from(setback), "a commit was not answered");
                Ok(AtOnce::Unanswered(mark))
            }
            Err(setback) => {
                // Whatever it was, the look at the database tells it again, and tells it apart for each write.
                tracing::debug!(error = %StoreError::from(setback), "a batch that was judged by memory is judged again");
                Ok(AtOnce::Refused)
            }
        }
    }

    async fn commit_by_look(&self, batch: Arc<[Write]>) -> Result<Outcomes, StoreError> {
        let looked = self.look_and_commit(batch).await;
        match looked {
            Ok(left) => {
                self.inner.known.learn(left.lesson);
                self.follow(left.follows);
                Ok(left.outcomes)
            }
            Err(error) => {
                self.inner.known.forget();
                Err(error)
            }
        }
    }

    async fn look_and_commit(&self, batch: Arc<[Write]>) -> Result<Left, StoreError> {
        let renews = |write: &Write| matches!(write, Write::Word(word) if matches!(word.say, Say::Renew { .. }));
        let pool = if batch.iter().all(renews) { &self.inner.renewals } else { &self.inner.writes };
        let ended = pool.transact("BEGIN", move |connection| {
            let batch = Arc::clone(&batch);
            Box::pin(async move { commit(connection, &batch).await })
        });
        match ended.await? {
            Ended::Committed(left) => Ok(left),
            Ended::Unanswered(left, error) => {
                if !self.is_there(&left.proof).await? {
                    return Err(error);
                }
                tracing::info!(%error, "a commit that was not answered was found to be done");
                Ok(left)
            }
        }
    }

    fn follow(&self, follows: Follows) {
        if follows.leases {
            self.inner.leased.store(true, Ordering::Relaxed);
        }
        if follows.wakes {
            self.hint();
        }
    }

    /// Whether a row of history is there.
    async fn is_marked(&self, (run, revision, hash): Mark) -> Result<bool, StoreError> {
        let found = self.look(move |connection| {
            let query = sqlx::query(sql::MARK).bind(run).bind(revision);
            Box::pin(async move { Ok(query.fetch_optional(connection).await?) })
        });
        let row = found.await?;
        Ok(row.map(|row| row.bytes("hash")).transpose()? == Some(hash))
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
        let wanted = proof.mark.as_ref().map(|(_, _, hash)| hash.clone());
        let asked = self
            .look(move |connection| {
                let proof = proof.clone();
                Box::pin(async move {
                    let (run, revision) = proof.mark.map(|(run, revision, _)| (run, revision)).unzip();
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
    write(connection, &plan.rows, &found).await.map_err(|setback| {
        let broken = || StoreError::corrupt("batch", "a row that was locked does not stand where the check saw it");
        if is_disproof(&setback) { Setback::Store(broken()) } else { setback }
    })?;
    let (follows, lesson) = (Follows::of(&plan.rows), lesson(batch, &plan, &found));
    let proof = Proof { transaction, mark: mark(&plan) };
    Ok(Left { outcomes: plan.outcomes, follows, lesson, proof })
}

/// Rows that several of these write are written by a statement after the other.
async fn write(connection: &mut PgConnection, rows: &Rows<'_>, found: &Found) -> Result<(), Setback> {
    // Words come first: a turn of the same batch may replace the work that they are about.
    stage(connection, |to| {
        parts::words(to, rows)?;
        parts::no_work(to, &rows.dropped)
    })
    .await?;
    fail_point!("commit::inside");
    stage(connection, |to| {
        parts::no_work(to, &rows.no_work)?;
        parts::no_work_of(to, &rows.ended, &rows.no_work)
    })
    .await?;
    stage(connection, |to| parts::hold(to, rows)).await?;
    let hand_over = rows.hand_over();
    if hand_over {
        // The parts of one statement have no order, and the place that one run leaves is taken by another.
        stage(connection, |to| parts::moved_runs(to, rows, found)).await?;
    }
    stage(connection, |to| {
        parts::runs(to, rows, found, !hand_over)?;
        parts::work(to, &rows.work)
    })
    .await?;
    for round in parts::rounds(rows) {
        stage(connection, |to| parts::signals(to, &round)).await?;
    }
    stage(connection, |to| parts::parents(to, rows)).await
}

/// One statement of the parts that `fill` binds.
async fn stage(connection: &mut PgConnection, fill: impl FnOnce(&mut Together) -> parts::Bound) -> Result<(), Setback> {
    let mut together = Together::default();
    fill(&mut together)?;
    together.run(connection).await
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
            let (status, head) = (row.text("status")?, row.bytes("head")?);
            let stand = Stand { n: row.int("n")?, revision, status, head, is_child: row.flag("is_child")? };
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
    if !asked.keys.is_empty() {
        for row in fetch(connection, sqlx::query(sql::CHECK_KEYS).bind(all_kept(&asked.keys))).await? {
            found.keys.insert(row.plain("key")?, (row.text("request")?, row.plain("run")?));
        }
    }
    if asked.new == 0 {
        return Ok((found, transaction));
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
