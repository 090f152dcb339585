//! Counts for metrics: three statements on one connection.

use chrono::{DateTime, Utc};

use super::{SqliteStore, sql};
use crate::store::{StoreError, Tally, row};

impl SqliteStore {
    pub(super) async fn read_tally(&self, now: DateTime<Utc>) -> Result<Tally, StoreError> {
        let mut connection = self.reader().await?;
        let now = now.timestamp_micros();
        let stats = sqlx::query(sql::STATS).bind(now).fetch_one(&mut *connection).await?;
        let ages = sqlx::query(sql::DUE_BY_AGE).bind(now).fetch_one(&mut *connection).await?;
        let errors = sqlx::query(sql::ATTENTION_BY_ERROR).fetch_all(&mut *connection).await?;
        row::tally(&stats, &ages, &errors)
    }
}
