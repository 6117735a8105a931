//! Lists out of a real store and a real instrument table, as their bytes.

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::InstrumentSpec;
use bookwire_engine::store::{CoverageRow, Embedded, Entity, Row, Store, open_embedded};
use serde_json::{Value, json};

use super::*;

const MINUTE: i64 = 60_000_000_000;

fn spec(market: Market, base: &str, quote: &str, is_active: bool) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}{quote}"),
        base_symbol: base.to_owned(),
        quote_symbol: quote.to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| quote.to_owned()),
        price_step: Decimal::new(1, 2),
        qty_step: Decimal::new(1, 5),
        bar_levels: None,
        price_digits: 2,
        qty_digits: 5,
        min_qty: None,
        max_qty: None,
        min_notional: Some(Decimal::new(5, 0)),
        maker_fee: None,
        taker_fee: None,
        is_active,
        margin_enabled: market == Market::Perp,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: (market == Market::Perp).then_some(if base == "BTC" { 125 } else { 50 }),
        funding_interval_hours: (market == Market::Perp).then_some(8),
        native_code: None,
    }
}

fn table() -> InstrumentTable {
    let spot = vec![
        spec(Market::Spot, "BTC", "USDT", true),
        spec(Market::Spot, "ETH", "USDT", true),
        spec(Market::Spot, "ETH", "BTC", true),
        spec(Market::Spot, "OLD", "USDT", false),
    ];
    let perp = vec![
        spec(Market::Perp, "BTC", "USDT", true),
        spec(Market::Perp, "ETH", "USDT", true),
    ];
    InstrumentTable::default()
        .with_market(ProviderId::BINANCE, Market::Spot, spot)
        .with_market(ProviderId::BINANCE, Market::Perp, perp)
}

/// 2024-08-01T00:00:00Z and so many minutes.
fn at(minutes: i64) -> TsNanos {
    TsNanos(1_722_470_400_000_000_000 + minutes * MINUTE)
}

fn bar(entity: &Arc<Entity>, minutes: i64, close: i64) -> Row {
    Row::Kline(KlineRow {
        entity: Arc::clone(entity),
        level: Level::M1,
        ts: at(minutes),
        open: Decimal::new(100, 0),
        high: Decimal::new(200, 0),
        low: Decimal::new(50, 0),
        close: Decimal::new(close, 0),
        volume_base: Decimal::new(2, 0),
        volume_quote: Some(Decimal::new(close * 2, 0)),
        trade_count: Some(3),
    })
}

struct Rig {
    table: InstrumentTable,
    served: Served,
    store: Embedded,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// Bars of btcusdt at minutes 0, 1, 2, 4 and 6: the hole at 3 is known to be one, the one at 5
    /// was never fetched.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open_embedded(dir.path().join("test.db")).unwrap();
        let table = table();
        let entity = |text: &str, market| {
            let scope = Scope {
                market: Some(market),
                ..Scope::default()
            };
            Entity::of(table.resolve(text, scope).unwrap())
        };
        let btc = entity("btcusdt", Market::Spot);
        let mut rows: Vec<Row> = [(0, 100), (1, 110), (2, 99), (4, 198), (6, 150)]
            .into_iter()
            .map(|(minutes, close)| bar(&btc, minutes, close))
            .collect();
        rows.push(Row::Coverage(CoverageRow {
            entity: Arc::clone(&btc),
            series: Series::Klines(Level::M1),
            span: Span {
                start: at(0),
                end: at(5),
            },
        }));
        rows.push(bar(&entity("ethusdt", Market::Spot), 1, 7));
        for (id, side, volume) in [(1, Side::Buy, 5), (2, Side::Sell, 50), (3, Side::Buy, 500)] {
            rows.push(Row::Trade(TradeRow {
                entity: Arc::clone(&btc),
                ts: TsNanos(at(0).0 + id * 1_500_000),
                trade_id: u64::try_from(id).unwrap().into(),
                price: "61737.63".parse().unwrap(),
                volume: Decimal::new(volume, 3),
                side,
            }));
        }
        rows.push(Row::Funding(FundingRow {
            entity: entity("btcusdt", Market::Perp),
            ts: at(0),
            funding_rate: "0.0001".parse().unwrap(),
            predicted_rate: None,
            funding_interval_hours: Some(8),
            mark_price: Some("64000.5".parse().unwrap()),
            index_price: None,
            next_funding_time: Some(at(480)),
        }));
        store.write(&rows).unwrap();
        store.flush().unwrap();
        Self {
            table,
            served: Served(vec![
                (ProviderId::BINANCE, Market::Spot),
                (ProviderId::BINANCE, Market::Perp),
                (ProviderId::OKX, Market::Spot),
            ]),
            store,
            _dir: dir,
        }
    }

    fn text(&self, schema: &str, query: &str) -> Result<String, CryptoError> {
        let schema = Schema::of_path(schema)?;
        let params = Params::parse(query, &crate::spec::data::parameters(schema))?;
        let shape = Shape::read(&params)?;
        let listing = match schema {
            Schema::Asset => entities::assets(&self.table, &self.served, &params, &shape)?,
            Schema::Instruments(market) => {
                entities::instruments((&self.table, &self.served), market, &params, &shape)?
            }
            _ => {
                let request =
                    SeriesRequest::read(schema, (&self.table, &self.served), &params, &shape)?;
                let reader = self.store.reader().unwrap();
                match schema {
                    Schema::Klines(_, level) => {
                        let rows = reader.klines(&request.kline_query(level)).unwrap();
                        klines(&*reader, &request, level, rows, &shape)?
                    }
                    Schema::Trades => {
                        let rows = reader.trades(&request.trade_query()).unwrap();
                        trades(&request, &rows, &shape)?
                    }
                    _ => {
                        let rows = reader.funding(&request.funding_query()).unwrap();
                        funding(&request, &rows, &shape)?
                    }
                }
            }
        };
        Ok(String::from_utf8(listing.body().to_vec()).unwrap())
    }

    #[track_caller]
    fn json(&self, schema: &str, query: &str) -> Value {
        serde_json::from_str(&self.text(schema, query).unwrap()).unwrap()
    }

    /// One column of all rows.
    #[track_caller]
    fn column(&self, schema: &str, query: &str, column: &str) -> Vec<Value> {
        let answer = self.json(schema, query);
        let rows = answer["data"].as_array().unwrap().clone();
        rows.into_iter().map(|row| row[column].clone()).collect()
    }
}

#[track_caller]
fn fields(row: &Value) -> Vec<String> {
    let mut names: Vec<String> = row.as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    names
}

#[track_caller]
fn has_fields(row: &Value, contract: &str) {
    let names = fields(row);
    for name in contract.split_whitespace() {
        assert!(
            names.iter().any(|known| known == name),
            "{name} in {names:?}"
        );
    }
}

const BTC: &str = "provider=binance&codes=btcusdt";

#[test]
fn rows_have_the_fields_of_the_contract() {
    let rig = Rig::new();
    let first = |schema: &str, query: &str| rig.json(schema, query)["data"][0].clone();
    let bar = first("CryptoPair1mKdata", BTC);
    has_fields(
        &bar,
        "id entity_id timestamp provider code name level open high low close volume turnover \
         volume_base volume_quote trade_count vwap change_pct turnover_rate",
    );
    assert_eq!(bar["id"], "cryptopair_binance_btcusdt_2024-08-01T00:00:00Z");
    assert_eq!(bar["timestamp"], "2024-08-01T00:00:00Z");
    assert_eq!(bar["name"], "BTC/USDT");
    assert_eq!(bar["volume"], bar["volume_base"]);
    assert_eq!(bar["turnover"], bar["volume_quote"]);
    assert_eq!(bar["turnover_rate"], Value::Null);
    let trade = first("CryptoTrade", BTC);
    has_fields(
        &trade,
        "id entity_id timestamp provider code trade_id price volume side is_buyer_maker",
    );
    assert_eq!(trade["timestamp"], "2024-08-01T00:00:00.001500Z");
    assert_eq!(trade["is_buyer_maker"], false);
    let funding = first("CryptoFunding", BTC);
    has_fields(
        &funding,
        "id entity_id timestamp provider code funding_rate predicted_rate \
         funding_interval_hours mark_price index_price next_funding_timestamp",
    );
    assert_eq!(funding["entity_id"], "cryptoperp_binance_btcusdt");
    assert_eq!(
        funding["next_funding_timestamp"],
        "2024-08-01T08:00:00.000Z"
    );
    has_fields(
        &first("CryptoAsset", ""),
        "id entity_id entity_type exchange code name",
    );
    let pair = "id entity_id entity_type exchange code name base_symbol quote_symbol price_step \
                qty_step min_notional maker_fee taker_fee is_active margin_enabled list_date \
                min_qty max_qty native_symbol";
    has_fields(&first("CryptoPair", ""), pair);
    let perp = first("CryptoPerp", "");
    has_fields(&perp, pair);
    has_fields(
        &perp,
        "underlying_symbol settlement_symbol contract_size max_leverage funding_interval_hours",
    );
}

#[test]
fn change_is_against_the_bar_before_and_never_across_an_unknown_stretch() {
    let rig = Rig::new();
    let changes = |query: &str| rig.column("CryptoPair1mKdata", query, "change_pct");
    // 150 follows a stretch that nobody fetched: its change is against its own open.
    assert_eq!(
        changes(BTC),
        [json!(0), json!(0.1), json!(-0.1), json!(1), json!(0.5)]
    );
    // The bar before the range counts, and so it does in the other direction.
    let range =
        format!("{BTC}&start_timestamp=2024-08-01T00:01:00Z&end_timestamp=2024-08-01T00:02:00Z");
    assert_eq!(changes(&range), [json!(0.1), json!(-0.1)]);
    assert_eq!(
        changes(&format!("{range}&order=timestamp_desc")),
        [json!(-0.1), json!(0.1)]
    );
    // Bars of several instruments come by time, each against the one before of its own.
    for order in ["", "&order=timestamp_desc"] {
        let both = rig.json(
            "CryptoPair1mKdata",
            &format!("provider=binance&codes=btcusdt,ethusdt{order}"),
        );
        let rows = both["data"].as_array().unwrap();
        let of = |code: &str, name: &str| {
            let all = rows.iter().filter(|row| row["code"] == code);
            all.map(|row| row[name].clone()).collect::<Vec<_>>()
        };
        for (code, name) in [("btcusdt", "BTC/USDT"), ("ethusdt", "ETH/USDT")] {
            let alone = changes(&format!("provider=binance&codes={code}{order}"));
            assert_eq!(of(code, "change_pct"), alone, "{code}{order}");
            assert!(of(code, "name").iter().all(|told| told == name), "{both}");
        }
    }
}

#[test]
fn ranges_limits_and_pages_cut_as_documented() {
    let rig = Rig::new();
    let closes = |query: &str| rig.column("CryptoPair1mKdata", &format!("{BTC}&{query}"), "close");
    assert_eq!(
        closes("limit=2"),
        [json!(198), json!(150)],
        "the latest, oldest first"
    );
    assert_eq!(
        closes("limit=2&order=timestamp_desc"),
        [json!(150), json!(198)]
    );
    assert_eq!(
        closes("limit=2&start_timestamp=2024-08-01"),
        [json!(100), json!(110)]
    );
    assert_eq!(
        closes("start_timestamp=1722470460&end_timestamp=1722470520000"),
        [110, 99]
    );
    let page = rig.json("CryptoPair1mKdata", &format!("{BTC}&page=2&page_size=2"));
    assert_eq!(page["total"], 5);
    assert_eq!(page["page"], 2);
    assert_eq!(page["page_size"], 2);
    assert_eq!(page["has_more"], true);
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let page = rig.json("CryptoPair1mKdata", &format!("{BTC}&page=3&page_size=2"));
    assert_eq!(
        (
            page["has_more"].clone(),
            page["data"].as_array().unwrap().len()
        ),
        (false.into(), 1)
    );
    let page = rig.json("CryptoPair1mKdata", &format!("{BTC}&page=9&page_size=2"));
    assert_eq!(
        (page["total"].clone(), page["data"].clone()),
        (5.into(), json!([]))
    );
    let two = rig.column(
        "CryptoPair1mKdata",
        "provider=binance&codes=btcusdt,ethusdt",
        "code",
    );
    assert_eq!(
        two,
        [
            "btcusdt", "btcusdt", "ethusdt", "btcusdt", "btcusdt", "btcusdt"
        ]
    );
}

#[test]
fn numbers_columns_and_csv_are_as_asked() {
    let rig = Rig::new();
    let query = format!("{BTC}&columns=price,volume,side&limit=1");
    let text = rig.text("CryptoTrade", &query).unwrap();
    assert!(
        text.contains(r#"{"price":61737.63,"volume":0.5,"side":"buy"}"#),
        "{text}"
    );
    let text = rig
        .text("CryptoTrade", &format!("{query}&numbers=string"))
        .unwrap();
    assert!(
        text.contains(r#"{"price":"61737.63","volume":"0.5","side":"buy"}"#),
        "{text}"
    );
    let text = rig
        .text("CryptoTrade", &format!("{query}&format=csv"))
        .unwrap();
    assert_eq!(text, "price,volume,side\r\n61737.63,0.5,buy\r\n");
    let error = rig
        .text("CryptoTrade", &format!("{BTC}&columns=price,cost"))
        .unwrap_err();
    assert_eq!(error.details["value"], "cost");
    let sells = rig.column("CryptoTrade", &format!("{BTC}&side=sell"), "trade_id");
    assert_eq!(sells, ["2"]);
    let large = rig.column("CryptoTrade", &format!("{BTC}&min_volume=0.05"), "trade_id");
    assert_eq!(large, ["2", "3"]);
}

#[test]
fn unknown_symbols_follow_the_404_rules() {
    let rig = Rig::new();
    let code = |schema: &str, query: &str| rig.text(schema, query).unwrap_err().code;
    let bars = "CryptoPair1mKdata";
    assert_eq!(
        code(bars, "provider=binance&codes=btcusd"),
        CryptoCode::PairNotFound
    );
    assert_eq!(
        code(bars, "provider=binance&codes=b%20c"),
        CryptoCode::SymbolMappingError
    );
    assert_eq!(
        code(bars, "provider=binance&codes=btcusdt-perp"),
        CryptoCode::PairNotFound
    );
    assert_eq!(
        code("CryptoFunding", "provider=binance&codes=ethbtc"),
        CryptoCode::FundingRateMissing
    );
    assert_eq!(
        code(
            "CryptoFunding",
            "provider=binance&entity_ids=cryptopair_binance_btcusdt"
        ),
        CryptoCode::FundingRateMissing
    );
    let some = rig.json(bars, "provider=binance&codes=btcusdt,nonsense");
    assert_eq!(some["total"], 5);
    assert_eq!(some["warnings"].as_array().unwrap().len(), 1);
    let none = rig
        .text(bars, "provider=binance&codes=nonsense,rubbish")
        .unwrap_err();
    assert_eq!(none.details["not_listed"].as_array().unwrap().len(), 2);
    assert_eq!(rig.json("CryptoPair", "codes=nonsense")["data"], json!([]));
    assert_eq!(
        code("CryptoPair", "codes=b%20c"),
        CryptoCode::SymbolMappingError
    );
}

#[test]
fn entity_lists_are_filtered() {
    let rig = Rig::new();
    let codes = |schema: &str, query: &str| {
        let rows = rig.column(schema, query, "code");
        rows.iter()
            .map(|code| code.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(codes("CryptoPair", ""), "btcusdt ethbtc ethusdt oldusdt");
    assert_eq!(codes("CryptoPair", "is_active=false"), "oldusdt");
    assert_eq!(
        codes("CryptoPair", "base_symbols=eth&quote_symbols=BTC,USDT"),
        "ethbtc ethusdt"
    );
    assert_eq!(
        codes("CryptoPair", "codes=BTC/USDT,eth-btc"),
        "btcusdt ethbtc"
    );
    assert_eq!(
        codes("CryptoPair", "entity_ids=cryptopair_binance_ethusdt"),
        "ethusdt"
    );
    assert_eq!(codes("CryptoPair", "margin_enabled=true"), "");
    assert_eq!(codes("CryptoPerp", "max_leverage=100"), "btcusdt");
    assert_eq!(codes("CryptoPerp", "max_leverage=50"), "btcusdt ethusdt");
    assert_eq!(codes("CryptoPerp", "funding_interval_hours=4"), "");
    assert_eq!(
        codes(
            "CryptoPerp",
            "underlying_symbols=eth&settlement_symbols=usdt"
        ),
        "ethusdt"
    );
    assert_eq!(codes("CryptoAsset", ""), "btc eth old usdt");
    assert_eq!(codes("CryptoAsset", "codes=BTC"), "btc");
    assert_eq!(
        codes("CryptoAsset", "entity_ids=cryptoasset_binance_eth"),
        "eth"
    );
    assert_eq!(
        codes("CryptoPair", "exchange=binance&limit=2"),
        "btcusdt ethbtc"
    );
    let error = rig.text("CryptoPair", "exchange=mtgox").unwrap_err();
    assert_eq!(error.details["parameter"], "exchange");
}
