//! What OKX lists: the standard market under OKX's names and steps, swaps counted in contracts.

use crate::market::{Contract, Fixed, Instrument, Listing, Qty, Segment, Status, listings};

/// Days of history before the start.
const HISTORY_DAYS: u32 = 365;

/// Terms that the market itself does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Base units in one contract; `None` for spot, which is counted in base units.
    pub(crate) contract: Option<Fixed>,
    /// Smallest step of a size: contracts for swaps, base units for spot.
    pub(crate) lot: Fixed,
    /// Largest leverage; `None`: no margin trading.
    pub(crate) lever: Option<u32>,
    /// Number that requests over a connection would use.
    pub(crate) code: u32,
}

/// A listing of OKX: base, quote, tick, lot, contract value, leverage.
type Row = (
    &'static str,
    &'static str,
    Fixed,
    Fixed,
    Option<Fixed>,
    Option<u32>,
);

const fn fixed(mantissa: i128, scale: u32) -> Fixed {
    Fixed::new(mantissa, scale)
}

/// Ticks and lots as OKX had them in 2025. Swaps have a contract value.
const ROWS: [Row; 12] = [
    ("BTC", "USDT", fixed(1, 1), fixed(1, 8), None, Some(10)),
    ("ETH", "USDT", fixed(1, 2), fixed(1, 6), None, Some(10)),
    ("SOL", "USDT", fixed(1, 2), fixed(1, 6), None, Some(10)),
    ("ETH", "BTC", fixed(1, 5), fixed(1, 6), None, Some(5)),
    ("DOGE", "USDT", fixed(1, 5), fixed(1, 6), None, Some(5)),
    ("SHIB", "USDT", fixed(1, 8), fixed(1, 0), None, None),
    ("GONE", "USDT", fixed(1, 5), fixed(1, 1), None, None),
    (
        "BTC",
        "USDT",
        fixed(1, 1),
        fixed(1, 2),
        Some(fixed(1, 2)),
        Some(100),
    ),
    (
        "ETH",
        "USDT",
        fixed(1, 2),
        fixed(1, 2),
        Some(fixed(1, 1)),
        Some(100),
    ),
    (
        "SOL",
        "USDT",
        fixed(1, 2),
        fixed(1, 2),
        Some(fixed(1, 0)),
        Some(50),
    ),
    (
        "DOGE",
        "USDT",
        fixed(1, 5),
        fixed(1, 2),
        Some(fixed(1_000, 0)),
        Some(50),
    ),
    (
        "GONE",
        "USDT",
        fixed(1, 5),
        fixed(1, 0),
        Some(fixed(10, 0)),
        Some(20),
    ),
];

/// The listing at `start_ms`, and the terms of each of it.
pub(crate) fn standard(start_ms: i64) -> (Vec<Listing>, Vec<Terms>) {
    let all = listings(start_ms, HISTORY_DAYS);
    let mut chosen = Vec::with_capacity(ROWS.len());
    let mut terms = Vec::with_capacity(ROWS.len());
    for ((base, quote, tick, lot, contract, lever), code) in ROWS.into_iter().zip(10_459_u32..) {
        let segment = match contract {
            None => Segment::Spot,
            Some(_) => Segment::Linear,
        };
        let is_it = |listing: &&Listing| {
            let it = &listing.instrument;
            let is_dated = matches!(it.contract, Contract::Delivery { .. });
            it.segment == segment && it.base == base && it.quote == quote && !is_dated
        };
        let Some(found) = all.iter().find(is_it) else {
            continue;
        };
        let mut listing = found.clone();
        rename(&mut listing.instrument, tick, lot, contract);
        chosen.push(listing);
        terms.push(Terms {
            contract,
            lot,
            lever,
            code,
        });
    }
    (chosen, terms)
}

/// A filler under an OKX name; swaps are counted in contracts of a tenth of the coin.
pub(crate) fn filler(mut listing: Listing, code: u32) -> (Listing, Terms) {
    let it = &mut listing.instrument;
    let contract = (it.segment == Segment::Linear).then_some(fixed(1, 1));
    let lot = fixed(1, 1);
    let tick = it.tick;
    rename(it, tick, lot, contract);
    let terms = Terms {
        contract,
        lot,
        lever: Some(10),
        code,
    };
    (listing, terms)
}

fn rename(it: &mut Instrument, tick: Fixed, lot: Fixed, contract: Option<Fixed>) {
    it.pair = format!("{}-{}", it.base, it.quote);
    it.symbol = match contract {
        None => it.pair.clone(),
        Some(_) => format!("{}-SWAP", it.pair),
    };
    it.tick = tick;
    // The market counts in base units, whatever the exchange counts in.
    it.lot = match contract {
        None => lot,
        Some(value) => {
            let mantissa = lot.mantissa() * value.mantissa();
            Fixed::new(mantissa, lot.scale() + value.scale()).trimmed()
        }
    };
    // Sizes of orders that OKX allows are far above what the market trades.
    it.qty_range = (Qty(1), Qty(1_000_000_000_000_000));
    it.market_qty_max = Qty(10_000_000_000_000);
    // Numbers are printed without zeros at their end.
    (it.price_decimals, it.qty_decimals) = (0, 0);
}

/// The state that OKX names.
pub(crate) const fn state(status: Status) -> &'static str {
    match status {
        Status::Trading => "live",
        Status::Break | Status::Settling => "suspend",
    }
}
