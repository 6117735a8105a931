//! The embedded store fails while the gateway runs: live data keeps flowing, health says it, and the
//! log what to do. What happens at the start is tested in `api/tests/cli/store.rs`.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bookwire_sim::SimConfig;
use serde_json::{Value, json};

use crate::rig::{Feed, Rig};

async fn feed(rig: &Rig) -> Feed {
    let mut feed = rig.feed().await;
    for stream in ["crypto.trades", "crypto.ticker"] {
        feed.subscribe(json!({"stream": stream, "provider": "binance", "symbols": ["btcusdt"]}))
            .await;
    }
    feed
}

/// The store's part of the health answer once it passes `wanted`: its grade and its reason.
async fn store_health(rig: &Rig, wanted: fn(&str) -> bool) -> (String, String) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, health) = rig.get("/api/crypto/health").await;
        let of = |part: &str| {
            let text = health[part]["database_connectivity"].as_str();
            text.unwrap_or_default().to_owned()
        };
        if wanted(&of("checks")) {
            return (of("checks"), of("reasons"));
        }
        assert!(Instant::now() < end, "{health}\n{}", rig.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Messages still come, of what happens now.
async fn is_live(feed: &mut Feed) {
    // What was sent before is not news.
    feed.collect(Duration::from_millis(300)).await;
    let messages = feed.collect(Duration::from_secs(2)).await;
    let of = |stream: &str| messages.iter().filter(|m| m["stream"] == stream).count();
    assert!(of("crypto.ticker") > 0, "{messages:?}");
}

/// Writes until the file system is full.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 512, 1] {
        let block = vec![7u8; size];
        loop {
            match file.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_store_and_nothing_else() {
    // A file system of its own, in a name space that ends with the process.
    let mount = ["-rm", "mount", "-t", "tmpfs", "none", "/mnt"];
    let can_mount = Command::new("unshare").args(mount).output();
    if !can_mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no file system can be mounted here (unshare -rm mount -t tmpfs)");
        return;
    }
    let rig = Rig::start_wrapped(SimConfig::default(), "", |data| {
        let script = "mount -t tmpfs -o size=24m none \"$0\" && exec \"$@\"";
        let words = ["unshare", "-rm", "sh", "-c", script];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.push(data.display().to_string());
        words
    })
    .await;
    let mut feed = feed(&rig).await;
    let (_, reason) = store_health(&rig, |grade| grade == "pass").await;
    assert_eq!(reason, "");

    let data = rig.data_dir();
    let inside = format!("/proc/{}/root{}", rig.pid(), data.display());
    let ballast = Path::new(&inside).join("ballast");
    fill(&ballast);
    let (_, reason) = store_health(&rig, |grade| grade != "pass").await;
    assert!(reason.contains("see the log"), "{reason}");
    assert!(
        !reason.contains("bookwire.db"),
        "no paths for clients: {reason}"
    );
    let log = rig.log();
    assert!(log.contains("no space left for"), "{log}");
    assert!(log.contains("free space on that disk"), "{log}");
    is_live(&mut feed).await;

    // With space again it goes on by itself.
    std::fs::remove_file(&ballast).unwrap();
    let (_, reason) = store_health(&rig, |grade| grade == "pass").await;
    assert_eq!(reason, "");
    is_live(&mut feed).await;
}

/// Overwrites a file with nonsense; its length stays.
fn garble(path: &Path) {
    let mut file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 0, "{} is empty", path.display());
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length).unwrap()])
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_damaged_under_way_is_said_and_live_data_flows() {
    let mut rig = Rig::start(SimConfig::default()).await;
    // So that all of the file is written, not only its log.
    assert_eq!(rig.stop_gateway().await.code(), Some(0));
    rig.start_gateway().await;
    let mut feed = feed(&rig).await;
    feed.next_of("crypto.trades", "btcusdt", Duration::from_secs(20))
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    // An export beside the running gateway reads what it has stored.
    let export = Command::new(env!("CARGO_BIN_EXE_gateway-under-test"))
        .args(["export", "--schema", "CryptoTrade", "--provider", "binance"])
        .args(["--codes", "btcusdt", "--format", "csv", "--data-dir"])
        .arg(rig.data_dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&export.stderr);
    assert_eq!(export.status.code(), Some(0), "{said}");
    let text = String::from_utf8(export.stdout).unwrap();
    assert!(text.lines().count() > 1, "{text}{said}");

    let file = rig.data_dir().join("bookwire.db");
    garble(&file);
    garble(&rig.data_dir().join("bookwire.db-wal"));
    let (grade, reason) = store_health(&rig, |grade| grade == "fail").await;
    assert_eq!(
        (grade.as_str(), reason.as_str()),
        ("fail", "the stored data is damaged")
    );
    is_live(&mut feed).await;
    let (status, answer) = rig
        .get("/api/data/CryptoTrade?provider=binance&codes=btcusdt")
        .await;
    let code = answer["error"]["code"].as_str();
    assert_eq!(
        (status, code),
        (500, Some("CRYPTO_INTERNAL_ERROR")),
        "{answer}"
    );
    assert!(!answer.to_string().contains("bookwire.db"), "{answer}");
    // The books are not the store's.
    let (status, book) = rig
        .get("/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=1")
        .await;
    assert_eq!((status, &book["total"]), (200, &Value::from(1)), "{book}");

    rig.kill_gateway();
    let again = Command::new(env!("CARGO_BIN_EXE_gateway-under-test"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(rig.data_dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{said}");
    assert!(
        said.contains("move it and its -wal and -shm files"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_as_large_as_is_allowed_stops_the_store_and_nothing_else() {
    // Half a megabyte: the store's log is larger after a day of bars. What else is written is smaller.
    let more = "[data_collection]\ndefault_backfill_days = 10\nbackfill_trades_max = 0\n\
                [providers.binance]\nsymbols = [\"btcusdt\"]\n";
    let rig = Rig::start_wrapped(SimConfig::default(), more, |_| {
        let words = ["sh", "-c", "ulimit -f 1024 && exec \"$@\"", "sh"];
        words.map(str::to_owned).to_vec()
    })
    .await;
    let mut feed = feed(&rig).await;
    let (_, reason) = store_health(&rig, |grade| grade != "pass").await;
    assert!(reason.contains("see the log"), "{reason}");
    let log = rig.log();
    assert!(log.contains("ulimit -f"), "{log}");
    is_live(&mut feed).await;
}
