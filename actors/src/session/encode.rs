//! Puts messages together out of what a subscription knows and the shared body.

use std::rc::Rc;

use bookwire_engine::time::TsNanos;

use super::flow::Gap;

/// The texts that all messages of a subscription share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Public stream name.
    pub stream: &'static str,
    /// Public provider name.
    pub provider: &'static str,
    /// The symbol in streams: `btcusdt-perp`.
    pub symbol: Rc<str>,
    /// The entity id.
    pub entity_id: Rc<str>,
    /// The bar level of `crypto.klines`.
    pub interval: Option<&'static str>,
    /// The client's own name for a group of subscriptions.
    pub channel: Option<Rc<str>>,
}

/// Everything of a message before its sequence number.
pub fn prefix(out: &mut Vec<u8>, labels: &Labels) {
    field(out, b"{\"stream\":", labels.stream);
    field(out, b",\"provider\":", labels.provider);
    field(out, b",\"symbol\":", &labels.symbol);
    field(out, b",\"entity_id\":", &labels.entity_id);
    if let Some(interval) = labels.interval {
        field(out, b",\"interval\":", interval);
    }
    if let Some(channel) = &labels.channel {
        field(out, b",\"channel\":", channel);
    }
    out.extend_from_slice(b",\"seq\":");
}

fn field(out: &mut Vec<u8>, name: &[u8], text: &str) {
    out.extend_from_slice(name);
    // A vector does not refuse bytes and a str is always printable.
    let _ = serde_json::to_writer(&mut *out, text);
}

/// A whole message. `timing` is when the exchange's frame was read and the time now.
pub fn message(
    out: &mut Vec<u8>,
    prefix: &[u8],
    seq: u64,
    body: &[u8],
    timing: Option<(TsNanos, TsNanos)>,
) {
    out.reserve(prefix.len() + body.len() + 96);
    out.extend_from_slice(prefix);
    integer(out, seq);
    out.extend_from_slice(b",\"data\":");
    match (timing, body.split_last()) {
        (Some((received, sent)), Some((b'}', open))) if open.len() > 1 => {
            out.extend_from_slice(open);
            out.extend_from_slice(b",\"received_ns\":");
            integer(out, received.0);
            out.extend_from_slice(b",\"sent_ns\":");
            integer(out, sent.0);
            out.push(b'}');
        }
        _ => out.extend_from_slice(body),
    }
    out.push(b'}');
}

fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `system.flow`: what a client will not see.
pub fn flow(out: &mut Vec<u8>, labels: &Labels, gap: Gap, policy: &str) {
    out.extend_from_slice(b"{\"stream\":\"system.flow\",\"data\":{");
    if let Some(channel) = &labels.channel {
        field(out, b"\"channel\":", channel);
    } else {
        out.extend_from_slice(b"\"channel\":null");
    }
    field(out, b",\"stream\":", labels.stream);
    field(out, b",\"provider\":", labels.provider);
    field(out, b",\"symbol\":", &labels.symbol);
    for (name, value) in [
        (&b",\"dropped\":"[..], gap.dropped),
        (b",\"from_seq\":", gap.from_seq),
        (b",\"to_seq\":", gap.to_seq),
    ] {
        out.extend_from_slice(name);
        integer(out, value);
    }
    field(out, b",\"policy\":", policy);
    out.extend_from_slice(b"}}");
}

/// `system.status`: a provider, or one instrument of it, changed its state.
pub fn status(
    out: &mut Vec<u8>,
    provider: &str,
    symbol: Option<&str>,
    state: &str,
    reason: &str,
    ts: TsNanos,
) {
    out.extend_from_slice(b"{\"stream\":\"system.status\",\"data\":{");
    field(out, b"\"provider\":", provider);
    if let Some(symbol) = symbol {
        field(out, b",\"symbol\":", symbol);
    }
    field(out, b",\"state\":", state);
    field(out, b",\"reason\":", reason);
    field(out, b",\"timestamp\":", &ts.to_rfc3339());
    out.extend_from_slice(b"}}");
}
