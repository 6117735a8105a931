//! OKX: spot and linear perpetual swaps.
//!
//! Both markets live in this folder and differ by a [`Market`] parameter. This file is wiring:
//! hosts, limits, and which function answers what. Start reading at [`stream`].
//! Protocol sources, quirks and the table of capabilities: `README.md` beside this file.

mod account;
mod checksum;
mod errors;
mod frame;
mod history;
mod instruments;
mod json;
mod message;
mod orders;
mod private;
mod recorded;
mod reports;
mod rest;
mod sign;
mod socket;
mod status;
pub mod stream;
mod symbols;
#[cfg(test)]
mod tests;
mod trading;

use std::sync::Arc;

use crate::event::{BookSnapshot, Kline, Trade};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::{Level, TsNanos};
use crate::trading::venue::TradingVenue;
use crate::vault::SecretKind;

use super::{
    BookOrigin, ConnectionLimits, Continuity, CredentialForm, DecodeError, Decoder, Exchange, Feed,
    FundingRow, HistoryOf, Keepalive, MaintenanceWindow, NativeStream, PageRequest,
    ParsedInstruments, Recorded, RestBudget, RestFailure, RestRequest, Route, StreamRequest,
};

/// Both markets share the connections; bars live on a path of their own.
const ROUTES: &[Route] = &[
    Route {
        name: "public",
        host: "ws.okx.com:8443",
        base_url: "wss://ws.okx.com:8443",
        path: "/ws/v5/public",
    },
    Route {
        name: "business",
        host: "ws.okx.com:8443",
        base_url: "wss://ws.okx.com:8443",
        path: "/ws/v5/business",
    },
];

/// OKX.
#[derive(Clone, Copy, Debug)]
pub struct Okx;

impl Exchange for Okx {
    fn name(&self) -> &'static str {
        "okx"
    }

    fn markets(&self) -> &'static [Market] {
        &[Market::Spot, Market::Perp]
    }

    fn trading(&self) -> Option<&'static dyn TradingVenue> {
        Some(&Okx)
    }

    fn credential_form(&self) -> CredentialForm {
        CredentialForm {
            kinds: &[SecretKind::Hmac],
            has_passphrase: Some(true),
        }
    }

    fn rest_host(&self, _market: Market) -> (&'static str, &'static str) {
        // With `www`: elsewhere a redirect can strip headers.
        ("www.okx.com", "https://www.okx.com")
    }

    fn rest_budgets(&self, _market: Market) -> &'static [RestBudget] {
        rest::BUDGETS
    }

    fn routes(&self, _market: Market) -> &'static [Route] {
        ROUTES
    }

    fn limits(&self, _market: Market) -> ConnectionLimits {
        ConnectionLimits {
            // Not limited; keeps what one lost connection takes along small.
            streams_per_connection: 240,
            // The limit is by the hour; requests are long instead of many.
            messages_per_second: 3,
            streams_per_request: 60,
            connects_per_window: 3,
            connect_window_secs: 1,
            // Upgrades are announced a minute ahead.
            lifetime_secs: None,
            // A pong answers every ping.
            silence_secs: 35,
        }
    }

    fn requests_per_hour(&self, _market: Market) -> Option<u32> {
        // Subscribe, unsubscribe and login together.
        Some(480)
    }

    fn continuity(&self, _market: Market) -> Continuity {
        Continuity::ExactLink
    }

    fn book_origin(&self, _market: Market) -> BookOrigin {
        // Announced in the change log of 2026-02-12: the first image will no longer be sent.
        BookOrigin::StreamOrRest { after_secs: 3 }
    }

    fn keepalive(&self, _market: Market) -> Option<Keepalive> {
        // A connection on which nothing was sent for 30 s is closed.
        Some(Keepalive {
            every_secs: 20,
            text: "ping",
        })
    }

    fn on_open(&self, _market: Market, route: usize) -> Vec<String> {
        match route {
            stream::ROUTE_PUBLIC => vec![stream::status_request()],
            _ => Vec::new(),
        }
    }

    fn streams(&self, instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
        stream::streams(instrument, feed)
    }

    fn silence_limit_secs(&self, feed: Feed) -> Option<u64> {
        match feed {
            // Mark prices come at least every ten seconds.
            Feed::Funding => Some(30),
            // A book that does not change is confirmed about once a minute.
            Feed::Book => Some(90),
            // The best prices of a quiet instrument can stand for long.
            Feed::Ticker | Feed::Trades | Feed::Klines(_) => None,
        }
    }

    fn subscribe_requests(
        &self,
        _market: Market,
        streams: &[&str],
        first_id: u64,
    ) -> Vec<StreamRequest> {
        stream::requests("subscribe", streams, first_id)
    }

    fn unsubscribe_requests(
        &self,
        _market: Market,
        streams: &[&str],
        first_id: u64,
    ) -> Vec<StreamRequest> {
        stream::requests("unsubscribe", streams, first_id)
    }

    fn recorded(&self, url: Option<&str>, body: &[u8]) -> Recorded {
        recorded::recorded(url, body)
    }

    fn message_symbol(&self, market: Market, frame: &[u8]) -> Option<String> {
        recorded::message_symbol(market, frame)
    }

    fn decoder(&self, market: Market, table: Arc<InstrumentTable>) -> Box<dyn Decoder> {
        Box::new(stream::StreamDecoder::new(market, table))
    }

    fn instrument_requests(&self, market: Market) -> Vec<RestRequest> {
        rest::instruments(market)
    }

    fn parse_instruments(
        &self,
        market: Market,
        bodies: &[Vec<u8>],
    ) -> Result<ParsedInstruments, DecodeError> {
        instruments::parse(market, bodies)
    }

    fn snapshot_request(&self, instrument: &Instrument, depth: usize) -> RestRequest {
        rest::snapshot(instrument, depth)
    }

    fn parse_snapshot(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<BookSnapshot, DecodeError> {
        history::snapshot(instrument, body)
    }

    fn kline_request(
        &self,
        instrument: &Instrument,
        level: Level,
        page: PageRequest,
    ) -> Option<RestRequest> {
        Some(rest::klines(instrument, level, page))
    }

    fn parse_klines(
        &self,
        instrument: &Instrument,
        level: Level,
        body: &mut [u8],
        now: TsNanos,
    ) -> Result<Vec<Kline>, DecodeError> {
        history::klines(instrument, level, body, now)
    }

    fn page_span(&self, _market: Market, series: HistoryOf) -> Option<i64> {
        Some(rest::page_span(series))
    }

    fn trade_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
        Some(rest::trades(instrument, page))
    }

    fn parse_trades(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<Trade>, DecodeError> {
        history::trades(instrument, body)
    }

    fn funding_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
        let is_perp = instrument.spec.market == Market::Perp;
        is_perp.then(|| rest::funding(instrument, page))
    }

    fn parse_funding(
        &self,
        _instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<FundingRow>, DecodeError> {
        history::funding(body)
    }

    fn time_request(&self, _market: Market) -> RestRequest {
        rest::time()
    }

    fn parse_time(&self, body: &[u8]) -> Result<TsNanos, DecodeError> {
        history::time(body)
    }

    fn maintenance_request(&self, _market: Market) -> Option<RestRequest> {
        Some(rest::system_status())
    }

    fn parse_maintenance(
        &self,
        market: Market,
        body: &[u8],
    ) -> Result<Vec<MaintenanceWindow>, DecodeError> {
        status::parse(market, body)
    }

    fn rest_failure(
        &self,
        market: Market,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> RestFailure {
        errors::rest_failure(market, status, retry_after, body)
    }

    fn body_failure(&self, market: Market, body: &[u8]) -> Option<RestFailure> {
        errors::body_failure(market, body)
    }
}
