//! Reading rows back into data.

use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    PostgresStore,
    pool::Setback,
    sql,
    text::{kept, told},
};
use crate::store::{
    Child, ClaimedWork, HistoryPage, HistoryRecord, Loaded, Page, RunsPage, Seen, StoreError, StoredWork,
    batch::Stand,
    codec::Bodies,
    row::{self, Stored},
};

impl Stored for PgRow {
    fn int(&self, column: &str) -> Result<i64, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: &str) -> Result<String, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn plain(&self, column: &str) -> Result<String, StoreError> {
        told(self.text(column)?)
    }

    fn maybe_plain(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.maybe_text(column)?.map(told).transpose()
    }
}

/// The big values that the texts refer to.
pub(super) async fn bodies(
    connection: &mut PgConnection,
    texts: impl Iterator<Item = &str> + Send,
) -> Result<Bodies, Setback> {
    let hashes = row::references(texts);
    if hashes.is_empty() {
        return Ok(Bodies::new());
    }
    Ok(row::bodies(&sqlx::query(sql::LOAD_PAYLOADS).bind(hashes).fetch_all(connection).await?)?)
}

/// One statement sees one moment; the big values that it refers to never change.
async fn run(connection: &mut PgConnection, run: &str) -> Result<(Loaded, Stand), Setback> {
    let found = sqlx::query(sql::LOAD_RUN).bind(kept(run)).fetch_optional(&mut *connection).await?;
    let found = found.ok_or_else(|| StoreError::NotFound { what: "run", id: run.to_owned() })?;
    let (state, frames) = (found.text("state")?, found.try_get::<Vec<String>, _>("frames")?);
    let bodies = bodies(connection, frames.iter().map(String::as_str).chain([state.as_str()])).await?;
    let loaded = row::run(&found, &state, &frames, &bodies)?;
    let stand = Stand {
        n: found.int("n")?,
        revision: loaded.snapshot.header.revision,
        status: found.text("status")?,
        head: found.bytes("head")?,
        is_child: found.maybe_text("parent")?.is_some(),
    };
    Ok((loaded, stand))
}

async fn work(connection: &mut PgConnection, run: &str) -> Result<Vec<StoredWork>, Setback> {
    let rows = sqlx::query(sql::WORK_OF_RUN).bind(kept(run)).fetch_all(&mut *connection).await?;
    let inputs = row::texts(&rows, "input")?;
    let bodies = bodies(connection, inputs.iter().map(String::as_str)).await?;
    let work: Result<_, StoreError> =
        rows.iter().zip(&inputs).map(|(found, input)| row::stored_work(found, input, &bodies)).collect();
    Ok(work?)
}

async fn children(connection: &mut PgConnection, run: &str) -> Result<Vec<Child>, Setback> {
    let rows = sqlx::query(sql::CHILDREN).bind(kept(run)).fetch_all(connection).await?;
    let children: Result<_, StoreError> = rows.iter().map(row::child).collect();
    Ok(children?)
}

/// Claimed rows as data, the longest due first.
pub(super) async fn claimed(connection: &mut PgConnection, rows: Vec<PgRow>) -> Result<Vec<ClaimedWork>, Setback> {
    let inputs = row::texts(&rows, "input")?;
    let bodies = bodies(connection, inputs.iter().map(String::as_str)).await?;
    let mut all = Vec::with_capacity(rows.len());
    for (found, input) in rows.iter().zip(&inputs) {
        all.push(row::claimed(found, input, &bodies)?);
    }
    all.sort_by_key(|work| work.due_at);
    Ok(all)
}

impl PostgresStore {
    pub(super) async fn read_run(&self, id: &str) -> Result<Loaded, StoreError> {
        let asked = id.to_owned();
        let read = self.look(move |connection| {
            let asked = asked.clone();
            Box::pin(async move { run(connection, &asked).await })
        });
        let (loaded, stand) = read.await?;
        if loaded.snapshot.header.outcome.is_none() {
            self.inner.known.meet(id, stand);
        }
        Ok(loaded)
    }

    pub(super) async fn read_all(&self, id: &str) -> Result<Seen, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            let id = id.clone();
            Box::pin(async move {
                Ok(Seen {
                    loaded: run(connection, &id).await?.0,
                    work: work(connection, &id).await?,
                    children: children(connection, &id).await?,
                })
            })
        })
        .await
    }

    pub(super) async fn read_work(&self, id: &str) -> Result<Vec<StoredWork>, StoreError> {
        let id = id.to_owned();
        self.look(move |connection| {
            let id = id.clone();
            Box::pin(async move { work(connection, &id).await })
        })
        .await
    }

    pub(super) async fn read_children(&self, id: &str) -> Result<Vec<Child>, StoreError> {
        let id = id.to_owned();
        self.look(move |connection| {
            let id = id.clone();
            Box::pin(async move { children(connection, &id).await })
        })
        .await
    }

    pub(super) async fn read_runs(&self, asked: RunsPage) -> Result<Page<String>, StoreError> {
        let before = row::before(asked.cursor.clone())?;
        let limit = asked.limit;
        let rows = self.look(move |connection| {
            let asked = asked.clone();
            Box::pin(async move {
                // One statement for each index: one for all, with conditions that may be absent, would use none.
                let query = match (&asked.enterprise, &asked.status) {
                    (None, None) => sqlx::query(sql::RUNS_PAGE),
                    (None, Some(_)) => sqlx::query(sql::RUNS_PAGE_BY_STATUS),
                    (Some(_), _) => sqlx::query(sql::RUNS_PAGE_OF_ENTERPRISE),
                };
                let kept = |text: Option<String>| text.map(|text| kept(&text).into_owned());
                let mut query = query.bind(kept(asked.workflow)).bind(before).bind(i64::from(asked.limit) + 1);
                if asked.enterprise.is_some() || asked.status.is_some() {
                    query = query.bind(kept(asked.status));
                }
                if asked.enterprise.is_some() {
                    query = query.bind(kept(asked.enterprise));
                }
                Ok(query.fetch_all(connection).await?)
            })
        });
        row::runs_page(&rows.await?, limit)
    }

    pub(super) async fn read_history(&self, asked: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        self.look(move |connection| {
            let asked = asked.clone();
            Box::pin(async move {
                let rows = sqlx::query(sql::HISTORY_PAGE)
                    .bind(kept(&asked.run))
                    .bind(i64::try_from(asked.after).unwrap_or(i64::MAX))
                    .bind(i64::from(asked.limit))
                    .fetch_all(&mut *connection)
                    .await?;
                let texts = row::texts(&rows, "event")?;
                let bodies = bodies(connection, texts.iter().map(String::as_str)).await?;
                let records: Result<_, StoreError> =
                    rows.iter().zip(texts).map(|(found, event)| row::history(found, event, &bodies)).collect();
                Ok(records?)
            })
        })
        .await
    }
}
