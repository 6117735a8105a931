//! Request counts per client address and purse, in windows of real time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Windows remembered; beyond it the book is closed and begun anew.
const WINDOWS_MAX: usize = 10_000;

/// How many may be had in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Most in a window.
    pub(crate) most: u32,
    /// Length of a window; the next one begins with the first request after it.
    pub(crate) window: Duration,
}

impl Allowance {
    pub(crate) const fn new(most: u32, window_ms: u64) -> Self {
        Self {
            most,
            window: Duration::from_millis(window_ms),
        }
    }
}

/// What the limits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Served; so much of the window is used, this one included.
    Pass {
        /// Used so far.
        used: u32,
    },
    /// Too many: there is room again after this time.
    TooMany {
        /// Time to the window's end.
        wait: Duration,
    },
}

struct Window {
    began: Instant,
    used: u32,
}

/// Counts of all clients.
#[derive(Default)]
pub(crate) struct Counter {
    windows: HashMap<(IpAddr, &'static str), Window>,
}

impl Counter {
    /// Charges `weight` to a client's purse. What is refused costs nothing.
    pub(crate) fn charge(
        &mut self,
        address: IpAddr,
        purse: &'static str,
        allowance: Allowance,
        weight: u32,
    ) -> Verdict {
        self.charge_at(address, purse, allowance, weight, Instant::now())
    }

    fn charge_at(
        &mut self,
        address: IpAddr,
        purse: &'static str,
        allowance: Allowance,
        weight: u32,
        now: Instant,
    ) -> Verdict {
        let key = (address, purse);
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&key) {
            self.windows.clear();
        }
        let fresh = Window {
            began: now,
            used: 0,
        };
        let window = self.windows.entry(key).or_insert(fresh);
        let age = now.saturating_duration_since(window.began);
        if age >= allowance.window {
            *window = Window {
                began: now,
                used: 0,
            };
        }
        let used = window.used.saturating_add(weight);
        if used > allowance.most {
            return Verdict::TooMany {
                wait: allowance.window.saturating_sub(age),
            };
        }
        window.used = used;
        Verdict::Pass { used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purses_and_windows_are_apart() {
        let mut counter = Counter::default();
        let (start, two) = (Instant::now(), Allowance::new(2, 2_000));
        let [here, there] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let mut charge = |address, purse, after_ms| {
            let now = start + Duration::from_millis(after_ms);
            counter.charge_at(address, purse, two, 1, now)
        };
        assert_eq!(charge(here, "a", 0), Verdict::Pass { used: 1 });
        assert_eq!(charge(here, "a", 500), Verdict::Pass { used: 2 });
        let wait = Duration::from_millis(1_000);
        assert_eq!(charge(here, "a", 1_000), Verdict::TooMany { wait });
        assert_eq!(charge(here, "b", 1_000), Verdict::Pass { used: 1 });
        assert_eq!(charge(there, "a", 1_000), Verdict::Pass { used: 1 });
        assert_eq!(charge(here, "a", 2_000), Verdict::Pass { used: 1 });
    }
}
