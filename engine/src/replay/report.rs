//! What a replay found, and its JSON form.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::event::{BookLevel, Kline};
use crate::num::fixed_to_string;

/// A line that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Its file, where the caller named one.
    pub file: Option<Arc<str>>,
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What a replay found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Lines that were not blank, snapshot files aside.
    pub messages: u64,
    /// Bytes of those files' lines.
    pub bytes: u64,
    /// Time that the caller measured.
    pub seconds: f64,
    /// The first malformed lines.
    pub errors: Vec<LineError>,
    /// All malformed lines.
    pub errors_total: u64,
    /// Acknowledgements and other control messages.
    pub control: u64,
    /// Messages of kinds, levels or product lines that are not served.
    pub skipped: u64,
    /// Messages whose symbol is not one of this market.
    pub unknown_symbols: u64,
    /// REST answers that are neither snapshot nor instrument list.
    pub other_answers: u64,
    /// Per symbol, by code.
    pub symbols: BTreeMap<String, SymbolReport>,
}

/// What a replay found of one symbol.
#[derive(Clone, Debug, Default)]
pub struct SymbolReport {
    /// The book was trusted at the end.
    pub synced: bool,
    /// Book deltas.
    pub updates: u64,
    /// Breaks in their sequence.
    pub gaps: u64,
    /// Deltas or snapshots after which the book was crossed.
    pub crossed: u64,
    /// Checksums that did not match; 0 where the exchange sends none.
    pub checksum_failures: u64,
    /// Trades counted, all of one kind.
    pub trades: u64,
    /// Repeated trades, left out.
    pub trades_duplicate: u64,
    /// Trades of the other kind (aggregates, single matches), left out.
    pub trades_other_kind: u64,
    /// Trades that are in the volume but would not fit their bar.
    pub trades_refused: u64,
    /// Traded base quantity at `qty_scale`.
    pub volume: i128,
    /// Book snapshots.
    pub snapshots: u64,
    /// Snapshots that ended before the deltas at hand began.
    pub snapshots_too_old: u64,
    /// How often the book became trusted.
    pub epoch: u32,
    /// Sequence number of the book.
    pub sequence: Option<u64>,
    /// Best bid and ask messages.
    pub tickers: u64,
    /// Those that belong to the delta just applied and were compared with the book.
    pub bbo_checks: u64,
    /// Those that differed.
    pub bbo_mismatches: u64,
    /// The exchange's own bars.
    pub native_klines: u64,
    /// Mark price and funding messages.
    pub funding: u64,
    /// Best bids, best first; empty when the book is not trusted.
    pub bids: Vec<BookLevel>,
    /// Best asks, best first; empty when the book is not trusted.
    pub asks: Vec<BookLevel>,
    /// Bars of the counted trades.
    pub klines_1m: Vec<Kline>,
    /// Digits after the point of prices.
    pub price_scale: u8,
    /// Digits after the point of quantities.
    pub qty_scale: u8,
}

impl Report {
    /// Messages a second, 0 when no time was measured.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.messages as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// The object that `bookwire replay --report json` prints. Decimals are strings in plain form
    /// without trailing zeros.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let symbols: Map<String, Value> = self
            .symbols
            .iter()
            .map(|(code, row)| (code.clone(), row.to_json()))
            .collect();
        let errors: Vec<Value> = self.errors.iter().map(LineError::to_json).collect();
        json!({
            "messages": self.messages,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "messages_per_second": self.messages_per_second(),
            "errors": errors,
            "errors_total": self.errors_total,
            "control": self.control,
            "skipped": self.skipped,
            "unknown_symbols": self.unknown_symbols,
            "other_answers": self.other_answers,
            "symbols": symbols,
        })
    }
}

impl LineError {
    fn to_json(&self) -> Value {
        match &self.file {
            Some(file) => json!({
                "file": file.as_ref(), "line": self.line, "reason": self.reason,
            }),
            None => json!({ "line": self.line, "reason": self.reason }),
        }
    }
}

impl SymbolReport {
    fn to_json(&self) -> Value {
        let level = |level: &BookLevel| {
            json!([
                fixed_to_string(level.price.0, self.price_scale),
                fixed_to_string(level.qty.0, self.qty_scale),
            ])
        };
        json!({
            "synced": self.synced,
            "updates": self.updates,
            "gaps": self.gaps,
            "crossed": self.crossed,
            "checksum_failures": self.checksum_failures,
            "snapshots": self.snapshots,
            "snapshots_too_old": self.snapshots_too_old,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "trades": self.trades,
            "trades_duplicate": self.trades_duplicate,
            "trades_other_kind": self.trades_other_kind,
            "trades_refused": self.trades_refused,
            "volume": wide_to_string(self.volume, self.qty_scale),
            "tickers": self.tickers,
            "bbo_checks": self.bbo_checks,
            "bbo_mismatches": self.bbo_mismatches,
            "native_klines": self.native_klines,
            "funding": self.funding,
            "bids": self.bids.iter().map(level).collect::<Vec<_>>(),
            "asks": self.asks.iter().map(level).collect::<Vec<_>>(),
            "klines_1m": self.klines_1m.iter().map(|bar| self.bar(bar)).collect::<Vec<_>>(),
        })
    }

    fn bar(&self, bar: &Kline) -> Value {
        let price = |price: crate::num::Price| fixed_to_string(price.0, self.price_scale);
        let quote_scale = self.price_scale + self.qty_scale;
        json!({
            "timestamp": bar.open_time.to_rfc3339_seconds(),
            "open": price(bar.open),
            "high": price(bar.high),
            "low": price(bar.low),
            "close": price(bar.close),
            "volume": fixed_to_string(bar.volume.0, self.qty_scale),
            "volume_quote": bar.volume_quote.map(|value| wide_to_string(value, quote_scale)),
            "trade_count": bar.trade_count,
        })
    }
}

/// `mantissa × 10^-scale` in plain form without trailing zeros, for sums wider than 64 bits.
fn wide_to_string(mantissa: i128, scale: u8) -> String {
    let digits = mantissa.unsigned_abs().to_string();
    let scale = usize::from(scale);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    let sign = if mantissa < 0 { "-" } else { "" };
    match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_wide_sums_in_plain_form() {
        for (mantissa, scale, expected) in [
            (0, 8, "0"),
            (1, 8, "0.00000001"),
            (-150, 2, "-1.5"),
            (100_000_000, 8, "1"),
            (i128::from(i64::MAX) * 1_000, 3, "9223372036854775807"),
            (12, 0, "12"),
            (1_200, 0, "1200"),
        ] {
            assert_eq!(wide_to_string(mantissa, scale), expected);
        }
    }
}
