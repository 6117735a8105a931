//! ZVT's own server (PyPI `zvt`) with the same bars, each in its own store.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::free_address;

/// Imports and tables of ZVT take a while.
const START: Duration = Duration::from_secs(90);

/// A running server; ends when dropped.
pub(crate) struct Zvt {
    child: Child,
    /// Where it listens.
    pub(crate) at: SocketAddr,
    /// Name and version.
    pub(crate) name: String,
    _home: TempDir,
}

impl Zvt {
    /// Starts it with rows as bookwire's REST gives them.
    ///
    /// # Errors
    /// When the interpreter lacks zvt or uvicorn, or the server does not start.
    pub(crate) fn start(python: &Path, rows: &Value) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("bookwire-zvt").tempdir()?;
        let file = home.path().join("rows.json");
        std::fs::write(&file, serde_json::to_vec(rows)?)?;
        let at = free_address()?;
        let mut child = Command::new(python)
            .args(["-c", include_str!("../peers/zvt_server.py")])
            .arg(home.path().join("home"))
            .arg(&file)
            .arg(at.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| python.display().to_string())?;
        let stdout = child.stdout.take().context("no output")?;
        let mut stderr = child.stderr.take().context("no output")?;
        let errors = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is enough.
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self {
            child,
            at,
            name: String::new(),
            _home: home,
        };
        match lines.recv_timeout(START) {
            Ok(name) => server.name = name,
            Err(error) => {
                drop(server);
                let text = errors
                    .join()
                    .map_err(|_| anyhow!("its errors were not read"))?;
                let last = text.lines().last().unwrap_or_default().to_owned();
                return Err(anyhow!("it did not start ({error}): {last}"));
            }
        }
        ensure!(server.child.try_wait()?.is_none(), "it ended at once");
        Ok(server)
    }
}

impl Drop for Zvt {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
