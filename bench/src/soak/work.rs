//! What a user of the gateway does: orders on paper, placed and canceled, questions over REST,
//! connections of the feed that come and go. A round of it leaves nothing behind at the gateway but rows in
//! its store and orders that are over.

use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use bookwire_engine::trading::keys::Keys;
use bookwire_sim::Segment;
use serde_json::{Value, json};

use super::{asked, request};
use crate::fake::unix_millis;
use crate::gateway::Gateway;
use crate::load::Symbol;
use crate::order_entry::client::keys;
use crate::order_entry::http::{self, Talk};
use crate::ws::{self, Frames};

/// Quote units that an order is worth.
const WORTH: f64 = 50.0;
/// How far below the best bid an order rests, as a factor: within the price collar, and never filled at
/// once.
const BELOW: f64 = 0.97;
/// Questions of a round; one in turn is asked for each symbol.
const QUESTIONS: [&str; 8] = [
    "/api/data/{Pair}1mKdata?provider={provider}&codes={code}&limit=5",
    "/api/data/CryptoOrderbook?provider={provider}&codes={code}&depth=20",
    "/api/data/CryptoTrade?provider={provider}&codes={code}&limit=10",
    "/api/data/{Pair}?provider={provider}&codes={code}",
    "/api/crypto/providers/status",
    "/api/crypto/providers/capabilities",
    "/api/crypto/metrics",
    "/metrics",
];

/// Times that something is tried again that the server could not do, half a second apart: on a machine that is
/// busy with other things a book may lose step, and a thread may not answer in time.
const TRIES: u32 = 60;

/// Does something, and again while the answer is that the server can't now.
fn patiently<T>(again: &mut u64, mut act: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match act() {
            Err(error) if tries < TRIES && is_busy(&format!("{error:#}")) => {
                *again += 1;
                std::thread::sleep(std::time::Duration::from_millis(500));
            }
            done => return done,
        }
    }
}

fn is_busy(error: &str) -> bool {
    [": 500 {", ": 503 {", ": 504 {"]
        .iter()
        .any(|status| error.contains(status))
}

/// A user, with a key that may trade.
pub(super) struct User {
    key: String,
    secret: Keys,
    talk: Talk,
    /// A connection of the feed that stays.
    stays: (TcpStream, Frames),
    symbols: Vec<Symbol>,
    /// Those that are traded: spot pairs against dollars of some kind.
    traded: Vec<Symbol>,
    round: usize,
    pub(super) orders: u64,
    /// Requests that were made.
    pub(super) requests: u64,
    /// Those that were made again because the server could not do them.
    pub(super) again: u64,
}

impl User {
    pub(super) fn new(gateway: &Gateway, key: &str, symbols: &[Symbol]) -> Result<Self> {
        let (id, secret) = key.split_once('.').context("a key without a secret")?;
        let is_traded = |symbol: &&Symbol| {
            let code = &symbol.code;
            symbol.segment == Segment::Spot && (code.ends_with("usdt") || code.ends_with("usd"))
        };
        let traded: Vec<Symbol> = symbols.iter().filter(is_traded).cloned().collect();
        ensure!(!traded.is_empty(), "no spot pair is left to trade");
        Ok(Self {
            secret: keys(id, secret)?,
            key: key.to_owned(),
            talk: Talk::connect(gateway.api())?,
            stays: (ws::connect(gateway.api(), "/ws")?, Frames::default()),
            symbols: symbols.to_vec(),
            traded,
            round: 0,
            orders: 0,
            requests: 0,
            again: 0,
        })
    }

    /// One round.
    pub(super) fn round(&mut self, gateway: &Gateway) -> Result<()> {
        self.round += 1;
        let traded = self.traded[self.round % self.traded.len()].clone();
        self.trade(&traded)
            .with_context(|| format!("trade {} at {}", traded.code, traded.exchange.as_str()))?;
        let symbol = self.symbols[self.round % self.symbols.len()].clone();
        self.question(gateway, &symbol)?;
        self.visit(gateway, &symbol)?;
        self.stay(&symbol)
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> Result<Value> {
        let headers = format!(
            "Content-Type: application/json\r\nAuthorization: Bearer {}\r\n",
            self.key
        );
        let request = http::request(method, target, "127.0.0.1", &headers, body);
        self.requests += 1;
        let Self { talk, again, .. } = self;
        let answer = patiently(again, || talk.ask(&request))?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// An order that rests and is canceled; now and then one that is filled.
    fn trade(&mut self, symbol: &Symbol) -> Result<()> {
        let provider = symbol.exchange.as_str();
        let path = format!(
            "/api/data/CryptoOrderbook?provider={provider}&codes={}&depth=1",
            symbol.code
        );
        let book = self.ask("GET", &path, "")?;
        let bid = book["data"][0]["best_bid"].as_f64();
        let bid = bid.with_context(|| format!("no best bid: {book}"))?;
        let mut body = json!({
            "provider": provider,
            "entity_id": format!("cryptopair_{provider}_{}", symbol.code),
            "entity_type": "cryptopair",
            "side": "buy",
            "type": "limit",
            "quantity": WORTH / (bid * BELOW),
            "price": bid * BELOW,
            "round": true,
            // What is asked again makes no second one.
            "client_order_id": format!("soak-{}", self.orders),
        });
        let placed = self.ask("POST", "/api/trading/orders", &body.to_string())?;
        let id = placed["order_id"].as_str();
        let id = id.with_context(|| format!("no order: {placed}"))?;
        let path = format!("/api/trading/orders/{id}");
        let before = self.again;
        let canceled = match self.ask("DELETE", &path, "") {
            // It was done when the answer was that it could not be.
            Err(_) if self.again > before => self.ask("GET", &path, "")?,
            other => other?,
        };
        let status = canceled["status"].as_str().unwrap_or_default();
        // A market that falls by so much in between is possible.
        let is_over = matches!(status, "canceled" | "filled" | "partially_filled");
        ensure!(is_over, "not canceled: {canceled}");
        self.orders += 1;
        if self.round.is_multiple_of(5) {
            body["type"] = "market".into();
            body["client_order_id"] = format!("soak-{}", self.orders).into();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("price");
            }
            self.ask("POST", "/api/trading/orders", &body.to_string())?;
            self.orders += 1;
            self.ask("GET", "/api/trading/balances", "")?;
            self.ask("GET", "/api/trading/orders?limit=20", "")?;
        }
        Ok(())
    }

    fn question(&mut self, gateway: &Gateway, symbol: &Symbol) -> Result<()> {
        let kind = match symbol.segment {
            Segment::Spot => "CryptoPair",
            _ => "CryptoPerp",
        };
        for at in 0..2 {
            let path = QUESTIONS[(2 * self.round + at) % QUESTIONS.len()]
                .replace("{Pair}", kind)
                .replace("{provider}", symbol.exchange.as_str())
                .replace("{code}", &symbol.symbol);
            self.requests += 1;
            patiently(&mut self.again, || gateway.get(&path))?;
        }
        // An error is work too: nothing of it may stay.
        let wrong = gateway.get("/api/data/CryptoTrade?provider=nobody");
        ensure!(wrong.is_err(), "a provider that nobody has was accepted");
        Ok(())
    }

    /// A connection that logs in, subscribes and goes.
    fn visit(&mut self, gateway: &Gateway, symbol: &Symbol) -> Result<()> {
        let mut socket = ws::connect(gateway.api(), "/ws")?;
        let mut frames = Frames::default();
        let provider = symbol.exchange.as_str();
        let (now, key) = (unix_millis(), self.secret.api_key());
        let signature = self
            .secret
            .sign_hex(format!("{now}{key}{provider}").as_bytes())
            .map_err(|error| anyhow::anyhow!("{}", error.message))?;
        let auth = json!({"id": 1, "method": "auth", "params": {
            "provider": provider, "api_key": key, "signature": signature, "timestamp": now,
        }});
        let private = json!({"id": 3, "method": "subscribe", "params": {
            "stream": "crypto.orders", "provider": provider,
        }});
        for (id, status, text) in [
            (1, "authenticated", auth.to_string()),
            (2, "subscribed", request(2, "subscribe", symbol)),
            (3, "subscribed", private.to_string()),
        ] {
            let answer = asked(&mut socket, &mut frames, id, &text)?;
            ensure!(answer["status"] == status, "{answer}");
        }
        Ok(())
    }

    /// A subscription that comes and goes on a connection that stays.
    fn stay(&mut self, symbol: &Symbol) -> Result<()> {
        let (socket, frames) = &mut self.stays;
        let id = 2 * self.round;
        for (id, method, status) in [
            (id, "subscribe", "subscribed"),
            (id + 1, "unsubscribe", "unsubscribed"),
        ] {
            let text = request(id, method, symbol);
            let answer = asked(socket, frames, id, &text)?;
            ensure!(answer["status"] == status, "{text}: {answer}");
        }
        Ok(())
    }
}
