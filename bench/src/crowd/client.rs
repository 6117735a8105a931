//! One client of a crowd: what it makes of the frames that it reads.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Kind, Schedule, Shared, add, lock};
use crate::fake::trade_price;
use crate::ws::{self, Frames};

/// One client.
pub(super) struct Client {
    socket: tokio::net::TcpStream,
    frames: Frames,
    kind: Kind,
    /// Where the number of a message stands in it, once that is known.
    seq_at: usize,
    last_seq: u64,
    /// A trade's number, or a book's sequence.
    last: u64,
}

/// What one read brought.
#[derive(Default)]
pub(super) struct Brought {
    pub(super) messages: u64,
    pub(super) snapshots: u64,
    pub(super) subscribed: u64,
    pub(super) missing: u64,
    pub(super) told: u64,
    pub(super) statuses: u64,
    pub(super) bytes: usize,
}

impl Client {
    pub(super) fn new(socket: tokio::net::TcpStream, kind: Kind) -> Self {
        Self {
            socket,
            frames: Frames::default(),
            kind,
            seq_at: 0,
            last_seq: 0,
            last: 0,
        }
    }

    pub(super) async fn run(mut self, shared: Arc<Shared>) -> Result<()> {
        loop {
            self.socket.readable().await?;
            let read = match self.socket.try_read(self.frames.room()) {
                Ok(0) => bail!("the connection was closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            self.frames.filled(read);
            self.take(&shared)?;
        }
    }

    fn take(&mut self, shared: &Shared) -> Result<()> {
        let schedule = *lock(&shared.schedule);
        let now = Instant::now();
        let mut brought = Brought::default();
        let mut late: Vec<u64> = Vec::new();
        let mut frames = std::mem::take(&mut self.frames);
        while let Some((opcode, payload)) = frames.next_frame()? {
            match opcode {
                ws::TEXT => {
                    let number = self.message(payload, &mut brought)?;
                    let is_measured = |s: &Schedule| number >= s.measured && number < s.end;
                    if let Some(schedule) = schedule.filter(is_measured) {
                        let late_by = now.saturating_duration_since(schedule.due(number));
                        late.push(u64::try_from(late_by.as_nanos())?);
                    }
                }
                ws::PING => {
                    let mut pong = Vec::new();
                    ws::push_masked(&mut pong, ws::PONG, payload);
                    // A few bytes on a socket that is otherwise silent: there is always room.
                    self.socket.try_write(&pong)?;
                }
                ws::CLOSE => bail!(
                    "closed: {}",
                    String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
                ),
                _ => {}
            }
        }
        self.frames = frames;
        add(shared, &brought, &late, now)
    }

    /// Looks at a message. Returns its number: a trade's id, 0 without one.
    fn message(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        match self.kind {
            Kind::Counted => {
                brought.messages += 1;
                brought.bytes = payload.len();
                Ok(0)
            }
            Kind::Numbered => {
                let id = digits(payload, b"{\"trade_id\":\"".len()).context("no number")?;
                let is_next = self.last == 0 || id == self.last + 1;
                ensure!(is_next, "number {id} after {}", self.last);
                self.last = id;
                brought.messages += 1;
                brought.bytes = payload.len();
                Ok(id)
            }
            Kind::Trades | Kind::PricedTrades | Kind::Books => self.bookwire(payload, brought),
        }
    }

    fn bookwire(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        const SEQ: &[u8] = b"\"seq\":";
        let Some(seq_at) = self.find_seq(payload, SEQ) else {
            return self.other(payload, brought);
        };
        let seq = digits(payload, seq_at).context("no seq")?;
        let gap = seq.checked_sub(self.last_seq + 1);
        let gap = gap.with_context(|| format!("seq {seq} after {}", self.last_seq))?;
        self.last_seq = seq;
        brought.missing += gap;
        brought.bytes = payload.len();
        if self.kind == Kind::Books {
            return self.book(payload, brought);
        }
        brought.messages += 1;
        let rest = &payload[seq_at..];
        let key = b"\"trade_id\":\"";
        let found = rest.windows(key.len()).position(|at| at == key);
        let id = found
            .and_then(|at| digits(rest, at + key.len()))
            .context("no id")?;
        let wanted = self.last + 1 + gap;
        ensure!(
            self.last == 0 || id == wanted,
            "trade {id} where {wanted} is due: {}",
            String::from_utf8_lossy(payload)
        );
        self.last = id;
        if self.kind == Kind::PricedTrades && id.is_multiple_of(16) {
            let price = format!("\"price\":{},", trade_price(id));
            let is_there = rest.windows(price.len()).any(|at| at == price.as_bytes());
            let text = String::from_utf8_lossy(payload);
            ensure!(is_there, "{price} is not in {text}");
        }
        Ok(id)
    }

    /// Where the digits of `seq` begin: in the same place in all messages of a subscription.
    fn find_seq(&mut self, payload: &[u8], key: &[u8]) -> Option<usize> {
        let at = self.seq_at;
        if at >= key.len() && payload.get(at - key.len()..at) == Some(key) {
            return Some(at);
        }
        let found = payload.windows(key.len()).position(|at| at == key)?;
        self.seq_at = found + key.len();
        Some(self.seq_at)
    }

    fn book(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        let behind = |key: &[u8]| {
            let found = payload.windows(key.len()).rposition(|at| at == key)?;
            digits(payload, found + key.len())
        };
        let sequence = behind(b"\"sequence\":").context("no sequence")?;
        match behind(b"\"prev_sequence\":") {
            Some(prev) => {
                ensure!(
                    prev == self.last,
                    "a change of {prev} after {}, which it does not apply to",
                    self.last
                );
                brought.messages += 1;
            }
            None => brought.snapshots += 1,
        }
        self.last = sequence;
        Ok(sequence)
    }

    /// Answers to requests, and what is told besides the data.
    fn other(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        let message: Value = serde_json::from_slice(payload)?;
        match message["stream"].as_str() {
            Some("system.flow") => {
                brought.told += message["data"]["dropped"].as_u64().context("no dropped")?;
            }
            Some("system.status") => brought.statuses += 1,
            _ => {
                let is_good = message["status"] == "subscribed";
                ensure!(is_good, "not subscribed: {message}");
                brought.subscribed += 1;
            }
        }
        Ok(0)
    }
}

/// The number whose digits begin there.
fn digits(text: &[u8], at: usize) -> Option<u64> {
    let digits = text
        .get(at..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let (mut value, mut count) = (0u64, 0);
    for digit in digits {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        count += 1;
    }
    (count > 0).then_some(value)
}
