//! Data stays where it was promised to stay: copies, replicas, fresh systems, keys of instances' own.

use std::collections::VecDeque;

use aws_sdk_rds::types::Tag;
use serde_json::{Value, json};

use super::{
    onboarding::{Answers, Runner, answers},
    world::{CUSTOMER, EAST, WEST, World, tag},
};
use keyferry::{
    config::Config,
    forms::{FormContext, Forms},
    worker::{Enterprise, StepHost},
};

const FRANKFURT: &str = "eu-central-1";
const IRELAND: &str = "eu-west-1";
const CANADA: &str = "ca-central-1";

fn tags(instance: &str) -> Vec<Tag> {
    vec![tag("keyferry:enterprise", "dave"), tag("keyferry:instance", instance)]
}

/// A data system of the vendor's, under a key of the vendor's.
async fn system(world: &World, region: &str, id: &str, instance: &str) {
    let key = world.vendor_key(region).await;
    let create = world.aws.rds(region).await.unwrap().create_db_instance().db_instance_identifier(id);
    let create = create.engine("postgres").db_instance_class("db.m6g.large").allocated_storage(20);
    let create = create.master_username("admin_user").master_user_password("long-enough-for-RDS");
    let create = create.backup_retention_period(1).copy_tags_to_snapshot(true).storage_encrypted(true).kms_key_id(key);
    create.set_tags(Some(tags(instance))).send().await.unwrap();
    world.pass(3600);
}

/// A snapshot of a system, copied to another region under the vendor's key there.
async fn copied(world: &World, region: &str, id: &str, away: &str) {
    let rds = world.aws.rds(region).await.unwrap();
    let made = rds.create_db_snapshot().db_instance_identifier(id).db_snapshot_identifier(format!("{id}-nightly"));
    let source = made.send().await.unwrap().db_snapshot.unwrap().db_snapshot_arn.unwrap();
    world.pass(3600);
    by_hand(world, &source, away, &format!("{id}-away"), &world.vendor_key(away).await).await;
}

/// Copies a snapshot to another region, as a person would.
async fn by_hand(world: &World, source: &str, away: &str, name: &str, key: &str) {
    let copy = world.aws.rds(away).await.unwrap().copy_db_snapshot().source_db_snapshot_identifier(source);
    copy.target_db_snapshot_identifier(name).kms_key_id(key).copy_tags(true).send().await.unwrap();
    world.pass(24 * 3600);
}

/// Name and key of each manual snapshot in a region that is the enterprise's.
async fn snapshots(world: &World, region: &str) -> Vec<(String, String)> {
    let rds = world.aws.rds(region).await.unwrap();
    let found = rds.describe_db_snapshots().snapshot_type("manual").send().await.unwrap().db_snapshots.unwrap();
    let theirs = found.into_iter().filter(|snapshot| {
        snapshot.tag_list().iter().any(|tag| tag.key() == Some("keyferry:enterprise") && tag.value() == Some("dave"))
    });
    theirs.map(|snapshot| (snapshot.db_snapshot_identifier.unwrap(), snapshot.kms_key_id.unwrap_or_default())).collect()
}

async fn keys(world: &World, regions: &[&str]) -> Value {
    let mut keys = serde_json::Map::new();
    for region in regions {
        keys.insert((*region).to_owned(), json!(world.key(region, None).await));
    }
    Value::Object(keys)
}

fn regions(additional: &[&str], more: &Value) -> Value {
    let mut given =
        json!({ "primary": WEST, "disaster_recovery": EAST, "additional": additional, "aws_account": CUSTOMER });
    given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    given
}

fn answered(regions: Vec<Value>, keys: Value) -> Answers {
    let mut all = answers(vec![keys]);
    all.insert("regions", VecDeque::from(regions));
    all
}

fn enterprise(world: &World) -> Enterprise {
    Enterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
        created_at: world.memory.now(),
        version: 1,
    }
}

/// The plan that the form makes of an answer.
fn plan(world: &World, given: &Value, custody: &str) -> Value {
    let (config, enterprise, input) = (Config::default(), enterprise(world), json!({ "custody": custody }));
    let context = FormContext { config: &config, input: &input, now: world.memory.now(), enterprise: &enterprise };
    Forms::shipped().unwrap().get("regions").unwrap().check(given, &context).unwrap()
}

fn count<'a>(runner: &'a Runner<'_>, state: &'a str) -> usize {
    runner.entered.iter().filter(|entered| *entered == state).count()
}

fn findings(report: &Value) -> Vec<(&str, &str)> {
    let rows = report["deviations"].as_array().unwrap().iter();
    rows.map(|row| (row["finding"].as_str().unwrap(), row["region"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn copies_of_european_data_stay_in_europe_and_one_that_was_moved_is_a_deviation() {
    let world = World::new().await;
    system(&world, WEST, "dave-production", "production").await;
    system(&world, FRANKFURT, "dave-europe", "production").await;
    copied(&world, FRANKFURT, "dave-europe", IRELAND).await;
    let keys = keys(&world, &[WEST, EAST, FRANKFURT, IRELAND]).await;
    let given = regions(&[FRANKFURT, IRELAND], &json!({}));
    let mut runner = Runner::new(&world, answered(vec![given], json!({ "keys": keys })));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let there = snapshots(&world, IRELAND).await;
    assert_eq!(there.len(), 1, "the old copy is left, or there is none: {there:?}");
    assert!(there[0].0.contains("dave-europe"), "{there:?}");
    assert_eq!(there[0].1, keys[IRELAND]);
    let american = snapshots(&world, EAST).await;
    assert!(american.len() == 1 && american[0].0.contains("dave-production"), "{american:?}");
    let report = runner.drive("compliance-audit", json!({})).await;
    assert_eq!(report["deviations"], json!([]));

    // Somebody moves the copy to the US, under the enterprise's own key there.
    let ireland = world.aws.rds(IRELAND).await.unwrap();
    let found = ireland.describe_db_snapshots().db_snapshot_identifier(&there[0].0).send().await.unwrap();
    let source = found.db_snapshots()[0].db_snapshot_arn().unwrap().to_owned();
    by_hand(&world, &source, EAST, "moved", keys[EAST].as_str().unwrap()).await;
    let report = runner.drive("compliance-audit", json!({})).await;
    assert_eq!(findings(&report), [("outside-region", EAST)], "{report:#}");
    let why = report["deviations"][0]["why"].as_str().unwrap();
    assert!(why.contains("data of eu-central-1") && why.contains(IRELAND), "{why}");
    ireland.delete_db_snapshot().db_snapshot_identifier(&there[0].0).send().await.unwrap();
    let report = runner.drive("compliance-audit", json!({})).await;
    assert_eq!(findings(&report), [("outside-region", EAST), ("missing", IRELAND)], "{report:#}");
}

#[tokio::test]
async fn fresh_systems_in_two_jurisdictions_are_copied_within_their_own() {
    let world = World::new().await;
    let keys = keys(&world, &[WEST, EAST, FRANKFURT, IRELAND]).await;
    let given = regions(&[FRANKFURT, IRELAND], &json!({ "instances": { "production": FRANKFURT, "sandbox": WEST } }));
    let mut runner = Runner::new(&world, answered(vec![given], json!({ "keys": keys })));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    assert_eq!(world.names(FRANKFURT).await, ["dave-production"]);
    assert_eq!(world.names(WEST).await, ["dave-sandbox"]);
    let there = snapshots(&world, IRELAND).await;
    assert!(there.len() == 1 && there[0].1 == keys[IRELAND], "{there:?}");
    assert_eq!(snapshots(&world, EAST).await, []);
}

#[tokio::test]
async fn a_region_that_was_stated_without_recovery_is_copied_nowhere() {
    let world = World::new().await;
    system(&world, CANADA, "dave-production", "production").await;
    let keys = keys(&world, &[WEST, EAST, CANADA]).await;
    let given = regions(&[CANADA], &json!({ "recovery": { CANADA: "none" } }));
    let mut runner = Runner::new(&world, answered(vec![given], json!({ "keys": keys })));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    for region in [WEST, EAST, CANADA] {
        assert_eq!(snapshots(&world, region).await, [], "{region}");
    }
    let found = world.aws.rds(CANADA).await.unwrap().describe_db_instances().send().await.unwrap();
    assert_eq!(found.db_instances()[0].kms_key_id(), keys[CANADA].as_str());
}

#[tokio::test]
async fn what_was_placed_and_is_missing_is_provisioned_beside_what_is_migrated() {
    let world = World::new().await;
    system(&world, WEST, "dave-production", "production").await;
    let keys = keys(&world, &[WEST, EAST, FRANKFURT, IRELAND]).await;
    let given = regions(&[FRANKFURT, IRELAND], &json!({ "instances": { "sandbox": FRANKFURT, "production": WEST } }));
    let mut runner = Runner::new(&world, answered(vec![given], json!({ "keys": keys })));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    assert!(count(&runner, "Provision system") == 1 && count(&runner, "Swap") == 1, "{:?}", runner.entered);
    for (region, name) in [(WEST, "dave-production"), (FRANKFURT, "dave-sandbox")] {
        let found = world.aws.rds(region).await.unwrap().describe_db_instances().send().await.unwrap();
        assert_eq!(found.db_instances()[0].db_instance_identifier(), Some(name));
        assert_eq!(found.db_instances()[0].kms_key_id(), keys[region].as_str());
    }
}

#[tokio::test]
async fn an_instance_that_lives_elsewhere_comes_back_to_the_form_and_can_be_put_right() {
    let world = World::new().await;
    system(&world, WEST, "dave-production", "production").await;
    let keys = keys(&world, &[WEST, EAST]).await;
    let wrong = regions(&[], &json!({ "instances": { "production": EAST } }));
    let right = regions(&[], &json!({ "instances": { "production": WEST } }));
    let mut runner = Runner::new(&world, answered(vec![wrong.clone(), right], json!({ "keys": keys })));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let asked: Vec<&Value> =
        runner.forms.iter().filter(|(form, _)| form == "regions").map(|(_, input)| input).collect();
    assert_eq!(asked.len(), 2);
    let found = &asked[1]["findings"][0];
    assert_eq!(found["pointer"], "/instances/production");
    assert!(found["message"].as_str().unwrap().contains("lives in us-west-2"), "{found}");
    assert!(found["change"].as_str().unwrap().contains(r#"{"production": "us-west-2"}"#), "{found}");
    // A run that is past the form is stopped too.
    let basis = json!({ "plan": plan(&world, &wrong, "customer"), "keys": { "keys": keys } });
    world.hand_over(&basis["keys"]);
    let error = world.to_its_end("take-inventory", &basis).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.OutsidePlan");
}

#[tokio::test]
async fn an_instance_with_keys_of_its_own_has_its_recovery_copy_under_its_own_key() {
    let world = World::new().await;
    system(&world, WEST, "dave-sandbox", "sandbox").await;
    copied(&world, WEST, "dave-sandbox", EAST).await;
    let (shared, own) = (keys(&world, &[WEST, EAST]).await, keys(&world, &[WEST, EAST]).await);
    let whole = json!({ "keys": shared, "instances": { "sandbox": own } });
    let mut runner = Runner::new(&world, answered(vec![regions(&[], &json!({}))], whole));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let there = snapshots(&world, EAST).await;
    assert!(there.len() == 1 && there[0].1 == own[EAST], "{there:?}");

    // The form knows the instances and the regions in which each has its data.
    let (_, input) = runner.forms.iter().find(|(form, _)| form == "key-arns").unwrap();
    assert_eq!(input["instances"], json!({ "sandbox": [EAST, WEST] }));
    let (config, enterprise) = (Config::default(), enterprise(&world));
    let context = FormContext { config: &config, input, now: world.memory.now(), enterprise: &enterprise };
    for (instances, says) in [
        (json!({ "sandbox": { WEST: own[WEST] } }), "lacks a key of its own for us-east-1"),
        (json!({ "sandbux": own }), "sandbux is no instance of this enterprise; known: sandbox"),
    ] {
        let given = json!({ "keys": shared, "instances": instances });
        let refused = Forms::shipped().unwrap().get("key-arns").unwrap().check(&given, &context).unwrap_err();
        assert!(refused.len() == 1 && refused[0].message.contains(says), "{refused:?}");
    }
    // Where the vendor has the keys, an instance that nobody knows is found as well.
    let given = json!({ "primary": WEST, "disaster_recovery": EAST, "own_keys": ["sandbox", "sandbux"] });
    let reviewed = world.run("review-regions", &json!({ "plan": plan(&world, &given, "vendor") })).await.unwrap();
    assert_eq!(reviewed["verdict"], "failed");
    assert_eq!(reviewed["findings"].as_array().unwrap().len(), 1, "{reviewed:#}");
    assert_eq!(reviewed["findings"][0]["pointer"], "/own_keys/1");
}

#[tokio::test]
async fn a_replica_outside_of_its_regions_is_found_before_a_key_is_made() {
    let world = World::new().await;
    system(&world, FRANKFURT, "dave-production", "production").await;
    let source = world.aws.rds(FRANKFURT).await.unwrap().describe_db_instances().send().await.unwrap();
    let replica = world.aws.rds(EAST).await.unwrap().create_db_instance_read_replica();
    let replica = replica.source_db_instance_identifier(source.db_instances()[0].db_instance_arn().unwrap());
    let replica = replica.db_instance_identifier("dave-replica").kms_key_id(world.vendor_key(EAST).await);
    replica.set_tags(Some(tags("production"))).send().await.unwrap();
    world.pass(24 * 3600);
    let unstated = plan(&world, &regions(&[FRANKFURT, IRELAND], &json!({})), "customer");
    let reviewed = world.run("review-regions", &json!({ "plan": unstated })).await.unwrap();
    assert_eq!(reviewed["verdict"], "failed");
    assert_eq!(reviewed["findings"][0]["pointer"], "/recovery/eu-central-1", "{reviewed:#}");
    let keys = json!({ "keys": keys(&world, &[WEST, EAST, FRANKFURT, IRELAND]).await });
    world.hand_over(&keys);
    let basis = json!({ "plan": unstated, "keys": keys });
    assert_eq!(world.to_its_end("take-inventory", &basis).await.unwrap_err().error, "Keyferry.OutsidePlan");
    let report = json!({ "plan": unstated, "keys": keys, "generation": 1, "expected": [] });
    let report = world.audit(&report).await;
    assert!(findings(&report).contains(&("outside-region", EAST)), "{report:#}");
    // Each of the two things that the finding offers.
    for stated in [json!({ "recovery": { FRANKFURT: EAST } }), json!({ "also_in": { FRANKFURT: [EAST] } })] {
        let allowed = plan(&world, &regions(&[FRANKFURT, IRELAND], &stated), "customer");
        let reviewed = world.run("review-regions", &json!({ "plan": allowed })).await.unwrap();
        assert_eq!(reviewed["verdict"], "passed", "{reviewed:#}");
        let inventory = world.run("take-inventory", &json!({ "plan": allowed, "keys": keys })).await.unwrap();
        let recovery = inventory["all"][0]["recovery"] == true;
        assert_eq!(
            recovery,
            stated["recovery"].is_null(),
            "a replica serves for recovery in the recovery region alone"
        );
    }
}

#[tokio::test]
async fn a_recovery_copy_outside_of_its_regions_goes_once_another_is_where_it_has_to_be() {
    let world = World::new().await;
    let keys = json!({ "keys": keys(&world, &[WEST, EAST, FRANKFURT, IRELAND]).await });
    world.hand_over(&keys);
    let american = regions(&[FRANKFURT, IRELAND], &json!({ "recovery": { FRANKFURT: EAST } }));
    let american = plan(&world, &american, "customer");
    let european = plan(&world, &regions(&[FRANKFURT, IRELAND], &json!({})), "customer");
    let template = json!({ "engine": "postgres", "class": "db.m6g.large", "storage_gb": 20, "retention_days": 1 });
    let placed = regions(&[FRANKFURT, IRELAND], &json!({ "instances": { "production": FRANKFURT } }));
    let placed = json!({ "plan": plan(&world, &placed, "customer"), "keys": keys });
    let fresh = world.run("take-inventory", &placed).await.unwrap()["fresh"][0].clone();
    world.run("provision-system", &json!({ "fresh": fresh, "keys": keys, "template": template })).await.unwrap();
    let stock = world.run("take-inventory", &json!({ "plan": american, "keys": keys })).await.unwrap();
    let copy = |plan: &Value| json!({ "system": stock["all"][0], "keys": keys, "plan": plan, "generation": 1 });
    world.run("copy-for-recovery", &copy(&american)).await.unwrap();
    let purge = |plan: &Value| json!({ "plan": plan, "keys": keys, "generation": 1 });
    assert_eq!(world.run("plan-purge", &purge(&american)).await.unwrap()["count"], 0, "it is the valid copy");
    world.run("take-inventory", &json!({ "plan": european, "keys": keys })).await.unwrap();
    assert_eq!(world.run("plan-purge", &purge(&european)).await.unwrap()["count"], 0, "it is the only copy");
    world.run("copy-for-recovery", &copy(&european)).await.unwrap();
    // That it may not lie there any more is somebody's word, and not the input's.
    let unsaid = world.run("plan-purge", &purge(&european)).await.unwrap();
    assert_eq!((&unsaid["count"], unsaid["kept"].as_array().unwrap().len()), (&json!(0), 1), "{unsaid:#}");
    world.answered("regions", 1, &european);
    let listed = world.run("plan-purge", &purge(&european)).await.unwrap();
    assert_eq!(listed["count"], 1, "{listed:#}");
    let line = &listed["list"]["lines"][0];
    assert_eq!(line["region"], EAST);
    assert!(line["why"].as_str().unwrap().contains("data of eu-central-1"), "{listed:#}");
}

#[tokio::test]
async fn data_that_no_system_serves_is_never_replaced_by_an_empty_system() {
    let world = World::new().await;
    system(&world, WEST, "dave-production", "production").await;
    let rds = world.aws.rds(WEST).await.unwrap();
    let snapshot =
        rds.create_db_snapshot().db_instance_identifier("dave-production").db_snapshot_identifier("tax-2019");
    snapshot.set_tags(Some(tags("production"))).send().await.unwrap();
    world.pass(3600);
    rds.delete_db_instance().db_instance_identifier("dave-production").skip_final_snapshot(true).send().await.unwrap();
    world.pass(3600);
    let stated = plan(&world, &regions(&[], &json!({})), "customer");
    let reviewed = world.run("review-regions", &json!({ "plan": stated })).await.unwrap();
    assert_eq!(reviewed["findings"][0]["pointer"], "/instances/production", "{reviewed:#}");
    assert!(reviewed["findings"][0]["message"].as_str().unwrap().contains("tax-2019"), "{reviewed:#}");
    let keys = json!({ "keys": keys(&world, &[WEST, EAST]).await });
    world.hand_over(&keys);
    let error = world.to_its_end("take-inventory", &json!({ "plan": stated, "keys": keys })).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.DataExists");
    let stated = plan(&world, &regions(&[], &json!({ "empty": ["production"] })), "customer");
    assert_eq!(world.run("review-regions", &json!({ "plan": stated })).await.unwrap()["verdict"], "passed");
    let inventory = world.run("take-inventory", &json!({ "plan": stated, "keys": keys })).await.unwrap();
    assert_eq!(inventory["fresh"][0]["id"], "dave-production");
}
