//! The product list, and what the older interface says of currencies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::market::{Fixed, Instrument, InstrumentIx, Status, Ticker24h};

use super::listing;
use super::venue::Core;

/// Names of coins and currencies.
const NAMES: [(&str, &str); 9] = [
    ("BTC", "Bitcoin"),
    ("ETH", "Ethereum"),
    ("SOL", "Solana"),
    ("DOGE", "Dogecoin"),
    ("SHIB", "Shiba Inu"),
    ("GONE", "Gone"),
    ("USD", "US Dollar"),
    ("USDC", "USDC"),
    ("USDT", "Tether"),
];

fn name_of(code: &str) -> &str {
    let mut names = NAMES.iter();
    names
        .find(|(known, _)| *known == code)
        .map_or(code, |(_, name)| name)
}

/// Rows of the list, an alias behind its product; with `is_future` the one future there is.
pub(super) fn rows(core: &mut Core, is_future: bool) -> Vec<Value> {
    if is_future {
        return future(core).into_iter().collect();
    }
    let count = core.market.instruments().len();
    let ixs = (0..count).filter_map(|at| u16::try_from(at).ok());
    let mut all = Vec::with_capacity(2 * count);
    for ix in ixs.map(InstrumentIx) {
        let Some(row) = row(core, ix) else { continue };
        let alias = row["alias_to"][0].as_str().map(str::to_owned);
        let alias = alias.map(|alias| as_alias(&row, &alias));
        all.push(row);
        all.extend(alias);
    }
    all
}

/// A product by its id, aliases included.
pub(super) fn one(core: &mut Core, id: &str) -> Option<Value> {
    let mut all = rows(core, false);
    all.extend(rows(core, true));
    all.into_iter().find(|row| row["product_id"] == id)
}

fn row(core: &mut Core, ix: InstrumentIx) -> Option<Value> {
    // What is no longer traded has no day: its figures are empty.
    let day = core.day(ix);
    let it = core.market.instrument(ix)?;
    let text = |number: Fixed| number.trimmed().to_string();
    let of_day =
        |figure: &dyn Fn(&Ticker24h) -> String| day.as_ref().map_or_else(String::new, figure);
    let is_gone = it.status != Status::Trading;
    let alias_to: Vec<String> = listing::alias_of(&it.symbol).into_iter().collect();
    Some(json!({
        "product_id": it.symbol,
        "price": of_day(&|day| text(it.price(day.last))),
        "price_percentage_change_24h": of_day(&super::encode::percent),
        "volume_24h": of_day(&|day| text(it.qty(day.volume))),
        "volume_percentage_change_24h": of_day(&|_| "0".to_owned()),
        "base_increment": text(it.lot),
        "quote_increment": text(it.tick),
        "quote_min_size": text(it.notional_min),
        "quote_max_size": quote_max(it),
        "base_min_size": text(it.qty(it.qty_range.0)),
        "base_max_size": text(it.qty(it.qty_range.1)),
        "base_name": name_of(&it.base),
        "quote_name": name_of(&it.quote),
        "watched": false,
        "is_disabled": false,
        "new": false,
        "status": if is_gone { "delisted" } else { "online" },
        "cancel_only": false,
        "limit_only": false,
        "post_only": false,
        "trading_disabled": is_gone,
        "auction_mode": false,
        "product_type": "SPOT",
        "quote_currency_id": it.quote,
        "base_currency_id": it.base,
        "fcm_trading_session_details": null,
        "mid_market_price": "",
        "alias": "",
        "alias_to": alias_to,
        "base_display_symbol": it.base,
        "quote_display_symbol": it.quote,
        "view_only": false,
        "price_increment": text(it.tick),
        "display_name": it.symbol,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": of_day(&|day| {
            text(it.notional(day.quote_volume).truncated(2))
        }),
        "new_at": super::encode::time(it.list_ms * 1_000),
        "best_bid_price": "",
        "best_ask_price": "",
        "high_24h": of_day(&|day| text(it.price(day.high))),
        "low_24h": of_day(&|day| text(it.price(day.low))),
    }))
}

/// Largest value of an order in the quote currency.
fn quote_max(it: &Instrument) -> &'static str {
    match it.quote.as_str() {
        "BTC" => "200",
        _ => "150000000",
    }
}

/// The row of another name of a product: same book, other quote currency.
fn as_alias(product: &Value, alias: &str) -> Value {
    let mut row = product.clone();
    row["alias"] = product["product_id"].clone();
    row["alias_to"] = json!([]);
    row["product_id"] = json!(alias);
    row["display_name"] = json!(alias);
    row["quote_currency_id"] = json!("USDC");
    row["quote_name"] = json!("USDC");
    row
}

/// A future of the product list, in which no one trades here.
fn future(core: &mut Core) -> Option<Value> {
    let ix = core.product("BTC-USD")?;
    let price = core.day(ix)?.last;
    let it = core.market.instrument(ix)?;
    let price = it.price(price).truncated(0).to_string();
    Some(json!({
        "product_id": "BIP-20DEC30-CDE",
        "price": price,
        "volume_24h": "0",
        "base_increment": "1",
        "quote_increment": "0.01",
        "quote_min_size": "0",
        "quote_max_size": "150000000",
        "base_min_size": "1",
        "base_max_size": "5000",
        "base_name": "",
        "quote_name": "US Dollar",
        "status": "",
        "is_disabled": false,
        "trading_disabled": false,
        "product_type": "FUTURE",
        "quote_currency_id": "USD",
        "base_currency_id": "",
        "alias": "",
        "alias_to": [],
        "view_only": false,
        "price_increment": "5",
        "display_name": "BTC PERP",
        "product_venue": "FCM",
        "new_at": null,
        "fcm_trading_session_details": { "is_session_open": true },
        "future_product_details": {
            "venue": "cde",
            "contract_code": "BIP",
            "contract_expiry": "2030-12-20T16:00:00Z",
            "contract_size": "0.01",
            "contract_root_unit": "BTC",
            "contract_expiry_type": "EXPIRING",
            "perpetual_details": {
                "open_interest": "0",
                "funding_rate": "",
                "funding_time": null,
                "max_leverage": ""
            },
            "funding_interval": "3600s",
            "funding_rate": "0.000013",
            "index_price": price,
            "twenty_four_by_seven": true
        }
    }))
}

/// `/v2/currencies`: money of states.
pub(super) fn currencies() -> Value {
    json!({ "data": [
        { "id": "USD", "name": "United States Dollar", "min_size": "0.01" },
        { "id": "EUR", "name": "Euro", "min_size": "0.01" }
    ] })
}

/// `/v2/currencies/crypto`.
pub(super) fn coins() -> Value {
    let coins = NAMES.iter().filter(|(code, _)| *code != "USD");
    let rows: Vec<Value> = coins
        .zip(1_u32..)
        .map(|((code, name), at)| {
            json!({
                "asset_id": format!("00000000-0000-4000-8000-{at:012}"),
                "code": code,
                "name": name,
                "color": "#0433FF",
                "sort_index": at * 10,
                "exponent": 8,
                "type": "crypto",
                "address_regex": "^.+$"
            })
        })
        .collect();
    json!({ "data": rows })
}

/// `/v2/exchange-rates`: what a dollar buys.
pub(super) fn rates(core: &Core) -> Value {
    let mut rates: BTreeMap<String, String> = BTreeMap::new();
    rates.insert("USD".to_owned(), "1".to_owned());
    rates.insert("USDC".to_owned(), "1".to_owned());
    for (it, at) in core.market.instruments().iter().zip(0_u16..) {
        if it.quote != "USD" {
            continue;
        }
        if let Some((price, _)) = core.market.bbo(InstrumentIx(at)).bid {
            let unit = 10_i128.pow(it.tick.scale() + 16);
            let share = unit / (i128::from(price.0) * it.tick.mantissa()).max(1);
            let rate = Fixed::new(share, 16).trimmed();
            rates.insert(it.base.clone(), rate.to_string());
        }
    }
    json!({ "data": { "currency": "USD", "rates": rates } })
}
