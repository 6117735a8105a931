//! Orders over the exchanges' own WebSockets.

use bookwire_sim::Exchange;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::secrets::nothing_tells_secrets;
use crate::trading::{live, trades_instrument};

/// What every exchange has to be able to do, over its WebSocket for orders.
async fn trades_by_socket(exchange: Exchange, instruments: &[(&str, &str)]) {
    let trader = live(exchange, "websocket").await;
    let provider = exchange.as_str();
    for (entity, quantity) in instruments {
        trades_instrument(&trader, provider, entity, quantity).await;
    }
    let socket = trader.socket(provider).await;
    // Two orders and a cancellation each at least, and nothing by HTTP.
    let least = 3 * instruments.len() as u64;
    assert!(socket["commands"].as_u64().unwrap() >= least, "{socket}");
    assert_eq!(socket["by_rest"], 0, "{socket}");
    nothing_tells_secrets(&trader, provider);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_orders_by_socket_at_binance() {
    let instruments = [
        ("cryptopair_binance_btcusdt", "0.01"),
        ("cryptoperp_binance_btcusdt", "0.01"),
    ];
    trades_by_socket(Exchange::Binance, &instruments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_orders_by_socket_at_okx() {
    trades_by_socket(Exchange::Okx, &[("cryptoperp_okx_btcusdt", "0.1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_orders_by_socket_at_bybit() {
    trades_by_socket(Exchange::Bybit, &[("cryptopair_bybit_btcusdt", "0.01")]).await;
}

/// What was written to a line that ends is in doubt and asked for; what comes while it is down goes by HTTP;
/// an answer that is late makes its order unknown for a while and does not end the line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_dies_loses_and_doubles_nothing() {
    let (exchange, provider) = (Exchange::Binance, "binance");
    let trader = live(exchange, "websocket").await;
    let control = trader.rig.sim.control().of(exchange).unwrap();
    let entity = "cryptopair_binance_btcusdt";
    let (bid, _) = trader.touch(provider, entity, entity).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
    let place = async |name: &str| {
        let order = json!({"provider": provider, "entity_id": entity, "side": "buy", "type": "limit",
            "quantity": "0.01", "price": far, "client_order_id": name});
        let (status, order) = trader.place(order).await;
        // Unknown, unless the private stream was faster.
        assert!(matches!(status, 201 | 202), "{name}: {order}");
        order["order_id"].as_str().unwrap().to_owned()
    };
    let mut placed = Vec::new();
    control.inject("drop-reply:path=order.place".parse().unwrap());
    placed.push(place("lost").await);
    placed.push(place("meanwhile").await);
    let of = |socket: &Value| (socket["commands"].clone(), socket["by_rest"].clone());
    let socket = trader.socket(provider).await;
    assert_eq!(of(&socket), (json!(1), json!(1)), "{socket}");
    trader.socket_up(provider).await;
    let late = control.inject("late-reply:ms=2000,path=order.place".parse().unwrap());
    placed.push(place("late").await);
    control.clear(late);
    placed.push(place("after").await);
    let socket = trader.socket(provider).await;
    assert_eq!(of(&socket), (json!(3), json!(1)), "{socket}");
    assert_eq!(socket["reconnects"], 1, "{socket}");
    for id in &placed {
        trader.until(id, &["open"]).await;
    }
    let truth = control.accounts().remove(0);
    let mut there: Vec<&str> = truth
        .orders
        .iter()
        .map(|it| it.client_id.as_str())
        .collect();
    there.sort_unstable();
    placed.sort_unstable();
    assert_eq!(there, placed);
}
