//! Request limits per client address or API key: a fixed window of a minute that starts with the first
//! request. Windows are easy to explain by the three `X-RateLimit-*` headers, and the table is bounded,
//! so that a flood of addresses costs no memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bookwire_engine::error::{CryptoCode, CryptoError};

/// Length of a window.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered at a time; those beyond share one window.
const ADDRESSES_MAX: usize = 65_536;

/// Least time between two searches for expired windows in a full table.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// What a client may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a window.
    pub limit: u32,
    /// Requests left in the running window.
    pub remaining: u32,
    /// Time until the window ends.
    pub reset_in: Duration,
    /// Requests made in the running window, refused ones included.
    pub used: u32,
    /// The request may be served.
    pub is_allowed: bool,
}

impl Allowance {
    /// Whole seconds until the window ends, at least 1.
    #[must_use]
    pub fn retry_after_secs(&self) -> u64 {
        self.reset_in.as_millis().div_ceil(1000).max(1) as u64
    }

    /// The 429 answer.
    #[must_use]
    pub fn error(&self) -> CryptoError {
        let wait = self.retry_after_secs();
        CryptoError::new(
            CryptoCode::RateLimitExceeded,
            format!("more than {} requests a minute", self.limit),
        )
        .with("rate_limit", self.limit)
        .with("retry_after_seconds", wait)
        .with("current_usage", self.used)
        .suggest(format!("wait {wait} s before the next request"))
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    used: u32,
}

#[derive(Debug)]
struct Table<K> {
    windows: HashMap<K, Window>,
    /// Shared by those that found the table full.
    overflow: Option<Window>,
    /// When expired windows were last looked for: a scan per request would be a gift to a flood.
    swept: Option<Instant>,
}

/// Counts requests per key, whatever that is. Shared by all workers; a request holds the lock for one
/// look-up.
#[derive(Debug)]
pub struct Limiter<K> {
    limit: u32,
    table: Mutex<Table<K>>,
}

/// Counts requests per address.
#[derive(Debug)]
pub struct RateLimiter(Limiter<IpAddr>);

impl RateLimiter {
    /// `requests_per_minute` for each address.
    #[must_use]
    pub fn new(requests_per_minute: u32) -> Self {
        Self(Limiter::new(requests_per_minute))
    }

    /// Counts a request of `address` made at `now`.
    pub fn take(&self, address: IpAddr, now: Instant) -> Allowance {
        self.0.take(network(address), now)
    }

    /// What `address` may still do, without counting anything.
    pub fn peek(&self, address: IpAddr, now: Instant) -> Allowance {
        self.0.peek(network(address), now)
    }
}

impl<K: Eq + Hash> Limiter<K> {
    /// `requests_per_minute` for each key.
    #[must_use]
    pub fn new(requests_per_minute: u32) -> Self {
        Self {
            limit: requests_per_minute,
            table: Mutex::new(Table {
                windows: HashMap::new(),
                overflow: None,
                swept: None,
            }),
        }
    }

    /// Counts a request of `key` made at `now`.
    pub fn take(&self, key: K, now: Instant) -> Allowance {
        self.with_window(key, now, |window| {
            window.used = window.used.saturating_add(1);
        })
    }

    /// What `key` may still do, without counting anything.
    pub fn peek(&self, key: K, now: Instant) -> Allowance {
        self.with_window(key, now, |_| {})
    }

    fn with_window(&self, key: K, now: Instant, change: impl FnOnce(&mut Window)) -> Allowance {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.windows.len() >= ADDRESSES_MAX
            && !table.windows.contains_key(&key)
            && table
                .swept
                .is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_PAUSE)
        {
            table.swept = Some(now);
            table.windows.retain(|_, window| is_running(window, now));
        }
        let is_full = table.windows.len() >= ADDRESSES_MAX && !table.windows.contains_key(&key);
        let fresh = Window {
            start: now,
            used: 0,
        };
        let window = if is_full {
            table.overflow.get_or_insert(fresh)
        } else {
            table.windows.entry(key).or_insert(fresh)
        };
        if !is_running(window, now) {
            *window = fresh;
        }
        change(window);
        Allowance {
            limit: self.limit,
            remaining: self.limit.saturating_sub(window.used),
            reset_in: WINDOW.saturating_sub(now.saturating_duration_since(window.start)),
            used: window.used,
            is_allowed: window.used <= self.limit,
        }
    }
}

fn is_running(window: &Window, now: Instant) -> bool {
    now.saturating_duration_since(window.start) < WINDOW
}

/// An IPv6 customer has at least a /64 to himself, so that is what is counted.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_used_up_and_comes_back() {
        let limiter = RateLimiter::new(3);
        let start = Instant::now();
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        for left in [2, 1, 0] {
            let allowance = limiter.take(ip, start);
            assert!(allowance.is_allowed);
            assert_eq!(allowance.remaining, left);
        }
        let refused = limiter.take(ip, start + Duration::from_secs(20));
        assert!(!refused.is_allowed);
        assert_eq!(refused.retry_after_secs(), 40);
        let error = refused.error();
        assert_eq!(error.details["rate_limit"], 3);
        assert_eq!(error.details["retry_after_seconds"], 40);
        assert_eq!(error.details["current_usage"], 4);
        let other = limiter.take("10.0.0.2".parse().unwrap(), start);
        assert!(other.is_allowed);
        assert_eq!(limiter.peek(ip, start + WINDOW).remaining, 3);
        assert!(limiter.take(ip, start + WINDOW).is_allowed);
    }

    #[test]
    fn addresses_of_one_network_share_a_window() {
        let limiter = RateLimiter::new(1);
        let now = Instant::now();
        let take = |text: &str| limiter.take(text.parse().unwrap(), now).is_allowed;
        assert!(take("2001:db8::1"));
        assert!(!take("2001:db8::2"));
        assert!(take("2001:db8:0:1::1"));
        assert!(take("192.0.2.1"));
        assert!(!take("::ffff:192.0.2.1"));
    }

    #[test]
    fn the_table_is_bounded() {
        let limiter = RateLimiter::new(1_000_000);
        let now = Instant::now();
        for n in 0..(ADDRESSES_MAX as u32 + 50) {
            limiter.take(IpAddr::V4(n.into()), now);
        }
        let table = limiter.0.table.lock().unwrap();
        assert_eq!(table.windows.len(), ADDRESSES_MAX);
        assert_eq!(table.overflow.unwrap().used, 50);
    }

    #[test]
    fn an_expired_table_makes_room() {
        let limiter = RateLimiter::new(1);
        let now = Instant::now();
        for n in 0..ADDRESSES_MAX as u32 {
            limiter.take(IpAddr::V4(n.into()), now);
        }
        limiter.take("250.0.0.1".parse().unwrap(), now + WINDOW);
        assert_eq!(limiter.0.table.lock().unwrap().windows.len(), 1);
    }
}
