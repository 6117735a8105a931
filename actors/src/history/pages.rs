//! Pages of an exchange's history.

use std::sync::Arc;

use bookwire_engine::error::CryptoError;
use bookwire_engine::event::{Kline, Trade};
use bookwire_engine::exchange::{DecodeError, HistoryOf, PageRequest, RestRequest};
use bookwire_engine::instrument::Instrument;
use bookwire_engine::quality::{self, Fault, NEIGHBOURS, NEIGHBOURS_MIN};
use bookwire_engine::store::{Entity, FundingRow, KlineRow, Row, Series, Span, TradeRow};
use bookwire_engine::time::{Level, TsNanos};
use bytes::Bytes;

use super::bars::{BarRequests, Bars};
use super::without;
use crate::quarantine::{Quarantine, Source};
use crate::rest_client::budget::Priority;
use crate::rest_client::{RestClient, RestError};

/// Rows asked for; the adapter cuts it to what the exchange allows.
const PAGE: u32 = 1000;
/// Attempts of a page.
const TRIES: u32 = 3;
/// Requests that finding the first trade of a span may cost: enough for ids below 2^40.
const PROBES: u32 = 45;
/// Spans up to this length are answered as asked by all exchanges (Binance: below an hour).
const CUT_NANOS: i64 = 3_500_000_000_000;

/// For how long exchanges keep trades at least (Binance USDⓈ-M by time: 24 hours).
const KEPT_NANOS: i64 = 23 * 3_600_000_000_000;

/// A page, ready to be stored.
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// What the rows are known to be complete for; empty when they are not.
    pub(crate) covered: Vec<Span>,
    /// Where the next page begins.
    pub(crate) reached: TsNanos,
}

/// Asks for pages of one series.
pub(crate) struct Pages<'a> {
    pub(crate) rest: &'a RestClient,
    pub(crate) instrument: &'a Arc<Instrument>,
    pub(crate) series: Series,
    pub(crate) priority: Priority,
    /// Bars are checked, and those that are not stored go there.
    pub(crate) quarantine: &'a Quarantine,
    /// Nothing after this is taken for final.
    pub(crate) now: TsNanos,
    /// From which id trades from this time on can be had, as far as it is known by now.
    pub(crate) hint: Option<(TsNanos, u64)>,
}

impl Pages<'_> {
    /// The first page of `span`. It reaches further than its start, so that a loop ends.
    pub(crate) async fn fetch(&mut self, span: Span) -> Result<Page, CryptoError> {
        let page = match self.series {
            Series::Klines(level) => self.klines(level, span).await?,
            Series::Funding => self.funding(span).await?,
            Series::Trades => self.trades(span).await?,
        };
        debug_assert!(page.reached > span.start);
        Ok(page)
    }

    async fn klines(&self, level: Level, span: Span) -> Result<Page, CryptoError> {
        let entity = Entity::of(self.instrument);
        let requests = BarRequests {
            rest: self.rest,
            instrument: self.instrument,
            priority: self.priority,
            now: self.now,
        };
        let (mut found, faults) = match self.quarantine.is_on() {
            true => self.judged(&requests, level, span).await?,
            false => {
                let found = requests.page(level, span).await?;
                let faults = vec![None; found.bars.len()];
                (found, faults)
            }
        };
        found.reached = found.reached.min(span.end);
        let in_quarantine = self.quarantine.spans(&entity, level, span);
        let mut refused = Vec::new();
        let mut rows = Vec::with_capacity(found.bars.len());
        for (bar, fault) in found.bars.iter().zip(faults) {
            if bar.open_time < span.start || bar.open_time >= found.reached {
                continue;
            }
            let Ok(row) = KlineRow::new(&entity, self.instrument, bar) else {
                continue;
            };
            match fault.or_else(|| self.quarantine.fault_of(&row)) {
                Some(fault) => {
                    let end = TsNanos(row.ts.0.saturating_add(level.nanos()));
                    refused.push(Span { start: row.ts, end });
                    let (source, now) = (Source::History, self.now);
                    self.quarantine.put(row, fault, source, now);
                }
                None => {
                    if in_quarantine.iter().any(|span| span.start == row.ts) {
                        self.quarantine.resolve(&entity, level, row.ts);
                    }
                    rows.push(Row::Kline(row));
                }
            }
        }
        let mut page = partly(rows, span, found.reached);
        page.covered = without(page.covered, &refused);
        Ok(page)
    }

    /// A page with what is wrong with its bars. Neighbours on both sides are asked for with it, to
    /// judge by. A bar near the end that others may excuse is left to the next page, where there is
    /// one.
    async fn judged(
        &self,
        requests: &BarRequests<'_>,
        level: Level,
        span: Span,
    ) -> Result<(Bars, Vec<Option<Fault>>), RestError> {
        let around = i64::try_from(NEIGHBOURS).unwrap_or(0) * level.nanos();
        let end = TsNanos(span.end.0.saturating_add(around));
        let wide = Span {
            start: TsNanos(span.start.0.saturating_sub(around)).max(TsNanos(0)),
            end: end.min(self.now.floor_to(level)).max(span.end),
        };
        let mut found = requests.page(level, wide).await?;
        if found.reached <= span.start {
            found = requests.page(level, span).await?;
        }
        let far = quality::outliers(&found.bars);
        let tail = found.bars.len().saturating_sub(NEIGHBOURS_MIN);
        let doubtful = (tail..found.bars.len()).find(|at| far[*at]);
        if let Some(at) = doubtful.filter(|_| found.reached < span.end)
            && found.bars[at].open_time > span.start
        {
            found.reached = found.bars[at].open_time;
        }
        let of = |(bar, is_outlier): (&Kline, bool)| {
            quality::impossible(self.instrument, bar)
                .or_else(|| is_outlier.then_some(Fault::Outlier))
        };
        let faults = found.bars.iter().zip(far).map(of).collect();
        Ok((found, faults))
    }

    async fn funding(&self, span: Span) -> Result<Page, CryptoError> {
        let exchange = self.instrument.spec.provider.exchange();
        let entity = Entity::of(self.instrument);
        let whole = self.whole(HistoryOf::Funding, span);
        let asked = self.page(whole.unwrap_or(span));
        let request = exchange.funding_request(self.instrument, asked);
        let Some(request) = request else {
            return Ok(done(Vec::new(), span));
        };
        let mut body = Vec::from(self.get(request).await?);
        let settled = exchange
            .parse_funding(self.instrument, &mut body)
            .map_err(|error| self.unreadable(error))?;
        let is_full = settled.len() >= PAGE as usize;
        let last = settled.last().map(|row| row.time);
        let rows = settled
            .iter()
            .filter(|row| span.start <= row.time && row.time < span.end)
            .map(|row| Row::Funding(FundingRow::new(&entity, self.instrument, row)))
            .collect();
        Ok(match (whole, last) {
            (Some(whole), _) => partly(rows, span, whole.end),
            (None, Some(last)) if is_full => partly(rows, span, TsNanos(last.0.saturating_add(1))),
            _ => done(rows, span),
        })
    }

    /// The beginning of a span that one answer tells whole; `None` where answers say themselves
    /// that more follows.
    fn whole(&self, series: HistoryOf, span: Span) -> Option<Span> {
        let spec = &self.instrument.spec;
        let length = spec.provider.exchange().page_span(spec.market, series)?;
        let end = TsNanos(span.start.0.saturating_add(length.max(1)));
        Some(Span {
            end: span.end.min(end),
            ..span
        })
    }

    async fn trades(&mut self, span: Span) -> Result<Page, CryptoError> {
        let exchange = self.instrument.spec.provider.exchange();
        if exchange
            .trade_request(self.instrument, from(0, 1))
            .is_none()
        {
            return self.recent_trades(span).await;
        }
        let page = self.trades_by_id(span).await?;
        // What an exchange no longer keeps looks like a time without trades.
        let is_old = self.now.0.saturating_sub(span.start.0) > KEPT_NANOS;
        Ok(match page.rows.is_empty() && is_old {
            true => Page {
                covered: Vec::new(),
                ..page
            },
            false => page,
        })
    }

    /// Where trades can't be asked for by id, only those of a page by time, or the newest ones, can
    /// be had: complete between the first and the last of them.
    async fn recent_trades(&self, span: Span) -> Result<Page, CryptoError> {
        let entity = Entity::of(self.instrument);
        let mut trades = self.by_time(span).await?;
        if trades.is_empty() {
            trades = self.newest_trades().await?;
        }
        let covered = match (trades.first(), trades.last()) {
            // Others of the first and the last instant may be missing.
            (Some(first), Some(last)) => vec![Span {
                start: TsNanos(first.ts_event.0.saturating_add(1)).max(span.start),
                end: last.ts_event.min(span.end),
            }],
            _ => Vec::new(),
        };
        let rows = trades
            .iter()
            .filter(|trade| span.start <= trade.ts_event && trade.ts_event < span.end)
            .map(|trade| Row::Trade(TradeRow::new(&entity, self.instrument, trade)))
            .collect();
        Ok(Page {
            rows,
            covered,
            reached: span.end,
        })
    }

    async fn trades_by_id(&mut self, span: Span) -> Result<Page, CryptoError> {
        let entity = Entity::of(self.instrument);
        let known = self.hint.take().filter(|(ts, _)| *ts == span.start);
        let first = match known {
            Some((_, id)) => Some(id),
            None => self.first_trade(span).await?,
        };
        let Some(first) = first else {
            return Ok(done(Vec::new(), span));
        };
        let trades = self.trades_from(first).await?;
        let last = trades.last().map(|trade| trade.ts_event);
        let rows: Vec<Row> = trades
            .iter()
            .filter(|trade| span.start <= trade.ts_event && trade.ts_event < span.end)
            .map(|trade| Row::Trade(TradeRow::new(&entity, self.instrument, trade)))
            .collect();
        Ok(match last {
            // Others of the last instant may be on the next page, unless it would not move on.
            Some(last) if last < span.end && last > span.start && trades.len() > 1 => {
                let again = trades.iter().find(|trade| trade.ts_event == last);
                self.hint = again.map(|trade| (last, id_of(trade)));
                partly(rows, span, last)
            }
            _ => done(rows, span),
        })
    }

    /// Where the latest `count` trades of a span begin.
    pub(crate) async fn latest_start(
        &mut self,
        span: Span,
        count: usize,
    ) -> Result<TsNanos, CryptoError> {
        let newest = self.first_trade(Span {
            start: TsNanos(span.end.0.saturating_sub(1)),
            end: TsNanos(i64::MAX),
        });
        let newest = match newest.await? {
            Some(id) => id,
            None => match self.newest_trades().await?.last() {
                Some(trade) => id_of(trade),
                None => return Ok(span.start),
            },
        };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let first = self.trades_from(newest.saturating_sub(count)).await?;
        let start = first.first().map_or(span.start, |trade| trade.ts_event);
        let start = start.clamp(span.start, TsNanos(span.end.0.saturating_sub(1)));
        self.hint = first.first().map(|trade| (start, id_of(trade)));
        Ok(start)
    }

    /// Id from which a page holds the first trade of `span`; it may begin a little before.
    ///
    /// Exchanges differ in whether trades can be asked for by time. A page by time is believed when
    /// the trade before its first one is older than the span; else the id is searched for.
    async fn first_trade(&self, span: Span) -> Result<Option<u64>, CryptoError> {
        let page = self.by_time(span).await?;
        let Some(first) = page.first() else {
            // Exchanges cut a span that is too long for them: that its beginning is empty says
            // nothing of the rest.
            if span.end.0.saturating_sub(span.start.0) <= CUT_NANOS {
                return Ok(None);
            }
            let newest = self.newest_trades().await?;
            return match newest.last() {
                Some(last) if last.ts_event >= span.start => self.search(span, id_of(last)).await,
                _ => Ok(None),
            };
        };
        if first.ts_event >= span.end {
            return self.search(span, id_of(first)).await;
        }
        if first.ts_event < span.start {
            let found = page.iter().find(|trade| trade.ts_event >= span.start);
            return Ok(found.filter(|trade| trade.ts_event < span.end).map(id_of));
        }
        let before = match id_of(first).checked_sub(1) {
            Some(id) => self.one_from(id).await?,
            None => None,
        };
        match before {
            Some(before) if id_of(&before) < id_of(first) && before.ts_event >= span.start => {
                self.search(span, id_of(first)).await
            }
            _ => Ok(Some(id_of(first))),
        }
    }

    /// An id at or shortly before the first trade from `span.start` on, knowing that `above` is not
    /// before it: first by steps that double, then by halving, until one page holds the rest.
    async fn search(&self, span: Span, above: u64) -> Result<Option<u64>, CryptoError> {
        let (mut low, mut high) = (0u64, above);
        let mut low_exists = false;
        let mut step = u64::from(PAGE);
        let mut has_floor = false;
        for _ in 0..PROBES {
            if high - low <= u64::from(PAGE) / 2 {
                break;
            }
            let probe = match has_floor {
                true => low + (high - low) / 2,
                false => high.saturating_sub(step),
            };
            step = step.saturating_mul(2);
            match self.one_from(probe).await? {
                Some(trade) if trade.ts_event >= span.start => {
                    high = probe;
                    has_floor |= probe == 0;
                }
                // Older, or no longer kept by the exchange.
                older => {
                    low = probe;
                    low_exists = older.is_some();
                    has_floor = true;
                }
            }
        }
        Ok(Some(if low_exists { low } else { high }))
    }

    async fn by_time(&self, span: Span) -> Result<Vec<Trade>, CryptoError> {
        let mut page = self.page(span);
        if span.end == TsNanos(i64::MAX) {
            page.end = None;
        }
        self.trade_page(page).await
    }

    async fn newest_trades(&self) -> Result<Vec<Trade>, CryptoError> {
        self.trade_page(PageRequest {
            limit: PAGE,
            ..PageRequest::default()
        })
        .await
    }

    async fn trades_from(&self, id: u64) -> Result<Vec<Trade>, CryptoError> {
        self.trade_page(from(id, PAGE)).await
    }

    async fn one_from(&self, id: u64) -> Result<Option<Trade>, CryptoError> {
        Ok(self.trade_page(from(id, 1)).await?.into_iter().next())
    }

    async fn trade_page(&self, page: PageRequest) -> Result<Vec<Trade>, CryptoError> {
        let exchange = self.instrument.spec.provider.exchange();
        let Some(request) = exchange.trade_request(self.instrument, page) else {
            return Ok(Vec::new());
        };
        let mut body = Vec::from(self.get(request).await?);
        exchange
            .parse_trades(self.instrument, &mut body)
            .map_err(|error| self.unreadable(error))
    }

    fn page(&self, span: Span) -> PageRequest {
        PageRequest {
            start: Some(span.start),
            end: Some(TsNanos(span.end.0.saturating_sub(1))),
            from_id: None,
            limit: PAGE,
        }
    }

    async fn get(&self, request: RestRequest) -> Result<Bytes, CryptoError> {
        let spec = &self.instrument.spec;
        let answer = self
            .rest
            .get(spec.provider, spec.market, request, self.priority, TRIES);
        Ok(answer.await?)
    }

    fn unreadable(&self, error: DecodeError) -> CryptoError {
        let spec = &self.instrument.spec;
        let host = spec.provider.exchange().rest_host(spec.market).0.to_owned();
        RestError::Decode { host, error }.into()
    }
}

/// A page from a trade on.
fn from(id: u64, limit: u32) -> PageRequest {
    PageRequest {
        from_id: Some(id),
        limit,
        ..PageRequest::default()
    }
}

/// The number of a trade of an exchange that can be asked by it.
fn id_of(trade: &Trade) -> u64 {
    trade.trade_id.number().unwrap_or(0)
}

fn done(rows: Vec<Row>, span: Span) -> Page {
    Page {
        rows,
        covered: vec![span],
        reached: span.end,
    }
}

/// A page after which others follow from `next` on.
fn partly(rows: Vec<Row>, span: Span, next: TsNanos) -> Page {
    let next = next.max(TsNanos(span.start.0.saturating_add(1)));
    let reached = next.min(span.end);
    Page {
        rows,
        covered: vec![Span {
            end: reached,
            ..span
        }],
        reached,
    }
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
