//! The audit in the cloud: an enterprise that is compliant, and everything that ends that.

use keyferry::sandbox::{FaultKind, FaultRule};
use serde_json::{Value, json};

use super::world::{EAST, WEST, World, tag};

/// One system under its key, which is all that is expected.
struct Estate {
    world: World,
    keys: Value,
}

impl Estate {
    async fn set() -> Self {
        let world = World::new().await;
        let keys = json!({ WEST: world.key(WEST, None).await, EAST: world.key(EAST, None).await });
        let estate = Self { world, keys };
        estate.instance("dave-production", estate.key(WEST), "keyferry:enterprise", "dave").await;
        estate
    }

    fn key(&self, region: &str) -> &str {
        self.keys[region].as_str().unwrap()
    }

    async fn instance(&self, id: &str, key: &str, tag_key: &str, tag_value: &str) {
        let call = self.rds(WEST).await.create_db_instance();
        call.db_instance_identifier(id)
            .engine("postgres")
            .db_instance_class("db.m6g.large")
            .allocated_storage(20)
            .master_username("admin_user")
            .master_user_password("long-enough-for-RDS")
            .storage_encrypted(true)
            .kms_key_id(key)
            .tags(tag(tag_key, tag_value))
            .tags(tag("keyferry:instance", "production"))
            .send()
            .await
            .unwrap();
        self.world.pass(3600);
    }

    async fn snapshot(&self, id: &str) {
        let call = self.rds(WEST).await.create_db_snapshot().db_instance_identifier("dave-production");
        call.db_snapshot_identifier(id).send().await.unwrap();
        self.world.pass(3600);
    }

    async fn rds(&self, region: &str) -> aws_sdk_rds::Client {
        self.world.aws.rds(region).await.unwrap()
    }

    async fn audit(&self) -> Value {
        let input = json!({
            "plan": World::plan(), "keys": { "keys": self.keys, "instances": {} }, "generation": 1,
            "expected": [{ "id": "dave-production", "region": WEST, "instance": "production", "recovery": false }],
        });
        self.world.audit(&input).await;
        let records = self.world.memory.records.lock().unwrap();
        records[&("report".to_owned(), "latest".to_owned())].clone()
    }

    async fn inventory(&self) -> Result<Value, keyferry::worker::StepError> {
        let input = json!({ "plan": World::plan(), "keys": { "keys": self.keys, "instances": {} } });
        self.world.hand_over(&input["keys"]);
        self.world.run("take-inventory", &input).await
    }

    async fn to_migrate(&self) -> Vec<String> {
        let inventory = self.inventory().await.unwrap();
        inventory["systems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|system| system["id"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn policy(&self, region: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let mut policy = World::policy(region);
        change(policy["Statement"].as_array_mut().unwrap());
        let kms = self.world.customer(region).await;
        kms.put_key_policy().key_id(self.key(region)).policy(policy.to_string()).send().await.unwrap();
        self.world.pass(3600);
    }
}

fn conclusion(report: &Value) -> &str {
    report["summary"]["conclusion"].as_str().unwrap()
}

fn findings(report: &Value) -> Vec<String> {
    let each = report["deviations"].as_array().unwrap().iter();
    each.map(|row| format!("{} {}", row["kind"].as_str().unwrap(), row["finding"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn keys_that_are_lost_are_deviations_and_so_is_what_rds_shows_of_it() {
    let estate = Estate::set().await;
    assert_eq!(conclusion(&estate.audit().await), "compliant");
    let (west, east) = (estate.world.customer(WEST).await, estate.world.customer(EAST).await);
    west.disable_key().key_id(estate.key(WEST)).send().await.unwrap();
    east.schedule_key_deletion().key_id(estate.key(EAST)).send().await.unwrap();
    estate.world.pass(3600);
    let report = estate.audit().await;
    assert_eq!(conclusion(&report), "deviations", "{report:#}");
    let found = findings(&report);
    for finding in ["key key-disabled", "key key-pending-deletion", "instance inaccessible"] {
        assert!(found.contains(&finding.to_owned()), "{finding} is not in {found:?}");
    }
    assert_eq!(report["resources"][0]["status"], "inaccessible-encryption-credentials-recoverable");
    assert_eq!(report["summary"]["counts"]["match"], 0);
    assert!(report["deviations"].as_array().unwrap().iter().all(|row| row["cure"] != ""), "{report:#}");
}

#[tokio::test]
async fn a_key_pending_deletion_alone_is_a_deviation() {
    let estate = Estate::set().await;
    estate.world.customer(EAST).await.schedule_key_deletion().key_id(estate.key(EAST)).send().await.unwrap();
    assert_eq!(findings(&estate.audit().await), ["key key-pending-deletion"]);
}

#[tokio::test]
async fn permissions_that_were_taken_or_widened_are_deviations() {
    let estate = Estate::set().await;
    assert_eq!(conclusion(&estate.audit().await), "compliant");
    estate.policy(WEST, |statements| drop(statements.remove(1))).await;
    assert!(findings(&estate.audit().await).contains(&"key permission-missing".to_owned()));
    estate.policy(WEST, |statements| drop(statements[2].as_object_mut().unwrap().remove("Condition"))).await;
    assert_eq!(findings(&estate.audit().await), ["key permission-too-wide"]);
    // What RDS may do is proven once a day: the report says when, and a day later it is seen.
    estate.policy(WEST, |statements| drop(statements.remove(2))).await;
    let report = estate.audit().await;
    assert!(report["keys"][1]["used_by_rds_at"].is_string(), "{report:#}");
    estate.world.pass(24 * 3600);
    assert_eq!(findings(&estate.audit().await), ["key permission-missing"]);
    estate.policy(WEST, |_| ()).await;
    assert_eq!(conclusion(&estate.audit().await), "compliant");
}

#[tokio::test]
async fn a_key_for_aws_services_alone_is_proven_by_rds_and_says_when() {
    let estate = Estate::set().await;
    let scope = |statements: &mut Vec<Value>| {
        statements[1]["Condition"] =
            json!({ "StringEquals": { "kms:ViaService": format!("rds.{WEST}.amazonaws.com") } });
    };
    estate.policy(WEST, scope).await;
    let report = estate.audit().await;
    assert_eq!(conclusion(&report), "compliant", "{report:#}");
    let key = report["keys"].as_array().unwrap().iter().find(|key| key["region"] == WEST).unwrap();
    let first = key["used_by_rds_at"].clone();
    assert!(first.is_string() && key["seen"].to_string().contains("through AWS services only"), "{key:#}");
    estate.world.pass(3600);
    let again = estate.audit().await;
    assert!(again["keys"].as_array().unwrap().iter().any(|key| key["used_by_rds_at"] == first), "{again:#}");
    // Directly denied is not new; that RDS may not use it either is seen with the next copy.
    estate.policy(WEST, |statements| drop(statements.drain(1..))).await;
    estate.world.pass(24 * 3600);
    assert!(findings(&estate.audit().await).contains(&"key permission-missing".to_owned()));
}

#[tokio::test]
async fn aws_that_does_not_answer_is_not_proven_and_no_deviation() {
    let estate = Estate::set().await;
    assert_eq!(conclusion(&estate.audit().await), "compliant");
    for (service, action) in [("kms", "DescribeKey"), ("rds", "DescribeDBInstances"), ("rds", "DescribeExportTasks")] {
        let rule = FaultRule {
            service: Some(service.to_owned()),
            action: Some(action.to_owned()),
            nth: None,
            remaining: None,
            // The SDK does not repeat this one, so that the test does not wait for it.
            kind: FaultKind::Error {
                code: "InternalFailure".to_owned(),
                message: "out of reach".to_owned(),
                status: 400,
            },
        };
        estate.world.sandbox.faults().add(rule);
        let report = estate.audit().await;
        assert_eq!(conclusion(&report), "not-proven", "{action}: {report:#}");
        assert_eq!(report["deviations"], json!([]), "{action}");
        estate.world.sandbox.faults().clear();
        assert_eq!(conclusion(&estate.audit().await), "compliant", "{action}");
    }
}

#[tokio::test]
async fn near_misses_are_named_until_an_engineer_decides() {
    for (key, value) in
        [("Keyferry:Enterprise", "dave"), ("keyferry:enterprise", "Dave"), ("keyferry:enterprise", "dave,erin")]
    {
        let estate = Estate::set().await;
        let other = estate.world.vendor_key(WEST).await;
        estate.instance("orders", &other, key, value).await;
        let report = estate.audit().await;
        assert_eq!(conclusion(&report), "not-proven", "{key}={value}: {report:#}");
        let doubts: Vec<&Value> = report["not_proven"].as_array().unwrap().iter().collect();
        assert!(doubts.iter().any(|doubt| doubt["why"].to_string().contains("orders")), "{doubts:?}");
        for doubt in doubts {
            let id = doubt["id"].as_str().unwrap();
            let body = json!({
                "doubt": id, "why": doubt["why"], "reason": "another customer's", "by": "eve", "at": "2026-11-24T11:00:00Z",
            });
            estate.world.memory.records.lock().unwrap().insert(("audit-decision".to_owned(), id.to_owned()), body);
        }
        let decided = estate.audit().await;
        assert_eq!(conclusion(&decided), "compliant", "{decided:#}");
        assert_eq!(decided["decisions"][0]["reason"], "another customer's");
    }
}

#[tokio::test]
async fn shares_exports_and_parts_under_another_key_are_seen() {
    let estate = Estate::set().await;
    estate.snapshot("monthly").await;
    assert_eq!(conclusion(&estate.audit().await), "compliant");
    let rds = estate.rds(WEST).await;
    let share = |add: bool| {
        let call = rds.modify_db_snapshot_attribute().db_snapshot_identifier("monthly").attribute_name("restore");
        if add { call.values_to_add("999999999999") } else { call.values_to_remove("999999999999") }
    };
    share(true).send().await.unwrap();
    let report = estate.audit().await;
    assert_eq!(findings(&report), ["snapshot shared"]);
    assert_eq!(report["deviations"][0]["shared_with"], json!(["999999999999"]));
    share(false).send().await.unwrap();
    assert_eq!(conclusion(&estate.audit().await), "compliant");

    let arn = report["deviations"][0]["arn"].as_str().unwrap();
    let export = |id: &str, key: &str| {
        let call = rds.start_export_task().export_task_identifier(id).source_arn(arn).s3_bucket_name("exports");
        call.iam_role_arn("arn:aws:iam::127450652264:role/export").kms_key_id(key).send()
    };
    export("good", estate.key(WEST)).await.unwrap();
    assert_eq!(conclusion(&estate.audit().await), "compliant");
    let other = estate.world.vendor_key(WEST).await;
    export("bad", &other).await.unwrap();
    let report = estate.audit().await;
    assert_eq!(conclusion(&report), "not-proven", "{report:#}");
    assert_eq!(report["not_proven"][0]["kind"], "export");

    assert!(estate.to_migrate().await.is_empty());
    let insights = rds.modify_db_instance().db_instance_identifier("dave-production").apply_immediately(true);
    insights.enable_performance_insights(true).performance_insights_kms_key_id(&other).send().await.unwrap();
    estate.world.pass(3600);
    let report = estate.audit().await;
    assert_eq!(findings(&report), ["instance wrong-key"], "{report:#}");
    assert!(report["deviations"][0]["cure"].as_str().unwrap().contains("keyferry run start dave"));
    // The run that the cure names migrates it: today's key of its storage is right, and it is not left alone for that.
    assert_eq!(estate.to_migrate().await, ["dave-production"]);
}

#[tokio::test]
async fn a_vendors_own_key_is_read_and_its_policy_compared() {
    let estate = Estate::set().await;
    let own = estate.world.vendor_key(WEST).await;
    estate.instance("dave-sandbox", &own, "keyferry:enterprise", "dave").await;
    let keys = json!({ "keys": estate.keys, "instances": { "production": { WEST: own } } });
    let audit = async || {
        let input = json!({ "plan": World::plan(), "keys": keys, "generation": 1, "expected": [] });
        estate.world.audit(&input).await["deviations"].clone()
    };
    let found = |deviations: &Value, finding: &str| {
        deviations.as_array().unwrap().iter().any(|row| row["arn"] == own.as_str() && row["finding"] == finding)
    };
    assert!(found(&audit().await, "permission-too-wide"), "AWS's own default policy lets material expire");
    let kms = estate.world.aws.kms(WEST).await.unwrap();
    let policy = keyferry::keys::render_own(WEST, "127450652264").to_string();
    kms.put_key_policy().key_id(&own).policy(policy).send().await.unwrap();
    assert!(!found(&audit().await, "permission-too-wide"));
}

#[tokio::test]
async fn a_cluster_that_was_migrated_by_hand_is_accepted_with_its_members() {
    let estate = Estate::set().await;
    let other = estate.world.vendor_key(WEST).await;
    estate.world.cluster("dave-orders", &other, None).await;
    let refused = estate.inventory().await.unwrap_err();
    assert_eq!(refused.error, "Keyferry.Unsupported");
    let rds = estate.rds(WEST).await;
    rds.delete_db_instance().db_instance_identifier("dave-orders-1").send().await.unwrap();
    estate.world.pass(3600);
    rds.delete_db_cluster().db_cluster_identifier("dave-orders").skip_final_snapshot(true).send().await.unwrap();
    estate.world.pass(3600);
    estate.world.cluster("dave-orders", estate.key(WEST), None).await;
    let inventory = estate.inventory().await.unwrap();
    assert_eq!(inventory["systems"], json!([]), "{inventory:#}");
    let kept = estate.world.record("inventory", "g1").unwrap();
    let expected: Vec<&Value> = kept["systems"].as_array().unwrap().iter().map(|system| &system["id"]).collect();
    assert!(expected.contains(&&json!("dave-orders-1")), "{expected:?}");
    let report = estate.audit().await;
    assert_eq!(conclusion(&report), "compliant", "{report:#}");
    assert!(report["resources"].as_array().unwrap().iter().any(|row| row["kind"] == "cluster"));
}
