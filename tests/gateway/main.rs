//! The `bookwire` program, built with the tests so that they start exactly what they were built with.

fn main() -> std::process::ExitCode {
    bookwire_api::cli::run(std::env::args())
}
