//! Describes a system just before it is taken out of service: what its successor will be restored by and judged against.
//!
//! Takes a system and the window. Waits until RDS is through with the system and there is room for its copy in the region.
//! Refuses what a restore would lose and what its checks find, while nothing is out of service. Leaves
//! `freeze`/RESOURCE-ID. Effect: none. Again: the record is written anew; a system that is closed already keeps the
//! security groups that were recorded before.

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{CutOver, SystemInput, Wait, input, settled},
    fence::has_only,
    preflight::checks,
    settings::{record, refuse},
};
use crate::{
    systems::{self, FREEZE, Frozen},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct RecordSettings(pub Domain);

/// AWS copies this many snapshots into a region at a time, for an account.
const COPIES: usize = 20;

#[async_trait]
impl Step for RecordSettings {
    fn name(&self) -> &'static str {
        "record-settings"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: CutOver = input(self.name(), value)?;
        let (system, owner) = (&item.system, self.0.owner(context));
        let rds = self.0.aws.rds(&system.region).await?;
        if let Some(frozen) = systems::instance(&rds, &item.names(context).old()).await?
            && frozen.dbi_resource_id() == Some(&system.resource_id)
        {
            // It is out of service already: the record was there before.
            return Ok(Progress::done(json!({ "recorded": system.id })));
        }
        item.before_freeze(context)?;
        let Some(serving) = systems::instance(&rds, &system.id).await? else {
            return self.0.missing(context, &format!("instance {}", system.id));
        };
        if serving.dbi_resource_id() != Some(&system.resource_id) {
            let cause =
                format!("instance {} is not the one that the inventory found: take the inventory again", system.id);
            return Err(StepError::new("Keyferry.Foreign", cause));
        }
        if let Wait::For(what) = settled(&serving)? {
            return Ok(self.0.pending(what));
        }
        refuse(&serving)?;
        let copying = self.0.copies_in_progress(&system.region).await?;
        if copying >= COPIES {
            let what = format!("its turn: {copying} snapshots are copied in {} already", system.region);
            return Ok(self.0.pending(what));
        }
        let made = self.0.describe(context, &item, &serving).await?;
        checks(&self.0, &item, &made).await?;
        let record = Record { collection: FREEZE, key: system.resource_id.clone(), body: json!(made) };
        Ok(Progress::recorded(json!({ "recorded": system.id, "run": owner.run }), vec![record]))
    }
}

impl Domain {
    /// What a serving system is, with the security groups that are its own.
    pub(super) async fn describe(
        &self,
        context: &StepContext,
        item: &SystemInput,
        serving: &DbInstance,
    ) -> Result<Frozen, StepError> {
        let system = &item.system;
        let mut made = Frozen::of(serving, system, (&context.run, item.attempt), context.now());
        made.replications = self.replications(serving).await?;
        made.closing_group = self.closing_group(&system.region, serving);
        if let Some(before) = record(context, &system.resource_id).await?
            && before.closing_group.as_ref().is_some_and(|group| has_only(serving, group))
        {
            made.settings.security_groups = before.settings.security_groups;
            made.closing_group = before.closing_group;
        } else if made.closing_group.as_ref().is_some_and(|group| has_only(serving, group)) {
            let cause = format!(
                "{} has the closing security group {} and no record says which were its own: give it those that it has \
                 to have, then retry",
                system.id,
                made.closing_group.as_deref().unwrap_or_default()
            );
            return Err(StepError::new("Keyferry.Unsupported", cause));
        }
        Ok(made)
    }

    /// Where an instance's automated backups are replicated to, and for how many days they are kept there.
    pub(super) async fn replications(
        &self,
        instance: &DbInstance,
    ) -> Result<std::collections::BTreeMap<String, i32>, StepError> {
        let mut found = std::collections::BTreeMap::new();
        for replication in instance.db_instance_automated_backups_replications() {
            let Some(arn) = replication.db_instance_automated_backups_arn() else { continue };
            let Some(region) = arn.split(':').nth(3) else { continue };
            if let Some(backup) = systems::backup(&self.aws.rds(region).await?, arn).await? {
                found.insert(region.to_owned(), backup.backup_retention_period().unwrap_or_default());
            }
        }
        Ok(found)
    }

    /// Snapshots that are being copied into a region, by whomever.
    async fn copies_in_progress(&self, region: &str) -> Result<usize, StepError> {
        let listing = self.listings.of(region).await?;
        let copied = listing.resources.iter().filter(|resource| {
            resource.kind == systems::Kind::Snapshot && resource.derived_from.is_some() && resource.status == "creating"
        });
        Ok(copied.count())
    }
}
