//! Every line of the collected single messages (`*_fixtures.jsonl`): public stream messages go
//! through the exchange's decoder, public answers through the function that reads them, and what
//! becomes of each is compared with `fixtures.tsv`, row by row and count by count.
//!
//! The table has a row for each file, kind of line, market, what the line is, and outcome; a row
//! whose outcome is not that it was read has to say why. A line that is in no row fails the test,
//! and so does a row that no line is in. `UPDATE_FIXTURES=1` writes the rows anew and keeps the
//! reasons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bookwire_engine::event::{Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::{DecodeError, Exchange, ProviderId, Recorded};
use bookwire_engine::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use bookwire_engine::time::{Level, TsNanos};
use serde_json::Value;

use crate::support::{captures, instrument, lines};

/// Files, their exchange, and the markets whose messages they hold.
const FILES: [(&str, ProviderId, &[Market]); 5] = [
    ("binance_spot", ProviderId::BINANCE, &[Market::Spot]),
    ("binance_usdm", ProviderId::BINANCE, &[Market::Perp]),
    ("okx", ProviderId::OKX, &[Market::Spot, Market::Perp]),
    ("bybit", ProviderId::BYBIT, &[Market::Spot, Market::Perp]),
    ("coinbase", ProviderId::COINBASE, &[Market::Spot]),
];

/// What a row of the table is about: file, kind, market, what, outcome.
type Key = [String; 5];

/// Names of what a decoder tells, without repetitions.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn add(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.0.last() != Some(&what) {
            self.0.push(what);
        }
    }
}

impl EventSink for Told {
    fn event(&mut self, _: InstrumentId, event: Event<'_>) {
        self.add(match event {
            Event::Book(_) => "book change",
            Event::BookImage(_) => "book image",
            Event::Trade(_) => "trade",
            Event::Ticker(_) => "ticker",
            Event::Kline(_) => "kline",
            Event::Funding(_) => "funding",
        });
    }

    fn control(&mut self, control: Control) {
        self.add(match control {
            Control::Ack { .. } | Control::StreamAck { .. } => "acknowledgement",
            Control::Error { .. } => "error answer",
            Control::Subscriptions { .. } => "subscriptions",
            Control::Lost { .. } => "lost frames",
            Control::StreamLost { .. } => "stream lost",
            Control::BadBook { .. } => "checksum differs",
            Control::Maintenance { .. } => "maintenance",
            Control::Heartbeat => "heartbeat",
            Control::Shutdown => "shutdown",
        });
    }

    fn skipped(&mut self, kind: Skipped) {
        self.add(format!("left out: {kind:?}"));
    }
}

/// A line of a file.
struct Line {
    kind: String,
    name: String,
    request: Option<(String, String)>,
    raw: String,
}

fn read(line: &[u8]) -> Line {
    let line: Value = serde_json::from_slice(line).unwrap();
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let request = text("path").map(|path| (text("method").unwrap_or_default(), path));
    Line {
        kind: text("kind").unwrap(),
        name: text("name").unwrap(),
        request,
        raw: without_placeholders(&text("raw").unwrap()),
    }
}

/// The collection writes `|1|` where a number stood.
fn without_placeholders(raw: &str) -> String {
    (0..10).fold(raw.to_owned(), |text, number| {
        text.replace(&format!("|{number}|"), &number.to_string())
    })
}

/// What a stream's message is, told by the field that says so on the exchange.
fn what(message: &Value) -> String {
    let inner = message.get("data").unwrap_or(message);
    let inner = inner.get(0).unwrap_or(inner);
    let inner = message
        .get("event")
        .filter(|event| event.is_object())
        .unwrap_or(inner);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let stream = || {
        let name = message["stream"].as_str()?;
        Some(name.split('@').nth(1).unwrap_or(name).to_owned())
    };
    text(&inner["e"])
        .or_else(stream)
        .or_else(|| text(&message["arg"]["channel"]))
        .or_else(|| {
            message["topic"]
                .as_str()
                .map(|topic| topic.split('.').take(1).collect())
        })
        .or_else(|| text(&message["channel"]))
        .or_else(|| text(&message["type"]))
        .or_else(|| text(&message["op"]))
        .or_else(|| text(&message["event"]))
        .unwrap_or_else(|| match message.get("id").is_some() {
            true => "answer by id".to_owned(),
            false => "no name".to_owned(),
        })
}

/// The table of one market with whatever symbol a message names, and one that has to do for
/// answers, which name none.
fn table(provider: ProviderId, market: Market, names: &[String]) -> Arc<InstrumentTable> {
    let specs = names.iter().map(|name| instrument(provider, market, name));
    Arc::new(InstrumentTable::default().with_market(provider, market, specs.collect()))
}

fn outcome_of_stream(provider: ProviderId, market: Market, frame: &str) -> String {
    let exchange = provider.exchange();
    let names: Vec<String> = exchange
        .message_symbol(market, frame.as_bytes())
        .into_iter()
        .collect();
    let mut told = Told::default();
    let result = exchange
        .decoder(market, table(provider, market, &names))
        .decode(frame.as_bytes(), &mut told);
    match result {
        Err(error) => format!("refused: {error}"),
        Ok(()) if told.0.is_empty() => "kept for later".to_owned(),
        Ok(()) => told.0.join(", "),
    }
}

fn outcome_of_answer(provider: ProviderId, market: Market, what: &str, body: &str) -> String {
    let exchange = provider.exchange();
    let name = "ANY";
    let table = table(provider, market, &[name.to_owned()]);
    let row: &Arc<Instrument> = table.by_native(provider, market, name).unwrap();
    if let Some(failure) = exchange.body_failure(market, body.as_bytes()) {
        return format!("refused: {}", failure.error.message);
    }
    let mut bytes = body.as_bytes().to_vec();
    let read = |count: Result<usize, DecodeError>| match count {
        Ok(0) => "read, without a row".to_owned(),
        Ok(_) => "read".to_owned(),
        Err(error) => format!("refused: {error}"),
    };
    match what {
        "book" => read(
            exchange
                .parse_snapshot(row, &mut bytes)
                .map(|book| book.bids.len() + book.asks.len()),
        ),
        "klines" => {
            let now = TsNanos(i64::MAX);
            let bars = exchange.parse_klines(row, Level::H1, &mut bytes, now);
            read(bars.map(|bars| bars.len()))
        }
        "trades" => read(
            exchange
                .parse_trades(row, &mut bytes)
                .map(|rows| rows.len()),
        ),
        "funding" => read(
            exchange
                .parse_funding(row, &mut bytes)
                .map(|rows| rows.len()),
        ),
        "time" => read(exchange.parse_time(&bytes).map(|_| 1)),
        "instruments" => instruments(exchange, market, vec![bytes]),
        // Comes beside the list, whose rows it completes.
        "funding terms" => {
            let list = serde_json::json!({"symbols": [{
                "symbol": "ANYUSDT", "contractType": "PERPETUAL", "status": "TRADING",
                "baseAsset": "ANY", "quoteAsset": "USDT", "marginAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "1", "minQty": "1", "maxQty": "9"},
                ],
            }]});
            instruments(exchange, market, vec![list.to_string().into_bytes(), bytes])
        }
        other => panic!("{other}"),
    }
}

/// Lists are read whole: what is not mapped has a reason that the exchange's folder gives.
fn instruments(exchange: &dyn Exchange, market: Market, bodies: Vec<Vec<u8>>) -> String {
    match exchange.parse_instruments(market, &bodies) {
        Err(error) => format!("refused: {error}"),
        Ok((specs, left_out)) if left_out.is_empty() && !specs.is_empty() => "read".to_owned(),
        Ok((specs, left_out)) => {
            let rows = if specs.is_empty() {
                "no row"
            } else {
                "some rows"
            };
            let reasons: Vec<&str> = left_out.iter().map(|(reason, _)| reason.as_str()).collect();
            format!("read, {rows}; left out: {}", reasons.join(", "))
        }
    }
}

/// Which function reads a public answer; `None`: nobody asks for it.
fn reader(path: &str) -> Option<&'static str> {
    Some(match path {
        "/api/v3/depth" | "/fapi/v1/depth" | "/api/v5/market/books" | "/v5/market/orderbook" => {
            "book"
        }
        "/api/v3/klines" | "/fapi/v1/klines" | "/api/v5/market/candles" | "/v5/market/kline" => {
            "klines"
        }
        "/api/v3/trades"
        | "/api/v3/historicalTrades"
        | "/api/v3/aggTrades"
        | "/fapi/v1/trades"
        | "/fapi/v1/aggTrades"
        | "/api/v5/market/trades"
        | "/v5/market/recent-trade" => "trades",
        "/fapi/v1/fundingRate"
        | "/api/v5/public/funding-rate-history"
        | "/v5/market/funding/history" => "funding",
        "/api/v3/time" | "/fapi/v1/time" | "/api/v5/public/time" => "time",
        "/api/v3/exchangeInfo"
        | "/fapi/v1/exchangeInfo"
        | "/api/v5/public/instruments"
        | "/v5/market/instruments-info"
        | "/api/v3/brokerage/market/products" => "instruments",
        "/fapi/v1/fundingInfo" => "funding terms",
        "/api/v3/brokerage/market/product_book" => "book",
        _ if path.ends_with("/candles") && path.contains("/brokerage/market/") => "klines",
        _ if path.ends_with("/ticker") && path.contains("/brokerage/market/") => "trades",
        _ => return None,
    })
}

/// Of a line on one market: what it is, and what becomes of it.
fn outcome(provider: ProviderId, market: Market, line: &Line) -> (String, String) {
    if line.kind == "ws_sent" {
        // What a client sends never comes to a decoder.
        return (String::new(), "not read".to_owned());
    }
    if line.kind == "rest" {
        let (method, path) = line.request.clone().unwrap();
        let found = match reader(&path).filter(|_| method == "GET") {
            Some(reader) => outcome_of_answer(provider, market, reader, &line.raw),
            None => "not asked for".to_owned(),
        };
        return (format!("{method} {path}"), found);
    }
    let Ok(message) = serde_json::from_str::<Value>(&line.raw) else {
        let found = outcome_of_stream(provider, market, &line.raw);
        return (format!("not JSON: {}", line.name), found);
    };
    // Answers stand among the messages of streams; their own form tells them.
    let is_answer = line.kind == "ws_or_rest_public"
        && !["stream", "arg", "topic", "type"]
            .iter()
            .any(|key| message.get(key).is_some());
    if is_answer {
        let what = line.name.split('/').next().unwrap().to_owned();
        let recorded = provider.exchange().recorded(None, line.raw.as_bytes());
        let is_book = line.name.contains("l2_snapshot");
        // The older Coinbase interface has books too, which are not recorded as ours.
        let is_recorded = matches!(recorded, Recorded::Snapshot { .. });
        assert!(is_book || !is_recorded, "{}", line.name);
        let found = match is_book {
            true => outcome_of_answer(provider, market, "book", &line.raw),
            false => "not asked for".to_owned(),
        };
        return (format!("answer: {what} {}", line.name), found);
    }
    let found = outcome_of_stream(provider, market, &line.raw);
    (what(&message), found)
}

fn path_of_table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/fixtures.tsv")
}

/// Counts and reasons of the table.
fn expected() -> BTreeMap<Key, (usize, String)> {
    let text = std::fs::read_to_string(path_of_table()).unwrap_or_default();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), 7, "{line:?}");
        let key = std::array::from_fn(|at| cells[at].to_owned());
        (key, (cells[5].parse().unwrap(), cells[6].to_owned()))
    };
    rows.map(row).collect()
}

/// Whether a line was read as what it is, so that nothing has to be explained.
fn is_read(outcome: &str) -> bool {
    let read = ["read", "acknowledgement", "subscriptions", "heartbeat"];
    let events = [
        "book change",
        "book image",
        "trade",
        "ticker",
        "kline",
        "funding",
    ];
    read.contains(&outcome) || events.contains(&outcome)
}

#[test]
fn collected_messages_decode_or_are_refused_for_a_stated_reason() {
    let Some(folder) = captures() else { return };
    let mut found: BTreeMap<Key, usize> = BTreeMap::new();
    for (file, provider, markets) in FILES {
        let all = lines(&folder.join(format!("{file}_fixtures.jsonl")));
        for line in &all {
            let line = read(line);
            for market in markets {
                let (what, outcome) = outcome(provider, *market, &line);
                let key = [file, &line.kind, market.as_str(), &what, &outcome];
                *found.entry(key.map(str::to_owned)).or_default() += 1;
            }
        }
        let counted: usize = found
            .iter()
            .filter(|(key, _)| key[0] == file)
            .map(|(_, count)| count)
            .sum();
        assert_eq!(counted, all.len() * markets.len(), "{file}");
    }
    let expected = expected();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        let mut text = "# file\tkind\tmarket\twhat\toutcome\tcount\treason\n".to_owned();
        for (key, count) in &found {
            let reason = expected.get(key).map_or("", |(_, reason)| reason);
            text.push_str(&format!("{}\t{count}\t{reason}\n", key.join("\t")));
        }
        std::fs::write(path_of_table(), text).unwrap();
        return;
    }
    for (key, count) in &found {
        let row = expected.get(key).map(|(count, _)| count);
        assert_eq!(row, Some(count), "{key:?}");
    }
    for (key, (_, reason)) in &expected {
        assert!(found.contains_key(key), "no line is {key:?}");
        assert!(
            is_read(&key[4]) || !reason.is_empty(),
            "no reason is given for {key:?}"
        );
    }
}

/// The files of the table are all that there are.
#[test]
fn every_file_of_collected_messages_is_in_the_table() {
    let Some(folder) = captures() else { return };
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix("_fixtures.jsonl")?.to_owned()))
        .collect();
    found.sort_unstable();
    let mut known = FILES.map(|(file, ..)| file);
    known.sort_unstable();
    assert_eq!(found, known);
}
