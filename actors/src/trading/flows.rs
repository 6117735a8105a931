//! Placing, canceling and amending: validate, journal, send, and believe only what is proven.

use std::rc::Rc;
use std::sync::Arc;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::trading::check::{self, Against, FundingLock};
use bookwire_engine::trading::funds::Funds;
use bookwire_engine::trading::journal::Entry;
use bookwire_engine::trading::ledger::{Known, OrderFilter};
use bookwire_engine::trading::order::{
    Order, OrderId, OrderStatus, OrderTerms, OrderType, PositionSide,
};
use bookwire_engine::trading::state::{OrderNews, Word};
use bookwire_engine::trading::venue::{Amend, Command, Failure, Proof, Touch};
use rust_decimal::Decimal;

use super::desk::{Desk, House, order_ref};
use super::live::Outcome;
use super::resolve;
use super::{Amended, Canceled, PlaceOrder, Placed};
use crate::latency::Stamp;

/// Attempts of a cancellation whose answer was lost. Canceling twice is canceling once.
const CANCEL_TRIES: u32 = 3;
/// How long the end of an order is waited for that has to be over before another takes its place.
const REPLACE_WAIT_MS: u64 = 3_000;

/// Places an order.
pub(crate) async fn place(desk: &Rc<Desk>, request: PlaceOrder) -> Result<Placed, CryptoError> {
    place_for(desk, request, None).await
}

/// Places an order that takes the place of one that `guarded_by`'s sessions watch over.
async fn place_for(
    desk: &Rc<Desk>,
    mut request: PlaceOrder,
    guarded_by: Option<String>,
) -> Result<Placed, CryptoError> {
    let instrument = request.instrument.clone();
    desk.is_of_its_exchange(&instrument)?;
    if let Some(known) = repeated(desk, &request)? {
        return Ok(known);
    }
    let is_open = |desk: &Desk| {
        desk.may_trade()
            .inspect_err(|_| desk.state.borrow_mut().stats.refused_not_ready += 1)
    };
    is_open(desk)?;
    let touch = match needs_touch(desk, &request.terms) {
        true => desk.touch(&instrument).await,
        false => Touch::default(),
    };
    let next_funding = match (instrument.spec.market, desk.options.funding_lock_secs) {
        (Market::Perp, 1..) => desk.market.next_funding(instrument.id),
        _ => None,
    };
    // Nothing waits from here to the journal: two requests with the same id can't both pass.
    if let Some(known) = repeated(desk, &request)? {
        return Ok(known);
    }
    is_open(desk)?;
    if request.is_rounded {
        check::round(&mut request.terms, &instrument, touch);
    }
    let terms = request.terms;
    let guard = super::guard::admit(desk, &request.by, guarded_by)?;
    inspect(desk, &terms, &instrument, touch, next_funding)
        .inspect_err(|_| desk.state.borrow_mut().stats.refused_by_check += 1)?;
    admit(desk, &terms, &instrument, &request.by, touch, None)?;
    let mut order = new_order(desk, terms);
    order.guarded_by = guard;
    let id = order.id;
    desk.write(&[Entry::Order(Box::new(order.clone()))])?;
    tracing::debug!(provider = desk.provider.name(), account = %desk.options.name, order = %id,
        by = %request.by, "the order is in the journal");
    {
        let mut state = desk.state.borrow_mut();
        state.traces.keep(id);
        state.ledger.insert(order.clone());
        state.stats.placed += 1;
    }
    if desk.is_listened_to() {
        desk.publish(&super::Published::Order(Box::new((order.clone(), None))));
    }
    desk.secure().await.inspect_err(|error| {
        // It is in the journal and was never sent: it must not look as if it were under way.
        refuse(desk, id, error);
    })?;
    // It may have been canceled, or everything halted, while the disk was waited for.
    still_wanted(desk, id).inspect_err(|error| refuse(desk, id, error))?;
    let sent = desk.stamp();
    desk.latency.entry.record_between(request.received, sent);
    let placed = send(desk, &order, &instrument, touch).await;
    desk.latency.answer.record_between(sent, desk.stamp());
    placed
}

/// Whether an order that is in the journal and was not sent is still to be sent.
fn still_wanted(desk: &Desk, id: OrderId) -> Result<(), CryptoError> {
    desk.may_trade()?;
    let state = desk.state.borrow();
    let order = state.ledger.order(id);
    if order.is_some_and(|order| order.is_cancel_asked) {
        let what = "the order was canceled before it was sent";
        return Err(
            CryptoError::new(CryptoCode::OrderRejected, what).with("order_id", id.to_string())
        );
    }
    Ok(())
}

fn new_order(desk: &Desk, terms: OrderTerms) -> Order {
    let now = desk.now();
    let id = OrderId::new(now, rand::random());
    let client = match desk.venue() {
        Some(venue) => venue.client_id(terms.market, id),
        None => id.to_string(),
    };
    Order::new(id, terms, client, desk.mode(), now)
}

/// The order that a client's id has made before; an error when it asked for something else.
fn repeated(desk: &Desk, request: &PlaceOrder) -> Result<Option<Placed>, CryptoError> {
    let terms = &request.terms;
    let Some(client) = &terms.client_order_id else {
        return Ok(None);
    };
    let state = desk.state.borrow();
    let duplicate = |id: OrderId, what: String| {
        CryptoError::new(CryptoCode::DuplicateOrder, what)
            .with("client_order_id", client.clone())
            .with("order_id", id.to_string())
    };
    match state.ledger.known(client) {
        Known::New => Ok(None),
        Known::Order(order) if asks_the_same(order, request) => Ok(Some(Placed {
            order: order.clone(),
            is_new: false,
        })),
        Known::Order(order) => Err(duplicate(
            order.id,
            format!("client_order_id {client} was used for another order"),
        )),
        Known::Forgotten(id) => Err(duplicate(
            id,
            format!("client_order_id {client} was used for an order that is no longer kept"),
        )),
    }
}

/// Whether a request asks for what an order was made of. What was rounded was rounded then, the stop
/// price to the side of the market that was known then.
fn asks_the_same(order: &Order, request: &PlaceOrder) -> bool {
    let asked = order.asked();
    if *asked == request.terms {
        return true;
    }
    let mut terms = request.terms.clone();
    if request.is_rounded {
        check::round(&mut terms, &request.instrument, Touch::default());
        let step = request.instrument.spec.price_step;
        if let (Some(stop), Some(was)) = (request.terms.stop_price, asked.stop_price)
            && (stop - was).abs() < step
        {
            terms.stop_price = Some(was);
        }
    }
    *asked == terms
}

/// Prices are looked up for what can't be judged or sent without them.
fn needs_touch(desk: &Desk, terms: &OrderTerms) -> bool {
    !matches!(terms.order_type, OrderType::Limit)
        || desk.state.borrow().risk.needs_touch()
        || matches!(desk.house, House::Paper(_))
}

fn inspect(
    desk: &Desk,
    terms: &OrderTerms,
    instrument: &Instrument,
    touch: Touch,
    next_funding: Option<bookwire_engine::time::TsNanos>,
) -> Result<(), CryptoError> {
    let state = desk.state.borrow();
    let side = terms.position_side.unwrap_or(PositionSide::Net);
    let position = state.ledger.position(&terms.native_symbol, side);
    // Of all that the account has only what this order can need.
    let spec = &instrument.spec;
    let is_used = |asset: &str| {
        let settled = spec.settlement_symbol.as_ref();
        let mut used = [&spec.base_symbol, &spec.quote_symbol]
            .into_iter()
            .chain(settled);
        used.any(|one| one.eq_ignore_ascii_case(asset))
    };
    let of_market = state
        .ledger
        .balances()
        .filter(|balance| balance.market.is_none_or(|market| market == terms.market));
    let (mut is_told, mut balances) = (false, Vec::new());
    for balance in of_market {
        is_told = true;
        if is_used(&balance.asset) {
            balances.push(balance.clone());
        }
    }
    let support = desk.support(terms.market);
    let leverage = match &desk.house {
        House::Live(_) => position.and_then(|position| position.leverage),
        House::Paper(paper) => paper.leverage(terms),
    };
    check::order(
        terms,
        &Against {
            instrument,
            support: &support,
            touch,
            is_hedged: state.is_hedged,
            leverage,
            funds: is_told.then_some(Funds {
                balances: &balances,
                position: position.map_or(Decimal::ZERO, |position| position.quantity),
                fee: fee_beside(desk, instrument),
            }),
            funding_lock: next_funding.map(|next| FundingLock {
                next,
                secs: desk.options.funding_lock_secs,
            }),
            now: desk.now(),
        },
    )
}

/// The fee that has to be there beside the price. Spot exchanges but Coinbase take it out of what was
/// bought.
fn fee_beside(desk: &Desk, instrument: &Instrument) -> Decimal {
    if let House::Paper(paper) = &desk.house {
        return paper.fees(instrument).highest();
    }
    let is_taken_from_quote = instrument.spec.market == Market::Perp
        || desk.provider == bookwire_engine::exchange::ProviderId::COINBASE;
    match is_taken_from_quote {
        true => instrument.spec.taker_fee.unwrap_or_default(),
        false => Decimal::ZERO,
    }
}

fn admit(
    desk: &Desk,
    terms: &OrderTerms,
    instrument: &Instrument,
    by: &str,
    touch: Touch,
    except: Option<OrderId>,
) -> Result<(), CryptoError> {
    let now = desk.now();
    let mut state = desk.state.borrow_mut();
    let state = &mut *state;
    let admitted = state
        .risk
        .admit(terms, instrument, by, touch, (&state.ledger, except), now);
    if admitted.is_err() {
        state.stats.refused_by_risk += 1;
    }
    admitted
}

fn refuse(desk: &Rc<Desk>, id: OrderId, error: &CryptoError) {
    let news = OrderNews {
        reason: Some(error.message.clone()),
        ..OrderNews::new(Word::Refused, desk.now())
    };
    desk.tell(id, &news);
}

/// Sends an order that is in the journal. From here on it is never sent again.
async fn send(
    desk: &Rc<Desk>,
    order: &Order,
    instrument: &Arc<Instrument>,
    touch: Touch,
) -> Result<Placed, CryptoError> {
    let id = order.id;
    let live = match &desk.house {
        House::Live(live) => live.clone(),
        House::Paper(paper) => {
            paper.place(desk, order, instrument, touch).await?;
            return placed(desk, id);
        }
    };
    let is_hedged = desk.state.borrow().is_hedged;
    let command = Command::Place {
        instrument,
        terms: &order.terms,
        client_id: &order.native_client_id,
        touch,
        is_hedged,
    };
    match live.command(&command).await {
        Outcome::Done(facts) => {
            desk.take(&facts);
            let is_pending = |order: &Order| order.status == OrderStatus::Pending;
            let is_silent = desk.state.borrow().ledger.order(id).is_some_and(is_pending);
            if is_silent {
                // The answer said nothing of it. That is no proof of anything.
                lost(desk, id);
            }
            placed(desk, id)
        }
        Outcome::Failed(failure) if failure.proof == Proof::Nothing => {
            lost(desk, id);
            placed(desk, id)
        }
        Outcome::Failed(failure) => {
            desk.state.borrow_mut().stats.rejected += 1;
            refuse(desk, id, &failure.error);
            Err(failure.error.with("order_id", id.to_string()))
        }
        Outcome::Unknown(error) => {
            tracing::warn!(provider = desk.provider.name(), order = %id, %error,
                "an order's outcome is unknown; asking");
            lost(desk, id);
            placed(desk, id)
        }
    }
}

fn placed(desk: &Desk, id: OrderId) -> Result<Placed, CryptoError> {
    let order = desk.expect_order(id)?;
    // An order on paper, or one whose stream was faster than its answer, can be refused by now.
    if order.status == OrderStatus::Rejected && order.filled_quantity.is_zero() {
        let reason = order.reject_reason.clone().unwrap_or_default();
        let what = format!("the order was rejected: {reason}");
        return Err(CryptoError::new(CryptoCode::OrderRejected, what)
            .with("order_id", id.to_string())
            .with("reason", reason));
    }
    Ok(Placed {
        order,
        is_new: true,
    })
}

fn lost(desk: &Rc<Desk>, id: OrderId) {
    desk.state.borrow_mut().stats.unknown += 1;
    desk.tell(id, &OrderNews::new(Word::Lost, desk.now()));
    resolve::find_out(desk, id);
}

/// Cancels an order.
pub(crate) async fn cancel(desk: &Rc<Desk>, id: OrderId) -> Result<Canceled, CryptoError> {
    let order = desk.expect_order(id)?;
    if order.status.is_final() {
        return Err(over(&order));
    }
    let now = desk.now();
    tracing::debug!(provider = desk.provider.name(), account = %desk.options.name, order = %id,
        "the order is to be canceled");
    // A full disk must not keep an order in the market; that it is full has been logged.
    let _ = desk.write(&[Entry::Cancel {
        order_id: id,
        at: now.0,
    }]);
    {
        let mut state = desk.state.borrow_mut();
        state.ledger.ask_cancel(id, now);
        state.stats.cancels += 1;
    }
    let live = match &desk.house {
        House::Live(live) => live.clone(),
        House::Paper(paper) => {
            paper.cancel(desk, &order).await?;
            return canceled(desk, id);
        }
    };
    let instrument = desk.instrument(&order)?;
    let mut tries = 0;
    loop {
        tries += 1;
        // Its ids may have come meanwhile.
        let order = desk.expect_order(id)?;
        if order.status.is_final() {
            return canceled(desk, id);
        }
        let command = Command::Cancel {
            instrument: &instrument,
            order: order_ref(&order),
        };
        // The kill switch takes the plainest way.
        let is_halted = desk.state.borrow().halted_by.is_some();
        let outcome = match is_halted {
            true => live.command_by_rest(&command).await,
            false => live.command(&command).await,
        };
        match outcome {
            Outcome::Done(facts) => {
                desk.take(&facts);
                return canceled(desk, id);
            }
            Outcome::Failed(Failure {
                proof: Proof::NoSuchOrder,
                ..
            }) => {
                // It is over, or is not there yet: the exchange says which.
                resolve::look(desk, id).await;
                if desk.order(id).is_none_or(|order| order.status.is_final()) {
                    return canceled(desk, id);
                }
                resolve::find_out(desk, id);
                let what =
                    "the exchange does not know the order yet; it is canceled as soon as it does";
                return Err(CryptoError::new(CryptoCode::OrderStateUnknown, what)
                    .with("order_id", id.to_string()));
            }
            Outcome::Failed(failure) if failure.proof != Proof::Nothing => {
                return Err(failure.error.with("order_id", id.to_string()));
            }
            Outcome::Failed(Failure { error, .. }) | Outcome::Unknown(error) => {
                if tries >= CANCEL_TRIES {
                    resolve::find_out(desk, id);
                    return Err(error.with("order_id", id.to_string()));
                }
            }
        }
    }
}

fn canceled(desk: &Desk, id: OrderId) -> Result<Canceled, CryptoError> {
    let order = desk.expect_order(id)?;
    match order.status {
        // The cancellation lost the race.
        OrderStatus::Filled | OrderStatus::Rejected => Err(over(&order)),
        _ => Ok(Canceled { order }),
    }
}

/// What to say of an order that nothing can be done about.
fn over(order: &Order) -> CryptoError {
    let what = format!("order {} is {} already", order.id, order.status);
    CryptoError::new(CryptoCode::OrderNotFound, what)
        .with("order_id", order.id.to_string())
        .with("status", order.status.as_str())
        .with(
            "filled_quantity",
            order.filled_quantity.normalize().to_string(),
        )
        .suggest("read the order: it is over")
}

/// Cancels the orders of a filter; each outcome by itself.
pub(crate) async fn cancel_many(
    desk: &Rc<Desk>,
    entity_id: Option<&str>,
) -> Vec<Result<Order, (OrderId, CryptoError)>> {
    let filter = OrderFilter {
        entity_id: entity_id.map(str::to_owned),
        limit: usize::MAX,
        ..OrderFilter::default()
    };
    let open: Vec<OrderId> = {
        let state = desk.state.borrow();
        let all = state.ledger.list(&filter).into_iter();
        all.filter(|order| !order.status.is_final())
            .map(|order| order.id)
            .collect()
    };
    cancel_each(desk, &open).await
}

/// Cancels these orders; each outcome by itself.
pub(crate) async fn cancel_each(
    desk: &Rc<Desk>,
    open: &[OrderId],
) -> Vec<Result<Order, (OrderId, CryptoError)>> {
    // One after the other would leave the last one in the market for long; all at once would be
    // refused by the exchange's limits.
    let mut outcomes = Vec::with_capacity(open.len());
    for part in open.chunks(8) {
        let cancels = part.iter().map(|id| async move {
            match cancel(desk, *id).await {
                Ok(canceled) => Ok(canceled.order),
                Err(error) => match desk.order(*id) {
                    Some(order) if order.status.is_final() => Ok(order),
                    _ => Err((*id, error)),
                },
            }
        });
        outcomes.extend(futures_util::future::join_all(cancels).await);
    }
    outcomes
}

/// Amends an order: in place where the exchange can, else by cancel and replace.
pub(crate) async fn amend(
    desk: &Rc<Desk>,
    id: OrderId,
    quantity: Option<Decimal>,
    price: Option<Decimal>,
    by: &str,
) -> Result<Amended, CryptoError> {
    let order = desk.expect_order(id)?;
    if order.status.is_final() {
        return Err(over(&order));
    }
    let instrument = desk.instrument(&order)?;
    let mut wanted = order.terms.clone();
    wanted.quantity = quantity.unwrap_or(wanted.quantity);
    if price.is_some() {
        if !wanted.order_type.has_price() {
            return Err(CryptoError::invalid_parameter(
                "price",
                &price.unwrap_or_default().to_string(),
                format!("no price: the order is of type {}", wanted.order_type),
            ));
        }
        wanted.price = price;
    }
    if wanted == order.terms {
        return Ok(Amended {
            order,
            is_replaced: false,
        });
    }
    if wanted.quantity <= order.filled_quantity {
        return Err(CryptoError::invalid_parameter(
            "quantity",
            &wanted.quantity.to_string(),
            format!(
                "more than the {} that have executed; or cancel the order",
                order.filled_quantity
            ),
        ));
    }
    check::amounts(&wanted, &instrument, Touch::default())?;
    let only_less = wanted.price == order.terms.price && wanted.quantity < order.terms.quantity;
    if !only_less {
        // More, or at another price, is what a new order would be.
        desk.may_trade()?;
        let touch = match needs_touch(desk, &wanted) {
            true => desk.touch(&instrument).await,
            false => Touch::default(),
        };
        let mut left = wanted.clone();
        left.quantity -= order.filled_quantity;
        admit(desk, &left, &instrument, by, touch, Some(id))?;
    }
    desk.write(&[Entry::Amend {
        order_id: id,
        quantity: wanted.quantity,
        price: wanted.price,
        at: desk.now().0,
    }])?;
    let is_native = match desk.support(order.terms.market).amend {
        Amend::Native => !order.terms.order_type.is_stop(),
        Amend::NativeReduce => only_less && order.terms.order_type == OrderType::Limit,
        Amend::Replace => false,
    };
    if !is_native {
        return replace(desk, &order, wanted, &instrument, by).await;
    }
    let live = match &desk.house {
        House::Live(live) => live.clone(),
        House::Paper(paper) => {
            paper.amend(desk, &order, &wanted).await?;
            return amended(desk, id);
        }
    };
    let command = Command::Amend {
        instrument: &instrument,
        order: order_ref(&order),
        terms: &order.terms,
        quantity: wanted.quantity,
        price: wanted.price,
    };
    match live.command(&command).await {
        Outcome::Done(facts) => {
            desk.take(&facts);
            // Some exchanges only say that they have taken it in.
            let is_told = desk.order(id).is_none_or(|order| {
                order.terms.quantity == wanted.quantity && order.terms.price == wanted.price
            });
            if !is_told {
                resolve::look(desk, id).await;
            }
            amended(desk, id)
        }
        Outcome::Failed(failure) if failure.error.code == CryptoCode::Unsupported => {
            replace(desk, &order, wanted, &instrument, by).await
        }
        Outcome::Failed(Failure {
            proof: Proof::NoSuchOrder,
            ..
        }) => {
            resolve::look(desk, id).await;
            Err(over(&desk.expect_order(id)?))
        }
        Outcome::Failed(failure) if failure.proof != Proof::Nothing => {
            Err(failure.error.with("order_id", id.to_string()))
        }
        Outcome::Failed(Failure { error, .. }) | Outcome::Unknown(error) => {
            resolve::find_out(desk, id);
            Err(error.with("order_id", id.to_string()))
        }
    }
}

fn amended(desk: &Desk, id: OrderId) -> Result<Amended, CryptoError> {
    Ok(Amended {
        order: desk.expect_order(id)?,
        is_replaced: false,
    })
}

/// Cancels an order and, once it is proven to be over, places what is left of the wish.
async fn replace(
    desk: &Rc<Desk>,
    order: &Order,
    wanted: OrderTerms,
    instrument: &Arc<Instrument>,
    by: &str,
) -> Result<Amended, CryptoError> {
    cancel(desk, order.id).await?;
    let mut waited = 0;
    let ended = loop {
        let now = desk.expect_order(order.id)?;
        if now.status.is_final() {
            break now;
        }
        if waited >= REPLACE_WAIT_MS {
            return Err(CryptoError::new(
                CryptoCode::OrderStateUnknown,
                "the order's cancellation was taken and has not been confirmed; nothing took its place",
            )
            .with("order_id", order.id.to_string()));
        }
        desk.clock
            .sleep(std::time::Duration::from_millis(100))
            .await;
        waited += 100;
        if waited % 500 == 0 {
            resolve::look(desk, order.id).await;
        }
    };
    if ended.status == OrderStatus::Filled {
        return Err(over(&ended));
    }
    let mut terms = wanted;
    terms.quantity -= ended.filled_quantity;
    terms.client_order_id = None;
    if terms.quantity <= Decimal::ZERO {
        return Err(over(&ended));
    }
    let request = PlaceOrder {
        terms,
        instrument: instrument.clone(),
        is_rounded: false,
        by: by.to_owned(),
        received: Stamp::NONE,
    };
    let guarded_by = ended.guarded_by;
    let placed = Box::pin(place_for(desk, request, guarded_by)).await;
    let placed = placed.map_err(|error| {
        error
            .with("canceled_order_id", order.id.to_string())
            .suggest("the order was canceled, and nothing took its place: place a new one")
    })?;
    desk.state
        .borrow_mut()
        .ledger
        .replace(order.id, placed.order.id);
    if let Some(old) = desk.order(order.id) {
        // It is done either way; a restart would only not know what took its place.
        let _ = desk.write(&[Entry::Order(Box::new(old))]);
    }
    Ok(Amended {
        order: placed.order,
        is_replaced: true,
    })
}
