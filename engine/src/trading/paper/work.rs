//! One order at a desk, and what is told of it.

use rust_decimal::Decimal;

use super::queue::Queue;
use crate::event::Side;
use crate::instrument::Instrument;
use crate::num::{Price, to_decimal};
use crate::time::TsNanos;
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{OrderReport, ReportTerms};

/// What an order is doing.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Waits for its stop price, that of a trade. True: for a rise to it.
    Stop(bool),
    /// Works, and there is no book to meet or to rest in.
    Waiting,
    /// Rests.
    Resting(Queue),
}

/// An order. Prices and quantities are mantissas at the instrument's scales.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) client_id: String,
    pub(super) side: Side,
    pub(super) kind: OrderType,
    pub(super) lasts: TimeInForce,
    pub(super) is_post_only: bool,
    pub(super) is_reduce_only: bool,
    /// It can only make a position smaller, by its flag or by its side.
    pub(super) is_closing: bool,
    pub(super) position_side: Option<PositionSide>,
    pub(super) quantity: i64,
    pub(super) filled: i64,
    /// Sum of price × quantity of what executed, quote units.
    pub(super) value: Decimal,
    pub(super) price: Option<Price>,
    pub(super) stop: Option<Price>,
    pub(super) is_triggered: bool,
    /// What may be spent, fees included, quote units; `None`: no limit.
    pub(super) budget: Option<Decimal>,
    pub(super) placed_at: TsNanos,
    pub(super) phase: Phase,
}

impl Work {
    pub(super) const fn remaining(&self) -> i64 {
        self.quantity.saturating_sub(self.filled)
    }

    /// The limit price, of orders that have one and have been triggered.
    pub(super) fn limit(&self) -> Option<Price> {
        self.price.filter(|_| self.kind.has_price())
    }

    /// The exchange's id, which a stop has from its trigger on.
    pub(super) fn exchange_id(&self) -> Option<String> {
        let has_one = !self.kind.is_stop() || self.is_triggered;
        has_one.then(|| format!("paper-{}", self.client_id))
    }

    fn trigger_id(&self) -> Option<String> {
        let is_stop = self.kind.is_stop();
        is_stop.then(|| format!("paper-stop-{}", self.client_id))
    }

    /// The word for where it stands while it works, or when all of it executed.
    pub(super) const fn word(&self) -> Word {
        match (self.remaining(), self.filled) {
            (0, _) => Word::Done,
            (_, 0) => Word::Works,
            _ => Word::WorksInPart,
        }
    }

    /// What an exchange would say of it now.
    pub(super) fn report(
        &self,
        instrument: &Instrument,
        word: Word,
        reason: Option<&str>,
        at: TsNanos,
    ) -> OrderReport {
        let quantity = |mantissa| to_decimal(mantissa, instrument.qty_scale);
        let price = |price: Price| to_decimal(price.0, instrument.price_scale);
        let filled = quantity(self.filled);
        let average = match self.filled {
            0 => None,
            _ => self.value.checked_div(filled),
        };
        OrderReport {
            market: instrument.spec.market,
            native_symbol: instrument.spec.native_key().into_owned(),
            client_id: Some(self.client_id.clone()),
            news: OrderNews {
                word,
                filled: Some(filled),
                average_price: average,
                quantity: Some(quantity(self.quantity)),
                price: self.price.map(price),
                exchange_order_id: self.exchange_id(),
                trigger_id: self.trigger_id(),
                reason: reason.map(str::to_owned),
                at,
            },
            terms: ReportTerms {
                side: Some(self.side),
                order_type: Some(self.kind),
                stop_price: self.stop.map(price),
                time_in_force: Some(self.lasts),
                post_only: Some(self.is_post_only),
                reduce_only: Some(self.is_reduce_only),
                position_side: self.position_side,
                created_at: Some(self.placed_at),
            },
        }
    }
}

/// A bare word of an order that the desk does not hold.
pub(super) fn bare(
    instrument: &Instrument,
    client_id: &str,
    word: Word,
    reason: &str,
    at: TsNanos,
) -> OrderReport {
    let mut news = OrderNews::new(word, at);
    news.reason = Some(reason.to_owned());
    OrderReport {
        market: instrument.spec.market,
        native_symbol: instrument.spec.native_key().into_owned(),
        client_id: Some(client_id.to_owned()),
        news,
        terms: ReportTerms::default(),
    }
}
