//! Rate limits: token buckets in memory, per process. A fleet of N processes grants up to N times as much.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use lru::LruCache;

/// Buckets at once; beyond it the one that was not asked for the longest is forgotten, and is full when it is asked for again.
const MOST: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
const MINUTE_S: f64 = 60.0;
/// How much more than an IPv6 subscriber's /64 a /48 is granted, of which one site may have 65,536.
const SITE: u32 = 10;

/// Buckets that hold `per_minute` tokens each and are filled anew within a minute.
pub struct Buckets<K: Eq + Hash> {
    per_minute: f64,
    buckets: Mutex<LruCache<K, Bucket>>,
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
        Self { per_minute: f64::from(per_minute), buckets: Mutex::new(LruCache::new(MOST)) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, key: K, now: DateTime<Utc>) -> Result<(), Wait> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get_or_insert_mut(key, || Bucket { tokens: self.per_minute, at: now });
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

/// Buckets of senders, and of the sites that IPv6 senders belong to: one site has more /64 than are kept.
pub struct SenderBuckets {
    senders: Buckets<IpAddr>,
    sites: Buckets<IpAddr>,
}

impl SenderBuckets {
    pub fn new(per_minute: u32) -> Self {
        Self { senders: Buckets::new(per_minute), sites: Buckets::new(per_minute.saturating_mul(SITE)) }
    }

    /// Takes a token of `address`.
    ///
    /// # Errors
    /// Its sender or its site has none.
    pub fn take(&self, address: IpAddr, now: DateTime<Utc>) -> Result<(), Wait> {
        self.senders.take(sender(address), now)?;
        match prefix(address, SITE_BITS) {
            site @ IpAddr::V6(_) => self.sites.take(site, now),
            IpAddr::V4(_) => Ok(()),
        }
    }
}

const SUBSCRIBER_BITS: u32 = 64;
const SITE_BITS: u32 = 48;

/// Whom an address stands for: an IPv6 subscriber has a whole /64.
pub fn sender(address: IpAddr) -> IpAddr {
    prefix(address, SUBSCRIBER_BITS)
}

/// The network of an IPv6 address, by its first address; an IPv4 address as it is.
fn prefix(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(wide) => IpAddr::V6(Ipv6Addr::from_bits(wide.to_bits() & (u128::MAX << (u128::BITS - bits)))),
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
    fn a_flood_of_senders_neither_grows_without_bound_nor_fills_anybodys_bucket() {
        let buckets = Buckets::new(6);
        let empty = |sender| while buckets.take(sender, DateTime::UNIX_EPOCH).is_ok() {};
        empty(usize::MAX);
        for sender in 0..MOST.get() * 3 {
            assert_eq!(buckets.take(sender, DateTime::UNIX_EPOCH), Ok(()));
            if sender % 1000 == 0 {
                assert_eq!(buckets.take(usize::MAX, DateTime::UNIX_EPOCH), Err(Wait(10)), "after {sender} others");
            }
        }
        assert!(buckets.buckets.lock().expect("no panic").len() <= MOST.get());
    }

    #[test]
    fn a_site_of_many_ipv6_networks_is_limited_as_a_whole() {
        let buckets = SenderBuckets::new(6);
        let of = |site: u128, network: u128| IpAddr::V6(Ipv6Addr::from_bits((site << 80) | (network << 64)));
        let granted = (0..1000).filter(|network| buckets.take(of(7, *network), DateTime::UNIX_EPOCH).is_ok()).count();
        assert_eq!(granted, 60);
        assert_eq!(buckets.take(of(8, 1), DateTime::UNIX_EPOCH), Ok(()), "another site has its own");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_sender_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| sender(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:aaaa::1"), of("2001:db8:1:2:bbbb::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
