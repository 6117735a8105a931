//! The gateway under load: its process, and what it says of itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_sim::{Exchange, Segment};
use serde_json::Value;

use super::{Program, Symbol};

/// `bookwire serve` against simulators. Stops when dropped.
pub(super) struct Gateway {
    child: Child,
    api: SocketAddr,
    folder: std::path::PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Counters of the gateway.
pub(super) struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    /// A counter of `/metrics`, summed over its labels: `frames` is `bookwire_frames_total`.
    pub(super) fn get(&self, name: &str) -> Result<u64> {
        let found = self.0.get(&format!("bookwire_{name}_total"));
        found.copied().with_context(|| format!("no counter {name}"))
    }
}

impl Gateway {
    /// Starts it with the hosts that the simulators stand for.
    pub(super) fn start(program: &Program, endpoints: &Value) -> Result<Self> {
        let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = std::env::temp_dir().join(format!("bookwire-load-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let file = folder.join("load.toml");
        // Status and listings are asked for more often than a minute's requests allow.
        let mut text = format!(
            "[server]\nlisten = \"{api}\"\ndata_dir = {:?}\n\n[limits]\n\
             requests_per_minute = 100000\n\n",
            folder.join("data")
        );
        for id in ProviderId::all() {
            if id.exchange().bridge().is_some() {
                text.push_str(&format!("[providers.{}]\nenabled = false\n", id.name()));
                continue;
            }
            text.push_str(&format!("[providers.{}.hosts]\n", id.name()));
            for host in id.hosts() {
                let url = &endpoints[id.name()]["hosts"][host];
                ensure!(url.is_string(), "no simulator stands for {host}");
                text.push_str(&format!("{host:?} = {url}\n"));
            }
        }
        fs::write(&file, text)?;
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

    pub(super) const fn api(&self) -> SocketAddr {
        self.api
    }

    /// So many instruments of each exchange, half of them perpetuals where it has those, once they
    /// are listed.
    pub(super) fn symbols(&self, of_each: usize, within: Duration) -> Result<Vec<Symbol>> {
        let end = Instant::now() + within;
        let mut all = Vec::new();
        for exchange in Exchange::ALL {
            loop {
                let found = self.listed(exchange, of_each);
                match found {
                    Ok(found) if found.len() == of_each => {
                        all.extend(found);
                        break;
                    }
                    other => {
                        let log = || fs::read_to_string(self.folder.join("log"));
                        ensure!(
                            Instant::now() < end,
                            "{} lists too little within {within:?}: {other:?}\n{}",
                            exchange.as_str(),
                            log().unwrap_or_default()
                        );
                    }
                }
                thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(all)
    }

    fn listed(&self, exchange: Exchange, wanted: usize) -> Result<Vec<Symbol>> {
        let provider = exchange.as_str();
        let id = ProviderId::parse(provider).context("the engine does not have it")?;
        let markets = id.exchange().markets();
        let mut found = Vec::new();
        // Perpetuals first: what they lack, spot makes up for.
        for market in markets.iter().rev() {
            let (entity, segment, ending) = match market {
                Market::Spot => ("CryptoPair", Segment::Spot, ""),
                Market::Perp => ("CryptoPerp", Segment::Linear, "-perp"),
            };
            let most = match market {
                Market::Perp => wanted / 2,
                Market::Spot => wanted - found.len(),
            };
            let list = self.get_json(&format!(
                "/api/data/{entity}?provider={provider}&is_active=true&columns=code,native_symbol&page_size=1000"
            ))?;
            let rows = list["data"].as_array().context("a list without rows")?;
            let symbol = |row: &Value| {
                let code = row["code"].as_str()?.to_owned();
                Some(Symbol {
                    exchange,
                    segment,
                    native: row["native_symbol"].as_str()?.to_owned(),
                    symbol: format!("{code}{ending}"),
                    code,
                })
            };
            found.extend(rows.iter().filter_map(symbol).take(most));
        }
        Ok(found)
    }

    /// Its counters.
    pub(super) fn metrics(&self) -> Result<Metrics> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for line in self.get("/metrics")?.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = name.split('{').next().unwrap_or_default();
            if let (true, Ok(value)) = (name.ends_with("_total"), value.parse()) {
                let value: u64 = value;
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        Ok(Metrics(sums))
    }

    /// An answer's JSON.
    pub(super) fn get_json(&self, path: &str) -> Result<Value> {
        let body = self.get(path)?;
        serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
    }

    /// A request on a connection of its own.
    fn get(&self, path: &str) -> Result<String> {
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

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        let text = self.proc("status")?;
        let line = text.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u64 = kib.with_context(|| format!("no {name}"))?.parse()?;
        Ok(kib * 1024)
    }

    /// Resident memory now, bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most resident memory since it was started, bytes.
    pub(super) fn memory_peak(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Processor time used, system calls included.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let text = self.proc("stat")?;
        // Behind the name, which may hold blanks: the 12th and 13th field are in ticks of 10 ms.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let mut ticks = fields.split_whitespace().skip(11).take(2);
        let mut next = || -> Result<u64> { Ok(ticks.next().context("no times")?.parse()?) };
        Ok(Duration::from_millis(10 * (next()? + next()?)))
    }
}
