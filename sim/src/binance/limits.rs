//! Request weights and bans, per client address. The windows are the exchange's: they start with
//! the minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::clock::unix_now_ms;
use crate::config::RestLimits;

const MINUTE_MS: i64 = 60_000;
const FIVE_MINUTES_MS: i64 = 300_000;
/// Addresses remembered; beyond it the book is closed and begun anew.
const ADDRESSES_MAX: usize = 10_000;

/// What the limits say to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Served; so much weight is used in this minute, this request included.
    Pass {
        /// For `X-MBX-USED-WEIGHT-1M`.
        used: u32,
    },
    /// 429: come back later.
    TooMany {
        /// For the header.
        used: u32,
        /// Seconds to the next window.
        retry_after_secs: u64,
    },
    /// 418: did not.
    Banned {
        /// Until when, Unix ms.
        until_ms: i64,
        /// Seconds until then.
        retry_after_secs: u64,
    },
}

#[derive(Default)]
struct Account {
    minute: i64,
    used: u32,
    ignored: u32,
    banned_until: Option<(Instant, i64)>,
    funding_window: i64,
    funding_used: u32,
    attempts_window: i64,
    attempts: u32,
}

/// The limits of one market.
pub(crate) struct Limiter {
    limits: RestLimits,
    accounts: HashMap<IpAddr, Account>,
}

impl Limiter {
    pub(crate) fn new(limits: RestLimits) -> Self {
        Self {
            limits,
            accounts: HashMap::new(),
        }
    }

    fn account(&mut self, address: IpAddr) -> &mut Account {
        if self.accounts.len() >= ADDRESSES_MAX && !self.accounts.contains_key(&address) {
            self.accounts.clear();
        }
        self.accounts.entry(address).or_default()
    }

    /// Charges a request.
    pub(crate) fn charge(&mut self, address: IpAddr, weight: u32, is_funding: bool) -> Verdict {
        self.charge_at(address, weight, is_funding, unix_now_ms(), Instant::now())
    }

    fn charge_at(
        &mut self,
        address: IpAddr,
        weight: u32,
        is_funding: bool,
        now_ms: i64,
        now: Instant,
    ) -> Verdict {
        let limits = self.limits;
        let account = self.account(address);
        if let Some((until, until_ms)) = account.banned_until {
            if now < until {
                let retry_after_secs = (until - now).as_secs() + 1;
                return Verdict::Banned {
                    until_ms,
                    retry_after_secs,
                };
            }
            (account.banned_until, account.ignored) = (None, 0);
        }
        let minute = now_ms.div_euclid(MINUTE_MS);
        if minute != account.minute {
            (account.minute, account.used, account.ignored) = (minute, 0, 0);
        }
        let window = now_ms.div_euclid(FIVE_MINUTES_MS);
        if window != account.funding_window {
            (account.funding_window, account.funding_used) = (window, 0);
        }
        account.used = account.used.saturating_add(weight);
        account.funding_used += u32::from(is_funding);
        let over_funding = is_funding && account.funding_used > limits.funding_per_five_minutes;
        if account.used <= limits.weight_per_minute && !over_funding {
            return Verdict::Pass { used: account.used };
        }
        account.ignored += 1;
        if account.ignored > limits.ignored_before_ban {
            let until_ms = now_ms + i64::try_from(limits.ban.as_millis()).unwrap_or(0);
            account.banned_until = Some((now + limits.ban, until_ms));
            return Verdict::Banned {
                until_ms,
                retry_after_secs: limits.ban.as_secs().max(1),
            };
        }
        let window_ms = if over_funding {
            FIVE_MINUTES_MS
        } else {
            MINUTE_MS
        };
        let left = Duration::from_millis((window_ms - now_ms.rem_euclid(window_ms)) as u64);
        Verdict::TooMany {
            used: account.used,
            retry_after_secs: left.as_secs() + 1,
        }
    }

    /// Counts a connection attempt; `false` if there were too many.
    pub(crate) fn may_connect(&mut self, address: IpAddr, most: u32) -> bool {
        let window = unix_now_ms().div_euclid(FIVE_MINUTES_MS);
        let account = self.account(address);
        if window != account.attempts_window {
            (account.attempts_window, account.attempts) = (window, 0);
        }
        account.attempts += 1;
        account.attempts <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MarketLimits;

    #[test]
    fn over_the_limit_then_banned_then_free() {
        let limits = RestLimits {
            weight_per_minute: 100,
            ignored_before_ban: 2,
            ..MarketLimits::binance_spot().rest
        };
        let mut limiter = Limiter::new(limits);
        let address = IpAddr::from([127, 0, 0, 1]);
        let start = Instant::now();
        let mut charge = |weight, now_ms, after_secs| {
            limiter.charge_at(
                address,
                weight,
                false,
                now_ms,
                start + Duration::from_secs(after_secs),
            )
        };
        assert_eq!(charge(60, 30_000, 0), Verdict::Pass { used: 60 });
        assert_eq!(charge(40, 30_000, 0), Verdict::Pass { used: 100 });
        let too_many = |used| Verdict::TooMany {
            used,
            retry_after_secs: 31,
        };
        assert_eq!(charge(5, 30_000, 0), too_many(105));
        assert_eq!(charge(5, 30_000, 0), too_many(110));
        let until_ms = 150_000;
        assert_eq!(
            charge(5, 30_000, 0),
            Verdict::Banned {
                until_ms,
                retry_after_secs: 120
            }
        );
        // The next minute does not help.
        assert!(matches!(charge(5, 60_000, 30), Verdict::Banned { .. }));
        assert_eq!(charge(5, 151_000, 121), Verdict::Pass { used: 5 });
    }

    #[test]
    fn funding_has_a_window_of_its_own() {
        let limits = RestLimits {
            funding_per_five_minutes: 1,
            ..MarketLimits::binance_usdm().rest
        };
        let mut limiter = Limiter::new(limits);
        let address = IpAddr::from([127, 0, 0, 1]);
        let now = Instant::now();
        assert_eq!(
            limiter.charge_at(address, 0, true, 1_000, now),
            Verdict::Pass { used: 0 }
        );
        let second = limiter.charge_at(address, 0, true, 1_000, now);
        assert_eq!(
            second,
            Verdict::TooMany {
                used: 0,
                retry_after_secs: 300
            }
        );
        assert_eq!(
            limiter.charge_at(address, 1, false, 1_000, now),
            Verdict::Pass { used: 1 }
        );
    }
}
