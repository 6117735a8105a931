//! Orders of accounts: placing, taking back, making smaller, and what an order would do.

use super::desk::{NewOrder, OpenOrder, OrderReject, OrderReport};
use super::event::{Event, OrderId, OwnerId, Side};
use super::instrument::{InstrumentIx, Notional, Price, Qty};
use super::{Market, desk};

impl Market {
    /// Places an order for an account; what it causes is appended to `events`, stamped now.
    ///
    /// # Errors
    /// When the venue's rules refuse it; then nothing has changed.
    pub fn submit(
        &mut self,
        order: &NewOrder,
        events: &mut Vec<Event>,
    ) -> Result<OrderReport, OrderReject> {
        let at = usize::from(order.instrument.0);
        let (Some(stall), Some(instrument)) = (self.stalls.get_mut(at), self.instruments.get(at))
        else {
            return Err(OrderReject::UnknownInstrument);
        };
        stall.desk.submit(instrument, order, self.now_us, events)
    }

    /// As [`Market::submit`] for an order that the caller has checked: an exchange excepts some
    /// orders from its rules, and words the refusals of the others itself.
    ///
    /// # Errors
    /// When the book itself cannot take it; then nothing has changed.
    pub fn place(
        &mut self,
        order: &NewOrder,
        events: &mut Vec<Event>,
    ) -> Result<OrderReport, OrderReject> {
        let now_us = self.now_us;
        let desk = self.desk_mut(order.instrument)?;
        desk.place(order, now_us, events)
    }

    /// Takes `owner`'s order out of the book and returns what was left of it; `None` if there is
    /// no such order of that owner.
    pub fn cancel(
        &mut self,
        instrument: InstrumentIx,
        order_id: OrderId,
        owner: OwnerId,
        events: &mut Vec<Event>,
    ) -> Option<OpenOrder> {
        let now_us = self.now_us;
        let desk = self.desk_mut(instrument).ok()?;
        desk.cancel(order_id, owner, now_us, events)
    }

    /// Makes `owner`'s order smaller where it stands, so that `left` is open of it; false when
    /// there is no such order, or not so much of it.
    pub fn reduce(
        &mut self,
        instrument: InstrumentIx,
        order_id: OrderId,
        owner: OwnerId,
        left: Qty,
        events: &mut Vec<Event>,
    ) -> bool {
        let now_us = self.now_us;
        let desk = self.desk_mut(instrument);
        desk.is_ok_and(|desk| desk.reduce(order_id, owner, left, now_us, events))
    }

    /// What a taker would get now at `limit` or better: quantity up to `qty`, and its value.
    #[must_use]
    pub fn takes(
        &self,
        instrument: InstrumentIx,
        taker: Side,
        limit: Option<Price>,
        qty: Qty,
    ) -> (Qty, Notional) {
        let book = self.desk(instrument).map(|desk| &desk.book);
        book.map_or((Qty(0), Notional(0)), |book| book.takes(taker, limit, qty))
    }

    /// The largest quantity that a taker gets now for `value` (ticks × lots).
    #[must_use]
    pub fn takes_for(&self, instrument: InstrumentIx, taker: Side, value: Notional) -> Qty {
        let book = self.desk(instrument).map(|desk| &desk.book);
        book.map_or(Qty(0), |book| book.takes_for(taker, value))
    }

    /// Resting orders of `owner` that a taker of that owner would meet, best first, and how much
    /// of others it would get before the first of them.
    #[must_use]
    pub fn own_in_way(
        &self,
        instrument: InstrumentIx,
        owner: OwnerId,
        taker: Side,
        limit: Option<Price>,
        qty: Qty,
    ) -> (Vec<OrderId>, Qty) {
        let book = self.desk(instrument).map(|desk| &desk.book);
        book.map_or((Vec::new(), Qty(0)), |book| {
            book.own_in_way(owner, taker, limit, qty)
        })
    }

    /// Price of the last trade; `None` for a foreign instrument.
    #[must_use]
    pub fn last_price(&self, instrument: InstrumentIx) -> Option<Price> {
        Some(Price(self.desk(instrument)?.bars.last_price()))
    }

    fn desk(&self, instrument: InstrumentIx) -> Option<&desk::Desk> {
        let stall = self.stalls.get(usize::from(instrument.0))?;
        Some(&stall.desk)
    }

    fn desk_mut(&mut self, instrument: InstrumentIx) -> Result<&mut desk::Desk, OrderReject> {
        let stall = self.stalls.get_mut(usize::from(instrument.0));
        let stall = stall.ok_or(OrderReject::UnknownInstrument)?;
        Ok(&mut stall.desk)
    }
}
