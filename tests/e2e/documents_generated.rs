//! Requests that are generated out of the OpenAPI document are answered as it says.

#![allow(clippy::unwrap_used)]

use super::*;

/// A Python with schemathesis: `BOOKWIRE_SCHEMATHESIS_PYTHON`, or the checkout's `.venv-api`.
///
/// `None`, after one line that says how to get it, where there is none; a failure where
/// `BOOKWIRE_REQUIRE_SCHEMATHESIS` is set.
fn schemathesis() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [
        std::env::var_os("BOOKWIRE_SCHEMATHESIS_PYTHON").map(PathBuf::from),
        Some(root.join(".venv-api/bin/python")),
    ];
    let has_it = |python: &PathBuf| python.with_file_name("schemathesis").is_file();
    let found = candidates.into_iter().flatten().find(has_it);
    if found.is_none() {
        let hint = "python3 -m venv .venv-api && .venv-api/bin/pip install schemathesis==4.32.5 hypothesis==6.170.17";
        let required = std::env::var_os("BOOKWIRE_REQUIRE_SCHEMATHESIS").is_some_and(|v| v == "1");
        assert!(!required, "schemathesis is required and absent: {hint}");
        eprintln!("skipped: no Python with schemathesis; to run it: {hint}");
    }
    found
}

/// `bookwire demo`, which ends with this.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the demo without limits that a thousand requests would run into; its address and key.
fn demo() -> (Demo, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway-under-test"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("BOOKWIRE_LIMITS__REQUESTS_PER_MINUTE", "1000000")
        .env("BOOKWIRE_LIMITS__TRADING_PER_MINUTE", "1000000")
        .env("BOOKWIRE_LIMITS__CANCELS_PER_MINUTE", "1000000")
        .env("BOOKWIRE_LIMITS__WRONG_KEYS_PER_MINUTE", "1000000")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let demo = Demo(child);
    let mut found = [None, None];
    while found.iter().any(Option::is_none) {
        let line = lines.next().expect("a line of the demo").unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["REST", url] => found[0] = url.strip_suffix("/api/data/CryptoPair").map(str::to_owned),
            ["key", key] => found[1] = Some((*key).to_owned()),
            _ => {}
        }
    }
    // It goes on to print, and must not wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    let [url, key] = found.map(Option::unwrap);
    (demo, url, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_requests_are_answered_as_documented() {
    let Some(python) = schemathesis() else { return };
    let _turn = crate::rig::alone().await;
    let (_demo, url, key) = demo();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("api/run");
    let run = tokio::task::spawn_blocking(move || {
        Command::new("bash")
            .arg(script)
            .arg(python)
            .args([url, key])
            .output()
            .unwrap()
    });
    let output = run.await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Both runs asked something of every operation.
    assert_eq!(told.matches("No issues found").count(), 2, "{told}");
}
