//! What subscribers get: the `data` object of each stream, and the envelope round it.

use super::Numbers;
use super::text::{
    quoted_timestamp, write_int, write_json_string, write_number, write_timestamp,
    write_wide_number,
};
use crate::event::{BookLevel, Funding, Kline, Side, Ticker, Trade, TradeId};
use crate::instrument::Instrument;
use crate::time::TsNanos;

/// Appends the `data` of a `crypto.trades` message.
pub fn trade_data(out: &mut Vec<u8>, instrument: &Instrument, trade: &Trade, numbers: Numbers) {
    out.extend_from_slice(b"{\"trade_id\":\"");
    match trade.trade_id {
        TradeId::Number(number) => write_int(out, number),
        other => write_text_id(out, other),
    }
    out.extend_from_slice(b"\",\"price\":");
    write_number(out, trade.price.0, instrument.price_scale, numbers);
    out.extend_from_slice(b",\"volume\":");
    write_number(out, trade.qty.0, instrument.qty_scale, numbers);
    out.extend_from_slice(match trade.taker_side {
        Side::Buy => b",\"side\":\"buy\",\"timestamp\":\"".as_slice(),
        Side::Sell => b",\"side\":\"sell\",\"timestamp\":\"",
    });
    write_timestamp(out, trade.ts_event);
    // The buyer is the maker exactly when the taker sells.
    out.extend_from_slice(match trade.taker_side {
        Side::Buy => b"\",\"is_buyer_maker\":false}".as_slice(),
        Side::Sell => b"\",\"is_buyer_maker\":true}",
    });
}

/// An id that is no number, without the quotes round it.
fn write_text_id(out: &mut Vec<u8>, id: TradeId) {
    let start = out.len();
    write_json_string(out, &id.to_string());
    // The quotes are the caller's.
    out.pop();
    out.remove(start);
}

/// Appends the `data` of a `crypto.klines` message. `timestamp` is the bar's open, on the second.
pub fn kline_data(out: &mut Vec<u8>, instrument: &Instrument, kline: &Kline, numbers: Numbers) {
    for (name, price) in [
        (b"{\"open\":".as_slice(), kline.open),
        (b",\"high\":", kline.high),
        (b",\"low\":", kline.low),
        (b",\"close\":", kline.close),
    ] {
        out.extend_from_slice(name);
        write_number(out, price.0, instrument.price_scale, numbers);
    }
    out.extend_from_slice(b",\"volume\":");
    write_number(out, kline.volume.0, instrument.qty_scale, numbers);
    out.extend_from_slice(b",\"volume_quote\":");
    let quote_scale = u32::from(instrument.price_scale) + u32::from(instrument.qty_scale);
    match kline.volume_quote {
        Some(value) => write_wide_number(out, value, quote_scale, numbers),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"trade_count\":");
    match kline.trade_count {
        Some(count) => write_int(out, count),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"timestamp\":\"");
    super::write_timestamp_secs(out, kline.open_time);
    out.extend_from_slice(if kline.is_closed {
        b"\",\"is_closed\":true}".as_slice()
    } else {
        b"\",\"is_closed\":false}"
    });
}

fn optional_number(out: &mut Vec<u8>, value: Option<(i64, u8)>, numbers: Numbers) {
    match value {
        Some((mantissa, scale)) => write_number(out, mantissa, scale, numbers),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends the `data` of a `crypto.ticker` message. A side without orders is `null`, and then so
/// are `mid_price` and `spread`. Where the exchange sends no time, `ts_recv` stands for it.
pub fn ticker_data(
    out: &mut Vec<u8>,
    instrument: &Instrument,
    ticker: &Ticker,
    ts_recv: TsNanos,
    numbers: Numbers,
) {
    let (price_scale, qty_scale) = (instrument.price_scale, instrument.qty_scale);
    for (names, side) in [
        (
            [b"{\"best_bid\":".as_slice(), b",\"best_bid_volume\":"],
            ticker.bid,
        ),
        (
            [b",\"best_ask\":".as_slice(), b",\"best_ask_volume\":"],
            ticker.ask,
        ),
    ] {
        let level = (side.qty.0 != 0).then_some(side);
        out.extend_from_slice(names[0]);
        optional_number(out, level.map(|l| (l.price.0, price_scale)), numbers);
        out.extend_from_slice(names[1]);
        optional_number(out, level.map(|l| (l.qty.0, qty_scale)), numbers);
    }
    let both = (ticker.bid.qty.0 != 0 && ticker.ask.qty.0 != 0).then_some((
        i128::from(ticker.bid.price.0),
        i128::from(ticker.ask.price.0),
    ));
    let (mid, spread) = match both {
        // Half a step needs one more digit: (bid + ask) / 2 = (bid + ask) × 5 at scale + 1.
        Some((bid, ask)) => (Some((bid + ask) * 5), Some(ask - bid)),
        None => (None, None),
    };
    for (name, value, scale) in [
        (
            b",\"mid_price\":".as_slice(),
            mid,
            u32::from(price_scale) + 1,
        ),
        (b",\"spread\":", spread, u32::from(price_scale)),
    ] {
        out.extend_from_slice(name);
        match value {
            Some(mantissa) => write_wide_number(out, mantissa, scale, numbers),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b",\"sequence\":");
    match ticker.seq {
        Some(seq) => write_int(out, seq),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"timestamp\":");
    quoted_timestamp(out, ticker.ts_event.unwrap_or(ts_recv));
    out.push(b'}');
}

/// Appends the `data` of a `crypto.funding` message.
pub fn funding_data(out: &mut Vec<u8>, funding: &Funding, numbers: Numbers) {
    out.extend_from_slice(b"{\"funding_rate\":");
    optional_number(
        out,
        funding.rate.map(|rate| (rate, Funding::RATE_SCALE)),
        numbers,
    );
    out.extend_from_slice(b",\"mark_price\":");
    write_number(out, funding.mark_price, Funding::PRICE_SCALE, numbers);
    out.extend_from_slice(b",\"index_price\":");
    let index = funding
        .index_price
        .map(|price| (price, Funding::PRICE_SCALE));
    optional_number(out, index, numbers);
    out.extend_from_slice(b",\"next_funding_timestamp\":");
    match funding.next_funding_time {
        Some(ts) => quoted_timestamp(out, ts),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"timestamp\":");
    quoted_timestamp(out, funding.ts_event);
    out.push(b'}');
}

pub(super) fn levels(
    out: &mut Vec<u8>,
    (price_scale, qty_scale): (u8, u8),
    levels: &[BookLevel],
    numbers: Numbers,
) {
    out.push(b'[');
    for (at, level) in levels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'[');
        write_number(out, level.price.0, price_scale, numbers);
        out.push(b',');
        write_number(out, level.qty.0, qty_scale, numbers);
        out.push(b']');
    }
    out.push(b']');
}

const fn scales_of(instrument: &Instrument) -> (u8, u8) {
    (instrument.price_scale, instrument.qty_scale)
}

/// Appends the `data` of a whole book: both levels slices best first, already cut to the depth.
pub fn book_snapshot_data(
    out: &mut Vec<u8>,
    instrument: &Instrument,
    bids: &[BookLevel],
    asks: &[BookLevel],
    seq: u64,
    ts: TsNanos,
    numbers: Numbers,
) {
    out.extend_from_slice(b"{\"type\":\"snapshot\",\"bids\":");
    levels(out, scales_of(instrument), bids, numbers);
    out.extend_from_slice(b",\"asks\":");
    levels(out, scales_of(instrument), asks, numbers);
    out.extend_from_slice(b",\"sequence\":");
    write_int(out, seq);
    out.extend_from_slice(b",\"timestamp\":");
    quoted_timestamp(out, ts);
    out.push(b'}');
}

/// Appends the `data` of a change of a book: the levels that changed, quantity 0 = gone.
#[expect(
    clippy::too_many_arguments,
    reason = "the snapshot's arguments and the link to the publication before"
)]
pub fn book_update_data(
    out: &mut Vec<u8>,
    instrument: &Instrument,
    bids: &[BookLevel],
    asks: &[BookLevel],
    seq: u64,
    prev_seq: u64,
    ts: TsNanos,
    numbers: Numbers,
) {
    out.extend_from_slice(b"{\"type\":\"update\",\"bids\":");
    levels(out, scales_of(instrument), bids, numbers);
    out.extend_from_slice(b",\"asks\":");
    levels(out, scales_of(instrument), asks, numbers);
    out.extend_from_slice(b",\"sequence\":");
    write_int(out, seq);
    out.extend_from_slice(b",\"prev_sequence\":");
    write_int(out, prev_seq);
    out.extend_from_slice(b",\"timestamp\":");
    quoted_timestamp(out, ts);
    out.push(b'}');
}

/// Appends what comes before the sequence number of a subscription's messages:
/// `{"stream":…,"provider":…,…,"seq":`. Made once per subscription.
pub fn envelope_prefix(
    out: &mut Vec<u8>,
    stream: &str,
    provider: &str,
    symbol: &str,
    entity_id: &str,
    interval: Option<&str>,
    channel: Option<&str>,
) {
    let fields = [
        ("stream", Some(stream)),
        ("provider", Some(provider)),
        ("symbol", Some(symbol)),
        ("entity_id", Some(entity_id)),
        ("interval", interval),
        ("channel", channel),
    ];
    out.push(b'{');
    for (name, value) in fields {
        if let Some(value) = value {
            write_json_string(out, name);
            out.push(b':');
            write_json_string(out, value);
            out.push(b',');
        }
    }
    out.extend_from_slice(b"\"seq\":");
}

/// Appends everything of a private message before its sequence number. `about` is symbol and entity id
/// of the instrument that it tells of; without one both are null. The account stands in every message:
/// one without an order, a balance or a position would not tell whose it is.
pub fn private_prefix(
    out: &mut Vec<u8>,
    stream: &str,
    provider: &str,
    about: Option<(&str, &str)>,
    account: &str,
    channel: Option<&str>,
) {
    let (symbol, entity_id) = about.unzip();
    let fields = [
        ("stream", Some(Some(stream))),
        ("provider", Some(Some(provider))),
        ("symbol", Some(symbol)),
        ("entity_id", Some(entity_id)),
        ("account", Some(Some(account))),
        ("channel", channel.map(Some)),
    ];
    out.push(b'{');
    for (name, value) in fields {
        let Some(value) = value else { continue };
        write_json_string(out, name);
        out.push(b':');
        match value {
            Some(text) => write_json_string(out, text),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
    }
    out.extend_from_slice(b"\"seq\":");
}

/// Appends a whole message: a prefix of [`envelope_prefix`], the sequence number, the shared body
/// and, when the subscription asked for timing, `received_ns` and `sent_ns` inside the body.
pub fn message(
    out: &mut Vec<u8>,
    prefix: &[u8],
    seq: u64,
    body: &[u8],
    timing: Option<(TsNanos, TsNanos)>,
) {
    out.reserve(prefix.len() + body.len() + 96);
    out.extend_from_slice(prefix);
    write_int(out, seq);
    out.extend_from_slice(b",\"data\":");
    match (timing, body) {
        (Some((received, sent)), [fields @ .., b'}']) => {
            out.extend_from_slice(fields);
            out.extend_from_slice(b",\"received_ns\":");
            write_int(out, received.0);
            out.extend_from_slice(b",\"sent_ns\":");
            write_int(out, sent.0);
            out.extend_from_slice(b"}}");
        }
        _ => {
            out.extend_from_slice(body);
            out.push(b'}');
        }
    }
}

/// What a `system.status` message may tell besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusExtra<'a> {
    /// Of which stream of the symbol: `crypto.orderbook`.
    pub stream: Option<&'a str>,
    /// With `connected`: for how long it was not, milliseconds.
    pub after_ms: Option<u64>,
    /// With `connected`: why it was not.
    pub cause: Option<&'a str>,
}

/// Appends a `system.status` message. `symbol` is absent when the whole provider is meant.
pub fn status_message(
    out: &mut Vec<u8>,
    provider: &str,
    symbol: Option<&str>,
    state: &str,
    reason: &str,
    extra: StatusExtra<'_>,
    ts: TsNanos,
) {
    out.extend_from_slice(b"{\"stream\":\"system.status\",\"data\":{\"provider\":");
    write_json_string(out, provider);
    if let Some(symbol) = symbol {
        out.extend_from_slice(b",\"symbol\":");
        write_json_string(out, symbol);
    }
    out.extend_from_slice(b",\"state\":");
    write_json_string(out, state);
    out.extend_from_slice(b",\"reason\":");
    write_json_string(out, reason);
    if let Some(stream) = extra.stream {
        out.extend_from_slice(b",\"stream\":");
        write_json_string(out, stream);
    }
    if let Some(after_ms) = extra.after_ms {
        out.extend_from_slice(b",\"after_ms\":");
        write_int(out, after_ms);
    }
    if let Some(cause) = extra.cause {
        out.extend_from_slice(b",\"cause\":");
        write_json_string(out, cause);
    }
    out.extend_from_slice(b",\"timestamp\":");
    quoted_timestamp(out, ts);
    out.extend_from_slice(b"}}");
}

/// What a `system.flow` message tells: messages that a client did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowNotice<'a> {
    /// The client's label of the subscription.
    pub channel: Option<&'a str>,
    /// Of which stream: `crypto.trades`.
    pub stream: &'a str,
    /// Of which provider.
    pub provider: &'a str,
    /// Of which symbol.
    pub symbol: &'a str,
    /// Of which instrument.
    pub entity_id: &'a str,
    /// The bar level of `crypto.klines`.
    pub interval: Option<&'a str>,
    /// How many.
    pub dropped: u64,
    /// First `seq` that is missing.
    pub from_seq: u64,
    /// Last `seq` that is missing.
    pub to_seq: u64,
    /// The drop policy in force: `oldest`, `newest`, `conflate`.
    pub policy: &'a str,
}

/// Appends a `system.flow` message.
pub fn flow_message(out: &mut Vec<u8>, notice: &FlowNotice<'_>) {
    out.extend_from_slice(b"{\"stream\":\"system.flow\",\"data\":{\"channel\":");
    match notice.channel {
        Some(channel) => write_json_string(out, channel),
        None => out.extend_from_slice(b"null"),
    }
    for (name, text) in [
        (b",\"stream\":".as_slice(), Some(notice.stream)),
        (b",\"provider\":", Some(notice.provider)),
        (b",\"symbol\":", Some(notice.symbol)),
        (b",\"entity_id\":", Some(notice.entity_id)),
        (b",\"interval\":", notice.interval),
        (b",\"policy\":", Some(notice.policy)),
    ] {
        let Some(text) = text else { continue };
        out.extend_from_slice(name);
        write_json_string(out, text);
    }
    for (name, number) in [
        (b",\"dropped\":".as_slice(), notice.dropped),
        (b",\"from_seq\":", notice.from_seq),
        (b",\"to_seq\":", notice.to_seq),
    ] {
        out.extend_from_slice(name);
        write_int(out, number);
    }
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests;
