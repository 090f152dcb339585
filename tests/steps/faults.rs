//! Lost replies, throttling, replicas and windows that end too early, through the whole of the shipped definitions.

use std::collections::BTreeMap;

use aws_sdk_rds::types::Tag;
use serde_json::{Value, json};

use super::{
    flow::Stage,
    onboarding::{Runner, answers},
    world::{EAST, WEST, World},
};
use keyferry::sandbox::{FaultKind, FaultRule};

async fn onboard(stage: &Stage) -> Value {
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    runner.drive("customer-managed", json!({})).await
}

/// How often each resource was made.
fn made(world: &World) -> BTreeMap<String, usize> {
    let creating = [
        "CreateDBInstance",
        "CreateDBSnapshot",
        "CopyDBSnapshot",
        "RestoreDBInstanceFromDBSnapshot",
        "CreateDBInstanceReadReplica",
    ];
    let mut made = BTreeMap::new();
    for entry in world.sandbox.ledger().iter().filter(|entry| creating.contains(&entry.action.as_str())) {
        *made.entry(format!("{} {}", entry.action, entry.resource)).or_default() += 1;
    }
    made
}

fn fault(action: &str, nth: u32, kind: FaultKind) -> FaultRule {
    FaultRule {
        service: Some("rds".to_owned()),
        action: Some(action.to_owned()),
        nth: Some(nth),
        remaining: None,
        kind,
    }
}

#[tokio::test]
async fn a_lost_reply_of_any_change_leaves_one_effect_and_nothing_over() {
    let actions = [
        "CreateDBInstance",
        "CreateDBSnapshot",
        "CopyDBSnapshot",
        "RestoreDBInstanceFromDBSnapshot",
        "ModifyDBInstance",
        "AddTagsToResource",
        "DeleteDBInstance",
        "DeleteDBSnapshot",
    ];
    for action in actions {
        let stage = Stage::set().await;
        stage.world.sandbox.faults().add(fault(action, 1, FaultKind::LostReply));
        let output = onboard(&stage).await;
        assert!(stage.world.sandbox.faults().rules().is_empty(), "{action} was never called");
        assert_eq!(output["summary"]["conclusion"], "compliant", "{action}: {output:#}");
        // The canary's copies are made again after each deletion; everything else is made once.
        let twice: Vec<_> =
            made(&stage.world).into_iter().filter(|(what, count)| *count > 1 && !what.contains("canary")).collect();
        assert!(twice.is_empty(), "{action}: {twice:?}");
    }
}

#[tokio::test]
async fn throttling_delays_and_changes_nothing() {
    let stage = Stage::set().await;
    for nth in 1..6 {
        stage.world.sandbox.faults().add(fault("DescribeDBInstances", nth, FaultKind::Throttle));
    }
    assert_eq!(onboard(&stage).await["summary"]["conclusion"], "compliant");
}

#[tokio::test]
async fn a_cross_region_replica_is_replaced_under_its_own_regions_key() {
    let stage = Stage::set().await;
    let (west, east) = (stage.world.aws.rds(WEST).await.unwrap(), stage.world.aws.rds(EAST).await.unwrap());
    let source = west.describe_db_instances().db_instance_identifier("dave-production").send().await.unwrap();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    east.create_db_instance_read_replica()
        .db_instance_identifier("dave-replica")
        .source_db_instance_identifier(source.db_instances()[0].db_instance_arn().unwrap())
        .kms_key_id(stage.world.vendor_key(EAST).await)
        .tags(tag("keyferry:enterprise", "dave"))
        .tags(tag("keyferry:instance", "production"))
        .send()
        .await
        .unwrap();
    stage.world.pass(24 * 3600);
    let output = onboard(&stage).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let replicas = east.describe_db_instances().send().await.unwrap().db_instances.unwrap_or_default();
    assert_eq!(replicas.len(), 1, "the old replica is left");
    assert_eq!(replicas[0].db_instance_identifier(), Some("dave-replica"));
    assert_eq!(replicas[0].kms_key_id(), stage.keys["keys"][EAST].as_str());
}

#[tokio::test]
async fn a_key_that_fails_in_the_window_leaves_the_originals_serving_until_a_second_window() {
    let stage = Stage::set().await;
    // The fifth copy is the first in the window, after one for each canary and one for each system before it.
    let kind = FaultKind::Error {
        code: "KMSKeyNotAccessibleFault".to_owned(),
        message: "The key is disabled".to_owned(),
        status: 400,
    };
    stage.world.sandbox.faults().add(fault("CopyDBSnapshot", 5, kind));
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let count = |state: &str| runner.entered.iter().filter(|entered| *entered == state).count();
    assert!(
        count("Put back") >= 1 && count("Review failures") == 1 && count("Agree on window") == 2,
        "{:?}",
        runner.entered
    );
}

#[tokio::test]
async fn a_window_that_is_too_short_freezes_nothing_and_asks_for_another() {
    let stage = Stage::set().await;
    let mut answers = answers(vec![json!({ "keys": stage.keys["keys"] })]);
    let windows = [
        json!({ "start": "now", "duration_hours": 2, "writers_stopped": true }),
        json!({ "start": "now", "duration_hours": 8, "writers_stopped": true }),
    ];
    answers.insert("window", windows.into());
    let mut runner = Runner::new(&stage.world, answers);
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let count = |state: &str| runner.entered.iter().filter(|entered| *entered == state).count();
    // The copies before the window took so long that two renames would not fit any more.
    assert_eq!((count("Freeze"), count("Put back")), (2, 0), "{:?}", runner.entered);
    assert_eq!((count("Agree on window"), count("Review failures")), (2, 0), "{:?}", runner.entered);
}
