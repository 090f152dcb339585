//! The watch over keys in use: a change counts after a grace, is said once by any number of processes, and silence is no change.

use std::sync::{Arc, atomic::Ordering};

use keyferry::{
    audit::Calendar,
    aws::Aws,
    config::Config,
    engine::{Notice, Standing},
    keys::watch::{KEY_LOSS, KeyWatch, Look, Use, lost},
    sandbox::{FaultKind, FaultRule},
    worker::{Clock, RunFilter, RunView},
};
use serde_json::{Value, json};

use super::imported::Imported;

fn watch(it: &Imported) -> KeyWatch {
    let aws = Arc::new(Aws::sandboxed(&Config::default(), &it.vendor.sandbox));
    KeyWatch::new(it.vendor.service.clone(), Arc::clone(&it.clock) as Arc<dyn Clock>, aws, 1.0)
}

fn pass(it: &Imported, minutes: i64) {
    it.clock.0.fetch_add(60 * minutes, Ordering::SeqCst);
}

async fn runs(it: &Imported, workflow: &str) -> Vec<RunView> {
    let filter = RunFilter { workflow: Some(workflow.to_owned()), ..RunFilter::default() };
    it.vendor.service.runs(filter).await.unwrap().items
}

/// What was told, by its letter.
async fn told(it: &Imported, name: &str) -> Vec<Value> {
    let rows = it.vendor.service.next_mail(200).await.unwrap();
    let told = rows.into_iter().filter_map(|row| match row.notice {
        Notice::Told { letter, about, .. } if letter == name => Some(about),
        _ => None,
    });
    told.map(|about| json!(about)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_is_told_once_by_two_processes_and_once_more_when_it_is_back() {
    let it = Imported::new().await;
    it.audit().await;
    let (one, other) = (watch(&it), watch(&it));
    assert_eq!(one.look().await.unwrap(), Look::default());
    it.west.disable_key().key_id(&it.keys[0]).send().await.unwrap();
    let seen = one.look().await.unwrap();
    assert!(seen.changed.is_empty() && seen.pending, "it may still be spreading: {seen:?}");
    assert!(lost(&it.vendor.service, "dave").await.unwrap().is_empty());
    pass(&it, 11);
    let (first, second) = tokio::join!(one.look(), other.look());
    let changes = [first.unwrap().changed, second.unwrap().changed].concat();
    assert_eq!(changes, [(it.keys[0].clone(), Use::Disabled)], "one of them says it");
    assert_eq!(lost(&it.vendor.service, "dave").await.unwrap()[0].is.state, Use::Disabled);
    one.look().await.unwrap();
    let [run] = &runs(&it, KEY_LOSS).await[..] else { panic!("one loss is one run") };
    it.vendor.until(&run.id, |view| view.waiting_for.iter().any(|wait| wait.on == "aws")).await;
    let letters = told(&it, "key-state").await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["key"], it.keys[0].as_str());

    it.west.enable_key().key_id(&it.keys[0]).send().await.unwrap();
    one.look().await.unwrap();
    pass(&it, 11);
    assert_eq!(one.look().await.unwrap().changed, [(it.keys[0].clone(), Use::Usable)]);
    it.ended(&run.id).await;
    assert_eq!((told(&it, "key-state").await.len(), told(&it, "systems-back").await.len()), (1, 1));
    assert!(lost(&it.vendor.service, "dave").await.unwrap().is_empty());
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_out_of_reach_is_not_known_and_alarms_nobody() {
    let it = Imported::new().await;
    it.audit().await;
    let watch = watch(&it);
    watch.look().await.unwrap();
    it.vendor.sandbox.faults().add(FaultRule {
        service: Some("kms".to_owned()),
        action: Some("DescribeKey".to_owned()),
        nth: None,
        remaining: None,
        kind: FaultKind::Unavailable,
    });
    for _ in 0..3 {
        pass(&it, 15);
        let look = watch.look().await.unwrap();
        assert_eq!((look.changed.len(), look.not_known.len()), (0, 2));
    }
    let health = it.record("key-health", &it.keys[0]).await.unwrap();
    assert_eq!(health["state"], "usable", "the last that was known");
    assert!(health["not_known_since"].is_string(), "{health}");
    assert!(runs(&it, KEY_LOSS).await.is_empty());
    it.vendor.sandbox.faults().clear();
    watch.look().await.unwrap();
    assert!(it.record("key-health", &it.keys[0]).await.unwrap().get("not_known_since").is_none());
    it.vendor.stop().await;
}

async fn canaries_of_today(it: &Imported) {
    for key in &it.keys {
        it.put("key-canary", key, json!({ "at": it.clock.now(), "denied": false, "seen": "RDS copied" })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_is_due_is_started_once_however_many_dates_were_missed() {
    let it = Imported::new().await;
    let calendar = || Calendar::new(it.vendor.service.clone(), Arc::clone(&it.clock) as Arc<dyn Clock>);
    assert!(calendar().look().await.unwrap().is_empty(), "nothing is audited that was never onboarded");
    it.audit().await;
    assert!(calendar().look().await.unwrap().is_empty(), "the first is a whole time after");
    pass(&it, 89 * 24 * 60);
    assert!(calendar().look().await.unwrap().is_empty());
    pass(&it, 300 * 24 * 60);
    canaries_of_today(&it).await;
    let (one, other) = (calendar(), calendar());
    let (first, second) = tokio::join!(one.look(), other.look());
    let mut started = [first.unwrap(), second.unwrap()].concat();
    started.dedup();
    assert_eq!(started.len(), 1, "two processes start the same run: {started:?}");
    it.ended(&started[0]).await;
    assert!(calendar().look().await.unwrap().is_empty(), "what was missed is not made up for");
    let schedule = it.record("audit-schedule", "current").await.unwrap();
    assert_eq!(schedule["last"]["run"], started[0].as_str());
    let report = it.record("report", "latest").await.unwrap();
    assert!(report["changes"]["since"].as_str().unwrap().starts_with("dave-"), "{report:#}");
    let by =
        keyferry::worker::By::from(keyferry::engine::Actor { name: "eve".to_owned(), role: "engineer".to_owned() });
    keyferry::audit::reschedule(&it.vendor.service, "dave", 7, (&by, it.clock.now())).await.unwrap();
    pass(&it, 9 * 24 * 60);
    canaries_of_today(&it).await;
    assert_eq!(calendar().look().await.unwrap().len(), 1, "every seven days from now on");
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_changed_systems_and_left_no_report_is_followed_by_an_audit() {
    let it = Imported::new().await;
    it.audit().await;
    let calendar = Calendar::new(it.vendor.service.clone(), Arc::clone(&it.clock) as Arc<dyn Clock>);
    assert!(calendar.look().await.unwrap().is_empty());
    let open = runs(&it, "vendor-managed").await;
    let actor = keyferry::engine::Actor { name: "an engineer".to_owned(), role: "engineer".to_owned() };
    it.vendor.service.cancel(&open[0].id, actor, "enough").await.unwrap();
    let started = calendar.look().await.unwrap();
    assert_eq!(started.len(), 1);
    assert_eq!(it.vendor.service.run(&started[0]).await.unwrap().started_by.role, "system");
    assert!(calendar.look().await.unwrap().is_empty(), "once");
    it.ended(&started[0]).await;
    assert!(calendar.look().await.unwrap().is_empty(), "and it was audited");
    it.vendor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_fails_ends_as_failed_and_says_why() {
    let it = Imported::new().await;
    it.audit().await;
    it.put("custody", "current", json!({ "generation": 1 })).await;
    let run = it.start("compliance-audit", json!({})).await;
    let view = it.vendor.until(&run, |view| view.ended_at.is_some()).await;
    assert_eq!((view.status, view.error.as_deref()), (Standing::Failed, Some("Keyferry.BadInput")), "{view:#?}");
    it.vendor.stop().await;
}
