//! The cures that are done to keyferry itself: another version of it, another installation, its configuration, its database. A
//! run stands in attention, keyferry is stopped, put right and started over the same database, and the run is retried.

use std::{sync::Arc, time::Duration};

use keyferry::{
    aws::Aws,
    config::Config,
    engine::Standing,
    forms::Forms,
    sandbox::{Options, Sandbox},
    steps::{Domain, register},
    store::{RecordPut, SqliteStore},
    worker::{Clock as _, Definitions, OUTAGES, Registry, RunView, Service, ServiceOptions, StartRun, SystemClock},
};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::{sync::watch, task::JoinHandle};

use super::super::{
    put_back::actor,
    world::{WEST, World},
};
use crate::support::{add_dave, patience::looks};

/// What is installed: everything, but for what a test takes out.
#[derive(Default)]
struct Installed {
    lacks_step: Option<&'static str>,
    lacks_workflow: Option<&'static str>,
    lacks_partition: Option<&'static str>,
    /// Nothing is executed.
    is_idle: bool,
}

const IDLE: Installed = Installed { lacks_step: None, lacks_workflow: None, lacks_partition: None, is_idle: true };

/// A child is started in the commit that comes to its state, here by whoever executes the step before it.
const PARENT: &str = r#"{"StartAt":"Look","States":{
    "Look":{"Type":"Task","Resource":"urn:keyferry:step:list-outages","Parameters":{"asked":{},"again":false},"ResultPath":null,
        "Next":"Child"},
    "Child":{"Type":"Task","Resource":"urn:keyferry:workflow:policies","End":true}}}"#;
const POLICIES: &str = r#"{"StartAt":"Policies","States":{
    "Policies":{"Type":"Task","Resource":"urn:keyferry:step:render-key-policies","End":true}}}"#;
/// What every migration asks before anything else: whether a system is out of service.
const LOOK: &str = r#"{"StartAt":"Look","States":{"Look":{"Type":"Task","Resource":"urn:keyferry:step:list-outages",
    "Parameters":{"asked":{},"again":false},"End":true}}}"#;

struct Keyferry {
    store: Arc<SqliteStore>,
    service: Service,
    stop: watch::Sender<bool>,
    worker: JoinHandle<()>,
}

impl Keyferry {
    async fn start(database: &std::path::Path, installed: Installed) -> Self {
        let mut config = Config::default();
        if let Some(partition) = installed.lacks_partition {
            config.aws.partitions.remove(partition).unwrap();
        }
        let config = Arc::new(config);
        let sandbox = Sandbox::open(Options {
            data: None,
            speed: 1.0,
            wall: Arc::new(|| SystemClock.now()),
            default_account: "127450652264".to_owned(),
            quotas: 1,
        })
        .await
        .unwrap();
        let aws = Arc::new(Aws::sandboxed(&config, &sandbox));
        let domain = Domain::paced(aws, Arc::clone(&config), Duration::from_secs(1), Duration::from_secs(1));
        let mut steps = Registry::new();
        for step in register(&domain).into_iter().filter(|step| Some(step.name()) != installed.lacks_step) {
            steps.add(step);
        }
        let mut definitions = Definitions::new();
        for (name, source) in [("parent", PARENT), ("policies", POLICIES), ("look", LOOK)] {
            if Some(name) != installed.lacks_workflow {
                definitions.add(name, source).unwrap();
            }
        }
        let store = Arc::new(SqliteStore::open(database).await.unwrap());
        let service = Service::open(ServiceOptions {
            store: Arc::<SqliteStore>::clone(&store),
            definitions,
            steps,
            forms: Arc::new(Forms::shipped().unwrap()),
            clock: Arc::new(SystemClock),
            config,
            poll: Some(Duration::from_millis(10)),
        })
        .await
        .unwrap();
        let (stop, stopping) = watch::channel(false);
        let runs = service.clone();
        let worker = tokio::spawn(async move {
            if !installed.is_idle {
                runs.run_worker(stopping, Duration::from_secs(60)).await.expect("it is given back");
            }
        });
        Self { store, service, stop, worker }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.worker.await.unwrap();
        self.store.close().await;
    }

    async fn begin(&self, workflow: &str, input: Value) -> String {
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: workflow.to_owned(),
            input,
            actor: actor(),
            idempotency_key: None,
        };
        self.service.start_run(asked).await.unwrap().id
    }

    async fn until(&self, run: &str, holds: impl Fn(&RunView) -> bool) -> RunView {
        for _ in looks() {
            let view = self.service.run(run).await.unwrap();
            if holds(&view) {
                return view;
            }
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come about: {:#?}", self.service.run(run).await);
    }

    /// The run stands in attention for this, and its cause says so.
    async fn stands(&self, run: &str, error: &str, says: &str) {
        let view = self.until(run, |view| view.status == Standing::Attention).await;
        assert_eq!(view.attention[0].error, error, "{view:#?}");
        assert!(view.attention[0].cause.contains(says), "{view:#?}");
    }

    async fn retry(&self, run: &str) -> Value {
        let view = self.service.run(run).await.unwrap();
        self.service.retry(run, &view.attention[0].visit, None, actor(), "put right").await.unwrap();
        let view = self.until(run, |view| view.ended_at.is_some() || view.status == Standing::Attention).await;
        assert_eq!(view.status, Standing::Succeeded, "{view:#?}");
        view.output.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_version_or_installation_lacks_is_installed_and_the_run_goes_on() {
    let plan = json!({ "plan": World::plan() });
    for (installed, workflow, error, says) in [
        (
            Installed { lacks_step: Some("render-key-policies"), ..Installed::default() },
            "policies",
            "Keyferry.UnknownStep",
            "render-key-policies",
        ),
        (
            Installed { lacks_workflow: Some("policies"), ..Installed::default() },
            "parent",
            "Keyferry.UnknownWorkflow",
            "policies",
        ),
        (
            Installed { lacks_partition: Some("aws"), ..Installed::default() },
            "policies",
            "Keyferry.UnsupportedRegion",
            WEST,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("keyferry.db");
        // What is lacking from the beginning is not begun.
        let keyferry = Keyferry::start(&database, IDLE).await;
        add_dave(&keyferry.service).await;
        let run = keyferry.begin(workflow, plan.clone()).await;
        keyferry.stop().await;
        let keyferry = Keyferry::start(&database, installed).await;
        keyferry.stands(&run, error, says).await;
        keyferry.stop().await;
        let keyferry = Keyferry::start(&database, Installed::default()).await;
        let output = keyferry.retry(&run).await;
        assert!(output["policies"][WEST]["Statement"].is_array(), "{error}: {output:#}");
        keyferry.stop().await;
    }
}

/// The statement that docs/operating.md gives for one record, with its words filled in.
fn one_record(backup: &std::path::Path, key: &str) -> String {
    let page = include_str!("../../../docs/operating.md");
    let at = page.find("ATTACH 'BACKUP'").expect("the statement is documented");
    let statement = page[at..].split('"').next().unwrap();
    let names = [("BACKUP", backup.to_str().unwrap()), ("ENTERPRISE", "dave"), ("COLLECTION", OUTAGES), ("KEY", key)];
    names
        .iter()
        .fold(statement.to_owned(), |text, (name, value)| text.replace(&format!("'{name}'"), &format!("'{value}'")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_put_back_from_a_backup_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (database, backup) = (folder.path().join("keyferry.db"), folder.path().join("backup.db"));
    let keyferry = Keyferry::start(&database, IDLE).await;
    add_dave(&keyferry.service).await;
    let at = SystemClock.now();
    let over = json!({
        "run": "r-1", "frame": 0, "system": "dave-production", "region": WEST, "resource_id": "db-1", "old": "byok-1",
        "state": "serving", "since": at, "cutoff": at, "end": at, "input": {}, "served": "kept", "ended_at": at,
    });
    let put = RecordPut {
        enterprise: "dave".to_owned(),
        collection: OUTAGES.to_owned(),
        key: "db-1".to_owned(),
        expected: 0,
        body: over,
        at,
    };
    keyferry.service.put_records(vec![put]).await.unwrap();
    SqliteStore::backup(&database, &backup).await.unwrap();
    let run = keyferry.begin("look", json!({})).await;
    keyferry.stop().await;
    let done = async |statements: &str| {
        let mut connection = sqlx::SqliteConnection::connect(database.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    done("UPDATE records SET body = '[]' WHERE collection = 'outage'").await;
    let keyferry = Keyferry::start(&database, Installed::default()).await;
    // Not even the run can be shown as long as it is damaged; what is says so too.
    let told = keyferry.service.run(&run).await.unwrap_err();
    assert!(told.code == "store-corrupt" && told.message.contains("record outage/db-1 of dave"), "{told}");
    for _ in looks() {
        let rows = keyferry.service.history(&run, 20, None).await.unwrap().items;
        if rows.iter().any(|row| row.event["error"] == "Keyferry.StoreUnreadable") {
            break;
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
    keyferry.stop().await;
    done(&one_record(&backup, "db-1")).await;
    let keyferry = Keyferry::start(&database, Installed::default()).await;
    keyferry.stands(&run, "Keyferry.StoreUnreadable", "the record outage/db-1").await;
    assert_eq!(keyferry.retry(&run).await["outages"], json!([]));
    keyferry.stop().await;
}
