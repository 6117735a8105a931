//! Rows as every store keeps them.

use std::fmt;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::{BOOK_LEVELS_MAX, BookRow};
use crate::event::{self, Kline, Side, Trade};
use crate::exchange;
use crate::instrument::Instrument;
use crate::num::NumError;
use crate::time::{Level, TsNanos};

/// Whose rows: an entity of a provider. Shared by all its rows.
///
/// The provider belongs to the key: provider `ccxt` can carry the same exchange, and so the same
/// entity id, as a native provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// Source of the data: `binance`.
    pub provider: String,
    /// `cryptopair_binance_btcusdt`.
    pub entity_id: String,
    /// `btcusdt`.
    pub code: String,
}

impl Entity {
    /// The entity of an instrument. Make it once and share it.
    #[must_use]
    pub fn of(instrument: &Instrument) -> Arc<Self> {
        Arc::new(Self {
            provider: instrument.spec.provider.name().to_owned(),
            entity_id: instrument.entity_id(),
            code: instrument.code.clone(),
        })
    }
}

/// An exchange's id of a trade: a number where it is one, so that it sorts as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TradeId {
    /// A number without sign and leading zeros.
    Number(u64),
    /// Anything else, as the exchange writes it.
    Text(Box<str>),
}

impl TradeId {
    /// The id of an exchange's text: `"007"` and `"7"` stay different ids.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.parse::<u64>() {
            Ok(number) if text == "0" || !text.starts_with(['0', '+']) => Self::Number(number),
            _ => Self::Text(text.into()),
        }
    }
}

impl From<event::TradeId> for TradeId {
    fn from(id: event::TradeId) -> Self {
        match id {
            event::TradeId::Number(number) => Self::Number(number),
            other => Self::Text(other.to_string().into()),
        }
    }
}

impl From<u64> for TradeId {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A public match. Key: entity and trade id; the first row of a key stays.
///
/// A store whose keys must hold the time may take rows of one id that stand more than a second apart
/// for two matches: an exchange tells a match's time once, at most cut to whole seconds elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradeRow {
    /// Whose.
    pub entity: Arc<Entity>,
    /// The exchange's time of the match.
    pub ts: TsNanos,
    /// The exchange's id.
    pub trade_id: TradeId,
    /// Price of the match, quote units.
    pub price: Decimal,
    /// Quantity, base units.
    pub volume: Decimal,
    /// The taker's side.
    pub side: Side,
}

impl TradeRow {
    /// The row of an event.
    #[must_use]
    pub fn new(entity: &Arc<Entity>, instrument: &Instrument, trade: &Trade) -> Self {
        Self {
            entity: Arc::clone(entity),
            ts: trade.ts_event,
            trade_id: trade.trade_id.into(),
            price: Decimal::new(trade.price.0, u32::from(instrument.price_scale)),
            volume: Decimal::new(trade.qty.0, u32::from(instrument.qty_scale)),
            side: trade.taker_side,
        }
    }
}

/// A closed bar. Key: entity, level and open time; a later row of a key replaces the earlier one,
/// because exchanges correct bars after their close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KlineRow {
    /// Whose.
    pub entity: Arc<Entity>,
    /// Bar length.
    pub level: Level,
    /// The bar's open time.
    pub ts: TsNanos,
    /// First price, quote units.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Traded quantity, base units.
    pub volume_base: Decimal,
    /// Traded value, quote units; `None` where the exchange does not tell it.
    pub volume_quote: Option<Decimal>,
    /// Number of single matches; `None` where the exchange does not tell it.
    pub trade_count: Option<u64>,
}

impl KlineRow {
    /// The row of a bar; whether it is closed is the caller's to know.
    ///
    /// # Errors
    /// [`NumError::Overflow`] when the traded value needs more than the 96 bits of a decimal even
    /// without its trailing zeros.
    pub fn new(
        entity: &Arc<Entity>,
        instrument: &Instrument,
        kline: &Kline,
    ) -> Result<Self, NumError> {
        let price_scale = u32::from(instrument.price_scale);
        let qty_scale = u32::from(instrument.qty_scale);
        let price = |mantissa: i64| Decimal::new(mantissa, price_scale);
        Ok(Self {
            entity: Arc::clone(entity),
            level: kline.level,
            ts: kline.open_time,
            open: price(kline.open.0),
            high: price(kline.high.0),
            low: price(kline.low.0),
            close: price(kline.close.0),
            volume_base: Decimal::new(kline.volume.0, qty_scale),
            volume_quote: kline
                .volume_quote
                .map(|value| wide_decimal(value, price_scale + qty_scale))
                .transpose()?,
            trade_count: kline.trade_count,
        })
    }
}

/// `mantissa × 10^-scale` as a decimal, exactly.
pub(super) fn wide_decimal(mut mantissa: i128, mut scale: u32) -> Result<Decimal, NumError> {
    loop {
        if let Ok(value) = Decimal::try_from_i128_with_scale(mantissa, scale) {
            return Ok(value);
        }
        if scale == 0 || mantissa % 10 != 0 {
            return Err(NumError::Overflow);
        }
        mantissa /= 10;
        scale -= 1;
    }
}

/// A settled funding payment. Key: entity and settlement time; a later row of a key replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FundingRow {
    /// Whose.
    pub entity: Arc<Entity>,
    /// Settlement time.
    pub ts: TsNanos,
    /// Rate charged, a fraction.
    pub funding_rate: Decimal,
    /// Rate that was predicted for the settlement after, a fraction; `None`: not sent.
    pub predicted_rate: Option<Decimal>,
    /// Hours between settlements; `None`: unknown.
    pub funding_interval_hours: Option<u32>,
    /// Mark price at settlement; `None`: not sent.
    pub mark_price: Option<Decimal>,
    /// Index price at settlement; `None`: not sent.
    pub index_price: Option<Decimal>,
    /// The settlement after; `None`: unknown.
    pub next_funding_time: Option<TsNanos>,
}

impl FundingRow {
    /// The row of a settlement out of an exchange's history.
    #[must_use]
    pub fn new(
        entity: &Arc<Entity>,
        instrument: &Instrument,
        settled: &exchange::FundingRow,
    ) -> Self {
        use crate::event::Funding;
        let hours = instrument.spec.funding_interval_hours;
        let next = hours.and_then(|hours| {
            settled
                .time
                .0
                .checked_add(i64::from(hours).checked_mul(3_600_000_000_000)?)
        });
        Self {
            entity: Arc::clone(entity),
            ts: settled.time,
            funding_rate: Decimal::new(settled.rate, u32::from(Funding::RATE_SCALE)),
            predicted_rate: None,
            funding_interval_hours: hours,
            mark_price: settled
                .mark_price
                .map(|price| Decimal::new(price, u32::from(Funding::PRICE_SCALE))),
            index_price: None,
            next_funding_time: next.map(TsNanos),
        }
    }
}

/// Rows that belong together: what is complete or missing is known for each series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// Closed bars of a level.
    Klines(Level),
    /// Matches.
    Trades,
    /// Settled funding.
    Funding,
}

/// A span of time, start inclusive, end exclusive, so that neighbours join without a hole. For
/// bars it covers open times: one minute bar at 12:00 is `12:00..12:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First instant.
    pub start: TsNanos,
    /// First instant after it.
    pub end: TsNanos,
}

impl Span {
    /// True when it holds nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start.0 >= self.end.0
    }
}

/// A promise that the store holds every row of a series that exists in a span. It is written with
/// or after the rows that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageRow {
    /// Whose.
    pub entity: Arc<Entity>,
    /// Of which series.
    pub series: Series,
    /// From when to when.
    pub span: Span,
}

/// Anything that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A public match.
    Trade(TradeRow),
    /// A closed bar.
    Kline(KlineRow),
    /// A settled funding payment.
    Funding(FundingRow),
    /// The top of a book.
    Book(BookRow),
    /// A promise about the rows written before it.
    Coverage(CoverageRow),
}

impl Row {
    /// Whose row it is.
    #[must_use]
    pub fn entity(&self) -> &Arc<Entity> {
        match self {
            Self::Trade(row) => &row.entity,
            Self::Kline(row) => &row.entity,
            Self::Funding(row) => &row.entity,
            Self::Book(row) => &row.entity,
            Self::Coverage(row) => &row.entity,
        }
    }

    /// Why no store can read the row back as it is; `None`: each can.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        match self {
            Self::Kline(kline) if i64::try_from(kline.trade_count.unwrap_or(0)).is_err() => {
                Some("trade_count is beyond 63 bits")
            }
            Self::Kline(kline) if kline.ts != kline.ts.floor_to(kline.level) => {
                Some("the open time is not on the level's grid")
            }
            Self::Book(book)
                if u32::from(book.price_scale.max(book.qty_scale)) > Decimal::MAX_SCALE =>
            {
                Some("a scale of the book is beyond 28 digits")
            }
            Self::Book(book) if book.bids.len().max(book.asks.len()) > BOOK_LEVELS_MAX => {
                Some("the book has more than 5000 levels a side")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trade_ids_are_numbers_only_when_the_text_comes_back() {
        for text in [
            "0",
            "7",
            "18446744073709551615",
            "007",
            "+7",
            "",
            "18446744073709551616",
        ] {
            assert_eq!(TradeId::parse(text).to_string(), text);
        }
        assert_eq!(TradeId::parse("7"), TradeId::Number(7));
        assert_ne!(TradeId::parse("007"), TradeId::parse("7"));
    }

    #[test]
    fn traded_value_is_exact_up_to_96_bits() {
        let exact = wide_decimal(12_345_678_901_234_567_890_123, 9).unwrap();
        assert_eq!(exact.to_string(), "12345678901234.567890123");
        let zeros = wide_decimal(10i128.pow(30), 12).unwrap();
        assert_eq!(zeros, Decimal::new(10i64.pow(18), 0));
        assert_eq!(
            wide_decimal(10i128.pow(30) + 1, 12),
            Err(NumError::Overflow)
        );
        assert_eq!(
            wide_decimal(1, 36),
            Err(NumError::Overflow),
            "no decimal has 36 places"
        );
    }
}
