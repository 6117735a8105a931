//! Trading at an exchange: the accounts, the market and what both tell, in one step each.

use rust_decimal::Decimal;

use super::order::{
    AccountId, AccountReason, Amend, EndReason, Order, OrderNo, PrivateKind, Refusal, Request,
};
use super::position::{MarginMode, Settings};
use super::{Accounts, Floor};
use crate::chaos::Target;
use crate::fault::FaultKind;
use crate::market::{InstrumentIx, Segment};
use crate::venue::{Core, Venue};

impl<V: Venue> Core<V> {
    /// Lets accounts do something, and tells what came of it: first to the public streams, then to
    /// the accounts.
    pub(crate) fn trade<R>(&mut self, act: impl FnOnce(&mut Accounts, &mut Floor<'_>) -> R) -> R {
        let mut events = Vec::new();
        let now_ms = self.now_ms();
        let mut floor = Floor {
            market: &mut self.market,
            now_ms,
            events: &mut events,
            known: 0,
        };
        let result = act(&mut self.accounts, &mut floor);
        self.accounts.settle(&mut floor);
        for event in &events {
            V::on_event(self, event);
        }
        self.tell_accounts();
        result
    }

    /// Hands what accounts are told to the exchange's streams.
    pub(crate) fn tell_accounts(&mut self) {
        for event in self.accounts.take_outbox() {
            V::on_private(self, &event);
        }
    }

    /// What a fault says to an order now.
    fn refusal(&mut self, ix: InstrumentIx) -> Option<Refusal> {
        let it = self.market.instrument(ix)?;
        let target = Target {
            market: it.segment,
            symbol: Some(&it.symbol),
            stream: None,
            path: None,
        };
        let wanted = |kind| kind == FaultKind::RejectOrders;
        let struck = self.faults.strike(wanted, &target)?;
        self.hub.counters.faulted += 1;
        Some(struck.code.map_or(Refusal::Closed, Refusal::Native))
    }

    /// Takes an order; answers with it as it is after it has done what it could at once.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn place(&mut self, id: AccountId, request: Request) -> Result<Order, Refusal> {
        if let Some(refusal) = self.refusal(request.ix) {
            return Err(refusal);
        }
        let no = self.trade(|accounts, floor| accounts.place(floor, id, request))?;
        let order = self.accounts.order(id, no).cloned();
        order.ok_or(Refusal::UnknownOrder)
    }

    /// Checks an order without taking it.
    ///
    /// # Errors
    /// When it would be refused.
    pub(crate) fn check_order(&mut self, id: AccountId, request: Request) -> Result<(), Refusal> {
        self.trade(|accounts, floor| accounts.check(floor, id, request))
    }

    /// Takes an open order back; answers with it as it then is.
    ///
    /// # Errors
    /// When the account has no such open order.
    pub(crate) fn cancel(&mut self, id: AccountId, no: OrderNo) -> Result<Order, Refusal> {
        self.trade(|accounts, floor| accounts.cancel(floor, id, no, EndReason::User))?;
        let order = self.accounts.order(id, no).cloned();
        order.ok_or(Refusal::UnknownOrder)
    }

    /// Takes back the open orders that `pick` wants; answers with them as they then are.
    pub(crate) fn cancel_all(
        &mut self,
        id: AccountId,
        pick: impl Fn(&Order) -> bool,
    ) -> Vec<Order> {
        let all =
            self.trade(|accounts, floor| accounts.cancel_all(floor, id, EndReason::User, pick));
        let orders = all.iter().filter_map(|no| self.accounts.order(id, *no));
        orders.cloned().collect()
    }

    /// Changes an open order; answers with it as it then is.
    ///
    /// # Errors
    /// When the change is refused.
    pub(crate) fn amend(
        &mut self,
        id: AccountId,
        no: OrderNo,
        amend: &Amend,
    ) -> Result<Order, Refusal> {
        self.trade(|accounts, floor| accounts.amend(floor, id, no, amend))?;
        let order = self.accounts.order(id, no).cloned();
        order.ok_or(Refusal::UnknownOrder)
    }

    /// Changes leverage and margin mode of an instrument.
    ///
    /// # Errors
    /// When the leverage is not offered, when there is not enough margin, or when the mode would
    /// change under open orders or a position.
    pub(crate) fn set_margin(
        &mut self,
        id: AccountId,
        ix: InstrumentIx,
        leverage: Option<u32>,
        mode: Option<MarginMode>,
    ) -> Result<Settings, Refusal> {
        self.trade(|accounts, floor| accounts.set_margin(floor, id, ix, leverage, mode))
    }

    /// Holds long and short apart, or no longer.
    ///
    /// # Errors
    /// When it is so already, or with open orders or positions.
    pub(crate) fn set_hedged(&mut self, id: AccountId, is_hedged: bool) -> Result<(), Refusal> {
        self.trade(|accounts, _| accounts.set_hedged(id, is_hedged))
    }

    /// Adds to a balance (or takes from it).
    pub(crate) fn deposit(
        &mut self,
        id: AccountId,
        segment: Segment,
        asset: &str,
        amount: Decimal,
    ) {
        self.trade(|accounts, floor| accounts.deposit(floor, id, segment, asset, amount));
    }
}

impl Accounts {
    fn set_margin(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        ix: InstrumentIx,
        leverage: Option<u32>,
        mode: Option<MarginMode>,
    ) -> Result<Settings, Refusal> {
        let it = floor.market.instrument(ix).cloned();
        let it = it.ok_or(Refusal::UnknownInstrument)?;
        let before = self.settings(id, ix);
        let after = Settings {
            leverage: leverage.unwrap_or(before.leverage),
            mode: mode.unwrap_or(before.mode),
        };
        if after.leverage == 0 || after.leverage > self.rules.leverage.1 {
            return Err(Refusal::Leverage);
        }
        if after.mode != before.mode {
            if self.open_orders(id).any(|order| order.ix == ix) {
                return Err(Refusal::HasOrders);
            }
            let rows = self.position_rows(floor.market, id);
            if rows.iter().any(|row| row.ix == ix) {
                return Err(Refusal::HasPositions);
            }
        }
        if let Some(account) = self.account_mut(id) {
            account.settings.insert(ix, after);
        }
        let now = self.margin(floor.market, id, &it.quote);
        if now.available < Decimal::ZERO && after.leverage < before.leverage {
            if let Some(account) = self.account_mut(id) {
                account.settings.insert(ix, before);
            }
            return Err(Refusal::Funds);
        }
        if after.leverage != before.leverage {
            let leverage = after.leverage;
            self.tell(id, floor.now_ms, PrivateKind::Leverage { ix, leverage });
        }
        Ok(after)
    }

    fn set_hedged(&mut self, id: AccountId, is_hedged: bool) -> Result<(), Refusal> {
        if self
            .open_orders(id)
            .any(|order| order.segment == Segment::Linear)
        {
            return Err(Refusal::HasOrders);
        }
        let Some(account) = self.account_mut(id) else {
            return Err(Refusal::UnknownOrder);
        };
        if account.is_hedged == is_hedged {
            return Err(Refusal::NoChange);
        }
        if account.positions().any(|position| position.lots != 0) {
            return Err(Refusal::HasPositions);
        }
        account.is_hedged = is_hedged;
        Ok(())
    }

    fn deposit(
        &mut self,
        floor: &mut Floor<'_>,
        id: AccountId,
        segment: Segment,
        asset: &str,
        amount: Decimal,
    ) {
        let wallet = self.rules.wallet(segment);
        let Some(account) = self.account_mut(id) else {
            return;
        };
        account.funds_mut(wallet, asset).total += amount;
        let balances = vec![account.balance(wallet, asset)];
        let kind = PrivateKind::Account {
            reason: AccountReason::Deposit,
            segment,
            balances,
            positions: Vec::new(),
        };
        self.tell(id, floor.now_ms, kind);
    }
}
