//! `instruments-info`: rows of both markets, in pages on linear.

use serde_json::{Value, json};

use crate::market::{Contract, Fixed, Instrument, Price, Qty, Segment};
use crate::venue::percent_decode;

use super::super::venue::{self, Core};
use super::query::Query;
use super::{Refusal, refuse};

/// Rows on a page unless asked for otherwise: fewer than the exchange has contracts.
const PAGE: usize = 500;

pub(super) fn instruments(core: &Core, query: &Query) -> Result<String, Refusal> {
    let category = query
        .get("category")
        .ok_or_else(|| refuse("params error: category invalid"))?;
    let market = match category {
        "spot" => Segment::Spot,
        "linear" => Segment::Linear,
        // None of them here.
        "inverse" | "option" => return Ok(page(category, Vec::new(), "")),
        _ => return Err(refuse("params error: category invalid")),
    };
    let symbol = query.get("symbol");
    if let Some(symbol) = symbol
        && core.market.find(market, symbol).is_none()
    {
        return Err(refuse("params error: symbol invalid"));
    }
    // Only what trades is listed here at all.
    let is_listed = query.get("status").is_none_or(|status| status == "Trading");
    let base = query.get("baseCoin");
    let rows: Vec<&Instrument> = venue::listed(core, market)
        .map(|(_, it)| it)
        .filter(|it| is_listed && symbol.is_none_or(|symbol| symbol == it.symbol))
        .filter(|it| base.is_none_or(|base| base == it.base))
        .collect();
    if market == Segment::Spot {
        let rows: Vec<Value> = rows.into_iter().map(spot).collect();
        let rows = Value::from(rows);
        return Ok(format!("{{\"category\":\"spot\",\"list\":{rows}}}"));
    }
    let limit = query.limit(PAGE, 1_000)?;
    let from = match query.get("cursor") {
        None => 0,
        Some(cursor) => {
            after(cursor, &rows).ok_or_else(|| refuse("params error: cursor invalid"))?
        }
    };
    let part: Vec<&Instrument> = rows.iter().copied().skip(from).take(limit).collect();
    let cursor = match (part.first(), part.last()) {
        (Some(first), Some(last)) if from + part.len() < rows.len() => {
            format!("first%3D{}%26last%3D{}", first.symbol, last.symbol)
        }
        _ => String::new(),
    };
    let part = part.into_iter().map(linear).collect();
    Ok(page("linear", part, &cursor))
}

fn page(category: &str, rows: Vec<Value>, cursor: &str) -> String {
    let rows = Value::from(rows);
    format!("{{\"category\":\"{category}\",\"list\":{rows},\"nextPageCursor\":\"{cursor}\"}}")
}

/// Place behind the last row of the page that a cursor belongs to. A cursor has to come back as it
/// was told, escapes and all.
fn after(cursor: &str, rows: &[&Instrument]) -> Option<usize> {
    let is_told = cursor.contains("%26last%3D");
    let text = percent_decode(cursor);
    let (_, last) = text.split_once("&last=").filter(|_| is_told)?;
    let at = rows.iter().position(|it| it.symbol == last)?;
    Some(at + 1)
}

fn steps(it: &Instrument) -> (Value, Value) {
    (
        text(it.tick.padded(it.price_decimals)),
        text(it.lot.padded(it.qty_decimals)),
    )
}

fn text(value: impl ToString) -> Value {
    Value::from(value.to_string())
}

fn spot(it: &Instrument) -> Value {
    let (tick, lot) = steps(it);
    let qty = |qty: Qty| text(it.qty(qty).trimmed());
    json!({
        "symbol": it.symbol, "baseCoin": it.base, "quoteCoin": it.quote, "innovation": "0",
        "status": "Trading", "marginTrading": "utaOnly", "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": lot,
            "quotePrecision": text(Fixed::new(1, it.tick.scale() + it.lot.scale())),
            "minOrderQty": qty(it.qty_range.0), "maxOrderQty": qty(it.qty_range.1),
            "minOrderAmt": text(it.notional_min.trimmed()),
            "maxLimitOrderQty": qty(it.qty_range.1), "maxMarketOrderQty": qty(it.market_qty_max),
        },
        "priceFilter": { "tickSize": tick },
        "riskParameters": { "priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01" },
        "symbolType": "",
    })
}

fn linear(it: &Instrument) -> Value {
    let (tick, lot) = steps(it);
    let qty = |qty: Qty| text(it.qty(qty));
    let price = |price: Price| text(it.price(price));
    let (kind, minutes, delivery, cap) = match &it.contract {
        Contract::Perpetual(terms) => {
            let minutes = terms.interval_hours * 60;
            ("LinearPerpetual", minutes, 0, Some(terms.cap_e8))
        }
        Contract::Delivery { delivery_ms } => ("LinearFutures", 0, *delivery_ms, None),
        Contract::Spot => ("", 0, 0, None),
    };
    let rate = |sign: i64| match cap {
        Some(cap) => text(Fixed::new(i128::from(sign * cap), 8).trimmed()),
        None => text(""),
    };
    json!({
        "symbol": it.symbol, "contractType": kind, "status": "Trading", "baseCoin": it.base,
        "quoteCoin": it.quote, "launchTime": text(it.list_ms), "deliveryTime": text(delivery),
        "deliveryFeeRate": "", "priceScale": text(it.price_decimals),
        "leverageFilter": { "minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01" },
        "priceFilter": {
            "minPrice": price(it.price_range.0), "maxPrice": price(it.price_range.1),
            "tickSize": tick,
        },
        "lotSizeFilter": {
            "maxOrderQty": qty(it.qty_range.1), "minOrderQty": qty(it.qty_range.0),
            "qtyStep": lot, "postOnlyMaxOrderQty": qty(it.qty_range.1),
            "maxMktOrderQty": qty(it.market_qty_max),
            "minNotionalValue": text(it.notional_min.trimmed()),
        },
        "unifiedMarginTrade": true, "fundingInterval": minutes, "settleCoin": it.quote,
        "copyTrading": "none", "upperFundingRate": rate(1), "lowerFundingRate": rate(-1),
        "isPreListing": false, "preListingInfo": null,
        "riskParameters": { "priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02" },
        "displayName": "", "symbolType": "",
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::listing::listings;
    use super::*;

    #[test]
    fn rows_have_the_exchanges_forms() {
        let all = listings(1_723_075_200_000);
        let row = |segment, symbol: &str| {
            let mut all = all.iter().map(|entry| &entry.instrument);
            let it = all
                .find(|it| it.segment == segment && it.symbol == symbol)
                .unwrap();
            match segment {
                Segment::Spot => spot(it),
                Segment::Linear => linear(it),
            }
        };
        let btc = row(Segment::Linear, "BTCUSDT");
        assert_eq!(btc["priceFilter"]["tickSize"], "0.10");
        assert_eq!(btc["lotSizeFilter"]["qtyStep"], "0.001");
        assert_eq!(btc["fundingInterval"], 480);
        assert_eq!(row(Segment::Linear, "BTCPERP")["settleCoin"], "USDC");
        let shib = row(Segment::Linear, "SHIB1000USDT");
        assert_eq!(shib["baseCoin"], "SHIB1000");
        assert_eq!(shib["lotSizeFilter"]["qtyStep"], "10");
        let dated = row(Segment::Linear, "BTCUSDT-27SEP24");
        assert_eq!(dated["contractType"], "LinearFutures");
        assert_eq!(dated["fundingInterval"], 0);
        let spot = row(Segment::Spot, "BTCUSDT");
        assert_eq!(spot["priceFilter"]["tickSize"], "0.1");
        assert_eq!(spot["lotSizeFilter"]["basePrecision"], "0.000001");
        assert_eq!(spot["lotSizeFilter"]["quotePrecision"], "0.0000001");
    }
}
