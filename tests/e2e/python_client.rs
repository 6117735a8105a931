//! The Python client against a running gateway: `clients/python/tests/test_client.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bookwire_sim::Exchange;
use serde_json::Value;

use crate::rig::Rig;
use crate::trading::{Trader, exchanges};

/// A Python with what the client needs: `BOOKWIRE_PYTHON`, the checkout's `.venv`, or `python3`.
///
/// `None`, after one line that says how to get it, where there is none; a failure where
/// `BOOKWIRE_REQUIRE_PYTHON_CLIENT` is set.
fn find() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [
        std::env::var_os("BOOKWIRE_PYTHON").map(PathBuf::from),
        Some(root.join(".venv/bin/python")),
        Some(PathBuf::from("python3")),
    ];
    let is_enough = |python: &PathBuf| {
        let run = Command::new(python)
            .args(["-c", "import aiohttp, pandas, requests"])
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().flatten().find(is_enough);
    if found.is_none() {
        let hint = "python3 -m venv .venv && .venv/bin/pip install './clients/python[pandas]'";
        let required = std::env::var_os("BOOKWIRE_REQUIRE_PYTHON_CLIENT").is_some_and(|v| v == "1");
        assert!(
            !required,
            "aiohttp, pandas and requests are required and absent: {hint}"
        );
        eprintln!("skipped: no Python with aiohttp, pandas and requests; to run it: {hint}");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_does_what_it_says() {
    let Some(python) = find() else { return };
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
