//! A venue's markets as ccxt describes them.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::exchange::{DecodeError, ParsedInstruments, ProviderId};
use crate::instrument::{InstrumentSpec, Market};
use crate::num::scale_of_step;
use crate::time::{Level, TsNanos};

/// Digits that prices can have whatever the step says: ccxt's steps are those of orders, and some
/// venues' (five significant digits) are no steps at all.
const PRICE_DIGITS: u8 = 8;
/// The same for quantities. Six leave room for 9 × 10^12 coins in 64 bits.
const QTY_DIGITS: u8 = 6;

/// `{"exchange":"kraken","levels":["1m",…],"markets":[…],"left_out":{"type option":12}}`
#[derive(Deserialize)]
struct Answer {
    exchange: String,
    /// Names of levels that the venue has.
    levels: Vec<String>,
    markets: Vec<Row>,
    #[serde(default)]
    left_out: std::collections::BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Row {
    /// ccxt's own spelling: `BTC/USDT:USDT`.
    symbol: String,
    /// The venue's.
    id: String,
    base: String,
    quote: String,
    settle: Option<String>,
    active: bool,
    margin: bool,
    price_step: Option<String>,
    qty_step: Option<String>,
    min_qty: Option<String>,
    max_qty: Option<String>,
    min_notional: Option<String>,
    max_leverage: Option<String>,
    maker: Option<String>,
    taker: Option<String>,
    contract_size: Option<String>,
    created: Option<i64>,
}

fn decimal(text: Option<&String>) -> Option<Decimal> {
    text.and_then(|text| Decimal::from_str(text).ok())
}

fn positive(text: Option<&String>) -> Option<Decimal> {
    decimal(text).filter(|value| *value > Decimal::ZERO)
}

/// The smallest step that a scale of `digits` has: where a venue names none.
fn finest(digits: u8) -> Decimal {
    Decimal::new(1, u32::from(digits))
}

pub(super) fn parse(market: Market, bodies: &[Vec<u8>]) -> Result<ParsedInstruments, DecodeError> {
    let mut specs = Vec::new();
    let mut left_out: Vec<(String, usize)> = Vec::new();
    for body in bodies {
        let answer: Answer =
            serde_json::from_slice(body).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => DecodeError::Field { field: "markets" },
                _ => DecodeError::Json { at: error.column() },
            })?;
        left_out.extend(answer.left_out);
        let levels: Vec<Level> = answer
            .levels
            .iter()
            .filter_map(|name| Level::parse(name))
            .collect();
        for row in answer.markets {
            match spec(market, &answer.exchange, &levels, row) {
                Ok(spec) => specs.push(spec),
                Err(reason) => match left_out.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, count)) => *count += 1,
                    None => left_out.push((reason.to_owned(), 1)),
                },
            }
        }
    }
    Ok((specs, left_out))
}

fn spec(
    market: Market,
    exchange: &str,
    levels: &[Level],
    row: Row,
) -> Result<InstrumentSpec, &'static str> {
    let is_perp = market == Market::Perp;
    let settle = row.settle.clone().filter(|_| is_perp);
    let expected = match &settle {
        Some(settle) => format!("{}/{}:{settle}", row.base, row.quote),
        None if is_perp => return Err("no settlement asset"),
        None => format!("{}/{}", row.base, row.quote),
    };
    // Streams are asked for by this name.
    if row.symbol != expected {
        return Err("symbol is not base/quote");
    }
    let price_step = positive(row.price_step.as_ref()).unwrap_or_else(|| finest(PRICE_DIGITS));
    let qty_step = positive(row.qty_step.as_ref()).unwrap_or_else(|| finest(QTY_DIGITS));
    if scale_of_step(price_step) > 18 || scale_of_step(qty_step) > 18 {
        return Err("step finer than 18 digits");
    }
    Ok(InstrumentSpec {
        provider: ProviderId::CCXT,
        exchange: exchange.to_owned(),
        market,
        native_symbol: row.id,
        base_symbol: row.base,
        quote_symbol: row.quote,
        settlement_symbol: settle,
        price_step,
        qty_step,
        bar_levels: Some(levels.to_vec()),
        price_digits: PRICE_DIGITS,
        qty_digits: QTY_DIGITS,
        min_qty: positive(row.min_qty.as_ref()),
        max_qty: positive(row.max_qty.as_ref()),
        min_notional: positive(row.min_notional.as_ref()),
        maker_fee: decimal(row.maker.as_ref()),
        taker_fee: decimal(row.taker.as_ref()),
        is_active: row.active,
        margin_enabled: row.margin,
        list_date: row
            .created
            .and_then(|ms| ms.checked_mul(1_000_000))
            .map(TsNanos),
        contract_size: positive(row.contract_size.as_ref()).unwrap_or(Decimal::ONE),
        max_leverage: decimal(row.max_leverage.as_ref())
            .and_then(|value| u32::try_from(value.trunc().mantissa()).ok())
            .filter(|value| *value > 0),
        // It differs from instrument to instrument, and lists do not tell it.
        funding_interval_hours: None,
        native_code: None,
    })
}
