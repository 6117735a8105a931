//! The texts that a subscription's messages share.

use std::rc::Rc;

use bookwire_engine::wire;

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
    wire::envelope_prefix(
        out,
        labels.stream,
        labels.provider,
        &labels.symbol,
        &labels.entity_id,
        labels.interval,
        labels.channel.as_deref(),
    );
}

/// `system.flow`: what a client will not see.
pub fn flow(out: &mut Vec<u8>, labels: &Labels, gap: Gap, policy: &str) {
    let notice = wire::FlowNotice {
        channel: labels.channel.as_deref(),
        stream: labels.stream,
        provider: labels.provider,
        symbol: &labels.symbol,
        entity_id: &labels.entity_id,
        interval: labels.interval,
        dropped: gap.dropped,
        from_seq: gap.from_seq,
        to_seq: gap.to_seq,
        policy,
    };
    wire::flow_message(out, &notice);
}
