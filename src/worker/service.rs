//! The one door of people to runs. Every method returns only when what it did is durable.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use prometheus::proto::MetricFamily;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    Act, By, Clock, Definitions, ErrorKind, FormBook, Registry, RunView, ServiceError,
    by::Once,
    committer::Committer,
    core::{Core, POLL_FLOOR, lock},
    meters::{Meters, Operation},
    turns::{self, Begin, Beginning},
};
use crate::{
    config::Config,
    engine::{Actor, Definition, Payload, Resource},
    store::{Enterprise, Idempotency, Page, Start, Store, StoreError, Tally, Vitals},
};

/// Watched runs above which those are forgotten that nobody watches any more.
const WATCHED: usize = 256;
/// How long a scrape waits for the store, twice at most: Prometheus itself waits for ten seconds.
const SCRAPE: Duration = Duration::from_secs(3);

/// What a service is made of.
pub struct ServiceOptions {
    pub store: Arc<dyn Store>,
    pub definitions: Definitions,
    pub steps: Registry,
    pub forms: Arc<dyn FormBook>,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    /// The longest that a worker does not look for due work when nothing wakes it; `None` for one second.
    pub poll: Option<Duration>,
}

/// People and workers share it; a clone is another handle.
#[derive(Clone)]
pub struct Service {
    pub(super) core: Arc<Core>,
}

/// An enterprise to add.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NewEnterprise {
    /// 1 to 40 of `a-z`, `0-9` and `-`, beginning with a letter.
    pub id: String,
    pub name: String,
    /// `aws` or `aws-us-gov`.
    pub partition: String,
    #[serde(default)]
    pub customer_email: Option<String>,
    #[serde(default)]
    pub csm_email: Option<String>,
    #[serde(default)]
    pub engineer_email: Option<String>,
    /// Who else gets the audit's letters.
    #[serde(default)]
    pub audit_emails: Vec<String>,
}

/// A run to start.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRun {
    pub enterprise: String,
    pub workflow: String,
    pub input: Value,
    pub actor: Actor,
    /// The same key with the same request answers with the same run.
    pub idempotency_key: Option<String>,
}

/// Whether the store can be written to, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    pub writable: bool,
    pub reason: Option<String>,
}

/// Counts for metrics.
#[derive(Debug, Clone)]
pub struct Stats {
    /// `None` when the store could not be read.
    pub tally: Option<Tally>,
    pub vitals: Vitals,
    pub writable: bool,
    /// Claims of the loop, without those of commits.
    pub claimed: u64,
    pub executing: usize,
    /// Steps that may run at once, and how many more may begin now.
    pub slots: usize,
    pub slots_free: usize,
    pub now: DateTime<Utc>,
    /// What this process has counted, as Prometheus takes it.
    pub counted: Vec<MetricFamily>,
}

impl Service {
    /// Opens the service: the work of whoever is known to have died with a lease is due at once.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn open(options: ServiceOptions) -> Result<Self, ServiceError> {
        let now = options.clock.now();
        for (name, definition) in options.definitions.iter() {
            options.store.keep_definition(&definition.hash, name, &definition.source, now).await?;
        }
        let owner = options.clock.new_id();
        options.store.attend(&owner).await?;
        options.store.expire_leases().await?;
        let kept = options.definitions.iter().map(|(_, found)| (found.hash.clone(), Arc::clone(found))).collect();
        let limits = options.config.worker.clone();
        let meters = Meters::new().map_err(|error| {
            ServiceError::new(ErrorKind::Refused, "metrics-invalid", format!("the metrics cannot be made: {error}"))
        })?;
        let meters = Arc::new(meters);
        let slots = limits.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let core = Core {
            committer: Committer::start(Arc::clone(&options.store), Arc::clone(&meters)),
            store: options.store,
            owner,
            clock: options.clock,
            steps: options.steps,
            definitions: options.definitions,
            forms: options.forms,
            config: options.config,
            hot: super::runs::Hot::default(),
            kept: Mutex::new(kept),
            lease: Duration::from_secs(limits.lease_s.max(1)),
            poll: options.poll.unwrap_or(POLL_FLOOR),
            crash_limit: limits.crash_limit.max(1),
            suspects: Semaphore::new(1),
            slots,
            room: Arc::new(Semaphore::new(slots)),
            wake: Notify::new(),
            claims: AtomicBool::new(false),
            backlog: AtomicBool::new(false),
            held: super::held::Held::default(),
            executing: watch::Sender::new(0),
            watchers: Mutex::default(),
            trouble: Mutex::default(),
            healed: Notify::new(),
            meters,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// Claims and executes until `shutdown` is true or its sender is gone; then waits for running steps, at most `grace`, and
    /// gives back what still runs.
    ///
    /// # Errors
    /// What was held could not be given back: it is claimed again when its lease has passed.
    pub async fn run_worker(&self, shutdown: watch::Receiver<bool>, grace: Duration) -> Result<(), ServiceError> {
        Ok(super::claims::run(Arc::clone(&self.core), shutdown, grace).await?)
    }

    /// Adds an enterprise; the same one again is answered as if it were new.
    ///
    /// # Errors
    /// A bad identifier, partition or address; another enterprise of that identifier.
    pub async fn add_enterprise(&self, new: NewEnterprise) -> Result<Enterprise, ServiceError> {
        let actor = Actor { name: "keyferry".to_owned(), role: "system".to_owned() };
        self.add_enterprise_by(new, actor).await
    }

    /// The same for somebody.
    ///
    /// # Errors
    /// As of [`Service::add_enterprise`]; `wrong-role`; an idempotency key that was used for another request.
    pub async fn add_enterprise_by(&self, new: NewEnterprise, by: impl Into<By>) -> Result<Enterprise, ServiceError> {
        let by = by.into();
        self.authorize(&by.actor, Act::Administer)?;
        let once = by.once(&serde_json::json!(["add-enterprise", new]));
        if self.done_before(once.as_ref()).await?.is_some() {
            return self.enterprise(&new.id).await;
        }
        super::enterprises::check(&new, &self.core.config)?;
        let enterprise = Enterprise {
            id: new.id,
            name: new.name,
            partition: new.partition,
            customer_email: new.customer_email,
            csm_email: new.csm_email,
            engineer_email: new.engineer_email,
            audit_emails: new.audit_emails,
            created_at: self.core.clock.now(),
            version: 1,
        };
        let key = once.map(|once| once.kept(serde_json::json!({ "enterprise": enterprise.id })));
        match self.core.store.add_enterprise_once(enterprise.clone(), key).await {
            Ok(true) => return Ok(enterprise),
            // It is there, or the same request was first.
            Ok(false) | Err(StoreError::AlreadyStarted { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let found = self.enterprise(&enterprise.id).await?;
        if (Enterprise { created_at: found.created_at, version: found.version, ..enterprise }) == found {
            return Ok(found);
        }
        let message = format!("there is an enterprise {} with other values already", found.id);
        Err(ServiceError::new(ErrorKind::Conflict, "enterprise-exists", message))
    }

    /// # Errors
    /// There is none of that identifier.
    pub async fn enterprise(&self, id: &str) -> Result<Enterprise, ServiceError> {
        // Asked of the store each time: another process may have changed it.
        let found = self.core.store.enterprise(id).await?;
        Ok(found.ok_or_else(|| StoreError::NotFound { what: "enterprise", id: id.to_owned() })?)
    }

    /// By identifier, `limit` of 1 to 200 at a time.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn enterprises(&self, limit: u32, cursor: Option<String>) -> Result<Page<Enterprise>, ServiceError> {
        Ok(self.core.store.enterprises(limit.clamp(1, 200), cursor).await?)
    }

    /// Starts a run.
    ///
    /// # Errors
    /// No such workflow or enterprise; a Task that names what is not registered; another open run that changes the
    /// enterprise's systems; an idempotency key that was used for another request.
    pub async fn start_run(&self, asked: StartRun) -> Result<RunView, ServiceError> {
        self.start(asked, None).await
    }

    /// Starts a run in a place, which one run can have, ever: of all that want it at once, the first. A place is a text that
    /// nobody sends as an idempotency key.
    ///
    /// # Errors
    /// `place-taken`: another run has it; and those of [`Service::start_run`].
    pub async fn start_run_in(&self, place: String, asked: StartRun) -> Result<RunView, ServiceError> {
        self.start(asked, Some(place)).await
    }

    /// The run that the same request has started with the same idempotency key.
    ///
    /// # Errors
    /// The key was used for another request.
    pub async fn started(&self, asked: &StartRun) -> Result<Option<RunView>, ServiceError> {
        match self.done_before(once(asked).as_ref()).await? {
            Some(kept) => Ok(Some(self.run(&kept.run).await?)),
            None => Ok(None),
        }
    }

    async fn start(&self, asked: StartRun, place: Option<String>) -> Result<RunView, ServiceError> {
        if let Some(run) = self.started(&asked).await? {
            return Ok(run);
        }
        self.authorize(&asked.actor, Act::Steer)?;
        let key = once(&asked).map(Idempotency::from);
        let definition = self.startable(&asked.workflow)?;
        // No other request is the same: the place is this run's or somebody else's.
        let seat = place.clone().map(|key| Idempotency { key, request: self.core.clock.new_id() });
        let idempotency = key.into_iter().chain(seat).collect();
        let exclusive = self.core.definitions.is_exclusive(&asked.workflow);
        let begin = Begin {
            enterprise: asked.enterprise,
            workflow: asked.workflow,
            input: Payload::from(asked.input),
            actor: asked.actor,
            start: Start { parent: None, exclusive, idempotency },
        };
        let core = Arc::clone(&self.core);
        let started = self.core.apart(async move {
            let Beginning { folded, mut state } = turns::begin(&core, definition, begin)?;
            let run = state.snapshot.header.run.clone();
            let flushed = core.flush_new(&run, folded, &mut state).await;
            core.note(flushed.as_ref());
            flushed.map(|()| run)
        });
        match started.await? {
            Ok(run) | Err(StoreError::AlreadyStarted { run }) => self.run(&run).await,
            Err(StoreError::KeyReused { key }) if place.as_ref() == Some(&key) => {
                Err(ServiceError::new(ErrorKind::Conflict, "place-taken", "another run was started at the same time"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn startable(&self, workflow: &str) -> Result<Arc<Definition>, ServiceError> {
        let unknown = |name: &str| {
            let message = format!("there is no workflow {name}");
            ServiceError::new(ErrorKind::NotFound, "workflow-not-found", message)
        };
        let first = self.core.definitions.get(workflow).ok_or_else(|| unknown(workflow))?;
        let mut missing = Vec::new();
        let mut seen = vec![workflow.to_owned()];
        let mut left = vec![Arc::clone(first)];
        while let Some(definition) = left.pop() {
            for (state, resource) in definition.resources() {
                let (name, known) = match resource {
                    Resource::Step(step) => (format!("step {step}"), self.core.steps.get(step).is_some()),
                    Resource::Form(form) => (format!("form {form}"), self.core.forms.role(form).is_some()),
                    Resource::Workflow(child) => {
                        let found = self.core.definitions.get(child);
                        if let Some(found) = found.filter(|_| !seen.contains(child)) {
                            seen.push(child.clone());
                            left.push(Arc::clone(found));
                        }
                        (format!("workflow {child}"), found.is_some())
                    }
                    Resource::Other(uri) => (uri.clone(), false),
                };
                if !known {
                    missing.push(
                        serde_json::json!({ "pointer": state.pointer, "message": format!("{name} is not registered") }),
                    );
                }
            }
        }
        if missing.is_empty() {
            return Ok(Arc::clone(first));
        }
        let message = format!("the workflow {workflow} names {} that this installation does not have", missing.len());
        Err(ServiceError::new(ErrorKind::Refused, "workflow-incomplete", message).with(Value::Array(missing)))
    }

    /// Wakes with the revision on every commit of this process to the run.
    pub fn watch(&self, run: &str) -> watch::Receiver<u64> {
        let mut watchers = lock(&self.core.watchers);
        if watchers.len() >= WATCHED {
            watchers.retain(|_, watcher| watcher.receiver_count() > 0);
        }
        watchers.entry(run.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Whether other processes may move runs too, of which [`Service::watch`] does not hear.
    pub fn is_shared(&self) -> bool {
        self.core.store.is_shared()
    }

    /// Whether the store can be written to, tried now.
    pub async fn health(&self) -> Health {
        let begun = Instant::now();
        let probed = self.core.store.probe().await;
        self.core.meters.store(Operation::Probe, begun, &probed);
        self.core.note(probed.as_ref());
        match probed {
            Ok(()) => Health { writable: true, reason: None },
            Err(error) => Health { writable: false, reason: Some(error.to_string()) },
        }
    }

    /// What is known now. A store that does not answer in time counts as one that cannot be used: a scrape does not wait.
    pub async fn stats(&self) -> Stats {
        let now = self.core.clock.now();
        let health = tokio::time::timeout(SCRAPE, self.health()).await;
        let tally = tokio::time::timeout(SCRAPE, self.core.store.tally(now)).await;
        Stats {
            tally: tally.ok().and_then(Result::ok),
            vitals: self.core.store.vitals(),
            writable: health.is_ok_and(|health| health.writable),
            claimed: self.core.meters.claimed(),
            executing: *self.core.executing.borrow(),
            slots: self.core.slots,
            slots_free: self.core.room.available_permits(),
            now,
            counted: self.core.meters.gather(),
        }
    }
}

/// What makes two requests for a run the same.
fn once(asked: &StartRun) -> Option<Once> {
    let request = serde_json::json!([asked.enterprise, asked.workflow, asked.input]);
    asked.idempotency_key.as_ref().map(|key| Once::new(key, &request))
}
