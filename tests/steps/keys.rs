//! Verification: a good key, and each of a customer's mistakes with its own message.

use serde_json::{Value, json};

use super::world::{WEST, World};

async fn verify(world: &World, arn: &str) -> Value {
    world.run("verify-key", &json!({ "region": WEST, "arn": arn })).await.unwrap()
}

fn codes(result: &Value) -> Vec<String> {
    let probes = result["probes"].as_array().unwrap();
    let failed = probes.iter().filter(|probe| probe["state"] == "failed");
    failed.map(|probe| probe["code"].as_str().unwrap().to_owned()).collect()
}

fn without(statement: usize) -> Value {
    let mut policy = World::policy(WEST);
    policy["Statement"].as_array_mut().unwrap().remove(statement);
    policy
}

#[tokio::test]
async fn a_key_under_the_policy_passes_every_probe() {
    let world = World::new().await;
    let arn = world.key(WEST, None).await;
    // The first verification makes the shared canary; the repetition in `run` must make nothing but copies, so warm it up.
    world.to_its_end("verify-key", &json!({ "region": WEST, "arn": arn })).await.unwrap();
    let result = world.to_its_end("verify-key", &json!({ "region": WEST, "arn": arn })).await.unwrap();
    assert_eq!(result["verdict"], "passed", "{result:#}");
    let states: Vec<&str> =
        result["probes"].as_array().unwrap().iter().map(|probe| probe["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["passed"; 6], "{result:#}");
    world.pass(600);
    assert!(world.names(WEST).await.is_empty(), "the canary's source is left");
}

#[tokio::test]
async fn a_disabled_key_and_one_pending_deletion_say_so() {
    let world = World::new().await;
    let kms = world.customer(WEST).await;
    let disabled = world.key(WEST, None).await;
    kms.disable_key().key_id(&disabled).send().await.unwrap();
    assert_eq!(codes(&verify(&world, &disabled).await), ["key-disabled"]);
    let doomed = world.key(WEST, None).await;
    kms.schedule_key_deletion().key_id(&doomed).send().await.unwrap();
    assert_eq!(codes(&verify(&world, &doomed).await), ["key-pending-deletion"]);
}

#[tokio::test]
async fn a_missing_statement_is_named() {
    let world = World::new().await;
    let no_grants = world.key(WEST, Some(without(2))).await;
    let result = world.to_its_end("verify-key", &json!({ "region": WEST, "arn": no_grants })).await.unwrap();
    assert_eq!(codes(&result), ["statement-attachment-missing"], "{result:#}");
    let no_use = world.key(WEST, Some(without(1))).await;
    let result = world.to_its_end("verify-key", &json!({ "region": WEST, "arn": no_use })).await.unwrap();
    assert!(codes(&result).contains(&"statement-use-missing".to_owned()), "{result:#}");
    let review = world.run("review-keys", &json!({ "results": [result] })).await.unwrap();
    assert_eq!(review["verdict"], "failed");
    assert!(!review["findings"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn grants_without_the_condition_are_too_wide() {
    let world = World::new().await;
    let mut policy = World::policy(WEST);
    policy["Statement"][2].as_object_mut().unwrap().remove("Condition");
    let wide = world.key(WEST, Some(policy)).await;
    let result = world.to_its_end("verify-key", &json!({ "region": WEST, "arn": wide })).await.unwrap();
    assert_eq!(codes(&result), ["grants-too-wide"], "{result:#}");
}

#[tokio::test]
async fn a_policy_that_comes_late_is_waited_for() {
    let world = World::new().await;
    let arn = world.key(WEST, Some(without(1))).await;
    let input = json!({ "region": WEST, "arn": arn });
    let keyferry::worker::Progress::Pending { waiting_for, .. } = world.once("verify-key", &input).await.unwrap()
    else {
        panic!("a denial was taken for a finding at once")
    };
    assert!(waiting_for.contains("to spread"), "{waiting_for}");
    let kms = world.customer(WEST).await;
    kms.put_key_policy().key_id(&arn).policy(World::policy(WEST).to_string()).send().await.unwrap();
    assert_eq!(world.to_its_end("verify-key", &input).await.unwrap()["verdict"], "passed");
}
