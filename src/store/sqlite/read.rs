//! Reading rows back into data.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::{Row, sqlite::SqliteRow};

use super::{SqliteStore, sql};
use crate::{
    engine::Payload,
    store::{
        Child, ClaimedWork, Enterprise, HistoryPage, HistoryRecord, Loaded, Page, ParentLink, RunsPage, StoreError,
        StoredRecord, StoredWork, WorkKind,
        codec::{self, Bodies, Columns},
        time,
    },
};

pub(super) fn number(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|error| StoreError::corrupt(column, error))
}

pub(super) fn count(row: &SqliteRow, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row.try_get::<i64, _>(column)?).map_err(|error| StoreError::corrupt(column, error))
}

fn json(row: &SqliteRow, column: &str) -> Result<Option<Value>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| StoreError::corrupt(column, error))).transpose()
}

/// Cuts a listing that was asked for one row more than its page holds.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items, next }
}

pub(super) fn enterprise(row: &SqliteRow) -> Result<Enterprise, StoreError> {
    Ok(Enterprise {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        partition: row.try_get("partition")?,
        customer_email: row.try_get("customer_email")?,
        csm_email: row.try_get("csm_email")?,
        engineer_email: row.try_get("engineer_email")?,
        created_at: time(row.try_get("created_at")?),
    })
}

pub(super) fn record(row: &SqliteRow) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord {
        enterprise: row.try_get("enterprise")?,
        collection: row.try_get("collection")?,
        key: row.try_get("key")?,
        run: row.try_get("run")?,
        written_at: time(row.try_get("written_at")?),
        body: json(row, "body")?.unwrap_or_default(),
    })
}

impl SqliteStore {
    /// The big values that the texts refer to.
    pub(super) async fn bodies(&self, texts: impl Iterator<Item = &str>) -> Result<Bodies, StoreError> {
        let mut hashes: Vec<String> = texts.flat_map(codec::references).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let mut bodies = HashMap::with_capacity(hashes.len());
        if hashes.is_empty() {
            return Ok(bodies);
        }
        let hashes = Value::from(hashes).to_string();
        for row in sqlx::query(sql::LOAD_PAYLOADS).bind(hashes).fetch_all(&self.inner.readers).await? {
            let body: Value = json(&row, "body")?.unwrap_or_default();
            bodies.insert(row.try_get("hash")?, Payload::from(body));
        }
        Ok(bodies)
    }

    pub(super) async fn claimed(&self, rows: Vec<SqliteRow>) -> Result<Vec<ClaimedWork>, StoreError> {
        let inputs = rows.iter().map(|row| row.try_get("input")).collect::<Result<Vec<String>, _>>()?;
        let bodies = self.bodies(inputs.iter().map(String::as_str)).await?;
        let mut all = Vec::with_capacity(rows.len());
        for (row, input) in rows.iter().zip(&inputs) {
            let kind = WorkKind::parse(row.try_get("kind")?)?;
            let heartbeat_s: Option<i64> = row.try_get("heartbeat_s")?;
            all.push(ClaimedWork {
                run: row.try_get("run")?,
                frame: row.try_get("frame")?,
                visit: number(row, "visit")?,
                kind,
                name: row.try_get("name")?,
                input: codec::decode_value(input, &bodies)?,
                due_at: time(row.try_get("due_at")?),
                fence: number(row, "fence")?,
                attempt: count(row, "attempt")?,
                crashes: count(row, "crashes")?,
                heartbeat_s: heartbeat_s.and_then(|seconds| u64::try_from(seconds).ok()),
                deadline: row.try_get::<Option<i64>, _>("deadline")?.map(time),
                lease_until: time(row.try_get("lease_until")?),
                checkpoint: json(row, "checkpoint")?,
            });
        }
        all.sort_by_key(|work| work.due_at);
        Ok(all)
    }

    /// Reads run and frames of one revision.
    pub(super) async fn read_run(&self, run: &str) -> Result<Loaded, StoreError> {
        let mut connection = self.inner.readers.acquire().await?;
        loop {
            let row = sqlx::query(sql::LOAD_RUN).bind(run).fetch_optional(&mut *connection).await?;
            let row = row.ok_or_else(|| StoreError::NotFound { what: "run", id: run.to_owned() })?;
            let n: i64 = row.try_get("n")?;
            let frames: Vec<String> = sqlx::query_scalar(sql::LOAD_FRAMES).bind(n).fetch_all(&mut *connection).await?;
            let revision = number(&row, "revision")?;
            let after: i64 = sqlx::query_scalar(sql::RUN_REVISION).bind(run).fetch_one(&mut *connection).await?;
            // A turn between the two reads would mix two revisions: read again.
            if u64::try_from(after).ok() != Some(revision) {
                continue;
            }
            drop(connection);
            let state: String = row.try_get("state")?;
            let bodies = self.bodies(frames.iter().map(String::as_str).chain([state.as_str()])).await?;
            let columns = Columns {
                run: row.try_get("id")?,
                enterprise: row.try_get("enterprise")?,
                workflow: row.try_get("workflow")?,
                definition: row.try_get("definition")?,
                revision,
            };
            let parent: Option<String> = row.try_get("parent")?;
            let parent = match parent {
                Some(parent) => Some(ParentLink {
                    run: parent,
                    frame: number(&row, "parent_frame")?,
                    visit: number(&row, "parent_visit")?,
                }),
                None => None,
            };
            return Ok(Loaded {
                snapshot: codec::decode_run(columns, &state, &frames, &bodies)?,
                parent,
                exclusive: row.try_get("exclusive")?,
            });
        }
    }

    pub(super) async fn read_work(&self, run: &str) -> Result<Vec<StoredWork>, StoreError> {
        let rows = sqlx::query(sql::WORK_OF_RUN).bind(run).fetch_all(&self.inner.readers).await?;
        let inputs = rows.iter().map(|row| row.try_get("input")).collect::<Result<Vec<String>, _>>()?;
        let bodies = self.bodies(inputs.iter().map(String::as_str)).await?;
        rows.iter()
            .zip(&inputs)
            .map(|(row, input)| {
                Ok(StoredWork {
                    frame: row.try_get("frame")?,
                    visit: number(row, "visit")?,
                    kind: WorkKind::parse(row.try_get("kind")?)?,
                    name: row.try_get("name")?,
                    input: codec::decode_value(input, &bodies)?,
                    due_at: row.try_get::<Option<i64>, _>("due_at")?.map(time),
                    held: row.try_get("held")?,
                    fence: number(row, "fence")?,
                    attempt: count(row, "attempt")?,
                    crashes: count(row, "crashes")?,
                    owner: row.try_get("owner")?,
                    lease_until: row.try_get::<Option<i64>, _>("lease_until")?.map(time),
                    deadline: row.try_get::<Option<i64>, _>("deadline")?.map(time),
                    checkpoint: json(row, "checkpoint")?,
                    waiting_for: row.try_get("waiting_for")?,
                    since: time(row.try_get("since")?),
                })
            })
            .collect()
    }

    pub(super) async fn read_children(&self, run: &str) -> Result<Vec<Child>, StoreError> {
        let rows = sqlx::query(sql::CHILDREN).bind(run).fetch_all(&self.inner.readers).await?;
        rows.iter()
            .map(|row| {
                Ok(Child {
                    run: row.try_get("id")?,
                    frame: number(row, "frame")?,
                    visit: number(row, "visit")?,
                    open: row.try_get("open")?,
                })
            })
            .collect()
    }

    pub(super) async fn read_runs(&self, asked: RunsPage) -> Result<Page<String>, StoreError> {
        let before: i64 = match asked.cursor {
            None => i64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| StoreError::NotFound { what: "cursor", id: cursor })?,
        };
        let rows = sqlx::query(sql::RUNS_PAGE)
            .bind(asked.enterprise)
            .bind(asked.workflow)
            .bind(asked.status)
            .bind(before)
            .bind(i64::from(asked.limit) + 1)
            .fetch_all(&self.inner.readers)
            .await?;
        let items = rows
            .iter()
            .map(|row| Ok((row.try_get("n")?, row.try_get("id")?)))
            .collect::<Result<Vec<(i64, String)>, sqlx::Error>>()?;
        let page = page(items, asked.limit, |(n, _)| n.to_string());
        Ok(Page { items: page.items.into_iter().map(|(_, id)| id).collect(), next: page.next })
    }

    pub(super) async fn read_history(&self, asked: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        let rows = sqlx::query(sql::HISTORY_PAGE)
            .bind(asked.run)
            .bind(i64::try_from(asked.after).unwrap_or(i64::MAX))
            .bind(i64::from(asked.limit))
            .fetch_all(&self.inner.readers)
            .await?;
        let texts = rows.iter().map(|row| row.try_get("event")).collect::<Result<Vec<String>, _>>()?;
        let bodies = self.bodies(texts.iter().map(String::as_str)).await?;
        rows.iter()
            .zip(texts)
            .map(|(row, event_text)| {
                Ok(HistoryRecord {
                    seq: number(row, "seq")?,
                    hash: row.try_get("hash")?,
                    entered_text: row.try_get("entered")?,
                    event: codec::restore_event(&event_text, &bodies),
                    event_text,
                })
            })
            .collect()
    }
}
