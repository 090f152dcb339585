//! kill -9 when half of the steps are done, a restart at once: how soon work goes on, what is done twice, what is lost.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{super::output::Failure, engine::bytes, failed, place::Place, process::Part};
use crate::worker::{Clock as _, SystemClock};

const RUNS: usize = 200;
const STEPS: usize = 10;
/// Milliseconds that a step lasts.
const SLEEP: &str = "20";
const LONGEST: Duration = Duration::from_secs(60);

/// # Errors
/// A part failed, or the work did not end in a minute.
pub fn half_way(place: &Place) -> Result<Value, Failure> {
    let log = place.step_log();
    fs::write(&log, "").map_err(failed)?;
    let runs = RUNS.to_string();
    let mut enqueue = Part::start(&place.url, &["enq", &runs, &STEPS.to_string(), SLEEP], None)?;
    enqueue.line()?;
    enqueue.end()?;
    let first = Part::start(&place.url, &["work", &runs], Some(&log))?;
    until(&log, |lines| of(lines, "E").count() >= RUNS * STEPS / 2)?;
    first.kill()?;
    let before = noted(&log)?;
    let killed = clock_gettime(ClockId::Monotonic);
    let killed =
        bytes(u64::try_from(killed.tv_sec).unwrap_or(0)) + bytes(u64::try_from(killed.tv_nsec).unwrap_or(0)) / 1e9;
    let mut second = Part::start(&place.url, &["work", &runs], Some(&log))?;
    second.line()?;
    second.end()?;
    let all = noted(&log)?;
    fs::remove_file(&log).map_err(failed)?;
    figures(&before, &all, killed)
}

/// The lines of a step log, each as its words.
fn noted(path: &Path) -> Result<Vec<Vec<String>>, Failure> {
    let text = fs::read_to_string(path).map_err(failed)?;
    // A line that is being written has no end yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
}

type Lines = [Vec<String>];

fn of<'a>(lines: &'a Lines, kind: &'a str) -> impl Iterator<Item = &'a Vec<String>> {
    lines.iter().filter(move |line| line.first().is_some_and(|found| found == kind))
}

fn word(line: &[String], at: usize) -> &str {
    line.get(at).map_or("", String::as_str)
}

fn until(log: &Path, is_there: impl Fn(&Lines) -> bool) -> Result<(), Failure> {
    let begun = Instant::now();
    while !is_there(&noted(log)?) {
        if begun.elapsed() > LONGEST {
            return Err(Failure::Failed("half of the steps were not done in a minute".to_owned()));
        }
        // This is outside of the runtime's tasks: the caller has told it that the thread blocks.
        Handle::current().block_on(SystemClock.sleep(Duration::from_millis(5)));
    }
    Ok(())
}

fn figures(before: &Lines, all: &Lines, killed: f64) -> Result<Value, Failure> {
    let after = all.get(before.len()..).unwrap_or_default();
    let ended: HashSet<&str> = of(before, "C").map(|line| word(line, 2)).collect();
    let open: HashSet<&str> = of(before, "S").map(|line| word(line, 2)).filter(|run| !ended.contains(run)).collect();
    let seconds = |line: &Vec<String>| word(line, 4).parse::<f64>().map_or(f64::NAN, |time| time / 1e9 - killed);
    let recovered = of(after, "S").filter(|line| open.contains(word(line, 2))).map(seconds).reduce(f64::min);
    let last = of(after, "C").map(seconds).reduce(f64::max);
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
