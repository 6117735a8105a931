//! Schemas of the answers about orders and accounts.

use bookwire_engine::trading::order::TradingMode;
use serde_json::{Value, json};

use super::answers::{order_support, provider, words};
use super::rows;
use super::shape::{about, all_of, count, flag, list, nullable, object, one_of, reference, text};

pub(super) fn order() -> Value {
    reference("Order")
}

fn of_rows(name: &str, row: &str) -> Value {
    super::shape::fields_of([(name, list(reference(row)))].into_iter())
}

pub(super) fn orders() -> Value {
    of_rows("orders", "Order")
}

pub(super) fn fills() -> Value {
    of_rows("fills", "Fill")
}

pub(super) fn balances() -> Value {
    of_rows("balances", "Balance")
}

pub(super) fn positions() -> Value {
    of_rows("positions", "Position")
}

pub(super) fn amended() -> Value {
    let how = object([
        ("amended", one_of(&["in_place", "replaced"])),
        (
            "replaces?",
            about(text(), "our id of the order that is canceled"),
        ),
    ]);
    let order = rows::rows().into_iter().find(|row| row.name == "Order");
    all_of(&[order.map_or_else(|| json!({}), |row| row.schema()), how])
}

pub(super) fn ended() -> Value {
    let failed = object([("order_id", text()), ("error", reference("ErrorObject"))]);
    object([
        (
            "orders",
            about(list(reference("Order")), "what was canceled"),
        ),
        ("failed", about(list(failed), "what was not, and why")),
    ])
}

pub(super) fn halted() -> Value {
    all_of(&[
        object([("engaged", flag()), ("providers", list(provider()))]),
        ended(),
    ])
}

pub(super) fn leverage() -> Value {
    object([
        ("provider", provider()),
        ("account", text()),
        ("entity_id", text()),
        ("leverage", count()),
    ])
}

pub(super) fn reset() -> Value {
    object([
        ("provider", provider()),
        ("account", text()),
        ("reset", flag()),
    ])
}

pub(super) fn accounts() -> Value {
    let counted = [
        "open_orders",
        "orders_placed",
        "orders_rejected",
        "orders_refused_by_risk",
        "orders_unknown",
        "cancels",
        "cancel_on_disconnect_sessions",
        "disconnects",
        "disconnect_cancels",
        "disconnect_cancels_failed",
        "fills",
        "corrections",
        "reconciliations",
        "reconciliations_failed",
        "private_reconnects",
        "journal_errors",
        "unmapped_errors",
    ];
    let counted: Vec<(&str, Value)> = counted.into_iter().map(|name| (name, count())).collect();
    let socket = object([
        ("up", flag()),
        ("commands", count()),
        ("by_rest", count()),
        ("reconnects", count()),
    ]);
    let row = all_of(&[
        object([
            ("provider", provider()),
            ("account", text()),
            ("mode", words(TradingMode::ALL, TradingMode::as_str)),
            ("order_support", order_support()),
            (
                "key_can_withdraw",
                about(nullable(flag()), "null: not known"),
            ),
            ("ready", flag()),
            ("reason", nullable(text())),
            ("halted_by", nullable(text())),
        ]),
        super::shape::fields_of(counted.into_iter()),
        object([("order_socket", nullable(socket))]),
    ]);
    object([("accounts", list(row))])
}
