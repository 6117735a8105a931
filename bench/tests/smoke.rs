//! Every scenario that starts processes, in its shortest form: it has to come to its end, account for
//! every message, and write what it says it writes. The figures of such a run mean nothing.

// A test that can't go on should panic, helpers of tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// One at a time: they all want the whole machine.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench(line: &str, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(line.split_whitespace())
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

/// Runs a scenario that has to succeed, and reads its report.
fn report(line: &str, scenario: &str) -> Value {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let output = bench(line, folder.path());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{line}: {stdout}\n{stderr}");
    // What it says that it wrote is there.
    let written = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("written: "));
    let written: Vec<&str> = written.collect();
    assert!(!written.is_empty(), "{stdout}");
    for path in written {
        assert!(fs::metadata(path).unwrap().len() > 0, "{path} is empty");
    }
    let file = folder.path().join(format!("{scenario}.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The figures of rows whose contender or subject holds a text, with a unit.
fn figures(report: &Value, part: &str, unit: &str) -> Vec<f64> {
    let rows = report["rows"].as_array().unwrap().iter();
    let is_meant = |row: &&Value| {
        let holds = |key: &str| row[key].as_str().unwrap().contains(part);
        (holds("contender") || holds("subject")) && row["unit"] == unit
    };
    rows.filter(is_meant)
        .map(|row| row["value"].as_f64().unwrap())
        .collect()
}

fn all_above(report: &Value, part: &str, unit: &str, count: usize, least: f64) {
    let found = figures(report, part, unit);
    assert_eq!(found.len(), count, "{part} {unit}: {report:#}");
    assert!(
        found.iter().all(|value| *value > least),
        "{part} {unit}: {found:?}"
    );
}

#[test]
fn fan_out() {
    let report = report("fan-out --clients 3 --seconds 0.3", "fan-out");
    all_above(&report, "bookwire", "msg/s", 1, 1_000.0);
    all_above(&report, "floor", "msg/s", 1, 1_000.0);
    assert_eq!(figures(&report, "lost", "msg"), [0.0]);
}

#[test]
fn slow_client() {
    let report = report("slow-client --clients 3 --seconds 1", "slow-client");
    // Both sides of the frozen client, and before, during and after the overload.
    all_above(&report, "bookwire", "µs p99", 5, 1.0);
    all_above(&report, "dropped for it, and told", "msg", 1, 0.0);
    let missing = figures(&report, "dropped for clients", "msg");
    assert_eq!(missing, figures(&report, "of those told", "msg"));
}

#[test]
fn rest() {
    let report = report("rest --seconds 0.3 --rate 10 --clients 2", "rest");
    // The same bars again, others each time, the floor.
    all_above(&report, "2 connections", "requests/s", 3, 1.0);
    all_above(&report, "one connection", "µs p50", 3, 1.0);
}

#[test]
fn order_entry() {
    let line = "order-entry --seconds 0.1 --rate 200 --turns 1";
    let report = report(line, "order-entry");
    // Four ways of bookwire, two floors; what the four add.
    for part in [
        "place: client",
        "place: exchange",
        "place: there",
        "cancel: client",
    ] {
        let rows = figures(&report, part, "µs p50");
        // What it adds to the proxy can be below nothing in such a run.
        assert_eq!(rows.len(), 6 + 4, "{part}: {rows:?}");
    }
    all_above(&report, "floor", "µs p50", 10, 1.0);
    all_above(&report, "simulator", "µs p50", 1, 1.0);
    let missed = report["not_measured"].as_array().unwrap();
    assert_eq!(missed.len(), 2, "{missed:?}");
}

#[test]
fn tick_to_client() {
    let report = report(
        "tick-to-client --seconds 1 --rate 500 --turns 1",
        "tick-to-client",
    );
    // Threads of its own, shared ones, spinning ones, the relay.
    all_above(&report, "trade at 500/s", "µs p50", 4, 1.0);
    let missed = report["not_measured"].as_array().unwrap();
    assert_eq!(missed.len(), 2, "{missed:?}");
}

#[test]
fn soak() {
    // Shorter than the 30 s after which memory is what it will be: of that the long form judges.
    let line = "soak --symbols 4 --clients 4 --seconds 10 --cycles 20";
    let report = report(line, "soak");
    let verdicts = report["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 10, "{verdicts:?}");
    assert!(verdicts.iter().all(|verdict| verdict["is_met"] == true));
    all_above(&report, "memory", "MiB", 9, 1.0);
    all_above(&report, "delivered to clients", "msg", 1, 1.0);
}

/// A recording of a spot or futures book and trades, as small as it may be.
fn record(folder: &Path, name: &str, is_spot: bool) {
    let stream = if is_spot { "depth@100ms" } else { "depth@0ms" };
    let mut lines = vec![
        r#"{"lastUpdateId":50000000100,"bids":[["100.00","1.0"]],"asks":[["101.00","1.0"]]}"#
            .to_owned(),
    ];
    for step in 1..=200u64 {
        let id = 50_000_000_100 + step;
        let pu = if is_spot {
            String::new()
        } else {
            format!("\"pu\":{},", id - 1)
        };
        lines.push(format!(
            "{{\"stream\":\"btcusdt@{stream}\",\"data\":{{\"e\":\"depthUpdate\",\"E\":1723161255208,\
             \"T\":1723161255208,\"s\":\"BTCUSDT\",\"U\":{id},\"u\":{id},{pu}\
             \"b\":[[\"99.{:02}\",\"{}.0\"]],\"a\":[]}}}}",
            step % 90 + 10,
            step % 3
        ));
        lines.push(format!(
            "{{\"stream\":\"btcusdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":{time},\"T\":{time},\
             \"s\":\"BTCUSDT\",\"t\":{},\"p\":\"100.10\",\"q\":\"0.5\",\"X\":\"MARKET\",\"m\":true}}}}",
            3_735_683_000 + step,
            time = 1_723_161_255_000 + step
        ));
    }
    let file = fs::File::create(folder.join(format!("{name}.jsonl.gz"))).unwrap();
    let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    file.finish().unwrap();
}

#[test]
fn throughput() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "binance_spot_mixed_btcusdt_20240808", true);
    record(folder.path(), "binance_usdm_mixed_btcusdt_20240808", false);
    record(folder.path(), "binance_usdm_mixed_ethusdt_20240718", false);
    let captures = folder.path().display();
    let line = format!("throughput --seconds 0.2 --turns 1 --captures {captures}");
    let report = report(&line, "throughput");
    all_above(&report, "from memory, book", "M levels/s", 6, 0.01);
    all_above(&report, "from a socket", "frames/s", 4, 100.0);
    all_above(&report, "whole path", "msg/s", 6, 100.0);
    let lost = figures(&report, "lost", "msg");
    assert!(
        lost.len() == 5 && lost.iter().all(|lost| *lost == 0.0),
        "{lost:?}"
    );
}

/// A running program, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bookwire_that_runs_elsewhere() {
    let data = tempfile::tempdir().unwrap();
    let at = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _demo = Running(
        Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["bookwire", "demo", "--quiet", "--listen", &at.to_string()])
            .arg("--data-dir")
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Its instruments have to be loaded.
    let end = Instant::now() + Duration::from_secs(30);
    let is_ready = || {
        let mut socket = TcpStream::connect(at).ok()?;
        let path = "/api/data/CryptoPair?provider=binance&limit=1&columns=code";
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.contains("\"code\":").then_some(())
    };
    while is_ready().is_none() {
        assert!(Instant::now() < end, "the demo did not start");
        thread::sleep(Duration::from_millis(100));
    }
    let line = format!("--target ws://{at}/ws --seconds 1 --clients 2 --stream crypto.ticker");
    let report = report(&line, "target");
    all_above(&report, "messages", "msg/s", 1, 1.0);
    all_above(&report, "inside bookwire", "µs p99", 1, 1.0);
    all_above(&report, "to the client", "µs p99", 1, 1.0);
    assert_eq!(figures(&report, "missing", "msg"), [0.0]);
}

#[test]
fn a_target_that_is_not_there_is_told_on_one_line() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let output = bench("--target ws://127.0.0.1:1/ws --seconds 1", folder.path());
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("error: connect 127.0.0.1:1"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
