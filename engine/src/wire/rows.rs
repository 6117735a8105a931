//! The rows of the public schemas.

use rust_decimal::Decimal;

use super::quotient::quotient;
use super::table::{Cell, TableRow};
use super::text::{write_date, write_int, write_timestamp, write_timestamp_secs};
use crate::event::{BookLevel, Side};
use crate::instrument::Instrument;
use crate::store::{BookRow, FundingRow, KlineRow, TradeId, TradeRow};
use crate::time::{Level, TsNanos};

/// A row of `CryptoAsset`: an asset that an exchange trades something against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetRow<'a> {
    /// The venue.
    pub exchange: &'a str,
    /// Lower case: `btc`.
    pub code: &'a str,
    /// As the exchange writes it: `BTC`.
    pub name: &'a str,
}

impl TableRow for AssetRow<'_> {
    const COLUMNS: &'static [&'static str] =
        &["id", "entity_id", "entity_type", "exchange", "code", "name"];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        match Self::COLUMNS[column] {
            "id" | "entity_id" => {
                cell.parts(&["cryptoasset_", self.exchange, "_", self.code], |_| ())
            }
            "entity_type" => cell.text("cryptoasset"),
            "exchange" => cell.text(self.exchange),
            "code" => cell.text(self.code),
            "name" => cell.text(self.name),
            _ => cell.null(),
        }
    }
}

/// The columns that spot pairs and perpetuals share.
fn instrument_cell(instrument: &Instrument, column: &str, cell: &mut Cell<'_>) {
    let spec = &instrument.spec;
    match column {
        "id" | "entity_id" => cell.parts(
            &[
                spec.market.entity_type(),
                "_",
                &spec.exchange,
                "_",
                &instrument.code,
            ],
            |_| (),
        ),
        "entity_type" => cell.text(spec.market.entity_type()),
        "exchange" => cell.text(&spec.exchange),
        "code" => cell.text(&instrument.code),
        "name" => cell.text(&instrument.name()),
        "base_symbol" => cell.text(&spec.base_symbol),
        "quote_symbol" => cell.text(&spec.quote_symbol),
        "price_step" => cell.decimal(spec.price_step),
        "qty_step" => cell.decimal(spec.qty_step),
        "min_notional" => cell.decimal_opt(spec.min_notional),
        "maker_fee" => cell.decimal_opt(spec.maker_fee),
        "taker_fee" => cell.decimal_opt(spec.taker_fee),
        "is_active" => cell.flag(spec.is_active),
        "margin_enabled" => cell.flag(spec.margin_enabled),
        "list_date" => cell.time_opt(spec.list_date),
        "min_qty" => cell.decimal_opt(spec.min_qty),
        "max_qty" => cell.decimal_opt(spec.max_qty),
        "native_symbol" => cell.text(&spec.native_symbol),
        "provider" => cell.text(spec.provider.name()),
        // For a linear perpetual the underlying is the base asset.
        "underlying_symbol" => cell.text(&spec.base_symbol),
        "settlement_symbol" => cell.text_opt(spec.settlement_symbol.as_deref()),
        "contract_size" => cell.decimal(spec.contract_size),
        "max_leverage" => cell.integer_opt(spec.max_leverage.map(u64::from)),
        "funding_interval_hours" => cell.integer_opt(spec.funding_interval_hours.map(u64::from)),
        _ => cell.null(),
    }
}

/// A row of `CryptoPair`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairRow<'a>(pub &'a Instrument);

impl TableRow for PairRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "entity_id",
        "entity_type",
        "exchange",
        "code",
        "name",
        "base_symbol",
        "quote_symbol",
        "price_step",
        "qty_step",
        "min_notional",
        "maker_fee",
        "taker_fee",
        "is_active",
        "margin_enabled",
        "list_date",
        "min_qty",
        "max_qty",
        "native_symbol",
        "provider",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        instrument_cell(self.0, Self::COLUMNS[column], cell);
    }
}

/// A row of `CryptoPerp`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerpRow<'a>(pub &'a Instrument);

impl TableRow for PerpRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "entity_id",
        "entity_type",
        "exchange",
        "code",
        "name",
        "base_symbol",
        "quote_symbol",
        "underlying_symbol",
        "settlement_symbol",
        "contract_size",
        "max_leverage",
        "funding_interval_hours",
        "price_step",
        "qty_step",
        "min_notional",
        "maker_fee",
        "taker_fee",
        "is_active",
        "margin_enabled",
        "list_date",
        "min_qty",
        "max_qty",
        "native_symbol",
        "provider",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        instrument_cell(self.0, Self::COLUMNS[column], cell);
    }
}

/// Appends the time part of a bar's row id: the date for daily bars, else to the second.
pub fn kline_id_time(out: &mut Vec<u8>, level: Level, open_time: TsNanos) {
    if level == Level::D1 {
        write_date(out, open_time);
    } else {
        write_timestamp_secs(out, open_time);
    }
}

/// A row of `Crypto{Pair,Perp}{level}Kdata`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlineView<'a> {
    /// What is stored.
    pub row: &'a KlineRow,
    /// The instrument's name: `BTC/USDT`; empty: not known.
    pub name: &'a str,
    /// Close of the bar before, of the same entity and level; `None`: there is none, the change
    /// is against this bar's open.
    pub previous_close: Option<Decimal>,
}

impl KlineView<'_> {
    /// `volume_quote / volume_base`; `None` when nothing was traded or the value is not known.
    #[must_use]
    pub fn vwap(&self) -> Option<Decimal> {
        quotient(self.row.volume_quote?, self.row.volume_base)
    }

    /// `close / previous close - 1`, a fraction; `None` when that close is 0.
    #[must_use]
    pub fn change_pct(&self) -> Option<Decimal> {
        let base = self.previous_close.unwrap_or(self.row.open);
        quotient(self.row.close.checked_sub(base)?, base)
    }
}

impl TableRow for KlineView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "entity_id",
        "timestamp",
        "provider",
        "code",
        "name",
        "level",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "turnover",
        "volume_base",
        "volume_quote",
        "trade_count",
        "vwap",
        "change_pct",
        "turnover_rate",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let row = self.row;
        let entity = &row.entity;
        // By number: this is the row that is written most. The test holds it to the names.
        match column {
            0 => cell.parts(&[&entity.entity_id, "_"], |out| {
                kline_id_time(out, row.level, row.ts);
            }),
            1 => cell.text(&entity.entity_id),
            2 => cell.time_secs(row.ts),
            3 => cell.text(&entity.provider),
            4 => cell.text(&entity.code),
            5 => cell.text_opt(Some(self.name).filter(|name| !name.is_empty())),
            6 => cell.text(row.level.as_str()),
            7 => cell.decimal(row.open),
            8 => cell.decimal(row.high),
            9 => cell.decimal(row.low),
            10 => cell.decimal(row.close),
            11 | 13 => cell.decimal(row.volume_base),
            12 | 14 => cell.decimal_opt(row.volume_quote),
            15 => match row.trade_count {
                Some(count) => cell.integer(count),
                None => cell.null(),
            },
            16 => cell.decimal_opt(self.vwap()),
            17 => cell.decimal_opt(self.change_pct()),
            _ => cell.null(),
        }
    }
}

/// A row of `CryptoTrade`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TradeView<'a>(pub &'a TradeRow);

fn trade_id_cell(cell: &mut Cell<'_>, head: &[&str], trade_id: &TradeId) {
    match (trade_id, head) {
        (TradeId::Number(number), _) => cell.parts(head, |out| write_int(out, *number)),
        (TradeId::Text(text), []) => cell.text(text),
        (TradeId::Text(text), [entity_id, ..]) => cell.parts(&[entity_id, "_", text], |_| ()),
    }
}

impl TableRow for TradeView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "entity_id",
        "timestamp",
        "provider",
        "code",
        "trade_id",
        "price",
        "volume",
        "side",
        "is_buyer_maker",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let row = self.0;
        let entity = &row.entity;
        match column {
            0 => trade_id_cell(cell, &[&entity.entity_id, "_"], &row.trade_id),
            1 => cell.text(&entity.entity_id),
            2 => cell.time(row.ts),
            3 => cell.text(&entity.provider),
            4 => cell.text(&entity.code),
            5 => trade_id_cell(cell, &[], &row.trade_id),
            6 => cell.decimal(row.price),
            7 => cell.decimal(row.volume),
            8 => cell.text(row.side.as_str()),
            9 => cell.flag(row.side == Side::Sell),
            _ => cell.null(),
        }
    }
}

/// A row of `CryptoFunding`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FundingView<'a>(pub &'a FundingRow);

impl TableRow for FundingView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "entity_id",
        "timestamp",
        "provider",
        "code",
        "funding_rate",
        "predicted_rate",
        "funding_interval_hours",
        "mark_price",
        "index_price",
        "next_funding_timestamp",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let row = self.0;
        let entity = &row.entity;
        match Self::COLUMNS[column] {
            "id" => cell.parts(&[&entity.entity_id, "_"], |out| {
                write_timestamp(out, row.ts)
            }),
            "entity_id" => cell.text(&entity.entity_id),
            "timestamp" => cell.time(row.ts),
            "provider" => cell.text(&entity.provider),
            "code" => cell.text(&entity.code),
            "funding_rate" => cell.decimal(row.funding_rate),
            "predicted_rate" => cell.decimal_opt(row.predicted_rate),
            "funding_interval_hours" => cell.integer_opt(row.funding_interval_hours.map(u64::from)),
            "mark_price" => cell.decimal_opt(row.mark_price),
            "index_price" => cell.decimal_opt(row.index_price),
            "next_funding_timestamp" => cell.time_opt(row.next_funding_time),
            _ => cell.null(),
        }
    }
}

/// A row of `CryptoOrderbook`: a book at an instant. Levels best first, cut to the depth asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrderbookView<'a> {
    /// Whose book.
    pub instrument: &'a Instrument,
    /// Digits behind the point of prices; a stored book keeps those that it was written with.
    pub price_scale: u8,
    /// Digits behind the point of quantities.
    pub qty_scale: u8,
    /// Bids, best first.
    pub bids: &'a [BookLevel],
    /// Asks, best first.
    pub asks: &'a [BookLevel],
    /// The exchange's sequence number.
    pub sequence: u64,
    /// The exchange's time of the last change.
    pub ts: TsNanos,
}

/// The columns of a book that do not say whose it is.
struct Sides<'a> {
    price_scale: u8,
    qty_scale: u8,
    bids: &'a [BookLevel],
    asks: &'a [BookLevel],
}

impl Sides<'_> {
    fn best(levels: &[BookLevel]) -> Option<i64> {
        levels.first().map(|level| level.price.0)
    }

    /// Best bid and ask; `None` unless both sides have levels.
    fn touch(&self) -> Option<(i128, i128)> {
        let (bid, ask) = (Self::best(self.bids)?, Self::best(self.asks)?);
        Some((i128::from(bid), i128::from(ask)))
    }

    fn cell(&self, column: &str, cell: &mut Cell<'_>) {
        let scale = u32::from(self.price_scale);
        let scales = (self.price_scale, self.qty_scale);
        let best = |side: &[BookLevel]| {
            let mantissa = Self::best(side)?;
            Decimal::try_from_i128_with_scale(mantissa.into(), scale).ok()
        };
        match column {
            "best_bid" => cell.decimal_opt(best(self.bids)),
            "best_ask" => cell.decimal_opt(best(self.asks)),
            // Half a step needs one more digit: (bid + ask) / 2 = (bid + ask) × 5 at scale + 1.
            "mid_price" => cell.decimal_opt(self.touch().and_then(|(bid, ask)| {
                Decimal::try_from_i128_with_scale((bid + ask) * 5, scale + 1).ok()
            })),
            "spread" => {
                cell.decimal_opt(self.touch().and_then(|(bid, ask)| {
                    Decimal::try_from_i128_with_scale(ask - bid, scale).ok()
                }))
            }
            "bids" => cell.levels(scales, self.bids),
            "asks" => cell.levels(scales, self.asks),
            _ => cell.null(),
        }
    }
}

impl TableRow for OrderbookView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "entity_id",
        "timestamp",
        "provider",
        "code",
        "sequence",
        "best_bid",
        "best_ask",
        "mid_price",
        "spread",
        "bids",
        "asks",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let instrument = self.instrument;
        let spec = &instrument.spec;
        let entity_id = [
            spec.market.entity_type(),
            "_",
            &spec.exchange,
            "_",
            &instrument.code,
            "_",
        ];
        match Self::COLUMNS[column] {
            "id" => cell.parts(&entity_id, |out| write_timestamp(out, self.ts)),
            "entity_id" => cell.parts(&entity_id[..5], |_| ()),
            "timestamp" => cell.time(self.ts),
            "provider" => cell.text(spec.provider.name()),
            "code" => cell.text(&instrument.code),
            "sequence" => cell.integer(self.sequence),
            other => Sides {
                price_scale: self.price_scale,
                qty_scale: self.qty_scale,
                bids: self.bids,
                asks: self.asks,
            }
            .cell(other, cell),
        }
    }
}

/// A row of `CryptoOrderbook` out of the store alone: the same columns, whoever the instrument was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BookView<'a>(pub &'a BookRow);

impl TableRow for BookView<'_> {
    const COLUMNS: &'static [&'static str] = OrderbookView::COLUMNS;

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let row = self.0;
        let entity = &row.entity;
        match Self::COLUMNS[column] {
            "id" => cell.parts(&[&entity.entity_id, "_"], |out| {
                write_timestamp(out, row.ts)
            }),
            "entity_id" => cell.text(&entity.entity_id),
            "timestamp" => cell.time(row.ts),
            "provider" => cell.text(&entity.provider),
            "code" => cell.text(&entity.code),
            "sequence" => cell.integer(row.sequence),
            other => Sides {
                price_scale: row.price_scale,
                qty_scale: row.qty_scale,
                bids: &row.bids,
                asks: &row.asks,
            }
            .cell(other, cell),
        }
    }
}

#[cfg(test)]
mod tests;
