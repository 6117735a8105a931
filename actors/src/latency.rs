//! How long each stage of a message's way takes, measured in production.
//!
//! ```text
//! socket ──decode──► first event ──book──► changed ──publish──► on the lane ──ring──► taken ──write──► client's socket
//!    └────────────────────────────────────── total ────────────────────────────────────────────────────►┘
//! ```
//!
//! A histogram belongs to one thread, which records with two plain loads and two plain stores: no
//! lock, no locked instruction, no allocation. Whoever reads adds the threads' counts up while they
//! go on; a reading is exact to the messages that are under way at that moment. What all this costs
//! is in `docs/decisions/007-latency-histograms.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Bits of a value that are kept: buckets are at most a 128th of their value wide.
const BITS: u32 = 7;

/// Longest duration that is told apart, nanoseconds: 68 s. Longer ones count as this.
const LONGEST: u64 = (1 << 36) - 1;

/// Buckets: single nanoseconds below 256, then 128 for each doubling.
const BUCKETS: usize = ((35 - BITS as usize) << BITS) + (2 << BITS);

/// A moment on the engine's monotonic clock, or none: a message that no frame caused (an answer to
/// a refresh, a bar closed by time) is not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// No moment.
    pub const NONE: Self = Self(0);

    /// The moment `monotonic`. The clock's very first nanosecond counts as none.
    #[must_use]
    pub fn of(monotonic: Duration) -> Self {
        // 2^64 ns are 584 years.
        Self(monotonic.as_nanos() as u64)
    }

    /// False for [`Stamp::NONE`].
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Nanoseconds from this moment to a later one; `None` when one of them is none.
    #[must_use]
    pub const fn until(self, later: Self) -> Option<u64> {
        if self.0 == 0 || later.0 == 0 {
            return None;
        }
        Some(later.0.saturating_sub(self.0))
    }
}

/// A histogram of durations with one writer and any number of readers.
#[derive(Debug)]
pub struct StageHistogram {
    counts: Box<[AtomicU64]>,
    /// Sum of all durations, nanoseconds; wraps after 584 years of them.
    sum: AtomicU64,
}

impl Default for StageHistogram {
    fn default() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

const fn bucket_of(nanos: u64) -> usize {
    let nanos = if nanos > LONGEST { LONGEST } else { nanos };
    let width = u64::BITS - (nanos | 1).leading_zeros();
    let shift = width.saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// Largest value of a bucket.
const fn last_of(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    let first = ((bucket - (shift << BITS)) as u64) << shift;
    first + (1 << shift) - 1
}

impl StageHistogram {
    /// Counts a duration in nanoseconds. Only the owning thread calls it.
    #[inline]
    pub fn record(&self, nanos: u64) {
        if let Some(count) = self.counts.get(bucket_of(nanos)) {
            // One writer: no locked instruction needed.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let sum = self.sum.load(Ordering::Relaxed).wrapping_add(nanos);
            self.sum.store(sum, Ordering::Relaxed);
        }
    }

    /// Counts the time between two moments, when there are two.
    #[inline]
    pub fn record_between(&self, from: Stamp, to: Stamp) {
        if let Some(nanos) = from.until(to) {
            self.record(nanos);
        }
    }

    /// Adds what was counted so far to `total`.
    pub fn add_to(&self, total: &mut StageLatency) {
        for (bucket, count) in self.counts.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                total
                    .histogram
                    .saturating_record_n(last_of(bucket).max(1), count);
            }
        }
        total.sum_ns = total.sum_ns.wrapping_add(self.sum.load(Ordering::Relaxed));
    }
}

/// One stage of all threads together.
#[derive(Clone, Debug)]
pub struct StageLatency {
    /// Its name, as in [`STAGES`].
    pub stage: &'static str,
    /// Durations, nanoseconds, rounded up by less than 0.8 %; 68 s stand for anything longer.
    pub histogram: Histogram<u64>,
    /// Sum of the exact durations, nanoseconds.
    pub sum_ns: u64,
}

impl StageLatency {
    /// Nothing measured.
    #[must_use]
    pub fn new(stage: &'static str) -> Self {
        // The bounds are constants that the library accepts; the fallback is its widest form.
        let histogram = Histogram::new_with_bounds(1, LONGEST, 2).or_else(|_| Histogram::new(2));
        Self {
            stage,
            histogram: histogram.unwrap_or_else(|_| unreachable!("two digits are allowed")),
            sum_ns: 0,
        }
    }
}

/// All stages in the order of a message's way, and what each is.
pub const STAGES: [(&str, &str); 7] = [
    (
        "lag",
        "exchange's event time to socket read, by both clocks as they are",
    ),
    (
        "decode",
        "frame read from the exchange's socket to its first decoded event",
    ),
    ("book", "event decoded to book changed"),
    (
        "publish",
        "that, or the publication before in the same frame, to encoded and put on the lane",
    ),
    ("ring", "put on the lane to taken off it by the worker"),
    (
        "write",
        "taken off the lane to written to a client's socket, waiting in its queue included",
    ),
    (
        "total",
        "frame read from the exchange's socket to written to a client's socket",
    ),
];

/// What a shard measures; written by its thread only.
#[derive(Debug, Default)]
pub struct ShardLatency {
    /// Exchange's event time to socket read; the two clocks may differ.
    pub lag: StageHistogram,
    /// Socket read to first event, once for each frame with data.
    pub decode: StageHistogram,
    /// To book changed, for each change of a book.
    pub book: StageHistogram,
    /// To publication ready, for each publication.
    pub publish: StageHistogram,
}

/// What a worker measures; written by its thread only.
#[derive(Debug, Default)]
pub struct WorkerLatency {
    /// On the lane to taken off, for each publication.
    pub ring: StageHistogram,
    /// Taken off to written, for each message of each client.
    pub write: StageHistogram,
    /// Socket read to written, for each message of each client.
    pub total: StageHistogram,
}

/// Adds up all threads' measurements, in the order of [`STAGES`].
#[must_use]
pub fn merge<'a>(
    shards: impl Iterator<Item = &'a ShardLatency>,
    workers: impl Iterator<Item = &'a WorkerLatency>,
) -> Vec<StageLatency> {
    let mut all: Vec<StageLatency> = STAGES
        .iter()
        .map(|(stage, _)| StageLatency::new(stage))
        .collect();
    let mut add = |first: usize, parts: &[&StageHistogram]| {
        for (total, part) in all[first..].iter_mut().zip(parts) {
            part.add_to(total);
        }
    };
    for shard in shards {
        add(0, &[&shard.lag, &shard.decode, &shard.book, &shard.publish]);
    }
    for worker in workers {
        add(4, &[&worker.ring, &worker.write, &worker.total]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn buckets_follow_each_other_without_a_hole() {
        let mut first = 0;
        for bucket in 0..BUCKETS {
            let last = last_of(bucket);
            assert_eq!((bucket_of(first), bucket_of(last)), (bucket, bucket));
            first = last + 1;
        }
        assert_eq!(first - 1, LONGEST);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_value_is_told_within_a_128th(nanos in 0..LONGEST) {
            let told = last_of(bucket_of(nanos));
            prop_assert!(told >= nanos && told - nanos <= nanos / 128);
        }
    }

    #[test]
    fn threads_are_added_up() {
        let (a, b) = (ShardLatency::default(), ShardLatency::default());
        let worker = WorkerLatency::default();
        for nanos in 1..=1000 {
            a.decode.record(nanos);
            b.decode.record(nanos + 1_000_000);
        }
        worker.total.record(5);
        worker
            .total
            .record_between(Stamp::NONE, Stamp::of(Duration::from_secs(1)));
        let all = merge([&a, &b].into_iter(), [&worker].into_iter());
        let names: Vec<_> = all.iter().map(|stage| stage.stage).collect();
        assert_eq!(names, STAGES.map(|(name, _)| name));
        let decode = &all[1];
        assert_eq!(decode.histogram.len(), 2000);
        assert_eq!(decode.sum_ns, 2 * 500_500 + 1000 * 1_000_000);
        let at = |quantile| decode.histogram.value_at_quantile(quantile);
        assert!((995..=1010).contains(&at(0.5)), "{}", at(0.5));
        assert!((1_000_990..=1_009_000).contains(&at(1.0)), "{}", at(1.0));
        assert_eq!((all[6].histogram.len(), all[6].sum_ns), (1, 5));
        assert!(all[2].histogram.is_empty());
    }

    #[test]
    fn a_reader_sees_whole_counts_while_the_owner_writes() {
        let shard = Arc::new(ShardLatency::default());
        let owner = shard.clone();
        let writing = std::thread::spawn(move || {
            for n in 0..200_000u64 {
                owner.publish.record(n % 5000);
            }
        });
        let mut before = 0;
        while !writing.is_finished() {
            let all = merge([&*shard].into_iter(), std::iter::empty());
            let count = all[3].histogram.len();
            assert!(count >= before);
            before = count;
        }
        writing.join().unwrap();
        let all = merge([&*shard].into_iter(), std::iter::empty());
        assert_eq!(all[3].histogram.len(), 200_000);
    }
}
