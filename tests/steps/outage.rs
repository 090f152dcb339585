//! A system that goes out of service comes back, wherever the run that took it is cut off.
//!
//! Every state of the window, cut off at every wait of its calls, and then put back by the record alone.

use keyferry::{systems::Names, worker::OUTAGES};
use serde_json::{Value, json};

use super::{flow::Stage, world::WEST};

/// The states of the window, in order.
pub const WINDOW: [&str; 8] = [
    "plan-outage",
    "freeze-system",
    "snapshot-system",
    "copy-snapshot",
    "restore-system",
    "verify-system",
    "swap-system",
    "confirm-cut-over",
];

/// A stage with the unencrypted sandbox system before its window.
async fn before_the_window() -> (Stage, Value, Value) {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][1].clone();
    let item = stage.item(&system, 1);
    (stage, system, item)
}

fn outage(stage: &Stage, system: &Value) -> Option<Value> {
    let key = (OUTAGES.to_owned(), system["resource_id"].as_str().unwrap().to_owned());
    stage.world.memory.records.lock().unwrap().get(&key).cloned()
}

/// The law: what does not serve has a record with who took it out and until when it has to be back.
async fn is_planned_for(stage: &Stage, system: &Value, place: &str) {
    if stage.world.names(WEST).await.iter().any(|name| name == "dave-sandbox") {
        return;
    }
    let outage = outage(stage, system).unwrap_or_else(|| panic!("{place}: out of service without a record"));
    assert_ne!(outage["state"], "serving", "{place}: {outage:#}");
    for member in ["run", "old", "since", "cutoff", "end"] {
        assert!(outage[member].is_string(), "{place}: {outage:#}");
    }
}

fn put_back(stage: &Stage, system: &Value) -> Value {
    let now = keyferry::worker::StepHost::now(&*stage.world.memory);
    json!({ "resource": system["resource_id"], "not_before": now + chrono::TimeDelta::seconds(90) })
}

/// What serves under the name, and what else there is.
async fn came_back(stage: &Stage, system: &Value, outcome: &Value, place: &str) {
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let serving = rds.describe_db_instances().db_instance_identifier("dave-sandbox").send().await.unwrap();
    let serving = &serving.db_instances()[0];
    assert_eq!(serving.db_instance_status(), Some("available"), "{place}");
    let is_original = serving.dbi_resource_id() == system["resource_id"].as_str();
    assert_eq!(outcome["outcome"], if is_original { "kept" } else { "migrated" }, "{place}");
    let names = stage.world.names(WEST).await;
    let old = Names::new("dave", 1, "run-1", "dave-sandbox", 1).old();
    assert_eq!(names.contains(&old), !is_original, "{place}: an original is kept until the purge: {names:?}");
    let marked = serving.tag_list().iter().any(|tag| tag.key() == Some("keyferry:role") && is_original);
    assert!(!marked, "{place}: the original serves and is marked as replaced");
    let outage = outage(stage, system).unwrap();
    assert_eq!((&outage["state"], &outage["served"]), (&json!("serving"), &outcome["outcome"]), "{place}");
}

#[tokio::test]
async fn a_run_that_is_cut_off_at_any_wait_of_any_state_of_the_window_leaves_a_system_that_comes_back() {
    for (index, step) in WINDOW.into_iter().enumerate() {
        let mut waits = 0;
        loop {
            let place = format!("{step} cut off after {waits} waits");
            let (stage, system, item) = before_the_window().await;
            for earlier in &WINDOW[..index] {
                stage.world.to_its_end(earlier, &item).await.unwrap_or_else(|error| panic!("{earlier}: {error}"));
                is_planned_for(&stage, &system, earlier).await;
            }
            let was_cut = stage.world.cut_off(step, &item, waits).await;
            is_planned_for(&stage, &system, &place).await;
            if outage(&stage, &system).is_some() {
                let outcome = stage.world.run("put-back-system", &put_back(&stage, &system)).await;
                let outcome = outcome.unwrap_or_else(|error| panic!("{place}: {}: {error}", error.error));
                came_back(&stage, &system, &outcome, &place).await;
            } else {
                assert_eq!(step, "plan-outage", "{place}: nothing was planned");
            }
            if !was_cut {
                break;
            }
            // Each wait at first, where the calls of one execution are; then samples of the executions that only look.
            waits += 1 + waits / 12;
        }
    }
}

#[tokio::test]
async fn what_puts_a_system_back_may_itself_be_cut_off_at_any_wait() {
    for cut_over in [WINDOW.len() - 3, WINDOW.len() - 1] {
        let mut waits = 0;
        loop {
            let place = format!("{} states of the window, put back cut off after {waits} waits", cut_over);
            let (stage, system, item) = before_the_window().await;
            for earlier in &WINDOW[..cut_over] {
                stage.world.to_its_end(earlier, &item).await.unwrap();
            }
            let asked = put_back(&stage, &system);
            let was_cut = stage.world.cut_off("put-back-system", &asked, waits).await;
            is_planned_for(&stage, &system, &place).await;
            let outcome = stage.world.run("put-back-system", &asked).await.unwrap();
            came_back(&stage, &system, &outcome, &place).await;
            if !was_cut {
                break;
            }
            waits += 1 + waits / 12;
        }
    }
}

#[tokio::test]
async fn nothing_is_frozen_without_a_window_or_without_a_record_that_says_how_it_comes_back() {
    let (stage, _, item) = before_the_window().await;
    for step in WINDOW {
        let mut without = item.clone();
        without.as_object_mut().unwrap().remove("window");
        let error = stage.world.once(step, &without).await.unwrap_err();
        assert_eq!(error.error, "Keyferry.BadInput", "{step}");
        assert!(error.cause.contains("window"), "{step}: {}", error.cause);
    }
    let error = stage.world.once("freeze-system", &item).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.NoPlan");
    assert!(stage.world.names(WEST).await.contains(&"dave-sandbox".to_owned()));
}

#[tokio::test]
async fn a_put_back_whose_name_is_taken_says_what_is_down_and_what_to_do_and_touches_nothing() {
    let (stage, system, item) = before_the_window().await;
    for step in ["plan-outage", "freeze-system"] {
        stage.world.to_its_end(step, &item).await.unwrap();
    }
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let taken = rds.create_db_instance().db_instance_identifier("dave-sandbox").engine("mysql");
    let taken = taken.db_instance_class("db.m6g.large").allocated_storage(20).master_username("other");
    taken.master_user_password("long-enough-for-RDS").send().await.unwrap();
    stage.world.pass(3600);
    let before = stage.world.sandbox.ledger().len();
    let error = stage.world.to_its_end("put-back-system", &put_back(&stage, &system)).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.Outage");
    let old = Names::new("dave", 1, "run-1", "dave-sandbox", 1).old();
    for said in
        ["dave-sandbox in us-west-2 is out of service since", &old, "rename it, and delete nothing", "run retry"]
    {
        assert!(error.cause.contains(said), "{said}: {}", error.cause);
    }
    assert_eq!(stage.world.sandbox.ledger().len(), before);
    let rename = rds.modify_db_instance().db_instance_identifier("dave-sandbox");
    rename.new_db_instance_identifier("other").apply_immediately(true).send().await.unwrap();
    stage.world.pass(3600);
    let outcome = stage.world.run("put-back-system", &put_back(&stage, &system)).await.unwrap();
    came_back(&stage, &system, &outcome, "the name is free").await;
}

/// The successor is protected and its key is lost, so that it cannot be deleted: the original serves all the same, and nobody is
/// told of an outage.
#[tokio::test]
async fn a_successor_that_cannot_be_removed_is_left_over_and_no_outage() {
    let stage = Stage::set().await;
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let protect = rds.modify_db_instance().db_instance_identifier("dave-sandbox").deletion_protection(true);
    protect.apply_immediately(true).send().await.unwrap();
    stage.world.pass(3600);
    let system = stage.inventory().await["systems"][1].clone();
    let item = stage.item(&system, 1);
    stage.world.to_its_end("record-settings", &item).await.unwrap();
    for step in &WINDOW[..6] {
        stage.world.to_its_end(step, &item).await.unwrap_or_else(|error| panic!("{step}: {error}"));
    }
    let key = stage.keys["keys"][WEST].as_str().unwrap();
    stage.world.customer(WEST).await.disable_key().key_id(key).send().await.unwrap();
    stage.world.pass(7200);
    let outcome = stage.world.run("put-back-system", &put_back(&stage, &system)).await.unwrap();
    came_back(&stage, &system, &outcome, "the successor cannot be removed").await;
    let new = Names::new("dave", 1, "run-1", "dave-sandbox", 1).new_system();
    assert!(stage.world.names(WEST).await.contains(&new), "it is still there");
    let left = stage.world.run("list-left-overs", &json!({})).await.unwrap()["left_overs"].clone();
    let left = left.as_array().unwrap().iter().find(|left| left["id"] == new.as_str()).expect("it is listed");
    assert_eq!(left["removable"], false, "{left:#}");
}

#[tokio::test]
async fn a_swap_that_somebody_skipped_is_not_believed() {
    let (stage, system, item) = before_the_window().await;
    for step in &WINDOW[..6] {
        stage.world.to_its_end(step, &item).await.unwrap();
    }
    let error = stage.world.to_its_end("confirm-cut-over", &item).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.Outage");
    // Nor is a person who skips past that too.
    let results = json!({ "results": [{ "system": "dave-sandbox", "region": WEST, "outcome": "migrated" }] });
    let error = stage.world.to_its_end("review-migration", &results).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.Outage");
    stage.world.run("put-back-system", &put_back(&stage, &system)).await.unwrap();
    let reviewed = stage.world.run("review-migration", &results).await.unwrap();
    assert_eq!(reviewed["outcome"], "failed");
    assert_eq!(reviewed["kept"][0]["system"], "dave-sandbox");
}

#[tokio::test]
async fn what_a_cancelled_run_left_is_listed_and_removed_only_while_its_source_is_there() {
    let (stage, system, item) = before_the_window().await;
    stage.world.to_its_end("pre-copy-system", &item).await.unwrap();
    for step in &WINDOW[..5] {
        stage.world.to_its_end(step, &item).await.unwrap();
    }
    stage.world.to_its_end("put-back-system", &put_back(&stage, &system)).await.unwrap();
    let list = stage.world.run("list-left-overs", &json!({})).await.unwrap();
    let left = list["left_overs"].as_array().unwrap();
    assert_eq!(left.len(), 4, "early snapshot and copy, final snapshot and copy: {left:#?}");
    for left_over in left {
        assert_eq!((&left_over["removable"], &left_over["run"]), (&json!(true), &json!("run-1")), "{left_over:#}");
    }
    let remove = |list: &Value, number: usize| json!({ "list": list["list"], "number": number });
    let refused = async |input: Value| {
        let error = stage.world.once("remove-left-over", &input).await.unwrap_err();
        assert_eq!(error.error, "Keyferry.NotApproved", "{input}: {error}");
    };
    // Neither without an answer, nor by one that refuses or names another list.
    refused(remove(&list, 0)).await;
    stage.world.answered("left-overs", 10, &json!({ "approve": false, "list": list["list"], "reason": "no" }));
    refused(remove(&list, 0)).await;
    stage.world.answered("left-overs", 10, &json!({ "approve": true, "list": "0".repeat(64), "reason": "yes" }));
    refused(remove(&list, 0)).await;
    let approve = |list: &Value| {
        stage.world.answered("left-overs", 10, &json!({ "approve": true, "list": list["list"], "reason": "yes" }));
    };
    approve(&list);
    refused(remove(&list, 4)).await;
    // Somebody else's snapshot is nobody's left-over, whatever the list says.
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let snapshot = rds.create_db_snapshot().db_instance_identifier("dave-sandbox").db_snapshot_identifier("archive");
    let arn = snapshot.send().await.unwrap().db_snapshot.unwrap().db_snapshot_arn.unwrap();
    stage.world.pass(3600);
    let forged = json!({ "id": "archive", "arn": arn, "region": WEST, "removable": true });
    let mut forged = json!({ "left_over": forged, "list": list["list"], "number": 0 });
    forged["approval"] = json!({ "approve": true });
    stage.world.run("remove-left-over", &forged).await.unwrap();
    let archives = rds.describe_db_snapshots().db_snapshot_identifier("archive").send().await.unwrap();
    assert_eq!(archives.db_snapshots().len(), 1, "what the input says beside the list counts for nothing");
    let gone = rds.describe_db_snapshots().db_snapshot_identifier(left[0]["id"].as_str().unwrap()).send().await;
    assert!(gone.is_err() || gone.unwrap().db_snapshots().is_empty());
    assert_eq!(stage.world.run("list-left-overs", &json!({})).await.unwrap()["count"], 3);
    // Without the system that it was made of it may be the last copy.
    let gone = rds.delete_db_instance().db_instance_identifier("dave-sandbox").skip_final_snapshot(true);
    gone.delete_automated_backups(true).send().await.unwrap();
    stage.world.pass(3600);
    let error = stage.world.once("remove-left-over", &remove(&list, 1)).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.NotVerified");
    let listed = stage.world.run("list-left-overs", &json!({})).await.unwrap()["left_overs"].clone();
    assert!(listed.as_array().unwrap().iter().all(|left_over| left_over["removable"] == false), "{listed:#}");
}
