//! The purge destroys only what is proven to be replaced: the data loss that was, step by step, and everything beside it.

use aws_sdk_rds::types::Tag;
use keyferry::worker::{OUTAGES, Progress, StepHost};
use serde_json::{Value, json};

use super::{
    flow::Stage,
    onboarding::{Runner, answers},
    world::{EAST, WEST, World},
};

/// Does what a cause says, as it is printed; a cause that says nothing that can be done fails the test.
pub async fn cure(world: &World, state: &str, error: &str, cause: &str) {
    let region_of = |arn: &str| arn.split(':').nth(3).unwrap().to_owned();
    if let Some((_, rest)) = cause.split_once(": rename ") {
        // rename X to Y in REGION, then retry
        let words: Vec<&str> = rest.split([' ', ',']).collect();
        let (from, to, region) = (words[0], words[2], words[4]);
        let rds = world.aws.rds(region).await.unwrap();
        let change = rds.modify_db_instance().db_instance_identifier(from).new_db_instance_identifier(to);
        change.apply_immediately(true).send().await.unwrap_or_else(|refusal| panic!("{cause}: {refusal:?}"));
        world.pass(3600);
    } else if error == "Keyferry.DataExists" {
        let arns = cause.split([' ', ',']).filter(|word| word.starts_with("arn:"));
        for arn in arns {
            let arn = arn.trim_end_matches(['.', ':']);
            let tag = Tag::builder().key("keyferry:archive").value("yes").build();
            let rds = world.aws.rds(&region_of(arn)).await.unwrap();
            rds.add_tags_to_resource().resource_name(arn).tags(tag).send().await.unwrap();
        }
    } else {
        panic!("attention in {state}: {error}: {cause}");
    }
}

async fn instance(world: &World, id: &str, instance: &str) {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let key = world.vendor_key(WEST).await;
    let rds = world.aws.rds(WEST).await.unwrap();
    rds.create_db_instance()
        .db_instance_identifier(id)
        .engine("postgres")
        .db_instance_class("db.m6g.large")
        .allocated_storage(100)
        .master_username("admin_user")
        .master_user_password("long-enough-for-RDS")
        .backup_retention_period(7)
        .storage_encrypted(true)
        .kms_key_id(key)
        .tags(tag("keyferry:enterprise", "dave"))
        .tags(tag("keyferry:instance", instance))
        .send()
        .await
        .unwrap();
    world.pass(3600);
}

async fn resource_id(world: &World, id: &str) -> String {
    let rds = world.aws.rds(WEST).await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    found.db_instances()[0].dbi_resource_id().unwrap().to_owned()
}

async fn snapshots(world: &World, region: &str) -> Vec<String> {
    let rds = world.aws.rds(region).await.unwrap();
    let found = rds.describe_db_snapshots().send().await.unwrap().db_snapshots.unwrap_or_default();
    found.into_iter().filter_map(|snapshot| snapshot.db_snapshot_identifier).collect()
}

fn made(world: &World, action: &str) -> Vec<String> {
    let ledger = world.sandbox.ledger();
    let of = ledger.iter().filter(|entry| entry.action == action && !entry.resource.contains("canary"));
    of.map(|entry| entry.resource.clone()).collect()
}

fn deletions(world: &World) -> usize {
    made(world, "DeleteDBInstance").len() + made(world, "DeleteDBSnapshot").len()
}

/// Systems of dave, and keys.
async fn stage(systems: &[(&str, &str)]) -> Stage {
    let world = World::new().await;
    let keys =
        json!({ "keys": { WEST: world.key(WEST, None).await, EAST: world.key(EAST, None).await }, "instances": {} });
    world.hand_over(&keys);
    for (id, name) in systems {
        instance(&world, id, name).await;
    }
    Stage { world, keys }
}

/// The original of a system that is out of service, put back by the record of its outage.
async fn put_back(world: &World, resource: &str) -> Value {
    let now = world.memory.now();
    world.run("put-back-system", &json!({ "resource": resource, "not_before": now })).await.unwrap()
}

/// Who gives the original its name back after the first run was cancelled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ByWhom {
    /// What a cancel begins.
    PutBack,
    /// A person, before it comes to that.
    Person,
    /// A person, by the printed cure, where no record says that it was taken out of service.
    Cure,
}

/// What keyferry led to when its own advice was followed: an original that was put back by hand was taken for an old system, an
/// empty one was provisioned in its place, and the only copy of the data was purged. With one system, and with two, of which one
/// was skipped silently.
#[tokio::test]
async fn the_data_loss_that_following_the_printed_cures_led_to_does_not_happen() {
    let one = &[("dave-production", "production")][..];
    let two = &[("dave-production", "production"), ("dave-sandbox", "sandbox")][..];
    for by_whom in [ByWhom::PutBack, ByWhom::Person, ByWhom::Cure] {
        for systems in [one, two] {
            interrupted(systems, by_whom).await;
        }
    }
}

async fn interrupted(systems: &[(&str, &str)], by_whom: ByWhom) {
    let stage = stage(systems).await;
    let world = &stage.world;
    let originals = made(world, "CreateDBInstance").len();
    let original = resource_id(world, "dave-production").await;
    // The first run is cancelled while the final snapshot is taken.
    let inventory = stage.inventory().await;
    let production = inventory["systems"].as_array().unwrap().iter().find(|system| system["id"] == "dave-production");
    let item = stage.item(production.unwrap(), 1);
    world.run("pre-copy-system", &item).await.unwrap();
    world.run("plan-outage", &item).await.unwrap();
    world.run("freeze-system", &item).await.unwrap();
    drop(world.once("snapshot-system", &item).await.unwrap());
    world.pass(3600);
    match by_whom {
        ByWhom::PutBack => {}
        ByWhom::Person => {
            let aside = world.names(WEST).await.into_iter().find(|name| name.starts_with("byok-")).unwrap();
            let cause = format!("by hand: rename {aside} to dave-production in {WEST}, of one's own accord");
            cure(world, "", "", &cause).await;
        }
        ByWhom::Cure => world.forget(OUTAGES),
    }
    if by_whom != ByWhom::Cure {
        assert_eq!(put_back(world, &original).await["outcome"], "kept");
    }
    // The second run, with a person who does what the halts say.
    world.begin("run-2");
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let output = runner.drive("customer-managed", json!({})).await;
    let halts: Vec<&str> = runner.halts.iter().map(|(error, _)| error.as_str()).collect();
    let expected: &[&str] = if by_whom == ByWhom::Cure { &["Keyferry.Interrupted"] } else { &[] };
    assert_eq!(halts, expected, "{:#?}", runner.halts);
    assert!(runner.halts.iter().all(|(_, cause)| !cause.contains("remove") && !cause.contains("delete")));
    assert_eq!(made(world, "CreateDBInstance").len(), originals, "an empty system was made");
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let mut names: Vec<&str> = systems.iter().map(|(id, _)| *id).collect();
    names.sort_unstable();
    assert_eq!(world.names(WEST).await, names);
    // What serves is what the original's last snapshot was restored to.
    let lineage = world.record("lineage", &original).expect("the original's lineage");
    let serving = resource_id(world, "dave-production").await;
    assert_eq!(lineage["successor"]["resource_id"], serving.as_str(), "{lineage:#}");
    assert_eq!(lineage["run"], "run-2");
    let lost = world.records_of("purge-ledger").into_iter().filter(|entry| entry["resource_id"] == original.as_str());
    assert!(lost.count() >= 3, "the original and the first run's snapshots are purged, each with its proof");
}

#[tokio::test]
async fn an_original_that_was_moved_aside_by_hand_is_put_back_or_asked_for_and_not_replaced_by_an_empty_one() {
    for recorded in [true, false] {
        let stage = stage(&[("dave-production", "production")]).await;
        let world = &stage.world;
        let original = resource_id(world, "dave-production").await;
        let item = stage.item(&stage.inventory().await["systems"][0], 1);
        world.run("plan-outage", &item).await.unwrap();
        world.run("freeze-system", &item).await.unwrap();
        let old = world.names(WEST).await[0].clone();
        cure(world, "", "", &format!("by hand: rename {old} to dave-aside in {WEST}, of one's own accord")).await;
        world.begin("run-2");
        if recorded {
            // Another run waits until the system serves again.
            let waits = world.once("take-inventory", &stage.with(json!({}))).await.unwrap();
            assert!(matches!(&waits, Progress::Pending { waiting_for, .. } if waiting_for.contains("dave-production")));
            assert_eq!(put_back(world, &original).await["outcome"], "kept");
        } else {
            world.forget(OUTAGES);
            for _ in 0..2 {
                let halt = world.once("take-inventory", &stage.with(json!({}))).await.unwrap_err();
                assert_eq!(halt.error, "Keyferry.Interrupted");
                assert!(halt.cause.contains("rename dave-aside to dave-production in us-west-2"), "{halt}");
            }
            let halt = world.once("take-inventory", &stage.with(json!({}))).await.unwrap_err();
            cure(world, "", &halt.error, &halt.cause).await;
        }
        assert_eq!(world.names(WEST).await, ["dave-production"]);
        assert_eq!(resource_id(world, "dave-production").await, original);
        assert_eq!(stage.inventory().await["systems"][0]["id"], "dave-production");
    }
}

#[tokio::test]
async fn beside_data_no_empty_system_is_made_until_a_person_says_that_it_is_an_archive() {
    let stage = stage(&[("dave-old", "production")]).await;
    let world = &stage.world;
    let rds = world.aws.rds(WEST).await.unwrap();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let made_of = rds.create_db_snapshot().db_instance_identifier("dave-old").db_snapshot_identifier("tax-2019");
    made_of.tags(tag("keyferry:enterprise", "dave")).send().await.unwrap();
    world.pass(3600);
    rds.delete_db_instance().db_instance_identifier("dave-old").skip_final_snapshot(true).send().await.unwrap();
    world.pass(3600);
    let before = made(world, "CreateDBInstance").len();
    let halt = world.once("take-inventory", &stage.with(json!({}))).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.DataExists");
    assert!(halt.cause.contains("tax-2019") && made(world, "CreateDBInstance").len() == before, "{halt}");
    cure(world, "Take inventory", &halt.error, &halt.cause).await;
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    runner.drive("customer-managed", json!({})).await;
    assert_eq!(runner.halts.len(), 0, "{:#?}", runner.halts);
    assert_eq!(made(world, "CreateDBInstance").len(), before + 1);
    assert!(snapshots(world, WEST).await.contains(&"tax-2019".to_owned()), "the archive is left alone");
}

#[tokio::test]
async fn an_archive_of_a_system_that_is_gone_is_kept_and_named() {
    let stage = stage(&[("dave-old", "development"), ("dave-production", "production")]).await;
    let world = &stage.world;
    let rds = world.aws.rds(WEST).await.unwrap();
    let tag = Tag::builder().key("keyferry:enterprise").value("dave").build();
    let made_of = rds.create_db_snapshot().db_instance_identifier("dave-old").db_snapshot_identifier("tax-2019");
    made_of.tags(tag).send().await.unwrap();
    world.pass(3600);
    rds.delete_db_instance().db_instance_identifier("dave-old").skip_final_snapshot(true).send().await.unwrap();
    world.pass(3600);
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let output = runner.drive("customer-managed", json!({})).await;
    let (_, asked) = runner.forms.iter().find(|(form, _)| form == "purge-approval").expect("an approval");
    assert_eq!(asked["kept"][0]["id"], "tax-2019", "{asked:#}");
    let shown = asked["shown"].to_string();
    assert!(shown.contains("stays: snapshot tax-2019 in us-west-2, 100 GB"), "{shown}");
    assert!(!asked["list"].to_string().contains("tax-2019"));
    assert!(snapshots(world, WEST).await.contains(&"tax-2019".to_owned()));
    assert_eq!(output["deviations"].as_array().unwrap().len(), 1, "the audit names it: {output:#}");
}

#[tokio::test]
async fn a_snapshot_that_was_taken_after_the_last_one_is_kept() {
    let stage = stage(&[("dave-production", "production")]).await;
    let world = &stage.world;
    let item = stage.item(&stage.inventory().await["systems"][0], 1);
    for step in [
        "plan-outage",
        "freeze-system",
        "snapshot-system",
        "copy-snapshot",
        "restore-system",
        "verify-system",
        "swap-system",
    ] {
        world.run(step, &item).await.unwrap();
    }
    let old = world.names(WEST).await.into_iter().find(|name| name.starts_with("byok-")).unwrap();
    world.pass(3600);
    let rds = world.aws.rds(WEST).await.unwrap();
    rds.create_db_snapshot().db_instance_identifier(&old).db_snapshot_identifier("later").send().await.unwrap();
    world.pass(3600);
    let purge = stage.plan_purge().await;
    assert_eq!(purge["kept"][0]["id"], "later", "{purge:#}");
    assert!(!purge["list"].to_string().contains("\"later\""));
}

#[tokio::test]
async fn the_only_copy_in_a_region_is_kept() {
    let stage = Stage::set().await;
    for system in stage.inventory().await["systems"].as_array().unwrap() {
        stage.migrate(system).await;
    }
    // There is no copy under the key in the other region yet.
    let purge = stage.plan_purge().await;
    assert_eq!(purge["kept"][0]["id"], "nightly-east", "{purge:#}");
    assert!(purge["list"].to_string().contains("\"nightly\"") && !purge["list"].to_string().contains("nightly-east"));
}

#[tokio::test]
async fn without_the_records_nothing_is_purged_whatever_the_tags_say() {
    let stage = Stage::set().await;
    stage.migrate_all().await;
    for missing in ["copy", "successor", "swapped_at"] {
        let before = stage.world.memory.records.lock().unwrap().clone();
        for ((collection, _), body) in stage.world.memory.records.lock().unwrap().iter_mut() {
            if collection == "lineage" {
                let part = if missing == "copy" { &mut body["way"] } else { body };
                part[missing] = Value::Null;
            }
        }
        let purge = stage.plan_purge().await;
        let lines = purge["list"]["lines"].as_array().unwrap();
        assert!(lines.iter().all(|line| line["id"].as_str().unwrap().contains("canary")), "{missing}: {purge:#}");
        assert!(purge["kept"].as_array().unwrap().len() >= 6, "{missing}: {purge:#}");
        *stage.world.memory.records.lock().unwrap() = before;
    }
}

async fn prepared() -> (Stage, Value) {
    let stage = Stage::set().await;
    stage.migrate_all().await;
    let purge = stage.plan_purge().await;
    stage.approve(&purge, 1);
    (stage, purge)
}

#[tokio::test]
async fn a_policy_without_the_vendors_statements_stops_the_purge_before_anything_is_gone() {
    let (stage, purge) = prepared().await;
    let world = &stage.world;
    let before = deletions(world);
    let key = stage.keys["keys"][WEST].as_str().unwrap().to_owned();
    let whole = World::policy(WEST);
    let mut narrowed = whole.clone();
    narrowed["Statement"].as_array_mut().unwrap().truncate(1);
    let put = async |policy: &Value| {
        let kms = world.customer(WEST).await;
        kms.put_key_policy().key_id(&key).policy_name("default").policy(policy.to_string()).send().await.unwrap();
        world.pass(600);
    };
    put(&narrowed).await;
    let check = json!({ "plan": purge["plan"] });
    let halt = world.to_its_end("check-purge", &check).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotVerified");
    assert!(halt.cause.contains(&key) && halt.cause.contains("nothing more is purged"), "{halt}");
    // Who goes on without the check does not get past it.
    for number in 0..purge["count"].as_u64().unwrap() {
        let halt =
            world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": number })).await.unwrap_err();
        assert_eq!(halt.error, "Keyferry.NotVerified", "{halt}");
    }
    assert_eq!(deletions(world), before);
    put(&whole).await;
    assert_eq!(world.to_its_end("check-purge", &check).await.unwrap()["verdict"], "proven");
    world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": 0 })).await.unwrap();
    assert_eq!(deletions(world), before + 1);
    // Between two deletions it stops as well, and the ledger says what is gone.
    put(&narrowed).await;
    let halt = world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": 1 })).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotVerified", "{halt}");
    assert_eq!(deletions(world), before + 1);
    assert_eq!(world.records_of("purge-ledger").len(), 1);
}

#[tokio::test]
async fn a_key_of_the_recovery_region_that_is_going_to_be_deleted_stops_the_purge() {
    let (stage, purge) = prepared().await;
    let world = &stage.world;
    let before = deletions(world);
    let key = stage.keys["keys"][EAST].as_str().unwrap().to_owned();
    let kms = world.customer(EAST).await;
    kms.schedule_key_deletion().key_id(&key).pending_window_in_days(7).send().await.unwrap();
    let halt = world.to_its_end("check-purge", &json!({ "plan": purge["plan"] })).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotVerified");
    assert!(halt.cause.contains(&key) && halt.cause.contains("deleted"), "{halt}");
    let halt = world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": 0 })).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotVerified");
    assert_eq!(deletions(world), before);
}

#[tokio::test]
async fn a_check_that_is_older_than_a_quarter_of_an_hour_is_made_again_before_the_first_deletion() {
    let (stage, purge) = prepared().await;
    let world = &stage.world;
    let checked = world.to_its_end("check-purge", &json!({ "plan": purge["plan"] })).await.unwrap();
    assert_eq!(checked["verdict"], "proven", "the check's own canaries change nothing of the list: {checked:#}");
    let canaries = || {
        world
            .sandbox
            .ledger()
            .iter()
            .filter(|entry| entry.action == "CopyDBSnapshot" && entry.resource.contains("canary"))
            .count()
    };
    let flown = canaries();
    world.pass(3600);
    world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": 0 })).await.unwrap();
    assert_eq!(canaries(), flown + 2, "one for each key");
    world.pass(3600);
    world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": 1 })).await.unwrap();
    assert_eq!(canaries(), flown + 2, "the list was proven before its first deletion");
}

#[tokio::test]
async fn a_successor_that_is_not_there_or_another_one_stops_the_purge() {
    let (stage, purge) = prepared().await;
    let world = &stage.world;
    let before = deletions(world);
    let rds = world.aws.rds(WEST).await.unwrap();
    let rename = async |from: &str, to: &str| {
        let change = rds.modify_db_instance().db_instance_identifier(from).new_db_instance_identifier(to);
        change.apply_immediately(true).send().await.unwrap();
        world.pass(3600);
    };
    rename("dave-production", "dave-elsewhere").await;
    instance(world, "dave-production", "production").await;
    for number in 0..purge["count"].as_u64().unwrap() {
        let line = &purge["list"]["lines"][usize::try_from(number).unwrap()];
        if line["successor"]["id"] == "dave-production" {
            let halt = world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": number })).await;
            assert_eq!(halt.unwrap_err().error, "Keyferry.NotVerified", "{line:#}");
        }
    }
    assert_eq!(deletions(world), before);
}

#[tokio::test]
async fn what_has_changed_since_the_approval_is_asked_about_again() {
    let (stage, purge) = prepared().await;
    let world = &stage.world;
    let rds = world.aws.rds(WEST).await.unwrap();
    rds.delete_db_snapshot().db_snapshot_identifier("nightly").send().await.unwrap();
    let checked = world.to_its_end("check-purge", &json!({ "plan": purge["plan"] })).await.unwrap();
    assert_eq!(checked["verdict"], "drifted");
    let again = stage.plan_purge().await;
    assert_ne!(again["plan"], purge["plan"]);
    // The approval is of the first list, and makes none of the second.
    let halt = world.to_its_end("check-purge", &json!({ "plan": again["plan"] })).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotApproved");
    // Nor of the first, once the second was refused.
    world.pass(60);
    world.answered("purge-approval", 2, &json!({ "approve": false, "reason": "not this" }));
    let halt = world.to_its_end("check-purge", &json!({ "plan": purge["plan"] })).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotApproved");
}

#[tokio::test]
async fn no_input_makes_widens_or_reuses_an_approval() {
    let stage = Stage::set().await;
    stage.migrate_all().await;
    let world = &stage.world;
    let before = deletions(world);
    let purge = stage.plan_purge().await;
    let plan = purge["plan"].clone();
    let refused = async |input: Value, error: &str| {
        let halt = world.to_its_end("purge-resource", &input).await.expect_err("refused");
        assert_eq!(halt.error, error, "{input}: {halt}");
        assert_eq!(deletions(world), before, "{input}");
    };
    // A skip's output: nobody has approved anything.
    refused(
        json!({ "plan": plan, "number": 0, "approval": { "approve": true, "reason": "x" } }),
        "Keyferry.NotApproved",
    )
    .await;
    // An answer to another form, with the same words.
    world.answered("key-review", 1, &json!({ "approve": true, "plan": plan, "reason": "x" }));
    refused(json!({ "plan": plan, "number": 0 }), "Keyferry.NotApproved").await;
    stage.approve(&purge, 2);
    // Changed input of a retry: another list, a line that is none, a resource of its own.
    refused(json!({ "plan": "0".repeat(64), "number": 0 }), "Keyferry.NotApproved").await;
    refused(json!({ "plan": plan, "number": 9_999 }), "Keyferry.NotApproved").await;
    let serving = json!({ "kind": "instance", "id": "dave-production", "region": WEST });
    refused(
        json!({ "resource": serving, "why": "x", "approval": { "approve": true, "reason": "x" } }),
        "Keyferry.BadInput",
    )
    .await;
    // A list that was changed in the store is not the one of its hash.
    let key = ("purge-plan".to_owned(), plan.as_str().unwrap().to_owned());
    let kept = world.memory.records.lock().unwrap()[&key].clone();
    let mut wider = kept.clone();
    wider["list"]["lines"][0]["id"] = json!("dave-production");
    world.memory.records.lock().unwrap().insert(key.clone(), wider);
    refused(json!({ "plan": plan, "number": 0 }), "Keyferry.NotApproved").await;
    world.memory.records.lock().unwrap().insert(key, kept);
    // Another run, of whatever definition, with the first one's approval; and with the list planned by itself.
    world.begin("run-2");
    refused(json!({ "plan": plan, "number": 0 }), "Keyferry.NotApproved").await;
    // Without an inventory of its own it plans nothing.
    let basis = stage.with(json!({ "generation": 1 }));
    assert_eq!(world.once("plan-purge", &basis).await.unwrap_err().error, "Keyferry.NoPlan");
    stage.inventory().await;
    assert_eq!(stage.plan_purge().await["plan"], plan);
    refused(json!({ "plan": plan, "number": 0 }), "Keyferry.NotApproved").await;
    // A definition that somebody else wrote, which shows another run's list and has it approved.
    world.begin("run-3");
    stage.approve(&purge, 1);
    refused(json!({ "plan": plan, "number": 0 }), "Keyferry.NotApproved").await;
}

#[tokio::test]
async fn a_refusal_can_be_taken_back_while_it_waits() {
    let stage = Stage::set().await;
    let mut runner = Runner::new(&stage.world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    let output = runner.drive("customer-managed", json!({})).await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    let asked: Vec<&Value> =
        runner.forms.iter().filter(|(form, _)| form == "purge-approval").map(|(_, input)| input).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0]["plan"], asked[1]["plan"], "it is the same list, not one that was made a day later");
    assert_eq!(asked[1]["refused"]["reason"], "not yet");
}

/// Whatever bears a name that keyferry needs may hold data. The cures delete nothing, and each leads on.
#[tokio::test]
async fn what_bears_a_name_that_is_needed_is_kept_and_the_cure_leads_on() {
    // A snapshot: another run uses other names.
    let snapshot = stage(&[("dave-production", "production")]).await;
    let world = &snapshot.world;
    let name = keyferry::systems::Names::new("dave", 1, "run-1", "dave-production", 1).early_snapshot();
    let rds = world.aws.rds(WEST).await.unwrap();
    rds.create_db_snapshot()
        .db_instance_identifier("dave-production")
        .db_snapshot_identifier(&name)
        .send()
        .await
        .unwrap();
    world.pass(3600);
    let item = snapshot.item(&snapshot.inventory().await["systems"][0], 1);
    let halt = world.once("pre-copy-system", &item).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.Foreign");
    assert!(halt.cause.contains("cancel this run and start another") && !halt.cause.contains("remove"), "{halt}");
    world.begin("run-2");
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": snapshot.keys["keys"] })]));
    assert_eq!(runner.drive("customer-managed", json!({})).await["summary"]["conclusion"], "compliant");
    assert!(runner.halts.is_empty(), "{:#?}", runner.halts);
    // An instance without the tag, where an empty system would be made: tagged, another run's inventory finds it.
    let untagged = stage(&[("dave-production", "production")]).await;
    let world = &untagged.world;
    let rds = world.aws.rds(WEST).await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier("dave-production").send().await.unwrap();
    let arn = found.db_instances()[0].db_instance_arn().unwrap().to_owned();
    rds.remove_tags_from_resource().resource_name(&arn).tag_keys("keyferry:enterprise").send().await.unwrap();
    let fresh = untagged.inventory().await["fresh"][0].clone();
    let template = json!({ "engine": "postgres", "class": "db.m6g.large", "storage_gb": 100, "retention_days": 14 });
    let input = json!({ "fresh": fresh, "keys": untagged.keys, "template": template });
    let halt = world.once("provision-system", &input).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.Foreign");
    assert!(halt.cause.contains("see that it has the enterprise's tag") && !halt.cause.contains("remove"), "{halt}");
    world.begin("run-2");
    let tag = Tag::builder().key("keyferry:enterprise").value("dave").build();
    rds.add_tags_to_resource().resource_name(&arn).tags(tag).send().await.unwrap();
    let original = resource_id(world, "dave-production").await;
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": untagged.keys["keys"] })]));
    assert_eq!(runner.drive("customer-managed", json!({})).await["summary"]["conclusion"], "compliant");
    assert!(world.record("lineage", &original).is_some(), "its data was moved");
    // Another's: renamed, the empty system is made.
    let others = stage(&[("dave-production", "production")]).await;
    let world = &others.world;
    let rds = world.aws.rds(WEST).await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier("dave-production").send().await.unwrap();
    let arn = found.db_instances()[0].db_instance_arn().unwrap().to_owned();
    rds.remove_tags_from_resource().resource_name(&arn).tag_keys("keyferry:enterprise").send().await.unwrap();
    let fresh = others.inventory().await["fresh"][0].clone();
    let input = json!({ "fresh": fresh, "keys": others.keys, "template": template });
    world.once("provision-system", &input).await.unwrap_err();
    let change =
        rds.modify_db_instance().db_instance_identifier("dave-production").new_db_instance_identifier("theirs");
    change.apply_immediately(true).send().await.unwrap();
    world.pass(3600);
    world.run("provision-system", &input).await.unwrap();
    assert!(world.names(WEST).await.contains(&"theirs".to_owned()));
}

/// A purge that may not go on under its approval is asked about by another run, which purges what is proven.
#[tokio::test]
async fn after_an_approval_that_does_not_hold_another_run_asks_and_purges() {
    let (stage, purge) = prepared().await;
    let world = &stage.world;
    world.pass(60);
    world.answered("purge-approval", 2, &json!({ "approve": false, "reason": "not this" }));
    let halt = world.to_its_end("purge-resource", &json!({ "plan": purge["plan"], "number": 0 })).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotApproved");
    assert!(halt.cause.contains("cancel the run and start another"), "{halt}");
    world.begin("run-2");
    let mut runner = Runner::new(world, answers(vec![json!({ "keys": stage.keys["keys"] })]));
    assert_eq!(runner.drive("customer-managed", json!({})).await["summary"]["conclusion"], "compliant");
    assert_eq!(world.names(WEST).await, ["dave-production", "dave-sandbox"]);
}

#[tokio::test]
async fn a_system_that_nothing_serves_stops_the_purge_and_serves_again_by_the_cure() {
    let stage = stage(&[("dave-production", "production")]).await;
    let world = &stage.world;
    let item = stage.item(&stage.inventory().await["systems"][0], 1);
    world.run("plan-outage", &item).await.unwrap();
    world.run("freeze-system", &item).await.unwrap();
    let plan = stage.with(json!({ "generation": 1 }));
    let halt = world.once("plan-purge", &plan).await.unwrap_err();
    assert_eq!(halt.error, "Keyferry.NotVerified");
    cure(world, "", &halt.error, &halt.cause).await;
    assert_eq!(stage.plan_purge().await["count"], 0);
    assert_eq!(world.names(WEST).await, ["dave-production"]);
}
