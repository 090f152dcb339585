//! A data system, described whole: what it is, where, under which key, and every setting that a restore has to bring back.

use std::collections::BTreeMap;

use aws_sdk_rds::types::DbInstance;
use serde::{Deserialize, Serialize};

use super::tags::{self, Tags};

/// A data system of an enterprise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct System {
    pub id: String,
    pub arn: String,
    pub region: String,
    /// `production`, `sandbox`, `development`, …
    pub instance: String,
    /// AWS's own id, which a rename does not change.
    pub resource_id: String,
    /// The key it is under; none when it is not encrypted.
    pub key: Option<String>,
    /// The name or ARN of what it replicates.
    pub replica_of: Option<String>,
    /// Whether a copy of it has to be kept in the region of disaster recovery.
    #[serde(default)]
    pub recovery: bool,
    pub settings: Settings,
}

/// What an instance was given. Lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub class: String,
    pub engine: String,
    pub engine_version: String,
    pub license_model: Option<String>,
    pub master_username: Option<String>,
    pub db_name: Option<String>,
    pub port: Option<i32>,
    pub storage_gb: i32,
    pub storage_type: Option<String>,
    pub iops: Option<i32>,
    pub throughput: Option<i32>,
    pub max_storage_gb: Option<i32>,
    pub dedicated_log_volume: bool,
    pub multi_az: bool,
    pub subnet_group: Option<String>,
    pub security_groups: Vec<String>,
    pub parameter_group: Option<String>,
    pub option_group: Option<String>,
    pub network_type: Option<String>,
    pub publicly_accessible: bool,
    pub retention_days: i32,
    pub backup_window: Option<String>,
    pub maintenance_window: Option<String>,
    pub auto_minor_upgrade: bool,
    pub deletion_protection: bool,
    pub iam_authentication: bool,
    pub managed_password: bool,
    pub log_exports: Vec<String>,
    pub ca: Option<String>,
    pub copy_tags: bool,
    pub monitoring_interval: i32,
    pub monitoring_role: Option<String>,
    pub performance_insights: bool,
    pub performance_insights_days: Option<i32>,
    pub insights_mode: Option<String>,
    /// Of MySQL and PostgreSQL: whether it runs on after its version's end in support that is paid for.
    #[serde(default)]
    pub lifecycle_support: Option<String>,
    /// Cores and threads a core, where they are not the class's own.
    #[serde(default)]
    pub processor_features: BTreeMap<String, String>,
    /// Of Oracle's replicas: `open-read-only` or `mounted`.
    #[serde(default)]
    pub replica_mode: Option<String>,
    pub tags: Tags,
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn sorted(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut items: Vec<String> = items.collect();
    items.sort();
    items
}

fn features(instance: &DbInstance) -> BTreeMap<String, String> {
    let pairs = instance.processor_features().iter();
    pairs.filter_map(|feature| Some((owned(feature.name())?, owned(feature.value())?))).collect()
}

impl Settings {
    /// An instance's settings as AWS describes them now.
    pub fn of(instance: &DbInstance) -> Self {
        let security = instance.vpc_security_groups().iter();
        let performance_insights = instance.performance_insights_enabled().unwrap_or_default();
        Self {
            class: instance.db_instance_class().unwrap_or_default().to_owned(),
            engine: instance.engine().unwrap_or_default().to_owned(),
            engine_version: instance.engine_version().unwrap_or_default().to_owned(),
            license_model: owned(instance.license_model()),
            master_username: owned(instance.master_username()),
            db_name: owned(instance.db_name()),
            port: instance.endpoint().and_then(|endpoint| endpoint.port()).or(instance.db_instance_port()),
            storage_gb: instance.allocated_storage().unwrap_or_default(),
            storage_type: owned(instance.storage_type()),
            iops: instance.iops(),
            throughput: instance.storage_throughput(),
            max_storage_gb: instance.max_allocated_storage(),
            dedicated_log_volume: instance.dedicated_log_volume().unwrap_or_default(),
            multi_az: instance.multi_az().unwrap_or_default(),
            subnet_group: owned(instance.db_subnet_group().and_then(|group| group.db_subnet_group_name())),
            security_groups: sorted(security.filter_map(|group| owned(group.vpc_security_group_id()))),
            parameter_group: owned(
                instance.db_parameter_groups().first().and_then(|group| group.db_parameter_group_name()),
            ),
            option_group: owned(
                instance.option_group_memberships().first().and_then(|group| group.option_group_name()),
            ),
            network_type: owned(instance.network_type()),
            publicly_accessible: instance.publicly_accessible().unwrap_or_default(),
            retention_days: instance.backup_retention_period().unwrap_or_default(),
            backup_window: owned(instance.preferred_backup_window()),
            maintenance_window: owned(instance.preferred_maintenance_window()),
            auto_minor_upgrade: instance.auto_minor_version_upgrade().unwrap_or_default(),
            deletion_protection: instance.deletion_protection().unwrap_or_default(),
            iam_authentication: instance.iam_database_authentication_enabled().unwrap_or_default(),
            managed_password: instance.master_user_secret().is_some(),
            log_exports: sorted(instance.enabled_cloudwatch_logs_exports().iter().cloned()),
            ca: owned(instance.ca_certificate_identifier()),
            copy_tags: instance.copy_tags_to_snapshot().unwrap_or_default(),
            monitoring_interval: instance.monitoring_interval().unwrap_or_default(),
            monitoring_role: owned(instance.monitoring_role_arn()),
            performance_insights,
            performance_insights_days: performance_insights
                .then(|| instance.performance_insights_retention_period())
                .flatten(),
            insights_mode: owned(
                instance.database_insights_mode().map(aws_sdk_rds::types::DatabaseInsightsMode::as_str),
            ),
            lifecycle_support: owned(instance.engine_lifecycle_support())
                .filter(|_| matches!(instance.engine(), Some("mysql" | "postgres"))),
            processor_features: features(instance),
            replica_mode: owned(instance.replica_mode().map(aws_sdk_rds::types::ReplicaMode::as_str)),
            tags: tags::read::vendors(&tags::of_instance(instance)),
        }
    }

    /// The parameter group, unless it is the engine's default: that is what an instance gets when none is named.
    pub fn own_parameter_group(&self) -> Option<String> {
        self.parameter_group.clone().filter(|name| !name.starts_with("default."))
    }

    /// The option group, unless it is the engine's default.
    pub fn own_option_group(&self) -> Option<String> {
        self.option_group.clone().filter(|name| !name.starts_with("default:"))
    }

    /// Whether RDS takes over the master password in the restore itself: of Oracle alone, by AWS's model of
    /// RestoreDBInstanceFromDBSnapshot. The others are given a managed password by a change after it.
    pub fn password_managed_at_restore(&self) -> bool {
        self.managed_password && self.engine.starts_with("oracle-")
    }

    /// Whether IOPS and throughput may be asked for: small gp3 volumes have a fixed baseline that AWS describes but does
    /// not take.
    pub fn tunable_storage(&self) -> bool {
        match self.storage_type.as_deref() {
            Some("io1" | "io2") => true,
            Some("gp3") => self.storage_gb >= 400 || self.engine.starts_with("sqlserver-"),
            _ => false,
        }
    }
}

/// The value of a tag, if it is there.
pub fn optional_tag(instance: &DbInstance, key: &str) -> Option<String> {
    instance.tag_list().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| owned(tag.value()))
}

impl System {
    /// A described instance as a data system; `instance_tag` names the tag that says which instance it belongs to.
    pub fn of(instance: &DbInstance, region: &str, instance_tag: &str) -> Self {
        Self {
            id: instance.db_instance_identifier().unwrap_or_default().to_owned(),
            arn: instance.db_instance_arn().unwrap_or_default().to_owned(),
            region: region.to_owned(),
            instance: optional_tag(instance, instance_tag).unwrap_or_else(|| "production".to_owned()),
            resource_id: instance.dbi_resource_id().unwrap_or_default().to_owned(),
            key: instance.storage_encrypted().unwrap_or_default().then(|| owned(instance.kms_key_id())).flatten(),
            replica_of: owned(instance.read_replica_source_db_instance_identifier()),
            recovery: false,
            settings: Settings::of(instance),
        }
    }
}
