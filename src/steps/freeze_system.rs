//! Takes a system out of service, by renaming it.
//!
//! Takes a system and the window. A rename closes every connection and takes the endpoint away, so nothing can be written
//! after the snapshot that follows: that is the only freeze that RDS itself can promise. Where the configuration names a
//! security group that lets nobody in, the system is given it first, so that a client that has kept its address does not
//! come back. `thaw-system` undoes both. It begins only when the system is what `record-settings` recorded, and leaves
//! `freeze`/RESOURCE-ID once more: the settings of what is frozen, with the security groups from before.
//! Effect: the security group, tags, then the rename. Again: the instance is known by its resource id, which the rename
//! does not change. Fails with `Keyferry.WindowPassed` when it is too late to begin, `Keyferry.SettingsChanged` when the
//! settings have to be recorded again, `Keyferry.NoPlan` when `plan-outage` has not written down how it is put back.

use async_trait::async_trait;
use aws_sdk_rds::types::DbInstance;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{CutOver, Wait, input, put_aside, settled},
    fence::{close, is_closed},
    outage,
    settings::{as_recorded, recorded, refuse},
};
use crate::{
    systems::{self, FREEZE, Frozen, Writers},
    worker::{Outage, Progress, Record, Step, StepContext, StepError},
};

pub struct FreezeSystem(pub Domain);

#[async_trait]
impl Step for FreezeSystem {
    fn name(&self) -> &'static str {
        "freeze-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let said_stopped = value.pointer("/window/writers_stopped").and_then(Value::as_bool).unwrap_or_default();
        let item: CutOver = input(self.name(), value)?;
        let (system, old) = (&item.system, item.names(context).old());
        let planned = outage::planned(context, &item).await?;
        let owner = self.0.owner(context);
        let rds = self.0.aws.rds(&system.region).await?;
        let before = recorded(context, &item).await?;
        if let Some(frozen) = systems::instance(&rds, &old).await? {
            if frozen.dbi_resource_id() != Some(&system.resource_id) {
                let cause = format!("instance {old} exists and is not what {} was: it was not touched", system.id);
                return Err(StepError::new("Keyferry.Foreign", cause));
            }
            return match settled(&frozen)? {
                Wait::For(what) => Ok(self.0.pending(what)),
                Wait::Ready(()) => self.done(context, &item, &frozen, (planned, before, said_stopped)).await,
            };
        }
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
        item.before_freeze(context)?;
        refuse(&serving)?;
        if let Some(before) = &before {
            as_recorded(&serving, before)?;
            if let Some(group) = before.closing_group.as_deref().filter(|group| !is_closed(&serving, group)) {
                context.save_checkpoint(json!({ "intent": "close", "security_group": group })).await?;
                close(&rds, &serving, group).await?;
                return Ok(self.0.pending(format!("RDS: {} is closed to its clients", system.id)));
            }
        }
        context.save_checkpoint(json!({ "intent": "freeze", "rename": [system.id, old] })).await?;
        put_aside(&rds, &owner, system, &serving, &old).await?;
        Ok(self.0.pending(format!("RDS: {} is taken out of service", system.id)))
    }
}

impl FreezeSystem {
    /// Nothing changes a frozen system but AWS itself: what it is now is what its successor has to be.
    async fn done(
        &self,
        context: &StepContext,
        item: &CutOver,
        frozen: &DbInstance,
        (planned, before, said_stopped): (Outage, Option<Frozen>, bool),
    ) -> Result<Progress, StepError> {
        let mut record = Frozen::of(frozen, &item.system, (&context.run, item.attempt), context.now());
        match before {
            Some(before) => {
                if before.closing_group.is_some() {
                    record.settings.security_groups = before.settings.security_groups;
                }
                record.closing_group = before.closing_group;
                record.replications = before.replications;
            }
            // The definition has no state that records before the freeze.
            None => record.replications = self.0.replications(frozen).await?,
        }
        record.writers = match (&record.closing_group, said_stopped) {
            _ if item.system.replica_of.is_some() => Writers::ReadOnly,
            (Some(_), _) => Writers::Fenced,
            (None, true) => Writers::SaidToBeStopped,
            (None, false) => Writers::NotProven,
        };
        let output = json!({ "frozen": item.names(context).old(), "closed": record.closing_group.is_some() });
        let record = Record { collection: FREEZE, key: item.system.resource_id.clone(), body: json!(record) };
        Ok(Progress::recorded(output, vec![record, outage::frozen(planned)]))
    }
}
