//! What bookwire is compared with in the same run: the least that does the same job. Each is a process
//! of its own, as bookwire is: this program, started with the word `floor`.

mod broadcast;
mod proxy;
mod reader;
mod relay;
mod rest;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::gateway::Usage;

pub use rest::Bar;

/// A floor's process. Stops when dropped.
pub struct Floor(Child);

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Floor {
    /// Starts one: its name and its arguments.
    ///
    /// # Errors
    /// When this program can't be started again.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("floor")
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start floor {arguments:?}"))?;
        Ok(Self(child))
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.0.id())
    }
}

/// The floors' own main: what stands behind the word `floor`.
///
/// # Errors
/// When a connection breaks, or for an unknown floor.
pub fn main(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let address = |text: &str| -> Result<SocketAddr> {
        text.parse()
            .with_context(|| format!("{text} is no address"))
    };
    match words[..] {
        // Copies the bytes of one socket to another.
        ["relay", from, to] => relay::run(address(from)?, address(to)?),
        // Reads a WebSocket with tokio-tungstenite and throws all messages away.
        ["reader", from, stream] => reader::run(address(from)?, stream),
        // Passes each frame of a WebSocket on to so many clients, all that is there in one write.
        ["broadcast", from, stream, listen, clients] => {
            broadcast::run(address(from)?, stream, address(listen)?, clients.parse()?)
        }
        // Passes HTTP requests on, and their answers back.
        ["proxy", listen, to] => proxy::run(address(listen)?, address(to)?),
        // Bars as JSON, from structs in memory, with actix-web and serde_json.
        ["rest", listen, bars] => rest::run(address(listen)?, bars.parse()?),
        _ => bail!("{words:?} is no floor"),
    }
}
