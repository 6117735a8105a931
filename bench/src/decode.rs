//! `decode`: raw frames to normalised events, nanoseconds a level and a trade.
//!
//! Every contender reads the same bytes in the same run. bookwire decodes in place, as a live
//! connection does; the floor is a copy of the frame.

use anyhow::{Result, anyhow};
use bookwire_engine::event::{Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::{Decoder, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::captures::{Capture, DIGITS};
use crate::report::{Contender, Report, duel};

/// Adds up what it sees, so that decoding can't be optimised away.
#[derive(Default)]
pub struct Sum(pub u64);

impl EventSink for Sum {
    fn event(&mut self, _: InstrumentId, event: Event<'_>) {
        match event {
            Event::Book(delta) => {
                for level in delta.bids.iter().chain(delta.asks) {
                    self.0 = self
                        .0
                        .wrapping_add(level.price.0 as u64 ^ level.qty.0 as u64);
                }
                self.0 = self.0.wrapping_add(delta.last_seq);
            }
            Event::Trade(trade) => {
                self.0 = self
                    .0
                    .wrapping_add(trade.price.0 as u64 ^ trade.qty.0 as u64);
            }
            _ => {}
        }
    }

    fn control(&mut self, _: Control) {}

    fn skipped(&mut self, _: Skipped) {}
}

/// A table with the recording's one instrument, as the adapter makes it.
pub fn table(capture: &Capture) -> InstrumentTable {
    let (base, quote) = capture.symbol.split_at(3);
    let spec = InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market: capture.market,
        native_symbol: capture.symbol.to_owned(),
        base_symbol: base.to_owned(),
        quote_symbol: quote.to_owned(),
        settlement_symbol: None,
        price_step: Decimal::new(1, u32::from(capture.scales.0)),
        qty_step: Decimal::new(1, u32::from(capture.scales.1)),
        bar_levels: None,
        price_digits: DIGITS,
        qty_digits: DIGITS,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    };
    InstrumentTable::default().with_market(ProviderId::BINANCE, capture.market, vec![spec])
}

/// bookwire's decoder for a recording.
pub fn decoder(capture: &Capture) -> Box<dyn Decoder> {
    ProviderId::BINANCE
        .exchange()
        .decoder(capture.market, table(capture).into())
}

/// Decodes all frames once.
pub fn decode_all(
    decoder: &mut dyn Decoder,
    frames: &[Vec<u8>],
    sink: &mut dyn EventSink,
) -> Result<()> {
    for frame in frames {
        decoder
            .decode(frame, sink)
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

/// A combined frame in the plainest typed form: what most programs do.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    data: TypedDepth<'a>,
}

#[derive(Deserialize)]
struct TypedDepth<'a> {
    u: u64,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    a: Vec<[&'a str; 2]>,
}

fn typed_sum(frames: &[Vec<u8>]) -> u64 {
    let mut sum = 0u64;
    for frame in frames {
        let Ok(typed) = serde_json::from_slice::<Typed<'_>>(frame) else {
            return 0;
        };
        for [price, qty] in typed.data.b.iter().chain(&typed.data.a) {
            let number = |text: &str| text.parse::<f64>().map_or(0, f64::to_bits);
            sum = sum.wrapping_add(number(price) ^ number(qty));
        }
        sum = sum.wrapping_add(typed.data.u);
    }
    sum
}

/// The digits alone, where the processor has AVX2; they have to be the levels that bookwire reads.
#[cfg(target_arch = "x86_64")]
fn scanner(capture: &Capture) -> Result<Option<Contender<'_>>> {
    use crate::scanner::{Scanned, Scanner};
    let Some(scanner) = Scanner::new(DIGITS) else {
        return Ok(None);
    };
    let scan = move || {
        let mut found = Scanned::default();
        let mut frames = capture.depth.iter();
        match frames.all(|frame| scanner.frame(frame, &mut found).is_some()) {
            true => found,
            false => Scanned::default(),
        }
    };
    let mut theirs = Levels::default();
    decode_all(&mut *decoder(capture), &capture.depth, &mut theirs)?;
    anyhow::ensure!(
        (theirs.0.levels, theirs.0.sum) == (scan().levels, scan().sum),
        "{}: the scanner does not read what bookwire reads",
        capture.name
    );
    let name = "floor: AVX2, the digits alone, nothing checked";
    Ok(Some((name.to_owned(), Box::new(move || scan().sum))))
}

/// Adds up levels, as the scanner does.
#[cfg(target_arch = "x86_64")]
#[derive(Default)]
struct Levels(crate::scanner::Scanned);

#[cfg(target_arch = "x86_64")]
impl EventSink for Levels {
    fn event(&mut self, _: InstrumentId, event: Event<'_>) {
        if let Event::Book(delta) = event {
            for level in delta.bids.iter().chain(delta.asks) {
                self.0.levels += 1;
                let both = level.price.0 as u64 ^ level.qty.0 as u64;
                self.0.sum = self.0.sum.wrapping_add(both);
            }
        }
    }

    fn control(&mut self, _: Control) {}

    fn skipped(&mut self, _: Skipped) {}
}

/// Runs the scenario.
pub fn run(captures: &[Capture], turns: usize) -> Result<Report> {
    let mut report = Report::new(
        "decode",
        "contenders take turns over the same frames; median of the turns; one core; lower is better",
    );
    for capture in captures {
        let mut ours = decoder(capture);
        // A frame that fails would make the figure meaningless.
        decode_all(&mut *ours, &capture.depth, &mut Sum::default())?;
        decode_all(&mut *ours, &capture.trades, &mut Sum::default())?;

        let mut copy = Vec::new();
        let mut contenders: Vec<Contender<'_>> = vec![
            (
                "bookwire".to_owned(),
                Box::new(move || {
                    let mut sum = Sum::default();
                    match decode_all(&mut *ours, &capture.depth, &mut sum) {
                        Ok(()) => sum.0,
                        Err(_) => 0,
                    }
                }),
            ),
            (
                "floor: copy the frame".to_owned(),
                Box::new(move || {
                    let mut sum = 1u64;
                    for frame in &capture.depth {
                        copy.clear();
                        copy.extend_from_slice(frame);
                        sum = sum.wrapping_add(u64::from(copy[copy.len() / 2]));
                    }
                    sum
                }),
            ),
            (
                "serde_json, borrowed text, f64".to_owned(),
                Box::new(|| typed_sum(&capture.depth)),
            ),
        ];
        #[cfg(target_arch = "x86_64")]
        contenders.extend(scanner(capture)?);
        #[cfg(feature = "peers")]
        contenders.extend(crate::peers::depth_decoders(capture));
        let figures = duel(&mut contenders, capture.levels, turns);
        report.add(&format!("{} depth", capture.name), "ns/level", figures);

        let mut ours = decoder(capture);
        let mut contenders: Vec<Contender<'_>> = vec![(
            "bookwire".to_owned(),
            Box::new(move || {
                let mut sum = Sum::default();
                match decode_all(&mut *ours, &capture.trades, &mut sum) {
                    Ok(()) => sum.0,
                    Err(_) => 0,
                }
            }),
        )];
        contenders.push((
            "serde_json::Value".to_owned(),
            Box::new(|| {
                let mut sum = 0u64;
                for frame in &capture.trades {
                    let value: serde_json::Value =
                        serde_json::from_slice(frame).unwrap_or_default();
                    sum = sum.wrapping_add(value["data"]["t"].as_u64().unwrap_or(0));
                }
                sum
            }),
        ));
        #[cfg(feature = "peers")]
        contenders.extend(crate::peers::trade_decoders(capture));
        let figures = duel(&mut contenders, capture.trades.len(), turns);
        report.add(&format!("{} trades", capture.name), "ns/trade", figures);
    }
    Ok(report)
}
