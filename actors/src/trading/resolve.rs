//! Finding out: what became of an order whose answer was lost, which executions are missing, and
//! whether all that is believed of an account is so.

use std::rc::Rc;
use std::time::Duration;

use bookwire_engine::error::CryptoError;
use bookwire_engine::instrument::Market;
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::ledger::OrderFilter;
use bookwire_engine::trading::order::{OrderId, OrderStatus};
use bookwire_engine::trading::state::{OrderNews, Word};
use bookwire_engine::trading::venue::{Facts, Question};

use super::desk::{Desk, House, Readiness, order_ref};
use super::live::{Live, merge};
use super::wire::WARM;
use crate::rest_client::budget::Priority;

/// Questions that have to find nothing before an order is believed never to have been.
const ABSENT_TIMES: u32 = 3;
/// An exchange may take a request in for so long after the moment at which it is too old for it: its
/// clock, its queues, the copy that questions are answered from.
const GRACE: Duration = Duration::from_secs(10);
/// Fills and balances of a stream usually come within this after what they belong to.
const SOON: Duration = Duration::from_millis(400);
/// Orders whose executions one comparison asks for, the newest ones.
const WANTING_MAX: usize = 1_000;
/// Questions of a comparison that are under way side by side.
const AT_ONCE: usize = 8;
/// Fills are looked for from a little before their order was made: clocks differ.
const BEFORE: i64 = 5_000_000_000;

fn live(desk: &Desk) -> Option<Live> {
    match &desk.house {
        House::Live(live) => Some(live.clone()),
        House::Paper(_) => None,
    }
}

/// Asks for an order once. True when the exchange has told where it stands, or that there is none.
pub(crate) async fn look(desk: &Rc<Desk>, id: OrderId) -> bool {
    let Some(live) = live(desk) else { return true };
    let Some(order) = desk.order(id) else {
        return true;
    };
    let Ok(instrument) = desk.instrument(&order) else {
        return false;
    };
    let table = desk.table();
    let question = Question::Order {
        instrument: &instrument,
        order: order_ref(&order),
    };
    match live.ask(&question, &table, Priority::Live).await {
        Ok(Some(facts)) => {
            desk.take(&facts);
            true
        }
        Ok(None) => absent(desk, id),
        Err(error) => {
            tracing::debug!(order = %id, %error, "an order could not be asked for");
            false
        }
    }
}

/// An exchange says that it has no such order.
fn absent(desk: &Rc<Desk>, id: OrderId) -> bool {
    let Some(order) = desk.order(id) else {
        return true;
    };
    if order.status.is_final() {
        return true;
    }
    let times = {
        let mut state = desk.state.borrow_mut();
        let times = state.absent.entry(id).or_default();
        *times += 1;
        *times
    };
    if times < ABSENT_TIMES || !until_old(desk, order.created_at).is_zero() {
        return false;
    }
    let news = OrderNews {
        reason: Some("the exchange does not know it".to_owned()),
        ..OrderNews::new(Word::NotThere, desk.now())
    };
    desk.state.borrow_mut().absent.remove(&id);
    desk.tell(id, &news);
    true
}

/// Time until an order can no longer come to be: then it is believed that there is none.
fn until_old(desk: &Desk, created_at: TsNanos) -> Duration {
    let age = desk.now().0.saturating_sub(created_at.0);
    let window = Duration::from_millis(desk.options.window_ms.into());
    let left = nanos(desk.options.patience + window + GRACE).saturating_sub(age);
    Duration::from_nanos(u64::try_from(left).unwrap_or(0))
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Asks for an order until it is known what became of it. One such search for each order.
pub(crate) fn find_out(desk: &Rc<Desk>, id: OrderId) {
    if live(desk).is_none() || !desk.state.borrow_mut().resolving.insert(id) {
        return;
    }
    let desk = desk.clone();
    crate::alive::spawn(async move {
        let mut wait = Duration::from_millis(250);
        loop {
            // The exchange first takes in what may be under way. Where it has said often enough that
            // there is none, the moment at which that counts is not slept through.
            let left = match desk.order(id) {
                Some(order) => until_old(&desk, order.created_at),
                None => Duration::ZERO,
            };
            desk.clock
                .sleep(if left.is_zero() { wait } else { wait.min(left) })
                .await;
            wait = (wait * 2).min(Duration::from_secs(10));
            let is_open = |desk: &Desk| {
                desk.order(id).is_some_and(|order| {
                    matches!(order.status, OrderStatus::Unknown | OrderStatus::Pending)
                        || (order.is_cancel_asked && !order.status.is_final())
                })
            };
            if !is_open(&desk) {
                break;
            }
            if look(&desk, id).await {
                let is_to_end = desk
                    .order(id)
                    .is_some_and(|order| order.is_cancel_asked && !order.status.is_final());
                if !is_to_end {
                    break;
                }
                // It turned out to be there, and somebody wants it gone. Canceling may be repeated.
                let _ = super::flows::cancel(&desk, id).await;
            }
        }
        let mut state = desk.state.borrow_mut();
        state.resolving.remove(&id);
        state.absent.remove(&id);
    });
}

/// Fetches the executions of an order that its sums know and nobody has told, once the stream had
/// time to.
pub(crate) fn fetch_fills_soon(desk: &Rc<Desk>, id: OrderId) {
    if live(desk).is_none() || !desk.state.borrow_mut().stats.wanted_fills.insert(id) {
        return;
    }
    let desk = desk.clone();
    crate::alive::spawn(async move {
        let mut wait = SOON;
        for _ in 0..8 {
            desk.clock.sleep(wait).await;
            wait *= 2;
            let is_complete = |desk: &Desk| {
                desk.order(id)
                    .is_none_or(|order| order.missing_fills().is_zero())
            };
            if is_complete(&desk) {
                break;
            }
            if let Err(error) = fetch_fills(&desk, id).await {
                tracing::warn!(order = %id, %error, "executions could not be fetched");
            }
            if is_complete(&desk) {
                break;
            }
        }
        desk.state.borrow_mut().stats.wanted_fills.remove(&id);
    });
}

async fn fetch_fills(desk: &Rc<Desk>, id: OrderId) -> Result<(), CryptoError> {
    let (Some(live), Some(order)) = (live(desk), desk.order(id)) else {
        return Ok(());
    };
    let instrument = desk.instrument(&order)?;
    let table = desk.table();
    let question = Question::Fills {
        instrument: &instrument,
        order: Some(order_ref(&order)),
        since: TsNanos(order.created_at.0.saturating_sub(BEFORE)),
    };
    if let Some(facts) = live.ask(&question, &table, Priority::Live).await? {
        desk.take(&facts);
    }
    Ok(())
}

/// Fetches balances where the exchange does not push them.
pub(crate) fn fetch_balances_soon(desk: &Rc<Desk>) {
    let Some(live) = live(desk) else { return };
    if std::mem::replace(&mut desk.state.borrow_mut().is_fetching_balances, true) {
        return;
    }
    let desk = desk.clone();
    crate::alive::spawn(async move {
        desk.clock.sleep(SOON).await;
        desk.state.borrow_mut().is_fetching_balances = false;
        match balances(&desk, &live).await {
            Ok(facts) => desk.take(&facts),
            Err(error) => tracing::warn!(%error, "balances could not be fetched"),
        }
    });
}

async fn balances(desk: &Desk, live: &Live) -> Result<Facts, CryptoError> {
    let table = desk.table();
    let mut all = Facts::default();
    for market in &desk.options.markets {
        let question = Question::Balances { market: *market };
        if let Some(facts) = live.ask(&question, &table, Priority::Live).await? {
            merge(&mut all, facts);
        }
    }
    Ok(all)
}

/// Compares everything that is believed of the account with what the exchange says, and believes the
/// exchange. Called at the start, after each private reconnect, and from time to time.
///
/// # Errors
/// What could not be asked. Then trading is not ready.
pub(crate) async fn reconcile(desk: &Rc<Desk>) -> Result<(), CryptoError> {
    let Some(live) = live(desk) else {
        return Ok(());
    };
    if std::mem::replace(&mut desk.state.borrow_mut().is_reconciling, true) {
        return Ok(());
    }
    let result = compare(desk, &live).await;
    let mut state = desk.state.borrow_mut();
    state.is_reconciling = false;
    state.stats.reconciliations += 1;
    if result.is_err() {
        state.stats.reconciliations_failed += 1;
    }
    result
}

async fn compare(desk: &Rc<Desk>, live: &Live) -> Result<(), CryptoError> {
    let table = desk.table();
    desk.knows_its_exchange(&table)?;
    let markets = &desk.options.markets;
    let begun = desk.now();
    let ask = async |question: Question<'_>| -> Result<Facts, CryptoError> {
        let facts = live.ask(&question, &table, Priority::Live).await?;
        Ok(facts.unwrap_or_default())
    };
    if markets.contains(&Market::Perp) {
        desk.take(&ask(Question::PositionMode).await?);
    }
    let mut there: Vec<OrderId> = Vec::new();
    for market in markets {
        let facts = ask(Question::OpenOrders { market: *market }).await?;
        desk.take(&facts);
        let state = desk.state.borrow();
        for report in &facts.orders {
            let open = state.ledger.open_orders();
            let mut ours = open.filter(|order| {
                report.client_id.as_ref() == Some(&order.native_client_id)
                    || (report.news.exchange_order_id.is_some()
                        && report.news.exchange_order_id == order.exchange_order_id)
                    || (report.news.trigger_id.is_some()
                        && report.news.trigger_id == order.trigger_id)
            });
            there.extend(ours.next().map(|order| order.id));
        }
    }
    // What is open here and not there has ended meanwhile, or never began. Orders that changed since
    // the question was asked are left to their own answers.
    let gone: Vec<OrderId> = {
        let state = desk.state.borrow();
        let open = state.ledger.open_orders();
        open.filter(|order| !there.contains(&order.id) && order.updated_at < begun)
            .map(|order| order.id)
            .collect()
    };
    // Nothing is traded meanwhile: one after the other would take as many times the way there and back.
    for part in gone.chunks(AT_ONCE) {
        let looks = part.iter().map(|id| look(desk, *id));
        let known = futures_util::future::join_all(looks).await;
        let unknown = part.iter().zip(known).filter(|(_, is_known)| !is_known);
        unknown.for_each(|(id, _)| find_out(desk, *id));
    }
    let wanting: Vec<OrderId> = {
        let state = desk.state.borrow();
        // However many orders came after it: one whose executions nobody could tell is asked for again.
        let all = state.ledger.list(&OrderFilter {
            limit: usize::MAX,
            ..OrderFilter::default()
        });
        let wanting = all
            .into_iter()
            .filter(|order| !order.missing_fills().is_zero())
            .take(WANTING_MAX);
        wanting.map(|order| order.id).collect()
    };
    for part in wanting.chunks(AT_ONCE) {
        let fetches = part.iter().map(|id| fetch_fills(desk, *id));
        let fetched = futures_util::future::join_all(fetches).await;
        fetched.into_iter().collect::<Result<(), _>>()?;
    }
    desk.take(&balances(desk, live).await?);
    if markets.contains(&Market::Perp) {
        desk.take(&ask(Question::Positions).await?);
    }
    Ok(())
}

/// Whether the account may be used: what its key may do. At the start.
///
/// # Errors
/// `CRYPTO_FORBIDDEN` for a key that can't trade, or can withdraw and is not allowed to.
pub(crate) async fn permissions(desk: &Rc<Desk>) -> Result<(), CryptoError> {
    use bookwire_engine::error::CryptoCode;
    let Some(live) = live(desk) else {
        return Ok(());
    };
    let table = desk.table();
    let mut can_withdraw = None;
    for market in &desk.options.markets {
        let question = Question::Permissions { market: *market };
        let Some(facts) = live.ask(&question, &table, Priority::Live).await? else {
            continue;
        };
        // A bridge tells what the exchange behind it can, and permissions of some of them.
        if !facts.support.is_empty() {
            desk.take(&facts);
        }
        let Some(permissions) = facts.permissions else {
            continue;
        };
        let refused = |what: &str| {
            CryptoError::new(CryptoCode::Forbidden, what)
                .with("provider", desk.provider.name())
                .with("account", desk.options.name.clone())
        };
        let so_far = can_withdraw.unwrap_or(false);
        can_withdraw = Some(so_far || permissions.can_withdraw);
        desk.state.borrow_mut().key_can_withdraw = can_withdraw;
        if permissions.can_withdraw && !desk.options.allows_withdrawal_keys {
            return Err(refused("the exchange's key can withdraw money").suggest(
                "make a key without that permission, or set trading.allow_withdrawal_keys = true",
            ));
        }
        if !permissions.can_trade {
            tracing::warn!(provider = desk.provider.name(), %market, "the exchange's key can't trade there");
        }
    }
    desk.state.borrow_mut().key_can_withdraw = can_withdraw;
    if can_withdraw.is_none() {
        tracing::warn!(provider = desk.provider.name(), account = %desk.options.name,
            "it can't be told whether the exchange's key can withdraw money: the exchange can't be asked for that. \
             Make sure that it can't");
    }
    Ok(())
}

/// Keeps a connection to each host open, so that no order has to wait for one to be made.
async fn stay_warm(desk: Rc<Desk>, live: Live) {
    loop {
        live.warm(&desk.options.markets).await;
        desk.clock.sleep(WARM).await;
    }
}

/// Runs the account: checks its key, reconciles until it is ready, and again from time to time.
pub(crate) async fn keep(desk: Rc<Desk>) {
    let Some(live) = live(&desk) else { return };
    for market in &desk.options.markets {
        live.measure_clock(*market).await;
    }
    crate::alive::spawn(stay_warm(desk.clone(), live.clone()));
    // What was in the journal without an answer may have been sent before the process was killed.
    let pending: Vec<OrderId> = {
        let state = desk.state.borrow();
        let open = state.ledger.open_orders();
        open.filter(|order| order.status == OrderStatus::Pending)
            .map(|order| order.id)
            .collect()
    };
    for id in pending {
        desk.tell(id, &OrderNews::new(Word::Lost, desk.now()));
        find_out(&desk, id);
    }
    // The key's epoch for which it is known.
    let mut permitted = None;
    let mut wait = Duration::from_millis(500);
    loop {
        let epoch = live.keys.epoch();
        let result = match permitted == Some(epoch) {
            true => Ok(()),
            false => permissions(&desk).await,
        };
        let result = match result {
            Ok(()) => {
                permitted = Some(epoch);
                reconcile(&desk).await
            }
            Err(error) => Err(error),
        };
        if live.keys.epoch() != epoch {
            // What was found out is what the key before was told.
            continue;
        }
        let pause = match result {
            Ok(()) => {
                wait = Duration::from_millis(500);
                settle(&desk);
                desk.options.reconcile
            }
            Err(error) => {
                tracing::warn!(provider = desk.provider.name(), account = %desk.options.name, %error,
                    "the account could not be reconciled");
                desk.state.borrow_mut().readiness = Readiness::NotReady(error.message.clone());
                wait = (wait * 2).min(Duration::from_secs(30));
                wait
            }
        };
        let mut slept = Duration::ZERO;
        while slept < pause {
            let step = Duration::from_millis(250).min(pause - slept);
            desk.clock.sleep(step).await;
            slept += step;
            // A private stream came back: what was missed is asked for now, not at the next turn.
            if std::mem::take(&mut desk.state.borrow_mut().stats.wants_reconciliation) {
                break;
            }
        }
    }
}

/// Ready when the streams are up too.
fn settle(desk: &Desk) {
    let mut state = desk.state.borrow_mut();
    let routes = desk.venue().map_or(&[][..], |venue| venue.private_routes());
    let down = routes
        .iter()
        .zip(&state.streams_up)
        .find(|(route, is_up)| !**is_up && desk.options.uses(route.markets));
    state.readiness = match down {
        // A stream came up in between: what it missed has not been asked for yet.
        None if state.stats.wants_reconciliation => return,
        None => Readiness::Ready,
        Some((route, _)) => Readiness::NotReady(format!("the {} stream is not up", route.name)),
    };
}
