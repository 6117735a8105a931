//! Schemas of the answers that are no lists of rows. Each is held to the real answers by
//! `tests/e2e/documents.rs`, which accepts no field that is missing here.

use bookwire_actors::history::gaps::GapReason;
use bookwire_engine::keys::Permission;
use bookwire_engine::trading::order::{OrderType, TimeInForce, TradingMode};
use serde_json::{Map, Value, json};

pub(super) use super::answers_trading::*;
use super::shape::{
    about, all_of, count, flag, list, map_of, measure, nullable, number, object, one_of, reference,
    text, time,
};
use super::{levels, ops, providers, rows};
use crate::rest::schema::Schema;

pub(super) fn words<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Value {
    let words: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    one_of(&words)
}

fn texts() -> Value {
    list(text())
}

pub(super) fn provider() -> Value {
    one_of(&providers())
}

/// The envelope round a page of rows.
pub(super) fn envelope(row: &str) -> Value {
    object([
        ("data", list(reference(row))),
        (
            "total",
            about(count(), "rows of the whole result, all pages together"),
        ),
        ("page", count()),
        ("page_size", count()),
        ("has_more", flag()),
        (
            "warnings?",
            about(texts(), "what is missing of the rows, and why"),
        ),
    ])
}

/// Rows of any schema, without an envelope.
pub(super) fn any_rows() -> Value {
    let mut names: Vec<String> = Schema::all()
        .map(|schema| rows::row_of(schema).name)
        .collect();
    names.dedup();
    let all: Vec<Value> = names.iter().map(|name| reference(name)).collect();
    list(json!({ "anyOf": all }))
}

pub(super) fn quarantine() -> Value {
    envelope("QuarantinedBar")
}

/// By kind, or the flat list that `format=list` asks for.
fn or_flat(by_kind: Value) -> Value {
    json!({"oneOf": [by_kind, about(texts(), "with `format=list`")]})
}

pub(super) fn providers_list() -> Value {
    or_flat(object([
        ("stock", texts()),
        ("crypto", list(provider())),
        ("index", texts()),
        ("etf", texts()),
        ("warnings?", texts()),
    ]))
}

pub(super) fn schemas() -> Value {
    or_flat(object([
        ("entity_schemas", texts()),
        ("kdata_schemas", texts()),
        ("tick_schemas", texts()),
    ]))
}

pub(super) fn document() -> Value {
    json!({"type": "object"})
}

pub(super) fn alive() -> Value {
    object([("status", one_of(&["alive"]))])
}

pub(super) fn ready() -> Value {
    object([
        ("status", one_of(&["ready", "not ready"])),
        ("instruments_loaded", flag()),
        ("store", one_of(&["pass", "fail"])),
    ])
}

pub(super) fn health() -> Value {
    let check = || one_of(&["pass", "warn", "fail"]);
    object([
        ("status", one_of(&["healthy", "degraded", "unhealthy"])),
        (
            "checks",
            object([
                ("database_connectivity", check()),
                ("exchange_connectivity", check()),
                ("websocket_streams", check()),
                ("data_freshness", check()),
                ("memory_usage", check()),
                ("audit_log", check()),
            ]),
        ),
        (
            "reasons",
            about(map_of(text()), "why a check does not pass"),
        ),
        ("uptime_seconds", count()),
        ("last_check", time()),
    ])
}

fn repairs() -> [(&'static str, Value); 3] {
    [
        ("count", count()),
        ("total_duration_ms", count()),
        ("longest_duration_ms", count()),
    ]
}

fn incident(what: &[(&str, Value)]) -> Value {
    let common = object([
        ("reason", text()),
        ("since", time()),
        ("duration_ms", count()),
        ("last_error?", text()),
    ]);
    let own = super::shape::fields_of(what.iter().map(|(name, schema)| (*name, schema.clone())));
    all_of(&[own, common])
}

pub(super) fn status() -> Value {
    let weight = object([
        ("market", text()),
        ("budget", text()),
        ("used", count()),
        ("limit", count()),
    ]);
    let maintenance = object([
        ("since", time()),
        ("duration_ms", count()),
        ("text", nullable(text())),
        ("expected_end", nullable(time())),
    ]);
    let announced = object([
        ("begin", nullable(time())),
        ("end", nullable(time())),
        ("text", nullable(text())),
    ]);
    let symbol = || ("symbol", nullable(text()));
    let resyncs = all_of(&[
        object(repairs()),
        object([
            ("by_reason", map_of(object(repairs()))),
            (
                "last",
                nullable(object([
                    symbol(),
                    ("reason", text()),
                    ("duration_ms", count()),
                ])),
            ),
        ]),
    ]);
    let state = [
        "operational",
        "degraded",
        "maintenance",
        "unavailable",
        "disabled",
    ];
    let row = object([
        ("name", provider()),
        ("status", one_of(&state)),
        ("reason", nullable(text())),
        ("api_latency_ms", nullable(measure())),
        ("websocket_connected", flag()),
        ("websocket_connections", count()),
        ("websocket_connections_wanted", count()),
        ("last_data_timestamp", nullable(time())),
        (
            "error_rate_1h",
            about(measure(), "a fraction of the attempts"),
        ),
        ("uptime_24h", about(measure(), "percent")),
        ("reconnects", count()),
        ("reconnects_24h", count()),
        ("weight_used", list(weight)),
        ("clock_offset_ms", nullable(measure())),
        ("instruments", count()),
        (
            "venues",
            about(texts(), "venues behind a bridge that are in use"),
        ),
        ("maintenance", nullable(maintenance)),
        ("announced_maintenance", list(announced)),
        ("books_resyncing", list(incident(&[symbol()]))),
        ("books_resyncing_count", count()),
        (
            "stale_streams",
            list(incident(&[symbol(), ("stream", text())])),
        ),
        ("stale_streams_count", count()),
        (
            "connections_down",
            list(incident(&[("name", text()), ("shard", count())])),
        ),
        ("connections_down_count", count()),
        ("resyncs_24h", resyncs),
        ("stale_streams_24h", object(repairs())),
    ]);
    object([("providers", list(row))])
}

fn order_types() -> Value {
    list(words(OrderType::ALL, OrderType::as_str))
}

/// What can be done with orders, by market.
pub(super) fn order_support() -> Value {
    let support = object([
        ("types", order_types()),
        (
            "time_in_force",
            list(words(TimeInForce::ALL, TimeInForce::as_str)),
        ),
        ("post_only", flag()),
        ("reduce_only", flag()),
        (
            "amend",
            one_of(&["in_place", "in_place_to_less", "cancel_and_replace"]),
        ),
        ("leverage", flag()),
        ("hedge_mode", flag()),
        ("dead_man", flag()),
        ("margin", flag()),
    ]);
    about(map_of(support), "by market, in the mode in force")
}

pub(super) fn capabilities() -> Value {
    let levels = || list(one_of(&levels()));
    let offer = object([
        ("streams", texts()),
        ("native_live_levels", levels()),
        ("native_history_levels", levels()),
        ("trade_history", flag()),
        (
            "trade_history_by",
            nullable(one_of(&["id", "time", "newest"])),
        ),
        ("trade_history_newest", nullable(count())),
        ("funding_history", flag()),
    ]);
    let budget = object([
        ("host", text()),
        ("budget", text()),
        ("weight", count()),
        ("window_seconds", count()),
    ]);
    let connection = object([
        ("market", text()),
        ("streams_per_connection", count()),
        ("messages_per_second", count()),
        ("connects", count()),
        ("connect_window_seconds", count()),
    ]);
    let limits = object([
        ("requests_per_minute", nullable(count())),
        (
            "orders_per_minute",
            about(
                nullable(count()),
                "null: exchanges count by account, instrument and kind",
            ),
        ),
        ("websocket_connections", count()),
        ("budgets", list(budget)),
        ("connections", list(connection)),
    ]);
    let row = object([
        ("enabled", flag()),
        ("spot_trading", flag()),
        ("perpetual_trading", flag()),
        ("margin_trading", flag()),
        ("supported_order_types", order_types()),
        (
            "trading_mode",
            about(
                nullable(words(TradingMode::ALL, TradingMode::as_str)),
                "null: nothing is traded",
            ),
        ),
        (
            "live_trading",
            about(
                flag(),
                "the exchange can be traded at live, whatever the mode is",
            ),
        ),
        ("order_support", order_support()),
        ("spot_market_data", flag()),
        ("perpetual_market_data", flag()),
        ("market_data", about(map_of(offer), "by market")),
        ("max_leverage", nullable(count())),
        ("funding_intervals", about(list(count()), "hours")),
        ("websocket_endpoints", texts()),
        ("rest_endpoints", texts()),
        ("rate_limits", limits),
    ]);
    let names = providers();
    super::shape::fields_of(names.into_iter().map(|name| (name, row.clone())))
}

fn reconnected() -> Value {
    let row = object([
        ("name", text()),
        ("shard", count()),
        ("was_connected", flag()),
        ("result", one_of(&["up", "not_wanted_any_more", "down"])),
        ("after_ms", nullable(count())),
        ("reason", nullable(text())),
        ("streams", count()),
        ("streams_live", count()),
    ]);
    object([
        ("provider", provider()),
        ("command", one_of(&["reconnect"])),
        (
            "outcome",
            one_of(&["reconnected", "incomplete", "nothing_to_do"]),
        ),
        ("duration_ms", count()),
        ("connections", list(row)),
    ])
}

pub(super) fn reconnect() -> Value {
    reconnected()
}

pub(super) fn resync() -> Value {
    object([
        ("provider", provider()),
        ("command", one_of(&["resync"])),
        ("symbol", text()),
        ("entity_id", text()),
        ("outcome", one_of(&["resynced", "incomplete"])),
        ("duration_ms", count()),
        ("epoch_before", count()),
        ("epoch_after", count()),
        ("state", text()),
        ("reason", nullable(text())),
    ])
}

pub(super) fn price() -> Value {
    let used = object([
        ("price", number()),
        ("source", one_of(&["request", "live"])),
    ]);
    object([
        (
            "validation_result",
            object([
                ("is_valid", flag()),
                (
                    "max_deviation_pct",
                    about(number(), "(max - min) / mean, percent"),
                ),
                ("outliers", list(provider())),
                ("confidence_score", about(number(), "from 0 to 1")),
                (
                    "recommended_price",
                    about(nullable(number()), "mean of those that are no outliers"),
                ),
            ]),
        ),
        ("symbol", text()),
        ("threshold_pct", number()),
        ("prices", map_of(used)),
        (
            "unusable",
            about(map_of(text()), "by provider: why its price does not count"),
        ),
        ("timestamp", time()),
    ])
}

fn failure() -> Value {
    object([("code", reference("ErrorCode")), ("message", text())])
}

pub(super) fn gaps() -> Value {
    let gap = object([
        ("start_timestamp", about(time(), "open of the first bar")),
        ("end_timestamp", about(time(), "open of the last bar")),
        ("missing_bars", count()),
        ("reason", words(&GapReason::ALL, GapReason::as_str)),
    ]);
    object([
        ("provider", provider()),
        ("symbol", text()),
        ("entity_id", text()),
        ("interval", one_of(&levels())),
        ("gaps", list(gap)),
        ("expected_bars", count()),
        ("present_bars", count()),
        (
            "no_trades_bars",
            about(count(), "bars in which nothing traded"),
        ),
        ("completeness_pct", measure()),
        (
            "backfill?",
            object([
                ("outcome", one_of(&["complete", "incomplete"])),
                ("error?", failure()),
            ]),
        ),
    ])
}

pub(super) fn released() -> Value {
    object([
        ("command", one_of(&["release"])),
        ("outcome", one_of(&["stored"])),
        ("id", count()),
        ("entity_id", text()),
        ("level", one_of(&levels())),
        ("timestamp", time()),
    ])
}

fn job() -> Value {
    object([
        ("id", count()),
        ("provider", provider()),
        ("symbol", text()),
        ("entity_id", text()),
        ("series", one_of(&["klines", "trades", "funding"])),
        ("interval", nullable(one_of(&levels()))),
        ("start_timestamp", time()),
        ("end_timestamp", time()),
        ("state", one_of(&ops::states())),
        ("done", about(measure(), "a fraction")),
        ("rows", count()),
        ("eta_seconds", nullable(count())),
        ("error", nullable(failure())),
        ("ordered", flag()),
    ])
}

pub(super) fn backfill() -> Value {
    object([
        ("done", about(measure(), "a fraction")),
        ("is_planned", flag()),
        ("series_count", count()),
        ("series_over", count()),
        ("series_failed", count()),
        ("rows", count()),
        ("eta_seconds", nullable(count())),
        ("series", list(job())),
    ])
}

pub(super) fn backfill_order() -> Value {
    object([
        ("command", one_of(&["backfill"])),
        ("outcome", one_of(&["accepted"])),
        ("series", job()),
    ])
}

fn exchange() -> Value {
    object([
        ("api_endpoint", nullable(text())),
        ("websocket_endpoint", nullable(text())),
        (
            "rate_limits",
            object([("requests_per_minute", count()), ("burst_limit", count())]),
        ),
        (
            "endpoints",
            about(map_of(text()), "by the exchange's own name of each host"),
        ),
        ("enabled", flag()),
    ])
}

pub(super) fn config() -> Value {
    object([
        ("exchanges", map_of(exchange())),
        (
            "data_collection",
            object([
                ("default_backfill_days", count()),
                ("max_concurrent_streams", count()),
                ("data_quality_checks_enabled", flag()),
            ]),
        ),
    ])
}

pub(super) fn log() -> Value {
    object([
        ("filter", text()),
        ("configured", text()),
        ("until", nullable(time())),
    ])
}

pub(super) fn changed() -> Value {
    let change = object([("from", json!({})), ("to", json!({}))]);
    let reconnect = json!({"anyOf": [
        reconnected(),
        object([("outcome", one_of(&["incomplete"])), ("reason", text())]),
        {"type": "null"},
    ]});
    all_of(&[
        exchange(),
        object([
            ("name", provider()),
            ("changes", map_of(change)),
            ("reconnect", reconnect),
        ]),
    ])
}

pub(super) fn validated() -> Value {
    let limit = [
        ("limit", count()),
        ("remaining", count()),
        ("reset_time", time()),
    ];
    let limits = all_of(&[object(limit.clone()), object([("cancels", object(limit))])]);
    let permission = words(&Permission::ALL, Permission::as_str);
    object([
        ("valid", flag()),
        ("permissions", list(permission)),
        (
            "providers?",
            about(nullable(list(provider())), "null: all of them"),
        ),
        ("rate_limits", nullable(limits)),
        ("expires_at", nullable(time())),
        ("reason?", about(text(), "why it is not good")),
    ])
}

fn stages() -> Value {
    let at = || nullable(measure());
    map_of(object([
        ("count", count()),
        ("mean_us", at()),
        ("p50_us", at()),
        ("p99_us", at()),
        ("p99_9_us", at()),
        ("max_us", at()),
    ]))
}

pub(super) fn metrics() -> Value {
    let journal = object([
        ("bytes", count()),
        ("writes", count()),
        ("write_errors", count()),
        ("sync_errors", count()),
        ("compactions", count()),
        ("compact_errors", count()),
    ]);
    let account = object([
        ("provider", provider()),
        ("account", text()),
        ("mode", words(TradingMode::ALL, TradingMode::as_str)),
        ("ready", flag()),
        ("kill_switch", flag()),
        ("orders_placed", count()),
        ("orders_open", count()),
        ("orders_unknown", count()),
        (
            "orders_rejected",
            object([
                ("risk", count()),
                ("check", count()),
                ("not_ready", count()),
                ("exchange", count()),
            ]),
        ),
        ("cancels", count()),
        ("fills", count()),
        ("corrections", count()),
        ("unmapped_codes", count()),
        ("private_streams_up", map_of(flag())),
        ("journal", journal),
        ("latency", stages()),
    ]);
    object([
        ("trading_metrics", object([("accounts", list(account))])),
        (
            "websocket_metrics",
            object([
                ("total_reconnects_24h", count()),
                ("average_message_lag_ms", nullable(measure())),
                ("messages_dropped_24h", count()),
            ]),
        ),
        (
            "data_quality_metrics",
            object([
                ("validation_failures_24h", count()),
                ("cross_exchange_deviations", count()),
                ("cross_exchange_deviations_now", count()),
                ("data_gaps_detected_24h", count()),
            ]),
        ),
        (
            "performance_metrics",
            object([
                ("average_query_response_ms", nullable(measure())),
                ("current_memory_usage_gb", nullable(measure())),
                ("active_websocket_connections", count()),
                ("exchange_websocket_connections", count()),
            ]),
        ),
        (
            "latency_metrics",
            object([("window_seconds", count()), ("stages", stages())]),
        ),
        ("timestamp", time()),
    ])
}

/// Schemas that others refer to.
pub(super) fn components() -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("Exact".to_owned(), super::shape::exact());
    all.insert(
        "Level".to_owned(),
        json!({
            "type": "array",
            "prefixItems": [number(), number()],
            "minItems": 2,
            "maxItems": 2,
            "description": "Price and quantity.",
        }),
    );
    all.insert("ErrorCode".to_owned(), super::codes::names());
    all.insert("ErrorObject".to_owned(), super::codes::error());
    let error = object([("error", reference("ErrorObject"))]);
    all.insert(
        "Error".to_owned(),
        about(error, "The form of every error, REST and WebSocket alike."),
    );
    for row in rows::rows() {
        all.insert(row.name.clone(), row.schema());
    }
    all
}
