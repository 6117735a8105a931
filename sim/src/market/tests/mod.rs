//! What must hold of the market as a whole, whatever the seed.

mod orders;
mod past;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

/// Thursday 2024-08-08 13:37:42.123 UTC: in the middle of a minute.
const START_MS: i64 = 1_723_124_262_123;

fn market(seed: u64) -> Market {
    let mut config = MarketConfig::standard(seed, START_MS);
    config.listings = listings(START_MS, 60);
    Market::new(config).unwrap()
}

fn run(market: &mut Market, ms: i64) -> Vec<Event> {
    let mut events = Vec::new();
    let to = market.now_ms() + ms;
    market.advance(to, &mut events);
    events
}

fn hash(events: &[Event]) -> u64 {
    let mut hasher = DefaultHasher::new();
    events.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn same_seed_same_events_however_time_is_cut() {
    let whole = run(&mut market(11), 20_000);
    let mut cut = Vec::new();
    let mut other = market(11);
    for step in [1, 7, 92, 900, 3_000, 16_000] {
        cut.extend(run(&mut other, step));
    }
    assert_eq!(whole.len(), cut.len());
    assert_eq!(hash(&whole), hash(&cut));
    assert_ne!(hash(&whole), hash(&run(&mut market(12), 20_000)));
}

type Touch = Option<(Price, Qty)>;

/// Everything a client could know from events alone.
#[derive(Default)]
struct Follower {
    books: [BTreeMap<i64, i64>; 2],
    update_id: Option<u64>,
    trade_id: Option<u64>,
    agg: Option<AggTrade>,
    /// Trades since the last aggregate.
    open: Vec<Trade>,
}

impl Follower {
    fn best(&self) -> (Touch, Touch) {
        let row = |(price, qty): (&i64, &i64)| (Price(*price), Qty(*qty));
        (
            self.books[0].last_key_value().map(row),
            self.books[1].first_key_value().map(row),
        )
    }

    fn follow(&mut self, segment: Segment, event: &Event) {
        match event.kind {
            EventKind::Book(change) => {
                if let Some(before) = self.update_id {
                    assert_eq!(change.prev_update_id, before);
                }
                let jump = change.update_id - change.prev_update_id;
                assert!(if segment == Segment::Spot {
                    jump == 1
                } else {
                    jump >= 1
                });
                self.update_id = Some(change.update_id);
                let side = &mut self.books[change.side as usize];
                match change.qty.0 {
                    0 => assert!(side.remove(&change.price.0).is_some()),
                    qty => {
                        assert!(qty > 0);
                        side.insert(change.price.0, qty);
                    }
                }
                if let (Some(bid), Some(ask)) = self.best() {
                    assert!(bid.0 < ask.0, "crossed");
                }
            }
            EventKind::Trade(trade) => {
                assert!(self.trade_id.is_none_or(|id| trade.id == id + 1));
                self.trade_id = Some(trade.id);
                // The taker meets the best of the other side.
                let (bid, ask) = self.best();
                let touch = if trade.taker_side == Side::Buy {
                    ask
                } else {
                    bid
                };
                assert_eq!(trade.price, touch.unwrap().0);
                self.open.push(trade);
            }
            EventKind::AggTrade(agg) => {
                assert!(self.agg.is_none_or(|before| agg.id == before.id + 1));
                self.agg = Some(agg);
                let (first, last) = (self.open.first().unwrap(), self.open.last().unwrap());
                assert_eq!((agg.first_trade_id, agg.last_trade_id), (first.id, last.id));
                assert_eq!(
                    agg.qty.0,
                    self.open.iter().map(|trade| trade.qty.0).sum::<i64>()
                );
                for trade in self.open.drain(..) {
                    assert_eq!((trade.price, trade.taker_side), (agg.price, agg.taker_side));
                }
            }
            EventKind::Bbo(bbo) => {
                assert_eq!((bbo.bid, bbo.ask), self.best());
                assert!(self.update_id.is_none_or(|id| id == bbo.update_id));
            }
            EventKind::Fill(_) | EventKind::Mark(_) | EventKind::Funding(_) => {}
        }
    }
}

#[test]
fn a_client_that_follows_the_events_has_the_same_book() {
    let mut market = market(5);
    let segments: Vec<_> = market.instruments().iter().map(|it| it.segment).collect();
    let mut followers: Vec<Follower> = Vec::new();
    for ix in 0..segments.len() as u16 {
        let depth = market.depth(InstrumentIx(ix), usize::MAX);
        let side = |rows: &[(Price, Qty)]| rows.iter().map(|row| (row.0.0, row.1.0)).collect();
        let update_id = Some(depth.update_id);
        let books = [side(&depth.bids), side(&depth.asks)];
        followers.push(Follower {
            books,
            update_id,
            ..Follower::default()
        });
    }
    let mut last_us = 0;
    for _ in 0..60 {
        for event in run(&mut market, 1_000) {
            assert!(event.ts_us >= last_us);
            last_us = event.ts_us;
            let at = usize::from(event.instrument.0);
            followers[at].follow(segments[at], &event);
        }
        market.audit().unwrap();
    }
    for (ix, follower) in (0_u16..).zip(&followers) {
        let depth = market.depth(InstrumentIx(ix), usize::MAX);
        let rows = |rows: &[(Price, Qty)]| -> BTreeMap<i64, i64> {
            rows.iter().map(|row| (row.0.0, row.1.0)).collect()
        };
        assert_eq!(follower.books, [rows(&depth.bids), rows(&depth.asks)]);
        assert!(follower.open.is_empty(), "a trade without its aggregate");
    }
}

#[test]
fn a_hundredfold_load_keeps_the_books_sound() {
    let mut config = MarketConfig::standard(14, START_MS);
    config.listings = listings(START_MS, 5);
    config.intensity = 100.0;
    let mut market = Market::new(config).unwrap();
    let orders: Vec<usize> = market
        .config
        .listings
        .iter()
        .map(|it| it.flow.orders)
        .collect();
    let mut count = 0;
    for _ in 0..10 {
        count += run(&mut market, 50).len();
        market.audit().unwrap();
    }
    assert!(count > 30_000, "{count}");
    for (stall, orders) in market.stalls.iter().zip(orders) {
        let book = &stall.desk.book;
        let count = book.count(BookSide::Bid).min(book.count(BookSide::Ask));
        assert!(
            stall.flow.is_none() || count > orders / 2,
            "{count} of {orders}"
        );
    }
}

#[test]
fn impossible_configurations_are_refused() {
    let check = |change: fn(&mut MarketConfig)| {
        let mut config = MarketConfig::standard(1, START_MS);
        change(&mut config);
        assert!(Market::new(config).is_err());
    };
    check(|config| config.intensity = 0.0);
    check(|config| config.intensity = f64::NAN);
    check(|config| config.start_ms = -1);
    check(|config| config.assets.truncate(2));
    check(|config| config.listings[0].instrument.tick = Fixed::new(0, 2));
    check(|config| config.listings[0].instrument.list_ms += 1);
    check(|config| config.listings[0].flow.rate = f64::INFINITY);
    check(|config| config.listings[0].flow.daily = (5, 10));
}
