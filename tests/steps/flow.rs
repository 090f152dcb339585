//! The migration, from inventory to audit, and what goes wrong on the way.

use serde_json::{Value, json};

use super::world::{EAST, WEST, World, tag};

pub struct Stage {
    pub world: World,
    pub keys: Value,
}

impl Stage {
    /// A production system under the vendor's key with a snapshot copy in the other region, and an unencrypted sandbox.
    pub async fn set() -> Self {
        Self::of(World::new().await).await
    }

    pub async fn of(world: World) -> Self {
        let keys = json!({ "keys": { WEST: world.key(WEST, None).await, EAST: world.key(EAST, None).await }, "instances": {} });
        world.hand_over(&keys);
        let vendor = world.vendor_key(WEST).await;
        let rds = world.aws.rds(WEST).await.unwrap();
        for (id, engine, instance, gb, key) in [
            ("dave-production", "postgres", "production", 500, Some(vendor)),
            ("dave-sandbox", "mysql", "sandbox", 20, None),
        ] {
            rds.create_db_instance()
                .db_instance_identifier(id)
                .engine(engine)
                .db_instance_class("db.m6g.large")
                .allocated_storage(gb)
                .master_username("admin_user")
                .master_user_password("long-enough-for-RDS")
                .vpc_security_group_ids("sg-0123456789abcdef0")
                .multi_az(instance == "production")
                .backup_retention_period(7)
                .copy_tags_to_snapshot(true)
                .deletion_protection(instance == "production")
                .storage_encrypted(key.is_some())
                .set_kms_key_id(key)
                .tags(tag("keyferry:enterprise", "dave"))
                .tags(tag("keyferry:instance", instance))
                .tags(tag("team", "payroll"))
                .send()
                .await
                .unwrap();
        }
        world.pass(3600);
        let made = rds.create_db_snapshot().db_instance_identifier("dave-production").db_snapshot_identifier("nightly");
        let arn = made.send().await.unwrap().db_snapshot.unwrap().db_snapshot_arn.unwrap();
        world.pass(3600);
        let east = world.aws.rds(EAST).await.unwrap();
        let other = world.vendor_key(EAST).await;
        let copy =
            east.copy_db_snapshot().source_db_snapshot_identifier(arn).target_db_snapshot_identifier("nightly-east");
        copy.kms_key_id(other).copy_tags(true).send().await.unwrap();
        world.pass(24 * 3600);
        Self { world, keys }
    }

    pub fn basis(&self) -> Value {
        json!({ "plan": World::plan(), "keys": self.keys })
    }

    pub fn with(&self, more: Value) -> Value {
        let mut basis = self.basis();
        basis.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        basis
    }

    pub async fn plan_purge(&self) -> Value {
        self.world.run("plan-purge", &self.with(json!({ "generation": 1 }))).await.unwrap()
    }

    /// Says yes to a list, in a visit of the form.
    pub fn approve(&self, purge: &Value, visit: u64) {
        let answer = json!({ "approve": true, "plan": purge["plan"], "reason": "checked" });
        self.world.answered("purge-approval", visit, &answer);
    }

    /// Migrates everything and keeps copies for recovery: what comes before a purge.
    pub async fn migrate_all(&self) {
        for system in self.inventory().await["systems"].as_array().unwrap() {
            self.migrate(system).await;
        }
        for system in self.inventory().await["all"].as_array().unwrap() {
            self.world.run("copy-for-recovery", &self.item(system, 1)).await.unwrap();
        }
    }

    pub async fn inventory(&self) -> Value {
        self.world.run("take-inventory", &self.basis()).await.unwrap()
    }

    pub fn item(&self, system: &Value, attempt: u64) -> Value {
        let now = keyferry::worker::StepHost::now(&*self.world.memory);
        let hours = |hours: i64| now + chrono::TimeDelta::hours(hours);
        let window = json!({ "start": now, "end": hours(8), "cutoff": hours(7), "duration_hours": 8 });
        self.world.answered("window", 1_000, &window);
        self.with(json!({ "system": system, "generation": 1, "attempt": attempt, "window": window }))
    }

    pub async fn migrate(&self, system: &Value) {
        self.world.run("pre-copy-system", &self.item(system, 1)).await.unwrap();
        let item = self.item(system, 1);
        for step in [
            "record-settings",
            "plan-outage",
            "freeze-system",
            "snapshot-system",
            "copy-snapshot",
            "restore-system",
            "verify-system",
        ] {
            self.world.run(step, &item).await.unwrap_or_else(|error| panic!("{step}: {}: {error}", error.error));
        }
        self.world.run("swap-system", &item).await.unwrap();
        self.world.run("confirm-cut-over", &item).await.unwrap();
    }
}

#[tokio::test]
async fn a_whole_migration_ends_in_a_clean_audit_and_nothing_left_over() {
    let stage = Stage::set().await;
    let world = &stage.world;
    let inventory = stage.inventory().await;
    assert_eq!(inventory["systems"].as_array().unwrap().len(), 2, "{inventory:#}");
    for system in inventory["systems"].as_array().unwrap() {
        stage.migrate(system).await;
    }
    let stock = stage.inventory().await;
    assert_eq!(stock["systems"], json!([]));
    for system in stock["all"].as_array().unwrap() {
        world.run("copy-for-recovery", &stage.item(system, 1)).await.unwrap();
    }
    let purge = stage.plan_purge().await;
    assert!(purge["count"].as_u64().unwrap() >= 8, "{purge:#}");
    assert_eq!(purge["kept"], json!([]), "{purge:#}");
    stage.approve(&purge, 1);
    world.to_its_end("check-purge", &json!({ "plan": purge["plan"] })).await.unwrap();
    for number in 0..purge["count"].as_u64().unwrap() {
        let input = json!({ "plan": purge["plan"], "number": number });
        world.run("purge-resource", &input).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    let ledger = world.records_of("purge-ledger");
    assert_eq!(ledger.len(), purge["list"]["lines"].as_array().unwrap().len());
    for entry in ledger {
        assert_eq!(entry["how"], "deleted", "{entry:#}");
        assert_eq!((&entry["approved_by"]["name"], &entry["plan"]), (&json!("admin for Eve"), &purge["plan"]));
        let proof = entry["proof"].as_array().unwrap();
        assert!(!proof.is_empty() || entry["id"].as_str().unwrap().contains("canary"), "{entry:#}");
    }
    let end = stage.with(json!({ "generation": 1 }));
    let audit = world.run("audit", &end).await.unwrap();
    assert_eq!(audit["deviations"], json!([]), "{audit:#}");
    world.run("write-custody", &end).await.unwrap();
    let again = world.run("audit", &json!({})).await.unwrap();
    assert_eq!(again["summary"]["conclusion"], "compliant");
    assert_eq!(world.names(WEST).await, ["dave-production", "dave-sandbox"]);
}

#[tokio::test]
async fn before_the_migration_the_audit_finds_what_is_wrong() {
    let stage = Stage::set().await;
    stage.inventory().await;
    let audit = stage.world.run("audit", &stage.with(json!({ "generation": 1 }))).await.unwrap();
    let counts = &audit["summary"]["counts"];
    assert!(counts["not-encrypted"].as_u64().unwrap() >= 1, "{audit:#}");
    assert!(counts["wrong-key"].as_u64().unwrap() + counts["left-over"].as_u64().unwrap() >= 2, "{audit:#}");
    assert_eq!(counts["missing"], 1);
}

#[tokio::test]
async fn a_failure_before_the_swap_leaves_the_original_serving() {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][0].clone();
    let item = stage.item(&system, 1);
    for step in ["plan-outage", "freeze-system", "snapshot-system", "copy-snapshot", "restore-system"] {
        stage.world.run(step, &item).await.unwrap();
    }
    let thawed = stage.world.run("thaw-system", &item).await.unwrap();
    assert_eq!(thawed["outcome"], "kept");
    let names = stage.world.names(WEST).await;
    assert_eq!(names, ["dave-production", "dave-sandbox"]);
    let again = stage.inventory().await;
    assert_eq!(again["systems"][0]["resource_id"], system["resource_id"]);
    stage.migrate(&json!(again["systems"][1])).await;
}

#[tokio::test]
async fn a_thaw_after_the_swap_undoes_nothing() {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][1].clone();
    stage.migrate(&system).await;
    let thawed = stage.world.run("thaw-system", &stage.item(&system, 1)).await.unwrap();
    assert_eq!(thawed["outcome"], "migrated");
}

#[tokio::test]
async fn no_cut_over_starts_after_the_cutoff() {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][1].clone();
    let item = stage.item(&system, 1);
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.pass(7 * 3600 + 60);
    for step in ["plan-outage", "freeze-system"] {
        let error = stage.world.run(step, &item).await.unwrap_err();
        assert_eq!(error.error, "Keyferry.WindowPassed", "{step}");
    }
    assert!(stage.world.names(WEST).await.contains(&"dave-sandbox".to_owned()));
}

#[tokio::test]
async fn somebody_elses_snapshot_under_our_name_is_not_touched() {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][1].clone();
    let name = keyferry::systems::Names::new("dave", 1, "run-1", "dave-sandbox", 1).early_snapshot();
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    rds.create_db_snapshot().db_instance_identifier("dave-sandbox").db_snapshot_identifier(&name).send().await.unwrap();
    let error = stage.world.run("pre-copy-system", &stage.item(&system, 1)).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.Foreign");
}

#[tokio::test]
async fn a_copy_that_a_cancelled_run_has_left_under_the_same_key_is_used_by_the_next_run() {
    let mut stage = Stage::set().await;
    let systems = stage.inventory().await["systems"].clone();
    let early = |stage: &Stage, system: usize| stage.item(&systems[system], 1);
    let made = stage.world.run("pre-copy-system", &early(&stage, 0)).await.unwrap();
    assert_eq!(made["reused"], false);
    stage.world.begin("run-2");
    stage.inventory().await;
    let before = stage.world.sandbox.ledger().len();
    let again = stage.world.run("pre-copy-system", &early(&stage, 0)).await.unwrap();
    assert_eq!((&again["copy"], &again["reused"]), (&made["copy"], &json!(true)));
    assert_eq!(stage.world.sandbox.ledger().len(), before, "nothing was made");
    // Room is asked for by what is still to be made: three snapshots of the one, four of the other.
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let used = rds.describe_db_snapshots().snapshot_type("manual").send().await.unwrap().db_snapshots().len();
    for number in used..100 - 7 {
        let id = format!("other-{number}");
        let taken = rds.create_db_snapshot().db_instance_identifier("dave-sandbox").db_snapshot_identifier(id);
        taken.send().await.unwrap();
        stage.world.pass(3600);
    }
    let asked = stage.with(json!({ "systems": systems, "generation": 1, "attempt": 1 }));
    let fits = stage.world.run("preflight", &asked).await.unwrap();
    assert_eq!((fits["systems"].as_array().unwrap().len(), &fits["kept"]), (2, &json!([])), "{fits:#}");
    // A copy under another key, or of another system, is none.
    stage.world.begin("run-3");
    stage.keys["keys"][WEST] = json!(stage.world.key(WEST, None).await);
    stage.world.hand_over(&stage.keys);
    stage.inventory().await;
    assert_eq!(stage.world.run("pre-copy-system", &early(&stage, 0)).await.unwrap()["reused"], false);
    assert_eq!(stage.world.run("pre-copy-system", &early(&stage, 1)).await.unwrap()["reused"], false);
}

#[tokio::test]
async fn a_system_whose_place_is_not_taken_is_never_purged() {
    let stage = Stage::set().await;
    let system = stage.inventory().await["systems"][1].clone();
    let item = stage.item(&system, 1);
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.run("freeze-system", &item).await.unwrap();
    let error = stage.world.run("plan-purge", &stage.with(json!({ "generation": 1 }))).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.NotVerified");
}

#[tokio::test]
async fn an_enterprise_without_data_gets_fresh_encrypted_systems() {
    let world = World::new().await;
    let keys =
        json!({ "keys": { WEST: world.key(WEST, None).await, EAST: world.key(EAST, None).await }, "instances": {} });
    world.hand_over(&keys);
    let basis = json!({ "plan": World::plan(), "keys": keys });
    let fresh = world.run("take-inventory", &basis).await.unwrap()["fresh"].clone();
    assert_eq!(fresh[0]["id"], "dave-production");
    let template = json!({ "engine": "postgres", "class": "db.m6g.large", "storage_gb": 100, "multi_az": true, "retention_days": 14 });
    let made =
        world.run("provision-system", &json!({ "fresh": fresh[0], "keys": keys, "template": template })).await.unwrap();
    assert_eq!(made["key"], keys["keys"][WEST]);
    let stock = world.run("take-inventory", &basis).await.unwrap();
    assert_eq!(stock["systems"], json!([]));
    assert_eq!(stock["all"][0]["recovery"], true);
}
