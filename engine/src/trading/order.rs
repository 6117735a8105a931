//! Orders, fills, balances and positions, in the words of the public contract.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::Market;
use crate::time::TsNanos;

/// An enum whose values have public names: `parse`, `as_str`, `ALL`, and serde by those names.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All values, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The public name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value of a public name, whatever its case.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let mut all = Self::ALL.iter();
                all.find(|value| value.as_str().eq_ignore_ascii_case(text)).copied()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// How an order executes.
    OrderType {
        /// At once, at whatever the book has.
        Market = "market",
        /// At its price or better.
        Limit = "limit",
        /// A market order once the last price reaches the stop price.
        StopMarket = "stop_market",
        /// A limit order once the last price reaches the stop price.
        StopLimit = "stop_limit",
    }
}

impl OrderType {
    /// True for orders that wait for a stop price.
    #[must_use]
    pub const fn is_stop(self) -> bool {
        matches!(self, Self::StopMarket | Self::StopLimit)
    }

    /// True for orders with a limit price.
    #[must_use]
    pub const fn has_price(self) -> bool {
        matches!(self, Self::Limit | Self::StopLimit)
    }
}

named! {
    /// How long an order stays.
    TimeInForce {
        /// Until it is filled or canceled.
        Gtc = "GTC",
        /// What can't execute at once expires.
        Ioc = "IOC",
        /// Executes whole at once, or not at all.
        Fok = "FOK",
    }
}

named! {
    /// Which position of a perpetual an order belongs to.
    PositionSide {
        /// The one position of a symbol (one-way mode).
        Net = "net",
        /// The long position (hedge mode).
        Long = "long",
        /// The short position (hedge mode).
        Short = "short",
    }
}

named! {
    /// Where an order stands.
    OrderStatus {
        /// In the journal, not acknowledged yet.
        Pending = "pending",
        /// Working, nothing filled. Stops that wait for their price are open too.
        Open = "open",
        /// Working, partly filled.
        PartiallyFilled = "partially_filled",
        /// All of it executed.
        Filled = "filled",
        /// Canceled; a part may have executed before.
        Canceled = "canceled",
        /// Refused; nothing executed.
        Rejected = "rejected",
        /// Ended by its own terms; a part may have executed before.
        Expired = "expired",
        /// Sent without an answer; being found out.
        Unknown = "unknown",
    }
}

impl OrderStatus {
    /// True when nothing of the order can execute any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Filled | Self::Canceled | Self::Rejected | Self::Expired
        )
    }
}

named! {
    /// Whether orders of a provider go to the exchange.
    TradingMode {
        /// Filled here, against the live book.
        Paper = "paper",
        /// Sent to the exchange.
        Live = "live",
    }
}

named! {
    /// Who made an order.
    Origin {
        /// This program.
        Ours = "bookwire",
        /// Somebody else, on the exchange: by hand, by another program, by the exchange itself.
        Adopted = "adopted",
    }
}

/// Our number of an order: 48 bits of milliseconds since the epoch and 80 random ones, so that
/// numbers sort by time and two processes never make the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u128);

/// Digits of [`OrderId`]'s text: Crockford's base 32 in lower case, which leaves out i, l, o, u.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// What all our ids begin with, so that an order can be recognised on the exchange.
const PREFIX: &str = "bw";

impl OrderId {
    /// Length of its text: within what every exchange accepts of a client's id (OKX: 32 letters and
    /// digits).
    pub const LENGTH: usize = 28;

    /// A number of a moment, with the low 80 bits of `random`.
    #[must_use]
    pub const fn new(at: TsNanos, random: u128) -> Self {
        let ms = at.as_ms().cast_unsigned() as u128;
        Self(((ms & ((1 << 48) - 1)) << 80) | (random & ((1 << 80) - 1)))
    }

    /// The number of a text that [`OrderId`] has written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        if digits.len() != Self::LENGTH - PREFIX.len() {
            return None;
        }
        let mut value: u128 = 0;
        for (index, digit) in digits.iter().enumerate() {
            let digit = DIGITS.iter().position(|known| known == digit)?;
            // 26 digits hold 130 bits: the first may only use three of its five.
            if index == 0 && digit >= 8 {
                return None;
            }
            value = (value << 5) | digit as u128;
        }
        Some(Self(value))
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for index in (0..Self::LENGTH - PREFIX.len()).rev() {
            let digit = (self.0 >> (5 * index)) & 31;
            f.write_str(char::from(DIGITS[digit as usize]).encode_utf8(&mut [0; 4]))?;
        }
        Ok(())
    }
}

impl Serialize for OrderId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an order id"))
    }
}

/// An order that somebody wants: what was asked for, resolved and checked in form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTerms {
    /// The exchange's connection.
    #[serde(with = "provider")]
    pub provider: ProviderId,
    /// Named account at the provider: `default`.
    pub account: String,
    /// Public id of the instrument.
    pub entity_id: String,
    /// Its market.
    #[serde(with = "market")]
    pub market: Market,
    /// Its symbol in streams: `btcusdt-perp`.
    pub symbol: String,
    /// The exchange's spelling, with the venue where the provider has several
    /// ([`crate::instrument::InstrumentSpec::native_key`]).
    pub native_symbol: String,
    /// Direction.
    #[serde(with = "side")]
    pub side: Side,
    /// How it executes.
    #[serde(rename = "type")]
    pub order_type: OrderType,
    /// How much, base units.
    pub quantity: Decimal,
    /// Limit price, quote units; exactly for types that have one.
    pub price: Option<Decimal>,
    /// Stop price, quote units; exactly for stops.
    pub stop_price: Option<Decimal>,
    /// How long it stays. Market orders: [`TimeInForce::Ioc`].
    pub time_in_force: TimeInForce,
    /// Refused rather than executed at once.
    pub post_only: bool,
    /// May only make a position smaller.
    pub reduce_only: bool,
    /// Spot with borrowed money.
    pub margin_trading: bool,
    /// Which position; `None` for spot.
    pub position_side: Option<PositionSide>,
    /// The leverage that the sender believes to be set; `None`: not said.
    pub leverage: Option<u32>,
    /// The sender's own id.
    pub client_order_id: Option<String>,
}

/// Amounts by what they were paid in. Of one or two, so that a list is smaller than a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Decimal>", into = "BTreeMap<String, Decimal>")]
pub struct Fees(Vec<(String, Decimal)>);

impl Fees {
    /// Adds an amount of an asset. By name: in whatever order fees come, and after a replay, the same ones are equal.
    pub fn add(&mut self, asset: &str, amount: Decimal) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| known == asset) {
            *sum = sum.saturating_add(amount);
            return;
        }
        let at = self.0.partition_point(|(known, _)| known.as_str() < asset);
        self.0.reserve_exact(1);
        self.0.insert(at, (asset.to_owned(), amount));
    }

    /// All of an asset, if any was paid in it.
    #[must_use]
    pub fn of(&self, asset: &str) -> Option<Decimal> {
        let sum = self.0.iter().find(|(known, _)| known == asset);
        sum.map(|(_, sum)| *sum)
    }

    /// Assets and their sums.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Decimal)> {
        self.0.iter().map(|(asset, sum)| (asset.as_str(), *sum))
    }
}

impl From<BTreeMap<String, Decimal>> for Fees {
    fn from(all: BTreeMap<String, Decimal>) -> Self {
        Self(all.into_iter().collect())
    }
}

impl From<Fees> for BTreeMap<String, Decimal> {
    fn from(all: Fees) -> Self {
        all.0.into_iter().collect()
    }
}

/// An order and all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Ours; its text is the public `order_id`.
    pub id: OrderId,
    /// What was asked for. Amendments change its quantity and price.
    #[serde(flatten)]
    pub terms: OrderTerms,
    /// What was asked for at first, where an amendment has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_terms: Option<Box<OrderTerms>>,
    /// The client's id that the exchange knows it by: ours, or somebody else's.
    pub native_client_id: String,
    /// The exchange's id.
    pub exchange_order_id: Option<String>,
    /// The exchange's id of the conditional order that it was or is, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<String>,
    /// Paper or live.
    pub mode: TradingMode,
    /// Who made it.
    pub origin: Origin,
    /// Where it stands.
    pub status: OrderStatus,
    /// Executed so far, base units.
    pub filled_quantity: Decimal,
    /// Average price of that, quote units; `None` while nothing executed or it was not told.
    pub average_price: Option<Decimal>,
    /// Fees of the fills that are known: asset to amount, negative for rebates.
    #[serde(default)]
    pub fees: Fees,
    /// Sum of the quantities of the fills that are known, base units. Less than `filled_quantity`
    /// while fills are missing.
    #[serde(default)]
    pub known_fills: Decimal,
    /// A cancellation was asked for.
    #[serde(default)]
    pub is_cancel_asked: bool,
    /// The API key whose sessions watch over it: it is canceled when the last of them ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarded_by: Option<String>,
    /// The order that took this one's place, or the one whose place this took (cancel and replace).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<OrderId>,
    /// When it was made here, or by the exchange when it was adopted.
    #[serde(with = "nanos")]
    pub created_at: TsNanos,
    /// When it last changed.
    #[serde(with = "nanos")]
    pub updated_at: TsNanos,
    /// Why it was rejected, expired, or canceled by somebody else.
    pub reject_reason: Option<String>,
}

impl Order {
    /// A new order before anything is sent.
    #[must_use]
    pub fn new(
        id: OrderId,
        terms: OrderTerms,
        native_client_id: String,
        mode: TradingMode,
        at: TsNanos,
    ) -> Self {
        Self {
            id,
            terms,
            first_terms: None,
            native_client_id,
            exchange_order_id: None,
            trigger_id: None,
            mode,
            origin: Origin::Ours,
            status: OrderStatus::Pending,
            filled_quantity: Decimal::ZERO,
            average_price: None,
            fees: Fees::default(),
            known_fills: Decimal::ZERO,
            is_cancel_asked: false,
            guarded_by: None,
            replaced_by: None,
            created_at: at,
            updated_at: at,
            reject_reason: None,
        }
    }

    /// Not executed, base units; 0 once the order is over.
    #[must_use]
    pub fn remaining_quantity(&self) -> Decimal {
        if self.status.is_final() {
            return Decimal::ZERO;
        }
        self.terms
            .quantity
            .saturating_sub(self.filled_quantity)
            .max(Decimal::ZERO)
    }

    /// What was asked for when it was placed: what a repeated client order id is compared with.
    #[must_use]
    pub fn asked(&self) -> &OrderTerms {
        self.first_terms.as_deref().unwrap_or(&self.terms)
    }
}

/// An execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The exchange's id of the trade; with the symbol it is unique.
    pub fill_id: String,
    /// The order.
    pub order_id: OrderId,
    /// The exchange's connection.
    #[serde(with = "provider")]
    pub provider: ProviderId,
    /// Account at the provider.
    pub account: String,
    /// Public id of the instrument.
    pub entity_id: String,
    /// Its symbol in streams.
    pub symbol: String,
    /// Direction.
    #[serde(with = "side")]
    pub side: Side,
    /// Price, quote units.
    pub price: Decimal,
    /// Quantity, base units.
    pub quantity: Decimal,
    /// Fee; negative: a rebate.
    pub fee: Option<Decimal>,
    /// What the fee was paid in.
    pub fee_asset: Option<String>,
    /// The order was resting; `None`: not told.
    pub is_maker: Option<bool>,
    /// When, by the exchange's clock.
    #[serde(with = "nanos")]
    pub at: TsNanos,
}

/// What an account has of an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Market whose wallet it is; `None`: one for all.
    #[serde(default, with = "market_opt")]
    pub market: Option<Market>,
    /// The exchange's spelling.
    pub asset: String,
    /// Can be used for new orders.
    pub free: Decimal,
    /// Held by open orders or as margin.
    pub locked: Decimal,
    /// All of it.
    pub total: Decimal,
}

/// A position of a perpetual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The exchange's spelling.
    pub native_symbol: String,
    /// Which one.
    pub position_side: PositionSide,
    /// Base units; negative: short.
    pub quantity: Decimal,
    /// Average price at which it was entered.
    pub entry_price: Option<Decimal>,
    /// Mark price.
    pub mark_price: Option<Decimal>,
    /// Profit at the mark price, settlement asset.
    pub unrealized_pnl: Option<Decimal>,
    /// Leverage in force.
    pub leverage: Option<Decimal>,
    /// Margin that it holds, settlement asset.
    pub margin: Option<Decimal>,
    /// Maintenance margin over what covers it: liquidation at 1.
    pub margin_ratio: Option<Decimal>,
    /// Funding paid for it so far, settlement asset; negative: received.
    pub funding_cost: Option<Decimal>,
    /// Where it is liquidated.
    pub liquidation_price: Option<Decimal>,
    /// The exchange's time of this state, where told.
    #[serde(with = "nanos_opt")]
    pub at: Option<TsNanos>,
}

/// Values of other modules as the journal writes them.
macro_rules! text_of {
    ($module:ident, $type:ty, $to:expr, $from:expr) => {
        mod $module {
            use super::*;

            pub fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                let text: fn(&$type) -> &'static str = $to;
                to.serialize_str(text(value))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let text = String::deserialize(from)?;
                let value: fn(&str) -> Option<$type> = $from;
                value(&text).ok_or_else(|| serde::de::Error::custom("unknown name"))
            }
        }
    };
}

text_of!(provider, ProviderId, |id| id.name(), ProviderId::parse);
text_of!(market, Market, |market| market.as_str(), Market::parse);
text_of!(side, Side, |side| side.as_str(), |text| match text {
    "buy" => Some(Side::Buy),
    "sell" => Some(Side::Sell),
    _ => None,
});
text_of!(
    market_opt,
    Option<Market>,
    |market| market.map_or("", Market::as_str),
    |text| match text {
        "" => Some(None),
        text => Market::parse(text).map(Some),
    }
);

mod nanos {
    use super::*;

    pub fn serialize<S: Serializer>(value: &TsNanos, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(value.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TsNanos, D::Error> {
        i64::deserialize(from).map(TsNanos)
    }
}

mod nanos_opt {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<TsNanos>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|ts| ts.0).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TsNanos>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(TsNanos))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_order_id_is_read_back(value: u128) {
            let text = OrderId(value).to_string();
            prop_assert_eq!(text.len(), OrderId::LENGTH);
            prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
            prop_assert_eq!(OrderId::parse(&text), Some(OrderId(value)));
        }

        #[test]
        fn ids_sort_by_time(a in 0_i64..4_000_000_000_000, b in 0_i64..4_000_000_000_000, r: u128, s: u128) {
            prop_assume!(a < b);
            let (a, b) = (OrderId::new(TsNanos::from_ms(a), r), OrderId::new(TsNanos::from_ms(b), s));
            prop_assert!(a < b && a.to_string() < b.to_string());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "bw[0-9a-z]{0,30}|\\PC{0,40}") {
            if let Some(id) = OrderId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn names_are_those_of_the_contract() {
        let names = |all: &[OrderStatus]| all.iter().map(|s| s.as_str()).collect::<Vec<_>>();
        assert_eq!(
            names(OrderStatus::ALL),
            [
                "pending",
                "open",
                "partially_filled",
                "filled",
                "canceled",
                "rejected",
                "expired",
                "unknown"
            ]
        );
        assert_eq!(OrderType::parse("STOP_MARKET"), Some(OrderType::StopMarket));
        assert_eq!(TimeInForce::parse("gtc"), Some(TimeInForce::Gtc));
        assert_eq!(TimeInForce::Fok.as_str(), "FOK");
    }
}
