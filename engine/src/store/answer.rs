//! What the readers of all stores need: cutting and sorting an answer, and finding what is missing.

use std::cmp::Ordering;

use super::{Order, Span, TimeWindow};
use crate::time::TsNanos;

/// Collects the rows of several entities and keeps only those that can be in the answer.
pub(super) struct Answer<R> {
    pub(super) rows: Vec<R>,
    compare: fn(&R, &R) -> Ordering,
    window: TimeWindow,
}

impl<R> Answer<R> {
    pub(super) fn new(window: TimeWindow, compare: fn(&R, &R) -> Ordering) -> Self {
        Self {
            rows: Vec::new(),
            compare,
            window,
        }
    }

    /// Sorts in the direction of the scan, which costs one pass when it is sorted already, and
    /// cuts to the limit.
    fn cut(&mut self) {
        let compare = self.compare;
        if self.window.is_scanned_backwards() {
            self.rows.sort_by(|a, b| compare(b, a));
        } else {
            self.rows.sort_by(compare);
        }
        self.rows.truncate(self.window.limit);
    }

    /// After an entity: bounded memory whatever the number of entities.
    pub(super) fn entity_done(&mut self) {
        if self.rows.len() > self.window.limit.saturating_mul(2) {
            self.cut();
        }
    }

    pub(super) fn finish(mut self) -> Vec<R> {
        self.cut();
        if self.window.is_scanned_backwards() && self.window.order == Order::Ascending {
            self.rows.reverse();
        }
        self.rows
    }
}

/// The direction in which a database scans for a window.
pub(super) fn direction(window: &TimeWindow) -> &'static str {
    if window.is_scanned_backwards() {
        "DESC"
    } else {
        "ASC"
    }
}

/// The parts of a span that promised ones leave open; these come by ascending start.
pub(super) struct Missing {
    at: i64,
    end: i64,
    gaps: Vec<Span>,
}

impl Missing {
    pub(super) fn of(span: Span) -> Self {
        Self {
            at: span.start.0,
            end: span.end.0,
            gaps: Vec::new(),
        }
    }

    pub(super) fn covered(&mut self, start: i64, end: i64) {
        self.gap(start.min(self.end));
        self.at = self.at.max(end);
    }

    fn gap(&mut self, until: i64) {
        if self.at < until {
            self.gaps.push(Span {
                start: TsNanos(self.at),
                end: TsNanos(until),
            });
        }
    }

    pub(super) fn finish(mut self) -> Vec<Span> {
        self.gap(self.end);
        self.gaps
    }
}
