//! The store's trait on PostgreSQL: each method a transaction, or a statement that is one.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use fail::fail_point;
use serde_json::json;
use sqlx::{PgConnection, Row as _};

use super::{Inner, PostgresStore, pool::Setback, read, sql, text::kept};
use crate::store::{
    Child, Claim, ClaimedWork, Delivery, Enterprise, HistoryPage, HistoryRecord, KeptKey, KeyUse, LetterRow,
    LettersPage, Loaded, OutboxRow, Page, RecordDelete, RecordPut, RecordsPage, RunsPage, Seen, Store, StoreError,
    StoredRecord, StoredWork, Tally, Vitals, Write,
    batch::used_before,
    micros,
    row::{self, Stored as _},
    time,
};

/// How long a row of the outbox is this process's alone. A process that dies with it is not missed before.
const OUTBOX_HOLD: TimeDelta = TimeDelta::minutes(1);

fn owned(text: &str) -> String {
    kept(text).into_owned()
}

fn maybe_owned(text: Option<&String>) -> Option<String> {
    text.map(|text| owned(text))
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: Arc<[Write]>) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        fail_point!("commit::before");
        let outcomes = self.commit_batch(batch).await;
        fail_point!("commit::after");
        outcomes
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedWork>, StoreError> {
        fail_point!("claim::before");
        let (owner, lease_until) = (owned(&claim.owner), micros(claim.lease_until));
        let (now, limit) = (claim.now.timestamp_micros(), i64::from(claim.limit));
        // A transaction by itself, to spare two round trips.
        let asked = self.inner.writes.ask(false, {
            let owner = owner.clone();
            move |connection| {
                let owner = owner.clone();
                Box::pin(async move {
                    let query = sqlx::query(sql::CLAIM).bind(now).bind(owner).bind(lease_until).bind(limit);
                    Ok(query.fetch_all(connection).await?)
                })
            }
        });
        let rows = match asked.await {
            Ok(rows) => rows,
            // The answer is lost, and perhaps not the claim: what it took would lie until its lease has passed.
            Err(setback) if setback.is_cut() => {
                tracing::debug!(error = %StoreError::from(setback), "a claim was not answered");
                let again = self.look(move |connection| {
                    let owner = owner.clone();
                    Box::pin(async move {
                        let query = sqlx::query(sql::CLAIMED_BEFORE).bind(owner).bind(lease_until);
                        Ok(query.fetch_all(connection).await?)
                    })
                });
                again.await?
            }
            Err(setback) => return Err(setback.into()),
        };
        fail_point!("claim::after");
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.leased.store(true, Ordering::Relaxed);
        let rows = std::sync::Mutex::new(Some(rows));
        self.look(move |connection| {
            let rows = rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            Box::pin(async move { read::claimed(connection, rows.unwrap_or_default()).await })
        })
        .await
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        self.expire_absent().await
    }

    async fn attend(&self, owner: &str) -> Result<(), StoreError> {
        self.be_present(owner).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn hinted(&self) {
        self.inner.told.notified().await;
    }

    async fn silent(&self) {
        self.inner.silence.lasting().await;
    }

    async fn next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = self
            .look(|connection| Box::pin(async move { Ok(sqlx::query(sql::NEXT_DUE).fetch_one(connection).await?) }))
            .await?;
        self.inner.leased.store(row.flag("leased")?, Ordering::Relaxed);
        Ok(row.maybe_int("at")?.map(time))
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
        let keys = vec![owned(key)];
        let row = self.look(move |connection| {
            let keys = keys.clone();
            Box::pin(async move { Ok(sqlx::query(sql::CHECK_KEYS).bind(keys).fetch_optional(connection).await?) })
        });
        row.await?.as_ref().map(row::kept_key).transpose()
    }

    async fn keep_definition(&self, hash: &str, name: &str, source: &str, at: DateTime<Utc>) -> Result<(), StoreError> {
        let (hash, name, source) = (hash.to_owned(), owned(name), source.to_owned());
        self.write(move |connection| {
            let (hash, name, source) = (hash.clone(), name.clone(), source.clone());
            Box::pin(async move {
                let query = sqlx::query(sql::INSERT_DEFINITION).bind(hash).bind(name).bind(source).bind(micros(at));
                query.execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    async fn definition(&self, hash: &str) -> Result<(String, String), StoreError> {
        let asked = owned(hash);
        let row = self.look(move |connection| {
            let hash = asked.clone();
            Box::pin(async move { Ok(sqlx::query(sql::DEFINITION).bind(hash).fetch_optional(connection).await?) })
        });
        let row = row.await?.ok_or_else(|| StoreError::NotFound { what: "definition", id: hash.to_owned() })?;
        Ok((row.plain("name")?, row.text("source")?))
    }

    async fn add_enterprise_once(&self, enterprise: Enterprise, key: Option<KeyUse>) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let (enterprise, key) = (enterprise.clone(), key.clone());
            Box::pin(async move {
                let done = sqlx::query(sql::INSERT_ENTERPRISE)
                    .bind(owned(&enterprise.id))
                    .bind(owned(&enterprise.name))
                    .bind(owned(&enterprise.partition))
                    .bind(maybe_owned(enterprise.customer_email.as_ref()))
                    .bind(maybe_owned(enterprise.csm_email.as_ref()))
                    .bind(maybe_owned(enterprise.engineer_email.as_ref()))
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
            let (changed, note, key) = (changed.clone(), note.clone(), key.clone());
            Box::pin(async move {
                use_key(connection, key).await?;
                let query = sqlx::query(sql::CHANGE_ENTERPRISE)
                    .bind(owned(&changed.id))
                    .bind(i64::try_from(expected).unwrap_or(i64::MAX))
                    .bind(owned(&changed.name))
                    .bind(maybe_owned(changed.customer_email.as_ref()))
                    .bind(maybe_owned(changed.csm_email.as_ref()))
                    .bind(maybe_owned(changed.engineer_email.as_ref()))
                    .bind(json!(changed.audit_emails).to_string());
                if query.execute(&mut *connection).await?.rows_affected() != 1 {
                    return Err(StoreError::EnterpriseChanged { enterprise: changed.id, expected }.into());
                }
                write_record(connection, note).await
            })
        })
        .await
    }

    async fn enterprise(&self, id: &str) -> Result<Option<Enterprise>, StoreError> {
        let id = owned(id);
        let row = self.look(move |connection| {
            let id = id.clone();
            Box::pin(async move { Ok(sqlx::query(sql::ENTERPRISE).bind(id).fetch_optional(connection).await?) })
        });
        row.await?.as_ref().map(row::enterprise).transpose()
    }

    async fn enterprises(&self, limit: u32, cursor: Option<String>) -> Result<Page<Enterprise>, StoreError> {
        let cursor = owned(&cursor.unwrap_or_default());
        let rows = self.look(move |connection| {
            let query = sqlx::query(sql::ENTERPRISES_PAGE).bind(cursor.clone()).bind(i64::from(limit) + 1);
            Box::pin(async move { Ok(query.fetch_all(connection).await?) })
        });
        let items = rows.await?.iter().map(row::enterprise).collect::<Result<Vec<_>, _>>()?;
        Ok(row::page(items, limit, |last| last.id.clone()))
    }

    async fn record(&self, enterprise: &str, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let (enterprise, collection, key) = (owned(enterprise), owned(collection), owned(key));
        let row = self.look(move |connection| {
            let query = sqlx::query(sql::RECORD).bind(enterprise.clone()).bind(collection.clone()).bind(key.clone());
            Box::pin(async move { Ok(query.fetch_optional(connection).await?) })
        });
        row.await?.as_ref().map(row::record).transpose()
    }

    async fn records(&self, page: RecordsPage) -> Result<Page<StoredRecord>, StoreError> {
        let limit = page.limit;
        let rows = self.look(move |connection| {
            let query = sqlx::query(sql::RECORDS_PAGE)
                .bind(owned(&page.enterprise))
                .bind(owned(&page.collection))
                .bind(owned(page.cursor.as_deref().unwrap_or_default()))
                .bind(i64::from(page.limit) + 1);
            Box::pin(async move { Ok(query.fetch_all(connection).await?) })
        });
        let items = rows.await?.iter().map(row::record).collect::<Result<Vec<_>, _>>()?;
        Ok(row::page(items, limit, |last| last.key.clone()))
    }

    async fn find_record(&self, collection: &str, key: &str) -> Result<Option<StoredRecord>, StoreError> {
        let (collection, key) = (owned(collection), owned(key));
        let row = self.look(move |connection| {
            let query = sqlx::query(sql::FIND_RECORD).bind(collection.clone()).bind(key.clone());
            Box::pin(async move { Ok(query.fetch_optional(connection).await?) })
        });
        row.await?.as_ref().map(row::record).transpose()
    }

    async fn put_records_once(&self, puts: Vec<RecordPut>, key: Option<KeyUse>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let (puts, key) = (puts.clone(), key.clone());
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
            let (deletes, note) = (deletes.clone(), note.clone());
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
        let asked = self.inner.writes.ask(true, move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(sql::OUTBOX_NEXT)
                    .bind(now.timestamp_micros())
                    .bind(i64::from(limit))
                    .bind(micros(now + OUTBOX_HOLD))
                    .fetch_all(&mut *connection)
                    .await?;
                let texts = row::texts(&rows, "notice")?;
                let bodies = read::bodies(connection, texts.iter().map(String::as_str)).await?;
                let read: Result<Vec<OutboxRow>, StoreError> =
                    rows.iter().zip(&texts).map(|(found, notice)| row::outbox(found, notice, &bodies)).collect();
                Ok(read?)
            })
        });
        let mut rows = asked.await?;
        rows.sort_by_key(|row| row.id);
        Ok(rows)
    }

    async fn outbox_spread(&self, id: i64, readers: Vec<String>, at: DateTime<Utc>) -> Result<(), StoreError> {
        self.spread(id, readers, at).await
    }

    async fn outbox_failed(&self, id: i64, error: &str, retry_at: DateTime<Utc>) -> Result<(), StoreError> {
        let error = owned(error);
        self.write(move |connection| {
            let query = sqlx::query(sql::OUTBOX_FAILED).bind(id).bind(error.clone()).bind(micros(retry_at));
            Box::pin(async move {
                query.execute(connection).await?;
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
        let now = now.timestamp_micros();
        self.look(move |connection| {
            Box::pin(async move {
                let stats = sqlx::query(sql::STATS).bind(now).fetch_one(&mut *connection).await?;
                let ages = sqlx::query(sql::DUE_BY_AGE).bind(now).fetch_one(&mut *connection).await?;
                let errors = sqlx::query(sql::ATTENTION_BY_ERROR).fetch_all(connection).await?;
                Ok(row::tally(&stats, &ages, &errors)?)
            })
        })
        .await
    }

    fn vitals(&self) -> Vitals {
        let Inner { reads, writes, renewals, aside, .. } = &*self.inner;
        let pools = [("reads", reads), ("writes", writes), ("renewals", renewals), ("aside", aside)];
        Vitals { pools: pools.into_iter().map(|(name, pool)| pool.state(name)).collect(), files: Vec::new() }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Several pages, so that a full disk shows; they are taken away again in the same transaction. The locks are those of
        // what requests do: where they would wait, so does this.
        self.write(|connection| {
            Box::pin(async move {
                // Sooner over than a request's own patience, which is also what a silent server is known by.
                sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *connection).await?;
                sqlx::query(sql::PROBE_TOUCH).execute(&mut *connection).await?;
                let row = sqlx::query(sql::PROBE_MAKE).fetch_one(&mut *connection).await?;
                let n: i64 = row.try_get("n")?;
                sqlx::query(sql::PROBE_DROP).bind(n).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}

/// Keeps an idempotency key with the change of its transaction, unless it was used before. Of two transactions that use one key
/// at once the second fails on the unique index, is tried again, and finds it.
pub(super) async fn use_key(connection: &mut PgConnection, key: Option<KeyUse>) -> Result<(), Setback> {
    let Some(KeyUse { key, request, answer }) = key else { return Ok(()) };
    let asked = vec![owned(&key)];
    if let Some(found) = sqlx::query(sql::CHECK_KEYS).bind(asked).fetch_optional(&mut *connection).await? {
        let KeptKey { request: found, run, .. } = row::kept_key(&found)?;
        return Err(used_before(&key, &request, &found, &run).into());
    }
    sqlx::query(sql::INSERT_KEYS)
        .bind(vec![owned(&key)])
        .bind(vec![request])
        .bind(vec![String::new()])
        .bind(vec![answer.to_string()])
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_record(connection: &mut PgConnection, put: RecordPut) -> Result<(), Setback> {
    let new = put.expected == 0;
    let mut query = sqlx::query(if new { sql::ADD_RECORD } else { sql::REPLACE_RECORD })
        .bind(owned(&put.enterprise))
        .bind(owned(&put.collection))
        .bind(owned(&put.key))
        .bind(micros(put.at))
        .bind(put.body.to_string());
    if !new {
        query = query.bind(i64::try_from(put.expected).unwrap_or(i64::MAX));
    }
    if query.execute(connection).await?.rows_affected() == 1 {
        return Ok(());
    }
    let RecordPut { enterprise, collection, key, expected, .. } = put;
    Err(StoreError::RecordChanged { enterprise, collection, key, expected }.into())
}

async fn delete_record(connection: &mut PgConnection, delete: RecordDelete) -> Result<(), Setback> {
    let RecordDelete { enterprise, collection, key, expected } = delete;
    let query = sqlx::query(sql::DELETE_RECORD)
        .bind(owned(&enterprise))
        .bind(owned(&collection))
        .bind(owned(&key))
        .bind(i64::try_from(expected).unwrap_or(i64::MAX));
    if query.execute(connection).await?.rows_affected() == 1 {
        return Ok(());
    }
    Err(StoreError::RecordChanged { enterprise, collection, key, expected }.into())
}
