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
use serde_json::Value;
use tokio::sync::watch;

use super::{
    build::{EAST, WEST},
    clock::VirtualClock,
    rogue::Rogue,
    wire::{STEP, Wire},
};

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
/// How the process is configured.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// For how long a step is leased.
    pub lease_s: u64,
    /// Only the two regions of the estates are, instead of all that ship.
    pub two_regions: bool,
}

impl Default for Setting {
    fn default() -> Self {
        // In days renewals of leases would be most of what happens.
        Self { lease_s: 3_600, two_regions: false }
    }
}

impl Setting {
    fn config(self, closing: ClosingGroups) -> Config {
        let mut config = Config::default();
        config.aws.closing_groups = closing;
        config.worker.lease_s = self.lease_s;
        if self.two_regions {
            config.aws.partitions.get_mut("aws").unwrap().regions = vec![WEST.to_owned(), EAST.to_owned()];
        }
        config
    }
}

/// What ships, but for what `rogues` amend.
fn definitions(rogues: &[Rogue]) -> Definitions {
    let mut definitions = Definitions::new();
    for (name, source) in DEFINITIONS {
        let amends = rogues.iter().filter_map(|rogue| rogue.amends());
        let amended = amends.fold(source.to_owned(), |source, (from, to)| source.replace(from, to));
        definitions.add(name, &amended).unwrap();
    }
    definitions
}

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
            return STEP.scope((self.name(), execution), rogue.run(aws, &self.inner, context, &input)).await;
        }
        let mut polls = 0;
        let mut inner = std::pin::pin!(STEP.scope((self.name(), execution), self.inner.run(context, input)));
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
    wire: Wire,
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
        (wire, setting): (&Wire, Setting),
    ) -> Self {
        let config = Arc::new(setting.config(closing));
        let aws = Arc::new(wire.aws(&config, sandbox));
        let domain = Domain::paced(Arc::clone(&aws), Arc::clone(&config), LOOK, Duration::from_secs(600));
        let vitals = Arc::new(Vitals::default());
        let mut steps = Registry::new();
        for inner in register(&domain) {
            let rogue = rogues.iter().find(|rogue| rogue.step() == inner.name());
            let rogue = rogue.map(|rogue| (*rogue, Arc::clone(&aws)));
            steps.add(Arc::new(Mortal { inner, rogue, death, vitals: Arc::clone(&vitals) }));
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
            definitions: definitions(rogues),
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
        Self { service, aws, clock: clock.clone(), vitals, wire: wire.clone(), _stop: stop }
    }

    pub fn is_dead(&self) -> bool {
        self.vitals.dead.load(Ordering::SeqCst) || self.wire.is_dead()
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
