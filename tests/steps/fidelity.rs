//! What a migration carries over: the system as it is at its freeze, not as an inventory found it days before.

use aws_sdk_rds::types::{DatabaseInsightsMode, DbInstance};
use serde_json::Value;

use super::{
    flow::Stage,
    world::{EAST, WEST, World},
};

pub async fn instance(world: &World, region: &str, id: &str) -> DbInstance {
    let rds = world.aws.rds(region).await.unwrap();
    let found = rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    found.db_instances.unwrap_or_default().remove(0)
}

pub fn groups(instance: &DbInstance) -> Vec<&str> {
    instance.vpc_security_groups().iter().filter_map(|group| group.vpc_security_group_id()).collect()
}

fn production(inventory: &Value) -> Value {
    inventory["systems"][0].clone()
}

/// The rest of a window, after the system was recorded and frozen.
async fn finish(stage: &Stage, item: &Value) {
    for step in ["snapshot-system", "copy-snapshot", "restore-system", "verify-system", "swap-system"] {
        stage.world.run(step, item).await.unwrap_or_else(|error| panic!("{step}: {}: {error}", error.error));
    }
}

#[tokio::test]
async fn what_was_changed_between_inventory_and_window_is_carried_over() {
    let stage = Stage::set().await;
    let system = production(&stage.inventory().await);
    stage.world.run("pre-copy-system", &stage.item(&system, 1)).await.unwrap();
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    rds.modify_db_instance()
        .db_instance_identifier("dave-production")
        .db_instance_class("db.r6g.2xlarge")
        .allocated_storage(600)
        .vpc_security_group_ids("sg-00000000000000aaa")
        .backup_retention_period(21)
        .deletion_protection(false)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    stage.world.pass(24 * 3600);
    stage.migrate(&system).await;
    let found = instance(&stage.world, WEST, "dave-production").await;
    assert_ne!(found.dbi_resource_id(), system["resource_id"].as_str(), "it was migrated");
    assert_eq!(found.kms_key_id(), stage.keys["keys"][WEST].as_str());
    assert_eq!(found.db_instance_class(), Some("db.r6g.2xlarge"));
    assert_eq!(found.allocated_storage(), Some(600));
    assert_eq!(groups(&found), ["sg-00000000000000aaa"]);
    assert_eq!((found.backup_retention_period(), found.deletion_protection()), (Some(21), Some(false)));
}

#[tokio::test]
async fn a_definition_that_records_nothing_before_the_freeze_carries_over_what_was_frozen() {
    let stage = Stage::set().await;
    let system = production(&stage.inventory().await);
    let item = stage.item(&system, 1);
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let change = rds.modify_db_instance().db_instance_identifier("dave-production").apply_immediately(true);
    change.db_instance_class("db.r6g.large").send().await.unwrap();
    stage.world.pass(3600);
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.run("freeze-system", &item).await.unwrap();
    finish(&stage, &item).await;
    assert_eq!(instance(&stage.world, WEST, "dave-production").await.db_instance_class(), Some("db.r6g.large"));
}

#[tokio::test]
async fn what_changes_after_the_record_is_recorded_again_before_the_freeze() {
    let stage = Stage::set().await;
    let item = stage.item(&production(&stage.inventory().await), 1);
    stage.world.run("record-settings", &item).await.unwrap();
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let change = rds.modify_db_instance().db_instance_identifier("dave-production").apply_immediately(true);
    change.db_instance_class("db.r6g.large").send().await.unwrap();
    stage.world.pass(3600);
    stage.world.run("plan-outage", &item).await.unwrap();
    let error = stage.world.to_its_end("freeze-system", &item).await.unwrap_err();
    assert_eq!(error.error, "Keyferry.SettingsChanged", "{error}");
    assert!(error.cause.contains("class"), "{error}");
    assert!(stage.world.names(WEST).await.contains(&"dave-production".to_owned()), "nothing was taken out of service");
    stage.world.run("record-settings", &item).await.unwrap();
    stage.world.run("plan-outage", &item).await.unwrap();
    stage.world.run("freeze-system", &item).await.unwrap();
    finish(&stage, &item).await;
    assert_eq!(instance(&stage.world, WEST, "dave-production").await.db_instance_class(), Some("db.r6g.large"));
}

#[tokio::test]
async fn a_change_that_waits_for_the_systems_own_window_is_refused_before_the_outage() {
    let stage = Stage::set().await;
    let item = stage.item(&production(&stage.inventory().await), 1);
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    let change = rds.modify_db_instance().db_instance_identifier("dave-production").db_instance_class("db.r6g.large");
    change.send().await.unwrap();
    stage.world.run("plan-outage", &item).await.unwrap();
    for step in ["record-settings", "freeze-system"] {
        let error = stage.world.to_its_end(step, &item).await.unwrap_err();
        assert_eq!(error.error, "Keyferry.Unsupported", "{step}: {error}");
        assert!(error.cause.contains("class"), "{step}: {error}");
    }
    assert_eq!(stage.world.names(WEST).await, ["dave-production", "dave-sandbox"]);
    assert_eq!(
        instance(&stage.world, WEST, "dave-production").await.dbi_resource_id(),
        item["system"]["resource_id"].as_str()
    );
}

#[tokio::test]
async fn no_system_is_frozen_when_two_renames_would_not_fit_before_the_cutoff() {
    let stage = Stage::set().await;
    let item = stage.item(&production(&stage.inventory().await), 1);
    stage.world.pass(7 * 3600 - 19 * 60);
    stage.world.run("plan-outage", &item).await.unwrap();
    for step in ["record-settings", "freeze-system"] {
        let error = stage.world.to_its_end(step, &item).await.unwrap_err();
        assert_eq!(error.error, "Keyferry.WindowPassed", "{step}: {error}");
    }
    assert!(stage.world.names(WEST).await.contains(&"dave-production".to_owned()));
}

#[tokio::test]
async fn what_is_frozen_at_the_cutoff_is_put_back() {
    let stage = Stage::set().await;
    let item = stage.item(&production(&stage.inventory().await), 1);
    for step in ["record-settings", "plan-outage", "freeze-system", "snapshot-system", "copy-snapshot"] {
        stage.world.run(step, &item).await.unwrap();
    }
    stage.world.pass(7 * 3600);
    for step in ["restore-system", "swap-system"] {
        let error = stage.world.to_its_end(step, &item).await.unwrap_err();
        assert!(["Keyferry.WindowPassed", "Keyferry.Missing"].contains(&error.error.as_str()), "{step}: {error}");
    }
    assert_eq!(stage.world.run("thaw-system", &item).await.unwrap()["outcome"], "kept");
    assert_eq!(stage.world.names(WEST).await, ["dave-production", "dave-sandbox"]);
}

#[tokio::test]
async fn a_managed_password_moves_to_a_secret_under_the_key_and_people_are_told() {
    let stage = Stage::set().await;
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    rds.modify_db_instance()
        .db_instance_identifier("dave-production")
        .manage_master_user_password(true)
        .master_user_secret_kms_key_id(stage.world.vendor_key(WEST).await)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    stage.world.pass(3600);
    let before = instance(&stage.world, WEST, "dave-production").await;
    let secret = |of: &DbInstance| of.master_user_secret().unwrap().secret_arn().unwrap().to_owned();
    stage.migrate(&production(&stage.inventory().await)).await;
    let now = instance(&stage.world, WEST, "dave-production").await;
    assert_ne!(secret(&now), secret(&before));
    assert_eq!(now.master_user_secret().unwrap().kms_key_id(), stage.keys["keys"][WEST].as_str());
    let told = stage.world.memory.told.lock().unwrap().clone();
    let told: Vec<&Value> = told.iter().filter(|told| told.letter == "secret-moved").map(|told| &told.about).collect();
    assert!(!told.is_empty());
    assert_eq!((told[0]["before"].as_str(), told[0]["now"].as_str()), (Some(&*secret(&before)), Some(&*secret(&now))));
}

#[tokio::test]
async fn paid_support_is_not_opted_into_and_advanced_insights_are_carried_over() {
    let stage = Stage::set().await;
    let rds = stage.world.aws.rds(WEST).await.unwrap();
    rds.modify_db_instance()
        .db_instance_identifier("dave-production")
        .engine_lifecycle_support("open-source-rds-extended-support-disabled")
        .database_insights_mode(DatabaseInsightsMode::Advanced)
        .enable_performance_insights(true)
        .performance_insights_kms_key_id(stage.world.vendor_key(WEST).await)
        .performance_insights_retention_period(465)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    stage.world.pass(3600);
    stage.migrate(&production(&stage.inventory().await)).await;
    let now = instance(&stage.world, WEST, "dave-production").await;
    assert_eq!(now.engine_lifecycle_support(), Some("open-source-rds-extended-support-disabled"));
    assert_eq!(now.database_insights_mode(), Some(&DatabaseInsightsMode::Advanced));
    assert_eq!(now.performance_insights_retention_period(), Some(465));
    assert_eq!(now.performance_insights_kms_key_id(), stage.keys["keys"][WEST].as_str());
}

#[tokio::test]
async fn replicated_backups_are_replicated_again_under_the_regions_key() {
    let stage = Stage::set().await;
    let east = stage.world.aws.rds(EAST).await.unwrap();
    let source = instance(&stage.world, WEST, "dave-production").await;
    east.start_db_instance_automated_backups_replication()
        .source_db_instance_arn(source.db_instance_arn().unwrap())
        .backup_retention_period(11)
        .kms_key_id(stage.world.vendor_key(EAST).await)
        .send()
        .await
        .unwrap();
    stage.world.pass(24 * 3600);
    stage.migrate(&production(&stage.inventory().await)).await;
    let stock = stage.inventory().await;
    let moved = stock["moved"].as_array().unwrap();
    assert_eq!(moved.len(), 1, "{stock:#}");
    stage.world.run("replicate-backups", &stage.item(&moved[0], 1)).await.unwrap();
    let serving = instance(&stage.world, WEST, "dave-production").await;
    let found = east.describe_db_instance_automated_backups().dbi_resource_id(serving.dbi_resource_id().unwrap());
    let found = found.send().await.unwrap().db_instance_automated_backups.unwrap_or_default();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kms_key_id(), stage.keys["keys"][EAST].as_str());
    assert_eq!(found[0].backup_retention_period(), Some(11));
}
