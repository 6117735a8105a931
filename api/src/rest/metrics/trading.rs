//! What was counted and measured of orders, for each account that is traded on.

use std::fmt::Write;

use bookwire_actors::gateway::Gateway;
use bookwire_actors::trading::router::Observe;
use bookwire_actors::trading::{DeskObservation, LineStatus, ORDER_STAGES, Trading};
use serde_json::{Map, Value, json};

use super::{histogram_rows, stages};

/// All accounts as they are now. One whose thread has ended is left out.
pub(super) async fn observed(gateway: &Gateway) -> Vec<DeskObservation> {
    let Some(trading) = gateway.trading() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (_, _, router) in trading.routers(None, None) {
        all.extend(Trading::ask(router, Observe).await.ok());
    }
    all
}

/// Why orders were refused, and how many.
fn refused(of: &DeskObservation) -> [(&'static str, u64); 4] {
    let stats = &of.status.stats;
    [
        ("risk", stats.refused_by_risk),
        ("check", stats.refused_by_check),
        ("not_ready", stats.refused_not_ready),
        ("exchange", stats.rejected),
    ]
}

/// A label's value: what would end it is escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Whose a series is, without braces.
fn labels(of: &DeskObservation) -> String {
    let status = &of.status;
    format!(
        "provider=\"{}\",account=\"{}\",mode=\"{}\"",
        status.provider.name(),
        escaped(&status.account),
        status.mode.as_str()
    )
}

/// A family with one series for each account, and its value.
type Family = (
    &'static str,
    &'static str,
    &'static str,
    fn(&DeskObservation) -> u64,
);

const FAMILIES: [Family; 16] = [
    (
        "bookwire_orders_placed_total",
        "counter",
        "Orders that went into the journal to be sent.",
        |of| of.status.stats.placed,
    ),
    (
        "bookwire_orders_open",
        "gauge",
        "Orders that can still execute.",
        |of| of.status.open_orders as u64,
    ),
    (
        "bookwire_orders_unknown",
        "gauge",
        "Orders whose outcome at the exchange is not known now.",
        |of| of.unknown_orders as u64,
    ),
    (
        "bookwire_orders_outcome_lost_total",
        "counter",
        "Orders whose outcome was not known at first.",
        |of| of.status.stats.unknown,
    ),
    (
        "bookwire_order_cancels_total",
        "counter",
        "Cancellations asked for.",
        |of| of.status.stats.cancels,
    ),
    (
        "bookwire_order_fills_total",
        "counter",
        "Executions.",
        |of| of.status.stats.fills,
    ),
    (
        "bookwire_order_corrections_total",
        "counter",
        "What was believed of an order and turned out not to be so at the exchange.",
        |of| of.status.stats.corrections,
    ),
    (
        "bookwire_order_unmapped_codes_total",
        "counter",
        "Error codes of the exchange that no table has: their meaning was guessed.",
        |of| of.unmapped_codes,
    ),
    (
        "bookwire_trading_ready",
        "gauge",
        "1 when the account takes orders.",
        |of| u64::from(of.status.is_ready),
    ),
    (
        "bookwire_trading_kill_switch_engaged",
        "gauge",
        "1 while the kill switch is engaged.",
        |of| u64::from(of.status.halted_by.is_some()),
    ),
    (
        "bookwire_trading_private_reconnects_total",
        "counter",
        "Private streams that were up and were lost.",
        |of| of.status.stats.private_reconnects,
    ),
    (
        "bookwire_trading_reconciliations_total",
        "counter",
        "Comparisons of the account with the exchange.",
        |of| of.status.stats.reconciliations,
    ),
    (
        "bookwire_trading_reconciliations_failed_total",
        "counter",
        "Comparisons that failed.",
        |of| of.status.stats.reconciliations_failed,
    ),
    (
        "bookwire_order_journal_bytes",
        "gauge",
        "Size of the journal of orders.",
        |of| of.journal_bytes,
    ),
    (
        "bookwire_order_journal_writes_total",
        "counter",
        "Writes to the journal of orders.",
        |of| of.status.stats.journal_writes,
    ),
    (
        "bookwire_order_journal_compactions_total",
        "counter",
        "Times that the journal of orders was written anew while it was in use.",
        |of| of.status.stats.journal_compactions,
    ),
];

/// Begins a family. Writing to a string does not fail.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// All families in Prometheus' text form; without accounts their heads alone.
pub(super) fn samples(out: &mut String, all: &[DeskObservation]) {
    let owned: Vec<(String, &DeskObservation)> = all.iter().map(|of| (labels(of), of)).collect();
    for (name, kind, help, value) in FAMILIES {
        head(out, name, kind, help);
        for (labels, of) in &owned {
            let _ = writeln!(out, "{name}{{{labels}}} {}", value(of));
        }
    }
    let name = "bookwire_orders_rejected_total";
    let help = "Orders that were refused: by a limit of the user (risk), for what they say (check), \
                because the account takes none (not_ready), by the exchange.";
    head(out, name, "counter", help);
    for (labels, of) in &owned {
        for (reason, count) in refused(of) {
            let _ = writeln!(out, "{name}{{{labels},reason=\"{reason}\"}} {count}");
        }
    }
    let name = "bookwire_trading_private_stream_up";
    let help = "1 while the exchange tells the account's events on this connection.";
    head(out, name, "gauge", help);
    for (labels, of) in &owned {
        for (stream, is_up) in &of.private_streams {
            let up = u64::from(*is_up);
            let _ = writeln!(out, "{name}{{{labels},stream=\"{stream}\"}} {up}");
        }
    }
    line_samples(out, &owned);
    let name = "bookwire_order_journal_errors_total";
    head(
        out,
        name,
        "counter",
        "Times that the journal could not be written, or brought to the disk.",
    );
    for (labels, of) in &owned {
        let stats = &of.status.stats;
        for (operation, count) in [
            ("write", stats.journal_errors),
            ("sync", stats.journal_sync_errors),
            ("compact", stats.journal_compact_errors),
        ] {
            let _ = writeln!(out, "{name}{{{labels},operation=\"{operation}\"}} {count}");
        }
    }
    let name = "bookwire_order_latency_seconds";
    let help: Vec<String> = ORDER_STAGES
        .iter()
        .map(|(stage, what)| format!("{stage}: {what}"))
        .collect();
    head(out, name, "histogram", &help.join("; "));
    for (labels, of) in &owned {
        for stage in &of.latencies {
            let labels = format!("{labels},stage=\"{}\"", stage.stage);
            histogram_rows(out, name, &labels, stage);
        }
    }
}

/// Connections that take orders, of the accounts that have some.
fn line_samples(out: &mut String, owned: &[(String, &DeskObservation)]) {
    type Figure = (&'static str, &'static str, fn(&LineStatus) -> u64);
    let of_each: [Figure; 2] = [
        (
            "bookwire_order_line_up",
            "1 while this connection for orders takes them.",
            |line| u64::from(line.is_up),
        ),
        (
            "bookwire_order_line_in_flight",
            "Frames that were written to this connection and are not answered.",
            |line| line.in_flight as u64,
        ),
    ];
    let with_lines = || {
        let all = owned.iter();
        all.filter_map(|(labels, of)| Some((labels, of.status.lines.as_ref()?)))
    };
    for (name, help, value) in of_each {
        head(out, name, "gauge", help);
        for (labels, lines) in with_lines() {
            for line in &lines.lines {
                let (line_name, value) = (line.name, value(line));
                let _ = writeln!(out, "{name}{{{labels},line=\"{line_name}\"}} {value}");
            }
        }
    }
    let name = "bookwire_order_line_requests_total";
    let help = "Commands that were written to a connection for orders and answered, or not answered (lost); \
                those that went by HTTP because none was up or had room (http).";
    head(out, name, "counter", help);
    for (labels, lines) in with_lines() {
        // One that is under way is neither; it is counted when it ends.
        let lost = lines.written.saturating_sub(lines.answered);
        for (outcome, count) in [
            ("answered", lines.answered),
            ("lost", lost),
            ("http", lines.by_rest),
        ] {
            let _ = writeln!(out, "{name}{{{labels},outcome=\"{outcome}\"}} {count}");
        }
    }
    let name = "bookwire_order_line_reconnects_total";
    head(
        out,
        name,
        "counter",
        "Connections for orders that were up and were lost.",
    );
    for (labels, lines) in with_lines() {
        let _ = writeln!(out, "{name}{{{labels}}} {}", lines.reconnects);
    }
}

/// The same for people and programs that want JSON: counted since the start.
pub(super) fn summary(all: &[DeskObservation]) -> Value {
    let one = |of: &DeskObservation| {
        let (status, stats) = (&of.status, &of.status.stats);
        let streams = of.private_streams.iter();
        let streams: Map<String, Value> = streams
            .map(|(name, is_up)| ((*name).to_owned(), json!(is_up)))
            .collect();
        let refused: Map<String, Value> = refused(of)
            .into_iter()
            .map(|(reason, count)| (reason.to_owned(), json!(count)))
            .collect();
        json!({
            "provider": status.provider.name(),
            "account": status.account,
            "mode": status.mode.as_str(),
            "ready": status.is_ready,
            "kill_switch": status.halted_by.is_some(),
            "orders_placed": stats.placed,
            "orders_open": status.open_orders,
            "orders_unknown": of.unknown_orders,
            "orders_rejected": refused,
            "cancels": stats.cancels,
            "fills": stats.fills,
            "corrections": stats.corrections,
            "unmapped_codes": of.unmapped_codes,
            "private_streams_up": streams,
            "journal": {
                "bytes": of.journal_bytes,
                "writes": stats.journal_writes,
                "write_errors": stats.journal_errors,
                "sync_errors": stats.journal_sync_errors,
                "compactions": stats.journal_compactions,
                "compact_errors": stats.journal_compact_errors,
            },
            "latency": stages(&of.latencies),
        })
    };
    json!({ "accounts": all.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bookwire_actors::latency::{StageHistogram, StageLatency};
    use bookwire_actors::trading::{DeskStats, DeskStatus, LinesStatus};
    use bookwire_engine::exchange::ProviderId;
    use bookwire_engine::trading::order::TradingMode;

    fn account(name: &str) -> DeskObservation {
        let histogram = StageHistogram::default();
        for nanos in [40_000, 60_000, 3_000_000] {
            histogram.record(nanos);
        }
        let mut entry = StageLatency::new("entry");
        histogram.add_to(&mut entry);
        let mut stats = DeskStats::default();
        (stats.placed, stats.rejected) = (9, 1);
        (stats.refused_by_risk, stats.refused_by_check) = (2, 3);
        (stats.refused_not_ready, stats.journal_writes) = (5, 21);
        stats.journal_sync_errors = 6;
        stats.journal_compactions = 8;
        DeskObservation {
            status: DeskStatus {
                provider: ProviderId::BINANCE,
                account: name.to_owned(),
                mode: TradingMode::Live,
                support: Vec::new(),
                key_can_withdraw: None,
                is_ready: false,
                reason: None,
                halted_by: Some("somebody".to_owned()),
                open_orders: 4,
                stats,
                lines: Some(LinesStatus {
                    is_up: false,
                    lines: vec![
                        LineStatus {
                            name: "orders_spot",
                            is_up: true,
                            in_flight: 2,
                        },
                        LineStatus {
                            name: "orders_perp",
                            is_up: false,
                            in_flight: 0,
                        },
                    ],
                    written: 9,
                    answered: 8,
                    by_rest: 3,
                    reconnects: 4,
                }),
                guards: 0,
            },
            unknown_orders: 1,
            unmapped_codes: 7,
            private_streams: vec![("private_spot", true), ("private_perp", false)],
            journal_bytes: 4_096,
            latencies: vec![entry, StageLatency::new("answer")],
        }
    }

    #[test]
    fn every_figure_of_an_account_is_told_with_whose_it_is() {
        let mut out = String::new();
        samples(&mut out, &[account("default"), account("a \"quoted\" one")]);
        let whose = "provider=\"binance\",account=\"default\",mode=\"live\"";
        for line in [
            "bookwire_orders_placed_total{WHOSE} 9",
            "bookwire_orders_open{WHOSE} 4",
            "bookwire_orders_unknown{WHOSE} 1",
            "bookwire_orders_rejected_total{WHOSE,reason=\"risk\"} 2",
            "bookwire_orders_rejected_total{WHOSE,reason=\"check\"} 3",
            "bookwire_orders_rejected_total{WHOSE,reason=\"not_ready\"} 5",
            "bookwire_orders_rejected_total{WHOSE,reason=\"exchange\"} 1",
            "bookwire_order_unmapped_codes_total{WHOSE} 7",
            "bookwire_trading_ready{WHOSE} 0",
            "bookwire_trading_kill_switch_engaged{WHOSE} 1",
            "bookwire_trading_private_stream_up{WHOSE,stream=\"private_spot\"} 1",
            "bookwire_trading_private_stream_up{WHOSE,stream=\"private_perp\"} 0",
            "bookwire_order_line_up{WHOSE,line=\"orders_spot\"} 1",
            "bookwire_order_line_up{WHOSE,line=\"orders_perp\"} 0",
            "bookwire_order_line_in_flight{WHOSE,line=\"orders_spot\"} 2",
            "bookwire_order_line_requests_total{WHOSE,outcome=\"answered\"} 8",
            "bookwire_order_line_requests_total{WHOSE,outcome=\"lost\"} 1",
            "bookwire_order_line_requests_total{WHOSE,outcome=\"http\"} 3",
            "bookwire_order_line_reconnects_total{WHOSE} 4",
            "bookwire_order_journal_bytes{WHOSE} 4096",
            "bookwire_order_journal_writes_total{WHOSE} 21",
            "bookwire_order_journal_compactions_total{WHOSE} 8",
            "bookwire_order_journal_errors_total{WHOSE,operation=\"sync\"} 6",
            "bookwire_order_latency_seconds_bucket{WHOSE,stage=\"entry\",le=\"0.00005\"} 1",
            "bookwire_order_latency_seconds_bucket{WHOSE,stage=\"entry\",le=\"+Inf\"} 3",
            "bookwire_order_latency_seconds_sum{WHOSE,stage=\"entry\"} 0.0031",
            "bookwire_order_latency_seconds_count{WHOSE,stage=\"answer\"} 0",
        ] {
            let line = line.replace("WHOSE", whose);
            let has = out.lines().any(|there| there == line);
            assert!(has, "{line}\n{out}");
        }
        assert!(out.contains("account=\"a \\\"quoted\\\" one\""), "{out}");
        // Each family has its help before its type, once.
        let names = out.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for name in names.filter_map(|rest| rest.split(' ').next()) {
            let help = format!("# HELP {name} ");
            assert_eq!(out.matches(&help).count(), 1, "{name}");
        }
        assert_eq!(
            out.matches("# HELP ").count(),
            out.matches("# TYPE ").count()
        );
    }

    #[test]
    fn the_summary_has_the_same_figures() {
        let told = &summary(&[account("default")])["accounts"][0];
        assert_eq!(told["orders_rejected"]["check"], 3);
        assert_eq!(told["private_streams_up"]["private_perp"], false);
        assert_eq!(told["journal"]["writes"], 21);
        assert_eq!(told["latency"]["entry"]["count"], 3);
        assert_eq!(told["latency"]["answer"]["p50_us"], Value::Null);
        assert_eq!(
            (&told["kill_switch"], &told["mode"]),
            (&json!(true), &json!("live"))
        );
        assert_eq!(summary(&[])["accounts"], json!([]));
    }
}
