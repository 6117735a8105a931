//! What a run has written, searched for secrets that were planted.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use crate::trading::Trader;

/// Neither the log nor anything in the data directory has a secret in it that could be read.
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
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for secret in &secrets {
            let is_told = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!is_told, "{} has a secret in it", file.display());
        }
    }
    secrets
}
