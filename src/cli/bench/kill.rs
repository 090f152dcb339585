//! kill -9 when half of the steps are done, a restart at once: how soon work goes on, what is done twice, what is lost.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{
    super::output::Failure,
    place::Place,
    process::Part,
    step_log::{Lines, StepLog, now, of, seconds, word},
};

const RUNS: usize = 200;
const STEPS: usize = 10;
/// Milliseconds that a step lasts.
const SLEEP: &str = "20";

/// # Errors
/// A part failed, or the work did not end in a minute.
pub fn half_way(place: &Place) -> Result<Value, Failure> {
    let log = StepLog::begin(place)?;
    let runs = RUNS.to_string();
    let mut enqueue = Part::start(&place.url, &["enq", &runs, &STEPS.to_string(), SLEEP], None)?;
    enqueue.line()?;
    enqueue.end()?;
    let first = Part::start(&place.url, &["work", &runs], Some(log.path()))?;
    log.until(|lines| of(lines, "E").count() >= RUNS * STEPS / 2)?;
    first.kill()?;
    let before = log.lines()?;
    let killed = now();
    let mut second = Part::start(&place.url, &["work", &runs], Some(log.path()))?;
    second.line()?;
    second.end()?;
    let all = log.end()?;
    figures(&before, &all, killed)
}

fn figures(before: &Lines, all: &Lines, killed: f64) -> Result<Value, Failure> {
    let after = all.get(before.len()..).unwrap_or_default();
    let ended: HashSet<&str> = of(before, "C").map(|line| word(line, 2)).collect();
    let open: HashSet<&str> = of(before, "S").map(|line| word(line, 2)).filter(|run| !ended.contains(run)).collect();
    let since = |line: &Vec<String>| seconds(line) - killed;
    let recovered = of(after, "S").filter(|line| open.contains(word(line, 2))).map(since).reduce(f64::min);
    let last = of(after, "C").map(since).reduce(f64::max);
    let mut executed: HashMap<(&str, &str), u32> = HashMap::new();
    for line in of(all, "E") {
        *executed.entry((word(line, 2), word(line, 3))).or_default() += 1;
    }
    let often = |times: u32| executed.values().filter(|count| **count >= times).count();
    let lost = (RUNS * STEPS).checked_sub(executed.len());
    let lost = lost.ok_or_else(|| Failure::Failed("more steps were executed than there are".to_owned()))?;
    Ok(json!({
        "first_recovered_step_s": recovered,
        "all_done_s": last,
        "open_when_killed": open.len(),
        "executed_twice": often(2),
        "executed_three_times": often(3),
        "lost": lost,
    }))
}
