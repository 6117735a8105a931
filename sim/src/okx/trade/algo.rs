//! Orders that wait for a price: `trigger`, and `conditional` ones that stop a loss or take a
//! profit. What a trigger makes is an ordinary order with a number of its own.

use serde_json::{Value, json};

use super::super::rest::{ApiError, Params};
use super::order::{client_id, price, size};
use super::{Call, Fail, Fields};
use crate::account::{Order, OrderNo, Request, SelfTrade, Size, Trigger, TriggerBy};
use crate::market::{OrderKind, Price, Side, TimeInForce};

/// How the prices of a kind are called: trigger, its source, the order's price.
pub(super) type Names = [&'static str; 3];

pub(super) const TRIGGER: Names = ["triggerPx", "triggerPxType", "orderPx"];
pub(super) const STOP: Names = ["slTriggerPx", "slTriggerPxType", "slOrdPx"];
pub(super) const PROFIT: Names = ["tpTriggerPx", "tpTriggerPxType", "tpOrdPx"];

/// The names that an order's prices go by.
pub(super) fn names(order: &Order) -> Names {
    match order.native("names") {
        Some("sl") => STOP,
        Some("tp") => PROFIT,
        _ => TRIGGER,
    }
}

impl Call<'_> {
    /// Answers with the row of a new order that waits.
    pub(super) fn place_algo(&mut self, fields: Fields<'_>) -> Value {
        let named = |name| fields.text(name).unwrap_or_default();
        let (number, code, msg) = match self.try_place_algo(fields) {
            Ok(order) => (order.no.0.to_string(), "0", String::new()),
            Err(fail) => (String::new(), fail.code, fail.msg),
        };
        json!({
            "algoId": number, "algoClOrdId": named("algoClOrdId"), "clOrdId": named("clOrdId"),
            "tag": named("tag"), "sCode": code, "sMsg": msg, "subCode": "",
        })
    }

    fn try_place_algo(&mut self, fields: Fields<'_>) -> Result<Order, Fail> {
        let ix = self.instrument(fields)?;
        self.charge("trade/order-algo", Some(ix))?;
        let mut terms = self.terms(fields, "algoClOrdId")?;
        let kind = fields.required("ordType")?;
        let (names, word) = match kind.as_str() {
            "trigger" => (TRIGGER, "trigger"),
            // Of both together, the stop is what counts.
            "conditional" if fields.text(STOP[0]).is_some() => (STOP, "sl"),
            "conditional" => (PROFIT, "tp"),
            _ => return Err(Fail::wrong("ordType")),
        };
        let [at, by, limit] = names;
        let closes = match fields.text("closeFraction").as_deref() {
            None => false,
            Some("1") => true,
            Some(_) => return Err(Fail::wrong("closeFraction")),
        };
        let (at_text, limit_text) = (fields.required(at)?, fields.required(limit)?);
        let by_text = fields.text(by).unwrap_or_else(|| "last".to_owned());
        let source = match by_text.as_str() {
            "last" => TriggerBy::Last,
            "mark" => TriggerBy::Mark,
            "index" => TriggerBy::Index,
            _ => return Err(Fail::wrong(by)),
        };
        let listed = self.listed(ix)?;
        let trigger = price(&listed, at, &at_text)?;
        let order_kind = match limit_text.as_str() {
            "-1" => OrderKind::Market,
            text => OrderKind::Limit {
                price: price(&listed, limit, text)?,
                time_in_force: TimeInForce::Gtc,
            },
        };
        let size = match closes {
            true => Size::Position,
            false => Size::Base(size(&listed, "sz", &fields.required("sz")?)?),
        };
        let last = self.core.market.last_price(ix).unwrap_or_default();
        let rises = direction(word, terms.side, trigger, last)?;
        terms.native.push(("ordType", kind));
        terms.native.push(("names", word.to_owned()));
        terms.native.push(("triggerPxType", by_text));
        if closes {
            terms.native.push(("closeFraction", "1".to_owned()));
        }
        self.use_mode(&terms)?;
        let (id, side) = (self.id(), terms.side);
        let request = Request {
            ix,
            side,
            kind: order_kind,
            size,
            position: terms.position,
            reduce_only: terms.reduce_only || closes,
            trigger: Some(Trigger {
                price: trigger,
                rises,
                by: source,
            }),
            client_id: terms.client_id,
            self_trade: SelfTrade::ExpireMaker,
            borrows: false,
            native: terms.native,
        };
        let placed = self.core.place(id, request);
        placed.map_err(|refusal| self.refusal(&refusal, ix, side, false))
    }

    /// The order that waits, or waited, which a request names.
    fn find_algo(&self, number: Option<&str>, name: Option<&str>) -> Option<&Order> {
        let (accounts, id) = (&self.core.accounts, self.id());
        let found = match (number, name) {
            (Some(number), _) => accounts.order(id, OrderNo(number.parse().ok()?)),
            (None, name) => accounts.order_of_client(id, name?),
        };
        found.filter(|order| order.trigger.is_some())
    }

    /// One that still waits.
    fn waiting(&self, fields: Fields<'_>) -> Result<Order, Fail> {
        let ix = self.instrument(fields)?;
        let (number, name) = (fields.text("algoId"), fields.text("algoClOrdId"));
        if number.is_none() && name.is_none() {
            return Err(Fail::empty("algoId"));
        }
        let found = self.find_algo(number.as_deref(), name.as_deref());
        let waits = |it: &&Order| it.ix == ix && it.live_no.is_none() && it.state.is_open();
        let gone = "Cancellation failed as the order has been filled, canceled or does not exist.";
        found
            .filter(waits)
            .cloned()
            .ok_or_else(|| Fail::new("51400", gone))
    }

    /// Answers with the row of one that is taken back.
    pub(super) fn cancel_algo(&mut self, fields: Fields<'_>) -> Value {
        let id = self.id();
        let done = self.charge("trade/cancel-algos", None).and_then(|()| {
            let order = self.waiting(fields)?;
            let done = self.core.cancel(id, order.no);
            done.map_err(|refusal| self.refusal(&refusal, order.ix, order.side, false))
        });
        self.algo_row(fields, done)
    }

    /// Answers with the row of one that is changed.
    pub(super) fn amend_algo(&mut self, fields: Fields<'_>) -> Value {
        let id = self.id();
        let done = self.charge("trade/amend-algos", None).and_then(|()| {
            let order = self.waiting(fields)?;
            let [trigger, limit] = match order.native("names") {
                Some("sl") => ["newSlTriggerPx", "newSlOrdPx"],
                Some("tp") => ["newTpTriggerPx", "newTpOrdPx"],
                _ => ["newTriggerPx", "newOrdPx"],
            };
            let amend = self.amendment(fields, order.ix, ["newSz", limit, trigger])?;
            let done = self.core.amend(id, order.no, &amend);
            done.map_err(|refusal| self.refusal(&refusal, order.ix, order.side, true))
        });
        self.algo_row(fields, done)
    }

    fn algo_row(&self, fields: Fields<'_>, done: Result<Order, Fail>) -> Value {
        let named = |name| fields.text(name).unwrap_or_default();
        let (number, client, code, msg) = match &done {
            Ok(order) => (order.no.0.to_string(), client_id(order).to_owned(), "0", ""),
            Err(fail) => (named("algoId"), named("algoClOrdId"), fail.code, &*fail.msg),
        };
        json!({
            "algoId": number, "algoClOrdId": client, "reqId": named("reqId"), "tag": "",
            "sCode": code, "sMsg": msg,
        })
    }

    /// `trade/order-algo`
    pub(super) fn algo(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let (number, name) = (params.get("algoId"), params.get("algoClOrdId"));
        if number.is_none() && name.is_none() {
            return Err(ApiError::empty("algoId"));
        }
        let missing = || ApiError::from(Fail::new("51603", "Order does not exist"));
        let order = self.find_algo(number, name).ok_or_else(missing)?;
        Ok(vec![self.algo_order(order)])
    }

    /// `trade/orders-algo-pending`
    pub(super) fn algos_pending(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let waits = |it: &Order| it.live_no.is_none() && it.state.is_open();
        self.algos(params, waits)
    }

    /// `trade/orders-algo-history`
    pub(super) fn algos_history(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let state = params.get("state");
        if state.is_none() && params.get("algoId").is_none() {
            return Err(ApiError::empty("state or algoId"));
        }
        let is_over = |it: &Order| {
            let is_it = state.is_none_or(|wanted| wanted == state_of(it));
            is_it && (it.live_no.is_some() || !it.state.is_open())
        };
        self.algos(params, is_over)
    }

    fn algos(
        &self,
        params: &Params,
        pick: impl Fn(&Order) -> bool,
    ) -> Result<Vec<Value>, ApiError> {
        let kinds: Vec<&str> = params.required("ordType")?.split(',').collect();
        let wanted = |it: &&Order| {
            it.trigger.is_some()
                && it
                    .native("ordType")
                    .is_some_and(|kind| kinds.contains(&kind))
                && params
                    .get("algoId")
                    .is_none_or(|id| id == it.no.0.to_string())
                && pick(it)
        };
        let page = self.page(params, |order| Some(order.no))?;
        let orders = page.into_iter().filter(wanted);
        let limit = params.limit(100, 100)?;
        Ok(orders.take(limit).map(|it| self.algo_order(it)).collect())
    }
}

/// Whether the price has to rise to the trigger. Stops and profits know from the order's direction,
/// and are refused where the price is past it.
fn direction(word: &str, side: Side, trigger: Price, last: Price) -> Result<bool, Fail> {
    let rises = match (word, side) {
        ("sl", Side::Buy) | ("tp", Side::Sell) => true,
        ("sl" | "tp", _) => false,
        _ => return Ok(trigger >= last),
    };
    let is_past = match rises {
        true => trigger <= last,
        false => trigger >= last,
    };
    if !is_past {
        return Ok(rises);
    }
    let (code, what, how) = match (word, side) {
        ("tp", Side::Buy) => ("51277", "TP", "higher"),
        ("tp", Side::Sell) => ("51278", "TP", "lower"),
        (_, Side::Buy) => ("51279", "SL", "lower"),
        (_, Side::Sell) => ("51280", "SL", "higher"),
    };
    let msg = format!("{what} trigger price can't be {how} than the last price.");
    Err(Fail::new(code, msg))
}

/// State of an order that waits or waited.
pub(super) fn state_of(order: &Order) -> &'static str {
    use crate::account::{EndReason, OrderState};
    match (order.live_no, order.state) {
        (None, OrderState::Waiting) => "live",
        (None, OrderState::Canceled) => "canceled",
        (Some(_), _) if order.reason == Some(EndReason::Funds) && order.filled.0 == 0 => {
            "order_failed"
        }
        (Some(_), _) => "effective",
        (None, _) => "order_failed",
    }
}
