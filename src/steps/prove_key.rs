//! Looks whether a key serves with the material that was imported into it again, and writes down that the customer has it.
//!
//! Takes `target` (`region`, `instance`, `arn`) and `reimport`. Gives `{region, arn, verdict, probes}`: a key that fails is an answer, not
//! an error. Leaves `custody-drill`/ARN when it passes. Effect: none; nothing is copied, a use of the key is tried. Again: the
//! probes are repeated. As long as KMS may still show the key as it was before, what fails is tried again.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Domain, common::input};
use crate::{
    keys::{
        Probe, Verdict,
        import::{KeyMaterial, Realm, Reimport, Target},
        probe_own,
    },
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct ProveKey(pub Domain);

#[derive(Deserialize)]
struct Input {
    target: Target,
    reimport: Reimport,
}

#[async_trait]
impl Step for ProveKey {
    fn name(&self) -> &'static str {
        "prove-key"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { target, reimport } = input(self.name(), value)?;
        let saved = context.checkpoint.as_ref().and_then(|saved| saved.get("since")?.as_str()?.parse().ok());
        let since = saved.unwrap_or_else(|| context.now());
        let evidence = context.record(Realm::Production.materials(), &target.arn).await?;
        let evidence = evidence.and_then(|body| serde_json::from_value::<KeyMaterial>(body).ok());
        let evidence = evidence.filter(|evidence| evidence.is_proven_since(reimport.since));
        let imported = evidence.as_ref().map(|evidence| evidence.key_material_id.as_str());
        let kms = self.0.aws.kms(&target.region).await?;
        let tags = [("purpose", "keyferry-probe"), ("enterprise", &context.enterprise), ("run", &context.run)];
        let battery = probe_own(&kms, &target.arn, &tags, imported).await?;
        let fails = battery.denied() || battery.verdict() == Verdict::Failed;
        if fails && (context.now() - since).to_std().unwrap_or_default() < self.0.grace {
            let waiting = format!("KMS in {} to show the key with its material", target.region);
            return Ok(self.0.pending_with(waiting, json!({ "since": since })));
        }
        // A denial of the vendor's own key has no other reading.
        let not_tried = Probe::inconclusive("rds-canary", "not-tried", "not tried: custody is proven without a copy");
        let battery = battery.settle(
            not_tried,
            &self.0.config.vendor.name,
            self.0.aws.account(&target.region).unwrap_or_default(),
        );
        let verdict = battery.verdict();
        let record = evidence.filter(|_| verdict == Verdict::Passed).map(|evidence| Record {
            collection: "custody-drill",
            key: target.arn.clone(),
            body: json!({
                "region": target.region, "instance": target.instance, "arn": target.arn,
                "key_material_id": evidence.key_material_id, "drill": reimport.drill, "reason": reimport.reason,
                "run": context.run, "import": evidence.import, "imported_by": evidence.imported_by,
                "proven_at": evidence.at, "verified_at": context.now(), "probes": battery.probes,
            }),
        });
        let Target { region, arn, .. } = target;
        let output = json!({ "region": region, "arn": arn, "verdict": verdict, "probes": battery.probes });
        Ok(Progress::recorded(output, record.into_iter().collect()))
    }
}
