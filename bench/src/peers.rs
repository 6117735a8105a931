//! The neighbours' own types and handlers on the same bytes, driven the way their programs drive
//! them. Versions are pinned in the manifest and named in the report.

use barter_data::books::{Level, OrderBook};
use barter_data::exchange::binance::futures::l2::BinanceFuturesOrderBookL2Update;
use barter_data::exchange::binance::spot::l2::BinanceSpotOrderBookL2Update;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::subscription::book::OrderBookEvent;
use bookwire_engine::event::BookLevel;
use bookwire_engine::instrument::Market;
use bookwire_engine::num::to_decimal;
use hftbacktest::depth::{
    BTreeMarketDepth, HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth,
};
use nautilus_binance::futures::websocket::streams::messages::{
    BinanceFuturesDepthUpdateMsg, BinanceFuturesTradeMsg,
};
use nautilus_binance::futures::websocket::streams::parse_data::{parse_depth_update, parse_trade};
use nautilus_core::UnixNanos;
use nautilus_model::data::{BookOrder, OrderBookDelta};
use nautilus_model::enums::{BookAction, BookType, OrderSide};
use nautilus_model::instruments::stubs::crypto_perpetual_ethusdt;
use nautilus_model::instruments::{Instrument, InstrumentAny};
use nautilus_model::types::{Price, Quantity};

use crate::book::{Decoded, Delta};
use crate::captures::{Capture, DIGITS};
use crate::report::Contender;

const BARTER: &str = "barter-data 0.13.0";
const HFT: &str = "hftbacktest 0.9.4";
const NAUTILUS: &str = "nautilus 0.57.0";

/// The frames without the combined wrapper: the peers subscribe on raw connections.
fn bare(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    frames
        .iter()
        .map(|frame| {
            let marker = b"\"data\":";
            let start = frame
                .windows(marker.len())
                .position(|window| window == marker);
            start.map_or_else(Vec::new, |at| {
                frame[at + marker.len()..frame.len() - 1].to_vec()
            })
        })
        .collect()
}

/// Depth decoders of the peers.
pub fn depth_decoders(capture: &Capture) -> Vec<Contender<'_>> {
    let frames = bare(&capture.depth);
    let for_nautilus = frames.clone();
    let market = capture.market;
    let mut all: Vec<Contender<'_>> = vec![(
        format!("{BARTER} types, serde_json"),
        Box::new(move || {
            let mut sum = 0u64;
            for frame in &frames {
                let id = match market {
                    Market::Spot => serde_json::from_slice::<BinanceSpotOrderBookL2Update>(frame)
                        .map(|update| update.last_update_id),
                    Market::Perp => {
                        serde_json::from_slice::<BinanceFuturesOrderBookL2Update>(frame)
                            .map(|update| update.last_update_id)
                    }
                };
                sum = sum.wrapping_add(id.unwrap_or(0));
            }
            sum
        }),
    )];
    // Its spot adapter reads SBE, so only the futures handler can be given these bytes.
    if market == Market::Perp {
        let instrument = InstrumentAny::CryptoPerpetual(crypto_perpetual_ethusdt());
        all.push((
            format!("{NAUTILUS} handler's steps"),
            Box::new(move || {
                let mut sum = 0u64;
                for frame in &for_nautilus {
                    let Ok(value) = serde_json::from_slice::<serde_json::Value>(frame) else {
                        return 0;
                    };
                    let typed: Result<BinanceFuturesDepthUpdateMsg, _> =
                        serde_json::from_value(value.clone());
                    let Ok(typed) = typed else { return 0 };
                    let deltas = parse_depth_update(&typed, &instrument, UnixNanos::default());
                    sum += deltas.map_or(0, |deltas| deltas.deltas.len() as u64);
                }
                sum
            }),
        ));
    }
    all
}

/// Trade decoders of the peers.
pub fn trade_decoders(capture: &Capture) -> Vec<Contender<'_>> {
    let frames = bare(&capture.trades);
    let for_nautilus = frames.clone();
    let mut all: Vec<Contender<'_>> = vec![(
        format!("{BARTER} types, serde_json"),
        Box::new(move || {
            let mut sum = 0u64;
            for frame in &frames {
                let trade = serde_json::from_slice::<BinanceTrade>(frame);
                sum = sum.wrapping_add(trade.map_or(0, |trade| trade.id));
            }
            sum
        }),
    )];
    if capture.market == Market::Perp {
        let instrument = InstrumentAny::CryptoPerpetual(crypto_perpetual_ethusdt());
        all.push((
            format!("{NAUTILUS} handler's steps"),
            Box::new(move || {
                let mut sum = 0u64;
                for frame in &for_nautilus {
                    let Ok(value) = serde_json::from_slice::<serde_json::Value>(frame) else {
                        return 0;
                    };
                    let typed: Result<BinanceFuturesTradeMsg, _> =
                        serde_json::from_value(value.clone());
                    let Ok(typed) = typed else { return 0 };
                    let tick = parse_trade(&typed, &instrument, UnixNanos::default());
                    sum += u64::from(tick.is_ok());
                }
                sum
            }),
        ));
    }
    all
}

/// Levels in floats, as hftbacktest takes them.
fn floats(levels: &[BookLevel]) -> Vec<(f64, f64)> {
    let float = |mantissa: i64, scale: u8| mantissa as f64 / 10f64.powi(i32::from(scale));
    levels
        .iter()
        .map(|l| (float(l.price.0, DIGITS), float(l.qty.0, DIGITS)))
        .collect()
}

type FloatDelta = (Vec<(f64, f64)>, Vec<(f64, f64)>);

fn feed<D: L2MarketDepth>(depth: &mut D, delta: &FloatDelta) {
    for (price, qty) in &delta.0 {
        depth.update_bid_depth(*price, *qty, 0);
    }
    for (price, qty) in &delta.1 {
        depth.update_ask_depth(*price, *qty, 0);
    }
}

/// The top 20 of both sides by the only way the trait offers: tick after tick.
fn scan_top<D: MarketDepth>(depth: &D, lowest: i64, highest: i64) -> u64 {
    let mut sum = 0u64;
    let (mut tick, mut found) = (depth.best_bid_tick(), 0);
    while found < 20 && tick >= lowest {
        let qty = depth.bid_qty_at_tick(tick);
        if qty > 0.0 {
            sum = sum.wrapping_add(qty.to_bits());
            found += 1;
        }
        tick -= 1;
    }
    let (mut tick, mut found) = (depth.best_ask_tick(), 0);
    while found < 20 && tick <= highest {
        let qty = depth.ask_qty_at_tick(tick);
        if qty > 0.0 {
            sum = sum.wrapping_add(qty.to_bits());
            found += 1;
        }
        tick += 1;
    }
    sum
}

/// Books of the peers.
pub fn books(data: &Decoded) -> Vec<Contender<'_>> {
    let (tick, lot) = (
        10f64.powi(-i32::from(data.scales.0)),
        10f64.powi(-i32::from(data.scales.1)),
    );
    let deltas: Vec<FloatDelta> = std::iter::once(&data.snapshot)
        .chain(&data.deltas)
        .map(|d: &Delta| (floats(&d.bids), floats(&d.asks)))
        .collect();
    let deltas = std::rc::Rc::new(deltas);
    let best = data.snapshot.bids.first();
    let touch = best.map_or(0, |level| data.ticks(level.price.0));
    // hftbacktest's own advice: a range that holds all prices of interest.
    let (low, high) = (touch * 9 / 10, touch * 11 / 10);
    let mut all: Vec<Contender<'_>> = Vec::new();

    let feeds = deltas.clone();
    all.push((
        format!("{HFT} BTreeMarketDepth"),
        Box::new(move || {
            let mut depth = BTreeMarketDepth::new(tick, lot);
            let mut sum = 0u64;
            for delta in feeds.iter() {
                feed(&mut depth, delta);
                let bids = depth.bid_depth.values().rev().take(20);
                for qty in bids.chain(depth.ask_depth.values().take(20)) {
                    sum = sum.wrapping_add(qty.to_bits());
                }
            }
            sum
        }),
    ));
    let feeds = deltas.clone();
    all.push((
        format!("{HFT} HashMapMarketDepth"),
        Box::new(move || {
            let mut depth = HashMapMarketDepth::new(tick, lot);
            let mut sum = 0u64;
            for delta in feeds.iter() {
                feed(&mut depth, delta);
                sum = sum.wrapping_add(scan_top(&depth, low, high));
            }
            sum
        }),
    ));
    all.push((
        format!("{HFT} ROIVectorMarketDepth"),
        Box::new(move || {
            let mut depth =
                ROIVectorMarketDepth::new(tick, lot, low as f64 * tick, high as f64 * tick);
            let mut sum = 0u64;
            for delta in deltas.iter() {
                feed(&mut depth, delta);
                sum = sum.wrapping_add(scan_top(&depth, low, high));
            }
            sum
        }),
    ));
    all.push(barter_book(data));
    all.push(nautilus_book(data));
    all
}

fn barter_book(data: &Decoded) -> Contender<'_> {
    let levels = |levels: &[BookLevel]| -> Vec<Level> {
        let level =
            |l: &BookLevel| Level::new(to_decimal(l.price.0, DIGITS), to_decimal(l.qty.0, DIGITS));
        levels.iter().map(level).collect()
    };
    let start = OrderBook::new(
        0,
        None,
        levels(&data.snapshot.bids),
        levels(&data.snapshot.asks),
    );
    let events: Vec<OrderBookEvent> = data
        .deltas
        .iter()
        .map(|d| OrderBookEvent::Update(OrderBook::new(0, None, levels(&d.bids), levels(&d.asks))))
        .collect();
    (
        format!("{BARTER} OrderBook"),
        Box::new(move || {
            let mut book = start.clone();
            let mut sum = 0u64;
            for event in &events {
                book.update(event);
                let bids = book.bids().levels().iter().take(20);
                for level in bids.chain(book.asks().levels().iter().take(20)) {
                    sum = sum.wrapping_add(level.amount.mantissa() as u64);
                }
            }
            sum
        }),
    )
}

fn nautilus_book(data: &Decoded) -> Contender<'_> {
    let id = InstrumentAny::CryptoPerpetual(crypto_perpetual_ethusdt()).id();
    let convert = |delta: &Delta, snapshot: bool| -> Vec<OrderBookDelta> {
        let sides = [
            (OrderSide::Buy, &delta.bids),
            (OrderSide::Sell, &delta.asks),
        ];
        let one = |side: OrderSide, level: &BookLevel| {
            let action = match (level.qty.0, snapshot) {
                (0, _) => BookAction::Delete,
                (_, true) => BookAction::Add,
                _ => BookAction::Update,
            };
            let float = |mantissa: i64, scale: u8| mantissa as f64 / 10f64.powi(i32::from(scale));
            let price = Price::new(float(level.price.0, DIGITS), data.scales.0);
            let qty = Quantity::new(float(level.qty.0, DIGITS), data.scales.1);
            let order = BookOrder::new(side, price, qty, 0);
            let now = UnixNanos::default();
            OrderBookDelta::new(id, action, order, 0, 0, now, now)
        };
        sides
            .into_iter()
            .flat_map(|(side, l)| l.iter().map(move |x| one(side, x)))
            .collect()
    };
    let start = convert(&data.snapshot, true);
    let events: Vec<Vec<OrderBookDelta>> = data
        .deltas
        .iter()
        .map(|delta| convert(delta, false))
        .collect();
    (
        format!("{NAUTILUS} OrderBook L2_MBP"),
        Box::new(move || {
            let mut book = nautilus_model::orderbook::OrderBook::new(id, BookType::L2_MBP);
            let mut sum = 1u64;
            for delta in start.iter() {
                let _ = book.apply_delta(delta);
            }
            for event in &events {
                for delta in event {
                    let _ = book.apply_delta(delta);
                }
                for level in book.bids(Some(20)).chain(book.asks(Some(20))) {
                    sum = sum.wrapping_add(level.price.value.raw as u64);
                }
            }
            sum
        }),
    )
}
