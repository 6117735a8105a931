//! The standard listing: assets with their model, instruments with rules as the venue has them.
//! Prices are of 2024, rules in the form of `exchangeInfo`; the model's figures are ours.

use super::fixed::Fixed;
use super::instrument::{Contract, FundingTerms, Instrument, Price, Qty, Segment, Status};
use super::kline::DAY_MS;

/// A traded asset's price model.
#[derive(Clone, Debug)]
pub struct AssetSpec {
    /// Name, for messages.
    pub name: &'static str,
    /// Price at the start, in dollars.
    pub usd: f64,
    /// Share of the market factor in its returns.
    pub beta: f64,
    /// Standard deviation of its own daily log return.
    pub daily_vol: f64,
}

/// How an instrument is traded.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// Base asset, an index into [`super::MarketConfig::assets`].
    pub base: usize,
    /// Base units in one unit of quantity (1000 for `1000PEPEUSDT`).
    pub multiplier: f64,
    /// Quote asset if it is not the dollar.
    pub quote: Option<usize>,
    /// Orders and cancels a second at intensity 1 and in calm.
    pub rate: f64,
    /// Typical order value in the quote asset.
    pub order_value: f64,
    /// Resting orders aimed at on each side.
    pub orders: usize,
    /// Size of the basis to spot, in 10⁻⁴; 0 for spot.
    pub basis_bp: f64,
    /// Trades and taker orders a day in the history before the start.
    pub daily: (u64, u64),
}

/// One entry of the listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Public side.
    pub instrument: Instrument,
    /// Model side; a halted instrument has one too, for its history.
    pub flow: FlowSpec,
}

/// The standard assets.
#[must_use]
pub fn assets() -> Vec<AssetSpec> {
    let asset = |name, usd, beta, daily_vol| AssetSpec {
        name,
        usd,
        beta,
        daily_vol,
    };
    vec![
        asset("BTC", 64_250.0, 1.0, 0.008),
        asset("ETH", 3_120.0, 1.15, 0.012),
        asset("SOL", 148.0, 1.3, 0.022),
        asset("DOGE", 0.1235, 1.3, 0.025),
        asset("SHIB", 0.000_017_6, 1.2, 0.028),
        asset("SATS", 0.000_000_268, 1.2, 0.035),
        asset("PEPE", 0.000_008_5, 1.4, 0.035),
        asset("GONE", 0.042, 1.1, 0.04),
    ]
}

const BTC: usize = 0;
const ETH: usize = 1;
const SOL: usize = 2;
const DOGE: usize = 3;
const SHIB: usize = 4;
const SATS: usize = 5;
const PEPE: usize = 6;
const GONE: usize = 7;

/// Steps as `(mantissa, scale)`: tick, lot, smallest order value.
type Rules = ((i128, u32), (i128, u32), i128);

fn listing(
    segment: Segment,
    (base, quote): (&str, &str),
    ((tick, tick_scale), (lot, lot_scale), notional_min): Rules,
    list_ms: i64,
    flow: FlowSpec,
) -> Listing {
    let symbol = format!("{base}{quote}");
    let spot = segment == Segment::Spot;
    let instrument = Instrument {
        segment,
        pair: symbol.clone(),
        symbol,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract: Contract::Spot,
        status: Status::Trading,
        tick: Fixed::new(tick, tick_scale),
        lot: Fixed::new(lot, lot_scale),
        price_range: (Price(1), Price(100_000_000)),
        qty_range: (Qty(1), Qty(900_000_000_000)),
        market_qty_max: Qty(10_000_000_000),
        notional_min: Fixed::new(notional_min, if quote == "BTC" { 4 } else { 0 }),
        price_decimals: if spot { 8 } else { tick_scale },
        qty_decimals: if spot { 8 } else { lot_scale },
        list_ms,
        halt_ms: None,
    };
    Listing { instrument, flow }
}

/// `pace`: trades and taker orders a second in the history. The standard ones are what an hour of
/// the live model gave (seed 1), so that volumes before and after the start are alike.
fn flow(base: usize, rate: f64, order_value: f64, orders: usize, pace: (f64, f64)) -> FlowSpec {
    let daily = ((pace.0 * 86_400.0) as u64, (pace.1 * 86_400.0) as u64);
    FlowSpec {
        base,
        multiplier: 1.0,
        quote: None,
        rate,
        order_value,
        orders,
        basis_bp: 0.0,
        daily,
    }
}

pub(super) fn perpetual(mut entry: Listing, basis_bp: f64, hours: u32, cap_e8: i64) -> Listing {
    let interest_e8 = 10_000;
    entry.instrument.contract = Contract::Perpetual(FundingTerms {
        interval_hours: hours,
        cap_e8,
        interest_e8,
    });
    entry.flow.basis_bp = basis_bp;
    entry
}

fn halted(mut entry: Listing, status: Status, halt_ms: i64) -> Listing {
    entry.instrument.status = status;
    entry.instrument.halt_ms = Some(halt_ms);
    entry
}

/// The standard listing at `start_ms`, with `history_days` days before it.
#[must_use]
pub fn listings(start_ms: i64, history_days: u32) -> Vec<Listing> {
    let today = start_ms.div_euclid(DAY_MS) * DAY_MS;
    let days_ago = |days: u32| today - i64::from(days) * DAY_MS;
    let days = Days {
        first: days_ago(history_days),
        late: days_ago(history_days / 3),
        halt: days_ago(history_days / 12),
    };
    let mut all = spot_listings(&days);
    all.extend(perpetual_listings(&days));
    all.push(dated_listing(&days, start_ms));
    all
}

/// Days on which instruments come and go, Unix ms.
struct Days {
    first: i64,
    late: i64,
    halt: i64,
}

fn spot_listings(days: &Days) -> Vec<Listing> {
    let usdt = |base: &str, tick, lot, min, flow| {
        listing(
            Segment::Spot,
            (base, "USDT"),
            ((1, tick), (1, lot), min),
            days.first,
            flow,
        )
    };
    let mut eth_btc = flow(ETH, 12.0, 0.03, 900, (1.69, 0.65));
    eth_btc.quote = Some(BTC);
    let mut sats = usdt(
        "1000SATS",
        8,
        0,
        1,
        flow(SATS, 8.0, 250.0, 700, (3.64, 1.97)),
    );
    sats.flow.multiplier = 1_000.0;
    sats.instrument.list_ms = days.late;
    let gone = usdt("GONE", 5, 1, 5, flow(GONE, 5.0, 100.0, 300, (0.9, 0.4)));
    vec![
        usdt(
            "BTC",
            2,
            5,
            5,
            flow(BTC, 60.0, 1_500.0, 1_300, (43.2, 34.8)),
        ),
        usdt(
            "ETH",
            2,
            4,
            5,
            flow(ETH, 45.0, 1_200.0, 1_100, (32.0, 16.7)),
        ),
        usdt("SOL", 2, 3, 5, flow(SOL, 28.0, 700.0, 900, (8.3, 3.72))),
        listing(
            Segment::Spot,
            ("ETH", "BTC"),
            ((1, 5), (1, 4), 1),
            days.first,
            eth_btc,
        ),
        usdt("DOGE", 5, 0, 1, flow(DOGE, 20.0, 500.0, 900, (5.5, 2.54))),
        usdt(
            "SHIB",
            8,
            0,
            1,
            flow(SHIB, 14.0, 400.0, 1_000, (2.07, 0.76)),
        ),
        sats,
        halted(gone, Status::Break, days.halt),
    ]
}

fn perpetual_listings(days: &Days) -> Vec<Listing> {
    let usdt = |base: &str, tick, lot, min, flow| {
        listing(
            Segment::Linear,
            (base, "USDT"),
            ((1, tick), (1, lot), min),
            days.first,
            flow,
        )
    };
    let mut pepe = usdt(
        "1000PEPE",
        7,
        0,
        5,
        flow(PEPE, 24.0, 500.0, 900, (14.6, 7.7)),
    );
    pepe.flow.multiplier = 1_000.0;
    pepe.instrument.list_ms = days.late;
    let btc = usdt(
        "BTC",
        1,
        3,
        50,
        flow(BTC, 80.0, 2_500.0, 1_400, (59.0, 30.3)),
    );
    let eth = usdt(
        "ETH",
        2,
        3,
        20,
        flow(ETH, 55.0, 2_000.0, 1_200, (39.6, 19.5)),
    );
    let sol = usdt("SOL", 2, 2, 5, flow(SOL, 32.0, 900.0, 1_000, (9.7, 4.19)));
    let doge = usdt("DOGE", 5, 0, 5, flow(DOGE, 20.0, 600.0, 900, (5.64, 2.58)));
    let gone = usdt("GONE", 5, 0, 5, flow(GONE, 5.0, 100.0, 300, (0.9, 0.4)));
    let gone = perpetual(gone, 12.0, 8, 2_000_000);
    vec![
        perpetual(btc, 5.0, 8, 300_000),
        perpetual(eth, 6.0, 8, 300_000),
        perpetual(sol, 8.0, 8, 2_000_000),
        perpetual(doge, 10.0, 8, 2_000_000),
        perpetual(pepe, 14.0, 4, 2_000_000),
        halted(gone, Status::Settling, days.halt),
    ]
}

fn dated_listing(days: &Days, start_ms: i64) -> Listing {
    let flow = flow(BTC, 8.0, 2_500.0, 400, (4.06, 3.43));
    let rules = ((1, 1), (1, 3), 50);
    let mut dated = listing(Segment::Linear, ("BTC", "USDT"), rules, days.late, flow);
    let delivery_ms = next_quarter_end(start_ms);
    dated.instrument.contract = Contract::Delivery { delivery_ms };
    dated.instrument.symbol = format!("BTCUSDT_{}", short_date(delivery_ms));
    dated.flow.basis_bp = 2.0;
    dated
}

fn civil(ms: i64) -> jiff::civil::Date {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

/// 08:00 UTC on the last Friday of a quarter, at least 30 days ahead.
fn next_quarter_end(start_ms: i64) -> i64 {
    let mut day = start_ms.div_euclid(DAY_MS) + 30;
    loop {
        let (date, week_later) = (civil(day * DAY_MS), civil((day + 7) * DAY_MS));
        let friday = date.weekday() == jiff::civil::Weekday::Friday;
        // A date that could not be represented would repeat for ever: stop there.
        let quarter_end = date.month() % 3 == 0 && week_later.month() != date.month();
        if (friday && quarter_end) || date.year() >= 9_000 {
            return day * DAY_MS + 8 * 3_600_000;
        }
        day += 1;
    }
}

fn short_date(ms: i64) -> String {
    let date = civil(ms);
    format!(
        "{:02}{:02}{:02}",
        date.year() % 100,
        date.month(),
        date.day()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_is_the_last_friday_of_a_quarter() {
        // 2024-08-08 -> 2024-09-27; 2024-09-01 -> 2024-12-27 (27 September is too near).
        for (start_ms, expected) in [(1_723_075_200_000, "240927"), (1_725_148_800_000, "241227")] {
            assert_eq!(short_date(next_quarter_end(start_ms)), expected);
        }
    }

    #[test]
    fn symbols_are_unique_and_prices_leave_room() {
        let start_ms = 1_723_075_200_000;
        let (all, assets) = (listings(start_ms, 60), assets());
        for (i, entry) in all.iter().enumerate() {
            let it = &entry.instrument;
            assert!(all[i + 1..].iter().all(|other| {
                (other.instrument.segment, &other.instrument.symbol) != (it.segment, &it.symbol)
            }));
            assert_eq!(it.list_ms % DAY_MS, 0);
            let quote = entry.flow.quote.map_or(1.0, |quote| assets[quote].usd);
            let price = assets[entry.flow.base].usd * entry.flow.multiplier / quote;
            let ticks = price / it.tick_f64();
            assert!(
                (1_000.0..20_000_000.0).contains(&ticks),
                "{} {ticks}",
                it.symbol
            );
        }
    }
}
