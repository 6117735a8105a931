//! Orders and fills as OKX tells them: numbers in strings without zeros at the end, nothing as an
//! empty string, fees negative where they are paid.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::super::encode::{self, Listed};
use super::Call;
use super::algo::{names, state_of};
use super::order::{cancel_source, client_id, number};
use crate::account::{FillRow, Order, OrderState, PositionSide, Size};
use crate::market::{InstrumentIx, OrderKind, Segment, Side, TimeInForce};

pub(super) fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}

pub(super) const fn position_name(side: PositionSide) -> &'static str {
    match side {
        PositionSide::Both => "net",
        PositionSide::Long => "long",
        PositionSide::Short => "short",
    }
}

/// State of an ordinary order.
pub(super) const fn state(order: &Order) -> &'static str {
    match order.state {
        OrderState::Waiting | OrderState::New => "live",
        OrderState::PartiallyFilled => "partially_filled",
        OrderState::Filled => "filled",
        OrderState::Canceled | OrderState::Rejected | OrderState::Expired => "canceled",
    }
}

/// Kind of an ordinary order.
pub(super) fn kind(order: &Order) -> &str {
    let asked = order.native("ordType").filter(|_| order.trigger.is_none());
    asked.unwrap_or(match order.kind {
        OrderKind::Market => "market",
        OrderKind::Limit { time_in_force, .. } => match time_in_force {
            TimeInForce::Gtc => "limit",
            TimeInForce::Ioc => "ioc",
            TimeInForce::Fok => "fok",
            TimeInForce::PostOnly => "post_only",
        },
    })
}

const fn segment_name(segment: Segment) -> &'static str {
    match segment {
        Segment::Spot => "SPOT",
        Segment::Linear => "SWAP",
    }
}

/// What a fee is paid in.
fn fee_asset(order: &Order, listed: &Listed<'_>) -> String {
    let usual = match (order.segment, order.side) {
        (Segment::Spot, Side::Buy) => &listed.it.base,
        _ => &listed.it.quote,
    };
    order.fee_asset.clone().unwrap_or_else(|| usual.clone())
}

fn position_shown(order: &Order) -> &'static str {
    // Spot has no positions.
    match order.segment {
        Segment::Spot => "",
        Segment::Linear => position_name(order.position),
    }
}

/// Both rows' fields in one.
fn joined(mut row: Value, more: Value) -> Value {
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
    row
}

impl Call<'_> {
    fn row_of(&self, ix: InstrumentIx, row: impl FnOnce(&Listed<'_>) -> Value) -> Value {
        // Orders are only ever of listed instruments.
        self.core.listed(ix).map_or(Value::Null, |it| row(&it))
    }

    /// The number that a fill's order goes by.
    pub(super) fn order_number(&self, fill: &FillRow) -> String {
        let order = self.core.accounts.order(fill.account, fill.no);
        let no = order.and_then(number).unwrap_or(fill.no);
        no.0.to_string()
    }

    fn leverage_shown(&self, order: &Order) -> String {
        match order.segment {
            Segment::Spot => String::new(),
            Segment::Linear => {
                let settings = self.core.accounts.settings(order.account, order.ix);
                settings.leverage.to_string()
            }
        }
    }

    /// Size of an order as it was asked for.
    fn size_shown(order: &Order, listed: &Listed<'_>) -> String {
        match order.native("sz") {
            Some(asked) => asked.to_owned(),
            None => listed.size(order.qty).to_string(),
        }
    }

    /// A row of an ordinary order; `fill`: the one that is told with it, else its last one.
    pub(super) fn ordinary(&self, order: &Order, fill: Option<&FillRow>) -> Value {
        let last = || {
            let mut fills = self.core.accounts.fills(order.account).rev();
            fills.find(|fill| fill.no == order.no)
        };
        let fill = fill.or_else(|| match order.filled.0 {
            0 => None,
            _ => last(),
        });
        let lever = self.leverage_shown(order);
        self.row_of(order.ix, |listed| {
            let (source, why) = cancel_source(order.reason);
            let native = |name| order.native(name).unwrap_or_default();
            let told = |text: fn(&FillRow, &Listed<'_>) -> String| {
                fill.map_or(String::new(), |fill| text(fill, listed))
            };
            let price = order.price().map(|price| listed.price(price).to_string());
            let average = order.average(listed.it).map(|it| plain(it.round_dp(12)));
            let asset = fee_asset(order, listed);
            let (algo_id, algo_name) = match order.trigger {
                Some(_) => (order.no.0.to_string(), client_id(order)),
                None => (String::new(), ""),
            };
            let category = match order.is_liquidation {
                true => "full_liquidation",
                false => "normal",
            };
            let row = json!({
                "instType": segment_name(order.segment), "instId": listed.it.symbol, "ccy": "",
                "ordId": number(order).map(|no| no.0.to_string()).unwrap_or_default(),
                "clOrdId": if order.trigger.is_some() { "" } else { client_id(order) },
                "tag": native("tag"), "px": price.unwrap_or_default(),
                "sz": Self::size_shown(order, listed), "pnl": plain(order.realized),
                "ordType": kind(order), "side": encode::side(order.side),
                "posSide": position_shown(order), "tdMode": native("tdMode"),
                "accFillSz": listed.size(order.filled).to_string(),
                "fillPx": told(|it, listed| listed.price(it.price).to_string()),
                "tradeId": told(|it, _| it.trade_id.to_string()),
                "fillSz": fill.map_or("0".to_owned(), |it| listed.size(it.qty).to_string()),
                "fillTime": told(|it, _| it.ts_ms.to_string()),
                "avgPx": average.unwrap_or_default(), "state": state(order), "lever": lever,
                "cTime": order.triggered_ms.unwrap_or(order.created_ms).to_string(),
                "uTime": order.updated_ms.to_string(),
            });
            let more = json!({
                "feeCcy": asset, "fee": plain(-order.fee), "rebate": "0", "rebateCcy": asset,
                "source": "", "category": category, "tgtCcy": native("tgtCcy"),
                "reduceOnly": order.reduce_only.to_string(),
                "cancelSource": source, "cancelSourceReason": why,
                "algoId": algo_id, "algoClOrdId": algo_name, "attachAlgoOrds": [],
                "attachAlgoClOrdId": "", "isTpLimit": "false", "quickMgnType": "",
                "stpId": "", "stpMode": "cancel_maker",
                "slTriggerPx": "", "slTriggerPxType": "", "slOrdPx": "",
                "tpTriggerPx": "", "tpTriggerPxType": "", "tpOrdPx": "",
            });
            joined(row, more)
        })
    }

    /// The row of a push: with what the last fill was.
    pub(super) fn pushed(&self, order: &Order, fill: Option<&FillRow>, amended: bool) -> Value {
        let mut row = self.ordinary(order, fill);
        let fee = fill.map_or("0".to_owned(), |fill| plain(-fill.fee));
        let fee_asset = fill.map_or("", |fill| fill.fee_asset.as_str());
        let taker = fill.map_or("", |fill| if fill.is_maker { "M" } else { "T" });
        let value = fill.and_then(|fill| {
            let listed = self.core.listed(fill.ix)?;
            let value = fill.price.notional(fill.qty);
            Some(listed.it.notional(value).trimmed().to_string())
        });
        let request = self.core.venue.trading.amending.as_deref();
        if fill.is_none() {
            for (name, none) in [
                ("fillPx", ""),
                ("fillSz", "0"),
                ("tradeId", ""),
                ("fillTime", ""),
            ] {
                row[name] = none.into();
            }
        }
        let more = json!({
            "fillFee": fee, "fillFeeCcy": fee_asset, "execType": taker,
            "fillNotionalUsd": value.clone().unwrap_or_default(),
            "notionalUsd": value.unwrap_or_default(),
            "fillPnl": fill.map_or("0".to_owned(), |fill| plain(fill.realized)),
            "amendResult": if amended { "0" } else { "" },
            "reqId": request.filter(|_| amended).unwrap_or_default(),
            "code": "0", "msg": "", "amendSource": "",
        });
        joined(row, more)
    }

    /// A row of an order that waits or waited.
    pub(super) fn algo_order(&self, order: &Order) -> Value {
        let lever = self.leverage_shown(order);
        self.row_of(order.ix, |listed| {
            let [at, by, limit] = names(order);
            let native = |name| order.native(name).unwrap_or_default();
            let trigger = order.trigger.map(|it| listed.price(it.price).to_string());
            let price = order.price().map(|price| listed.price(price).to_string());
            let state = state_of(order);
            let made_all: Vec<String> = order.live_no.iter().map(|no| no.0.to_string()).collect();
            let made = made_all.first().cloned().unwrap_or_default();
            let average = order.average(listed.it).map(|it| plain(it.round_dp(12)));
            let size = match order.size {
                Size::Position => String::new(),
                _ => listed.size(order.qty).to_string(),
            };
            let mut row = json!({
                "instType": segment_name(order.segment), "instId": listed.it.symbol, "ccy": "",
                "algoId": order.no.0.to_string(), "algoClOrdId": client_id(order),
                "clOrdId": "", "ordId": made, "ordIdList": made_all,
                "ordType": native("ordType"), "side": encode::side(order.side), "sz": size,
                "posSide": position_shown(order), "tdMode": native("tdMode"),
                "tag": native("tag"), "tgtCcy": "", "state": state, "lever": lever,
                "closeFraction": native("closeFraction"), "last": "",
                "reduceOnly": order.reduce_only.to_string(),
                "actualSz": listed.size(order.filled).to_string(),
                "actualPx": average.unwrap_or_default(),
                "actualSide": "", "failCode": if state == "order_failed" { "51008" } else { "" },
                "triggerTime": order.triggered_ms.map(|at| at.to_string()).unwrap_or_default(),
                "cTime": order.created_ms.to_string(), "uTime": order.updated_ms.to_string(),
                "triggerPx": "", "triggerPxType": "", "ordPx": "",
                "slTriggerPx": "", "slTriggerPxType": "", "slOrdPx": "",
                "tpTriggerPx": "", "tpTriggerPxType": "", "tpOrdPx": "",
            });
            row[at] = trigger.unwrap_or_default().into();
            row[by] = native("triggerPxType").into();
            // Asked for as `orderPx`, told as `ordPx`.
            let limit = if limit == "orderPx" { "ordPx" } else { limit };
            row[limit] = price.unwrap_or_else(|| "-1".to_owned()).into();
            row
        })
    }

    /// A row of a fill.
    pub(super) fn fill(&self, fill: &FillRow) -> Value {
        let number = self.order_number(fill);
        let order = self.core.accounts.order(fill.account, fill.no);
        let named = order.filter(|order| order.trigger.is_none());
        let named = named.map_or("", client_id);
        let tag = order.and_then(|order| order.native("tag"));
        self.row_of(fill.ix, |listed| {
            let position = match fill.segment {
                Segment::Spot => "",
                Segment::Linear => position_name(fill.position),
            };
            json!({
                "instType": segment_name(fill.segment), "instId": listed.it.symbol,
                "tradeId": fill.trade_id.to_string(), "ordId": number, "clOrdId": named,
                "billId": fill.id.to_string(), "tag": tag.unwrap_or_default(), "subType": "",
                "fillPx": listed.price(fill.price).to_string(),
                "fillSz": listed.size(fill.qty).to_string(),
                "fillPnl": plain(fill.realized), "fillIdxPx": "", "fillMarkPx": "",
                "side": encode::side(fill.side), "posSide": position,
                "execType": if fill.is_maker { "M" } else { "T" },
                "feeCcy": fill.fee_asset, "fee": plain(-fill.fee),
                "ts": fill.ts_ms.to_string(), "fillTime": fill.ts_ms.to_string(),
            })
        })
    }
}
