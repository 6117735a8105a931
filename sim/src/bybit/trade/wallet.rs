//! Balances, positions and settings of an account.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::account::{PositionRow, PositionSide, Refusal as Why, Wallet, decimal};
use crate::market::{InstrumentIx, Qty, Segment};

use super::super::encode;
use super::super::rest::Refusal;
use super::order::refused;
use super::row::{plain, position_ix};
use super::{Call, Fields, Outcome, wrong};

/// Coins that margin is counted in.
const SETTLED: [&str; 2] = ["USDT", "USDC"];

impl Call<'_> {
    pub(super) fn is_hedged(&self) -> bool {
        let account = self.core.accounts.account(self.id());
        account.is_some_and(|account| account.is_hedged)
    }

    /// Price of a coin in dollars.
    fn dollars(&self, coin: &str) -> Decimal {
        if SETTLED.contains(&coin) {
            return Decimal::ONE;
        }
        let price = || {
            let ix = self
                .core
                .market
                .find(Segment::Spot, &format!("{coin}USDT"))?;
            let it = self.core.instrument(ix)?;
            Some(decimal(it.price(self.core.market.last_price(ix)?)))
        };
        price().unwrap_or_default()
    }

    /// The account with these coins; `None`: with all that it has.
    pub(super) fn account_row(&self, wanted: Option<&[String]>) -> Value {
        let (accounts, market, id) = (&self.core.accounts, &self.core.market, self.id());
        let account = accounts.account(id);
        let mut coins = Vec::new();
        let mut sums = [Decimal::ZERO; 6];
        for (coin, funds) in account.into_iter().flat_map(|it| it.wallet(Wallet::Spot)) {
            let margin = accounts.margin(market, id, coin);
            let equity = funds.total + margin.unrealized;
            let worth = self.dollars(coin);
            let free = accounts.spendable(market, id, coin).max(Decimal::ZERO);
            let parts = [
                equity,
                funds.total,
                free,
                margin.unrealized,
                margin.positions + margin.orders,
                margin.maintenance,
            ];
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += part * worth;
            }
            if wanted.is_some_and(|all| !all.iter().any(|it| it == coin)) {
                continue;
            }
            let owed = (-funds.total).max(Decimal::ZERO);
            coins.push(json!({
                "coin": coin, "equity": plain(equity), "usdValue": plain((equity * worth).round_dp(8)),
                "walletBalance": plain(funds.total), "locked": plain(funds.locked),
                "borrowAmount": plain(owed), "spotBorrow": plain(owed), "accruedInterest": "0",
                "availableToWithdraw": "", "totalOrderIM": plain(margin.orders.round_dp(12)),
                "totalPositionIM": plain(margin.positions.round_dp(12)),
                "totalPositionMM": plain(margin.maintenance.round_dp(12)),
                "unrealisedPnl": plain(margin.unrealized), "cumRealisedPnl": "0", "bonus": "0",
                "collateralSwitch": true, "marginCollateral": true, "spotHedgingQty": "0",
            }));
        }
        let [equity, total, free, profit, initial, maintenance] = sums.map(|it| it.round_dp(8));
        let rate = |part: Decimal| {
            let rate = part.checked_div(equity).unwrap_or_default();
            plain(rate.round_dp(8))
        };
        json!({
            "accountType": "UNIFIED", "totalEquity": plain(equity),
            "totalWalletBalance": plain(total), "totalMarginBalance": plain(equity),
            "totalAvailableBalance": plain(free), "totalPerpUPL": plain(profit),
            "totalInitialMargin": plain(initial), "totalMaintenanceMargin": plain(maintenance),
            "accountIMRate": rate(initial), "accountMMRate": rate(maintenance), "accountLTV": "0",
            "coin": coins,
        })
    }

    /// `account/wallet-balance`
    pub(super) fn balance(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        if fields.required("accountType")? != "UNIFIED" {
            return Err(Refusal(
                10_001,
                "accountType only support UNIFIED.".to_owned(),
            ));
        }
        let coins = fields.text("coin");
        let coins: Option<Vec<String>> =
            coins.map(|text| text.split(',').map(str::to_owned).collect());
        Ok(Outcome::of(
            json!({ "list": [self.account_row(coins.as_deref())] }),
        ))
    }

    pub(super) fn position_row(&self, row: &PositionRow, entry: &'static str) -> Value {
        let Some(it) = self.core.instrument(row.ix) else {
            return Value::Null;
        };
        let side = match row.lots {
            0 => "",
            1.. => "Buy",
            _ => "Sell",
        };
        let is_open = row.lots != 0;
        let number = |number: Decimal| match is_open {
            true => plain(number.round_dp(12)),
            false => "0".to_owned(),
        };
        let mut told = json!({
            "category": "linear", "positionIdx": position_ix(row.side), "riskId": 1,
            "riskLimitValue": "2000000", "symbol": it.symbol, "side": side,
            "size": encode::qty(it, Qty(row.lots.abs())).to_string(), "tradeMode": 0,
            "positionValue": number(row.entry * row.amount.abs()), "positionStatus": "Normal",
            "autoAddMargin": 0, "adlRankIndicator": if is_open { 2 } else { 0 },
            "leverage": row.leverage.to_string(), "positionBalance": number(row.initial),
            "markPrice": plain(row.mark),
            "liqPrice": row.liquidation.map(number).unwrap_or_default(), "bustPrice": "",
            "positionMM": number(row.maintenance), "positionIM": number(row.initial),
            "takeProfit": "", "stopLoss": "", "trailingStop": "0", "tpslMode": "Full",
            "unrealisedPnl": number(row.unrealized), "curRealisedPnl": number(row.realized),
            "cumRealisedPnl": plain(row.realized + row.funding - row.fees), "sessionAvgPrice": "",
        });
        told[entry] = number(row.entry).into();
        told["createdTime"] = row.opened_ms.to_string().into();
        told["updatedTime"] = row.updated_ms.to_string().into();
        told["isReduceOnly"] = false.into();
        told["seq"] = super::super::venue::seq(self.core, row.ix).0.into();
        told
    }

    /// A row of a position that is not there.
    fn flat(&self, ix: InstrumentIx, side: PositionSide) -> Value {
        let settings = self.core.accounts.settings(self.id(), ix);
        let now_ms = self.core.clock.now_ms();
        let row = PositionRow {
            ix,
            side,
            lots: 0,
            amount: Decimal::ZERO,
            entry: Decimal::ZERO,
            mark: self
                .core
                .market
                .premium_index(ix)
                .map(|it| decimal(it.mark.fixed()))
                .unwrap_or_default(),
            value: Decimal::ZERO,
            unrealized: Decimal::ZERO,
            realized: Decimal::ZERO,
            funding: Decimal::ZERO,
            fees: Decimal::ZERO,
            leverage: settings.leverage,
            mode: settings.mode,
            isolated: Decimal::ZERO,
            initial: Decimal::ZERO,
            maintenance: Decimal::ZERO,
            liquidation: None,
            opened_ms: now_ms,
            updated_ms: now_ms,
        };
        self.position_row(&row, "avgPrice")
    }

    /// `position/list`
    pub(super) fn positions(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        if fields.market()? != Segment::Linear {
            return Err(wrong("category"));
        }
        let rows = self
            .core
            .accounts
            .position_rows(&self.core.market, self.id());
        let list: Vec<Value> = match (fields.text("symbol"), fields.text("settleCoin")) {
            (Some(_), _) => {
                let (ix, _) = self.instrument(fields)?;
                let sides: &[PositionSide] = match self.is_hedged() {
                    true => &[PositionSide::Long, PositionSide::Short],
                    false => &[PositionSide::Both],
                };
                let row = |side: &PositionSide| {
                    let found = rows.iter().find(|row| row.ix == ix && row.side == *side);
                    match found {
                        Some(row) => self.position_row(row, "avgPrice"),
                        None => self.flat(ix, *side),
                    }
                };
                sides.iter().map(row).collect()
            }
            (None, Some(coin)) => {
                let fits = |row: &&PositionRow| {
                    self.core
                        .instrument(row.ix)
                        .is_some_and(|it| it.quote == coin)
                };
                let rows = rows.iter().filter(fits);
                rows.map(|row| self.position_row(row, "avgPrice")).collect()
            }
            (None, None) => return Err(wrong("symbol or settleCoin")),
        };
        Ok(Outcome::of(json!({
            "category": "linear", "list": list, "nextPageCursor": "",
        })))
    }

    /// `position/set-leverage`
    pub(super) fn set_leverage(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let (ix, market) = self.instrument(fields)?;
        if market != Segment::Linear {
            return Err(wrong("category"));
        }
        let (buy, sell) = (
            fields.required("buyLeverage")?,
            fields.required("sellLeverage")?,
        );
        if buy != sell {
            return Err(wrong("sellLeverage"));
        }
        let whole = buy
            .parse::<Decimal>()
            .ok()
            .filter(|it| it.fract().is_zero());
        let whole = whole
            .and_then(|it| u32::try_from(it).ok())
            .filter(|it| *it > 0);
        let leverage = whole.ok_or_else(|| wrong("buyLeverage"))?;
        let id = self.id();
        if self.core.accounts.settings(id, ix).leverage == leverage {
            return Err(Refusal(110_043, "leverage not modified".to_owned()));
        }
        let set = self.core.set_margin(id, ix, Some(leverage), None);
        set.map_err(|why| refused(&why, market))?;
        Ok(Outcome::of(json!({})))
    }

    /// `position/switch-mode`
    pub(super) fn switch_mode(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let is_hedged = match fields.required("mode")?.as_str() {
            "0" => false,
            "3" => true,
            _ => return Err(wrong("mode")),
        };
        let id = self.id();
        match self.core.set_hedged(id, is_hedged) {
            Ok(()) => Ok(Outcome::of(json!({}))),
            Err(Why::NoChange) => Err(Refusal(110_025, "Position mode is not modified".to_owned())),
            Err(why) => Err(refused(&why, Segment::Linear)),
        }
    }

    /// `account/info`
    pub(super) fn info(&self) -> Outcome {
        let id = self.id();
        let waits = self.core.venue.trading.disconnect.iter();
        let seconds = waits
            .filter(|((of, _), _)| *of == id)
            .map(|(_, it)| *it)
            .min();
        Outcome::of(json!({
            "marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 6,
            "dcpStatus": if seconds.is_some() { "ON" } else { "OFF" },
            "timeWindow": seconds.unwrap_or(10), "smpGroup": 0, "isMasterTrader": false,
            "spotHedgingStatus": "OFF", "updatedTime": "1697078946000",
        }))
    }

    /// `user/query-api`
    pub(super) fn key_info(&self) -> Outcome {
        let may = self.who.may;
        let trades = may.spot || may.linear;
        let list = |is: bool, names: &[&str]| if is { json!(names) } else { json!([]) };
        let mut wallet = vec!["AccountTransfer"];
        wallet.extend(may.withdraw.then_some("Withdraw"));
        Outcome::of(json!({
            "id": "2208369", "note": "test", "apiKey": self.who.key,
            "readOnly": u8::from(!trades), "secret": "",
            "permissions": {
                "ContractTrade": list(may.linear, &["Order", "Position"]),
                "Spot": list(may.spot, &["SpotTrade"]), "Wallet": wallet, "Options": [],
                "Derivatives": list(may.linear, &["DerivativesTrade"]), "CopyTrading": [],
                "BlockTrade": [], "Exchange": [], "NFT": [], "Affiliate": [], "Earn": [],
            },
            "ips": ["*"], "type": 1, "deadlineDay": -2, "expiredAt": "1970-01-01T00:00:00Z",
            "createdAt": "2025-10-13T03:20:45Z", "unified": 0, "uta": 1, "userID": 1_448_939,
            "inviterID": 0, "vipLevel": "No VIP", "mktMakerLevel": "0", "affiliateID": 0,
            "rsaPublicKey": "", "isMaster": true, "parentUid": "0", "kycLevel": "LEVEL_1",
            "kycRegion": "",
        }))
    }

    /// `account/fee-rate`
    pub(super) fn fee_rate(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let market = fields.market()?;
        let one = match fields.text("symbol") {
            None => None,
            Some(_) => Some(self.instrument(fields)?.0),
        };
        let fees = self.core.accounts.rules.fees(market);
        let rows: Vec<Value> = super::super::venue::listed(self.core, market)
            .filter(|(ix, _)| one.is_none_or(|one| one == *ix))
            .map(|(_, it)| {
                json!({
                    "symbol": it.symbol, "baseCoin": "", "takerFeeRate": plain(fees.taker),
                    "makerFeeRate": plain(fees.maker),
                })
            })
            .collect();
        Ok(Outcome::of(
            json!({ "category": fields.text("category"), "list": rows }),
        ))
    }

    /// `order/disconnected-cancel-all`
    pub(super) fn set_disconnect(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let market = match fields.text("product").as_deref() {
            None | Some("DERIVATIVES") => Segment::Linear,
            Some("SPOT") => Segment::Spot,
            Some(_) => return Err(wrong("product")),
        };
        let seconds = fields.required("timeWindow")?.parse::<i64>().ok();
        let seconds = seconds.filter(|it| (3..=300).contains(it));
        let seconds = seconds.ok_or_else(|| wrong("timeWindow"))?;
        let key = (self.id(), market);
        self.core.venue.trading.disconnect.insert(key, seconds);
        Ok(Outcome::of(json!({})))
    }

    /// `account/query-dcp-info`
    pub(super) fn disconnect_info(&self) -> Outcome {
        let id = self.id();
        let rows = self.core.venue.trading.disconnect.iter();
        let rows: Vec<Value> = rows
            .filter(|((of, _), _)| *of == id)
            .map(|((_, market), seconds)| {
                let product = match market {
                    Segment::Spot => "SPOT",
                    Segment::Linear => "DERIVATIVES",
                };
                json!({ "product": product, "dcpStatus": "ON", "timeWindow": seconds.to_string() })
            })
            .collect();
        Outcome::of(json!({ "dcpInfos": rows }))
    }

    /// `asset/coin/query-info`
    pub(super) fn coins(&self, fields: Fields<'_>) -> Outcome {
        let one = fields.text("coin");
        let mut coins: Vec<&str> = Vec::new();
        for it in self.core.market.instruments() {
            coins.extend([it.base.as_str(), it.quote.as_str()]);
        }
        coins.sort_unstable();
        coins.dedup();
        let rows: Vec<Value> = coins
            .into_iter()
            .filter(|coin| one.as_ref().is_none_or(|one| one == coin))
            .map(|coin| {
                json!({
                    "name": coin, "coin": coin, "remainAmount": "0",
                    "chains": [{
                        "chain": coin, "chainType": coin, "confirmation": "1", "withdrawFee": "",
                        "depositMin": "0", "withdrawMin": "0", "minAccuracy": "8",
                        "chainDeposit": "0", "chainWithdraw": "0", "withdrawPercentageFee": "0",
                    }],
                })
            })
            .collect();
        Outcome::of(json!({ "rows": rows }))
    }
}
