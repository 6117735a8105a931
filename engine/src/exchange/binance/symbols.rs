//! From the symbol text of a message to its instrument, without an allocation.

use std::sync::Arc;

use crate::exchange::ProviderId;
use crate::instrument::{InstrumentId, InstrumentTable, Market};

use super::digits::word;
use super::fields::Text;

/// What a decoder needs of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) id: InstrumentId,
    pub(super) price_scale: u8,
    pub(super) qty_scale: u8,
}

/// A symbol of up to 16 bytes as its length and two words.
#[derive(Clone, Copy, Debug)]
struct Slot {
    len: usize,
    text: [u64; 2],
    symbol: Symbol,
}

/// Places in the cache in front of the table; a connection carries at most some hundred symbols.
const SLOTS: usize = 256;

/// A connection's view of the instrument table of one market.
#[derive(Debug)]
pub(super) struct Symbols {
    market: Market,
    table: Arc<InstrumentTable>,
    slots: Vec<Option<Slot>>,
}

impl Symbols {
    pub(super) fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            market,
            table,
            slots: vec![None; SLOTS],
        }
    }

    pub(super) fn market(&self) -> Market {
        self.market
    }

    pub(super) fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.table = table;
        self.slots.fill(None);
    }

    /// The instrument of a native symbol; `None` when it is not in the table.
    #[inline(always)]
    pub(super) fn get(&mut self, text: Text<'_>) -> Option<Symbol> {
        if text.len == 0 || text.len > 16 {
            return self.look_up(text);
        }
        let low = word(text.tail) & mask(text.len);
        let high = match text.tail.get(8..) {
            Some(rest) if text.len > 8 => word(rest) & mask(text.len - 8),
            _ => 0,
        };
        let hash = (low ^ high.rotate_left(23)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slot = (hash >> 56) as usize % SLOTS;
        if let Some(Some(found)) = self.slots.get(slot)
            && found.len == text.len
            && found.text == [low, high]
        {
            return Some(found.symbol);
        }
        let symbol = self.look_up(text)?;
        self.slots[slot] = Some(Slot {
            len: text.len,
            text: [low, high],
            symbol,
        });
        Some(symbol)
    }

    #[inline(never)]
    fn look_up(&self, text: Text<'_>) -> Option<Symbol> {
        let native = std::str::from_utf8(text.bytes()).ok()?;
        let found = self
            .table
            .by_native(ProviderId::BINANCE, self.market, native)?;
        Some(Symbol {
            id: found.id,
            price_scale: found.price_scale,
            qty_scale: found.qty_scale,
        })
    }
}

#[inline(always)]
fn mask(len: usize) -> u64 {
    if len >= 8 {
        u64::MAX
    } else {
        !(u64::MAX << (8 * len))
    }
}
