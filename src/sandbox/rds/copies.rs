//! CopyDBSnapshot and CopyDBClusterSnapshot: the only way to put existing data under another key.
//!
//! The call is made in the region that the copy is for; a source elsewhere is named by its ARN. Copies of one snapshot run
//! one after the other. The first copy from an instance under a key is a full one, a later one of the same instance under
//! the same key carries only what changed, as long as the earlier copy is there.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::super::{Answer, AwsError, kms::KeyNotAccessible};
use super::context::Context;
use super::error::{self, fault, invalid_combination, invalid_value};
use super::params::Tags;
use super::placement::{option_group, version_of};
use super::rows::Snapshot;
use super::snapshots::{self, Family};
use super::{timing, validate};

/// Copies that may be under way at a time into one region of an account.
pub const MOST_COPIES: usize = 20;

pub fn copy(cx: &mut Context<'_>, family: &Family) -> Result<Answer, AwsError> {
    let p = cx.p;
    let source = family.visible(cx, p.required(family.copy_source)?)?;
    let id = validate::identifier(family.copy_target, p.required(family.copy_target)?, 255)?;
    if !source.available(cx.now) {
        let text = format!("The source snapshot {} is not in available state.", source.id);
        return Err(fault(family.state, text));
    }
    family.may_add(cx, &id)?;
    presigned(cx, &source)?;
    let option_group = target_option_group(cx, family, &source)?;
    let mut tags = if p.flag("CopyTags")?.unwrap_or(false) { source.tags.clone() } else { Tags::new() };
    tags.extend(p.tags()?);
    may_copy_now(cx, family)?;
    let arn = cx.place.arn(family.kind, &id);
    let kms = target_key(cx, family, &source, &arn)?;
    let (begins_at, ready_at) = schedule(cx, family, &source, kms.as_deref());
    let row = Snapshot {
        place: cx.place.clone(),
        id,
        automated: false,
        aws_backup: false,
        created_at: cx.now,
        begins_at,
        ready_at,
        copy_of: Some(family.arn(&source)),
        zone: cx.place.zone(0),
        option_group,
        kms,
        tags,
        shared_with: BTreeSet::new(),
        ..source.clone()
    };
    let what = format!("copied from {}", family.arn(&source));
    family.table_mut(cx.state).insert(arn.clone(), row);
    snapshots::answer(cx, family, &arn, &what)
}

/// Between the regions of the partition for the US government the request has to carry its counterpart for the source's
/// region; elsewhere AWS does without.
fn presigned(cx: &Context<'_>, source: &Snapshot) -> Result<(), AwsError> {
    let across = source.place.region != cx.place.region;
    if across && cx.place.partition == "aws-us-gov" && cx.p.text("PreSignedUrl").is_none() {
        return Err(invalid_value("PreSignedUrl must be specified for a copy across regions of this partition."));
    }
    Ok(())
}

fn target_option_group(cx: &Context<'_>, family: &Family, source: &Snapshot) -> Result<Option<String>, AwsError> {
    if family.cluster {
        return Ok(None);
    }
    let version = version_of(&source.engine, &source.engine_version)?;
    if let Some(name) = cx.p.text("OptionGroupName") {
        return option_group(cx, name, &version).map(Some);
    }
    // An option group belongs to an account and a region: a copy elsewhere falls back to the default.
    if source.place == cx.place { Ok(source.option_group.clone()) } else { Ok(Some(version.default_option_group())) }
}

fn may_copy_now(cx: &Context<'_>, family: &Family) -> Result<(), AwsError> {
    let under_way = |row: &Snapshot| row.place == cx.place && row.copy_of.is_some() && !row.available(cx.now);
    let copies = family.table(cx.state).iter().filter(|(_, row)| under_way(row)).count();
    if copies >= MOST_COPIES {
        let text = format!("You have reached the limit of {MOST_COPIES} snapshot copies in progress to this region.");
        return Err(fault("SnapshotQuotaExceeded", text));
    }
    Ok(())
}

/// The key of the copy: the one named, else the source's in its own account and region. The caller needs the source's key
/// too, and it has to work.
fn target_key(cx: &mut Context<'_>, family: &Family, source: &Snapshot, arn: &str) -> Result<Option<String>, AwsError> {
    let named = cx.p.text("KmsKeyId");
    let foreign = source.place.account != cx.place.account;
    let across = source.place.region != cx.place.region;
    let Some(source_key) = &source.kms else {
        if family.cluster && named.is_some() {
            return Err(invalid_combination(
                "KmsKeyId cannot be specified for a copy of an unencrypted DB cluster snapshot. Restore the snapshot with \
                 a KMS key instead.",
            ));
        }
        return named.map(|named| cx.attach(named, arn, "target")).transpose();
    };
    if named.is_none() && across {
        return Err(invalid_value("Must specify new KMS key for cross region encrypted snapshot copy."));
    }
    if named.is_none() && foreign {
        // Without a key of its own the copy would be under the source's, which the copy's account does not have as its own.
        let reason = KeyNotAccessible("the copy of another account's snapshot needs a key of its own".to_owned());
        return Err(error::key_not_accessible("source snapshot", source_key, &reason));
    }
    if foreign && across {
        return Err(invalid_combination(
            "An encrypted snapshot that another account shares cannot be copied to another region in one step. Copy it in \
             its own region first.",
        ));
    }
    cx.key_works(source_key, "source snapshot")?;
    if foreign {
        let probe = format!("{arn}/source");
        cx.kms
            .attach(cx.now, cx.caller, &source.place.region, source_key, &probe)
            .map_err(|reason| error::key_not_accessible("source snapshot", source_key, &reason))?;
        cx.kms.detach(source_key, &probe);
    }
    cx.attach(named.unwrap_or(source_key), arn, "target").map(Some)
}

/// When the copy begins and when it is there.
fn schedule(cx: &Context<'_>, family: &Family, source: &Snapshot, key: Option<&str>) -> (DateTime<Utc>, DateTime<Utc>) {
    let source_arn = family.arn(source);
    let mut begins_at = cx.now;
    let mut first = true;
    for (_, row) in family.table(cx.state).iter().filter(|(_, row)| row.place == cx.place && row.copy_of.is_some()) {
        if row.copy_of.as_ref() == Some(&source_arn) {
            begins_at = begins_at.max(row.ready_at);
        }
        let same_origin = row.source_resource_id == source.source_resource_id;
        first &= !(same_origin && row.kms.as_deref() == key && source.copy_of.is_none());
    }
    let across = source.place.region != cx.place.region;
    (begins_at, begins_at + timing::copy(source.gb, across, first))
}
