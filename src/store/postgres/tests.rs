mod faults;
mod ground;
mod plans;
pub(crate) mod proxy;
mod server;

use serde_json::json;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::*;
use crate::store::{Enterprise, RecordsPage, Store, conformance};

pub(crate) use server::Database;

async fn fresh() -> Option<(Database, PostgresStore)> {
    let database = Database::make().await?;
    let store = PostgresStore::open(database.url()).await.unwrap();
    conformance::prepare(&store).await;
    Some((database, store))
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let Some((_database, store)) = fresh().await else { return };
                conformance::$name(&store).await;
            }
        )*
    };
}

conformance::laws!(conforms);

#[tokio::test]
async fn every_statement_prepares_and_has_a_twin() {
    let Some((database, _store)) = fresh().await else { return };
    let files = |folder: &str| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().replace(".sql", "")).collect();
        names.sort();
        names
    };
    let all: Vec<&str> = sql::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(all, files("src/store/postgres/queries"));
    // Statements of their own there, and parts of others here; what one process alone may do at its start.
    let own = ["load_frames", "update_status", "free_letters"];
    let apart = |name: &String| name.starts_with("guard_") || own.contains(&name.as_str());
    for twin in files("src/store/sqlite/queries").iter().filter(|name| !apart(name)) {
        assert!(all.contains(&twin.as_str()), "{twin}.sql has no twin");
    }
    assert_eq!(files("migrations/sqlite"), files("migrations/postgres"));
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for (name, statement) in sql::ALL {
        use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};
        if let Err(error) = connection.prepare(AssertSqlSafe((*statement).to_owned()).into_sql_str()).await {
            panic!("{name}.sql: {error}");
        }
    }
}

#[tokio::test]
async fn history_and_payloads_refuse_change_and_deletion() {
    let Some((database, store)) = fresh().await else { return };
    conformance::a_turn_is_read_back_whole(&store).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for statement in ["UPDATE history SET event = '{}'", "DELETE FROM history WHERE seq = 2", "TRUNCATE history"] {
        let refused = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    let hash = "0".repeat(64);
    sqlx::query("INSERT INTO payloads (hash, body) VALUES ($1, '[1]')")
        .bind(&hash)
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = sqlx::query("UPDATE payloads SET body = '[2]'").execute(&mut connection).await.unwrap_err();
    assert!(refused.to_string().contains("never change"), "{refused}");
    let text = format!("{{\"at\":\"{hash}\"}}");
    assert!(read::bodies(&mut connection, [text.as_str()].into_iter()).await.unwrap().is_empty());
}

#[tokio::test]
async fn sessions_have_their_time_limits() {
    let Some((_database, store)) = fresh().await else { return };
    for pool in [&store.inner.reads, &store.inner.writes, &store.inner.renewals, &store.inner.aside] {
        let found = pool.ask(false, |connection| {
            Box::pin(async move {
                let names = "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') || ' ' \
                             || current_setting('idle_in_transaction_session_timeout')";
                Ok(sqlx::query_scalar::<_, String>(names).fetch_one(connection).await?)
            })
        });
        assert_eq!(found.await.unwrap(), "10s 3s 15s");
    }
}

#[tokio::test]
async fn readers_cannot_write_in_a_moment_and_errors_take_everything_back() {
    let Some((_database, store)) = fresh().await else { return };
    let add = "INSERT INTO idempotency (key, request, run) VALUES ('k', 'r', 'x')";
    let refused = store
        .read(move |connection| Box::pin(async move { Ok(sqlx::query(add).execute(connection).await.map(|_| ())?) }));
    assert!(refused.await.unwrap_err().to_string().contains("read-only"));
    let failed = store.write(move |connection| {
        Box::pin(async move {
            let added = sqlx::query(add).execute(connection).await?;
            assert_eq!(added.rows_affected(), 2, "half-way");
            Ok(())
        })
    });
    assert!(matches!(failed.await, Err(StoreError::Unavailable { .. })));
    assert_eq!(store.key("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_transaction_open() {
    let Some((database, store)) = fresh().await else { return };
    let mut kept = 0;
    for number in 0..60_u32 {
        let key = format!("key-{number}");
        let write = store.write({
            let key = key.clone();
            move |connection| {
                let key = key.clone();
                Box::pin(async move {
                    let add = sqlx::query("INSERT INTO idempotency (key, request, run) VALUES ($1, 'r', 'x')");
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
        for _ in 0..200 {
            if store.key(&key).await.unwrap().is_some() {
                kept += 1;
                break;
            }
        }
    }
    assert!(kept >= 50, "{kept} of 60 were finished");
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let open: i64 = sqlx::query_scalar(open).fetch_one(&mut connection).await.unwrap();
    assert_eq!(open, 0);
    conformance::a_turn_is_read_back_whole(&store).await;
}

#[tokio::test]
async fn rows_of_the_outbox_go_to_one_process() {
    let Some((database, store)) = fresh().await else { return };
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    conformance::a_turn_is_read_back_whole(&store).await;
    let notice = json!({ "notice": "attention", "frame": 0, "visit": 1, "state": "Work", "error": "e", "cause": "c" })
        .to_string();
    let add = "INSERT INTO outbox (run, created_at, notice, due_at, attempts) SELECT n, 1, $1, 1, 0 FROM runs, generate_series(1, 40)";
    sqlx::query(add).bind(&notice).execute(&mut connection).await.unwrap();
    let other = PostgresStore::open(database.url()).await.unwrap();
    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let (one, two) = tokio::join!(store.outbox(now, 30), other.outbox(now, 30));
    let mut ids: Vec<i64> = one.unwrap().into_iter().chain(two.unwrap()).map(|row| row.id).collect();
    ids.extend(store.outbox(now, 30).await.unwrap().into_iter().map(|row| row.id));
    ids.sort_unstable();
    assert_eq!(ids.len(), 40);
    ids.dedup();
    assert_eq!(ids.len(), 40, "a row went to two");
    assert!(other.outbox(now, 30).await.unwrap().is_empty());
    let later = now + chrono::TimeDelta::minutes(6);
    assert_eq!(other.outbox(later, 50).await.unwrap().len(), 40, "what a dead process had is told by another");
}

#[tokio::test]
async fn odd_identifiers_are_not_found_and_no_error() {
    let Some((_database, store)) = fresh().await else { return };
    assert!(store.enterprise("da\0ve").await.unwrap().is_none());
    assert!(matches!(store.load("\0").await, Err(StoreError::NotFound { .. })));
    let enterprise =
        Enterprise { name: "D\0ve \u{ffff}".to_owned(), ..store.enterprise("dave").await.unwrap().unwrap() };
    let enterprise = Enterprise { id: "nul".to_owned(), ..enterprise };
    assert!(store.add_enterprise(enterprise.clone()).await.unwrap());
    assert_eq!(store.enterprise("nul").await.unwrap(), Some(enterprise));
    let asked = RecordsPage { enterprise: "dave".to_owned(), collection: "\0".to_owned(), limit: 1, cursor: None };
    assert!(store.records(asked).await.unwrap().items.is_empty());
}

async fn count(connection: &mut PgConnection, statement: &'static str) -> i64 {
    sqlx::query(statement).fetch_one(connection).await.unwrap().get(0)
}
