//! Recorded messages as an endless stream of WebSocket frames: bytes that are made once, in which
//! each lap only renews the numbers, so that the sender costs next to nothing.
//!
//! A lap of changes of a book ends with one that takes the book back to the snapshot it began from;
//! the exchange's numbers go on from lap to lap without a hole.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::captures::Capture;
use crate::ws;

/// A number inside the bytes.
struct Number {
    at: usize,
    width: usize,
    start: u64,
    step: u64,
}

/// An endless stream.
pub struct Tape {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    numbers: Vec<Number>,
    /// Levels in a lap.
    pub levels: usize,
    /// For each frame of a lap, whether it changes the best `depth` levels of the book.
    changes: Vec<bool>,
    /// The sequence number after each frame of the first lap, of books alone.
    sequences: Vec<u64>,
    step: u64,
}

#[derive(Deserialize)]
struct Frame {
    data: Update,
}

#[derive(Deserialize)]
struct Update {
    #[serde(rename = "U")]
    first: u64,
    #[serde(rename = "u")]
    last: u64,
    b: Vec<[String; 2]>,
    a: Vec<[String; 2]>,
}

#[derive(Deserialize)]
struct Snapshot {
    #[serde(rename = "lastUpdateId")]
    last: u64,
    bids: Vec<[String; 2]>,
    asks: Vec<[String; 2]>,
}

type Side = BTreeMap<Decimal, Decimal>;

fn apply(side: &mut Side, levels: &[[String; 2]]) -> Result<()> {
    for [price, qty] in levels {
        let (price, qty) = (price.parse()?, qty.parse::<Decimal>()?);
        if qty.is_zero() {
            side.remove(&price);
        } else {
            side.insert(price, qty);
        }
    }
    Ok(())
}

fn best(bids: &Side, asks: &Side, depth: usize) -> [Vec<(Decimal, Decimal)>; 2] {
    let own = |(price, qty): (&Decimal, &Decimal)| (*price, *qty);
    [
        bids.iter().rev().take(depth).map(own).collect(),
        asks.iter().take(depth).map(own).collect(),
    ]
}

/// What makes `now` into `then`, as the exchange writes it.
fn way_back(now: &Side, then: &Side) -> Vec<String> {
    let gone = now.keys().filter(|price| !then.contains_key(price));
    let gone = gone.map(|price| format!("[\"{price:.8}\",\"0.00000000\"]"));
    let other = then
        .iter()
        .filter(|(price, qty)| now.get(*price) != Some(*qty));
    let other = other.map(|(price, qty)| format!("[\"{price:.8}\",\"{qty:.8}\"]"));
    gone.chain(other).collect()
}

impl Tape {
    fn push(&mut self, payload: &[u8]) -> usize {
        let start = ws::push_frame(&mut self.bytes, ws::TEXT, payload);
        self.ends.push(self.bytes.len());
        start
    }

    /// Remembers the number behind `key` in the frame whose payload starts there.
    fn number(&mut self, start: usize, key: &str, value: Option<u64>, step: u64) -> Result<()> {
        let payload = &self.bytes[start..];
        let found = payload
            .windows(key.len())
            .position(|at| at == key.as_bytes());
        let at = start + found.with_context(|| format!("no {key}"))? + key.len();
        let digits = self.bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let width = digits.count();
        let start = match value {
            Some(value) => value,
            None => std::str::from_utf8(&self.bytes[at..at + width])?.parse()?,
        };
        self.numbers.push(Number {
            at,
            width,
            start,
            step,
        });
        Ok(())
    }

    /// Changes of a book. `depth` are the levels a side whose changes [`Tape::changes`] counts.
    ///
    /// # Errors
    /// When the recording is none of spot books.
    pub fn depth(capture: &Capture, depth: usize) -> Result<Self> {
        let snapshot: Snapshot = serde_json::from_slice(&capture.snapshot)?;
        let (mut bids, mut asks) = (Side::new(), Side::new());
        apply(&mut bids, &snapshot.bids)?;
        apply(&mut asks, &snapshot.asks)?;
        let (first_bids, first_asks) = (bids.clone(), asks.clone());
        let mut tape = Self::empty();
        let mut top = best(&bids, &asks, depth);
        let mut last = snapshot.last;
        for payload in &capture.depth {
            let Update {
                first,
                last: end,
                b,
                a,
            } = serde_json::from_slice::<Frame>(payload)?.data;
            if end <= snapshot.last {
                continue;
            }
            ensure!(first <= last + 1, "a hole in the recording after {last}");
            apply(&mut bids, &b)?;
            apply(&mut asks, &a)?;
            let now = best(&bids, &asks, depth);
            tape.changes.push(now != top);
            top = now;
            tape.levels += b.len() + a.len();
            let start = tape.push(payload);
            tape.number(start, "\"U\":", Some(last + 1), 0)?;
            tape.number(start, "\"u\":", None, 0)?;
            tape.number(start, "\"E\":", None, 0)?;
            tape.sequences.push(end);
            last = end;
        }
        let (b, a) = (way_back(&bids, &first_bids), way_back(&asks, &first_asks));
        tape.levels += b.len() + a.len();
        tape.changes
            .push(best(&first_bids, &first_asks, depth) != top);
        let payload = format!(
            "{{\"stream\":\"{}\",\"data\":{{\"e\":\"depthUpdate\",\"E\":1723161900000,\
             \"s\":\"BTCUSDT\",\"U\":{id},\"u\":{id},\"b\":[{}],\"a\":[{}]}}}}",
            crate::fake::DEPTH,
            b.join(","),
            a.join(","),
            id = last + 1
        );
        let start = tape.push(payload.as_bytes());
        for key in ["\"U\":", "\"u\":", "\"E\":"] {
            tape.number(start, key, None, 0)?;
        }
        tape.sequences.push(last + 1);
        tape.step = last + 1 - snapshot.last;
        let times = tape.span();
        let ids = tape.step;
        for (index, number) in tape.numbers.iter_mut().enumerate() {
            number.step = if index % 3 == 2 { times } else { ids };
        }
        Ok(tape)
    }

    /// Trades.
    ///
    /// # Errors
    /// When the recording has none, or some are missing.
    pub fn trades(capture: &Capture) -> Result<Self> {
        let mut tape = Self::empty();
        for payload in &capture.trades {
            let start = tape.push(payload);
            for key in ["\"t\":", "\"T\":", "\"E\":"] {
                tape.number(start, key, None, 0)?;
            }
        }
        let ids: Vec<u64> = tape.numbers.iter().step_by(3).map(|id| id.start).collect();
        ensure!(!ids.is_empty(), "the recording has no trades");
        ensure!(
            ids.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "the recording lacks trades"
        );
        tape.changes = vec![true; ids.len()];
        tape.step = ids.len() as u64;
        let (times, ids) = (tape.span(), tape.step);
        for (index, number) in tape.numbers.iter_mut().enumerate() {
            number.step = if index % 3 == 0 { ids } else { times };
        }
        Ok(tape)
    }

    fn empty() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            numbers: Vec::new(),
            levels: 0,
            changes: Vec::new(),
            sequences: Vec::new(),
            step: 0,
        }
    }

    /// Milliseconds that a lap covers, on whole minutes so that bars begin where they began.
    fn span(&self) -> u64 {
        let times = self
            .numbers
            .iter()
            .skip(2)
            .step_by(3)
            .map(|time| time.start);
        let (least, most) = times.fold((u64::MAX, 0), |(least, most), time| {
            (least.min(time), most.max(time))
        });
        ((most - least) / 60_000 + 2) * 60_000
    }

    /// Frames of a lap.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of a lap.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a frame of a lap changes what a client sees.
    #[must_use]
    pub fn changes(&self) -> &[bool] {
        &self.changes
    }

    /// The exchange's sequence number after so many frames, of books.
    #[must_use]
    pub fn sequence(&self, frames: u64) -> u64 {
        let (lap, frame) = (
            (frames - 1) / self.len() as u64,
            (frames - 1) % self.len() as u64,
        );
        self.sequences[frame as usize] + lap * self.step
    }

    /// Renews all numbers for a lap, counted from 0.
    ///
    /// # Errors
    /// When a number gets longer than it was recorded.
    pub fn wind(&mut self, lap: u64) -> Result<()> {
        for number in &self.numbers {
            let mut value = number.start + lap * number.step;
            for digit in self.bytes[number.at..number.at + number.width]
                .iter_mut()
                .rev()
            {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
            ensure!(value == 0, "a number of lap {lap} needs more digits");
        }
        Ok(())
    }

    /// The bytes of some frames of the lap.
    #[must_use]
    pub fn frames(&self, range: std::ops::Range<usize>) -> &[u8] {
        let end = |frames: usize| frames.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[end(range.start)..end(range.end)]
    }
}

#[cfg(test)]
mod tests {
    use bookwire_engine::instrument::Market;

    use super::*;

    fn capture() -> Capture {
        let depth = |first: u64, last: u64, bids: &str, asks: &str| {
            format!(
                "{{\"stream\":\"btcusdt@depth@100ms\",\"data\":{{\"e\":\"depthUpdate\",\"E\":1723161255208,\
                 \"s\":\"BTCUSDT\",\"U\":{first},\"u\":{last},\"b\":[{bids}],\"a\":[{asks}]}}}}"
            )
            .into_bytes()
        };
        let trade = |id: u64| {
            format!(
                "{{\"stream\":\"btcusdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":1723161255343,\
                 \"s\":\"BTCUSDT\",\"t\":{id},\"p\":\"1.0\",\"q\":\"2.0\",\"T\":1723161255342,\"m\":true}}}}"
            )
            .into_bytes()
        };
        Capture {
            name: "made up",
            market: Market::Spot,
            symbol: "BTCUSDT",
            scales: (2, 5),
            depth: vec![
                depth(10090, 10099, "", ""),
                depth(10095, 10105, "[\"9.00000000\",\"1.00000000\"]", ""),
                depth(10106, 10106, "[\"5.00000000\",\"3.00000000\"]", ""),
                depth(10107, 10120, "[\"9.00000000\",\"0.00000000\"]", "[\"11.50000000\",\"2.00000000\"]"),
            ],
            trades: (500..510).map(trade).collect(),
            snapshot: br#"{"lastUpdateId":10100,"bids":[["10.0","1.0"],["9.5","1.0"]],"asks":[["11.0","4.0"]]}"#
                .to_vec(),
            levels: 4,
        }
    }

    fn payloads(tape: &Tape) -> Vec<serde_json::Value> {
        let bytes = tape.frames(0..tape.len());
        let mut frames = ws::Frames::default();
        frames.room()[..bytes.len()].copy_from_slice(bytes);
        frames.filled(bytes.len());
        let mut found = Vec::new();
        while let Some((_, payload)) = frames.next_frame().unwrap() {
            found.push(serde_json::from_slice(payload).unwrap());
        }
        found
    }

    #[test]
    fn a_books_numbers_go_on_from_lap_to_lap() {
        let mut tape = Tape::depth(&capture(), 2).unwrap();
        assert_eq!(tape.len(), 4);
        let mut last = 10_100;
        for lap in 0..3 {
            tape.wind(lap).unwrap();
            for (index, payload) in payloads(&tape).iter().enumerate() {
                let data = &payload["data"];
                assert_eq!(data["U"], last + 1, "{payload}");
                last = data["u"].as_u64().unwrap();
                assert_eq!(tape.sequence(lap * 4 + index as u64 + 1), last);
            }
        }
        assert_eq!(last, 10_100 + 3 * 21);
    }

    #[test]
    fn a_lap_ends_where_it_began() {
        let capture = capture();
        let tape = Tape::depth(&capture, 2).unwrap();
        let snapshot: Snapshot = serde_json::from_slice(&capture.snapshot).unwrap();
        let (mut bids, mut asks) = (Side::new(), Side::new());
        apply(&mut bids, &snapshot.bids).unwrap();
        apply(&mut asks, &snapshot.asks).unwrap();
        let start = (bids.clone(), asks.clone());
        let mut levels = 0;
        for payload in payloads(&tape) {
            let frame: Frame = serde_json::from_value(payload).unwrap();
            apply(&mut bids, &frame.data.b).unwrap();
            apply(&mut asks, &frame.data.a).unwrap();
            levels += frame.data.b.len() + frame.data.a.len();
        }
        assert_eq!((bids, asks), start);
        assert_eq!(levels, tape.levels);
        // A third bid is not among the best two; the ask of 11.5 is, until the way back.
        assert_eq!(tape.changes(), [false, false, true, true]);
    }

    #[test]
    fn trades_have_consecutive_numbers_and_later_times_in_each_lap() {
        let mut tape = Tape::trades(&capture()).unwrap();
        let mut last = (499, 0);
        for lap in 0..3 {
            tape.wind(lap).unwrap();
            for payload in payloads(&tape) {
                let id = payload["data"]["t"].as_u64().unwrap();
                let time = payload["data"]["T"].as_u64().unwrap();
                assert!(id == last.0 + 1 && time >= last.1, "{payload}");
                last = (id, time);
            }
        }
        let mut holey = capture();
        holey.trades.remove(3);
        assert!(Tape::trades(&holey).is_err());
    }
}
