//! Keys over real HTTP: a server with the product's gate and handlers that need a caller.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, middleware};
use bookwire_engine::keys::KeyStore;
use bookwire_engine::vault::{MasterKey, MasterSources};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use super::*;
use crate::gate::{self, Gate};
use crate::operator::Operator;
use crate::rest;

/// An order, as far as callers are concerned.
async fn order(caller: Caller, body: Bytes) -> Result<Vec<u8>, ApiError> {
    caller.require(Permission::SpotTrading, ProviderId::BINANCE)?;
    caller.charge(Bucket::Trading)?;
    Ok([caller.id().as_bytes(), b" ", &body].concat())
}

async fn cancel(caller: Caller) -> Result<String, ApiError> {
    caller.charge(Bucket::Cancel)?;
    Ok(caller.id().to_owned())
}

async fn command(operator: Operator) -> String {
    operator.id
}

/// Market data: nobody needs a key.
async fn open() -> &'static str {
    "open"
}

struct Rig {
    auth: Auth,
    address: SocketAddr,
    client: Client,
    server: ServerHandle,
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

impl Rig {
    fn start(config: &Config, operator: Option<OperatorKey>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let auth = Auth::new(config, operator);
        let gate = web::Data::new(Gate::new(config, true));
        let of_server = web::Data::new(auth.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(gate.clone())
                .app_data(of_server.clone())
                .app_data(web::PayloadConfig::new(1024))
                .wrap(middleware::from_fn(gate::pass))
                .route("/order", web::post().to(order))
                .route("/cancel", web::delete().to(cancel))
                .route("/command", web::post().to(command))
                .route("/open", web::get().to(open))
                .route("/validate", web::get().to(rest::auth::validate))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            auth,
            address,
            client: Client::new(),
            server: handle,
        }
    }

    fn add(&self, id: &str, permissions: &str) -> Secret {
        self.auth.add(id, spec(permissions)).unwrap()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url)
    }

    async fn bearer(&self, method: Method, path: &str, key: &str) -> Response {
        let request = self.request(method, path);
        let request = request.header("authorization", format!("Bearer {key}"));
        request.send().await.unwrap()
    }

    async fn signed(&self, signed: &Signed<'_>) -> Response {
        let request = self
            .request(signed.method.clone(), signed.path)
            .header("x-api-key", signed.id)
            .header("x-timestamp", &signed.timestamp)
            .header("x-signature", &signed.signature);
        request.body(signed.body.to_vec()).send().await.unwrap()
    }
}

fn spec(permissions: &str) -> KeySpec {
    KeySpec::parse(permissions, "", "").unwrap()
}

#[derive(Clone)]
struct Signed<'a> {
    id: &'a str,
    method: Method,
    path: &'a str,
    body: &'a [u8],
    timestamp: String,
    signature: String,
}

impl<'a> Signed<'a> {
    fn new(id: &'a str, secret: &Secret, method: Method, path: &'a str, body: &'a [u8]) -> Self {
        Self::at(id, secret, method, path, body, wall_clock().as_ms())
    }

    /// Signed as the contract says, by other means than the server's.
    fn at(
        id: &'a str,
        secret: &Secret,
        method: Method,
        path: &'a str,
        body: &'a [u8],
        ms: i64,
    ) -> Self {
        let timestamp = ms.to_string();
        let mut text = format!("{timestamp}{}{path}", method.as_str()).into_bytes();
        text.extend_from_slice(body);
        let signature = data_encoding::HEXLOWER.encode(&secret.sign(&[&text]));
        Self {
            id,
            method,
            path,
            body,
            timestamp,
            signature,
        }
    }
}

async fn told(answer: Response, status: u16, code: &str) -> Value {
    let got = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(got, status, "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    body["error"].clone()
}

#[actix_web::test]
async fn a_bearer_is_who_the_key_says() {
    let rig = Rig::start(&Config::default(), None);
    let secret = rig.add("bw-1", "spot_trading,data_access");
    let key = format!("bw-1.{}", secret.expose_text());
    let answer = rig.bearer(Method::POST, "/order", &key).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-ratelimit-limit"], "100");
    assert_eq!(answer.headers()["x-ratelimit-remaining"], "99");
    assert_eq!(answer.text().await.unwrap(), "bw-1 ");
    let answer = rig.request(Method::POST, "/order").send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    told(answer, 401, "CRYPTO_UNAUTHORIZED").await;
    for wrong in [
        "bw-1",
        "bw-1.",
        "bw-2.x",
        &key[..key.len() - 1],
        &format!("{key}x"),
    ] {
        let answer = rig.bearer(Method::POST, "/order", wrong).await;
        let error = told(answer, 401, "CRYPTO_UNAUTHORIZED").await.to_string();
        assert!(!error.contains(&secret.expose_text()[..20]), "{error}");
        let answer = rig.bearer(Method::GET, "/open", wrong).await;
        assert_eq!(answer.status(), 200, "market data are open");
    }
    // A key that may trade is no operator, and is told so.
    let answer = rig.bearer(Method::POST, "/command", &key).await;
    told(answer, 403, "CRYPTO_FORBIDDEN").await;
    let other = rig.add("bw-3", "futures_trading,admin");
    let other = format!("bw-3.{}", other.expose_text());
    let answer = rig.bearer(Method::POST, "/command", &key).await;
    let error = told(answer, 403, "CRYPTO_FORBIDDEN").await;
    assert_eq!(error["details"]["permission"], "admin");
    let answer = rig.bearer(Method::POST, "/command", &other).await;
    assert_eq!(answer.text().await.unwrap(), "bw-3");
    // Admin includes no other permission.
    let answer = rig.bearer(Method::POST, "/order", &other).await;
    let error = told(answer, 403, "CRYPTO_FORBIDDEN").await;
    assert_eq!(error["details"]["permission"], "spot_trading");
    let has = &error["details"]["permissions"];
    assert_eq!(*has, serde_json::json!(["futures_trading", "admin"]));
}

#[actix_web::test]
async fn a_signature_covers_the_request_and_is_good_once() {
    let rig = Rig::start(&Config::default(), None);
    let secret = rig.add("bw-1", "spot_trading");
    let path = "/order?provider=binance&x=%20a";
    let body = br#"{"quantity":"1"}"#;
    let post = Method::POST;
    let good = Signed::new("bw-1", &secret, post.clone(), path, body);
    let answer = rig.signed(&good).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), r#"bw-1 {"quantity":"1"}"#);
    let error = told(rig.signed(&good).await, 401, "CRYPTO_UNAUTHORIZED").await;
    assert!(
        error["message"].as_str().unwrap().contains("used before"),
        "{error}"
    );
    let upper = Signed {
        signature: good.signature.to_uppercase(),
        ..good.clone()
    };
    told(rig.signed(&upper).await, 401, "CRYPTO_UNAUTHORIZED").await;
    // Every part is signed.
    let fresh = || Signed::new("bw-1", &secret, post.clone(), path, body);
    let later = |row: Signed<'static>| {
        let ms: i64 = row.timestamp.parse().unwrap();
        Signed {
            timestamp: (ms + 1).to_string(),
            ..row
        }
    };
    let rows = [
        Signed {
            body: br#"{"quantity":"9"}"#,
            ..fresh()
        },
        Signed {
            body: b"",
            ..fresh()
        },
        Signed {
            path: "/order?provider=binance&x=+a",
            ..fresh()
        },
        Signed {
            path: "/order",
            ..fresh()
        },
        later(fresh()),
        Signed {
            id: "bw-2",
            ..fresh()
        },
        Signed {
            signature: "00".repeat(32),
            ..fresh()
        },
    ];
    for row in rows {
        told(rig.signed(&row).await, 401, "CRYPTO_UNAUTHORIZED").await;
    }
    assert_eq!(rig.auth.wrong_keys(), 9);
    let now = wall_clock().as_ms();
    for ms in [now - 6_000, now + 6_000, 0] {
        let row = Signed::at("bw-1", &secret, post.clone(), path, body, ms);
        let error = told(rig.signed(&row).await, 401, "CRYPTO_UNAUTHORIZED").await;
        assert_eq!(error["details"]["window_ms"], 5_000, "{error}");
    }
    let ahead = Signed::at(
        "bw-1",
        &secret,
        post.clone(),
        path,
        body,
        wall_clock().as_ms() + 4_000,
    );
    assert_eq!(rig.signed(&ahead).await.status(), 200);
    // A body that is too large is refused as such, and nothing of it is kept.
    let large = vec![b'x'; 2_000];
    let row = Signed::new("bw-1", &secret, post.clone(), path, &large);
    told(rig.signed(&row).await, 413, "CRYPTO_INVALID_PARAMETER").await;
    let delete = Signed::new("bw-1", &secret, Method::DELETE, "/cancel", b"");
    assert_eq!(rig.signed(&delete).await.status(), 200);
}

#[actix_web::test]
async fn orders_and_cancels_are_counted_apart_and_by_key() {
    let mut config = Config::default();
    config.limits.trading_per_minute = 2;
    config.limits.cancels_per_minute = 3;
    let rig = Rig::start(&config, None);
    let key = |id: &str| format!("{id}.{}", rig.add(id, "spot_trading").expose_text());
    let (one, other) = (key("bw-1"), key("bw-2"));
    for left in ["1", "0"] {
        let answer = rig.bearer(Method::POST, "/order", &one).await;
        assert_eq!(answer.headers()["x-ratelimit-remaining"], left);
        assert_eq!(answer.status(), 200);
    }
    let answer = rig.bearer(Method::POST, "/order", &one).await;
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["x-ratelimit-limit"], "2");
    let error = told(answer, 429, "CRYPTO_RATE_LIMIT_EXCEEDED").await;
    assert_eq!(error["details"]["rate_limit"], 2);
    assert_eq!(error["details"]["current_usage"], 3);
    for left in ["2", "1", "0"] {
        let answer = rig.bearer(Method::DELETE, "/cancel", &one).await;
        assert_eq!(answer.headers()["x-ratelimit-remaining"], left);
        assert_eq!(answer.status(), 200, "cancels pass when orders do not");
    }
    let answer = rig.bearer(Method::DELETE, "/cancel", &one).await;
    told(answer, 429, "CRYPTO_RATE_LIMIT_EXCEEDED").await;
    let answer = rig.bearer(Method::POST, "/order", &other).await;
    assert_eq!(answer.status(), 200, "another key has its own");
    let answer = rig.bearer(Method::GET, "/validate", "bw-2").await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["rate_limits"]["remaining"], 1, "{body}");
}

#[actix_web::test]
async fn guessing_is_slowed_down_and_harms_nobody_else() {
    let mut config = Config::default();
    config.limits.wrong_keys_per_minute = 3;
    let rig = Rig::start(&config, None);
    let key = format!("bw-1.{}", rig.add("bw-1", "spot_trading").expose_text());
    for n in 0..5 {
        let answer = rig
            .bearer(Method::POST, "/order", &format!("bw-1.guess-{n}"))
            .await;
        let (status, code) = match n {
            0..3 => (401, "CRYPTO_UNAUTHORIZED"),
            _ => (429, "CRYPTO_RATE_LIMIT_EXCEEDED"),
        };
        let error = told(answer, status, code).await;
        assert!(!error.to_string().contains("guess"), "{error}");
    }
    assert_eq!(rig.auth.wrong_keys(), 5);
    let answer = rig.bearer(Method::POST, "/order", &key).await;
    assert_eq!(answer.status(), 200, "the right key passes");
}

#[actix_web::test]
async fn a_key_is_good_where_and_as_long_as_it_says() {
    let rig = Rig::start(&Config::default(), None);
    let add = |id: &str, providers: &str, ips: &str| {
        let spec = KeySpec::parse("spot_trading", providers, ips).unwrap();
        format!("{id}.{}", rig.auth.add(id, spec).unwrap().expose_text())
    };
    let there = add("bw-1", "", "10.0.0.0/8,2001:db8::/32");
    let answer = rig.bearer(Method::POST, "/order", &there).await;
    let error = told(answer, 403, "CRYPTO_FORBIDDEN").await;
    assert_eq!(error["details"]["address"], "127.0.0.1");
    let here = add("bw-2", "", "127.0.0.0/8");
    assert_eq!(
        rig.bearer(Method::POST, "/order", &here).await.status(),
        200
    );
    let okx = add("bw-3", "okx,bybit", "");
    let error = told(
        rig.bearer(Method::POST, "/order", &okx).await,
        403,
        "CRYPTO_FORBIDDEN",
    )
    .await;
    assert_eq!(error["details"]["provider"], "binance");
    assert_eq!(
        error["details"]["providers"],
        serde_json::json!(["okx", "bybit"])
    );
    let short = KeySpec {
        expires: Some(TsNanos(wall_clock().0 + 150_000_000)),
        ..spec("spot_trading")
    };
    let secret = rig.auth.add("bw-4", short).unwrap();
    let short = format!("bw-4.{}", secret.expose_text());
    let answer = rig.bearer(Method::POST, "/order", &short).await;
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = rig.bearer(Method::POST, "/order", &short).await;
    let error = told(answer, 401, "CRYPTO_UNAUTHORIZED").await;
    assert!(
        error["message"].as_str().unwrap().contains("expired at"),
        "{error}"
    );
}

#[actix_web::test]
async fn validation_says_what_a_key_is_good_for() {
    let operator = OperatorKey::parse("ops.0123456789abcdef").ok();
    let rig = Rig::start(&Config::default(), operator);
    let only = KeySpec {
        expires: Some(TsNanos::parse("2099-01-01").unwrap()),
        ..KeySpec::parse("spot_trading,data_access", "binance", "").unwrap()
    };
    let secret = rig.auth.add("bw-1", only).unwrap();
    let whole = format!("bw-1.{}", secret.expose_text());
    let ask = async |path: &str, key: &str| {
        let answer = rig.bearer(Method::GET, path, key).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    for key in ["bw-1", &whole] {
        for path in ["/validate", "/validate?provider=binance"] {
            let body = ask(path, key).await;
            assert_eq!(body["valid"], true, "{body}");
            assert_eq!(
                body["permissions"],
                serde_json::json!(["data_access", "spot_trading"])
            );
            assert_eq!(body["rate_limits"]["remaining"], 100);
            assert!(
                body["rate_limits"]["reset_time"]
                    .as_str()
                    .unwrap()
                    .ends_with('Z')
            );
            assert_eq!(body["expires_at"], "2099-01-01T00:00:00.000Z");
            assert!(!body.to_string().contains(secret.expose_text()));
        }
        let body = ask("/validate?provider=okx", key).await;
        assert_eq!(
            (&body["valid"], &body["permissions"]),
            (&false.into(), &serde_json::json!([]))
        );
    }
    for key in ["bw-2", "bw-1.wrong", "..", "a b"] {
        let body = ask("/validate", key).await;
        assert_eq!(body["valid"], false, "{key}: {body}");
        assert!(body["reason"].is_string());
    }
    let body = ask("/validate", "ops.0123456789abcdef").await;
    assert_eq!(body["permissions"], serde_json::json!(["admin"]));
    let answer = rig.request(Method::GET, "/validate").send().await.unwrap();
    told(answer, 401, "CRYPTO_UNAUTHORIZED").await;
    let answer = rig
        .bearer(Method::GET, "/validate?provider=mtgox", "bw-1")
        .await;
    told(answer, 400, "CRYPTO_INVALID_PARAMETER").await;
    let signed = Signed::new(
        "bw-1",
        &secret,
        Method::GET,
        "/validate?provider=binance",
        b"",
    );
    let body: Value = rig.signed(&signed).await.json().await.unwrap();
    assert_eq!(body["valid"], true, "{body}");
}

fn files(dir: &Path) -> KeyFiles {
    KeyFiles {
        sources: MasterSources {
            variable: None,
            file: "".into(),
            credentials_dir: None,
            data_dir: dir.to_owned(),
        },
        data_dir: dir.to_owned(),
    }
}

/// Waits for what the follower does.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "waited for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[actix_web::test]
async fn a_running_server_takes_what_the_command_line_does() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&Config::default(), None);
    let files = files(dir.path());
    assert_eq!(
        rig.auth.follow(files.clone()).unwrap(),
        Started::NoMasterKey
    );
    assert!(!rig.auth.vault().is_open());
    rig.add("demo", "spot_trading");
    // The first key makes the master key too.
    let (master, is_new) = MasterKey::find_or_make(&files.sources).unwrap();
    assert!(is_new);
    let store = KeyStore::new(dir.path(), master.clone());
    let (key, first) = store.create(spec("spot_trading"), wall_clock()).unwrap();
    until("the key", || rig.auth.ring().get(&key.id).is_some()).await;
    assert!(rig.auth.vault().is_open() && rig.auth.ring().get("demo").is_some());
    let old = format!("{}.{}", key.id, first.expose_text());
    let status = async |key: &str| {
        rig.bearer(Method::POST, "/order", key)
            .await
            .status()
            .as_u16()
    };
    assert_eq!(status(&old).await, 200);
    let mut changes = rig.auth.changes();
    let second = store
        .rotate(&key.id, Duration::from_secs(60), wall_clock())
        .unwrap();
    let new = format!("{}.{}", key.id, second.expose_text());
    changes.changed().await.unwrap();
    assert_eq!(
        (status(&old).await, status(&new).await),
        (200, 200),
        "they overlap"
    );
    store.revoke(&key.id, wall_clock()).unwrap();
    changes.changed().await.unwrap();
    assert_eq!((status(&old).await, status(&new).await), (401, 401));
    // An exchange's key: the vault that was closed at the start is the one that opens.
    let vault = rig.auth.vault().clone();
    let tool = Vault::open(dir.path(), master).unwrap();
    let new = bookwire_engine::vault::NewCredential {
        kind: None,
        api_key: Secret::new("key"),
        secret: Secret::new("canary"),
        passphrase: None,
    };
    tool.set(ProviderId::BINANCE, "default", new).unwrap();
    until("the credential", || {
        vault.credential(ProviderId::BINANCE, "default").is_some()
    })
    .await;
}

#[actix_web::test]
async fn keys_that_can_not_be_read_are_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let (master, _) = MasterKey::find_or_make(&files.sources).unwrap();
    let store = KeyStore::new(dir.path(), master);
    let (key, secret) = store.create(spec("spot_trading"), wall_clock()).unwrap();
    let path = dir.path().join("keys.vault");
    let good = std::fs::read(&path).unwrap();
    let rig = Rig::start(&Config::default(), None);
    assert_eq!(rig.auth.follow(files.clone()).unwrap(), Started::Open);
    let text = format!("{}.{}", key.id, secret.expose_text());
    assert_eq!(
        rig.bearer(Method::POST, "/order", &text).await.status(),
        200
    );
    let mut bad = good.clone();
    let at = bad.len() - 10;
    bad[at] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    until("no key", || rig.auth.ring().get(&key.id).is_none()).await;
    assert_eq!(
        rig.bearer(Method::POST, "/order", &text).await.status(),
        401
    );
    assert!(
        Auth::new(&Config::default(), None).follow(files).is_err(),
        "nor does one start"
    );
    std::fs::write(&path, &good).unwrap();
    until("the key", || rig.auth.ring().get(&key.id).is_some()).await;
    assert_eq!(
        rig.bearer(Method::POST, "/order", &text).await.status(),
        200
    );
}

/// Secrets in no log line: every level, while right and wrong keys come and go.
#[actix_web::test]
async fn the_log_holds_no_secret() {
    use std::io::Write;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let auth = Auth::new(&Config::default(), None);
    let from: IpAddr = "127.0.0.1".parse().unwrap();
    let secret = auth.add("bw-1", KeySpec::unlimited()).unwrap();
    let canary = Secret::new("canary-of-a-wrong-secret");
    tracing::subscriber::with_default(subscriber, || {
        assert!(auth.bearer("bw-1", &secret, from).is_ok());
        assert!(auth.bearer("bw-1", &canary, from).is_err());
        assert!(auth.bearer("bw-9", &canary, from).is_err());
        let signature = "ab".repeat(32);
        let proof = SessionProof {
            api_key: "bw-1",
            provider: "binance",
            timestamp: &wall_clock().as_ms().to_string(),
            signature: &signature,
            trace: "a-trace",
        };
        assert!(auth.session(&proof, from, wall_clock()).is_err());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("master.key"), "canary").unwrap();
        assert!(auth.follow(files(dir.path())).is_err());
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("bw-1") && text.contains("bw-9"), "{text}");
    for hidden in [secret.expose_text(), "canary", "abababab"] {
        assert!(!text.contains(hidden), "{text}");
    }
}
