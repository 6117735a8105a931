//! Balances, positions, fees and settings.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::super::rest::ApiError;
use super::usdm::instruments;
use super::{Call, auth, print};
use crate::account::{
    Account, AccountReason, MarginMode, PositionRow, PositionSide, Rules, Wallet, decimal,
};
use crate::market::Segment;

/// Largest value of a position at a leverage: the brackets of the simulated exchange.
const BRACKETS: [(u32, i64); 6] = [
    (125, 50_000),
    (100, 600_000),
    (50, 3_000_000),
    (20, 12_000_000),
    (10, 70_000_000),
    (5, 500_000_000),
];

/// Largest value of a position at a leverage.
pub(super) fn most_value(leverage: u32) -> i64 {
    let fits = |(most, _): &&(u32, i64)| *most >= leverage;
    let found = BRACKETS.iter().rev().find(fits);
    found.map_or(BRACKETS[0].1, |(_, value)| *value)
}

fn account<'a>(call: &'a Call<'_>) -> Result<&'a Account, ApiError> {
    let account = call.core.accounts.account(call.id);
    account.ok_or_else(auth::forbidden)
}

fn rules<'a>(call: &'a Call<'_>) -> &'a Rules {
    &call.core.accounts.rules
}

/// A share with eight decimals.
fn share(rate: Decimal) -> String {
    format!("{rate:.8}")
}

pub(super) fn spot(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let omit = call.params.flag("omitZeroBalances")?.unwrap_or(false);
    let rows: Vec<Value> = account(call)?
        .wallet(Wallet::Spot)
        .filter(|(_, funds)| !omit || !funds.total.is_zero())
        .map(|(asset, funds)| {
            let (free, locked) = (print::money(funds.free()), print::money(funds.locked));
            json!({ "asset": asset, "free": free, "locked": locked })
        })
        .collect();
    let fees = rules(call).spot;
    // A commission here is in ten-thousandths, as it was before the shares below.
    let parts = |rate: Decimal| rate * Decimal::from(10_000);
    let whole = |rate: Decimal| parts(rate).normalize().to_string().parse().unwrap_or(0_i64);
    Ok(json!({
        "makerCommission": whole(fees.maker), "takerCommission": whole(fees.taker),
        "buyerCommission": 0, "sellerCommission": 0,
        "commissionRates": {
            "maker": share(fees.maker), "taker": share(fees.taker),
            "buyer": share(Decimal::ZERO), "seller": share(Decimal::ZERO),
        },
        "canTrade": call.may.spot, "canWithdraw": call.may.withdraw, "canDeposit": true,
        "brokered": false, "requireSelfTradePrevention": false, "preventSor": false,
        "updateTime": call.core.now_ms(), "accountType": "SPOT", "balances": rows,
        "permissions": ["SPOT"], "uid": 354_937_868 + u64::from(call.id.0),
    }))
}

pub(super) fn spot_fees(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let fees = rules(call).spot;
    let rates = |maker, taker| {
        json!({
            "maker": share(maker), "taker": share(taker),
            "buyer": share(Decimal::ZERO), "seller": share(Decimal::ZERO),
        })
    };
    Ok(json!({
        "symbol": it.symbol, "standardCommission": rates(fees.maker, fees.taker),
        "specialCommission": rates(Decimal::ZERO, Decimal::ZERO),
        "taxCommission": rates(Decimal::ZERO, Decimal::ZERO),
        "discount": {
            "enabledForAccount": false, "enabledForSymbol": false, "discountAsset": "BNB",
            "discount": "0.75000000",
        },
    }))
}

pub(super) fn trade_fees(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let wanted = call.instrument_opt()?;
    let fees = rules(call).spot;
    let rows: Vec<Value> = call
        .core
        .listed(Segment::Spot)
        .filter(|(ix, _)| wanted.is_none_or(|wanted| wanted == *ix))
        .map(|(_, it)| {
            json!({
                "symbol": it.symbol, "makerCommission": fees.maker.to_string(),
                "takerCommission": fees.taker.to_string(),
            })
        })
        .collect();
    Ok(rows.into())
}

pub(super) fn restrictions(call: &mut Call<'_>) -> Result<Value, ApiError> {
    Ok(auth::restrictions(call.may, call.core.now_ms()))
}

/// What assets there are, and what the account has of them.
pub(super) fn coins(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let mut names: Vec<&str> = call
        .core
        .listed(Segment::Spot)
        .flat_map(|(_, it)| [it.base.as_str(), it.quote.as_str()])
        .collect();
    names.sort_unstable();
    names.dedup();
    let account = account(call)?;
    let rows = names.iter().map(|name| {
        let funds = account.funds(Wallet::Spot, name);
        json!({
            "coin": name, "name": name, "depositAllEnable": true, "withdrawAllEnable": true,
            "free": print::money(funds.free()), "locked": print::money(funds.locked),
            "freeze": "0", "withdrawing": "0", "ipoing": "0", "ipoable": "0", "storage": "0",
            "isLegalMoney": false, "trading": true, "networkList": [],
        })
    });
    Ok(rows.collect())
}

pub(super) fn order_counts(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let market = call.market;
    let used = call
        .core
        .venue
        .trading
        .orders(market)
        .used(call.id, call.now_ms);
    let rows = used.into_iter().map(|(limit, count)| {
        let (interval, number) = match limit.window_ms {
            86_400_000 => ("DAY", 1),
            60_000 => ("MINUTE", 1),
            other => ("SECOND", other / 1_000),
        };
        json!({
            "rateLimitType": "ORDERS", "interval": interval, "intervalNum": number,
            "limit": limit.most, "count": count,
        })
    });
    Ok(rows.collect())
}

/// The assets of the futures wallet.
fn usdm_assets(call: &Call<'_>) -> Result<Vec<String>, ApiError> {
    let all = account(call)?.wallet(Wallet::Linear);
    Ok(all.map(|(asset, _)| asset.to_owned()).collect())
}

pub(super) fn balances(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let assets = usdm_assets(call)?;
    let rows = assets.iter().map(|asset| {
        let margin = call.core.accounts.margin(&call.core.market, call.id, asset);
        let free = print::money(margin.available.max(Decimal::ZERO));
        json!({
            "accountAlias": "SgsRfWoC", "asset": asset, "balance": print::money(margin.wallet),
            "crossWalletBalance": print::money(margin.wallet - margin.isolated),
            "crossUnPnl": print::money(margin.cross_unrealized), "availableBalance": free,
            "maxWithdrawAmount": free, "marginAvailable": true, "updateTime": call.core.now_ms(),
        })
    });
    Ok(rows.collect())
}

/// Symbols of positions: those that are open, and all of them in the older form.
fn positions(call: &Call<'_>, with_empty: bool) -> Result<Vec<(String, PositionRow)>, ApiError> {
    let (accounts, market) = (&call.core.accounts, &call.core.market);
    let is_hedged = account(call)?.is_hedged;
    let sides: &[PositionSide] = match is_hedged {
        true => &[PositionSide::Long, PositionSide::Short],
        false => &[PositionSide::Both],
    };
    let mut rows = Vec::new();
    for (ix, it) in instruments(call)? {
        let mut open = accounts.open_orders(call.id);
        let has_orders = open.any(|order| order.ix == ix);
        for side in sides {
            let none = crate::account::Position::new(ix, *side, 0);
            let held = account(call)?.position(ix, *side).unwrap_or(&none);
            let is_told = held.lots != 0 || has_orders || with_empty;
            let row = accounts.position_row(market, call.id, held);
            rows.extend(row.filter(|_| is_told).map(|row| (it.symbol.clone(), row)));
        }
    }
    Ok(rows)
}

fn asset_of(call: &Call<'_>, row: &PositionRow) -> String {
    let it = call.core.instrument(row.ix);
    it.map(|it| it.quote.clone()).unwrap_or_default()
}

/// Value of the account's open orders in an instrument that would buy, and that would sell.
fn order_values(call: &Call<'_>, row: &PositionRow) -> (Decimal, Decimal) {
    let mut sums = (Decimal::ZERO, Decimal::ZERO);
    for order in call.core.accounts.open_orders(call.id) {
        let Some(it) = call
            .core
            .instrument(order.ix)
            .filter(|_| order.ix == row.ix)
        else {
            continue;
        };
        let Some(price) = order.price().filter(|_| order.working_ms.is_some()) else {
            continue;
        };
        let value = decimal(it.notional(price.notional(order.left())));
        match order.side {
            crate::market::Side::Buy => sums.0 += value,
            crate::market::Side::Sell => sums.1 += value,
        }
    }
    sums
}

fn risk(call: &Call<'_>, symbol: &str, row: &PositionRow) -> Value {
    let sign = Decimal::from(row.lots.signum());
    let (bids, asks) = order_values(call, row);
    let fee = rules(call).linear.taker;
    let even = row.entry * (Decimal::ONE + sign * fee);
    json!({
        "symbol": symbol, "positionSide": print::position_side(row.side),
        "positionAmt": row.amount.to_string(), "entryPrice": print::short(row.entry),
        "breakEvenPrice": print::short(even), "markPrice": print::money(row.mark),
        "unRealizedProfit": print::money(row.unrealized),
        "liquidationPrice": row.liquidation.map_or_else(|| "0".to_owned(), print::short),
        "isolatedMargin": print::money(match row.mode {
            MarginMode::Isolated => row.isolated + row.unrealized,
            MarginMode::Cross => Decimal::ZERO,
        }),
        "notional": print::money(sign * row.value), "marginAsset": asset_of(call, row),
        "isolatedWallet": print::money(row.isolated), "initialMargin": print::money(row.initial),
        "maintMargin": print::money(row.maintenance),
        "positionInitialMargin": print::money(row.initial), "openOrderInitialMargin": "0",
        "adl": 1, "bidNotional": print::money(bids), "askNotional": print::money(asks),
        "updateTime": row.updated_ms,
    })
}

pub(super) fn risk_v3(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let rows = positions(call, false)?;
    let rows = rows.iter().map(|(symbol, row)| risk(call, symbol, row));
    Ok(rows.collect())
}

pub(super) fn risk_v2(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let rows = positions(call, true)?;
    let rows = rows.iter().map(|(symbol, row)| {
        let mut form = risk(call, symbol, row);
        form["leverage"] = row.leverage.to_string().into();
        form["marginType"] = match row.mode {
            MarginMode::Isolated => "isolated".into(),
            MarginMode::Cross => "cross".into(),
        };
        form["isAutoAddMargin"] = "false".into();
        form["maxNotionalValue"] = most_value(row.leverage).to_string().into();
        form
    });
    Ok(rows.collect())
}

/// The futures account: totals in dollars, assets, positions.
fn usdm(call: &Call<'_>, is_v2: bool) -> Result<Value, ApiError> {
    let assets = usdm_assets(call)?;
    let mut sums = crate::account::Margin::default();
    let now_ms = call.core.now_ms();
    let mut rows = Vec::new();
    for asset in &assets {
        let one = call.core.accounts.margin(&call.core.market, call.id, asset);
        sums.wallet += one.wallet;
        sums.unrealized += one.unrealized;
        sums.cross_unrealized += one.cross_unrealized;
        sums.isolated += one.isolated;
        sums.positions += one.positions;
        sums.orders += one.orders;
        sums.maintenance += one.maintenance;
        sums.available += one.available;
        let mut row = totals(&one, "");
        row.insert("asset".to_owned(), asset.as_str().into());
        row.insert("marginAvailable".to_owned(), true.into());
        row.insert("updateTime".to_owned(), now_ms.into());
        rows.push(Value::Object(row));
    }
    let held = positions(call, is_v2)?;
    let held = held.iter().map(|(symbol, row)| {
        let mut form = risk(call, symbol, row);
        if let Some(fields) = form.as_object_mut() {
            let gain = fields.remove("unRealizedProfit").unwrap_or_default();
            fields.insert("unrealizedProfit".to_owned(), gain);
        }
        if is_v2 {
            form["leverage"] = row.leverage.to_string().into();
            form["isolated"] = (row.mode == MarginMode::Isolated).into();
            form["maxNotional"] = most_value(row.leverage).to_string().into();
        }
        form
    });
    let mut form = totals(&sums, "total");
    let held: Vec<Value> = held.collect();
    form.insert("assets".to_owned(), rows.into());
    form.insert("positions".to_owned(), held.into());
    if is_v2 {
        for (name, value) in [
            ("feeTier", json!(0)),
            ("canTrade", json!(call.may.linear)),
            ("canDeposit", json!(true)),
            ("canWithdraw", json!(call.may.withdraw)),
            ("multiAssetsMargin", json!(false)),
            ("updateTime", json!(0)),
        ] {
            form.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(form))
}

/// Sums of a margin, under the names of the whole account (`total…`) or of an asset.
fn totals(margin: &crate::account::Margin, prefix: &str) -> Map<String, Value> {
    let free = margin.available.max(Decimal::ZERO);
    let cross = margin.wallet - margin.isolated;
    let mut form = Map::new();
    for (name, amount) in [
        ("walletBalance", margin.wallet),
        ("unrealizedProfit", margin.unrealized),
        ("marginBalance", margin.wallet + margin.unrealized),
        ("maintMargin", margin.maintenance),
        ("initialMargin", margin.positions + margin.orders),
        ("positionInitialMargin", margin.positions),
        ("openOrderInitialMargin", margin.orders),
        ("crossWalletBalance", cross),
        ("crossUnPnl", margin.cross_unrealized),
        ("availableBalance", free),
        ("maxWithdrawAmount", free),
    ] {
        let is_bare = matches!(name, "availableBalance" | "maxWithdrawAmount") || prefix.is_empty();
        let name = match is_bare {
            true => name.to_owned(),
            false => format!("{prefix}{}{}", name[..1].to_uppercase(), &name[1..]),
        };
        form.insert(name, print::money(amount).into());
    }
    form
}

pub(super) fn usdm_v3(call: &mut Call<'_>) -> Result<Value, ApiError> {
    usdm(call, false)
}

pub(super) fn usdm_v2(call: &mut Call<'_>) -> Result<Value, ApiError> {
    usdm(call, true)
}

pub(super) fn symbol_config(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let all = instruments(call)?;
    let rows = all.iter().map(|(ix, it)| {
        let settings = call.core.accounts.settings(call.id, *ix);
        json!({
            "symbol": it.symbol, "isAutoAddMargin": false, "leverage": settings.leverage,
            "marginType": match settings.mode {
                MarginMode::Isolated => "ISOLATED",
                MarginMode::Cross => "CROSSED",
            },
            "maxNotionalValue": most_value(settings.leverage).to_string(),
        })
    });
    Ok(rows.collect())
}

pub(super) fn account_config(call: &mut Call<'_>) -> Result<Value, ApiError> {
    Ok(json!({
        "feeTier": 0, "canTrade": call.may.linear, "canDeposit": true,
        "canWithdraw": call.may.withdraw, "dualSidePosition": account(call)?.is_hedged,
        "multiAssetsMargin": false, "tradeGroupId": -1, "updateTime": 0,
    }))
}

pub(super) fn assets_mode(_call: &mut Call<'_>) -> Result<Value, ApiError> {
    Ok(json!({ "multiAssetsMargin": false }))
}

pub(super) fn brackets(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let ratio = rules(call).maintenance;
    let all = instruments(call)?;
    let rows: Vec<Value> = all
        .iter()
        .map(|(_, it)| {
            let mut floor = 0;
            let mut brackets = Vec::new();
            for (number, (leverage, cap)) in (1..).zip(BRACKETS) {
                let ratio: Value = serde_json::from_str(&ratio.to_string()).unwrap_or_default();
                brackets.push(json!({
                    "bracket": number, "initialLeverage": leverage, "notionalCap": cap,
                    "notionalFloor": floor, "maintMarginRatio": ratio, "cum": 0.0,
                }));
                floor = cap;
            }
            json!({ "symbol": it.symbol, "notionalCoef": 1.0, "brackets": brackets })
        })
        .collect();
    Ok(rows.into())
}

pub(super) fn usdm_fees(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let fees = rules(call).linear;
    Ok(json!({
        "symbol": it.symbol, "makerCommissionRate": fees.maker.to_string(),
        "takerCommissionRate": fees.taker.to_string(), "rpiCommissionRate": "0.00005",
    }))
}

pub(super) fn income(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let wanted = call.instrument_opt()?;
    let kind = call.params.filled("incomeType")?;
    let (start, end) = (
        call.params.number("startTime")?,
        call.params.number("endTime")?,
    );
    let limit = call.params.limit(100, 1_000, false)?;
    let name = |reason| match reason {
        AccountReason::Fee => "COMMISSION",
        AccountReason::Funding => "FUNDING_FEE",
        AccountReason::Deposit => "TRANSFER",
        _ => "REALIZED_PNL",
    };
    let all = call.core.accounts.income(call.id);
    let rows: Vec<Value> = all
        .filter(|row| wanted.is_none_or(|ix| row.ix == Some(ix)))
        .filter(|row| kind.is_none_or(|kind| name(row.reason) == kind))
        .filter(|row| start.is_none_or(|start| row.ts_ms >= start))
        .filter(|row| end.is_none_or(|end| row.ts_ms <= end))
        .map(|row| {
            let it = row.ix.and_then(|ix| call.core.instrument(ix));
            let trade = row.trade_id.map(|id| id.to_string()).unwrap_or_default();
            json!({
                "symbol": it.map(|it| it.symbol.clone()).unwrap_or_default(),
                "incomeType": name(row.reason), "income": print::money(row.amount),
                "asset": row.asset, "time": row.ts_ms, "info": name(row.reason),
                "tranId": row.id, "tradeId": trade,
            })
        })
        .collect();
    Ok(super::spot::page(&rows, limit, start.is_some())
        .to_vec()
        .into())
}
