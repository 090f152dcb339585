//! Several processes on one PostgreSQL: real ones where they die.

use std::{
    process::{Child, Command, Stdio},
    time::Instant,
};

use super::*;
use crate::store::{
    PostgresStore, Store as _,
    postgres::tests::{
        Database,
        proxy::{HOLE, OPEN, Proxy},
    },
};

const URL: &str = "KEYFERRY_TEST_FLEET";
const MARK: &str = "KEYFERRY_TEST_FLEET_MARK";
const LEASE: &str = "KEYFERRY_TEST_FLEET_LEASE_S";
const LEASE_S: u64 = 4;
/// A lease that no test outlives: what is taken from its owner was not taken because it had passed.
const LONG_LEASE_S: u64 = 10 * PATIENCE.as_secs();

struct Member {
    service: Service,
    store: PostgresStore,
    stop: watch::Sender<bool>,
    worker: Option<JoinHandle<Result<(), ServiceError>>>,
}

impl Member {
    async fn join(url: &str, clock: Arc<dyn Clock>, steps: Registry, definition: &Value) -> Self {
        Self::leasing(url, clock, steps, definition, LEASE_S).await
    }

    /// The same with leases of another length.
    async fn leasing(url: &str, clock: Arc<dyn Clock>, steps: Registry, definition: &Value, lease_s: u64) -> Self {
        let store = PostgresStore::open(url).await.unwrap();
        let mut definitions = Definitions::new();
        definitions.add("one", &definition.to_string()).unwrap();
        definitions.share("one");
        let mut config = Config::default();
        config.worker.lease_s = lease_s;
        let service = Service::open(ServiceOptions {
            store: Arc::new(store.clone()),
            definitions,
            steps,
            forms: Arc::new(TestForms),
            clock,
            config: Arc::new(config),
            poll: None,
        })
        .await
        .unwrap();
        add_dave(&service).await;
        Self { service, store, stop: watch::Sender::new(false), worker: None }
    }

    fn work(&mut self) {
        let (service, stopped) = (self.service.clone(), self.stop.subscribe());
        self.worker = Some(tokio::spawn(async move { service.run_worker(stopped, Duration::from_secs(5)).await }));
    }

    async fn start(&self, input: Value) -> String {
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: "one".to_owned(),
            input,
            actor: actor(),
            idempotency_key: None,
        };
        self.service.start_run(asked).await.unwrap().id
    }

    async fn until_ended(&self, run: &str) -> RunView {
        let began = Instant::now();
        loop {
            let view = self.service.run(run).await.unwrap();
            if view.ended_at.is_some() {
                let verified = self.service.verify(run).await.unwrap();
                assert!(verified.ok && verified.rows > 0, "{verified:?}");
                return view;
            }
            assert!(began.elapsed() < PATIENCE, "the run does not end: {view:#?}");
            real_pause().await;
        }
    }

    async fn leave(mut self) {
        self.stop.send_replace(true);
        if let Some(worker) = self.worker.take() {
            worker.await.unwrap().unwrap();
        }
        self.store.close().await;
    }
}

/// Three states with the same step.
fn three(step: &str) -> Value {
    json!({ "StartAt": "A", "States": {
        "A": task(step, Some("B")), "B": task(step, Some("C")), "C": task(step, None) } })
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_the_work_of_one_database() {
    let Some(database) = Database::make().await else { return };
    let member = async |definition: &Value| {
        let (count, runs) = code("count", |_: &StepContext, input: &Value, _| {
            std::thread::sleep(Duration::from_millis(5));
            Ok(Progress::done(input.clone()))
        });
        let clock = Arc::new(SystemClock);
        (Member::join(database.url(), clock, Registry::new().with(count), definition).await, runs)
    };
    let definition = three("count");
    let (people, _) = member(&definition).await;
    let (mut one, first) = member(&definition).await;
    let (mut two, second) = member(&definition).await;
    one.work();
    two.work();
    let mut runs = Vec::new();
    for number in 0..60 {
        runs.push(people.start(json!(number)).await);
    }
    for (number, run) in runs.iter().enumerate() {
        let view = people.until_ended(run).await;
        assert_eq!((view.status, view.output), (Standing::Succeeded, Some(json!(number))));
    }
    let (first, second) = (first.load(Ordering::SeqCst), second.load(Ordering::SeqCst));
    assert_eq!(first + second, 180, "each step ran once");
    assert!(first > 0 && second > 0, "{first} and {second}: they share");
    one.leave().await;
    two.leave().await;
    people.leave().await;
}

/// Waits until it is let go; by then another process may have done its work.
struct Late {
    started: Arc<AtomicU64>,
    go: watch::Receiver<bool>,
    output: &'static str,
}

#[async_trait]
impl Step for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let _ = self.go.clone().wait_for(|go| *go).await;
        Ok(Progress::done(json!(self.output)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_process_is_refused_by_its_fence_and_takes_what_was_recorded() {
    let Some(database) = Database::make().await else { return };
    let clock = ManualClock::new(start_of_time());
    let late = |go: &watch::Sender<bool>, output| {
        let started = Arc::new(AtomicU64::new(0));
        (Registry::new().with(Late { started: Arc::clone(&started), go: go.subscribe(), output }), started)
    };
    let (hold, pass) = (watch::Sender::new(false), watch::Sender::new(true));
    let (steps, started) = late(&hold, "late");
    let mut slow = Member::join(database.url(), Arc::new(clock.clone()), steps, &one("late")).await;
    slow.work();
    let run = slow.start(json!({})).await;
    while started.load(Ordering::SeqCst) == 0 {
        real_pause().await;
    }
    // It hangs: nothing renews its leases, but its connections stand and it counts as alive.
    slow.worker.take().unwrap().abort();
    let (steps, other) = late(&pass, "in time");
    let mut quick = Member::join(database.url(), Arc::new(clock.clone()), steps, &one("late")).await;
    assert_eq!(quick.store.expire_leases().await.unwrap(), 0, "the living keep their leases");
    quick.work();
    clock.advance(Duration::from_secs(LEASE_S - 1));
    for _ in 0..100 {
        real_pause().await;
    }
    assert_eq!(other.load(Ordering::SeqCst), 0, "the lease holds");
    clock.advance(Duration::from_secs(2));
    let view = quick.until_ended(&run).await;
    assert_eq!(view.output, Some(json!("in time")));
    hold.send_replace(true);
    let began = Instant::now();
    // Whoever took it has ended the run: the work is gone by then.
    while metered(&slow.service, "keyferry_leases_lost_total", "gone").await < 0.5 {
        assert!(began.elapsed() < PATIENCE, "the late result was neither written nor refused");
        real_pause().await;
    }
    assert_eq!(slow.service.run(&run).await.unwrap().output, Some(json!("in time")));
    quick.leave().await;
    slow.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_silent_server_people_are_told_at_once_and_work_and_its_renewal_go_on_after_it() {
    let Some(database) = Database::make().await else { return };
    let proxy = Proxy::start(database.address()).await;
    let (go, started) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
    let steps = Registry::new().with(Late { started: Arc::clone(&started), go: go.subscribe(), output: "done" });
    let clock = Arc::new(SystemClock);
    let mut member = Member::join(&database.url_at(proxy.port), clock, steps, &one("late")).await;
    member.work();
    let run = member.start(json!({})).await;
    while started.load(Ordering::SeqCst) == 0 {
        real_pause().await;
    }
    let counted = async |value: &'static str| metered(&member.service, "keyferry_lease_renewals_total", value).await;
    proxy.fault.store(HOLE, Ordering::SeqCst);
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "one".to_owned(),
        input: json!({}),
        actor: actor(),
        idempotency_key: None,
    };
    // Longer than anything that is waited for: connections are given up and made anew meanwhile.
    while began.elapsed() < Duration::from_secs(15) || counted("late").await < 0.5 {
        assert!(began.elapsed() < PATIENCE, "the step is not stopped");
        let asked_at = Instant::now();
        let told = match began.elapsed().as_secs() % 3 {
            0 => member.service.run(&run).await.map(|_| ()),
            1 => member.service.start_run(asked.clone()).await.map(|_| ()),
            _ => member.service.pause(&run, actor(), "a freeze").await.map(|_| ()),
        };
        assert_eq!(told.unwrap_err().kind, ErrorKind::Unavailable);
        assert!(!member.service.health().await.writable);
        slowest = slowest.max(asked_at.elapsed());
        real_pause().await;
    }
    assert!(proxy.reached.load(Ordering::SeqCst) >= 5);
    proxy.fault.store(OPEN, Ordering::SeqCst);
    let healed = Instant::now();
    let work = async || member.store.work(&run).await.map(|mut work| work.remove(0));
    let again = loop {
        match work().await {
            Ok(found) if found.attempt == 2 => break found,
            found => assert!(healed.elapsed() < PATIENCE, "the step is not done again: {found:?}"),
        }
        real_pause().await;
    };
    let passed = again.lease_until.unwrap() + Duration::from_secs(LEASE_S);
    while work().await.unwrap().lease_until.unwrap() < passed {
        assert!(healed.elapsed() < PATIENCE, "its lease is not renewed");
        real_pause().await;
    }
    assert_eq!(work().await.unwrap().attempt, 2, "the lease held");
    eprintln!("people waited {slowest:?} at most; the step held its lease {:?} after the healing", healed.elapsed());
    go.send_replace(true);
    assert_eq!(member.until_ended(&run).await.output, Some(json!("done")));
    member.leave().await;
}

/// The process that is killed: it takes a step and says so in a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the process that the tests here start"]
async fn victim() {
    let (Ok(url), Some(mark)) = (std::env::var(URL), std::env::var_os(MARK)) else { return };
    struct Marks(std::path::PathBuf);
    #[async_trait]
    impl Step for Marks {
        fn name(&self) -> &'static str {
            "mark"
        }
        async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
            std::fs::write(&self.0, b"x").map_err(|error| StepError::new("Io", error.to_string()))?;
            std::future::pending().await
        }
    }
    let steps = Registry::new().with(Marks(mark.into()));
    let lease_s = std::env::var(LEASE).unwrap().parse().unwrap();
    let mut member = Member::leasing(&url, Arc::new(SystemClock), steps, &one("mark"), lease_s).await;
    member.work();
    std::future::pending::<()>().await;
}

struct Victim(Child);

impl Victim {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already, as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A survivor with an open run whose step another process has, and that process.
async fn with_a_victim(database: &Database, lease_s: u64) -> (Member, Victim, String) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let quick = code("mark", |_: &StepContext, _: &Value, _| Ok(Progress::done(json!("survived")))).0;
    let mut survivor =
        Member::leasing(database.url(), Arc::new(SystemClock), Registry::new().with(quick), &one("mark"), lease_s)
            .await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "worker::tests::fleet::victim", "--ignored", "--nocapture"]);
    command
        .env(URL, database.url())
        .env(MARK, &mark)
        .env(LEASE, lease_s.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let victim = Victim(command.spawn().unwrap());
    let run = survivor.start(json!({})).await;
    let began = Instant::now();
    while !mark.exists() {
        assert!(began.elapsed() < PATIENCE, "the other process took no work");
        real_pause().await;
    }
    survivor.work();
    (survivor, victim, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_killed_process_runs_elsewhere_and_does_not_wait_for_its_lease() {
    let Some(database) = Database::make().await else { return };
    let (survivor, victim, run) = with_a_victim(&database, LONG_LEASE_S).await;
    assert!(survivor.service.run(&run).await.unwrap().ended_at.is_none());
    let killed = Instant::now();
    victim.signal("-KILL");
    let view = survivor.until_ended(&run).await;
    eprintln!("the work of a killed process was done {:?} after its death", killed.elapsed());
    assert_eq!(view.output, Some(json!("survived")));
    survivor.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_stopped_process_waits_for_its_lease_and_no_longer() {
    let Some(database) = Database::make().await else { return };
    let (survivor, victim, run) = with_a_victim(&database, LEASE_S).await;
    victim.signal("-STOP");
    let stopped = Instant::now();
    let view = survivor.until_ended(&run).await;
    assert_eq!(view.output, Some(json!("survived")));
    // It was renewed last a third of a lease before it was stopped, at the most.
    assert!(stopped.elapsed() > Duration::from_secs(LEASE_S / 2), "{:?}: a living lease was taken", stopped.elapsed());
    victim.signal("-CONT");
    for _ in 0..300 {
        real_pause().await;
    }
    assert_eq!(survivor.service.run(&run).await.unwrap().output, Some(json!("survived")));
    survivor.leave().await;
}
