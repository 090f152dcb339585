//! Read replicas: in the region or across, under the source's key or another, and their promotion.

use super::super::{Answer, AwsError};
use super::context::Context;
use super::error::{instance_not_found, instance_state, invalid_combination, invalid_value};
use super::ids::Arn;
use super::rows::{Change, Instance, Planned, becoming};
use super::{placement, secrets, settings, timing, validate, windows};

/// AWS lets a source have this many replicas.
const MOST_REPLICAS: usize = 15;

pub fn create(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBInstanceIdentifier", p.required("DBInstanceIdentifier")?, 63)?;
    let source = source(cx, p.required("SourceDBInstanceIdentifier")?)?;
    cx.instance_id_is_free(&id)?;
    if !source.serves() && source.status != "backing-up" && source.status != "modifying" {
        return Err(instance_state(format!("Instance {} is not in available state.", source.id)));
    }
    if source.cluster.is_some() {
        return Err(invalid_combination("Cannot create a read replica of a DB instance that is a cluster's member."));
    }
    if source.retention_days == 0 {
        return Err(instance_state(
            "Automated backups are not enabled for this database instance. To enable automated backups, use \
             ModifyDBInstance to set the backup retention period to a non-zero value.",
        ));
    }
    secrets::may_be_replicated(&source)?;
    let source_arn = source.arn();
    let siblings = cx.state.instances.iter().filter(|(_, row)| row.replica_of.as_ref() == Some(&source_arn)).count();
    if siblings >= MOST_REPLICAS {
        return Err(invalid_value(format!("A DB instance cannot have more than {MOST_REPLICAS} read replicas")));
    }
    let mut row = prepare(cx, id, &source)?;
    placement::offered(cx, &row.engine, &row.class)?;
    placement::within_quota(cx, 1, row.gb)?;
    let key = key(cx, &source)?;
    if key.is_some() {
        validate::class_encrypts(&row.class)?;
    }
    row.resource_id = cx.state.mint("db-");
    if let Some(key) = key {
        row.kms = Some(cx.attach(&key, &row.resource_id, "")?);
    }
    row.content.clone_from(&source.content);
    row.replica_of = Some(source_arn.clone());
    row.plan = becoming(cx.now, timing::replica(row.gb), false);
    Ok(placement::admit(cx, row, &format!("created as a read replica of {source_arn}")))
}

/// The source, here by identifier or anywhere in the account by ARN.
fn source(cx: &Context<'_>, named: &str) -> Result<Instance, AwsError> {
    if !named.starts_with("arn:") {
        return cx.instance(named);
    }
    Arn::parse(named)
        .filter(|arn| arn.kind == "db" && arn.place.account == cx.place.account)
        .filter(|arn| arn.place.partition == cx.place.partition)
        .and_then(|arn| cx.state.instances.get(&arn.place.arn("db", &arn.id)))
        .cloned()
        .ok_or_else(|| instance_not_found(named))
}

fn prepare(cx: &mut Context<'_>, id: String, source: &Instance) -> Result<Instance, AwsError> {
    let p = cx.p;
    let version = placement::version_of(&source.engine, &source.engine_version)?;
    let across = source.place.region != cx.place.region;
    let mut row = placement::fresh(cx, id, source.class.clone(), &version);
    row.settings = settings::restored(&source.settings, &cx.place);
    row.gb = source.gb;
    row.port = source.port;
    row.username.clone_from(&source.username);
    row.db_name.clone_from(&source.db_name);
    row.retention_days = 0;
    if !across {
        row.subnet_group.clone_from(&source.subnet_group);
        row.security_groups.clone_from(&source.security_groups);
        row.parameter_group.clone_from(&source.parameter_group);
        row.option_group.clone_from(&source.option_group);
    }
    placement::overlay(cx, &mut row, &version)?;
    if let Some(gb) = p.number("AllocatedStorage")? {
        if gb < source.gb {
            return Err(invalid_value(format!("The storage cannot be smaller than the source's {} GB", source.gb)));
        }
        row.gb = gb;
    }
    validate::storage(version.engine, row.gb, &p, &mut row.settings)?;
    Ok(row)
}

/// The replica's key: the one named, which in the same region may differ from the source's, else the source's.
fn key(cx: &Context<'_>, source: &Instance) -> Result<Option<String>, AwsError> {
    let named = cx.p.text("KmsKeyId").map(str::to_owned);
    let across = source.place.region != cx.place.region;
    let Some(source_key) = &source.kms else {
        if named.is_some() {
            return Err(invalid_combination(
                "Cannot create an encrypted read replica from an unencrypted DB instance.",
            ));
        }
        return Ok(None);
    };
    cx.key_works(source_key, "source")?;
    if across && named.is_none() {
        return Err(invalid_combination(
            "Cannot create a cross region read replica from an encrypted DB instance without a KMS key of the destination \
             region.",
        ));
    }
    if across && cx.place.partition != "aws" && cx.p.text("PreSignedUrl").is_none() {
        return Err(invalid_value(
            "PreSignedUrl must be specified for a read replica in another region of this partition.",
        ));
    }
    Ok(named.or_else(|| Some(source_key.clone())))
}

pub fn promote(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = cx.instance(p.required("DBInstanceIdentifier")?)?;
    if row.replica_of.is_none() {
        return Err(instance_state("DB Instance is not a read replica."));
    }
    if !row.serves() {
        return Err(instance_state(format!("Instance {} is not in available state.", row.id)));
    }
    windows::change(&p, &mut row.settings)?;
    row.retention_days = validate::retention(p.number("BackupRetentionPeriod")?.unwrap_or(1))?;
    row.replica_of = None;
    "modifying".clone_into(&mut row.status);
    let rebooted = cx.now + timing::PROMOTE;
    let mut plan = vec![Planned { at: rebooted, change: Change::Status("rebooting".to_owned()) }];
    plan.extend(becoming(rebooted, timing::REBOOT, row.retention_days > 0));
    row.replan(plan);
    Ok(placement::admit(cx, row, "promoted to an instance of its own"))
}
