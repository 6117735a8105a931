use super::*;
use crate::clock::ManualClock;
use crate::incidents::{Moment, Subject};
use crate::ring::{LaneMsg, LaneRx, Publication, WorkerWake, lane};
use crate::testkit::{depth, kline, row, table, trade};
use crate::topic::BookMode;
use crate::upstream::StreamKey;
use bookwire_engine::book::sync::SnapshotOutcome;
use bookwire_engine::event::BookSnapshot;
use bookwire_engine::event::{BookLevel, Kline};
use bookwire_engine::exchange::Decoder;
use bookwire_engine::instrument::Market;
use bookwire_engine::kline::MissedBars;
use bookwire_engine::num::{Price, Qty};
use bookwire_engine::time::Level;
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::Numbers;
use futures_util::{FutureExt, StreamExt};

const BTC: InstrumentId = InstrumentId(0);
const ETH: InstrumentId = InstrumentId(1);
const WORKER: WorkerId = WorkerId(0);

/// A shard's state with one worker attached, fed by real frames.
struct Bench {
    clock: ManualClock,
    state: ShardState,
    decoder: Box<dyn Decoder>,
    rx: LaneRx,
    effects: Effects,
}

impl Bench {
    fn new(capacity: usize, recorder: Option<RecorderPort>) -> Self {
        let clock = ManualClock::new(TsNanos::from_ms(1_700_000_000_100));
        let mut state = ShardState::new(Arc::new(clock.clone()), Arc::default(), recorder);
        let table = table(Market::Spot);
        state.set_table(table.clone());
        let (tx, rx) = lane(capacity, &WorkerWake::new(false));
        state.attach(WORKER, tx);
        let effects = state.effects();
        Self {
            clock,
            state,
            decoder: ProviderId::BINANCE.exchange().decoder(Market::Spot, table),
            rx,
            effects,
        }
    }

    fn subscribe(&mut self, slot: u32, instrument: InstrumentId, kind: StreamKind) {
        let topic = Topic {
            instrument,
            kind,
            numbers: Numbers::Number,
        };
        if kind.feed() == Feed::Book {
            self.state.open_book(instrument).unwrap();
            let now = self.clock.monotonic();
            self.state.on_stream_up(instrument, Feed::Book, now);
        }
        assert!(self.state.subscribe(WORKER, Slot(slot), topic).unwrap());
    }

    fn frame(&mut self, text: &str) {
        self.try_frame(text).unwrap();
    }

    fn try_frame(&mut self, text: &str) -> Result<bool, bookwire_engine::exchange::DecodeError> {
        let at = ReadAt {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        };
        let mut controls = Vec::new();
        self.state
            .on_frame(&mut *self.decoder, text.as_bytes(), at, &mut controls)
    }

    fn snapshot(&mut self, id: InstrumentId, seq: u64) -> Option<SnapshotOutcome> {
        let level = |price, qty| BookLevel {
            price: Price(price),
            qty: Qty(qty),
        };
        let scale = |market_price: i64| {
            let row = self.state.table().get(id).unwrap();
            market_price * bookwire_engine::num::POW10[usize::from(row.price_scale - 2)]
        };
        let qty = |q: i64| {
            let row = self.state.table().get(id).unwrap();
            q * bookwire_engine::num::POW10[usize::from(row.qty_scale - 3)]
        };
        let snapshot = BookSnapshot {
            seq,
            ts_event: None,
            bids: vec![
                level(scale(10_000), qty(1_000)),
                level(scale(9_900), qty(2_000)),
            ],
            asks: vec![
                level(scale(10_100), qty(1_000)),
                level(scale(10_200), qty(2_000)),
            ],
        };
        self.state.on_snapshot(id, &snapshot)
    }

    fn messages(&mut self) -> Vec<LaneMsg> {
        let mut out = Vec::new();
        self.rx.drain(usize::MAX, |message| out.push(message));
        out
    }

    fn data(&mut self) -> Vec<Publication> {
        self.messages()
            .into_iter()
            .filter_map(|message| match message {
                LaneMsg::Data(publication) => Some(publication),
                _ => None,
            })
            .collect()
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.effects.next().now_or_never().flatten()).collect()
    }
}

fn text(publication: &Publication) -> &str {
    std::str::from_utf8(&publication.body).unwrap()
}

fn delta(depth: u32) -> StreamKind {
    StreamKind::OrderBook {
        depth,
        mode: BookMode::Delta,
    }
}

fn whole(depth: u32) -> StreamKind {
    StreamKind::OrderBook {
        depth,
        mode: BookMode::Snapshot,
    }
}

#[test]
fn a_book_is_announced_published_and_chained() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, delta(1));
    bench.subscribe(2, BTC, whole(1));
    assert_eq!(
        bench.effects(),
        [Effect::Snapshot(BTC)],
        "at the acknowledgement"
    );
    assert_eq!(bench.state.book_need(BTC), BookNeed::Deltas);
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    assert_eq!(bench.state.book_need(BTC), BookNeed::Snapshot);
    assert!(
        bench.data().is_empty(),
        "nothing before the book is trusted"
    );
    assert_eq!(
        bench.snapshot(BTC, 5),
        Some(SnapshotOutcome::Synced { replayed: 1 })
    );
    let messages = bench.messages();
    assert!(matches!(&messages[0], LaneMsg::Status(event)
            if event.state == StatusState::Connected && event.instrument == Some(BTC)));
    assert_eq!(messages.len(), 3);

    // Outside the top: no message. In the top: one for each topic, chained by number.
    bench.frame(&depth("BTCUSDT", 7, 7, r#"[["99.00","3.000"]]"#, "[]"));
    assert!(bench.data().is_empty());
    bench.frame(&depth("BTCUSDT", 8, 9, r#"[["100.00","0.000"]]"#, "[]"));
    let data = bench.data();
    assert_eq!(data.len(), 2);
    assert_eq!(data[0].kind, PubKind::BookUpdate);
    assert_eq!((data[0].seq, data[0].prev_seq, data[0].epoch), (9, 6, 1));
    assert!(
        text(&data[0]).contains(r#""bids":[[100,0],[99,3]]"#),
        "{}",
        text(&data[0])
    );
    assert_eq!(data[1].kind, PubKind::Event);
    assert!(
        text(&data[1]).contains(r#""bids":[[99,3]]"#),
        "{}",
        text(&data[1])
    );

    let view = bench.state.book_view(BTC, 5).unwrap();
    assert_eq!((view.bids.len(), view.asks.len(), view.seq), (1, 2, 9));
}

#[test]
fn a_gap_resyncs_one_book_and_starts_a_new_epoch() {
    let mut bench = Bench::new(64, None);
    for (slot, id) in [(1, BTC), (2, ETH)] {
        bench.subscribe(slot, id, delta(5));
        let symbol = row(bench.state.table(), id.0 as usize)
            .spec
            .native_symbol
            .clone();
        bench.frame(&depth(&symbol, 5, 6, "[]", "[]"));
        bench.snapshot(id, 5);
    }
    bench.messages();
    bench.effects();
    bench.frame(&depth("BTCUSDT", 9, 9, r#"[["100.00","7.000"]]"#, "[]"));
    let messages = bench.messages();
    assert!(matches!(&messages[..], [LaneMsg::Status(event)]
            if event.state == StatusState::Resyncing && event.reason == "gap"));
    assert_eq!(bench.effects(), [Effect::Snapshot(BTC)]);
    assert!(
        bench.state.book_view(BTC, 5).is_none(),
        "not served while in doubt"
    );
    assert!(
        bench.state.book_view(ETH, 5).is_some(),
        "the other book is untouched"
    );
    // A refresh of a book in doubt gives nothing.
    bench.state.refresh(WORKER, Slot(1)).unwrap();
    assert!(bench.data().is_empty());

    assert_eq!(bench.snapshot(BTC, 5), Some(SnapshotOutcome::TooOld));
    assert!(matches!(
        bench.snapshot(BTC, 9),
        Some(SnapshotOutcome::Synced { .. })
    ));
    let data = bench.data();
    assert_eq!(data.len(), 1);
    assert_eq!((data[0].kind, data[0].epoch), (PubKind::BookSnapshot, 2));
    assert_eq!(bench.state.counters().book_desyncs.get(), 1);
}

/// A bench whose state tells what is not well to a meter.
#[test]
fn best_prices_can_be_read_while_a_book_is_trusted_and_not_a_moment_longer() {
    let mut bench = Bench::new(64, None);
    let cell = bench.state.touch_cell(BTC).unwrap();
    assert!(bench.state.touch_cell(InstrumentId(99)).is_none());
    let check = |bench: &Bench, is_there: bool| {
        let view = bench.state.book_view(BTC, 1);
        let wanted = view.map(|view| {
            let scale = view.instrument.price_scale;
            let best = |side: &[BookLevel]| {
                let level = side.first();
                level.map(|level| bookwire_engine::num::to_decimal(level.price.0, scale))
            };
            touch::touch(best(&view.bids), best(&view.asks))
        });
        assert_eq!(cell.read(), wanted);
        assert_eq!(wanted.is_some(), is_there);
    };
    check(&bench, false);
    bench.subscribe(1, BTC, whole(5));
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    check(&bench, false);
    bench.snapshot(BTC, 5);
    check(&bench, true);
    bench.frame(&depth("BTCUSDT", 7, 7, r#"[["100.50","1.000"]]"#, "[]"));
    check(&bench, true);
    // A gap, and a book again.
    bench.frame(&depth("BTCUSDT", 9, 9, r#"[["100.60","1.000"]]"#, "[]"));
    check(&bench, false);
    bench.snapshot(BTC, 9);
    check(&bench, true);
    // Given up from outside; its connection lost; trusted without a change; closed.
    assert!(bench.state.desync(BTC, DesyncReason::Decode));
    check(&bench, false);
    bench.frame(&depth("BTCUSDT", 10, 10, "[]", "[]"));
    bench.snapshot(BTC, 9);
    check(&bench, true);
    bench.state.on_stream_down(BTC, Feed::Book);
    check(&bench, false);
    let now = bench.clock.monotonic();
    bench.state.on_stream_up(BTC, Feed::Book, now);
    bench.snapshot(BTC, 20);
    assert!(bench.state.accept_held(BTC));
    check(&bench, true);
    bench.state.close_book(BTC);
    check(&bench, false);
    // With the shard's state it is gone.
    bench.state.open_book(BTC).unwrap();
    drop(bench);
    assert_eq!(cell.read(), None);
}

fn metered() -> (Bench, Arc<ProviderMeter>) {
    let mut bench = Bench::new(64, None);
    let meter = Arc::new(ProviderMeter::new(ProviderId::BINANCE));
    let state = ShardState::new(Arc::new(bench.clock.clone()), Arc::default(), None);
    bench.state = state.with_meters(vec![meter.clone()]);
    bench.state.set_table(table(Market::Spot));
    let (tx, rx) = lane(64, &WorkerWake::new(false));
    bench.state.attach(WORKER, tx);
    (bench.rx, bench.effects) = (rx, bench.state.effects());
    (bench, meter)
}

fn statuses(messages: &[LaneMsg]) -> Vec<&StatusEvent> {
    let events = messages.iter().filter_map(|message| match message {
        LaneMsg::Status(event) => Some(&**event),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_book_that_is_back_tells_for_how_long_it_was_away_and_why() {
    let (mut bench, meter) = metered();
    let view = |bench: &Bench| meter.incidents.view(Moment::of(&bench.clock));
    bench.subscribe(1, BTC, delta(5));
    assert_eq!(view(&bench).open[0].reason, "starting");
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    bench.snapshot(BTC, 5);
    let messages = bench.messages();
    let told = statuses(&messages);
    assert_eq!((told[0].reason.as_str(), &told[0].was), ("synced", &None));
    assert!(view(&bench).open.is_empty());

    let lost_at = bench.clock.now();
    bench.frame(&depth("BTCUSDT", 9, 9, "[]", "[]"));
    bench.clock.advance(Duration::from_millis(1_000));
    bench.state.on_hindrance(BTC, "snapshot: 503", None);
    let open = view(&bench).open;
    assert_eq!(open[0].subject, Subject::Book(BTC));
    assert_eq!((open[0].reason.as_str(), open[0].since), ("gap", lost_at));
    assert_eq!(open[0].last_error.as_deref(), Some("snapshot: 503"));
    // It is lost again before it is found.
    bench.state.on_stream_down(BTC, Feed::Book);
    bench.state.on_stream_up(BTC, Feed::Book, Duration::ZERO);
    bench.clock.advance(Duration::from_millis(1_500));
    bench.frame(&depth("BTCUSDT", 10, 10, "[]", "[]"));
    bench.snapshot(BTC, 10);
    let messages = bench.messages();
    let back = *statuses(&messages).last().unwrap();
    assert_eq!(back.state, StatusState::Connected);
    assert_eq!(back.feed, Some(Feed::Book));
    assert_eq!(back.reason, "synced after 2.500 s: gap");
    let was = back.was.as_ref().unwrap();
    assert_eq!(
        (was.after, was.reason.as_str()),
        (Duration::from_millis(2_500), "gap")
    );
    let view = view(&bench);
    assert!(view.open.is_empty());
    assert_eq!(view.resyncs_24h["gap"].count, 1);
    assert_eq!(view.resyncs().total, Duration::from_millis(2_500));
    bench.frame(&depth("BTCUSDT", 20, 20, "[]", "[]"));
    bench.state.forget(BTC, Feed::Book);
    let after = meter.incidents.view(Moment::of(&bench.clock));
    assert!(after.open.is_empty(), "nobody wants it any more");
    assert_eq!(after.resyncs().count, 1, "it has not been repaired");
}

#[test]
fn a_silent_stream_is_told_until_it_is_heard_or_carried_by_another_connection() {
    let (mut bench, meter) = metered();
    let open = |bench: &Bench| meter.incidents.view(Moment::of(&bench.clock)).open;
    bench.subscribe(1, BTC, StreamKind::Ticker);
    bench.state.on_silence(BTC, Feed::Ticker, true);
    bench.state.on_silence(BTC, Feed::Ticker, false);
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(open(&bench)[0].subject, Subject::Stream(BTC, Feed::Ticker));
    assert_eq!(open(&bench)[0].lasted, Duration::from_secs(3));
    bench.state.on_recovery(BTC, Feed::Ticker);
    assert!(open(&bench).is_empty());
    let reasons: Vec<String> = {
        let messages = bench.messages();
        statuses(&messages)
            .iter()
            .map(|event| event.reason.clone())
            .collect()
    };
    assert_eq!(
        reasons,
        [
            "crypto.ticker silent",
            "crypto.ticker flows after 3.000 s: silent"
        ]
    );
    // Its connection is lost: nobody waits for it to be heard any more.
    bench.state.on_silence(BTC, Feed::Ticker, true);
    bench.state.on_stream_up(BTC, Feed::Ticker, Duration::ZERO);
    assert_eq!(
        open(&bench).len(),
        1,
        "asked for again, which proves nothing"
    );
    bench.state.on_stream_down(BTC, Feed::Ticker);
    bench.clock.advance(Duration::from_secs(1));
    bench.state.on_stream_up(BTC, Feed::Ticker, Duration::ZERO);
    assert!(open(&bench).is_empty());
    let messages = bench.messages();
    let last = *statuses(&messages).last().unwrap();
    assert_eq!(
        last.reason,
        "crypto.ticker subscribed again after 1.000 s: silent"
    );
    assert_eq!(last.state, StatusState::Connected);
    bench.state.on_silence(BTC, Feed::Ticker, true);
    bench.state.forget(BTC, Feed::Ticker);
    assert!(open(&bench).is_empty(), "nobody wants it any more");
}

#[test]
fn an_image_is_due_only_after_a_stream_was_joined() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, delta(5));
    assert!(bench.state.awaits_image(BTC));
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    bench.snapshot(BTC, 5);
    assert!(!bench.state.awaits_image(BTC));
    // Whoever loses it now has to ask for another at once.
    assert!(bench.state.desync(BTC, DesyncReason::Requested));
    assert!(!bench.state.awaits_image(BTC));
    bench.state.on_stream_up(BTC, Feed::Book, Duration::ZERO);
    assert!(bench.state.awaits_image(BTC));
    let book = bench.state.book(BTC).unwrap();
    assert_eq!((book.epoch, book.state), (1, BookState::Unsynced));
    assert_eq!(bench.state.book(ETH), None);
}

#[test]
fn a_refresh_joins_the_chain() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, delta(1));
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    bench.snapshot(BTC, 5);
    // Not in the top: the book moves on, the topic's number does not.
    bench.frame(&depth("BTCUSDT", 7, 7, r#"[["99.00","3.000"]]"#, "[]"));
    bench.messages();
    bench.state.refresh(WORKER, Slot(1)).unwrap();
    bench.frame(&depth("BTCUSDT", 8, 8, r#"[["100.00","5.000"]]"#, "[]"));
    let data = bench.data();
    assert_eq!((data[0].kind, data[0].seq), (PubKind::BookSnapshot, 6));
    assert_eq!((data[1].kind, data[1].prev_seq), (PubKind::BookUpdate, 6));
    assert!(bench.state.refresh(WORKER, Slot(9)).is_err());
}

#[test]
fn a_full_lane_is_counted_told_and_repaired() {
    let mut bench = Bench::new(4, None);
    bench.subscribe(1, BTC, StreamKind::Trades);
    bench.subscribe(2, BTC, delta(5));
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    bench.snapshot(BTC, 5);
    // Two places are taken by the status and the image.
    for id in 1..=5 {
        bench.frame(&trade("BTCUSDT", id));
    }
    bench.frame(&depth("BTCUSDT", 7, 7, r#"[["100.00","5.000"]]"#, "[]"));
    assert_eq!(bench.messages().len(), 4);
    bench.state.sweep(bench.clock.monotonic());
    let messages = bench.messages();
    let lost: Vec<(u32, u64)> = messages
        .iter()
        .filter_map(|message| match message {
            LaneMsg::Lost { slot, count } => Some((slot.0, *count)),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [(2, 1), (1, 3)]);
    assert!(
        matches!(&messages[1], LaneMsg::Data(p)
            if p.kind == PubKind::BookSnapshot && p.seq == 7),
        "the book starts from an image after the notice"
    );
    bench.frame(&trade("BTCUSDT", 6));
    assert_eq!(bench.data().len(), 1);
    assert_eq!(bench.state.counters().publications_lost.get(), 4);
}

#[test]
fn repeated_trades_are_published_once() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, StreamKind::Trades);
    for id in [1, 2, 2, 1, 3, 7, 5] {
        bench.frame(&trade("BTCUSDT", id));
    }
    assert_eq!(bench.data().len(), 5, "5 is late, not repeated");
    let counters = bench.state.counters();
    assert_eq!(counters.trades_repeated.get(), 2);
    assert_eq!(counters.trades_missed.get(), 3);
    assert!(bench.effects().is_empty(), "nobody stores them");
}

fn bar(minute: i64, level: Level) -> Kline {
    Kline {
        level,
        open_time: TsNanos::from_ms(minute * 60_000),
        open: Price(1),
        high: Price(1),
        low: Price(1),
        close: Price(1),
        volume: Qty(1),
        volume_quote: Some(1),
        trade_count: Some(1),
        is_closed: true,
        ts_event: TsNanos::from_ms(minute * 60_000 + 60_000),
    }
}

fn bars(data: &[Publication]) -> Vec<(i64, bool)> {
    data.iter()
        .map(|publication| {
            let value: serde_json::Value = serde_json::from_slice(&publication.body).unwrap();
            let ts = TsNanos::parse(value["timestamp"].as_str().unwrap()).unwrap();
            let is_closed = value["is_closed"].as_bool().unwrap();
            assert_eq!(publication.kind == PubKind::ClosedBar, is_closed);
            (ts.as_ms() / 60_000, is_closed)
        })
        .collect()
}

#[test]
fn missed_bars_come_before_those_after_them() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, StreamKind::Klines(Level::M1));
    bench.frame(&kline("BTCUSDT", 10, "1.00", false));
    bench.frame(&kline("BTCUSDT", 10, "2.00", true));
    bench.frame(&kline("BTCUSDT", 10, "2.00", true));
    assert_eq!(bars(&bench.data()), [(10, false), (10, true)]);
    // Away for two minutes.
    bench.frame(&kline("BTCUSDT", 13, "3.00", false));
    assert!(bench.data().is_empty(), "held back");
    let missed = MissedBars {
        first: TsNanos::from_ms(11 * 60_000),
        last: TsNanos::from_ms(12 * 60_000),
    };
    let effect = Effect::FetchBars {
        instrument: BTC,
        level: Level::M1,
        missed,
    };
    assert_eq!(bench.effects(), [effect]);
    bench.frame(&kline("BTCUSDT", 13, "4.00", true));
    bench.frame(&kline("BTCUSDT", 14, "4.00", false));
    let fetched = [bar(11, Level::M1), bar(12, Level::M1)];
    bench.state.on_bars(BTC, Level::M1, &fetched);
    let expected = [(11, true), (12, true), (13, true), (14, false)];
    assert_eq!(bars(&bench.data()), expected);
    bench.state.on_bars(BTC, Level::M1, &fetched);
    assert!(bench.data().is_empty(), "closed once");
}

#[test]
fn bars_do_not_wait_for_ever() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, StreamKind::Klines(Level::M1));
    bench.frame(&kline("BTCUSDT", 10, "1.00", true));
    bench.frame(&kline("BTCUSDT", 12, "1.00", false));
    bench.messages();
    bench.clock.advance(Duration::from_secs(11));
    bench.state.sweep(bench.clock.monotonic());
    assert_eq!(bars(&bench.data()), [(12, false)]);
}

#[test]
fn an_overdue_close_is_asked_for() {
    let mut bench = Bench::new(64, None);
    let minute = 1_700_000_000_100 / 60_000;
    bench.subscribe(1, BTC, StreamKind::Klines(Level::M1));
    bench.frame(&kline("BTCUSDT", minute, "1.00", false));
    bench.state.sweep_bars(bench.clock.monotonic());
    assert!(bench.effects().is_empty());
    bench.clock.advance(Duration::from_secs(80));
    bench.state.sweep_bars(bench.clock.monotonic());
    assert_eq!(bench.effects().len(), 1);
    bench.state.sweep_bars(bench.clock.monotonic());
    assert!(bench.effects().is_empty(), "not all the time");
}

#[test]
fn a_malformed_frame_costs_the_book_it_names() {
    let mut bench = Bench::new(64, None);
    for (slot, id, symbol) in [(1, BTC, "BTCUSDT"), (2, ETH, "ETHUSDT")] {
        bench.subscribe(slot, id, delta(5));
        bench.frame(&depth(symbol, 5, 6, "[]", "[]"));
        bench.snapshot(id, 5);
    }
    let whole = depth("BTCUSDT", 7, 7, "[]", "[]");
    let half = &whole[..whole.len() - 8];
    assert!(half.contains("BTCUSDT"));
    assert!(bench.try_frame(half).is_err());
    let keys = [BTC, ETH].map(|instrument| StreamKey {
        instrument,
        feed: Feed::Book,
    });
    bench.state.on_malformed(half.as_bytes(), keys.into_iter());
    assert!(bench.state.book_view(BTC, 1).is_none());
    assert!(bench.state.book_view(ETH, 1).is_some());
    assert_eq!(bench.state.counters().malformed.get(), 1);
}

#[test]
fn a_quiet_book_is_trusted_after_a_while() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, delta(5));
    assert_eq!(bench.snapshot(BTC, 5), Some(SnapshotOutcome::Waiting));
    assert!(bench.state.accept_held(BTC));
    assert_eq!(bench.data().len(), 1);
    bench.frame(&depth("BTCUSDT", 6, 6, r#"[["100.00","5.000"]]"#, "[]"));
    assert_eq!(bench.data().len(), 1);
}

#[test]
fn a_lost_connection_costs_its_book() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, delta(5));
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    bench.snapshot(BTC, 5);
    bench.effects();
    bench.messages();
    bench.state.on_stream_down(BTC, Feed::Book);
    assert!(bench.state.book_view(BTC, 1).is_none());
    assert_eq!(
        bench.state.book_need(BTC),
        BookNeed::Nothing,
        "no stream, no snapshot"
    );
    assert!(matches!(&bench.messages()[..], [LaneMsg::Status(event)]
            if event.reason == "disconnected"));
    bench
        .state
        .on_stream_up(BTC, Feed::Book, Duration::from_secs(1));
    assert_eq!(bench.effects(), [Effect::Snapshot(BTC)]);
}

#[test]
fn slots_are_checked() {
    let mut bench = Bench::new(64, None);
    bench.subscribe(1, BTC, StreamKind::Trades);
    let topic = |instrument, kind| Topic {
        instrument,
        kind,
        numbers: Numbers::Number,
    };
    let same = topic(BTC, StreamKind::Trades);
    assert!(!bench.state.subscribe(WORKER, Slot(1), same).unwrap());
    let other = topic(BTC, StreamKind::Ticker);
    assert!(bench.state.subscribe(WORKER, Slot(1), other).is_err());
    let unknown = topic(InstrumentId(77), StreamKind::Ticker);
    assert!(bench.state.subscribe(WORKER, Slot(2), unknown).is_err());
    let ended = bench.state.unsubscribe(WORKER, Slot(1));
    assert_eq!(ended, Some((BTC, Feed::Trades)));
    assert_eq!(bench.state.unsubscribe(WORKER, Slot(1)), None);
    bench.frame(&trade("BTCUSDT", 1));
    assert!(bench.data().is_empty());
}

#[path = "record_tests.rs"]
mod record;
