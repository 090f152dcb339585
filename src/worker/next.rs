//! What an engineer may type next, as it is printed by `run show`, in letters and in refusals. Each command names what was seen.

use super::{RunView, Visit};
use crate::engine::Standing;

pub fn answer(run: &str, form: &str, visit: &Visit) -> String {
    format!("keyferry run answer {run} {form} --at {visit} --data FILE")
}

/// Of a frame in attention.
pub fn mend(run: &str, visit: &Visit) -> [String; 2] {
    ["retry", "skip"].map(|verb| format!("keyferry run {verb} {run} --at {visit} --reason TEXT"))
}

/// Of an open run, as it stands.
pub fn steer(run: &RunView) -> Vec<String> {
    let verbs: &[&str] = match run.status {
        Standing::Succeeded | Standing::Failed | Standing::Cancelled => &[],
        Standing::Paused => &["resume", "cancel"],
        Standing::Working | Standing::Waiting | Standing::Attention => &["pause", "cancel"],
    };
    verbs.iter().map(|verb| on_run(verb, run)).collect()
}

pub fn cancel(run: &RunView) -> String {
    on_run("cancel", run)
}

fn on_run(verb: &str, run: &RunView) -> String {
    format!("keyferry run {verb} {} --at {} --reason TEXT", run.id, run.revision)
}
