//! Log lines on standard error: text for people or JSON, filtered by `BOOKWIRE_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::LogFormat;

/// Starts logging. Directives of `BOOKWIRE_LOG` (`info`, `bookwire_actors=debug`) come before
/// `level`. A second call in one process changes nothing.
pub fn start(format: LogFormat, level: &str) {
    let filter = std::env::var("BOOKWIRE_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .or_else(|| EnvFilter::try_new(format!("{level},actix_server=warn")).ok())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
