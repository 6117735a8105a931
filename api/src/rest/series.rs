//! Time series out of the store: closed bars, trades, settled funding, books. Runs on threads that may
//! block.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::event::Side;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, InstrumentTable, Market, Scope, SymbolError};
use bookwire_engine::store::{
    BookQuery, BookRow, Entity, FundingQuery, FundingRow, KlineQuery, KlineRow, Order, Series,
    Span, StoreError, StoreReader, TimeWindow, TradeQuery, TradeRow,
};
use bookwire_engine::time::{Level, TsNanos};
use bookwire_engine::wire::{FundingView, KlineView, OrderbookView, TradeView};
use rust_decimal::Decimal;

use super::answer::{Listing, Shape};
use super::entities::{self, Served};
use super::params::Params;
use super::schema::Schema;

/// What is asked of a time series, parameters checked and symbols resolved.
#[derive(Clone, Debug)]
pub struct SeriesRequest {
    /// Source of the data.
    pub provider: ProviderId,
    /// Whose rows.
    pub instruments: Vec<Arc<Instrument>>,
    /// The request names its instruments; without names everything stored is meant and nothing is
    /// fetched.
    pub is_named: bool,
    /// Which part.
    pub window: TimeWindow,
    /// Trades with this taker side only.
    pub side: Option<Side>,
    /// Trades of at least this quantity only.
    pub min_volume: Option<Decimal>,
    /// Funding with this interval only.
    pub funding_interval_hours: Option<u32>,
    /// What is told besides the rows.
    pub warnings: Vec<String>,
}

impl SeriesRequest {
    /// Reads the parameters of a time series of `schema`.
    ///
    /// # Errors
    /// A parameter that is wrong, or none of the symbols exists.
    pub fn read(
        schema: Schema,
        (table, served): (&InstrumentTable, &Served),
        params: &Params,
        shape: &Shape,
    ) -> Result<Self, CryptoError> {
        let provider = params.provider_required()?;
        let (start, end) = (
            params.time("start_timestamp")?,
            params.time("end_timestamp")?,
        );
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            return Err(CryptoError::invalid_parameter(
                "start_timestamp",
                params.text("start_timestamp")?.unwrap_or_default(),
                "an instant that is not after end_timestamp",
            ));
        }
        let orders = [
            ("timestamp_asc", Order::Ascending),
            ("timestamp_desc", Order::Descending),
        ];
        let sides = [("buy", Side::Buy), ("sell", Side::Sell)];
        let window = TimeWindow {
            start,
            end,
            limit: shape.limit,
            order: params.choice("order", &orders)?.unwrap_or_default(),
        };
        let hours = params.integer("funding_interval_hours")?;
        let side = params.choice("side", &sides)?;
        let min_volume = params.decimal("min_volume")?;
        entities::require_loaded(table, served, Some(provider), market_of(schema))?;
        let (instruments, is_named, warnings) = resolve(schema, table, provider, params)?;
        Ok(Self {
            provider,
            instruments,
            is_named,
            window,
            side,
            min_volume,
            funding_interval_hours: hours.and_then(|hours| u32::try_from(hours).ok()),
            warnings,
        })
    }

    /// Only some of the trades are wanted.
    #[must_use]
    pub const fn is_filtered(&self) -> bool {
        self.side.is_some() || self.min_volume.is_some()
    }

    /// The store's query of bars. One bar more of each instrument is asked for on the older side:
    /// the first bar's change is against the bar before it.
    #[must_use]
    pub fn kline_query(&self, level: Level) -> KlineQuery {
        let start = self.window.start;
        KlineQuery {
            provider: self.provider.name().to_owned(),
            entity_ids: self.entity_ids(),
            level,
            window: TimeWindow {
                start: start.map(|start| TsNanos(start.0.saturating_sub(level.nanos()))),
                limit: self.window.limit.saturating_add(self.instruments.len()),
                ..self.window
            },
        }
    }

    /// The store's query of trades.
    #[must_use]
    pub fn trade_query(&self) -> TradeQuery {
        TradeQuery {
            provider: self.provider.name().to_owned(),
            entity_ids: self.entity_ids(),
            window: self.window,
            side: self.side,
            min_volume: self.min_volume,
        }
    }

    /// The store's query of books.
    #[must_use]
    pub fn book_query(&self, depth: usize) -> BookQuery {
        BookQuery {
            provider: self.provider.name().to_owned(),
            entity_ids: self.entity_ids(),
            window: self.window,
            depth,
        }
    }

    /// The store's query of funding.
    #[must_use]
    pub fn funding_query(&self) -> FundingQuery {
        FundingQuery {
            provider: self.provider.name().to_owned(),
            entity_ids: self.entity_ids(),
            window: self.window,
            funding_interval_hours: self.funding_interval_hours,
        }
    }

    /// Ids of the instruments.
    #[must_use]
    pub fn entity_ids(&self) -> Vec<String> {
        self.instruments.iter().map(|row| row.entity_id()).collect()
    }
}

/// The only market whose instruments have such rows.
const fn market_of(schema: Schema) -> Option<Market> {
    match schema {
        Schema::Klines(market, _) => Some(market),
        Schema::Funding => Some(Market::Perp),
        _ => None,
    }
}

/// The instruments that a request means, whether it names them, and what to warn of.
type Resolved = (Vec<Arc<Instrument>>, bool, Vec<String>);

fn resolve(
    schema: Schema,
    table: &InstrumentTable,
    provider: ProviderId,
    params: &Params,
) -> Result<Resolved, CryptoError> {
    let market = market_of(schema);
    let exchange = entities::exchange(params, table)?;
    let scope = Scope {
        provider: Some(provider),
        exchange: exchange.as_deref(),
        market,
    };
    let texts: Vec<&str> = params
        .list("codes")?
        .into_iter()
        .chain(params.list("entity_ids")?)
        .collect();
    if texts.is_empty() {
        let all = table.iter().filter(|row| {
            row.spec.provider == provider
                && market.is_none_or(|market| market == row.spec.market)
                && exchange
                    .as_ref()
                    .is_none_or(|exchange| *exchange == row.spec.exchange)
        });
        return Ok((all.cloned().collect(), false, Vec::new()));
    }
    let mut found: BTreeMap<_, Arc<Instrument>> = BTreeMap::new();
    let mut missing: Vec<CryptoError> = Vec::new();
    for text in texts {
        match table.resolve(text, scope) {
            Ok(row) => {
                found.insert(row.id, Arc::clone(row));
            }
            Err(error @ SymbolError::NotListed { .. }) => {
                missing.push(not_listed(schema, table, scope, text, error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if found.is_empty() {
        let names: Vec<&str> = missing.iter().map(|error| error.message.as_str()).collect();
        if let Some(first) = missing.first() {
            return Err(match names.as_slice() {
                [_] => first.clone(),
                _ => first.clone().with("not_listed", names),
            });
        }
    }
    let warnings = missing.into_iter().map(|error| error.message).collect();
    Ok((found.into_values().collect(), true, warnings))
}

/// A spot pair is listed, but has no funding: that is another answer than a pair that is not.
fn not_listed(
    schema: Schema,
    table: &InstrumentTable,
    scope: Scope<'_>,
    text: &str,
    error: SymbolError,
) -> CryptoError {
    let spot = Scope {
        market: Some(Market::Spot),
        ..scope
    };
    match table.resolve(text, spot) {
        Ok(row) if schema == Schema::Funding => CryptoError::new(
            CryptoCode::FundingRateMissing,
            format!("`{}` is a spot pair and has no funding", row.code),
        )
        .with("symbol", text)
        .with("entity_id", row.entity_id()),
        _ => error.into(),
    }
}

/// Refuses unknown columns before anything is fetched.
///
/// # Errors
/// A name that the schema does not have.
pub fn check_columns(schema: Schema, shape: &Shape) -> Result<(), CryptoError> {
    match schema {
        Schema::Klines(..) => shape.columns::<KlineView<'_>>().map(drop),
        Schema::Trades => shape.columns::<TradeView<'_>>().map(drop),
        Schema::Funding => shape.columns::<FundingView<'_>>().map(drop),
        Schema::Asset | Schema::Instruments(_) | Schema::Orderbook => Ok(()),
    }
}

/// Answers `Crypto{Pair,Perp}…Kdata` out of the rows of [`SeriesRequest::kline_query`].
///
/// # Errors
/// An unknown column, or the store fails.
pub fn klines(
    reader: &dyn StoreReader,
    request: &SeriesRequest,
    level: Level,
    rows: Vec<KlineRow>,
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let columns = shape.columns::<KlineView<'_>>()?;
    let names: HashMap<String, String> = request
        .instruments
        .iter()
        .map(|row| (row.entity_id(), row.name()))
        .collect();
    let (rows, older) = without_older(rows, &request.window);
    let needs_previous = columns.names().any(|name| name == "change_pct");
    let previous = if needs_previous {
        previous_closes(reader, &request.kline_query(level), &rows, older).map_err(told)?
    } else {
        vec![None; rows.len()]
    };
    // Rows of an instrument come one after the other and share its entity.
    let mut last: Option<(&Arc<Entity>, &str)> = None;
    let name_of = |entity| match last {
        Some((of, name)) if Arc::ptr_eq(of, entity) => name,
        _ => {
            let name = names.get(&entity.entity_id).map_or("", String::as_str);
            last = Some((entity, name));
            name
        }
    };
    let entities = rows.iter().map(|row| &row.entity);
    let named: Vec<&str> = entities.map(name_of).collect();
    let rows = rows.iter().zip(previous).zip(named);
    let views: Vec<KlineView<'_>> = rows
        .map(|((row, previous_close), name)| KlineView {
            row,
            name,
            previous_close,
        })
        .collect();
    Ok(Listing::encode(
        shape,
        &columns,
        &views,
        |view| *view,
        request.warnings.clone(),
    ))
}

/// The rows that the window shows, and those that were only asked for to compare with.
fn without_older(mut rows: Vec<KlineRow>, window: &TimeWindow) -> (Vec<KlineRow>, Vec<KlineRow>) {
    let mut older = Vec::new();
    if let Some(start) = window.start
        && rows.iter().any(|row| row.ts < start)
    {
        (older, rows) = rows.into_iter().partition(|row| row.ts < start);
    }
    let surplus = rows.len().saturating_sub(window.limit);
    if surplus > 0 && window.start.is_none() && window.order == Order::Ascending {
        // The latest are wanted, and the oldest come first.
        let latest = rows.split_off(surplus);
        older.append(&mut rows);
        rows = latest;
    } else if surplus > 0 {
        let cut = rows.split_off(window.limit);
        if window.order == Order::Descending {
            older.extend(cut);
        }
    }
    (rows, older)
}

/// The close of the bar before each row, where it is known.
///
/// An older bar with an unknown stretch between is not the bar before: a quiet market leaves real
/// holes, history that nobody fetched leaves others, and only the store's promises tell them apart.
///
/// # Errors
/// The store fails.
pub fn previous_closes(
    reader: &dyn StoreReader,
    query: &KlineQuery,
    rows: &[KlineRow],
    mut older: Vec<KlineRow>,
) -> Result<Vec<Option<Decimal>>, StoreError> {
    let mut ascending: Vec<usize> = (0..rows.len()).collect();
    ascending.sort_by_key(|&at| rows[at].ts);
    older.sort_by_key(|row| row.ts);
    let mut last: HashMap<&str, (TsNanos, Decimal)> = older
        .iter()
        .map(|row| (row.entity.entity_id.as_str(), (row.ts, row.close)))
        .collect();
    let mut closes = vec![None; rows.len()];
    // Of a run of rows of one instrument only the first and the last are looked up.
    let mut run: Option<(&Arc<Entity>, (TsNanos, Decimal))> = None;
    for at in ascending {
        let row = &rows[at];
        let entity_id = row.entity.entity_id.as_str();
        let before = match run {
            Some((entity, before)) if Arc::ptr_eq(entity, &row.entity) => Some(before),
            _ => {
                if let Some((entity, before)) = run {
                    last.insert(entity.entity_id.as_str(), before);
                }
                last.get(entity_id).copied()
            }
        };
        let before = match before {
            Some(before) => Some(before),
            None => {
                let mut first = query.clone();
                first.entity_ids = vec![entity_id.to_owned()];
                first.window.start = Some(row.ts);
                let before = reader.klines_before(&first)?.pop();
                before.map(|row| (row.ts, row.close))
            }
        };
        if let Some((ts, close)) = before
            && is_neighbour(reader, query, ts, row)?
        {
            closes[at] = Some(close);
        }
        run = Some((&row.entity, (row.ts, row.close)));
    }
    Ok(closes)
}

fn is_neighbour(
    reader: &dyn StoreReader,
    query: &KlineQuery,
    before: TsNanos,
    row: &KlineRow,
) -> Result<bool, StoreError> {
    let next = TsNanos(before.0.saturating_add(query.level.nanos()));
    if next >= row.ts {
        return Ok(true);
    }
    let span = Span {
        start: next,
        end: row.ts,
    };
    let entity_id = &row.entity.entity_id;
    let series = Series::Klines(query.level);
    let missing = reader.missing(&query.provider, entity_id, series, span);
    Ok(missing?.is_empty())
}

/// Answers `CryptoTrade` out of the rows of [`SeriesRequest::trade_query`].
///
/// # Errors
/// An unknown column.
pub fn trades(
    request: &SeriesRequest,
    rows: &[TradeRow],
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let columns = shape.columns::<TradeView<'_>>()?;
    Ok(Listing::encode(
        shape,
        &columns,
        rows,
        TradeView,
        request.warnings.clone(),
    ))
}

/// Answers `CryptoOrderbook` out of the rows of [`SeriesRequest::book_query`].
///
/// # Errors
/// An unknown column.
pub fn books(
    request: &SeriesRequest,
    rows: &[BookRow],
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let columns = shape.columns::<OrderbookView<'_>>()?;
    let instruments: HashMap<String, &Instrument> = request
        .instruments
        .iter()
        .map(|row| (row.entity_id(), &**row))
        .collect();
    // All are there: nothing but the request's own entities was asked for.
    let rows: Vec<(&BookRow, &Instrument)> = rows
        .iter()
        .filter_map(|row| Some((row, *instruments.get(&row.entity.entity_id)?)))
        .collect();
    Ok(Listing::encode(
        shape,
        &columns,
        &rows,
        |(row, instrument)| OrderbookView {
            instrument,
            price_scale: row.price_scale,
            qty_scale: row.qty_scale,
            bids: &row.bids,
            asks: &row.asks,
            sequence: row.sequence,
            ts: row.ts,
        },
        request.warnings.clone(),
    ))
}

/// Answers `CryptoFunding` out of the rows of [`SeriesRequest::funding_query`].
///
/// # Errors
/// An unknown column.
pub fn funding(
    request: &SeriesRequest,
    rows: &[FundingRow],
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let columns = shape.columns::<FundingView<'_>>()?;
    Ok(Listing::encode(
        shape,
        &columns,
        rows,
        FundingView,
        request.warnings.clone(),
    ))
}

/// Clients are told what kind of failure it was, the log which file and what to do.
fn told(error: StoreError) -> CryptoError {
    tracing::error!(%error, "the store failed");
    error.into()
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
