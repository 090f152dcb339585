//! Virtual time: it stands still while anything works, and then goes to the next moment that somebody sleeps until.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use keyferry::worker::{Clock, ManualClock};

/// A clock whose sleepers are known. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    inner: ManualClock,
    sleepers: Arc<Mutex<BTreeMap<u64, DateTime<Utc>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sleeper, until it wakes or goes away.
struct Sleeper<'a>(&'a VirtualClock, u64);

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        lock(&self.0.sleepers).remove(&self.1);
    }
}

impl VirtualClock {
    pub fn new(now: DateTime<Utc>) -> Self {
        Self { inner: ManualClock::new(now), sleepers: Arc::default() }
    }

    /// How many sleep.
    pub fn sleepers(&self) -> usize {
        lock(&self.sleepers).len()
    }

    /// When the first of them wants to wake.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        lock(&self.sleepers).values().min().copied()
    }

    /// Moves to a time; never back.
    pub fn go_to(&self, time: DateTime<Utc>) {
        self.inner.advance((time - self.now()).to_std().unwrap_or_default());
    }

    pub fn pass(&self, seconds: i64) {
        self.go_to(self.now() + TimeDelta::seconds(seconds));
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        self.inner.now()
    }

    fn new_id(&self) -> String {
        self.inner.new_id()
    }

    fn chance(&self) -> u64 {
        self.inner.chance()
    }

    async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500))).await;
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        if time <= self.now() {
            return;
        }
        let number = {
            let mut sleepers = lock(&self.sleepers);
            let number = sleepers.last_key_value().map_or(0, |(last, _)| last + 1);
            sleepers.insert(number, time);
            number
        };
        let _sleeper = Sleeper(self, number);
        self.inner.sleep_until(time).await;
    }
}
