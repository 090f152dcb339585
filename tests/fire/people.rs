//! The enterprises of a fleet and the people who answer for them: over the API, as people do.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_rds::types::Tag;
use futures_util::{StreamExt as _, stream};
use keyferry::{
    aws::{Aws, kms_client},
    config::Config,
    worker::{Clock as _, SystemClock},
};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::support::patience::PATIENCE;

const PRIMARY: &str = "us-west-2";
const RECOVERY: &str = "us-east-1";
/// Enterprises that are made or asked about at once.
const AT_ONCE: usize = 64;
/// Between two looks, at least, and for each enterprise.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_EACH: Duration = Duration::from_millis(10);

/// Name, engine, storage, instance, whether it is encrypted: what the demo's enterprise has.
const SYSTEMS: [(&str, &str, i32, &str, bool); 3] = [
    ("production", "postgres", 500, "production", true),
    ("sandbox", "mysql", 40, "sandbox", false),
    ("development", "postgres", 20, "development", true),
];

pub struct Enterprise {
    pub id: String,
    account: String,
    pub run: Option<String>,
    keys: Option<Value>,
    pub ended: bool,
}

pub struct People {
    aws: Aws,
    config: Config,
    client: Client,
    api: String,
    token: String,
    pub all: Vec<Enterprise>,
    /// Requests that were not answered as they are in peace, and the last of these answers.
    pub refused: u64,
    refusal: String,
    /// Moves of all runs, children too, at the last look.
    moved: Arc<AtomicU64>,
    /// These runs.
    runs: Vec<String>,
    /// Where the runs that have not ended stand.
    standing: BTreeMap<String, String>,
}

impl People {
    pub fn of(fleet: &Fleet, speed: f64) -> Self {
        let config = Config::default();
        Self {
            aws: Aws::sandboxed_at(&config, &fleet.sandbox_url, speed),
            config,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            api: fleet.api.clone(),
            token: fleet.token.clone(),
            all: Vec::new(),
            refused: 0,
            refusal: String::new(),
            moved: Arc::default(),
            runs: Vec::new(),
            standing: BTreeMap::new(),
        }
    }

    /// Brings up the data systems of as many enterprises.
    pub async fn settle(&mut self, count: usize) {
        let vendor = [self.vendor_key(PRIMARY).await, self.vendor_key(RECOVERY).await];
        let first = self.all.len();
        for number in first..first + count {
            self.all.push(Enterprise {
                id: format!("tenant{number:03}"),
                account: format!("{:012}", 200_000_000_000_u64 + u64::try_from(number).unwrap()),
                run: None,
                keys: None,
                ended: false,
            });
        }
        let people = &*self;
        let ids = self.all[first..].iter().map(|enterprise| enterprise.id.clone());
        stream::iter(ids).for_each_concurrent(AT_ONCE, |id| people.data_systems(id, &vendor)).await;
    }

    async fn vendor_key(&self, region: &str) -> String {
        let made = self.aws.kms(region).await.unwrap().create_key().send().await.unwrap();
        made.key_metadata.unwrap().arn.unwrap()
    }

    fn tags(&self, id: &str, instance: &str) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        vec![
            tag(&self.config.aws.enterprise_tag, id),
            tag(&self.config.aws.instance_tag, instance),
            tag("team", "payroll"),
        ]
    }

    async fn data_systems(&self, id: String, vendor: &[String; 2]) {
        for (name, engine, storage, instance, encrypted) in SYSTEMS {
            let production = instance == "production";
            let rds = self.aws.rds(PRIMARY).await.unwrap();
            rds.create_db_instance()
                .db_instance_identifier(format!("{id}-{name}"))
                .engine(engine)
                .db_instance_class(if production { "db.r6g.xlarge" } else { "db.t4g.medium" })
                .allocated_storage(storage)
                .storage_type("gp3")
                .master_username("fire_admin")
                .set_manage_master_user_password((!production).then_some(true))
                .set_master_user_password(production.then(|| "long-enough-for-RDS".to_owned()))
                .vpc_security_group_ids("sg-0123456789abcdef0")
                .multi_az(production)
                .backup_retention_period(if production { 7 } else { 1 })
                .deletion_protection(production)
                .copy_tags_to_snapshot(true)
                .storage_encrypted(encrypted)
                .set_kms_key_id(encrypted.then(|| vendor[0].clone()))
                .set_tags(Some(self.tags(&id, instance)))
                .send()
                .await
                .unwrap();
        }
        let production = self.available(PRIMARY, &format!("{id}-production")).await;
        let copy = format!("{id}-production-copy");
        let rds = self.aws.rds(RECOVERY).await.unwrap();
        rds.create_db_instance_read_replica()
            .db_instance_identifier(&copy)
            .source_db_instance_identifier(production)
            .db_instance_class("db.r6g.xlarge")
            .kms_key_id(&vendor[1])
            .set_tags(Some(self.tags(&id, "production")))
            .send()
            .await
            .unwrap();
        self.available(RECOVERY, &copy).await;
    }

    /// The ARN of an instance, when it is available.
    async fn available(&self, region: &str, name: &str) -> String {
        loop {
            let rds = self.aws.rds(region).await.unwrap();
            let found = rds.describe_db_instances().db_instance_identifier(name).send().await.unwrap();
            let instance = found.db_instances.unwrap().remove(0);
            if instance.db_instance_status.as_deref() == Some("available") {
                return instance.db_instance_arn.unwrap();
            }
            SystemClock.sleep(LOOK).await;
        }
    }

    /// One request; `None` if it was refused or not answered, which faults may bring about.
    pub async fn ask(&mut self, method: Method, path: &str, body: Option<Value>, role: &str) -> Option<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.api)).bearer_auth(&self.token);
        if !role.is_empty() {
            request = request.header("keyferry-actor", format!("{role}; Fay"));
        }
        if let Some(body) = body {
            // A form that is asked again is another visit, another enterprise another body: other requests.
            let of = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
            request = request.header("idempotency-key", format!("fire{path}{}{}", of("visit"), of("id"))).json(&body);
        }
        let answered = match request.send().await {
            Ok(response) if response.status().is_success() => response.json().await.ok(),
            Ok(response) => {
                let status = response.status().as_u16();
                let text = response.text().await.unwrap_or_default();
                // 409: it was done between the look and now. 5xx: the store is not there.
                assert!(status == 409 || status >= 500, "{path}: {status} {text}");
                self.refusal = format!("{path}: {status} {text}");
                None
            }
            Err(error) => {
                self.refusal = format!("{path}: {error}");
                None
            }
        };
        self.refused += u64::from(answered.is_none());
        answered
    }

    /// Starts the onboarding of the first `count` enterprises, once each, however often it is asked for.
    pub async fn start(&mut self, count: usize) {
        for number in 0..count {
            while self.all[number].run.is_none() {
                let id = self.all[number].id.clone();
                let new = json!({ "id": id, "name": id, "customer_email": format!("security@{id}.example") });
                let added = self.ask(Method::POST, "/api/v1/enterprises", Some(new), "").await;
                let start = json!({ "workflow": "customer-managed", "input": {} });
                let path = format!("/api/v1/enterprises/{id}/runs");
                if added.is_some()
                    && let Some(run) = self.ask(Method::POST, &path, Some(start), "").await
                {
                    self.all[number].run = run["id"].as_str().map(str::to_owned);
                } else {
                    SystemClock.sleep(LOOK).await;
                }
            }
        }
    }

    /// Looks at all runs once and answers what waits. Says whether all that were started have ended.
    pub async fn look(&mut self) -> bool {
        let mut views = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/runs?limit=200{cursor}");
            let Some(page) = self.ask(Method::GET, &path, None, "").await else { return false };
            for view in page["items"].as_array().unwrap() {
                views.insert(view["id"].as_str().unwrap().to_owned(), view.clone());
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let moved = views.values().filter_map(|view| view["revision"].as_u64()).sum();
        self.moved.store(moved, Ordering::SeqCst);
        self.runs = views.keys().cloned().collect();
        for number in 0..self.all.len() {
            let enterprise = &self.all[number];
            let Some(view) = enterprise.run.as_ref().and_then(|run| views.get(run)) else { continue };
            if !enterprise.ended {
                self.follow(number, view).await;
            }
        }
        self.all.iter().all(|enterprise| enterprise.run.is_none() || enterprise.ended)
    }

    async fn follow(&mut self, number: usize, view: &Value) {
        let status = view["status"].as_str().unwrap();
        assert!(
            !["attention", "failed", "cancelled"].contains(&status),
            "{} stands in {status}: {} {}",
            self.all[number].id,
            view["summary"],
            view["attention"]
        );
        self.all[number].ended = status == "succeeded";
        self.standing.insert(self.all[number].id.clone(), view["summary"].to_string());
        for waiting in view["waiting_for"].as_array().unwrap() {
            let Some(form) = waiting["form"].as_str() else { continue };
            let (role, answer) = match form {
                "regions" => (
                    "engineer",
                    json!({
                        "primary": PRIMARY, "disaster_recovery": RECOVERY, "additional": [], "instances": {},
                        "aws_account": self.all[number].account,
                    }),
                ),
                "key-arns" => match self.keys(number).await {
                    Some(keys) => ("customer", json!({ "keys": keys })),
                    None => continue,
                },
                "window" => ("csm", json!({ "start": "now", "duration_hours": 72, "writers_stopped": true })),
                "purge-approval" => match self.listed(view).await {
                    Some(plan) => {
                        ("engineer", json!({ "approve": true, "plan": plan, "reason": "the successors serve" }))
                    }
                    None => continue,
                },
                other => {
                    let failures = self.failures(view).await;
                    panic!("{}: nobody expected the form {other}\n{failures}", self.all[number].id);
                }
            };
            let path = format!("/api/v1/runs/{}/forms/{form}", view["id"].as_str().unwrap());
            let body = json!({ "visit": waiting["visit"], "answer": answer });
            self.ask(Method::POST, &path, Some(body), role).await;
        }
    }

    /// The hash of the list whose approval the run waits for.
    async fn listed(&mut self, view: &Value) -> Option<String> {
        let path = format!("/api/v1/runs/{}/forms/purge-approval", view["id"].as_str().unwrap());
        let input = self.ask(Method::GET, &path, None, "").await?;
        input["plan"].as_str().map(str::to_owned)
    }

    /// The events of a run and its children that tell of an error.
    async fn failures(&mut self, view: &Value) -> String {
        let mut lines = Vec::new();
        let children = view["children"].as_array().unwrap().iter();
        let runs: Vec<String> = children.chain([&view["id"]]).filter_map(Value::as_str).map(str::to_owned).collect();
        for run in runs {
            let mut cursor = String::new();
            loop {
                let path = format!("/api/v1/runs/{run}/history?limit=200{cursor}");
                let Some(page) = self.ask(Method::GET, &path, None, "").await else { break };
                let events = page["items"].as_array().unwrap().iter().map(|row| row["event"].to_string());
                lines.extend(events.filter(|event| event.to_lowercase().contains("error")));
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
        }
        lines.join("\n")
    }

    /// The customer's keys, made once, each under the policy that was rendered for its region.
    async fn keys(&mut self, number: usize) -> Option<Value> {
        if self.all[number].keys.is_none() {
            let mut keys = serde_json::Map::new();
            let mut policies = Vec::new();
            for region in [PRIMARY, RECOVERY] {
                let path = format!("/api/v1/enterprises/{}/records/key-policy/{region}", self.all[number].id);
                policies.push((region, self.ask(Method::GET, &path, None, "").await?));
            }
            for (region, policy) in policies {
                let role = format!("arn:aws:iam::{}:role/administrator", self.all[number].account);
                let kms = kms_client(&self.aws.assumed(&role, region).await, region);
                let made = kms.create_key().policy(policy["body"].to_string()).send().await.unwrap();
                keys.insert(region.to_owned(), Value::from(made.key_metadata.unwrap().arn.unwrap()));
            }
            self.all[number].keys = Some(Value::Object(keys));
        }
        self.all[number].keys.clone()
    }

    /// What people know, for who has to find out why nothing goes on.
    pub fn said(&self) -> String {
        let standing = self
            .all
            .iter()
            .filter(|one| !one.ended)
            .filter_map(|one| self.standing.get(&one.id).map(|summary| format!("{}: {summary}", one.id)));
        let standing: Vec<String> = standing.collect();
        format!("{} refused, the last was {}\n{}", self.refused, self.refusal, standing.join("\n"))
    }

    /// What has been done to all runs together, as of the last look.
    pub fn moves(&self) -> u64 {
        self.moved.load(Ordering::SeqCst)
    }

    /// The same, as it goes on.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.moved)
    }

    /// Every run's history holds, those of children too, and each enterprise's report finds everything as it should be. Gives the rows of history.
    pub async fn verify(&mut self) -> u64 {
        let mut rows = 0;
        assert!(self.look().await && self.runs.len() > self.all.len(), "an onboarding has children: {:?}", self.runs);
        for run in self.runs.clone() {
            let found = self.ask(Method::GET, &format!("/api/v1/runs/{run}/verification"), None, "").await.unwrap();
            assert_eq!(found["ok"], true, "{run}: {found}");
            rows += found["rows"].as_u64().unwrap();
        }
        for number in 0..self.all.len() {
            if self.all[number].run.is_none() {
                continue;
            }
            let id = self.all[number].id.clone();
            let path = format!("/api/v1/enterprises/{id}/records/report/latest");
            let report = self.ask(Method::GET, &path, None, "").await.unwrap();
            assert_eq!(report["body"]["summary"]["conclusion"], "compliant", "{id}");
            assert_eq!(report["body"]["deviations"], json!([]), "{id}");
        }
        rows
    }

    /// What `/readyz` answers, if it answers.
    pub async fn ready(&self) -> Option<u16> {
        let response = self.client.get(format!("{}/readyz", self.api)).send().await;
        response.ok().map(|response| response.status().as_u16())
    }

    /// The status of an answer to somebody who wants something that changes nothing more than once; `None` without an answer.
    pub async fn knock(&self, method: Method, path: &str) -> Option<u16> {
        let request = self.client.request(method.clone(), format!("{}{path}", self.api)).bearer_auth(&self.token);
        let body = json!({ "id": "knock", "name": "Knock" });
        let request = if method == Method::POST { request.json(&body) } else { request };
        request.send().await.ok().map(|response| response.status().as_u16())
    }

    pub async fn rest(&self) {
        let each = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        SystemClock.sleep(LOOK.max(LOOK_EACH * each)).await;
    }
}
