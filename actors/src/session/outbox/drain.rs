//! The way out of an outbox: what leaves next, and how it is put together.

use bookwire_engine::time::TsNanos;
use bookwire_engine::wire;

use super::{ENTRY_BYTES, Outbox, SubKey};
use crate::session::sub::{Batch, Entry};

impl Outbox {
    /// Moves what is ready into `batch` until it holds `room` bytes or more.
    pub fn pull(&mut self, now: TsNanos, room: usize, batch: &mut Batch) {
        if self.is_closed {
            return;
        }
        batch.ping |= std::mem::take(&mut self.ping);
        while batch.frames.len() < room {
            let Some(message) = self.control.pop_front() else {
                break;
            };
            self.control_bytes -= message.len();
            self.release(message.len());
            batch.add_ready(&message);
        }
        if !self.control.is_empty() {
            return;
        }
        if let Some(close) = &self.closing {
            batch.close = Some(close.clone());
            self.is_closed = true;
            return;
        }
        while batch.frames.len() < room {
            let Some(line) = self.next_line() else { break };
            let Some(entry) = self.lines[line].pop() else {
                break;
            };
            self.write(line, entry, now, batch);
        }
        self.ask_for_snapshots();
    }

    /// The line whose turn it is: of those that may send, the one whose front has waited longest.
    pub(super) fn next_line(&self) -> Option<usize> {
        if !self.bucket.is_open() {
            return None;
        }
        let fronts = self.lines.iter().enumerate();
        fronts
            .filter_map(|(index, line)| Some((line.front()?, index)))
            .min()
            .map(|(_, index)| index)
    }

    /// Has the snapshots fetched that books need whose line has caught up.
    pub(super) fn ask_for_snapshots(&mut self) {
        if self.wanting == 0 {
            return;
        }
        for index in 0..self.subs.len() {
            let wants = self.subs[index]
                .as_ref()
                .is_some_and(|sub| sub.wants_snapshot && self.has_caught_up(sub.line));
            if let Some(Some(sub)) = self.subs.get_mut(index)
                && wants
            {
                sub.wants_snapshot = false;
                self.wanting -= 1;
                self.refresh.push(sub.spec.slot);
            }
        }
    }

    fn write(&mut self, line: usize, entry: Entry, now: TsNanos, batch: &mut Batch) {
        match entry {
            Entry::Gone => {}
            Entry::Note(message) => {
                self.notes -= 1;
                self.release(ENTRY_BYTES + message.len());
                batch.add_ready(&message);
            }
            Entry::Flow(index) => {
                self.release(ENTRY_BYTES);
                if let Some(sub) = self.sub_mut(SubKey(index)) {
                    sub.has_marker = false;
                    sub.tell_gap(batch);
                }
            }
            Entry::Data(queued) => {
                let Some(sub) = self.sub_mut(SubKey(queued.sub)) else {
                    return;
                };
                sub.tickets.pop_front();
                if sub.gap.is_some_and(|gap| gap.from_seq < queued.seq) {
                    sub.tell_gap(batch);
                }
                let timing = sub.spec.timing.then_some((queued.ts_recv, now));
                batch.add(|out| {
                    wire::message(out, &sub.prefix, queued.seq, &queued.body, timing);
                });
                let cost = sub.prefix.len() + queued.body.len();
                self.live -= 1;
                self.bytes -= cost;
                self.release(ENTRY_BYTES);
                self.bucket.take();
                self.lines[line].live -= 1;
                self.lines[line].bucket.take();
                self.written.pulled(queued.read_at, queued.taken_at);
                self.written.meter().sent.add(1);
                self.stats.sent += 1;
            }
        }
    }
}
