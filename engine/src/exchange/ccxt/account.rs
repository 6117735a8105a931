//! What the bridge tells of an account: orders, executions, balances, positions, what can be done.
//!
//! Answers and pushed messages have one form, ccxt's unified structures with their numbers as text
//! and quantities in base units ([`Told`]). Source: the manual's "order structure", "trade structure",
//! "balance structure" and "position structure" of ccxt 4.5.90.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::{Market, venue_key};
use crate::time::TsNanos;
use crate::trading::exact::Exact;
use crate::trading::order::{Balance, OrderType, Position, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{
    Amend, Facts, FillReport, KeyPermissions, OrderReport, OrderSupport, ReportTerms,
};

use super::rest::{read, stamp};

/// All that one answer or message tells.
#[derive(Deserialize)]
pub(super) struct Told {
    /// ccxt's id of the exchange.
    exchange: String,
    #[serde(default)]
    orders: Vec<OrderRow>,
    #[serde(default)]
    fills: Vec<FillRow>,
    #[serde(default)]
    balances: Vec<BalanceRow>,
    #[serde(default)]
    all_balances: bool,
    #[serde(default)]
    positions: Vec<PositionRow>,
    #[serde(default)]
    all_positions: bool,
    hedged: Option<bool>,
    #[serde(default)]
    abilities: Vec<AbilityRow>,
}

/// An order. Missing: not told.
#[derive(Deserialize)]
struct OrderRow {
    market: String,
    /// The exchange's spelling.
    symbol: String,
    id: Option<String>,
    /// The client's id, as we have given it.
    client: Option<String>,
    /// `open`, `closed`, `canceled`, `expired`, `rejected`; none where the exchange only says that it
    /// has taken something in.
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    side: Option<String>,
    #[serde(default)]
    price: Exact,
    #[serde(default)]
    stop: Exact,
    #[serde(default)]
    amount: Exact,
    #[serde(default)]
    filled: Exact,
    #[serde(default)]
    average: Exact,
    tif: Option<String>,
    post_only: Option<bool>,
    reduce_only: Option<bool>,
    created: Option<i64>,
    updated: Option<i64>,
    /// It is in the list of orders that wait for a price, which the exchange keeps apart: its id is
    /// that of the waiting order.
    #[serde(default)]
    trigger: bool,
    /// Id of the order that a waiting one has become.
    becomes: Option<String>,
    /// One of ours at an exchange that amends none: amount and price are what they were.
    #[serde(default)]
    fixed: bool,
}

/// An execution.
#[derive(Deserialize)]
struct FillRow {
    market: String,
    symbol: String,
    id: String,
    order: Option<String>,
    client: Option<String>,
    side: Option<String>,
    price: Exact,
    amount: Exact,
    #[serde(default)]
    fee: Exact,
    fee_asset: Option<String>,
    maker: Option<bool>,
    ts: i64,
}

#[derive(Deserialize)]
struct BalanceRow {
    /// Whose wallet; none: one for all.
    market: Option<String>,
    asset: String,
    #[serde(default)]
    free: Exact,
    #[serde(default)]
    used: Exact,
    #[serde(default)]
    total: Exact,
}

#[derive(Deserialize)]
struct PositionRow {
    symbol: String,
    /// `long` or `short`; none where there is nothing.
    side: Option<String>,
    #[serde(default)]
    hedged: bool,
    /// Without a sign.
    amount: Exact,
    #[serde(default)]
    entry: Exact,
    #[serde(default)]
    mark: Exact,
    #[serde(default)]
    pnl: Exact,
    #[serde(default)]
    leverage: Exact,
    #[serde(default)]
    margin: Exact,
    #[serde(default)]
    ratio: Exact,
    #[serde(default)]
    liquidation: Exact,
    ts: Option<i64>,
}

/// What ccxt says that it can do on an exchange.
#[derive(Deserialize)]
struct AbilityRow {
    market: String,
    market_orders: bool,
    stops: bool,
    ioc: bool,
    fok: bool,
    post_only: bool,
    reduce_only: bool,
    /// Amended in place, under the same id.
    amend: bool,
    leverage: bool,
    hedged: bool,
    /// An order can be asked for by our id.
    client_lookup: bool,
    /// What the key may do there; missing: the exchange can't be asked.
    rights: Option<Rights>,
}

#[derive(Deserialize)]
struct Rights {
    trade: bool,
    withdraw: bool,
}

fn market(name: &str) -> Result<Market, DecodeError> {
    Market::parse(name).ok_or(DecodeError::Field { field: "market" })
}

fn side(name: Option<&str>) -> Option<Side> {
    match name? {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

fn time(ms: Option<i64>) -> Option<TsNanos> {
    stamp(ms?, "timestamp").ok()
}

fn told(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl OrderRow {
    fn order_type(&self) -> Option<OrderType> {
        let kind = self
            .kind
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let has_price = match (kind.contains("market"), kind.contains("limit")) {
            (true, _) => false,
            (_, true) => true,
            // `trigger`, `conditional`, `stop`.
            (false, false) if kind.is_empty() => return None,
            (false, false) => self.price.above_zero().is_some(),
        };
        Some(match (has_price, self.stop.above_zero().is_some()) {
            (false, false) => OrderType::Market,
            (true, false) => OrderType::Limit,
            (false, true) => OrderType::StopMarket,
            (true, true) => OrderType::StopLimit,
        })
    }

    fn time_in_force(&self) -> Option<TimeInForce> {
        match self.tif.as_deref()? {
            // Post only.
            "PO" => Some(TimeInForce::Gtc),
            tif => TimeInForce::parse(tif),
        }
    }

    /// What its status says; `None`: nothing.
    fn word(&self) -> Option<Word> {
        let executed = self.filled.above_zero();
        let is_part = match (executed, self.amount.0) {
            (Some(executed), Some(amount)) => executed < amount,
            (None, _) => self.filled.0.is_some(),
            (Some(_), None) => false,
        };
        let is_stop = self.stop.above_zero().is_some();
        let lasts = match self.order_type() {
            // One that still waited was canceled by somebody.
            _ if is_stop && executed.is_none() => true,
            Some(OrderType::Market | OrderType::StopMarket) => false,
            _ => self.time_in_force().unwrap_or(TimeInForce::Gtc) == TimeInForce::Gtc,
        };
        let ended = match lasts {
            true => Word::Canceled,
            // What is left of an order that does not stay.
            false => Word::Expired,
        };
        Some(match (self.status.as_deref()?, executed.is_some()) {
            ("open" | "canceling", false) => Word::Works,
            ("open" | "canceling", true) => Word::WorksInPart,
            // It has triggered; the order that it became is another one.
            ("closed", false) if self.trigger => Word::Works,
            ("closed", _) if is_part => ended,
            ("closed", _) => Word::Done,
            ("canceled" | "cancelled", _) => ended,
            ("expired", _) => Word::Expired,
            // What executed before did.
            ("rejected", true) => Word::Canceled,
            ("rejected", false) => Word::Refused,
            _ => return None,
        })
    }

    /// `None` for one whose status says nothing, unless it `is_taken`: an answer to its placing.
    fn report(
        self,
        exchange: &str,
        is_taken: bool,
        now: TsNanos,
    ) -> Result<Option<OrderReport>, DecodeError> {
        let word = match self.word() {
            Some(word) => word,
            None if is_taken && self.id.is_some() => Word::Works,
            None => return Ok(None),
        };
        let order_type = self.order_type();
        let (id, becomes) = (told(self.id.clone()), told(self.becomes.clone()));
        let (exchange_order_id, trigger_id) = match self.trigger {
            false => (id, None),
            true => (becomes, id),
        };
        let news = OrderNews {
            filled: self.filled.0,
            average_price: self.average.above_zero(),
            quantity: self.amount.above_zero().filter(|_| !self.fixed),
            // Of a market order ccxt tells the average.
            price: self
                .price
                .above_zero()
                .filter(|_| !self.fixed && order_type.is_some_and(OrderType::has_price)),
            exchange_order_id,
            trigger_id,
            reason: match word {
                Word::Refused => Some("rejected by the exchange".to_owned()),
                _ => None,
            },
            ..OrderNews::new(word, time(self.updated).unwrap_or(now))
        };
        let time_in_force = self.time_in_force();
        Ok(Some(OrderReport {
            market: market(&self.market)?,
            native_symbol: venue_key(exchange, &self.symbol),
            client_id: told(self.client),
            news,
            terms: ReportTerms {
                side: side(self.side.as_deref()),
                order_type,
                stop_price: self.stop.above_zero(),
                time_in_force,
                post_only: self.post_only,
                reduce_only: self.reduce_only,
                position_side: None,
                created_at: time(self.created),
            },
        }))
    }
}

impl FillRow {
    fn report(self, exchange: &str) -> Result<FillReport, DecodeError> {
        Ok(FillReport {
            market: market(&self.market)?,
            native_symbol: venue_key(exchange, &self.symbol),
            fill_id: self.id,
            client_id: told(self.client),
            exchange_id: told(self.order),
            side: side(self.side.as_deref()),
            price: self.price.needed("price")?,
            quantity: self.amount.needed("amount")?,
            fee_asset: told(self.fee_asset).filter(|_| self.fee.0.is_some()),
            fee: self.fee.0,
            is_maker: self.maker,
            at: stamp(self.ts, "timestamp")?,
        })
    }
}

impl BalanceRow {
    /// Two of the three numbers are enough.
    fn told(self) -> Result<Balance, DecodeError> {
        let missing = DecodeError::Field { field: "total" };
        let (free, used, total) = (self.free.0, self.used.0, self.total.0);
        let difference = |a: Decimal, b: Decimal| a.checked_sub(b).map(|d| d.max(Decimal::ZERO));
        let total = match (total, free, used) {
            (Some(total), ..) => total,
            (None, Some(free), Some(used)) => free.checked_add(used).ok_or(missing.clone())?,
            (None, Some(free), None) => free,
            (None, None, _) => return Err(missing),
        };
        let free = match (free, used) {
            (Some(free), _) => free,
            (None, Some(used)) => difference(total, used).ok_or(missing.clone())?,
            (None, None) => total,
        };
        Ok(Balance {
            market: self.market.as_deref().map(market).transpose()?,
            asset: self.asset,
            free,
            locked: match used {
                Some(used) => used,
                None => difference(total, free).ok_or(missing)?,
            },
            total,
        })
    }
}

impl PositionRow {
    fn told(self, exchange: &str, now: TsNanos) -> Result<Position, DecodeError> {
        let amount = self.amount.0.unwrap_or_default().abs();
        let is_short = self.side.as_deref() == Some("short");
        if self.side.is_none() && !amount.is_zero() {
            return Err(DecodeError::Field { field: "side" });
        }
        Ok(Position {
            native_symbol: venue_key(exchange, &self.symbol),
            position_side: match (self.hedged, is_short) {
                (false, _) => PositionSide::Net,
                (true, false) => PositionSide::Long,
                (true, true) => PositionSide::Short,
            },
            quantity: if is_short { -amount } else { amount },
            entry_price: self.entry.above_zero(),
            mark_price: self.mark.above_zero(),
            unrealized_pnl: self.pnl.0,
            leverage: self.leverage.above_zero(),
            margin: self.margin.above_zero(),
            margin_ratio: self.ratio.above_zero(),
            funding_cost: None,
            liquidation_price: self.liquidation.above_zero(),
            at: Some(time(self.ts).unwrap_or(now)),
        })
    }
}

const LIMIT_ALONE: &[OrderType] = &[OrderType::Limit];
const PLAIN: &[OrderType] = &[OrderType::Market, OrderType::Limit];
const LIMIT_STOPS: &[OrderType] = &[OrderType::Limit, OrderType::StopLimit];

impl AbilityRow {
    fn told(&self) -> Result<(Market, OrderSupport), DecodeError> {
        use TimeInForce::{Fok, Gtc, Ioc};
        let market = market(&self.market)?;
        let is_perp = market == Market::Perp;
        let support = OrderSupport {
            types: match (self.market_orders, self.stops) {
                (true, true) => OrderType::ALL,
                (true, false) => PLAIN,
                (false, true) => LIMIT_STOPS,
                (false, false) => LIMIT_ALONE,
            },
            times_in_force: match (self.ioc, self.fok) {
                (true, true) => TimeInForce::ALL,
                (true, false) => &[Gtc, Ioc],
                (false, true) => &[Gtc, Fok],
                (false, false) => &[Gtc],
            },
            has_post_only: self.post_only,
            has_reduce_only: is_perp && self.reduce_only,
            amend: match self.amend {
                true => Amend::Native,
                false => Amend::Replace,
            },
            has_leverage: is_perp && self.leverage,
            dead_man_secs: None,
            has_hedge_mode: is_perp && self.hedged,
            has_client_id_lookup: self.client_lookup,
            has_margin: false,
        };
        Ok((market, support))
    }
}

impl Told {
    /// The facts. `is_taken`: an order without a status was taken in.
    pub(super) fn facts(self, is_taken: bool, now: TsNanos) -> Result<Facts, DecodeError> {
        let exchange = &self.exchange;
        let mut facts = Facts {
            has_all_balances: self.all_balances,
            has_all_positions: self.all_positions,
            is_hedged: self.hedged,
            ..Facts::default()
        };
        for row in self.orders {
            facts.orders.extend(row.report(exchange, is_taken, now)?);
        }
        for row in self.fills {
            facts.fills.push(row.report(exchange)?);
        }
        for row in self.balances {
            facts.balances.push(row.told()?);
        }
        for row in self.positions {
            facts.positions.push(row.told(exchange, now)?);
        }
        for row in &self.abilities {
            facts.support.push(row.told()?);
            facts.permissions = row.rights.as_ref().map(|rights| KeyPermissions {
                can_read: true,
                can_trade: rights.trade,
                can_withdraw: rights.withdraw,
            });
        }
        Ok(facts)
    }
}

/// What an answer tells.
pub(super) fn parse(body: &[u8], is_taken: bool, now: TsNanos) -> Result<Facts, DecodeError> {
    read::<Told>(body, "exchange")?.facts(is_taken, now)
}
