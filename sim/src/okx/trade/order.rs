//! Orders: placing, taking back, changing.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::super::encode::Listed;
use super::{Call, Fail, Fields, Outcome, mode_name};
use crate::account::{
    Amend, EndReason, MarginMode, Order, OrderNo, PositionSide, Refusal, Request, SelfTrade, Size,
    decimal,
};
use crate::market::{
    Fixed, InstrumentIx, OrderKind, Price, Qty, Segment, Side, StepError, TimeInForce,
};

/// Begins the number that stands in for a client's id where the client gave none.
const UNNAMED: char = '~';
/// Seconds after which all orders may be taken back.
const COUNTDOWN: std::ops::RangeInclusive<i64> = 10..=120;

/// The client's id of an order; empty where the client gave none.
pub(super) fn client_id(order: &Order) -> &str {
    match order.client_id.starts_with(UNNAMED) {
        true => "",
        false => &order.client_id,
    }
}

/// The number that an ordinary order goes by: of what a trigger made, its own.
pub(super) fn number(order: &Order) -> Option<OrderNo> {
    match order.trigger {
        Some(_) => order.live_no,
        None => Some(order.no),
    }
}

/// Words for what the exchange refuses. `asset`: what there is too little of.
fn refused(refusal: &Refusal, asset: &str, is_change: bool) -> Fail {
    let (code, msg) = match refusal {
        Refusal::UnknownInstrument => ("51001", "Instrument ID doesn't exist."),
        Refusal::NotTrading => ("51022", "Contract suspended."),
        Refusal::Closed | Refusal::Native(_) => {
            ("50013", "Systems are busy. Please try again later.")
        }
        Refusal::PriceRange => ("51006", "Order price is not within the price limit."),
        Refusal::QtyRange | Refusal::NotionalMin => (
            "51020",
            "Your order should meet or exceed the minimum order amount.",
        ),
        Refusal::Funds => {
            let msg = format!("Order failed. Insufficient {asset} balance in account.");
            return Fail::new(if is_change { "51502" } else { "51008" }, msg);
        }
        Refusal::DuplicateClientId(_) => ("51016", "Client order ID already exists."),
        Refusal::TooManyOrders => (
            "51174",
            "Order failed. You have reached the maximum number of open orders for this instrument.",
        ),
        Refusal::WouldTake => (
            "51511",
            "Operation failed as the order price doesn't meet the requirement for Post Only orders.",
        ),
        Refusal::CannotFill => ("51000", "Parameter ordType error"),
        Refusal::WouldTrigger => (
            "51280",
            "SL trigger price can't be higher than the last price.",
        ),
        Refusal::ReduceOnly => (
            "51169",
            "Order failed because you don't have any positions in this direction to reduce or close.",
        ),
        Refusal::PositionSide => ("51000", "Parameter posSide error"),
        Refusal::SelfTrade => ("51000", "Parameter stpMode error"),
        Refusal::UnknownOrder if is_change => (
            "51503",
            "Order modification failed as the order has been filled, canceled or does not exist.",
        ),
        Refusal::UnknownOrder => (
            "51400",
            "Cancellation failed as the order has been filled, canceled or does not exist.",
        ),
        Refusal::AmendFilled => ("51000", "Parameter newSz error"),
        Refusal::NoChange => ("51500", "You must enter a price, quantity, or TP/SL"),
        Refusal::NotAmendable => ("51506", "Order modification unavailable for the order type"),
        Refusal::LevelFull => ("51000", "Parameter px error"),
        Refusal::Leverage => ("59102", "Leverage exceeds the maximum limit."),
        Refusal::HasOrders | Refusal::HasPositions => (
            "59000",
            "Setting failed. Cancel any open orders, close positions, and stop trading bots first.",
        ),
    };
    Fail::new(code, msg)
}

pub(super) fn step_fail(name: &str, error: StepError) -> Fail {
    match (error, name) {
        (StepError::OffGrid, "sz" | "newSz") => Fail::new(
            "51121",
            "Order quantity must be a multiple of the lot size.",
        ),
        _ => Fail::wrong(name),
    }
}

/// Reads a price above zero.
pub(super) fn price(listed: &Listed<'_>, name: &str, text: &str) -> Result<Price, Fail> {
    let price = listed.it.parse_price(text);
    let price = price.map_err(|error| step_fail(name, error))?;
    match price.0 > 0 {
        true => Ok(price),
        false => Err(Fail::wrong(name)),
    }
}

/// Reads a size above zero, as OKX counts it.
pub(super) fn size(listed: &Listed<'_>, name: &str, text: &str) -> Result<Qty, Fail> {
    let steps = Fixed::parse(text).and_then(|it| it.steps_of(listed.terms.lot));
    let steps = steps.map_err(|error| step_fail(name, error))?;
    match steps > 0 {
        true => Ok(Qty(steps)),
        false => Err(Fail::wrong(name)),
    }
}

/// What an ordinary order and what waits for its price have in common.
pub(super) struct Terms {
    pub(super) ix: InstrumentIx,
    pub(super) side: Side,
    pub(super) position: PositionSide,
    pub(super) mode: MarginMode,
    pub(super) reduce_only: bool,
    pub(super) client_id: String,
    pub(super) native: Vec<(&'static str, String)>,
}

impl Call<'_> {
    pub(super) fn listed(&self, ix: InstrumentIx) -> Result<Listed<'_>, Fail> {
        let listed = self.core.listed(ix);
        listed.ok_or_else(|| Fail::new("51001", "Instrument ID doesn't exist."))
    }

    /// Words a refusal about an instrument.
    pub(super) fn refusal(
        &self,
        refusal: &Refusal,
        ix: InstrumentIx,
        side: Side,
        is_change: bool,
    ) -> Fail {
        let it = self.core.instrument(ix);
        let asset = it.map_or("", |it| match (it.segment, side) {
            (Segment::Spot, Side::Sell) => it.base.as_str(),
            _ => it.quote.as_str(),
        });
        refused(refusal, asset, is_change)
    }

    /// Reads what all orders have. `id_name`: what the client's id is called.
    pub(super) fn terms(&mut self, fields: Fields<'_>, id_name: &str) -> Result<Terms, Fail> {
        let ix = self.instrument(fields)?;
        let mode = fields.required("tdMode")?;
        let side = match fields.required("side")?.as_str() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => return Err(Fail::wrong("side")),
        };
        let segment = self.listed(ix)?.it.segment;
        if !self.who.may.may_trade(segment) {
            let error = super::auth::forbidden();
            return Err(Fail::new(error.code, error.msg));
        }
        // Orders that wait name a margin mode on spot too.
        let is_algo = id_name == "algoClOrdId";
        let margin = match (segment, mode.as_str()) {
            (Segment::Spot, "cash") => MarginMode::Cross,
            (Segment::Spot, "cross" | "isolated") if is_algo => MarginMode::Cross,
            // The account is one of several currencies: what it has not is borrowed against all it has.
            (Segment::Spot, "cross") => MarginMode::Cross,
            (Segment::Linear, "cross") => MarginMode::Cross,
            (Segment::Linear, "isolated") => MarginMode::Isolated,
            _ => return Err(Fail::wrong("tdMode")),
        };
        let is_hedged = self.is_hedged();
        let position = fields.text("posSide");
        let position = match (segment, position.as_deref(), is_hedged) {
            (Segment::Spot, ..) | (Segment::Linear, None | Some("net"), false) => {
                PositionSide::Both
            }
            (Segment::Linear, Some("long"), true) => PositionSide::Long,
            (Segment::Linear, Some("short"), true) => PositionSide::Short,
            _ => return Err(Fail::wrong("posSide")),
        };
        let given = fields.text(id_name).or_else(|| fields.text("clOrdId"));
        if let Some(name) = &given
            && !(name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric()))
        {
            return Err(Fail::wrong(id_name));
        }
        if fields
            .0
            .get("attachAlgoOrds")
            .is_some_and(|it| it != &json!([]))
        {
            return Err(Fail::wrong("attachAlgoOrds"));
        }
        let unnamed = || format!("{UNNAMED}{}", self.core.venue.trading.forge.text(16));
        let client_id = given.unwrap_or_else(unnamed);
        let mut native = vec![("tdMode", mode)];
        native.extend(fields.text("tag").map(|tag| ("tag", tag)));
        Ok(Terms {
            ix,
            side,
            position,
            mode: margin,
            reduce_only: segment == Segment::Linear && fields.flag("reduceOnly")?,
            client_id,
            native,
        })
    }

    /// Puts an instrument into the margin mode of an order.
    pub(super) fn use_mode(&mut self, terms: &Terms) -> Result<(), Fail> {
        let (id, ix) = (self.id(), terms.ix);
        let is_spot = self.listed(ix)?.it.segment == Segment::Spot;
        if is_spot || self.core.accounts.settings(id, ix).mode == terms.mode {
            return Ok(());
        }
        let leverage = self.chosen_leverage(ix, terms.mode);
        let set = self.core.set_margin(id, ix, leverage, Some(terms.mode));
        // Both modes at once would be two positions; here there is one.
        set.map(|_| ()).map_err(|_| Fail::wrong("tdMode"))
    }

    /// Answers with the row of a new order.
    pub(super) fn place(&mut self, endpoint: &'static str, fields: Fields<'_>) -> Value {
        let tag = fields.text("tag").unwrap_or_default();
        let named = fields.text("clOrdId").unwrap_or_default();
        let (number, code, msg) = match self.try_place(endpoint, fields) {
            Ok(order) => (order.no.0.to_string(), "0", String::new()),
            Err(fail) => (String::new(), fail.code, fail.msg),
        };
        json!({
            "ordId": number, "clOrdId": named, "tag": tag, "ts": self.now(),
            "sCode": code, "sMsg": msg, "subCode": "",
        })
    }

    fn try_place(&mut self, endpoint: &'static str, fields: Fields<'_>) -> Result<Order, Fail> {
        let ix = self.instrument(fields)?;
        self.charge(endpoint, Some(ix))?;
        self.charge_order()?;
        let mut terms = self.terms(fields, "clOrdId")?;
        let kind = fields.required("ordType")?;
        let sized = fields.required("sz")?;
        let listed = self.listed(ix)?;
        let is_spot = listed.it.segment == Segment::Spot;
        let limit = |time_in_force| {
            let text = fields.required("px")?;
            let price = price(&listed, "px", &text)?;
            Ok(OrderKind::Limit {
                price,
                time_in_force,
            })
        };
        let order_kind = match kind.as_str() {
            "market" => OrderKind::Market,
            "optimal_limit_ioc" if !is_spot => OrderKind::Market,
            "limit" => limit(TimeInForce::Gtc)?,
            "post_only" => limit(TimeInForce::PostOnly)?,
            "fok" => limit(TimeInForce::Fok)?,
            "ioc" => limit(TimeInForce::Ioc)?,
            _ => return Err(Fail::wrong("ordType")),
        };
        let in_quote = match (fields.text("tgtCcy").as_deref(), terms.side) {
            _ if !is_spot || order_kind != OrderKind::Market => false,
            (Some("base_ccy"), _) | (None, Side::Sell) => false,
            (Some("quote_ccy"), _) | (None, Side::Buy) => true,
            _ => return Err(Fail::wrong("tgtCcy")),
        };
        let size = match in_quote {
            false => Size::Base(size(&listed, "sz", &sized)?),
            true => {
                let value = Fixed::parse(&sized).map(decimal);
                let value = value.ok().filter(|value| *value > Decimal::ZERO);
                Size::Quote(value.ok_or_else(|| Fail::wrong("sz"))?)
            }
        };
        let self_trade = match fields.text("stpMode").as_deref() {
            None | Some("cancel_maker") => SelfTrade::ExpireMaker,
            Some("cancel_taker") => SelfTrade::ExpireTaker,
            Some("cancel_both") => SelfTrade::ExpireBoth,
            Some(_) => return Err(Fail::wrong("stpMode")),
        };
        terms.native.push(("ordType", kind));
        if is_spot && order_kind == OrderKind::Market {
            let unit = if in_quote { "quote_ccy" } else { "base_ccy" };
            terms.native.push(("tgtCcy", unit.to_owned()));
        }
        if in_quote {
            terms.native.push(("sz", sized));
        }
        self.use_mode(&terms)?;
        let borrows = is_spot && terms.native.contains(&("tdMode", "cross".to_owned()));
        let (id, side) = (self.id(), terms.side);
        let request = Request {
            ix,
            side,
            kind: order_kind,
            size,
            position: terms.position,
            reduce_only: terms.reduce_only,
            trigger: None,
            client_id: terms.client_id,
            self_trade,
            borrows,
            native: terms.native,
        };
        let placed = self.core.place(id, request);
        placed.map_err(|refusal| self.refusal(&refusal, ix, side, false))
    }

    /// The ordinary order that a request names.
    pub(super) fn find(&self, fields: Fields<'_>) -> Result<Option<&Order>, Fail> {
        let (accounts, id) = (&self.core.accounts, self.id());
        if let Some(number) = fields.text("ordId") {
            let Ok(wanted) = number.parse().map(OrderNo) else {
                return Err(Fail::wrong("ordId"));
            };
            let own = accounts.order(id, wanted).filter(|it| it.trigger.is_none());
            let made = || {
                accounts
                    .all_orders(id)
                    .find(|it| it.live_no == Some(wanted))
            };
            return Ok(own.or_else(made));
        }
        let name = fields.text("clOrdId");
        let name = name.ok_or_else(|| Fail::empty("ordId or clOrdId"))?;
        let named = accounts.order_of_client(id, &name);
        Ok(named.filter(|order| number(order).is_some()))
    }

    /// Answers with the row of an order that is taken back.
    pub(super) fn cancel(&mut self, endpoint: &'static str, fields: Fields<'_>) -> Value {
        let named = |name| fields.text(name).unwrap_or_default();
        let (mut number, mut client) = (named("ordId"), named("clOrdId"));
        let (code, msg) = match self.try_cancel(endpoint, fields) {
            Ok(order) => {
                let no = super::order::number(&order).map(|no| no.0.to_string());
                (number, client) = (no.unwrap_or_default(), client_id(&order).to_owned());
                ("0", String::new())
            }
            Err(fail) => (fail.code, fail.msg),
        };
        json!({
            "ordId": number, "clOrdId": client, "ts": self.now(), "sCode": code, "sMsg": msg,
        })
    }

    fn try_cancel(&mut self, endpoint: &'static str, fields: Fields<'_>) -> Result<Order, Fail> {
        let ix = match self.by_code && fields.text("instIdCode").is_none() {
            true => None,
            false => Some(self.instrument(fields)?),
        };
        self.charge(endpoint, ix)?;
        let unknown = || refused(&Refusal::UnknownOrder, "", false);
        let found = self.find(fields)?;
        let fits = |order: &&Order| ix.is_none_or(|ix| order.ix == ix);
        let no = found.filter(fits).ok_or_else(unknown)?.no;
        let id = self.id();
        self.core.cancel(id, no).map_err(|_| unknown())
    }

    /// Answers with the row of an order that is changed.
    pub(super) fn amend(&mut self, endpoint: &'static str, fields: Fields<'_>) -> Value {
        let named = |name| fields.text(name).unwrap_or_default();
        let (mut number, mut client) = (named("ordId"), named("clOrdId"));
        self.core.venue.trading.amending = fields.text("reqId");
        let done = self.try_amend(endpoint, fields);
        self.core.venue.trading.amending = None;
        let (code, msg) = match done {
            Ok(order) => {
                let no = super::order::number(&order).map(|no| no.0.to_string());
                (number, client) = (no.unwrap_or_default(), client_id(&order).to_owned());
                ("0", String::new())
            }
            Err(fail) => (fail.code, fail.msg),
        };
        json!({
            "ordId": number, "clOrdId": client, "ts": self.now(), "reqId": named("reqId"),
            "sCode": code, "sMsg": msg, "subCode": "",
        })
    }

    fn try_amend(&mut self, endpoint: &'static str, fields: Fields<'_>) -> Result<Order, Fail> {
        let named = match self.by_code && fields.text("instIdCode").is_none() {
            true => None,
            false => Some(self.instrument(fields)?),
        };
        self.charge(endpoint, named)?;
        self.charge_order()?;
        let unknown = || refused(&Refusal::UnknownOrder, "", true);
        let found = self.find(fields)?;
        let fits = |order: &&Order| named.is_none_or(|ix| order.ix == ix);
        let order = found.filter(fits).ok_or_else(unknown)?;
        let (no, ix, side) = (order.no, order.ix, order.side);
        let amend = self.amendment(fields, ix, ["newSz", "newPx", ""])?;
        let id = self.id();
        let is_last = fields.flag("cxlOnFail")?;
        let done = self.core.amend(id, no, &amend);
        if is_last && done.is_err() {
            // The request asks for it; the order may be gone already.
            let _ = self.core.cancel(id, no);
        }
        done.map_err(|refusal| self.refusal(&refusal, ix, side, true))
    }

    /// Reads a change: the names of the size, the price and the trigger price.
    pub(super) fn amendment(
        &self,
        fields: Fields<'_>,
        ix: InstrumentIx,
        [qty, limit, trigger]: [&str; 3],
    ) -> Result<Amend, Fail> {
        let listed = self.listed(ix)?;
        let read = |name: &str| fields.text(name).map(|text| price(&listed, name, &text));
        let qty = fields.text(qty).map(|text| size(&listed, qty, &text));
        let amend = Amend {
            qty: qty.transpose()?,
            price: read(limit).transpose()?,
            trigger: read(trigger).transpose()?,
            client_id: None,
        };
        match amend.qty.is_some() || amend.price.is_some() || amend.trigger.is_some() {
            true => Ok(amend),
            false => Err(refused(&Refusal::NoChange, "", true)),
        }
    }

    /// Closes a position at market.
    pub(super) fn close_position(&mut self, fields: Fields<'_>) -> Result<Outcome, Fail> {
        let ix = self.instrument(fields)?;
        self.charge("trade/close-position", Some(ix))?;
        let mode = fields.required("mgnMode")?;
        let side = match fields.text("posSide").as_deref() {
            None | Some("net") => PositionSide::Both,
            Some("long") => PositionSide::Long,
            Some("short") => PositionSide::Short,
            Some(_) => return Err(Fail::wrong("posSide")),
        };
        let id = self.id();
        let is_mode = mode_name(self.core.accounts.settings(id, ix).mode) == mode;
        let account = self.core.accounts.account(id).filter(|_| is_mode);
        let lots = account.map_or(0, |account| account.lots(ix, side));
        if lots == 0 {
            return Err(Fail::new("51023", "Position does not exist"));
        }
        if fields.flag("autoCxl")? {
            self.core
                .cancel_all(id, |it| it.ix == ix && it.position == side);
        }
        let request = Request {
            ix,
            side: if lots > 0 { Side::Sell } else { Side::Buy },
            kind: OrderKind::Market,
            size: Size::Base(Qty(lots.abs())),
            position: side,
            reduce_only: true,
            trigger: None,
            client_id: format!("{UNNAMED}{}", self.core.venue.trading.forge.text(16)),
            self_trade: SelfTrade::ExpireMaker,
            borrows: false,
            native: vec![("tdMode", mode), ("ordType", "market".to_owned())],
        };
        let placed = self.core.place(id, request);
        placed.map_err(|refusal| self.refusal(&refusal, ix, Side::Buy, false))?;
        let named = |name| fields.text(name).unwrap_or_default();
        Ok(Outcome::rows(vec![json!({
            "instId": named("instId"), "posSide": named("posSide"),
            "clOrdId": named("clOrdId"), "tag": named("tag"),
        })]))
    }

    /// Takes all orders back unless it is asked for again in time.
    pub(super) fn cancel_all_after(&mut self, fields: Fields<'_>) -> Result<Outcome, Fail> {
        let seconds = fields.required("timeOut")?.parse::<i64>().ok();
        let seconds = seconds.filter(|it| *it == 0 || COUNTDOWN.contains(it));
        let seconds = seconds.ok_or_else(|| Fail::wrong("timeOut"))?;
        let now_ms = self.core.clock.now_ms();
        let due_ms = (seconds > 0).then_some(now_ms + seconds * 1_000);
        let id = self.id();
        for segment in [Segment::Spot, Segment::Linear] {
            self.core.accounts.count_down(id, (segment, None), due_ms);
        }
        let told = due_ms.map_or("0".to_owned(), |due_ms| due_ms.to_string());
        Ok(Outcome::rows(vec![json!({
            "triggerTime": told, "tag": fields.text("tag").unwrap_or_default(),
            "ts": now_ms.to_string(),
        })]))
    }
}

/// What ended an order, as OKX numbers it; empty while it is none of those.
pub(super) const fn cancel_source(reason: Option<EndReason>) -> (&'static str, &'static str) {
    match reason {
        None => ("", ""),
        Some(EndReason::User | EndReason::Replaced) => ("1", "Order canceled by user"),
        Some(EndReason::Immediate | EndReason::NoLiquidity) => {
            ("14", "IOC order was partially canceled as not fully filled")
        }
        Some(EndReason::FillOrKill) => ("13", "FOK order was canceled as not fully filled"),
        Some(EndReason::PostOnly) => ("31", "Post-only order would have taken liquidity"),
        Some(EndReason::SelfTrade) => ("32", "Canceled by self trade prevention"),
        Some(EndReason::Countdown) => ("20", "Cancel all after triggered"),
        Some(EndReason::Funds) => ("9", "Insufficient balance"),
        Some(EndReason::ReduceOnly | EndReason::Liquidation) => ("0", "Canceled by system"),
    }
}
