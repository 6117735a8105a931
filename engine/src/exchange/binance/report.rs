//! Orders and executions as Binance tells them in answers, to ours.
//!
//! Sources: spot `rest-api.md` and `enums.md` (2026-07-21); USDⓈ-M order documentation of the official
//! connector 64.0.0 (2026-07-22).

use serde::Deserialize;

use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::exact::{Exact, average};
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{Facts, FillReport, OrderReport, ReportTerms};

use super::fields::stamp;

/// What a status says. `None`: one that is not documented.
pub(super) fn word(status: &str) -> Option<Word> {
    Some(match status {
        // The last two are orders that the exchange makes: of its insurance fund, and to deleverage.
        "NEW" | "PENDING_NEW" | "PENDING_CANCEL" | "NEW_INSURANCE" | "NEW_ADL" => Word::Works,
        "PARTIALLY_FILLED" => Word::WorksInPart,
        "FILLED" => Word::Done,
        "CANCELED" => Word::Canceled,
        "REJECTED" => Word::Refused,
        "EXPIRED" | "EXPIRED_IN_MATCH" => Word::Expired,
        _ => return None,
    })
}

/// What a conditional order's status says. Once it has triggered, the order that it became tells the
/// rest under its own number.
pub(super) fn algo_word(status: &str) -> Option<Word> {
    Some(match status {
        "NEW" | "TRIGGERING" | "TRIGGERED" | "FINISHED" => Word::Works,
        "CANCELED" => Word::Canceled,
        "EXPIRED" => Word::Expired,
        "REJECTED" => Word::Refused,
        _ => return None,
    })
}

pub(super) fn side(text: &str) -> Option<Side> {
    match text {
        "BUY" => Some(Side::Buy),
        "SELL" => Some(Side::Sell),
        _ => None,
    }
}

/// Names of the terms of an order, which are the same in answers and events.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub(super) side: Option<&'a str>,
    pub(super) order_type: Option<&'a str>,
    pub(super) time_in_force: Option<&'a str>,
    pub(super) position_side: Option<&'a str>,
}

impl Names<'_> {
    pub(super) fn terms(&self) -> ReportTerms {
        let order_type = match self.order_type {
            Some("MARKET") => Some(OrderType::Market),
            Some("LIMIT" | "LIMIT_MAKER") => Some(OrderType::Limit),
            Some("STOP_LOSS" | "TAKE_PROFIT_MARKET" | "STOP_MARKET") => Some(OrderType::StopMarket),
            Some("STOP_LOSS_LIMIT" | "TAKE_PROFIT_LIMIT" | "STOP") => Some(OrderType::StopLimit),
            _ => None,
        };
        let is_maker_only = self.order_type == Some("LIMIT_MAKER")
            || matches!(self.time_in_force, Some("GTX" | "RPI"));
        ReportTerms {
            side: self.side.and_then(side),
            order_type,
            time_in_force: match self.time_in_force {
                _ if is_maker_only => Some(TimeInForce::Gtc),
                Some("GTC") => Some(TimeInForce::Gtc),
                Some("IOC") => Some(TimeInForce::Ioc),
                Some("FOK") => Some(TimeInForce::Fok),
                _ => None,
            },
            post_only: self.order_type.map(|_| is_maker_only),
            position_side: self.position_side.and_then(position_side),
            ..ReportTerms::default()
        }
    }

    /// The same, of a market where `TAKE_PROFIT` is a name of two things.
    pub(super) fn terms_of(&self, market: Market) -> ReportTerms {
        let mut terms = self.terms();
        if self.order_type == Some("TAKE_PROFIT") {
            terms.order_type = Some(match market {
                Market::Spot => OrderType::StopMarket,
                Market::Perp => OrderType::StopLimit,
            });
        }
        terms
    }
}

pub(super) fn position_side(text: &str) -> Option<PositionSide> {
    match text {
        "BOTH" => Some(PositionSide::Net),
        "LONG" => Some(PositionSide::Long),
        "SHORT" => Some(PositionSide::Short),
        _ => None,
    }
}

/// Why an order ended, where that is told.
pub(super) fn reason(text: Option<&str>) -> Option<String> {
    text.filter(|text| !matches!(*text, "" | "NONE" | "0"))
        .map(str::to_owned)
}

/// An order of either market: short after it was placed, longer when asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderRow {
    symbol: String,
    order_id: u64,
    client_order_id: String,
    /// The order's own id where `clientOrderId` is that of a cancellation or amendment (spot).
    orig_client_order_id: Option<String>,
    #[serde(default)]
    price: Exact,
    #[serde(default)]
    orig_qty: Exact,
    /// `origQty` in answers to amendments.
    #[serde(default)]
    qty: Exact,
    #[serde(default)]
    executed_qty: Exact,
    /// Sic; spot.
    #[serde(default)]
    cummulative_quote_qty: Exact,
    /// The same in answers to amendments.
    #[serde(default)]
    cumulative_quote_qty: Exact,
    /// The same on USDⓈ-M; not in answers to commands any more.
    #[serde(default)]
    cum_quote: Exact,
    #[serde(default)]
    avg_price: Exact,
    /// Missing in the shortest answer.
    status: Option<String>,
    time_in_force: Option<String>,
    #[serde(rename = "type")]
    order_type: Option<String>,
    /// What it was before it triggered.
    orig_type: Option<String>,
    side: Option<String>,
    #[serde(default)]
    stop_price: Exact,
    reduce_only: Option<bool>,
    position_side: Option<String>,
    time: Option<u64>,
    update_time: Option<u64>,
    transact_time: Option<u64>,
    expiry_reason: Option<String>,
    #[serde(default)]
    fills: Vec<EmbeddedFill>,
}

/// A fill inside of the answer to an order (spot).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbeddedFill {
    price: Exact,
    qty: Exact,
    #[serde(default)]
    commission: Exact,
    commission_asset: Option<String>,
    trade_id: u64,
}

impl OrderRow {
    fn at(&self) -> Option<TsNanos> {
        let told = self.transact_time.or(self.update_time).or(self.time);
        told.filter(|time| *time > 0).map(stamp)
    }

    fn own_id(&self) -> &str {
        let own = self.orig_client_order_id.as_deref();
        own.filter(|id| !id.is_empty())
            .unwrap_or(&self.client_order_id)
    }

    fn client_id(&self, known: Option<&str>) -> String {
        known.unwrap_or_else(|| self.own_id()).to_owned()
    }

    /// Where it stands. `known` is the client's id by which it was asked for: after an amendment by
    /// somebody else it has another one.
    pub(super) fn report(
        &self,
        market: Market,
        known: Option<&str>,
        now: TsNanos,
    ) -> Result<OrderReport, DecodeError> {
        let word = match &self.status {
            Some(status) => word(status).ok_or(DecodeError::Field { field: "status" })?,
            None => Word::Works,
        };
        let value = [
            self.cummulative_quote_qty,
            self.cumulative_quote_qty,
            self.cum_quote,
        ];
        let value = value.into_iter().find_map(Exact::above_zero);
        let executed = self.executed_qty.0;
        let told = self.avg_price.above_zero();
        let names = Names {
            side: self.side.as_deref(),
            order_type: self.orig_type.as_deref().or(self.order_type.as_deref()),
            time_in_force: self.time_in_force.as_deref(),
            position_side: self.position_side.as_deref(),
        };
        Ok(OrderReport {
            market,
            native_symbol: self.symbol.clone(),
            client_id: Some(self.client_id(known)),
            news: OrderNews {
                filled: executed,
                average_price: told.or_else(|| average(value?, executed?)),
                quantity: self.orig_qty.above_zero().or(self.qty.above_zero()),
                price: self.price.above_zero(),
                exchange_order_id: Some(self.order_id.to_string()),
                reason: reason(self.expiry_reason.as_deref()),
                ..OrderNews::new(word, self.at().unwrap_or(now))
            },
            terms: ReportTerms {
                stop_price: self.stop_price.above_zero(),
                reduce_only: self.reduce_only,
                created_at: self.time.map(stamp),
                ..names.terms_of(market)
            },
        })
    }

    /// Its state, and the fills that the answer has with it.
    pub(super) fn tell(
        &self,
        market: Market,
        known: Option<&str>,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let report = self.report(market, known, now)?;
        let mut fills = Vec::with_capacity(self.fills.len());
        for fill in &self.fills {
            fills.push(FillReport {
                market,
                native_symbol: self.symbol.clone(),
                fill_id: fill.trade_id.to_string(),
                client_id: report.client_id.clone(),
                exchange_id: report.news.exchange_order_id.clone(),
                side: report.terms.side,
                price: fill.price.needed("price")?,
                quantity: fill.qty.needed("qty")?,
                fee: fill.commission.0,
                fee_asset: fill.commission_asset.clone(),
                // What executes while it is being placed was not resting.
                is_maker: Some(false),
                at: report.news.at,
            });
        }
        facts.orders.push(report);
        facts.fills.append(&mut fills);
        Ok(())
    }
}

/// A conditional order of USDⓈ-M. It has a number of its own, and another once it has triggered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlgoRow {
    algo_id: u64,
    client_algo_id: String,
    order_type: Option<String>,
    symbol: String,
    side: Option<String>,
    position_side: Option<String>,
    time_in_force: Option<String>,
    #[serde(default)]
    quantity: Exact,
    algo_status: String,
    #[serde(default)]
    trigger_price: Exact,
    #[serde(default)]
    price: Exact,
    reduce_only: Option<bool>,
    create_time: Option<u64>,
    update_time: Option<u64>,
    /// Text, empty before it has triggered.
    actual_order_id: Option<serde_json::Value>,
}

impl AlgoRow {
    /// The number of the order that it became.
    pub(super) fn order_id(&self) -> Option<String> {
        order_number(self.actual_order_id.as_ref()?)
    }

    pub(super) fn report(&self, now: TsNanos) -> Result<OrderReport, DecodeError> {
        let word = algo_word(&self.algo_status).ok_or(DecodeError::Field {
            field: "algoStatus",
        })?;
        let names = Names {
            side: self.side.as_deref(),
            order_type: self.order_type.as_deref(),
            time_in_force: self.time_in_force.as_deref(),
            position_side: self.position_side.as_deref(),
        };
        let time = |time: Option<u64>| time.filter(|time| *time > 0).map(stamp);
        Ok(OrderReport {
            market: Market::Perp,
            native_symbol: self.symbol.clone(),
            client_id: Some(self.client_algo_id.clone()),
            news: OrderNews {
                quantity: self.quantity.above_zero(),
                price: self.price.above_zero(),
                exchange_order_id: self.order_id(),
                trigger_id: Some(self.algo_id.to_string()),
                ..OrderNews::new(word, time(self.update_time).unwrap_or(now))
            },
            terms: ReportTerms {
                stop_price: self.trigger_price.above_zero(),
                reduce_only: self.reduce_only,
                created_at: time(self.create_time),
                ..names.terms_of(Market::Perp)
            },
        })
    }
}

/// A number of an order, as text or bare; empty and 0 are none.
pub(super) fn order_number(value: &serde_json::Value) -> Option<String> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && text != "0").then_some(text)
}

/// An execution of either market, when asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TradeRow {
    symbol: String,
    id: u64,
    order_id: u64,
    price: Exact,
    qty: Exact,
    #[serde(default)]
    commission: Exact,
    commission_asset: Option<String>,
    time: u64,
    /// Spot.
    is_buyer: Option<bool>,
    /// Spot.
    is_maker: Option<bool>,
    /// USDⓈ-M.
    buyer: Option<bool>,
    /// USDⓈ-M.
    maker: Option<bool>,
}

impl TradeRow {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn report(
        self,
        market: Market,
        client_id: Option<&str>,
    ) -> Result<FillReport, DecodeError> {
        let is_buy = self.is_buyer.or(self.buyer);
        Ok(FillReport {
            market,
            native_symbol: self.symbol,
            fill_id: self.id.to_string(),
            client_id: client_id.map(str::to_owned),
            exchange_id: Some(self.order_id.to_string()),
            side: is_buy.map(|is_buy| match is_buy {
                true => Side::Buy,
                false => Side::Sell,
            }),
            price: self.price.needed("price")?,
            quantity: self.qty.needed("qty")?,
            fee: self.commission.0,
            fee_asset: self.commission_asset,
            is_maker: self.is_maker.or(self.maker),
            at: stamp(self.time),
        })
    }
}
