//! Bars that Coinbase does not stream, fed by its frames.

use bookwire_engine::event::{Control, Kline, Side, Trade, TradeId};
use bookwire_engine::exchange::Decoder;
use bookwire_engine::exchange::levels::BarSource;
use bookwire_engine::instrument::Market;
use bookwire_engine::kline::{MissedBars, PartsNeeded, TradesNeeded};
use bookwire_engine::num::{Price, Qty};
use bookwire_engine::time::{Level, TsNanos};
use bookwire_engine::wire::Numbers;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::ring::{LaneMsg, LaneRx, WorkerWake, lane};
use crate::testkit::spec;
use crate::upstream::StreamKey;

const BTC: InstrumentId = InstrumentId(0);
const WORKER: WorkerId = WorkerId(0);
/// A quarter of an hour begins here.
const START: i64 = 1_700_000_100;
const SECOND: i64 = 1_000_000_000;

struct Bench {
    clock: ManualClock,
    state: ShardState,
    decoder: Box<dyn Decoder>,
    rx: LaneRx,
    effects: Effects,
    /// Of the next frame.
    number: u64,
}

impl Bench {
    /// Bars of these levels have a subscriber each.
    fn new(levels: &[(Level, BarSource)]) -> Self {
        let clock = ManualClock::new(TsNanos(START * SECOND));
        let mut state = ShardState::new(Arc::new(clock.clone()), Arc::default(), None);
        let mut btc = spec("BTC", Market::Spot);
        btc.provider = ProviderId::COINBASE;
        btc.exchange = "coinbase".to_owned();
        btc.native_symbol = "BTC-USD".to_owned();
        let table = InstrumentTable::default();
        let table = Arc::new(table.with_market(btc.provider, Market::Spot, vec![btc]));
        state.set_table(table.clone());
        let (tx, rx) = lane(1024, &WorkerWake::new(false));
        state.attach(WORKER, tx);
        state.open_feed(BTC).unwrap();
        for (slot, (level, source)) in (0..).zip(levels) {
            let topic = Topic {
                instrument: BTC,
                kind: StreamKind::Klines(*level),
                numbers: Numbers::Number,
            };
            assert!(state.subscribe(WORKER, Slot(slot), topic).unwrap());
            state.open_bars(BTC, *level, *source).unwrap();
        }
        let effects = state.effects();
        Self {
            clock,
            state,
            decoder: ProviderId::COINBASE.exchange().decoder(Market::Spot, table),
            rx,
            effects,
            number: 0,
        }
    }

    fn frame(&mut self, channel: &str, event: &Value) -> Vec<Control> {
        let frame = json!({
            "channel": channel, "timestamp": "2023-11-14T22:13:20Z",
            "sequence_num": self.number, "events": [event],
        });
        self.number += 1;
        let at = ReadAt {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        };
        let mut controls = Vec::new();
        let text = frame.to_string();
        self.state
            .on_frame(&mut *self.decoder, text.as_bytes(), at, &mut controls)
            .unwrap();
        controls
    }

    /// Trades as (id, seconds after [`START`], price), oldest first.
    fn trades(&mut self, trades: &[(u64, i64, &str)]) -> Vec<Control> {
        let row = |(id, after, price): &(u64, i64, &str)| {
            json!({
                "trade_id": id.to_string(), "product_id": "BTC-USD", "price": price,
                "size": "0.5", "side": "BUY",
                "time": TsNanos((START + after) * SECOND).to_rfc3339(),
            })
        };
        let rows: Vec<Value> = trades.iter().rev().map(row).collect();
        self.frame(
            "market_trades",
            &json!({ "type": "update", "trades": rows }),
        )
    }

    /// A five-minute bar that begins so many minutes after [`START`].
    fn candle(&mut self, minute: i64, close: &str, volume: &str) {
        let row = json!({
            "start": (START + minute * 60).to_string(), "open": "5", "high": "9", "low": "1",
            "close": close, "volume": volume, "product_id": "BTC-USD",
        });
        self.frame("candles", &json!({ "type": "update", "candles": [row] }));
    }

    /// What was published since the last call: minute after [`START`], close, volume, closed.
    fn bars(&mut self, slot: u32) -> Vec<(i64, f64, f64, bool)> {
        let mut found = Vec::new();
        self.rx.drain(usize::MAX, |message| {
            if let LaneMsg::Data(publication) = message
                && publication.slot == Slot(slot)
            {
                let data: Value = serde_json::from_slice(&publication.body).unwrap();
                let open = TsNanos::parse(data["timestamp"].as_str().unwrap()).unwrap();
                let number = |name: &str| data[name].as_f64().unwrap();
                found.push((
                    (open.as_secs() - START) / 60,
                    number("close"),
                    number("volume"),
                    data["is_closed"] == true,
                ));
            }
        });
        found
    }

    fn effects(&mut self) -> Vec<Effect> {
        let mut found = Vec::new();
        while let Some(Some(effect)) = self.effects.next().now_or_never() {
            found.push(effect);
        }
        found
    }
}

fn minute(minute: i64) -> TsNanos {
    TsNanos((START + minute * 60) * SECOND)
}

/// As history gives it; half a coin.
fn trade(id: u64, after: i64, price: i64) -> Trade {
    Trade {
        trade_id: TradeId::Number(id),
        price: Price(price * 100),
        qty: Qty(500),
        taker_side: Side::Sell,
        ts_event: TsNanos((START + after) * SECOND),
        is_aggregate: false,
    }
}

/// As history gives it.
fn closed(level: Level, at: i64, close: i64, volume: i64) -> Kline {
    Kline {
        level,
        open_time: minute(at),
        open: Price(500),
        high: Price(900),
        low: Price(100),
        close: Price(close * 100),
        volume: Qty(volume * 1_000),
        volume_quote: None,
        trade_count: None,
        is_closed: true,
        ts_event: minute(at),
    }
}

fn bench_of_trades() -> Bench {
    Bench::new(&[(Level::M1, BarSource::Trades)])
}

#[test]
fn a_minute_is_shown_from_its_first_trade_on() {
    let mut bench = bench_of_trades();
    bench.trades(&[(12, 20, "7"), (13, 21, "8")]);
    assert_eq!(bench.bars(0), [], "what came before is not known");
    let needed = TradesNeeded {
        from: minute(0),
        before: TradeId::Number(12),
    };
    let ask = Effect::FetchFirstTrades {
        instrument: BTC,
        needed,
    };
    assert_eq!(bench.effects(), [ask]);
    bench.trades(&[(14, 22, "9")]);
    assert_eq!((bench.bars(0), bench.effects()), (vec![], vec![]));
    let older = [trade(10, 3, 5), trade(11, 4, 6)];
    bench.state.on_first_trades(BTC, needed, Some(&older));
    assert_eq!(bench.bars(0), [(0, 9.0, 2.5, false)]);
    bench.trades(&[(15, 59, "4"), (16, 60, "3")]);
    assert_eq!(bench.bars(0), [(0, 4.0, 3.0, true), (1, 3.0, 0.5, false)]);
    assert_eq!(bench.effects(), []);
}

#[test]
fn a_trade_of_a_minute_that_was_closed_is_counted() {
    let mut bench = bench_of_trades();
    bench.trades(&[(1, 5, "10"), (2, 65, "11")]);
    bench.trades(&[(3, 125, "12")]);
    let late = |bench: &Bench| bench.state.counters().trades_late.get();
    assert_eq!(late(&bench), 0);
    // The second minute is over and told: it stays as it is.
    bench.trades(&[(4, 119, "99"), (5, 126, "13")]);
    assert_eq!(late(&bench), 1);
    let closed: Vec<_> = bench.bars(0).into_iter().filter(|bar| bar.3).collect();
    assert!(closed.iter().all(|bar| bar.1 < 99.0), "{closed:?}");
    // Counted once, and not forgotten when bars begin anew.
    bench.trades(&[(9, 130, "14")]);
    assert_eq!(late(&bench), 1);
}

#[test]
fn a_minute_that_was_never_whole_is_fetched_when_it_is_over() {
    let mut bench = bench_of_trades();
    bench.trades(&[(12, 20, "7")]);
    let ask = bench.effects();
    let [Effect::FetchFirstTrades { needed, .. }] = ask[..] else {
        panic!("{ask:?}")
    };
    bench.state.on_first_trades(BTC, needed, None);
    bench.clock.advance(Duration::from_secs(1));
    bench.trades(&[(13, 21, "7")]);
    assert_eq!(bench.effects(), [], "not at once again");
    bench.clock.advance(Duration::from_secs(10));
    bench.trades(&[(14, 31, "7")]);
    assert_eq!(bench.effects(), ask);
    bench.trades(&[(15, 61, "8")]);
    let fetch = Effect::FetchBars {
        instrument: BTC,
        level: Level::M1,
        missed: MissedBars {
            first: minute(0),
            last: minute(0),
        },
    };
    assert_eq!(bench.effects(), [fetch]);
    assert_eq!(bench.bars(0), [], "it waits for the one before");
    bench
        .state
        .on_bars(BTC, Level::M1, &[closed(Level::M1, 0, 7, 4)]);
    assert_eq!(bench.bars(0), [(0, 7.0, 4.0, true), (1, 8.0, 0.5, false)]);
}

#[test]
fn a_minute_with_lost_trades_is_never_told_closed_by_the_stream() {
    let mut bench = bench_of_trades();
    bench.trades(&[(1, -1, "7"), (2, 1, "7")]);
    assert_eq!(bench.bars(0), [(0, 7.0, 0.5, false)]);
    bench.effects();
    // A frame is lost, and the next one looks as if the minute were over.
    bench.number += 1;
    let controls = bench.trades(&[(9, 61, "8")]);
    assert!(
        matches!(controls[..], [Control::Lost { .. }]),
        "{controls:?}"
    );
    assert_eq!(bench.bars(0), []);
    bench.state.on_stream_down(BTC, Feed::Trades);
    bench.trades(&[(10, 62, "8")]);
    let fetch = Effect::FetchBars {
        instrument: BTC,
        level: Level::M1,
        missed: MissedBars {
            first: minute(0),
            last: minute(0),
        },
    };
    assert!(bench.effects().contains(&fetch));
    bench
        .state
        .on_bars(BTC, Level::M1, &[closed(Level::M1, 0, 7, 4)]);
    assert_eq!(bench.bars(0), [(0, 7.0, 4.0, true)]);
    bench.trades(&[(11, 121, "9")]);
    let effects = bench.effects();
    let missed = MissedBars {
        first: minute(1),
        last: minute(1),
    };
    assert!(
        effects.iter().any(|effect| matches!(effect,
            Effect::FetchBars { missed: bars, .. } if *bars == missed)),
        "the minute that began in the dark: {effects:?}"
    );
}

#[test]
fn a_frame_that_can_not_be_read_costs_the_bars_it_names() {
    let mut bench = bench_of_trades();
    bench.trades(&[(1, -1, "7"), (2, 1, "7")]);
    bench.bars(0);
    let key = StreamKey {
        instrument: BTC,
        feed: Feed::Trades,
    };
    bench
        .state
        .on_malformed(b"..ETH-USD..", std::iter::once(key));
    bench.trades(&[(3, 2, "8")]);
    assert_eq!(bench.bars(0), [(0, 8.0, 1.0, false)]);
    bench
        .state
        .on_malformed(b"..BTC-USD..", std::iter::once(key));
    bench.trades(&[(5, 3, "8")]);
    assert_eq!(bench.bars(0), []);
}

#[test]
fn minutes_without_trades_are_not_asked_for() {
    let mut bench = bench_of_trades();
    bench.trades(&[(1, -1, "7"), (2, 1, "7"), (3, 301, "8")]);
    assert_eq!(bench.bars(0), [(0, 7.0, 0.5, true), (5, 8.0, 0.5, false)]);
    assert_eq!(bench.effects(), []);
}

fn bench_of_bars() -> Bench {
    Bench::new(&[
        (Level::M5, BarSource::Stream),
        (Level::M15, BarSource::Bars(Level::M5)),
    ])
}

#[test]
fn a_quarter_of_an_hour_is_the_sum_of_its_bars() {
    let mut bench = bench_of_bars();
    bench.candle(5, "7", "2");
    assert_eq!(bench.bars(1), [], "what came before is not known");
    let needed = PartsNeeded {
        from: minute(0),
        before: minute(5),
    };
    let ask = Effect::FetchParts {
        instrument: BTC,
        level: Level::M15,
        from: Level::M5,
        needed,
    };
    assert_eq!(bench.effects(), [ask]);
    bench.candle(5, "7.5", "3");
    assert_eq!((bench.bars(1), bench.effects()), (vec![], vec![]));
    let parts = [closed(Level::M5, 0, 6, 10)];
    bench.state.on_parts(BTC, Level::M15, needed, Some(&parts));
    assert_eq!(bench.bars(1), [(0, 7.5, 13.0, false)]);
    bench.candle(10, "8", "1");
    assert_eq!(
        bench.bars(1),
        [(0, 7.5, 13.0, false), (0, 8.0, 14.0, false)]
    );
    bench.candle(15, "9", "1");
    assert_eq!(bench.bars(1), [(0, 8.0, 14.0, true), (15, 9.0, 1.0, false)]);
}

#[test]
fn bars_that_can_not_be_fetched_leave_their_sum_unshown() {
    let mut bench = bench_of_bars();
    bench.candle(0, "7", "2");
    assert_eq!(bench.bars(1), [(0, 7.0, 2.0, false)]);
    // Two bars on: the first one's close and a whole bar were missed.
    bench.candle(10, "8", "1");
    let effects = bench.effects();
    assert!(matches!(
        effects[..],
        [Effect::FetchBars {
            level: Level::M5,
            ..
        }]
    ));
    assert_eq!(bench.bars(1), [(0, 7.0, 2.0, false)], "as it was then");
    bench.state.give_up_bars(BTC, Level::M5);
    assert_eq!(bench.bars(1), [], "not right, not shown");
    let effects = bench.effects();
    let [Effect::FetchParts { needed, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    bench.state.on_parts(BTC, Level::M15, needed, None);
    bench.candle(10, "8", "2");
    assert_eq!(bench.effects(), [], "not at once again");
    bench.clock.advance(Duration::from_secs(6));
    bench.candle(10, "8", "3");
    assert_eq!(bench.effects(), effects);
    let parts = [closed(Level::M5, 0, 7, 4), closed(Level::M5, 5, 7, 5)];
    bench.state.on_parts(BTC, Level::M15, needed, Some(&parts));
    assert_eq!(bench.bars(1), [(0, 8.0, 12.0, false)]);
}

#[test]
fn a_sum_that_was_never_right_is_fetched_when_it_is_over() {
    let mut bench = bench_of_bars();
    bench.candle(5, "7", "2");
    bench.candle(15, "8", "1");
    let effects = bench.effects();
    let fetch = |level, from, to| Effect::FetchBars {
        instrument: BTC,
        level,
        missed: MissedBars {
            first: minute(from),
            last: minute(to),
        },
    };
    assert!(effects.contains(&fetch(Level::M5, 10, 10)), "{effects:?}");
    // Nothing was traded in the third bar.
    bench.state.on_bars(BTC, Level::M5, &[]);
    let effects = bench.effects();
    assert!(effects.contains(&fetch(Level::M15, 0, 0)), "{effects:?}");
    assert_eq!(bench.bars(1), []);
    bench
        .state
        .on_bars(BTC, Level::M15, &[closed(Level::M15, 0, 7, 12)]);
    assert_eq!(bench.bars(1), [(0, 7.0, 12.0, true), (15, 8.0, 1.0, false)]);
}

#[test]
fn bars_that_nobody_wants_any_more_are_not_built() {
    let mut bench = bench_of_trades();
    bench.trades(&[(1, -1, "7"), (2, 1, "7")]);
    bench.bars(0);
    bench.effects();
    bench.state.forget(BTC, Feed::Klines(Level::M1));
    bench.trades(&[(3, 2, "8")]);
    assert_eq!((bench.bars(0), bench.effects()), (vec![], vec![]));
}
