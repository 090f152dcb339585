//! DB clusters: Aurora, whose instances are created one by one, and Multi-AZ DB clusters, which bring three of their own.

use super::super::{Answer, AwsError};
use super::content::Content;
use super::context::{Context, changed, seen};
use super::engines::{self, Version};
use super::error::{self, fault, invalid_combination, invalid_value};
use super::instances::{self, names};
use super::params::Tags;
use super::placement;
use super::rows::{Change, Cluster, Planned, becoming, then};
use super::snapshots::{self, CLUSTER};
use super::{lifecycle, secrets, settings, shape, timing, validate, windows};

/// A fresh cluster of an engine with every default of AWS.
pub fn fresh(cx: &Context<'_>, id: String, version: &Version) -> Cluster {
    let mut members = settings::defaults(version, &cx.place);
    for member in ["LicenseModel", "BackupTarget", "DedicatedLogVolume", "CustomerOwnedIpEnabled"] {
        members.remove(member);
    }
    Cluster {
        place: cx.place.clone(),
        id,
        resource_id: String::new(),
        created_at: cx.now,
        status: "creating".to_owned(),
        plan: Vec::new(),
        engine: version.engine.name.to_owned(),
        engine_version: version.full.clone(),
        class: None,
        gb: 1,
        username: None,
        db_name: None,
        port: version.engine.port,
        retention_days: 1,
        deletion_protection: false,
        subnet_group: "default".to_owned(),
        security_groups: vec![cx.place.default_security_group()],
        parameter_group: version.default_parameter_group(),
        kms: None,
        writer: None,
        replica_of: None,
        settings: members,
        pending: std::collections::BTreeMap::new(),
        tags: Tags::new(),
        content: Content::default(),
        last_backup: None,
        key_lost_at: None,
    }
}

/// Lays what the call asks for over a new or restored cluster.
///
/// # Errors
/// The parameter that cannot be.
pub fn overlay(cx: &Context<'_>, row: &mut Cluster, version: &Version) -> Result<(), AwsError> {
    let p = cx.p;
    if let Some(port) = p.number("Port")? {
        row.port = placement::port(port)?;
    }
    if let Some(name) = p.text("DBSubnetGroupName") {
        row.subnet_group = placement::subnet_group(cx, name)?;
    }
    if let Some(groups) = validate::security_groups(&p)? {
        row.security_groups = groups;
    }
    if let Some(name) = p.text("DBClusterParameterGroupName") {
        row.parameter_group = placement::cluster_parameter_group(cx, name, version)?;
    }
    if let Some(on) = p.flag("DeletionProtection")? {
        row.deletion_protection = on;
    }
    if let Some(days) = p.number("BackupRetentionPeriod")? {
        row.retention_days = validate::retention(days)?;
        if days == 0 {
            return Err(invalid_value("The backup retention period of a DB cluster must be between 1 and 35."));
        }
    }
    if let Some(class) = p.text("DBClusterInstanceClass") {
        if !version.engine.has_multi_az_clusters() {
            return Err(invalid_combination("DBClusterInstanceClass isn't supported for Aurora DB clusters."));
        }
        row.class = Some(validate::class(class)?);
    } else if !version.engine.is_aurora() && row.class.is_none() {
        return Err(invalid_combination(format!(
            "DBClusterInstanceClass is required for a DB cluster of the engine {}",
            version.engine.name
        )));
    }
    if cx.action == "ModifyDBCluster" {
        windows::change(&p, &mut row.settings)?;
    } else {
        windows::choose(&p, &mut row.settings)?;
    }
    settings::overlay(&p, &mut row.settings)?;
    row.tags.extend(p.tags()?);
    Ok(())
}

/// The identifiers of the instances that a Multi-AZ DB cluster brings.
fn member_ids(row: &Cluster) -> Vec<String> {
    if row.class.is_none() {
        return Vec::new();
    }
    (1..=3).map(|n| format!("{}-instance-{n}", row.id)).collect()
}

/// Whether the account may have this cluster, with the instances that it brings.
///
/// # Errors
/// `DBClusterQuotaExceededFault`, the instances' quotas, or a name that one of its instances needs is taken.
pub fn may_add(cx: &Context<'_>, row: &Cluster) -> Result<(), AwsError> {
    let most = cx.state.quotas.clusters;
    if cx.clusters().count() >= most {
        let text = format!("Cannot create more than {most} DB clusters");
        return Err(fault("DBClusterQuotaExceededFault", text));
    }
    let members = member_ids(row);
    members.iter().try_for_each(|id| cx.instance_id_is_free(id))?;
    placement::within_quota(cx, members.len(), row.gb)
}

/// Puts a new cluster into the table, with the instances that a Multi-AZ DB cluster brings.
///
/// # Errors
/// None after [`may_add`] has let the cluster through.
pub fn admit_new(cx: &mut Context<'_>, mut row: Cluster, what: &str) -> Result<Answer, AwsError> {
    if let Some(class) = row.class.clone() {
        for (n, id) in member_ids(&row).into_iter().enumerate() {
            let mut member = instances::member(cx, id, class.clone(), &row)?;
            member.zone = cx.place.zone(n);
            member.plan.clone_from(&row.plan);
            row.writer.get_or_insert_with(|| member.id.clone());
            cx.state.instances.insert(member.arn(), member);
        }
    }
    Ok(admit(cx, row, what))
}

/// Puts a new or changed cluster into the table and answers it as described.
pub fn admit(cx: &mut Context<'_>, row: Cluster, what: &str) -> Answer {
    let body = shape::cluster(cx.state, &row, cx.now);
    let arn = row.arn();
    cx.state.clusters.insert(arn.clone(), row);
    changed("DBCluster", body, arn, what)
}

pub fn create(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBClusterIdentifier", p.required("DBClusterIdentifier")?, 63)?;
    let engine = engines::engine(p.required("Engine")?)?;
    if !engine.is_aurora() && !engine.has_multi_az_clusters() {
        return Err(invalid_value(format!("Invalid DB engine for a DB cluster: {}", engine.name)));
    }
    cx.cluster_id_is_free(&id)?;
    let version = engine.version(p.text("EngineVersion"))?;
    let mut row = fresh(cx, id, &version);
    overlay(cx, &mut row, &version)?;
    if row.class.is_some() {
        row.gb = p
            .number("AllocatedStorage")?
            .ok_or_else(|| invalid_value("AllocatedStorage is required for a Multi-AZ DB cluster"))?;
    }
    let username = p.text("MasterUsername").ok_or_else(|| invalid_value("Invalid master user name"))?;
    validate::username(engine, username)?;
    row.username = Some(username.to_owned());
    match p.text("MasterUserPassword") {
        Some(password) => validate::password(engine, password)?,
        None if p.flag("ManageMasterUserPassword")?.unwrap_or(false) => {}
        None => return Err(invalid_value("Invalid master password")),
    }
    row.db_name = p.text("DatabaseName").map(str::to_owned);
    secrets::overlay_cluster(cx, &mut row)?;
    may_add(cx, &row)?;
    let key = p.text("KmsKeyId");
    let encrypted = p.flag("StorageEncrypted")?.unwrap_or(false);
    if key.is_some() && !encrypted {
        return Err(invalid_combination("KmsKeyId can be specified only when StorageEncrypted is enabled"));
    }
    row.resource_id = cx.state.mint("cluster-");
    if encrypted {
        row.kms = Some(cx.attach_or_default(key, &row.resource_id)?);
    }
    row.content = Content::of_new(&row.resource_id);
    row.plan = becoming(cx.now, timing::CREATE, true);
    admit_new(cx, row, "created")
}

pub fn describe(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let filters = p.filters(&["clone-group-id", "db-cluster-id", "db-cluster-resource-id", "domain", "engine"])?;
    let only = match p.text("DBClusterIdentifier") {
        Some(named) => Some(cx.cluster(named)?.id),
        None => None,
    };
    let fits = |row: &Cluster| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "db-cluster-id" => names(value, &row.id),
                "db-cluster-resource-id" => row.resource_id == *value,
                "engine" => row.engine == *value,
                _ => false,
            })
        })
    };
    let rows = cx
        .clusters()
        .filter(|row| only.as_ref().is_none_or(|id| row.id == *id) && fits(row))
        .map(|row| (row.id.clone(), row))
        .collect();
    Ok(seen(p.page("DBClusters", "DBCluster", rows, |row| shape::cluster(cx.state, row, cx.now))?))
}

fn must_serve(row: &Cluster) -> Result<(), AwsError> {
    if row.serves() {
        return Ok(());
    }
    Err(error::cluster_state(format!("DB cluster {} is not in available state.", row.id)))
}

pub fn modify(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.cluster(p.required("DBClusterIdentifier")?)?;
    if row.status != "stopped" {
        must_serve(&row)?;
    }
    let version = placement::version_of(&row.engine, &row.engine_version)?;
    let now = p.flag("ApplyImmediately")?.unwrap_or(false);
    let mut pending = Vec::new();
    if let Some(id) = p.text("NewDBClusterIdentifier") {
        let id = validate::identifier("NewDBClusterIdentifier", id, 63)?;
        if id != row.id {
            cx.cluster_id_is_free(&id)?;
            pending.push(("DBClusterIdentifier".to_owned(), id));
        }
    }
    if let Some(asked) = p.text("EngineVersion") {
        let to = version.engine.version(Some(asked))?;
        if to.full != row.engine_version {
            pending.push(("EngineVersion".to_owned(), to.full));
        }
    }
    if let Some(password) = p.text("MasterUserPassword") {
        validate::password(version.engine, password)?;
    }
    overlay(cx, &mut row, &version)?;
    secrets::overlay_cluster(cx, &mut row)?;
    row.pending.extend(pending);
    if !now || row.pending.is_empty() {
        error::require_modification(&p)?;
    }
    let renaming = row.pending.contains_key("DBClusterIdentifier");
    if now && !row.pending.is_empty() {
        let done = cx.now + if renaming { timing::RENAMING } else { timing::MODIFY };
        if renaming { "renaming" } else { "modifying" }.clone_into(&mut row.status);
        row.plan = vec![Planned { at: done, change: Change::ApplyPending }];
        row.plan.extend(then(done, "available"));
    }
    let retention = row.retention_days;
    let members: Vec<String> = cx
        .instances()
        .filter(|member| member.cluster.as_deref() == Some(&row.id))
        .map(super::rows::Instance::arn)
        .collect();
    for member in members {
        if let Some(member) = cx.state.instances.get_mut(&member) {
            member.retention_days = retention;
        }
    }
    Ok(admit(cx, row, if renaming { "renamed" } else { "modified" }))
}

pub fn delete(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.cluster(p.required("DBClusterIdentifier")?)?;
    let skip = p.flag("SkipFinalSnapshot")?.unwrap_or(false);
    let keep_backups = !p.flag("DeleteAutomatedBackups")?.unwrap_or(true);
    if row.status == "deleting" {
        return Err(error::cluster_state(format!("DB cluster {} is already being deleted.", row.id)));
    }
    if row.deletion_protection {
        return Err(invalid_combination(
            "Cannot delete protected Cluster, please disable deletion protection and try again.",
        ));
    }
    let inside =
        |member: &&super::rows::Instance| member.cluster.as_deref() == Some(&row.id) && member.status != "deleting";
    if row.class.is_none() && cx.instances().any(|member| inside(&member)) {
        return Err(error::cluster_state(
            "Cluster cannot be deleted, it still contains DB instances in non-deleting state.",
        ));
    }
    let mut gone_at = cx.now + timing::DELETE;
    match p.text("FinalDBSnapshotIdentifier") {
        Some(_) if skip => {
            return Err(invalid_combination(
                "FinalDBSnapshotIdentifier can not be specified when SkipFinalSnapshot is enabled",
            ));
        }
        Some(name) => {
            let name = validate::identifier("FinalDBSnapshotIdentifier", name, 255)?;
            gone_at = gone_at.max(take_manual(cx, &row, name, row.tags.clone())?);
        }
        None if skip => {}
        None => {
            return Err(invalid_combination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            ));
        }
    }
    if row.class.is_some() {
        let gone = [Planned { at: gone_at, change: Change::Remove { keep_backups: false } }];
        lifecycle::set_members(cx.state, &row, "deleting", &gone);
    }
    let last_member = cx.instances().filter(|member| member.cluster.as_deref() == Some(&row.id));
    let last_member = last_member.filter_map(|member| member.plan.last()).map(|next| next.at).max();
    gone_at = gone_at.max(last_member.unwrap_or(gone_at));
    "deleting".clone_into(&mut row.status);
    row.plan = vec![Planned { at: gone_at, change: Change::Remove { keep_backups } }];
    let what =
        if keep_backups { "deleted and its automated backups kept" } else { "deleted with its automated backups" };
    Ok(admit(cx, row, what))
}

pub fn stop(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = cx.cluster(cx.p.required("DBClusterIdentifier")?)?;
    must_serve(&row)?;
    let answered = shape::cluster(cx.state, &row, cx.now);
    "stopping".clone_into(&mut row.status);
    row.plan = then(cx.now + timing::STOP, "stopped");
    lifecycle::set_members(cx.state, &row, "stopping", &row.plan);
    let arn = row.arn();
    cx.state.clusters.insert(arn.clone(), row);
    // AWS answers the cluster as it was before; it is `stopping` from the next look on.
    Ok(changed("DBCluster", answered, arn, "stopped"))
}

pub fn start(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = cx.cluster(cx.p.required("DBClusterIdentifier")?)?;
    if !matches!(row.status.as_str(), "stopped" | "inaccessible-encryption-credentials-recoverable") {
        return Err(error::cluster_state(format!(
            "DbCluster {} is in {} state but expected it to be one of stopped,\
             inaccessible-encryption-credentials-recoverable.",
            row.id, row.status
        )));
    }
    if let Some(key) = &row.kms {
        cx.key_works(key, "")?;
    }
    "starting".clone_into(&mut row.status);
    row.key_lost_at = None;
    row.plan = then(cx.now + timing::START, "available");
    lifecycle::set_members(cx.state, &row, "starting", &row.plan);
    Ok(admit(cx, row, "started"))
}

/// FailoverDBCluster: another member writes, the one named or the first that did not.
pub fn fail_over(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.cluster(p.required("DBClusterIdentifier")?)?;
    must_serve(&row)?;
    let target = p.text("TargetDBInstanceIdentifier");
    let next = cx
        .instances()
        .filter(|member| member.cluster.as_deref() == Some(&row.id) && member.serves())
        .filter(|member| row.writer.as_deref() != Some(&member.id))
        .find(|member| target.is_none_or(|target| names(target, &member.id)))
        .map(|member| member.id.clone());
    let Some(next) = next else {
        return Err(error::cluster_state(format!("DB cluster {} has no other instance to fail over to.", row.id)));
    };
    let what = format!("failed over to {next}");
    row.writer = Some(next);
    "failing-over".clone_into(&mut row.status);
    row.plan = then(cx.now + timing::REBOOT, "available");
    Ok(admit(cx, row, &what))
}

/// RebootDBCluster, which only Multi-AZ DB clusters know: their instances reboot with them.
pub fn reboot(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = cx.cluster(cx.p.required("DBClusterIdentifier")?)?;
    must_serve(&row)?;
    if row.class.is_none() {
        return Err(error::cluster_state(format!("DB cluster {} is not a Multi-AZ DB cluster.", row.id)));
    }
    "rebooting".clone_into(&mut row.status);
    row.plan = then(cx.now + timing::REBOOT, "available");
    lifecycle::set_members(cx.state, &row, "rebooting", &row.plan);
    Ok(admit(cx, row, "rebooted"))
}

/// CreateDBClusterSnapshot.
pub fn snapshot(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = p.required("DBClusterSnapshotIdentifier")?;
    let id = validate::identifier("DBClusterSnapshotIdentifier", id, 255)?;
    let mut row = cx.cluster(p.required("DBClusterIdentifier")?)?;
    let tags = p.tags()?;
    let ready_at = take_manual(cx, &row, id.clone(), tags)?;
    if row.serves() {
        "backing-up".clone_into(&mut row.status);
        row.plan = then(ready_at, "available");
        cx.state.clusters.insert(row.arn(), row);
    }
    snapshots::answer(cx, &CLUSTER, &cx.place.arn(CLUSTER.kind, &id), "created")
}

fn take_manual(
    cx: &mut Context<'_>,
    row: &Cluster,
    id: String,
    tags: Tags,
) -> Result<chrono::DateTime<chrono::Utc>, AwsError> {
    if row.status != "stopped" {
        must_serve(row)?;
    }
    CLUSTER.may_add(cx, &id)?;
    let mut snapshot = snapshots::of_cluster(cx.state, row, id, false, cx.now);
    if settings::flag(&row.settings, "CopyTagsToSnapshot") {
        snapshot.tags.clone_from(&row.tags);
    }
    snapshot.tags.extend(tags);
    let ready_at = snapshot.ready_at;
    cx.state.cluster_snapshots.insert(CLUSTER.arn(&snapshot), snapshot);
    Ok(ready_at)
}
