//! What a service manager hears of `bookwire serve`, over a socket as it gives one.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{bookwire, exit_code, providers_off, write};

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let count = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

fn tells_its_states(dir: &Path, socket: &UnixDatagram, name: &str) {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let config = write(dir, "config.toml", &providers_off(None));
    let child = bookwire()
        .args(["serve", "--listen", "127.0.0.1:0", "--config", &config])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .env("NOTIFY_SOCKET", name)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = next(socket);
    let address = ready
        .strip_prefix("READY=1\nSTATUS=serving on ")
        .unwrap_or_else(|| panic!("{ready:?}"))
        .to_owned();
    // What it says is so: it listens there.
    std::net::TcpStream::connect(&address).unwrap();
    for _ in 0..3 {
        assert_eq!(next(socket), "WATCHDOG=1");
    }
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let mut last = next(socket);
    while last == "WATCHDOG=1" {
        last = next(socket);
    }
    assert_eq!(last, "STOPPING=1\nSTATUS=stopping");
    assert_eq!(exit_code(child), Some(0));
}

#[test]
fn a_service_manager_hears_start_life_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    tells_its_states(dir.path(), &socket, path.to_str().unwrap());

    let dir = tempfile::tempdir().unwrap();
    let name = format!("bookwire-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    tells_its_states(dir.path(), &socket, &format!("@{name}"));
}

#[test]
fn a_socket_that_is_not_there_is_no_reason_not_to_serve() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "config.toml", &providers_off(None));
    let mut child = bookwire()
        .args(["serve", "--listen", "127.0.0.1:0", "--config", &config])
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .env("NOTIFY_SOCKET", dir.path().join("nobody"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert!(line.starts_with("REST"), "{line}");
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(exit_code(child), Some(0));
}
