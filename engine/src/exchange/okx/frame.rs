//! The outside of OKX's frames: which channel, which instrument, or which answer.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json::{Levels, Side, Text};
use super::symbols::Symbol;
use crate::exchange::DecodeError;

/// Any frame. Sources: subscribe and notice documentation of v5; recordings of 2022-02-28 and
/// 2026-08-24.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow)]
    pub(super) arg: Option<Arg<'a>>,
    #[serde(borrow)]
    pub(super) action: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) event: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    /// Of requests over the connection, which we send none of.
    #[serde(borrow)]
    pub(super) op: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) msg: Option<Text<'a>>,
}

/// What a frame is about.
#[derive(Deserialize)]
pub(super) struct Arg<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow, rename = "instId")]
    pub(super) inst_id: Option<Text<'a>>,
}

impl Arg<'_> {
    /// The name under which the stream was asked for: `books:BTC-USDT`.
    pub(super) fn stream(&self) -> String {
        let inst_id = self.inst_id.as_ref().map_or("", |text| &text.0);
        format!("{}:{inst_id}", self.channel.0)
    }

    /// The instrument, where the channel is about one.
    pub(super) fn instrument(&self) -> Result<&str, DecodeError> {
        self.inst_id
            .as_ref()
            .and_then(Text::filled)
            .ok_or(DecodeError::Field { field: "instId" })
    }
}

/// `{"instId":"BTC-USDT","tradeId":"674510826","px":"95634.9","sz":"0.00011186","side":"buy",
/// "ts":"1740394561685","count":"1"}`; `count` is missing on `trades-all` and in answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TradeRow<'a> {
    #[serde(borrow)]
    pub(super) trade_id: Text<'a>,
    #[serde(borrow)]
    pub(super) px: Text<'a>,
    #[serde(borrow)]
    pub(super) sz: Text<'a>,
    #[serde(borrow)]
    pub(super) side: Text<'a>,
    #[serde(borrow)]
    pub(super) ts: Text<'a>,
    #[serde(borrow)]
    pub(super) count: Option<Text<'a>>,
}

/// `{"fundingRate":"0.0001","fundingTime":"1700726400000","instId":"BTC-USDT-SWAP",…}`; rows of
/// 2022 have no `ts`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RateRow<'a> {
    #[serde(borrow)]
    pub(super) funding_rate: Text<'a>,
    #[serde(borrow)]
    pub(super) funding_time: Text<'a>,
    #[serde(borrow)]
    pub(super) ts: Option<Text<'a>>,
}

/// `{"instType":"SWAP","instId":"BTC-USDT-SWAP","markPx":"84660.1","ts":"1744590349506"}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkRow<'a> {
    #[serde(borrow)]
    pub(super) mark_px: Text<'a>,
    #[serde(borrow)]
    pub(super) ts: Text<'a>,
}

/// `{"instId":"BTC-USDT","idxPx":"84651.2",…,"ts":"1744590349506"}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexRow<'a> {
    #[serde(borrow)]
    pub(super) idx_px: Text<'a>,
    #[serde(borrow)]
    pub(super) ts: Text<'a>,
}

/// `{"begin":"…","end":"…","serviceType":"1","state":"ongoing","title":"…"}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusRow<'a> {
    #[serde(borrow)]
    pub(super) state: Text<'a>,
    #[serde(borrow, default)]
    pub(super) service_type: Text<'a>,
    #[serde(borrow, default)]
    pub(super) title: Text<'a>,
}

/// What a book's row says beside its levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BookHead {
    /// Digits of the time, milliseconds.
    pub(super) ts: Option<String>,
    pub(super) seq: Option<i64>,
    pub(super) prev_seq: Option<i64>,
    /// `None` and 0: not computed.
    pub(super) checksum: Option<i64>,
    pub(super) has_bids: bool,
    pub(super) has_asks: bool,
}

/// Reads the only row of a book's `data` (or of an answer's): levels go into `bids` and `asks`.
pub(super) struct BookRows<'s, L> {
    pub(super) symbol: Symbol,
    pub(super) bids: &'s mut L,
    pub(super) asks: &'s mut L,
    pub(super) wrong: &'s mut Option<DecodeError>,
}

impl<'de, L: Levels> DeserializeSeed<'de> for BookRows<'_, L> {
    type Value = BookHead;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<BookHead, D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de, L: Levels> Visitor<'de> for BookRows<'_, L> {
    type Value = BookHead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a book")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<BookHead, A::Error> {
        let head = rows
            .next_element_seed(BookRow(&mut self))?
            .ok_or_else(|| A::Error::custom("no row"))?;
        // Two rows would be two sequence numbers: nothing that is documented.
        match rows.next_element::<IgnoredAny>()? {
            None => Ok(head),
            Some(_) => Err(A::Error::custom("more than one row")),
        }
    }
}

struct BookRow<'r, 's, L>(&'r mut BookRows<'s, L>);

impl<'de, L: Levels> DeserializeSeed<'de> for BookRow<'_, '_, L> {
    type Value = BookHead;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<BookHead, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de, L: Levels> Visitor<'de> for BookRow<'_, '_, L> {
    type Value = BookHead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a book's row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<BookHead, A::Error> {
        let rows = self.0;
        let mut head = BookHead::default();
        while let Some(name) = row.next_key::<Text<'de>>()? {
            match name.0.as_ref() {
                "bids" | "asks" => {
                    let (levels, seen) = match name.0.as_ref() {
                        "bids" => (&mut *rows.bids, &mut head.has_bids),
                        _ => (&mut *rows.asks, &mut head.has_asks),
                    };
                    if std::mem::replace(seen, true) {
                        return Err(A::Error::custom("a side is there twice"));
                    }
                    row.next_value_seed(Side {
                        symbol: rows.symbol,
                        levels,
                        wrong: rows.wrong,
                    })?;
                }
                "ts" => head.ts = Some(row.next_value::<Text<'de>>()?.0.into_owned()),
                "seqId" => head.seq = row.next_value()?,
                "prevSeqId" => head.prev_seq = row.next_value()?,
                "checksum" => head.checksum = row.next_value()?,
                _ => {
                    row.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(head)
    }
}
