//! A cloud with an enterprise in it, and a hand that runs steps as a worker would.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_rds::types::Tag;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use keyferry::{
    aws::{Aws, kms_client},
    config::Config,
    keys::{PolicyRequest, render},
    sandbox::{Options, Sandbox},
    steps::{Domain, register},
    worker::{Progress, Record, Step, StepContext, StepError, StepHost, Told},
};

pub const WEST: &str = "us-west-2";
pub const EAST: &str = "us-east-1";
pub const CUSTOMER: &str = "123456789012";
const VENDOR: &str = "127450652264";

pub fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// What steps leave, and the time.
#[derive(Default)]
pub struct Memory {
    pub records: Mutex<BTreeMap<(String, String), Value>>,
    pub told: Mutex<Vec<Told>>,
    seconds: AtomicI64,
}

impl Memory {
    pub fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + self.seconds.load(Ordering::SeqCst), 0).unwrap()
    }
}

#[async_trait]
impl StepHost for Memory {
    fn now(&self) -> DateTime<Utc> {
        self.time()
    }

    async fn save_checkpoint(&self, _: &str, _: u64, _: u64, _: Value) -> Result<(), StepError> {
        Ok(())
    }

    async fn heartbeat(&self, _: &str, _: u64, _: u64) -> Result<(), StepError> {
        Ok(())
    }

    async fn record(&self, _: &str, collection: &str, key: &str) -> Result<Option<Value>, StepError> {
        Ok(self.records.lock().unwrap().get(&(collection.to_owned(), key.to_owned())).cloned())
    }

    async fn records(&self, _: &str, collection: &str) -> Result<BTreeMap<String, Value>, StepError> {
        let records = self.records.lock().unwrap();
        let of = records.iter().filter(|((name, _), _)| name == collection);
        Ok(of.map(|((_, key), body)| (key.clone(), body.clone())).collect())
    }
}

pub struct World {
    pub memory: Arc<Memory>,
    pub sandbox: Sandbox,
    pub aws: Arc<Aws>,
    steps: HashMap<&'static str, Arc<dyn Step>>,
    /// The run that the steps are of.
    run: Mutex<String>,
    handed_over: Mutex<Option<Value>>,
}

impl World {
    pub async fn new() -> Self {
        Self::configured(Config::default()).await
    }

    pub async fn configured(config: Config) -> Self {
        let memory = Arc::new(Memory::default());
        let clock = Arc::clone(&memory);
        let options = Options {
            data: None,
            speed: 1.0,
            wall: Arc::new(move || clock.time()),
            default_account: "000000000000".to_owned(),
            quotas: 1,
        };
        let sandbox = Sandbox::open(options).await.unwrap();
        let config = Arc::new(config);
        let aws = Arc::new(Aws::sandboxed(&config, &sandbox));
        let domain = Domain::paced(Arc::clone(&aws), config, Duration::from_secs(30), Duration::from_secs(300));
        let steps = register(&domain).into_iter().map(|step| (step.name(), step)).collect();
        Self { memory, sandbox, aws, steps, run: Mutex::new("run-1".to_owned()), handed_over: Mutex::default() }
    }

    pub fn pass(&self, seconds: i64) {
        self.memory.pass(seconds);
    }

    pub fn run_id(&self) -> String {
        self.run.lock().unwrap().clone()
    }

    /// From here on the steps are another run's.
    pub fn begin(&self, run: &str) {
        run.clone_into(&mut self.run.lock().unwrap());
        if let Some(keys) = self.handed_over.lock().unwrap().clone() {
            self.answered("key-arns", 900, &keys);
        }
    }

    /// The customer hands these keys over, to this run and to those that [`World::begin`] begins.
    pub fn hand_over(&self, keys: &Value) {
        self.answered("key-arns", 900, keys);
        *self.handed_over.lock().unwrap() = Some(keys.clone());
    }

    /// Audits by a custody record that says what `basis` does.
    pub async fn audit(&self, basis: &Value) -> Value {
        let body = json!({
            "generation": basis["generation"], "keys": basis["keys"]["keys"],
            "instances": basis["keys"].get("instances").unwrap_or(&json!({})),
            "plan": basis["plan"], "systems": basis["expected"],
        });
        self.memory.records.lock().unwrap().insert(("custody".to_owned(), "current".to_owned()), body);
        self.run("audit", &json!({})).await.unwrap()
    }

    /// Writes down an answer to a form that keeps them, as the service does.
    pub fn answered(&self, form: &str, visit: u64, answer: &Value) {
        let run = self.run_id();
        let body = json!({
            "form": form, "run": run, "frame": 0, "visit": visit, "answer": answer, "at": self.memory.time(),
            "actor": { "name": "admin for Eve", "role": "engineer" },
        });
        self.memory.records.lock().unwrap().insert(("answer".to_owned(), format!("{run}/0/{visit}")), body);
    }

    pub fn record(&self, collection: &str, key: &str) -> Option<Value> {
        self.memory.records.lock().unwrap().get(&(collection.to_owned(), key.to_owned())).cloned()
    }

    /// Records of a collection.
    pub fn records_of(&self, collection: &str) -> Vec<Value> {
        let records = self.memory.records.lock().unwrap();
        records.iter().filter(|((name, _), _)| name == collection).map(|(_, body)| body.clone()).collect()
    }

    /// Loses the records of a collection, as an installation that was set up anew has.
    pub fn forget(&self, collection: &str) {
        self.memory.records.lock().unwrap().retain(|(name, _), _| name != collection);
    }

    fn context(&self, checkpoint: Option<Value>) -> StepContext {
        let host: Arc<dyn StepHost> = self.memory.clone();
        let mut context = StepContext::detached(&self.run_id(), "dave", "State", host);
        context.checkpoint = checkpoint;
        context
    }

    /// Runs a step once, as after a crash: with no checkpoint.
    pub async fn once(&self, step: &str, input: &Value) -> Result<Progress, StepError> {
        self.steps[step].run(&self.context(None), input.clone()).await
    }

    /// Runs a step to its end, then once more: the second time must change nothing in AWS.
    pub async fn run(&self, step: &str, input: &Value) -> Result<Value, StepError> {
        let output = self.to_its_end(step, input).await?;
        let effects = self.sandbox.ledger().len();
        self.to_its_end(step, input).await?;
        assert_eq!(self.sandbox.ledger().len(), effects, "{step} changed something when it was repeated");
        Ok(output)
    }

    /// Runs a step, and drops it when it has waited `waits` times in all its executions: what a cancel, a lost lease or the
    /// process's death does. A call that had left comes to its end in the cloud. False when the step ended before that.
    pub async fn cut_off(&self, step: &str, input: &Value, waits: usize) -> bool {
        let mut left = waits;
        let mut checkpoint = None;
        loop {
            let context = self.context(checkpoint.clone());
            let mut running = std::pin::pin!(self.steps[step].run(&context, input.clone()));
            let ended = std::future::poll_fn(|task| match running.as_mut().poll(task) {
                std::task::Poll::Ready(ended) => std::task::Poll::Ready(Some(ended)),
                std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
                std::task::Poll::Pending => {
                    left -= 1;
                    std::task::Poll::Pending
                }
            });
            match ended.await {
                None => return true,
                Some(Ok(Progress::Done { records, .. })) => {
                    self.keep(records);
                    return false;
                }
                Some(Ok(Progress::Pending { poll_after, checkpoint: next, .. })) => {
                    self.pass(i64::try_from(poll_after.as_secs()).unwrap());
                    checkpoint = (next != Value::Null).then_some(next);
                }
                Some(Err(error)) => panic!("{step}: {error}"),
            }
        }
    }

    pub async fn to_its_end(&self, step: &str, input: &Value) -> Result<Value, StepError> {
        let mut checkpoint = None;
        for _ in 0..2000 {
            let ran = self.steps[step].run(&self.context(checkpoint.clone()), input.clone()).await;
            // What the definitions retry.
            if ran.as_ref().is_err_and(|error| {
                ["Keyferry.Unavailable", "Keyferry.Throttled", "Keyferry.NotReady"].contains(&error.error.as_str())
            }) {
                self.pass(30);
                checkpoint = None;
                continue;
            }
            match ran? {
                Progress::Done { output, records, told } => {
                    self.keep(records);
                    self.memory.told.lock().unwrap().extend(told);
                    return Ok(output);
                }
                Progress::Pending { poll_after, checkpoint: next, .. } => {
                    self.pass(i64::try_from(poll_after.as_secs()).unwrap());
                    checkpoint = (next != Value::Null).then_some(next);
                }
            }
        }
        panic!("{step} never ends");
    }

    fn keep(&self, records: Vec<Record>) {
        let mut all = self.memory.records.lock().unwrap();
        all.extend(records.into_iter().map(|record| ((record.collection.to_owned(), record.key), record.body)));
    }

    pub async fn customer(&self, region: &str) -> aws_sdk_kms::Client {
        let role = format!("arn:aws:iam::{CUSTOMER}:role/admin");
        kms_client(&self.aws.assumed(&role, region).await, region)
    }

    pub fn policy(region: &str) -> Value {
        render(PolicyRequest { region, customer_account: CUSTOMER, vendor_account: VENDOR, vendor: "Replicon" })
    }

    /// A customer's key under `policy`, or under the right one.
    pub async fn key(&self, region: &str, policy: Option<Value>) -> String {
        let policy = policy.unwrap_or_else(|| Self::policy(region));
        let made = self.customer(region).await.create_key().policy(policy.to_string()).send().await.unwrap();
        made.key_metadata.unwrap().arn.unwrap()
    }

    /// The vendor's own key.
    pub async fn vendor_key(&self, region: &str) -> String {
        let made = self.aws.kms(region).await.unwrap().create_key().send().await.unwrap();
        made.key_metadata.unwrap().arn.unwrap()
    }

    pub fn plan() -> Value {
        json!({
            "primary": WEST, "disaster_recovery": EAST, "additional": [], "instances": {}, "aws_account": CUSTOMER,
            "partition": "aws", "regions": [WEST, EAST],
        })
    }

    /// An Aurora cluster with a member.
    pub async fn cluster(&self, id: &str, key: &str, insights: Option<&str>) {
        let rds = self.aws.rds(WEST).await.unwrap();
        let call = rds.create_db_cluster().db_cluster_identifier(id).engine("aurora-postgresql");
        call.master_username("admin_user")
            .master_user_password("long-enough-for-RDS")
            .storage_encrypted(true)
            .kms_key_id(key)
            .tags(tag("keyferry:enterprise", "dave"))
            .send()
            .await
            .unwrap();
        let member = rds.create_db_instance().db_instance_identifier(format!("{id}-1")).db_cluster_identifier(id);
        let member = member.engine("aurora-postgresql").db_instance_class("db.r6g.large");
        let member = member.set_enable_performance_insights(insights.map(|_| true));
        let member = member.set_performance_insights_kms_key_id(insights.map(str::to_owned));
        member.tags(tag("keyferry:enterprise", "dave")).send().await.unwrap();
        self.pass(3600);
    }

    pub async fn names(&self, region: &str) -> Vec<String> {
        let rds = self.aws.rds(region).await.unwrap();
        let found = rds.describe_db_instances().send().await.unwrap().db_instances.unwrap_or_default();
        found.into_iter().filter_map(|instance| instance.db_instance_identifier).collect()
    }
}
