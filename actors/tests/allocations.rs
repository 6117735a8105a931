//! Nothing is allocated for a message in the steady state, from an exchange's frame to the queue of a
//! client and out of it.

#![allow(clippy::unwrap_used)]

use std::rc::Rc;
use std::sync::Arc;

use bookwire_actors::clock::{Clock, SystemClock};
use bookwire_actors::latency::Stamp;
use bookwire_actors::ring::{LaneMsg, LaneRx, WorkerWake, lane};
use bookwire_actors::session::encode::Labels;
use bookwire_actors::session::flow::{DropPolicy, OutboxLimits};
use bookwire_actors::session::outbox::{Batch, Outbox, SubKey, SubSpec};
use bookwire_actors::state::{ReadAt, ShardState};
use bookwire_actors::topic::{BookMode, Slot, StreamKind, Topic, WorkerId};
use bookwire_actors::worker::Written;
use bookwire_engine::event::{BookLevel, BookSnapshot};
use bookwire_engine::exchange::{Decoder, Feed, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use bookwire_engine::num::{Price, Qty};
use bookwire_engine::time::Level;
use bookwire_engine::wire::Numbers;
use rust_decimal::Decimal;

const BTC: InstrumentId = InstrumentId(0);
const WORKER: WorkerId = WorkerId(0);

/// A shard's state with one subscriber, and the subscriber's queue.
struct Path {
    clock: Arc<dyn Clock>,
    state: ShardState,
    decoder: Box<dyn Decoder>,
    lane: LaneRx,
    outbox: Outbox,
    written: Rc<Written>,
    subscription: SubKey,
    batch: Batch,
    messages: usize,
}

impl Path {
    fn new(kind: StreamKind, feed: Feed) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let specs = vec![spec()];
        let table =
            InstrumentTable::default().with_market(ProviderId::BINANCE, Market::Spot, specs);
        let table = Arc::new(table);
        let mut state = ShardState::new(clock.clone(), Arc::default(), None);
        state.set_table(table.clone());
        let wake = WorkerWake::new(false);
        let (tx, lane) = lane(1 << 10, &wake);
        state.attach(WORKER, tx);
        if feed == Feed::Book {
            state.open_book(BTC).unwrap();
        } else {
            state.open_feed(BTC).unwrap();
        }
        state.on_stream_up(BTC, feed, clock.monotonic());
        let topic = Topic {
            instrument: BTC,
            kind,
            numbers: Numbers::Number,
        };
        state.subscribe(WORKER, Slot(0), topic).unwrap();
        let written = Rc::new(Written::new(Arc::default(), wake));
        let mut outbox = Outbox::new(OutboxLimits::default(), written.clone());
        let subscription = outbox.add(SubSpec {
            slot: Slot(0),
            kind,
            labels: Labels {
                stream: "crypto.test",
                provider: "binance",
                symbol: "btcusdt".into(),
                entity_id: "crypto_binance_btcusdt".into(),
                interval: None,
                channel: None,
            },
            timing: true,
            policy: DropPolicy::default_of(kind),
        });
        let decoder = ProviderId::BINANCE.exchange().decoder(Market::Spot, table);
        Self {
            clock,
            state,
            decoder,
            lane,
            outbox,
            written,
            subscription,
            batch: Batch::default(),
            messages: 0,
        }
    }

    /// One frame from the socket until its message is ready to be written.
    fn pass(&mut self, frame: &str) {
        let at = ReadAt {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        };
        let mut controls = Vec::new();
        self.state
            .on_frame(&mut *self.decoder, frame.as_bytes(), at, &mut controls)
            .unwrap();
        let (outbox, subscription) = (&mut self.outbox, self.subscription);
        self.lane.drain(usize::MAX, |message| {
            if let LaneMsg::Data(publication) = message {
                outbox.offer(subscription, &publication);
            }
        });
        self.batch.frames.clear();
        self.batch.messages = 0;
        self.outbox
            .pull(self.clock.now(), usize::MAX, &mut self.batch);
        self.written.settle(Stamp::of(self.clock.monotonic()));
        self.messages += self.batch.messages;
    }
}

fn spec() -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market: Market::Spot,
        native_symbol: "BTCUSDT".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: None,
        price_step: Decimal::new(1, 2),
        qty_step: Decimal::new(1, 5),
        bar_levels: None,
        price_digits: 8,
        qty_digits: 8,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: true,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    }
}

/// Passes frames `0..2 × count`; the allocations of the second half.
fn allocations(path: &mut Path, count: u64, frame: impl Fn(u64) -> String) -> u64 {
    let frames: Vec<String> = (0..2 * count).map(frame).collect();
    let (warm_up, steady) = frames.split_at(count as usize);
    warm_up.iter().for_each(|frame| path.pass(frame));
    let before = path.messages;
    let counted = allocation_counter::measure(|| steady.iter().for_each(|frame| path.pass(frame)));
    assert_eq!(
        path.messages - before,
        count as usize,
        "every frame is told"
    );
    counted.count_total
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(vec![1u8; 100]));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn trades() {
    let mut path = Path::new(StreamKind::Trades, Feed::Trades);
    let count = allocations(&mut path, 5_000, |id| {
        format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1700000000001,"s":"BTCUSDT","t":{},"p":"61837.63000000","q":"0.0{}000000","T":{},"m":true,"M":true}}}}"#,
            id + 1,
            1 + id % 9,
            1_700_000_000_000 + id
        )
    });
    assert_eq!(count, 0);
}

#[test]
fn best_prices() {
    let mut path = Path::new(StreamKind::Ticker, Feed::Ticker);
    let count = allocations(&mut path, 5_000, |id| {
        format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{},"s":"BTCUSDT","b":"61837.63000000","B":"3.{:08}","a":"61837.64000000","A":"1.54698000"}}}}"#,
            id + 1,
            id + 1
        )
    });
    assert_eq!(count, 0);
}

#[test]
fn bars() {
    let mut path = Path::new(StreamKind::Klines(Level::M1), Feed::Klines(Level::M1));
    let count = allocations(&mut path, 5_000, |id| {
        format!(
            r#"{{"e":"kline","E":{},"s":"BTCUSDT","k":{{"t":1700000040000,"T":1700000099999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"{}","n":{},"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}}"#,
            1_700_000_040_000 + id,
            1_000 + id,
            100 + id
        )
    });
    assert_eq!(count, 0);
}

#[test]
fn books() {
    for (mode, depth) in [
        (BookMode::Delta, 20),
        (BookMode::Delta, 1_000),
        (BookMode::Snapshot, 20),
    ] {
        let mut path = Path::new(StreamKind::OrderBook { depth, mode }, Feed::Book);
        path.pass(&delta(0));
        let level = |price: i64| BookLevel {
            price: Price(price * 100_000_000),
            qty: Qty(1_000),
        };
        let snapshot = BookSnapshot {
            seq: 10,
            ts_event: None,
            bids: (0..500).map(|at| level(60_000 - at)).collect(),
            asks: (0..500).map(|at| level(60_001 + at)).collect(),
        };
        path.state.on_snapshot(BTC, &snapshot).unwrap();
        path.pass(&delta(1));
        let count = allocations(&mut path, 5_000, |step| delta(2 + step));
        assert_eq!(count, 0, "{mode:?} of {depth}");
    }
}

/// Changes near and far, each of which is seen in the top.
fn delta(step: u64) -> String {
    let (first, last) = (10 * step + 1, 10 * step + 10);
    format!(
        r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":{},"s":"BTCUSDT","U":{first},"u":{last},"b":[["60000.00000000","1.{step:08}"],["59990.00000000","{}.00000000"],["59{:03}.00000000","0.50000000"]],"a":[["60001.00000000","2.00000000"],["60010.00000000","0.00{}000"]]}}}}"#,
        1_700_000_000_000 + step,
        step % 2,
        600 + step % 300,
        step % 7,
    )
}
