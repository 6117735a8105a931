//! The user's own limits, each refusing what goes beyond it by its name, and never a cancellation.

use std::time::Duration;

use bookwire_sim::Exchange;
use futures_util::future::join_all;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::trading::{Trader, code, exchanges};

const PERP: &str = "cryptoperp_binance_btcusdt";
const LIMITS: &str = "
[trading.limits]
instruments = [\"cryptoperp_binance_btcusdt\"]
max_order_notional = \"1000\"
max_position = \"0.012\"
max_open_orders = 2
price_collar_percent = \"10\"

[trading.key_limits]
max_position_notional = \"500\"
max_orders_per_second = 1
";

fn is_refused((status, error): &(u16, Value), scope: &str, limit: &str) {
    let told = (*status, code(error));
    assert_eq!(told, (403, "CRYPTO_RISK_LIMIT"), "{limit}: {error}");
    let details = &error["error"]["details"];
    assert_eq!(details["limit"], limit, "{error}");
    assert_eq!(details["scope"], scope, "{error}");
    assert!(
        !details["allowed"].is_null() && !details["value"].is_null(),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_limit_refuses_by_its_name_and_cancels_pass() {
    let trader = Trader::new(Rig::start_with(exchanges(&[Exchange::Binance]), LIMITS).await).await;
    let (bid, _) = trader.touch("binance", "btcusdt", PERP).await;
    // What the limits above are made for.
    assert!(
        (45_000..80_000).contains(&i64::try_from(bid.trunc()).unwrap()),
        "{bid}"
    );
    let far = (bid * Decimal::new(95, 2)).round_dp(0);
    let buy = async |entity: &str, quantity: &str, price: Decimal| {
        let body = json!({"provider": "binance", "entity_id": entity, "side": "buy", "type": "limit",
            "quantity": quantity, "price": price.to_string()});
        trader.place(body).await
    };
    let wild = (bid * Decimal::new(15, 1)).round_dp(0);
    for (entity, quantity, price, scope, limit) in [
        (
            "cryptopair_binance_btcusdt",
            "0.001",
            far,
            "account",
            "instruments",
        ),
        (PERP, "0.050", far, "account", "max_order_notional"),
        (PERP, "0.013", far, "account", "max_position"),
        (PERP, "0.012", far, "key", "max_position_notional"),
        (PERP, "0.004", wild, "account", "price_collar_percent"),
    ] {
        is_refused(&buy(entity, quantity, price).await, scope, limit);
    }
    let mut open = Vec::new();
    for _ in 0..2 {
        let (status, order) = buy(PERP, "0.002", far).await;
        assert_eq!(status, 201, "{order}");
        open.push(order["order_id"].as_str().unwrap().to_owned());
        // One a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    is_refused(&buy(PERP, "0.002", far).await, "account", "max_open_orders");
    // Amendments count as orders do.
    let path = format!("/api/trading/orders/{}", open[0]);
    let amendments = (1..=4).map(|step| {
        let lower = (far - Decimal::from(step)).to_string();
        trader.ask(Method::PATCH, &path, Some(json!({"price": lower})))
    });
    let answers = join_all(amendments).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|(status, _)| *status != 200)
        .collect();
    assert!(
        !refused.is_empty() && refused.len() < answers.len(),
        "{answers:?}"
    );
    for answer in refused {
        is_refused(answer, "key", "max_orders_per_second");
        let wait = &answer.1["error"]["details"]["retry_after_ms"];
        assert!(
            wait.as_u64().is_some_and(|wait| wait <= 1_000),
            "{answer:?}"
        );
    }
    for id in &open {
        let path = format!("/api/trading/orders/{id}");
        let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
        assert_eq!(
            (status, &canceled["status"]),
            (200, &json!("canceled")),
            "{canceled}"
        );
    }
    // What was refused is no order.
    let (_, all) = trader.ask(Method::GET, "/api/trading/orders", None).await;
    assert_eq!(all["orders"].as_array().unwrap().len(), 2, "{all}");
}
