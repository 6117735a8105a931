//! Starts that fail.

#![allow(clippy::unwrap_used)]

use bookwire_engine::store::{SpoolOptions, open_embedded};

use super::*;
use crate::clock::SystemClock;
use crate::options::RecorderOptions;

/// A start inside of a runtime once panicked where it should have said why it failed.
#[tokio::test]
async fn a_failed_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let start = |store: &str| {
        let spool = SpoolOptions::new(folder.path().join("spool"));
        let options = GatewayOptions {
            recorder: RecorderOptions {
                spool: Some(spool),
                ..RecorderOptions::default()
            },
            ..GatewayOptions::default()
        };
        let store = open_embedded(folder.path().join(store)).unwrap();
        Gateway::start(options, Arc::new(SystemClock::new()), Some(Box::new(store)))
    };
    let gateway = start("one.db").unwrap();
    let error = start("two.db").err().unwrap().to_string();
    assert!(error.contains("spool"), "{error}");
    gateway.shutdown(Duration::from_secs(5)).await;
}
