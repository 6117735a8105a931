//! Binance spot and USDⓈ-M perpetual futures.

/// Binance.
pub struct Binance;

use super::*;
use crate::event::*;
use crate::instrument::*;
use crate::time::*;
use std::sync::Arc;
impl Exchange for Binance {
    fn name(&self) -> &'static str {
        unimplemented!()
    }
    fn markets(&self) -> &'static [Market] {
        unimplemented!()
    }
    fn rest_host(&self, market: Market) -> (&'static str, &'static str) {
        unimplemented!()
    }
    fn rest_budget(&self, market: Market) -> RestBudget {
        unimplemented!()
    }
    fn routes(&self, market: Market) -> &'static [Route] {
        unimplemented!()
    }
    fn limits(&self, market: Market) -> ConnectionLimits {
        unimplemented!()
    }
    fn continuity(&self, market: Market) -> Continuity {
        unimplemented!()
    }
    fn stream(&self, instrument: &Instrument, feed: Feed) -> Option<NativeStream> {
        unimplemented!()
    }
    fn silence_limit_secs(&self, feed: Feed) -> Option<u64> {
        unimplemented!()
    }
    fn subscribe_request(&self, streams: &[&str], id: u64) -> String {
        unimplemented!()
    }
    fn unsubscribe_request(&self, streams: &[&str], id: u64) -> String {
        unimplemented!()
    }
    fn decoder(&self, market: Market, table: Arc<InstrumentTable>) -> Box<dyn Decoder> {
        unimplemented!()
    }
    fn instrument_requests(&self, market: Market) -> Vec<RestRequest> {
        unimplemented!()
    }
    fn parse_instruments(
        &self,
        market: Market,
        bodies: &[Vec<u8>],
    ) -> Result<(Vec<InstrumentSpec>, Vec<(String, usize)>), DecodeError> {
        unimplemented!()
    }
    fn snapshot_request(&self, instrument: &Instrument, depth: usize) -> RestRequest {
        unimplemented!()
    }
    fn parse_snapshot(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<BookSnapshot, DecodeError> {
        unimplemented!()
    }
    fn kline_request(
        &self,
        instrument: &Instrument,
        level: Level,
        page: PageRequest,
    ) -> Option<RestRequest> {
        unimplemented!()
    }
    fn parse_klines(
        &self,
        instrument: &Instrument,
        level: Level,
        body: &mut [u8],
        now: TsNanos,
    ) -> Result<Vec<Kline>, DecodeError> {
        unimplemented!()
    }
    fn trade_request(&self, instrument: &Instrument, page: PageRequest) -> RestRequest {
        unimplemented!()
    }
    fn parse_trades(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<Trade>, DecodeError> {
        unimplemented!()
    }
    fn funding_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
        unimplemented!()
    }
    fn parse_funding(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<FundingRow>, DecodeError> {
        unimplemented!()
    }
    fn time_request(&self, market: Market) -> RestRequest {
        unimplemented!()
    }
    fn parse_time(&self, body: &[u8]) -> Result<TsNanos, DecodeError> {
        unimplemented!()
    }
    fn rest_failure(
        &self,
        market: Market,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> RestFailure {
        unimplemented!()
    }
}
