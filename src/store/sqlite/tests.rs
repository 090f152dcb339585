use sqlx::{Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::store::{Store, conformance};

async fn fresh() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap();
    conformance::prepare(&store).await;
    (folder, store)
}

impl SqliteStore {
    /// Makes the disk full: no page beyond those there are and some more.
    pub(crate) async fn limit_pages(&self, more: Option<i64>) {
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&self.inner.writer).await.unwrap();
        let limit = more.map_or(1_000_000, |more| pages + more);
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {limit}"));
        sqlx::query(statement).execute(&self.inner.writer).await.unwrap();
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

conforms!(
    a_turn_is_read_back_whole,
    a_group_is_all_or_nothing_and_others_of_its_batch_stand,
    a_late_worker_cannot_commit,
    words_keep_what_they_say,
    what_is_due_longest_comes_first_and_what_is_held_does_not_come,
    work_is_claimed_by_the_commit_that_writes_it,
    a_key_starts_one_run_and_one_exclusive_run_is_open,
    listings_have_pages,
    values_that_look_like_references_are_values,
);

#[tokio::test]
async fn every_statement_prepares() {
    let (_folder, store) = fresh().await;
    assert_eq!(sql::ALL.len(), std::fs::read_dir("src/store/sqlite/queries").unwrap().count());
    for (name, statement) in sql::ALL {
        // The drop of what is not there prepares as well, the second making of a table does not: both are run.
        use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
        let mut connection = store.inner.writer.acquire().await.unwrap();
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
    assert!(matches!(&refused, StoreError::Locked { path } if path.to_string_lossy().ends_with("keyferry.db.lock")));
    assert!(refused.to_string().contains("keyferry.db.lock"), "{refused}");
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
    for pool in [&store.inner.writer, &store.inner.readers] {
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
        assert_eq!(synchronous, 2);
    }
    let refused = sqlx::query("DELETE FROM records").execute(&store.inner.readers).await.unwrap_err();
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
async fn claims_and_listings_use_their_indexes() {
    let (_folder, store) = fresh().await;
    for (statement, index) in [
        (sql::NEXT_DUE, "work_due"),
        (sql::CLAIM, "work_due"),
        (sql::CLAIM, "work_leased"),
        (sql::OUTBOX_NEXT, "outbox_due"),
        (sql::HISTORY_PAGE, "history_of_run"),
        (sql::CHILDREN, "runs_of_parent"),
        (sql::EXCLUSIVE_OPEN, "runs_exclusive"),
    ] {
        let explained = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let mut connection = store.inner.writer.acquire().await.unwrap();
        let rows = sqlx::query(explained).fetch_all(&mut *connection).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        assert!(plan.iter().any(|line| line.contains(index)), "{statement} does not use {index}: {plan:#?}");
    }
}
