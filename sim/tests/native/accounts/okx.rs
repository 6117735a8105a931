//! OKX.

use std::time::{Duration, Instant};

use bookwire_sim::{Exchange, FaultSpec, OkxLimits, Segment, Sim, SimConfig, SimControl};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{base64, send, tag};
use crate::support::{Client, sim};

const REST: &str = "www.okx.com";
const WS: &str = "ws.okx.com:8443";

struct Okx {
    sim: Sim,
    control: SimControl,
    key: Value,
}

fn number(value: &Value) -> Decimal {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.parse().unwrap()
}

impl Okx {
    async fn start() -> Self {
        let sim = sim(SimConfig {
            exchanges: vec![Exchange::Okx],
            seed: 7,
            okx: OkxLimits {
                connects_per_second: 100,
                ..OkxLimits::default()
            },
            ..SimConfig::default()
        })
        .await;
        let control = sim.control().of(Exchange::Okx).unwrap();
        let key = sim.endpoints()["okx"]["credentials"].clone();
        Self { sim, control, key }
    }

    fn headers(&self, key: &Value, signed: &str, late_ms: i64) -> Vec<(String, String)> {
        let time = jiff::Timestamp::from_millisecond(self.control.now_ms() - late_ms).unwrap();
        let time = format!("{time:.3}");
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        let sign = base64(&tag(&text("secret"), &format!("{time}{signed}")));
        vec![
            ("OK-ACCESS-KEY".to_owned(), text("api_key")),
            ("OK-ACCESS-PASSPHRASE".to_owned(), text("passphrase")),
            ("OK-ACCESS-TIMESTAMP".to_owned(), time),
            ("OK-ACCESS-SIGN".to_owned(), sign),
            ("Content-Type".to_owned(), "application/json".to_owned()),
        ]
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let target = format!("/api/v5/{path}");
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let signed = format!("{method}{target}{body}");
        let headers = self.headers(&self.key, &signed, 0);
        let (status, text) = send(&self.sim, REST, (method, &target, &body), &headers).await?;
        let answer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        Some((status, answer))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask("POST", path, &body).await.unwrap();
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Vec<Value> {
        let (status, answer) = self.ask("GET", path, &Value::Null).await.unwrap();
        assert_eq!(
            (status, &answer["code"]),
            (200, &json!("0")),
            "{path}: {answer}"
        );
        answer["data"].as_array().unwrap().clone()
    }

    /// The number of an order that is taken.
    async fn place(&self, body: Value) -> String {
        let answer = self.post("trade/order", body).await;
        let row = &answer["data"][0];
        assert_eq!(
            (&answer["code"], &row["sCode"]),
            (&json!("0"), &json!("0")),
            "{answer}"
        );
        row["ordId"].as_str().unwrap().to_owned()
    }

    /// The code of an order that is refused.
    async fn refused(&self, path: &str, body: Value) -> String {
        let answer = self.post(path, body.clone()).await;
        assert_eq!(answer["code"], "1", "{body}: {answer}");
        assert_eq!(answer["msg"], "All operations failed");
        answer["data"][0]["sCode"].as_str().unwrap().to_owned()
    }

    async fn order(&self, symbol: &str, number: &str) -> Value {
        let path = format!("trade/order?instId={symbol}&ordId={number}");
        self.get(&path).await.remove(0)
    }

    fn best(&self, market: Segment, symbol: &str) -> (Decimal, Decimal) {
        let book = self.control.book(market, symbol).unwrap();
        (
            book.bids[0].0.parse().unwrap(),
            book.asks[0].0.parse().unwrap(),
        )
    }

    async fn login(&self, path: &str) -> Client {
        let mut client = Client::open(&self.sim, WS, path).await;
        let time = (self.control.now_ms() / 1_000).to_string();
        let secret = self.key["secret"].as_str().unwrap();
        let sign = base64(&tag(secret, &format!("{time}GET/users/self/verify")));
        let arg = json!({"apiKey": self.key["api_key"], "passphrase": self.key["passphrase"],
            "timestamp": time, "sign": sign});
        client
            .send(&json!({"op": "login", "args": [arg]}).to_string())
            .await;
        let answer = client.json().await;
        assert_eq!(
            (&answer["event"], &answer["code"]),
            (&json!("login"), &json!("0"))
        );
        client
    }

    async fn listen(&self, client: &mut Client, arg: Value) {
        client
            .send(&json!({"op": "subscribe", "args": [arg]}).to_string())
            .await;
        let ack = client.find(|message| message.get("event").is_some()).await;
        assert_eq!((&ack["event"], &ack["arg"]), (&json!("subscribe"), &arg));
        let count = client.json().await;
        assert_eq!(count["event"], "channel-conn-count");
    }

    fn fault(&self, text: &str) {
        self.control.inject(text.parse::<FaultSpec>().unwrap());
    }
}

async fn push(client: &mut Client, channel: &str) -> Value {
    let is_it = |it: &Value| it["arg"]["channel"] == channel && it.get("data").is_some();
    client.find(is_it).await
}

#[tokio::test]
async fn okx_spot_orders_live_and_end() {
    let okx = Okx::start().await;
    let (bid, _) = okx.best(Segment::Spot, "BTC-USDT");
    let low = (bid * Decimal::new(9, 1)).round_dp(1).to_string();
    let order = |kind: &str, side: &str, size: &str| json!({"instId": "BTC-USDT", "tdMode": "cash", "side": side, "ordType": kind, "sz": size});
    let limit = |name: &str| {
        let mut body = order("limit", "buy", "0.01");
        (body["px"], body["clOrdId"]) = (low.as_str().into(), name.into());
        body
    };
    let resting = okx.place(limit("abc123")).await;
    let row = okx.order("BTC-USDT", &resting).await;
    assert_eq!(
        (&row["state"], &row["sz"], &row["px"]),
        (&json!("live"), &json!("0.01"), &json!(low))
    );
    assert_eq!(
        (&row["clOrdId"], &row["fee"], &row["feeCcy"]),
        (&json!("abc123"), &json!("0"), &json!("BTC"))
    );
    let pending = okx.get("trade/orders-pending?instType=SPOT").await;
    assert_eq!(pending.len(), 1);
    assert_eq!(okx.refused("trade/order", limit("abc123")).await, "51016");
    let balance = okx.get("account/balance?ccy=USDT").await;
    let coin = &balance[0]["details"][0];
    let held = number(&json!(low)) * Decimal::new(1, 2);
    assert_eq!(number(&coin["ordFrozen"]), held);
    assert_eq!(number(&coin["availBal"]), Decimal::from(100_000) - held);

    let change = json!({"instId": "BTC-USDT", "ordId": resting, "newSz": "0.02", "reqId": "r1"});
    let answer = okx.post("trade/amend-order", change.clone()).await;
    assert_eq!(
        (&answer["data"][0]["sCode"], &answer["data"][0]["reqId"]),
        (&json!("0"), &json!("r1"))
    );
    assert_eq!(okx.order("BTC-USDT", &resting).await["sz"], "0.02");
    assert_eq!(okx.refused("trade/amend-order", change).await, "51500");
    let gone = json!({"instId": "BTC-USDT", "clOrdId": "abc123"});
    let answer = okx.post("trade/cancel-order", gone.clone()).await;
    assert_eq!(answer["data"][0]["ordId"], json!(resting));
    let row = okx.order("BTC-USDT", &resting).await;
    assert_eq!(
        (&row["state"], &row["cancelSource"]),
        (&json!("canceled"), &json!("1"))
    );
    assert_eq!(okx.refused("trade/cancel-order", gone).await, "51400");
    let change = json!({"instId": "BTC-USDT", "ordId": resting, "newSz": "0.03"});
    assert_eq!(okx.refused("trade/amend-order", change).await, "51503");

    // A purchase at market is for money unless it says that it is for coins.
    let bought = okx.place(order("market", "buy", "1000")).await;
    let row = okx.order("BTC-USDT", &bought).await;
    assert_eq!(
        (&row["state"], &row["tgtCcy"], &row["sz"]),
        (&json!("filled"), &json!("quote_ccy"), &json!("1000"))
    );
    let cost = number(&row["accFillSz"]) * number(&row["avgPx"]);
    assert!(
        cost > Decimal::from(990) && cost <= Decimal::from(1_000),
        "{cost}"
    );
    let fee = number(&row["accFillSz"]) * Decimal::new(1, 3);
    assert!(
        (number(&row["fee"]) + fee).abs() < Decimal::new(1, 7),
        "{row}"
    );
    let mut coins = order("market", "buy", "0.01");
    coins["tgtCcy"] = "base_ccy".into();
    let coins = okx.place(coins).await;
    assert_eq!(okx.order("BTC-USDT", &coins).await["accFillSz"], "0.01");

    // Post-only that would take is taken, and ends.
    let mut crossing = order("post_only", "sell", "0.01");
    crossing["px"] = low.as_str().into();
    let crossing = okx.place(crossing).await;
    let row = okx.order("BTC-USDT", &crossing).await;
    assert_eq!(
        (&row["state"], &row["cancelSource"]),
        (&json!("canceled"), &json!("31"))
    );

    let done = okx
        .get("trade/orders-history?instType=SPOT&state=filled")
        .await;
    let done: Vec<&Value> = done.iter().map(|row| &row["ordId"]).collect();
    assert_eq!(done, [&json!(coins), &json!(bought)]);
    let fills = okx
        .get(&format!("trade/fills-history?instType=SPOT&ordId={bought}"))
        .await;
    let sum: Decimal = fills.iter().map(|row| number(&row["fillSz"])).sum();
    assert_eq!(
        sum,
        number(&okx.order("BTC-USDT", &bought).await["accFillSz"])
    );
    assert!(
        fills
            .iter()
            .all(|row| row["execType"] == "T" && row["feeCcy"] == "BTC")
    );

    let bad = |name: &str, value: Value| {
        let mut body = limit("next");
        body[name] = value;
        body
    };
    for (name, value, code) in [
        ("instId", json!("NONE-USDT"), "51001"),
        ("sz", json!("1000"), "51008"),
        ("sz", json!("0.000000001"), "51121"),
        ("sz", json!(""), "50014"),
        ("px", json!("0.01"), "51000"),
        ("px", json!(""), "50014"),
        ("side", json!("hold"), "51000"),
        ("ordType", json!("twap"), "51000"),
        ("tdMode", json!("isolated"), "51000"),
        ("clOrdId", json!("with-hyphen"), "51000"),
    ] {
        let body = bad(name, value.clone());
        assert_eq!(
            okx.refused("trade/order", body).await,
            code,
            "{name} {value}"
        );
    }
    let gone = json!({"instId": "GONE-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit",
        "sz": "10", "px": "1"});
    assert_eq!(okx.refused("trade/order", gone).await, "51022");
    let batch = json!([limit("one1"), bad("sz", json!("9999"))]);
    let answer = okx.post("trade/batch-orders", batch).await;
    assert_eq!(
        (&answer["code"], &answer["data"][1]["sCode"]),
        (&json!("2"), &json!("51008"))
    );
    okx.sim.shutdown().await;
}

#[tokio::test]
async fn okx_swaps_count_in_contracts() {
    let okx = Okx::start().await;
    let symbol = "BTC-USDT-SWAP";
    let lever = json!({"instId": symbol, "lever": "5", "mgnMode": "cross"});
    let set = okx.post("account/set-leverage", lever.clone()).await;
    assert_eq!(set["data"][0]["lever"], "5");
    let info = okx
        .get("account/leverage-info?instId=BTC-USDT-SWAP&mgnMode=cross")
        .await;
    assert_eq!(
        (&info[0]["lever"], &info[0]["posSide"]),
        (&json!("5"), &json!("net"))
    );
    let (_, over) = okx
        .ask(
            "POST",
            "account/set-leverage",
            &json!({"instId": symbol, "lever": "101", "mgnMode": "cross"}),
        )
        .await
        .unwrap();
    assert_eq!(over["code"], "59102");
    let order = |side: &str, more: Value| {
        let mut body = json!({"instId": symbol, "tdMode": "cross", "side": side,
            "ordType": "market", "sz": "1"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    assert_eq!(
        okx.refused("trade/order", order("sell", json!({"reduceOnly": true})))
            .await,
        "51169"
    );
    assert_eq!(
        okx.refused("trade/order", order("sell", json!({"posSide": "short"})))
            .await,
        "51000"
    );
    okx.place(order("buy", json!({"sz": "3"}))).await;
    let held = okx.get("account/positions?instType=SWAP").await.remove(0);
    assert_eq!(
        (&held["pos"], &held["posSide"], &held["lever"]),
        (&json!("3"), &json!("net"), &json!("5"))
    );
    // Three contracts of a hundredth of a coin.
    let value = number(&held["markPx"]) * Decimal::new(3, 2);
    assert!(
        (number(&held["notionalUsd"]) - value).abs() < Decimal::new(1, 6),
        "{held}"
    );
    assert!((number(&held["imr"]) * Decimal::from(5) - value).abs() < Decimal::new(1, 6));
    let truth = &okx.control.accounts()[0].positions[0];
    assert_eq!(truth.qty, Decimal::new(3, 2));
    let (status, answer) = okx
        .ask(
            "POST",
            "account/set-position-mode",
            &json!({"posMode": "long_short_mode"}),
        )
        .await
        .unwrap();
    assert_eq!((status, &answer["code"]), (200, &json!("59000")));
    okx.place(order("sell", json!({"sz": "5", "reduceOnly": true})))
        .await;
    assert!(okx.get("account/positions").await.is_empty());
    okx.post(
        "account/set-position-mode",
        json!({"posMode": "long_short_mode"}),
    )
    .await;
    assert_eq!(
        okx.get("account/config").await[0]["posMode"],
        "long_short_mode"
    );
    okx.place(order("sell", json!({"posSide": "short", "sz": "2"})))
        .await;
    okx.place(order("buy", json!({"posSide": "long"}))).await;
    let held = okx.get("account/positions").await;
    let sides: Vec<(&Value, &Value)> = held.iter().map(|it| (&it["posSide"], &it["pos"])).collect();
    assert_eq!(
        sides,
        [
            (&json!("long"), &json!("1")),
            (&json!("short"), &json!("2"))
        ]
    );
    let close = json!({"instId": symbol, "mgnMode": "cross", "posSide": "short"});
    assert_eq!(okx.post("trade/close-position", close).await["code"], "0");
    assert_eq!(okx.get("account/positions").await.len(), 1);
    let fee = okx
        .get("account/trade-fee?instType=SWAP&instFamily=BTC-USDT")
        .await;
    assert_eq!(
        (&fee[0]["makerU"], &fee[0]["takerU"]),
        (&json!("-0.0002"), &json!("-0.0005"))
    );
    okx.sim.shutdown().await;
}

#[tokio::test]
async fn okx_orders_wait_for_prices() {
    let okx = Okx::start().await;
    let symbol = "BTC-USDT-SWAP";
    let (bid, ask) = okx.best(Segment::Linear, symbol);
    let mut client = okx.login("/ws/v5/business").await;
    okx.listen(
        &mut client,
        json!({"channel": "orders-algo", "instType": "ANY"}),
    )
    .await;
    let algo = |more: Value| {
        let mut body = json!({"instId": symbol, "tdMode": "cross", "side": "buy", "sz": "1",
            "ordType": "trigger", "orderPx": "-1"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    // As it is told again: without a zero at the end.
    let far = (ask * Decimal::new(12, 1)).round_dp(1).normalize();
    let far = far.to_string();
    let answer = okx
        .post(
            "trade/order-algo",
            algo(json!({"triggerPx": far, "algoClOrdId": "far1"})),
        )
        .await;
    let waiting = answer["data"][0]["algoId"].clone();
    assert_eq!(answer["data"][0]["sCode"], "0", "{answer}");
    let told = push(&mut client, "orders-algo").await;
    assert_eq!(
        (&told["data"][0]["algoId"], &told["data"][0]["state"]),
        (&waiting, &json!("live"))
    );
    let listed = okx.get("trade/orders-algo-pending?ordType=trigger").await;
    assert_eq!(
        (listed.len(), &listed[0]["triggerPx"], &listed[0]["ordPx"]),
        (1, &json!(far), &json!("-1"))
    );
    let change = json!({"instId": symbol, "algoId": waiting, "newTriggerPx": (ask * Decimal::new(13, 1)).round_dp(1).to_string()});
    assert_eq!(okx.post("trade/amend-algos", change).await["code"], "0");
    let gone = json!([{"instId": symbol, "algoId": waiting}]);
    assert_eq!(
        okx.post("trade/cancel-algos", gone.clone()).await["code"],
        "0"
    );
    assert_eq!(okx.refused("trade/cancel-algos", gone).await, "51400");
    let listed = okx
        .get("trade/orders-algo-history?ordType=trigger&state=canceled")
        .await;
    assert_eq!(listed.len(), 1);

    // A stop that the price is past already.
    let stop = |at: Decimal| {
        json!({"instId": symbol, "tdMode": "cross", "side": "sell", "sz": "1", "reduceOnly": true,
            "ordType": "conditional", "slTriggerPx": at.round_dp(1).to_string(), "slOrdPx": "-1"})
    };
    assert_eq!(
        okx.refused("trade/order-algo", stop(ask * Decimal::new(12, 1)))
            .await,
        "51280"
    );
    assert_eq!(
        okx.refused(
            "trade/order-algo",
            algo(json!({"triggerPx": far, "ordType": "twap"}))
        )
        .await,
        "51000"
    );

    // One that wakes with the next trade: what it makes is an order with a number of its own.
    let near = ((bid + ask) / Decimal::TWO).round_dp(1).to_string();
    let answer = okx
        .post("trade/order-algo", algo(json!({"triggerPx": near})))
        .await;
    let waiting = answer["data"][0]["algoId"].clone();
    let is_effective =
        |it: &Value| it["data"][0]["algoId"] == waiting && it["data"][0]["state"] == "effective";
    let told = client.find(is_effective).await;
    let made = told["data"][0]["ordId"].as_str().unwrap().to_owned();
    let row = okx.order(symbol, &made).await;
    assert_eq!(
        (&row["algoId"], &row["state"], &row["ordType"]),
        (&waiting, &json!("filled"), &json!("market"))
    );
    let path = format!("trade/order-algo?algoId={}", waiting.as_str().unwrap());
    assert_eq!(okx.get(&path).await[0]["ordId"], json!(made));
    let fills = okx.get("trade/fills?instType=SWAP").await;
    assert_eq!(fills[0]["ordId"], json!(made));
    okx.sim.shutdown().await;
}

#[tokio::test]
async fn okx_tells_its_accounts() {
    let okx = Okx::start().await;
    let mut client = Client::open(&okx.sim, WS, "/ws/v5/private").await;
    let arg = json!({"channel": "orders", "instType": "ANY"});
    client
        .send(&json!({"op": "subscribe", "args": [arg]}).to_string())
        .await;
    assert_eq!(client.json().await["code"], "60011");
    let bad = json!({"apiKey": okx.key["api_key"], "passphrase": okx.key["passphrase"],
        "timestamp": "1704876947", "sign": "aGVsbG8="});
    client
        .send(&json!({"op": "login", "args": [bad]}).to_string())
        .await;
    assert_eq!(client.json().await["code"], "60006");

    let mut client = okx.login("/ws/v5/private").await;
    okx.listen(&mut client, arg).await;
    okx.listen(&mut client, json!({"channel": "account"})).await;
    let first = push(&mut client, "account").await;
    assert_eq!(first["eventType"], "snapshot");
    assert_eq!(first["data"][0]["details"].as_array().unwrap().len(), 5);
    okx.listen(
        &mut client,
        json!({"channel": "positions", "instType": "SWAP"}),
    )
    .await;
    assert!(
        push(&mut client, "positions").await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    // Orders over the connection name an instrument by its number.
    let code = okx
        .get("account/instruments?instType=SWAP&instId=BTC-USDT-SWAP")
        .await[0]["instIdCode"]
        .clone();
    let op =
        |id: &str, op: &str, arg: Value| json!({"id": id, "op": op, "args": [arg]}).to_string();
    let mut order = json!({"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "buy",
        "ordType": "market", "sz": "1", "clOrdId": "ws1"});
    client.send(&op("1", "order", order.clone())).await;
    let answer = client.find(|it| it["id"] == "1").await;
    assert_eq!(
        (&answer["code"], &answer["data"][0]["sCode"]),
        (&json!("1"), &json!("50014"))
    );
    order["instIdCode"] = code.clone();
    client.send(&op("2", "order", order)).await;
    let messages = client.drain(Duration::from_millis(300)).await;
    let of = |channel: &str| -> Vec<Value> {
        let its = messages.iter().filter(|it| it["arg"]["channel"] == channel);
        its.flat_map(|it| it["data"].as_array().unwrap().clone())
            .collect()
    };
    let answer = messages.iter().find(|it| it["id"] == "2").unwrap();
    assert_eq!(
        (&answer["op"], &answer["code"]),
        (&json!("order"), &json!("0"))
    );
    let number = answer["data"][0]["ordId"].clone();
    let orders = of("orders");
    assert_eq!(orders.first().unwrap()["state"], "live");
    let last = orders.last().unwrap();
    assert_eq!(
        (&last["state"], &last["ordId"], &last["accFillSz"]),
        (&json!("filled"), &number, &json!("1"))
    );
    assert!(last["execType"] == "T" && last["tradeId"] != "" && last["reduceOnly"] == "false");
    assert_eq!(of("positions").last().unwrap()["pos"], "1");
    assert!(
        of("account")
            .iter()
            .all(|row| row["details"][0]["ccy"] == "USDT")
    );

    let price = (okx.best(Segment::Linear, "BTC-USDT-SWAP").0 * Decimal::new(9, 1)).round_dp(1);
    let rest = json!({"instIdCode": code, "tdMode": "cross", "side": "buy", "ordType": "limit",
        "sz": "1", "px": price.to_string()});
    client.send(&op("3", "order", rest)).await;
    let placed = client.find(|it| it["id"] == "3").await;
    let number = placed["data"][0]["ordId"].clone();
    client
        .send(&op(
            "4",
            "amend-order",
            json!({"instIdCode": code, "ordId": number, "newSz": "2", "reqId": "r4"}),
        ))
        .await;
    let told = client.find(|it| it["data"][0]["amendResult"] == "0").await;
    assert_eq!(
        (&told["data"][0]["sz"], &told["data"][0]["reqId"]),
        (&json!("2"), &json!("r4"))
    );
    client
        .send(&op("5", "cancel-order", json!({"ordId": number})))
        .await;
    let told = client.find(|it| it["data"][0]["state"] == "canceled").await;
    assert_eq!(told["data"][0]["cancelSource"], "1");
    okx.sim.shutdown().await;
}

#[tokio::test]
async fn okx_knows_who_asks() {
    let okx = Okx::start().await;
    let target = "/api/v5/account/config";
    let ask = async |headers: Vec<(String, String)>| {
        let (status, text) = send(&okx.sim, REST, ("GET", target, ""), &headers)
            .await
            .unwrap();
        let code: Value = serde_json::from_str(&text).unwrap();
        (status, code["code"].as_str().unwrap().to_owned())
    };
    let signed = format!("GET{target}");
    let good = okx.headers(&okx.key, &signed, 0);
    assert_eq!(ask(good.clone()).await, (200, "0".to_owned()));
    assert_eq!(
        ask(okx.headers(&okx.key, &signed, 31_000)).await,
        (401, "50102".to_owned())
    );
    assert_eq!(ask(vec![]).await, (401, "50103".to_owned()));
    assert_eq!(
        ask(okx.headers(&okx.key, "GET/other", 0)).await,
        (401, "50113".to_owned())
    );
    let mut wrong = good;
    wrong[1].1 = "other".to_owned();
    assert_eq!(ask(wrong).await, (401, "50105".to_owned()));
    let reader = &okx.key["read_only"];
    assert_eq!(
        ask(okx.headers(reader, &signed, 0)).await,
        (200, "0".to_owned())
    );
    let target = "/api/v5/trade/order";
    let headers = okx.headers(reader, &format!("POST{target}{{}}"), 0);
    let (status, text) = send(&okx.sim, REST, ("POST", target, "{}"), &headers)
        .await
        .unwrap();
    assert!(status == 401 && text.contains("50120"), "{text}");
    okx.sim.shutdown().await;
}

#[tokio::test]
async fn okx_trading_fails_in_all_its_ways() {
    let okx = Okx::start().await;
    let price = (okx.best(Segment::Spot, "BTC-USDT").0 * Decimal::new(9, 1)).round_dp(1);
    let order = |name: &str| {
        json!({"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit",
            "sz": "0.01", "px": price.to_string(), "clOrdId": name})
    };
    let path = "trade/order";
    okx.fault("drop-reply:path=/api/v5/trade/order");
    assert!(okx.ask("POST", path, &order("lost")).await.is_none());
    let found = okx.get("trade/order?instId=BTC-USDT&clOrdId=lost").await;
    assert_eq!(found[0]["state"], "live");
    okx.fault("cut-request:path=/api/v5/trade/order");
    assert!(okx.ask("POST", path, &order("never")).await.is_none());
    let (_, answer) = okx
        .ask(
            "GET",
            "trade/order?instId=BTC-USDT&clOrdId=never",
            &Value::Null,
        )
        .await
        .unwrap();
    assert_eq!(answer["code"], "51603");
    okx.fault("fail-reply:path=/api/v5/trade/order");
    let (status, answer) = okx.ask("POST", path, &order("failed")).await.unwrap();
    assert_eq!((status, &answer["code"]), (503, &json!("50001")));
    assert_eq!(
        okx.get("trade/order?instId=BTC-USDT&clOrdId=failed")
            .await
            .len(),
        1
    );
    okx.fault("late-reply:path=/api/v5/trade/order,ms=400,count=1");
    let began = Instant::now();
    okx.place(order("late")).await;
    assert!(began.elapsed() >= Duration::from_millis(400));
    okx.fault("reject-orders:count=1");
    assert_eq!(okx.refused(path, order("refused")).await, "50013");

    let mut client = okx.login("/ws/v5/private").await;
    let arg = json!({"channel": "orders", "instType": "SPOT"});
    okx.listen(&mut client, arg.clone()).await;
    okx.fault("duplicate:stream=order,count=1");
    okx.fault("drop:stream=order,count=1");
    okx.place(order("one")).await;
    okx.place(order("two")).await;
    let messages = client.drain(Duration::from_millis(300)).await;
    let names: Vec<&Value> = messages
        .iter()
        .map(|it| &it["data"][0]["clOrdId"])
        .collect();
    assert_eq!(names, [&json!("one"), &json!("one")]);
    okx.fault("drop-reply:path=order");
    let code = okx
        .get("account/instruments?instType=SPOT&instId=BTC-USDT")
        .await[0]["instIdCode"]
        .clone();
    let mut lost = order("wslost");
    lost["instIdCode"] = code;
    client
        .send(&json!({"id": "1", "op": "order", "args": [lost]}).to_string())
        .await;
    assert_eq!(client.end().await, None);
    assert_eq!(
        okx.get("trade/order?instId=BTC-USDT&clOrdId=wslost")
            .await
            .len(),
        1
    );

    let mut client = okx.login("/ws/v5/private").await;
    okx.listen(&mut client, arg.clone()).await;
    okx.fault("private-outage:for=500ms");
    assert_eq!(client.end().await, None);
    let mut client = okx.login("/ws/v5/private").await;
    client
        .send(&json!({"op": "subscribe", "args": [arg]}).to_string())
        .await;
    assert_eq!(client.end().await, None);
    let after = json!({"timeOut": "10"});
    assert_ne!(
        okx.post("trade/cancel-all-after", after).await["data"][0]["triggerTime"],
        "0"
    );
    okx.sim.shutdown().await;
}
