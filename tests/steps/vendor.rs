//! The vendor's keys for a customer's material: made once each, whatever is lost on the way.

use serde_json::{Value, json};

use super::world::{WEST, World};
use keyferry::sandbox::{FaultKind, FaultRule};

fn place() -> Value {
    json!({ "region": WEST, "instance": null })
}

fn lose(world: &World, action: &str) {
    world.sandbox.faults().add(FaultRule {
        service: Some("kms".to_owned()),
        action: Some(action.to_owned()),
        nth: None,
        remaining: Some(1),
        kind: FaultKind::LostReply,
    });
}

fn made(world: &World) -> usize {
    world.sandbox.ledger().iter().filter(|entry| entry.action == "CreateKey").count()
}

#[tokio::test]
async fn a_key_whose_reply_was_lost_is_adopted() {
    for action in ["CreateKey", "CreateAlias"] {
        let world = World::new().await;
        lose(&world, action);
        let key = world.run("create-import-key", &place()).await.unwrap();
        assert!(world.sandbox.faults().rules().is_empty(), "{action} was never called");
        assert_eq!(made(&world), 1, "{action}");
        assert_eq!(key["orphans"], json!([]));
        let kms = world.aws.kms(WEST).await.unwrap();
        let described = kms.describe_key().key_id(key["arn"].as_str().unwrap()).send().await.unwrap();
        let metadata = described.key_metadata.unwrap();
        assert_eq!(metadata.key_state().unwrap().as_str(), "PendingImport");
        assert_eq!(metadata.origin().unwrap().as_str(), "EXTERNAL");
    }
}

#[tokio::test]
async fn a_second_key_with_the_same_tags_is_reported_and_left_alone() {
    let world = World::new().await;
    let key = world.to_its_end("create-import-key", &place()).await.unwrap();
    let kms = world.aws.kms(WEST).await.unwrap();
    let arn = key["arn"].as_str().unwrap();
    let tags = kms.list_resource_tags().key_id(arn).send().await.unwrap().tags.unwrap();
    let aliases = kms.list_aliases().key_id(arn).send().await.unwrap().aliases.unwrap();
    let alias = aliases[0].alias_name().unwrap();
    assert!(alias.starts_with("alias/byok/dave/"), "{alias}");
    kms.delete_alias().alias_name(alias).send().await.unwrap();
    world.pass(60);
    let twin = kms.create_key().set_tags(Some(tags)).send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let again = world.to_its_end("create-import-key", &place()).await.unwrap();
    assert_eq!(again["arn"], key["arn"], "the older one is adopted");
    assert_eq!(again["orphans"], json!([twin]));
    let records = world.memory.records.lock().unwrap();
    assert_eq!(records[&("orphan-key".to_owned(), twin)]["instead"], key["arn"]);
}

#[tokio::test]
async fn somebody_elses_key_under_the_alias_is_not_touched() {
    let world = World::new().await;
    let key = world.to_its_end("create-import-key", &place()).await.unwrap();
    let kms = world.aws.kms(WEST).await.unwrap();
    kms.untag_resource().key_id(key["arn"].as_str().unwrap()).tag_keys("keyferry:run").send().await.unwrap();
    let error = world.to_its_end("create-import-key", &place()).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.Foreign");
}

#[tokio::test]
async fn material_that_expires_cannot_be_imported_and_a_key_without_evidence_does_not_pass() {
    let world = World::new().await;
    let key = world.to_its_end("create-import-key", &place()).await.unwrap();
    let arn = key["arn"].as_str().unwrap();
    let review = world.to_its_end("review-import", &json!({ "keys": [key], "waited": false })).await.unwrap();
    assert_eq!((&review["complete"], &review["wait"]["notice"]), (&json!(false), &json!("opened")));
    assert_eq!(review["keys"][WEST], arn);
    let input = json!({ "region": WEST, "arn": arn, "custody": "vendor" });
    let verified = world.to_its_end("verify-key", &input).await.unwrap();
    assert_eq!(verified["verdict"], "failed");
    let kms = world.aws.kms(WEST).await.unwrap();
    let expiring = kms
        .import_key_material()
        .key_id(arn)
        .import_token(aws_sdk_kms::primitives::Blob::new([1]))
        .encrypted_key_material(aws_sdk_kms::primitives::Blob::new([1]))
        .send()
        .await
        .unwrap_err();
    assert_eq!(aws_sdk_kms::error::ProvideErrorMetadata::code(&expiring), Some("AccessDeniedException"));
}
