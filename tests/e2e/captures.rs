//! Recorded trades and closed bars of four exchanges: decoded, through the recorder into the embedded
//! store, and out again as REST rows, equal to the recordings to the last digit.
//!
//! The recordings are found through `BOOKWIRE_CAPTURES` (default: `../shared/captures` beside the
//! workspace). Without them the test says that it was skipped, unless
//! `BOOKWIRE_REQUIRE_CAPTURES=1` makes that a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bookwire_actors::clock::SystemClock;
use bookwire_actors::options::RecorderOptions;
use bookwire_actors::recorder::{Recorder, RecorderPort};
use bookwire_api::rest::answer::Shape;
use bookwire_api::rest::entities::Served;
use bookwire_api::rest::params::Params;
use bookwire_api::rest::schema::Schema;
use bookwire_api::rest::series::{self, SeriesRequest};
use bookwire_engine::event::{Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use bookwire_engine::store::{Entity, KlineRow, Row, Store, TradeRow, open_embedded};
use bookwire_engine::time::{Level, TsNanos};
use rust_decimal::Decimal;
use serde_json::Value;

pub(crate) fn folder() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("BOOKWIRE_CAPTURES")
        .map_or_else(|| workspace.join("../shared/captures"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let is_required = std::env::var("BOOKWIRE_REQUIRE_CAPTURES").is_ok_and(|value| value == "1");
    assert!(!is_required, "no recordings in {}", folder.display());
    eprintln!("skipped: no recordings in {}", folder.display());
    None
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let packed = std::mem::take(&mut bytes);
        let mut reader = flate2::read::MultiGzDecoder::new(&packed[..]);
        reader.read_to_end(&mut bytes).unwrap();
    }
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    lines.filter(|line| !line.is_empty()).collect()
}

/// What a recording says, by native symbol and id or open time: the columns' texts.
#[derive(Default)]
struct Recorded {
    symbols: BTreeSet<String>,
    trades: BTreeMap<(String, String), Vec<String>>,
    bars: BTreeMap<(String, TsNanos), Vec<String>>,
}

/// A number without the zeros that say nothing.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap();
    text.parse::<Decimal>().unwrap().normalize().to_string()
}

fn ms(value: &Value) -> TsNanos {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    TsNanos::from_ms(number.unwrap())
}

impl Recorded {
    fn trade(
        &mut self,
        symbol: &Value,
        id: String,
        price: &Value,
        qty: &Value,
        side: &str,
        ts: TsNanos,
    ) {
        let symbol = symbol.as_str().unwrap().to_owned();
        self.symbols.insert(symbol.clone());
        let row = vec![plain(price), plain(qty), side.to_owned(), ts.to_rfc3339()];
        self.trades.insert((symbol, id), row);
    }

    fn bar(&mut self, symbol: &str, start: &Value, values: [&Value; 6], count: Option<&Value>) {
        self.symbols.insert(symbol.to_owned());
        let mut row: Vec<String> = values.into_iter().map(plain).collect();
        row.push(count.map_or("null".to_owned(), Value::to_string));
        self.bars.insert((symbol.to_owned(), ms(start)), row);
    }

    fn binance(&mut self, message: &Value) {
        let data = message.get("data").unwrap_or(message);
        let side = |maker: &Value| match maker == &Value::Bool(true) {
            true => "sell",
            false => "buy",
        };
        match data["e"].as_str() {
            Some(kind @ ("trade" | "aggTrade")) => {
                let id = data[if kind == "trade" { "t" } else { "a" }].to_string();
                let ts = ms(&data["T"]);
                self.trade(&data["s"], id, &data["p"], &data["q"], side(&data["m"]), ts);
            }
            Some("kline") if data["k"]["x"] == true && data["k"]["i"] == "1m" => {
                let bar = &data["k"];
                let values = ["o", "h", "l", "c", "v", "q"].map(|name| &bar[name]);
                let symbol = bar["s"].as_str().unwrap();
                self.bar(symbol, &bar["t"], values, Some(&bar["n"]));
            }
            _ => {}
        }
    }

    fn okx(&mut self, message: &Value) {
        if message["arg"]["channel"] != "trades" {
            return;
        }
        for row in message["data"].as_array().into_iter().flatten() {
            let id = row["tradeId"].as_str().unwrap().to_owned();
            let side = row["side"].as_str().unwrap();
            self.trade(
                &row["instId"],
                id,
                &row["px"],
                &row["sz"],
                side,
                ms(&row["ts"]),
            );
        }
    }

    fn bybit(&mut self, message: &Value) {
        let topic = message["topic"].as_str().unwrap_or_default();
        let rows = message["data"].as_array().into_iter().flatten();
        if topic.starts_with("publicTrade.") {
            for row in rows {
                let id = row["i"].as_str().unwrap().to_owned();
                let side = row["S"].as_str().unwrap().to_lowercase();
                self.trade(&row["s"], id, &row["p"], &row["v"], &side, ms(&row["T"]));
            }
        } else if let Some(symbol) = topic.strip_prefix("kline.1.") {
            for row in rows.filter(|row| row["confirm"] == true) {
                let names = ["open", "high", "low", "close", "volume", "turnover"];
                let values = names.map(|name| &row[name]);
                self.bar(symbol, &row["start"], values, None);
            }
        }
    }

    fn coinbase(&mut self, message: &Value) {
        if message["channel"] != "market_trades" {
            return;
        }
        for event in message["events"].as_array().unwrap() {
            // The first list is of what was before.
            if event["type"] != "update" {
                continue;
            }
            for row in event["trades"].as_array().unwrap() {
                let id = row["trade_id"].as_str().unwrap().to_owned();
                // It names the maker's side.
                let side = match row["side"].as_str().unwrap() {
                    "SELL" => "buy",
                    _ => "sell",
                };
                let ts = TsNanos::parse(row["time"].as_str().unwrap()).unwrap();
                self.trade(
                    &row["product_id"],
                    id,
                    &row["price"],
                    &row["size"],
                    side,
                    ts,
                );
            }
        }
    }
}

/// An instrument of which nothing but the name is known, with many digits of everything.
fn spec(provider: ProviderId, market: Market, native_symbol: &str) -> InstrumentSpec {
    // Traded by the billion, at a millionth of a dollar.
    let (price_digits, qty_digits) = match native_symbol {
        "ELON-USDT" => (12, 4),
        _ => (10, 8),
    };
    InstrumentSpec {
        provider,
        exchange: provider.name().to_owned(),
        market,
        native_symbol: native_symbol.to_owned(),
        base_symbol: native_symbol.replace('-', ""),
        quote_symbol: String::new(),
        settlement_symbol: None,
        price_step: Decimal::new(1, price_digits),
        qty_step: Decimal::new(1, qty_digits),
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
    }
}

/// Hands trades and closed bars to the recorder, as a shard does.
struct ToRecorder<'a> {
    table: Arc<InstrumentTable>,
    port: &'a mut RecorderPort,
}

impl EventSink for ToRecorder<'_> {
    fn event(&mut self, instrument: InstrumentId, event: Event<'_>) {
        let instrument = self.table.get(instrument).unwrap();
        let entity = Entity::of(instrument);
        let row = match event {
            Event::Trade(trade) => Row::Trade(TradeRow::new(&entity, instrument, &trade)),
            Event::Kline(bar) if bar.is_closed && bar.level == Level::M1 => {
                Row::Kline(KlineRow::new(&entity, instrument, &bar).unwrap())
            }
            _ => return,
        };
        assert!(self.port.push(row));
    }

    fn control(&mut self, _: Control) {}

    fn skipped(&mut self, _: Skipped) {}
}

/// Code or open time, with the id of trades, and the columns' texts of each row that REST answers.
fn answered(body: &[u8], columns: &[&str]) -> Vec<Vec<String>> {
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["has_more"], false);
    let rows = body["data"].as_array().unwrap().iter();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.map(|row| columns.iter().map(|name| text(&row[*name])).collect())
        .collect()
}

type Reading = fn(&mut Recorded, &Value);

#[tokio::test]
async fn what_was_recorded_comes_back_to_the_last_digit() {
    let Some(folder) = folder() else { return };
    let captures: [(&str, Market, &str, Reading, usize, usize); 8] = [
        (
            "binance",
            Market::Spot,
            "binance_spot_mixed_4alts_20210814.jsonl",
            Recorded::binance,
            28,
            2,
        ),
        (
            "binance",
            Market::Perp,
            "binance_usdm_mixed_4alts_20210722.jsonl",
            Recorded::binance,
            91,
            4,
        ),
        (
            "binance",
            Market::Perp,
            "binance_usdm_mixed_btcusdt_20230404.jsonl.gz",
            Recorded::binance,
            2_197,
            0,
        ),
        (
            "binance",
            Market::Spot,
            "binance_spot_mixed_btcusdt_20240808.jsonl.gz",
            Recorded::binance,
            19_904,
            0,
        ),
        (
            "okx",
            Market::Spot,
            "okx_spot_mixed_20220228.jsonl",
            Recorded::okx,
            15,
            0,
        ),
        (
            "bybit",
            Market::Spot,
            "bybit_spot_mixed_btcusdt_20260809.jsonl",
            Recorded::bybit,
            11,
            1,
        ),
        (
            "bybit",
            Market::Perp,
            "bybit_linear_mixed_btcusdt_dogeusdt_20260809.jsonl",
            Recorded::bybit,
            33,
            2,
        ),
        (
            "coinbase",
            Market::Spot,
            "coinbase_advtrade_mixed_20260809_part1.jsonl.gz",
            Recorded::coinbase,
            40,
            0,
        ),
    ];
    for (provider, market, file, read, trades_least, bars_least) in captures {
        let provider = ProviderId::parse(provider).unwrap();
        let lines = lines(&folder.join(file));
        let mut recorded = Recorded::default();
        for line in &lines {
            read(&mut recorded, &serde_json::from_slice(line).unwrap());
        }
        assert!(
            recorded.trades.len() >= trades_least,
            "{file}: {} trades",
            recorded.trades.len()
        );
        assert!(
            recorded.bars.len() >= bars_least,
            "{file}: {} bars",
            recorded.bars.len()
        );

        let specs = recorded
            .symbols
            .iter()
            .map(|name| spec(provider, market, name));
        let table = InstrumentTable::default().with_market(provider, market, specs.collect());
        let table = Arc::new(table);
        let data = tempfile::tempdir().unwrap();
        let store = open_embedded(data.path().join("bookwire.db")).unwrap();
        let reader = store.reader().unwrap();
        let options = RecorderOptions::default();
        let clock = Arc::new(SystemClock::new());
        let (recorder, mut ports) = Recorder::start(Box::new(store), options, 1, clock).unwrap();
        let mut decoder = provider.exchange().decoder(market, table.clone());
        let mut sink = ToRecorder {
            table: table.clone(),
            port: &mut ports[0],
        };
        for line in &lines {
            // Depth snapshots of REST stand between the messages of some.
            if let Err(error) = decoder.decode(line, &mut sink) {
                assert!(line.starts_with(b"{\"lastUpdateId\""), "{file}: {error}");
            }
        }
        sink.port.drain();
        recorder.flush().await.unwrap();
        assert_eq!(recorder.stats().rejected + recorder.stats().dropped, 0);

        let query = format!(
            "provider={}&start_timestamp=2000-01-01&limit=LIMIT&page_size=LIMIT&numbers=string",
            provider.name()
        );
        let ask = |schema: Schema| {
            let query = query.replace("LIMIT", &schema.limit_max().to_string());
            let params =
                Params::parse(&query, &bookwire_api::spec::data::parameters(schema)).unwrap();
            let shape = Shape::read(&params).unwrap();
            let served = Served(vec![(provider, Market::Spot), (provider, Market::Perp)]);
            let request = SeriesRequest::read(schema, (&table, &served), &params, &shape).unwrap();
            (request, shape)
        };
        let native: BTreeMap<String, String> = table
            .iter()
            .map(|row| (row.code.clone(), row.spec.native_symbol.clone()))
            .collect();

        let (request, shape) = ask(Schema::Trades);
        let rows = reader.trades(&request.trade_query()).unwrap();
        let listing = series::trades(&request, &rows, &shape).unwrap();
        let columns = ["code", "trade_id", "price", "volume", "side", "timestamp"];
        let found: BTreeMap<(String, String), Vec<String>> = answered(listing.body(), &columns)
            .into_iter()
            .map(|row| ((native[&row[0]].clone(), row[1].clone()), row[2..].to_vec()))
            .collect();
        assert_eq!(found.len(), rows.len(), "{file}: a trade twice");
        for (key, expected) in &recorded.trades {
            assert_eq!(found.get(key), Some(expected), "{file}: {key:?}");
        }
        assert_eq!(
            found.len(),
            recorded.trades.len(),
            "{file}: trades nobody sent"
        );

        let schema = Schema::Klines(market, Level::M1);
        let (request, shape) = ask(schema);
        let rows = reader.klines(&request.kline_query(Level::M1)).unwrap();
        let listing = series::klines(&*reader, &request, Level::M1, rows, &shape).unwrap();
        let columns = [
            "code",
            "timestamp",
            "open",
            "high",
            "low",
            "close",
            "volume",
            "turnover",
            "trade_count",
        ];
        let found: BTreeMap<(String, TsNanos), Vec<String>> = answered(listing.body(), &columns)
            .into_iter()
            .map(|row| {
                let start = TsNanos::parse(&row[1]).unwrap();
                ((native[&row[0]].clone(), start), row[2..].to_vec())
            })
            .collect();
        assert_eq!(found, recorded.bars, "{file}");
        assert!(recorder.stop(std::time::Duration::from_secs(10)));
    }
}
