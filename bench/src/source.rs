//! What sends: as fast as the receivers take it, or at a rate that nothing slows down.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::crowd::{Crowd, Schedule};
use crate::fake::{Outlet, push_trade};
use crate::tape::Tape;
use crate::ws;

/// Frames that are written at once at most.
const CHUNK: usize = 64;

/// Frames one after the other, without end.
pub trait Supply {
    /// Appends some frames, at most so many. Returns how many, and how many messages each client gets
    /// for them.
    ///
    /// # Errors
    /// When there are none.
    fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(u64, u64)>;
}

/// Frames of a tape.
pub struct Laps {
    tape: Tape,
    /// Frames so far.
    pub frames: u64,
}

impl Laps {
    /// From its beginning.
    #[must_use]
    pub const fn new(tape: Tape) -> Self {
        Self { tape, frames: 0 }
    }

    /// The tape.
    #[must_use]
    pub const fn tape(&self) -> &Tape {
        &self.tape
    }
}

impl Supply for Laps {
    fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(u64, u64)> {
        let size = self.tape.len();
        ensure!(size > 0, "an empty tape");
        let at = (self.frames % size as u64) as usize;
        if at == 0 {
            self.tape.wind(self.frames / size as u64)?;
        }
        let end = (at + most).min(size);
        out.extend_from_slice(self.tape.frames(at..end));
        let changes = self.tape.changes()[at..end]
            .iter()
            .filter(|change| **change);
        let count = (end - at) as u64;
        self.frames += count;
        Ok((count, changes.count() as u64))
    }
}

/// Trades that were made up: the next one's number.
pub struct Trades(pub u64);

impl Supply for Trades {
    fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(u64, u64)> {
        for _ in 0..most {
            push_trade(out, self.0);
            self.0 += 1;
        }
        Ok((most as u64, most as u64))
    }
}

/// Numbered messages of one size, for floors.
pub struct Numbered {
    /// The next one's number.
    pub next: u64,
    /// Bytes of a message.
    pub size: usize,
}

impl Supply for Numbered {
    fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(u64, u64)> {
        for _ in 0..most {
            let mut payload = format!("{{\"trade_id\":\"{}\",\"pad\":\"", self.next);
            let pad = self.size.saturating_sub(payload.len() + 2);
            payload.extend(std::iter::repeat_n('x', pad));
            payload.push_str("\"}");
            ws::push_frame(out, ws::TEXT, payload.as_bytes());
            self.next += 1;
        }
        Ok((most as u64, most as u64))
    }
}

/// What a flood brought.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Frames that were sent.
    pub frames: u64,
    /// Messages that were delivered, all clients together.
    pub delivered: u64,
    /// From the first byte sent to the last message delivered.
    pub seconds: f64,
}

impl Flooded {
    /// Messages delivered a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.delivered as f64 / self.seconds
    }
}

/// Sends as much as all clients together take: at most `window` messages a client are under way, so
/// that nothing has to be dropped. The first tenth of the time warms up and is not counted.
///
/// # Errors
/// When a client notices that something is wrong, or not all messages arrive.
pub fn flood(
    outlet: &Outlet,
    supply: &mut dyn Supply,
    crowd: &Crowd,
    window: u64,
    time: Duration,
) -> Result<Flooded> {
    let clients = crowd.size() as u64;
    let before = crowd.delivered();
    let (mut expected, mut frames) = (0u64, 0u64);
    let mut out = Vec::new();
    let mut start = Instant::now();
    let warm = start + time / 10;
    let end = start + time;
    let mut counted = None;
    let mut moved = (0, start);
    while Instant::now() < end {
        let delivered = crowd.delivered() - before;
        if counted.is_none() && Instant::now() > warm {
            start = Instant::now();
            counted = Some((delivered, frames));
        }
        if (expected + CHUNK as u64) * clients > delivered + window * clients {
            crowd.well()?;
            if moved.0 != delivered {
                moved = (delivered, Instant::now());
            }
            ensure!(
                moved.1.elapsed() < Duration::from_secs(10),
                "nothing arrives any more: {delivered} of {}",
                expected * clients
            );
            // Short against the time that a window lasts, and no core is taken from those measured.
            thread::sleep(Duration::from_micros(20));
            continue;
        }
        out.clear();
        let (sent, visible) = supply.next(&mut out, CHUNK)?;
        outlet.write(&out)?;
        frames += sent;
        expected += visible;
    }
    crowd.wait_for(before + expected * clients, Duration::from_secs(30))?;
    let seconds = start.elapsed().as_secs_f64();
    // Whatever is too much comes at once.
    thread::sleep(Duration::from_millis(50));
    let delivered = crowd.delivered() - before;
    ensure!(
        delivered == expected * clients,
        "{delivered} messages arrived, {} were due",
        expected * clients
    );
    let (delivered_before, frames_before) = counted.context("the time was too short")?;
    Ok(Flooded {
        frames: frames - frames_before,
        delivered: delivered - delivered_before,
        seconds,
    })
}

/// Sends each message when it is due; what is late goes out at once, together. Sleeps in between: the
/// sleep's own lateness, some 60 µs, is part of all latencies, bookwire's and the floors'.
///
/// Stops so long after the schedule's end even when not all could be sent, as the socket may be full.
/// Returns the number of the first message that was not sent.
///
/// # Errors
/// When the connection breaks.
pub fn paced(
    outlet: &Outlet,
    supply: &mut dyn Supply,
    schedule: &Schedule,
    end: u64,
    grace: Duration,
) -> Result<u64> {
    let mut next = schedule.first;
    let last = schedule.due(end) + grace;
    let mut out = Vec::new();
    while next < end {
        let now = Instant::now();
        if now > last {
            break;
        }
        let passed = now.saturating_duration_since(schedule.start).as_nanos();
        let due = schedule.first + (passed * u128::from(schedule.rate) / 1_000_000_000) as u64;
        let due = due.min(end);
        // The first is due at the very start.
        let count = (due + u64::from(due < end && now >= schedule.due(due))).saturating_sub(next);
        if count == 0 {
            thread::sleep(schedule.due(next).saturating_duration_since(now));
            continue;
        }
        out.clear();
        let (sent, _) = supply.next(&mut out, (count as usize).min(CHUNK))?;
        outlet.write(&out)?;
        next += sent;
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_messages_have_one_size() {
        let mut supply = Numbered { next: 9, size: 240 };
        let mut out = Vec::new();
        assert_eq!(supply.next(&mut out, 3).unwrap(), (3, 3));
        let mut frames = ws::Frames::default();
        frames.room()[..out.len()].copy_from_slice(&out);
        frames.filled(out.len());
        for number in 9..12 {
            let (_, payload) = frames.next_frame().unwrap().unwrap();
            assert_eq!(payload.len(), 240);
            let start = format!("{{\"trade_id\":\"{number}\"");
            assert!(payload.starts_with(start.as_bytes()));
        }
    }
}
