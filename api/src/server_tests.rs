//! The server without any exchange: error forms, headers, limits, and how it stops.

use std::sync::Arc;

use bookwire_actors::clock::SystemClock;
use bookwire_actors::gateway::Gateway;
use bookwire_actors::options::GatewayOptions;
use bookwire_engine::config::Config;
use bookwire_engine::exchange::ProviderId;
use reqwest::{Client, Method, Response};
use serde_json::Value;

use super::*;

fn config() -> Config {
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.server.workers = 1;
    config
}

struct Rig {
    server: ServerHandle,
    client: Client,
}

impl Rig {
    fn start(config: &Config) -> Self {
        Self::start_with(config, None)
    }

    fn start_with(config: &Config, operator: Option<OperatorKey>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(SystemClock::new());
        let gateway = Gateway::start(GatewayOptions::default(), clock, None).unwrap();
        Self {
            server: {
                let listener = TcpListener::bind(config.server.listen).unwrap();
                start_with(listener, config, gateway, operator).unwrap()
            },
            client: Client::new(),
        }
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        let url = format!("http://{}{path}", self.server.address());
        self.client.request(method, url).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path).await
    }
}

/// The error object of an answer, after the parts that every error has.
async fn error(answer: Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let trace = answer.headers()["x-trace-id"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    let error = body["error"].clone();
    assert_eq!(error["code"], code, "{body}");
    assert_eq!(error["trace_id"], trace.as_str());
    assert!(!error["recovery_suggestions"].as_array().unwrap().is_empty());
    assert!(error["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let mut names: Vec<&str> = error
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    let contract = [
        "code",
        "details",
        "message",
        "recovery_suggestions",
        "timestamp",
        "trace_id",
    ];
    assert_eq!(names, contract);
    error
}

#[actix_web::test]
async fn every_refusal_has_the_contract_form() {
    let rig = Rig::start(&config());
    let told = error(rig.get("/api/nothing").await, 404, "CRYPTO_NOT_FOUND").await;
    assert_eq!(told["details"]["path"], "/api/nothing");
    let told = error(
        rig.get("/api/data/CryptoPear").await,
        404,
        "CRYPTO_NOT_FOUND",
    )
    .await;
    assert_eq!(told["details"]["schemas"].as_array().unwrap().len(), 20);
    let answer = rig.send(Method::DELETE, "/api/data/CryptoPair").await;
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    error(answer, 405, "CRYPTO_INVALID_PARAMETER").await;
    let rows = [
        ("/api/data/CryptoPair?codez=btcusdt", "codez"),
        ("/api/data/CryptoPair?limit=0", "limit"),
        ("/api/data/CryptoPair?limit=10001", "limit"),
        ("/api/data/CryptoPair?page=0", "page"),
        ("/api/data/CryptoPair?page_size=x", "page_size"),
        ("/api/data/CryptoPair?format=xml", "format"),
        ("/api/data/CryptoPair?numbers=float", "numbers"),
        ("/api/data/CryptoPair?provider=mtgox", "provider"),
        ("/api/data/CryptoPair?side=buy", "side"),
        ("/api/data/CryptoTrade", "provider"),
        (
            "/api/data/CryptoTrade?provider=binance&limit=100001",
            "limit",
        ),
        ("/api/data/CryptoTrade?provider=binance&side=long", "side"),
        (
            "/api/data/CryptoTrade?provider=binance&min_volume=-1",
            "min_volume",
        ),
        ("/api/data/CryptoTrade?provider=binance&order=desc", "order"),
        (
            "/api/data/CryptoTrade?provider=binance&start_timestamp=soon",
            "start_timestamp",
        ),
        (
            "/api/data/CryptoTrade?provider=binance&end_timestamp=31-12-2024",
            "end_timestamp",
        ),
        (
            "/api/data/CryptoTrade?provider=binance&start_timestamp=2024-02-01\
             &end_timestamp=2024-01-01",
            "start_timestamp",
        ),
        (
            "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=0",
            "depth",
        ),
        (
            "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=1000000000",
            "depth",
        ),
        (
            "/api/data/CryptoFunding?provider=binance&funding_interval_hours=0",
            "funding_interval_hours",
        ),
        ("/api/data/query_data?provider=binance", "schema"),
        ("/api/data/query_data?schema=CryptoPair", "provider"),
        (
            "/api/data/query_data?provider=binance&schema=Stock",
            "schema",
        ),
        (
            "/api/data/query_data?provider=binance&schema=CryptoPair&depth=3",
            "depth",
        ),
        ("/api/data/providers?x=1", "x"),
        ("/api/crypto/health?x=1", "x"),
        ("/api/crypto/validation/gaps?symbol=btcusdt", "provider"),
        ("/api/crypto/validation/gaps?provider=binance", "symbol"),
        (
            "/api/crypto/validation/gaps?provider=binance&symbol=btcusdt&interval=2m",
            "interval",
        ),
        (
            "/api/crypto/validation/gaps?provider=binance&symbol=btcusdt&backfill=yes",
            "backfill",
        ),
        (
            "/api/crypto/validation/gaps?provider=binance&symbol=btcusdt\
             &start_timestamp=2024-02-01&end_timestamp=2024-01-01",
            "start_timestamp",
        ),
        ("/api/crypto/validation/gaps?codes=btcusdt", "codes"),
        ("/api/crypto/validation/quarantine?reason=bad", "reason"),
        ("/api/crypto/validation/quarantine?source=tape", "source"),
        ("/api/crypto/validation/quarantine?columns=x", "columns"),
        ("/api/crypto/history/backfill?provider=mtgox", "provider"),
        ("/api/crypto/history/backfill?symbol=btcusdt", "symbol"),
    ];
    for (path, name) in rows {
        let told = error(rig.get(path).await, 400, "CRYPTO_INVALID_PARAMETER").await;
        assert_eq!(told["details"]["parameter"], name, "{path}");
        assert!(told["details"].get("value").is_some(), "{path}");
        assert!(
            !told["details"]["accepted"].as_str().unwrap().is_empty(),
            "{path}"
        );
    }
    rig.server.stop().await;
}

#[actix_web::test]
async fn an_engine_without_instruments_says_so() {
    let rig = Rig::start(&config());
    for path in [
        "/api/data/CryptoPair?provider=binance",
        "/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt",
    ] {
        error(rig.get(path).await, 503, "CRYPTO_PROVIDER_UNAVAILABLE").await;
    }
    assert_eq!(rig.get("/livez").await.status(), 200);
    assert_eq!(rig.get("/readyz").await.status(), 503);
    let health = rig.get("/api/crypto/health").await;
    assert_eq!(health.status(), 503, "there is no store");
    let health: Value = health.json().await.unwrap();
    assert_eq!(health["status"], "unhealthy");
    for check in [
        "database_connectivity",
        "exchange_connectivity",
        "websocket_streams",
        "data_freshness",
        "memory_usage",
    ] {
        let grade = health["checks"][check].as_str().unwrap();
        assert!(["pass", "warn", "fail"].contains(&grade), "{check}");
        assert_eq!(
            health["reasons"].get(check).is_some(),
            grade != "pass",
            "{check}"
        );
    }
    assert!(health["uptime_seconds"].is_u64());
    assert!(health["last_check"].as_str().unwrap().ends_with('Z'));
    rig.server.stop().await;
}

#[actix_web::test]
async fn fixed_lists_have_the_contract_shape() {
    let rig = Rig::start(&config());
    let json = async |path: &str| rig.get(path).await.json::<Value>().await.unwrap();
    let providers = json("/api/data/providers").await;
    assert_eq!(providers["stock"], serde_json::json!([]));
    assert_eq!(providers["index"], serde_json::json!([]));
    assert_eq!(providers["etf"], serde_json::json!([]));
    assert_eq!(providers["crypto"][0], "binance");
    assert_eq!(
        json("/api/data/providers?format=list").await,
        providers["crypto"]
    );
    let schemas = json("/api/data/schemas?provider=binance").await;
    let entity = serde_json::json!(["CryptoAsset", "CryptoPair", "CryptoPerp"]);
    assert_eq!(schemas["entity_schemas"], entity);
    assert_eq!(schemas["kdata_schemas"].as_array().unwrap().len(), 14);
    let tick = serde_json::json!(["CryptoTrade", "CryptoOrderbook", "CryptoFunding"]);
    assert_eq!(schemas["tick_schemas"], tick);
    let flat = json("/api/data/schemas?provider=binance&format=list").await;
    assert_eq!(flat.as_array().unwrap().len(), 20);
    let status = json("/api/crypto/providers/status").await;
    let rows = status["providers"].as_array().unwrap();
    let names: Vec<&Value> = rows.iter().map(|row| &row["name"]).collect();
    assert_eq!(serde_json::json!(names), providers["crypto"]);
    for row in rows {
        assert_eq!(row["status"], "disabled");
        for field in [
            "api_latency_ms",
            "websocket_connected",
            "last_data_timestamp",
            "error_rate_1h",
            "uptime_24h",
            "reconnects",
            "weight_used",
            "clock_offset_ms",
            "maintenance",
            "books_resyncing",
            "stale_streams",
            "connections_down",
            "resyncs_24h",
        ] {
            assert!(row.get(field).is_some(), "{field}: {row}");
        }
    }
    let metrics = rig.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("# TYPE bookwire_frames_total counter\nbookwire_frames_total 0\n"));
    assert!(metrics.contains("bookwire_http_requests_total{class=\"ok\"}"));
    assert!(metrics.contains("bookwire_wrong_keys_total 0\n"));
    assert!(metrics.contains("# TYPE bookwire_orders_rejected_total counter\n"));
    crate::rest::metrics::tests::check_exposition(&metrics);
    summary_has_the_contract_fields(&rig).await;
    rig.server.stop().await;
}

/// Every field of the contract is there, with what is known when nothing has happened.
async fn summary_has_the_contract_fields(rig: &Rig) {
    let body: Value = rig.get("/api/crypto/metrics").await.json().await.unwrap();
    for (group, field, is_known) in [
        ("websocket_metrics", "total_reconnects_24h", true),
        ("websocket_metrics", "average_message_lag_ms", false),
        ("websocket_metrics", "messages_dropped_24h", true),
        ("data_quality_metrics", "validation_failures_24h", true),
        ("data_quality_metrics", "cross_exchange_deviations", true),
        ("data_quality_metrics", "data_gaps_detected_24h", true),
        ("performance_metrics", "average_query_response_ms", true),
        ("performance_metrics", "current_memory_usage_gb", true),
        ("performance_metrics", "active_websocket_connections", true),
    ] {
        let value = body[group].get(field);
        let value = value.unwrap_or_else(|| panic!("no {group}.{field}: {body}"));
        assert_eq!(value.is_number(), is_known, "{group}.{field}: {body}");
    }
    for (stage, _) in bookwire_actors::latency::STAGES {
        let stage = &body["latency_metrics"]["stages"][stage];
        assert_eq!(stage["count"], 0, "{body}");
        for field in ["mean_us", "p50_us", "p99_us", "p99_9_us", "max_us"] {
            assert!(stage[field].is_null(), "{field}: {body}");
        }
    }
    let answer = rig.get("/api/crypto/metrics?window=1h").await;
    error(answer, 400, "CRYPTO_INVALID_PARAMETER").await;
}

#[actix_web::test]
async fn capabilities_are_those_of_the_adapters() {
    let rig = Rig::start(&config());
    let answer = rig.get("/api/crypto/providers/capabilities").await;
    let all: Value = answer.json().await.unwrap();
    for provider in ProviderId::all() {
        let own = &all[provider.name()];
        type Check = fn(&Value) -> bool;
        let fields: &[(&str, Check)] = &[
            ("spot_trading", Value::is_boolean),
            ("perpetual_trading", Value::is_boolean),
            ("margin_trading", Value::is_boolean),
            // No instruments are loaded, so nothing is known.
            ("max_leverage", Value::is_null),
            ("funding_intervals", Value::is_array),
            ("supported_order_types", Value::is_array),
            ("websocket_endpoints", Value::is_array),
        ];
        for (field, is_right) in fields {
            assert!(is_right(&own[field]), "{} {field}: {own}", provider.name());
        }
        let limits = &own["rate_limits"];
        assert!(limits["requests_per_minute"].is_u64(), "{own}");
        assert!(limits.get("orders_per_minute").is_some(), "{own}");
        assert!(limits["websocket_connections"].is_u64(), "{own}");
        assert_eq!(own["enabled"], false);
    }
    let streams = &all["binance"]["market_data"]["perp"]["streams"];
    let expected = [
        "crypto.trades",
        "crypto.orderbook",
        "crypto.ticker",
        "crypto.funding",
        "crypto.klines",
    ];
    assert_eq!(*streams, serde_json::json!(expected));
    let coinbase = &all["coinbase"]["market_data"]["spot"];
    assert_eq!(coinbase["native_live_levels"], serde_json::json!(["5m"]));
    assert_eq!(
        all["okx"]["websocket_endpoints"],
        serde_json::json!([
            "wss://ws.okx.com:8443/ws/v5/public",
            "wss://ws.okx.com:8443/ws/v5/business"
        ])
    );
    rig.server.stop().await;
}

const RECONNECT: &str = "/api/crypto/providers/binance/reconnect";
const BACKFILL: &str =
    "/api/crypto/history/backfill?provider=binance&symbol=btcusdt&start_timestamp=2024-01-01";
const RESYNC: &str = "/api/crypto/providers/binance/resync?symbol=btcusdt";

#[actix_web::test]
async fn without_a_key_nobody_commands() {
    let rig = Rig::start(&config());
    for path in [RECONNECT, RESYNC] {
        let answer = rig.send(Method::POST, path).await;
        let told = error(answer, 403, "CRYPTO_FORBIDDEN").await;
        let advice = told["recovery_suggestions"].to_string();
        assert!(advice.contains("BOOKWIRE_ADMIN_KEY"), "{advice}");
        let answer = rig.get(path.split('?').next().unwrap()).await;
        assert_eq!(answer.headers()["allow"], "POST");
        error(answer, 405, "CRYPTO_INVALID_PARAMETER").await;
    }
    rig.server.stop().await;
}

#[actix_web::test]
async fn only_the_operator_commands() {
    let key = OperatorKey::parse("ops.0123456789abcdef").ok();
    let rig = Rig::start_with(&config(), key);
    let send = async |path: &str, header: Option<&str>| {
        let url = format!("http://{}{path}", rig.server.address());
        let mut request = rig.client.post(url);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        request.send().await.unwrap()
    };
    for path in [RECONNECT, RESYNC, BACKFILL] {
        for header in [
            None,
            Some("Bearer ops"),
            Some("Bearer ops.0123456789abcdeg"),
            Some("Bearer other.0123456789abcdef"),
            Some("Basic b3BzLjAxMjM0NTY3ODlhYmNkZWY="),
            Some("Bearer"),
            Some("ops.0123456789abcdef"),
            Some(""),
        ] {
            let answer = send(path, header).await;
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            let told = error(answer, 401, "CRYPTO_UNAUTHORIZED").await;
            let sent = header.unwrap_or_default();
            assert!(
                sent.len() < 12 || !told.to_string().contains(sent),
                "{told}"
            );
        }
        // The key opens the door; behind it is a provider that is switched off.
        for header in [
            "Bearer ops.0123456789abcdef",
            "bearer  ops.0123456789abcdef",
        ] {
            let answer = send(path, Some(header)).await;
            error(answer, 503, "CRYPTO_PROVIDER_UNAVAILABLE").await;
        }
    }
    let own = Some("Bearer ops.0123456789abcdef");
    let release = |id: &str| format!("/api/crypto/validation/quarantine/{id}/release");
    let answer = send(&release("1"), None).await;
    error(answer, 401, "CRYPTO_UNAUTHORIZED").await;
    let answer = send(&release("1"), own).await;
    error(answer, 404, "CRYPTO_NOT_FOUND").await;
    let answer = send(&release("one"), own).await;
    let told = error(answer, 400, "CRYPTO_INVALID_PARAMETER").await;
    assert_eq!(told["details"]["parameter"], "id");
    for (more, name) in [
        ("provider=binance&symbol=btcusdt", "start_timestamp"),
        (
            "provider=binance&symbol=btcusdt&start_timestamp=2999-01-01",
            "start_timestamp",
        ),
        ("provider=binance&start_timestamp=2024-01-01", "symbol"),
        ("provider=binance&symbol=btcusdt&series=books", "series"),
        (
            "provider=binance&symbol=btcusdt&series=trades&interval=1m",
            "interval",
        ),
        ("provider=binance&symbol=btcusdt&force=1", "force"),
    ] {
        let path = format!("/api/crypto/history/backfill?{more}");
        let told = error(send(&path, own).await, 400, "CRYPTO_INVALID_PARAMETER").await;
        assert_eq!(told["details"]["parameter"], name, "{more}");
    }
    let answer = send("/api/crypto/providers/mtgox/reconnect", own).await;
    let told = error(answer, 404, "CRYPTO_NOT_FOUND").await;
    assert!(told["details"]["accepted"].to_string().contains("coinbase"));
    for (query, name) in [
        ("resync", "symbol"),
        (
            "resync?symbol=btcusdt&timeout_seconds=61",
            "timeout_seconds",
        ),
        ("reconnect?symbol=btcusdt", "symbol"),
    ] {
        let path = format!("/api/crypto/providers/binance/{query}");
        let told = error(send(&path, own).await, 400, "CRYPTO_INVALID_PARAMETER").await;
        assert_eq!(told["details"]["parameter"], name);
    }
    rig.server.stop().await;
}

#[actix_web::test]
async fn answers_carry_their_headers() {
    let rig = Rig::start(&config());
    let url = format!("http://{}/livez", rig.server.address());
    let request = rig.client.get(&url).header("x-trace-id", "abc-1");
    let answer = request
        .header("origin", "https://evil.example")
        .send()
        .await
        .unwrap();
    let headers = answer.headers();
    assert_eq!(headers["x-trace-id"], "abc-1");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(headers["x-ratelimit-limit"], "1000");
    assert!(!headers.contains_key("access-control-allow-origin"));
    let answer = rig
        .client
        .get(&url)
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "probes are not refused");
    let url = format!("http://{}/api/data/providers", rig.server.address());
    let answer = rig
        .client
        .get(&url)
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    error(answer, 403, "CRYPTO_FORBIDDEN").await;
    let head = rig.send(Method::HEAD, "/api/data/providers").await;
    assert_eq!(head.status(), 200);
    rig.server.stop().await;
}

#[actix_web::test]
async fn too_many_requests_are_refused_and_told_when_to_return() {
    let mut config = config();
    config.limits.requests_per_minute = 3;
    let rig = Rig::start(&config);
    for left in ["2", "1", "0"] {
        let answer = rig.get("/api/data/providers").await;
        assert_eq!(answer.headers()["x-ratelimit-remaining"], left);
        assert_eq!(answer.status(), 200);
    }
    let answer = rig.get("/api/data/providers").await;
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait));
    let told = error(answer, 429, "CRYPTO_RATE_LIMIT_EXCEEDED").await;
    assert_eq!(told["details"]["rate_limit"], 3);
    assert_eq!(told["details"]["retry_after_seconds"], wait);
    assert_eq!(told["details"]["current_usage"], 4);
    assert_eq!(
        rig.get("/livez").await.status(),
        200,
        "probes are not counted"
    );
    rig.server.stop().await;
}

#[actix_web::test]
async fn a_stopped_server_lets_go_of_its_port() {
    let rig = Rig::start(&config());
    let address = rig.server.address();
    assert!(rig.server.stop().await);
    let url = format!("http://{address}/livez");
    assert!(rig.client.get(url).send().await.is_err());
    std::net::TcpListener::bind(address).unwrap();
}

/// What is open on loopback needs a key elsewhere; what is for supervisors never does.
#[actix_web::test]
async fn market_data_that_are_not_open_need_a_key() {
    use bookwire_engine::config::OpenData;
    use bookwire_engine::keys::KeySpec;
    assert!(OpenData::Loopback.is_open(true) && !OpenData::Loopback.is_open(false));
    assert!(OpenData::Always.is_open(false) && !OpenData::Never.is_open(true));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = config();
    config.server.open_data = OpenData::Never;
    let auth = Auth::new(&config, None);
    let key = |id: &str, permissions: &str, providers: &str| {
        let spec = KeySpec::parse(permissions, providers, "").unwrap();
        let secret = auth.add(id, spec).unwrap();
        format!("{id}.{}", secret.expose_text())
    };
    let reader = key("bw-reader", "data_access", "");
    let of_okx = key("bw-okx", "data_access", "okx");
    let trader = key("bw-trader", "spot_trading", "");
    let admin = key("bw-admin", "admin", "");
    let clock = Arc::new(SystemClock::new());
    let gateway = Gateway::start(GatewayOptions::default(), clock, None).unwrap();
    let listener = TcpListener::bind(config.server.listen).unwrap();
    let server = start_for(listener, &config, gateway, auth.clone()).unwrap();
    let client = Client::new();
    let get = async |path: &str, key: &str| {
        let mut request = client.get(format!("http://{}{path}", server.address()));
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap()
    };
    let (data, other) = (
        "/api/data/CryptoFunding?provider=okx&codes=btcusdt",
        "/api/data/CryptoFunding?provider=binance&codes=btcusdt",
    );
    // Nothing is loaded: that is what somebody gets who may ask.
    let passed = 503;
    for (path, key, status) in [
        (data, "", 401),
        ("/api/dat%61/CryptoFunding?provider=okx", "", 401),
        (data, &*trader, 403),
        (data, &admin, 403),
        (data, &reader, passed),
        (data, &of_okx, passed),
        (other, &of_okx, 403),
        ("/api/data/CryptoAsset", &of_okx, 403),
        (
            "/api/data/CryptoAsset?provider=okx&provider=binance",
            &of_okx,
            403,
        ),
        ("/api/data/providers", "", 401),
        ("/api/data/providers", &of_okx, 200),
        ("/metrics", "", 401),
        ("/metrics", &reader, 200),
        ("/metrics", &admin, 200),
        ("/api/crypto/providers/status", "", 401),
        ("/api/crypto/providers/status", &admin, 200),
        ("/api/crypto/config", &trader, 403),
        ("/api/crypto/validation/gaps", &admin, 403),
        ("/livez", "", 200),
        // As before, of whoever owns them.
        ("/api/trading/accounts", "", 401),
        ("/api/crypto/auth/validate", &reader, 200),
    ] {
        let answer = get(path, key).await;
        assert_eq!(answer.status(), status, "{path} {key}");
        if status == 401 {
            error(answer, 401, "CRYPTO_UNAUTHORIZED").await;
        }
    }
    assert!(server.stop().await);
}

/// A market that the configuration has not in use has no instruments, and never will.
#[actix_web::test]
async fn a_market_that_is_not_in_use_is_empty() {
    use bookwire_actors::options::ProviderOptions;
    use bookwire_engine::instrument::Market;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config();
    let mut provider = ProviderOptions::new(ProviderId::BINANCE);
    provider.markets = vec![Market::Spot];
    let nowhere = ["api.binance.com", "stream.binance.com:9443"];
    for host in nowhere {
        let scheme = if host.starts_with("api") {
            "http"
        } else {
            "ws"
        };
        let base = format!("{scheme}://127.0.0.1:9");
        provider.hosts.insert(host.to_owned(), base);
    }
    let options = GatewayOptions {
        providers: vec![provider],
        ..GatewayOptions::default()
    };
    let clock = Arc::new(SystemClock::new());
    let gateway = Gateway::start(options, clock, None).unwrap();
    let listener = TcpListener::bind(config.server.listen).unwrap();
    let rig = Rig {
        server: start_with(listener, &config, gateway, None).unwrap(),
        client: Client::new(),
    };
    let answer = rig.get("/api/data/CryptoPerp?provider=binance").await;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["total"], &body["data"]),
        (&0.into(), &Value::Array(Vec::new()))
    );
    let series = "/api/data/CryptoPerp1mKdata?provider=binance&codes=btcusdt";
    error(rig.get(series).await, 404, "CRYPTO_PAIR_NOT_FOUND").await;
    // What is in use and not loaded is another thing.
    let answer = rig.get("/api/data/CryptoPair?provider=binance").await;
    error(answer, 503, "CRYPTO_PROVIDER_UNAVAILABLE").await;
}
