//! Bybit v5: spot and linear (USDT and USDC) perpetuals.
//!
//! Both markets live in this folder and differ by a [`Market`] parameter. This file is wiring:
//! hosts, limits, and which function answers what. Start reading at [`stream`].
//! Protocol sources, quirks and the table of capabilities: `README.md` beside this file.

mod account;
mod answer;
mod errors;
mod frame;
mod history;
mod instruments;
mod number;
mod orders;
mod payload;
mod private;
mod recorded;
mod report;
mod rest;
mod sign;
mod socket;
mod status;
pub mod stream;
#[cfg(test)]
mod tests;
mod ticker;
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

const HOST: &str = "stream.bybit.com";
const BASE_URL: &str = "wss://stream.bybit.com";

/// All topics of a market share a connection.
const SPOT_ROUTES: &[Route] = &[Route {
    name: "public",
    host: HOST,
    base_url: BASE_URL,
    path: "/v5/public/spot",
}];

const PERP_ROUTES: &[Route] = &[Route {
    name: "public",
    host: HOST,
    base_url: BASE_URL,
    path: "/v5/public/linear",
}];

/// What an address may ask in five seconds, over all hosts and markets. Whoever asks more gets
/// status 403 for ten minutes.
///
/// No answer tells how much of it is used: `X-Bapi-Limit-Status` is what remains of a key's quota
/// at one endpoint, and public endpoints have none.
const BUDGETS: &[RestBudget] = &[RestBudget {
    name: "ip",
    weight_per_window: 600,
    weight_per_instrument: None,
    window_secs: 5,
    used_header: None,
    remaining_header: None,
}];

/// Bybit.
#[derive(Clone, Copy, Debug)]
pub struct Bybit;

impl Exchange for Bybit {
    fn name(&self) -> &'static str {
        "bybit"
    }

    fn markets(&self) -> &'static [Market] {
        &[Market::Spot, Market::Perp]
    }

    fn credential_form(&self) -> CredentialForm {
        CredentialForm {
            kinds: &[SecretKind::Hmac],
            has_passphrase: Some(false),
        }
    }

    fn trading(&self) -> Option<&'static dyn TradingVenue> {
        Some(&Bybit)
    }

    fn rest_host(&self, _market: Market) -> (&'static str, &'static str) {
        ("api.bybit.com", "https://api.bybit.com")
    }

    fn rest_budgets(&self, _market: Market) -> &'static [RestBudget] {
        BUDGETS
    }

    fn reset_header(&self, _market: Market) -> Option<&'static str> {
        // The limits by key and endpoint; the one by address is a ban of ten minutes.
        Some("x-bapi-limit-reset-timestamp")
    }

    fn routes(&self, market: Market) -> &'static [Route] {
        match market {
            Market::Spot => SPOT_ROUTES,
            Market::Perp => PERP_ROUTES,
        }
    }

    fn limits(&self, _market: Market) -> ConnectionLimits {
        ConnectionLimits {
            // The names of all topics of a connection may have 21,000 characters; the longest are
            // a little over 40.
            streams_per_connection: 500,
            // Not documented; far above what subscribing needs.
            messages_per_second: 10,
            streams_per_request: stream::TOPICS_PER_REQUEST,
            connects_per_window: 500,
            connect_window_secs: 300,
            // None is documented.
            lifetime_secs: None,
            // Each of our pings is answered.
            silence_secs: 60,
        }
    }

    fn continuity(&self, _market: Market) -> Continuity {
        // `u` grows by one from message to message.
        Continuity::Contiguous
    }

    fn book_origin(&self, _market: Market) -> BookOrigin {
        BookOrigin::Stream
    }

    fn keepalive(&self, _market: Market) -> Option<Keepalive> {
        Some(Keepalive {
            every_secs: 20,
            text: r#"{"op":"ping"}"#,
        })
    }

    fn streams(&self, instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
        stream::streams(instrument, feed)
    }

    fn silence_limit_secs(&self, feed: Feed) -> Option<u64> {
        match feed {
            // Sent again after three seconds without a change.
            Feed::Ticker => Some(15),
            // Only quiet symbols go a minute without a change.
            Feed::Book | Feed::Funding => Some(60),
            // Nothing is sent while nothing trades.
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
        vec![rest::instruments(market, None)]
    }

    fn next_instrument_request(&self, market: Market, body: &[u8]) -> Option<RestRequest> {
        // Spot's list comes whole.
        if market == Market::Spot {
            return None;
        }
        let cursor = instruments::next_cursor(body)?;
        Some(rest::instruments(market, Some(&cursor)))
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
        rest::trades(instrument, page)
    }

    fn trades_shown(&self, market: Market) -> Option<u32> {
        Some(rest::trades_shown(market))
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
