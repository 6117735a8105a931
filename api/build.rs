//! Tells the program which commit it was built from, where that can be known.

use std::path::Path;
use std::process::Command;

fn main() {
    let version = env!("CARGO_PKG_VERSION");
    let told = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=BOOKWIRE_VERSION={told}");
    // It grows with each commit and change of branch. Without it the sources came without their history.
    let log = "../.git/logs/HEAD";
    let watched = if Path::new(log).exists() {
        log
    } else {
        "build.rs"
    };
    println!("cargo::rerun-if-changed={watched}");
}

/// Its short hash and day.
fn commit() -> Option<String> {
    // Not of a repository that the sources merely lie in.
    if !Path::new("../.git").exists() {
        return None;
    }
    let asked = Command::new("git")
        .args(["log", "-1", "--format=%h %cs", "--abbrev=12"])
        .output()
        .ok()?;
    let text = String::from_utf8(asked.stdout).ok()?;
    let text = text.trim();
    (asked.status.success() && !text.is_empty()).then(|| text.to_owned())
}
