//! ccxt: a hundred more exchanges by way of the ccxt library, which runs in a child process.
//!
//! The library itself is Python. `bridge.py`, the far side, serves it by HTTP and WebSocket on
//! loopback; this folder knows what is asked and answered there, as the folders beside it know
//! their exchanges. Starting and watching the process is the business of whoever owns sockets.
//! Protocol and limits: `README.md` beside this file; why so and not otherwise:
//! `docs/decisions/006-ccxt-in-a-child-process.md`.

mod account;
mod errors;
mod instruments;
mod rest;
mod stream;
#[cfg(test)]
mod tests;
mod trading;

use std::sync::Arc;

use crate::event::{BookSnapshot, Kline, Trade};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::{Level, TsNanos};
use crate::trading::venue::TradingVenue;

use super::{
    BookOrigin, Bridge, ConnectionLimits, Continuity, DecodeError, Decoder, Exchange, Feed,
    FundingRow, NativeStream, PageRequest, ParsedInstruments, Recorded, RestBudget, RestFailure,
    RestRequest, Route, StreamRequest,
};

/// The bridge's name where an exchange has its host's.
const HOST: &str = "ccxt";
/// Never dialled: whoever runs the bridge knows where it listens.
const BASE_URL: &str = "http://ccxt.invalid";

const ROUTES: &[Route] = &[Route {
    name: "bridge",
    host: HOST,
    base_url: "ws://ccxt.invalid",
    path: "/stream",
}];

/// The bridge itself has no limit; ccxt keeps each venue's. This bounds what we ask of the process.
const BUDGETS: &[RestBudget] = &[RestBudget {
    name: "bridge",
    weight_per_window: 3000,
    weight_per_instrument: None,
    window_secs: 60,
    used_header: None,
    remaining_header: None,
}];

const BRIDGE: Bridge = Bridge {
    program: concat!(include_str!("bridge.py"), include_str!("trade.py")),
    package: "ccxt",
    version: "4.5.90",
};

/// ccxt.
#[derive(Clone, Copy, Debug)]
pub struct Ccxt;

impl Exchange for Ccxt {
    fn name(&self) -> &'static str {
        "ccxt"
    }

    fn markets(&self) -> &'static [Market] {
        &[Market::Spot, Market::Perp]
    }

    fn bridge(&self) -> Option<&'static Bridge> {
        Some(&BRIDGE)
    }

    fn trading(&self) -> Option<&'static dyn TradingVenue> {
        Some(&Ccxt)
    }

    fn rest_host(&self, _market: Market) -> (&'static str, &'static str) {
        (HOST, BASE_URL)
    }

    fn rest_budgets(&self, _market: Market) -> &'static [RestBudget] {
        BUDGETS
    }

    fn routes(&self, _market: Market) -> &'static [Route] {
        ROUTES
    }

    fn limits(&self, _market: Market) -> ConnectionLimits {
        ConnectionLimits {
            streams_per_connection: 500,
            messages_per_second: 100,
            streams_per_request: 100,
            connects_per_window: 300,
            connect_window_secs: 60,
            lifetime_secs: None,
            // The bridge pings every 20 s.
            silence_secs: 60,
        }
    }

    fn continuity(&self, _market: Market) -> Continuity {
        // The bridge counts what it sends of each book.
        Continuity::Contiguous
    }

    fn book_origin(&self, _market: Market) -> BookOrigin {
        BookOrigin::Stream
    }

    fn streams(&self, instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
        stream::streams(instrument, feed)
    }

    fn silence_limit_secs(&self, feed: Feed) -> Option<u64> {
        match feed {
            // Many venues have instruments that nobody quotes for minutes.
            Feed::Book | Feed::Ticker | Feed::Funding => Some(120),
            Feed::Trades | Feed::Klines(_) => None,
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

    fn recorded(&self, url: Option<&str>, _body: &[u8]) -> Recorded {
        match url.map(|url| url.split_once('?').unwrap_or((url, "")).0) {
            None => Recorded::Message,
            Some(path) if path.ends_with("/markets") => Recorded::Instruments,
            Some(_) => Recorded::Other,
        }
    }

    fn message_symbol(&self, _market: Market, _frame: &[u8]) -> Option<String> {
        // A symbol without its venue and digits says nothing: recordings are read with a list.
        None
    }

    fn decoder(&self, market: Market, table: Arc<InstrumentTable>) -> Box<dyn Decoder> {
        Box::new(stream::StreamDecoder::new(market, table))
    }

    fn instrument_requests(&self, _market: Market) -> Vec<RestRequest> {
        // Each venue has its own list.
        Vec::new()
    }

    fn venue_requests(&self, market: Market, venue: &str) -> Vec<RestRequest> {
        vec![rest::markets(market, venue)]
    }

    fn parse_instruments(
        &self,
        market: Market,
        bodies: &[Vec<u8>],
    ) -> Result<ParsedInstruments, DecodeError> {
        instruments::parse(market, bodies)
    }

    fn snapshot_request(&self, instrument: &Instrument, _depth: usize) -> RestRequest {
        rest::book(instrument)
    }

    fn parse_snapshot(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<BookSnapshot, DecodeError> {
        rest::parse_book(instrument, body)
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

    fn funding_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
        (instrument.spec.market == Market::Perp).then(|| rest::funding(instrument, page))
    }

    fn parse_funding(
        &self,
        _instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<FundingRow>, DecodeError> {
        rest::parse_funding(body)
    }

    fn time_request(&self, _market: Market) -> RestRequest {
        rest::time()
    }

    fn parse_time(&self, body: &[u8]) -> Result<TsNanos, DecodeError> {
        rest::parse_time(body)
    }

    fn answer_timeout_secs(&self) -> u64 {
        // A venue's first answer waits for its list of markets, which some need several requests
        // and most of a minute for.
        60
    }

    fn rest_failure(
        &self,
        market: Market,
        status: u16,
        _retry_after: Option<&str>,
        body: &[u8],
    ) -> RestFailure {
        errors::rest_failure(market, status, body)
    }
}
