//! Market data as OKX writes it: numbers in strings without zeros at the end, swaps in contracts.

use flate2::Crc;

use super::listing::Terms;
use crate::market::{
    AggTrade, Bbo, Depth, Fixed, FundingTerms, Instrument, Kline, PremiumIndex, Price, Qty, Side,
    Ticker24h, Trade,
};
use crate::venue::window::{Row, Window};

/// Levels of a side that a checksum covers.
const SUMMED: usize = 25;

/// An instrument and OKX's terms for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) it: &'a Instrument,
    pub(crate) terms: Terms,
}

/// A level's number out of an update id of the market: an identifier that rises in uneven steps,
/// as OKX's do.
pub(crate) const fn seq(update_id: u64) -> u64 {
    // The spread is below the factor, so that the order stays.
    update_id * 16 + (update_id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60)
}

pub(crate) const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

impl Listed<'_> {
    pub(crate) fn price(&self, price: Price) -> Fixed {
        self.it.price(price).trimmed()
    }

    /// A size as OKX counts it.
    pub(crate) fn size(&self, qty: Qty) -> Fixed {
        let lot = self.terms.lot;
        Fixed::new(i128::from(qty.0) * lot.mantissa(), lot.scale()).trimmed()
    }

    /// A quantity in base units.
    pub(crate) fn base(&self, qty: Qty) -> Fixed {
        self.it.qty(qty).trimmed()
    }

    fn level(&self, (price, qty): &Row) -> String {
        let orders = u8::from(qty.0 > 0);
        format!(
            "[\"{}\",\"{}\",\"0\",\"{orders}\"]",
            self.price(*price),
            self.size(*qty)
        )
    }

    pub(crate) fn levels<'r>(&self, rows: impl IntoIterator<Item = &'r Row>) -> String {
        let rows: Vec<String> = rows.into_iter().map(|row| self.level(row)).collect();
        format!("[{}]", rows.join(","))
    }

    /// CRC32 over the best levels, bid and ask in turn.
    pub(crate) fn checksum(&self, window: &Window) -> i32 {
        let text = |row: &Row| format!("{}:{}", self.price(row.0), self.size(row.1));
        let mut parts = Vec::with_capacity(2 * SUMMED);
        for rank in 0..SUMMED {
            parts.extend(window.bids.get(rank).map(text));
            parts.extend(window.asks.get(rank).map(text));
        }
        let mut crc = Crc::new();
        crc.update(parts.join(":").as_bytes());
        crc.sum() as i32
    }

    /// A row of `books`.
    pub(crate) fn book(
        &self,
        (bids, asks): (&[Row], &[Row]),
        ts_ms: i64,
        checksum: i32,
        (seq, prev_seq): (u64, i64),
    ) -> String {
        format!(
            "{{\"asks\":{},\"bids\":{},\"ts\":\"{ts_ms}\",\"checksum\":{checksum},\"seqId\":{seq},\
             \"prevSeqId\":{prev_seq}}}",
            self.levels(asks),
            self.levels(bids)
        )
    }

    /// A row of a whole book without a checksum: `books5`, REST.
    pub(crate) fn image(&self, depth: &Depth, seq: u64) -> String {
        format!(
            "{{\"asks\":{},\"bids\":{},\"ts\":\"{}\",\"seqId\":{seq}}}",
            self.levels(&depth.asks),
            self.levels(&depth.bids),
            depth.ts_us.div_euclid(1_000)
        )
    }

    pub(crate) fn best_prices(&self, bbo: &Bbo, ts_us: i64) -> String {
        format!(
            "{{\"asks\":{},\"bids\":{},\"ts\":\"{}\",\"seqId\":{}}}",
            self.levels(&bbo.ask),
            self.levels(&bbo.bid),
            ts_us.div_euclid(1_000),
            seq(bbo.update_id)
        )
    }

    pub(crate) fn trade(&self, trade: &Trade) -> String {
        format!(
            "{{\"instId\":\"{}\",\"tradeId\":\"{}\",\"px\":\"{}\",\"sz\":\"{}\",\"side\":\"{}\",\
             \"source\":\"0\",\"ts\":\"{}\"}}",
            self.it.symbol,
            trade.id,
            self.price(trade.price),
            self.size(trade.qty),
            side(trade.taker_side),
            trade.ts_us.div_euclid(1_000)
        )
    }

    /// Trades of one taker at one price, under the last one's id.
    pub(crate) fn merged_trade(&self, agg: &AggTrade) -> String {
        format!(
            "{{\"instId\":\"{}\",\"tradeId\":\"{}\",\"px\":\"{}\",\"sz\":\"{}\",\"side\":\"{}\",\
             \"ts\":\"{}\",\"count\":\"{}\",\"source\":\"0\"}}",
            self.it.symbol,
            agg.last_trade_id,
            self.price(agg.price),
            self.size(agg.qty),
            side(agg.taker_side),
            agg.ts_us.div_euclid(1_000),
            agg.last_trade_id - agg.first_trade_id + 1
        )
    }

    pub(crate) fn candle(&self, bar: &Kline) -> String {
        let quote = self.it.notional(bar.quote_volume).trimmed();
        // Spot's second volume is the quote one too.
        let coins = match self.terms.contract {
            Some(_) => self.base(bar.volume),
            None => quote,
        };
        format!(
            "[\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{coins}\",\"{quote}\",\"{}\"]",
            bar.open_ms,
            self.price(bar.open),
            self.price(bar.high),
            self.price(bar.low),
            self.price(bar.close),
            self.size(bar.volume),
            u8::from(bar.is_closed)
        )
    }

    /// `None` for what has no funding.
    pub(crate) fn funding_rate(
        &self,
        premium: &PremiumIndex,
        terms: &FundingTerms,
    ) -> Option<String> {
        let coming = premium.funding?;
        let interval_ms = i64::from(terms.interval_hours) * 3_600_000;
        let cap = Fixed::new(i128::from(terms.cap_e8), 8).trimmed();
        Some(format!(
            "{{\"formulaType\":\"noRate\",\"fundingRate\":\"{}\",\"fundingTime\":\"{}\",\
             \"instId\":\"{}\",\"instType\":\"SWAP\",\"maxFundingRate\":\"{cap}\",\
             \"method\":\"current_period\",\"minFundingRate\":\"-{cap}\",\"nextFundingRate\":\"\",\
             \"nextFundingTime\":\"{}\",\"premium\":\"\",\"settFundingRate\":\"\",\
             \"settState\":\"settled\",\"ts\":\"{}\"}}",
            coming.rate.fixed().trimmed(),
            coming.ts_ms,
            self.it.symbol,
            coming.ts_ms + interval_ms,
            premium.ts_ms
        ))
    }

    pub(crate) fn mark_price(&self, premium: &PremiumIndex) -> String {
        format!(
            "{{\"instId\":\"{}\",\"instType\":\"SWAP\",\"markPx\":\"{}\",\"ts\":\"{}\"}}",
            self.it.symbol,
            premium.mark.fixed().trimmed(),
            premium.ts_ms
        )
    }

    pub(crate) fn index(&self, premium: &PremiumIndex) -> String {
        let index = premium.index.fixed().trimmed();
        format!(
            "{{\"instId\":\"{}\",\"idxPx\":\"{index}\",\"high24h\":\"{index}\",\
             \"low24h\":\"{index}\",\"open24h\":\"{index}\",\"sodUtc0\":\"{index}\",\
             \"sodUtc8\":\"{index}\",\"ts\":\"{}\"}}",
            self.it.pair, premium.ts_ms
        )
    }

    pub(crate) fn ticker(&self, day: &Ticker24h, bbo: &Bbo) -> String {
        let best = |level: Option<(Price, Qty)>| match level {
            Some((price, qty)) => (self.price(price).to_string(), self.size(qty).to_string()),
            None => (String::new(), String::new()),
        };
        let ((ask, ask_size), (bid, bid_size)) = (best(bbo.ask), best(bbo.bid));
        let coins = match self.terms.contract {
            Some(_) => self.base(day.volume),
            None => self.it.notional(day.quote_volume).trimmed(),
        };
        let open = self.price(day.open);
        format!(
            "{{\"instType\":\"{}\",\"instId\":\"{}\",\"last\":\"{}\",\"lastSz\":\"{}\",\
             \"askPx\":\"{ask}\",\"askSz\":\"{ask_size}\",\"bidPx\":\"{bid}\",\
             \"bidSz\":\"{bid_size}\",\"open24h\":\"{open}\",\"high24h\":\"{}\",\"low24h\":\"{}\",\
             \"volCcy24h\":\"{coins}\",\"vol24h\":\"{}\",\"ts\":\"{}\",\"sodUtc0\":\"{open}\",\
             \"sodUtc8\":\"{open}\"}}",
            self.kind(),
            self.it.symbol,
            self.price(day.last),
            self.size(day.last_qty),
            self.price(day.high),
            self.price(day.low),
            self.size(day.volume),
            day.close_ms
        )
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match self.terms.contract {
            None => "SPOT",
            Some(_) => "SWAP",
        }
    }
}
