//! Which change of an order may follow which.
//!
//! What is known of an order comes from several places that promise no order among each other: the
//! answer to the request, the private stream, answers to questions. Each says a [`Word`]. The table
//! of [`next`] is the whole rule; [`Order::apply`] uses it and keeps the sums.

use rust_decimal::Decimal;

use super::order::{Fill, Order, OrderStatus, TimeInForce};
use crate::time::TsNanos;

use OrderStatus::{Canceled, Expired, Filled, Open, PartiallyFilled, Pending, Rejected, Unknown};

/// What is said of where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Sent, and no answer came that proves anything.
    Lost,
    /// It works, and nothing of it has executed.
    Works,
    /// It works, and a part has executed.
    WorksInPart,
    /// All has executed.
    Done,
    /// It was canceled.
    Canceled,
    /// It ended by its own terms.
    Expired,
    /// It was refused.
    Refused,
    /// Its exchange does not know it, though it has been asked for long enough.
    NotThere,
}

impl Word {
    /// All words.
    pub const ALL: &'static [Self] = &[
        Self::Lost,
        Self::Works,
        Self::WorksInPart,
        Self::Done,
        Self::Canceled,
        Self::Expired,
        Self::Refused,
        Self::NotThere,
    ];
}

/// What becomes of a status when a word is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The order moves there; or is there already.
    To(OrderStatus),
    /// The word is older than what is known, or adds nothing.
    Stale,
    /// The word contradicts what is known: the order was taken to be over and is not. It moves there,
    /// which is counted and logged as a correction.
    Corrects(OrderStatus),
}

/// The table: where an order that stands at `from` is after `word`.
#[must_use]
pub const fn next(from: OrderStatus, word: Word) -> Next {
    use Next::{Corrects, Stale, To};
    match (from, word) {
        // Only the sender says so, of an order that has had no answer yet.
        (Pending | Unknown, Word::Lost) => To(Unknown),
        (_, Word::Lost) => Stale,

        (Pending | Unknown | Open, Word::Works) => To(Open),
        // A fill was told before the acknowledgement.
        (PartiallyFilled | Filled, Word::Works) => Stale,
        // An acknowledgement that was overtaken by the end.
        (Canceled | Expired, Word::Works) => Stale,

        (Pending | Unknown | Open | PartiallyFilled, Word::WorksInPart) => To(PartiallyFilled),
        (Filled | Canceled | Expired, Word::WorksInPart) => Stale,

        // A cancellation that lost the race against the last fill: an exchange tells both.
        (_, Word::Done) => match from {
            Canceled | Expired | Rejected => Corrects(Filled),
            _ => To(Filled),
        },

        (Pending | Unknown | Open | PartiallyFilled | Canceled, Word::Canceled) => To(Canceled),
        // Bybit tells a cancellation that came too late once more, after the order was filled.
        (Filled | Expired, Word::Canceled) => Stale,

        (Pending | Unknown | Open | PartiallyFilled | Expired, Word::Expired) => To(Expired),
        (Filled | Canceled, Word::Expired) => Stale,

        (Pending | Unknown | Open | Rejected, Word::Refused) => To(Rejected),
        // Bybit: rejected after a part had executed. What executed did.
        (PartiallyFilled, Word::Refused) => To(Canceled),
        (Filled | Canceled | Expired, Word::Refused) => Stale,

        // It was asked for because nobody knew, and it never came to be.
        (Pending | Unknown, Word::NotThere) => To(Rejected),
        // It has been there; it ended and was forgotten (orders without a fill are, after a while).
        (Open | PartiallyFilled, Word::NotThere) => Corrects(Canceled),
        (Filled | Canceled | Expired | Rejected, Word::NotThere) => Stale,

        // It was taken to be refused, and works or worked.
        (Rejected, Word::Works) => Corrects(Open),
        (Rejected, Word::WorksInPart) => Corrects(PartiallyFilled),
        (Rejected, Word::Canceled) => Corrects(Canceled),
        (Rejected, Word::Expired) => Corrects(Expired),
    }
}

/// What somebody who knows says of an order. `None`: not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderNews {
    /// Where it stands.
    pub word: Word,
    /// Executed in all, base units.
    pub filled: Option<Decimal>,
    /// Average price of that, quote units.
    pub average_price: Option<Decimal>,
    /// The quantity that is in force, base units.
    pub quantity: Option<Decimal>,
    /// The limit price that is in force.
    pub price: Option<Decimal>,
    /// The exchange's id.
    pub exchange_order_id: Option<String>,
    /// The exchange's id of the conditional order.
    pub trigger_id: Option<String>,
    /// Why it was refused or ended.
    pub reason: Option<String>,
    /// When, by whoever says it.
    pub at: TsNanos,
}

impl OrderNews {
    /// A bare word.
    #[must_use]
    pub const fn new(word: Word, at: TsNanos) -> Self {
        Self {
            word,
            filled: None,
            average_price: None,
            quantity: None,
            price: None,
            exchange_order_id: None,
            trigger_id: None,
            reason: None,
            at,
        }
    }
}

/// What news did to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Something that a user sees is different.
    pub is_visible: bool,
    /// What was known had been wrong.
    pub is_correction: bool,
}

impl Order {
    /// Takes news. What executed never becomes less, and an order that is over stays so unless the
    /// exchange itself contradicts (see [`next`]).
    pub fn apply(&mut self, news: &OrderNews) -> Change {
        let before = (
            self.status,
            self.filled_quantity,
            self.terms.quantity,
            self.terms.price,
            self.exchange_order_id.is_some(),
        );
        let mut is_correction = false;
        let was_numbered = self.exchange_order_id.is_some();
        if self.exchange_order_id.is_none() {
            self.exchange_order_id.clone_from(&news.exchange_order_id);
        }
        if news.trigger_id.is_some() {
            self.trigger_id.clone_from(&news.trigger_id);
        }
        self.take_filled(news.filled, news.average_price);
        let word = self.sharpen(news.word);
        let next = match (self.status, word) {
            // The exchange itself took it up and refused it (post-only orders that would have taken, at OKX and
            // Bybit): an acknowledgement that was overtaken by this.
            (Rejected, Word::Works) if was_numbered => Next::Stale,
            (status, word) => next(status, word),
        };
        // Terms that are in force, or were when it ended: the word of a change may have been lost. What
        // was never taken has none.
        if !matches!(next, Next::Stale | Next::To(Rejected)) {
            self.amend(news.quantity, news.price);
        }
        match next {
            Next::To(status) => self.move_to(status, news),
            Next::Corrects(status) => {
                is_correction = true;
                self.move_to(status, news);
            }
            Next::Stale => {}
        }
        let after = (
            self.status,
            self.filled_quantity,
            self.terms.quantity,
            self.terms.price,
            self.exchange_order_id.is_some(),
        );
        let is_visible = before != after;
        if is_visible && news.at > self.updated_at {
            self.updated_at = news.at;
        }
        Change {
            is_visible,
            is_correction,
        }
    }

    /// Takes an execution that is new: the caller has seen to it that this one was not counted before.
    pub fn take_fill(&mut self, fill: &Fill) {
        // What an exchange tells may be beyond a decimal: then there is no average.
        let known_value = self
            .average_price
            .unwrap_or_default()
            .checked_mul(self.known_fills);
        self.known_fills = self.known_fills.saturating_add(fill.quantity);
        if let (Some(fee), Some(asset)) = (fill.fee, &fill.fee_asset) {
            self.fees.add(asset, fee);
        }
        if self.known_fills > self.filled_quantity {
            // The sum has not been told yet: fills are enough.
            let value = fill.price.checked_mul(fill.quantity);
            let value = known_value.zip(value).and_then(|(a, b)| a.checked_add(b));
            self.filled_quantity = self.known_fills;
            self.average_price = value.and_then(|value| value.checked_div(self.known_fills));
            let word = match self.filled_quantity >= self.terms.quantity {
                true => Word::Done,
                false => Word::WorksInPart,
            };
            if let Next::To(status) | Next::Corrects(status) = next(self.status, word) {
                self.status = status;
            }
        }
        if fill.at > self.updated_at {
            self.updated_at = fill.at;
        }
    }

    /// Executions whose details have not come yet, base units.
    #[must_use]
    pub fn missing_fills(&self) -> Decimal {
        self.filled_quantity
            .saturating_sub(self.known_fills)
            .max(Decimal::ZERO)
    }

    fn take_filled(&mut self, filled: Option<Decimal>, average: Option<Decimal>) {
        let Some(filled) = filled else { return };
        if filled > self.filled_quantity {
            self.filled_quantity = filled;
            if average.is_some() {
                self.average_price = average;
            }
        } else if filled == self.filled_quantity
            && !filled.is_zero()
            && self.average_price.is_none()
        {
            self.average_price = average;
        }
    }

    /// A word, with what the sums say beside it: an order that works and has executed in part is told
    /// as one that works by some exchanges.
    fn sharpen(&self, word: Word) -> Word {
        match word {
            Word::Works if !self.filled_quantity.is_zero() => Word::WorksInPart,
            Word::NotThere if !self.filled_quantity.is_zero() => Word::Canceled,
            word => word,
        }
    }

    /// Orders that never rest end by their own terms, whatever somebody asked for meanwhile: exchanges that have
    /// one word for both ends (Coinbase), and answers that there is no such order any more, don't say so.
    const fn ends_itself(&self) -> bool {
        matches!(
            self.terms.time_in_force,
            TimeInForce::Ioc | TimeInForce::Fok
        ) && !self.terms.order_type.is_stop()
    }

    fn move_to(&mut self, status: OrderStatus, news: &OrderNews) {
        self.status = match status {
            Canceled if self.ends_itself() => Expired,
            status => status,
        };
        let status = self.status;
        if status.is_final() && news.reason.is_some() {
            self.reject_reason.clone_from(&news.reason);
        }
        if status == Filled && self.filled_quantity < self.terms.quantity && news.filled.is_none() {
            self.filled_quantity = self.terms.quantity;
        }
    }

    /// Changes the terms in force and keeps the first ones.
    pub fn amend(&mut self, quantity: Option<Decimal>, price: Option<Decimal>) {
        let quantity = quantity.filter(|quantity| *quantity != self.terms.quantity);
        let price = price.filter(|price| self.terms.price.is_some_and(|now| now != *price));
        if quantity.is_none() && price.is_none() {
            return;
        }
        if self.first_terms.is_none() {
            self.first_terms = Some(Box::new(self.terms.clone()));
        }
        if let Some(quantity) = quantity {
            self.terms.quantity = quantity;
        }
        if price.is_some() {
            self.terms.price = price;
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
