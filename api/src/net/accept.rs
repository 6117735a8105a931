//! From an accepted socket to a guarded connection, or to a refusal.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use bookwire_engine::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::{self, Proxies};
use super::files;
use super::guard::{GuardOptions, Guarded, Patience, Refusal, Refuse, Wire};
use super::link::Link;
use super::places::{ConnectionCounter, Total};
use super::tls::Tls;

/// Longest time that a refused client is given to read why.
const REFUSAL: Duration = Duration::from_millis(300);

/// The same when there are too many connections already.
const FULL: Duration = Duration::from_millis(20);

/// First byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Who is let in; one for all worker threads.
#[derive(Clone)]
pub struct Door {
    total: Total,
    by_address: Arc<ConnectionCounter>,
    connections_max: usize,
    connections_per_ip: u32,
    patience: Patience,
    proxies: Proxies,
    tls: Option<Tls>,
}

impl Door {
    /// The door that the configuration describes.
    #[must_use]
    pub fn new(config: &Config, tls: Option<Tls>) -> Self {
        let server = &config.server;
        Self {
            total: Total::default(),
            by_address: Arc::default(),
            connections_max: files::connections(config.limits.connections_max),
            connections_per_ip: config.limits.connections_per_ip,
            patience: Patience::from(&config.limits),
            proxies: Proxies::new(server.trusted_proxies.clone(), server.proxy_header),
            tls,
        }
    }

    /// Connections that are let in at most.
    #[must_use]
    pub const fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.total.open()
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// There is no place for it, or its TLS handshake failed.
    pub async fn admit(
        &self,
        mut socket: TcpStream,
        refuse: Rc<Refuse>,
    ) -> io::Result<(Guarded, Option<SocketAddr>)> {
        // Small messages leave at once. Fails only for a socket that is gone already.
        let _ = socket.set_nodelay(true);
        let peer = socket.peer_addr().ok();
        let address = client::peer(peer);
        let Some(place) = self.total.admit(self.connections_max) else {
            if self.tls.is_none() {
                // Without waiting for the client: what is over the limit must not hold a file for long.
                let answer = refuse(Refusal::Full(self.connections_max), address);
                let _ = timeout(FULL, socket.write_all(&answer)).await;
            }
            return Err(refused("too many connections"));
        };
        // A proxy's connections are those of all its clients.
        let permit = match self.proxies.has(address) {
            true => None,
            false => match self.by_address.admit(address, self.connections_per_ip) {
                Ok(permit) => Some(permit),
                Err(open) => {
                    if self.tls.is_none() {
                        let answer = refuse(Refusal::AddressFull(open), address);
                        last_words(&mut socket, &answer).await;
                    }
                    return Err(refused("too many connections of one address"));
                }
            },
        };
        let link = Link::new(permit, Instant::now());
        let wire = match &self.tls {
            None => Wire::Plain(socket),
            Some(tls) => {
                let encrypt = encrypt(socket, tls, &refuse, address);
                match timeout(self.patience.header, encrypt).await {
                    Ok(wire) => wire?,
                    Err(_) => return Err(refused("the TLS handshake took too long")),
                }
            }
        };
        let options = GuardOptions {
            link,
            patience: self.patience,
            address,
            refuse,
            place: Some(place),
        };
        Ok((Guarded::new(wire, options), peer))
    }
}

async fn encrypt(
    mut socket: TcpStream,
    tls: &Tls,
    refuse: &Rc<Refuse>,
    address: IpAddr,
) -> io::Result<Wire> {
    let mut first = [0];
    if socket.peek(&mut first).await? > 0 && first[0] != HANDSHAKE && first[0].is_ascii_uppercase()
    {
        let answer = refuse(Refusal::NotEncrypted, address);
        last_words(&mut socket, &answer).await;
        return Err(refused("not TLS"));
    }
    let stream = TlsAcceptor::from(tls.current()).accept(socket).await?;
    Ok(Wire::Tls(Box::new(stream)))
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, why)
}

/// Answers, and reads on for a moment: what was not read would undo the answer.
async fn last_words(socket: &mut TcpStream, answer: &[u8]) {
    let talk = async {
        socket.write_all(answer).await?;
        socket.shutdown().await?;
        let mut scratch = [0; 4096];
        while socket.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection ends.
    let _ = timeout(REFUSAL, talk).await;
}
