//! Verifies a restored system before it may take the original's place.
//!
//! Takes a system. Compares every setting with the original's at its freeze, the key and those of its parts with the
//! expected one, and what it was restored from with the final copy. Gives what was compared, and goes on with `lineage`. Effect: none. Again: the same. Fails with
//! `Keyferry.Mismatch` and the list of differences.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Wait, require_ours, settled},
    lineage,
    recorded::cut_over,
    settings::wanted,
};
use crate::{
    systems::{self, Settings, differences, read},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct VerifySystem(pub Domain);

#[async_trait]
impl Step for VerifySystem {
    fn name(&self) -> &'static str {
        "verify-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item = cut_over(context, self.name(), value).await?;
        let (key, names) = (item.key()?, item.names(context));
        let (id, copy) = (names.new_system(), names.final_copy());
        let rds = self.0.aws.rds(&item.system.region).await?;
        let Some(restored) = systems::instance(&rds, &id).await? else {
            return self.0.missing(context, &format!("instance {id}"));
        };
        require_ours(&self.0.owner(context), &systems::of_instance(&restored), &format!("instance {id}"))?;
        if let Wait::For(what) = settled(&restored)? {
            return Ok(self.0.pending(what));
        }
        let wanted = wanted(context, &item).await?;
        let mut wrong: Vec<String> = differences(&wanted, &Settings::of(&restored))
            .into_iter()
            .map(|(name, wanted, found)| format!("{name} is {found}, was {wanted}"))
            .collect();
        // Settings and key are the same whichever copy it was restored from: an earlier one lacks the last writes.
        let from = systems::of_instance(&restored);
        if read::restored_from(&from) != Some(&copy) {
            let found = read::restored_from(&from).unwrap_or("nothing that it says");
            wrong.push(format!("it was restored from {found}, has to be from {copy}"));
        }
        if !restored.storage_encrypted().unwrap_or_default() || restored.kms_key_id() != Some(&key) {
            wrong.push(format!("the key is {}, has to be {key}", restored.kms_key_id().unwrap_or("none")));
        }
        let secret = restored.master_user_secret();
        if secret.is_some_and(|secret| secret.kms_key_id() != Some(&key)) {
            wrong.push(format!("the secret with its master password is not under {key}"));
        }
        if restored.performance_insights_kms_key_id().is_some_and(|own| own != key) {
            wrong.push(format!("its Performance Insights are not under {key}"));
        }
        if wrong.is_empty() {
            let records = lineage::verified(context, &item.system, &restored).await?;
            return Ok(Progress::recorded(json!({ "verified": id, "key": key }), records));
        }
        let cause = format!("{id} is not what {} was: {}. The original is put back", item.system.id, wrong.join("; "));
        Err(StepError::new("Keyferry.Mismatch", cause))
    }
}
