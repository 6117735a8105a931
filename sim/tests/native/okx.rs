//! OKX's protocol, seen by a client: lists, channels and their answers, books, limits, faults.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Answer, Client, get, get_json, sim};
use bookwire_sim::market::{Interval, TimeRange};
use bookwire_sim::{Exchange, FaultSpec, OkxLimits, Segment, Sim, SimConfig, SimControl};
use rust_decimal::Decimal;
use serde_json::{Value, json};

const REST: &str = "www.okx.com";
const WS: &str = "ws.okx.com:8443";

async fn okx(change: impl FnOnce(&mut SimConfig)) -> (Sim, SimControl) {
    let mut config = SimConfig {
        exchanges: vec![Exchange::Okx],
        seed: 7,
        okx: OkxLimits {
            connects_per_second: 100,
            ..OkxLimits::default()
        },
        ..SimConfig::default()
    };
    change(&mut config);
    let sim = sim(config).await;
    let control = sim.control().of(Exchange::Okx).unwrap();
    (sim, control)
}

async fn plain() -> (Sim, SimControl) {
    okx(|_| {}).await
}

async fn rows(sim: &Sim, target: &str) -> Vec<Value> {
    let body = get_json(sim, REST, &format!("/api/v5/{target}")).await;
    assert_eq!((&body["code"], &body["msg"]), (&json!("0"), &json!("")));
    body["data"].as_array().unwrap().clone()
}

fn number(value: &Value) -> Decimal {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.parse().unwrap()
}

fn whole(value: &Value) -> i64 {
    value.as_str().unwrap().parse().unwrap()
}

fn request(op: &str, channel: &str, symbol: &str) -> String {
    json!({"id": "1", "op": op, "args": [{"channel": channel, "instId": symbol}]}).to_string()
}

async fn subscribe(client: &mut Client, channel: &str, symbol: &str) {
    client.send(&request("subscribe", channel, symbol)).await;
    let ack = client.find(|message| message["event"] == "subscribe").await;
    assert_eq!(ack["arg"], json!({"channel": channel, "instId": symbol}));
    assert!(ack["connId"].is_string() && ack["id"] == "1");
}

/// The next push of a channel.
async fn push(client: &mut Client, channel: &str) -> Value {
    let is_it =
        |message: &Value| message["arg"]["channel"] == channel && message.get("data").is_some();
    client.find(is_it).await
}

/// A book kept as OKX documents it.
#[derive(Default)]
struct Book {
    seq: i64,
    bids: BTreeMap<Decimal, String>,
    asks: BTreeMap<Decimal, String>,
}

impl Book {
    /// False: a link is missing.
    fn take(&mut self, message: &Value) -> bool {
        let row = &message["data"][0];
        let (seq, prev) = (
            row["seqId"].as_i64().unwrap(),
            row["prevSeqId"].as_i64().unwrap(),
        );
        if message["action"] == "snapshot" {
            assert_eq!(prev, -1);
            *self = Self::default();
        } else if prev != self.seq {
            return false;
        }
        self.seq = seq;
        for (side, rows) in [
            (&mut self.bids, &row["bids"]),
            (&mut self.asks, &row["asks"]),
        ] {
            for row in rows.as_array().unwrap() {
                let text = format!("{}:{}", row[0].as_str().unwrap(), row[1].as_str().unwrap());
                match row[1] == "0" {
                    true => assert!(side.remove(&number(&row[0])).is_some(), "unknown {text}"),
                    false => {
                        side.insert(number(&row[0]), text);
                    }
                }
            }
        }
        assert!(self.bids.len() <= 400 && self.asks.len() <= 400);
        true
    }

    fn checksum(&self) -> i64 {
        let (bids, asks) = (self.bids.values().rev(), self.asks.values());
        let mut sides = [bids.take(25).collect::<Vec<_>>(), asks.take(25).collect()];
        let mut parts = Vec::new();
        for rank in 0..25 {
            parts.extend(sides.iter_mut().filter_map(|side| side.get(rank).copied()));
        }
        let joined: Vec<&str> = parts.into_iter().map(String::as_str).collect();
        let mut crc = flate2::Crc::new();
        crc.update(joined.join(":").as_bytes());
        i64::from(crc.sum() as i32)
    }
}

#[tokio::test]
async fn lists_what_okx_lists() {
    let (sim, control) = plain().await;
    let spot = rows(&sim, "public/instruments?instType=SPOT").await;
    let swaps = rows(&sim, "public/instruments?instType=SWAP").await;
    for (market, list) in [(Segment::Spot, &spot), (Segment::Linear, &swaps)] {
        let names: Vec<&str> = list
            .iter()
            .map(|row| row["instId"].as_str().unwrap())
            .collect();
        assert_eq!(names, control.symbols(market));
    }
    let find = |list: &[Value], name: &str| {
        list.iter()
            .find(|row| row["instId"] == name)
            .unwrap()
            .clone()
    };
    let btc = find(&swaps, "BTC-USDT-SWAP");
    for (name, value) in [
        ("ctVal", "0.01"),
        ("ctMult", "1"),
        ("ctValCcy", "BTC"),
        ("lotSz", "0.01"),
        ("tickSz", "0.1"),
        ("settleCcy", "USDT"),
        ("uly", "BTC-USDT"),
        ("baseCcy", ""),
        ("ctType", "linear"),
        ("state", "live"),
    ] {
        assert_eq!(btc[name], value, "{name}");
    }
    let gone = find(&spot, "GONE-USDT");
    assert_eq!(
        (&gone["state"], &gone["ctVal"]),
        (&json!("suspend"), &json!(""))
    );
    assert_eq!(
        rows(&sim, "public/instruments?instType=FUTURES").await,
        Vec::<Value>::new()
    );
    assert_eq!(rows(&sim, "public/time").await.len(), 1);
    let rates = rows(&sim, "public/funding-rate?instId=ANY").await;
    assert_eq!(rates.len(), 4);
    let hours = whole(&rates[0]["nextFundingTime"]) - whole(&rates[0]["fundingTime"]);
    assert_eq!(hours, 8 * 3_600_000);
}

#[tokio::test]
async fn complains_as_okx_does() {
    let (sim, _) = plain().await;
    let check = |answer: Answer, status: u16, code: &str| {
        let body = answer.json();
        assert_eq!(
            (answer.status, body["code"].as_str().unwrap()),
            (status, code),
            "{body}"
        );
    };
    // Success by status alone would be a mistake.
    check(
        get(&sim, REST, "/api/v5/market/books?instId=NO-PE").await,
        200,
        "51001",
    );
    check(get(&sim, REST, "/api/v5/market/trades").await, 400, "50014");
    check(
        get(&sim, REST, "/api/v5/market/candles?instId=BTC-USDT&bar=7m").await,
        400,
        "51000",
    );
    check(get(&sim, REST, "/api/v5/no/such").await, 404, "404");
    let mut limited = None;
    for _ in 0..11 {
        limited = Some(get(&sim, REST, "/api/v5/public/time").await);
    }
    let limited = limited.unwrap();
    assert!(!limited.headers.contains_key("retry-after"));
    check(limited, 429, "50011");
    // Another endpoint has a purse of its own.
    assert_eq!(
        get(&sim, REST, "/api/v5/market/ticker?instId=BTC-USDT")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn channels_live_on_their_paths() {
    let (sim, _) = plain().await;
    let mut public = Client::open(&sim, WS, "/ws/v5/public").await;
    let mut business = Client::open(&sim, WS, "/ws/v5/business").await;
    let mut private = Client::open(&sim, WS, "/ws/v5/private").await;
    async fn check(client: &mut Client, channel: &str, symbol: &str, code: &str) {
        client.send(&request("subscribe", channel, symbol)).await;
        let answer = client.json().await;
        assert_eq!(
            (&answer["event"], &answer["code"]),
            (&json!("error"), &json!(code))
        );
        assert_eq!(answer["id"], "1");
    }
    check(&mut public, "candle1m", "BTC-USDT", "64001").await;
    check(&mut public, "trades-all", "BTC-USDT", "64001").await;
    check(&mut business, "trades", "BTC-USDT", "64002").await;
    check(&mut public, "ticker", "BTC-USDT", "60018").await;
    check(&mut public, "books", "BTC-USDX", "60018").await;
    check(&mut public, "mark-price", "BTC-USDT", "60018").await;
    check(&mut public, "books-l2-tbt", "BTC-USDT", "60029").await;
    check(&mut private, "orders", "BTC-USDT", "60011").await;
    public.send("{\"op\":\"dance\"}").await;
    assert_eq!(public.json().await["code"], "60012");
    public.send("ping").await;
    assert_eq!(public.text().await, "pong");
    // Each arg is answered by itself.
    public
        .send(
            &json!({"op": "subscribe", "args": [{"channel": "status"},
            {"channel": "trades", "instId": "NO-PE"}]})
            .to_string(),
        )
        .await;
    let status = public.json().await;
    assert_eq!(
        (&status["event"], &status["arg"]),
        (&json!("subscribe"), &json!({"channel": "status"}))
    );
    let text = public.json().await["msg"].as_str().unwrap().to_owned();
    assert!(
        text.contains("channel:trades,instId:NO-PE doesn't exist"),
        "{text}"
    );
}

#[tokio::test]
async fn books_chain_to_the_truth() {
    let (sim, control) = plain().await;
    for (market, symbol) in [
        (Segment::Spot, "BTC-USDT"),
        (Segment::Linear, "BTC-USDT-SWAP"),
    ] {
        let mut client = Client::open(&sim, WS, "/ws/v5/public").await;
        subscribe(&mut client, "books", symbol).await;
        let (mut book, mut steps) = (Book::default(), Vec::new());
        for _ in 0..20 {
            let before = book.seq;
            let message = push(&mut client, "books").await;
            assert_eq!(message["data"][0]["checksum"], 0);
            assert!(book.take(&message), "{message}");
            steps.push(book.seq - before);
        }
        // A second listener gets an image on the same chain.
        let mut other = Client::open(&sim, WS, "/ws/v5/public").await;
        subscribe(&mut other, "books", symbol).await;
        let mut same = Book::default();
        assert!(same.take(&push(&mut other, "books").await));
        control.pause();
        for (client, book) in [(&mut client, &mut book), (&mut other, &mut same)] {
            for message in client.drain(Duration::from_millis(400)).await {
                assert!(message["event"].is_string() || book.take(&message));
            }
        }
        assert_eq!(book.seq, same.seq);
        let truth = control.book(market, symbol).unwrap();
        assert!(truth.last_update_id as i64 >= book.seq);
        // Contracts of 0.01 BTC.
        let contract: Decimal = if market == Segment::Spot { "1" } else { "0.01" }
            .parse()
            .unwrap();
        for (ours, truth) in [
            (book.bids.values().rev().collect::<Vec<_>>(), &truth.bids),
            (book.asks.values().collect(), &truth.asks),
        ] {
            let shown: Vec<(Decimal, Decimal)> = ours
                .iter()
                .map(|text| text.split_once(':').unwrap())
                .map(|(price, size)| {
                    let size: Decimal = size.parse().unwrap();
                    (price.parse().unwrap(), size * contract)
                })
                .collect();
            let expected = crate::support::decimals(truth);
            assert_eq!(shown, expected[..expected.len().min(400)], "{symbol}");
        }
        // Ids are no counter.
        steps.sort_unstable();
        steps.dedup();
        assert!(steps.len() > 5, "{steps:?}");
        // The image by REST is on the same chain.
        let rest = &rows(&sim, &format!("market/books?instId={symbol}&sz=400")).await[0];
        assert!(rest["seqId"].as_i64().unwrap() >= book.seq);
        assert_eq!(rest["bids"].as_array().unwrap().len(), book.bids.len());
        control.resume();
    }
}

/// As announced: the first update names the one before it, and the image is had by REST.
#[tokio::test]
async fn a_book_can_begin_without_an_image() {
    let (sim, _) = okx(|config| config.okx.has_images = false).await;
    let mut client = Client::open(&sim, WS, "/ws/v5/public").await;
    subscribe(&mut client, "books", "BTC-USDT").await;
    let first = push(&mut client, "books").await;
    assert_eq!(first["action"], "update");
    let rest = &rows(&sim, "market/books?instId=BTC-USDT&sz=400").await[0];
    assert!(first["data"][0]["prevSeqId"].as_i64() <= rest["seqId"].as_i64());
}

#[tokio::test]
async fn checksums_are_real_where_asked_for() {
    let (sim, _) = okx(|config| config.okx.has_checksums = true).await;
    let mut client = Client::open(&sim, WS, "/ws/v5/public").await;
    subscribe(&mut client, "books", "ETH-USDT-SWAP").await;
    let mut book = Book::default();
    for _ in 0..20 {
        let message = push(&mut client, "books").await;
        assert!(book.take(&message));
        assert_eq!(message["data"][0]["checksum"], book.checksum());
    }
}

#[tokio::test]
async fn trades_are_merged_or_single() {
    let (sim, control) = plain().await;
    let mut public = Client::open(&sim, WS, "/ws/v5/public").await;
    let mut business = Client::open(&sim, WS, "/ws/v5/business").await;
    subscribe(&mut public, "trades", "BTC-USDT-SWAP").await;
    subscribe(&mut business, "trades-all", "BTC-USDT-SWAP").await;
    let mut merged = Vec::new();
    while merged.len() < 20 {
        merged.push(push(&mut public, "trades").await["data"][0].clone());
    }
    let last = whole(&merged[19]["tradeId"]);
    let first = whole(&merged[0]["tradeId"]);
    let mut single = Vec::new();
    while single
        .last()
        .is_none_or(|row: &Value| whole(&row["tradeId"]) < last)
    {
        single.push(push(&mut business, "trades-all").await["data"][0].clone());
    }
    let total = |rows: &[Value]| -> Decimal {
        let wanted = rows.iter().filter(|row| {
            let id = whole(&row["tradeId"]);
            id > first && id <= last
        });
        wanted.map(|row| number(&row["sz"])).sum()
    };
    assert_eq!(total(&merged), total(&single));
    // The answer by id is the same trades, in contracts of 0.01 BTC.
    let path = format!(
        "market/history-trades?instId=BTC-USDT-SWAP&type=1&after={}&limit=5",
        last + 1
    );
    let page = rows(&sim, &path).await;
    let ids: Vec<i64> = page.iter().map(|row| whole(&row["tradeId"])).collect();
    assert_eq!(ids, (last - 4..=last).rev().collect::<Vec<_>>());
    let truth = control.trades(Segment::Linear, "BTC-USDT-SWAP", last as u64, 1);
    let contract: Decimal = "0.01".parse().unwrap();
    assert_eq!(
        number(&page[0]["sz"]) * contract,
        truth[0].qty.parse::<Decimal>().unwrap()
    );
    assert_eq!(page[0]["side"] == "sell", truth[0].is_buyer_maker);
    // By time, both bounds outside.
    let ts = whole(&page[0]["ts"]);
    let path = format!(
        "market/history-trades?instId=BTC-USDT-SWAP&type=2&before={}&after={}",
        ts - 1,
        ts + 1
    );
    assert!(
        rows(&sim, &path)
            .await
            .iter()
            .all(|row| whole(&row["ts"]) == ts)
    );
    assert_eq!(
        rows(&sim, "market/trades?instId=BTC-USDT&limit=7")
            .await
            .len(),
        7
    );
}

#[tokio::test]
async fn bars_by_both_ways_equal_the_truth() {
    let (sim, control) = okx(|config| config.time_scale = 60.0).await;
    let mut client = Client::open(&sim, WS, "/ws/v5/business").await;
    subscribe(&mut client, "candle1m", "ETH-USDT-SWAP").await;
    let mut closed = Vec::new();
    while closed.len() < 2 {
        let row = push(&mut client, "candle1m").await["data"][0].clone();
        if row[8] == "1" {
            closed.push(row);
        }
    }
    let open_ms = whole(&closed[1][0]);
    let path = format!(
        "market/history-candles?instId=ETH-USDT-SWAP&bar=1m&before={}&after={}",
        open_ms - 60_001,
        open_ms + 1
    );
    let page = rows(&sim, &path).await;
    assert_eq!(page, [closed[1].clone(), closed[0].clone()]);
    let range = TimeRange {
        start_ms: Some(open_ms),
        end_ms: Some(open_ms),
        limit: 1,
    };
    let truth = &control.klines(Segment::Linear, "ETH-USDT-SWAP", Interval::M1, range)[0];
    let told = [1, 2, 3, 4, 6, 7].map(|at| number(&closed[1][at]));
    let [o, h, l, c] = &truth.ohlc;
    let expected = [o, h, l, c, &truth.volume, &truth.quote_volume];
    assert_eq!(told, expected.map(|text| text.parse::<Decimal>().unwrap()));
    // Contracts of 0.1 ETH.
    assert_eq!(
        number(&closed[1][5]) * "0.1".parse::<Decimal>().unwrap(),
        told[4]
    );
    for bar in ["1m", "5m", "15m", "30m", "1H", "4H", "1Dutc"] {
        let path = format!("market/candles?instId=BTC-USDT&bar={bar}&limit=3");
        let page = rows(&sim, &path).await;
        assert_eq!(page.len(), 3, "{bar}");
        assert!(whole(&page[0][0]) > whole(&page[1][0]), "newest first");
        assert_eq!(
            (&page[0][8], &page[1][8]),
            (&json!("0"), &json!("1")),
            "{bar}"
        );
    }
}

#[tokio::test]
async fn funding_mark_and_index_are_channels_of_their_own() {
    let (sim, _) = plain().await;
    let mut client = Client::open(&sim, WS, "/ws/v5/public").await;
    subscribe(&mut client, "funding-rate", "BTC-USDT-SWAP").await;
    let rate = push(&mut client, "funding-rate").await["data"][0].clone();
    assert_eq!(rate["nextFundingRate"], "");
    subscribe(&mut client, "mark-price", "BTC-USDT-SWAP").await;
    subscribe(&mut client, "index-tickers", "BTC-USDT").await;
    let mark = push(&mut client, "mark-price").await["data"][0].clone();
    let index = push(&mut client, "index-tickers").await["data"][0].clone();
    assert_eq!(index["instId"], "BTC-USDT");
    let ratio = number(&mark["markPx"]) / number(&index["idxPx"]);
    assert!(
        (ratio - Decimal::ONE).abs() < "0.05".parse().unwrap(),
        "{ratio}"
    );
    let past = rows(
        &sim,
        "public/funding-rate-history?instId=BTC-USDT-SWAP&limit=3",
    )
    .await;
    let times: Vec<i64> = past.iter().map(|row| whole(&row["fundingTime"])).collect();
    assert!(
        times
            .windows(2)
            .all(|pair| pair[0] - pair[1] == 8 * 3_600_000),
        "{times:?}"
    );
    assert!(number(&past[0]["realizedRate"]).abs() < Decimal::ONE);
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let (sim, _) = okx(|config| config.okx.silence = Duration::from_millis(300)).await;
    let mut quiet = Client::open(&sim, WS, "/ws/v5/public").await;
    let mut alive = Client::open(&sim, WS, "/ws/v5/public").await;
    for _ in 0..4 {
        alive.send("ping").await;
        assert_eq!(alive.text().await, "pong");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(quiet.end().await, Some(4004));
    alive.send("ping").await;
    assert_eq!(alive.text().await, "pong");
}

fn fault(text: &str) -> FaultSpec {
    text.parse().unwrap()
}

#[tokio::test]
async fn faults_strike_okx() {
    let (sim, control) = plain().await;
    let mut client = Client::open(&sim, WS, "/ws/v5/public").await;
    subscribe(&mut client, "books", "BTC-USDT-SWAP").await;
    let mut seq = push(&mut client, "books").await["data"][0]["seqId"].clone();
    control.inject(fault("gap:market=usdm,symbol=BTC-USDT-SWAP"));
    let mut gaps = 0;
    for _ in 0..8 {
        let row = push(&mut client, "books").await["data"][0].clone();
        gaps += u32::from(row["prevSeqId"] != seq);
        seq = row["seqId"].clone();
    }
    assert_eq!(gaps, 1);
    // Subscribing again begins with an image, whatever was before.
    client
        .send(&request("unsubscribe", "books", "BTC-USDT-SWAP"))
        .await;
    client
        .find(|message| message["event"] == "unsubscribe")
        .await;
    subscribe(&mut client, "books", "BTC-USDT-SWAP").await;
    assert_eq!(push(&mut client, "books").await["action"], "snapshot");

    control.inject(fault("429:path=/api/v5/market/books,count=1"));
    let limited = get(&sim, REST, "/api/v5/market/books?instId=BTC-USDT").await;
    assert_eq!(
        (limited.status, &limited.json()["code"]),
        (429, &json!("50011"))
    );
    control.inject(fault("malformed-rest:count=1"));
    let cut = get(&sim, REST, "/api/v5/public/time").await;
    assert!(serde_json::from_str::<Value>(&cut.body).is_err());
    control.inject(fault("stale-snapshot:count=1,age=1h"));
    let stale = &rows(&sim, "market/books?instId=BTC-USDT-SWAP&sz=5").await[0];
    assert!(stale["seqId"].as_i64() < seq.as_i64());

    control.inject(fault("server-shutdown:ms=50"));
    let notice = client.find(|message| message["event"] == "notice").await;
    assert_eq!(notice["code"], "64008");
    assert_eq!(client.end().await, Some(1001));

    let down = control.inject(fault("maintenance:market=spot"));
    let closed = get(&sim, REST, "/api/v5/market/books?instId=BTC-USDT").await;
    assert_eq!(
        (closed.status, &closed.json()["code"]),
        (503, &json!("50001"))
    );
    assert_eq!(
        get(&sim, REST, "/api/v5/market/books?instId=BTC-USDT-SWAP")
            .await
            .status,
        200
    );
    let told = rows(&sim, "system/status").await;
    assert_eq!((told.len(), &told[0]["state"]), (1, &json!("ongoing")));
    control.clear(down);
}

#[tokio::test]
async fn connections_are_counted_and_several_exchanges_run() {
    let sim = sim(SimConfig {
        okx: OkxLimits {
            connects_per_second: 1,
            ..OkxLimits::default()
        },
        faults: vec![fault("drop:exchange=binance")],
        ..SimConfig::default()
    })
    .await;
    let endpoints = sim.endpoints();
    assert!(endpoints["binance"]["hosts"]["api.binance.com"].is_string());
    assert!(endpoints["okx"]["hosts"][REST].is_string());
    let okx = sim.control().of(Exchange::Okx).unwrap();
    assert_eq!((okx.exchange(), okx.faults().len()), (Exchange::Okx, 0));
    assert_eq!(sim.control().faults().len(), 1);
    let url = format!("{}/ws/v5/public", sim.url(WS).unwrap());
    let first = tokio_tungstenite::connect_async(url.clone()).await;
    assert!(first.is_ok());
    let mut refused = 0;
    for _ in 0..3 {
        refused += u32::from(tokio_tungstenite::connect_async(url.clone()).await.is_err());
    }
    assert!(refused >= 2, "{refused}");
}
