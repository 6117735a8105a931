//! Rows of all kinds as bytes, for the spool. Entities are written once and then numbered.

use std::sync::Arc;

use ahash::AHashMap;
use rust_decimal::Decimal;

use super::varint::{fold, put, take, unfold};
use super::{
    BOOK_LEVELS_MAX, BookRow, CoverageRow, Entity, FundingRow, KlineRow, Row, Series, Span,
    TradeId, TradeRow,
};
use crate::event::Side;
use crate::time::{Level, TsNanos};

/// First byte of every encoding; another layout gets another number.
const VERSION: u8 = 1;
/// Longest text (provider, entity id, code, trade id) that is taken back, bytes.
const TEXT_MAX: usize = 4_096;

/// Tags of rows.
mod tag {
    pub(super) const TRADE_BUY: u8 = 0;
    pub(super) const TRADE_SELL: u8 = 1;
    pub(super) const KLINE: u8 = 2;
    pub(super) const FUNDING: u8 = 3;
    pub(super) const BOOK: u8 = 4;
    pub(super) const COVERAGE: u8 = 5;
    /// Defines the entity of the next number, counted from 0.
    pub(super) const ENTITY: u8 = 6;
}

/// Appends rows to `out`. [`decode`] gives them back, equal to the last digit.
pub fn encode(rows: &[Row], out: &mut Vec<u8>) {
    out.push(VERSION);
    put(out, rows.len() as u128);
    let mut numbers: AHashMap<usize, u128> = AHashMap::new();
    let mut last = (0usize, 0u128);
    for row in rows {
        // By address, as rows of an entity share it: an entity that lies at two addresses is
        // written twice, which costs bytes and nothing else.
        let address = Arc::as_ptr(row.entity()).addr();
        if address != last.0 {
            let next = numbers.len() as u128;
            let number = *numbers.entry(address).or_insert_with(|| {
                out.push(tag::ENTITY);
                let entity = row.entity();
                for part in [&entity.provider, &entity.entity_id, &entity.code] {
                    text(out, part);
                }
                next
            });
            last = (address, number);
        }
        encode_row(row, last.1, out);
    }
}

fn encode_row(row: &Row, entity: u128, out: &mut Vec<u8>) {
    let mut head = |tag: u8| {
        out.push(tag);
        put(out, entity);
    };
    match row {
        Row::Trade(row) => {
            head(match row.side {
                Side::Buy => tag::TRADE_BUY,
                Side::Sell => tag::TRADE_SELL,
            });
            time(out, row.ts);
            match &row.trade_id {
                TradeId::Number(number) => put(out, u128::from(*number) << 1),
                TradeId::Text(id) => {
                    out.push(1);
                    text(out, id);
                }
            }
            decimal(out, row.price);
            decimal(out, row.volume);
        }
        Row::Kline(row) => {
            head(tag::KLINE);
            out.push(row.level as u8);
            time(out, row.ts);
            for value in [row.open, row.high, row.low, row.close, row.volume_base] {
                decimal(out, value);
            }
            optional(out, row.volume_quote, decimal);
            optional(out, row.trade_count, |out, count| put(out, count.into()));
        }
        Row::Funding(row) => {
            head(tag::FUNDING);
            time(out, row.ts);
            decimal(out, row.funding_rate);
            for value in [row.predicted_rate, row.mark_price, row.index_price] {
                optional(out, value, decimal);
            }
            optional(out, row.funding_interval_hours, |out, hours| {
                put(out, hours.into());
            });
            optional(out, row.next_funding_time, time);
        }
        Row::Book(row) => {
            head(tag::BOOK);
            time(out, row.ts);
            put(out, row.sequence.into());
            out.extend_from_slice(&[row.price_scale, row.qty_scale]);
            let levels = row.pack_levels();
            put(out, levels.len() as u128);
            out.extend_from_slice(&levels);
        }
        Row::Coverage(row) => {
            head(tag::COVERAGE);
            out.push(match row.series {
                Series::Klines(level) => level as u8,
                Series::Trades => SERIES_TRADES,
                Series::Funding => SERIES_FUNDING,
            });
            time(out, row.span.start);
            time(out, row.span.end);
        }
    }
}

/// Numbers of series that are no bars; bars have the number of their level.
const SERIES_TRADES: u8 = 100;
const SERIES_FUNDING: u8 = 101;

fn text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
}

fn time(out: &mut Vec<u8>, ts: TsNanos) {
    put(out, fold(ts.0.into()));
}

fn decimal(out: &mut Vec<u8>, value: Decimal) {
    out.push(value.scale() as u8);
    put(out, fold(value.mantissa()));
}

fn optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// The rows of [`encode`]; `None`: the bytes are damaged or of a newer version.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Row>> {
    let mut bytes = Bytes(bytes);
    if bytes.byte()? != VERSION {
        return None;
    }
    let count = bytes.size()?;
    // A row has at least four bytes: a damaged count must not reserve the memory of the machine.
    let mut rows = Vec::with_capacity(count.min(bytes.0.len() / 4));
    let mut entities: Vec<Arc<Entity>> = Vec::new();
    while rows.len() < count {
        match bytes.byte()? {
            tag::ENTITY => entities.push(Arc::new(Entity {
                provider: bytes.text()?,
                entity_id: bytes.text()?,
                code: bytes.text()?,
            })),
            tag => {
                let entity = entities.get(bytes.size()?)?;
                rows.push(bytes.row(tag, Arc::clone(entity))?);
            }
        }
    }
    bytes.0.is_empty().then_some(rows)
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn row(&mut self, tag: u8, entity: Arc<Entity>) -> Option<Row> {
        Some(match tag {
            tag::TRADE_BUY | tag::TRADE_SELL => Row::Trade(TradeRow {
                entity,
                side: match tag {
                    tag::TRADE_BUY => Side::Buy,
                    _ => Side::Sell,
                },
                ts: self.time()?,
                trade_id: match take(&mut self.0)? {
                    1 => TradeId::Text(self.text()?.into()),
                    number if number & 1 == 0 => TradeId::Number(u64::try_from(number >> 1).ok()?),
                    _ => return None,
                },
                price: self.decimal()?,
                volume: self.decimal()?,
            }),
            tag::KLINE => Row::Kline(KlineRow {
                entity,
                level: level(self.byte()?)?,
                ts: self.time()?,
                open: self.decimal()?,
                high: self.decimal()?,
                low: self.decimal()?,
                close: self.decimal()?,
                volume_base: self.decimal()?,
                volume_quote: self.optional(Self::decimal)?,
                trade_count: self.optional(Self::unsigned)?,
            }),
            tag::FUNDING => Row::Funding(FundingRow {
                entity,
                ts: self.time()?,
                funding_rate: self.decimal()?,
                predicted_rate: self.optional(Self::decimal)?,
                mark_price: self.optional(Self::decimal)?,
                index_price: self.optional(Self::decimal)?,
                funding_interval_hours: self
                    .optional(|bytes| u32::try_from(bytes.unsigned()?).ok())?,
                next_funding_time: self.optional(Self::time)?,
            }),
            tag::BOOK => {
                let (ts, sequence) = (self.time()?, self.unsigned()?);
                let (price_scale, qty_scale) = (self.byte()?, self.byte()?);
                let size = self.size()?;
                let levels = self.cut(size)?;
                let (bids, asks) = BookRow::unpack_levels(levels, BOOK_LEVELS_MAX)?;
                Row::Book(BookRow {
                    entity,
                    ts,
                    sequence,
                    price_scale,
                    qty_scale,
                    bids,
                    asks,
                })
            }
            tag::COVERAGE => Row::Coverage(CoverageRow {
                entity,
                series: match self.byte()? {
                    SERIES_TRADES => Series::Trades,
                    SERIES_FUNDING => Series::Funding,
                    number => Series::Klines(level(number)?),
                },
                span: Span {
                    start: self.time()?,
                    end: self.time()?,
                },
            }),
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn cut(&mut self, size: usize) -> Option<&[u8]> {
        let (cut, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(cut)
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(take(&mut self.0)?).ok()
    }

    fn unsigned(&mut self) -> Option<u64> {
        u64::try_from(take(&mut self.0)?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let size = self.size().filter(|size| *size <= TEXT_MAX)?;
        Some(std::str::from_utf8(self.cut(size)?).ok()?.to_owned())
    }

    fn time(&mut self) -> Option<TsNanos> {
        i64::try_from(unfold(take(&mut self.0)?)).ok().map(TsNanos)
    }

    fn decimal(&mut self) -> Option<Decimal> {
        let scale = self.byte()?;
        let mantissa = unfold(take(&mut self.0)?);
        Decimal::try_from_i128_with_scale(mantissa, scale.into()).ok()
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => Some(Some(read(self)?)),
            _ => None,
        }
    }
}

fn level(number: u8) -> Option<Level> {
    Level::ALL.get(usize::from(number)).copied()
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
