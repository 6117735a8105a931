//! Bybit.

use std::time::Duration;

use bookwire_sim::{Exchange, FaultSpec, Segment, Sim, SimConfig, SimControl};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{send, tag};
use crate::support::{Client, sim};

const REST: &str = "api.bybit.com";
const WS: &str = "stream.bybit.com";

struct Bybit {
    sim: Sim,
    control: SimControl,
    key: Value,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(value: &Value) -> Decimal {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.parse().unwrap()
}

impl Bybit {
    async fn start() -> Self {
        let sim = sim(SimConfig {
            exchanges: vec![Exchange::Bybit],
            seed: 7,
            ..SimConfig::default()
        })
        .await;
        let control = sim.control().of(Exchange::Bybit).unwrap();
        let key = sim.endpoints()["bybit"]["credentials"].clone();
        Self { sim, control, key }
    }

    async fn ask_as(
        &self,
        key: &Value,
        method: &str,
        path: &str,
        text: &str,
        late_ms: i64,
    ) -> Option<(u16, Value)> {
        let time = (self.control.now_ms() - late_ms).to_string();
        let name = key["api_key"].as_str().unwrap();
        let sign = hex(&tag(
            key["secret"].as_str().unwrap(),
            &format!("{time}{name}5000{text}"),
        ));
        let headers = [
            ("X-BAPI-API-KEY", name),
            ("X-BAPI-TIMESTAMP", &time),
            ("X-BAPI-RECV-WINDOW", "5000"),
            ("X-BAPI-SIGN", &sign),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (target, body) = match method {
            "GET" => (format!("/v5/{path}?{text}"), ""),
            _ => (format!("/v5/{path}"), text),
        };
        let (status, text) = send(&self.sim, REST, (method, &target, body), &headers).await?;
        let answer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        Some((status, answer))
    }

    async fn post(&self, path: &str, body: Value) -> (i64, Value) {
        let asked = self
            .ask_as(&self.key, "POST", path, &body.to_string(), 0)
            .await;
        let (status, answer) = asked.unwrap();
        assert_eq!(status, 200, "{path} {body}: {answer}");
        (
            answer["retCode"].as_i64().unwrap(),
            answer["result"].clone(),
        )
    }

    async fn get(&self, path: &str, query: &str) -> Vec<Value> {
        let (_, answer) = self.ask_as(&self.key, "GET", path, query, 0).await.unwrap();
        assert_eq!(answer["retCode"], 0, "{path} {query}: {answer}");
        answer["result"]["list"].as_array().unwrap().clone()
    }

    async fn place(&self, body: Value) -> String {
        let (code, result) = self.post("order/create", body.clone()).await;
        assert_eq!(code, 0, "{body}");
        result["orderId"].as_str().unwrap().to_owned()
    }

    async fn order(&self, category: &str, id: &str) -> Value {
        let query = format!("category={category}&orderId={id}");
        self.get("order/realtime", &query).await.remove(0)
    }

    fn low(&self, market: Segment) -> String {
        let book = self.control.book(market, "BTCUSDT").unwrap();
        let bid: Decimal = book.bids[0].0.parse().unwrap();
        (bid * Decimal::new(9, 1)).round_dp(1).to_string()
    }

    async fn auth(&self, path: &str) -> Client {
        let mut client = Client::open(&self.sim, WS, path).await;
        let expires = self.control.now_ms() + 10_000;
        let text = format!("GET/realtime{expires}");
        let sign = hex(&tag(self.key["secret"].as_str().unwrap(), &text));
        let request = json!({"op": "auth", "args": [self.key["api_key"], expires, sign]});
        client.send(&request.to_string()).await;
        let answer = client.json().await;
        assert!(
            answer["success"] == true || answer["retCode"] == 0,
            "{answer}"
        );
        client
    }

    fn fault(&self, text: &str) {
        self.control.inject(text.parse::<FaultSpec>().unwrap());
    }
}

#[tokio::test]
async fn bybit_orders_live_and_end() {
    let bybit = Bybit::start().await;
    let low = bybit.low(Segment::Spot);
    let limit = |name: &str| {
        json!({"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit",
            "qty": "0.01", "price": low, "orderLinkId": name})
    };
    let id = bybit.place(limit("one-1")).await;
    let row = bybit.order("spot", &id).await;
    assert_eq!(
        (&row["orderStatus"], &row["qty"], &row["orderLinkId"]),
        (&json!("New"), &json!("0.01"), &json!("one-1"))
    );
    let wallet = bybit
        .get("account/wallet-balance", "accountType=UNIFIED&coin=USDT")
        .await;
    assert_eq!(
        number(&wallet[0]["coin"][0]["locked"]),
        low.parse::<Decimal>().unwrap() / Decimal::ONE_HUNDRED
    );
    let change = json!({"category": "spot", "symbol": "BTCUSDT", "orderId": id, "qty": "0.02"});
    assert_eq!(bybit.post("order/amend", change).await.0, 0);
    assert_eq!(bybit.order("spot", &id).await["qty"], "0.02");
    let cancel = json!({"category": "spot", "symbol": "BTCUSDT", "orderLinkId": "one-1"});
    assert_eq!(
        bybit.post("order/cancel", cancel.clone()).await.1["orderId"],
        json!(id)
    );
    let row = bybit.order("spot", &id).await;
    assert_eq!(
        (&row["orderStatus"], &row["cancelType"]),
        (&json!("Cancelled"), &json!("CancelByUser"))
    );
    assert_eq!(bybit.post("order/cancel", cancel).await.0, 170_213);
    assert_eq!(bybit.post("order/create", limit("one-1")).await.0, 170_141);

    // A purchase at market is for money unless it says that it is for coins.
    let market = |more: Value| {
        let mut body = json!({"category": "spot", "symbol": "BTCUSDT", "side": "Buy",
            "orderType": "Market", "qty": "1000"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let id = bybit.place(market(json!({}))).await;
    let row = bybit.order("spot", &id).await;
    assert_eq!(
        (&row["orderStatus"], &row["qty"]),
        (&json!("Filled"), &json!("1000"))
    );
    assert!(number(&row["cumExecValue"]) > Decimal::from(990));
    let fills = bybit
        .get("execution/list", &format!("category=spot&orderId={id}"))
        .await;
    let sum: Decimal = fills.iter().map(|it| number(&it["execQty"])).sum();
    assert_eq!(sum, number(&row["cumExecQty"]));
    assert!(
        fills
            .iter()
            .all(|it| it["feeCurrency"] == "BTC" && it["isMaker"] == false)
    );
    let id = bybit
        .place(market(json!({"marketUnit": "baseCoin", "qty": "0.01"})))
        .await;
    assert_eq!(bybit.order("spot", &id).await["cumExecQty"], "0.01");
    let mut crossing = limit("post");
    (crossing["side"], crossing["timeInForce"]) = ("Sell".into(), "PostOnly".into());
    let id = bybit.place(crossing).await;
    assert_eq!(
        bybit.order("spot", &id).await["rejectReason"],
        "EC_PostOnlyWillTakeLiquidity"
    );

    for (name, value, code) in [
        ("symbol", json!("NONEUSDT"), 170_121),
        ("category", json!("option"), 10_001),
        ("qty", json!("1000"), 170_131),
        ("qty", json!("0.0000001"), 170_137),
        ("price", json!("0.01"), 170_134),
        ("side", json!("buy"), 10_001),
        ("orderType", json!("Stop"), 10_001),
        ("orderLinkId", json!("no spaces"), 10_001),
        ("takeProfit", json!("99999"), 10_001),
    ] {
        let mut body = limit("next");
        body[name] = value.clone();
        assert_eq!(
            bybit.post("order/create", body).await.0,
            code,
            "{name} {value}"
        );
    }
    // Orders that wait are a kind of their own.
    let stop = market(json!({"orderFilter": "StopOrder", "triggerPrice": "99999", "qty": "100"}));
    let id = bybit.place(stop).await;
    assert_eq!(bybit.order("spot", &id).await["orderStatus"], "Untriggered");
    let cancel = json!({"category": "spot", "symbol": "BTCUSDT", "orderId": id});
    assert_eq!(bybit.post("order/cancel", cancel).await.0, 170_213);
    let all = json!({"category": "spot", "orderFilter": "StopOrder"});
    let (_, gone) = bybit.post("order/cancel-all", all).await;
    assert_eq!(gone["list"][0]["orderId"], json!(id));
    assert_eq!(bybit.order("spot", &id).await["orderStatus"], "Deactivated");
    bybit.sim.shutdown().await;
}

#[tokio::test]
async fn bybit_positions_and_settings() {
    let bybit = Bybit::start().await;
    let order = |side: &str, more: Value| {
        let mut body = json!({"category": "linear", "symbol": "BTCUSDT", "side": side,
            "orderType": "Market", "qty": "0.03"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let lever = |text: &str| json!({"category": "linear", "symbol": "BTCUSDT", "buyLeverage": text, "sellLeverage": text});
    assert_eq!(bybit.post("position/set-leverage", lever("5")).await.0, 0);
    assert_eq!(
        bybit.post("position/set-leverage", lever("5")).await.0,
        110_043
    );
    assert_eq!(
        bybit.post("position/set-leverage", lever("500")).await.0,
        110_013
    );
    let flat = bybit
        .get("position/list", "category=linear&symbol=BTCUSDT")
        .await;
    assert_eq!(
        (&flat[0]["size"], &flat[0]["side"], &flat[0]["leverage"]),
        (&json!("0.000"), &json!(""), &json!("5"))
    );
    let reduce = order("Sell", json!({"reduceOnly": true}));
    assert_eq!(bybit.post("order/create", reduce.clone()).await.0, 110_017);
    assert_eq!(
        bybit
            .post("order/create", order("Buy", json!({"positionIdx": 1})))
            .await
            .0,
        10_001
    );
    let id = bybit
        .place(order("Buy", json!({"orderLinkId": "open"})))
        .await;
    assert_eq!(
        (id.len(), &bybit.order("linear", &id).await["orderStatus"]),
        (36, &json!("Filled"))
    );
    assert_eq!(
        bybit
            .post("order/create", order("Buy", json!({"orderLinkId": "open"})))
            .await
            .0,
        110_072
    );
    let held = bybit
        .get("position/list", "category=linear&settleCoin=USDT")
        .await;
    assert_eq!(
        (&held[0]["size"], &held[0]["side"]),
        (&json!("0.030"), &json!("Buy"))
    );
    assert_eq!(
        bybit.control.accounts()[0].positions[0].qty,
        Decimal::new(3, 2)
    );
    let mode = |mode: i64| json!({"category": "linear", "symbol": "BTCUSDT", "mode": mode});
    assert_eq!(bybit.post("position/switch-mode", mode(3)).await.0, 110_024);
    bybit.place(reduce).await;
    assert_eq!(bybit.post("position/switch-mode", mode(3)).await.0, 0);
    assert_eq!(bybit.post("position/switch-mode", mode(3)).await.0, 110_025);
    let late = order("Buy", json!({"triggerPrice": "1", "triggerDirection": 1}));
    assert_eq!(bybit.post("order/create", late).await.0, 110_092);

    let (_, answer) = bybit
        .ask_as(&bybit.key["read_only"], "GET", "user/query-api", "", 0)
        .await
        .unwrap();
    assert_eq!(answer["result"]["readOnly"], 1);
    let (_, answer) = bybit
        .ask_as(&bybit.key["read_only"], "POST", "order/create", "{}", 0)
        .await
        .unwrap();
    assert_eq!(answer["retCode"], 10_005);
    let (_, answer) = bybit
        .ask_as(&bybit.key, "GET", "account/info", "", 6_000)
        .await
        .unwrap();
    assert_eq!(answer["retCode"], 10_002);
    let wrong = json!({"api_key": bybit.key["api_key"], "secret": "other"});
    let (_, answer) = bybit
        .ask_as(&wrong, "GET", "account/info", "", 0)
        .await
        .unwrap();
    assert_eq!(answer["retCode"], 10_004);
    let wrong = json!({"api_key": "nobody", "secret": "other"});
    let (_, answer) = bybit
        .ask_as(&wrong, "GET", "account/info", "", 0)
        .await
        .unwrap();
    assert_eq!(answer["retCode"], 10_003);
    bybit.sim.shutdown().await;
}

#[tokio::test]
async fn bybit_tells_its_accounts_and_fails() {
    let bybit = Bybit::start().await;
    let mut client = Client::open(&bybit.sim, WS, "/v5/private").await;
    client.send(r#"{"op":"subscribe","args":["order"]}"#).await;
    assert_eq!(client.json().await["success"], false);
    let mut client = bybit.auth("/v5/private").await;
    client
        .send(r#"{"op":"subscribe","args":["order","execution","position","wallet"]}"#)
        .await;
    assert_eq!(client.json().await["success"], true);
    let mut trade = bybit.auth("/v5/trade").await;
    let request = json!({"reqId": "a1", "op": "order.create",
        "header": {"X-BAPI-TIMESTAMP": bybit.control.now_ms().to_string()},
        "args": [{"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market",
            "qty": "0.03", "orderLinkId": "ws-1"}]});
    trade.send(&request.to_string()).await;
    let answer = trade.json().await;
    assert_eq!(
        (&answer["reqId"], &answer["retCode"]),
        (&json!("a1"), &json!(0))
    );
    let id = answer["data"]["orderId"].clone();
    let messages = client.drain(Duration::from_millis(300)).await;
    let of = |topic: &str| -> Vec<Value> {
        let its = messages.iter().filter(|it| it["topic"] == topic);
        its.flat_map(|it| it["data"].as_array().unwrap().clone())
            .collect()
    };
    assert_eq!(of("order").first().unwrap()["orderStatus"], "New");
    let last = of("order").last().unwrap().clone();
    assert_eq!(
        (&last["orderStatus"], &last["orderId"]),
        (&json!("Filled"), &id)
    );
    let sum: Decimal = of("execution")
        .iter()
        .map(|it| number(&it["execQty"]))
        .sum();
    assert_eq!(sum, Decimal::new(3, 2));
    assert_eq!(of("position").last().unwrap()["size"], "0.030");
    assert_eq!(of("wallet").last().unwrap()["coin"][0]["coin"], "USDT");

    let low = bybit.low(Segment::Spot);
    let limit = |name: &str| {
        json!({"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit",
            "qty": "0.01", "price": low, "orderLinkId": name})
    };
    bybit.fault("drop-reply:path=/v5/order/create");
    let text = limit("lost").to_string();
    assert!(
        bybit
            .ask_as(&bybit.key, "POST", "order/create", &text, 0)
            .await
            .is_none()
    );
    let found = bybit
        .get("order/realtime", "category=spot&orderLinkId=lost")
        .await;
    assert_eq!(found[0]["orderStatus"], "New");
    bybit.fault("fail-reply:path=/v5/order/create");
    let text = limit("failed").to_string();
    let (status, answer) = bybit
        .ask_as(&bybit.key, "POST", "order/create", &text, 0)
        .await
        .unwrap();
    assert_eq!((status, &answer["retCode"]), (503, &json!(10_016)));
    let found = bybit
        .get("order/realtime", "category=spot&orderLinkId=failed")
        .await;
    assert_eq!(found.len(), 1);
    client.drain(Duration::from_millis(100)).await;
    bybit.fault("reorder:stream=order,count=1");
    bybit.place(limit("first")).await;
    bybit.place(limit("second")).await;
    let messages = client.drain(Duration::from_millis(300)).await;
    let names: Vec<&Value> = messages
        .iter()
        .filter(|it| it["topic"] == "order")
        .map(|it| &it["data"][0]["orderLinkId"])
        .collect();
    assert_eq!(names, [&json!("second"), &json!("first")]);
    bybit.fault("private-outage:for=300ms");
    assert_eq!(client.end().await, None);
    bybit.sim.shutdown().await;
}
