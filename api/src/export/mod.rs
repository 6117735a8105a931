//! Stored rows as files: one page of one instrument at a time, so that memory stays bounded however
//! much is stored.
//!
//! Rows come sorted by entity id, then by time, then by trade id: that is how the store has them, and
//! how files are smallest and fastest to filter. Columns are those of the public schema; what the
//! store does not know is null: the `name` of an instrument, and `turnover_rate`.
//! Formats: [`sink`]. Why they are as they are: `docs/decisions/012-export.md`.

#[cfg(feature = "parquet")]
mod parquet;
pub mod sink;

use std::io::Write;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::store::{
    BOOK_LEVELS_MAX, BookQuery, BookRow, Entity, FundingQuery, FundingRow, KlineQuery, KlineRow,
    Order, StoreError, StoreReader, TimeWindow, TradeQuery, TradeRow,
};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::{BookView, FundingView, KlineView, TableRow, TradeView};

use crate::rest::schema::Schema;
use crate::rest::series::previous_closes;
use sink::Sink;

/// Rows of a page; a book has up to ten thousand levels, the others a dozen numbers.
const PAGE: usize = 50_000;
const PAGE_BOOKS: usize = 500;

/// Why an export does not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store can't be read.
    #[error("can't read the store: {0}")]
    Store(#[from] StoreError),
    /// The file can't be written.
    #[error("can't write: {0}")]
    Write(#[from] std::io::Error),
    /// A number that the format can't hold.
    #[error(
        "{row}: {column} is {value}, and a Parquet file has it as DECIMAL(38,{scale}): it would \
         lose digits; --format csv holds any number"
    )]
    DoesNotFit {
        /// Id of the row.
        row: String,
        /// Name of the column.
        column: &'static str,
        /// The number.
        value: String,
        /// Digits behind the point that the column has.
        scale: u32,
    },
    /// The format's writer refuses.
    #[error("can't write Parquet: {0}")]
    Format(String),
    /// It was told to stop.
    #[error("interrupted: nothing was written")]
    Interrupted,
}

/// What is exported.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of which kind; one of [`schemas`].
    pub schema: Schema,
    /// Whose rows, in this order.
    pub entities: Vec<Entity>,
    /// Earliest row, inclusive; `None`: the first.
    pub start: Option<TsNanos>,
    /// Latest row, inclusive; `None`: the last.
    pub end: Option<TsNanos>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows so far.
    pub rows: u64,
    /// Instruments that are done.
    pub entities_done: usize,
}

/// The schemas whose rows are stored.
pub fn schemas() -> impl Iterator<Item = Schema> {
    Schema::all().filter(|schema| !matches!(schema, Schema::Asset | Schema::Instruments(_)))
}

/// The columns of a schema that is stored.
#[must_use]
pub fn columns(schema: Schema) -> &'static [&'static str] {
    match schema {
        Schema::Klines(..) => KlineView::COLUMNS,
        Schema::Trades => TradeView::COLUMNS,
        Schema::Funding => FundingView::COLUMNS,
        Schema::Orderbook => BookView::COLUMNS,
        Schema::Asset | Schema::Instruments(_) => &[],
    }
}

/// The market of an entity id.
fn market(entity_id: &str) -> Option<Market> {
    [Market::Spot, Market::Perp].into_iter().find(|market| {
        entity_id
            .strip_prefix(market.entity_type())
            .is_some_and(|rest| rest.starts_with('_'))
    })
}

/// Those of the `stored` entities of a provider that `texts` name; all that can have such rows when
/// there are no texts. A code without more means the spot pair where both have rows.
///
/// # Errors
/// A text that names none of them, or several, in words for the user.
pub fn choose(
    schema: Schema,
    stored: Vec<Entity>,
    texts: &[String],
) -> Result<Vec<Entity>, String> {
    let wanted = match schema {
        Schema::Klines(market, _) => Some(market),
        Schema::Funding => Some(Market::Perp),
        _ => None,
    };
    let all: Vec<Entity> = stored
        .into_iter()
        .filter(|entity| wanted.is_none() || market(&entity.entity_id) == wanted)
        .collect();
    if texts.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for text in texts {
        let found = matching(&all, text);
        match found.as_slice() {
            [one] => chosen.push(Entity::clone(one)),
            [] => {
                let some: Vec<&str> = all.iter().take(20).map(|e| e.entity_id.as_str()).collect();
                return Err(format!(
                    "the store has no rows of `{text}` for this schema and provider; it has {}{}",
                    if some.is_empty() {
                        "none at all".to_owned()
                    } else {
                        some.join(", ")
                    },
                    if all.len() > some.len() {
                        format!(" and {} more", all.len() - some.len())
                    } else {
                        String::new()
                    }
                ));
            }
            many => {
                let ids: Vec<&str> = many.iter().map(|e| e.entity_id.as_str()).collect();
                return Err(format!(
                    "`{text}` can be {}: name one with --entity-ids",
                    ids.join(" or ")
                ));
            }
        }
    }
    chosen.sort_unstable_by(|a, b| a.entity_id.cmp(&b.entity_id));
    chosen.dedup();
    Ok(chosen)
}

/// The entities that a text can mean: an entity id, or a code in any usual spelling.
fn matching<'a>(all: &'a [Entity], text: &str) -> Vec<&'a Entity> {
    let key = text.trim().to_lowercase();
    if let Some(entity) = all.iter().find(|entity| entity.entity_id == key) {
        return vec![entity];
    }
    // `btc/usdt:usdt`, `btc-usdt-swap` and `btcusdt-perp` are perpetuals. A code has no separators.
    let (stem, is_perp) = match key.split_once(':') {
        Some((stem, _)) => (stem, true),
        None => match ["-perp", "-swap"]
            .iter()
            .find_map(|end| key.strip_suffix(end))
        {
            Some(stem) => (stem, true),
            None => (key.as_str(), false),
        },
    };
    let code: String = stem.chars().filter(|c| !"-_/".contains(*c)).collect();
    let of = |wanted: Option<Market>| -> Vec<&'a Entity> {
        all.iter()
            .filter(|entity| entity.code == code)
            .filter(|entity| wanted.is_none() || market(&entity.entity_id) == wanted)
            .collect()
    };
    match of(Some(if is_perp { Market::Perp } else { Market::Spot })) {
        found if found.is_empty() && !is_perp => of(None),
        found => found,
    }
}

/// Writes the selected rows to the sink, and says how many. `progress` is told after each page, and
/// can stop it.
///
/// # Errors
/// [`ExportError`]; what was written so far is no whole file then.
pub fn write<W: Write + Send>(
    reader: &dyn StoreReader,
    provider: ProviderId,
    selection: &Selection,
    sink: &mut Sink<W>,
    progress: &mut dyn FnMut(Progress) -> Result<(), ExportError>,
) -> Result<u64, ExportError> {
    let mut rows = 0u64;
    for (entities_done, entity) in selection.entities.iter().enumerate() {
        let mut told = |count: usize| {
            rows += count as u64;
            progress(Progress {
                rows,
                entities_done,
            })
        };
        let provider = provider.name().to_owned();
        let entity_ids = vec![entity.entity_id.clone()];
        let window = window(selection);
        match selection.schema {
            Schema::Klines(_, level) => {
                let query = KlineQuery {
                    provider,
                    entity_ids,
                    level,
                    window,
                };
                klines(reader, query, sink, &mut told)?;
            }
            Schema::Trades => {
                let mut query = TradeQuery {
                    provider,
                    entity_ids,
                    window,
                    side: None,
                    min_volume: None,
                };
                pages(
                    window,
                    PAGE,
                    |row: &TradeRow| row.ts,
                    |window| {
                        query.window = window;
                        reader.trades(&query)
                    },
                    |page| {
                        sink.page(page.iter().map(TradeView))?;
                        told(page.len())
                    },
                )?;
            }
            Schema::Funding => {
                let mut query = FundingQuery {
                    provider,
                    entity_ids,
                    window,
                    funding_interval_hours: None,
                };
                pages(
                    window,
                    PAGE,
                    |row: &FundingRow| row.ts,
                    |window| {
                        query.window = window;
                        reader.funding(&query)
                    },
                    |page| {
                        sink.page(page.iter().map(FundingView))?;
                        told(page.len())
                    },
                )?;
            }
            Schema::Orderbook => {
                let mut query = BookQuery {
                    provider,
                    entity_ids,
                    window,
                    depth: BOOK_LEVELS_MAX,
                };
                pages(
                    window,
                    PAGE_BOOKS,
                    |row: &BookRow| row.ts,
                    |window| {
                        query.window = window;
                        reader.books(&query)
                    },
                    |page| {
                        sink.page(page.iter().map(BookView))?;
                        told(page.len())
                    },
                )?;
            }
            // Lists of instruments are not stored.
            Schema::Asset | Schema::Instruments(_) => {}
        }
    }
    Ok(rows)
}

/// The whole selection as a window that is read from its start.
fn window(selection: &Selection) -> TimeWindow {
    TimeWindow {
        // Without a start a window means the latest rows.
        start: Some(selection.start.unwrap_or(TsNanos(i64::MIN))),
        end: selection.end,
        limit: 0,
        order: Order::Ascending,
    }
}

/// Bars, each with the close before it.
fn klines<W: Write + Send>(
    reader: &dyn StoreReader,
    mut query: KlineQuery,
    sink: &mut Sink<W>,
    told: &mut dyn FnMut(usize) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let base = query.clone();
    let mut last: Option<KlineRow> = None;
    pages(
        query.window,
        PAGE,
        |row: &KlineRow| row.ts,
        |window| {
            query.window = window;
            reader.klines(&query)
        },
        |page| {
            let older = last.take().into_iter().collect();
            let closes = previous_closes(reader, &base, &page, older)?;
            let rows = page.iter().zip(closes);
            sink.page(rows.map(|(row, previous_close)| KlineView {
                row,
                name: "",
                previous_close,
            }))?;
            let count = page.len();
            last = page.into_iter().next_back();
            told(count)
        },
    )
}

/// Reads a series of one entity page after page, each from where the one before ended. An instant is
/// never cut in two: its rows are in one page, which is larger than `size` where it has to be.
fn pages<R>(
    window: TimeWindow,
    size: usize,
    at: fn(&R) -> TsNanos,
    mut read: impl FnMut(TimeWindow) -> Result<Vec<R>, StoreError>,
    mut take: impl FnMut(Vec<R>) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut window = TimeWindow {
        limit: size,
        ..window
    };
    loop {
        let mut page = read(window)?;
        let is_full = page.len() >= window.limit;
        if let Some(last) = page.last().map(at).filter(|_| is_full) {
            let whole = page.partition_point(|row| at(row) < last);
            if whole == 0 {
                window.limit = window.limit.saturating_mul(2);
                continue;
            }
            page.truncate(whole);
            window.start = Some(last);
            window.limit = size;
        }
        take(page)?;
        if !is_full {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
