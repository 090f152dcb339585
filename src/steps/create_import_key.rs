//! Makes one of the vendor's keys for a customer's material: no material in it yet.
//!
//! Takes `region` and `instance` (none: the region's key). Gives `{region, instance, arn}` and leaves `import-key`/ARN, by
//! which the key is known to be the enterprise's, and duplicates of a lost reply, if any, as the record `orphan-key`/ARN.
//! Effect: CreateKey and CreateAlias. Again: the key is found by its alias, or by its tags when the reply was lost. As long as
//! KMS may need to show a key whose making was begun, no other is made.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Domain, common::input, recorded::made};
use crate::{
    keys::import::{Target, VaultKey, WantedKey, digest, find_key, make_key},
    worker::{Progress, Record, Step, StepContext, StepError},
};

/// Hexadecimal digits of the run's hash in the alias.
const MARK: usize = 12;

pub struct CreateImportKey(pub Domain);

#[derive(Deserialize)]
struct Input {
    region: String,
    #[serde(default)]
    instance: Option<String>,
}

#[async_trait]
impl Step for CreateImportKey {
    fn name(&self) -> &'static str {
        "create-import-key"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let place: Input = input(self.name(), value)?;
        let kms = self.0.aws.kms(&place.region).await?;
        let account = self.0.aws.account(&place.region).unwrap_or_default();
        let tags = self.0.owner(context).tags("import-key");
        let mut of = digest(context.run.as_bytes());
        of.truncate(MARK);
        let wanted =
            WantedKey::new(&context.enterprise, &of, (&place.region, place.instance.as_deref()), account, tags);
        if let Some(key) = find_key(&kms, &wanted).await? {
            return Ok(told(context, &place, key));
        }
        let begun = context.checkpoint.as_ref().and_then(|saved| saved.get("begun")?.as_str()?.parse().ok());
        if let Some(begun) =
            begun.filter(|begun: &DateTime<Utc>| (context.now() - *begun).to_std().unwrap_or_default() < self.0.grace)
        {
            let waiting = format!("KMS in {} to show the key whose making was begun", place.region);
            return Ok(self.0.pending_with(waiting, json!({ "begun": begun })));
        }
        let begun = json!({ "begun": context.now() });
        context.save_checkpoint(begun.clone()).await?;
        match make_key(&kms, &wanted).await {
            Ok(key) => Ok(told(context, &place, key)),
            Err(failure) if failure.lost() => {
                tracing::warn!(run.id = context.run, cause = failure.cause, "whether a key was made is not known yet");
                Ok(self.0.pending_with(format!("KMS in {}, whose reply was lost", place.region), begun))
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

fn told(context: &StepContext, place: &Input, key: VaultKey) -> Progress {
    let Input { region, instance } = place;
    let orphans = key.orphans.iter().map(|arn| Record {
        collection: "orphan-key",
        key: arn.clone(),
        body: json!({ "region": region, "arn": arn, "instead": key.arn }),
    });
    let own = Target { region: region.clone(), instance: instance.clone(), arn: key.arn.clone() };
    let records = orphans.chain([made(context, own)]).collect();
    let output = json!({ "region": region, "instance": instance, "arn": key.arn, "orphans": key.orphans });
    Progress::recorded(output, records)
}
