//! A process: the real service and worker on a runtime of their own, which a crash drops with all of its tasks wherever they
//! wait.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

use super::{
    hub::{Deliver, Hub, Life, Told},
    steps::{Hands, registry},
    wire::Wire,
    world::Bug,
};
use crate::{
    config::Config,
    engine::properties::generate::Dice,
    worker::{CheckContext, Clock, Definitions, Finding, FormBook, Service, ServiceOptions, core::lock},
};

/// Time, identifiers and chance of one life.
struct LifeClock {
    hub: Arc<Hub>,
    life: Life,
    skew: Arc<AtomicI64>,
    dice: Mutex<Dice>,
}

#[async_trait]
impl Clock for LifeClock {
    fn now(&self) -> DateTime<Utc> {
        let micros = self.hub.now() + self.skew.load(Ordering::SeqCst);
        DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
    }

    fn new_id(&self) -> String {
        let milliseconds = u64::try_from(self.now().timestamp_millis()).unwrap_or(0);
        let mut rest = [0; 10];
        rest[..8].copy_from_slice(&self.chance().to_le_bytes());
        rest[8] = u8::try_from(self.life.process).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid().to_string()
    }

    fn chance(&self) -> u64 {
        lock(&self.dice).number()
    }

    async fn sleep(&self, duration: Duration) {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        self.hub.sleep(self.life, micros).await;
    }
}

/// Forms that everybody may answer with a mark.
struct Forms;

impl FormBook for Forms {
    fn role(&self, form: &str) -> Option<String> {
        Some(form.strip_prefix("ask-").unwrap_or("engineer").to_owned())
    }

    fn check(&self, _form: &str, answer: &Value, _context: CheckContext<'_>) -> Result<Value, Vec<Finding>> {
        Ok(answer.clone())
    }
}

/// Ends when all tasks of a runtime wait.
struct Idle(Arc<Parked>);

#[derive(Default)]
struct Parked {
    reached: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Parked {
    fn reach(&self) {
        self.reached.store(true, Ordering::SeqCst);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.reached.swap(false, Ordering::SeqCst) {
            return Poll::Ready(());
        }
        *lock(&self.0.waker) = Some(context.waker().clone());
        Poll::Pending
    }
}

/// What all processes of a world are made of.
pub(super) struct Kit {
    pub(super) hub: Arc<Hub>,
    pub(super) definitions: Definitions,
    pub(super) config: Arc<Config>,
    pub(super) poll: Duration,
    pub(super) bug: Option<Bug>,
}

pub(super) struct Process {
    pub(super) life: Life,
    alive: Option<Alive>,
    pub(super) halted: bool,
    /// What came while it was halted.
    waiting: Vec<Deliver>,
    pub(super) skew: Arc<AtomicI64>,
}

struct Alive {
    runtime: Runtime,
    parked: Arc<Parked>,
    service: Arc<Mutex<Option<Service>>>,
    stop: watch::Sender<bool>,
}

impl Process {
    pub(super) fn new(number: usize) -> Self {
        let life = Life { process: number, number: 0 };
        Self { life, alive: None, halted: false, waiting: Vec::new(), skew: Arc::default() }
    }

    pub(super) fn is(&self, life: Life) -> bool {
        self.life == life && self.alive.is_some()
    }

    pub(super) fn lives(&self) -> bool {
        self.alive.is_some()
    }

    /// The service, once it is open.
    pub(super) fn service(&self) -> Option<Service> {
        lock(&self.alive.as_ref()?.service).clone()
    }

    /// Begins a new life.
    pub(super) fn start(&mut self, kit: &Arc<Kit>) {
        self.life.number += 1;
        let parked = Arc::new(Parked::default());
        let at_rest = Arc::clone(&parked);
        let runtime = Builder::new_current_thread().on_thread_park(move || at_rest.reach()).build().unwrap();
        let service = Arc::new(Mutex::new(None));
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(live(Arc::clone(kit), self.life, Arc::clone(&self.skew), Arc::clone(&service), stopped));
        self.alive = Some(Alive { runtime, parked, service, stop });
        self.run();
    }

    /// Ends the life as a kill does: every task is dropped where it waits.
    pub(super) fn crash(&mut self) {
        self.alive = None;
        self.halted = false;
        self.waiting.clear();
    }

    pub(super) fn drain(&self) {
        if let Some(alive) = &self.alive {
            alive.stop.send_replace(true);
        }
        self.run();
    }

    /// Hands something to the process, and lets it run until it waits.
    pub(super) fn deliver(&mut self, deliver: Deliver) {
        if self.halted {
            self.waiting.push(deliver);
            return;
        }
        deliver();
        self.run();
    }

    pub(super) fn carry_on(&mut self) {
        self.halted = false;
        for deliver in std::mem::take(&mut self.waiting) {
            deliver();
        }
        self.run();
    }

    /// Starts a task beside the worker's: a request of a person.
    pub(super) fn request(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(alive) = &self.alive {
            alive.runtime.spawn(task);
        }
        self.run();
    }

    fn run(&self) {
        if let Some(alive) = self.alive.as_ref().filter(|_| !self.halted) {
            alive.runtime.block_on(Idle(Arc::clone(&alive.parked)));
        }
    }
}

async fn live(
    kit: Arc<Kit>,
    life: Life,
    skew: Arc<AtomicI64>,
    slot: Arc<Mutex<Option<Service>>>,
    stopped: watch::Receiver<bool>,
) {
    let dice = Mutex::new(Dice::new(kit.hub.number()));
    let clock = Arc::new(LifeClock { hub: Arc::clone(&kit.hub), life, skew, dice });
    let hands = Hands { hub: Arc::clone(&kit.hub), life, bug: kit.bug, running: AtomicUsize::new(0) };
    let steps = registry(&Arc::new(hands));
    let service = loop {
        let options = ServiceOptions {
            store: Arc::new(Wire { hub: Arc::clone(&kit.hub), life }),
            definitions: kit.definitions.clone(),
            steps: steps.clone(),
            forms: Arc::new(Forms),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            config: Arc::clone(&kit.config),
            poll: Some(kit.poll),
        };
        match Service::open(options).await {
            Ok(service) => break service,
            // Who starts a process starts it again.
            Err(_) => clock.sleep(Duration::from_secs(1)).await,
        }
    };
    *lock(&slot) = Some(service.clone());
    let _ = service.run_worker(stopped, Duration::from_secs(5)).await;
    kit.hub.tell(Told::Drained { process: life.process });
}
