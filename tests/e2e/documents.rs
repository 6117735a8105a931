//! The documents hold: every answer and every message is as they say, field by field, and each has the
//! fields of the contract. No field may come that is not described.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use bookwire_sim::Exchange;
use reqwest::Method;
use serde_json::{Value, json};

use crate::private::prove_and;
use crate::rig::schema::Schemas;
use crate::rig::{Feed, Rig};
use crate::trading::{Trader, exchanges, run};

const WITHIN: Duration = Duration::from_secs(20);
const SPOT: &str = "cryptopair_binance_btcusdt";
const PERP: &str = "cryptoperp_binance_btcusdt";

/// Closes every object that lists its fields: another one is an error. Rows of which `columns` chooses
/// have all of theirs when it is not given.
fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("properties")
                && map.contains_key("required")
                && !map.contains_key("additionalProperties")
            {
                map.insert("additionalProperties".to_owned(), false.into());
            }
            map.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

fn closed(mut document: Value) -> Value {
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for (name, schema) in schemas {
        if (name.starts_with("Crypto") || name == "QuarantinedBar")
            && let Some(fields) = schema["properties"].as_object()
        {
            let names: Vec<&String> = fields.keys().collect();
            schema["required"] = json!(names);
        }
    }
    close(&mut document["components"]);
    close(&mut document["paths"]);
    document
}

fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    let faults = Schemas(document).faults(schema, value);
    let shown: String = value.to_string().chars().take(1500).collect();
    assert!(faults.is_empty(), "{what}:\n{}\n{shown}", faults.join("\n"));
}

/// A server and its document. Every answer is held to it.
struct Documented {
    trader: Trader,
    document: Value,
    /// Operations that were answered well, by their ids.
    seen: BTreeSet<String>,
}

impl Documented {
    async fn new(trader: Trader) -> Self {
        let (status, document) = trader.rig.get("/api/openapi.json").await;
        assert_eq!(status, 200);
        Self {
            trader,
            document: closed(document),
            seen: BTreeSet::new(),
        }
    }

    /// The description of a request.
    fn operation(&self, method: &Method, path: &str) -> &Value {
        let fits = |template: &str| {
            let (mut own, mut sent) = (template.split('/'), path.split('/'));
            loop {
                match (own.next(), sent.next()) {
                    (None, None) => return true,
                    (Some(own), Some(sent)) if own == sent || own.starts_with('{') => {}
                    _ => return false,
                }
            }
        };
        let paths = self.document["paths"].as_object().unwrap();
        let exact = paths.get(path).or_else(|| {
            let found = paths.iter().find(|(template, _)| fits(template));
            found.map(|(_, item)| item)
        });
        let item = exact.unwrap_or_else(|| panic!("{path} is not documented"));
        let described = &item[method.as_str().to_lowercase()];
        assert!(described.is_object(), "{method} {path} is not documented");
        described
    }

    /// Sends a request, holds its answer to the document, and returns it.
    async fn ask(&mut self, method: Method, target: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}{target}", self.trader.rig.api);
        let mut request = self.trader.http.request(method.clone(), url);
        request = request.bearer_auth(&self.trader.key);
        if let Some(body) = &body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        for header in [
            "x-trace-id",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ] {
            assert!(answer.headers().contains_key(header), "{target}: {header}");
        }
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let kind = kind.split(';').next().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        let path = target.split('?').next().unwrap();
        let described = self.operation(&method, path);
        let told = &described["responses"][status.to_string()];
        let shared = told["$ref"]
            .as_str()
            .map(|to| self.document.pointer(&to[1..]).unwrap());
        let told = shared.unwrap_or(told);
        let what = format!("{method} {target}: {status}");
        assert!(told.is_object(), "{what} is not documented: {text}");
        let schema = &told["content"][&kind]["schema"];
        assert!(schema.is_object(), "{what}: {kind} is not documented");
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        check(&self.document, schema, &value, &what);
        if status < 300 {
            let id = described["operationId"].as_str().unwrap().to_owned();
            self.seen.insert(id);
        }
        (status, value)
    }

    async fn get(&mut self, target: &str) -> Value {
        let (status, value) = self.ask(Method::GET, target, None).await;
        assert_eq!(status, 200, "{target}: {value}");
        value
    }

    /// A list, once something is in it: what is recorded is stored in batches.
    async fn rows(&mut self, target: &str) -> Value {
        let end = tokio::time::Instant::now() + WITHIN;
        loop {
            let answer = self.get(target).await;
            if answer["data"]
                .as_array()
                .is_some_and(|rows| !rows.is_empty())
            {
                return answer;
            }
            assert!(tokio::time::Instant::now() < end, "{target}: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn post(&mut self, target: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, target, Some(body)).await
    }
}

/// Demands the fields that the contract names.
fn has(value: &Value, names: &str, what: &str) {
    for name in names.split_whitespace() {
        let there = value.as_object().is_some_and(|map| map.contains_key(name));
        assert!(there, "{what}: no `{name}` in {value}");
    }
}

async fn entities(of: &mut Documented) {
    let instrument = "id entity_id entity_type exchange code name base_symbol quote_symbol price_step qty_step \
        min_notional maker_fee taker_fee is_active margin_enabled list_date min_qty max_qty native_symbol";
    let perp =
        "underlying_symbol settlement_symbol contract_size max_leverage funding_interval_hours";
    for (schema, fields) in [
        (
            "CryptoAsset",
            "id entity_id entity_type exchange code name".to_owned(),
        ),
        ("CryptoPair", instrument.to_owned()),
        ("CryptoPerp", format!("{instrument} {perp}")),
    ] {
        let answer = of
            .get(&format!("/api/data/{schema}?provider=binance&limit=3"))
            .await;
        has(&answer, "data total page page_size has_more", schema);
        assert!(!answer["data"].as_array().unwrap().is_empty());
        has(&answer["data"][0], &fields, schema);
    }
    for filter in [
        "base_symbols=btc&quote_symbols=usdt&is_active=true&margin_enabled=false",
        "codes=btcusdt,ethusdt&numbers=string&columns=code,price_step",
    ] {
        let url = format!("http://{}/api/data/CryptoPair?{filter}", of.trader.rig.api);
        assert_eq!(
            of.trader.http.get(url).send().await.unwrap().status(),
            200,
            "{filter}"
        );
    }
    of.get("/api/data/CryptoPerp?underlying_symbols=btc&settlement_symbols=usdt&max_leverage=2&funding_interval_hours=8")
        .await;
    has(
        &of.get("/api/data/providers").await,
        "stock crypto index etf",
        "providers",
    );
    of.get("/api/data/providers?format=list").await;
    let lists = of.get("/api/data/schemas?provider=binance").await;
    has(
        &lists,
        "entity_schemas kdata_schemas tick_schemas",
        "schemas",
    );
    of.get("/api/data/schemas?format=list").await;
    let bare = of
        .get("/api/data/query_data?provider=binance&schema=CryptoPair")
        .await;
    assert!(bare.is_array());
    of.get("/api/data/CryptoPair?format=csv").await;
}

async fn series(of: &mut Documented) {
    let bar = "id entity_id timestamp provider code name level open high low close volume turnover volume_base \
        volume_quote trade_count vwap change_pct turnover_rate";
    for market in ["Pair", "Perp"] {
        for level in ["1m", "5m", "15m", "30m", "1h", "4h", "1d"] {
            let schema = format!("Crypto{market}{level}Kdata");
            let answer = of
                .get(&format!(
                    "/api/data/{schema}?provider=binance&codes=btcusdt&limit=2"
                ))
                .await;
            has(&answer, "data total page page_size has_more", &schema);
            if level == "1m" {
                has(&answer["data"][0], bar, &schema);
            }
        }
    }
    for (schema, fields) in [
        (
            "CryptoTrade",
            "id entity_id timestamp provider code trade_id price volume side is_buyer_maker",
        ),
        (
            "CryptoFunding",
            "id entity_id timestamp provider code funding_rate predicted_rate funding_interval_hours mark_price \
             index_price next_funding_timestamp",
        ),
        (
            "CryptoOrderbook",
            "bids asks sequence timestamp best_bid best_ask mid_price spread",
        ),
    ] {
        for numbers in ["number", "string"] {
            let symbol = if schema == "CryptoFunding" {
                "btcusdt"
            } else {
                SPOT
            };
            let target = format!(
                "/api/data/{schema}?provider=binance&codes={symbol}&limit=3&numbers={numbers}"
            );
            let answer = of.rows(&target).await;
            has(&answer["data"][0], fields, schema);
        }
    }
    let warned = of
        .get("/api/data/CryptoTrade?provider=binance&codes=btcusdt,nosuchusdt&limit=1")
        .await;
    has(&warned, "warnings", "trades of one that is not there");
}

async fn operations(of: &mut Documented) {
    let capability = "spot_trading perpetual_trading margin_trading max_leverage funding_intervals \
        supported_order_types websocket_endpoints rate_limits";
    let all = of.get("/api/crypto/providers/capabilities").await;
    for provider in ["binance", "okx", "bybit", "coinbase", "ccxt"] {
        has(&all[provider], capability, provider);
        let limits = "requests_per_minute orders_per_minute websocket_connections";
        has(&all[provider]["rate_limits"], limits, provider);
    }
    let status = of.get("/api/crypto/providers/status").await;
    for row in status["providers"].as_array().unwrap() {
        has(
            row,
            "name status api_latency_ms websocket_connected last_data_timestamp error_rate_1h uptime_24h",
            "status",
        );
    }
    let gaps = of
        .get(
            "/api/crypto/validation/gaps?provider=binance&symbol=btcusdt&interval=1h&backfill=true",
        )
        .await;
    has(
        &gaps,
        "gaps expected_bars present_bars completeness_pct backfill",
        "gaps",
    );
    let gaps = of
        .get("/api/crypto/validation/gaps?provider=binance&symbol=ethusdt&interval=1m&start_timestamp=2020-01-01&end_timestamp=2020-01-02")
        .await;
    let fields = "start_timestamp end_timestamp missing_bars reason";
    has(&gaps["gaps"][0], fields, "gaps of what nobody fetched");
    of.get("/api/crypto/validation/quarantine").await;
    of.get("/api/crypto/history/backfill").await;
    let log = of.get("/api/crypto/log").await;
    has(&log, "filter configured until", "the log's levels");
    let config = of.get("/api/crypto/config").await;
    let binance = &config["exchanges"]["binance"];
    has(
        binance,
        "api_endpoint websocket_endpoint rate_limits",
        "config",
    );
    has(
        &binance["rate_limits"],
        "requests_per_minute burst_limit",
        "config",
    );
    has(
        &config["data_collection"],
        "default_backfill_days max_concurrent_streams data_quality_checks_enabled",
        "config",
    );
    let metrics = of.get("/api/crypto/metrics").await;
    for (part, fields) in [
        (
            "websocket_metrics",
            "total_reconnects_24h average_message_lag_ms messages_dropped_24h",
        ),
        (
            "data_quality_metrics",
            "validation_failures_24h cross_exchange_deviations data_gaps_detected_24h",
        ),
        (
            "performance_metrics",
            "average_query_response_ms current_memory_usage_gb active_websocket_connections",
        ),
    ] {
        has(&metrics[part], fields, part);
    }
    for stage in metrics["latency_metrics"]["stages"]
        .as_object()
        .unwrap()
        .values()
    {
        has(stage, "p50_us p99_us p99_9_us", "stages");
    }
    let health = of.get("/api/crypto/health").await;
    has(&health, "status checks uptime_seconds last_check", "health");
    has(
        &health["checks"],
        "database_connectivity exchange_connectivity websocket_streams data_freshness memory_usage",
        "health",
    );
    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/api/openapi.json",
        "/api/asyncapi.json",
        "/docs",
    ] {
        of.get(path).await;
    }
    let good = of.get("/api/crypto/auth/validate?provider=binance").await;
    has(
        &good,
        "valid permissions rate_limits expires_at",
        "validate",
    );
    has(&good["rate_limits"], "remaining reset_time", "validate");
    assert_eq!(good["valid"], true, "{good}");
}

async fn commands(of: &mut Documented) {
    let body = json!({"symbol": "btcusdt", "providers": ["binance", "okx"], "timestamp": "2024-08-01T12:34:56Z",
        "prices": {"binance": 50_000.10, "okx": "50001.00"}});
    let (status, verdict) = of.post("/api/crypto/validation/price", body).await;
    assert_eq!(status, 200, "{verdict}");
    has(
        &verdict["validation_result"],
        "is_valid max_deviation_pct outliers confidence_score recommended_price",
        "price",
    );
    assert_eq!(verdict["validation_result"]["is_valid"], true);
    let (status, refused) = of
        .post(
            "/api/crypto/validation/price",
            json!({"symbol": "btcusdt", "providers": ["binance"]}),
        )
        .await;
    assert_eq!(
        (status, crate::trading::code(&refused)),
        (422, "CRYPTO_DATA_QUALITY_FAILURE")
    );
    let (status, answer) = of
        .ask(
            Method::PUT,
            "/api/crypto/config/exchanges/binance",
            Some(json!({"rate_limits": {"requests_per_minute": 5000}})),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let filter = json!({"filter": "warn", "for_seconds": 5});
    let (status, answer) = of.ask(Method::PUT, "/api/crypto/log", Some(filter)).await;
    assert_eq!(status, 200, "{answer}");
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let hour_ago = since.as_secs() - 3_600;
    for target in [
        "/api/crypto/providers/binance/resync?symbol=btcusdt",
        "/api/crypto/providers/binance/reconnect?timeout_seconds=10",
        &format!(
            "/api/crypto/history/backfill?provider=binance&symbol=solusdt&start_timestamp={hour_ago}"
        ),
    ] {
        let (status, answer) = of.ask(Method::POST, target, None).await;
        assert!(status < 300, "{target}: {answer}");
    }
}

async fn trading(of: &mut Documented) {
    let limit = |price: &str, client: &str| {
        json!({"provider": "binance", "entity_id": SPOT, "entity_type": "cryptopair", "side": "buy",
            "type": "limit", "quantity": "0.01", "price": price, "time_in_force": "GTC",
            "client_order_id": client, "round": true})
    };
    let book = of
        .get(&format!(
            "/api/data/CryptoOrderbook?provider=binance&codes={SPOT}"
        ))
        .await;
    let bid = book["data"][0]["best_bid"].as_f64().unwrap();
    let low = format!("{:.2}", bid * 0.95);
    let (status, order) = of.post("/api/trading/orders", limit(&low, "a-1")).await;
    assert_eq!(status, 201, "{order}");
    has(
        &order,
        "order_id client_order_id exchange_order_id account entity_id entity_type provider symbol side type status \
         quantity price stop_price filled_quantity remaining_quantity average_price fee fee_asset time_in_force \
         position_side reduce_only leverage post_only created_at updated_at reject_reason",
        "order",
    );
    let (status, _) = of.post("/api/trading/orders", limit(&low, "a-1")).await;
    assert_eq!(status, 200, "the same again");
    let (status, _) = of
        .post(
            "/api/trading/orders",
            limit(&format!("{:.2}", bid * 0.94), "a-1"),
        )
        .await;
    assert_eq!(status, 409, "another body");
    let id = order["order_id"].as_str().unwrap().to_owned();
    let path = format!("/api/trading/orders/{id}");
    of.get(&path).await;
    of.get("/api/trading/orders/by-client-id/a-1").await;
    of.get("/api/trading/orders?provider=binance&status=open,partially_filled&limit=5")
        .await;
    let (status, amended) = of
        .ask(Method::PATCH, &path, Some(json!({"quantity": "0.02"})))
        .await;
    assert_eq!(status, 200, "{amended}");
    let (status, gone) = of.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, 200, "{gone}");
    for (entity, kind) in [(SPOT, "cryptopair"), (PERP, "cryptoperp")] {
        let market = json!({"provider": "binance", "entity_id": entity, "entity_type": kind, "side": "buy",
            "type": "market", "quantity": "0.01"});
        let (status, order) = of.post("/api/trading/orders?numbers=string", market).await;
        assert_eq!(status, 201, "{order}");
        let order = order["order_id"].as_str().unwrap().to_owned();
        of.trader.until(&order, &["filled"]).await;
    }
    let positions = of.get("/api/trading/positions").await;
    has(
        &positions["positions"][0],
        "entity_id entity_type provider symbol position_side quantity entry_price mark_price unrealized_pnl leverage \
         margin margin_ratio funding_cost liquidation_price",
        "positions",
    );
    let balances = of.get("/api/trading/balances").await;
    has(
        &balances["balances"][0],
        "provider account asset free locked total",
        "balances",
    );
    let fills = of.get("/api/trading/fills").await;
    assert!(!fills["fills"].as_array().unwrap().is_empty());
    of.get("/api/trading/accounts").await;
    let okx = json!({"provider": "okx", "entity_id": "cryptoperp_okx_btcusdt", "leverage": 3});
    let (status, answer) = of.post("/api/trading/leverage", okx).await;
    assert_eq!(status, 200, "{answer}");
    of.post("/api/trading/orders", limit(&low, "a-2")).await;
    let (status, answer) = of
        .ask(Method::DELETE, "/api/trading/orders?provider=binance", None)
        .await;
    assert_eq!(
        (status, answer["orders"].as_array().map(Vec::len)),
        (200, Some(1)),
        "{answer}"
    );
    for engaged in [true, false] {
        let (status, answer) = of
            .post("/api/trading/kill_switch", json!({"engaged": engaged}))
            .await;
        assert_eq!(status, 200, "{answer}");
        if engaged {
            let (status, answer) = of.post("/api/trading/orders", limit(&low, "a-3")).await;
            assert_eq!(status, 423, "{answer}");
        }
    }
    let (status, answer) = of
        .post("/api/trading/paper/reset", json!({"provider": "binance"}))
        .await;
    assert_eq!(status, 200, "{answer}");
}

/// What is refused is refused as documented.
async fn refusals(of: &mut Documented) {
    for (method, target, body, status) in [
        (
            Method::GET,
            "/api/data/CryptoTrade?codes=btcusdt",
            None,
            400,
        ),
        (
            Method::GET,
            "/api/data/CryptoTrade?provider=binance&codes=nosuchusdt",
            None,
            404,
        ),
        (
            Method::GET,
            "/api/data/CryptoFunding?provider=binance&entity_ids=cryptopair_binance_btcusdt",
            None,
            404,
        ),
        (Method::GET, "/api/data/CryptoPair?depth=1", None, 400),
        (
            Method::POST,
            "/api/trading/leverage?dry=1",
            Some(json!({})),
            400,
        ),
        (
            Method::POST,
            "/api/trading/kill_switch?dry=1",
            Some(json!({"engaged": true})),
            400,
        ),
        (
            Method::POST,
            "/api/trading/paper/reset?dry=1",
            Some(json!({"provider": "okx"})),
            400,
        ),
        (
            Method::POST,
            "/api/trading/leverage",
            Some(json!({"provider": "binance", "entity_id": PERP, "leverage": 0})),
            400,
        ),
        (Method::GET, "/api/trading/orders/none", None, 404),
        (Method::GET, "/api/trading/orders?status=odd", None, 400),
        (
            Method::POST,
            "/api/crypto/providers/nobody/reconnect",
            None,
            404,
        ),
        (
            Method::POST,
            "/api/crypto/providers/coinbase/reconnect",
            None,
            503,
        ),
        (
            Method::POST,
            "/api/crypto/validation/quarantine/7/release",
            None,
            404,
        ),
    ] {
        let (got, answer) = of.ask(method, target, body).await;
        assert_eq!(got, status, "{target}: {answer}");
    }
}

async fn server(exchanged: &[Exchange]) -> Trader {
    let mut trader = Trader::new(Rig::start(exchanges(exchanged)).await).await;
    let all = "data_access,spot_trading,futures_trading,admin";
    trader.key = run(
        &trader.rig,
        &["keys", "create", "--quiet", "--permissions", all],
        "",
    );
    let end = tokio::time::Instant::now() + WITHIN;
    while trader
        .ask(Method::GET, "/api/trading/accounts", None)
        .await
        .0
        != 200
    {
        assert!(tokio::time::Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    trader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_documented() {
    let mut of = Documented::new(server(&[Exchange::Binance, Exchange::Okx]).await).await;
    // A stream from the first subscription on, for what is told of streams.
    let mut feed = of.trader.rig.feed().await;
    let params = json!({"stream": "crypto.trades", "provider": "binance", "symbols": ["btcusdt"]});
    feed.subscribe(params).await;
    feed.next_of("crypto.trades", "btcusdt", WITHIN).await;
    // Orders are held against a live book.
    let symbols = ["btcusdt", "btcusdt-perp"];
    let params = json!({"stream": "crypto.orderbook", "provider": "binance", "symbols": symbols});
    feed.subscribe(params).await;
    for symbol in symbols {
        feed.next_of("crypto.orderbook", symbol, WITHIN).await;
    }
    // What it gets is of no interest from here on; unread it would be disconnected.
    tokio::spawn(async move { while feed.next(WITHIN).await.is_some() {} });
    entities(&mut of).await;
    series(&mut of).await;
    trading(&mut of).await;
    commands(&mut of).await;
    operations(&mut of).await;
    refusals(&mut of).await;
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for item in of.document["paths"].as_object().unwrap().values() {
        for described in item.as_object().unwrap().values() {
            missing.insert(described["operationId"].as_str().unwrap().to_owned());
        }
    }
    // A bar in quarantine takes an exchange that sends wrong ones: `history.rs` releases one.
    missing.remove("releaseBar");
    let missing: Vec<_> = missing.difference(&of.seen).collect();
    assert!(missing.is_empty(), "never answered well here: {missing:?}");
}

#[path = "documents_messages.rs"]
mod messages;

#[path = "documents_generated.rs"]
mod generated;
