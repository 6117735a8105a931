//! The load scenario of `bench` in a short form: fewer symbols of all four exchanges, fewer messages,
//! the same demand that nothing at all is lost.

use std::path::PathBuf;

use bookwire_bench::load::{Load, Program, run};

use crate::rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_under_load() {
    let _turn = rig::turn().await;
    let load = Load {
        symbols: 40,
        rate: 800,
        seconds: 5,
        seed: 7,
    };
    let program = Program {
        path: PathBuf::from(env!("CARGO_BIN_EXE_gateway-under-test")),
        arguments: Vec::new(),
    };
    let given = load.clone();
    let outcome = tokio::task::spawn_blocking(move || run(&given, &program));
    let outcome = outcome
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!((outcome.symbols, outcome.books), (40, 40));
    assert!(outcome.sent >= load.rate * load.seconds, "{outcome:?}");
    assert!(outcome.frames > outcome.sent, "{outcome:?}");
    assert!(
        outcome.trades > 100 && outcome.levels > 40 * 40,
        "{outcome:?}"
    );
    let [start, end, most] = outcome.memory;
    assert!(start > 0 && most >= end, "{outcome:?}");
    eprintln!("{}", outcome.report(&load).table());
}
