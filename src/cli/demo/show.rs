//! What the demo shows: a live line on a terminal, plain lines elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{
    cli::output::{Output, say},
    worker::{RunView, Verification},
};

/// The live view.
pub(super) struct Show {
    bar: Option<ProgressBar>,
    last: String,
    states: Vec<String>,
}

impl Show {
    pub fn new(output: Output) -> Self {
        let live = output == Output::Text && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, last: String::new(), states: Vec::new() }
    }

    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    pub fn person(&mut self, role: &str, said: &str) {
        self.line(&format!("  {role}: {said}"));
    }

    /// Where the run stands: states it has come to stay as lines, what it waits for is the live line.
    pub fn run(&mut self, view: &RunView) {
        for state in view.working_in.iter().chain(view.waiting_for.iter().map(|waiting| &waiting.state)) {
            if !self.states.contains(state) {
                self.states.push(state.clone());
                self.line(&format!("  {state}"));
            }
        }
        if view.summary != self.last {
            self.last.clone_from(&view.summary);
            if let Some(bar) = &self.bar {
                bar.set_message(view.summary.clone());
            }
        }
    }

    /// What is proven of the systems that are to go, in the words of the list that is approved.
    pub fn proof(&mut self, input: &Value) {
        let lines = || input["list"]["lines"].as_array().into_iter().flatten();
        self.line("  proven, by what each step has recorded:");
        for line in lines().filter(|line| line["kind"] == "instance") {
            for proof in line["proof"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.line(&format!("    {proof}"));
            }
        }
        let others = lines().filter(|line| line["kind"] != "instance").count();
        self.line(&format!(
            "    {others} snapshots and backups of them go too: none was taken after the final one, none is the only copy in its region"
        ));
        for stays in input["kept"].as_array().into_iter().flatten() {
            self.line(&format!("    {} stays: {}", stays["id"], stays["why"]));
        }
        self.line(
            "    before the first deletion every key is used, by a copy that RDS makes under it too, and every successor is \
             looked at; before each deletion again",
        );
    }

    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The report's summary for people.
pub(super) fn summary(report: &Value, verification: &Verification) -> String {
    let mut lines = Vec::new();
    let summary = report.get("summary").unwrap_or(&Value::Null);
    if let Some(members) = summary.as_object() {
        for (name, value) in members {
            match value {
                Value::Array(items) => lines.extend(items.iter().filter_map(Value::as_str).map(str::to_owned)),
                Value::String(text) => lines.push(format!("{}: {text}", name.replace('_', " "))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    lines.push(format!("{}: {value}", name.replace('_', " ")));
                }
            }
        }
    }
    let verified = if verification.ok { "verifies" } else { "does NOT verify" };
    lines.push(format!("the run's history of {} events {verified}", verification.rows));
    lines.join("\n")
}
