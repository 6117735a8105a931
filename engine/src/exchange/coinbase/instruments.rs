//! Coinbase's product list to ours.
//!
//! Source: product pages of the Advanced Trade API (2026-07), product list of 2026-08-09.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::{DecodeError, ParsedInstruments, ProviderId, RestRequest};
use crate::instrument::{InstrumentSpec, Market};
use crate::num::from_decimal;
use crate::time::TsNanos;

use super::wire::{Text, read};
use super::{rest, time};

/// No price or quantity of the recordings has more decimals.
const DIGITS_MAX: u8 = 8;

/// How many times the largest order a level or a day's volume may be.
const QTY_HEADROOM: Decimal = Decimal::from_parts(10_000, 0, 0, false, 0);

/// How many times the largest order's value a price may be: the highest offer of BTC-USD on
/// 2026-08-09 was at 138,991,023.41 with orders of up to 150,000,000 dollars.
const PRICE_HEADROOM: Decimal = Decimal::from_parts(10, 0, 0, false, 0);

/// What `new_at` says of half of the products, those that are older than the field.
const NEW_AT_UNKNOWN: &str = "2023-01-01T00:00:00Z";

#[derive(Deserialize)]
struct Products<'a> {
    // Rows are read one by one, so that one that can't be read does not take the others along.
    #[serde(borrow)]
    products: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Paged<'a> {
    #[serde(borrow)]
    pagination: Option<Pagination<'a>>,
}

#[derive(Deserialize)]
struct Pagination<'a> {
    #[serde(default)]
    has_next: bool,
    #[serde(borrow)]
    next_cursor: Option<Text<'a>>,
}

/// A row of `products`. An empty text and null both stand for "none".
#[derive(Deserialize)]
struct ProductRow<'a> {
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow)]
    product_type: Text<'a>,
    #[serde(borrow)]
    base_currency_id: Option<Text<'a>>,
    #[serde(borrow)]
    quote_currency_id: Option<Text<'a>>,
    #[serde(borrow)]
    price_increment: Option<Text<'a>>,
    #[serde(borrow)]
    quote_increment: Option<Text<'a>>,
    #[serde(borrow)]
    base_increment: Option<Text<'a>>,
    #[serde(borrow)]
    base_min_size: Option<Text<'a>>,
    #[serde(borrow)]
    base_max_size: Option<Text<'a>>,
    #[serde(borrow)]
    quote_min_size: Option<Text<'a>>,
    #[serde(borrow)]
    quote_max_size: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    alias: Option<Text<'a>>,
    #[serde(borrow)]
    new_at: Option<Text<'a>>,
    is_disabled: Option<bool>,
    trading_disabled: Option<bool>,
    view_only: Option<bool>,
}

/// Instruments out of the pages of the product list, and how many rows were left out for which
/// reason.
pub(super) fn parse(bodies: &[Vec<u8>]) -> Result<ParsedInstruments, DecodeError> {
    if bodies.is_empty() {
        return Err(DecodeError::Field { field: "products" });
    }
    let mut specs = Vec::new();
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    for body in bodies {
        let page: Products<'_> = read(body, "products")?;
        specs.reserve(page.products.len());
        for raw in page.products {
            let spec = serde_json::from_str::<ProductRow<'_>>(raw.get())
                .map_err(|_| "row can't be read".to_owned())
                .and_then(|row| row.spec());
            match spec {
                Ok(spec) => specs.push(spec),
                Err(reason) => *left_out.entry(reason).or_default() += 1,
            }
        }
    }
    Ok((specs, left_out.into_iter().collect()))
}

/// The page after this one, where the list says that there is one.
pub(super) fn next_page(body: &[u8]) -> Option<RestRequest> {
    let page: Paged<'_> = serde_json::from_slice(body).ok()?;
    let pagination = page.pagination.filter(|pagination| pagination.has_next)?;
    let cursor = pagination.next_cursor.filter(|cursor| !cursor.is_empty())?;
    Some(rest::products(Some(&cursor)))
}

impl ProductRow<'_> {
    /// The instrument, or why it is left out.
    fn spec(&self) -> Result<InstrumentSpec, String> {
        if &*self.product_type != "SPOT" {
            return Err(format!("product type {}", &*self.product_type));
        }
        if text(&self.alias).is_some() {
            // Another name of a book: messages about it name the product that owns the book.
            return Err("alias of another product".to_owned());
        }
        let (Some(base), Some(quote)) =
            (text(&self.base_currency_id), text(&self.quote_currency_id))
        else {
            return Err("base or quote is empty".to_owned());
        };
        if self.product_id.is_empty() {
            return Err("product id is empty".to_owned());
        }
        let price_step = positive(&self.price_increment)
            .or_else(|| positive(&self.quote_increment))
            .ok_or("no price step")?;
        let qty_step = positive(&self.base_increment).ok_or("no quantity step")?;
        let is_set = |flag: Option<bool>| flag.unwrap_or(false);
        let is_barred =
            is_set(self.is_disabled) || is_set(self.trading_disabled) || is_set(self.view_only);
        Ok(InstrumentSpec {
            provider: ProviderId::COINBASE,
            exchange: "coinbase".to_owned(),
            market: Market::Spot,
            native_symbol: self.product_id.to_owned(),
            base_symbol: base.to_owned(),
            quote_symbol: quote.to_owned(),
            settlement_symbol: None,
            price_step,
            qty_step,
            bar_levels: None,
            price_digits: digits_within(positive(&self.quote_max_size), PRICE_HEADROOM),
            qty_digits: digits_within(positive(&self.base_max_size), QTY_HEADROOM),
            min_qty: positive(&self.base_min_size),
            max_qty: positive(&self.base_max_size),
            min_notional: positive(&self.quote_min_size),
            // Fees are an account's own.
            maker_fee: None,
            taker_fee: None,
            is_active: text(&self.status) == Some("online") && !is_barred,
            margin_enabled: false,
            list_date: text(&self.new_at)
                .filter(|text| *text != NEW_AT_UNKNOWN)
                .and_then(time::parse)
                .filter(|at| *at > TsNanos(0)),
            contract_size: Decimal::ONE,
            max_leverage: None,
            funding_interval_hours: None,
            native_code: None,
        })
    }
}

fn text<'a>(field: &'a Option<Text<'_>>) -> Option<&'a str> {
    field.as_deref().filter(|text| !text.is_empty())
}

/// A number above 0, exactly; a maximum can have 16 decimals.
fn positive(field: &Option<Text<'_>>) -> Option<Decimal> {
    let number = Decimal::from_str_exact(text(field)?).ok()?;
    (number > Decimal::ZERO).then(|| number.normalize())
}

/// Digits after the point, at most [`DIGITS_MAX`], at which `max` × `headroom` fits a mantissa.
///
/// Steps change and numbers stay: bars and old orders have more digits than the step now in force.
fn digits_within(max: Option<Decimal>, headroom: Decimal) -> u8 {
    let Some(largest) = max.and_then(|max| max.checked_mul(headroom)) else {
        return 0;
    };
    (0..=DIGITS_MAX)
        .rev()
        .find(|&digits| from_decimal(largest.trunc(), digits).is_ok())
        .unwrap_or(0)
}
