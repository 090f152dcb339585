//! What the store and the worker know, in Prometheus' text format. It is read at each scrape, never counted beside them.

use std::{collections::BTreeMap, fmt::Write};

use chrono::{DateTime, Utc};

use crate::worker::Stats;

/// The metrics of `stats`; without them only that the store could not be read.
pub fn render(stats: Option<&Stats>) -> String {
    let mut page = Page(String::new());
    page.single(
        "keyferry_store_up",
        "gauge",
        "Whether the store could be read at this scrape",
        u64::from(stats.is_some()),
    );
    let Some(stats) = stats else { return page.0 };
    let tally = &stats.tally;
    page.single("keyferry_work_due", "gauge", "Pieces of work that are due and free", tally.due);
    page.time("keyferry_work_oldest_due_timestamp_seconds", "Since when the oldest of them is due", tally.oldest_due);
    page.single("keyferry_leases", "gauge", "Pieces of work under a lease", tally.leases);
    page.single("keyferry_runs_in_attention", "gauge", "Runs that wait for an engineer", tally.attention);
    page.single("keyferry_outbox_pending", "gauge", "Rows of the outbox that are not delivered", tally.outbox);
    page.time("keyferry_outbox_oldest_timestamp_seconds", "When the oldest of them was written", tally.oldest_outbox);
    page.single("keyferry_claims_total", "counter", "Pieces of work that this process has claimed", stats.claimed);
    page.single("keyferry_leases_lost_total", "counter", "Leases that this process has lost", stats.leases_lost);
    page.single("keyferry_steps_executing", "gauge", "Steps that this process executes", stats.executing as u64);
    let steps: BTreeMap<&str, _> = stats.steps.iter().map(|(name, step)| (name.as_str(), step)).collect();
    page.head("keyferry_step_seconds", "summary", "Executions of a step by this process, and their time together");
    for (name, (count, time)) in steps {
        let label = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        page.line(&format!("keyferry_step_seconds_count{{step=\"{label}\"}} {count}"));
        page.line(&format!("keyferry_step_seconds_sum{{step=\"{label}\"}} {}", time.as_secs_f64()));
    }
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String does not fail.
        let _: std::fmt::Result = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(&format!("{name} {value}"));
    }

    /// Nothing is printed for a time that there is none of: 0 would read as 1970.
    fn time(&mut self, name: &str, help: &str, at: Option<DateTime<Utc>>) {
        if let Some(at) = at {
            self.head(name, "gauge", help);
            self.line(&format!("{name} {}", at.timestamp()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_times_and_steps_are_told() {
        let mut stats = Stats::default();
        stats.tally.attention = 2;
        stats.tally.oldest_due = DateTime::from_timestamp(1_700_000_000, 0);
        stats.steps.insert("copy-snapshot".to_owned(), (3, Duration::from_millis(1500)));
        let text = render(Some(&stats));
        for line in [
            "keyferry_store_up 1",
            "keyferry_runs_in_attention 2",
            "keyferry_work_oldest_due_timestamp_seconds 1700000000",
            "keyferry_step_seconds_count{step=\"copy-snapshot\"} 3",
            "keyferry_step_seconds_sum{step=\"copy-snapshot\"} 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("keyferry_outbox_oldest"), "{text}");
    }

    #[test]
    fn a_store_that_cannot_be_read_is_told_and_nothing_is_made_up() {
        let text = render(None);
        assert!(text.contains("keyferry_store_up 0"), "{text}");
        assert!(!text.contains("keyferry_work_due"), "{text}");
    }
}
