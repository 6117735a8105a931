//! The only place that reads a clock: wall time, monotonic time and sleeping behind one trait, so
//! that tests can move time by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bookwire_engine::time::TsNanos;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Time, as the actors know it.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock, for timestamps only: it can jump.
    fn now(&self) -> TsNanos;
    /// Time since some fixed moment; never goes back. For durations and deadlines.
    fn monotonic(&self) -> Duration;
    /// Completes when `time` has passed.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TsNanos {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        TsNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

#[derive(Debug, Default)]
struct Manual {
    wall: i64,
    elapsed: Duration,
    next_key: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

/// A clock that only moves when it is told to. Clones share their time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Mutex<Manual>>);

impl ManualClock {
    /// A clock that shows `wall` until it is moved.
    #[must_use]
    pub fn new(wall: TsNanos) -> Self {
        let clock = Self::default();
        clock.0.lock().wall = wall.0;
        clock
    }

    /// Moves both times on and wakes those whose sleep is over, in the order of their deadlines.
    pub fn advance(&self, time: Duration) {
        let mut due = Vec::new();
        {
            let mut manual = self.0.lock();
            manual.elapsed += time;
            let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
            manual.wall = manual.wall.saturating_add(nanos);
            let reached = (manual.elapsed, u64::MAX);
            let later = manual.sleepers.split_off(&reached);
            due.extend(std::mem::replace(&mut manual.sleepers, later).into_values());
        }
        for sleeper in due {
            // The sleeper may have been dropped meanwhile.
            let _ = sleeper.send(());
        }
    }

    /// Sleeps that are not over and not given up.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        let manual = self.0.lock();
        manual.sleepers.values().filter(|s| !s.is_closed()).count()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TsNanos {
        TsNanos(self.0.lock().wall)
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().elapsed
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        if time.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let mut manual = self.0.lock();
        manual.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        let key = (manual.elapsed + time, manual.next_key);
        manual.next_key += 1;
        manual.sleepers.insert(key, sender);
        Box::pin(async move {
            // An error means that the clock itself is gone: nobody will ever wake us.
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn manual_time_wakes_whom_it_passes() {
        let clock = ManualClock::new(TsNanos(1_000));
        let mut short = clock.sleep(Duration::from_secs(1));
        let mut long = clock.sleep(Duration::from_secs(2));
        assert!(short.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        assert!(short.as_mut().now_or_never().is_some());
        assert!(long.as_mut().now_or_never().is_none());
        assert_eq!(clock.monotonic(), Duration::from_secs(1));
        assert_eq!(clock.now(), TsNanos(1_000_001_000));
        drop(long);
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn system_time_is_monotonic() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.now() > TsNanos(1_700_000_000_000_000_000));
    }
}
