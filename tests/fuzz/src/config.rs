//! Configuration files.

use bookwire_engine::config::{Config, FileText};

/// Any text is a configuration or a list of problems, each of which says what is accepted.
pub fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let file = FileText {
        name: "bookwire.toml",
        text,
    };
    if let Err(problems) = Config::load(Some(file), [], &[]) {
        assert!(!problems.0.is_empty());
        for problem in &problems.0 {
            assert!(!problem.to_string().is_empty());
        }
    }
}
