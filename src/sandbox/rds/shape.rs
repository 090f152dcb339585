//! How RDS describes what it has: rows as the members of its shapes.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::State;
use super::ids::{Place, base32};
use super::params::{list_of, tag_list};
use super::rows::{Change, Cluster, Group, GroupBody, Instance, Snapshot};
use super::settings::Settings;
use super::timing;

/// A time as RDS writes it: UTC, milliseconds.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Kept members that only a `DBInstance` has.
const INSTANCE_ONLY: &[&str] = &[
    "BackupTarget",
    "CACertificateIdentifier",
    "CustomIamInstanceProfile",
    "CustomerOwnedIpEnabled",
    "DedicatedLogVolume",
    "LicenseModel",
    "MaxAllocatedStorage",
    "MultiTenant",
    "NcharCharacterSetName",
    "ProcessorFeatures",
    "PromotionTier",
    "ReplicaMode",
    "TdeCredentialArn",
    "Timezone",
];

/// Kept members that only a `DBCluster` has.
const CLUSTER_ONLY: &[&str] = &[
    "BacktrackWindow",
    "ClusterScalabilityType",
    "EngineMode",
    "HttpEndpointEnabled",
    "ServerlessV2ScalingConfiguration",
];

fn without(settings: &Settings, names: &[&str]) -> Settings {
    let kept = settings.iter().filter(|(member, _)| !names.contains(&member.as_str()));
    kept.map(|(member, value)| (member.clone(), value.clone())).collect()
}

/// Lays the members of `over` over those of `settings`.
fn with(settings: &Settings, over: Value) -> Value {
    let mut body: Map<String, Value> = settings.iter().map(|(member, value)| (member.clone(), value.clone())).collect();
    if let Value::Object(over) = over {
        body.extend(over);
    }
    Value::Object(body)
}

/// The DNS zone of a region's endpoints.
fn hosted_zone(place: &Place) -> String {
    format!("Z{}", &base32(&place.region)[..13])
}

fn encryption_type(kms: Option<&String>) -> &'static str {
    if kms.is_some() { "sse-kms" } else { "none" }
}

fn security_groups(groups: &[String]) -> Value {
    let member = |id: &String| json!({ "VpcSecurityGroupId": id, "Status": "active" });
    list_of("VpcSecurityGroupMembership", groups.iter().map(member).collect())
}

/// The name by which one resource speaks of another: its identifier in the same place, its ARN elsewhere.
fn spoken(here: &Place, there: &Place, id: &str, arn: String) -> String {
    if here == there { id.to_owned() } else { arn }
}

/// A `DBInstance`.
pub fn instance(state: &State, row: &Instance, now: DateTime<Utc>) -> Value {
    let arn = row.arn();
    let endpoint = (row.status != "creating").then(|| {
        json!({
            "Address": row.address(),
            "Port": row.port,
            "HostedZoneId": hosted_zone(&row.place),
        })
    });
    let replicas = state.instances.iter().filter(|(_, other)| other.replica_of.as_deref() == Some(&arn));
    let replicas =
        replicas.map(|(key, other)| json!(spoken(&row.place, &other.place, &other.id, key.clone()))).collect();
    let source = row.replica_of.as_ref().map(|source| match state.instances.get(source) {
        Some(other) => spoken(&row.place, &other.place, &other.id, source.clone()),
        None => source.clone(),
    });
    let replication = row
        .replica_of
        .as_ref()
        .map(|_| json!({ "StatusType": "read replication", "Normal": true, "Status": "replicating" }));
    let copies = state.backups.iter().filter(|(_, backup)| backup.source_arn == arn && backup.expires_at.is_none());
    let copies = copies.map(|(key, _)| json!({ "DBInstanceAutomatedBackupsArn": key })).collect();
    let restorable = (row.retention_days > 0 && row.cluster.is_none() && row.last_backup.is_some())
        .then(|| time(now - timing::RESTORABLE_LAG));
    let restart = row
        .plan
        .iter()
        .find(|next| row.status == "stopped" && matches!(&next.change, Change::Status(to) if to == "starting"));
    let restart = restart.map(|next| time(next.at));
    let identity = json!({
        "DBInstanceIdentifier": row.id,
        "DBInstanceArn": arn,
        "DbiResourceId": row.resource_id,
        "DBInstanceStatus": row.status,
        "DBInstanceClass": row.class,
        "Engine": row.engine,
        "EngineVersion": row.engine_version,
        "MasterUsername": row.username,
        "DBName": row.db_name,
        "Endpoint": endpoint,
        "DbInstancePort": 0,
        "AutomaticRestartTime": restart,
        "AllocatedStorage": row.gb,
        "InstanceCreateTime": (row.status != "creating").then(|| time(row.created_at)),
        "BackupRetentionPeriod": row.retention_days,
        "LatestRestorableTime": restorable,
        "MultiAZ": row.multi_az,
        "AvailabilityZone": row.zone,
        "SecondaryAvailabilityZone": row.multi_az.then(|| second_zone(row)),
        "DeletionProtection": row.deletion_protection,
        "StorageEncrypted": row.kms.is_some(),
        "StorageEncryptionType": encryption_type(row.kms.as_ref()),
        "KmsKeyId": row.kms,
        "DBClusterIdentifier": row.cluster,
        "ReadReplicaSourceDBInstanceIdentifier": source,
        "ReadReplicaDBInstanceIdentifiers": list_of("ReadReplicaDBInstanceIdentifier", replicas),
        "StatusInfos": replication.map(|info| list_of("DBInstanceStatusInfo", vec![info])),
        "DBInstanceAutomatedBackupsReplications": list_of("DBInstanceAutomatedBackupsReplication", copies),
    });
    let groups = json!({
        "VpcSecurityGroups": security_groups(&row.security_groups),
        "DBSecurityGroups": list_of("DBSecurityGroup", Vec::new()),
        "DBParameterGroups": list_of("DBParameterGroup", vec![json!({
            "DBParameterGroupName": row.parameter_group, "ParameterApplyStatus": row.parameter_status,
        })]),
        "OptionGroupMemberships": list_of("OptionGroupMembership", vec![json!({
            "OptionGroupName": row.option_group, "Status": "in-sync",
        })]),
        "DBSubnetGroup": subnet_group(state, &row.place, &row.subnet_group),
        "PendingModifiedValues": json!(row.pending),
        "AssociatedRoles": list_of("DBInstanceRole", Vec::new()),
        "CertificateDetails": json!({
            "CAIdentifier": row.settings.get("CACertificateIdentifier"),
            "ValidTill": time(row.created_at + CERTIFICATE),
        }),
        "IsStorageConfigUpgradeAvailable": false,
        "UpgradeRolloutOrder": "second",
        "ActivityStreamStatus": "stopped",
        "TagList": tag_list(&row.tags),
    });
    let mut settings = without(&row.settings, CLUSTER_ONLY);
    settings.entry("DomainMemberships".to_owned()).or_insert_with(|| list_of("DomainMembership", Vec::new()));
    let mut body = with(&settings, identity);
    if let (Value::Object(body), Value::Object(groups)) = (&mut body, groups) {
        body.extend(groups);
    }
    body
}

/// How long an instance's own certificate is good for.
const CERTIFICATE: TimeDelta = TimeDelta::days(365);

fn second_zone(row: &Instance) -> String {
    let first = (0..3).find(|n| row.place.zone(*n) == row.zone).unwrap_or_default();
    row.place.zone(first + 1)
}

/// A `DBCluster`.
pub fn cluster(state: &State, row: &Cluster, now: DateTime<Utc>) -> Value {
    let suffix = row.place.endpoint_suffix();
    let (own, rest) = suffix.split_once('.').unwrap_or((&suffix, ""));
    let made = row.status != "creating";
    let members: Vec<Value> = state
        .instances
        .iter()
        .filter(|(_, member)| member.place == row.place && member.cluster.as_deref() == Some(&row.id))
        .map(|(_, member)| {
            json!({
                "DBInstanceIdentifier": member.id,
                "IsClusterWriter": row.writer.as_deref() == Some(&member.id),
                "DBClusterParameterGroupStatus": "in-sync",
                "PromotionTier": member.settings.get("PromotionTier").cloned().unwrap_or_else(|| json!(1)),
            })
        })
        .collect();
    let restorable = |at: DateTime<Utc>| (made && row.retention_days > 0).then(|| time(at));
    let mut settings = without(&row.settings, INSTANCE_ONLY);
    settings.entry("DomainMemberships".to_owned()).or_insert_with(|| list_of("DomainMembership", Vec::new()));
    settings.entry("HttpEndpointEnabled".to_owned()).or_insert_with(|| json!(false));
    with(
        &settings,
        json!({
            "DBClusterIdentifier": row.id,
            "DBClusterArn": row.arn(),
            "DbClusterResourceId": row.resource_id,
            "Status": row.status,
            "Engine": row.engine,
            "EngineVersion": row.engine_version,
            "EngineMode": row.settings.get("EngineMode").cloned().unwrap_or_else(|| json!("provisioned")),
            "DBClusterInstanceClass": row.class,
            "AllocatedStorage": row.gb,
            "DatabaseName": row.db_name,
            "MasterUsername": row.username,
            "Port": row.port,
            "HostedZoneId": hosted_zone(&row.place),
            "CrossAccountClone": false,
            "UpgradeRolloutOrder": "second",
            "Endpoint": format!("{}.cluster-{own}.{rest}", row.id),
            "ReaderEndpoint": format!("{}.cluster-ro-{own}.{rest}", row.id),
            "AvailabilityZones": list_of("AvailabilityZone", (0..3).map(|n| json!(row.place.zone(n))).collect()),
            "MultiAZ": members.len() > 1,
            "ClusterCreateTime": time(row.created_at),
            "BackupRetentionPeriod": row.retention_days,
            "EarliestRestorableTime": restorable(row.created_at.max(now - chrono::TimeDelta::days(row.retention_days))),
            "LatestRestorableTime": restorable(now),
            "DeletionProtection": row.deletion_protection,
            "StorageEncrypted": row.kms.is_some(),
            "StorageEncryptionType": encryption_type(row.kms.as_ref()),
            "KmsKeyId": row.kms,
            "DBClusterParameterGroup": row.parameter_group,
            "DBSubnetGroup": row.subnet_group,
            "VpcSecurityGroups": security_groups(&row.security_groups),
            "DBClusterMembers": list_of("DBClusterMember", members),
            "ReplicationSourceIdentifier": row.replica_of,
            "PendingModifiedValues": json!(row.pending),
            "AssociatedRoles": list_of("DBClusterRole", Vec::new()),
            "ReadReplicaIdentifiers": list_of("ReadReplicaIdentifier", Vec::new()),
            "ActivityStreamStatus": "stopped",
            "TagList": tag_list(&row.tags),
        }),
    )
}

fn snapshot_status(row: &Snapshot, now: DateTime<Utc>) -> &'static str {
    if row.available(now) { "available" } else { "creating" }
}

/// A `DBSnapshot`.
pub fn snapshot(row: &Snapshot, now: DateTime<Utc>) -> Value {
    let kept = ["LicenseModel", "Iops", "StorageThroughput", "StorageType", "TdeCredentialArn", "Timezone"];
    let kept = kept.into_iter().chain(["ProcessorFeatures", "IAMDatabaseAuthenticationEnabled", "MultiTenant"]);
    let kept = kept.chain(["DedicatedLogVolume", "DBSystemId"]);
    let settings: Settings =
        kept.filter_map(|member| row.settings.get(member).map(|value| (member.to_owned(), value.clone()))).collect();
    with(
        &settings,
        json!({
            "DBSnapshotIdentifier": row.id,
            "DBSnapshotArn": row.place.arn("snapshot", &row.id),
            "DBInstanceIdentifier": row.source_id,
            "DbiResourceId": row.source_resource_id,
            "SnapshotType": snapshot_type(row),
            "Status": snapshot_status(row, now),
            "PercentProgress": row.percent(now),
            "SnapshotCreateTime": time(row.created_at),
            "OriginalSnapshotCreateTime": time(row.taken_at),
            "SnapshotDatabaseTime": time(row.taken_at),
            "InstanceCreateTime": time(row.source_created_at),
            "Engine": row.engine,
            "EngineVersion": row.engine_version,
            "AllocatedStorage": row.gb,
            "MasterUsername": row.username,
            "Port": row.port,
            "AvailabilityZone": row.zone,
            "VpcId": row.place.vpc(),
            "OptionGroupName": row.option_group,
            "Encrypted": row.kms.is_some(),
            "StorageEncryptionType": encryption_type(row.kms.as_ref()),
            "KmsKeyId": row.kms,
            "SnapshotTarget": "region",
            "SourceDBSnapshotIdentifier": row.copy_of,
            "SourceRegion": row.copy_of.as_deref().and_then(region_of),
            "TagList": tag_list(&row.tags),
        }),
    )
}

/// A `DBClusterSnapshot`.
pub fn cluster_snapshot(row: &Snapshot, now: DateTime<Utc>) -> Value {
    json!({
        "DBClusterSnapshotIdentifier": row.id,
        "DBClusterSnapshotArn": row.place.arn("cluster-snapshot", &row.id),
        "DBClusterIdentifier": row.source_id,
        "DbClusterResourceId": row.source_resource_id,
        "SnapshotType": snapshot_type(row),
        "Status": snapshot_status(row, now),
        "PercentProgress": row.percent(now),
        "SnapshotCreateTime": time(row.created_at),
        "ClusterCreateTime": time(row.source_created_at),
        "Engine": row.engine,
        "EngineVersion": row.engine_version,
        "EngineMode": row.settings.get("EngineMode").cloned().unwrap_or_else(|| json!("provisioned")),
        "AllocatedStorage": row.gb,
        "MasterUsername": row.username,
        "Port": row.port,
        "AvailabilityZones": list_of("AvailabilityZone", (0..3).map(|n| json!(row.place.zone(n))).collect()),
        "VpcId": row.place.vpc(),
        "StorageEncrypted": row.kms.is_some(),
        "StorageEncryptionType": encryption_type(row.kms.as_ref()),
        "KmsKeyId": row.kms,
        "SourceDBClusterSnapshotArn": row.copy_of,
        "IAMDatabaseAuthenticationEnabled": row.settings.get("IAMDatabaseAuthenticationEnabled"),
        "StorageType": row.settings.get("StorageType"),
        "StorageThroughput": row.settings.get("StorageThroughput"),
        "LicenseModel": license(&row.engine),
        "BackupRetentionPeriod": row.retention_days,
        "PreferredBackupWindow": row.settings.get("PreferredBackupWindow"),
        "TagList": tag_list(&row.tags),
    })
}

/// What a cluster's engine is licensed under.
fn license(engine: &str) -> Option<&'static str> {
    super::engines::engine(engine).ok().map(|engine| engine.license)
}

fn snapshot_type(row: &Snapshot) -> &'static str {
    row.snapshot_type()
}

fn region_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(3)
}

/// A `DBSubnetGroup` by name; the default one is there without a row.
pub fn subnet_group(state: &State, place: &Place, name: &str) -> Value {
    match state.groups.get(&place.arn("subgrp", name)) {
        Some(row) => group(row),
        None => group(&default_subnet_group(place)),
    }
}

/// The default VPC's subnet group.
pub fn default_subnet_group(place: &Place) -> Group {
    Group {
        place: place.clone(),
        name: "default".to_owned(),
        description: "default".to_owned(),
        body: GroupBody::Subnets((0..3).map(|n| place.default_subnet(n)).collect()),
        tags: super::params::Tags::new(),
    }
}

/// A group in its own shape.
pub fn group(row: &Group) -> Value {
    match &row.body {
        GroupBody::Subnets(subnets) => {
            let subnet = |(n, id): (usize, &String)| {
                json!({
                    "SubnetIdentifier": id, "SubnetStatus": "Active",
                    "SubnetAvailabilityZone": json!({ "Name": row.place.zone(n) }), "SubnetOutpost": json!({}),
                })
            };
            json!({
                "DBSubnetGroupName": row.name,
                "DBSubnetGroupDescription": row.description,
                "DBSubnetGroupArn": row.place.arn("subgrp", &row.name),
                "VpcId": row.place.vpc(),
                "SubnetGroupStatus": "Complete",
                "Subnets": list_of("Subnet", subnets.iter().enumerate().map(subnet).collect()),
                "SupportedNetworkTypes": list_of("member", vec![json!("IPV4")]),
            })
        }
        GroupBody::Parameters { family, .. } => json!({
            "DBParameterGroupName": row.name,
            "DBParameterGroupFamily": family,
            "Description": row.description,
            "DBParameterGroupArn": row.place.arn("pg", &row.name),
        }),
        GroupBody::ClusterParameters { family, .. } => json!({
            "DBClusterParameterGroupName": row.name,
            "DBParameterGroupFamily": family,
            "Description": row.description,
            "DBClusterParameterGroupArn": row.place.arn("cluster-pg", &row.name),
        }),
        GroupBody::Options { engine, major } => json!({
            "OptionGroupName": row.name,
            "OptionGroupDescription": row.description,
            "EngineName": engine,
            "MajorEngineVersion": major,
            "Options": list_of("Option", Vec::new()),
            "AllowsVpcAndNonVpcInstanceMemberships": true,
            "OptionGroupArn": row.place.arn("og", &row.name),
        }),
        GroupBody::Security => json!({
            "OwnerId": row.place.account,
            "DBSecurityGroupName": row.name,
            "DBSecurityGroupDescription": row.description,
            "EC2SecurityGroups": list_of("EC2SecurityGroup", Vec::new()),
            "IPRanges": list_of("IPRange", Vec::new()),
            "DBSecurityGroupArn": row.place.arn("secgrp", &row.name),
        }),
    }
}
