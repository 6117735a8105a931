//! Just enough of RFC 6455 for sources, clients and floors that cost as little as possible: whole
//! text frames, written by the hundred and read in place.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A text frame's opcode.
pub const TEXT: u8 = 1;
/// A close frame's opcode.
pub const CLOSE: u8 = 8;
/// A ping frame's opcode.
pub const PING: u8 = 9;
/// A pong frame's opcode.
pub const PONG: u8 = 10;

/// The mask of all client frames: it has to be there, and need not be a secret here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Bytes that are read at once at most.
const READ: usize = 64 << 10;
/// The longest head of an HTTP message.
const HEAD: usize = 16 << 10;

fn push_header(out: &mut Vec<u8>, opcode: u8, size: usize, mask: u8) {
    out.push(0x80 | opcode);
    match size {
        0..=125 => out.push(mask | size as u8),
        126..=65_535 => {
            out.push(mask | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
}

/// Appends a frame as a server sends it. Returns where its payload starts.
pub fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) -> usize {
    push_header(out, opcode, payload.len(), 0);
    let start = out.len();
    out.extend_from_slice(payload);
    start
}

/// Appends a frame as a client sends it: masked.
pub fn push_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    push_header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}

/// Frames out of a stream of bytes. Fragments are refused: nobody here sends any.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frames {
    /// Room for what is read next.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end < READ / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < READ / 2 {
                let size = (self.buffer.len() * 2).max(READ);
                self.buffer.resize(size, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes have been put into the room.
    pub fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next whole frame: opcode and payload, unmasked.
    ///
    /// # Errors
    /// For fragments.
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>> {
        let bytes = &self.buffer[self.start..self.end];
        let [first, second, ..] = *bytes else {
            return Ok(None);
        };
        ensure!(first & 0x80 != 0 && first & 0x0f != 0, "a fragment");
        let (size, mut head) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(size) => (usize::from(u16::from_be_bytes([size[0], size[1]])), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10) {
                Some(size) => (u64::from_be_bytes(size.try_into()?) as usize, 10),
                None => return Ok(None),
            },
            size => (usize::from(size), 2),
        };
        let mask = (second & 0x80 != 0).then(|| {
            head += 4;
            bytes.get(head - 4..head).map(<[u8]>::to_vec)
        });
        if mask == Some(None) || bytes.len() - head < size {
            return Ok(None);
        }
        let payload = self.start + head..self.start + head + size;
        self.start = payload.end;
        if let Some(Some(mask)) = mask {
            let masks = mask.iter().cycle();
            for (byte, mask) in self.buffer[payload.clone()].iter_mut().zip(masks) {
                *byte ^= mask;
            }
        }
        Ok(Some((first & 0x0f, &self.buffer[payload])))
    }
}

/// Reads the head of an HTTP message, not one byte more.
fn read_head(socket: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD, "a head of more than {HEAD} bytes");
        ensure!(
            socket.read(&mut byte)? == 1,
            "the other side closed before the end of its head"
        );
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The server's side of the handshake. Returns the path that was asked for.
///
/// # Errors
/// When the other side does not ask for a WebSocket.
pub fn accept(socket: &mut TcpStream) -> Result<String> {
    let head = read_head(socket)?;
    let key = header(&head, "Sec-WebSocket-Key").context("not a WebSocket's handshake")?;
    write!(
        socket,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )?;
    Ok(head.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Connects a client.
///
/// # Errors
/// When nobody answers, or not as a WebSocket.
pub fn connect(address: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
    upgrade(&mut socket, address, path)?;
    Ok(socket)
}

/// The client's side of the handshake on a connected socket.
///
/// # Errors
/// When the answer is not a WebSocket's.
pub fn upgrade(socket: &mut TcpStream, address: SocketAddr, path: &str) -> Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )?;
    let head = read_head(socket)?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 101 ") {
        bail!("{address}{path} is no WebSocket: {status}");
    }
    Ok(())
}

/// Sends a text frame as a client.
///
/// # Errors
/// When the socket is broken.
pub fn send_text(socket: &mut TcpStream, text: &str) -> Result<()> {
    let mut frame = Vec::new();
    push_masked(&mut frame, TEXT, text.as_bytes());
    Ok(socket.write_all(&frame)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Vec<(u8, Vec<u8>)> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for part in bytes.chunks(step) {
            frames.room()[..part.len()].copy_from_slice(part);
            frames.filled(part.len());
            while let Some((opcode, payload)) = frames.next_frame().unwrap() {
                found.push((opcode, payload.to_vec()));
            }
        }
        found
    }

    #[test]
    fn frames_of_all_sizes_come_back_whole() {
        let payloads: Vec<Vec<u8>> = [0, 1, 125, 126, 300, 65_535, 65_536, 200_000]
            .map(|size| (0..size).map(|at| (at % 251) as u8).collect())
            .to_vec();
        for step in [1, 7, 30_000] {
            let (mut server, mut client) = (Vec::new(), Vec::new());
            for payload in &payloads {
                push_frame(&mut server, TEXT, payload);
                push_masked(&mut client, PING, payload);
            }
            let wanted = |opcode| {
                payloads
                    .iter()
                    .map(|p| (opcode, p.clone()))
                    .collect::<Vec<_>>()
            };
            assert!(read(&server, step) == wanted(TEXT), "{step}");
            assert!(read(&client, step) == wanted(PING), "{step}");
        }
    }

    #[test]
    fn a_fragment_is_refused() {
        let mut frames = Frames::default();
        frames.room()[..4].copy_from_slice(&[0x01, 2, b'a', b'b']);
        frames.filled(4);
        assert!(frames.next_frame().is_err());
    }
}
