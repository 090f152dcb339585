//! How long the run waits for the import before somebody is told, and what they are told then.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::session::{Session, SessionState};

/// Without a token, or after one has expired, the customer is reminded this often.
const REMINDER: TimeDelta = TimeDelta::days(7);
/// The part of a token's life that is left when the customer is told that it ends: four hours of a day.
const LAST_PART: i32 = 6;

/// Why the form stands open anew; the letters follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportNotice {
    /// For the first time.
    Opened,
    /// Nothing was asked for in a while.
    Reminder,
    /// Tokens were asked for: nothing to tell.
    Asked,
    /// They expire soon.
    Expiring,
    Expired,
}

/// What the form state `key-import` waits for, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportWait {
    pub notice: ImportNotice,
    /// Until the next look, at least 1.
    pub seconds: u64,
    /// When the tokens that are out expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// The wait at `now`, given the sessions of the keys that still lack material. `waited`: whether the form stood open before.
pub fn import_wait(sessions: &[&Session], now: DateTime<Utc>, waited: bool) -> ImportWait {
    let out = sessions.iter().filter(|session| !matches!(session.state, SessionState::Done { .. }));
    let wait = |notice, until: DateTime<Utc>, expires| ImportWait {
        notice,
        seconds: u64::try_from((until - now).num_milliseconds()).unwrap_or(0).div_ceil(1000).max(1),
        until: expires,
    };
    let Some(last) = out.max_by_key(|session| session.expires_at) else {
        let notice = if waited { ImportNotice::Reminder } else { ImportNotice::Opened };
        return wait(notice, now + REMINDER, None);
    };
    let end = last.expires_at;
    let warning = end - (end - last.asked_at) / LAST_PART;
    if now < warning {
        wait(ImportNotice::Asked, warning, Some(end))
    } else if now < end {
        wait(ImportNotice::Expiring, end, Some(end))
    } else if now < end + REMINDER {
        wait(ImportNotice::Expired, end + REMINDER, Some(end))
    } else {
        wait(ImportNotice::Reminder, now + REMINDER, Some(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::import::{
        session::Target,
        wrapping::{Algorithm, Spec},
    };

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a time") + TimeDelta::hours(hours)
    }

    fn session(asked: i64, state: SessionState) -> Session {
        Session {
            id: "i".to_owned(),
            target: Target { region: "us-west-2".to_owned(), instance: None, arn: "arn".to_owned() },
            run: None,
            algorithm: Algorithm::default(),
            spec: Spec::default(),
            kms_token: String::new(),
            asked_by: "k".to_owned(),
            asked_at: at(asked),
            valid_to: at(asked + 24),
            expires_at: at(asked + 24),
            existing: None,
            failures: 0,
            state,
        }
    }

    #[test]
    fn the_customer_is_told_at_the_beginning_before_and_after_expiry_and_once_a_week() {
        let open = session(0, SessionState::Open);
        let seen = |hours| {
            let wait = import_wait(&[&open], at(hours), true);
            (wait.notice, wait.seconds / 3600)
        };
        assert_eq!(import_wait(&[], at(0), false).notice, ImportNotice::Opened);
        assert_eq!(import_wait(&[], at(0), true).notice, ImportNotice::Reminder);
        assert_eq!(seen(0), (ImportNotice::Asked, 20));
        assert_eq!(seen(20), (ImportNotice::Expiring, 4));
        assert_eq!(seen(24), (ImportNotice::Expired, 7 * 24));
        assert_eq!(seen(24 + 7 * 24), (ImportNotice::Reminder, 7 * 24));
    }

    #[test]
    fn a_newer_token_counts_and_a_used_one_does_not() {
        let (old, new) = (session(0, SessionState::Open), session(10, SessionState::Locked));
        assert_eq!(import_wait(&[&old, &new], at(25), true).notice, ImportNotice::Asked);
        let used = SessionState::Done { at: at(11), upload: String::new(), key_material_id: String::new() };
        let used = session(10, used);
        assert_eq!(import_wait(&[&old, &used], at(25), true).notice, ImportNotice::Expired);
    }

    #[test]
    fn the_wait_is_never_shorter_than_a_second() {
        let open = session(0, SessionState::Open);
        let almost = at(24) - TimeDelta::milliseconds(3);
        assert_eq!(import_wait(&[&open], almost, true).seconds, 1);
    }
}
