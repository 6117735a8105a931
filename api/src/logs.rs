//! Log lines of this process: which are written, changed while it runs.
//!
//! A line that concerns a request has its `trace_id`, because it is written inside the request's span
//! ([`bookwire_actors::trace`]). A level that is off costs a look at a flag.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bookwire_engine::config::{LogFilter, LogLevel, Severity};
use bookwire_engine::time::TsNanos;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::reload;

use crate::error::wall_clock;

/// What modules of ours begin with.
const OURS: &str = "bookwire";

/// Where the spans of requests are made.
const SPANS: &str = "bookwire_actors::trace";

const fn level_filter(level: Severity) -> LevelFilter {
    match level {
        None => LevelFilter::OFF,
        Some(LogLevel::Error) => LevelFilter::ERROR,
        Some(LogLevel::Warn) => LevelFilter::WARN,
        Some(LogLevel::Info) => LevelFilter::INFO,
        Some(LogLevel::Debug) => LevelFilter::DEBUG,
        Some(LogLevel::Trace) => LevelFilter::TRACE,
    }
}

/// The filter as the library has it.
fn targets(filter: &LogFilter) -> Targets {
    let ours = level_filter(filter.level);
    let libraries = level_filter(filter.of_libraries());
    let mut targets = Targets::new()
        .with_default(libraries)
        .with_target(OURS, ours)
        // What these say of clients that break off or send nonsense is no error of ours.
        .with_target("actix_server", libraries.min(LevelFilter::WARN))
        .with_target("actix_http", LevelFilter::OFF);
    // The spans that carry trace ids, for whichever module is on.
    if !filter.modules.is_empty() {
        targets = targets.with_target(SPANS, LevelFilter::ERROR);
    }
    for (module, level) in &filter.modules {
        targets = targets.with_target(module.clone(), level_filter(*level));
    }
    targets
}

struct State {
    configured: LogFilter,
    current: LogFilter,
    until: Option<TsNanos>,
    /// Counts changes: one that ends later than another one was made ends nothing.
    changes: u64,
}

/// Which lines are written, and the way to change it.
pub struct Logs {
    handle: reload::Handle<Targets, Registry>,
    state: Mutex<State>,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Which lines are written now.
    pub filter: LogFilter,
    /// Which are by the configuration.
    pub configured: LogFilter,
    /// When the configuration is in force again.
    pub until: Option<TsNanos>,
}

static LOGS: OnceLock<Logs> = OnceLock::new();

/// Those of this process, once logging was started.
#[must_use]
pub fn logs() -> Option<&'static Logs> {
    LOGS.get()
}

/// Makes the layer that filters, and keeps the way to change it. `None`: there is one already.
pub(crate) fn layer(filter: &LogFilter) -> Option<reload::Layer<Targets, Registry>> {
    let (layer, handle) = reload::Layer::new(targets(filter));
    let state = State {
        configured: filter.clone(),
        current: filter.clone(),
        until: None,
        changes: 0,
    };
    let logs = Logs {
        handle,
        state: Mutex::new(state),
    };
    LOGS.set(logs).is_ok().then_some(layer)
}

impl Logs {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force.
    #[must_use]
    pub fn shown(&self) -> LogState {
        let state = self.state();
        LogState {
            filter: state.current.clone(),
            configured: state.configured.clone(),
            until: state.until,
        }
    }

    /// Puts a filter in force, the configured one with `None`, for some time or for good. Must run where tasks
    /// can be spawned.
    ///
    /// # Errors
    /// Logging has ended.
    pub fn change(
        &'static self,
        filter: Option<LogFilter>,
        lasts: Option<Duration>,
    ) -> Result<LogState, reload::Error> {
        let change = {
            let mut state = self.state();
            let filter = filter.unwrap_or_else(|| state.configured.clone());
            self.handle.reload(targets(&filter))?;
            state.current = filter;
            state.until = lasts.map(|lasts| {
                let nanos = i64::try_from(lasts.as_nanos()).unwrap_or(i64::MAX);
                TsNanos(wall_clock().0.saturating_add(nanos))
            });
            state.changes += 1;
            state.changes
        };
        if let Some(lasts) = lasts {
            actix_web::rt::spawn(async move {
                tokio::time::sleep(lasts).await;
                self.end(change);
            });
        }
        Ok(self.shown())
    }

    /// The time of a change is over.
    fn end(&self, change: u64) {
        let mut state = self.state();
        if state.changes != change || self.handle.reload(targets(&state.configured)).is_err() {
            return;
        }
        state.current = state.configured.clone();
        state.until = None;
        let filter = state.current.to_string();
        drop(state);
        tracing::info!(%filter, "the log has its configured levels again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_says_of_each_module_what_is_written() {
        let filter = "info,bookwire_actors::trading=trace,bookwire_api=error,rustls=off";
        let targets = targets(&filter.parse().unwrap());
        for (module, level, is_written) in [
            ("bookwire_engine::book", Level::INFO, true),
            ("bookwire_engine::book", Level::DEBUG, false),
            ("bookwire_actors::trading::flows", Level::TRACE, true),
            ("bookwire_actors::shard", Level::DEBUG, false),
            ("bookwire_api::gate", Level::WARN, false),
            ("rustls::conn", Level::ERROR, false),
            ("hyper", Level::INFO, true),
            ("actix_server::accept", Level::INFO, false),
            ("actix_http::h1", Level::ERROR, false),
        ] {
            let would = targets.would_enable(module, &level);
            assert_eq!(would, is_written, "{module} {level}");
        }
        // A library's lines are written out of what goes over the wire.
        let all = super::targets(&"trace".parse().unwrap());
        assert!(all.would_enable("bookwire_actors::ring", &Level::TRACE));
        for library in [
            "tungstenite::protocol",
            "hyper::proto",
            "reqwest",
            "actix_http",
        ] {
            assert!(!all.would_enable(library, &Level::DEBUG), "{library}");
        }
        // The ids of requests are told even where nothing else of their module is.
        let one = super::targets(&"off,bookwire_api=debug".parse().unwrap());
        assert!(one.would_enable(SPANS, &Level::ERROR));
        let none = super::targets(&"off".parse().unwrap());
        assert!(!none.would_enable("bookwire_api", &Level::ERROR));
    }
}
