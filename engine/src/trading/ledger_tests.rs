//! What a ledger makes of facts in any order.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::venue::ReportTerms;
use super::*;
use crate::event::Side;
use crate::instrument::InstrumentSpec;

fn table() -> InstrumentTable {
    let spec = InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market: Market::Spot,
        native_symbol: "BTCUSDT".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: None,
        price_step: Decimal::new(1, 2),
        qty_step: Decimal::new(1, 5),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    };
    InstrumentTable::default().with_market(ProviderId::BINANCE, Market::Spot, vec![spec])
}

fn ledger() -> Ledger {
    let of = LedgerOf {
        provider: ProviderId::BINANCE,
        account: "default".to_owned(),
        mode: TradingMode::Live,
    };
    Ledger::new(of, Replayed::default())
}

fn order(number: u128) -> Order {
    let terms = OrderTerms {
        provider: ProviderId::BINANCE,
        account: "default".to_owned(),
        entity_id: "cryptopair_binance_btcusdt".to_owned(),
        market: Market::Spot,
        symbol: "btcusdt".to_owned(),
        native_symbol: "BTCUSDT".to_owned(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: 10.into(),
        price: Some(100.into()),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: Some(format!("mine-{number}")),
    };
    let id = OrderId(number);
    Order::new(id, terms, id.to_string(), TradingMode::Live, TsNanos(1))
}

fn report(client: Option<&str>, exchange: &str, word: Word, filled: i64) -> OrderReport {
    OrderReport {
        market: Market::Spot,
        native_symbol: "BTCUSDT".to_owned(),
        client_id: client.map(str::to_owned),
        news: OrderNews {
            filled: Some(filled.into()),
            average_price: Some(100.into()),
            quantity: Some(10.into()),
            price: Some(100.into()),
            exchange_order_id: Some(exchange.to_owned()),
            ..OrderNews::new(word, TsNanos(5))
        },
        terms: ReportTerms {
            side: Some(Side::Sell),
            ..ReportTerms::default()
        },
    }
}

fn fill(id: &str, exchange: &str, quantity: i64) -> FillReport {
    FillReport {
        market: Market::Spot,
        native_symbol: "BTCUSDT".to_owned(),
        fill_id: id.to_owned(),
        client_id: None,
        exchange_id: Some(exchange.to_owned()),
        side: None,
        price: 100.into(),
        quantity: quantity.into(),
        fee: Some(Decimal::new(1, 1)),
        fee_asset: Some("BNB".to_owned()),
        is_maker: Some(true),
        at: TsNanos(6),
    }
}

fn facts(orders: Vec<OrderReport>, fills: Vec<FillReport>) -> Facts {
    Facts {
        orders,
        fills,
        ..Facts::default()
    }
}

#[test]
fn an_execution_counts_once_wherever_it_comes_from() {
    let (mut ledger, table) = (ledger(), table());
    let order = order(1);
    let native = order.native_client_id.clone();
    ledger.insert(order);
    let answer = facts(
        vec![report(Some(&native), "77", Word::WorksInPart, 4)],
        vec![fill("a", "77", 4)],
    );
    let absorbed = ledger.absorb(&answer, &table, TsNanos(9));
    assert_eq!(absorbed.orders.len(), 2);
    assert!(absorbed.wants_fills.is_empty() && absorbed.corrections.is_empty());
    // The stream says the same again, and then a question.
    for _ in 0..2 {
        let absorbed = ledger.absorb(&answer, &table, TsNanos(9));
        assert!(absorbed.is_empty(), "{absorbed:?}");
    }
    let order = ledger.order(OrderId(1)).unwrap();
    assert_eq!(order.filled_quantity, 4.into());
    assert_eq!(order.fees.of("BNB"), Some(Decimal::new(1, 1)));
    assert_eq!(ledger.fills_of(OrderId(1)).count(), 1);
}

#[test]
fn executions_that_are_missing_are_wanted() {
    let (mut ledger, table) = (ledger(), table());
    ledger.insert(order(1));
    let native = OrderId(1).to_string();
    let told = facts(vec![report(Some(&native), "77", Word::Done, 10)], vec![]);
    assert_eq!(
        ledger.absorb(&told, &table, TsNanos(9)).wants_fills,
        [OrderId(1)]
    );
    let told = facts(vec![], vec![fill("a", "77", 6)]);
    ledger.absorb(&told, &table, TsNanos(9));
    assert_eq!(ledger.order(OrderId(1)).unwrap().missing_fills(), 4.into());
}

#[test]
fn open_orders_of_others_are_adopted_once_and_closed_ones_are_not() {
    let (mut ledger, table) = (ledger(), table());
    let told = facts(
        vec![
            report(Some("by-hand"), "5", Word::Works, 0),
            report(None, "6", Word::Canceled, 0),
        ],
        vec![fill("z", "6", 1)],
    );
    let absorbed = ledger.absorb(&told, &table, TsNanos(9));
    assert_eq!((absorbed.orders.len(), absorbed.strange_fills), (1, 1));
    assert_eq!(absorbed.corrections.len(), 1);
    let adopted = ledger.open_orders().next().unwrap().clone();
    assert_eq!(adopted.origin, Origin::Adopted);
    assert_eq!(adopted.terms.side, Side::Sell);
    assert!(ledger.absorb(&told, &table, TsNanos(10)).orders.is_empty());
    // A restart finds it under the same number.
    let mut again = self::ledger();
    again.absorb(&told, &table, TsNanos(11));
    let other = again.open_orders().next().unwrap();
    assert_eq!(other.id.0 & 0xffff_ffff, adopted.id.0 & 0xffff_ffff);
}

/// Exchanges let a client's id be used again once its order is over.
#[test]
fn an_id_that_others_use_again_is_another_order() {
    let (mut ledger, table) = (ledger(), table());
    for (exchange, word) in [
        ("5", Word::Works),
        ("5", Word::Canceled),
        ("6", Word::Works),
    ] {
        let told = facts(vec![report(Some("by-hand"), exchange, word, 0)], vec![]);
        ledger.absorb(&told, &table, TsNanos(9));
    }
    let open: Vec<&Order> = ledger.open_orders().collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].exchange_order_id.as_deref(), Some("6"));
}

#[test]
fn open_orders_are_exactly_those_that_are_not_over() {
    let mut ledger = ledger();
    let check = |ledger: &Ledger, count: usize| {
        let all = ledger.list(&OrderFilter {
            limit: usize::MAX,
            ..OrderFilter::default()
        });
        let mut wanted: Vec<OrderId> = all
            .iter()
            .filter(|order| !order.status.is_final())
            .map(|order| order.id)
            .collect();
        wanted.sort_unstable();
        let open: Vec<OrderId> = ledger.open_orders().map(|order| order.id).collect();
        assert_eq!((&open, open.len()), (&wanted, count));
    };
    for number in 1..=5 {
        ledger.insert(order(number));
    }
    let mut over = order(6);
    over.status = OrderStatus::Expired;
    ledger.insert(over);
    check(&ledger, 5);
    let words = [Word::Works, Word::Refused, Word::Canceled, Word::Lost];
    for (number, word) in (1..).zip(words) {
        ledger.tell(OrderId(number), &OrderNews::new(word, TsNanos(10)));
    }
    check(&ledger, 3);
    // One that is believed never to have been, and was.
    ledger.tell(OrderId(4), &OrderNews::new(Word::NotThere, TsNanos(11)));
    check(&ledger, 2);
    ledger.tell(OrderId(4), &OrderNews::new(Word::Works, TsNanos(12)));
    check(&ledger, 3);
    ledger.tell(OrderId(1), &OrderNews::new(Word::Canceled, TsNanos(13)));
    check(&ledger, 2);
}

#[test]
fn client_ids_are_remembered() {
    let mut ledger = ledger();
    ledger.insert(order(1));
    assert!(matches!(ledger.known("mine-1"), Known::Order(order) if order.id == OrderId(1)));
    assert_eq!(ledger.known("mine-2"), Known::New);
    for number in 2..(FINAL_MAX + FINAL_MAX / 10 + 3) as u128 {
        let mut order = order(number);
        order.status = OrderStatus::Canceled;
        ledger.insert(order);
    }
    ledger.absorb(&Facts::default(), &table(), TsNanos(1));
    assert_eq!(ledger.known("mine-2"), Known::Forgotten(OrderId(2)));
    assert!(
        matches!(ledger.known("mine-1"), Known::Order(_)),
        "open orders stay"
    );
}

#[test]
fn balances_that_are_not_told_of_are_gone_only_when_all_were_told() {
    let (mut ledger, table) = (ledger(), table());
    let balance = |asset: &str, free: i64| Balance {
        market: None,
        asset: asset.to_owned(),
        free: free.into(),
        locked: 0.into(),
        total: free.into(),
    };
    let mut told = Facts {
        balances: vec![balance("BTC", 1), balance("USDT", 5)],
        has_all_balances: true,
        ..Facts::default()
    };
    assert_eq!(ledger.absorb(&told, &table, TsNanos(1)).balances.len(), 2);
    told.balances.remove(0);
    told.has_all_balances = false;
    assert!(ledger.absorb(&told, &table, TsNanos(1)).is_empty());
    told.has_all_balances = true;
    assert_eq!(
        ledger.absorb(&told, &table, TsNanos(1)).balances,
        [balance("BTC", 0)]
    );
    assert_eq!(ledger.free(Market::Spot, "USDT"), Some(5.into()));
    assert_eq!(ledger.free(Market::Spot, "ETH"), None);
}

proptest! {
    /// Whatever the order and however often facts come, the end is the same.
    #[test]
    fn the_order_of_facts_does_not_matter(seed: u64) {
        let native = OrderId(1).to_string();
        let steps = [
            facts(vec![report(Some(&native), "77", Word::Works, 0)], vec![]),
            facts(vec![report(Some(&native), "77", Word::WorksInPart, 3)], vec![]),
            facts(vec![report(None, "77", Word::WorksInPart, 7)], vec![]),
            facts(vec![report(Some(&native), "77", Word::Done, 10)], vec![]),
            facts(vec![], vec![FillReport { client_id: Some(native.clone()), ..fill("a", "77", 3) }]),
            facts(vec![], vec![FillReport { client_id: Some(native.clone()), ..fill("b", "77", 4) }]),
            facts(vec![], vec![FillReport { client_id: Some(native.clone()), ..fill("c", "77", 3) }]),
        ];
        let (mut ledger, table) = (ledger(), table());
        ledger.insert(order(1));
        // All of them, and some again, in an order that follows from the seed. The first names the
        // order's id at the exchange, without which others can't be told apart.
        ledger.absorb(&steps[0], &table, TsNanos(2));
        let mut state = seed;
        let mut left: Vec<usize> = (0..steps.len()).chain(0..steps.len()).collect();
        while !left.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % left.len();
            ledger.absorb(&steps[left.swap_remove(at)], &table, TsNanos(3));
            let all = ledger.orders.values().map(Box::as_ref);
            let open: Vec<&Order> = all.filter(|order| !order.status.is_final()).collect();
            prop_assert_eq!(ledger.open_orders().collect::<Vec<_>>(), open);
        }
        let order = ledger.order(OrderId(1)).unwrap();
        prop_assert_eq!(order.status, OrderStatus::Filled);
        prop_assert_eq!(order.filled_quantity, 10.into());
        prop_assert_eq!(order.known_fills, 10.into());
        prop_assert_eq!(order.average_price, Some(100.into()));
        prop_assert_eq!(order.fees.of("BNB"), Some(Decimal::new(3, 1)));
        prop_assert_eq!(ledger.fills_of(OrderId(1)).count(), 3);
    }
}
