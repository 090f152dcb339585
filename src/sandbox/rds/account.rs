//! What an account may use and has used, what RDS offers, and the kinds of resources that the sandbox knows to be none.

use serde_json::{Value, json};

use super::super::{Answer, AwsError, auth};
use super::context::{Context, seen};
use super::engines::{self, ENGINES, Engine};
use super::error::fault;
use super::groups::MOST_GROUPS;
use super::params::list_of;
use super::rows::{GroupBody, Snapshot};
use super::validate;

/// The instance classes that are offered for every engine: a family and its sizes.
const CLASSES: &[(&str, &[&str])] = &[
    ("db.t3", &["micro", "small", "medium", "large", "xlarge", "2xlarge"]),
    ("db.t4g", &["micro", "small", "medium", "large", "xlarge", "2xlarge"]),
    ("db.m5", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]),
    ("db.m6g", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]),
    ("db.m7g", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]),
    ("db.r5", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]),
    ("db.r6g", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]),
    ("db.r7g", &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]),
];

const CERTIFICATES: &[&str] = &["rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"];

/// The regions between which snapshots are copied, of the two partitions that keyferry knows.
const REGIONS: &[&str] = &[
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "us-gov-east-1",
    "us-gov-west-1",
];

/// (operation, list, member, parameter that names one, the error when it is named): of these an account has none here.
const NONE_OF: &[(&str, &str, &str, &str, &str)] = &[
    (
        "DescribeGlobalClusters",
        "GlobalClusters",
        "GlobalClusterMember",
        "GlobalClusterIdentifier",
        "GlobalClusterNotFoundFault",
    ),
    ("DescribeIntegrations", "Integrations", "Integration", "IntegrationIdentifier", "IntegrationNotFoundFault"),
    ("DescribeDBProxies", "DBProxies", "member", "DBProxyName", "DBProxyNotFoundFault"),
    (
        "DescribeReservedDBInstances",
        "ReservedDBInstances",
        "ReservedDBInstance",
        "ReservedDBInstanceId",
        "ReservedDBInstanceNotFound",
    ),
    (
        "DescribePendingMaintenanceActions",
        "PendingMaintenanceActions",
        "ResourcePendingMaintenanceActions",
        "ResourceIdentifier",
        "ResourceNotFoundFault",
    ),
    ("DescribeEvents", "Events", "Event", "", ""),
];

/// Answers the operations on the account itself; `None` for any other.
pub fn handle(cx: &mut Context<'_>) -> Option<Result<Answer, AwsError>> {
    match cx.action {
        "DescribeAccountAttributes" => Some(Ok(quotas(cx))),
        "DescribeDBEngineVersions" => Some(engine_versions(cx)),
        "DescribeOrderableDBInstanceOptions" => Some(orderable(cx)),
        "DescribeCertificates" => Some(certificates(cx)),
        "DescribeSourceRegions" => Some(source_regions(cx)),
        action => NONE_OF.iter().find(|(name, ..)| *name == action).map(|(_, list, member, named, code)| {
            match cx.p.text(named) {
                // An instance that is there has no maintenance pending; anything else that is named is not there.
                Some(id) if !(*list == "PendingMaintenanceActions" && cx.instance(id).is_ok()) => {
                    Err(fault(code, format!("{member} {id} not found.")))
                }
                _ => cx.p.page(list, member, Vec::new(), |body| body).map(seen),
            }
        }),
    }
}

fn quotas(cx: &Context<'_>) -> Answer {
    let own = |row: &Snapshot| row.place == cx.place && row.is_manual();
    let groups = |fits: fn(&GroupBody) -> bool| {
        cx.state.groups.iter().filter(|(_, row)| row.place == cx.place && fits(&row.body)).count()
    };
    let replicas: Vec<&String> = cx.instances().filter_map(|row| row.replica_of.as_ref()).collect();
    let most_replicas = replicas.iter().map(|of| replicas.iter().filter(|other| *other == of).count()).max();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let subnet_groups = groups(|body| matches!(body, GroupBody::Subnets(_)));
    let parameter_groups = groups(|body| matches!(body, GroupBody::Parameters { .. }));
    let cluster_groups = groups(|body| matches!(body, GroupBody::ClusterParameters { .. }));
    let option_groups = groups(|body| matches!(body, GroupBody::Options { .. }));
    let manual = cx.state.snapshots.iter().filter(|(_, row)| own(row)).count();
    let subscriptions =
        cx.state.subscriptions.iter().filter(|(key, _)| key.starts_with(&cx.place.prefix("es"))).count();
    let manual_cluster = cx.state.cluster_snapshots.iter().filter(|(_, row)| own(row)).count();
    let most = cx.state.quotas;
    let quotas: Vec<Value> = [
        ("DBInstances", count(cx.instances().count()), count(most.instances)),
        ("ReservedDBInstances", 0, 40),
        ("AllocatedStorage", cx.instances().map(|row| row.gb).sum(), most.storage_gb),
        ("DBSecurityGroups", 0, 25),
        ("AuthorizationsPerDBSecurityGroup", 0, 20),
        ("DBParameterGroups", count(parameter_groups), count(MOST_GROUPS)),
        ("ManualSnapshots", count(manual), count(most.snapshots)),
        ("EventSubscriptions", count(subscriptions), 20),
        ("DBSubnetGroups", count(subnet_groups), count(MOST_GROUPS)),
        ("OptionGroups", count(option_groups), count(MOST_GROUPS)),
        ("SubnetsPerDBSubnetGroup", 3, 20),
        ("ReadReplicasPerMaster", count(most_replicas.unwrap_or_default()), 15),
        ("DBClusters", count(cx.clusters().count()), count(most.clusters)),
        ("DBClusterParameterGroups", count(cluster_groups), count(MOST_GROUPS)),
        ("DBClusterRoles", 0, 5),
        ("ManualClusterSnapshots", count(manual_cluster), count(most.snapshots)),
    ]
    .into_iter()
    .map(|(name, used, max)| json!({ "AccountQuotaName": name, "Used": used, "Max": max }))
    .collect();
    seen(json!({ "AccountQuotas": list_of("AccountQuota", quotas) }))
}

fn engines_asked(cx: &Context<'_>) -> Vec<&'static Engine> {
    ENGINES.iter().filter(|engine| cx.p.text("Engine").is_none_or(|asked| asked == engine.name)).collect()
}

fn engine_versions(cx: &Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let default_only = p.flag("DefaultOnly")?.unwrap_or(false);
    let mut rows = Vec::new();
    for engine in engines_asked(cx) {
        for (n, (major, newest, family)) in engine.majors.iter().enumerate() {
            let asked = p.text("EngineVersion").is_none_or(|asked| asked == *newest || asked == *major);
            let fits = p.text("DBParameterGroupFamily").is_none_or(|asked| asked == *family);
            if !asked || !fits || (default_only && n > 0 && p.text("EngineVersion").is_none()) {
                continue;
            }
            let body = json!({
                "Engine": engine.name, "EngineVersion": newest, "MajorEngineVersion": major,
                "DBParameterGroupFamily": family, "DBEngineDescription": engine.description,
                "DBEngineVersionDescription": format!("{} {newest}", engine.description), "Status": "available",
                "ValidUpgradeTarget": list_of("UpgradeTarget", Vec::new()), "SupportsReadReplica": true,
                "SupportsLogExportsToCloudwatchLogs": true,
            });
            rows.push((format!("{} {newest}", engine.name), body));
        }
    }
    Ok(seen(p.page("DBEngineVersions", "DBEngineVersion", rows, |body| body)?))
}

fn orderable(cx: &Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let engine = engines::engine(p.required("Engine")?)?;
    if let Some(class) = p.text("DBInstanceClass") {
        validate::class(class)?;
    }
    let zones: Vec<Value> = (0..3).map(|n| json!({ "Name": cx.place.zone(n) })).collect();
    let mut rows = Vec::new();
    for (major, newest, _) in engine.majors {
        let version = p.text("EngineVersion").is_none_or(|asked| asked == *newest || asked == *major);
        let classes =
            CLASSES.iter().flat_map(|(family, sizes)| sizes.iter().map(move |size| format!("{family}.{size}")));
        let asked = |class: &String| p.text("DBInstanceClass").is_none_or(|asked| asked == *class);
        for class in classes.filter(|class| version && asked(class) && cx.state.offers(&cx.place.region, class)) {
            let storage = if engine.is_aurora() { "aurora" } else { "gp3" };
            let body = json!({
                "Engine": engine.name, "EngineVersion": newest, "DBInstanceClass": class,
                "LicenseModel": engine.license, "StorageType": storage, "Vpc": true,
                "AvailabilityZones": list_of("AvailabilityZone", zones.clone()),
                "MultiAZCapable": !engine.is_aurora(), "ReadReplicaCapable": true, "SupportsStorageEncryption": true,
                "SupportsIAMDatabaseAuthentication": true, "SupportsEnhancedMonitoring": true,
                "SupportsPerformanceInsights": true, "SupportsIops": false,
                "MinStorageSize": (!engine.is_aurora()).then_some(20), "MaxStorageSize": (!engine.is_aurora()).then_some(65536),
            });
            rows.push((format!("{newest} {class}"), body));
        }
    }
    Ok(seen(p.page("OrderableDBInstanceOptions", "OrderableDBInstanceOption", rows, |body| body)?))
}

fn source_regions(cx: &Context<'_>) -> Result<Answer, AwsError> {
    let asked = cx.p.text("RegionName");
    let other = |region: &&&str| auth::partition(region) == cx.place.partition && **region != cx.place.region;
    let rows = REGIONS.iter().filter(other).filter(|region| asked.is_none_or(|asked| asked == **region));
    let body = |region: &&str| {
        let endpoint = format!("https://rds.{region}.amazonaws.com");
        let body = json!({
            "RegionName": region, "Endpoint": endpoint, "Status": "available",
            "SupportsDBInstanceAutomatedBackupsReplication": true,
        });
        ((*region).to_owned(), body)
    };
    Ok(seen(cx.p.page("SourceRegions", "SourceRegion", rows.map(body).collect(), |body| body)?))
}

fn certificates(cx: &Context<'_>) -> Result<Answer, AwsError> {
    let asked = cx.p.text("CertificateIdentifier");
    let rows: Vec<(String, Value)> = CERTIFICATES
        .iter()
        .filter(|id| asked.is_none_or(|asked| asked == **id))
        .map(|id| {
            let arn = format!("arn:{}:rds:{}::cert:{id}", cx.place.partition, cx.place.region);
            let body = json!({
                "CertificateIdentifier": id, "CertificateType": "CA", "CertificateArn": arn, "CustomerOverride": false,
                "ValidFrom": "2021-05-21T00:00:00Z", "ValidTill": "2061-05-21T00:00:00Z",
            });
            ((*id).to_owned(), body)
        })
        .collect();
    if let Some(id) = asked.filter(|_| rows.is_empty()) {
        return Err(fault("CertificateNotFound", format!("Certificate {id} not found.")));
    }
    let mut body = cx.p.page("Certificates", "Certificate", rows, |body| body)?;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("DefaultCertificateForNewLaunches".to_owned(), json!(CERTIFICATES[0]));
    }
    Ok(seen(body))
}
