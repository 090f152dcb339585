//! Engineers, the CSM and the customer: they start runs and answer forms.

use chrono::TimeDelta;
use keyferry::{
    engine::{Actor, Standing},
    worker::{Clock as _, NewEnterprise, PUT_BACK, RunFilter, RunView, StartRun},
};
use serde_json::{Value, json};

use super::{
    acts::Act,
    build::{CUSTOMER, EAST, WEST},
    counts::Said,
    life::Life,
    play::Play,
};

const MOST_RUNS: usize = 3;

pub fn actor(role: &str) -> Actor {
    Actor { name: role.to_owned(), role: role.to_owned() }
}

impl Play {
    pub(super) async fn start(&mut self, life: &Life) {
        let dave = NewEnterprise {
            id: "dave".to_owned(),
            name: "Dave".to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
        };
        life.service.add_enterprise(dave).await.unwrap();
        let asked = StartRun {
            enterprise: "dave".to_owned(),
            workflow: "customer-managed".to_owned(),
            input: json!({}),
            actor: actor("engineer"),
            idempotency_key: Some(format!("onboarding-{}", self.runs)),
        };
        match life.service.start_run(asked).await {
            Ok(run) => {
                self.runs += 1;
                self.run = Some(run.id);
                self.judge.approved(false);
                self.count("runs");
            }
            // Another run, one that puts things back for example, is still open.
            Err(error) => {
                self.say(format!("not started: {error}"));
                self.put_back_again(life).await;
                let later = self.within(600, 7_200);
                self.plan(later, Act::Start);
            }
        }
    }

    /// An engineer retries what puts systems back and stands in attention.
    async fn put_back_again(&mut self, life: &Life) {
        let filter = RunFilter { workflow: Some(PUT_BACK.to_owned()), ..RunFilter::default() };
        for open in life.service.runs(filter).await.unwrap().items {
            let attention = life.service.run(&open.id).await.unwrap().attention;
            for stands in attention {
                if life.service.retry(&open.id, &stands.visit, None, actor("engineer"), "once more").await.is_ok() {
                    self.say(format!("put back once more: {}", stands.cause));
                    self.count("put back once more");
                }
            }
        }
    }

    /// Answers the forms that are open, and looks after the run's state. Whether anything was done.
    pub(super) async fn answer(&mut self, life: &Life) -> bool {
        let Some(run) = self.run.clone() else { return false };
        let view = life.service.run(&run).await.unwrap();
        if view.ended_at.is_some() {
            self.ended(life, &view).await;
            return true;
        }
        if view.status == Standing::Attention && !self.planned(|act| matches!(act, Act::Attend | Act::Cancel)) {
            self.count("attention");
            self.say(format!("attention: {}", view.summary));
            self.halted.get_or_insert_with(|| error_of(&view));
            if !self.trouble {
                // Nobody helps: how things stand is what is asked.
                self.until = self.until.or(Some(self.all_windows_over()));
                return false;
            }
            let later = self.within(60, 7_200);
            self.plan(later, Act::Attend);
        }
        for form in view.waiting_for.iter().filter_map(|wait| wait.form.clone()) {
            if !self.trouble && self.noted.inventory.is_none() && ["window", "migration-review"].contains(&&*form) {
                self.noted.inventory = self.said(life, "inventory", "g1").await;
            }
            match form.as_str() {
                "regions" => {
                    let answer = json!({ "primary": WEST, "disaster_recovery": EAST, "aws_account": CUSTOMER });
                    return self.answer_form(life, "regions", answer, "engineer").await;
                }
                // Who is asked again has looked into it first.
                "key-arns" if self.asked_again > self.estate.clock.now() => {
                    if !self.planned(|act| matches!(act, Act::AnswerAgain)) {
                        let wait = (self.asked_again - self.estate.clock.now()).num_seconds();
                        self.plan(u64::try_from(wait).unwrap() + 1, Act::AnswerAgain);
                    }
                }
                "key-arns" => {
                    self.asked_again = self.estate.clock.now() + TimeDelta::minutes(30);
                    let answer = json!({ "keys": self.keys });
                    return self.answer_form(life, "key-arns", answer, "customer").await;
                }
                "window" => return self.agree(life).await,
                "purge-approval" if !self.planned(|act| matches!(act, Act::Approve)) => {
                    let later = self.within(60, 90_000);
                    self.plan(later, Act::Approve);
                }
                // Where nobody misbehaves, what cannot be moved twice will not be moved the third time.
                "migration-review" if !self.trouble && self.counts.get("reviews").is_some_and(|&times| times > 1) => {
                    self.until = self.until.or(Some(self.all_windows_over()));
                }
                "migration-review" if !self.planned(|act| matches!(act, Act::Review)) => {
                    self.count("reviews");
                    let later = self.within(60, 20_000);
                    self.plan(later, Act::Review);
                }
                "purge-approval" | "migration-review" => {}
                other => panic!("nobody answers the form {other}: {view:#?}"),
            }
        }
        false
    }

    pub(super) async fn answer_form(&mut self, life: &Life, form: &'static str, answer: Value, role: &str) -> bool {
        let Some(run) = self.run.clone() else { return false };
        let Ok(open) = life.service.open_form(&run, form).await else { return false };
        match life.service.answer(&run, form, &open.visit, answer, actor(role)).await {
            Ok(_) => {
                self.say(format!("answered {form}"));
                true
            }
            Err(error) => {
                // It may have been over before; what the form does not take is a mistake of the test.
                assert!(error.code != "answer-invalid" || !self.rogues.is_empty(), "{form}: {error}");
                self.say(format!("{form} not answered: {error}"));
                self.count("answers refused");
                false
            }
        }
    }

    /// Agrees to a window, and draws what will happen in it.
    pub(super) async fn agree(&mut self, life: &Life) -> bool {
        let now = self.estate.clock.now();
        let (ahead, hours) = (self.within(0, 20) * 600, self.within(3, 9));
        let start = now + TimeDelta::seconds(i64::try_from(ahead).unwrap());
        let end = start + TimeDelta::hours(i64::try_from(hours).unwrap());
        // It is agreed to even if the answer's echo is lost.
        self.judge.agreed(start, end);
        let text = if ahead == 0 { "now".to_owned() } else { start.to_rfc3339() };
        if !self
            .answer_form(
                life,
                "window",
                json!({ "start": text, "duration_hours": hours, "writers_stopped": false }),
                "csm",
            )
            .await
        {
            return false;
        }
        self.count("windows");
        if self.trouble {
            self.plan_trouble(ahead, hours);
        }
        true
    }

    pub(super) async fn approve(&mut self, life: &Life) {
        let Some(run) = self.run.clone() else { return };
        for act in self.at_approval.clone() {
            self.perform_on_keys(&act).await;
        }
        let shown = life.service.form_input(&run, "purge-approval").await.unwrap_or(Value::Null);
        if !self.trouble {
            let stock = self.estate.sandbox.stock().await.unwrap();
            self.noted.approval = Some(Said { word: shown.clone(), stock });
        }
        let approve = !self.trouble || self.dice.percent(85);
        let answer = json!({ "approve": approve, "plan": shown["plan"], "reason": "seen" });
        if self.answer_form(life, "purge-approval", answer, "engineer").await && approve {
            self.judge.approved(true);
            self.count("approvals");
            if self.trouble && self.dice.percent(40) {
                let at = self.dice.below(400);
                self.plan_spoiling(at);
            }
            if self.trouble && self.dice.percent(15) {
                let at = self.dice.below(400);
                self.plan(at, Act::Cancel);
            }
        }
    }

    pub(super) async fn ended(&mut self, life: &Life, view: &RunView) {
        self.say(format!("ended {:?}: {}", view.status, view.summary));
        assert!(life.service.verify(&view.id).await.unwrap().ok, "the history of {} does not verify", view.id);
        self.run = None;
        self.ending = Some(view.status);
        if view.status == Standing::Succeeded {
            self.count("succeeded");
            if !self.trouble {
                self.note_end(life).await;
            }
            let report = life.service.record("dave", "report", "latest").await.unwrap();
            let conclusion = report.and_then(|report| report.body["summary"]["conclusion"].as_str().map(str::to_owned));
            self.conclusion.clone_from(&conclusion);
            if conclusion.as_deref() == Some("compliant") {
                self.count("compliant");
                self.judge.said_compliant(&self.estate.sandbox, &self.keys.values().cloned().collect()).await;
            }
        } else if self.runs < MOST_RUNS {
            let later = self.within(600, 40_000);
            self.plan(later, Act::Start);
            return;
        }
        // What was left behind is seen until every window is over.
        self.until = Some(self.all_windows_over());
    }
}

fn error_of(view: &RunView) -> String {
    view.attention.first().map(|stands| format!("{}: {}", stands.error, stands.cause)).unwrap_or_default()
}
