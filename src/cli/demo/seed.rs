//! What the vendor has of the enterprise before: four data systems, none under the enterprise's keys.

use aws_sdk_kms::types::Tag as KeyTag;
use aws_sdk_rds::types::{DbInstance, Tag};

use super::{ENTERPRISE, LOOK, show::Show};
use crate::{
    aws::{Aws, kms_client},
    cli::output::Failure,
    config::Config,
    worker::{Clock as _, SystemClock},
};

pub(super) const PRIMARY: &str = "us-west-2";
pub(super) const RECOVERY: &str = "us-east-1";
/// The customer's account, as in the process's own examples.
pub(super) const CUSTOMER: &str = "123456789012";
/// Marks the keys that the demo made, so that one that was killed finds them again.
const MARK: &str = "keyferry-demo";

/// One data system of the vendor's.
struct Wanted {
    name: &'static str,
    engine: &'static str,
    class: &'static str,
    storage_gb: i32,
    instance: &'static str,
    encrypted: bool,
}

const SYSTEMS: [Wanted; 3] = [
    Wanted {
        name: "dave-production",
        engine: "postgres",
        class: "db.r6g.xlarge",
        storage_gb: 500,
        instance: "production",
        encrypted: true,
    },
    Wanted {
        name: "dave-sandbox",
        engine: "mysql",
        class: "db.t4g.medium",
        storage_gb: 40,
        instance: "sandbox",
        encrypted: false,
    },
    Wanted {
        name: "dave-development",
        engine: "postgres",
        class: "db.t4g.medium",
        storage_gb: 20,
        instance: "development",
        encrypted: true,
    },
];
/// The production system's copy in the other region.
const REPLICA: &str = "dave-production-copy";

/// Brings the systems up, or finds them.
pub(super) async fn data_systems(aws: &Aws, config: &Config, show: &mut Show) -> Result<(), Failure> {
    let rds = aws.rds(PRIMARY).await.map_err(|error| Failure::from_error(&error))?;
    let key = key(&aws.kms(PRIMARY).await.map_err(|error| Failure::from_error(&error))?, None).await?;
    for wanted in &SYSTEMS {
        if instance(&rds, wanted.name).await?.is_some() {
            continue;
        }
        let production = wanted.instance == "production";
        let create = rds
            .create_db_instance()
            .db_instance_identifier(wanted.name)
            .engine(wanted.engine)
            .db_instance_class(wanted.class)
            .allocated_storage(wanted.storage_gb)
            .storage_type("gp3")
            .master_username("dave_admin")
            // AWS gives no read replica to an instance whose password Secrets Manager keeps.
            .set_manage_master_user_password((!production).then_some(true))
            .set_master_user_password(production.then(|| SystemClock.new_id()))
            .vpc_security_group_ids("sg-0123456789abcdef0")
            .multi_az(production)
            .backup_retention_period(if production { 7 } else { 1 })
            .deletion_protection(production)
            .copy_tags_to_snapshot(true)
            .storage_encrypted(wanted.encrypted)
            .set_kms_key_id(wanted.encrypted.then(|| key.clone()))
            .set_tags(Some(tags(config, wanted.instance)));
        create.send().await.map_err(|error| Failure::from_error(&error))?;
    }
    replica(aws, config, &rds, show).await
}

async fn replica(aws: &Aws, config: &Config, rds: &aws_sdk_rds::Client, show: &mut Show) -> Result<(), Failure> {
    let away = aws.rds(RECOVERY).await.map_err(|error| Failure::from_error(&error))?;
    if instance(&away, REPLICA).await?.is_some_and(|copy| is_available(&copy)) {
        return Ok(());
    }
    let production = loop {
        match instance(rds, "dave-production").await? {
            Some(production) if is_available(&production) => break production,
            Some(_) | None => SystemClock.sleep(LOOK).await,
        }
    };
    if instance(&away, REPLICA).await?.is_none() {
        show.line("its production system gets its copy in the other region");
        let key = key(&aws.kms(RECOVERY).await.map_err(|error| Failure::from_error(&error))?, None).await?;
        let create = away
            .create_db_instance_read_replica()
            .db_instance_identifier(REPLICA)
            .source_db_instance_identifier(production.db_instance_arn.unwrap_or_default())
            .db_instance_class("db.r6g.xlarge")
            .kms_key_id(key)
            .set_tags(Some(tags(config, "production")));
        create.send().await.map_err(|error| Failure::from_error(&error))?;
    }
    while !instance(&away, REPLICA).await?.is_none_or(|copy| is_available(&copy)) {
        SystemClock.sleep(LOOK).await;
    }
    Ok(())
}

fn tags(config: &Config, instance: &str) -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    vec![tag(&config.aws.enterprise_tag, ENTERPRISE), tag(&config.aws.instance_tag, instance), tag("team", "payroll")]
}

async fn instance(rds: &aws_sdk_rds::Client, name: &str) -> Result<Option<DbInstance>, Failure> {
    match rds.describe_db_instances().db_instance_identifier(name).send().await {
        Ok(found) => Ok(found.db_instances.unwrap_or_default().into_iter().next()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_db_instance_not_found_fault()) => Ok(None),
        Err(error) => Err(Failure::from_error(&error)),
    }
}

fn is_available(instance: &DbInstance) -> bool {
    instance.db_instance_status.as_deref() == Some("available")
}

/// The demo's key behind this client, made when there is none yet: with a policy for a customer's, without for the
/// vendor's own.
pub(super) async fn key(kms: &aws_sdk_kms::Client, policy: Option<&str>) -> Result<String, Failure> {
    let mut pages = kms.list_keys().into_paginator().items().send();
    while let Some(listed) = pages.next().await {
        let listed = listed.map_err(|error| Failure::from_error(&error))?;
        let (Some(id), Some(arn)) = (listed.key_id, listed.key_arn) else { continue };
        let Ok(tags) = kms.list_resource_tags().key_id(id).send().await else { continue };
        if tags.tags().iter().any(|tag| tag.tag_key == MARK) {
            return Ok(arn);
        }
    }
    let mark =
        KeyTag::builder().tag_key(MARK).tag_value(ENTERPRISE).build().map_err(|error| Failure::from_error(&error))?;
    let made = kms.create_key().set_policy(policy.map(str::to_owned)).tags(mark).send().await;
    let made = made.map_err(|error| Failure::from_error(&error))?;
    made.key_metadata
        .and_then(|metadata| metadata.arn)
        .ok_or_else(|| Failure::Failed("KMS made a key without an ARN".to_owned()))
}

/// KMS as the customer's administrator.
pub(super) async fn customer(aws: &Aws, region: &str) -> aws_sdk_kms::Client {
    let role = format!("arn:aws:iam::{CUSTOMER}:role/administrator");
    kms_client(&aws.assumed(&role, region).await, region)
}
