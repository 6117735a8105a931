//! The child itself: how it is started, watched and ended.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::{Bridge, BridgeError, Running};

/// Reads the program from standard input and runs it: nothing lies on the disk, and nothing but
/// this shows in a list of processes.
const LAUNCHER: &str =
    "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv[1])),'bridge','exec'))";
/// Prints the version of a package, or ends with status 3 where there is none.
const LOOK: &str = "import sys,importlib.metadata as m\n\
    try: print(m.version(sys.argv[1]))\n\
    except m.PackageNotFoundError: sys.exit(3)";
/// Longest time from the start to the first line; importing takes about a second.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a running child is asked whether it is well, and how long it may take to answer.
const HEALTH: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// Unanswered questions in a row after which it is killed.
const MISSES_MAX: u32 = 3;
/// Time to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// Longest line taken from a child.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What the child's first line says: where it serves, its package's version, the venues it knows.
fn first_line(bridge: &Bridge, line: &str) -> Result<(u16, String, Vec<String>), BridgeError> {
    let line: Value = serde_json::from_str(line)
        .map_err(|error| failed("the child's first line can't be read", error))?;
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let port = line["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok());
    match (line["event"].as_str(), port) {
        (Some("ready"), Some(port)) => {
            let venues = line["exchanges"].as_array().into_iter().flatten();
            let venues = venues
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            Ok((port, text(bridge.0.terms.package), venues))
        }
        (Some("failed"), _) if text("kind") == "missing" => Err(missing(bridge, false)),
        (Some("failed"), _) => Err(failed("the child gives up", text("reason"))),
        _ => Err(failed("the child's first line can't be read", line)),
    }
}

/// How to install what is missing.
fn missing(bridge: &Bridge, is_python: bool) -> BridgeError {
    let (python, terms) = (&bridge.0.python, bridge.0.terms);
    let what = match is_python {
        true => format!("`{python}` was not found: install Python 3.10 or newer, then"),
        false => format!("{} is not installed for `{python}`:", terms.package),
    };
    BridgeError::Missing(format!(
        "{what} run `{python} -m pip install {}=={}` (in a virtual environment: set \
         providers.{}.python to its interpreter)",
        terms.package,
        terms.version,
        bridge.0.provider.name()
    ))
}

fn failed(what: &str, error: impl std::fmt::Display) -> BridgeError {
    BridgeError::Failed(format!("{what}: {error}"))
}

fn unstarted(bridge: &Bridge, error: &std::io::Error) -> BridgeError {
    match error.kind() {
        std::io::ErrorKind::NotFound => missing(bridge, true),
        _ => failed(&format!("can't start `{}`", bridge.0.python), error),
    }
}

/// What a child does not inherit: keys of ours, where they are, and what the service manager gave to
/// this process alone.
const WITHHELD: [&str; 10] = [
    "BOOKWIRE_ADMIN_KEY",
    "BOOKWIRE_API_KEY",
    "BOOKWIRE_API_PASSPHRASE",
    "BOOKWIRE_API_SECRET",
    "BOOKWIRE_MASTER_KEY",
    "BOOKWIRE_QUESTDB_PASSWORD",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

fn command(python: &str) -> Command {
    let mut command = Command::new(python);
    for name in WITHHELD {
        command.env_remove(name);
    }
    command
}

/// See [`Bridge::look`].
pub(super) async fn look(bridge: &Bridge) -> Result<String, BridgeError> {
    let asked = command(&bridge.0.python)
        .args(["-c", LOOK, bridge.0.terms.package])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let answer = match tokio::time::timeout(START_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| unstarted(bridge, &error))?,
        Err(_) => return Err(failed("no answer", &bridge.0.python)),
    };
    match answer.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned()),
        Some(3) => Err(missing(bridge, false)),
        _ => Err(failed(&bridge.0.python, answer.status)),
    }
}

/// Starts a child and returns when it serves.
pub(super) async fn start(bridge: &Bridge) -> Result<Arc<Running>, BridgeError> {
    let program = bridge.0.terms.program;
    let mut child = command(&bridge.0.python)
        .args(["-u", "-c", LAUNCHER, &program.len().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| unstarted(bridge, &error))?;
    let pid = child.id().unwrap_or_default();
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(BridgeError::Failed("no pipes to the child".to_owned()));
    };
    log_lines(bridge, stderr);
    let token: String = {
        let bytes: [u8; 32] = rand::rng().random();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let mut settings = bridge.0.settings.clone();
    settings["token"] = token.as_str().into();
    let mut lines = BufReader::new(stdout.take(LINE_BYTES_MAX));
    let talk = async {
        stdin.write_all(program.as_bytes()).await?;
        stdin.write_all(format!("{settings}\n").as_bytes()).await?;
        stdin.flush().await?;
        let mut line = String::new();
        lines.read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line)
    };
    let line = match tokio::time::timeout(START_TIMEOUT, talk).await {
        Ok(Ok(line)) => line,
        Ok(Err(error)) => return Err(failed("the child does not talk", error)),
        Err(_) => return Err(failed("the child says nothing", bridge.0.python.as_str())),
    };
    let (port, version, venues) = first_line(bridge, &line)?;
    let running = Arc::new(Running {
        http: format!("http://127.0.0.1:{port}/{token}"),
        ws: format!("ws://127.0.0.1:{port}/{token}"),
        pid,
        version,
        venues,
    });
    bridge.0.current.store(Some(running.clone()));
    tokio::spawn(watch(bridge.clone(), child, stdin, running.clone()));
    Ok(running)
}

/// Passes the child's log on, line by line.
fn log_lines(bridge: &Bridge, stderr: tokio::process::ChildStderr) {
    let provider = bridge.0.provider.name();
    tokio::spawn(async move {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .await
            {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    tracing::debug!(provider, line = text.trim_end(), "bridge says");
                }
            }
        }
    });
}

/// Waits for the child's end, and brings it about when it must not live on.
async fn watch(bridge: Bridge, mut child: Child, stdin: ChildStdin, running: Arc<Running>) {
    let began = bridge.0.clock.monotonic();
    let mut stop = bridge.0.stop.subscribe();
    let reason = tokio::select! {
        status = child.wait() => match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
        () = unanswered(&bridge, &running) => "it did not answer any more".to_owned(),
        _ = stop.wait_for(|stop| *stop) => "stopped".to_owned(),
    };
    // The end of its standard input is the order to stop.
    drop(stdin);
    let is_gone = tokio::time::timeout(GRACE, child.wait()).await;
    if is_gone.is_err() {
        let _ = child.kill().await;
    }
    let ran = bridge.0.clock.monotonic().saturating_sub(began);
    bridge.ended(running.pid, ran, &reason);
}

/// Returns when the child has not answered several times in a row: it hangs.
async fn unanswered(bridge: &Bridge, running: &Running) {
    let url = format!("{}/time", running.http);
    let mut misses = 0;
    while misses < MISSES_MAX {
        tokio::time::sleep(HEALTH.0).await;
        let asked = bridge.0.http.get(&url).timeout(HEALTH.1).send();
        match asked.await {
            Ok(answer) if answer.status().is_success() => misses = 0,
            _ => misses += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use bookwire_engine::vault::MASTER_KEY_VARIABLE;

    #[test]
    fn a_child_gets_no_key_of_ours() {
        let command = super::command("python3");
        let removed: Vec<_> = command
            .as_std()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect();
        for name in [
            MASTER_KEY_VARIABLE,
            "BOOKWIRE_ADMIN_KEY",
            "BOOKWIRE_API_SECRET",
            "BOOKWIRE_QUESTDB_PASSWORD",
            "CREDENTIALS_DIRECTORY",
            "NOTIFY_SOCKET",
        ] {
            assert!(removed.iter().any(|it| it == name), "{name}: {removed:?}");
        }
    }
}
