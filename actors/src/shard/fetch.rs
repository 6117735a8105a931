//! What was missed on a stream and can be had by request: bars and trades.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bookwire_engine::event::{Kline, Trade};
use bookwire_engine::exchange::{DecodeError, PageRequest};
use bookwire_engine::instrument::{Instrument, InstrumentId};
use bookwire_engine::kline::MissedBars;
use bookwire_engine::store::{Entity, Row, TradeRow};
use bookwire_engine::time::{Level, TsNanos};

use super::ShardShared;
use crate::rest_client::RestError;
use crate::rest_client::budget::Priority;
use crate::state::ShardState;

/// Rows in a page; all exchanges allow as many.
const PAGE: u32 = 1000;
/// Pages that a gap of bars is worth; the gate forgets older bars anyway.
const BAR_PAGES: usize = 2;
/// Attempts of a page.
const TRIES: u32 = 3;

/// Fetches bars that ended without their closing message and takes them through the gate, whatever
/// comes of it: bars that wait for them must not wait for ever.
pub(super) async fn bars(
    shared: ShardShared,
    state: Rc<RefCell<ShardState>>,
    id: InstrumentId,
    level: Level,
    missed: MissedBars,
) {
    let instrument = state.borrow().table().get(id).cloned();
    let mut found = Vec::new();
    if let Some(instrument) = instrument {
        match fetch_bars(&shared, &instrument, level, missed).await {
            Ok(bars) => found = bars,
            Err(error) => tracing::warn!(
                symbol = %instrument.stream_symbol(), %level, %error, "missed bars not fetched"
            ),
        }
    }
    state.borrow_mut().on_bars(id, level, &found);
}

async fn fetch_bars(
    shared: &ShardShared,
    instrument: &Instrument,
    level: Level,
    missed: MissedBars,
) -> Result<Vec<Kline>, RestError> {
    let (provider, market) = (instrument.spec.provider, instrument.spec.market);
    let exchange = provider.exchange();
    let mut found: Vec<Kline> = Vec::new();
    let mut start = missed.first;
    for _ in 0..BAR_PAGES {
        let page = PageRequest {
            start: Some(start),
            end: Some(missed.last),
            from_id: None,
            limit: PAGE,
        };
        let Some(request) = exchange.kline_request(instrument, level, page) else {
            break;
        };
        let body = shared
            .rest
            .get(provider, market, request, Priority::Live, TRIES)
            .await?;
        let bars = exchange
            .parse_klines(instrument, level, &mut Vec::from(body), shared.clock.now())
            .map_err(|error| unreadable(instrument, error))?;
        let Some(last) = bars.last() else { break };
        start = TsNanos(last.open_time.0.saturating_add(level.nanos()));
        found.extend(bars);
        if start > missed.last {
            break;
        }
    }
    Ok(found)
}

/// Fetches trades that the stream skipped, for the store only: subscribers are never told old news.
pub(super) async fn trades(
    shared: ShardShared,
    instrument: Arc<Instrument>,
    first: u64,
    last: u64,
) {
    let Some(recorder) = shared.recorder.clone() else {
        return;
    };
    let entity = Entity::of(&instrument);
    let mut next = first;
    while next <= last {
        let trades = match fetch_trades(&shared, &instrument, next).await {
            Ok(trades) => trades,
            Err(error) => {
                tracing::warn!(
                    symbol = %instrument.stream_symbol(), from = next, to = last, %error,
                    "missed trades not fetched"
                );
                return;
            }
        };
        let Some(reached) = trades.last().and_then(|trade| trade.trade_id.number()) else {
            return;
        };
        let rows: Vec<Row> = trades
            .iter()
            .filter(|trade| {
                let number = trade.trade_id.number();
                number.is_some_and(|id| (first..=last).contains(&id))
            })
            .map(|trade| Row::Trade(TradeRow::new(&entity, &instrument, trade)))
            .collect();
        if let Err(error) = recorder.write(rows).await {
            tracing::warn!(symbol = %instrument.stream_symbol(), %error, "missed trades not stored");
            return;
        }
        if reached < next {
            return;
        }
        next = reached + 1;
    }
}

async fn fetch_trades(
    shared: &ShardShared,
    instrument: &Instrument,
    from_id: u64,
) -> Result<Vec<Trade>, RestError> {
    let (provider, market) = (instrument.spec.provider, instrument.spec.market);
    let exchange = provider.exchange();
    let page = PageRequest {
        from_id: Some(from_id),
        limit: PAGE,
        ..PageRequest::default()
    };
    let Some(request) = exchange.trade_request(instrument, page) else {
        return Ok(Vec::new());
    };
    let body = shared
        .rest
        .get(provider, market, request, Priority::Background, TRIES)
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
