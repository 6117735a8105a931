//! Coinbase Advanced Trade: spot; public data without a key, orders with one.
//!
//! This file is wiring: hosts, limits, and which function answers what. Start reading at
//! [`stream`]. Protocol sources, quirks and the table of capabilities: `README.md` beside this
//! file.

mod account;
mod candles;
mod errors;
mod instruments;
mod orders;
mod private;
mod recorded;
mod reports;
mod rest;
mod sign;
pub mod stream;
mod symbols;
#[cfg(test)]
mod tests;
mod time;
mod trading;
mod wire;

use std::sync::Arc;

use crate::event::{BookSnapshot, Kline, Trade};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::{Level, TsNanos};
use crate::trading::venue::TradingVenue;
use crate::vault::SecretKind;

use super::{
    BookOrigin, ConnectionLimits, Continuity, CredentialForm, DecodeError, Decoder, Exchange, Feed,
    FundingRow, HistoryOf, NativeStream, PageRequest, ParsedInstruments, Recorded, RestBudget,
    RestFailure, RestRequest, Route, StreamRequest,
};

const ROUTES: &[Route] = &[Route {
    name: "public",
    host: "advanced-trade-ws.coinbase.com",
    base_url: "wss://advanced-trade-ws.coinbase.com",
    path: "/",
}];

/// Public endpoints allow ten requests a second and address, the others thirty a second and user.
const BUDGETS: &[RestBudget] = &[
    RestBudget {
        name: "public",
        weight_per_window: 10,
        weight_per_instrument: None,
        window_secs: 1,
        used_header: None,
        remaining_header: Some("x-ratelimit-remaining"),
    },
    RestBudget {
        name: "private",
        weight_per_window: 30,
        weight_per_instrument: None,
        window_secs: 1,
        used_header: None,
        remaining_header: Some("x-ratelimit-remaining"),
    },
];

/// Coinbase.
#[derive(Clone, Copy, Debug)]
pub struct Coinbase;

impl Exchange for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn markets(&self) -> &'static [Market] {
        &[Market::Spot]
    }

    fn trading(&self) -> Option<&'static dyn TradingVenue> {
        Some(&Coinbase)
    }

    fn credential_form(&self) -> CredentialForm {
        CredentialForm {
            kinds: &[SecretKind::Ed25519, SecretKind::Ec],
            has_passphrase: Some(false),
        }
    }

    fn rest_host(&self, _market: Market) -> (&'static str, &'static str) {
        ("api.coinbase.com", "https://api.coinbase.com")
    }

    fn rest_budgets(&self, _market: Market) -> &'static [RestBudget] {
        BUDGETS
    }

    fn routes(&self, _market: Market) -> &'static [Route] {
        ROUTES
    }

    fn limits(&self, _market: Market) -> ConnectionLimits {
        ConnectionLimits {
            // A lost frame costs every book of its connection, and each of them a new image of
            // megabytes: six instruments of four streams share the risk.
            streams_per_connection: 24,
            // Eight a second and address, all connections together; a connection opens with five.
            messages_per_second: 5,
            streams_per_request: 20,
            // Eight a second are allowed, but not the messages that follow each of them.
            connects_per_window: 1,
            connect_window_secs: 1,
            // None is documented.
            lifetime_secs: None,
            // A heartbeat comes each second; an image of megabytes can hold it up.
            silence_secs: 10,
        }
    }

    fn messages_per_address(&self, _market: Market) -> Option<u32> {
        // Unauthenticated ones.
        Some(8)
    }

    fn continuity(&self, _market: Market) -> Continuity {
        Continuity::Connection
    }

    fn book_origin(&self, _market: Market) -> BookOrigin {
        BookOrigin::Stream
    }

    fn on_open(&self, _market: Market, _route: usize) -> Vec<String> {
        // Also the subscription that has to follow within five seconds.
        vec![stream::heartbeats()]
    }

    fn streams(&self, instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
        stream::streams(instrument, feed)
    }

    fn silence_limit_secs(&self, feed: Feed) -> Option<u64> {
        match feed {
            // Only quiet products go a minute without a change of the book.
            Feed::Book | Feed::Ticker => Some(60),
            // Nothing is sent while nothing trades.
            Feed::Trades | Feed::Klines(_) | Feed::Funding => None,
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

    fn message_symbol(&self, _market: Market, frame: &[u8]) -> Option<String> {
        recorded::message_symbol(frame)
    }

    fn decoder(&self, _market: Market, table: Arc<InstrumentTable>) -> Box<dyn Decoder> {
        Box::new(stream::StreamDecoder::new(table))
    }

    fn instrument_requests(&self, _market: Market) -> Vec<RestRequest> {
        vec![rest::products(None)]
    }

    fn next_instrument_request(&self, _market: Market, body: &[u8]) -> Option<RestRequest> {
        instruments::next_page(body)
    }

    fn parse_instruments(
        &self,
        _market: Market,
        bodies: &[Vec<u8>],
    ) -> Result<ParsedInstruments, DecodeError> {
        instruments::parse(bodies)
    }

    fn snapshot_request(&self, instrument: &Instrument, depth: usize) -> RestRequest {
        rest::snapshot(instrument, depth)
    }

    fn parse_snapshot(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<BookSnapshot, DecodeError> {
        rest::parse_snapshot(instrument, body)
    }

    fn kline_levels(&self, _market: Market) -> &'static [Level] {
        rest::LEVELS
    }

    fn kline_request(
        &self,
        instrument: &Instrument,
        level: Level,
        page: PageRequest,
    ) -> Option<RestRequest> {
        rest::klines(instrument, level, page)
    }

    fn parse_klines(
        &self,
        instrument: &Instrument,
        level: Level,
        body: &mut [u8],
        now: TsNanos,
    ) -> Result<Vec<Kline>, DecodeError> {
        rest::parse_klines(instrument, level, body, now)
    }

    fn page_span(&self, _market: Market, series: HistoryOf) -> Option<i64> {
        match series {
            // Bars without trades are missing, so that a page of less rows need not be the last.
            HistoryOf::Klines(level) => {
                Some(level.nanos().saturating_mul(i64::from(rest::BARS_MAX)))
            }
            HistoryOf::Funding => None,
        }
    }

    fn trade_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
        rest::trades(instrument, page)
    }

    fn parse_trades(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<Trade>, DecodeError> {
        rest::parse_trades(instrument, body)
    }

    fn funding_request(&self, _instrument: &Instrument, _page: PageRequest) -> Option<RestRequest> {
        None
    }

    fn parse_funding(
        &self,
        _instrument: &Instrument,
        _body: &mut [u8],
    ) -> Result<Vec<FundingRow>, DecodeError> {
        // Never asked for: spot has none.
        Err(DecodeError::Field { field: "funding" })
    }

    fn time_request(&self, _market: Market) -> RestRequest {
        rest::clock()
    }

    fn parse_time(&self, body: &[u8]) -> Result<TsNanos, DecodeError> {
        rest::parse_time(body)
    }

    fn rest_failure(
        &self,
        _market: Market,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> RestFailure {
        errors::rest_failure(status, retry_after, body)
    }
}
