//! Time, identifiers and chance. This is the one file that asks the system for them, so that a test, a simulation and a
//! replay can say them instead.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tokio::sync::watch;

use super::core::later;

/// Where time, identifiers and chance come from.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> DateTime<Utc>;
    /// A new identifier that sorts by time: a version 7 UUID.
    fn new_id(&self) -> String;
    /// 64 random bits.
    fn chance(&self) -> u64;
    /// Returns when `duration` has passed on this clock.
    async fn sleep(&self, duration: Duration);
    /// Returns when the clock shows `time`, at once if it has passed. What waits for a time it read before asks for this and
    /// not for the difference: the clock may move between the reading and the sleeping.
    async fn sleep_until(&self, time: DateTime<Utc>) {
        self.sleep(time.signed_duration_since(self.now()).to_std().unwrap_or_default()).await;
    }
}

/// As exactly as stores keep times: what is compared with a column is then what went into it.
fn to_the_microsecond(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// The system's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> DateTime<Utc> {
        to_the_microsecond(Utc::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that makes identifiers")]
    fn new_id(&self) -> String {
        uuid::Uuid::now_v7().to_string()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that makes identifiers, here for their random bits")]
    fn chance(&self) -> u64 {
        // A generator that fails leaves the bits of a random UUID, which come from the same source by another way.
        getrandom::u64().unwrap_or_else(|_| uuid::Uuid::new_v4().as_u64_pair().1)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock set by another: by the database's, when processes on several machines share it. Leases and due times are then one
/// clock's, however far the machines' own are apart. Between two settings it goes by the time that passes and not by the
/// system's clock, which somebody may set while the process runs.
#[derive(Debug, Clone)]
pub struct SteeredClock {
    set: Arc<Mutex<Set>>,
}

/// What the clock showed at a moment.
#[derive(Debug, Clone, Copy)]
struct Set {
    shown: DateTime<Utc>,
    at: Instant,
}

impl Set {
    fn now(shown: DateTime<Utc>) -> Self {
        Self { shown, at: Instant::now() }
    }
}

/// Differences below this are the way's length rather than the clocks'.
const STEADY: TimeDelta = TimeDelta::milliseconds(50);

impl Default for SteeredClock {
    fn default() -> Self {
        Self { set: Arc::new(Mutex::new(Set::now(SystemClock.now()))) }
    }
}

impl SteeredClock {
    /// Goes by a clock that is `ahead` of this one.
    pub fn steer(&self, ahead: TimeDelta) {
        if ahead.abs() >= STEADY {
            let set = Set::now(self.now() + ahead);
            *self.set.lock().unwrap_or_else(PoisonError::into_inner) = set;
        }
    }
}

#[async_trait]
impl Clock for SteeredClock {
    fn now(&self) -> DateTime<Utc> {
        let set = *self.set.lock().unwrap_or_else(PoisonError::into_inner);
        to_the_microsecond(later(set.shown, set.at.elapsed()))
    }

    fn new_id(&self) -> String {
        SystemClock.new_id()
    }

    fn chance(&self) -> u64 {
        SystemClock.chance()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: watch::Sender<DateTime<Utc>>,
    drawn: Arc<std::sync::atomic::AtomicU64>,
}

impl ManualClock {
    pub fn new(now: DateTime<Utc>) -> Self {
        Self { now: watch::Sender::new(now), drawn: Arc::default() }
    }

    /// Moves time forward and wakes everything that sleeps until then.
    pub fn advance(&self, by: Duration) {
        let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        self.now.send_modify(|now| *now = now.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC));
    }

    fn draw(&self) -> u64 {
        self.drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.borrow()
    }

    fn new_id(&self) -> String {
        let milliseconds = u64::try_from(self.now().timestamp_millis()).unwrap_or(0);
        let mut rest = [0; 10];
        for (byte, value) in rest.iter_mut().rev().zip(self.draw().to_le_bytes()) {
            *byte = value;
        }
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid().to_string()
    }

    fn chance(&self) -> u64 {
        self.draw().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500))).await;
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        // The sender lives in `self`, so this ends by time alone.
        let _ = self.now.subscribe().wait_for(|now| *now >= time).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steered_clock_goes_by_the_other_and_not_by_what_is_too_small_to_be_true() {
        let clock = SteeredClock::default();
        let ahead = |clock: &SteeredClock| (clock.now() - SystemClock.now()).num_milliseconds();
        clock.steer(TimeDelta::milliseconds(20));
        assert!(ahead(&clock).abs() < 10);
        clock.steer(TimeDelta::hours(-1));
        assert!((ahead(&clock) + 3_600_000).abs() < 1_000);
        clock.steer(TimeDelta::hours(2));
        assert!((ahead(&clock) - 3_600_000).abs() < 1_000, "each time it is told by how much it is wrong itself");
    }
}
