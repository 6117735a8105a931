use super::super::encode::Labels;
use super::super::frame;
use super::*;
use crate::body::Body;
use crate::latency::Stamp;
use crate::ring::WorkerWake;
use crate::topic::{BookMode, StreamKind};
use bookwire_engine::time::{Level, TsNanos};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: TsNanos = TsNanos(2_000);

fn spec(kind: StreamKind) -> SubSpec {
    SubSpec {
        slot: Slot(7),
        kind,
        labels: Labels {
            stream: kind.name(),
            provider: "binance",
            symbol: "btcusdt".into(),
            entity_id: "cryptopair_binance_btcusdt".into(),
            interval: None,
            channel: Some("a \"b\"".into()),
        },
        timing: false,
        policy: DropPolicy::default_of(kind),
    }
}

fn delta() -> StreamKind {
    StreamKind::OrderBook {
        depth: 20,
        mode: BookMode::Delta,
    }
}

fn publication(kind: PubKind, body: &str) -> Publication {
    Publication {
        slot: Slot(7),
        kind,
        epoch: 0,
        seq: 0,
        prev_seq: 0,
        ts_recv: TsNanos(1_000),
        read_at: Stamp::NONE,
        stage_at: Stamp::NONE,
        body: Body::new(&Arc::default(), body.as_bytes()),
    }
}

fn event(n: u64) -> Publication {
    publication(PubKind::Event, &format!("{{\"n\":{n}}}"))
}

fn small(messages: usize) -> Outbox {
    limited(messages, 1 << 20)
}

fn limited(messages: usize, bytes: usize) -> Outbox {
    let written = Written::new(Arc::default(), WorkerWake::new(false));
    Outbox::new(OutboxLimits { messages, bytes }, Rc::new(written))
}

fn pull(outbox: &mut Outbox) -> Vec<Value> {
    pull_room(outbox, usize::MAX)
}

fn pull_room(outbox: &mut Outbox, room: usize) -> Vec<Value> {
    let mut batch = Batch::default();
    outbox.pull(NOW, room, &mut batch);
    let texts = frame::payloads(&batch.frames);
    assert_eq!(texts.len(), batch.messages);
    let parsed = texts
        .iter()
        .map(|text| serde_json::from_slice(text).unwrap_or_else(|e| panic!("{e}: {text:?}")));
    parsed.collect()
}

fn is_flow(message: &Value) -> bool {
    message["stream"] == "system.flow"
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    messages
        .iter()
        .filter(|message| !is_flow(message))
        .map(|message| message["seq"].as_u64().unwrap())
        .collect()
}

/// Every hole of one subscription lies inside a notice told before the message after it, and the
/// notices count exactly the messages that are missing.
fn holes_are_told(messages: &[Value]) {
    let mut told = 0;
    let mut missing = 0;
    let mut last = 0;
    for message in messages {
        if is_flow(message) {
            told += message["data"]["dropped"].as_u64().unwrap();
            let (from, to) = (&message["data"]["from_seq"], &message["data"]["to_seq"]);
            assert!(from.as_u64() <= to.as_u64());
        } else {
            let seq = message["seq"].as_u64().unwrap();
            assert!(seq > last, "{seq} after {last}");
            missing += seq - last - 1;
            assert!(
                told >= missing,
                "{missing} missing before {seq}, {told} told"
            );
            last = seq;
        }
    }
    assert!(told >= missing);
}

#[test]
fn a_reading_client_gets_everything_without_holes() {
    let mut outbox = small(8);
    let trades = outbox.add(spec(StreamKind::Trades));
    let ticker = outbox.add(spec(StreamKind::Ticker));
    let mut seen = Vec::new();
    for n in 1..=100 {
        outbox.offer(trades, &event(n));
        outbox.offer(ticker, &event(n));
        seen.extend(pull(&mut outbox));
    }
    assert_eq!(seen.len(), 200);
    let of = |stream: &str| -> Vec<(u64, u64)> {
        seen.iter()
            .filter(|m| m["stream"] == stream)
            .map(|m| (m["seq"].as_u64().unwrap(), m["data"]["n"].as_u64().unwrap()))
            .collect()
    };
    let expected: Vec<_> = (1..=100).map(|n| (n, n)).collect();
    assert_eq!(of("crypto.trades"), expected);
    assert_eq!(of("crypto.ticker"), expected);
    assert_eq!(seen[0]["channel"], "a \"b\"");
    assert_eq!(outbox.stats().dropped, 0);
}

#[test]
fn trades_drop_the_oldest_and_tell() {
    let mut outbox = small(4);
    let key = outbox.add(spec(StreamKind::Trades));
    for n in 1..=10 {
        outbox.offer(key, &event(n));
    }
    let seen = pull(&mut outbox);
    assert!(is_flow(&seen[0]), "{seen:?}");
    assert_eq!(
        seen[0]["data"],
        serde_json::json!({"channel": "a \"b\"", "stream": "crypto.trades", "provider": "binance",
            "symbol": "btcusdt", "entity_id": "cryptopair_binance_btcusdt", "dropped": 6, "from_seq": 1, "to_seq": 6, "policy": "oldest"})
    );
    assert_eq!(seqs(&seen), [7, 8, 9, 10]);
    holes_are_told(&seen);
}

#[test]
fn newest_refuses_and_disconnect_closes() {
    let mut outbox = small(4);
    let key = outbox.add(SubSpec {
        policy: DropPolicy::Newest,
        ..spec(StreamKind::Trades)
    });
    for n in 1..=10 {
        outbox.offer(key, &event(n));
    }
    let mut seen = pull(&mut outbox);
    assert_eq!(seqs(&seen), [1, 2, 3, 4]);
    assert_eq!(seen[4]["data"]["from_seq"], 5);
    outbox.offer(key, &event(11));
    seen.extend(pull(&mut outbox));
    assert_eq!(seqs(&seen), [1, 2, 3, 4, 11]);
    holes_are_told(&seen);

    outbox.update(key, |policy, _| *policy = DropPolicy::Disconnect);
    for n in 0..5 {
        outbox.offer(key, &event(n));
    }
    let mut batch = Batch::default();
    outbox.pull(NOW, usize::MAX, &mut batch);
    assert_eq!(batch.close.map(|close| close.code), Some(1008));
    assert!(batch.messages == 0 && !outbox.is_ready());
}

#[test]
fn states_conflate_only_under_pressure_and_keep_closed_bars() {
    let mut outbox = small(8);
    let key = outbox.add(spec(StreamKind::Klines(Level::M1)));
    for n in 1..=20 {
        let kind = if n % 10 == 0 {
            PubKind::ClosedBar
        } else {
            PubKind::Event
        };
        outbox.offer(key, &publication(kind, &format!("{{\"n\":{n}}}")));
    }
    let seen = pull(&mut outbox);
    // Three wait freely, the fourth's place is taken by what follows until the bar closes.
    assert_eq!(seqs(&seen), [1, 2, 3, 10, 20]);
    assert_eq!(seen[3]["data"]["dropped"], 15);
    holes_are_told(&seen);
    assert_eq!(outbox.stats().dropped, 15);
}

#[test]
fn last_state_is_for_those_who_wait() {
    let mut outbox = small(8);
    let key = outbox.add(spec(StreamKind::Ticker));
    outbox.offer(key, &publication(PubKind::LastState, "{\"n\":1}"));
    outbox.offer(key, &publication(PubKind::LastState, "{\"n\":2}"));
    outbox.offer(key, &event(3));
    let seen = pull(&mut outbox);
    assert_eq!(seqs(&seen), [1, 2]);
    assert_eq!(seen[1]["data"]["n"], 3);
}

#[test]
fn answers_go_first_and_a_close_goes_last() {
    let mut outbox = small(8);
    let key = outbox.add(spec(StreamKind::Trades));
    outbox.offer(key, &event(1));
    outbox.note(Bytes::from_static(b"{\"note\":1}"));
    outbox.control(Bytes::from_static(b"{\"answer\":1}"));
    let seen = pull(&mut outbox);
    assert_eq!(seen[0]["answer"], 1);
    assert_eq!(seen[2]["note"], 1);
    outbox.offer(key, &event(2));
    outbox.control(Bytes::from_static(b"{\"answer\":2}"));
    outbox.close(Close::restart("x".repeat(200)));
    outbox.control(Bytes::from_static(b"{\"answer\":3}"));
    let mut batch = Batch::default();
    outbox.pull(NOW, usize::MAX, &mut batch);
    assert_eq!(batch.messages, 1, "data and what comes after are dropped");
    let close = batch.close.unwrap();
    assert_eq!((close.code, close.reason.len()), (1012, 123));
}

#[test]
fn timing_is_added_inside_the_data() {
    let mut outbox = small(8);
    let key = outbox.add(SubSpec {
        timing: true,
        ..spec(StreamKind::Trades)
    });
    outbox.offer(key, &event(5));
    let seen = pull(&mut outbox);
    assert_eq!(
        seen[0]["data"],
        serde_json::json!({"n": 5, "received_ns": 1000, "sent_ns": 2000})
    );
}

#[test]
fn lost_on_the_lane_is_told() {
    let mut outbox = small(8);
    let key = outbox.add(spec(StreamKind::Trades));
    outbox.offer(key, &event(1));
    outbox.lost(key, 5);
    let mut seen = pull(&mut outbox);
    assert_eq!(
        seen[1]["data"]["from_seq"], 2,
        "told even when nothing follows"
    );
    outbox.offer(key, &event(2));
    seen.extend(pull(&mut outbox));
    assert_eq!(seqs(&seen), [1, 7]);
    holes_are_told(&seen);
}

#[test]
fn removing_takes_back_what_waits() {
    let mut outbox = small(4);
    let key = outbox.add(spec(StreamKind::Trades));
    for n in 1..=9 {
        outbox.offer(key, &event(n));
    }
    outbox.remove(key);
    assert!(outbox.is_empty());
    let again = outbox.add(spec(StreamKind::Trades));
    outbox.offer(again, &event(1));
    let seen = pull(&mut outbox);
    assert_eq!((seen.len(), seqs(&seen)), (1, vec![1]));
}

#[test]
fn a_rate_is_kept_within_each_second() {
    let mut outbox = small(1000);
    let key = outbox.add(spec(StreamKind::Trades));
    outbox.configure(None, Some(25), None).unwrap();
    for n in 1..=100 {
        outbox.offer(key, &event(n));
    }
    let mut counts = Vec::new();
    for tenth in 0..20 {
        outbox.refill(tenth);
        counts.push(pull(&mut outbox).len());
    }
    assert_eq!(counts[..10].iter().sum::<usize>(), 25);
    assert_eq!(counts[10..].iter().sum::<usize>(), 25);
}

#[test]
fn a_frozen_client_holds_a_bounded_queue() {
    let mut outbox = small(64);
    let mut many = spec(StreamKind::Trades);
    let keys: Vec<_> = (0..20)
        .map(|n| {
            if n % 3 == 0 {
                many = spec(StreamKind::Ticker);
            } else {
                many = spec(StreamKind::Trades);
            }
            outbox.add(many.clone())
        })
        .collect();
    for n in 0..50_000u64 {
        outbox.offer(keys[(n * 7 % 20) as usize], &event(n));
        assert!(outbox.len() <= 64 + 20);
        assert!(outbox.lines[0].places() <= 2 * (64 + 20) + 1024 + 20);
    }
    assert!(outbox.closing().is_none());
    // Bytes are a bound of their own.
    let mut outbox = limited(1000, 10_000);
    let key = outbox.add(spec(StreamKind::Trades));
    let large = publication(
        PubKind::Event,
        &format!("{{\"n\":\"{}\"}}", "x".repeat(3000)),
    );
    for _ in 0..100 {
        outbox.offer(key, &large);
        assert!(outbox.bytes <= 20_000);
    }
    assert_eq!(seqs(&pull(&mut outbox)).last(), Some(&100));
}

/// A shard's book topic in miniature: publishes changes of a map, starts over with a new epoch on
/// a resync, answers a refresh with its last publication.
#[derive(Default)]
struct Publisher {
    book: BTreeMap<u64, u64>,
    seq: u64,
    epoch: u32,
}

impl Publisher {
    fn snapshot(&self) -> Publication {
        let levels: Vec<_> = self.book.iter().collect();
        let data = serde_json::json!({"type": "snapshot", "bids": levels, "sequence": self.seq});
        Publication {
            epoch: self.epoch,
            seq: self.seq,
            ..publication(PubKind::BookSnapshot, &data.to_string())
        }
    }

    fn change(&mut self, price: u64, qty: u64, jump: u64) -> Publication {
        let prev = self.seq;
        self.seq += jump;
        if qty == 0 {
            self.book.remove(&price);
        } else {
            self.book.insert(price, qty);
        }
        let data = serde_json::json!({"type": "update", "bids": [[price, qty]],
            "sequence": self.seq, "prev_sequence": prev});
        Publication {
            epoch: self.epoch,
            seq: self.seq,
            prev_seq: prev,
            ..publication(PubKind::BookUpdate, &data.to_string())
        }
    }
}

/// A client that refuses whatever does not apply.
#[derive(Default)]
struct Client {
    book: Option<BTreeMap<u64, u64>>,
    seq: u64,
    snapshots: usize,
}

impl Client {
    fn take(&mut self, message: &Value) {
        let data = &message["data"];
        let levels = data["bids"].as_array().unwrap().iter();
        let levels = levels.map(|l| (l[0].as_u64().unwrap(), l[1].as_u64().unwrap()));
        if data["type"] == "snapshot" {
            self.book = Some(levels.collect());
            self.snapshots += 1;
        } else {
            let book = self.book.as_mut().expect("a snapshot before a change");
            assert_eq!(
                data["prev_sequence"].as_u64(),
                Some(self.seq),
                "a change that applies"
            );
            for (price, qty) in levels {
                if qty == 0 {
                    book.remove(&price);
                } else {
                    book.insert(price, qty);
                }
            }
        }
        self.seq = data["sequence"].as_u64().unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change { price: u64, qty: u64, jump: u64 },
    Resync,
    Lose { count: u64 },
    Trade,
    Read { room: usize },
    Refill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0u64..30, 0u64..4, 1u64..5)
            .prop_map(|(price, qty, jump)| Step::Change { price, qty, jump }),
        1 => Just(Step::Resync),
        1 => (1u64..20).prop_map(|count| Step::Lose { count }),
        4 => Just(Step::Trade),
        3 => (0usize..3000).prop_map(|room| Step::Read { room }),
        2 => Just(Step::Refill),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever the client's speed, lost messages and resyncs: each change it gets applies, holes
    /// are told, and once it has read everything its book is the publisher's.
    #[test]
    fn a_client_can_apply_everything_it_gets(
        script in steps(),
        capacity in 2usize..40,
        policy in 0usize..3,
        rate in prop_oneof![Just(0u32), 1u32..60],
        has_own_line: bool,
    ) {
        let policy = DropPolicy::ALL[policy];
        let mut outbox = small(capacity);
        let book = outbox.add(SubSpec { policy, ..spec(delta()) });
        let trades = outbox.add(spec(StreamKind::Trades));
        outbox.configure(None, Some(rate), None).unwrap();
        if has_own_line {
            outbox.configure(Some("a \"b\""), Some(rate / 2), None).unwrap();
        }
        let mut publisher = Publisher::default();
        let mut client = Client::default();
        let mut seen = Vec::new();
        let mut tenth = 0;
        outbox.offer(book, &publisher.snapshot());
        for step in script {
            match step {
                Step::Change { price, qty, jump } => {
                    let change = publisher.change(price, qty, jump);
                    outbox.offer(book, &change);
                }
                Step::Resync => {
                    publisher.epoch += 1;
                    publisher.seq += 100;
                    publisher.book.insert(1, publisher.seq);
                    outbox.offer(book, &publisher.snapshot());
                }
                Step::Lose { count } => {
                    for n in 0..count {
                        publisher.change(n, n, 1);
                    }
                    outbox.lost(book, count);
                    outbox.offer(book, &publisher.snapshot());
                }
                Step::Trade => outbox.offer(trades, &event(1)),
                Step::Read { room } => seen.extend(pull_room(&mut outbox, room)),
                Step::Refill => {
                    tenth += 1;
                    outbox.refill(tenth);
                }
            }
            for _ in outbox.take_refresh() {
                outbox.offer(book, &publisher.snapshot());
            }
        }
        // A client that reads on catches up, without a rate at once.
        outbox.configure(None, Some(0), None).unwrap();
        if has_own_line {
            outbox.configure(Some("a \"b\""), Some(0), None).unwrap();
        }
        for _ in 0..3 {
            seen.extend(pull(&mut outbox));
            for _ in outbox.take_refresh() {
                outbox.offer(book, &publisher.snapshot());
            }
        }
        seen.extend(pull(&mut outbox));
        let of_book: Vec<_> = seen
            .into_iter()
            .filter(|m| m["stream"] == "crypto.orderbook" || m["data"]["stream"] == "crypto.orderbook")
            .collect();
        holes_are_told(&of_book);
        for message in of_book.iter().filter(|m| !is_flow(m)) {
            client.take(message);
        }
        prop_assert_eq!(client.book.as_ref(), Some(&publisher.book));
        prop_assert_eq!(client.seq, publisher.seq);
        prop_assert!(outbox.is_empty());
    }
}

fn in_channel(kind: StreamKind, channel: &str) -> SubSpec {
    let mut spec = spec(kind);
    spec.labels.channel = Some(channel.into());
    spec
}

#[test]
fn a_channels_rate_and_queue_hold_for_it_alone() {
    let mut outbox = small(100);
    let slow = outbox.add(in_channel(StreamKind::Trades, "slow"));
    let free = outbox.add(in_channel(StreamKind::Trades, "free"));
    // What waits already moves into the channel's own queue.
    for n in 1..=4 {
        outbox.offer(slow, &event(n));
        outbox.offer(free, &event(n));
    }
    outbox.configure(Some("slow"), Some(20), Some(10)).unwrap();
    assert_eq!(outbox.flow_of(Some("slow")), (20, 10));
    assert_eq!(outbox.flow_of(Some("free")), (0, 100));
    for n in 5..=50 {
        outbox.offer(slow, &event(n));
        outbox.offer(free, &event(n));
    }
    let of = |seen: &[Value], channel: &str| -> Vec<Value> {
        let is_of = |m: &&Value| m["channel"] == channel || m["data"]["channel"] == channel;
        seen.iter().filter(is_of).cloned().collect()
    };
    let mut seen = pull(&mut outbox);
    assert_eq!(seqs(&of(&seen, "free")), (1..=50).collect::<Vec<_>>());
    assert_eq!(
        seqs(&of(&seen, "slow")).len(),
        2,
        "a tenth of a second's part"
    );
    for tenth in 0..10 {
        outbox.refill(tenth);
        seen.extend(pull(&mut outbox));
    }
    let slow_seen = of(&seen, "slow");
    assert_eq!(
        seqs(&slow_seen),
        (41..=50).collect::<Vec<_>>(),
        "ten waited, the oldest gave way"
    );
    holes_are_told(&slow_seen);
    assert!(outbox.is_empty());
    // A later subscription of the channel waits there, too; one that is taken away leaves nothing.
    let more = outbox.add(in_channel(StreamKind::Trades, "slow"));
    for n in 1..=30 {
        outbox.offer(more, &event(n));
    }
    assert_eq!(outbox.len(), 10);
    outbox.remove(more);
    assert!(outbox.is_empty());
}

#[test]
fn a_channels_messages_count_for_the_connection_too() {
    let mut outbox = small(1000);
    let one = outbox.add(in_channel(StreamKind::Trades, "one"));
    let two = outbox.add(in_channel(StreamKind::Trades, "two"));
    outbox.configure(None, Some(50), None).unwrap();
    outbox.configure(Some("one"), Some(40), None).unwrap();
    assert_eq!(outbox.flow_of(Some("two")), (50, 1000));
    for n in 1..=100 {
        outbox.offer(one, &event(n));
        outbox.offer(two, &event(n));
    }
    let mut seen = Vec::new();
    for tenth in 0..10 {
        outbox.refill(tenth);
        seen.extend(pull(&mut outbox));
    }
    let count = |channel: &str| seen.iter().filter(|m| m["channel"] == channel).count();
    assert_eq!(count("one") + count("two"), 50);
    assert!(count("one") <= 40 && count("two") >= 10, "{}", count("two"));
}

#[test]
fn too_many_channels_with_limits_are_refused() {
    let mut outbox = small(10);
    for n in 0..LINES_MAX {
        outbox
            .configure(Some(&format!("c{n}")), Some(5), None)
            .unwrap();
    }
    assert_eq!(
        outbox.configure(Some("more"), Some(5), None),
        Err(LINES_MAX)
    );
    outbox.configure(Some("c0"), Some(6), None).unwrap();
    outbox.configure(Some("more"), None, None).unwrap();
}

/// Under a rate a state is worth sending when it is the latest: one waits, later ones replace it.
#[test]
fn over_its_rate_a_state_is_the_latest() {
    let mut outbox = small(1000);
    let key = outbox.add(spec(StreamKind::Ticker));
    outbox.configure(None, Some(10), None).unwrap();
    let mut seen = Vec::new();
    for tenth in 0..10 {
        for n in 1..=20 {
            outbox.offer(key, &event(tenth * 20 + n));
        }
        outbox.refill(tenth);
        seen.extend(pull(&mut outbox));
    }
    let numbers: Vec<_> = seen.iter().filter(|m| !is_flow(m)).collect();
    let last = numbers.last().unwrap();
    assert_eq!(last["data"]["n"], 200, "the state of now");
    // One a tenth, and the one that the bucket held at the start.
    assert!((10..=11).contains(&numbers.len()), "{}", numbers.len());
    holes_are_told(&seen);
}

#[test]
fn over_its_rate_a_delta_book_starts_over_from_snapshots() {
    let mut outbox = small(1000);
    let key = outbox.add(spec(delta()));
    outbox.configure(None, Some(10), None).unwrap();
    let mut publisher = Publisher::default();
    let mut client = Client::default();
    let mut seen = Vec::new();
    outbox.offer(key, &publisher.snapshot());
    for tenth in 0..20u64 {
        for n in 0..30 {
            let change = publisher.change(n, tenth + 1, 1);
            outbox.offer(key, &change);
        }
        assert!(outbox.len() <= 2, "{} wait", outbox.len());
        outbox.refill(tenth);
        for _ in 0..2 {
            for _ in outbox.take_refresh() {
                outbox.offer(key, &publisher.snapshot());
            }
            seen.extend(pull(&mut outbox));
        }
    }
    holes_are_told(&seen);
    for message in seen.iter().filter(|m| !is_flow(m)) {
        client.take(message);
    }
    assert!(
        (15..=21).contains(&client.snapshots),
        "{}",
        client.snapshots
    );
    assert_eq!(
        client.book.as_ref(),
        Some(&publisher.book),
        "the book of now"
    );
}

/// What a queue says that it needs is what lies in it, whatever has been done to it.
#[test]
fn memory_is_counted_up_and_down() {
    let written = Rc::new(Written::new(Arc::default(), WorkerWake::new(false)));
    let meter = written.meter().clone();
    let limits = OutboxLimits {
        messages: 32,
        bytes: 1 << 20,
    };
    let mut outbox = Outbox::new(limits, written);
    let keys = [
        outbox.add(spec(StreamKind::Trades)),
        outbox.add(in_channel(StreamKind::Ticker, "c")),
        outbox.add(spec(delta())),
    ];
    outbox.offer(keys[2], &Publisher::default().snapshot());
    for n in 0..500 {
        outbox.offer(keys[(n % 2) as usize], &event(n));
        outbox.lost(keys[0], n % 3);
        outbox.note(Bytes::from_static(b"{\"note\":1}"));
        if n % 5 == 0 {
            outbox.control(Bytes::from_static(b"{\"answer\":1}"));
        }
        if n == 250 {
            outbox.configure(Some("c"), Some(3), Some(16)).unwrap();
        }
        assert_eq!(meter.queue_bytes.get(), outbox.own_bytes as u64);
    }
    assert!(
        meter.queue_bytes.get() > 500 * ENTRY_BYTES as u64,
        "the notices alone"
    );
    assert!(outbox.weight() > outbox.own_bytes);
    outbox.remove(keys[0]);
    outbox.configure(Some("c"), Some(0), None).unwrap();
    pull(&mut outbox);
    assert_eq!(
        (outbox.own_bytes, outbox.bytes, meter.queue_bytes.get()),
        (0, 0, 0)
    );
    outbox.offer(keys[1], &event(1));
    outbox.control(Bytes::from_static(b"{}"));
    outbox.close(Close::restart("over"));
    assert_eq!(meter.queue_bytes.get(), 2, "the answer still leaves");
    drop(outbox);
    assert_eq!((meter.queue_bytes.get(), meter.subscriptions.get()), (0, 0));
}
