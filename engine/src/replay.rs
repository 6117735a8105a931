//! Replays recorded messages through the same decoder, book and bar code as live data.
//!
//! A pure driver: the caller reads files and clocks, this counts and reports. Start at
//! [`Replay::line`]; what one symbol gathers is in `symbol`, the report in `report`.
//!
//! A line is one of
//! - a raw message as the exchange sent it, bare or in its combined wrapper;
//! - `{"recv_ts":…,"raw":<message>}`, the message as JSON or as a string of JSON;
//! - `{"recv_ts":…,"method":…,"url":…,"raw":…}`: a REST answer, named by its `url`;
//! - a bare REST snapshot, used where it stands for the stream's only symbol.

mod report;
mod symbol;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use report::{LineError, Report, SymbolReport};

use crate::book::sync::DesyncReason;
use crate::event::{Control, Event, EventSink, Skipped};
use crate::exchange::{Continuity, DecodeError, Decoder, Exchange, ProviderId, Recorded};
use crate::instrument::{Instrument, InstrumentId, InstrumentSpec, InstrumentTable, Market};
use symbol::SymbolState;

/// Symbols that are learned from messages when no instrument list names them.
const LEARNED_MAX: usize = 2_000;

/// Digits after the point of learned symbols: the most that Binance prints.
const LEARNED_SCALE: u32 = 8;

/// Options of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Levels of each side in the report.
    pub depth: usize,
    /// Malformed lines that are named; more are only counted.
    pub errors_max: usize,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            depth: 20,
            errors_max: 100_000,
        }
    }
}

/// Why a replay can't start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The provider has no such market.
    #[error("{provider} has no {market} market")]
    Market {
        /// Public name of the provider.
        provider: &'static str,
        /// The market asked for.
        market: Market,
    },
}

/// Why a line could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum LineFault {
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("the snapshot names no symbol, and the stream has {known}")]
    SymbolUnknown { known: usize },
    #[error("the snapshot names no symbol, and no message that would tell it followed")]
    SymbolNeverSeen,
    #[error("`{symbol}` is not a symbol of this market")]
    SymbolRefused { symbol: String },
    #[error("neither a book snapshot nor an instrument list")]
    NotASnapshot,
    #[error("`raw` is neither a JSON object nor a string of JSON")]
    Raw,
}

/// The parts of a recording's own wrapper.
#[derive(Deserialize)]
struct Wrapper<'a> {
    #[serde(borrow)]
    raw: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
}

/// A replay under way.
pub struct Replay {
    decoder: Box<dyn Decoder>,
    /// The line as it came, while a decoder that may change it works on a part of it.
    learned: Vec<InstrumentSpec>,
    state: State,
}

/// What the decoder's events change.
struct State {
    exchange: &'static dyn Exchange,
    provider: ProviderId,
    market: Market,
    rule: Continuity,
    table: Arc<InstrumentTable>,
    symbols: Vec<Option<Box<SymbolState>>>,
    seen: Vec<InstrumentId>,
    /// A bare snapshot that came before any symbol, with its line.
    orphan: Option<(u64, Vec<u8>)>,
    line_no: u64,
    line_events: u32,
    line_unknown_symbol: bool,
    line_unknown_kind: bool,
    report: Report,
    errors_max: usize,
    depth: usize,
    file: Option<Arc<str>>,
}

impl Replay {
    /// A replay of one market's messages.
    ///
    /// # Errors
    /// [`ReplayError::Market`] when the provider lacks the market.
    pub fn new(
        provider: ProviderId,
        market: Market,
        options: ReplayOptions,
    ) -> Result<Self, ReplayError> {
        let exchange = provider.exchange();
        if !exchange.markets().contains(&market) {
            let provider = provider.name();
            return Err(ReplayError::Market { provider, market });
        }
        let table = Arc::new(InstrumentTable::default());
        Ok(Self {
            decoder: exchange.decoder(market, Arc::clone(&table)),
            learned: Vec::new(),
            state: State {
                exchange,
                provider,
                market,
                rule: exchange.continuity(market),
                table,
                symbols: Vec::new(),
                seen: Vec::new(),
                orphan: None,
                line_no: 0,
                line_events: 0,
                line_unknown_symbol: false,
                line_unknown_kind: false,
                report: Report::default(),
                errors_max: options.errors_max,
                depth: options.depth,
                file: None,
            },
        })
    }

    /// Names the file that the next lines come from; errors carry the name.
    pub fn begin_file(&mut self, name: &str) {
        self.state.file = Some(Arc::from(name));
    }

    /// Takes the next line of a recording, without or with its line end. `line_no` counts from 1.
    /// Blank lines are passed over.
    pub fn line(&mut self, line_no: u64, bytes: &[u8]) {
        self.state.report.bytes += bytes.len() as u64;
        let Some(line) = trimmed(bytes) else { return };
        self.state.report.messages += 1;
        self.state.line_no = line_no;
        let result = match Shape::of(line) {
            Shape::Message => self.message(line),
            Shape::Record { start } => self.record(line, start),
            Shape::Other => self.any(line, false),
        };
        if let Err(fault) = result {
            self.state.fault(line_no, &fault);
        }
    }

    /// Takes a line of a file of REST answers: book snapshots and instrument lists, bare or
    /// wrapped. They are no messages of the stream and not counted as such.
    pub fn snapshot_line(&mut self, line_no: u64, bytes: &[u8]) {
        let Some(line) = trimmed(bytes) else { return };
        self.state.line_no = line_no;
        if let Err(fault) = self.any(line, true) {
            self.state.fault(line_no, &fault);
        }
    }

    /// The report. `elapsed` is the time that the caller measured.
    #[must_use]
    pub fn finish(mut self, elapsed: Duration) -> Report {
        if let Some((line_no, _)) = self.state.orphan.take() {
            self.state.fault(line_no, &LineFault::SymbolNeverSeen);
        }
        let State {
            mut report,
            symbols,
            depth,
            ..
        } = self.state;
        report.seconds = elapsed.as_secs_f64();
        for symbol in symbols.into_iter().flatten() {
            let (code, row) = symbol.finish(depth);
            report.symbols.insert(code, row);
        }
        report
    }

    /// A line that looks like a message of a stream.
    #[inline]
    fn message(&mut self, line: &[u8]) -> Result<(), LineFault> {
        self.decode(line)?;
        if self.state.line_unknown_kind && looks_like_rest(line) {
            return self.any(line, false);
        }
        Ok(())
    }

    /// A wrapped message whose value begins at `start` and should end with the line.
    fn record(&mut self, line: &[u8], start: usize) -> Result<(), LineFault> {
        let end = line.len() - 1;
        let result = self.decode(&line[start..end]);
        if result.is_ok() && !(self.state.line_unknown_kind && looks_like_rest(line)) {
            return result;
        }
        // The value did not end where it seemed to, or it is no message of a stream.
        self.any(line, false)
    }

    /// A line of any form, told by parsing it.
    fn any(&mut self, line: &[u8], is_snapshot_only: bool) -> Result<(), LineFault> {
        let Ok(wrapper) = serde_json::from_slice::<Wrapper<'_>>(line) else {
            return self.decode(line);
        };
        let Some(raw) = wrapper.raw else {
            return self.body(None, line, is_snapshot_only);
        };
        let body = match raw.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(raw.get())
                .map_err(|_| LineFault::Raw)?
                .into_bytes(),
            Some(b'{' | b'[') => raw.get().as_bytes().to_vec(),
            _ => return Err(LineFault::Raw),
        };
        let url = wrapper.url.map(Cow::into_owned);
        self.body(url.as_deref(), &body, is_snapshot_only)
    }

    fn body(
        &mut self,
        url: Option<&str>,
        body: &[u8],
        is_snapshot_only: bool,
    ) -> Result<(), LineFault> {
        match self.state.exchange.recorded(url, body) {
            Recorded::Message if is_snapshot_only => Err(LineFault::NotASnapshot),
            Recorded::Message => self.decode(body),
            Recorded::Snapshot { native_symbol } => {
                self.snapshot(native_symbol, &mut body.to_vec())
            }
            Recorded::Instruments => self.instruments(body),
            Recorded::Other => {
                self.state.report.other_answers += 1;
                Ok(())
            }
        }
    }

    #[inline]
    fn decode(&mut self, frame: &[u8]) -> Result<(), LineFault> {
        self.state.line_events = 0;
        self.state.line_unknown_symbol = false;
        self.state.line_unknown_kind = false;
        self.decoder.decode(frame, &mut self.state)?;
        if self.state.line_unknown_symbol && self.state.line_events == 0 {
            return self.learn_from(frame);
        }
        Ok(())
    }

    /// Decodes a frame of an unknown symbol again, now that its name has been looked up.
    #[inline(never)]
    fn learn_from(&mut self, frame: &[u8]) -> Result<(), LineFault> {
        let symbol = self.state.exchange.message_symbol(self.state.market, frame);
        let is_new = symbol.is_some_and(|symbol| self.learn(&symbol).is_some());
        if is_new {
            self.state.report.unknown_symbols -= 1;
            self.decoder.decode(frame, &mut self.state)?;
        }
        Ok(())
    }

    /// The instrument of a native symbol, taken into the table when it is not there. `None` when
    /// too many have been learned.
    fn learn(&mut self, native_symbol: &str) -> Option<Arc<Instrument>> {
        let State {
            provider, market, ..
        } = self.state;
        let known = self.state.table.by_native(provider, market, native_symbol);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        if self.learned.len() >= LEARNED_MAX {
            return None;
        }
        let spec = learned_spec(provider, market, native_symbol);
        self.learned.push(spec);
        self.rebuild_table(Vec::new());
        let table = &self.state.table;
        table.by_native(provider, market, native_symbol).cloned()
    }

    /// Makes the table anew. Instruments that have data keep their scales: what has been counted
    /// is counted in them.
    fn rebuild_table(&mut self, listed: Vec<InstrumentSpec>) {
        let old = &self.state.table;
        let keep = |spec: &InstrumentSpec| {
            let known = old.by_native(spec.provider, spec.market, &spec.native_symbol);
            known.is_none_or(|row| self.state.symbol(row.id).is_none())
        };
        let mut specs: Vec<InstrumentSpec> = listed.into_iter().filter(keep).collect();
        for spec in old.iter().map(|row| &row.spec).chain(&self.learned) {
            let is_replaced = |new: &InstrumentSpec| new.native_symbol == spec.native_symbol;
            if !specs.iter().any(is_replaced) {
                specs.push(spec.clone());
            }
        }
        let State {
            provider, market, ..
        } = self.state;
        let table = Arc::new(old.with_market(provider, market, specs));
        self.state.table = Arc::clone(&table);
        self.decoder.set_table(table);
    }

    fn instruments(&mut self, body: &[u8]) -> Result<(), LineFault> {
        let State {
            exchange, market, ..
        } = self.state;
        let (specs, _left_out) = exchange.parse_instruments(market, &[body.to_vec()])?;
        self.rebuild_table(specs);
        Ok(())
    }

    fn snapshot(&mut self, symbol: Option<String>, body: &mut [u8]) -> Result<(), LineFault> {
        if let Some(symbol) = symbol {
            let Some(instrument) = self.learn(&symbol) else {
                return Err(LineFault::SymbolRefused { symbol });
            };
            return self.state.snapshot(instrument.id, body);
        }
        match self.state.seen.as_slice() {
            [only] => self.state.snapshot(*only, body),
            [] => {
                self.state.orphan = Some((self.state.line_no, body.to_vec()));
                Ok(())
            }
            many => Err(LineFault::SymbolUnknown { known: many.len() }),
        }
    }
}

impl State {
    fn symbol(&self, id: InstrumentId) -> Option<&SymbolState> {
        self.symbols.get(id.0 as usize)?.as_deref()
    }

    #[inline]
    fn symbol_mut(&mut self, id: InstrumentId) -> Option<&mut SymbolState> {
        let is_known = matches!(self.symbols.get(id.0 as usize), Some(Some(_)));
        if !is_known {
            self.open(id)?;
        }
        self.symbols.get_mut(id.0 as usize)?.as_deref_mut()
    }

    #[inline(never)]
    fn open(&mut self, id: InstrumentId) -> Option<()> {
        let instrument = Arc::clone(self.table.get(id)?);
        let index = id.0 as usize;
        if self.symbols.len() <= index {
            self.symbols.resize_with(index + 1, || None);
        }
        self.symbols[index] = Some(Box::new(SymbolState::new(instrument, self.rule)));
        self.seen.push(id);
        if let Some((line_no, mut body)) = self.orphan.take()
            && let Err(fault) = self.snapshot(id, &mut body)
        {
            self.fault(line_no, &fault);
        }
        Some(())
    }

    fn snapshot(&mut self, id: InstrumentId, body: &mut [u8]) -> Result<(), LineFault> {
        let exchange = self.exchange;
        let Some(symbol) = self.symbol_mut(id) else {
            return Ok(());
        };
        let snapshot = exchange.parse_snapshot(symbol.instrument(), body)?;
        symbol.on_snapshot(&snapshot);
        Ok(())
    }

    #[inline(never)]
    fn fault(&mut self, line: u64, fault: &LineFault) {
        self.report.errors_total += 1;
        if self.report.errors.len() < self.errors_max {
            self.report.errors.push(LineError {
                file: self.file.clone(),
                line,
                reason: fault.to_string(),
            });
        }
    }
}

impl EventSink for State {
    #[inline]
    fn event(&mut self, instrument: InstrumentId, event: Event<'_>) {
        self.line_events += 1;
        let Some(symbol) = self.symbol_mut(instrument) else {
            return;
        };
        match event {
            Event::Book(delta) => symbol.on_delta(&delta),
            Event::BookImage(image) => symbol.on_image(&image),
            Event::Trade(trade) => symbol.on_trade(&trade),
            Event::Ticker(ticker) => symbol.on_ticker(&ticker),
            Event::Kline(_) => symbol.native_klines += 1,
            Event::Funding(_) => symbol.funding += 1,
        }
    }

    fn control(&mut self, control: Control) {
        self.report.control += 1;
        match control {
            Control::Lost { expected, got } => {
                for symbol in self.symbols.iter_mut().flatten() {
                    symbol.on_loss(DesyncReason::Gap { expected, got });
                }
            }
            Control::BadBook { instrument } => {
                if let Some(symbol) = self.symbol_mut(instrument) {
                    symbol.on_loss(DesyncReason::Checksum);
                }
            }
            _ => {}
        }
    }

    fn skipped(&mut self, kind: Skipped) {
        match kind {
            Skipped::UnknownSymbol => {
                self.line_unknown_symbol = true;
                self.report.unknown_symbols += 1;
            }
            Skipped::UnknownKind => {
                self.line_unknown_kind = true;
                self.report.skipped += 1;
            }
            Skipped::UnservedLevel
            | Skipped::OtherMarket
            | Skipped::History
            | Skipped::Duplicate => self.report.skipped += 1,
        }
    }
}

/// What a line seems to be, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A message of a stream.
    Message,
    /// `{"recv_ts":…,"raw":<object>}` whose object begins at `start`.
    Record { start: usize },
    /// Has to be parsed to be told.
    Other,
}

/// First keys of a recording's wrappers and of REST answers.
const OTHER_FIRST_KEYS: [&[u8]; 9] = [
    b"recv_ts",
    b"sent_ts",
    b"method",
    b"url",
    b"raw",
    b"lastUpdateId",
    b"timezone",
    b"bids",
    b"symbols",
];

impl Shape {
    #[inline]
    fn of(line: &[u8]) -> Self {
        let Some(rest) = line
            .strip_prefix(b"{")
            .map(<[u8]>::trim_ascii_start)
            .and_then(|rest| rest.strip_prefix(b"\""))
        else {
            return Self::Message;
        };
        // Keys of messages are short or end early; nothing is searched far.
        let key = rest.iter().take(13).position(|byte| *byte == b'"');
        let Some(key) = key.and_then(|end| rest.get(..end)) else {
            return Self::Message;
        };
        if key.len() < 3 || !OTHER_FIRST_KEYS.contains(&key) {
            return Self::Message;
        }
        if key == b"recv_ts" {
            Self::of_record(line, rest.get(key.len() + 1..).unwrap_or_default())
        } else {
            Self::Other
        }
    }

    /// `rest` is what follows `{"recv_ts"`.
    fn of_record(line: &[u8], rest: &[u8]) -> Self {
        let skip = |rest: &'_ [u8], byte: u8| -> Option<usize> {
            let trimmed = rest.trim_ascii_start();
            (trimmed.first() == Some(&byte)).then_some(rest.len() - trimmed.len() + 1)
        };
        let found = (|| {
            let mut rest = rest.get(skip(rest, b':')?..)?.trim_ascii_start();
            let digits = rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
            rest = rest.get(digits.count()..)?;
            rest = rest.get(skip(rest, b',')?..)?.trim_ascii_start();
            rest = rest.strip_prefix(b"\"raw\"")?;
            rest = rest.get(skip(rest, b':')?..)?.trim_ascii_start();
            (rest.first() == Some(&b'{') && rest.ends_with(b"}")).then_some(line.len() - rest.len())
        })();
        found.map_or(Self::Other, |start| Self::Record { start })
    }
}

/// The line without surrounding blanks; `None` when nothing is left.
#[inline]
fn trimmed(bytes: &[u8]) -> Option<&[u8]> {
    Some(bytes.trim_ascii()).filter(|line| !line.is_empty())
}

/// A message of no known kind that may be a REST answer or a wrapper whose keys are in an unusual
/// order.
fn looks_like_rest(line: &[u8]) -> bool {
    [&b"\"raw\""[..], b"\"bids\"", b"\"symbols\""]
        .iter()
        .any(|key| memchr::memmem::find(line, key).is_some())
}

/// An instrument of which nothing but the symbol is known.
fn learned_spec(provider: ProviderId, market: Market, native_symbol: &str) -> InstrumentSpec {
    let step = Decimal::new(1, LEARNED_SCALE);
    InstrumentSpec {
        provider,
        exchange: provider.name().to_owned(),
        market,
        native_symbol: native_symbol.to_owned(),
        // The text is not split: where the base ends is not known, and the code is the whole.
        base_symbol: native_symbol.to_owned(),
        quote_symbol: String::new(),
        settlement_symbol: None,
        price_step: step,
        qty_step: step,
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    }
}
