//! Just enough of HTTP/1.1 for both ends of connections that stay open: one message after the other,
//! each with its length.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// The longest message.
const LONGEST: usize = 1 << 20;

/// A connection that stays open.
pub struct Talk {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// Bytes in it that were read and are not consumed.
    filled: usize,
}

/// A request or an answer.
#[derive(Debug)]
pub struct Message {
    /// First line and headers.
    pub head: String,
    /// What follows them.
    pub body: Vec<u8>,
}

impl Message {
    /// A word of the first line, counted from 0: of a request its method and target, of an answer its
    /// protocol and status.
    #[must_use]
    pub fn word(&self, index: usize) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.split(' ').nth(index).unwrap_or_default()
    }
}

/// Where a message that begins with these bytes has its body and its end; `None`: more has to come.
fn parts(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        ensure!(bytes.len() < LONGEST, "a head without an end");
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head]).context("a head that is no text")?;
    let mut size = 0;
    for line in text.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            size = value.trim().parse().context("a length that is none")?;
        }
        ensure!(
            !name.eq_ignore_ascii_case("transfer-encoding"),
            "a message in chunks: {text}"
        );
    }
    ensure!(size < LONGEST, "a body of {size} bytes");
    let end = head + 4 + size;
    Ok((bytes.len() >= end).then_some((head + 4, end)))
}

impl Talk {
    /// Around a socket of either end.
    ///
    /// # Errors
    /// When the socket does not take its options.
    pub fn new(socket: TcpStream) -> Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; 16 << 10],
            filled: 0,
        })
    }

    /// To a server that answers within half a minute.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Self::new(socket)
    }

    /// The next message, whole; `None` when the other end is done.
    ///
    /// # Errors
    /// When the connection breaks, or for what is no message.
    pub fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some((body, end)) = parts(&self.buffer[..self.filled])? {
                let message = Message {
                    head: String::from_utf8_lossy(&self.buffer[..body]).into_owned(),
                    body: self.buffer[body..end].to_vec(),
                };
                self.buffer.copy_within(end..self.filled, 0);
                self.filled -= end;
                return Ok(Some(message));
            }
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.filled * 2, 0);
            }
            let read = self.socket.read(&mut self.buffer[self.filled..])?;
            if read == 0 {
                ensure!(self.filled == 0, "the message broke off");
                return Ok(None);
            }
            self.filled += read;
        }
    }

    /// Writes whole messages.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    /// Sends a request and returns its answer, which has to be a success.
    ///
    /// # Errors
    /// When there is none, or another.
    pub fn ask(&mut self, request: &[u8]) -> Result<Message> {
        self.write(request)?;
        let answer = self.next()?.context("the connection was closed")?;
        let status = answer.word(1);
        if !status.starts_with('2') {
            let line = String::from_utf8_lossy(request);
            let line = line.lines().next().unwrap_or_default();
            bail!("{line}: {status} {}", String::from_utf8_lossy(&answer.body));
        }
        Ok(answer)
    }
}

/// A request with a body, as bytes. `headers` are whole lines.
#[must_use]
pub fn request(method: &str, target: &str, host: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An answer of JSON, as bytes.
#[must_use]
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json;charset=UTF-8\r\n\
         x-mbx-used-weight-1m: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn messages_are_told_apart_however_they_arrive() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let writer = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut bytes = request("POST", "/a?b=1", "h", "X-A: 1\r\n", "12345");
            bytes.extend(request("GET", "/c", "h", "", ""));
            for part in bytes.chunks(7) {
                socket.write_all(part).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut talk = Talk::connect(address).unwrap();
        let first = talk.next().unwrap().unwrap();
        assert_eq!((first.word(0), first.word(1)), ("POST", "/a?b=1"));
        assert_eq!(first.body, b"12345");
        let second = talk.next().unwrap().unwrap();
        assert_eq!((second.word(1), second.body.len()), ("/c", 0));
        assert!(talk.next().unwrap().is_none());
        writer.join().unwrap();
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(parts(b"GET / HTTP/1.1\r\nContent-Le").unwrap().is_none());
        for bad in [
            &b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        ] {
            assert!(parts(bad).is_err());
        }
    }
}
