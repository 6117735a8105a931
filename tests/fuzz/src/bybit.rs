//! Frames of Bybit's streams, one after another on a connection, and its REST answers.

use bookwire_engine::event::{BookDelta, BookImage, BookLevel, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::bybit::Bybit;
use bookwire_engine::exchange::{Exchange as _, ProviderId};
use bookwire_engine::instrument::{InstrumentId, Market};
use bookwire_engine::time::{Level, TsNanos};

/// An event that owns its levels.
#[derive(Debug, PartialEq)]
enum Seen {
    Book(InstrumentId, Event<'static>, Vec<BookLevel>, Vec<BookLevel>),
    Event(InstrumentId, Event<'static>),
    Control(Control),
    Skipped(Skipped),
}

#[derive(Default)]
struct Keep(Vec<Seen>);

impl EventSink for Keep {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        self.0.push(match event {
            Event::Book(delta) => {
                let (bids, asks) = (delta.bids.to_vec(), delta.asks.to_vec());
                let delta = BookDelta {
                    bids: &[],
                    asks: &[],
                    ..delta
                };
                Seen::Book(id, Event::Book(delta), bids, asks)
            }
            Event::BookImage(image) => {
                let (bids, asks) = (image.bids.to_vec(), image.asks.to_vec());
                let image = BookImage {
                    bids: &[],
                    asks: &[],
                    ..image
                };
                Seen::Book(id, Event::BookImage(image), bids, asks)
            }
            Event::Trade(trade) => Seen::Event(id, Event::Trade(trade)),
            Event::Kline(kline) => Seen::Event(id, Event::Kline(kline)),
            Event::Ticker(ticker) => Seen::Event(id, Event::Ticker(ticker)),
            Event::Funding(funding) => Seen::Event(id, Event::Funding(funding)),
        });
    }

    fn control(&mut self, control: Control) {
        self.0.push(Seen::Control(control));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.0.push(Seen::Skipped(kind));
    }
}

/// The first byte picks the market, every line is a frame.
///
/// A frame that is refused leaves no trace: the frames after it say what they say on a connection
/// on which it never came. A frame is read or refused, never passed over in silence, and a book that
/// is refused delivers no part of itself.
pub fn check(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let market = [Market::Spot, Market::Perp][usize::from(first % 2)];
    answers(market, rest);
    let table = crate::table_of(ProviderId::BYBIT, market);
    let mut all = Bybit.decoder(market, table.clone());
    let mut sound = Bybit.decoder(market, table.clone());
    for frame in rest.split(|byte| *byte == b'\n') {
        let _ = Bybit.message_symbol(market, frame);
        let mut seen = Keep::default();
        let answer = all.decode(frame, &mut seen);
        let is_book = |seen: &Seen| matches!(seen, Seen::Book(..));
        if answer.is_err() {
            assert!(
                !seen.0.iter().any(is_book),
                "a part of a book was delivered"
            );
            continue;
        }
        let mut again = Keep::default();
        assert_eq!(sound.decode(frame, &mut again), Ok(()));
        assert_eq!(again.0, seen.0, "a refused frame left a trace");
        for seen in &seen.0 {
            match seen {
                Seen::Book(id, _, bids, asks) => {
                    assert!(table.get(*id).is_some());
                    let mut levels = bids.iter().chain(asks);
                    assert!(levels.all(|row| row.price.0 >= 0 && row.qty.0 >= 0));
                }
                Seen::Event(id, _) => assert!(table.get(*id).is_some()),
                Seen::Control(_) | Seen::Skipped(_) => {}
            }
        }
    }
}

/// Answers come ascending, or are refused.
fn answers(market: Market, body: &[u8]) {
    let table = crate::table_of(ProviderId::BYBIT, market);
    let row = table.iter().next().expect("the table has rows");
    let now = TsNanos(1_700_000_000_000_000_000);
    let is_failure = Bybit.body_failure(market, body).is_some();
    let _ = Bybit.recorded(None, body);
    let _ = Bybit.rest_failure(market, 403, None, body);
    let _ = Bybit.next_instrument_request(market, body);
    let _ = Bybit.parse_time(body);
    let mut read = 0;
    if let Ok(bars) = Bybit.parse_klines(row, Level::M1, &mut body.to_vec(), now) {
        assert!(bars.is_sorted_by_key(|bar| bar.open_time));
        read += 1;
    }
    if let Ok(trades) = Bybit.parse_trades(row, &mut body.to_vec()) {
        assert!(trades.is_sorted_by_key(|trade| trade.ts_event));
        read += 1;
    }
    if let Ok(rows) = Bybit.parse_funding(row, &mut body.to_vec()) {
        assert!(rows.is_sorted_by_key(|row| row.time));
        read += 1;
    }
    if Bybit.parse_snapshot(row, &mut body.to_vec()).is_ok() {
        read += 1;
    }
    if let Ok((specs, _)) = Bybit.parse_instruments(market, &[body.to_vec()]) {
        assert!(specs.iter().all(|spec| !spec.price_step.is_zero()));
        read += 1;
    }
    assert!(!is_failure || read == 0, "a failure was read as an answer");
}
