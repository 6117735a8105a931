//! Tickers: the fields of a moment, and those that differ from the moment before.

use crate::market::{Bbo, Fixed, Instrument, PremiumIndex, Segment, Ticker24h};

use super::encode;

/// Fields in the order in which they are written.
pub(super) type Fields = Vec<(&'static str, String)>;

/// `(last − before) / before` with so many decimals, cut.
fn change(last: i64, before: i64, decimals: u32) -> Fixed {
    let scaled = i128::from(last - before) * 10_i128.pow(decimals);
    Fixed::new(scaled / i128::from(before.max(1)), decimals).trimmed()
}

/// What a ticker tells of an instrument.
pub(super) struct Moment<'a> {
    pub(super) it: &'a Instrument,
    pub(super) day: Ticker24h,
    pub(super) bbo: Bbo,
    pub(super) premium: Option<PremiumIndex>,
    pub(super) direction: &'static str,
}

impl Moment<'_> {
    /// The fields of the stream. Open interest is not part of the simulated market, and not told.
    pub(super) fn fields(&self) -> Fields {
        let (it, day) = (self.it, &self.day);
        let price = |price| encode::price(it, price).to_string();
        let (volume, turnover) = (
            encode::qty(it, day.volume).to_string(),
            encode::value(it, day.quote_volume).to_string(),
        );
        let mut all: Fields = vec![("symbol", it.symbol.clone())];
        if it.segment == Segment::Spot {
            all.extend([
                ("lastPrice", price(day.last)),
                ("highPrice24h", price(day.high)),
                ("lowPrice24h", price(day.low)),
                ("prevPrice24h", price(day.open)),
                ("volume24h", volume),
                ("turnover24h", turnover),
                (
                    "price24hPcnt",
                    change(day.last.0, day.open.0, 4).to_string(),
                ),
            ]);
            return all;
        }
        all.extend([
            ("tickDirection", self.direction.to_owned()),
            (
                "price24hPcnt",
                change(day.last.0, day.open.0, 6).to_string(),
            ),
            ("lastPrice", price(day.last)),
            ("prevPrice24h", price(day.open)),
            ("highPrice24h", price(day.high)),
            ("lowPrice24h", price(day.low)),
        ]);
        if let Some(premium) = &self.premium {
            let cut = |e8: crate::market::E8| e8.fixed().truncated(it.price_decimals).to_string();
            all.extend([
                ("markPrice", cut(premium.mark)),
                ("indexPrice", cut(premium.index)),
            ]);
        }
        all.extend([("turnover24h", turnover), ("volume24h", volume)]);
        all.extend(self.funding());
        let side = |row: Option<(_, _)>| {
            let (level, amount) = row.unwrap_or_default();
            (price(level), encode::qty(it, amount).to_string())
        };
        let ((bid, bid_size), (ask, ask_size)) = (side(self.bbo.bid), side(self.bbo.ask));
        all.extend([
            ("bid1Price", bid),
            ("bid1Size", bid_size),
            ("ask1Price", ask),
            ("ask1Size", ask_size),
        ]);
        all
    }

    fn funding(&self) -> Fields {
        let crate::market::Contract::Perpetual(terms) = &self.it.contract else {
            return vec![
                ("fundingIntervalHour", String::new()),
                ("fundingCap", String::new()),
                ("nextFundingTime", "0".to_owned()),
                ("fundingRate", String::new()),
            ];
        };
        let cap = Fixed::new(i128::from(terms.cap_e8), 8).trimmed();
        let mut all = vec![
            ("fundingIntervalHour", terms.interval_hours.to_string()),
            ("fundingCap", cap.to_string()),
        ];
        if let Some(next) = self.premium.as_ref().and_then(|premium| premium.funding) {
            all.extend([
                ("nextFundingTime", next.ts_ms.to_string()),
                ("fundingRate", next.rate.fixed().trimmed().to_string()),
            ]);
        }
        all
    }
}

/// The fields whose values are new.
pub(super) fn differing(old: &Fields, new: &Fields) -> Fields {
    let is_new = |field: &&(&'static str, String)| !old.contains(field);
    new.iter().filter(is_new).cloned().collect()
}

/// `{"symbol":"BTCUSDT",…}`; `fields` may lack the symbol.
pub(super) fn object(symbol: &str, fields: &Fields) -> String {
    let mut out = format!("{{\"symbol\":\"{symbol}\"");
    for (name, value) in fields.iter().filter(|(name, _)| *name != "symbol") {
        out.push_str(&format!(",\"{name}\":\"{value}\""));
    }
    out.push('}');
    out
}

/// A message of the stream. `seq` is the cross sequence.
pub(super) fn message(
    it: &Instrument,
    fields: &Fields,
    is_snapshot: bool,
    seq: u64,
    ts: i64,
) -> String {
    let (s, kind) = (&it.symbol, encode::kind(is_snapshot));
    let data = object(s, fields);
    match it.segment {
        Segment::Spot => format!(
            "{{\"topic\":\"tickers.{s}\",\"ts\":{ts},\"type\":\"{kind}\",\"cs\":{seq},\
             \"data\":{data}}}"
        ),
        Segment::Linear => format!(
            "{{\"topic\":\"tickers.{s}\",\"type\":\"{kind}\",\"data\":{data},\"cs\":{seq},\
             \"ts\":{ts}}}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let old: Fields = vec![("a", "1".to_owned()), ("b", "2".to_owned())];
        let new: Fields = vec![("a", "1".to_owned()), ("b", "3".to_owned())];
        assert_eq!(differing(&old, &new), vec![("b", "3".to_owned())]);
        assert_eq!(object("X", &new), r#"{"symbol":"X","a":"1","b":"3"}"#);
        assert_eq!(change(98, 100, 4).to_string(), "-0.02");
    }
}
