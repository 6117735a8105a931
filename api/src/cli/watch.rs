//! `bookwire watch`: one subscription of a running bookwire, a message a line.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::FalseyValueParser;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use super::Failure;
use super::signal;

/// Time allowed to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// Subscribes to one stream and prints its messages.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Stream: trades, klines, orderbook, ticker or funding
    pub stream: String,
    /// Symbols: btcusdt, btcusdt-perp
    #[arg(required = true, num_args = 1..)]
    pub symbols: Vec<String>,
    /// Source of the data
    #[arg(long, env = "BOOKWIRE_PROVIDER", default_value = "binance")]
    pub provider: String,
    /// The server's WebSocket address
    #[arg(long, env = "BOOKWIRE_URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub url: String,
    /// Bar level, for klines
    #[arg(long, env = "BOOKWIRE_INTERVAL", value_name = "LEVEL")]
    pub interval: Option<String>,
    /// Levels a side, for orderbook
    #[arg(long, env = "BOOKWIRE_DEPTH", value_name = "LEVELS")]
    pub depth: Option<u32>,
    /// snapshot or delta, for orderbook
    #[arg(long, env = "BOOKWIRE_MODE")]
    pub mode: Option<String>,
    /// Adds received_ns and sent_ns to each message
    #[arg(long, env = "BOOKWIRE_TIMING", value_parser = FalseyValueParser::new())]
    pub timing: bool,
    /// Ends after this many messages
    #[arg(long, env = "BOOKWIRE_COUNT", value_name = "MESSAGES")]
    pub count: Option<u64>,
}

impl WatchArgs {
    fn request(&self) -> Value {
        let stream = match self.stream.strip_prefix("crypto.") {
            Some(name) => name,
            None => &self.stream,
        };
        let mut params = Map::new();
        params.insert("stream".into(), format!("crypto.{stream}").into());
        params.insert("provider".into(), self.provider.clone().into());
        params.insert("symbols".into(), self.symbols.clone().into());
        let mut option = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                params.insert(name.to_owned(), value);
            }
        };
        let interval = self
            .interval
            .clone()
            .or_else(|| (stream == "klines").then(|| "1m".into()));
        option("interval", interval.map(Value::from));
        option("depth", self.depth.map(Value::from));
        option("mode", self.mode.clone().map(Value::from));
        option("timing", self.timing.then_some(Value::from(true)));
        json!({"id": 1, "method": "subscribe", "params": params})
    }
}

/// Runs the command.
pub fn run(args: &WatchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let stop = signal::listen()?;
        tokio::select! {
            result = watch(args) => result,
            () = signal::stopped(stop) => Ok(()),
        }
    })
}

async fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let dial = tokio_tungstenite::connect_async(&args.url);
    let (mut socket, _) = match tokio::time::timeout(CONNECT, dial).await {
        Err(_) => return Err(anyhow!("no answer from {} within {CONNECT:?}", args.url).into()),
        Ok(Err(tungstenite::Error::Url(error))) => {
            return Err(Failure::Usage(format!("--url {}: {error}", args.url)));
        }
        Ok(Err(error)) => {
            return Err(anyhow!("no connection to {}: {error}", args.url).into());
        }
        Ok(Ok(connected)) => connected,
    };
    let request = Message::text(args.request().to_string());
    socket.send(request).await.context("the connection broke")?;
    let mut left = args.count;
    while left != Some(0) {
        let message = match socket.next().await {
            None => return Err(anyhow!("the server closed the connection").into()),
            Some(message) => message.context("the connection broke")?,
        };
        match message {
            Message::Text(text) => {
                check_answer(&text)?;
                let mut out = std::io::stdout().lock();
                if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
                    // The reader of our output is gone: `bookwire watch … | head`.
                    break;
                }
                if is_data(&text) {
                    left = left.map(|left| left - 1);
                }
            }
            Message::Close(Some(frame)) => {
                return Err(
                    anyhow!("closed by the server: {} {}", frame.code, frame.reason).into(),
                );
            }
            _ => {}
        }
    }
    let _ = socket.close(None).await;
    Ok(())
}

/// Market data, neither an answer nor a notice of the system.
fn is_data(text: &str) -> bool {
    text.starts_with("{\"stream\":\"crypto.")
}

/// A refused subscription ends the command: 2 when the request is at fault.
fn check_answer(text: &str) -> Result<(), Failure> {
    if is_data(text) {
        return Ok(());
    }
    let Ok(Value::Object(answer)) = serde_json::from_str::<Value>(text) else {
        return Ok(());
    };
    if answer.get("status").and_then(Value::as_str) != Some("error") {
        return Ok(());
    }
    let error = answer.get("error").cloned().unwrap_or_default();
    let field = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    let text = format!("{}: {}", field("code"), field("message"));
    let is_ours = ["CRYPTO_INVALID_PARAMETER", "CRYPTO_SYMBOL_MAPPING_ERROR"]
        .contains(&error["code"].as_str().unwrap_or_default());
    Err(if is_ours {
        Failure::Usage(text)
    } else {
        anyhow!(text).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_what_was_asked() {
        let args = WatchArgs {
            stream: "klines".into(),
            symbols: vec!["btcusdt".into(), "ethusdt-perp".into()],
            provider: "binance".into(),
            url: String::new(),
            interval: None,
            depth: None,
            mode: None,
            timing: false,
            count: None,
        };
        assert_eq!(
            args.request(),
            json!({"id": 1, "method": "subscribe", "params": {
                "stream": "crypto.klines", "provider": "binance",
                "symbols": ["btcusdt", "ethusdt-perp"], "interval": "1m"}})
        );
        let book = WatchArgs {
            stream: "crypto.orderbook".into(),
            depth: Some(5),
            mode: Some("delta".into()),
            timing: true,
            ..args
        };
        let params = &book.request()["params"];
        assert_eq!(params["stream"], "crypto.orderbook");
        assert_eq!(params["depth"], 5);
        assert_eq!(params["mode"], "delta");
        assert_eq!(params["timing"], true);
        assert!(params.get("interval").is_none());
    }

    #[test]
    fn refusals_end_the_command() {
        let refused = r#"{"id":1,"method":"subscribe","status":"error","error":{"code":"CRYPTO_PAIR_NOT_FOUND","message":"no"}}"#;
        assert!(matches!(check_answer(refused), Err(Failure::Failed(_))));
        let wrong =
            r#"{"status":"error","error":{"code":"CRYPTO_INVALID_PARAMETER","message":"no"}}"#;
        assert!(matches!(check_answer(wrong), Err(Failure::Usage(_))));
        let fine = r#"{"id":1,"status":"subscribed"}"#;
        assert!(check_answer(fine).is_ok() && !is_data(fine));
        assert!(is_data(
            r#"{"stream":"crypto.trades","provider":"binance"}"#
        ));
        assert!(!is_data(r#"{"stream":"system.status","data":{}}"#));
    }
}
