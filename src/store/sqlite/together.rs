//! Statements that go to a connection's thread as one command. sqlx hands each command over to that thread and its answer
//! back: two changes of thread, which take longer than most statements of a small batch do.

use serde::Serialize;
use sqlx::{
    Arguments as _, AssertSqlSafe, SqliteConnection,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::sql;
use crate::store::{Claim, StoreError, micros};

/// Some statements and what they bind, in order. Statements come from `queries/` alone; each binds by bare question marks.
#[derive(Default)]
pub(super) struct Together {
    text: String,
    arguments: SqliteArguments,
}

impl Together {
    pub(super) fn say(&mut self, statement: &str) {
        self.text.push_str(statement);
        self.text.push_str(";\n");
    }

    fn bind<'q, T>(&mut self, value: T) -> Result<(), StoreError>
    where
        T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.arguments.add(value).map_err(|error| StoreError::corrupt("batch", error))
    }

    /// A statement over rows, which it takes as one JSON array; nothing if there are none.
    pub(super) fn put<T: Serialize>(&mut self, statement: &str, rows: &[T]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.say(statement);
        let text = serde_json::to_string(rows).map_err(|error| StoreError::corrupt("batch", error))?;
        self.bind(text)
    }

    /// Binds a number that the statement before takes besides its rows.
    pub(super) fn count(&mut self, count: usize) -> Result<(), StoreError> {
        self.bind(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn claim(&mut self, claim: &Claim) -> Result<(), StoreError> {
        self.say(sql::CLAIM);
        let (now, limit) = (claim.now.timestamp_micros(), i64::from(claim.limit));
        self.bind(claim.owner.clone())?;
        [micros(claim.lease_until), now, now, limit, now, limit, limit]
            .into_iter()
            .try_for_each(|number| self.bind(number))
    }

    /// Runs all of them, up to the first that fails, and gives all rows. Nothing is run if there is none.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<SqliteRow>, StoreError> {
        if self.text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(sqlx::query_with(AssertSqlSafe(self.text), self.arguments).fetch_all(connection).await?)
    }
}
