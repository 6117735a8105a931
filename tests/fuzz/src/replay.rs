//! Lines of recordings.

use std::time::Duration;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::replay::{Replay, ReplayOptions};

/// Any lines are replayed or told as faults; every line is counted once.
pub fn check(text: &[u8]) {
    for market in [Market::Spot, Market::Perp] {
        let mut replay = Replay::new(ProviderId::BINANCE, market, ReplayOptions::default())
            .expect("Binance has both markets");
        let mut lines = 0;
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            // Every third line as one of a file of snapshots.
            if index % 3 == 2 {
                replay.snapshot_line(index as u64 + 1, line);
            } else {
                lines += u64::from(!line.trim_ascii().is_empty());
                replay.line(index as u64 + 1, line);
            }
        }
        let report = replay.finish(Duration::from_secs(1));
        assert_eq!(report.messages, lines);
    }
}
