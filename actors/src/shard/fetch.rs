//! What was missed on a stream and can be had by request: bars and trades.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use bookwire_engine::event::{Kline, Trade, TradeId};
use bookwire_engine::exchange::levels::history_level;
use bookwire_engine::exchange::{DecodeError, PageRequest};
use bookwire_engine::instrument::{Instrument, InstrumentId};
use bookwire_engine::kline::{MissedBars, PartsNeeded, TradesNeeded};
use bookwire_engine::store::{Series, Span};
use bookwire_engine::time::{Level, TsNanos};

use super::ShardShared;
use crate::history::bars::BarRequests;
use crate::history::pages::Pages;
use crate::history::store;
use crate::recorder::Recorder;
use crate::rest_client::RestError;
use crate::rest_client::budget::Priority;
use crate::state::ShardState;

/// Rows in a page; all exchanges allow as many.
const PAGE: u32 = 1000;
/// Pages that bars are worth; the gate forgets older ones anyway.
const BAR_PAGES: usize = 8;
/// Pages that trades which were missed are worth.
const MISSED_PAGES: usize = 50;
/// Pages that the trades of a bar's beginning are worth.
const TRADE_PAGES: usize = 5;
/// Attempts of a page.
const TRIES: u32 = 3;
/// What ended less than this ago may not be final at the exchange yet; its answers may be as old.
const SETTLE: Duration = Duration::from_secs(2);

/// Fetches bars that ended without their closing message and takes them through the gate, whatever
/// comes of it: bars that wait for them must not wait for ever.
pub(super) async fn bars(
    shared: ShardShared,
    state: Rc<RefCell<ShardState>>,
    id: InstrumentId,
    level: Level,
    missed: MissedBars,
) {
    let span = Span {
        start: missed.first,
        end: TsNanos(missed.last.0.saturating_add(level.nanos())),
    };
    settle(&shared, span.end).await;
    let (bars, is_complete) = closed(&shared, &state, id, level, span).await;
    let mut state = state.borrow_mut();
    if !is_complete {
        state.give_up_bars(id, level);
    }
    state.on_bars(id, level, &bars);
}

/// Fetches the shorter bars that a longer one began with before its stream did.
pub(super) async fn parts(
    shared: ShardShared,
    state: Rc<RefCell<ShardState>>,
    id: InstrumentId,
    level: Level,
    from: Level,
    needed: PartsNeeded,
) {
    // The shorter bar before the first known one may have ended just now.
    settle(&shared, needed.before).await;
    let span = Span {
        start: needed.from,
        end: needed.before,
    };
    let (bars, is_complete) = closed(&shared, &state, id, from, span).await;
    let bars = is_complete.then_some(&bars[..]);
    state.borrow_mut().on_parts(id, level, needed, bars);
}

/// Waits until what ended at a time can be taken for final.
async fn settle(shared: &ShardShared, end: TsNanos) {
    let since = shared.clock.now().0.saturating_sub(end.0);
    let since = Duration::from_nanos(u64::try_from(since).unwrap_or(0));
    shared.clock.sleep(SETTLE.saturating_sub(since)).await;
}

/// Closed bars of a span, and whether these are all.
async fn closed(
    shared: &ShardShared,
    state: &Rc<RefCell<ShardState>>,
    id: InstrumentId,
    level: Level,
    span: Span,
) -> (Vec<Kline>, bool) {
    let instrument = state.borrow().table().get(id).cloned();
    let Some(instrument) = instrument else {
        return (Vec::new(), false);
    };
    let exchange = instrument.spec.provider.exchange();
    if history_level(exchange, &instrument, level).is_none() {
        return (Vec::new(), false);
    }
    let requests = BarRequests {
        rest: &shared.rest,
        instrument: &instrument,
        priority: Priority::Live,
        now: shared.clock.now(),
    };
    match requests.all(level, span, BAR_PAGES).await {
        Ok(found) => (found.bars, found.reached >= span.end),
        Err(error) => {
            let symbol = instrument.stream_symbol();
            tracing::warn!(%symbol, %level, %error, "missed bars not fetched");
            (Vec::new(), false)
        }
    }
}

/// Fetches the trades that a bar began with before its stream did.
pub(super) async fn first_trades(
    shared: ShardShared,
    state: Rc<RefCell<ShardState>>,
    id: InstrumentId,
    needed: TradesNeeded,
) {
    // Answers may be a second old, and must show the trade that the stream began with.
    shared.clock.sleep(SETTLE).await;
    let instrument = state.borrow().table().get(id).cloned();
    let mut found = None;
    if let Some(instrument) = instrument {
        match trades_before(&shared, &instrument, needed).await {
            Ok(trades) => found = trades,
            Err(error) => tracing::warn!(
                symbol = %instrument.stream_symbol(), %error, "first trades of a bar not fetched"
            ),
        }
    }
    state
        .borrow_mut()
        .on_first_trades(id, needed, found.as_deref());
}

/// All trades from a time on that came before a certain one; `None` when the exchange does not
/// show them all. Pages are read backwards until one reaches to before that time: that it is not
/// full would prove nothing, for exchanges have limits of their own.
async fn trades_before(
    shared: &ShardShared,
    instrument: &Instrument,
    needed: TradesNeeded,
) -> Result<Option<Vec<Trade>>, RestError> {
    let mut all: Vec<Trade> = Vec::new();
    let mut known: AHashSet<TradeId> = AHashSet::new();
    let mut end = None;
    for _ in 0..TRADE_PAGES {
        let page = PageRequest {
            end,
            limit: PAGE,
            ..PageRequest::default()
        };
        let mut trades = trade_page(shared, instrument, page, Priority::Live).await?;
        let Some(first) = trades.first().map(|trade| trade.ts_event) else {
            return Ok(None);
        };
        trades.retain(|trade| known.insert(trade.trade_id));
        if trades.is_empty() {
            return Ok(None);
        }
        trades.append(&mut all);
        all = trades;
        if first < needed.from {
            let shown = all.iter().position(|trade| trade.trade_id == needed.before);
            return Ok(shown.map(|shown| {
                all.truncate(shown);
                all.retain(|trade| trade.ts_event >= needed.from);
                all
            }));
        }
        end = Some(first);
    }
    Ok(None)
}

/// Fetches trades that the stream lacked, for the store only: subscribers are never told old news.
/// By number from the last one on where the exchange can be asked so, else by time or the newest, at
/// once, for they are soon out of reach; what the answers prove to be complete is promised.
pub(super) async fn trades(
    shared: ShardShared,
    instrument: Arc<Instrument>,
    span: Span,
    after: Option<u64>,
) {
    let Some(recorder) = shared.recorder.clone() else {
        return;
    };
    let by_id = PageRequest {
        from_id: Some(0),
        limit: 1,
        ..PageRequest::default()
    };
    let exchange = instrument.spec.provider.exchange();
    if exchange.trade_request(&instrument, by_id).is_none() {
        let _ = missed(&shared, &recorder, &instrument, span, None).await;
    }
    // Answers may be a second old, and must show the trade that the stream went on with.
    shared.clock.sleep(SETTLE).await;
    let hint = after.map(|last| (span.start, last.saturating_add(1)));
    let left = missed(&shared, &recorder, &instrument, span, hint).await;
    if !left.is_empty() {
        // What comes of it can wait, and the exchange may be away for long.
        shared.backfill.go_on(instrument, Series::Trades, left);
    }
}

/// Fetches the trades of a span; what is left of it when that fails, or they are too many.
async fn missed(
    shared: &ShardShared,
    recorder: &Recorder,
    instrument: &Arc<Instrument>,
    span: Span,
    hint: Option<(TsNanos, u64)>,
) -> Span {
    let mut pages = Pages {
        rest: &shared.rest,
        instrument,
        series: Series::Trades,
        priority: Priority::Background,
        quarantine: &shared.quarantine,
        now: shared.clock.now(),
        hint,
    };
    let mut left = span;
    for _ in 0..MISSED_PAGES {
        if left.is_empty() {
            break;
        }
        let fetched = match pages.fetch(left).await {
            Ok(page) => {
                let reached = page.reached;
                let stored = store(recorder, instrument, Series::Trades, page).await;
                stored.map(|()| left.start = reached)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = fetched {
            let symbol = instrument.stream_symbol();
            tracing::warn!(%symbol, ?left, %error, "missed trades not fetched yet");
            break;
        }
    }
    left
}

async fn trade_page(
    shared: &ShardShared,
    instrument: &Instrument,
    page: PageRequest,
    priority: Priority,
) -> Result<Vec<Trade>, RestError> {
    let (provider, market) = (instrument.spec.provider, instrument.spec.market);
    let exchange = provider.exchange();
    let Some(request) = exchange.trade_request(instrument, page) else {
        return Ok(Vec::new());
    };
    let body = shared
        .rest
        .get(provider, market, request, priority, TRIES)
        .await?;
    exchange
        .parse_trades(instrument, &mut Vec::from(body))
        .map_err(|error| unreadable(instrument, error))
}

fn unreadable(instrument: &Instrument, error: DecodeError) -> RestError {
    let spec = &instrument.spec;
    RestError::Decode {
        host: spec.provider.exchange().rest_host(spec.market).0.to_owned(),
        error,
    }
}
