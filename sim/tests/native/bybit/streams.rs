//! Stream connections.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bookwire_sim::market::{Interval, TimeRange};
use bookwire_sim::{Segment, SimConfig, SimControl};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{MARKETS, REST, WS, ask, bybit, bybit_with, open, path, subscribe};
use crate::support::{Client, decimals, get};

/// Names of an object's fields in the order in which they stand.
fn order(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut rest) = (0, text);
    while let Some(at) = rest.find(['{', '}', '[', ']', '"']) {
        let (byte, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {
                let end = after.find('"').unwrap();
                rest = &after[end + 1..];
                if depth == 1 && rest.starts_with(':') {
                    names.push(after[..end].to_owned());
                }
            }
        }
    }
    names
}

type Side = BTreeMap<Decimal, Decimal>;

/// A local book after the exchange's description, and nothing else.
#[derive(Default)]
struct Book {
    update: Option<u64>,
    bids: Side,
    asks: Side,
    images: usize,
    gaps: usize,
}

fn set(side: &mut Side, rows: &Value) {
    for row in rows.as_array().unwrap() {
        let number = |at: usize| -> Decimal { row[at].as_str().unwrap().parse().unwrap() };
        if number(1).is_zero() {
            side.remove(&number(0));
        } else {
            side.insert(number(0), number(1));
        }
    }
}

impl Book {
    fn take(&mut self, message: &Value) {
        let data = &message["data"];
        let update = data["u"].as_u64().unwrap();
        if message["type"] == "snapshot" || update == 1 {
            (self.bids, self.asks) = (Side::new(), Side::new());
            self.images += 1;
        } else if self.update != Some(update - 1) {
            self.gaps += 1;
            self.update = None;
            return;
        }
        set(&mut self.bids, &data["b"]);
        set(&mut self.asks, &data["a"]);
        self.update = Some(update);
    }

    fn rows(&self) -> [Vec<(Decimal, Decimal)>; 2] {
        let pair = |(price, qty): (&Decimal, &Decimal)| (*price, *qty);
        [
            self.bids.iter().rev().map(pair).collect(),
            self.asks.iter().map(pair).collect(),
        ]
    }
}

#[tokio::test]
async fn answers_differ_between_the_markets() {
    let sim = bybit().await;
    for market in MARKETS {
        let mut client = Client::open(&sim, WS, path(market)).await;
        let mut say = async |text: &str| {
            client.send(text).await;
            client.text().await
        };
        let pong = say(r#"{"op":"ping"}"#).await;
        let ack = say(r#"{"op":"subscribe","args":["tickers.ETHUSDT"]}"#).await;
        let expected = match market {
            Segment::Spot => (
                ["success", "ret_msg", "conn_id", "op"].as_slice(),
                r#""ret_msg":"subscribe""#,
            ),
            Segment::Linear => (
                ["success", "ret_msg", "conn_id", "req_id", "op"].as_slice(),
                r#""ret_msg":"""#,
            ),
        };
        assert_eq!(order(&pong), expected.0, "{pong}");
        assert_eq!(order(&ack), expected.0, "{ack}");
        assert!(ack.contains(expected.1), "{ack}");
        let pong: Value = serde_json::from_str(&pong).unwrap();
        assert_eq!(
            (&pong["op"], &pong["ret_msg"]),
            (&json!("ping"), &json!("pong"))
        );
    }
    // ccxt's ids are numbers and come back as text.
    let mut client = Client::open(&sim, WS, path(Segment::Linear)).await;
    client
        .send(r#"{"op":"subscribe","req_id":1,"args":["publicTrade.BTCUSDT"]}"#)
        .await;
    assert_eq!(client.json().await["req_id"], "1");
    sim.shutdown().await;
}

#[tokio::test]
async fn one_wrong_topic_refuses_the_whole_request() {
    let sim = bybit().await;
    let mut client = Client::open(&sim, WS, path(Segment::Linear)).await;
    for (topics, message) in [
        (
            &["publicTrade.BTCUSDT", "orderbook.500.BTCUSDT"][..],
            "error:handler not found,topic:orderbook.500.BTCUSDT",
        ),
        (
            &["kline.2.BTCUSDT"],
            "error:handler not found,topic:kline.2.BTCUSDT",
        ),
        (
            &["tickers.NOPE"],
            "error:handler not found,topic:tickers.NOPE",
        ),
        // Topics take symbols in upper case.
        (
            &["tickers.btcusdt"],
            "error:handler not found,topic:tickers.btcusdt",
        ),
    ] {
        let answer = ask(&mut client, "subscribe", topics).await;
        assert_eq!(
            (&answer["success"], &answer["ret_msg"]),
            (&json!(false), &json!(message))
        );
    }
    subscribe(&mut client, &["orderbook.50.BTCUSDT"]).await;
    let again = ask(
        &mut client,
        "subscribe",
        &["tickers.ETHUSDT", "orderbook.50.BTCUSDT"],
    )
    .await;
    let message = "error:already subscribed,topic:orderbook.50.BTCUSDT";
    assert_eq!(
        (&again["success"], &again["ret_msg"]),
        (&json!(false), &json!(message))
    );
    let eleven = ["publicTrade.BTCUSDT"; 11];
    let mut spot = Client::open(&sim, WS, path(Segment::Spot)).await;
    let answer = ask(&mut spot, "subscribe", &eleven).await;
    assert_eq!(
        (&answer["success"], &answer["ret_msg"]),
        (&json!(false), &json!("args size >10"))
    );
    // Nothing but the book came of all that.
    for _ in 0..100 {
        assert_eq!(client.json().await["topic"], "orderbook.50.BTCUSDT");
    }
    sim.shutdown().await;
}

/// Takes messages until nothing is under way any more, market time standing still.
async fn settle(control: &SimControl, client: &mut Client, mut take: impl FnMut(&Value)) {
    control.pause();
    for message in client.drain(Duration::from_millis(400)).await {
        take(&message);
    }
}

#[tokio::test]
async fn books_of_all_depths_equal_the_market() {
    let sim = bybit().await;
    let control = sim.control();
    for market in MARKETS {
        let topics = [
            "orderbook.50.BTCUSDT",
            "orderbook.200.BTCUSDT",
            "orderbook.1000.BTCUSDT",
        ];
        let mut client = open(&sim, market, &topics).await;
        let mut books: HashMap<String, Book> = HashMap::new();
        let mut told: HashMap<String, usize> = HashMap::new();
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let message = client.json().await;
            let topic = message["topic"].as_str().unwrap().to_owned();
            books.entry(topic.clone()).or_default().take(&message);
            *told.entry(topic).or_default() += 1;
        }
        settle(&control, &mut client, |message| {
            let topic = message["topic"].as_str().unwrap();
            books.get_mut(topic).unwrap().take(message);
        })
        .await;
        let truth = control.book(market, "BTCUSDT").unwrap();
        for (topic, depth) in topics.iter().zip([50, 200, 1_000]) {
            let book = &books[*topic];
            assert_eq!((book.images, book.gaps), (1, 0), "{topic}");
            // The truth has 200 levels.
            let [bids, asks] = book.rows();
            for (ours, truth) in [(bids, &truth.bids), (asks, &truth.asks)] {
                let truth = decimals(truth);
                let same = truth.len().min(ours.len());
                assert_eq!(ours[..same], truth[..same], "{market:?} {topic}");
                assert!(
                    ours.len() == depth || depth == 1_000,
                    "{topic}: {}",
                    ours.len()
                );
            }
        }
        let same_id = books["orderbook.200.BTCUSDT"].update;
        assert_eq!(same_id, Some(truth.last_update_id));
        // Twenty, one hundred, two hundred milliseconds.
        let [fast, middle, slow] = topics.map(|topic| told[topic]);
        assert!(
            fast > 2 * middle && middle > slow && slow >= 5,
            "{fast} {middle} {slow}"
        );
        control.resume();
    }
    sim.shutdown().await;
}

/// A second listener begins with what the first one has; a topic left and taken again begins anew.
#[tokio::test]
async fn listeners_begin_with_an_image() {
    let sim = bybit().await;
    let topic = "orderbook.200.BTCUSDT";
    let mut first = open(&sim, Segment::Linear, &[topic]).await;
    let mut book = Book::default();
    for _ in 0..5 {
        book.take(&first.json().await);
    }
    let mut second = open(&sim, Segment::Linear, &[topic]).await;
    let mut other = Book::default();
    other.take(&second.json().await);
    assert_eq!(other.images, 1);
    while book.update < other.update {
        book.take(&first.json().await);
    }
    assert_eq!(book.rows(), other.rows());
    for _ in 0..5 {
        other.take(&second.json().await);
    }
    assert_eq!((other.images, other.gaps), (1, 0));
    let answer = ask(&mut second, "unsubscribe", &[topic]).await;
    assert_eq!(answer["success"], true);
    subscribe(&mut second, &[topic]).await;
    let message = second.json().await;
    assert_eq!(message["type"], "snapshot");
    sim.shutdown().await;
}

#[tokio::test]
async fn keys_stand_in_the_order_of_each_market() {
    let sim = bybit().await;
    for (market, book, trades, bars, ticker) in [
        (
            Segment::Spot,
            ["topic", "ts", "type", "data", "cts"],
            ["topic", "ts", "type", "data"],
            ["type", "topic", "data", "ts"],
            ["topic", "ts", "type", "cs", "data"],
        ),
        (
            Segment::Linear,
            ["topic", "type", "ts", "data", "cts"],
            ["topic", "type", "ts", "data"],
            ["topic", "data", "ts", "type"],
            ["topic", "type", "data", "cs", "ts"],
        ),
    ] {
        let topics = [
            "orderbook.50.BTCUSDT",
            "publicTrade.BTCUSDT",
            "kline.1.BTCUSDT",
            "tickers.BTCUSDT",
        ];
        let mut client = open(&sim, market, &topics).await;
        let mut missing: BTreeMap<&str, &[&str]> = BTreeMap::from([
            (topics[0], &book[..]),
            (topics[1], &trades[..]),
            (topics[2], &bars[..]),
            (topics[3], &ticker[..]),
        ]);
        while !missing.is_empty() {
            let text = client.text().await;
            let message: Value = serde_json::from_str(&text).unwrap();
            if let Some(expected) = missing.remove(message["topic"].as_str().unwrap()) {
                assert_eq!(order(&text), expected, "{text}");
            }
        }
    }
    sim.shutdown().await;
}

/// Every match once, with the taker's side and the price that the market had.
#[tokio::test]
async fn trades_are_complete() {
    let sim = bybit().await;
    let control = sim.control();
    for market in MARKETS {
        let mut client = open(&sim, market, &["publicTrade.BTCUSDT"]).await;
        let mut trades = Vec::new();
        let end = Instant::now() + Duration::from_secs(2);
        let collect = |message: &Value, trades: &mut Vec<Value>| {
            assert_eq!(message["type"], "snapshot");
            trades.extend(message["data"].as_array().unwrap().iter().cloned());
        };
        while Instant::now() < end {
            collect(&client.json().await, &mut trades);
        }
        settle(&control, &mut client, |message| {
            collect(message, &mut trades)
        })
        .await;
        // The market's number is the end of the exchange's id.
        let number = |trade: &Value| -> u64 {
            let id = trade["i"].as_str().unwrap();
            match id.rsplit_once('-') {
                Some((_, end)) => u64::from_str_radix(end, 16).unwrap(),
                None => id.parse::<u64>().unwrap() - 2_290_000_000_000_000_000,
            }
        };
        let first = number(&trades[0]);
        let truth = control.trades(market, "BTCUSDT", first, 100_000);
        assert!(
            trades.len() > 10 && truth.len() == trades.len(),
            "{market:?}"
        );
        for (trade, truth) in trades.iter().zip(&truth) {
            assert_eq!(number(trade), truth.id);
            let side = if truth.is_buyer_maker { "Sell" } else { "Buy" };
            assert_eq!(trade["S"], side);
            assert_eq!(trade["T"], truth.ts_ms);
            for (name, expected) in [("p", &truth.price), ("v", &truth.qty)] {
                let found: Decimal = trade[name].as_str().unwrap().parse().unwrap();
                assert_eq!(found, expected.parse::<Decimal>().unwrap());
            }
        }
        control.resume();
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn linear_tickers_are_changes_and_spot_tickers_are_whole() {
    let sim = bybit().await;
    let topic = "tickers.BTCUSDT";
    let mut linear = open(&sim, Segment::Linear, &[topic]).await;
    let whole = linear.json().await;
    assert_eq!(whole["type"], "snapshot");
    let names = whole["data"].as_object().unwrap().len();
    let mut merged = whole["data"].clone();
    let mut is_partial = false;
    for _ in 0..30 {
        let delta = linear.json().await;
        assert_eq!(delta["type"], "delta");
        let fields = delta["data"].as_object().unwrap();
        assert!(fields.len() > 1 && fields["symbol"] == "BTCUSDT");
        is_partial |= fields.len() < names;
        for (name, value) in fields {
            assert!(
                name == "symbol" || merged[name] != *value,
                "{name} is no news"
            );
            merged[name] = value.clone();
        }
    }
    assert!(is_partial);
    let mut second = open(&sim, Segment::Linear, &[topic]).await;
    assert_eq!(second.json().await["type"], "snapshot");
    let mut spot = open(&sim, Segment::Spot, &[topic]).await;
    for _ in 0..3 {
        let message = spot.json().await;
        assert_eq!(message["type"], "snapshot");
        let fields = message["data"].as_object().unwrap();
        assert!(fields.contains_key("lastPrice") && !fields.contains_key("bid1Price"));
    }
    sim.shutdown().await;
}

/// Market time runs sixty times as fast: minutes end while the test looks on.
#[tokio::test]
async fn each_bar_is_confirmed_once() {
    let config = SimConfig {
        time_scale: 60.0,
        intensity: 0.2,
        ..SimConfig::default()
    };
    let sim = bybit_with(config).await;
    let control = sim.control();
    for market in MARKETS {
        let mut client = open(&sim, market, &["kline.1.BTCUSDT"]).await;
        let mut closed: Vec<Value> = Vec::new();
        while closed.len() < 4 {
            let message = client.json().await;
            for bar in message["data"].as_array().unwrap() {
                assert_eq!(bar["interval"], "1");
                if bar["confirm"] == true {
                    closed.push(bar.clone());
                }
            }
        }
        let starts: Vec<i64> = closed
            .iter()
            .map(|bar| bar["start"].as_i64().unwrap())
            .collect();
        assert!(
            starts.windows(2).all(|pair| pair[1] == pair[0] + 60_000),
            "{starts:?}"
        );
        let range = TimeRange {
            start_ms: Some(starts[0]),
            end_ms: Some(starts[3]),
            limit: 10,
        };
        let truth = control.klines(market, "BTCUSDT", Interval::M1, range);
        for (bar, truth) in closed.iter().zip(&truth) {
            for (name, expected) in [
                ("open", &truth.ohlc[0]),
                ("high", &truth.ohlc[1]),
                ("low", &truth.ohlc[2]),
                ("close", &truth.ohlc[3]),
                ("volume", &truth.volume),
                ("turnover", &truth.quote_volume),
            ] {
                let found: Decimal = bar[name].as_str().unwrap().parse().unwrap();
                assert_eq!(
                    found,
                    expected.parse::<Decimal>().unwrap(),
                    "{name} of {bar}"
                );
            }
        }
    }
    sim.shutdown().await;
}

/// A quiet touch is told again after three seconds with the same update id.
#[tokio::test]
async fn the_touch_is_repeated() {
    let config = SimConfig {
        intensity: 0.001,
        ..SimConfig::default()
    };
    let sim = bybit_with(config).await;
    let mut client = open(&sim, Segment::Spot, &["orderbook.1.ETHBTC"]).await;
    let mut last = client.json().await["data"]["u"].as_u64().unwrap();
    let mut is_repeated = false;
    for _ in 0..20 {
        let message = client.json().await;
        assert_eq!(message["type"], "snapshot");
        assert_eq!(message["data"]["b"].as_array().unwrap().len(), 1);
        let update = message["data"]["u"].as_u64().unwrap();
        assert!(update == last || update == last + 1);
        is_repeated |= update == last;
        last = update;
        if is_repeated {
            break;
        }
    }
    assert!(is_repeated);
    sim.shutdown().await;
}

#[tokio::test]
async fn faults_strike() {
    let sim = bybit().await;
    let control = sim.control();
    let mut client = open(&sim, Segment::Linear, &["orderbook.200.BTCUSDT"]).await;
    let mut book = Book::default();
    book.take(&client.json().await);
    control.inject("gap:market=usdm,symbol=BTCUSDT".parse().unwrap());
    while book.gaps == 0 {
        book.take(&client.json().await);
    }
    // The way back: leave the topic and take it again.
    ask(&mut client, "unsubscribe", &["orderbook.200.BTCUSDT"]).await;
    subscribe(&mut client, &["orderbook.200.BTCUSDT"]).await;
    book.take(&client.json().await);
    assert_eq!(book.images, 2);

    control.inject("429:path=/v5/market/kline,count=1".parse().unwrap());
    let target = "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1";
    let limited = get(&sim, REST, target).await;
    assert_eq!(
        (limited.status, limited.json()["retCode"].as_i64()),
        (429, Some(10_006))
    );
    assert_eq!(get(&sim, REST, target).await.status, 200);
    control.inject("http:status=403,count=1".parse().unwrap());
    let shut_out = get(&sim, REST, target).await;
    assert!(shut_out.status == 403 && shut_out.body.contains("too frequent"));

    control.inject("maintenance:market=usdm,for=2s".parse().unwrap());
    assert_eq!(client.end().await, Some(1001));
    let down = get(&sim, REST, "/v5/market/tickers?category=linear").await;
    assert_eq!(
        (down.status, down.json()["retCode"].as_i64()),
        (503, Some(10_019))
    );
    let status = get(&sim, REST, "/v5/system/status").await.json();
    assert_eq!(status["result"]["list"][0]["state"], "ongoing");
    assert_eq!(get(&sim, REST, target).await.status, 200);
    sim.shutdown().await;
}
