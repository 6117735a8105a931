//! From a product's id to its instrument.

use std::sync::Arc;

use crate::exchange::{DecodeError, ProviderId};
use crate::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use crate::num::{NumError, Price, Qty, parse_fixed};

/// What a decoder needs of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) id: InstrumentId,
    price_scale: u8,
    qty_scale: u8,
}

impl From<&Instrument> for Symbol {
    fn from(instrument: &Instrument) -> Self {
        Self {
            id: instrument.id,
            price_scale: instrument.price_scale,
            qty_scale: instrument.qty_scale,
        }
    }
}

impl Symbol {
    /// The instrument of a product's id; `None` when the table has it not, as for every alias: its
    /// messages name the product whose book it shares.
    pub(super) fn of(table: &Arc<InstrumentTable>, product: &str) -> Option<Self> {
        let found = table.by_native(ProviderId::COINBASE, Market::Spot, product)?;
        Some(Self::from(&**found))
    }

    pub(super) fn price(self, text: &str, field: &'static str) -> Result<Price, DecodeError> {
        unsigned(text, self.price_scale, field).map(Price)
    }

    pub(super) fn qty(self, text: &str, field: &'static str) -> Result<Qty, DecodeError> {
        unsigned(text, self.qty_scale, field).map(Qty)
    }
}

/// A number that is never negative: no price or quantity of spot is.
fn unsigned(text: &str, scale: u8, field: &'static str) -> Result<i64, DecodeError> {
    let text = text.as_bytes();
    let read = match text.first() {
        Some(b'-') => Err(NumError::Malformed),
        _ => parse_fixed(text, scale),
    };
    read.map_err(|error| DecodeError::Number { field, error })
}
