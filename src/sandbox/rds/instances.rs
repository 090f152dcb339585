//! DB instances: create, describe, delete, reboot, stop and start.

use serde_json::Value;

use super::super::{Answer, AwsError};
use super::content::Content;
use super::context::{Context, seen};
use super::error::{self, invalid_combination, invalid_value};
use super::rows::{Change, Instance, Planned, becoming, then};
use super::{engines, placement, settings, shape, snapshots, timing, validate};

pub fn create(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBInstanceIdentifier", p.required("DBInstanceIdentifier")?, 63)?;
    let class = validate::class(p.required("DBInstanceClass")?)?;
    let engine = engines::engine(p.required("Engine")?)?;
    cx.instance_id_is_free(&id)?;
    if p.text("DBClusterIdentifier").is_some() {
        return create_member(cx, id, class, engine);
    }
    if engine.is_aurora() {
        return Err(invalid_combination(format!("DBClusterIdentifier is required for engine {}", engine.name)));
    }
    let version = engine.version(p.text("EngineVersion"))?;
    let mut row = placement::fresh(cx, id, class, &version);
    placement::overlay(cx, &mut row, &version)?;
    row.gb = p
        .number("AllocatedStorage")?
        .ok_or_else(|| invalid_value(format!("Invalid storage size for engine name {}: null", engine.name)))?;
    validate::storage(engine, row.gb, &p, &mut row.settings)?;
    let username = p.text("MasterUsername").ok_or_else(|| invalid_value("Invalid master user name"))?;
    validate::username(engine, username)?;
    row.username = Some(username.to_owned());
    match p.text("MasterUserPassword") {
        Some(password) => validate::password(engine, password)?,
        None if row.settings.contains_key("MasterUserSecret") => {}
        None => return Err(invalid_value("Invalid master password")),
    }
    row.db_name = p.text("DBName").map(str::to_owned);
    placement::offered(cx, &row.engine, &row.class)?;
    placement::within_quota(cx, 1, row.gb)?;
    let key = p.text("KmsKeyId");
    let encrypted = p.flag("StorageEncrypted")?.unwrap_or(false);
    if key.is_some() && !encrypted {
        return Err(invalid_combination("KmsKeyId can be specified only when StorageEncrypted is enabled"));
    }
    row.resource_id = cx.state.mint("db-");
    if encrypted {
        validate::class_encrypts(&row.class)?;
        row.kms = Some(cx.attach_or_default(key, &row.resource_id)?);
    }
    row.content = Content::of_new(&row.resource_id);
    row.plan = becoming(cx.now, timing::CREATE, row.retention_days > 0);
    Ok(placement::admit(cx, row, "created"))
}

/// An instance of a cluster: storage, encryption, credentials and backups are the cluster's.
fn create_member(
    cx: &mut Context<'_>,
    id: String,
    class: String,
    engine: &'static engines::Engine,
) -> Result<Answer, AwsError> {
    let p = cx.p;
    let cluster = cx.cluster(p.required("DBClusterIdentifier")?)?;
    if cluster.engine != engine.name {
        return Err(invalid_combination(format!(
            "The engine name requested for your DB instance ({}) is incompatible with the engine name of your DB \
             cluster ({}).",
            engine.name, cluster.engine
        )));
    }
    if cluster.class.is_some() {
        return Err(invalid_combination("DB instances cannot be added to a Multi-AZ DB cluster."));
    }
    if p.flag("StorageEncrypted")?.is_some_and(|on| on != cluster.kms.is_some()) || p.text("KmsKeyId").is_some() {
        return Err(invalid_combination("The encryption of a cluster's DB instances is managed by the DB cluster."));
    }
    if p.flag("DeletionProtection")?.unwrap_or(false) {
        return Err(invalid_combination(
            "Deletion protection isn't supported for a DB instance that is part of a DB cluster. Protect the DB cluster \
             instead.",
        ));
    }
    if p.text("MasterUsername").is_some() || p.text("MasterUserPassword").is_some() {
        return Err(invalid_combination("The credentials of a cluster's DB instances are managed by the DB cluster."));
    }
    if !matches!(cluster.status.as_str(), "available" | "creating" | "backing-up" | "modifying") {
        return Err(error::cluster_state(format!("DB cluster {} is not in an available state.", cluster.id)));
    }
    placement::offered(cx, engine.name, &class)?;
    placement::within_quota(cx, 1, 0)?;
    let row = member(cx, id, class, &cluster)?;
    if cluster.writer.is_none()
        && let Some(stored) = cx.state.clusters.get_mut(&cluster.arn())
    {
        stored.writer = Some(row.id.clone());
    }
    Ok(placement::admit(cx, row, "created in its cluster"))
}

/// A cluster's new member, as the call asks for it, not yet in the table.
///
/// # Errors
/// A parameter that cannot be.
pub fn member(
    cx: &mut Context<'_>,
    id: String,
    class: String,
    cluster: &super::rows::Cluster,
) -> Result<Instance, AwsError> {
    let version = placement::version_of(&cluster.engine, &cluster.engine_version)?;
    let mut row = placement::fresh(cx, id, class, &version);
    if cx.action == "CreateDBInstance" {
        placement::overlay(cx, &mut row, &version)?;
    }
    row.settings.insert("StorageType".to_owned(), "aurora".into());
    if let Some(kind) = settings::text(&cluster.settings, "StorageType") {
        row.settings.insert("StorageType".to_owned(), kind.into());
    }
    row.gb = cluster.gb;
    row.cluster = Some(cluster.id.clone());
    row.kms.clone_from(&cluster.kms);
    row.username.clone_from(&cluster.username);
    row.db_name.clone_from(&cluster.db_name);
    row.port = cluster.port;
    row.retention_days = cluster.retention_days;
    row.subnet_group.clone_from(&cluster.subnet_group);
    row.security_groups.clone_from(&cluster.security_groups);
    row.content.clone_from(&cluster.content);
    row.resource_id = cx.state.mint("db-");
    row.plan = becoming(cx.now.max(cluster_ready(cluster, cx.now)), timing::CREATE, false);
    Ok(row)
}

fn cluster_ready(cluster: &super::rows::Cluster, now: chrono::DateTime<chrono::Utc>) -> chrono::DateTime<chrono::Utc> {
    cluster.plan.last().map_or(now, |last| last.at)
}

pub fn describe(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let known = ["db-cluster-id", "db-instance-id", "dbi-resource-id", "domain", "engine"];
    let filters = p.filters(&known)?;
    let only = match p.text("DBInstanceIdentifier") {
        Some(named) => Some(cx.instance(named)?.id),
        None => None,
    };
    let matches = |row: &Instance| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "db-cluster-id" => row.cluster.as_ref().is_some_and(|id| names(value, id)),
                "db-instance-id" => names(value, &row.id),
                "dbi-resource-id" => row.resource_id == *value,
                "engine" => row.engine == *value,
                _ => row.settings.get("DomainMemberships").is_some_and(|domains| in_domain(domains, value)),
            })
        })
    };
    let rows = cx
        .instances()
        .filter(|row| only.as_ref().is_none_or(|id| row.id == *id) && matches(row))
        .map(|row| (row.id.clone(), row))
        .collect();
    Ok(seen(p.page("DBInstances", "DBInstance", rows, |row| shape::instance(cx.state, row, cx.now))?))
}

/// Whether a filter's value, an identifier or an ARN, names `id`.
pub fn names(value: &str, id: &str) -> bool {
    value.eq_ignore_ascii_case(id) || (value.starts_with("arn:") && value.rsplit(':').next() == Some(id))
}

fn in_domain(domains: &Value, value: &str) -> bool {
    let items = domains.get("items").and_then(Value::as_array);
    items.into_iter().flatten().any(|item| item.get("Domain").and_then(Value::as_str) == Some(value))
}

pub fn delete(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.instance(p.required("DBInstanceIdentifier")?)?;
    let skip = p.flag("SkipFinalSnapshot")?.unwrap_or(false);
    let keep_backups = !p.flag("DeleteAutomatedBackups")?.unwrap_or(true);
    if row.status == "deleting" {
        return Err(error::instance_state(format!("Instance {} is already being deleted.", row.id)));
    }
    if row.deletion_protection {
        return Err(invalid_combination(
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        ));
    }
    if let Some(cluster) = cx.clusters().find(|cluster| row.cluster.as_deref() == Some(&cluster.id))
        && cluster.class.is_some()
    {
        return Err(error::cluster_state("DB instances of a Multi-AZ DB cluster are deleted with their cluster."));
    }
    let last = p.text("FinalDBSnapshotIdentifier");
    let mut gone_at = cx.now + timing::DELETE;
    let mut what = "deleted".to_owned();
    match last {
        _ if row.cluster.is_some() => {}
        Some(_) if skip => {
            return Err(invalid_combination(
                "FinalDBSnapshotIdentifier can not be specified when deleting an instance with SkipFinalSnapshot enabled",
            ));
        }
        Some(_) if row.replica_of.is_some() => {
            return Err(invalid_combination("FinalDBSnapshotIdentifier can not be specified when deleting a replica"));
        }
        Some(name) => {
            let name = validate::identifier("FinalDBSnapshotIdentifier", name, 255)?;
            let ready_at = snapshots::take_manual(cx, &row, name.clone(), row.tags.clone())?;
            gone_at = gone_at.max(ready_at);
            what = format!("deleted, its last data in the snapshot {name}");
        }
        None if skip || row.replica_of.is_some() => {}
        None => {
            return Err(invalid_combination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            ));
        }
    }
    what.push_str(if keep_backups { " and its automated backups kept" } else { " with its automated backups" });
    "deleting".clone_into(&mut row.status);
    row.pending.clear();
    row.plan = vec![Planned { at: gone_at, change: Change::Remove { keep_backups } }];
    Ok(placement::admit(cx, row, &what))
}

pub fn reboot(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = cx.instance(cx.p.required("DBInstanceIdentifier")?)?;
    if !row.serves() {
        return Err(error::instance_state(format!("Instance {} is not in available state.", row.id)));
    }
    if cx.p.flag("ForceFailover")?.unwrap_or(false) && !row.multi_az {
        return Err(invalid_combination("Cannot force failover of a DB instance that is not Multi-AZ"));
    }
    "rebooting".clone_into(&mut row.status);
    "in-sync".clone_into(&mut row.parameter_status);
    row.replan(then(cx.now + timing::REBOOT, "available"));
    Ok(placement::admit(cx, row, "rebooted"))
}

pub fn stop(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.instance(p.required("DBInstanceIdentifier")?)?;
    not_in_cluster(&row, "stopped")?;
    let replicated = cx.state.instances.iter().any(|(_, other)| other.replica_of.as_deref() == Some(&row.arn()));
    if row.replica_of.is_some() || replicated {
        return Err(error::instance_state(format!(
            "Cannot stop the instance {} because it is a read replica or has one.",
            row.id
        )));
    }
    if !row.serves() {
        return Err(error::instance_state(format!("Instance {} is not in available state.", row.id)));
    }
    if let Some(name) = p.text("DBSnapshotIdentifier") {
        let name = validate::identifier("DBSnapshotIdentifier", name, 255)?;
        snapshots::take_manual(cx, &row, name, row.tags.clone())?;
    }
    "stopping".clone_into(&mut row.status);
    // AWS starts a stopped instance again after seven days.
    let stopped = cx.now + timing::STOP;
    let mut plan = then(stopped, "stopped");
    plan.extend(then(stopped + timing::STOPPED, "starting"));
    plan.extend(then(stopped + timing::STOPPED + timing::START, "available"));
    row.replan(plan);
    Ok(placement::admit(cx, row, "stopped"))
}

pub fn start(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = cx.instance(cx.p.required("DBInstanceIdentifier")?)?;
    not_in_cluster(&row, "started")?;
    if !matches!(row.status.as_str(), "stopped" | "inaccessible-encryption-credentials-recoverable") {
        return Err(error::instance_state(format!(
            "Instance {} cannot be started as it is not in one of the following statuses: 'stopped, \
             inaccessible-encryption-credentials-recoverable, incompatible-network (only valid for non-SqlServer \
             instances)'.",
            row.id
        )));
    }
    if let Some(key) = &row.kms {
        cx.key_works(key, "")?;
    }
    "starting".clone_into(&mut row.status);
    row.key_lost_at = None;
    row.replan(then(cx.now + timing::START, "available"));
    Ok(placement::admit(cx, row, "started"))
}

fn not_in_cluster(row: &Instance, verb: &str) -> Result<(), AwsError> {
    if row.cluster.is_some() {
        return Err(invalid_combination(format!(
            "The specified DB Instance is a member of a cluster and cannot be {verb} directly. Use the DB cluster's \
             operation instead."
        )));
    }
    Ok(())
}
