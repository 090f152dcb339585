//! Maintenance windows: when a migration may begin, and the last moment at which a cut-over may.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::config::Windows;

/// A window, resolved to instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// No cut-over starts after this: the end minus the time that going back takes.
    pub cutoff: DateTime<Utc>,
}

impl Window {
    /// Resolves `start` (an RFC 3339 timestamp with an offset, or `now`) and a length in hours.
    ///
    /// # Errors
    /// What does not fit and, for a start that is too early, the earliest one allowed.
    pub fn schedule(start: &str, duration_hours: u32, now: DateTime<Utc>, rules: &Windows) -> Result<Self, String> {
        let notice = i64::try_from(rules.notice_hours).ok().and_then(TimeDelta::try_hours);
        let earliest =
            notice.and_then(|notice| now.checked_add_signed(notice)).ok_or("the notice period is out of range")?;
        let earliest_text = earliest.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let start = if start == "now" {
            if rules.notice_hours > 0 {
                return Err(format!(
                    "a window needs {} hours of notice, so it cannot start now: the earliest start is {earliest_text}",
                    rules.notice_hours
                ));
            }
            now
        } else {
            let start = DateTime::parse_from_rfc3339(start).map_err(|_| {
                format!("`{start}` is neither `now` nor an RFC 3339 timestamp with an offset, such as 2026-03-01T22:00:00-08:00")
            })?;
            start.with_timezone(&Utc)
        };
        if start < now {
            return Err(format!(
                "the start {} is in the past: the earliest start is {earliest_text}",
                start.to_rfc3339()
            ));
        }
        if start < earliest {
            return Err(format!(
                "a window needs {} hours of notice: the earliest start is {earliest_text}",
                rules.notice_hours
            ));
        }
        let go_back = i64::try_from(rules.go_back_minutes).ok().and_then(TimeDelta::try_minutes);
        let end = start.checked_add_signed(TimeDelta::hours(i64::from(duration_hours)));
        let cutoff = end.zip(go_back).and_then(|(end, go_back)| end.checked_sub_signed(go_back));
        match (end, cutoff) {
            (Some(end), Some(cutoff)) if cutoff > start => Ok(Self { start, end, cutoff }),
            (Some(_), Some(_)) => Err(format!(
                "a window of {duration_hours} hours leaves no time: {} minutes at its end are kept free for going back",
                rules.go_back_minutes
            )),
            _ => Err("the window is out of range".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_window_keeps_time_to_go_back() {
        let rules = Windows { notice_hours: 0, go_back_minutes: 90 };
        let window = Window::schedule("2026-03-02T00:00:00+02:00", 8, now(), &rules).unwrap();
        assert_eq!(window.start, "2026-03-01T22:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(window.cutoff, "2026-03-02T04:30:00Z".parse::<DateTime<Utc>>().unwrap());
        assert!(Window::schedule("now", 1, now(), &rules).unwrap_err().contains("90 minutes"));
    }

    #[test]
    fn notice_is_kept_and_the_earliest_start_is_named() {
        let rules = Windows { notice_hours: 48, go_back_minutes: 60 };
        for start in ["now", "2026-03-03T11:59:59Z"] {
            let refusal = Window::schedule(start, 8, now(), &rules).unwrap_err();
            assert!(refusal.contains("2026-03-03T12:00:00Z"), "{refusal}");
        }
        assert!(Window::schedule("2026-03-03T12:00:00Z", 8, now(), &rules).is_ok());
        assert!(Window::schedule("2026-02-03T12:00:00Z", 8, now(), &rules).unwrap_err().contains("past"));
        assert!(Window::schedule("2026-03-05 12:00", 8, now(), &rules).unwrap_err().contains("RFC 3339"));
    }
}
