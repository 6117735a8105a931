//! Settings, the audit log and the validation of prices, over a server without any exchange.

use std::path::Path;
use std::sync::Arc;

use bookwire_actors::clock::SystemClock;
use bookwire_actors::options::GatewayOptions;
use bookwire_engine::audit::{Sealer, verify};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::*;
use crate::audit;

const KEY: &str = "ops.0123456789abcdef";

struct Rig {
    server: ServerHandle,
    client: Client,
    folder: tempfile::TempDir,
}

impl Rig {
    /// A server with an operator, an audit log, and its state in a folder of its own.
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.workers = 1;
        config.server.data_dir = folder.path().to_owned();
        change(&mut config);
        Self::on(folder, &config)
    }

    fn on(folder: tempfile::TempDir, config: &Config) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(SystemClock::new());
        let gateway = Gateway::start(GatewayOptions::default(), clock, None).unwrap();
        let auth = Auth::new(config, OperatorKey::parse(KEY).ok());
        auth.set_audit(Audit::start(config, Box::new(|| None)).unwrap());
        let listener = TcpListener::bind(config.server.listen).unwrap();
        let settings = Settings::load(config.clone()).unwrap();
        let server = start_changed(listener, config, gateway, auth, settings).unwrap();
        Self {
            server,
            client: Client::new(),
            folder,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.server.address());
        let method = method.as_str().parse().unwrap();
        self.client.request(method, url)
    }

    fn keyed(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.request(method, path);
        request.header("authorization", format!("Bearer {KEY}"))
    }

    /// Stops the server, and gives the entries of its log after they have been verified.
    async fn entries(self) -> (Vec<Value>, String) {
        assert!(self.server.stop().await);
        let folder = self.folder.path().join("audit");
        let report = verify(&folder, &Sealer::plain(), false).unwrap();
        assert_eq!(report.broken, None);
        let text = std::fs::read_to_string(folder.join("audit-000001.jsonl")).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (entries.collect(), text)
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

const PRICE: &str = "/api/crypto/validation/price";

#[actix_web::test]
async fn the_contracts_prices_get_the_contracts_answer() {
    let rig = Rig::start(|_| ());
    let body = r#"{"symbol":"btcusdt","providers":["binance","okx","bybit"],
        "timestamp":"2024-08-18T12:34:56.789Z",
        "prices":{"binance":45250.50,"okx":45251.00,"bybit":45249.75}}"#;
    let sent = rig
        .request(Method::POST, PRICE)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    let text = sent.text().await.unwrap();
    // To the letter: numbers are printed from their decimals.
    let expected = r#"{"validation_result":{"is_valid":true,"max_deviation_pct":0.003,"outliers":[],"confidence_score":0.998,"recommended_price":45250.42}"#;
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains(r#""timestamp":"2024-08-18T12:34:56.789"#),
        "{text}"
    );
    let path = format!("{PRICE}?numbers=string");
    let (_, told) = answer(rig.request(Method::POST, &path).body(body)).await;
    assert_eq!(told["validation_result"]["recommended_price"], "45250.42");
    // One that is off, as a string; providers are those that are given.
    let body = json!({"symbol": "btcusdt",
        "prices": {"binance": "100", "okx": "102", "bybit": "100", "coinbase": null}});
    let (status, told) = answer(rig.request(Method::POST, PRICE).json(&body)).await;
    let verdict = &told["validation_result"];
    assert_eq!(
        (status, &verdict["is_valid"]),
        (200, &json!(false)),
        "{told}"
    );
    assert_eq!(verdict["outliers"], json!(["okx"]));
    assert_eq!(verdict["recommended_price"], 100);
    // It is counted.
    let (_, metrics) = answer(rig.request(Method::GET, "/api/crypto/metrics")).await;
    assert_eq!(
        metrics["data_quality_metrics"]["validation_failures_24h"],
        1
    );
    let text = rig.request(Method::GET, "/metrics").send().await.unwrap();
    let text = text.text().await.unwrap();
    assert!(
        text.contains("bookwire_validation_failures_24h 1\n"),
        "{text}"
    );
    crate::rest::metrics::tests::check_exposition(&text);
}

#[actix_web::test]
async fn prices_that_can_not_be_compared_are_refused() {
    let rig = Rig::start(|_| ());
    for (body, status, code, field) in [
        (
            json!({"symbol": "btcusdt", "prices": {"binance": 1}}),
            422,
            "CRYPTO_DATA_QUALITY_FAILURE",
            "",
        ),
        (
            json!({"symbol": "btcusdt", "providers": ["binance", "okx"], "prices": {"binance": 1}}),
            422,
            "CRYPTO_DATA_QUALITY_FAILURE",
            "",
        ),
        (
            json!({"symbol": "btcusdt"}),
            422,
            "CRYPTO_DATA_QUALITY_FAILURE",
            "",
        ),
        (
            json!({"prices": {"binance": 1, "okx": 1}}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "symbol",
        ),
        (
            json!({"symbol": "btcusdt", "prices": {"mtgox": 1}}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "prices.mtgox",
        ),
        (
            json!({"symbol": "btcusdt", "prices": {"okx": -1}}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "prices.okx",
        ),
        (
            json!({"symbol": "btcusdt", "prices": {"okx": "x"}}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "prices.okx",
        ),
        (
            json!({"symbol": "btcusdt", "prices": []}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "prices",
        ),
        (
            json!({"symbol": "btcusdt", "providers": ["x"]}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "providers",
        ),
        (
            json!({"symbol": "btcusdt", "providers": "okx"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "providers",
        ),
        (
            json!({"symbol": "btcusdt", "providers": ["okx"], "prices": {"binance": 1}}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "prices.binance",
        ),
        (
            json!({"symbol": "btcusdt", "timestamp": "soon"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "timestamp",
        ),
        (
            json!({"symbol": "btcusdt", "more": 1}),
            400,
            "CRYPTO_INVALID_PARAMETER",
            "more",
        ),
    ] {
        let (got, told) = answer(rig.request(Method::POST, PRICE).json(&body)).await;
        let error = &told["error"];
        assert_eq!(
            (got, &error["code"]),
            (status, &json!(code)),
            "{body}: {told}"
        );
        if !field.is_empty() {
            assert_eq!(error["details"]["parameter"], field, "{body}: {told}");
        }
    }
}

const CONFIG: &str = "/api/crypto/config";
const BINANCE: &str = "/api/crypto/config/exchanges/binance";

#[actix_web::test]
async fn settings_have_the_contracts_form() {
    let rig = Rig::start(|_| ());
    let sent = rig.request(Method::GET, CONFIG).send().await.unwrap();
    let etag = sent.headers()["etag"].to_str().unwrap().to_owned();
    let body: Value = sent.json().await.unwrap();
    let binance = &body["exchanges"]["binance"];
    assert_eq!(binance["api_endpoint"], "https://api.binance.com");
    assert_eq!(
        binance["websocket_endpoint"],
        "wss://stream.binance.com:9443"
    );
    for id in bookwire_engine::exchange::ProviderId::all() {
        let own = &body["exchanges"][id.name()];
        for field in ["requests_per_minute", "burst_limit"] {
            assert!(own["rate_limits"][field].is_u64(), "{own}");
        }
        for field in ["api_endpoint", "websocket_endpoint"] {
            assert_eq!(own[field].is_string(), id.name() != "ccxt", "{own}");
        }
    }
    let expected = json!({"default_backfill_days": 7, "max_concurrent_streams": 10_000,
        "data_quality_checks_enabled": true});
    assert_eq!(body["data_collection"], expected);
    let again = rig
        .request(Method::GET, CONFIG)
        .header("if-none-match", &etag);
    assert_eq!(again.send().await.unwrap().status().as_u16(), 304);
}

#[actix_web::test]
async fn a_change_is_whole_kept_and_recorded() {
    let rig = Rig::start(|config| {
        let binance = config.providers.get_mut("binance").unwrap();
        binance.endpoint_hosts = vec!["proxy.example.com".to_owned()];
    });
    let (_, before) = answer(rig.request(Method::GET, CONFIG)).await;
    let limits = json!({"rate_limits": {"requests_per_minute": 600, "burst_limit": 50}});
    // Who may not.
    let (status, _) = answer(rig.request(Method::PUT, BINANCE).json(&limits)).await;
    assert_eq!(status, 401);
    // What is not accepted, named.
    for (body, field) in [
        (
            json!({"api_endpoint": "https://evil.example.com"}),
            "api_endpoint",
        ),
        (
            json!({"websocket_endpoint": "ws://proxy.example.com"}),
            "websocket_endpoint",
        ),
        (json!({"websocket_endpoint": 5}), "websocket_endpoint"),
        (
            json!({"endpoints": {"www.okx.com": "https://www.okx.com"}}),
            "endpoints.www.okx.com",
        ),
        (
            json!({"rate_limits": {"requests_per_minute": 0}}),
            "rate_limits.requests_per_minute",
        ),
        (
            json!({"rate_limits": {"requests_per_minute": 5, "burst_limit": 6}}),
            "rate_limits.burst_limit",
        ),
        (json!({"rate_limits": {"burst": 6}}), "rate_limits.burst"),
        (json!({"enabled": false}), "enabled"),
        // The first field is good; all of it is refused.
        (
            json!({"api_endpoint": "https://proxy.example.com", "rate_limits": {"burst_limit": -1}}),
            "rate_limits.burst_limit",
        ),
    ] {
        let (status, told) = answer(rig.keyed(Method::PUT, BINANCE).json(&body)).await;
        assert_eq!(status, 400, "{body}: {told}");
        assert_eq!(
            told["error"]["details"]["parameter"], field,
            "{body}: {told}"
        );
    }
    let (status, _) = answer(
        rig.keyed(Method::PUT, "/api/crypto/config/exchanges/mtgox")
            .json(&limits),
    )
    .await;
    assert_eq!(status, 404);
    let ccxt = rig.keyed(Method::PUT, "/api/crypto/config/exchanges/ccxt");
    let (status, _) = answer(ccxt.json(&json!({"api_endpoint": "https://x.com"}))).await;
    assert_eq!(status, 501);
    let (_, after) = answer(rig.request(Method::GET, CONFIG)).await;
    assert_eq!(before, after, "nothing has changed");
    // With the state of another time.
    let stale = rig.keyed(Method::PUT, BINANCE).header("if-match", "\"x\"");
    let (status, told) = answer(stale.json(&limits)).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (412, &json!("CRYPTO_INVALID_PARAMETER"))
    );
    assert_eq!(told["error"]["details"]["parameter"], "If-Match");
    let sent = rig.request(Method::GET, CONFIG).send().await.unwrap();
    let etag = sent.headers()["etag"].clone();
    let mut body = limits.clone();
    body["api_endpoint"] = "https://proxy.example.com".into();
    let change = rig.keyed(Method::PUT, BINANCE).header("if-match", etag);
    let sent = change
        .header("x-trace-id", "trace-of-the-change")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    let etag = sent.headers()["etag"].to_str().unwrap().to_owned();
    let told: Value = sent.json().await.unwrap();
    assert_eq!(told["api_endpoint"], "https://proxy.example.com", "{told}");
    let sent = rig.request(Method::GET, CONFIG).send().await.unwrap();
    assert_eq!(sent.headers()["etag"], etag.as_str());
    let shown: Value = sent.json().await.unwrap();
    let limits = json!({"requests_per_minute": 600, "burst_limit": 50});
    assert_eq!(shown["exchanges"]["binance"]["rate_limits"], limits);
    assert!(rig.folder.path().join("config-changes.json").exists());
    let (entries, text) = rig.entries().await;
    let changes: Vec<&Value> = entries
        .iter()
        .filter(|one| one["action"] == "config.change")
        .collect();
    let done: Vec<&&Value> = changes
        .iter()
        .filter(|one| one["outcome"] == "done")
        .collect();
    assert_eq!((changes.len(), done.len()), (13, 1), "{text}");
    assert_eq!(done[0]["who"], "ops");
    assert_eq!(done[0]["from"], "127.0.0.1");
    assert_eq!(done[0]["trace_id"], "trace-of-the-change");
    let change = &done[0]["details"]["changes"]["endpoints.api.binance.com"];
    assert_eq!(
        change,
        &json!({"from": "https://api.binance.com", "to": "https://proxy.example.com"})
    );
    assert!(!text.contains("0123456789abcdef"), "no secret");
    assert!(!text.contains("evil"), "what was refused may hold anything");
}

#[actix_web::test]
async fn commands_and_wrong_keys_are_recorded() {
    let rig = Rig::start(|_| ());
    let order = json!({"provider": "binance", "entity_id": "cryptopair_binance_btcusdt",
        "side": "buy", "type": "limit", "price": 1, "quantity": 0.10, "client_order_id": "c\n\"1"});
    let orders = "/api/trading/orders";
    let (status, _) = answer(rig.keyed(Method::POST, orders).json(&order)).await;
    assert_eq!(status, 503, "no provider is on");
    let mut odd = order.clone();
    odd["password"] = "hush".into();
    answer(rig.keyed(Method::POST, orders).json(&odd)).await;
    answer(rig.keyed(
        Method::DELETE,
        "/api/trading/orders?provider=binance&x=hush",
    ))
    .await;
    answer(rig.keyed(Method::DELETE, "/api/trading/orders/7")).await;
    answer(rig.keyed(Method::POST, "/api/crypto/providers/binance/reconnect")).await;
    // Somebody sends something that is no key; then many do.
    for _ in 0..70 {
        let request = rig.request(Method::GET, orders);
        let request = request.header("authorization", "Bearer hush-id.hush-hush-hush-hush");
        let (status, _) = answer(request).await;
        assert!(matches!(status, 401 | 429));
    }
    // Nobody at all is no failure of a proof.
    answer(rig.request(Method::POST, orders).json(&order)).await;
    let (entries, text) = rig.entries().await;
    let actions: Vec<&str> = entries
        .iter()
        .filter_map(|one| one["action"].as_str())
        .collect();
    let expected = [
        "audit.file",
        "server.start",
        "order.place",
        "order.place",
        "order.cancel_all",
        "order.cancel",
        "provider.reconnect",
    ];
    assert_eq!(actions[..7], expected, "{text}");
    assert_eq!(
        actions.iter().filter(|one| **one == "auth.failure").count(),
        60
    );
    assert_eq!(actions.last(), Some(&"server.stop"));
    let placed = &entries[2];
    assert_eq!(
        (&placed["who"], &placed["outcome"]),
        (&json!("ops"), &json!("failed"))
    );
    assert_eq!(
        (&placed["status"], &placed["code"]),
        (&json!(503), &json!("CRYPTO_PROVIDER_UNAVAILABLE"))
    );
    let details = &placed["details"];
    assert_eq!(details["quantity"], "0.1", "its digits, not a float");
    assert_eq!(details["client_order_id"], "c\n\"1");
    assert!(!text.contains("hush"), "{text}");
    let failure = entries
        .iter()
        .find(|one| one["action"] == "auth.failure")
        .unwrap();
    assert_eq!(
        (&failure["who"], &failure["code"]),
        (&json!("unknown"), &json!("CRYPTO_UNAUTHORIZED"))
    );
    assert_eq!(failure["trace_id"].as_str().unwrap().len(), 36);
}

fn blocked(folder: &Path) {
    // Where the folder should be there is a file.
    std::fs::write(folder.join("audit"), "in the way").unwrap();
}

async fn check_of(rig: &Rig) -> (u16, Value) {
    let (status, body) = answer(rig.request(Method::GET, "/api/crypto/health")).await;
    (status, body["checks"]["audit_log"].clone())
}

#[actix_web::test]
async fn without_its_log_commands_go_on_and_health_tells() {
    let rig = Rig::start(|config| blocked(&config.server.data_dir));
    assert_eq!(check_of(&rig).await.1, "warn");
    let order = rig
        .keyed(Method::POST, "/api/trading/orders")
        .json(&json!({}));
    assert_eq!(answer(order).await.0, 400, "it got as far as its fields");
    // The way is free again: nothing was lost.
    std::fs::remove_file(rig.folder.path().join("audit")).unwrap();
    for _ in 0..100 {
        if check_of(&rig).await.1 == "pass" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(check_of(&rig).await.1, "pass");
    let (entries, text) = rig.entries().await;
    assert!(
        entries.iter().any(|one| one["action"] == "order.place"),
        "{text}"
    );
}

#[actix_web::test]
async fn where_the_log_is_required_orders_need_it_and_cancels_do_not() {
    let rig = Rig::start(|config| {
        config.audit.required = true;
        blocked(&config.server.data_dir);
    });
    let order = json!({"provider": "binance"});
    let (status, told) = answer(rig.keyed(Method::POST, "/api/trading/orders").json(&order)).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (423, &json!("CRYPTO_TRADING_HALTED"))
    );
    let (status, _) =
        answer(rig.keyed(Method::DELETE, "/api/trading/orders?provider=binance")).await;
    assert_eq!(status, 403, "the key may not trade: it got as far");
    assert_eq!(check_of(&rig).await, (503, json!("fail")));
    // With its log it is written down before, and what came of it after.
    let rig = Rig::start(|config| config.audit.required = true);
    answer(rig.keyed(Method::POST, "/api/trading/orders").json(&order)).await;
    let (entries, _) = rig.entries().await;
    let outcomes = entries.iter().filter(|one| one["action"] == "order.place");
    let outcomes: Vec<&str> = outcomes.filter_map(|one| one["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["asked", "refused"]);
}

#[actix_web::test]
async fn what_does_not_fit_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    blocked(folder.path());
    let mut config = Config::default();
    config.server.data_dir = folder.path().to_owned();
    let audit = Audit::start(&config, Box::new(|| None)).unwrap();
    for _ in 0..3_000 {
        audit.record(audit::Record::new("order.place"));
    }
    let stats = audit.stats();
    assert!(
        stats.lost > 0 && stats.trouble.is_some() && stats.errors > 0,
        "{stats:?}"
    );
    std::fs::remove_file(folder.path().join("audit")).unwrap();
    for _ in 0..200 {
        if audit.stats().waiting == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    audit.record(audit::Record::new("order.place"));
    audit.stop(Duration::from_secs(10));
    let text = std::fs::read_to_string(folder.path().join("audit/audit-000001.jsonl")).unwrap();
    let placed = text.matches("\"order.place\"").count() as u64;
    assert_eq!(placed + stats.lost, 3_001);
    let lost = format!("\"entries\":{}", stats.lost);
    assert!(text.contains(&lost), "the loss stands in the log");
    let report = verify(&folder.path().join("audit"), &Sealer::plain(), false).unwrap();
    assert_eq!(report.broken, None);
}
