//! After an outage everything that was waiting is due at once. What it does to the world (calls to AWS, above all) begins
//! with a little and doubles from one moment to the next until nothing is held back any more.
//!
//! Only work that has been due for a while starts it: after a restart or a kill alone nothing is held back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::core::later;

/// What has been due for so long waited for an outage to end, not for room.
const OVERDUE: TimeDelta = TimeDelta::seconds(30);
/// Pieces of work that are claimed in the first moment.
const FIRST: usize = 64;
/// How long a moment is.
const MOMENT: Duration = Duration::from_millis(250);
/// A moment that allows so many holds nothing back.
const ENOUGH: usize = 16_384;

/// How much may be claimed now.
#[derive(Debug, Default)]
pub(super) struct Ramp {
    moment: Option<Moment>,
}

#[derive(Debug)]
struct Moment {
    until: DateTime<Utc>,
    most: usize,
    left: usize,
}

impl Ramp {
    /// Says what is due longest, as a claim finds it that follows a time without work. Work that was taken back from a process
    /// that died is due since the beginning of time: it says nothing about an outage.
    pub fn see(&mut self, due: DateTime<Utc>, now: DateTime<Utc>) {
        if self.moment.is_none() && due > DateTime::UNIX_EPOCH && now.signed_duration_since(due) > OVERDUE {
            tracing::info!(since = %due, "work is long overdue; it is taken up gradually");
            self.moment = Some(Moment { until: later(now, MOMENT), most: FIRST, left: FIRST });
        }
    }

    /// How much may be claimed at `now`: everything, or what this moment has left.
    ///
    /// # Errors
    /// Nothing until the time that is given.
    pub fn room(&mut self, now: DateTime<Utc>) -> Result<usize, DateTime<Utc>> {
        let Some(moment) = &mut self.moment else { return Ok(usize::MAX) };
        // A clock that was set back does not make the moment longer.
        if now >= moment.until || later(now, MOMENT) < moment.until {
            let most = if moment.left == 0 { moment.most * 2 } else { moment.most };
            if most >= ENOUGH {
                self.moment = None;
                return Ok(usize::MAX);
            }
            *moment = Moment { until: later(now, MOMENT), most, left: most };
        }
        if moment.left == 0 { Err(moment.until) } else { Ok(moment.left) }
    }

    /// Says what was claimed; less than was asked for is all that there was, and the outage is over.
    pub fn took(&mut self, claimed: usize, all: bool) {
        if all {
            self.moment = None;
        } else if let Some(moment) = &mut self.moment {
            moment.left = moment.left.saturating_sub(claimed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn work_that_is_long_overdue_is_taken_up_gradually_and_soon_in_full() {
        let mut ramp = Ramp::default();
        ramp.see(at(-3_600_000), at(0));
        let (mut now, mut taken, mut each) = (at(0), 0, Vec::new());
        while now < at(1_000) {
            match ramp.room(now) {
                Ok(room) => {
                    let claimed = room.min(16);
                    ramp.took(claimed, false);
                    taken += claimed;
                    now += TimeDelta::milliseconds(1);
                }
                Err(until) => {
                    assert_eq!(ramp.room(until - TimeDelta::milliseconds(1)), Err(until));
                    each.push(taken);
                    (now, taken) = (until, 0);
                }
            }
        }
        assert_eq!(each, [64, 128, 256, 512]);
        for _ in 0..8 {
            if let Ok(room) = ramp.room(now) {
                ramp.took(room, false);
            }
            now += TimeDelta::milliseconds(250);
        }
        assert_eq!(ramp.room(now), Ok(usize::MAX), "two seconds later nothing is held back");
    }

    #[test]
    fn work_that_is_due_as_usual_is_not_held_back_and_the_end_of_the_overdue_ends_it() {
        let mut ramp = Ramp::default();
        ramp.see(at(-5_000), at(0));
        ramp.see(DateTime::UNIX_EPOCH, at(0));
        assert_eq!(ramp.room(at(0)), Ok(usize::MAX));
        ramp.see(at(-31_000), at(0));
        assert_eq!(ramp.room(at(0)), Ok(64));
        ramp.took(10, true);
        assert_eq!(ramp.room(at(1)), Ok(usize::MAX));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_it() {
        let mut ramp = Ramp::default();
        ramp.see(at(-31_000), at(0));
        ramp.took(64, false);
        assert_eq!(ramp.room(at(0)), Err(at(250)));
        assert_eq!(ramp.room(at(-3_600_000)), Ok(128));
    }
}
