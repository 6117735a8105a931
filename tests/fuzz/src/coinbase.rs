//! Frames of Coinbase's streams.

use std::sync::Arc;

use bookwire_engine::event::{BookLevel, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::coinbase::stream::StreamDecoder;
use bookwire_engine::exchange::{Decoder as _, Exchange as _, ProviderId, coinbase::Coinbase};
use bookwire_engine::instrument::{InstrumentId, InstrumentTable, Market};
use serde_json::json;

/// What a frame delivered.
#[derive(Default)]
struct Keep {
    /// Events as text: enough to compare them.
    told: Vec<String>,
    skipped: Vec<Skipped>,
}

impl EventSink for Keep {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        match event {
            Event::Book(delta) => levels(delta.bids, delta.asks),
            Event::BookImage(image) => {
                levels(image.bids, image.asks);
                let is_held = |level: &BookLevel| level.qty.0 > 0;
                assert!(image.bids.iter().chain(image.asks).all(is_held));
                assert!(image.bids.is_sorted_by(|a, b| a.price >= b.price));
                assert!(image.asks.is_sorted_by(|a, b| a.price <= b.price));
            }
            _ => {}
        }
        self.told.push(format!("{id:?} {event:?}"));
    }

    fn control(&mut self, control: Control) {
        self.told.push(format!("{control:?}"));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.skipped.push(kind);
    }
}

fn levels(bids: &[BookLevel], asks: &[BookLevel]) {
    let is_number = |level: &BookLevel| level.price.0 >= 0 && level.qty.0 >= 0;
    assert!(bids.iter().chain(asks).all(is_number));
}

fn table() -> Arc<InstrumentTable> {
    let row = |product: &str, tick: &str, lot: &str| {
        let (base, quote) = product.split_once('-').expect("a product");
        json!({
            "product_id": product, "product_type": "SPOT", "base_currency_id": base,
            "quote_currency_id": quote, "price_increment": tick, "base_increment": lot,
            "status": "online",
        })
    };
    let rows = [
        row("BTC-USD", "0.01", "0.00000001"),
        row("SHIB-USD", "0.00000001", "1"),
    ];
    let body = json!({ "products": rows }).to_string().into_bytes();
    let (specs, _) = Coinbase
        .parse_instruments(Market::Spot, &[body])
        .expect("the list is one");
    Arc::new(InstrumentTable::default().with_market(ProviderId::COINBASE, Market::Spot, specs))
}

/// Two decoders that know nothing agree; a frame that was counted is dropped the second time, and a
/// frame that was not counted delivers the same again.
pub fn check(frame: &[u8]) {
    let table = table();
    let mut first = StreamDecoder::new(Arc::clone(&table));
    let mut other = StreamDecoder::new(table);
    let (mut one, mut two, mut again) = (Keep::default(), Keep::default(), Keep::default());
    let answer = first.decode(frame, &mut one);
    assert_eq!(other.decode(frame, &mut two), answer);
    assert_eq!((&one.told, &one.skipped), (&two.told, &two.skipped));
    let repeated = first.decode(frame, &mut again);
    if again.skipped == [Skipped::Duplicate] && again.told.is_empty() {
        assert_eq!(repeated, Ok(()));
    } else {
        assert_eq!(repeated, answer);
        assert_eq!(again.told, one.told);
    }
    let _ = Coinbase.message_symbol(Market::Spot, frame);
    let _ = Coinbase.recorded(None, frame);
}
