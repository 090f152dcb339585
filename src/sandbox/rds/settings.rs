//! The parameters that RDS keeps and describes but that decide nothing here: which parameter becomes which member.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::AwsError;
use super::engines::Version;
use super::error::invalid_combination;
use super::ids::Place;
use super::params::{Params, list_of};

/// Members by name, as described.
pub type Settings = BTreeMap<String, Value>;

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
}

/// (parameter, member, kind). Instances and clusters share the table: a parameter that an operation does not have is
/// refused by the client's own model before it is sent.
const SETTINGS: &[(&str, &str, Kind)] = &[
    ("AutoMinorVersionUpgrade", "AutoMinorVersionUpgrade", Kind::Flag),
    ("BackupTarget", "BackupTarget", Kind::Text),
    ("BacktrackWindow", "BacktrackWindow", Kind::Number),
    ("CACertificateIdentifier", "CACertificateIdentifier", Kind::Text),
    ("CharacterSetName", "CharacterSetName", Kind::Text),
    ("ClusterScalabilityType", "ClusterScalabilityType", Kind::Text),
    ("CopyTagsToSnapshot", "CopyTagsToSnapshot", Kind::Flag),
    ("CustomIamInstanceProfile", "CustomIamInstanceProfile", Kind::Text),
    ("DBSystemId", "DBSystemId", Kind::Text),
    ("DatabaseInsightsMode", "DatabaseInsightsMode", Kind::Text),
    ("DedicatedLogVolume", "DedicatedLogVolume", Kind::Flag),
    ("EnableCustomerOwnedIp", "CustomerOwnedIpEnabled", Kind::Flag),
    ("EnableHttpEndpoint", "HttpEndpointEnabled", Kind::Flag),
    ("EnableIAMDatabaseAuthentication", "IAMDatabaseAuthenticationEnabled", Kind::Flag),
    ("EnablePerformanceInsights", "PerformanceInsightsEnabled", Kind::Flag),
    ("EngineLifecycleSupport", "EngineLifecycleSupport", Kind::Text),
    ("EngineMode", "EngineMode", Kind::Text),
    ("Iops", "Iops", Kind::Number),
    ("LicenseModel", "LicenseModel", Kind::Text),
    ("MaxAllocatedStorage", "MaxAllocatedStorage", Kind::Number),
    ("MonitoringInterval", "MonitoringInterval", Kind::Number),
    ("MonitoringRoleArn", "MonitoringRoleArn", Kind::Text),
    ("MultiTenant", "MultiTenant", Kind::Flag),
    ("NcharCharacterSetName", "NcharCharacterSetName", Kind::Text),
    ("NetworkType", "NetworkType", Kind::Text),
    ("PerformanceInsightsKMSKeyId", "PerformanceInsightsKMSKeyId", Kind::Text),
    ("PerformanceInsightsRetentionPeriod", "PerformanceInsightsRetentionPeriod", Kind::Number),
    ("PromotionTier", "PromotionTier", Kind::Number),
    ("PubliclyAccessible", "PubliclyAccessible", Kind::Flag),
    ("ReplicaMode", "ReplicaMode", Kind::Text),
    ("StorageThroughput", "StorageThroughput", Kind::Number),
    ("StorageType", "StorageType", Kind::Text),
    ("TdeCredentialArn", "TdeCredentialArn", Kind::Text),
    ("Timezone", "Timezone", Kind::Text),
];

/// What a snapshot does not carry over to an instance that is restored from it, so that the default bites.
const NOT_RESTORED: &[&str] = &[
    "CopyTagsToSnapshot",
    "DatabaseInsightsMode",
    "EnabledCloudwatchLogsExports",
    "EngineLifecycleSupport",
    "MasterUserSecret",
    "MonitoringInterval",
    "MonitoringRoleArn",
    "PerformanceInsightsEnabled",
    "PerformanceInsightsKMSKeyId",
    "PerformanceInsightsRetentionPeriod",
    "PreferredMaintenanceWindow",
    "PubliclyAccessible",
    "PromotionTier",
    "ReplicaMode",
    "DomainMemberships",
];

/// A fresh instance's members.
pub fn defaults(version: &Version, place: &Place) -> Settings {
    let mut settings = network_defaults(place);
    settings.insert("LicenseModel".to_owned(), json!(version.engine.license));
    if version.engine.name.starts_with("oracle-") {
        settings.insert("CharacterSetName".to_owned(), json!("AL32UTF8"));
    }
    settings
}

/// The members of an instance restored from `source`'s settings: what the snapshot carries, defaults for the rest.
pub fn restored(source: &Settings, place: &Place) -> Settings {
    let mut settings = network_defaults(place);
    for (member, value) in source.iter().filter(|(member, _)| !NOT_RESTORED.contains(&member.as_str())) {
        settings.insert(member.clone(), value.clone());
    }
    settings
}

fn network_defaults(place: &Place) -> Settings {
    let hour = u8::from_str_radix(&place.digest("window")[..2], 16).unwrap_or_default() % 24;
    let text = [
        ("BackupTarget", "region".to_owned()),
        ("CACertificateIdentifier", "rds-ca-rsa2048-g1".to_owned()),
        ("EngineLifecycleSupport", "open-source-rds-extended-support".to_owned()),
        ("NetworkType", "IPV4".to_owned()),
        ("PreferredBackupWindow", format!("{hour:02}:10-{hour:02}:40")),
        ("PreferredMaintenanceWindow", format!("sun:{:02}:15-sun:{:02}:45", (hour + 3) % 24, (hour + 3) % 24)),
    ];
    let flags = [
        ("AutoMinorVersionUpgrade", true),
        ("CopyTagsToSnapshot", false),
        ("CustomerOwnedIpEnabled", false),
        ("DedicatedLogVolume", false),
        ("IAMDatabaseAuthenticationEnabled", false),
        ("PerformanceInsightsEnabled", false),
        ("PubliclyAccessible", false),
    ];
    let mut settings: Settings = text.into_iter().map(|(member, value)| (member.to_owned(), json!(value))).collect();
    settings.extend(flags.into_iter().map(|(member, value)| (member.to_owned(), json!(value))));
    settings.insert("MonitoringInterval".to_owned(), json!(0));
    settings
}

/// Lays a call's parameters over `settings`.
///
/// # Errors
/// `InvalidParameterValue`: a number or flag that is none.
pub fn overlay(p: &Params<'_>, settings: &mut Settings) -> Result<(), AwsError> {
    for (parameter, member, kind) in SETTINGS {
        let value = match kind {
            Kind::Text => p.text(parameter).map(|text| json!(text)),
            Kind::Number => p.number(parameter)?.map(|number| json!(number)),
            Kind::Flag => p.flag(parameter)?.map(|flag| json!(flag)),
        };
        if let Some(value) = value {
            settings.insert((*member).to_owned(), value);
        }
    }
    overlay_logs(p, settings);
    if let Some(domain) = p.text("Domain") {
        let membership = json!({
            "Domain": domain, "Status": "joined", "IAMRoleName": p.text("DomainIAMRoleName"),
            "FQDN": p.text("DomainFqdn"), "OU": p.text("DomainOu"), "AuthSecretArn": p.text("DomainAuthSecretArn"),
        });
        settings.insert("DomainMemberships".to_owned(), list_of("DomainMembership", vec![membership]));
    }
    let features: Vec<Value> = p
        .structures("ProcessorFeatures")
        .iter()
        .map(|feature| json!({ "Name": feature.text("Name"), "Value": feature.text("Value") }))
        .collect();
    if !features.is_empty() {
        settings.insert("ProcessorFeatures".to_owned(), list_of("ProcessorFeature", features));
    }
    if let Some(scaling) = p.structure("ServerlessV2ScalingConfiguration") {
        settings.insert("ServerlessV2ScalingConfiguration".to_owned(), scaling.0.clone());
    }
    Ok(())
}

fn overlay_logs(p: &Params<'_>, settings: &mut Settings) {
    const MEMBER: &str = "EnabledCloudwatchLogsExports";
    let mut logs = p.list("EnableCloudwatchLogsExports");
    if let Some(change) = p.structure("CloudwatchLogsExportConfiguration") {
        let mut now: Vec<&str> = log_types(settings.get(MEMBER));
        let off = change.list("DisableLogTypes").unwrap_or_default();
        now.retain(|log| !off.contains(log));
        now.extend(change.list("EnableLogTypes").unwrap_or_default());
        now.sort_unstable();
        now.dedup();
        let kept: Vec<Value> = now.into_iter().map(|log| json!(log)).collect();
        settings.insert(MEMBER.to_owned(), list_of("member", kept));
        return;
    }
    if let Some(logs) = logs.take() {
        let logs = logs.into_iter().map(|log| json!(log)).collect();
        settings.insert(MEMBER.to_owned(), list_of("member", logs));
    }
}

fn log_types(list: Option<&Value>) -> Vec<&str> {
    let items = list.and_then(|list| list.get("items")).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Days for which the advanced mode of Database Insights has Performance Insights kept.
const ADVANCED_DAYS: i64 = 465;

/// # Errors
/// `InvalidParameterCombination`: the advanced mode of Database Insights without what AWS has it stand on.
pub fn insights(settings: &Settings) -> Result<(), AwsError> {
    let days = number(settings, "PerformanceInsightsRetentionPeriod").unwrap_or_default();
    let stands = flag(settings, "PerformanceInsightsEnabled") && days >= ADVANCED_DAYS;
    if text(settings, "DatabaseInsightsMode") != Some("advanced") || stands {
        return Ok(());
    }
    Err(invalid_combination(format!(
        "To enable the Advanced mode of Database Insights, enable Performance Insights and set the retention period for \
         Performance Insights to at least {ADVANCED_DAYS} days."
    )))
}

/// A text member.
pub fn text<'a>(settings: &'a Settings, member: &str) -> Option<&'a str> {
    settings.get(member).and_then(Value::as_str)
}

/// A number member.
pub fn number(settings: &Settings, member: &str) -> Option<i64> {
    settings.get(member).and_then(Value::as_i64)
}

/// A flag member; absent is off.
pub fn flag(settings: &Settings, member: &str) -> bool {
    settings.get(member).and_then(Value::as_bool).unwrap_or(false)
}
