//! Every example of the public contract, played against a running gateway: `contract.txt` has them in the
//! contract's order. One start for all; what is not as shown is told at the end, each with its line.

#![allow(clippy::unwrap_used)]

mod pattern;

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bookwire_engine::time::TsNanos;
use bookwire_engine::vault::Secret;
use bookwire_sim::Exchange;
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::rig::{Rig, gateway};
use crate::trading::{Trader, exchanges, run};
use pattern::{Kept, faults};

const WITHIN: Duration = Duration::from_secs(20);
const ALL: &str = "data_access,spot_trading,futures_trading,admin";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A line of the file with those that go on with it, and where it begins.
type Line = (usize, String);

fn lines() -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/examples/contract.txt");
    let examples = std::fs::read_to_string(file).unwrap();
    for (n, text) in examples.lines().enumerate() {
        match lines.last_mut() {
            _ if text.starts_with('#') || text.trim().is_empty() => {}
            Some((_, last)) if text.starts_with("  ") => last.push_str(text.trim_start()),
            _ => lines.push((n + 1, text.to_owned())),
        }
    }
    lines
}

/// A request as it was sent last, so that it can be sent again.
#[derive(Clone, Default)]
struct Request {
    method: Method,
    target: String,
    body: String,
    headers: Vec<(String, String)>,
    key: String,
}

#[derive(Default)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

struct Play {
    trader: Trader,
    other: String,
    kept: Kept,
    sockets: HashMap<String, Socket>,
    /// What the next request has besides.
    headers: Vec<(String, String)>,
    key: String,
    request: Request,
    answer: Answer,
    output: (i32, String),
    wrong: Vec<String>,
}

/// What was read of a socket and is wrong.
type Wrong = Vec<String>;

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Play {
    fn hmac(&self, text: &str) -> String {
        let (_, secret) = self.trader.key.split_once('.').unwrap();
        let bytes = Secret::new(secret).sign(&[text.as_bytes()]);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A line with what was kept in its places; longer names first.
    fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in self.kept.iter().rev() {
            text = text.replace(&format!("${name}"), value);
        }
        text
    }

    async fn send(&mut self) {
        let Request {
            method,
            target,
            body,
            headers,
            key,
        } = self.request.clone();
        let url = format!("http://{}{target}", self.trader.rig.api);
        let mut request = self.trader.http.request(method.clone(), url);
        let full = self.trader.key.clone();
        let (id, _) = full.split_once('.').unwrap();
        request = match &*key {
            "" => request,
            "bare" => request.bearer_auth(id),
            "other" => request.bearer_auth(&self.other),
            "signed" => {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
                let signature = self.hmac(&format!("{now}{method}{target}{body}"));
                request
                    .header("X-API-Key", id)
                    .header("X-Timestamp", now.to_string())
                    .header("X-Signature", signature)
            }
            _ => request.bearer_auth(&full),
        };
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let answer = request.send().await.unwrap();
        self.answer = Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        };
    }

    /// What is wrong with the last answer.
    fn judge(&mut self, status: u16, wanted: &str) -> Wrong {
        let kind = self
            .answer
            .headers
            .get("content-type")
            .unwrap()
            .to_str()
            .unwrap();
        let text = &self.answer.text;
        if self.answer.status != status {
            return vec![format!("status {}: {text}", self.answer.status)];
        }
        let (expected, pattern) = match wanted.split_once(' ') {
            Some((kind, pattern)) if kind.starts_with("text/") => (kind, pattern),
            _ => ("application/json", wanted),
        };
        let mut wrong = Vec::new();
        if !kind.starts_with(expected) {
            wrong.push(format!("the type is {kind}"));
        }
        let value = match expected {
            "application/json" => parse(text),
            _ => Value::String(text.clone()),
        };
        wrong.extend(faults(&parse(pattern), &value, &mut self.kept));
        wrong
    }

    async fn socket(&mut self, name: &str) -> &mut Socket {
        if !self.sockets.contains_key(name) {
            let url = format!("ws://{}/ws", self.trader.rig.api);
            let end = Instant::now() + WITHIN;
            let socket = loop {
                match connect_async(&url).await {
                    Ok((socket, _)) => break socket,
                    // The place of one that was closed just now may not be free yet.
                    Err(error) => assert!(Instant::now() < end, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            self.sockets.insert(name.to_owned(), socket);
        }
        self.sockets.get_mut(name).unwrap()
    }

    /// Closes all sockets: unread for long they would be disconnected.
    async fn close(&mut self) {
        for (_, mut socket) in self.sockets.drain() {
            let _ = socket.close(None).await;
            let rest = async {
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() {
                        break;
                    }
                }
            };
            let _ = tokio::time::timeout(WITHIN, rest).await;
        }
    }

    /// Reads a socket until a message is as shown; with `is_answer` the first that is an answer has to be.
    async fn read(&mut self, name: &str, pattern: &str, is_answer: bool) -> Wrong {
        let pattern = parse(pattern);
        let end = Instant::now() + WITHIN;
        let mut nearest: Option<Wrong> = None;
        loop {
            let socket = self.socket(name).await;
            let Ok(message) = timeout_at(end, socket.next()).await else {
                return nearest.unwrap_or_else(|| vec!["no message came".to_owned()]);
            };
            let Message::Text(text) = message.unwrap().unwrap() else {
                continue;
            };
            let message = parse(&text);
            let is_pushed = message.get("stream").is_some();
            if is_pushed == is_answer {
                continue;
            }
            let mut kept = self.kept.clone();
            let wrong = faults(&pattern, &message, &mut kept);
            if wrong.is_empty() {
                self.kept = kept;
            } else if !is_answer {
                // Of the same kind: the one that is least wrong is told.
                let is_nearer = nearest.as_ref().is_none_or(|old| wrong.len() < old.len());
                if message["stream"] == pattern["stream"] && is_nearer {
                    nearest = Some(wrong);
                }
                continue;
            }
            return wrong;
        }
    }

    fn header(&self, name: &str, pattern: &str) -> Wrong {
        let found = self
            .answer
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap());
        let mut kept = Kept::new();
        match (found, pattern) {
            (None, "-") => Vec::new(),
            (None, _) => vec![format!("there is no header {name}")],
            (Some(found), _) => faults(&json!(pattern), &json!(found), &mut kept),
        }
    }

    fn run(&mut self, arguments: &str) {
        let mut program = Command::new(gateway());
        let output = program.args(arguments.split_whitespace()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        self.output = (output.status.code().unwrap(), text);
    }

    /// Runs the program until a file is there, whose name is its last argument.
    async fn run_for(&mut self, arguments: &str) {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut program = Command::new(gateway());
        program
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = program.spawn().unwrap();
        let end = Instant::now() + WITHIN;
        while !std::path::Path::new(arguments.last().unwrap()).exists() {
            assert!(Instant::now() < end, "{arguments:?} writes nothing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Does what a line says; what is wrong then.
    async fn step(&mut self, line: &str) -> Wrong {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let within = Instant::now() + WITHIN;
        match word {
            "by" => rest.clone_into(&mut self.key),
            "with" => {
                let (name, value) = rest.split_once(": ").unwrap();
                self.headers.push((name.to_owned(), value.to_owned()));
            }
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" => {
                let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
                self.request = Request {
                    method: word.parse().unwrap(),
                    target: target.to_owned(),
                    body: body.to_owned(),
                    headers: std::mem::take(&mut self.headers),
                    key: std::mem::take(&mut self.key),
                };
                self.send().await;
            }
            "again" => {
                for _ in 0..rest.parse().unwrap() {
                    self.send().await;
                }
            }
            "header" => {
                let (name, pattern) = rest.split_once(": ").unwrap();
                let wrong = self.header(name, pattern);
                if let Some((_, kept)) = pattern.strip_suffix('>').and_then(|p| p.split_once('=')) {
                    let found = self.answer.headers.get(name).unwrap().to_str().unwrap();
                    self.kept.insert(kept.to_owned(), found.to_owned());
                }
                return wrong;
            }
            "prove" => {
                let now = SystemTime::UNIX_EPOCH
                    .elapsed()
                    .unwrap()
                    .as_millis()
                    .to_string();
                let (id, _) = self.trader.key.split_once('.').unwrap();
                let signature = self.hmac(&format!("{now}{id}{rest}"));
                self.kept.insert("now_ms".to_owned(), now);
                self.kept.insert("signature".to_owned(), signature);
            }
            "fault" => {
                let control = self.trader.rig.sim.control();
                let _ = control.inject(rest.parse().unwrap());
            }
            "$" => self.run(rest),
            "&" => self.run_for(rest).await,
            "exit" => {
                let (code, pattern) = rest.split_once(' ').unwrap();
                let (ended, output) = self.output.clone();
                if ended.to_string() != code {
                    return vec![format!("it ends with {ended}: {output}")];
                }
                let value = match pattern {
                    "\"\"" => json!(output),
                    _ => parse(&output),
                };
                return faults(&parse(pattern), &value, &mut self.kept);
            }
            "file" => {
                let (path, pattern) = rest.split_once(' ').unwrap();
                let text = std::fs::read_to_string(path).unwrap();
                return faults(&parse(pattern), &parse(&text), &mut self.kept);
            }
            _ => {
                if let Some(status) = word.strip_prefix('~') {
                    let status = status.parse().unwrap();
                    loop {
                        let wrong = self.judge(status, rest);
                        if wrong.is_empty() || Instant::now() > within {
                            return wrong;
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        self.send().await;
                    }
                }
                if let Ok(status) = word.parse() {
                    return self.judge(status, rest);
                }
                let (name, what) = word.split_at(1);
                match what {
                    ">" => {
                        let message = Message::text(rest);
                        self.socket(name).await.send(message).await.unwrap();
                    }
                    "<" => return self.read(name, rest, true).await,
                    "~" => return self.read(name, rest, false).await,
                    "!" => {
                        let url = format!("ws://{}/ws", self.trader.rig.api);
                        let refused = connect_async(url).await.err();
                        return match refused {
                            Some(Error::Http(answer)) if answer.status().as_str() == rest => {
                                Vec::new()
                            }
                            other => vec![format!("it is {other:?}")],
                        };
                    }
                    _ => panic!("what is `{line}`?"),
                }
            }
        }
        Vec::new()
    }

    async fn play(&mut self, section: &str, lines: &[Line]) {
        for (n, line) in lines {
            let filled = self.filled(line);
            let wrong = self.step(&filled).await;
            if !wrong.is_empty() {
                let asked = &self.request;
                self.wrong.push(format!(
                    "contract.txt:{n}: {section}\n  last asked: {} {}\n  {}",
                    asked.method,
                    asked.target,
                    wrong.join("\n  ")
                ));
            }
        }
    }
}

/// What stands in the places of the examples before anything was answered.
async fn givens(trader: &Trader, folder: &std::path::Path) -> Kept {
    const DAY: i64 = 86_400_000_000_000;
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let day = (now / DAY - 3) * DAY;
    let text = TsNanos(day).to_date();
    let entity = "cryptopair_binance_btcusdt";
    let (bid, _) = trader.touch("binance", "btcusdt", entity).await;
    let low = (bid * rust_decimal::Decimal::new(95, 2))
        .round_dp(2)
        .normalize();
    [
        ("day", text),
        ("s", (day / 1_000_000_000).to_string()),
        ("ms", (day / 1_000_000).to_string()),
        ("us", (day / 1_000).to_string()),
        ("ns", day.to_string()),
        ("low", low.to_string()),
        ("folder", folder.display().to_string()),
        ("key_id", trader.key.split_once('.').unwrap().0.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Five recorded lines, as a file that `replay` reads: a trade in a wrapper, a snapshot, a change of the book, a
/// trade, and none.
const RECORDED: &str = r#"{"recv_ts":1722470400150,"raw":{"stream":"btcusdt@trade","data":{"e":"trade","E":1722470400100,"s":"BTCUSDT","t":1,"p":"64000.10","q":"0.50000","T":1722470400099,"m":true,"M":true}}}
{"lastUpdateId":100,"bids":[["64000.00","1.50000"]],"asks":[["64000.20","2.00000"]]}
{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1722470400200,"s":"BTCUSDT","U":101,"u":102,"b":[["64000.10","0.70000"]],"a":[["64000.20","0.00000"],["64000.30","1.10000"]]}}
{"stream":"btcusdt@trade","data":{"e":"trade","E":1722470460100,"s":"BTCUSDT","t":2,"p":"64001.00","q":"0.25000","T":1722470460099,"m":false,"M":true}}
this is no message
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_contract_is_answered_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("raw.jsonl"), RECORDED).unwrap();
    std::fs::write(
        folder.path().join("wrong.toml"),
        "[server]\nlisten_to = 1\n",
    )
    .unwrap();
    let mut trader =
        Trader::new(Rig::start(exchanges(&[Exchange::Binance, Exchange::Okx])).await).await;
    let other = std::mem::replace(
        &mut trader.key,
        run(
            &trader.rig,
            &["keys", "create", "--quiet", "--permissions", ALL],
            "",
        ),
    );
    let end = Instant::now() + WITHIN;
    while trader
        .ask(Method::GET, "/api/trading/accounts", None)
        .await
        .0
        != 200
    {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    trader.ready("binance").await;
    let kept = givens(&trader, folder.path()).await;
    let mut play = Play {
        trader,
        other,
        kept,
        sockets: HashMap::new(),
        headers: Vec::new(),
        key: String::new(),
        request: Request::default(),
        answer: Answer::default(),
        output: (0, String::new()),
        wrong: Vec::new(),
    };
    let all = lines();
    let is_start = |(_, text): &Line| text.starts_with("== ") || text.starts_with("each ");
    let mut section = "";
    for part in all.chunk_by(|_, next| !is_start(next)) {
        let (first, rest) = part.split_first().unwrap();
        match first.1.strip_prefix("each $x = ") {
            None => {
                play.close().await;
                section = first.1.trim_start_matches("== ");
                play.play(section, rest).await;
            }
            Some(values) => {
                for value in values.split(" | ") {
                    play.kept.insert("x".to_owned(), value.to_owned());
                    let value = play.filled(value);
                    play.kept.insert("x".to_owned(), value);
                    play.play(section, rest).await;
                }
            }
        }
    }
    let wrong = &play.wrong;
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
