//! A seeded, deterministic market: order flow into a matching engine with price-time priority,
//! and everything a venue tells about it. Book, trades, bars, tickers, mark prices and funding
//! come from the same matches and therefore agree.
//!
//! Start reading at [`Market`]. Time is virtual: [`Market::advance`] moves it, nothing here reads
//! a clock. The same seed and the same orders at the same times give the same events, however
//! `advance` is cut into steps. (Exact on one platform: the latent prices use the platform's
//! `exp`, `ln` and `sin`.)
//!
//! Floats live in the model of the crowd only; prices and quantities are whole ticks and lots
//! ([`Price`], [`Qty`]) and print exactly through [`Instrument`].

mod catalog;
mod desk;
mod event;
mod filler;
mod fixed;
mod flow;
mod funding;
mod history;
mod instrument;
mod kline;
mod matching;
mod paths;
mod query;
mod rng;
#[cfg(test)]
mod tests;
mod trade;

pub use catalog::{AssetSpec, FlowSpec, Listing, assets, listings};
pub use desk::{NewOrder, OpenOrder, OrderKind, OrderReject, OrderReport, TimeInForce};
pub use event::{
    AggTrade, Bbo, BookChange, BookSide, Event, EventKind, Fill, OrderId, OwnerId, Side, Ticker24h,
    Trade,
};
pub use filler::{FILLERS_MAX, filler, fillers};
pub use fixed::{Fixed, StepError};
pub use funding::{E8, FundingRate, NextFunding, PremiumIndex};
pub use instrument::{
    Contract, FundingTerms, Instrument, InstrumentIx, Notional, Price, Qty, Segment, Status,
};
pub use kline::{Interval, Kline, TimeRange};
pub use query::Depth;

use history::History;
use paths::{Basis, Coupling, LiveFactors, PastFactors};

/// What market to make.
#[derive(Clone, Debug)]
pub struct MarketConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Where market time starts, Unix ms. Trading starts at once; history lies before it.
    pub start_ms: i64,
    /// Multiplier of the event rates; 1 gives some 800 book changes and 250 trades a second in all.
    pub intensity: f64,
    /// Most trades, and most aggregates, kept per instrument.
    pub trades_kept: usize,
    /// Minute bars since the start kept per instrument; older ones stay as days only.
    pub minutes_kept: usize,
    /// Priced assets.
    pub assets: Vec<AssetSpec>,
    /// Instruments.
    pub listings: Vec<Listing>,
}

impl MarketConfig {
    /// The standard listing with a year of history.
    #[must_use]
    pub fn standard(seed: u64, start_ms: i64) -> Self {
        Self {
            seed,
            start_ms,
            intensity: 1.0,
            trades_kept: 20_000,
            minutes_kept: 7 * 1_440,
            assets: assets(),
            listings: listings(start_ms, 365),
        }
    }
}

/// Why a market cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarketError {
    /// An instrument names an asset that is not there.
    #[error("{symbol}: asset {asset} is not configured")]
    UnknownAsset {
        /// The instrument.
        symbol: String,
        /// Index into the assets.
        asset: usize,
    },
    /// A number outside what the model can work with.
    #[error("{what} out of range")]
    OutOfRange {
        /// Which.
        what: String,
    },
}

/// One instrument at work.
struct Stall {
    desk: desk::Desk,
    /// `None` for a halted instrument.
    flow: Option<flow::Flow>,
    mark: Option<funding::MarkPrice>,
    /// The spot instrument of the same pair, for the index.
    spot: Option<usize>,
    /// Ticks to 10⁻⁸ of the quote asset.
    tick_e8: i64,
    coupling: Coupling,
}

/// The market.
pub struct Market {
    config: MarketConfig,
    instruments: Vec<Instrument>,
    stalls: Vec<Stall>,
    factors: LiveFactors,
    history: History,
    now_us: i64,
    next_step_us: i64,
    next_second_us: i64,
}

const SECOND_US: i64 = 1_000_000;
/// Value whose average price is the impact price, in quote units: the venue uses 200 USDT over
/// the initial margin rate at the highest leverage, some 10 000 to 25 000 USDT.
const IMPACT_VALUE: i64 = 10_000;
const PURPOSE_JUMPS: u64 = 32;
const PURPOSE_IDS: u64 = 33;

impl Market {
    /// Makes a market that stands at `config.start_ms` with full books.
    ///
    /// # Errors
    /// When the configuration names an unknown asset or a number is out of range.
    pub fn new(config: MarketConfig) -> Result<Self, MarketError> {
        check(&config)?;
        let instruments: Vec<Instrument> = config
            .listings
            .iter()
            .map(|listing| listing.instrument.clone())
            .collect();
        let start_us = config.start_ms * 1_000;
        let factors = config.assets.len() + 1;
        let first_ms = instruments
            .iter()
            .map(|it| it.list_ms)
            .min()
            .unwrap_or(config.start_ms);
        let past = PastFactors::new(config.seed, factors, first_ms, config.start_ms);
        let couplings: Vec<Coupling> = config
            .listings
            .iter()
            .zip(0_u16..)
            .map(|(listing, ix)| {
                let delivery_ms = match listing.instrument.contract {
                    Contract::Delivery { delivery_ms } => Some(delivery_ms),
                    _ => None,
                };
                let basis = Basis::new(config.seed, ix, listing.flow.basis_bp, delivery_ms);
                let tick = listing.instrument.tick_f64();
                Coupling::new(&config.assets, &listing.flow, tick, basis)
            })
            .collect();
        let history = History::new(&config, couplings.clone(), past);
        let mut market = Self {
            stalls: Vec::with_capacity(instruments.len()),
            factors: LiveFactors::new(config.seed, factors),
            instruments,
            history,
            now_us: start_us,
            next_step_us: (start_us.div_euclid(paths::STEP_US) + 1) * paths::STEP_US,
            next_second_us: (start_us.div_euclid(SECOND_US) + 1) * SECOND_US,
            config,
        };
        let mut ignored = Vec::new();
        for (at, coupling) in couplings.into_iter().enumerate() {
            let stall = market.open_stall(at, coupling, &mut ignored);
            market.stalls.push(stall);
        }
        for at in 0..market.stalls.len() {
            market.open_mark(at);
        }
        Ok(market)
    }

    fn open_stall(&self, at: usize, coupling: Coupling, ignored: &mut Vec<Event>) -> Stall {
        let ix = InstrumentIx(at as u16);
        let instrument = &self.instruments[at];
        let seed = self.config.seed;
        let past_end = self.history.end(ix);
        let mut ids = rng::Rng::new(seed, PURPOSE_IDS, at as i64);
        let first_ids = desk::FirstIds {
            update: 1_000_000_000 + ids.below(40_000_000_000),
            trade: past_end.next_trade,
            agg: past_end.next_agg,
            order: 10_000_000 + ids.below(20_000_000_000),
        };
        let bars = kline::LiveBars::new(
            self.config.start_ms.div_euclid(kline::MINUTE_MS),
            past_end.running,
            self.config.minutes_kept,
        );
        let jumps = rng::Rng::new(seed, PURPOSE_JUMPS, at as i64);
        let kept = self.config.trades_kept;
        let mut desk = desk::Desk::new(ix, instrument, first_ids, bars, kept, jumps);
        let flow = (instrument.status == Status::Trading).then(|| {
            let mut spec = self.config.listings[at].flow.clone();
            spec.rate *= self.config.intensity;
            let mut flow = flow::Flow::new(seed, ix, instrument, spec, &coupling);
            flow.set_fair(coupling.live_ticks(&self.factors, self.config.start_ms));
            flow.fill_book(&mut desk, self.now_us, ignored);
            ignored.clear();
            flow.schedule(self.now_us, 1.0);
            flow
        });
        let tick = instrument.tick;
        let tick_e8 = tick.padded(8).mantissa() as i64;
        let spot = self.instruments.iter().position(|other| {
            other.segment == Segment::Spot
                && other.status == Status::Trading
                && other.symbol == instrument.pair
        });
        Stall {
            desk,
            flow,
            mark: None,
            spot,
            tick_e8,
            coupling,
        }
    }

    fn open_mark(&mut self, at: usize) {
        let instrument = &self.instruments[at];
        if instrument.segment == Segment::Spot || instrument.status != Status::Trading {
            return;
        }
        let terms = match instrument.contract {
            Contract::Perpetual(terms) => Some(terms),
            _ => None,
        };
        let start_ms = self.config.start_ms;
        let average = terms.as_ref().map(|terms| {
            self.history
                .running_premium(InstrumentIx(at as u16), terms, start_ms)
        });
        let index = self.index(at);
        let average = average.unwrap_or_default();
        self.stalls[at].mark = Some(funding::MarkPrice::new(terms, average, start_ms, index));
    }

    /// Changes the multiplier of the event rates ([`MarketConfig::intensity`]) from now on; what is
    /// due already stays due. Numbers outside 0.001 to 10 000 are brought inside.
    pub fn set_intensity(&mut self, intensity: f64) {
        let intensity = intensity.clamp(0.001, 10_000.0);
        let listings = self.config.listings.iter();
        for (stall, listing) in self.stalls.iter_mut().zip(listings) {
            if let Some(flow) = stall.flow.as_mut() {
                flow.set_rate(listing.flow.rate * intensity);
            }
        }
    }

    /// Market time, Unix µs.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// Market time, Unix ms.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1_000)
    }

    /// Moves market time to `to_ms` and appends what happened, in time order. Time never goes
    /// back: an earlier `to_ms` does nothing. A long jump is worked through event by event (about
    /// a million market events a second of work), so slice it if `events` may not grow that much.
    pub fn advance(&mut self, to_ms: i64, events: &mut Vec<Event>) {
        while self.advance_to_fill(to_ms, events) {}
    }

    /// As [`Market::advance`], but stops as soon as an account's order was executed, so that the
    /// account can react before time goes on. Returns whether it stopped on the way.
    pub fn advance_to_fill(&mut self, to_ms: i64, events: &mut Vec<Event>) -> bool {
        let to_us = to_ms.saturating_mul(1_000);
        while let Some(at) = self.next_due(to_us) {
            match at {
                Due::Step => self.step(),
                Due::Second => self.second(events),
                Due::Flow(at) => {
                    let from = events.len();
                    let stall = &mut self.stalls[at];
                    if let Some(flow) = stall.flow.as_mut() {
                        self.now_us = flow.next_us;
                        flow.act(&mut stall.desk, self.now_us, events);
                        flow.schedule(self.now_us, self.factors.activity());
                    }
                    let is_fill = |event: &Event| matches!(event.kind, EventKind::Fill(_));
                    if events.iter().skip(from).any(is_fill) {
                        return true;
                    }
                }
            }
        }
        self.now_us = self.now_us.max(to_us);
        false
    }

    fn next_due(&self, to_us: i64) -> Option<Due> {
        let mut first = (self.next_step_us, Due::Step);
        if self.next_second_us < first.0 {
            first = (self.next_second_us, Due::Second);
        }
        for (at, stall) in self.stalls.iter().enumerate() {
            if let Some(flow) = &stall.flow
                && flow.next_us < first.0
            {
                first = (flow.next_us, Due::Flow(at));
            }
        }
        (first.0 <= to_us).then_some(first.1)
    }

    fn step(&mut self) {
        self.now_us = self.next_step_us;
        self.next_step_us += paths::STEP_US;
        self.factors.step();
        let now_ms = self.now_us.div_euclid(1_000);
        for stall in &mut self.stalls {
            if let Some(flow) = stall.flow.as_mut() {
                flow.set_fair(stall.coupling.live_ticks(&self.factors, now_ms));
            }
        }
    }

    fn second(&mut self, events: &mut Vec<Event>) {
        self.now_us = self.next_second_us;
        self.next_second_us += SECOND_US;
        let now_ms = self.now_us.div_euclid(1_000);
        let minute = now_ms.div_euclid(kline::MINUTE_MS);
        for stall in self.stalls.iter_mut().filter(|stall| stall.flow.is_some()) {
            stall.desk.bars.roll_to(minute);
        }
        for at in 0..self.stalls.len() {
            let Some(mark) = &self.stalls[at].mark else {
                continue;
            };
            let wants_impact = mark.wants_impact(now_ms);
            let index = self.index(at);
            let value = self.instruments[at].value_in_steps(IMPACT_VALUE);
            let stall = &mut self.stalls[at];
            let (book, tick_e8) = (&stall.desk.book, stall.tick_e8);
            let impact = |side| book.impact_price(side, value, tick_e8);
            let seen = funding::Seen {
                index,
                last: stall.desk.bars.last_price() * tick_e8,
                mid: stall.desk.mid_x2().map(|mid| mid * tick_e8 / 2),
                impact: match wants_impact {
                    true => impact(BookSide::Bid).zip(impact(BookSide::Ask)),
                    false => None,
                },
            };
            let Some(mark) = stall.mark.as_mut() else {
                continue;
            };
            let settled = mark.second(now_ms, &seen).map(EventKind::Funding);
            let told = EventKind::Mark(mark.current());
            let instrument = InstrumentIx(at as u16);
            for kind in settled.into_iter().chain([told]) {
                events.push(Event {
                    instrument,
                    ts_us: self.now_us,
                    kind,
                });
            }
        }
    }

    /// Index price of a future, in 10⁻⁸.
    fn index(&self, at: usize) -> i64 {
        let stall = &self.stalls[at];
        let outside =
            (stall.coupling.live_index_ticks(&self.factors) * stall.tick_e8 as f64).round() as i64;
        let spot = stall.spot.map(|spot| &self.stalls[spot]);
        let inside = spot.and_then(|spot| Some(spot.desk.mid_x2()? * spot.tick_e8 / 2));
        inside.map_or(outside, |inside| (inside + 2 * outside) / 3)
    }
}

/// What is due next. At equal times in this order, then by instrument.
enum Due {
    Step,
    Second,
    Flow(usize),
}

fn check(config: &MarketConfig) -> Result<(), MarketError> {
    let range = |what: &str| MarketError::OutOfRange {
        what: what.to_owned(),
    };
    if !(config.intensity > 0.0 && config.intensity <= 10_000.0) {
        return Err(range("intensity"));
    }
    // From 1970 to the year 2286.
    if !(0..10_000_000_000_000).contains(&config.start_ms) {
        return Err(range("start_ms"));
    }
    if config.listings.len() > 1_000 {
        return Err(range("number of instruments"));
    }
    for Listing { instrument, flow } in &config.listings {
        let symbol = &instrument.symbol;
        for asset in [Some(flow.base), flow.quote].into_iter().flatten() {
            if asset >= config.assets.len() {
                return Err(MarketError::UnknownAsset {
                    symbol: symbol.clone(),
                    asset,
                });
            }
        }
        let steps = [instrument.tick, instrument.lot];
        if steps
            .iter()
            .any(|step| step.mantissa() <= 0 || step.scale() > 8)
        {
            return Err(range(&format!("{symbol}: step")));
        }
        let (trades, takers) = flow.daily;
        if takers == 0 || trades < takers || trades > 100_000_000 || flow.orders == 0 {
            return Err(range(&format!("{symbol}: daily trades or orders")));
        }
        if !(flow.rate > 0.0 && flow.rate <= 1e6 && flow.order_value > 0.0) {
            return Err(range(&format!("{symbol}: rate or order value")));
        }
        if instrument.list_ms < 0 || instrument.list_ms % kline::DAY_MS != 0 {
            return Err(range(&format!("{symbol}: list_ms")));
        }
    }
    Ok(())
}
