//! The worker over the real store, with small definitions and a clock that the test moves.

mod children;
mod fleet;
mod flows;
mod kill;
mod outage;
mod pace;
mod random;
mod recovery;
mod retries;
mod sharing;
mod silence;
mod steps;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use super::*;
use crate::patience::{PATIENCE, looks};
use crate::{
    config::Config,
    engine::{Actor, Notice, Standing},
    store::SqliteStore,
};

/// Forms named `ask-<role>`; an answer without `yes` does not hold.
struct TestForms;

impl FormBook for TestForms {
    fn role(&self, form: &str) -> Option<String> {
        form.strip_prefix("ask-").map(str::to_owned)
    }

    fn keeps(&self, form: &str) -> bool {
        form == "ask-engineer"
    }

    fn check(&self, _form: &str, answer: &Value, _context: CheckContext<'_>) -> Result<Value, Vec<Finding>> {
        if answer.get("yes").is_some() {
            Ok(answer.clone())
        } else {
            Err(vec![Finding { pointer: "/yes".to_owned(), message: "say yes".to_owned() }])
        }
    }
}

/// A step made of a function over its context and the number of its executions so far, this one included.
struct Code<F> {
    name: &'static str,
    runs: Arc<AtomicU64>,
    code: F,
}

#[async_trait]
impl<F> Step for Code<F>
where
    F: Fn(&StepContext, &Value, u64) -> Result<Progress, StepError> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let nth = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        (self.code)(context, &input, nth)
    }
}

fn code<F>(name: &'static str, code: F) -> (Code<F>, Arc<AtomicU64>)
where
    F: Fn(&StepContext, &Value, u64) -> Result<Progress, StepError> + Send + Sync + 'static,
{
    let runs = Arc::new(AtomicU64::new(0));
    (Code { name, runs: Arc::clone(&runs), code }, runs)
}

/// Gives back its input.
fn echo() -> Code<impl Fn(&StepContext, &Value, u64) -> Result<Progress, StepError> + Send + Sync + 'static> {
    code("echo", |_: &StepContext, input: &Value, _| Ok(Progress::done(input.clone()))).0
}

/// Never ends, and says so: dropped when its task is aborted.
struct Hang;

#[async_trait]
impl Step for Hang {
    fn name(&self) -> &'static str {
        "hang"
    }

    async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        std::future::pending().await
    }
}

fn actor() -> Actor {
    Actor { name: "eve".to_owned(), role: "admin".to_owned() }
}

/// The visit of the one open form of that name.
async fn open(service: &Service, run: &str, form: &str) -> Visit {
    service.open_form(run, form).await.unwrap().visit
}

async fn add_dave(service: &Service) {
    let dave = NewEnterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
    };
    service.add_enterprise(dave).await.unwrap();
}

fn start_of_time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// What a process has counted under a name, over all series that have this value of a label.
async fn metered(service: &Service, name: &str, value: &str) -> f64 {
    let counted = service.stats().await.counted;
    let of_name = counted.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let wanted = of_name.filter(|metric| metric.get_label().iter().any(|label| label.value() == value));
    wanted.map(|metric| metric.get_counter().get_value()).sum()
}

/// A process: a service with its worker.
struct House {
    service: Service,
    clock: ManualClock,
    store: SqliteStore,
    stop: watch::Sender<bool>,
    worker: JoinHandle<Result<(), ServiceError>>,
}

impl House {
    async fn open(path: &Path, clock: ManualClock, steps: Registry, definitions: &[(&str, Value)]) -> Self {
        let store = SqliteStore::open(path).await.unwrap();
        let mut loaded = Definitions::new();
        for (name, definition) in definitions {
            loaded.add(name, &definition.to_string()).unwrap();
        }
        let service = Service::open(ServiceOptions {
            store: Arc::new(store.clone()),
            definitions: loaded,
            steps,
            forms: Arc::new(TestForms),
            clock: Arc::new(clock.clone()),
            config: Arc::new(Config::default()),
            poll: None,
        })
        .await
        .unwrap();
        add_dave(&service).await;
        let (stop, stopped) = watch::channel(false);
        let runner = service.clone();
        let worker = tokio::spawn(async move { runner.run_worker(stopped, Duration::from_secs(5)).await });
        Self { service, clock, store, stop, worker }
    }

    async fn start(&self, workflow: &str, input: Value) -> String {
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: workflow.to_owned(),
            input,
            actor: actor(),
            idempotency_key: None,
        };
        self.service.start_run(asked).await.unwrap().id
    }

    /// Lets time pass, and what is due then be done or begun: the next step in time waits for the store and for what
    /// is executed, so that a slow machine's leases do not pass before its commits are through.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        real_pause().await;
        self.service.health().await;
    }

    async fn metered(&self, name: &str, value: &str) -> f64 {
        metered(&self.service, name, value).await
    }

    /// Waits until this process has counted one.
    async fn until_metered(&self, name: &str, value: &str) {
        for _ in looks() {
            if self.metered(name, value).await > 0.5 {
                return;
            }
            real_pause().await;
        }
        panic!("nothing was counted as {name} with {value}");
    }

    /// Waits, on the wall's clock, until the run's view is as wanted.
    async fn until(&self, run: &str, wanted: impl Fn(&RunView) -> bool) -> RunView {
        let mut last = None;
        for _ in looks() {
            let view = self.service.run(run).await.unwrap();
            if wanted(&view) {
                return view;
            }
            last = Some(view);
            real_pause().await;
        }
        panic!("the run never came to what was wanted; it stands at {last:#?}");
    }

    async fn until_ended(&self, run: &str) -> RunView {
        let view = self.until(run, |view| view.ended_at.is_some()).await;
        self.holds(run).await;
        view
    }

    async fn holds(&self, run: &str) {
        let verified = self.service.verify(run).await.unwrap();
        assert!(verified.ok && verified.rows > 0, "{verified:?}");
    }

    async fn until_counted(&self, counter: &AtomicU64, wanted: u64) {
        for _ in looks() {
            if counter.load(Ordering::SeqCst) >= wanted {
                return;
            }
            real_pause().await;
        }
        panic!("the step ran {} times, wanted {wanted}", counter.load(Ordering::SeqCst));
    }

    /// Ends the worker as a kill does: nothing is drained, nothing released.
    async fn die(self) {
        self.worker.abort();
        let _ = self.worker.await;
        for claim in self.service.core.held.all() {
            claim.lose();
        }
        self.service.core.claims.store(false, Ordering::SeqCst);
        // What still runs stops when its claim is lost, without a word to the store.
        let mut executing = self.service.core.executing.subscribe();
        executing.wait_for(|count| *count == 0).await.unwrap();
        self.store.close().await;
        drop(self.service);
        drop(self.store);
        real_pause().await;
    }

    async fn drain(self) {
        self.stop.send_replace(true);
        self.worker.await.unwrap().unwrap();
        self.store.close().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "tests wait for real threads; what they wait for is asserted")]
async fn real_pause() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

fn place() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyferry.db");
    (folder, path)
}

fn task(step: &str, next: Option<&str>) -> Value {
    let mut state = json!({ "Type": "Task", "Resource": format!("urn:keyferry:step:{step}") });
    match next {
        Some(next) => state["Next"] = json!(next),
        None => state["End"] = json!(true),
    }
    state
}

fn one(step: &str) -> Value {
    json!({ "StartAt": "Only", "States": { "Only": task(step, None) } })
}
