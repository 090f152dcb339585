//! What commands print, and how they fail.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::telemetry::with_causes;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document, or one a line where a command goes on printing.
    Json,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense; exit code 2.
    Usage(String),
    /// It was tried and did not work; exit code 1.
    Failed(String),
    /// A request was sent and no answer came back that can be understood: it may have been done; exit code 1.
    Unanswered(String),
    /// The server answered with a problem document; exit code 1.
    Problem(Value),
}

impl Failure {
    /// A failure with the error's whole chain, each link once.
    pub fn from_error(error: &dyn Error) -> Self {
        Self::Failed(with_causes(error))
    }

    /// Prints the failure on standard error and gives the process's exit code.
    pub fn report(&self, output: Output) -> ExitCode {
        let text = match output {
            Output::Json => self.json().to_string(),
            Output::Text => self.text(),
        };
        // Nobody is left to be told when standard error is gone.
        let _: io::Result<()> = writeln!(io::stderr(), "{text}");
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Unanswered(_) | Self::Problem(_) => 1,
        })
    }

    fn json(&self) -> Value {
        match self {
            Self::Usage(detail) => json!({"code": "usage", "detail": detail}),
            Self::Failed(detail) => json!({"code": "failed", "detail": detail}),
            Self::Unanswered(detail) => json!({"code": "unanswered", "detail": detail}),
            Self::Problem(problem) => problem.clone(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Usage(detail) | Self::Failed(detail) | Self::Unanswered(detail) => format!("keyferry: {detail}"),
            Self::Problem(problem) => problem_text(problem),
        }
    }
}

/// A problem document for people: title, code, detail, and each finding with its place.
fn problem_text(problem: &Value) -> String {
    let member = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("keyferry: {} ({}): {}", member("title"), member("code"), member("detail"));
    for finding in problem.get("findings").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| finding.get(name).and_then(Value::as_str);
        let line = match (part("pointer"), part("message")) {
            (Some(pointer), Some(message)) if !pointer.is_empty() => format!("\n  {pointer}: {message}"),
            (_, Some(message)) => format!("\n  {message}"),
            _ => format!("\n  {}", plain(finding)),
        };
        text.push_str(&line);
    }
    match problem.get("cure") {
        Some(Value::Array(cures)) => cures.iter().for_each(|cure| text.push_str(&format!("\n  {}", plain(cure)))),
        Some(cure) => text.push_str(&format!("\n  {}", plain(cure))),
        None => {}
    }
    text
}

/// A string without quotes, anything else as JSON.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Prints one result: `value` as JSON, or the text.
///
/// # Errors
/// Standard output is closed.
pub fn print<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let line = match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(value).map_err(|error| Failure::from_error(&error))?,
    };
    print_line(&line)
}

/// Prints one of several results: JSON on one line.
///
/// # Errors
/// Standard output is closed.
pub fn print_each<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let line = match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string(value).map_err(|error| Failure::from_error(&error))?,
    };
    print_line(&line)
}

fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line.trim_end_matches('\n'))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Failed(format!("cannot write the result: {error}")))
}

/// Tells a person something on standard error.
pub fn say(text: &str) {
    // A command's result does not depend on whether anybody listens to its talk.
    let _: io::Result<()> = writeln!(io::stderr(), "{text}");
}

/// Rows under headings, columns two blanks apart.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_each_finding_and_its_place() {
        let problem = json!({
            "title": "Unprocessable Entity", "code": "answer-refused", "detail": "2 findings.",
            "findings": [{"pointer": "/keys/us-west-2", "message": "is an alias"}, "too late"]
        });
        assert_eq!(
            problem_text(&problem),
            "keyferry: Unprocessable Entity (answer-refused): 2 findings.\n  /keys/us-west-2: is an alias\n  too late"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["dave".to_owned(), "x".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID    NAME\ndave  x\na");
    }
}
