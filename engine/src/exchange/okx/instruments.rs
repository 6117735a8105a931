//! OKX's instrument lists to ours, in base units.
//!
//! Source: `GET /api/v5/public/instruments` and `/public/funding-rate` of the v5 documentation, and
//! lists of 2022-02-27 and 2025-05-08.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::{DecodeError, ParsedInstruments, ProviderId};
use crate::instrument::{InstrumentSpec, Market};
use crate::num::{SCALE_MAX, scale_of_step};
use crate::time::TsNanos;

use super::json::{Text, millis, read};

/// Digits that prices have beyond the step's: steps become coarser, old bars keep their digits.
const PRICE_DIGITS_MORE: u8 = 2;
/// The same for quantities; one, so that a day's volume of a coin with nine decimals still fits.
const QTY_DIGITS_MORE: u8 = 1;

#[derive(Deserialize)]
struct Answer<'a> {
    // Rows are read one by one, so that one that can't be read does not take the others along.
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// A row of an instrument list. What is not set is an empty string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    #[serde(borrow)]
    inst_id: Text<'a>,
    /// A number, unlike all others; missing in older lists.
    #[serde(borrow, default)]
    inst_id_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    inst_type: Text<'a>,
    #[serde(borrow, default)]
    state: Text<'a>,
    #[serde(borrow, default)]
    base_ccy: Text<'a>,
    #[serde(borrow, default)]
    quote_ccy: Text<'a>,
    #[serde(borrow, default)]
    settle_ccy: Text<'a>,
    #[serde(borrow, default)]
    uly: Text<'a>,
    #[serde(borrow, default)]
    inst_family: Text<'a>,
    #[serde(borrow, default)]
    ct_type: Text<'a>,
    #[serde(borrow, default)]
    ct_val: Text<'a>,
    #[serde(borrow, default)]
    ct_mult: Text<'a>,
    #[serde(borrow, default)]
    ct_val_ccy: Text<'a>,
    #[serde(borrow, default)]
    tick_sz: Text<'a>,
    #[serde(borrow, default)]
    lot_sz: Text<'a>,
    #[serde(borrow, default)]
    min_sz: Text<'a>,
    #[serde(borrow, default)]
    max_lmt_sz: Text<'a>,
    #[serde(borrow, default)]
    lever: Text<'a>,
    #[serde(borrow, default)]
    list_time: Text<'a>,
    #[serde(borrow, default)]
    cont_td_sw_time: Text<'a>,
}

/// A row of `/public/funding-rate`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FundingRow<'a> {
    #[serde(borrow)]
    inst_id: Text<'a>,
    #[serde(borrow)]
    funding_time: Text<'a>,
    #[serde(borrow, default)]
    next_funding_time: Text<'a>,
}

/// Instruments out of the list and, for swaps, the funding rates of all of them; and how many rows
/// were left out for which reason.
pub(super) fn parse(market: Market, bodies: &[Vec<u8>]) -> Result<ParsedInstruments, DecodeError> {
    let body = bodies.first().ok_or(DecodeError::Field { field: "data" })?;
    let answer: Answer<'_> = read(body, "data")?;
    let intervals = match bodies.get(1) {
        Some(body) => intervals(body)?,
        None => BTreeMap::new(),
    };
    let mut specs = Vec::with_capacity(answer.data.len());
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for raw in answer.data {
        let spec = serde_json::from_str::<Row<'_>>(raw.get())
            .map_err(|_| "row can't be read".to_owned())
            .and_then(|row| row.spec(market, &intervals));
        match spec {
            Ok(spec) => specs.push(spec),
            Err(reason) => *left_out.entry(reason).or_default() += 1,
        }
    }
    Ok((specs, left_out.into_iter().collect()))
}

/// Hours between settlements by instrument: they are 1, 2, 4, 6 or 8, and change.
fn intervals(body: &[u8]) -> Result<BTreeMap<String, u32>, DecodeError> {
    let answer: Answer<'_> = read(body, "data")?;
    let mut hours = BTreeMap::new();
    for raw in answer.data {
        // One that can't be read, or has no next settlement, is an interval that is not known.
        let Ok(row) = serde_json::from_str::<FundingRow<'_>>(raw.get()) else {
            continue;
        };
        let times = (
            millis(&row.funding_time.0, "fundingTime"),
            millis(&row.next_funding_time.0, "nextFundingTime"),
        );
        if let (Ok(this), Ok(next)) = times {
            let span = next.as_secs() - this.as_secs();
            if span > 0 && span % 3600 == 0 {
                let span = u32::try_from(span / 3600).unwrap_or(u32::MAX);
                hours.insert(row.inst_id.0.into_owned(), span);
            }
        }
    }
    Ok(hours)
}

impl Row<'_> {
    /// The instrument, or why it is left out.
    fn spec(
        &self,
        market: Market,
        intervals: &BTreeMap<String, u32>,
    ) -> Result<InstrumentSpec, String> {
        let is_perp = market == Market::Perp;
        let (base, quote) = match market {
            Market::Spot => self.spot_assets()?,
            Market::Perp => self.swap_assets()?,
        };
        let (Some(tick), Some(lot)) = (positive(&self.tick_sz), positive(&self.lot_sz)) else {
            // Listed ahead of time, with hardly a field filled in.
            return Err(match self.state.0.as_ref() {
                "preopen" => "not open yet and without steps".to_owned(),
                _ => "no price or quantity step".to_owned(),
            });
        };
        let contract = match market {
            Market::Spot => Decimal::ONE,
            Market::Perp => self.contract(base)?,
        };
        let in_base = |size: Option<Decimal>| {
            size.and_then(|size| size.checked_mul(contract))
                .map(|size| size.normalize())
        };
        let qty_step = in_base(Some(lot)).ok_or("quantity step out of range")?;
        let digits = |step, more| scale_of_step(step).saturating_add(more).min(SCALE_MAX);
        let qty_digits = scale_of_step(lot)
            .saturating_add(scale_of_step(contract))
            .saturating_add(QTY_DIGITS_MORE);
        let lever = self
            .lever
            .filled()
            .and_then(|text| text.parse::<Decimal>().ok());
        let leverage = lever.and_then(|lever| u32::try_from(lever.trunc().mantissa()).ok());
        Ok(InstrumentSpec {
            provider: ProviderId::OKX,
            exchange: "okx".to_owned(),
            market,
            native_symbol: self.inst_id.0.clone().into_owned(),
            base_symbol: base.to_owned(),
            quote_symbol: quote.to_owned(),
            settlement_symbol: is_perp.then(|| self.settle_ccy.0.clone().into_owned()),
            price_step: tick.normalize(),
            qty_step,
            bar_levels: None,
            price_digits: digits(tick, PRICE_DIGITS_MORE),
            qty_digits: qty_digits.min(SCALE_MAX),
            min_qty: in_base(positive(&self.min_sz)),
            max_qty: in_base(positive(&self.max_lmt_sz)),
            // OKX publishes none: orders below it are refused with 51020.
            min_notional: None,
            // Fees are an account's own.
            maker_fee: None,
            taker_fee: None,
            is_active: self.state.0 == "live",
            margin_enabled: is_perp || lever.is_some_and(|lever| lever > Decimal::ONE),
            list_date: self.list_date(),
            contract_size: contract,
            max_leverage: leverage.filter(|leverage| *leverage > 0),
            funding_interval_hours: intervals
                .get(self.inst_id.0.as_ref())
                .copied()
                .filter(|_| is_perp),
            native_code: self
                .inst_id_code
                .and_then(|code| code.get().trim_matches('"').parse().ok()),
        })
    }

    fn spot_assets(&self) -> Result<(&str, &str), String> {
        match self.inst_type.0.as_ref() {
            "SPOT" => {}
            other => return Err(format!("instrument type {other}")),
        }
        match (self.base_ccy.filled(), self.quote_ccy.filled()) {
            (Some(base), Some(quote)) if self.inst_id.filled().is_some() => Ok((base, quote)),
            _ => Err("symbol or asset is empty".to_owned()),
        }
    }

    /// Base and quote of a linear swap: its own asset fields are empty.
    fn swap_assets(&self) -> Result<(&str, &str), String> {
        match self.inst_type.0.as_ref() {
            "SWAP" => {}
            "FUTURES" => return Err("dated contract".to_owned()),
            other => return Err(format!("instrument type {other}")),
        }
        match self.ct_type.0.as_ref() {
            "linear" => {}
            // Counted in quote money and settled in the base asset: its quantities can't be told
            // in base units without a price.
            "inverse" => return Err("inverse contract".to_owned()),
            "" if self.state.0 == "preopen" => {
                return Err("not open yet and without steps".to_owned());
            }
            other => return Err(format!("contract type `{other}`")),
        }
        let family = self.uly.filled().or(self.inst_family.filled());
        let assets = family.and_then(|family| family.split_once('-'));
        let Some((base, quote)) = assets else {
            return Err("no underlying".to_owned());
        };
        match self.settle_ccy.filled() {
            Some(settle) if settle == quote => Ok((base, quote)),
            // `BTC-USD_UM`: several settlement assets in one book.
            _ => Err("not settled in the quote asset".to_owned()),
        }
    }

    /// Base units in one contract.
    fn contract(&self, base: &str) -> Result<Decimal, String> {
        if self.ct_val_ccy.filled().is_some_and(|asset| asset != base) {
            return Err("contract value not in the base asset".to_owned());
        }
        let multiplier = positive(&self.ct_mult).unwrap_or(Decimal::ONE);
        positive(&self.ct_val)
            .and_then(|value| value.checked_mul(multiplier))
            .map(|value| value.normalize())
            .ok_or_else(|| "no contract value".to_owned())
    }

    /// Start of continuous trading where there was an auction before, else of the listing.
    fn list_date(&self) -> Option<TsNanos> {
        [&self.cont_td_sw_time, &self.list_time]
            .into_iter()
            .find_map(|text| millis(&text.0, "listTime").ok())
            .filter(|time| time.0 > 0)
    }
}

/// A number above zero; anything else is a rule that does not exist.
fn positive(text: &Text<'_>) -> Option<Decimal> {
    let number = Decimal::from_str_exact(text.filled()?).ok()?;
    Some(number).filter(|number| *number > Decimal::ZERO)
}
