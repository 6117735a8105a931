//! What an order that is over takes while it is kept: what a gateway that trades for days grows by.

#![allow(clippy::unwrap_used)]

use bookwire_engine::event::Side;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentTable, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::journal::Replayed;
use bookwire_engine::trading::ledger::{Ledger, LedgerOf};
use bookwire_engine::trading::order::{
    Order, OrderId, OrderTerms, OrderType, TimeInForce, TradingMode,
};
use bookwire_engine::trading::state::{OrderNews, Word};
use bookwire_engine::trading::venue::{Facts, FillReport, OrderReport, ReportTerms};
use rust_decimal::Decimal;

const ORDERS: u128 = 10_000;
/// Bytes, as they are asked for of the allocator; an execution included.
const MOST: i64 = 1_600;

fn order(number: u128) -> Order {
    let at = TsNanos(1_700_000_000_000_000_000 + number as i64 * 1_000_000);
    let id = OrderId::new(at, number);
    let terms = OrderTerms {
        provider: ProviderId::BINANCE,
        account: "default".to_owned(),
        entity_id: "cryptopair_binance_btcusdt".to_owned(),
        market: Market::Spot,
        symbol: "btcusdt".to_owned(),
        native_symbol: "BTCUSDT".to_owned(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: Decimal::new(123_456, 5),
        price: Some(Decimal::new(6_400_000, 2)),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: Some(format!("strategy-7-{number:016}")),
    };
    Order::new(id, terms, id.to_string(), TradingMode::Live, at)
}

/// Its end and its execution, as a private stream tells them.
fn filled(order: &Order, number: u128) -> Facts {
    let exchange_id = format!("{}", 28_457_000_000_u128 + number);
    let terms = &order.terms;
    Facts {
        orders: vec![OrderReport {
            market: terms.market,
            native_symbol: terms.native_symbol.clone(),
            client_id: Some(order.native_client_id.clone()),
            news: OrderNews {
                filled: Some(terms.quantity),
                average_price: terms.price,
                quantity: Some(terms.quantity),
                price: terms.price,
                exchange_order_id: Some(exchange_id.clone()),
                ..OrderNews::new(Word::Done, order.created_at)
            },
            terms: ReportTerms::default(),
        }],
        fills: vec![FillReport {
            market: terms.market,
            native_symbol: terms.native_symbol.clone(),
            fill_id: format!("{}", 3_900_000_000_u128 + number),
            client_id: None,
            exchange_id: Some(exchange_id),
            side: None,
            price: terms.price.unwrap(),
            quantity: terms.quantity,
            fee: Some(Decimal::new(1, 5)),
            fee_asset: Some("BNB".to_owned()),
            is_maker: Some(true),
            at: order.created_at,
        }],
        ..Facts::default()
    }
}

#[test]
fn an_order_that_is_kept_takes_no_more_than_told() {
    let of = LedgerOf {
        provider: ProviderId::BINANCE,
        account: "default".to_owned(),
        mode: TradingMode::Live,
    };
    let table = InstrumentTable::default();
    let mut ledger = Ledger::new(of, Replayed::default());
    let counted = allocation_counter::measure(|| {
        for number in 0..ORDERS {
            let order = order(number);
            let (facts, at) = (filled(&order, number), order.created_at);
            ledger.insert(order);
            ledger.absorb(&facts, &table, at);
        }
    });
    let each = counted.bytes_current / ORDERS as i64;
    println!("{each} bytes an order");
    assert_eq!(ledger.open_orders().count(), 0);
    assert!(each <= MOST, "{each} bytes an order");
}
