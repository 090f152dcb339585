//! The store's trait on SQLite: each method a transaction or a read.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fail::fail_point;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, sql};
use crate::store::{
    Child, Claim, ClaimedWork, Delivery, Enterprise, HistoryPage, HistoryRecord, KeptKey, KeyUse, LetterRow,
    LettersPage, Loaded, OutboxRow, Outcomes, Page, RecordDelete, RecordPut, RecordsPage, RunsPage, Seen, Store,
    StoreError, StoredRecord, StoredWork, Tally, Vitals, Write, batch::used_before, micros, row, time,
};

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Arc<[Write]>) -> Outcomes {
        fail_point!("commit::before");
        let outcomes = self.commit_batch(batch).await;
        fail_point!("commit::after");
        outcomes
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedWork>, StoreError> {
        fail_point!("claim::before");
        let rows = self.claim_alone(&claim).await?;
        fail_point!("claim::after");
        self.claimed(rows).await
    }

    async fn commit_and_claim(
        &self,
        batch: Arc<[Write]>,
        claim: Claim,
    ) -> (Outcomes, Result<Vec<ClaimedWork>, StoreError>) {
        fail_point!("commit::before");
        fail_point!("claim::before");
        let (outcomes, rows) = self.commit_batch_and_claim(batch, claim).await;
        fail_point!("commit::after");
        fail_point!("claim::after");
        match rows {
            Ok(rows) => (outcomes, self.claimed(rows).await),
            Err(error) => (outcomes, Err(error)),
        }
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        self.write(|connection| {
            Box::pin(async move {
                // Nobody delivers what an earlier process held.
                sqlx::query(sql::FREE_LETTERS).execute(&mut *connection).await?;
                Ok(sqlx::query(sql::EXPIRE_LEASES).execute(connection).await?.rows_affected())
            })
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let at: Option<i64> = sqlx::query_scalar(sql::NEXT_DUE).fetch_one(&mut *self.reader().await?).await?;
        Ok(at.map(time))
    }

    async fn load(&self, run: &str) -> Result<Loaded, StoreError> {
        self.read_run(run).await
    }

    async fn see(&self, run: &str) -> Result<Seen, StoreError> {
        self.read_all(run).await
    }

    async fn work(&self, run: &str) -> Result<Vec<StoredWork>, StoreError> {
        self.read_work(run).await
    }

    async fn children(&self, run: &str) -> Result<Vec<Child>, StoreError> {
        self.read_children(run).await
    }

    async fn runs(&self, page: RunsPage) -> Result<Page<String>, StoreError> {
        self.read_runs(page).await
    }

    async fn history(&self, page: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        self.read_history(page).await
    }

    async fn key(&self, key: &str) -> Result<Option<KeptKey>, StoreError> {
        let keys = serde_json::json!([key]).to_string();
        let row = sqlx::query(sql::CHECK_KEYS).bind(keys).fetch_optional(&mut *self.reader().await?).await?;
        row.as_ref().map(row::kept_key).transpose()
    }

    async fn keep_definition(&self, hash: &str, name: &str, source: &str, at: DateTime<Utc>) -> Result<(), StoreError> {
        let (hash, name, source) = (hash.to_owned(), name.to_owned(), source.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(sql::INSERT_DEFINITION)
                    .bind(hash)
                    .bind(name)
                    .bind(source)
                    .bind(micros(at))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn definition(&self, hash: &str) -> Result<(String, String), StoreError> {
        let row = sqlx::query(sql::DEFINITION).bind(hash).fetch_optional(&mut *self.reader().await?).await?;
        let row = row.ok_or_else(|| StoreError::NotFound { what: "definition", id: hash.to_owned() })?;
        Ok((row.try_get("name")?, row.try_get("source")?))
    }

    async fn add_enterprise_once(&self, enterprise: Enterprise, key: Option<KeyUse>) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(sql::INSERT_ENTERPRISE)
                    .bind(enterprise.id)
                    .bind(enterprise.name)
                    .bind(enterprise.partition)
                    .bind(enterprise.customer_email)
                    .bind(enterprise.csm_email)
                    .bind(enterprise.engineer_email)
                    .bind(json!(enterprise.audit_emails).to_string())
                    .bind(micros(enterprise.created_at))
                    .execute(&mut *connection)
                    .await?;
                let is_new = done.rows_affected() == 1;
                if is_new {
                    use_key(connection, key).await?;
                }
                Ok(is_new)
            })
        })
        .await
    }

    async fn change_enterprise_once(
        &self,
        changed: Enterprise,
        expected: u64,
        note: RecordPut,
        key: Option<KeyUse>,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                use_key(connection, key).await?;
                let query = sqlx::query(sql::CHANGE_ENTERPRISE)
                    .bind(&changed.id)
                    .bind(i64::try_from(expected).unwrap_or(i64::MAX))
                    .bind(&changed.name)
                    .bind(&changed.customer_email)
                    .bind(&changed.csm_email)
                    .bind(&changed.engineer_email)
                    .bind(json!(changed.audit_emails).to_string());
                if query.execute(&mut *connection).await?.rows_affected() != 1 {
                    return Err(StoreError::EnterpriseChanged { enterprise: changed.id, expected });
                }
                write_record(connection, note).await
            })
        })
        .await
    }

    async fn enterprise(&self, id: &str) -> Result<Option<Enterprise>, StoreError> {
        let row = sqlx::query(sql::ENTERPRISE).bind(id).fetch_optional(&mut *self.reader().await?).await?;
        row.as_ref().map(row::enterprise).transpose()
    }

    async fn enterprises(&self, limit: u32, cursor: Option<String>) -> Result<Page<Enterprise>, StoreError> {
        let rows = sqlx::query(sql::ENTERPRISES_PAGE)
            .bind(cursor.unwrap_or_default())
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let items = rows.iter().map(row::enterprise).collect::<Result<Vec<_>, _>>()?;
        Ok(row::page(items, limit, |last| last.id.clone()))
    }

    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let row = sqlx::query(sql::RECORD)
            .bind(enterprise)
            .bind(collection)
            .bind(key)
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        row.as_ref().map(row::record).transpose()
    }

    async fn records(&self, page: RecordsPage) -> Result<Page<StoredRecord>, StoreError> {
        let rows = sqlx::query(sql::RECORDS_PAGE)
            .bind(page.enterprise)
            .bind(page.collection)
            .bind(page.cursor.unwrap_or_default())
            .bind(i64::from(page.limit) + 1)
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let items = rows.iter().map(row::record).collect::<Result<Vec<_>, _>>()?;
        Ok(row::page(items, page.limit, |last| last.key.clone()))
    }

    async fn find_record(&self, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let row =
            sqlx::query(sql::FIND_RECORD).bind(collection).bind(key).fetch_optional(&mut *self.reader().await?).await?;
        row.as_ref().map(row::record).transpose()
    }

    async fn put_records_once(&self, puts: Vec<RecordPut>, key: Option<KeyUse>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                use_key(connection, key).await?;
                for put in puts {
                    write_record(connection, put).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn delete_records(&self, deletes: Vec<RecordDelete>, note: RecordPut) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                for delete in deletes {
                    delete_record(connection, delete).await?;
                }
                write_record(connection, note).await
            })
        })
        .await
    }

    async fn outbox(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        // What is told and cannot be ticked off is told again and again.
        self.inner.checkup.passed()?;
        let rows = sqlx::query(sql::OUTBOX_NEXT)
            .bind(now.timestamp_micros())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let texts = row::texts(&rows, "notice")?;
        let bodies = self.bodies(texts.iter().map(String::as_str)).await?;
        rows.iter().zip(&texts).map(|(found, notice)| row::outbox(found, notice, &bodies)).collect()
    }

    async fn outbox_spread(&self, id: i64, readers: Vec<String>, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.spread(id, readers, at).await
    }

    async fn outbox_failed(&self, id: i64, error: &str, retry_at: DateTime<Utc>) -> Result<(), StoreError> {
        let error = error.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(sql::OUTBOX_FAILED).bind(id).bind(error).bind(micros(retry_at)).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    async fn letters_hold(
        &self,
        now: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.hold_letters(now, held_until, limit).await
    }

    async fn letter_keep(&self, id: i64, held_until: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool, StoreError> {
        self.keep_letter(id, held_until, until).await
    }

    async fn letter_done(&self, id: i64, delivery: Delivery, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.end_letter(id, delivery, at).await
    }

    async fn letter_resend_once(&self, id: i64, at: DateTime<Utc>, key: Option<KeyUse>) -> Result<bool, StoreError> {
        self.resend_letter(id, at, key).await
    }

    async fn letter(&self, id: i64) -> Result<Option<LetterRow>, StoreError> {
        self.read_letter(id).await
    }

    async fn letters(&self, page: LettersPage) -> Result<Page<LetterRow>, StoreError> {
        self.read_letters(page).await
    }

    async fn letters_of(&self, runs: &[String]) -> Result<Vec<LetterRow>, StoreError> {
        self.read_letters_of(runs).await
    }

    async fn tally(&self, now: DateTime<Utc>) -> Result<Tally, StoreError> {
        self.read_tally(now).await
    }

    fn vitals(&self) -> Vitals {
        self.state()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // More than the table's own page holds, so that a full disk shows; it is taken away again in the same transaction.
        self.write(|connection| {
            Box::pin(async move {
                sqlx::query(sql::PROBE_MAKE).execute(&mut *connection).await?;
                sqlx::query(sql::PROBE_DROP).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}

/// Keeps an idempotency key with the change of its transaction, unless it was used before.
pub(super) async fn use_key(connection: &mut SqliteConnection, key: Option<KeyUse>) -> Result<(), StoreError> {
    let Some(KeyUse { key, request, answer }) = key else { return Ok(()) };
    let asked = serde_json::json!([key]).to_string();
    if let Some(found) = sqlx::query(sql::CHECK_KEYS).bind(asked).fetch_optional(&mut *connection).await? {
        let KeptKey { request: found, run, .. } = row::kept_key(&found)?;
        return Err(used_before(&key, &request, &found, &run));
    }
    let rows = serde_json::json!([[key, request, "", answer.to_string()]]).to_string();
    sqlx::query(sql::INSERT_KEYS).bind(rows).execute(connection).await?;
    Ok(())
}

async fn write_record(connection: &mut SqliteConnection, put: RecordPut) -> Result<(), StoreError> {
    let new = put.expected == 0;
    let mut query = sqlx::query(if new { sql::ADD_RECORD } else { sql::REPLACE_RECORD })
        .bind(&put.enterprise)
        .bind(&put.collection)
        .bind(&put.key)
        .bind(micros(put.at))
        .bind(put.body.to_string());
    if !new {
        query = query.bind(i64::try_from(put.expected).unwrap_or(i64::MAX));
    }
    if query.execute(connection).await?.rows_affected() == 1 {
        return Ok(());
    }
    let RecordPut { enterprise, collection, key, expected, .. } = put;
    Err(StoreError::RecordChanged { enterprise, collection, key, expected })
}

async fn delete_record(connection: &mut SqliteConnection, delete: RecordDelete) -> Result<(), StoreError> {
    let RecordDelete { enterprise, collection, key, expected } = delete;
    let query = sqlx::query(sql::DELETE_RECORD)
        .bind(&enterprise)
        .bind(&collection)
        .bind(&key)
        .bind(i64::try_from(expected).unwrap_or(i64::MAX));
    if query.execute(connection).await?.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::RecordChanged { enterprise, collection, key, expected })
}
