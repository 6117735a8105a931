//! The market's clock: real time, shifted, scaled and stoppable.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Real time, Unix ms.
pub(crate) fn unix_now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// Market time as a function of real time.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Market time at `anchor`, µs.
    base_us: i64,
    anchor: Instant,
    scale: f64,
    is_paused: bool,
}

impl Clock {
    /// A clock that showed `start_ms` at `began`.
    pub(crate) fn new(start_ms: i64, scale: f64, began: Instant) -> Self {
        Self {
            base_us: start_ms * 1_000,
            anchor: began,
            scale,
            is_paused: false,
        }
    }

    /// Market time, Unix µs.
    pub(crate) fn now_us(&self) -> i64 {
        if self.is_paused {
            return self.base_us;
        }
        let elapsed = self.anchor.elapsed().as_secs_f64() * self.scale;
        self.base_us + (elapsed * 1e6) as i64
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1_000)
    }

    /// Stops or starts market time.
    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.base_us = self.now_us();
        self.anchor = Instant::now();
        self.is_paused = is_paused;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }
}
