//! From the instrument id of a message to its instrument, without an allocation.

use std::sync::Arc;

use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use crate::num::SCALE_MAX;

/// What a decoder needs of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) id: InstrumentId,
    pub(super) price_scale: u8,
    pub(super) qty_scale: u8,
    /// Digits after the point at which sizes are read …
    pub(super) size_scale: u8,
    /// … and what one of that digit is in base units at `qty_scale`. Spot: 1. Swaps are counted in
    /// contracts: 0.01 BTC each gives scale 2 and unit 1 at a quantity scale of 4.
    pub(super) size_unit: i64,
}

impl Symbol {
    pub(super) fn of(instrument: &Instrument) -> Self {
        let qty_scale = instrument.qty_scale;
        let contract = instrument.spec.contract_size.normalize();
        // A contract is `mantissa × 10^-scale`: sizes are read with that many digits fewer.
        let unit = i64::try_from(contract.mantissa()).ok();
        let scale = u8::try_from(contract.scale()).unwrap_or(SCALE_MAX);
        let (size_scale, size_unit) = match (instrument.spec.market, unit) {
            (Market::Perp, Some(unit)) if unit > 0 && scale <= qty_scale => {
                (qty_scale - scale, unit)
            }
            _ => (qty_scale, 1),
        };
        Self {
            id: instrument.id,
            price_scale: instrument.price_scale,
            qty_scale,
            size_scale,
            size_unit,
        }
    }
}

/// Longest index name that is looked up: `BTC-USDT` of `BTC-USDT-SWAP`.
const NAME_MAX: usize = 64;
/// What makes an index's name a swap's.
const SWAP: &str = "-SWAP";

/// A connection's view of the instrument table of one market.
#[derive(Debug)]
pub(super) struct Symbols {
    market: Market,
    table: Arc<InstrumentTable>,
}

impl Symbols {
    pub(super) fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self { market, table }
    }

    pub(super) fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.table = table;
    }

    /// The instrument of a native symbol; `None` when it is not in the table.
    pub(super) fn get(&self, native: &str) -> Option<Symbol> {
        let found = self.table.by_native(ProviderId::OKX, self.market, native)?;
        Some(Symbol::of(found))
    }

    /// The swap that an index belongs to.
    pub(super) fn of_index(&self, index: &str) -> Option<Symbol> {
        let len = index.len();
        let mut name = [0_u8; NAME_MAX];
        name.get_mut(..len)?.copy_from_slice(index.as_bytes());
        name.get_mut(len..len + SWAP.len())?
            .copy_from_slice(SWAP.as_bytes());
        self.get(std::str::from_utf8(name.get(..len + SWAP.len())?).ok()?)
    }
}
