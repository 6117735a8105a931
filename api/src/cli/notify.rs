//! What a service manager is told (systemd's `Type=notify` and `WatchdogSec=`): one datagram a state,
//! to the socket that `NOTIFY_SOCKET` names. Without it nothing is sent. Child processes don't inherit
//! the variable, so that nobody else speaks for us. The protocol: `sd_notify(3)`.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

/// Speaks to the service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    #[cfg(unix)]
    socket: Option<std::sync::Arc<UnixDatagram>>,
    /// Longest time between two signs of life.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one that the environment names. A socket that can't be used is logged: the manager will
    /// miss our word, and that is the reason.
    pub fn from_environment() -> Self {
        #[cfg(unix)]
        {
            let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
            else {
                return Self::default();
            };
            let text = |name| std::env::var(name).ok();
            match connect(&name) {
                Ok(socket) => Self {
                    socket: Some(std::sync::Arc::new(socket)),
                    watchdog: period(
                        text("WATCHDOG_USEC").as_deref(),
                        text("WATCHDOG_PID").as_deref(),
                        std::process::id(),
                    ),
                },
                Err(error) => {
                    tracing::warn!("the service manager's NOTIFY_SOCKET can't be used: {error}");
                    Self::default()
                }
            }
        }
        #[cfg(not(unix))]
        Self::default()
    }

    /// Connections are taken from now on.
    pub fn ready(&self, address: SocketAddr) {
        self.send(&format!("READY=1\nSTATUS=serving on {address}"));
    }

    /// A stop was asked for.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Gives a sign of life twice in each period, but only while `is_well` says so in time. Ends at
    /// once when nobody watches.
    pub async fn watch(&self, is_well: impl AsyncFn() -> bool) {
        let Some(period) = self.watchdog else {
            return;
        };
        let mut ticks = tokio::time::interval(period / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_well = true;
        loop {
            ticks.tick().await;
            let is_well = tokio::time::timeout(period / 2, is_well())
                .await
                .unwrap_or(false);
            if is_well {
                let again = if was_well { "" } else { "\nSTATUS=serving" };
                self.send(&format!("WATCHDOG=1{again}"));
            } else {
                tracing::error!("market data or orders do not answer: the watchdog is not told");
                self.send("STATUS=market data or orders do not answer");
            }
            was_well = is_well;
        }
    }

    fn send(&self, state: &str) {
        #[cfg(unix)]
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::warn!("the service manager can't be told `{state}`: {error}");
        }
        #[cfg(not(unix))]
        let _ = state;
    }
}

/// A path, or with `@` before it a name in Linux' abstract namespace.
#[cfg(unix)]
fn connect(name: &std::ffi::OsStr) -> std::io::Result<UnixDatagram> {
    use std::os::unix::ffi::OsStrExt;
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the runtime.
    socket.set_nonblocking(true)?;
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(rest)?;
            socket.connect_addr(&address)?;
        }
        [b'/', ..] => socket.connect(name)?,
        _ => {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "neither an absolute path nor @ with a name",
            ));
        }
    }
    Ok(socket)
}

/// The watchdog's period, where it is meant for this process.
#[cfg(unix)]
fn period(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    // Half of less than that would be no pause at all.
    (usec >= 2_000).then(|| Duration::from_micros(usec))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(period(Some("1000000"), None, 7), second);
        assert_eq!(period(Some("1000000"), Some("7"), 7), second);
        assert_eq!(period(Some("1000000"), Some("8"), 7), None);
        for wrong in [None, Some(""), Some("0"), Some("-1"), Some("soon")] {
            assert_eq!(period(wrong, None, 7), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn who_is_not_well_gives_no_sign_of_life() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        let notifier = Notifier {
            socket: Some(std::sync::Arc::new(ours)),
            watchdog: Some(Duration::from_millis(20)),
        };
        let heard = || {
            let mut text = String::new();
            let mut bytes = [0; 256];
            while let Ok(count) = theirs.recv(&mut bytes) {
                text += &String::from_utf8_lossy(&bytes[..count]);
                text.push('\n');
            }
            text
        };
        let some_time = Duration::from_millis(100);
        let _ = tokio::time::timeout(some_time, notifier.watch(async || false)).await;
        let text = heard();
        assert!(!text.contains("WATCHDOG"), "{text}");
        assert!(
            text.contains("STATUS=market data or orders do not answer"),
            "{text}"
        );
        // One that never answers is not well either.
        let hung = async || std::future::pending::<bool>().await;
        let _ = tokio::time::timeout(some_time, notifier.watch(hung)).await;
        let text = heard();
        assert!(
            !text.contains("WATCHDOG") && text.contains("STATUS"),
            "{text}"
        );
        let _ = tokio::time::timeout(some_time, notifier.watch(async || true)).await;
        let text = heard();
        assert!(text.contains("WATCHDOG=1"), "{text}");
        assert!(!text.contains("STATUS"), "{text}");
    }
}
