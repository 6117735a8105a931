//! Frames of OKX's channels. The first byte chooses the market, the rest is the frame.

use std::sync::Arc;

use bookwire_engine::event::{BookLevel, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::Decoder as _;
use bookwire_engine::exchange::okx::Okx;
use bookwire_engine::exchange::okx::stream::StreamDecoder;
use bookwire_engine::exchange::{Exchange as _, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentTable, Market};

const SPOT: &str = r#"{"code":"0","data":[{"instType":"SPOT","instId":"BTC-USDT","baseCcy":"BTC",
    "quoteCcy":"USDT","tickSz":"0.1","lotSz":"0.00000001","minSz":"0.00001","state":"live"},
    {"instType":"SPOT","instId":"SHIB-USDT","baseCcy":"SHIB","quoteCcy":"USDT",
    "tickSz":"0.000000000000001","lotSz":"1","minSz":"1","state":"live"}],"msg":""}"#;
const SWAP: &str = r#"{"code":"0","data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP","ctVal":"0.01",
    "ctMult":"1","ctType":"linear","ctValCcy":"BTC","settleCcy":"USDT","uly":"BTC-USDT",
    "tickSz":"0.1","lotSz":"0.01","minSz":"0.01","state":"live"},
    {"instType":"SWAP","instId":"PEPE-USDT-SWAP","ctVal":"10000000","ctMult":"1",
    "ctType":"linear","ctValCcy":"PEPE","settleCcy":"USDT","uly":"PEPE-USDT",
    "tickSz":"0.000000001","lotSz":"0.1","minSz":"0.1","state":"live"}],"msg":""}"#;

/// What was delivered, in text, with the levels of the last book.
#[derive(Default)]
struct Keep(Vec<String>);

impl EventSink for Keep {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        let levels: [&[BookLevel]; 2] = match event {
            Event::Book(delta) => [delta.bids, delta.asks],
            Event::BookImage(image) => [image.bids, image.asks],
            Event::Trade(trade) => {
                assert!(trade.price.0 >= 0 && trade.qty.0 >= 0);
                [&[], &[]]
            }
            _ => [&[], &[]],
        };
        let mut rows = levels.into_iter().flatten();
        assert!(rows.all(|row| row.price.0 >= 0 && row.qty.0 >= 0));
        self.0.push(format!("{id:?} {event:?}"));
    }

    fn control(&mut self, control: Control) {
        self.0.push(format!("{control:?}"));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.0.push(format!("{kind:?}"));
    }
}

fn table(market: Market) -> Arc<InstrumentTable> {
    let list = match market {
        Market::Spot => SPOT,
        Market::Perp => SWAP,
    };
    let bodies = [list.as_bytes().to_vec()];
    let (specs, left_out) = Okx
        .parse_instruments(market, &bodies)
        .expect("the list is one");
    assert!(left_out.is_empty(), "{left_out:?}");
    Arc::new(InstrumentTable::default().with_market(ProviderId::OKX, market, specs))
}

/// A frame that can be read means the same however it is written; a book that can't be read
/// delivers nothing; what one frame leaves behind does not break the next.
pub fn check(data: &[u8]) {
    let Some((choice, frame)) = data.split_first() else {
        return;
    };
    let market = match choice % 2 {
        0 => Market::Spot,
        _ => Market::Perp,
    };
    let table = table(market);
    let mut decoder = StreamDecoder::new(market, Arc::clone(&table));
    let mut first = Keep::default();
    let answer = decoder.decode(frame, &mut first);
    if answer.is_err() && holds(frame, b"\"books") {
        assert!(first.0.is_empty(), "a part of a book was delivered");
    }
    if let (Ok(()), Ok(value)) = (&answer, serde_json::from_slice::<serde_json::Value>(frame)) {
        let mut again = Keep::default();
        let mut other = StreamDecoder::new(market, table);
        let pretty = serde_json::to_string_pretty(&value).expect("it was read");
        assert_eq!(
            other.decode(pretty.as_bytes(), &mut again),
            Ok(()),
            "{pretty}"
        );
        assert_eq!(first.0, again.0);
    }
    // Whatever it did to the state, the same frame again is no harm.
    let _ = decoder.decode(frame, &mut first);
}

fn holds(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}
