//! OKX's adapter against documented messages, recordings, and an obvious reference.

mod captures;
mod failures;
mod instruments;
mod orders;
mod private;
mod property;
mod reference;
mod reports;
mod rest;
mod socket;
mod trading;
mod vectors;

use std::sync::Arc;

use crate::event::{BookLevel, Control, Event, EventSink, Skipped};
use crate::exchange::{DecodeError, Decoder, ProviderId};
use crate::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use crate::num::fixed_to_string;

use super::instruments::parse;
use super::stream::StreamDecoder;

/// A row of a list, with what the tests' instruments need.
const SPOT: &str = r#"{"code":"0","msg":"","data":[
    {"instType":"SPOT","instId":"BTC-USDT","baseCcy":"BTC","quoteCcy":"USDT","ctVal":"","ctMult":"",
     "settleCcy":"","tickSz":"0.1","lotSz":"0.00000001","minSz":"0.00001","lever":"10",
     "maxLmtSz":"9999999999","state":"live","listTime":"1548133413000"}]}"#;
/// The row of the documentation, shortened.
const SWAP: &str = r#"{"code":"0","msg":"","data":[
    {"alias":"","baseCcy":"","ctMult":"1","ctType":"linear","ctVal":"0.01","ctValCcy":"BTC",
     "instFamily":"BTC-USDT","instId":"BTC-USDT-SWAP","instType":"SWAP","lever":"100",
     "listTime":"1573557408000","lotSz":"0.01","maxLmtSz":"100000000","minSz":"0.01","quoteCcy":"",
     "settleCcy":"USDT","state":"live","tickSz":"0.1","uly":"BTC-USDT"}]}"#;

fn table_of(market: Market, list: &str) -> Arc<InstrumentTable> {
    let (specs, left_out) = parse(market, &[list.as_bytes().to_vec()]).unwrap();
    assert_eq!(left_out, []);
    Arc::new(InstrumentTable::default().with_market(ProviderId::OKX, market, specs))
}

/// A table with one instrument: `BTC-USDT`, `BTC-USDT-SWAP`.
fn table(market: Market) -> Arc<InstrumentTable> {
    table_of(
        market,
        match market {
            Market::Spot => SPOT,
            Market::Perp => SWAP,
        },
    )
}

fn instrument(market: Market) -> Arc<Instrument> {
    Arc::clone(table(market).iter().next().unwrap())
}

/// What a decoder delivered, in text that a test can spell out.
#[derive(Default)]
struct Seen {
    table: Arc<InstrumentTable>,
    told: Vec<String>,
}

impl Seen {
    fn levels(instrument: &Instrument, levels: &[BookLevel]) -> String {
        let text = |level: &BookLevel| {
            format!(
                "{}x{}",
                fixed_to_string(level.price.0, instrument.price_scale),
                fixed_to_string(level.qty.0, instrument.qty_scale)
            )
        };
        levels.iter().map(text).collect::<Vec<_>>().join(" ")
    }
}

impl EventSink for Seen {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        let it = Arc::clone(self.table.get(id).unwrap());
        let name = &it.spec.native_symbol;
        let price = |price: crate::num::Price| fixed_to_string(price.0, it.price_scale);
        let qty = |qty: crate::num::Qty| fixed_to_string(qty.0, it.qty_scale);
        let e8 = |number: i64| fixed_to_string(number, 8);
        let text = match event {
            Event::Book(delta) => {
                assert_eq!(delta.first_seq, delta.last_seq);
                format!(
                    "{name} delta {:?}->{} at {}: {} / {}",
                    delta.prev_seq.unwrap(),
                    delta.last_seq,
                    delta.ts_event.as_ms(),
                    Self::levels(&it, delta.bids),
                    Self::levels(&it, delta.asks)
                )
            }
            Event::BookImage(image) => format!(
                "{name} image {} at {}: {} / {}",
                image.seq,
                image.ts_event.as_ms(),
                Self::levels(&it, image.bids),
                Self::levels(&it, image.asks)
            ),
            Event::Trade(trade) => format!(
                "{name} trade {:?} {} {} {} at {}{}",
                trade.trade_id,
                trade.taker_side.as_str(),
                qty(trade.qty),
                price(trade.price),
                trade.ts_event.as_ms(),
                if trade.is_aggregate { " aggregate" } else { "" }
            ),
            Event::Kline(bar) => format!(
                "{name} {} bar {}: {} {} {} {} volume {} value {:?} {}",
                bar.level,
                bar.open_time.as_ms(),
                price(bar.open),
                price(bar.high),
                price(bar.low),
                price(bar.close),
                qty(bar.volume),
                bar.volume_quote,
                if bar.is_closed { "closed" } else { "open" }
            ),
            Event::Ticker(ticker) => format!(
                "{name} ticker {} / {}",
                Self::levels(&it, &[ticker.bid]),
                Self::levels(&it, &[ticker.ask])
            ),
            Event::Funding(funding) => format!(
                "{name} funding {:?} mark {} index {:?} next {:?} at {}",
                funding.rate.map(|rate| fixed_to_string(rate, 12)),
                e8(funding.mark_price),
                funding.index_price.map(e8),
                funding.next_funding_time.map(|time| time.as_ms()),
                funding.ts_event.as_ms()
            ),
        };
        self.told.push(text);
    }

    fn control(&mut self, control: Control) {
        self.told.push(format!("{control:?}"));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.told.push(format!("skipped {kind:?}"));
    }
}

/// A decoder with its table and what it delivered.
struct Bench {
    decoder: StreamDecoder,
    seen: Seen,
}

impl Bench {
    fn new(market: Market) -> Self {
        Self::with(market, table(market))
    }

    fn with(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            decoder: StreamDecoder::new(market, Arc::clone(&table)),
            seen: Seen {
                table,
                told: Vec::new(),
            },
        }
    }

    /// What a frame delivers.
    fn frame(&mut self, frame: &str) -> Result<Vec<String>, DecodeError> {
        self.seen.told.clear();
        self.decoder.decode(frame.as_bytes(), &mut self.seen)?;
        Ok(std::mem::take(&mut self.seen.told))
    }

    /// What a frame delivers that delivers one thing.
    fn one(&mut self, frame: &str) -> String {
        let mut told = self.frame(frame).unwrap();
        assert_eq!(told.len(), 1, "{frame}: {told:?}");
        told.remove(0)
    }
}
