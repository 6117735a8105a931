//! Orders and executions, as answers and the user channel tell them.
//!
//! Source: order and fill pages of the Advanced Trade API, the user channel's page and AsyncAPI
//! document (2026-07). Names differ between the two; the channel tells sums and no executions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::event::Side;
use crate::exchange::{DecodeError, ProviderId};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::num::NumError;
use crate::time::TsNanos;
use crate::trading::exact;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{Facts, FillReport, OrderReport, ReportTerms};

use super::time;
use super::wire::Text;

type Field<'a> = Option<Text<'a>>;

/// An order of an answer: price and size are in its configuration only.
#[derive(Deserialize)]
pub(super) struct OrderRow<'a> {
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow)]
    pub(super) client_order_id: Field<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    side: Text<'a>,
    // Members of kinds that it is not can be null.
    #[serde(borrow)]
    order_configuration: Option<BTreeMap<Cow<'a, str>, Option<Configuration<'a>>>>,
    #[serde(borrow)]
    filled_size: Field<'a>,
    #[serde(borrow)]
    average_filled_price: Field<'a>,
    #[serde(borrow)]
    created_time: Field<'a>,
    #[serde(borrow)]
    reject_reason: Field<'a>,
    #[serde(borrow)]
    reject_message: Field<'a>,
    #[serde(borrow)]
    cancel_message: Field<'a>,
    size_in_quote: Option<bool>,
}

#[derive(Deserialize)]
struct Configuration<'a> {
    #[serde(borrow)]
    base_size: Field<'a>,
    #[serde(borrow)]
    limit_price: Field<'a>,
    #[serde(borrow)]
    stop_price: Field<'a>,
    post_only: Option<bool>,
}

/// An order of the user channel.
#[derive(Deserialize)]
pub(super) struct UserRow<'a> {
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow)]
    client_order_id: Field<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    order_side: Text<'a>,
    #[serde(borrow)]
    order_type: Field<'a>,
    #[serde(borrow)]
    time_in_force: Field<'a>,
    #[serde(borrow)]
    cumulative_quantity: Field<'a>,
    #[serde(borrow)]
    leaves_quantity: Field<'a>,
    #[serde(borrow)]
    avg_price: Field<'a>,
    #[serde(borrow)]
    limit_price: Field<'a>,
    #[serde(borrow)]
    stop_price: Field<'a>,
    #[serde(borrow)]
    creation_time: Field<'a>,
    #[serde(borrow)]
    cancel_reason: Field<'a>,
    #[serde(borrow)]
    reject_reason: Field<'a>,
}

/// An execution.
#[derive(Deserialize)]
pub(super) struct FillRow<'a> {
    #[serde(borrow)]
    trade_id: Text<'a>,
    #[serde(borrow)]
    order_id: Text<'a>,
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow)]
    trade_time: Text<'a>,
    #[serde(borrow)]
    trade_type: Field<'a>,
    #[serde(borrow)]
    price: Text<'a>,
    #[serde(borrow)]
    size: Text<'a>,
    #[serde(borrow)]
    commission: Field<'a>,
    #[serde(borrow)]
    side: Text<'a>,
    #[serde(borrow)]
    liquidity_indicator: Field<'a>,
    size_in_quote: Option<bool>,
}

pub(super) fn filled<'a>(field: &'a Field<'_>) -> Option<&'a str> {
    field.as_deref().filter(|text| !text.is_empty())
}

fn malformed(field: &'static str) -> DecodeError {
    let error = NumError::Malformed;
    DecodeError::Number { field, error }
}

fn exact(text: &str, field: &'static str) -> Result<Decimal, DecodeError> {
    let number = exact::parse(text).ok_or(malformed(field))?;
    Ok(number.normalize())
}

/// A number exactly as it is written; `None` for none and for an empty text.
pub(super) fn decimal(
    text: &Field<'_>,
    field: &'static str,
) -> Result<Option<Decimal>, DecodeError> {
    filled(text).map(|text| exact(text, field)).transpose()
}

/// An average: a quotient, whose digits beyond the 28th are rounded.
fn average(text: &Field<'_>, field: &'static str) -> Result<Option<Decimal>, DecodeError> {
    let Some(text) = filled(text) else {
        return Ok(None);
    };
    let number = text.parse::<Decimal>().map_err(|_| malformed(field))?;
    Ok((number > Decimal::ZERO).then(|| number.normalize()))
}

fn above_zero(number: Option<Decimal>) -> Option<Decimal> {
    number.filter(|number| *number > Decimal::ZERO)
}

/// The instrument of a product; others (futures, aliases) are not traded here.
fn instrument<'t>(table: &'t InstrumentTable, product: &str) -> Option<&'t Instrument> {
    let found = table.by_native(ProviderId::COINBASE, Market::Spot, product)?;
    Some(found)
}

fn side_of(text: &str, field: &'static str) -> Result<Side, DecodeError> {
    match text {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        _ => Err(DecodeError::Field { field }),
    }
}

/// Where an order stands; `None` when its status says nothing.
fn word(status: &str, executed: Decimal, time_in_force: Option<TimeInForce>) -> Option<Word> {
    let ends_itself = matches!(time_in_force, Some(TimeInForce::Ioc | TimeInForce::Fok));
    Some(match status {
        // There is no status of its own for a part, nor for what is about to be canceled.
        "PENDING" | "QUEUED" | "OPEN" | "CANCEL_QUEUED" | "EDIT_QUEUED" => {
            match executed.is_zero() {
                true => Word::Works,
                false => Word::WorksInPart,
            }
        }
        "FILLED" => Word::Done,
        "CANCELLED" if ends_itself => Word::Expired,
        "CANCELLED" => Word::Canceled,
        "EXPIRED" => Word::Expired,
        "FAILED" => Word::Refused,
        _ => return None,
    })
}

/// Why an order ended: the first text that says something, unless the account itself wanted it.
fn reason(word: Word, texts: [&Field<'_>; 3]) -> Option<String> {
    let says_something = |text: &&str| {
        let text = text.to_ascii_lowercase();
        !text.ends_with("_unspecified") && !text.contains("user requested")
    };
    let is_end = matches!(word, Word::Canceled | Word::Expired | Word::Refused);
    let mut told = texts.into_iter().filter_map(filled);
    let found = told.find(says_something).filter(|_| is_end)?;
    Some(found.to_owned())
}

/// Type and time in force of a configuration's name.
fn kind(name: &str) -> (Option<OrderType>, Option<TimeInForce>) {
    let (order_type, time_in_force) = match name {
        "market_market_ioc" => (OrderType::Market, TimeInForce::Ioc),
        "market_market_fok" => (OrderType::Market, TimeInForce::Fok),
        // Good until a time: nearer to GTC than to anything else.
        "limit_limit_gtc" | "limit_limit_gtd" => (OrderType::Limit, TimeInForce::Gtc),
        "limit_limit_fok" => (OrderType::Limit, TimeInForce::Fok),
        "sor_limit_ioc" => (OrderType::Limit, TimeInForce::Ioc),
        "stop_limit_stop_limit_gtc" | "stop_limit_stop_limit_gtd" => {
            (OrderType::StopLimit, TimeInForce::Gtc)
        }
        _ => return (None, None),
    };
    (Some(order_type), Some(time_in_force))
}

impl OrderRow<'_> {
    /// Adds what the row tells; nothing when its product is not traded here.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.product_id) else {
            return Ok(());
        };
        let members = self.order_configuration.iter().flatten();
        let mut members = members.filter_map(|(name, terms)| Some((name, terms.as_ref()?)));
        let member = members.next();
        let (order_type, time_in_force) = member.map_or((None, None), |(name, _)| kind(name));
        let terms = member.map(|(_, terms)| terms);
        let executed = decimal(&self.filled_size, "filled_size")?.unwrap_or_default();
        let Some(word) = word(&self.status, executed, time_in_force) else {
            return Ok(());
        };
        let average_price = average(&self.average_filled_price, "average_filled_price")?;
        let field = |pick: fn(&Configuration<'_>) -> Result<Option<Decimal>, DecodeError>| {
            let value = terms.map(pick).transpose()?;
            Ok::<_, DecodeError>(above_zero(value.flatten()))
        };
        let quantity = field(|terms| decimal(&terms.base_size, "base_size"))?;
        facts.orders.push(OrderReport {
            market: Market::Spot,
            native_symbol: instrument.spec.native_symbol.clone(),
            client_id: filled(&self.client_order_id).map(str::to_owned),
            news: OrderNews {
                filled: Some(executed),
                average_price: average_price.filter(|_| !executed.is_zero()),
                quantity: quantity.filter(|_| self.size_in_quote != Some(true)),
                price: field(|terms| decimal(&terms.limit_price, "limit_price"))?,
                exchange_order_id: Some(self.order_id.to_owned()),
                reason: reason(
                    word,
                    [
                        &self.reject_message,
                        &self.cancel_message,
                        &self.reject_reason,
                    ],
                ),
                ..OrderNews::new(word, now)
            },
            terms: ReportTerms {
                side: Some(side_of(&self.side, "side")?),
                order_type,
                stop_price: field(|terms| decimal(&terms.stop_price, "stop_price"))?,
                time_in_force,
                post_only: order_type
                    .map(|_| terms.and_then(|terms| terms.post_only).unwrap_or(false)),
                reduce_only: Some(false),
                position_side: None,
                created_at: filled(&self.created_time).and_then(time::parse),
            },
        });
        Ok(())
    }
}

impl UserRow<'_> {
    /// Adds what the row tells at `at`; nothing when its product is not traded here.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        at: TsNanos,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.product_id) else {
            return Ok(());
        };
        let time_in_force = match filled(&self.time_in_force) {
            Some("GOOD_UNTIL_CANCELLED" | "GOOD_UNTIL_DATE_TIME") => Some(TimeInForce::Gtc),
            Some("IMMEDIATE_OR_CANCEL") => Some(TimeInForce::Ioc),
            Some("FILL_OR_KILL") => Some(TimeInForce::Fok),
            _ => None,
        };
        // In words here, in capitals elsewhere.
        let order_type = filled(&self.order_type).and_then(|name| {
            match name.to_ascii_uppercase().replace(' ', "_").as_str() {
                "MARKET" => Some(OrderType::Market),
                "LIMIT" => Some(OrderType::Limit),
                "STOP_LIMIT" => Some(OrderType::StopLimit),
                _ => None,
            }
        });
        let field = "cumulative_quantity";
        let executed = decimal(&self.cumulative_quantity, field)?;
        let executed = executed.ok_or(DecodeError::Field { field })?;
        let Some(word) = word(&self.status, executed, time_in_force) else {
            return Ok(());
        };
        // Nothing is left of an order that is over, or about to be, whatever it was for.
        let works = matches!(word, Word::Works | Word::WorksInPart);
        let left = decimal(&self.leaves_quantity, "leaves_quantity")?;
        let left = left.filter(|left| works && !left.is_zero());
        let quantity = left.and_then(|left| left.checked_add(executed));
        facts.orders.push(OrderReport {
            market: Market::Spot,
            native_symbol: instrument.spec.native_symbol.clone(),
            client_id: filled(&self.client_order_id).map(str::to_owned),
            news: OrderNews {
                filled: Some(executed),
                average_price: average(&self.avg_price, "avg_price")?
                    .filter(|_| !executed.is_zero()),
                quantity: above_zero(quantity).map(|quantity| quantity.normalize()),
                price: above_zero(decimal(&self.limit_price, "limit_price")?),
                exchange_order_id: Some(self.order_id.to_owned()),
                reason: reason(word, [&self.reject_reason, &self.cancel_reason, &None]),
                ..OrderNews::new(word, at)
            },
            terms: ReportTerms {
                side: Some(side_of(&self.order_side, "order_side")?),
                order_type,
                stop_price: above_zero(decimal(&self.stop_price, "stop_price")?),
                time_in_force,
                post_only: None,
                reduce_only: Some(false),
                position_side: None,
                created_at: filled(&self.creation_time).and_then(time::parse),
            },
        });
        Ok(())
    }
}

impl FillRow<'_> {
    /// Adds the execution; nothing when its product is not traded here, or when it is a correction.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.product_id) else {
            return Ok(());
        };
        if filled(&self.trade_type).is_some_and(|kind| kind != "FILL") {
            return Ok(());
        }
        let price = exact(&self.price, "price")?;
        let size = exact(&self.size, "size")?;
        let quantity = match self.size_in_quote {
            Some(true) => size
                .checked_div(price)
                .map(|size| size.round_dp(u32::from(instrument.qty_scale)).normalize())
                .ok_or(malformed("price"))?,
            _ => size,
        };
        facts.fills.push(FillReport {
            market: Market::Spot,
            native_symbol: instrument.spec.native_symbol.clone(),
            fill_id: self.trade_id.to_owned(),
            client_id: None,
            exchange_id: Some(self.order_id.to_owned()),
            side: Some(side_of(&self.side, "side")?),
            price,
            quantity,
            fee: decimal(&self.commission, "commission")?,
            // Always in what the product is priced in.
            fee_asset: Some(instrument.spec.quote_symbol.clone()),
            is_maker: match filled(&self.liquidity_indicator) {
                Some("MAKER") => Some(true),
                Some("TAKER") => Some(false),
                _ => None,
            },
            at: time::parse(&self.trade_time).ok_or(DecodeError::Field {
                field: "trade_time",
            })?,
        });
        Ok(())
    }
}
