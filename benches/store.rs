//! SQLite commits at batch sizes of 1, 16 and 64 turns, beside the raw rate of commits of the same file system.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up says so and ends")]

use std::{path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyferry::{
    engine::{Actor, Definition, Event, EventKind, Payload, Snapshot, advance},
    store::{Blobs, Enterprise, Happened, SqliteStore, Start, Store, Transition, Write, seal},
};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::runtime::Runtime;

const DEFINITION: &str =
    r#"{"StartAt":"Ask","States":{"Ask":{"Type":"Task","Resource":"urn:keyferry:form:ask","End":true}}}"#;

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

/// The first turn of a run: a row of runs, of history, nothing else.
fn begin(definition: &Definition, number: u64) -> Write {
    let event = Event {
        at: now(),
        chance: number,
        kind: EventKind::Started {
            run: format!("run-{number}"),
            enterprise: "dave".to_owned(),
            workflow: "ask".to_owned(),
            definition: definition.hash.clone(),
            input: Payload::from(json!({ "n": number })),
            actor: Actor { name: "bench".to_owned(), role: "system".to_owned() },
        },
    };
    let turn = advance(definition, None, &event).expect("a run starts");
    let snapshot = Snapshot::begin(&turn);
    let transition = Transition {
        expected: 0,
        start: Some(Start { parent: None, exclusive: false, idempotency: Vec::new() }),
        root: snapshot.frames.get(&0).cloned(),
        status: snapshot.standing(),
        header: snapshot.header,
        events: vec![Happened { event, entered: vec!["Ask".to_owned()] }],
        changed: Vec::new(),
        removed: Vec::new(),
        work: std::collections::BTreeMap::new(),
        hold: None,
        signals: Vec::new(),
        notices: Vec::new(),
        records: Vec::new(),
        answers: Vec::new(),
        keys: Vec::new(),
        at: now(),
    };
    Write::Turns(vec![seal(transition, &mut Blobs::default()).expect("a turn is JSON")])
}

async fn open(path: &Path, definition: &Definition) -> SqliteStore {
    let store = SqliteStore::open(path).await.expect("the store opens");
    store.keep_definition(&definition.hash, "ask", &definition.source, now()).await.expect("it is kept");
    let enterprise = Enterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
        version: 1,
        created_at: now(),
    };
    store.add_enterprise(enterprise).await.expect("it is added");
    store
}

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let definition = Definition::load(DEFINITION).expect("it loads").definition;
    let store = runtime.block_on(open(&folder.path().join("bench.db"), &definition));
    let mut group = criterion.benchmark_group("sqlite commit");
    let mut number = 0;
    for size in [1, 16, 64_u64] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::new("turns", size), |bencher| {
            bencher.iter_batched(
                || {
                    let first = number;
                    number += size;
                    (first..number).map(|number| begin(&definition, number)).collect::<Arc<[Write]>>()
                },
                |batch| {
                    let outcomes = runtime.block_on(store.commit(batch)).expect("it commits");
                    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.throughput(Throughput::Elements(1));
    let raw = folder.path().join("raw.db");
    let mut connection = runtime.block_on(async {
        let address = format!("sqlite://{}?mode=rwc", raw.display());
        let mut connection = SqliteConnection::connect(&address).await.expect("it connects");
        for statement in [
            "PRAGMA journal_mode = wal",
            "PRAGMA synchronous = full",
            "CREATE TABLE t (n INTEGER PRIMARY KEY, body TEXT)",
        ] {
            sqlx::query(statement).execute(&mut connection).await.expect("it is set up");
        }
        connection
    });
    group.bench_function("raw", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                sqlx::query("INSERT INTO t (body) VALUES ('one row of a few bytes')")
                    .execute(&mut connection)
                    .await
                    .expect("it is written");
            });
        });
    });
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
