//! What Coinbase lists: the standard market's coins in dollars, under Coinbase's names and steps.

use crate::market::{Fixed, Listing, Segment, listings as standard};

/// Days of history.
const HISTORY_DAYS: u32 = 365;

/// A product: the symbol of the standard listing that it is made of, its own base and quote, tick
/// and lot as numbers of decimals.
type Row = (&'static str, (&'static str, &'static str), u32, u32);

/// Products, in the order of the list.
const ROWS: [Row; 8] = [
    ("BTCUSDT", ("BTC", "USD"), 2, 8),
    ("ETHUSDT", ("ETH", "USD"), 2, 8),
    ("SOLUSDT", ("SOL", "USD"), 2, 8),
    ("BTCUSDT", ("BTC", "USDT"), 2, 8),
    ("ETHBTC", ("ETH", "BTC"), 5, 8),
    ("DOGEUSDT", ("DOGE", "USD"), 5, 1),
    ("SHIBUSDT", ("SHIB", "USD"), 8, 0),
    // Delisted.
    ("GONEUSDT", ("GONE", "USD"), 5, 1),
];

/// The listing at `start_ms`.
pub(super) fn listings(start_ms: i64) -> Vec<Listing> {
    let standard = standard(start_ms, HISTORY_DAYS);
    let product = |(from, (base, quote), tick, lot): &Row| {
        let spot = |entry: &&Listing| entry.instrument.segment == Segment::Spot;
        let mut found = standard.iter().filter(spot);
        let mut entry = found
            .find(|entry| entry.instrument.symbol == *from)?
            .clone();
        let it = &mut entry.instrument;
        it.symbol = format!("{base}-{quote}");
        it.pair = it.symbol.clone();
        it.base = (*base).to_owned();
        it.quote = (*quote).to_owned();
        it.tick = Fixed::new(1, *tick);
        it.lot = Fixed::new(1, *lot);
        it.notional_min = match *quote {
            "BTC" => Fixed::new(16, 6),
            _ => Fixed::new(1, 0),
        };
        // Numbers are written without trailing zeros.
        (it.price_decimals, it.qty_decimals) = (0, 0);
        Some(entry)
    };
    ROWS.iter().filter_map(product).collect()
}

/// A filler under a Coinbase name.
pub(super) fn filler(mut entry: Listing) -> Listing {
    let it = &mut entry.instrument;
    it.quote = "USD".to_owned();
    it.symbol = format!("{}-{}", it.base, it.quote);
    it.pair = it.symbol.clone();
    it.notional_min = Fixed::new(1, 0);
    (it.price_decimals, it.qty_decimals) = (0, 0);
    entry
}

/// The other name of a product's book: `BTC-USDC` of `BTC-USD`.
pub(super) fn alias_of(product: &str) -> Option<String> {
    let base = product.strip_suffix("-USD")?;
    Some(format!("{base}-USDC"))
}

/// The product that owns the book of a name: itself, or the one that it is an alias of.
pub(super) fn owner_of(name: &str) -> String {
    match name.strip_suffix("-USDC") {
        Some(base) => format!("{base}-USD"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_coinbases() {
        let all = listings(1_723_075_200_000);
        let symbols: Vec<&str> = all
            .iter()
            .map(|entry| entry.instrument.symbol.as_str())
            .collect();
        assert_eq!(
            symbols,
            [
                "BTC-USD", "ETH-USD", "SOL-USD", "BTC-USDT", "ETH-BTC", "DOGE-USD", "SHIB-USD",
                "GONE-USD"
            ]
        );
    }

    #[test]
    fn aliases_lead_back_to_their_products() {
        assert_eq!(alias_of("BTC-USD").as_deref(), Some("BTC-USDC"));
        assert_eq!(alias_of("BTC-USDT"), None);
        for (name, owner) in [
            ("BTC-USDC", "BTC-USD"),
            ("BTC-USD", "BTC-USD"),
            ("BTC-USDT", "BTC-USDT"),
        ] {
            assert_eq!(owner_of(name), owner);
        }
    }
}
