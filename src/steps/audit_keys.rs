//! How an audit looks at one key: its state, each use that was agreed, and RDS's use of it.
//!
//! RDS's use is proven by a copy of the canary. That costs minutes, so it is done when the last copy is a day old, or when
//! something about the key has changed since; between two copies the report says when it was last proven.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Domain,
    audit::Saved,
    canary::{canary, end_canary},
    common::Wait,
};
use crate::{
    audit::KeySeen,
    aws::Failure,
    keys::{
        Battery, Custody, Probe, ProbeState,
        import::{KeyMaterial, Realm},
        probe, probe_own, probe_policy,
    },
    worker::{Record, StepContext, StepError},
};

/// How long a copy by RDS counts.
const CANARY: TimeDelta = TimeDelta::hours(24);
const CANARIES: &str = "key-canary";

/// What RDS was last seen to do with a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Used {
    pub at: DateTime<Utc>,
    /// Whether direct uses were denied then: a change of that asks for a new copy.
    pub denied: bool,
    pub seen: String,
}

impl Used {
    pub fn record(&self, arn: &str) -> Record {
        Record { collection: CANARIES, key: arn.to_owned(), body: json!(self) }
    }
}

/// What a look came to.
pub(super) enum Looked {
    Seen(Box<KeySeen>),
    Waiting(String),
}

/// The outcome of RDS's use of a key.
enum Canary {
    Known(Probe, Option<DateTime<Utc>>),
    Waiting(String),
    Unknown(String),
}

impl Domain {
    pub(super) async fn look_at_key(
        &self,
        context: &StepContext,
        region: &str,
        arn: &str,
        saved: &mut Saved,
        in_grace: bool,
    ) -> Result<Looked, StepError> {
        let material = context.record(Realm::Production.materials(), arn).await?;
        let material = material.and_then(|body| serde_json::from_value::<KeyMaterial>(body).ok());
        let proven_at = material.as_ref().and_then(KeyMaterial::proven_at);
        let account = self.aws.account(region).unwrap_or_default();
        let own = material.is_some() || arn.split(':').nth(4) == Some(account);
        let custody = if own { Custody::Vendor } else { Custody::Customer };
        let seen = |probes: Result<Vec<Probe>, String>, used_by_rds_at: Option<DateTime<Utc>>| {
            Looked::Seen(Box::new(KeySeen { custody, probes, used_by_rds_at, proven_at }))
        };
        let imported = material.as_ref().map(|known| known.key_material_id.as_str());
        let battery = match self.battery(context, (region, arn), custody, imported).await? {
            Ok(battery) => battery,
            Err(failure) if in_grace => return Ok(Looked::Waiting(failure.cause)),
            Err(failure) => return Ok(seen(Err(failure.cause), None)),
        };
        if battery.hopeless() {
            return Ok(seen(Ok(battery.probes), None));
        }
        if battery.denied() && in_grace {
            return Ok(Looked::Waiting(format!("the policy of {arn} to spread: a use of the key is denied")));
        }
        match self.used_by_rds(context, region, arn, battery.denied(), saved).await? {
            Canary::Waiting(what) => Ok(Looked::Waiting(what)),
            Canary::Known(probe, _) if probe.state == ProbeState::Failed && in_grace => {
                Ok(Looked::Waiting(format!("the policy of {arn} to spread: RDS may not use the key")))
            }
            Canary::Known(probe, at) => {
                Ok(seen(Ok(battery.settle(probe, &self.config.vendor.name, account).probes), at))
            }
            Canary::Unknown(cause) if in_grace => Ok(Looked::Waiting(cause)),
            Canary::Unknown(cause) => Ok(seen(Err(cause), None)),
        }
    }

    /// The probes of a key. The inner error: AWS could not be asked.
    async fn battery(
        &self,
        context: &StepContext,
        (region, arn): (&str, &str),
        custody: Custody,
        imported: Option<&str>,
    ) -> Result<Result<Battery, Failure>, StepError> {
        let kms = self.aws.kms(region).await?;
        let tags = [("purpose", "keyferry-audit"), ("enterprise", &context.enterprise), ("run", &context.run)];
        if custody == Custody::Customer {
            return Ok(probe(&kms, arn, &tags).await);
        }
        let mut battery = match probe_own(&kms, arn, &tags, imported).await {
            Ok(battery) => battery,
            Err(failure) => return Ok(Err(failure)),
        };
        let policy = probe_policy(&kms, arn, region, self.aws.account(region).unwrap_or_default()).await;
        Ok(policy.map(|probes| {
            battery.probes.extend(probes);
            battery
        }))
    }

    async fn used_by_rds(
        &self,
        context: &StepContext,
        region: &str,
        arn: &str,
        denied: bool,
        saved: &mut Saved,
    ) -> Result<Canary, StepError> {
        let rds = self.aws.rds(region).await?;
        let owner = self.owner(context);
        let before = match saved.canaries.get(arn) {
            Some(now) => {
                // The result is in the checkpoint: the copy is not needed any more.
                if let Err(error) = end_canary(&rds, &owner, arn).await {
                    return Ok(unknown(region, arn, &error));
                }
                Some(now.clone())
            }
            None => context.record(CANARIES, arn).await?.and_then(|body| serde_json::from_value(body).ok()),
        };
        if let Some(used) = before.filter(|used: &Used| used.denied == denied && context.now() - used.at < CANARY) {
            let seen = format!("{} (at {})", used.seen, crate::schedule::text(used.at));
            return Ok(Canary::Known(Probe::passed("rds-canary", seen), Some(used.at)));
        }
        let vendor = (self.config.vendor.name.as_str(), self.aws.account(region).unwrap_or_default());
        Ok(match canary(&rds, &owner, arn, vendor, context.checkpoint.is_some()).await {
            Ok(Wait::For(what)) => Canary::Waiting(what),
            Ok(Wait::Ready(probe)) if probe.state == ProbeState::Passed => {
                saved.canaries.insert(arn.to_owned(), Used { at: context.now(), denied, seen: probe.seen });
                Canary::Waiting(format!("RDS: the copy that proves {arn} is deleted"))
            }
            Ok(Wait::Ready(probe)) => Canary::Known(probe, None),
            Err(error) => unknown(region, arn, &error),
        })
    }
}

fn unknown(region: &str, arn: &str, error: &StepError) -> Canary {
    Canary::Unknown(format!("RDS in {region} could not be asked to use {arn}: {}", error.cause))
}
