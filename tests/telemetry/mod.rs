//! What operators see: metrics, traces, logs, readiness, and the files of `docs/` and `deploy/` that go with them.

mod metrics;
mod page;
mod shipped;
mod traces;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use keyferry::{
    access::Access,
    aws::Aws,
    config::Config,
    engine::{Actor, Standing},
    forms::Forms,
    http::{AdminToken, Api, Limits, Machines, machines_router, router, serve},
    sandbox::{Options, Sandbox},
    store::SqliteStore,
    telemetry::Metrics,
    worker::{
        Clock as _, Definitions, Progress, Registry, Service, ServiceOptions, StartRun, Step, StepContext, StepError,
        SystemClock,
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use page::Page;

use crate::support::patience::looks;

const TOKEN: &str = "kfa_0000000000000000000000000000000000000000000000000000000000000002";

struct Works;

#[async_trait]
impl Step for Works {
    fn name(&self) -> &'static str {
        "works"
    }

    async fn run(&self, _context: &StepContext, input: Value) -> Result<Progress, StepError> {
        Ok(Progress::done(input))
    }
}

struct Fails;

#[async_trait]
impl Step for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        Err(StepError::new("Keyferry.Foreign", "something else bears the name"))
    }
}

fn task(step: &str) -> Value {
    json!({ "Type": "Task", "Resource": format!("urn:keyferry:step:{step}"), "End": true })
}

/// A server with its worker, over a store in a folder that is deleted with it.
struct Server {
    service: Service,
    aws: Aws,
    sandbox: Sandbox,
    address: SocketAddr,
    database: PathBuf,
    _folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("keyferry.db");
        let mut definitions = Definitions::new();
        let branch = |step: &str| json!({ "StartAt": step, "States": { step: task(step) } });
        let works = json!({ "StartAt": "works", "States": { "works": task("works") } });
        let fails = json!({ "StartAt": "Both", "States": { "Both":
            { "Type": "Parallel", "Branches": [branch("works"), branch("fails")], "End": true } } });
        definitions.add("works", &works.to_string()).unwrap();
        definitions.add("fails", &fails.to_string()).unwrap();
        let config = Arc::new(Config::default());
        let service = Service::open(ServiceOptions {
            store: Arc::new(SqliteStore::open(&database).await.unwrap()),
            definitions,
            steps: Registry::new().with(Works).with(Fails),
            forms: Arc::new(Forms::shipped().unwrap()),
            clock: Arc::new(SystemClock),
            config: Arc::clone(&config),
            poll: None,
        })
        .await
        .unwrap();
        let (stop, shutdown) = watch::channel(false);
        let options = Options {
            data: None,
            speed: 1.0,
            wall: Arc::new(|| SystemClock.now()),
            default_account: "127450652264".to_owned(),
            quotas: 1,
        };
        let sandbox = Sandbox::open(options).await.unwrap();
        let aws = Aws::sandboxed(&config, &sandbox);
        let metrics = Metrics::new().unwrap();
        metrics.show(aws.silence().unwrap()).unwrap();
        aws.rds("us-west-2").await.unwrap();
        let api = Api {
            access: Access::new(service.clone(), Arc::new(SystemClock), &config),
            service: service.clone(),
            config,
            token: AdminToken::from_secret(TOKEN),
            metrics,
            workflows: Arc::default(),
            form_roles: Arc::new(BTreeMap::new()),
            shutdown: shutdown.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router(api), Limits::default(), shutdown.clone()));
        let working = service.clone();
        tokio::spawn(async move { working.run_worker(shutdown, Duration::from_secs(5)).await });
        crate::support::add_dave(&service).await;
        Self { service, aws, sandbox, address, database, _folder: folder, _stop: stop }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn scrape(&self) -> Page {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Page::parse(&text)
    }

    /// Waits until nothing is executed.
    async fn until_idle(&self) {
        for _ in looks() {
            if self.service.stats().await.executing == 0 {
                return;
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        panic!("something is executed for ever");
    }

    /// Starts a run and waits until it stands so.
    async fn run(&self, workflow: &str, until: Standing) -> String {
        let actor = Actor { name: "eve".to_owned(), role: "engineer".to_owned() };
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: workflow.to_owned(),
            input: json!({}),
            actor,
            idempotency_key: None,
        };
        let run = self.service.start_run(asked).await.unwrap().id;
        for _ in looks() {
            let view = self.service.run(&run).await.unwrap();
            if view.status == until {
                return run;
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        panic!("{workflow} does not stand in {until:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_answers_machines_and_nobody_else() {
    let server = Server::start().await;
    let (_stop, shutdown) = watch::channel(false);
    let machines = Machines { service: server.service.clone(), metrics: Metrics::new().unwrap() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, machines_router(machines), Limits::default(), shutdown));
    for (path, wanted) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/api/v1/runs", 404)] {
        let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        assert_eq!(response.status().as_u16(), wanted, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_ready_while_its_store_takes_no_writes_and_is_again_after() {
    use sqlx::{Connection as _, SqliteConnection};
    let server = Server::start().await;
    assert_eq!(server.get("/readyz").await.0, 200);
    let mut other = SqliteConnection::connect(&server.database.to_string_lossy()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (status, said) = server.get("/readyz").await;
    assert_eq!(status, 503, "{said}");
    let problem: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(problem["code"], "not-ready");
    assert!(problem["detail"].as_str().unwrap().contains("locked"), "{problem}");
    assert_eq!(server.get("/healthz").await.0, 200, "the process itself is well");
    let page = server.scrape().await;
    assert!(page.value("keyferry_store_writable", &[]) < 0.5 && page.value("keyferry_store_up", &[]) > 0.5);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(server.get("/readyz").await.0, 200);
    let page = server.scrape().await;
    assert!(page.value("keyferry_store_writable", &[]) > 0.5);
    assert!(page.value("keyferry_store_failures_total", &[("operation", "probe")]) > 0.5);
}
