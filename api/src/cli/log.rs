//! Log lines on standard error: text for people or JSON, filtered by `BOOKWIRE_LOG`.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use super::LogFormat;

/// What the libraries below say of clients that break off or send nonsense is no error of ours.
const QUIET: &str = "actix_server=warn,actix_http=off";

/// Starts logging. Directives of `BOOKWIRE_LOG` (`info`, `bookwire_actors=debug`) come before
/// `level`. A second call in one process changes nothing.
pub fn start(format: LogFormat, level: &str) {
    let filter = std::env::var("BOOKWIRE_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .or_else(|| EnvFilter::try_new(format!("{level},{QUIET}")).ok())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let is_terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || OneLine {
            out: io::stderr(),
            is_terminal,
        });
    let _ = match format {
        LogFormat::Text => builder.with_ansi(is_terminal).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
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
