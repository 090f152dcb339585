//! Statements that go to the server as one: a round trip costs more than most of them do.
//!
//! Each becomes a common table expression of one statement. The server runs all of them on one view of the tables and in no
//! order that could be relied on, so no two of them may write the same row.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Encode, PgConnection, Postgres, Type, postgres::PgArguments};

use super::pool::Setback;
use crate::store::StoreError;

/// Some statements and what they bind. Statements come from `queries/` alone.
#[derive(Default)]
pub(super) struct Together {
    parts: Vec<Part>,
    arguments: PgArguments,
    bound: usize,
}

struct Part {
    statement: &'static str,
    /// Arguments of the parts before it.
    before: usize,
    /// How many rows it must give.
    wanted: Option<usize>,
}

impl Together {
    /// A statement; what is bound next is its `$1` and so on.
    pub(super) fn say(&mut self, statement: &'static str) {
        self.parts.push(Part { statement, before: self.bound, wanted: None });
    }

    pub(super) fn bind<'q, T>(&mut self, value: T) -> Result<(), StoreError>
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
    {
        use sqlx::Arguments as _;
        self.bound += 1;
        self.arguments.add(value).map_err(|error| StoreError::corrupt("batch", error))
    }

    /// The statement said last fails, and everything with it, unless it gives so many rows.
    pub(super) fn expect(&mut self, rows: usize) {
        if let Some(part) = self.parts.last_mut() {
            part.wanted = Some(rows);
        }
    }

    /// Runs all of them, or nothing if there is none.
    ///
    /// # Errors
    /// Nothing is written; [`is_disproof`] says whether an expected number of rows was not given.
    pub(super) async fn run(self, connection: &mut PgConnection) -> Result<(), Setback> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let text = self.text();
        sqlx::query_with(AssertSqlSafe(text), self.arguments).execute(connection).await?;
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(2_048);
        let mut proofs = String::new();
        for (number, part) in self.parts.iter().enumerate() {
            text.push_str(if number == 0 { "WITH " } else { ", " });
            let _infallible = write!(text, "part_{number} AS (");
            for line in part.statement.lines().filter(|line| !line.starts_with("--")) {
                renumbered(line, part.before, &mut text);
                text.push('\n');
            }
            text.push(')');
            if let Some(wanted) = part.wanted {
                let _infallible = write!(proofs, " AND (SELECT count(*) FROM part_{number}) = {wanted}");
            }
        }
        // There is no other way to make a statement fail by a condition than an error of arithmetic.
        let _infallible = write!(text, " SELECT 1 / (true{proofs})::int");
        text
    }
}

/// `$1` is `$4` where three others come before it.
fn renumbered(line: &str, before: usize, to: &mut String) {
    let mut parts = line.split('$');
    to.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        let number: usize = number.parse().unwrap_or_default();
        let _infallible = write!(to, "${}{rest}", number + before);
    }
}

/// Whether a statement failed because rows were not as they were expected to be.
pub(super) fn is_disproof(setback: &Setback) -> bool {
    const DIVISION_BY_ZERO: &str = "22012";
    match setback {
        Setback::Database(sqlx::Error::Database(refused)) => refused.code().as_deref() == Some(DIVISION_BY_ZERO),
        Setback::Database(_) | Setback::Store(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_own_arguments() {
        let mut together = Together::default();
        together.say("-- $1 is a number\nINSERT INTO a SELECT $1, $2 FROM b WHERE c = $10");
        for number in 0..10_i64 {
            together.bind(number).unwrap();
        }
        together.say("DELETE FROM d WHERE e = $1 RETURNING e");
        together.bind("text").unwrap();
        together.expect(1);
        assert_eq!(
            together.text(),
            "WITH part_0 AS (INSERT INTO a SELECT $1, $2 FROM b WHERE c = $10\n), part_1 AS (DELETE FROM d WHERE e = $11 \
             RETURNING e\n) SELECT 1 / (true AND (SELECT count(*) FROM part_1) = 1)::int"
        );
    }
}
