//! Every statement's plan, on tables of a million rows: none of them walks over one.

use super::*;

/// The tables of which a statement may not read all.
const BIG: [&str; 10] =
    ["runs", "frames", "history", "work", "outbox", "records", "idempotency", "payloads", "enterprises", "letters"];

/// Fills the tables; without a log and without looking at references, which the rows keep by the way they are made.
const FILL: &str = "
SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'; SET max_parallel_workers_per_gather = 0;
ALTER TABLE records SET UNLOGGED; ALTER TABLE runs SET UNLOGGED; ALTER TABLE frames SET UNLOGGED; ALTER TABLE history SET UNLOGGED;
ALTER TABLE work SET UNLOGGED; ALTER TABLE outbox SET UNLOGGED; ALTER TABLE idempotency SET UNLOGGED; ALTER TABLE payloads SET UNLOGGED;
DROP INDEX runs_of_enterprise, runs_by_status, runs_of_parent, records_by_key;
INSERT INTO enterprises SELECT 'e' || i, 'E', 'aws', NULL, NULL, NULL, 0 FROM generate_series(1, 10000) AS i;
INSERT INTO definitions (hash, name, source, stored_at) VALUES ('h', 'n', '', 0);
INSERT INTO runs SELECT i, 'run-' || i, 'e' || i % 10000, 'w', 1, CASE WHEN i % 3 = 0 THEN 'run-' || i - 1 END, 0, 1, false, 9,
    CASE WHEN i % 100 = 0 THEN 'attention' ELSE 'succeeded' END, CASE WHEN i % 100 > 0 THEN i END, '', '{}'
    FROM generate_series(1, 1000000) AS i;
INSERT INTO frames SELECT i, 1, 1, '{}' FROM generate_series(1, 1000000) AS i;
INSERT INTO history SELECT i / 10, i % 10 + 1, '', '{}', '[]' FROM generate_series(1, 1000000) AS i;
INSERT INTO work SELECT i, 0, 1, CASE WHEN i % 5 = 0 THEN 'step' ELSE 'form' END, 'n', '{}', CASE WHEN i % 5 = 0 THEN i END, false, 1, 1, 0,
    NULL, NULL, NULL, CASE WHEN i % 1000 = 0 THEN 'owner' END, CASE WHEN i % 1000 = 0 THEN i END, NULL, NULL, 0
    FROM generate_series(1, 1000000) AS i;
INSERT INTO outbox (run, created_at, notice, due_at, attempts) SELECT i, i, '{}', CASE WHEN i % 1000 = 0 THEN i END, 0
    FROM generate_series(1, 1000000) AS i;
INSERT INTO letters (notice, run, enterprise, reader, state, created_at, due_at, attempts)
    SELECT i, i, 'e' || i % 10000, 'csm', CASE WHEN i % 1000 = 0 THEN 'due' ELSE 'sent' END, i, CASE WHEN i % 1000 = 0 THEN i END, 0
    FROM generate_series(1, 300000) AS i;
INSERT INTO records SELECT 'e' || i % 10000, 'c', 'k' || i, '', 0, '{}' FROM generate_series(1, 1000000) AS i;
INSERT INTO idempotency SELECT 'k' || i, '', '' FROM generate_series(1, 1000000) AS i;
INSERT INTO payloads SELECT 'h' || i, '' FROM generate_series(1, 1000000) AS i;
CREATE INDEX runs_of_enterprise ON runs (enterprise, n);
CREATE INDEX runs_by_status ON runs (status, n);
CREATE INDEX runs_of_parent ON runs (parent, n) WHERE parent IS NOT NULL;
CREATE INDEX records_by_key ON records (collection, key, enterprise);
ANALYZE;";

async fn plan(connection: &mut PgConnection, name: &str, statement: &str) -> String {
    let prepare = format!("PREPARE explained_{name} AS {statement}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
    let many = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1";
    let many: i32 =
        sqlx::query_scalar(many).bind(format!("explained_{name}")).fetch_one(&mut *connection).await.unwrap();
    let nothing = vec!["NULL"; usize::try_from(many).unwrap()].join(", ");
    let arguments = if many == 0 { String::new() } else { format!("({nothing})") };
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN EXECUTE explained_{name} {arguments}"));
    let rows = sqlx::raw_sql(explain).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

fn walks(plan: &str) -> bool {
    BIG.iter().any(|table| {
        plan.split("Seq Scan on ")
            .skip(1)
            .any(|rest| rest.split([' ', '\n']).next().is_some_and(|found| found == *table))
    })
}

#[tokio::test]
async fn no_statement_walks_over_a_table_of_a_million_rows() {
    let Some((database, store)) = fresh().await else { return };
    store.close().await;
    let began = std::time::Instant::now();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    sqlx::raw_sql(FILL).execute(&mut connection).await.unwrap();
    eprintln!("a million rows in each table took {:?}", began.elapsed());
    // As a session of keyferry's plans.
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(session::settings())).execute(&mut connection).await.unwrap();
    // A lock has no plan.
    for (name, statement) in sql::ALL.iter().filter(|(name, _)| *name != "probe_touch") {
        let found = plan(&mut connection, name, statement).await;
        assert!(!walks(&found), "{name}.sql walks over a whole table:\n{found}");
        for (of, index) in [
            ("claim", "work_due"),
            ("claim", "work_leased"),
            ("next_due", "work_due"),
            ("next_due", "work_leased"),
            ("outbox_next", "outbox_due"),
            ("letters_hold", "letters_due"),
            ("letters_hold", "letters_of_reader"),
            ("letters_page", "letters_by_state"),
            ("letters_of_runs", "letters_of_run"),
            ("history_page", "history_of_run"),
            ("children", "runs_of_parent"),
            ("check_runs", "runs_of_parent"),
            ("exclusive_open", "runs_exclusive"),
            ("find_record", "records_by_key"),
            ("runs_page_of_enterprise", "runs_of_enterprise"),
            ("runs_page_by_status", "runs_by_status"),
        ] {
            assert!(of != *name || found.contains(index), "{name}.sql does not use {index}:\n{found}");
        }
        if name.starts_with("runs_page")
            || matches!(*name, "records_page" | "enterprises_page" | "history_page" | "letters_page")
        {
            assert!(!found.contains("Sort"), "{name}.sql sorts:\n{found}");
        }
    }
    let mut together = together::Together::default();
    for statement in [
        sql::UPDATE_WORK,
        sql::REPLACE_WORK,
        sql::REMOVE_WORK,
        sql::DELETE_WORK,
        sql::DELETE_WORK_OF_RUNS,
        sql::UPSERT_WORK,
        sql::INSERT_PAYLOADS,
        sql::UPDATE_RUNS,
        sql::UPSERT_FRAMES,
        sql::DELETE_FRAMES,
        sql::INSERT_HISTORY,
        sql::INSERT_OUTBOX,
        sql::UPSERT_RECORDS,
    ] {
        together.say(statement);
        let parameters = statement.split('$').skip(1).filter_map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse::<u32>().ok()
        });
        for _ in 0..parameters.max().unwrap() {
            together.bind(0_i64).unwrap();
        }
        if statement.contains("RETURNING") {
            together.expect(1);
        }
    }
    let found = plan(&mut connection, "together", &together.text()).await;
    assert!(!walks(&found), "a batch as one statement walks over a whole table:\n{found}");
    sqlx::raw_sql("UPDATE work SET owner = NULL, lease_until = NULL; ANALYZE work")
        .execute(&mut connection)
        .await
        .unwrap();
    let by_key = [sql::CHECK_WORK, sql::UPDATE_WORK, sql::REPLACE_WORK, sql::REMOVE_WORK];
    for (nth, statement) in by_key.into_iter().enumerate() {
        let found = plan(&mut connection, &format!("idle_{nth}"), statement).await;
        assert!(
            !found.contains("work_leased") && found.contains("work_pkey"),
            "work is not found by its key:\n{found}"
        );
    }
    let whole = plan(&mut connection, "whole", "SELECT * FROM runs WHERE ended_at = $1").await;
    assert!(walks(&whole), "the check sees nothing:\n{whole}");
}
