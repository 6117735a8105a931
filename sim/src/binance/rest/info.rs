//! What is listed, and under which rules.

use std::fmt::Write;

use super::Ask;
use super::data::list;
use super::params::ApiError;
use crate::market::{Contract, Fixed, Instrument, Segment, Status};

/// A perpetual's delivery time, as the exchange writes "never".
const NEVER_MS: i64 = 4_133_404_800_000;

fn spot_status(status: Status) -> &'static str {
    match status {
        Status::Trading => "TRADING",
        Status::Break | Status::Settling => "BREAK",
    }
}

/// Order types that a spot symbol takes: stops without a limit only where there is always somebody
/// to trade with.
pub(crate) fn spot_types(it: &Instrument) -> Vec<&'static str> {
    let all = [
        "LIMIT",
        "LIMIT_MAKER",
        "MARKET",
        "STOP_LOSS",
        "STOP_LOSS_LIMIT",
        "TAKE_PROFIT",
        "TAKE_PROFIT_LIMIT",
    ];
    let is_taken = |name: &&str| it.quote == "USDT" || !["STOP_LOSS", "TAKE_PROFIT"].contains(name);
    all.into_iter().filter(is_taken).collect()
}

pub(super) fn spot(ask: &Ask<'_>) -> Result<String, ApiError> {
    let params = ask.params;
    let one = params.symbol()?;
    let several = params.symbols()?;
    let permissions = params.get("permissions");
    let status = params.get("symbolStatus");
    let named = one.is_some() || several.is_some();
    if (one.is_some() && several.is_some())
        || (named && (permissions.is_some() || status.is_some()))
    {
        return Err(ApiError::combination());
    }
    if status.is_some_and(|status| !["TRADING", "HALT", "BREAK"].contains(&status)) {
        return Err(ApiError::new(-1122, "Invalid symbolStatus."));
    }
    let permits = permissions.is_none_or(|text| text.contains("SPOT") || text.contains("MARGIN"));
    let with_sets = params.flag("showPermissionSets")?.unwrap_or(true);
    let wanted: Option<Vec<&str>> = one.map(|name| vec![name]).or_else(|| {
        several
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect())
    });
    for name in wanted.iter().flatten() {
        ask.source_of(name)?;
    }
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|names| names.contains(&name));
    let head = format!(
        "{{\"timezone\":\"UTC\",\"serverTime\":{},\"rateLimits\":[\
         {{\"rateLimitType\":\"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\
         \"limit\":6000}},\
         {{\"rateLimitType\":\"ORDERS\",\"interval\":\"SECOND\",\"intervalNum\":10,\"limit\":100}},\
         {{\"rateLimitType\":\"ORDERS\",\"interval\":\"DAY\",\"intervalNum\":1,\"limit\":200000}},\
         {{\"rateLimitType\":\"RAW_REQUESTS\",\"interval\":\"MINUTE\",\"intervalNum\":5,\
         \"limit\":300000}}],\"exchangeFilters\":[],\"symbols\":",
        ask.core.clock.now_ms(),
    );
    if let Some(tape) = ask.core.venue.tapes.get(&Segment::Spot) {
        return Ok(format!(
            "{head}{}}}",
            tape.listing(Segment::Spot, is_wanted)
        ));
    }
    let rows: Vec<&Instrument> = ask
        .core
        .listed(Segment::Spot)
        .map(|(_, it)| it)
        .filter(|it| permits && is_wanted(&it.symbol))
        .filter(|it| status.is_none_or(|status| status == spot_status(it.status)))
        .collect();
    Ok(format!(
        "{head}{}}}",
        list(&rows, |out, it| write_spot(out, it, with_sets))
    ))
}

fn write_spot(out: &mut String, it: &Instrument, with_sets: bool) {
    let sets = if with_sets {
        "[[\"SPOT\",\"MARGIN\"]]"
    } else {
        "[]"
    };
    let step = |fixed: Fixed| fixed.padded(8);
    let _ = write!(
        out,
        "{{\"symbol\":\"{symbol}\",\"status\":\"{status}\",\"baseAsset\":\"{base}\",\
         \"baseAssetPrecision\":8,\"quoteAsset\":\"{quote}\",\"quotePrecision\":8,\
         \"quoteAssetPrecision\":8,\"baseCommissionPrecision\":8,\"quoteCommissionPrecision\":8,\
         \"orderTypes\":{order_types},\"icebergAllowed\":false,\"ocoAllowed\":false,\"otoAllowed\":false,\
         \"quoteOrderQtyMarketAllowed\":true,\"allowTrailingStop\":false,\
         \"cancelReplaceAllowed\":true,\"amendAllowed\":true,\"isSpotTradingAllowed\":{trading},\
         \"isMarginTradingAllowed\":{trading},\"filters\":[\
         {{\"filterType\":\"PRICE_FILTER\",\"minPrice\":\"{price_min}\",\
         \"maxPrice\":\"{price_max}\",\"tickSize\":\"{tick}\"}},\
         {{\"filterType\":\"LOT_SIZE\",\"minQty\":\"{qty_min}\",\"maxQty\":\"{qty_max}\",\
         \"stepSize\":\"{lot}\"}},\
         {{\"filterType\":\"MARKET_LOT_SIZE\",\"minQty\":\"0.00000000\",\
         \"maxQty\":\"{market_max}\",\"stepSize\":\"0.00000000\"}},\
         {{\"filterType\":\"NOTIONAL\",\"minNotional\":\"{notional}\",\"applyMinToMarket\":true,\
         \"maxNotional\":\"9000000.00000000\",\"applyMaxToMarket\":false,\"avgPriceMins\":5}},\
         {{\"filterType\":\"MAX_NUM_ORDERS\",\"maxNumOrders\":200}}],\
         \"permissions\":[],\"permissionSets\":{sets},\
         \"defaultSelfTradePreventionMode\":\"EXPIRE_MAKER\",\
         \"allowedSelfTradePreventionModes\":[\"EXPIRE_TAKER\",\"EXPIRE_MAKER\",\"EXPIRE_BOTH\"]}}",
        symbol = it.symbol,
        order_types = serde_json::Value::from(spot_types(it)),
        status = spot_status(it.status),
        base = it.base,
        quote = it.quote,
        trading = it.status == Status::Trading,
        price_min = it.price(it.price_range.0),
        price_max = it.price(it.price_range.1),
        tick = step(it.tick),
        qty_min = it.qty(it.qty_range.0),
        qty_max = it.qty(it.qty_range.1),
        lot = step(it.lot),
        market_max = it.qty(it.market_qty_max),
        notional = step(it.notional_min),
    );
}

pub(super) fn linear(ask: &Ask<'_>) -> Result<String, ApiError> {
    // Of this endpoint's time the documents say that it is not the current one.
    let head = format!(
        "{{\"timezone\":\"UTC\",\"serverTime\":{},\"futuresType\":\"U_MARGINED\",\"rateLimits\":[\
         {{\"rateLimitType\":\"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\
         \"limit\":2400}},\
         {{\"rateLimitType\":\"ORDERS\",\"interval\":\"MINUTE\",\"intervalNum\":1,\"limit\":1200}},\
         {{\"rateLimitType\":\"ORDERS\",\"interval\":\"SECOND\",\"intervalNum\":10,\"limit\":300}}],\
         \"exchangeFilters\":[],\"assets\":[{{\"asset\":\"USDT\",\"marginAvailable\":true,\
         \"autoAssetExchange\":\"-10000\"}}],\"symbols\":",
        ask.core.clock.now_ms(),
    );
    if let Some(tape) = ask.core.venue.tapes.get(&Segment::Linear) {
        return Ok(format!(
            "{head}{}}}",
            tape.listing(Segment::Linear, |_| true)
        ));
    }
    let rows: Vec<&Instrument> = ask.core.listed(Segment::Linear).map(|(_, it)| it).collect();
    Ok(format!(
        "{head}{}}}",
        list(&rows, |out, it| write_linear(out, it))
    ))
}

fn write_linear(out: &mut String, it: &Instrument) {
    let (contract, delivery_ms) = match it.contract {
        Contract::Delivery { delivery_ms } => ("CURRENT_QUARTER", delivery_ms),
        Contract::Spot | Contract::Perpetual(_) => ("PERPETUAL", NEVER_MS),
    };
    let status = match it.status {
        Status::Trading => "TRADING",
        Status::Break | Status::Settling => "SETTLING",
    };
    let _ = write!(
        out,
        "{{\"symbol\":\"{symbol}\",\"pair\":\"{pair}\",\"contractType\":\"{contract}\",\
         \"deliveryDate\":{delivery_ms},\"onboardDate\":{onboard},\"status\":\"{status}\",\
         \"maintMarginPercent\":\"2.5000\",\"requiredMarginPercent\":\"5.0000\",\
         \"baseAsset\":\"{base}\",\"quoteAsset\":\"{quote}\",\"marginAsset\":\"{quote}\",\
         \"pricePrecision\":{price_decimals},\"quantityPrecision\":{qty_decimals},\
         \"baseAssetPrecision\":8,\"quotePrecision\":8,\"underlyingType\":\"COIN\",\
         \"underlyingSubType\":[],\"triggerProtect\":\"0.0500\",\"liquidationFee\":\"0.012500\",\
         \"marketTakeBound\":\"0.05\",\"maxMoveOrderLimit\":10000,\"filters\":[\
         {{\"filterType\":\"PRICE_FILTER\",\"minPrice\":\"{price_min}\",\
         \"maxPrice\":\"{price_max}\",\"tickSize\":\"{tick}\"}},\
         {{\"filterType\":\"LOT_SIZE\",\"minQty\":\"{qty_min}\",\"maxQty\":\"{qty_max}\",\
         \"stepSize\":\"{lot}\"}},\
         {{\"filterType\":\"MARKET_LOT_SIZE\",\"minQty\":\"{qty_min}\",\
         \"maxQty\":\"{market_max}\",\"stepSize\":\"{lot}\"}},\
         {{\"filterType\":\"MAX_NUM_ORDERS\",\"limit\":200}},\
         {{\"filterType\":\"MIN_NOTIONAL\",\"notional\":\"{notional}\"}},\
         {{\"filterType\":\"PERCENT_PRICE\",\"multiplierUp\":\"1.0500\",\
         \"multiplierDown\":\"0.9500\",\"multiplierDecimal\":\"4\"}}],\
         \"orderTypes\":[\"LIMIT\",\"MARKET\",\"STOP\",\"STOP_MARKET\",\"TAKE_PROFIT\",\
         \"TAKE_PROFIT_MARKET\",\"TRAILING_STOP_MARKET\"],\
         \"timeInForce\":[\"GTC\",\"IOC\",\"FOK\",\"GTX\"]}}",
        symbol = it.symbol,
        pair = it.pair,
        onboard = it.list_ms,
        base = it.base,
        quote = it.quote,
        price_decimals = it.price_decimals,
        qty_decimals = it.qty_decimals,
        price_min = it.price(it.price_range.0),
        price_max = it.price(it.price_range.1),
        tick = it.tick,
        qty_min = it.qty(it.qty_range.0),
        qty_max = it.qty(it.qty_range.1),
        lot = it.lot,
        market_max = it.qty(it.market_qty_max),
        notional = it.notional_min,
    );
}

/// Funding terms that differ from the usual: 8 hours, cap 0.3 %.
pub(super) fn funding(ask: &Ask<'_>) -> String {
    let rows: Vec<_> = ask
        .core
        .listed(Segment::Linear)
        .filter_map(|(_, it)| match it.contract {
            Contract::Perpetual(terms) => Some((it, terms)),
            _ => None,
        })
        .filter(|(_, terms)| terms.interval_hours != 8 || terms.cap_e8 != 300_000)
        .collect();
    list(&rows, |out, (it, terms)| {
        let cap = Fixed::new(i128::from(terms.cap_e8), 8);
        let _ = write!(
            out,
            "{{\"symbol\":\"{}\",\"adjustedFundingRateCap\":\"{cap}\",\
             \"adjustedFundingRateFloor\":\"-{cap}\",\"fundingIntervalHours\":{},\
             \"disclaimer\":false}}",
            it.symbol, terms.interval_hours,
        );
    })
}

/// Coin-margined futures: none are listed.
pub(super) fn coin(now_ms: i64) -> String {
    format!(
        "{{\"timezone\":\"UTC\",\"serverTime\":{now_ms},\"rateLimits\":[\
         {{\"rateLimitType\":\"REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1,\
         \"limit\":2400}}],\"exchangeFilters\":[],\"symbols\":[]}}"
    )
}
