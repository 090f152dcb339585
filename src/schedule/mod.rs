//! Maintenance windows: when the systems may be interrupted, and until when a cut-over may still start.
//!
//! A window is three instants in UTC. Its cutoff is its end minus the time that going back takes: whatever has not been cut
//! over by then stays as it was. Durations are real hours, so a change of daylight-saving time does not move an end.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::config::Windows;

/// The longest window, in hours.
pub const LONGEST_HOURS: u64 = 72;

/// How long a renamed instance may be out of reach: AWS names about ten minutes until the new name works
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RenameInstance.html>). A cut-over has two renames, going
/// back has one.
pub const RENAME: TimeDelta = TimeDelta::minutes(10);

/// A window that was agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// No cut-over starts after this.
    pub cutoff: DateTime<Utc>,
    pub duration_hours: u64,
}

/// Where in a window's request something is wrong (a member's name), and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub member: &'static str,
    pub message: String,
}

fn refuse<T>(member: &'static str, message: String) -> Result<T, Refusal> {
    Err(Refusal { member, message })
}

impl Window {
    /// The deadlines of exchanging the names of a replica and of the one that stands ready for it, which takes two renames and
    /// nobody's agreement: twice that to begin, and once more to go back.
    pub fn of_replica(now: DateTime<Utc>) -> Self {
        Self { start: now, cutoff: now + RENAME * 4, end: now + RENAME * 6, duration_hours: 1 }
    }

    /// A window from what a person asked for: `start` is RFC 3339 or `now`.
    ///
    /// # Errors
    /// Which member is wrong and what would be right: too short or too long, in the past, earlier than the notice period.
    pub fn agree(start: &str, duration_hours: u64, now: DateTime<Utc>, rules: &Windows) -> Result<Self, Refusal> {
        if !(1..=LONGEST_HOURS).contains(&duration_hours) {
            let message = format!("{duration_hours} hours: a window lasts 1 to {LONGEST_HOURS} hours");
            return refuse("duration_hours", message);
        }
        let go_back = TimeDelta::minutes(i64::try_from(rules.go_back_minutes).unwrap_or(i64::MAX / 60_000));
        let duration = TimeDelta::hours(i64::try_from(duration_hours).unwrap_or(LONGEST_HOURS as i64));
        if duration < go_back + RENAME * 2 {
            let message = format!(
                "{duration_hours} hours leave no time to cut over: {} minutes at the end are kept for going back, and the \
                 two renames of a cut-over take {} minutes",
                rules.go_back_minutes,
                (RENAME * 2).num_minutes()
            );
            return refuse("duration_hours", message);
        }
        let notice = TimeDelta::hours(i64::try_from(rules.notice_hours).unwrap_or(i64::MAX / 3_600_000));
        let earliest = now.checked_add_signed(notice).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let start = if start == "now" {
            if rules.notice_hours > 0 {
                let message = format!(
                    "a window needs {} hours of notice: the earliest start is {}",
                    rules.notice_hours,
                    text(earliest)
                );
                return refuse("start", message);
            }
            now
        } else {
            let Ok(start) = DateTime::parse_from_rfc3339(start) else {
                let message = format!(
                    "{start:?} is neither \"now\" nor a time like {} (RFC 3339 with its offset)",
                    text(earliest)
                );
                return refuse("start", message);
            };
            start.with_timezone(&Utc)
        };
        if start < now {
            return refuse("start", format!("{} has passed: the earliest start is {}", text(start), text(earliest)));
        }
        if start < earliest {
            let message = format!(
                "{} is earlier than {} hours of notice allow: the earliest start is {}",
                text(start),
                rules.notice_hours,
                text(earliest)
            );
            return refuse("start", message);
        }
        let Some(end) = start.checked_add_signed(duration) else {
            return refuse("start", format!("{} is too far away", text(start)));
        };
        Ok(Self { start, end, cutoff: end - go_back, duration_hours })
    }
}

/// An instant as people and definitions read it: RFC 3339 in UTC, to the second.
pub fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn rules(notice_hours: u64) -> Windows {
        Windows { notice_hours, go_back_minutes: 60 }
    }

    #[test]
    fn a_window_keeps_the_time_to_go_back_free() {
        let window = Window::agree("2026-11-25T22:00:00+02:00", 8, now(), &rules(24)).unwrap();
        assert_eq!(text(window.start), "2026-11-25T20:00:00Z");
        assert_eq!(text(window.end), "2026-11-26T04:00:00Z");
        assert_eq!(text(window.cutoff), "2026-11-26T03:00:00Z");
    }

    #[test]
    fn now_is_a_start_only_without_notice() {
        assert_eq!(Window::agree("now", 8, now(), &rules(0)).unwrap().start, now());
        let refusal = Window::agree("now", 8, now(), &rules(48)).unwrap_err();
        assert!(refusal.message.contains("2026-11-26T12:00:00Z"), "{}", refusal.message);
    }

    #[test]
    fn what_cannot_be_agreed_says_why_and_where() {
        let table = [
            ("2026-11-24T11:59:59Z", 8, 0, "start"),
            ("2026-11-24T13:00:00Z", 8, 2, "start"),
            ("tomorrow", 8, 0, "start"),
            ("2026-11-24T13:00:00", 8, 0, "start"),
            ("now", 0, 0, "duration_hours"),
            ("now", 73, 0, "duration_hours"),
            ("now", 1, 0, "duration_hours"),
        ];
        for (start, hours, notice, member) in table {
            assert_eq!(
                Window::agree(start, hours, now(), &rules(notice)).unwrap_err().member,
                member,
                "{start} {hours}"
            );
        }
    }
}
