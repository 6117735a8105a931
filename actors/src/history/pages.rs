//! Pages of an exchange's history.

use std::sync::Arc;

use bookwire_engine::error::CryptoError;
use bookwire_engine::event::Trade;
use bookwire_engine::exchange::{DecodeError, PageRequest, RestRequest};
use bookwire_engine::instrument::Instrument;
use bookwire_engine::store::{Entity, FundingRow, KlineRow, Row, Series, Span, TradeRow};
use bookwire_engine::time::{Level, TsNanos};
use bytes::Bytes;

use crate::rest_client::budget::Priority;
use crate::rest_client::{RestClient, RestError};

/// Rows asked for; the adapter cuts it to what the exchange allows.
const PAGE: u32 = 1000;
/// Attempts of a page.
const TRIES: u32 = 3;
/// Requests that finding the first trade of a span may cost: ids below 2^40 are found in 40 halvings.
const PROBES: u32 = 45;

/// A page, ready to be stored.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// What was asked for from here …
    pub(super) start: TsNanos,
    /// … is complete up to here.
    pub(super) reached: TsNanos,
}

/// Asks for pages of one series.
pub(super) struct Pages<'a> {
    pub(super) rest: &'a RestClient,
    pub(super) instrument: &'a Arc<Instrument>,
    pub(super) series: Series,
    /// Nothing after this is taken for final.
    pub(super) now: TsNanos,
}

impl Pages<'_> {
    /// The first page of `span`. It reaches further than its start, so that a loop ends.
    pub(super) async fn fetch(&self, span: Span) -> Result<Page, CryptoError> {
        let page = match self.series {
            Series::Klines(level) => self.klines(level, span).await?,
            Series::Funding => self.funding(span).await?,
            Series::Trades => self.trades(span).await?,
        };
        debug_assert!(page.reached > page.start);
        Ok(page)
    }

    async fn klines(&self, level: Level, span: Span) -> Result<Page, CryptoError> {
        let spec = &self.instrument.spec;
        let exchange = spec.provider.exchange();
        let entity = Entity::of(self.instrument);
        let request = exchange.kline_request(self.instrument, level, self.page(span));
        let Some(request) = request else {
            // A level that the exchange lacks has no history of its own.
            return Ok(done(Vec::new(), span));
        };
        let mut body = Vec::from(self.get(request).await?);
        let bars = exchange
            .parse_klines(self.instrument, level, &mut body, self.now)
            .map_err(|error| self.unreadable(error))?;
        let is_full = bars.len() >= PAGE as usize;
        let last = bars.last().map(|bar| bar.open_time);
        let within = |time: TsNanos| span.start <= time && time < span.end;
        let rows: Vec<Row> = bars
            .iter()
            .filter(|bar| bar.is_closed && within(bar.open_time))
            .filter_map(|bar| KlineRow::new(&entity, self.instrument, bar).ok())
            .map(Row::Kline)
            .collect();
        Ok(match last {
            Some(last) if is_full => {
                let next = TsNanos(last.0.saturating_add(level.nanos()));
                partly(rows, span, next)
            }
            _ => done(rows, span),
        })
    }

    async fn funding(&self, span: Span) -> Result<Page, CryptoError> {
        let exchange = self.instrument.spec.provider.exchange();
        let entity = Entity::of(self.instrument);
        let request = exchange.funding_request(self.instrument, self.page(span));
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
        Ok(match last {
            Some(last) if is_full => partly(rows, span, TsNanos(last.0.saturating_add(1))),
            _ => done(rows, span),
        })
    }

    async fn trades(&self, span: Span) -> Result<Page, CryptoError> {
        let entity = Entity::of(self.instrument);
        let Some(first) = self.first_trade(span).await? else {
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
                partly(rows, span, last)
            }
            _ => done(rows, span),
        })
    }

    /// Where the latest `count` trades of a span begin.
    pub(super) async fn latest_start(
        &self,
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
                Some(trade) => trade.trade_id,
                None => return Ok(span.start),
            },
        };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let first = self.trades_from(newest.saturating_sub(count)).await?;
        let start = first.first().map_or(span.start, |trade| trade.ts_event);
        Ok(start.clamp(span.start, TsNanos(span.end.0.saturating_sub(1))))
    }

    /// Id of the first trade at or after `span.start` and before its end.
    ///
    /// Exchanges differ in whether trades can be asked for by time. A page by time is believed when
    /// the trade before its first one is older than the span; else the id is found by halving.
    async fn first_trade(&self, span: Span) -> Result<Option<u64>, CryptoError> {
        let page = self.by_time(span).await?;
        let Some(first) = page.first() else {
            return Ok(None);
        };
        if first.ts_event >= span.end {
            return self.halve(span, first.trade_id).await;
        }
        if first.ts_event < span.start {
            let found = page.iter().find(|trade| trade.ts_event >= span.start);
            return Ok(found
                .filter(|trade| trade.ts_event < span.end)
                .map(|trade| trade.trade_id));
        }
        let before = match first.trade_id.checked_sub(1) {
            Some(id) => self.one_from(id).await?,
            None => None,
        };
        match before {
            Some(before) if before.trade_id < first.trade_id && before.ts_event >= span.start => {
                self.halve(span, first.trade_id).await
            }
            _ => Ok(Some(first.trade_id)),
        }
    }

    /// The first id from `span.start` on, knowing that `above` lies after it.
    async fn halve(&self, span: Span, above: u64) -> Result<Option<u64>, CryptoError> {
        let (mut low, mut high) = (0u64, above);
        let mut found = None;
        for _ in 0..PROBES {
            if low >= high {
                break;
            }
            let middle = low + (high - low) / 2;
            match self.one_from(middle).await? {
                Some(trade) if trade.ts_event >= span.start => {
                    found = Some(trade).filter(|trade| trade.ts_event < span.end);
                    high = middle;
                }
                // Older, or no longer kept by the exchange.
                _ => low = middle + 1,
            }
        }
        Ok(found.map(|trade| trade.trade_id))
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
        self.trade_page(PageRequest {
            from_id: Some(id),
            limit: PAGE,
            ..PageRequest::default()
        })
        .await
    }

    async fn one_from(&self, id: u64) -> Result<Option<Trade>, CryptoError> {
        let page = PageRequest {
            from_id: Some(id),
            limit: 1,
            ..PageRequest::default()
        };
        Ok(self.trade_page(page).await?.into_iter().next())
    }

    async fn trade_page(&self, page: PageRequest) -> Result<Vec<Trade>, CryptoError> {
        let exchange = self.instrument.spec.provider.exchange();
        let request = exchange.trade_request(self.instrument, page);
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
        let answer = self.rest.get(
            spec.provider,
            spec.market,
            request,
            Priority::Background,
            TRIES,
        );
        Ok(answer.await?)
    }

    fn unreadable(&self, error: DecodeError) -> CryptoError {
        let spec = &self.instrument.spec;
        let host = spec.provider.exchange().rest_host(spec.market).0.to_owned();
        RestError::Decode { host, error }.into()
    }
}

fn done(rows: Vec<Row>, span: Span) -> Page {
    Page {
        rows,
        start: span.start,
        reached: span.end,
    }
}

/// A page after which others follow from `next` on.
fn partly(rows: Vec<Row>, span: Span, next: TsNanos) -> Page {
    let next = next.max(TsNanos(span.start.0.saturating_add(1)));
    Page {
        rows,
        start: span.start,
        reached: next.min(span.end),
    }
}
