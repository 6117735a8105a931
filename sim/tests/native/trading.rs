//! Trading at Binance: requests and answers as the documents have them, private streams, faults.

use std::time::{Duration, Instant};

use crate::support::*;
use bookwire_sim::{AccountTruth, Exchange, FaultSpec, Segment, Sim, SimConfig};
use hmac::{Hmac, KeyInit, Mac};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SPOT_API: &str = "ws-api.binance.com:443";

async fn binance(config: SimConfig) -> Sim {
    sim(SimConfig {
        exchanges: vec![Exchange::Binance],
        seed: 7,
        ..config
    })
    .await
}

fn sign(secret: &str, payload: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(payload.as_bytes());
    let tag = mac.finalize().into_bytes();
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A customer with a key.
struct User<'a> {
    sim: &'a Sim,
    host: &'static str,
    key: String,
    secret: String,
}

impl<'a> User<'a> {
    fn new(sim: &'a Sim, host: &'static str) -> Self {
        Self::of(sim, host, &sim.endpoints()["binance"]["credentials"])
    }

    fn of(sim: &'a Sim, host: &'static str, keys: &Value) -> Self {
        let text = |name: &str| keys[name].as_str().unwrap().to_owned();
        Self {
            sim,
            host,
            key: text("api_key"),
            secret: text("secret"),
        }
    }

    fn now(&self) -> i64 {
        self.sim.control().now_ms()
    }

    /// A signed request; `None` where the connection ends without an answer.
    async fn send(&self, method: &str, path: &str, query: &str) -> Option<Answer> {
        let mut payload = format!("{query}&timestamp={}", self.now());
        payload = payload.trim_start_matches('&').to_owned();
        let tag = sign(&self.secret, &payload);
        self.raw(method, path, &format!("{payload}&signature={tag}"))
            .await
    }

    async fn raw(&self, method: &str, path: &str, query: &str) -> Option<Answer> {
        let url = self.sim.url(self.host).unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let mut socket = TcpStream::connect(address).await.unwrap();
        let (target, body) = match method {
            "GET" | "DELETE" => (format!("{path}?{query}"), ""),
            _ => (path.to_owned(), query),
        };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-MBX-APIKEY: {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            self.key,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let read = socket.read_to_string(&mut text);
        let read = tokio::time::timeout(PATIENCE, read).await.unwrap();
        if read.is_err() || text.is_empty() {
            return None;
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Answer {
            status: status.parse().unwrap(),
            headers,
            body: body.to_owned(),
        })
    }

    async fn ok(&self, method: &str, path: &str, query: &str) -> Value {
        let answer = self.send(method, path, query).await.unwrap();
        assert_eq!(
            answer.status, 200,
            "{method} {path} {query}: {}",
            answer.body
        );
        answer.json()
    }

    /// Status and code of a refusal.
    async fn refused(&self, method: &str, path: &str, query: &str) -> (u16, i64) {
        let answer = self.send(method, path, query).await.unwrap();
        assert_ne!(
            answer.status, 200,
            "{method} {path} {query}: {}",
            answer.body
        );
        (answer.status, answer.code())
    }

    /// Signed parameters of a request over WebSocket.
    fn params(&self, mut params: Value) -> Value {
        params["apiKey"] = self.key.as_str().into();
        params["timestamp"] = self.now().into();
        // A JSON object lists its names in order.
        let pairs = params.as_object().unwrap().iter().map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={value}")
        });
        let payload = pairs.collect::<Vec<_>>().join("&");
        params["signature"] = sign(&self.secret, &payload).into();
        params
    }

    /// A connection that hears of the spot account.
    async fn spot_stream(&self) -> Client {
        let mut client = Client::open(self.sim, SPOT_API, "/ws-api/v3").await;
        let request = json!({"id": "s", "method": "userDataStream.subscribe.signature",
            "params": self.params(json!({}))});
        client.send(&request.to_string()).await;
        let answer = client.json().await;
        assert_eq!(answer["result"]["subscriptionId"], 0, "{answer}");
        client
    }

    fn truth(&self) -> AccountTruth {
        self.sim.control().accounts().remove(0)
    }

    /// Best bid.
    fn bid(&self, market: Segment) -> Decimal {
        let book = self.sim.control().book(market, "BTCUSDT").unwrap();
        book.bids[0].0.parse().unwrap()
    }
}

fn fault(text: &str) -> FaultSpec {
    text.parse().unwrap()
}

const ORDER: &str = "/api/v3/order";

#[tokio::test]
async fn a_spot_order_lives_as_documented() {
    let sim = binance(SimConfig::default()).await;
    let user = User::new(&sim, SPOT_REST);
    let mut stream = user.spot_stream().await;
    let price = user.bid(Segment::Spot) - Decimal::from(400);
    let limit =
        format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price={price}");
    let first = format!("{limit}&newClientOrderId=mine-1");
    let answer = user.send("POST", ORDER, &first).await.unwrap();
    assert_eq!(answer.headers["x-mbx-order-count-10s"], "1");
    assert_eq!(answer.headers["x-mbx-order-count-1d"], "1");
    let placed = answer.json();
    assert_eq!(placed["status"], "NEW", "{placed}");
    assert_eq!(placed["fills"], json!([]));
    let id = u64_of(&placed, "orderId");
    let told = stream.json().await["event"].clone();
    let fields = ["e", "x", "X", "c", "i", "w", "t"];
    let expected = json!(["executionReport", "NEW", "NEW", "mine-1", id, false, -1]);
    let mut seen: Vec<Value> = fields.iter().map(|name| told[name].clone()).collect();
    // It goes into the book right after it was accepted.
    seen[5] = false.into();
    assert_eq!(Value::from(seen), expected, "{told}");
    let told = stream
        .find(|it| it["event"]["e"] == "outboundAccountPosition")
        .await;
    let usdt = told["event"]["B"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["a"] == "USDT");
    let locked: Decimal = usdt.unwrap()["l"].as_str().unwrap().parse().unwrap();
    assert_eq!(locked, price * Decimal::new(1, 2));

    assert_eq!(user.refused("POST", ORDER, &first).await, (400, -2010));
    // It becomes smaller where it stands, under another name.
    let amend = format!("symbol=BTCUSDT&orderId={id}&newQty=0.004&newClientOrderId=mine-2");
    let amended = user
        .ok("PUT", "/api/v3/order/amend/keepPriority", &amend)
        .await;
    assert_eq!(amended["amendedOrder"]["qty"], "0.00400000", "{amended}");
    let told = stream.find(|it| it["event"]["x"] == "REPLACED").await;
    assert_eq!(told["event"]["c"], "mine-2");
    assert_eq!(told["event"]["C"], "mine-1");
    // It is replaced, and the new one is cancelled under a name.
    let replace = format!("{limit}&cancelReplaceMode=STOP_ON_FAILURE&cancelOrderId={id}");
    let replaced = user
        .ok("POST", "/api/v3/order/cancelReplace", &replace)
        .await;
    assert_eq!(replaced["cancelResult"], "SUCCESS", "{replaced}");
    let failed = user
        .send("POST", "/api/v3/order/cancelReplace", &replace)
        .await
        .unwrap();
    assert_eq!((failed.status, failed.code()), (400, -2022));
    assert_eq!(failed.json()["data"]["newOrderResult"], "NOT_ATTEMPTED");
    let second = u64_of(&replaced["newOrderResponse"], "orderId");
    let cancel = format!("symbol=BTCUSDT&orderId={second}&newClientOrderId=bye");
    let gone = user.ok("DELETE", ORDER, &cancel).await;
    assert_eq!(
        (&gone["clientOrderId"], &gone["status"]),
        (&json!("bye"), &json!("CANCELED"))
    );
    let told = stream.find(|it| it["event"]["c"] == "bye").await;
    assert_eq!(
        told["event"]["C"],
        replaced["newOrderResponse"]["clientOrderId"]
    );
    assert_eq!(user.refused("DELETE", ORDER, &cancel).await, (400, -2011));

    // A market order: its fills are the answer, the stream's and the truth's.
    let market = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.002";
    let bought = user.ok("POST", ORDER, market).await;
    assert_eq!(bought["status"], "FILLED");
    let trade = stream.find(|it| it["event"]["x"] == "TRADE").await["event"].clone();
    let fill = &bought["fills"][0];
    assert_eq!(
        (&trade["t"], &trade["L"]),
        (&fill["tradeId"], &fill["price"])
    );
    assert_eq!(
        (&trade["n"], &trade["N"]),
        (&fill["commission"], &json!("BTC"))
    );
    let truth = user.truth();
    let trades = user.ok("GET", "/api/v3/myTrades", "symbol=BTCUSDT").await;
    assert_eq!(trades.as_array().unwrap().len(), truth.fills.len());
    assert_eq!(trades[0]["id"], truth.fills[0].trade_id);
    let account = user
        .ok("GET", "/api/v3/account", "omitZeroBalances=true")
        .await;
    for row in account["balances"].as_array().unwrap() {
        let number = |name: &str| -> Decimal { row[name].as_str().unwrap().parse().unwrap() };
        let mut known = truth
            .balances
            .iter()
            .filter(|it| it.market == Some(Segment::Spot));
        let known = known.find(|it| row["asset"] == it.asset).unwrap();
        assert_eq!(number("free") + number("locked"), known.total);
    }
    let all = user.ok("GET", "/api/v3/allOrders", "symbol=BTCUSDT").await;
    let states: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["CANCELED", "CANCELED", "FILLED"]);
    sim.shutdown().await;
}

#[tokio::test]
async fn refusals_have_the_documents_codes() {
    let sim = binance(SimConfig::default()).await;
    let user = User::new(&sim, SPOT_REST);
    let base = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC";
    for (query, code) in [
        (format!("{base}&quantity=0.01&price=60000.001"), -1013),
        (format!("{base}&quantity=0.01&price=60000.000000001"), -1111),
        (format!("{base}&quantity=0.000001&price=60000"), -1013),
        (format!("{base}&quantity=0.00002&price=60000"), -1013),
        (format!("{base}&quantity=9&price=60000"), -2010),
        (format!("{base}&quantity=x&price=60000"), -1100),
        (format!("{base}&quantity=0.01"), -1102),
        (
            format!("{base}&quantity=0.01&price=60000&stopPrice=1"),
            -1106,
        ),
        ("symbol=BTCUSDT&side=UP&type=LIMIT".to_owned(), -1117),
        ("symbol=BTCUSDT&side=BUY&type=BEST".to_owned(), -1116),
        (
            "symbol=NOUSDT&side=BUY&type=MARKET&quantity=1".to_owned(),
            -1121,
        ),
        (
            "symbol=GONEUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=900&price=0.04"
                .to_owned(),
            -2010,
        ),
        (
            "symbol=ETHBTC&side=SELL&type=STOP_LOSS&quantity=1&stopPrice=0.01".to_owned(),
            -2010,
        ),
        (
            "symbol=BTCUSDT&side=SELL&type=STOP_LOSS&quantity=1&stopPrice=90000".to_owned(),
            -2010,
        ),
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT_MAKER&quantity=0.01&price=90000".to_owned(),
            -2010,
        ),
    ] {
        assert_eq!(
            user.refused("POST", ORDER, &query).await,
            (400, code),
            "{query}"
        );
        let tested = user.refused("POST", "/api/v3/order/test", &query).await;
        assert_eq!(tested, (400, code), "{query}");
    }
    assert!(user.truth().orders.is_empty());
    assert_eq!(
        user.refused("GET", ORDER, "symbol=BTCUSDT&orderId=1").await,
        (400, -2013)
    );

    // Keys, clocks and signatures.
    let answer = user
        .raw("GET", "/api/v3/account", "timestamp=1")
        .await
        .unwrap();
    assert_eq!((answer.status, answer.code()), (400, -1102));
    let late = format!("timestamp={}", user.now() - 6_000);
    let signed = format!("{late}&signature={}", sign(&user.secret, &late));
    assert_eq!(
        user.raw("GET", "/api/v3/account", &signed)
            .await
            .unwrap()
            .code(),
        -1021
    );
    let now = format!("timestamp={}", user.now());
    let wrong = format!("{now}&signature={}", sign("other", &now));
    assert_eq!(
        user.raw("GET", "/api/v3/account", &wrong)
            .await
            .unwrap()
            .code(),
        -1022
    );
    let keys = sim.endpoints()["binance"]["credentials"].clone();
    let reader = User::of(&sim, SPOT_REST, &keys["read_only"]);
    reader.ok("GET", "/api/v3/account", "").await;
    let market = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.002";
    assert_eq!(reader.refused("POST", ORDER, market).await, (401, -2015));
    let path = "/sapi/v1/account/apiRestrictions";
    assert_eq!(
        reader.ok("GET", path, "").await["enableSpotAndMarginTrading"],
        false
    );
    let withdrawing = User::of(&sim, SPOT_REST, &keys["withdrawing"]);
    assert_eq!(
        withdrawing.ok("GET", path, "").await["enableWithdrawals"],
        true
    );
    let stranger = User {
        key: "a".repeat(64),
        ..User::new(&sim, SPOT_REST)
    };
    assert_eq!(
        stranger.refused("GET", "/api/v3/account", "").await,
        (401, -2015)
    );

    let futures = User::new(&sim, USDM_REST);
    let above = futures.bid(Segment::Linear) + Decimal::from(400);
    let base = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC";
    for (query, code) in [
        (format!("{base}&quantity=0.01&price=60000.05"), -1111),
        (format!("{base}&quantity=0.0001&price=60000"), -1111),
        (format!("{base}&quantity=0.001&price=1000"), -4164),
        (format!("{base}&quantity=90&price=60000"), -2019),
        (
            format!("{base}&quantity=1&price=60000&reduceOnly=true"),
            -2022,
        ),
        (
            format!("{base}&quantity=1&price=60000&positionSide=LONG"),
            -4061,
        ),
        (
            format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTX&quantity=1&price={above}"),
            -5022,
        ),
        (format!("{base}&quantity=0.01&price=90000"), -4016),
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=FOK&quantity=1&price=50000".to_owned(),
            -5021,
        ),
        (
            "symbol=BTCUSDT&side=BUY&type=STOP_MARKET&quantity=1&stopPrice=90000".to_owned(),
            -4120,
        ),
    ] {
        let refused = futures.refused("POST", "/fapi/v1/order", &query).await;
        assert_eq!(refused, (400, code), "{query}");
    }
    let leverage = "symbol=BTCUSDT&leverage=126";
    assert_eq!(
        futures.refused("POST", "/fapi/v1/leverage", leverage).await,
        (400, -4028)
    );
    let same = "symbol=BTCUSDT&marginType=CROSSED";
    assert_eq!(
        futures.refused("POST", "/fapi/v1/marginType", same).await,
        (400, -4046)
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn orders_are_counted() {
    let mut config = SimConfig::default();
    config.spot.rest.orders_per_ten_seconds = 3;
    let sim = binance(config).await;
    let user = User::new(&sim, SPOT_REST);
    let price = user.bid(Segment::Spot) - Decimal::from(400);
    let limit =
        format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price={price}");
    let mut codes = Vec::new();
    // A window may end in between.
    for _ in 0..8 {
        let answer = user.send("POST", ORDER, &limit).await.unwrap();
        if answer.status == 429 {
            assert!(answer.headers["retry-after"].parse::<u64>().unwrap() <= 10);
            codes.push(answer.code());
        }
    }
    assert!(
        codes.len() >= 2 && codes.iter().all(|code| *code == -1015),
        "{codes:?}"
    );
    // Cancelling is always possible.
    user.ok("DELETE", "/api/v3/openOrders", "symbol=BTCUSDT")
        .await;
    sim.shutdown().await;
}

#[tokio::test]
async fn futures_have_positions_conditional_orders_and_a_stream() {
    let sim = binance(SimConfig::default()).await;
    let user = User::new(&sim, USDM_REST);
    let key = user
        .raw("POST", "/fapi/v1/listenKey", "")
        .await
        .unwrap()
        .json();
    let key = key["listenKey"].as_str().unwrap().to_owned();
    let path = format!("/private/ws?listenKey={key}");
    let mut stream = Client::open(&sim, USDM_WS, &path).await;
    let chosen = format!("{path}&events=ALGO_UPDATE");
    let mut algos = Client::open(&sim, USDM_WS, &chosen).await;

    user.ok("POST", "/fapi/v1/leverage", "symbol=BTCUSDT&leverage=10")
        .await;
    let told = stream.json().await;
    assert_eq!(told["ac"], json!({"s": "BTCUSDT", "l": 10}));
    let market = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.05";
    let placed = user.ok("POST", "/fapi/v1/order", market).await;
    assert_eq!(
        (&placed["status"], &placed["executedQty"]),
        (&json!("NEW"), &json!("0.000"))
    );
    assert!(placed.get("avgPrice").is_none());
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "ACCOUNT_UPDATE") {
        kinds.push(stream.json().await["e"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        kinds[..3],
        ["ORDER_TRADE_UPDATE", "TRADE_LITE", "ORDER_TRADE_UPDATE"]
    );
    let id = u64_of(&placed, "orderId");
    let query = format!("symbol=BTCUSDT&orderId={id}");
    let filled = user.ok("GET", "/fapi/v1/order", &query).await;
    assert_eq!(filled["status"], "FILLED");
    assert_ne!(filled["avgPrice"], "0.0");
    let risk = user.ok("GET", "/fapi/v3/positionRisk", "").await;
    assert_eq!(risk[0]["positionAmt"], "0.050");
    let older = user
        .ok("GET", "/fapi/v2/positionRisk", "symbol=BTCUSDT")
        .await;
    assert_eq!(older[0]["leverage"], "10");

    // A stop at the price: it becomes an order with a number of its own, and closes the position.
    let bid = user.bid(Segment::Linear);
    let level = bid - Decimal::from(2);
    let stop = format!(
        "algoType=CONDITIONAL&symbol=BTCUSDT&side=SELL&type=STOP_MARKET&triggerPrice={level}&\
         closePosition=true&clientAlgoId=stop-1"
    );
    let placed = user.ok("POST", "/fapi/v1/algoOrder", &stop).await;
    assert_eq!(placed["algoStatus"], "NEW", "{placed}");
    sim.control().set_intensity(30.0);
    let mut states = Vec::new();
    let last = loop {
        let told = algos.json().await;
        assert_eq!(told["e"], "ALGO_UPDATE");
        states.push(told["o"]["X"].as_str().unwrap().to_owned());
        if states.last().is_some_and(|state| state == "FINISHED") {
            break told;
        }
    };
    assert_eq!(states, ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]);
    let live: u64 = last["o"]["ai"].as_str().unwrap().parse().unwrap();
    assert_ne!(live, u64_of(&placed, "algoId"));
    let query = format!("symbol=BTCUSDT&orderId={live}");
    let order = user.ok("GET", "/fapi/v1/order", &query).await;
    assert_eq!(
        (&order["status"], &order["executedQty"]),
        (&json!("FILLED"), &json!("0.050"))
    );
    assert!(user.truth().positions.is_empty());
    let income = user
        .ok("GET", "/fapi/v1/income", "incomeType=COMMISSION")
        .await;
    assert!(income.as_array().unwrap().len() >= 2, "{income}");

    // The key ends, and its connections with it.
    user.raw("DELETE", "/fapi/v1/listenKey", "").await.unwrap();
    stream.end().await;
    let renewed = user.raw("PUT", "/fapi/v1/listenKey", "").await.unwrap();
    assert_eq!(renewed.code(), -1125);
    sim.shutdown().await;
}

#[tokio::test]
async fn orders_over_websocket() {
    let sim = binance(SimConfig::default()).await;
    let user = User::new(&sim, SPOT_REST);
    let mut client = user.spot_stream().await;
    let order = user.params(json!({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET",
        "quantity": "0.002", "newOrderRespType": "ACK"}));
    let request = json!({"id": 7, "method": "order.place", "params": order});
    client.send(&request.to_string()).await;
    let answer = client.find(|it| it["id"] == 7).await;
    assert_eq!(answer["status"], 200, "{answer}");
    assert!(answer["result"].get("fills").is_none());
    assert_eq!(user.truth().fills.len(), 1);
    let mut bad = user.params(json!({"symbol": "BTCUSDT"}));
    bad["symbol"] = "ETHUSDT".into();
    for (id, method, params, code) in [
        (8, "openOrders.status", bad, -1022),
        (9, "order.fly", json!({}), -1020),
        (10, "session.logon", user.params(json!({})), -4056),
        (11, "userDataStream.subscribe", json!({}), -2015),
        (
            12,
            "userDataStream.subscribe.signature",
            user.params(json!({})),
            -2035,
        ),
    ] {
        let request = json!({"id": id, "method": method, "params": params});
        client.send(&request.to_string()).await;
        let answer = client.find(|it| it["id"] == id).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    client.send("nonsense").await;
    let answer = client
        .find(|it| it["id"].is_null() && it.get("status").is_some())
        .await;
    assert_eq!(answer["error"]["code"], -1135);
    let end = json!({"id": 13, "method": "userDataStream.unsubscribe", "params": {}});
    client.send(&end.to_string()).await;
    assert_eq!(client.find(|it| it["id"] == 13).await["result"], json!({}));
    sim.shutdown().await;
}

#[tokio::test]
async fn faults_strike_orders_and_their_answers() {
    let sim = binance(SimConfig::default()).await;
    let user = User::new(&sim, SPOT_REST);
    let control = sim.control();
    let price = user.bid(Segment::Spot) - Decimal::from(400);
    let order = |name: &str| {
        format!(
            "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price={price}&\
             newClientOrderId={name}"
        )
    };
    let has = |name: &str| user.truth().orders.iter().any(|it| it.client_id == name);
    control.inject(fault("cut-request:path=/api/v3/order"));
    assert!(user.send("POST", ORDER, &order("cut")).await.is_none());
    assert!(!has("cut"));
    control.inject(fault("drop-reply:path=/api/v3/order"));
    assert!(user.send("POST", ORDER, &order("dropped")).await.is_none());
    assert!(has("dropped"));
    // What is known of it is asked for by its name.
    let query = "symbol=BTCUSDT&origClientOrderId=dropped";
    assert_eq!(user.ok("GET", ORDER, query).await["status"], "NEW");
    control.inject(fault("fail-reply:path=/api/v3/order"));
    let answer = user.send("POST", ORDER, &order("failed")).await.unwrap();
    assert_eq!((answer.status, has("failed")), (503, true));
    let before = Instant::now();
    let id = control.inject(fault("late-reply:ms=300,path=/api/v3/order"));
    user.ok("POST", ORDER, &order("late")).await;
    assert!(before.elapsed() >= Duration::from_millis(300));
    control.clear(id);
    let id = control.inject(fault("reject-orders:market=spot"));
    assert_eq!(
        user.refused("POST", ORDER, &order("rejected")).await,
        (400, -2010)
    );
    control.clear(id);
    assert!(!has("rejected"));

    // The same over WebSocket: the connection ends.
    let mut client = user.spot_stream().await;
    control.inject(fault("drop-reply:path=order.place"));
    let params = json!({"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
        "quantity": "0.01", "price": price.to_string(), "newClientOrderId": "socket"});
    let request = json!({"id": 1, "method": "order.place", "params": user.params(params)});
    client.send(&request.to_string()).await;
    client.end().await;
    assert!(has("socket"));
    sim.shutdown().await;
}

#[tokio::test]
async fn faults_strike_private_streams() {
    let sim = binance(SimConfig::default()).await;
    let user = User::new(&sim, SPOT_REST);
    let control = sim.control();
    let mut stream = user.spot_stream().await;
    let price = user.bid(Segment::Spot) - Decimal::from(400);
    let limit =
        format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price={price}");
    let reports = |events: Vec<Value>| -> Vec<u64> {
        let reports = events
            .iter()
            .filter(|it| it["event"]["e"] == "executionReport");
        reports.map(|it| u64_of(&it["event"], "I")).collect()
    };
    let quiet = Duration::from_millis(300);
    control.inject(fault("drop:stream=order,count=1"));
    user.ok("POST", ORDER, &limit).await;
    assert!(reports(stream.drain(quiet).await).is_empty());
    control.inject(fault("duplicate:stream=order,count=1"));
    user.ok("POST", ORDER, &limit).await;
    let told = reports(stream.drain(quiet).await);
    assert!(told.len() == 2 && told[0] == told[1], "{told:?}");
    control.inject(fault("reorder:stream=order,count=1"));
    user.ok("POST", ORDER, &limit).await;
    user.ok("POST", ORDER, &limit).await;
    let told = reports(stream.drain(quiet).await);
    assert!(told.len() == 2 && told[0] > told[1], "{told:?}");
    control.inject(fault("disconnect:stream=private"));
    assert_eq!(stream.end().await, None);

    let mut stream = user.spot_stream().await;
    let id = control.inject(fault("private-outage:market=spot"));
    assert_eq!(stream.end().await, None);
    let mut client = Client::open(&sim, SPOT_API, "/ws-api/v3").await;
    let request = json!({"id": "s", "method": "userDataStream.subscribe.signature",
        "params": user.params(json!({}))});
    client.send(&request.to_string()).await;
    assert_eq!(client.json().await["status"], 503);
    user.ok("POST", ORDER, &limit).await;
    control.clear(id);

    // A restart cuts all there is and forgets nothing.
    let orders = user.truth().orders.len();
    assert_eq!(orders, 5);
    let mut public = Client::open(&sim, SPOT_WS, "/ws/btcusdt@trade").await;
    control.inject(fault("restart:ms=400"));
    public.end().await;
    client.end().await;
    let address = sim.url(SPOT_REST).unwrap().replace("http://", "");
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let _ = socket
        .write_all(b"GET /api/v3/time HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut nothing = Vec::new();
    let read = socket.read_to_end(&mut nothing).await;
    assert!(read.is_err() || nothing.is_empty());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let open = user.ok("GET", "/api/v3/openOrders", "symbol=BTCUSDT").await;
    assert_eq!(open.as_array().unwrap().len(), orders);
    sim.shutdown().await;
}
