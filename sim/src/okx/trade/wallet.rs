//! Balances, positions and settings of an account.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::super::rest::{ApiError, Params};
use super::row::{plain, position_name};
use super::{Call, Fail, Fields, Outcome, mode_name};
use crate::account::{AccountId, MarginMode, PositionRow, PositionSide, Wallet, decimal};
use crate::market::{InstrumentIx, Qty, Segment};

/// The coin that margin and totals are counted in.
const SETTLED: &str = "USDT";
/// Number of the test account's owner.
const UID: &str = "614488474791936";

/// Whole parts of a ratio, to sixteen digits after the point.
fn ratio(part: Decimal, whole: Decimal) -> String {
    let ratio = part.checked_div(whole);
    ratio.map_or(String::new(), |it| plain(it.round_dp(16)))
}

impl Call<'_> {
    pub(super) fn is_hedged(&self) -> bool {
        let account = self.core.accounts.account(self.id());
        account.is_some_and(|account| account.is_hedged)
    }

    /// Price of a coin in dollars.
    fn dollars(&self, asset: &str) -> Decimal {
        if asset == SETTLED {
            return Decimal::ONE;
        }
        let price = || {
            let (ix, _) = self.core.venue.find(&format!("{asset}-{SETTLED}"))?;
            let it = self.core.instrument(ix)?;
            Some(decimal(it.price(self.core.market.last_price(ix)?)))
        };
        price().unwrap_or_default()
    }

    /// A row of a coin, and what it is worth in dollars.
    fn coin(&self, asset: &str) -> (Value, Decimal) {
        let (accounts, market, id) = (&self.core.accounts, &self.core.market, self.id());
        let account = accounts.account(id);
        let funds = account.map(|it| it.funds(Wallet::Spot, asset));
        let funds = funds.unwrap_or_default();
        let margin = accounts.margin(market, id, asset);
        let equity = funds.total + margin.unrealized;
        let free = accounts.spendable(market, id, asset).max(Decimal::ZERO);
        let worth = equity * self.dollars(asset);
        let zero_or = |is: bool, text: String| if is { text } else { String::new() };
        let is_margin = asset == SETTLED;
        let owed = (-funds.total).max(Decimal::ZERO);
        let row = json!({
            "ccy": asset, "eq": plain(equity), "cashBal": plain(funds.total),
            "availBal": plain(free), "availEq": plain(free),
            "frozenBal": plain(equity - free), "ordFrozen": plain(funds.locked),
            "upl": plain(margin.unrealized), "isoUpl": plain(margin.unrealized - margin.cross_unrealized),
            "isoEq": plain(margin.isolated), "eqUsd": plain(worth.round_dp(8)), "disEq": plain(worth.round_dp(8)),
            "imr": zero_or(is_margin, plain((margin.positions + margin.orders).round_dp(12))),
            "mmr": zero_or(is_margin, plain(margin.maintenance.round_dp(12))),
            "mgnRatio": zero_or(is_margin, ratio(equity, margin.maintenance)),
            "liab": plain(owed), "crossLiab": plain(owed), "isoLiab": "", "uplLiab": "", "interest": "",
            "maxLoan": "", "twap": "0", "notionalLever": "", "spotInUseAmt": "", "stgyEq": "0",
            "fixedBal": "0", "uTime": self.now(),
        });
        (row, worth)
    }

    /// The account with these coins; `None`: with all that it has.
    pub(super) fn account_row(&self, coins: Option<&[String]>) -> Value {
        let account = self.core.accounts.account(self.id());
        let all = account.into_iter().flat_map(|it| it.wallet(Wallet::Spot));
        let mut total = Decimal::ZERO;
        let mut details = Vec::new();
        for (asset, _) in all {
            let (row, worth) = self.coin(asset);
            total += worth;
            if coins.is_none_or(|coins| coins.iter().any(|it| it == asset)) {
                details.push(row);
            }
        }
        json!({
            "uTime": self.now(), "totalEq": plain(total.round_dp(8)), "isoEq": "0", "adjEq": "",
            "availEq": "", "ordFroz": "", "imr": "", "mmr": "", "mgnRatio": "", "notionalUsd": "",
            "borrowFroz": "", "upl": "", "details": details,
        })
    }

    /// `account/balance`
    pub(super) fn balance(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let coins = params.get("ccy");
        let coins: Option<Vec<String>> =
            coins.map(|text| text.split(',').map(str::to_owned).collect());
        Ok(vec![self.account_row(coins.as_deref())])
    }

    /// A row of a position; one that was closed is 0.
    pub(super) fn position_row(&self, row: &PositionRow) -> Value {
        let Some(listed) = self.core.listed(row.ix) else {
            return Value::Null;
        };
        let lots = match row.side {
            PositionSide::Both => row.lots,
            PositionSide::Long | PositionSide::Short => row.lots.abs(),
        };
        let side = match row.side {
            PositionSide::Both => 0_u64,
            PositionSide::Long => 1,
            PositionSide::Short => 2,
        };
        let number = self.core.accounts.rules.first_order_no - 1_000_000;
        let is_open = row.lots != 0;
        let shown = |number: Decimal| match is_open {
            true => plain(number.round_dp(16)),
            false => String::new(),
        };
        let own = if row.mode == MarginMode::Isolated {
            row.isolated
        } else {
            row.initial
        };
        let equity = match row.mode {
            MarginMode::Isolated => row.isolated + row.unrealized,
            MarginMode::Cross => {
                let margin = self
                    .core
                    .accounts
                    .margin(&self.core.market, self.id(), SETTLED);
                margin.wallet + margin.cross_unrealized
            }
        };
        json!({
            "instType": "SWAP", "instId": listed.it.symbol, "mgnMode": mode_name(row.mode),
            "posId": (number + u64::from(row.ix.0) * 4 + side).to_string(),
            "posSide": position_name(row.side), "pos": listed.size(Qty(lots)).to_string(),
            "posCcy": "", "ccy": listed.it.quote, "availPos": "",
            "avgPx": shown(row.entry), "markPx": shown(row.mark), "last": shown(row.mark),
            "idxPx": "", "lever": row.leverage.to_string(),
            "liqPx": row.liquidation.map(shown).unwrap_or_default(),
            "imr": match row.mode { MarginMode::Cross => shown(row.initial), MarginMode::Isolated => String::new() },
            "margin": match row.mode { MarginMode::Cross => String::new(), MarginMode::Isolated => shown(row.isolated) },
            "mmr": shown(row.maintenance), "mgnRatio": ratio(equity, row.maintenance),
            "upl": shown(row.unrealized), "uplRatio": ratio(row.unrealized, own),
            "notionalUsd": shown(row.value),
            "realizedPnl": plain(row.realized + row.funding - row.fees), "pnl": plain(row.realized),
            "fundingFee": plain(row.funding), "fee": plain(-row.fees), "liqPenalty": "0",
            "adl": "1", "interest": "", "liab": "", "liabCcy": "", "optVal": "", "tradeId": "",
            "cTime": row.opened_ms.to_string(), "uTime": row.updated_ms.to_string(),
            "bizRefId": "", "bizRefType": "", "closeOrderAlgo": [],
        })
    }

    /// Open positions of an instrument, or all.
    pub(super) fn position_rows(&self, ix: Option<InstrumentIx>) -> Vec<Value> {
        let rows = self
            .core
            .accounts
            .position_rows(&self.core.market, self.id());
        let rows = rows.iter().filter(|row| ix.is_none_or(|ix| row.ix == ix));
        rows.map(|row| self.position_row(row)).collect()
    }

    /// `account/positions`
    pub(super) fn positions(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        if params.get("instType").is_some_and(|kind| kind != "SWAP") {
            return Ok(Vec::new());
        }
        let Some(names) = params.get("instId") else {
            return Ok(self.position_rows(None));
        };
        let mut rows = Vec::new();
        for name in names.split(',') {
            let found = self.core.venue.find(name);
            let (ix, _) = found.ok_or_else(ApiError::unknown_instrument)?;
            rows.extend(self.position_rows(Some(ix)));
        }
        Ok(rows)
    }

    /// `account/config`
    pub(super) fn config(&self) -> Vec<Value> {
        let may = self.who.may;
        let mut allowed = vec!["read_only"];
        allowed.extend(may.withdraw.then_some("withdraw"));
        allowed.extend((may.spot || may.linear).then_some("trade"));
        vec![json!({
            "uid": UID, "mainUid": UID, "acctLv": "2", "acctStpMode": "cancel_maker",
            "posMode": if self.is_hedged() { "long_short_mode" } else { "net_mode" },
            "autoLoan": false, "greeksType": "PA", "level": "Lv1", "levelTmp": "",
            "ctIsoMode": "automatic", "mgnIsoMode": "automatic", "spotOffsetType": "",
            "roleType": "0", "traderInsts": [], "opAuth": "0", "kycLv": "3", "label": "test",
            "ip": "", "perm": allowed.join(","), "type": "0", "enableSpotBorrow": false,
        })]
    }

    /// The leverage that was chosen for a margin mode.
    pub(super) fn chosen_leverage(&self, ix: InstrumentIx, mode: MarginMode) -> Option<u32> {
        let key = (self.id(), ix, mode == MarginMode::Isolated);
        self.core.venue.trading.leverage.get(&key).copied()
    }

    fn leverage_of(&self, id: AccountId, ix: InstrumentIx, mode: MarginMode) -> u32 {
        let settings = self.core.accounts.settings(id, ix);
        match settings.mode == mode {
            true => settings.leverage,
            false => {
                let usual = self.core.accounts.rules.leverage.0;
                self.chosen_leverage(ix, mode).unwrap_or(usual)
            }
        }
    }

    /// `account/set-leverage`
    pub(super) fn set_leverage(&mut self, fields: Fields<'_>) -> Result<Outcome, Fail> {
        let ix = self.instrument(fields)?;
        let lever = fields.required("lever")?;
        let mode = match fields.required("mgnMode")?.as_str() {
            "cross" => MarginMode::Cross,
            "isolated" => MarginMode::Isolated,
            _ => return Err(Fail::wrong("mgnMode")),
        };
        let whole = lever
            .parse::<Decimal>()
            .ok()
            .filter(|it| it.fract().is_zero());
        let whole = whole
            .and_then(|it| u32::try_from(it).ok())
            .filter(|it| *it > 0);
        let leverage = whole.ok_or_else(|| Fail::wrong("lever"))?;
        let listed = self.listed(ix)?;
        if listed.it.segment == Segment::Spot {
            // There is no borrowing here.
            return Err(Fail::wrong("instId"));
        }
        let too_high = || Fail::new("59102", "Leverage exceeds the maximum limit.");
        if listed.terms.lever.is_none_or(|most| leverage > most) {
            return Err(too_high());
        }
        let id = self.id();
        if self.core.accounts.settings(id, ix).mode == mode {
            let set = self.core.set_margin(id, ix, Some(leverage), None);
            set.map_err(|refusal| match refusal {
                crate::account::Refusal::Funds => Fail::new(
                    "59108",
                    "Low leverage and insufficient margin, please adjust the leverage.",
                ),
                _ => too_high(),
            })?;
        }
        let key = (id, ix, mode == MarginMode::Isolated);
        self.core.venue.trading.leverage.insert(key, leverage);
        let named = |name| fields.text(name).unwrap_or_default();
        Ok(Outcome::rows(vec![json!({
            "lever": lever, "mgnMode": mode_name(mode), "instId": named("instId"),
            "posSide": fields.text("posSide").unwrap_or_else(|| "net".to_owned()),
        })]))
    }

    /// `account/leverage-info`
    pub(super) fn leverage_info(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let mode = match params.required("mgnMode")? {
            "cross" => MarginMode::Cross,
            "isolated" => MarginMode::Isolated,
            _ => return Err(ApiError::wrong("mgnMode")),
        };
        let sides: &[&str] = match (self.is_hedged(), mode) {
            (true, _) => &["long", "short"],
            (false, _) => &["net"],
        };
        let mut rows = Vec::new();
        for name in params.required("instId")?.split(',') {
            let found = self.core.venue.find(name);
            let (ix, _) = found.ok_or_else(ApiError::unknown_instrument)?;
            let leverage = self.leverage_of(self.id(), ix, mode);
            rows.extend(sides.iter().map(|side| {
                json!({
                    "ccy": "", "instId": name, "mgnMode": mode_name(mode), "posSide": side,
                    "lever": leverage.to_string(),
                })
            }));
        }
        Ok(rows)
    }

    /// `account/set-position-mode`
    pub(super) fn set_position_mode(&mut self, fields: Fields<'_>) -> Result<Outcome, Fail> {
        let mode = fields.required("posMode")?;
        let is_hedged = match mode.as_str() {
            "long_short_mode" => true,
            "net_mode" => false,
            _ => return Err(Fail::wrong("posMode")),
        };
        let id = self.id();
        if self.is_hedged() != is_hedged {
            let set = self.core.set_hedged(id, is_hedged);
            set.map_err(|refusal| {
                self.refusal(&refusal, InstrumentIx(0), crate::market::Side::Buy, true)
            })?;
        }
        Ok(Outcome::rows(vec![json!({ "posMode": mode })]))
    }

    /// `account/trade-fee`
    pub(super) fn trade_fee(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let kind = params.required("instType")?;
        let rules = &self.core.accounts.rules;
        let fees = match kind {
            "SPOT" | "MARGIN" => rules.spot,
            "SWAP" => rules.linear,
            "FUTURES" | "OPTION" => return Ok(Vec::new()),
            _ => return Err(ApiError::wrong("instType")),
        };
        if let Some(name) = params.get("instId")
            && self.core.venue.find(name).is_none()
        {
            return Err(ApiError::unknown_instrument());
        }
        let (maker, taker) = (plain(-fees.maker), plain(-fees.taker));
        // Of swaps, what is settled in a stablecoin has fields of its own.
        let (coin, stable) = match kind {
            "SWAP" => (["", ""], [maker.as_str(), taker.as_str()]),
            _ => ([maker.as_str(), taker.as_str()], ["", ""]),
        };
        Ok(vec![json!({
            "category": "1", "instType": kind, "level": "Lv1", "ruleType": "normal",
            "maker": coin[0], "taker": coin[1], "makerU": stable[0], "takerU": stable[1],
            "makerUSDC": "", "takerUSDC": "", "delivery": "", "exercise": "", "fiat": [],
            "feeGroup": [{ "groupId": "1", "maker": maker, "taker": taker }],
            "ts": self.now(),
        })])
    }

    /// `asset/currencies`
    pub(super) fn currencies(&self, params: &Params) -> Vec<Value> {
        let mut coins: Vec<&str> = Vec::new();
        for segment in [Segment::Spot, Segment::Linear] {
            for (_, listed) in self.core.all(segment) {
                coins.extend([listed.it.base.as_str(), listed.it.quote.as_str()]);
            }
        }
        coins.sort_unstable();
        coins.dedup();
        let wanted: Option<Vec<&str>> = params.get("ccy").map(|it| it.split(',').collect());
        let coins = coins.into_iter();
        let coins = coins.filter(|coin| wanted.as_ref().is_none_or(|all| all.contains(coin)));
        coins
            .map(|coin| {
                json!({
                    "ccy": coin, "name": coin, "chain": format!("{coin}-{coin}"), "ctAddr": "",
                    "canDep": false, "canWd": false, "canInternal": false, "mainNet": true,
                    "minDep": "0", "minWd": "0", "maxWd": "0", "wdTickSz": "8", "minFee": "0",
                    "maxFee": "0", "fee": "0", "needTag": false, "logoLink": "",
                })
            })
            .collect()
    }
}
