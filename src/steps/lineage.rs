//! What the steps of a migration leave as lineage: each link in the commit of the step that has seen it.
//!
//! A step that finds no record to go on from leaves none: the migration goes on, and the purge keeps what is not proven.

use aws_sdk_rds::types::{DbInstance, DbSnapshot};
use serde_json::json;

use crate::{
    systems::{
        self, System,
        lineage::{COLLECTION, Copied, Lineage, Lineages, Snapshot, Source, Successor, VERSION, Way},
        read,
    },
    worker::{Record, StepContext, StepError},
};

fn record(lineage: &Lineage) -> Vec<Record> {
    vec![Record { collection: COLLECTION, key: lineage.source.resource_id.clone(), body: json!(lineage) }]
}

async fn before(context: &StepContext, resource_id: &str) -> Result<Option<Lineage>, StepError> {
    Ok(context.record(COLLECTION, resource_id).await?.and_then(|body| Lineage::read(&body)))
}

fn source(system: &System) -> Source {
    Source {
        id: system.id.clone(),
        arn: system.arn.clone(),
        region: system.region.clone(),
        instance: system.instance.clone(),
        resource_id: system.resource_id.clone(),
        key: system.key.clone(),
    }
}

/// All lineages of the step's enterprise.
///
/// # Errors
/// The store could not be read.
pub async fn all(context: &StepContext) -> Result<Lineages, StepError> {
    Ok(Lineages::of(&context.records(COLLECTION).await?))
}

/// The final snapshot of a frozen system is whole.
///
/// # Errors
/// The store could not be read.
pub async fn frozen(context: &StepContext, system: &System, found: &DbSnapshot) -> Result<Vec<Record>, StepError> {
    let taken_at = systems::time(found.original_snapshot_create_time().or(found.snapshot_create_time()));
    let Some(taken_at) = taken_at else { return Ok(Vec::new()) };
    let snapshot = Snapshot {
        id: found.db_snapshot_identifier().unwrap_or_default().to_owned(),
        arn: found.db_snapshot_arn().unwrap_or_default().to_owned(),
        resource_id: found.dbi_resource_id().unwrap_or_default().to_owned(),
        taken_at,
        storage_gb: found.allocated_storage().unwrap_or_default(),
    };
    let known = before(context, &system.resource_id).await?;
    Ok(record(&Lineage::begin(known, &context.run, source(system), snapshot, context.now())))
}

/// The copy of the final snapshot is whole and under the key.
///
/// # Errors
/// The store could not be read.
pub async fn copied(context: &StepContext, system: &System, found: &DbSnapshot) -> Result<Vec<Record>, StepError> {
    let Some(mut lineage) = before(context, &system.resource_id).await? else { return Ok(Vec::new()) };
    let Way::Snapshot { copy, .. } = &mut lineage.way else { return Ok(Vec::new()) };
    *copy = Some(Copied {
        id: found.db_snapshot_identifier().unwrap_or_default().to_owned(),
        arn: found.db_snapshot_arn().unwrap_or_default().to_owned(),
        from: found.source_db_snapshot_identifier().unwrap_or_default().to_owned(),
        key: found.kms_key_id().unwrap_or_default().to_owned(),
        storage_gb: found.allocated_storage().unwrap_or_default(),
    });
    Ok(record(&lineage))
}

/// The restored system is what the original was, and under the key.
///
/// # Errors
/// The store could not be read.
pub async fn verified(context: &StepContext, system: &System, found: &DbInstance) -> Result<Vec<Record>, StepError> {
    let Some(mut lineage) = before(context, &system.resource_id).await? else { return Ok(Vec::new()) };
    let from = read::restored_from(&systems::of_instance(found)).unwrap_or_default().to_owned();
    lineage.successor = Some(successor(context, system, found, from));
    Ok(record(&lineage))
}

fn successor(context: &StepContext, system: &System, found: &DbInstance, from: String) -> Successor {
    Successor {
        arn: found.db_instance_arn().unwrap_or_default().to_owned(),
        region: system.region.clone(),
        resource_id: found.dbi_resource_id().unwrap_or_default().to_owned(),
        from,
        key: found.kms_key_id().unwrap_or_default().to_owned(),
        storage_gb: found.allocated_storage().unwrap_or_default(),
        verified_at: context.now(),
    }
}

/// The verified system serves under the original's name.
///
/// # Errors
/// The store could not be read.
pub async fn swapped(context: &StepContext, system: &System, serving: &DbInstance) -> Result<Vec<Record>, StepError> {
    let Some(mut lineage) = before(context, &system.resource_id).await? else { return Ok(Vec::new()) };
    let Some(successor) = &mut lineage.successor else { return Ok(Vec::new()) };
    if serving.dbi_resource_id() != Some(&successor.resource_id) {
        return Ok(Vec::new());
    }
    successor.arn = serving.db_instance_arn().unwrap_or_default().to_owned();
    lineage.swapped_at = lineage.swapped_at.or(Some(context.now()));
    Ok(record(&lineage))
}

/// A replica of the system `of` (a resource id) stands ready for the place of one under another key.
pub fn replicated(context: &StepContext, replica: &System, found: &DbInstance, of: &str) -> Vec<Record> {
    let from = found.read_replica_source_db_instance_identifier().unwrap_or_default().to_owned();
    let lineage = Lineage {
        version: VERSION,
        run: context.run.clone(),
        source: source(replica),
        way: Way::Replica { of: of.to_owned() },
        successor: Some(successor(context, replica, found, from)),
        swapped_at: None,
    };
    record(&lineage)
}
