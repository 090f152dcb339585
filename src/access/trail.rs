//! The trail: who used a key, for what, when, from where, and what came of it. Never the key.
//!
//! A use is written before the request is handled and completed when it was answered: a crash in between leaves an entry
//! without an outcome, not a use without an entry.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Access, Caller, Environment};
use crate::worker::{ErrorKind, Page, RecordPut, ServiceError, StoredRecord};

pub(super) const TRAIL: &str = "trail";

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: DateTime<Utc>,
    /// The public part of the key, or of the one-time link.
    pub who: String,
    pub environment: Environment,
    pub address: IpAddr,
    /// Method and path, or what else was done.
    pub action: String,
    /// The problem's code, or `done`; `null` while the request is handled, and for ever if the process died over it.
    pub outcome: Option<String>,
    /// The answer's HTTP status.
    pub status: Option<u16>,
}

/// A use that was admitted, to be completed with what came of it.
#[derive(Debug)]
pub struct Admitted {
    pub caller: Caller,
    pub(super) key: String,
    pub(super) entry: Entry,
}

/// A trail entry's key. Later ones sort first, so that the first page of the trail is the newest.
fn trail_key(at: DateTime<Utc>, id: &str) -> String {
    let tail = id.rsplit('-').next().unwrap_or_default();
    format!("{}-{tail}", descending(at))
}

/// What stands between the keys of entries that were made at `at` or later and of those before.
pub(super) fn older_than(at: DateTime<Utc>) -> String {
    // Behind every letter of an id.
    format!("{}-~", descending(at))
}

fn descending(at: DateTime<Utc>) -> String {
    let rest = u64::try_from(i64::MAX.saturating_sub(at.timestamp_micros())).unwrap_or_default();
    format!("{rest:016x}")
}

impl Access {
    /// The write of an entry, for a transaction that holds more, and the entry's key.
    pub(super) fn trail_put(&self, enterprise: &str, entry: &Entry) -> Result<RecordPut, ServiceError> {
        let body = serde_json::to_value(entry).map_err(|error| super::unwritable(&error))?;
        Ok(RecordPut {
            enterprise: enterprise.to_owned(),
            collection: TRAIL.to_owned(),
            key: trail_key(entry.at, &self.clock.new_id()),
            expected: 0,
            body,
            at: entry.at,
        })
    }

    /// Completes an admitted use's entry.
    ///
    /// # Errors
    /// The store could not be written: the entry stays without an outcome.
    pub async fn complete(&self, admitted: Admitted, outcome: &str, status: u16) -> Result<(), ServiceError> {
        let entry = Entry { outcome: Some(outcome.to_owned()), status: Some(status), ..admitted.entry };
        let put = RecordPut { key: admitted.key, expected: 1, ..self.trail_put(&admitted.caller.enterprise, &entry)? };
        self.service.put_records(vec![RecordPut { at: self.clock.now(), ..put }]).await
    }

    /// The trail of an enterprise, newest first, `limit` of 1 to 200 at a time.
    ///
    /// # Errors
    /// There is no such enterprise; the store could not be read.
    pub async fn trail(
        &self,
        enterprise: &str,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<Entry>, ServiceError> {
        self.service.enterprise(enterprise).await?;
        let page = self.service.records(enterprise, TRAIL, limit, cursor).await?;
        let entry = |record: StoredRecord| {
            serde_json::from_value(record.body).map_err(|error| {
                let message = format!("the trail entry {} cannot be read: {error}", record.key);
                ServiceError::new(ErrorKind::Unavailable, "store-corrupt", message)
            })
        };
        Ok(Page { items: page.items.into_iter().map(entry).collect::<Result<_, _>>()?, next: page.next })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn later_entries_sort_first() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let older = trail_key(now, "0190-aaaa-ffffffffffff");
        let newer = trail_key(now + TimeDelta::microseconds(1), "0190-aaaa-000000000000");
        assert!(newer < older, "{newer} {older}");
        assert_eq!(older.len(), newer.len());
        let cut = older_than(now);
        assert!(
            older < cut && newer < cut && cut < trail_key(now - TimeDelta::microseconds(1), "0190-aaaa-000000000000")
        );
    }
}
