//! What is remembered of orders and fills, and the account.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::account::auth::{numbered_uuid, uuid};
use crate::account::{EndReason, FillRow, Order, OrderState, Size, Wallet};
use crate::market::{Instrument, OrderKind, Qty, Side, TimeInForce};

use super::super::encode;
use super::super::rest::{Query, Refusal, invalid};
use super::Call;
use super::order::{millis, order_id};

const NOT_FOUND: Refusal = (404, "NOT_FOUND", "order with this orderID was not found");
/// The user and the portfolio of the test account.
pub(super) const USER: &str = "5f0f5a2e-7b1a-4f0e-9c3d-2b8f6d1e4a77";
const PORTFOLIO: &str = "c2f1a9d4-3e58-4b6a-8d27-91b0e5c7f316";
/// Accounts of an answer where no number is given, and at most.
const PAGE: (usize, usize) = (49, 250);

pub(super) fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}

pub(super) fn time(ms: i64) -> String {
    encode::time(ms.saturating_mul(1_000))
}

pub(super) const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}

pub(super) const fn status(order: &Order) -> &'static str {
    match order.state {
        OrderState::Waiting | OrderState::New | OrderState::PartiallyFilled => "OPEN",
        OrderState::Filled => "FILLED",
        OrderState::Canceled if matches!(order.reason, Some(EndReason::Countdown)) => "EXPIRED",
        OrderState::Canceled => "CANCELLED",
        OrderState::Rejected => "FAILED",
        OrderState::Expired => match order.reason {
            Some(EndReason::NoLiquidity) if order.filled.0 == 0 => "FAILED",
            Some(EndReason::Funds) => "FAILED",
            _ => "CANCELLED",
        },
    }
}

pub(super) const fn reject_reason(order: &Order) -> &'static str {
    match order.reason {
        Some(EndReason::NoLiquidity) => "REJECT_REASON_INVALID_NO_LIQUIDITY",
        Some(EndReason::Funds) => "REJECT_REASON_INSUFFICIENT_FUNDS",
        _ => "REJECT_REASON_UNSPECIFIED",
    }
}

pub(super) fn time_in_force(order: &Order) -> &'static str {
    match order.kind {
        _ if order.native("end_time").is_some() => "GOOD_UNTIL_DATE_TIME",
        OrderKind::Market => "IMMEDIATE_OR_CANCEL",
        OrderKind::Limit { time_in_force, .. } => match time_in_force {
            TimeInForce::Gtc | TimeInForce::PostOnly => "GOOD_UNTIL_CANCELLED",
            TimeInForce::Ioc => "IMMEDIATE_OR_CANCEL",
            TimeInForce::Fok => "FILL_OR_KILL",
        },
    }
}

pub(super) const fn trigger_status(order: &Order) -> &'static str {
    match (order.trigger, order.triggered_ms) {
        (None, _) => "INVALID_ORDER_TYPE",
        (Some(_), None) => "STOP_PENDING",
        (Some(_), Some(_)) => "STOP_TRIGGERED",
    }
}

/// What an order is for, as it was asked for, with what was changed since.
fn configuration(it: &Instrument, order: &Order) -> Value {
    let name = order.native("configuration").unwrap_or_default();
    let fields = order.native("fields").unwrap_or_default();
    let mut fields: Value = serde_json::from_str(fields).unwrap_or_default();
    if let (Size::Base(_), true) = (order.size, fields.get("base_size").is_some()) {
        fields["base_size"] = it.qty(order.qty).trimmed().to_string().into();
    }
    if let Some(price) = order.price() {
        fields["limit_price"] = it.price(price).trimmed().to_string().into();
    }
    json!({ name: fields })
}

/// Value of what is filled, and the sum with fees.
pub(super) fn values(it: &Instrument, order: &Order) -> (Decimal, Decimal) {
    let value = order.value(it);
    let total = match order.side {
        Side::Buy => value + order.fee,
        Side::Sell => value - order.fee,
    };
    (value, total)
}

/// How much of it is filled, in percent.
pub(super) fn completion(it: &Instrument, order: &Order) -> String {
    let (part, whole) = match order.size {
        Size::Quote(value) => (order.value(it) + order.fee, value),
        _ => (Decimal::from(order.filled.0), Decimal::from(order.qty.0)),
    };
    let share = part.checked_div(whole).unwrap_or_default();
    let share = if order.state == OrderState::Filled {
        Decimal::ONE
    } else {
        share
    };
    plain((share * Decimal::ONE_HUNDRED).round_dp(2))
}

impl Call<'_> {
    fn row(&self, order: &Order) -> Value {
        let Some(it) = self.core.instrument(order.ix) else {
            return Value::Null;
        };
        let fills: Vec<&FillRow> = self
            .core
            .accounts
            .fills(order.account)
            .filter(|fill| fill.no == order.no)
            .collect();
        let average = order
            .average(it)
            .map_or("0".to_owned(), |it| plain(it.round_dp(12)));
        let (value, total) = values(it, order);
        let kind = match (order.kind, order.trigger) {
            (OrderKind::Market, _) => "MARKET",
            (OrderKind::Limit { .. }, None) => "LIMIT",
            (OrderKind::Limit { .. }, Some(_)) => "STOP_LIMIT",
        };
        let held = match order.state.is_open() {
            true => self.held(order, it),
            false => Decimal::ZERO,
        };
        let last = fills.last().map(|fill| time(fill.ts_ms));
        json!({
            "order_id": order_id(order), "product_id": it.symbol, "user_id": USER,
            "order_configuration": configuration(it, order), "side": side(order.side),
            "client_order_id": order.client_id, "status": status(order),
            "time_in_force": time_in_force(order), "created_time": time(order.created_ms),
            "completion_percentage": completion(it, order),
            "filled_size": it.qty(order.filled).trimmed().to_string(),
            "average_filled_price": average, "fee": "",
            "number_of_fills": fills.len().to_string(), "filled_value": plain(value),
            "pending_cancel": false, "size_in_quote": matches!(order.size, Size::Quote(_)),
            "total_fees": plain(order.fee),
            "size_inclusive_of_fees": matches!(order.size, Size::Quote(_)),
            "total_value_after_fees": plain(total), "trigger_status": trigger_status(order),
            "order_type": kind, "reject_reason": reject_reason(order),
            "settled": !order.state.is_open(), "product_type": "SPOT", "reject_message": "",
            "cancel_message": if order.reason == Some(EndReason::User) { "User requested cancel" } else { "" },
            "order_placement_source": "RETAIL_ADVANCED", "outstanding_hold_amount": plain(held),
            "is_liquidation": false, "last_fill_time": last, "edit_history": [],
            "leverage": "", "margin_type": "UNKNOWN_MARGIN_TYPE",
            "retail_portfolio_id": PORTFOLIO, "originating_order_id": "", "attached_order_id": "",
        })
    }

    /// What is held back for what is left of an order.
    pub(super) fn held(&self, order: &Order, it: &Instrument) -> Decimal {
        let left = crate::account::decimal(it.qty(order.left()));
        let price = order
            .price()
            .map(|price| crate::account::decimal(it.price(price)));
        let fee = Decimal::ONE + self.core.accounts.rules.spot.taker;
        match order.side {
            Side::Sell => left,
            Side::Buy => price.map_or(Decimal::ZERO, |price| left * price * fee),
        }
    }

    /// `orders/historical/{id}`
    pub(super) fn order(&mut self, id: &str) -> Result<Value, Refusal> {
        let order = self.find(id).ok_or(NOT_FOUND)?;
        Ok(json!({ "order": self.row(order) }))
    }

    fn bound(query: &Query<'_>, name: &str, default: i64) -> Result<i64, Refusal> {
        match query.get(name) {
            None => Ok(default),
            Some(text) => millis(text).ok_or(invalid("a time is malformed")),
        }
    }

    /// Products of a request by their ids.
    fn is_wanted(query: &Query<'_>, symbol: &str) -> bool {
        let mut wanted = query
            .all("product_ids")
            .chain(query.all("product_id"))
            .peekable();
        wanted.peek().is_none() || wanted.any(|id| id == symbol)
    }

    /// `orders/historical/batch`
    pub(super) fn orders(&mut self, query: &Query<'_>) -> Result<Value, Refusal> {
        let (start, end) = (
            Self::bound(query, "start_date", i64::MIN)?,
            Self::bound(query, "end_date", i64::MAX)?,
        );
        let limit = query.limit(1_000, 1_000)?;
        let before = query.number("cursor")?.map_or(u64::MAX, i64::unsigned_abs);
        let states: Vec<&str> = query.all("order_status").collect();
        let ids: Vec<&str> = query.all("order_ids").collect();
        let wanted_side = query.get("order_side");
        let all: Vec<&Order> = self.core.accounts.all_orders(self.id()).collect();
        let fits = |order: &&&Order| {
            let it = self.core.instrument(order.ix);
            order.no.0 < before
                && (start..end).contains(&order.created_ms)
                && it.is_some_and(|it| Self::is_wanted(query, &it.symbol))
                && (states.is_empty() || states.contains(&status(order)))
                && (ids.is_empty() || ids.contains(&order_id(order).as_str()))
                && wanted_side.is_none_or(|wanted| wanted == side(order.side))
        };
        let mut page: Vec<&&Order> = all.iter().rev().filter(fits).take(limit + 1).collect();
        let has_next = page.len() > limit;
        page.truncate(limit);
        let cursor = page
            .last()
            .filter(|_| has_next)
            .map(|order| order.no.0.to_string());
        let rows: Vec<Value> = page.into_iter().map(|order| self.row(order)).collect();
        Ok(json!({
            "orders": rows, "sequence": "0", "has_next": has_next,
            "cursor": cursor.unwrap_or_default(),
        }))
    }

    /// `orders/historical/fills`
    pub(super) fn fills(&mut self, query: &Query<'_>) -> Result<Value, Refusal> {
        let ids: Vec<&str> = query
            .all("order_ids")
            .chain(query.all("order_id"))
            .collect();
        let products = query.get("product_ids").or_else(|| query.get("product_id"));
        if !ids.is_empty() && products.is_some() {
            return Err(invalid("cannot pass order_ids with other filters"));
        }
        let (start, end) = (
            Self::bound(query, "start_sequence_timestamp", i64::MIN)?,
            Self::bound(query, "end_sequence_timestamp", i64::MAX)?,
        );
        let limit = query.limit(100, 1_000)?;
        let before = query.number("cursor")?.map_or(u64::MAX, i64::unsigned_abs);
        let fits = |fill: &&FillRow| {
            let it = self.core.instrument(fill.ix);
            fill.id < before
                && (start..end).contains(&fill.ts_ms)
                && it.is_some_and(|it| Self::is_wanted(query, &it.symbol))
                && (ids.is_empty() || ids.contains(&numbered_uuid(fill.no.0).as_str()))
        };
        let all = self.core.accounts.fills(self.id()).rev();
        let mut page: Vec<&FillRow> = all.filter(fits).take(limit + 1).collect();
        let has_next = page.len() > limit;
        page.truncate(limit);
        let cursor = page
            .last()
            .filter(|_| has_next)
            .map(|fill| fill.id.to_string());
        let rows: Vec<Value> = page
            .into_iter()
            .filter_map(|fill| self.fill(fill))
            .collect();
        Ok(json!({ "fills": rows, "cursor": cursor.unwrap_or_default() }))
    }

    fn fill(&self, fill: &FillRow) -> Option<Value> {
        let it = self.core.instrument(fill.ix)?;
        Some(json!({
            "entry_id": uuid(u128::from(fill.id)), "trade_id": numbered_uuid(fill.trade_id),
            "order_id": numbered_uuid(fill.no.0), "trade_time": time(fill.ts_ms),
            "trade_type": "FILL", "price": it.price(fill.price).trimmed().to_string(),
            "size": it.qty(fill.qty).trimmed().to_string(), "commission": plain(fill.fee),
            "product_id": it.symbol, "sequence_timestamp": time(fill.ts_ms),
            "liquidity_indicator": if fill.is_maker { "MAKER" } else { "TAKER" },
            "size_in_quote": false, "user_id": USER, "side": side(fill.side),
            "retail_portfolio_id": PORTFOLIO,
        }))
    }

    /// A row of each coin's account.
    fn account_rows(&self) -> Vec<Value> {
        let account = self.core.accounts.account(self.id());
        let coins = account.into_iter().flat_map(|it| it.wallet(Wallet::Spot));
        let row = |(coin, funds): (&str, crate::account::Funds)| {
            // The same for a coin, whatever else there is.
            let number = coin
                .bytes()
                .fold(7_u128, |sum, byte| sum * 257 + u128::from(byte));
            let is_money = coin == "USD";
            json!({
                "uuid": uuid(number << 64 | number), "name": format!("{coin} Wallet"),
                "currency": coin,
                "available_balance": { "value": plain(funds.free()), "currency": coin },
                "default": true, "active": true,
                "created_at": "2024-01-02T03:04:05.678Z",
                "updated_at": time(self.core.clock.now_ms()), "deleted_at": null,
                "type": if is_money { "ACCOUNT_TYPE_FIAT" } else { "ACCOUNT_TYPE_CRYPTO" },
                "ready": true, "hold": { "value": plain(funds.locked), "currency": coin },
                "retail_portfolio_id": PORTFOLIO, "platform": "ACCOUNT_PLATFORM_CONSUMER",
            })
        };
        coins.map(row).collect()
    }

    /// `accounts`
    pub(super) fn accounts(&mut self, query: &Query<'_>) -> Result<Value, Refusal> {
        let limit = query.limit(PAGE.0, PAGE.1)?;
        let skipped = query.number("cursor")?.unwrap_or_default();
        let skipped = usize::try_from(skipped).unwrap_or_default();
        let all = self.account_rows();
        let has_next = all.len() > skipped + limit;
        let rows: Vec<Value> = all.into_iter().skip(skipped).take(limit).collect();
        let cursor = if has_next {
            (skipped + limit).to_string()
        } else {
            String::new()
        };
        Ok(json!({
            "size": rows.len(), "accounts": rows, "has_next": has_next, "cursor": cursor,
        }))
    }

    /// `/v2/accounts`: what is held back is not told apart.
    pub(super) fn old_accounts(&self) -> Value {
        let account = self.core.accounts.account(self.id());
        let coins = account.into_iter().flat_map(|it| it.wallet(Wallet::Spot));
        let row = |(coin, funds): (&str, crate::account::Funds)| {
            json!({
                "id": coin, "name": format!("{coin} Wallet"), "primary": coin == "USD",
                "type": "wallet", "currency": { "code": coin, "name": coin, "exponent": 8 },
                "balance": { "amount": plain(funds.total), "currency": coin },
                "resource": "account", "resource_path": format!("/v2/accounts/{coin}"),
                "allow_deposits": false, "allow_withdrawals": false,
            })
        };
        let rows: Vec<Value> = coins.map(row).collect();
        json!({ "pagination": { "next_uri": null, "limit": 100, "order": "desc" }, "data": rows })
    }

    /// `accounts/{id}`
    pub(super) fn account(&mut self, id: &str) -> Result<Value, Refusal> {
        let row = self
            .account_rows()
            .into_iter()
            .find(|row| row["uuid"] == id);
        let missing = (404, "NOT_FOUND", "account not found");
        Ok(json!({ "account": row.ok_or(missing)? }))
    }

    /// `transaction_summary`
    pub(super) fn summary(&self) -> Value {
        let fees = self.core.accounts.rules.spot;
        let paid: Decimal = self
            .core
            .accounts
            .fills(self.id())
            .map(|fill| fill.fee)
            .sum();
        let value = |fill: &FillRow| {
            let it = self.core.instrument(fill.ix);
            it.map_or(Decimal::ZERO, |it| {
                crate::account::decimal(it.notional(fill.price.notional(Qty(fill.qty.0))))
            })
        };
        let volume: Decimal = self.core.accounts.fills(self.id()).map(value).sum();
        let number = |amount: Decimal| -> Value {
            serde_json::from_str(&plain(amount.round_dp(8))).unwrap_or_default()
        };
        json!({
            "total_volume": number(volume), "total_fees": number(paid),
            "fee_tier": {
                "pricing_tier": "Advanced 1", "usd_from": "0", "usd_to": "1000",
                "taker_fee_rate": plain(fees.taker), "maker_fee_rate": plain(fees.maker),
                "aop_from": "", "aop_to": "",
            },
            "margin_rate": null, "goods_and_services_tax": null,
            "advanced_trade_only_volume": number(volume),
            "advanced_trade_only_fees": number(paid), "coinbase_pro_volume": 0,
            "coinbase_pro_fees": 0, "total_balance": "", "has_promo_fee": false,
        })
    }

    /// `key_permissions`
    pub(super) fn permissions(&self) -> Value {
        let may = self.who.may;
        json!({
            "can_view": true, "can_trade": may.spot, "can_transfer": may.withdraw,
            "can_receive": false, "portfolio_uuid": PORTFOLIO, "portfolio_type": "DEFAULT",
        })
    }

    /// `portfolios`
    pub(super) fn portfolios(&self) -> Value {
        json!({ "portfolios": [
            { "name": "Default", "uuid": PORTFOLIO, "type": "DEFAULT", "deleted": false },
        ] })
    }
}
