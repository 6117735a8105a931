//! What happened before the start: minute by minute a pure function of the seed, made when asked
//! for. A day's number of trades is fixed, so trade ids are known for any time without walking
//! there. A minute is a handful of [`Node`]s: bars sum them, trades split them, so both agree.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

use super::MarketConfig;
use super::event::{AggTrade, Side, Trade};
use super::funding::{E8, FundingRate, PremiumAverage, SAMPLE_SECS, interval_ms};
use super::instrument::{FundingTerms, InstrumentIx, Price, Qty};
use super::kline::{Bar, DAY_MINUTES, DAY_MS, MINUTE_MS};
use super::paths::{Coupling, PastFactors};
use super::rng::{Rng, Split};

const PURPOSE_WEIGHTS: u64 = 48;
const PURPOSE_MINUTE: u64 = 64;
const NODES_MAX: u64 = 6;
/// Days kept with their minutes, over all instruments.
const BLOCKS_KEPT: usize = 48;
/// Days kept with their hours, over all instruments.
const HOURS_KEPT: usize = 8_192;
const FUNDINGS_KEPT: usize = 16_384;
/// Sampling of the premium for settlements before the start.
const PAST_SAMPLE_MS: i64 = 300_000;

/// Some takers of one side at one price.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    price: i64,
    side: Option<Side>,
    takers: u64,
    trades: u64,
    qty: i64,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    bar: Bar,
    takers: u32,
    takers_before: u32,
    trades_before: u32,
}

/// One instrument's day.
#[derive(Debug)]
pub(super) struct Day {
    minutes: Vec<Minute>,
    /// Latent price at the 1441 minute marks, in ticks.
    latent: Vec<f64>,
    lots_mean: f64,
}

struct Past {
    coupling: Coupling,
    first_day: i64,
    /// First minute without history: of the start, or of the halt.
    end_minute: i64,
    halted: bool,
    daily: (u64, u64),
    /// Order value in ticks × lots.
    order_value: f64,
}

/// How history joins the live part.
#[derive(Clone, Copy, Debug)]
pub(super) struct PastEnd {
    pub(super) next_trade: u64,
    pub(super) next_agg: u64,
    /// The running minute so far.
    pub(super) running: Bar,
}

#[derive(Default)]
struct Cache {
    blocks: VecDeque<((u16, i64), Arc<Day>)>,
    hours: AHashMap<(u16, i64), Arc<[Bar; 24]>>,
    fundings: AHashMap<(u16, i64), FundingRate>,
}

pub(super) struct History {
    seed: u64,
    start_us: i64,
    factors: PastFactors,
    pasts: Vec<Past>,
    tick_e8: Vec<i64>,
    cache: Mutex<Cache>,
}

const FIRST_ID: u64 = 1_000_000;

impl History {
    pub(super) fn new(
        config: &MarketConfig,
        couplings: Vec<Coupling>,
        factors: PastFactors,
    ) -> Self {
        let past = |(coupling, listing): (Coupling, &super::Listing)| {
            let instrument = &listing.instrument;
            let end_ms = instrument
                .halt_ms
                .unwrap_or(config.start_ms)
                .min(config.start_ms);
            Past {
                coupling,
                first_day: instrument.list_ms.div_euclid(DAY_MS),
                end_minute: end_ms.div_euclid(MINUTE_MS),
                halted: instrument.halt_ms.is_some(),
                daily: listing.flow.daily,
                order_value: listing.flow.order_value
                    / (instrument.tick_f64() * instrument.lot_f64()),
            }
        };
        let tick = |listing: &super::Listing| listing.instrument.tick.padded(8).mantissa() as i64;
        Self {
            seed: config.seed,
            start_us: config.start_ms * 1_000,
            factors,
            tick_e8: config.listings.iter().map(tick).collect(),
            pasts: couplings
                .into_iter()
                .zip(&config.listings)
                .map(past)
                .collect(),
            cache: Mutex::default(),
        }
    }

    fn past(&self, ix: InstrumentIx) -> &Past {
        &self.pasts[usize::from(ix.0)]
    }

    pub(super) fn first_minute(&self, ix: InstrumentIx) -> i64 {
        self.past(ix).first_day * DAY_MINUTES
    }

    /// First minute that is not history.
    pub(super) fn end_minute(&self, ix: InstrumentIx) -> i64 {
        self.past(ix).end_minute
    }

    /// Id of the first trade and of the first taker of a day.
    fn first_ids(&self, ix: InstrumentIx, day: i64) -> (u64, u64) {
        let past = self.past(ix);
        let days = u64::try_from(day - past.first_day).unwrap_or(0);
        (
            FIRST_ID + days * past.daily.0,
            FIRST_ID + days * past.daily.1,
        )
    }

    /// The instrument's day, from the cache or made.
    fn day(&self, ix: InstrumentIx, day: i64) -> Arc<Day> {
        let key = (ix.0, day);
        let cached = {
            let cache = self.cache.lock();
            cache
                .blocks
                .iter()
                .find(|(at, _)| *at == key)
                .map(|(_, day)| day.clone())
        };
        if let Some(day) = cached {
            return day;
        }
        let made = Arc::new(self.make_day(ix, day));
        let mut cache = self.cache.lock();
        if cache.blocks.len() >= BLOCKS_KEPT {
            cache.blocks.pop_front();
        }
        cache.blocks.push_back((key, made.clone()));
        made
    }

    fn make_day(&self, ix: InstrumentIx, day: i64) -> Day {
        let past = self.past(ix);
        let latent = self.factors.day_ticks(&past.coupling, day, true);
        let mut rng = Rng::new(self.seed, PURPOSE_WEIGHTS + (u64::from(ix.0) << 16), day);
        // Activity of the minutes: busy spells of about a quarter of an hour.
        let mut mood = 0.0;
        let mut sum = 0.0;
        let ends: Vec<f64> = (0..DAY_MINUTES)
            .map(|_| {
                mood += -0.07 * mood + 0.2 * rng.normal();
                sum += (mood + 0.25 * rng.normal()).exp();
                sum
            })
            .collect();
        let (trades, takers) = past.daily;
        let lots_mean = (past.order_value / latent[0]).max(1.0);
        let mut made = Day {
            minutes: Vec::with_capacity(DAY_MINUTES as usize),
            latent,
            lots_mean,
        };
        let (first_trade, _) = self.first_ids(ix, day);
        let (mut takers_before, mut extra_before) = (0_u64, 0_u64);
        let mut close = (made.latent[0].round() as i64).max(1);
        for (at, end) in ends.iter().enumerate() {
            let until = |total: u64| match at + 1 == ends.len() {
                true => total,
                false => ((total as f64 * end / sum) as u64).min(total),
            };
            let takers_now = until(takers) - takers_before;
            // Trades beyond one a taker; without a taker they wait for the next minute.
            let extra_now = match takers_now {
                0 => 0,
                _ => until(trades - takers) - extra_before,
            };
            let minute = day * DAY_MINUTES + at as i64;
            let mut bar = Bar::flat(close);
            let mut id = first_trade + takers_before + extra_before;
            let (nodes, count) = self.nodes(ix, &made, minute, takers_now, extra_now);
            for node in &nodes[..count] {
                let side = node.side.unwrap_or(Side::Buy);
                bar.add(node.price, node.qty, side, id, node.trades);
                id += node.trades;
            }
            close = bar.close;
            made.minutes.push(Minute {
                bar,
                takers: takers_now as u32,
                takers_before: takers_before as u32,
                trades_before: (takers_before + extra_before) as u32,
            });
            takers_before += takers_now;
            extra_before += extra_now;
        }
        made
    }

    /// What a minute is made of.
    fn nodes(
        &self,
        ix: InstrumentIx,
        day: &Day,
        minute: i64,
        takers: u64,
        extra: u64,
    ) -> ([Node; NODES_MAX as usize], usize) {
        let mut nodes = [Node::default(); NODES_MAX as usize];
        let count = takers.min(NODES_MAX);
        let mut rng = Rng::new(self.seed, PURPOSE_MINUTE + (u64::from(ix.0) << 16), minute);
        let at = minute.rem_euclid(DAY_MINUTES) as usize;
        let (from, to) = (day.latent[at], day.latent[at + 1]);
        // Wiggle within the minute, of the size of a minute's own move.
        let wiggle = 0.35 * self.past(ix).coupling.daily_vol() * from / (DAY_MINUTES as f64).sqrt();
        for (n, node) in nodes.iter_mut().take(count as usize).enumerate() {
            let n = n as u64;
            let share = |total: u64| total / count + u64::from(n < total % count);
            let way = (n as f64 + 0.5) / count as f64;
            let side = if rng.chance(0.5) {
                Side::Buy
            } else {
                Side::Sell
            };
            let lean = if side == Side::Buy { 0.5 } else { -0.5 };
            let price = from + (to - from) * way + wiggle * rng.normal() + lean;
            let trades = share(takers) + share(extra);
            let size = (0.3 + 0.45 * rng.exponential()) * day.lots_mean * trades as f64;
            *node = Node {
                price: (price.round() as i64).max(1),
                side: Some(side),
                takers: share(takers),
                trades,
                qty: (size as i64).max(trades as i64),
            };
        }
        (nodes, count as usize)
    }

    /// Bar of a minute before [`History::end_minute`]; `None` before the listing.
    pub(super) fn minute(&self, ix: InstrumentIx, minute: i64) -> Option<Bar> {
        let past = self.past(ix);
        let day = minute.div_euclid(DAY_MINUTES);
        if day < past.first_day || minute >= past.end_minute {
            return None;
        }
        let at = minute.rem_euclid(DAY_MINUTES) as usize;
        Some(self.day(ix, day).minutes[at].bar)
    }

    /// Bar of a whole hour before [`History::end_minute`].
    pub(super) fn hour(&self, ix: InstrumentIx, hour: i64) -> Bar {
        let day = hour.div_euclid(24);
        let key = (ix.0, day);
        let cached = self.cache.lock().hours.get(&key).cloned();
        let hours = match cached {
            Some(hours) => hours,
            None => {
                let made = self.day(ix, day);
                let hours: [Bar; 24] = std::array::from_fn(|hour| {
                    let minutes = &made.minutes[hour * 60..(hour + 1) * 60];
                    let mut sum = minutes[0].bar;
                    minutes[1..].iter().for_each(|minute| sum.join(&minute.bar));
                    sum
                });
                let hours = Arc::new(hours);
                let mut cache = self.cache.lock();
                if cache.hours.len() >= HOURS_KEPT {
                    cache.hours.clear();
                }
                cache.hours.insert(key, hours.clone());
                hours
            }
        };
        hours[hour.rem_euclid(24) as usize]
    }

    /// The trades of a minute and their aggregates, up to the start.
    pub(super) fn trades(
        &self,
        ix: InstrumentIx,
        minute: i64,
        trades: &mut Vec<Trade>,
        aggs: &mut Vec<AggTrade>,
    ) {
        let past = self.past(ix);
        let day_at = minute.div_euclid(DAY_MINUTES);
        let last = past.end_minute - i64::from(past.halted);
        if day_at < past.first_day || minute > last {
            return;
        }
        let day = self.day(ix, day_at);
        let made = &day.minutes[minute.rem_euclid(DAY_MINUTES) as usize];
        let takers = u64::from(made.takers);
        let extra = made.bar.trades - takers;
        let (nodes, count) = self.nodes(ix, &day, minute, takers, extra);
        let mut rng = Rng::new(
            self.seed,
            PURPOSE_MINUTE + (u64::from(ix.0) << 16) + 1,
            minute,
        );
        let mut trade_id = made.bar.first_id;
        let mut agg_id = self.first_ids(ix, day_at).1 + u64::from(made.takers_before);
        let span_us = MINUTE_MS * 1_000 / count.max(1) as i64;
        for (n, node) in nodes[..count].iter().enumerate() {
            let from_us = minute * MINUTE_MS * 1_000 + span_us * n as i64;
            let mut split = Split {
                left: node.qty,
                parts: node.trades,
            };
            let takers = node.takers as i64;
            for taker in 0..takers {
                let slot = span_us / takers;
                let ts_us = from_us + slot * taker + rng.below(slot.max(1) as u64) as i64;
                if ts_us >= self.start_us {
                    return;
                }
                let extra = node.trades - node.takers;
                let parts =
                    1 + extra / node.takers + u64::from((taker as u64) < extra % node.takers);
                let taker_side = node.side.unwrap_or(Side::Buy);
                let price = Price(node.price);
                let first_trade_id = trade_id;
                let mut sum = 0;
                for _ in 0..parts {
                    let qty = split.next(&mut rng);
                    sum += qty;
                    trades.push(Trade {
                        id: trade_id,
                        price,
                        qty: Qty(qty),
                        taker_side,
                        ts_us,
                    });
                    trade_id += 1;
                }
                aggs.push(AggTrade {
                    id: agg_id,
                    first_trade_id,
                    last_trade_id: trade_id - 1,
                    price,
                    qty: Qty(sum),
                    taker_side,
                    ts_us,
                });
                agg_id += 1;
            }
        }
    }

    /// Where history ends and what the running minute has by then.
    pub(super) fn end(&self, ix: InstrumentIx) -> PastEnd {
        let past = self.past(ix);
        let minute = past.end_minute;
        let day_at = minute.div_euclid(DAY_MINUTES);
        let (mut next_trade, mut next_agg) = self.first_ids(ix, day_at);
        if day_at < past.first_day {
            return PastEnd {
                next_trade,
                next_agg,
                running: Bar::flat(1),
            };
        }
        let before = self.minute(ix, minute - 1);
        let day = self.day(ix, day_at);
        let opening = (day.latent[minute.rem_euclid(DAY_MINUTES) as usize].round() as i64).max(1);
        let made = &day.minutes[minute.rem_euclid(DAY_MINUTES) as usize];
        next_agg += u64::from(made.takers_before);
        next_trade += u64::from(made.trades_before);
        let mut running = Bar::flat(before.map_or(opening, |bar| bar.close));
        let (mut trades, mut aggs) = (Vec::new(), Vec::new());
        self.trades(ix, minute, &mut trades, &mut aggs);
        trades.iter().for_each(|trade| running.add_trade(trade));
        next_trade += trades.len() as u64;
        next_agg += aggs.len() as u64;
        PastEnd {
            next_trade,
            next_agg,
            running,
        }
    }

    /// The minute that holds a trade id (or, with `of_taker`, an aggregate's), clipped to history.
    pub(super) fn minute_of_id(&self, ix: InstrumentIx, id: u64, of_taker: bool) -> i64 {
        let past = self.past(ix);
        let per_day = if of_taker { past.daily.1 } else { past.daily.0 };
        let since = id.saturating_sub(FIRST_ID);
        let day_at = past.first_day + i64::try_from(since / per_day).unwrap_or(i64::MAX / 2);
        if day_at > past.end_minute.div_euclid(DAY_MINUTES) {
            return past.end_minute + 1;
        }
        let day = self.day(ix, day_at);
        let within = since % per_day;
        let at = day.minutes.partition_point(|minute| {
            let (before, count) = match of_taker {
                true => (minute.takers_before, u64::from(minute.takers)),
                false => (minute.trades_before, minute.bar.trades),
            };
            u64::from(before) + count <= within
        });
        day_at * DAY_MINUTES + at as i64
    }

    /// What the running funding interval has at the start.
    pub(super) fn running_premium(
        &self,
        ix: InstrumentIx,
        terms: &FundingTerms,
        start_ms: i64,
    ) -> PremiumAverage {
        let interval = interval_ms(terms);
        let from = start_ms.div_euclid(interval) * interval;
        self.premium(ix, from, start_ms, SAMPLE_SECS * 1_000)
    }

    fn premium(&self, ix: InstrumentIx, from: i64, to: i64, step_ms: i64) -> PremiumAverage {
        let coupling = &self.past(ix).coupling;
        let mut average = PremiumAverage::default();
        let mut at = from + step_ms;
        while at <= to {
            average.add((coupling.basis_at(at) * 1e8) as i64);
            at += step_ms;
        }
        average
    }

    /// The settlement at `ts_ms`, a multiple of the interval, before the start.
    pub(super) fn funding(
        &self,
        ix: InstrumentIx,
        terms: &FundingTerms,
        ts_ms: i64,
    ) -> FundingRate {
        let key = (ix.0, ts_ms);
        if let Some(known) = self.cache.lock().fundings.get(&key) {
            return *known;
        }
        // The day's latent prices are the work, so all its settlements are made at once.
        let interval = interval_ms(terms);
        let midnight = ts_ms.div_euclid(DAY_MS) * DAY_MS;
        let coupling = &self.past(ix).coupling;
        let latent = self
            .factors
            .day_ticks(coupling, midnight.div_euclid(DAY_MS), true);
        let make = |ts_ms: i64| {
            let average = self.premium(ix, ts_ms - interval, ts_ms, PAST_SAMPLE_MS);
            let ticks = latent[(ts_ms.rem_euclid(DAY_MS) / MINUTE_MS) as usize];
            let mark = (ticks * self.tick_e8[usize::from(ix.0)] as f64).round() as i64;
            FundingRate {
                ts_ms,
                rate: E8(average.rate(terms)),
                mark: E8(mark),
            }
        };
        let mut cache = self.cache.lock();
        if cache.fundings.len() >= FUNDINGS_KEPT {
            cache.fundings.clear();
        }
        for n in 0..DAY_MS / interval {
            let at = midnight + n * interval;
            cache.fundings.insert((ix.0, at), make(at));
        }
        make(ts_ms)
    }
}
