//! The `bookwire` binary: see [`bookwire_api::cli`].

use std::process::ExitCode;

/// Answers and publications are many short allocations on several threads.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bookwire_api::cli::run(std::env::args_os())
}
