//! One life of keyferry's process over a store and a cloud that outlive it, in virtual time.
//!
//! All tasks of a life run on one thread, so whoever has yielded often enough while no step runs and the claim loop sleeps
//! knows that nothing will happen before the clock moves. A life ends early in the middle of a step: its runtime is dropped,
//! as a killed process's memory is, and what was on its way to the cloud or the store has arrived or not.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use keyferry::{
    aws::Aws,
    config::Config,
    forms::Forms,
    sandbox::Sandbox,
    steps::{Domain, register},
    store::{SqliteStore, StoreError},
    worker::{
        Clock as _, Definitions, Progress, Registry, Service, ServiceOptions, Step, StepContext, StepError, SystemClock,
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::clock::VirtualClock;

const DEFINITIONS: [(&str, &str); 4] = [
    ("compliance-audit", include_str!("../../workflows/compliance-audit.asl.json")),
    ("customer-managed", include_str!("../../workflows/customer-managed.asl.json")),
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
    ("put-back", include_str!("../../workflows/put-back.asl.json")),
];

/// How often keyferry looks at what RDS is busy with.
const LOOK: Duration = Duration::from_secs(300);
/// Yields after which everything that can move has moved: the longest chain of tasks that wake each other is far shorter.
const YIELDS: usize = 64;
/// How often keyferry looks whether a system that is out of service is due.
const OUTAGE_LOOK: Duration = Duration::from_secs(600);
/// The claim loop, the renewal of leases, and the watch over outages.
const ASLEEP: usize = 3;

/// A security group by region and VPC.
pub type ClosingGroups = BTreeMap<String, BTreeMap<String, String>>;

/// In which execution of a step, and after how many polls of it, the process dies.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    pub execution: u32,
    pub polls: u32,
}

/// A guard of the product that is taken out, to see whether the judge misses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rogue {
    /// `swap-system` says that it is done and gives nothing its name.
    SwapDoesNothing,
    /// `confirm-cut-over` believes it.
    NothingIsConfirmed,
    /// `verify-system` finds a difference each time.
    NothingMatches,
    /// `thaw-system` says that the original serves and puts nothing back.
    ThawDoesNothing,
    /// `put-back-system`, which comes at the deadline or after a cancel, waits for ever.
    PutBackWaits,
    /// `check-purge` says that the whole list is proven.
    NothingIsProven,
    /// `purge-resource` deletes its line of the list without a look at what is left.
    PurgeLooksAtNothing,
}

impl Rogue {
    fn step(self) -> &'static str {
        match self {
            Self::SwapDoesNothing => "swap-system",
            Self::NothingIsConfirmed => "confirm-cut-over",
            Self::NothingMatches => "verify-system",
            Self::ThawDoesNothing => "thaw-system",
            Self::PutBackWaits => "put-back-system",
            Self::NothingIsProven => "check-purge",
            Self::PurgeLooksAtNothing => "purge-resource",
        }
    }

    async fn run(self, aws: &Aws, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
        let kept = |system: &Value| json!({ "system": system["id"], "region": system["region"], "outcome": "kept" });
        match self {
            Self::SwapDoesNothing => Ok(Progress::done(json!({}))),
            Self::NothingIsConfirmed => {
                let mut done = kept(&input["system"]);
                done["outcome"] = json!("migrated");
                Ok(Progress::done(done))
            }
            Self::NothingMatches => Err(StepError::new("Keyferry.Mismatch", "a difference that a test made up")),
            Self::ThawDoesNothing => Ok(Progress::done(kept(&input["system"]))),
            Self::PutBackWaits => {
                let (poll_after, waiting_for) = (Duration::from_secs(3_600), "a test".to_owned());
                Ok(Progress::Pending { poll_after, checkpoint: Value::Null, waiting_for })
            }
            Self::NothingIsProven => {
                Ok(Progress::done(json!({ "verdict": "proven", "plan": input["plan"], "seen": {} })))
            }
            Self::PurgeLooksAtNothing => {
                let plan = context.record("purge-plan", input["plan"].as_str().unwrap()).await?.unwrap();
                let line = &plan["list"]["lines"][usize::try_from(input["number"].as_u64().unwrap()).unwrap()];
                let text = |member: &str| line[member].as_str().unwrap().to_owned();
                let rds = aws.rds(&text("region")).await.unwrap();
                // What is gone already, or goes with something else, is refused.
                if text("kind") == "instance" {
                    let call = rds.modify_db_instance().db_instance_identifier(text("id")).deletion_protection(false);
                    drop(call.apply_immediately(true).send().await);
                    let call = rds.delete_db_instance().db_instance_identifier(text("id")).skip_final_snapshot(true);
                    drop(call.send().await);
                } else {
                    drop(rds.delete_db_snapshot().db_snapshot_identifier(text("id")).send().await);
                }
                Ok(Progress::done(json!({})))
            }
        }
    }
}

/// What a life and its steps share.
#[derive(Debug, Default)]
struct Vitals {
    running: AtomicUsize,
    executions: AtomicU32,
    dead: AtomicBool,
}

/// A step in which the process may die.
struct Mortal {
    inner: Arc<dyn Step>,
    rogue: Option<(Rogue, Arc<Aws>)>,
    death: Option<Death>,
    vitals: Arc<Vitals>,
}

#[async_trait]
impl Step for Mortal {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let execution = self.vitals.executions.fetch_add(1, Ordering::SeqCst);
        let fatal = self.death.filter(|death| death.execution == execution);
        let _running = Running::new(&self.vitals);
        if let Some((rogue, aws)) = &self.rogue {
            return rogue.run(aws, context, &input).await;
        }
        let mut polls = 0;
        let mut inner = self.inner.run(context, input);
        let outcome = poll_fn(|task| {
            if fatal.is_some_and(|death| polls >= death.polls) {
                self.vitals.dead.store(true, Ordering::SeqCst);
                return Poll::Pending;
            }
            polls += 1;
            inner.as_mut().poll(task)
        })
        .await;
        if fatal.is_some() {
            // It ended before: its outcome is on its way to the store.
            self.vitals.dead.store(true, Ordering::SeqCst);
        }
        outcome
    }
}

struct Running<'a>(&'a Vitals);

impl<'a> Running<'a> {
    fn new(vitals: &'a Vitals) -> Self {
        vitals.running.fetch_add(1, Ordering::SeqCst);
        Self(vitals)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The living process.
pub struct Life {
    pub service: Service,
    pub aws: Arc<Aws>,
    clock: VirtualClock,
    vitals: Arc<Vitals>,
    _stop: watch::Sender<bool>,
}

impl Life {
    /// Starts the process. The one before it is dead, but the system may take a moment to see that.
    /// `closing` are the groups that let nobody in, by region and VPC.
    pub async fn begin(
        store: &Path,
        (sandbox, clock): (&Sandbox, &VirtualClock),
        closing: ClosingGroups,
        (death, rogues): (Option<Death>, &[Rogue]),
    ) -> Self {
        let mut config = Config::default();
        config.aws.closing_groups = closing;
        // Renewals of leases would be most of what happens in days.
        config.worker.lease_s = 3_600;
        let config = Arc::new(config);
        let aws = Arc::new(Aws::sandboxed(&config, sandbox));
        let domain = Domain::paced(Arc::clone(&aws), Arc::clone(&config), LOOK, Duration::from_secs(600));
        let vitals = Arc::new(Vitals::default());
        let mut steps = Registry::new();
        for inner in register(&domain) {
            let rogue = rogues.iter().find(|rogue| rogue.step() == inner.name());
            let rogue = rogue.map(|rogue| (*rogue, Arc::clone(&aws)));
            steps.add(Arc::new(Mortal { inner, rogue, death, vitals: Arc::clone(&vitals) }));
        }
        let mut definitions = Definitions::new();
        for (name, source) in DEFINITIONS {
            definitions.add(name, source).unwrap();
        }
        let store = loop {
            match SqliteStore::open(store).await {
                Ok(store) => break store,
                Err(StoreError::Locked { .. }) => {
                    SystemClock.sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("the store does not open: {error}"),
            }
        };
        let service = Service::open(ServiceOptions {
            store: Arc::new(store),
            definitions,
            steps,
            forms: Arc::new(Forms::shipped().unwrap()),
            clock: Arc::new(clock.clone()),
            config,
            poll: Some(Duration::from_secs(3_600)),
        })
        .await
        .unwrap();
        let (stop, stopping) = watch::channel(false);
        let worker = service.clone();
        tokio::spawn(async move { worker.run_worker(stopping, Duration::from_secs(60)).await });
        tokio::spawn(service.clone().watch_outages(OUTAGE_LOOK));
        Self { service, aws, clock: clock.clone(), vitals, _stop: stop }
    }

    pub fn is_dead(&self) -> bool {
        self.vitals.dead.load(Ordering::SeqCst)
    }

    /// Returns when nothing will happen before the clock moves, or the process is dead.
    pub async fn quiet(&self) {
        loop {
            if self.still().await && self.service.stats().await.executing == 0 && self.still().await {
                return;
            }
            if self.is_dead() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether nothing ran for as long as it takes everybody to have their turn.
    async fn still(&self) -> bool {
        let before = self.vitals.executions.load(Ordering::SeqCst);
        for _ in 0..YIELDS {
            let asleep = self.clock.sleepers() >= ASLEEP;
            if !asleep || self.vitals.running.load(Ordering::SeqCst) > 0 || self.is_dead() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        before == self.vitals.executions.load(Ordering::SeqCst)
    }
}
