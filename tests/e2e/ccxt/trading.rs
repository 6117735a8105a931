//! ccxt and ccxt.pro trade at the simulators: orders, balances, positions and private streams are
//! what the simulators say that they really are.

use std::time::{Duration, Instant};

use bookwire_sim::{AccountTruth, Exchange, Segment, Sim, SimConfig};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{number, rows};
use crate::rig::python::{self, Ccxt};

/// An exchange of ccxt, and what is traded there.
struct Place {
    exchange: Exchange,
    id: &'static str,
    symbol: &'static str,
    market: Segment,
    /// Base units of an order.
    amount: &'static str,
    /// What is in ccxt's errors for too small an order, for one without the money, and for one that
    /// is not there. It knows the codes of futures by the host alone, which is another one here.
    errors: [&'static str; 3],
}

const PLACES: [Place; 2] = [
    Place {
        exchange: Exchange::Binance,
        id: "binance",
        symbol: "BTC/USDT",
        market: Segment::Spot,
        amount: "0.002",
        errors: ["BadRequest", "InsufficientFunds", "OrderNotFound"],
    },
    Place {
        exchange: Exchange::Binance,
        id: "binanceusdm",
        symbol: "BTC/USDT:USDT",
        market: Segment::Linear,
        amount: "0.02",
        errors: ["-4164", "-2019", "-2011"],
    },
];

/// A place at work.
struct Trader<'a> {
    sim: &'a Sim,
    ccxt: &'a mut Ccxt,
    place: &'a Place,
}

/// Where ccxt sends orders over the exchange's WebSocket: its name, a symbol, the amount in its units, and
/// what it says of an order that is not there.
const SOCKETS: [(Exchange, &str, &str, &str, &str); 4] = [
    (Exchange::Binance, "binance", "BTC/USDT", "0.002", "-2011"),
    (
        Exchange::Binance,
        "binanceusdm",
        "BTC/USDT:USDT",
        "0.02",
        "-2011",
    ),
    (Exchange::Okx, "okx", "BTC/USDT:USDT", "1", "51400"),
    (Exchange::Bybit, "bybit", "BTC/USDT", "0.002", "170213"),
];

/// ccxt logs in, places and takes back over the WebSockets for orders; what it is answered is what the
/// simulators have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_trades_by_socket() {
    let Some(python) = python::find() else { return };
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let endpoints = sim.endpoints();
    let mut ccxt = Ccxt::start(&python);
    for (exchange, id, symbol, amount, unknown) in SOCKETS {
        let own = &endpoints[exchange.as_str()];
        ccxt.call(
            &json!({"call": "open", "exchange": id, "hosts": own["hosts"],
            "keys": own["credentials"]}),
        );
        let call =
            |method: &str, args: Value| json!({"call": method, "exchange": id, "args": args});
        let book = ccxt.call(&call("fetch_order_book", json!([symbol, 5])));
        let away = number(&book["bids"][0][0]) - Decimal::from(500);
        let order = json!([symbol, "limit", "buy", amount, away.to_string()]);
        let placed = ccxt.call(&call("create_order_ws", order));
        let order_id = placed["id"].as_str().unwrap().to_owned();
        let control = sim.control().of(exchange).unwrap();
        let state = |order_id: &str| {
            let truth = control.accounts().remove(0);
            let is_it = |order: &&bookwire_sim::OrderTruth| order.number.to_string() == order_id;
            let order = truth.orders.iter().find(is_it).cloned();
            order.unwrap_or_else(|| panic!("{id}: no order {order_id}"))
        };
        let resting = state(&order_id);
        assert_eq!(resting.state, "new", "{id}: {resting:?}");
        assert_eq!(resting.price, Some(away), "{id}");
        ccxt.call(&call("cancel_order_ws", json!([order_id, symbol])));
        assert_eq!(state(&order_id).state, "canceled", "{id}");
        let bought = ccxt.call(&call(
            "create_order_ws",
            json!([symbol, "market", "buy", amount]),
        ));
        let bought = state(bought["id"].as_str().unwrap());
        assert_eq!(
            (bought.state, bought.filled),
            ("filled", bought.qty),
            "{id}"
        );
        let error = ccxt.refused(&call("cancel_order_ws", json!([order_id, symbol])));
        assert!(error.contains(unknown), "{id}: {error}");
    }
    assert_eq!(ccxt.call(&json!({"call": "close"})), json!(true));
    sim.shutdown().await;
}

/// What ccxt says so that a spot order borrows.
const LENDERS: [(Exchange, &str, &str, &str); 2] = [
    (Exchange::Okx, "okx", "marginMode", "cross"),
    (Exchange::Bybit, "bybit", "isLeverage", "1"),
];

/// Of an account that has too little, ccxt can sell what it borrows, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_borrows() {
    let Some(python) = python::find() else { return };
    let exchanges = LENDERS.map(|lender| lender.0).to_vec();
    let sim = Sim::start(SimConfig {
        exchanges,
        ..SimConfig::default()
    });
    let sim = sim.await.unwrap();
    let endpoints = sim.endpoints();
    let mut ccxt = Ccxt::start(&python);
    for (exchange, id, name, value) in LENDERS {
        let own = &endpoints[exchange.as_str()];
        ccxt.call(
            &json!({"call": "open", "exchange": id, "hosts": own["hosts"],
            "keys": own["credentials"]}),
        );
        let control = sim.control().of(exchange).unwrap();
        let total = || {
            let truth = control.accounts().remove(0);
            let row = truth.balances.into_iter().find(|row| row.asset == "BTC");
            row.unwrap().total
        };
        let left = Decimal::new(1, 3);
        control.deposit(0, Segment::Spot, "BTC", left - total());
        let sell = |params: Value| {
            json!({"call": "create_order", "exchange": id,
            "args": ["BTC/USDT", "market", "sell", "0.003", null, params]})
        };
        let error = ccxt.refused(&sell(json!({})));
        assert!(error.contains("InsufficientFunds"), "{id}: {error}");
        ccxt.call(&sell(json!({name: value})));
        assert_eq!(total(), -Decimal::new(2, 3), "{id}");
        // Not without end.
        let much = json!({"call": "create_order", "exchange": id,
            "args": ["BTC/USDT", "limit", "sell", "50", "1000000", {name: value}]});
        ccxt.refused(&much);
        assert_eq!(total(), -Decimal::new(2, 3), "{id}");
    }
    assert_eq!(ccxt.call(&json!({"call": "close"})), json!(true));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_trades() {
    let Some(python) = python::find() else { return };
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let endpoints = sim.endpoints();
    let mut ccxt = Ccxt::start(&python);
    for place in &PLACES {
        let own = &endpoints[place.exchange.as_str()];
        ccxt.call(
            &json!({"call": "open", "exchange": place.id, "hosts": own["hosts"],
            "keys": own["credentials"]}),
        );
        let mut trader = Trader {
            sim: &sim,
            ccxt: &mut ccxt,
            place,
        };
        trader.trade().await;
    }
    assert_eq!(ccxt.call(&json!({"call": "close"})), json!(true));
    sim.shutdown().await;
}

impl Trader<'_> {
    fn request(&self, method: &str, args: &Value) -> Value {
        json!({"call": method, "exchange": self.place.id, "args": args})
    }

    fn call(&mut self, method: &str, args: Value) -> Value {
        let request = self.request(method, &args);
        self.ccxt.call(&request)
    }

    fn refused(&mut self, method: &str, args: Value) -> String {
        let request = self.request(method, &args);
        self.ccxt.refused(&request)
    }

    fn watch(&mut self, method: &str) {
        let request = json!({"call": "watch", "exchange": self.place.id, "method": method,
            "args": []});
        self.ccxt.call(&request);
    }

    /// What a watch has told, once it has told of what is wanted.
    async fn watched(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(10);
        let request = json!({"call": "watched", "exchange": self.place.id, "method": method});
        loop {
            let told = self.ccxt.call(&request);
            if rows(&told).iter().any(&wanted) {
                return told;
            }
            assert!(Instant::now() < end, "{method}: {told}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn truth(&self) -> AccountTruth {
        let control = self.sim.control().of(self.place.exchange).unwrap();
        control.accounts().remove(0)
    }

    /// Compares an order of ccxt with what the exchange knows.
    fn check(&self, theirs: &Value, status: &str) {
        let truth = self.truth();
        let number_of = |order: &bookwire_sim::OrderTruth| order.number.to_string();
        let order = truth.orders.iter().find(|it| number_of(it) == theirs["id"]);
        let order = order.unwrap_or_else(|| panic!("no such order: {theirs}"));
        let context = format!("{theirs} and {order:?}");
        assert_eq!(theirs["status"], status, "{context}");
        assert_eq!(number(&theirs["filled"]), order.filled, "{context}");
        assert_eq!(number(&theirs["amount"]), order.qty, "{context}");
        assert_eq!(theirs["clientOrderId"], order.client_id, "{context}");
        let average = order.value.checked_div(order.filled);
        if let Some(average) = average.filter(|_| !theirs["average"].is_null()) {
            let off = (number(&theirs["average"]) - average).abs();
            assert!(off < Decimal::new(1, 1), "{context}");
        }
    }

    fn order(&self, kind: &str, side: &str, price: Option<Decimal>, more: Value) -> Value {
        let price = price.map(|price| price.to_string());
        json!([
            self.place.symbol,
            kind,
            side,
            self.place.amount,
            price,
            more
        ])
    }

    /// Places and takes back orders until ccxt hears of them: it subscribes in its own time.
    async fn hear(&mut self, away: Decimal) {
        let symbol = self.place.symbol;
        let watched = json!({"call": "watched", "exchange": self.place.id,
            "method": "watch_orders"});
        let end = Instant::now() + Duration::from_secs(30);
        while rows(&self.ccxt.call(&watched)).is_empty() {
            assert!(Instant::now() < end, "nothing is heard");
            let order = self.order("limit", "buy", Some(away), json!({}));
            let placed = self.call("create_order", order);
            self.call("cancel_order", json!([placed["id"], symbol]));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn trade(&mut self) {
        let symbol = self.place.symbol;
        for method in ["watch_orders", "watch_balance", "watch_my_trades"] {
            self.watch(method);
        }
        let book = self.call("fetch_order_book", json!([symbol, 5]));
        let bid = number(&book["bids"][0][0]);
        let away = bid - Decimal::from(500);
        self.hear(away).await;

        let order = self.order("limit", "buy", Some(away), json!({}));
        let placed = self.call("create_order", order);
        let id = placed["id"].clone();
        let fetched = self.call("fetch_order", json!([id, symbol]));
        self.check(&fetched, "open");
        let open = self.call("fetch_open_orders", json!([symbol]));
        assert!(rows(&open).iter().any(|order| order["id"] == id), "{open}");
        let is_open = move |told: &Value| rows(told).iter().any(|it| it["id"] == id);
        self.watched("watch_orders", is_open).await;

        let lower = (away - Decimal::from(20)).to_string();
        let amount = self.place.amount;
        let edited = json!([placed["id"], symbol, "limit", "buy", amount, lower]);
        let edited = self.call("edit_order", edited);
        let changed = self.call("fetch_order", json!([edited["id"], symbol]));
        self.check(&changed, "open");
        assert_eq!(number(&changed["price"]), away - Decimal::from(20));
        self.call("cancel_order", json!([edited["id"], symbol]));
        let canceled = self.call("fetch_order", json!([edited["id"], symbol]));
        self.check(&canceled, "canceled");
        let id = edited["id"].clone();
        let is_gone = move |told: &Value| {
            let gone = |it: &Value| it["id"] == id && it["status"] == "canceled";
            rows(told).iter().any(gone)
        };
        self.watched("watch_orders", is_gone).await;

        let order = self.order("market", "buy", None, json!({}));
        let bought = self.call("create_order", order);
        let fetched = self.call("fetch_order", json!([bought["id"], symbol]));
        self.check(&fetched, "closed");
        self.fills(&bought["id"]).await;
        let has_dollars = |told: &Value| told["USDT"].is_object();
        self.watched("watch_balance", has_dollars).await;
        self.conditional(bid).await;
        self.refusals(bid);
        self.money();
    }

    /// Fills as ccxt fetches and watches them.
    async fn fills(&mut self, id: &Value) {
        let symbol = self.place.symbol;
        let fetched = self.call("fetch_my_trades", json!([symbol]));
        let truth = self.truth();
        let fills = truth
            .fills
            .iter()
            .filter(|it| it.market == self.place.market);
        let fills: Vec<_> = fills.collect();
        assert_eq!(rows(&fetched).len(), fills.len(), "{fetched}");
        assert!(!fills.is_empty());
        for (theirs, fill) in rows(&fetched).iter().zip(fills) {
            let context = format!("{theirs} and {fill:?}");
            assert_eq!(theirs["id"], fill.trade_id.to_string(), "{context}");
            assert_eq!(theirs["order"], fill.order.to_string(), "{context}");
            assert_eq!(number(&theirs["price"]), fill.price, "{context}");
            assert_eq!(number(&theirs["amount"]), fill.qty, "{context}");
            assert_eq!(number(&theirs["fee"]["cost"]), fill.fee, "{context}");
            assert_eq!(theirs["fee"]["currency"], fill.fee_asset, "{context}");
            let word = if fill.is_maker { "maker" } else { "taker" };
            assert_eq!(theirs["takerOrMaker"], word, "{context}");
        }
        let id = id.clone();
        let is_told = move |told: &Value| rows(told).iter().any(|it| it["order"] == id);
        self.watched("watch_my_trades", is_told).await;
    }

    /// Stops wait, are told as such, and are taken back.
    async fn conditional(&mut self, bid: Decimal) {
        let symbol = self.place.symbol;
        let stop = bid - Decimal::from(900);
        let more = json!({"stopLossPrice": stop.to_string()});
        let order = self.order("limit", "sell", Some(stop - Decimal::ONE), more);
        let placed = self.call("create_order", order);
        let more = json!({"trigger": true});
        let more = match self.place.market {
            Segment::Linear => more,
            Segment::Spot => json!({}),
        };
        let open = self.call("fetch_open_orders", json!([symbol, null, null, more]));
        let mine = rows(&open).iter().find(|it| it["id"] == placed["id"]);
        let mine = mine.unwrap_or_else(|| panic!("{open}"));
        assert_eq!(number(&mine["triggerPrice"]), stop, "{mine}");
        let waiting = |truth: &AccountTruth| {
            let all = truth.orders.iter();
            all.filter(|order| order.state == "waiting").count()
        };
        assert_eq!(waiting(&self.truth()), 1);
        self.call("cancel_order", json!([placed["id"], symbol, more]));
        assert_eq!(waiting(&self.truth()), 0);
    }

    fn refusals(&mut self, bid: Decimal) {
        let symbol = self.place.symbol;
        let price = (bid - Decimal::from(300)).to_string();
        let smallest = match self.place.market {
            Segment::Spot => "0.00002",
            Segment::Linear => "0.001",
        };
        // A perpetual's smallest lot is worth enough at this price: ask for less worth.
        let low = match self.place.market {
            Segment::Spot => price.clone(),
            Segment::Linear => "1000".to_owned(),
        };
        let error = self.refused(
            "create_order",
            json!([symbol, "limit", "buy", smallest, low]),
        );
        assert!(error.contains(self.place.errors[0]), "{error}");
        let error = self.refused("create_order", json!([symbol, "limit", "buy", "90", price]));
        assert!(error.contains(self.place.errors[1]), "{error}");
        let error = self.refused("cancel_order", json!(["1", symbol]));
        assert!(error.contains(self.place.errors[2]), "{error}");
    }

    /// Balances, and positions where there are some.
    fn money(&mut self) {
        // Of futures ccxt counts the profit of positions in, which has to stand still for that.
        let control = self.sim.control().of(self.place.exchange).unwrap();
        control.pause();
        let balances = self.call("fetch_balance", json!([]));
        let truth = self.truth();
        control.resume();
        let held = truth.positions.iter().map(|held| held.unrealized);
        let profit: Decimal = held.sum();
        let all = truth.balances.iter();
        for row in all.filter(|row| row.market == Some(self.place.market)) {
            let theirs = &balances[&row.asset];
            let expected = match self.place.market {
                Segment::Spot => row.total,
                Segment::Linear => row.total + profit,
            };
            let off = (number(&theirs["total"]) - expected).abs();
            assert!(off < Decimal::new(1, 7), "{theirs} and {row:?}");
            if self.place.market == Segment::Spot {
                assert_eq!(number(&theirs["used"]), row.locked, "{theirs} and {row:?}");
            }
        }
        if self.place.market == Segment::Spot {
            return;
        }
        let symbol = self.place.symbol;
        let positions = self.call("fetch_positions", json!([[symbol]]));
        let [theirs] = rows(&positions) else {
            panic!("{positions}");
        };
        let ours = &truth.positions[0];
        assert_eq!(theirs["side"], "long");
        assert_eq!(number(&theirs["contracts"]), ours.qty);
        let off = (number(&theirs["entryPrice"]) - ours.entry).abs();
        assert!(off < Decimal::new(1, 6), "{theirs} and {ours:?}");
        let amount = self.place.amount;
        let close = json!([symbol, "market", "sell", amount, null, {"reduceOnly": true}]);
        self.call("create_order", close);
        assert!(self.truth().positions.is_empty());
        assert_eq!(self.call("fetch_positions", json!([[symbol]])), json!([]));
    }
}
