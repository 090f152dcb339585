//! The backup window and the maintenance window: their form, how long they are, and that they do not overlap.
//!
//! The backup window comes every day, the maintenance window every week; both are UTC.

use super::super::AwsError;
use super::error::invalid_value;
use super::params::Params;
use super::settings::{self, Settings};

const BACKUP: &str = "PreferredBackupWindow";
const MAINTENANCE: &str = "PreferredMaintenanceWindow";
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: i64 = 24 * 60;
const SHORTEST: i64 = 30;

/// Checks and keeps the windows that a change asks for, and holds them against those that stay.
///
/// # Errors
/// `InvalidParameterValue`: a window's form or length, or both overlap.
pub fn change(p: &Params<'_>, members: &mut Settings) -> Result<(), AwsError> {
    if read(p, members)? == (false, false) || !overlapping(members) {
        return Ok(());
    }
    Err(invalid_value("The backup window and maintenance window must not overlap."))
}

/// As [`change`] for something new: a window that nobody asked for gives way to the one that was asked for.
///
/// # Errors
/// As [`change`].
pub fn choose(p: &Params<'_>, members: &mut Settings) -> Result<(), AwsError> {
    let (backup, maintenance) = read(p, members)?;
    if overlapping(members) && !(backup && maintenance) {
        give_way(members, !maintenance);
    }
    if overlapping(members) {
        return Err(invalid_value("The backup window and maintenance window must not overlap."));
    }
    Ok(())
}

/// Keeps the windows that were sent, in lower case; answers which were.
fn read(p: &Params<'_>, members: &mut Settings) -> Result<(bool, bool), AwsError> {
    let (backup, maintenance) = (p.text(BACKUP), p.text(MAINTENANCE));
    if let Some(window) = backup {
        let span = daily(window).ok_or_else(|| {
            invalid_value(format!(
                "Invalid backup window format: {window}. Should be specified as a range hh24:mi-hh24:mi (24H Clock UTC). \
                 Example: 18:30-19:00"
            ))
        })?;
        long_enough("backup", span.1 - span.0)?;
        members.insert(BACKUP.to_owned(), window.into());
    }
    if let Some(window) = maintenance {
        let span = weekly(window).ok_or_else(|| {
            invalid_value(format!(
                "Invalid maintenance window format: {window}. Should be specified as a range ddd:hh24:mi-ddd:hh24:mi \
                 (24H Clock UTC). Example: Sun:23:45-Mon:00:15"
            ))
        })?;
        long_enough("maintenance", span.1 - span.0)?;
        members.insert(MAINTENANCE.to_owned(), window.to_lowercase().into());
    }
    Ok((backup.is_some(), maintenance.is_some()))
}

fn long_enough(which: &str, minutes: i64) -> Result<(), AwsError> {
    if minutes < SHORTEST {
        return Err(invalid_value(format!("The {which} window must be at least {SHORTEST} minutes.")));
    }
    if minutes > DAY {
        return Err(invalid_value(format!("The {which} window must be at most 24 hours.")));
    }
    Ok(())
}

fn overlapping(members: &Settings) -> bool {
    let backup = settings::text(members, BACKUP).and_then(daily);
    let maintenance = settings::text(members, MAINTENANCE).and_then(weekly);
    backup.zip(maintenance).is_some_and(|(backup, (from, to))| {
        // The backups of the day before to the day after the maintenance window's.
        let first = from.div_euclid(DAY) - 1;
        (first..=first + 3).any(|day| backup.0 + day * DAY < to && from < backup.1 + day * DAY)
    })
}

/// Puts the maintenance window, or else the backup window, half an hour behind the end of the other.
fn give_way(members: &mut Settings, maintenance: bool) {
    let backup = settings::text(members, BACKUP).and_then(daily);
    let fixed = if maintenance { backup } else { settings::text(members, MAINTENANCE).and_then(weekly) };
    let Some((_, ends)) = fixed else { return };
    let clock = |minutes: i64| format!("{:02}:{:02}", minutes.rem_euclid(DAY) / 60, minutes.rem_euclid(60));
    let (from, to) = (clock(ends + SHORTEST), clock(ends + 2 * SHORTEST));
    if maintenance {
        let next_day = if to < from { "mon" } else { "sun" };
        members.insert(MAINTENANCE.to_owned(), format!("sun:{from}-{next_day}:{to}").into());
    } else {
        members.insert(BACKUP.to_owned(), format!("{from}-{to}").into());
    }
}

/// `hh24:mi` as minutes of the day.
fn minute(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| text.parse::<i64>().ok().filter(|_| text.len() == 2);
    let (hour, minute) = (two(hour)?, two(minute)?);
    ((0..24).contains(&hour) && (0..60).contains(&minute)).then_some(hour * 60 + minute)
}

/// `ddd:hh24:mi` as minutes since Monday 00:00.
pub fn day_minute(text: &str) -> Option<i64> {
    let (day, time) = text.split_once(':')?;
    let day = DAYS.iter().position(|name| name.eq_ignore_ascii_case(day))?;
    Some(i64::try_from(day).ok()? * DAY + minute(time)?)
}

/// When a backup window begins and ends, in minutes of the day that it begins on.
fn daily(window: &str) -> Option<(i64, i64)> {
    let (from, to) = window.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    Some((from, if to < from { to + DAY } else { to }))
}

/// When a maintenance window begins and ends, in minutes of the week that it begins in.
fn weekly(window: &str) -> Option<(i64, i64)> {
    let (from, to) = window.split_once('-')?;
    let (from, to) = (day_minute(from)?, day_minute(to)?);
    Some((from, if to < from { to + 7 * DAY } else { to }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn members(backup: &str, maintenance: &str) -> Settings {
        Settings::from([(BACKUP.to_owned(), json!(backup)), (MAINTENANCE.to_owned(), json!(maintenance))])
    }

    fn changed(asked: &Value) -> Result<Settings, String> {
        let mut have = members("03:00-03:30", "sun:05:00-sun:05:30");
        change(&Params(asked), &mut have).map(|()| have).map_err(|error| error.message)
    }

    #[test]
    fn windows_last_half_an_hour_to_a_day() {
        for (member, window, good) in [
            (BACKUP, "10:00-10:30", true),
            (BACKUP, "23:45-00:15", true),
            (BACKUP, "10:00-10:29", false),
            (BACKUP, "10:00-10:00", false),
            (BACKUP, "9:00-10:00", false),
            (BACKUP, "24:00-24:30", false),
            (MAINTENANCE, "mon:10:00-tue:10:00", true),
            (MAINTENANCE, "sun:23:45-mon:00:15", true),
            (MAINTENANCE, "mon:04:00-tue:04:01", false),
            (MAINTENANCE, "mon:10:00-mon:10:29", false),
            (MAINTENANCE, "10:00-11:00", false),
        ] {
            let mut have = members("12:00-12:30", "wed:14:00-wed:14:30");
            let asked = json!({ member: window });
            // A day of maintenance leaves no room for a daily backup.
            let kept = read(&Params(&asked), &mut have).is_ok();
            assert_eq!(kept, good, "{window}");
        }
    }

    #[test]
    fn days_are_shown_in_lower_case() {
        let have = changed(&json!({ MAINTENANCE: "Tue:10:00-TUE:11:00" })).unwrap();
        assert_eq!(have[MAINTENANCE], json!("tue:10:00-tue:11:00"));
    }

    #[test]
    fn a_change_may_not_let_them_overlap() {
        for asked in [
            json!({ BACKUP: "05:15-05:45" }),
            json!({ MAINTENANCE: "wed:02:30-wed:03:01" }),
            json!({ MAINTENANCE: "sun:23:00-mon:03:10" }),
            json!({ BACKUP: "23:50-00:20", MAINTENANCE: "mon:00:00-mon:00:30" }),
        ] {
            let said = changed(&asked).unwrap_err();
            assert_eq!(said, "The backup window and maintenance window must not overlap.", "{asked}");
        }
        assert!(changed(&json!({ BACKUP: "05:30-06:00" })).is_ok());
        assert!(changed(&json!({ BACKUP: "05:15-05:45", MAINTENANCE: "sun:07:00-sun:07:30" })).is_ok());
    }

    #[test]
    fn what_nobody_asked_for_gives_way() {
        let mut have = members("03:00-03:30", "sun:05:00-sun:05:30");
        choose(&Params(&json!({ BACKUP: "05:00-05:30" })), &mut have).unwrap();
        assert_eq!(have[MAINTENANCE], json!("sun:06:00-sun:06:30"));
        let mut have = members("03:00-03:30", "sun:05:00-sun:05:30");
        choose(&Params(&json!({ MAINTENANCE: "tue:03:00-tue:23:15" })), &mut have).unwrap();
        assert_eq!(have[BACKUP], json!("23:45-00:15"));
        let both = json!({ BACKUP: "05:00-05:30", MAINTENANCE: "tue:05:00-tue:06:00" });
        assert!(choose(&Params(&both), &mut have).is_err());
    }
}
