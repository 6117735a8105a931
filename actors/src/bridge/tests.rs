//! The life of a child, with shell scripts in the place of the interpreter: they are started with
//! the same arguments and pipes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookwire_engine::exchange::{Bridge as Terms, ProviderId};

use super::{Bridge, BridgeError, BridgeOptions};
use crate::clock::SystemClock;
use crate::status::{ProviderMeter, ProviderState};

const TERMS: Terms = Terms {
    program: "program",
    package: "ccxt",
    version: "9.9.9",
};

/// Takes the program and the settings, and says that it serves; ends with its standard input.
const SERVES: &str = "read line; echo '{\"event\":\"ready\",\"port\":9,\"ccxt\":\"9.9.9\",\
    \"exchanges\":[\"kraken\"]}'; cat > /dev/null";

struct Script {
    path: PathBuf,
    meter: Arc<ProviderMeter>,
    bridge: Bridge,
}

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("bookwire-bridge-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self::at(path)
    }

    fn at(path: PathBuf) -> Self {
        let meter = Arc::new(ProviderMeter::new(ProviderId::CCXT));
        let options = BridgeOptions {
            python: path.to_str().unwrap().to_owned(),
            ..BridgeOptions::default()
        };
        let bridge = Bridge::new(
            ProviderId::CCXT,
            &TERMS,
            &options,
            &BTreeMap::new(),
            10,
            tokio::runtime::Handle::current(),
            Arc::new(SystemClock::new()),
            meter.clone(),
            reqwest::Client::builder()
                .tls_backend_preconfigured((*crate::rest_client::tls_config()).clone())
                .build()
                .unwrap(),
        );
        Self {
            path,
            meter,
            bridge,
        }
    }

    fn reason(&self) -> String {
        let status = self.meter.status(Duration::ZERO);
        assert_eq!(status.state, ProviderState::Unavailable);
        status.reason.unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| !text.contains(") Z "))
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_child_serves_all_and_ends_when_told() {
    let script = Script::new("serves", SERVES);
    assert!(script.bridge.running().is_none(), "not before it is needed");
    let asked = futures_util::future::join_all((0..8).map(|_| script.bridge.ensure())).await;
    let pids: Vec<u32> = asked
        .into_iter()
        .map(|running| running.unwrap().pid)
        .collect();
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    assert_eq!(script.bridge.starts(), 1);
    let running = script.bridge.running().unwrap();
    assert_eq!(
        (running.version.as_str(), running.venues.as_slice()),
        ("9.9.9", &["kraken".to_owned()][..])
    );
    let token = running.http.strip_prefix("http://127.0.0.1:9/").unwrap();
    assert_eq!(token.len(), 64, "256 bits");
    script.bridge.stop().await;
    assert!(!is_alive(pids[0]));
    assert_eq!(
        script.bridge.ensure().await.unwrap_err(),
        BridgeError::Stopped
    );
}

#[tokio::test]
async fn a_child_that_dies_is_told_and_replaced() {
    let script = Script::new("dies", SERVES);
    let first = script.bridge.ensure().await.unwrap().pid;
    let killed = std::process::Command::new("kill")
        .args(["-9", &first.to_string()])
        .status();
    assert!(killed.unwrap().success());
    until("its end is noticed", || script.bridge.running().is_none()).await;
    assert!(
        script.reason().contains("the child process ended"),
        "{}",
        script.reason()
    );
    let end = Instant::now() + Duration::from_secs(10);
    let second = loop {
        // At once only the reason, until the pause is over.
        match script.bridge.ensure().await {
            Ok(running) => break running.pid,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_ne!(first, second);
    assert_eq!(
        script.meter.status(Duration::ZERO).state,
        ProviderState::Operational
    );
    script.bridge.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_named_with_the_command_that_installs_it() {
    let nowhere = Script::at("/nowhere/python3".into());
    let Err(BridgeError::Missing(text)) = nowhere.bridge.ensure().await else {
        panic!("it was not started")
    };
    assert!(text.contains("was not found"), "{text}");
    assert!(
        text.contains("/nowhere/python3 -m pip install ccxt==9.9.9"),
        "{text}"
    );
    nowhere.bridge.look().await;
    assert!(
        nowhere.reason().contains("pip install"),
        "{}",
        nowhere.reason()
    );

    let bare = Script::new(
        "bare",
        "read line; echo '{\"event\":\"failed\",\"kind\":\"missing\",\"reason\":\"x\"}'; exit 3",
    );
    let Err(BridgeError::Missing(text)) = bare.bridge.ensure().await else {
        panic!("it was not started")
    };
    assert!(text.contains("ccxt is not installed for"), "{text}");
    let looked = Script::new("looked", "exit 3");
    looked.bridge.look().await;
    assert!(
        looked.reason().contains("ccxt is not installed for"),
        "{}",
        looked.reason()
    );
    let found = Script::new("found", "echo 9.9.9");
    found.bridge.look().await;
    assert_eq!(
        found.meter.status(Duration::ZERO).state,
        ProviderState::Operational
    );
}

#[tokio::test]
async fn a_child_that_talks_nonsense_is_given_up() {
    for (name, text) in [
        ("nonsense", "read line; echo hello; cat > /dev/null"),
        (
            "portless",
            "read line; echo '{\"event\":\"ready\",\"port\":99999}'; cat > /dev/null",
        ),
        ("silent", "exit 0"),
    ] {
        let script = Script::new(name, text);
        let error = script.bridge.ensure().await.unwrap_err();
        assert!(matches!(error, BridgeError::Failed(_)), "{name}: {error}");
        assert_eq!(
            script.bridge.ensure().await.unwrap_err(),
            error,
            "{name}: at once"
        );
        assert_eq!(script.bridge.starts(), 0);
        assert!(!script.reason().is_empty());
    }
}
