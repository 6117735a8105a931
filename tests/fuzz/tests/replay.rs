//! Seeds, and whatever a fuzzer has left in `corpus` and `artifacts`, through the same checks.

#![allow(clippy::expect_used, reason = "a broken promise is told by a panic")]

use std::path::Path;

use bookwire_engine::instrument::Market;
use bookwire_fuzz::{
    answers, book, bybit, ccxt, client, coinbase, config, okx, replay as lines, rest, stream,
    trading,
};

fn replay(target: &str, check: impl Fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in ["seeds", "corpus", "artifacts"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder).join(target)) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("the folder can be listed").path();
            check(&std::fs::read(&path).expect("the file can be read"));
            seen += 1;
        }
    }
    assert!(seen > 0, "{target} has no seeds");
}

#[test]
fn binance_stream_spot() {
    replay("binance_stream_spot", |data| {
        stream::check(Market::Spot, data)
    });
}

#[test]
fn binance_stream_perp() {
    replay("binance_stream_perp", |data| {
        stream::check(Market::Perp, data)
    });
}

#[test]
fn binance_rest() {
    replay("binance_rest", rest::check);
}

#[test]
fn exchange_rest() {
    replay("exchange_rest", answers::check);
}

#[test]
fn exchange_trading() {
    replay("exchange_trading", trading::check);
}

#[test]
fn bybit_stream() {
    replay("bybit_stream", bybit::check);
}

#[test]
fn ccxt_stream() {
    replay("ccxt_stream", ccxt::check);
}

#[test]
fn coinbase_stream() {
    replay("coinbase_stream", coinbase::check);
}

#[test]
fn okx_stream() {
    replay("okx_stream", okx::check);
}

#[test]
fn book_sync() {
    replay("book_sync", book::check);
}

#[test]
fn client_frames() {
    replay("client_frames", client::check);
}

#[test]
fn replay_lines() {
    replay("replay_lines", lines::check);
}

#[test]
fn configurations() {
    replay("config", config::check);
}
