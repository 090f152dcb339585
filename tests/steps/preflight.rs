//! What is found while everything serves: what cannot be migrated now is not frozen, and the rest moves in waves that fit.

use aws_sdk_rds::types::Tag;
use keyferry::sandbox::{FaultKind, FaultRule};
use serde_json::{Value, json};

use super::{
    flow::Stage,
    onboarding::{Runner, answers},
    world::{EAST, WEST, World},
};

async fn create(world: &World, enterprise: &str, id: &str) {
    let rds = world.aws.rds(WEST).await.unwrap();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    rds.create_db_instance()
        .db_instance_identifier(id)
        .engine("postgres")
        .db_instance_class("db.m6g.large")
        .allocated_storage(20)
        .master_username("admin_user")
        .master_user_password("long-enough-for-RDS")
        .tags(tag("keyferry:enterprise", enterprise))
        .tags(tag("keyferry:instance", "development"))
        .send()
        .await
        .unwrap();
}

async fn estate(dave: usize, others: usize) -> (World, Value) {
    let world = World::new().await;
    let keys =
        json!({ "keys": { WEST: world.key(WEST, None).await, EAST: world.key(EAST, None).await }, "instances": {} });
    for number in 0..dave {
        create(&world, "dave", &format!("dave-{number:02}")).await;
    }
    for number in 0..others {
        create(&world, "erin", &format!("erin-{number:02}")).await;
    }
    world.pass(24 * 3600);
    (world, keys)
}

async fn preflight(world: &World, keys: &Value) -> Value {
    world.hand_over(keys);
    let basis = json!({ "plan": World::plan(), "keys": keys });
    let inventory = world.run("take-inventory", &basis).await.unwrap();
    let input = json!({
        "systems": inventory["systems"], "replicas": inventory["replicas"], "keys": keys, "plan": World::plan(),
        "generation": 1, "attempt": 1,
    });
    world.run("preflight", &input).await.unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().filter_map(|item| item["id"].as_str().or(item["system"].as_str())).collect()
}

#[tokio::test]
async fn of_38_systems_under_default_quotas_the_two_that_fit_are_to_be_migrated() {
    let (world, keys) = estate(38, 0).await;
    let found = preflight(&world, &keys).await;
    assert_eq!(ids(&found["systems"]), ["dave-00", "dave-01"]);
    let kept = found["kept"].as_array().unwrap();
    assert_eq!(kept.len(), 36);
    for kept in kept {
        assert_eq!(kept["error"]["Error"], "Keyferry.QuotaExceeded", "{kept:#}");
        let cause = kept["error"]["Cause"].as_str().unwrap();
        assert!(cause.contains("may have 40") && cause.contains("room for 0"), "{cause}");
    }
}

#[tokio::test]
async fn an_estate_that_does_not_fit_moves_in_waves_and_no_system_is_frozen_in_vain() {
    // 3 of dave's and 35 of erin's leave room for two new ones in 40.
    let (world, keys) = estate(3, 35).await;
    let mut answers = answers(vec![json!({ "keys": keys["keys"] })]);
    answers.insert("purge-approval", [json!({ "approve": true, "reason": "checked" })].into());
    let mut runner = Runner::new(&world, answers);
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let count = |state: &str| runner.entered.iter().filter(|entered| *entered == state).count();
    assert_eq!((count("Agree on window"), count("Approve purge")), (2, 2), "{:?}", runner.entered);
    assert_eq!((count("Freeze"), count("Put back"), count("Review failures")), (3, 0, 0), "{:?}", runner.entered);
    let windows: Vec<usize> = runner
        .forms
        .iter()
        .filter(|(form, _)| form == "window")
        .map(|(_, input)| input["systems"].as_array().unwrap().len())
        .collect();
    assert_eq!(windows, [2, 1]);
}

#[tokio::test]
async fn a_stopped_system_is_kept_and_not_frozen_while_the_other_is_migrated() {
    let stage = Stage::set().await;
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    rds.stop_db_instance().db_instance_identifier("dave-sandbox").send().await.unwrap();
    stage.world.pass(3600);
    let found = preflight(&stage.world, &stage.keys).await;
    assert_eq!(ids(&found["systems"]), ["dave-production"]);
    assert_eq!(found["kept"][0]["error"]["Error"], "Keyferry.SystemBroken", "{found:#}");
}

#[tokio::test]
async fn each_thing_that_would_fail_in_the_window_is_found_before_it() {
    let stage = Stage::set().await;
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let group = rds.create_db_parameter_group().db_parameter_group_name("tuned").db_parameter_group_family("mysql8.0");
    group.description("tuned").send().await.unwrap();
    let change = |id: &'static str| rds.modify_db_instance().db_instance_identifier(id).apply_immediately(true);
    change("dave-sandbox").db_parameter_group_name("tuned").send().await.unwrap();
    // The sandbox takes any class there may be and offers a list: this one is not on it.
    change("dave-production").db_instance_class("db.x2g.16xlarge").send().await.unwrap();
    stage.world.pass(3600);
    let found = preflight(&stage.world, &stage.keys).await;
    assert_eq!(ids(&found["systems"]), ["dave-sandbox"], "{found:#}");
    let cause = found["kept"][0]["error"]["Cause"].as_str().unwrap();
    assert!(cause.contains("db.x2g.16xlarge") && cause.contains("does not offer"), "{cause}");
    change("dave-production").db_instance_class("db.m6g.large").send().await.unwrap();
    stage.world.pass(3600);
    let (kms, key) = (stage.world.customer(EAST).await, stage.keys["keys"][EAST].as_str().unwrap());
    kms.disable_key().key_id(key).send().await.unwrap();
    let found = preflight(&stage.world, &stage.keys).await;
    assert_eq!(ids(&found["systems"]), ["dave-sandbox"], "no copy of production could be kept: {found:#}");
    kms.enable_key().key_id(key).send().await.unwrap();
    let key = stage.keys["keys"][WEST].as_str().unwrap();
    stage.world.customer(WEST).await.disable_key().key_id(key).send().await.unwrap();
    let found = preflight(&stage.world, &stage.keys).await;
    assert_eq!(found["systems"], json!([]), "{found:#}");
    for kept in found["kept"].as_array().unwrap() {
        assert_eq!(kept["error"]["Error"], "Keyferry.KeyNotUsable", "{kept:#}");
    }
}

#[tokio::test]
async fn when_nothing_can_move_no_window_is_asked_for_before_the_cause_is_removed() {
    let stage = Stage::set().await;
    let faults = stage.world.sandbox.faults();
    faults.add(FaultRule {
        service: Some("rds".to_owned()),
        action: Some("DescribeOrderableDBInstanceOptions".to_owned()),
        nth: None,
        remaining: None,
        kind: FaultKind::Error {
            code: "InvalidParameterCombination".to_owned(),
            message: "The version is not offered any more".to_owned(),
            status: 400,
        },
    });
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    runner.on_form = Some(Box::new(move |form: &str, input: &Value| {
        if form == "migration-review" {
            assert_eq!(input["kept"].as_array().unwrap().len(), 2, "{input:#}");
            faults.clear();
        }
    }));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let order: Vec<&str> = runner.forms.iter().map(|(form, _)| form.as_str()).collect();
    assert_eq!(order[..4], ["regions", "key-arns", "migration-review", "window"], "{:?}", runner.entered);
    assert!(!runner.entered.contains(&"Put back".to_owned()), "{:?}", runner.entered);
}
