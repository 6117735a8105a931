//! The binary as users call it: exit codes, and what it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers may fail it"
)]

mod audit;
mod demo;
mod export;
mod keys;
#[cfg(target_os = "linux")]
mod notify;
mod shipping;
mod store;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bookwire() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookwire"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BOOKWIRE_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(args: &[&str]) -> Output {
    bookwire().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn check(args: &[&str], code: i32, says: &str) {
    let output = run(args);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(says), "{args:?}: {said}");
}

/// Waits for a process, but not for ever.
fn exit_code(mut child: Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("the process did not end");
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// `bookwire 0.1.0 (a84907f0d2aa 2026-11-30)`: where the sources have their history.
#[test]
fn the_version_names_the_commit() {
    let said = text(&run(&["--version"]).stdout);
    let number = concat!("bookwire ", env!("CARGO_PKG_VERSION"));
    let rest = said.trim().strip_prefix(number).unwrap();
    // Not where there is no git, nor where it does not trust the folder's owner.
    let git = Command::new("git").args(["log", "-1"]).output();
    let has_history = git.is_ok_and(|git| git.status.success());
    if !Path::new("../.git").exists() || !has_history {
        assert_eq!(rest, "");
        return;
    }
    let commit = rest
        .strip_prefix(" (")
        .and_then(|rest| rest.strip_suffix(')'));
    let (hash, day) = commit.unwrap().split_once(' ').unwrap();
    let is_hash = hash.len() >= 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash && day.len() == "2026-11-30".len(), "{said}");
}

#[test]
fn help_is_no_error_and_wrong_use_is_2() {
    check(&["--help"], 0, "replay");
    check(&["--version"], 0, env!("CARGO_PKG_VERSION"));
    check(&["replay", "--help"], 0, "--snapshot");
    check(&[], 2, "Usage");
    check(&["fly"], 2, "unrecognized");
    check(&["serve", "--port", "1"], 2, "--port");
    check(&["serve", "--log-format", "xml"], 2, "text, json");
    check(&["serve", "--listen", "nowhere"], 2, "--listen");
    check(
        &["serve", "--config", "/no/such/file.toml"],
        2,
        "/no/such/file.toml",
    );
    check(&["replay", "x.jsonl"], 2, "--provider");
    check(
        &[
            "replay",
            "/no/such",
            "--provider",
            "binance",
            "--market",
            "spot",
        ],
        2,
        "/no/such",
    );
    check(
        &["replay", "x", "--provider", "mtgox", "--market", "spot"],
        2,
        "one of binance",
    );
    check(
        &["replay", "x", "--provider", "binance", "--market", "option"],
        2,
        "spot, perp",
    );
    check(
        &["record", "--symbols", "btcusdt", "--duration", "soon"],
        2,
        "--duration",
    );
    check(
        &["record", "--symbols", "btcusdt", "--streams", "depth"],
        2,
        "klines:LEVEL",
    );
    check(&["record"], 2, "--symbols");
    check(
        &["watch", "trades", "btcusdt", "--url", "ws://127.0.0.1:9/ws"],
        1,
        "no connection",
    );
}

#[test]
fn a_variable_stands_for_its_option() {
    let output = bookwire()
        .args(["replay", "/no/such"])
        .env("BOOKWIRE_PROVIDER", "binance")
        .env("BOOKWIRE_MARKET", "spot")
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains("/no/such"),
        "{}",
        text(&output.stderr)
    );
    let output = bookwire()
        .args(["config", "check"])
        .env("BOOKWIRE_SERVER__LISTEN", "nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("BOOKWIRE_SERVER__LISTEN"));
}

#[test]
fn config_check_names_every_problem_and_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(
        dir.path(),
        "good.toml",
        "[server]\nlisten = \"127.0.0.1:9000\"\n",
    );
    check(&["config", "check", &good], 0, "no problem");
    let bad = "[server]\nlisten = \"nowhere\"\nworker = 3\n[limits]\nrequests_per_minute = -1\n";
    let bad = write(dir.path(), "bad.toml", bad);
    let output = run(&["config", "check", &bad]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for part in [
        "bad.toml:2:",
        "bad.toml:3:",
        "bad.toml:5:",
        "workers",
        "requests_per_minute",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let broken = write(dir.path(), "broken.toml", "[server\n");
    check(&["config", "check", &broken], 2, "broken.toml:1:");
    check(&["config", "check", "/no/such.toml"], 2, "/no/such.toml");
}

#[test]
fn an_operator_key_is_checked_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none").display().to_string();
    let config = format!("[server]\nadmin_key_file = {missing:?}\n");
    let config = write(dir.path(), "keyed.toml", &config);
    check(&["config", "check", &config], 2, "server.admin_key_file");
    for (key, code) in [("ops.0123456789abcdef", 0), ("ops.0123456789", 2)] {
        let output = bookwire()
            .args(["config", "check", &config])
            .env("BOOKWIRE_ADMIN_KEY", key)
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.contains("BOOKWIRE_ADMIN_KEY"), code == 2, "{said}");
        assert!(!said.contains("0123456789"), "{said}");
    }
}

#[test]
fn a_questdb_password_is_looked_for_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let config = format!(
        "[store]\nkind = \"questdb\"\n[store.questdb]\npassword_file = {:?}\n",
        secret.display().to_string()
    );
    let config = write(dir.path(), "questdb.toml", &config);
    let place = "store.questdb.password_file";
    check(&["config", "check", &config], 2, place);
    std::fs::write(&secret, "\n").unwrap();
    check(&["config", "check", &config], 2, place);
    std::fs::write(&secret, "hush-hush\n").unwrap();
    check(&["config", "check", &config], 0, "no problem found");
    // In the file itself it would be printed and copied about.
    let open = "[store.questdb]\npassword = \"hush-hush\"\n";
    let open = write(dir.path(), "open.toml", open);
    let output = run(&["config", "check", &open]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`store.questdb.password`: unknown key"),
        "{said}"
    );
    assert!(!said.contains("hush"), "{said}");
}

/// A book of two changes after its snapshot, one trade, and a line that is not JSON.
const RECORDING: &str = r#"{"e":"depthUpdate","E":1723161254000,"s":"BTCUSDT","U":101,"u":102,"b":[["100.00","2.5"]],"a":[]}
{"lastUpdateId":102,"bids":[["100.00","2.5"],["99.50","1"]],"asks":[["101.00","3"]]}
{"e":"depthUpdate","E":1723161254100,"s":"BTCUSDT","U":103,"u":104,"b":[["99.50","0"]],"a":[["100.90","4.25"]]}
{"recv_ts":1723161254200000000,"raw":{"e":"trade","E":1723161254200,"s":"BTCUSDT","t":7,"p":"100.90","q":"0.50","T":1723161254199,"m":false,"M":true}}
not json
"#;

#[test]
fn replay_reports_what_the_recording_holds() {
    let dir = tempfile::tempdir().unwrap();
    let plain = write(dir.path(), "a.jsonl", RECORDING);
    let packed = dir.path().join("a.jsonl.gz");
    let file = std::fs::File::create(&packed).unwrap();
    let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gz.write_all(RECORDING.as_bytes()).unwrap();
    gz.finish().unwrap();
    for file in [plain.as_str(), packed.to_str().unwrap()] {
        let args = [
            "replay",
            file,
            "--provider",
            "binance",
            "--market",
            "spot",
            "--report",
            "json",
        ];
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for name in [
            "messages",
            "bytes",
            "seconds",
            "messages_per_second",
            "errors",
            "symbols",
        ] {
            assert!(report.get(name).is_some(), "{name}");
        }
        assert_eq!(report["errors"][0]["line"], 5);
        assert!(report["errors"][0]["reason"].is_string());
        let symbol = &report["symbols"]["btcusdt"];
        assert_eq!(symbol["synced"], true);
        assert_eq!(symbol["gaps"], 0);
        assert_eq!(symbol["checksum_failures"], 0);
        assert_eq!(symbol["trades"], 1);
        assert_eq!(symbol["volume"], "0.5");
        assert_eq!(symbol["bids"], serde_json::json!([["100", "2.5"]]));
        assert_eq!(
            symbol["asks"],
            serde_json::json!([["100.9", "4.25"], ["101", "3"]])
        );
    }
    check(
        &[
            "replay",
            &plain,
            "--provider",
            "binance",
            "--market",
            "spot",
        ],
        0,
        "btcusdt",
    );
}

#[test]
fn a_taken_port_is_a_failure_that_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    check(
        &[
            "serve",
            "--listen",
            &address,
            "--data-dir",
            data.to_str().unwrap(),
        ],
        1,
        "is in use by another program",
    );
    assert!(!data.exists(), "nothing was touched");
}

/// Turns every provider off, whichever there are, but for one: no test leaves this machine.
fn providers_off(but: Option<&str>) -> String {
    bookwire_engine::exchange::ProviderId::all()
        .map(|id| id.name())
        .filter(|name| Some(*name) != but)
        .map(|name| format!("[providers.{name}]\nenabled = false\n"))
        .collect()
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_stop_exits_with_0() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing listens there: the engine keeps trying, and has to give up trying at the end.
    let config = write(
        dir.path(),
        "config.toml",
        &(providers_off(Some("binance"))
            + "[providers.binance.hosts]\n\
               \"api.binance.com\" = \"http://127.0.0.1:9\"\n\
               \"fapi.binance.com\" = \"http://127.0.0.1:9\"\n\
               \"stream.binance.com:9443\" = \"ws://127.0.0.1:9\"\n\
               \"fstream.binance.com\" = \"ws://127.0.0.1:9\"\n"),
    );
    for signal in ["INT", "TERM"] {
        let data = dir.path().join(signal);
        let mut child = bookwire()
            .args([
                "serve",
                "--config",
                &config,
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.contains("http://127.0.0.1:"), "{line}");
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(exit_code(child), Some(0), "{signal}");
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert!(data.join("bookwire.db").exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn market_data_threads_can_be_bound_to_cores() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(
        dir.path(),
        "config.toml",
        &("[engine]\nshards = 2\ncore_pinning = true\n".to_owned() + &providers_off(None)),
    );
    let mut child = bookwire()
        .args([
            "serve",
            "--config",
            &config,
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let mut bound = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        if field("Name:").starts_with("shard-") {
            bound.push(field("Cpus_allowed_list:"));
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bound.len(), 2, "{line}");
    assert!(
        bound.iter().all(|cpus| cpus.parse::<u32>().is_ok()),
        "{bound:?}"
    );
}
