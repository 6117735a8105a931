//! The load scenario of `bench` in a short form: fewer symbols of all four exchanges, fewer messages,
//! the same demand that nothing at all is lost.

use std::path::PathBuf;

use bookwire_bench::load::{Load, Outcome, Program, run};

use crate::rig;

async fn loaded(load: Load) -> Result<Outcome, String> {
    let _turn = rig::alone().await;
    let program = Program {
        path: PathBuf::from(env!("CARGO_BIN_EXE_gateway-under-test")),
        arguments: Vec::new(),
    };
    let outcome = tokio::task::spawn_blocking(move || run(&load, &program));
    outcome.await.unwrap().map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_under_load() {
    let load = Load {
        symbols: 40,
        rate: 800,
        seconds: 5,
        seed: 7,
        faults: Vec::new(),
    };
    let outcome = loaded(load.clone()).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{}", outcome.report(&load).table());
    assert_eq!((outcome.symbols, outcome.books), (40, 40));
    assert!(outcome.sent >= load.rate * load.seconds, "{outcome:?}");
    assert!(outcome.frames >= outcome.sent, "{outcome:?}");
    assert!(
        outcome.trades > 100 && outcome.levels > 40 * 40,
        "{outcome:?}"
    );
    let [start, end, most] = outcome.memory;
    assert!(start > 0 && most >= end, "{outcome:?}");
}

/// One trade that an exchange never sends is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_trade_is_noticed_under_load() {
    let load = Load {
        symbols: 16,
        rate: 400,
        seconds: 4,
        seed: 7,
        faults: vec![
            "drop:exchange=binance,stream=trade,count=1"
                .parse()
                .unwrap(),
        ],
    };
    let error = loaded(load).await.expect_err("a trade was lost");
    // Told by the number of the next one, or seen in the comparison.
    assert!(
        error.contains("trades_missed") || error.contains("quantity"),
        "{error}"
    );
}
