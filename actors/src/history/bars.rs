//! Closed bars by request, of any level: the exchange's own, or added up from the longest level of
//! its history that divides the wanted one.

use bookwire_engine::event::Kline;
use bookwire_engine::exchange::levels::history_level;
use bookwire_engine::exchange::{DecodeError, HistoryOf, PageRequest};
use bookwire_engine::instrument::Instrument;
use bookwire_engine::kline::roll_up_closed;
use bookwire_engine::num::NumError;
use bookwire_engine::store::Span;
use bookwire_engine::time::{Level, TsNanos};

use crate::rest_client::budget::Priority;
use crate::rest_client::{RestClient, RestError};

/// Rows asked for; the adapter cuts it to what the exchange allows.
const PAGE: u32 = 1000;
/// Attempts of a page.
const TRIES: u32 = 3;

/// Bars that were found, ascending: all that exist up to `reached`.
pub(crate) struct Bars {
    pub(crate) bars: Vec<Kline>,
    /// Where the next page begins; the end of the span when there is none.
    pub(crate) reached: TsNanos,
}

/// Asks for bars of one instrument.
#[derive(Clone, Copy)]
pub(crate) struct BarRequests<'a> {
    pub(crate) rest: &'a RestClient,
    pub(crate) instrument: &'a Instrument,
    pub(crate) priority: Priority,
    /// Bars that end later are not final.
    pub(crate) now: TsNanos,
}

impl BarRequests<'_> {
    /// The first closed bars of a span. It reaches further than the span's start, so that a loop
    /// ends. A level of which there is no history has no bars.
    pub(crate) async fn page(&self, level: Level, span: Span) -> Result<Bars, RestError> {
        let exchange = self.instrument.spec.provider.exchange();
        let Some(from) = history_level(exchange, self.instrument, level) else {
            return Ok(Bars {
                bars: Vec::new(),
                reached: span.end,
            });
        };
        if from == level {
            return self.own(level, span).await;
        }
        // Whole bars: a page that ends amid one is not taken for all of it.
        let start = span.start.floor_to(level);
        let end = TsNanos(span.end.0.saturating_add(level.nanos() - 1)).floor_to(level);
        let mut parts = Vec::new();
        let mut at = start;
        while at < end && at.floor_to(level) == start {
            let page = self.own(from, Span { start: at, end }).await?;
            at = page.reached;
            parts.extend(page.bars);
        }
        let reached = at.floor_to(level);
        let mut bars = roll_up_closed(&parts, level, reached.min(self.now))
            .map_err(|error| self.too_large(&error.to_string()))?;
        bars.retain(|bar| span.start <= bar.open_time && bar.open_time < span.end);
        Ok(Bars {
            bars,
            reached: reached.min(span.end),
        })
    }

    /// All closed bars of a span, as far as `pages` pages lead.
    pub(crate) async fn all(
        &self,
        level: Level,
        span: Span,
        pages: usize,
    ) -> Result<Bars, RestError> {
        let mut found = Bars {
            bars: Vec::new(),
            reached: span.start,
        };
        for _ in 0..pages {
            if found.reached >= span.end {
                break;
            }
            let start = found.reached;
            let page = self.page(level, Span { start, ..span }).await?;
            found.bars.extend(page.bars);
            found.reached = page.reached;
        }
        Ok(found)
    }

    /// A page of the exchange's own bars.
    async fn own(&self, level: Level, span: Span) -> Result<Bars, RestError> {
        let spec = &self.instrument.spec;
        let exchange = spec.provider.exchange();
        let length = exchange.page_span(spec.market, HistoryOf::Klines(level));
        let end = length.map_or(span.end, |length| {
            span.end
                .min(TsNanos(span.start.0.saturating_add(length.max(1))))
        });
        let page = PageRequest {
            start: Some(span.start),
            end: Some(TsNanos(end.0.saturating_sub(1))),
            from_id: None,
            limit: PAGE,
        };
        let Some(request) = exchange.kline_request(self.instrument, level, page) else {
            return Ok(Bars {
                bars: Vec::new(),
                reached: span.end,
            });
        };
        let (provider, market) = (spec.provider, spec.market);
        let rest = self.rest;
        let body = rest.get(provider, market, request, self.priority, TRIES);
        let mut body = Vec::from(body.await?);
        let mut bars = exchange
            .parse_klines(self.instrument, level, &mut body, self.now)
            .map_err(|error| self.unreadable(error))?;
        let is_full = bars.len() >= PAGE as usize;
        let reached = match bars.last() {
            // Answers of this exchange say by their length that others follow.
            Some(last) if length.is_none() && is_full => {
                TsNanos(last.open_time.0.saturating_add(level.nanos()))
            }
            _ => end,
        };
        let within = |time: TsNanos| span.start <= time && time < span.end;
        bars.retain(|bar| bar.is_closed && within(bar.open_time));
        Ok(Bars {
            bars,
            reached: reached
                .max(TsNanos(span.start.0.saturating_add(1)))
                .min(span.end),
        })
    }

    fn too_large(&self, what: &str) -> RestError {
        tracing::warn!(symbol = %self.instrument.stream_symbol(), what, "bars don't add up");
        self.unreadable(DecodeError::Number {
            field: "volume",
            error: NumError::Overflow,
        })
    }

    fn unreadable(&self, error: DecodeError) -> RestError {
        let spec = &self.instrument.spec;
        RestError::Decode {
            host: spec.provider.exchange().rest_host(spec.market).0.to_owned(),
            error,
        }
    }
}
