//! Tells the harness which compiler built it, for the reports.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.unwrap_or_default();
    let version = version.trim();
    let version = if version.is_empty() { "rustc" } else { version };
    println!("cargo:rustc-env=BENCH_RUSTC={version}");
}
