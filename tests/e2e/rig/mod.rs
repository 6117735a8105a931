//! Simulators in this process, `bookwire serve` in a process of its own, clients through the public
//! contract only.

pub mod account;
pub mod client;
pub mod python;
pub mod schema;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_sim::{Sim, SimConfig};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use client::Feed;

/// A running gateway against running simulators. Both end when this is dropped.
pub struct Rig {
    /// The simulators.
    pub sim: Sim,
    /// Address of the gateway's API: `127.0.0.1:41234`.
    pub api: String,
    folder: tempfile::TempDir,
    gateway: Option<Child>,
    /// Program and arguments that start the gateway, before its own.
    wrapper: Vec<String>,
    http: reqwest::Client,
    /// Last, so that the next test starts when this one's processes are gone.
    _turn: SemaphorePermit<'static>,
}

/// So many tests run side by side that mostly wait, for an exchange's time-outs and for the market's time
/// (they need a fifth of a core); those that need the machine run alone: on a small one the others would slow
/// them down beyond their time limits.
const PLACES: u32 = 4;
static TURNS: Semaphore = Semaphore::const_new(PLACES as usize);

/// Waits until no other test runs, for one that needs the machine and does without a rig.
pub async fn alone() -> SemaphorePermit<'static> {
    turns(PLACES).await
}

/// Waits until there is room for `count` more tests.
pub async fn turns(count: u32) -> SemaphorePermit<'static> {
    TURNS.acquire_many(count).await.expect("never closed")
}

impl Rig {
    /// Starts simulators and the gateway against them.
    pub async fn start(config: SimConfig) -> Self {
        Self::start_with(config, "").await
    }

    /// As [`Rig::start`], with more configuration for the gateway.
    pub async fn start_with(config: SimConfig, more: &str) -> Self {
        Self::start_in(turns(1).await, config, more, |_| Vec::new()).await
    }

    /// As [`Rig::start_with`]; `prepare` is called before the gateway starts.
    pub async fn start_prepared(
        config: SimConfig,
        more: &str,
        prepare: impl FnOnce(&Self),
    ) -> Self {
        let mut rig = Self::build(turns(1).await, config, more, |_| Vec::new()).await;
        prepare(&rig);
        rig.start_gateway().await;
        rig
    }

    /// As [`Rig::start_with`], while no other test runs.
    pub async fn start_alone(config: SimConfig, more: &str) -> Self {
        Self::start_in(alone().await, config, more, |_| Vec::new()).await
    }

    /// As [`Rig::start_with`]; the gateway is started by a program of the test's choice, which is
    /// told where the data directory is.
    pub async fn start_wrapped(
        config: SimConfig,
        more: &str,
        wrapper: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        Self::start_in(turns(1).await, config, more, wrapper).await
    }

    async fn start_in(
        turn: SemaphorePermit<'static>,
        config: SimConfig,
        more: &str,
        wrapper: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let mut rig = Self::build(turn, config, more, wrapper).await;
        rig.start_gateway().await;
        rig
    }

    /// Everything but the gateway.
    async fn build(
        turn: SemaphorePermit<'static>,
        config: SimConfig,
        more: &str,
        wrapper: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sim = Sim::start(config).await.expect("the simulators start");
        let folder = tempfile::tempdir().unwrap();
        let api = free_address();
        let text = configuration(&api, &sim.endpoints(), folder.path(), more);
        std::fs::write(folder.path().join("bookwire.toml"), text).unwrap();
        let http = reqwest::Client::builder().build().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        Self {
            sim,
            api,
            folder,
            gateway: None,
            wrapper: wrapper(&data),
            http,
            _turn: turn,
        }
    }

    /// Starts the gateway and waits until it is ready to serve.
    pub async fn start_gateway(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("gateway.log"))
            .unwrap();
        let gateway = gateway();
        let words = [self.wrapper.as_slice(), &[gateway]].concat();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["serve", "--config"])
            .arg(self.folder.path().join("bookwire.toml"))
            .env("GATEWAY_UNDER_TEST_DIE", self.death())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.gateway = Some(child);
        let endpoints = self.sim.endpoints();
        let mut waiting: Vec<ProviderId> = ProviderId::all()
            .filter(|id| endpoints.get(id.name()).is_some())
            .collect();
        // What an exchange allows in a minute may have been used up before.
        let end = Instant::now() + Duration::from_secs(90);
        let config = std::fs::read_to_string(self.config()).unwrap();
        let is_spot_only = config.contains("markets = [\"spot\"]");
        loop {
            if let Some(id) = waiting.last() {
                // Perpetuals are listed last, where there are any.
                let has_perps = id.exchange().markets().contains(&Market::Perp);
                let entity = match has_perps && !is_spot_only {
                    true => "CryptoPerp",
                    false => "CryptoPair",
                };
                let provider = id.name();
                let list = format!("/api/data/{entity}?provider={provider}");
                let listed = self.try_get(&list).await;
                if listed.is_some_and(|(status, body)| status == 200 && body["total"] != 0) {
                    waiting.pop();
                    continue;
                }
            } else {
                return;
            }
            assert!(
                !self.has_ended() && Instant::now() < end,
                "it did not start:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The gateway's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("bookwire.toml")
    }

    /// The gateway's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The gateway's process id.
    pub fn pid(&self) -> u32 {
        self.gateway.as_ref().expect("it runs").id()
    }

    fn death(&self) -> PathBuf {
        self.folder.path().join("die")
    }

    /// Has the gateway die when it reaches a step of an order the so many-th time from now on; with no
    /// name it only notes what it reaches.
    pub fn die_at(&self, step: &str, times: usize) {
        // Whole or not at all.
        let fresh = self.death().with_extension("new");
        std::fs::write(&fresh, format!("{step} {times}")).unwrap();
        std::fs::rename(fresh, self.death()).unwrap();
    }

    /// The names of the steps that were reached since the last call, in their order.
    pub fn steps(&self) -> Vec<String> {
        let seen = self.death().with_extension("seen");
        let text = std::fs::read_to_string(&seen).unwrap_or_default();
        let _ = std::fs::remove_file(seen);
        text.lines().map(str::to_owned).collect()
    }

    /// Takes that back; the name of the step at which it has died.
    pub fn died(&mut self) -> Option<String> {
        let _ = std::fs::remove_file(self.death());
        let died = self.death().with_extension("died");
        let step = std::fs::read_to_string(&died).ok()?;
        std::fs::remove_file(died).unwrap();
        self.gateway.take().expect("it ran").wait().unwrap();
        Some(step)
    }

    /// Whether the gateway has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let child = self.gateway.as_mut();
        child.is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Kills the gateway as `kill -9` does.
    pub fn kill_gateway(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the gateway to stop, as Ctrl-C does, and waits for it.
    pub async fn stop_gateway(&mut self) -> ExitStatus {
        let mut child = self.gateway.take().expect("it runs");
        let done = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "the gateway did not stop:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines of the gateway's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("gateway.log"));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// A REST answer: status and JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        match self.try_get(path).await {
            Some(answer) => answer,
            None => panic!("no answer to {path}:\n{}", self.log()),
        }
    }

    /// A value of `/metrics` without labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        let mut lines = text.as_str()?.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.trim().parse().ok()
    }

    /// Sends a command, with the operator's key or without.
    pub async fn command(&self, path: &str, key: Option<&str>) -> (u16, Value) {
        let mut request = self.http.post(format!("http://{}{path}", self.api));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = request.send().await.expect("an answer to a command");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    async fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self
            .http
            .get(format!("http://{}{path}", self.api))
            .send()
            .await
            .ok()?;
        let status = answer.status().as_u16();
        let body = answer.text().await.ok()?;
        Some((
            status,
            serde_json::from_str(&body).unwrap_or(Value::String(body)),
        ))
    }

    /// A WebSocket client that gets its numbers as strings.
    pub async fn feed(&self) -> Feed {
        Feed::connect(&format!("ws://{}/ws?numbers=string", self.api)).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill_gateway();
        if std::thread::panicking() {
            eprintln!("the gateway's last words:\n{}", self.log());
        }
    }
}

/// Providers that are not simulated are off: no test leaves this machine.
fn configuration(api: &str, endpoints: &Value, folder: &Path, more: &str) -> String {
    let mut text = format!(
        "[server]\nlisten = \"{api}\"\nworkers = 1\ndata_dir = {:?}\n\n{more}\n",
        folder.join("data")
    );
    for id in ProviderId::all() {
        let provider = id.name();
        let section = format!("[providers.{provider}]");
        if id.exchange().bridge().is_some() && more.contains(&section) {
            // It asks the same simulators.
            text.push_str(&format!("[providers.{provider}.hosts]\n"));
            let all = endpoints.as_object().into_iter().flatten();
            let hosts = all.filter_map(|(_, own)| own["hosts"].as_object());
            for (host, url) in hosts.flatten() {
                text.push_str(&format!("{host:?} = {url}\n"));
            }
            continue;
        }
        let Some(own) = endpoints.get(provider) else {
            text.push_str(&format!("[providers.{provider}]\nenabled = false\n"));
            continue;
        };
        text.push_str(&format!("[providers.{provider}.hosts]\n"));
        // The simulators have more than the gateway uses, and it refuses those it does not know.
        for host in id.hosts() {
            if let Some(url) = own["hosts"].get(host) {
                text.push_str(&format!("{host:?} = {url}\n"));
            }
        }
    }
    text
}

/// The gateway's program: the one that was built with the tests, or the one that
/// `BOOKWIRE_GATEWAY_UNDER_TEST` names, so that a long run keeps its own while others are built.
pub fn gateway() -> String {
    let named = std::env::var("BOOKWIRE_GATEWAY_UNDER_TEST");
    named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_gateway-under-test").to_owned())
}

/// An address nobody listens on.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}
