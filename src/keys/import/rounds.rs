//! The test environment's keys. No run makes them: each round has a key for every region, and when all of them have material
//! the next request begins a round with fresh keys, so that a customer can import as often as they like.
//!
//! Servers over one database should have one test cloud. Where each has its own, a round is of the one that began it: another
//! says so, and begins one of its own once nothing of that round can be imported any more.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    desk::{Desk, Place, body},
    refusal::Refusal,
    session::{Realm, Target},
    vault::{WantedKey, find_key, make_key},
};
use crate::worker::{StepError, StoredRecord};

const COLLECTION: &str = "test-import-round";
const CURRENT: &str = "current";
/// Regions where nobody has chosen any: one, and one for disaster recovery.
const REGIONS: usize = 2;
/// KMS takes no import token that is older.
const TOKENS: TimeDelta = TimeDelta::hours(24);

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Round {
    number: u64,
    targets: Vec<Target>,
}

impl Round {
    pub fn place(self) -> Place {
        Place { run: None, targets: self.targets, reimport: None }
    }
}

fn refused(error: &StepError) -> Refusal {
    tracing::error!(error = error.error, cause = error.cause, "key import: no test key could be made");
    Refusal::not_possible_now()
}

impl Desk {
    /// The last round that was begun, with its record.
    pub(super) async fn current_round(&self, enterprise: &str) -> Result<Option<(Round, StoredRecord)>, Refusal> {
        let record = self.0.service.record(enterprise, COLLECTION, CURRENT).await?;
        record.map(|record| Ok((body(&record)?, record))).transpose()
    }

    /// The round that lacks material, begun if there is none.
    pub(super) async fn round(&self, enterprise: &str) -> Result<Place, Refusal> {
        let _one_at_a_time = self.0.round.lock().await;
        let (number, version) = match self.current_round(enterprise).await? {
            None => (1, 0),
            Some((round, record)) => {
                let (number, place) = (round.number, round.place());
                match self.lacking(enterprise, &place).await {
                    Ok(lacking) if lacking.is_empty() => {}
                    Ok(_) => return Ok(place),
                    Err(refusal) if refusal == Refusal::test_environment_elsewhere() => {
                        let old = self.0.clock.now() - record.written_at > TOKENS;
                        let known = self.materials(enterprise, Realm::Test).await?;
                        if !old && place.targets.iter().any(|target| !known.contains_key(&target.arn)) {
                            return Err(refusal);
                        }
                    }
                    Err(refusal) => return Err(refusal),
                }
                (number + 1, record.version)
            }
        };
        let mut targets = Vec::new();
        for (region, instance) in self.places(enterprise).await? {
            let arn = self.test_key(enterprise, number, &region, instance.as_deref()).await?;
            targets.push(Target { region, instance, arn });
        }
        let round = Round { number, targets };
        let put = self.put(enterprise, COLLECTION, CURRENT, version, json!(round));
        self.0.service.put_records(vec![put]).await?;
        Ok(round.place())
    }

    async fn test_key(
        &self,
        enterprise: &str,
        number: u64,
        region: &str,
        instance: Option<&str>,
    ) -> Result<String, Refusal> {
        let cloud = self.cloud(enterprise);
        let account = cloud.aws.account(region).unwrap_or_default();
        let tags = BTreeMap::from([
            (self.0.config.aws.enterprise_tag.clone(), enterprise.to_owned()),
            ("keyferry:role".to_owned(), "test-import".to_owned()),
        ]);
        let wanted = WantedKey::new(enterprise, &format!("test-{number}"), (region, instance), account, tags);
        let kms = self.kms(&cloud, region).await?;
        let found = find_key(&kms, &wanted).await.map_err(|error| refused(&error))?;
        match found {
            Some(key) => Ok(key.arn),
            None => {
                let made = make_key(&kms, &wanted).await.map_err(StepError::from);
                Ok(made.map_err(|error| refused(&error))?.arn)
            }
        }
    }

    /// Region and instance of each key: as in the onboarding, if there is one.
    async fn places(&self, enterprise: &str) -> Result<Vec<(String, Option<String>)>, Refusal> {
        let place = |target: Target| (target.region, target.instance);
        match self.waiting_run(enterprise).await {
            Ok(open) => return Ok(open.targets.into_iter().map(place).collect()),
            Err(refusal) if refusal.code == "import-not-open" => {}
            Err(refusal) => return Err(refusal),
        }
        let imported = self.materials(enterprise, Realm::Production).await?;
        if !imported.is_empty() {
            return Ok(imported.into_values().map(|known| place(known.target)).collect());
        }
        let partition = self.0.service.enterprise(enterprise).await?.partition;
        let supported = self.0.config.aws.partitions.get(&partition);
        let regions = supported.map(|place| place.regions.as_slice()).unwrap_or_default();
        Ok(regions.iter().take(REGIONS).map(|region| (region.clone(), None)).collect())
    }
}
