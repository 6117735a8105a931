//! The `bookwire` program, built with the tests so that they start exactly what they were built with.
//!
//! It can die at a step of an order's way, which the program that is shipped can't: it asks nobody to
//! tell it when one is reached.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bookwire_actors::trading::steps::{self, Step};

/// The file that says when: `Written 2` is the second time that this step is reached while the file is
/// there. The name is written into the file with the ending `died` then, the names of all steps that
/// are reached meanwhile into the one with `seen`.
static FILE: OnceLock<PathBuf> = OnceLock::new();
/// How often that step was reached.
static REACHED: AtomicU64 = AtomicU64::new(0);

fn main() -> std::process::ExitCode {
    if let Some(file) = std::env::var_os("GATEWAY_UNDER_TEST_DIE") {
        // Both are fresh: nothing ran before.
        let _ = FILE.set(file.into());
        let _ = steps::observe(reached);
    }
    bookwire_api::cli::run(std::env::args())
}

fn reached(step: Step) {
    let Some(file) = FILE.get() else { return };
    let Ok(said) = std::fs::read_to_string(file) else {
        REACHED.store(0, Ordering::Relaxed);
        return;
    };
    let name = format!("{step:?}");
    let seen = std::fs::File::options()
        .create(true)
        .append(true)
        .open(file.with_extension("seen"));
    let _ = seen.and_then(|mut seen| writeln!(seen, "{name}"));
    let mut words = said.split_whitespace();
    if words.next() != Some(&name) {
        return;
    }
    let times = words.next().and_then(|times| times.parse().ok());
    if times == Some(REACHED.fetch_add(1, Ordering::Relaxed) + 1) {
        let _ = std::fs::write(file.with_extension("died"), name);
        std::process::abort();
    }
}
