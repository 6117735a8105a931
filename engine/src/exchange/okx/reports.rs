//! Orders, algo orders and executions, as answers and channels tell them.
//!
//! Source: order details, algo order details and transaction details of the v5 documentation, their
//! channels, and messages of 2025 and 2026 in public tests. Rows of both kinds have the same fields
//! in answers and in channels; what is not set is an empty text.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::event::Side;
use crate::exchange::{DecodeError, ProviderId};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderId, OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{Facts, FillReport, OrderReport, ReportTerms};

use super::json::{Text, decimal, millis_or_none, turned};

/// An ordinary order. The channel's rows tell its last execution too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRow<'a> {
    #[serde(borrow)]
    inst_type: Text<'a>,
    #[serde(borrow)]
    inst_id: Text<'a>,
    #[serde(borrow)]
    pub(super) ord_id: Text<'a>,
    #[serde(borrow, default)]
    cl_ord_id: Text<'a>,
    #[serde(borrow, default)]
    algo_id: Text<'a>,
    #[serde(borrow, default)]
    algo_cl_ord_id: Text<'a>,
    #[serde(borrow, default)]
    linked_algo_ord: Option<Linked<'a>>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    side: Text<'a>,
    #[serde(borrow)]
    ord_type: Text<'a>,
    #[serde(borrow)]
    sz: Text<'a>,
    #[serde(borrow, default)]
    tgt_ccy: Text<'a>,
    #[serde(borrow, default)]
    px: Text<'a>,
    #[serde(borrow)]
    acc_fill_sz: Text<'a>,
    #[serde(borrow, default)]
    avg_px: Text<'a>,
    #[serde(borrow, default)]
    pos_side: Text<'a>,
    #[serde(borrow, default)]
    reduce_only: Text<'a>,
    #[serde(borrow, default)]
    cancel_source: Text<'a>,
    #[serde(borrow, default)]
    cancel_source_reason: Text<'a>,
    #[serde(borrow, default)]
    c_time: Text<'a>,
    #[serde(borrow, default)]
    u_time: Text<'a>,
    #[serde(borrow, default)]
    trade_id: Text<'a>,
    #[serde(borrow, default)]
    fill_px: Text<'a>,
    #[serde(borrow, default)]
    fill_sz: Text<'a>,
    #[serde(borrow, default)]
    fill_time: Text<'a>,
    #[serde(borrow, default)]
    fill_fee: Text<'a>,
    #[serde(borrow, default)]
    fill_fee_ccy: Text<'a>,
    #[serde(borrow, default)]
    exec_type: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linked<'a> {
    #[serde(borrow, default)]
    algo_id: Text<'a>,
}

/// An algo order.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlgoRow<'a> {
    #[serde(borrow)]
    inst_type: Text<'a>,
    #[serde(borrow)]
    pub(super) inst_id: Text<'a>,
    #[serde(borrow)]
    pub(super) algo_id: Text<'a>,
    #[serde(borrow, default)]
    algo_cl_ord_id: Text<'a>,
    #[serde(borrow, default)]
    ord_id: Text<'a>,
    #[serde(borrow, default)]
    ord_id_list: Vec<Text<'a>>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    side: Text<'a>,
    #[serde(borrow)]
    ord_type: Text<'a>,
    #[serde(borrow)]
    sz: Text<'a>,
    #[serde(borrow, default)]
    tgt_ccy: Text<'a>,
    #[serde(borrow, default)]
    trigger_px: Text<'a>,
    #[serde(borrow, default)]
    sl_trigger_px: Text<'a>,
    #[serde(borrow, default)]
    sl_ord_px: Text<'a>,
    #[serde(borrow, default)]
    tp_trigger_px: Text<'a>,
    #[serde(borrow, default)]
    tp_ord_px: Text<'a>,
    // In answers.
    #[serde(borrow, default)]
    ord_px: Text<'a>,
    // In some pushes.
    #[serde(borrow, default)]
    order_px: Text<'a>,
    #[serde(borrow, default)]
    pos_side: Text<'a>,
    #[serde(borrow, default)]
    reduce_only: Text<'a>,
    #[serde(borrow, default)]
    fail_code: Text<'a>,
    #[serde(borrow, default)]
    c_time: Text<'a>,
    #[serde(borrow, default)]
    u_time: Text<'a>,
}

/// An execution of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FillRow<'a> {
    #[serde(borrow)]
    inst_type: Text<'a>,
    #[serde(borrow)]
    inst_id: Text<'a>,
    #[serde(borrow)]
    trade_id: Text<'a>,
    #[serde(borrow)]
    ord_id: Text<'a>,
    #[serde(borrow, default)]
    cl_ord_id: Text<'a>,
    #[serde(borrow)]
    pub(super) bill_id: Text<'a>,
    #[serde(borrow)]
    fill_px: Text<'a>,
    #[serde(borrow)]
    fill_sz: Text<'a>,
    #[serde(borrow)]
    side: Text<'a>,
    #[serde(borrow, default)]
    exec_type: Text<'a>,
    #[serde(borrow, default)]
    fee: Text<'a>,
    #[serde(borrow, default)]
    fee_ccy: Text<'a>,
    #[serde(borrow)]
    ts: Text<'a>,
}

/// The market of an instrument type; others (margin, dated contracts, options) are not traded here.
pub(super) fn market_of(inst_type: &str) -> Option<Market> {
    match inst_type {
        "SPOT" => Some(Market::Spot),
        "SWAP" => Some(Market::Perp),
        _ => None,
    }
}

/// The instrument type of a market.
pub(super) const fn inst_type(market: Market) -> &'static str {
    match market {
        Market::Spot => "SPOT",
        Market::Perp => "SWAP",
    }
}

/// The instrument of a row: without it contracts can't be told in base units.
pub(super) fn instrument<'t>(
    table: &'t InstrumentTable,
    inst_type: &Text<'_>,
    inst_id: &Text<'_>,
) -> Option<&'t Instrument> {
    let market = market_of(&inst_type.0)?;
    let found = table.by_native(ProviderId::OKX, market, &inst_id.0)?;
    Some(found)
}

/// A size in base units.
pub(super) fn quantity(
    instrument: &Instrument,
    size: &Text<'_>,
    field: &'static str,
) -> Result<Option<Decimal>, DecodeError> {
    let Some(size) = decimal(size, field)? else {
        return Ok(None);
    };
    let quantity = match instrument.spec.market {
        Market::Spot => Some(size),
        Market::Perp => size.checked_mul(instrument.spec.contract_size),
    };
    let overflow = DecodeError::Number {
        field,
        error: crate::num::NumError::Overflow,
    };
    quantity
        .map(|quantity| Some(quantity.normalize()))
        .ok_or(overflow)
}

fn side_of(text: &Text<'_>) -> Result<Side, DecodeError> {
    match text.0.as_ref() {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err(DecodeError::Field { field: "side" }),
    }
}

fn position_side(market: Market, text: &Text<'_>) -> Option<PositionSide> {
    match (market, text.0.as_ref()) {
        (Market::Spot, _) => None,
        (_, "long") => Some(PositionSide::Long),
        (_, "short") => Some(PositionSide::Short),
        _ => Some(PositionSide::Net),
    }
}

fn flag(text: &Text<'_>) -> Option<bool> {
    match text.0.as_ref() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn owned(text: &Text<'_>) -> Option<String> {
    text.filled().map(str::to_owned)
}

/// True when a size is an amount of money: a market buy of spot, unless it says otherwise.
fn is_money(market: Market, side: Side, tgt_ccy: &Text<'_>, is_at_market: bool) -> bool {
    market == Market::Spot
        && is_at_market
        && match tgt_ccy.0.as_ref() {
            "base_ccy" => false,
            "quote_ccy" => true,
            _ => side == Side::Buy,
        }
}

/// Type, time in force and post-only of `ordType`.
fn kind(ord_type: &str) -> (Option<OrderType>, Option<TimeInForce>, bool) {
    use OrderType::{Limit, Market};
    match ord_type {
        "market" | "optimal_limit_ioc" => (Some(Market), Some(TimeInForce::Ioc), false),
        "limit" => (Some(Limit), Some(TimeInForce::Gtc), false),
        "post_only" | "mmp_and_post_only" => (Some(Limit), Some(TimeInForce::Gtc), true),
        "mmp" | "rpi" | "elp" => (Some(Limit), Some(TimeInForce::Gtc), false),
        "ioc" => (Some(Limit), Some(TimeInForce::Ioc), false),
        "fok" | "op_fok" => (Some(Limit), Some(TimeInForce::Fok), false),
        _ => (None, None, false),
    }
}

/// What OKX says of why it canceled an order, where the row has no text.
fn canceled_because(source: &str) -> Option<&'static str> {
    Some(match source {
        "0" => "canceled by the system",
        "2" | "3" => "margin is not enough any more",
        "4" => "the borrowing limit is reached",
        "6" => "deleveraging",
        "7" | "10" => "the contract is delivered",
        "9" => "the balance is not enough after funding",
        "13" => "a part of the fill-or-kill order could not execute",
        "14" => "the rest of the immediate-or-cancel order could not execute",
        "15" => "the price is beyond the limit",
        "17" | "21" => "the position was closed",
        "20" => "cancel-all-after was triggered",
        "22" | "23" => "another order reduces the position",
        "27" => "the price is too far from the counterparty's",
        "31" => "the post-only order would take liquidity",
        "32" => "it would have traded with an order of the same account",
        "33" => "too many matches for one order",
        _ => return None,
    })
}

impl OrderRow<'_> {
    /// Adds what the row tells; nothing when its instrument is not traded here.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.inst_type, &self.inst_id) else {
            return Ok(());
        };
        let market = instrument.spec.market;
        let side = side_of(&self.side)?;
        let client_id = self.client_id();
        let filled = quantity(instrument, &self.acc_fill_sz, "accFillSz")?.unwrap_or_default();
        if let Some(fill) = self.fill(instrument, side, &client_id)? {
            facts.fills.push(fill);
        }
        // A state that is not known says nothing of the order; what executed counts all the same.
        let Some((word, reason)) = self.word(filled) else {
            return Ok(());
        };
        let (order_type, time_in_force, post_only) = kind(&self.ord_type.0);
        let is_at_market = order_type == Some(OrderType::Market);
        let price = decimal(&self.px, "px")?;
        let average_price = decimal(&self.avg_px, "avgPx")?;
        let told_quantity = match is_money(market, side, &self.tgt_ccy, is_at_market) {
            true => None,
            false => quantity(instrument, &self.sz, "sz")?,
        };
        let created_at = millis_or_none(&self.c_time, "cTime")?;
        let at = millis_or_none(&self.u_time, "uTime")?.or(created_at);
        let linked = self.linked_algo_ord.as_ref().map(|linked| &linked.algo_id);
        facts.orders.push(OrderReport {
            market,
            native_symbol: instrument.spec.native_symbol.clone(),
            client_id,
            news: OrderNews {
                word,
                filled: Some(filled),
                average_price: average_price.filter(|price| !filled.is_zero() && !price.is_zero()),
                quantity: told_quantity.filter(|quantity| !quantity.is_zero()),
                price: price.filter(|price| !is_at_market && *price > Decimal::ZERO),
                exchange_order_id: owned(&self.ord_id),
                trigger_id: owned(&self.algo_id).or_else(|| linked.and_then(owned)),
                reason,
                at: at.unwrap_or(now),
            },
            terms: ReportTerms {
                side: Some(side),
                order_type,
                stop_price: None,
                time_in_force,
                post_only: order_type.map(|_| post_only),
                reduce_only: flag(&self.reduce_only),
                position_side: position_side(market, &self.pos_side),
                created_at,
            },
        });
        Ok(())
    }

    /// The client's id: of an order that a stop became, the stop's.
    fn client_id(&self) -> Option<String> {
        let own = self.cl_ord_id.filled();
        let ours = own.filter(|id| OrderId::parse(id).is_some());
        let found = ours.or(self.algo_cl_ord_id.filled()).or(own);
        found.map(str::to_owned)
    }

    /// Where the order stands, and why it ended.
    fn word(&self, filled: Decimal) -> Option<(Word, Option<String>)> {
        match self.state.0.as_ref() {
            "live" => Some((Word::Works, None)),
            "partially_filled" => Some((Word::WorksInPart, None)),
            "filled" => Some((Word::Done, None)),
            "canceled" | "mmp_canceled" => {
                let source = self.cancel_source.0.as_ref();
                let told = owned(&self.cancel_source_reason);
                let reason =
                    match (source, told) {
                        // By the account itself.
                        ("1", _) | ("", None) => None,
                        (_, Some(told)) => Some(told),
                        (code, None) => Some(canceled_because(code).map_or_else(
                            || format!("canceled by okx, source {code}"),
                            str::to_owned,
                        )),
                    };
                let ends_itself = matches!(
                    self.ord_type.0.as_ref(),
                    "market" | "optimal_limit_ioc" | "ioc" | "fok"
                );
                let word = match source {
                    // Accepted first: it never came into the book.
                    "31" if filled.is_zero() => Word::Refused,
                    // By the exchange: system, balance, the order's own time in force, self-trade
                    // prevention.
                    "0" | "9" | "13" | "14" | "32" => Word::Expired,
                    "1" | "20" => Word::Canceled,
                    _ if ends_itself => Word::Expired,
                    _ => Word::Canceled,
                };
                Some((word, reason))
            }
            _ => None,
        }
    }

    /// The execution that a push tells.
    fn fill(
        &self,
        instrument: &Instrument,
        side: Side,
        client_id: &Option<String>,
    ) -> Result<Option<FillReport>, DecodeError> {
        // Answers repeat the last execution without its fee: there fills are asked for.
        let (Some(fill_id), Some(_)) = (self.trade_id.filled(), self.fill_fee.filled()) else {
            return Ok(None);
        };
        let quantity = quantity(instrument, &self.fill_sz, "fillSz")?;
        let price = decimal(&self.fill_px, "fillPx")?;
        let (Some(quantity), Some(price)) = (quantity.filter(|q| *q > Decimal::ZERO), price) else {
            return Ok(None);
        };
        let at = millis_or_none(&self.fill_time, "fillTime")?;
        let at = match at {
            Some(at) => Some(at),
            None => millis_or_none(&self.u_time, "uTime")?,
        };
        Ok(Some(FillReport {
            market: instrument.spec.market,
            native_symbol: instrument.spec.native_symbol.clone(),
            fill_id: fill_id.to_owned(),
            client_id: client_id.clone(),
            exchange_id: owned(&self.ord_id),
            side: Some(side),
            price,
            quantity,
            // What was charged is negative there.
            fee: decimal(&self.fill_fee, "fillFee")?.map(turned),
            fee_asset: owned(&self.fill_fee_ccy),
            is_maker: is_maker(&self.exec_type),
            at: at.ok_or(DecodeError::Field { field: "fillTime" })?,
        }))
    }
}

fn is_maker(exec_type: &Text<'_>) -> Option<bool> {
    match exec_type.0.as_ref() {
        "M" => Some(true),
        "T" => Some(false),
        _ => None,
    }
}

impl AlgoRow<'_> {
    /// The ordinary order that it became.
    pub(super) fn child(&self) -> Option<&str> {
        let listed = self.ord_id_list.iter().find_map(Text::filled);
        self.ord_id.filled().or(listed)
    }

    /// Stop price, limit price and whether it is understood: triggers, and orders with one leg.
    fn prices(&self) -> Option<(&Text<'_>, &Text<'_>)> {
        match self.ord_type.0.as_ref() {
            "trigger" => {
                let price = match self.ord_px.filled() {
                    Some(_) => &self.ord_px,
                    None => &self.order_px,
                };
                Some((&self.trigger_px, price))
            }
            "conditional" => match self.sl_trigger_px.filled() {
                Some(_) => Some((&self.sl_trigger_px, &self.sl_ord_px)),
                None => Some((&self.tp_trigger_px, &self.tp_ord_px)),
            },
            _ => None,
        }
    }

    /// Adds what the row tells; nothing when it is of a kind, or of an instrument, that is not traded
    /// here.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.inst_type, &self.inst_id) else {
            return Ok(());
        };
        let Some((stop_price, price)) = self.prices() else {
            return Ok(());
        };
        let market = instrument.spec.market;
        let child = self.child().map(str::to_owned);
        let failed = || {
            let code = self.fail_code.filled();
            Some(code.map_or_else(
                || "the order could not be placed when it was triggered".to_owned(),
                |code| format!("the order could not be placed when it was triggered: okx {code}"),
            ))
        };
        let (word, reason) = match self.state.0.as_ref() {
            "live" | "pause" => (Word::Works, None),
            // What it became says more.
            "effective" | "partially_effective" => (Word::Works, None),
            "canceled" => (Word::Canceled, None),
            "partially_failed" if child.is_some() => (Word::Works, None),
            "order_failed" | "partially_failed" => (Word::Refused, failed()),
            _ => return Ok(()),
        };
        let side = side_of(&self.side)?;
        let price = decimal(price, "ordPx")?.filter(|price| *price > Decimal::ZERO);
        let order_type = match price {
            Some(_) => OrderType::StopLimit,
            None => OrderType::StopMarket,
        };
        let told_quantity = match is_money(market, side, &self.tgt_ccy, price.is_none()) {
            true => None,
            false => quantity(instrument, &self.sz, "sz")?,
        };
        let created_at = millis_or_none(&self.c_time, "cTime")?;
        let at = millis_or_none(&self.u_time, "uTime")?.or(created_at);
        facts.orders.push(OrderReport {
            market,
            native_symbol: instrument.spec.native_symbol.clone(),
            client_id: owned(&self.algo_cl_ord_id),
            news: OrderNews {
                quantity: told_quantity.filter(|quantity| !quantity.is_zero()),
                price,
                exchange_order_id: child,
                trigger_id: owned(&self.algo_id),
                reason,
                ..OrderNews::new(word, at.unwrap_or(now))
            },
            terms: ReportTerms {
                side: Some(side),
                order_type: Some(order_type),
                stop_price: decimal(stop_price, "triggerPx")?,
                time_in_force: Some(match price {
                    Some(_) => TimeInForce::Gtc,
                    None => TimeInForce::Ioc,
                }),
                post_only: Some(false),
                reduce_only: flag(&self.reduce_only),
                position_side: position_side(market, &self.pos_side),
                created_at,
            },
        });
        Ok(())
    }
}

impl FillRow<'_> {
    /// Adds the execution; nothing when its instrument is not traded here.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.inst_type, &self.inst_id) else {
            return Ok(());
        };
        let missing = |field| DecodeError::Field { field };
        facts.fills.push(FillReport {
            market: instrument.spec.market,
            native_symbol: instrument.spec.native_symbol.clone(),
            fill_id: owned(&self.trade_id).ok_or(missing("tradeId"))?,
            client_id: owned(&self.cl_ord_id),
            exchange_id: owned(&self.ord_id),
            side: Some(side_of(&self.side)?),
            price: decimal(&self.fill_px, "fillPx")?.ok_or(missing("fillPx"))?,
            quantity: quantity(instrument, &self.fill_sz, "fillSz")?.ok_or(missing("fillSz"))?,
            fee: decimal(&self.fee, "fee")?.map(turned),
            fee_asset: owned(&self.fee_ccy),
            is_maker: is_maker(&self.exec_type),
            at: millis_or_none(&self.ts, "ts")?.ok_or(missing("ts"))?,
        });
        Ok(())
    }
}
