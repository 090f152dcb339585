//! Master passwords that RDS keeps in Secrets Manager.
//!
//! A secret is the instance's own: turning management on makes a new one, with another ARN. Its key is chosen then and stays
//! for as long as RDS manages it.

use serde_json::{Value, json};

use super::super::AwsError;
use super::context::Context;
use super::error::invalid_combination;
use super::ids::{Place, digest};
use super::rows::{Cluster, Instance};

const SECRET: &str = "MasterUserSecret";

/// Whether RDS manages an instance's master password.
pub fn is_managed(row: &Instance) -> bool {
    row.settings.contains_key(SECRET)
}

/// Lays what the call asks for over `row`.
///
/// # Errors
/// `InvalidParameterCombination`: what AWS does not let be combined.
pub fn overlay(cx: &mut Context<'_>, row: &mut Instance) -> Result<(), AwsError> {
    let p = cx.p;
    let managed = p.flag("ManageMasterUserPassword")?;
    let (password, key) = (p.text("MasterUserPassword"), p.text("MasterUserSecretKmsKeyId"));
    let restores = cx.action.starts_with("RestoreDBInstance");
    if restores && (managed.is_some() || key.is_some()) && !row.engine.starts_with("oracle-") {
        return Err(invalid_combination(format!(
            "ManageMasterUserPassword is not supported when an instance of engine {} is restored. Modify the restored \
             instance instead.",
            row.engine
        )));
    }
    if managed == Some(true) && password.is_some() {
        return Err(invalid_combination(
            "You can't specify MasterUserPassword for an instance with ManageMasterUserPassword enabled.",
        ));
    }
    match managed {
        Some(false) => {
            if is_managed(row) && password.is_none() {
                return Err(invalid_combination(
                    "You must specify MasterUserPassword when you disable ManageMasterUserPassword.",
                ));
            }
            row.settings.remove(SECRET);
        }
        Some(true) if is_managed(row) => same_key(cx, row, key)?,
        Some(true) => manage(cx, row, key)?,
        None if is_managed(row) && password.is_some() => {
            return Err(invalid_combination(
                "You can't specify MasterUserPassword for an instance with ManageMasterUserPassword enabled.",
            ));
        }
        None if is_managed(row) => same_key(cx, row, key)?,
        None if key.is_some() => {
            return Err(invalid_combination(
                "MasterUserSecretKmsKeyId can be specified only when ManageMasterUserPassword is enabled.",
            ));
        }
        None => {}
    }
    Ok(())
}

/// # Errors
/// `InvalidParameterCombination`: the key of a secret cannot be changed while RDS manages it.
fn same_key(cx: &mut Context<'_>, row: &Instance, asked: Option<&str>) -> Result<(), AwsError> {
    let asked = asked.map(|named| key_arn(cx, named)).transpose()?;
    let has = row.settings.get(SECRET).and_then(|secret| secret.get("KmsKeyId")?.as_str());
    if asked.is_none() || asked.as_deref() == has {
        return Ok(());
    }
    Err(invalid_combination(
        "You can't change MasterUserSecretKmsKeyId while the master user password is managed in AWS Secrets Manager.",
    ))
}

fn manage(cx: &mut Context<'_>, row: &mut Instance, key: Option<&str>) -> Result<(), AwsError> {
    let arn = row.arn();
    let replicated = cx.state.instances.iter().any(|(_, other)| other.replica_of.as_deref() == Some(&arn));
    if (replicated || row.replica_of.is_some()) && !has_managed_sources(row) {
        return Err(invalid_combination(
            "ManageMasterUserPassword is not supported for an instance that is or has a read replica.",
        ));
    }
    let secret = secret(cx, &arn, "db", key)?;
    row.settings.insert(SECRET.to_owned(), secret);
    Ok(())
}

/// A new secret of the resource `arn`, under the key that was named or the account's own for Secrets Manager.
///
/// # Errors
/// `KMSKeyNotAccessibleFault`.
fn secret(cx: &mut Context<'_>, arn: &str, of: &str, key: Option<&str>) -> Result<Value, AwsError> {
    let key = match key {
        Some(named) => key_arn(cx, named)?,
        None => cx.kms.managed_key(cx.now, cx.caller, &cx.place.region, "secretsmanager"),
    };
    let id = digest(&format!("{arn}/{}", cx.now));
    let Place { partition, account, region } = &cx.place;
    let arn = format!("arn:{partition}:secretsmanager:{region}:{account}:secret:rds!{of}-{}-{}", &id[..8], &id[8..14]);
    Ok(json!({ "SecretArn": arn, "SecretStatus": "active", "KmsKeyId": key }))
}

/// The ARN of a key that a caller names for a secret.
///
/// # Errors
/// `KMSKeyNotAccessibleFault`.
fn key_arn(cx: &mut Context<'_>, named: &str) -> Result<String, AwsError> {
    // Secrets Manager asks for each use by itself: RDS keeps no grant for it.
    const PROBE: &str = "master-user-secret";
    let arn = cx.attach(named, PROBE, "")?;
    cx.kms.detach(&arn, PROBE);
    Ok(arn)
}

/// Lays what the call asks for over a cluster's secret.
///
/// # Errors
/// `InvalidParameterCombination`, `KMSKeyNotAccessibleFault`.
pub fn overlay_cluster(cx: &mut Context<'_>, row: &mut Cluster) -> Result<(), AwsError> {
    let p = cx.p;
    let (managed, key) = (p.flag("ManageMasterUserPassword")?, p.text("MasterUserSecretKmsKeyId"));
    let has = row.settings.contains_key(SECRET);
    if (managed == Some(true) || (managed.is_none() && has)) && p.text("MasterUserPassword").is_some() {
        return Err(invalid_combination(
            "You can't specify MasterUserPassword for a DB cluster with ManageMasterUserPassword enabled.",
        ));
    }
    match managed {
        Some(true) if !has => {
            let secret = secret(cx, &row.arn(), "cluster", key)?;
            row.settings.insert(SECRET.to_owned(), secret);
        }
        Some(false) if has && p.text("MasterUserPassword").is_none() => {
            return Err(invalid_combination(
                "You must specify MasterUserPassword when you disable ManageMasterUserPassword.",
            ));
        }
        Some(false) => drop(row.settings.remove(SECRET)),
        None if key.is_some() && !has => {
            return Err(invalid_combination(
                "MasterUserSecretKmsKeyId can be specified only when ManageMasterUserPassword is enabled.",
            ));
        }
        Some(true) | None => {}
    }
    Ok(())
}

/// Whether a source may have replicas although its password is managed: of SQL Server alone.
fn has_managed_sources(row: &Instance) -> bool {
    row.engine.starts_with("sqlserver-")
}

/// # Errors
/// `InvalidParameterCombination`: such a source can have no replica, nor a green one.
pub fn may_be_replicated(row: &Instance) -> Result<(), AwsError> {
    if is_managed(row) && !has_managed_sources(row) {
        return Err(invalid_combination(format!(
            "You can't create a read replica of DB instance {}, because its master user password is managed in AWS Secrets \
             Manager.",
            row.id
        )));
    }
    Ok(())
}
