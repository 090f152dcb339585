//! Closing a system to its clients before it is renamed, and opening it again wherever the way ends.

use std::collections::BTreeMap;

use aws_sdk_rds::types::DbInstance;
use keyferry::{
    config::Config,
    sandbox::{FaultKind, FaultRule},
    worker::Progress,
};
use serde_json::{Value, json};

use super::{
    fidelity::{groups, instance},
    flow::Stage,
    world::{WEST, World},
};

const OWN: &str = "sg-0123456789abcdef0";
const CLOSING: &str = "sg-00000000000c105ed";

/// The stage, with a closing group for the VPC that its systems stand in.
async fn fenced() -> Stage {
    let stage = Stage::set().await;
    let vpc = vpc(&instance(&stage.world, WEST, "dave-production").await);
    let mut config = Config::default();
    config.aws.closing_groups.insert(WEST.to_owned(), BTreeMap::from([(vpc, CLOSING.to_owned())]));
    assert_eq!(config.findings(), Vec::<String>::new());
    Stage::of(World::configured(config).await).await
}

fn vpc(instance: &DbInstance) -> String {
    instance.db_subnet_group().unwrap().vpc_id().unwrap().to_owned()
}

async fn item(stage: &Stage) -> Value {
    stage.item(&stage.inventory().await["systems"][0], 1)
}

#[tokio::test]
async fn a_system_is_closed_before_it_is_renamed_and_its_successor_is_open() {
    let stage = fenced().await;
    let item = item(&stage).await;
    stage.world.run("record-settings", &item).await.unwrap();
    stage.world.run("plan-outage", &item).await.unwrap();
    let mut seen = Vec::new();
    // Looks at the system after each call of the step, as its clients would find it.
    loop {
        let progress = stage.world.once("freeze-system", &item).await.unwrap();
        if stage.world.names(WEST).await.contains(&"dave-production".to_owned()) {
            let serving = instance(&stage.world, WEST, "dave-production").await;
            seen.push((groups(&serving) == [CLOSING], serving.db_instance_status().unwrap().to_owned()));
        }
        let Progress::Pending { .. } = progress else { break };
        stage.world.pass(30);
    }
    let renamed = seen.iter().position(|(_, status)| status == "renaming").expect("it was renamed");
    assert!(seen[..renamed].iter().any(|(closed, _)| *closed), "it was closed before: {seen:?}");
    assert!(seen[renamed..].iter().all(|(closed, _)| *closed), "{seen:?}");
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.run("freeze-system", &item).await.unwrap();
    for step in ["snapshot-system", "copy-snapshot", "restore-system", "verify-system", "swap-system"] {
        stage.world.run(step, &item).await.unwrap_or_else(|error| panic!("{step}: {}: {error}", error.error));
    }
    let serving = instance(&stage.world, WEST, "dave-production").await;
    assert_eq!(groups(&serving), [OWN]);
    assert_ne!(serving.dbi_resource_id(), item["system"]["resource_id"].as_str());
}

#[tokio::test]
async fn wherever_the_freeze_is_cut_off_the_original_serves_again_with_its_own_groups() {
    let mut last = false;
    for calls in 0..100 {
        let stage = fenced().await;
        let item = item(&stage).await;
        stage.world.run("record-settings", &item).await.unwrap();
        stage.world.run("plan-outage", &item).await.unwrap();
        for _ in 0..calls {
            match stage.world.once("freeze-system", &item).await.unwrap() {
                Progress::Pending { .. } => stage.world.pass(30),
                Progress::Done { .. } => last = true,
            }
        }
        let thawed = stage.world.run("thaw-system", &item).await.unwrap();
        assert_eq!(thawed["outcome"], "kept", "after {calls} looks");
        let serving = instance(&stage.world, WEST, "dave-production").await;
        assert_eq!(serving.dbi_resource_id(), item["system"]["resource_id"].as_str(), "after {calls} looks");
        assert_eq!(groups(&serving), [OWN], "after {calls} looks");
        assert_eq!(serving.db_instance_status(), Some("available"));
        if last {
            return;
        }
    }
    panic!("the freeze never ends");
}

#[tokio::test]
async fn a_freeze_that_was_put_back_is_recorded_with_the_systems_own_groups_the_next_time() {
    let stage = fenced().await;
    let item = item(&stage).await;
    stage.world.run("record-settings", &item).await.unwrap();
    stage.world.run("plan-outage", &item).await.unwrap();
    // Closed, and then its settings change: it is recorded again while it is closed.
    while groups(&instance(&stage.world, WEST, "dave-production").await) != [CLOSING] {
        stage.world.once("freeze-system", &item).await.unwrap();
        stage.world.pass(30);
    }
    stage.world.pass(600);
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let change = rds.modify_db_instance().db_instance_identifier("dave-production").apply_immediately(true);
    change.backup_retention_period(30).send().await.unwrap();
    stage.world.pass(600);
    stage.world.run("plan-outage", &item).await.unwrap();
    let error = stage.world.to_its_end("freeze-system", &item).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.SettingsChanged");
    stage.migrate(&item["system"]).await;
    let serving = instance(&stage.world, WEST, "dave-production").await;
    assert_eq!(groups(&serving), [OWN]);
    assert_eq!(serving.backup_retention_period(), Some(30));
}

#[tokio::test]
async fn a_change_that_rds_finds_to_be_none_is_looked_at_again() {
    let stage = fenced().await;
    let item = item(&stage).await;
    stage.world.run("record-settings", &item).await.unwrap();
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.sandbox.faults().add(FaultRule {
        service: Some("rds".to_owned()),
        action: Some("ModifyDBInstance".to_owned()),
        nth: None,
        remaining: Some(1),
        kind: FaultKind::Error {
            code: "InvalidParameterCombination".to_owned(),
            message: "No modifications were requested".to_owned(),
            status: 400,
        },
    });
    stage.world.run("freeze-system", &item).await.unwrap();
    let names = stage.world.names(WEST).await;
    let aside = names.iter().find(|name| name.contains("dave-production-old")).expect("it was put aside");
    assert_eq!(groups(&instance(&stage.world, WEST, aside).await), [CLOSING], "and closed before, by a second call");
    assert!(stage.world.sandbox.faults().rules().is_empty(), "the answer was met");
}

#[tokio::test]
async fn people_are_told_before_the_window_whose_writers_are_not_fenced() {
    for (stage, wanted) in [(Stage::set().await, 2), (fenced().await, 0)] {
        let inventory = stage.inventory().await;
        let input = stage.with(json!({ "systems": inventory["systems"], "generation": 1, "attempt": 1 }));
        let found = stage.world.run("preflight", &input).await.unwrap();
        let notices = found["notices"].as_array().unwrap();
        let count = |what: &str| notices.iter().filter(|notice| notice.as_str().unwrap().contains(what)).count();
        assert_eq!(count("writers are not fenced"), wanted, "{notices:#?}");
        assert_eq!(count("not proven"), 2, "{notices:#?}");
        assert_eq!(found["unfenced"].as_array().unwrap().len(), wanted, "whoever agrees on the window is asked");
    }
}

#[tokio::test]
async fn the_approval_of_the_purge_says_what_is_not_proven_of_the_writers() {
    let said = json!({ "writers_stopped": true });
    let cases = [
        (Stage::set().await, json!({}), "not proven"),
        (Stage::set().await, said, "said that its writers"),
        (fenced().await, json!({}), "was closed"),
    ];
    for (stage, more, wanted) in cases {
        let system = stage.inventory().await["systems"][0].clone();
        let mut item = stage.item(&system, 1);
        item["window"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.world.run("pre-copy-system", &item).await.unwrap();
        for step in [
            "record-settings",
            "plan-outage",
            "freeze-system",
            "snapshot-system",
            "copy-snapshot",
            "restore-system",
            "swap-system",
        ] {
            stage.world.run(step, &item).await.unwrap_or_else(|error| panic!("{step}: {}: {error}", error.error));
        }
        let purge = stage.world.run("plan-purge", &stage.with(json!({ "generation": 1 }))).await.unwrap();
        let notices = purge["notices"].as_array().unwrap();
        assert_eq!(notices.len(), 1, "{notices:#?}");
        assert!(notices[0].as_str().unwrap().contains(wanted), "{notices:#?}");
    }
}
