//! From market events to stream messages: what is told when.

use super::super::encode::{self, Times};
use super::super::rest;
use super::super::stream::{Bar, Kind, SymbolIx, Topic};
use super::super::tape::{Due, Next};
use super::{BarState, CHECK_MS, Core, Source, Symbol};
use crate::market::{
    Event, EventKind, Instrument, InstrumentIx, Interval, Kline, Segment, Status, TimeRange,
};
use crate::venue::is_due;

impl Core {
    /// Sends recorded messages that are due.
    pub(in crate::binance) fn play(&mut self, market: Segment) -> Next {
        let room = self.hub.room(market);
        let Some(tape) = self.venue.tapes.get_mut(&market) else {
            return Next::Never;
        };
        let mut due = Vec::new();
        let next = tape.take_due(room, &mut due);
        for message in due {
            self.publish_recorded(market, message);
        }
        next
    }

    fn publish_recorded(&mut self, market: Segment, message: Due) {
        let source = Source::Tape(message.symbol);
        let is_it = |s: &Symbol| s.market == market && s.source == source;
        let Some(at) = self.venue.symbols.iter().position(is_it) else {
            return;
        };
        // Whatever speed was recorded is what listeners of any speed get.
        let kinds: &[Kind] = match message.kind {
            Kind::Depth(_) => &[0, 100, 250, 500, 1_000].map(Kind::Depth),
            Kind::MarkPrice(_) => &[Kind::MarkPrice(1), Kind::MarkPrice(3)],
            ref kind => std::slice::from_ref(kind),
        };
        for kind in kinds {
            for micros in [false, true] {
                let symbol = Some(SymbolIx(at as u32));
                let topic = Topic {
                    market,
                    symbol,
                    kind: *kind,
                    micros,
                };
                if self.hub.is_wanted(&topic) {
                    let name = Some(self.venue.symbols[at].name.as_str());
                    self.hub
                        .publish(&mut self.faults, topic, name, message.body.clone());
                }
            }
        }
    }

    fn symbol_ix(&self, ix: InstrumentIx) -> Option<SymbolIx> {
        let it = self.market.instrument(ix)?;
        let at = self
            .venue
            .lookup
            .get(&(it.segment, it.symbol.to_lowercase()))
            .copied()?;
        let is_seeded = matches!(
            self.venue.symbols.get(at.0 as usize)?.source,
            Source::Market(_)
        );
        is_seeded.then_some(at)
    }

    /// Publishes one message of an instrument to whoever wants it.
    fn emit(
        &mut self,
        ix: InstrumentIx,
        kind: Kind,
        encode: impl Fn(&Self, &Instrument, Times) -> Option<String>,
    ) {
        let Some(at) = self.symbol_ix(ix) else { return };
        for micros in [false, true] {
            let Some(it) = self.market.instrument(ix) else {
                return;
            };
            let topic = Topic {
                market: it.segment,
                symbol: Some(at),
                kind,
                micros,
            };
            if !self.hub.is_wanted(&topic) {
                continue;
            }
            if let Some(body) = encode(self, it, Times { micros }) {
                self.hub
                    .publish(&mut self.faults, topic, Some(&it.symbol), body);
            }
        }
    }

    pub(super) fn tell(&mut self, event: &Event) {
        let (ix, ts_us) = (event.instrument, event.ts_us);
        let at = usize::from(ix.0);
        let Some(board) = self.venue.boards.get_mut(at) else {
            return;
        };
        match event.kind {
            EventKind::Book(change) => board.change(&change, ts_us),
            EventKind::Trade(trade) => {
                if let Some(second) = board.trade(&trade) {
                    self.emit_second(ix, second, ts_us);
                }
                self.emit(ix, Kind::Trade, |_, it, times| {
                    Some(encode::trade(it, &trade, ts_us, times))
                });
            }
            EventKind::AggTrade(agg) => {
                if self
                    .market
                    .instrument(ix)
                    .is_some_and(|it| it.segment == Segment::Linear)
                {
                    board.aggs.push(agg);
                } else {
                    self.emit(ix, Kind::AggTrade, |_, it, times| {
                        Some(encode::agg_trade(it, &agg, ts_us, times))
                    });
                }
            }
            EventKind::Bbo(bbo) => {
                board.touch_moves += 1;
                self.emit(ix, Kind::BookTicker, |_, it, _| {
                    Some(encode::book_ticker(it, &bbo, ts_us, ts_us))
                });
            }
            EventKind::Mark(premium) => {
                let every_third = premium.ts_ms.div_euclid(1_000) % 3 == 0;
                for kind in [Kind::MarkPrice(1), Kind::MarkPrice(3)] {
                    if kind == Kind::MarkPrice(1) || every_third {
                        self.emit(ix, kind, |_, it, _| {
                            Some(encode::mark_price(it, &premium, ts_us))
                        });
                    }
                }
            }
            EventKind::Fill(_) | EventKind::Funding(_) => {}
        }
    }

    fn emit_second(&mut self, ix: InstrumentIx, bar: Kline, event_us: i64) {
        self.emit(ix, Kind::Kline(Bar::Second), |_, it, times| {
            Some(encode::kline(it, &bar, "1s", event_us, times))
        });
    }

    pub(super) fn flush_depth(&mut self, at: usize, is_due: impl Fn(u16) -> bool) {
        let ix = InstrumentIx(at as u16);
        let event_us = self.now_ms() * 1_000;
        for n in 0..self.venue.boards[at].batches.len() {
            let batch = &self.venue.boards[at].batches[n];
            // Speed 0 means: with every step.
            if batch.is_empty() || !(batch.speed_ms == 0 || is_due(batch.speed_ms)) {
                continue;
            }
            let speed = batch.speed_ms;
            self.emit(ix, Kind::Depth(speed), |core, it, times| {
                core.venue.boards[at].batches[n].encode(it, event_us, times)
            });
            for levels in [5, 10, 20] {
                self.emit(ix, Kind::Partial(levels, speed), |core, it, times| {
                    let depth = core.market.depth(ix, usize::from(levels));
                    Some(match it.segment {
                        Segment::Spot => encode::snapshot(it, &depth, false),
                        Segment::Linear => encode::depth(
                            it,
                            &core.venue.boards[at].batches[n].span()?,
                            event_us,
                            times,
                            depth.bids.iter(),
                            depth.asks.iter(),
                        ),
                    })
                });
            }
            self.venue.boards[at].batches[n].clear();
        }
    }

    pub(super) fn flush_aggs(&mut self, at: usize) {
        let aggs = std::mem::take(&mut self.venue.boards[at].aggs);
        let event_us = self.now_ms() * 1_000;
        for agg in aggs {
            self.emit(InstrumentIx(at as u16), Kind::AggTrade, |_, it, times| {
                Some(encode::agg_trade(it, &agg, event_us, times))
            });
        }
    }

    /// Where a topic's data comes from, if it is the seeded market.
    fn seeded(&self, topic: &Topic) -> Option<InstrumentIx> {
        match self.venue.symbols.get(topic.symbol?.0 as usize)?.source {
            Source::Market(ix) => Some(ix),
            Source::Tape(_) => None,
        }
    }

    pub(super) fn bars(&mut self, now_ms: i64) {
        for at in 0..self.venue.boards.len() {
            if let Some(second) = self.venue.boards[at].end_second(now_ms) {
                self.emit_second(InstrumentIx(at as u16), second, now_ms * 1_000);
            }
        }
        let hub = &self.hub;
        self.venue.bars.retain(|topic, _| hub.is_wanted(topic));
        for topic in self
            .hub
            .wanted(|topic| matches!(topic.kind, Kind::Kline(Bar::Of(_))))
        {
            let (Kind::Kline(Bar::Of(interval)), Some(ix)) = (topic.kind, self.seeded(&topic))
            else {
                continue;
            };
            let board = &self.venue.boards[usize::from(ix.0)];
            let every_ms = if topic.market == Segment::Spot {
                2_000
            } else {
                250
            };
            let (trades, phase) = (board.trades, board.phase_ms);
            let open_ms = interval.open_of(now_ms);
            // A new listener hears of the running bar at the next slot, changed or not.
            let fresh = BarState {
                open_ms,
                trades: u64::MAX,
            };
            let state = self.venue.bars.entry(topic).or_insert(fresh);
            let ended = (open_ms > state.open_ms).then_some(state.open_ms);
            state.open_ms = open_ms;
            let is_slot = is_due(now_ms - CHECK_MS, now_ms, phase, every_ms);
            let is_news = is_slot && state.trades != trades;
            if is_news {
                state.trades = trades;
            }
            let running = is_news.then_some(open_ms);
            for open_ms in [ended, running].into_iter().flatten() {
                self.publish_bar(topic, ix, interval, open_ms, now_ms);
            }
        }
    }

    fn publish_bar(
        &mut self,
        topic: Topic,
        ix: InstrumentIx,
        interval: Interval,
        open_ms: i64,
        now_ms: i64,
    ) {
        let range = TimeRange {
            start_ms: Some(open_ms),
            end_ms: Some(open_ms),
            limit: 1,
        };
        let Some(bar) = self.market.klines(ix, interval, range).pop() else {
            return;
        };
        // Futures say nothing about a bar in which nothing happened.
        if topic.market == Segment::Linear && bar.trades == 0 {
            return;
        }
        let Some(it) = self.market.instrument(ix) else {
            return;
        };
        let times = Times {
            micros: topic.micros,
        };
        let body = encode::kline(it, &bar, interval.as_str(), now_ms * 1_000, times);
        self.hub
            .publish(&mut self.faults, topic, Some(&it.symbol), body);
    }

    pub(super) fn tickers(&mut self, before_ms: i64, now_ms: i64) {
        // Slots end on multiples of 50 ms: nothing to do in between.
        if !is_due(before_ms, now_ms, 0, CHECK_MS) {
            return;
        }
        let before_ms = now_ms - CHECK_MS;
        let event_us = now_ms * 1_000;
        let kinds = |t: &Topic| matches!(t.kind, Kind::Ticker | Kind::MiniTicker | Kind::AvgPrice);
        let arrays = |t: &Topic| t.symbol.is_none();
        for topic in self.hub.wanted(|t| kinds(t) || arrays(t)) {
            let times = Times {
                micros: topic.micros,
            };
            let Some(symbol) = topic.symbol else {
                let every_ms = match topic.kind {
                    Kind::MarkPrice(secs) => i64::from(secs) * 1_000,
                    Kind::BookTicker => 5_000,
                    _ => 1_000,
                };
                if is_due(before_ms, now_ms, 0, every_ms) {
                    self.publish_array(topic, event_us, times);
                }
                continue;
            };
            let Some(ix) = self.seeded(&topic) else {
                continue;
            };
            let phase = self.venue.boards[usize::from(ix.0)].phase_ms;
            let every_ms = if topic.market == Segment::Spot {
                1_000
            } else {
                2_000
            };
            if !is_due(before_ms, now_ms, phase, every_ms) {
                continue;
            }
            if let Some(body) = self.day_message(topic.kind, ix, event_us, times) {
                let name = &self.venue.symbols[symbol.0 as usize].name;
                self.hub.publish(&mut self.faults, topic, Some(name), body);
            }
        }
    }

    fn day_message(
        &self,
        kind: Kind,
        ix: InstrumentIx,
        event_us: i64,
        times: Times,
    ) -> Option<String> {
        let it = self.market.instrument(ix)?;
        Some(match kind {
            Kind::MiniTicker => encode::mini_ticker(it, &self.market.ticker(ix)?, event_us, times),
            Kind::Ticker => {
                let bbo = self.market.bbo(ix);
                encode::ticker(it, &self.market.ticker(ix)?, &bbo, event_us, times)
            }
            Kind::AvgPrice => {
                let (price, last_us) = rest::average_price(self, ix)?;
                format!(
                    "{{\"e\":\"avgPrice\",\"E\":{},\"s\":\"{}\",\"i\":\"5m\",\"w\":\"{price}\",\
                     \"T\":{}}}",
                    times.us(event_us),
                    it.symbol,
                    times.us(last_us)
                )
            }
            Kind::MarkPrice(_) => encode::mark_price(it, &self.market.premium_index(ix)?, event_us),
            Kind::BookTicker => encode::book_ticker(it, &self.market.bbo(ix), event_us, event_us),
            _ => return None,
        })
    }

    fn publish_array(&mut self, topic: Topic, event_us: i64, times: Times) {
        let trading: Vec<InstrumentIx> = self
            .listed(topic.market)
            .filter(|(_, it)| it.status == Status::Trading)
            .map(|(ix, _)| ix)
            .collect();
        let parts: Vec<String> = trading
            .into_iter()
            .filter_map(|ix| self.day_message(topic.kind, ix, event_us, times))
            .collect();
        if topic.kind == Kind::BookTicker {
            // This one sends one message for each symbol.
            for part in parts {
                self.hub.publish(&mut self.faults, topic, None, part);
            }
        } else {
            let body = format!("[{}]", parts.join(","));
            self.hub.publish(&mut self.faults, topic, None, body);
        }
    }
}
