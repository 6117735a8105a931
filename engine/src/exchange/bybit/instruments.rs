//! Bybit's instrument lists to ours.
//!
//! Source: `docs/v5/market/instrument` of the exchange's documentation repository (2026-07-24).
//!
//! A contract's multiplier stands in its base coin and nowhere else, before the name or behind it:
//! `1000PEPEUSDT` has the base coin `1000PEPE`, `SHIB1000USDT` has `SHIB1000`. One unit of quantity
//! is one unit of that base coin, so that the contract size is 1 and the code keeps the exchange's
//! spelling (`shib1000usdt`). The number is not read out of the text: `10000SATS` may be a thousand
//! of something elsewhere, and `1INCH` is a coin.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::{DecodeError, ParsedInstruments, ProviderId};
use crate::instrument::{InstrumentSpec, Market};
use crate::num::{from_decimal, scale_of_step};
use crate::time::TsNanos;

use super::answer;

/// Decimals that prices and quantities may have where the steps now in force have fewer: orders
/// and bars from before a change of the steps keep theirs.
const DIGITS_MAX: u8 = 8;
/// How many times the largest order a level or a day's volume may be.
const QTY_HEADROOM: Decimal = Decimal::from_parts(10_000, 0, 0, false, 0);
/// How many steps a price may be where the exchange tells no largest one: spot pairs stand at
/// some thousands to ten millions of steps.
const PRICE_STEPS_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    // Rows are read one by one, so that one that can't be read does not take the others along.
    #[serde(borrow)]
    list: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cursor<'a> {
    #[serde(default)]
    list: Vec<serde::de::IgnoredAny>,
    #[serde(borrow)]
    next_page_cursor: Option<Cow<'a, str>>,
}

/// A row of `list`; fields of both markets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymbolRow<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    base_coin: Cow<'a, str>,
    #[serde(borrow)]
    quote_coin: Cow<'a, str>,
    price_filter: PriceFilter,
    lot_size_filter: LotSizeFilter,
    contract_type: Option<String>,
    settle_coin: Option<String>,
    launch_time: Option<String>,
    leverage_filter: Option<LeverageFilter>,
    /// Minutes.
    funding_interval: Option<u32>,
    margin_trading: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceFilter {
    tick_size: String,
    max_price: Option<String>,
}

/// The keys differ by market.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LotSizeFilter {
    base_precision: Option<String>,
    qty_step: Option<String>,
    min_order_qty: Option<String>,
    max_order_qty: Option<String>,
    max_limit_order_qty: Option<String>,
    min_order_amt: Option<String>,
    min_notional_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeverageFilter {
    max_leverage: String,
}

/// The cursor of the page that follows; `None` after the last one.
pub(super) fn next_cursor(body: &[u8]) -> Option<String> {
    let page: Cursor<'_> = answer::result(body, "list").ok()?;
    // A page without rows is the end, whatever cursor stands in it.
    let cursor = page.next_page_cursor.filter(|_| !page.list.is_empty())?;
    (!cursor.is_empty()).then(|| cursor.into_owned())
}

/// Instruments out of the pages of a list, and how many rows were left out for which reason.
pub(super) fn parse(market: Market, bodies: &[Vec<u8>]) -> Result<ParsedInstruments, DecodeError> {
    let mut specs = Vec::new();
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for body in bodies {
        let page: Page<'_> = answer::result(body, "list")?;
        for raw in page.list {
            let spec = serde_json::from_str::<SymbolRow<'_>>(raw.get())
                .map_err(|_| "row can't be read".to_owned())
                .and_then(|row| row.spec(market));
            match spec {
                Ok(spec) => specs.push(spec),
                Err(reason) => *left_out.entry(reason).or_default() += 1,
            }
        }
    }
    Ok((specs, left_out.into_iter().collect()))
}

impl SymbolRow<'_> {
    /// The instrument, or why it is left out.
    fn spec(&self, market: Market) -> Result<InstrumentSpec, String> {
        let is_perp = market == Market::Perp;
        if is_perp {
            match self.contract_type.as_deref() {
                Some("LinearPerpetual") => {}
                Some("") | None => return Err("contract type not given".to_owned()),
                Some(other) => return Err(format!("contract type {other}")),
            }
        }
        if [&self.symbol, &self.base_coin, &self.quote_coin]
            .iter()
            .any(|text| text.is_empty())
        {
            return Err("symbol or coin is empty".to_owned());
        }
        let lot = &self.lot_size_filter;
        let price_step = step(Some(&self.price_filter.tick_size)).ok_or("no price step")?;
        let qty_step = match market {
            Market::Spot => step(lot.base_precision.as_ref()),
            Market::Perp => step(lot.qty_step.as_ref()),
        }
        .ok_or("no quantity step")?;
        let max_qty = match market {
            // `maxOrderQty` is the older name of the same on spot.
            Market::Spot => {
                rule(lot.max_limit_order_qty.as_ref()).or_else(|| rule(lot.max_order_qty.as_ref()))
            }
            Market::Perp => rule(lot.max_order_qty.as_ref()),
        };
        let max_price = rule(self.price_filter.max_price.as_ref())
            .or_else(|| price_step.checked_mul(PRICE_STEPS_MAX));
        Ok(InstrumentSpec {
            provider: ProviderId::BYBIT,
            exchange: "bybit".to_owned(),
            market,
            native_symbol: self.symbol.clone().into_owned(),
            base_symbol: self.base_coin.clone().into_owned(),
            quote_symbol: self.quote_coin.clone().into_owned(),
            settlement_symbol: is_perp.then(|| {
                let coin = self.settle_coin.as_deref().filter(|coin| !coin.is_empty());
                coin.unwrap_or(&self.quote_coin).to_owned()
            }),
            price_step,
            qty_step,
            bar_levels: None,
            price_digits: digits_within(max_price, Decimal::ONE),
            qty_digits: digits_within(max_qty, QTY_HEADROOM),
            min_qty: rule(lot.min_order_qty.as_ref()),
            max_qty,
            min_notional: match market {
                Market::Spot => rule(lot.min_order_amt.as_ref()),
                Market::Perp => rule(lot.min_notional_value.as_ref()),
            },
            // Shown to a key only.
            maker_fee: None,
            taker_fee: None,
            is_active: self.status == "Trading",
            // `none` and, while the pool of loans is empty, temporarily so.
            margin_enabled: is_perp
                || matches!(self.margin_trading.as_deref(), Some("both" | "utaOnly")),
            list_date: self.launch_time.as_deref().and_then(date),
            contract_size: Decimal::ONE,
            max_leverage: self.leverage_filter.as_ref().and_then(|filter| {
                let most = rule(Some(&filter.max_leverage))?;
                // Halves exist (12.50): what is asked for in whole numbers can't exceed it.
                most.trunc().to_u32()
            }),
            native_code: None,
            funding_interval_hours: match self.funding_interval {
                Some(minutes) if is_perp && minutes >= 60 => Some(minutes / 60),
                _ => None,
            },
        })
    }
}

fn decimal(text: Option<&String>) -> Option<Decimal> {
    Decimal::from_str_exact(text?).ok()
}

/// A step; it has to be above 0.
fn step(text: Option<&String>) -> Option<Decimal> {
    rule(text).filter(|step| scale_of_step(*step) <= 18)
}

/// A bound; 0 and empty text mean that there is none.
fn rule(text: Option<&String>) -> Option<Decimal> {
    decimal(text)
        .filter(|value| *value > Decimal::ZERO)
        .map(|value| value.normalize())
}

/// A time in milliseconds as text.
fn date(text: &str) -> Option<TsNanos> {
    let ms: i64 = text.parse().ok()?;
    (ms > 0).then(|| TsNanos::from_ms(ms))
}

/// Digits after the point, at most [`DIGITS_MAX`], at which `max` × `headroom` fits a mantissa.
fn digits_within(max: Option<Decimal>, headroom: Decimal) -> u8 {
    let Some(largest) = max.and_then(|max| max.checked_mul(headroom)) else {
        return 0;
    };
    (0..=DIGITS_MAX)
        .rev()
        .find(|&digits| from_decimal(largest.trunc(), digits).is_ok())
        .unwrap_or(0)
}
