//! Every step of every shipped definition, disturbed: failed at its start, failed after its effect, executed twice, cut off
//! in the middle. The rows come from the definitions, so a new step is covered by being named in one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use keyferry::{
    aws::{Aws, kms_client},
    config::Config,
    engine::{Actor, Definition, Resource, Standing},
    forms::Forms,
    keys::{
        PolicyRequest,
        import::{Cloud, Desk, DeskOptions, Realm},
        render,
    },
    sandbox::{Options, Sandbox},
    steps::{Domain, register},
    store::SqliteStore,
    worker::{
        Clock as _, Definitions, ManualClock, Progress, Registry, RunFilter, RunView, Service, ServiceOptions,
        StartRun, Step, StepContext, StepError, SystemClock,
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::world::{CUSTOMER, EAST, WEST};
use crate::support::{
    add_dave,
    effects::{counts, deletions, differing},
    import::{asked, targets, upload},
    patience::looks,
    time::{Busy, Computing, let_time_pass},
};

const DEFINITIONS: [(&str, &str); 7] = [
    ("compliance-audit", include_str!("../../workflows/compliance-audit.asl.json")),
    ("customer-managed", include_str!("../../workflows/customer-managed.asl.json")),
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
    ("left-overs", include_str!("../../workflows/left-overs.asl.json")),
    ("put-back", include_str!("../../workflows/put-back.asl.json")),
    ("reimport", include_str!("../../workflows/reimport.asl.json")),
    ("vendor-managed", include_str!("../../workflows/vendor-managed.asl.json")),
];

/// What an onboarding finds and meets. Together the scenes come to every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    Systems,
    /// The enterprise has no data yet.
    NoSystems,
    /// What was restored does not match the first time: the original is put back and a second window agreed.
    Mismatch,
    /// A replica cannot be replaced the first time: the old one is put back and an engineer asked.
    Replica,
    /// The vendor has the keys, and the customer imports the material.
    Imports,
    /// And imports it once more in a drill.
    Drill,
    /// It is cancelled in the window, when one system has its successor and the other is out of service, and begun again.
    Cancelled,
}

const SCENES: [Scene; 7] =
    [Scene::Systems, Scene::NoSystems, Scene::Mismatch, Scene::Replica, Scene::Imports, Scene::Drill, Scene::Cancelled];

impl Scene {
    /// The step that the scene itself makes behave oddly: another scene disturbs it.
    fn odd(self) -> Option<&'static str> {
        match self {
            Self::Mismatch => Some("verify-system"),
            Self::Replica => Some("create-replica"),
            Self::Cancelled => Some("restore-system"),
            Self::Systems | Self::NoSystems | Self::Imports | Self::Drill => None,
        }
    }
}

/// Onboardings at a time.
const TOGETHER: usize = 4;

/// Times that a step that is cut off has waited for something before.
const WAITS: usize = 2;

/// How many of the cloud's seconds pass in one of the worker's.
const SPEED: f64 = 200.0;
/// How far the worker's time is moved at once: as far as a step waits between two looks, and not so far that leases pass.
const TICK: Duration = Duration::from_millis(600);

/// What happens to every step of an onboarding, once to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    None,
    FailAtStart,
    /// Everything the execution did has happened, and nobody hears of it.
    FailAfterEffect,
    /// Every execution of every step is made twice, the first's outcome is lost.
    Twice,
    /// The first execution ends while it waits, as the process's death would end it.
    Interrupted,
}

/// The steps that were executed, and whether they were disturbed.
type Reached = Arc<Mutex<BTreeMap<&'static str, bool>>>;

struct Disturbed {
    inner: Arc<dyn Step>,
    how: Disturbance,
    disturbed: AtomicBool,
    reached: Reached,
    computing: Computing,
}

impl Disturbed {
    /// Notes that the step is disturbed; whether it was before.
    fn disturb(&self) -> bool {
        self.reached.lock().unwrap().insert(self.name(), true);
        self.disturbed.swap(true, Ordering::SeqCst)
    }
}

#[async_trait]
impl Step for Disturbed {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let _busy = Busy::begin(&self.computing);
        self.reached.lock().unwrap().entry(self.name()).or_default();
        let lost = || StepError::new("Keyferry.Unavailable", "disturbed by a test");
        match self.how {
            Disturbance::None => self.inner.run(context, input).await,
            Disturbance::Twice => {
                self.disturb();
                // The first outcome is lost, as if the process had died before its commit.
                drop(self.inner.run(context, input.clone()).await);
                self.inner.run(context, input).await
            }
            Disturbance::Interrupted => {
                if !self.disturb() {
                    cut(self.inner.run(context, input.clone())).await;
                    // A call that had left before the process died comes to its end in the cloud all the same.
                    SystemClock.sleep(Duration::from_millis(50)).await;
                }
                self.inner.run(context, input).await
            }
            Disturbance::FailAtStart if !self.disturb() => Err(lost()),
            Disturbance::FailAfterEffect if !self.disturbed.load(Ordering::SeqCst) => {
                match self.inner.run(context, input).await? {
                    Progress::Done { .. } => {
                        self.disturb();
                        Err(lost())
                    }
                    pending @ Progress::Pending { .. } => Ok(pending),
                }
            }
            Disturbance::FailAtStart | Disturbance::FailAfterEffect => self.inner.run(context, input).await,
        }
    }
}

/// Lets a future wait `WAITS` times and drops it then.
async fn cut<T>(future: impl Future<Output = T>) {
    let mut future = std::pin::pin!(future);
    let mut waits = 0;
    std::future::poll_fn(|context| {
        let ended = future.as_mut().poll(context).is_ready();
        waits += 1;
        if ended || waits > WAITS { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Finds a difference where there is none: in one system, the first time.
struct FindsMismatch {
    inner: Arc<dyn Step>,
    found: AtomicBool,
}

#[async_trait]
impl Step for FindsMismatch {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        if !["dave-extra", "dave-copy"].contains(&input["system"]["id"].as_str().unwrap_or_default())
            || self.found.swap(true, Ordering::SeqCst)
        {
            self.inner.run(context, input).await
        } else {
            Err(StepError::new("Keyferry.Mismatch", "a difference that a test made up"))
        }
    }
}

/// Waits with one system for as long as a test wants.
struct HoldsBack {
    inner: Arc<dyn Step>,
    holds: Arc<AtomicBool>,
}

#[async_trait]
impl Step for HoldsBack {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        if input["system"]["id"] != "dave-extra" || !self.holds.load(Ordering::SeqCst) {
            return self.inner.run(context, input).await;
        }
        let poll_after = Duration::from_secs(1);
        Ok(Progress::Pending { poll_after, checkpoint: Value::Null, waiting_for: "a test".to_owned() })
    }
}

/// What an onboarding came to.
struct Outcome {
    view: RunView,
    /// By each step that was executed whether it was disturbed.
    reached: BTreeMap<&'static str, bool>,
    effects: BTreeMap<String, usize>,
    deviations: usize,
    /// Deletions of what there was, made before anybody approved any.
    too_early: Vec<String>,
}

async fn onboard(scene: Scene, how: Disturbance) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(Config::default());
    let clock = ManualClock::new(SystemClock.now());
    let wall = clock.clone();
    let sandbox = Sandbox::open(Options {
        data: None,
        speed: SPEED,
        wall: Arc::new(move || wall.now()),
        default_account: "127450652264".to_owned(),
        quotas: 1,
    })
    .await
    .unwrap();
    let aws = Arc::new(Aws::sandboxed(&config, &sandbox));
    if scene != Scene::NoSystems {
        seed(&aws, &clock).await;
    }
    let domain =
        Domain::paced(Arc::clone(&aws), Arc::clone(&config), Duration::from_millis(600), Duration::from_secs(30));
    let (reached, computing) = (Reached::default(), Computing::default());
    let holds = Arc::new(AtomicBool::new(scene == Scene::Cancelled));
    let mut steps = Registry::new();
    for inner in register(&domain) {
        let how = if scene.odd() == Some(inner.name()) { Disturbance::None } else { how };
        let inner: Arc<dyn Step> = match (scene, inner.name()) {
            (Scene::Mismatch, "verify-system") => Arc::new(FindsMismatch { inner, found: AtomicBool::new(false) }),
            (Scene::Replica, "create-replica") => Arc::new(FindsMismatch { inner, found: AtomicBool::new(false) }),
            (Scene::Cancelled, "restore-system") => Arc::new(HoldsBack { inner, holds: Arc::clone(&holds) }),
            (
                Scene::Systems
                | Scene::NoSystems
                | Scene::Mismatch
                | Scene::Replica
                | Scene::Imports
                | Scene::Drill
                | Scene::Cancelled,
                _,
            ) => inner,
        };
        let (reached, computing) = (Arc::clone(&reached), Arc::clone(&computing));
        let disturbed = AtomicBool::new(false);
        steps.add(Arc::new(Disturbed { inner, how, disturbed, reached, computing }));
    }
    let mut definitions = Definitions::new();
    for (name, source) in DEFINITIONS {
        definitions.add(name, source).unwrap();
    }
    definitions.share("reimport");
    let store = SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap();
    let service = Service::open(ServiceOptions {
        store: Arc::new(store),
        definitions,
        steps,
        forms: Arc::new(Forms::shipped().unwrap()),
        clock: Arc::new(clock.clone()),
        config: Arc::clone(&config),
        poll: None,
    })
    .await
    .unwrap();
    let cloud = Cloud { aws: Arc::clone(&aws), speed: SPEED };
    let desk = Desk::new(DeskOptions {
        service: service.clone(),
        clock: Arc::new(clock.clone()),
        config,
        realm: Realm::Production,
        clouds: Arc::new(move |_: &str| cloud.clone()),
        floor: Duration::from_millis(1),
    });
    let (stop, stopping) = watch::channel(false);
    let worker = {
        let service = service.clone();
        tokio::spawn(async move { service.run_worker(stopping, Duration::from_secs(60)).await })
    };
    let time = tokio::spawn(let_time_pass(service.clone(), clock, TICK, computing));
    let approved = AtomicUsize::new(usize::MAX);
    let on_approval = || approved.fetch_min(sandbox.ledger().len(), Ordering::SeqCst);
    let vendors = matches!(scene, Scene::Imports | Scene::Drill);
    let (workflow, input) = (if vendors { "vendor-managed" } else { "customer-managed" }, json!({}));
    let mut keys = None;
    let never = |_: &RunView| false;
    if scene == Scene::Cancelled {
        let held = |view: &RunView| {
            let only_extra = view.out_of_service.iter().all(|down| down.system == "dave-extra");
            only_extra && view.waiting_for.iter().any(|wait| wait.what == "a test")
        };
        let stands = people(&service, &aws, (workflow, input.clone()), &desk, (&mut keys, &held), on_approval).await;
        let engineer = Actor { name: "eve".to_owned(), role: "engineer".to_owned() };
        service.cancel(&stands.id, engineer, "wrong day").await.unwrap();
        holds.store(false, Ordering::SeqCst);
        put_back(&service).await;
        let removal = people(&service, &aws, ("left-overs", json!({})), &desk, (&mut keys, &never), on_approval).await;
        assert_eq!(removal.status, Standing::Succeeded, "{removal:#?}");
    }
    let mut view = people(&service, &aws, (workflow, input), &desk, (&mut keys, &never), on_approval).await;
    if scene == Scene::Drill && view.status == Standing::Succeeded {
        let drill = ("reimport", json!({ "drill": true }));
        view = people(&service, &aws, drill, &desk, (&mut keys, &never), on_approval).await;
    }
    stop.send_replace(true);
    worker.await.unwrap().unwrap();
    time.abort();
    assert!(service.verify(&view.id).await.unwrap().ok, "{scene:?} {how:?}");
    let report = service.record("dave", "report", "latest").await.unwrap();
    let deviations =
        report.map_or(usize::MAX, |report| report.body["deviations"].as_array().map_or(usize::MAX, Vec::len));
    let ledger = sandbox.ledger();
    let too_early = deletions(&ledger[..approved.load(Ordering::SeqCst).min(ledger.len())]);
    let reached = reached.lock().unwrap().clone();
    Outcome { view, reached, effects: counts(&ledger), deviations, too_early }
}

/// A production system with a replica in the other region, a development system without one.
async fn seed(aws: &Aws, clock: &ManualClock) {
    let rds = aws.rds(WEST).await.unwrap();
    let tag = |key: &str, value: &str| aws_sdk_rds::types::Tag::builder().key(key).value(value).build();
    for (name, instance) in [("dave-production", "production"), ("dave-extra", "production")] {
        rds.create_db_instance()
            .db_instance_identifier(name)
            .engine("postgres")
            .db_instance_class("db.m6g.large")
            .allocated_storage(20)
            .master_username("keeper")
            .master_user_password("long-enough-for-RDS")
            .backup_retention_period(1)
            .copy_tags_to_snapshot(true)
            .tags(tag("keyferry:enterprise", "dave"))
            .tags(tag("keyferry:instance", instance))
            .send()
            .await
            .unwrap();
    }
    let available = |client: aws_sdk_rds::Client, name: &'static str| async move {
        loop {
            let found = client.describe_db_instances().db_instance_identifier(name).send().await.unwrap();
            if found.db_instances()[0].db_instance_status() == Some("available") {
                return found.db_instances()[0].clone();
            }
            clock.advance(TICK);
        }
    };
    let production = available(rds.clone(), "dave-production").await;
    available(rds.clone(), "dave-extra").await;
    let east = aws.rds(EAST).await.unwrap();
    let create = east.create_db_instance_read_replica().db_instance_identifier("dave-copy");
    let create = create.source_db_instance_identifier(production.db_instance_arn().unwrap());
    create.tags(tag("keyferry:enterprise", "dave")).tags(tag("keyferry:instance", "production")).send().await.unwrap();
    available(east, "dave-copy").await;
}

/// Waits for the end of the run that brings everything back into service.
async fn put_back(service: &Service) {
    let filter = RunFilter { workflow: Some("put-back".to_owned()), ..RunFilter::default() };
    let run = service.runs(filter).await.unwrap().items.swap_remove(0).id;
    for _ in 0..12_000 {
        let view = service.run(&run).await.unwrap();
        if view.ended_at.is_some() {
            assert_eq!((view.status, view.out_of_service.len()), (Standing::Succeeded, 0), "{view:#?}");
            return;
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is put back: {:#?}", service.run(&run).await);
}

/// Whether a run has come to what a scene waits for.
type Wanted<'a> = &'a (dyn Fn(&RunView) -> bool + Sync);

/// Answers the forms until the run has ended, stands in attention or is as far as wanted.
async fn people(
    service: &Service,
    aws: &Aws,
    (workflow, input): (&str, Value),
    desk: &Desk,
    (keys, wanted): (&mut Option<Value>, Wanted<'_>),
    on_approval: impl Fn() -> usize,
) -> RunView {
    let vendors = workflow == "vendor-managed";
    add_dave(service).await;
    let actor = |role: &str| Actor { name: role.to_owned(), role: role.to_owned() };
    let start = StartRun {
        enterprise: "dave".to_owned(),
        workflow: workflow.to_owned(),
        input,
        actor: actor("engineer"),
        idempotency_key: None,
    };
    let run = service.start_run(start).await.unwrap().id;
    for _ in looks() {
        let view = service.run(&run).await.unwrap();
        if view.ended_at.is_some() || view.status == Standing::Attention || wanted(&view) {
            return view;
        }
        for (form, visit) in view.waiting_for.iter().filter_map(|wait| Some((wait.form.as_deref()?, &wait.visit))) {
            let (role, answer) = match form {
                // It is the import that answers it.
                "key-import" => {
                    if let Ok(opened) = desk.request(asked(None)).await {
                        drop(upload(desk, "dave", targets(&opened, &[7; 32])).await);
                    }
                    continue;
                }
                "regions" if vendors => {
                    let instances = json!({ "sandbox": WEST });
                    let own_keys = ["sandbox"];
                    (
                        "engineer",
                        json!({ "primary": WEST, "disaster_recovery": EAST, "instances": instances, "own_keys": own_keys }),
                    )
                }
                "regions" => {
                    ("engineer", json!({ "primary": WEST, "disaster_recovery": EAST, "aws_account": CUSTOMER }))
                }
                "key-arns" => {
                    if keys.is_none() {
                        *keys = Some(customers_keys(aws).await);
                    }
                    ("customer", keys.clone().unwrap())
                }
                "window" => ("csm", json!({ "start": "now", "duration_hours": 72, "writers_stopped": true })),
                "migration-review" => ("engineer", json!({ "reason": "the difference was made up" })),
                "left-overs" => {
                    on_approval();
                    let Ok(input) = service.form_input(&run, "left-overs").await else { continue };
                    ("engineer", json!({ "approve": true, "list": input["list"], "reason": "nobody needs them" }))
                }
                "purge-approval" => {
                    on_approval();
                    let Ok(input) = service.form_input(&run, "purge-approval").await else { continue };
                    ("engineer", json!({ "approve": true, "plan": input["plan"], "reason": "verified" }))
                }
                other => panic!("the form {other} was not expected: {view:#?}"),
            };
            // The form may have been answered between the look and now.
            drop(service.answer(&run, form, visit, answer, actor(role)).await);
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
    panic!("the run does not end: {:#?}", service.run(&run).await);
}

async fn customers_keys(aws: &Aws) -> Value {
    let mut keys = serde_json::Map::new();
    for region in [WEST, EAST] {
        let role = format!("arn:aws:iam::{CUSTOMER}:role/administrator");
        let kms = kms_client(&aws.assumed(&role, region).await, region);
        let policy = render(PolicyRequest {
            region,
            customer_account: CUSTOMER,
            vendor_account: "127450652264",
            vendor: "Replicon",
        });
        let made = kms.create_key().policy(policy.to_string()).send().await.unwrap();
        keys.insert(region.to_owned(), json!(made.key_metadata.unwrap().arn.unwrap()));
    }
    json!({ "keys": keys })
}

/// The names of all steps in the shipped definitions.
fn named_steps() -> BTreeSet<String> {
    DEFINITIONS
        .iter()
        .flat_map(|(_, source)| {
            let definition = Definition::load(source).unwrap().definition;
            let names: Vec<String> = definition
                .resources()
                .filter_map(|(_, resource)| match resource {
                    Resource::Step(name) => Some(name.clone()),
                    Resource::Form(_) | Resource::Workflow(_) | Resource::Other(_) => None,
                })
                .collect();
            names
        })
        .collect()
}

fn is_fine(outcome: &Outcome, wanted: &BTreeMap<String, usize>, row: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.view.status != Standing::Succeeded {
        wrong.push(format!("{row}: ended {:?}: {}", outcome.view.status, outcome.view.summary));
        return wrong;
    }
    if outcome.deviations != 0 {
        wrong.push(format!("{row}: {} deviations", outcome.deviations));
    }
    wrong.extend(outcome.too_early.iter().map(|line| format!("{row}: before the approval: {line}")));
    wrong.extend(differing(&outcome.effects, wanted).into_iter().map(|line| format!("{row}: {line}")));
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_fail_at_its_start_after_its_effect_run_twice_and_be_cut_off() {
    let steps = named_steps();
    assert!(steps.len() > 15, "the definitions name few steps: {steps:?}");
    let every = [Disturbance::FailAtStart, Disturbance::FailAfterEffect, Disturbance::Twice, Disturbance::Interrupted];
    let rows =
        SCENES.into_iter().flat_map(|scene| [Disturbance::None].into_iter().chain(every).map(move |how| (scene, how)));
    // An onboarding waits more than it computes.
    let outcomes = rows.map(|(scene, how)| tokio::spawn(async move { (scene, how, onboard(scene, how).await) }));
    let outcomes =
        futures_util::stream::iter(outcomes).buffered(TOGETHER).map(Result::unwrap).collect::<Vec<_>>().await;
    let (mut undisturbed, mut wrong) = (None, Vec::new());
    let mut disturbed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (scene, how, outcome) in outcomes {
        let row = format!("{scene:?} {how:?}");
        if how == Disturbance::None {
            assert_eq!(outcome.view.status, Standing::Succeeded, "{row}: {:#?}", outcome.view);
            assert_eq!(outcome.too_early, Vec::<String>::new(), "{row}");
            undisturbed = Some(outcome.effects);
            continue;
        }
        let missed = outcome.reached.iter().filter(|(step, disturbed)| !**disturbed && scene.odd() != Some(step));
        wrong.extend(missed.map(|(step, _)| format!("{row}: {step} was not disturbed")));
        wrong.extend(is_fine(&outcome, undisturbed.as_ref().unwrap(), &row));
        let reached = outcome.reached.into_iter().filter(|(_, disturbed)| *disturbed).map(|(step, _)| step);
        disturbed.entry(format!("{how:?}")).or_default().extend(reached);
    }
    for (how, reached) in disturbed {
        let missed = steps.iter().filter(|step| !reached.contains(step.as_str()));
        wrong.extend(missed.map(|step| format!("{step} {how}: no scene comes to it")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
