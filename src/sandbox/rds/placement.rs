//! Where and how an instance is to run: the parameters that create, restore, replicate and point-in-time recovery share.

use super::super::AwsError;
use super::content::Content;
use super::context::Context;
use super::engines::{self, Version};
use super::error::{fault, invalid_combination};
use super::params::Tags;
use super::rows::{GroupBody, Instance};
use super::settings;
use super::{secrets, shape, validate, windows};

/// What an account may have in a region, of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    pub instances: usize,
    pub clusters: usize,
    pub snapshots: usize,
    pub storage_gb: i64,
}

impl Default for Quotas {
    /// As AWS sets them for a new account.
    fn default() -> Self {
        Self { instances: 40, clusters: 40, snapshots: 100, storage_gb: 100_000 }
    }
}

impl Quotas {
    /// As AWS raises them when it is asked to: so many times the first ones.
    pub fn raised(self, times: u16) -> Self {
        let many = usize::from(times);
        Self {
            instances: self.instances * many,
            clusters: self.clusters * many,
            snapshots: self.snapshots * many,
            storage_gb: self.storage_gb * i64::from(times),
        }
    }
}

/// A fresh instance of an engine with every default of AWS.
pub fn fresh(cx: &Context<'_>, id: String, class: String, version: &Version) -> Instance {
    Instance {
        place: cx.place.clone(),
        id,
        resource_id: String::new(),
        created_at: cx.now,
        status: "creating".to_owned(),
        plan: Vec::new(),
        class,
        engine: version.engine.name.to_owned(),
        engine_version: version.full.clone(),
        gb: 0,
        username: None,
        db_name: None,
        port: version.engine.port,
        retention_days: 1,
        deletion_protection: false,
        multi_az: false,
        zone: cx.place.zone(0),
        subnet_group: "default".to_owned(),
        security_groups: vec![cx.place.default_security_group()],
        parameter_group: version.default_parameter_group(),
        parameter_status: "in-sync".to_owned(),
        option_group: version.default_option_group(),
        kms: None,
        cluster: None,
        replica_of: None,
        settings: settings::defaults(version, &cx.place),
        pending: std::collections::BTreeMap::new(),
        tags: Tags::new(),
        content: Content::default(),
        last_backup: None,
        key_lost_at: None,
    }
}

/// Lays what the call asks for over `row`, checking each against the engine's version and the groups that exist.
///
/// # Errors
/// The parameter that cannot be.
pub fn overlay(cx: &mut Context<'_>, row: &mut Instance, version: &Version) -> Result<(), AwsError> {
    let p = cx.p;
    if let Some(class) = p.text("DBInstanceClass") {
        row.class = validate::class(class)?;
    }
    if let Some(port) = p.number("Port")? {
        row.port = self::port(port)?;
    }
    if let Some(multi_az) = p.flag("MultiAZ")? {
        row.multi_az = multi_az;
    }
    if row.multi_az && p.text("AvailabilityZone").is_some() {
        return Err(invalid_combination(
            "Requesting a specific availability zone is not valid for Multi-AZ instances.",
        ));
    }
    if let Some(zone) = p.text("AvailabilityZone") {
        row.zone = validate::zone(&row.place, Some(zone))?;
    }
    if let Some(name) = p.text("DBSubnetGroupName") {
        row.subnet_group = subnet_group(cx, name)?;
    }
    if let Some(groups) = validate::security_groups(&p)? {
        row.security_groups = groups;
    }
    if let Some(name) = p.text("DBParameterGroupName") {
        row.parameter_group = parameter_group(cx, name, version)?;
    }
    if let Some(name) = p.text("OptionGroupName") {
        row.option_group = option_group(cx, name, version)?;
    }
    if let Some(on) = p.flag("DeletionProtection")? {
        row.deletion_protection = on;
    }
    if let Some(days) = p.number("BackupRetentionPeriod")? {
        row.retention_days = validate::retention(days)?;
    }
    windows::choose(&p, &mut row.settings)?;
    settings::overlay(&p, &mut row.settings)?;
    settings::insights(&row.settings)?;
    secrets::overlay(cx, row)?;
    row.tags.extend(p.tags()?);
    Ok(())
}

/// # Errors
/// `InvalidParameterValue`: not 1150 to 65535.
pub fn port(port: i64) -> Result<i64, AwsError> {
    if (1150..=65535).contains(&port) {
        return Ok(port);
    }
    Err(super::error::invalid_value(format!("Invalid database port: {port}. It must be between 1150 and 65535.")))
}

/// # Errors
/// `DBSubnetGroupNotFoundFault`.
pub fn subnet_group(cx: &Context<'_>, name: &str) -> Result<String, AwsError> {
    let name = name.to_lowercase();
    if name == "default" || cx.state.groups.contains(&cx.place.arn("subgrp", &name)) {
        return Ok(name);
    }
    Err(fault("DBSubnetGroupNotFoundFault", format!("DB subnet group '{name}' does not exist.")))
}

/// # Errors
/// `DBParameterGroupNotFound`, or a family that is not the version's.
pub fn parameter_group(cx: &Context<'_>, name: &str, version: &Version) -> Result<String, AwsError> {
    let name = name.to_lowercase();
    if let Some(family) = name.strip_prefix("default.") {
        validate::family(&name, family, version)?;
        return Ok(name);
    }
    match cx.state.groups.get(&cx.place.arn("pg", &name)).map(|group| &group.body) {
        Some(GroupBody::Parameters { family, .. }) => validate::family(&name, family, version)?,
        _ => return Err(fault("DBParameterGroupNotFound", format!("DBParameterGroup not found: {name}"))),
    }
    Ok(name)
}

/// # Errors
/// `DBClusterParameterGroupNotFound`, or a family that is not the version's.
pub fn cluster_parameter_group(cx: &Context<'_>, name: &str, version: &Version) -> Result<String, AwsError> {
    let name = name.to_lowercase();
    if let Some(family) = name.strip_prefix("default.") {
        validate::family(&name, family, version)?;
        return Ok(name);
    }
    match cx.state.groups.get(&cx.place.arn("cluster-pg", &name)).map(|group| &group.body) {
        Some(GroupBody::ClusterParameters { family, .. }) => validate::family(&name, family, version)?,
        _ => {
            return Err(fault("DBClusterParameterGroupNotFound", format!("DBClusterParameterGroup not found: {name}")));
        }
    }
    Ok(name)
}

/// # Errors
/// `OptionGroupNotFoundFault`, or a group of another engine or major version.
pub fn option_group(cx: &Context<'_>, name: &str, version: &Version) -> Result<String, AwsError> {
    let name = name.to_lowercase();
    if name == version.default_option_group() {
        return Ok(name);
    }
    match cx.state.groups.get(&cx.place.arn("og", &name)).map(|group| &group.body) {
        Some(GroupBody::Options { engine, major }) if engine == version.engine.name && major == version.major => {
            Ok(name)
        }
        Some(GroupBody::Options { engine, major }) => Err(invalid_combination(format!(
            "The option group {name} is for {engine} {major} and can't be used for {} {}",
            version.engine.name, version.major
        ))),
        _ => Err(fault("OptionGroupNotFoundFault", format!("Specified OptionGroupName: {name} not found."))),
    }
}

/// # Errors
/// `InvalidParameterCombination`: the region does not offer the class.
pub fn offered(cx: &Context<'_>, engine: &str, class: &str) -> Result<(), AwsError> {
    if cx.state.offers(&cx.place.region, class) {
        return Ok(());
    }
    Err(invalid_combination(format!(
        "RDS does not support creating a DB instance with the following combination: DBInstanceClass={class}, \
         Engine={engine}. For supported combinations of instance class and database engine version, see the documentation."
    )))
}

/// Whether the account may have another instance of `gb` in this region.
///
/// # Errors
/// `InstanceQuotaExceeded`, `StorageQuotaExceeded`.
pub fn within_quota(cx: &Context<'_>, instances: usize, gb: i64) -> Result<(), AwsError> {
    let most = cx.state.quotas;
    if cx.instances().count() + instances > most.instances {
        let text = format!("Cannot create more than {} DB instances", most.instances);
        return Err(fault("InstanceQuotaExceeded", text));
    }
    if cx.instances().map(|row| row.gb).sum::<i64>() + gb > most.storage_gb {
        let text = format!("Cannot allocate more than {} GB of storage", most.storage_gb);
        return Err(fault("StorageQuotaExceeded", text));
    }
    Ok(())
}

/// The version of a stored row.
///
/// # Errors
/// `InvalidParameterCombination`: never for a row that was checked when it was made.
pub fn version_of(engine: &str, version: &str) -> Result<Version, AwsError> {
    engines::engine(engine)?.version(Some(version))
}

/// Puts a new or changed instance into the table and answers it as described.
pub fn admit(cx: &mut Context<'_>, row: Instance, what: &str) -> super::super::Answer {
    let body = shape::instance(cx.state, &row, cx.now);
    let arn = row.arn();
    cx.state.instances.insert(arn.clone(), row);
    super::context::changed("DBInstance", body, arn, what)
}
