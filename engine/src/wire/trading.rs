//! Orders, executions, balances and positions as users see them.

use rust_decimal::Decimal;

use super::Numbers;
use super::table::{Cell, Columns, TableRow, write_json_rows};
use crate::instrument::Market;
use crate::trading::order::{Balance, Fill, Order, Position};

/// The fee of an order or execution as one number, where it was paid in one asset.
fn one_fee(order: &Order) -> Option<(&str, Decimal)> {
    let mut fees = order.fees.iter();
    match (fees.next(), fees.next()) {
        (Some((asset, fee)), None) => Some((asset, fee)),
        _ => None,
    }
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrderView<'a>(pub &'a Order);

impl TableRow for OrderView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "order_id",
        "client_order_id",
        "exchange_order_id",
        "account",
        "entity_id",
        "entity_type",
        "provider",
        "symbol",
        "side",
        "type",
        "status",
        "quantity",
        "price",
        "stop_price",
        "filled_quantity",
        "remaining_quantity",
        "average_price",
        "fee",
        "fee_asset",
        "time_in_force",
        "position_side",
        "reduce_only",
        "leverage",
        "post_only",
        "created_at",
        "updated_at",
        "reject_reason",
        "mode",
        "origin",
        "margin_trading",
        "replaced_by",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let order = self.0;
        let terms = &order.terms;
        match column {
            0 => cell.text(&order.id.to_string()),
            // Of an adopted order: what its maker called it.
            1 => match &terms.client_order_id {
                Some(client) => cell.text(client),
                None if order.native_client_id.is_empty() => cell.null(),
                None => cell.text(&order.native_client_id),
            },
            2 => cell.text_opt(
                order
                    .exchange_order_id
                    .as_deref()
                    .or(order.trigger_id.as_deref()),
            ),
            3 => cell.text(&terms.account),
            4 => cell.text(&terms.entity_id),
            5 => cell.text(terms.market.entity_type()),
            6 => cell.text(terms.provider.name()),
            7 => cell.text(&terms.symbol),
            8 => cell.text(terms.side.as_str()),
            9 => cell.text(terms.order_type.as_str()),
            10 => cell.text(order.status.as_str()),
            11 => cell.decimal(terms.quantity),
            12 => cell.decimal_opt(terms.price),
            13 => cell.decimal_opt(terms.stop_price),
            14 => cell.decimal(order.filled_quantity),
            15 => cell.decimal(order.remaining_quantity()),
            16 => cell.decimal_opt(order.average_price),
            17 => cell.decimal_opt(one_fee(order).map(|(_, fee)| fee)),
            18 => cell.text_opt(one_fee(order).map(|(asset, _)| asset)),
            19 => cell.text(terms.time_in_force.as_str()),
            20 => cell.text_opt(terms.position_side.map(|side| side.as_str())),
            21 => cell.flag(terms.reduce_only),
            22 => cell.integer_opt(terms.leverage.map(u64::from)),
            23 => cell.flag(terms.post_only),
            24 => cell.time(order.created_at),
            25 => cell.time(order.updated_at),
            26 => cell.text_opt(order.reject_reason.as_deref()),
            27 => cell.text(order.mode.as_str()),
            28 => cell.text(order.origin.as_str()),
            29 => cell.flag(terms.margin_trading),
            30 => match order.replaced_by {
                Some(id) => cell.text(&id.to_string()),
                None => cell.null(),
            },
            _ => cell.null(),
        }
    }
}

/// An execution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FillView<'a>(pub &'a Fill);

impl TableRow for FillView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "fill_id",
        "order_id",
        "provider",
        "account",
        "entity_id",
        "symbol",
        "side",
        "price",
        "quantity",
        "fee",
        "fee_asset",
        "is_maker",
        "timestamp",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let fill = self.0;
        match column {
            0 => cell.text(&fill.fill_id),
            1 => cell.text(&fill.order_id.to_string()),
            2 => cell.text(fill.provider.name()),
            3 => cell.text(&fill.account),
            4 => cell.text(&fill.entity_id),
            5 => cell.text(&fill.symbol),
            6 => cell.text(fill.side.as_str()),
            7 => cell.decimal(fill.price),
            8 => cell.decimal(fill.quantity),
            9 => cell.decimal_opt(fill.fee),
            10 => cell.text_opt(fill.fee_asset.as_deref()),
            11 => match fill.is_maker {
                Some(is_maker) => cell.flag(is_maker),
                None => cell.null(),
            },
            12 => cell.time(fill.at),
            _ => cell.null(),
        }
    }
}

/// What an account has of an asset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BalanceView<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The account's.
    pub account: &'a str,
    /// Paper or live.
    pub mode: &'a str,
    /// What it has.
    pub balance: &'a Balance,
}

impl TableRow for BalanceView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "provider", "account", "asset", "free", "locked", "total", "market", "mode",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let balance = self.balance;
        match column {
            0 => cell.text(self.provider),
            1 => cell.text(self.account),
            2 => cell.text(&balance.asset),
            3 => cell.decimal(balance.free),
            4 => cell.decimal(balance.locked),
            5 => cell.decimal(balance.total),
            6 => cell.text_opt(balance.market.map(Market::as_str)),
            7 => cell.text(self.mode),
            _ => cell.null(),
        }
    }
}

/// A position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositionView<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The account's.
    pub account: &'a str,
    /// Paper or live.
    pub mode: &'a str,
    /// Public id of its instrument.
    pub entity_id: &'a str,
    /// Symbol in streams.
    pub symbol: &'a str,
    /// The position.
    pub position: &'a Position,
}

impl TableRow for PositionView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "entity_id",
        "entity_type",
        "provider",
        "symbol",
        "position_side",
        "quantity",
        "entry_price",
        "mark_price",
        "unrealized_pnl",
        "leverage",
        "margin",
        "margin_ratio",
        "funding_cost",
        "liquidation_price",
        "account",
        "mode",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let position = self.position;
        match column {
            0 => cell.text(self.entity_id),
            1 => cell.text(Market::Perp.entity_type()),
            2 => cell.text(self.provider),
            3 => cell.text(self.symbol),
            4 => cell.text(position.position_side.as_str()),
            5 => cell.decimal(position.quantity),
            6 => cell.decimal_opt(position.entry_price),
            7 => cell.decimal_opt(position.mark_price),
            8 => cell.decimal_opt(position.unrealized_pnl),
            9 => cell.decimal_opt(position.leverage),
            10 => cell.decimal_opt(position.margin),
            11 => cell.decimal_opt(position.margin_ratio),
            12 => cell.decimal_opt(position.funding_cost),
            13 => cell.decimal_opt(position.liquidation_price),
            14 => cell.text(self.account),
            15 => cell.text(self.mode),
            _ => cell.null(),
        }
    }
}

/// `data` of the first message of `crypto.orders`: all open orders.
pub fn orders_snapshot_data<'a>(
    out: &mut Vec<u8>,
    orders: impl IntoIterator<Item = &'a Order>,
    numbers: Numbers,
) {
    out.extend_from_slice(b"{\"type\":\"snapshot\",\"orders\":");
    let rows = orders.into_iter().map(OrderView);
    write_json_rows(out, &Columns::all(), rows, numbers);
    out.push(b'}');
}

/// `data` of a later message of `crypto.orders`: an order as it is now, and the execution that changed
/// it, null where it was none. The order is an object of its own because it has a `type`, too.
pub fn order_update_data(out: &mut Vec<u8>, order: &Order, fill: Option<&Fill>, numbers: Numbers) {
    out.extend_from_slice(b"{\"type\":\"update\",\"order\":");
    Columns::all().write_json(out, &OrderView(order), numbers);
    out.extend_from_slice(b",\"fill\":");
    match fill {
        Some(fill) => Columns::all().write_json(out, &FillView(fill), numbers),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// `data` of `crypto.account`: everything at first, then what changed.
pub fn account_data<'a>(
    out: &mut Vec<u8>,
    is_snapshot: bool,
    balances: impl IntoIterator<Item = BalanceView<'a>>,
    positions: impl IntoIterator<Item = PositionView<'a>>,
    numbers: Numbers,
) {
    let begin: &[u8] = match is_snapshot {
        true => b"{\"type\":\"snapshot\",\"balances\":",
        false => b"{\"type\":\"update\",\"balances\":",
    };
    out.extend_from_slice(begin);
    write_json_rows(out, &Columns::all(), balances, numbers);
    out.extend_from_slice(b",\"positions\":");
    write_json_rows(out, &Columns::all(), positions, numbers);
    out.push(b'}');
}
