//! The cures of an audit: each ends its finding.

use serde_json::{Value, json};

use super::{
    super::{
        flow::Stage,
        world::{EAST, WEST, World, tag},
    },
    Person, Who, ways,
};

/// What a finding is about, as a report of any time names it.
fn about(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    format!("{} {} {} in {}", text("finding"), text("kind"), text("id"), text("region"))
}

fn deviations(report: &Value) -> Vec<&Value> {
    report["deviations"].as_array().unwrap().iter().collect()
}

impl Person<'_> {
    /// Does what the report says until nothing is wrong any more: each cure ends its own finding. Returns what was found, in the
    /// order in which it was cured.
    async fn put_right(&mut self, way: impl Fn(&Value) -> usize) -> Vec<String> {
        let mut cured = Vec::new();
        for _ in 0..40 {
            let report = self.audit().await;
            // A deviation whose cure is another's has no command of its own.
            let Some((row, lines)) = deviations(&report).into_iter().find_map(|row| {
                let lines = ways(row["cure"].as_str().unwrap()).swap_remove(way(row));
                (!lines.is_empty()).then_some((row, lines))
            }) else {
                assert!(deviations(&report).is_empty(), "these have no cure: {report:#}");
                return cured;
            };
            let who = if row["kind"] == "key" && row["cure"].as_str().unwrap().starts_with("the customer") {
                Who::Customer
            } else {
                Who::Vendor
            };
            self.carry_out(who, &lines).await;
            let after = self.audit().await;
            // Of several things that are wrong with a key's policy the report says one at a time.
            let same =
                |other: &&Value| about(other) == about(row) && (row["kind"] != "key" || other["cure"] == row["cure"]);
            let still = deviations(&after).into_iter().find(same);
            assert!(still.is_none(), "not cured: {row:#}\nfinds {still:#?}");
            cured.push(about(row));
        }
        panic!("there is no end of it: {cured:#?}");
    }
}

/// What somebody does to the statements of a key's policy.
type Change<'a> = &'a dyn Fn(&mut Vec<Value>);

/// The shortest form of what was found, each kind once.
fn kinds(cured: &[String]) -> std::collections::BTreeSet<String> {
    cured.iter().map(|found| found.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// After an onboarding: everything is under its key.
async fn onboarded(stage: &Stage) -> Option<Person<'_>> {
    let mut person = Person::before(&stage.world, &stage.keys["keys"]).await?;
    let output = person.drive("customer-managed").await;
    assert_eq!(output["summary"]["conclusion"], "compliant", "{output:#}");
    Some(person)
}

async fn rds(world: &World, region: &str) -> aws_sdk_rds::Client {
    world.aws.rds(region).await.unwrap()
}

/// A copy of a snapshot of production under `key`, with these tags.
async fn copied(world: &World, name: &str, key: &str, tags: &[(&str, &str)]) {
    let rds = rds(world, WEST).await;
    let source = format!("{name}-source");
    let made = rds.create_db_snapshot().db_instance_identifier("dave-production").db_snapshot_identifier(&source);
    made.send().await.unwrap();
    world.pass(3600);
    let copy = rds.copy_db_snapshot().source_db_snapshot_identifier(&source).target_db_snapshot_identifier(name);
    let tags = tags.iter().chain(&[("keyferry:enterprise", "dave")]).map(|(key, value)| tag(key, value)).collect();
    copy.kms_key_id(key).set_tags(Some(tags)).send().await.unwrap();
    world.pass(3600);
    rds.delete_db_snapshot().db_snapshot_identifier(source).send().await.unwrap();
}

async fn instance(world: &World, region: &str, id: &str, key: &str, more: &[(&str, &str)]) {
    let call = rds(world, region).await.create_db_instance().db_instance_identifier(id).engine("postgres");
    let tags = more.iter().chain(&[("keyferry:enterprise", "dave")]).map(|(key, value)| tag(key, value)).collect();
    call.db_instance_class("db.m6g.large")
        .allocated_storage(20)
        .master_username("admin_user")
        .master_user_password("long-enough-for-RDS")
        .backup_retention_period(7)
        .storage_encrypted(true)
        .kms_key_id(key)
        .set_tags(Some(tags))
        .send()
        .await
        .unwrap();
    world.pass(24 * 3600);
}

#[tokio::test]
async fn what_is_wrong_with_systems_snapshots_and_copies_is_put_right_by_the_printed_commands() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(mut person) = onboarded(&stage).await else { return };
    let (own, other) = (stage.keys["keys"][WEST].as_str().unwrap(), world.vendor_key(WEST).await);
    let west = rds(world, WEST).await;
    // A snapshot under another key, one that is shared, and what runs have left.
    copied(world, "tax-2019", &other, &[]).await;
    copied(world, "handed-out", own, &[]).await;
    let share = west.modify_db_snapshot_attribute().db_snapshot_identifier("handed-out").attribute_name("restore");
    share.values_to_add("999999999999").values_to_add("888888888888").send().await.unwrap();
    let left = |role: &'static str| [("keyferry:role", role), ("keyferry:run", "run-0")];
    copied(world, "byok-dave-early", own, &left("early")).await;
    copied(world, "byok-dave-canary", own, &left("canary-copy")).await;
    instance(world, WEST, "byok-dave-new", own, &left("new")).await;
    let protect = west.modify_db_instance().db_instance_identifier("byok-dave-new").deletion_protection(true);
    protect.apply_immediately(true).send().await.unwrap();
    // A password that RDS manages under another key.
    let managed = west.modify_db_instance().db_instance_identifier("dave-production").apply_immediately(true);
    managed.manage_master_user_password(true).master_user_secret_kms_key_id(&other).send().await.unwrap();
    // The copy for recovery is gone, and so is a system, whose last snapshot is there.
    let east = rds(world, EAST).await;
    let copies = east.describe_db_snapshots().send().await.unwrap().db_snapshots.unwrap_or_default();
    for copy in copies.iter().filter(|copy| copy.tag_list().iter().any(|tag| tag.value() == Some("recovery"))) {
        east.delete_db_snapshot().db_snapshot_identifier(copy.db_snapshot_identifier().unwrap()).send().await.unwrap();
    }
    let protect = west.modify_db_instance().db_instance_identifier("dave-sandbox").deletion_protection(false);
    protect.apply_immediately(true).send().await.unwrap();
    world.pass(3600);
    let gone = west.delete_db_instance().db_instance_identifier("dave-sandbox").delete_automated_backups(true);
    gone.final_db_snapshot_identifier("sandbox-last").send().await.unwrap();
    world.pass(3600);
    let cured = person.put_right(|_| 0).await;
    let expected = [
        "left-over instance",
        "left-over snapshot",
        "missing instance",
        "missing snapshot",
        "shared snapshot",
        "wrong-key instance",
        "wrong-key snapshot",
    ];
    assert_eq!(kinds(&cured).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{cured:#?}");
    assert!(world.names(WEST).await.contains(&"dave-sandbox".to_owned()));
}

#[tokio::test]
async fn what_a_migration_left_goes_by_the_printed_runs() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(mut person) = Person::before(world, &stage.keys["keys"]).await else { return };
    stage.migrate_all().await;
    stage.inventory().await;
    world.run("write-custody", &stage.with(json!({ "generation": 1 }))).await.unwrap();
    // Two more systems: one under another key, one whose Performance Insights are.
    let (own, other) = (stage.keys["keys"][WEST].as_str().unwrap(), world.vendor_key(WEST).await);
    instance(world, WEST, "dave-orders", &other, &[("keyferry:instance", "orders")]).await;
    let insights = rds(world, WEST).await.modify_db_instance().db_instance_identifier("dave-production");
    let insights = insights.enable_performance_insights(true).performance_insights_kms_key_id(&other);
    insights.apply_immediately(true).send().await.unwrap();
    world.pass(3600);
    assert!(!own.is_empty());
    let report = person.audit().await;
    let found: Vec<String> = deviations(&report).into_iter().map(about).collect();
    for kind in ["left-over instance", "left-over snapshot", "left-over automated-backup", "wrong-key instance"] {
        assert!(kinds(&found).contains(kind), "{kind}: {found:#?}");
    }
    // One run is the cure of all of it.
    let cured = person.put_right(|_| 0).await;
    assert!(cured.len() <= 3, "{cured:#?}");
}

#[tokio::test]
async fn keys_that_cannot_be_used_or_allow_too_much_are_put_right_by_the_printed_commands() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(mut person) = onboarded(&stage).await else { return };
    let key = |region: &str| stage.keys["keys"][region].as_str().unwrap().to_owned();
    let (west, east) = (world.customer(WEST).await, world.customer(EAST).await);
    west.disable_key().key_id(key(WEST)).send().await.unwrap();
    east.schedule_key_deletion().key_id(key(EAST)).send().await.unwrap();
    world.pass(3600);
    let cured = person.put_right(|_| 0).await;
    let lost = ["inaccessible instance", "key-disabled key", "key-pending-deletion key"];
    assert_eq!(kinds(&cured).iter().map(String::as_str).collect::<Vec<_>>(), lost, "{cured:#?}");
    // The customer's own statements stay, whatever is put right beside them.
    let own = json!({
        "Sid": "ours", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::123456789012:role/app" }, "Action": "kms:Decrypt",
        "Resource": "*",
    });
    let put = async |change: Change<'_>| {
        let mut policy = World::policy(WEST);
        let statements = policy["Statement"].as_array_mut().unwrap();
        statements.push(own.clone());
        change(statements);
        west.put_key_policy().key_id(key(WEST)).policy(policy.to_string()).send().await.unwrap();
        world.pass(25 * 3600);
    };
    let changes: [(&str, Change<'_>); 4] = [
        ("permission-missing key", &|statements| drop(statements.remove(1))),
        ("permission-missing key", &|statements| drop(statements.remove(2))),
        ("permission-missing key", &|statements| drop(statements.drain(1..3))),
        ("permission-too-wide key", &|statements| drop(statements[2].as_object_mut().unwrap().remove("Condition"))),
    ];
    for (finding, change) in changes {
        put(change).await;
        let cured = person.put_right(|_| 0).await;
        assert_eq!(kinds(&cured).iter().map(String::as_str).collect::<Vec<_>>(), [finding]);
        let policy = west.get_key_policy().key_id(key(WEST)).send().await.unwrap().policy.unwrap();
        let policy: Value = serde_json::from_str(&policy).unwrap();
        assert!(policy["Statement"].as_array().unwrap().contains(&own), "{policy:#}");
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 4, "{policy:#}");
    }
}

/// What the vendor's own key has to allow and to deny, and what a loss of a week leaves, is put right as it is printed.
#[tokio::test]
async fn a_key_of_the_vendors_and_systems_that_lost_theirs_for_ever_are_put_right_by_the_printed_commands() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(mut person) = onboarded(&stage).await else { return };
    let west = world.customer(WEST).await;
    west.disable_key().key_id(stage.keys["keys"][WEST].as_str().unwrap()).send().await.unwrap();
    world.pass(9 * 24 * 3600);
    let cured = person.put_right(|_| 0).await;
    for kind in ["inaccessible instance", "key-disabled key"] {
        assert!(kinds(&cured).contains(kind), "{kind}: {cured:#?}");
    }
    assert_eq!(person.audit().await["summary"]["conclusion"], "compliant");
    // The default policy lets material expire: the one that the key was made with is put back, whole, in the vendor's account.
    let own = world.vendor_key(WEST).await;
    let custody = ("custody".to_owned(), "current".to_owned());
    world.memory.records.lock().unwrap().get_mut(&custody).unwrap()["instances"] = json!({ "archive": { WEST: own } });
    let wide = |report: &Value| {
        let mut rows = deviations(report).into_iter().filter(|row| row["arn"] == own.as_str());
        rows.find(|row| row["finding"] == "permission-too-wide").cloned()
    };
    let row = wide(&person.audit().await).expect("a policy that is too wide");
    person.carry_out(Who::Vendor, &ways(row["cure"].as_str().unwrap())[0]).await;
    assert_eq!(wide(&person.audit().await), None);
}

const DUBLIN: &str = "eu-west-1";

#[tokio::test]
async fn what_lies_elsewhere_or_cannot_be_proven_is_put_right_by_the_printed_commands() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(mut person) = onboarded(&stage).await else { return };
    let (own, other) = (stage.keys["keys"][WEST].as_str().unwrap(), world.vendor_key(WEST).await);
    let west = rds(world, WEST).await;
    // The backups of a system that was deleted, a system in a region that was not chosen, and a copy there.
    instance(world, WEST, "dave-gone", &other, &[]).await;
    let gone = west.delete_db_instance().db_instance_identifier("dave-gone").skip_final_snapshot(true);
    gone.delete_automated_backups(false).send().await.unwrap();
    instance(world, DUBLIN, "dave-eu", &world.vendor_key(DUBLIN).await, &[("keyferry:instance", "europe")]).await;
    copied(world, "elsewhere", own, &[]).await;
    let copy = rds(world, DUBLIN).await.copy_db_snapshot().target_db_snapshot_identifier("elsewhere");
    let arn = format!("arn:aws:rds:{WEST}:127450652264:snapshot:elsewhere");
    copy.source_db_snapshot_identifier(arn).kms_key_id(world.vendor_key(DUBLIN).await).send().await.unwrap();
    world.pass(24 * 3600);
    // The run that the cure names is told what the cure says.
    let key = world.key(DUBLIN, None).await;
    let regions = json!({
        "primary": WEST, "disaster_recovery": EAST, "additional": [DUBLIN], "recovery": { DUBLIN: "none" },
        "aws_account": super::super::world::CUSTOMER,
    });
    person.answers.insert("regions", [regions].into());
    let mut keys = stage.keys["keys"].clone();
    keys[DUBLIN] = json!(key);
    person.answers.insert("key-arns", [json!({ "keys": keys })].into());
    let cured = person.put_right(|row| usize::from(row["kind"] == "snapshot")).await;
    for kind in ["outside-region instance", "outside-region snapshot", "wrong-key automated-backup"] {
        assert!(kinds(&cured).contains(kind), "{kind}: {cured:#?}");
    }
    // Near misses, of which one is theirs, and an export to a key that is not.
    instance(world, WEST, "orders", own, &[("Keyferry:Enterprise", "dave ")]).await;
    let tags = west.describe_db_instances().db_instance_identifier("orders").send().await.unwrap();
    let arn = tags.db_instances()[0].db_instance_arn().unwrap().to_owned();
    west.remove_tags_from_resource().resource_name(&arn).tag_keys("keyferry:enterprise").send().await.unwrap();
    instance(world, WEST, "dave-ltd", &other, &[]).await;
    let arn = arn.replace(":orders", ":dave-ltd");
    west.remove_tags_from_resource().resource_name(&arn).tag_keys("keyferry:enterprise").send().await.unwrap();
    let export = west.start_export_task().export_task_identifier("month-end").s3_bucket_name("exports");
    export
        .source_arn(format!("arn:aws:rds:{WEST}:127450652264:snapshot:elsewhere"))
        .iam_role_arn("arn:aws:iam::127450652264:role/export")
        .kms_key_id(&other)
        .send()
        .await
        .unwrap();
    world.pass(3600);
    let mut ended = 0;
    loop {
        let report = person.audit().await;
        let Some(doubt) = report["not_proven"].as_array().unwrap().first().cloned() else { break };
        let theirs = doubt["why"].as_str().unwrap().contains("Keyferry:Enterprise");
        let lines = ways(doubt["cure"].as_str().unwrap()).swap_remove(usize::from(!theirs));
        person.carry_out(Who::Vendor, &lines).await;
        let after = person.audit().await;
        assert!(!after["not_proven"].as_array().unwrap().iter().any(|other| other["id"] == doubt["id"]), "{doubt:#}");
        ended += 1;
        assert!(ended < 10, "there is no end of it: {after:#}");
    }
    assert!(ended >= 3, "{ended}");
    assert_eq!(person.audit().await["summary"]["conclusion"], "compliant");
}

#[tokio::test]
async fn clusters_their_members_and_snapshots_are_put_right_by_the_printed_commands() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let Some(mut person) = onboarded(&stage).await else { return };
    let (own, other) = (stage.keys["keys"][WEST].as_str().unwrap(), world.vendor_key(WEST).await);
    world.cluster("dave-orders", &other, None).await;
    world.cluster("dave-events", own, Some(&other)).await;
    let rds = rds(world, WEST).await;
    for (source, name) in [("dave-orders", "orders-2019"), ("dave-events", "events-2019")] {
        let made = rds.create_db_cluster_snapshot().db_cluster_identifier(source);
        made.db_cluster_snapshot_identifier(name).send().await.unwrap();
    }
    world.pass(3600);
    let share = rds.modify_db_cluster_snapshot_attribute().db_cluster_snapshot_identifier("events-2019");
    share.attribute_name("restore").values_to_add("999999999999").send().await.unwrap();
    let cured = person.put_right(|_| 0).await;
    for kind in ["wrong-key cluster", "wrong-key cluster-snapshot", "shared cluster-snapshot", "wrong-key instance"] {
        assert!(kinds(&cured).contains(kind), "{kind}: {cured:#?}");
    }
    assert_eq!(person.audit().await["summary"]["conclusion"], "compliant");
}
