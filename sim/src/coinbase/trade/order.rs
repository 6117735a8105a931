//! Orders: placing, changing, taking back.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::account::auth::{number_of_uuid, numbered_uuid};
use crate::account::{
    Amend, EndReason, Order, OrderNo, OrderState, PositionSide, Refusal as Why, Request, SelfTrade,
    Size, Trigger, TriggerBy, decimal,
};
use crate::market::{
    Fixed, Instrument, InstrumentIx, OrderKind, Price, Qty, Side, StepError, TimeInForce,
};

use super::super::rest::{Refusal, invalid};
use super::super::venue::Core;
use super::Call;

/// Most orders that may be taken back at once.
const CANCEL_MAX: usize = 100;

/// An order's id.
pub(super) fn order_id(order: &Order) -> String {
    numbered_uuid(order.no.0)
}

/// Why an order is not taken: the exchange's name for it, and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fail {
    Refused(&'static str, &'static str),
    /// The client's id is in use: by this order.
    Known(OrderNo),
}

const UNSUPPORTED: Fail = Fail::Refused(
    "UNSUPPORTED_ORDER_CONFIGURATION",
    "source is not enabled for trading",
);

fn refused(why: &Why) -> Fail {
    let (name, text) = match why {
        Why::DuplicateClientId(no) => return Fail::Known(*no),
        Why::UnknownInstrument => ("INVALID_PRODUCT_ID", "unknown product"),
        Why::NotTrading => ("ORDER_ENTRY_DISABLED", "the product is not traded"),
        Why::Closed => ("ORDER_ENTRY_DISABLED", "orders are not taken at present"),
        Why::Funds => (
            "INSUFFICIENT_FUND",
            "Insufficient balance in source account",
        ),
        Why::PriceRange => ("INVALID_LIMIT_PRICE", "the price is out of range"),
        Why::QtyRange | Why::NotionalMin => {
            ("INVALID_ORDER_SIZE", "the size is too small or too large")
        }
        Why::WouldTake => (
            "INVALID_LIMIT_PRICE_POST_ONLY",
            "the post-only limit price would be executed at once",
        ),
        Why::WouldTrigger => (
            "INVALID_STOP_PRICE",
            "the stop price has been passed by the last trade",
        ),
        Why::TooManyOrders => ("TOO_MANY_ORDERS", "too many open orders of the product"),
        Why::CannotFill => ("INVALID_NO_LIQUIDITY", "the order cannot be filled"),
        _ => ("INVALID_REQUEST", "the order is not possible"),
    };
    Fail::Refused(name, text)
}

/// The name of a reason before an order is placed.
fn preview_name(name: &str) -> String {
    match name {
        "INVALID_LIMIT_PRICE_POST_ONLY" => "PREVIEW_INVALID_LIMIT_PRICE_POSTONLY".to_owned(),
        "UNSUPPORTED_ORDER_CONFIGURATION" => "UNKNOWN_PREVIEW_FAILURE_REASON".to_owned(),
        name => format!("PREVIEW_{name}"),
    }
}

fn off(error: StepError, name: &'static str) -> Fail {
    match error {
        StepError::OffGrid => Fail::Refused(name, "too precise"),
        _ => Fail::Refused("INVALID_REQUEST", "a number is malformed"),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Fail> {
    let text = fields.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
        .ok_or(Fail::Refused("INVALID_REQUEST", "a field is missing"))
}

fn price(it: &Instrument, text: &str) -> Result<Price, Fail> {
    let price = it
        .parse_price(text)
        .map_err(|error| off(error, "INVALID_PRICE_PRECISION"))?;
    let bad = Fail::Refused("INVALID_LIMIT_PRICE", "the price is not above zero");
    if price.0 > 0 { Ok(price) } else { Err(bad) }
}

fn qty(it: &Instrument, text: &str) -> Result<Qty, Fail> {
    let qty = it
        .parse_qty(text)
        .map_err(|error| off(error, "INVALID_SIZE_PRECISION"))?;
    let bad = Fail::Refused("INVALID_ORDER_SIZE", "the size is not above zero");
    if qty.0 > 0 { Ok(qty) } else { Err(bad) }
}

/// Unix ms of a time; whatever is none is refused.
pub(super) fn millis(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

/// Takes back what is past its time.
pub(crate) fn expire(core: &mut Core, now_ms: i64) {
    for id in core.accounts.ids().collect::<Vec<_>>() {
        let open = core.accounts.open_orders(id);
        let is_over = |order: &&Order| {
            let end = order.native("end_time").and_then(millis);
            end.is_some_and(|end_ms| end_ms <= now_ms)
        };
        let over: Vec<OrderNo> = open.filter(is_over).map(|order| order.no).collect();
        for no in over {
            // Another one's end may have ended it.
            let _ =
                core.trade(|accounts, floor| accounts.cancel(floor, id, no, EndReason::Countdown));
        }
    }
}

impl Call<'_> {
    /// `orders`
    pub(super) fn create(&mut self, sent: &Value) -> Result<Value, Refusal> {
        let configuration = sent["order_configuration"].clone();
        if !configuration.is_object() {
            return Err(invalid("order_configuration is required"));
        }
        let Some(name) = sent["client_order_id"].as_str().filter(|it| !it.is_empty()) else {
            return Err(invalid("client_order_id is required"));
        };
        let name = name.to_owned();
        let id = self.id();
        let placed = self
            .request(sent, name)
            .and_then(|request| self.core.place(id, request).map_err(|why| refused(&why)));
        let order = match placed {
            Ok(order) => Ok(order),
            // The same request again is the same order.
            Err(Fail::Known(no)) => {
                let known = self.core.accounts.order(id, no).cloned();
                known.ok_or(("INVALID_REQUEST", "the order is gone"))
            }
            Err(Fail::Refused(name, text)) => Err((name, text)),
        };
        Ok(match order {
            Ok(order) => {
                let number = order_id(&order);
                json!({
                    "success": true, "failure_reason": "UNKNOWN_FAILURE_REASON",
                    "order_id": number,
                    "success_response": {
                        "order_id": number, "product_id": sent["product_id"],
                        "side": sent["side"], "client_order_id": order.client_id,
                        "attached_order_id": "",
                    },
                    "order_configuration": configuration,
                })
            }
            Err((name, text)) => json!({
                "success": false, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "",
                "error_response": {
                    "error": name, "message": text, "error_details": "",
                    "preview_failure_reason": preview_name(name),
                    "new_order_failure_reason": name,
                },
                "order_configuration": configuration,
            }),
        })
    }

    /// `orders/preview`
    pub(super) fn preview(&mut self, sent: &Value) -> Result<Value, Refusal> {
        let name = self.core.venue.trading.forge.uuid();
        let id = self.id();
        let ix = sent["product_id"]
            .as_str()
            .and_then(|it| self.core.product(it));
        let checked = self.request(sent, name).and_then(|request| {
            let done = self.core.check_order(id, request);
            done.map_err(|why| refused(&why))
        });
        let errs = match checked {
            Err(Fail::Refused(name, _)) => vec![preview_name(name)],
            _ => Vec::new(),
        };
        let bbo = ix.map(|ix| self.core.market.bbo(ix));
        let it = ix.and_then(|ix| self.core.instrument(ix));
        let best = |side: Option<(Price, Qty)>| {
            let price = side
                .zip(it)
                .map(|((price, _), it)| it.price(price).trimmed().to_string());
            price.unwrap_or_default()
        };
        Ok(json!({
            "order_total": "", "commission_total": "", "errs": errs, "warning": [],
            "best_bid": best(bbo.and_then(|it| it.bid)), "best_ask": best(bbo.and_then(|it| it.ask)),
            "is_max": false, "preview_id": self.core.venue.trading.forge.uuid(),
        }))
    }

    fn request(&self, sent: &Value, client_id: String) -> Result<Request, Fail> {
        let product = sent["product_id"].as_str().unwrap_or_default();
        let unknown = Fail::Refused("INVALID_PRODUCT_ID", "unknown product");
        let ix = self.core.product(product).ok_or(unknown.clone())?;
        let it = self.core.instrument(ix).ok_or(unknown)?;
        if it.symbol != product {
            return Err(Fail::Refused(
                "INVALID_PRODUCT_ID",
                "account is not available",
            ));
        }
        let side = match sent["side"].as_str() {
            Some("BUY") => Side::Buy,
            Some("SELL") => Side::Sell,
            _ => return Err(Fail::Refused("INVALID_SIDE", "side is BUY or SELL")),
        };
        let all = sent["order_configuration"].as_object();
        let mut all = all.into_iter().flatten();
        let (Some((name, fields)), None) = (all.next(), all.next()) else {
            return Err(UNSUPPORTED);
        };
        let empty = Map::new();
        let fields = fields.as_object().unwrap_or(&empty);
        let post_only = fields.get("post_only").is_some_and(|it| it == true);
        let limit = |time_in_force| -> Result<OrderKind, Fail> {
            Ok(OrderKind::Limit {
                price: price(it, text(fields, "limit_price")?)?,
                time_in_force,
            })
        };
        let resting = if post_only {
            TimeInForce::PostOnly
        } else {
            TimeInForce::Gtc
        };
        let mut trigger = None;
        let kind = match name.as_str() {
            "market_market_ioc" => OrderKind::Market,
            "limit_limit_gtc" | "limit_limit_gtd" => limit(resting)?,
            "limit_limit_fok" => limit(TimeInForce::Fok)?,
            "sor_limit_ioc" => limit(TimeInForce::Ioc)?,
            "stop_limit_stop_limit_gtc" | "stop_limit_stop_limit_gtd" => {
                trigger = Some(self.trigger(ix, it, fields)?);
                limit(TimeInForce::Gtc)?
            }
            _ => return Err(UNSUPPORTED),
        };
        let size = match fields.get("quote_size").and_then(Value::as_str) {
            Some(value) if kind == OrderKind::Market && side == Side::Buy => {
                let value = Fixed::parse(value).map(decimal).ok();
                let value = value.filter(|value| *value > Decimal::ZERO);
                let bad = Fail::Refused("INVALID_ORDER_SIZE", "quote_size is not above zero");
                Size::Quote(value.ok_or(bad)?)
            }
            Some(_) => return Err(UNSUPPORTED),
            None => Size::Base(qty(it, text(fields, "base_size")?)?),
        };
        let mut native = vec![("configuration", name.clone())];
        native.push(("fields", Value::Object(fields.clone()).to_string()));
        if name.ends_with("_gtd") {
            let end = text(fields, "end_time")?;
            let bad = Fail::Refused("INVALID_REQUEST", "end_time is not in the future");
            let end_ms = millis(end).ok_or(bad.clone())?;
            if end_ms <= self.core.clock.now_ms() {
                return Err(bad);
            }
            native.push(("end_time", end.to_owned()));
        }
        Ok(Request {
            ix,
            side,
            kind,
            size,
            position: PositionSide::Both,
            reduce_only: false,
            trigger,
            client_id,
            self_trade: SelfTrade::ExpireTaker,
            borrows: false,
            native,
        })
    }

    fn trigger(
        &self,
        ix: InstrumentIx,
        it: &Instrument,
        fields: &Map<String, Value>,
    ) -> Result<Trigger, Fail> {
        let at = price(it, text(fields, "stop_price")?)?;
        let last = self.core.market.last_price(ix).unwrap_or_default();
        let rises = match fields.get("stop_direction").and_then(Value::as_str) {
            Some("STOP_DIRECTION_STOP_UP") => true,
            Some("STOP_DIRECTION_STOP_DOWN") => false,
            _ => {
                return Err(Fail::Refused(
                    "INVALID_REQUEST",
                    "stop_direction is required",
                ));
            }
        };
        match rises {
            true if at <= last => Err(Fail::Refused(
                "STOP_PRICE_BELOW_LAST_TRADE_PRICE",
                "the stop price is not above the last trade's",
            )),
            false if at >= last => Err(Fail::Refused(
                "STOP_PRICE_ABOVE_LAST_TRADE_PRICE",
                "the stop price is not below the last trade's",
            )),
            _ => Ok(Trigger {
                price: at,
                rises,
                by: TriggerBy::Last,
            }),
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Order> {
        let no = OrderNo(number_of_uuid(id)?);
        self.core.accounts.order(self.id(), no)
    }

    /// `orders/edit`
    pub(super) fn edit(&mut self, sent: &Value) -> Value {
        let failed = |name: &str| {
            json!({ "success": false, "errors": [{
                "edit_failure_reason": name, "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON",
            }] })
        };
        let found = self.find(sent["order_id"].as_str().unwrap_or_default());
        let Some(order) = found.filter(|order| order.state.is_open()).cloned() else {
            return failed("ORDER_NOT_FOUND");
        };
        let kind = order.native("configuration").unwrap_or_default();
        if !matches!(kind, "limit_limit_gtc" | "stop_limit_stop_limit_gtc") {
            return failed("ONLY_LIMIT_ORDER_EDITS_SUPPORTED");
        }
        let Some(it) = self.core.instrument(order.ix) else {
            return failed("ORDER_NOT_FOUND");
        };
        let fields = sent.as_object();
        let read = |name: &str| fields.and_then(|fields| text(fields, name).ok());
        let amend = Amend {
            qty: read("size").and_then(|text| qty(it, text).ok()),
            price: read("price").and_then(|text| price(it, text).ok()),
            trigger: read("stop_price").and_then(|text| price(it, text).ok()),
            client_id: None,
        };
        if amend.qty.is_none() || amend.price.is_none() {
            return failed("INVALID_EDITED_SIZE");
        }
        let id = self.id();
        match self.core.amend(id, order.no, &amend) {
            Ok(_) => json!({ "success": true, "errors": [] }),
            Err(Why::AmendFilled) => failed("EDITED_SIZE_BELOW_FILLED_SIZE"),
            Err(Why::NoChange) => failed("CANNOT_EDIT_WITHOUT_CHANGES"),
            Err(Why::Funds) => failed("INSUFFICIENT_FUND"),
            Err(Why::WouldTake) => failed("INVALID_LIMIT_PRICE_POST_ONLY"),
            Err(_) => failed("COMMANDER_REJECTED_EDIT_ORDER"),
        }
    }

    /// `orders/batch_cancel`
    pub(super) fn batch_cancel(&mut self, sent: &Value) -> Result<Value, Refusal> {
        let ids = sent["order_ids"].as_array();
        let ids = ids.ok_or(invalid("order_ids is required"))?;
        if ids.is_empty() || ids.len() > CANCEL_MAX {
            return Err(invalid("order_ids has to have 1 to 100 ids"));
        }
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let id = id.as_str().unwrap_or_default();
            let found = self.find(id).map(|order| (order.no, order.state));
            let reason = match found {
                Some((no, state)) if state.is_open() => {
                    let account = self.id();
                    let done = self.core.cancel(account, no);
                    done.err().map(|_| "COMMANDER_REJECTED_CANCEL_ORDER")
                }
                Some((_, OrderState::Canceled)) => Some("DUPLICATE_CANCEL_REQUEST"),
                _ => Some("UNKNOWN_CANCEL_ORDER"),
            };
            results.push(json!({
                "success": reason.is_none(), "order_id": id,
                "failure_reason": reason.unwrap_or("UNKNOWN_CANCEL_FAILURE_REASON"),
            }));
        }
        Ok(json!({ "results": results }))
    }
}
