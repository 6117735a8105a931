//! What the market does to accounts: fills, triggers, funding, liquidation, countdowns.

use rust_decimal::{Decimal, RoundingStrategy};

use super::book::Scope;
use super::order::{
    AccountId, AccountReason, Change, EndReason, FillRow, Order, OrderNo, OrderState, PrivateKind,
    SelfTrade, Size, Trigger, TriggerBy,
};
use super::position::{MarginMode, Position};
use super::rules::FeeIn;
use super::{Accounts, Floor, HISTORY_MAX, Income, PositionSide, Wallet, decimal};
use crate::market::{
    Event, EventKind, Fill, FundingRate, Instrument, InstrumentIx, Market, Notional, OrderKind,
    Price, Qty, Segment, Side,
};

/// Decimals of fees and payments.
const MONEY_DECIMALS: u32 = 8;

/// What is to be done once the events so far are known.
#[derive(Clone, Debug)]
pub(super) enum Due {
    /// A trigger was reached.
    Wake(OrderNo),
    /// A position changed: orders that only reduce it may be too large now.
    Trim(AccountId, InstrumentIx, PositionSide),
    /// Positions cannot be held: all of a settlement asset, or one.
    Liquidate(AccountId, String, Option<(InstrumentIx, PositionSide)>),
}

/// Whether a trigger's price has been reached.
pub(super) fn is_reached(market: &Market, ix: InstrumentIx, trigger: Trigger) -> bool {
    let Some(it) = market.instrument(ix) else {
        return false;
    };
    let told = market.premium_index(ix);
    let now = match trigger.by {
        TriggerBy::Last => market.last_price(ix).map(|price| it.price(price)),
        TriggerBy::Mark => told.map(|told| told.mark.fixed()),
        TriggerBy::Index => told.map(|told| told.index.fixed()),
    };
    let level = decimal(it.price(trigger.price));
    now.map(decimal).is_some_and(|now| match trigger.rises {
        true => now >= level,
        false => now <= level,
    })
}

fn rounded(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(MONEY_DECIMALS, RoundingStrategy::ToZero)
}

impl Accounts {
    /// Takes note of the events that are not known yet.
    pub(crate) fn catch_up(&mut self, floor: &mut Floor<'_>) {
        while let Some(event) = floor.events.get(floor.known).copied() {
            floor.known += 1;
            self.on_event(floor.market, &event);
        }
    }

    /// Takes note of what happened and does what follows from it.
    pub(crate) fn settle(&mut self, floor: &mut Floor<'_>) {
        self.catch_up(floor);
        while let Some(due) = self.due.pop_front() {
            match due {
                Due::Wake(no) => self.wake(floor, no),
                Due::Trim(id, ix, side) => self.trim(floor, id, ix, side),
                Due::Liquidate(id, asset, one) => self.liquidate(floor, id, &asset, one),
            }
            self.catch_up(floor);
        }
    }

    fn on_event(&mut self, market: &Market, event: &Event) {
        let ix = event.instrument;
        match event.kind {
            EventKind::Fill(fill) => self.on_fill(market, ix, event.ts_us, &fill),
            EventKind::Trade(trade) => {
                self.look_for_triggers(market, ix, TriggerBy::Last, Some(trade.price));
            }
            EventKind::Mark(_) => {
                self.look_for_triggers(market, ix, TriggerBy::Mark, None);
                self.look_for_triggers(market, ix, TriggerBy::Index, None);
                self.look_at_margin(market, ix);
            }
            EventKind::Funding(rate) => self.on_funding(market, ix, &rate),
            EventKind::Book(_) | EventKind::AggTrade(_) | EventKind::Bbo(_) => {}
        }
    }

    fn look_for_triggers(
        &mut self,
        market: &Market,
        ix: InstrumentIx,
        by: TriggerBy,
        last: Option<Price>,
    ) {
        let Some(waiting) = self.waiting.get_mut(&ix) else {
            return;
        };
        let (orders, due) = (&self.orders, &mut self.due);
        waiting.retain(|no| {
            let trigger = orders.get(no).and_then(|order| order.trigger);
            let Some(trigger) = trigger.filter(|trigger| trigger.by == by) else {
                return true;
            };
            let reached = match (last, trigger.rises) {
                (Some(last), true) => last >= trigger.price,
                (Some(last), false) => last <= trigger.price,
                (None, _) => is_reached(market, ix, trigger),
            };
            if reached {
                due.push_back(Due::Wake(*no));
            }
            !reached
        });
    }

    /// Works an order whose trigger was reached.
    fn wake(&mut self, floor: &mut Floor<'_>, no: OrderNo) {
        let live_no = self.number();
        let Some(order) = self.orders.get_mut(&no) else {
            return;
        };
        if order.state != OrderState::Waiting {
            return;
        }
        let Some(it) = floor.market.instrument(order.ix).cloned() else {
            return;
        };
        (order.state, order.live_no) = (OrderState::New, Some(live_no));
        (order.triggered_ms, order.updated_ms) = (Some(floor.now_ms), floor.now_ms);
        self.tell_order(floor.now_ms, no, Change::Triggered);
        // What was held back for it may pay for it, and need not be enough.
        let lock = self.orders.get(&no).map(|order| {
            let mut live = order.clone();
            live.trigger = None;
            self.hold(floor.market, &it, &live).ok()
        });
        match lock {
            Some(Some(lock)) => {
                self.lock(&it, no, lock);
                self.go_live(floor, &it, no);
            }
            _ => self.end(floor, &it, no, OrderState::Expired, EndReason::Funds),
        }
    }

    fn on_fill(&mut self, market: &Market, ix: InstrumentIx, ts_us: i64, fill: &Fill) {
        let known = self.in_book.get(&(ix, fill.order_id)).copied();
        let Some((no, it)) = known.zip(market.instrument(ix)) else {
            return;
        };
        let ts_ms = ts_us.div_euclid(1_000);
        let row = {
            let Some(order) = self.orders.get_mut(&no) else {
                return;
            };
            order.filled.0 += fill.qty.0;
            order.filled_value.0 += fill.price.notional(fill.qty).0;
            order.updated_ms = ts_ms;
            order.state = match order.left() {
                Qty(..=0) => OrderState::Filled,
                _ => OrderState::PartiallyFilled,
            };
            FillRow {
                id: self.next_income,
                account: order.account,
                no,
                client_id: order.client_id.clone(),
                segment: order.segment,
                ix,
                trade_id: fill.trade_id,
                side: order.side,
                position: order.position,
                price: fill.price,
                qty: fill.qty,
                is_maker: fill.is_maker,
                fee: Decimal::ZERO,
                fee_asset: String::new(),
                realized: Decimal::ZERO,
                ts_ms,
            }
        };
        self.next_income += 1;
        match it.segment {
            Segment::Spot => self.book_spot(it, row),
            Segment::Linear => self.book_linear(market, it, row),
        }
        if self
            .orders
            .get(&no)
            .is_some_and(|it| it.state == OrderState::Filled)
        {
            self.close(no);
        }
    }

    /// Notes a fill with its order and in the history, and tells it.
    fn note(&mut self, row: FillRow) {
        let (no, id, ts_ms) = (row.no, row.account, row.ts_ms);
        if let Some(order) = self.orders.get_mut(&no) {
            order.fee += row.fee;
            order.fee_asset = Some(row.fee_asset.clone());
            order.realized += row.realized;
        }
        if let Some(account) = self.account_mut(id) {
            if account.fills.len() >= HISTORY_MAX {
                account.fills.pop_front();
            }
            account.fills.push_back(row.clone());
        }
        self.tell_order(ts_ms, no, Change::Filled(Box::new(row)));
    }

    fn book_spot(&mut self, it: &Instrument, mut row: FillRow) {
        let fees = self.rules.fees(Segment::Spot);
        let rate = match row.is_maker {
            true => fees.maker,
            false => fees.taker,
        };
        let amount = decimal(it.qty(row.qty));
        let value = rounded(decimal(it.notional(row.price.notional(row.qty))));
        let (received, asset) = match (row.side, self.rules.fee_in) {
            (Side::Buy, FeeIn::Received) => (amount, &it.base),
            _ => (value, &it.quote),
        };
        (row.fee, row.fee_asset) = (rounded(received * rate), asset.clone());
        let (base, quote) = match row.side {
            Side::Buy => (amount, -value),
            Side::Sell => (-amount, value),
        };
        let id = row.account;
        if let Some(account) = self.account_mut(id) {
            account.funds_mut(Wallet::Spot, &it.base).total += base;
            account.funds_mut(Wallet::Spot, &it.quote).total += quote;
            account.funds_mut(Wallet::Spot, &row.fee_asset).total -= row.fee;
        }
        let (no, ts_ms) = (row.no, row.ts_ms);
        let rest = self.orders.get(&no).map(|order| self.rest_of(it, order));
        self.lock(it, no, rest.unwrap_or_default());
        self.note(row);
        self.tell_spot(ts_ms, it, id, AccountReason::Trade);
    }

    /// What stays held back for a spot order after a fill.
    fn rest_of(&self, it: &Instrument, order: &Order) -> Decimal {
        let Some(price) = order.price() else {
            return Decimal::ZERO;
        };
        if order.locked.is_zero() {
            return Decimal::ZERO;
        }
        let value = decimal(it.notional(price.notional(order.left())));
        match (order.side, self.rules.fee_in) {
            (Side::Sell, _) => decimal(it.qty(order.left())),
            (Side::Buy, FeeIn::Received) => value,
            (Side::Buy, FeeIn::Quote) => value * (Decimal::ONE + self.rules.spot.taker),
        }
    }

    fn book_linear(&mut self, market: &Market, it: &Instrument, mut row: FillRow) {
        let fees = self.rules.fees(Segment::Linear);
        let rate = match row.is_maker {
            true => fees.maker,
            false => fees.taker,
        };
        let value = decimal(it.notional(row.price.notional(row.qty)));
        (row.fee, row.fee_asset) = (rounded(value * rate), it.quote.clone());
        let lots = match row.side {
            Side::Buy => row.qty.0,
            Side::Sell => -row.qty.0,
        };
        let (id, ix, side, ts_ms) = (row.account, row.ix, row.position, row.ts_ms);
        let wallet = self.rules.wallet(Segment::Linear);
        if let Some(account) = self.account_mut(id) {
            let position = account.positions.entry((ix, side));
            let position = position.or_insert_with(|| Position::new(ix, side, ts_ms));
            row.realized = rounded(position.add(it, row.price, lots, ts_ms));
            position.fees += row.fee;
            account.funds_mut(wallet, &it.quote).total += row.realized - row.fee;
        }
        let (profit, fee, trade_id) = (row.realized, row.fee, Some(row.trade_id));
        self.earn(id, it, ix, AccountReason::Profit, profit, trade_id, ts_ms);
        self.earn(id, it, ix, AccountReason::Fee, -fee, trade_id, ts_ms);
        self.note(row);
        self.tell_linear(market, it, id, AccountReason::Trade, &[(ix, side)], ts_ms);
        self.due.push_back(Due::Trim(id, ix, side));
    }

    #[allow(clippy::too_many_arguments)]
    fn earn(
        &mut self,
        id: AccountId,
        it: &Instrument,
        ix: InstrumentIx,
        reason: AccountReason,
        amount: Decimal,
        trade_id: Option<u64>,
        ts_ms: i64,
    ) {
        if amount.is_zero() {
            return;
        }
        let income = Income {
            id: self.next_income,
            ix: Some(ix),
            reason,
            asset: it.quote.clone(),
            amount,
            trade_id,
            ts_ms,
        };
        self.next_income += 1;
        if let Some(account) = self.account_mut(id) {
            if account.income.len() >= HISTORY_MAX {
                account.income.pop_front();
            }
            account.income.push_back(income);
        }
    }

    /// Tells the settlement asset's balance and positions of an instrument.
    pub(super) fn tell_linear(
        &mut self,
        market: &Market,
        it: &Instrument,
        id: AccountId,
        reason: AccountReason,
        positions: &[(InstrumentIx, PositionSide)],
        ts_ms: i64,
    ) {
        let wallet = self.rules.wallet(Segment::Linear);
        let Some(account) = self.account(id) else {
            return;
        };
        let balances = vec![account.balance(wallet, &it.quote)];
        let positions = positions
            .iter()
            .filter_map(|(ix, side)| account.position(*ix, *side))
            .filter_map(|position| self.position_row(market, id, position))
            .collect();
        let kind = PrivateKind::Account {
            reason,
            segment: Segment::Linear,
            balances,
            positions,
        };
        self.tell(id, ts_ms, kind);
    }

    fn on_funding(&mut self, market: &Market, ix: InstrumentIx, rate: &FundingRate) {
        let Some(it) = market.instrument(ix) else {
            return;
        };
        let (share, mark) = (decimal(rate.rate.fixed()), decimal(rate.mark.fixed()));
        let wallet = self.rules.wallet(Segment::Linear);
        for at in 0..self.accounts.len() {
            let account = &mut self.accounts[at];
            let id = account.id;
            let mut paid = Vec::new();
            for side in [PositionSide::Both, PositionSide::Long, PositionSide::Short] {
                let Some(position) = account.positions.get_mut(&(ix, side)) else {
                    continue;
                };
                let amount = rounded(-(position.amount(it) * mark * share));
                if position.lots == 0 || amount.is_zero() {
                    continue;
                }
                position.funding += amount;
                account.funds_mut(wallet, &it.quote).total += amount;
                paid.push((ix, side, amount));
            }
            for (ix, side, amount) in paid {
                let ts_ms = rate.ts_ms;
                self.earn(id, it, ix, AccountReason::Funding, amount, None, ts_ms);
                let which = [(ix, side)];
                self.tell_linear(market, it, id, AccountReason::Funding, &which, ts_ms);
            }
        }
    }

    /// Whether what backs positions is still enough, now that there is a new mark price.
    fn look_at_margin(&mut self, market: &Market, ix: InstrumentIx) {
        let Some(it) = market.instrument(ix) else {
            return;
        };
        let mut found = Vec::new();
        for account in &self.accounts {
            let held = account.positions().filter(|it| it.ix == ix && it.lots != 0);
            for position in held {
                let id = account.id;
                let Some(row) = self.position_row(market, id, position) else {
                    continue;
                };
                let due = match row.mode {
                    MarginMode::Isolated => {
                        let falls = row.isolated + row.unrealized <= row.maintenance;
                        falls.then_some(Some((ix, position.side)))
                    }
                    MarginMode::Cross => {
                        let all = self.margin(market, id, &it.quote);
                        let backing = all.wallet - all.isolated + all.cross_unrealized;
                        (backing <= all.cross_maintenance).then_some(None)
                    }
                };
                found.extend(due.map(|one| Due::Liquidate(id, it.quote.clone(), one)));
            }
        }
        self.due.extend(found);
    }

    /// Takes orders back and closes positions that cannot be held.
    fn liquidate(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        asset: &str,
        one: Option<(InstrumentIx, PositionSide)>,
    ) {
        let market = &*floor.market;
        let settles = |ix| market.instrument(ix).is_some_and(|it| it.quote == asset);
        let held = self.position_rows(market, id);
        let rows: Vec<_> = held
            .into_iter()
            .filter(|row| match one {
                Some((ix, side)) => (row.ix, row.side) == (ix, side),
                None => row.mode == MarginMode::Cross && settles(row.ix),
            })
            .collect();
        let concerned = |order: &Order| {
            order.segment == Segment::Linear && rows.iter().any(|row| row.ix == order.ix)
        };
        self.cancel_all(floor, id, EndReason::Liquidation, concerned);
        for row in rows {
            let Some(it) = floor.market.instrument(row.ix).cloned() else {
                continue;
            };
            let no = self.number();
            let qty = Qty(row.lots.abs());
            let order = Order {
                no,
                live_no: None,
                account: id,
                segment: Segment::Linear,
                ix: row.ix,
                client_id: format!("autoclose-{}", no.0),
                side: match row.lots > 0 {
                    true => Side::Sell,
                    false => Side::Buy,
                },
                position: row.side,
                kind: OrderKind::Market,
                qty,
                size: Size::Base(qty),
                reduce_only: true,
                trigger: None,
                self_trade: SelfTrade::ExpireMaker,
                borrows: false,
                native: Vec::new(),
                state: OrderState::New,
                reason: None,
                filled: Qty(0),
                filled_value: Notional(0),
                fee: Decimal::ZERO,
                fee_asset: None,
                realized: Decimal::ZERO,
                created_ms: floor.now_ms,
                working_ms: None,
                updated_ms: floor.now_ms,
                triggered_ms: None,
                is_liquidation: true,
                book_id: None,
                locked: Decimal::ZERO,
            };
            self.enter(floor, &it, order, Decimal::ZERO);
            self.go_live(floor, &it, no);
        }
    }

    /// Makes orders that only reduce a position no larger than it.
    fn trim(&mut self, floor: &mut Floor<'_>, id: AccountId, ix: InstrumentIx, side: PositionSide) {
        let reduces = |order: &&Order| {
            order.ix == ix && order.position == side && order.reduce_only && order.book_id.is_some()
        };
        let all: Vec<OrderNo> = self
            .open_orders(id)
            .filter(reduces)
            .map(|order| order.no)
            .collect();
        let Some(it) = floor.market.instrument(ix).cloned() else {
            return;
        };
        for no in all {
            let Some(order) = self.orders.get(&no).filter(|it| it.state.is_open()) else {
                continue;
            };
            let (most, left, book_id) = (self.reducible(order), order.left(), order.book_id);
            if most.0 == 0 {
                self.take_out(floor, no);
                self.end(floor, &it, no, OrderState::Expired, EndReason::ReduceOnly);
            } else if most < left
                && let Some(book_id) = book_id
                && floor
                    .market
                    .reduce(ix, book_id, id.owner(), most, floor.events)
            {
                if let Some(order) = self.orders.get_mut(&no) {
                    order.qty = Qty(order.filled.0 + most.0);
                    order.updated_ms = floor.now_ms;
                }
                self.tell_order(floor.now_ms, no, Change::Amended);
            }
        }
    }

    /// Sets or stops a countdown after which all orders in scope are taken back.
    pub(crate) fn count_down(&mut self, id: AccountId, scope: Scope, due_ms: Option<i64>) {
        let Some(account) = self.account_mut(id) else {
            return;
        };
        match due_ms {
            Some(due_ms) => account.countdowns.insert(scope, due_ms),
            None => account.countdowns.remove(&scope),
        };
    }

    /// Does what time has brought.
    pub(crate) fn on_time(&mut self, floor: &mut Floor<'_>) {
        for at in 0..self.accounts.len() {
            let account = &mut self.accounts[at];
            let id = account.id;
            let mut ended = Vec::new();
            account.countdowns.retain(|scope, due_ms| {
                let is_over = *due_ms <= floor.now_ms;
                if is_over {
                    ended.push(*scope);
                }
                !is_over
            });
            for (segment, ix) in ended {
                self.cancel_all(floor, id, EndReason::Countdown, |order| {
                    order.segment == segment && ix.is_none_or(|ix| order.ix == ix)
                });
            }
        }
    }
}
