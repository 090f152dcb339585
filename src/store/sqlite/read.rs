//! Reading rows back into data.

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, sql};
use crate::store::{
    Child, ClaimedWork, HistoryPage, HistoryRecord, Loaded, Page, RunsPage, Seen, StoreError, StoredWork,
    codec::Bodies,
    row::{self, Stored},
};

impl Stored for SqliteRow {
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
        self.text(column)
    }

    fn maybe_plain(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.maybe_text(column)
    }
}

/// The big values that the texts refer to.
pub(super) async fn bodies(
    connection: &mut SqliteConnection,
    texts: impl Iterator<Item = &str> + Send,
) -> Result<Bodies, StoreError> {
    let hashes = row::references(texts);
    if hashes.is_empty() {
        return Ok(Bodies::new());
    }
    let hashes = serde_json::Value::from(hashes).to_string();
    row::bodies(&sqlx::query(sql::LOAD_PAYLOADS).bind(hashes).fetch_all(connection).await?)
}

async fn run(connection: &mut SqliteConnection, run: &str) -> Result<Loaded, StoreError> {
    let found = sqlx::query(sql::LOAD_RUN).bind(run).fetch_optional(&mut *connection).await?;
    let found = found.ok_or_else(|| StoreError::NotFound { what: "run", id: run.to_owned() })?;
    let frames = sqlx::query_scalar(sql::LOAD_FRAMES).bind(found.int("n")?).fetch_all(&mut *connection).await?;
    let state = found.text("state")?;
    let bodies = bodies(connection, frames.iter().map(String::as_str).chain([state.as_str()])).await?;
    row::run(&found, &state, &frames, &bodies)
}

async fn work(connection: &mut SqliteConnection, run: &str) -> Result<Vec<StoredWork>, StoreError> {
    let rows = sqlx::query(sql::WORK_OF_RUN).bind(run).fetch_all(&mut *connection).await?;
    let inputs = row::texts(&rows, "input")?;
    let bodies = bodies(connection, inputs.iter().map(String::as_str)).await?;
    rows.iter().zip(&inputs).map(|(found, input)| row::stored_work(found, input, &bodies)).collect()
}

async fn children(connection: &mut SqliteConnection, run: &str) -> Result<Vec<Child>, StoreError> {
    sqlx::query(sql::CHILDREN).bind(run).fetch_all(connection).await?.iter().map(row::child).collect()
}

impl SqliteStore {
    pub(super) async fn claimed(&self, rows: Vec<SqliteRow>) -> Result<Vec<ClaimedWork>, StoreError> {
        let inputs = row::texts(&rows, "input")?;
        let bodies = self.bodies(inputs.iter().map(String::as_str)).await?;
        let mut all = Vec::with_capacity(rows.len());
        for (found, input) in rows.iter().zip(&inputs) {
            all.push(row::claimed(found, input, &bodies)?);
        }
        all.sort_by_key(|work| work.due_at);
        Ok(all)
    }

    /// The big values that the texts refer to, on a connection of their own; none is taken when nothing is referred to.
    pub(super) async fn bodies(&self, texts: impl Iterator<Item = &str> + Clone + Send) -> Result<Bodies, StoreError> {
        if row::references(texts.clone()).is_empty() {
            return Ok(Bodies::new());
        }
        let mut connection = self.reader().await?;
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
        let mut connection = self.reader().await?;
        work(&mut connection, run).await
    }

    pub(super) async fn read_children(&self, run: &str) -> Result<Vec<Child>, StoreError> {
        let mut connection = self.reader().await?;
        children(&mut connection, run).await
    }

    pub(super) async fn read_runs(&self, asked: RunsPage) -> Result<Page<String>, StoreError> {
        let before = row::before(asked.cursor)?;
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
        row::runs_page(&query.fetch_all(&mut *self.reader().await?).await?, asked.limit)
    }

    pub(super) async fn read_history(&self, asked: HistoryPage) -> Result<Vec<HistoryRecord>, StoreError> {
        let rows = sqlx::query(sql::HISTORY_PAGE)
            .bind(asked.run)
            .bind(i64::try_from(asked.after).unwrap_or(i64::MAX))
            .bind(i64::from(asked.limit))
            .fetch_all(&mut *self.reader().await?)
            .await?;
        let texts = row::texts(&rows, "event")?;
        let bodies = self.bodies(texts.iter().map(String::as_str)).await?;
        rows.iter().zip(texts).map(|(found, event)| row::history(found, event, &bodies)).collect()
    }
}
