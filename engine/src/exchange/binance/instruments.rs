//! Binance's instrument lists to ours.
//!
//! Sources: spot `rest-api.md`, `filters.md`, `enums.md` (2026-07-21); USDⓈ-M exchange information
//! and funding information of the official connector 64.0.0 (2026-07-22).

use std::borrow::Cow;
use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::exchange::{DecodeError, ParsedInstruments, ProviderId};
use crate::instrument::{InstrumentSpec, Market};
use crate::num::from_decimal;
use crate::time::TsNanos;

/// A perpetual that the funding list does not name settles every eight hours.
const FUNDING_HOURS_DEFAULT: u32 = 8;

/// Binance writes no number of a market with more decimals.
const DIGITS_MAX: u8 = 8;

/// How many times the largest order a level or a day's volume may be.
const QTY_HEADROOM: Decimal = Decimal::from_parts(10_000, 0, 0, false, 0);

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    // Rows are read one by one, so that one that can't be read does not take the others along.
    #[serde(borrow)]
    symbols: Vec<&'a RawValue>,
}

/// A row of `symbols`; fields of both markets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymbolRow<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    base_asset: Cow<'a, str>,
    #[serde(borrow)]
    quote_asset: Cow<'a, str>,
    filters: Vec<Filter<'a>>,
    is_spot_trading_allowed: Option<bool>,
    is_margin_trading_allowed: Option<bool>,
    base_asset_precision: Option<u32>,
    quote_asset_precision: Option<u32>,
    contract_type: Option<Cow<'a, str>>,
    margin_asset: Option<Cow<'a, str>>,
    onboard_date: Option<u64>,
    price_precision: Option<u32>,
    quantity_precision: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(borrow)]
    filter_type: Cow<'a, str>,
    #[serde(default, deserialize_with = "decimal")]
    tick_size: Option<Decimal>,
    #[serde(default, deserialize_with = "decimal")]
    max_price: Option<Decimal>,
    #[serde(default, deserialize_with = "decimal")]
    step_size: Option<Decimal>,
    #[serde(default, deserialize_with = "decimal")]
    min_qty: Option<Decimal>,
    #[serde(default, deserialize_with = "decimal")]
    max_qty: Option<Decimal>,
    #[serde(default, deserialize_with = "decimal")]
    min_notional: Option<Decimal>,
    #[serde(default, deserialize_with = "decimal")]
    notional: Option<Decimal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FundingInfo<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    funding_interval_hours: u32,
}

/// A number as text, exactly.
fn decimal<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Decimal>, D::Error> {
    let text = Cow::<'de, str>::deserialize(input)?;
    Decimal::from_str_exact(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

/// Instruments out of `exchangeInfo` and, for perpetuals, `fundingInfo`; and how many rows were left
/// out for which reason.
pub(super) fn parse(market: Market, bodies: &[Vec<u8>]) -> Result<ParsedInstruments, DecodeError> {
    let body = bodies
        .first()
        .ok_or(DecodeError::Field { field: "symbols" })?;
    let info: ExchangeInfo<'_> = read(body, "symbols")?;
    let intervals: BTreeMap<Cow<'_, str>, u32> = match bodies.get(1) {
        Some(body) => read::<Vec<FundingInfo<'_>>>(body, "fundingIntervalHours")?
            .into_iter()
            .map(|row| (row.symbol, row.funding_interval_hours))
            .collect(),
        None => BTreeMap::new(),
    };
    let mut specs = Vec::with_capacity(info.symbols.len());
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for raw in info.symbols {
        let spec = serde_json::from_str::<SymbolRow<'_>>(raw.get())
            .map_err(|_| "row can't be read".to_owned())
            .and_then(|row| row.spec(market, &intervals));
        match spec {
            Ok(spec) => specs.push(spec),
            Err(reason) => *left_out.entry(reason).or_default() += 1,
        }
    }
    Ok((specs, left_out.into_iter().collect()))
}

impl SymbolRow<'_> {
    /// The instrument, or why it is left out.
    fn spec(
        &self,
        market: Market,
        intervals: &BTreeMap<Cow<'_, str>, u32>,
    ) -> Result<InstrumentSpec, String> {
        let is_perp = market == Market::Perp;
        if is_perp {
            match self.contract_type.as_deref() {
                Some("PERPETUAL") => {}
                Some("") | None => return Err("contract type not given".to_owned()),
                Some(other) => return Err(format!("contract type {other}")),
            }
        }
        if self.symbol.is_empty() || self.base_asset.is_empty() || self.quote_asset.is_empty() {
            return Err("symbol or asset is empty".to_owned());
        }
        let (price_digits, qty_digits) = match market {
            Market::Spot => (self.quote_asset_precision, self.base_asset_precision),
            Market::Perp => (self.price_precision, self.quantity_precision),
        };
        let lot = self.filter(&["LOT_SIZE"]);
        let tick = self
            .filter(&["PRICE_FILTER"])
            .and_then(|filter| filter.tick_size);
        let price_step = step(tick, price_digits).ok_or("no price step")?;
        let qty_step =
            step(lot.and_then(|filter| filter.step_size), qty_digits).ok_or("no quantity step")?;
        let notional = self.filter(&["NOTIONAL", "MIN_NOTIONAL"]);
        let is_trading = self.status == "TRADING";
        Ok(InstrumentSpec {
            provider: ProviderId::BINANCE,
            exchange: "binance".to_owned(),
            market,
            native_symbol: self.symbol.clone().into_owned(),
            base_symbol: self.base_asset.clone().into_owned(),
            quote_symbol: self.quote_asset.clone().into_owned(),
            settlement_symbol: match market {
                Market::Spot => None,
                Market::Perp => {
                    let asset = self.margin_asset.as_ref().unwrap_or(&self.quote_asset);
                    Some(asset.clone().into_owned())
                }
            },
            price_step,
            qty_step,
            bar_levels: None,
            price_digits: digits_within(self.price_max(), Decimal::ONE),
            qty_digits: digits_within(rule(lot.and_then(|lot| lot.max_qty)), QTY_HEADROOM),
            min_qty: rule(lot.and_then(|filter| filter.min_qty)),
            max_qty: rule(lot.and_then(|filter| filter.max_qty)),
            min_notional: rule(notional.and_then(|f| f.min_notional.or(f.notional))),
            // Fees are an account's own; the published tiers are no statement about it.
            maker_fee: None,
            taker_fee: None,
            is_active: is_trading && (is_perp || self.is_spot_trading_allowed.unwrap_or(true)),
            margin_enabled: is_perp || self.is_margin_trading_allowed.unwrap_or(false),
            list_date: self.onboard_date.filter(|_| is_perp).and_then(|ms| {
                i64::try_from(ms)
                    .ok()
                    .filter(|ms| *ms > 0)
                    .map(TsNanos::from_ms)
            }),
            // The multiplier of 1000PEPEUSDT is part of its base asset's name.
            contract_size: Decimal::ONE,
            // Brackets are only shown to a key.
            max_leverage: None,
            native_code: None,
            funding_interval_hours: is_perp.then(|| {
                intervals
                    .get(&self.symbol)
                    .copied()
                    .unwrap_or(FUNDING_HOURS_DEFAULT)
            }),
        })
    }

    fn price_max(&self) -> Option<Decimal> {
        rule(
            self.filter(&["PRICE_FILTER"])
                .and_then(|filter| filter.max_price),
        )
    }

    fn filter(&self, names: &[&str]) -> Option<&Filter<'_>> {
        self.filters
            .iter()
            .find(|filter| names.contains(&filter.filter_type.as_ref()))
    }
}

/// Digits after the point, at most [`DIGITS_MAX`], at which `max` × `headroom` fits a mantissa.
///
/// Numbers are finer than the steps now in force: the recording of BTCUSDT of 2024-08-08 has levels
/// of six decimals at a quantity step of five, left over from an earlier step.
fn digits_within(max: Option<Decimal>, headroom: Decimal) -> u8 {
    let Some(largest) = max.and_then(|max| max.checked_mul(headroom)) else {
        return 0;
    };
    (0..=DIGITS_MAX)
        .rev()
        .find(|&digits| from_decimal(largest.trunc(), digits).is_ok())
        .unwrap_or(0)
}

/// A step; where the exchange has switched its rule off (0), the smallest that its precision allows.
fn step(step: Option<Decimal>, digits: Option<u32>) -> Option<Decimal> {
    match step {
        Some(step) if step > Decimal::ZERO => Some(step.normalize()),
        Some(step) if step < Decimal::ZERO => None,
        _ => digits
            .filter(|&digits| digits <= 18)
            .map(|digits| Decimal::new(1, digits)),
    }
}

/// A bound of a filter; 0 switches the rule off.
fn rule(value: Option<Decimal>) -> Option<Decimal> {
    value
        .filter(|value| *value > Decimal::ZERO)
        .map(|value| value.normalize())
}

/// Reads a whole answer; `field` is named when it has another shape.
pub(super) fn read<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    field: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            DecodeError::Field { field }
        } else {
            DecodeError::Json {
                at: offset(body, error.line(), error.column()),
            }
        }
    })
}

/// Byte offset of a position in a text; lines count from 1.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let starts = memchr::memchr_iter(b'\n', body).map(|at| at + 1);
    let start = std::iter::once(0).chain(starts).nth(line.saturating_sub(1));
    (start.unwrap_or(0) + column.saturating_sub(1)).min(body.len())
}

/// The weight of a minute that `exchangeInfo` says is in force; it has been changed before.
pub(super) fn weight_limit(body: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Info<'a> {
        #[serde(borrow)]
        rate_limits: Vec<Limit<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Limit<'a> {
        rate_limit_type: &'a str,
        interval: &'a str,
        interval_num: u32,
        limit: u32,
    }
    let info: Info<'_> = serde_json::from_slice(body).ok()?;
    let mut limits = info.rate_limits.iter();
    let own = limits.find(|row| {
        (row.rate_limit_type, row.interval, row.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1)
    })?;
    Some(own.limit).filter(|limit| *limit > 0)
}
