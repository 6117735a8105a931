//! Best prices of a book for other threads: an order that has to be judged by them reads them where it
//! is, instead of asking the shard and waiting for its thread to wake up, and its own again.
//!
//! The shard is the only writer. A reader that comes in between of its stores reads again; neither ever
//! waits for a lock. What is not trusted is never read: the cell is emptied where the book is lost or no
//! longer kept, and with the state that it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use bookwire_engine::book::Book;
use bookwire_engine::event::BookSide;
use bookwire_engine::num::to_decimal;
use bookwire_engine::trading::venue::Touch;
use rust_decimal::Decimal;

use super::feeds::InstrumentState;

/// No price on this side.
const NONE: i64 = i64::MIN;
/// No trusted book, in place of the prices' scale.
const EMPTY: i64 = -1;

/// What is read.
#[derive(Debug)]
pub struct TouchCell {
    /// Odd while the writer is at it.
    version: AtomicU64,
    bid: AtomicI64,
    ask: AtomicI64,
    /// Digits of both prices behind the point.
    scale: AtomicI64,
}

impl Default for TouchCell {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            bid: AtomicI64::new(NONE),
            ask: AtomicI64::new(NONE),
            scale: AtomicI64::new(EMPTY),
        }
    }
}

impl TouchCell {
    /// Best prices now; `None`: there is no trusted book.
    #[must_use]
    pub fn read(&self) -> Option<Touch> {
        let (bid, ask, scale) = loop {
            let before = self.version.load(Ordering::Acquire);
            let found = (
                self.bid.load(Ordering::Relaxed),
                self.ask.load(Ordering::Relaxed),
                self.scale.load(Ordering::Relaxed),
            );
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.version.load(Ordering::Relaxed) {
                break found;
            }
            std::hint::spin_loop();
        };
        let scale = u8::try_from(scale).ok()?;
        let price = |mantissa: i64| (mantissa != NONE).then(|| to_decimal(mantissa, scale));
        Some(touch(price(bid), price(ask)))
    }

    fn write(&self, bid: i64, ask: i64, scale: i64) {
        let is_same = self.bid.load(Ordering::Relaxed) == bid
            && self.ask.load(Ordering::Relaxed) == ask
            && self.scale.load(Ordering::Relaxed) == scale;
        if is_same {
            return;
        }
        // One writer: nobody else changes the version.
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.bid.store(bid, Ordering::Relaxed);
        self.ask.store(ask, Ordering::Relaxed);
        self.scale.store(scale, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }
}

/// Both sides and their middle, which stands for the last price.
#[must_use]
pub fn touch(bid: Option<Decimal>, ask: Option<Decimal>) -> Touch {
    Touch {
        bid,
        ask,
        last: bid.zip(ask).map(|(bid, ask)| (bid + ask) / Decimal::TWO),
    }
}

/// The shard's end of a cell, which is empty once this is gone.
#[derive(Debug, Default)]
pub(crate) struct TouchWriter(Arc<TouchCell>);

impl Drop for TouchWriter {
    fn drop(&mut self) {
        self.publish(None, 0);
    }
}

impl TouchWriter {
    /// The cell, to be read.
    pub fn cell(&self) -> Arc<TouchCell> {
        self.0.clone()
    }

    /// The best prices of a trusted book; `None`: there is none.
    pub fn publish(&self, book: Option<&Book>, scale: u8) {
        let Some(book) = book else {
            return self.0.write(NONE, NONE, EMPTY);
        };
        let best = |side| book.best(side).map_or(NONE, |level| level.price.0);
        self.0
            .write(best(BookSide::Bid), best(BookSide::Ask), i64::from(scale));
    }
}

impl InstrumentState {
    /// Tells who reads the best prices, if anybody does. Called wherever the book has changed, or whether
    /// it is trusted.
    #[inline]
    pub(crate) fn publish_touch(&self) {
        if let Some(touch) = &self.touch {
            let book = self.book.as_ref().and_then(|feed| feed.synced.book());
            touch.publish(book, self.instrument.price_scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn what_is_read_is_what_was_written() {
        let cell = TouchCell::default();
        assert_eq!(cell.read(), None);
        cell.write(9_950, 10_050, 2);
        let of = |text: &str| Some(Decimal::from_str_exact(text).unwrap());
        let found = cell.read().unwrap();
        assert_eq!((found.bid, found.ask), (of("99.50"), of("100.50")));
        assert_eq!(found.last, of("100.00"));
        cell.write(9_950, NONE, 2);
        let found = cell.read().unwrap();
        assert_eq!(
            (found.bid, found.ask, found.last),
            (of("99.50"), None, None)
        );
        let writer = TouchWriter(Arc::new(cell));
        let cell = writer.cell();
        drop(writer);
        assert_eq!(cell.read(), None);
    }

    #[test]
    fn no_reader_sees_half_of_a_change() {
        let cell = Arc::new(TouchCell::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let reader = {
            let (cell, is_over) = (cell.clone(), is_over.clone());
            std::thread::spawn(move || {
                let mut seen = 0u64;
                while !is_over.load(Ordering::Relaxed) {
                    if let Some(found) = cell.read() {
                        let (bid, ask) = (found.bid.unwrap(), found.ask.unwrap());
                        assert_eq!(ask - bid, Decimal::ONE);
                        seen += 1;
                    }
                }
                seen
            })
        };
        for number in 0..300_000i64 {
            match number % 7 {
                0 => cell.write(NONE, NONE, EMPTY),
                _ => cell.write(number * 100, (number + 1) * 100, 2),
            }
        }
        // It has to have seen something, or nothing was shown.
        cell.write(100, 200, 2);
        std::thread::sleep(std::time::Duration::from_millis(20));
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    }
}
