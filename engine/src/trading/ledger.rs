//! All that is known of an account: its orders, executions, balances and positions.
//!
//! Facts come from answers, private streams and reconciliations, in any order and more than once; the
//! ledger finds the order that each is about, counts every execution once, adopts open orders that
//! somebody else made, and says what changed. It decides nothing and sends nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use rust_decimal::Decimal;

use super::journal::Replayed;
use super::order::{
    Balance, Fill, Order, OrderId, OrderStatus, OrderTerms, OrderType, Origin, Position,
    PositionSide, TimeInForce, TradingMode,
};
use super::state::{OrderNews, Word};
use super::venue::{Facts, FillReport, OrderReport};
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;

/// Orders that are over and executions kept in memory. Older client order ids are still remembered.
pub const FINAL_MAX: usize = 50_000;

/// Whose ledger it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerOf {
    /// The exchange's connection.
    pub provider: ProviderId,
    /// Account at the provider.
    pub account: String,
    /// Paper or live.
    pub mode: TradingMode,
}

/// What became of facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Absorbed {
    /// Orders that changed, and the execution that did it where it was one; in order. All of them are
    /// for the journal.
    pub orders: Vec<(OrderId, Option<Fill>)>,
    /// Balances that changed.
    pub balances: Vec<Balance>,
    /// Positions that changed.
    pub positions: Vec<Position>,
    /// What was known had been wrong, in words.
    pub corrections: Vec<String>,
    /// Executions of orders that nobody here knows.
    pub strange_fills: usize,
    /// Orders of which executions are missing.
    pub wants_fills: Vec<OrderId>,
}

impl Absorbed {
    /// True when nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.balances.is_empty() && self.positions.is_empty()
    }
}

/// Of how many orders a filter may be satisfied, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Only of this instrument.
    pub entity_id: Option<String>,
    /// Only with one of these; empty: all.
    pub statuses: Vec<OrderStatus>,
    /// Made at or after.
    pub start: Option<TsNanos>,
    /// Made at or before.
    pub end: Option<TsNanos>,
    /// At most so many, the newest.
    pub limit: usize,
}

impl OrderFilter {
    fn admits(&self, order: &Order) -> bool {
        let entity = self.entity_id.as_ref();
        entity.is_none_or(|entity| *entity == order.terms.entity_id)
            && (self.statuses.is_empty() || self.statuses.contains(&order.status))
            && self.start.is_none_or(|start| order.created_at >= start)
            && self.end.is_none_or(|end| order.created_at <= end)
    }
}

type NativeKey = (Market, String, String);
type FillKey = (Market, String, String);
type BalanceKey = (Option<Market>, String);
type PositionKey = (String, PositionSide);

/// The ledger. See the module's text.
#[derive(Debug)]
pub struct Ledger {
    of: LedgerOf,
    /// Each in a place of its own: a node of the tree has room for eleven and is half empty where numbers grow.
    orders: BTreeMap<OrderId, Box<Order>>,
    /// Those that can still execute: looked through for every order that is placed, of which the ones
    /// that are over, tens of thousands of them, must be no part.
    open: BTreeSet<OrderId>,
    by_client: HashMap<String, OrderId>,
    /// By the ids that exchanges know them by, where those are not our own.
    by_native: HashMap<String, OrderId>,
    by_exchange: HashMap<NativeKey, OrderId>,
    used: BTreeMap<String, OrderId>,
    fills: VecDeque<Fill>,
    seen: HashSet<FillKey>,
    balances: BTreeMap<BalanceKey, Balance>,
    positions: BTreeMap<PositionKey, Position>,
    final_count: usize,
}

/// What a client's order id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Nothing.
    New,
    /// This order.
    Order(&'a Order),
    /// An order that is no longer kept.
    Forgotten(OrderId),
}

impl Ledger {
    /// A ledger that goes on where a journal ended.
    #[must_use]
    pub fn new(of: LedgerOf, replayed: Replayed) -> Self {
        let mut ledger = Self {
            of,
            orders: BTreeMap::new(),
            open: BTreeSet::new(),
            by_client: HashMap::new(),
            by_native: HashMap::new(),
            by_exchange: HashMap::new(),
            used: replayed.used,
            fills: VecDeque::new(),
            seen: HashSet::new(),
            balances: BTreeMap::new(),
            positions: BTreeMap::new(),
            final_count: 0,
        };
        for order in replayed.orders.into_values() {
            ledger.insert(order);
        }
        for fill in replayed.fills {
            if let Some(order) = ledger.orders.get(&fill.order_id) {
                let key = fill_key(
                    order.terms.market,
                    &order.terms.native_symbol,
                    &fill.fill_id,
                );
                ledger.seen.insert(key);
                ledger.fills.push_back(fill);
            }
        }
        ledger
    }

    /// Whose it is.
    #[must_use]
    pub const fn of(&self) -> &LedgerOf {
        &self.of
    }

    /// Takes a new order, before it is sent.
    pub fn insert(&mut self, order: Order) {
        if let Some(client) = &order.asked().client_order_id {
            self.by_client.insert(client.clone(), order.id);
        }
        let native = &order.native_client_id;
        if !native.is_empty() && OrderId::parse(native) != Some(order.id) {
            self.by_native.insert(native.clone(), order.id);
        }
        // As one that is over: what it is is counted below.
        self.final_count += 1;
        self.count(order.id, true, order.status.is_final());
        index_exchange_ids(&mut self.by_exchange, &order);
        self.orders.insert(order.id, Box::new(order));
    }

    /// Keeps the lists of orders that are open and over.
    fn count(&mut self, id: OrderId, was_final: bool, is_final: bool) {
        self.final_count = self.final_count + usize::from(is_final) - usize::from(was_final);
        match is_final {
            true => self.open.remove(&id),
            false => self.open.insert(id),
        };
    }

    /// An order.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id).map(Box::as_ref)
    }

    /// What a client's order id stands for.
    #[must_use]
    pub fn known(&self, client_order_id: &str) -> Known<'_> {
        let order = self.by_client.get(client_order_id);
        match order.and_then(|id| self.orders.get(id)) {
            Some(order) => Known::Order(order),
            None => match self.used.get(client_order_id) {
                Some(id) => Known::Forgotten(*id),
                None => Known::New,
            },
        }
    }

    /// Orders that can still execute, oldest first.
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.open.iter().filter_map(|id| self.order(*id))
    }

    /// Orders of a filter, newest first.
    #[must_use]
    pub fn list(&self, filter: &OrderFilter) -> Vec<&Order> {
        let all = self.orders.values().rev().map(Box::as_ref);
        all.filter(|order| filter.admits(order))
            .take(filter.limit)
            .collect()
    }

    /// Executions of a filter, newest first; its statuses are not looked at, its times are those of
    /// the executions.
    #[must_use]
    pub fn fills(&self, filter: &OrderFilter) -> Vec<&Fill> {
        let entity = filter.entity_id.as_ref();
        let all = self.fills.iter().rev();
        all.filter(|fill| {
            entity.is_none_or(|entity| *entity == fill.entity_id)
                && filter.start.is_none_or(|start| fill.at >= start)
                && filter.end.is_none_or(|end| fill.at <= end)
        })
        .take(filter.limit)
        .collect()
    }

    /// Executions of an order, oldest first.
    pub fn fills_of(&self, id: OrderId) -> impl Iterator<Item = &Fill> {
        self.fills.iter().filter(move |fill| fill.order_id == id)
    }

    /// Balances.
    pub fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.balances.values()
    }

    /// What is free of an asset in a market's wallet; `None`: nothing has been told of it.
    #[must_use]
    pub fn free(&self, market: Market, asset: &str) -> Option<Decimal> {
        let own = self.balances.get(&(Some(market), asset.to_owned()));
        let one = || self.balances.get(&(None, asset.to_owned()));
        own.or_else(one).map(|balance| balance.free)
    }

    /// All of an asset in a market's wallet; `None`: nothing has been told of it.
    #[must_use]
    pub fn total(&self, market: Market, asset: &str) -> Option<Decimal> {
        let own = self.balances.get(&(Some(market), asset.to_owned()));
        let one = || self.balances.get(&(None, asset.to_owned()));
        own.or_else(one).map(|balance| balance.total)
    }

    /// Positions that are not flat.
    pub fn positions(&self) -> impl Iterator<Item = &Position> {
        let all = self.positions.values();
        all.filter(|position| !position.quantity.is_zero())
    }

    /// A position, flat ones too where they were told.
    #[must_use]
    pub fn position(&self, native_symbol: &str, side: PositionSide) -> Option<&Position> {
        self.positions.get(&(native_symbol.to_owned(), side))
    }

    /// Notes that an order is about to be canceled.
    pub fn ask_cancel(&mut self, id: OrderId, at: TsNanos) {
        if let Some(order) = self.orders.get_mut(&id) {
            order.is_cancel_asked = true;
            order.updated_at = order.updated_at.max(at);
        }
    }

    /// Open orders that sessions of a key watch over, or of any.
    pub fn guarded(&self, key: Option<&str>) -> impl Iterator<Item = &Order> {
        self.open_orders().filter(move |order| {
            let by = order.guarded_by.as_deref();
            by.is_some() && (key.is_none() || by == key)
        })
    }

    /// Nobody watches over an order any more; it stays.
    pub fn unguard(&mut self, id: OrderId) {
        if let Some(order) = self.orders.get_mut(&id) {
            order.guarded_by = None;
        }
    }

    /// Notes which order took an order's place.
    pub fn replace(&mut self, id: OrderId, by: OrderId) {
        if let Some(order) = self.orders.get_mut(&id) {
            order.replaced_by = Some(by);
        }
    }

    /// Takes news of an order of which it is known which it is.
    pub fn tell(&mut self, id: OrderId, news: &OrderNews) -> Absorbed {
        let mut absorbed = Absorbed::default();
        self.apply(id, news, &mut absorbed);
        absorbed
    }

    /// Takes facts.
    pub fn absorb(&mut self, facts: &Facts, table: &InstrumentTable, now: TsNanos) -> Absorbed {
        let mut absorbed = Absorbed::default();
        for report in &facts.orders {
            match self.find(report) {
                Some(id) => {
                    self.apply(id, &report.news, &mut absorbed);
                }
                None => self.adopt(report, table, now, &mut absorbed),
            }
        }
        for fill in &facts.fills {
            self.take_fill(fill, &mut absorbed);
        }
        self.take_balances(facts, &mut absorbed);
        self.take_positions(facts, &mut absorbed);
        self.forget();
        absorbed
    }

    /// The order that an exchange knows by this id.
    fn named(&self, client: &str) -> Option<OrderId> {
        let own = OrderId::parse(client).and_then(|id| self.orders.get(&id));
        let own = own.filter(|order| order.native_client_id == client);
        own.map(|order| order.id)
            .or_else(|| self.by_native.get(client).copied())
    }

    fn find(&self, report: &OrderReport) -> Option<OrderId> {
        let client = report.client_id.as_ref();
        let news = &report.news;
        let named = client.and_then(|client| self.named(client));
        // Ids of ours are good for one order. Others use theirs again once an order is over.
        let is_another = |order: &Order| {
            order.origin == Origin::Adopted
                && order.status.is_final()
                && news.exchange_order_id.is_some()
                && news.exchange_order_id != order.exchange_order_id
        };
        if let Some(id) = named
            && self.order(id).is_some_and(|order| !is_another(order))
        {
            return Some(id);
        }
        let ids = [&news.exchange_order_id, &news.trigger_id]
            .into_iter()
            .flatten();
        ids.filter_map(|id| {
            let key = (report.market, report.native_symbol.clone(), id.clone());
            self.by_exchange.get(&key)
        })
        .next()
        .copied()
    }

    fn apply(&mut self, id: OrderId, news: &OrderNews, absorbed: &mut Absorbed) {
        let Some(order) = self.orders.get_mut(&id) else {
            return;
        };
        let was_final = order.status.is_final();
        let before = order.status;
        let change = order.apply(news);
        if change.is_correction {
            absorbed.corrections.push(format!(
                "order {id} was {before} here and is {} at the exchange",
                order.status
            ));
        }
        if !order.missing_fills().is_zero() {
            absorbed.wants_fills.push(id);
        }
        let is_final = order.status.is_final();
        index_exchange_ids(&mut self.by_exchange, order);
        self.count(id, was_final, is_final);
        if change.is_visible {
            absorbed.orders.push((id, None));
        }
    }

    /// Takes an open order that somebody else made.
    fn adopt(
        &mut self,
        report: &OrderReport,
        table: &InstrumentTable,
        now: TsNanos,
        absorbed: &mut Absorbed,
    ) {
        let provider = self.of.provider;
        let Some(instrument) = table.by_native(provider, report.market, &report.native_symbol)
        else {
            return;
        };
        let terms = &report.terms;
        let news = &report.news;
        let is_open = matches!(news.word, Word::Works | Word::WorksInPart);
        let (Some(side), Some(quantity), true) = (terms.side, news.quantity, is_open) else {
            return;
        };
        let order_type = terms.order_type.unwrap_or(OrderType::Limit);
        let created_at = terms.created_at.unwrap_or(now);
        // The same order gets the same number after every restart.
        let number = crc32fast::hash(
            format!(
                "{}{}{}",
                report.native_symbol,
                news.exchange_order_id.as_deref().unwrap_or_default(),
                news.trigger_id.as_deref().unwrap_or_default()
            )
            .as_bytes(),
        );
        let id = OrderId::new(created_at, u128::from(number));
        let asked = OrderTerms {
            provider,
            account: self.of.account.clone(),
            entity_id: instrument.entity_id(),
            market: report.market,
            symbol: instrument.stream_symbol(),
            native_symbol: report.native_symbol.clone(),
            side,
            order_type,
            quantity,
            price: news.price.filter(|_| order_type.has_price()),
            stop_price: terms.stop_price.filter(|_| order_type.is_stop()),
            time_in_force: terms.time_in_force.unwrap_or(TimeInForce::Gtc),
            post_only: terms.post_only.unwrap_or(false),
            reduce_only: terms.reduce_only.unwrap_or(false),
            margin_trading: false,
            position_side: terms.position_side,
            leverage: None,
            client_order_id: None,
        };
        let client = report.client_id.clone().unwrap_or_default();
        let mut order = Order::new(id, asked, client, self.of.mode, created_at);
        order.origin = Origin::Adopted;
        order.apply(news);
        absorbed.corrections.push(format!(
            "order {id} was made elsewhere and is adopted ({} {} {})",
            order.terms.side.as_str(),
            order.terms.quantity,
            order.terms.native_symbol
        ));
        self.insert(order);
        absorbed.orders.push((id, None));
    }

    fn take_fill(&mut self, report: &FillReport, absorbed: &mut Absorbed) {
        let client = report.client_id.as_ref();
        let native = || client.and_then(|client| self.named(client));
        let exchange = || {
            let id = report.exchange_id.clone()?;
            let key = (report.market, report.native_symbol.clone(), id);
            self.by_exchange.get(&key).copied()
        };
        let Some(id) = native().or_else(exchange) else {
            absorbed.strange_fills += 1;
            return;
        };
        let key = fill_key(report.market, &report.native_symbol, &report.fill_id);
        if self.seen.contains(&key) {
            return;
        }
        let Some(order) = self.orders.get_mut(&id) else {
            absorbed.strange_fills += 1;
            return;
        };
        let fill = Fill {
            fill_id: report.fill_id.clone(),
            order_id: id,
            provider: self.of.provider,
            account: self.of.account.clone(),
            entity_id: order.terms.entity_id.clone(),
            symbol: order.terms.symbol.clone(),
            side: order.terms.side,
            price: report.price,
            quantity: report.quantity,
            fee: report.fee,
            fee_asset: report.fee_asset.clone(),
            is_maker: report.is_maker,
            at: report.at,
        };
        let was_final = order.status.is_final();
        order.take_fill(&fill);
        let is_final = order.status.is_final();
        self.count(id, was_final, is_final);
        self.seen.insert(key);
        self.fills.push_back(fill.clone());
        absorbed.wants_fills.retain(|wanting| {
            *wanting != id
                || self
                    .orders
                    .get(&id)
                    .is_some_and(|o| !o.missing_fills().is_zero())
        });
        absorbed.orders.push((id, Some(fill)));
    }

    fn take_balances(&mut self, facts: &Facts, absorbed: &mut Absorbed) {
        let key = |balance: &Balance| (balance.market, balance.asset.clone());
        let mut changed: Vec<Balance> = Vec::new();
        if facts.has_all_balances {
            let told: HashSet<BalanceKey> = facts.balances.iter().map(key).collect();
            let markets: HashSet<Option<Market>> = facts
                .balances
                .iter()
                .map(|balance| balance.market)
                .collect();
            for (key, balance) in &mut self.balances {
                let is_gone = markets.contains(&key.0) && !told.contains(key);
                if is_gone && !balance.total.is_zero() {
                    (balance.free, balance.locked, balance.total) = Default::default();
                    changed.push(balance.clone());
                }
            }
        }
        for balance in &facts.balances {
            let before = self.balances.insert(key(balance), balance.clone());
            let is_new = before.as_ref() != Some(balance);
            if is_new && (before.is_some() || !balance.total.is_zero()) {
                changed.push(balance.clone());
            }
        }
        absorbed.balances = changed;
    }

    fn take_positions(&mut self, facts: &Facts, absorbed: &mut Absorbed) {
        let key = |position: &Position| (position.native_symbol.clone(), position.position_side);
        let mut changed: Vec<Position> = Vec::new();
        if facts.has_all_positions {
            let told: HashSet<PositionKey> = facts.positions.iter().map(key).collect();
            for (key, position) in &mut self.positions {
                if !told.contains(key) && !position.quantity.is_zero() {
                    position.quantity = Decimal::ZERO;
                    position.unrealized_pnl = None;
                    changed.push(position.clone());
                }
            }
        }
        for position in &facts.positions {
            let before = self.positions.get(&key(position));
            // A stream's message can be older than the answer that was read before.
            let is_old = before.is_some_and(|before| position.at < before.at);
            if is_old && !facts.has_all_positions {
                continue;
            }
            let is_same = before.is_some_and(|before| {
                Position {
                    at: None,
                    ..before.clone()
                } == Position {
                    at: None,
                    ..position.clone()
                }
            });
            let position = merge(before, position);
            let is_news = before.is_some() || !position.quantity.is_zero();
            self.positions.insert(key(&position), position.clone());
            if is_news && !is_same {
                changed.push(position);
            }
        }
        absorbed.positions = changed;
    }

    fn forget(&mut self) {
        // In steps, so that the list is not looked through for every order.
        if self.final_count <= FINAL_MAX + FINAL_MAX / 10 {
            return;
        }
        let over: Vec<OrderId> = self
            .orders
            .values()
            .filter(|order| order.status.is_final())
            .map(|order| order.id)
            .take(self.final_count - FINAL_MAX)
            .collect();
        for id in over {
            let Some(order) = self.orders.remove(&id) else {
                continue;
            };
            self.final_count -= 1;
            let terms = &order.terms;
            self.by_native.remove(&order.native_client_id);
            for native in [&order.exchange_order_id, &order.trigger_id]
                .into_iter()
                .flatten()
            {
                let key = (terms.market, terms.native_symbol.clone(), native.clone());
                self.by_exchange.remove(&key);
            }
            if let Some(client) = &order.asked().client_order_id {
                self.by_client.remove(client);
                self.used.insert(client.clone(), id);
            }
        }
        let (orders, seen) = (&self.orders, &mut self.seen);
        self.fills
            .retain(|fill| orders.contains_key(&fill.order_id));
        let of_kept: HashSet<&str> = self
            .fills
            .iter()
            .map(|fill| fill.fill_id.as_str())
            .collect();
        seen.retain(|(_, _, fill_id)| of_kept.contains(fill_id.as_str()));
    }
}

/// Has an order found by the numbers that the exchange has given it.
fn index_exchange_ids(by_exchange: &mut HashMap<NativeKey, OrderId>, order: &Order) {
    let terms = &order.terms;
    for id in [&order.exchange_order_id, &order.trigger_id]
        .into_iter()
        .flatten()
    {
        let key = (terms.market, terms.native_symbol.clone(), id.clone());
        by_exchange.insert(key, order.id);
    }
}

/// A position with what this source does not tell kept from before.
fn merge(before: Option<&Position>, now: &Position) -> Position {
    let mut merged = now.clone();
    if let Some(before) = before.filter(|_| !now.quantity.is_zero()) {
        merged.leverage = merged.leverage.or(before.leverage);
        merged.funding_cost = merged.funding_cost.or(before.funding_cost);
        merged.margin = merged.margin.or(before.margin);
        merged.mark_price = merged.mark_price.or(before.mark_price);
    }
    merged
}

fn fill_key(market: Market, native_symbol: &str, fill_id: &str) -> FillKey {
    (market, native_symbol.to_owned(), fill_id.to_owned())
}

/// The instrument of an order in a table.
#[must_use]
pub fn instrument_of<'a>(
    table: &'a InstrumentTable,
    terms: &OrderTerms,
) -> Option<&'a std::sync::Arc<Instrument>> {
    table.by_native(terms.provider, terms.market, &terms.native_symbol)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
