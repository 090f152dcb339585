//! The emulated cloud's clock: the wall's, from an anchor on, times a speed.
//!
//! `now = anchor + (wall - wall anchor) * speed`. The anchor is kept in the data file, so time goes on while no process
//! runs, as it does in AWS; a new speed takes a new anchor at the present, so time never jumps or runs backwards.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};

/// The wall clock, passed in.
pub type Wall = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Where the sandbox's time and the wall's were tied together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    pub sandbox: DateTime<Utc>,
    pub wall: DateTime<Utc>,
    pub speed: f64,
}

impl Anchor {
    /// The sandbox's time at `wall`; the anchor's own when the wall's clock was set back behind it.
    pub fn at(&self, wall: DateTime<Utc>) -> DateTime<Utc> {
        let elapsed = (wall - self.wall).max(TimeDelta::zero());
        let micros = elapsed.num_microseconds().unwrap_or(i64::MAX);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a float cast saturates, and a microsecond in centuries does not matter"
        )]
        let sped = (micros as f64 * self.speed) as i64;
        self.sandbox.checked_add_signed(TimeDelta::microseconds(sped)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The anchor to go on with at `wall` and `speed`, at no time before `floor`.
    pub fn resume(previous: Option<Self>, wall: DateTime<Utc>, speed: f64, floor: Option<DateTime<Utc>>) -> Self {
        let sandbox = previous.map_or(wall, |anchor| anchor.at(wall));
        Self { sandbox: floor.map_or(sandbox, |floor| floor.max(sandbox)), wall, speed }
    }
}

/// A clock that never runs backwards, even when the wall's does.
pub struct SandboxClock {
    anchor: Anchor,
    wall: Wall,
    latest_micros: AtomicI64,
}

impl SandboxClock {
    pub fn new(anchor: Anchor, wall: Wall) -> Self {
        Self { anchor, wall, latest_micros: AtomicI64::new(anchor.sandbox.timestamp_micros()) }
    }

    /// The wall's time, which sessions expire by: whoever holds one has a wall clock of its own.
    pub fn wall(&self) -> DateTime<Utc> {
        (self.wall)()
    }

    pub fn now(&self) -> DateTime<Utc> {
        let micros = self.anchor.at((self.wall)()).timestamp_micros();
        let latest = self.latest_micros.fetch_max(micros, Ordering::Relaxed).max(micros);
        DateTime::from_timestamp_micros(latest).unwrap_or(self.anchor.sandbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn time_runs_at_its_speed_and_goes_on_from_where_it_was_at_another() {
        let first = Anchor::resume(None, at(0), 10.0, None);
        assert_eq!(first.at(at(6)), at(60));
        let second = Anchor::resume(Some(first), at(6), 2.0, None);
        assert_eq!(second.at(at(7)), at(62));
    }

    #[test]
    fn time_stands_still_rather_than_running_backwards() {
        let anchor = Anchor::resume(None, at(100), 10.0, None);
        assert_eq!(anchor.at(at(50)), at(100));
        assert_eq!(Anchor::resume(Some(anchor), at(50), 1.0, Some(at(500))).at(at(51)), at(501));
    }

    #[test]
    fn an_absurd_speed_ends_at_the_last_moment_instead_of_wrapping() {
        let anchor = Anchor { sandbox: at(0), wall: at(0), speed: 1e300 };
        assert!(anchor.at(at(10)) > at(0));
    }
}
