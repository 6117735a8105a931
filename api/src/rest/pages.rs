//! Answers of many trades, sent page by page as the client takes them.
//!
//! A first look at the store finds out how many rows the result has and where each page begins; then each
//! page is read and encoded when its turn comes. What waits for clients is bounded for all of them
//! together ([`Shelf`]): a page that has to make room is read again when its client goes on.
//!
//! Trades are added while an answer is under way. Those after its last row are not in it. When others have
//! come to lie in the middle, or the store fails, the connection is cut off: an answer that ends is whole,
//! and has as many rows as its head said.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use actix_web::body::SizedStream;
use actix_web::http::{Method, Version};
use actix_web::{HttpRequest, HttpResponse};
use bookwire_actors::gateway::Gateway;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::store::{
    Entity, Order, StoreReader, TimeWindow, TradeId, TradeQuery, TradeRow,
};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::TradeView;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;

use super::answer::{Facts, Format, SLICE, Shape};
use super::data::in_time;

/// Rows of a page, and so of an answer that is built whole. Some half a megabyte as JSON.
pub(super) const PAGE: usize = 2_048;

/// Pages that wait for clients in memory, all answers together.
const PLACES: usize = 48;

/// Most rows that the instants of a page may have, those of its neighbours included.
const ROWS_MAX: usize = 1_000_000;

/// What sorts trades.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    ts: TsNanos,
    entity: Arc<Entity>,
    trade_id: TradeId,
}

impl Key {
    fn of(row: &TradeRow) -> Self {
        Self {
            ts: row.ts,
            entity: Arc::clone(&row.entity),
            trade_id: row.trade_id.clone(),
        }
    }

    /// Where a row is to this one, in the order of the answer.
    fn compare(&self, row: &TradeRow, order: Order) -> Ordering {
        let own = (self.ts, &self.entity, &self.trade_id);
        let found = (row.ts, &row.entity, &row.trade_id).cmp(&own);
        match order {
            Order::Ascending => found,
            Order::Descending => found.reverse(),
        }
    }
}

/// Where the pages of an answer begin.
#[derive(Debug)]
pub(super) struct Outline {
    query: TradeQuery,
    shape: Shape,
    facts: Facts,
    /// First rows of the pages, and how many rows each has.
    pages: Vec<(Key, usize)>,
    /// Last row of the last page.
    last: Key,
}

impl Outline {
    /// Of the whole result in the order asked; `None` when the page that is asked for is small enough to
    /// be built whole.
    pub(super) fn of(
        query: &TradeQuery,
        shape: &Shape,
        rows: &[TradeRow],
        warnings: &[String],
    ) -> Option<Self> {
        let slice = shape.slice(rows.len());
        if slice.len() <= PAGE || shape.is_bare {
            return None;
        }
        let facts = Facts {
            total: rows.len(),
            has_more: slice.end < rows.len(),
            warnings: warnings.to_vec(),
        };
        let rows = &rows[slice];
        let last = Key::of(rows.last()?);
        let pages = rows.chunks(PAGE).filter_map(|page| {
            let first = page.first()?;
            Some((Key::of(first), page.len()))
        });
        Some(Self {
            query: query.clone(),
            shape: shape.clone(),
            facts,
            pages: pages.collect(),
            last,
        })
    }

    /// Reads a page and encodes it, what stands before and after the rows included.
    fn page(&self, reader: &dyn StoreReader, index: usize) -> Result<Bytes, CryptoError> {
        let order = self.query.window.order;
        let changed = || {
            let text = "trades were added to the range while it was sent";
            CryptoError::new(CryptoCode::InternalError, text)
        };
        let (first, count) = self.pages.get(index).ok_or_else(changed)?;
        let next = self.pages.get(index + 1).map(|(key, _)| key);
        let (start, end) = match (order, next.unwrap_or(&self.last).ts) {
            (Order::Ascending, end) => (first.ts, end),
            (Order::Descending, start) => (start, first.ts),
        };
        let query = TradeQuery {
            window: TimeWindow {
                start: Some(start),
                end: Some(end),
                limit: ROWS_MAX,
                order,
            },
            ..self.query.clone()
        };
        let rows = reader.trades(&query)?;
        let is_inside = |row: &&TradeRow| {
            let is_after = first.compare(row, order) != Ordering::Less;
            is_after
                && match next {
                    Some(next) => next.compare(row, order) == Ordering::Less,
                    None => self.last.compare(row, order) != Ordering::Greater,
                }
        };
        let rows: Vec<&TradeRow> = rows.iter().filter(is_inside).collect();
        if rows.len() != *count {
            return Err(changed());
        }
        let is_last = next.is_none();
        self.encode(&rows, index == 0, is_last).map(Bytes::from)
    }

    fn encode(
        &self,
        rows: &[&TradeRow],
        is_first: bool,
        is_last: bool,
    ) -> Result<Vec<u8>, CryptoError> {
        let shape = &self.shape;
        let columns = shape.columns::<TradeView<'_>>()?;
        let mut out = Vec::with_capacity(256 + rows.len() * 320);
        match shape.format {
            Format::Csv => {
                if is_first {
                    bookwire_engine::wire::write_csv(&mut out, &columns, []);
                }
                for row in rows {
                    columns.write_csv(&mut out, &TradeView(row));
                }
            }
            Format::Json => {
                out.extend_from_slice(match is_first {
                    true => b"{\"data\":[",
                    false => b"",
                });
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 || !is_first {
                        out.push(b',');
                    }
                    columns.write_json(&mut out, &TradeView(row), shape.numbers);
                }
                if is_last {
                    out.push(b']');
                    out.extend_from_slice(shape.end(&self.facts).as_bytes());
                }
            }
        }
        Ok(out)
    }
}

/// A page's place. Empty: it had to make room.
type Place = Mutex<Option<Bytes>>;

/// Pages that wait for their clients: only so many, of all answers together. The one that has waited
/// longest makes room for a new one.
#[derive(Debug)]
pub struct Shelf {
    places: usize,
    pages: Mutex<VecDeque<Weak<Place>>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::with_places(PLACES)
    }
}

impl Shelf {
    /// A shelf of so many pages.
    #[must_use]
    pub fn with_places(places: usize) -> Self {
        Self {
            places: places.max(1),
            pages: Mutex::default(),
        }
    }

    fn put(&self, page: Bytes) -> Arc<Place> {
        let mut pages = self.pages.lock();
        pages.retain(|place| {
            let place = place.upgrade();
            place.is_some_and(|place| place.lock().is_some())
        });
        while pages.len() >= self.places {
            let Some(oldest) = pages.pop_front() else {
                break;
            };
            if let Some(place) = oldest.upgrade() {
                place.lock().take();
            }
        }
        let place = Arc::new(Place::new(Some(page)));
        pages.push_back(Arc::downgrade(&place));
        place
    }

    /// Pages on it now.
    #[must_use]
    pub fn len(&self) -> usize {
        let pages = self.pages.lock();
        let is_there = |place: &&Weak<Place>| {
            let place = place.upgrade();
            place.is_some_and(|place| place.lock().is_some())
        };
        pages.iter().filter(is_there).count()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An answer under way.
struct Sending {
    gateway: Gateway,
    shelf: Arc<Shelf>,
    outline: Arc<Outline>,
    index: usize,
    /// Bytes of the page that the connection has, and all of them.
    sent: usize,
    size: usize,
    place: Arc<Place>,
}

impl Sending {
    async fn read(
        gateway: &Gateway,
        outline: &Arc<Outline>,
        index: usize,
    ) -> Result<Bytes, CryptoError> {
        let outline = Arc::clone(outline);
        let page = gateway.query_store(move |reader| Ok(outline.page(reader, index)));
        in_time(page).await?
    }

    async fn start(
        gateway: &Gateway,
        shelf: &Arc<Shelf>,
        outline: &Arc<Outline>,
    ) -> Result<Self, CryptoError> {
        let page = Self::read(gateway, outline, 0).await?;
        Ok(Self {
            gateway: gateway.clone(),
            shelf: Arc::clone(shelf),
            outline: Arc::clone(outline),
            index: 0,
            sent: 0,
            size: page.len(),
            place: shelf.put(page),
        })
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, CryptoError> {
        loop {
            if self.sent == self.size {
                self.index += 1;
                if self.index >= self.outline.pages.len() {
                    return Ok(None);
                }
                let page = Self::read(&self.gateway, &self.outline, self.index).await?;
                (self.sent, self.size) = (0, page.len());
                self.place = self.shelf.put(page);
            }
            if let Some(slice) = self.slice() {
                return Ok(Some(slice));
            }
            // It had to make room meanwhile.
            let page = Self::read(&self.gateway, &self.outline, self.index).await?;
            if page.len() != self.size {
                let text = "trades of the range were changed while it was sent";
                return Err(CryptoError::new(CryptoCode::InternalError, text));
            }
            self.place = self.shelf.put(page);
        }
    }

    fn slice(&mut self) -> Option<Bytes> {
        let mut place = self.place.lock();
        let page = place.as_ref()?;
        let end = self.size.min(self.sent + SLICE);
        let slice = page.slice(self.sent..end);
        self.sent = end;
        if end == self.size {
            *place = None;
        }
        Some(slice)
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> {
        stream::try_unfold(self, |mut sending| async move {
            match sending.next().await {
                Ok(slice) => Ok(slice.map(|slice| (slice, sending))),
                Err(error) => {
                    tracing::error!(%error, page = sending.index, "an answer was cut off");
                    Err(io::Error::other(error))
                }
            }
        })
    }
}

/// Answers `request` with the pages of an outline.
///
/// # Errors
/// The store fails before anything was sent.
pub(super) async fn respond(
    request: &HttpRequest,
    gateway: &Gateway,
    shelf: &Arc<Shelf>,
    outline: Outline,
) -> Result<HttpResponse, CryptoError> {
    let mut answer = outline.facts.head(outline.shape.format);
    let outline = Arc::new(outline);
    let is_head = request.method() == Method::HEAD;
    // Its only other way to tell an end is to close the connection, which a failure does too.
    let is_old = request.version() < Version::HTTP_11;
    if !is_head && !is_old {
        let sending = Sending::start(gateway, shelf, &outline).await?;
        return Ok(answer.streaming(sending.stream()));
    }
    let mut size = 0;
    for index in 0..outline.pages.len() {
        size += Sending::read(gateway, &outline, index).await?.len() as u64;
    }
    let sending = Sending::start(gateway, shelf, &outline).await?;
    Ok(answer.body(SizedStream::new(size, sending.stream())))
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
