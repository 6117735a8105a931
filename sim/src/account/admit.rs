//! Whether an order is taken: the instrument's rules, the account's positions and money.

use rust_decimal::Decimal;

use super::funds::mark_price;
use super::order::{AccountId, Order, OrderNo, OrderState, Refusal, Request, Size};
use super::rules::{Admission, ClientIds, FeeIn};
use super::{Accounts, Floor, PositionSide, decimal};
use crate::market::{
    Instrument, Market, Notional, OrderKind, Price, Qty, Segment, Side, Status, TimeInForce,
};

/// A value of the quote asset in ticks × lots, rounded down.
pub(super) fn steps(it: &Instrument, value: Decimal) -> Notional {
    use rust_decimal::prelude::ToPrimitive;
    let unit = decimal(it.notional(Notional(1)));
    let whole = value.checked_div(unit).map(|steps| steps.trunc());
    Notional(whole.and_then(|steps| steps.to_i128()).unwrap_or(0).max(0))
}

/// Price that an order is valued at before it is executed.
fn value_price(market: &Market, order: &Order) -> Price {
    let trigger = order.trigger.map(|trigger| trigger.price);
    let last = || market.last_price(order.ix);
    order.price().or(trigger).or_else(last).unwrap_or_default()
}

impl Accounts {
    pub(super) fn draft(
        &self,
        floor: &Floor<'_>,
        it: &Instrument,
        id: AccountId,
        asked: Request,
    ) -> Order {
        let qty = match asked.size {
            Size::Base(qty) => qty,
            Size::Quote(_) | Size::Position => Qty(0),
        };
        let is_waiting = asked.trigger.is_some();
        Order {
            no: OrderNo(0),
            live_no: None,
            account: id,
            segment: it.segment,
            ix: asked.ix,
            client_id: asked.client_id,
            side: asked.side,
            position: asked.position,
            kind: asked.kind,
            qty,
            size: asked.size,
            reduce_only: asked.reduce_only || asked.size == Size::Position,
            trigger: asked.trigger,
            self_trade: asked.self_trade,
            borrows: asked.borrows,
            native: asked.native,
            state: match is_waiting {
                true => OrderState::Waiting,
                false => OrderState::New,
            },
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
            is_liquidation: false,
            book_id: None,
            locked: Decimal::ZERO,
        }
    }

    pub(super) fn admit(
        &self,
        floor: &Floor<'_>,
        it: &Instrument,
        order: &mut Order,
    ) -> Result<(), Refusal> {
        if it.status != Status::Trading {
            return Err(Refusal::NotTrading);
        }
        self.check_position(order)?;
        check_size(floor.market, it, order)?;
        if let Some(known) = self.order_of_client(order.account, &order.client_id)
            && (self.rules.client_ids == ClientIds::Unique || known.state.is_open())
        {
            return Err(Refusal::DuplicateClientId(known.no));
        }
        let of_it = |other: &&Order| other.ix == order.ix;
        if self.open_orders(order.account).filter(of_it).count() >= self.rules.open_orders_max {
            return Err(Refusal::TooManyOrders);
        }
        if let Some(trigger) = order.trigger {
            let late = self.rules.refuses_late_triggers
                && super::digest::is_reached(floor.market, order.ix, trigger);
            return match late {
                true => Err(Refusal::WouldTrigger),
                false => Ok(()),
            };
        }
        let (takes, _) = floor
            .market
            .takes(order.ix, order.side, order.price(), order.qty);
        match order.time_in_force() {
            Some(TimeInForce::PostOnly)
                if takes.0 > 0 && self.rules.post_only == Admission::Refused =>
            {
                Err(Refusal::WouldTake)
            }
            Some(TimeInForce::Fok)
                if takes < order.qty
                    && self.rules.fill_or_kill.of(order.segment) == Admission::Refused =>
            {
                Err(Refusal::CannotFill)
            }
            _ => Ok(()),
        }
    }

    /// Whether the order fits the account's positions; one that only reduces is cut to what there
    /// is to reduce.
    fn check_position(&self, order: &mut Order) -> Result<(), Refusal> {
        if order.segment == Segment::Spot {
            return match order.position {
                PositionSide::Both if !order.reduce_only => Ok(()),
                _ => Err(Refusal::PositionSide),
            };
        }
        let account = self.account(order.account);
        let is_hedged = account.is_some_and(|account| account.is_hedged);
        if is_hedged == (order.position == PositionSide::Both) {
            return Err(Refusal::PositionSide);
        }
        // In a hedged account, what sells from the long position only reduces it.
        let closes = matches!(
            (order.position, order.side),
            (PositionSide::Long, Side::Sell) | (PositionSide::Short, Side::Buy)
        );
        order.reduce_only |= closes;
        if order.reduce_only && order.trigger.is_none() {
            let most = self.reducible(order);
            if most.0 == 0 || (closes && most < order.qty) {
                return Err(Refusal::ReduceOnly);
            }
            order.qty = order.qty.min(most);
        }
        Ok(())
    }

    /// Lots that the order could close.
    pub(super) fn reducible(&self, order: &Order) -> Qty {
        let account = self.account(order.account);
        let lots = account.map_or(0, |account| account.lots(order.ix, order.position));
        Qty(match order.side {
            Side::Buy => (-lots).max(0),
            Side::Sell => lots.max(0),
        })
    }

    /// What is to be held back for the order.
    ///
    /// # Errors
    /// When there is not enough.
    pub(super) fn hold(
        &self,
        market: &Market,
        it: &Instrument,
        order: &Order,
    ) -> Result<Decimal, Refusal> {
        match it.segment {
            Segment::Spot => self.hold_spot(market, it, order),
            Segment::Linear => self
                .has_margin(market, it, order)
                .then_some(Decimal::ZERO)
                .ok_or(Refusal::Funds),
        }
    }

    fn has_margin(&self, market: &Market, it: &Instrument, order: &Order) -> bool {
        if order.reduce_only || order.state == OrderState::Waiting {
            return true;
        }
        let amount = decimal(it.qty(order.left()));
        let price = match order.price() {
            Some(price) => decimal(it.price(price)),
            None => mark_price(market, order.ix),
        };
        let value = match order.size {
            Size::Quote(value) => value,
            _ => price * amount,
        };
        let (id, asset) = (order.account, it.quote.as_str());
        let with = (order.ix, order.position, order.side, value);
        let before = self.margin_with(market, id, asset, Some(order.no), None);
        let after = self.margin_with(market, id, asset, Some(order.no), Some(with));
        after.available >= Decimal::ZERO || after.orders <= before.orders
    }

    fn hold_spot(
        &self,
        market: &Market,
        it: &Instrument,
        order: &Order,
    ) -> Result<Decimal, Refusal> {
        let is_waiting = order.state == OrderState::Waiting;
        let (asset, need) = match order.side {
            Side::Sell => (&it.base, self.sold(market, it, order)),
            Side::Buy => (&it.quote, self.spent(market, it, order)),
        };
        let rests = order.price().is_some() || is_waiting;
        let holds = rests && (!is_waiting || self.rules.waiting_locks);
        if is_waiting && !holds {
            return Ok(Decimal::ZERO);
        }
        let has_it = match order.borrows {
            true => self.can_borrow(market, order.account, asset, need - order.locked),
            false => need <= self.spendable(market, order.account, asset) + order.locked,
        };
        if !has_it {
            return Err(Refusal::Funds);
        }
        Ok(if holds { need } else { Decimal::ZERO })
    }

    /// Base units that a sale needs.
    fn sold(&self, market: &Market, it: &Instrument, order: &Order) -> Decimal {
        let qty = match order.size {
            Size::Quote(value) => market.takes_for(order.ix, Side::Sell, steps(it, value)),
            _ => order.left(),
        };
        decimal(it.qty(qty))
    }

    /// Quote units that a purchase needs.
    fn spent(&self, market: &Market, it: &Instrument, order: &Order) -> Decimal {
        let value = match (order.size, order.kind) {
            (Size::Quote(value), _) => return value,
            (_, OrderKind::Market) if order.trigger.is_none() => {
                market.takes(order.ix, Side::Buy, None, order.left()).1
            }
            _ => value_price(market, order).notional(order.left()),
        };
        let value = decimal(it.notional(value));
        match self.rules.fee_in {
            FeeIn::Received => value,
            FeeIn::Quote => value * (Decimal::ONE + self.rules.spot.taker),
        }
    }
}

/// Whether the order keeps the instrument's rules.
pub(super) fn check_size(market: &Market, it: &Instrument, order: &Order) -> Result<(), Refusal> {
    for price in [order.price(), order.trigger.map(|it| it.price)]
        .into_iter()
        .flatten()
    {
        if price < it.price_range.0 || price > it.price_range.1 {
            return Err(Refusal::PriceRange);
        }
    }
    let is_exempt = order.reduce_only && order.segment == Segment::Linear;
    let qty = match order.size {
        Size::Position => return Ok(()),
        Size::Quote(value) => {
            if value < decimal(it.notional_min) {
                return Err(Refusal::NotionalMin);
            }
            let qty = market.takes_for(order.ix, order.side, steps(it, value));
            return match qty < it.qty_range.0 || qty > it.market_qty_max {
                true => Err(Refusal::QtyRange),
                false => Ok(()),
            };
        }
        Size::Base(_) => order.qty,
    };
    let most = match order.kind {
        OrderKind::Market => it.market_qty_max,
        OrderKind::Limit { .. } => it.qty_range.1,
    };
    if qty < it.qty_range.0 || qty > most {
        return Err(Refusal::QtyRange);
    }
    if !is_exempt && !it.reaches_notional_min(value_price(market, order), qty) {
        return Err(Refusal::NotionalMin);
    }
    Ok(())
}
