//! Who else may restore a snapshot: the `restore` attribute.

use serde_json::{Value, json};

use super::super::{Answer, AwsError, Caller};
use super::context::{Context, changed, seen};
use super::error::{fault, invalid_value};
use super::params::list_of;
use super::rows::Snapshot;
use super::snapshots::Family;

/// AWS lets a snapshot be shared with this many accounts.
const MOST_SHARES: usize = 20;

pub fn modify(cx: &mut Context<'_>, family: &Family) -> Result<Answer, AwsError> {
    let p = cx.p;
    let mut row = family.own(cx, p.required(family.identifier)?)?;
    let attribute = p.required("AttributeName")?;
    if attribute != "restore" {
        return Err(invalid_value(format!("Invalid attribute name: {attribute}")));
    }
    let add = p.list("ValuesToAdd").unwrap_or_default();
    let remove = p.list("ValuesToRemove").unwrap_or_default();
    if !row.is_manual() {
        return Err(fault(family.state, "Automated snapshots cannot be shared. Copy the snapshot and share the copy."));
    }
    if !row.available(cx.now) {
        return Err(fault(family.state, format!("Snapshot {} is not in available state.", row.id)));
    }
    for value in add.iter().chain(&remove) {
        let account = value.len() == 12 && value.chars().all(|c| c.is_ascii_digit());
        if !account && *value != "all" {
            return Err(invalid_value(format!("Invalid value for attribute {attribute}: {value}")));
        }
    }
    if !add.is_empty() && row.kms.is_some() {
        may_share_encrypted(cx, &row, &add)?;
    }
    row.shared_with.extend(add.iter().map(|value| (*value).to_owned()));
    for value in &remove {
        row.shared_with.remove(*value);
    }
    if row.shared_with.len() > MOST_SHARES {
        let text = format!("A snapshot cannot be shared with more than {MOST_SHARES} accounts.");
        return Err(fault("SharedSnapshotQuotaExceeded", text));
    }
    let arn = family.arn(&row);
    let body = attributes(family, &row);
    let shared: Vec<String> = row.shared_with.iter().cloned().collect();
    let what =
        if shared.is_empty() { "shared with nobody".to_owned() } else { format!("shared with {}", shared.join(", ")) };
    family.table_mut(cx.state).insert(arn.clone(), row);
    Ok(changed(&format!("{}AttributesResult", family.shape), body, arn, what))
}

/// An encrypted snapshot is never public, and one under the account's default key cannot be read by others at all.
fn may_share_encrypted(cx: &mut Context<'_>, row: &Snapshot, add: &[&str]) -> Result<(), AwsError> {
    if add.contains(&"all") {
        return Err(invalid_value("Encrypted snapshots cannot be made public."));
    }
    let owner = Caller {
        account: row.place.account.clone(),
        partition: row.place.partition.clone(),
        arn: cx.caller.arn.clone(),
    };
    let default = cx.kms.default_rds_key(cx.now, &owner, &row.place.region);
    if row.kms.as_deref() == Some(default.as_str()) {
        return Err(invalid_value(
            "Sharing snapshots encrypted with the default service key for RDS is currently not supported.",
        ));
    }
    Ok(())
}

pub fn describe(cx: &mut Context<'_>, family: &Family) -> Result<Answer, AwsError> {
    let row = family.own(cx, cx.p.required(family.identifier)?)?;
    Ok(seen(json!({ format!("{}AttributesResult", family.shape): attributes(family, &row) })))
}

fn attributes(family: &Family, row: &Snapshot) -> Value {
    let values = row.shared_with.iter().map(|value| json!(value)).collect();
    let member = format!("{}Attribute", family.shape);
    json!({
        family.identifier: row.id,
        format!("{member}s"): list_of(&member, vec![json!({
            "AttributeName": "restore", "AttributeValues": list_of("AttributeValue", values),
        })]),
    })
}
