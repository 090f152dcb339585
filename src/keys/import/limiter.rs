//! A durable rate limit: one call an interval, for each account, region and API, whoever asks and however often the process
//! starts anew.
//!
//! The record holds the time from which the next call may go out. A caller takes that time by compare-and-set and waits for
//! it; what would be too long a wait is refused and takes nothing.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::worker::{Clock, RecordPut, Service, ServiceError};

const COLLECTION: &str = "rate-limit";

/// What is limited.
#[derive(Debug, Clone, Copy)]
pub struct Limited<'a> {
    /// Whose records it is kept with, if it is not kept yet.
    pub enterprise: &'a str,
    pub account: &'a str,
    pub region: &'a str,
    pub api: &'a str,
    pub interval: TimeDelta,
    /// The longest wait that is granted.
    pub patience: TimeDelta,
}

/// When the call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At this time, which is this caller's alone.
    At(DateTime<Utc>),
    /// Too far ahead: come again after this long.
    After(Duration),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    next: DateTime<Utc>,
}

/// Takes the next turn.
///
/// # Errors
/// The store could not be read or written.
pub async fn take_turn(service: &Service, clock: &dyn Clock, limited: Limited<'_>) -> Result<Turn, ServiceError> {
    let key = format!("{}/{}/{}", limited.account, limited.region, limited.api);
    loop {
        let found = service.find_record(COLLECTION, &key).await?;
        let now = clock.now();
        let next = found.as_ref().and_then(|record| Kept::deserialize(&record.body).ok()).map_or(now, |kept| kept.next);
        let turn = next.max(now);
        if turn - now > limited.patience {
            let wait = turn - now - limited.patience;
            return Ok(Turn::After(wait.to_std().unwrap_or_default().max(Duration::from_secs(1))));
        }
        let put = RecordPut {
            enterprise: found
                .as_ref()
                .map_or_else(|| limited.enterprise.to_owned(), |record| record.enterprise.clone()),
            collection: COLLECTION.to_owned(),
            key: key.clone(),
            expected: found.as_ref().map_or(0, |record| record.version),
            body: serde_json::json!(Kept { next: turn + limited.interval }),
            at: now,
        };
        match service.put_records(vec![put]).await {
            // Two enterprises that began at once have each a record of their own: the one that is found counts.
            Ok(()) if found.is_some() => return Ok(Turn::At(turn)),
            Ok(()) => {
                let kept = service.find_record(COLLECTION, &key).await?;
                if kept.is_none_or(|record| record.enterprise == limited.enterprise) {
                    return Ok(Turn::At(turn));
                }
            }
            Err(error) if error.code == "record-changed" => {}
            Err(error) => return Err(error),
        }
    }
}
