//! What Bybit lists: the standard market under Bybit's names and steps, contracts settled in USDC,
//! and one whose multiplier stands behind the coin.

use crate::market::{Contract, Fixed, Listing, Segment, Status, listings as standard};

/// Days of history.
const HISTORY_DAYS: u32 = 365;

/// Steps by symbol: tick and lot as `(mantissa, scale)`, decimals of printed prices.
type Steps = ((i128, u32), (i128, u32), u32);

/// Steps of a symbol of the standard listing; `None`: not listed here.
fn steps(segment: Segment, symbol: &str) -> Option<Steps> {
    Some(match (segment, symbol) {
        (Segment::Spot, "BTCUSDT") => ((1, 1), (1, 6), 1),
        (Segment::Spot, "ETHUSDT") => ((1, 2), (1, 5), 2),
        (Segment::Spot, "SOLUSDT") => ((1, 2), (1, 4), 2),
        (Segment::Spot, "ETHBTC") => ((1, 6), (1, 4), 6),
        (Segment::Spot, "DOGEUSDT") => ((1, 5), (1, 1), 5),
        (Segment::Spot, "SHIBUSDT") => ((1, 8), (1, 0), 8),
        // Two decimals at a step of one: `64250.10`.
        (Segment::Linear, "BTCUSDT") => ((1, 1), (1, 3), 2),
        (Segment::Linear, "ETHUSDT") => ((1, 2), (1, 2), 2),
        (Segment::Linear, "SOLUSDT") => ((1, 2), (1, 1), 3),
        (Segment::Linear, "DOGEUSDT") => ((1, 5), (1, 0), 5),
        (Segment::Linear, "1000PEPEUSDT") => ((1, 7), (1, 0), 7),
        _ => return None,
    })
}

/// The listing at `start_ms`.
pub(super) fn listings(start_ms: i64) -> Vec<Listing> {
    let standard = standard(start_ms, HISTORY_DAYS);
    let mut all = Vec::with_capacity(standard.len() + 2);
    for mut entry in standard {
        let it = &mut entry.instrument;
        match it.contract {
            Contract::Delivery { delivery_ms } => {
                it.symbol = format!("{}-{}", it.pair, date(delivery_ms));
                it.price_decimals = 2;
            }
            _ if it.status != Status::Trading => continue,
            _ => {
                let Some(((tick, tick_scale), (lot, lot_scale), decimals)) =
                    steps(it.segment, &it.symbol)
                else {
                    continue;
                };
                it.tick = Fixed::new(tick, tick_scale);
                it.lot = Fixed::new(lot, lot_scale);
                it.price_decimals = decimals;
                it.qty_decimals = lot_scale;
            }
        }
        let extra = match (it.segment, it.symbol.as_str()) {
            (Segment::Linear, "BTCUSDT") => Some(in_usdc(&entry)),
            (Segment::Linear, "1000PEPEUSDT") => shib(&all, &entry),
            _ => None,
        };
        all.push(entry);
        all.extend(extra);
    }
    all
}

/// A filler with as many decimals as its steps have.
pub(super) fn filler(mut entry: Listing) -> Listing {
    let it = &mut entry.instrument;
    (it.price_decimals, it.qty_decimals) = (it.tick.scale(), it.lot.scale());
    entry
}

/// The contract of the same coin that is quoted and settled in USDC: `BTCPERP`.
fn in_usdc(usdt: &Listing) -> Listing {
    let mut entry = usdt.clone();
    let it = &mut entry.instrument;
    it.quote = "USDC".to_owned();
    // The pair stays: the index is that of the coin.
    it.symbol = format!("{}PERP", it.base);
    entry.flow.rate /= 4.0;
    entry.flow.daily = (entry.flow.daily.0 / 4, entry.flow.daily.1 / 4);
    entry
}

/// A contract of a thousand SHIB, named by a suffix.
fn shib(spot: &[Listing], like: &Listing) -> Option<Listing> {
    let coin = spot.iter().find(|entry| entry.instrument.base == "SHIB")?;
    let mut entry = like.clone();
    entry.flow.base = coin.flow.base;
    entry.flow.multiplier = 1_000.0;
    let it = &mut entry.instrument;
    it.base = "SHIB1000".to_owned();
    it.symbol = "SHIB1000USDT".to_owned();
    it.pair = it.symbol.clone();
    it.tick = Fixed::new(1, 6);
    it.lot = Fixed::new(10, 0);
    (it.price_decimals, it.qty_decimals) = (6, 0);
    Some(entry)
}

/// `27DEC24`.
fn date(ms: i64) -> String {
    let date = jiff::Timestamp::from_millisecond(ms)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC);
    date.strftime("%d%b%y").to_string().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_bybits() {
        let all = listings(1_723_075_200_000);
        let of = |segment| -> Vec<&str> {
            all.iter()
                .filter(|entry| entry.instrument.segment == segment)
                .map(|entry| entry.instrument.symbol.as_str())
                .collect()
        };
        assert_eq!(
            of(Segment::Spot),
            [
                "BTCUSDT", "ETHUSDT", "SOLUSDT", "ETHBTC", "DOGEUSDT", "SHIBUSDT"
            ]
        );
        assert_eq!(
            of(Segment::Linear),
            [
                "BTCUSDT",
                "BTCPERP",
                "ETHUSDT",
                "SOLUSDT",
                "DOGEUSDT",
                "1000PEPEUSDT",
                "SHIB1000USDT",
                "BTCUSDT-27SEP24"
            ]
        );
    }
}
