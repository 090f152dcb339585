//! Rate limits: token buckets in memory, per process. A fleet of N processes grants up to N times as much.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};

/// Buckets above which those are dropped that are full again.
const LARGEST: usize = 10_000;
const MINUTE_S: f64 = 60.0;

/// Buckets that hold `per_minute` tokens each and are filled anew within a minute.
pub struct Buckets<K> {
    per_minute: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: DateTime<Utc>,
}

/// Seconds, from 1, until there is a token again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub u64);

impl<K: Eq + Hash> Buckets<K> {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: f64::from(per_minute), buckets: Mutex::default() }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, key: K, now: DateTime<Utc>) -> Result<(), Wait> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= LARGEST && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.per_minute);
            if buckets.len() >= LARGEST {
                tracing::warn!(limit = LARGEST, "more senders a minute than are kept apart: rate limits begin anew");
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: self.per_minute, at: now });
        let tokens = self.filled(*bucket, now);
        let granted = tokens >= 1.0;
        *bucket = Bucket { tokens: if granted { tokens - 1.0 } else { tokens }, at: bucket.at.max(now) };
        if granted { Ok(()) } else { Err(Wait(self.seconds_until_one(tokens))) }
    }

    fn filled(&self, bucket: Bucket, now: DateTime<Utc>) -> f64 {
        let passed = now.signed_duration_since(bucket.at).to_std().unwrap_or_default().as_secs_f64();
        (bucket.tokens + passed * self.per_minute / MINUTE_S).min(self.per_minute)
    }

    fn seconds_until_one(&self, tokens: f64) -> u64 {
        let seconds = ((1.0 - tokens) * MINUTE_S / self.per_minute).ceil();
        std::time::Duration::try_from_secs_f64(seconds).map_or(60, |wait| wait.as_secs()).clamp(1, 60)
    }
}

/// Whom an address stands for: an IPv6 subscriber has a whole /64.
pub fn sender(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(wide) => IpAddr::V6(Ipv6Addr::from_bits(wide.to_bits() & (u128::MAX << 64))),
        narrow @ IpAddr::V4(_) => narrow,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_says_when_there_is_more() {
        let buckets = Buckets::new(6);
        let mut now = DateTime::UNIX_EPOCH;
        assert_eq!((0..7).map(|_| buckets.take("a", now)).filter(Result::is_ok).count(), 6);
        assert_eq!(buckets.take("a", now), Err(Wait(10)));
        assert_eq!(buckets.take("b", now), Ok(()), "another's bucket is its own");
        now += TimeDelta::seconds(9);
        assert_eq!(buckets.take("a", now), Err(Wait(1)));
        now += TimeDelta::seconds(1);
        assert_eq!(buckets.take("a", now), Ok(()));
        now -= TimeDelta::hours(1);
        assert_eq!(buckets.take("a", now), Err(Wait(10)), "a clock that goes back gives nothing");
    }

    #[test]
    fn no_flood_of_senders_grows_without_bound() {
        let buckets = Buckets::new(6);
        for sender in 0..LARGEST * 3 {
            assert_eq!(buckets.take(sender, DateTime::UNIX_EPOCH), Ok(()));
        }
        assert!(buckets.buckets.lock().expect("no panic").len() <= LARGEST);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_sender_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| sender(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:aaaa::1"), of("2001:db8:1:2:bbbb::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
