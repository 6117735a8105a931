//! ccxt in a Python process, driven by lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A Python with ccxt, as [`find_with`] looks for it.
pub fn find() -> Option<PathBuf> {
    find_with(
        "import ccxt.pro",
        "ccxt",
        "BOOKWIRE_REQUIRE_CCXT",
        "python3 -m venv .venv && .venv/bin/pip install ccxt==4.5.90",
    )
}

/// A Python that can run `imports`: `BOOKWIRE_PYTHON`, the checkout's `.venv`, or `python3`.
///
/// `None`, after one line with the `hint` how to get it, where there is none; a failure where the variable
/// `required` is set.
pub fn find_with(imports: &str, what: &str, required: &str, hint: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [
        std::env::var_os("BOOKWIRE_PYTHON").map(PathBuf::from),
        Some(root.join(".venv/bin/python")),
        Some(PathBuf::from("python3")),
    ];
    let has_it = |python: &PathBuf| {
        let run = Command::new(python)
            .args(["-c", imports])
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success())
    };
    let found = candidates.into_iter().flatten().find(has_it);
    if found.is_none() {
        let is_required = std::env::var_os(required).is_some_and(|v| v == "1");
        assert!(!is_required, "{what} is required and absent: {hint}");
        eprintln!("skipped: no Python with {what}; to run it: {hint}");
    }
    found
}

/// The process.
pub struct Ccxt {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Ccxt {
    /// Starts it.
    pub fn start(python: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ccxt/client.py");
        let mut child = Command::new(python)
            .arg("-u")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            requests,
            answers,
        }
    }

    /// Sends a request; [`Ccxt::answer`] reads what comes back.
    pub fn send(&mut self, request: &Value) {
        writeln!(self.requests, "{request}").unwrap();
    }

    /// The next answer's value.
    pub fn answer(&mut self) -> Value {
        let answer = self.outcome();
        answer.unwrap_or_else(|error| panic!("ccxt failed: {error}"))
    }

    /// The next answer's value, or the error: its class and its text.
    fn outcome(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("an answer");
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["value"].clone()),
        }
    }

    /// Request and answer, where the answer has to be an error: its class and its text.
    pub fn refused(&mut self, request: &Value) -> String {
        self.send(request);
        let answer = self.outcome();
        answer.expect_err("nothing was refused")
    }

    /// Request and answer.
    pub fn call(&mut self, request: &Value) -> Value {
        self.send(request);
        self.answer()
    }
}

impl Drop for Ccxt {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
