//! Timestamps as the Amazon States Language wants them.

use chrono::{DateTime, FixedOffset};

/// Reads a timestamp in the specification's profile of RFC 3339: an upper-case `T` between date and time, and an
/// upper-case `Z` where no numeric offset is given. `None` for anything else.
pub fn parse_timestamp(text: &str) -> Option<DateTime<FixedOffset>> {
    let separator = text.as_bytes().get(10)?;
    if *separator != b'T' || text.contains('z') {
        return None;
    }
    DateTime::parse_from_rfc3339(text).ok()
}
