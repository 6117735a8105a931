//! Orders: placing, changing, taking back.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::account::{
    Amend, Order, OrderNo, PositionSide, Refusal as Why, Request, SelfTrade, Size, Trigger,
    TriggerBy, decimal,
};
use crate::market::{
    Fixed, Instrument, InstrumentIx, OrderKind, Price, Qty, Segment, Side, StepError, TimeInForce,
};

use super::super::rest::{Refusal, refuse};
use super::row::{is_waiting_kind, order_id};
use super::{Call, Fields, Outcome, wrong};

/// Begins what stands in for a client's id where the client gave none.
const UNNAMED: char = '~';

/// The client's id of an order; empty where the client gave none.
pub(super) fn link_id(order: &Order) -> &str {
    match order.client_id.starts_with(UNNAMED) {
        true => "",
        false => &order.client_id,
    }
}

/// Words for what the exchange refuses.
pub(super) fn refused(why: &Why, market: Segment) -> Refusal {
    let (linear, spot, text) = match why {
        Why::UnknownInstrument => (10_001, 170_121, "params error: symbol invalid"),
        Why::NotTrading => (110_074, 170_151, "This contract is not live"),
        Why::Closed => (110_066, 170_210, "Trading is currently not allowed."),
        Why::Native(code) => (*code, *code, "Refused."),
        Why::PriceRange => (110_003, 170_132, "Order price exceeds the allowable range."),
        Why::QtyRange => (
            10_001,
            170_136,
            "The number of contracts exceeds the limits allowed.",
        ),
        Why::NotionalMin => (110_094, 170_140, "Order value below the lower limit."),
        Why::Funds if market == Segment::Spot => (0, 170_131, "Insufficient balance."),
        Why::Funds => (110_007, 0, "Available balance is insufficient."),
        Why::DuplicateClientId(_) if market == Segment::Spot => {
            (0, 170_141, "Duplicate clientOrderId")
        }
        Why::DuplicateClientId(_) => (110_072, 0, "OrderLinkedID is duplicate"),
        Why::TooManyOrders => (110_020, 170_810, "Can't have more open orders."),
        Why::WouldTake => (110_003, 170_218, "The LIMIT-MAKER order would take."),
        Why::CannotFill | Why::SelfTrade | Why::LevelFull => (10_001, 170_115, "params error"),
        Why::WouldTrigger => (110_092, 170_115, "The trigger price has been passed."),
        Why::ReduceOnly => (
            110_017,
            170_115,
            "Reduce-only rule not satisfied: there is no position to reduce.",
        ),
        Why::PositionSide => (10_001, 10_001, "position idx not match position mode"),
        Why::UnknownOrder if market == Segment::Spot => (0, 170_213, "Order does not exist."),
        Why::UnknownOrder => (110_001, 0, "order not exists or too late to cancel"),
        Why::AmendFilled => (
            110_040,
            170_115,
            "The new quantity is not above what is filled.",
        ),
        Why::NoChange => (
            10_001,
            10_001,
            "The order remains unchanged as the parameters entered match the existing ones.",
        ),
        Why::NotAmendable => (110_010, 170_190, "The order cannot be modified."),
        Why::Leverage => (
            110_013,
            110_013,
            "cannot set leverage, it exceeds the risk limit",
        ),
        Why::HasOrders => (110_028, 110_028, "cannot switch mode with open orders"),
        Why::HasPositions => (110_024, 110_024, "cannot switch mode with an open position"),
    };
    let code = match market {
        Segment::Linear => linear,
        Segment::Spot => spot,
    };
    Refusal(code, text.to_owned())
}

/// A number off its grid, or none at all.
fn off(name: &str, error: StepError, market: Segment) -> Refusal {
    match (error, market, name) {
        (StepError::OffGrid, Segment::Spot, "qty") => {
            Refusal(170_137, "Order volume decimal too long.".to_owned())
        }
        (StepError::OffGrid, Segment::Spot, _) => {
            Refusal(170_134, "Order price decimal too long.".to_owned())
        }
        (StepError::OffGrid, Segment::Linear, "qty") => refuse("Qty invalid"),
        _ => wrong(name),
    }
}

fn price(it: &Instrument, name: &str, text: &str) -> Result<Price, Refusal> {
    let price = it.parse_price(text);
    let price = price.map_err(|error| off(name, error, it.segment))?;
    if price.0 > 0 {
        Ok(price)
    } else {
        Err(wrong(name))
    }
}

fn qty(it: &Instrument, text: &str) -> Result<Qty, Refusal> {
    let qty = it.parse_qty(text);
    let qty = qty.map_err(|error| off("qty", error, it.segment))?;
    if qty.0 > 0 {
        Ok(qty)
    } else {
        Err(wrong("qty"))
    }
}

impl Call<'_> {
    fn it(&self, ix: InstrumentIx) -> Result<Instrument, Refusal> {
        let it = self.core.instrument(ix).cloned();
        it.ok_or_else(|| wrong("symbol"))
    }

    fn last(&self, ix: InstrumentIx) -> Price {
        self.core.market.last_price(ix).unwrap_or_default()
    }

    /// `order/create`
    pub(super) fn create(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let (ix, market) = self.instrument(fields)?;
        if !self.who.may.may_trade(market) {
            return Err(super::auth::forbidden());
        }
        let it = self.it(ix)?;
        let request = self.request(fields, ix, &it)?;
        let id = self.id();
        let order = self.core.place(id, request);
        let order = order.map_err(|why| refused(&why, market))?;
        Ok(Outcome::of(json!({
            "orderId": order_id(&order), "orderLinkId": link_id(&order),
        })))
    }

    fn request(
        &mut self,
        fields: Fields<'_>,
        ix: InstrumentIx,
        it: &Instrument,
    ) -> Result<Request, Refusal> {
        let is_spot = it.segment == Segment::Spot;
        let side = match fields.required("side")?.as_str() {
            "Buy" => Side::Buy,
            "Sell" => Side::Sell,
            _ => return Err(wrong("side")),
        };
        let order_type = fields.required("orderType")?;
        let sized = fields.required("qty")?;
        let time_in_force = match fields.text("timeInForce").as_deref() {
            None | Some("GTC") => TimeInForce::Gtc,
            Some("IOC") => TimeInForce::Ioc,
            Some("FOK") => TimeInForce::Fok,
            Some("PostOnly") => TimeInForce::PostOnly,
            Some(_) => return Err(wrong("timeInForce")),
        };
        let kind = match order_type.as_str() {
            "Market" => OrderKind::Market,
            "Limit" => OrderKind::Limit {
                price: price(it, "price", &fields.required("price")?)?,
                time_in_force,
            },
            _ => return Err(wrong("orderType")),
        };
        let trigger = self.trigger(fields, ix, it, side)?;
        let mut native = vec![("orderType", order_type)];
        let unit = fields.text("marketUnit");
        let in_quote = match (unit.as_deref(), side) {
            _ if !is_spot || kind != OrderKind::Market => false,
            (Some("baseCoin"), _) | (None, Side::Sell) => false,
            (Some("quoteCoin"), _) | (None, Side::Buy) => true,
            _ => return Err(wrong("marketUnit")),
        };
        let size = match in_quote {
            false if !is_spot && sized.trim_matches(['0', '.']).is_empty() => Size::Position,
            false => Size::Base(qty(it, &sized)?),
            true => {
                let value = Fixed::parse(&sized).map(decimal).ok();
                let value = value.filter(|value| *value > Decimal::ZERO);
                Size::Quote(value.ok_or_else(|| wrong("qty"))?)
            }
        };
        if size == Size::Position
            && !(fields.flag("reduceOnly")? && fields.flag("closeOnTrigger")?)
        {
            return Err(wrong("qty"));
        }
        if in_quote {
            native.push(("qty", sized));
        }
        native.extend(unit.map(|unit| ("marketUnit", unit)));
        native.extend(fields.text("orderFilter").map(|it| ("orderFilter", it)));
        native.extend(fields.text("triggerBy").map(|it| ("triggerBy", it)));
        native.extend(
            fields
                .text("triggerDirection")
                .map(|it| ("triggerDirection", it)),
        );
        let position = match fields.text("positionIdx").as_deref() {
            _ if is_spot => PositionSide::Both,
            None | Some("0") => PositionSide::Both,
            Some("1") => PositionSide::Long,
            Some("2") => PositionSide::Short,
            Some(_) => return Err(wrong("positionIdx")),
        };
        let smp = fields.text("smpType");
        let self_trade = match smp.as_deref() {
            None | Some("None") => SelfTrade::Allow,
            Some("CancelMaker") => SelfTrade::ExpireMaker,
            Some("CancelTaker") => SelfTrade::ExpireTaker,
            Some("CancelBoth") => SelfTrade::ExpireBoth,
            Some(_) => return Err(wrong("smpType")),
        };
        native.extend(smp.map(|smp| ("smpType", smp)));
        let borrows = is_spot && fields.flag("isLeverage")?;
        native.push(("isLeverage", u8::from(borrows).to_string()));
        for name in ["takeProfit", "stopLoss"] {
            if fields
                .text(name)
                .is_some_and(|it| !it.trim_matches(['0', '.']).is_empty())
            {
                // Attached orders are not there.
                return Err(wrong(name));
            }
        }
        let client_id = match fields.text("orderLinkId") {
            Some(name) => {
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                if name.len() > 36 || !name.bytes().all(is_plain) {
                    return Err(wrong("orderLinkId"));
                }
                name
            }
            None => format!("{UNNAMED}{}", self.core.venue.trading.forge.text(16)),
        };
        Ok(Request {
            ix,
            side,
            kind,
            size,
            position,
            reduce_only: !is_spot && fields.flag("reduceOnly")?,
            trigger,
            client_id,
            self_trade,
            borrows,
            native,
        })
    }

    fn trigger(
        &self,
        fields: Fields<'_>,
        ix: InstrumentIx,
        it: &Instrument,
        side: Side,
    ) -> Result<Option<Trigger>, Refusal> {
        let is_spot = it.segment == Segment::Spot;
        let filter = fields.text("orderFilter");
        let waits = matches!(filter.as_deref(), Some("StopOrder" | "tpslOrder"));
        let Some(text) = fields.text("triggerPrice") else {
            return if waits {
                Err(wrong("triggerPrice"))
            } else {
                Ok(None)
            };
        };
        let at = price(it, "triggerPrice", &text)?;
        let by = match fields.text("triggerBy").as_deref() {
            None | Some("LastPrice") => TriggerBy::Last,
            Some("MarkPrice") if !is_spot => TriggerBy::Mark,
            Some("IndexPrice") if !is_spot => TriggerBy::Index,
            Some(_) => return Err(wrong("triggerBy")),
        };
        let last = self.last(ix);
        let rises = match fields.text("triggerDirection").as_deref() {
            _ if is_spot => at > last || (at == last && side == Side::Buy),
            Some("1") if at > last => true,
            Some("2") if at < last => false,
            Some("1") => {
                let text = "expect Rising, but trigger_price <= current";
                return Err(Refusal(110_092, text.to_owned()));
            }
            Some("2") => {
                let text = "expect Falling, but trigger_price >= current";
                return Err(Refusal(110_093, text.to_owned()));
            }
            _ => return Err(wrong("triggerDirection")),
        };
        Ok(Some(Trigger {
            price: at,
            rises,
            by,
        }))
    }

    /// The order that a request names; its id counts before the client's.
    pub(super) fn find(
        &self,
        fields: Fields<'_>,
        market: Segment,
    ) -> Result<Option<&Order>, Refusal> {
        let (accounts, id) = (&self.core.accounts, self.id());
        let found = match (fields.text("orderId"), fields.text("orderLinkId")) {
            (Some(text), _) => {
                let no = super::row::number(&text, market);
                no.and_then(|no| accounts.order(id, OrderNo(no)))
            }
            (None, Some(name)) => accounts.order_of_client(id, &name),
            (None, None) => return Err(wrong("orderId or orderLinkId")),
        };
        Ok(found.filter(|order| order.segment == market))
    }

    /// An open order that a request names.
    fn open(&self, fields: Fields<'_>) -> Result<Order, Refusal> {
        let (ix, market) = self.instrument(fields)?;
        let found = self.find(fields, market)?;
        let found = found.filter(|order| order.ix == ix && order.state.is_open());
        let filter = fields.text("orderFilter");
        // Spot keeps the kinds apart; what is not said is an ordinary order.
        let fits = |order: &&Order| {
            let is_plain = matches!(filter.as_deref(), None | Some("Order"));
            market == Segment::Linear || is_plain != is_waiting_kind(order)
        };
        let found = found.filter(fits).cloned();
        found.ok_or_else(|| refused(&Why::UnknownOrder, market))
    }

    /// `order/amend`
    pub(super) fn amend(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let (ix, market) = self.instrument(fields)?;
        let it = self.it(ix)?;
        let order = self.open(fields);
        // A change names no kind.
        let order = order.or_else(|refusal| {
            let found = self
                .find(fields, market)?
                .filter(|it| it.ix == ix && it.state.is_open());
            found.cloned().ok_or(refusal)
        })?;
        let read = |name: &str| {
            fields
                .text(name)
                .map(|text| price(&it, name, &text))
                .transpose()
        };
        let amend = Amend {
            qty: fields.text("qty").map(|text| qty(&it, &text)).transpose()?,
            price: read("price")?,
            trigger: read("triggerPrice")?,
            client_id: None,
        };
        let id = self.id();
        let done = self.core.amend(id, order.no, &amend);
        let order = done.map_err(|why| refused(&why, market))?;
        Ok(Outcome::of(json!({
            "orderId": order_id(&order), "orderLinkId": link_id(&order),
        })))
    }

    /// `order/cancel`
    pub(super) fn cancel(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let order = self.open(fields)?;
        let id = self.id();
        let done = self.core.cancel(id, order.no);
        let order = done.map_err(|why| refused(&why, order.segment))?;
        Ok(Outcome::of(json!({
            "orderId": order_id(&order), "orderLinkId": link_id(&order),
        })))
    }

    /// `order/cancel-all`
    pub(super) fn cancel_all(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let market = fields.market()?;
        let ix = match fields.text("symbol") {
            None => None,
            Some(_) => Some(self.instrument(fields)?.0),
        };
        let (base, settle) = (fields.text("baseCoin"), fields.text("settleCoin"));
        if market == Segment::Linear && ix.is_none() && base.is_none() && settle.is_none() {
            return Err(wrong("symbol, baseCoin or settleCoin"));
        }
        let filter = fields.text("orderFilter");
        let waits = match (market, filter.as_deref()) {
            (Segment::Linear, None) => None,
            (_, None | Some("Order")) => Some(false),
            (_, Some("StopOrder" | "tpslOrder")) => Some(true),
            _ => return Err(wrong("orderFilter")),
        };
        let instruments = self.core.market.instruments().to_vec();
        let fits = |order: &Order| {
            let it = instruments.get(usize::from(order.ix.0));
            order.segment == market
                && ix.is_none_or(|ix| ix == order.ix)
                && waits.is_none_or(|waits| waits == is_waiting_kind(order))
                && base
                    .as_ref()
                    .is_none_or(|base| it.is_some_and(|it| it.base == *base))
                && settle
                    .as_ref()
                    .is_none_or(|coin| it.is_some_and(|it| it.quote == *coin))
        };
        let id = self.id();
        let all = self.core.cancel_all(id, fits);
        let list: Vec<Value> = all
            .iter()
            .map(|it| json!({ "orderId": order_id(it), "orderLinkId": link_id(it) }))
            .collect();
        Ok(Outcome::of(json!({ "list": list, "success": "1" })))
    }
}
