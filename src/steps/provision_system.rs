//! Provisions a fresh, encrypted data system for an instance that has none yet.
//!
//! Takes `fresh` (`id`, `instance`, `region`), the keys, the plan and a `template` (`engine`, `class`, `storage_gb`,
//! `multi_az`, `retention_days`) from the definition. The master password is RDS's own, in a secret under the same key:
//! none passes through here. Effect: one instance. Again: it is found by name. Fails with `Keyferry.NoPlan` for a system that
//! the run's inventory does not miss.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, input, require_ours, settled},
    recorded::is_missing,
};
use crate::{
    aws::{failure, once},
    keys::KeySet,
    systems,
    worker::{Progress, Step, StepContext, StepError},
};

pub struct ProvisionSystem(pub Domain);

#[derive(Deserialize)]
struct Input {
    fresh: Fresh,
    keys: KeySet,
    template: Template,
}

#[derive(Deserialize)]
struct Fresh {
    id: String,
    instance: String,
    region: String,
}

#[derive(Deserialize)]
struct Template {
    engine: String,
    class: String,
    storage_gb: i32,
    #[serde(default)]
    multi_az: bool,
    retention_days: i32,
}

#[async_trait]
impl Step for ProvisionSystem {
    fn name(&self) -> &'static str {
        "provision-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { fresh, keys, template } = input(self.name(), value.clone())?;
        is_missing(context, &value["fresh"]).await?;
        let key = keys.expected(&fresh.instance, &fresh.region).ok_or_else(|| {
            let cause = format!(
                "{} needs a key in {}: the region was not chosen, or {} has keys of its own and none there",
                fresh.id, fresh.region, fresh.instance
            );
            StepError::new("Keyferry.OutsidePlan", cause)
        })?;
        let owner = self.0.owner(context);
        let rds = self.0.aws.rds(&fresh.region).await?;
        if let Some(found) = systems::instance(&rds, &fresh.id).await? {
            require_ours(&owner, &systems::of_instance(&found), &format!("instance {}", fresh.id))?;
            return match settled(&found)? {
                Wait::For(what) => Ok(self.0.pending(what)),
                Wait::Ready(()) if found.kms_key_id() == Some(key) => {
                    Ok(Progress::done(json!({ "system": fresh.id, "region": fresh.region, "key": key })))
                }
                Wait::Ready(()) => {
                    let cause =
                        format!("instance {} is under {:?}, has to be under {key}", fresh.id, found.kms_key_id());
                    Err(StepError::new("Keyferry.Mismatch", cause))
                }
            };
        }
        let mut tags = owner.tags("new");
        tags.insert(self.0.config.aws.instance_tag.clone(), fresh.instance.clone());
        let call = rds
            .create_db_instance()
            .db_instance_identifier(&fresh.id)
            .engine(&template.engine)
            .db_instance_class(&template.class)
            .allocated_storage(template.storage_gb)
            .multi_az(template.multi_az)
            .backup_retention_period(template.retention_days)
            .storage_encrypted(true)
            .kms_key_id(key)
            .master_username("keyferry")
            .manage_master_user_password(true)
            .master_user_secret_kms_key_id(key)
            .publicly_accessible(false)
            .deletion_protection(true)
            .copy_tags_to_snapshot(true)
            .set_tags(Some(systems::sdk(&tags)));
        let tried = format!("create instance {}", fresh.id);
        match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
            Err(failure) if failure.error != "Keyferry.Foreign" => Err(failure.into()),
            Ok(_) | Err(_) => Ok(self.0.pending(format!("RDS: {} is created", fresh.id))),
        }
    }
}
