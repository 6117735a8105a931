//! The gateway that is measured: a process of its own, what it says of itself, and what the kernel
//! says of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The program whose `serve` is measured.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// What stands before `serve`.
    pub arguments: Vec<String>,
}

impl Program {
    /// This program, which has all of bookwire behind the word `bookwire`.
    ///
    /// # Errors
    /// When the system does not say where it lies.
    pub fn this() -> Result<Self> {
        Ok(Self {
            path: std::env::current_exe()?,
            arguments: vec!["bookwire".to_owned()],
        })
    }

    /// Another build of `bookwire`.
    #[must_use]
    pub fn other(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            arguments: Vec::new(),
        }
    }

    /// Runs one of its commands on a data directory, with `input` on its standard input. What it has
    /// said.
    ///
    /// # Errors
    /// When it can't be started, or fails.
    pub fn command(&self, words: &[&str], data: &Path, input: &str) -> Result<String> {
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .args(words)
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.path.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read it says so by how it ends.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let is_well = output.status.success();
        ensure!(is_well, "{words:?}: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    }
}

/// `bookwire serve` in a process of its own. Stops when dropped.
pub struct Gateway {
    child: Child,
    api: SocketAddr,
    folder: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Counters of the gateway.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    /// A counter of `/metrics`, summed over its labels: `frames` is `bookwire_frames_total`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<u64> {
        let found = self.0.get(&format!("bookwire_{name}_total"));
        found.copied().with_context(|| format!("no counter {name}"))
    }

    /// A level that is a whole number, as it stands there: `bookwire_alive{kind="task"}`.
    ///
    /// # Errors
    /// When there is none.
    pub fn level(&self, series: &str) -> Result<u64> {
        let found = self.0.get(series);
        found.copied().with_context(|| format!("no level {series}"))
    }

    fn parse(text: &str) -> Self {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<u64>() else {
                continue;
            };
            let name = series.split('{').next().unwrap_or_default();
            if name.ends_with("_total") {
                *sums.entry(name.to_owned()).or_default() += value;
            } else {
                sums.insert(series.to_owned(), value);
            }
        }
        Self(sums)
    }
}

/// Resident memory and processor time of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage(u32);

impl Usage {
    /// Of the process with this id.
    #[must_use]
    pub const fn of(id: u32) -> Self {
        Self(id)
    }

    fn proc(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }

    fn status_bytes(self, name: &str) -> Result<u64> {
        let text = self.proc("status")?;
        let line = text.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u64 = kib.with_context(|| format!("no {name}"))?.parse()?;
        Ok(kib * 1024)
    }

    /// Resident memory now, bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory(self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// Files that it has open now, sockets among them.
    ///
    /// # Errors
    /// When the process is gone, or another user's.
    pub fn open_files(self) -> Result<u64> {
        let path = format!("/proc/{}/fd", self.0);
        let files = fs::read_dir(&path).with_context(|| format!("read {path}"))?;
        Ok(files.count() as u64)
    }

    /// Threads that it has now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn threads(self) -> Result<u64> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Threads:"));
        Ok(line.context("no threads")?.trim().parse()?)
    }

    /// The most resident memory since it was started, bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory_peak(self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Processor time used, system calls included.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn processor_time(self) -> Result<Duration> {
        let text = self.proc("stat")?;
        // Behind the name, which may hold blanks: the 12th and 13th field are in ticks of 10 ms.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let mut ticks = fields.split_whitespace().skip(11).take(2);
        let mut next = || -> Result<u64> { Ok(ticks.next().context("no times")?.parse()?) };
        Ok(Duration::from_millis(10 * (next()? + next()?)))
    }
}

/// An address of this machine that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Gateway {
    /// Starts it with a configuration: `server` are the keys of the section `[server]` besides the
    /// address and the folder, `rest` all other sections. Limits on clients are lifted.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(program: &Program, server: &str, rest: &str) -> Result<Self> {
        Self::start_prepared(program, server, rest, |_| Ok(()))
    }

    /// As [`Gateway::start`], after something was done to its data directory.
    ///
    /// # Errors
    /// When that fails, or it can't be started.
    pub fn start_prepared(
        program: &Program,
        server: &str,
        rest: &str,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let api = free_address()?;
        let name = format!("bookwire-bench-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let file = folder.join("bench.toml");
        let text = format!(
            "[server]\nlisten = \"{api}\"\ndata_dir = {:?}\n{server}\n[limits]\n\
             requests_per_minute = 10000000\ntrading_per_minute = 10000000\n\
             cancels_per_minute = 10000000\nconnections_per_ip = 100000\n\
             connections_max = 100000\n\n{rest}",
            folder.join("data")
        );
        fs::write(&file, text)?;
        prepare(&folder.join("data"))?;
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .args(["serve", "--quiet", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.path.display()))?;
        Ok(Self { child, api, folder })
    }

    /// Waits until it listens and knows the provider's instruments, without which it refuses
    /// subscriptions.
    ///
    /// # Errors
    /// When it ends instead, or takes more than half a minute.
    pub fn wait(&mut self, provider: &str) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        let path = format!("/api/data/CryptoPair?provider={provider}&limit=1");
        loop {
            let answer = self.get_json(&path);
            let rows = answer
                .as_ref()
                .ok()
                .and_then(|answer| answer["data"].as_array());
            if rows.is_some_and(|rows| !rows.is_empty()) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < end,
                "bookwire does not list instruments on {}: {answer:?} {ended:?}\n{}",
                self.api,
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it serves REST and the feed.
    #[must_use]
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics")?))
    }

    /// An answer's JSON.
    ///
    /// # Errors
    /// When the answer is an error or no JSON.
    pub fn get_json(&self, path: &str) -> Result<Value> {
        let body = self.get(path)?;
        serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
    }

    /// A request on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer, or an error.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(self.api)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let host = self.api;
        write!(
            socket,
            "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            bail!("{path}: no answer");
        };
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "{path}: {status} {body}");
        Ok(body.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels() {
        let text = "# TYPE bookwire_frames_total counter\nbookwire_frames_total 12\n\
                    bookwire_provider_reconnects_total{provider=\"a\"} 1\n\
                    bookwire_provider_reconnects_total{provider=\"b\"} 2\n\
                    bookwire_alive{kind=\"task\"} 31\nbookwire_uptime_seconds 1.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.get("frames").unwrap(), 12);
        assert_eq!(metrics.get("provider_reconnects").unwrap(), 3);
        assert!(metrics.get("nothing").is_err());
        assert_eq!(metrics.level("bookwire_alive{kind=\"task\"}").unwrap(), 31);
        assert!(metrics.level("bookwire_uptime_seconds").is_err());
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id());
        assert!(usage.memory().unwrap() > 1 << 20);
        assert!(usage.memory_peak().unwrap() >= usage.memory().unwrap() / 2);
        assert!(usage.processor_time().is_ok());
        // Standard input, output and error, and this thread and the one that started it.
        assert!(usage.open_files().unwrap() >= 3 && usage.threads().unwrap() >= 2);
    }
}
