//! The Python client against a running gateway: `clients/python/tests/test_client.py`.

use std::path::Path;
use std::process::Command;

use bookwire_sim::Exchange;
use serde_json::Value;

use crate::rig::{Rig, python};
use crate::trading::{Trader, exchanges};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_does_what_it_says() {
    let found = python::find_with(
        "import aiohttp, pandas, requests",
        "aiohttp, pandas and requests",
        "BOOKWIRE_REQUIRE_PYTHON_CLIENT",
        "python3 -m venv .venv && .venv/bin/pip install './clients/python[pandas]'",
    );
    let Some(python) = found else { return };
    let all = exchanges(&[Exchange::Binance, Exchange::Okx]);
    let trader = Trader::new(Rig::start_with(all, "").await).await;
    for provider in ["binance", "okx"] {
        trader.ready(provider).await;
    }
    let api = format!("http://{}", trader.rig.api);
    let key = trader.key.clone();
    let run = move || {
        Command::new(python)
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../clients/python/tests/test_client.py"),
            )
            .args([&api, &key])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !said.contains("skipped"),
        "{said}{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        trader.rig.log()
    );
    let path = "/api/trading/orders?provider=binance";
    let (_, told): (u16, Value) = trader.ask(reqwest::Method::GET, path, None).await;
    assert_ne!(told["orders"], Value::Array(Vec::new()), "{told}");
}
