mod files;
mod power;

use sqlx::{Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::store::{Claim, Store, conformance};

async fn fresh() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap();
    conformance::prepare(&store).await;
    (folder, store)
}

impl SqliteStore {
    /// Makes the store a black hole for writes until what is returned is dropped.
    pub(crate) async fn hold_writer(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        self.inner.writer.pool.acquire().await.unwrap()
    }

    /// Makes the disk full: no page beyond those there are and some more.
    pub(crate) async fn limit_pages(&self, more: Option<i64>) {
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&self.inner.writer.pool).await.unwrap();
        let limit = more.map_or(1_000_000, |more| pages + more);
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {limit}"));
        sqlx::query(statement).execute(&self.inner.writer.pool).await.unwrap();
    }
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (_folder, store) = fresh().await;
                conformance::$name(&store).await;
            }
        )*
    };
}

conformance::laws!(conforms);

#[tokio::test]
async fn every_statement_prepares() {
    let (_folder, store) = fresh().await;
    assert_eq!(sql::ALL.len(), std::fs::read_dir("src/store/sqlite/queries").unwrap().count());
    for (name, statement) in sql::ALL {
        use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
        let mut connection = store.inner.writer.pool.acquire().await.unwrap();
        let statement = AssertSqlSafe((*statement).to_owned()).into_sql_str();
        if let Err(error) = connection.prepare(statement).await {
            panic!("{name}.sql: {error}");
        }
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_closed() {
    let (_folder, store) = fresh().await;
    let refused = SqliteStore::open(store.path()).await.unwrap_err();
    assert!(refused.to_string().contains("keyferry.db open"), "{refused}");
    store.close().await;
    SqliteStore::open(store.path()).await.unwrap();
}

#[tokio::test]
async fn history_refuses_change_and_deletion() {
    let (_folder, store) = fresh().await;
    conformance::a_turn_is_read_back_whole(&store).await;
    let mut connection = SqliteConnection::connect(&store.path().to_string_lossy()).await.unwrap();
    for statement in ["UPDATE history SET event = '{}'", "DELETE FROM history WHERE seq = 2"] {
        let refused = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

#[tokio::test]
async fn writers_are_durable_and_readers_cannot_write() {
    let (_folder, store) = fresh().await;
    for pool in [&store.inner.writer.pool, &store.inner.readers.pool] {
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
        assert_eq!(synchronous, 2);
    }
    let refused = sqlx::query("DELETE FROM records").execute(&store.inner.readers.pool).await.unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_is_half_done() {
    let (_folder, store) = fresh().await;
    store.limit_pages(Some(0)).await;
    let full = store.probe().await.unwrap_err();
    assert!(matches!(&full, StoreError::Unavailable { reason } if reason.contains("full")), "{full:?}");
    store.limit_pages(None).await;
    store.probe().await.unwrap();
    conformance::a_turn_is_read_back_whole(&store).await;
}

#[tokio::test]
async fn a_transaction_that_panics_or_loses_its_caller_leaves_no_trace() {
    let (_folder, store) = fresh().await;
    let failed = store
        .write(|connection| {
            Box::pin(async move {
                let add = sqlx::query("INSERT INTO idempotency (key, request, run) VALUES ('k', 'r', 'x')");
                let added = add.execute(connection).await?;
                assert_eq!(added.rows_affected(), 2, "half-way");
                Ok(())
            })
        })
        .await
        .unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable { .. }), "{failed:?}");
    assert_eq!(store.key("k").await.unwrap(), None);
    // Callers that go away at every moment of a transaction: what was begun is finished, and the writer stays fit.
    let mut kept = 0;
    for number in 0..60_u32 {
        let key = format!("key-{number}");
        let write = store.write({
            let key = key.clone();
            move |connection| {
                Box::pin(async move {
                    let add = sqlx::query("INSERT INTO idempotency (key, request, run) VALUES (?1, 'r', 'x')");
                    add.bind(key).execute(connection).await?;
                    Ok(())
                })
            }
        });
        let mut write = Box::pin(write);
        for _ in 0..number {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if write.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(write);
        store.probe().await.unwrap();
        kept += u32::from(store.key(&key).await.unwrap().is_some());
    }
    assert!(kept >= 50, "{kept} of 60 were finished");
    conformance::a_turn_is_read_back_whole(&store).await;
}

/// Another process cannot have written while this one has the lock; a defect could. Memory that is behind is not believed.
#[tokio::test]
async fn what_is_remembered_of_a_run_is_proved_before_it_counts() {
    let (_folder, store) = fresh().await;
    let next = conformance::next_move(&store).await;
    let mut connection = SqliteConnection::connect(&store.path().to_string_lossy()).await.unwrap();
    sqlx::query("UPDATE runs SET revision = revision + 6").execute(&mut connection).await.unwrap();
    let outcomes = store.commit([next.clone()].into()).await.unwrap();
    let behind = StoreError::Conflict { run: "r1".to_owned(), expected: 1, found: 7 };
    assert_eq!(outcomes, [Err(behind)]);
    sqlx::query("UPDATE runs SET revision = revision - 6").execute(&mut connection).await.unwrap();
    assert_eq!(store.commit([next].into()).await.unwrap(), [Ok(())]);
}

#[tokio::test]
async fn claims_and_listings_use_their_indexes() {
    let (_folder, store) = fresh().await;
    for (statement, index) in [
        (sql::NEXT_DUE, "work_due"),
        (sql::CLAIM, "work_due"),
        (sql::CLAIM, "work_leased"),
        (sql::OUTBOX_NEXT, "outbox_due"),
        (sql::LETTERS_HOLD, "letters_due"),
        (sql::LETTERS_HOLD, "letters_of_reader"),
        (sql::LETTERS_PAGE, "letters_by_state"),
        (sql::LETTERS_OF_RUNS, "letters_of_run"),
        (sql::HISTORY_PAGE, "history_of_run"),
        (sql::CHILDREN, "runs_of_parent"),
        (sql::EXCLUSIVE_OPEN, "runs_exclusive"),
        (sql::RUNS_PAGE_OF_ENTERPRISE, "runs_of_enterprise"),
        (sql::RUNS_PAGE_BY_STATUS, "runs_by_status"),
    ] {
        let plan = plan(&store, statement).await;
        assert!(plan.iter().any(|line| line.contains(index)), "{statement} does not use {index}: {plan:#?}");
    }
    for statement in [sql::RUNS_PAGE, sql::RUNS_PAGE_BY_STATUS, sql::RUNS_PAGE_OF_ENTERPRISE, sql::OUTBOX_NEXT] {
        let plan = plan(&store, statement).await;
        assert!(!plan.iter().any(|line| line.contains("B-TREE")), "{statement} sorts: {plan:#?}");
    }
}

async fn plan(store: &SqliteStore, statement: &str) -> Vec<String> {
    let explained = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let mut connection = store.inner.writer.pool.acquire().await.unwrap();
    let rows = sqlx::query(explained).fetch_all(&mut *connection).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn no_statement_walks_over_a_whole_table() {
    let (_folder, store) = fresh().await;
    let walks = |line: &String| {
        let table = line.split("SCAN ").nth(1).and_then(|rest| rest.split(' ').next());
        table.is_some_and(|table| !table.starts_with('(') && table != "CONSTANT") && !line.contains("INDEX")
    };
    let mut lines = 0;
    for (name, statement) in sql::ALL {
        let plan = plan(&store, statement).await;
        lines += plan.len();
        assert!(!plan.iter().any(walks), "{name}.sql walks over a whole table: {plan:#?}");
    }
    assert!(lines > 60, "{lines} lines of plans: the test does not test");
    assert!(plan(&store, "SELECT * FROM runs WHERE ended_at = ?1").await.iter().any(walks), "the check sees nothing");
}

#[tokio::test]
async fn payloads_refuse_change_and_one_that_is_not_its_hash_is_not_believed() {
    let (_folder, store) = fresh().await;
    conformance::a_turn_is_read_back_whole(&store).await;
    let mut connection = SqliteConnection::connect(&store.path().to_string_lossy()).await.unwrap();
    let hash = "0".repeat(64);
    sqlx::query("INSERT INTO payloads (hash, body) VALUES (?1, '[1]')")
        .bind(&hash)
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = sqlx::query("UPDATE payloads SET body = '[2]'").execute(&mut connection).await.unwrap_err();
    assert!(refused.to_string().contains("never change"), "{refused}");
    let text = format!("{{\"at\":\"{hash}\"}}");
    assert!(store.bodies([text.as_str()].into_iter()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_has_the_write_lock_from_its_beginning() {
    let (_folder, store) = fresh().await;
    let address = store.path().to_string_lossy().into_owned();
    let refused = store
        .write(move |_| {
            Box::pin(async move {
                let mut other = SqliteConnection::connect(&address).await?;
                sqlx::query("PRAGMA busy_timeout = 0").execute(&mut other).await?;
                // Nothing has been written yet.
                Ok(sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.err().map(|error| error.to_string()))
            })
        })
        .await
        .unwrap();
    assert!(refused.as_deref().is_some_and(|error| error.contains("locked")), "{refused:?}");
}

/// Thirty thousand bytes more.
async fn grow(store: &SqliteStore, number: i64) {
    let put = crate::store::RecordPut {
        enterprise: "dave".to_owned(),
        collection: "c".to_owned(),
        key: number.to_string(),
        expected: 0,
        body: "x".repeat(30_000).into(),
        at: conformance::at(0),
    };
    store.put_records(vec![put]).await.unwrap();
}

#[tokio::test]
async fn a_long_reader_holds_nobody_up_and_the_log_that_it_keeps_is_told_and_used_again() {
    let (_folder, store) = fresh().await;
    let log = || store.vitals().files.iter().find(|(name, _)| *name == "wal").unwrap().1;
    for number in 0..300 {
        grow(&store, number).await;
    }
    let normal = log();
    assert!(normal < 8_000_000, "the log has {normal} bytes with nobody reading");
    let mut reader = SqliteConnection::connect(&store.path().to_string_lossy()).await.unwrap();
    sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
    let count = "SELECT count(*) FROM records";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut reader).await.unwrap(), 300);
    for number in 300..800 {
        grow(&store, number).await;
        let run = format!("r{number}");
        assert_eq!(store.commit([conformance::start(&run)].into()).await, Ok(vec![Ok(())]));
        let claim =
            Claim { owner: "one".to_owned(), now: conformance::at(0), lease_until: conformance::at(60), limit: 1 };
        assert_eq!(store.claim(claim).await.unwrap()[0].run, run, "claims go on beside it");
    }
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut reader).await.unwrap(), 300, "it sees the past");
    let held = log();
    assert!(held > normal + 8_000_000, "the reader kept nothing: {normal}, then {held} bytes");
    reader.close().await.unwrap();
    for number in 800..1_300 {
        grow(&store, number).await;
    }
    let after = log();
    assert!(after <= held + 8_000_000, "the log grows on: {held}, then {after} bytes");
}
