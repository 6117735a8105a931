//! ccxt and ccxt.pro, which work against the real exchanges, against the simulators: they must work
//! unchanged, and see the same market as the gateway's clients.

mod cases;
mod trading;
mod venues;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bookwire_engine::time::TsNanos;
use bookwire_sim::{Exchange, SimConfig, SimControl};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::{Feed, Rig, python};
use cases::{CASES, Case};

/// A case at work.
struct Stage<'a> {
    rig: &'a Rig,
    ccxt: &'a mut python::Ccxt,
    case: &'a Case,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_sees_the_same_market() {
    let Some(python) = python::find() else { return };
    let rig = Rig::start(SimConfig::default()).await;
    let endpoints = rig.sim.endpoints();
    let mut ccxt = python::Ccxt::start(&python);
    for case in &CASES {
        let hosts = &endpoints[case.provider]["hosts"];
        ccxt.call(&json!({"call": "open", "exchange": case.exchange, "hosts": hosts}));
        let mut stage = Stage {
            rig: &rig,
            ccxt: &mut ccxt,
            case,
        };
        stage.markets().await;
        stage.books().await;
        stage.trades().await;
        stage.closed_bars().await;
        stage.live_bars().await;
        if case.has_funding {
            stage.funding().await;
        }
    }
    assert_eq!(ccxt.call(&json!({"call": "close"})), json!(true));
}

/// A number out of ccxt's JSON or ours. A double is printed as the shortest decimal that it is
/// nearest to, which is the one that it was read from.
fn number(value: &Value) -> Decimal {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let number = text.parse().or_else(|_| Decimal::from_scientific(&text));
    number.unwrap_or_else(|_| panic!("not a number: {value}"))
}

/// A number that may not be there.
fn number_opt(value: &Value) -> Option<Decimal> {
    (!value.is_null()).then(|| number(value))
}

fn rows(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

/// Price and base quantity of the best 20 levels, of ours where a unit is one.
fn side(levels: &Value, unit: Decimal) -> Vec<(Decimal, Decimal)> {
    let levels = rows(levels).iter().take(20);
    levels
        .map(|level| (number(&level[0]), number(&level[1]) * unit))
        .collect()
}

impl Stage<'_> {
    fn unit(&self) -> Decimal {
        self.case.unit.parse().unwrap()
    }

    fn control(&self) -> SimControl {
        let exchange = Exchange::parse(self.case.provider).unwrap();
        self.rig.sim.control().of(exchange).unwrap()
    }

    async fn subscribed(&self, stream: &str, more: Value) -> Feed {
        let mut params = json!({"stream": stream, "provider": self.case.provider,
            "symbols": [self.case.ours]});
        for (name, value) in more.as_object().into_iter().flatten() {
            params[name] = value.clone();
        }
        let mut feed = self.rig.feed().await;
        feed.subscribe(params).await;
        feed
    }

    /// Rows of a schema of the gateway.
    async fn rows(&self, schema: &str, query: &str) -> Vec<Value> {
        let provider = self.case.provider;
        let path = format!("/api/data/{schema}?provider={provider}&numbers=string{query}");
        let (status, body) = self.rig.get(&path).await;
        assert_eq!(status, 200, "{path}: {body}");
        rows(&body["data"]).to_vec()
    }

    fn call(&mut self, method: &str, args: Value) -> Value {
        let exchange = self.case.exchange;
        self.ccxt
            .call(&json!({"call": method, "exchange": exchange, "args": args}))
    }

    /// Starts to call a watch method again and again; the answer is read later.
    fn watch(&mut self, method: &str, args: Value, seconds: u64) {
        let mut request = json!({"call": "collect", "exchange": self.case.exchange,
            "method": method, "args": args, "seconds": seconds});
        if method == "watch_order_book" {
            request["levels"] = json!(50);
        }
        self.ccxt.send(&request);
    }

    /// Steps, bounds and states of all that is listed.
    async fn markets(&mut self) {
        let case = self.case;
        let theirs = self.call("markets", json!([]));
        let theirs: BTreeMap<&str, &Value> = rows(&theirs)
            .iter()
            .filter(|market| market["type"] == case.kind)
            .map(|market| (market["id"].as_str().unwrap(), market))
            .collect();
        let ours = self.rows(case.entity, "").await;
        assert!(ours.len() >= 4, "{}: {} rows", case.exchange, ours.len());
        for row in &ours {
            let native = row["native_symbol"].as_str().unwrap();
            let market = theirs.get(native);
            let market = market.unwrap_or_else(|| panic!("{}: no {native}", case.exchange));
            let unit = number_opt(&market["contractSize"]).unwrap_or(Decimal::ONE);
            let amounts = &market["limits"]["amount"];
            let context = format!("{} {native}: {market} and {row}", case.exchange);
            assert_eq!(market["active"], row["is_active"], "{context}");
            for (name, theirs, unit) in [
                ("price_step", &market["precision"]["price"], Decimal::ONE),
                ("qty_step", &market["precision"]["amount"], unit),
                ("min_qty", &amounts["min"], unit),
                ("max_qty", &amounts["max"], unit),
                (
                    "min_notional",
                    &market["limits"]["cost"]["min"],
                    Decimal::ONE,
                ),
            ] {
                let theirs = number_opt(theirs).map(|value| value * unit);
                assert_eq!(theirs, number_opt(&row[name]), "{name} of {context}");
            }
            if case.kind == "swap" {
                assert_eq!(unit, number(&row["contract_size"]), "{context}");
            }
        }
        let known = |native: &&str| ours.iter().any(|row| row["native_symbol"] == **native);
        let left_out: Vec<&str> = theirs.into_keys().filter(|id| !known(id)).collect();
        assert_eq!(left_out, case.left_out, "{}", case.exchange);
    }

    /// Books with the same number are the same book, and so are all when market time stands still.
    async fn books(&mut self) {
        let (case, unit) = (self.case, self.unit());
        let mut feed = self
            .subscribed("crypto.orderbook", json!({"depth": 20}))
            .await;
        self.watch("watch_order_book", json!([case.symbol]), 6);
        let mut messages = feed.collect(Duration::from_millis(4_500)).await;
        let control = self.control();
        control.pause();
        messages.extend(feed.collect(Duration::from_millis(2_000)).await);
        let watched = self.ccxt.answer();
        let watched = rows(&watched);
        assert!(watched.len() > 10, "{}: {} books", case.ours, watched.len());
        let fetched = self.call("fetch_order_book", json!([case.symbol, 100]));
        assert_eq!(rows(&fetched["bids"]).len(), 100, "{}", case.ours);
        control.resume();

        messages.retain(|message| message["stream"] == "crypto.orderbook");
        let ours: BTreeMap<u64, &Value> = messages
            .iter()
            .map(|message| &message["data"])
            .map(|book| (book["sequence"].as_u64().unwrap(), book))
            .collect();
        let compare = |theirs: &Value, ours: &Value| {
            for name in ["bids", "asks"] {
                let expected = side(&ours[name], Decimal::ONE);
                assert_eq!(expected.len(), 20);
                let context = format!("{} {name} at {}", case.ours, ours["sequence"]);
                assert_eq!(side(&theirs[name], unit), expected, "{context}");
            }
        };
        let same = watched.iter().filter_map(|book| {
            let number = book["nonce"].as_u64()?;
            Some((book, *ours.get(&number)?))
        });
        let mut compared = 0;
        for (theirs, ours) in same {
            compare(theirs, ours);
            compared += 1;
        }
        // The gateway leaves out deltas that did not change its top 20.
        assert!(
            !case.numbers_books || compared >= 5,
            "{}: only {compared} books in common",
            case.ours
        );
        let last = &messages.last().unwrap()["data"];
        compare(watched.last().unwrap(), last);
        compare(&fetched, last);
    }

    /// Trades with the same id are the same trade, and none is missing in between.
    async fn trades(&mut self) {
        let (case, unit) = (self.case, self.unit());
        let mut feed = self.subscribed("crypto.trades", json!({})).await;
        self.watch("watch_trades", json!([case.symbol]), 6);
        let messages = feed.collect(Duration::from_millis(6_500)).await;
        let watched = self.ccxt.answer();
        let fetched = self.call("fetch_trades", json!([case.symbol, null, 50]));
        assert_eq!(rows(&fetched).len(), 50);
        let watched: Vec<&Value> = rows(&watched).iter().flat_map(rows).collect();
        let id_of = |trade: &Value| case.ordinal(trade["id"].as_str().unwrap());
        let ours: BTreeMap<u64, &Value> = messages
            .iter()
            .filter(|message| message["stream"] == "crypto.trades")
            .map(|message| &message["data"])
            .map(|trade| {
                let id = &trade["trade_id"];
                let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
                (case.ordinal(&text), trade)
            })
            .collect();
        let ids: Vec<u64> = ours.keys().copied().collect();
        assert!(ids.len() >= 5, "{}: only {} trades", case.ours, ids.len());
        assert!(
            !case.counts_trades || ids.len() as u64 == ids[ids.len() - 1] - ids[0] + 1,
            "{}: a trade is missing",
            case.ours
        );
        let check = |theirs: &Value, ours: &Value| {
            let context = format!("{}: {theirs} and {ours}", case.ours);
            assert_eq!(
                number(&theirs["price"]),
                number(&ours["price"]),
                "{context}"
            );
            let is_same_side = theirs["side"] == ours["side"];
            assert_eq!(is_same_side, !case.tells_makers, "{context}");
        };
        let mut compared = 0;
        for trade in watched {
            if !case.same_trades {
                assert!(matches!(trade["side"].as_str(), Some("buy" | "sell")));
                compared += 1;
            } else if let Some(same) = ours.get(&id_of(trade)) {
                check(trade, same);
                let volume = number(&trade["amount"]) * unit;
                assert_eq!(volume, number(&same["volume"]), "{}: {trade}", case.ours);
                compared += 1;
            }
        }
        assert!(
            compared >= 5,
            "{}: only {compared} trades in common",
            case.ours
        );
        // By REST each match is a trade of its own; those up to a number make up the trade under it.
        let fetched: BTreeMap<u64, &Value> = rows(&fetched)
            .iter()
            .map(|trade| (id_of(trade), trade))
            .collect();
        let (first, last) = (
            fetched.keys().next().unwrap(),
            fetched.keys().next_back().unwrap(),
        );
        let mut compared = 0;
        for pair in ids
            .windows(2)
            .filter(|pair| pair[0] >= *first && pair[1] <= *last)
        {
            let same = ours[&pair[1]];
            let mut volume = Decimal::ZERO;
            for (_, trade) in fetched.range(pair[0] + 1..=pair[1]) {
                check(trade, same);
                volume += number(&trade["amount"]) * unit;
            }
            assert_eq!(volume, number(&same["volume"]), "{}: {same}", case.ours);
            compared += 1;
        }
        assert!(compared >= 5, "{}: only {compared} fetched", case.ours);
    }

    /// Closed bars are equal to the last digit.
    async fn closed_bars(&mut self) {
        let case = self.case;
        for level in ["1m", "1h"] {
            let theirs = self.call("fetch_ohlcv", json!([case.symbol, level, null, 12]));
            let theirs = rows(&theirs);
            let (first, last) = (&theirs[0][0], &theirs[theirs.len() - 2][0]);
            let ours = self
                .rows(
                    &format!("{}{level}Kdata", case.entity),
                    &format!(
                        "&codes={}&start_timestamp={first}&end_timestamp={last}",
                        case.code()
                    ),
                )
                .await;
            // The last of ccxt's bars is the running one.
            assert_eq!(ours.len(), theirs.len() - 1, "{} {level}", case.ours);
            for (bar, row) in theirs.iter().zip(&ours) {
                assert_eq!(their_bar(bar), our_bar(row), "{} {level}", case.ours);
            }
        }
    }

    /// The running bar is told with the same values.
    async fn live_bars(&mut self) {
        let case = self.case;
        let interval = json!({"interval": case.live});
        let mut feed = self.subscribed("crypto.klines", interval).await;
        if case.watches_bars {
            self.watch("watch_ohlcv", json!([case.symbol, case.live]), 5);
        }
        let mut messages = feed.collect(Duration::from_millis(5_500)).await;
        let theirs: Vec<Bar> = match case.watches_bars {
            true => {
                let watched = self.ccxt.answer();
                rows(&watched)
                    .iter()
                    .flat_map(rows)
                    .map(their_bar)
                    .collect()
            }
            // What is running is fetched, while market time stands still.
            false => {
                let control = self.control();
                control.pause();
                messages.extend(feed.collect(Duration::from_millis(500)).await);
                let fetched = self.call("fetch_ohlcv", json!([case.symbol, case.live, null, 2]));
                control.resume();
                vec![their_bar(rows(&fetched).last().unwrap())]
            }
        };
        let ours: BTreeSet<Bar> = messages
            .iter()
            .filter(|message| message["stream"] == "crypto.klines")
            .map(|message| our_bar(&message["data"]))
            .collect();
        let common = theirs.iter().filter(|bar| ours.contains(bar)).count();
        assert!(common >= 1, "{}: {theirs:?} and {ours:?}", case.ours);
    }

    /// Rate and settlement time are those that the stream tells; those of the past are equal.
    async fn funding(&mut self) {
        let case = self.case;
        let mut feed = self.subscribed("crypto.funding", json!({})).await;
        let patience = Duration::from_secs(10);
        let before = feed.next_of("crypto.funding", case.ours, patience).await;
        let mut told = vec![self.call("fetch_funding_rate", json!([case.symbol]))];
        if case.watches_funding {
            self.watch("watch_funding_rate", json!([case.symbol]), 3);
            let watched = self.ccxt.answer();
            assert!(!rows(&watched).is_empty(), "{}: nothing watched", case.ours);
            told.extend_from_slice(rows(&watched));
        }
        let after = feed.next_of("crypto.funding", case.ours, patience).await;
        let rate = |message: &Value| number(&message["data"]["funding_rate"]);
        let margin = Decimal::new(5, 5);
        let low = rate(&before).min(rate(&after)) - margin;
        let high = rate(&before).max(rate(&after)) + margin;
        let next = before["data"]["next_funding_timestamp"].as_str().unwrap();
        for theirs in told {
            let rate = number(&theirs["fundingRate"]);
            assert!((low..=high).contains(&rate), "{rate}: not in {low}..{high}");
            let theirs_next = theirs["fundingDatetime"].as_str().unwrap();
            assert_eq!(next[..19], theirs_next[..19], "{}", case.ours);
        }
        let past = self.call("fetch_funding_rate_history", json!([case.symbol, null, 5]));
        let past = rows(&past);
        assert_eq!(past.len(), 5, "{}", case.ours);
        let (first, last) = (&past[0]["timestamp"], &past[4]["timestamp"]);
        let query = format!(
            "&codes={}&start_timestamp={first}&end_timestamp={last}",
            case.code()
        );
        let ours = self.rows("CryptoFunding", &query).await;
        assert_eq!(ours.len(), past.len(), "{}", case.ours);
        for (theirs, row) in past.iter().zip(&ours) {
            assert_eq!(theirs["timestamp"], time_ms(&row["timestamp"]), "{row}");
            assert_eq!(number(&theirs["fundingRate"]), number(&row["funding_rate"]));
        }
    }
}

/// Open time in ms, open, high, low, close, volume.
type Bar = (i64, [Decimal; 5]);

fn their_bar(bar: &Value) -> Bar {
    let values = [1, 2, 3, 4, 5].map(|index| number(&bar[index]));
    (bar[0].as_i64().unwrap(), values)
}

/// Of a row or of a message.
fn our_bar(row: &Value) -> Bar {
    let values = ["open", "high", "low", "close", "volume"].map(|name| number(&row[name]));
    (time_ms(&row["timestamp"]), values)
}

fn time_ms(time: &Value) -> i64 {
    TsNanos::parse(time.as_str().unwrap()).unwrap().as_ms()
}
