//! Somebody who places an order and cancels it, again and again, on one connection that stays open.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bookwire_engine::trading::keys::{KeyKind, Keys};
use serde_json::{Value, json};

use super::exchange::{QUANTITY, price};
use super::http::{Talk, request};
use crate::fake::unix_millis;

/// A sleep comes back this much too late at most: the rest is waited for without one.
const SLEEP_ERROR: Duration = Duration::from_micros(150);

/// How a client proves that it may.
pub enum Form {
    /// The exchange's own requests, as a stranger that it does not check.
    Exchange,
    /// The exchange's own requests, signed.
    ExchangeSigned(Keys),
    /// bookwire's, with a key's secret in each.
    Bearer(String),
    /// bookwire's, each signed.
    Signed(Keys),
}

impl Form {
    /// bookwire's key as `keys create` has told it, `id.secret`, to sign with.
    ///
    /// # Errors
    /// When it is no key.
    pub fn signed(key: &str) -> Result<Self> {
        let (id, secret) = key.split_once('.').context("a key without a secret")?;
        keys(id, secret).map(Self::Signed)
    }
}

/// Keys that sign with a shared secret.
///
/// # Errors
/// When they are none.
pub fn keys(id: &str, secret: &str) -> Result<Keys> {
    Keys::new(KeyKind::Hmac, id, secret, None).map_err(|error| anyhow::anyhow!("{}", error.message))
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The order's number.
    pub number: u64,
    /// Canceled, or placed.
    pub is_cancel: bool,
    /// When it was due.
    pub due: Instant,
    /// When its answer was there, whole.
    pub done: Instant,
}

/// The client.
pub struct Client {
    talk: Talk,
    host: String,
    form: Form,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: SocketAddr, form: Form) -> Result<Self> {
        Ok(Self {
            talk: Talk::connect(address)?,
            host: address.to_string(),
            form,
        })
    }

    fn build(&self, method: &str, target: &str, body: &str) -> Result<Vec<u8>> {
        let bytes = |target: &str, more: &str| {
            let headers = format!("Accept: application/json\r\n{more}");
            request(method, target, &self.host, &headers, body)
        };
        let sign = |keys: &Keys, text: &str| {
            keys.sign_hex(text.as_bytes())
                .map_err(|error| anyhow::anyhow!("{}", error.message))
        };
        Ok(match &self.form {
            Form::Exchange => bytes(target, ""),
            Form::ExchangeSigned(keys) => {
                let (path, query) = target.split_once('?').context("nothing to sign")?;
                let query = format!("{query}&timestamp={}", unix_millis());
                let signature = sign(keys, &query)?;
                let key = format!("X-MBX-APIKEY: {}\r\n", keys.api_key());
                bytes(&format!("{path}?{query}&signature={signature}"), &key)
            }
            Form::Bearer(key) => bytes(
                target,
                &format!("Content-Type: application/json\r\nAuthorization: Bearer {key}\r\n"),
            ),
            Form::Signed(keys) => {
                let now = unix_millis();
                let signature = sign(keys, &format!("{now}{method}{target}{body}"))?;
                let proof = format!(
                    "Content-Type: application/json\r\nX-API-Key: {}\r\nX-Timestamp: {now}\r\n\
                     X-Signature: {signature}\r\n",
                    keys.api_key()
                );
                bytes(target, &proof)
            }
        })
    }

    const fn is_native(&self) -> bool {
        matches!(self.form, Form::Exchange | Form::ExchangeSigned(_))
    }

    fn place(&self, number: u64) -> Result<Vec<u8>> {
        let price = price(number);
        if self.is_native() {
            let target = format!(
                "/api/v3/order?symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity={QUANTITY}\
                 &price={price}&newClientOrderId=order{number}&newOrderRespType=FULL"
            );
            return self.build("POST", &target, "");
        }
        let body = json!({
            "provider": "binance",
            "entity_id": "cryptopair_binance_btcusdt",
            "entity_type": "cryptopair",
            "side": "buy",
            "type": "limit",
            "quantity": QUANTITY,
            "price": price,
        });
        self.build("POST", "/api/trading/orders", &body.to_string())
    }

    fn cancel(&self, order: &str) -> Result<Vec<u8>> {
        let target = match self.is_native() {
            true => format!("/api/v3/order?symbol=BTCUSDT&orderId={order}"),
            false => format!("/api/trading/orders/{order}"),
        };
        self.build("DELETE", &target, "")
    }

    /// What an order is called where it was placed.
    fn name_of(&self, answer: &[u8]) -> Result<String> {
        let answer: Value = serde_json::from_slice(answer)?;
        let (name, states) = match self.is_native() {
            true => (answer["orderId"].to_string(), "NEW"),
            false => (
                answer["order_id"].as_str().unwrap_or_default().to_owned(),
                "open",
            ),
        };
        ensure!(answer["status"] == states, "not placed: {answer}");
        Ok(name)
    }

    /// An answer's JSON.
    ///
    /// # Errors
    /// When it is none, or an error.
    pub fn get(&mut self, target: &str) -> Result<Value> {
        let request = self.build("GET", target, "")?;
        Ok(serde_json::from_slice(&self.talk.ask(&request)?.body)?)
    }

    /// Places and cancels orders, a request each `1 / rate` s, from number `first` on: `orders` of
    /// them. Requests are written out, and signed, before they are due.
    ///
    /// # Errors
    /// When one is not answered, or with an error.
    pub fn trade(&mut self, first: u64, orders: u64, rate: u64) -> Result<Vec<Asked>> {
        let mut all = Vec::with_capacity(2 * orders as usize);
        let start = Instant::now() + Duration::from_millis(5);
        let mut name = String::new();
        for index in 0..2 * orders {
            let (number, is_cancel) = (first + index / 2, index % 2 == 1);
            let request = match is_cancel {
                false => self.place(number)?,
                true => self.cancel(&name)?,
            };
            let due = start + Duration::from_nanos(index * 1_000_000_000 / rate);
            let left = due.saturating_duration_since(Instant::now());
            thread::sleep(left.saturating_sub(SLEEP_ERROR));
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            let answer = self.talk.ask(&request)?;
            let done = Instant::now();
            if !is_cancel {
                name = self.name_of(&answer.body)?;
            }
            all.push(Asked {
                number,
                is_cancel,
                due,
                done,
            });
        }
        Ok(all)
    }
}
