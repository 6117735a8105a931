//! Frames of Binance's streams.

use std::cell::RefCell;

use bookwire_engine::event::{BookDelta, BookLevel, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::Decoder as _;
use bookwire_engine::exchange::binance::stream::StreamDecoder;
use bookwire_engine::instrument::{InstrumentId, Market};

/// An event that owns its levels.
#[derive(Debug, PartialEq)]
enum Seen {
    Book(
        InstrumentId,
        BookDelta<'static>,
        Vec<BookLevel>,
        Vec<BookLevel>,
    ),
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
                Seen::Book(
                    id,
                    BookDelta {
                        bids: &[],
                        asks: &[],
                        ..delta
                    },
                    bids,
                    asks,
                )
            }
            Event::BookImage(_) => panic!("Binance sends no images"),
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

thread_local! {
    // Decoders live as long as connections do: what one frame leaves behind must not reach another.
    static DECODERS: RefCell<Vec<(Market, StreamDecoder)>> = const { RefCell::new(Vec::new()) };
}

/// The fast way takes a frame only where the thorough one agrees on every event, a frame it does not
/// take has delivered nothing, and the whole decoder does what the thorough way does.
pub fn check(market: Market, frame: &[u8]) {
    DECODERS.with_borrow_mut(|all| {
        let at = match all.iter().position(|(of, _)| *of == market) {
            Some(at) => at,
            None => {
                all.push((market, StreamDecoder::new(market, crate::table(market))));
                all.len() - 1
            }
        };
        compare(&mut all[at].1, frame);
    });
}

fn compare(decoder: &mut StreamDecoder, frame: &[u8]) {
    let (mut fast, mut slow, mut both) = (Keep::default(), Keep::default(), Keep::default());
    let was_taken = decoder.decode_compact(frame, &mut fast);
    let answer = decoder.decode_any(frame, &mut slow);
    if was_taken {
        assert_eq!(answer, Ok(()), "only the fast way took the frame");
        assert_eq!(fast.0, slow.0, "the two ways differ");
    } else {
        assert!(fast.0.is_empty(), "a part was delivered");
    }
    assert_eq!(decoder.decode(frame, &mut both), answer);
    assert_eq!(both.0, slow.0);
    for seen in &slow.0 {
        if let Seen::Book(_, _, bids, asks) = seen {
            assert!(
                bids.iter()
                    .chain(asks)
                    .all(|row| row.price.0 >= 0 && row.qty.0 >= 0)
            );
        }
    }
}
