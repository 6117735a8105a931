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

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    provider: ProviderId,
    entity_ids: Vec<String>,
    level: Level,
    start: Option<TsNanos>,
    end: Option<TsNanos>,
    is_descending: bool,
    shape: Shape,
}

/// What was asked, and when where that matters: all that decides about the answer.
#[derive(Clone, Debug)]
pub(super) struct Question {
    asked: Asked,
    /// Up to where bars are over, for questions that reach beyond it. The same one asked later has another
    /// answer, which takes the place of this one.
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
        let asked = Asked {
            provider: request.provider,
            entity_ids: request.entity_ids(),
            level,
            start,
            end,
            is_descending: order == Order::Descending,
            shape: shape.clone(),
        };
        Self {
            asked,
            settled: end.is_none_or(|end| end >= settled).then_some(settled),
        }
    }

    /// The bars that an answer out of `rows` depends on: those of the query, the ones before the first row
    /// included.
    pub(super) fn bars(&self, rows: &[KlineRow]) -> Bars {
        let of = &self.asked;
        let asked = of.shape.limit.saturating_add(of.entity_ids.len());
        let step = of.level.nanos();
        let oldest = rows.iter().map(|row| row.ts).min();
        // A single series whose bar before the first one is there depends on nothing older.
        let first = match (of.start, oldest) {
            (Some(start), Some(oldest)) if oldest < start && of.entity_ids.len() == 1 => oldest,
            (None, Some(oldest)) if rows.len() >= asked && of.entity_ids.len() == 1 => oldest,
            _ => TsNanos(i64::MIN),
        };
        Bars {
            provider: of.provider.name().to_owned(),
            entity_ids: of.entity_ids.clone(),
            level: of.level,
            first: TsNanos(first.0.saturating_sub(step)),
            last: of.end.unwrap_or(TsNanos(i64::MAX)),
        }
    }
}

#[derive(Debug)]
struct Kept {
    settled: Option<TsNanos>,
    listing: Listing,
    bars: Bars,
    mark: u64,
    /// When it was asked for last, in uses of the whole.
    used: u64,
}

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Asked, Kept>,
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
        let kept = inner.answers.get_mut(&question.asked)?;
        if kept.settled == question.settled
            && let Some(mark) = changes.unchanged(kept.mark, &kept.bars)
        {
            (kept.mark, kept.used) = (mark, uses);
            return Some(kept.listing.clone());
        }
        inner.remove(&question.asked);
        None
    }

    /// Keeps an answer out of what the store had at `mark`. Others that were not asked for longest go.
    pub(super) fn put(&self, question: Question, listing: &Listing, bars: Bars, mark: u64) {
        let size = listing.body().len() + OVERHEAD;
        if size > self.bytes_max / 4 || listing.is_empty() || !listing.facts().warnings.is_empty() {
            return;
        }
        let Question { asked, settled } = question;
        let mut inner = self.inner.lock();
        inner.remove(&asked);
        while inner.bytes + size > self.bytes_max {
            let oldest = inner.answers.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(asked, _)| asked.clone()) else {
                break;
            };
            inner.remove(&oldest);
        }
        inner.bytes += size;
        inner.uses += 1;
        let kept = Kept {
            settled,
            listing: listing.clone(),
            bars,
            mark,
            used: inner.uses,
        };
        inner.answers.insert(asked, kept);
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

impl Inner {
    fn remove(&mut self, asked: &Asked) {
        if let Some(kept) = self.answers.remove(asked) {
            self.bytes -= kept.listing.body().len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bookwire_engine::store::Entity;
    use bookwire_engine::wire::{Columns, KlineView, Numbers};

    use super::super::answer::Format;
    use super::*;

    fn question(settled: i64) -> Question {
        Question {
            asked: Asked {
                provider: ProviderId::BINANCE,
                entity_ids: vec!["cryptopair_binance_btcusdt".to_owned()],
                level: Level::M1,
                start: None,
                end: None,
                is_descending: true,
                shape: Shape {
                    limit: 1,
                    page: 1,
                    page_size: 1,
                    format: Format::Json,
                    numbers: Numbers::String,
                    columns: None,
                    is_bare: false,
                },
            },
            settled: Some(TsNanos(settled)),
        }
    }

    fn listing(question: &Question, close: i64) -> Listing {
        let row = KlineRow {
            entity: Arc::new(Entity {
                provider: "binance".to_owned(),
                entity_id: "cryptopair_binance_btcusdt".to_owned(),
                code: "btcusdt".to_owned(),
            }),
            level: Level::M1,
            ts: TsNanos(0),
            open: 1.into(),
            high: 9.into(),
            low: 1.into(),
            close: close.into(),
            volume_base: 1.into(),
            volume_quote: None,
            trade_count: None,
        };
        let view = |row| KlineView {
            row,
            name: "",
            previous_close: None,
        };
        let columns = Columns::all();
        Listing::encode(&question.asked.shape, &columns, &[row], view, Vec::new())
    }

    /// A question that reaches up to the present has another answer each minute: who keeps all of them
    /// fills its room with what nobody asks for again.
    #[test]
    fn the_answer_of_now_takes_the_place_of_the_one_before() {
        let kept = KeptAnswers::new(1 << 20);
        let changes = Changes::default();
        let mut bytes = 0;
        for minute in 1..=3 {
            let question = question(minute);
            assert!(kept.get(&question, &changes).is_none(), "{minute}");
            let answer = listing(&question, minute);
            let bars = question.bars(&[]);
            kept.put(question.clone(), &answer, bars, changes.mark());
            let found = kept.get(&question, &changes).expect("it is kept");
            assert_eq!(found.body(), answer.body());
            if minute > 1 {
                assert_eq!(kept.bytes(), bytes);
            }
            bytes = kept.bytes();
        }
    }
}
