//! Runs for people.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use crate::{
    cli::output::table,
    engine::Standing,
    worker::{HistoryRow, Retrying, RunView, Verification, WaitingFor, next},
};

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn status(run: &RunView) -> &'static str {
    match run.status {
        Standing::Working => "working",
        Standing::Waiting => "waiting",
        Standing::Attention => "attention",
        Standing::Paused => "paused",
        Standing::Succeeded => "succeeded",
        Standing::Failed => "failed",
        Standing::Cancelled => "cancelled",
    }
}

/// A run at one moment, on one line.
pub fn line(run: &RunView) -> String {
    format!("{}  {}: {}", run.id, status(run), run.summary)
}

/// A run with all that it waits for.
pub fn run(run: &RunView) -> String {
    let mut lines = vec![
        line(run),
        format!(
            "  {} for {}, started {} by {}",
            run.workflow,
            run.enterprise,
            time(run.started_at),
            run.started_by.name
        ),
    ];
    lines.extend(run.parent.iter().map(|parent| format!("  child of {parent}")));
    if !run.children.is_empty() {
        lines.push(format!("  children: {}", run.children.join(" ")));
    }
    for wait in &run.waiting_for {
        lines.push(waiting(wait));
        lines.extend(wait.form.iter().map(|form| format!("    {}", next::answer(&run.id, form, &wait.visit))));
    }
    for attention in &run.attention {
        lines.push(format!(
            "  attention since {} in {}, at {}: {}: {}",
            time(attention.since),
            attention.state,
            attention.visit,
            attention.error,
            attention.cause
        ));
        lines.extend(next::mend(&run.id, &attention.visit).map(|command| format!("    {command}")));
    }
    lines.extend(run.retrying.iter().map(retrying));
    lines.extend(run.undelivered.iter().map(|letter| format!("  {}", crate::cli::mail::line(letter))));
    for down in &run.out_of_service {
        let state = if down.frozen { "out of service" } else { "perhaps out of service" };
        lines.push(format!(
            "  {state}: {} in {} since {}, by the run {}; the original is {}; cutoff {}, to serve by {}",
            down.system,
            down.region,
            time(down.since),
            down.run,
            down.old,
            time(down.cutoff),
            time(down.end)
        ));
        lines.extend(
            down.put_back_by.iter().map(|run| format!("    put back by the run {run}: `keyferry run show {run}`")),
        );
    }
    if let Some(error) = &run.error {
        lines.push(format!("  {error}: {}", run.cause.as_deref().unwrap_or_default()));
    }
    lines.extend(run.ended_at.map(|at| format!("  ended {}", time(at))));
    let steer = next::steer(run);
    if !steer.is_empty() {
        lines.push(format!("  the run itself, at {}", run.revision));
        lines.extend(steer.iter().map(|command| format!("    {command}")));
    }
    lines.join("\n")
}

fn waiting(wait: &WaitingFor) -> String {
    let until = wait.until.map(|until| format!(", until {}", time(until))).unwrap_or_default();
    let at = wait.form.as_ref().map(|_| format!(", at {}", wait.visit)).unwrap_or_default();
    let line =
        format!("  {} waits for {}, on {}, since {}{until}{at}", wait.state, wait.what, wait.on, time(wait.since));
    let shown = wait.shown.iter().map(|shown| format!("    {shown}"));
    std::iter::once(line).chain(shown).collect::<Vec<_>>().join("\n")
}

fn retrying(state: &Retrying) -> String {
    let next = state.next_at.map_or_else(|| "under way".to_owned(), |at| format!("next at {}", time(at)));
    format!(
        "  {} (frame {}) is tried again: attempt {}, {next}, last error {}: {}",
        state.state, state.frame, state.attempt, state.error, state.cause
    )
}

pub fn listing(runs: &[RunView]) -> String {
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let cells =
                [run.id.as_str(), &run.enterprise, &run.workflow, status(run), &time(run.started_at), &run.summary];
            cells.map(ToOwned::to_owned).to_vec()
        })
        .collect();
    table(&["RUN", "ENTERPRISE", "WORKFLOW", "STATUS", "STARTED", "SUMMARY"], &rows)
}

pub fn history(rows: &[HistoryRow]) -> String {
    let lines: Vec<String> = rows.iter().map(history_line).collect();
    lines.join("\n")
}

fn history_line(row: &HistoryRow) -> String {
    let member = |name: &str| row.event.get(name).and_then(Value::as_str);
    let mut line = format!("{:>5}  {}  {}", row.seq, time(row.at), member("event").unwrap_or("?"));
    if let Some(frame) = row.event.get("frame") {
        line.push_str(&format!("  frame {frame}"));
    }
    if let Some(name) = row.event.pointer("/actor/name").and_then(Value::as_str) {
        let role = row.event.pointer("/actor/role").and_then(Value::as_str).unwrap_or_default();
        line.push_str(&format!("  by {name} ({role})"));
    }
    for name in ["reason", "error", "cause"] {
        line.extend(member(name).map(|text| format!("  {name}: {text}")));
    }
    if !row.entered.is_empty() {
        line.push_str(&format!("  -> {}", row.entered.join(" -> ")));
    }
    line
}

pub fn verification(found: &Verification) -> String {
    let mut lines = vec![match found.first_bad {
        _ if found.ok => format!("{}: {} rows hold, and fold to the run's state", found.run, found.rows),
        Some(row) => format!("{}: does not hold from row {row} of {} on", found.run, found.rows),
        None => format!("{}: does not hold ({} rows)", found.run, found.rows),
    }];
    lines.extend(found.findings.iter().map(|finding| format!("  {finding}")));
    lines.extend(found.children.iter().map(verification));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_of_history_says_who_did_what_and_why() {
        let row = HistoryRow {
            seq: 7,
            at: "2026-03-02T10:00:00Z".parse().expect("a time"),
            event: json!({
                "event": "retried", "frame": 2, "reason": "quota was raised",
                "actor": {"name": "admin for Eve", "role": "engineer"}
            }),
            entered: vec!["CopySnapshot".to_owned()],
            hash: String::new(),
        };
        assert_eq!(
            history_line(&row),
            "    7  2026-03-02T10:00:00Z  retried  frame 2  by admin for Eve (engineer)  reason: quota was raised  -> CopySnapshot"
        );
    }
}
