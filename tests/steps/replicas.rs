//! Replicas and replicas of replicas: everything they were, or the old ones back.

use aws_sdk_rds::types::Tag;
use keyferry::{
    sandbox::{FaultKind, FaultRule},
    worker::OUTAGES,
};
use serde_json::{Value, json};

use super::{
    fidelity::instance,
    flow::Stage,
    onboarding::{Runner, answers},
    world::{EAST, WEST},
};

/// A replica in the region with one of its own across regions, both with backups and windows of their own.
async fn cascade() -> Stage {
    let stage = Stage::set().await;
    let (west, east) = (stage.world.aws.rds(WEST).await.unwrap(), stage.world.aws.rds(EAST).await.unwrap());
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags = || vec![tag("keyferry:enterprise", "dave"), tag("keyferry:instance", "production")];
    let create = west.create_db_instance_read_replica().db_instance_identifier("dave-reports");
    create.source_db_instance_identifier("dave-production").set_tags(Some(tags())).send().await.unwrap();
    stage.world.pass(24 * 3600);
    let shape = |client: &aws_sdk_rds::Client, id: &str, days: i32| {
        client
            .modify_db_instance()
            .db_instance_identifier(id)
            .backup_retention_period(days)
            .preferred_backup_window("01:10-01:40")
            .preferred_maintenance_window("tue:05:00-tue:05:30")
            .ca_certificate_identifier("rds-ca-ecc384-g1")
            .apply_immediately(true)
    };
    shape(&west, "dave-reports", 9).send().await.unwrap();
    stage.world.pass(24 * 3600);
    let source = instance(&stage.world, WEST, "dave-reports").await;
    let create = east.create_db_instance_read_replica().db_instance_identifier("dave-far");
    let create = create.source_db_instance_identifier(source.db_instance_arn().unwrap());
    create.kms_key_id(stage.world.vendor_key(EAST).await).set_tags(Some(tags())).send().await.unwrap();
    stage.world.pass(24 * 3600);
    shape(&east, "dave-far", 5).send().await.unwrap();
    stage.world.pass(24 * 3600);
    stage
}

async fn are_whole(stage: &Stage) {
    for (region, id, days) in [(WEST, "dave-reports", 9), (EAST, "dave-far", 5)] {
        let found = instance(&stage.world, region, id).await;
        assert_eq!(found.kms_key_id(), stage.keys["keys"][region].as_str(), "{id}");
        assert_eq!(found.backup_retention_period(), Some(days), "{id}");
        assert_eq!(found.preferred_backup_window(), Some("01:10-01:40"), "{id}");
        assert_eq!(found.preferred_maintenance_window(), Some("tue:05:00-tue:05:30"), "{id}");
        assert_eq!(found.ca_certificate_identifier(), Some("rds-ca-ecc384-g1"), "{id}");
        assert!(found.read_replica_source_db_instance_identifier().is_some(), "{id}");
    }
    let far = instance(&stage.world, EAST, "dave-far").await;
    let source = far.read_replica_source_db_instance_identifier().unwrap();
    assert!(source.ends_with(":dave-reports"), "it follows the new replica: {source}");
}

#[tokio::test]
async fn a_replica_and_its_own_replica_keep_what_they_were_and_follow_the_new_ones() {
    let stage = cascade().await;
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    are_whole(&stage).await;
    assert_eq!(stage.world.names(WEST).await, ["dave-production", "dave-reports", "dave-sandbox"]);
    assert_eq!(stage.world.names(EAST).await, ["dave-far"]);
}

#[tokio::test]
async fn a_replica_that_cannot_be_replaced_is_put_back_with_those_behind_it() {
    let stage = cascade().await;
    let kind = FaultKind::Error {
        code: "DBSubnetGroupDoesNotCoverEnoughAZs".to_owned(),
        message: "The subnets do not cover enough zones".to_owned(),
        status: 400,
    };
    stage.world.sandbox.faults().add(FaultRule {
        service: Some("rds".to_owned()),
        action: Some("CreateDBInstanceReadReplica".to_owned()),
        nth: None,
        remaining: Some(400),
        kind,
    });
    let before = instance(&stage.world, WEST, "dave-reports").await;
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let faults = stage.world.sandbox.faults().clone();
    let name = before.dbi_resource_id().unwrap().to_owned();
    runner.on_form = Some(Box::new(move |form: &str, input: &Value| {
        if form == "migration-review" {
            let kept = input["kept"].as_array().unwrap();
            let systems: Vec<&str> = kept.iter().filter_map(|kept| kept["system"].as_str()).collect();
            assert_eq!(systems, ["dave-reports", "dave-far"], "{name}: {input:#}");
            assert_eq!(kept[1]["error"], "Keyferry.NotMigrated", "the one behind it is left alone: {input:#}");
            faults.clear();
        }
    }));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let count = |state: &str| runner.entered.iter().filter(|entered| *entered == state).count();
    assert_eq!((count("Put replica back"), count("Review replica failures")), (2, 1), "{:?}", runner.entered);
    are_whole(&stage).await;
}

/// The states of one replica, in order.
const EXCHANGE: [&str; 4] = ["create-replica", "freeze-system", "swap-system", "confirm-cut-over"];

/// A migrated system whose replica waits to be replaced, and the first input of its states.
async fn waiting() -> (Stage, Value) {
    let stage = Stage::set().await;
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let create = rds.create_db_instance_read_replica().db_instance_identifier("dave-reports");
    let create = create.tags(tag("keyferry:enterprise", "dave")).tags(tag("keyferry:instance", "production"));
    create.source_db_instance_identifier("dave-production").send().await.unwrap();
    stage.world.pass(24 * 3600);
    stage.migrate(&stage.inventory().await["systems"][0]).await;
    let stock = stage.inventory().await;
    let mut item = stock["replicas"][0].clone();
    item.as_object_mut().unwrap().extend(stage.with(json!({ "generation": 1 })).as_object().unwrap().clone());
    (stage, item)
}

/// The window of the exchange comes from its first state.
async fn run_state(stage: &Stage, step: &str, item: &mut Value) {
    let output = stage.world.to_its_end(step, item).await;
    let output = output.unwrap_or_else(|error| panic!("{step}: {}: {error}", error.error));
    if step == "create-replica" {
        item["window"] = output;
    }
}

/// Nothing serves under the name only while a record says by when something has to.
async fn is_planned_for(stage: &Stage, item: &Value, place: &str) -> bool {
    let outage = stage.world.record(OUTAGES, item["system"]["resource_id"].as_str().unwrap());
    let is_open = outage.as_ref().is_some_and(|outage| outage["state"] != "serving");
    if !stage.world.names(WEST).await.iter().any(|name| name == "dave-reports") {
        let outage = outage.unwrap_or_else(|| panic!("{place}: out of service without a record"));
        assert!(is_open && outage["end"].is_string(), "{place}: {outage:#}");
    }
    is_open
}

#[tokio::test]
async fn a_replica_serves_until_the_new_one_stands_ready_and_comes_back_wherever_it_is_cut_off() {
    let (mut cuts, mut put_back) = (0, 0);
    for (index, step) in EXCHANGE.into_iter().enumerate() {
        let mut waits = 0;
        loop {
            let place = format!("{step} cut off after {waits} waits");
            let (stage, mut item) = waiting().await;
            for earlier in &EXCHANGE[..index] {
                run_state(&stage, earlier, &mut item).await;
            }
            let was_cut = stage.world.cut_off(step, &item, waits).await;
            let is_open = is_planned_for(&stage, &item, &place).await;
            if step == "create-replica" {
                assert!(stage.world.names(WEST).await.contains(&"dave-reports".to_owned()), "{place}");
                assert!(!(is_open && was_cut), "{place}: it is planned when the new one stands ready");
            }
            cuts += 1;
            if is_open && cuts % 2 == 0 {
                let now = keyferry::worker::StepHost::now(&*stage.world.memory);
                let asked = json!({ "resource": item["system"]["resource_id"], "not_before": now });
                let outcome = stage.world.run("put-back-system", &asked).await;
                outcome.unwrap_or_else(|error| panic!("{place}: {}: {error}", error.error));
                put_back += 1;
            } else {
                for state in &EXCHANGE[index.saturating_sub(usize::from(was_cut && index > 1))..] {
                    run_state(&stage, state, &mut item).await;
                }
                let found = instance(&stage.world, WEST, "dave-reports").await;
                assert_eq!(found.kms_key_id(), stage.keys["keys"][WEST].as_str(), "{place}");
            }
            assert!(!is_planned_for(&stage, &item, &place).await, "{place}: its outage has ended");
            let found = instance(&stage.world, WEST, "dave-reports").await;
            assert_eq!(found.db_instance_status(), Some("available"), "{place}");
            if !was_cut {
                break;
            }
            // The calls of one execution are near the beginning; later executions only look.
            waits = waits * 2 + 1;
        }
    }
    assert!(put_back >= 4, "{put_back} of {cuts}");
}
