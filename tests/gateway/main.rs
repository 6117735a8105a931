//! The `bookwire` program, built with the tests so that they start exactly what they were built with.
//!
//! It can die at a step of an order's way, which the program that is shipped can't: it asks nobody to
//! tell it when one is reached.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bookwire_actors::trading::steps::{self, Step};

/// The file that says when: while it is there, the step with the number in it, counted from when it
/// came, is the last one. Its name is written into the file with the ending `died`, the names of all
/// that are reached into the one with `seen`.
static FILE: OnceLock<PathBuf> = OnceLock::new();
/// Steps until the end; 0: not said yet.
static LEFT: AtomicU64 = AtomicU64::new(0);

fn main() -> std::process::ExitCode {
    if let Some(file) = std::env::var_os("GATEWAY_UNDER_TEST_DIE") {
        // Both are fresh: nothing ran before.
        let _ = FILE.set(file.into());
        let _ = steps::observe(reached);
    }
    bookwire_api::cli::run(std::env::args())
}

fn reached(step: Step) {
    let said = FILE.get().and_then(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        Some((file, text.trim().parse().ok()?))
    });
    let Some((file, number)) = said else {
        LEFT.store(0, Ordering::Relaxed);
        return;
    };
    let seen = std::fs::File::options()
        .create(true)
        .append(true)
        .open(file.with_extension("seen"));
    let _ = seen.and_then(|mut seen| writeln!(seen, "{step:?}"));
    let left = match LEFT.load(Ordering::Relaxed) {
        0 => number,
        left => left,
    };
    if left > 1 {
        LEFT.store(left - 1, Ordering::Relaxed);
        return;
    }
    let _ = std::fs::write(file.with_extension("died"), format!("{step:?}"));
    std::process::abort();
}
