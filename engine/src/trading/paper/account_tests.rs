//! A paper account, computed by hand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::account::{Account, AccountState, Setup};
use super::desk_tests::FEES;
use crate::error::CryptoCode;
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide};
use crate::trading::state::{OrderNews, Word};
use crate::trading::testing::{d, instrument, market_order, spec, terms, touch};
use crate::trading::venue::{Facts, FillReport, OrderReport, ReportTerms, Touch};

pub(super) fn setup(balances: &[(&str, &str)]) -> Setup {
    let row = |(asset, amount): &(&str, &str)| ((*asset).to_owned(), d(amount));
    Setup {
        balances: balances.iter().map(row).collect::<BTreeMap<_, _>>(),
        is_hedged: false,
        leverage: 10,
        maintenance_rate: d("0.005"),
    }
}

struct Rig {
    account: Account,
    instrument: Arc<Instrument>,
    number: u32,
}

impl Rig {
    fn new(market: Market, balances: &[(&str, &str)]) -> Self {
        Self {
            account: Account::new(setup(balances)),
            instrument: instrument(market),
            number: 0,
        }
    }

    fn reserve(&mut self, id: &str, terms: &OrderTerms) -> Result<Option<Decimal>, CryptoCode> {
        let result = self
            .account
            .reserve(&self.instrument, terms, id, touch(), FEES);
        result.map_err(|error| error.code)
    }

    fn fill(&mut self, id: &str, side: Side, price: &str, quantity: &str, fee: &str) -> Facts {
        self.number += 1;
        let mut facts = Facts::default();
        facts.fills.push(FillReport {
            market: self.instrument.spec.market,
            native_symbol: "BTCUSDT".to_owned(),
            fill_id: self.number.to_string(),
            client_id: Some(id.to_owned()),
            exchange_id: None,
            side: Some(side),
            price: d(price),
            quantity: d(quantity),
            fee: Some(d(fee)),
            fee_asset: Some("USDT".to_owned()),
            is_maker: Some(false),
            at: TsNanos(1),
        });
        self.account.apply(&self.instrument, &mut facts);
        facts
    }

    fn end(&mut self, id: &str, word: Word) {
        self.tell(id, OrderNews::new(word, TsNanos(1)));
    }

    fn tell(&mut self, id: &str, news: OrderNews) {
        let mut facts = Facts::default();
        facts.orders.push(OrderReport {
            market: self.instrument.spec.market,
            native_symbol: "BTCUSDT".to_owned(),
            client_id: Some(id.to_owned()),
            news,
            terms: ReportTerms::default(),
        });
        self.account.apply(&self.instrument, &mut facts);
    }

    /// Free and total.
    fn has(&self, asset: &str) -> (Decimal, Decimal) {
        let balances = self.account.balances();
        let row = balances.iter().find(|row| row.asset == asset).unwrap();
        assert_eq!(row.free + row.locked, row.total);
        (row.free, row.total)
    }
}

fn perp(side: Side, quantity: &str) -> OrderTerms {
    market_order(Market::Perp, side, quantity)
}

#[test]
fn a_spot_purchase_holds_pays_and_gives_back() {
    let mut rig = Rig::new(Market::Spot, &[("USDT", "1000")]);
    // 2 × 100 × 1.0005
    let buy = OrderTerms {
        quantity: d("2"),
        ..terms(Market::Spot)
    };
    assert_eq!(rig.reserve("a", &buy), Ok(None));
    assert_eq!(rig.has("USDT"), (d("799.9"), d("1000")));
    // 0.5 at a better price: 49.5 + 0.02475; 1.5 × 100.05 stay held.
    let facts = rig.fill("a", Side::Buy, "99", "0.5", "0.02475");
    assert_eq!(facts.balances.len(), 2);
    assert_eq!(rig.has("USDT"), (d("800.40025"), d("950.47525")));
    assert_eq!(rig.has("BTC"), (d("0.5"), d("0.5")));
    rig.end("a", Word::WorksInPart);
    assert_eq!(rig.account.locked("USDT"), d("150.075"));
    rig.end("a", Word::Canceled);
    assert_eq!(rig.has("USDT"), (d("950.47525"), d("950.47525")));
}

#[test]
fn a_spot_sale_holds_coins() {
    let mut rig = Rig::new(Market::Spot, &[("BTC", "1")]);
    let sell = OrderTerms {
        side: Side::Sell,
        quantity: d("0.75"),
        ..terms(Market::Spot)
    };
    assert_eq!(rig.reserve("a", &sell), Ok(None));
    assert_eq!(rig.has("BTC"), (d("0.25"), d("1")));
    assert_eq!(
        rig.reserve("b", &sell),
        Err(CryptoCode::InsufficientBalance)
    );
    // 75 − 0.0375
    rig.fill("a", Side::Sell, "100", "0.75", "0.0375");
    rig.end("a", Word::Done);
    assert_eq!(rig.has("BTC"), (d("0.25"), d("0.25")));
    assert_eq!(rig.has("USDT"), (d("74.9625"), d("74.9625")));
}

#[test]
fn a_market_purchase_has_a_budget() {
    let mut rig = Rig::new(Market::Spot, &[("USDT", "1000")]);
    let buy = market_order(Market::Spot, Side::Buy, "1");
    // 100.1 × 1.0005 × 1.05
    assert_eq!(rig.reserve("a", &buy), Ok(Some(d("105.1575525"))));
    rig.fill("a", Side::Buy, "100.1", "1", "0.05005");
    rig.end("a", Word::Done);
    assert_eq!(rig.has("USDT").0, d("899.84995"));
    // A budget that is used up is not the same as none.
    assert_eq!(rig.account.budget("a"), None);
    let all = market_order(Market::Spot, Side::Buy, "8.9");
    assert_eq!(rig.reserve("b", &all), Ok(Some(d("899.84995"))));
    assert_eq!(rig.has("USDT").0, d("0"));
    assert_eq!(rig.account.budget("b"), Some(d("899.84995")));
    rig.fill("b", Side::Buy, "899", "1", "0.84995");
    assert_eq!(rig.account.budget("b"), Some(d("0")));
    let unknown = rig
        .account
        .reserve(&rig.instrument, &buy, "c", Touch::default(), FEES);
    assert_eq!(unknown.unwrap_err().code, CryptoCode::OrderbookDesync);
}

#[test]
fn an_amendment_holds_more_at_once_and_less_when_it_is_done() {
    let mut rig = Rig::new(Market::Spot, &[("USDT", "300")]);
    let of = |price: &str, quantity: &str| OrderTerms {
        price: Some(d(price)),
        quantity: d(quantity),
        ..terms(Market::Spot)
    };
    rig.reserve("a", &of("100", "2")).unwrap();
    let amend = |rig: &mut Rig, price: &str, quantity: &str, remaining: &str| {
        let wanted = of(price, quantity);
        let account = &mut rig.account;
        let result = account.amend(&rig.instrument, &wanted, d(remaining), "a", touch(), FEES);
        let held = account.locked("USDT");
        result.map(|()| held).map_err(|error| error.code)
    };
    let confirm = |rig: &mut Rig, price: &str, quantity: &str| {
        let mut news = OrderNews::new(Word::Works, TsNanos(1));
        (news.price, news.quantity) = (Some(d(price)), Some(d(quantity)));
        rig.tell("a", news);
        rig.account.locked("USDT")
    };
    assert_eq!(amend(&mut rig, "140", "2", "2"), Ok(d("280.14")));
    let refused = Err(CryptoCode::InsufficientBalance);
    assert_eq!(amend(&mut rig, "150", "2", "2"), refused);
    assert_eq!(confirm(&mut rig, "140", "2"), d("280.14"));
    // It may execute at 140 until the desk has heard of it.
    assert_eq!(amend(&mut rig, "100", "1", "1"), Ok(d("280.14")));
    assert_eq!(confirm(&mut rig, "140", "2"), d("280.14"));
    // 0.25 × 140 and the fee; 1.75 × 140.07 are held still, and then 0.75 × 100.05.
    rig.fill("a", Side::Buy, "140", "0.25", "0.0175");
    assert_eq!(rig.account.locked("USDT"), d("245.1225"));
    assert_eq!(confirm(&mut rig, "100", "1"), d("75.0375"));
    rig.end("a", Word::Canceled);
    let over = amend(&mut rig, "100", "1", "1");
    assert_eq!(over, Err(CryptoCode::OrderNotFound));
    assert_eq!(rig.account.locked("USDT"), d("0"));
}

/// While it is amended, an order may execute dearer as it was and more of it as it will be.
#[test]
fn an_amendment_never_holds_more_than_there_is() {
    let mut rig = Rig::new(Market::Spot, &[("USDT", "300")]);
    let of = |price: &str, quantity: &str| OrderTerms {
        price: Some(d(price)),
        quantity: d(quantity),
        ..terms(Market::Spot)
    };
    rig.reserve("a", &of("140", "1")).unwrap();
    let amend = |rig: &mut Rig, price: &str, quantity: &str| {
        let wanted = of(price, quantity);
        let account = &mut rig.account;
        let result = account.amend(&rig.instrument, &wanted, d(quantity), "a", touch(), FEES);
        let held = account.locked("USDT");
        result.map(|()| held).map_err(|error| error.code)
    };
    // 3 × 99.0495 would fit; 140.07 and 2 × 99.0495 do not.
    let refused = Err(CryptoCode::InsufficientBalance);
    assert_eq!(amend(&mut rig, "99", "3"), refused);
    assert_eq!(rig.account.locked("USDT"), d("140.07"));
    // 140.07 and 79.5 × 2.0 with the fee, and no more than that.
    assert_eq!(amend(&mut rig, "79.5", "3"), Ok(d("299.1495")));
    // The one before may come into force first: 140.07 × 3.
    assert_eq!(amend(&mut rig, "79", "3"), refused);
    assert_eq!(rig.account.locked("USDT"), d("299.1495"));
    assert!(rig.account.free("USDT") >= Decimal::ZERO);
}

#[test]
fn a_perpetual_makes_profit_on_its_margin() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    // 2 × 100.1 / 10 + 2 × 100.1 × 0.0005
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    assert_eq!(rig.account.locked("USDT"), d("20.1201"));
    let facts = rig.fill("a", Side::Buy, "100", "2", "0.1");
    rig.end("a", Word::Done);
    assert_eq!(facts.positions.len(), 1);
    // Margin 200 / 10.
    assert_eq!(rig.has("USDT"), (d("979.9"), d("999.9")));
    rig.account
        .on_mark(&rig.instrument, d("103"), FEES, TsNanos(1));
    let position = rig.account.positions()[0].clone();
    assert_eq!(position.quantity, d("2"));
    assert_eq!(position.entry_price, Some(d("100")));
    assert_eq!(position.unrealized_pnl, Some(d("6")));
    assert_eq!(position.margin, Some(d("20")));
    // 103 × 2 × 0.005 / (20 + 6)
    assert_eq!(position.margin_ratio, Some(d("0.03961538")));
    // (200 − 20) / (2 × 0.995)
    assert_eq!(position.liquidation_price, Some(d("90.45226131")));
    // Closes half at 110: profit 10, half the margin is free.
    rig.reserve("b", &perp(Side::Sell, "1")).unwrap();
    rig.fill("b", Side::Sell, "110", "1", "0.055");
    rig.end("b", Word::Done);
    assert_eq!(rig.has("USDT"), (d("999.845"), d("1009.845")));
    // 2 more sold: the rest closed at 90 (−10), 1 short at 90 with margin 9.
    rig.reserve("c", &perp(Side::Sell, "2")).unwrap();
    rig.fill("c", Side::Sell, "90", "2", "0.09");
    rig.end("c", Word::Done);
    assert_eq!(rig.account.position("BTCUSDT", PositionSide::Net), d("-1"));
    assert_eq!(rig.has("USDT"), (d("990.755"), d("999.755")));
}

#[test]
fn what_only_reduces_needs_nothing_free() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "20.2")]);
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    rig.fill("a", Side::Buy, "100.1", "2", "0.1001");
    rig.end("a", Word::Done);
    assert_eq!(rig.has("USDT").0, d("0.0799"));
    assert_eq!(
        rig.reserve("b", &perp(Side::Buy, "2")),
        Err(CryptoCode::InsufficientBalance)
    );
    let close = OrderTerms {
        reduce_only: true,
        ..perp(Side::Sell, "2")
    };
    assert_eq!(rig.reserve("c", &close), Ok(None));
}

/// Long 1, and 2 free: one sale of 1 closes it and needs the fee, a second one would open.
#[test]
fn two_orders_do_not_close_the_same() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "12")]);
    rig.reserve("a", &perp(Side::Buy, "1")).unwrap();
    rig.fill("a", Side::Buy, "100", "1", "0");
    rig.end("a", Word::Done);
    assert_eq!(rig.has("USDT").0, d("2"));
    assert_eq!(rig.reserve("b", &perp(Side::Sell, "1")), Ok(None));
    assert_eq!(
        rig.reserve("c", &perp(Side::Sell, "1")),
        Err(CryptoCode::InsufficientBalance)
    );
    rig.end("b", Word::Canceled);
    assert_eq!(rig.reserve("c", &perp(Side::Sell, "1")), Ok(None));
}

/// Long 2 at 100, margin 20, maintenance 0.5 %: liquidation at or below 180 / 1.99 = 90.452.
#[test]
fn a_position_ends_where_its_margin_does() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    rig.fill("a", Side::Buy, "100", "2", "0.1");
    rig.end("a", Word::Done);
    let mark = |rig: &mut Rig, price: &str, at: i64| {
        rig.account
            .on_mark(&rig.instrument, d(price), FEES, TsNanos::from_ms(at))
    };
    assert_eq!(mark(&mut rig, "90.46", 1_000), []);
    let found = mark(&mut rig, "90.4", 2_000);
    let [one] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(one.client_id, "liquidation-2000-1");
    assert_eq!(one.price, d("90.4"));
    // 90.4 × 2 × 0.0005; the margin has 0.8 left.
    assert_eq!(one.fee, d("0.0904"));
    // It is under way.
    assert_eq!(mark(&mut rig, "90.3", 3_000), []);
    let id = one.client_id.clone();
    rig.fill(&id, Side::Sell, "90.4", "2", "0.0904");
    assert_eq!(rig.has("USDT"), (d("980.6096"), d("980.6096")));
    assert_eq!(rig.account.positions(), []);
    assert_eq!(mark(&mut rig, "50", 4_000), []);
}

#[test]
fn a_loss_ends_at_the_margin() {
    for (side, at, price, is_loss_of_all) in [
        (Side::Buy, "50", "90", true),
        (Side::Buy, "90.02", "90.02", false),
        (Side::Sell, "200", "110", true),
    ] {
        let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
        rig.reserve("a", &perp(side, "2")).unwrap();
        rig.fill("a", side, "100", "2", "0");
        rig.end("a", Word::Done);
        let found = rig
            .account
            .on_mark(&rig.instrument, d(at), FEES, TsNanos(1));
        assert_eq!(found[0].price, d(price));
        // 90.02: 0.04 of the margin are left, less than the fee of 0.09.
        let fee = if is_loss_of_all { d("0") } else { d("0.04") };
        assert_eq!(found[0].fee, fee);
        let id = found[0].client_id.clone();
        let close = if side == Side::Buy {
            Side::Sell
        } else {
            Side::Buy
        };
        let fee = fee.to_string();
        rig.fill(&id, close, price, "2", &fee);
        assert_eq!(rig.has("USDT"), (d("980"), d("980")));
    }
}

#[test]
fn a_liquidation_that_led_to_nothing_is_tried_again() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    rig.fill("a", Side::Buy, "100", "2", "0.1");
    let mut mark = |ms| {
        let at = TsNanos::from_ms(ms);
        rig.account
            .on_mark(&rig.instrument, d("80"), FEES, at)
            .len()
    };
    assert_eq!([mark(1_000), mark(60_999), mark(61_000)], [1, 0, 1]);
}

#[test]
fn funding_is_paid_once_a_settlement() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    rig.fill("a", Side::Buy, "100", "2", "0");
    let mut settle = |rate: &str, at: i64| {
        let mut facts = Facts::default();
        let paid =
            rig.account
                .on_funding(&rig.instrument, d(rate), d("101"), TsNanos(at), &mut facts);
        (paid, facts.balances.len(), facts.positions.len())
    };
    // 2 × 101 × 0.0001
    assert_eq!(settle("0.0001", 8), (d("0.0202"), 1, 1));
    assert_eq!(settle("0.0001", 8), (d("0"), 0, 0));
    assert_eq!(settle("0.0001", 7), (d("0"), 0, 0));
    assert_eq!(settle("-0.0003", 16), (d("-0.0606"), 1, 1));
    assert_eq!(rig.account.total("USDT"), d("1000.0404"));
    assert_eq!(rig.account.positions()[0].funding_cost, Some(d("-0.0404")));
}

#[test]
fn funding_that_is_not_free_comes_out_of_the_margin() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "20.5")]);
    rig.reserve("a", &perp(Side::Sell, "2")).unwrap();
    rig.fill("a", Side::Sell, "100", "2", "0.1");
    rig.end("a", Word::Done);
    // Short: pays while the rate is negative: 2 × 100 × 0.005 = 1; 0.4 are free.
    let mut facts = Facts::default();
    let paid = rig.account.on_funding(
        &rig.instrument,
        d("-0.005"),
        d("100"),
        TsNanos(1),
        &mut facts,
    );
    assert_eq!(paid, d("1"));
    assert_eq!(rig.has("USDT"), (d("0"), d("19.4")));
    let position = &rig.account.positions()[0];
    assert_eq!(position.margin, Some(d("19.4")));
    // (200 + 19.4) / (2 × 1.005)
    assert_eq!(position.liquidation_price, Some(d("109.15422886")));
}

#[test]
fn leverage_moves_the_margin() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "110")]);
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    rig.fill("a", Side::Buy, "100", "2", "0");
    rig.end("a", Word::Done);
    rig.account
        .on_mark(&rig.instrument, d("99"), FEES, TsNanos(1));
    let mut set = |leverage| {
        let result = rig.account.set_leverage(&rig.instrument, leverage);
        (
            result.map_err(|error| error.code),
            rig.account.locked("USDT"),
        )
    };
    assert_eq!(set(2), (Ok(()), d("100")));
    assert_eq!(set(1), (Err(CryptoCode::InsufficientBalance), d("100")));
    assert_eq!(set(0), (Err(CryptoCode::InvalidParameter), d("100")));
    assert_eq!(set(101), (Err(CryptoCode::InvalidParameter), d("100")));
    // 200 / 80 = 2.5 less the loss of 2 is less than 0.99.
    assert_eq!(set(80), (Err(CryptoCode::InvalidParameter), d("100")));
    assert_eq!(set(50), (Ok(()), d("4")));
    assert_eq!(rig.account.leverage("BTCUSDT"), 50);
}

#[test]
fn hedged_positions_have_margins_of_their_own() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    rig.account = Account::new(Setup {
        is_hedged: true,
        ..setup(&[("USDT", "1000")])
    });
    for (id, side, position) in [
        ("a", Side::Buy, PositionSide::Long),
        ("b", Side::Sell, PositionSide::Short),
    ] {
        let order = OrderTerms {
            position_side: Some(position),
            ..perp(side, "1")
        };
        rig.reserve(id, &order).unwrap();
        rig.fill(id, side, "100", "1", "0");
        rig.end(id, Word::Done);
    }
    assert!(rig.account.is_hedged());
    assert_eq!(rig.account.position("BTCUSDT", PositionSide::Long), d("1"));
    assert_eq!(
        rig.account.position("BTCUSDT", PositionSide::Short),
        d("-1")
    );
    assert_eq!(rig.has("USDT"), (d("980"), d("1000")));
    // Only the long one is used up.
    let found = rig
        .account
        .on_mark(&rig.instrument, d("90"), FEES, TsNanos(1));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].position_side, PositionSide::Long);
    let id = found[0].client_id.clone();
    rig.fill(&id, Side::Sell, "90", "1", "0");
    assert_eq!(rig.account.position("BTCUSDT", PositionSide::Long), d("0"));
    assert_eq!(
        rig.account.position("BTCUSDT", PositionSide::Short),
        d("-1")
    );
}

#[test]
fn an_account_is_read_back_and_begins_anew() {
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    rig.reserve("a", &perp(Side::Buy, "2")).unwrap();
    rig.fill("a", Side::Buy, "100", "1", "0.05");
    let rest = OrderTerms {
        order_type: OrderType::Limit,
        price: Some(d("90")),
        ..perp(Side::Buy, "1")
    };
    rig.reserve("b", &rest).unwrap();
    rig.account
        .on_mark(&rig.instrument, d("50"), FEES, TsNanos(1));
    let text = serde_json::to_string(rig.account.state()).unwrap();
    let state: AccountState = serde_json::from_str(&text).unwrap();
    let mut read = Account::restored(setup(&[("USDT", "5")]), state);
    assert_eq!(read.state(), rig.account.state());
    assert_eq!(read.balances(), rig.account.balances());
    assert_eq!(read.positions(), rig.account.positions());
    let before = read.locked("USDT");
    read.keep_locks(|id| id == "b");
    // 1 of 2 at 100.1 × (0.1 + 0.0005) was held by the other.
    assert_eq!(read.locked("USDT"), before - d("10.06005"));
    read.reset();
    assert_eq!(read, Account::new(setup(&[("USDT", "5")])));
}

/// Two venues of ccxt list the same name: what is held at one is not held at the other, and each position
/// leads back to its instrument.
#[test]
fn venues_of_a_bridge_keep_their_positions_apart() {
    let at = |venue: &str| InstrumentSpec {
        provider: ProviderId::CCXT,
        exchange: venue.to_owned(),
        ..spec(Market::Perp)
    };
    let mut table = InstrumentTable::default();
    for venue in ["bybit", "kraken"] {
        table = table.with_venue(ProviderId::CCXT, venue, Market::Perp, vec![at(venue)]);
    }
    let mut rig = Rig::new(Market::Perp, &[("USDT", "1000")]);
    for (side, instrument) in [Side::Buy, Side::Sell].into_iter().zip(table.iter()) {
        rig.instrument = instrument.clone();
        let id = &instrument.spec.exchange;
        rig.reserve(id, &perp(side, "1")).unwrap();
        rig.fill(id, side, "100", "1", "0.05");
        rig.end(id, Word::Done);
    }
    let held = rig.account.positions();
    let venues: Vec<(&str, Decimal)> = held
        .iter()
        .map(|position| {
            let found = table.by_native(ProviderId::CCXT, Market::Perp, &position.native_symbol);
            (found.unwrap().spec.exchange.as_str(), position.quantity)
        })
        .collect();
    assert_eq!(venues, [("bybit", d("1")), ("kraken", d("-1"))]);
}
