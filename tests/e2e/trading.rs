//! Orders through the public REST interface: on paper against a live book, and live against the
//! simulated exchanges, whose own record of the account is the truth that ours has to equal.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bookwire_sim::{Exchange, SimConfig};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::account::Account;
use crate::rig::{Rig, gateway};
use crate::secrets::nothing_tells_secrets;

/// A gateway with a key that may trade.
pub(crate) struct Trader {
    pub(crate) rig: Rig,
    pub(crate) key: String,
    pub(crate) http: reqwest::Client,
}

/// Runs the gateway's program beside the gateway.
pub(crate) fn run(rig: &Rig, args: &[&str], input: &str) -> String {
    let mut child = Command::new(gateway())
        .args(args)
        .args(["--data-dir", rig.data_dir().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Trader {
    pub(crate) async fn new(rig: Rig) -> Self {
        let args = [
            "keys",
            "create",
            "--quiet",
            "--permissions",
            "spot_trading,futures_trading",
        ];
        let key = run(&rig, &args, "");
        let trader = Self {
            rig,
            key,
            http: reqwest::Client::new(),
        };
        // A running server takes the key up within a fifth of a second.
        let end = Instant::now() + Duration::from_secs(10);
        while trader
            .ask(Method::GET, "/api/trading/accounts", None)
            .await
            .0
            != 200
        {
            assert!(Instant::now() < end, "{}", trader.rig.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        trader
    }

    /// The same client, at one provider.
    pub(crate) fn account(&self, provider: &str) -> Account {
        Account {
            provider: provider.to_owned(),
            api: self.rig.api.clone(),
            key: self.key.clone(),
            http: self.http.clone(),
        }
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let answer = self.account("").try_ask(&method, path, body.as_ref()).await;
        answer.unwrap()
    }

    pub(crate) async fn place(&self, body: Value) -> (u16, Value) {
        self.ask(
            Method::POST,
            "/api/trading/orders?numbers=string",
            Some(body),
        )
        .await
    }

    /// A figure of the account on paper at Binance, with more labels than its own.
    pub(crate) async fn figure(&self, name: &str, more: &str) -> f64 {
        let name = format!(
            "bookwire_{name}{{provider=\"binance\",account=\"default\",mode=\"paper\"{more}}}"
        );
        self.rig
            .metric(&name)
            .await
            .unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) async fn order(&self, id: &str) -> Value {
        let path = format!("/api/trading/orders/{id}?numbers=string");
        let (status, order) = self.ask(Method::GET, &path, None).await;
        assert_eq!(status, 200, "{order}");
        order
    }

    /// Waits until an order is in one of these states.
    pub(crate) async fn until(&self, id: &str, states: &[&str]) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let order = self.order(id).await;
            if states.contains(&order["status"].as_str().unwrap()) {
                return order;
            }
            assert!(Instant::now() < end, "{order}\n{}", self.rig.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn ready(&self, provider: &str) {
        let path = format!("/api/trading/accounts?provider={provider}");
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let (_, answer) = self.ask(Method::GET, &path, None).await;
            if answer["accounts"][0]["ready"] == true {
                return;
            }
            assert!(Instant::now() < end, "{answer}\n{}", self.rig.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// As [`Trader::ready`]; with `websocket` the line for orders is up too.
    pub(crate) async fn ready_by(&self, provider: &str, transport: &str) {
        self.ready(provider).await;
        if transport == "websocket" {
            self.socket_up(provider).await;
        }
    }

    /// How the exchange's WebSocket for orders stands.
    pub(crate) async fn socket(&self, provider: &str) -> Value {
        let path = format!("/api/trading/accounts?provider={provider}");
        let (_, mut answer) = self.ask(Method::GET, &path, None).await;
        answer["accounts"][0]["order_socket"].take()
    }

    pub(crate) async fn socket_up(&self, provider: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.socket(provider).await["up"] != true {
            assert!(Instant::now() < end, "{}", self.rig.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Best bid and ask.
    pub(crate) async fn touch(
        &self,
        provider: &str,
        code: &str,
        entity: &str,
    ) -> (Decimal, Decimal) {
        let path = format!(
            "/api/data/CryptoOrderbook?provider={provider}&entity_ids={entity}&depth=5&numbers=string"
        );
        let (status, book) = self.rig.get(&path).await;
        assert_eq!(status, 200, "{code}: {book}");
        let row = &book["data"][0];
        let price = |name: &str| row[name].as_str().unwrap().parse().unwrap();
        (price("best_bid"), price("best_ask"))
    }

    pub(crate) async fn balance(&self, provider: &str, asset: &str) -> (Decimal, Decimal) {
        let path =
            format!("/api/trading/balances?provider={provider}&asset={asset}&numbers=string");
        let (_, answer) = self.ask(Method::GET, &path, None).await;
        let row = &answer["balances"][0];
        let amount = |name: &str| row[name].as_str().unwrap_or("0").parse().unwrap();
        (amount("free"), amount("locked"))
    }
}

pub(crate) fn exchanges(exchanges: &[Exchange]) -> SimConfig {
    SimConfig {
        exchanges: exchanges.to_vec(),
        ..SimConfig::default()
    }
}

pub(crate) fn code(error: &Value) -> &str {
    error["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paper_orders_rest_fill_and_are_refused_for_a_reason() {
    let trader = Trader::new(Rig::start(exchanges(&[Exchange::Binance])).await).await;
    let entity = "cryptopair_binance_btcusdt";
    let (bid, ask) = trader.touch("binance", "btcusdt", entity).await;
    let base = json!({"provider": "binance", "entity_id": entity, "side": "buy"});
    let with = |more: Value| {
        let mut body = base.clone();
        let fields = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        body
    };
    // Without a key nothing is traded.
    let url = format!("http://{}/api/trading/orders", trader.rig.api);
    let answer = trader.http.post(url).body("{}").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);

    // A limit order far below rests, holds money, and is amended and canceled.
    let far = (bid * Decimal::new(95, 2)).round_dp(2);
    let resting = with(json!({
        "type": "limit", "quantity": 0.01, "price": far, "client_order_id": "rests"
    }));
    let (status, order) = trader.place(resting.clone()).await;
    assert_eq!(status, 201, "{order}");
    assert_eq!(order["status"], "open", "{order}");
    assert_eq!(order["mode"], "paper");
    let id = order["order_id"].as_str().unwrap().to_owned();
    // With the taker's fee, should it execute at once.
    let held = far * Decimal::new(1, 2) * Decimal::new(10_005, 4);
    assert_eq!(trader.balance("binance", "USDT").await.1, held);
    // The same again is the same order; something else under its name is not.
    let (status, again) = trader.place(resting.clone()).await;
    assert_eq!((status, &again["order_id"]), (200, &order["order_id"]));
    let mut other = resting.clone();
    other["quantity"] = json!(0.02);
    let (status, error) = trader.place(other).await;
    assert_eq!((status, code(&error)), (409, "CRYPTO_DUPLICATE_ORDER"));
    let path = format!("/api/trading/orders/{id}?numbers=string");
    let (status, amended) = trader
        .ask(Method::PATCH, &path, Some(json!({"quantity": "0.02"})))
        .await;
    assert_eq!(
        (status, &amended["quantity"]),
        (200, &json!("0.02")),
        "{amended}"
    );
    assert_eq!(amended["amended"], "in_place");
    // An amendment passes the same limits as an order.
    let double = json!({"price": (ask * Decimal::TWO).round_dp(0).to_string()});
    let (status, error) = trader.ask(Method::PATCH, &path, Some(double)).await;
    assert_eq!(
        (status, code(&error)),
        (403, "CRYPTO_RISK_LIMIT"),
        "{error}"
    );
    // What is rounded on request is the same when it is asked for again.
    let rounded = with(json!({
        "type": "limit", "quantity": "0.0100009", "price": format!("{far}7"), "round": true,
        "client_order_id": "rounded"
    }));
    let (status, first) = trader.place(rounded.clone()).await;
    assert_eq!(
        (status, &first["quantity"]),
        (201, &json!("0.01")),
        "{first}"
    );
    let (status, again) = trader.place(rounded).await;
    assert_eq!(
        (status, &again["order_id"]),
        (200, &first["order_id"]),
        "{again}"
    );
    let rounded = format!(
        "/api/trading/orders/{}",
        first["order_id"].as_str().unwrap()
    );
    assert_eq!(trader.ask(Method::DELETE, &rounded, None).await.0, 200);
    let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!((status, &canceled["status"]), (200, &json!("canceled")));
    assert_eq!(trader.balance("binance", "USDT").await.1, Decimal::ZERO);
    let (status, error) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!((status, code(&error)), (404, "CRYPTO_ORDER_NOT_FOUND"));

    // A market order fills at the book, with fees, and changes the balances by what it says.
    let before = trader.balance("binance", "USDT").await.0;
    let (status, order) = trader
        .place(with(json!({"type": "market", "quantity": "0.01"})))
        .await;
    assert_eq!(status, 201, "{order}");
    let order = trader
        .until(order["order_id"].as_str().unwrap(), &["filled"])
        .await;
    let average: Decimal = order["average_price"].as_str().unwrap().parse().unwrap();
    assert!(average >= bid * Decimal::new(99, 2) && average <= ask * Decimal::new(101, 2));
    let spent = before - trader.balance("binance", "USDT").await.0;
    let fee: Decimal = order["fee"].as_str().unwrap().parse().unwrap();
    assert_eq!(order["fee_asset"], "USDT");
    let difference = (spent - average * Decimal::new(1, 2) - fee).abs();
    assert!(difference < Decimal::new(1, 9), "{spent}: {order}");
    let id = order["order_id"].as_str().unwrap();
    let (_, fills) = trader
        .ask(
            Method::GET,
            &format!("/api/trading/fills?order_id={id}&numbers=string"),
            None,
        )
        .await;
    let sum: Decimal = fills["fills"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fill| {
            fill["quantity"]
                .as_str()
                .unwrap()
                .parse::<Decimal>()
                .unwrap()
        })
        .sum();
    assert_eq!(sum, Decimal::new(1, 2), "{fills}");

    // What is wrong with an order is said before anything is sent.
    for (more, status, expected) in [
        (
            json!({"type": "limit", "quantity": "0.000001", "price": far}),
            400,
            "CRYPTO_PRECISION_ERROR",
        ),
        (
            json!({"type": "limit", "quantity": "0.01", "price": "1.001"}),
            400,
            "CRYPTO_PRECISION_ERROR",
        ),
        (
            json!({"type": "limit", "quantity": "0.00001", "price": far}),
            400,
            "CRYPTO_MIN_NOTIONAL_NOT_MET",
        ),
        (
            json!({"type": "limit", "quantity": "90", "price": far}),
            400,
            "CRYPTO_INSUFFICIENT_BALANCE",
        ),
        (
            json!({"type": "limit", "quantity": "0.01", "price": (ask * Decimal::TWO).round_dp(0)}),
            403,
            "CRYPTO_RISK_LIMIT",
        ),
        (
            json!({"type": "limit", "quantity": "0.01"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            json!({"type": "iceberg", "quantity": "0.01"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            json!({"type": "market", "quantity": "0.01", "colour": "red"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            json!({"type": "market", "quantity": "0.01", "account": "other"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
    ] {
        let (got, error) = trader.place(with(more.clone())).await;
        assert_eq!((got, code(&error)), (status, expected), "{more}: {error}");
        assert!(
            !error["error"]["recovery_suggestions"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
    let (status, error) = trader
        .place(
            json!({"provider": "binance", "entity_id": "cryptopair_binance_nonesuch",
            "side": "buy", "type": "market", "quantity": 1}),
        )
        .await;
    assert_eq!((status, code(&error)), (404, "CRYPTO_PAIR_NOT_FOUND"));

    // All of it is counted: two refused by a limit, one of them amended; at least four by their amounts.
    let refused = async |why: &str| {
        let label = format!(",reason=\"{why}\"");
        trader.figure("orders_rejected_total", &label).await
    };
    assert_eq!(refused("risk").await as u64, 2);
    assert!(refused("check").await >= 4.0);
    assert_eq!(refused("exchange").await as u64, 0);
    let placed = trader.figure("orders_placed_total", "").await;
    assert_eq!(placed as u64, 3);
    let timed = ",stage=\"entry\"";
    let timed = trader.figure("order_latency_seconds_count", timed).await;
    assert_eq!(timed as u64, 3);
    assert!(trader.figure("order_journal_bytes", "").await > 1_000.0);
    assert_eq!(trader.figure("trading_ready", "").await as u64, 1);
    let (_, summary) = trader.rig.get("/api/crypto/metrics").await;
    let account = &summary["trading_metrics"]["accounts"][0];
    assert_eq!(account["orders_placed"], 3, "{account}");

    // The kill switch cancels and refuses until it is released, and outlives a crash.
    let (status, order) = trader
        .place(with(
            json!({"type": "limit", "quantity": 0.01, "price": far}),
        ))
        .await;
    assert_eq!(status, 201, "{order}");
    let kept = order["order_id"].as_str().unwrap().to_owned();
    let switch = |engaged: bool| json!({"provider": "binance", "engaged": engaged});
    let path = "/api/trading/kill_switch";
    let (status, answer) = trader.ask(Method::POST, path, Some(switch(true))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["orders"][0]["order_id"], json!(kept));
    let mut trader = trader;
    trader.rig.kill_gateway();
    trader.rig.start_gateway().await;
    trader.touch("binance", "btcusdt", entity).await;
    let market = with(json!({"type": "market", "quantity": "0.01", "client_order_id": "after"}));
    let (status, error) = trader.place(market.clone()).await;
    assert_eq!(
        (status, code(&error)),
        (423, "CRYPTO_TRADING_HALTED"),
        "{error}"
    );
    let engaged = trader.figure("trading_kill_switch_engaged", "").await;
    assert_eq!(engaged as u64, 1);
    let (status, _) = trader.ask(Method::POST, path, Some(switch(false))).await;
    assert_eq!(status, 200);
    let engaged = trader.figure("trading_kill_switch_engaged", "").await;
    assert_eq!(engaged as u64, 0);
    let (status, order) = trader.place(market).await;
    assert_eq!(status, 201, "{order}");
    // A new beginning has the balances of the configuration.
    let (status, _) = trader
        .ask(
            Method::POST,
            "/api/trading/paper/reset",
            Some(json!({"provider": "binance"})),
        )
        .await;
    assert_eq!(status, 200);
    let whole = Decimal::from(100_000);
    assert_eq!(trader.balance("binance", "USDT").await.0, whole);
    // Ids used before the crash are remembered.
    let (status, again) = trader.place(resting).await;
    assert_eq!(
        (status, &again["status"]),
        (200, &json!("canceled")),
        "{again}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paper_orders_go_on_after_a_crash() {
    let trader = Trader::new(Rig::start(exchanges(&[Exchange::Okx])).await).await;
    let entity = "cryptoperp_okx_btcusdt";
    let (bid, _) = trader.touch("okx", "btcusdt", entity).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0);
    let order = |side: &str, kind: Value| {
        let mut body = json!({"provider": "okx", "entity_id": entity, "side": side});
        body.as_object_mut()
            .unwrap()
            .extend(kind.as_object().unwrap().clone());
        body
    };
    let market = json!({"type": "market", "quantity": "0.1"});
    let (status, bought) = trader.place(order("buy", market)).await;
    assert_eq!(status, 201, "{bought}");
    trader
        .until(bought["order_id"].as_str().unwrap(), &["filled"])
        .await;
    let limit = json!({"type": "limit", "quantity": "0.1", "price": far});
    let (status, resting) = trader.place(order("buy", limit)).await;
    assert_eq!(
        (status, &resting["status"]),
        (201, &json!("open")),
        "{resting}"
    );
    let positions = "/api/trading/positions?provider=okx&numbers=string";
    let (_, before) = trader.ask(Method::GET, positions, None).await;
    assert_eq!(before["positions"][0]["quantity"], "0.1", "{before}");
    let balance = trader.balance("okx", "USDT").await;
    let mut trader = trader;
    trader.rig.kill_gateway();
    trader.rig.start_gateway().await;
    // Desks are told of what was there before anything else is taken.
    trader.ready("okx").await;
    let (_, after) = trader.ask(Method::GET, positions, None).await;
    for name in ["quantity", "entry_price", "leverage"] {
        let of = |rows: &Value| rows["positions"][0][name].clone();
        assert_eq!(of(&after), of(&before), "{name}");
    }
    assert_eq!(trader.balance("okx", "USDT").await, balance);
    let id = resting["order_id"].as_str().unwrap();
    assert_eq!(trader.order(id).await["status"], "open");
    let (status, canceled) = trader
        .ask(Method::DELETE, &format!("/api/trading/orders/{id}"), None)
        .await;
    assert_eq!(
        (status, &canceled["status"]),
        (200, &json!("canceled")),
        "{canceled}"
    );
    // Closing it with an order that may only reduce.
    let close = json!({"type": "market", "quantity": "0.1", "reduce_only": true});
    let (status, closed) = trader.place(order("sell", close)).await;
    assert_eq!(status, 201, "{closed}");
    trader
        .until(closed["order_id"].as_str().unwrap(), &["filled"])
        .await;
    let (_, flat) = trader.ask(Method::GET, positions, None).await;
    assert_eq!(flat["positions"], json!([]), "{flat}");
}

/// Live against a simulated exchange, ready to trade; orders travel by `rest` or `websocket`. All is logged
/// that can be: what must not be told is not told at any level.
pub async fn live(exchange: Exchange, transport: &str) -> Trader {
    let log = "\n[log]\nlevel = \"trace\"\n";
    let trader = live_by(&[exchange], transport, log, |_| {}, Value::clone).await;
    trader.ready_by(exchange.as_str(), transport).await;
    trader
}

/// Live against simulated exchanges. `more` is configuration that begins within `[trading]`, `prepare`
/// is called before the gateway starts, `pick` chooses one of the keys that a simulator offers.
pub(crate) async fn live_with(
    all: &[Exchange],
    more: &str,
    prepare: impl FnOnce(&Rig),
    pick: impl Fn(&Value) -> Value,
) -> Trader {
    live_by(all, "rest", more, prepare, pick).await
}

/// As [`live_with`]; orders travel by `rest` or `websocket`.
pub(crate) async fn live_by(
    all: &[Exchange],
    transport: &str,
    more: &str,
    prepare: impl FnOnce(&Rig),
    pick: impl Fn(&Value) -> Value,
) -> Trader {
    let patience = match more.contains("answer_timeout_ms") {
        true => "",
        false => "answer_timeout_ms = 1500\n",
    };
    let mut config = format!("[trading]\nreconcile_secs = 5\n{patience}{more}\n\n");
    for exchange in all {
        let provider = exchange.as_str();
        config += &format!(
            "[providers.{provider}.trading]\nmode = \"live\"\ntransport = \"{transport}\"\n\n"
        );
    }
    let rig = Rig::start_prepared(exchanges(all), &config, |rig| {
        for exchange in all {
            let provider = exchange.as_str();
            let credentials = pick(&rig.sim.endpoints()[provider]["credentials"]);
            run(
                rig,
                &["credentials", "set", provider],
                &credentials.to_string(),
            );
        }
        prepare(rig);
    });
    Trader::new(rig.await).await
}

/// What every exchange has to be able to do, with what its simulator says of it afterwards.
async fn trades_live(exchange: Exchange, instruments: &[(&str, &str)]) {
    let trader = live(exchange, "rest").await;
    let provider = exchange.as_str();
    for (entity, quantity) in instruments {
        trades_instrument(&trader, provider, entity, quantity).await;
    }
    assert_eq!(trader.socket(provider).await, Value::Null);
    nothing_tells_secrets(&trader, provider);
}

pub(crate) async fn trades_instrument(
    trader: &Trader,
    provider: &str,
    entity: &str,
    quantity: &str,
) {
    let (bid, _) = trader.touch(provider, entity, entity).await;
    let quantity: Decimal = quantity.parse().unwrap();
    let base = json!({"provider": provider, "entity_id": entity, "side": "buy"});
    let with = |more: Value| {
        let mut body = base.clone();
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let far = (bid * Decimal::new(95, 2)).round_dp(0);
    let limit = json!({"type": "limit", "quantity": quantity.to_string(), "price": far.to_string(), "client_order_id": format!("one-{entity}")});
    let (status, order) = trader.place(with(limit.clone())).await;
    assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
    assert_eq!(order["mode"], "live");
    let id = order["order_id"].as_str().unwrap().to_owned();
    let open = trader.until(&id, &["open"]).await;
    assert!(open["exchange_order_id"].is_string(), "{open}");
    let (status, again) = trader.place(with(limit)).await;
    assert_eq!((status, &again["order_id"]), (200, &json!(id)));
    let path = format!("/api/trading/orders/{id}");
    let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, 200, "{canceled}");
    trader.until(&id, &["canceled"]).await;

    let market = json!({"type": "market", "quantity": quantity.to_string()});
    let (status, order) = trader.place(with(market)).await;
    assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
    let id = order["order_id"].as_str().unwrap().to_owned();
    let filled = trader.until(&id, &["filled"]).await;
    assert_eq!(
        filled["filled_quantity"]
            .as_str()
            .unwrap()
            .parse::<Decimal>()
            .unwrap(),
        quantity
    );
    // All executions are known, with their fees.
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let fills = format!("/api/trading/fills?order_id={id}&numbers=string");
        let (_, fills) = trader.ask(Method::GET, &fills, None).await;
        let rows = fills["fills"].as_array().unwrap();
        let sum: Decimal = rows
            .iter()
            .map(|fill| {
                fill["quantity"]
                    .as_str()
                    .unwrap()
                    .parse::<Decimal>()
                    .unwrap()
            })
            .sum();
        if sum == quantity && rows.iter().all(|fill| fill["fee"].is_string()) {
            break;
        }
        assert!(Instant::now() < end, "{fills}\n{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (status, error) = trader
        .place(with(json!({"type": "limit", "quantity": "1000", "price": far.to_string(), "client_order_id": format!("rich-{entity}")})))
        .await;
    assert_eq!(
        (status, code(&error)),
        (400, "CRYPTO_INSUFFICIENT_BALANCE"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binance_is_traded_at() {
    let instruments = [
        ("cryptopair_binance_btcusdt", "0.01"),
        ("cryptoperp_binance_btcusdt", "0.01"),
    ];
    trades_live(Exchange::Binance, &instruments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn okx_is_traded_at() {
    let instruments = [
        ("cryptopair_okx_btcusdt", "0.01"),
        ("cryptoperp_okx_btcusdt", "0.1"),
    ];
    trades_live(Exchange::Okx, &instruments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bybit_is_traded_at() {
    let instruments = [
        ("cryptopair_bybit_btcusdt", "0.01"),
        ("cryptoperp_bybit_btcusdt", "0.01"),
    ];
    trades_live(Exchange::Bybit, &instruments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coinbase_is_traded_at() {
    let instruments = [("cryptopair_coinbase_btcusd", "0.01")];
    trades_live(Exchange::Coinbase, &instruments).await;
}

/// Most keys are for spot alone: what they may not use must not keep them from trading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_is_not_used_is_not_asked() {
    let more = "\n[providers.binance]\nmarkets = [\"spot\"]\n";
    let futures_are_away = |rig: &Rig| {
        let control = rig.sim.control().of(Exchange::Binance).unwrap();
        control.inject("503:path=/fapi".parse().unwrap());
    };
    let all = [Exchange::Binance];
    let trader = live_by(&all, "websocket", more, futures_are_away, Value::clone).await;
    trader.ready_by("binance", "websocket").await;
    trades_instrument(&trader, "binance", "cryptopair_binance_btcusdt", "0.01").await;
}
