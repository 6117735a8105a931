//! Orders, executions, positions and wallets, which look the same in answers and events.
//!
//! Sources: `docs/v5/order/*`, `docs/v5/position/*`, `docs/v5/websocket/private/*` and `docs/v5/enum` of the
//! exchange's documentation repository (2026-07-24).

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::event::Side;
use crate::exchange::{DecodeError, ProviderId};
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::exact::{Exact, average};
use crate::trading::order::{Balance, OrderType, Position, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{FillReport, OrderReport, ReportTerms};

use super::frame::stamp;

fn field(field: &'static str) -> DecodeError {
    DecodeError::Field { field }
}

/// Milliseconds in text; empty or 0: not told.
fn time(text: Option<&str>) -> Option<TsNanos> {
    let ms: u64 = text?.parse().ok()?;
    stamp(ms).filter(|time| time.0 > 0)
}

pub(super) fn market(category: &str) -> Option<Market> {
    match category {
        "spot" => Some(Market::Spot),
        "linear" => Some(Market::Perp),
        _ => None,
    }
}

fn side(text: &str) -> Option<Side> {
    match text {
        "Buy" => Some(Side::Buy),
        "Sell" => Some(Side::Sell),
        _ => None,
    }
}

fn position_side(index: u8) -> Option<PositionSide> {
    match index {
        0 => Some(PositionSide::Net),
        1 => Some(PositionSide::Long),
        2 => Some(PositionSide::Short),
        _ => None,
    }
}

/// What a status says, together with why it came to it and what had executed. `None`: one that is
/// not documented.
fn word(status: &str, reason: &str, has_executed: bool) -> Option<Word> {
    Some(match status {
        "New" | "Untriggered" | "Triggered" | "Created" => Word::Works,
        "PartiallyFilled" => Word::WorksInPart,
        "Filled" => Word::Done,
        "Cancelled" | "PartiallyFilledCanceled" | "Deactivated" => match reason {
            // What was left of orders that don't stay.
            "EC_NoImmediateQtyToFill" | "EC_CancelForNoFullFill" | "EC_NoEnoughQtyToFill" => {
                Word::Expired
            }
            // Self-match prevention, of an account that has it switched on.
            "EC_BySelfMatch" => Word::Expired,
            // Told as canceled, and was never let into the book.
            "EC_PostOnlyWillTakeLiquidity" if !has_executed => Word::Refused,
            _ => Word::Canceled,
        },
        // What executed before did.
        "Rejected" if has_executed => Word::Canceled,
        "Rejected" => Word::Refused,
        _ => return None,
    })
}

/// An order, asked for or told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRow {
    /// Events only: answers are about one category.
    category: Option<String>,
    symbol: String,
    order_id: String,
    #[serde(default)]
    order_link_id: String,
    #[serde(default)]
    price: Exact,
    #[serde(default)]
    qty: Exact,
    #[serde(default)]
    side: String,
    position_idx: Option<u8>,
    order_status: String,
    #[serde(default)]
    cancel_type: String,
    #[serde(default)]
    reject_reason: String,
    #[serde(default)]
    avg_price: Exact,
    #[serde(default)]
    cum_exec_qty: Exact,
    #[serde(default)]
    cum_exec_value: Exact,
    #[serde(default)]
    time_in_force: String,
    #[serde(default)]
    order_type: String,
    #[serde(default)]
    market_unit: String,
    #[serde(default)]
    trigger_price: Exact,
    reduce_only: Option<bool>,
    created_time: Option<String>,
    updated_time: Option<String>,
}

impl OrderRow {
    /// True when the row is the one that was asked for.
    pub(super) fn is(&self, client_id: &str, exchange_id: Option<&str>) -> bool {
        let is_same = !client_id.is_empty() && self.order_link_id == client_id;
        is_same || exchange_id.is_some_and(|id| self.order_id == id)
    }

    /// Its market, where its category is one of ours.
    pub(super) fn market(&self) -> Option<Market> {
        market(self.category.as_deref()?)
    }

    fn order_type(&self) -> Option<OrderType> {
        let is_stop = self.trigger_price.above_zero().is_some();
        match (self.order_type.as_str(), is_stop) {
            ("Market", false) => Some(OrderType::Market),
            ("Market", true) => Some(OrderType::StopMarket),
            ("Limit", false) => Some(OrderType::Limit),
            ("Limit", true) => Some(OrderType::StopLimit),
            _ => None,
        }
    }

    fn reason(&self, word: Word) -> Option<String> {
        if !matches!(word, Word::Canceled | Word::Expired | Word::Refused) {
            return None;
        }
        let told = |text: &str, plain: &[&str]| {
            let is_told = !text.is_empty() && !plain.contains(&text);
            is_told.then(|| text.to_owned())
        };
        told(&self.reject_reason, &["EC_NoError"])
            .or_else(|| told(&self.cancel_type, &["UNKNOWN", "CancelByUser"]))
    }

    pub(super) fn report(self, market: Market, now: TsNanos) -> Result<OrderReport, DecodeError> {
        let filled = self.cum_exec_qty.0;
        let executed = self.cum_exec_qty.above_zero();
        let word = word(&self.order_status, &self.reject_reason, executed.is_some())
            .ok_or_else(|| field("orderStatus"))?;
        let value = self.cum_exec_value.above_zero();
        let order_type = self.order_type();
        // Spot buys at the market may be counted in quote units.
        let is_in_quote = market == Market::Spot
            && self.order_type == "Market"
            && self.side == "Buy"
            && self.market_unit != "baseCoin";
        let is_maker_only = matches!(self.time_in_force.as_str(), "PostOnly" | "RPI");
        // Spot's conditional orders may get another number when they trigger.
        let waits = market == Market::Spot
            && matches!(
                self.order_status.as_str(),
                "Untriggered" | "Triggered" | "Deactivated"
            );
        let (exchange_order_id, trigger_id) = match waits {
            false => (Some(self.order_id.clone()), None),
            true => (None, Some(self.order_id.clone())),
        };
        let at = time(self.updated_time.as_deref()).unwrap_or(now);
        let created_at = time(self.created_time.as_deref());
        let news = OrderNews {
            filled,
            average_price: self
                .avg_price
                .above_zero()
                .or_else(|| average(value?, executed?)),
            quantity: self.qty.above_zero().filter(|_| !is_in_quote),
            // Of a market order it is the limit that protects it.
            price: self
                .price
                .above_zero()
                .filter(|_| self.order_type == "Limit"),
            exchange_order_id,
            trigger_id,
            reason: self.reason(word),
            ..OrderNews::new(word, at)
        };
        Ok(OrderReport {
            market,
            client_id: (!self.order_link_id.is_empty()).then_some(self.order_link_id),
            news,
            terms: ReportTerms {
                side: side(&self.side),
                order_type,
                stop_price: self.trigger_price.above_zero(),
                time_in_force: match self.time_in_force.as_str() {
                    _ if is_maker_only => Some(TimeInForce::Gtc),
                    "GTC" => Some(TimeInForce::Gtc),
                    "IOC" => Some(TimeInForce::Ioc),
                    "FOK" => Some(TimeInForce::Fok),
                    _ => None,
                },
                post_only: Some(is_maker_only),
                reduce_only: self.reduce_only,
                position_side: self
                    .position_idx
                    .filter(|_| market == Market::Perp)
                    .and_then(position_side),
                created_at,
            },
            native_symbol: self.symbol,
        })
    }
}

/// An execution, asked for or told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecutionRow {
    category: Option<String>,
    symbol: String,
    order_id: String,
    #[serde(default)]
    order_link_id: String,
    side: String,
    exec_id: String,
    exec_price: Exact,
    exec_qty: Exact,
    #[serde(default)]
    exec_type: String,
    #[serde(default)]
    exec_fee: Exact,
    #[serde(default)]
    fee_currency: String,
    is_maker: Option<bool>,
    exec_time: String,
}

impl ExecutionRow {
    pub(super) fn market(&self) -> Option<Market> {
        market(self.category.as_deref()?)
    }

    /// True for what an order has executed. Funding, settlements and transfers of positions are told
    /// as executions too.
    pub(super) fn is_fill(&self) -> bool {
        matches!(self.exec_type.as_str(), "Trade" | "AdlTrade" | "BustTrade")
    }

    /// What the fee was paid in, where the row does not say it: what was received on spot (the other
    /// one for a maker's rebate), what the contract settles in on linear.
    fn fee_asset(&self, market: Market, table: &InstrumentTable) -> Option<String> {
        if !self.fee_currency.is_empty() {
            return Some(self.fee_currency.clone());
        }
        let row = table.by_native(ProviderId::BYBIT, market, &self.symbol)?;
        if market == Market::Perp {
            return row.spec.settlement_symbol.clone();
        }
        let is_rebate =
            self.is_maker == Some(true) && self.exec_fee.0.is_some_and(|fee| fee < Decimal::ZERO);
        let gets_base = (side(&self.side)? == Side::Buy) != is_rebate;
        Some(match gets_base {
            true => row.spec.base_symbol.clone(),
            false => row.spec.quote_symbol.clone(),
        })
    }

    pub(super) fn report(
        self,
        market: Market,
        table: &InstrumentTable,
    ) -> Result<FillReport, DecodeError> {
        let fee_asset = self.fee_asset(market, table);
        Ok(FillReport {
            market,
            side: side(&self.side),
            native_symbol: self.symbol,
            fill_id: self.exec_id,
            client_id: (!self.order_link_id.is_empty()).then_some(self.order_link_id),
            exchange_id: Some(self.order_id),
            price: self.exec_price.needed("execPrice")?,
            quantity: self.exec_qty.needed("execQty")?,
            fee: self.exec_fee.0,
            fee_asset,
            is_maker: self.is_maker,
            at: time(Some(&self.exec_time)).ok_or_else(|| field("execTime"))?,
        })
    }
}

/// A position, asked for or told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PositionRow {
    category: Option<String>,
    pub(super) position_idx: u8,
    symbol: String,
    side: String,
    size: Exact,
    /// In answers.
    #[serde(default)]
    avg_price: Exact,
    /// In events.
    #[serde(default)]
    entry_price: Exact,
    #[serde(default)]
    leverage: Exact,
    #[serde(default)]
    mark_price: Exact,
    #[serde(default)]
    liq_price: Exact,
    #[serde(default, rename = "positionIM")]
    position_im: Exact,
    #[serde(default)]
    unrealised_pnl: Exact,
    updated_time: Option<String>,
}

impl PositionRow {
    pub(super) fn is_ours(&self) -> bool {
        // Answers are about the category that was asked for.
        self.category.as_deref().is_none_or(|name| name == "linear")
    }

    pub(super) fn told(self) -> Result<Position, DecodeError> {
        let size = self.size.needed("size")?;
        let entry = self.avg_price.above_zero();
        Ok(Position {
            native_symbol: self.symbol,
            position_side: position_side(self.position_idx).ok_or_else(|| field("positionIdx"))?,
            // Sizes have no sign.
            quantity: match self.side.as_str() {
                "Buy" => size,
                "Sell" => -size,
                _ if size.is_zero() => size,
                _ => return Err(field("side")),
            },
            entry_price: entry.or(self.entry_price.above_zero()),
            mark_price: self.mark_price.above_zero(),
            unrealized_pnl: self.unrealised_pnl.0,
            leverage: self.leverage.above_zero(),
            margin: self.position_im.above_zero(),
            margin_ratio: None,
            funding_cost: None,
            liquidation_price: self.liq_price.above_zero(),
            at: time(self.updated_time.as_deref()),
        })
    }
}

/// A wallet, asked for or told.
#[derive(Deserialize)]
pub(super) struct Wallet {
    coin: Vec<CoinRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CoinRow {
    coin: String,
    wallet_balance: Exact,
    /// By spot orders.
    #[serde(default)]
    locked: Exact,
    /// Margin of orders; not told with portfolio margin.
    #[serde(default, rename = "totalOrderIM")]
    order_im: Exact,
    /// Margin of positions.
    #[serde(default, rename = "totalPositionIM")]
    position_im: Exact,
    /// Can't be taken away or traded on spot.
    #[serde(default)]
    bonus: Exact,
}

impl Wallet {
    /// One wallet for all markets. What is free is what neither orders nor positions hold of the coin
    /// itself; with cross margin the exchange counts over all coins, in USD, and may let more be used.
    pub(super) fn told(self) -> Result<Vec<Balance>, DecodeError> {
        let told = |row: CoinRow| {
            let total = row.wallet_balance.needed("walletBalance")?;
            let held = [row.locked, row.order_im, row.position_im, row.bonus];
            let held = held.into_iter().filter_map(|part| part.0);
            let held = held
                .into_iter()
                .try_fold(Decimal::ZERO, Decimal::checked_add);
            let held = held.ok_or_else(|| field("locked"))?;
            let free = total.checked_sub(held).ok_or_else(|| field("locked"))?;
            let free = free.max(Decimal::ZERO);
            Ok(Balance {
                market: None,
                asset: row.coin,
                free,
                locked: total
                    .checked_sub(free)
                    .ok_or_else(|| field("walletBalance"))?
                    .max(Decimal::ZERO),
                total,
            })
        };
        self.coin.into_iter().map(told).collect()
    }
}
