//! `book`: real deltas applied to a book, both top 20s read after each, nanoseconds a level.
//!
//! The deltas are decoded beforehand, so that only the books are measured; each contender gets them
//! in its own number type.

use anyhow::{Result, anyhow};
use bookwire_engine::book::Book;
use bookwire_engine::event::{BookLevel, BookSide, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::InstrumentId;

use crate::captures::{Capture, DIGITS};
use crate::decode::{decode_all, decoder, table};
use crate::report::{Contender, Report, duel};

/// A decoded delta with owned levels.
pub struct Delta {
    /// Changed bids.
    pub bids: Vec<BookLevel>,
    /// Changed asks.
    pub asks: Vec<BookLevel>,
}

/// A recording's book data, decoded.
pub struct Decoded {
    /// The REST snapshot.
    pub snapshot: Delta,
    /// All deltas that end after the snapshot, in order.
    pub deltas: Vec<Delta>,
    /// Levels in `deltas`.
    pub levels: usize,
    /// Scales of price and quantity, for those who count in other numbers.
    #[cfg_attr(not(feature = "peers"), allow(dead_code))]
    pub scales: (u8, u8),
}

impl Decoded {
    /// A price in ticks, for those who count in them.
    #[cfg_attr(not(feature = "peers"), allow(dead_code))]
    pub fn ticks(&self, mantissa: i64) -> i64 {
        mantissa / 10i64.pow(u32::from(DIGITS - self.scales.0))
    }
}

struct Collect {
    after: u64,
    deltas: Vec<Delta>,
}

impl EventSink for Collect {
    fn event(&mut self, _: InstrumentId, event: Event<'_>) {
        if let Event::Book(delta) = event
            && delta.last_seq > self.after
        {
            self.deltas.push(Delta {
                bids: delta.bids.to_vec(),
                asks: delta.asks.to_vec(),
            });
        }
    }

    fn control(&mut self, _: Control) {}

    fn skipped(&mut self, _: Skipped) {}
}

/// Decodes a recording's book data.
pub fn decode(capture: &Capture) -> Result<Decoded> {
    let table = table(capture);
    let instrument = table
        .iter()
        .next()
        .ok_or_else(|| anyhow!("no instrument"))?;
    let snapshot = ProviderId::BINANCE
        .exchange()
        .parse_snapshot(instrument, &mut capture.snapshot.clone())
        .map_err(|error| anyhow!("{error}"))?;
    let mut collect = Collect {
        after: snapshot.seq,
        deltas: Vec::new(),
    };
    decode_all(&mut *decoder(capture), &capture.depth, &mut collect)?;
    let levels = collect
        .deltas
        .iter()
        .map(|delta| delta.bids.len() + delta.asks.len())
        .sum();
    Ok(Decoded {
        snapshot: Delta {
            bids: snapshot.bids,
            asks: snapshot.asks,
        },
        deltas: collect.deltas,
        levels,
        scales: capture.scales,
    })
}

/// The plainest exact book: two ordered maps.
fn btree(data: &Decoded) -> u64 {
    use std::collections::BTreeMap;
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    let mut sum = 0u64;
    for delta in std::iter::once(&data.snapshot).chain(&data.deltas) {
        for (side, levels) in sides.iter_mut().zip([&delta.bids, &delta.asks]) {
            for level in levels {
                if level.qty.0 == 0 {
                    side.remove(&level.price);
                } else {
                    side.insert(level.price, level.qty);
                }
            }
        }
        for (_, qty) in sides[0]
            .iter()
            .rev()
            .take(20)
            .chain(sides[1].iter().take(20))
        {
            sum = sum.wrapping_add(qty.0 as u64);
        }
    }
    sum
}

fn ours(data: &Decoded, top: &mut Vec<BookLevel>) -> u64 {
    let mut book = Book::new();
    book.load(&data.snapshot.bids, &data.snapshot.asks);
    let mut sum = 0u64;
    let mut read = |book: &Book| {
        top.clear();
        book.top(BookSide::Bid, 20, top);
        book.top(BookSide::Ask, 20, top);
        for level in top.iter() {
            sum = sum.wrapping_add(level.qty.0 as u64);
        }
    };
    read(&book);
    for delta in &data.deltas {
        book.apply(&delta.bids, &delta.asks);
        read(&book);
    }
    sum
}

/// Runs the scenario.
pub fn run(captures: &[Capture], turns: usize) -> Result<Report> {
    let mut report = Report::new(
        "book",
        "snapshot, then every delta with both top 20s read after it; contenders take turns; median; \
         one core; lower is better",
    );
    for capture in captures {
        let data = decode(capture)?;
        let mut top = Vec::with_capacity(40);
        // Exact books must agree on everything they were asked.
        anyhow::ensure!(
            ours(&data, &mut top) == btree(&data),
            "{}: books differ",
            capture.name
        );
        let mut contenders: Vec<Contender<'_>> = vec![
            ("bookwire".to_owned(), Box::new(|| ours(&data, &mut top))),
            ("std BTreeMap, exact".to_owned(), Box::new(|| btree(&data))),
        ];
        #[cfg(feature = "peers")]
        contenders.extend(crate::peers::books(&data));
        let figures = duel(&mut contenders, data.levels, turns);
        report.add(capture.name, "ns/level", figures);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken for ticks, mantissas made a range of which a peer's book had terabytes.
    #[test]
    fn prices_are_counted_in_ticks() {
        let empty = || Delta {
            bids: Vec::new(),
            asks: Vec::new(),
        };
        let ticks = |digits| {
            let decoded = Decoded {
                snapshot: empty(),
                deltas: Vec::new(),
                levels: 0,
                scales: (digits, 3),
            };
            decoded.ticks(6_183_763_000_000)
        };
        assert_eq!((ticks(2), ticks(1)), (6_183_763, 618_376));
    }
}
