//! Clients for the tests: HTTP by hand, WebSocket, and a book kept as the exchange's documents
//! say.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use bookwire_sim::{Segment, Sim, SimConfig};
use futures_util::{SinkExt, StreamExt};
use rust_decimal::Decimal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub const SPOT_REST: &str = "api.binance.com";
pub const SPOT_WS: &str = "stream.binance.com:9443";
pub const USDM_REST: &str = "fapi.binance.com";
pub const USDM_WS: &str = "fstream.binance.com";

/// No wait of a test is longer; the machine may be busy with others.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn sim(config: SimConfig) -> Sim {
    Sim::start(config).await.unwrap()
}

pub async fn plain_sim() -> Sim {
    sim(SimConfig {
        seed: 7,
        ..SimConfig::default()
    })
    .await
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn code(&self) -> i64 {
        self.json()["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("no code: {}", self.body))
    }
}

/// GET with a connection of its own.
pub async fn get(sim: &Sim, host: &str, target: &str) -> Answer {
    let url = sim.url(host).unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

pub async fn get_json(sim: &Sim, host: &str, target: &str) -> Value {
    let answer = get(sim, host, target).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    answer.json()
}

/// A WebSocket client.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn open(sim: &Sim, host: &str, path: &str) -> Self {
        let url = format!("{}{path}", sim.url(host).unwrap());
        Self {
            socket: connect_async(url).await.unwrap().0,
        }
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next text, as it is.
    pub async fn text(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match next
                .expect("no message in time")
                .expect("connection ended")
                .unwrap()
            {
                Message::Text(text) => return text.to_string(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next message that `pick` wants.
    pub async fn find(&mut self, pick: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.json().await;
            if pick(&message) {
                return message;
            }
        }
    }

    /// Messages until nothing came for `quiet`.
    pub async fn drain(&mut self, quiet: Duration) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Ok(Some(Ok(message))) = tokio::time::timeout(quiet, self.socket.next()).await {
            if let Message::Text(text) = message {
                messages.push(serde_json::from_str(&text).unwrap());
            }
        }
        messages
    }

    /// How the connection ends: `Some(code)` with a close frame, `None` without.
    pub async fn end(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("still open")
            {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub async fn subscribe(&mut self, streams: &[&str]) {
        let params: Vec<String> = streams.iter().map(|name| format!("\"{name}\"")).collect();
        let request = format!(
            "{{\"method\":\"SUBSCRIBE\",\"params\":[{}],\"id\":1}}",
            params.join(",")
        );
        self.send(&request).await;
        let answer = self.find(|message| message.get("id").is_some()).await;
        assert_eq!(answer, serde_json::json!({"result": null, "id": 1}));
    }
}

pub fn u64_of(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {key} in {value}"))
}

type Side = BTreeMap<Decimal, Decimal>;
/// Price and quantity, best first.
type Rows = Vec<(Decimal, Decimal)>;

/// A local book after binance.md section 4, and nothing else.
#[derive(Debug, Default)]
pub struct LocalBook {
    pub last_id: u64,
    pub bids: Side,
    pub asks: Side,
    pub applied: usize,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Applied,
    Ignored,
    Gap,
}

fn set(side: &mut Side, rows: &Value) {
    for row in rows.as_array().unwrap() {
        let number = |at: usize| -> Decimal { row[at].as_str().unwrap().parse().unwrap() };
        if number(1).is_zero() {
            side.remove(&number(0));
        } else {
            side.insert(number(0), number(1));
        }
    }
}

impl LocalBook {
    pub fn load(snapshot: &Value) -> Self {
        let mut book = Self {
            last_id: u64_of(snapshot, "lastUpdateId"),
            ..Self::default()
        };
        set(&mut book.bids, &snapshot["bids"]);
        set(&mut book.asks, &snapshot["asks"]);
        book
    }

    pub fn apply(&mut self, market: Segment, event: &Value) -> Step {
        let (first, last) = (u64_of(event, "U"), u64_of(event, "u"));
        match market {
            Segment::Spot => {
                if last <= self.last_id {
                    return Step::Ignored;
                }
                if first > self.last_id + 1 {
                    return Step::Gap;
                }
            }
            Segment::Linear if self.applied == 0 => {
                if last < self.last_id {
                    return Step::Ignored;
                }
                if first > self.last_id {
                    return Step::Gap;
                }
            }
            Segment::Linear => {
                if u64_of(event, "pu") != self.last_id {
                    return Step::Gap;
                }
            }
        }
        set(&mut self.bids, &event["b"]);
        set(&mut self.asks, &event["a"]);
        self.last_id = last;
        self.applied += 1;
        Step::Applied
    }

    /// Best first, as the truth has them.
    pub fn rows(&self) -> (Rows, Rows) {
        let pair = |(price, qty): (&Decimal, &Decimal)| (*price, *qty);
        (
            self.bids.iter().rev().map(pair).collect(),
            self.asks.iter().map(pair).collect(),
        )
    }
}

pub fn decimals(rows: &[(String, String)]) -> Rows {
    rows.iter()
        .map(|(price, qty)| (price.parse().unwrap(), qty.parse().unwrap()))
        .collect()
}
