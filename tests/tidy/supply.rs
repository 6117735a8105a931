//! What the program is built of: licences that its own allows, and no heavy crate twice.
//!
//! Known vulnerabilities need a database that no package registry has, so they are no test: `cargo audit` (or
//! `cargo deny check advisories`) looks `Cargo.lock` up in it. See SECURITY.md.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// SPDX names that need no more than being told: no obligation reaches over to what they are linked with
/// (MPL-2.0 binds its own files only).
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates whose second copy would cost a build minutes, or mean two of something that there must be one of
/// (a runtime, a TLS, an HTTP).
const ONCE: [&str; 22] = [
    "actix-http",
    "actix-web",
    "h2",
    "hyper",
    "libsqlite3-sys",
    "mimalloc",
    "parquet",
    "postgres",
    "regex-syntax",
    "reqwest",
    "ring",
    "rusqlite",
    "rust_decimal",
    "rustls",
    "rustls-webpki",
    "serde",
    "serde_json",
    "tokio",
    "tokio-tungstenite",
    "tungstenite",
    "ureq",
    "zstd-sys",
];

/// Crates that must not come in at all: a second TLS, and C that has to be built for it.
const NEVER: [&str; 4] = ["aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

/// Whether an SPDX expression can be met with the licences above.
fn is_allowed(expression: &str) -> bool {
    // `/` is how it was written before there were expressions.
    let text = expression.replace('/', " OR ");
    let text = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at);
    met && at == words.len()
}

/// `a OR b`; `AND` binds closer.
fn any(words: &[&str], at: &mut usize) -> bool {
    let mut met = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at);
    }
    met
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    if words.get(*at) == Some(&"(") {
        *at += 1;
        let met = any(words, at);
        *at += 1;
        return met;
    }
    let Some(name) = words.get(*at) else {
        return false;
    };
    *at += 1;
    let mut name = (*name).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    LICENCES.contains(&name.as_str())
}

#[test]
fn expressions_are_read_as_spdx_has_them() {
    for (expression, expected) in [
        ("MIT", true),
        ("MIT OR GPL-3.0-only", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("GPL-3.0-only OR (MIT AND Zlib)", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND OpenSSL", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0-only WITH Classpath-exception-2.0", false),
        ("LGPL-3.0-or-later", false),
        ("MIT MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), expected, "{expression}");
    }
}

fn ask_cargo(more: &[&str]) -> Result<Value, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(more)
        .current_dir(super::root())
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Asks nothing of the network. What other systems are built of is here only where `cargo fetch` has been;
/// `BOOKWIRE_REQUIRE_ALL_CRATES` says that it has.
fn metadata() -> Value {
    let reason = match ask_cargo(&[]) {
        Ok(all) => return all,
        Err(reason) => reason,
    };
    let is_required = std::env::var_os("BOOKWIRE_REQUIRE_ALL_CRATES").is_some();
    assert!(!is_required, "cargo metadata: {reason}");
    println!("only what is built on this system is looked at: `cargo fetch` has not been here");
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let mut lines = version.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: ")).unwrap();
    match ask_cargo(&["--filter-platform", host]) {
        Ok(ours) => ours,
        Err(reason) => panic!("cargo metadata: {reason}"),
    }
}

#[test]
fn everything_that_is_built_in_may_be() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{} packages", packages.len());
    let mut wrong = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let version = package["version"].as_str().unwrap();
        versions.entry(name).or_default().insert(version);
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence) {
            wrong.push(format!("{name} {version}: the licence {licence}"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            wrong.push(format!("{name} {version}: not from a registry"));
        }
        if NEVER.contains(&name) {
            wrong.push(format!("{name} {version}: not at all"));
        }
    }
    for name in ONCE {
        if let Some(found) = versions.get(name).filter(|found| found.len() > 1) {
            wrong.push(format!("{name}: {found:?}, of which one is enough"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
