//! Log lines on standard error: text for people or JSON. Which are written: `BOOKWIRE_LOG`, else `[log]`, and
//! what an operator has changed since ([`crate::logs`]).

use std::io::{self, IsTerminal, Write};

use bookwire_engine::config::{FILTER_FORM, LogFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

use super::LogFormat;
use crate::logs;

/// Names levels, and comes before the configuration.
const VARIABLE: &str = "BOOKWIRE_LOG";

/// Starts logging. `BOOKWIRE_LOG` comes before `configured`. A second call in one process changes nothing.
pub fn start(format: LogFormat, configured: &LogFilter) {
    let told = std::env::var(VARIABLE)
        .ok()
        .map(|text| text.parse::<LogFilter>());
    let (filter, wrong) = match told {
        Some(Ok(filter)) => (filter, None),
        Some(Err(why)) => (configured.clone(), Some(why)),
        None => (configured.clone(), None),
    };
    let Some(layer) = logs::layer(&filter) else {
        return;
    };
    let is_terminal = io::stderr().is_terminal();
    let writer = move || OneLine {
        out: io::stderr(),
        is_terminal,
    };
    let lines = fmt::layer().with_writer(writer);
    let _ = match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(is_terminal);
            registry().with(layer).with(lines).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            registry().with(layer).with(lines).try_init()
        }
    };
    if let Some(why) = wrong {
        tracing::warn!("{VARIABLE} is not accepted: {why}; accepted: {FILTER_FORM}");
    }
}

/// Keeps an event on one line, whatever texts of clients and exchanges are in it: control characters
/// are written as escapes, so that nobody can forge a line or a terminal's sequences.
struct OneLine<W> {
    out: W,
    /// The colours are sequences too; those in texts have been escaped before.
    is_terminal: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// Takes one event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let is_safe = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
        let text = String::from_utf8_lossy(line);
        let keeps = |c: char| is_safe(c) || (c == '\u{1b}' && self.is_terminal);
        if text.chars().all(keeps) {
            self.out.write_all(event)?;
            return Ok(event.len());
        }
        let mut safe = String::with_capacity(line.len() + 16);
        for c in text.chars() {
            match keeps(c) {
                true => safe.push(c),
                false => safe.extend(c.escape_default()),
            }
        }
        safe.push('\n');
        self.out.write_all(safe.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &str, is_terminal: bool) -> String {
        let mut out = Vec::new();
        let mut line = OneLine {
            out: &mut out,
            is_terminal,
        };
        line.write_all(event.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (event, line) in [
            ("INFO all is well\n", "INFO all is well\n"),
            ("no such path: /ä€\n", "no such path: /ä€\n"),
            (
                "provider \"x\r\nERROR forged\" is\n",
                "provider \"x\\r\\nERROR forged\" is\n",
            ),
            ("a\u{85}b\u{2028}c\n", "a\\u{85}b\\u{2028}c\n"),
            ("\u{1b}[2J\0\u{7f}\n", "\\u{1b}[2J\\u{0}\\u{7f}\n"),
        ] {
            assert_eq!(written(event, false), line);
        }
        assert_eq!(
            written("\u{1b}[32mINFO\u{1b}[0m a\nb\n", true),
            "\u{1b}[32mINFO\u{1b}[0m a\\nb\n"
        );
    }
}
