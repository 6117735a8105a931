//! The rows of lists: what stands in each column. The names are those of the tables that write the rows;
//! a test holds that each has its meaning here.

use bookwire_engine::instrument::Market;
use bookwire_engine::trading::order::{
    OrderStatus, OrderType, Origin, PositionSide, TimeInForce, TradingMode,
};
use bookwire_engine::wire::{
    AssetRow, BalanceView, FillView, FundingView, KlineView, OrderView, OrderbookView, PairRow,
    PerpRow, PositionView, TableRow, TradeView,
};
use serde_json::Value;

use super::shape::{about, count, flag, list, nullable, number, one_of, reference, text, time};
use super::{entity_types, levels, providers};
use crate::rest::schema::Schema;
use crate::rest::validation::QUARANTINE_COLUMNS;

/// A kind of row.
pub(super) struct Row {
    /// Its name among the components.
    pub(super) name: String,
    /// Its columns.
    pub(super) columns: &'static [&'static str],
    /// Those that can be null.
    nullable: &'static [&'static str],
    /// Whether `columns` can choose among them.
    is_chosen: bool,
}

impl Row {
    fn of<R: TableRow>(name: &str, is_chosen: bool, nullable: &'static [&'static str]) -> Self {
        Self {
            name: name.to_owned(),
            columns: R::COLUMNS,
            nullable,
            is_chosen,
        }
    }

    /// Its schema.
    pub(super) fn schema(&self) -> Value {
        let fields = self.columns.iter().map(|column| {
            let (mut schema, meaning) = column_of(&self.name, column);
            if self.nullable.contains(column) {
                schema = nullable(schema);
            }
            let schema = about(schema, meaning);
            match self.is_chosen {
                true => (format!("{column}?"), schema),
                false => ((*column).to_owned(), schema),
            }
        });
        let fields: Vec<(String, Value)> = fields.collect();
        let fields = fields
            .iter()
            .map(|(name, schema)| (name.as_str(), schema.clone()));
        let mut schema = super::shape::fields_of(fields);
        if self.is_chosen {
            schema["description"] =
                "All columns are there unless `columns` asks for some of them.".into();
        }
        schema
    }
}

/// The row of a schema.
pub(super) fn row_of(schema: Schema) -> Row {
    const INSTRUMENT: &[&str] = &[
        "min_notional",
        "maker_fee",
        "taker_fee",
        "list_date",
        "min_qty",
        "max_qty",
        "settlement_symbol",
        "max_leverage",
        "funding_interval_hours",
    ];
    let name = schema.name();
    match schema {
        Schema::Asset => Row::of::<AssetRow<'_>>(&name, true, &[]),
        Schema::Instruments(Market::Spot) => Row::of::<PairRow<'_>>(&name, true, INSTRUMENT),
        Schema::Instruments(Market::Perp) => Row::of::<PerpRow<'_>>(&name, true, INSTRUMENT),
        // All levels have one.
        Schema::Klines(..) => Row::of::<KlineView<'_>>(
            "CryptoKdata",
            true,
            &[
                "name",
                "turnover",
                "volume_quote",
                "trade_count",
                "vwap",
                "change_pct",
                "turnover_rate",
            ],
        ),
        Schema::Trades => Row::of::<TradeView<'_>>(&name, true, &[]),
        Schema::Orderbook => Row::of::<OrderbookView<'_>>(
            &name,
            true,
            &["best_bid", "best_ask", "mid_price", "spread"],
        ),
        Schema::Funding => Row::of::<FundingView<'_>>(
            &name,
            true,
            &[
                "predicted_rate",
                "funding_interval_hours",
                "mark_price",
                "index_price",
                "next_funding_timestamp",
            ],
        ),
    }
}

/// All kinds of rows.
pub(super) fn rows() -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    for row in Schema::all().map(row_of) {
        if all.iter().all(|known| known.name != row.name) {
            all.push(row);
        }
    }
    all.push(Row::of::<OrderView<'_>>(
        "Order",
        false,
        &[
            "client_order_id",
            "exchange_order_id",
            "price",
            "stop_price",
            "average_price",
            "fee",
            "fee_asset",
            "position_side",
            "leverage",
            "reject_reason",
            "replaced_by",
        ],
    ));
    all.push(Row::of::<FillView<'_>>(
        "Fill",
        false,
        &["fee", "fee_asset", "is_maker"],
    ));
    all.push(Row::of::<BalanceView<'_>>("Balance", false, &["market"]));
    all.push(Row::of::<PositionView<'_>>(
        "Position",
        false,
        &[
            "entry_price",
            "mark_price",
            "unrealized_pnl",
            "leverage",
            "margin",
            "margin_ratio",
            "funding_cost",
            "liquidation_price",
        ],
    ));
    all.push(Row {
        name: "QuarantinedBar".to_owned(),
        columns: QUARANTINE_COLUMNS,
        nullable: &["volume_quote", "trade_count"],
        is_chosen: true,
    });
    all
}

fn words<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Value {
    let words: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    one_of(&words)
}

/// What stands in a column, and what it means.
fn column_of(row: &str, column: &str) -> (Value, &'static str) {
    match (row, column) {
        ("QuarantinedBar", "id") => (count(), "number by which it is released"),
        ("QuarantinedBar", "reason") => (text(), "what is wrong with it"),
        ("QuarantinedBar", "source") => (one_of(&["live", "history"]), "where it came from"),
        ("Position", "leverage") => (number(), "times the margin"),
        ("Position", "quantity") => (number(), "base units; negative: short"),
        ("Order", "quantity") => (number(), "base units that were ordered"),
        ("Order" | "Position" | "Balance", "mode") => (
            words(TradingMode::ALL, TradingMode::as_str),
            "`paper`: filled here against the live book; `live`: at the exchange",
        ),
        ("Balance", "market") => (
            one_of(&[Market::Spot.as_str(), Market::Perp.as_str()]),
            "of which market, where an exchange keeps them apart",
        ),
        _ => column_anywhere(column),
    }
}

fn column_anywhere(column: &str) -> (Value, &'static str) {
    match column {
        "id" => (text(), "id of the row"),
        "entity_id" => (text(), "`{entity_type}_{exchange}_{code}`"),
        "entity_type" => (
            one_of(&[&["cryptoasset"][..], &entity_types()].concat()),
            "kind of the entity",
        ),
        "exchange" => (text(), "the venue"),
        "provider" => (one_of(&providers()), "source of the data"),
        "code" => (
            text(),
            "base and quote in lower case, the same for every provider",
        ),
        "name" => (text(), "for people: `BTC/USDT`"),
        "symbol" => (text(), "as in streams: perpetuals end in `-perp`"),
        "native_symbol" => (text(), "the exchange's own name"),
        "base_symbol" => (text(), "the asset that is traded"),
        "quote_symbol" => (text(), "the asset that prices are in"),
        "underlying_symbol" => (text(), "the asset that it follows"),
        "settlement_symbol" => (text(), "the asset that profit and loss are paid in"),
        "price_step" => (number(), "prices are multiples of it, quote units"),
        "qty_step" => (number(), "quantities are multiples of it, base units"),
        "min_notional" => (number(), "least price × quantity, quote units"),
        "maker_fee" => (number(), "a fraction"),
        "taker_fee" => (number(), "a fraction"),
        "min_qty" => (number(), "base units"),
        "max_qty" => (number(), "base units"),
        "contract_size" => (number(), "base units of one contract of the exchange"),
        "max_leverage" => (count(), "times the margin"),
        "leverage" => (count(), "times the margin"),
        "funding_interval_hours" => (count(), "hours between two settlements"),
        "is_active" => (flag(), "can be traded now"),
        "margin_enabled" => (flag(), "can be traded on borrowed funds"),
        "list_date" => (time(), "when it was listed"),
        "timestamp" => (time(), "bars: the open; events: the exchange's time"),
        "level" => (one_of(&levels()), "length of the bar"),
        "open" | "high" | "low" | "close" => (number(), "quote units"),
        "volume" | "volume_base" => (number(), "base units"),
        "turnover" | "volume_quote" => (number(), "quote units"),
        "trade_count" => (count(), "trades in the bar"),
        "vwap" => (
            number(),
            "volume_quote / volume_base; null when nothing traded",
        ),
        "change_pct" => (number(), "close / previous close - 1, a fraction"),
        "turnover_rate" => (number(), "always null: ZVT's column"),
        "trade_id" => (text(), "the exchange's number of it"),
        "price" => (number(), "quote units"),
        "stop_price" => (number(), "quote units"),
        "side" => (one_of(&["buy", "sell"]), "the taker's side, or the order's"),
        "is_buyer_maker" => (flag(), "true exactly when the side is `sell`"),
        "funding_rate" | "predicted_rate" => (number(), "a fraction for one interval"),
        "mark_price" | "index_price" => (number(), "quote units"),
        "next_funding_timestamp" => (time(), "the next settlement"),
        "sequence" => (count(), "the exchange's number of this state"),
        "best_bid" | "best_ask" | "mid_price" | "spread" => (number(), "quote units"),
        "bids" | "asks" => (list(reference("Level")), "levels, best first"),
        "quarantined_at" => (time(), "when it was put there"),
        _ => column_of_trading(column),
    }
}

fn column_of_trading(column: &str) -> (Value, &'static str) {
    match column {
        "order_id" => (text(), "our id of the order"),
        "client_order_id" => (text(), "the client's id of it"),
        "exchange_order_id" => (text(), "the exchange's id of it"),
        "replaced_by" => (text(), "our id of the order that took its place"),
        "account" => (text(), "name of the account"),
        "type" => (words(OrderType::ALL, OrderType::as_str), "how it executes"),
        "status" => (
            words(OrderStatus::ALL, OrderStatus::as_str),
            "where it stands",
        ),
        "quantity" => (number(), "base units"),
        "filled_quantity" => (number(), "base units that have executed"),
        "remaining_quantity" => (number(), "base units that can still execute"),
        "average_price" => (number(), "of what has executed, quote units"),
        "fee" => (number(), "in units of `fee_asset`; negative: a rebate"),
        "fee_asset" => (text(), "what the fee was paid in"),
        "time_in_force" => (
            words(TimeInForce::ALL, TimeInForce::as_str),
            "how long it stays",
        ),
        "position_side" => (
            words(PositionSide::ALL, PositionSide::as_str),
            "which position; `net` in one-way mode",
        ),
        "reduce_only" => (flag(), "never enlarges a position"),
        "post_only" => (flag(), "refused rather than executed at once"),
        "margin_trading" => (flag(), "on borrowed funds"),
        "created_at" => (time(), "when it came"),
        "updated_at" => (time(), "when it changed last"),
        "reject_reason" => (text(), "why it was refused"),
        "origin" => (words(Origin::ALL, Origin::as_str), "who made it"),
        "fill_id" => (text(), "the exchange's id of the execution"),
        "is_maker" => (flag(), "it waited in the book"),
        "asset" => (text(), "the asset"),
        "free" => (number(), "can be used"),
        "locked" => (number(), "held by open orders"),
        "total" => (number(), "both together"),
        "entry_price" | "liquidation_price" => (number(), "quote units"),
        "unrealized_pnl" => (number(), "at the mark price, settlement units"),
        "margin" => (number(), "held for it, settlement units"),
        "margin_ratio" => (number(), "maintenance margin / equity, a fraction"),
        "funding_cost" => (
            number(),
            "paid so far, settlement units; negative: received",
        ),
        _ => (Value::Bool(true), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_of_every_row_has_its_meaning() {
        for row in rows() {
            for column in row.columns {
                let (schema, meaning) = column_of(&row.name, column);
                assert!(
                    schema.is_object() && !meaning.is_empty(),
                    "{}: {column}",
                    row.name
                );
            }
            for column in row.nullable {
                let is_there = row.columns.contains(column) || row.name.starts_with("CryptoP");
                assert!(is_there, "{}: {column}", row.name);
            }
        }
    }
}
