//! What a run has written, searched for secrets that were planted.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::trading::Trader;

/// What can be read of the gateway over HTTP that could tell more than it should.
const TELLING: &[&str] = &[
    "/metrics",
    "/api/crypto/metrics",
    "/api/crypto/config",
    "/api/crypto/health",
    "/api/crypto/providers/status",
    "/api/crypto/providers/capabilities",
    "/api/trading/accounts",
    "/api/trading/orders?limit=1000",
    "/api/trading/balances",
    "/api/trading/nothing",
];

fn answer(trader: &Trader, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(&trader.rig.api).unwrap();
    let key = &trader.key;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).unwrap();
    assert!(told.starts_with(b"HTTP/1.1 "), "{path}");
    told
}

/// Neither the log, nor what it answers, nor anything in the data directory has a secret in it that could be
/// read.
pub(crate) fn nothing_tells_secrets(trader: &Trader, provider: &str) {
    let credentials = &trader.rig.sim.endpoints()[provider]["credentials"];
    nothing_tells(trader, provider, credentials);
}

/// As [`nothing_tells_secrets`], of these credentials of a provider's account. Returns the secrets.
pub(crate) fn nothing_tells(trader: &Trader, provider: &str, credentials: &Value) -> Vec<String> {
    let mut secrets: Vec<String> = ["secret", "passphrase"]
        .iter()
        .filter_map(|name| credentials[name].as_str())
        // Of a PEM the first line of the key.
        .map(|text| {
            text.lines()
                .find(|line| !line.starts_with("--"))
                .unwrap()
                .to_owned()
        })
        .collect();
    // Nor would a crash write the memory down.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", trader.rig.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(
        core.unwrap().split_whitespace().nth(4),
        Some("0"),
        "{limits}"
    );
    secrets.push(trader.key.split_once('.').unwrap().1.to_owned());
    let folder = trader.rig.data_dir();
    let mut files = vec![folder.parent().unwrap().join("gateway.log")];
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    assert!(
        files
            .iter()
            .any(|file| file.ends_with(format!("{provider}-default-live.journal")))
    );
    let told = TELLING
        .iter()
        .map(|path| ((*path).to_owned(), answer(trader, path)));
    let written = files
        .iter()
        .map(|file| (file.display().to_string(), std::fs::read(file).unwrap()));
    for (place, bytes) in told.chain(written) {
        for secret in &secrets {
            let is_told = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!is_told, "{place} has a secret in it");
        }
    }
    secrets
}
