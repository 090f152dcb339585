//! Runs that stop in the middle of a window, in a worker over a store, in virtual time: time passes only while nothing is
//! executed and nothing is due.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keyferry::{
    aws::{Aws, kms_client},
    config::Config,
    engine::{Actor, Notice, Standing},
    forms::Forms,
    sandbox::{Options, Sandbox},
    steps::{Domain, register},
    store::SqliteStore,
    worker::{
        Clock, Definitions, ErrorKind, ManualClock, Progress, Registry, RunFilter, RunView, Service, ServiceError,
        ServiceOptions, StartRun, Step, StepContext, StepError, SystemClock,
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::world::{CUSTOMER, EAST, WEST, World};
use crate::support::add_dave;

const DEFINITIONS: [(&str, &str); 2] = [
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
    ("put-back", include_str!("../../workflows/put-back.asl.json")),
];

/// A migration within a run that waits for it, as in the shipped onboardings, once the customer has handed the keys over.
const PARENT: &str = r#"{"StartAt":"Hand over keys","States":{
    "Hand over keys":{"Type":"Task","Resource":"urn:keyferry:form:key-arns","Parameters":{"regions.$":"$.plan.regions",
        "aws_account.$":"$.plan.aws_account"},"ResultPath":null,"Next":"Migrate"},
    "Migrate":{"Type":"Task","Resource":"urn:keyferry:workflow:final-steps","End":true}}}"#;

/// What is done with the step that a test holds or breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It waits for something that does not come.
    Waits,
    /// It fails with what nothing catches.
    Fails,
}

struct Held {
    inner: Arc<dyn Step>,
    way: Way,
    on: Arc<AtomicBool>,
}

#[async_trait]
impl Step for Held {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        if !self.on.load(Ordering::SeqCst) {
            return self.inner.run(context, input).await;
        }
        match self.way {
            Way::Waits => Ok(Progress::Pending {
                poll_after: Duration::from_secs(60),
                checkpoint: Value::Null,
                waiting_for: "what a test holds".to_owned(),
            }),
            Way::Fails => Err(StepError::new("States.Runtime", "a defect that nothing catches")),
        }
    }
}

pub struct House {
    pub service: Service,
    pub clock: ManualClock,
    pub aws: Arc<Aws>,
    pub sandbox: Sandbox,
    held: Arc<AtomicBool>,
    /// Whether each step that a test holds is held.
    pub holds: BTreeMap<&'static str, Arc<AtomicBool>>,
    pub original: String,
    pub input: Value,
    pub stop: watch::Sender<bool>,
    told: Mutex<Vec<(String, Notice)>>,
    _folder: tempfile::TempDir,
}

pub fn actor() -> Actor {
    Actor { name: "eve".to_owned(), role: "admin".to_owned() }
}

impl House {
    /// An enterprise with one system, and a service in which `step` goes a way of its own.
    async fn with(step: &'static str, way: Way) -> Self {
        Self::holding(&[(step, way)], &[]).await
    }

    /// The same, in which several steps go ways of their own, and with further definitions.
    pub async fn holding(steps_held: &[(&'static str, Way)], further: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap());
        let wall = clock.clone();
        let sandbox = Sandbox::open(Options {
            data: None,
            speed: 1.0,
            wall: Arc::new(move || wall.now()),
            default_account: "127450652264".to_owned(),
            quotas: 1,
        })
        .await
        .unwrap();
        let config = Arc::new(Config::default());
        let aws = Arc::new(Aws::sandboxed(&config, &sandbox));
        let original = seed(&aws, &clock).await;
        let holds: BTreeMap<&'static str, Arc<AtomicBool>> =
            steps_held.iter().map(|(step, _)| (*step, Arc::new(AtomicBool::new(true)))).collect();
        let domain =
            Domain::paced(Arc::clone(&aws), Arc::clone(&config), Duration::from_secs(15), Duration::from_secs(300));
        let mut steps = Registry::new();
        for inner in register(&domain) {
            match steps_held.iter().find(|(step, _)| *step == inner.name()) {
                Some((step, way)) => steps.add(Arc::new(Held { inner, way: *way, on: Arc::clone(&holds[step]) })),
                None => steps.add(inner),
            }
        }
        let mut definitions = Definitions::new();
        for (name, source) in DEFINITIONS.into_iter().chain([("onboarding", PARENT)]).chain(further.iter().copied()) {
            definitions.add(name, source).unwrap();
        }
        let service = Service::open(ServiceOptions {
            store: Arc::new(SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap()),
            definitions,
            steps,
            forms: Arc::new(Forms::shipped().unwrap()),
            clock: Arc::new(clock.clone()),
            config,
            poll: None,
        })
        .await
        .unwrap();
        add_dave(&service).await;
        let (stop, stopping) = watch::channel(false);
        let worker = service.clone();
        tokio::spawn(async move { worker.run_worker(stopping, Duration::from_secs(60)).await });
        let mut keys = serde_json::Map::new();
        for region in [WEST, EAST] {
            let role = format!("arn:aws:iam::{CUSTOMER}:role/administrator");
            let kms = kms_client(&aws.assumed(&role, region).await, region);
            let made = kms.create_key().policy(World::policy(region).to_string()).send().await.unwrap();
            keys.insert(region.to_owned(), json!(made.key_metadata.unwrap().arn.unwrap()));
        }
        let input = json!({ "plan": World::plan(), "keys": { "keys": keys, "instances": {} } });
        let told = Mutex::default();
        let held = Arc::clone(&holds[steps_held[0].0]);
        Self { service, clock, aws, sandbox, held, holds, original, input, stop, told, _folder: folder }
    }

    async fn start(&self) -> Result<RunView, ServiceError> {
        self.begin("dave", "onboarding", &self.input).await
    }

    pub async fn begin(&self, enterprise: &str, workflow: &str, input: &Value) -> Result<RunView, ServiceError> {
        let asked = StartRun {
            enterprise: enterprise.to_owned(),
            workflow: workflow.to_owned(),
            input: input.clone(),
            actor: actor(),
            idempotency_key: None,
        };
        self.service.start_run(asked).await
    }

    /// Lets time pass until `holds`, at most for `hours`. Each quarter of a minute comes when all that was due has been done.
    pub async fn until(&self, hours: u64, what: &str, run: &str, holds: impl Fn(&RunView) -> bool) -> RunView {
        for _ in 0..hours * 240 {
            self.settle().await;
            let view = self.service.run(run).await.unwrap();
            if holds(&view) {
                return view;
            }
            if let Some((form, visit)) =
                view.waiting_for.iter().find_map(|wait| Some((wait.form.as_ref()?, &wait.visit)))
            {
                let answer = match form.as_str() {
                    "key-arns" => json!({ "keys": self.input["keys"]["keys"] }),
                    "window" => json!({ "start": "now", "duration_hours": 8, "writers_stopped": true }),
                    other => panic!("nobody answers {other}: {view:#?}"),
                };
                self.service.answer(run, form, visit, answer, actor()).await.unwrap();
                continue;
            }
            self.clock.advance(Duration::from_secs(15));
        }
        panic!("{what} does not come about: {:#?}", self.service.run(run).await);
    }

    /// Waits until nothing is executed and nothing is due, and takes what people are told.
    pub async fn settle(&self) {
        for _ in 0..60_000 {
            let stats = self.service.stats().await;
            let due = stats.tally.as_ref().unwrap().oldest_due.is_some_and(|at| at <= stats.now);
            if stats.executing == 0 && !due {
                for row in self.service.next_mail(100).await.unwrap() {
                    self.told.lock().unwrap().push((row.run.clone(), row.notice.clone()));
                    self.service.spread_mail(row.id, Vec::new()).await.unwrap();
                }
                return;
            }
            SystemClock.sleep(Duration::from_millis(1)).await;
        }
        panic!("the worker does not come to rest");
    }

    /// Passes hours, with the look that every process takes each minute.
    async fn pass(&self, minutes: u64) {
        for _ in 0..minutes {
            self.settle().await;
            self.service.look_for_outages().await.unwrap();
            self.settle().await;
            self.clock.advance(Duration::from_secs(60));
        }
        self.settle().await;
    }

    /// A run whose only system is out of service and goes no further.
    async fn frozen(&self) -> RunView {
        let run = self.start().await.unwrap().id;
        self.until(6, "a system out of service", &run, |view| {
            view.out_of_service.first().is_some_and(|down| down.frozen)
                && (view.status == Standing::Attention
                    || view.waiting_for.iter().any(|wait| wait.what == "what a test holds"))
        })
        .await
    }

    /// The resource id of what serves under the original's name.
    pub async fn serving(&self) -> Option<String> {
        let rds = self.aws.rds(WEST).await.unwrap();
        let found = rds.describe_db_instances().send().await.unwrap().db_instances.unwrap_or_default();
        let mut named = found.into_iter().filter(|one| one.db_instance_identifier() == Some("dave-production"));
        named.next().filter(|one| one.db_instance_status() == Some("available")).and_then(|one| one.dbi_resource_id)
    }

    async fn newest_put_back(&self) -> RunView {
        let filter = RunFilter { workflow: Some("put-back".to_owned()), ..RunFilter::default() };
        let newest = self.service.runs(filter).await.unwrap().items.swap_remove(0).id;
        self.service.run(&newest).await.unwrap()
    }

    async fn put_backs(&self) -> usize {
        let filter = RunFilter { workflow: Some("put-back".to_owned()), ..RunFilter::default() };
        self.service.runs(filter).await.unwrap().items.len()
    }

    /// Letters of a name that were told, with what they are about.
    fn letters(&self, name: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        let of = told.iter().filter_map(|(_, notice)| match notice {
            Notice::Told { letter, about, .. } if letter == name => Some(about.clone().into_value()),
            _ => None,
        });
        of.collect()
    }

    async fn end(self) {
        assert!(self.service.verify(&self.newest_put_back().await.id).await.unwrap().ok);
        self.stop.send_replace(true);
    }
}

/// One system of production.
async fn seed(aws: &Aws, clock: &ManualClock) -> String {
    let rds = aws.rds(WEST).await.unwrap();
    let tag = |key: &str, value: &str| aws_sdk_rds::types::Tag::builder().key(key).value(value).build();
    let made = rds
        .create_db_instance()
        .db_instance_identifier("dave-production")
        .engine("postgres")
        .db_instance_class("db.m6g.large")
        .allocated_storage(20)
        .master_username("keeper")
        .master_user_password("long-enough-for-RDS")
        .backup_retention_period(1)
        .tags(tag("keyferry:enterprise", "dave"))
        .tags(tag("keyferry:instance", "production"))
        .send()
        .await
        .unwrap();
    clock.advance(Duration::from_secs(7_200));
    made.db_instance.unwrap().dbi_resource_id.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_window_puts_the_original_back_before_any_other_run_begins() {
    let house = House::with("restore-system", Way::Waits).await;
    let run = house.frozen().await.id;
    assert_eq!(house.serving().await, None);
    let cancelled = house.service.cancel(&run, actor(), "wrong day").await.unwrap();
    assert_eq!(cancelled.status, Standing::Cancelled);
    let put_back = house.newest_put_back().await;
    // The cancel says what is down, since when, and who brings it back.
    let down = &cancelled.out_of_service[0];
    assert_eq!((down.system.as_str(), down.put_back_by.as_deref()), ("dave-production", Some(put_back.id.as_str())));
    assert!(
        cancelled.summary.contains("dave-production in us-west-2 is out of service since"),
        "{}",
        cancelled.summary
    );
    let refused = house.start().await.unwrap_err();
    assert_eq!((refused.kind, refused.code), (ErrorKind::Conflict, "enterprise-has-open-run"));
    assert!(refused.to_string().contains(&put_back.id), "{refused}");
    for refused in [
        house.service.cancel(&put_back.id, actor(), "no").await.unwrap_err(),
        house.service.pause(&put_back.id, actor(), "no").await.unwrap_err(),
    ] {
        assert_eq!(refused.code, "outage-open");
    }
    let ended = house.until(2, "the end of put-back", &put_back.id, |view| view.ended_at.is_some()).await;
    assert_eq!((ended.status, &ended.out_of_service[..]), (Standing::Succeeded, &[][..]));
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    assert_eq!(house.letters("outage").len(), 1);
    let left = ended.output.unwrap()["left"]["left_overs"].as_array().unwrap().len();
    assert!(left >= 3, "early and final snapshots and copies are listed: {left}");
    house.held.store(false, Ordering::SeqCst);
    house.start().await.unwrap();
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_swap_a_cancelled_systems_successor_stays_and_the_original_is_kept() {
    let house = House::with("confirm-cut-over", Way::Waits).await;
    let run = house.frozen().await.id;
    let successor = house.serving().await.unwrap();
    assert_ne!(successor, house.original);
    house.service.cancel(&run, actor(), "wrong day").await.unwrap();
    let put_back = house.newest_put_back().await.id;
    let ended = house.until(2, "the end of put-back", &put_back, |view| view.ended_at.is_some()).await;
    assert_eq!(ended.output.unwrap()["systems"][0]["outcome"], "migrated");
    assert_eq!(house.serving().await, Some(successor));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_paused_across_the_cutoff_has_its_system_put_back_all_the_same() {
    let house = House::with("restore-system", Way::Waits).await;
    let run = house.frozen().await.id;
    let paused = house.service.pause(&run, actor(), "lunch").await.unwrap();
    assert!(paused.summary.contains("dave-production in us-west-2 is out of service since"), "{}", paused.summary);
    house.pass(5 * 60).await;
    assert_eq!(house.put_backs().await, 0, "the cutoff is not reached");
    house.pass(3 * 60).await;
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    assert_eq!(house.put_backs().await, 1);
    assert_eq!(house.letters("outage").len(), 1, "it served again before the window's end");
    let view = house.service.run(&run).await.unwrap();
    assert_eq!((view.status, view.out_of_service.len()), (Standing::Paused, 0));
    // What the paused run would have gone on with is not done behind its back.
    house.held.store(false, Ordering::SeqCst);
    house.service.resume(&run, actor(), "back").await.unwrap();
    let asks = |view: &RunView| view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some("window"));
    house.until(2, "the next window", &run, asks).await;
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_attention_across_the_cutoff_leads_to_put_back() {
    let house = House::with("restore-system", Way::Fails).await;
    let run = house.frozen().await;
    assert_eq!(run.status, Standing::Attention);
    house.pass(8 * 60).await;
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    let view = house.service.run(&run.id).await.unwrap();
    assert_eq!(view.out_of_service, []);
    assert!(view.attention.is_empty(), "{view:#?}");
    assert_eq!(house.put_backs().await, 0, "the run itself put it back");
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_over_that_waits_across_the_cutoff_is_put_back_without_anybody() {
    let house = House::with("verify-system", Way::Waits).await;
    house.frozen().await;
    house.pass(8 * 60).await;
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_a_person_has_to_end_is_told_every_quarter_of_an_hour_until_it_serves() {
    let house = House::with("restore-system", Way::Waits).await;
    let run = house.frozen().await.id;
    let rds = house.aws.rds(WEST).await.unwrap();
    let taken = rds.create_db_instance().db_instance_identifier("dave-production").engine("mysql");
    let taken = taken.db_instance_class("db.m6g.large").allocated_storage(20).master_username("other");
    taken.master_user_password("long-enough-for-RDS").send().await.unwrap();
    house.service.cancel(&run, actor(), "wrong day").await.unwrap();
    let put_back = house.newest_put_back().await.id;
    let view = house.until(6, "attention", &put_back, |view| view.status == Standing::Attention).await;
    assert_eq!(view.attention[0].error, "Keyferry.Outage");
    assert_eq!(house.letters("outage").len(), 1, "before the window's end there is the letter of the beginning");
    let left = (view.out_of_service[0].end - house.clock.now()).num_minutes();
    house.pass(u64::try_from(left).unwrap() + 61).await;
    let overdue = |letters: Vec<Value>| letters.iter().filter(|about| about["overdue"] == true).count();
    let told = overdue(house.letters("outage"));
    assert!((4..=6).contains(&told), "{told} letters in an hour");
    assert_eq!(house.service.run(&put_back).await.unwrap().status, Standing::Attention);
    // A person who skips the state has not brought the system back.
    house
        .service
        .skip(&put_back, &view.attention[0].visit, Some(json!({ "outcome": "kept" })), actor(), "looks fine")
        .await
        .unwrap();
    let view = house.until(6, "attention again", &put_back, |view| view.status == Standing::Attention).await;
    // The cure, as the cause says it.
    let rename = rds.modify_db_instance().db_instance_identifier("dave-production");
    rename.new_db_instance_identifier("somebody-elses").apply_immediately(true).send().await.unwrap();
    house.pass(10).await;
    house.service.retry(&put_back, &view.attention[0].visit, None, actor(), "the name is free").await.unwrap();
    house.until(6, "the end of put-back", &put_back, |view| view.ended_at.is_some()).await;
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    let told = house.letters("outage").len();
    house.pass(60).await;
    assert_eq!(house.letters("outage").len(), told, "it serves");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_is_skipped_puts_the_original_back() {
    let house = House::with("swap-system", Way::Fails).await;
    let run = house.frozen().await.id;
    let visit = house.service.run(&run).await.unwrap().attention[0].visit.clone();
    house
        .service
        .skip(&run, &visit, Some(json!({ "system": "dave-production" })), actor(), "it is done")
        .await
        .unwrap();
    let view = house
        .until(2, "the review", &run, |view| {
            view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some("migration-review"))
        })
        .await;
    assert_eq!(view.out_of_service, []);
    assert_eq!(house.serving().await.as_deref(), Some(house.original.as_str()));
    let renames = house.sandbox.ledger().iter().filter(|entry| entry.action == "ModifyDBInstance").count();
    assert!(renames >= 2, "frozen and put back");
    house.stop.send_replace(true);
}
