//! A pooler between keyferry and PostgreSQL: pgbouncer, in each of its ways to share sessions.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use keyferry::{
    config::Config,
    engine::{Actor, Standing},
    forms::Forms,
    store::{PostgresStore, Store as _, StoreError},
    worker::{
        Clock as _, Definitions, NewEnterprise, Progress, Registry, Service, ServiceOptions, StartRun, Step,
        StepContext, StepError, SystemClock,
    },
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::patience::PATIENCE;
use crate::support::{
    postgres::{Postgres, free_port, hand_over, unprivileged},
    required,
};

struct Pgbouncer {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Pgbouncer {
    async fn start(program: &str, server: &Postgres, settings: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        hand_over(folder.path());
        let users = folder.path().join("users");
        fs::write(&users, "\"keyferry\" \"\"\n").expect("written");
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} dbname=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n{settings}",
            server.port,
            users.display()
        );
        fs::write(&file, text).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = unprivileged(Path::new(program));
        let process = command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let pooler = Self { process: process.expect("pgbouncer runs"), folder, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "pgbouncer does not listen: {}", pooler.log());
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        pooler
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn url(&self) -> String {
        format!("postgres://keyferry@127.0.0.1:{}/postgres", self.port)
    }
}

fn both() -> Option<(String, Postgres)> {
    let program = required("KEYFERRY_TEST_PGBOUNCER", "pgbouncer")?;
    Some((program, Postgres::start()?))
}

struct Echo;

#[async_trait]
impl Step for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    async fn run(&self, _context: &StepContext, input: Value) -> Result<Progress, StepError> {
        Ok(Progress::done(input))
    }
}

const THREE: &str = r#"{"StartAt": "One", "States": {
    "One": {"Type": "Task", "Resource": "urn:keyferry:step:echo", "Next": "Two"},
    "Two": {"Type": "Wait", "Seconds": 1, "Next": "Three"},
    "Three": {"Type": "Task", "Resource": "urn:keyferry:step:echo", "End": true}}}"#;

async fn service(store: &PostgresStore) -> Service {
    let mut definitions = Definitions::new();
    definitions.add("three", THREE).expect("a definition");
    Service::open(ServiceOptions {
        store: Arc::new(store.clone()),
        definitions,
        steps: Registry::new().with(Echo),
        forms: Arc::new(Forms::shipped().expect("forms")),
        clock: Arc::new(SystemClock),
        config: Arc::new(Config::default()),
        poll: None,
    })
    .await
    .expect("a service")
}

/// How many processes are known to be alive.
async fn present(connection: &mut PgConnection) -> i64 {
    let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted";
    sqlx::query_scalar(count).fetch_one(connection).await.expect("asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_pgbouncer_in_session_mode_runs_go_through_and_processes_know_of_each_other() {
    let Some((program, server)) = both() else { return };
    let pooler = Pgbouncer::start(&program, &server, "pool_mode = session\ndefault_pool_size = 40\n").await;
    let open = async || PostgresStore::open(&pooler.url()).await.expect("it keeps sessions");
    let (one, two) = (open().await, open().await);
    let (people, worker) = (service(&one).await, service(&two).await);
    let stop = watch::Sender::new(false);
    let (runner, stopped) = (worker.clone(), stop.subscribe());
    let working = tokio::spawn(async move { runner.run_worker(stopped, Duration::from_secs(5)).await });
    let dave = json!({ "id": "dave", "name": "Dave", "partition": "aws" });
    let dave: NewEnterprise = serde_json::from_value(dave).expect("an enterprise");
    people.add_enterprise(dave).await.expect("added");
    for number in 0..5 {
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: "three".to_owned(),
            input: json!(number),
            actor: Actor { name: "eve".to_owned(), role: "engineer".to_owned() },
            idempotency_key: None,
        };
        let run = people.start_run(asked).await.expect("started").id;
        let began = Instant::now();
        let view = loop {
            let view = people.run(&run).await.expect("read");
            if view.ended_at.is_some() {
                break view;
            }
            assert!(began.elapsed() < PATIENCE, "it stands still: {view:?}\n{}", pooler.log());
            SystemClock.sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((view.status, view.output), (Standing::Succeeded, Some(json!(number))));
        assert!(people.verify(&run).await.expect("read").ok);
    }
    // Both are known to be alive, by locks that the pooler leaves to their connections; and are missed when those end.
    let mut beside = server.connect().await;
    assert_eq!(present(&mut beside).await, 2);
    // One of them hears of what another makes due.
    let three = open().await;
    three.attend("three").await.expect("present");
    assert_eq!(present(&mut beside).await, 3);
    let heard = tokio::spawn({
        let three = three.clone();
        async move { three.hinted().await }
    });
    let began = Instant::now();
    while !heard.is_finished() {
        assert!(began.elapsed() < PATIENCE, "it heard of nothing");
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: "three".to_owned(),
            input: json!("heard"),
            actor: Actor { name: "eve".to_owned(), role: "engineer".to_owned() },
            idempotency_key: None,
        };
        people.start_run(asked).await.expect("started");
        SystemClock.sleep(Duration::from_millis(300)).await;
    }
    three.close().await;
    drop(three);
    let began = Instant::now();
    while present(&mut beside).await > 2 {
        assert!(began.elapsed() < PATIENCE, "nobody missed it");
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
    stop.send_replace(true);
    working.await.expect("no panic").expect("it ended in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_does_not_keep_sessions_is_refused_at_the_start_with_what_to_do() {
    let Some((program, server)) = both() else { return };
    for settings in [
        "pool_mode = transaction\n",
        "pool_mode = transaction\ndefault_pool_size = 1\n",
        // The next to ask gets the session that has been idle longest, and so not the one that was just left.
        "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 5\n",
        // What was locked is let go after each transaction.
        "pool_mode = transaction\nserver_reset_query_always = 1\n",
        "pool_mode = transaction\nserver_reset_query_always = 1\nserver_round_robin = 1\nmin_pool_size = 5\n",
        "pool_mode = statement\n",
        // Sessions, but what the last one had locked is the next one's.
        "pool_mode = session\nserver_reset_query =\n",
    ] {
        let pooler = Pgbouncer::start(&program, &server, settings).await;
        for attempt in 1..=3 {
            let refused = match PostgresStore::open(&pooler.url()).await {
                Ok(_) => panic!("attempt {attempt} was taken with {settings}"),
                Err(refused) => refused,
            };
            assert!(matches!(refused, StoreError::Unfit { .. }), "{settings}{refused}\n{}", pooler.log());
            let said = refused.to_string();
            assert!(said.contains("pool_mode = session"), "{settings}{said}");
        }
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    let made: i64 = sqlx::query_scalar(tables).fetch_one(&mut server.connect().await).await.expect("asked");
    assert_eq!(made, 0, "nothing is written where it is refused");
}
