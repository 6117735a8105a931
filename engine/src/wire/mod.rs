//! Our public JSON, encode only: the one place with the field names of the public contract.
//!
//! Start with [`stream`] for what subscribers get, [`table`] and [`rows`] for REST rows. Functions
//! append to the caller's buffer and allocate nothing else on the hot path; the `data` object of a
//! message is encoded once per topic and shared, what differs per session is put round it by
//! [`envelope_prefix`] and [`message`].
//!
//! Choices that the contract leaves open, made here once for all:
//! - `trade_id` is a JSON string: exchanges have numeric ids and ids that are not numbers, and a
//!   client's field must not change its type with the provider;
//! - numbers are printed in plain form without trailing zeros;
//! - what is unknown is `null`, never absent and never 0.

mod error;
mod quotient;
mod reply;
mod rows;
mod stream;
mod table;
#[cfg(test)]
pub(crate) mod test_data;
mod text;
mod trading;

pub use error::{error_body, error_object, error_value};
pub use reply::{Rejected, SubscriptionView, error_reply, reply};
pub use rows::{
    AssetRow, BookView, FundingView, KlineView, OrderbookView, PairRow, PerpRow, TradeView,
    kline_id_time,
};
pub use stream::{
    FlowNotice, StatusExtra, book_snapshot_data, book_update_data, envelope_prefix, flow_message,
    funding_data, kline_data, message, private_prefix, status_message, ticker_data, trade_data,
};
pub use table::{Cell, Columns, TableRow, Value, value_of, write_csv, write_json_rows};
pub use text::{
    write_date, write_decimal, write_json_string, write_timestamp, write_timestamp_secs,
};

pub use trading::{
    BalanceView, FillView, OrderView, PositionView, account_data, order_update_data,
    orders_snapshot_data,
};

/// How prices and quantities are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Numbers {
    /// As JSON numbers with all their digits.
    #[default]
    Number,
    /// As JSON strings.
    String,
}

impl Numbers {
    /// The value of the `numbers` parameter: `number`, `string`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::String => "string",
        }
    }

    /// The form of a `numbers` parameter's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Number, Self::String]
            .into_iter()
            .find(|numbers| numbers.as_str() == text)
    }
}
