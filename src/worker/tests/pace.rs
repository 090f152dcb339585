//! How fast runs move here and now. Not part of the suite: the figures are the machine's.

use std::time::Instant;

use super::*;

fn sequence(length: usize) -> Value {
    let mut states = serde_json::Map::new();
    for index in 0..length {
        let next = format!("S{}", index + 1);
        states.insert(format!("S{index}"), task("echo", (index + 1 < length).then_some(next.as_str())));
    }
    json!({ "StartAt": "S0", "States": states })
}

async fn open(path: &Path, definition: Value) -> (Service, SqliteStore) {
    open_with(path, definition, Registry::new().with(echo())).await
}

async fn open_with(path: &Path, definition: Value, steps: Registry) -> (Service, SqliteStore) {
    let store = SqliteStore::open(path).await.unwrap();
    let mut definitions = Definitions::new();
    definitions.add("seq", &definition.to_string()).unwrap();
    definitions.share("seq");
    let mut config = Config::default();
    config.worker.concurrency = 64;
    let service = Service::open(ServiceOptions {
        store: Arc::new(store.clone()),
        definitions,
        steps,
        forms: Arc::new(TestForms),
        clock: Arc::new(SystemClock),
        config: Arc::new(config),
        poll: None,
    })
    .await
    .unwrap();
    add_dave(&service).await;
    (service, store)
}

async fn start(service: &Service, runs: usize) -> Vec<String> {
    let started = futures_util::future::join_all((0..runs).map(|_| {
        service.start_run(StartRun {
            enterprise: "dave".to_owned(),
            workflow: "seq".to_owned(),
            input: json!({ "n": 1 }),
            actor: actor(),
            idempotency_key: None,
        })
    }))
    .await;
    started.into_iter().map(|view| view.unwrap().id).collect()
}

async fn measured(runs: usize, steps: usize) -> f64 {
    let (_folder, path) = place();
    let (service, _store) = open(&path, sequence(steps)).await;
    let ids = start(&service, runs).await;
    let (stop, stopped) = watch::channel(false);
    let begun = Instant::now();
    let runner = service.clone();
    let worker = tokio::spawn(async move { runner.run_worker(stopped, Duration::from_secs(5)).await });
    for id in ids {
        let mut watched = service.watch(&id);
        let wanted = u64::try_from(steps).unwrap() + 1;
        if service.run(&id).await.unwrap().revision < wanted {
            watched.wait_for(|revision| *revision >= wanted).await.unwrap();
        }
    }
    let took = begun.elapsed().as_secs_f64();
    stop.send_replace(true);
    worker.await.unwrap().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let rate = (runs * steps) as f64 / took;
    println!(
        "{runs} runs of {steps} steps: {rate:.0} steps/s, {:.3} ms a step, {} bytes a run",
        1e3 / rate,
        bytes / runs as u64
    );
    rate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run it with --ignored --nocapture"]
async fn many_runs_and_one_run() {
    assert!(measured(1_000, 10).await > 100.0);
    assert!(measured(1, 200).await > 100.0);
}

/// From the opening of the file that a killed process left, with many parked runs in it, to the first recovered step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run it with --ignored --nocapture"]
async fn the_first_recovered_step_beside_many_parked_runs() {
    let (_folder, path) = place();
    let form = json!({ "StartAt": "Ask", "States": { "Ask": { "Type": "Task", "Resource": "urn:keyferry:form:ask-csm", "End": true } } });
    for parked in [0, 20_000, 80_000] {
        let (service, store) = open(&path, form.clone()).await;
        let before = (resident(), pages(&path).await);
        for _ in 0..parked / 1_000 {
            start(&service, 1_000).await;
        }
        if parked > 0 {
            let bytes = (pages(&path).await - before.1) * 4_096 / parked;
            println!("{parked} more parked: {bytes} bytes of database a run, {} KiB of memory", resident() - before.0);
        }
        drop(service);
        store.close().await;
        drop(store);
        let first = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&first);
        let (step, _) = code("echo", move |_: &StepContext, input: &Value, nth| {
            if nth == 1 {
                told.notify_one();
            }
            Ok(Progress::done(input.clone()))
        });
        // A run whose step is due, as a process leaves it that is killed between two commits.
        let (service, store) = open(&path, sequence(1)).await;
        start(&service, 1).await;
        drop(service);
        store.close().await;
        drop(store);
        let begun = Instant::now();
        let (service, store) = open_with(&path, sequence(1), Registry::new().with(step)).await;
        let opened = begun.elapsed();
        let (stop, stopped) = watch::channel(false);
        let runner = service.clone();
        let worker = tokio::spawn(async move { runner.run_worker(stopped, Duration::from_secs(5)).await });
        first.notified().await;
        println!("{parked} more parked: opened after {opened:?}, first recovered step after {:?}", begun.elapsed());
        stop.send_replace(true);
        worker.await.unwrap().unwrap();
        store.close().await;
    }
}

/// A parked run may cost 1.5 KB of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_parked_on_a_form_is_small() {
    let (_folder, path) = place();
    let form = json!({ "StartAt": "Ask", "States": { "Ask": { "Type": "Task", "Resource": "urn:keyferry:form:ask-csm", "End": true } } });
    let (service, store) = open(&path, form).await;
    let before = pages(&path).await;
    start(&service, 1_000).await;
    let each = (pages(&path).await - before) * 4_096 / 1_000;
    println!("{each} bytes a parked run");
    assert!(each < 1_536, "{each} bytes a parked run");
    assert_eq!(service.core.hot.len(), 0, "parked runs are not kept in memory");
    store.close().await;
}

/// KiB of memory that the process has.
fn resident() -> i64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4
}

async fn pages(path: &Path) -> i64 {
    use sqlx::Connection as _;
    let mut raw = sqlx::SqliteConnection::connect(&path.to_string_lossy()).await.unwrap();
    sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut raw).await.unwrap()
}
