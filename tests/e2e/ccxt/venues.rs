//! ccxt and ccxt.pro with keys at exchanges whose account is one for all markets: they trade at the
//! simulators as at the real exchanges, and see of it what is so.

use std::time::{Duration, Instant};

use bookwire_sim::{AccountTruth, Exchange, Segment, Sim, SimConfig, SimControl};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{number, rows};
use crate::rig::python;

/// What an exchange has, and in what ccxt's words for it differ.
struct Venue {
    exchange: Exchange,
    spot: &'static str,
    /// Native symbol, and ccxt's.
    native: &'static str,
    swap: Option<(&'static str, &'static str)>,
    /// Base units in one of ccxt's units of the swap.
    unit: &'static str,
    quote: &'static str,
    /// Parameters that make a waiting order, and by which one is found.
    trigger: Option<&'static str>,
    /// What ccxt wants to be told when an order is fetched.
    fetching: &'static str,
    /// ccxt's error for an order that cannot be taken back.
    gone: &'static str,
    /// Whether ccxt can watch its own trades.
    watches_trades: bool,
}

const OKX: Venue = Venue {
    exchange: Exchange::Okx,
    spot: "BTC/USDT",
    native: "BTC-USDT",
    swap: Some(("BTC-USDT-SWAP", "BTC/USDT:USDT")),
    unit: "0.01",
    quote: "USDT",
    trigger: Some("trigger"),
    fetching: "{}",
    gone: "OrderNotFound",
    watches_trades: true,
};

const BYBIT: Venue = Venue {
    exchange: Exchange::Bybit,
    native: "BTCUSDT",
    swap: Some(("BTCUSDT", "BTC/USDT:USDT")),
    unit: "1",
    fetching: r#"{"acknowledged": true}"#,
    ..OKX
};

const COINBASE: Venue = Venue {
    exchange: Exchange::Coinbase,
    spot: "BTC/USD",
    native: "BTC-USD",
    swap: None,
    quote: "USD",
    // It lists waiting orders with the others.
    trigger: None,
    gone: "BadRequest",
    watches_trades: false,
    ..OKX
};

struct Trader<'a> {
    venue: &'a Venue,
    sim: Sim,
    control: SimControl,
    ccxt: python::Ccxt,
}

impl<'a> Trader<'a> {
    async fn start(venue: &'a Venue, python: &std::path::Path) -> Self {
        let sim = Sim::start(SimConfig {
            exchanges: vec![venue.exchange],
            ..SimConfig::default()
        })
        .await
        .unwrap();
        let control = sim.control().of(venue.exchange).unwrap();
        let name = venue.exchange.as_str();
        let own = sim.endpoints()[name].clone();
        let mut ccxt = python::Ccxt::start(python);
        ccxt.call(
            &json!({"call": "open", "exchange": name, "hosts": own["hosts"],
            "keys": own["credentials"]}),
        );
        Self {
            venue,
            sim,
            control,
            ccxt,
        }
    }

    fn name(&self) -> &'static str {
        self.venue.exchange.as_str()
    }

    fn call(&mut self, method: &str, args: Value) -> Value {
        let request = json!({"call": method, "exchange": self.name(), "args": args});
        self.ccxt.call(&request)
    }

    /// The name of ccxt's error.
    fn fails(&mut self, method: &str, args: Value) -> String {
        let request = json!({"call": method, "exchange": self.name(), "args": args});
        let error = self.ccxt.refused(&request);
        error.split(':').next().unwrap_or_default().to_owned()
    }

    fn truth(&self) -> AccountTruth {
        self.control.accounts().remove(0)
    }

    /// A price so many hundredths of the best bid.
    fn price(&self, market: Segment, native: &str, percent: i64) -> Decimal {
        let book = self.control.book(market, native).unwrap();
        let bid: Decimal = book.bids[0].0.parse().unwrap();
        (bid * Decimal::new(percent, 2)).round_dp(1)
    }

    fn id(order: &Value) -> &str {
        order["id"].as_str().unwrap_or_else(|| panic!("{order}"))
    }

    /// An order as ccxt has it after the fact.
    fn fetched(&mut self, order: &Value, symbol: &str) -> Value {
        let more: Value = self.venue.fetching.parse().unwrap();
        self.call("fetch_order", json!([Self::id(order), symbol, more]))
    }

    fn spot_orders(&mut self) {
        let (symbol, quote) = (self.venue.spot, self.venue.quote);
        let balance = self.call("fetch_balance", json!([]));
        assert_eq!(number(&balance["total"][quote]), Decimal::from(100_000));
        let low = self.price(Segment::Spot, self.venue.native, 90);
        let args = json!([symbol, "limit", "buy", "0.01", low.to_string(), {}]);
        let order = self.call("create_order", args);
        let seen = self.fetched(&order, symbol);
        assert_eq!(
            (&seen["status"], &seen["side"]),
            (&json!("open"), &json!("buy"))
        );
        assert_eq!(
            (number(&seen["price"]), number(&seen["amount"])),
            (low, Decimal::new(1, 2))
        );
        let open = self.call("fetch_open_orders", json!([symbol]));
        assert_eq!(rows(&open).len(), 1, "{open}");
        let balance = self.call("fetch_balance", json!([]));
        assert!(number(&balance["free"][quote]) < Decimal::from(100_000));
        let changed = json!([
            Self::id(&order),
            symbol,
            "limit",
            "buy",
            "0.02",
            low.to_string()
        ]);
        let changed = self.call("edit_order", changed);
        let changed = if changed["id"].is_null() {
            order
        } else {
            changed
        };
        let seen = self.fetched(&changed, symbol);
        assert_eq!(number(&seen["amount"]), Decimal::new(2, 2), "{seen}");
        self.call("cancel_order", json!([Self::id(&changed), symbol]));
        assert_eq!(self.fetched(&changed, symbol)["status"], "canceled");
        assert_eq!(
            rows(&self.call("fetch_open_orders", json!([symbol]))).len(),
            0
        );
        let again = json!([Self::id(&changed), symbol]);
        assert_eq!(self.fails("cancel_order", again), self.venue.gone);
        let much = json!([symbol, "limit", "buy", "1000", low.to_string(), {}]);
        assert_eq!(self.fails("create_order", much), "InsufficientFunds");
    }

    fn spot_fills(&mut self) {
        let symbol = self.venue.spot;
        let high = self
            .price(Segment::Spot, self.venue.native, 105)
            .to_string();
        let bought = json!([symbol, "market", "buy", "0.05", high, {}]);
        let bought = self.call("create_order", bought);
        let sold = self.call(
            "create_order",
            json!([symbol, "market", "sell", "0.01", null, {}]),
        );
        let ioc = json!([symbol, "limit", "buy", "0.01", high, {"timeInForce": "IOC"}]);
        let ioc = self.call("create_order", ioc);
        let maker = self.price(Segment::Spot, self.venue.native, 90).to_string();
        let maker = json!([symbol, "limit", "buy", "0.01", maker, {"postOnly": true}]);
        let maker = self.call("create_order", maker);
        assert_eq!(self.fetched(&maker, symbol)["status"], "open");
        self.call("cancel_order", json!([Self::id(&maker), symbol]));
        let truth = self.truth();
        for order in [&bought, &sold, &ioc] {
            let seen = self.fetched(order, symbol);
            assert_eq!(seen["status"], "closed", "{seen}");
            let number_of = |order: &bookwire_sim::OrderTruth| order.filled;
            let id = Self::id(order).to_owned();
            let is_it = |it: &&bookwire_sim::OrderTruth| self.is_number(it.number, &id);
            let known = truth.orders.iter().find(is_it).unwrap();
            assert_eq!(number(&seen["filled"]), number_of(known));
            let average = known.value / known.filled;
            assert!((number(&seen["average"]) - average).abs() < Decimal::new(1, 6));
        }
        let trades = self.call("fetch_my_trades", json!([symbol]));
        let theirs: Decimal = rows(&trades).iter().map(|it| number(&it["amount"])).sum();
        let ours: Decimal = truth.fills.iter().map(|it| it.qty).sum();
        assert_eq!((rows(&trades).len(), theirs), (truth.fills.len(), ours));
        // ccxt sorts them by their times, and those of one order have the same.
        let mut theirs: Vec<[Decimal; 3]> = rows(&trades)
            .iter()
            .map(|it| [&it["price"], &it["amount"], &it["fee"]["cost"]].map(number))
            .collect();
        let mut ours: Vec<[Decimal; 3]> = truth
            .fills
            .iter()
            .map(|it| [it.price, it.qty, it.fee])
            .collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(theirs, ours);
        assert!(rows(&trades).iter().all(|it| it["takerOrMaker"] == "taker"));
        let balance = self.call("fetch_balance", json!([]));
        for known in self.truth().balances {
            let seen = number(&balance["total"][&known.asset]);
            assert!(
                (seen - known.total).abs() < Decimal::new(1, 9),
                "{}",
                known.asset
            );
        }
    }

    /// Whether that is how ccxt has an order's number.
    fn is_number(&self, number: u64, id: &str) -> bool {
        match self.venue.exchange {
            // The number is in the id's last 62 bits.
            Exchange::Coinbase => {
                let bits = u128::from_str_radix(&id.replace('-', ""), 16).unwrap();
                bits & ((1 << 62) - 1) == u128::from(number)
            }
            _ => id == number.to_string(),
        }
    }

    fn waiting_orders(&mut self) {
        let Some(word) = self.venue.trigger else {
            return;
        };
        let symbol = self.venue.spot;
        let (at, limit) = (
            self.price(Segment::Spot, self.venue.native, 120)
                .to_string(),
            self.price(Segment::Spot, self.venue.native, 121)
                .to_string(),
        );
        let order = json!([symbol, "limit", "buy", "0.01", limit, {"triggerPrice": at}]);
        let order = self.call("create_order", order);
        let open = self.call(
            "fetch_open_orders",
            json!([symbol, null, null, {word: true}]),
        );
        assert_eq!(rows(&open).len(), 1, "{open}");
        assert_eq!(number(&open[0]["triggerPrice"]), number(&json!(at)));
        self.call(
            "cancel_order",
            json!([Self::id(&order), symbol, {word: true}]),
        );
        let open = self.call(
            "fetch_open_orders",
            json!([symbol, null, null, {word: true}]),
        );
        assert_eq!(rows(&open).len(), 0, "{open}");
    }

    fn positions(&mut self) {
        let Some((native, symbol)) = self.venue.swap else {
            return;
        };
        let unit: Decimal = self.venue.unit.parse().unwrap();
        let amount = (Decimal::new(3, 2) / unit).normalize().to_string();
        self.call("set_leverage", json!([5, symbol]));
        self.call(
            "create_order",
            json!([symbol, "market", "buy", amount, null, {}]),
        );
        let held = self.call("fetch_positions", json!([[symbol]]));
        let held = &rows(&held)[0];
        let truth = self.truth();
        let known = truth
            .positions
            .iter()
            .find(|it| it.symbol == native)
            .unwrap();
        assert_eq!(number(&held["contracts"]) * unit, known.qty, "{held}");
        assert_eq!(
            (&held["side"], number(&held["leverage"])),
            (&json!("long"), Decimal::from(5))
        );
        assert!(
            (number(&held["entryPrice"]) - known.entry).abs() < Decimal::new(1, 4),
            "{held}"
        );
        let close = json!([symbol, "market", "sell", amount, null, {"reduceOnly": true}]);
        self.call("create_order", close);
        let held = self.call("fetch_positions", json!([[symbol]]));
        let is_open =
            |it: &&Value| !it["contracts"].is_null() && !number(&it["contracts"]).is_zero();
        assert_eq!(rows(&held).iter().filter(is_open).count(), 0, "{held}");
        let trades = self.call("fetch_my_trades", json!([symbol]));
        let theirs: Decimal = rows(&trades)
            .iter()
            .map(|it| number(&it["amount"]) * unit)
            .sum();
        assert_eq!(theirs, Decimal::new(6, 2));
    }

    fn watch(&mut self, method: &str) {
        let request = json!({"call": "watch", "exchange": self.name(), "method": method,
            "args": [self.venue.spot]});
        self.ccxt.call(&request);
    }

    /// Makes orders until a watch has told of what is wanted: ccxt subscribes in its own time, and
    /// hands out what came while it was busy with what comes next.
    async fn hears(&mut self, method: &str, order: &Value, wanted: impl Fn(&Value) -> bool) {
        let request = json!({"call": "watched", "exchange": self.name(), "method": method});
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let told = self.ccxt.call(&request);
            if rows(&told).iter().flat_map(rows).any(&wanted) {
                return;
            }
            assert!(Instant::now() < end, "{method}: {told}");
            self.call("create_order", order.clone());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What ccxt.pro hears of orders and fills.
    async fn watched(&mut self) {
        let symbol = self.venue.spot;
        let low = self.price(Segment::Spot, self.venue.native, 90).to_string();
        let high = self
            .price(Segment::Spot, self.venue.native, 105)
            .to_string();
        self.watch("watch_orders");
        let resting = json!([symbol, "limit", "buy", "0.01", low, {}]);
        let is_open =
            |it: &Value| it["status"] == "open" && number(&it["price"]) == number(&json!(low));
        self.hears("watch_orders", &resting, is_open).await;
        let bought = json!([symbol, "market", "buy", "0.02", high, {}]);
        let is_done =
            |it: &Value| it["status"] == "closed" && number(&it["filled"]) >= Decimal::new(2, 2);
        self.hears("watch_orders", &bought, is_done).await;
        let open = self.call("fetch_open_orders", json!([symbol]));
        for order in rows(&open) {
            self.call("cancel_order", json!([Self::id(order), symbol]));
        }
        if self.venue.watches_trades {
            self.watch("watch_my_trades");
            let sold = json!([symbol, "market", "sell", "0.01", null, {}]);
            let is_sale = |it: &Value| it["side"] == "sell" && it["takerOrMaker"] == "taker";
            self.hears("watch_my_trades", &sold, is_sale).await;
        }
    }

    async fn all(mut self) {
        self.spot_orders();
        self.spot_fills();
        self.waiting_orders();
        self.positions();
        self.watched().await;
        assert_eq!(self.ccxt.call(&json!({"call": "close"})), json!(true));
        self.sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_trades_at_okx() {
    let Some(python) = python::find() else { return };
    Trader::start(&OKX, &python).await.all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_trades_at_bybit() {
    let Some(python) = python::find() else { return };
    Trader::start(&BYBIT, &python).await.all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_trades_at_coinbase() {
    let Some(python) = python::find() else { return };
    Trader::start(&COINBASE, &python).await.all().await;
}
