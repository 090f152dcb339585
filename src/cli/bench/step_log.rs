//! The notes of steps that processes leave in a file, as `marks.rs` writes them: read by whoever measures from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use super::{super::output::Failure, engine::bytes, failed, place::Place};
use crate::worker::{Clock as _, SystemClock};

/// What is waited for comes within this.
const LONGEST: Duration = Duration::from_secs(120);

/// Lines, each as its words.
pub type Lines = [Vec<String>];

pub struct StepLog(PathBuf);

impl StepLog {
    /// # Errors
    /// The file cannot be written.
    pub fn begin(place: &Place) -> Result<Self, Failure> {
        let path = place.step_log();
        fs::write(&path, "").map_err(failed)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// # Errors
    /// The file cannot be read.
    pub fn lines(&self) -> Result<Vec<Vec<String>>, Failure> {
        let text = fs::read_to_string(&self.0).map_err(failed)?;
        // A line that is being written has no end yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
    }

    /// Waits until the log is as `is_there` wants it. The caller has told the runtime that its thread blocks.
    ///
    /// # Errors
    /// It has not come to that in two minutes, or cannot be read.
    pub fn until(&self, is_there: impl Fn(&Lines) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !is_there(&self.lines()?) {
            if begun.elapsed() > LONGEST {
                return Err(Failure::Failed("the steps were not done in two minutes".to_owned()));
            }
            Handle::current().block_on(SystemClock.sleep(Duration::from_millis(5)));
        }
        Ok(())
    }

    /// Its lines, when nobody writes it any more; the file is taken away.
    ///
    /// # Errors
    /// It cannot be read or deleted.
    pub fn end(self) -> Result<Vec<Vec<String>>, Failure> {
        let lines = self.lines()?;
        fs::remove_file(&self.0).map_err(failed)?;
        Ok(lines)
    }
}

pub fn of<'a>(lines: &'a Lines, kind: &'a str) -> impl Iterator<Item = &'a Vec<String>> {
    lines.iter().filter(move |line| line.first().is_some_and(|found| found == kind))
}

pub fn word(line: &[String], at: usize) -> &str {
    line.get(at).map_or("", String::as_str)
}

/// When a line was written, by the system's monotonic clock.
pub fn seconds(line: &[String]) -> f64 {
    word(line, 4).parse::<f64>().map_or(f64::NAN, |time| time / 1e9)
}

/// The system's monotonic clock in seconds.
pub fn now() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |count: i64| bytes(u64::try_from(count).unwrap_or(0));
    part(now.tv_sec) + part(now.tv_nsec) / 1e9
}
