//! Answers with closed bars that are given again, as bytes, until one of their bars changes.
//!
//! A closed bar hardly ever changes, and clients ask for the same ones again and again. An answer is kept
//! when the store has promised all of its range; before it is given again, the recorder's changes tell
//! whether anything was written that it depends on. Where readers see what is written at a time that
//! nobody knows (QuestDB), nothing is kept.

use std::collections::HashMap;

use bookwire_actors::recorder::{Bars, Changes};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::store::{KlineRow, Order, TimeWindow};
use bookwire_engine::time::{Level, TsNanos};
use parking_lot::Mutex;

use super::answer::{Listing, Shape};
use super::series::SeriesRequest;

/// What an answer takes besides its bytes.
const OVERHEAD: usize = 512;

/// What was asked, all that decides about the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    provider: ProviderId,
    entity_ids: Vec<String>,
    level: Level,
    start: Option<TsNanos>,
    end: Option<TsNanos>,
    is_descending: bool,
    shape: Shape,
    /// Up to where bars are over, for questions that reach beyond it.
    settled: Option<TsNanos>,
}

impl Question {
    /// The question of a request; `settled`: up to where bars are over now.
    pub(super) fn of(
        request: &SeriesRequest,
        level: Level,
        shape: &Shape,
        settled: TsNanos,
    ) -> Self {
        let TimeWindow {
            start, end, order, ..
        } = request.window;
        Self {
            provider: request.provider,
            entity_ids: request.entity_ids(),
            level,
            start,
            end,
            is_descending: order == Order::Descending,
            shape: shape.clone(),
            settled: end.is_none_or(|end| end >= settled).then_some(settled),
        }
    }

    /// The bars that an answer out of `rows` depends on: those of the query, the ones before the first row
    /// included.
    pub(super) fn bars(&self, rows: &[KlineRow]) -> Bars {
        let asked = self.shape.limit.saturating_add(self.entity_ids.len());
        let step = self.level.nanos();
        let oldest = rows.iter().map(|row| row.ts).min();
        // A single series whose bar before the first one is there depends on nothing older.
        let first = match (self.start, oldest) {
            (Some(start), Some(oldest)) if oldest < start && self.entity_ids.len() == 1 => oldest,
            (None, Some(oldest)) if rows.len() >= asked && self.entity_ids.len() == 1 => oldest,
            _ => TsNanos(i64::MIN),
        };
        Bars {
            provider: self.provider.name().to_owned(),
            entity_ids: self.entity_ids.clone(),
            level: self.level,
            first: TsNanos(first.0.saturating_sub(step)),
            last: self.end.unwrap_or(TsNanos(i64::MAX)),
        }
    }
}

#[derive(Debug)]
struct Kept {
    listing: Listing,
    bars: Bars,
    mark: u64,
    /// When it was asked for last, in uses of the whole.
    used: u64,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Question, Kept>,
    bytes: usize,
    uses: u64,
}

/// The answers, shared by all workers.
#[derive(Debug)]
pub struct KeptAnswers {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

impl KeptAnswers {
    /// Room for so many bytes; 0: nothing is kept.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
        }
    }

    /// Whether anything is kept at all.
    pub(super) const fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// The answer to a question, when it is there and still right.
    pub(super) fn get(&self, question: &Question, changes: &Changes) -> Option<Listing> {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let uses = inner.uses;
        let kept = inner.answers.get_mut(question)?;
        if let Some(mark) = changes.unchanged(kept.mark, &kept.bars) {
            (kept.mark, kept.used) = (mark, uses);
            return Some(kept.listing.clone());
        }
        inner.remove(question);
        None
    }

    /// Keeps an answer out of what the store had at `mark`. Others that were not asked for longest go.
    pub(super) fn put(&self, question: Question, listing: &Listing, bars: Bars, mark: u64) {
        let size = listing.body().len() + OVERHEAD;
        if size > self.bytes_max / 4 || listing.is_empty() || !listing.facts().warnings.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        inner.remove(&question);
        while inner.bytes + size > self.bytes_max {
            let oldest = inner.answers.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(question, _)| question.clone()) else {
                break;
            };
            inner.remove(&oldest);
        }
        inner.bytes += size;
        inner.uses += 1;
        let kept = Kept {
            listing: listing.clone(),
            bars,
            mark,
            used: inner.uses,
        };
        inner.answers.insert(question, kept);
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

impl Inner {
    fn remove(&mut self, question: &Question) {
        if let Some(kept) = self.answers.remove(question) {
            self.bytes -= kept.listing.body().len() + OVERHEAD;
        }
    }
}
