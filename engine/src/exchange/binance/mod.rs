//! Binance spot and USDⓈ-M perpetual futures.
//!
//! Both markets live in this folder and differ by a [`Market`] parameter. This file is wiring:
//! hosts, limits, and which function answers what. Start reading at [`stream`].
//! Protocol sources, quirks and the table of capabilities: `README.md` beside this file.

mod account;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod digits;
mod errors;
mod fields;
mod history;
mod instruments;
mod level;
mod message;
mod orders;
mod private;
mod recorded;
mod report;
mod rest;
mod scan;
mod shapes;
mod sign;
mod socket;
pub mod stream;
mod symbols;
mod tape;
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
    BudgetWindows, ConnectionLimits, Continuity, CredentialForm, DecodeError, Decoder, Exchange,
    Feed, FundingRow, NativeStream, PageRequest, ParsedInstruments, Recorded, RestBudget,
    RestFailure, RestRequest, Route, StreamRequest,
};

pub use history::is_depth_snapshot;

/// Connections are combined ones: every message tells its stream, without which a partial book
/// could not be told from a delta.
const SPOT_ROUTES: &[Route] = &[Route {
    name: "public",
    host: "stream.binance.com:9443",
    base_url: "wss://stream.binance.com:9443",
    path: "/stream",
}];

/// Since 2026-04-23 streams live on separate paths; the old ones acknowledge and stay silent.
const PERP_ROUTES: &[Route] = &[
    Route {
        name: "public",
        host: "fstream.binance.com",
        base_url: "wss://fstream.binance.com",
        path: "/public/stream",
    },
    Route {
        name: "market",
        host: "fstream.binance.com",
        base_url: "wss://fstream.binance.com",
        path: "/market/stream",
    },
];

const fn weight(weight_per_window: u32) -> RestBudget {
    RestBudget {
        name: "weight",
        weight_per_window,
        weight_per_instrument: None,
        window_secs: 60,
        used_header: Some("x-mbx-used-weight-1m"),
        remaining_header: None,
    }
}

const SPOT_BUDGETS: [RestBudget; 1] = [weight(6000)];
const PERP_BUDGETS: [RestBudget; 1] = [weight(2400)];

/// Binance.
#[derive(Clone, Copy, Debug)]
pub struct Binance;

impl Exchange for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn markets(&self) -> &'static [Market] {
        &[Market::Spot, Market::Perp]
    }

    fn trading(&self) -> Option<&'static dyn TradingVenue> {
        Some(&Binance)
    }

    fn credential_form(&self) -> CredentialForm {
        CredentialForm {
            kinds: &[SecretKind::Hmac, SecretKind::Ed25519],
            has_passphrase: Some(false),
        }
    }

    fn rest_host(&self, market: Market) -> (&'static str, &'static str) {
        match market {
            Market::Spot => ("api.binance.com", "https://api.binance.com"),
            Market::Perp => ("fapi.binance.com", "https://fapi.binance.com"),
        }
    }

    fn rest_budgets(&self, market: Market) -> &'static [RestBudget] {
        match market {
            Market::Spot => &SPOT_BUDGETS,
            Market::Perp => &PERP_BUDGETS,
        }
    }

    fn budget_windows(&self, _market: Market) -> BudgetWindows {
        // At the full minute, by the exchange's clock.
        BudgetWindows::Aligned
    }

    fn has_consecutive_trades(&self, _market: Market) -> bool {
        true
    }

    fn routes(&self, market: Market) -> &'static [Route] {
        match market {
            Market::Spot => SPOT_ROUTES,
            Market::Perp => PERP_ROUTES,
        }
    }

    fn limits(&self, market: Market) -> ConnectionLimits {
        // Spot: 5 client messages a second, pings and pongs included, or the connection is cut and
        // repeaters are banned; USDⓈ-M: 10. One is kept in hand for the pongs.
        let (messages_per_second, silence_secs) = match market {
            // A ping every 20 seconds.
            Market::Spot => (4, 65),
            // A ping every 3 minutes.
            Market::Perp => (9, 200),
        };
        ConnectionLimits {
            streams_per_connection: 1024,
            messages_per_second,
            // Not documented; keeps a request within 4 KiB at the longest stream names.
            streams_per_request: 100,
            // Stated for spot; assumed for USDⓈ-M.
            connects_per_window: 300,
            connect_window_secs: 300,
            lifetime_secs: Some(24 * 3600),
            silence_secs,
        }
    }

    fn continuity(&self, market: Market) -> Continuity {
        match market {
            Market::Spot => Continuity::Contiguous,
            Market::Perp => Continuity::PreviousLink,
        }
    }

    fn streams(&self, instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
        stream::stream(instrument, feed).into_iter().collect()
    }

    fn silence_limit_secs(&self, feed: Feed) -> Option<u64> {
        match feed {
            // Once a second, whatever happens.
            Feed::Funding => Some(10),
            // Only quiet symbols go a minute without a change of the book.
            Feed::Book | Feed::Ticker => Some(60),
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
        vec![stream::request("SUBSCRIBE", streams, first_id)]
    }

    fn unsubscribe_requests(
        &self,
        _market: Market,
        streams: &[&str],
        first_id: u64,
    ) -> Vec<StreamRequest> {
        vec![stream::request("UNSUBSCRIBE", streams, first_id)]
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

    fn told_budgets(&self, _market: Market, bodies: &[Vec<u8>]) -> Vec<(usize, u32)> {
        let told = bodies
            .first()
            .and_then(|body| instruments::weight_limit(body));
        told.map(|weight| (0, weight)).into_iter().collect()
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

    fn time_request(&self, market: Market) -> RestRequest {
        rest::time(market)
    }

    fn parse_time(&self, body: &[u8]) -> Result<TsNanos, DecodeError> {
        history::time(body)
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
}
