//! The loss of a key: told, followed, and what it stopped started again; the revocation of a customer's own, too.

use aws_sdk_rds::types::Tag;
use keyferry::worker::{Progress, StepHost as _, Told};
use serde_json::{Value, json};

use super::world::{EAST, WEST, World};

/// One system that serves and one that people stopped, both under the customer's key.
struct Estate {
    world: World,
    key: String,
}

impl Estate {
    async fn set() -> Self {
        let world = World::new().await;
        let (key, east) = (world.key(WEST, None).await, world.key(EAST, None).await);
        let custody = json!({ "keys": { WEST: key, EAST: east }, "instances": {}, "generation": 1 });
        let estate = Self { world, key };
        estate.record("custody", "current", custody);
        for id in ["dave-production", "dave-sandbox"] {
            let call = estate.rds().await.create_db_instance().db_instance_identifier(id).engine("postgres");
            call.db_instance_class("db.m6g.large")
                .allocated_storage(20)
                .master_username("admin_user")
                .master_user_password("long-enough-for-RDS")
                .storage_encrypted(true)
                .kms_key_id(&estate.key)
                .tags(Tag::builder().key("keyferry:enterprise").value("dave").build())
                .send()
                .await
                .unwrap();
        }
        estate.world.pass(3600);
        estate.rds().await.stop_db_instance().db_instance_identifier("dave-sandbox").send().await.unwrap();
        estate.world.pass(3600);
        estate
    }

    async fn rds(&self) -> aws_sdk_rds::Client {
        self.world.aws.rds(WEST).await.unwrap()
    }

    fn record(&self, collection: &str, key: &str, body: Value) {
        self.world.memory.records.lock().unwrap().insert((collection.to_owned(), key.to_owned()), body);
    }

    /// What the watch writes down.
    fn health(&self, state: &str) {
        let body = json!({
            "region": WEST, "arn": self.key, "state": state, "since": self.world.memory.now(), "normal": "usable",
        });
        self.record("key-health", &self.key, body);
    }

    fn input(&self, more: Value) -> Value {
        let mut input = json!({ "key": { "arn": self.key, "region": WEST } });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    }

    async fn tell(&self) -> (Value, Vec<Told>) {
        match self.world.once("tell-key-state", &self.input(json!({}))).await.unwrap() {
            Progress::Done { output, told, .. } => (output, told),
            Progress::Pending { .. } => panic!("it is told at once"),
        }
    }

    async fn status(&self, id: &str) -> String {
        let found = self.rds().await.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        found.db_instances()[0].db_instance_status().unwrap().to_owned()
    }

    async fn lose(&self) {
        self.world.customer(WEST).await.disable_key().key_id(&self.key).send().await.unwrap();
        self.world.pass(3600);
        self.health("disabled");
    }

    async fn restore(&self) {
        self.world.customer(WEST).await.enable_key().key_id(&self.key).send().await.unwrap();
        self.world.pass(60);
        self.health("usable");
    }

    async fn follow(&self) -> Value {
        self.world.to_its_end("follow-key", &self.input(json!({ "state": "disabled", "systems": [] }))).await.unwrap()
    }
}

#[tokio::test]
async fn a_loss_is_told_once_an_hour_and_followed_with_a_countdown() {
    let estate = Estate::set().await;
    estate.lose().await;
    let (output, told) = estate.tell().await;
    assert_eq!((&output["state"], &output["lost"]), (&json!("disabled"), &json!(true)));
    assert_eq!((told[0].letter, &told[0].about["says"]), ("key-state", &json!("is disabled")));
    assert!(told[0].about["under"].to_string().contains("dave-production"), "{:?}", told[0]);
    estate.world.to_its_end("tell-key-state", &estate.input(json!({}))).await.unwrap();
    assert!(estate.tell().await.1.is_empty(), "it was told a moment ago");
    estate.world.pass(3600);
    assert_eq!(estate.tell().await.1.len(), 1, "after an hour it may be told again");
    let follow = estate.input(json!({ "state": "disabled", "systems": [] }));
    let Progress::Pending { waiting_for, checkpoint, .. } = estate.world.once("follow-key", &follow).await.unwrap()
    else {
        panic!("the key is lost")
    };
    assert!(waiting_for.contains("dave-production can be brought back until"), "{waiting_for}");
    assert!(waiting_for.contains("7 days 0 hours, counted from when it was first seen"), "{waiting_for}");
    assert_eq!(
        checkpoint["systems"].as_array().unwrap().len(),
        1,
        "what people stopped is not the loss's: {checkpoint}"
    );
}

#[tokio::test]
async fn what_the_loss_stopped_is_started_when_the_key_is_back_and_what_people_stopped_is_not() {
    let estate = Estate::set().await;
    estate.lose().await;
    assert_eq!(estate.status("dave-production").await, "inaccessible-encryption-credentials-recoverable");
    // RDS does not start it while its key cannot be used.
    let early = estate.input(json!({ "systems": [] }));
    assert_eq!(estate.world.to_its_end("start-lost-systems", &early).await.unwrap()["lost_again"], true);
    estate.restore().await;
    let followed = estate.follow().await;
    assert_eq!(followed["lost"], false);
    let back = estate.input(json!({ "systems": followed["systems"] }));
    let back = estate.world.run("start-lost-systems", &back).await.unwrap();
    assert_eq!(back["serving"], json!([format!("dave-production in {WEST}")]), "{back}");
    assert_eq!(back["lost"], json!([]));
    assert_eq!(estate.status("dave-production").await, "available");
    assert_eq!(estate.status("dave-sandbox").await, "stopped");
}

#[tokio::test]
async fn a_cluster_is_started_as_a_whole_and_one_that_people_stopped_is_not() {
    let estate = Estate::set().await;
    let rds = estate.rds().await;
    let enterprise = Tag::builder().key("keyferry:enterprise").value("dave").build();
    for id in ["dave-ledger", "dave-archive"] {
        let call = rds.create_db_cluster().db_cluster_identifier(id).engine("aurora-postgresql");
        let call = call.master_username("admin_user").master_user_password("long-enough-for-RDS");
        let call = call.storage_encrypted(true).kms_key_id(&estate.key).tags(enterprise.clone());
        call.send().await.unwrap();
        for number in 1..=2 {
            let call = rds.create_db_instance().db_instance_identifier(format!("{id}-{number}"));
            let call = call.db_cluster_identifier(id).engine("aurora-postgresql").db_instance_class("db.r6g.large");
            call.tags(enterprise.clone()).send().await.unwrap();
        }
    }
    estate.world.pass(3600);
    rds.stop_db_cluster().db_cluster_identifier("dave-archive").send().await.unwrap();
    estate.world.pass(3600);
    estate.lose().await;
    assert_eq!(estate.status("dave-ledger-2").await, "inaccessible-encryption-credentials-recoverable");
    assert_eq!(estate.status("dave-archive-2").await, "stopped");
    estate.restore().await;
    let followed = estate.follow().await;
    let before = estate.world.sandbox.ledger().len();
    let back = estate.input(json!({ "systems": followed["systems"] }));
    let back = estate.world.run("start-lost-systems", &back).await.unwrap();
    let mut serving: Vec<&str> = back["serving"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    serving.sort_unstable();
    let named = |id: &str| format!("{id} in {WEST}");
    let wanted = ["dave-ledger", "dave-ledger-1", "dave-ledger-2", "dave-production"].map(named);
    assert_eq!(serving, wanted, "{back:#}");
    for id in ["dave-ledger-1", "dave-ledger-2", "dave-production"] {
        assert_eq!(estate.status(id).await, "available", "{id}");
    }
    assert_eq!(estate.status("dave-archive-1").await, "stopped");
    let ledger = estate.world.sandbox.ledger();
    let mut starts: Vec<&str> = ledger[before..].iter().map(|entry| entry.action.as_str()).collect();
    starts.sort_unstable();
    assert_eq!(starts, ["StartDBCluster", "StartDBInstance"], "members start with their cluster");
}

#[tokio::test]
async fn what_is_not_brought_back_within_seven_days_is_said_to_be_restored_from_a_backup() {
    let estate = Estate::set().await;
    estate.lose().await;
    // RDS sees the loss when it next looks; from then on the days count.
    assert_eq!(estate.status("dave-production").await, "inaccessible-encryption-credentials-recoverable");
    estate.world.pass(8 * 86_400);
    estate.restore().await;
    let back = estate.world.run("start-lost-systems", &estate.input(json!({ "systems": [] }))).await.unwrap();
    assert_eq!(back["lost"], json!([format!("dave-production in {WEST}")]), "{back}");
    assert_eq!(back["started"], json!([]));
}

#[tokio::test]
async fn a_key_that_is_the_enterprises_no_more_is_not_followed() {
    let estate = Estate::set().await;
    estate.lose().await;
    estate.record("custody", "current", json!({ "keys": {}, "instances": {} }));
    assert_eq!(estate.follow().await["lost"], false);
}
