//! One life of keyferry's process over a store and a cloud that outlive it, in virtual time.
//!
//! All tasks of a life run on one thread, so whoever has yielded often enough while no step runs and the claim loop sleeps
//! knows that nothing will happen before the clock moves. A life ends early in the middle of a step: its runtime is dropped,
//! as a killed process's memory is, and what was on its way to the cloud or the store has arrived or not.

use std::{
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

const DEFINITIONS: [(&str, &str); 3] = [
    ("compliance-audit", include_str!("../../workflows/compliance-audit.asl.json")),
    ("customer-managed", include_str!("../../workflows/customer-managed.asl.json")),
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
];

/// How often keyferry looks at what RDS is busy with.
const LOOK: Duration = Duration::from_secs(300);
/// Yields after which everything that can move has moved: the longest chain of tasks that wake each other is far shorter.
const YIELDS: usize = 64;
/// The claim loop, and the renewal of leases.
const ASLEEP: usize = 2;

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
    /// `verify-system` finds a difference each time.
    NothingMatches,
    /// `thaw-system` says that the original serves and puts nothing back.
    ThawDoesNothing,
    /// `purge-resource` deletes what it is given without a look at what is left.
    PurgeLooksAtNothing,
}

impl Rogue {
    fn step(self) -> &'static str {
        match self {
            Self::SwapDoesNothing => "swap-system",
            Self::NothingMatches => "verify-system",
            Self::ThawDoesNothing => "thaw-system",
            Self::PurgeLooksAtNothing => "purge-resource",
        }
    }

    async fn run(self, aws: &Aws, input: &Value) -> Result<Progress, StepError> {
        match self {
            Self::SwapDoesNothing => Ok(Progress::done(json!({}))),
            Self::NothingMatches => Err(StepError::new("Keyferry.Mismatch", "a difference that a test made up")),
            Self::ThawDoesNothing => {
                let (system, region) = (&input["system"]["id"], &input["system"]["region"]);
                Ok(Progress::done(json!({ "system": system, "region": region, "outcome": "kept" })))
            }
            Self::PurgeLooksAtNothing => {
                let text = |member: &str| input["resource"][member].as_str().unwrap_or_default().to_owned();
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
            return rogue.run(aws, &input).await;
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
    pub async fn begin(store: &Path, sandbox: &Sandbox, clock: &VirtualClock, ends: (Option<Death>, &[Rogue])) -> Self {
        let (death, rogues) = ends;
        let mut config = Config::default();
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
