//! What one instrument's streams are made of between two messages: pending book changes per
//! speed, aggregates waiting for their slot, the running second.

use std::collections::BTreeMap;

use super::encode::{self, Row, Span, Times};
use crate::market::{
    AggTrade, BookChange, BookSide, Instrument, Kline, Notional, Price, Qty, Segment, Side, Trade,
};

/// Pending changes of the book for one update speed.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) speed_ms: u16,
    bids: BTreeMap<Price, Qty>,
    asks: BTreeMap<Price, Qty>,
    first: Option<u64>,
    last: u64,
    ts_us: i64,
    /// Last id of the message before.
    prev: u64,
}

impl Batch {
    fn new(speed_ms: u16, update_id: u64) -> Self {
        let (bids, asks) = (BTreeMap::new(), BTreeMap::new());
        Self {
            speed_ms,
            bids,
            asks,
            first: None,
            last: update_id,
            ts_us: 0,
            prev: update_id,
        }
    }

    fn add(&mut self, change: &BookChange, ts_us: i64) {
        self.first.get_or_insert(change.update_id);
        self.last = change.update_id;
        self.ts_us = ts_us;
        match change.side {
            BookSide::Bid => self.bids.insert(change.price, change.qty),
            BookSide::Ask => self.asks.insert(change.price, change.qty),
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn span(&self) -> Option<Span> {
        let first = self.first?;
        Some(Span {
            first,
            last: self.last,
            prev: self.prev,
            ts_us: self.ts_us,
        })
    }

    /// The message of what is pending.
    pub(super) fn encode(&self, it: &Instrument, event_us: i64, times: Times) -> Option<String> {
        let span = self.span()?;
        let mut bids: Vec<Row> = self.bids.iter().map(|(p, q)| (*p, *q)).collect();
        if encode::diff_bids_descend(it.segment) {
            bids.reverse();
        }
        let asks: Vec<Row> = self.asks.iter().map(|(p, q)| (*p, *q)).collect();
        Some(encode::depth(
            it,
            &span,
            event_us,
            times,
            bids.iter(),
            asks.iter(),
        ))
    }

    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            self.prev = self.last;
            self.first = None;
            self.bids.clear();
            self.asks.clear();
        }
    }
}

/// One instrument's pending messages.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) batches: Vec<Batch>,
    pub(super) aggs: Vec<AggTrade>,
    /// Trades so far: tells a changed bar from an unchanged one.
    pub(super) trades: u64,
    pub(super) touch_moves: u64,
    second: Option<Kline>,
    /// Spreads the slots of the instruments over time.
    pub(super) phase_ms: i64,
}

impl Board {
    pub(super) fn new(it: &Instrument, at: usize, update_id: u64) -> Self {
        let speeds: &[u16] = match it.segment {
            Segment::Spot => &[100, 1_000],
            Segment::Linear => &[0, 100, 250, 500],
        };
        Self {
            batches: speeds
                .iter()
                .map(|speed| Batch::new(*speed, update_id))
                .collect(),
            aggs: Vec::new(),
            trades: 0,
            touch_moves: 0,
            second: None,
            phase_ms: (at as i64 * 50) % 1_000,
        }
    }

    pub(super) fn change(&mut self, change: &BookChange, ts_us: i64) {
        for batch in &mut self.batches {
            batch.add(change, ts_us);
        }
    }

    /// Counts a trade in; returns the second that ended before it, if one was open.
    pub(super) fn trade(&mut self, trade: &Trade) -> Option<Kline> {
        self.trades += 1;
        let ended = self.end_second(trade.ts_us.div_euclid(1_000));
        let bar = self.second.get_or_insert_with(|| open_second(trade));
        add_trade(bar, trade);
        ended
    }

    /// The open second if it is over.
    pub(super) fn end_second(&mut self, now_ms: i64) -> Option<Kline> {
        let mut bar = self.second.take_if(|bar| bar.close_ms < now_ms)?;
        bar.is_closed = true;
        Some(bar)
    }
}

fn open_second(trade: &Trade) -> Kline {
    let open_ms = trade.ts_us.div_euclid(1_000_000) * 1_000;
    let price = trade.price;
    Kline {
        open_ms,
        close_ms: open_ms + 999,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: Qty(0),
        quote_volume: Notional(0),
        taker_buy_volume: Qty(0),
        taker_buy_quote: Notional(0),
        trade_ids: Some((trade.id, trade.id)),
        trades: 0,
        is_closed: false,
    }
}

fn add_trade(bar: &mut Kline, trade: &Trade) {
    let notional = trade.price.notional(trade.qty).0;
    bar.high = bar.high.max(trade.price);
    bar.low = bar.low.min(trade.price);
    bar.close = trade.price;
    bar.volume.0 += trade.qty.0;
    bar.quote_volume.0 += notional;
    if trade.taker_side == Side::Buy {
        bar.taker_buy_volume.0 += trade.qty.0;
        bar.taker_buy_quote.0 += notional;
    }
    bar.trade_ids = bar.trade_ids.map(|(first, _)| (first, trade.id));
    bar.trades += 1;
}

/// Bars of one second out of trades in time order. Only seconds with trades have one.
pub(super) fn seconds(trades: &[Trade], now_ms: i64) -> Vec<Kline> {
    let mut bars: Vec<Kline> = Vec::new();
    for trade in trades {
        let open_ms = trade.ts_us.div_euclid(1_000_000) * 1_000;
        if bars.last().is_none_or(|bar| bar.open_ms != open_ms) {
            bars.push(open_second(trade));
        }
        if let Some(bar) = bars.last_mut() {
            add_trade(bar, trade);
        }
    }
    for bar in &mut bars {
        bar.is_closed = bar.close_ms < now_ms;
    }
    bars
}
