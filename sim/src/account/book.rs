//! An account's orders: admission, the book, changes, the end.

use rust_decimal::Decimal;

use super::admit::{check_size, steps};
use super::order::{
    AccountId, AccountReason, Amend, Change, EndReason, Order, OrderNo, OrderState, PrivateKind,
    Refusal, Request, SelfTrade, Size,
};
use super::rules::FeeIn;
use super::{Accounts, Floor, HISTORY_MAX, Wallet};
use crate::market::{
    Instrument, InstrumentIx, NewOrder, OrderKind, OrderReject, Qty, Segment, Side, TimeInForce,
};

impl Accounts {
    /// Takes an order, and works it as far as it goes at once.
    ///
    /// # Errors
    /// When the exchange's rules refuse it; then nothing has changed.
    pub(crate) fn place(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        request: Request,
    ) -> Result<OrderNo, Refusal> {
        let it = floor.market.instrument(request.ix).cloned();
        let it = it.ok_or(Refusal::UnknownInstrument)?;
        let mut order = self.draft(floor, &it, id, request);
        self.admit(floor, &it, &mut order)?;
        let lock = self.hold(floor.market, &it, &order)?;
        order.no = self.number();
        let (no, waits) = (order.no, order.trigger.is_some());
        self.enter(floor, &it, order, lock);
        if !waits {
            self.go_live(floor, &it, no);
        }
        Ok(no)
    }

    /// Checks an order without taking it.
    ///
    /// # Errors
    /// As [`Accounts::place`].
    pub(crate) fn check(
        &self,
        floor: &Floor<'_>,
        id: AccountId,
        request: Request,
    ) -> Result<(), Refusal> {
        let it = floor.market.instrument(request.ix);
        let it = it.ok_or(Refusal::UnknownInstrument)?;
        let mut order = self.draft(floor, it, id, request);
        self.admit(floor, it, &mut order)?;
        self.hold(floor.market, it, &order).map(|_| ())
    }

    /// Notes an order and tells it.
    pub(super) fn enter(
        &mut self,
        floor: &mut Floor<'_>,
        it: &Instrument,
        order: Order,
        lock: Decimal,
    ) {
        let (no, id, ix) = (order.no, order.account, order.ix);
        if order.state == OrderState::Waiting {
            self.waiting.entry(ix).or_default().push(no);
        }
        if let Some(account) = self.account_mut(id) {
            account.open.insert(no);
            account.client_ids.insert(order.client_id.clone(), no);
        }
        self.orders.insert(no, order);
        let held = self.lock(it, no, lock);
        self.tell_order(floor.now_ms, no, Change::Accepted);
        if held {
            self.tell_spot(floor.now_ms, it, id, AccountReason::Hold);
        }
    }

    /// Sets what is held back for a spot order; false when that is what it was.
    pub(super) fn lock(&mut self, it: &Instrument, no: OrderNo, lock: Decimal) -> bool {
        let Some(order) = self.orders.get_mut(&no) else {
            return false;
        };
        let more = lock - order.locked;
        order.locked = lock;
        let (id, asset) = match order.side {
            Side::Buy => (order.account, &it.quote),
            Side::Sell => (order.account, &it.base),
        };
        if more.is_zero() {
            return false;
        }
        if let Some(account) = self.account_mut(id) {
            account.funds_mut(Wallet::Spot, asset).locked += more;
        }
        true
    }

    pub(super) fn tell_order(&mut self, now_ms: i64, no: OrderNo, change: Change) {
        if let Some(order) = self.orders.get(&no) {
            let (account, order) = (order.account, Box::new(order.clone()));
            self.tell(account, now_ms, PrivateKind::Order { order, change });
        }
    }

    /// Tells the balances of a spot instrument's assets.
    pub(super) fn tell_spot(
        &mut self,
        now_ms: i64,
        it: &Instrument,
        id: AccountId,
        reason: AccountReason,
    ) {
        let Some(account) = self.account(id) else {
            return;
        };
        let assets = [&it.base, &it.quote];
        let balances = assets.map(|asset| account.balance(Wallet::Spot, asset));
        let kind = PrivateKind::Account {
            reason,
            segment: Segment::Spot,
            balances: balances.into(),
            positions: Vec::new(),
        };
        self.tell(id, now_ms, kind);
    }

    /// Puts an order into the book, or what of it takes.
    pub(super) fn go_live(&mut self, floor: &mut Floor<'_>, it: &Instrument, no: OrderNo) {
        let Some(mut qty) = self.size(floor, it, no) else {
            return;
        };
        let Some(order) = self.orders.get(&no) else {
            return;
        };
        let (ix, side, mut kind) = (order.ix, order.side, order.kind);
        let (owner, self_trade, limit) = (order.account.owner(), order.self_trade, order.price());
        let mut meets_own = false;
        if self_trade != SelfTrade::Allow {
            let (own, ahead) = floor.market.own_in_way(ix, owner, side, limit, qty);
            let mine: Vec<OrderNo> = own
                .iter()
                .filter_map(|order_id| self.in_book.get(&(ix, *order_id)).copied())
                .collect();
            let takers = matches!(self_trade, SelfTrade::ExpireTaker | SelfTrade::ExpireBoth);
            meets_own = takers && !mine.is_empty();
            if meets_own {
                qty = ahead;
                kind = immediate(kind);
            }
            if self_trade != SelfTrade::ExpireTaker {
                for other in mine {
                    self.take_out(floor, other);
                    self.end_met(floor, it, other);
                }
            }
        }
        if qty.0 <= 0 {
            return self.end_met(floor, it, no);
        }
        let new = NewOrder {
            instrument: ix,
            owner,
            side,
            qty,
            kind,
        };
        let placed = floor.market.place(&new, floor.events);
        let end = match placed {
            Ok(report) => {
                self.in_book.insert((ix, report.order_id), no);
                if let Some(order) = self.orders.get_mut(&no) {
                    order.book_id = Some(report.order_id);
                    order.working_ms = Some(floor.now_ms);
                }
                self.catch_up(floor);
                match report.resting {
                    Qty(0) if meets_own => Some(EndReason::SelfTrade),
                    Qty(0) => Some(match kind {
                        OrderKind::Market => EndReason::NoLiquidity,
                        OrderKind::Limit { .. } => EndReason::Immediate,
                    }),
                    _ => None,
                }
            }
            Err(OrderReject::WouldExecute) => Some(EndReason::PostOnly),
            Err(OrderReject::CannotFill) => Some(EndReason::FillOrKill),
            Err(_) => Some(EndReason::NoLiquidity),
        };
        let is_open = |order: &Order| order.state.is_open();
        if let Some(reason) = end
            && self.orders.get(&no).is_some_and(is_open)
        {
            match reason {
                EndReason::SelfTrade => self.end_met(floor, it, no),
                _ => self.end(floor, it, no, OrderState::Expired, reason),
            }
        }
    }

    /// Ends an order that met another one of its account.
    fn end_met(&mut self, floor: &mut Floor<'_>, it: &Instrument, no: OrderNo) {
        let rests = self.orders.get(&no).is_some_and(|order| {
            use TimeInForce::{Gtc, PostOnly};
            matches!(order.time_in_force(), Some(Gtc | PostOnly))
        });
        let state = match self.rules.self_trade_cancels && rests {
            true => OrderState::Canceled,
            false => OrderState::Expired,
        };
        self.end(floor, it, no, state, EndReason::SelfTrade);
    }

    /// How many lots the order is for, now that it is worked. `None`: none, and it has ended.
    fn size(&mut self, floor: &mut Floor<'_>, it: &Instrument, no: OrderNo) -> Option<Qty> {
        let order = self.orders.get(&no)?;
        let (ix, side, is_waking) = (order.ix, order.side, order.triggered_ms.is_some());
        let qty = match order.size {
            Size::Base(_) if is_waking && order.reduce_only => {
                order.left().min(self.reducible(order))
            }
            Size::Base(_) => return Some(order.left()),
            Size::Position => self.reducible(order),
            Size::Quote(value) => {
                let share = match (self.rules.fee_in, side, it.segment) {
                    (FeeIn::Quote, Side::Buy, Segment::Spot) => {
                        let fee = Decimal::ONE + self.rules.spot.taker;
                        value.checked_div(fee).unwrap_or_default()
                    }
                    _ => value,
                };
                floor.market.takes_for(ix, side, steps(it, share))
            }
        };
        let by_value = matches!(order.size, Size::Quote(_));
        if qty.0 == 0 {
            let reason = match by_value {
                true => EndReason::NoLiquidity,
                false => EndReason::ReduceOnly,
            };
            self.end(floor, it, no, OrderState::Expired, reason);
            return None;
        }
        if let Some(order) = self.orders.get_mut(&no) {
            order.qty = qty;
        }
        Some(qty)
    }

    /// Takes an order out of the market's book or of the waiting ones.
    pub(super) fn take_out(&mut self, floor: &mut Floor<'_>, no: OrderNo) {
        let Some(order) = self.orders.get(&no) else {
            return;
        };
        let (ix, owner) = (order.ix, order.account.owner());
        if let Some(book_id) = order.book_id {
            floor.market.cancel(ix, book_id, owner, floor.events);
            self.catch_up(floor);
        }
        if let Some(waiting) = self.waiting.get_mut(&ix) {
            waiting.retain(|other| *other != no);
        }
    }

    /// Ends an order that is in no book any more, and tells it.
    pub(super) fn end(
        &mut self,
        floor: &mut Floor<'_>,
        it: &Instrument,
        no: OrderNo,
        state: OrderState,
        reason: EndReason,
    ) {
        let now_ms = floor.now_ms;
        let Some(order) = self.orders.get_mut(&no) else {
            return;
        };
        let id = order.account;
        (order.state, order.reason, order.updated_ms) = (state, Some(reason), now_ms);
        let held = self.lock(it, no, Decimal::ZERO);
        self.close(no);
        let change = match state {
            OrderState::Canceled => Change::Canceled,
            OrderState::Rejected => Change::Rejected,
            _ => Change::Expired,
        };
        self.tell_order(now_ms, no, change);
        if held {
            self.tell_spot(now_ms, it, id, AccountReason::Hold);
        }
    }

    /// Moves an ended order to the history.
    pub(super) fn close(&mut self, no: OrderNo) {
        let Some(order) = self.orders.get(&no) else {
            return;
        };
        let id = order.account;
        if let Some(book_id) = order.book_id {
            self.in_book.remove(&(order.ix, book_id));
        }
        let Some(account) = self.account_mut(id) else {
            return;
        };
        account.open.remove(&no);
        account.ended.push_back(no);
        if account.ended.len() <= HISTORY_MAX {
            return;
        }
        if let Some(oldest) = account.ended.pop_front()
            && let Some(forgotten) = self.orders.remove(&oldest)
            && let Some(account) = self.account_mut(id)
            && account.client_ids.get(&forgotten.client_id) == Some(&oldest)
        {
            account.client_ids.remove(&forgotten.client_id);
        }
    }

    /// Takes an open order back.
    ///
    /// # Errors
    /// When the account has no such open order.
    pub(crate) fn cancel(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        no: OrderNo,
        reason: EndReason,
    ) -> Result<(), Refusal> {
        let order = self.order(id, no).filter(|order| order.state.is_open());
        let ix = order.ok_or(Refusal::UnknownOrder)?.ix;
        let it = floor.market.instrument(ix).cloned();
        let it = it.ok_or(Refusal::UnknownInstrument)?;
        self.take_out(floor, no);
        self.end(floor, &it, no, OrderState::Canceled, reason);
        Ok(())
    }

    /// Takes back the open orders that `pick` wants; returns their numbers.
    pub(crate) fn cancel_all(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        reason: EndReason,
        pick: impl Fn(&Order) -> bool,
    ) -> Vec<OrderNo> {
        let wanted = self.open_orders(id).filter(|order| pick(order));
        let all: Vec<OrderNo> = wanted.map(|order| order.no).collect();
        for no in &all {
            // An earlier one may have ended it.
            let _ = self.cancel(floor, id, *no, reason);
        }
        all
    }

    /// Changes an open order. It keeps its place in the book if it only becomes smaller.
    ///
    /// # Errors
    /// When the change is not possible; then nothing has changed.
    pub(crate) fn amend(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        no: OrderNo,
        amend: &Amend,
    ) -> Result<(), Refusal> {
        let order = self.order(id, no).filter(|order| order.state.is_open());
        let before = order.ok_or(Refusal::UnknownOrder)?.clone();
        let it = floor.market.instrument(before.ix).cloned();
        let it = it.ok_or(Refusal::UnknownInstrument)?;
        let mut after = before.clone();
        self.change(&mut after, amend)?;
        check_size(floor.market, &it, &after)?;
        let (price, qty) = (after.price(), after.left());
        let crosses = floor.market.takes(after.ix, after.side, price, qty).0.0 > 0;
        let is_working = before.state != OrderState::Waiting;
        let post_only = after.time_in_force() == Some(TimeInForce::PostOnly);
        if is_working && post_only && crosses && price != before.price() {
            return Err(Refusal::WouldTake);
        }
        let lock = self.hold(floor.market, &it, &after)?;
        after.updated_ms = floor.now_ms;
        let stays = price == before.price() && after.qty <= before.qty;
        if is_working && !stays {
            self.take_out(floor, no);
        } else if is_working
            && after.qty < before.qty
            && let Some(book_id) = before.book_id
        {
            let owner = id.owner();
            floor
                .market
                .reduce(before.ix, book_id, owner, qty, floor.events);
            self.catch_up(floor);
        }
        if let (Some(book_id), false) = (before.book_id, stays) {
            self.in_book.remove(&(before.ix, book_id));
            after.book_id = None;
        }
        if let Some(account) = self.account_mut(id) {
            account.client_ids.insert(after.client_id.clone(), no);
        }
        self.orders.insert(no, after);
        let held = self.lock(&it, no, lock);
        self.tell_order(floor.now_ms, no, Change::Amended);
        if held {
            self.tell_spot(floor.now_ms, &it, id, AccountReason::Hold);
        }
        if is_working && !stays {
            self.go_live(floor, &it, no);
        }
        Ok(())
    }

    /// Writes a change into an order.
    fn change(&self, order: &mut Order, amend: &Amend) -> Result<(), Refusal> {
        let before = (
            order.qty,
            order.kind,
            order.trigger,
            order.client_id.clone(),
        );
        if let Some(qty) = amend.qty {
            if qty <= order.filled {
                return Err(Refusal::AmendFilled);
            }
            (order.qty, order.size) = (qty, Size::Base(qty));
        }
        if let Some(new) = amend.price {
            let OrderKind::Limit { price, .. } = &mut order.kind else {
                return Err(Refusal::NotAmendable);
            };
            *price = new;
        }
        if let Some(new) = amend.trigger {
            let trigger = order.trigger.as_mut();
            let waits = order.state == OrderState::Waiting;
            let trigger = trigger.filter(|_| waits).ok_or(Refusal::NotAmendable)?;
            trigger.price = new;
        }
        if let Some(client_id) = &amend.client_id {
            let known = self.order_of_client(order.account, client_id);
            if let Some(other) = known.filter(|it| it.no != order.no && it.state.is_open()) {
                return Err(Refusal::DuplicateClientId(other.no));
            }
            order.client_id.clone_from(client_id);
        }
        let after = (
            order.qty,
            order.kind,
            order.trigger,
            order.client_id.clone(),
        );
        match before == after {
            true => Err(Refusal::NoChange),
            false => Ok(()),
        }
    }
}

/// The same order, with nothing of it resting.
fn immediate(kind: OrderKind) -> OrderKind {
    match kind {
        OrderKind::Market => OrderKind::Market,
        OrderKind::Limit { price, .. } => OrderKind::Limit {
            price,
            time_in_force: TimeInForce::Ioc,
        },
    }
}

/// Whose orders of which instrument; `None`: of all.
pub(super) type Scope = (Segment, Option<InstrumentIx>);
