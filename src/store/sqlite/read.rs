//! Reading rows back into data.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, sql};
use crate::{
    engine::Payload,
    store::{
        Child, ClaimedWork, Enterprise, HistoryPage, HistoryRecord, Loaded, Page, ParentLink, RunsPage, Seen,
        StoreError, StoredRecord, StoredWork, WorkKind,
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
        version: number(row, "version")?,
    })
}

/// The big values that the texts refer to. One that is not what its hash says is left out, as one that is missing is: whoever
/// needs it says so, and nothing beside it suffers.
pub(super) async fn bodies(
    connection: &mut SqliteConnection,
    texts: impl Iterator<Item = &str> + Send,
) -> Result<Bodies, StoreError> {
    let mut hashes: Vec<String> = texts.flat_map(codec::references).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let mut bodies = HashMap::with_capacity(hashes.len());
    if hashes.is_empty() {
        return Ok(bodies);
    }
    let hashes = Value::from(hashes).to_string();
    for row in sqlx::query(sql::LOAD_PAYLOADS).bind(hashes).fetch_all(connection).await? {
        let hash: String = row.try_get("hash")?;
        let body: String = row.try_get("body")?;
        if hex::encode(Sha256::digest(body.as_bytes())) != hash {
            tracing::error!(payload.hash = %hash, "a stored payload is not what its hash says");
            continue;
        }
        let value: Value = serde_json::from_str(&body).map_err(|error| StoreError::corrupt("payload", error))?;
        bodies.insert(hash, Payload::from(value));
    }
    Ok(bodies)
}

async fn run(connection: &mut SqliteConnection, run: &str) -> Result<Loaded, StoreError> {
    let row = sqlx::query(sql::LOAD_RUN).bind(run).fetch_optional(&mut *connection).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: "run", id: run.to_owned() })?;
    let n: i64 = row.try_get("n")?;
    let frames: Vec<String> = sqlx::query_scalar(sql::LOAD_FRAMES).bind(n).fetch_all(&mut *connection).await?;
    let state: String = row.try_get("state")?;
    let bodies = bodies(connection, frames.iter().map(String::as_str).chain([state.as_str()])).await?;
    let columns = Columns {
        run: row.try_get("id")?,
        enterprise: row.try_get("enterprise")?,
        workflow: row.try_get("workflow")?,
        definition: row.try_get("definition")?,
        revision: number(&row, "revision")?,
    };
    let parent: Option<String> = row.try_get("parent")?;
    let parent = match parent {
        Some(parent) => {
            Some(ParentLink { run: parent, frame: number(&row, "parent_frame")?, visit: number(&row, "parent_visit")? })
        }
        None => None,
    };
    Ok(Loaded {
        snapshot: codec::decode_run(columns, &state, &frames, &bodies)?,
        parent,
        exclusive: row.try_get("exclusive")?,
        head: row.try_get("head")?,
    })
}

async fn work(connection: &mut SqliteConnection, run: &str) -> Result<Vec<StoredWork>, StoreError> {
    let rows = sqlx::query(sql::WORK_OF_RUN).bind(run).fetch_all(&mut *connection).await?;
    let inputs = rows.iter().map(|row| row.try_get("input")).collect::<Result<Vec<String>, _>>()?;
    let bodies = bodies(connection, inputs.iter().map(String::as_str)).await?;
    rows.iter().zip(&inputs).map(|(row, input)| stored_work(row, input, &bodies)).collect()
}

fn stored_work(row: &SqliteRow, input: &str, bodies: &Bodies) -> Result<StoredWork, StoreError> {
    Ok(StoredWork {
        frame: row.try_get("frame")?,
        visit: number(row, "visit")?,
        kind: WorkKind::parse(row.try_get("kind")?)?,
        name: row.try_get("name")?,
        input: codec::decode_value(input, bodies)?,
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
}

async fn children(connection: &mut SqliteConnection, run: &str) -> Result<Vec<Child>, StoreError> {
    let rows = sqlx::query(sql::CHILDREN).bind(run).fetch_all(connection).await?;
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

impl SqliteStore {
    pub(super) async fn claimed(&self, rows: Vec<SqliteRow>) -> Result<Vec<ClaimedWork>, StoreError> {
        let inputs = rows.iter().map(|row| row.try_get("input")).collect::<Result<Vec<String>, _>>()?;
        let bodies = self.bodies(inputs.iter().map(String::as_str)).await?;
        let mut all = Vec::with_capacity(rows.len());
        for (row, input) in rows.iter().zip(&inputs) {
            let heartbeat_s: Option<i64> = row.try_get("heartbeat_s")?;
            all.push(ClaimedWork {
                run: row.try_get("run")?,
                frame: row.try_get("frame")?,
                visit: number(row, "visit")?,
                kind: WorkKind::parse(row.try_get("kind")?)?,
                name: row.try_get("name")?,
                input: codec::decode_value(input, &bodies),
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

    /// The big values that the texts refer to, on a connection of their own; none is taken when nothing is referred to.
    pub(super) async fn bodies(&self, texts: impl Iterator<Item = &str> + Clone + Send) -> Result<Bodies, StoreError> {
        if texts.clone().all(|text| codec::references(text).is_empty()) {
            return Ok(Bodies::new());
        }
        let mut connection = self.inner.readers.acquire().await?;
        bodies(&mut connection, texts).await
    }

    pub(super) async fn read_run(&self, id: &str) -> Result<Loaded, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| Box::pin(async move { run(connection, &id).await })).await
    }

    pub(super) async fn read_all(&self, id: &str) -> Result<Seen, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            Box::pin(async move {
                Ok(Seen {
                    loaded: run(connection, &id).await?,
                    work: work(connection, &id).await?,
                    children: children(connection, &id).await?,
                })
            })
        })
        .await
    }

    pub(super) async fn read_work(&self, run: &str) -> Result<Vec<StoredWork>, StoreError> {
        let mut connection = self.inner.readers.acquire().await?;
        work(&mut connection, run).await
    }

    pub(super) async fn read_children(&self, run: &str) -> Result<Vec<Child>, StoreError> {
        let mut connection = self.inner.readers.acquire().await?;
        children(&mut connection, run).await
    }

    pub(super) async fn read_runs(&self, asked: RunsPage) -> Result<Page<String>, StoreError> {
        let before: i64 = match asked.cursor {
            None => i64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| StoreError::NotFound { what: "cursor", id: cursor })?,
        };
        // One statement for each index: one for all, with conditions that may be absent, would use none.
        let query = match (&asked.enterprise, &asked.status) {
            (None, None) => sqlx::query(sql::RUNS_PAGE),
            (None, Some(_)) => sqlx::query(sql::RUNS_PAGE_BY_STATUS),
            (Some(_), _) => sqlx::query(sql::RUNS_PAGE_OF_ENTERPRISE),
        };
        let mut query = query.bind(asked.workflow).bind(before).bind(i64::from(asked.limit) + 1);
        if asked.enterprise.is_some() || asked.status.is_some() {
            query = query.bind(asked.status);
        }
        if asked.enterprise.is_some() {
            query = query.bind(asked.enterprise);
        }
        let rows = query.fetch_all(&self.inner.readers).await?;
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
