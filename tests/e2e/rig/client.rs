//! A strict client of the WebSocket feed: it checks what every client relies on while it reads.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A connected client. Every message that it reads has passed the checks of [`Feed::check`].
pub struct Feed {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages read while waiting for something else.
    waiting: Vec<Value>,
    last_seq: HashMap<String, u64>,
    books: HashMap<String, Book>,
    /// `system.status` messages, in order.
    pub statuses: Vec<Value>,
    /// Messages that `system.flow` told as dropped.
    pub dropped: u64,
    /// Numbers that were left out.
    pub missing: u64,
    next_id: u64,
}

/// A book built from snapshots and updates as a client does it: price text to quantity text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    /// Best first.
    pub bids: Vec<(String, String)>,
    /// Best first.
    pub asks: Vec<(String, String)>,
    /// The exchange's sequence.
    pub sequence: u64,
}

impl Feed {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.expect("the feed accepts a client");
        Self {
            socket,
            waiting: Vec::new(),
            last_seq: HashMap::new(),
            books: HashMap::new(),
            statuses: Vec::new(),
            dropped: 0,
            missing: 0,
            next_id: 1,
        }
    }

    /// Sends a frame as it is.
    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends a request and waits for its answer; market messages in between are kept.
    pub async fn request(&mut self, mut request: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = json!(id);
        self.send_raw(Message::text(request.to_string())).await;
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let message = self.read(end).await.expect("an answer within 20 s");
            if message["id"] == json!(id) {
                return message;
            }
            self.waiting.push(message);
        }
    }

    /// Subscribes and demands that nothing is rejected.
    pub async fn subscribe(&mut self, params: Value) {
        let answer = self
            .request(json!({"method": "subscribe", "params": params}))
            .await;
        assert_eq!(answer["status"], "subscribed", "{answer}");
        assert_eq!(
            answer["rejected"].as_array().map_or(0, Vec::len),
            0,
            "{answer}"
        );
    }

    /// The next message, `None` when none comes in time.
    pub async fn next(&mut self, within: Duration) -> Option<Value> {
        if !self.waiting.is_empty() {
            return Some(self.waiting.remove(0));
        }
        self.read(Instant::now() + within).await
    }

    /// The next message as it comes, unchecked: subscriptions that end and begin again count anew.
    pub async fn next_raw(&mut self, within: Duration) -> Value {
        let end = Instant::now() + within;
        loop {
            match timeout_at(end, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    return serde_json::from_str(&text).expect("valid JSON");
                }
                Ok(Some(Ok(_))) => {}
                other => panic!("no message: {other:?}"),
            }
        }
    }

    /// The next message of a stream and symbol.
    pub async fn next_of(&mut self, stream: &str, symbol: &str, within: Duration) -> Value {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.next(left).await;
            let message =
                message.unwrap_or_else(|| panic!("no {stream} of {symbol} in {within:?}"));
            if message["stream"] == stream && message["symbol"] == symbol {
                return message;
            }
        }
    }

    /// Everything that comes in a span of time.
    pub async fn collect(&mut self, span: Duration) -> Vec<Value> {
        let end = Instant::now() + span;
        let mut found = std::mem::take(&mut self.waiting);
        while let Some(message) = self.read(end).await {
            found.push(message);
        }
        found
    }

    /// The close frame's code and reason, once the server closes; other messages are dropped.
    pub async fn closed(&mut self, within: Duration) -> Option<(u16, String)> {
        let end = Instant::now() + within;
        loop {
            match timeout_at(end, self.socket.next()).await.ok()? {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The book of a symbol as this client has built it.
    pub fn book(&self, symbol: &str) -> Option<&Book> {
        self.books.get(symbol)
    }

    async fn read(&mut self, end: Instant) -> Option<Value> {
        loop {
            match timeout_at(end, self.socket.next()).await.ok()? {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).expect("valid JSON");
                    self.check(&message);
                    return Some(message);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("the feed broke: {error}"),
                None => panic!("the feed closed"),
            }
        }
    }

    /// What every client relies on: `seq` without unannounced holes, deltas that apply, books that
    /// are ordered and not crossed.
    fn check(&mut self, message: &Value) {
        match message["stream"].as_str() {
            Some("system.status") => self.statuses.push(message.clone()),
            Some("system.flow") => {
                self.dropped += message["data"]["dropped"].as_u64().unwrap();
            }
            Some(stream) => {
                // An account is one subscription, whatever its messages are about.
                let of = match message.get("account") {
                    Some(account) => account,
                    None => &message["symbol"],
                };
                let key = format!(
                    "{stream} {} {of} {} {}",
                    message["provider"], message["interval"], message["channel"]
                );
                let seq = message["seq"].as_u64().expect("seq");
                let last = self.last_seq.insert(key.clone(), seq).unwrap_or(0);
                let hole = seq - last - 1;
                assert!(seq > last, "{key}: seq {seq} after {last}");
                self.missing += hole;
                assert!(
                    hole <= self.dropped,
                    "{key}: seq {seq} after {last}, no drop was told"
                );
                if stream == "crypto.orderbook" {
                    self.apply(message);
                }
            }
            None => {}
        }
    }

    fn apply(&mut self, message: &Value) {
        let symbol = message["symbol"].as_str().unwrap().to_owned();
        let data = &message["data"];
        let sequence = data["sequence"].as_u64().unwrap();
        let (bids, asks) = (levels(&data["bids"]), levels(&data["asks"]));
        if data["type"] == "snapshot" {
            self.books.insert(
                symbol.clone(),
                Book {
                    bids,
                    asks,
                    sequence,
                },
            );
        } else {
            let book = self
                .books
                .get_mut(&symbol)
                .expect("a snapshot comes before updates");
            assert_eq!(
                data["prev_sequence"].as_u64(),
                Some(book.sequence),
                "{symbol}: an update that does not apply: {data}"
            );
            change(&mut book.bids, &bids, true);
            change(&mut book.asks, &asks, false);
            book.sequence = sequence;
        }
        let book = &self.books[&symbol];
        let prices = |side: &[(String, String)]| -> Vec<f64> {
            side.iter()
                .map(|(price, _)| price.parse().unwrap())
                .collect()
        };
        let (bids, asks) = (prices(&book.bids), prices(&book.asks));
        assert!(
            bids.is_sorted_by(|a, b| a > b),
            "{symbol}: bids out of order {message}"
        );
        assert!(
            asks.is_sorted_by(|a, b| a < b),
            "{symbol}: asks out of order {message}"
        );
        if let (Some(bid), Some(ask)) = (bids.first(), asks.first()) {
            assert!(bid < ask, "{symbol}: crossed {message}");
        }
    }
}

/// Levels of a message.
pub fn levels(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("numbers as strings").to_owned();
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|level| (text(&level[0]), text(&level[1])))
        .collect()
}

fn change(side: &mut Vec<(String, String)>, changes: &[(String, String)], descending: bool) {
    let mut by_price: BTreeMap<String, String> = side.drain(..).collect();
    for (price, qty) in changes {
        if qty == "0" {
            assert!(
                by_price.remove(price).is_some(),
                "an update removes {price}, not there"
            );
        } else {
            by_price.insert(price.clone(), qty.clone());
        }
    }
    let number = |text: &str| text.parse::<f64>().unwrap();
    let mut sorted: Vec<(String, String)> = by_price.into_iter().collect();
    sorted.sort_by(|a, b| number(&a.0).total_cmp(&number(&b.0)));
    if descending {
        sorted.reverse();
    }
    side.extend(sorted);
}
