//! Coins that exist only to fill a list: a load test wants fifty symbols of each exchange, whatever
//! the standard listing has.
//!
//! Their prices follow a coin of the standard listing, at another height each; their orders are
//! their own.

use super::catalog::{FlowSpec, Listing, perpetual};
use super::fixed::Fixed;
use super::instrument::{Contract, Instrument, Price, Qty, Segment, Status};

/// The coin whose price they follow: SOL.
const BASE: usize = 2;
/// Most of them.
pub const FILLERS_MAX: usize = 400;

/// The filler of a number as it is listed in the standard form, `XABUSDT`, since `list_ms`.
#[must_use]
pub fn filler(at: usize, segment: Segment, list_ms: i64) -> Listing {
    let letter = |at: usize| char::from(b'A' + u8::try_from(at % 26).unwrap_or(0));
    let base = format!("X{}{}", letter(at / 26), letter(at));
    let symbol = format!("{base}USDT");
    let is_spot = segment == Segment::Spot;
    let instrument = Instrument {
        segment,
        pair: symbol.clone(),
        symbol,
        base,
        quote: "USDT".to_owned(),
        contract: Contract::Spot,
        status: Status::Trading,
        tick: Fixed::new(1, 2),
        lot: Fixed::new(1, 2),
        price_range: (Price(1), Price(100_000_000)),
        qty_range: (Qty(1), Qty(900_000_000_000)),
        market_qty_max: Qty(10_000_000_000),
        notional_min: Fixed::new(5, 0),
        price_decimals: if is_spot { 8 } else { 2 },
        qty_decimals: if is_spot { 8 } else { 2 },
        list_ms,
        halt_ms: None,
    };
    let flow = FlowSpec {
        base: BASE,
        multiplier: 0.2 + 0.01 * (at % 100) as f64,
        quote: None,
        rate: 20.0,
        order_value: 500.0,
        orders: 500,
        basis_bp: 0.0,
        daily: (480_000, 220_000),
    };
    let listing = Listing { instrument, flow };
    match segment {
        Segment::Spot => listing,
        Segment::Linear => perpetual(listing, 8.0, 8, 2_000_000),
    }
}

/// Fillers that bring a list up to `wanted` traded instruments, as many of each market as will
/// bring the two together where there are perpetuals.
#[must_use]
pub fn fillers(listed: &[Listing], wanted: usize, has_perpetuals: bool) -> Vec<Listing> {
    let count = |segment: Segment| {
        let is_one = |entry: &&Listing| {
            let it = &entry.instrument;
            let is_dated = matches!(it.contract, Contract::Delivery { .. });
            it.segment == segment && it.status == Status::Trading && !is_dated
        };
        listed.iter().filter(is_one).count()
    };
    let list_ms = listed.iter().map(|entry| entry.instrument.list_ms).min();
    let list_ms = list_ms.unwrap_or(0);
    let (mut spot, mut linear) = (count(Segment::Spot), count(Segment::Linear));
    let mut found = Vec::new();
    while spot + linear < wanted && found.len() < FILLERS_MAX {
        let segment = match has_perpetuals && linear < spot {
            true => Segment::Linear,
            false => Segment::Spot,
        };
        *match segment {
            Segment::Spot => &mut spot,
            Segment::Linear => &mut linear,
        } += 1;
        found.push(filler(found.len(), segment, list_ms));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_filled_evenly_with_symbols_of_their_own() {
        let standard = super::super::listings(1_723_075_200_000, 60);
        for (has_perpetuals, linear) in [(true, 25), (false, 5)] {
            let mut all = standard.clone();
            all.extend(fillers(&standard, 50, has_perpetuals));
            let traded = |entry: &&Listing| {
                let it = &entry.instrument;
                it.status == Status::Trading && !matches!(it.contract, Contract::Delivery { .. })
            };
            let traded: Vec<&Listing> = all.iter().filter(traded).collect();
            assert_eq!(traded.len(), 50);
            let of = |segment| {
                let its = traded.iter().filter(|e| e.instrument.segment == segment);
                its.count()
            };
            assert_eq!(of(Segment::Linear), linear);
            let mut names: Vec<_> = all
                .iter()
                .map(|e| (e.instrument.segment as u8, &e.instrument.symbol))
                .collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all.len());
        }
        assert!(
            fillers(&standard, 5, true).is_empty(),
            "there are more already"
        );
    }
}
