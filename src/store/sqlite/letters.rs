//! Letters on SQLite.

use chrono::{DateTime, Utc};
use fail::fail_point;
use serde_json::json;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, read, sql, write::use_key};
use crate::store::{
    Delivery, KeyUse, LetterRow, LettersPage, Page, StoreError, micros,
    row::{self, LetterChange, Stored as _},
};

async fn letters(connection: &mut SqliteConnection, rows: &[SqliteRow]) -> Result<Vec<LetterRow>, StoreError> {
    let texts = row::texts(rows, "notice")?;
    let bodies = read::bodies(connection, texts.iter().map(String::as_str)).await?;
    rows.iter().zip(&texts).map(|(found, notice)| row::letter(found, notice, &bodies)).collect()
}

async fn by_id(connection: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<LetterRow>, StoreError> {
    let rows = sqlx::query(sql::LETTERS_BY_ID).bind(json!(ids).to_string()).fetch_all(&mut *connection).await?;
    letters(connection, &rows).await
}

impl SqliteStore {
    pub(super) async fn spread(&self, id: i64, readers: Vec<String>, at: DateTime<Utc>) -> Result<(), StoreError> {
        fail_point!("outbox::before");
        self.write(move |connection| {
            Box::pin(async move {
                if sqlx::query(sql::OUTBOX_DONE).bind(id).execute(&mut *connection).await?.rows_affected() == 1 {
                    insert(connection, id, &readers, None, micros(at)).await?;
                }
                Ok(())
            })
        })
        .await?;
        fail_point!("outbox::after");
        Ok(())
    }

    pub(super) async fn hold_letters(
        &self,
        now: DateTime<Utc>,
        held_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(sql::LETTERS_HOLD)
                    .bind(now.timestamp_micros())
                    .bind(micros(held_until))
                    .bind(i64::from(limit))
                    .fetch_all(&mut *connection)
                    .await?;
                let ids = rows.iter().map(|found| found.int("n")).collect::<Result<Vec<_>, _>>()?;
                if ids.is_empty() { Ok(Vec::new()) } else { by_id(connection, &ids).await }
            })
        })
        .await
    }

    pub(super) async fn keep_letter(
        &self,
        id: i64,
        held_until: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let query = sqlx::query(sql::LETTER_KEEP).bind(id).bind(micros(held_until)).bind(micros(until));
                Ok(query.execute(connection).await?.rows_affected() == 1)
            })
        })
        .await
    }

    pub(super) async fn end_letter(&self, id: i64, delivery: Delivery, at: DateTime<Utc>) -> Result<(), StoreError> {
        fail_point!("letter::before");
        let at = micros(at);
        let change = LetterChange::of(delivery, at);
        self.write(move |connection| {
            Box::pin(async move {
                let found = sqlx::query(sql::LETTER_DONE)
                    .bind(id)
                    .bind(change.state)
                    .bind(change.due_at)
                    .bind(i64::from(change.failed))
                    .bind(change.address)
                    .bind(change.error)
                    .bind(change.ended_at)
                    .bind(at)
                    .fetch_optional(&mut *connection)
                    .await?;
                if let (Some(found), Some(reader)) = (found, change.tell) {
                    insert(connection, found.int("notice")?, &[reader], Some(id), at).await?;
                }
                Ok(())
            })
        })
        .await?;
        fail_point!("letter::after");
        Ok(())
    }

    pub(super) async fn resend_letter(
        &self,
        id: i64,
        at: DateTime<Utc>,
        key: Option<KeyUse>,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let query = sqlx::query(sql::LETTER_RESEND).bind(id).bind(micros(at));
                let done = query.execute(&mut *connection).await?.rows_affected() == 1;
                if done {
                    use_key(connection, key).await?;
                }
                Ok(done)
            })
        })
        .await
    }

    pub(super) async fn read_letter(&self, id: i64) -> Result<Option<LetterRow>, StoreError> {
        self.read(move |connection| Box::pin(async move { Ok(by_id(connection, &[id]).await?.pop()) })).await
    }

    pub(super) async fn read_letters(&self, asked: LettersPage) -> Result<Page<LetterRow>, StoreError> {
        let before = row::before(asked.cursor)?;
        self.read(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(sql::LETTERS_PAGE)
                    .bind(before)
                    .bind(i64::from(asked.limit) + 1)
                    .bind(asked.state.word())
                    .bind(asked.enterprise)
                    .fetch_all(&mut *connection)
                    .await?;
                Ok(row::page(letters(connection, &rows).await?, asked.limit, |last| last.id.to_string()))
            })
        })
        .await
    }

    pub(super) async fn read_letters_of(&self, runs: &[String]) -> Result<Vec<LetterRow>, StoreError> {
        let runs = json!(runs).to_string();
        self.read(move |connection| {
            Box::pin(async move {
                let rows = sqlx::query(sql::LETTERS_OF_RUNS).bind(runs).fetch_all(&mut *connection).await?;
                letters(connection, &rows).await
            })
        })
        .await
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    notice: i64,
    readers: &[String],
    about: Option<i64>,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query(sql::INSERT_LETTERS)
        .bind(notice)
        .bind(at)
        .bind(json!(readers).to_string())
        .bind(about)
        .execute(connection)
        .await?;
    Ok(())
}
