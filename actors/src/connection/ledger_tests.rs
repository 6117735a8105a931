use super::*;
use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::{InstrumentId, Market};

const AT: fn(u64) -> Duration = Duration::from_millis;

fn key(id: u32) -> StreamKey {
    StreamKey {
        instrument: InstrumentId(id),
        feed: Feed::Ticker,
    }
}

fn wanted(ids: std::ops::Range<u32>) -> BTreeMap<Arc<str>, StreamKey> {
    ids.map(|id| (format!("s{id:04}").into(), key(id)))
        .collect()
}

fn ledger() -> Ledger {
    limited(None, None)
}

fn limited(host: Option<HostMessages>, requests_per_hour: Option<u32>) -> Ledger {
    let limits = ConnectionLimits {
        messages_per_second: 4,
        streams_per_request: 100,
        ..ProviderId::BINANCE.exchange().limits(Market::Spot)
    };
    Ledger::new(limits, host, requests_per_hour)
}

fn next(ledger: &mut Ledger, now: Duration) -> Option<serde_json::Value> {
    let text = ledger.next_request(ProviderId::BINANCE.exchange(), Market::Spot, now)?;
    serde_json::from_str(&text).ok()
}

#[test]
fn requests_are_batched_and_paced() {
    let mut ledger = ledger();
    ledger.want(&wanted(0..550), 1);
    let mut sent = Vec::new();
    while let Some(request) = next(&mut ledger, AT(0)) {
        assert_eq!(request["method"], "SUBSCRIBE");
        sent.push(request["params"].as_array().unwrap().len());
    }
    assert_eq!(sent, [100; 4], "four messages a second");
    assert!(next(&mut ledger, AT(999)).is_none());
    assert!(next(&mut ledger, AT(1000)).is_some());
    assert_eq!(
        next(&mut ledger, AT(1000)).unwrap()["params"]
            .as_array()
            .unwrap()
            .len(),
        50
    );
    assert!(next(&mut ledger, AT(1000)).is_none(), "nothing left");
}

#[test]
fn a_stream_is_live_when_it_is_acknowledged() {
    let mut ledger = ledger();
    ledger.want(&wanted(0..2), 1);
    let id = next(&mut ledger, AT(0)).unwrap()["id"].as_u64().unwrap();
    assert!(!ledger.is_complete());
    assert!(ledger.on_ack(id + 1, AT(1)).is_empty(), "another's answer");
    assert_eq!(ledger.on_ack(id, AT(1)), [key(0), key(1)]);
    assert!(ledger.is_complete());
    assert!(ledger.on_ack(id, AT(2)).is_empty(), "told once");
}

#[test]
fn what_is_not_answered_is_asked_again_later_and_later() {
    let mut ledger = ledger();
    ledger.want(&wanted(0..1), 1);
    let first = next(&mut ledger, AT(0)).unwrap()["id"].as_u64().unwrap();
    assert!(ledger.expire(AT(9_999)).is_empty());
    assert_eq!(ledger.expire(AT(10_000)).len(), 1);
    assert!(next(&mut ledger, AT(10_999)).is_none());
    let second = next(&mut ledger, AT(11_000)).unwrap()["id"]
        .as_u64()
        .unwrap();
    assert!(ledger.on_ack(first, AT(11_001)).is_empty(), "too late");
    assert_eq!(ledger.on_error(Some(second), AT(11_002)).len(), 1);
    assert!(next(&mut ledger, AT(13_001)).is_none());
    let third = next(&mut ledger, AT(13_002)).unwrap()["id"]
        .as_u64()
        .unwrap();
    assert_eq!(ledger.on_ack(third, AT(13_003)), [key(0)]);
}

#[test]
fn an_error_without_an_id_is_everybodys() {
    let mut ledger = ledger();
    ledger.want(&wanted(0..150), 1);
    while next(&mut ledger, AT(0)).is_some() {}
    assert_eq!(ledger.on_error(None, AT(1)).len(), 150);
}

#[test]
fn unwanted_streams_are_left_and_can_come_back() {
    let mut ledger = ledger();
    ledger.want(&wanted(0..2), 1);
    let id = next(&mut ledger, AT(0)).unwrap()["id"].as_u64().unwrap();
    ledger.on_ack(id, AT(1));
    ledger.want(&wanted(0..1), 2);
    let request = next(&mut ledger, AT(2)).unwrap();
    assert_eq!(request["method"], "UNSUBSCRIBE");
    assert_eq!(request["params"], serde_json::json!(["s0001"]));
    assert_eq!(ledger.keys().collect::<Vec<_>>(), [key(0)]);
    // Left and wanted again before the request went out: left and asked for, in this order.
    ledger.want(&wanted(1..2), 3);
    ledger.want(&wanted(0..2), 4);
    assert_eq!(next(&mut ledger, AT(3)).unwrap()["method"], "UNSUBSCRIBE");
    let request = next(&mut ledger, AT(3)).unwrap();
    assert_eq!(request["params"], serde_json::json!(["s0000", "s0001"]));
}

#[test]
fn silence_is_acted_on_with_growing_patience() {
    let mut ledger = ledger();
    ledger.want(&wanted(0..1), 1);
    let id = next(&mut ledger, AT(0)).unwrap()["id"].as_u64().unwrap();
    ledger.on_ack(id, AT(0));
    let limit = |_| Some(AT(1_000));
    let check = |ledger: &mut Ledger, now, heard| {
        ledger.check_silence(AT(now), limit, |_| AT(heard), |_| true)
    };
    assert!(check(&mut ledger, 1_000, 0).is_empty());
    let stale = |rounds| {
        [Silence::Stale {
            key: key(0),
            rounds,
        }]
    };
    assert_eq!(check(&mut ledger, 1_001, 0), stale(1));
    assert_eq!(
        next(&mut ledger, AT(1_001)).unwrap()["method"],
        "UNSUBSCRIBE"
    );
    let id = next(&mut ledger, AT(1_001)).unwrap()["id"]
        .as_u64()
        .unwrap();
    ledger.on_ack(id, AT(1_002));
    assert!(check(&mut ledger, 3_002, 0).is_empty(), "twice as patient");
    assert_eq!(check(&mut ledger, 3_003, 0), stale(2));
    assert_eq!(ledger.stale(limit), (1, 1));
    next(&mut ledger, AT(3_003));
    let id = next(&mut ledger, AT(3_003)).unwrap()["id"]
        .as_u64()
        .unwrap();
    ledger.on_ack(id, AT(3_004));
    assert_eq!(
        check(&mut ledger, 3_100, 3_050),
        [Silence::Recovered { key: key(0) }]
    );
    assert!(check(&mut ledger, 4_050, 3_050).is_empty());
    assert_eq!(
        check(&mut ledger, 4_051, 3_050),
        stale(1),
        "patience starts anew"
    );
}

#[test]
fn connections_of_a_host_share_its_limit_on_messages() {
    let host: HostMessages = Arc::new(parking_lot::Mutex::new(SlidingCount::new(6, SECOND)));
    let mut ledgers = [0, 1, 2].map(|_| limited(Some(host.clone()), None));
    let mut sent = [0; 3];
    for (ledger, sent) in ledgers.iter_mut().zip(&mut sent) {
        ledger.want(&wanted(0..550), 1);
        while next(ledger, AT(0)).is_some() {
            *sent += 1;
        }
    }
    assert_eq!(sent, [4, 2, 0], "four each, six together");
    assert!(next(&mut ledgers[2], AT(1000)).is_some());
    // What opens a connection goes out in any case, and counts.
    ledgers[0].count_message(AT(1000));
    for _ in 0..4 {
        assert!(next(&mut ledgers[1], AT(1000)).is_some());
    }
    assert!(!ledgers[2].take_message(AT(1000)));
}

#[test]
fn a_connection_that_has_sent_all_it_may_in_an_hour_says_so() {
    let mut ledger = limited(None, Some(20));
    // One of the nineteen goes with the connection's opening.
    ledger.count_message(AT(0));
    let mut sent = 0;
    for second in 0..60 {
        ledger.want(&wanted(0..second + 1), u64::from(second));
        let now = AT(u64::from(second) * 1000);
        while next(&mut ledger, now).is_some() {
            sent += 1;
        }
        assert_eq!(ledger.is_used_up(), second >= 18, "{second}: {sent}");
    }
    assert_eq!(sent, 18);
    assert!(ledger.take_message(AT(60_000)), "pings go on");
    assert!(next(&mut ledger, AT(3_600_000)).is_some());
}
