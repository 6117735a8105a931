//! Rates and queues of a connection and its channels.

use std::rc::Rc;

use super::Outbox;
use crate::session::line::{Bucket, Line};
use crate::session::sub::{Entry, Queued};

/// Channels with limits of their own.
pub(super) const LINES_MAX: usize = 32;

impl Outbox {
    /// Sets the limits of the connection (`None`) or of a channel, which has a queue of its own from
    /// then on; what is left out stays as it is. Messages of a channel with a rate count for the
    /// connection's rate, too. The rates' allowances are renewed by [`Outbox::refill`].
    ///
    /// # Errors
    /// When too many channels have limits already: how many may.
    pub fn configure(
        &mut self,
        channel: Option<&str>,
        per_second: Option<u32>,
        messages: Option<usize>,
    ) -> Result<(), usize> {
        let Some(name) = channel else {
            if let Some(rate) = per_second {
                self.bucket = Bucket::new(rate);
            }
            if let Some(messages) = messages {
                self.limits.messages = messages;
                for line in &mut self.lines {
                    line.messages = line.own_messages.unwrap_or(messages);
                }
            }
            return Ok(());
        };
        if per_second.is_none() && messages.is_none() {
            return Ok(());
        }
        let index = match self.line_of(channel) {
            0 => self.split(name)?,
            index => index,
        };
        let line = &mut self.lines[index];
        if let Some(rate) = per_second {
            line.bucket = Bucket::new(rate);
        }
        if let Some(messages) = messages {
            line.own_messages = Some(messages);
            line.messages = messages;
        }
        Ok(())
    }

    /// Gives a channel a line of its own and moves there what waits for its subscriptions.
    fn split(&mut self, name: &str) -> Result<usize, usize> {
        if self.lines.len() > LINES_MAX {
            return Err(LINES_MAX);
        }
        let index = self.lines.len();
        let mut line = Line::new(Some(name.into()), self.limits.messages);
        let mut is_moved = vec![false; self.subs.len()];
        for (sub, is_moved) in self.subs.iter_mut().zip(&mut is_moved) {
            if let Some(sub) = sub
                && sub.spec.labels.channel.as_deref() == Some(name)
            {
                sub.line = index;
                *is_moved = true;
            }
        }
        let wanted = |entry: &Entry| match entry {
            Entry::Data(Queued { sub, .. }) | Entry::Flow(sub) => is_moved[*sub as usize],
            Entry::Gone | Entry::Note(_) => false,
        };
        for (order, entry) in self.lines[0].extract(wanted) {
            if matches!(entry, Entry::Data(_)) {
                line.live += 1;
                self.lines[0].live -= 1;
            }
            line.push(order, entry);
        }
        self.lines.push(line);
        self.number_tickets();
        Ok(index)
    }

    /// The line of a channel: its own, or the connection's.
    pub(super) fn line_of(&self, channel: Option<&str>) -> usize {
        let own = |line: &Line| channel.is_some() && line.channel.as_deref() == channel;
        self.lines.iter().position(own).unwrap_or(0)
    }

    /// Rate and queue in force for the connection or a channel.
    #[must_use]
    pub fn flow_of(&self, channel: Option<&str>) -> (u32, usize) {
        let line = &self.lines[self.line_of(channel)];
        let rate = match line.channel {
            Some(_) if line.bucket.is_limited() => line.bucket.rate(),
            _ => self.bucket.rate(),
        };
        (rate, line.messages)
    }

    /// Channels with limits of their own.
    pub fn channels(&self) -> impl Iterator<Item = Rc<str>> {
        self.lines.iter().filter_map(|line| line.channel.clone())
    }

    /// Renews the allowances of a tenth of a second; `tenth` counts them.
    pub fn refill(&mut self, tenth: u64) {
        self.bucket.refill(tenth);
        for line in &mut self.lines {
            line.bucket.refill(tenth);
        }
        self.ask_for_snapshots();
    }
}
