//! What readers can ask for.

use rust_decimal::Decimal;

use crate::event::Side;
use crate::time::{Level, TsNanos};

/// Direction of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Which part of a series, and how it is sorted. The limit counts rows of all entities together.
///
/// With a start: the first `limit` rows of the asked order. Without: the latest `limit` rows, in
/// the asked order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// Earliest row, inclusive.
    pub start: Option<TsNanos>,
    /// Latest row, inclusive.
    pub end: Option<TsNanos>,
    /// Most rows.
    pub limit: usize,
    /// Direction.
    pub order: Order,
}

impl TimeWindow {
    /// The latest `limit` rows, oldest first.
    #[must_use]
    pub const fn latest(limit: usize) -> Self {
        Self {
            start: None,
            end: None,
            limit,
            order: Order::Ascending,
        }
    }

    /// Rows from `start` to `end`, both inclusive, oldest first.
    #[must_use]
    pub const fn between(start: TsNanos, end: TsNanos, limit: usize) -> Self {
        Self {
            start: Some(start),
            end: Some(end),
            limit,
            order: Order::Ascending,
        }
    }

    /// True when the newest rows come first out of the database: asked so, or because the latest
    /// are wanted.
    #[must_use]
    pub const fn is_scanned_backwards(&self) -> bool {
        self.start.is_none() || matches!(self.order, Order::Descending)
    }
}

/// Bars of entities of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KlineQuery {
    /// Source of the data.
    pub provider: String,
    /// Whose; unknown ones have no rows. A repeated one counts once.
    pub entity_ids: Vec<String>,
    /// Bar length.
    pub level: Level,
    /// Which; times are open times.
    pub window: TimeWindow,
}

/// Matches of entities of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradeQuery {
    /// Source of the data.
    pub provider: String,
    /// Whose; unknown ones have no rows. A repeated one counts once.
    pub entity_ids: Vec<String>,
    /// Which.
    pub window: TimeWindow,
    /// Only with this taker side.
    pub side: Option<Side>,
    /// Only of at least this quantity, base units.
    pub min_volume: Option<Decimal>,
}

/// Snapshots of books of entities of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookQuery {
    /// Source of the data.
    pub provider: String,
    /// Whose; unknown ones have no rows. A repeated one counts once.
    pub entity_ids: Vec<String>,
    /// Which.
    pub window: TimeWindow,
    /// Levels a side at most, from the best on.
    pub depth: usize,
}

/// Settled funding of entities of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FundingQuery {
    /// Source of the data.
    pub provider: String,
    /// Whose; unknown ones have no rows. A repeated one counts once.
    pub entity_ids: Vec<String>,
    /// Which; times are settlement times.
    pub window: TimeWindow,
    /// Only with this many hours between settlements.
    pub funding_interval_hours: Option<u32>,
}
