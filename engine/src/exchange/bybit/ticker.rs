//! Linear tickers: a snapshot, then deltas in which a missing field means that it has not changed.

use serde::Deserialize;

use crate::event::Funding;
use crate::exchange::DecodeError;
use crate::time::TsNanos;

use super::answer;
use super::frame::{Frame, Text, stamp};
use super::number::{fixed, signed};

/// The fields of funding. The others (prices of the day, best bid and ask, open interest) are not
/// asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    mark_price: Option<Text<'a>>,
    #[serde(borrow)]
    index_price: Option<Text<'a>>,
    #[serde(borrow)]
    funding_rate: Option<Text<'a>>,
    #[serde(borrow)]
    next_funding_time: Option<Text<'a>>,
}

/// What is known of an instrument by now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Merged {
    /// A snapshot has come: without one, a field that was never sent is not known to be absent.
    is_whole: bool,
    mark_price: Option<i64>,
    index_price: Option<i64>,
    rate: Option<i64>,
    next_funding_time: Option<TsNanos>,
}

impl Merged {
    /// Takes a message in. `None` when nothing came of it: no field of ours was in it, or no
    /// snapshot came before it. What is known is changed by the whole message or not at all.
    pub(super) fn take(&mut self, frame: &Frame<'_>) -> Result<Option<Funding>, DecodeError> {
        let is_snapshot = frame.is_snapshot()?;
        let ts_event = frame.time()?;
        let ticker: Ticker<'_> = answer::read(frame.data()?.get().as_bytes(), "data")?;
        let mut next = if is_snapshot {
            Self {
                is_whole: true,
                ..Self::default()
            }
        } else {
            *self
        };
        let is_told = next.merge(&ticker)?;
        if !next.is_whole {
            return Ok(None);
        }
        *self = next;
        // Contracts before their first trade have no mark price.
        let (true, Some(mark_price)) = (is_told, next.mark_price) else {
            return Ok(None);
        };
        Ok(Some(Funding {
            rate: next.rate,
            mark_price,
            index_price: next.index_price,
            next_funding_time: next.next_funding_time,
            ts_event,
        }))
    }

    /// True when the message told something of ours.
    fn merge(&mut self, ticker: &Ticker<'_>) -> Result<bool, DecodeError> {
        let mut is_told = false;
        if let Some(text) = &ticker.mark_price {
            self.mark_price = price(&text.0, "markPrice")?;
            is_told = true;
        }
        if let Some(text) = &ticker.index_price {
            self.index_price = price(&text.0, "indexPrice")?;
            is_told = true;
        }
        if let Some(text) = &ticker.funding_rate {
            self.rate = signed(&text.0, Funding::RATE_SCALE, "fundingRate")?;
            is_told = true;
        }
        if let Some(text) = &ticker.next_funding_time {
            self.next_funding_time = settlement(&text.0)?;
            is_told = true;
        }
        Ok(is_told)
    }
}

/// A mark or index price; `None` for empty text.
fn price(text: &str, field: &'static str) -> Result<Option<i64>, DecodeError> {
    match text {
        "" => Ok(None),
        text => fixed(text, Funding::PRICE_SCALE, field).map(Some),
    }
}

/// A time in milliseconds as text; `None` for empty text and 0, which contracts without funding
/// have.
fn settlement(text: &str) -> Result<Option<TsNanos>, DecodeError> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let wrong = DecodeError::Field {
        field: "nextFundingTime",
    };
    let ms = text.parse().ok().and_then(stamp);
    ms.map(Some).ok_or(wrong)
}
