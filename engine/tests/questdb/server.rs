//! A QuestDB server of a test's own, as a child process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bookwire_engine::store::{HostPort, QuestDbOptions};
use tempfile::TempDir;

/// How long a server may take to start on a machine that builds something else.
const START: Duration = Duration::from_secs(180);

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/questdb/run")
}

/// Where the server's jar is. `None`, after one line that says how to get it, where there is none;
/// a failure where `BOOKWIRE_REQUIRE_QUESTDB` is set.
fn jar() -> Option<PathBuf> {
    static JAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    JAR.get_or_init(|| {
        let java = Command::new("java").arg("-version").output();
        let found = match java.is_ok_and(|java| java.status.success()) {
            true => Command::new(script()).arg("--jar").output().ok(),
            false => None,
        };
        let path = found
            .filter(|found| found.status.success())
            .map(|found| PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()));
        if path.is_none() {
            let hint =
                "install Java 17 and Maven, or name the server's jar in BOOKWIRE_QUESTDB_JAR";
            let required = std::env::var_os("BOOKWIRE_REQUIRE_QUESTDB").is_some_and(|v| v == "1");
            assert!(!required, "QuestDB is required and absent: {hint}");
            eprintln!("skipped: no QuestDB to start; to run it: {hint}");
        }
        path
    })
    .clone()
}

/// The server. It ends with this, at once and without a goodbye.
pub struct Server {
    child: Child,
    folder: TempDir,
    settings: Vec<(&'static str, &'static str)>,
    http: u16,
    pg: u16,
}

impl Server {
    /// One that the tests of this process share; `None`: there is none.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        // A test that failed to start it leaves nothing half done.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        // The development mode lets a test suspend a table.
        let server = Arc::new(Self::start(&[("QDB_DEV_MODE_ENABLED", "true")])?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// Starts one with settings; `None`: there is none to start.
    pub fn start(settings: &[(&'static str, &'static str)]) -> Option<Self> {
        jar()?;
        let folder = tempfile::tempdir().unwrap();
        let (http, pg) = (free_port(), free_port());
        let child = spawn(folder.path(), http, pg, settings);
        let mut server = Self {
            child,
            folder,
            settings: settings.to_vec(),
            http,
            pg,
        };
        server.wait();
        Some(server)
    }

    /// As if its machine had lost the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its data and ports.
    pub fn restart(&mut self) {
        self.restart_with(&self.settings.clone());
    }

    /// The same with other settings.
    pub fn restart_with(&mut self, settings: &[(&'static str, &'static str)]) {
        self.settings = settings.to_vec();
        self.child = spawn(self.folder.path(), self.http, self.pg, &self.settings);
        self.wait();
    }

    /// How a store of its own is opened: names of tables begin with `prefix`.
    pub fn options(&self, prefix: &str) -> QuestDbOptions {
        QuestDbOptions {
            http: local(self.http),
            pg: local(self.pg),
            table_prefix: prefix.to_owned(),
            ..QuestDbOptions::default()
        }
    }

    /// Runs a statement with the default user.
    pub fn execute(&self, sql: &str) {
        let mut client = postgres::Config::new()
            .host("127.0.0.1")
            .port(self.pg)
            .user("admin")
            .password("quest")
            .dbname("qdb")
            .connect(postgres::NoTls)
            .unwrap();
        client.batch_execute(sql).unwrap();
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + START;
        while !(self.pings() && TcpStream::connect(("127.0.0.1", self.pg)).is_ok()) {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.log());
            assert!(Instant::now() < deadline, "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn pings(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.http)) else {
            return false;
        };
        let mut answer = [0; 12];
        stream
            .write_all(b"GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            .and_then(|()| stream.read_exact(&mut answer))
            .is_ok_and(|()| answer.starts_with(b"HTTP/1.1 204"))
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, http: u16, pg: u16, settings: &[(&'static str, &'static str)]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    // The script becomes the server: what is killed is the server itself.
    Command::new(script())
        .args([http.to_string(), pg.to_string()])
        .arg(folder.join("data"))
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stderr(log.try_clone().unwrap())
        .stdout(log)
        .spawn()
        .unwrap()
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub fn local(port: u16) -> HostPort {
    HostPort {
        host: "127.0.0.1".to_owned(),
        port,
    }
}
