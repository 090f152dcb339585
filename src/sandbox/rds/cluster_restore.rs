//! New clusters from old data. Unlike an instance's, a cluster's restore may take a new key: even from an unencrypted
//! snapshot, but not in a recovery of an unencrypted cluster.

use super::super::{Answer, AwsError};
use super::clusters;
use super::context::Context;
use super::engines;
use super::error::{fault, invalid_combination, invalid_value};
use super::rows::{Snapshot, becoming};
use super::snapshots::{self, Family};
use super::{settings, timing, validate};

pub fn from_snapshot(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBClusterIdentifier", p.required("DBClusterIdentifier")?, 63)?;
    let named = p.required("SnapshotIdentifier")?;
    let engine = engines::engine(p.required("Engine")?)?;
    let (family, source): (&Family, Snapshot) = match snapshots::CLUSTER.visible(cx, named) {
        Ok(source) => (&snapshots::CLUSTER, source),
        Err(missing) => (&snapshots::INSTANCE, snapshots::INSTANCE.visible(cx, named).map_err(|_| missing)?),
    };
    if source.place.region != cx.place.region {
        return Err(snapshots::CLUSTER.missing(named));
    }
    cx.cluster_id_is_free(&id)?;
    if !source.available(cx.now) {
        return Err(fault(family.state, format!("Snapshot {} is not in available state.", source.id)));
    }
    let related = engine.name == source.engine || engine.name == format!("aurora-{}", kin(&source.engine));
    if !related {
        return Err(invalid_combination(format!(
            "The engine {} cannot be restored from a snapshot of {}",
            engine.name, source.engine
        )));
    }
    let what = format!("restored from {}", family.arn(&source));
    restore(cx, id, engine, &source, &what)
}

/// The name of an engine within Aurora's.
fn kin(engine: &str) -> &str {
    if engine == "postgres" { "postgresql" } else { engine }
}

pub fn to_point_in_time(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("DBClusterIdentifier", p.required("DBClusterIdentifier")?, 63)?;
    let source = cx.cluster(p.required("SourceDBClusterIdentifier")?)?;
    let clone = match p.text("RestoreType").unwrap_or("full-copy") {
        "full-copy" => false,
        "copy-on-write" => true,
        other => return Err(invalid_value(format!("Invalid RestoreType: {other}"))),
    };
    let latest = p.flag("UseLatestRestorableTime")?.unwrap_or(false);
    if !clone && latest == p.text("RestoreToTime").is_some() {
        return Err(invalid_combination("Either RestoreToTime or UseLatestRestorableTime must be specified, not both"));
    }
    cx.cluster_id_is_free(&id)?;
    if source.kms.is_none() && p.text("KmsKeyId").is_some() {
        return Err(invalid_combination("KmsKeyId cannot be specified for the recovery of an unencrypted DB cluster."));
    }
    let engine = engines::engine(&source.engine)?;
    let mut data = snapshots::of_cluster(cx.state, &source, source.id.clone(), true, cx.now);
    if let Some(asked) = p.text("RestoreToTime") {
        let at = chrono::DateTime::parse_from_rfc3339(asked)
            .map_err(|_| invalid_value(format!("Invalid RestoreToTime: {asked}")))?;
        data.content = data.content.as_of(at.to_utc());
    }
    restore(cx, id, engine, &data, &format!("restored from {}", source.arn()))
}

fn restore(
    cx: &mut Context<'_>,
    id: String,
    engine: &'static engines::Engine,
    source: &Snapshot,
    what: &str,
) -> Result<Answer, AwsError> {
    let p = cx.p;
    let asked = p.text("EngineVersion");
    let version = match asked {
        Some(asked) => engine.version(Some(asked))?,
        None if engine.name == source.engine => engine.version(Some(&source.engine_version))?,
        None => engine.version(None)?,
    };
    let mut row = clusters::fresh(cx, id, &version);
    row.settings.extend(settings::restored(&source.settings, &cx.place));
    row.gb = source.gb;
    row.port = source.port;
    row.username.clone_from(&source.username);
    row.retention_days = source.retention_days.max(1);
    if !engine.is_aurora() {
        row.class.clone_from(&source.class);
    }
    clusters::overlay(cx, &mut row, &version)?;
    clusters::may_add(cx, &row)?;
    if let Some(key) = &source.kms {
        cx.key_works(key, "source")?;
    }
    row.resource_id = cx.state.mint("cluster-");
    if let Some(key) = p.text("KmsKeyId").map(str::to_owned).or_else(|| source.kms.clone()) {
        row.kms = Some(cx.attach(&key, &row.resource_id, "")?);
    }
    row.content.clone_from(&source.content);
    row.plan = becoming(cx.now, timing::RESTORE, true);
    clusters::admit_new(cx, row, what)
}
