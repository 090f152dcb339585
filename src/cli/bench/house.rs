//! An engine for the bench: the real store, service and worker, with definitions, a step and a form that do nothing.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::{super::output::Failure, CONCURRENCY, failed, marks::Marks};
use crate::{
    config::Config,
    engine::Actor,
    store::{PostgresStore, RunsPage, SqliteStore, Store},
    worker::{
        CheckContext, Clock as _, Definitions, Finding, FormBook, NewEnterprise, Progress, Registry, Service,
        ServiceError, ServiceOptions, StartRun, Step, StepContext, StepError, SystemClock,
    },
};

/// The enterprise of every run of the bench. A database that knows others is somebody's, and is not touched.
const ENTERPRISE: &str = "bench";
/// The definition that waits for the form and then runs one step.
pub const ASK: &str = "bench-ask";
pub const FORM: &str = "bench-go";

/// Name of the definition of that many steps in sequence.
pub fn sequence(steps: usize) -> String {
    format!("bench-{steps}-steps")
}

pub fn actor() -> Actor {
    Actor { name: "bench".to_owned(), role: "engineer".to_owned() }
}

/// What stops the worker, and its end.
type Running = (watch::Sender<bool>, JoinHandle<Result<(), ServiceError>>);

/// The engine, opened; its worker when [`House::work`] was called.
pub struct House {
    pub service: Service,
    pub marks: Arc<Marks>,
    base: Base,
    store: Arc<dyn Store>,
    quick: Arc<Quick>,
    worker: Option<Running>,
}

/// What a database's URL names.
pub enum Database {
    File(PathBuf),
    /// The URL as it was given.
    Server(String),
}

impl Database {
    /// # Errors
    /// It is no URL of a database that keyferry knows.
    pub fn of(url: &str) -> Result<Self, Failure> {
        match url.split_once(':') {
            Some(("sqlite", rest)) => Ok(Self::File(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Server(url.to_owned())),
            _ => Err(Failure::Usage(
                "the database is no URL such as sqlite:DIR/bench.db or postgres://HOST/NAME".to_owned(),
            )),
        }
    }

    async fn open(&self) -> Result<Base, Failure> {
        Ok(match self {
            Self::File(path) => Base::Sqlite(SqliteStore::open(path).await.map_err(failed)?),
            Self::Server(url) => Base::Postgres(PostgresStore::open(url).await.map_err(failed)?),
        })
    }
}

/// The store as what it is: the trait does not close it.
#[derive(Clone)]
enum Base {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Base {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

impl House {
    /// Opens the database, with definitions of as many steps in sequence as `sequences` says.
    ///
    /// # Errors
    /// It cannot be used, or it is not the bench's.
    pub async fn open(database: &Database, sequences: &[usize]) -> Result<Self, Failure> {
        let base = database.open().await?;
        let store = base.store();
        let known = store.enterprises(2, None).await.map_err(failed)?;
        if known.items.iter().any(|enterprise| enterprise.id != ENTERPRISE) {
            let reason = "the database holds enterprises: the bench needs one of its own";
            return Err(Failure::Usage(reason.to_owned()));
        }
        let marks = Arc::new(Marks::open()?);
        let quick = Arc::new(Quick { marks: Arc::clone(&marks), service: Mutex::default() });
        let mut config = Config::default();
        config.worker.concurrency = CONCURRENCY;
        let mut steps = Registry::new();
        steps.add(Arc::<Quick>::clone(&quick));
        let service = Service::open(ServiceOptions {
            store: Arc::clone(&store),
            definitions: definitions(sequences)?,
            steps,
            forms: Arc::new(Open),
            clock: Arc::new(SystemClock),
            config: Arc::new(config),
            poll: None,
        })
        .await
        .map_err(failed)?;
        let enterprise = NewEnterprise {
            id: ENTERPRISE.to_owned(),
            name: "Bench".to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
        };
        service.add_enterprise(enterprise).await.map_err(failed)?;
        *quick.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service.clone());
        Ok(Self { service, marks, base, store, quick, worker: None })
    }

    /// Begins to claim and execute.
    pub fn work(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let service = self.service.clone();
        let running = tokio::spawn(async move { service.run_worker(stopped, Duration::from_secs(5)).await });
        self.worker = Some((stop, running));
    }

    /// Stops the worker, when it has drained.
    ///
    /// # Errors
    /// It had failed.
    pub async fn rest(&mut self) -> Result<(), Failure> {
        let Some((stop, running)) = self.worker.take() else { return Ok(()) };
        stop.send_replace(true);
        running.await.map_err(failed)?.map_err(failed)
    }

    /// Stops everything and lets the database go.
    ///
    /// # Errors
    /// The worker had failed.
    pub async fn close(mut self) -> Result<(), Failure> {
        let rested = self.rest().await;
        self.quick.service.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.base.close().await;
        rested
    }

    /// Starts a run and returns its identifier when it is durable.
    ///
    /// # Errors
    /// The service refused it.
    pub async fn start(service: &Service, workflow: String, input: Value) -> Result<String, Failure> {
        let asked =
            StartRun { enterprise: ENTERPRISE.to_owned(), workflow, input, actor: actor(), idempotency_key: None };
        service.start_run(asked).await.map(|run| run.id).map_err(failed)
    }

    /// Notes the runs that have ended, which a process that was killed may have had no time to note.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn mark_ended(store: &dyn Store, marks: &Marks) -> Result<(), Failure> {
        let mut cursor = None;
        loop {
            let asked = RunsPage { status: Some("succeeded".to_owned()), limit: 200, cursor, ..RunsPage::default() };
            let page = store.runs(asked).await.map_err(failed)?;
            page.items.iter().for_each(|run| marks.end(run));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }
}

fn definitions(sequences: &[usize]) -> Result<Definitions, Failure> {
    let mut all = Definitions::new();
    let mut add = |name: &str, source: Value| {
        all.share(name);
        all.add(name, &source.to_string())
            .map_err(|problems| Failure::Failed(format!("the definition {name} has {} problems", problems.len())))
    };
    for steps in sequences {
        let mut states = Map::new();
        for number in 0..*steps {
            let next = number + 1;
            let mut state = json!({ "Type": "Task", "Resource": "urn:keyferry:step:bench-quick", "ResultPath": null });
            if let Some(state) = state.as_object_mut() {
                if next == *steps {
                    state.insert("End".to_owned(), true.into());
                } else {
                    state.insert("Next".to_owned(), format!("S{next}").into());
                }
            }
            states.insert(format!("S{number}"), state);
        }
        add(&sequence(*steps), json!({ "StartAt": "S0", "States": states }))?;
    }
    let ask = json!({ "StartAt": "Ask", "States": {
        "Ask": { "Type": "Task", "Resource": format!("urn:keyferry:form:{FORM}"), "ResultPath": null, "Next": "S0" },
        "S0": { "Type": "Task", "Resource": "urn:keyferry:step:bench-quick", "End": true },
    }});
    add(ASK, ask)?;
    Ok(all)
}

/// The step that does nothing but note when, or sleeps for as long as its input says.
struct Quick {
    marks: Arc<Marks>,
    /// There from the house's opening to its closing.
    service: Mutex<Option<Service>>,
}

#[async_trait]
impl Step for Quick {
    fn name(&self) -> &'static str {
        "bench-quick"
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let said = |name: &str| input.get(name).and_then(Value::as_u64).unwrap_or(0);
        let number = context.state.strip_prefix('S').and_then(|number| number.parse().ok()).unwrap_or(0);
        self.marks.begin(&context.run, number);
        if said("steps") == 0 {
            self.marks.wake(&context.run);
        }
        if said("sleep_ms") > 0 {
            SystemClock.sleep(Duration::from_millis(said("sleep_ms"))).await;
        }
        self.marks.line('E', &context.run, number);
        if u64::try_from(number + 1) == Ok(said("steps")) {
            self.tell_the_end(&context.run);
        }
        Ok(Progress::done(json!(number)))
    }
}

impl Quick {
    /// Notes the run's end when the commit that ends it is durable: its next one, because this is its last step.
    fn tell_the_end(&self, run: &str) {
        let Some(service) = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        let mut moved = service.watch(run);
        let (marks, run) = (Arc::clone(&self.marks), run.to_owned());
        tokio::spawn(async move {
            if moved.changed().await.is_ok() {
                marks.end(&run);
            }
        });
    }
}

/// Takes every answer.
struct Open;

impl FormBook for Open {
    fn role(&self, form: &str) -> Option<String> {
        (form == FORM).then(|| "engineer".to_owned())
    }

    fn check(&self, _form: &str, answer: &Value, _context: CheckContext<'_>) -> Result<Value, Vec<Finding>> {
        Ok(answer.clone())
    }
}
