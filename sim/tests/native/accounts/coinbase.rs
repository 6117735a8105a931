//! Coinbase.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bookwire_sim::{Exchange, FaultSpec, Segment, Sim, SimConfig, SimControl};
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::Signer as _;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::send;
use crate::support::{Client, sim};

const REST: &str = "api.coinbase.com";
const WS: &str = "advanced-trade-ws-user.coinbase.com";

struct Coinbase {
    sim: Sim,
    control: SimControl,
    key: Value,
}

fn number(value: &Value) -> Decimal {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    text.parse().unwrap()
}

/// A token of a key, for `purpose` where it is for REST.
fn token(key: &Value, purpose: Option<&str>, now_s: i64) -> String {
    let (name, secret) = (
        key["api_key"].as_str().unwrap(),
        key["secret"].as_str().unwrap(),
    );
    let is_pem = secret.starts_with("-----BEGIN EC");
    let alg = if is_pem { "ES256" } else { "EdDSA" };
    let header = json!({"alg": alg, "typ": "JWT", "kid": name, "nonce": "00ff"});
    let mut claims = json!({"sub": name, "iss": "cdp", "nbf": now_s, "exp": now_s + 120});
    if let Some(purpose) = purpose {
        claims["uri"] = purpose.into();
    }
    let [header, claims] = [header, claims].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = if is_pem {
        let body: String = secret.lines().filter(|it| !it.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        let key = p256::ecdsa::SigningKey::from_slice(&der[7..39]).unwrap();
        let signature: p256::ecdsa::Signature = key.sign(signed.as_bytes());
        signature.to_bytes().to_vec()
    } else {
        let bytes = STANDARD.decode(secret).unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(bytes[..32].try_into().unwrap());
        key.sign(signed.as_bytes()).to_bytes().to_vec()
    };
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

impl Coinbase {
    async fn start() -> Self {
        let sim = sim(SimConfig {
            exchanges: vec![Exchange::Coinbase],
            seed: 7,
            ..SimConfig::default()
        })
        .await;
        let control = sim.control().of(Exchange::Coinbase).unwrap();
        let key = sim.endpoints()["coinbase"]["credentials"].clone();
        Self { sim, control, key }
    }

    fn now_s(&self) -> i64 {
        self.control.now_ms() / 1_000
    }

    async fn with(
        &self,
        token: &str,
        method: &str,
        target: &str,
        body: &str,
    ) -> Option<(u16, String)> {
        let headers = [("Authorization".to_owned(), format!("Bearer {token}"))];
        send(&self.sim, REST, (method, target, body), &headers).await
    }

    async fn ask_as(
        &self,
        key: &Value,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let target = format!("/api/v3/brokerage/{path}");
        let bare = target.split('?').next().unwrap();
        let token = token(key, Some(&format!("{method} {REST}{bare}")), self.now_s());
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, text) = self.with(&token, method, &target, &body).await?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask_as(&self.key, "POST", path, &body).await.unwrap();
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self
            .ask_as(&self.key, "GET", path, &Value::Null)
            .await
            .unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn order(name: &str, side: &str, configuration: Value) -> Value {
        json!({"client_order_id": name, "product_id": "BTC-USD", "side": side,
            "order_configuration": configuration})
    }

    async fn place(&self, body: Value) -> String {
        let answer = self.post("orders", body).await;
        assert_eq!(answer["success"], true, "{answer}");
        answer["success_response"]["order_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn refused(&self, body: Value) -> String {
        let answer = self.post("orders", body.clone()).await;
        assert_eq!(answer["success"], false, "{body}: {answer}");
        answer["error_response"]["error"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn found(&self, id: &str) -> Value {
        self.get(&format!("orders/historical/{id}")).await["order"].clone()
    }

    fn low(&self) -> String {
        let book = self.control.book(Segment::Spot, "BTC-USD").unwrap();
        let bid: Decimal = book.bids[0].0.parse().unwrap();
        (bid * Decimal::new(9, 1)).round_dp(2).to_string()
    }

    fn fault(&self, text: &str) {
        self.control.inject(text.parse::<FaultSpec>().unwrap());
    }
}

#[tokio::test]
async fn coinbase_orders_live_and_end() {
    let coinbase = Coinbase::start().await;
    let low = coinbase.low();
    let limit = |size: &str, price: &str| json!({"limit_limit_gtc": {"base_size": size, "limit_price": price, "post_only": false}});
    let body = Coinbase::order("one", "BUY", limit("0.01", &low));
    let id = coinbase.place(body.clone()).await;
    // The same id again is the same order.
    assert_eq!(coinbase.place(body).await, id);
    let row = coinbase.found(&id).await;
    assert_eq!(
        (&row["status"], &row["client_order_id"]),
        (&json!("OPEN"), &json!("one"))
    );
    assert_eq!(
        number(&row["order_configuration"]["limit_limit_gtc"]["limit_price"]),
        low.parse().unwrap()
    );
    let accounts = coinbase.get("accounts?limit=250").await;
    let dollars = accounts["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["currency"] == "USD");
    let held = low.parse::<Decimal>().unwrap() * Decimal::new(1, 2) * Decimal::new(1_012, 3);
    assert_eq!(number(&dollars.unwrap()["hold"]["value"]), held);
    let edit = json!({"order_id": id, "price": low, "size": "0.02"});
    assert_eq!(coinbase.post("orders/edit", edit).await["success"], true);
    let row = coinbase.found(&id).await;
    assert_eq!(
        row["order_configuration"]["limit_limit_gtc"]["base_size"],
        "0.02"
    );
    let cancel = json!({"order_ids": [id, "00000000-0000-4000-8000-000000000000"]});
    let answer = coinbase.post("orders/batch_cancel", cancel.clone()).await;
    assert_eq!(answer["results"][0]["success"], true);
    assert_eq!(
        answer["results"][1]["failure_reason"],
        "UNKNOWN_CANCEL_ORDER"
    );
    assert_eq!(coinbase.found(&id).await["status"], "CANCELLED");
    let answer = coinbase.post("orders/batch_cancel", cancel).await;
    assert_eq!(
        answer["results"][0]["failure_reason"],
        "DUPLICATE_CANCEL_REQUEST"
    );

    let bought = json!({"market_market_ioc": {"quote_size": "1000"}});
    let id = coinbase.place(Coinbase::order("two", "BUY", bought)).await;
    let row = coinbase.found(&id).await;
    assert_eq!(
        (&row["status"], &row["size_in_quote"]),
        (&json!("FILLED"), &json!(true))
    );
    let total = number(&row["total_value_after_fees"]);
    assert!(
        total > Decimal::from(999) && total <= Decimal::from(1_000),
        "{total}"
    );
    let fills = coinbase
        .get(&format!("orders/historical/fills?order_ids={id}"))
        .await;
    let fees: Decimal = fills["fills"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| number(&it["commission"]))
        .sum();
    assert_eq!(fees, number(&row["total_fees"]));
    let gone = coinbase
        .get("orders/historical/batch?order_status=FILLED&product_ids=BTC-USD")
        .await;
    assert_eq!(gone["orders"][0]["order_id"], json!(id));

    for (side, configuration, reason) in [
        ("BUY", limit("1000", &low), "INSUFFICIENT_FUND"),
        ("BUY", limit("0.000000001", &low), "INVALID_SIZE_PRECISION"),
        ("BUY", limit("0.01", "0.001"), "INVALID_PRICE_PRECISION"),
        ("HOLD", limit("0.01", &low), "INVALID_SIDE"),
        (
            "BUY",
            json!({"market_market_fok": {}}),
            "UNSUPPORTED_ORDER_CONFIGURATION",
        ),
        (
            "SELL",
            json!({"limit_limit_gtc": {"base_size": "0.01", "limit_price": low, "post_only": true}}),
            "INVALID_LIMIT_PRICE_POST_ONLY",
        ),
        (
            "SELL",
            json!({"stop_limit_stop_limit_gtc": {"base_size": "0.01", "limit_price": low,
                "stop_price": low, "stop_direction": "STOP_DIRECTION_STOP_UP"}}),
            "STOP_PRICE_BELOW_LAST_TRADE_PRICE",
        ),
    ] {
        let body = Coinbase::order("bad", side, configuration);
        assert_eq!(coinbase.refused(body.clone()).await, reason, "{body}");
    }
    let stop = json!({"stop_limit_stop_limit_gtc": {"base_size": "0.01", "limit_price": low,
        "stop_price": low, "stop_direction": "STOP_DIRECTION_STOP_DOWN"}});
    let id = coinbase.place(Coinbase::order("stop", "SELL", stop)).await;
    assert_eq!(coinbase.found(&id).await["trigger_status"], "STOP_PENDING");
    // A day's order ends when its time has come.
    let end = jiff::Timestamp::from_millisecond(coinbase.control.now_ms() + 1_200).unwrap();
    let day = json!({"limit_limit_gtd": {"base_size": "0.01", "limit_price": low,
        "end_time": end.to_string()}});
    let id = coinbase.place(Coinbase::order("day", "BUY", day)).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(coinbase.found(&id).await["status"], "EXPIRED");
    coinbase.sim.shutdown().await;
}

#[tokio::test]
async fn coinbase_knows_who_asks() {
    let coinbase = Coinbase::start().await;
    for key in [
        &coinbase.key,
        &coinbase.key["ed25519"],
        &coinbase.key["read_only"],
    ] {
        let (status, answer) = coinbase
            .ask_as(key, "GET", "key_permissions", &Value::Null)
            .await
            .unwrap();
        assert_eq!((status, &answer["can_view"]), (200, &json!(true)));
        let is_reader = key == &coinbase.key["read_only"];
        assert_eq!(answer["can_trade"], json!(!is_reader));
    }
    let (status, answer) = coinbase
        .ask_as(&coinbase.key["read_only"], "POST", "orders", &json!({}))
        .await
        .unwrap();
    assert_eq!(
        (status, &answer["error"]),
        (403, &json!("PERMISSION_DENIED"))
    );
    let target = "/api/v3/brokerage/accounts?limit=2";
    let now_s = coinbase.now_s();
    let uri = format!("GET {REST}/api/v3/brokerage/accounts");
    for (purpose, at_s, status) in [
        (Some(uri.as_str()), now_s, 200),
        (Some(uri.as_str()), now_s - 121, 401),
        (
            Some("GET api.coinbase.com/api/v3/brokerage/accounts?limit=2"),
            now_s,
            401,
        ),
        (None, now_s, 401),
    ] {
        let token = token(&coinbase.key, purpose, at_s);
        let (got, text) = coinbase.with(&token, "GET", target, "").await.unwrap();
        assert_eq!(got, status, "{purpose:?} {text}");
    }
    let page = coinbase.get("accounts?limit=2").await;
    assert_eq!(
        (&page["size"], &page["has_next"], &page["cursor"]),
        (&json!(2), &json!(true), &json!("2"))
    );
    coinbase.sim.shutdown().await;
}

#[tokio::test]
async fn coinbase_tells_its_accounts_and_fails() {
    let coinbase = Coinbase::start().await;
    let low = coinbase.low();
    let limit = |name: &str| {
        let configuration = json!({"limit_limit_gtc": {"base_size": "0.01", "limit_price": low}});
        Coinbase::order(name, "BUY", configuration)
    };
    coinbase.place(limit("resting")).await;
    let mut client = Client::open(&coinbase.sim, WS, "/").await;
    client
        .send(r#"{"type":"subscribe","channel":"user","jwt":"a.b.c"}"#)
        .await;
    assert_eq!(client.json().await["message"], "authentication failure");
    let jwt = token(&coinbase.key, None, coinbase.now_s());
    client
        .send(&json!({"type": "subscribe", "channel": "user", "jwt": jwt}).to_string())
        .await;
    let first = client.json().await;
    assert_eq!(
        (&first["channel"], &first["sequence_num"]),
        (&json!("user"), &json!(0))
    );
    let event = &first["events"][0];
    assert_eq!(
        (&event["type"], &event["orders"][0]["client_order_id"]),
        (&json!("snapshot"), &json!("resting"))
    );
    assert!(client.json().await["events"][0]["subscriptions"]["user"].is_array());
    let bought = json!({"market_market_ioc": {"base_size": "0.02"}});
    let id = coinbase
        .place(Coinbase::order("market", "BUY", bought))
        .await;
    let is_done = |it: &Value| it["events"][0]["orders"][0]["status"] == "FILLED";
    let told = client.find(is_done).await;
    let row = &told["events"][0]["orders"][0];
    assert_eq!(
        (&row["order_id"], &row["cumulative_quantity"]),
        (&json!(id), &json!("0.02"))
    );
    assert_eq!(
        (&row["leaves_quantity"], &row["order_type"]),
        (&json!("0"), &json!("Market"))
    );

    coinbase.fault("drop-reply:path=/api/v3/brokerage/orders");
    assert!(
        coinbase
            .ask_as(&coinbase.key, "POST", "orders", &limit("lost"))
            .await
            .is_none()
    );
    let open = coinbase
        .get("orders/historical/batch?order_status=OPEN")
        .await;
    assert_eq!(open["orders"][0]["client_order_id"], "lost");
    coinbase.fault("fail-reply:path=/api/v3/brokerage/orders");
    let (status, _) = coinbase
        .ask_as(&coinbase.key, "POST", "orders", &limit("failed"))
        .await
        .unwrap();
    assert_eq!(status, 503);
    let open = coinbase
        .get("orders/historical/batch?order_status=OPEN")
        .await;
    assert_eq!(open["orders"].as_array().unwrap().len(), 3);
    client.drain(Duration::from_millis(100)).await;
    // What a fault loses leaves a hole in the numbers.
    coinbase.fault("drop:stream=order,count=1");
    coinbase.place(limit("first")).await;
    coinbase.place(limit("second")).await;
    let messages = client.drain(Duration::from_millis(300)).await;
    let states: Vec<&Value> = messages
        .iter()
        .map(|it| &it["events"][0]["orders"][0]["status"])
        .collect();
    assert_eq!(states, [&json!("OPEN"), &json!("PENDING"), &json!("OPEN")]);
    coinbase.fault("private-outage:for=300ms");
    assert_eq!(client.end().await, None);
    coinbase.sim.shutdown().await;
}
