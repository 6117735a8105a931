//! Random markets and orders: money is neither made nor lost, no order executes beyond itself, the same
//! again leads to the same.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::Depth;
use super::account::Account;
use super::account_tests::setup;
use super::desk::{Desk, Placement};
use super::desk_tests::FEES;
use crate::book::Book;
use crate::event::{BookLevel, BookSide, Side, Trade, TradeId};
use crate::instrument::{Instrument, Market};
use crate::num::{Price, Qty, to_decimal};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::testing::{instrument, terms};
use crate::trading::venue::{Facts, Touch};

/// Prices are steps round 100.0, quantities thousandths.
#[derive(Clone, Debug)]
enum Op {
    Level {
        is_bid: bool,
        away: i64,
        quantity: i64,
    },
    Trade {
        is_buy: bool,
        away: i64,
        quantity: i64,
    },
    Place {
        is_buy: bool,
        kind: OrderType,
        lasts: TimeInForce,
        away: i64,
        quantity: i64,
        post_only: bool,
        reduce_only: bool,
    },
    Cancel(usize),
    Amend {
        index: usize,
        away: i64,
        quantity: i64,
    },
    Wait(i64),
    Lose(bool),
    Mark(i64),
    Funding(i64),
}

fn op() -> impl Strategy<Value = Op> {
    let side = any::<bool>;
    prop_oneof![
        4 => (side(), 1_i64..8, 0_i64..3_000).prop_map(|(is_bid, away, quantity)| Op::Level {
            is_bid, away, quantity: if quantity < 600 { 0 } else { quantity },
        }),
        4 => (side(), -8_i64..8, 1_i64..3_000)
            .prop_map(|(is_buy, away, quantity)| Op::Trade { is_buy, away, quantity }),
        4 => (
            side(),
            prop::sample::select(OrderType::ALL),
            prop::sample::select(TimeInForce::ALL),
            -8_i64..8, 2_i64..4_000, any::<bool>(), any::<bool>(),
        ).prop_map(|(is_buy, kind, lasts, away, quantity, post_only, reduce_only)| Op::Place {
            is_buy, kind, lasts, away, quantity, post_only, reduce_only,
        }),
        1 => (0_usize..12).prop_map(Op::Cancel),
        1 => (0_usize..12, -8_i64..8, 2_i64..4_000)
            .prop_map(|(index, away, quantity)| Op::Amend { index, away, quantity }),
        1 => (0_i64..80).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Lose),
        1 => (600_i64..1_400).prop_map(Op::Mark),
        1 => (-50_i64..50).prop_map(Op::Funding),
    ]
}

fn at(away: i64) -> Decimal {
    Decimal::new(1_000 + away, 1)
}

/// A desk, its account and its market.
struct World {
    instrument: Arc<Instrument>,
    desk: Desk,
    account: Account,
    book: Book,
    is_synced: bool,
    now: TsNanos,
    /// Terms and what executed, by client id.
    orders: BTreeMap<String, (OrderTerms, Decimal)>,
    ids: HashSet<String>,
    /// Sum of signed quantities, of price × signed quantity, of fees and of funding.
    sums: [Decimal; 4],
    log: Vec<Facts>,
}

impl World {
    fn new(market: Market) -> Self {
        let instrument = instrument(market);
        let mut book = Book::new();
        let level = |price, qty| BookLevel {
            price: Price(price),
            qty: Qty(qty),
        };
        book.load(
            &[level(999, 2_000), level(998, 2_000)],
            &[level(1_001, 2_000), level(1_002, 2_000)],
        );
        Self {
            desk: Desk::new(instrument.clone(), FEES, Some(Price(1_000))),
            account: Account::new(setup(&[("USDT", "1000"), ("BTC", "8")])),
            instrument,
            book,
            is_synced: true,
            now: TsNanos::from_ms(1_000),
            orders: BTreeMap::new(),
            ids: HashSet::new(),
            sums: [Decimal::ZERO; 4],
            log: Vec::new(),
        }
    }

    fn touch(&self) -> Touch {
        let best = |side| Some(to_decimal(self.book.best(side)?.price.0, 1));
        Touch {
            bid: best(BookSide::Bid),
            ask: best(BookSide::Ask),
            last: None,
        }
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let mut facts = Facts::default();
        let later = TsNanos(self.now.0 + 20_000_000);
        match *op {
            Op::Level {
                is_bid,
                away,
                quantity,
            } => {
                let away = if is_bid { -away } else { away };
                let level = [BookLevel {
                    price: Price(1_000 + away),
                    qty: Qty(quantity),
                }];
                match is_bid {
                    true => self.book.apply(&level, &[]),
                    false => self.book.apply(&[], &level),
                }
                let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as _);
                self.desk.on_book(book, self.now, &mut facts);
            }
            Op::Trade {
                is_buy,
                away,
                quantity,
            } => {
                let trade = Trade {
                    trade_id: TradeId::Number(1),
                    price: Price(1_000 + away),
                    qty: Qty(quantity),
                    taker_side: if is_buy { Side::Buy } else { Side::Sell },
                    ts_event: self.now,
                    is_aggregate: false,
                };
                let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as _);
                self.desk.on_trade(&trade, book, self.now, &mut facts);
            }
            Op::Place { .. } => self.place(op, later, &mut facts),
            Op::Cancel(index) => {
                if let Some(id) = self.orders.keys().nth(index) {
                    self.desk.cancel(id, later);
                }
            }
            Op::Amend {
                index,
                away,
                quantity,
            } => self.amend(index, away, quantity, &mut facts),
            Op::Wait(ms) => {
                self.now = TsNanos(self.now.0 + ms * 1_000_000);
                let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as _);
                self.desk.advance(book, self.now, &mut facts);
            }
            Op::Lose(is_lost) => {
                self.is_synced = !is_lost;
                let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as _);
                self.desk.on_book(book, self.now, &mut facts);
            }
            Op::Mark(price) => {
                let mark = Decimal::new(price, 1);
                for one in self.account.on_mark(&self.instrument, mark, FEES, self.now) {
                    self.desk.liquidate(&one, self.now, &mut facts);
                    let id = facts.fills.last().and_then(|fill| fill.client_id.clone());
                    prop_assert_eq!(id, Some(one.client_id), "it closes a position");
                }
            }
            Op::Funding(rate) => {
                let rate = Decimal::new(rate, 4);
                self.now = TsNanos(self.now.0 + 1);
                let mark = Decimal::new(1_000, 1);
                let paid =
                    self.account
                        .on_funding(&self.instrument, rate, mark, self.now, &mut facts);
                self.sums[3] += paid;
            }
        }
        self.take(facts)
    }

    fn place(&mut self, op: &Op, later: TsNanos, facts: &mut Facts) {
        let Op::Place {
            is_buy,
            kind,
            lasts,
            away,
            quantity,
            post_only,
            reduce_only,
        } = *op
        else {
            return;
        };
        let market = self.instrument.spec.market;
        let order = OrderTerms {
            side: if is_buy { Side::Buy } else { Side::Sell },
            order_type: kind,
            quantity: Decimal::new(quantity, 3),
            price: kind.has_price().then(|| at(away)),
            stop_price: kind.is_stop().then(|| at(-away)),
            time_in_force: if kind == OrderType::Market {
                TimeInForce::Ioc
            } else {
                lasts
            },
            post_only: post_only && kind == OrderType::Limit && lasts == TimeInForce::Gtc,
            reduce_only: reduce_only && market == Market::Perp,
            ..terms(market)
        };
        let id = format!("{:04}", self.orders.len());
        let touch = self.touch();
        let budget = self
            .account
            .reserve(&self.instrument, &order, &id, touch, FEES);
        if let Ok(budget) = budget {
            self.desk
                .place(&Placement::new(&order, &id, budget), later, facts);
            self.orders.insert(id, (order, Decimal::ZERO));
        }
    }

    fn amend(&mut self, index: usize, away: i64, quantity: i64, facts: &mut Facts) {
        let touch = self.touch();
        let Some((id, (order, filled))) = self.orders.iter_mut().nth(index) else {
            return;
        };
        let wanted = OrderTerms {
            quantity: Decimal::new(quantity, 3),
            price: order.price.map(|_| at(away)),
            ..order.clone()
        };
        let left = wanted.quantity - *filled;
        // As the router does: only what is open, what is not executed yet, and what has a price.
        if left <= Decimal::ZERO || order.price.is_none() || order.quantity <= *filled {
            return;
        }
        let is_open = self.account.state().holds(id);
        let account = &mut self.account;
        if is_open
            && account
                .amend(&self.instrument, &wanted, left, id, touch, FEES)
                .is_ok()
        {
            let price = wanted.price;
            self.desk.amend(id, wanted.quantity, price, self.now, facts);
            let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as _);
            order.quantity = order.quantity.max(wanted.quantity);
            // The worst that it ever was: what it was when it executed is not told.
            order.price = match order.side {
                Side::Buy => order.price.max(price),
                Side::Sell => order.price.min(price),
            };
            self.desk.advance(book, self.now, facts);
        }
    }

    /// Counts what was told, and checks all that has to hold at any time.
    fn take(&mut self, mut facts: Facts) -> Result<(), TestCaseError> {
        for fill in &facts.fills {
            prop_assert!(self.is_synced || fill.client_id.as_ref().unwrap().starts_with("liq"));
            prop_assert!(fill.quantity > Decimal::ZERO && fill.price > Decimal::ZERO);
            prop_assert!(
                self.ids.insert(fill.fill_id.clone()),
                "{} twice",
                fill.fill_id
            );
            let signed = match fill.side.unwrap() {
                Side::Buy => fill.quantity,
                Side::Sell => -fill.quantity,
            };
            if let Some((terms, filled)) = self.orders.get_mut(fill.client_id.as_ref().unwrap()) {
                *filled += fill.quantity;
                prop_assert!(*filled <= terms.quantity, "beyond the order");
                if let Some(price) = terms.price {
                    let is_within = match terms.side {
                        Side::Buy => fill.price <= price,
                        Side::Sell => fill.price >= price,
                    };
                    prop_assert!(is_within, "{} is beyond {price}", fill.price);
                }
                if terms.reduce_only {
                    let before = self.sums[0];
                    prop_assert!(before != Decimal::ZERO, "nothing to reduce");
                    prop_assert!((before + signed).abs() < before.abs(), "reduces");
                }
            }
            self.sums[0] += signed;
            self.sums[1] += signed * fill.price;
            self.sums[2] += fill.fee.unwrap();
        }
        self.account.apply(&self.instrument, &mut facts);
        self.log.push(facts);
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let account = &self.account;
        let [quantity, value, fees, funding] = self.sums;
        let money = account.total("USDT");
        match self.instrument.spec.market {
            Market::Spot => {
                prop_assert_eq!(account.total("BTC"), Decimal::from(8) + quantity);
                prop_assert_eq!(money, Decimal::from(1_000) - value - fees);
                prop_assert!(
                    account.free("USDT") >= Decimal::ZERO,
                    "{}",
                    account.free("USDT")
                );
                prop_assert!(
                    account.free("BTC") >= Decimal::ZERO,
                    "{}",
                    account.free("BTC")
                );
            }
            Market::Perp => {
                prop_assert_eq!(account.position("BTCUSDT", PositionSide::Net), quantity);
                // What was paid for it, less what it cost, is the profit that was made.
                let positions = account.positions();
                let cost = positions.first().map_or(Decimal::ZERO, |position| {
                    position.entry_price.unwrap() * position.quantity
                });
                let left = Decimal::from(1_000) - value - fees - funding + cost;
                let difference = (money - left).abs();
                prop_assert!(difference < Decimal::new(1, 15), "{money} is not {left}");
            }
        }
        for asset in ["USDT", "BTC"] {
            prop_assert_eq!(
                account.free(asset) + account.locked(asset),
                account.total(asset)
            );
        }
        Ok(())
    }

    /// Ends everything: nothing stays held.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let mut facts = Facts::default();
        self.now = TsNanos(self.now.0 + 1_000_000_000);
        let ids: Vec<String> = self.orders.keys().cloned().collect();
        for id in &ids {
            self.desk.cancel(id, self.now);
        }
        let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as _);
        self.desk.advance(book, self.now, &mut facts);
        self.take(facts)?;
        prop_assert!(self.desk.is_empty());
        let margin: Decimal = self
            .account
            .positions()
            .iter()
            .filter_map(|p| p.margin)
            .sum();
        prop_assert_eq!(self.account.locked("USDT"), margin);
        prop_assert_eq!(self.account.locked("BTC"), Decimal::ZERO);
        Ok(())
    }
}

/// Random markets are worth little when nothing happens in them.
#[test]
fn random_markets_are_lively() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let all = prop::collection::vec(op(), 100..120);
    let (mut makers, mut takers, mut reduced, mut liquidated, mut words) =
        (0, 0, 0, 0, BTreeMap::new());
    for index in 0..30 {
        let market = if index % 2 == 0 {
            Market::Perp
        } else {
            Market::Spot
        };
        let mut world = World::new(market);
        for op in all.new_tree(&mut runner).unwrap().current() {
            world.run(&op).unwrap();
        }
        for facts in &world.log {
            for fill in &facts.fills {
                let id = fill.client_id.as_ref().unwrap();
                match world.orders.get(id) {
                    None => liquidated += 1,
                    Some((terms, _)) if terms.reduce_only => reduced += 1,
                    Some(_) if fill.is_maker == Some(true) => makers += 1,
                    Some(_) => takers += 1,
                }
            }
            for report in &facts.orders {
                *words.entry(report.news.word).or_insert(0) += 1;
            }
        }
    }
    let counts = [makers, takers, reduced, liquidated];
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    for word in [
        Word::Works,
        Word::WorksInPart,
        Word::Done,
        Word::Canceled,
        Word::Expired,
        Word::Refused,
    ] {
        assert!(
            words.get(&word).is_some_and(|count| *count >= 10),
            "{word:?} in {words:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_made_or_lost(ops in prop::collection::vec(op(), 1..120), is_perp: bool) {
        let market = if is_perp { Market::Perp } else { Market::Spot };
        let mut world = World::new(market);
        for op in &ops {
            world.run(op)?;
        }
        world.finish()?;
        // The same again.
        let mut again = World::new(market);
        for op in &ops {
            again.run(op)?;
        }
        again.finish()?;
        prop_assert_eq!(world.log, again.log);
    }
}
