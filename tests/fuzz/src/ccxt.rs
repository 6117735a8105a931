//! What the bridge to ccxt says.

use bookwire_engine::event::{BookLevel, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::{Exchange as _, ProviderId, ccxt::Ccxt};
use bookwire_engine::instrument::{InstrumentId, Market};

/// What a frame delivered, as text: enough to compare.
#[derive(Debug, Default, PartialEq)]
struct Keep(Vec<String>);

impl EventSink for Keep {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        match &event {
            Event::Book(delta) => levels(delta.bids, delta.asks),
            Event::BookImage(image) => levels(image.bids, image.asks),
            Event::Trade(trade) => assert!(trade.price.0 >= 0 && trade.qty.0 >= 0),
            Event::Kline(_) | Event::Ticker(_) | Event::Funding(_) => {}
        }
        self.0.push(format!("{id:?} {event:?}"));
    }

    fn control(&mut self, control: Control) {
        self.0.push(format!("{control:?}"));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.0.push(format!("{kind:?}"));
    }
}

fn levels(bids: &[BookLevel], asks: &[BookLevel]) {
    let is_number = |level: &BookLevel| level.price.0 >= 0 && level.qty.0 >= 0;
    assert!(bids.iter().chain(asks).all(is_number));
}

/// The first byte chooses the market. Two decoders agree, a frame means the same the second time,
/// and a book that can't be read whole is not delivered at all.
pub fn check(data: &[u8]) {
    let Some((choice, frame)) = data.split_first() else {
        return;
    };
    let market = [Market::Spot, Market::Perp][usize::from(choice % 2)];
    let table = crate::table_of(ProviderId::CCXT, market);
    let mut decoder = Ccxt.decoder(market, table.clone());
    let (mut one, mut two) = (Keep::default(), Keep::default());
    let answer = decoder.decode(frame, &mut one);
    assert_eq!(decoder.decode(frame, &mut two), answer);
    assert_eq!(one, two);
    let mut other = Keep::default();
    assert_eq!(
        Ccxt.decoder(market, table).decode(frame, &mut other),
        answer
    );
    assert_eq!(one, other);
    let has_book = one.0.iter().any(|told| told.contains(" Book"));
    assert!(answer.is_ok() || !has_book, "part of a book was delivered");
}
