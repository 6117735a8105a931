//! A desk next to a book, computed by hand. Price step 0.1, quantity step 0.001.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rust_decimal::Decimal;

use super::desk::{Desk, Placement};
use super::liquidate::Liquidation;
use super::{Depth, Fees};
use crate::book::Book;
use crate::event::{BookLevel, Side, Trade, TradeId};
use crate::instrument::{Instrument, Market};
use crate::num::{Price, Qty, from_decimal};
use crate::time::TsNanos;
use crate::trading::order::{
    Order, OrderId, OrderStatus, OrderTerms, OrderType, PositionSide, TimeInForce, TradingMode,
};
use crate::trading::state::Word;
use crate::trading::testing::{d, instrument, market_order, terms};
use crate::trading::venue::{Facts, FillReport};

pub(super) const FEES: Fees = Fees {
    maker: Decimal::from_parts(2, 0, 0, false, 4),
    taker: Decimal::from_parts(5, 0, 0, false, 4),
};

pub(super) fn price(text: &str) -> Price {
    Price(from_decimal(d(text), 1).unwrap())
}

pub(super) fn qty(text: &str) -> Qty {
    Qty(from_decimal(d(text), 3).unwrap())
}

fn levels(rows: &[(&str, &str)]) -> Vec<BookLevel> {
    let level = |(at, quantity): &(&str, &str)| BookLevel {
        price: price(at),
        qty: qty(quantity),
    };
    rows.iter().map(level).collect()
}

struct Rig {
    desk: Desk,
    book: Book,
    is_synced: bool,
    now: TsNanos,
    facts: Facts,
}

impl Rig {
    /// Bids 99.9: 1, 99.8: 2; asks 100.1: 1, 100.2: 2, 100.3: 3.
    fn new(market: Market) -> Self {
        let instrument: Arc<Instrument> = instrument(market);
        let mut book = Book::new();
        book.load(
            &levels(&[("99.9", "1"), ("99.8", "2")]),
            &levels(&[("100.1", "1"), ("100.2", "2"), ("100.3", "3")]),
        );
        Self {
            desk: Desk::new(instrument, FEES, Some(price("100"))),
            book,
            is_synced: true,
            now: TsNanos::from_ms(1_000),
            facts: Facts::default(),
        }
    }

    fn book(&mut self, bids: &[(&str, &str)], asks: &[(&str, &str)]) {
        self.book.apply(&levels(bids), &levels(asks));
        let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as &dyn Depth);
        self.desk.on_book(book, self.now, &mut self.facts);
    }

    fn trade(&mut self, taker: Side, at: &str, quantity: &str) {
        let trade = Trade {
            trade_id: TradeId::Number(1),
            price: price(at),
            qty: qty(quantity),
            taker_side: taker,
            ts_event: self.now,
            is_aggregate: true,
        };
        let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as &dyn Depth);
        self.desk.on_trade(&trade, book, self.now, &mut self.facts);
    }

    fn wait(&mut self, ms: i64) {
        self.now = TsNanos(self.now.0 + ms * 1_000_000);
        let book: Option<&dyn Depth> = self.is_synced.then_some(&self.book as &dyn Depth);
        self.desk.advance(book, self.now, &mut self.facts);
    }

    /// Places and lets it count at once.
    fn place(&mut self, id: &str, terms: &OrderTerms) {
        self.desk
            .place(&Placement::new(terms, id, None), self.now, &mut self.facts);
        self.wait(0);
    }

    /// Fills since the last look: id of the order, price, quantity, maker.
    fn fills(&mut self) -> Vec<(String, String, String, bool)> {
        let row = |fill: FillReport| {
            (
                fill.client_id.unwrap(),
                fill.price.to_string(),
                fill.quantity.to_string(),
                fill.is_maker.unwrap(),
            )
        };
        std::mem::take(&mut self.facts.fills)
            .into_iter()
            .map(row)
            .collect()
    }

    /// Words since the last look.
    fn words(&mut self) -> Vec<(String, Word)> {
        let reports = std::mem::take(&mut self.facts.orders).into_iter();
        reports
            .map(|report| (report.client_id.unwrap(), report.news.word))
            .collect()
    }
}

fn fill(id: &str, at: &str, quantity: &str, is_maker: bool) -> (String, String, String, bool) {
    (id.to_owned(), at.to_owned(), quantity.to_owned(), is_maker)
}

fn word(id: &str, word: Word) -> (String, Word) {
    (id.to_owned(), word)
}

fn limit(side: Side, at: &str, quantity: &str) -> OrderTerms {
    OrderTerms {
        side,
        price: Some(d(at)),
        quantity: d(quantity),
        ..terms(Market::Spot)
    }
}

#[test]
fn a_market_order_takes_level_by_level() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &market_order(Market::Spot, Side::Buy, "2.5"));
    // 1 × 100.1 + 1.5 × 100.2 = 250.4; average 100.16.
    let report = rig.facts.orders[0].clone();
    assert_eq!(report.news.word, Word::Done);
    assert_eq!(report.news.filled, Some(d("2.5")));
    assert_eq!(report.news.average_price, Some(d("100.16")));
    assert_eq!(rig.facts.fills[0].fee, Some(d("0.05005")));
    assert_eq!(rig.facts.fills[0].fee_asset.as_deref(), Some("USDT"));
    assert_eq!(rig.facts.fills[0].fill_id, "paper-a-1000");
    assert_eq!(rig.facts.fills[1].fill_id, "paper-a-2500");
    assert_eq!(
        rig.fills(),
        [
            fill("a", "100.1", "1", false),
            fill("a", "100.2", "1.5", false)
        ]
    );
    assert!(rig.desk.is_empty());
}

#[test]
fn what_the_book_has_not_is_not_filled() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &market_order(Market::Spot, Side::Sell, "10"));
    assert_eq!(
        rig.fills(),
        [fill("a", "99.9", "1", false), fill("a", "99.8", "2", false)]
    );
    assert_eq!(rig.words(), [word("a", Word::Expired)]);
    // The same quantity is displayed still, and it is gone for us.
    rig.place("b", &market_order(Market::Spot, Side::Sell, "1"));
    assert_eq!(rig.fills(), []);
    assert_eq!(rig.words(), [word("b", Word::Expired)]);
    // What comes newly is there for all.
    rig.book(&[("99.8", "2.25")], &[]);
    rig.place("c", &market_order(Market::Spot, Side::Sell, "1"));
    assert_eq!(rig.fills(), [fill("c", "99.8", "0.25", false)]);
}

#[test]
fn the_facts_lead_an_order_to_its_end() {
    let mut rig = Rig::new(Market::Spot);
    let terms = limit(Side::Buy, "100.1", "3");
    let id = OrderId::new(rig.now, 7);
    let mut order = Order::new(
        id,
        terms.clone(),
        "a".to_owned(),
        TradingMode::Paper,
        rig.now,
    );
    rig.place("a", &terms);
    assert!(!order.apply(&rig.facts.orders[0].news).is_correction);
    assert_eq!(order.status, OrderStatus::PartiallyFilled);
    assert_eq!(order.exchange_order_id.as_deref(), Some("paper-a"));
    assert_eq!(
        (order.filled_quantity, order.remaining_quantity()),
        (d("1"), d("2"))
    );
    rig.facts = Facts::default();
    rig.trade(Side::Sell, "100", "5");
    assert_eq!(rig.fills(), [fill("a", "100.1", "2", true)]);
    order.apply(&rig.facts.orders[0].news);
    assert_eq!(order.status, OrderStatus::Filled);
    assert_eq!(order.average_price, Some(d("100.1")));
}

#[test]
fn a_resting_order_waits_for_its_turn() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &limit(Side::Buy, "99.9", "0.5"));
    assert_eq!(rig.words(), [word("a", Word::Works)]);
    // 1 is ahead. Other prices and the other side are nothing to it.
    rig.trade(Side::Sell, "100", "9");
    rig.trade(Side::Buy, "99.9", "9");
    rig.trade(Side::Sell, "99.9", "0.7");
    rig.book(&[("99.9", "0.3")], &[]);
    assert_eq!(rig.fills(), []);
    // 0.3 are left ahead: 0.2 of 0.5 reach the order.
    rig.trade(Side::Sell, "99.9", "0.5");
    assert_eq!(rig.fills(), [fill("a", "99.9", "0.2", true)]);
    assert_eq!(rig.words(), [word("a", Word::WorksInPart)]);
    rig.trade(Side::Sell, "99.9", "0.5");
    assert_eq!(rig.fills(), [fill("a", "99.9", "0.3", true)]);
    assert_eq!(rig.words(), [word("a", Word::Done)]);
    assert!(rig.desk.is_empty());
}

#[test]
fn two_orders_of_ours_share_a_trade() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &limit(Side::Buy, "99.9", "0.5"));
    rig.place("b", &limit(Side::Buy, "99.9", "0.5"));
    rig.place("better", &limit(Side::Buy, "100", "0.25"));
    rig.words();
    // 0.25 for the better price, 1 was ahead, 0.5 and 0.15 are left.
    rig.trade(Side::Sell, "99.9", "1.9");
    assert_eq!(
        rig.fills(),
        [
            fill("better", "100", "0.25", true),
            fill("a", "99.9", "0.5", true),
            fill("b", "99.9", "0.15", true)
        ]
    );
}

#[test]
fn a_trade_through_the_price_asks_for_no_queue() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &limit(Side::Sell, "100.3", "5"));
    // Only what was traded beyond can have met it.
    rig.trade(Side::Buy, "100.4", "2");
    assert_eq!(rig.fills(), [fill("a", "100.3", "2", true)]);
    // The bids come to its price: it would have been met by all of them.
    rig.book(
        &[("100.3", "1"), ("100.4", "0.5")],
        &[
            ("100.1", "0"),
            ("100.2", "0"),
            ("100.3", "0"),
            ("100.5", "1"),
        ],
    );
    assert_eq!(
        rig.fills(),
        [
            fill("a", "100.3", "0.5", true),
            fill("a", "100.3", "1", true)
        ]
    );
    // And not by the same ones again.
    rig.book(&[("99", "1")], &[]);
    assert_eq!(rig.fills(), []);
}

#[test]
fn a_marketable_limit_order_takes_and_rests() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &limit(Side::Buy, "100.2", "5"));
    assert_eq!(
        rig.fills(),
        [
            fill("a", "100.1", "1", false),
            fill("a", "100.2", "2", false)
        ]
    );
    assert_eq!(rig.words(), [word("a", Word::WorksInPart)]);
    // The book shows what it has taken still; nothing of it comes twice.
    rig.book(&[], &[("100.3", "2")]);
    assert_eq!(rig.fills(), []);
    rig.book(&[], &[("100.2", "2.4")]);
    assert_eq!(rig.fills(), [fill("a", "100.2", "0.4", true)]);
}

#[test]
fn time_in_force_is_kept() {
    let mut rig = Rig::new(Market::Spot);
    let with = |lasts, quantity: &str| OrderTerms {
        time_in_force: lasts,
        ..limit(Side::Buy, "100.2", quantity)
    };
    rig.place("whole", &with(TimeInForce::Fok, "3.001"));
    assert_eq!(
        (rig.fills().len(), rig.words()),
        (0, vec![word("whole", Word::Expired)])
    );
    rig.place("now", &with(TimeInForce::Ioc, "2"));
    assert_eq!(
        (rig.fills().len(), rig.words()),
        (2, vec![word("now", Word::Done)])
    );
    // 1 of 3 is left within the price.
    rig.place("all", &with(TimeInForce::Fok, "1"));
    assert_eq!(
        (rig.fills().len(), rig.words()),
        (1, vec![word("all", Word::Done)])
    );
    rig.place("none", &with(TimeInForce::Ioc, "1"));
    assert_eq!(
        (rig.fills().len(), rig.words()),
        (0, vec![word("none", Word::Expired)])
    );
    assert!(rig.desk.is_empty());
}

#[test]
fn post_only_never_takes() {
    let mut rig = Rig::new(Market::Spot);
    let post = |at: &str| OrderTerms {
        post_only: true,
        ..limit(Side::Buy, at, "1")
    };
    rig.place("a", &post("100.1"));
    let reason = rig.facts.orders[0].news.reason.clone().unwrap();
    assert!(reason.contains("post only"), "{reason}");
    assert_eq!(rig.words(), [word("a", Word::Refused)]);
    rig.place("b", &post("100"));
    assert_eq!(rig.words(), [word("b", Word::Works)]);
    assert_eq!(rig.fills(), []);
}

#[test]
fn a_stop_waits_for_a_trade_at_its_price() {
    let mut rig = Rig::new(Market::Spot);
    let stop = |side, at: &str| OrderTerms {
        order_type: OrderType::StopMarket,
        stop_price: Some(d(at)),
        price: None,
        ..limit(side, "1", "0.5")
    };
    rig.place("rise", &stop(Side::Buy, "100.5"));
    rig.place("fall", &stop(Side::Buy, "99.5"));
    let news = &rig.facts.orders[0].news;
    assert_eq!(
        (news.exchange_order_id.clone(), news.word),
        (None, Word::Works)
    );
    assert_eq!(news.trigger_id.as_deref(), Some("paper-stop-rise"));
    rig.words();
    rig.trade(Side::Buy, "100.4", "1");
    rig.trade(Side::Sell, "99.6", "1");
    assert_eq!(rig.words(), []);
    rig.trade(Side::Buy, "100.5", "1");
    assert_eq!(rig.fills(), [fill("rise", "100.1", "0.5", false)]);
    assert_eq!(
        rig.facts.orders[0].news.exchange_order_id.as_deref(),
        Some("paper-rise")
    );
    assert_eq!(rig.words(), [word("rise", Word::Done)]);
    rig.trade(Side::Sell, "99.4", "1");
    assert_eq!(rig.fills(), [fill("fall", "100.1", "0.5", false)]);
}

#[test]
fn a_stop_limit_rests_once_it_is_reached() {
    let mut rig = Rig::new(Market::Spot);
    let terms = OrderTerms {
        order_type: OrderType::StopLimit,
        stop_price: Some(d("99.5")),
        ..limit(Side::Sell, "100", "1")
    };
    rig.place("a", &terms);
    // Its limit price is traded, and it is not there yet.
    rig.trade(Side::Buy, "100.2", "9");
    assert_eq!(rig.fills(), []);
    rig.trade(Side::Sell, "99.5", "1");
    rig.trade(Side::Buy, "100", "1");
    assert_eq!(rig.fills(), [fill("a", "100", "1", true)]);
}

#[test]
fn nothing_counts_before_its_time() {
    let mut rig = Rig::new(Market::Spot);
    let later = TsNanos(rig.now.0 + 50_000_000);
    let order = market_order(Market::Spot, Side::Buy, "1");
    rig.desk
        .place(&Placement::new(&order, "a", None), later, &mut rig.facts);
    let rest = limit(Side::Buy, "99.9", "0.5");
    rig.desk
        .place(&Placement::new(&rest, "b", None), later, &mut rig.facts);
    assert_eq!((rig.desk.next_due(), rig.desk.len()), (Some(later), 2));
    assert!(!rig.desk.is_empty());
    rig.wait(49);
    assert!(rig.facts.is_empty());
    // The book of that moment is the one that it meets.
    rig.book(&[], &[("100.1", "0")]);
    rig.wait(1);
    assert_eq!(rig.fills(), [fill("a", "100.2", "1", false)]);
    // A cancellation is late too: the order executes meanwhile.
    let later = TsNanos(rig.now.0 + 50_000_000);
    rig.desk.cancel("b", later);
    rig.desk.cancel("b", later);
    rig.words();
    rig.trade(Side::Sell, "99.9", "1.2");
    assert_eq!(rig.fills(), [fill("b", "99.9", "0.2", true)]);
    rig.wait(50);
    assert_eq!(
        rig.words(),
        [word("b", Word::WorksInPart), word("b", Word::Canceled)]
    );
    rig.desk.cancel("b", rig.now);
    rig.wait(0);
    assert_eq!(rig.words(), [word("b", Word::NotThere)]);
}

#[test]
fn a_cancellation_that_overtakes_ends_the_order() {
    let mut rig = Rig::new(Market::Spot);
    let later = TsNanos(rig.now.0 + 50_000_000);
    let order = limit(Side::Buy, "99.9", "0.5");
    rig.desk
        .place(&Placement::new(&order, "a", None), later, &mut rig.facts);
    rig.desk.cancel("a", rig.now);
    rig.wait(0);
    assert_eq!(rig.words(), [word("a", Word::Canceled)]);
    assert!(rig.desk.is_empty());
}

#[test]
fn an_amendment_keeps_the_place_only_when_it_is_smaller() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &limit(Side::Buy, "99.9", "1"));
    rig.place("b", &limit(Side::Buy, "99.9", "1"));
    rig.words();
    let now = rig.now;
    rig.desk
        .amend("a", d("0.5"), Some(d("99.9")), now, &mut rig.facts);
    rig.wait(0);
    assert_eq!(rig.facts.orders[0].news.quantity, Some(d("0.5")));
    rig.desk.amend("b", d("2"), None, now, &mut rig.facts);
    rig.wait(0);
    // 1 was ahead of both; then it grew to 3 before b joined again.
    rig.book(&[("99.9", "3")], &[]);
    rig.desk.amend("b", d("2.5"), None, now, &mut rig.facts);
    rig.wait(0);
    rig.trade(Side::Sell, "99.9", "3");
    assert_eq!(rig.fills(), [fill("a", "99.9", "0.5", true)]);
    rig.words();
    // A better price that meets the book takes.
    rig.desk
        .amend("b", d("2.5"), Some(d("100.1")), now, &mut rig.facts);
    rig.wait(0);
    assert_eq!(rig.fills(), [fill("b", "100.1", "1", false)]);
    rig.words();
    // No more than has executed.
    rig.desk.amend("b", d("1"), None, now, &mut rig.facts);
    rig.desk.amend("c", d("1"), None, now, &mut rig.facts);
    rig.wait(0);
    assert_eq!(
        rig.words(),
        [word("b", Word::Canceled), word("c", Word::NotThere)]
    );
}

#[test]
fn without_a_book_nothing_is_filled() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("rests", &limit(Side::Buy, "99.9", "0.5"));
    rig.is_synced = false;
    rig.book(&[], &[]);
    rig.place("market", &market_order(Market::Spot, Side::Buy, "1"));
    let ioc = OrderTerms {
        time_in_force: TimeInForce::Ioc,
        ..limit(Side::Buy, "200", "1")
    };
    rig.place("ioc", &ioc);
    rig.place("waits", &limit(Side::Buy, "100.1", "1.5"));
    let stop = OrderTerms {
        order_type: OrderType::StopMarket,
        price: None,
        stop_price: Some(d("99")),
        ..limit(Side::Sell, "1", "0.5")
    };
    rig.place("stop", &stop);
    rig.trade(Side::Sell, "98", "100");
    assert_eq!(rig.fills(), []);
    assert_eq!(
        rig.words(),
        [
            word("rests", Word::Works),
            word("market", Word::Refused),
            word("ioc", Word::Refused),
            word("waits", Word::Works),
            word("stop", Word::Works),
            // It has been reached, and waits for a book.
            word("stop", Word::Works)
        ]
    );
    rig.is_synced = true;
    rig.book(&[("99.9", "0.4")], &[]);
    assert_eq!(
        rig.fills(),
        [
            fill("waits", "100.1", "1", false),
            fill("stop", "99.9", "0.4", false),
            fill("stop", "99.8", "0.1", false)
        ]
    );
    // 0.5 for the better price; 0.4 are ahead of the one that was resting.
    rig.trade(Side::Sell, "99.9", "1");
    assert_eq!(
        rig.fills(),
        [
            fill("waits", "100.1", "0.5", true),
            fill("rests", "99.9", "0.1", true)
        ]
    );
}

#[test]
fn reduce_only_ends_with_the_position() {
    let mut rig = Rig::new(Market::Perp);
    let close = |order: OrderTerms| OrderTerms {
        reduce_only: true,
        ..order
    };
    rig.place("none", &close(market_order(Market::Perp, Side::Sell, "1")));
    assert_eq!(rig.words(), [word("none", Word::Refused)]);
    rig.desk.set_position(PositionSide::Net, d("1.5"));
    let rest = OrderTerms {
        market: Market::Perp,
        ..close(limit(Side::Sell, "100.2", "1"))
    };
    rig.place("rest", &rest);
    rig.place("cut", &close(market_order(Market::Perp, Side::Sell, "2")));
    assert_eq!(
        rig.fills(),
        [
            fill("cut", "99.9", "1", false),
            fill("cut", "99.8", "0.5", false)
        ]
    );
    assert_eq!(
        rig.words(),
        [
            word("rest", Word::Works),
            word("cut", Word::Canceled),
            word("rest", Word::Canceled)
        ]
    );
    assert!(rig.desk.is_empty());
}

#[test]
fn hedged_positions_are_apart() {
    let mut rig = Rig::new(Market::Perp);
    let of = |side, position, quantity: &str| OrderTerms {
        position_side: Some(position),
        ..market_order(Market::Perp, side, quantity)
    };
    rig.place("long", &of(Side::Buy, PositionSide::Long, "1"));
    rig.place("short", &of(Side::Sell, PositionSide::Short, "1"));
    rig.words();
    // Closes what is short, and no more than that.
    rig.place("close", &of(Side::Buy, PositionSide::Short, "1.5"));
    assert_eq!(rig.words(), [word("close", Word::Canceled)]);
    assert_eq!(
        rig.fills().last(),
        Some(&fill("close", "100.2", "1", false))
    );
    rig.place("again", &of(Side::Buy, PositionSide::Short, "1"));
    assert_eq!(rig.words(), [word("again", Word::Refused)]);
}

#[test]
fn a_budget_is_never_exceeded() {
    let mut rig = Rig::new(Market::Spot);
    let order = market_order(Market::Spot, Side::Buy, "3");
    // 1 × 100.1 × 1.0005 = 100.15005; 50.1 of 150.25005 are left for 100.2 × 1.0005 = 100.2501 each:
    // 0.49975 of it, on the step 0.499.
    let placement = Placement::new(&order, "a", Some(d("150.25005")));
    rig.desk.place(&placement, rig.now, &mut rig.facts);
    rig.wait(0);
    assert_eq!(
        rig.fills(),
        [
            fill("a", "100.1", "1", false),
            fill("a", "100.2", "0.499", false)
        ]
    );
    assert_eq!(rig.words(), [word("a", Word::Expired)]);
}

#[test]
fn an_order_is_taken_up_again() {
    let mut rig = Rig::new(Market::Spot);
    let order = limit(Side::Buy, "99.9", "1");
    let placement = Placement {
        filled: d("0.4"),
        average_price: Some(d("99.9")),
        ..Placement::new(&order, "a", None)
    };
    rig.desk.place(&placement, rig.now, &mut rig.facts);
    rig.wait(0);
    assert_eq!(rig.words(), [word("a", Word::WorksInPart)]);
    rig.trade(Side::Sell, "99.8", "5");
    assert_eq!(rig.facts.fills[0].fill_id, "paper-a-1000");
    assert_eq!(rig.facts.orders[0].news.average_price, Some(d("99.9")));
    assert_eq!(rig.fills(), [fill("a", "99.9", "0.6", true)]);
}

#[test]
fn a_liquidation_ends_the_orders_and_the_position() {
    let mut rig = Rig::new(Market::Perp);
    rig.desk.set_position(PositionSide::Net, d("-2"));
    let rest = OrderTerms {
        market: Market::Perp,
        ..limit(Side::Buy, "99.9", "1")
    };
    rig.place("rest", &rest);
    let later = TsNanos(rig.now.0 + 1);
    rig.desk
        .place(&Placement::new(&rest, "way", None), later, &mut rig.facts);
    rig.words();
    let liquidation = Liquidation {
        native_symbol: "BTCUSDT".to_owned(),
        position_side: PositionSide::Net,
        client_id: "liquidation-1".to_owned(),
        price: d("109.55"),
        fee: d("0.1"),
    };
    rig.desk.liquidate(&liquidation, rig.now, &mut rig.facts);
    assert_eq!(rig.facts.fills[0].side, Some(Side::Buy));
    assert_eq!(rig.facts.fills[0].fee, Some(d("0.1")));
    assert_eq!(rig.fills(), [fill("liquidation-1", "109.55", "2", false)]);
    assert_eq!(
        rig.words(),
        [
            word("rest", Word::Canceled),
            word("way", Word::Canceled),
            word("liquidation-1", Word::Works)
        ]
    );
    assert!(rig.desk.is_empty());
    // There is nothing more to close.
    rig.desk.liquidate(&liquidation, rig.now, &mut rig.facts);
    assert!(rig.facts.is_empty());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut rig = Rig::new(Market::Spot);
    rig.place("a", &limit(Side::Buy, "99.95", "1"));
    rig.place("b", &limit(Side::Buy, "99.9", "0.0001"));
    rig.place("c", &limit(Side::Buy, "99.9", "0"));
    let refused = ["a", "b", "c"].map(|id| word(id, Word::Refused));
    assert_eq!(rig.words(), refused);
    for index in 0..super::desk::ORDERS_MAX {
        rig.place(&index.to_string(), &limit(Side::Buy, "1", "1"));
    }
    rig.words();
    rig.place("more", &limit(Side::Buy, "1", "1"));
    assert_eq!(rig.words(), [word("more", Word::Refused)]);
}
