//! What a system was at its freeze: the description that its successor is restored by and judged against.
//!
//! An inventory is taken days before a window, and people go on working: they raise a class, open a port, protect an
//! instance from deletion, and RDS lets the storage grow. So a system is described again just before it is taken out of
//! service. The record under its resource id is written before anything is changed, and once more when the system is
//! frozen; whoever restores, verifies, swaps or puts back reads it and never the inventory.

use std::collections::BTreeMap;

use aws_sdk_rds::types::DbInstance;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::model::{Settings, System};

/// The collection of these records; the key is the system's resource id.
pub const FREEZE: &str = "freeze";

/// The version of the record's shape.
const VERSION: u32 = 1;

/// A system as it was at its freeze.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    pub version: u32,
    /// The run that takes it out of service, and which of the run's windows it was.
    pub run: String,
    pub attempt: u64,
    pub system: String,
    pub region: String,
    pub resource_id: String,
    pub recorded_at: DateTime<Utc>,
    /// The security groups are those that it had before it was closed.
    pub settings: Settings,
    /// The ARN of the secret that RDS keeps its master password in.
    #[serde(default)]
    pub secret: Option<String>,
    /// Regions that its automated backups are replicated to, and for how many days they are kept there.
    #[serde(default)]
    pub replications: BTreeMap<String, i32>,
    /// The security group that lets nobody in and that it is given before it is renamed.
    #[serde(default)]
    pub closing_group: Option<String>,
    /// What is known of clients that go on writing after the rename.
    #[serde(default)]
    pub writers: Writers,
}

/// What keeps the clients of a frozen system from writing to it by an address that they have kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writers {
    /// A security group that lets nobody in.
    Fenced,
    /// Whoever agreed on the window said that they are stopped.
    SaidToBeStopped,
    /// It is a read replica: what it holds comes from its source.
    ReadOnly,
    #[default]
    NotProven,
}

impl Frozen {
    /// A description of `instance`, which is `system` under whichever name, as it is now.
    pub fn of(instance: &DbInstance, system: &System, (run, attempt): (&str, u64), at: DateTime<Utc>) -> Self {
        Self {
            version: VERSION,
            run: run.to_owned(),
            attempt,
            system: system.id.clone(),
            region: system.region.clone(),
            resource_id: system.resource_id.clone(),
            recorded_at: at,
            settings: Settings::of(instance),
            secret: secret(instance).map(str::to_owned),
            replications: BTreeMap::new(),
            closing_group: None,
            writers: Writers::default(),
        }
    }
}

/// The ARN of the secret that RDS keeps an instance's master password in.
pub fn secret(instance: &DbInstance) -> Option<&str> {
    instance.master_user_secret().and_then(|secret| secret.secret_arn())
}

/// What of an instance a restore would silently lose, as a sentence's end; nothing when all of it can be carried over.
pub fn unsupported(instance: &DbInstance) -> Option<String> {
    let there = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    let stream = instance.activity_stream_status().is_some_and(|status| status.as_str() != "stopped");
    let engine = instance.engine().unwrap_or_default();
    let reasons = [
        (!instance.associated_roles().is_empty(), "has associated roles"),
        (!instance.domain_memberships().is_empty(), "is joined to a directory"),
        (there(instance.tde_credential_arn()), "has a TDE credential"),
        (there(instance.db_cluster_identifier()), "is a member of a cluster"),
        (stream, "has a database activity stream"),
        (engine.starts_with("custom-"), "is an instance of RDS Custom"),
        (instance.backup_target() == Some("outposts"), "stands on an outpost"),
        (!instance.additional_storage_volumes().is_empty(), "has additional storage volumes"),
    ];
    reasons.iter().find(|(there, _)| *there).map(|(_, reason)| (*reason).to_owned())
}

/// Changes that wait for an instance's own maintenance window, by name. A restore would not know of them.
pub fn waiting_changes(instance: &DbInstance) -> Vec<&'static str> {
    let Some(pending) = instance.pending_modified_values() else { return Vec::new() };
    let members = [
        (pending.db_instance_class.is_some(), "class"),
        (pending.allocated_storage.is_some(), "storage"),
        (pending.storage_type.is_some(), "storage type"),
        (pending.iops.is_some(), "IOPS"),
        (pending.storage_throughput.is_some(), "throughput"),
        (pending.master_user_password.is_some(), "master password"),
        (pending.port.is_some(), "port"),
        (pending.backup_retention_period.is_some(), "retention"),
        (pending.multi_az.is_some(), "Multi-AZ"),
        (pending.engine_version.is_some(), "engine version"),
        (pending.license_model.is_some(), "license model"),
        (pending.db_instance_identifier.is_some(), "name"),
        (pending.ca_certificate_identifier.is_some(), "CA"),
        (pending.db_subnet_group_name.is_some(), "subnet group"),
        (pending.processor_features.is_some(), "processor features"),
        (pending.multi_tenant.is_some(), "multi-tenancy"),
        (pending.iam_database_authentication_enabled.is_some(), "IAM authentication"),
        (pending.dedicated_log_volume.is_some(), "dedicated log volume"),
        (pending.engine.is_some(), "engine"),
    ];
    members.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::types::PendingModifiedValues;

    use super::*;

    #[test]
    fn a_record_without_the_later_members_is_read() {
        let instance = DbInstance::builder().build();
        let system = System::of(&instance, "us-west-2", "instance");
        let frozen = Frozen::of(&instance, &system, ("run-1", 1), DateTime::UNIX_EPOCH);
        let mut body = serde_json::to_value(&frozen).unwrap();
        for member in ["secret", "replications", "closing_group", "writers"] {
            body.as_object_mut().unwrap().remove(member);
        }
        assert_eq!(serde_json::from_value::<Frozen>(body).unwrap(), frozen);
    }

    #[test]
    fn changes_that_wait_are_named() {
        assert_eq!(waiting_changes(&DbInstance::builder().build()), Vec::<&str>::new());
        let pending = PendingModifiedValues::builder().db_instance_class("db.r6g.large").multi_az(true).build();
        let instance = DbInstance::builder().pending_modified_values(pending).build();
        assert_eq!(waiting_changes(&instance), ["class", "Multi-AZ"]);
    }
}
