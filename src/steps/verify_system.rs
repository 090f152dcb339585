//! Verifies a restored system before it may take the original's place.
//!
//! Takes a system. Compares every setting with the original's, the key with the expected one. Gives what was compared, and
//! goes on with `lineage`. Effect: none. Again: the same. Fails with `Keyferry.Mismatch` and the list of differences.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{SystemInput, Wait, input, require_ours, settled},
    lineage,
};
use crate::{
    systems::{self, Settings, differences},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct VerifySystem(pub Domain);

#[async_trait]
impl Step for VerifySystem {
    fn name(&self) -> &'static str {
        "verify-system"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let item: SystemInput = input(self.name(), value)?;
        let (key, id) = (item.key()?, item.names(context).new_system());
        let rds = self.0.aws.rds(&item.system.region).await?;
        let Some(restored) = systems::instance(&rds, &id).await? else {
            return self.0.missing(context, &format!("instance {id}"));
        };
        require_ours(&self.0.owner(context), &systems::of_instance(&restored), &format!("instance {id}"))?;
        if let Wait::For(what) = settled(&restored)? {
            return Ok(self.0.pending(what));
        }
        let mut wrong: Vec<String> = differences(&item.system.settings, &Settings::of(&restored))
            .into_iter()
            .map(|(name, wanted, found)| format!("{name} is {found}, was {wanted}"))
            .collect();
        if !restored.storage_encrypted().unwrap_or_default() || restored.kms_key_id() != Some(&key) {
            wrong.push(format!("the key is {}, has to be {key}", restored.kms_key_id().unwrap_or("none")));
        }
        if wrong.is_empty() {
            let records = lineage::verified(context, &item.system, &restored).await?;
            return Ok(Progress::recorded(json!({ "verified": id, "key": key }), records));
        }
        let cause = format!("{id} is not what {} was: {}. The original is put back", item.system.id, wrong.join("; "));
        Err(StepError::new("Keyferry.Mismatch", cause))
    }
}
