//! What a replay gathers of one symbol.

use std::collections::VecDeque;
use std::sync::Arc;

use super::report::SymbolReport;
use crate::book::sync::{DeltaOutcome, DesyncReason, SnapshotOutcome, SyncedBook};
use crate::event::{
    BookDelta, BookImage, BookLevel, BookSide, BookSnapshot, Ticker, Trade, TradeId,
};
use crate::exchange::Continuity;
use crate::instrument::Instrument;
use crate::kline::{KlineBuilder, TradeOutcome};
use crate::time::Level;

/// Best prices remembered until their delta comes: they are sent at once, deltas every 100 ms.
const AHEAD_TICKERS: usize = 4_096;

/// Trade ids remembered to tell a repeated trade from one that only came out of order.
const RECENT_TRADES: usize = 1_024;

pub(super) struct SymbolState {
    instrument: Arc<Instrument>,
    book: SyncedBook,
    bars: KlineBuilder,
    /// The kind that is counted: aggregates or single matches, whichever came first.
    is_aggregate: Option<bool>,
    recent_trades: VecDeque<TradeId>,
    newest_trade: Option<u64>,
    /// Sequence number of the last delta, when it is in the book.
    applied_seq: Option<u64>,
    /// Best prices that are newer than the book, oldest first.
    ahead: VecDeque<(u64, Ticker)>,
    volume: i128,
    updates: u64,
    gaps: u64,
    crossed: u64,
    checksum_failures: u64,
    trades: u64,
    trades_duplicate: u64,
    trades_other_kind: u64,
    trades_refused: u64,
    snapshots: u64,
    snapshots_too_old: u64,
    bbo_checks: u64,
    bbo_mismatches: u64,
    tickers: u64,
    pub(super) native_klines: u64,
    pub(super) funding: u64,
}

impl SymbolState {
    pub(super) fn new(instrument: Arc<Instrument>, rule: Continuity) -> Self {
        Self {
            instrument,
            book: SyncedBook::new(rule),
            // Recorded time has no "too late": each trade counts in its own minute.
            bars: KlineBuilder::new(Level::M1, i64::MAX),
            is_aggregate: None,
            recent_trades: VecDeque::new(),
            newest_trade: None,
            applied_seq: None,
            ahead: VecDeque::new(),
            volume: 0,
            updates: 0,
            gaps: 0,
            crossed: 0,
            checksum_failures: 0,
            trades: 0,
            trades_duplicate: 0,
            trades_other_kind: 0,
            trades_refused: 0,
            snapshots: 0,
            snapshots_too_old: 0,
            bbo_checks: 0,
            bbo_mismatches: 0,
            tickers: 0,
            native_klines: 0,
            funding: 0,
        }
    }

    pub(super) fn instrument(&self) -> &Instrument {
        &self.instrument
    }

    #[inline]
    pub(super) fn on_delta(&mut self, delta: &BookDelta<'_>) {
        self.updates += 1;
        match self.book.on_delta(delta) {
            DeltaOutcome::Applied => {
                // A delta can also complete a held snapshot that is newer than itself.
                let seq = self.book.seq();
                self.applied_seq = (seq == delta.last_seq).then_some(seq);
                self.compare_ahead(delta.last_seq);
            }
            DeltaOutcome::Ignored => {}
            DeltaOutcome::Buffered { .. } => self.applied_seq = None,
            DeltaOutcome::Desynced(reason) => self.desynced(reason),
        }
    }

    /// A whole book that came by the stream.
    pub(super) fn on_image(&mut self, image: &BookImage<'_>) {
        self.snapshots += 1;
        match self.book.on_image(image) {
            Ok(()) => {
                self.applied_seq = Some(image.seq);
                self.compare_ahead(image.seq);
            }
            Err(reason) => self.desynced(reason),
        }
    }

    /// The book can't be trusted any more, and the stream itself says so.
    pub(super) fn on_loss(&mut self, reason: DesyncReason) {
        if self.book.book().is_some() {
            self.book.desync(reason);
            self.desynced(reason);
        }
    }

    fn desynced(&mut self, reason: DesyncReason) {
        self.applied_seq = None;
        match reason {
            DesyncReason::Gap { .. } => self.gaps += 1,
            DesyncReason::Crossed => self.crossed += 1,
            DesyncReason::Checksum => self.checksum_failures += 1,
            _ => {}
        }
    }

    pub(super) fn on_snapshot(&mut self, snapshot: &BookSnapshot) {
        self.snapshots += 1;
        match self.book.on_snapshot(snapshot) {
            SnapshotOutcome::TooOld => self.snapshots_too_old += 1,
            SnapshotOutcome::Desynced(reason) => self.desynced(reason),
            SnapshotOutcome::Synced { replayed } if replayed > 0 => {
                self.applied_seq = Some(self.book.seq());
                self.compare_ahead(self.book.seq());
            }
            SnapshotOutcome::Synced { .. }
            | SnapshotOutcome::Waiting
            | SnapshotOutcome::Unexpected => {}
        }
    }

    #[inline]
    pub(super) fn on_trade(&mut self, trade: &Trade) {
        if *self.is_aggregate.get_or_insert(trade.is_aggregate) != trade.is_aggregate {
            self.trades_other_kind += 1;
            return;
        }
        let number = trade.trade_id.number();
        // A number beyond all others is new; anything else has to be looked up.
        let is_news = number > self.newest_trade;
        if !is_news && self.recent_trades.contains(&trade.trade_id) {
            self.trades_duplicate += 1;
            return;
        }
        self.newest_trade = self.newest_trade.max(number);
        if self.recent_trades.len() == RECENT_TRADES {
            self.recent_trades.pop_front();
        }
        self.recent_trades.push_back(trade.trade_id);
        self.trades += 1;
        self.volume += i128::from(trade.qty.0);
        if self.bars.on_trade(trade) != TradeOutcome::Counted {
            self.trades_refused += 1;
        }
    }

    /// A best bid and ask with the sequence number of the delta just applied must be the book's,
    /// whichever of the two comes first.
    #[inline]
    pub(super) fn on_ticker(&mut self, ticker: &Ticker) {
        self.tickers += 1;
        let Some(seq) = ticker.seq else { return };
        match self.applied_seq {
            Some(applied) if seq == applied => self.compare(ticker),
            Some(applied) if seq < applied => {}
            _ => {
                if self.ahead.len() == AHEAD_TICKERS {
                    self.ahead.pop_front();
                }
                self.ahead.push_back((seq, *ticker));
            }
        }
    }

    /// Compares the best prices that came before the delta just applied, and forgets older ones.
    #[inline]
    fn compare_ahead(&mut self, applied: u64) {
        while let Some((seq, ticker)) = self.ahead.front().copied() {
            if seq > applied {
                return;
            }
            self.ahead.pop_front();
            if seq == applied && self.applied_seq == Some(applied) {
                self.compare(&ticker);
            }
        }
    }

    fn compare(&mut self, ticker: &Ticker) {
        let Some(book) = self.book.book() else { return };
        self.bbo_checks += 1;
        let is_same = |side, told: BookLevel| match book.best(side) {
            Some(ours) => ours == told,
            None => told.qty.0 == 0,
        };
        if !is_same(BookSide::Bid, ticker.bid) || !is_same(BookSide::Ask, ticker.ask) {
            self.bbo_mismatches += 1;
        }
    }

    /// The code and the report.
    pub(super) fn finish(self, depth: usize) -> (String, SymbolReport) {
        let mut row = SymbolReport {
            synced: self.book.book().is_some(),
            updates: self.updates,
            gaps: self.gaps,
            crossed: self.crossed,
            checksum_failures: self.checksum_failures,
            trades: self.trades,
            trades_duplicate: self.trades_duplicate,
            trades_other_kind: self.trades_other_kind,
            trades_refused: self.trades_refused,
            volume: self.volume,
            snapshots: self.snapshots,
            snapshots_too_old: self.snapshots_too_old,
            epoch: self.book.epoch(),
            sequence: self.book.book().map(|_| self.book.seq()),
            tickers: self.tickers,
            bbo_checks: self.bbo_checks,
            bbo_mismatches: self.bbo_mismatches,
            native_klines: self.native_klines,
            funding: self.funding,
            bids: Vec::new(),
            asks: Vec::new(),
            klines_1m: self.bars.finish(),
            price_scale: self.instrument.price_scale,
            qty_scale: self.instrument.qty_scale,
        };
        if let Some(book) = self.book.book() {
            book.top(BookSide::Bid, depth, &mut row.bids);
            book.top(BookSide::Ask, depth, &mut row.asks);
        }
        (self.instrument.code.clone(), row)
    }
}
