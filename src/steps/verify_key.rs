//! Verifies one key: the battery of probes, then the canary.
//!
//! Takes `region`, `arn` and, for a key that the vendor made itself, `custody` (`vendor`). Gives `{region, arn, verdict,
//! probes}`: a key that fails is an answer, not an error. Leaves `key-canary`/ARN when RDS could use the key. Effect: the
//! canary's copy, deleted once what it proves is written down. Again: the probes are repeated, the copy is found by its name.
//! While a direct use is denied, the policy may still be spreading: the probes are repeated until they pass or the grace is
//! over.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    audit_keys::Used,
    canary::{canary, end_canary},
    common::{Wait, input},
    purge_proof::FRESH,
};
use crate::{
    aws::partition,
    keys::{
        Battery, Custody, Probe, ProbeState,
        import::{KeyMaterial, Realm},
        probe, probe_own,
    },
    worker::{Progress, Step, StepContext, StepError},
};

pub struct VerifyKey(pub Domain);

#[derive(Deserialize)]
struct Input {
    region: String,
    arn: String,
    #[serde(default)]
    custody: Custody,
}

#[async_trait]
impl Step for VerifyKey {
    fn name(&self) -> &'static str {
        "verify-key"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { region, arn, custody } = input(self.name(), value)?;
        let since = since(context);
        let checkpoint = json!({ "since": since });
        let proven = context.checkpoint.as_ref().and_then(|saved| Used::deserialize(saved.get("proven")?).ok());
        let proven = proven.filter(|used| (context.now() - used.at).abs() < FRESH);
        let in_grace = (context.now() - since).to_std().unwrap_or_default() < self.0.grace;

        let kms = self.0.aws.kms(&region).await?;
        let tags = [("purpose", "keyferry-probe"), ("enterprise", &context.enterprise), ("run", &context.run)];
        let battery = match custody {
            Custody::Customer => probe(&kms, &arn, &tags).await?,
            Custody::Vendor => {
                let evidence = context.record(Realm::Production.materials(), &arn).await?;
                let evidence = evidence.and_then(|body| serde_json::from_value::<KeyMaterial>(body).ok());
                let imported = evidence.as_ref().map(|evidence| evidence.key_material_id.as_str());
                probe_own(&kms, &arn, &tags, imported).await?
            }
        };
        if battery.hopeless() {
            let not_tried =
                Probe::inconclusive("rds-canary", "not-tried", "not tried: the key itself has to be put right first");
            let told = told(&region, &arn, battery, not_tried, self.vendor(&region));
            return Ok(Progress::done(told));
        }
        if battery.denied() && in_grace {
            let waiting = format!("the policy of {arn} to spread: a use of the key is still denied");
            return Ok(self.0.pending_with(waiting, checkpoint));
        }
        let rds = self.0.aws.rds(&region).await?;
        let owner = self.0.owner(context);
        if let Some(used) = proven {
            // The result is in the checkpoint: the copy is not needed any more.
            end_canary(&rds, &owner, &arn).await?;
            let canary = Probe::passed("rds-canary", used.seen.clone());
            let told = told(&region, &arn, battery, canary, self.vendor(&region));
            return Ok(Progress::recorded(told, vec![used.record(&arn)]));
        }
        match canary(&rds, &owner, &arn, self.vendor(&region), context.checkpoint.is_some()).await? {
            Wait::For(what) => Ok(self.0.pending_with(what, checkpoint)),
            Wait::Ready(canary) if canary.state == ProbeState::Failed && in_grace => {
                let waiting = format!("the policy of {arn} to spread: RDS may not use the key yet");
                Ok(self.0.pending_with(waiting, checkpoint))
            }
            Wait::Ready(canary) if canary.state == ProbeState::Passed => {
                let used = Used { at: context.now(), denied: battery.denied(), seen: canary.seen };
                let waiting = format!("RDS: the copy that proves {arn} is deleted");
                Ok(self.0.pending_with(waiting, json!({ "since": since, "proven": used })))
            }
            Wait::Ready(canary) => Ok(Progress::done(told(&region, &arn, battery, canary, self.vendor(&region)))),
        }
    }
}

impl VerifyKey {
    fn vendor(&self, region: &str) -> (&str, &str) {
        let config = &self.0.config;
        let account = config.aws.partitions.get(partition(region)).map(|place| place.account.as_str());
        (&config.vendor.name, account.unwrap_or_default())
    }
}

/// When this visit first looked at the key.
fn since(context: &StepContext) -> DateTime<Utc> {
    let saved = context.checkpoint.as_ref().and_then(|checkpoint| checkpoint.get("since")?.as_str()?.parse().ok());
    saved.unwrap_or_else(|| context.now())
}

fn told(region: &str, arn: &str, battery: Battery, canary: Probe, vendor: (&str, &str)) -> Value {
    let battery = battery.settle(canary, vendor.0, vendor.1);
    let verdict = battery.verdict();
    json!({ "region": region, "arn": arn, "verdict": verdict, "probes": battery.probes })
}
