//! How long the trail is kept. What is older than `customer.trail_days` is deleted in batches, and the record `trail-retention` of
//! the enterprise says, in the same transaction as each batch, how many entries are gone and before when.
//!
//! Any number of processes may do it at once: a batch that another has taken is read again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Access,
    trail::{TRAIL, older_than},
};
use crate::worker::{RecordDelete, RecordPut, ServiceError, StoredRecord};

const RETENTION: &str = "trail-retention";
const CURRENT: &str = "current";
/// Entries that one transaction deletes.
const BATCH: u32 = 200;
/// Between two batches, so that others get to write.
const PAUSE: Duration = Duration::from_millis(100);
const PAGE: u32 = 100;

/// What is gone of an enterprise's trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Removed {
    /// Entries, ever.
    removed: u64,
    /// The last were older than this.
    before: DateTime<Utc>,
}

impl Access {
    /// Deletes what is too old of every trail; how many entries that were. Does nothing where the trail is kept for ever.
    ///
    /// # Errors
    /// The store could not be used; what is left is deleted the next time.
    pub async fn prune_trails(&self) -> Result<u64, ServiceError> {
        let Some(days) = self.trail_days else { return Ok(0) };
        let before = self.clock.now() - TimeDelta::days(i64::from(days.get()));
        let (mut removed, mut cursor) = (0, None);
        loop {
            let page = self.service.enterprises(PAGE, cursor).await?;
            for enterprise in &page.items {
                removed += self.prune_trail(&enterprise.id, before).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(removed);
            }
        }
    }

    /// Looks every `interval` for as long as it is polled.
    pub async fn keep_trails(self, interval: Duration) {
        loop {
            match self.prune_trails().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "entries of the trail that were too old are deleted"),
                Err(error) => tracing::error!(error = %error, "the trail could not be looked through for old entries"),
            }
            self.clock.sleep(interval).await;
        }
    }

    async fn prune_trail(&self, enterprise: &str, before: DateTime<Utc>) -> Result<u64, ServiceError> {
        let mut removed = 0;
        loop {
            let old = self.service.records(enterprise, TRAIL, BATCH, Some(older_than(before))).await?.items;
            if old.is_empty() {
                return Ok(removed);
            }
            let count = u64::try_from(old.len()).unwrap_or(u64::MAX);
            match self.delete_entries(enterprise, old, before).await {
                Ok(()) => removed += count,
                Err(error) if super::changed(&error) => {}
                Err(error) => return Err(error),
            }
            self.clock.sleep(PAUSE).await;
        }
    }

    async fn delete_entries(
        &self,
        enterprise: &str,
        old: Vec<StoredRecord>,
        before: DateTime<Utc>,
    ) -> Result<(), ServiceError> {
        let found = self.service.record(enterprise, RETENTION, CURRENT).await?;
        let known = found.as_ref().and_then(|record| Removed::deserialize(&record.body).ok());
        let count = u64::try_from(old.len()).unwrap_or(u64::MAX);
        let said = Removed { removed: known.map_or(0, |known| known.removed) + count, before };
        let note = RecordPut {
            enterprise: enterprise.to_owned(),
            collection: RETENTION.to_owned(),
            key: CURRENT.to_owned(),
            expected: found.map_or(0, |record| record.version),
            body: serde_json::to_value(said).map_err(|error| super::unwritable(&error))?,
            at: self.clock.now(),
        };
        let delete = |record: StoredRecord| RecordDelete {
            enterprise: record.enterprise,
            collection: record.collection,
            key: record.key,
            expected: record.version,
        };
        self.service.delete_records(old.into_iter().map(delete).collect(), note).await
    }
}
