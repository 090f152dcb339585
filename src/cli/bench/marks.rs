//! What the bench's step notes while it runs: when, and of which run. With `STEPLOG` set, each note is also a line of that
//! file, which outlives a kill: `S` a step began, `E` it ended, `C` a run ended, `B` the process started; then the process,
//! the run, the step's number and the nanoseconds of the system's monotonic clock.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use super::super::output::Failure;

/// Notes of one process.
#[derive(Default)]
pub struct Marks {
    log: Option<File>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    /// When steps began, in that order.
    begun: Vec<Instant>,
    /// Runs whose end is durable.
    ended: HashSet<String>,
    last_end: Option<Instant>,
    /// When the step behind a form began, by run.
    woken: HashMap<String, Instant>,
}

impl Marks {
    /// Notes for this process, in the file that `STEPLOG` names as well.
    ///
    /// # Errors
    /// That file cannot be opened.
    pub fn open() -> Result<Self, Failure> {
        let log = match std::env::var_os("STEPLOG") {
            None => None,
            Some(path) => Some(
                File::options()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .map_err(|error| Failure::Failed(format!("cannot open STEPLOG {}: {error}", path.display())))?,
            ),
        };
        Ok(Self { log, ..Self::default() })
    }

    /// Whether notes outlive the process.
    pub fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    pub fn line(&self, kind: char, run: &str, step: usize) {
        let Some(mut log) = self.log.as_ref() else { return };
        let now = clock_gettime(ClockId::Monotonic);
        let line = format!("{kind} {} {run} {step} {}{:09}\n", std::process::id(), now.tv_sec, now.tv_nsec);
        if let Err(error) = log.write_all(line.as_bytes()) {
            tracing::error!(%error, "a line of STEPLOG is lost: the figures from it are wrong");
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, run: &str, step: usize) {
        let now = Instant::now();
        self.seen().begun.push(now);
        self.line('S', run, step);
    }

    pub fn wake(&self, run: &str) {
        let now = Instant::now();
        self.seen().woken.insert(run.to_owned(), now);
        self.changed.notify_waiters();
    }

    /// Notes that a run's end is durable; once, however often it is said.
    pub fn end(&self, run: &str) {
        let mut seen = self.seen();
        if !seen.ended.insert(run.to_owned()) {
            return;
        }
        seen.last_end = Some(Instant::now());
        drop(seen);
        self.line('C', run, 0);
        self.changed.notify_waiters();
    }

    /// Returns when `look` sees what it looks for.
    async fn until<T>(&self, look: impl Fn(&Seen) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = look(&self.seen());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    /// Seconds from the first step's begin to the end of the last of `runs` runs.
    pub async fn until_ended(&self, runs: usize) -> f64 {
        self.until(|seen| (seen.ended.len() >= runs).then(|| seen.begun.first().copied().zip(seen.last_end)))
            .await
            .map_or(0.0, |(first, last)| last.duration_since(first).as_secs_f64())
    }

    pub async fn until_woken(&self, run: &str) -> Instant {
        self.until(|seen| seen.woken.get(run).copied()).await
    }

    /// Seconds from each step's begin to the next one's.
    pub fn gaps(&self) -> Vec<f64> {
        let seen = self.seen();
        seen.begun.iter().zip(seen.begun.iter().skip(1)).map(|(one, next)| (*next - *one).as_secs_f64()).collect()
    }
}
