//! What happens to a played estate: verbs of people, keys that stop working, settings that change, writes that come late.

use keyferry::{sandbox::Writer, worker::Visit};
use serde_json::json;

use super::{
    build::{ABROAD, EAST, WEST, policy, policy_without_rds, policy_without_vendor},
    life::Life,
    people::actor,
    play::Play,
};

const MOST_VERBS: usize = 12;

/// Something that will happen.
#[derive(Debug, Clone)]
pub enum Act {
    Start,
    Cancel,
    Pause,
    Resume,
    /// A person looks after what stands in attention.
    Attend,
    Approve,
    Review,
    /// Whoever is asked again for keys has looked into it.
    AnswerAgain,
    DisableKey(&'static str),
    EnableKey(&'static str),
    DropPolicy(&'static str),
    /// The vendor may use the key, but not through RDS.
    KeepFromRds(&'static str),
    RestorePolicy(&'static str),
    DeleteKey(&'static str),
    KeepKey(&'static str),
    /// A bigger class.
    Raise(String),
    /// More storage, as autoscaling gives it.
    Grow(String),
    /// Somebody takes a snapshot of a system, and later copies it under a key of the vendor's.
    Snapshot(String),
    CopyAside(String),
    /// Or has its backups replicated, under a key of the vendor's, to a region that nobody configured.
    BackUpAbroad(String),
    /// A write by whoever kept the address. A job inside the engine would write on: no security group holds it up, and the
    /// approval of the purge says so.
    LateWrite(String),
}

impl Play {
    pub(super) async fn perform(&mut self, life: &Life, act: Act) {
        self.say(format!("{act:?}"));
        match act {
            Act::Start => self.start(life).await,
            Act::Cancel | Act::Pause | Act::Resume | Act::Attend => self.verb(life, &act).await,
            Act::Approve => self.approve(life).await,
            Act::AnswerAgain => {}
            Act::Review => {
                let answer = json!({ "reason": "looked into it" });
                self.answer_form(life, "migration-review", answer, "engineer").await;
            }
            Act::DisableKey(_) | Act::DropPolicy(_) | Act::KeepFromRds(_) | Act::DeleteKey(_) => {
                self.count("key changes");
                self.perform_on_keys(&act).await;
            }
            Act::EnableKey(_) | Act::RestorePolicy(_) | Act::KeepKey(_) => self.perform_on_keys(&act).await,
            Act::Raise(id) => {
                let rds = self.estate.rds(WEST).await;
                let call = rds.modify_db_instance().db_instance_identifier(id).db_instance_class("db.m6g.2xlarge");
                if call.apply_immediately(true).send().await.is_ok() {
                    self.count("setting changes");
                }
            }
            Act::Grow(id) => {
                let gb = self.estate.found(WEST, &id).await.and_then(|found| found.allocated_storage()).unwrap_or(20);
                let rds = self.estate.rds(WEST).await;
                let call = rds.modify_db_instance().db_instance_identifier(id).allocated_storage(gb + 20);
                if call.apply_immediately(true).send().await.is_ok() {
                    self.count("setting changes");
                }
            }
            Act::Snapshot(_) | Act::CopyAside(_) | Act::BackUpAbroad(_) => self.keep_elsewhere(act).await,
            Act::LateWrite(id) => {
                let Some(original) = self.originals.get(&id).cloned() else { return };
                let address = self.judge.names().into_iter().find(|name| name.starts_with(&format!("{id}.")));
                let Some(address) = address else { return };
                self.count("late writers");
                if let Ok(write) = self.estate.sandbox.write(&Writer::Address(original)).await {
                    self.judge.promised(&address, write, true);
                    self.count("late writes");
                }
            }
        }
    }

    /// Somebody keeps data of a system where keyferry does not put it.
    async fn keep_elsewhere(&self, act: Act) {
        match act {
            Act::Snapshot(id) => {
                let make = self.estate.rds(WEST).await.create_db_snapshot().db_instance_identifier(&id);
                make.db_snapshot_identifier(format!("{id}-aside")).send().await.unwrap();
            }
            Act::CopyAside(id) => {
                let (rds, key) = (self.estate.rds(WEST).await, self.estate.vendors_key(WEST).await);
                let copy = rds.copy_db_snapshot().source_db_snapshot_identifier(format!("{id}-aside"));
                let copy = copy.target_db_snapshot_identifier(format!("{id}-elsewhere")).kms_key_id(key);
                copy.copy_tags(true).send().await.unwrap();
            }
            Act::BackUpAbroad(id) => {
                let (rds, key) = (self.estate.rds(ABROAD).await, self.estate.vendors_key(ABROAD).await);
                let found = self.estate.found(WEST, &id).await.unwrap();
                let call = rds.start_db_instance_automated_backups_replication();
                call.source_db_instance_arn(found.db_instance_arn().unwrap()).kms_key_id(key).send().await.unwrap();
            }
            _ => {}
        }
    }

    pub(super) async fn perform_on_keys(&mut self, act: &Act) {
        let (Act::DisableKey(region)
        | Act::EnableKey(region)
        | Act::DropPolicy(region)
        | Act::KeepFromRds(region)
        | Act::RestorePolicy(region)
        | Act::DeleteKey(region)
        | Act::KeepKey(region)) = *act
        else {
            return;
        };
        let kms = self.estate.customers_kms(region).await;
        let key = self.keys[region].clone();
        // One spoiling may have been undone by another's mending: a refusal is no matter.
        match act {
            Act::DisableKey(_) => drop(kms.disable_key().key_id(key).send().await),
            Act::EnableKey(_) => {
                drop(kms.enable_key().key_id(key).send().await);
                self.start_what_stands().await;
            }
            Act::DropPolicy(_) => {
                let policy = policy_without_vendor(region);
                kms.put_key_policy().key_id(key).policy_name("default").policy(policy).send().await.unwrap();
            }
            Act::KeepFromRds(_) => {
                let policy = policy_without_rds(region);
                kms.put_key_policy().key_id(key).policy_name("default").policy(policy).send().await.unwrap();
            }
            Act::RestorePolicy(_) => {
                let call = kms.put_key_policy().key_id(key).policy_name("default").policy(policy(region));
                call.send().await.unwrap();
            }
            Act::DeleteKey(_) => drop(kms.schedule_key_deletion().key_id(key).pending_window_in_days(7).send().await),
            Act::KeepKey(_) => {
                drop(kms.cancel_key_deletion().key_id(&key).send().await);
                drop(kms.enable_key().key_id(key).send().await);
                self.start_what_stands().await;
            }
            _ => {}
        }
    }

    /// Systems that lost their key are started by hand when it works again.
    pub(super) async fn start_what_stands(&self) {
        for holding in self.estate.sandbox.stock().await.unwrap() {
            if holding.status == "inaccessible-encryption-credentials-recoverable" {
                let rds = self.estate.rds(&holding.region).await;
                drop(rds.start_db_instance().db_instance_identifier(&holding.id).send().await);
            }
        }
    }

    pub(super) fn plan_trouble(&mut self, ahead: u64, hours: u64) {
        let names: Vec<String> = self.originals.keys().cloned().collect();
        let some = |play: &mut Self| names[usize::try_from(play.dice.below(names.len() as u64)).unwrap()].clone();
        let seconds = hours * 3_600;
        // Most of it while systems are being moved, which is soon over.
        let soon = |play: &mut Self| {
            let within = if play.dice.percent(75) { 4_000 } else { seconds * 2 / 3 };
            ahead + play.dice.below(within)
        };
        if self.dice.percent(30) {
            let (id, at) = (some(self), self.dice.below(ahead + 1));
            let act = if self.dice.percent(50) { Act::Raise(id) } else { Act::Grow(id) };
            self.plan(at, act);
        }
        if self.dice.percent(35) {
            let at = soon(self);
            self.plan(at, Act::Cancel);
        }
        if self.dice.percent(20) {
            let at = soon(self);
            let back = at + self.within(600, 30_000);
            self.plan(at, Act::Pause);
            self.plan(back, Act::Resume);
        }
        if self.dice.percent(20) {
            let at = soon(self);
            self.plan_spoiling(at);
        }
        if self.dice.percent(20) {
            let (id, at) = (some(self), soon(self));
            self.plan(at, Act::LateWrite(id));
        }
    }

    pub(super) fn plan_spoiling(&mut self, at: u64) {
        let region = if self.dice.percent(50) { WEST } else { EAST };
        let back = at + self.within(1_200, 40_000);
        let (spoil, mend) = match self.dice.below(3) {
            0 => (Act::DisableKey(region), Act::EnableKey(region)),
            1 => (Act::DropPolicy(region), Act::RestorePolicy(region)),
            _ => (Act::DeleteKey(region), Act::KeepKey(region)),
        };
        self.plan(at, spoil);
        self.plan(back, mend);
    }

    /// A verb on the run. It may come too late, and is refused then.
    pub(super) async fn verb(&mut self, life: &Life, act: &Act) {
        let Some(run) = self.run.clone() else { return };
        let (service, engineer) = (&life.service, actor("engineer"));
        let (what, done) = match act {
            Act::Cancel => ("cancels", service.cancel(&run, engineer, "changed our minds").await),
            Act::Pause => ("pauses", service.pause(&run, engineer, "wait a moment").await),
            Act::Resume => ("resumes", service.resume(&run, engineer, "go on").await),
            _ => {
                self.attend(life, &run).await;
                return;
            }
        };
        match done {
            Ok(_) => self.count(what),
            Err(error) => self.say(format!("refused: {error}")),
        }
    }

    /// Retries, skips or cancels what stands in attention.
    pub(super) async fn attend(&mut self, life: &Life, run: &str) {
        self.verbs += 1;
        let chance = if self.verbs > MOST_VERBS { 100 } else { self.dice.below(100) };
        let Some(visit) = self.in_attention(life, run).await else { return };
        let (service, engineer) = (&life.service, actor("engineer"));
        let (what, done) = match chance {
            0..70 => ("retries", service.retry(run, &visit, None, engineer, "once more").await),
            70..85 => ("skips", service.skip(run, &visit, None, engineer, "it will do").await),
            _ => ("cancels", service.cancel(run, engineer, "enough").await),
        };
        match done {
            Ok(_) => {
                self.say(format!("attended: {what}"));
                self.count(what);
            }
            Err(error) => self.say(format!("refused: {error}")),
        }
    }

    pub(super) async fn in_attention(&self, life: &Life, run: &str) -> Option<Visit> {
        life.service.run(run).await.ok()?.attention.first().map(|stands| stands.visit.clone())
    }
}
