//! Live figures: a block that is drawn anew on a terminal, a line elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookwire_actors::gateway::{EngineMetrics, Gateway};
use bookwire_actors::latency::StageLatency;
use bookwire_actors::status::CounterValues;
use bookwire_engine::config::ProviderConfig;
use bookwire_engine::event::BookLevel;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, Scope};
use bookwire_engine::num::fixed_to_string;
use bookwire_engine::store::{TimeWindow, TradeQuery};
use futures_util::future::join_all;

use super::progress;

/// Longest wait for one instrument's book.
const PATIENCE: Duration = Duration::from_millis(300);

/// Shows what the engine is doing.
pub struct Screen {
    gateway: Gateway,
    symbols: Vec<(ProviderId, String)>,
    is_terminal: bool,
    before: (Instant, CounterValues),
    lines_drawn: usize,
}

/// One instrument's line.
struct Row {
    symbol: String,
    last: String,
    bid: String,
    ask: String,
}

impl Screen {
    /// Figures of the instruments that are always on.
    pub fn new(
        gateway: Gateway,
        providers: &BTreeMap<String, ProviderConfig>,
        is_terminal: bool,
    ) -> Self {
        let symbols = providers
            .iter()
            .filter(|(_, provider)| provider.enabled)
            .filter_map(|(name, provider)| Some((ProviderId::parse(name)?, provider)))
            .flat_map(|(id, provider)| provider.symbols.iter().map(move |s| (id, s.clone())))
            .collect();
        Self {
            before: (Instant::now(), gateway.counters()),
            gateway,
            symbols,
            is_terminal,
            lines_drawn: 0,
        }
    }

    /// Draws the figures of this moment.
    pub async fn show(&mut self, clients: usize) {
        let rows = join_all(self.symbols.iter().map(|(provider, text)| async {
            let scope = Scope {
                provider: Some(*provider),
                ..Scope::default()
            };
            let instrument = self.gateway.resolve(text, scope).ok()?;
            Some(row(&self.gateway, instrument).await)
        }))
        .await;
        let rows: Vec<Row> = rows.into_iter().flatten().collect();
        let metrics = self.gateway.metrics().await;
        let now = Instant::now();
        let (since, before) = self.before;
        let elapsed = now.duration_since(since).as_secs_f64();
        let rate = |value: u64, before: u64| {
            if elapsed > 0.0 {
                value.saturating_sub(before) as f64 / elapsed
            } else {
                0.0
            }
        };
        let counters = metrics.counters;
        let summary = format!(
            "{:>7.0} msg/s  {:>5.0} trades/s  {:>7.0} levels/s  resyncs {}  clients {clients}  {}",
            rate(counters.frames, before.frames),
            rate(counters.trades, before.trades),
            rate(counters.book_levels, before.book_levels),
            counters.book_desyncs,
            latencies(&metrics),
        );
        self.before = (now, counters);
        let lines = if self.is_terminal {
            let mut lines = block(&summary, &rows);
            let backfill = self.gateway.backfill().summary();
            if backfill.over < backfill.series {
                lines.insert(1, progress::line(&backfill));
            }
            lines
        } else {
            plain(&summary, &rows)
        };
        self.draw(&lines);
    }

    fn draw(&mut self, lines: &[String]) {
        let mut out = std::io::stdout().lock();
        let mut text = String::new();
        if self.is_terminal && self.lines_drawn > 0 {
            // Back to the block's first line; each line is cleared as it is written.
            text.push_str(&format!("\x1b[{}A", self.lines_drawn));
        }
        for line in lines {
            if self.is_terminal {
                text.push_str("\x1b[2K");
            }
            text.push_str(line);
            text.push('\n');
        }
        if self.is_terminal {
            text.push_str("\x1b[J");
        }
        // Nobody looks any more when the output is closed; the demo runs on.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.lines_drawn = lines.len();
    }
}

fn block(summary: &str, rows: &[Row]) -> Vec<String> {
    let mut lines = vec![
        summary.to_owned(),
        format!("{:<16}{:>16}{:>16}{:>16}", "symbol", "last", "bid", "ask"),
    ];
    lines.extend(rows.iter().map(|row| {
        format!(
            "{:<16}{:>16}{:>16}{:>16}",
            row.symbol, row.last, row.bid, row.ask
        )
    }));
    lines
}

fn plain(summary: &str, rows: &[Row]) -> Vec<String> {
    let prices: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} ({}/{})", row.symbol, row.last, row.bid, row.ask))
        .collect();
    vec![format!("{}  {}", summary.trim_start(), prices.join("  "))]
}

async fn row(gateway: &Gateway, instrument: Arc<Instrument>) -> Row {
    let price = |levels: &[BookLevel]| {
        levels.first().map_or("-".to_owned(), |level| {
            fixed_to_string(level.price.0, instrument.price_scale)
        })
    };
    let (bid, ask) = match gateway.order_book(instrument.id, 1, PATIENCE).await {
        Ok(book) => (price(&book.bids), price(&book.asks)),
        Err(_) => ("resyncing".to_owned(), "-".to_owned()),
    };
    let query = TradeQuery {
        provider: instrument.spec.provider.name().to_owned(),
        entity_ids: vec![instrument.entity_id()],
        window: TimeWindow::latest(1),
        side: None,
        min_volume: None,
    };
    let last = gateway
        .query_store(move |reader| reader.trades(&query))
        .await;
    let last = last.ok().and_then(|mut rows| rows.pop());
    Row {
        symbol: instrument.stream_symbol(),
        last: last.map_or("-".to_owned(), |trade| trade.price.normalize().to_string()),
        bid,
        ask,
    }
}

/// `lag p50 0.4 ms p99 1.2 ms` for each stage that was measured.
fn latencies(metrics: &EngineMetrics) -> String {
    let shown = |stage: &&StageLatency| {
        matches!(stage.stage, "lag" | "decode" | "total") && !stage.histogram.is_empty()
    };
    let parts: Vec<String> = metrics
        .latencies
        .iter()
        .filter(shown)
        .map(|stage| {
            let at = |quantile: f64| time(stage.histogram.value_at_quantile(quantile));
            format!("{} p50 {} p99 {}", stage.stage, at(0.5), at(0.99))
        })
        .collect();
    parts.join("  ")
}

fn time(nanos: u64) -> String {
    match nanos {
        0..10_000_000 => format!("{:.0} µs", nanos as f64 / 1e3),
        _ => format!("{:.0} ms", nanos as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_readable_units() {
        assert_eq!(time(12_300), "12 µs");
        assert_eq!(time(9_999_999), "10000 µs");
        assert_eq!(time(12_300_000), "12 ms");
    }

    #[test]
    fn lines_hold_every_figure() {
        let rows = [Row {
            symbol: "btcusdt".into(),
            last: "64250.1".into(),
            bid: "64250".into(),
            ask: "64250.2".into(),
        }];
        assert_eq!(block("sum", &rows).len(), 3);
        assert_eq!(
            plain(" sum", &rows),
            ["sum  btcusdt 64250.1 (64250/64250.2)"]
        );
    }
}
