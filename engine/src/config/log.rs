//! Which log lines are written: a level, and levels of single modules.

use std::fmt;
use std::str::FromStr;

use super::LogLevel;

/// Longest text of a filter, bytes.
const TEXT_MAX: usize = 2_048;
/// Most levels of single modules.
const MODULES_MAX: usize = 64;
/// What modules of ours begin with.
const OURS: &str = "bookwire";

/// What a filter looks like, for messages.
pub const FILTER_FORM: &str = "a level (off, error, warn, info, debug, trace), and levels of single modules \
     behind it with commas between them: \"info,bookwire_actors::trading=debug\"; of libraries nothing \
     below info, because they print what goes over the wire, keys too";

/// The least severe lines that are logged, `None` for none at all.
pub type Severity = Option<LogLevel>;

/// Which log lines are written. Later modules win over earlier ones of the same name, and a longer name
/// over a shorter one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// Of all modules that have no level of their own.
    pub level: Severity,
    /// Beginnings of modules' names, with their levels.
    pub modules: Vec<(String, Severity)>,
}

fn name(level: Severity) -> &'static str {
    level.map_or("off", LogLevel::as_str)
}

fn severity(text: &str) -> Option<Severity> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    let mut all = LogLevel::ALL.iter();
    let found = all.find(|(name, _)| text.eq_ignore_ascii_case(name))?;
    Some(Some(found.1))
}

/// Reads `bookwire_actors::trading=debug`.
pub(super) fn module(text: &str) -> Option<(String, Severity)> {
    let (module, level) = text.split_once('=')?;
    let (module, level) = (module.trim(), severity(level.trim())?);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let is_quiet = level.is_none_or(|level| level <= LogLevel::Info);
    let is_good =
        !module.is_empty() && module.chars().all(is_name) && (is_quiet || module.starts_with(OURS));
    is_good.then(|| (module.to_owned(), level))
}

impl LogFilter {
    /// All modules alike.
    #[must_use]
    pub const fn new(level: LogLevel) -> Self {
        Self {
            level: Some(level),
            modules: Vec::new(),
        }
    }

    /// Of libraries, of which nothing below `info` is written at any level.
    #[must_use]
    pub fn of_libraries(&self) -> Severity {
        self.level.map(|level| level.min(LogLevel::Info))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self.level))?;
        for (module, level) in &self.modules {
            write!(f, ",{module}={}", name(*level))?;
        }
        Ok(())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    /// Reads what `Display` writes; without a level in front it is `info`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.len() > TEXT_MAX {
            return Err(format!("it is longer than {TEXT_MAX} bytes"));
        }
        let mut filter = Self::new(LogLevel::Info);
        for part in text.split(',').map(str::trim) {
            match (severity(part), module(part)) {
                (Some(level), _) => filter.level = level,
                (None, Some(module)) => filter.modules.push(module),
                (None, None) => return Err(format!("{part:?} is neither a level nor a module's")),
            }
        }
        if filter.modules.len() > MODULES_MAX {
            return Err(format!("it has more than {MODULES_MAX} modules"));
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        text.parse::<LogFilter>().map(|filter| filter.to_string())
    }

    #[test]
    fn filters_are_read_and_written() {
        for (text, read) in [
            ("info", "info"),
            ("OFF", "off"),
            ("trace", "trace"),
            (
                " warn , bookwire_actors::trading = Debug ",
                "warn,bookwire_actors::trading=debug",
            ),
            ("bookwire_api=trace", "info,bookwire_api=trace"),
            (
                "info,hyper=warn,actix_server=off,reqwest=info",
                "info,hyper=warn,actix_server=off,reqwest=info",
            ),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(read), "{text}");
            assert_eq!(parse(read).as_deref(), Ok(read), "{read}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "empty"),
            ("  ", "empty"),
            ("loud", "\"loud\""),
            ("info,", "\"\""),
            ("info,bookwire_api", "\"bookwire_api\""),
            ("info,bookwire_api=loud", "\"bookwire_api=loud\""),
            ("info,=debug", "\"=debug\""),
            ("info,a b=warn", "\"a b=warn\""),
            ("info\n,x", "\"x\""),
            ("info,bookwire[{trace_id=\"x\"}]=debug", "bookwire["),
            // These print frames and headers.
            ("info,tungstenite=trace", "\"tungstenite=trace\""),
            ("hyper=debug", "\"hyper=debug\""),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
        let many = vec!["bookwire_api=debug"; MODULES_MAX + 1].join(",");
        assert!(parse(&many).unwrap_err().contains("more than"));
        assert!(
            parse(&"x".repeat(TEXT_MAX + 1))
                .unwrap_err()
                .contains("longer")
        );
    }

    #[test]
    fn libraries_never_say_what_goes_over_the_wire() {
        for (text, level) in [
            ("trace", Some(LogLevel::Info)),
            ("warn", Some(LogLevel::Warn)),
            ("off", None),
        ] {
            let filter: LogFilter = text.parse().unwrap();
            assert_eq!(filter.of_libraries(), level, "{text}");
        }
    }
}
