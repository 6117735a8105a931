//! What the capabilities offer is taken, and what they leave out is refused by name: each type of order,
//! and all else that an order can be, on every market of every exchange, on paper and live.

use std::time::Duration;

use bookwire_sim::Exchange;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::trading::{Trader, code, exchanges, live_with};

const LIMITS: &str = "\n[limits]\ntrading_per_minute = 1000000\ncancels_per_minute = 1000000\n";

fn with(base: &Value, more: Value) -> Value {
    let mut body = base.clone();
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn offers(support: &Value, what: &str, name: &str) -> bool {
    support[what].as_array().unwrap().contains(&json!(name))
}

/// One market's offer.
struct Offered<'a> {
    trader: &'a Trader,
    support: &'a Value,
    base: Value,
}

impl Offered<'_> {
    /// Not faster than the exchange allows: Bybit ten orders a second.
    async fn place(&self, more: &Value) -> (u16, Value) {
        tokio::time::sleep(Duration::from_millis(120)).await;
        self.trader.place(with(&self.base, more.clone())).await
    }

    /// An order is taken, and ended should it rest.
    async fn is_taken(&self, more: Value) -> Value {
        let (status, order) = self.place(&more).await;
        let log = || self.trader.rig.log();
        assert_eq!(status, 201, "{more} at {}: {order}\n{}", self.base, log());
        self.end(&order).await;
        order
    }

    async fn end(&self, order: &Value) {
        let id = order["order_id"].as_str().unwrap();
        let path = format!("/api/trading/orders/{id}");
        let (status, ended) = self.trader.ask(Method::DELETE, &path, None).await;
        assert!([200, 404].contains(&status), "{ended}");
        let ends = ["canceled", "filled", "expired"];
        self.trader.until(id, &ends).await;
    }

    fn is_refused(&self, (status, error): (u16, Value), field: &str) {
        let told = (status, code(&error));
        assert_eq!(
            told,
            (501, "CRYPTO_UNSUPPORTED"),
            "{field} at {}: {error}",
            self.base
        );
        let details = &error["error"]["details"];
        assert_eq!(details["parameter"], field, "{}: {error}", self.base);
    }

    /// Taken where it is offered, refused by the field's name where it is not.
    async fn is_as_told(&self, is_offered: bool, field: &str, more: Value) {
        if is_offered {
            self.is_taken(more).await;
            return;
        }
        let answer = self.trader.place(with(&self.base, more)).await;
        self.is_refused(answer, field);
    }

    /// No exchange's matter: the order itself makes no sense.
    async fn is_wrong(&self, field: &str, more: Value) {
        let (status, error) = self.trader.place(with(&self.base, more)).await;
        let told = (status, code(&error));
        assert_eq!(told, (400, "CRYPTO_INVALID_PARAMETER"), "{field}: {error}");
        assert_eq!(error["error"]["details"]["parameter"], field, "{error}");
    }
}

/// Goes through a provider's markets.
async fn walk(trader: &Trader, exchange: Exchange, mode: &str) {
    let provider = exchange.as_str();
    let (_, all) = trader.rig.get("/api/crypto/providers/capabilities").await;
    let told = &all[provider];
    assert_eq!(told["trading_mode"], mode, "{told}");
    let (_, accounts) = trader
        .ask(
            Method::GET,
            &format!("/api/trading/accounts?provider={provider}"),
            None,
        )
        .await;
    let account = &accounts["accounts"][0];
    assert_eq!(account["order_support"], told["order_support"], "{account}");
    let markets = told["order_support"].as_object().unwrap();
    let lends = markets.values().any(|market| market["margin"] == true);
    assert_eq!(told["margin_trading"], lends, "{told}");
    // Nobody lends on paper, and at Binance and Coinbase it is not implemented.
    let is_lent = mode == "live" && matches!(exchange, Exchange::Okx | Exchange::Bybit);
    assert_eq!(told["margin_trading"], is_lent, "{told}");
    for (market, support) in markets {
        let is_spot = market == "spot";
        let (kind, code) = match (is_spot, exchange) {
            (true, Exchange::Coinbase) => ("cryptopair", "btcusd"),
            (true, _) => ("cryptopair", "btcusdt"),
            (false, _) => ("cryptoperp", "btcusdt"),
        };
        let entity = format!("{kind}_{provider}_{code}");
        let (bid, _) = trader.touch(provider, code, &entity).await;
        let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
        let up = (bid * Decimal::new(103, 2)).round_dp(0).to_string();
        let offered = Offered {
            trader,
            support,
            base: json!({"provider": provider, "entity_id": entity, "side": "buy",
                "quantity": "0.02"}),
        };
        one_market(&offered, is_spot, &far, &up).await;
    }
}

async fn one_market(offered: &Offered<'_>, is_spot: bool, far: &str, up: &str) {
    let support = offered.support;
    for (order_type, more) in [
        ("market", json!({})),
        ("limit", json!({"price": far})),
        ("stop_market", json!({"stop_price": up})),
        ("stop_limit", json!({"stop_price": up, "price": up})),
    ] {
        let more = with(&more, json!({"type": order_type}));
        let is_offered = offers(support, "types", order_type);
        offered.is_as_told(is_offered, "type", more).await;
    }
    let limit = json!({"type": "limit", "price": far});
    for lasts in ["GTC", "IOC", "FOK"] {
        // Some exchanges refuse one outright that finds nothing at once.
        let price = if lasts == "GTC" { far } else { up };
        let more = with(&limit, json!({"time_in_force": lasts, "price": price}));
        let is_offered = offers(support, "time_in_force", lasts);
        offered.is_as_told(is_offered, "time_in_force", more).await;
    }
    let has = |what: &str| support[what].as_bool().unwrap();
    let post = with(&limit, json!({"post_only": true}));
    offered
        .is_as_told(has("post_only"), "post_only", post)
        .await;
    let borrows = with(&limit, json!({"margin_trading": true}));
    // What was bought above is sold.
    let reduces = json!({"type": "market", "side": "sell", "reduce_only": true});
    let long = with(&limit, json!({"position_side": "long"}));
    if is_spot {
        offered
            .is_as_told(has("margin"), "margin_trading", borrows)
            .await;
        offered.is_wrong("reduce_only", reduces).await;
        offered.is_wrong("position_side", long).await;
    } else {
        offered.is_wrong("margin_trading", borrows).await;
        offered
            .is_as_told(has("reduce_only"), "reduce_only", reduces)
            .await;
        // Accounts of the simulators keep one position a symbol.
        match has("hedge_mode") {
            true => offered.is_wrong("position_side", long).await,
            false => offered.is_as_told(false, "position_side", long).await,
        }
    }
    let mut leverage = offered.base.clone();
    let fields = leverage.as_object_mut().unwrap();
    fields.retain(|name, _| ["provider", "entity_id"].contains(&name.as_str()));
    fields.insert("leverage".to_owned(), json!(3));
    let path = "/api/trading/leverage";
    let (status, told) = offered.trader.ask(Method::POST, path, Some(leverage)).await;
    match has("leverage") {
        true => assert_eq!(status, 200, "{told}"),
        false => assert_eq!((status, code(&told)), (501, "CRYPTO_UNSUPPORTED"), "{told}"),
    }
    amends(offered, &limit, far).await;
}

/// How an order is amended is as was told, and the answer says it.
async fn amends(offered: &Offered<'_>, limit: &Value, far: &str) {
    let how = offered.support["amend"].as_str().unwrap();
    let lower = (far.parse::<Decimal>().unwrap() - Decimal::TEN).to_string();
    for (change, in_place) in [
        (
            json!({"quantity": "0.01"}),
            ["in_place", "in_place_to_less"].contains(&how),
        ),
        (json!({"price": lower}), how == "in_place"),
    ] {
        let (status, order) = offered.place(limit).await;
        assert_eq!(status, 201, "{order}");
        let id = order["order_id"].as_str().unwrap();
        offered.trader.until(id, &["open"]).await;
        let path = format!("/api/trading/orders/{id}?numbers=string");
        let (status, amended) = offered
            .trader
            .ask(Method::PATCH, &path, Some(change.clone()))
            .await;
        assert_eq!(status, 200, "{change} at {}: {amended}", offered.base);
        let (field, wanted) = change.as_object().unwrap().iter().next().unwrap();
        assert_eq!(amended[field], *wanted, "{amended}");
        match in_place {
            true => {
                assert_eq!(
                    amended["amended"], "in_place",
                    "{}: {amended}",
                    offered.base
                );
                assert_eq!(amended["order_id"], id, "{amended}");
            }
            false => {
                assert_eq!(
                    amended["amended"], "replaced",
                    "{}: {amended}",
                    offered.base
                );
                assert_eq!(amended["replaces"], id, "{amended}");
                offered.trader.until(id, &["canceled"]).await;
            }
        }
        offered.end(&amended).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_is_taken_and_nothing_else_live() {
    let all = Exchange::ALL;
    let trader = live_with(&all, LIMITS, |_| {}, Value::clone).await;
    for exchange in all {
        trader.ready(exchange.as_str()).await;
        walk(&trader, exchange, "live").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_is_taken_and_nothing_else_on_paper() {
    let trader = Trader::new(Rig::start_with(exchanges(&Exchange::ALL), LIMITS).await).await;
    for exchange in Exchange::ALL {
        walk(&trader, exchange, "paper").await;
    }
}
