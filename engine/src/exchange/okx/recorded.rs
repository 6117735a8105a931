//! Telling recorded texts apart: stream messages, book snapshots, instrument lists.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exchange::Recorded;
use crate::instrument::Market;

use super::json::Text;

/// An answer, as far as its kind shows. Sources also cut the envelope off and keep `data` alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Any<'a> {
    #[serde(borrow)]
    Answer(Answer<'a>),
    Rows(#[serde(borrow)] Vec<Row<'a>>),
}

#[derive(Deserialize)]
struct Answer<'a> {
    arg: Option<IgnoredAny>,
    event: Option<IgnoredAny>,
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Vec<Row<'a>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Row<'a> {
    Object(#[serde(borrow)] Fields<'a>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Fields<'a> {
    asks: Option<IgnoredAny>,
    bids: Option<IgnoredAny>,
    #[serde(borrow, rename = "instType")]
    inst_type: Option<Text<'a>>,
    #[serde(rename = "tickSz")]
    tick_sz: Option<IgnoredAny>,
}

/// Where stream messages carry their symbol.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    arg: Option<Arg<'a>>,
}

#[derive(Deserialize)]
struct Arg<'a> {
    #[serde(borrow)]
    channel: Text<'a>,
    #[serde(borrow, rename = "instId")]
    inst_id: Option<Text<'a>>,
}

/// See [`crate::exchange::Exchange::recorded`].
pub(super) fn recorded(url: Option<&str>, body: &[u8]) -> Recorded {
    let Some(url) = url else {
        return by_form(body);
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    if path.ends_with("/market/books") || path.ends_with("/market/books-full") {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let native_symbol = pairs
            .find(|(name, _)| *name == "instId")
            .map(|(_, value)| value.to_owned());
        return Recorded::Snapshot { native_symbol };
    }
    if path.ends_with("/public/instruments") {
        return Recorded::Instruments;
    }
    if path.contains("/ws/v5/") {
        return Recorded::Message;
    }
    Recorded::Other
}

fn by_form(body: &[u8]) -> Recorded {
    let rows = match serde_json::from_slice::<Any<'_>>(body) {
        Ok(Any::Rows(rows)) => rows,
        Ok(Any::Answer(answer)) if answer.arg.is_some() || answer.event.is_some() => {
            return Recorded::Message;
        }
        Ok(Any::Answer(Answer {
            code: Some(_),
            data: Some(rows),
            ..
        })) => rows,
        // Whatever it is, reading it as a message says what is wrong with it.
        Ok(Any::Answer(_)) | Err(_) => return Recorded::Message,
    };
    match rows.first() {
        Some(Row::Object(row)) if row.asks.is_some() && row.bids.is_some() => Recorded::Snapshot {
            native_symbol: None,
        },
        Some(Row::Object(row)) if row.inst_type.is_some() && row.tick_sz.is_some() => {
            Recorded::Instruments
        }
        _ => Recorded::Other,
    }
}

/// See [`crate::exchange::Exchange::message_symbol`].
pub(super) fn message_symbol(market: Market, frame: &[u8]) -> Option<String> {
    let message: Message<'_> = serde_json::from_slice(frame).ok()?;
    let arg = message.arg?;
    // The index of a swap is spelled like a spot pair.
    if arg.channel.0 == "index-tickers" {
        return None;
    }
    let symbol = arg.inst_id?.0.into_owned();
    // `BTC-USDT`, `BTC-USDT-SWAP`, `BTC-USDT-220624`, `BTC-USD-220325-40000-C`
    let is_ours = match market {
        Market::Spot => symbol.matches('-').count() == 1,
        Market::Perp => symbol.ends_with("-SWAP"),
    };
    is_ours.then_some(symbol)
}
