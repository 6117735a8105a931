//! `/docs` in a real browser: it needs nothing but the gateway, and its forms send requests and show answers.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bookwire_sim::Exchange;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::rig::Rig;
use crate::trading::{Trader, exchanges};

const WITHIN: Duration = Duration::from_secs(30);

/// A Chromium: `BOOKWIRE_BROWSER`, or the system's.
///
/// `None`, after one line that says how to get it, where there is none; a failure where
/// `BOOKWIRE_REQUIRE_BROWSER` is set.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("BOOKWIRE_BROWSER").map(PathBuf::from);
    let usual = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ];
    let mut all = named.into_iter().chain(usual.map(PathBuf::from));
    let found = all.find(|path| path.is_file());
    if found.is_none() {
        let hint = "apt-get install chromium, or name one in BOOKWIRE_BROWSER";
        let required = std::env::var_os("BOOKWIRE_REQUIRE_BROWSER").is_some_and(|v| v == "1");
        assert!(!required, "a browser is required and absent: {hint}");
        eprintln!("skipped: no Chromium; to run it: {hint}");
    }
    found
}

/// A browser with one page, commanded over its debugging protocol. It ends with this.
struct Browser {
    child: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last_id: u64,
    /// Addresses that anything of the page asked for.
    asked: Vec<String>,
    /// What the console shows as an error, and what was thrown.
    errors: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    async fn start(program: &Path, profile: &Path) -> Self {
        let mut child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ])
            .args(["--disable-component-update", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-port=0", "--remote-allow-origins=*"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = tokio::task::spawn_blocking(move || {
            let mut all = String::new();
            for line in lines.by_ref().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    let url = url.to_owned();
                    // It goes on to write, and must not wait for a reader.
                    std::thread::spawn(move || lines.for_each(drop));
                    return Ok(url);
                }
                all.push_str(&line);
                all.push('\n');
            }
            Err(all)
        });
        let url = told.await.unwrap().expect("it listens");
        let (socket, _) = connect_async(url).await.unwrap();
        let mut browser = Self {
            child,
            socket,
            session: None,
            last_id: 0,
            asked: Vec::new(),
            errors: Vec::new(),
        };
        let target = browser
            .command("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.command("Target.attachToTarget", attach).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in [
            "Network.enable",
            "Runtime.enable",
            "Log.enable",
            "Page.enable",
        ] {
            browser.command(domain, json!({})).await;
        }
        browser
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap();
                self.asked.push(url.to_owned());
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.errors.push(params["entry"].to_string());
            }
            Some("Runtime.exceptionThrown") => self.errors.push(params.to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
                self.errors.push(params.to_string());
            }
            _ => {}
        }
    }

    async fn command(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let message = Message::text(request.to_string());
        self.socket.send(message).await.unwrap();
        let end = Instant::now() + WITHIN;
        loop {
            let read = timeout_at(end, self.socket.next()).await;
            let message = read.unwrap_or_else(|_| panic!("no answer to {request}"));
            let Message::Text(text) = message.unwrap().unwrap() else {
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{request}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    /// The value of a script's last expression on the page.
    async fn evaluate(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let mut told = self.command("Runtime.evaluate", params).await;
        assert!(told["exceptionDetails"].is_null(), "{script}: {told}");
        told["result"]["value"].take()
    }

    /// Evaluates until something comes of it.
    async fn until(&mut self, script: &str) -> Value {
        let end = Instant::now() + WITHIN;
        loop {
            let value = self.evaluate(script).await;
            if !value.is_null() && value != false {
                return value;
            }
            assert!(Instant::now() < end, "{script}: {value}\n{:?}", self.errors);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Fills the form of an operation as a reader does, sends it, and gives what is shown then.
    async fn try_it(&mut self, operation: &str, values: &Value) -> String {
        let script = format!(
            "(() => {{
               const values = {values};
               const at = (name) => document.getElementById('try-{operation}-' + name);
               const form = at(Object.keys(values)[0]).closest('form');
               for (const [name, value] of Object.entries(values)) at(name).value = value;
               form.id = 'tried';
               form.querySelector('button').click();
             }})()"
        );
        self.evaluate(&script).await;
        let shown = "(() => {
            const shown = document.querySelector('#tried [role=status]').textContent;
            return /status \\d+|No answer/.test(shown) ? shown : null; })()";
        let shown = self.until(shown).await;
        self.evaluate("document.getElementById('tried').id = ''")
            .await;
        shown.as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_documents_works_in_a_browser() {
    let Some(program) = chromium() else { return };
    let trader = Trader::new(Rig::start(exchanges(&[Exchange::Binance])).await).await;
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(&program, profile.path()).await;
    let home = format!("http://{}", trader.rig.api);
    let docs = json!({"url": format!("{home}/docs")});
    let navigated = browser.command("Page.navigate", docs).await;
    assert!(navigated["errorText"].is_null(), "{navigated}");
    for part in [
        "CryptoOrderbook",
        "crypto.trades",
        "CRYPTO_RATE_LIMIT_EXCEEDED",
    ] {
        let script = format!("document.querySelector('main')?.textContent.includes('{part}')");
        browser.until(&script).await;
    }

    let book = json!({"provider": "binance", "codes": "btcusdt", "depth": "2"});
    let shown = browser.try_it("listCryptoOrderbook", &book).await;
    assert!(shown.contains("status 200"), "{shown}");
    assert!(
        shown.contains("\"entity_id\": \"cryptopair_binance_btcusdt\""),
        "{shown}"
    );
    let wrong = json!({"provider": "binance", "depth": "9999", "codes": "btcusdt"});
    let shown = browser.try_it("listCryptoOrderbook", &wrong).await;
    assert!(
        shown.contains("status 400") && shown.contains("CRYPTO_INVALID_PARAMETER"),
        "{shown}"
    );
    let key = json!(trader.key);
    let given = format!("document.getElementById('key').value = {key}");
    browser.evaluate(&given).await;
    let shown = browser
        .try_it("listBalances", &json!({"asset": "USDT"}))
        .await;
    assert!(shown.contains("status 200"), "{shown}");
    assert!(shown.contains("\"asset\": \"USDT\""), "{shown}");
    assert!(!shown.contains(&trader.key), "the key is not shown");

    // That a request was refused is an error on the console: the one that was wrong on purpose.
    browser.errors.retain(|error| !error.contains("depth=9999"));
    assert!(browser.errors.is_empty(), "{:#?}", browser.errors);
    assert!(browser.asked.len() > 4, "{:?}", browser.asked);
    for url in &browser.asked {
        assert!(url.starts_with(&home), "it asked {url}");
    }
}
