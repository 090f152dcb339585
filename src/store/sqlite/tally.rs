//! The counts for metrics.

use chrono::{DateTime, Utc};
use sqlx::Row;

use super::{SqliteStore, read::number, sql};
use crate::store::{StoreError, Tally, time};

impl SqliteStore {
    pub(super) async fn read_tally(&self, now: DateTime<Utc>) -> Result<Tally, StoreError> {
        let mut connection = self.reader().await?;
        let now = now.timestamp_micros();
        let row = sqlx::query(sql::STATS).bind(now).fetch_one(&mut *connection).await?;
        let ages = sqlx::query(sql::DUE_BY_AGE).bind(now).fetch_one(&mut *connection).await?;
        let errors = sqlx::query(sql::ATTENTION_BY_ERROR).fetch_all(&mut *connection).await?;
        let mut due = [0; 6];
        for (class, column) in due.iter_mut().zip(["age_0", "age_1", "age_2", "age_3", "age_4", "age_5"]) {
            *class = number(&ages, column)?;
        }
        let errors = errors.iter().map(|row| Ok((row.try_get("error")?, number(row, "frames")?)));
        Ok(Tally {
            due,
            oldest_due: row.try_get::<Option<i64>, _>("oldest_due")?.map(time),
            leases: number(&row, "leases")?,
            leases_passed: number(&row, "leases_passed")?,
            working: number(&row, "working")?,
            waiting: number(&row, "waiting")?,
            attention: number(&row, "attention")?,
            paused: number(&row, "paused")?,
            attention_by_error: errors.collect::<Result<_, StoreError>>()?,
            outbox: number(&row, "outbox")?,
            oldest_outbox: row.try_get::<Option<i64>, _>("oldest_outbox")?.map(time),
        })
    }
}
